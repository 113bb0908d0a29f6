//! One HTTP exchange, made reliable: credentials, rate limit, retries, redirects, decompression, bounds.
//!
//! Redirects are followed here and not by the HTTP library, because credentials and the pipeline's own headers must not travel to
//! another origin, and a body must not either.

use std::io::Read;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode};
use tokio::sync::Mutex;
use url::Url;
use weir_connect::{Error, Kind, Result, Retry, guard};
use weir_error::veil;

use super::auth::{Authenticator, header, header_name};
use super::config::{HeaderText, HttpConnection, spec};
use super::retry::{backoff, may_pass, retry_after, server_time};

const MAX_REDIRECTS: usize = 10;

/// What to send.
#[derive(Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// The origin that credentials and `headers` are meant for.
    pub home: Url,
    /// The pipeline's headers.
    pub headers: HeaderMap,
    /// Body with its media type.
    pub body: Option<(&'static str, Bytes)>,
    /// Whether it may be sent again when nobody knows whether it was carried out.
    pub repeatable: bool,
}

/// What came back: a status below 400, the body whole and decompressed.
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Where it came from after redirects.
    pub url: Url,
    /// The server's clock, if it tells.
    pub date: Option<DateTime<Utc>>,
    /// Bytes on the wire.
    pub wire_bytes: u64,
}

/// Keeps a distance between the starts of requests.
pub struct Pace {
    interval: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// At most so many requests per second.
    pub fn new(per_second: Option<f64>) -> Self {
        let interval = per_second.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok()).unwrap_or(Duration::ZERO);
        Self { interval, next: Mutex::new(None) }
    }

    async fn wait(&self) {
        if self.interval.is_zero() {
            return;
        }
        let mut next = self.next.lock().await;
        if let Some(at) = *next {
            tokio::time::sleep_until(at.into()).await;
        }
        *next = Some(Instant::now() + self.interval);
    }
}

/// A connection's client; shared by everything that uses the connection.
pub struct Client {
    http: reqwest::Client,
    auth: Authenticator,
    headers: HeaderMap,
    max_retries: u32,
    retry_base: Duration,
    max_wait: Duration,
    max_response_bytes: usize,
}

/// An attempt that failed, and what the server asked for.
struct Failed {
    error: Error,
    again: bool,
    after: Option<Duration>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { again: error.retryable() != Retry::Never, error, after: None }
    }
}

