//! What a handler answers.

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use serde::Serialize;

use crate::problem::Problem;

/// What every handler returns.
pub type Reply = Result<Answer, Problem>;

/// An answer on its way out.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers beside those that every answer has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Content,
    /// What an `Idempotency-Key` may give again instead of the body: the body without a secret that is shown only once.
    pub remembered: Option<Bytes>,
}

/// A body.
pub enum Content {
    /// None.
    Empty,
    /// Bytes of a media type.
    Bytes(&'static str, Bytes),
    /// `text/event-stream`.
    Events(Body),
}

impl Answer {
    /// 200 with JSON.
    pub fn json<T: Serialize>(value: &T) -> Reply {
        Self::with(StatusCode::OK, value)
    }

    /// 201 with JSON.
    pub fn created<T: Serialize>(value: &T) -> Reply {
        Self::with(StatusCode::CREATED, value)
    }

    /// 202 with JSON.
    pub fn accepted<T: Serialize>(value: &T) -> Reply {
        Self::with(StatusCode::ACCEPTED, value)
    }

    fn with<T: Serialize>(status: StatusCode, value: &T) -> Reply {
        let bytes = serde_json::to_vec(value)
            .map_err(|error| weir_error::Error::internal("an answer cannot be written as JSON").because(error))?;
        Ok(Self::bytes(status, "application/json", bytes))
    }

    /// Bytes of a media type.
    pub fn bytes(status: StatusCode, media: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: Content::Bytes(media, bytes.into()), remembered: None }
    }

    /// 204.
    pub fn no_content() -> Reply {
        Ok(Self { status: StatusCode::NO_CONTENT, headers: Vec::new(), body: Content::Empty, remembered: None })
    }

    /// A stream of server-sent events.
    pub fn events(body: Body) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body: Content::Events(body), remembered: None }
    }

    /// The resource's version as a strong `ETag`.
    #[must_use]
    pub fn etag(self, version: i64) -> Self {
        self.header(header::ETAG, &format!("\"{version}\""))
    }

    /// Where the new resource is. The id is one of ours, so it needs no escaping.
    #[must_use]
    pub fn location(self, path: &str) -> Self {
        self.header(header::LOCATION, path)
    }

    /// One more header; a value that is none is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The body's bytes.
    pub fn into_bytes(self) -> Option<Bytes> {
        match self.body {
            Content::Bytes(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// As axum has it.
    pub fn into_response(self) -> Response<Body> {
        let (media, body) = match self.body {
            Content::Empty => (None, Body::empty()),
            Content::Bytes(media, bytes) => (Some(media), Body::from(bytes)),
            Content::Events(body) => (Some("text/event-stream"), body),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(media) = media {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

/// Trait for the shorthand `Answer::json(&x).etag(3)` on a `Reply`.
pub trait ReplyExt {
    /// See [`Answer::etag`].
    fn etag(self, version: i64) -> Reply;
    /// See [`Answer::location`].
    fn location(self, path: &str) -> Reply;
}

impl ReplyExt for Reply {
    fn etag(self, version: i64) -> Reply {
        self.map(|answer| answer.etag(version))
    }
    fn location(self, path: &str) -> Reply {
        self.map(|answer| answer.location(path))
    }
}
