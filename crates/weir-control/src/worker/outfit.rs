//! From a claimed run to its work order: stored connections and secrets opened, folders made, limits set. The only place where secrets are
//! opened for a run, and only those that its spec names.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use weir_error::{Error, Kind, Result, Secret};
use weir_store::model::{Claimed, Connection, Job, TenantId, Trigger};
use weir_store::{Actor, TenantScope, TenantStore};

use super::order::{
    Guard, Limits, ObjectStoreDefaults, SecretOptions, StoredConnection, VERSION, VaultAccess, VaultLogin, Verb, WorkOrder,
};
use crate::config::{Environment, VaultAuth};
use crate::files::folder::{self, safe};
use crate::platform::Platform;
use crate::seal::Place;

/// Seconds that a connection test, a discovery or a preview may take.
pub const ERRAND_SECS: u64 = 60;

/// The order of a claimed run.
pub async fn for_run(platform: &Platform, claimed: &Claimed) -> Result<WorkOrder> {
    let (run, job) = (&claimed.run, &claimed.job);
    let verb = match &run.trigger {
        Trigger::Replay { letters } => Verb::Replay { letters: letters.clone() },
        _ => Verb::Run,
    };
    let mut order = empty(platform, &run.tenant_id, verb).await?;
    order.run_id = run.id.to_string();
    order.attempt = run.attempt;
    order.limits.time_secs = job.body.timeout_secs.unwrap_or(platform.settings.job_timeout_secs);
    of_job(platform, job, &mut order)?;
    order.lease_until_ms = claimed.lease.until.timestamp_millis();
    order.trace_parent = run.trace_id.as_deref().map(trace_parent);
    fill(platform, &run.tenant_id, &mut order, &job.body.connections).await?;
    Ok(order)
}

/// The order of an errand: a connection test, a discovery, a preview. `spec` is empty when only a connection is looked at; `connections` are
/// the stored ones that it uses.
pub async fn for_errand(
    platform: &Platform,
    tenant: &TenantId,
    verb: Verb,
    spec: &str,
    connections: &[String],
) -> Result<WorkOrder> {
    let mut order = empty(platform, tenant, verb).await?;
    order.spec = spec.to_string();
    order.limits.time_secs = ERRAND_SECS;
    fill(platform, tenant, &mut order, connections).await?;
    Ok(order)
}

/// The order of a test of a connection that is not stored.
pub async fn for_draft(platform: &Platform, tenant: &TenantId, name: &str, connection: StoredConnection) -> Result<WorkOrder> {
    let verb = Verb::TestConnection { connection: name.to_string() };
    let mut order = empty(platform, tenant, verb).await?;
    order.limits.time_secs = ERRAND_SECS;
    order.connections.insert(name.to_string(), connection);
    fill(platform, tenant, &mut order, &[]).await?;
    Ok(order)
}

/// The order of an errand about what runs of a job have left: its checkpoints and journals.
pub async fn for_errand_of(platform: &Platform, verb: Verb, job: &Job) -> Result<WorkOrder> {
    let mut order = empty(platform, &job.tenant_id, verb).await?;
    order.limits.time_secs = ERRAND_SECS;
    of_job(platform, job, &mut order)?;
    fill(platform, &job.tenant_id, &mut order, &job.body.connections).await?;
    Ok(order)
}

/// Spec, checkpoints and journals of a job.
fn of_job(platform: &Platform, job: &Job, order: &mut WorkOrder) -> Result<()> {
    order.job = job.id.to_string();
    order.spec.clone_from(&job.body.spec);
    order.state_dir = folder(platform, &job.tenant_id, &["state", safe(job.id.as_str())?])?;
    order.journals = platform.files.journals_of(safe(job.tenant_id.as_str())?, safe(job.id.as_str())?);
    order.checkpoints_at_worker = platform.checkpoints.is_some();
    Ok(())
}

