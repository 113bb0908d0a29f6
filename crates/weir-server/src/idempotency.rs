//! `Idempotency-Key` on POST: the same key and request give the first answer again; the change is made once.
//!
//! The work runs in a task of its own, so that a caller who hangs up does not leave a key whose outcome nobody knows. Answers that mean
//! "not now" (5xx, 429) are not kept: the next try is a new one. Keys belong to a tenant and an actor and are kept for 24 hours.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use futures::FutureExt;
use sha2::{Digest, Sha256};
use weir_control::access::Caller;
use weir_store::model::{Idempotent, StoredResponse};

use crate::answer::{Answer, Content, Reply};
use crate::ask::Ask;
use crate::problem::{PROBLEM_JSON, Problem};
use crate::route::{Route, Run};

/// The header.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const MAX_KEY: usize = 255;

/// The key of a request, if it has one and the operation is a POST.
pub fn key(route: &Route, headers: &HeaderMap) -> Result<Option<String>, Problem> {
    if route.method != Method::POST {
        return Ok(None);
    }
    let mut values = headers.get_all(&KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let fits = (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    match fits && values.next().is_none() {
        true => Ok(Some(text.to_owned())),
        false => Err(Problem::bad_request(
            "WEIR-API-030",
            format!("`Idempotency-Key` must be 1 to {MAX_KEY} visible ASCII characters"),
        )),
    }
}

/// Runs the operation once per key.
pub async fn run(route: &'static Route, key: String, uri: Uri, ask: Ask, caller: Caller) -> Reply {
    let task = tokio::spawn(async move { once(route, key, &uri, ask, caller).await });
    match task.await {
        Ok(reply) => reply,
        Err(error) => Err(weir_error::Error::internal("the task of a request ended").because(error).into()),
    }
}

async fn once(route: &'static Route, key: String, uri: &Uri, ask: Ask, caller: Caller) -> Reply {
    let store = ask.app.tenant(&caller.scope);
    let fingerprint = fingerprint(route, uri, &ask.body);
    match store.idempotent_begin(&key, &fingerprint).await? {
        Idempotent::New => {}
        Idempotent::Replay(stored) => return replay(stored),
        Idempotent::InProgress => {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "WEIR-API-032",
                "a request with this `Idempotency-Key` is still being worked on",
            )
            .hint("ask again in a moment")
            .header(header::RETRY_AFTER, HeaderValue::from_static("1")));
        }
        Idempotent::Mismatch => {
            return Err(Problem::unprocessable("WEIR-API-031", "this `Idempotency-Key` was used for another request")
                .hint("take a new key for each new request"));
        }
    }
    let request_id = ask.request_id.clone();
    let Run::Guarded(run) = &route.run else { return Err(crate::auth::nobody()) };
    let reply = AssertUnwindSafe(run(ask, caller)).catch_unwind().await;
    let reply = reply.unwrap_or_else(|_| Err(weir_error::Error::internal("a handler panicked").into()));
    let (stored, reply) = remember(reply, &request_id).await;
    let kept = match stored {
        Some(stored) => store.idempotent_finish(&key, stored).await,
        None => store.idempotent_abandon(&key).await,
    };
    if let Err(error) = kept {
        tracing::error!(%error, "the outcome of an idempotent request could not be kept");
    }
    reply
}

fn fingerprint(route: &Route, uri: &Uri, body: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [route.id.as_bytes(), uri.path().as_bytes(), uri.query().unwrap_or_default().as_bytes(), body] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What to keep of a reply, and the reply itself.
async fn remember(reply: Reply, request_id: &str) -> (Option<StoredResponse>, Reply) {
    match reply {
        Ok(answer) => {
            let (media, body) = match (&answer.remembered, &answer.body) {
                (Some(bytes), Content::Bytes(media, _)) => (Some(*media), bytes.clone()),
                (None, Content::Bytes(media, bytes)) => (Some(*media), bytes.clone()),
                (_, Content::Empty) => (None, Default::default()),
                (_, Content::Events(_)) => return (None, Ok(answer)),
            };
            (Some(stored(answer.status, media, &answer.headers, &body)), Ok(answer))
        }
        Err(problem) if again(problem.status()) => (None, Err(problem)),
        Err(problem) => {
            let (parts, body) = problem.into_response(request_id).into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            let headers: Vec<(HeaderName, HeaderValue)> = parts
                .headers
                .iter()
                .filter(|(name, _)| **name != header::CONTENT_TYPE)
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect();
            let kept = stored(parts.status, Some(PROBLEM_JSON), &headers, &body);
            let answer = Answer { status: parts.status, headers, body: Content::Bytes(PROBLEM_JSON, body), remembered: None };
            (Some(kept), Ok(answer))
        }
    }
}

fn again(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

fn stored(status: StatusCode, media: Option<&str>, headers: &[(HeaderName, HeaderValue)], body: &[u8]) -> StoredResponse {
    let mut kept: BTreeMap<String, String> =
        headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect();
    if let Some(media) = media {
        kept.insert("content-type".into(), media.into());
    }
    StoredResponse {
        status: status.as_u16(),
        headers_json: serde_json::to_string(&kept).unwrap_or_default(),
        body: body.to_vec(),
    }
}

fn replay(stored: StoredResponse) -> Reply {
    let status = StatusCode::from_u16(stored.status)
        .map_err(|error| weir_error::Error::internal("a kept answer is damaged").because(error))?;
    let headers: BTreeMap<String, String> = serde_json::from_str(&stored.headers_json).unwrap_or_default();
    let media = match headers.get("content-type").map(String::as_str) {
        None => None,
        Some(PROBLEM_JSON) => Some(PROBLEM_JSON),
        Some(_) => Some("application/json"),
    };
    let body = match media {
        Some(media) => Content::Bytes(media, stored.body.into()),
        None => Content::Empty,
    };
    let mut answer = Answer { status, headers: Vec::new(), body, remembered: None }.header(REPLAYED, "true");
    for (name, value) in &headers {
        if name != "content-type"
            && let Ok(name) = HeaderName::from_bytes(name.as_bytes())
        {
            answer = answer.header(name, value);
        }
    }
    Ok(answer)
}
