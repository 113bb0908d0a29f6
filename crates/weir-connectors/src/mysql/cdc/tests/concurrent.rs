//! The snapshot while others write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use mysql_async::prelude::Queryable;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use weir_connect::{ChangeEvent, Op};
use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer};

use super::{BOTH, Follow, filled};

/// Writers of random transactions, until they are stopped. Returns how many ended.
struct Writers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    fn start(
        database: &MysqlDatabase,
        seed: u64,
        count: usize,
        statement: impl Fn(&mut StdRng) -> String + Clone + Send + 'static,
    ) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..count)
            .map(|number| {
                let (database, stop, done, statement) = (database.clone(), stop.clone(), done.clone(), statement.clone());
                tokio::spawn(async move {
                    let mut random = StdRng::seed_from_u64(seed * 100 + number as u64);
                    let mut client = database.client().await.unwrap();
                    client.query_drop("SET SESSION innodb_lock_wait_timeout = 1").await.unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        client.query_drop("BEGIN").await.unwrap();
                        let mut good = true;
                        for _ in 0..random.random_range(1..6) {
                            let sql = statement(&mut random);
                            // A deadlock or a key that is there already: the transaction is over.
                            good = client.query_drop(&sql).await.is_ok();
                            if !good {
                                break;
                            }
                        }
                        let end = if good && random.random_bool(0.85) { "COMMIT" } else { "ROLLBACK" };
                        client.query_drop(end).await.unwrap();
                        done.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                    client.disconnect().await.unwrap();
                })
            })
            .collect();
        Self { stop, done, tasks }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.done.load(Ordering::Relaxed)
    }
}

fn integers(random: &mut StdRng) -> String {
    let key = random.random_range(0..3000);
    match random.random_range(0..10) {
        0..=2 => format!("INSERT INTO t VALUES ({key}, 'new', 0) ON DUPLICATE KEY UPDATE n = n + 1"),
        3..=6 => format!("UPDATE t SET n = n + 1, v = CONCAT('u', n) WHERE id = {key}"),
        7 => format!("DELETE FROM t WHERE id = {key}"),
        8 => format!("UPDATE IGNORE t SET id = id + 1500 WHERE id = {key}"),
        _ => {
            format!("SAVEPOINT s; UPDATE t SET n = -1 WHERE id = {key}; ROLLBACK TO s; UPDATE t SET n = n + 10 WHERE id = {key}")
        }
    }
}

/// Runs until the snapshot is complete, the writers are done and everything was read, and checks each key's history.
async fn follow_while_writing(follow: &mut Follow, writers: Writers) {
    follow.announce().await;
    // The applier checks that no key is created twice, changed before it is there, or deleted as another row than it is.
    let (log, mut events) = follow.open_from(None, false).await.unwrap();
    let mut stopping: Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> = None;
    let mut writers = Some(writers);
    let (mut whole, mut quiet) = (false, false);
    loop {
        let waiting = tokio::time::timeout(Duration::from_secs(30), async {
            match &mut stopping {
                // When nobody writes any more, nothing comes any more.
                Some(stopping) => tokio::select! {
                    event = events.next() => Some(event),
                    _ = stopping => None,
                },
                None => Some(events.next().await),
            }
        });
        let Some(event) = waiting.await.expect("no event for half a minute") else {
            stopping = None;
            quiet = true;
            if whole {
                break;
            }
            continue;
        };
        let event = event.expect("the stream ended").unwrap();
        let bounded = match &event {
            ChangeEvent::Boundary(boundary) => Some(boundary.clone()),
            _ => None,
        };
        follow.state.apply(event);
        // The next run goes on after a boundary.
        whole = bounded.is_some();
        let Some(boundary) = bounded else { continue };
        if quiet {
            break;
        }
        let complete = boundary.position["tables"].as_object().unwrap().values().all(|table| table["done"] == true);
        if let Some(taken) = writers.take_if(|_| complete) {
            // A little more after the snapshot, then no more.
            stopping = Some(Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                assert!(taken.stop().await > 10, "hardly anything was written meanwhile");
            }));
        }
    }
    drop((log, events));
    follow.run().await;
    for ((stream, key), history) in &follow.state.history {
        let numbers: Vec<i64> =
            history.iter().filter_map(|(op, row)| (*op != Op::Delete).then(|| row.get("n")?.as_ref()?.parse().ok())?).collect();
        // Between a delete and the next row a number may fall; without one it never does.
        let deleted = history.iter().any(|(op, _)| *op == Op::Delete);
        assert!(deleted || numbers.is_sorted(), "{stream} {key}: {history:?}");
    }
}

