//! The work order: all that `weir execute` is told, as one line on its standard input, and the lines that follow it.
//!
//! A secret travels here and nowhere else: never on a command line, in the environment or in a file. The types do not print secrets; only
//! [`WorkOrder::to_line`] writes them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use weir_error::{Error, Kind, Result, Retry, Secret};

use super::letters::LetterErrand;
use crate::files::FileBucket;

/// The version of the order that this build writes and reads. Worker and child are the same program, so there is never another one in
/// practice; if there is, the child refuses instead of guessing.
pub const VERSION: u32 = 1;

/// The longest order that a child reads, in bytes.
pub const MAX_ORDER_BYTES: usize = 64 << 20;

/// What the child has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verb {
    /// Run the pipeline. The last line is `{"event":"report","report":…}`.
    Run,
    /// Reach a stored connection and say what works. The last line is `{"event":"answer","answer":…}`, as for the verbs below.
    TestConnection {
        /// Its name.
        connection: String,
    },
    /// List streams: of a stored connection, or of the pipeline's sources.
    Discover {
        /// The stored connection's name.
        connection: Option<String>,
    },
    /// A few rows after the transforms; columns that look personal are masked.
    Preview {
        /// Rows per output.
        limit: usize,
    },
    /// What a run would do: types, actions, guarantee; or why there is no plan.
    Plan,
    /// A few rows after every step of the pipeline, masked as those of a preview.
    Steps {
        /// Rows per step.
        limit: usize,
    },
    /// How the job's logs stand.
    Journal,
    /// How far the job's streams are.
    Positions,
    /// Let a stream go on that waits for an approval.
    Approve {
        /// The stream.
        stream: String,
    },
    /// Take the snapshot of a stream once more.
    Snapshot {
        /// The stream.
        stream: String,
        /// Only of the rows for which this holds, in the source's SQL.
        only: Option<String>,
    },
    /// Something about the job's dead letters.
    DeadLetters {
        /// What.
        errand: LetterErrand,
    },
    /// A run: dead letters once more through the pipeline, and nothing else.
    Replay {
        /// The name under which they were chosen.
        letters: String,
    },
}

/// Bounds of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Resident memory, bytes. The engine's budget is half of it.
    pub memory_bytes: u64,
    /// CPU seconds of the attempt; `None` = no limit.
    pub cpu_secs: Option<u64>,
    /// Wall seconds of the attempt.
    pub time_secs: u64,
}

/// What the child may touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// Local files must lie below it.
    pub file_root: PathBuf,
    /// Where the tenant's files are instead; nothing local can be named then.
    pub bucket: Option<FileBucket>,
    /// Loopback, private, link-local and metadata addresses are refused, except those allowed.
    pub deny_private: bool,
    /// Hosts, `host:port` or CIDR blocks that may be reached although they are private.
    pub egress_allow: Vec<String>,
}

/// A JSON object of secret options. Shows its names only.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct SecretOptions(pub Map<String, Value>);

impl fmt::Debug for SecretOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, "***"))).finish()
    }
}

/// A stored connection, opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredConnection {
    /// The connector.
    pub kind: String,
    /// Options that are not secret; texts may hold references.
    pub options: Value,
    /// Options that are. A text that is one whole reference (`vault://path#key`, `{{name}}`) is resolved; any other is taken as it is.
    #[serde(serialize_with = "expose_options")]
    pub secrets: SecretOptions,
}

/// Where `vault://` references are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultAccess {
    /// Its address.
    pub address: String,
    /// How to log in.
    pub login: VaultLogin,
    /// The namespace, for servers that have several.
    pub namespace: Option<String>,
    /// A PEM file; only its authorities are trusted then.
    pub ca_cert: Option<PathBuf>,
    /// Only paths whose second part is this name are looked up (`vault://secret/acme/crm#password`); `None` = all. A tenant's spec must not
    /// read another tenant's secrets with the platform's token.
    pub only_tenant: Option<String>,
}