async fn empty(platform: &Platform, tenant: &TenantId, verb: Verb) -> Result<WorkOrder> {
    let settings = &platform.settings;
    // No folder is made again for one that was removed.
    let quotas = platform.store.system().present_tenant(tenant).await?.quotas;
    let bucket = platform.files.bucket_of(safe(tenant.as_str())?);
    // With files in a bucket, what is here may be lost: a place to work in, no more.
    let files = folder(platform, tenant, &[if bucket.is_some() { "work" } else { "files" }])?;
    if let Some(limit) = quotas.max_storage_bytes {
        within_storage(platform, tenant, folder(platform, tenant, &[])?, limit).await?;
    }
    // The secrets of the process's own Vault and object store are the platform's; other tenants bring their own.
    let own = tenant.as_str() == settings.tenant_id;
    let object_store = settings.object_store_of(tenant.as_str());
    // One login serves the whole process. Without an answer the run tries itself, and only if it needs a secret.
    let vault_token = match &platform.vault {
        Some(keeper) => keeper.token().await.ok(),
        None => None,
    };
    Ok(WorkOrder {
        version: VERSION,
        verb,
        run_id: String::new(),
        attempt: 1,
        tenant: tenant.to_string(),
        job: String::new(),
        spec: String::new(),
        connections: BTreeMap::new(),
        secrets: BTreeMap::new(),
        vault: settings.vault.as_ref().map(|(address, login)| VaultAccess {
            address: address.clone(),
            login: match (vault_token, login) {
                (Some(token), _) => VaultLogin::Token(token),
                (None, VaultAuth::Token(token)) => VaultLogin::Token(token.clone()),
                (None, VaultAuth::AppRole { role_id, secret_id }) => {
                    VaultLogin::AppRole { role_id: role_id.clone(), secret_id: secret_id.clone() }
                }
            },
            namespace: settings.vault_namespace.clone(),
            ca_cert: settings.vault_ca_cert.clone(),
            only_tenant: (!own).then(|| tenant.to_string()),
        }),
        object_store: object_store.map(|(endpoint, access_key, secret_key)| ObjectStoreDefaults {
            endpoint: endpoint.clone(),
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
        }),
        state_dir: files.clone(),
        journals: None,
        guard: Guard {
            file_root: files.clone(),
            bucket,
            deny_private: settings.environment != Environment::Development,
            egress_allow: settings
                .egress_allow
                .iter()
                .cloned()
                .chain(object_store.and_then(|(place, ..)| place_of(place)))
                .collect(),
        },
        base_dir: files,
        limits: Limits {
            memory_bytes: quotas
                .max_memory_bytes_per_run
                .map_or(settings.run_memory_bytes, |own| own.min(settings.run_memory_bytes)),
            cpu_secs: quotas.max_cpu_secs_per_run,
            time_secs: settings.job_timeout_secs,
        },
        checkpoints_at_worker: false,
        trace_parent: None,
        parent_pid: std::process::id(),
        lease_until_ms: i64::MAX,
    })
}

