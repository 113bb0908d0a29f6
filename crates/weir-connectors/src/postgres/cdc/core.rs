//! What each message of the log does: rows into the builders of their tables, marks at transactions, and what the reader around it must do next.
//! No I/O: whatever must be asked of the server or handed out is a [`Step`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_connect::change::linger_by_delay;
use weir_connect::{ChangeEvent, Error, Kind, Op, Result, SchemaChange};

use super::super::columns::Bad;
use super::super::quote::{self, ident};
use super::decode::{self, Cell, Envelope, Form, LogRelation, Lsn, Message, Old, Tuples, lsn_text};
use super::key::{self, Bound, Chunk, Key};
use super::messages::{self, Prefixes};
use super::position::Again;
use super::rows::{LookedUp, Row, Rows, Transaction};
use super::streamed::{Replay, Streamed};
use super::table::{Shape, printed, renamed};
use super::text;

/// What the reader has to do before the next message.
#[derive(Debug)]
pub enum Step {
    /// Nothing.
    Go,
    /// Hand out what waits in [`Core::out`].
    Emit,
    /// A transaction has ended and it is time for a boundary.
    Boundary,
    /// The server says that everything before this was sent.
    Keepalive { end: Lsn, reply: bool },
    /// The table has another shape from here on.
    Relation(Box<LogRelation>),
    /// A transaction that was kept aside is committed.
    Replay { xid: u32, end: Lsn },
    /// The key of a row changed, and some of its values are not in the log. To be asked for and given with the message again.
    LookUp { relation: u32, message: Vec<u8> },
}

/// The snapshot of a table, as far as it decides about changes. `None` in its place: complete, and nothing of it can come again.
#[derive(Debug, Default)]
pub struct TableSnapshot {
    /// All chunks were read.
    pub done: bool,
    /// Keys up to here were read; `None` = none were.
    pub after: Option<Bound>,
    /// Read, and changes that they contain already may still come.
    pub chunks: Vec<Chunk>,
    /// One chunk: there is no key that can be compared here.
    pub whole: bool,
    /// Transactions of which changes were left out because their keys were not read yet: a chunk must see them.
    pub left_out: HashSet<u32>,
    /// How often it began anew.
    pub begun: u64,
    /// The targets have rows of it already: deletes are given out always, and with a condition everything is.
    pub again: Option<Again>,
}

impl TableSnapshot {
    /// Whether a change is to be given out.
    fn takes(&mut self, key: Option<&Key>, xid: u32, delete: bool) -> bool {
        let unread = !self.done
            && (self.whole
                || match (&self.after, key) {
                    (Some(after), Some(key)) => *key > after.key,
                    _ => true,
                });
        if unread {
            // Also if it is given out: a chunk that does not see it would put back what was before it.
            self.left_out.insert(xid);
            return self.again.as_ref().is_some_and(|again| delete || again.only.is_some());
        }
        if self.again.as_ref().is_some_and(|again| again.only.is_some()) {
            // The chunk has what the condition chooses; what it lacks is nowhere else.
            return true;
        }
        let (whole, again) = (self.whole, self.again.is_some());
        let holds = |chunk: &Chunk| whole || key.is_some_and(|key| chunk.holds(key));
        let Some(chunk) = self.chunks.iter_mut().find(|chunk| holds(chunk) && chunk.snapshot.sees(xid)) else { return true };
        // The chunk may have the row that was made anew after this delete: then what follows must come too.
        chunk.gone |= again && delete;
        chunk.gone
    }

    /// Forgets everything: the table was emptied, or its key is another one.
    pub fn restart(&mut self, shape: &Shape) {
        let left_out = std::mem::take(&mut self.left_out);
        let again = self.again.take();
        *self = Self { whole: shape.order.is_none(), left_out, begun: self.begun + 1, again, ..Self::default() };
    }
}

