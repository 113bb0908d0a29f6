//! What a run said, on its way into the store: in batches, bounded, on a task of its own so that a slow database never delays the watch over
//! the process.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use weir_error::Kind;
use weir_store::System;
use weir_store::model::{Lease, NewLogLine, StreamCounts};

use super::said::{Said, log};

/// Log lines of one attempt; what comes after is counted and dropped.
const MOST_LINES: usize = 10_000;
/// Bytes of the log of one attempt.
const MOST_BYTES: usize = 8 << 20;
/// Streams whose counts are kept; the engine's report has them all.
const MOST_STREAMS: usize = 10_000;
/// Nodes and edges that are kept, over all streams; the engine's report has them all.
const MOST_PARTS: usize = 20_000;
/// Lines that wait for a slow database.
const MOST_WAITING: usize = 2_000;

/// Collects what is to be told, and tells it when asked.
pub struct Record {
    streams: BTreeMap<String, StreamCounts>,
    /// Their nodes and edges.
    parts: usize,
    changed: bool,
    waiting: Vec<NewLogLine>,
    lines: usize,
    bytes: usize,
    dropped: u64,
    out: mpsc::Sender<Batch>,
    task: JoinHandle<()>,
}

struct Batch {
    streams: Vec<StreamCounts>,
    lines: Vec<NewLogLine>,
}

impl Record {
    /// For the run of a lease. `begun` are the counts of former attempts.
    pub fn begin(system: System, lease: Lease, begun: Vec<StreamCounts>) -> Self {
        // One batch on its way, none behind it: while the database is slow, counts are merged here.
        let (out, inbox) = mpsc::channel(1);
        Self {
            parts: begun.iter().map(|stream| stream.nodes.len() + stream.edges.len()).sum(),
            streams: begun.into_iter().map(|stream| (stream.name.clone(), stream)).collect(),
            changed: false,
            waiting: Vec::new(),
            lines: 0,
            bytes: 0,
            dropped: 0,
            out,
            task: tokio::spawn(write(system, lease, inbox)),
        }
    }

    /// Takes note; gives back what is not for the store.
    pub fn take(&mut self, said: Said) -> Option<Said> {
        match said {
            Said::Counts(counts) => {
                if self.streams.len() < MOST_STREAMS || self.streams.contains_key(&counts.name) {
                    let mut counts = counts;
                    let known = self.streams.entry(counts.name.clone()).or_default();
                    let parts = |counts: &StreamCounts| counts.nodes.len() + counts.edges.len();
                    let others = self.parts - parts(known);
                    if others + parts(&counts) > MOST_PARTS {
                        counts.nodes.clear();
                        counts.edges.clear();
                    }
                    self.parts = others + parts(&counts);
                    // What only the end knows stays as it was.
                    *known = StreamCounts { rows_filtered: known.rows_filtered, bytes_written: known.bytes_written, ..counts };
                    self.changed = true;
                }
            }
            Said::Finished(name, rows, bytes, line) => {
                if let Some(known) = self.streams.get_mut(&name) {
                    known.rows_written = rows;
                    known.bytes_written = bytes;
                    self.changed = true;
                }
                self.line(line);
            }
            Said::Log(line) => self.line(line),
            other => return Some(other),
        }
        None
    }

    /// A line of the log.
    pub fn line(&mut self, line: NewLogLine) {
        let size = line.message.len() + line.event.as_ref().map_or(0, |event| event.to_string().len());
        if self.lines >= MOST_LINES || self.bytes + size > MOST_BYTES || self.waiting.len() >= MOST_WAITING {
            self.dropped += 1;
            return;
        }
        self.lines += 1;
        self.bytes += size;
        self.waiting.push(line);
    }

    /// Counts of every stream so far.
    pub fn streams(&self) -> Vec<StreamCounts> {
        self.streams.values().cloned().collect()
    }

    /// Sends what there is, unless the last batch is still on its way.
    pub fn flush(&mut self) {
        if (self.changed || !self.waiting.is_empty())
            && let Ok(place) = self.out.try_reserve()
        {
            place.send(Batch { streams: self.streams.values().cloned().collect(), lines: std::mem::take(&mut self.waiting) });
            self.changed = false;
        }
    }

    /// Sends the rest and waits until it is stored (or refused).
    pub async fn end(mut self) -> Vec<StreamCounts> {
        if self.dropped > 0 {
            let message = format!("{} more log lines were dropped: an attempt keeps {MOST_LINES} lines", self.dropped);
            self.waiting.push(log("warning", message, None));
        }
        let streams = self.streams();
        if self.changed || !self.waiting.is_empty() {
            let batch = Batch { streams: streams.clone(), lines: std::mem::take(&mut self.waiting) };
            // Fails when the lease is lost: nobody wants it then.
            let _ = self.out.send(batch).await;
        }
        drop(self.out);
        let _ = self.task.await;
        streams
    }
}

/// Writes batches until the lease is lost. A database that is away for a moment is waited for: the keeper says when to give up, by ending
/// the whole attempt.
async fn write(system: System, lease: Lease, mut inbox: mpsc::Receiver<Batch>) {
    while let Some(batch) = inbox.recv().await {
        let mut tries = 0;
        while let Err(error) = system.progress(&lease, batch.streams.clone(), batch.lines.clone()).await {
            if matches!(error.kind(), Kind::Conflict | Kind::NotFound) {
                return;
            }
            tries += 1;
            tracing::warn!(run = %lease.run_id, "progress could not be stored (try {tries}): {error}");
            if tries == 10 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
}
