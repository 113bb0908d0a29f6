//! Asking for runs and stopping them.

use chrono::{TimeDelta, Utc};
use weir_error::Kind;
use weir_store::model::*;

use crate::world::*;

both! {
    async fn a_run_is_queued_with_the_jobs_version_and_told(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        tenant.set_job_status(&made.id, JobStatus::Paused).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        assert_eq!((run.status, run.attempt, run.job_version, &run.trigger), (RunStatus::Queued, 0, 1, &Trigger::Manual));
        assert_eq!(world.twin(&tenant).run(&run.id).await.unwrap(), run);
        assert_eq!(world.kinds(&tenant).await.last().unwrap(), "run.queued");
        is(tenant.create_run(manual(&"none".into())).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
    }

    async fn one_fire_starts_one_run(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let fire = |at| NewRun { job_id: made.id.clone(), trigger: Trigger::Schedule { fire_at: at }, not_before: at };
        let first = tenant.create_run(fire(moment(0))).await.unwrap();
        assert_eq!(tenant.run(&first.id).await.unwrap().trigger, Trigger::Schedule { fire_at: moment(0) });
        is(tenant.create_run(fire(moment(0))).await.unwrap_err(), "WEIR-STORE-027", Kind::Conflict);
        tenant.create_run(fire(moment(60))).await.unwrap();
    }

    async fn a_waiting_run_is_cancelled_at_once(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        let cancelled = tenant.request_cancel(&run.id).await.unwrap();
        assert_eq!(cancelled.status, RunStatus::Cancelled);
        assert!(cancelled.ended_at.is_some());
        assert_eq!(tenant.run(&run.id).await.unwrap(), cancelled);
        assert_eq!(&world.kinds(&tenant).await[2..], ["run.finished", "seatunnel-job-completed"]);
        assert!(world.system().claim_run("w", LEASE).await.unwrap().is_none());
        is(tenant.request_cancel(&run.id).await.unwrap_err(), "WEIR-STORE-023", Kind::Conflict);
    }

    async fn a_running_run_is_asked_to_stop(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        assert!(!world.system().heartbeat(&claimed.lease, LEASE).await.unwrap().cancel_requested);
        let asked = tenant.request_cancel(&run.id).await.unwrap();
        assert_eq!((asked.status, asked.cancel_requested), (RunStatus::Running, true));
        tenant.request_cancel(&run.id).await.unwrap();
        assert!(world.other.system().heartbeat(&claimed.lease, LEASE).await.unwrap().cancel_requested);
        world.system().finish(&claimed.lease, ended(RunStatus::Cancelled)).await.unwrap();
        is(tenant.request_cancel(&run.id).await.unwrap_err(), "WEIR-STORE-023", Kind::Conflict);
    }

    async fn a_retry_runs_the_same_version_again(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        is(tenant.retry_run(&run.id).await.unwrap_err(), "WEIR-STORE-023", Kind::Conflict);
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        world.system().finish(&claimed.lease, ended(RunStatus::Failed)).await.unwrap();
        let mut changed = made.body.clone();
        changed.spec = "pipeline: changed\n".into();
        tenant.update_job(&made.id, None, changed, "", None).await.unwrap();
        let again = tenant.retry_run(&run.id).await.unwrap();
        assert_eq!((again.job_version, again.status), (1, RunStatus::Queued));
        assert_ne!(again.id, run.id);
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        assert_eq!((claimed.run.id, claimed.job.body.spec, claimed.job.version), (again.id, made.body.spec, 2));
    }

    async fn runs_are_listed_by_job_status_and_time(world) {
        let tenant = world.tenant("acme").await;
        let a = tenant.create_job(job("a"), vec![]).await.unwrap();
        let b = tenant.create_job(job("b"), vec![]).await.unwrap();
        let mut ids = Vec::new();
        for number in 0..6 {
            ids.push(tenant.create_run(manual(if number % 2 == 0 { &a.id } else { &b.id })).await.unwrap());
        }
        tenant.request_cancel(&ids[0].id).await.unwrap();
        tenant.request_cancel(&ids[1].id).await.unwrap();
        let list = async |filter: RunFilter| -> Vec<RunId> {
            let mut request = page(2);
            let mut seen = Vec::new();
            loop {
                let got = tenant.list_runs(&filter, &request).await.unwrap();
                seen.extend(got.items.into_iter().map(|run| run.id));
                match got.next_cursor {
                    Some(cursor) => request.cursor = Some(cursor),
                    None => return seen,
                }
            }
        };
        let at = |picked: &[usize]| picked.iter().map(|index| ids[*index].id.clone()).collect::<Vec<_>>();
        assert_eq!(list(RunFilter::default()).await, at(&[5, 4, 3, 2, 1, 0]));
        assert_eq!(list(RunFilter { job_id: Some(a.id.clone()), ..RunFilter::default() }).await, at(&[4, 2, 0]));
        let statuses = vec![RunStatus::Cancelled, RunStatus::Failed];
        assert_eq!(list(RunFilter { statuses: statuses.clone(), ..RunFilter::default() }).await, at(&[1, 0]));
        assert_eq!(list(RunFilter { statuses, job_id: Some(b.id.clone()), ..RunFilter::default() }).await, at(&[1]));
        let since = Some(ids[3].queued_at);
        assert_eq!(list(RunFilter { since, ..RunFilter::default() }).await, at(&[5, 4, 3]));
    }

    async fn a_listing_in_any_order_has_every_run_once_and_its_pages_meet(world) {
        let tenant = world.tenant("acme").await;
        let mut jobs = Vec::new();
        for name in ["beta", "Alpha", "gamma", "delta"] {
            jobs.push(tenant.create_job(job(name), vec![]).await.unwrap());
        }
        let mut ids: Vec<RunId> = Vec::new();
        // One after the other, so that a claim is known to be of the newest. Two streams of a run are one number.
        for (of, ending) in [(0, Some((RunStatus::Succeeded, [70, 1]))), (1, Some((RunStatus::Failed, [0, 0]))), (2, Some((RunStatus::Succeeded, [3, 4]))), (3, None)] {
            ids.push(tenant.create_run(manual(&jobs[of].id)).await.unwrap().id);
            let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
            assert_eq!(claimed.run.id, ids[of]);
            // More than its end says: what is taken back does not count.
            world.system().progress(&claimed.lease, counts(9), vec![]).await.unwrap();
            if let Some((status, rows)) = ending {
                let streams = rows.into_iter().flat_map(counts).collect();
                world.system().finish(&claimed.lease, Outcome { streams, ..ended(status) }).await.unwrap();
            }
        }
        ids.push(tenant.create_run(manual(&jobs[0].id)).await.unwrap().id);
        ids.push(tenant.create_run(manual(&jobs[1].id)).await.unwrap().id);
        tenant.request_cancel(&ids[5]).await.unwrap();
        let took = async |at: usize| {
            let run = tenant.run(&ids[at]).await.unwrap();
            run.ended_at.unwrap() - run.started_at.unwrap()
        };
        let mut by_time = vec![(took(0).await, 0), (took(1).await, 1), (took(2).await, 2)];
        by_time.sort_by_key(|(took, at)| (*took, ids[*at].clone()));
        for (by, smallest_first) in [
            (RunKey::Queued, vec![0, 1, 2, 3, 4, 5]),
            (RunKey::Started, vec![4, 5, 0, 1, 2, 3]),
            (RunKey::Duration, [3, 4, 5].into_iter().chain(by_time.into_iter().map(|(_, at)| at)).collect()),
            (RunKey::RowsWritten, vec![1, 4, 5, 2, 3, 0]),
            (RunKey::Status, vec![5, 1, 4, 3, 0, 2]),
            (RunKey::Job, vec![1, 5, 0, 4, 3, 2]),
        ] {
            for descending in [false, true] {
                let (mut request, mut seen) = (page(2), Vec::new());
                loop {
                    let got = tenant.list_runs_by(&RunFilter::default(), RunOrder { by, descending }, &request).await.unwrap();
                    seen.extend(got.items.into_iter().map(|run| ids.iter().position(|id| *id == run.id).unwrap()));
                    let Some(cursor) = got.next_cursor else { break };
                    request.cursor = Some(cursor);
                }
                if descending {
                    seen.reverse();
                }
                assert_eq!(seen, smallest_first, "{by:?}, descending: {descending}");
            }
        }
        let by_rows = RunOrder { by: RunKey::RowsWritten, descending: true };
        let done = RunFilter { statuses: vec![RunStatus::Succeeded], job_id: Some(jobs[2].id.clone()), ..RunFilter::default() };
        assert_eq!(tenant.list_runs_by(&done, by_rows, &page(9)).await.unwrap().items[0].id, ids[2]);
        let cursor = tenant.list_runs_by(&RunFilter::default(), by_rows, &page(1)).await.unwrap().next_cursor;
        let newest = tenant.list_runs(&RunFilter::default(), &PageRequest { limit: 1, cursor }).await;
        is(newest.unwrap_err(), "WEIR-STORE-010", Kind::Spec);
    }

    async fn a_log_is_numbered_and_read_on_from_any_line(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let run = tenant.create_run(manual(&made.id)).await.unwrap();
        assert_eq!(tenant.logs(&run.id, 0, 10).await.unwrap(), []);
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        let line = |text: String| NewLogLine { at: moment(0), level: "info".into(), message: text, event: Some(serde_json::json!({"n": 1})) };
        world.system().progress(&claimed.lease, vec![], (1..=70).map(|n| line(format!("line {n}"))).collect()).await.unwrap();
        world.system().progress(&claimed.lease, counts(9), vec![line("with\0nul".into())]).await.unwrap();
        let lines = tenant.logs(&run.id, 68, 10).await.unwrap();
        let told: Vec<_> = lines.iter().map(|line| (line.seq, line.message.as_str())).collect();
        assert_eq!(told, [(69, "line 69"), (70, "line 70"), (71, "with\u{fffd}nul")]);
        assert_eq!((lines[0].at, lines[0].event.clone()), (moment(0), Some(serde_json::json!({"n": 1}))));
        assert_eq!(tenant.logs(&run.id, 0, 3).await.unwrap().len(), 3);
        assert_eq!(tenant.logs(&run.id, 71, 3).await.unwrap(), []);
        assert_eq!(tenant.run(&run.id).await.unwrap().streams, counts(9));
        is(tenant.logs(&"none".into(), 0, 1).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
    }

    async fn a_job_runs_after_the_one_that_it_waits_for(world) {
        let tenant = world.tenant("acme").await;
        let first = tenant.create_job(job("first"), vec![]).await.unwrap();
        let mut next = job("next");
        next.depends_on = vec![Dependency { job_id: first.id.clone() }];
        let next = tenant.create_job(next, vec![]).await.unwrap();
        let waiting = async || tenant.list_runs(&RunFilter { job_id: Some(next.id.clone()), ..RunFilter::default() }, &page(9)).await.unwrap().items;
        let outcome = async |status| {
            tenant.create_run(manual(&first.id)).await.unwrap();
            let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
            world.system().finish(&claimed.lease, ended(status)).await.unwrap()
        };
        outcome(RunStatus::Failed).await;
        assert_eq!(waiting().await, []);
        tenant.set_job_status(&next.id, JobStatus::Paused).await.unwrap();
        outcome(RunStatus::Succeeded).await;
        assert_eq!(waiting().await, []);
        tenant.set_job_status(&next.id, JobStatus::Active).await.unwrap();
        let cause = outcome(RunStatus::Succeeded).await;
        assert_eq!(waiting().await.into_iter().map(|run| run.trigger).collect::<Vec<_>>(), [Trigger::Dependency { run_id: cause.id }]);
    }

    async fn a_job_with_several_dependencies_waits_for_all(world) {
        let tenant = world.tenant("acme").await;
        let a = tenant.create_job(job("a"), vec![]).await.unwrap();
        let b = tenant.create_job(job("b"), vec![]).await.unwrap();
        let mut both = job("both");
        both.depends_on = vec![Dependency { job_id: a.id.clone() }, Dependency { job_id: b.id.clone() }];
        let both = tenant.create_job(both, vec![]).await.unwrap();
        let runs = async || tenant.list_runs(&RunFilter { job_id: Some(both.id.clone()), ..RunFilter::default() }, &page(9)).await.unwrap().items.len();
        let succeed = async |id: &JobId| {
            let run = tenant.create_run(manual(id)).await.unwrap();
            let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
            assert_eq!(claimed.run.id, run.id);
            world.system().finish(&claimed.lease, ended(RunStatus::Succeeded)).await.unwrap();
        };
        let drain = async || {
            let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
            assert_eq!(claimed.job.id, both.id);
            world.system().finish(&claimed.lease, ended(RunStatus::Succeeded)).await.unwrap();
        };
        succeed(&a.id).await;
        succeed(&a.id).await;
        assert_eq!(runs().await, 0);
        succeed(&b.id).await;
        assert_eq!(runs().await, 1);
        drain().await;
        succeed(&b.id).await;
        assert_eq!(runs().await, 1);
        succeed(&a.id).await;
        assert_eq!(runs().await, 2);
    }

    async fn the_days_use_grows_by_what_is_new(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        tenant.create_run(manual(&made.id)).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        assert_eq!(tenant.usage().await.unwrap().concurrent_runs, 1);
        world.system().progress(&claimed.lease, counts(3), vec![]).await.unwrap();
        world.system().progress(&claimed.lease, counts(10), vec![]).await.unwrap();
        assert_eq!(tenant.usage().await.unwrap().rows_today, 10);
        let mut again = ended(RunStatus::Queued);
        again.streams = counts(12);
        again.retry_at = Some(Utc::now() - TimeDelta::seconds(1));
        world.system().finish(&claimed.lease, again).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        assert_eq!(claimed.run.attempt, 2);
        let mut last = ended(RunStatus::Succeeded);
        last.streams = counts(20);
        world.system().finish(&claimed.lease, last).await.unwrap();
        let usage = tenant.usage().await.unwrap();
        assert_eq!((usage.rows_today, usage.bytes_today, usage.concurrent_runs), (20, 200, 0));
    }
}