/// A table in the log.
pub struct TableState {
    /// Its number.
    pub oid: u32,
    /// Its stream.
    pub stream: Arc<str>,
    /// Rows that wait.
    pub rows: Rows,
    /// Its snapshot.
    pub snapshot: Option<TableSnapshot>,
    /// The log has told its shape since this connection began.
    told: bool,
    /// Whoever reads this knows its shape.
    announced: bool,
    /// What the last run left of its shape, until the log has told one.
    pub left: Option<String>,
    /// Counts changes of the shape.
    pub shapes: u64,
}

struct Current {
    commit: Lsn,
    at_us: i64,
    xid: u32,
    /// Made with the first row.
    marks: Option<Transaction>,
    /// Changes so far.
    changes: u64,
    /// It, or this many of its changes, were given out before.
    skip: u64,
}

/// The state of reading.
pub struct Core {
    /// The followed tables.
    pub tables: Vec<TableState>,
    by_oid: HashMap<u32, usize>,
    current: Option<Current>,
    /// In a part of this streamed transaction.
    part: Option<u32>,
    streamed: Streamed,
    /// Transactions whose commits are before this were given out.
    pub processed: Lsn,
    /// When the last one that had rows was committed.
    pub committed_at: Option<i64>,
    /// Ready to be handed out.
    pub out: VecDeque<ChangeEvent>,
    /// Bytes in the builders.
    bytes: usize,
    /// Something was given out or waits since the last boundary.
    pub dirty: bool,
    deadline: Option<Instant>,
    /// What is read was committed long ago.
    pub late: bool,
    batch_bytes: usize,
    linger: Duration,
    before: bool,
    tuples: Tuples,
    /// Whose logical messages are rows of theirs.
    prefixes: Prefixes,
    /// Such a row.
    logical: Vec<u8>,
    /// The stream began again in the middle of this transaction: its commit, and how many changes were given out.
    again: Option<(Lsn, u64)>,
}

impl Core {
    /// Reads after `from`.
    pub fn new(from: Lsn, batch_bytes: usize, linger: Duration, before: bool, spill_bytes: usize) -> Self {
        Self {
            tables: Vec::new(),
            by_oid: HashMap::new(),
            current: None,
            part: None,
            streamed: Streamed::new(spill_bytes),
            processed: from,
            committed_at: None,
            out: VecDeque::new(),
            bytes: 0,
            dirty: false,
            deadline: None,
            late: false,
            batch_bytes,
            linger,
            before,
            tuples: Tuples::default(),
            prefixes: Prefixes::default(),
            logical: Vec::new(),
            again: None,
        }
    }

    /// Follows a table.
    /// `left` is [`Shape::left`] of the run before; what the reader knows of a table that was followed before may be older than `shape`.
    pub fn add(&mut self, oid: u32, stream: Arc<str>, shape: Arc<Shape>, snapshot: Option<TableSnapshot>, left: Option<String>) {
        self.by_oid.insert(oid, self.tables.len());
        let rows = Rows::new(stream.clone(), shape, self.before);
        let announced = left.is_none();
        let told = oid == messages::OID;
        self.tables.push(TableState { oid, stream, rows, snapshot, told, announced, left, shapes: 0 });
    }

    /// Gives out logical messages of these prefixes, as rows of [`messages::OID`].
    pub fn listen(&mut self, prefixes: Prefixes) {
        self.prefixes = prefixes;
    }

    /// Tells the shape of a table once, before its first row.
    pub fn announce(&mut self, at: usize) {
        let table = &mut self.tables[at];
        if !std::mem::replace(&mut table.announced, true) {
            let shape = table.rows.shape();
            self.out.push_back(ChangeEvent::Schema(SchemaChange {
                stream: table.stream.clone(),
                schema: shape.schema.clone(),
                key: shape.key.clone(),
                renamed: Vec::new(),
                statement: None,
            }));
            self.dirty = true;
        }
    }

    /// No transaction is cut here.
    pub fn between_transactions(&self) -> bool {
        self.current.is_none() && self.part.is_none()
    }

    /// Nothing of the transaction that is being read was given out.
    pub fn untouched(&self) -> bool {
        self.part.is_none() && self.current.as_ref().is_none_or(|current| current.changes == 0 && current.skip == 0)
    }

    /// The transaction that is being read.
    pub fn current_xid(&self) -> Option<u32> {
        self.current.as_ref().map(|current| current.xid)
    }

