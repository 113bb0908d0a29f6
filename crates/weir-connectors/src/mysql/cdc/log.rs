//! The open log: one task that reads the stream, hands events out, and lets the snapshot's chunks in between transactions (`snapshot`).
//!
//! A binlog keeps nothing for its readers: there is nothing to tell the server when something is durable.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_connect::source::Position as Opaque;
use weir_connect::{Boundary, ChangeEvent, ChangeLog, ChangeStream, Error, Kind, OnLoss, Result};

use super::super::binlog::{BinlogStream, Event, RowsEvent};
use super::super::catalog;
use super::super::client::Client;
use super::super::config::Address;
use super::core::{Core, HEARTBEAT, Step};
use super::options::CdcOptions;
use super::position::{Done, Position, TableProgress};
use super::snapshot::Plans;
use super::table::{self, Collations, Shape};
use crate::changes::position::Stored;

/// Nothing came for so long: give out what is there, whatever `linger` says.
const GRACE: Duration = Duration::from_millis(2);
/// While changes keep coming, the snapshot gets its turn after this time.
const TURN: Duration = Duration::from_millis(100);
/// Events on their way to whoever reads them.
const AHEAD: usize = 4;

/// An open log.
pub struct MysqlLog {
    worker: Mutex<Option<(Worker, mpsc::Receiver<Result<ChangeEvent>>)>>,
}

impl MysqlLog {
    /// Around a worker that is ready to start.
    pub fn new(make: impl FnOnce(mpsc::Sender<Result<ChangeEvent>>) -> Worker) -> Self {
        let (sender, receiver) = mpsc::channel(AHEAD);
        Self { worker: Mutex::new(Some((make(sender), receiver))) }
    }
}

#[async_trait]
impl ChangeLog for MysqlLog {
    async fn read(&self) -> Result<ChangeStream> {
        let taken = self.worker.lock().map_err(|_| Error::internal("a lock was poisoned"))?.take();
        let (worker, receiver) = taken.ok_or_else(|| Error::internal("a change log can be read once"))?;
        tokio::spawn(worker.drive());
        Ok(Box::pin(futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|event| (event, receiver))
        })))
    }

    async fn acknowledge(&self, _position: &Opaque) -> Result<()> {
        Ok(())
    }
}

/// The reading task.
pub struct Worker {
    pub(super) address: Address,
    pub(super) options: CdcOptions,
    pub(super) on_loss: OnLoss,
    /// The log.
    pub(super) stream: BinlogStream,
    /// For questions.
    pub(super) control: Client,
    pub(super) core: Core,
    pub(super) plans: Plans,
    pub(super) position: Position,
    pub(super) events: mpsc::Sender<Result<ChangeEvent>>,
    pub(super) batch_bytes: usize,
    pub(super) before_images: bool,
    pub(super) parallelism: usize,
    /// End when all of this was given out and no snapshot is open.
    pub(super) target: Option<Done>,
    pub(super) said_caught_up: bool,
    pub(super) turn_at: Instant,
    /// A chunk's view is open: what is given out now cannot be resumed from before the chunk is.
    pub(super) holding: bool,
    pub(super) collations: Option<Collations>,
}