impl Client {
    /// Makes a client; does not connect.
    pub fn new(connection: &HttpConnection) -> Result<Self> {
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value)
                .ok()
                .filter(|duration| !duration.is_zero())
                .ok_or_else(|| spec(format!("`{name}` must be above 0")))
        };
        let agent = connection.user_agent.clone().unwrap_or_else(|| concat!("weir/", env!("CARGO_PKG_VERSION")).to_owned());
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(header("user_agent", &agent)?)
            .timeout(seconds("timeout_secs", connection.timeout_secs)?)
            .connect_timeout(seconds("connect_timeout_secs", connection.connect_timeout_secs)?)
            .danger_accept_invalid_certs(!connection.verify_tls);
        if let Some(pem) = &connection.ca_cert {
            let bytes = if pem.contains("-----BEGIN") {
                pem.clone().into_bytes()
            } else {
                let path = guard::current().file(std::path::Path::new(pem))?;
                std::fs::read(path).map_err(|error| Error::from(error).at(pem.clone()))?
            };
            let certificates =
                reqwest::Certificate::from_pem_bundle(&bytes).map_err(|error| spec("`ca_cert` is not PEM").because(error))?;
            for certificate in certificates {
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(Self {
            http: crate::guarded::client(builder)
                .build()
                .map_err(|error| spec("the http client cannot be made").because(first_cause(&error)))?,
            auth: Authenticator::new(connection.auth.clone())?,
            headers: header_map(&connection.headers)?,
            max_retries: connection.max_retries,
            retry_base: Duration::from_millis(connection.retry_base_ms),
            max_wait: Duration::from_secs(connection.max_retry_wait_secs),
            max_response_bytes: connection.max_response_bytes,
        })
    }

    /// Whether there are credentials.
    pub fn has_credentials(&self) -> bool {
        self.auth.present()
    }

    /// An address without what must not be printed.
    pub fn shown(&self, url: &Url) -> String {
        shown(url, self.auth.secret_param())
    }

    /// An address without secrets, for positions: the API key is added again when the address is asked, and for the secret parameters that
    /// the API repeats (`own` are those that the pipeline names) stands a mark, which [`Self::with_secrets`] replaces.
    pub fn without_secrets(&self, url: Url, own: &[(String, String)]) -> Url {
        let key = self.auth.secret_param();
        rewritten(url, |name, value| match () {
            () if key == Some(name) => None,
            () if own.iter().any(|(n, v)| n == name && v == value) => Some(HIDDEN.into()),
            () => Some(value.into()),
        })
    }

    /// The address as the API wrote it.
    pub fn with_secrets(&self, url: Url, own: &[(String, String)]) -> Url {
        let known = |name: &str| own.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        rewritten(url, |name, value| Some(if value == HIDDEN { known(name) } else { None }.unwrap_or_else(|| value.into())))
    }

    /// Sends until it works, fails for good, or was tried often enough. The error of the last try is returned, still marked transient
    /// if a later run may have more luck.
    pub async fn send(&self, request: &Request, pace: &Pace) -> Result<Response> {
        // An address may be a secret as a whole; its parameters are then nowhere else.
        for (_, value) in secret_pairs(request.home.query_pairs(), self.auth.secret_param()) {
            veil::remember(&value);
        }
        let mut attempt = 0;
        loop {
            pace.wait().await;
            let failed = match self.once(request).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            if !failed.again || attempt >= self.max_retries {
                return Err(failed.error);
            }
            if let Some(asked) = failed.after.filter(|asked| *asked > self.max_wait) {
                return Err(failed.error.retry(Retry::After(asked)).hint(format!(
                    "the server asks to come back in {} s, more than max_retry_wait_secs ({} s)",
                    asked.as_secs(),
                    self.max_wait.as_secs()
                )));
            }
            // Never earlier than the server asked for.
            let wait = backoff(self.retry_base, attempt, self.max_wait).max(failed.after.unwrap_or_default());
            tracing::debug!(error = %failed.error, attempt, wait_ms = wait.as_millis() as u64, "http request is repeated");
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    /// One try, redirects and one token renewal included.
    async fn once(&self, request: &Request) -> Result<Response, Failed> {
        let mut renewed = false;
        loop {
            let (response, token) = self.follow(request).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED
                && !renewed
                && let Some(token) = token
            {
                self.auth.refused(&token).await;
                renewed = true;
                continue;
            }
            let url = response.url().clone();
            let place = self.shown(&url);
            let headers = response.headers().clone();
            let date = server_time(&headers);
            if status.is_client_error() || status.is_server_error() {
                let after = retry_after(&headers, Utc::now());
                let body = read_body(response, 64 * 1024, &place).await.unwrap_or_default();
                let error = refusal(status, &body).at(place);
                // A 500 or a timeout may come after the work was done; 429 and 503 refuse before it.
                let again = may_pass(status) && (request.repeatable || matches!(status.as_u16(), 429 | 503));
                return Err(Failed { error, again, after });
            }
            let raw = match read_body(response, self.max_response_bytes, &place).await {
                Ok(raw) => raw,
                Err(error) => return Err(self.uncertain(request, error)),
            };
            let wire_bytes = raw.len() as u64;
            let body = match decompress(&headers, raw, self.max_response_bytes) {
                Ok(body) => body,
                Err(error) => return Err(self.uncertain(request, error.at(place))),
            };
            return Ok(Response { status, headers, body, url, date, wire_bytes });
        }
    }

    /// After such an error nobody knows whether the request was carried out.
    fn uncertain(&self, request: &Request, error: Error) -> Failed {
        let again = request.repeatable && error.retryable() != Retry::Never;
        Failed { error, again, after: None }
    }

    async fn follow(&self, request: &Request) -> Result<(reqwest::Response, Option<weir_connect::Secret>), Failed> {
        let mut url = request.url.clone();
        let mut method = request.method.clone();
        let mut body = request.body.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/x-ndjson, */*;q=0.1"));
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            let mut token = None;
            let mut target = url.clone();
            if target.origin() == request.home.origin() {
                headers.extend(self.headers.clone());
                headers.extend(request.headers.clone());
                token = self.auth.apply(&self.http, &mut target, &mut headers).await?;
            }
            let mut builder = self.http.request(method.clone(), target).headers(headers);
            if let Some((media_type, bytes)) = &body {
                builder = builder.header(CONTENT_TYPE, *media_type).body(bytes.clone());
            }
            let place = self.shown(&url);
            guard::current().permit_request(&url).await.map_err(|error| error.at(place.clone()))?;
            let response = match builder.send().await {
                Ok(response) => response,
                Err(error) => {
                    let sent = !error.is_connect();
                    let error = transport(error, &place);
                    return Err(if sent { self.uncertain(request, error) } else { error.into() });
                }
            };
            let status = response.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, token));
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next =
                location.and_then(|location| url.join(location).ok()).filter(|next| matches!(next.scheme(), "http" | "https"));
            let Some(next) = next else {
                let what = format!("the server redirects ({status}) to nowhere");
                return Err(Error::new("WEIR-HTTP-005", Kind::Data, what).at(place).into());
            };
            if url.scheme() == "https" && next.scheme() == "http" {
                let what = "the server redirects from https to http";
                return Err(Error::new("WEIR-HTTP-005", Kind::Connect, what).at(place).because(self.shown(&next)).into());
            }
            if method != Method::GET {
                if status == StatusCode::SEE_OTHER && request.repeatable {
                    method = Method::GET;
                    body = None;
                } else if next.origin() != request.home.origin() || !matches!(status.as_u16(), 307 | 308) {
                    let what = format!("the server redirects a {method} ({status}); it is not sent again elsewhere");
                    let error = Error::new("WEIR-HTTP-005", Kind::Data, what).at(place).because(self.shown(&next));
                    return Err(error.hint("use the final address in the pipeline").into());
                }
            }
            url = next;
        }
        let what = format!("more than {MAX_REDIRECTS} redirects");
        Err(Error::new("WEIR-HTTP-005", Kind::Data, what).at(self.shown(&request.url)).into())
    }
}

/// Headers from options.
pub fn header_map(headers: &std::collections::BTreeMap<String, HeaderText>) -> Result<HeaderMap> {
    headers.iter().map(|(name, value)| Ok((header_name(name)?, header(&format!("headers.{name}"), &value.0)?))).collect()
}

/// Whether a parameter of that name carries a secret.
fn hides(name: &str, secret_param: Option<&str>) -> bool {
    let lower = name.to_lowercase();
    secret_param == Some(name) || ["token", "key", "secret", "password", "sig", "auth"].iter().any(|word| lower.contains(word))
}

/// Those of some parameters that carry a secret.
pub fn secret_pairs<N: AsRef<str>>(pairs: impl IntoIterator<Item = (N, N)>, secret_param: Option<&str>) -> Vec<(String, String)> {
    let pairs = pairs.into_iter().map(|(name, value)| (name.as_ref().to_owned(), value.as_ref().to_owned()));
    pairs.filter(|(name, _)| hides(name, secret_param)).collect()
}

/// What stands for a secret parameter in a position.
const HIDDEN: &str = "***";

/// The address with other parameters; as it was written, if they are the same.
fn rewritten(mut url: Url, value: impl Fn(&str, &str) -> Option<String>) -> Url {
    let old: Vec<(String, String)> = url.query_pairs().map(|(name, value)| (name.into(), value.into())).collect();
    let new: Vec<(String, String)> = old.iter().filter_map(|(name, old)| Some((name.clone(), value(name, old)?))).collect();
    if new != old {
        url.query_pairs_mut().clear().extend_pairs(new);
    }
    url
}

/// An address for people: without credentials in parameters.
pub fn shown(url: &Url, secret_param: Option<&str>) -> String {
    let mut shown = url.clone();
    let _ = shown.set_password(None);
    let _ = shown.set_username("");
    if url.query().is_some() {
        let pairs: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| {
                (name.to_string(), if hides(&name, secret_param) { "***".to_owned() } else { value.to_string() })
            })
            .collect();
        shown.query_pairs_mut().clear().extend_pairs(pairs);
    }
    shown.to_string()
}

/// What causes of a failed TLS session say; a server that does not speak TLS at all sends what TLS calls corrupt.
const TLS_WORDS: [&str; 5] = ["certificate", "tls", "TLS", "handshake", "corrupt message"];

/// An error of the HTTP library. Its own text names the whole address, so only its causes are told.
pub fn transport(error: reqwest::Error, place: &str) -> Error {
    let error = error.without_url();
    let why = first_cause(&error);
    let built = if error.is_builder() || error.is_request() && error.to_string().contains("invalid") {
        spec("the request cannot be made")
    } else if error.is_timeout() {
        Error::new("WEIR-HTTP-002", Kind::Connect, "the server did not answer in time").transient()
    } else if error.is_connect() && TLS_WORDS.iter().any(|word| why.contains(word)) {
        Error::new("WEIR-HTTP-002", Kind::Connect, "the secure connection cannot be made")
            .hint("set `ca_cert` to the certificate of your authority; a server without TLS has an http:// address")
    } else if error.is_connect() {
        Error::new("WEIR-HTTP-002", Kind::Connect, "cannot reach the server").transient()
    } else {
        Error::new("WEIR-HTTP-006", Kind::Connect, "the connection broke before the response was whole").transient()
    };
    built.at(place).because(why)
}

fn first_cause(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(inner) = next {
        text = inner.to_string();
        next = inner.source();
    }
    text
}

/// Reads a body up to a bound.
pub async fn read_body(mut response: reqwest::Response, bound: usize, place: &str) -> Result<Bytes> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(error, place))? {
        if body.len() + chunk.len() > bound {
            return Err(too_large(bound).at(place));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

fn too_large(bound: usize) -> Error {
    Error::new("WEIR-HTTP-007", Kind::Limit, format!("the response is larger than {bound} bytes"))
        .hint("ask for smaller pages, or raise `max_response_bytes`")
}

/// Believes the bytes more than the header: some servers say gzip and send plain text, some send gzip and do not say so.
fn decompress(headers: &HeaderMap, raw: Bytes, bound: usize) -> Result<Bytes> {
    let encoding =
        headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("identity").trim().to_lowercase();
    let known = matches!(encoding.as_str(), "" | "identity" | "gzip" | "x-gzip");
    if !known {
        let what = format!("the response is encoded as `{encoding}`, which was not asked for");
        return Err(Error::new("WEIR-HTTP-008", Kind::Unsupported, what));
    }
    if !raw.starts_with(&[0x1f, 0x8b]) {
        return Ok(raw);
    }
    let mut body = Vec::new();
    flate2::read::MultiGzDecoder::new(raw.as_ref()).take(bound as u64 + 1).read_to_end(&mut body).map_err(|error| {
        Error::new("WEIR-HTTP-008", Kind::Data, "the compressed response is broken or cut").because(error).transient()
    })?;
    if body.len() > bound { Err(too_large(bound)) } else { Ok(body.into()) }
}

/// What a status of 400 or more means.
fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let says = snippet(body);
    let error = match status.as_u16() {
        401 => Error::new("WEIR-HTTP-003", Kind::Auth, "the server refuses the credentials (401)")
            .hint("check `auth` of the connection"),
        403 => Error::new("WEIR-HTTP-004", Kind::Privilege, "the server forbids this (403)")
            .hint("the credentials are known but may not do this, or the key is of another account"),
        404 | 410 => {
            Error::new("WEIR-HTTP-010", Kind::NotFound, format!("there is nothing at this address ({})", status.as_u16()))
        }
        413 => Error::new("WEIR-HTTP-011", Kind::Limit, "the request is too large for the server (413)")
            .hint("lower batch_rows or batch_bytes"),
        429 => {
            Error::new("WEIR-HTTP-012", Kind::Limit, "too many requests (429)").hint("set `rate_limit_per_second`").transient()
        }
        408 | 502..=504 => {
            Error::new("WEIR-HTTP-009", Kind::Connect, format!("the server is not available ({status})")).transient()
        }
        500 => Error::new("WEIR-HTTP-009", Kind::Data, "the server fails (500)").transient(),
        _ => Error::new("WEIR-HTTP-013", Kind::Data, format!("the server refuses the request ({status})")),
    };
    if says.is_empty() { error } else { error.because(says) }
}

/// The beginning of a body, for people.
pub fn snippet(body: &[u8]) -> String {
    // Servers quote what they refuse; cleared before it is shortened, or half a secret would be left.
    let text = String::from_utf8_lossy(body);
    let text = veil::veiled(&text);
    let short: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        let url = Url::parse("https://u:p@x.example/a?page=2&api_key=s3cret&k=s3cret&access_token=s3cret").unwrap();
        let text = shown(&url, Some("k"));
        assert!(!text.contains("s3cret") && !text.contains("u:p") && text.contains("page=2"), "{text}");
    }

    #[test]
    fn a_position_has_no_secret_and_the_address_gets_it_back() {
        let client = Client::new(&serde_json::from_value(serde_json::json!({})).unwrap()).unwrap();
        let own = secret_pairs([("api_key", "s3cret/1"), ("size", "5")], None);
        assert_eq!(own, [("api_key".to_owned(), "s3cret/1".to_owned())]);
        let next = Url::parse("https://x.example/a?api_key=s3cret%2F1&page=2&page_token=of-the-api").unwrap();
        let kept = client.without_secrets(next.clone(), &own);
        assert_eq!(kept.query(), Some("api_key=***&page=2&page_token=of-the-api"));
        assert_eq!(client.with_secrets(kept, &own), next);
        let without = Url::parse("https://x.example/a?page=3").unwrap();
        assert_eq!(client.with_secrets(client.without_secrets(without.clone(), &own), &own), without, "nothing is added");
    }

    #[test]
    fn a_servers_words_are_cleared_before_they_are_cut() {
        veil::remember("s3cret-of-the-snippet");
        let body = format!("{} s3cret-of-the-snippet", "x".repeat(190));
        assert!(!snippet(body.as_bytes()).contains("s3"), "{}", snippet(body.as_bytes()));
    }

    #[test]
    fn a_truncated_gzip_is_an_error_not_a_short_read() {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all("[1, 2, 3]\n".repeat(1000).as_bytes()).unwrap();
        let whole = encoder.finish().unwrap();
        let headers = HeaderMap::new();
        assert_eq!(decompress(&headers, whole.clone().into(), 1 << 20).unwrap().len(), 10_000);
        for cut in [whole.len() - 1, whole.len() - 8, whole.len() / 2, 12] {
            assert!(decompress(&headers, Bytes::copy_from_slice(&whole[..cut]), 1 << 20).is_err(), "{cut}");
        }
        assert_eq!(decompress(&headers, whole.into(), 5_000).unwrap_err().kind(), Kind::Limit);
    }
}
