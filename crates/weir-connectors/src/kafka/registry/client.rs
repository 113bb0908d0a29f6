//! A schema registry with Confluent's REST API: schemas by their number and by their subject, and new ones.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use weir_connect::{Error, Kind, Result, Secret, guard};
use weir_formats::registered::{SchemaKind, SchemaText};

use super::super::config::wrong;
use super::options::RegistryOptions;
use crate::certificates::{placed, read_pem};

/// What is read of an answer.
const MAX_ANSWER: usize = 16 << 20;
/// Schemas behind each other's references.
const MAX_REFERENCES: usize = 256;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// The pause after all addresses have failed; doubled each time.
const PAUSE: Duration = Duration::from_millis(100);

/// A registry.
pub struct Registry {
    http: reqwest::Client,
    urls: Vec<Url>,
    /// The address that answered last.
    good: AtomicUsize,
    user: Option<(String, Secret)>,
    token: Option<Secret>,
    patience: Duration,
    by_id: Mutex<HashMap<u32, Arc<SchemaText>>>,
}

/// A schema of a subject.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its number over all subjects.
    pub id: u32,
    /// Itself.
    pub schema: SchemaText,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Option<u32>,
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Option<Vec<Reference>>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

/// A refusal of the registry itself.
#[derive(Deserialize, Default)]
struct Refused {
    #[serde(default)]
    error_code: i64,
    #[serde(default)]
    message: String,
}

enum Reply {
    Good(Vec<u8>),
    Refused(StatusCode, Refused),
}

impl Registry {
    /// Connects later.
    pub fn new(options: &RegistryOptions, base_dir: &Path) -> Result<Self> {
        let patience = Duration::from_secs(options.timeout_secs.unwrap_or(20).max(1));
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .timeout(patience)
            .connect_timeout(patience.min(Duration::from_secs(5)))
            .danger_accept_invalid_certs(options.verify_tls == Some(false));
        let pem = |path: &PathBuf| read_pem(&placed(base_dir, path));
        if let Some(path) = &options.ssl_root_cert {
            let found = reqwest::Certificate::from_pem_bundle(&pem(path)?).map_err(|_| {
                wrong("`ssl_root_cert` of `registry` is no PEM", "certificates begin with -----BEGIN CERTIFICATE-----")
            })?;
            for certificate in found {
                builder = builder.add_root_certificate(certificate);
            }
        }
        if let (Some(certificate), Some(key)) = (&options.ssl_cert, &options.ssl_key) {
            let both = [pem(certificate)?, b"\n".to_vec(), pem(key)?].concat();
            let identity = reqwest::Identity::from_pem(&both).map_err(|_| {
                wrong("`ssl_cert` and `ssl_key` of `registry` are no PEM", "a certificate and its private key without password")
            })?;
            builder = builder.identity(identity);
        }
        let http = crate::guarded::client(builder)
            .build()
            .map_err(|error| wrong("the client of the registry cannot be made", "check the `ssl_` options").because(error))?;
        Ok(Self {
            http,
            urls: options.addresses()?,
            good: AtomicUsize::new(0),
            user: options.user.clone().zip(options.password.clone()),
            token: options.token.clone(),
            patience,
            by_id: Mutex::default(),
        })
    }

    /// The addresses, for messages.
    fn place(&self) -> String {
        self.urls.iter().map(Url::as_str).collect::<Vec<_>>().join(", ")
    }

