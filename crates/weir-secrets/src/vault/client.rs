//! Vault's HTTP API: logging in, renewing, reading one secret.
//!
//! The path of a reference does not say where the engine's mount ends and whether the engine has versions, so Vault is asked first
//! (as `vault kv get` does). Where the token may not ask, the first part is taken as the mount, and both layouts are tried.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::{Map, Value, json};
use weir_error::Secret;

use super::config::{VaultConfig, VaultLogin};

/// How often a request is sent at most.
const TRIES: u32 = 3;
/// The largest answer that is read, in bytes. Vault itself keeps no larger entries by default.
const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;

/// Why a secret was not read.
#[derive(Debug, Clone)]
pub(super) enum Failed {
    /// Something about Vault as a whole: no other path would fare better.
    Server(String),
    /// Something about this path.
    Path(String),
    /// Vault refuses the token for this path: it lacks a capability, or has ended.
    Refused(String),
}

/// A token, and how long Vault keeps it.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub token: Secret,
    /// `None` = it does not end.
    pub life: Option<Duration>,
    pub renewable: bool,
}

/// How Vault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultHealth {
    /// Whether it was ever set up.
    pub initialized: bool,
    /// A sealed one answers nothing.
    pub sealed: bool,
    /// Whether it forwards to another.
    pub standby: bool,
}

/// A status with the JSON that came with it, `Null` if none did.
struct Answer {
    status: StatusCode,
    body: Value,
}

pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    headers: HeaderMap,
    config: VaultConfig,
}

impl Client {
    /// Does not connect.
    pub(super) fn new(config: &VaultConfig) -> Result<Self, String> {
        let base = Url::parse(&config.address).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base.ok_or("VAULT_ADDR is not an address like https://vault.example.org:8200")?;
        let mut headers = HeaderMap::new();
        // Agents that forward requests for others refuse those without it.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let VaultLogin::Token(token) = &config.login {
            header("the Vault token", token.expose())?;
        }
        if let Some(namespace) = &config.namespace {
            headers.insert("x-vault-namespace", header("VAULT_NAMESPACE", namespace)?);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            // Redirects are followed here: the token must not go from https to http.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(config.timeout.min(Duration::from_secs(5)))
            .timeout(config.timeout);
        if let Some(path) = &config.ca_cert {
            let unusable = |why: String| format!("VAULT_CACERT {}: {why}", path.display());
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if certificates.is_empty() {
                return Err(unusable("it holds no PEM certificate".into()));
            }
            builder = certificates.into_iter().fold(builder.tls_built_in_root_certs(false), |b, one| b.add_root_certificate(one));
        }
        let http = builder.build().map_err(|error| format!("no HTTP client can be made for Vault: {}", cause(&error)))?;
        Ok(Self { http, base, headers, config: config.clone() })
    }

    /// Logs in with an AppRole.
    pub(super) async fn log_in(&self, role_id: &str, secret_id: &Secret) -> Result<Grant, Failed> {
        let body = json!({"role_id": role_id, "secret_id": secret_id.expose()});
        let answer = self.send_until(Method::POST, &["auth", "approle", "login"], None, Some(&body)).await?;
        let refused = self.refusal(&answer, secret_id);
        grant(&answer.body).ok_or_else(|| {
            Failed::Server(format!(
                "Vault refuses the AppRole ({}{refused}): check VAULT_ROLE_ID and VAULT_SECRET_ID; the secret may have ended or be used up",
                answer.status.as_u16()
            ))
        })
    }

    /// Prolongs a token.
    pub(super) async fn renew(&self, token: &Secret) -> Result<Grant, Failed> {
        let answer = self.send_until(Method::POST, &["auth", "token", "renew-self"], Some(token), Some(&json!({}))).await?;
        let refused = self.refusal(&answer, token);
        grant(&answer.body)
            .ok_or_else(|| Failed::Refused(format!("Vault does not renew the token ({}{refused})", answer.status.as_u16())))
    }

    /// What Vault says of a token.
    pub(super) async fn look_up(&self, token: &Secret) -> Result<Grant, Failed> {
        let answer = self.send_until(Method::GET, &["auth", "token", "lookup-self"], Some(token), None).await?;
        let refused = self.refusal(&answer, token);
        let data = answer.body.get("data").filter(|_| answer.status.is_success());
        let Some(ttl) = data.and_then(|data| data.get("ttl")).and_then(Value::as_u64) else {
            return Err(Failed::Refused(format!("Vault does not know the token ({}{refused})", answer.status.as_u16())));
        };
        let renewable = data.and_then(|data| data.get("renewable")).and_then(Value::as_bool).unwrap_or(false);
        Ok(Grant { token: token.clone(), life: (ttl > 0).then(|| Duration::from_secs(ttl)), renewable })
    }

