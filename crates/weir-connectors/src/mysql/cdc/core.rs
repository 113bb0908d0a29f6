//! What each event of the log does: rows into the builders of their tables, marks at transactions, and what the reader around it must do next.
//! No I/O: whatever must be asked of the server or handed out is a [`Step`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_connect::change::linger_by_delay;
use weir_connect::{ChangeEvent, Error, Kind, Op, Result, SchemaChange};

use super::super::binlog::{Body, Commit, Event, QueryEvent, Row, RowKind, RowsEvent, TableMap};
use super::super::quote::TableName;
use super::ddl::{self, Effect, Fill};
use super::position::{Done, Name, Place, Statement};
use super::rows::{Rows, Transaction};
use super::table::{self, Shape};
use super::window::{TableSnapshot, Verdict};

/// While nothing of ours comes, a boundary moves the position this often.
pub const HEARTBEAT: Duration = Duration::from_secs(3);

/// What the reader has to do before the next event.
#[derive(Debug)]
pub enum Step {
    /// Nothing.
    Go,
    /// Hand out what waits in [`Core::out`].
    Emit,
    /// A transaction has ended and it is time for a boundary.
    Boundary,
    /// The server has nothing more at the moment.
    Heartbeat,
    /// The table has another shape from here on; then these rows are to be given again.
    Reshape {
        /// Which table.
        at: usize,
        /// The rows.
        rows: Box<RowsEvent>,
    },
}

/// A table in the log.
pub struct TableState {
    /// Its name.
    pub name: TableName,
    /// Its stream.
    pub stream: Arc<str>,
    /// Rows that wait.
    pub rows: Rows,
    /// Its snapshot.
    pub snapshot: Option<TableSnapshot>,
    /// Statements that have changed it since its shape was last told by the log.
    pub altered: Vec<Statement>,
    /// It was dropped, and not made again yet.
    pub gone: bool,
    /// Whoever reads this knows its shape.
    announced: bool,
    /// Counts beginnings of its snapshot.
    begun: u64,
}

struct Current {
    name: Name,
    at_us: i64,
    /// Where its first event ends.
    begun: Place,
    /// Where it was written first.
    server: u32,
    /// The session.
    thread: Option<u32>,
    /// Made with the first row.
    marks: Option<Transaction>,
    /// It has an end of its own, after its statements.
    explicit: bool,
    /// It is MariaDB's, and says itself whether it has an end.
    standalone: Option<bool>,
    /// It has rows of followed tables.
    ours: bool,
}

/// The state of reading.
pub struct Core {
    /// The followed tables.
    pub tables: Vec<TableState>,
    by_name: HashMap<TableName, usize>,
    /// Names are compared without case.
    fold: bool,
    /// Whether a snapshot may be taken: else what the log lacks stays unknown.
    snapshots: bool,
    current: Option<Current>,
    /// The last table that is not followed.
    foreign: Option<Arc<TableMap>>,
    /// What was processed.
    pub done: Done,
    /// Where that ends in the files.
    pub place: Place,
    /// When the last transaction that had rows was committed.
    pub committed_at: Option<i64>,
    /// Ready to be handed out.
    pub out: VecDeque<ChangeEvent>,
    bytes: usize,
    /// Something was given out or waits since the last boundary.
    pub dirty: bool,
    deadline: Option<Instant>,
    /// When the last boundary was.
    pub bounded_at: Instant,
    batch_bytes: usize,
    linger: Duration,
    before: bool,
}

/// How the events are to be given out.
pub struct Pace {
    /// Batches stay near this many bytes.
    pub batch_bytes: usize,
    /// See [`weir_connect::ChangeRequest::linger`].
    pub linger: Duration,
    /// Rows before changes are wanted.
    pub before: bool,
}

impl Core {
    /// Reads after `done`.
    pub fn new(done: Done, place: Place, pace: Pace, fold: bool, snapshots: bool) -> Self {
        Self {
            tables: Vec::new(),
            by_name: HashMap::new(),
            fold,
            snapshots,
            current: None,
            foreign: None,
            done,
            place,
            committed_at: None,
            out: VecDeque::new(),
            bytes: 0,
            dirty: false,
            deadline: None,
            bounded_at: Instant::now(),
            batch_bytes: pace.batch_bytes,
            linger: pace.linger,
            before: pace.before,
        }
    }

