//! Fires, each exactly once.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use tokio::task::JoinSet;
use weir_error::Kind;
use weir_store::TenantStore;
use weir_store::model::*;

use crate::world::*;

async fn scheduled(tenant: &TenantStore, name: &str, next: i64) -> Job {
    let mut new = job(name);
    new.schedule = Some((hourly(), moment(next)));
    tenant.create_job(new, vec![]).await.unwrap()
}

both! {
    async fn what_is_due_is_told_longest_due_first(world) {
        let tenant = world.tenant("acme").await;
        let late = scheduled(&tenant, "late", 0).await;
        let later = scheduled(&tenant, "later", -5).await;
        scheduled(&tenant, "not yet", 11).await;
        tenant.create_job(job("never"), vec![]).await.unwrap();
        let paused = scheduled(&tenant, "paused", 0).await;
        tenant.set_job_status(&paused.id, JobStatus::Paused).await.unwrap();
        let deleted = scheduled(&tenant, "deleted", 0).await;
        tenant.delete_job(&deleted.id, None).await.unwrap();
        let due = world.system().due_schedules(moment(10), 10).await.unwrap();
        assert_eq!(due.iter().map(|row| &row.job_id).collect::<Vec<_>>(), [&later.id, &late.id]);
        assert_eq!((&due[1].schedule, due[1].next_fire_at), (&hourly(), moment(0)));
        assert_eq!(world.system().due_schedules(moment(10), 1).await.unwrap().len(), 1);
        assert_eq!(world.system().next_due().await.unwrap(), Some(moment(-5)));
        let id: TenantId = "acme".into();
        world.system().update_tenant(&actor(), &id, None, "x", TenantStatus::Suspended, Quotas::default()).await.unwrap();
        assert_eq!(world.system().due_schedules(moment(10), 10).await.unwrap(), []);
    }

    async fn a_fire_is_taken_once(world) {
        let tenant = world.tenant("acme").await;
        let made = scheduled(&tenant, "a", 0).await;
        let row = world.system().due_schedules(moment(1), 1).await.unwrap().remove(0);
        let fires = [(moment(-60), moment(-60), RunStatus::Skipped), (moment(0), moment(5), RunStatus::Queued)];
        assert!(world.system().fire(&row, &fires, Some(moment(3600))).await.unwrap());
        assert!(!world.other.system().fire(&row, &fires, Some(moment(3600))).await.unwrap());
        let runs = tenant.list_runs(&RunFilter::default(), &page(9)).await.unwrap().items;
        let mut told: Vec<_> = runs.iter().map(|run| (run.trigger.clone(), run.status)).collect();
        told.sort_by_key(|(_, status)| status.as_str());
        assert_eq!(told, [
            (Trigger::Schedule { fire_at: moment(0) }, RunStatus::Queued),
            (Trigger::Schedule { fire_at: moment(-60) }, RunStatus::Skipped),
        ]);
        assert_eq!(tenant.job(&made.id).await.unwrap().body.schedule.unwrap().1, moment(3600));
        assert_eq!(&world.kinds(&tenant).await[1..], ["run.skipped", "run.queued"]);
        assert!(world.system().due_schedules(moment(3600), 1).await.unwrap()[0].unfinished);
        for run in runs {
            if run.status == RunStatus::Queued {
                tenant.request_cancel(&run.id).await.unwrap();
            } else {
                is(tenant.request_cancel(&run.id).await.unwrap_err(), "WEIR-STORE-023", Kind::Conflict);
            }
        }
        assert!(!world.system().due_schedules(moment(3600), 1).await.unwrap()[0].unfinished);
    }

    async fn of_many_jobs_those_that_changed_meanwhile_are_left_out(world) {
        let (acme, other) = (world.tenant("acme").await, world.tenant("other").await);
        let mut jobs = Vec::new();
        for number in 0..130 {
            jobs.push(scheduled(if number % 4 == 0 { &other } else { &acme }, &format!("j{number}"), number).await);
        }
        let rows = world.system().due_schedules(moment(500), 500).await.unwrap();
        assert_eq!(rows.iter().map(|row| &row.job_id).collect::<Vec<_>>(), jobs.iter().map(|job| &job.id).collect::<Vec<_>>());
        // One was paused, one was fired by somebody else, one has this fire's run already.
        acme.set_job_status(&jobs[1].id, JobStatus::Paused).await.unwrap();
        let fire = |row: &ScheduleRow| vec![(row.next_fire_at, row.next_fire_at, RunStatus::Queued)];
        assert!(world.other.system().fire(&rows[2], &fire(&rows[2]), Some(moment(9000))).await.unwrap());
        let first = NewRun { trigger: Trigger::Schedule { fire_at: moment(4) }, ..manual(&jobs[4].id) };
        other.create_run(first).await.unwrap();
        let mut due: Vec<_> = rows.iter().map(|row| (row.clone(), fire(row), Some(row.next_fire_at + TimeDelta::hours(1)))).collect();
        // A row of another tenant's job moves nothing.
        let mut foreign = due[3].clone();
        foreign.0.tenant_id = "other".into();
        due.push(foreign);
        let taken = world.system().fire_all(&due).await.unwrap();
        let left: Vec<_> = (0..due.len()).filter(|index| !taken[*index]).collect();
        assert_eq!(left, [1, 2, 130]);
        assert_eq!(acme.job(&jobs[3].id).await.unwrap().body.schedule.unwrap().1, moment(3603));
        let runs = |store: TenantStore| async move { store.list_runs(&RunFilter::default(), &page(500)).await.unwrap().items };
        let (mine, theirs) = (runs(acme.clone()).await, runs(other.clone()).await);
        assert_eq!((mine.len(), theirs.len()), (96, 33), "none of the paused one, one of each other");
        assert_eq!(mine.iter().chain(&theirs).map(|run| &run.job_id).collect::<BTreeSet<_>>().len(), 129);
        assert!(mine.iter().all(|run| run.tenant_id.as_str() == "acme" && run.status == RunStatus::Queued));
        // One event for each job and each run.
        assert_eq!(other.outbox_head().await.unwrap(), 33 + 33);
    }

    async fn a_job_that_was_changed_meanwhile_does_not_fire(world) {
        let tenant = world.tenant("acme").await;
        let made = scheduled(&tenant, "a", 0).await;
        let row = world.system().due_schedules(moment(1), 1).await.unwrap().remove(0);
        let fires = [(moment(0), moment(0), RunStatus::Queued)];
        tenant.set_job_status(&made.id, JobStatus::Paused).await.unwrap();
        assert!(!world.system().fire(&row, &fires, None).await.unwrap());
        tenant.set_job_status(&made.id, JobStatus::Active).await.unwrap();
        let mut moved = made.body.clone();
        moved.schedule = Some((Schedule { cron: "7 * * * *".into(), ..hourly() }, moment(420)));
        tenant.update_job(&made.id, None, moved, "", None).await.unwrap();
        assert!(!world.system().fire(&row, &fires, None).await.unwrap());
        assert_eq!(tenant.list_runs(&RunFilter::default(), &page(9)).await.unwrap().items, []);
    }

    async fn a_schedule_without_a_next_fire_is_never_due_again(world) {
        let tenant = world.tenant("acme").await;
        let made = scheduled(&tenant, "a", 0).await;
        let row = world.system().due_schedules(moment(1), 1).await.unwrap().remove(0);
        assert!(world.system().fire(&row, &[], None).await.unwrap());
        assert_eq!(world.system().due_schedules(moment(1) + TimeDelta::days(9999), 9).await.unwrap(), []);
        let never = tenant.job(&made.id).await.unwrap();
        assert!(never.body.schedule.as_ref().unwrap().1 > moment(0) + TimeDelta::days(365_000));
        tenant.update_job(&made.id, None, never.body.clone(), "", None).await.unwrap();
        assert_eq!(tenant.job(&made.id).await.unwrap().body, never.body);
        assert_eq!(tenant.list_jobs(&JobFilter::default(), &page(1)).await.unwrap().items[0].next_fire_at, None);
    }

    async fn two_replicas_fire_a_thousand_jobs_once_each(world) {
        let tenant = world.tenant("acme").await;
        let mut expected = BTreeSet::new();
        for number in 0..250 {
            expected.insert(scheduled(&tenant, &format!("j{number}"), number % 7).await.id);
        }
        // Four fires of each job.
        for round in 0..4_i64 {
            let mut replicas = JoinSet::new();
            for number in 0..4 {
                let system = if number % 2 == 0 { world.store.system() } else { world.other.system() };
                replicas.spawn(async move {
                    let mut mine = 0;
                    loop {
                        let due = system.due_schedules(moment(round * 3600 + 10), 60).await.unwrap();
                        if due.is_empty() {
                            return mine;
                        }
                        let next = |row: &ScheduleRow| {
                            let fire = (row.next_fire_at, row.next_fire_at, RunStatus::Queued);
                            (row.clone(), vec![fire], Some(row.next_fire_at + TimeDelta::hours(1)))
                        };
                        if number < 2 {
                            let all: Vec<_> = due.iter().map(next).collect();
                            mine += system.fire_all(&all).await.unwrap().into_iter().filter(|taken| *taken).count();
                        } else {
                            for row in &due {
                                let (row, fires, next) = next(row);
                                mine += usize::from(system.fire(&row, &fires, next).await.unwrap());
                            }
                        }
                    }
                });
            }
            assert_eq!(replicas.join_all().await.into_iter().sum::<usize>(), 250);
        }
        let mut fired = Vec::new();
        let mut request = page(500);
        loop {
            let got = tenant.list_runs(&RunFilter::default(), &request).await.unwrap();
            fired.extend(got.items.into_iter().map(|run| (run.job_id, serde_json::to_string(&run.trigger).unwrap())));
            match got.next_cursor {
                Some(cursor) => request.cursor = Some(cursor),
                None => break,
            }
        }
        assert_eq!(fired.len(), 1000);
        assert_eq!(fired.iter().cloned().collect::<BTreeSet<_>>().len(), 1000);
        assert_eq!(fired.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>(), expected);
        assert_eq!(tenant.outbox_head().await.unwrap(), 1250);
    }
}
