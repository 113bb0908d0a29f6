//! The open log: one task that reads the stream, hands events out, tells the server what is durable, and lets the snapshot's chunks in between
//! transactions (`snapshot`).
//!
//! The server hears of a position only from [`ChangeLog::acknowledge`]. It is told every few seconds, when it asks, and soon after it moved.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use weir_connect::source::Position as Opaque;
use weir_connect::{Boundary, ChangeEvent, ChangeLog, ChangeStream, Error, Kind, OnLoss, Result};

use super::super::client::{Arrived, Client};
use super::super::config::Address;
use super::super::quote::{TableName, ident, literal};
use super::core::{Core, Step};
use super::decode::{LogRelation, Lsn, lsn_text};
use super::key::Snapshot;
use super::messages;
use super::options::{CdcOptions, Names};
use super::position::{ChunkProgress, Position, TableProgress, lsn_of};
use super::slot;
use super::snapshot::Plans;
use super::streamed::Replay;
use super::table;
use crate::changes::position::Stored;

/// Nothing came for so long: give out what is there, whatever `linger` says.
const GRACE: Duration = Duration::from_millis(2);
/// The server sends each row by itself. Woken more often than this, we look only every `REST`, with the socket aside: to be woken costs both sides
/// as much as some rows. What is late anyway is always read so.
const BUSY: Duration = Duration::from_micros(300);
const REST: Duration = Duration::from_millis(1);
/// The server hears from us at least this often.
const STATUS: Duration = Duration::from_secs(5);
/// A position that moved is told after this time.
const STATUS_SOON: Duration = Duration::from_millis(200);
/// While only the position moves, a boundary comes this often.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// … or after this much log.
const HEARTBEAT_BYTES: u64 = 64 << 20;
/// While changes keep coming, the snapshot gets its turn after this time.
pub(super) const TURN: Duration = Duration::from_millis(100);
/// Events on their way to whoever reads them.
const AHEAD: usize = 4;

/// What the task and its owner share.
#[derive(Debug, Default)]
pub struct Shared {
    acknowledged: AtomicU64,
    closed: AtomicBool,
    changed: Notify,
}

/// An open log.
pub struct PostgresLog {
    shared: Arc<Shared>,
    worker: Mutex<Option<(Worker, mpsc::Receiver<Result<ChangeEvent>>)>>,
}

impl PostgresLog {
    /// Around a worker that is ready to start.
    pub fn new(make: impl FnOnce(Arc<Shared>, mpsc::Sender<Result<ChangeEvent>>) -> Worker) -> Self {
        let shared = Arc::new(Shared::default());
        let (sender, receiver) = mpsc::channel(AHEAD);
        let worker = make(shared.clone(), sender);
        shared.acknowledged.store(worker.position.lsn, Ordering::Release);
        Self { shared, worker: Mutex::new(Some((worker, receiver))) }
    }

    /// Begins to stream, so that what the server refuses is known now.
    pub async fn begin(&self) -> Result<()> {
        let poisoned = || Error::internal("a lock was poisoned");
        let taken = self.worker.lock().map_err(|_| poisoned())?.take();
        let Some((mut worker, receiver)) = taken else { return Ok(()) };
        worker.start().await?;
        *self.worker.lock().map_err(|_| poisoned())? = Some((worker, receiver));
        Ok(())
    }
}

impl Drop for PostgresLog {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.changed.notify_one();
    }
}

#[async_trait]
impl ChangeLog for PostgresLog {
    async fn read(&self) -> Result<ChangeStream> {
        let taken = self.worker.lock().map_err(|_| Error::internal("a lock was poisoned"))?.take();
        let (worker, receiver) = taken.ok_or_else(|| Error::internal("a change log can be read once"))?;
        tokio::spawn(worker.drive());
        Ok(Box::pin(futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|event| (event, receiver))
        })))
    }

    async fn acknowledge(&self, position: &Opaque) -> Result<()> {
        let lsn = lsn_of(position).ok_or_else(|| Error::internal("a position of another source was acknowledged"))?;
        if self.shared.acknowledged.fetch_max(lsn, Ordering::AcqRel) < lsn {
            self.shared.changed.notify_one();
        }
        Ok(())
    }
}