    fn folded(&self, name: TableName) -> TableName {
        if self.fold { TableName::new(name.database.to_lowercase(), name.table.to_lowercase()) } else { name }
    }

    /// Follows a table. `announced`: whoever reads this knows this very shape.
    pub fn add(
        &mut self,
        name: TableName,
        shape: Arc<Shape>,
        snapshot: Option<TableSnapshot>,
        announced: bool,
    ) -> &mut TableState {
        let stream: Arc<str> = name.display().into();
        self.by_name.insert(self.folded(name.clone()), self.tables.len());
        let rows = Rows::new(stream.clone(), shape, self.before);
        let at = self.tables.len();
        self.tables.push(TableState { name, stream, rows, snapshot, altered: Vec::new(), gone: false, announced, begun: 0 });
        &mut self.tables[at]
    }

    fn find(&self, name: &TableName) -> Option<usize> {
        if self.fold { self.by_name.get(&self.folded(name.clone())) } else { self.by_name.get(name) }.copied()
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
        self.current.is_none()
    }

    /// When a boundary is due for what was read already.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes an event.
    pub fn take(&mut self, event: Event) -> Result<Step> {
        match event.body {
            Body::Rotate { file, position } => {
                self.place = Place { file, position };
                self.moved();
                return Ok(Step::Go);
            }
            Body::Heartbeat { file, position } if self.current.is_none() => {
                let now = Place { file, position };
                if self.place < now {
                    self.place = now;
                    self.moved();
                }
                return Ok(Step::Heartbeat);
            }
            Body::Heartbeat { .. } => return Ok(Step::Go),
            _ => {}
        }
        if event.log_pos > 0 {
            self.place.position = event.log_pos;
        }
        let seconds = i64::from(event.timestamp_s) * 1_000_000;
        let at = |commit: &Commit| commit.committed_at_us.unwrap_or(seconds);
        match event.body {
            Body::Gtid { uuid, gno, commit } => Ok(self.begin(Name::Gtid(uuid, gno), at(&commit), None, event.server_id)),
            Body::AnonymousGtid(commit) => Ok(self.begin(Name::Anonymous, at(&commit), None, event.server_id)),
            Body::MariaGtid(transaction) => {
                let standalone = transaction.standalone || transaction.completes;
                Ok(self.begin(Name::Maria(transaction.gtid), seconds, Some(standalone), event.server_id))
            }
            Body::Query(query) => self.query(&query, seconds, event.server_id),
            Body::Rows(rows) => self.rows(rows),
            Body::Xid(_) => Ok(self.commit()),
            Body::XaPrepare { one_phase, .. } => {
                if !one_phase {
                    self.refuse_if_ours(
                        "a transaction in two phases (XA) has changed it: its rows are in the log before it is committed",
                    )?;
                }
                Ok(self.commit())
            }
            Body::Incident(what) => Err(Error::new("WEIR-MY-071", Kind::Conflict, "the server says that its log lacks changes")
                .at(self.place.to_string())
                .because(what)
                .hint("changes are lost for this pipeline: `weir state reset`, and the next run begins with a new snapshot")),
            _ => Ok(Step::Go),
        }
    }

    /// Without names the place is what was processed.
    fn moved(&mut self) {
        if let Done::Upto(end) = &mut self.done
            && self.current.is_none()
        {
            end.clone_from(&self.place);
        }
    }

    fn begin(&mut self, name: Name, at_us: i64, standalone: Option<bool>, server: u32) -> Step {
        // One without an end that we know has ended.
        let step = if self.current.is_some() { self.commit() } else { Step::Go };
        let explicit = standalone == Some(false);
        let begun = self.place.clone();
        self.current = Some(Current { name, at_us, begun, server, thread: None, marks: None, explicit, standalone, ours: false });
        step
    }

    fn current(&mut self, at_us: i64, server: u32) -> &mut Current {
        let begun = &self.place;
        self.current.get_or_insert_with(|| Current {
            name: Name::Anonymous,
            at_us,
            begun: begun.clone(),
            server,
            thread: None,
            marks: None,
            explicit: false,
            standalone: None,
            ours: false,
        })
    }