impl VaultAccess {
    /// Whether a path (without scheme and key) may be looked up.
    pub fn allows(&self, path: &str) -> bool {
        let Some(tenant) = self.only_tenant.as_deref() else { return true };
        let mut parts = path.trim_matches('/').split('/');
        let (mount, owner, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
        // `secret/data/x` is how the API itself spells `secret/x` of a versioned engine: nobody's own folder.
        let reserved = ["data", "metadata"].contains(&tenant) || ["sys", "auth", "identity", "cubbyhole"].contains(&mount);
        !reserved && owner == tenant && rest.is_some() && !path.split('/').any(|part| matches!(part, "." | ".."))
    }
}

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum VaultLogin {
    /// A token.
    Token(#[serde(serialize_with = "expose")] Secret),
    /// A role and its secret.
    AppRole {
        /// The role.
        role_id: String,
        /// Its secret.
        #[serde(serialize_with = "expose")]
        secret_id: Secret,
    },
}

/// Address and keys for `s3` and `minio` nodes that name neither.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectStoreDefaults {
    /// The endpoint.
    pub endpoint: String,
    /// The access key's id.
    pub access_key: String,
    /// The secret key.
    #[serde(serialize_with = "expose")]
    pub secret_key: Secret,
}

/// All that the child is told. `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkOrder {
    /// [`VERSION`].
    pub version: u32,
    /// What to do.
    pub verb: Verb,
    /// The platform's run; the engine's own run id is linked to it in the state folder. Empty for other verbs than `run`.
    pub run_id: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Whose. A spec that names another tenant is refused.
    pub tenant: String,
    /// The job's id.
    pub job: String,
    /// The pipeline file's text.
    pub spec: String,
    /// Stored connections by name, those that the spec uses.
    pub connections: BTreeMap<String, StoredConnection>,
    /// Values of `{{name}}`.
    #[serde(serialize_with = "expose_map")]
    pub secrets: BTreeMap<String, Secret>,
    /// Vault, if there is one.
    pub vault: Option<VaultAccess>,
    /// For object store nodes that name no server.
    pub object_store: Option<ObjectStoreDefaults>,
    /// Folder against which relative paths resolve.
    pub base_dir: PathBuf,
    /// Folder of checkpoints, dead letters and the lock.
    pub state_dir: PathBuf,
    /// Where the journals of a log are; `None`: in `state_dir`.
    pub journals: Option<FileBucket>,
    /// Checkpoints are asked of the worker; in the folder there are only locks then.
    pub checkpoints_at_worker: bool,
    /// Bounds.
    pub limits: Limits,
    /// What may be touched.
    pub guard: Guard,
    /// W3C `traceparent` of the span that this attempt belongs to.
    pub trace_parent: Option<String>,
    /// The worker's process id: a child whose parent is another one by now ends at once.
    pub parent_pid: u32,
    /// Milliseconds since 1970: after that the child is not allowed to go on, unless told a later time.
    pub lease_until_ms: i64,
}

impl WorkOrder {
    /// The order as one line, its secrets in clear. Give it to the child's standard input and to nothing else.
    pub fn to_line(&self) -> Result<Vec<u8>> {
        let mut line =
            serde_json::to_vec(self).map_err(|error| Error::internal("a work order cannot be written").caused_by(error))?;
        line.push(b'\n');
        Ok(line)
    }

    /// Reads an order. Errors say nothing of its content.
    pub fn from_line(line: &[u8]) -> Result<Self> {
        let broken = |why: String| {
            Error::new("WEIR-WORKER-001", Kind::Spec, "this is no work order")
                .because(why)
                .hint("`weir execute` is started by `weir serve` and `weir worker`; to run a pipeline file use `weir run FILE`")
        };
        let value: Value = serde_json::from_slice(line).map_err(|_| broken("it is not one line of JSON".into()))?;
        let version = value.get("version").and_then(Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            return Err(broken(format!("its version is not {VERSION}, the one of this program")));
        }
        // The message of the parser quotes what it met, which may be a secret.
        serde_json::from_value(value).map_err(|_| broken("its shape is not the one of this version".into()))
    }

