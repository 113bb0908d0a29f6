//! How fast it is on this machine; run by hand: `cargo nextest run -p weir-store --run-ignored only speed --no-capture --release`.

use std::time::Instant;

use tokio::task::JoinSet;
use weir_store::model::*;

use crate::world::*;

const TASKS: usize = 16;

async fn measure<F: Future<Output = ()> + Send + 'static>(
    what: &str,
    times: usize,
    make: impl Fn(usize) -> F + Clone + Send + 'static,
) {
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let make = make.clone();
        tasks.spawn(async move {
            for turn in (task..times).step_by(TASKS) {
                make(turn).await;
            }
        });
    }
    tasks.join_all().await;
    let secs = begun.elapsed().as_secs_f64();
    println!("{what:28} {:>9.0} /s", times as f64 / secs);
}

both! {
    #[ignore = "a measurement"]
    async fn the_hot_paths_are_measured(world) {
        let tenant = world.tenant("acme").await;
        let store = tenant.clone();
        measure("create_job, 0 to 10,000", 10_000, move |n| {
            let store = store.clone();
            async move { store.create_job(job(&format!("job {n}")), vec![]).await.map(drop).unwrap() }
        })
        .await;
        let ids: Vec<_> = tenant.list_jobs(&JobFilter::default(), &page(500)).await.unwrap().items.into_iter().map(|job| job.id).collect();
        let (store, all) = (tenant.clone(), ids.clone());
        measure("job", 20_000, move |n| {
            let (store, id) = (store.clone(), all[n % all.len()].clone());
            async move { store.job(&id).await.map(drop).unwrap() }
        })
        .await;
        let store = tenant.clone();
        measure("list_jobs of 50", 5_000, move |_| {
            let store = store.clone();
            async move { assert_eq!(store.list_jobs(&JobFilter::default(), &page(50)).await.unwrap().items.len(), 50) }
        })
        .await;
        let (store, all) = (tenant.clone(), ids.clone());
        measure("create_run", 3_000, move |n| {
            let (store, id) = (store.clone(), all[n % all.len()].clone());
            async move { store.create_run(manual(&id)).await.map(drop).unwrap() }
        })
        .await;
        let system = world.system();
        measure("claim_run and finish", 2_000, move |_| {
            let system = system.clone();
            async move {
                if let Some(claimed) = system.claim_run("w", LEASE).await.unwrap() {
                    system.finish(&claimed.lease, ended(RunStatus::Succeeded)).await.map(drop).unwrap();
                }
            }
        })
        .await;
        let store = tenant.clone();
        measure("idempotent begin and finish", 3_000, move |n| {
            let store = store.clone();
            async move {
                let key = format!("k{n}");
                store.idempotent_begin(&key, "f").await.unwrap();
                let answer = StoredResponse { status: 201, headers_json: "{}".into(), body: vec![b'x'; 500] };
                store.idempotent_finish(&key, answer).await.unwrap();
            }
        })
        .await;
        let scheduled = world.tenant("cron").await;
        let store = scheduled.clone();
        measure("create scheduled jobs", 10_000, move |n| {
            let store = store.clone();
            let mut new = job(&format!("job {n}"));
            new.schedule = Some((hourly(), moment(0)));
            async move { store.create_job(new, vec![]).await.map(drop).unwrap() }
        })
        .await;
        let begun = Instant::now();
        loop {
            let due = world.system().due_schedules(moment(1), 500).await.unwrap();
            if due.is_empty() {
                break;
            }
            let fires: Vec<_> = due.into_iter().map(|row| {
                let fire = (row.next_fire_at, row.next_fire_at, RunStatus::Queued);
                (row, vec![fire], Some(moment(3600)))
            }).collect();
            world.system().fire_all(&fires).await.unwrap();
        }
        println!("10,000 due jobs fired in      {:>9.2} s", begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let check = world.system().audit_verify(None).await.unwrap();
        println!("audit_verify of {} rows   {:>9.2} s", check.rows, begun.elapsed().as_secs_f64());
    }
}
