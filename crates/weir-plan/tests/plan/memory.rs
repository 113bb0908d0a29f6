//! A connector over rows in memory, with options that make it misbehave as the tests need it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use weir_connect::{
    Batch, ChangeLog, ChangeRequest, ChangeSource, CheckReport, CommitKind, Connector, Descriptor, Edge, Error, Event,
    EventStream, Kind, Position, ReadRequest, Result, Sink, SinkCapabilities, SinkContext, SinkType, Source, SourceCapabilities,
    SourceContext, Split, StreamInfo, StreamReader, StreamSink, StreamTarget, WriteMode,
};

/// A table that the source offers.
#[derive(Clone)]
pub struct Table {
    pub batches: Vec<RecordBatch>,
    pub schema: SchemaRef,
    pub primary_key: Vec<String>,
}

pub type Tables = Arc<Mutex<BTreeMap<String, Table>>>;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct ConnectionOptions {
    /// Names the world.
    #[serde(default)]
    url: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct SourceOptions {
    /// One table.
    #[serde(default)]
    table: Option<String>,
    /// Many.
    #[serde(default)]
    tables: Vec<String>,
    /// Cursor column.
    #[serde(default)]
    cursor: Option<String>,
    /// Lag.
    #[serde(default)]
    lag: Option<String>,
    /// A query; here only its text matters.
    #[serde(default)]
    query: Option<String>,
    /// A second read gives other rows.
    #[serde(default)]
    unrepeatable: bool,
    /// It has a log of changes.
    #[serde(default)]
    log: bool,
    /// It can be read without end.
    #[serde(default)]
    endless: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct SinkOptions {
    /// Where.
    table: String,
    /// How.
    #[serde(default)]
    write_mode: WriteMode,
    /// Key.
    #[serde(default)]
    key: Vec<String>,
    /// `staged`, `co_committed`, `idempotent`, `append`.
    #[serde(default)]
    commit: Option<String>,
    /// It applies changes.
    #[serde(default)]
    changes: bool,
}

pub struct Memory {
    descriptor: Descriptor,
    tables: Tables,
}

impl Memory {
    pub fn new(tables: Tables) -> Self {
        let schema = |schema: schemars::Schema| schema.to_value();
        Self {
            descriptor: Descriptor {
                name: "memory",
                aliases: &["mem"],
                summary: "rows in memory",
                connection: schema(schemars::schema_for!(ConnectionOptions)),
                source: Some(schema(schemars::schema_for!(SourceOptions))),
                sink: Some(schema(schemars::schema_for!(SinkOptions))),
                address_option: "table",
            },
            tables,
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(options: &Value) -> Result<T> {
    serde_json::from_value(options.clone()).map_err(|e| Error::new("WEIR-MEM-001", Kind::Spec, "bad options").because(e))
}

#[async_trait]
impl Connector for Memory {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        read::<ConnectionOptions>(connection)?;
        match role {
            "source" => read::<SourceOptions>(options).map(drop),
            "sink" => read::<SinkOptions>(options).map(drop),
            _ => Ok(()),
        }
    }
    async fn check(&self, _: &Value) -> Result<CheckReport> {
        Ok(CheckReport::default())
    }
    async fn discover(&self, _: SourceContext) -> Result<Vec<StreamInfo>> {
        Ok(Vec::new())
    }
    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(MemorySource { options: read(&context.options)?, tables: self.tables.clone() }))
    }
    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(MemorySink { options: read(&context.options)? }))
    }
}

struct MemorySource {
    options: SourceOptions,
    tables: Tables,
}

