//! From values to [`Settings`], and what does not go together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::Value;
use weir_error::Secret;

use super::fields::Values;
use super::layers::Problem;
use super::settings::{CostSettings, Environment, KubernetesSettings, LogFormat, OidcSettings, Settings, VaultAuth};
use super::tracing::OtlpEndpoint;
use crate::files::FileBucket;

/// Signature algorithms that a token of an issuer may have: asymmetric ones, so that who can check a token cannot make one.
pub(crate) const ASYMMETRIC: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// Builds the settings; with problems among the results they must not be used. `None`: a value without which nothing can be built is
/// missing, because it could not be read.
pub(super) fn build(values: &Values, warnings: &mut Vec<String>) -> (Option<Settings>, Vec<Problem>) {
    let mut builder = Builder { values, problems: Vec::new(), warnings };
    let settings = builder.settings();
    (settings, builder.problems)
}

struct Builder<'v> {
    values: &'v Values,
    problems: Vec<Problem>,
    warnings: &'v mut Vec<String>,
}

impl Builder<'_> {
    fn settings(&mut self) -> Option<Settings> {
        let listen: SocketAddr = self.text("listen")?.parse().ok()?;
        let environment = match self.text("environment")?.as_str() {
            "development" => Environment::Development,
            _ => Environment::Production,
        };
        if environment == Environment::Development && !listen.ip().is_loopback() {
            self.problem(
                "listen",
                "with --dev nobody needs a token, so only this machine may reach it",
                "127.0.0.1:PORT or [::1]:PORT; without --dev any address",
            );
        }
        let tenant_id = self.text("tenant_id")?;
        if !is_dns_label(&tenant_id) {
            self.problem(
                "tenant_id",
                "it is no tenant's id",
                "lower-case letters, digits and `-`, at most 63, no `-` at the ends",
            );
        }
        let metrics_path = self.text("metrics_path")?;
        if !metrics_path.starts_with('/') || metrics_path.contains(['?', '#', '{', '}', ' ']) {
            self.problem("metrics_path", "it is no path", "a path that begins with `/`");
        }
        let metrics_listen = self.truth("metrics_enabled").then(|| {
            let port = self.whole("metrics_port").unwrap_or(9090);
            SocketAddr::new(listen.ip(), u16::try_from(port).unwrap_or(9090))
        });
        let log_level = match self.text("log_level")?.as_str() {
            "warning" => "warn".to_owned(),
            other => other.to_owned(),
        };
        let minio = self.minio();
        let files = self.files(minio.as_ref());
        if let (Some((_, key, _)), Some(files)) = (&minio, &files)
            && files.access_key == *key
        {
            self.warnings.push(
                "MINIO_ACCESS_KEY reaches the bucket of tenants' files, so no pipeline gets it as a default: give WEIR_FILES keys of its own"
                    .into(),
            );
        }
        Some(Settings {
            environment,
            listen,
            metrics_listen,
            metrics_path,
            database_url: Secret::new(self.text("database_url")?),
            data_dir: PathBuf::from(self.text("data_dir")?),
            runner_id: self.text("runner_id")?,
            tenant_id,
            scheduler: self.truth("scheduler"),
            seal_key: self.secret("seal_key"),
            max_concurrent_jobs: usize::try_from(self.whole("max_concurrent_jobs")?).ok()?,
            job_timeout_secs: self.whole("job_timeout_seconds")?,
            run_memory_bytes: self.whole("run_memory")?,
            drain_secs: self.whole("drain_seconds")?,
            spec_root: PathBuf::from(self.text("spec_root")?),
            vault: self.vault(),
            vault_namespace: self.text("vault_namespace"),
            vault_ca_cert: self.text("vault_ca_cert").map(PathBuf::from),
            kubernetes: self.kubernetes(),
            tracing_endpoint: self.tracing(),
            tracing_service_name: self.text("tracing_service_name")?,
            log_level,
            log_format: if self.text("log_format")? == "text" { LogFormat::Text } else { LogFormat::Json },
            pulsar_url: self.text("pulsar_url"),
            ignite_hosts: self.list("ignite_hosts"),
            alert_webhook_url: self.text("alert_webhook_url"),
            alert_webhook_key: self.secret("alert_webhook_key"),
            minio,
            files,
            airflow_enabled: self.truth("airflow_enabled"),
            oidc: self.oidc(),
            egress_allow: self.egress_allow(),
            supported_engines: self.list("supported_engines"),
            engine_configs: self.engine_configs(),
            cost: CostSettings {
                core_hour: self.amount("cost_core_hour")?,
                gib_hour: self.amount("cost_gib_hour")?,
                gib_moved: self.amount("cost_gib_moved")?,
            },
        })
    }

    fn kubernetes(&mut self) -> Option<KubernetesSettings> {
        let by_default = self.text("placement").as_deref() == Some("kubernetes");
        if !self.truth("kubernetes_enabled") {
            if by_default {
                self.problem(
                    "placement",
                    "runs shall go to Kubernetes, which is not enabled",
                    "KUBERNETES_ENABLED=true, or process",
                );
            }
            return None;
        }
        Some(KubernetesSettings {
            namespace: self.text("kubernetes_namespace").unwrap_or_else(|| "default".into()),
            by_default,
            kubeconfig: self.text("kubernetes_kubeconfig").map(PathBuf::from),
            context: self.text("kubernetes_context"),
            image: self.text("kubernetes_image"),
            volume_claim: self.text("kubernetes_volume_claim"),
            cpu: self.text("kubernetes_cpu")?,
            pending_secs: self.whole("kubernetes_pending_seconds")?,
            ttl_secs: self.whole("kubernetes_ttl_seconds")?,
        })
    }

    fn vault(&mut self) -> Option<(String, VaultAuth)> {
        let (address, token) = (self.text("vault_address"), self.secret("vault_token"));
        let (role, secret) = (self.text("vault_role_id"), self.secret("vault_secret_id"));
        if !self.truth("vault_enabled") {
            return None;
        }
        let Some(address) = address else {
            self.problem("vault_address", "Vault is enabled and has no address", "https://HOST:8200, or VAULT_ENABLED=false");
            return None;
        };
        match (token, role, secret) {
            (Some(token), role, _) => {
                if role.is_some() {
                    self.warnings.push("VAULT_TOKEN and VAULT_ROLE_ID are both set: the token is used".into());
                }
                Some((address, VaultAuth::Token(token)))
            }
            (None, Some(role_id), Some(secret_id)) => Some((address, VaultAuth::AppRole { role_id, secret_id })),
            (None, Some(_), None) => {
                self.problem(
                    "vault_secret_id",
                    "an AppRole needs its secret",
                    "the role's secret id, or VAULT_TOKEN instead of the role",
                );
                None
            }
            (None, None, _) => {
                self.problem(
                    "vault_token",
                    "Vault is enabled and there is no way to log in",
                    "a token, or VAULT_ROLE_ID with VAULT_SECRET_ID",
                );
                None
            }
        }
    }

    fn tracing(&mut self) -> Option<String> {
        let endpoint = self.text("tracing_endpoint").unwrap_or_else(|| "http://localhost:4318/v1/traces".into());
        if !self.truth("tracing_enabled") {
            return None;
        }
        match OtlpEndpoint::parse(&endpoint) {
            Ok(read) => {
                self.warnings.extend(read.warning.clone());
                Some(read.written())
            }
            Err(why) => {
                self.problem("tracing_endpoint", &why, OtlpEndpoint::allowed());
                None
            }
        }
    }

    fn minio(&mut self) -> Option<(String, String, Secret)> {
        let (endpoint, access) = (self.text("minio_endpoint"), self.text("minio_access_key"));
        let secret = self.secret("minio_secret_key");
        match (endpoint, access, secret) {
            (Some(endpoint), Some(access), Some(secret)) => Some((endpoint, access, secret)),
            (None, None, None) => None,
            (endpoint, access, _) => {
                let missing = match (endpoint, access) {
                    (None, _) => "minio_endpoint",
                    (_, None) => "minio_access_key",
                    _ => "minio_secret_key",
                };
                self.problem(
                    missing,
                    "it is missing beside the others",
                    "MINIO_ENDPOINT, MINIO_ACCESS_KEY and MINIO_SECRET_KEY together, or none",
                );
                None
            }
        }
    }

    fn files(&mut self, minio: Option<&(String, String, Secret)>) -> Option<FileBucket> {
        let (endpoint, region) = (self.text("files_endpoint"), self.text("files_region")?);
        let own = (self.text("files_access_key"), self.secret("files_secret_key"));
        let Some(place) = self.text("files") else {
            if endpoint.is_some() || own.0.is_some() || own.1.is_some() {
                self.problem("files", "it is missing beside the others", "s3://BUCKET/PREFIX, or none of WEIR_FILES_…");
            }
            return None;
        };
        let Some((bucket, prefix)) = FileBucket::place(&place) else {
            self.problem("files", "it is no part of a bucket", "s3://BUCKET or s3://BUCKET/PREFIX, of letters, digits and `-_.`");
            return None;
        };
        let (endpoint, access_key, secret_key) = match (own, minio) {
            ((Some(access), Some(secret)), _) => (endpoint, access, secret),
            ((None, None), Some((address, access, secret))) => {
                (Some(endpoint.unwrap_or_else(|| address.clone())), access.clone(), secret.clone())
            }
            ((access, _), _) => {
                let missing = if access.is_none() { "files_access_key" } else { "files_secret_key" };
                self.problem(
                    missing,
                    "the bucket of tenants' files needs keys",
                    "WEIR_FILES_ACCESS_KEY with WEIR_FILES_SECRET_KEY, or MINIO_ENDPOINT with its keys",
                );
                return None;
            }
        };
        Some(FileBucket { endpoint, region, bucket, prefix, access_key, secret_key })
    }

    fn oidc(&mut self) -> Option<OidcSettings> {
        let (audience, algorithms) = (self.text("oidc_audience"), self.list("oidc_algorithms"));
        let (tenant_claim, role_claim) = (self.text("oidc_tenant_claim")?, self.text("oidc_role_claim")?);
        let issuer = self.text("oidc_issuer")?;
        let safe = url::Url::parse(&issuer).is_ok_and(|url| url.scheme() == "https" || is_loopback(&url));
        if !safe {
            self.problem("oidc_issuer", "its keys would come unprotected", "https://…; http:// on this machine only");
        }
        if algorithms.is_empty() || algorithms.iter().any(|name| !ASYMMETRIC.contains(&name.as_str())) {
            self.problem("oidc_algorithms", "it names an algorithm that is not taken", &ASYMMETRIC.join(", "));
        }
        let Some(audience) = audience else {
            self.problem(
                "oidc_audience",
                "an issuer needs an audience, or tokens for others would be taken",
                "the audience of your tokens",
            );
            return None;
        };
        Some(OidcSettings { issuer, audience, algorithms, tenant_claim, role_claim })
    }

    fn egress_allow(&mut self) -> Vec<String> {
        let entries = self.list("egress_allow");
        for entry in &entries {
            if let Err(error) = entry.parse::<weir_egress::Allow>() {
                let what = format!("`{}`: {error}", super::shape::shown(&Value::from(entry.as_str())));
                self.problem("egress_allow", &what, "hosts, `*.suffix`, addresses or CIDR blocks, each with `:PORT` if wanted");
            }
        }
        entries
    }

    fn engine_configs(&mut self) -> BTreeMap<String, Value> {
        let Some(Value::Object(engines)) = self.values.get("engine_configs") else { return BTreeMap::new() };
        if let Some((name, _)) = engines.iter().find(|(_, settings)| !settings.is_object()) {
            let what = format!("what stands under `{}` is no object", super::shape::shown(&Value::from(name.as_str())));
            self.problem("engine_configs", &what, "an object for each engine");
        }
        engines.iter().map(|(name, settings)| (name.clone(), settings.clone())).collect()
    }

    fn problem(&mut self, key: &'static str, what: &str, allowed: &str) {
        self.problems.push(Problem { key, what: what.into(), allowed: allowed.into() });
    }
    fn text(&self, key: &str) -> Option<String> {
        self.values.get(key)?.as_str().map(Into::into)
    }
    fn secret(&self, key: &str) -> Option<Secret> {
        self.text(key).map(Secret::new)
    }
    fn truth(&self, key: &str) -> bool {
        self.values.get(key) == Some(&Value::Bool(true))
    }
    fn whole(&self, key: &str) -> Option<u64> {
        self.values.get(key)?.as_u64()
    }
    fn amount(&self, key: &str) -> Option<f64> {
        self.values.get(key)?.as_f64()
    }
    fn list(&self, key: &str) -> Vec<String> {
        let items = self.values.get(key).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).filter(|word| !word.is_empty()).map(Into::into).collect()
    }
}

/// Whether a text is a DNS label: what a tenant's id must be, because it becomes part of paths, topics and labels.
pub fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
