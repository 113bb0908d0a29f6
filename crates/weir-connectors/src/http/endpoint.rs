//! One stream of an API with all its options filled in, and the addresses that options name.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;
use weir_connect::Result;

use super::config::{
    Columns, CursorFormat, Format, HeaderText, HttpConnection, HttpEndpoint, HttpSourceOptions, Pagination, ParamPlace,
    PollOptions, ReadMethod, Stop, UnknownKeys, spec,
};
use super::path::Path;

/// One stream, with everything that it takes from the source's options filled in.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Stream name.
    pub name: String,
    /// Where the first page is.
    pub url: Url,
    /// Method.
    pub method: ReadMethod,
    /// Body template.
    pub body: Option<Value>,
    /// Headers.
    pub headers: BTreeMap<String, HeaderText>,
    /// Parameter templates.
    pub query_params: Map<String, Value>,
    /// Where the records are.
    pub records: Path,
    /// How the next page is found.
    pub pagination: Pagination,
    /// Requests per second.
    pub rate_limit_per_second: Option<f64>,
    /// The cursor column.
    pub cursor: Option<String>,
    /// The parameter for the lower bound.
    pub cursor_param: Option<String>,
    /// Key.
    pub primary_key: Vec<String>,
    /// Declared columns.
    pub columns: Columns,
    /// Where a response hides an error.
    pub error_path: Option<Path>,
    /// Form of the response.
    pub format: Format,
    /// What concerns all endpoints.
    pub shared: SharedOptions,
}

/// Options that an endpoint cannot change.
#[derive(Debug, Clone)]
pub struct SharedOptions {
    /// See [`HttpSourceOptions::cursor_format`].
    pub cursor_format: CursorFormat,
    /// See [`HttpSourceOptions::cursor_initial`].
    pub cursor_initial: Option<String>,
    /// See [`HttpSourceOptions::lag`].
    pub lag: Option<String>,
    /// See [`HttpSourceOptions::poll`].
    pub poll: PollOptions,
    /// See [`HttpSourceOptions::sample_pages`].
    pub sample_pages: usize,
    /// The separator, if flattening is on.
    pub flatten: Option<String>,
    /// See [`HttpSourceOptions::unknown_keys`].
    pub unknown_keys: UnknownKeys,
    /// See [`HttpSourceOptions::max_pages`].
    pub max_pages: u64,
    /// See [`HttpSourceOptions::allow_repeated_pages`].
    pub allow_repeated_pages: bool,
}

/// The address of a path below the base, or the address itself; not parsed, so that it may have placeholders.
pub fn address_text(base: Option<&str>, url: Option<&str>, path: Option<&str>) -> Result<String> {
    let whole = |text: &str| text.starts_with("http://") || text.starts_with("https://");
    Ok(match (url, path) {
        (Some(_), Some(_)) => return Err(spec("`url` and `path` exclude each other")),
        (Some(url), None) => url.to_owned(),
        (None, Some(path)) if whole(path) => path.to_owned(),
        (None, path) => {
            let base = base.ok_or_else(|| spec("`base_url` of the connection or `url` is missing"))?;
            match path {
                None | Some("") => base.to_owned(),
                Some(path) => format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/')),
            }
        }
    })
}

/// Parses an address.
pub fn address(text: &str) -> Result<Url> {
    let parsed = Url::parse(text).map_err(|error| spec(format!("`{}` is not an address", without_query(text))).because(error))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(spec(format!("`{}` is not an http address", without_query(text))));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(spec("credentials do not belong into the address").hint("use `auth: {basic: {user: …, password: …}}`"));
    }
    Ok(parsed)
}

fn without_query(text: &str) -> &str {
    text.split(['?', '@']).next().unwrap_or(text)
}

