//! One lane: takes a split, reads it, applies the row program, writes, and ends epochs.
//!
//! Reading and writing overlap: a spawned task pulls events from the source into a byte-bounded queue while this one
//! transforms and encodes ([`crate::writing`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures::StreamExt;
use tokio::task::JoinHandle;
use weir_connect::{Batch, Event, SplitProgress, StreamReader};
use weir_error::{Error, Kind, Result};
use weir_plan::RowProgram;

use crate::cursor::CursorTracker;
use crate::flow::{FlowShared, Todo, poisoned};
use crate::queue;
use crate::run::PATIENCE;
use crate::writing::{Rows, Writing};

pub(crate) struct Lane {
    shared: Arc<FlowShared>,
    writing: Writing,
    program: Arc<dyn RowProgram>,
    tracker: Option<CursorTracker>,
    /// Splits, whole or up to a position, whose rows are in the writers.
    pending: Vec<SplitProgress>,
    last_flush: Instant,
}

/// How reading a split ended.
enum SplitEnd {
    /// Everything was read.
    Done,
    /// Stopped on request; what is pending is at a resume point.
    StoppedClean,
    /// Stopped on request in the middle of rows that cannot be resumed: what the writers hold is thrown away.
    StoppedDirty,
}

impl Lane {
    pub(crate) async fn open(
        index: usize,
        shared: Arc<FlowShared>,
        program: Arc<dyn RowProgram>,
        tracker: Option<CursorTracker>,
    ) -> Result<Self> {
        let writing = Writing::open(index, shared.clone()).await?;
        Ok(Self { shared, writing, program, tracker, pending: Vec::new(), last_flush: Instant::now() })
    }

    /// Works until no split is left or the run stops.
    pub(crate) async fn run(mut self, reader: Arc<dyn StreamReader>) -> Result<()> {
        let mut ahead = None;
        loop {
            if self.shared.context.stopping() {
                self.flush().await?;
                return Err(Error::cancelled());
            }
            let Some(mut opened) = ahead.take().map_or_else(|| self.start(&reader), |opened| Ok(Some(opened)))? else { break };
            match self.split(&reader, &mut opened, &mut ahead).await? {
                SplitEnd::Done => {}
                SplitEnd::StoppedClean => {
                    self.flush().await?;
                    return Err(Error::cancelled());
                }
                SplitEnd::StoppedDirty => return Err(Error::cancelled()),
            }
            if self.last_flush.elapsed() >= self.shared.context.options.checkpoint_interval {
                self.flush().await?;
            }
        }
        self.flush().await
    }

    /// Takes the next split, if there is one, and begins to read it.
    fn start(&self, reader: &Arc<dyn StreamReader>) -> Result<Option<Opened>> {
        let next = self.shared.todo.lock().map_err(poisoned)?.pop_front();
        Ok(next.map(|todo| {
            let events = Prefetch::start(reader.clone(), &todo, self.shared.context.budget.queue);
            Opened { todo, events }
        }))
    }

