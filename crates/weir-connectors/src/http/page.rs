//! From page to page: what to ask next, and when it ends. A [`PageState`] is the resume point after a page.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LINK};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use twox_hash::XxHash3_64;
use url::Url;
use weir_connect::{Error, Kind, Result};

use super::client::{Client, Pace, Request, Response, header_map, secret_pairs, snippet};
use super::config::{CursorFormat, Format, Pagination, ParamPlace, ReadMethod, Stop, spec};
use super::endpoint::Endpoint;
use super::json::{JsonError, JsonValue, Scanner, parse};

/// What the next request asks for. Serialised into positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// The first page.
    First,
    /// The page of that number.
    Page(u64),
    /// From that record on.
    Offset(u64),
    /// By that token.
    Token(String),
    /// At that address.
    Url(String),
    /// There is no next page.
    End,
}

/// Where a read stands between two pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageState {
    /// What comes next.
    pub next: Next,
    /// Pages read so far.
    pub pages: u64,
    /// Hash of the last page, to notice an API that never ends.
    pub last: Option<u64>,
}

impl PageState {
    /// Before the first page.
    pub fn first() -> Self {
        Self { next: Next::First, pages: 0, last: None }
    }
}

/// What a server said of the version that it gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
        Self { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
    }

    fn ask(&self, headers: &mut HeaderMap) {
        for (name, value) in [(IF_NONE_MATCH, &self.etag), (IF_MODIFIED_SINCE, &self.last_modified)] {
            if let Some(value) = value.as_deref().and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

/// Values for `${cursor}` and `${last_run_time}`.
#[derive(Debug, Clone, Default)]
pub struct Bindings {
    /// Lower bound of the cursor, in the API's format; `None` on a first run.
    pub cursor: Option<String>,
    /// `${last_run_time}`.
    pub last_run_time: Option<String>,
}

impl Bindings {
    /// Fills the placeholders of a text; `None` if it needs a value that there is not.
    fn fill(&self, text: &str) -> Option<String> {
        let mut filled = text.to_owned();
        if filled.contains("${cursor}") {
            filled = filled.replace("${cursor}", self.cursor.as_deref()?);
        }
        let since = self.last_run_time.as_deref().unwrap_or("1970-01-01T00:00:00Z");
        Some(filled.replace("${last_run_time}", since))
    }

    fn fill_json(&self, value: &Value) -> Option<Value> {
        Some(match value {
            Value::String(text) => Value::String(self.fill(text)?),
            Value::Array(items) => items.iter().filter_map(|item| self.fill_json(item)).collect(),
            Value::Object(members) => {
                Value::Object(members.iter().filter_map(|(key, value)| Some((key.clone(), self.fill_json(value)?))).collect())
            }
            other => other.clone(),
        })
    }
}

/// The lower bound as the API wants it.
pub fn formatted(lower: &str, format: CursorFormat) -> Result<String> {
    if format == CursorFormat::Text {
        return Ok(lower.to_owned());
    }
    let moment = DateTime::parse_from_rfc3339(lower).map(|moment| moment.to_utc()).or_else(|_| {
        let naive = lower.parse::<chrono::NaiveDateTime>();
        let date = || lower.parse::<chrono::NaiveDate>().map(|date| date.and_time(chrono::NaiveTime::MIN));
        naive.or_else(|_| date()).map(|naive| naive.and_utc())
    });
    let moment = moment.map_err(|error| {
        spec(format!("the cursor value `{lower}` is not a time")).because(error).hint("remove `cursor_format`")
    })?;
    Ok(match format {
        CursorFormat::Text => lower.to_owned(),
        CursorFormat::Date => moment.format("%Y-%m-%d").to_string(),
        CursorFormat::EpochSecs => moment.timestamp().to_string(),
        CursorFormat::EpochMs => moment.timestamp_millis().to_string(),
    })
}

/// A page with its records, whole and checked.
pub struct Page {
    /// The response's body.
    pub body: Bytes,
    /// The records in it.
    pub records: Vec<Range<usize>>,
    /// Where the read stands after it.
    pub after: PageState,
    /// Number of the page, from 1.
    pub number: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// The server's clock.
    pub date: Option<DateTime<Utc>>,
}

/// Reads the pages of one endpoint in order.
pub struct Pager {
    client: Arc<Client>,
    pace: Arc<Pace>,
    endpoint: Arc<Endpoint>,
    bindings: Bindings,
    state: PageState,
    seen: HashSet<u64>,
    /// The version that the first page is asked against.
    known: Validators,
    /// The version of the last answer.
    answered: Validators,
    unchanged: bool,
}

impl Pager {
    /// Starts, or goes on, at a state.
    pub fn new(client: Arc<Client>, pace: Arc<Pace>, endpoint: Arc<Endpoint>, bindings: Bindings, state: PageState) -> Self {
        let (known, answered) = (Validators::default(), Validators::default());
        Self { client, pace, endpoint, bindings, state, seen: HashSet::new(), known, answered, unchanged: false }
    }

    /// The first page is wanted only if it is another version than this one.
    pub fn unless(&mut self, known: Validators) {
        self.known = known;
    }

    /// What the server said of the version of its last answer.
    pub fn validators(&self) -> &Validators {
        &self.answered
    }

    /// The server has nothing but the version that is known.
    pub fn unchanged(&self) -> bool {
        self.unchanged
    }

    /// Where the read stands.
    pub fn state(&self) -> &PageState {
        &self.state
    }

    /// The next page; `None` after the last one.
    pub async fn next(&mut self) -> Result<Option<Page>> {
        if self.state.next == Next::End {
            return Ok(None);
        }
        if self.state.pages >= self.endpoint.shared.max_pages {
            let what = format!("`{}` has more than {} pages", self.endpoint.name, self.endpoint.shared.max_pages);
            return Err(Error::new("WEIR-HTTP-014", Kind::Limit, what).hint("raise `max_pages` if that is true"));
        }
        let mut request = self.request()?;
        let asks = self.state.next == Next::First && self.known != Validators::default();
        if asks {
            self.known.ask(&mut request.headers);
        }
        let place = self.client.shown(&request.url);
        let response = self.client.send(&request, &self.pace).await?;
        if asks && response.status == StatusCode::NOT_MODIFIED {
            (self.unchanged, self.state.next) = (true, Next::End);
            return Ok(None);
        }
        self.answered = Validators::of(&response.headers);
        let (records, next) = self.take_apart(&response).map_err(|error| error.at(place.clone()))?;
        let hash = XxHash3_64::oneshot(&response.body);
        self.notice_loops(&next, hash, records.len()).map_err(|error| error.at(place))?;
        self.state = PageState { next, pages: self.state.pages + 1, last: Some(hash) };
        Ok(Some(Page {
            body: response.body,
            records,
            after: self.state.clone(),
            number: self.state.pages,
            wire_bytes: response.wire_bytes,
            date: response.date,
        }))
    }

    fn request(&self) -> Result<Request> {
        let endpoint = &*self.endpoint;
        let mut url = endpoint.url.clone();
        let mut body = endpoint.body.as_ref().and_then(|body| self.bindings.fill_json(body));
        let paging = self.paging_params();
        if let Next::Url(address) = &self.state.next {
            // The API's own address carries every parameter already.
            let address =
                Url::parse(address).map_err(|error| Error::internal("a next address in a position is broken").because(error))?;
            url = self.client.with_secrets(address, &self.secrets());
        } else {
            let mut params: Vec<(String, String)> = Vec::new();
            for (name, value) in &endpoint.query_params {
                params.extend(self.param(value).into_iter().map(|value| (name.clone(), value)));
            }
            if let (Some(name), Some(lower)) = (&endpoint.cursor_param, &self.bindings.cursor) {
                params.push((name.clone(), lower.clone()));
            }
            match paging {
                Some((ParamPlace::Query, pairs)) => params.extend(pairs),
                Some((ParamPlace::Body, pairs)) => {
                    let Value::Object(members) = body.get_or_insert_with(|| Value::Object(Map::new())) else {
                        return Err(spec(format!(
                            "`{}`: paging parameters `in: body` need a body that is an object",
                            endpoint.name
                        )));
                    };
                    for (name, value) in pairs {
                        let numeric = !matches!(self.state.next, Next::Token(_));
                        let value = value.parse::<u64>().ok().filter(|_| numeric).map_or(Value::String(value), Value::from);
                        members.insert(name, value);
                    }
                }
                None => {}
            }
            if !params.is_empty() {
                url.query_pairs_mut().extend_pairs(params);
            }
        }
        let body = body
            .map(|body| serde_json::to_vec(&body))
            .transpose()
            .map_err(|error| Error::internal("a body does not serialise").because(error))?;
        Ok(Request {
            method: if endpoint.method == ReadMethod::Post { Method::POST } else { Method::GET },
            url,
            home: endpoint.url.clone(),
            headers: header_map(&endpoint.headers)?,
            body: body.map(|body| ("application/json", body.into())),
            repeatable: true,
        })
    }

    /// Parameters with secrets that the pipeline names.
    fn secrets(&self) -> Vec<(String, String)> {
        let own = self.endpoint.query_params.iter();
        let own = own.flat_map(|(name, value)| self.param(value).into_iter().map(|value| (name.clone(), value)));
        let mut all = secret_pairs(self.endpoint.url.query_pairs(), None);
        all.extend(secret_pairs(own, None));
        all
    }

    /// The values of one parameter; a list gives one each.
    fn param(&self, value: &Value) -> Vec<String> {
        match value {
            Value::Null => Vec::new(),
            Value::String(text) => self.bindings.fill(text).into_iter().collect(),
            Value::Array(items) => items.iter().flat_map(|item| self.param(item)).collect(),
            other => vec![other.to_string()],
        }
    }

    fn paging_params(&self) -> Option<(ParamPlace, Vec<(String, String)>)> {
        let sized = |name: &Option<String>, size: Option<u64>| name.clone().zip(size.map(|size| size.to_string()));
        match (&self.endpoint.pagination, &self.state.next) {
            (Pagination::Page(page), next) => {
                let number = if let Next::Page(number) = next { *number } else { page.start };
                let mut pairs = vec![(page.param.clone(), number.to_string())];
                pairs.extend(sized(&page.size_param, page.size));
                Some((page.place, pairs))
            }
            (Pagination::Offset(offset), next) => {
                let from = if let Next::Offset(from) = next { *from } else { offset.start };
                let mut pairs = vec![(offset.param.clone(), from.to_string())];
                pairs.extend(sized(&offset.limit_param, offset.limit));
                Some((offset.place, pairs))
            }
            (Pagination::Cursor(cursor), Next::Token(token)) => Some((cursor.place, vec![(cursor.param.clone(), token.clone())])),
            _ => None,
        }
    }

    /// Records and next page of a response, which is checked to its last byte.
    fn take_apart(&self, response: &Response) -> Result<(Vec<Range<usize>>, Next)> {
        let body = response.body.as_ref();
        let records = if response.status.as_u16() == 204 || (body.is_empty() && self.endpoint.format == Format::Ndjson) {
            Vec::new()
        } else {
            check_media_type(response)?;
            match self.endpoint.format {
                Format::Ndjson => lines(body)?,
                Format::Json => self.records(response)?,
            }
        };
        let next = self.after(response, records.len())?;
        Ok((records, next))
    }

    fn records(&self, response: &Response) -> Result<Vec<Range<usize>>> {
        let body = response.body.as_ref();
        if let Some(path) = &self.endpoint.error_path
            && let Some(error) = path.first(body).map_err(|error| broken(response, &error))?
            && !matches!(error, b"null" | b"false" | b"\"\"" | b"[]" | b"{}")
        {
            let what = format!("the API reports an error at `{path}`");
            return Err(Error::new("WEIR-HTTP-015", Kind::Data, what).because(snippet(error)));
        }
        let path = &self.endpoint.records;
        let found = path.find(body).map_err(|error| broken(response, &error))?;
        if !found.exists {
            let what = format!("the response has nothing at `{path}`");
            return Err(Error::new("WEIR-HTTP-016", Kind::Data, what)
                .because(format!("the response begins: {}", snippet(body)))
                .hint("correct `records`; an API that reports errors with status 200 has an `error_path`"));
        }
        if path.ends_with_every() {
            return Ok(found.values);
        }
        let mut records = Vec::new();
        for range in found.values {
            match body[range.start] {
                b'[' => {
                    let mut scanner = Scanner::new(&body[range.clone()]);
                    scanner
                        .items(|scanner| {
                            let item = scanner.skip()?;
                            records.push(item.start + range.start..item.end + range.start);
                            Ok(())
                        })
                        .map_err(|error| broken(response, &error))?;
                }
                // Some APIs write null for an empty list.
                b'n' => {}
                _ => records.push(range),
            }
        }
        Ok(records)
    }

    fn after(&self, response: &Response, records: usize) -> Result<Next> {
        let body = response.body.as_ref();
        let ends = |stop: Stop, size: Option<u64>| {
            records == 0 || (stop == Stop::Short && size.is_some_and(|size| (records as u64) < size))
        };
        let absolute = |address: &str| {
            let joined = response.url.join(address).map_err(|error| {
                Error::new("WEIR-HTTP-017", Kind::Data, "the next address is not an address")
                    .because(format!("{address}: {error}"))
            })?;
            Ok::<_, Error>(Next::Url(self.client.without_secrets(joined, &self.secrets()).to_string()))
        };
        let text_at = |path: &super::path::Path| -> Result<Option<String>> {
            let found = path.first(body).map_err(|error| broken(response, &error))?;
            let Some(raw) = found.and_then(|raw| std::str::from_utf8(raw).ok()) else { return Ok(None) };
            Ok(match parse(raw).map_err(|error| broken(response, &error))?.value {
                JsonValue::Text(text) => Some(text.into_owned()),
                JsonValue::Number(text) => Some(text.to_owned()),
                JsonValue::Null | JsonValue::Bool(false) => None,
                _ => {
                    return Err(Error::new("WEIR-HTTP-017", Kind::Data, format!("`{path}` is neither text nor number"))
                        .because(snippet(raw.as_bytes())));
                }
            }
            .filter(|text| !text.is_empty()))
        };
        Ok(match &self.endpoint.pagination {
            Pagination::None => Next::End,
            Pagination::Page(page) => {
                let number = if let Next::Page(number) = self.state.next { number } else { page.start };
                if ends(page.stop, page.size) { Next::End } else { Next::Page(number + 1) }
            }
            Pagination::Offset(offset) => {
                let from = if let Next::Offset(from) = self.state.next { from } else { offset.start };
                if ends(offset.stop, offset.limit) { Next::End } else { Next::Offset(from + records as u64) }
            }
            Pagination::Cursor(cursor) => {
                let more = match &cursor.has_more {
                    Some(path) => path.first(body).map_err(|error| broken(response, &error))? != Some(b"false"),
                    None => true,
                };
                text_at(&cursor.path)?.filter(|_| more).map_or(Next::End, Next::Token)
            }
            Pagination::NextUrl(next) => text_at(&next.path)?.map_or(Ok(Next::End), |address| absolute(&address))?,
            Pagination::LinkHeader => {
                let links = response.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
                links.filter_map(next_link).next().map_or(Ok(Next::End), absolute)?
            }
        })
    }

    /// An API that sends the same page or the same token again would be read for ever, or twice.
    fn notice_loops(&mut self, next: &Next, hash: u64, records: usize) -> Result<()> {
        let repeats = records > 0 && self.state.last == Some(hash) && !self.endpoint.shared.allow_repeated_pages;
        if repeats {
            let what = format!("`{}` gives the same page again and again", self.endpoint.name);
            return Err(Error::new("WEIR-HTTP-018", Kind::Data, what).hint(
                "an API that repeats its last page needs `stop: short`; if equal pages are right, set `allow_repeated_pages`",
            ));
        }
        let (Next::Token(token) | Next::Url(token)) = next else { return Ok(()) };
        if let Next::Token(current) | Next::Url(current) = &self.state.next {
            self.seen.insert(XxHash3_64::oneshot(current.as_bytes()));
        }
        if self.seen.contains(&XxHash3_64::oneshot(token.as_bytes())) {
            let what = format!("`{}` leads back to a page that was read already", self.endpoint.name);
            return Err(Error::new("WEIR-HTTP-018", Kind::Data, what));
        }
        Ok(())
    }
}

fn check_media_type(response: &Response) -> Result<()> {
    let Some(text) = response.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return Ok(()) };
    let essence = text.split(';').next().unwrap_or("").trim().to_lowercase();
    let fine = essence.is_empty()
        || essence.contains("json")
        || essence.contains("javascript")
        || matches!(essence.as_str(), "text/plain" | "application/octet-stream" | "binary/octet-stream");
    if fine {
        return Ok(());
    }
    Err(Error::new("WEIR-HTTP-019", Kind::Data, format!("the response is {essence}, not JSON")).because(snippet(&response.body)))
}

fn broken(response: &Response, error: &JsonError) -> Error {
    let what = if error.cut { "the response ends in the middle" } else { "the response is not JSON" };
    Error::new("WEIR-HTTP-020", Kind::Data, what).because(format!("{error}; it begins: {}", snippet(&response.body)))
}

/// The lines of an NDJSON body. A line that is not JSON is its record's own trouble, except a last line that was cut.
fn lines(body: &[u8]) -> Result<Vec<Range<usize>>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let end = start + line.len();
        if !line.trim_ascii().is_empty() {
            if !line.ends_with(b"\n") && Scanner::new(line).skip().is_err_and(|error| error.cut) {
                return Err(Error::new("WEIR-HTTP-020", Kind::Data, "the response ends in the middle of its last line")
                    .because(snippet(line)));
            }
            ranges.push(start..end - line.len() + line.trim_ascii_end().len());
        }
        start = end;
    }
    Ok(ranges)
}

