//! The snapshot while others write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use weir_testkit::{Database, PostgresServer};

use super::Follow;

/// Writers of random transactions, until they are stopped. Returns how many committed.
struct Writers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    fn start(
        database: &Database,
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
                    let client = database.client().await.unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        client.batch_execute("BEGIN").await.unwrap();
                        let mut good = true;
                        for _ in 0..random.random_range(1..6) {
                            let sql = statement(&mut random);
                            // A deadlock or a key that is there already: the transaction is over.
                            good &= client.batch_execute(&sql).await.is_ok();
                            if !good {
                                break;
                            }
                        }
                        let end = if good && random.random_bool(0.85) { "COMMIT" } else { "ROLLBACK" };
                        client.batch_execute(end).await.unwrap();
                        done.fetch_add(1, Ordering::Relaxed);
                        // Not faster than the checks of the applier.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
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
        0..=2 => format!("INSERT INTO t VALUES ({key}, 'new', 0) ON CONFLICT (id) DO UPDATE SET n = t.n + 1"),
        3..=6 => format!("UPDATE t SET n = n + 1, v = 'u' || n WHERE id = {key}"),
        7 => format!("DELETE FROM t WHERE id = {key}"),
        8 => format!("UPDATE t SET id = id + 1500 WHERE id = {key} AND NOT EXISTS (SELECT FROM t WHERE id = {key} + 1500)"),
        _ => {
            format!("SAVEPOINT s; UPDATE t SET n = -1 WHERE id = {key}; ROLLBACK TO s; UPDATE t SET n = n + 10 WHERE id = {key}")
        }
    }
}

/// Runs until the writers are done and everything was read, and checks each key's history.
async fn follow_while_writing(follow: &mut Follow, writers: Writers) {
    follow.announce().await;
    // The applier checks that no key is created twice, or changed before it is there.
    let (log, mut events) = follow.open_from(None, false).await.unwrap();
    let mut stopping = None;
    let mut writers = Some(writers);
    loop {
        let event = tokio::time::timeout(Duration::from_secs(60), futures::StreamExt::next(&mut events)).await;
        let event = event.expect("no event for a minute").expect("the stream ended").unwrap();
        let bounded = match &event {
            weir_connect::ChangeEvent::Boundary(boundary) => Some(boundary.clone()),
            _ => None,
        };
        follow.state.apply(event);
        if let Some(boundary) = bounded {
            let complete = boundary.position["tables"].as_object().unwrap().values().all(|table| table["done"] == true);
            if complete && stopping.is_none() {
                // A little more after the snapshot, then no more.
                let taken = writers.take().unwrap();
                stopping = Some(tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    taken.stop().await
                }));
            }
            log.acknowledge(&boundary.position).await.unwrap();
            if stopping.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) {
                break;
            }
        }
    }
    assert!(stopping.unwrap().await.unwrap() > 10, "hardly anything was written meanwhile");
    drop((log, events));
    follow.run().await;
    for ((stream, key), history) in &follow.state.history {
        let numbers: Vec<i64> = history
            .iter()
            .filter_map(|(op, row)| (*op != weir_connect::Op::Delete).then(|| row.get("n")?.as_ref()?.parse().ok())?)
            .collect();
        // Between a delete and the next row a number may fall; without one it never does.
        let deleted = history.iter().any(|(op, _)| *op == weir_connect::Op::Delete);
        assert!(deleted || numbers.is_sorted(), "{stream} {key}: {history:?}");
    }
}