impl HttpSourceOptions {
    /// The streams that these options choose.
    pub fn resolve(&self, connection: &HttpConnection) -> Result<Vec<Endpoint>> {
        if !self.endpoints.is_empty() && (self.url.is_some() || self.path.is_some()) {
            return Err(spec("`endpoints` and `url` or `path` exclude each other"));
        }
        let single = [HttpEndpoint::default()];
        let endpoints = if self.endpoints.is_empty() { &single[..] } else { &self.endpoints };
        let mut resolved: Vec<Endpoint> = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let url = if self.endpoints.is_empty() {
                address(&address_text(connection.base_url.as_deref(), self.url.as_deref(), self.path.as_deref())?)?
            } else {
                address(&address_text(connection.base_url.as_deref(), None, Some(&endpoint.path))?)?
            };
            let name = endpoint.name.clone().or_else(|| self.stream_name.clone().filter(|_| self.endpoints.is_empty()));
            let one = self.one(endpoint, url, name);
            one.check()?;
            if resolved.iter().any(|other| other.name == one.name) {
                return Err(spec(format!("two endpoints are called `{}`", one.name)).hint("give them a `name`"));
            }
            resolved.push(one);
        }
        Ok(resolved)
    }

    fn one(&self, endpoint: &HttpEndpoint, url: Url, name: Option<String>) -> Endpoint {
        let mut headers = self.headers.clone();
        headers.extend(endpoint.headers.clone());
        let mut query_params = self.query_params.clone();
        query_params.extend(endpoint.query_params.clone());
        let last_part = || {
            let mut parts = url.path_segments().into_iter().flatten().filter(|part| !part.is_empty());
            parts.next_back().map_or_else(|| url.host_str().unwrap_or("records").to_owned(), str::to_owned)
        };
        let mut primary_key = endpoint.primary_key.clone();
        if primary_key.is_empty() {
            primary_key.clone_from(&self.primary_key);
        }
        Endpoint {
            name: name.unwrap_or_else(last_part),
            method: endpoint.method.unwrap_or(self.method),
            body: endpoint.body.clone().or_else(|| self.body.clone()),
            headers,
            query_params,
            records: endpoint.records.clone().or_else(|| self.records.clone()).unwrap_or_default(),
            pagination: endpoint.pagination.clone().or_else(|| self.pagination.clone()).unwrap_or_default(),
            rate_limit_per_second: endpoint.rate_limit_per_second.or(self.rate_limit_per_second),
            cursor: endpoint.cursor.clone().or_else(|| self.cursor.clone()),
            cursor_param: endpoint.cursor_param.clone().or_else(|| self.cursor_param.clone()),
            primary_key,
            columns: if endpoint.columns.0.is_empty() { self.columns.clone() } else { endpoint.columns.clone() },
            error_path: endpoint.error_path.clone().or_else(|| self.error_path.clone()),
            format: endpoint.format.unwrap_or(self.format),
            shared: SharedOptions {
                cursor_format: self.cursor_format,
                cursor_initial: self.cursor_initial.clone(),
                lag: self.lag.clone(),
                poll: self.poll.clone().unwrap_or_default(),
                sample_pages: self.sample_pages,
                flatten: self.flatten.then(|| self.flatten_separator.clone()),
                unknown_keys: self.unknown_keys,
                max_pages: self.max_pages,
                allow_repeated_pages: self.allow_repeated_pages,
            },
            url,
        }
    }
}

impl Endpoint {
    fn check(&self) -> Result<()> {
        let name = &self.name;
        if self.body.is_some() && self.method == ReadMethod::Get {
            return Err(spec(format!("`{name}`: a GET has no body")).hint("set `method: POST`"));
        }
        if self.rate_limit_per_second.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err(spec(format!("`{name}`: `rate_limit_per_second` must be above 0")));
        }
        if self.shared.sample_pages == 0 && self.columns.0.is_empty() {
            return Err(spec(format!("`{name}`: with `sample_pages: 0` the `columns` must be declared")));
        }
        let (stop, size, place) = match &self.pagination {
            Pagination::Page(page) => (page.stop, page.size, page.place),
            Pagination::Offset(offset) => (offset.stop, offset.limit, offset.place),
            Pagination::Cursor(cursor) => (Stop::Empty, None, cursor.place),
            _ => (Stop::Empty, None, ParamPlace::Query),
        };
        if stop == Stop::Short && size.is_none() {
            return Err(
                spec(format!("`{name}`: `stop: short` needs the size of a page")).hint("set `size` (page) or `limit` (offset)")
            );
        }
        if size == Some(0) {
            return Err(spec(format!("`{name}`: a page of size 0 never ends")));
        }
        if place == ParamPlace::Body && self.method != ReadMethod::Post {
            return Err(spec(format!("`{name}`: paging parameters `in: body` need `method: POST`")));
        }
        if self.format == Format::Ndjson
            && !matches!(self.pagination, Pagination::None | Pagination::LinkHeader | Pagination::Page(_) | Pagination::Offset(_))
        {
            return Err(spec(format!("`{name}`: an ndjson response has no place for a cursor or next address")));
        }
        Ok(())
    }
}
