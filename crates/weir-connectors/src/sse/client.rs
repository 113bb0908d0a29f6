//! One request, whose answer does not end.

use std::path::Path;
use std::time::Duration;

use chrono::Utc;
use reqwest::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode};
use url::Url;
use weir_connect::{Error, Kind, Result, Retry, guard};

use super::config::{ConnectionOptions, wrong};
use crate::http::client::{header_map, shown};
use crate::http::retry::{may_pass, retry_after};

/// A server, and how to reach it.
pub struct Target {
    http: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    patience: Duration,
}

impl Target {
    /// Checks the options; does not connect.
    pub fn new(options: &ConnectionOptions) -> Result<Self> {
        let hint = "write https://host/path";
        let url = Url::parse(options.url.trim()).map_err(|error| wrong("`url` is no address", hint).because(error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("`url` is no web address", hint));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("`url` has a user or password", "put them into `headers`: `Authorization: Basic …`"));
        }
        let patience = Duration::from_secs(options.connect_timeout_secs.unwrap_or(10).max(1));
        let mut builder = reqwest::Client::builder()
            // Headers would go to another host.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience)
            .tcp_keepalive(Duration::from_secs(30))
            .danger_accept_invalid_certs(options.verify_tls == Some(false));
        if let Some(pem) = &options.ca_cert {
            let bytes = if pem.contains("-----BEGIN") {
                pem.clone().into_bytes()
            } else {
                let path = guard::current().file(Path::new(pem))?;
                std::fs::read(path).map_err(|error| Error::from(error).at(pem.clone()))?
            };
            let not_pem = |error| wrong("`ca_cert` is not PEM", "give PEM text or a PEM file").because(error);
            for certificate in reqwest::Certificate::from_pem_bundle(&bytes).map_err(not_pem)? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let http = crate::guarded::client(builder);
        let http = http.build().map_err(|error| wrong("the client cannot be made", "check `ca_cert`").because(error))?;
        Ok(Self { http, url, headers: header_map(&options.headers)?, patience })
    }

    /// Where it is.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Where it is, for messages: without what may be secret.
    pub fn place(&self) -> String {
        shown(&self.url, None)
    }

    /// Where it is, without parameters.
    pub fn bare(&self) -> String {
        let mut bare = self.url.clone();
        bare.set_query(None);
        bare.set_fragment(None);
        bare.to_string()
    }

    /// Asks for the events behind one.
    pub async fn ask(&self, last_id: Option<&[u8]>) -> Result<Response> {
        guard::current().permit_request(&self.url).await.map_err(|error| error.at(self.place()))?;
        let mut headers = self.headers.clone();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(id) = last_id.filter(|id| !id.is_empty()) {
            let id = HeaderValue::from_bytes(id).map_err(|_| {
                Error::new("WEIR-SSE-007", Kind::Data, "the last event's id cannot stand in a header").at(self.place())
            })?;
            headers.insert(HeaderName::from_static("last-event-id"), id);
        }
        let request = self.http.get(self.url.clone()).headers(headers).send();
        let response = match tokio::time::timeout(self.patience, request).await {
            Ok(answer) => answer.map_err(|error| self.lost(error))?,
            Err(_) => return Err(self.gone(format!("no answer within {} s", self.patience.as_secs()))),
        };
        self.checked(response).await
    }

    /// A failed exchange.
    pub fn lost(&self, error: reqwest::Error) -> Error {
        crate::http::client::transport(error, &self.place())
    }

    /// A connection that ended.
    pub fn gone(&self, why: impl std::fmt::Display) -> Error {
        Error::new("WEIR-SSE-002", Kind::Connect, "the connection ended").at(self.place()).because(why).transient()
    }

    async fn checked(&self, response: Response) -> Result<Response> {
        let status = response.status();
        let what = format!("the server answers {status}");
        let refused = |code: &'static str, kind: Kind, what: String| Error::new(code, kind, what).at(self.place());
        match status {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => {
                return Err(refused(
                    "WEIR-SSE-005",
                    Kind::NotFound,
                    "the server says that there will be no more events (204)".into(),
                ));
            }
            StatusCode::UNAUTHORIZED => {
                return Err(refused("WEIR-SSE-003", Kind::Auth, what).hint("check the credentials in `headers`"));
            }
            StatusCode::FORBIDDEN => {
                return Err(refused("WEIR-SSE-003", Kind::Privilege, what).hint("check the credentials in `headers`"));
            }
            status if status.is_redirection() => {
                let hint = "redirects are not followed, since headers would go to another host: write the final address";
                return Err(refused("WEIR-SSE-004", Kind::Connect, what).hint(hint));
            }
            status => {
                let kind = if status == StatusCode::NOT_FOUND { Kind::NotFound } else { Kind::Connect };
                let error = refused("WEIR-SSE-004", kind, what);
                let asked = retry_after(response.headers(), Utc::now());
                return Err(match (may_pass(status), asked) {
                    (true, Some(asked)) => error.retry(Retry::After(asked)),
                    (true, None) => error.transient(),
                    (false, _) => error,
                });
            }
        }
        let given = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = given.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("text/event-stream") {
            let what = format!("the server sends `{essence}` and no events");
            return Err(refused("WEIR-SSE-004", Kind::Data, what)
                .hint("an event stream is `text/event-stream`; `http` reads other answers"));
        }
        Ok(response)
    }
}
