//! Writing: records in batches, or one request per record.
//!
//! A request that was answered is durable; there is nothing to commit afterwards. Every request carries a key made of pipeline, run, lane,
//! the last epoch of the lane that a checkpoint knows, a number and a hash of the body. After a crash the same rows in
//! the same requests have the same keys; rows that are grouped otherwise have others, so a server that honours the key can drop a
//! repetition and never drops anything else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;
use twox_hash::XxHash3_64;
use url::Url;
use weir_connect::{
    Barrier, CommitKind, CommitReport, CommitToken, Error, Flushed, Kind, Recovery, Result, Retry, Sink, SinkCapabilities,
    SinkType, StreamSink, StreamTarget, StreamWriter, WriteMode,
};

use super::client::{Client, Pace, Request, header_map, snippet};
use super::config::{BodyForm, HttpConnection, HttpSinkOptions, WriteMethod, spec};
use super::encode::{plain, record};
use super::endpoint::{address, address_text};
use super::types::sink_type;

/// A configured address to write to.
pub struct HttpSink {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    pace: Pace,
    options: HttpSinkOptions,
    headers: HeaderMap,
    template: String,
    placeholders: Vec<String>,
}

impl HttpSink {
    /// Checks the options; does not connect.
    pub fn new(connection: &HttpConnection, options: HttpSinkOptions) -> Result<Self> {
        let template = address_text(connection.base_url.as_deref(), options.url.as_deref(), options.path.as_deref())?;
        let mut placeholders = Vec::new();
        let mut rest = template.as_str();
        while let Some(open) = rest.find('{') {
            let Some((name, after)) = rest[open + 1..].split_once('}') else {
                return Err(spec(format!("`{{` without `}}` in `{template}`")));
            };
            if name != "stream" && !placeholders.iter().any(|known| known == name) {
                placeholders.push(name.to_owned());
            }
            rest = after;
        }
        address(&filled(&template, "stream", &|_| Ok("x".into()))?)?;
        if options.batch_rows == 0 || options.batch_bytes == 0 {
            return Err(spec("`batch_rows` and `batch_bytes` must be above 0"));
        }
        if !placeholders.is_empty() && !matches!(options.body, BodyForm::Record | BodyForm::JsonArray) {
            return Err(spec("an address with a column sends one record per request").hint("set `body: record`"));
        }
        if options.rate_limit_per_second.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err(spec("`rate_limit_per_second` must be above 0"));
        }
        let pace = Pace::new(options.rate_limit_per_second);
        let headers = header_map(&options.headers)?;
        if let Some(name) = &options.idempotency_header {
            super::auth::header_name(name)?;
        }
        Ok(Self { shared: Arc::new(Shared { client: Client::new(connection)?, pace, options, headers, template, placeholders }) })
    }
}

impl Shared {
    fn one_by_one(&self) -> bool {
        !self.placeholders.is_empty() || self.options.body == BodyForm::Record
    }

    fn replaces(&self) -> bool {
        self.options.method == WriteMethod::Put && !self.placeholders.is_empty()
    }
}

/// Fills the placeholders; values are encoded so that they stay one part of the address.
fn filled(template: &str, stream: &str, column: &dyn Fn(&str) -> Result<String>) -> Result<String> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        text.push_str(&rest[..open]);
        let Some((name, after)) = rest[open + 1..].split_once('}') else { break };
        let value = if name == "stream" { stream.to_owned() } else { column(name)? };
        if matches!(value.as_str(), "" | "." | "..") {
            let what = format!("the value `{value}` of `{name}` cannot stand in an address");
            return Err(Error::new("WEIR-HTTP-042", Kind::Data, what));
        }
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
                _ => text.push_str(&format!("%{byte:02X}")),
            }
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[async_trait]
impl Sink for HttpSink {
    fn capabilities(&self, mode: WriteMode) -> SinkCapabilities {
        let replaces = self.shared.replaces();
        let (commit, commit_note) = if mode == WriteMode::Upsert && replaces {
            (CommitKind::Idempotent, "a record that is sent again replaces itself (PUT to its own address)")
        } else {
            (CommitKind::Append, "http has no transaction: after a crash the last records are sent again")
        };
        let write_modes = if replaces { vec![WriteMode::Upsert] } else { vec![WriteMode::Append] };
        SinkCapabilities { commit, commit_note: commit_note.into(), write_modes }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        sink_type(field)
    }