/// The reading task.
pub struct Worker {
    pub(super) address: Address,
    pub(super) options: CdcOptions,
    pub(super) names: Names,
    pub(super) on_loss: OnLoss,
    /// The replication session.
    pub(super) wire: Client,
    /// For questions.
    pub(super) control: Client,
    pub(super) core: Core,
    pub(super) plans: Plans,
    pub(super) position: Position,
    pub(super) shared: Arc<Shared>,
    pub(super) events: mpsc::Sender<Result<ChangeEvent>>,
    pub(super) batch_bytes: usize,
    pub(super) before_images: bool,
    pub(super) parallelism: usize,
    /// Tables whose rows are in partitions.
    pub(super) partitioned: std::collections::HashSet<u32>,
    /// End when everything before this was given out and no snapshot is open.
    pub(super) target: Option<Lsn>,
    pub(super) binary: bool,
    /// What the server was told last, and when.
    pub(super) told: Lsn,
    pub(super) told_at: Instant,
    /// The last boundary: where, when, and whether it said that nothing was waiting.
    pub(super) bounded: Lsn,
    pub(super) bounded_at: Instant,
    pub(super) said_caught_up: bool,
    /// When the server was asked to say where it is.
    pub(super) nudged_at: Option<Instant>,
    pub(super) turn_at: Instant,
    /// When we last waited for the network.
    pub(super) waited_at: Instant,
}

/// The reader is gone.
fn stopped() -> Error {
    Error::cancelled()
}

impl Worker {
    async fn drive(mut self) {
        let ended = self.run().await;
        if let Err(error) = ended
            && error.kind() != Kind::Cancelled
        {
            let _ = self.events.send(Err(error)).await;
        }
        self.wind_down().await;
    }

    /// Tells the server what becomes durable after the last event, until the log is closed.
    async fn wind_down(self) {
        let Self { mut wire, shared, events, mut told, .. } = self;
        drop(events);
        loop {
            let closed = shared.closed.load(Ordering::Acquire);
            let durable = shared.acknowledged.load(Ordering::Acquire);
            if durable > told || !closed {
                if wire.send_status(durable, durable, false).await.is_err() {
                    return;
                }
                told = durable;
            }
            if closed {
                wire.hang_up().await;
                return;
            }
            let _ = tokio::time::timeout(STATUS, shared.changed.notified()).await;
        }
    }

    /// Begins to stream after the last commit that was processed.
    pub(super) async fn start(&mut self) -> Result<()> {
        let version = self.wire.version;
        let mut options = format!("proto_version '{}', publication_names {}", if version >= 140_000 { 2 } else { 1 }, {
            literal(&ident(&self.names.publication))
        });
        if version >= 140_000 {
            // A streamed message carries the number of its whole transaction: whether a savepoint took it back could not be told.
            options.push_str(if self.options.messages.is_empty() { ", streaming 'on'" } else { ", messages 'true'" });
            if self.binary {
                options.push_str(", binary 'true'");
            }
        } else {
            self.binary = false;
        }
        let command =
            format!("START_REPLICATION SLOT {} LOGICAL {} ({options})", ident(&self.names.slot), lsn_text(self.core.processed));
        self.wire.start_replication(&command).await
    }

    async fn run(&mut self) -> Result<()> {
        // A sign of life, so that the server does not wait for one.
        self.status(true, false).await?;
        loop {
            let step = loop {
                match self.wire.next_message()? {
                    Arrived::Nothing => break None,
                    Arrived::Message(range) => match self.core.take(&self.wire.received()[range])? {
                        Step::Go => {}
                        step => break Some(step),
                    },
                }
            };
            match step {
                Some(step) => self.step(step).await?,
                None => {
                    if self.finished() {
                        self.boundary(true).await?;
                        return Ok(());
                    }
                    self.wait().await?;
                }
            }
            if self.core.between_transactions() && self.plans.open(&self.core) && self.turn_at.elapsed() >= TURN {
                self.chunks().await?;
            }
        }
    }

    fn finished(&self) -> bool {
        self.core.between_transactions()
            && self.target.is_some_and(|target| self.core.processed >= target)
            && self.core.tables.iter().all(|table| table.snapshot.is_none())
    }