    /// How Vault is; asked once, without a token.
    pub(super) async fn health(&self) -> Result<VaultHealth, String> {
        let url = self.url(&["sys", "health"]).map_err(|()| "VAULT_ADDR cannot have a path")?;
        let shown = self.shown();
        let answer = self.once(&Method::GET, url, None, None).await.map_err(|broken| match broken {
            Broken::Passing(why) | Broken::Final(why) => format!("Vault at {shown} {why}"),
        })?;
        let truth = |name: &str| answer.body.get(name).and_then(Value::as_bool);
        match (truth("initialized"), truth("sealed")) {
            (Some(initialized), Some(sealed)) => {
                Ok(VaultHealth { initialized, sealed, standby: truth("standby").unwrap_or(false) })
            }
            _ => Err(format!("what answers at {shown} is no Vault (status {})", answer.status.as_u16())),
        }
    }

    /// The entries of the secret at a path.
    pub(super) async fn secret(&self, path: &str, token: &Secret) -> Result<Map<String, Value>, Failed> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(Failed::Path("the path has an empty part, `.` or `..`".into()));
        }
        let mount = self.mount(&parts, token).await?;
        let (length, versions) = mount.unwrap_or((1, true));
        if parts.len() <= length {
            return Err(Failed::Path(format!("`{path}` is a whole engine; name a secret in it: vault://{path}/NAME#key")));
        }
        let place = if versions { versioned(&parts, length) } else { parts.clone() };
        let answer = self.get(&place, token).await?;
        let mut tried = vec![place.join("/")];
        let mut statuses = vec![answer.status];
        if answer.status.is_success() {
            let data = if versions { answer.body.pointer("/data/data") } else { answer.body.pointer("/data") };
            return entries(data).ok_or_else(|| self.strange(&tried[0], &answer));
        }
        if versions && let Some(reason) = gone(&answer.body) {
            return Err(Failed::Path(reason));
        }
        let refused = self.refusal(&answer, token);
        if mount.is_none() && matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN) {
            let answer = self.get(&parts, token).await?;
            tried.push(parts.join("/"));
            statuses.push(answer.status);
            if answer.status.is_success() {
                return entries(answer.body.pointer("/data")).ok_or_else(|| self.strange(&tried[1], &answer));
            }
        }
        let tried = tried.iter().map(|place| format!("`{place}`")).collect::<Vec<_>>().join(" or ");
        if statuses.contains(&StatusCode::FORBIDDEN) {
            return Err(Failed::Refused(format!(
                "Vault refuses it (403{refused}): give the token's policy the capability `read` on {tried}; or the token has expired"
            )));
        }
        if statuses.contains(&StatusCode::NOT_FOUND) {
            let namespace = match &self.config.namespace {
                Some(name) => format!("in the namespace `{name}`"),
                None => "(no VAULT_NAMESPACE is set)".into(),
            };
            return Err(Failed::Path(format!("Vault has no secret there (404): looked at {tried} {namespace}")));
        }
        Err(Failed::Path(format!("Vault answers {} to {tried}{refused}", answer.status.as_u16())))
    }

    /// How many parts of the path are the engine's mount, and whether the engine has versions. `None`: Vault does not say.
    async fn mount(&self, parts: &[&str], token: &Secret) -> Result<Option<(usize, bool)>, Failed> {
        let place: Vec<&str> = ["sys", "internal", "ui", "mounts"].into_iter().chain(parts.iter().copied()).collect();
        let answer = self.get(&place, token).await?;
        if !answer.status.is_success() {
            return Ok(None);
        }
        let Some(path) = answer.body.pointer("/data/path").and_then(Value::as_str) else { return Ok(None) };
        let mount: Vec<&str> = path.trim_matches('/').split('/').collect();
        let versions = answer.body.pointer("/data/options/version").and_then(Value::as_str) == Some("2");
        Ok(parts.starts_with(&mount).then_some((mount.len(), versions)))
    }

    async fn get(&self, place: &[&str], token: &Secret) -> Result<Answer, Failed> {
        self.send_until(Method::GET, place, Some(token), None).await
    }

    fn url(&self, place: &[&str]) -> Result<Url, ()> {
        let mut url = self.base.clone();
        url.path_segments_mut()?.pop_if_empty().push("v1").extend(place);
        Ok(url)
    }

    /// Sends a request until it works, fails for good, or was tried often enough.
    async fn send_until(
        &self,
        method: Method,
        place: &[&str],
        token: Option<&Secret>,
        body: Option<&Value>,
    ) -> Result<Answer, Failed> {
        let url = self.url(place).map_err(|()| Failed::Server("VAULT_ADDR cannot have a path".into()))?;
        let unseen = Secret::default();
        let mut tries = 0;
        loop {
            tries += 1;
            let problem = match self.once(&method, url.clone(), token, body).await {
                Ok(answer) if answer.status.is_success() || !passing(answer.status) => return Ok(answer),
                // Nobody unseals it within a second: waiting would only hide what is wrong.
                Ok(answer) if told(&answer.body).to_ascii_lowercase().contains("sealed") => {
                    return Err(Failed::Server(format!(
                        "Vault at {} is sealed: unseal it with `vault operator unseal`, then run again",
                        self.shown()
                    )));
                }
                Ok(answer) => format!("answers {}{}", answer.status.as_u16(), self.refusal(&answer, token.unwrap_or(&unseen))),
                Err(Broken::Final(why)) => return Err(Failed::Server(format!("Vault at {} {why}", self.shown()))),
                Err(Broken::Passing(why)) => why,
            };
            if tries == TRIES {
                return Err(Failed::Server(format!("Vault at {} {problem} ({TRIES} tries)", self.shown())));
            }
            tokio::time::sleep(self.config.pause * 2_u32.pow(tries - 1)).await;
        }
    }

    /// One try. A standby server sends its clients to the active one: that is followed once.
    async fn once(&self, method: &Method, url: Url, token: Option<&Secret>, body: Option<&Value>) -> Result<Answer, Broken> {
        let mut response = self.send(method, url, token, body).await?;
        if response.status().is_redirection()
            && let Some(target) = response.headers().get(LOCATION).and_then(|place| place.to_str().ok())
        {
            let target = response.url().join(target).map_err(|_| Broken::Final("redirects to what is no address".into()))?;
            if response.url().scheme() == "https" && target.scheme() != "https" {
                return Err(Broken::Final("redirects from https to http; the token is not sent there".into()));
            }
            response = self.send(method, target, token, body).await?;
        }
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if bytes.len() + piece.len() > MAX_BODY_BYTES {
                return Err(Broken::Final("sends an answer of more than 2 MiB".into()));
            }
            bytes.extend_from_slice(&piece);
        }
        // What is no JSON (a proxy's page) has no place in a message: it might quote the request.
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default() })
    }

    async fn send(&self, method: &Method, url: Url, token: Option<&Secret>, body: Option<&Value>) -> Result<Response, Broken> {
        let mut request = self.http.request(method.clone(), url).headers(self.headers.clone());
        if let Some(token) = token {
            request = request.header("x-vault-token", header("the Vault token", token.expose()).map_err(Broken::Final)?);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &reqwest::Error) -> Broken {
        if error.is_timeout() {
            return Broken::Passing(format!("does not answer within {} s", self.config.timeout.as_secs_f32()));
        }
        let why = cause(error);
        if why.to_ascii_lowercase().contains("certificate") {
            return Broken::Final(format!("cannot be trusted: {why}; set VAULT_CACERT to the certificate of its authority"));
        }
        Broken::Passing(format!("cannot be reached: {why}; check VAULT_ADDR"))
    }

    /// What Vault says about a refusal, as `: text`. Its messages hold no values; what was sent is taken out all the same.
    fn refusal(&self, answer: &Answer, sent: &Secret) -> String {
        let text: String = told(&answer.body).chars().take(300).collect();
        match sent.expose() {
            _ if text.is_empty() => text,
            "" => format!(": {text}"),
            sent => format!(": {}", text.replace(sent, "***")),
        }
    }

    fn strange(&self, place: &str, answer: &Answer) -> Failed {
        Failed::Path(format!("Vault answers {} to `{place}`, but there are no entries in it", answer.status.as_u16()))
    }

    /// The address without anything that a person may have put before the host.
    fn shown(&self) -> String {
        let mut url = self.base.clone();
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.as_str().trim_end_matches('/').to_string()
    }
}

