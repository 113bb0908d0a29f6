//! `application/problem+json` (RFC 9457): the only shape in which this server says no.
//!
//! One table turns the kind of a [`weir_error::Error`] into a status. What an internal error says goes to the log, not to the caller.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use weir_control::jobs::Refused;
use weir_error::{Kind, Retry};
use weir_spec::Diagnostic;

/// The media type of a refusal.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was refused.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// A stable URI for the code; it need not answer.
    #[schema(format = "uri-reference")]
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: Cow<'static, str>,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened, where and why.
    pub detail: String,
    /// Stable code, `WEIR-<AREA>-<NNN>`.
    pub code: Cow<'static, str>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Cow<'static, str>>,
    /// The request: `urn:weir:request:<X-Request-Id>`.
    #[schema(format = "uri-reference")]
    pub instance: String,
    /// Each problem of a body or pipeline file on its own, with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<ProblemPart>,
}

/// One of several problems.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct ProblemPart {
    /// Stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `error` or `warning`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// What is wrong.
    pub message: String,
    /// Where in the body: `/labels/team`, or a path of the pipeline file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Line in the text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Column in the text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl ProblemPart {
    /// A problem at a place of the body.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), path: Some(path.into()), ..Self::default() }
    }

    /// From a diagnostic that another process told as JSON.
    pub fn told(body: &serde_json::Value) -> Self {
        let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Self {
            code: text("code"),
            severity: text("severity"),
            message: text("message").unwrap_or_default(),
            path: text("path"),
            line: body["line"].as_u64(),
            column: body["column"].as_u64(),
            help: advice(text("suggestion").as_deref(), text("help").as_deref()),
        }
    }

    /// From a diagnostic.
    pub fn of(diagnostic: &Diagnostic) -> Self {
        Self {
            code: Some(diagnostic.code.clone()),
            severity: Some(if diagnostic.is_error() { "error" } else { "warning" }.into()),
            message: diagnostic.message.clone(),
            path: Some(diagnostic.path.clone()).filter(|path| !path.is_empty()),
            line: diagnostic.span.map(|span| span.line as u64),
            column: diagnostic.span.map(|span| span.column as u64),
            help: advice(diagnostic.suggestion.as_deref(), diagnostic.help.as_deref()),
        }
    }
}

/// The nearest right word first: mostly it is all that one needs.
fn advice(suggestion: Option<&str>, help: Option<&str>) -> Option<String> {
    match (suggestion, help) {
        (Some(word), Some(help)) => Some(format!("did you mean `{word}`? {help}")),
        (Some(word), None) => Some(format!("did you mean `{word}`?")),
        (None, help) => help.map(Into::into),
    }
}

/// A refusal on its way to the caller.
#[derive(Debug)]
pub struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    hint: Option<Cow<'static, str>>,
    errors: Vec<ProblemPart>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A refusal with status, stable code and one sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            code: Cow::Borrowed(code),
            detail: detail.into(),
            hint: None,
            errors: Vec::new(),
            headers: Vec::new(),
        }))
    }

    /// The request does not have the documented shape.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// The request has the right shape but means nothing sensible.
    pub fn unprocessable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// What to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The single problems.
    #[must_use]
    pub fn errors(mut self, errors: Vec<ProblemPart>) -> Self {
        self.0.errors = errors;
        self
    }

    /// One more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Another status for the same refusal.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The code.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The answer, with the request's id.
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let inner = *self.0;
        let body = ProblemBody {
            kind: format!("https://weir.dev/problems/{}", inner.code.to_ascii_lowercase()),
            title: inner.status.canonical_reason().unwrap_or("Error").into(),
            status: inner.status.as_u16(),
            detail: inner.detail,
            code: inner.code,
            hint: inner.hint,
            instance: format!("urn:weir:request:{request_id}"),
            errors: inner.errors,
        };
        let mut response = Response::new(Body::from(serde_json::to_vec(&body).unwrap_or_default()));
        *response.status_mut() = inner.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        for (name, value) in inner.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The table: what kind of error answers with what status.
pub fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Spec | Kind::Schema | Kind::TypeLoss | Kind::Data | Kind::Unsupported => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Auth => StatusCode::UNAUTHORIZED,
        Kind::Privilege => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Limit => StatusCode::TOO_MANY_REQUESTS,
        Kind::Connect | Kind::Io | Kind::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<weir_error::Error> for Problem {
    fn from(error: weir_error::Error) -> Self {
        let status = status_of(error.kind());
        // Our own failures may quote SQL, paths or addresses: the log keeps them.
        let detail = if status.is_server_error() {
            tracing::error!(code = error.code(), error = %error, "a request failed");
            match status {
                StatusCode::SERVICE_UNAVAILABLE => "the server cannot do this at the moment".to_owned(),
                _ => "the server failed; its log has the details under this request's id".to_owned(),
            }
        } else {
            error.to_string()
        };
        let mut problem = Self::new(status, error.code(), detail);
        if status.is_server_error() {
            problem = problem.hint("try again; if it stays, give the request's id to whoever runs the server");
        } else if let Some(hint) = error.advice() {
            problem = problem.hint(hint.to_owned());
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            let secs = match error.retryable() {
                Retry::After(wait) => wait.as_secs().clamp(1, 3600),
                _ => 5,
            };
            problem = problem.header(axum::http::header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if status == StatusCode::UNAUTHORIZED {
            problem = problem.header(axum::http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        problem
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let parts = refused.diagnostics().iter().map(ProblemPart::of).collect();
        Self::from(refused.into_error()).errors(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_is_the_same_told_or_taken() {
        let mut one = Diagnostic::error("WEIR-PLAN-030", "no")
            .at("sink.postgres", Some(weir_spec::model::Span { start: 3, end: 5, line: 2, column: 4 }));
        assert_eq!(format!("{:?}", ProblemPart::told(&serde_json::json!(one))), format!("{:?}", ProblemPart::of(&one)));
        one = one.did_you_mean(Some("postgres".into()));
        assert_eq!(ProblemPart::told(&serde_json::json!(one)).help.as_deref(), Some("did you mean `postgres`?"));
    }

    #[test]
    fn an_internal_error_does_not_tell_the_caller_what_the_database_said() {
        let error = weir_error::Error::internal("broken").because("SELECT secret FROM x");
        let problem = Problem::from(error);
        assert_eq!(problem.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!problem.0.detail.contains("SELECT"));
    }

    #[test]
    fn a_limit_says_when_to_come_back() {
        let problem = Problem::from(weir_error::Error::new("WEIR-X-001", Kind::Limit, "full"));
        assert_eq!(problem.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(problem.0.headers.iter().any(|(name, _)| name == axum::http::header::RETRY_AFTER));
    }
}
