//! Change streams as a source (`mongodb-cdc`), merged with a snapshot in chunks of `_id`.
//!
//! * `event`: one document of the stream, read. `reader`: the task that takes documents from the server. `worker`: what each of them does, and
//!   where boundaries are. `chunk`: the snapshot. `position`: the resume point.
//!
//! ## Why the snapshot is exact
//! A chunk is read (majority, from the primary), then the primary is asked for its operation time `H`, then the stream is read up to `H`. Each key
//! that any event names between the begin of the chunk's reading and `H` is taken out of the chunk: *the change wins*. What is left is given out.
//! * A row that is left has no event between. Events with a time up to the row's reading have all been given out before the chunk began, since
//!   the stream stands at `H` or later and none was met on the way. So the row is not older than what was given out, and what comes later is newer.
//! * A row that was taken out is replaced by the images of its events. While a collection's snapshot runs every update brings the whole document
//!   (looked up if it does not), so nothing of the row is missing.
//! * If the chunk's document was deleted meanwhile, its delete is an event, and wins.

mod chunk;
mod event;
mod position;
mod reader;
mod worker;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream;
use mongodb::bson::Timestamp;
use schemars::schema_for;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use weir_connect::source::Position as Opaque;
use weir_connect::{
    ChangeLog, ChangeRequest, ChangeSource, ChangeStream, CheckReport, Connector, Descriptor, Error, Kind, ReadRequest, Result,
    Sink, SinkContext, Source, SourceCapabilities, SourceContext, StreamInfo, StreamReader,
};

use self::position::{Position, Progress, VERSION};
use self::reader::Start;
use self::worker::{Followed, Worker};
use super::client::Client;
use super::config::{CdcOptions, ConnectionOptions, SchemaMode, SnapshotMode, parse};
use super::errors;
use super::extjson::Form;
use super::rows::Shape;
use super::scan::Scan;
use super::source::{MongoSource, shape};

const BATCH_BYTES: usize = 4 << 20;

/// The connector.
pub struct MongodbCdc {
    descriptor: Descriptor,
}

impl Default for MongodbCdc {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "mongodb-cdc",
                aliases: &["mongo-cdc"],
                summary: "MongoDB's change streams: a snapshot, then every change in order (alpha: no real server has seen it)",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(CdcOptions).to_value()),
                sink: None,
                address_option: "collection",
            },
        }
    }
}

fn no_sink() -> Error {
    Error::new("WEIR-MONGO-001", Kind::Spec, "`mongodb-cdc` is no sink")
}

#[async_trait]
impl Connector for MongodbCdc {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn connections_of(&self) -> &'static [&'static str] {
        &["mongodb", "mongo"]
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        if !crate::options::has_reference(connection) {
            parse::<ConnectionOptions>(connection, "connection")?.validate()?;
        }
        match role {
            "source" => parse::<CdcOptions>(options, "source")?.validate(),
            "sink" => Err(no_sink()),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let (mut report, client) = super::checked(connection).await?;
        if let Some(client) = client {
            match reader::open(&client, &CdcOptions::default(), &[], &Start::Now).await {
                Ok(_) => report.push("changes", true, "the database has change streams, and the user may read them"),
                Err(error) => {
                    let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
                    report.push("changes", false, format!("{error}{advice}"));
                }
            }
        }
        Ok(report)
    }

    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        source_of(&context)?.batch.streams().await
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        let source = source_of(&context)?;
        source.options.validate()?;
        Ok(Arc::new(source))
    }

    async fn sink(&self, _context: SinkContext) -> Result<Arc<dyn Sink>> {
        Err(no_sink())
    }
}

fn source_of(context: &SourceContext) -> Result<MongoChanges> {
    let connection: ConnectionOptions = parse(&context.connection, "connection")?;
    let options: CdcOptions = parse(&context.options, "source")?;
    let batch = MongoSource::new(connection, options.batch(), context.base_dir.clone());
    Ok(MongoChanges { options, batch })
}

/// A configured source of changes.
struct MongoChanges {
    options: CdcOptions,
    /// The same collections, read at once (`mode: batch`).
    batch: MongoSource,
}

#[async_trait]
impl Source for MongoChanges {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: true,
            replay_note: "the oplog keeps changes for a while; a position that has left it is an error, never a gap".into(),
        }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        ChangeSource::streams(self).await
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        Source::open(&self.batch, request).await
    }

    fn changes(&self) -> Option<&dyn ChangeSource> {
        Some(self)
    }
}