    fn commit(&mut self) -> Step {
        let Some(current) = self.current.take() else { return Step::Go };
        self.done.add(&current.name, &self.place);
        if current.marks.is_some() {
            self.committed_at = Some(current.at_us);
        }
        let full = self.bytes >= self.batch_bytes;
        if self.dirty && (full || self.deadline.is_none_or(|deadline| Instant::now() >= deadline)) {
            return Step::Boundary;
        }
        if self.bounded_at.elapsed() >= HEARTBEAT { Step::Boundary } else { Step::Go }
    }

    /// Rows of ours in a transaction that is not what we took it for.
    fn refuse_if_ours(&self, why: &str) -> Result<()> {
        if self.current.as_ref().is_none_or(|current| !current.ours) {
            return Ok(());
        }
        Err(Error::new("WEIR-MY-072", Kind::Unsupported, "a followed table was changed in a way that cannot be followed")
            .at(self.place.to_string())
            .because(why.to_string())
            .hint("`weir state reset` begins with a new snapshot; README.md of the connector says what is followed"))
    }

    fn query(&mut self, query: &QueryEvent, at_us: i64, server: u32) -> Result<Step> {
        let thread = query.thread;
        let current = self.current(at_us, server);
        // MariaDB's threads stand in statements only, and its transactions do not begin with one.
        if current.standalone.is_none() {
            current.thread.get_or_insert(thread);
        }
        if query.is("COMMIT") {
            return Ok(self.commit());
        }
        if query.is("BEGIN") {
            self.current(at_us, server).explicit = true;
            return Ok(Step::Go);
        }
        let sql = query.sql();
        let mut words = sql.split_ascii_whitespace().map(str::to_ascii_uppercase);
        match (words.next().unwrap_or_default().as_str(), words.next().unwrap_or_default().as_str()) {
            ("ROLLBACK", "") => {
                self.refuse_if_ours("a transaction that changed it was rolled back, and is in the log for another table's sake")?;
                return Ok(self.commit());
            }
            ("ROLLBACK", "TO") => {
                self.refuse_if_ours(
                    "a part of a transaction that changed it was rolled back, and is in the log for another table's sake",
                )?;
                return Ok(Step::Go);
            }
            ("SAVEPOINT" | "RELEASE", _) | ("XA", "END") => return Ok(Step::Go),
            ("XA", "START" | "BEGIN") => {
                self.current(at_us, server).explicit = true;
                return Ok(Step::Go);
            }
            ("XA", _) => return Ok(self.commit()),
            _ => {}
        }
        let database = query.schema();
        for effect in ddl::effects(&sql, &database) {
            self.effect(effect, &Statement { database: database.to_string(), sql: sql.to_string() })?;
        }
        let ends = match &self.current {
            Some(Current { standalone: Some(standalone), .. }) => *standalone,
            Some(current) => !current.explicit && !ddl::goes_on(&sql),
            None => false,
        };
        let step = if ends { self.commit() } else { Step::Go };
        Ok(if matches!(step, Step::Go) && !self.out.is_empty() { Step::Emit } else { step })
    }