    /// The schema with this number.
    ///
    /// # Errors
    /// `WEIR-KAFKA-042` if there is none; `WEIR-KAFKA-040`, transient, if nobody answers.
    pub async fn by_id(&self, id: u32) -> Result<Arc<SchemaText>> {
        if let Some(known) = self.by_id.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(known.clone());
        }
        let answer = match self.ask(Method::GET, &["schemas", "ids", &id.to_string()], None).await? {
            Reply::Good(bytes) => self.understood(&bytes)?,
            Reply::Refused(StatusCode::NOT_FOUND, why) => {
                return Err(Error::new("WEIR-KAFKA-042", Kind::NotFound, format!("the registry has no schema {id}"))
                    .at(self.place())
                    .because(why.message));
            }
            Reply::Refused(status, why) => return Err(self.refused(status, &why)),
        };
        let schema = Arc::new(self.whole(answer).await?);
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).insert(id, schema.clone());
        Ok(schema)
    }

    /// The latest schema of a subject; `None`: there is no such subject.
    pub async fn latest(&self, subject: &str) -> Result<Option<Version>> {
        let answer = match self.ask(Method::GET, &["subjects", subject, "versions", "latest"], None).await? {
            Reply::Good(bytes) => self.understood(&bytes)?,
            Reply::Refused(StatusCode::NOT_FOUND, _) => return Ok(None),
            Reply::Refused(status, why) => return Err(self.refused(status, &why)),
        };
        let id = answer.id.ok_or_else(|| self.strange("a version without a number"))?;
        Ok(Some(Version { id, schema: self.whole(answer).await? }))
    }

    /// Registers a schema; one that is there already keeps its number.
    ///
    /// # Errors
    /// `WEIR-KAFKA-043` if it is not compatible, `WEIR-KAFKA-044` if the registry does not take it at all.
    pub async fn register(&self, subject: &str, kind: SchemaKind, text: &str) -> Result<u32> {
        let mut body = json!({"schema": text});
        // Older registries know no other language and no such key.
        if kind != SchemaKind::Avro {
            body["schemaType"] = kind.as_str().into();
        }
        #[derive(Deserialize)]
        struct Registered {
            id: u32,
        }
        match self.ask(Method::POST, &["subjects", subject, "versions"], Some(&body)).await? {
            Reply::Good(bytes) => {
                let registered: Registered = serde_json::from_slice(&bytes).map_err(|error| self.strange(error))?;
                Ok(registered.id)
            }
            Reply::Refused(StatusCode::CONFLICT, why) => {
                Err(Error::new("WEIR-KAFKA-043", Kind::Schema, format!("the columns are not compatible with subject `{subject}`"))
                    .at(self.place())
                    .because(why.message)
                    .hint("make new columns nullable, keep the types of the others; or change the subject's compatibility; or write to another subject"))
            }
            Reply::Refused(StatusCode::UNPROCESSABLE_ENTITY, why) => {
                Err(Error::new("WEIR-KAFKA-044", Kind::Schema, format!("the registry does not take a schema for subject `{subject}`"))
                    .at(self.place())
                    .because(why.message))
            }
            Reply::Refused(status, why) => Err(self.refused(status, &why)),
        }
    }

    /// A schema with everything that it refers to, each behind what it refers to itself.
    async fn whole(&self, answer: Answer) -> Result<SchemaText> {
        let kind = SchemaKind::named(answer.kind.as_deref())
            .ok_or_else(|| self.strange(format!("a schema of type {}", answer.kind.unwrap_or_default())))?;
        let mut references: Vec<(String, String)> = Vec::new();
        // Met, and met again after everything below it.
        let mut waiting: Vec<(Reference, Option<String>)> =
            answer.references.into_iter().flatten().rev().map(|found| (found, None)).collect();
        let mut steps = 0;
        while let Some((reference, text)) = waiting.pop() {
            if let Some(text) = text {
                references.push((reference.name, text));
                continue;
            }
            steps += 1;
            if steps > MAX_REFERENCES {
                return Err(self.strange(format!("a schema refers to more than {MAX_REFERENCES} others")));
            }
            if references.iter().any(|(name, _)| *name == reference.name) {
                continue;
            }
            let path = ["subjects", &reference.subject, "versions", &reference.version.to_string()];
            let found = match self.ask(Method::GET, &path, None).await? {
                Reply::Good(bytes) => self.understood(&bytes)?,
                Reply::Refused(status, why) => {
                    return Err(self.refused(status, &why).at(format!("{} version {}", reference.subject, reference.version)));
                }
            };
            waiting.push((reference, Some(found.schema)));
            waiting.extend(found.references.into_iter().flatten().rev().map(|found| (found, None)));
        }
        Ok(SchemaText { kind, text: answer.schema, references })
    }

    fn understood(&self, bytes: &[u8]) -> Result<Answer> {
        serde_json::from_slice(bytes).map_err(|error| self.strange(error))
    }

    fn strange(&self, why: impl std::fmt::Display) -> Error {
        Error::new("WEIR-KAFKA-045", Kind::Data, "the registry's answer is not understood")
            .at(self.place())
            .because(why)
            .hint("`registry` wants the address of Confluent's API; Apicurio has it below `/apis/ccompat/v7`")
    }

    fn refused(&self, status: StatusCode, why: &Refused) -> Error {
        let said = format!("HTTP {} {}: {}", status.as_u16(), why.error_code, why.message);
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::new("WEIR-KAFKA-041", Kind::Auth, "the registry refuses the credentials")
                    .hint("check `user`, `password` or `token` of `registry`")
            }
            _ => self.strange("").hint("check the address of `registry`"),
        }
        .at(self.place())
        .because(said)
    }

    /// One call, at whichever address answers, until the patience is over.
    async fn ask(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Reply> {
        let end = Instant::now() + self.patience;
        let mut pause = PAUSE;
        loop {
            let mut last = String::new();
            let first = self.good.load(Ordering::Relaxed);
            for step in 0..self.urls.len() {
                let at = (first + step) % self.urls.len();
                match self.once(&self.urls[at], method.clone(), path, body).await? {
                    Ok(reply) => {
                        self.good.store(at, Ordering::Relaxed);
                        return Ok(reply);
                    }
                    Err(why) => last = why,
                }
            }
            if Instant::now() + pause >= end {
                return Err(Error::new("WEIR-KAFKA-040", Kind::Connect, "the schema registry does not answer")
                    .at(self.place())
                    .because(last)
                    .hint("check `url` of `registry`")
                    .transient());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// The inner error: another try may help.
    async fn once(
        &self,
        base: &Url,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
    ) -> Result<std::result::Result<Reply, String>> {
        let mut url = base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(path);
            }
            Err(()) => return Err(wrong("`url` of `registry` is no address of HTTP", "`https://registry:8081`")),
        }
        guard::current().permit_request(&url).await?;
        let mut request = self.http.request(method, url).header("Accept", MEDIA_TYPE);
        if let Some((user, password)) = &self.user {
            request = request.basic_auth(user, Some(password.expose()));
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.header("Content-Type", MEDIA_TYPE).body(body.to_string());
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Ok(Err(causes(&error))),
        };
        let status = response.status();
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() > MAX_ANSWER => {
                    return Err(self.strange(format!("it is larger than {} MiB", MAX_ANSWER >> 20)));
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Ok(Err(causes(&error))),
            }
        }
        if status.is_success() {
            return Ok(Ok(Reply::Good(bytes)));
        }
        let refused: Refused = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Ok(Err(format!("HTTP {} {}", status.as_u16(), refused.message)));
        }
        Ok(Ok(Reply::Refused(status, refused)))
    }
}

/// An error with what is behind it, without the address.
fn causes(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
