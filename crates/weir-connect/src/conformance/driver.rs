//! A scripted engine: lanes, epochs, checkpoint, and a crash at any named place. It keeps the protocol of [`crate::sink`] to
//! the letter and nothing more, so that a connector that survives it survives the real engine.
//!
//! A "crash" drops everything that the attempt held (writers, sink, reader) without another call. What survives is the
//! target itself and the [`Checkpoint`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use futures::future::try_join_all;
use serde_json::Value;
use weir_error::{Error, Result};

use crate::sink::{Barrier, CommitReport, CommitToken, Sink, StreamSink, StreamTarget, StreamWriter};
use crate::source::{Event, ReadRequest, Resume, ResumeVerdict, Source, Split, SplitProgress, StreamReader};

/// Where an attempt may be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Rows are accepted, `flush` was not called.
    BeforeFlush,
    /// `flush` returned; the checkpoint does not know yet.
    AfterFlush,
    /// The checkpoint knows; the next epoch has not begun.
    AfterCheckpoint,
    /// Everything is durable; `commit` was not called.
    BeforeCommit,
    /// `commit` was carried out; nobody heard its answer.
    AfterCommit,
}

/// Stop at the `nth` time (from 1) that any lane comes to `point`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// Where.
    pub point: CrashPoint,
    /// Which time.
    pub nth: usize,
}

/// What survives a crash on the engine's side: the content of its checkpoint store for one stream of one run.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// The highest epoch that was made durable.
    pub epoch: u64,
    /// Whether there was an attempt before.
    pub started: bool,
    /// [`StreamReader::state`] of the first attempt.
    pub reader_state: Value,
    /// How far each split got, by id.
    pub progress: BTreeMap<String, SplitProgress>,
    /// Receipts of everything durable, in order.
    pub tokens: Vec<CommitToken>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Attempt {
    /// The run is over.
    Committed(CommitReport),
    /// The crash that was asked for happened.
    Crashed,
}

/// The engine's settings.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    /// Writers open at once.
    pub lanes: usize,
    /// Batches of a lane between two barriers.
    pub batches_per_epoch: usize,
    /// Target size of batches asked from the source.
    pub batch_bytes: usize,
}

impl Default for Driver {
    fn default() -> Self {
        Self { lanes: 2, batches_per_epoch: 2, batch_bytes: 1024 }
    }
}

enum Stop {
    Crash,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

struct Shared<'a> {
    driver: Driver,
    reader: &'a dyn StreamReader,
    sink: &'a dyn StreamSink,
    queue: Mutex<VecDeque<Split>>,
    epoch: Mutex<u64>,
    checkpoint: Mutex<&'a mut Checkpoint>,
    resumed_from: BTreeMap<String, SplitProgress>,
    crash: Option<Crash>,
    hits: Mutex<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    /// One attempt of a run: prepare, recover, discard, read, flush and checkpoint, commit. Call it again with the same
    /// `checkpoint` and fresh connector instances to resume after [`Attempt::Crashed`].
    ///
    /// A co-committed sink that answers `recover` with progress is believed and not asked to discard, unless the source starts
    /// over; every other sink discards what the checkpoint does not name.
    pub async fn attempt(
        &self,
        source: &Arc<dyn Source>,
        request: ReadRequest,
        sink: &Arc<dyn Sink>,
        target: StreamTarget,
        checkpoint: &mut Checkpoint,
        crash: Option<Crash>,
    ) -> Result<Attempt> {
        let stream_sink = sink.prepare(target).await?;
        let recovery = stream_sink.recover().await?;
        if let Some(report) = recovery.committed {
            return Ok(Attempt::Committed(report));
        }
        let sink_knows = recovery.progress.is_some();
        if let Some(progress) = recovery.progress {
            checkpoint.progress = progress.into_iter().map(|entry| (entry.split.id.clone(), entry)).collect();
        }
        let mut request = ReadRequest { parallelism: self.lanes, batch_bytes: self.batch_bytes, ..request };
        if checkpoint.started {
            request.resume = Some(Resume {
                reader_state: checkpoint.reader_state.clone(),
                progress: checkpoint.progress.values().cloned().collect(),
            });
        }
        let reader = source.open(request).await?;
        let starts_over = matches!(reader.verdict(), ResumeVerdict::StartOver { .. });
        if starts_over {
            checkpoint.progress.clear();
            checkpoint.tokens.clear();
        }
        if starts_over || !sink_knows {
            stream_sink.discard(&checkpoint.tokens).await?;
        }
        if !checkpoint.started || starts_over {
            checkpoint.started = true;
            checkpoint.reader_state = reader.state();
        }
        let shared = Shared {
            driver: *self,
            reader: reader.as_ref(),
            sink: stream_sink.as_ref(),
            queue: Mutex::new(reader.splits().into()),
            epoch: Mutex::new(checkpoint.epoch),
            resumed_from: checkpoint.progress.clone(),
            checkpoint: Mutex::new(checkpoint),
            crash,
            hits: Mutex::new(0),
        };
        match run_all_lanes(&shared).await {
            Ok(report) => Ok(Attempt::Committed(report)),
            Err(Stop::Crash) => Ok(Attempt::Crashed),
            Err(Stop::Failed(error)) => Err(error),
        }
    }
}