    /// Every secret value in it, for taking them out of what the child says.
    pub fn secret_values(&self) -> Vec<&str> {
        let mut found: Vec<&str> = self.secrets.values().map(Secret::expose).collect();
        for connection in self.connections.values() {
            connection.secrets.0.values().for_each(|value| texts(value, &mut found));
        }
        match self.vault.as_ref().map(|vault| &vault.login) {
            Some(VaultLogin::Token(token)) => found.push(token.expose()),
            Some(VaultLogin::AppRole { secret_id, .. }) => found.push(secret_id.expose()),
            None => {}
        }
        found.extend(self.object_store.as_ref().map(|store| store.secret_key.expose()));
        found.extend(self.guard.bucket.iter().chain(&self.journals).map(|bucket| bucket.secret_key.expose()));
        found
    }
}

fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(map) => map.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

/// What the worker writes after the order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentLine {
    /// The worker lives, and holds the run until then (milliseconds since 1970). Sent every 2 s.
    LeaseUntilMs(i64),
    /// Make a checkpoint and end.
    Cancel(bool),
    /// The answer to what the child asked of the checkpoint store.
    State(StateAnswer),
}

impl ParentLine {
    /// As one line.
    pub fn to_line(&self) -> Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self).map_err(|error| Error::internal("a line to a run").caused_by(error))?;
        line.push(b'\n');
        Ok(line)
    }
}

/// See [`ParentLine::State`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateAnswer {
    /// The number of the question.
    pub id: u64,
    /// The answer.
    pub ok: Value,
    /// Why there is none.
    pub error: Option<StateRefusal>,
}

/// An error of the checkpoint store, as it goes over the pipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRefusal {
    /// Code and text.
    pub text: String,
    /// Another attempt has the run.
    pub conflict: bool,
    /// Trying again can help.
    pub transient: bool,
}

impl StateRefusal {
    /// Of an error.
    pub fn of(error: &Error) -> Self {
        Self {
            text: format!("[{}] {error}", error.code()),
            conflict: error.kind() == Kind::Conflict,
            transient: error.retryable() != Retry::Never,
        }
    }

    /// The error at the other end.
    pub fn error(self) -> Error {
        let kind = if self.conflict { Kind::Conflict } else { Kind::Io };
        let error = Error::new("WEIR-STATE-004", kind, "the platform's checkpoint store refused").because(self.text);
        if self.transient { error.transient() } else { error }
    }
}

