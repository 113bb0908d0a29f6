//! Logical messages: each of the prefixes that are wanted comes once, those of a transaction with it.

use std::collections::BTreeMap;

use serde_json::json;
use weir_testkit::PostgresServer;
use weir_testkit::postgres::Version;

use super::super::messages::STREAM;
use super::Follow;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY)";

fn emit(transactional: bool, prefix: &str, content: &str) -> String {
    format!("SELECT pg_logical_emit_message({transactional}, '{prefix}', '{content}')")
}

/// `prefix content transactional` of all messages, in the order of the log.
fn heard(follow: &Follow) -> Vec<String> {
    let rows = follow.state.tables.get(STREAM).cloned().unwrap_or_default();
    let in_order: BTreeMap<u64, String> = rows
        .values()
        .map(|row| {
            let value = |name: &str| row[name].clone().unwrap();
            (value("lsn").parse().unwrap(), format!("{} {} {}", value("prefix"), value("content"), value("transactional")))
        })
        .collect();
    assert_eq!(in_order.len(), rows.len());
    in_order.into_values().collect()
}

#[tokio::test]
async fn messages_come_once_in_order_and_with_their_transactions() {
    for server in [PostgresServer::shared().unwrap(), PostgresServer::version(18).unwrap()] {
        let database = server.create_database().unwrap();
        database.execute(TABLE).unwrap();
        let mut follow = Follow::new(database, json!({ "tables": ["t"], "messages": ["outbox", "audit.*"] }));
        follow.run().await;
        assert_eq!(follow.state.keys[STREAM], ["lsn"]);
        let client = follow.database.client().await.unwrap();
        client.batch_execute(&emit(true, "outbox", "1")).await.unwrap();
        client
            .batch_execute(&format!("BEGIN; INSERT INTO t VALUES (1); {}; INSERT INTO t VALUES (2)", emit(true, "audit.t", "2")))
            .await
            .unwrap();
        // Not of this transaction, though in the middle of it.
        follow.database.execute(emit(false, "outbox", "3")).unwrap();
        client.batch_execute(&format!("{}; COMMIT", emit(false, "outbox", ""))).await.unwrap();
        client
            .batch_execute(&format!(
                "BEGIN; {}; {}; ROLLBACK",
                emit(true, "outbox", "taken back"),
                emit(false, "outbox", "not taken back")
            ))
            .await
            .unwrap();
        client.batch_execute(&format!("{}; {}", emit(true, "weir", "ours"), emit(true, "other", "not wanted"))).await.unwrap();
        follow.run().await;
        follow.expect("public.t");
        // In the order of the log. One that is in no transaction may end where the commit of another begins: that one is not lost for it.
        assert_eq!(
            heard(&follow),
            ["outbox 1 true", "audit.t 2 true", "outbox 3 false", "outbox  false", "outbox not taken back false"]
        );
        // Nothing comes again, whether or not the server had heard of it.
        follow.run().await;
        // Only a commit makes the server write its log out.
        client.batch_execute(&format!("{}; {}", emit(false, "audit.x", "9"), emit(true, "other", ""))).await.unwrap();
        follow.run().await;
        assert_eq!(heard(&follow).len(), 6);
    }
}

#[tokio::test]
async fn a_message_of_a_savepoint_that_is_taken_back_does_not_come_however_large_the_transaction() {
    let server = PostgresServer::options().version(Version::System).set("logical_decoding_work_mem", "64kB").start().unwrap();
    let database = server.create_database().unwrap();
    database.execute(TABLE).unwrap();
    let mut follow = Follow::new(database, json!({ "tables": ["t"], "messages": ["*"] }));
    follow.run().await;
    let client = follow.database.client().await.unwrap();
    let fill = |from: u32| format!("INSERT INTO t SELECT generate_series({from}, {})", from + 9999);
    client
        .batch_execute(&format!(
            "BEGIN; {}; {}; SAVEPOINT a; {}; {}; ROLLBACK TO a; SAVEPOINT b; {}; ROLLBACK TO b; {}; {}; COMMIT",
            emit(true, "p", "first"),
            fill(1),
            emit(true, "p", "lost"),
            fill(20_001),
            emit(true, "p", "lost without rows"),
            fill(40_001),
            emit(true, "p", "last")
        ))
        .await
        .unwrap();
    follow.run().await;
    follow.expect("public.t");
    assert_eq!(heard(&follow), ["p first true", "p last true"]);
}

#[tokio::test]
async fn what_needs_a_table_is_refused_for_messages() {
    let follow = Follow::shared(TABLE, json!({ "tables": ["t"], "messages": ["*"] }));
    let source = follow.source().await;
    let request = weir_connect::ReadRequest { stream: STREAM.into(), parallelism: 1, ..Default::default() };
    assert_eq!(source.open(request).await.err().unwrap().code(), "WEIR-PG-081");
    let verifiable = source.verifiable().unwrap();
    assert!(verifiable.only_in_log(STREAM).is_some() && verifiable.only_in_log("public.t").is_none());
}
