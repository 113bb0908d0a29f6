//! What the checks share: making sources and sinks of the subject, reading everything, running a pipeline through the driver.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use futures::StreamExt;
use serde_json::Value;
use weir_error::{Error, Result};

use super::compare::{RowSet, row_set};
use super::driver::{Attempt, Checkpoint, Crash, Driver};
use super::given::Given;
use super::subject::{Declared, Subject};
use crate::connector::{Connector, RunIdentity, SinkContext, SourceContext};
use crate::sink::{CommitKind, CommitReport, Sink, StreamTarget};
use crate::source::{Event, Position, ReadRequest, Resume, ResumeVerdict, Source, Split, StreamReader};
use crate::stream::{OnLoss, SchemaChangePolicy, StreamInfo, WriteMode};

/// One check's view of the subject.
pub struct Lab<'a> {
    /// The subject.
    pub subject: &'a dyn Subject,
    /// Its connector.
    pub connector: Arc<dyn Connector>,
    /// Its claims.
    pub declared: Declared,
}

/// One split's reading, event by event.
pub struct ReadSplit {
    /// The split.
    pub split: Split,
    /// Its batches with the position after each.
    pub batches: Vec<(RecordBatch, Option<Position>)>,
}

impl<'a> Lab<'a> {
    /// Asks the subject.
    pub fn new(subject: &'a dyn Subject) -> Self {
        Self { subject, connector: subject.connector(), declared: subject.declared() }
    }

    /// What a source is made from.
    pub fn source_context(&self, connection: Value, options: Value) -> SourceContext {
        SourceContext { connection, options, on_loss: OnLoss::default(), parallelism: 2, base_dir: self.subject.base_dir() }
    }

    /// What a sink is made from.
    pub fn sink_context(&self, connection: Value, options: Value) -> SinkContext {
        SinkContext {
            connection,
            options,
            on_loss: OnLoss::default(),
            node: "kit".into(),
            parallelism: 2,
            base_dir: self.subject.base_dir(),
        }
    }

    /// A fresh source over what was seeded, and its stream.
    pub async fn source(&self, name: &str, options: &Value) -> Result<(Arc<dyn Source>, StreamInfo)> {
        let source = self.connector.source(self.source_context(self.subject.connection(), options.clone())).await?;
        let info = self.subject.stream(name, &source.streams().await?)?;
        Ok((source, info))
    }

    /// A fresh sink.
    pub async fn sink(&self, name: &str, mode: WriteMode) -> Result<Arc<dyn Sink>> {
        let options = self.subject.sink_options(name, mode);
        self.connector.sink(self.sink_context(self.subject.connection(), options)).await
    }

    /// A target in the kit's pipeline.
    pub fn target(&self, name: &str, run: &str, schema: SchemaRef, mode: WriteMode) -> StreamTarget {
        StreamTarget {
            run: RunIdentity { pipeline: format!("kit_{name}"), run_id: format!("{name}-{run}") },
            stream: name.to_owned(),
            schema,
            key: if matches!(mode, WriteMode::Upsert | WriteMode::Merge) { vec!["id".into()] } else { Vec::new() },
            cursor: None,
            write_mode: mode,
            on_schema_change: SchemaChangePolicy::Evolve,
            changes: false,
        }
    }

    /// How the sink keeps data and checkpoint together in this mode.
    pub async fn commit_kind(&self, name: &str, mode: WriteMode) -> Result<CommitKind> {
        Ok(self.sink(name, mode).await?.capabilities(mode).commit)
    }

    /// Opens a stream.
    pub async fn open(
        &self,
        source: &Arc<dyn Source>,
        info: &StreamInfo,
        resume: Option<Resume>,
    ) -> Result<Box<dyn StreamReader>> {
        source
            .open(ReadRequest { stream: info.name.clone(), resume, parallelism: 2, batch_bytes: 1024, ..ReadRequest::default() })
            .await
    }