    fn place(&self, stream: &str) -> String {
        self.shared.template.replace("{stream}", stream)
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        let method = method(self.shared.options.method);
        let place = self.place(&target.stream);
        Ok(vec![if self.shared.one_by_one() {
            format!("{method} {place}, one record per request")
        } else {
            format!("{method} {place}, up to {} records per request", self.shared.options.batch_rows)
        }])
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        let shared = &self.shared;
        let modes = self.capabilities(target.write_mode).write_modes;
        if !modes.contains(&target.write_mode) {
            let what = format!("the http sink cannot `{}` with this address and method", target.write_mode.as_str());
            return Err(
                spec(what).hint("`append` posts batches; `upsert` needs `method: PUT` and the key in the address: `items/{id}`")
            );
        }
        for name in &shared.placeholders {
            if target.schema.field_with_name(name).is_err() {
                let what = format!("the address needs a column `{name}`, which `{}` does not have", target.stream);
                return Err(Error::new("WEIR-HTTP-043", Kind::Schema, what));
            }
        }
        if target.write_mode == WriteMode::Upsert
            && let Some(missing) = target.key.iter().find(|key| !shared.placeholders.contains(key))
        {
            return Err(spec(format!("the key column `{missing}` is not in the address")).hint("put it there: `items/{id}`"));
        }
        Ok(Box::new(HttpStream { shared: shared.clone(), target: Arc::new(target), epochs: Mutex::default() }))
    }
}

fn method(method: WriteMethod) -> Method {
    match method {
        WriteMethod::Post => Method::POST,
        WriteMethod::Put => Method::PUT,
        WriteMethod::Patch => Method::PATCH,
    }
}

struct HttpStream {
    shared: Arc<Shared>,
    target: Arc<StreamTarget>,
    /// The last epoch of each lane that the checkpoint knows.
    epochs: Mutex<BTreeMap<usize, u64>>,
}

#[async_trait]
impl StreamSink for HttpStream {
    async fn recover(&self) -> Result<Recovery> {
        Ok(Recovery::default())
    }

    /// What was sent cannot be taken back; the receipts say where the keys of each lane go on.
    async fn discard(&self, keep: &[CommitToken]) -> Result<()> {
        let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        epochs.clear();
        for token in keep {
            if let (Some(lane), Some(epoch)) = (token["lane"].as_u64(), token["epoch"].as_u64()) {
                let known = epochs.entry(lane as usize).or_default();
                *known = (*known).max(epoch);
            }
        }
        Ok(())
    }

    async fn writer(&self, lane: usize) -> Result<Box<dyn StreamWriter>> {
        let epoch = self.epochs.lock().unwrap_or_else(PoisonError::into_inner).get(&lane).copied().unwrap_or(0);
        Ok(Box::new(HttpWriter {
            shared: self.shared.clone(),
            target: self.target.clone(),
            lane,
            epoch,
            number: 0,
            buffer: Vec::new(),
            buffered_rows: 0,
            sent_rows: 0,
            sent_bytes: 0,
        }))
    }

    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        let sum = |key: &str| tokens.iter().filter_map(|token| token[key].as_u64()).sum();
        let place = self.shared.template.replace("{stream}", &self.target.stream);
        Ok(CommitReport { rows: sum("rows"), bytes: sum("bytes"), objects: 1, place })
    }
}

struct HttpWriter {
    shared: Arc<Shared>,
    target: Arc<StreamTarget>,
    lane: usize,
    epoch: u64,
    number: u64,
    /// Records with a separator before each but the first.
    buffer: Vec<u8>,
    buffered_rows: usize,
    sent_rows: u64,
    sent_bytes: u64,
}

impl HttpWriter {
    async fn send_buffer(&mut self) -> Result<()> {
        if self.buffered_rows == 0 {
            return Ok(());
        }
        let records = std::mem::take(&mut self.buffer);
        let rows = std::mem::take(&mut self.buffered_rows);
        let (media_type, body) = match &self.shared.options.body {
            BodyForm::Ndjson => {
                let mut body = records;
                body.push(b'\n');
                ("application/x-ndjson", body)
            }
            BodyForm::Wrap(key) => {
                let key =
                    serde_json::to_string(key).map_err(|error| Error::internal("a key does not serialise").because(error))?;
                ("application/json", [b"{", key.as_bytes(), b":[", &records, b"]}"].concat())
            }
            BodyForm::JsonArray | BodyForm::Record => ("application/json", [b"[", records.as_slice(), b"]"].concat()),
        };
        let url = filled(&self.shared.template, &self.target.stream, &|name| {
            Err(Error::internal(format!("`{name}` in a batch's address")))
        })?;
        self.send(address(&url)?, media_type, body, rows).await
    }