#[async_trait]
impl Source for MemorySource {
    fn capabilities(&self) -> SourceCapabilities {
        match self.options.unrepeatable {
            true => SourceCapabilities { replayable: false, replay_note: "memory forgets what it gave".into() },
            false => SourceCapabilities { replayable: true, replay_note: "memory gives the same rows again".into() },
        }
    }
    fn unbounded(&self) -> bool {
        self.options.endless
    }
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let tables = self.tables.lock().unwrap();
        let wanted: Vec<&String> = self.options.table.iter().chain(&self.options.tables).collect();
        wanted
            .into_iter()
            .map(|name| {
                let table =
                    tables.get(name).ok_or_else(|| Error::new("WEIR-MEM-002", Kind::NotFound, format!("no table {name}")))?;
                let rows: usize = table.batches.iter().map(RecordBatch::num_rows).sum();
                Ok(StreamInfo {
                    name: name.clone(),
                    schema: table.schema.clone(),
                    primary_key: table.primary_key.clone(),
                    estimated_rows: Some(rows as u64),
                    estimated_bytes: Some(rows as u64 * 8),
                    reading: "1 split".into(),
                })
            })
            .collect()
    }
    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let table = self.tables.lock().unwrap().get(&request.stream).cloned();
        Ok(Box::new(MemoryReader { table: table.ok_or_else(|| Error::internal("no such table"))? }))
    }
    fn changes(&self) -> Option<&dyn ChangeSource> {
        self.options.log.then_some(self)
    }
}

/// Reads a table, a split for each batch.
struct MemoryReader {
    table: Table,
}

#[async_trait]
impl StreamReader for MemoryReader {
    fn schema(&self) -> SchemaRef {
        self.table.schema.clone()
    }
    fn splits(&self) -> Vec<Split> {
        let split =
            |at: usize| Split { id: at.to_string(), descriptor: Value::from(at), estimated_rows: None, estimated_bytes: None };
        (0..self.table.batches.len()).map(split).collect()
    }
    async fn read(&self, split: &Split, _: Option<Position>) -> Result<EventStream> {
        let at = usize::try_from(split.descriptor.as_u64().unwrap()).unwrap();
        let batch = Batch { records: self.table.batches[at].clone(), position: None, source_bytes: 0 };
        Ok(Box::pin(futures::stream::iter([Ok(Event::Batch(batch))])))
    }
}

#[async_trait]
impl ChangeSource for MemorySource {
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Source::streams(self).await
    }
    async fn open(&self, _: ChangeRequest) -> Result<Arc<dyn ChangeLog>> {
        Err(Error::internal("the tests read no log"))
    }
    async fn forget(&self, _: &str, _: Option<&Position>) -> Result<()> {
        Ok(())
    }
}

struct MemorySink {
    options: SinkOptions,
}

#[async_trait]
impl Sink for MemorySink {
    fn capabilities(&self, mode: WriteMode) -> SinkCapabilities {
        let (commit, note) = match self.options.commit.as_deref() {
            Some("append") if mode == WriteMode::Upsert => (CommitKind::Idempotent, "memory replaces rows by key"),
            Some("append") => (CommitKind::Append, "memory forgets what it took"),
            Some("co_committed") => (CommitKind::CoCommitted, "memory keeps positions with the rows"),
            _ => (CommitKind::Staged, "memory stages rows until the commit"),
        };
        let write_modes = vec![WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert];
        SinkCapabilities { commit, commit_note: note.into(), write_modes }
    }
    fn sink_type(&self, field: &Field) -> SinkType {
        let lossy = |name: &str, reason: &str| SinkType { name: name.into(), edge: Edge::Lossy { reason: reason.into() } };
        match field.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => lossy("timestamp(6)", "nanoseconds are cut off"),
            DataType::Float32 => SinkType { name: "float8".into(), edge: Edge::Widening { note: "float4 in float8".into() } },
            DataType::Duration(_) | DataType::List(_) => {
                SinkType { name: "-".into(), edge: Edge::Unsupported { reason: "memory has no such type".into() } }
            }
            other => SinkType::exact(format!("{other}").to_lowercase()),
        }
    }
    fn place(&self, stream: &str) -> String {
        self.options.table.replace("{stream}", stream)
    }
    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        Ok(vec![format!("write {}", self.place(&target.stream))])
    }
    fn change_modes(&self) -> Vec<WriteMode> {
        if self.options.changes { vec![WriteMode::Upsert, WriteMode::Merge] } else { vec![] }
    }
    async fn prepare(&self, _: StreamTarget) -> Result<Box<dyn StreamSink>> {
        Err(Error::internal("the tests write nowhere"))
    }
}
