//! From the journal into one sink node.
//!
//! Writers flush at boundaries of the journal: at once when nothing more is waiting, else when enough has come together. A flush is the sink's own
//! transaction of rows and the boundary's number, so each stream knows how far it is. The checkpoint follows, now and then: it knows up to where *all*
//! streams of the node are durable, also those that had no changes, and it keeps the dead letters and the counts. After a crash reading begins
//! at the checkpoint; a stream passes over what it has.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_connect::{Barrier, ChangeBatch, ChangeWriter, CommitReport, Split, SplitProgress, StreamSink, StreamTarget, failpoint};
use weir_error::{Error, Result};
use weir_plan::Flow;

use super::Shared;
use super::codec::{Mark, Record};
use crate::run::RunContext;
use crate::store::{Counts, Epoch, EpochBody, FlowPlace, Keep, SetAside};

/// Flushes come at least after so many bytes of changes.
const FLUSH_BYTES: usize = 32 << 20;
/// And after so long, while changes keep coming.
const FLUSH_EVERY: Duration = Duration::from_millis(500);

/// Under this name the checkpoints of a sink node of a log are kept.
pub(super) fn name(log: &str, sink: &str) -> String {
    format!("{log} → {sink}")
}

/// One sink node.
pub(super) struct Applier {
    context: Arc<RunContext>,
    name: String,
    targets: Vec<Target>,
    /// Stream → index of its targets (a stream may be written twice by one node only under two names).
    routes: HashMap<Arc<str>, Vec<usize>>,
    /// Where reading begins.
    start: u64,
    /// Sums per flow of the log; zero where the flow does not come here.
    counts: Vec<Counts>,
    dead: Vec<SetAside>,
    sink: String,
}

/// One stream's way.
struct Target {
    /// The flow in the log, and the output in the flow.
    flow: usize,
    output: usize,
    sink: Box<dyn StreamSink>,
    writer: Option<Box<dyn ChangeWriter>>,
    /// The boundary that is durable here.
    seq: u64,
    /// Changes since the run began.
    rows: u64,
    dirty: bool,
}

impl Applier {
    /// Opens the sink's streams and finds out how far each is. `left` is the boundary that the last committed run ended with.
    pub(super) async fn open(context: &Arc<RunContext>, log: &str, sink: &str, flows: &[&Flow], left: u64) -> Result<Self> {
        let name = name(log, sink);
        let place = FlowPlace { pipeline: &context.dead_letters_of, run_id: &context.identity.run_id, flow: &name };
        let checkpoint = context.store.epochs(&place).await?.pop();
        context.epoch.fetch_max(checkpoint.as_ref().map_or(0, |epoch| epoch.number), Ordering::Relaxed);
        let body = checkpoint.map(|epoch| epoch.body).unwrap_or_default();
        let start = body.progress.first().and_then(|part| seq_of(part.position.as_ref())).unwrap_or(left);
        let mut counts = body.streams;
        counts.resize(flows.len(), Counts::default());
        let mut targets = Vec::new();
        let mut routes: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        for (at, flow) in flows.iter().enumerate() {
            for (index, output) in flow.outputs.iter().enumerate().filter(|(_, output)| output.node == sink) {
                let target = StreamTarget {
                    run: context.identity.clone(),
                    stream: output.stream.clone(),
                    schema: output.schema.clone(),
                    key: output.key.clone(),
                    cursor: None,
                    write_mode: output.write_mode,
                    on_schema_change: output.on_schema_change,
                    changes: true,
                };
                let opened = output.sink.prepare(target).await?;
                let recovery = opened.recover().await?;
                let known = recovery.progress.iter().flatten().find(|part| part.split.id == SPLIT);
                let seq = known.and_then(|part| seq_of(part.position.as_ref())).unwrap_or(0).max(start);
                let writer = match recovery.committed {
                    Some(_) => None,
                    None => Some(opened.change_writer(output.deletes).await?),
                };
                routes.entry(flow.inputs[0].stream.name.as_str().into()).or_default().push(targets.len());
                targets.push(Target { flow: at, output: index, sink: opened, writer, seq, rows: counts[at].read, dirty: false });
            }
        }
        Ok(Self { context: context.clone(), name, targets, routes, start, counts, dead: Vec::new(), sink: sink.to_owned() })
    }

