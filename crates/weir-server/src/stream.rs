//! Server-sent events: one task asks for what is new and writes frames into a bounded queue; it ends with the client, the server's stop,
//! or the caller's right to see it.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_store::TenantScope;

use crate::answer::{Answer, Reply};
use crate::app::App;
use crate::ask::Ask;
use crate::problem::Problem;
use crate::{auth, idempotency};

/// A comment goes out after so long a silence, so that proxies keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often the source is asked for more.
const POLL: Duration = Duration::from_millis(250);
/// How often the caller's token is looked at again.
const RECHECK: Duration = Duration::from_secs(10);
/// Frames that may wait for a slow client.
const QUEUE: usize = 16;

/// What a look for more found.
pub struct Step {
    /// Frames, maybe none.
    pub frames: Vec<Bytes>,
    /// Nothing will follow.
    pub over: bool,
    /// More is there already.
    pub more: bool,
}

/// A frame: id, event name, data as one JSON line.
pub fn frame<T: Serialize>(id: Option<i64>, event: &str, data: &T) -> Bytes {
    let mut out = Vec::with_capacity(128);
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    out.extend_from_slice(format!("event: {event}\ndata: ").as_bytes());
    // JSON has no raw newlines, so the data is one line.
    out.extend_from_slice(&serde_json::to_vec(data).unwrap_or_default());
    out.extend_from_slice(b"\n\n");
    out.into()
}

/// `Last-Event-ID`, if it is one of ours.
pub fn last_event_id(headers: &HeaderMap) -> Option<i64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok().filter(|id| *id >= 0)
}

/// Whether the caller wants events rather than JSON.
pub fn wanted(headers: &HeaderMap) -> bool {
    headers.get(axum::http::header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| {
        accept.split(',').any(|one| one.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream"))
    })
}

/// Answers with a stream of what `next` finds, until it is over.
pub fn follow<N, F>(ask: &Ask, scope: &TenantScope, mut next: N) -> Reply
where
    N: FnMut() -> F + Send + 'static,
    F: Future<Output = weir_error::Result<Step>> + Send,
{
    let Ok(permit) = ask.app.streams.clone().try_acquire_owned() else {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "WEIR-API-040", "too many event streams are open")
            .hint("try again in a moment, or read without `Accept: text/event-stream`")
            .header(axum::http::header::RETRY_AFTER, axum::http::HeaderValue::from_static("5")));
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE);
    let guard = Guard::new(ask, scope);
    tokio::spawn(async move {
        let _permit = permit;
        let stop = guard.app.stop.clone();
        let (mut quiet_since, mut checked) = (Instant::now(), Instant::now());
        loop {
            let step = match next().await {
                Ok(step) => step,
                Err(error) => {
                    let _ = sender.send(frame(None, "error", &error_words(&error))).await;
                    return;
                }
            };
            for one in step.frames {
                quiet_since = Instant::now();
                if sender.send(one).await.is_err() {
                    return;
                }
            }
            if step.over {
                let _ = sender.send(frame(None, "end", &serde_json::json!({}))).await;
                return;
            }
            if quiet_since.elapsed() >= HEARTBEAT {
                quiet_since = Instant::now();
                if sender.send(Bytes::from_static(b": still here\n\n")).await.is_err() {
                    return;
                }
            }
            if checked.elapsed() >= RECHECK {
                checked = Instant::now();
                if !guard.still_holds().await {
                    return;
                }
            }
            if step.more {
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sender.closed() => return,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    });
    let frames = futures::stream::unfold(receiver, |mut receiver| async {
        let one = receiver.recv().await?;
        Some((Ok::<_, Infallible>(one), receiver))
    });
    Ok(Answer::events(Body::from_stream(frames)))
}

fn error_words(error: &weir_error::Error) -> serde_json::Value {
    serde_json::json!({"code": error.code(), "detail": "the stream broke off; ask again with Last-Event-ID"})
}

/// The right with which a stream was opened; a revoked token ends it.
struct Guard {
    app: Arc<App>,
    headers: HeaderMap,
    request_id: Arc<str>,
    trace_id: Arc<str>,
    scope: TenantScope,
}

impl Guard {
    fn new(ask: &Ask, scope: &TenantScope) -> Self {
        let mut headers = ask.headers.clone();
        headers.remove(idempotency::KEY);
        Self {
            app: ask.app.clone(),
            headers,
            request_id: ask.request_id.clone(),
            trace_id: ask.trace_id.clone(),
            scope: scope.clone(),
        }
    }

    async fn still_holds(&self) -> bool {
        match auth::caller(&self.app, &self.headers, &self.request_id, &self.trace_id).await {
            Ok(caller) => caller.scope.tenant() == self.scope.tenant(),
            // A database that is away for a moment is no revocation.
            Err(problem) => problem.status().is_server_error(),
        }
    }
}
