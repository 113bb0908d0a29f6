//! Jobs and versions.

use std::collections::BTreeSet;

use weir_error::Kind;
use weir_store::model::*;

use crate::world::*;

both! {
    async fn a_job_comes_back_as_it_was_given(world) {
        let tenant = world.tenant("acme").await;
        let mut new = job("Orders Ä");
        new.schedule = Some((hourly(), moment(10)));
        new.connections = vec!["crm".into()];
        new.labels.insert("quo\"te".into(), "back\\slash".into());
        let made = tenant.create_job(new.clone(), vec![rule("error_rate")]).await.unwrap();
        assert_eq!((made.version, made.revision, made.status, &made.body), (1, 1, JobStatus::Active, &new));
        assert_eq!(made.created_by, "ann");
        assert_eq!(tenant.job(&made.id).await.unwrap(), made);
        assert_eq!(world.twin(&tenant).job_by_name("Orders Ä").await.unwrap(), Some(made.clone()));
        assert_eq!(tenant.job_by_name("orders ä").await.unwrap(), None);
        assert_eq!(tenant.rules(&made.id).await.unwrap().into_iter().map(|rule| rule.body).collect::<Vec<_>>(), [rule("error_rate")]);
        assert_eq!(world.kinds(&tenant).await, ["seatunnel-pipeline-created-events"]);
        let log = tenant.audit_log(&AuditFilter::default(), &page(1)).await.unwrap();
        assert_eq!((log.items[0].action.as_str(), log.items[0].target.clone()), ("job.create", format!("job/{}", made.id)));
    }

    async fn names_are_unique_until_the_job_is_deleted(world) {
        let tenant = world.tenant("acme").await;
        let first = tenant.create_job(job("a"), vec![]).await.unwrap();
        let second = tenant.create_job(job("b"), vec![]).await.unwrap();
        is(tenant.create_job(job("a"), vec![]).await.unwrap_err(), "WEIR-STORE-021", Kind::Conflict);
        is(tenant.update_job(&second.id, None, job("a"), "", None).await.unwrap_err(), "WEIR-STORE-021", Kind::Conflict);
        world.tenant("other").await.create_job(job("a"), vec![]).await.unwrap();
        tenant.delete_job(&first.id, Some(1)).await.unwrap();
        tenant.create_job(job("a"), vec![]).await.unwrap();
        is(tenant.job(&first.id).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        is(tenant.delete_job(&first.id, None).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
    }

    async fn a_refused_change_leaves_no_trace(world) {
        let tenant = world.tenant("acme").await;
        tenant.create_job(job("a"), vec![]).await.unwrap();
        let before = (tenant.outbox_head().await.unwrap(), tenant.audit_log(&AuditFilter::default(), &page(9)).await.unwrap());
        tenant.create_job(job("a"), vec![rule("x")]).await.unwrap_err();
        let mut hostile = job("nul");
        hostile.description = Some("a\0b".into());
        is(tenant.create_job(hostile, vec![]).await.unwrap_err(), "WEIR-STORE-012", Kind::Spec);
        let mut unbounded = rule("x");
        unbounded.threshold = f64::NAN;
        is(tenant.create_job(job("c"), vec![unbounded]).await.unwrap_err(), "WEIR-STORE-012", Kind::Spec);
        assert_eq!((tenant.outbox_head().await.unwrap(), tenant.audit_log(&AuditFilter::default(), &page(9)).await.unwrap()), before);
        assert_eq!(tenant.list_jobs(&JobFilter::default(), &page(9)).await.unwrap().items.len(), 1);
        tenant.create_job(job("next"), vec![]).await.unwrap();
    }

    async fn only_a_changed_spec_makes_a_version(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let mut next = job("renamed");
        next.spec = made.body.spec.clone();
        let renamed = tenant.update_job(&made.id, Some(1), next.clone(), "rename", None).await.unwrap();
        assert_eq!((renamed.version, renamed.revision), (1, 2));
        next.spec = "pipeline: other\n".into();
        let changed = tenant.update_job(&made.id, Some(2), next.clone(), "other spec", None).await.unwrap();
        assert_eq!((changed.version, changed.revision), (2, 3));
        assert_eq!(tenant.job(&made.id).await.unwrap(), changed);
        is(tenant.update_job(&made.id, Some(2), next, "", None).await.unwrap_err(), "WEIR-STORE-022", Kind::Conflict);
        let versions = tenant.job_versions(&made.id, &page(10)).await.unwrap().items;
        assert_eq!(versions.iter().map(|v| (v.version, v.note.as_str())).collect::<Vec<_>>(), [(2, "other spec"), (1, "created")]);
        assert_eq!(tenant.job_version(&made.id, 1).await.unwrap().spec, made.body.spec);
        is(tenant.job_version(&made.id, 3).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
    }

    async fn of_two_updates_of_one_revision_one_wins(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let twin = world.twin(&tenant);
        let (left, right) = tokio::join!(
            tenant.update_job(&made.id, Some(1), job("left"), "", None),
            twin.update_job(&made.id, Some(1), job("right"), "", None)
        );
        assert!(left.is_ok() != right.is_ok());
        is(left.err().or(right.err()).unwrap(), "WEIR-STORE-022", Kind::Conflict);
        assert_eq!(tenant.job(&made.id).await.unwrap().revision, 2);
    }

    async fn a_schedule_that_stays_keeps_its_next_fire(world) {
        let tenant = world.tenant("acme").await;
        let mut new = job("a");
        new.schedule = Some((hourly(), moment(0)));
        let made = tenant.create_job(new.clone(), vec![]).await.unwrap();
        new.schedule = Some((hourly(), moment(7200)));
        let kept = tenant.update_job(&made.id, None, new.clone(), "", None).await.unwrap();
        assert_eq!(kept.body.schedule.as_ref().unwrap().1, moment(0));
        new.schedule = Some((Schedule { cron: "5 * * * *".into(), ..hourly() }, moment(7200)));
        let moved = tenant.update_job(&made.id, None, new, "", None).await.unwrap();
        assert_eq!(moved.body.schedule.as_ref().unwrap().1, moment(7200));
        assert_eq!(tenant.job(&made.id).await.unwrap(), moved);
        let paused = tenant.set_job_status(&made.id, JobStatus::Paused).await.unwrap();
        assert_eq!(tenant.list_jobs(&JobFilter::default(), &page(1)).await.unwrap().items[0].next_fire_at, None);
        let resumed = tenant.resume_job(&made.id, Some(moment(9000))).await.unwrap();
        assert_eq!((resumed.revision, resumed.body.schedule.as_ref().unwrap().1), (paused.revision + 1, moment(9000)));
        assert_eq!(tenant.job(&made.id).await.unwrap(), resumed);
    }

    async fn a_listing_is_newest_first_and_its_pages_meet(world) {
        let tenant = world.tenant("acme").await;
        for number in 0..25 {
            tenant.create_job(job(&format!("j{number:02}")), vec![]).await.unwrap();
        }
        let mut request = page(10);
        let mut seen = Vec::new();
        loop {
            let got = tenant.list_jobs(&JobFilter::default(), &request).await.unwrap();
            seen.extend(got.items.into_iter().map(|job| job.name));
            // One more at the top does not shift what follows.
            tenant.create_job(job(&format!("late{}", seen.len())), vec![]).await.unwrap();
            let Some(cursor) = got.next_cursor else { break };
            request.cursor = Some(cursor);
        }
        assert_eq!(seen, (0..25).rev().map(|number| format!("j{number:02}")).collect::<Vec<_>>());
        let exact = tenant.list_jobs(&JobFilter { name_contains: Some("J0".into()), ..JobFilter::default() }, &page(10)).await.unwrap();
        assert_eq!((exact.items.len(), exact.next_cursor), (10, None));
    }

    async fn a_listing_in_any_order_has_every_job_once_and_its_pages_meet(world) {
        let tenant = world.tenant("acme").await;
        let mut made = Vec::new();
        for name in ["beta", "Alpha", "delta", "alpha 2", "Zeta", "gamma", "eta"] {
            made.push(tenant.create_job(job(name), vec![]).await.unwrap());
        }
        tenant.set_job_status(&made[2].id, JobStatus::Paused).await.unwrap();
        for at in [4, 0] {
            tenant.create_run(manual(&made[at].id)).await.unwrap();
        }
        let cancelled = tenant.create_run(manual(&made[5].id)).await.unwrap();
        tenant.request_cancel(&cancelled.id).await.unwrap();
        for (by, first) in [
            (JobKey::Created, "beta"),
            (JobKey::Name, "Alpha"),
            (JobKey::Status, ""),
            (JobKey::LastRun, ""),
            (JobKey::LastRunStatus, ""),
        ] {
            let mut orders = Vec::new();
            for descending in [false, true] {
                let filter = JobFilter { order: JobOrder { by, descending }, ..JobFilter::default() };
                let (mut request, mut seen) = (page(2), Vec::new());
                loop {
                    let got = tenant.list_jobs(&filter, &request).await.unwrap();
                    seen.extend(got.items.into_iter().map(|job| job.name));
                    let Some(cursor) = got.next_cursor else { break };
                    request.cursor = Some(cursor);
                }
                orders.push(seen);
            }
            assert_eq!(orders[0].iter().rev().collect::<Vec<_>>(), orders[1].iter().collect::<Vec<_>>(), "{by:?}");
            assert_eq!(orders[0].iter().collect::<BTreeSet<_>>().len(), 7, "{by:?}: {:?}", orders[0]);
            assert!(first.is_empty() || orders[0][0] == first, "{by:?}: {:?}", orders[0]);
            match by {
                JobKey::Name => assert_eq!(orders[0], ["Alpha", "alpha 2", "beta", "delta", "eta", "gamma", "Zeta"]),
                JobKey::Status => assert_eq!(orders[0][6], "delta"),
                JobKey::LastRun => assert_eq!(orders[0][4..], ["Zeta", "beta", "gamma"]),
                JobKey::LastRunStatus => assert_eq!((orders[0][4].as_str(), orders[0].len()), ("gamma", 7)),
                JobKey::Created => {}
            }
        }
        let by_name = JobFilter { order: JobOrder { by: JobKey::Name, descending: false }, ..JobFilter::default() };
        let cursor = tenant.list_jobs(&by_name, &page(1)).await.unwrap().next_cursor;
        let newest = tenant.list_jobs(&JobFilter::default(), &PageRequest { limit: 1, cursor }).await;
        is(newest.unwrap_err(), "WEIR-STORE-010", Kind::Spec);
    }

    async fn a_cursor_of_another_listing_is_refused(world) {
        let tenant = world.tenant("acme").await;
        for name in ["a", "b", "c"] {
            let made = tenant.create_job(job(name), vec![]).await.unwrap();
            tenant.create_run(manual(&made.id)).await.unwrap();
        }
        let cursor = tenant.list_jobs(&JobFilter::default(), &page(1)).await.unwrap().next_cursor.unwrap();
        let of = |cursor: &str| PageRequest { limit: 1, cursor: Some(cursor.to_owned()) };
        tenant.list_jobs(&JobFilter::default(), &of(&cursor)).await.unwrap();
        is(tenant.list_runs(&RunFilter::default(), &of(&cursor)).await.unwrap_err(), "WEIR-STORE-010", Kind::Spec);
        for damaged in ["", "!", "x", &cursor[1..], &format!("{cursor}A"), "ZZZZ", "' OR 1=1 --"] {
            let got = tenant.list_jobs(&JobFilter::default(), &of(damaged)).await;
            if let Err(error) = got {
                is(error, "WEIR-STORE-010", Kind::Spec);
            }
        }
        for limit in [0, 501, u32::MAX] {
            is(tenant.list_jobs(&JobFilter::default(), &page(limit)).await.unwrap_err(), "WEIR-STORE-010", Kind::Spec);
        }
    }

    async fn filters_find_what_they_say_and_nothing_else(world) {
        let tenant = world.tenant("acme").await;
        let mut first = job("Sales_100%");
        first.labels = [("env".to_owned(), "prod".to_owned()), ("z".to_owned(), "\"team\":\"core\"".to_owned())].into();
        first.mode = "cdc".into();
        first.source_kinds = vec!["s3".into()];
        let mut second = job("sales-2");
        second.labels = [("a".to_owned(), "b".to_owned()), ("env".to_owned(), "Prod".to_owned())].into();
        let first = tenant.create_job(first, vec![]).await.unwrap();
        let second = tenant.create_job(second, vec![]).await.unwrap();
        tenant.set_job_status(&second.id, JobStatus::Paused).await.unwrap();
        let label = |name: &str, value: &str| JobFilter { label: Some((name.into(), value.into())), ..JobFilter::default() };
        let name = |part: &str| JobFilter { name_contains: Some(part.into()), ..JobFilter::default() };
        for (filter, found) in [
            (name("SALES"), vec![&second.id, &first.id]),
            (name("_100%"), vec![&first.id]),
            (name("%"), vec![&first.id]),
            (JobFilter { status: Some(JobStatus::Paused), ..JobFilter::default() }, vec![&second.id]),
            (JobFilter { mode: Some("cdc".into()), ..JobFilter::default() }, vec![&first.id]),
            (JobFilter { kind: Some("s3".into()), ..JobFilter::default() }, vec![&first.id]),
            (JobFilter { kind: Some("postgres".into()), ..JobFilter::default() }, vec![&second.id, &first.id]),
            (JobFilter { kind: Some("postgre".into()), ..JobFilter::default() }, vec![]),
            (label("env", "prod"), vec![&first.id]),
            (label("env", "Prod"), vec![&second.id]),
            (label("a", "b"), vec![&second.id]),
            (label("team", "core"), vec![]),
            (label("env", "pro"), vec![]),
        ] {
            let got = tenant.list_jobs(&filter, &page(9)).await.unwrap().items;
            assert_eq!(got.iter().map(|job| &job.id).collect::<Vec<_>>(), found, "{filter:?}");
        }
    }

    async fn a_summary_tells_the_newest_runs_status(world) {
        let tenant = world.tenant("acme").await;
        let made = tenant.create_job(job("a"), vec![]).await.unwrap();
        let status = async || tenant.list_jobs(&JobFilter::default(), &page(1)).await.unwrap().items[0].last_run_status;
        assert_eq!(status().await, None);
        let first = tenant.create_run(manual(&made.id)).await.unwrap();
        assert_eq!(status().await, Some(RunStatus::Queued));
        tenant.request_cancel(&first.id).await.unwrap();
        assert_eq!(status().await, Some(RunStatus::Cancelled));
    }

    async fn the_quota_of_pipelines_holds_under_concurrency(world) {
        let tenant = world.tenant_with("acme", Quotas { max_pipelines: Some(5), ..Quotas::default() }).await;
        let twin = world.twin(&tenant);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..12 {
            let store = if number % 2 == 0 { tenant.clone() } else { twin.clone() };
            tasks.spawn(async move { store.create_job(job(&format!("j{number}")), vec![]).await });
        }
        let results = tasks.join_all().await;
        assert_eq!(results.iter().filter(|made| made.is_ok()).count(), 5);
        results.into_iter().filter_map(Result::err).for_each(|error| is(error, "WEIR-STORE-030", Kind::Limit));
        assert_eq!(tenant.usage().await.unwrap().pipelines, 5);
    }

    async fn dependencies_cannot_go_in_circles(world) {
        let tenant = world.tenant("acme").await;
        let after = |name: &str, others: &[&JobId]| {
            let mut new = job(name);
            new.depends_on = others.iter().map(|id| Dependency { job_id: (*id).clone() }).collect();
            new
        };
        let a = tenant.create_job(job("a"), vec![]).await.unwrap();
        let b = tenant.create_job(after("b", &[&a.id]), vec![]).await.unwrap();
        let c = tenant.create_job(after("c", &[&b.id, &a.id]), vec![]).await.unwrap();
        for hostile in [after("a", &[&c.id]), after("a", &[&b.id]), after("a", &[&a.id]), after("a", &[&"nobody".into()])] {
            is(tenant.update_job(&a.id, None, hostile, "", None).await.unwrap_err(), "WEIR-STORE-025", Kind::Conflict);
        }
        let foreign = world.tenant("other").await.create_job(job("x"), vec![]).await.unwrap();
        is(tenant.create_job(after("d", &[&foreign.id]), vec![]).await.unwrap_err(), "WEIR-STORE-025", Kind::Conflict);
        is(tenant.delete_job(&a.id, None).await.unwrap_err(), "WEIR-STORE-025", Kind::Conflict);
        tenant.update_job(&c.id, None, after("c", &[]), "", None).await.unwrap();
        tenant.update_job(&b.id, None, after("b", &[&c.id]), "", None).await.unwrap();
        tenant.delete_job(&a.id, None).await.unwrap();
    }

    async fn a_deleted_job_takes_its_runs_rules_and_secrets_along(world) {
        let tenant = world.tenant("acme").await;
        let id = JobId::generate();
        let own = format!("job.{id}.1");
        let secrets = vec![(own.clone(), SealedSecret(vec![1])), ("shared".to_owned(), SealedSecret(vec![2]))];
        tenant.create_job_with(id.clone(), job("a"), vec![rule("error_rate")], secrets, JobStatus::Active).await.unwrap();
        assert_eq!(tenant.secret(&own).await.unwrap(), Some(SealedSecret(vec![1])));
        let running = tenant.create_run(manual(&id)).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        let queued = tenant.create_run(manual(&id)).await.unwrap();
        let rules = world.system().all_rules().await.unwrap();
        world.system().fire_alert(&rules[0], 1.0).await.unwrap().unwrap();
        tenant.delete_job(&id, None).await.unwrap();
        assert_eq!(tenant.run(&queued.id).await.unwrap().status, RunStatus::Cancelled);
        assert!(world.system().heartbeat(&claimed.lease, LEASE).await.unwrap().cancel_requested);
        assert_eq!(world.system().finish(&claimed.lease, ended(RunStatus::Queued)).await.unwrap().status, RunStatus::Cancelled);
        assert_eq!(tenant.run(&running.id).await.unwrap().status, RunStatus::Cancelled);
        assert!(world.system().all_rules().await.unwrap().is_empty());
        assert_eq!(tenant.alerts(None, Some(AlertState::Firing), &page(9)).await.unwrap().items, []);
        assert_eq!(tenant.secret_names().await.unwrap().into_iter().map(|secret| secret.name).collect::<Vec<_>>(), ["shared"]);
        is(tenant.create_run(manual(&id)).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        is(tenant.retry_run(&queued.id).await.unwrap_err(), "WEIR-STORE-404", Kind::NotFound);
        assert!(world.kinds(&tenant).await.contains(&"job.deleted".to_owned()));
    }

    async fn deleted_logs_are_known_with_whether_one_still_runs(world) {
        let tenant = world.tenant("acme").await;
        let cdc = |name: &str| NewJob { mode: "cdc".into(), ..job(name) };
        let mut ids = Vec::new();
        for new in [cdc("ended"), cdc("running"), cdc("there"), job("batch")] {
            ids.push(tenant.create_job(new, vec![]).await.unwrap().id);
        }
        tenant.create_run(manual(&ids[1])).await.unwrap();
        let claimed = world.system().claim_run("w", LEASE).await.unwrap().unwrap();
        assert_eq!(world.system().deleted_logs().await.unwrap(), []);
        for id in [&ids[0], &ids[1], &ids[3]] {
            tenant.delete_job(id, None).await.unwrap();
        }
        let found = async || world.system().deleted_logs().await.unwrap().into_iter().map(|log| (log.job, log.running)).collect::<Vec<_>>();
        assert_eq!(found().await, [(ids[0].clone(), false), (ids[1].clone(), true)]);
        world.system().finish(&claimed.lease, ended(RunStatus::Cancelled)).await.unwrap();
        assert_eq!(found().await, [(ids[0].clone(), false), (ids[1].clone(), false)]);
    }
}