    /// The boundary after which this node needs the journal.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The last boundary that any stream of the node has.
    pub(super) fn reached(&self) -> u64 {
        self.targets.iter().map(|target| target.seq).max().unwrap_or(0).max(self.start)
    }

    /// Reads and applies to the end of the journal, or until the run stops.
    pub(super) async fn run(&mut self, shared: &Shared, side: usize) -> Result<()> {
        let context = self.context.clone();
        let mut reader = shared.journal.read_after(self.start)?;
        let mut seq = self.start;
        let (mut flushed, mut saved, mut bytes) = (Instant::now(), Instant::now(), 0);
        loop {
            let next = tokio::select! {
                biased;
                next = reader.next() => next?,
                // Nothing is open: what was applied is flushed whenever nothing more is waiting.
                () = context.options.stop.cancelled(), if bytes == 0 => None,
            };
            let Some((record, last)) = next else { break };
            // What comes now belongs to the boundary that follows.
            let upcoming = seq + 1;
            match record {
                Record::Changes(batch) => {
                    bytes += batch.rows.get_array_memory_size().max(1);
                    self.changes(batch, upcoming, shared).await?;
                }
                Record::Truncate(stream, _) => {
                    bytes += 1;
                    for target in self.due(&stream, upcoming) {
                        target.dirty = true;
                        target.writer()?.truncate().await?;
                    }
                }
                Record::Schema(change) => {
                    bytes += 1;
                    for target in self.due(&change.stream, upcoming) {
                        target.dirty = true;
                        target.writer()?.reshape(&change).await?;
                    }
                }
                Record::Dead(letter) => {
                    bytes += 1;
                    let Some(&flow) = self.routes.get(letter.stream.as_str()).and_then(|targets| targets.first()) else {
                        continue;
                    };
                    let flow = self.targets[flow].flow;
                    self.counts[flow].read += 1;
                    self.counts[flow].dead += 1;
                    shared.gauges[flow].dead.fetch_add(1, Ordering::Relaxed);
                    // One node files it, or it would be there once per sink.
                    if side == 0 {
                        self.dead.push(SetAside { sink: None, letter });
                    }
                }
                Record::Boundary(mark) => {
                    seq = mark.seq;
                    let stopping = context.stopping();
                    if last || stopping || bytes >= FLUSH_BYTES || flushed.elapsed() >= FLUSH_EVERY {
                        self.flush(&mark, shared).await?;
                        (flushed, bytes) = (Instant::now(), 0);
                        let due = saved.elapsed() >= context.options.checkpoint_interval;
                        if due || stopping || !self.dead.is_empty() {
                            self.checkpoint(&mark, shared, side).await?;
                            saved = Instant::now();
                        }
                    }
                    if stopping {
                        return Ok(());
                    }
                }
            }
        }
        let mark = shared.journal.tail().mark;
        if seq == mark.seq {
            self.flush(&mark, shared).await?;
            self.checkpoint(&mark, shared, side).await?;
        }
        Ok(())
    }

    /// The targets of a stream that lack what belongs to this boundary.
    fn due(&mut self, stream: &str, upcoming: u64) -> impl Iterator<Item = &mut Target> {
        let wanted = self.routes.get(stream).cloned().unwrap_or_default();
        self.targets
            .iter_mut()
            .enumerate()
            .filter(move |(at, target)| wanted.contains(at) && target.seq < upcoming)
            .map(|(_, target)| target)
    }