    /// When a boundary is due for what was read already.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes a copy data message.
    #[inline]
    pub fn take(&mut self, bytes: &[u8]) -> Result<Step> {
        match decode::envelope(bytes)? {
            Envelope::Data(message) => match self.part {
                Some(xid) => self.part_of(xid, message),
                None => self.message(message, None),
            },
            Envelope::Keepalive { end, reply } => Ok(Step::Keepalive { end, reply }),
        }
    }

    fn part_of(&mut self, xid: u32, message: &[u8]) -> Result<Step> {
        let tag = message.first().copied().unwrap_or_default();
        if !decode::carries_xid(tag) {
            return self.message(message, None);
        }
        let Some((subxid, rest)) = message.get(1..).and_then(|rest| rest.split_first_chunk::<4>()) else {
            return Err(out_of_order("a message of a transaction without its number"));
        };
        if !matches!(tag, b'Y' | b'M') {
            self.streamed.keep(xid, u32::from_be_bytes(*subxid), tag, rest)?;
        }
        Ok(Step::Go)
    }

    /// Takes a message of the plugin, with values that were looked up for it: `None` if nobody has looked yet, none if the row was gone.
    #[inline]
    pub fn message(&mut self, message: &[u8], looked_up: Option<&[LookedUp]>) -> Result<Step> {
        match decode::message(message, &mut self.tuples)? {
            Message::Insert { relation } => self.change(relation, Op::Create, Old::None, message, looked_up),
            Message::Update { relation, old } => self.change(relation, Op::Update, old, message, looked_up),
            Message::Delete { relation, old } => self.change(relation, Op::Delete, old, message, looked_up),
            Message::Begin { commit, at, xid } => {
                self.begin(commit, at, xid);
                Ok(Step::Go)
            }
            Message::Commit { end } => self.commit(end),
            Message::Relation(relation) => Ok(self.relation(relation)),
            Message::Truncate { relations } => self.truncate(&relations),
            Message::StreamStart { xid } => {
                self.part = Some(xid);
                Ok(Step::Go)
            }
            Message::StreamStop => {
                self.part = None;
                Ok(Step::Go)
            }
            Message::StreamAbort { xid, subxid } => {
                self.streamed.abort(xid, subxid)?;
                Ok(Step::Go)
            }
            Message::StreamCommit { xid, commit, end, at } => {
                self.begin(commit, at, xid);
                Ok(Step::Replay { xid, end })
            }
            Message::Logical { transactional, lsn, prefix, content } => {
                let (prefix, content) = (prefix.bytes(message), content.bytes(message));
                if !self.prefixes.take(prefix) {
                    return Ok(Step::Go);
                }
                let mut row = std::mem::take(&mut self.logical);
                messages::insert(lsn, prefix, content, transactional, &mut row)?;
                let step = self.logical(lsn, &row);
                self.logical = row;
                step
            }
            Message::Other => Ok(Step::Go),
        }
    }

