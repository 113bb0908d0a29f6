//! A request as a handler gets it: authorised, its parameters and its body's shape checked.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use weir_store::model::PageRequest;

use crate::app::App;
use crate::params::Values;
use crate::problem::{Problem, ProblemPart};

/// A request.
pub struct Ask {
    /// What the server was made with.
    pub app: Arc<App>,
    /// Path and query parameters.
    pub values: Values,
    /// Headers as they came.
    pub headers: HeaderMap,
    /// The body; empty if the operation takes none.
    pub body: Bytes,
    /// `X-Request-Id`, or a new one.
    pub request_id: Arc<str>,
    /// W3C trace id, from `traceparent` or new.
    pub trace_id: Arc<str>,
}

impl Ask {
    /// A path parameter. The router has matched it, so it is there.
    pub fn id(&self, name: &str) -> &str {
        self.values.text(name).unwrap_or_default()
    }

    /// The body as its type. Its shape was checked against the schema before; what is left are rules that a schema cannot say.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_json::from_slice(&self.body).map_err(|error| malformed(&error))
    }

    /// `limit` and `cursor`.
    pub fn page(&self) -> PageRequest {
        let limit = self.values.integer("limit").and_then(|limit| u32::try_from(limit).ok()).unwrap_or(DEFAULT_LIMIT);
        PageRequest { limit: limit.clamp(1, MAX_LIMIT), cursor: self.values.text("cursor").map(str::to_owned) }
    }

    /// The version that `If-Match` asks for; `None` = any. One tag is understood; a list of them, or a tag that was never ours, asks for a
    /// version that never is, so that nothing is changed by mistake.
    pub fn expected(&self) -> Option<i64> {
        let mut values = self.headers.get_all(header::IF_MATCH).iter();
        match (values.next(), values.next()) {
            (None, _) => None,
            (Some(value), None) => match value.to_str().map(str::trim).unwrap_or_default() {
                "*" => None,
                text => Some(version_of(text).unwrap_or(NEVER)),
            },
            _ => Some(NEVER),
        }
    }
}

/// Rows of a page unless the request says otherwise.
pub const DEFAULT_LIMIT: u32 = 50;
/// Rows of a page at most.
pub const MAX_LIMIT: u32 = 500;
/// No resource has this version.
const NEVER: i64 = -1;

/// `"7"` as 7. Weak tags never match for a change.
fn version_of(tag: &str) -> Option<i64> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}

/// Whether `If-None-Match` names the tag; the comparison is the weak one, as for every GET.
pub fn none_match_names(headers: &HeaderMap, tag: &[u8]) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        value.as_bytes().split(|b| *b == b',').any(|one| {
            let one = one.trim_ascii();
            one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == tag
        })
    })
}

/// A body that is no JSON, with the place.
pub fn malformed(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned();
    let part = ProblemPart {
        line: Some(error.line() as u64),
        column: Some(error.column() as u64),
        ..ProblemPart { message: what.clone(), ..ProblemPart::default() }
    };
    Problem::bad_request("WEIR-API-010", format!("the body is not the JSON that this operation takes: {text}")).errors(vec![part])
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_quoted_number_is_one_of_our_tags() {
        assert_eq!(version_of("\"7\""), Some(7));
        for other in ["7", "W/\"7\"", "\"\"", "\"-1\"", "\"7", "\"7x\""] {
            assert_eq!(version_of(other), None, "{other}");
        }
    }

    #[test]
    fn if_none_match_knows_lists_stars_and_weak_tags() {
        let mut headers = HeaderMap::new();
        for (value, yes) in [("\"7\"", true), ("\"6\", W/\"7\"", true), ("*", true), ("\"6\"", false), ("7", false)] {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            assert_eq!(none_match_names(&headers, b"\"7\""), yes, "{value}");
        }
    }
}
