//! What removed tenants have left: their folder on this machine, their part of the bucket, their checkpoints in the shared database.
//!
//! There is no list of what is still to be done. A tenant that was removed has no files, and every process makes that true: at its start and
//! once an hour for those it has not looked at, and the one that was asked to remove a tenant at once. So a crash, a second process or a
//! bucket that is away for a day change nothing but the time. The store lets nobody remove a tenant whose runs have not ended, and no
//! folder is made again for one.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_error::{Error, Result};
use weir_store::model::{AuditEntry, TenantId, TenantStatus};
use weir_store::{Actor, TenantScope};

use super::folder;
use crate::Platform;

/// How often tenants are looked for that were removed by others.
const EVERY: Duration = Duration::from_secs(3600);
/// After something could not be removed.
const AGAIN: Duration = Duration::from_secs(60);

/// What was found and removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files in the folder on this machine.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects in the bucket.
    pub objects: u64,
    /// Their bytes.
    pub object_bytes: u64,
    /// Rows of checkpoints and dead letters in the shared database.
    pub checkpoint_rows: u64,
}

/// Removes what removed tenants have left until it is stopped.
pub async fn run(platform: Platform, stop: CancellationToken) {
    let mut seen = HashSet::new();
    loop {
        let pause = match sweep(&platform, &mut seen).await {
            Ok(()) => EVERY,
            Err(error) => {
                platform.metrics.loop_error("removal");
                tracing::warn!(%error, "not all that removed tenants have left could be removed; trying again");
                AGAIN
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Removes what a tenant has left in the background; whoever sweeps next takes it up if this process ends first.
pub fn begin(platform: &Platform, tenant: TenantId) {
    let platform = platform.clone();
    tokio::spawn(async move {
        if let Err(error) = of_tenant(&platform, &tenant).await {
            tracing::warn!(%tenant, %error, "what a removed tenant has left could not be removed; it is tried again");
        }
    });
}

/// All of them but those in `seen`; the first error, after all were tried.
async fn sweep(platform: &Platform, seen: &mut HashSet<TenantId>) -> Result<()> {
    let mut first = Ok(());
    for tenant in platform.store.system().removed_tenants().await? {
        if seen.contains(&tenant) {
            continue;
        }
        match of_tenant(platform, &tenant).await {
            Ok(_) => {
                seen.insert(tenant);
            }
            Err(error) => first = first.and(Err(error)),
        }
    }
    first
}

/// Removes what a removed tenant has left; what there was is written to its audit log. Of another tenant nothing is removed.
pub async fn of_tenant(platform: &Platform, tenant: &TenantId) -> Result<Removed> {
    if platform.store.system().tenant(tenant).await?.status != TenantStatus::Removed {
        return Err(Error::internal("files of a tenant that was not removed stay"));
    }
    let mut removed = Removed::default();
    let outcome = remove_all(platform, tenant, &mut removed).await;
    if removed != Removed::default() {
        let entry = AuditEntry {
            action: "tenant.files.remove".into(),
            target: format!("tenant/{tenant}"),
            outcome: if outcome.is_ok() { "allowed" } else { "failed" }.into(),
            detail: json!({
                "runner": platform.settings.runner_id, "files": removed.files, "bytes": removed.bytes, "objects": removed.objects,
                "object_bytes": removed.object_bytes, "checkpoint_rows": removed.checkpoint_rows,
            }),
        };
        let scope = TenantScope::granted(tenant.clone(), Actor::system("removal"));
        platform.store.tenant(&scope).audit(entry).await?;
        tracing::info!(%tenant, ?removed, "what a removed tenant had left was removed");
    }
    outcome.map(|()| removed)
}

async fn remove_all(platform: &Platform, tenant: &TenantId, removed: &mut Removed) -> Result<()> {
    let (data, id) = (platform.settings.data_dir.clone(), tenant.to_string());
    let folder = tokio::task::spawn_blocking(move || folder::remove(&data, &id)).await;
    (removed.files, removed.bytes) = folder.map_err(|error| Error::internal("removing a folder").because(error))??;
    (removed.objects, removed.object_bytes) = platform.files.remove(folder::safe(tenant.as_str())?).await?;
    if let Some(checkpoints) = &platform.checkpoints {
        removed.checkpoint_rows = checkpoints.forget(tenant).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use weir_error::{Kind, Secret};
    use weir_store::model::{JobId, PrincipalKind, Quotas, Role};
    use weir_testkit::{Bucket, Minio};

    use super::*;
    use crate::config::Settings;
    use crate::files::FileBucket;
    use crate::testing::Bench;
    use crate::worker::{Checkpoints, CheckpointsOfJob};

    /// A shared database that is away until told otherwise.
    #[derive(Debug, Default)]
    struct Away(AtomicBool);

    #[async_trait]
    impl Checkpoints for Away {
        fn of(&self, _: &TenantId, _: &JobId) -> Result<Arc<dyn CheckpointsOfJob>> {
            Err(Error::internal("nobody runs"))
        }
        async fn forget(&self, tenant: &TenantId) -> Result<u64> {
            assert_eq!(tenant.as_str(), "acme");
            match self.0.load(Ordering::SeqCst) {
                true => Ok(5),
                false => Err(Error::new("WEIR-TEST-001", Kind::Connect, "the database is away")),
            }
        }
    }

    async fn platform(data: &std::path::Path, bucket: &Bucket, minio: &Minio, away: Arc<Away>) -> Platform {
        let mut settings = Settings::defaults(data).unwrap();
        settings.files = Some(FileBucket {
            endpoint: Some(minio.endpoint().into()),
            region: minio.region().into(),
            bucket: bucket.name().into(),
            prefix: "prod".into(),
            access_key: minio.access_key().into(),
            secret_key: Secret::new(minio.secret_key()),
        });
        Platform::open(settings, Arc::new(Bench::new())).await.unwrap().with_checkpoints(Some(away))
    }

    #[tokio::test]
    async fn what_is_left_is_removed_wherever_it_is_and_what_failed_is_taken_up_again() {
        let (minio, data, away) = (Minio::shared().unwrap(), tempfile::tempdir().unwrap(), Arc::new(Away::default()));
        let bucket = minio.create_bucket().unwrap();
        let platform = platform(data.path(), &bucket, &minio, away.clone()).await;
        let (system, actor) = (platform.store.system(), Actor::system("test"));
        for tenant in ["acme", "acme2"] {
            system.create_tenant(&actor, &tenant.into(), tenant, Quotas::default()).await.unwrap();
            std::fs::create_dir_all(data.path().join("tenants").join(tenant).join("work")).unwrap();
            std::fs::write(data.path().join("tenants").join(tenant).join("work/a"), [0; 10]).unwrap();
            for number in 0..30 {
                bucket.put(&format!("prod/tenants/{tenant}/files/{number}.csv"), vec![0; 2]).unwrap();
            }
        }
        bucket.put("tenants/acme/files/not-ours.csv", vec![0; 2]).unwrap();
        let keeper = platform.store.tenant(&TenantScope::granted("acme2".into(), actor.clone()));
        keeper.create_principal(PrincipalKind::User, "root", Role::PlatformAdmin, None).await.unwrap();
        // Of a tenant that is there nothing goes.
        let mut seen = HashSet::new();
        sweep(&platform, &mut seen).await.unwrap();
        assert!(of_tenant(&platform, &"acme".into()).await.is_err());
        assert_eq!(bucket.keys("prod/tenants/acme/").unwrap().len(), 30);

        let status = weir_store::model::TenantStatus::Suspended;
        system.update_tenant(&actor, &"acme".into(), None, "acme", status, Quotas::default()).await.unwrap();
        system.remove_tenant(&actor, &"acme".into(), None).await.unwrap();
        assert_eq!(sweep(&platform, &mut seen).await.unwrap_err().code(), "WEIR-TEST-001");
        assert!(seen.is_empty() && !data.path().join("tenants/acme").exists());
        away.0.store(true, Ordering::SeqCst);
        // Another process, or this one after a crash in between: something is there again.
        bucket.put("prod/tenants/acme/files/late.csv", vec![0; 2]).unwrap();
        sweep(&platform, &mut seen).await.unwrap();
        sweep(&platform, &mut seen).await.unwrap();
        assert_eq!(bucket.keys("prod/tenants/acme/").unwrap(), Vec::<String>::new());
        assert_eq!(bucket.keys("prod/tenants/acme2/").unwrap().len(), 30);
        assert_eq!(bucket.keys("tenants/acme/").unwrap().len(), 1);
        assert!(data.path().join("tenants/acme2/work/a").exists());

        let page = weir_store::model::PageRequest { limit: 9, cursor: None };
        let filter = weir_store::model::AuditFilter { action: Some("tenant.files.remove".into()), ..Default::default() };
        let told = platform.store.tenant(&TenantScope::granted("acme".into(), actor)).audit_log(&filter, &page).await.unwrap();
        let found = |row: &weir_store::model::AuditRow| {
            ["files", "objects", "object_bytes", "checkpoint_rows"].map(|name| row.detail[name].as_u64().unwrap())
        };
        assert_eq!(told.items.iter().map(found).collect::<Vec<_>>(), [[0, 1, 2, 5], [1, 30, 60, 0]]);
        assert_eq!((told.items[0].outcome.as_str(), told.items[1].outcome.as_str()), ("allowed", "failed"));
    }
}
