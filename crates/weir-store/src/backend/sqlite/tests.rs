//! One commit for several: what each of them may rely on.

use std::sync::Arc;

use tokio::task::JoinSet;
use weir_error::{Result, Secret};

use super::super::{Backend, args};
use super::Sqlite;
use crate::model::{NewJob, Quotas, RetryPolicy, RunStatus, Schedule, TenantId};
use crate::{Actor, Store, TenantScope};

struct World {
    dir: tempfile::TempDir,
    backend: Backend,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let backend = open(dir.path()).await;
        let mut tx = backend.begin().await.unwrap();
        tx.script(
            "CREATE TABLE t (x BIGINT PRIMARY KEY, y TEXT); \
             CREATE TABLE parts (x BIGINT REFERENCES t (x) DEFERRABLE INITIALLY DEFERRED)",
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        Self { dir, backend }
    }

    fn sqlite(&self) -> Arc<Sqlite> {
        let Backend::Sqlite(sqlite) = &self.backend else { unreachable!() };
        Arc::clone(sqlite)
    }

    /// Runs the statements as transactions of their own that all wait, in this order; their outcomes, and how many commits it took.
    async fn together(&self, all: Vec<String>) -> (Vec<Result<()>>, u64) {
        let first = self.sqlite().writer.clone().lock_owned().await;
        let before = first.counted.1;
        let mut tasks = JoinSet::new();
        for (index, sql) in all.into_iter().enumerate() {
            let backend = self.backend.clone();
            tasks.spawn(async move { (index, one(&backend, sql).await) });
            self.queued(index + 1).await;
        }
        drop(first);
        let mut outcomes = tasks.join_all().await;
        outcomes.sort_by_key(|(index, _)| *index);
        let after = self.sqlite().writer.lock().await.counted.1;
        (outcomes.into_iter().map(|(_, outcome)| outcome).collect(), after - before)
    }

    /// Waits until so many stand in the queue for the writer.
    async fn queued(&self, count: usize) {
        while self.sqlite().queue.load(std::sync::atomic::Ordering::Relaxed) < count {
            tokio::task::yield_now().await;
        }
    }

    /// What another process sees.
    async fn seen(&self, sql: &'static str) -> Vec<i64> {
        let other = open(self.dir.path()).await;
        let rows = other.fetch_all(sql, args![]).await.unwrap();
        rows.iter().map(|row| row.columns().int().unwrap()).collect()
    }
}

async fn open(dir: &std::path::Path) -> Backend {
    Backend::connect(&Secret::new(format!("sqlite:{}", dir.join("weir.db").display()))).await.unwrap()
}

async fn one(backend: &Backend, sql: String) -> Result<()> {
    let mut tx = backend.begin().await?;
    tx.execute(sql, args![]).await?;
    tx.commit().await
}

fn insert(x: i64) -> String {
    format!("INSERT INTO t (x) VALUES ({x})")
}

