//! A server whose every answer a test decides, and which remembers what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value;

/// One request as the server saw it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub at: Instant,
    /// How many requests came before.
    pub number: usize,
}

impl Asked {
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    pub fn number_param(&self, name: &str) -> Option<usize> {
        self.param(name).map(|value| value.parse().unwrap())
    }
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An answer.
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
    cut: bool,
}

impl Reply {
    pub fn json(value: Value) -> Self {
        Self::bytes(value.to_string()).header("content-type", "application/json")
    }
    pub fn bytes(body: impl Into<Bytes>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), cut: false }
    }
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), cut: false }
    }
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
    pub fn with(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
    /// The connection breaks after half of the body.
    pub fn cut(mut self) -> Self {
        self.cut = true;
        self
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;
type Log = Arc<Mutex<Vec<Asked>>>;

/// A running server; stops when dropped.
pub struct Api {
    pub base: String,
    asked: Log,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Api {
    pub async fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked: Log = Arc::default();
        let handler: Arc<Handler> = Arc::new(handler);
        let router = Router::new().fallback(answer).with_state((asked.clone(), handler));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, asked, task }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

async fn answer(State((log, handler)): State<(Log, Arc<Handler>)>, request: Request) -> Response {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    let asked = {
        let mut log = log.lock().unwrap();
        let query = parts.uri.query().unwrap_or("");
        let asked = Asked {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            headers: parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect(),
            body,
            at,
            number: log.len(),
        };
        log.push(asked.clone());
        asked
    };
    let reply = handler(&asked);
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let body = if reply.cut {
        let half = reply.body.slice(..reply.body.len() / 2);
        let broken = std::io::Error::other("the test cuts the connection");
        Body::from_stream(futures::stream::iter([Ok(half), Err(broken)]))
    } else {
        Body::from(reply.body)
    };
    response.body(body).unwrap()
}
