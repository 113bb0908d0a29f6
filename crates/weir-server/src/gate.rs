//! What happens to every request before and after its handler: ids, authority, parameters, body, idempotency, panics, `ETag`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use futures::FutureExt;

use crate::answer::{Answer, Content, Reply};
use crate::app::{App, DOCUMENT};
use crate::ask::{Ask, malformed, none_match_names};
use crate::body::make_whole;
use crate::params::Values;
use crate::problem::Problem;
use crate::route::{Route, Run};
use crate::{auth, idempotency};

/// The header with the request's id, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bodies at most, bytes.
pub const MAX_BODY: usize = 2 * 1024 * 1024;
/// A body must have arrived by then.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Runs one request of a route.
pub async fn handle(app: Arc<App>, route: &'static Route, request: Request) -> Response<Body> {
    let begin = Instant::now();
    let _in_flight = app.platform.metrics.http_in_flight();
    let (mut parts, body) = request.into_parts();
    let (request_id, trace_id) = ids(&parts.headers);
    let stated = parts.headers.contains_key(header::IF_MATCH);
    let reply = AssertUnwindSafe(admitted(&app, route, &mut parts, body, &request_id, &trace_id)).catch_unwind().await;
    let reply = reply.unwrap_or_else(|panic| Err(panicked(route, &panic)));
    let mut response = match reply {
        Ok(answer) => not_modified(route, &parts.headers, answer).into_response(),
        Err(problem) => refuse(problem, route, stated, &request_id),
    };
    finish(&mut response, &request_id);
    app.platform.metrics.http(route.method.as_str(), route.path, response.status().as_u16(), begin.elapsed());
    response
}

/// A conflict of versions is a failed precondition when the caller has stated one.
fn refuse(problem: Problem, route: &Route, stated: bool, request_id: &str) -> Response<Body> {
    let problem = match route.conditional && stated && problem.code() == VERSION_CONFLICT {
        true => problem.with_status(StatusCode::PRECONDITION_FAILED),
        false => problem,
    };
    problem.into_response(request_id)
}

/// What weir-store says when the expected version is not the stored one.
const VERSION_CONFLICT: &str = "WEIR-STORE-022";

async fn admitted(
    app: &Arc<App>,
    route: &'static Route,
    parts: &mut Parts,
    body: Body,
    request_id: &Arc<str>,
    trace_id: &Arc<str>,
) -> Reply {
    let caller = match route.run {
        Run::Open(_) => None,
        Run::Guarded(_) => {
            let caller = auth::caller(app, &parts.headers, request_id, trace_id).await?;
            auth::admit(app, &caller, route, parts.uri.path()).await?;
            Some(caller)
        }
    };
    let path = match route.path.contains('{') {
        true => RawPathParams::from_request_parts(parts, &()).await.ok(),
        false => None,
    };
    let path = path.as_ref().map(|params| params.iter());
    let values = match path {
        Some(path) => Values::read(&route.params, path, parts.uri.query())?,
        None if route.path.contains('{') => return Err(crate::not_found()),
        None => Values::read(&route.params, std::iter::empty(), parts.uri.query())?,
    };
    let body = match route.method {
        Method::POST | Method::PUT => read_body(route, &parts.headers, body).await?,
        _ => Bytes::new(),
    };
    let headers = std::mem::take(&mut parts.headers);
    let kept = headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect::<Vec<_>>();
    let ask = Ask { app: app.clone(), values, headers, body, request_id: request_id.clone(), trace_id: trace_id.clone() };
    for value in kept {
        parts.headers.append(header::IF_NONE_MATCH, value);
    }
    match (&route.run, caller) {
        (Run::Open(run), _) => run(ask).await,
        (Run::Guarded(run), Some(caller)) => match idempotency::key(route, &ask.headers)? {
            None => run(ask, caller).await,
            Some(key) => idempotency::run(route, key, parts.uri.clone(), ask, caller).await,
        },
        (Run::Guarded(_), None) => Err(crate::auth::nobody()),
    }
}

