//! A body as the payloads of its rows.

use bytes::Bytes;

use super::config::Body;
use crate::http::json::Scanner;
use crate::messages::Format;

/// The rows of a body. What cannot be taken apart is one row: reading it says what is wrong with it.
pub(super) fn rows(body: &Bytes, what: Body, format: Format, content_type: Option<&str>) -> Vec<Bytes> {
    if format != Format::Json {
        return vec![body.clone()];
    }
    let what = match what {
        Body::Auto => by_type(content_type),
        other => other,
    };
    match what {
        Body::Json => items(body).unwrap_or_else(|| vec![body.clone()]),
        Body::Ndjson => lines(body),
        Body::Form => vec![form(body)],
        Body::Auto | Body::Whole => vec![body.clone()],
    }
}

fn by_type(content_type: Option<&str>) -> Body {
    let Some(content_type) = content_type else { return Body::Json };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "text/json" | "" => Body::Json,
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/jsonlines" => Body::Ndjson,
        "application/x-www-form-urlencoded" => Body::Form,
        other if other.ends_with("+json") => Body::Json,
        // Many senders name no type, or text/plain, for JSON.
        "text/plain" | "application/octet-stream" => Body::Json,
        _ => Body::Whole,
    }
}

/// The items of an array; `None` if the body is no array from its first to its last byte.
fn items(body: &Bytes) -> Option<Vec<Bytes>> {
    let mut scanner = Scanner::new(body);
    if scanner.peek() != Ok(b'[') {
        return None;
    }
    let mut ranges = Vec::new();
    scanner.items(|scanner| scanner.skip().map(|range| ranges.push(range))).ok()?;
    scanner.end().ok()?;
    Some(ranges.into_iter().map(|range| body.slice(range)).collect())
}

fn lines(body: &Bytes) -> Vec<Bytes> {
    let line = |line: &[u8]| body.slice_ref(line.trim_ascii());
    body.split(|byte| *byte == b'\n').map(line).filter(|line| !line.is_empty()).collect()
}

/// A form as an object of texts.
fn form(body: &[u8]) -> Bytes {
    let mut members: serde_json::Map<String, serde_json::Value> = serde_json::Map::new();
    for (name, value) in url::form_urlencoded::parse(body) {
        let value = serde_json::Value::String(value.into_owned());
        match members.get_mut(name.as_ref()) {
            None => drop(members.insert(name.into_owned(), value)),
            Some(serde_json::Value::Array(several)) => several.push(value),
            Some(one) => *one = serde_json::Value::Array(vec![one.take(), value]),
        }
    }
    serde_json::Value::Object(members).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &'static str, content_type: Option<&str>) -> Vec<String> {
        let rows = rows(&Bytes::from_static(body.as_bytes()), Body::Auto, Format::Json, content_type);
        rows.iter().map(|row| String::from_utf8(row.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_body_is_taken_apart_as_its_type_says_and_numbers_stay_as_written() {
        let json = Some("application/json; charset=utf-8");
        assert_eq!(texts(r#"{"a": 1.10}"#, json), [r#"{"a": 1.10}"#]);
        assert_eq!(
            texts(r#" [{"a": 1.10}, {"a": 12345678901234567890123}] "#, None),
            [r#"{"a": 1.10}"#, r#"{"a": 12345678901234567890123}"#]
        );
        assert_eq!(texts("[]", json), Vec::<String>::new());
        assert_eq!(texts("[1, 2", json), ["[1, 2"]);
        assert_eq!(texts("[1] x", json), ["[1] x"]);
        assert_eq!(texts("{\"a\":1}\r\n\n {\"a\":2}", Some("application/x-ndjson")), [r#"{"a":1}"#, r#"{"a":2}"#]);
        assert_eq!(texts("a=1&b=x+y%26&a=2", Some("application/x-www-form-urlencoded")), [r#"{"a":["1","2"],"b":"x y&"}"#]);
        assert_eq!(texts(r#"{"a":1}"#, Some("application/vnd.github+json")), [r#"{"a":1}"#]);
        assert_eq!(texts("[1]", Some("application/xml")), ["[1]"]);
    }

    #[test]
    fn text_and_bytes_are_one_row_whatever_they_hold() {
        let body = Bytes::from_static(b"[1, 2]\n\xff");
        assert_eq!(rows(&body, Body::Auto, Format::Raw, Some("application/json")), std::slice::from_ref(&body));
    }
}