/// The target of `rel="next"` in one Link header: `<https://…>; rel="next", <…>; rel="last"`.
fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    while let Some(open) = rest.find('<') {
        let (target, after) = rest[open + 1..].split_once('>')?;
        // Parameters reach to the next target; a comma inside quotes is no border, but `, <` is.
        let params = after.split(", <").next().unwrap_or(after);
        let params = params.split(",<").next().unwrap_or(params);
        let is_next = params.split(';').any(|param| {
            param.split_once('=').is_some_and(|(name, value)| {
                let value = value.trim().trim_end_matches(',').trim_matches('"');
                name.trim().eq_ignore_ascii_case("rel") && value.split_whitespace().any(|word| word.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(target);
        }
        rest = &after[params.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_is_found_among_others() {
        let header =
            r#"<https://a/?p=1>; rel="prev", <https://a/?p=3,4>; title="x, y"; rel="next", <https://a/?p=9>; rel="last""#;
        assert_eq!(next_link(header), Some("https://a/?p=3,4"));
        assert_eq!(next_link("<b>;rel=next"), Some("b"));
        assert_eq!(next_link("<b>; rel=\"first next\""), Some("b"));
        assert_eq!(next_link("<b>; rel=last"), None);
        assert_eq!(next_link("rubbish"), None);
    }

    #[test]
    fn a_cut_last_line_is_an_error_and_a_broken_one_is_not() {
        assert!(lines(b"{\"a\":1}\n{\"a\":").is_err());
        assert_eq!(lines(b"{\"a\":1}\r\n\n{oops}\n{\"a\":2}").unwrap(), [0..7, 10..16, 17..24]);
        assert!(lines(b"").unwrap().is_empty());
    }

    #[test]
    fn cursors_are_written_as_the_api_wants_them() {
        assert_eq!(formatted("2024-03-01T10:00:00.5Z", CursorFormat::EpochMs).unwrap(), "1709287200500");
        assert_eq!(formatted("2024-03-01T10:00:00+02:00", CursorFormat::EpochSecs).unwrap(), "1709280000");
        assert_eq!(formatted("2024-03-01T10:00:00", CursorFormat::Date).unwrap(), "2024-03-01");
        assert_eq!(formatted("x & y", CursorFormat::Text).unwrap(), "x & y");
        assert!(formatted("17", CursorFormat::Date).is_err());
    }
}
