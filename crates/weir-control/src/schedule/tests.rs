//! The loop on real databases: each fire once, whoever stops when.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;
use tokio_util::sync::CancellationToken;
use weir_error::Secret;
use weir_store::model::{
    CatchUp, NewJob, Overlap, PageRequest, Quotas, RetryPolicy, RunFilter, RunStatus, Schedule, TenantId, Trigger,
};
use weir_store::{Actor, Store, TenantScope, TenantStore};
use weir_testkit::{Database, PostgresServer};

use super::Scheduler;

fn scope() -> TenantScope {
    TenantScope::granted(TenantId::from("acme"), Actor::system("test"))
}

async fn sqlite(folder: &Path) -> Store {
    let url = Secret::new(format!("sqlite:{}", folder.join("weir.db").display()));
    with_tenant(Store::open(&url, folder).await.unwrap()).await
}

async fn postgres(database: &Database, folder: &Path) -> Store {
    Store::open(&Secret::new(database.url()), folder).await.unwrap()
}

async fn with_tenant(store: Store) -> Store {
    store.system().create_tenant(&Actor::system("test"), &TenantId::from("acme"), "Acme", Quotas::default()).await.unwrap();
    store
}

fn job(n: usize, cron: &str, catch_up: CatchUp, first: DateTime<Utc>) -> NewJob {
    NewJob {
        name: format!("job_{n}"),
        description: None,
        spec: "pipeline: p\n".into(),
        mode: "batch".into(),
        source_kinds: vec!["file".into()],
        sink_kinds: vec!["file".into()],
        connections: vec![],
        schedule: Some((
            Schedule { cron: cron.into(), timezone: "UTC".into(), overlap: Overlap::Queue, catch_up, jitter_secs: 0 },
            first,
        )),
        depends_on: vec![],
        retry: RetryPolicy::default(),
        timeout_secs: None,
        labels: BTreeMap::new(),
    }
}

/// A clock that began at a whole minute and runs a minute in each `minute_ms`.
fn fast(base: DateTime<Utc>, minute_ms: i64) -> (DateTime<Utc>, Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>) {
    let start: DateTime<Utc> = "2025-06-01T00:00:00Z".parse().unwrap();
    let clock = move || start + TimeDelta::milliseconds((Utc::now() - base).num_milliseconds() * 60_000 / minute_ms);
    (start, Arc::new(clock))
}

/// Fires by job, in order; each with its run's status.
async fn fires(store: &TenantStore) -> BTreeMap<String, Vec<(DateTime<Utc>, RunStatus)>> {
    let mut out: BTreeMap<String, Vec<_>> = BTreeMap::new();
    let mut page = PageRequest { limit: 500, cursor: None };
    loop {
        let found = store.list_runs(&RunFilter::default(), &page).await.unwrap();
        for run in found.items {
            let Trigger::Schedule { fire_at } = run.trigger else { panic!("{:?}", run.trigger) };
            out.entry(run.job_id.to_string()).or_default().push((fire_at, run.status));
        }
        match found.next_cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }
    out.values_mut().for_each(|fires| fires.sort_by_key(|(fire, _)| *fire));
    out
}

/// Every minute from the first to the newest, each once.
fn assert_whole(fires: &BTreeMap<String, Vec<(DateTime<Utc>, RunStatus)>>, jobs: usize, first: DateTime<Utc>) -> usize {
    assert_eq!(fires.len(), jobs);
    for (job, fires) in fires {
        for (index, (fire, _)) in fires.iter().enumerate() {
            assert_eq!(*fire, first + TimeDelta::minutes(index as i64), "job {job}: a fire is missing or there twice");
        }
    }
    fires.values().map(Vec::len).sum()
}

