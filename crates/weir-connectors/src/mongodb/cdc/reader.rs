//! The task that takes documents from the server. The driver resumes by itself where the connection breaks or the primary changes; what it
//! cannot resume is an error.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{RawDocumentBuf, Timestamp, deserialize_from_slice, doc, serialize_to_vec};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::options::{FullDocumentBeforeChangeType, FullDocumentType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use weir_connect::{Error, Result};

use super::super::bson::Malformed;
use super::super::client::Client;
use super::super::config::{CdcOptions, FullDocument};
use super::super::errors::shown;
use super::super::scan::broken;

/// Wire version of server 7.0, which divides events that are larger than a document may be.
pub const SPLITS_LARGE_EVENTS: i32 = 21;
/// Documents that wait for the worker, and their bytes in KiB.
const WAITING: usize = 256;
const WAITING_KIB: u32 = 32 << 10;

/// Where a stream begins.
#[derive(Debug, Clone)]
pub enum Start {
    /// Wherever the server is.
    Now,
    /// With the changes since.
    At(Timestamp),
    /// After a resume token, a document.
    After(Vec<u8>),
}

/// How it is read.
#[derive(Debug, Clone)]
pub struct Options {
    /// Of the source.
    pub cdc: CdcOptions,
    /// Documents before changes are wanted.
    pub before: bool,
    /// The server divides large events.
    pub splits: bool,
    /// Several shards: their operations may have equal times.
    pub sharded: bool,
}

/// An open stream.
pub type Changes = ChangeStream<RawDocumentBuf>;

/// What comes from the server.
#[derive(Debug)]
pub enum Arrived {
    /// An event, or a piece of one, and its share of the memory.
    Event(Vec<u8>, OwnedSemaphorePermit),
    /// There was none when the server was asked at that moment; the stream stands at this token.
    Idle(Option<Vec<u8>>, Instant),
    /// The stream has ended after an `invalidate`.
    Ended,
}

/// For a look at whether it works.
pub async fn open(client: &Client, options: &CdcOptions, names: &[String], start: &Start) -> Result<Changes> {
    open_with(client, &Options { cdc: options.clone(), before: false, splits: false, sharded: false }, names, start).await
}

/// Opens the stream of some collections.
pub async fn open_with(client: &Client, options: &Options, names: &[String], start: &Start) -> Result<Changes> {
    let mut pipeline = vec![doc! { "$match": { "$or": [
        { "ns.coll": { "$in": names } },
        { "to.coll": { "$in": names } },
        { "operationType": { "$in": ["dropDatabase", "invalidate"] } },
    ] } }];
    if options.splits {
        pipeline.push(doc! { "$changeStreamSplitLargeEvent": {} });
    }
    let mut watch = client
        .database
        .watch()
        .pipeline(pipeline)
        .max_await_time(Duration::from_millis(options.cdc.await_ms.unwrap_or(500)))
        .read_concern(mongodb::options::ReadConcern::majority());
    watch = match options.cdc.full_document {
        FullDocument::UpdateLookup => watch.full_document(FullDocumentType::UpdateLookup),
        FullDocument::WhenAvailable => watch.full_document(FullDocumentType::WhenAvailable),
        FullDocument::Required => watch.full_document(FullDocumentType::Required),
        FullDocument::None => watch,
    };
    if options.before {
        watch = watch.full_document_before_change(FullDocumentBeforeChangeType::WhenAvailable);
    }
    watch = match start {
        Start::Now => watch,
        Start::At(time) => watch.start_at_operation_time(*time),
        Start::After(token) => {
            let token: ResumeToken = deserialize_from_slice(token)
                .map_err(|error| broken("the resume token is not readable", Malformed(error.to_string())))?;
            watch.start_after(token)
        }
    };
    let stream = watch.await.map_err(|error| shown(error, &client.place))?;
    Ok(stream.with_type::<RawDocumentBuf>())
}

/// The running task; ends when it is dropped.
pub struct Reader {
    /// What comes.
    pub arrived: mpsc::Receiver<Result<Arrived>>,
    task: AbortHandle,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reader {
    /// Begins to read.
    pub fn new(mut stream: Changes, place: String) -> Self {
        let (sender, arrived) = mpsc::channel(WAITING);
        let memory = Arc::new(Semaphore::new(WAITING_KIB as usize));
        let task = tokio::spawn(async move {
            loop {
                let asked = Instant::now();
                let arrived = match stream.next_if_any().await {
                    Ok(Some(document)) => {
                        let document = document.into_bytes();
                        let share = u32::try_from(document.len() >> 10).unwrap_or(u32::MAX).clamp(1, WAITING_KIB);
                        // The semaphore is never closed.
                        let Ok(permit) = memory.clone().acquire_many_owned(share).await else { return };
                        Ok(Arrived::Event(document, permit))
                    }
                    Ok(None) if !stream.is_alive() => Ok(Arrived::Ended),
                    Ok(None) => {
                        let token = stream.resume_token().and_then(|token| serialize_to_vec(&token).ok());
                        Ok(Arrived::Idle(token, asked))
                    }
                    Err(error) => Err(shown(error, &place)),
                };
                let last = !matches!(arrived, Ok(Arrived::Event(..) | Arrived::Idle(..)));
                if sender.send(arrived).await.is_err() || last {
                    return;
                }
            }
        });
        Self { arrived, task: task.abort_handle() }
    }

    /// The next one.
    pub async fn next(&mut self) -> Result<Arrived> {
        self.arrived.recv().await.unwrap_or_else(|| Err(Error::internal("the reader of the change stream is gone")))
    }
}