/// Why a try gave no answer.
enum Broken {
    /// Another try may do better.
    Passing(String),
    /// It will not.
    Final(String),
}

fn header(what: &str, value: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(value).map_err(|_| format!("{what} holds characters that cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `secret/lake` → `secret/data/lake`. Who writes the `data` of the API is understood too.
fn versioned<'a>(parts: &[&'a str], mount: usize) -> Vec<&'a str> {
    let mut place = parts.to_vec();
    if parts.get(mount) != Some(&"data") || parts.len() == mount + 1 {
        place.insert(mount, "data");
    }
    place
}

/// The token that an answer grants.
fn grant(body: &Value) -> Option<Grant> {
    let auth = body.get("auth")?;
    let token = auth.get("client_token")?.as_str().filter(|token| !token.is_empty())?;
    let life = auth.get("lease_duration").and_then(Value::as_u64).filter(|secs| *secs > 0).map(Duration::from_secs);
    let renewable = auth.get("renewable").and_then(Value::as_bool).unwrap_or(false);
    Some(Grant { token: Secret::new(token), life, renewable })
}

fn entries(data: Option<&Value>) -> Option<Map<String, Value>> {
    data?.as_object().cloned()
}

/// A 404 with metadata: the secret is known, its newest version is not there any more.
fn gone(body: &Value) -> Option<String> {
    let metadata = body.pointer("/data/metadata")?;
    if metadata.get("destroyed") == Some(&Value::Bool(true)) {
        return Some("its newest version was destroyed: write it again with `vault kv put`".into());
    }
    let time = metadata.get("deletion_time")?.as_str().filter(|time| !time.is_empty())?;
    Some(format!("its newest version was deleted at {time}: bring it back with `vault kv undelete`, or write it again"))
}

/// The texts in `errors`.
fn told(body: &Value) -> String {
    let errors = body.get("errors").and_then(Value::as_array).into_iter().flatten();
    errors.filter_map(Value::as_str).map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Statuses that another try may do away with; 412: a replica that has not yet seen what was written.
fn passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 412 | 429)
}

/// The innermost error: those around it only say that a request failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}