impl MongoChanges {
    fn reading(&self) -> &'static str {
        match self.options.snapshot {
            SnapshotMode::Never => "the change stream from the first run on, no snapshot",
            _ => "a snapshot in ranges of `_id` between changes of the stream; resumes anywhere",
        }
    }

    /// The shape of a stream: as it was when the pipeline began, or by a sample.
    async fn shape(&self, client: &Client, name: &str, known: Option<&Progress>) -> Result<Shape> {
        let shaping = self.options.shaping()?;
        match known {
            Some(known) => {
                let form = if shaping.mode == SchemaMode::Document { Form::Canonical } else { shaping.form };
                Ok(Shape::new(known.layout.clone(), form, shaping.unknown))
            }
            None => shape(client, name, &shaping, &Scan::default()).await,
        }
    }
}

#[async_trait]
impl ChangeSource for MongoChanges {
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut infos = Source::streams(&self.batch).await?;
        infos.iter_mut().for_each(|info| info.reading = self.reading().into());
        Ok(infos)
    }

    async fn open(&self, request: ChangeRequest) -> Result<Arc<dyn ChangeLog>> {
        let client = self.batch.client().await?.clone();
        let hello = client.hello().await?;
        let sharded = hello.get_str("msg").is_ok_and(|text| text == "isdbgrid");
        if hello.get_str("setName").is_err() && !sharded {
            return Err(errors::standalone(&client.place));
        }
        let database = client.database.name().to_owned();
        let from = request.from.as_ref().map(|from| Position::read(from, &database)).transpose()?;
        let now = client.operation_time().await?;
        let start = match (&from, self.options.start()?) {
            (Some(from), _) => from.start()?,
            (None, Some(seconds)) => Start::At(Timestamp { time: seconds, increment: 0 }),
            (None, None) => Start::At(now),
        };
        let found = client.choose(&self.options.choice()?, true).await?;
        let mut followed = Vec::new();
        let mut collections = BTreeMap::new();
        for name in &request.streams {
            let known = from.as_ref().and_then(|from| from.collections.get(name));
            match (found.iter().find(|found| found.name == *name), known) {
                (Some(found), _) if !found.plain => {
                    return Err(Error::new("WEIR-MONGO-027", Kind::Unsupported, format!("`{name}` has no changes of its own"))
                        .at(client.place.clone())
                        .because("views and time series are not followed by change streams")
                        .hint(format!("exclude it: \"!{name}\"")));
                }
                (None, None) => {
                    return Err(Error::new("WEIR-MONGO-005", Kind::NotFound, format!("there is no collection `{name}`"))
                        .at(client.place.clone()));
                }
                _ => {}
            }
            let shape = Arc::new(self.shape(&client, name, known).await?);
            let progress = known.cloned().unwrap_or_else(|| Progress {
                layout: shape.layout.clone(),
                done: self.options.snapshot == SnapshotMode::Never,
                after: None,
            });
            collections.insert(name.clone(), progress);
            followed.push(Followed::new(name.as_str().into(), shape, known.is_some(), request.before_images));
        }
        let splits = hello.get_i32("maxWireVersion").unwrap_or_default() >= reader::SPLITS_LARGE_EVENTS;
        let options = reader::Options { cdc: self.options.clone(), before: request.before_images, splits, sharded };
        // A position that the server does not have any more is an error here, before a row.
        let stream = reader::open_with(&client, &options, &request.streams, &start).await?;
        let token = from.as_ref().and_then(|from| from.token.clone());
        let position = Position { version: VERSION, database, token, start: position::at(now, &start), collections };
        let batch_bytes = if request.batch_bytes == 0 { BATCH_BYTES } else { request.batch_bytes };
        let target = request.until_caught_up.then_some(now);
        let worker = Worker::new(client, options, stream, followed, position, batch_bytes, request.linger, target);
        Ok(Arc::new(MongoLog { worker: Mutex::new(Some(worker)), task: Mutex::new(None) }))
    }

    async fn forget(&self, _pipeline: &str, _from: Option<&Opaque>) -> Result<()> {
        // The server keeps nothing for us.
        Ok(())
    }
}

/// An open change stream.
struct MongoLog {
    worker: Mutex<Option<Worker>>,
    task: Mutex<Option<AbortHandle>>,
}

impl Drop for MongoLog {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

#[async_trait]
impl ChangeLog for MongoLog {
    async fn read(&self) -> Result<ChangeStream> {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        let worker = worker.ok_or_else(|| Error::internal("a change stream is read once"))?;
        let (sender, receiver) = mpsc::channel(4);
        let task = tokio::spawn(worker.run(sender)).abort_handle();
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.clone());
        let guard = AbortOnDrop(task);
        let next = |(mut receiver, guard): (mpsc::Receiver<_>, AbortOnDrop)| async move {
            receiver.recv().await.map(|event| (event, (receiver, guard)))
        };
        Ok(Box::pin(stream::unfold((receiver, guard), next)))
    }

    async fn acknowledge(&self, _position: &Opaque) -> Result<()> {
        // The server keeps its oplog by size and time, whoever reads it.
        Ok(())
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
