//! One lane: its splits come through one queue, bounded in bytes; what comes is written, and made durable at the flow's pace.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weir_connect::{Batch, Event, SplitProgress};
use weir_error::{Error, Kind, Result};
use weir_plan::streaming::Pace;
use weir_plan::{Gate, RowProgram};

use super::inputs::{Inputs, Named};
use super::keyed::Keyed;
use super::keyed::prepare::{Preparation, Prepared};
use super::reading::{self, Signal, Way};
use crate::queue;
use crate::run::{PATIENCE, RunContext};
use crate::writing::{Rows, Writing};

/// What the lanes of a flow share over all turns.
pub(super) struct Common {
    pub(super) context: Arc<RunContext>,
    pub(super) flow: String,
    pub(super) gates: Arc<[Gate]>,
    pub(super) pace: Pace,
    pub(super) inputs: Inputs,
    /// What is done to batches beside the lane, by input; empty if nothing is.
    pub(super) preparations: Vec<Arc<Preparation>>,
    /// Splits that have not said that nothing more is there.
    pub(super) behind: AtomicUsize,
    /// Told when there are none.
    pub(super) caught_up: Notify,
    /// What became durable; `None` after the last.
    pub(super) durable: mpsc::UnboundedSender<Option<Vec<SplitProgress>>>,
}

/// What happens in one turn, over all lanes.
pub(super) struct Happening {
    /// The lanes are to end the turn.
    pub(super) over: CancellationToken,
    /// Told when the turn has its first row.
    pub(super) some: Notify,
    /// Told when it has enough.
    pub(super) enough: Notify,
    rows: AtomicU64,
    bytes: AtomicU64,
    limit: u64,
}

impl Happening {
    /// Of a turn that has so many rows already.
    pub(super) fn new(rows: u64, limit: u64) -> Self {
        let new = Self {
            over: CancellationToken::new(),
            some: Notify::new(),
            enough: Notify::new(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            limit,
        };
        new.took(rows, 0);
        new
    }

    fn took(&self, rows: u64, bytes: u64) {
        if rows > 0 && self.rows.fetch_add(rows, Ordering::Relaxed) == 0 {
            self.some.notify_one();
        }
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before < self.limit && before + bytes >= self.limit {
            self.enough.notify_one();
        }
    }
}

/// What a lane does with what comes.
pub(super) enum Work {
    /// Each batch for itself.
    Rows(Arc<dyn RowProgram>),
    /// All batches of the flow together: it has one lane.
    Keyed(Box<Keyed>),
}

/// A split of this lane.
struct Slot {
    input: usize,
    /// As the checkpoint knows it.
    at: SplitProgress,
    /// Something came since the last epoch.
    moved: bool,
    /// What came last is not at a position: nothing may become durable here.
    between: bool,
    caught_up: bool,
}

pub(super) struct StreamLane {
    index: usize,
    common: Arc<Common>,
    work: Work,
    inbox: mpsc::UnboundedReceiver<Named>,
    send: Arc<queue::Sender<(usize, Signal)>>,
    events: queue::Receiver<(usize, Signal)>,
    /// One per split; they end with the lane.
    tasks: JoinSet<()>,
    slots: Vec<Slot>,
    /// Slots that are between positions.
    between: usize,
    /// What came while those were waited for.
    held: VecDeque<(usize, Signal)>,
    /// Since when something is not durable.
    pending_since: Option<Instant>,
}

impl StreamLane {
    /// A lane without splits; they come through the sender.
    pub(super) fn new(index: usize, common: Arc<Common>, work: Work) -> (Self, mpsc::UnboundedSender<Named>) {
        let (send, events) = queue::bounded(common.context.budget.queue);
        let (give, inbox) = mpsc::unbounded_channel();
        let lane = Self {
            index,
            common,
            work,
            inbox,
            send: Arc::new(send),
            events,
            tasks: JoinSet::new(),
            slots: Vec::new(),
            between: 0,
            held: VecDeque::new(),
            pending_since: None,
        };
        (lane, give)
    }

