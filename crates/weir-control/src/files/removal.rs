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