#[tokio::test]
async fn due_jobs_fire_once_each_and_sleep_until_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path()).await;
    let tenant = store.tenant(&scope());
    let now: DateTime<Utc> = "2025-06-01T10:00:30Z".parse().unwrap();
    let due = now - TimeDelta::seconds(30);
    for n in 0..600 {
        let (cron, first) = if n < 550 { ("0 * * * *", due) } else { ("30 * * * *", due + TimeDelta::minutes(30)) };
        tenant.create_job(job(n, cron, CatchUp::Last, first), vec![]).await.unwrap();
    }
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = told.clone();
    let scheduler = Scheduler::new(
        &store,
        Arc::new(move |runs| {
            counter.fetch_add(runs, std::sync::atomic::Ordering::SeqCst);
        }),
    )
    .with_clock(Arc::new(move || now));
    assert_eq!(scheduler.turn().await.unwrap(), Duration::from_secs(1));
    let all = fires(&tenant).await;
    assert_eq!((all.len(), told.load(std::sync::atomic::Ordering::SeqCst)), (550, 550));
    assert!(all.values().all(|fires| *fires == [(due, RunStatus::Queued)]));
    scheduler.turn().await.unwrap();
    assert_eq!(fires(&tenant).await, all, "nothing is due any more");
}

#[tokio::test]
async fn an_unfinished_run_makes_the_next_fire_a_skipped_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path()).await;
    let tenant = store.tenant(&scope());
    let first: DateTime<Utc> = "2025-06-01T10:00:00Z".parse().unwrap();
    let mut skipping = job(1, "* * * * *", CatchUp::Last, first);
    if let Some((schedule, _)) = &mut skipping.schedule {
        schedule.overlap = Overlap::Skip;
    }
    tenant.create_job(skipping, vec![]).await.unwrap();
    for minute in 0..2 {
        let now = first + TimeDelta::minutes(minute);
        Scheduler::new(&store, Arc::new(|_| {})).with_clock(Arc::new(move || now)).turn().await.unwrap();
    }
    let statuses: Vec<_> = fires(&tenant).await.into_values().flatten().map(|(_, status)| status).collect();
    assert_eq!(statuses, [RunStatus::Queued, RunStatus::Skipped]);
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_is_switched_off_and_holds_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = sqlite(folder.path()).await;
    let tenant = store.tenant(&scope());
    let first: DateTime<Utc> = "2025-06-01T10:00:00Z".parse().unwrap();
    let broken = tenant.create_job(job(1, "no cron", CatchUp::Last, first), vec![]).await.unwrap();
    tenant.create_job(job(2, "* * * * *", CatchUp::Last, first), vec![]).await.unwrap();
    Scheduler::new(&store, Arc::new(|_| {})).with_clock(Arc::new(move || first)).turn().await.unwrap();
    assert_eq!(fires(&tenant).await.len(), 1);
    assert!(!store.system().due_schedules(first, 10).await.unwrap().iter().any(|row| row.job_id == broken.id));
}

/// Two replicas, each with its own connections, stopped in the middle of whatever they do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_stopped_at_random_moments_fire_each_minute_once() {
    const JOBS: usize = 30;
    const STOPS: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let store = with_tenant(postgres(&database, folder.path()).await).await;
    let tenant = store.tenant(&scope());
    let (start, clock) = fast(Utc::now(), 100);
    for n in 0..JOBS {
        tenant.create_job(job(n, "* * * * *", CatchUp::All, start), vec![]).await.unwrap();
    }
    let scheduler = async || {
        let store = postgres(&database, folder.path()).await;
        Scheduler::new(&store, Arc::new(|_| {})).with_clock(clock.clone())
    };
    let replica = |scheduler: Scheduler| tokio::spawn(async move { scheduler.run(CancellationToken::new()).await });
    let mut replicas = [replica(scheduler().await), replica(scheduler().await)];
    for stop in 0..STOPS {
        let pause = rand::rng().random_range(0..60);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        replicas[stop % 2].abort();
        replicas[stop % 2] = replica(scheduler().await);
    }
    replicas.iter().for_each(|replica| replica.abort());
    let end = clock();
    Scheduler::new(&store, Arc::new(|_| {})).with_clock(Arc::new(move || end)).turn().await.unwrap();
    let runs = assert_whole(&fires(&tenant).await, JOBS, start);
    assert!(runs >= JOBS * 5, "{runs} fires are too few to tell");
}

/// A machine so busy that replicas die before they begin must not let more than a hundred fires pass: older ones are given up on purpose.
const LONG_MINUTE_MS: i64 = 2000;

const REPLICA: &str = "WEIR_TEST_SCHEDULER_REPLICA";