    fn effect(&mut self, effect: Effect, statement: &Statement) -> Result<()> {
        match effect {
            Effect::Altered { table, .. } => {
                if let Some(at) = self.find(&table) {
                    self.note(at, statement);
                }
            }
            Effect::Created { table, anew } => {
                if let Some(at) = self.find(&table)
                    && (anew || self.tables[at].gone)
                {
                    self.tables[at].gone = false;
                    self.note(at, statement);
                    self.emptied(at)?;
                }
            }
            Effect::Dropped(table) => {
                if let Some(at) = self.find(&table) {
                    self.tables[at].gone = true;
                }
            }
            Effect::DatabaseDropped(database) => {
                let fold = self.fold;
                let same = |name: &str| if fold { name.eq_ignore_ascii_case(&database) } else { name == database };
                self.tables.iter_mut().filter(|table| same(&table.name.database)).for_each(|table| table.gone = true);
            }
            Effect::Truncated(table) => {
                if let Some(at) = self.find(&table) {
                    self.emptied(at)?;
                }
            }
            Effect::Refilled(table) => {
                if let Some(at) = self.find(&table) {
                    self.reload(at)?;
                }
            }
            Effect::Renamed { from, to } => {
                if let Some(at) = self.find(&from) {
                    self.tables[at].gone = true;
                }
                if let Some(at) = self.find(&to) {
                    self.tables[at].gone = false;
                    self.note(at, statement);
                    self.reload(at)?;
                }
            }
            Effect::Changed(names) => {
                if let Some(at) = names.iter().find_map(|name| self.find(name)) {
                    return Err(Error::new("WEIR-MY-072", Kind::Unsupported, "a followed table was changed in a way that cannot be followed")
                        .at(self.tables[at].stream.to_string())
                        .because(format!("the log has a statement instead of its rows, at {}", self.place))
                        .hint("binlog_format must be ROW in every session that writes; then `weir state reset` begins with a new snapshot"));
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, at: usize, statement: &Statement) {
        let altered = &mut self.tables[at].altered;
        if altered.last() != Some(statement) {
            altered.push(statement.clone());
        }
        self.dirty = true;
        self.deadline.get_or_insert_with(|| Instant::now() + self.linger);
    }

    fn mark(&mut self) -> Transaction {
        match &mut self.current {
            Some(current) => marks(current).clone(),
            None => Transaction { position: self.place.to_string().into(), id: None, at_us: 0 },
        }
    }

    fn name_and_place(&self) -> (Name, Place) {
        match &self.current {
            Some(current) => (current.name, current.begun.clone()),
            None => (Name::Anonymous, self.place.clone()),
        }
    }

    fn emptied(&mut self, at: usize) -> Result<()> {
        self.finish(at)?;
        let transaction = self.mark().mark(0);
        let (name, begun) = self.name_and_place();
        let table = &mut self.tables[at];
        self.out.push_back(ChangeEvent::Truncate { stream: table.stream.clone(), transaction });
        self.dirty = true;
        if let Some(snapshot) = &mut table.snapshot {
            snapshot.restart();
            snapshot.left_out.add(&name, &begun);
        }
        Ok(())
    }

    /// What the table has now is not in the log: its snapshot begins anew.
    pub fn reload(&mut self, at: usize) -> Result<()> {
        if !self.snapshots {
            tracing::warn!(table = %self.tables[at].stream, "its rows changed in a way that is not in the log, and `snapshot: never` forbids to read them");
            return Ok(());
        }
        if self.tables[at].snapshot.is_none() {
            let table = &mut self.tables[at];
            table.begun += 1;
            table.snapshot = Some(TableSnapshot { begun: table.begun << 32, ..TableSnapshot::new(self.done.none()) });
        }
        self.emptied(at)
    }

    /// Rows of a table.
    pub fn rows(&mut self, event: RowsEvent) -> Result<Step> {
        let Some(at) = self.place_of(&event.table) else { return Ok(Step::Go) };
        if self.tables[at].gone {
            // However it came back, it came back empty.
            self.tables[at].gone = false;
            self.emptied(at)?;
        }
        let Some(current) = &mut self.current else { return Err(out_of_order("rows outside a transaction")) };
        current.ours = true;
        let table = &mut self.tables[at];
        if let Some(snapshot) = &mut table.snapshot
            && snapshot.is_untouched()
        {
            snapshot.left_out.add(&current.name, &current.begun);
            return Ok(Step::Go);
        }
        if !table.rows.reads(&event.table) {
            if !(table.altered.is_empty() && table.rows.shape().fits(&event.table)) {
                return Ok(Step::Reshape { at, rows: Box::new(event) });
            }
            self.described(at, &event.table)?;
        }
        for row in event.rows() {
            self.row(at, event.kind, &row?)?;
        }
        // One large transaction is given out in parts.
        if self.bytes >= self.batch_bytes * 2 {
            self.finish_all()?;
            return Ok(Step::Emit);
        }
        Ok(if self.out.is_empty() { Step::Go } else { Step::Emit })
    }

    fn place_of(&mut self, map: &Arc<TableMap>) -> Option<usize> {
        if self.foreign.as_ref().is_some_and(|foreign| Arc::ptr_eq(foreign, map)) {
            return None;
        }
        // Nearly always the table of the event before.
        if let Some(at) = self.tables.iter().take(8).position(|table| table.rows.reads(map)) {
            return Some(at);
        }
        let found = self.find(&TableName::new(map.schema.as_str(), map.table.as_str()));
        if found.is_none() {
            self.foreign = Some(map.clone());
        }
        found
    }

    /// The log has told the shape of the table, and it is the one that is known.
    fn described(&mut self, at: usize, map: &Arc<TableMap>) -> Result<()> {
        self.announce(at);
        let table = &mut self.tables[at];
        if let Some(batch) = table.rows.describe(map)? {
            self.bytes = self.bytes.saturating_sub(batch.source_bytes as usize);
            self.out.push_back(ChangeEvent::Changes(batch));
        }
        Ok(())
    }

    fn row(&mut self, at: usize, kind: RowKind, row: &Row<'_>) -> Result<()> {
        let table = &mut self.tables[at];
        let missing = || out_of_order("a row without its image");
        match kind {
            RowKind::Insert => {
                let after = row.after.as_ref().ok_or_else(missing)?;
                table.rows.read(after, None)?;
                if table.rows.is_partial() {
                    return Err(partial(&self.tables[at].stream));
                }
                self.give(at, Op::Create, row, false)
            }
            RowKind::Delete => {
                table.rows.read(row.before.as_ref().ok_or_else(missing)?, None)?;
                self.give(at, Op::Delete, row, true)
            }
            RowKind::Update => {
                let (before, after) = (row.before.as_ref().ok_or_else(missing)?, row.after.as_ref().ok_or_else(missing)?);
                let shape = table.rows.shape().clone();
                let mut moved = false;
                for at in &shape.key_places {
                    let index = shape.places[*at];
                    let (old, new) = (before.cell(index)?, after.cell(index)?);
                    moved |= new != super::super::binlog::Cell::Absent && old != new;
                }
                if moved {
                    table.rows.read(before, None)?;
                    self.give(at, Op::Delete, row, true)?;
                    self.tables[at].rows.read(after, Some(before))?;
                    return self.give(at, Op::Create, row, false);
                }
                table.rows.read(after, Some(before))?;
                self.give(at, Op::Update, row, true)
            }
        }
    }

    /// Gives the current row of a table out, unless the snapshot has it or will have it.
    fn give(&mut self, at: usize, op: Op, row: &Row<'_>, known: bool) -> Result<()> {
        let Some(current) = &mut self.current else { return Err(out_of_order("a row outside a transaction")) };
        let at_us = current.at_us;
        let table = &mut self.tables[at];
        let mut first = false;
        if table.snapshot.is_some() {
            let key = table.rows.key()?.ok_or_else(|| partial(&table.stream))?;
            let ordered = table.rows.shape().ordered;
            if let Some(snapshot) = &mut table.snapshot {
                match snapshot.verdict(&key, ordered, &current.name, &current.begun) {
                    Verdict::LeaveOut => return Ok(()),
                    Verdict::Give => {}
                    Verdict::GiveFirst => first = true,
                }
            }
        }
        let transaction = marks(current);
        if first && op == Op::Delete {
            // It was never given out.
            return Ok(());
        }
        if first && op == Op::Update {
            // The row as it was, then its change.
            if let (Some(before), Some(after)) = (&row.before, &row.after) {
                table.rows.read(before, None)?;
                if table.rows.is_partial() {
                    return Err(partial(&table.stream));
                }
                let letter = table.rows.push(Op::Read, None, transaction)?;
                self.out.extend(letter.map(ChangeEvent::Dead));
                table.rows.read(after, Some(before))?;
                self.bytes += before.len();
            }
        }
        let before = if known { row.before.as_ref() } else { None };
        let letter = table.rows.push(op, before, transaction)?;
        self.out.extend(letter.map(ChangeEvent::Dead));
        self.bytes += row.before.map_or(0, |image| image.len()) + row.after.map_or(0, |image| image.len());
        if !self.dirty || self.deadline.is_none() {
            self.dirty = true;
            self.deadline = Some(Instant::now() + linger_by_delay(self.linger, at_us));
        }
        Ok(())
    }

    /// The table has this shape from here on.
    pub fn reshape(&mut self, at: usize, shape: Shape) -> Result<()> {
        self.finish(at)?;
        let old = self.tables[at].rows.shape().clone();
        let altered = std::mem::take(&mut self.tables[at].altered);
        // What has not been read yet has everything already.
        let unread = self.tables[at].snapshot.as_ref().is_some_and(TableSnapshot::is_untouched);
        let renamed = table::renames(&renamed(&altered), &old, &shape);
        let has = |shape: &Shape, name: &str| shape.raw.iter().any(|column| column.name == name);
        let mut fills = BTreeMap::new();
        for (name, fill) in old.fills.iter().filter(|_| !unread) {
            let now = renamed.iter().find(|(from, _)| from == name).map_or(name, |(_, to)| to);
            if has(&shape, now) {
                fills.insert(now.clone(), fill.clone());
            }
        }
        let mut unknown = false;
        for (name, fill) in added(&altered) {
            let Some(column) = shape.raw.iter().find(|column| column.name == name) else { continue };
            if unread || has(&old, &name) {
                continue;
            }
            match table::fill(column, &fill) {
                Some(text) => drop(fills.insert(name, text)),
                None => unknown |= fill != Fill::Null,
            }
        }
        let shape = Arc::new(shape.filled(fills));
        let before = self.before;
        let table = &mut self.tables[at];
        table.rows = Rows::new(table.stream.clone(), shape.clone(), before);
        let announced = std::mem::replace(&mut table.announced, true);
        if !old.same(&shape) || !announced {
            self.out.push_back(ChangeEvent::Schema(SchemaChange {
                stream: table.stream.clone(),
                schema: shape.schema.clone(),
                key: shape.key.clone(),
                renamed,
                statement: altered.last().map(|statement| statement.sql.clone()),
            }));
        }
        self.dirty = true;
        if unknown {
            self.reload(at)?;
        } else if !old.same_order(&shape) && self.tables[at].snapshot.is_some() && !unread {
            // Keys that were read can no more be compared with keys to come.
            self.emptied(at)?;
        }
        Ok(())
    }

    /// Rows whose table has just been described anew.
    pub fn reshaped(&mut self, at: usize, event: RowsEvent) -> Result<Step> {
        let untouched = self.tables[at].snapshot.as_ref().is_some_and(TableSnapshot::is_untouched);
        if !untouched {
            self.described(at, &event.table)?;
        }
        self.rows(event)
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
        self.bounded_at = Instant::now();
    }
}

fn marks(current: &mut Current) -> &Transaction {
    let Current { name, begun, at_us, server, thread, marks, .. } = current;
    marks.get_or_insert_with(|| {
        let position = match name {
            Name::Gtid(uuid, gno) => format!("{uuid}:{gno}"),
            Name::Maria(gtid) => gtid.to_string(),
            Name::Anonymous => begun.to_string(),
        };
        let id = match thread {
            Some(thread) => format!("{begun} {server} {thread}"),
            None => format!("{begun} {server} -"),
        };
        Transaction { position: position.into(), id: Some(id.into()), at_us: *at_us }
    })
}

fn alterations(altered: &[Statement]) -> impl Iterator<Item = Effect> {
    altered.iter().flat_map(|statement| ddl::effects(&statement.sql, &statement.database))
}

/// The renames that the statements say, in order. They name one table each; those of others that a statement names have none.
pub fn renamed(altered: &[Statement]) -> Vec<(String, String)> {
    alterations(altered)
        .flat_map(|effect| if let Effect::Altered { renamed, .. } = effect { renamed } else { Vec::new() })
        .collect()
}

fn added(altered: &[Statement]) -> Vec<(String, Fill)> {
    alterations(altered).flat_map(|effect| if let Effect::Altered { added, .. } = effect { added } else { Vec::new() }).collect()
}

#[cold]
fn out_of_order(what: &str) -> Error {
    Error::new("WEIR-MY-073", Kind::Data, "an event of the log stands where it cannot be understood").because(what.to_string())
}

#[cold]
fn partial(stream: &str) -> Error {
    Error::new("WEIR-MY-074", Kind::Unsupported, "the log has rows that are not whole")
        .at(stream.to_string())
        .because("a session wrote them with binlog_row_image other than FULL")
        .hint("SET GLOBAL binlog_row_image = 'FULL', and do not change it in sessions; then `weir state reset`")
}