    /// What keeps the flow's state, if this lane owns it.
    pub(super) fn keyed(&self) -> Option<&Keyed> {
        match &self.work {
            Work::Keyed(keyed) => Some(keyed),
            Work::Rows(_) => None,
        }
    }

    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Works until the turn is over, then makes everything durable.
    pub(super) async fn turn(mut self, mut writing: Writing, happening: Arc<Happening>) -> Result<Self> {
        let mut asked: Option<Instant> = None;
        // Operators that were given back know the time before the first row.
        self.whatever_is_due(&mut writing, &happening).await?;
        loop {
            let over = happening.over.is_cancelled();
            if over && self.between == 0 {
                self.flush(&mut writing).await?;
                return Ok(self);
            }
            let asked_at = over.then(|| *asked.get_or_insert_with(Instant::now));
            if let Some(asked) = asked_at
                && self.common.context.stopping()
                && asked.elapsed() > PATIENCE
            {
                // The source does not come to a position: these rows are read again by the next attempt.
                return Ok(self);
            }
            // With many splits there would hardly be a moment at which all of them are at a position: the others wait for it.
            let holding = self.between > 0 && (over || self.epoch_is_due(&writing));
            let next = match holding {
                true => self.held.iter().position(|(slot, _)| self.slots[*slot].between),
                false => (!self.held.is_empty()).then_some(0),
            };
            if let Some((slot, signal)) = next.and_then(|at| self.held.remove(at)) {
                self.signal(slot, signal, &mut writing, &happening).await?;
                self.whatever_is_due(&mut writing, &happening).await?;
                continue;
            }
            let stop = self.common.context.options.stop.clone();
            let given_up = asked_at.filter(|_| stop.is_cancelled()).map(|asked| asked + PATIENCE);
            let wake = [self.due_at(&writing), given_up].into_iter().flatten().min();
            tokio::select! {
                biased;
                () = happening.over.cancelled(), if !over => {}
                () = stop.cancelled(), if over && !stop.is_cancelled() => {}
                Some(split) = self.inbox.recv() => self.take(split)?,
                Some(joined) = self.tasks.join_next() => {
                    // A panic in a decoder must not look like a split that is quiet.
                    joined.map_err(|error| Error::internal("reading died").caused_by(error))?;
                }
                Some((slot, signal)) = self.events.recv() => match holding && !self.slots[slot].between {
                    true => self.held.push_back((slot, signal)),
                    false => self.signal(slot, signal, &mut writing, &happening).await?,
                },
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => {}
            }
            self.whatever_is_due(&mut writing, &happening).await?;
        }
    }

    /// When the next thing has to be done, if nothing comes.
    fn due_at(&self, writing: &Writing) -> Option<Instant> {
        let pace = &self.common.pace;
        let shown = writing.hidden_since().map(|since| since + pace.latency);
        let epoch = self.pending_since.zip(pace.checkpoint).filter(|_| self.between == 0).map(|(since, after)| since + after);
        let time = match &self.work {
            Work::Rows(_) => None,
            Work::Keyed(keyed) => keyed.due(),
        };
        [shown, epoch, time].into_iter().flatten().min()
    }

    fn epoch_is_due(&self, writing: &Writing) -> bool {
        let old = |after: Duration| self.pending_since.is_some_and(|since| since.elapsed() >= after);
        // Letters are kept in memory until the epoch ends; state that is too large goes to disk with it.
        writing.letter_bytes() > self.common.context.budget.queue
            || self.common.pace.checkpoint.is_some_and(old)
            || matches!(&self.work, Work::Keyed(keyed) if keyed.urgent())
    }

    async fn whatever_is_due(&mut self, writing: &mut Writing, happening: &Happening) -> Result<()> {
        // Splits that are still to be taken have their say in what time it is.
        if let Work::Keyed(keyed) = &mut self.work
            && self.inbox.is_empty()
            && let Some(rows) = keyed.pass_time(writing).await?
        {
            happening.took(rows, 0);
            self.pending_since.get_or_insert_with(Instant::now);
        }
        if self.between == 0 && self.epoch_is_due(writing) {
            return self.flush(writing).await;
        }
        if writing.hidden_since().is_some_and(|since| since.elapsed() >= self.common.pace.latency) {
            writing.hurry().await?;
        }
        Ok(())
    }

    /// Begins to read a split; it stays open over all turns of the attempt.
    fn take(&mut self, todo: Named) -> Result<()> {
        let slot = self.slots.len();
        let (input, reader) = (todo.input, self.common.inputs.reader(todo.input)?);
        if let Work::Keyed(keyed) = &mut self.work {
            keyed.take(input, &todo.name);
        }
        self.slots.push(Slot { input, at: todo.progress(), moved: false, between: false, caught_up: false });
        let preparation = self.common.preparations.get(input).cloned();
        self.tasks.spawn(reading::read(reader, todo, Way { slot, queue: self.send.clone(), preparation }));
        Ok(())
    }

