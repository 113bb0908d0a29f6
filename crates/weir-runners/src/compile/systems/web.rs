//! HTTP, and what sends to us: WebSocket, server-sent events, webhook.

use serde_json::Value;

use super::super::{Options, Text};

/// An HTTP API.
#[derive(Debug, Clone)]
pub struct Http {
    /// The whole address.
    pub url: Text,
    /// `GET`, `POST`, …
    pub method: String,
    /// Headers.
    pub headers: Vec<(String, Text)>,
    /// Parameters of the query.
    pub params: Vec<(String, Text)>,
    /// Body of a request.
    pub body: Option<Text>,
    /// Where the rows are.
    pub records: Option<String>,
    /// The stream's name.
    pub stream: String,
    /// Requests a second.
    pub rate_limit_per_second: Option<f64>,
}

impl Http {
    pub(super) fn read(options: &Options<'_>) -> Self {
        let base = options.address("base_url");
        let endpoint = endpoint(options);
        let inner = |name: &str| endpoint.get(name).and_then(Value::as_str).map(|text| options.as_text(text, false, "endpoints"));
        let inner_map = |name: &str| -> Vec<(String, Text)> {
            let entries = endpoint.get(name).and_then(Value::as_object).into_iter().flatten();
            entries.filter_map(|(key, value)| Some((key.clone(), options.entry(name, key, value.as_str()?)))).collect()
        };
        let path = options.text("path").or_else(|| inner("path"));
        let url = options.address("url").unwrap_or_else(|| match (base, path) {
            (Some(base), Some(path)) => {
                let slash = base.braces().ends_with('/') || path.braces().starts_with('/');
                if slash { base.then(path) } else { base.then("/").then(path) }
            }
            (Some(base), None) => base,
            _ => Text::default(),
        });
        let mut headers = options.map("headers");
        headers.extend(inner_map("headers"));
        headers.extend(auth(options));
        let mut params = options.map("query_params");
        params.extend(inner_map("query_params"));
        if options.value("pagination").is_some_and(|pages| pages != "none") {
            options.refuse(Some("pagination"), "is compiled without pages", "the native engine, or a companion that feeds Kafka");
        }
        for option in [
            "ca_cert",
            "cursor_param",
            "cursor_format",
            "cursor_initial",
            "flatten",
            "flatten_separator",
            "error_path",
            "idempotency_header",
            "server_is_idempotent",
            "unknown_keys",
            "verify_tls",
        ] {
            if options.value(option).is_some_and(|value| *value != Value::Bool(false) || option == "verify_tls") {
                options.refuse(Some(option), format!("has nothing for `{option}`"), "remove it, or use the native engine");
            }
        }
        options.pass(&["columns", "primary_key", "format", "max_pages"]);
        let last = |text: &Text| text.braces().trim_end_matches('/').rsplit('/').next().unwrap_or("http").to_string();
        let body = match options.value("body") {
            Some(Value::String(text)) => Some(options.as_text(text, false, "body")),
            Some(value) => Some(options.as_text(&value.to_string(), false, "body")),
            None => None,
        };
        Self {
            stream: options
                .word("stream_name")
                .or_else(|| endpoint.get("name").and_then(Value::as_str).map(Into::into))
                .unwrap_or_else(|| last(&url)),
            url,
            method: options.word("method").unwrap_or_else(|| if body.is_some() { "POST".into() } else { "GET".into() }),
            headers,
            params,
            body,
            records: options.word("records").or_else(|| endpoint.get("records").and_then(Value::as_str).map(Into::into)),
            rate_limit_per_second: options.value("rate_limit_per_second").and_then(Value::as_f64),
        }
    }
}

/// What the only one of `endpoints` says.
fn endpoint(options: &Options<'_>) -> serde_json::Map<String, Value> {
    const READ: [&str; 5] = ["name", "path", "headers", "query_params", "records"];
    let Some(Value::Array(all)) = options.value("endpoints") else { return serde_json::Map::new() };
    let [Value::Object(only)] = all.as_slice() else {
        options.refuse(Some("endpoints"), "is compiled for one endpoint", "one source per endpoint");
        return serde_json::Map::new();
    };
    for name in only.keys().filter(|name| !READ.contains(&name.as_str())) {
        options.refuse(
            Some("endpoints"),
            format!("has nothing for `{name}` of an endpoint"),
            "remove it, or use the native engine",
        );
    }
    only.clone()
}

/// The header of a bearer token; other kinds of login need answers of a server.
fn auth(options: &Options<'_>) -> Vec<(String, Text)> {
    let Some(auth) = options.value("auth") else { return Vec::new() };
    let token = auth.get("bearer").and_then(|bearer| bearer.as_str().or_else(|| bearer.get("token")?.as_str()));
    match token {
        Some(token) => vec![("Authorization".into(), Text::plain("Bearer ").then(options.as_text(token, true, "auth.bearer")))],
        None => {
            options.refuse(Some("auth"), "is compiled with bearer tokens only", "`auth: {bearer: …}`, or the native engine");
            Vec::new()
        }
    }
}

/// What only our own engine reads.
#[derive(Debug, Clone)]
pub struct Socket {
    /// `websocket`, `sse`, `webhook`.
    pub kind: String,
    /// The address; of a webhook where it listens.
    pub url: Text,
    /// Headers.
    pub headers: Vec<(String, Text)>,
    /// The stream's name.
    pub stream: String,
    /// As written.
    pub reconnect: Value,
    /// As written.
    pub heartbeat: Value,
}

impl Socket {
    pub(super) fn read(options: &Options<'_>, kind: &str) -> Self {
        // The companion has every option as it is written; what a job on another engine cannot have is not asked of it.
        let all: Vec<String> = options.node().options.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
        options.pass(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let connection = options.node().options.get("connection").and_then(Value::as_str);
        if let Some(known) = connection.and_then(|name| options.compiling().pipeline().connections.get(name)) {
            options.pass(&known.options.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
        }
        let url = options.address("url").or_else(|| options.text("listen")).unwrap_or_default();
        let last = url.braces().trim_end_matches('/').rsplit('/').next().unwrap_or(kind).to_string();
        Self {
            kind: kind.into(),
            headers: options.map("headers"),
            stream: options.word("stream").unwrap_or(last),
            url,
            reconnect: options.value("reconnect_config").cloned().unwrap_or_default(),
            heartbeat: options.value("heartbeat").cloned().unwrap_or_default(),
        }
    }
}
