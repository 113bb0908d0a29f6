//! `discard`: a sink that takes rows and changes, counts them and keeps nothing.
//!
//! For measuring a source and the way through the engine without a target, and for trying a pipeline out. Not here: a source, and anything that
//! could be read back.
//!
//! What is counted is what was handed over and flushed. There is no target that could remember progress, so it answers [`StreamSink::recover`] with
//! nothing, and the engine goes on from its own checkpoint. After a crash the changes since that checkpoint come a second time: at least
//! once, and nobody can see the difference.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use async_trait::async_trait;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weir_connect::{
    Barrier, ChangeBatch, ChangeWriter, CheckReport, CommitKind, CommitReport, CommitToken, Connector, DeleteMode, Descriptor,
    Error, Flushed, Kind, Recovery, Result, SchemaChange, Sink, SinkCapabilities, SinkContext, SinkType, Source, SourceContext,
    StreamInfo, StreamSink, StreamTarget, StreamWriter, TransactionMark, WriteMode,
};

/// There is nothing to connect to.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionOptions {}

/// What other sinks take as well, so that one can stand in for them; it changes nothing here.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkOptions {
    /// A name for the place, to tell two of them apart. Default `{stream}`.
    pub table: Option<String>,
    /// `append`, `overwrite`, `upsert` or `merge`: all the same.
    pub write_mode: WriteMode,
    /// Key columns for `upsert` and `merge`; default: the source's primary key.
    pub key: Vec<String>,
    /// `mode: cdc`: what a delete at the source does here: nothing, in every mode.
    pub delete_mode: DeleteMode,
}

/// The connector.
pub struct Discard {
    descriptor: Descriptor,
}

impl Default for Discard {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "discard",
                aliases: &["blackhole", "null"],
                summary: "takes rows and changes, counts them, keeps nothing: to measure and to try out",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: None,
                sink: Some(schema_for!(SinkOptions).to_value()),
                address_option: "table",
            },
        }
    }
}

fn parse<T: DeserializeOwned>(value: &Value, role: &str) -> Result<T> {
    crate::options::parse("discard", "WEIR-DISCARD-001", role, value)
}

fn no_source() -> Error {
    Error::new("WEIR-DISCARD-001", Kind::Spec, "`discard` is no source").hint("nothing is kept that could be read")
}

#[async_trait]
impl Connector for Discard {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        parse::<ConnectionOptions>(connection, "connection")?;
        match role {
            "source" => Err(no_source()),
            "sink" => parse::<SinkOptions>(options, "sink").map(drop),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        parse::<ConnectionOptions>(connection, "connection")?;
        let mut report = CheckReport::default();
        report.push("write", true, "everything is taken, nothing is kept");
        Ok(report)
    }

    async fn discover(&self, _context: SourceContext) -> Result<Vec<StreamInfo>> {
        Err(no_source())
    }

    async fn source(&self, _context: SourceContext) -> Result<Arc<dyn Source>> {
        Err(no_source())
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        parse::<ConnectionOptions>(&context.connection, "connection")?;
        let options = parse::<SinkOptions>(&context.options, "sink")?;
        Ok(Arc::new(Nowhere { table: options.table.unwrap_or_else(|| "{stream}".into()) }))
    }
}

/// The configured sink.
struct Nowhere {
    table: String,
}

#[async_trait]
impl Sink for Nowhere {
    fn capabilities(&self, _mode: WriteMode) -> SinkCapabilities {
        SinkCapabilities {
            // Nothing is remembered beyond the process, so no more can be promised, though nothing can be lost either.
            commit: CommitKind::Append,
            commit_note: "discard keeps neither rows nor progress: after a crash some come, and are counted, twice".into(),
            write_modes: vec![WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert, WriteMode::Merge],
        }
    }

    fn sink_type(&self, _field: &Field) -> SinkType {
        SinkType::exact("discarded")
    }

    fn place(&self, stream: &str) -> String {
        format!("discard:{}", self.table.replace("{stream}", stream))
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        Ok(vec![format!("discard the rows of {}", target.stream)])
    }

    fn change_modes(&self) -> Vec<WriteMode> {
        vec![WriteMode::Upsert, WriteMode::Merge]
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        Ok(Box::new(NowhereStream { place: self.place(&target.stream), changes: Arc::default() }))
    }
}

struct NowhereStream {
    place: String,
    /// Changes since the run began, as of the last flush.
    changes: Arc<AtomicU64>,
}

#[async_trait]
impl StreamSink for NowhereStream {
    async fn recover(&self) -> Result<Recovery> {
        Ok(Recovery::default())
    }

    async fn discard(&self, _keep: &[CommitToken]) -> Result<()> {
        Ok(())
    }

    async fn writer(&self, _lane: usize) -> Result<Box<dyn StreamWriter>> {
        Ok(Box::new(Counter { rows: 0 }))
    }

    async fn change_writer(&self, _deletes: DeleteMode) -> Result<Box<dyn ChangeWriter>> {
        Ok(Box::new(ChangeCounter { rows: 0, flushed: self.changes.clone() }))
    }

    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        let rows: u64 = tokens.iter().filter_map(Value::as_u64).sum();
        let rows = rows + self.changes.load(Ordering::Relaxed);
        Ok(CommitReport { rows, bytes: 0, objects: 0, place: self.place.clone() })
    }
}

/// The token of a flush is its number of rows: those of the checkpointed flushes make up the run.
struct Counter {
    rows: u64,
}

#[async_trait]
impl StreamWriter for Counter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    async fn flush(&mut self, _barrier: &Barrier) -> Result<Flushed> {
        let rows = std::mem::take(&mut self.rows);
        Ok(Flushed { token: json!(rows), rows, bytes: 0 })
    }
}

struct ChangeCounter {
    rows: u64,
    flushed: Arc<AtomicU64>,
}

#[async_trait]
impl ChangeWriter for ChangeCounter {
    async fn apply(&mut self, batch: ChangeBatch) -> Result<()> {
        self.rows += batch.ops.len() as u64;
        Ok(())
    }

    async fn truncate(&mut self, _transaction: &TransactionMark) -> Result<()> {
        Ok(())
    }

    async fn reshape(&mut self, _change: &SchemaChange) -> Result<()> {
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        // The engine's count includes what came before a crash.
        self.flushed.store(barrier.progress.iter().map(|part| part.rows).sum(), Ordering::Relaxed);
        Ok(Flushed { token: Value::Null, rows: std::mem::take(&mut self.rows), bytes: 0 })
    }
}