const ALL: &str = "SELECT x FROM t ORDER BY x";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_wait_share_a_commit_and_see_each_others_changes_in_turn() {
    let world = World::new().await;
    let mut all = vec![insert(0)];
    all.extend((1..24).map(|x| format!("INSERT INTO t (x) SELECT {x} WHERE (SELECT count(*) FROM t) BETWEEN 1 AND {x}")));
    let (outcomes, commits) = world.together(all).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(commits <= 3, "{commits} commits for 24 changes that waited together");
    assert_eq!(world.seen(ALL).await, (0..24).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_fails_undoes_its_own_part_only() {
    let world = World::new().await;
    one(&world.backend, insert(1000)).await.unwrap();
    // Every third writes something first and fails then.
    let all = (0..30).map(|x| match x % 3 {
        0 => format!("INSERT INTO t (x) VALUES ({x}), (1000)"),
        _ => insert(x),
    });
    let (outcomes, commits) = world.together(all.collect()).await;
    for (x, outcome) in outcomes.iter().enumerate() {
        match x % 3 {
            0 => assert_eq!(outcome.as_ref().unwrap_err().code(), "WEIR-STORE-002"),
            _ => assert!(outcome.is_ok(), "{outcome:?}"),
        }
    }
    assert!(commits <= 3, "{commits}");
    let expected: Vec<i64> = (0..30).filter(|x| x % 3 != 0).chain([1000]).collect();
    assert_eq!(world.seen(ALL).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_is_told_to_all_and_keeps_nothing() {
    let world = World::new().await;
    let mut all: Vec<_> = (0..10).map(insert).collect();
    // Looked at by the commit.
    all.insert(5, "INSERT INTO parts (x) VALUES (77)".into());
    let (outcomes, _) = world.together(all).await;
    let told: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().err().map(weir_error::Error::code)).collect();
    let kept = world.seen(ALL).await;
    // Who was told so is kept, and nobody else: with all in one group that is nobody.
    let fine: Vec<i64> =
        (0..11).filter(|at| told[*at].is_none()).map(|at| if at > 5 { at as i64 - 1 } else { at as i64 }).collect();
    assert_eq!(kept, fine, "{told:?}");
    assert!(told[5].is_some() && told.iter().filter(|code| **code == Some("WEIR-STORE-014")).count() > 1, "{told:?}");
    let (outcomes, _) = world.together((20..24).map(insert).collect()).await;
    assert!(outcomes.iter().all(Result::is_ok), "the writer goes on: {outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_database_itself_has_undone_is_told_to_the_whole_group() {
    let world = World::new().await;
    one(&world.backend, insert(1000)).await.unwrap();
    let mut all: Vec<_> = (0..10).map(insert).collect();
    all.insert(5, "INSERT OR ROLLBACK INTO t (x) VALUES (1000)".into());
    let (outcomes, _) = world.together(all).await;
    let fine = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_ok());
    let mut fine: Vec<i64> = fine.map(|(at, _)| if at > 5 { at as i64 - 1 } else { at as i64 }).collect();
    assert!(fine.len() < 10, "those before it were told");
    assert!(fine.ends_with(&[7, 8, 9]), "those behind it were not harmed: {outcomes:?}");
    fine.push(1000);
    assert_eq!(world.seen(ALL).await, fine);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_takes_nobody_along() {
    let world = World::new().await;
    for round in 0..30_i64 {
        let held = world.sqlite().writer.clone().lock_owned().await;
        let mut tasks = Vec::new();
        for number in 0..8 {
            let backend = world.backend.clone();
            tasks.push(tokio::spawn(async move { one(&backend, insert(round * 8 + number)).await }));
        }
        world.queued(8).await;
        drop(held);
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        for task in tasks.iter().step_by(3) {
            task.abort();
        }
        for (number, task) in (0..).zip(tasks) {
            match task.await {
                Ok(outcome) => outcome.unwrap(),
                Err(aborted) => assert!(aborted.is_cancelled() && number % 3 == 0),
            }
        }
        let seen = world.seen(ALL).await;
        assert!((0..8).filter(|number| number % 3 != 0).all(|number| seen.contains(&(round * 8 + number))), "{round}: {seen:?}");
    }
}

#[tokio::test]
async fn nothing_follows_a_statement_that_has_failed() {
    let world = World::new().await;
    let mut tx = world.backend.begin().await.unwrap();
    tx.execute(insert(1), args![]).await.unwrap();
    tx.execute(insert(1), args![]).await.unwrap_err();
    tx.execute(insert(2), args![]).await.unwrap_err();
    tx.later(insert(3), args![]).await.unwrap_err();
    tx.commit().await.unwrap_err();
    assert_eq!(world.seen(ALL).await, Vec::<i64>::new());
}

#[tokio::test]
async fn rows_touched_are_those_of_the_statement_itself_whatever_went_with_it() {
    let world = World::new().await;
    let mut tx = world.backend.begin().await.unwrap();
    tx.later("INSERT INTO t (x) VALUES ($1), ($2)", args![1_i64, 2_i64]).await.unwrap();
    tx.later("INSERT INTO t (x, y) VALUES ($1, $2)", args![3_i64, "three"]).await.unwrap();
    assert_eq!(tx.execute("UPDATE t SET y = $2 WHERE x = $1", args![9_i64, "none"]).await.unwrap(), 0);
    assert_eq!(tx.execute("UPDATE t SET y = $2 WHERE x <= $1", args![2_i64, "some"]).await.unwrap(), 2);
    tx.later("DELETE FROM t WHERE x = $1", args![1_i64]).await.unwrap();
    let left = tx.fetch_all("SELECT x FROM t WHERE y IN ($1, $2) ORDER BY x", args!["some", "three"]).await.unwrap();
    assert_eq!(left.iter().map(|row| row.columns().int().unwrap()).collect::<Vec<_>>(), [2, 3]);
    // More than go together in one piece.
    for x in 10..60_i64 {
        tx.later("INSERT INTO t (x) VALUES ($1)", args![x]).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(world.seen(ALL).await, [2, 3].into_iter().chain(10..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_value_that_cannot_be_kept_harms_neither_the_transaction_nor_the_next_one() {
    let world = World::new().await;
    for _ in 0..2 {
        let mut tx = world.backend.begin().await.unwrap();
        let refused = tx.later("INSERT INTO t (x, y) VALUES (5, $1)", args!["a\0b"]).await.unwrap_err();
        assert_eq!(refused.code(), "WEIR-STORE-012");
        tx.execute("INSERT INTO t (x, y) VALUES (5, $1)", args!["a\0b"]).await.unwrap_err();
    }
    one(&world.backend, insert(7)).await.unwrap();
    assert_eq!(world.seen(ALL).await, [7]);
}

#[tokio::test]
async fn a_transaction_without_a_statement_is_nothing() {
    let world = World::new().await;
    let before = world.sqlite().writer.lock().await.counted;
    world.backend.begin().await.unwrap().commit().await.unwrap();
    drop(world.backend.begin().await.unwrap());
    assert_eq!(world.sqlite().writer.lock().await.counted, before);
}

fn job(number: usize) -> NewJob {
    NewJob {
        name: format!("job {number}"),
        description: None,
        spec: "pipeline: p\n".into(),
        mode: "batch".into(),
        source_kinds: vec!["file".into()],
        sink_kinds: vec!["file".into()],
        connections: vec!["crm".into()],
        schedule: None,
        depends_on: Vec::new(),
        retry: RetryPolicy::default(),
        timeout_secs: None,
        labels: Default::default(),
    }
}

/// A platform's database with a tenant.
async fn platform() -> (World, Store, crate::TenantStore) {
    let dir = tempfile::tempdir().unwrap();
    let url = Secret::new(format!("sqlite:{}", dir.path().join("weir.db").display()));
    let store = Store::open(&url, dir.path()).await.unwrap();
    let (actor, id) = (Actor::system("test"), TenantId::from("acme"));
    store.system().create_tenant(&actor, &id, "Acme", Quotas::default()).await.unwrap();
    let tenant = store.tenant(&TenantScope::granted(id, actor));
    (World { dir, backend: store.backend.clone() }, store, tenant)
}

/// A trip to the connection's thread costs more than the statements that make it, and a commit more than a trip.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_job_costs_three_trips_and_one_commit_or_its_part_of_one() {
    let (world, store, tenant) = platform().await;
    let counted = async || world.sqlite().writer.lock().await.counted;

    let before = counted().await;
    tenant.create_job(job(0), Vec::new()).await.unwrap();
    let after = counted().await;
    assert_eq!((after.0 - before.0, after.1 - before.1), (3, 1), "trips and commits of one job alone");

    let held = world.sqlite().writer.clone().lock_owned().await;
    let mut tasks = JoinSet::new();
    for number in 1..=30 {
        let tenant = tenant.clone();
        tasks.spawn(async move { tenant.create_job(job(number), Vec::new()).await.map(drop) });
    }
    world.queued(30).await;
    drop(held);
    assert!(tasks.join_all().await.iter().all(Result::is_ok));
    let together = counted().await;
    let (trips, commits) = (together.0 - after.0, together.1 - after.1);
    assert!(trips <= 30 * 3 + commits && commits <= 3, "{trips} trips and {commits} commits of 30 jobs at once");
    let check = store.system().audit_verify(None).await.unwrap();
    assert_eq!((check.broken, check.rows), (None, 32));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fires_of_500_jobs_cost_a_statement_for_ten_of_them() {
    let (world, store, tenant) = platform().await;
    let at = crate::backend::now();
    for number in 0..500 {
        let schedule = Schedule {
            cron: "0 * * * *".into(),
            timezone: "UTC".into(),
            overlap: Default::default(),
            catch_up: Default::default(),
            jitter_secs: 0,
        };
        tenant.create_job(NewJob { schedule: Some((schedule, at)), ..job(number) }, Vec::new()).await.unwrap();
    }
    let rows = store.system().due_schedules(at, 500).await.unwrap();
    let due: Vec<_> = rows.into_iter().map(|row| (row, vec![(at, at, RunStatus::Queued)], None)).collect();
    let before = world.sqlite().writer.lock().await.counted;
    assert_eq!(store.system().fire_all(&due).await.unwrap(), [true; 500]);
    let after = world.sqlite().writer.lock().await.counted;
    assert!(after.0 - before.0 < 70 && after.1 - before.1 == 1, "{before:?} {after:?}");
    assert_eq!(tenant.outbox_head().await.unwrap(), 1000);
}
