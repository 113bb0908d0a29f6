//! Other systems. Each is asked once and given five seconds.

use std::time::Duration;

use tokio::net::TcpStream;
use weir_control::access::check_issuer;
use weir_control::config::{OtlpEndpoint, Settings, show};
use weir_control::files::TenantFiles;
use weir_control::vault_keeper;
use weir_store::Store;

use super::Finding;
use crate::commands::runner::reachable;

const PATIENCE: Duration = Duration::from_secs(5);

/// The database answers, and its schema is not newer than this program's. Its tables are left as they are.
pub async fn database(settings: &Settings) -> Finding {
    const PART: &str = "database";
    let shown = show::without_login(settings.database_url.expose());
    let file = settings.database_url.expose().strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
    if let Some(file) = file
        && !std::path::Path::new(file).exists()
    {
        return Finding::ok(PART, format!("{shown} will be made by the first start"));
    }
    match tokio::time::timeout(PATIENCE * 2, Store::schema_versions(&settings.database_url)).await {
        Err(_) => Finding::fail(PART, format!("{shown} does not answer"), "check DATABASE_URL and the network"),
        Ok(Err(error)) => Finding::error(PART, &error),
        Ok(Ok((0, _))) => Finding::ok(PART, format!("{shown} is empty; the first start prepares it")),
        Ok(Ok((has, wants))) if has < wants => {
            let hint = "a SQLite file is copied to `backups` first; of PostgreSQL make a backup yourself";
            Finding::warn(PART, format!("{shown} has schema {has}; the next start brings it to {wants}"), hint)
        }
        Ok(Ok((has, _))) => Finding::ok(PART, format!("{shown}, schema {has}")),
    }
}

/// The bucket of tenants' files can be written, read, listed and deleted from. An object of our own is left there for a moment.
pub async fn files(settings: &Settings) -> Option<Finding> {
    const PART: &str = "files";
    let bucket = settings.files.clone()?;
    let shown = bucket.shown();
    let files = match TenantFiles::new(Some(bucket)) {
        Ok(files) => files,
        Err(error) => return Some(Finding::error(PART, &error)),
    };
    Some(match files.ready().await {
        Ok(()) => Finding::ok(PART, format!("{shown} can be written, read, listed and deleted from")),
        Err(error) => Finding::error(PART, &error),
    })
}

/// Nobody listens on our address, or it is a server of ours.
pub async fn address(settings: &Settings) -> Finding {
    const PART: &str = "address";
    let listen = settings.listen;
    let error = match tokio::net::TcpListener::bind(listen).await {
        Ok(_) => return Finding::ok(PART, format!("{listen} is free")),
        Err(error) => error,
    };
    if error.kind() != std::io::ErrorKind::AddrInUse {
        return Finding::fail(PART, format!("{listen}: {error}"), "choose another address with --listen or WEIR_LISTEN");
    }
    let asked = get(&format!("http://{}/health", reachable(listen))).await;
    match asked.ok().and_then(|body| serde_json::from_str::<serde_json::Value>(&body).ok()) {
        Some(body) if body.get("runner_id").is_some() => {
            let runner = body["runner_id"].as_str().unwrap_or_default();
            Finding::ok(PART, format!("{listen} is served by {runner}: {}", body["status"].as_str().unwrap_or("unknown")))
        }
        _ => Finding::fail(
            PART,
            format!("somebody else listens on {listen}"),
            "stop it, or choose another address with --listen or WEIR_LISTEN",
        ),
    }
}

/// Vault is there, open, and takes our login.
pub async fn vault(settings: &Settings) -> Option<Finding> {
    const PART: &str = "Vault";
    let keeper = match vault_keeper(settings) {
        Ok(keeper) => keeper?,
        Err(error) => return Some(Finding::error(PART, &error)),
    };
    let hint = "check VAULT_ADDRESS, VAULT_CACERT and the network";
    Some(match tokio::time::timeout(PATIENCE, keeper.health()).await {
        Err(_) => Finding::fail(PART, "it does not answer", hint),
        Ok(Err(why)) => Finding::fail(PART, why, hint),
        Ok(Ok(health)) if !health.initialized => Finding::fail(PART, "it was never set up", "vault operator init"),
        Ok(Ok(health)) if health.sealed => Finding::fail(PART, "it is sealed", "vault operator unseal"),
        Ok(Ok(_)) => match tokio::time::timeout(PATIENCE, keeper.token()).await {
            Err(_) => Finding::fail(PART, "the login is not answered", hint),
            Ok(Err(why)) => {
                Finding::fail(PART, why, "set VAULT_TOKEN, or VAULT_ROLE_ID with VAULT_SECRET_ID, to a login that is good")
            }
            Ok(Ok(_)) => Finding::ok(PART, "unsealed, and takes our login"),
        },
    })
}

