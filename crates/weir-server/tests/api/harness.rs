//! A server, two tenants, a token per role.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_control::Platform;
use weir_control::access::new_token;
use weir_control::config::{Environment, Settings};
use weir_control::workbench::{Checked, Workbench};
use weir_spec::{ConnectorWords, TransformWords, Vocabulary};
use weir_store::model::{NewToken, PrincipalKind, Quotas, Role, TenantId};
use weir_store::{Actor, TenantScope};

/// A running server. Its files are gone with it.
pub struct Server {
    pub base: String,
    pub platform: Platform,
    pub http: reqwest::Client,
    pub folder: tempfile::TempDir,
    tokens: BTreeMap<(String, Role), String>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub const OURS: &str = "ours";
pub const THEIRS: &str = "theirs";

impl Server {
    /// With tenants `ours` and `theirs`.
    pub async fn start() -> Self {
        Self::start_in(Environment::Production).await
    }

    pub async fn start_in(environment: Environment) -> Self {
        Self::start_with(environment, &[]).await
    }

    /// With inner addresses that webhooks may go to.
    pub async fn start_with(environment: Environment, egress_allow: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { egress_allow: egress_allow.to_vec(), ..settings(folder.path(), environment) };
        let platform = Platform::open(settings, Arc::new(Bench)).await.unwrap();
        let platform = platform.with_program(errand(folder.path(), &[])).unwrap();
        let mut tokens = BTreeMap::new();
        for tenant in [OURS, THEIRS] {
            let actor = Actor::system("test");
            let id = TenantId::from(tenant);
            platform.store.system().create_tenant(&actor, &id, tenant, Quotas::default()).await.unwrap();
            let store = platform.store.tenant(&TenantScope::granted(id, actor));
            for role in Role::ALL {
                let principal = store.create_principal(PrincipalKind::User, role.as_str(), role, None).await.unwrap();
                let token = new_token();
                let new = NewToken {
                    principal_id: principal.id,
                    name: "test".into(),
                    prefix: token.prefix,
                    hash: token.hash,
                    role,
                    scopes: Vec::new(),
                    expires_at: None,
                };
                store.create_token(new).await.unwrap();
                tokens.insert((tenant.to_owned(), role), token.secret.expose().to_owned());
            }
        }
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = weir_server::router(platform.clone(), stop.clone());
        let ended = stop.clone();
        let task = tokio::spawn(async move { weir_server::serve(listener, router, ended).await.unwrap() });
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { base: format!("http://{address}"), platform, http, folder, tokens, stop, task }
    }

    pub fn token(&self, tenant: &str, role: Role) -> &str {
        &self.tokens[&(tenant.to_owned(), role)]
    }

    /// A request of a tenant's principal.
    pub fn ask(&self, method: Method, path: &str, tenant: &str, role: Role) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(self.token(tenant, role))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.ask(Method::GET, path, OURS, Role::Admin)
    }

    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.ask(Method::POST, path, OURS, Role::Admin).json(body)
    }

    pub fn put(&self, path: &str, body: &Value) -> RequestBuilder {
        self.ask(Method::PUT, path, OURS, Role::Admin).json(body)
    }

    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.ask(Method::DELETE, path, OURS, Role::Admin)
    }

    /// A job of a tenant, made through the API; its id.
    pub async fn job(&self, tenant: &str, name: &str) -> String {
        let answer = self.ask(Method::POST, "/api/v1/jobs", tenant, Role::Editor).json(&job(name)).send().await.unwrap();
        let answer = expect(answer, StatusCode::CREATED).await;
        answer["id"].as_str().unwrap().to_owned()
    }

    /// What errands say from now on, by their verb; others go on to say that nothing is there.
    pub fn errands_say(&self, said: &[(&str, Value)]) {
        errand(self.folder.path(), said);
    }

    /// Ends the server and waits until it has ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// A program that answers errands with what is said of their verb, and others with what cannot be reached: the test's own program knows