/// The reader is gone.
pub(super) fn stopped() -> Error {
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
    }

    async fn run(&mut self) -> Result<()> {
        loop {
            match self.waiting()? {
                // Nearly all of them are for the core alone.
                Some(event) => match self.core.take(event)? {
                    Step::Go => {}
                    step => self.step(step).await?,
                },
                None => {
                    if self.finished() {
                        return self.boundary(true).await;
                    }
                    self.wait().await?;
                }
            }
            if self.core.between_transactions() && self.turn_at.elapsed() >= TURN && self.plans.open(&self.core) {
                self.chunks().await?;
            }
        }
    }

    /// An event that is here already.
    fn waiting(&mut self) -> Result<Option<Event>> {
        match self.stream.ready()? {
            Some(event) => Ok(Some(event)),
            None => self.stream.next().now_or_never().transpose(),
        }
    }

    pub(super) async fn event(&mut self, event: Event) -> Result<()> {
        let step = self.core.take(event)?;
        self.step(step).await
    }

    async fn step(&mut self, mut step: Step) -> Result<()> {
        loop {
            match step {
                Step::Go => return Ok(()),
                Step::Emit => return self.emit_all().await,
                Step::Boundary => return self.boundary(false).await,
                Step::Heartbeat => {
                    let due = self.core.bounded_at.elapsed() >= HEARTBEAT && self.position.place() != self.core.place;
                    if self.core.dirty || due || !self.said_caught_up {
                        return self.boundary(true).await;
                    }
                    return Ok(());
                }
                Step::Reshape { at, rows } => {
                    self.reshape(at, &rows).await?;
                    self.emit_all().await?;
                    step = self.core.reshaped(at, *rows)?;
                }
            }
        }
    }

    /// Finds the shape that rows have.
    async fn reshape(&mut self, at: usize, rows: &RowsEvent) -> Result<()> {
        let (name, before, altered) = {
            let table = &self.core.tables[at];
            (table.name.clone(), table.rows.shape().clone(), table.altered.clone())
        };
        let found = catalog::shape(&mut self.control, &name).await?;
        let (boolean, on_loss) = (self.options.tinyint1_as_boolean, self.on_loss.clone());
        let of = |raw, key: &[String]| Shape::new(raw, key, Default::default(), boolean, &on_loss);
        let current = of(found.columns.clone(), &found.key);
        if current.fits(&rows.table) {
            return self.core.reshape(at, current);
        }
        if rows.table.has_names() {
            if self.collations.is_none() {
                self.collations = Some(table::collations(&mut self.control).await?);
            }
            let renamed = super::core::renamed(&altered);
            let collations = self.collations.as_ref().ok_or_else(|| Error::internal("no collations"))?;
            if let Some((raw, key)) = table::from_map(&rows.table, &before, &renamed, &found.columns, collations) {
                if key.is_empty() {
                    return Err(no_key(
                        &name.display(),
                        self.control.place(),
                        "the log says that it has no primary key any more",
                    ));
                }
                return self.core.reshape(at, of(raw, &key));
            }
        }
        Err(Error::new("WEIR-MY-078", Kind::Schema, format!("the columns of {} cannot be told", name.display()))
            .at(self.core.place.to_string())
            .because("the table was altered, and has been altered again since: the log has its rows without names, and the catalogue has other columns")
            .hint("SET GLOBAL binlog_row_metadata = 'FULL' (and in the server's configuration), so that the log says them; then `weir state reset`"))
    }

    fn finished(&self) -> bool {
        let reached = match &self.target {
            Some(Done::Upto(end)) => self.core.place >= *end,
            Some(target) => self.core.done.covers(target),
            None => false,
        };
        reached && self.core.between_transactions() && self.core.tables.iter().all(|table| table.snapshot.is_none() || table.gone)
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) -> Result<()> {
        if self.core.between_transactions() && self.plans.open(&self.core) {
            return self.chunks().await;
        }
        let pending = self.core.dirty && self.core.between_transactions();
        let now = Instant::now();
        let mut until = now + HEARTBEAT;
        if pending {
            until = self.core.deadline().map_or(now, |deadline| (now + GRACE).min(deadline.into()));
        }
        if let Some(again) = self.plans.again_at(&self.core) {
            until = until.min(again);
        }
        let event = tokio::select! {
            event = self.stream.next() => event?,
            () = tokio::time::sleep_until(until) => {
                return if pending { self.boundary(true).await } else { Ok(()) };
            }
            () = self.events.closed() => return Err(stopped()),
        };
        self.event(event).await
    }

    /// Hands one event out.
    pub(super) async fn emit(&mut self, event: ChangeEvent) -> Result<()> {
        self.events.send(Ok(event)).await.map_err(|_| stopped())
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
        if self.holding {
            return Ok(());
        }
        if !self.core.place.file.is_empty() {
            self.position.move_to(&self.core.done, &self.core.place);
        }
        self.write_progress();
        let position = self.position.write()?;
        let committed_at_us = self.core.committed_at.take();
        self.core.bounded();
        self.said_caught_up = caught_up;
        self.emit(ChangeEvent::Boundary(Boundary { position, committed_at_us, caught_up })).await
    }

    fn write_progress(&mut self) {
        for table in &self.core.tables {
            let shape = table.rows.shape();
            let progress = TableProgress {
                columns: shape.notes(),
                key: shape.key.clone(),
                altered: table.altered.clone(),
                gone: table.gone,
                done: table.snapshot.is_none(),
                again: table.snapshot.as_ref().and_then(|snapshot| snapshot.again.clone()),
                after: table.snapshot.as_ref().and_then(|snapshot| Some(snapshot.after.as_ref()?.text.clone())),
            };
            self.position.tables.insert(table.stream.to_string(), progress);
        }
    }
}

/// Rows that cannot be told apart.
pub fn no_key(stream: &str, place: &str, why: &str) -> Error {
    Error::new("WEIR-MY-076", Kind::Schema, format!("rows of {stream} cannot be told apart in the log"))
        .at(place.to_string())
        .because(why.to_string())
        .hint(format!("ALTER TABLE {stream} ADD PRIMARY KEY (…), or exclude it: \"!{stream}\""))
}