/// The request's id and trace id: as sent if they are well-formed, else new ones.
pub fn ids(headers: &HeaderMap) -> (Arc<str>, Arc<str>) {
    let fits = |text: &&str| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    };
    let id = match headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok()).filter(fits) {
        Some(sent) => sent.into(),
        None => uuid::Uuid::now_v7().simple().to_string().into(),
    };
    let trace = match headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(trace_id_of) {
        Some(sent) => sent.into(),
        None => uuid::Uuid::new_v4().simple().to_string().into(),
    };
    (id, trace)
}

/// The trace id of a W3C `traceparent`.
fn trace_id_of(text: &str) -> Option<&str> {
    let mut fields = text.split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let real = |text: &str| text.bytes().any(|b| b != b'0');
    let known = hex(version, 2) && version != "ff" && (version != "00" || fields.next().is_none());
    (known && hex(trace, 32) && real(trace) && hex(parent, 16) && real(parent) && hex(flags, 2)).then_some(trace)
}

/// The body, with its length, type and shape checked.
async fn read_body(route: &Route, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "WEIR-API-004", format!("the body is longer than {MAX_BODY} bytes"))
            .header(header::CONNECTION, HeaderValue::from_static("close"))
    };
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, MAX_BODY)).await {
        Err(_) => {
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "WEIR-API-005", "the body did not arrive in time")
                .header(header::CONNECTION, HeaderValue::from_static("close")));
        }
        Ok(Err(error)) => {
            return Err(match is_length_limit(&error) {
                true => too_large(),
                false => Problem::bad_request("WEIR-API-006", "the body broke off"),
            });
        }
        Ok(Ok(bytes)) => bytes,
    };
    let Some(takes) = route.takes else {
        return match bytes.trim_ascii() {
            b"" | b"{}" => Ok(Bytes::new()),
            _ => Err(Problem::bad_request("WEIR-API-015", "this operation takes no body").hint("send it without one")),
        };
    };
    let media = media_type(headers);
    let json = media.as_deref() == Some("application/json");
    let yaml = takes.yaml && matches!(media.as_deref(), Some("application/yaml" | "application/x-yaml" | "text/yaml"));
    if !json && !yaml {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "WEIR-API-003",
            "the body's `Content-Type` is not one that this operation takes",
        )
        .hint(if takes.yaml { "application/json or application/yaml" } else { "application/json" }));
    }
    if !takes.yaml {
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| malformed(&error))?;
        let found = DOCUMENT.schemas.look(&(takes.component.name)(), &value);
        let errors = found.problems;
        if let Some(first) = errors.first() {
            let place = first.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("the body");
            return Err(Problem::bad_request("WEIR-API-011", format!("{place}: {}", first.message)).errors(errors));
        }
        if !found.whole.is_empty() {
            make_whole(&mut value, &found.whole);
            return Ok(serde_json::to_vec(&value).unwrap_or_default().into());
        }
    }
    Ok(bytes)
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        next = error.source();
    }
    false
}

/// The media type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// 304 instead of a body that the caller has already.
fn not_modified(route: &Route, asked: &HeaderMap, mut answer: Answer) -> Answer {
    if !route.tagged || route.method != Method::GET || answer.status != StatusCode::OK {
        return answer;
    }
    let same = answer.headers.iter().any(|(name, value)| *name == header::ETAG && none_match_names(asked, value.as_bytes()));
    if same {
        answer.status = StatusCode::NOT_MODIFIED;
        answer.body = Content::Empty;
    }
    answer
}

fn panicked(route: &Route, panic: &(dyn std::any::Any + Send)) -> Problem {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    tracing::error!(operation = route.id, panic = text.as_deref().unwrap_or("?"), "a handler panicked");
    Problem::from(weir_error::Error::internal("a handler panicked"))
}

/// Headers that every answer has.
pub fn finish(response: &mut Response<Body>, request_id: &str) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_taken_only_from_a_well_formed_traceparent() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace_id_of(good), Some("0af7651916cd43dd8448eb211c80319c"));
        for bad in [
            "",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(trace_id_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_request_id_that_could_forge_a_log_line_is_replaced() {
        let mut headers = HeaderMap::new();
        headers.insert(&REQUEST_ID, HeaderValue::from_static("abc-1"));
        assert_eq!(&*ids(&headers).0, "abc-1");
        for bad in ["a b", "a\tb", "<script>", ""] {
            headers.insert(&REQUEST_ID, HeaderValue::from_static(bad));
            assert_ne!(&*ids(&headers).0, bad);
        }
    }
}