fn rounds() -> u32 {
    std::env::var("WEIR_CDC_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

#[test]
fn random_transactions_while_chunks_are_read_leave_no_trace_of_the_order_in_which_it_happened() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: rounds(), failure_persistence: None, ..Config::default() });
    let strategy = (any::<u32>(), 8_u64..64, 1_usize..4, prop_oneof![Just("DEFAULT"), Just("FULL")]);
    runner
        .run(&strategy, |(seed, chunk_kib, writers, identity)| {
            runtime.block_on(async {
                let mut follow = Follow::shared(
                    &format!(
                        "CREATE TABLE t (id int PRIMARY KEY, v text, n int); ALTER TABLE t REPLICA IDENTITY {identity}; \
                         INSERT INTO t SELECT i, 'start', 0 FROM generate_series(0, 2999) i WHERE i % 3 > 0"
                    ),
                    json!({ "tables": ["t"], "chunk_bytes": chunk_kib * 1024 }),
                );
                let writers = Writers::start(&follow.database, seed.into(), writers, integers);
                follow_while_writing(&mut follow, writers).await;
                follow.expect("public.t");
            });
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_several_columns_and_texts_are_divided_too() {
    let mut follow = Follow::shared(
        "CREATE TABLE t (a text, b date, c numeric(8,2), n int, PRIMARY KEY (c, a, b)); \
         INSERT INTO t SELECT 'k' || i % 7, date '2024-01-01' + i % 100, (i % 13) / 4.0, 0 FROM generate_series(0, 9099) i ON CONFLICT DO NOTHING",
        json!({ "tables": ["t"], "chunk_bytes": 16384 }),
    );
    let writers = Writers::start(&follow.database, 3, 2, |random| {
        let (a, b, c) = (random.random_range(0..8), random.random_range(0..101), random.random_range(0..13));
        match random.random_range(0..3) {
            0 => format!("INSERT INTO t VALUES ('k{a}', date '2024-01-01' + {b}, {c} / 4.0, 0) ON CONFLICT DO NOTHING"),
            1 => format!("UPDATE t SET n = n + 1 WHERE a = 'k{a}' AND b = date '2024-01-01' + {b}"),
            _ => format!("DELETE FROM t WHERE a = 'k{a}' AND c = {c} / 4.0 AND b = date '2024-01-01' + {b}"),
        }
    });
    follow_while_writing(&mut follow, writers).await;
    follow.expect("public.t");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_only_the_server_can_compare_are_read_at_once_and_exact_too() {
    let mut follow = Follow::shared(
        "CREATE TABLE t (id text COLLATE \"en-x-icu\" PRIMARY KEY, v text, n int); INSERT INTO t SELECT 'k' || i, 'x', 0 FROM generate_series(0, 5000) i",
        json!({ "tables": ["t"], "chunk_bytes": 8192 }),
    );
    let writers = Writers::start(&follow.database, 4, 2, |random| {
        let key = random.random_range(0..6000);
        match random.random_range(0..3) {
            0 => format!("INSERT INTO t VALUES ('k{key}', 'new', 0) ON CONFLICT DO NOTHING"),
            1 => format!("UPDATE t SET n = n + 1 WHERE id = 'k{key}'"),
            _ => format!("DELETE FROM t WHERE id = 'k{key}'"),
        }
    });
    follow_while_writing(&mut follow, writers).await;
    follow.expect("public.t");
}

#[tokio::test(flavor = "multi_thread")]
async fn truncates_while_chunks_are_read_make_the_snapshot_begin_anew() {
    for seed in 0..2 {
        let mut follow = Follow::shared(
            "CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t SELECT i, 'start', 0 FROM generate_series(0, 2999) i",
            json!({ "tables": ["t"], "chunk_bytes": 8192 }),
        );
        let writers = Writers::start(&follow.database, seed, 2, |random| {
            if random.random_bool(0.02) {
                return "TRUNCATE t; INSERT INTO t SELECT i, 'refilled', 0 FROM generate_series(0, 999) i".into();
            }
            integers(random)
        });
        follow.announce().await;
        let (log, mut events) = follow.open_from(None, false).await.unwrap();
        let deadline = tokio::time::Instant::now() + Duration::from_millis(1500);
        while let Ok(Some(event)) = tokio::time::timeout_at(deadline, futures::StreamExt::next(&mut events)).await {
            follow.state.apply(event.unwrap());
        }
        writers.stop().await;
        // What was applied after the last boundary comes again: from the beginning, into an empty target.
        drop((log, events));
        let mut again = Follow::new(follow.database.clone(), follow.options.clone());
        again.run().await;
        again.expect("public.t");
        assert!(follow.state.truncates > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_tables_at_once_and_one_added_later() {
    let server = PostgresServer::version(18).unwrap();
    let database = server.create_database().unwrap();
    database
        .execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t SELECT i, 'start', 0 FROM generate_series(0, 2999) i; \
             CREATE TABLE late (id int PRIMARY KEY, v text, n int); INSERT INTO late SELECT i, 'start', 0 FROM generate_series(0, 2999) i",
        )
        .unwrap();
    let both = |random: &mut StdRng| {
        let sql = integers(random);
        if random.random_bool(0.5) { sql.replace(" t ", " late ").replace("t.n", "late.n") } else { sql }
    };
    let mut follow = Follow::new(database, json!({ "tables": ["t"], "chunk_bytes": 16384 }));
    let writers = Writers::start(&follow.database, 5, 2, both);
    follow_while_writing(&mut follow, writers).await;
    follow.options = json!({ "tables": ["t", "late"], "chunk_bytes": 8192 });
    let writers = Writers::start(&follow.database, 6, 2, both);
    follow.run().await;
    writers.stop().await;
    follow.run().await;
    follow.expect("public.t");
    follow.expect("public.late");
    follow.options = json!({ "tables": ["late"] });
    follow.database.execute("UPDATE late SET n = 5 WHERE id = 1; DELETE FROM t").unwrap();
    follow.run().await;
    follow.expect("public.late");
    assert!(follow.state.position.as_ref().unwrap()["tables"].get("public.t").is_none());
}