async fn run_all_lanes(shared: &Shared<'_>) -> Result<CommitReport, Stop> {
    try_join_all((0..shared.driver.lanes).map(|lane| run_lane(shared, lane))).await?;
    shared.passes(CrashPoint::BeforeCommit)?;
    let tokens = lock(&shared.checkpoint).tokens.clone();
    let report = shared.sink.commit(&tokens).await?;
    shared.passes(CrashPoint::AfterCommit)?;
    Ok(report)
}

async fn run_lane(shared: &Shared<'_>, lane: usize) -> Result<(), Stop> {
    let mut writer = shared.sink.writer(lane).await?;
    let mut batches = 0;
    let mut finished: Vec<SplitProgress> = Vec::new();
    loop {
        let Some(split) = lock(&shared.queue).pop_front() else { break };
        let before = shared.resumed_from.get(&split.id);
        let mut rows = before.map_or(0, |progress| progress.rows);
        let mut events = shared.reader.read(&split, before.and_then(|progress| progress.position.clone())).await?;
        while let Some(event) = events.next().await {
            match event? {
                Event::Batch(batch) => {
                    rows += batch.records.num_rows() as u64;
                    writer.write(batch.records).await?;
                    batches += 1;
                    // Without a position here the rows can only become durable together with what follows.
                    if batches >= shared.driver.batches_per_epoch
                        && let Some(position) = batch.position
                    {
                        let here = SplitProgress { split: split.clone(), position: Some(position), done: false, rows };
                        let progress = finished.drain(..).chain([here]).collect();
                        barrier(shared, lane, writer.as_mut(), progress).await?;
                        batches = 0;
                    }
                }
                Event::Dead(_) => rows += 1,
                Event::SchemaChange(_) => {
                    return Err(Error::internal("the kit's sources do not change their schema, but one was announced").into());
                }
                Event::Watermark(_) | Event::Idle => {}
            }
        }
        finished.push(SplitProgress { split, position: None, done: true, rows });
        if batches >= shared.driver.batches_per_epoch {
            barrier(shared, lane, writer.as_mut(), std::mem::take(&mut finished)).await?;
            batches = 0;
        }
    }
    barrier(shared, lane, writer.as_mut(), finished).await
}

async fn barrier(
    shared: &Shared<'_>,
    lane: usize,
    writer: &mut dyn StreamWriter,
    progress: Vec<SplitProgress>,
) -> Result<(), Stop> {
    shared.passes(CrashPoint::BeforeFlush)?;
    let epoch = {
        let mut epoch = lock(&shared.epoch);
        *epoch += 1;
        *epoch
    };
    let flushed = writer.flush(&Barrier { epoch, lane, progress: progress.clone() }).await?;
    shared.passes(CrashPoint::AfterFlush)?;
    {
        let mut checkpoint = lock(&shared.checkpoint);
        checkpoint.epoch = checkpoint.epoch.max(epoch);
        for entry in progress {
            checkpoint.progress.insert(entry.split.id.clone(), entry);
        }
        if !flushed.token.is_null() {
            checkpoint.tokens.push(flushed.token);
        }
    }
    shared.passes(CrashPoint::AfterCheckpoint)
}

impl Shared<'_> {
    fn passes(&self, point: CrashPoint) -> Result<(), Stop> {
        if let Some(crash) = self.crash.filter(|crash| crash.point == point) {
            let mut hits = lock(&self.hits);
            *hits += 1;
            if *hits == crash.nth {
                return Err(Stop::Crash);
            }
        }
        Ok(())
    }
}