    async fn signal(&mut self, slot: usize, signal: Signal, writing: &mut Writing, happening: &Happening) -> Result<()> {
        match signal {
            Signal::Event(Err(error)) => return Err(error),
            Signal::Event(Ok(Event::Batch(batch))) => self.batch(slot, batch, writing, happening).await?,
            Signal::Prepared(batch) => self.prepared(slot, batch, writing, happening).await?,
            Signal::Event(Ok(Event::Dead(letter))) => {
                happening.took(1, letter.payload.len() as u64);
                writing.dead(letter, self.slots[slot].input);
                if let Work::Keyed(keyed) = &mut self.work {
                    keyed.broken(slot);
                }
                self.slots[slot].at.rows += 1;
                self.came(slot, false);
            }
            Signal::Event(Ok(Event::Idle)) if self.slots[slot].between => {
                return Err(Error::internal("a source waits without a position behind what it gave").at(self.place(slot)));
            }
            Signal::Event(Ok(Event::Idle)) => {
                if let Work::Keyed(keyed) = &mut self.work {
                    keyed.waits(slot);
                }
                self.nothing_more(slot);
            }
            Signal::Event(Ok(Event::SchemaChange(_))) => {
                return Err(Error::new("WEIR-STREAM-003", Kind::Schema, "the schema of the stream changed while it was read")
                    .at(self.place(slot))
                    .hint(
                        "run again: the new schema is checked against the contract at the start, and reading goes on from here",
                    ));
            }
            Signal::Event(Ok(Event::Watermark(time))) => {
                if let Work::Keyed(keyed) = &mut self.work {
                    keyed.told(slot, time);
                }
            }
            Signal::End => {
                self.slots[slot].at.done = true;
                if let Work::Keyed(keyed) = &mut self.work {
                    keyed.closed(slot);
                }
                self.came(slot, true);
                self.nothing_more(slot);
            }
        }
        Ok(())
    }

    async fn batch(&mut self, slot: usize, batch: Batch, writing: &mut Writing, happening: &Happening) -> Result<()> {
        let read = batch.records.num_rows() as u64;
        let bytes = match batch.source_bytes {
            0 if read > 0 => batch.records.get_array_memory_size() as u64,
            bytes => bytes,
        };
        self.read(slot, (read, bytes), batch.position, writing, happening);
        let Work::Rows(program) = &self.work else { return Err(Error::internal("a batch was not prepared")) };
        if read == 0 {
            return Ok(());
        }
        let rows = Rows { records: batch.records, read, delivered: 0, source_bytes: bytes, active: None, quiet: false };
        writing.rows(program.as_ref(), rows).await
    }

    async fn prepared(&mut self, slot: usize, mut batch: Prepared, writing: &mut Writing, happening: &Happening) -> Result<()> {
        self.read(slot, (batch.read, batch.source_bytes), batch.position.take(), writing, happening);
        let input = self.slots[slot].input;
        let Work::Keyed(keyed) = &mut self.work else { return Err(Error::internal("a batch was prepared for nobody")) };
        let rows = keyed.rows(slot, input, batch, writing).await?;
        happening.took(rows, 0);
        Ok(())
    }

    /// So many rows and bytes came, up to a position perhaps.
    fn read(
        &mut self,
        slot: usize,
        (rows, bytes): (u64, u64),
        position: Option<Value>,
        writing: &Writing,
        happening: &Happening,
    ) {
        let gauges = &writing.shared.gauges;
        gauges.read.fetch_add(rows, Ordering::Relaxed);
        gauges.bytes.fetch_add(bytes, Ordering::Relaxed);
        happening.took(rows, bytes);
        let here = &mut self.slots[slot].at;
        here.rows += rows;
        let at_position = position.is_some();
        if at_position {
            here.position = position;
        }
        self.came(slot, at_position);
    }

    fn came(&mut self, slot: usize, at_position: bool) {
        let here = &mut self.slots[slot];
        here.moved = true;
        match (here.between, at_position) {
            (false, false) => self.between += 1,
            (true, true) => self.between -= 1,
            _ => {}
        }
        here.between = !at_position;
        self.pending_since.get_or_insert_with(Instant::now);
    }

    /// Everything that was in the split has come.
    fn nothing_more(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.slots[slot].caught_up, true) && self.common.behind.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.common.caught_up.notify_one();
        }
    }

    async fn flush(&mut self, writing: &mut Writing) -> Result<()> {
        let begun = Instant::now();
        self.pending_since = None;
        let told = |slot: &mut Slot| std::mem::take(&mut slot.moved).then(|| slot.at.clone());
        let progress: Vec<SplitProgress> = self.slots.iter_mut().filter_map(told).collect();
        match &mut self.work {
            Work::Rows(_) if progress.is_empty() => return Ok(()),
            Work::Rows(_) => writing.flush(progress.clone(), None).await?,
            Work::Keyed(keyed) if progress.is_empty() && !keyed.dirty() => return Ok(()),
            Work::Keyed(keyed) => keyed.end_epoch(progress.clone(), writing).await?,
        }
        if let Some(after) = self.common.pace.checkpoint.filter(|_| !self.held.is_empty() || !self.events.is_empty()) {
            // What came meanwhile has waited since then. A sink that takes longer than the interval leaves half of it for reading.
            self.pending_since = Some(begun.max(Instant::now().checked_sub(after / 2).unwrap_or(begun)));
        }
        // Nobody listens any more when the attempt is over.
        let _ = self.common.durable.send(Some(progress));
        Ok(())
    }

    fn place(&self, slot: usize) -> String {
        format!("stream `{}`, split {}", self.common.flow, self.slots[slot].at.split.id)
    }
}
