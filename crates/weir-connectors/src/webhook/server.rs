//! One request: who sends it, what it holds, and an answer when it is on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_connect::{Error, Kind, Result, guard};

use super::body::rows;
use super::config::{ConnectionOptions, DELIVERY, Metadata, SourceOptions, wrong};
use super::connection::{Deadline, Listener};
use super::seen::{Known, Seen};
use super::signature::{Verifier, same};
use crate::inbox::cursor::Cursor;
use crate::inbox::{FULL, Inbox, Queue, Record};

/// The budget of bodies is counted in pieces of so many bytes.
const PIECE: usize = 1024;

/// Opens the port, if this process may open one.
pub(super) async fn bind(options: &ConnectionOptions) -> Result<TcpListener> {
    let address = options.address()?;
    guard::current().permit_listen(address)?;
    TcpListener::bind(address).await.map_err(|error| {
        let what = format!("`{}` cannot be listened on", options.listen);
        Error::new("WEIR-WEBHOOK-002", Kind::Connect, what)
            .because(error)
            .hint("another program may listen there, or the address is not of this machine")
            .transient()
    })
}

/// Begins to receive.
pub(super) async fn listen(
    connection: &ConnectionOptions,
    options: &SourceOptions,
    inbox: &Inbox,
) -> Result<BoxFuture<'static, Error>> {
    let mut streams = BTreeMap::new();
    for (name, path) in options.streams() {
        let queue = inbox.queue(&name)?.clone();
        let seen = match &options.deduplicate {
            None => None,
            Some(deduplicate) => {
                let seen = Seen::new(Duration::from_secs(deduplicate.window_secs), deduplicate.max_deliveries);
                Some(remember(queue.clone(), seen).await?)
            }
        };
        streams.insert(path, Stream { queue, seen });
    }
    let delivery = options.deduplicate.as_ref().map(|deduplicate| deduplicate.header.parse::<HeaderName>());
    let delivery = delivery
        .transpose()
        .map_err(|error| wrong("`deduplicate.header` is no name of a header", "`Idempotency-Key`").because(error))?;
    let listener = bind(connection).await?;
    let idle = Duration::from_secs(connection.idle_timeout_secs.unwrap_or(30).max(1));
    let listener = Listener::new(listener, connection.max_connections.unwrap_or(256), idle);
    let receiver = Arc::new(Receiver {
        streams,
        delivery,
        verifier: connection.signature.as_ref().map(|signature| signature.verifier()),
        buffer: Arc::new(Semaphore::new(connection.buffer_bytes().div_ceil(PIECE).clamp(1, u32::MAX as usize))),
        patience: Duration::from_secs(connection.request_timeout_secs.unwrap_or(30).max(1)),
        retry_after: HeaderValue::from(connection.retry_after_secs.unwrap_or(5)),
        connection: connection.clone(),
        options: options.clone(),
    });
    let service = Router::new().fallback(handle).with_state(receiver).into_make_service_with_connect_info::<Deadline>();
    let place = connection.listen.clone();
    Ok(Box::pin(async move {
        let ended = axum::serve(listener, service).await;
        let why = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
        Error::new("WEIR-WEBHOOK-003", Kind::Io, "the receiver of requests ended").at(place).because(why).transient()
    }))
}

/// The deliveries that the inbox still has.
async fn remember(queue: Arc<Queue>, seen: Seen) -> Result<Seen> {
    let read = move || {
        let mut cursor = Cursor::new(queue.clone(), queue.oldest());
        loop {
            let records = cursor.read(1 << 20)?;
            if records.is_empty() {
                return Ok(seen);
            }
            let mut before: Option<Bytes> = None;
            for record in records {
                let Some(name) = record.fields.get(DELIVERY).cloned().flatten() else { continue };
                // Rows of one request follow each other.
                if before.as_ref() != Some(&name) {
                    // Not a part of the block that was read.
                    seen.stored(Bytes::copy_from_slice(&name), record.at_us);
                    before = Some(name);
                }
            }
        }
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| Error::internal("work on the inbox died").caused_by(error))?
}

struct Stream {
    queue: Arc<Queue>,
    seen: Option<Seen>,
}