/// The broker's port is open.
pub async fn pulsar(settings: &Settings) -> Option<Finding> {
    let url = settings.pulsar_url.as_deref()?;
    if !cfg!(feature = "pulsar") {
        let hint = "build weir with the feature `pulsar`, or unset PULSAR_URL";
        return Some(Finding::fail("Pulsar", "this build has no Pulsar client", hint));
    }
    Some(port("Pulsar", url, 6650, "PULSAR_URL").await)
}

/// Every Ignite answers its REST interface.
pub async fn ignite(settings: &Settings) -> Option<Finding> {
    const PART: &str = "Ignite";
    if settings.ignite_hosts.is_empty() {
        return None;
    }
    let mut away = Vec::new();
    for host in &settings.ignite_hosts {
        let base = if host.contains("://") { host.clone() } else { format!("http://{host}") };
        match get(&format!("{}/ignite?cmd=version", base.trim_end_matches('/'))).await {
            Ok(body) if body.contains("successStatus") => {}
            Ok(_) => away.push(format!("{host}: no REST interface of Ignite")),
            Err(why) => away.push(format!("{host}: {why}")),
        }
    }
    let hint = "IGNITE_HOSTS are the endpoints of the module ignite-rest-http, port 8080 unless set otherwise";
    Some(match away.len() {
        0 => Finding::ok(PART, format!("{} of {} answer", settings.ignite_hosts.len(), settings.ignite_hosts.len())),
        n if n < settings.ignite_hosts.len() => Finding::warn(PART, away.join("; "), hint),
        _ => Finding::fail(PART, away.join("; "), hint),
    })
}

/// The collector's port is open.
pub async fn tracing(settings: &Settings) -> Option<Finding> {
    const PART: &str = "tracing";
    let endpoint = settings.tracing_endpoint.as_deref()?;
    Some(match OtlpEndpoint::parse(endpoint) {
        Ok(endpoint) => port(PART, &endpoint.url, 4318, "TRACING_ENDPOINT").await,
        Err(why) => Finding::fail(PART, why, OtlpEndpoint::allowed()),
    })
}

/// The issuer's keys can be read.
pub async fn issuer(settings: &Settings) -> Option<Finding> {
    const PART: &str = "sign-in";
    let oidc = settings.oidc.as_ref()?;
    Some(match check_issuer(oidc).await {
        Ok(0) => Finding::fail(
            PART,
            format!("{} publishes no key that is used here", oidc.issuer),
            "OIDC_ALGORITHMS must name what it signs with",
        ),
        Ok(keys) => Finding::ok(PART, format!("{} publishes {keys} keys", oidc.issuer)),
        Err(error) => Finding::error(PART, &error),
    })
}

async fn port(part: &'static str, address: &str, default: u16, variable: &str) -> Finding {
    let hint = format!("check {variable} and the network");
    let place = reqwest::Url::parse(address).ok();
    let Some((host, port)) =
        place.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default().unwrap_or(default))))
    else {
        return Finding::fail(part, format!("{variable} is no address"), hint);
    };
    let place = format!("{}:{port}", host);
    match tokio::time::timeout(PATIENCE, TcpStream::connect((host.trim_matches(['[', ']']), port))).await {
        Err(_) => Finding::fail(part, format!("{place} does not answer"), hint),
        Ok(Err(error)) => Finding::fail(part, format!("{place} cannot be reached: {error}"), hint),
        Ok(Ok(_)) => Finding::ok(part, format!("{place} can be reached")),
    }
}

async fn get(url: &str) -> std::result::Result<String, String> {
    let told = |error: reqwest::Error| weir_error::chain(&error.without_url());
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().map_err(told)?;
    client.get(url).send().await.map_err(told)?.text().await.map_err(told)
}