    async fn changes(&mut self, batch: ChangeBatch, upcoming: u64, shared: &Shared) -> Result<()> {
        let Some(wanted) = self.routes.get(&batch.stream) else { return Ok(()) };
        let rows = batch.ops.len() as u64;
        let flow = self.targets[wanted[0]].flow;
        self.counts[flow].read += rows;
        self.counts[flow].bytes_read += batch.source_bytes;
        let gauge = &shared.gauges[flow];
        gauge.read.fetch_max(self.counts[flow].read, Ordering::Relaxed);
        gauge.bytes.fetch_max(self.counts[flow].bytes_read, Ordering::Relaxed);
        for at in wanted.clone() {
            let target = &mut self.targets[at];
            target.rows += rows;
            if target.seq < upcoming {
                target.dirty = true;
                target.writer()?.apply(batch.clone()).await?;
            }
        }
        Ok(())
    }

    /// Makes what was applied durable, in all streams at once.
    async fn flush(&mut self, mark: &Mark, shared: &Shared) -> Result<()> {
        let dirty: Vec<&mut Target> = self.targets.iter_mut().filter(|target| target.dirty).collect();
        if dirty.is_empty() {
            return Ok(());
        }
        failpoint!("cdc.flush.before");
        let number = self.context.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let flushes = dirty.into_iter().map(|target| async move {
            let barrier = Barrier { epoch: number, lane: 0, progress: vec![progress(mark, target.rows)] };
            target.writer()?.flush(&barrier).await?;
            target.seq = mark.seq;
            target.dirty = false;
            Ok::<_, Error>(())
        });
        futures::future::try_join_all(flushes).await?;
        failpoint!("cdc.flush.after");
        for target in &self.targets {
            shared.gauges[target.flow].applied.fetch_max(target.rows, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Remembers that all streams are durable up to here.
    async fn checkpoint(&mut self, mark: &Mark, shared: &Shared, side: usize) -> Result<()> {
        let mut streams = self.counts.clone();
        streams.iter_mut().for_each(|counts| counts.written.clear());
        for target in &self.targets {
            let written = &mut streams[target.flow].written;
            // The outputs of a flow that come to this node, in their order.
            written.push(target.rows);
        }
        let body = EpochBody { progress: vec![progress(mark, 0)], streams, ..EpochBody::default() };
        let number = self.context.epoch.fetch_add(1, Ordering::Relaxed) + 1;
        let place =
            FlowPlace { pipeline: &self.context.dead_letters_of, run_id: &self.context.identity.run_id, flow: &self.name };
        failpoint!("cdc.checkpoint.before");
        let dead = std::mem::take(&mut self.dead);
        self.context.store.write_epoch(&place, &Epoch { number, prepared: false, body }, &dead, Keep::Newest).await?;
        failpoint!("cdc.checkpoint.after");
        shared.done(side, mark.seq)?;
        let rows = self.targets.iter().map(|target| target.rows).sum();
        self.context.tell(crate::events::RunEvent::Checkpoint {
            epoch: number,
            stream: self.sink.clone(),
            rows,
            at_ms: u64::try_from(self.context.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        Ok(())
    }

    /// Ends the run in every stream of the node: the place of each in the flows, and its report.
    pub(super) async fn commit(&self) -> Result<Vec<((usize, usize), CommitReport)>> {
        let mut reports = Vec::new();
        for target in &self.targets {
            reports.push(((target.flow, target.output), target.sink.commit(&[]).await?));
        }
        Ok(reports)
    }
}

impl Target {
    fn writer(&mut self) -> Result<&mut Box<dyn ChangeWriter>> {
        self.writer.as_mut().ok_or_else(|| Error::internal("changes came for a run that is committed"))
    }
}

const SPLIT: &str = "journal";

fn progress(mark: &Mark, rows: u64) -> SplitProgress {
    let split = Split { id: SPLIT.into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    SplitProgress { split, position: Some(json!({"seq": mark.seq})), done: false, rows }
}

fn seq_of(position: Option<&Value>) -> Option<u64> {
    position?["seq"].as_u64()
}