/// `host:port` of an address, as the egress policy takes it: who is given the platform's object store must be able to reach it.
fn place_of(address: &str) -> Option<String> {
    let url = url::Url::parse(address).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// Opens the connections and the secrets that the order names.
async fn fill(platform: &Platform, tenant: &TenantId, order: &mut WorkOrder, connections: &[String]) -> Result<()> {
    let store = platform.store.tenant(&TenantScope::granted(tenant.clone(), Actor::system("worker")));
    for name in connections {
        // One that is gone is told by the planner, with the place in the file.
        if let Some(connection) = store.connection_by_name(name).await? {
            order.connections.insert(name.clone(), open(platform, tenant, &connection)?);
        }
    }
    let mut wanted = BTreeSet::new();
    names(&order.spec, &mut wanted);
    for connection in order.connections.values() {
        names_in(&connection.options, &mut wanted);
        connection.secrets.0.values().for_each(|value| names_in(value, &mut wanted));
    }
    for name in wanted {
        if let Some(secret) = secret(platform, &store, tenant, &name).await? {
            order.secrets.insert(name, secret);
        }
    }
    Ok(())
}

fn open(platform: &Platform, tenant: &TenantId, connection: &Connection) -> Result<StoredConnection> {
    let body = &connection.body;
    let secrets = match &body.sealed {
        None => Map::new(),
        Some(sealed) => {
            let plain = platform.keys.open(&Place { tenant, table: "connection", row: &body.name }, sealed)?;
            serde_json::from_slice(&plain).map_err(|_| {
                Error::new("WEIR-WORKER-030", Kind::Data, "the sealed options of a connection are not readable")
                    .at(format!("connection `{}`", body.name))
                    .hint("set its secrets again")
            })?
        }
    };
    Ok(StoredConnection { kind: body.kind.clone(), options: body.options.clone(), secrets: SecretOptions(secrets) })
}

async fn secret(platform: &Platform, store: &TenantStore, tenant: &TenantId, name: &str) -> Result<Option<Secret>> {
    let Some(sealed) = store.secret(name).await? else { return Ok(None) };
    let plain = platform.keys.open(&Place { tenant, table: "secret", row: name }, &sealed)?;
    let text = String::from_utf8(plain).map_err(|_| {
        Error::new("WEIR-WORKER-031", Kind::Data, "a stored secret is no text")
            .at(format!("secret `{name}`"))
            .hint("set it again")
    })?;
    Ok(Some(Secret::new(text)))
}

/// The names in `{{name}}`; the same letters as in weir-secrets' grammar.
fn names(text: &str, found: &mut BTreeSet<String>) {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        let body = &rest[at + 2..];
        let end = body.find(|c: char| !letter(c) && !c.is_whitespace()).unwrap_or(body.len());
        let name = body[..end].trim();
        if body[end..].starts_with("}}") && !name.is_empty() && name.chars().all(letter) {
            found.insert(name.to_string());
        }
        rest = &rest[at + 1..];
    }
}

fn names_in(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => names(text, found),
        Value::Array(items) => items.iter().for_each(|item| names_in(item, found)),
        Value::Object(map) => map.values().for_each(|item| names_in(item, found)),
        _ => {}
    }
}

/// Where all is that a run of the tenant may see.
pub(super) fn tenant_folder(platform: &Platform, tenant: &TenantId) -> Result<PathBuf> {
    folder(platform, tenant, &[])
}

/// A folder of the tenant, made if it is not there, for this user only.
fn folder(platform: &Platform, tenant: &TenantId, below: &[&str]) -> Result<PathBuf> {
    let mut path = folder::of_tenant(&platform.settings.data_dir, tenant.as_str())?;
    path.extend(below);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .map_err(|error| Error::from(error).at(path.display().to_string()))?;
    Ok(path)
}

async fn within_storage(platform: &Platform, tenant: &TenantId, root: PathBuf, limit: u64) -> Result<()> {
    let here = tokio::task::spawn_blocking(move || bytes_below(&root)).await.unwrap_or(0);
    let used = here.saturating_add(platform.files.used(tenant.as_str(), limit.saturating_sub(here)).await?);
    if used <= limit {
        return Ok(());
    }
    Err(Error::new("WEIR-WORKER-023", Kind::Limit, "the tenant's storage is full")
        .because(format!("it holds at least {used} bytes; its quota is {limit}"))
        .hint("delete files that are not needed any more, or raise the tenant's max_storage_bytes"))
}

/// Bytes of all files below a folder; links are not followed.
fn bytes_below(root: &Path) -> u64 {
    let mut total = 0;
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) if metadata.is_file() => total += metadata.len(),
                _ => {}
            }
        }
    }
    total
}

/// A W3C `traceparent` for a child span of the run's trace.
fn trace_parent(trace_id: &str) -> String {
    format!("00-{trace_id}-{:016x}-01", rand::random::<u64>().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_the_grammar_writes_them() {
        let mut found = BTreeSet::new();
        names("a: Bearer {{api_key}}\nb: {{ other.key-1 }} {{no good}} {{}} {{x\n}} {{{y}}} {{", &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["api_key", "other.key-1", "x", "y"]);
    }

    #[test]
    fn a_folder_is_measured_without_following_links() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("sub")).unwrap();
        std::fs::write(root.path().join("sub/a"), [0; 70]).unwrap();
        std::fs::write(root.path().join("b"), [0; 30]).unwrap();
        std::os::unix::fs::symlink("/", root.path().join("sub/everything")).unwrap();
        assert_eq!(bytes_below(root.path()), 100);
    }
}
