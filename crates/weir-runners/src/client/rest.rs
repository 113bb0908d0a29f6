//! Requests to an engine's REST API: under the guard of this process, with limits in time and size, and with the engine's own words when it refuses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use url::Url;
use weir_connect::guard;
use weir_error::{Error, Kind, Result, Secret};

/// No answer that we ask for is larger.
const LARGEST_ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// A connection is there by then, or the engine is not.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Engines compile a job before they answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// How to log in. What stands in front of an engine asks for this; the engines themselves know no users.
#[derive(Debug, Clone)]
pub enum Login {
    /// A user and a password.
    Basic(String, Secret),
    /// A token.
    Bearer(Secret),
}

/// One REST API.
#[derive(Debug, Clone)]
pub struct Rest {
    engine: &'static str,
    base: Url,
    http: reqwest::Client,
    login: Option<Login>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body, if it is JSON; else null.
    pub json: Value,
    /// The body as it came.
    pub text: String,
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Gives out only addresses that may be connected to; reqwest connects to these and asks nobody else.
pub(crate) struct GuardedNames;

impl Resolve for GuardedNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = guard::current().resolve(name.as_str(), 0).await??;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

impl Rest {
    /// The API at `base` (`http://host:port`, a path may follow). Nothing is connected yet.
    pub fn new(engine: &'static str, base: &str, login: Option<Login>) -> Result<Self> {
        let wrong = |why: String| {
            Error::new("WEIR-LAUNCH-023", Kind::Spec, format!("`{}` is no address of {engine}", without_login(base)))
                .because(why)
                .hint("an address is written http://HOST:PORT")
        };
        let url = Url::parse(base).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong("it is neither http nor https".into()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("a login does not belong into an address".into()));
        }
        // A redirect could lead elsewhere with the login; a proxy would connect in our place.
        let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let builder = builder.connect_timeout(CONNECT_WITHIN).timeout(ANSWER_WITHIN).dns_resolver(Arc::new(GuardedNames));
        let http = builder.build().map_err(|error| Error::internal("no HTTP client can be made").caused_by(error))?;
        Ok(Self { engine, base: url, http, login })
    }

    /// Where it is.
    pub fn place(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// `GET`.
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Answer> {
        self.call(Method::GET, path, query, None).await
    }

    /// Any request. `path` is given in segments, which are escaped. A status that is no success is an answer too, except 401, 403 and those that say
    /// that the API cannot answer just now (502, 503, 504).
    pub async fn call(&self, method: Method, path: &[&str], query: &[(&str, &str)], body: Option<&Value>) -> Result<Answer> {
        let url = self.url(path, query)?;
        guard::current().permit_request(&url).await?;
        let mut request = self.http.request(method, url);
        match &self.login {
            Some(Login::Basic(user, password)) => request = request.basic_auth(user, Some(password.expose())),
            Some(Login::Bearer(token)) => request = request.bearer_auth(token.expose()),
            None => {}
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.silent(error))?;
        let status = response.status();
        let text = self.text(response).await?;
        match status {
            StatusCode::UNAUTHORIZED => Err(self.refused("WEIR-LAUNCH-002", Kind::Auth, "refuses the login")),
            StatusCode::FORBIDDEN => Err(self.refused("WEIR-LAUNCH-003", Kind::Privilege, "does not let this login do that")),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Err(self.away().because(format!("HTTP {status}")))
            }
            _ => Ok(Answer { status: status.as_u16(), json: serde_json::from_str(&text).unwrap_or(Value::Null), text }),
        }
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| Error::internal("an address without a path"))?.pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn text(&self, response: reqwest::Response) -> Result<String> {
        let mut bytes = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| self.silent(error))?;
            if bytes.len() + chunk.len() > LARGEST_ANSWER_BYTES {
                return Err(Error::new("WEIR-LAUNCH-005", Kind::Limit, format!("an answer of {} is too large", self.engine))
                    .at(self.place())
                    .because(format!("it is more than {} MiB", LARGEST_ANSWER_BYTES >> 20)));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn silent(&self, error: reqwest::Error) -> Error {
        self.away().because(weir_error::chain(&error.without_url()))
    }

    fn away(&self) -> Error {
        Error::new("WEIR-LAUNCH-001", Kind::Connect, format!("{} does not answer", self.engine))
            .at(self.place())
            .hint("start it, or say where it is: docs/how-to/engines.md")
            .transient()
    }

    fn refused(&self, code: &'static str, kind: Kind, what: &str) -> Error {
        Error::new(code, kind, format!("{} {what}", self.engine))
            .at(self.place())
            .hint("WEIR_ENGINE_TOKEN holds the token, or USER:PASSWORD")
    }

    /// The error of an answer that is no success and should be one; `said` is the engine's own message.
    pub fn unexpected(&self, what: &str, answer: &Answer, said: Option<&str>) -> Error {
        let said = said.map_or_else(|| super::cause::first(&answer.text), super::cause::first);
        Error::new("WEIR-LAUNCH-004", Kind::Unsupported, format!("{} {what}", self.engine))
            .at(self.place())
            .because(format!("HTTP {}: {said}", answer.status))
    }
}

/// A text that should be a URL, without what may be a password in it.
fn without_login(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_before_anything_is_sent() {
        for wrong in ["flink:8081", "ftp://h", "http://user:s3cr3t@h:1", "nonsense"] {
            let error = Rest::new("flink", wrong, None).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
            assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
        }
        let rest = Rest::new("flink", "http://h:1/proxy/", None).unwrap();
        assert_eq!(
            rest.url(&["jobs", "a/b?c"], &[("mode", "x&y")]).unwrap().as_str(),
            "http://h:1/proxy/jobs/a%2Fb%3Fc?mode=x%26y"
        );
        assert_eq!(rest.place(), "http://h:1/proxy");
    }
}
