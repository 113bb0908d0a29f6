//! The journals that deleted jobs have left, on this machine and in the bucket.
//!
//! As with removed tenants ([`super::removal`]) there is no list of what is still to be done: a deleted job has no journal, and every process makes that
//! true, at its start and once an hour for jobs that it has not looked at. A job whose run has not ended is looked at again soon: that run may be
//! writing.
//!
//! Its checkpoints and dead letters stay, as its runs do; what it keeps at its source (a slot) is taken away by nobody here.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_error::{Error, Result};
use weir_store::model::{AuditEntry, JobId, TenantId};
use weir_store::{Actor, TenantScope};

use super::folder::{self, safe};
use crate::Platform;

/// How often jobs are looked for that were deleted since.
const EVERY: Duration = Duration::from_secs(3600);
/// While there is one whose run has not ended, or whose journal could not be removed.
const AGAIN: Duration = Duration::from_secs(60);

/// Removes the journals of deleted jobs until it is stopped.
pub async fn run(platform: Platform, stop: CancellationToken) {
    let mut seen = HashSet::new();
    loop {
        let pause = match sweep(&platform, &mut seen).await {
            Ok(true) => EVERY,
            Ok(false) => AGAIN,
            Err(error) => {
                platform.metrics.loop_error("journals");
                tracing::warn!(%error, "not all journals of deleted jobs could be removed; trying again");
                AGAIN
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = platform.signals.next_deletion() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// All of them but those in `seen`; whether none is left for later. The first error, after all were tried.
async fn sweep(platform: &Platform, seen: &mut HashSet<JobId>) -> Result<bool> {
    let (mut first, mut all) = (Ok(()), true);
    for log in platform.store.system().deleted_logs().await? {
        if log.running {
            all = false;
        } else if !seen.contains(&log.job) {
            match remove(platform, &log.tenant, &log.job).await {
                Ok(()) => {
                    seen.insert(log.job);
                }
                Err(error) => first = first.and(Err(error)),
            }
        }
    }
    first.map(|()| all)
}

/// What there was is written to the tenant's audit log.
async fn remove(platform: &Platform, tenant: &TenantId, job: &JobId) -> Result<()> {
    let (id, of) = (safe(tenant.as_str())?.to_owned(), safe(job.as_str())?.to_owned());
    let data = platform.settings.data_dir.clone();
    let here = tokio::task::spawn_blocking(move || folder::remove_journals(&data, &id, &of)).await;
    let (files, bytes) = here.map_err(|error| Error::internal("removing a folder").because(error))??;
    let (objects, object_bytes) = platform.files.remove_journals(tenant.as_str(), job.as_str()).await?;
    if files + objects > 0 {
        let entry = AuditEntry {
            action: "job.journal.remove".into(),
            target: format!("job/{job}"),
            outcome: "allowed".into(),
            detail: json!({
                "runner": platform.settings.runner_id, "files": files, "bytes": bytes, "objects": objects,
                "object_bytes": object_bytes,
            }),
        };
        let scope = TenantScope::granted(tenant.clone(), Actor::system("removal"));
        platform.store.tenant(&scope).audit(entry).await?;
        tracing::info!(%tenant, %job, files, objects, "the journal of a deleted job was removed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::Utc;
    use weir_error::Secret;
    use weir_store::model::{AuditFilter, NewJob, NewRun, Outcome, PageRequest, Quotas, RetryPolicy, RunStatus, Trigger};
    use weir_testkit::Minio;

    use super::*;
    use crate::config::Settings;
    use crate::files::FileBucket;
    use crate::testing::Bench;

    fn job(name: &str, mode: &str) -> NewJob {
        NewJob {
            name: name.into(),
            description: None,
            spec: String::new(),
            mode: mode.into(),
            source_kinds: Vec::new(),
            sink_kinds: Vec::new(),
            connections: Vec::new(),
            schedule: None,
            depends_on: Vec::new(),
            retry: RetryPolicy { max_attempts: 1, backoff_secs: 0, max_backoff_secs: 0 },
            timeout_secs: None,
            labels: Default::default(),
        }
    }

    #[tokio::test]
    async fn the_journal_of_a_deleted_job_goes_when_its_run_has_ended_and_no_other() {
        let (minio, data) = (Minio::shared().unwrap(), tempfile::tempdir().unwrap());
        let bucket = minio.create_bucket().unwrap();
        let mut settings = Settings::defaults(data.path()).unwrap();
        settings.files = Some(FileBucket {
            endpoint: Some(minio.endpoint().into()),
            region: minio.region().into(),
            bucket: bucket.name().into(),
            prefix: "prod".into(),
            access_key: minio.access_key().into(),
            secret_key: Secret::new(minio.secret_key()),
        });
        let platform = Platform::open(settings, Arc::new(Bench::new())).await.unwrap();
        let (system, actor) = (platform.store.system(), Actor::system("test"));
        system.create_tenant(&actor, &"acme".into(), "acme", Quotas::default()).await.unwrap();
        let store = platform.store.tenant(&TenantScope::granted("acme".into(), actor));
        let mut jobs = Vec::new();
        for name in ["gone", "running", "stays", "batch"] {
            let mode = if name == "batch" { "batch" } else { "cdc" };
            let job = store.create_job(job(name, mode), Vec::new()).await.unwrap();
            for number in 0..3 {
                bucket.put(&format!("prod/tenants/acme/journals/{}/p/s/log/{number}", job.id), vec![0; 5]).unwrap();
            }
            let folder = data.path().join("tenants/acme/state").join(job.id.as_str());
            std::fs::create_dir_all(folder.join("journal/p/s")).unwrap();
            std::fs::write(folder.join("journal/p/s/0.log"), [0; 4]).unwrap();
            std::fs::write(folder.join("state.db"), [0; 4]).unwrap();
            jobs.push(job.id);
        }
        store.create_run(NewRun { job_id: jobs[1].clone(), trigger: Trigger::Manual, not_before: Utc::now() }).await.unwrap();
        let claimed = system.claim_run("worker", Duration::from_secs(60)).await.unwrap().unwrap();
        for job in [&jobs[0], &jobs[1], &jobs[3]] {
            store.delete_job(job, None).await.unwrap();
        }
        let objects = |job: &JobId| bucket.keys(&format!("prod/tenants/acme/journals/{job}/")).unwrap().len();
        let here = |job: &JobId| data.path().join("tenants/acme/state").join(job.as_str()).join("journal").exists();
        let left = || jobs.iter().map(|job| (objects(job), here(job))).collect::<Vec<_>>();
        let mut seen = HashSet::new();
        assert!(!sweep(&platform, &mut seen).await.unwrap(), "one is left for later");
        assert_eq!(left(), [(0, false), (3, true), (3, true), (3, true)]);
        let (status, streams) = (RunStatus::Cancelled, Vec::new());
        let outcome = Outcome { status, streams, retry_at: None, report: None, error: None, resources: None };
        system.finish(&claimed.lease, outcome).await.unwrap();
        assert!(sweep(&platform, &mut seen).await.unwrap());
        assert_eq!(left(), [(0, false), (0, false), (3, true), (3, true)]);
        // Another process, or this one after a crash: whatever is there again.
        bucket.put(&format!("prod/tenants/acme/journals/{}/p/s/log/9", jobs[0]), vec![0; 5]).unwrap();
        assert!(sweep(&platform, &mut HashSet::new()).await.unwrap());
        assert_eq!(objects(&jobs[0]), 0);
        assert!(data.path().join("tenants/acme/state").join(jobs[0].as_str()).join("state.db").exists());
        let filter = AuditFilter { action: Some("job.journal.remove".into()), ..AuditFilter::default() };
        let told = store.audit_log(&filter, &PageRequest { limit: 9, cursor: None }).await.unwrap();
        let counts: Vec<_> = told.items.iter().map(|row| (row.detail["files"].clone(), row.detail["objects"].clone())).collect();
        assert_eq!(counts, [(json!(0), json!(1)), (json!(1), json!(3)), (json!(1), json!(3))]);
    }
}
