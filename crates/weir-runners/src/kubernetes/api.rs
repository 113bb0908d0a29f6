//! The few requests of the Kubernetes API that a run needs, and what its refusals mean.
//!
//! Contract of errors: `WEIR-KUBE-001` the API server does not answer (transient), `002` it refuses the login, `003` the login lacks a right,
//! `004` it refuses the object, `005` the object is there already or has changed, `006` a quota of the namespace is used up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use url::Url;
use weir_connect::guard;
use weir_error::{Error, Kind, Result};

use super::access::{Access, Login};
use crate::client::rest::GuardedNames;

/// No answer that we ask for is larger; logs are streams.
const LARGEST_ANSWER_BYTES: usize = 16 << 20;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A log may be silent for long, but not for ever: a connection that nobody holds any more must be noticed.
pub(super) const LOG_SILENCE: Duration = Duration::from_secs(60);
/// Whose fields those are that we apply.
const FIELD_MANAGER: &str = "weir";

/// One API server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    base: Url,
    http: reqwest::Client,
    login: Login,
}

/// Where an object is.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    group: &'a [&'a str],
    namespace: Option<&'a str>,
    plural: &'a str,
    name: Option<&'a str>,
    sub: Option<&'a str>,
}

impl<'a> Path<'a> {
    /// Objects of the core group.
    pub fn core(namespace: Option<&'a str>, plural: &'a str) -> Self {
        Self { group: &["api", "v1"], namespace, plural, name: None, sub: None }
    }

    /// Jobs.
    pub fn jobs(namespace: &'a str) -> Self {
        Self { group: &["apis", "batch", "v1"], namespace: Some(namespace), plural: "jobs", name: None, sub: None }
    }

    /// Network policies.
    pub fn policies(namespace: &'a str) -> Self {
        let group = &["apis", "networking.k8s.io", "v1"];
        Self { group, namespace: Some(namespace), plural: "networkpolicies", name: None, sub: None }
    }

    /// One of them.
    pub fn named(self, name: &'a str) -> Self {
        Self { name: Some(name), ..self }
    }

    /// A part of one.
    pub fn sub(self, sub: &'a str) -> Self {
        Self { sub: Some(sub), ..self }
    }

    fn segments(self) -> impl Iterator<Item = &'a str> {
        let namespace = self.namespace.into_iter().flat_map(|name| ["namespaces", name]);
        self.group.iter().copied().chain(namespace).chain([self.plural]).chain(self.name).chain(self.sub)
    }
}