    /// Reads one split to its end. Dead letters are errors: the kit seeds good rows only.
    pub async fn read_split(&self, reader: &dyn StreamReader, split: &Split, from: Option<Position>) -> Result<ReadSplit> {
        let mut events = reader.read(split, from).await?;
        let mut batches = Vec::new();
        while let Some(event) = events.next().await {
            match event? {
                Event::Batch(batch) => {
                    if shape(batch.records.schema_ref()) != shape(&reader.schema()) {
                        return Err(Error::internal(format!(
                            "a batch has another schema than its reader: {:?} instead of {:?}",
                            batch.records.schema_ref().fields(),
                            reader.schema().fields()
                        )));
                    }
                    batches.push((batch.records, batch.position));
                }
                Event::Dead(letter) => {
                    return Err(Error::internal(format!(
                        "a good row became a dead letter: {} at {}",
                        letter.reason, letter.place
                    )));
                }
                Event::SchemaChange(_) | Event::Watermark(_) | Event::Idle => {}
            }
        }
        Ok(ReadSplit { split: split.clone(), batches })
    }

    /// Reads every split of a reader from where `resume` left it.
    pub async fn read_all(&self, reader: &dyn StreamReader, resume: Option<&Resume>) -> Result<Vec<ReadSplit>> {
        let starts_over = matches!(reader.verdict(), ResumeVerdict::StartOver { .. });
        let mut read = Vec::new();
        for split in reader.splits() {
            let from = resume
                .filter(|_| !starts_over)
                .and_then(|resume| resume.progress.iter().find(|entry| entry.split.id == split.id))
                .and_then(|entry| entry.position.clone());
            read.push(self.read_split(reader, &split, from).await?);
        }
        Ok(read)
    }

    /// Rows of seeded batches, counted.
    pub fn rows(&self, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RowSet> {
        row_set(self.subject, schema, batches)
    }

    /// Rows that a reader of the target sees now.
    pub async fn target_rows(&self, name: &str, schema: &SchemaRef) -> Result<RowSet> {
        row_set(self.subject, schema, &self.subject.read_back(name).await?)
    }

    /// One attempt with a fresh sink.
    pub async fn attempt(&self, job: &Job<'_>, checkpoint: &mut Checkpoint, crash: Option<Crash>) -> Result<Attempt> {
        let source: Arc<dyn Source> = Arc::new(Given::new(job.schema.clone(), job.batches, 3));
        let sink = self.sink(job.name, job.mode).await?;
        let mut target = self.target(job.name, job.run, job.schema.clone(), job.mode);
        target.on_schema_change = job.policy;
        let request = ReadRequest { stream: "given".into(), ..ReadRequest::default() };
        job.driver.attempt(&source, request, &sink, target, checkpoint, crash).await
    }

    /// A whole run without a crash.
    pub async fn run(&self, job: &Job<'_>) -> Result<CommitReport> {
        match self.attempt(job, &mut Checkpoint::default(), None).await? {
            Attempt::Committed(report) => Ok(report),
            Attempt::Crashed => Err(Error::internal("the driver crashed without being asked to")),
        }
    }
}

fn shape(schema: &SchemaRef) -> Vec<(&String, &DataType)> {
    schema.fields().iter().map(|field| (field.name(), field.data_type())).collect()
}

/// Batches on their way into the subject's sink.
pub struct Job<'a> {
    /// Target.
    pub name: &'a str,
    /// Distinguishes runs into one target.
    pub run: &'a str,
    /// Schema, also when there are no batches.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: &'a [RecordBatch],
    /// How they enter.
    pub mode: WriteMode,
    /// What a different schema does.
    pub policy: SchemaChangePolicy,
    /// Lanes and epochs.
    pub driver: Driver,
}

impl<'a> Job<'a> {
    /// Append under `evolve` with two lanes.
    pub fn append(name: &'a str, run: &'a str, schema: SchemaRef, batches: &'a [RecordBatch]) -> Self {
        Self {
            name,
            run,
            schema,
            batches,
            mode: WriteMode::Append,
            policy: SchemaChangePolicy::Evolve,
            driver: Driver::default(),
        }
    }
    /// In another mode.
    #[must_use]
    pub fn mode(mut self, mode: WriteMode) -> Self {
        self.mode = mode;
        self
    }
    /// Under another contract.
    #[must_use]
    pub fn policy(mut self, policy: SchemaChangePolicy) -> Self {
        self.policy = policy;
        self
    }
    /// With one lane, where the order of rows counts.
    #[must_use]
    pub fn one_lane(mut self) -> Self {
        self.driver.lanes = 1;
        self
    }
}