/// Not a test: the process that the one below kills.
#[tokio::test]
#[ignore = "a replica of the long form"]
async fn replica_process() {
    let Ok(order) = std::env::var(REPLICA) else { return };
    let [base, folder, url] = order.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{order}") };
    let store = Store::open(&Secret::new(url), Path::new(folder)).await.unwrap();
    let (_, clock) = fast(DateTime::from_timestamp_millis(base.parse().unwrap()).unwrap(), LONG_MINUTE_MS);
    Scheduler::new(&store, Arc::new(|_| {})).with_clock(clock).run(CancellationToken::new()).await;
}

/// The bar: `kill -9` of either of two replicas, 1,000 times (`WEIR_TEST_KILLS`), and no fire is missing or there twice.
/// `cargo nextest run -p weir-control --run-ignored only -E 'test(thousand)'`; the result is in bench/results.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes; the short form is above"]
async fn two_replica_processes_killed_a_thousand_times_fire_each_minute_once() {
    let kills: usize = std::env::var("WEIR_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    const JOBS: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let store = with_tenant(postgres(&database, folder.path()).await).await;
    let tenant = store.tenant(&scope());
    let base = Utc::now();
    let (start, clock) = fast(base, LONG_MINUTE_MS);
    for n in 0..JOBS {
        tenant.create_job(job(n, "* * * * *", CatchUp::All, start), vec![]).await.unwrap();
    }
    let order = format!("{} {} {}", base.timestamp_millis(), folder.path().display(), database.url());
    let replica = || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "schedule::tests::replica_process"])
            .env(REPLICA, &order)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let begin = Instant::now();
    let mut replicas = [replica(), replica()];
    for kill in 0..kills {
        // A replica needs about 60 ms to begin; it dies while it opens, looks, fires or sleeps.
        let pause = rand::rng().random_range(0..200);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let which = kill % 2;
        replicas[which].kill().unwrap();
        replicas[which].wait().unwrap();
        replicas[which] = replica();
    }
    for replica in &mut replicas {
        replica.kill().unwrap();
        replica.wait().unwrap();
    }
    let end = clock();
    let by_replicas: usize = fires(&tenant).await.values().map(Vec::len).sum();
    Scheduler::new(&store, Arc::new(|_| {})).with_clock(Arc::new(move || end)).turn().await.unwrap();
    let runs = assert_whole(&fires(&tenant).await, JOBS, start);
    let secs = begin.elapsed().as_secs();
    println!(
        "{{\"kills\": {kills}, \"jobs\": {JOBS}, \"fires\": {runs}, \"by_replicas\": {by_replicas}, \"twice\": 0, \"missing\": 0, \"seconds\": {secs}}}"
    );
    assert!(by_replicas * 2 > runs, "the replicas did the work: {by_replicas} of {runs}");
}

/// The other bar: 10,000 cron jobs; how long after the minute the last of those due is in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement; its result is in bench/results"]
async fn ten_thousand_jobs_how_late_they_start() {
    let folder = tempfile::tempdir().unwrap();
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    for (name, store) in
        [("sqlite", sqlite(folder.path()).await), ("postgres", with_tenant(postgres(&database, folder.path()).await).await)]
    {
        let tenant = store.tenant(&scope());
        let first: DateTime<Utc> = "2025-06-01T10:00:00Z".parse().unwrap();
        // Spread over an hour, as people's are: about 167 a minute. All of them are due together at midnight of the 2nd.
        for n in 0..10_000 {
            let minute = n % 60;
            tenant
                .create_job(
                    job(n, &format!("{minute} * * * *"), CatchUp::Last, first + TimeDelta::minutes(minute as i64)),
                    vec![],
                )
                .await
                .unwrap();
        }
        for (what, now) in [("one minute of 60", first), ("all 10,000 at once", first + TimeDelta::minutes(59))] {
            let begin = Instant::now();
            Scheduler::new(&store, Arc::new(|_| {})).with_clock(Arc::new(move || now)).turn().await.unwrap();
            println!("{name}, {what}: {} ms", begin.elapsed().as_millis());
        }
        assert_eq!(fires(&tenant).await.len(), 10_000);
    }
}