fn rounds() -> u64 {
    std::env::var("WEIR_CDC_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

async fn random_transactions(server: &MysqlServer) {
    for seed in 0..rounds() {
        let options = json!({ "tables": ["t"], "chunk_bytes": 4096 << (seed % 4) });
        let mut follow = Follow::at(server, &filled(2500), options);
        let writers = Writers::start(&follow.database, seed, 1 + seed as usize % 3, integers);
        follow_while_writing(&mut follow, writers).await;
        follow.expect("t");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_transactions_on_mysql_leave_no_trace_of_the_order_in_which_it_happened() {
    random_transactions(&MysqlServer::shared(Flavor::MySql).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_transactions_on_mysql_that_orders_no_commits_leave_none_either() {
    let server = MysqlServer::options(Flavor::MySql)
        .set("binlog-order-commits", "OFF")
        .set("binlog-group-commit-sync-delay", "3000")
        .start()
        .unwrap();
    random_transactions(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_transactions_on_mysql_without_gtids_leave_none_either() {
    let server =
        MysqlServer::options(Flavor::MySql).set("gtid-mode", "OFF").set("enforce-gtid-consistency", "OFF").start().unwrap();
    random_transactions(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_transactions_on_mariadb_leave_no_trace_of_the_order_in_which_it_happened() {
    random_transactions(&MysqlServer::shared(Flavor::MariaDb).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_several_columns_are_divided_by_those_that_can_be_compared() {
    for flavor in BOTH {
        let rows: Vec<String> = (0..6000)
            .map(|i| format!("('k{}', DATE '2024-01-01' + INTERVAL {} DAY, {}, 0)", i % 7, i % 100, f64::from(i % 13) / 4.0))
            .collect();
        let setup = format!(
            "CREATE TABLE t (a varchar(9) COLLATE utf8mb4_general_ci, b date, c numeric(8,2), n int, PRIMARY KEY (c, b, a)); \
             INSERT IGNORE INTO t VALUES {}; ANALYZE TABLE t",
            rows.join(", ")
        );
        let mut follow = Follow::shared(flavor, &setup, json!({ "tables": ["t"], "chunk_bytes": 8192 }));
        let writers = Writers::start(&follow.database, 3, 2, |random| {
            let (a, b, c) = (random.random_range(0..8), random.random_range(0..101), random.random_range(0..13));
            match random.random_range(0..3) {
                0 => format!("INSERT IGNORE INTO t VALUES ('K{a}', DATE '2024-01-01' + INTERVAL {b} DAY, {c} / 4.0, 0)"),
                1 => format!(
                    "UPDATE t SET n = n + 1 WHERE a = 'k{a}' AND b = DATE '2024-01-01' + INTERVAL {b} DAY AND c = {c} / 4.0"
                ),
                _ => format!("DELETE FROM t WHERE a = 'k{a}' AND c = {c} / 4.0 AND b = DATE '2024-01-01' + INTERVAL {b} DAY"),
            }
        });
        follow_while_writing(&mut follow, writers).await;
        follow.expect("t");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_only_the_server_can_compare_are_read_at_once_and_exact_too() {
    for flavor in BOTH {
        let rows: Vec<String> = (0..3000).map(|i| format!("('k{i}', 'x', 0)")).collect();
        let setup = format!(
            "CREATE TABLE t (id varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v varchar(60), n int); INSERT INTO t VALUES {}",
            rows.join(", ")
        );
        let mut follow = Follow::shared(flavor, &setup, json!({ "tables": ["t"], "chunk_bytes": 8192 }));
        let writers = Writers::start(&follow.database, 4, 2, |random| {
            let key = random.random_range(0..3500);
            match random.random_range(0..4) {
                0 => format!("INSERT IGNORE INTO t VALUES ('K{key}', 'new', 0)"),
                1 => format!("UPDATE t SET n = n + 1 WHERE id = 'k{key}'"),
                2 => format!("UPDATE t SET id = UPPER(id) WHERE id = 'k{key}'"),
                _ => format!("DELETE FROM t WHERE id = 'k{key}'"),
            }
        });
        follow_while_writing(&mut follow, writers).await;
        follow.expect("t");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_while_chunks_are_read_make_the_snapshot_begin_anew_where_they_must() {
    for flavor in BOTH {
        let mut follow = Follow::shared(flavor, &filled(2500), json!({ "tables": ["t"], "chunk_bytes": 4096 }));
        let added = Arc::new(AtomicUsize::new(0));
        let writers = Writers::start(&follow.database, 7, 2, move |random| {
            if random.random_bool(0.01) {
                return "TRUNCATE t".into();
            }
            if random.random_bool(0.01) {
                return format!("ALTER TABLE t ADD c{} int DEFAULT 5", added.fetch_add(1, Ordering::Relaxed));
            }
            integers(random).replace("INTO t VALUES", "INTO t (id, v, n) VALUES")
        });
        follow.announce().await;
        let (log, mut events) = follow.open_from(None, false).await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_millis(2500);
        let mut state = follow.state.clone();
        while let Ok(Some(event)) = tokio::time::timeout_at(deadline, events.next()).await {
            let event = event.unwrap();
            let bounded = matches!(event, ChangeEvent::Boundary(_));
            state.apply(event);
            if bounded {
                follow.state = state.clone();
            }
        }
        writers.stop().await;
        drop((log, events));
        // The last columns are told with the first row that has them.
        follow.database.execute("INSERT INTO t (id, v, n) VALUES (999999, 'last', 0)").unwrap();
        follow.run().await;
        follow.expect("t");
        assert!(follow.state.truncates > 0);
    }
}
