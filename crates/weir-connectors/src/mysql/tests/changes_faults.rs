//! Connections that end in the middle of a flush or of a change of shape: after every few bytes that come from the server, and so at each
//! statement. What is in the target is what the ledger says, and nothing between.

use serde_json::json;
use weir_connect::{ChangeWriter, DeleteMode, Error, Op, StreamSink, WriteMode};
use weir_testkit::mysql::Flavor;
use weir_testkit::{FaultProxy, MysqlDatabase, MysqlServer};

use super::changes::{BOTH, TABLE, opened};
use super::{server_lines, sink_at};
use crate::changes::seeds::{after, batch, changes_target, delete, durable, is, line, schema};

async fn through(database: &MysqlDatabase, proxy: &FaultProxy) -> (Box<dyn StreamSink>, Box<dyn ChangeWriter>) {
    let connection = json!({ "url": database.url(), "port": proxy.port(), "ssl_mode": "disable" });
    let sink = sink_at(connection, json!({ "table": "t" }), Default::default()).await;
    let stream = sink.prepare(changes_target("r", schema(), WriteMode::Upsert, &["id"])).await.unwrap();
    let writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    (stream, writer)
}

/// The changes of a flush, and the table after it. Unique values go from row to row, so that every kind of statement is there.
async fn round(writer: &mut dyn ChangeWriter, number: usize) -> Result<(), Error> {
    let name = |which: &str| is(&format!("{which}{number}"));
    let lines = [
        line(Op::Create, 1, name("a"), name("b")),
        line(Op::Create, 2, name("c"), name("d")),
        line(Op::Update, 3, name("e"), None),
        delete(4 + number as i64 - 1),
        line(Op::Create, 4 + number as i64, name("f"), Some(None)),
    ];
    writer.apply(batch(&lines)).await?;
    writer.flush(&after(number)).await.map(drop)
}

fn expected(number: usize) -> Vec<String> {
    let mut lines = vec![
        format!("1|a{number}|b{number}"),
        format!("2|c{number}|d{number}"),
        format!("3|e{number}|kept"),
        format!("{}|f{number}|NULL", 4 + number),
    ];
    lines.sort();
    lines
}

#[tokio::test]
async fn a_connection_that_ends_at_any_statement_of_a_flush_leaves_all_of_it_or_nothing() {
    for flavor in BOTH {
        for unique in ["", ", UNIQUE (a)"] {
            let server = MysqlServer::shared(flavor).unwrap();
            let database = server.create_database().unwrap();
            database
                .execute(format!(
                    "CREATE TABLE t (id bigint PRIMARY KEY, a varchar(50), b varchar(50){unique}); INSERT INTO t VALUES (3, 'x', 'kept')"
                ))
                .unwrap();
            let proxy = FaultProxy::to(("127.0.0.1", server.port())).unwrap();
            let (_, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
            round(writer.as_mut(), 1).await.unwrap();
            drop(writer);
            let (mut number, mut lost, mut unknown) = (1, 0, 0);
            for bytes in (0..).step_by(9) {
                let (stream, mut writer) = through(&database, &proxy).await;
                proxy.cut_after_bytes(bytes);
                let outcome = round(writer.as_mut(), number + 1).await;
                proxy.cut_after_bytes(u64::MAX);
                drop((writer, stream));
                let (stream, _writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
                let found = durable(stream.as_ref()).await;
                assert!(found == number || found == number + 1, "{found} after {number}");
                assert_eq!(server_lines(&database, TABLE), expected(found), "{flavor:?} {bytes} bytes");
                match &outcome {
                    Ok(()) => assert_eq!(found, number + 1, "a flush that returned is not there"),
                    Err(error) => assert_eq!(error.code(), "WEIR-MY-004", "{error}"),
                }
                lost += usize::from(found == number);
                unknown += usize::from(found > number && outcome.is_err());
                number = found;
                if outcome.is_ok() {
                    break;
                }
            }
            // Each answer is eleven bytes and more.
            assert!(lost > 8 && unknown > 0, "{flavor:?}: {lost} lost, {unknown} that came through unheard");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_killed_keeps_what_was_flushed() {
    let mut server = MysqlServer::start(Flavor::MariaDb).unwrap();
    let database = server.create_database().unwrap();
    let (_, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    let wide = "w".repeat(1000);
    let lines: Vec<_> = (0..20_000).map(|id| line(Op::Create, id, is(&wide), is("b"))).collect();
    writer.apply(batch(&lines[..1000])).await.unwrap();
    writer.flush(&after(1000)).await.unwrap();
    // More than memory holds: a part waits in the session's table.
    writer.apply(batch(&lines[1000..])).await.unwrap();
    server.kill_9().unwrap();
    assert!(writer.flush(&after(20_000)).await.is_err());
    drop(writer);
    server.restart().unwrap();
    let (stream, mut writer) = opened(&database, WriteMode::Upsert, DeleteMode::Hard).await;
    assert_eq!((durable(stream.as_ref()).await, database.value("SELECT COUNT(*) FROM t").unwrap().as_str()), (1000, "1000"));
    writer.apply(batch(&lines[1000..])).await.unwrap();
    writer.flush(&after(20_000)).await.unwrap();
    assert_eq!(database.value("SELECT COUNT(*) FROM t").unwrap(), "20000");
}