struct Receiver {
    /// By path.
    streams: BTreeMap<String, Stream>,
    delivery: Option<HeaderName>,
    verifier: Option<Verifier>,
    buffer: Arc<Semaphore>,
    patience: Duration,
    retry_after: HeaderValue,
    connection: ConnectionOptions,
    options: SourceOptions,
}

/// An answer that is not 2xx.
struct Refused {
    status: StatusCode,
    why: String,
}

fn refused(status: StatusCode, why: impl Into<String>) -> Refused {
    Refused { status, why: why.into() }
}

async fn handle(
    State(receiver): State<Arc<Receiver>>,
    ConnectInfo(deadline): ConnectInfo<Deadline>,
    request: Request,
) -> Response {
    deadline.within(receiver.patience.saturating_mul(2));
    // A sender that hangs up ends this future, and must not end what is being stored.
    let answer = tokio::spawn(async move { receiver.answer(request).await }).await;
    deadline.idle();
    answer.unwrap_or_else(|error| {
        tracing::error!(target: "weir::webhook", "a request was not stored: {error}");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

impl Receiver {
    async fn answer(&self, request: Request) -> Response {
        let path = request.uri().path();
        if path == self.connection.health_path() && request.method() == axum::http::Method::GET {
            return (StatusCode::OK, "ok\n").into_response();
        }
        let Some(stream) = self.streams.get(path) else {
            return (StatusCode::NOT_FOUND, "nothing is received here\n").into_response();
        };
        let methods = self.options.methods();
        if !methods.iter().any(|method| method.as_str() == request.method().as_str()) {
            let allowed: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
            return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, allowed.join(", "))], "").into_response();
        }
        match self.take(stream, request).await {
            Ok(stored) => {
                (StatusCode::OK, [(CONTENT_TYPE, "application/json")], format!("{{\"stored\":{stored}}}\n")).into_response()
            }
            Err(refused) => {
                let mut answer = (refused.status, format!("{}\n", refused.why)).into_response();
                if matches!(refused.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
                    answer.headers_mut().insert(RETRY_AFTER, self.retry_after.clone());
                }
                answer
            }
        }
    }

    /// Puts a request on the disk; how many rows are there now because of it.
    async fn take(&self, stream: &Stream, request: Request) -> Result<usize, Refused> {
        let (parts, body) = request.into_parts();
        if let Some(token) = &self.connection.bearer_token {
            let given = parts.headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
            if !given.is_some_and(|given| same(given, token.expose().as_bytes())) {
                return Err(refused(StatusCode::UNAUTHORIZED, "the token is wrong or missing"));
            }
        }
        // The whole budget of a request is taken before a byte of it is read, so that two halves cannot wait for each other.
        let (body, _room) = self.read(&parts.headers, body).await?;
        let now_us = chrono::Utc::now().timestamp_micros();
        if let Some(verifier) = &self.verifier {
            let checked = verifier.check(&parts.headers, &body, now_us.div_euclid(1_000_000));
            checked.map_err(|why| refused(StatusCode::UNAUTHORIZED, why))?;
        }
        let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let payloads = rows(&body, self.options.body, self.options.format, content_type);
        let delivery =
            self.delivery.as_ref().and_then(|name| parts.headers.get(name)).map(|value| Bytes::copy_from_slice(value.as_bytes()));
        let fields = self.fields(&parts.headers, parts.uri.path(), parts.uri.query(), delivery.clone());
        let size = |field: &Option<Bytes>| 4 + field.as_ref().map_or(0, Bytes::len);
        let each = 32 + fields.iter().map(size).sum::<usize>();
        if payloads.len().saturating_mul(each).saturating_add(body.len()) > stream.queue.max_append() {
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "the request has too many rows for the inbox"));
        }
        let record = |payload| Record { at_us: now_us, refused: None, fields: fields.clone(), payload };
        let mut records: Vec<Record> = payloads.into_iter().map(record).collect();
        let (Some(seen), Some(name)) = (&stream.seen, delivery) else { return self.store(stream, records).await };
        match seen.ask(&name, now_us) {
            Known::Stored => return Ok(0),
            Known::Underway => return Err(refused(StatusCode::TOO_MANY_REQUESTS, "this delivery is being stored")),
            Known::New => {}
        }
        if records.is_empty() {
            records.push(Record::marker(fields.clone()));
        }
        // However this ends, the name must not stay underway.
        let claim = Claim { seen, name: Some(name), at_us: now_us };
        let stored = self.store(stream, records).await?;
        claim.keep();
        Ok(stored)
    }

    /// The body, within its bounds, and the part of the budget that it takes.
    async fn read(&self, headers: &HeaderMap, body: HttpBody) -> Result<(Bytes, OwnedSemaphorePermit), Refused> {
        let max = self.connection.body_bytes();
        let too_large = || refused(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is over {max} bytes"));
        let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if told.is_some_and(|told| told > max as u64) {
            return Err(too_large());
        }
        let wanted = told.and_then(|told| usize::try_from(told).ok()).unwrap_or(max).div_ceil(PIECE).max(1);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let Ok(room) = self.buffer.clone().try_acquire_many_owned(wanted) else {
            return Err(refused(StatusCode::TOO_MANY_REQUESTS, "too many requests at once"));
        };
        let read = async {
            let mut whole = BytesMut::new();
            let mut pieces = body.into_data_stream();
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|_| refused(StatusCode::BAD_REQUEST, "the body broke off"))?;
                if whole.len() + piece.len() > max {
                    return Err(too_large());
                }
                whole.extend_from_slice(&piece);
            }
            Ok(whole.freeze())
        };
        match tokio::time::timeout(self.patience, read).await {
            Ok(body) => Ok((body?, room)),
            Err(_) => Err(refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
        }
    }

    /// What is kept of a request beside its rows: no more than somebody asked for.
    fn fields(&self, headers: &HeaderMap, path: &str, query: Option<&str>, delivery: Option<Bytes>) -> Vec<Option<Bytes>> {
        let wanted = |kind| self.options.metadata.contains(&kind);
        let text = |kind, text: Option<&str>| text.filter(|_| wanted(kind)).map(|text| Bytes::copy_from_slice(text.as_bytes()));
        let all = wanted(Metadata::Headers).then(|| Bytes::from(self.headers_of(headers)));
        vec![delivery, text(Metadata::Path, Some(path)), text(Metadata::Query, query), all]
    }

    /// Headers as JSON, without those that prove who sends.
    fn headers_of(&self, headers: &HeaderMap) -> String {
        let signature = self
            .connection
            .signature
            .as_ref()
            .and_then(|signature| signature.header.clone())
            .unwrap_or_else(|| "x-signature".into());
        let hidden =
            ["authorization", "proxy-authorization", "cookie", "x-hub-signature", "x-hub-signature-256", "stripe-signature"];
        let mut members = serde_json::Map::new();
        for name in headers.keys() {
            if hidden.contains(&name.as_str()) || signature.eq_ignore_ascii_case(name.as_str()) {
                continue;
            }
            let values: Vec<_> =
                headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
            members.insert(name.as_str().to_owned(), values.join(", ").into());
        }
        serde_json::Value::Object(members).to_string()
    }

    async fn store(&self, stream: &Stream, records: Vec<Record>) -> Result<usize, Refused> {
        let rows = records.iter().filter(|record| !record.is_marker()).count();
        match stream.queue.append(&records).await {
            Ok(_) => Ok(rows),
            Err(error) if error.code() == FULL => Err(refused(StatusCode::TOO_MANY_REQUESTS, "the inbox is full")),
            Err(error) => {
                tracing::error!(target: "weir::webhook", "a request was not stored: {error}");
                Err(refused(StatusCode::SERVICE_UNAVAILABLE, "the request cannot be stored"))
            }
        }
    }
}

/// A delivery that is being stored; given up unless it is kept.
struct Claim<'a> {
    seen: &'a Seen,
    name: Option<Bytes>,
    at_us: i64,
}

impl Claim<'_> {
    fn keep(mut self) {
        if let Some(name) = self.name.take() {
            self.seen.stored(name, self.at_us);
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.seen.failed(&name);
        }
    }
}