pub(crate) fn expose<S: Serializer>(secret: &Secret, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn expose_map<S: Serializer>(secrets: &BTreeMap<String, Secret>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(secrets.iter().map(|(name, secret)| (name, secret.expose())))
}

fn expose_options<S: Serializer>(secrets: &SecretOptions, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    secrets.0.serialize(serializer)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn order() -> WorkOrder {
        let secrets = json!({"password": "hunter2-db", "headers": {"Authorization": "Bearer hunter2-http"}});
        WorkOrder {
            version: VERSION,
            verb: Verb::Run,
            run_id: "0192".into(),
            attempt: 1,
            tenant: "acme".into(),
            job: "j1".into(),
            spec: "pipeline: p\nsource:\n  file: {path: in.csv}\nsink:\n  file: {path: out}\n".into(),
            connections: BTreeMap::from([(
                "crm-db".into(),
                StoredConnection {
                    kind: "postgres".into(),
                    options: json!({"host": "db"}),
                    secrets: SecretOptions(secrets.as_object().unwrap().clone()),
                },
            )]),
            secrets: BTreeMap::from([("api_key".into(), Secret::new("hunter2-key"))]),
            vault: Some(VaultAccess {
                address: "http://vault:8200".into(),
                login: VaultLogin::AppRole { role_id: "r".into(), secret_id: Secret::new("hunter2-role") },
                namespace: None,
                ca_cert: None,
                only_tenant: Some("acme".into()),
            }),
            object_store: Some(ObjectStoreDefaults {
                endpoint: "http://minio:9000".into(),
                access_key: "a".into(),
                secret_key: Secret::new("hunter2-s3"),
            }),
            base_dir: "/data/files".into(),
            state_dir: "/data/state".into(),
            journals: None,
            checkpoints_at_worker: false,
            limits: Limits { memory_bytes: 1 << 30, cpu_secs: None, time_secs: 3600 },
            guard: Guard {
                file_root: "/data/files".into(),
                bucket: Some(FileBucket {
                    endpoint: None,
                    region: "us-east-1".into(),
                    bucket: "weir".into(),
                    prefix: "tenants/acme/files".into(),
                    access_key: "b".into(),
                    secret_key: Secret::new("hunter2-files"),
                }),
                deny_private: true,
                egress_allow: vec![],
            },
            trace_parent: None,
            parent_pid: 1,
            lease_until_ms: 0,
        }
    }

    #[test]
    fn an_order_survives_the_pipe_with_its_secrets() {
        let order = order();
        let line = order.to_line().unwrap();
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1, "one line");
        let read = WorkOrder::from_line(&line).unwrap();
        assert_eq!(read, order);
        assert_eq!(read.secrets["api_key"].expose(), "hunter2-key");
        assert_eq!(read.connections["crm-db"].secrets.0["password"], "hunter2-db");
    }

    #[test]
    fn an_order_never_prints_a_secret() {
        let shown = format!("{:?}", order());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("password"), "names are shown: {shown}");
    }

    #[test]
    fn every_secret_value_is_known_for_scrubbing() {
        let order = order();
        let mut values = order.secret_values();
        values.sort_unstable();
        assert_eq!(values, ["Bearer hunter2-http", "hunter2-db", "hunter2-files", "hunter2-key", "hunter2-role", "hunter2-s3"]);
    }

    #[test]
    fn a_tenant_reads_only_its_own_folder_of_a_vault() {
        let mut vault = order().vault.unwrap();
        assert!(vault.allows("secret/acme/crm") && vault.allows("/kv/acme/a/b/"));
        for path in [
            "secret/other/crm",
            "secret/data/acme/x",
            "secret/data/other/x",
            "acme/x",
            "secret/acme",
            "sys/acme/x",
            "secret/acme/../other/x",
            "",
        ] {
            assert!(!vault.allows(path), "{path}");
        }
        vault.only_tenant = Some("data".into());
        assert!(!vault.allows("secret/data/other/crm"), "the name of a tenant must not open the API's own spelling");
        vault.only_tenant = None;
        assert!(vault.allows("polygon-api/credentials"));
    }

    #[test]
    fn a_broken_order_is_refused_without_quoting_it() {
        let mut other = serde_json::to_value(order()).unwrap();
        other["version"] = json!(99);
        let mut misshapen = serde_json::to_value(order()).unwrap();
        misshapen["secrets"] = json!("hunter2");
        for line in ["hunter2".to_string(), other.to_string(), misshapen.to_string(), String::new()] {
            let error = WorkOrder::from_line(line.as_bytes()).unwrap_err();
            assert_eq!(error.code(), "WEIR-WORKER-001");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn lines_of_the_worker_are_what_the_child_reads() {
        let refusal = StateRefusal { text: "[X] gone".into(), conflict: true, transient: false };
        for line in [
            ParentLine::LeaseUntilMs(1_700_000_000_123),
            ParentLine::Cancel(true),
            ParentLine::State(StateAnswer { id: 7, ok: json!({"a": "\n"}), error: None }),
            ParentLine::State(StateAnswer { id: 8, ok: json!(null), error: Some(refusal) }),
        ] {
            let bytes = line.to_line().unwrap();
            assert_eq!(bytes.iter().filter(|&&byte| byte == b'\n').count(), 1, "one line");
            assert_eq!(serde_json::from_slice::<ParentLine>(&bytes).unwrap(), line);
        }
    }
}