    async fn send(&mut self, url: Url, media_type: &'static str, body: Vec<u8>, rows: usize) -> Result<()> {
        let shared = self.shared.clone();
        let mut headers = shared.headers.clone();
        if let Some(name) = &shared.options.idempotency_header {
            let run = &self.target.run;
            let hash = XxHash3_64::oneshot(&body);
            let key = format!(
                "{}-{}-{}-{}-{}-{}-{hash:016x}",
                run.pipeline, run.run_id, self.target.stream, self.lane, self.epoch, self.number
            );
            let value = HeaderValue::from_str(&key)
                .or_else(|_| HeaderValue::from_str(&format!("{:016x}-{hash:016x}", XxHash3_64::oneshot(key.as_bytes()))));
            headers.insert(
                super::auth::header_name(name)?,
                value.map_err(|error| Error::internal("an idempotency key").because(error))?,
            );
        }
        self.number += 1;
        let repeatable =
            shared.replaces() || (shared.options.server_is_idempotent && shared.options.idempotency_header.is_some());
        let size = body.len() as u64;
        let body: Bytes = body.into();
        let method = method(shared.options.method);
        let request = Request { method, home: url.clone(), url, headers, body: Some((media_type, body)), repeatable };
        let response = match shared.client.send(&request, &shared.pace).await {
            Ok(response) => response,
            Err(error) if !repeatable && error.code() == "WEIR-HTTP-006" => {
                let hint = format!("it is not known whether the server took these {rows} records; look there before you resume");
                return Err(error.retry(Retry::Never).hint(hint));
            }
            Err(error) => return Err(error),
        };
        if let Some(path) = &shared.options.error_path
            && let Ok(Some(error)) = path.first(&response.body)
            && !matches!(error, b"null" | b"false" | b"\"\"" | b"[]" | b"{}")
        {
            let what = format!("the API reports an error at `{path}`");
            return Err(Error::new("WEIR-HTTP-015", Kind::Data, what)
                .at(shared.client.shown(&request.url))
                .because(snippet(error)));
        }
        self.sent_rows += rows as u64;
        self.sent_bytes += size;
        Ok(())
    }
}

#[async_trait]
impl StreamWriter for HttpWriter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        for row in 0..batch.num_rows() {
            if self.shared.one_by_one() {
                let mut body = Vec::new();
                record(&mut body, &batch, row)?;
                let value = |name: &str| {
                    let column =
                        batch.column_by_name(name).ok_or_else(|| Error::internal(format!("a batch without `{name}`")))?;
                    if arrow::array::Array::is_null(column, row) {
                        return Err(Error::new("WEIR-HTTP-042", Kind::Data, format!("the key column `{name}` is NULL")));
                    }
                    plain(column, row)
                };
                let url = address(&filled(&self.shared.template, &self.target.stream, &value)?)?;
                self.send(url, "application/json", body, 1).await?;
                continue;
            }
            let start = self.buffer.len();
            if self.buffered_rows > 0 {
                self.buffer.push(if self.shared.options.body == BodyForm::Ndjson { b'\n' } else { b',' });
            }
            record(&mut self.buffer, &batch, row)?;
            // The record that goes over the bound begins the next request.
            if self.buffered_rows > 0 && self.buffer.len() > self.shared.options.batch_bytes {
                let next = self.buffer[start + 1..].to_vec();
                self.buffer.truncate(start);
                self.send_buffer().await?;
                self.buffer = next;
            }
            self.buffered_rows += 1;
            if self.buffered_rows >= self.shared.options.batch_rows || self.buffer.len() >= self.shared.options.batch_bytes {
                self.send_buffer().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        self.send_buffer().await?;
        let rows = std::mem::take(&mut self.sent_rows);
        let bytes = std::mem::take(&mut self.sent_bytes);
        // Keys go on from this epoch; if no checkpoint comes to know it, a resumed run makes the same keys again from the last one.
        self.epoch = barrier.epoch;
        self.number = 0;
        Ok(Flushed { token: json!({"lane": self.lane, "epoch": barrier.epoch, "rows": rows, "bytes": bytes}), rows, bytes })
    }

    fn buffered_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}