    /// A logical message, as a row.
    fn logical(&mut self, lsn: Lsn, row: &[u8]) -> Result<Step> {
        decode::message(row, &mut self.tuples)?;
        if self.current.is_some() {
            return self.change(messages::OID, Op::Create, Old::None, row, None);
        }
        // It stands for itself, as a transaction of one change would. Its position is that of its end: the commit of another transaction may
        // begin right there.
        if lsn <= self.processed {
            return Ok(Step::Go);
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let at_us = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        self.current = Some(Current { commit: lsn, at_us, xid: 0, marks: None, changes: 0, skip: 0 });
        let step = self.change(messages::OID, Op::Create, Old::None, row, None)?;
        match self.commit(lsn)? {
            Step::Go => Ok(step),
            // Whatever waits is handed out with it.
            boundary => Ok(boundary),
        }
    }

    /// The messages of a transaction that was kept aside.
    pub fn kept(&mut self, xid: u32) -> Result<Replay> {
        self.streamed.take(xid)
    }

    fn begin(&mut self, commit: Lsn, at_us: i64, xid: u32) {
        let skip = match self.again.take() {
            _ if commit < self.processed => u64::MAX,
            Some((again, changes)) if again == commit => changes,
            _ => 0,
        };
        self.current = Some(Current { commit, at_us, xid, marks: None, changes: 0, skip });
    }

    /// The transaction is over.
    pub fn commit(&mut self, end: Lsn) -> Result<Step> {
        let current = self.current.take().ok_or_else(|| out_of_order("a commit without its beginning"))?;
        self.processed = self.processed.max(end);
        if current.marks.is_some() {
            self.committed_at = Some(current.at_us);
        }
        if self.dirty && (self.bytes >= self.batch_bytes || self.deadline.is_none_or(|deadline| Instant::now() >= deadline)) {
            return Ok(Step::Boundary);
        }
        Ok(Step::Go)
    }

    /// The connection begins anew after the last commit.
    pub fn reconnected(&mut self) {
        if let Some(current) = self.current.take() {
            self.again = Some((current.commit, current.changes));
        }
        self.part = None;
        self.streamed.clear();
        self.tables.iter_mut().for_each(|table| table.told = table.oid == messages::OID);
    }

    fn relation(&mut self, relation: Box<LogRelation>) -> Step {
        let Some(at) = self.by_oid.get(&relation.oid).copied() else { return Step::Go };
        let table = &mut self.tables[at];
        if relation.display() == *table.stream && table.rows.shape().fits(&relation) {
            table.told = true;
            table.left = None;
            self.announce(at);
            return if self.out.is_empty() { Step::Go } else { Step::Emit };
        }
        Step::Relation(relation)
    }

    /// The shape of a followed table.
    pub fn shape(&self, oid: u32) -> Option<&Arc<Shape>> {
        self.by_oid.get(&oid).map(|at| self.tables[*at].rows.shape())
    }

    /// The table has this shape from here on.
    pub fn reshape(&mut self, oid: u32, shape: Arc<Shape>, told: bool) -> Result<()> {
        let Some(at) = self.by_oid.get(&oid).copied() else { return Ok(()) };
        self.finish(at)?;
        let before = self.before;
        let table = &mut self.tables[at];
        let old = table.rows.shape().clone();
        table.rows = Rows::new(table.stream.clone(), shape.clone(), before);
        table.told |= told;
        table.shapes += 1;
        if told {
            table.left = None;
        }
        let announced = std::mem::replace(&mut table.announced, true);
        if !old.same(&shape) || !announced {
            self.out.push_back(ChangeEvent::Schema(SchemaChange {
                stream: table.stream.clone(),
                schema: shape.schema.clone(),
                key: shape.key.clone(),
                renamed: renamed(&old, &shape),
                statement: None,
            }));
            self.dirty = true;
        }
        // Keys that were read can no more be compared with keys to come.
        if (old.key != shape.key || old.order != shape.order)
            && let Some(snapshot) = &mut table.snapshot
        {
            snapshot.restart(&shape);
            let marks = match &mut self.current {
                Some(current) => marks(current).clone(),
                None => Transaction { position: lsn_text(self.processed).into(), id: "0".into(), at_us: 0 },
            };
            self.out.push_back(ChangeEvent::Truncate { stream: table.stream.clone(), transaction: marks.mark(0) });
        }
        Ok(())
    }

    fn truncate(&mut self, relations: &[u32]) -> Result<Step> {
        let Some(current) = &mut self.current else { return Err(out_of_order("a truncate outside a transaction")) };
        current.changes += 1;
        if current.changes <= current.skip {
            return Ok(Step::Go);
        }
        let (marks, xid) = (marks(current).clone(), current.xid);
        for relation in relations {
            let Some(at) = self.by_oid.get(relation).copied() else { continue };
            self.finish(at)?;
            let table = &mut self.tables[at];
            self.out.push_back(ChangeEvent::Truncate { stream: table.stream.clone(), transaction: marks.mark(0) });
            self.dirty = true;
            // A chunk may have been read before and another one after it: read what is there now again.
            if let Some(snapshot) = &mut table.snapshot {
                snapshot.restart(table.rows.shape());
                snapshot.left_out.insert(xid);
            }
        }
        Ok(if self.out.is_empty() { Step::Go } else { Step::Emit })
    }

    #[inline]
    fn change(&mut self, relation: u32, op: Op, old: Old, message: &[u8], looked_up: Option<&[LookedUp]>) -> Result<Step> {
        let Some(current) = &mut self.current else { return Err(out_of_order("a row outside a transaction")) };
        let Some(at) = self.by_oid.get(&relation).copied() else {
            current.changes += 1;
            return Ok(Step::Go);
        };
        if current.changes < current.skip {
            current.changes += 1;
            return Ok(Step::Go);
        }
        let table = &mut self.tables[at];
        if !table.told {
            return Err(out_of_order("a row of a table whose shape was not told"));
        }
        let Tuples { old: before, new } = &mut self.tuples;
        let shape = table.rows.shape().clone();
        let moved = op == Op::Update && old != Old::None && key_moved(&shape, message, before, new);
        if moved && old == Old::Key && looked_up.is_none() {
            let lost = |(wire, cell): (&super::table::WireColumn, &Cell)| wire.place.is_some() && cell.form == Form::Unchanged;
            if shape.wire.iter().zip(new.iter()).any(lost) && wants(table, &shape, message, new, (current.xid, false))? {
                return Ok(Step::LookUp { relation, message: message.to_vec() });
            }
        }
        current.changes += 1;
        let (xid, at_us) = (current.xid, current.at_us);
        let (before, new) = (before.as_slice(), new.as_slice());
        let full = (old == Old::Full).then_some(before);
        let shown = (old != Old::None).then_some(before);
        let looked_up = looked_up.unwrap_or_default();
        let row = |op, cells| Row { op, message, cells, fallback: full, key_only: false, before: shown, looked_up };
        let (first, second) = match op {
            Op::Delete => (Some(Row { key_only: old == Old::Key, ..row(Op::Delete, before) }), None),
            _ if moved => (
                Some(Row { key_only: old == Old::Key, ..row(Op::Delete, before) }),
                Some(Row { before: None, ..row(Op::Create, new) }),
            ),
            op => (Some(row(op, new)), None),
        };
        for row in [first, second].into_iter().flatten() {
            if !wants(table, &shape, message, row.cells, (xid, row.op == Op::Delete))? {
                continue;
            }
            let marks = marks(current);
            if let Some(letter) = table.rows.push(&row, marks)? {
                self.out.push_back(ChangeEvent::Dead(letter));
            }
            if !self.dirty || self.deadline.is_none() {
                self.dirty = true;
                let linger = linger_by_delay(self.linger, at_us);
                self.late = linger > self.linger;
                self.deadline = Some(Instant::now() + linger);
            }
            self.bytes += message.len();
        }
        // One large transaction is given out in parts.
        if self.bytes >= self.batch_bytes * 2 {
            self.finish_all()?;
            return Ok(Step::Emit);
        }
        Ok(Step::Go)
    }

    fn finish(&mut self, at: usize) -> Result<()> {
        if let Some(batch) = self.tables[at].rows.finish()? {
            self.bytes = self.bytes.saturating_sub(batch.source_bytes as usize);
            self.out.push_back(ChangeEvent::Changes(batch));
        }
        Ok(())
    }

    /// Everything that waits goes to [`Self::out`].
    pub fn finish_all(&mut self) -> Result<()> {
        for at in 0..self.tables.len() {
            if self.tables[at].rows.len() > 0 {
                self.finish(at)?;
            }
        }
        self.bytes = 0;
        Ok(())
    }

    /// A boundary was given out.
    pub fn bounded(&mut self) {
        self.dirty = false;
        self.deadline = None;
    }

    /// Everything before this was sent, and no transaction is open. Lets go of chunks that the log is past.
    pub fn reached(&mut self, end: Lsn) {
        self.processed = self.processed.max(end);
        let processed = self.processed;
        for table in &mut self.tables {
            if let Some(snapshot) = &mut table.snapshot {
                snapshot.chunks.retain(|chunk| chunk.until > processed);
                if snapshot.done && snapshot.chunks.is_empty() {
                    table.snapshot = None;
                }
            }
        }
    }
}

fn marks(current: &mut Current) -> &Transaction {
    let Current { commit, at_us, xid, marks, .. } = current;
    marks.get_or_insert_with(|| Transaction { position: lsn_text(*commit).into(), id: xid.to_string().into(), at_us: *at_us })
}

/// Whether the snapshot leaves a change to the log.
#[inline]
fn wants(table: &mut TableState, shape: &Shape, message: &[u8], cells: &[Cell], (xid, delete): (u32, bool)) -> Result<bool> {
    let Some(snapshot) = &mut table.snapshot else { return Ok(true) };
    let key = if snapshot.whole {
        None
    } else {
        key::of_cells(shape, message, cells).map_err(|bad| {
            let (Bad::Value(why) | Bad::Corrupt(why)) = bad;
            Error::new("WEIR-PG-071", Kind::Data, "a key of the replication stream cannot be decoded")
                .at(table.stream.to_string())
                .because(why)
        })?
    };
    if key.is_none() && !snapshot.whole {
        return Err(out_of_order("a row without its key"));
    }
    Ok(snapshot.takes(key.as_ref(), xid, delete))
}

/// Whether an update changed the key. A key value that the new row lacks because it did not change is taken from the old one.
fn key_moved(shape: &Shape, message: &[u8], before: &[Cell], new: &mut [Cell]) -> bool {
    let mut moved = false;
    for wire in &shape.key_wire {
        let (Some(before), Some(after)) = (before.get(*wire), new.get_mut(*wire)) else { continue };
        if after.form == Form::Unchanged {
            *after = *before;
        }
        moved |= before.bytes(message) != after.bytes(message);
    }
    moved
}

#[cold]
fn out_of_order(what: &str) -> Error {
    Error::new("WEIR-PG-070", Kind::Data, "a message of the replication stream cannot be understood").because(what)
}

/// What an update of the key lacks.
#[derive(Debug)]
pub struct Missing {
    /// Asks for it, with the key as parameters.
    pub sql: String,
    /// The key as text.
    pub key: Vec<String>,
    /// Columns of the log that the statement gives, in order.
    pub columns: Vec<usize>,
}

impl Core {
    /// The statement that finds what an update of the key did not bring.
    pub fn missing(&mut self, relation: u32, message: &[u8]) -> Result<Option<Missing>> {
        decode::message(message, &mut self.tuples)?;
        let Some(table) = self.by_oid.get(&relation).map(|at| &self.tables[*at]) else { return Ok(None) };
        let shape = table.rows.shape().clone();
        let Tuples { old, new } = &mut self.tuples;
        key_moved(&shape, message, old, new);
        let mut columns = Vec::new();
        let mut list = Vec::new();
        for (at, (wire, cell)) in shape.wire.iter().zip(new.iter()).enumerate() {
            if wire.place.is_some() && cell.form == Form::Unchanged {
                columns.push(at);
                list.push(printed(&ident(&wire.name)));
            }
        }
        // The values as text, by way of the builders: the log may have them in binary form.
        let mut key = Vec::new();
        for wire in &shape.key_wire {
            let (Some(cell), Some(place)) = (new.get(*wire), shape.wire[*wire].place) else { return Ok(None) };
            let bytes = cell.bytes(message);
            key.push(match cell.form {
                Form::Text => String::from_utf8_lossy(bytes).into_owned(),
                Form::Binary => text::from_binary(bytes, &shape.columns[place].travel)?,
                Form::Null | Form::Unchanged => return Ok(None),
            });
        }
        let condition: Vec<String> = shape
            .key
            .iter()
            .zip(&shape.key_types)
            .enumerate()
            .map(|(at, (name, kind))| format!("{} = ${}::text::{kind}", ident(name), at + 1))
            .collect();
        let name = quote::table(&table.stream).sql();
        Ok(Some(Missing {
            sql: format!("SELECT {} FROM {name} WHERE {}", list.join(", "), condition.join(" AND ")),
            key,
            columns,
        }))
    }
}