impl Api {
    /// Connects to nothing.
    pub fn new(access: &Access) -> Result<Self> {
        let wrong = |why: String| {
            Error::new("WEIR-KUBE-020", Kind::Spec, "this says not how to reach a Kubernetes cluster")
                .at(access.server.clone())
                .because(why)
                .hint("a server is written https://HOST:PORT")
        };
        let base = Url::parse(&access.server).map_err(|error| wrong(error.to_string()))?;
        if base.scheme() != "https" || base.host_str().is_none() || !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("it is not https, or holds a login".into()));
        }
        // A redirect could lead elsewhere with the login; a proxy would connect in our place.
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let mut builder = builder.connect_timeout(CONNECT_WITHIN).dns_resolver(Arc::new(GuardedNames));
        if let Some(pem) = &access.authorities {
            let authorities = reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default();
            if authorities.is_empty() {
                return Err(wrong("its authority is no PEM certificate".into()));
            }
            builder =
                authorities.into_iter().fold(builder.tls_built_in_root_certs(false), |all, one| all.add_root_certificate(one));
        }
        if let Login::Certificate(pem) = &access.login {
            let identity = reqwest::Identity::from_pem(pem.expose().as_bytes());
            builder = builder.identity(identity.map_err(|_| wrong("the client certificate and its key are not PEM".into()))?);
        }
        let http = builder.build().map_err(|error| wrong(weir_error::chain(&error)))?;
        Ok(Self { base, http, login: access.login.clone() })
    }

    /// Where it is.
    pub fn place(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// An object, or a list; `None`: there is none.
    pub async fn get(&self, path: Path<'_>, query: &[(&str, &str)]) -> Result<Option<Value>> {
        let answer = self.send(Method::GET, path, query, None).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.read(answer).await.map(Some)
    }

    /// Makes an object.
    pub async fn create(&self, path: Path<'_>, body: &Value) -> Result<Value> {
        let answer = self.send(Method::POST, path, &[], Some(("application/json", body))).await?;
        self.read(answer).await
    }

    /// Makes an object, or makes these fields of it be so; fields of others stay.
    pub async fn apply(&self, path: Path<'_>, body: &Value) -> Result<Value> {
        let query = [("fieldManager", FIELD_MANAGER), ("force", "true")];
        // JSON is YAML too.
        let answer = self.send(Method::PATCH, path, &query, Some(("application/apply-patch+yaml", body))).await?;
        self.read(answer).await
    }

    /// Changes these fields of an object.
    pub async fn merge(&self, path: Path<'_>, body: &Value) -> Result<Value> {
        let answer = self.send(Method::PATCH, path, &[], Some(("application/merge-patch+json", body))).await?;
        self.read(answer).await
    }

    /// Asks for the end of the object with this `uid`, and of no other of its name. `Ok` also when there is none, or another one.
    pub async fn delete(&self, path: Path<'_>, uid: &str, propagation: &str, grace_secs: Option<u32>) -> Result<()> {
        let mut body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation, "preconditions": {"uid": uid},
        });
        if let Some(secs) = grace_secs {
            body["gracePeriodSeconds"] = json!(secs);
        }
        let answer = self.send(Method::DELETE, path, &[], Some(("application/json", &body))).await?;
        match answer.status() {
            StatusCode::NOT_FOUND | StatusCode::CONFLICT => Ok(()),
            _ => self.read(answer).await.map(|_| ()),
        }
    }

    /// The log of a container from a moment on, each line with its time, followed until the container ends. `None`: there is none (yet).
    pub async fn log(
        &self,
        path: Path<'_>,
        container: &str,
        since: Option<&str>,
    ) -> Result<Option<BoxStream<'static, Result<Bytes>>>> {
        let mut query = vec![("container", container), ("follow", "true"), ("timestamps", "true")];
        query.extend(since.map(|time| ("sinceTime", time)));
        let answer = self.send(Method::GET, path.sub("log"), &query, None).await?;
        // A container that has not begun, or is gone with its node: the next look at the Pod says which.
        if matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) {
            return Ok(None);
        }
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        let api = self.clone();
        Ok(Some(answer.bytes_stream().map(move |piece| piece.map_err(|error| api.silent(error))).boxed()))
    }

    async fn send(
        &self,
        method: Method,
        path: Path<'_>,
        query: &[(&str, &str)],
        body: Option<(&str, &Value)>,
    ) -> Result<Response> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::internal("an address without a path"))?
            .pop_if_empty()
            .extend(path.segments());
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        guard::current().permit_request(&url).await?;
        let follows = path.sub == Some("log");
        let mut request = self.http.request(method, url);
        request = match &self.login {
            Login::Token(token) => request.bearer_auth(token.expose()),
            Login::TokenFile(file) => {
                let token = tokio::fs::read_to_string(file).await.map_err(|error| {
                    Error::new("WEIR-KUBE-002", Kind::Auth, "the token of Kubernetes cannot be read")
                        .at(file.display().to_string())
                        .because(error)
                })?;
                request.bearer_auth(token.trim())
            }
            Login::Certificate(_) => request,
        };
        if let Some((kind, body)) = body {
            request = request.header(reqwest::header::CONTENT_TYPE, kind).body(body.to_string());
        }
        // The whole answer must come in time, except a log, of which each piece must.
        let sent = if follows { request.send() } else { request.timeout(ANSWER_WITHIN).send() };
        match tokio::time::timeout(LOG_SILENCE, sent).await {
            Ok(answer) => answer.map_err(|error| self.silent(error)),
            Err(_) => Err(self.away().because("there was no answer in time")),
        }
    }

    /// The body of a success, or the error of a refusal.
    async fn read(&self, answer: Response) -> Result<Value> {
        if !answer.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        let text = self.text(answer).await?;
        serde_json::from_slice(&text).map_err(|error| self.strange().because(error))
    }

    async fn text(&self, answer: Response) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut pieces = answer.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| self.silent(error))?;
            if bytes.len() + piece.len() > LARGEST_ANSWER_BYTES {
                return Err(self.strange().because(format!("an answer of more than {} MiB", LARGEST_ANSWER_BYTES >> 20)));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// What a refusal means; the API's own words say why.
    async fn refusal(&self, answer: Response) -> Error {
        let status = answer.status();
        let text = match self.text(answer).await {
            Ok(text) => text,
            Err(error) => return error,
        };
        let body: Value = serde_json::from_slice(&text).unwrap_or_default();
        let said =
            body["message"].as_str().map_or_else(|| format!("HTTP {status}"), |message| message.chars().take(1000).collect());
        let error = |code, kind, what: &str| Error::new(code, kind, what.to_owned()).at(self.place()).because(said.clone());
        match status {
            StatusCode::UNAUTHORIZED => error("WEIR-KUBE-002", Kind::Auth, "Kubernetes refuses the login")
                .hint("the token or certificate may have ended: KUBERNETES_KUBECONFIG, or the service account of the Pod"),
            StatusCode::FORBIDDEN if said.contains("exceeded quota") => over_quota(&said).at(self.place()),
            StatusCode::FORBIDDEN => error("WEIR-KUBE-003", Kind::Privilege, "Kubernetes does not let this login do that")
                .hint("docs/how-to/kubernetes.md lists the rights that are needed"),
            StatusCode::CONFLICT => {
                error("WEIR-KUBE-005", Kind::Conflict, "an object of that name is there, or was changed meanwhile").transient()
            }
            StatusCode::TOO_MANY_REQUESTS => self.away().because(said),
            status if status.is_server_error() => self.away().because(said),
            _ => error("WEIR-KUBE-004", Kind::Spec, "Kubernetes refuses an object of the run")
                .hint("an admission rule of the cluster or a setting of the platform stands against it"),
        }
    }

    fn silent(&self, error: reqwest::Error) -> Error {
        self.away().because(weir_error::chain(&error.without_url()))
    }

    fn away(&self) -> Error {
        Error::new("WEIR-KUBE-001", Kind::Connect, "the API server of Kubernetes does not answer").at(self.place()).transient()
    }

    fn strange(&self) -> Error {
        Error::new("WEIR-KUBE-007", Kind::Unsupported, "the API server answers in a way that is not Kubernetes'").at(self.place())
    }
}

/// A quota of the namespace is used up: it passes when other runs end.
pub fn over_quota(said: &str) -> Error {
    Error::new("WEIR-KUBE-006", Kind::Limit, "the quota of the run's namespace is used up")
        .because(said)
        .hint("wait for other runs to end, or raise the tenant's max_concurrent_runs")
        .transient()
}