/// no errands.
fn errand(folder: &Path, said: &[(&str, Value)]) -> PathBuf {
    let path = folder.join("errand.sh");
    let arm = |order: &str, answer: Value| format!("{order}) echo '{}' ;;\n", json!({"event": "answer", "answer": answer}));
    let mut arms: String = said.iter().map(|(verb, ok)| arm(&format!("*'\"do\":\"{verb}\"'*"), json!({"ok": ok}))).collect();
    arms += &arm("*", json!({"error": {"code": "WEIR-TEST-001", "kind": "connect", "message": "nothing is there"}}));
    std::fs::write(&path, format!("#!/bin/sh\nread -r order\ncase \"$order\" in\n{arms}esac\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// A path of the table with the numbers that it wants. A part of a path that is ill-formed is a thing that does not exist, whatever else
/// is sent.
pub fn numbered(path: &str) -> String {
    path.replace("{version}", "1").replace("{letter}", "1")
}

/// The body, if the status is the expected one; else both are shown.
pub async fn expect(answer: Response, status: StatusCode) -> Value {
    let (got, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(got, status, "{text}");
    if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

/// A job body.
pub fn job(name: &str) -> Value {
    json!({
        "name": name,
        "source": {"connector_type": "file", "connection_params": {"path": "in.csv"}},
        "sink": {"connector_type": "file", "connection_params": {"path": "out"}},
        "sync_mode": "batch",
    })
}

pub fn settings(folder: &Path, environment: Environment) -> Settings {
    let mut settings = Settings::defaults(folder).unwrap();
    settings.environment = environment;
    settings.tenant_id = OURS.into();
    std::fs::create_dir_all(&settings.spec_root).unwrap();
    settings
}

/// A spec with this in it makes the workbench panic.
pub const PANIC: &str = "panic_please";

/// Pipelines without an engine.
pub struct Bench;

impl Workbench for Bench {
    fn check(&self, text: &str, file: &str, _stored: &[(String, String)]) -> Checked {
        assert!(!text.contains(PANIC), "a spec of the tests asked for this panic");
        let parsed = weir_spec::parse(text, file, &Words);
        let mut diagnostics = parsed.diagnostics;
        diagnostics.extend(parsed.pipelines.iter().flat_map(|pipeline| weir_spec::check_words(pipeline, &Words)));
        Checked { pipelines: parsed.pipelines, diagnostics }
    }

    fn connectors(&self) -> Value {
        json!([{"name": "file"}, {"name": "postgres", "aliases": ["jdbc"]}, {"name": "s3", "aliases": ["minio"]}, {"name": "http"}])
    }

    fn secret_options(&self, kind: &str) -> Option<BTreeSet<String>> {
        match kind {
            "postgres" => Some(BTreeSet::from(["password".to_owned()])),
            "s3" => Some(["access_key", "secret_key"].map(str::to_owned).into()),
            "file" | "http" => Some(BTreeSet::new()),
            _ => None,
        }
    }

    fn check_connection(&self, kind: &str, options: &Value) -> Vec<String> {
        let words = Words.connector(kind).map(|words| words.connection.clone()).unwrap_or_default();
        let known = words["properties"].as_object().cloned().unwrap_or_default();
        let options = options.as_object().cloned().unwrap_or_default();
        options.keys().filter(|name| !known.contains_key(*name)).map(|name| format!("`{name}` is no option of {kind}")).collect()
    }
}

struct Words;

fn texts(names: &[&str], secret: &[&str]) -> Value {
    let mut properties: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), json!({"type": ["string", "null"]}))).collect();
    for name in secret {
        properties.insert((*name).to_owned(), json!({"type": ["string", "null"], "x-weir-secret": true}));
    }
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

impl Vocabulary for Words {
    fn connector(&self, name: &str) -> Option<Arc<ConnectorWords>> {
        let words = |canonical: &str, connection: Value, own: Value, address: &str| {
            Arc::new(ConnectorWords {
                connections_of: Vec::new(),
                canonical: canonical.into(),
                connection,
                source: Some(own.clone()),
                sink: Some(own),
                address_option: address.into(),
            })
        };
        match name {
            "file" => Some(words("file", texts(&[], &[]), texts(&["path", "format"], &[]), "path")),
            "postgres" | "jdbc" => Some(words(
                "postgres",
                texts(&["host", "database", "user"], &["password"]),
                texts(&["table", "query"], &[]),
                "table",
            )),
            "s3" | "minio" => Some(words(
                "s3",
                texts(&["endpoint", "bucket", "region"], &["access_key", "secret_key"]),
                {
                    let mut own = texts(&["path", "format"], &[]);
                    own["properties"]["partition_by"] = json!({"type": ["array", "null"], "items": {"type": "string"}});
                    own
                },
                "path",
            )),
            "http" => Some(words("http", texts(&["base_url"], &[]), texts(&["path"], &[]), "path")),
            _ => None,
        }
    }

    fn connectors(&self) -> Vec<String> {
        ["file", "postgres", "jdbc", "s3", "minio", "http"].map(str::to_owned).into()
    }

    fn transform(&self, name: &str) -> Option<Arc<TransformWords>> {
        (name == "sql").then(|| {
            Arc::new(TransformWords { canonical: "sql".into(), schema: texts(&["query"], &[]), bare: Some("query".into()) })
        })
    }

    fn transforms(&self) -> Vec<String> {
        vec!["sql".into()]
    }
}