    /// Works one split off. As soon as the last of it has been read, reading the next one begins in `ahead`, while the rest of
    /// this one is still being written: with small splits source and sink would otherwise wait for each other at every end.
    async fn split(
        &mut self,
        reader: &Arc<dyn StreamReader>,
        opened: &mut Opened,
        ahead: &mut Option<Opened>,
    ) -> Result<SplitEnd> {
        let Opened { todo, events } = opened;
        let mut rows = todo.rows_before;
        let mut asked_to_stop: Option<Instant> = None;
        // Positions inside a split are one sink's resume points; with several sinks only whole splits are.
        let positions = self.writing.outputs() == 1;
        let shared = self.shared.clone();
        loop {
            let Ok(event) = shared.context.unless_stopped(events.next()).await else { return Ok(SplitEnd::StoppedDirty) };
            let Some(event) = event? else { break };
            if ahead.is_none() && events.task.is_finished() && !self.shared.context.stopping() {
                *ahead = self.start(reader)?;
            }
            let mut resume_point = None;
            match event {
                Event::Batch(batch) => {
                    let read = batch.records.num_rows() as u64;
                    rows += read;
                    resume_point = batch.position.clone().filter(|_| positions);
                    self.batch(batch, todo).await?;
                }
                Event::Dead(letter) => {
                    rows += 1;
                    if !todo.quiet {
                        self.writing.dead(letter, 0);
                    }
                }
                Event::SchemaChange(_) => {
                    return Err(Error::new("WEIR-RUN-040", Kind::Schema, "the schema changed while the stream was read")
                        .at(format!("stream `{}`, split {}", self.shared.flow, todo.split.id))
                        .hint("run again: the new schema is checked against the contract at the start"));
                }
                Event::Watermark(_) | Event::Idle => {}
            }
            let stopping = self.shared.context.stopping();
            if let Some(position) = resume_point {
                let due = self.last_flush.elapsed() >= self.shared.context.options.checkpoint_interval;
                if due || stopping {
                    self.pending.push(SplitProgress { split: todo.split.clone(), position: Some(position), done: false, rows });
                    if stopping {
                        return Ok(SplitEnd::StoppedClean);
                    }
                    self.flush().await?;
                }
            } else if stopping {
                // A split is small; it may end by itself. If not, its rows are read again by the next attempt.
                let asked = asked_to_stop.get_or_insert_with(Instant::now);
                if asked.elapsed() > PATIENCE {
                    return Ok(SplitEnd::StoppedDirty);
                }
            }
        }
        self.pending.push(SplitProgress { split: todo.split.clone(), position: None, done: true, rows });
        Ok(SplitEnd::Done)
    }

    async fn batch(&mut self, batch: Batch, todo: &Todo) -> Result<()> {
        let read = batch.records.num_rows() as u64;
        let gauges = &self.writing.shared.gauges;
        gauges.read.fetch_add(read, Ordering::Relaxed);
        gauges.bytes.fetch_add(batch.source_bytes, Ordering::Relaxed);
        let (records, delivered) = match &mut self.tracker {
            Some(tracker) => tracker.pass(batch.records)?,
            None => (batch.records, 0),
        };
        let (active, quiet) = (Some(todo.active.as_slice()), todo.quiet);
        let rows = Rows { records, read, delivered, source_bytes: batch.source_bytes, active, quiet };
        self.writing.rows(self.program.as_ref(), rows).await
    }

    /// Ends an epoch, if there is anything to end.
    async fn flush(&mut self) -> Result<()> {
        self.last_flush = Instant::now();
        if self.pending.is_empty() {
            return Ok(());
        }
        let cursor = self.tracker.as_mut().map(CursorTracker::take);
        self.writing.flush(std::mem::take(&mut self.pending), cursor).await
    }
}

/// A split that is being read.
struct Opened {
    todo: Todo,
    events: Prefetch,
}

/// Pulls a split's events into a byte-bounded queue, on a task of its own.
struct Prefetch {
    events: queue::Receiver<Result<Event>>,
    task: JoinHandle<()>,
}

impl Prefetch {
    fn start(reader: Arc<dyn StreamReader>, todo: &Todo, capacity: usize) -> Self {
        let (send, events) = queue::bounded(capacity);
        let (split, from) = (todo.split.clone(), todo.from.clone());
        let task = tokio::spawn(async move {
            let mut stream = match reader.read(&split, from).await {
                Ok(stream) => stream,
                Err(error) => {
                    send.send(Err(error), 1).await;
                    return;
                }
            };
            while let Some(event) = stream.next().await {
                let bytes = match &event {
                    Ok(Event::Batch(batch)) => batch.records.get_array_memory_size(),
                    Ok(Event::Dead(letter)) => letter.payload.len() + 256,
                    _ => 1,
                };
                let failed = event.is_err();
                if !send.send(event, bytes).await || failed {
                    return;
                }
            }
        });
        Self { events, task }
    }

    async fn next(&mut self) -> Result<Option<Event>> {
        match self.events.recv().await {
            Some(event) => event.map(Some),
            None => match (&mut self.task).await {
                Ok(()) => Ok(None),
                // A panic in a decoder must not look like the end of the split.
                Err(error) => Err(Error::internal("reading died").caused_by(error)),
            },
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