    pub(super) async fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Go => Ok(()),
            Step::Emit => self.emit_all().await,
            Step::Boundary => self.boundary(false).await,
            Step::Keepalive { end, reply } => self.keepalive(end, reply).await,
            Step::Relation(relation) => self.relation(&relation).await.map(drop),
            Step::LookUp { relation, message } => self.look_up(relation, &message).await,
            Step::Replay { xid, end } => {
                let replay = self.core.kept(xid)?;
                self.replay(replay, end).await
            }
        }
    }

    async fn replay(&mut self, mut replay: Replay, end: Lsn) -> Result<()> {
        let mut message = Vec::new();
        while replay.next(&mut message)? {
            match self.core.message(&message, None)? {
                Step::Go => {}
                Step::Emit => self.emit_all().await?,
                Step::Relation(relation) => {
                    if !self.relation(&relation).await? {
                        return Ok(());
                    }
                }
                Step::LookUp { relation, message } => self.look_up(relation, &message).await?,
                other => return Err(Error::internal(format!("{other:?} inside a streamed transaction"))),
            }
        }
        match self.core.commit(end)? {
            Step::Boundary => self.boundary(false).await,
            _ => Ok(()),
        }
    }

    /// Takes over another shape. `false`: the stream had to begin again, and what was being read will come again.
    async fn relation(&mut self, relation: &LogRelation) -> Result<bool> {
        let Some(before) = self.core.shape(relation.oid).cloned() else { return Ok(true) };
        self.is_in_place(relation).await?;
        let left = self.core.tables.iter().find(|table| table.oid == relation.oid).and_then(|table| table.left.clone());
        let shape = table::from_log(&mut self.control, relation, &before, left.as_deref(), &self.on_loss).await?;
        if shape.needs_text && self.binary {
            self.in_text().await?;
            return Ok(false);
        }
        if self.core.dirty && self.core.untouched() {
            // What comes may be refused; what was before it is whole.
            self.boundary(false).await?;
        }
        self.core.reshape(relation.oid, Arc::new(shape), true)?;
        self.emit_all().await?;
        Ok(true)
    }

    /// Refuses a table that was renamed or moved since the log was opened. (It may also have had another name before.)
    async fn is_in_place(&mut self, relation: &LogRelation) -> Result<()> {
        let Some(table) = self.core.tables.iter().find(|table| table.oid == relation.oid) else { return Ok(()) };
        if relation.display() == *table.stream {
            return Ok(());
        }
        let sql =
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid";
        let found = self.control.query(sql, &[Some(&relation.oid.to_string())]).await?;
        let now =
            found.first().map(|row| TableName { schema: row.text(0).to_string(), table: row.text(1).to_string() }.display());
        if now.as_deref() == Some(&*table.stream) {
            return Ok(());
        }
        Err(slot::table_renamed(&table.stream, &relation.display(), self.control.place()))
    }

    /// Begins the stream again in text form: a column has come whose binary form only the server understands.
    pub(super) async fn in_text(&mut self) -> Result<()> {
        self.core.reconnected();
        self.binary = false;
        let fresh = Client::connect_replication(&self.address).await?;
        std::mem::replace(&mut self.wire, fresh).hang_up().await;
        let since = Instant::now();
        loop {
            match self.start().await {
                // The server has not noticed yet that the old session is gone.
                Err(error)
                    if super::super::errors::sqlstate(&error) == Some("55006") && since.elapsed() < Duration::from_secs(20) =>
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }

    /// Asks for the values that an update of the key did not bring. They may be newer than the update; then a later change brings them again. If
    /// the row is gone by now, a later change says so, and the values stay absent: nobody knows them any more, and they were not NULL.
    async fn look_up(&mut self, relation: u32, message: &[u8]) -> Result<()> {
        let values = match self.core.missing(relation, message)? {
            Some(missing) => {
                self.until_visible().await?;
                let rows = self
                    .control
                    .query(&missing.sql, &missing.key.iter().map(|text| Some(text.as_str())).collect::<Vec<_>>())
                    .await?;
                let values = rows.first().map(|row| (0..missing.columns.len()).map(|at| row.opt(at).map(str::to_string)));
                missing.columns.iter().copied().zip(values.into_iter().flatten()).collect()
            }
            None => Vec::new(),
        };
        match self.core.message(message, Some(&values))? {
            Step::Emit => self.emit_all().await,
            _ => Ok(()),
        }
    }

    /// The log may tell of a transaction before other sessions see it: a row that is not there then is not gone, it has yet to come.
    async fn until_visible(&mut self) -> Result<()> {
        let Some(xid) = self.core.current_xid() else { return Ok(()) };
        loop {
            let rows = self.control.query("SELECT txid_current_snapshot()::text", &[]).await?;
            let row = rows.first().ok_or_else(|| Error::internal("no snapshot"))?;
            if Snapshot::try_from(row.text(0).to_string()).map_err(Error::internal)?.sees(xid) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn keepalive(&mut self, end: Lsn, reply: bool) -> Result<()> {
        if self.core.between_transactions() {
            self.core.reached(end);
            let moved = self.core.processed.saturating_sub(self.bounded);
            let due = self.bounded_at.elapsed() >= HEARTBEAT || moved >= HEARTBEAT_BYTES || reply;
            if self.core.dirty || !self.said_caught_up || (moved > 0 && due) {
                self.boundary(true).await?;
            }
        }
        if reply { self.status(true, false).await } else { Ok(()) }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) -> Result<()> {
        let pending = self.core.dirty && self.core.between_transactions();
        if self.core.late || self.waited_at.elapsed() < BUSY {
            tokio::time::sleep(REST).await;
        }
        self.waited_at = Instant::now();
        if self.wire.look()? {
            return Ok(());
        }
        if self.core.between_transactions() && self.plans.open(&self.core) {
            return self.chunks().await;
        }
        let now = Instant::now();
        let mut until = self.told_at + STATUS;
        if self.shared.acknowledged.load(Ordering::Acquire) > self.told {
            until = until.min(self.told_at + STATUS_SOON);
        }
        if pending {
            until = until.min(self.core.deadline().map_or(now, |deadline| (now + GRACE).min(deadline.into())));
        }
        if let Some(again) = self.plans.again_at(&self.core) {
            until = until.min(again);
        }
        if self.waiting_for_end() {
            until = until.min(now + Duration::from_millis(50));
        }
        tokio::select! {
            read = self.wire.more() => return read,
            () = tokio::time::sleep_until(until) => {}
            () = self.shared.changed.notified() => {}
            () = self.events.closed() => return Err(stopped()),
        }
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(stopped());
        }
        let now = Instant::now();
        if pending && now >= until {
            self.boundary(true).await?;
        }
        if self.waiting_for_end() && self.nudged_at.is_none_or(|at| at.elapsed() >= Duration::from_secs(2)) {
            self.nudge().await?;
            return self.status(true, true).await;
        }
        let beat = now >= self.told_at + STATUS;
        self.status(beat, beat).await
    }

    /// The end of the log must be seen before we can go on or stop.
    fn waiting_for_end(&self) -> bool {
        self.target.is_some_and(|target| self.core.processed < target)
            || (self.target.is_some() && self.core.tables.iter().any(|table| table.snapshot.is_some()))
            || self.plans.waits_for_log(&self.core)
    }

    /// Makes the server write out its log: without a commit, its last records may stay in memory for a long time, and are not sent.
    async fn nudge(&mut self) -> Result<()> {
        self.nudged_at = Some(Instant::now());
        self.control.query("SELECT pg_logical_emit_message(true, $1, '')", &[Some(messages::OWN_PREFIX)]).await.map(drop)
    }

    /// Tells the server what is durable, if it is time or `now`.
    pub(super) async fn status(&mut self, now: bool, asks: bool) -> Result<()> {
        let durable = self.shared.acknowledged.load(Ordering::Acquire);
        if now || (durable > self.told && self.told_at.elapsed() >= STATUS_SOON) || self.told_at.elapsed() >= STATUS {
            self.wire.send_status(durable, durable, asks).await?;
            (self.told, self.told_at) = (durable, Instant::now());
        }
        Ok(())
    }

    /// Hands one event out. The server hears of us while we wait.
    pub(super) async fn emit(&mut self, event: ChangeEvent) -> Result<()> {
        let events = self.events.clone();
        loop {
            tokio::select! {
                permit = events.reserve() => {
                    permit.map_err(|_| stopped())?.send(Ok(event));
                    break;
                }
                () = tokio::time::sleep(STATUS_SOON) => {}
            }
            self.status(false, false).await?;
        }
        if self.told_at.elapsed() >= STATUS_SOON { self.status(false, false).await } else { Ok(()) }
    }

    pub(super) async fn emit_all(&mut self) -> Result<()> {
        while let Some(event) = self.core.out.pop_front() {
            self.emit(event).await?;
        }
        Ok(())
    }

    /// Hands out everything that waits, and that it may be made durable.
    pub(super) async fn boundary(&mut self, caught_up: bool) -> Result<()> {
        self.core.finish_all()?;
        self.emit_all().await?;
        self.core.reached(self.core.processed);
        self.position.lsn = self.core.processed;
        self.write_progress();
        let position = self.position.write()?;
        let committed_at_us = self.core.committed_at.take();
        self.core.bounded();
        (self.bounded, self.bounded_at, self.said_caught_up) = (self.core.processed, Instant::now(), caught_up);
        self.emit(ChangeEvent::Boundary(Boundary { position, committed_at_us, caught_up })).await
    }

    fn write_progress(&mut self) {
        for table in &self.core.tables {
            // Until the log has told a shape, the one of the run before is the last that was given out.
            let shape = table.left.clone().unwrap_or_else(|| table.rows.shape().left.clone());
            let done = TableProgress { oid: table.oid, shape, done: true, again: None, after: None, chunks: Vec::new() };
            let progress = match &table.snapshot {
                None => done,
                Some(snapshot) => TableProgress {
                    done: snapshot.done,
                    again: snapshot.again.clone(),
                    after: snapshot.after.as_ref().map(|bound| bound.text.clone()),
                    chunks: snapshot
                        .chunks
                        .iter()
                        .map(|chunk| ChunkProgress {
                            after: chunk.after.as_ref().map(|bound| bound.text.clone()),
                            to: chunk.to.as_ref().map(|bound| bound.text.clone()),
                            snapshot: chunk.snapshot.clone(),
                            until: chunk.until,
                            gone: chunk.gone,
                        })
                        .collect(),
                    ..done
                },
            };
            match self.position.tables.get_mut(&*table.stream) {
                Some(known) if *known == progress => {}
                Some(known) => *known = progress,
                None => drop(self.position.tables.insert(table.stream.to_string(), progress)),
            }
        }
    }
}
