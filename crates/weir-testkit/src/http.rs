//! An HTTP server whose answers the test writes: status, headers, delays, sequences, broken bodies; every request is kept.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use axum::body::{Body, Bytes};
use axum::extract::State as AxumState;
use axum::http::{Method, Request, Response, StatusCode};
use futures::StreamExt;
use tokio::sync::oneshot;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// `GET`, ….
    pub method: String,
    /// The path, still percent-encoded.
    pub path: String,
    /// The raw query, without `?`.
    pub query: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When it was complete.
    pub at: Instant,
}

impl Recorded {
    /// The first header of that name (any case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The first query parameter of that name, `+` and percent escapes decoded.
    pub fn param(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key) == name).then(|| decode(value))
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// The body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let value = std::str::from_utf8(&digits).ok().and_then(|d| u8::from_str_radix(d, 16).ok());
                out.push(value.unwrap_or(b'?'));
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    delay: Duration,
    /// Announce this many bytes, send `body`, then break the connection.
    announced: Option<u64>,
    silent: bool,
}

impl Reply {
    /// A status with an empty body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), delay: Duration::ZERO, announced: None, silent: false }
    }

    /// 200 with a JSON body.
    pub fn json(value: serde_json::Value) -> Self {
        Self::status(200).header("content-type", "application/json").body(value.to_string())
    }

    /// 200 with a text body.
    pub fn text(text: impl Into<String>) -> Self {
        Self::status(200).header("content-type", "text/plain; charset=utf-8").body(text.into())
    }

    /// Never answers; the connection stays open until the client gives up.
    pub fn silence() -> Self {
        Self { silent: true, ..Self::status(200) }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Another status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Answers only after this long.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Announces `content_length` bytes, sends the body and breaks the connection.
    #[must_use]
    pub fn truncated(mut self, content_length: u64) -> Self {
        self.announced = Some(content_length);
        self
    }
}

type Handler = Arc<dyn Fn(&Recorded) -> Reply + Send + Sync>;

struct Shared {
    routes: Mutex<HashMap<String, Handler>>,
    requests: Mutex<Vec<Recorded>>,
    arrived: Condvar,
}

/// A running server on 127.0.0.1. What has no route is answered 404. Stops when dropped.
pub struct HttpFixture {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

impl HttpFixture {
    /// Starts it on a free port.
    pub fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { routes: Mutex::default(), requests: Mutex::default(), arrived: Condvar::new() });
        let (_stop, stopped) = oneshot::channel::<()>();
        let app = axum::Router::new().fallback(answer).with_state(shared.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! { _ = async { axum::serve(listener, app).await } => {}, _ = stopped => {} }
            });
        });
        Ok(Self { address, shared, _stop })
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The server's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Always answers `path` (any method, any query) like this.
    pub fn on(&self, path: &str, reply: Reply) -> &Self {
        self.handle(path, move |_| reply.clone())
    }

    /// Answers `path` with these in turn; the last one again and again.
    pub fn sequence(&self, path: &str, replies: impl IntoIterator<Item = Reply>) -> &Self {
        let replies: Vec<Reply> = replies.into_iter().collect();
        let next = Mutex::new(0_usize);
        self.handle(path, move |_| {
            let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
            let reply = replies.get(*next).or_else(|| replies.last()).cloned().unwrap_or_else(|| Reply::status(404));
            *next += 1;
            reply
        })
    }

    /// Answers `path` with what the function says. A path of `*` answers what no other route does.
    pub fn handle(&self, path: &str, handler: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> &Self {
        self.shared.routes.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), Arc::new(handler));
        self
    }

    /// Every request so far, in the order of their completion.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The requests to one path.
    pub fn requests_to(&self, path: &str) -> Vec<Recorded> {
        self.requests().into_iter().filter(|r| r.path == path).collect()
    }

    /// Blocks until `count` requests have come, or fails after `limit`.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Result<Vec<Recorded>> {
        let guard = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.arrived.wait_timeout_while(guard, limit, |requests| requests.len() < count);
        let (requests, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            bail!("{} of {count} requests came within {limit:?}", requests.len());
        }
        Ok(requests.clone())
    }
}

async fn answer(AxumState(shared): AxumState<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return plain(StatusCode::BAD_REQUEST) };
    let recorded = Recorded {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect(),
        body: body.to_vec(),
        at: Instant::now(),
    };
    let handler = {
        let routes = shared.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.get(&recorded.path).or_else(|| routes.get("*")).cloned()
    };
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(recorded.clone());
    shared.arrived.notify_all();
    let Some(handler) = handler else { return plain(StatusCode::NOT_FOUND) };
    let reply = handler(&recorded);
    if reply.silent {
        std::future::pending::<()>().await;
    }
    if !reply.delay.is_zero() {
        tokio::time::sleep(reply.delay).await;
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let body = match reply.announced {
        Some(length) if parts.method != Method::HEAD => {
            response = response.header("content-length", length);
            let first = futures::stream::once(async move { Ok(Bytes::from(reply.body)) });
            // One turn without data makes the server flush what it has before the break.
            let broken = futures::stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("broken on purpose"))
            });
            Body::from_stream(first.chain(broken))
        }
        _ => Body::from(reply.body),
    };
    response.body(body).unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR))
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn routes_answer_in_sequence_and_requests_are_recorded() {
        let server = HttpFixture::start().unwrap();
        server.sequence("/a", [Reply::status(503).header("retry-after", "1"), Reply::json(serde_json::json!({"n": 1}))]);
        let client = reqwest::Client::new();
        let first = client.get(format!("{}/a?q=x%20y", server.url())).header("X-Key", "k").send().await.unwrap();
        assert_eq!((first.status().as_u16(), first.headers()["retry-after"].to_str().unwrap()), (503, "1"));
        for _ in 0..2 {
            let body = client.get(format!("{}/a", server.url())).send().await.unwrap().text().await.unwrap();
            assert_eq!(body, r#"{"n":1}"#);
        }
        assert_eq!(client.post(format!("{}/none", server.url())).body("hi").send().await.unwrap().status().as_u16(), 404);
        let seen = server.wait_for(4, Duration::from_secs(5)).unwrap();
        assert_eq!((seen[0].param("q").as_deref(), seen[0].header("x-key")), (Some("x y"), Some("k")));
        assert_eq!((seen[3].method.as_str(), seen[3].text().as_str()), ("POST", "hi"));
    }

    #[tokio::test]
    async fn a_truncated_reply_breaks_the_connection() {
        let server = HttpFixture::start().unwrap();
        server.on("/t", Reply::text("half").truncated(8));
        let answer = reqwest::get(format!("{}/t", server.url())).await.unwrap();
        assert_eq!(answer.content_length(), Some(8));
        assert!(answer.bytes().await.is_err());
    }
}
