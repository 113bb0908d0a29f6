//! The snapshot, in ranges of the key between the log's transactions, without a lock and without a table of watermarks.
//!
//! A range is read under a view `S` of a transaction of its own. The place of `S` in the log is known between two bounds: `low`, transactions
//! that `S` surely sees, and `high`, an end of the log taken after `S` was: a transaction is in the log before others see it, so `S` sees nothing
//! behind `high`. In order: the view is opened, the log is read up to `high`, the range is read and given out, the log goes on. A change of key
//! k by transaction X, while the log is read up to `high`, is
//! * left out, if k is in a range that was not read yet and has no view;
//! * given out, if k is in a range that was read;
//! * if k is in the range of `S`: left out if `low` has X and nothing of k was given out since the view was opened; else given out, and k is
//!   *touched*. The first one brings the row as it was before with it (the log has whole rows), unless it is an insert; a delete that comes first
//!   brings nothing, because nothing of k was given out.
//!
//! Then the range is given out without the touched keys. Why the result is exact, and every key's changes are in order:
//! 1. A view is thrown away unless `low` has every transaction of which something was left out before it was opened. (A commit is in the log
//!    a moment before it is visible.) So nothing that was left out is missing from `S`.
//! 2. A key that is not touched was changed, up to `high`, by transactions of `low` only, and `S` sees nothing behind `high`: the row in `S` is the
//!    row at `high`.
//! 3. For a touched key the row before the first change that was given out is the row that the log had then; everything after it is given out.
//!    What was left out before it is in `low`, so in that row. That the view may see this change or not does not matter: its row is not used.
//! 4. Behind `high` everything is given out, and the range counts as read. A boundary comes only now: a crash before it begins the range again.
//!
//! Where `low` and `high` come from:
//! * MySQL with GTIDs: `low` is `gtid_executed`, read before the view is opened: a transaction is added to it after the engine's commit.
//! * MySQL without: `low` is the place in `performance_schema.log_status`, at which no commit was under way, read before the view is opened.
//! * MariaDB: `START TRANSACTION WITH CONSISTENT SNAPSHOT` and `binlog_snapshot_file`, `binlog_snapshot_position`: exactly where `S` stands.
//! * `high` is `SHOW MASTER STATUS`, read when all views are open.
//!
//! The table is named in the transaction before it is read (before the view, where the server lets us): it cannot be altered until the range is
//! read. At `high` the log has told everything that made the columns what they are in the catalogue. TRUNCATE and everything that changes rows
//! without a trace in the log begin the table's snapshot anew, after a truncate in the stream. Keys whose first columns only the server can compare
//! are one range.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_connect::{ChangeBatch, ChangeEvent, DeadLetter, Error, Result, TransactionMark};

use super::super::catalog;
use super::super::client::{Client, Param};
use super::super::errors;
use super::super::key::parameter;
use super::super::quote::{TableName, ident, join_idents};
use super::super::types::Travel;
use super::super::values::Decoder;
use super::core::Core;
use super::key::{self, Bound, Key};
use super::log::{Worker, no_key, stopped};
use super::position::{Done, Family, Place};
use super::rows::letter;
use super::server;
use super::table::Shape;
use super::window::Window;

/// Bytes of a table per chunk, unless the options say otherwise.
const CHUNK_BYTES: u64 = 8 << 20;
const BATCH_ROWS: usize = 131_072;
/// The log is read to its end before a view is opened, if the end is farther away.
const NEAR: u64 = 64 << 20;

/// What is planned for one table.
#[derive(Default)]
struct Plan {
    /// Rows per chunk, estimated for the beginning of the snapshot with this number.
    rows: Option<(u64, u64)>,
    /// Not before.
    again: Option<Instant>,
    /// Not before the log is there.
    reach: Option<Place>,
}

/// The plans of the tables, by their place in the core, and sessions for their chunks.
#[derive(Default)]
pub struct Plans {
    tables: HashMap<usize, Plan>,
    idle: Vec<Client>,
}

impl Plans {
    /// The first table that has something to read.
    fn next(&self, core: &Core) -> Option<usize> {
        let ready = |at: &usize| {
            let Some(plan) = self.tables.get(at) else { return true };
            plan.again.is_none_or(|again| again <= Instant::now()) && plan.reach.as_ref().is_none_or(|reach| core.place >= *reach)
        };
        let open = core.tables.iter().enumerate().filter(|(_, table)| table.snapshot.is_some() && !table.gone);
        open.map(|(at, _)| at).find(ready)
    }

    /// Whether something can be read now.
    pub fn open(&self, core: &Core) -> bool {
        // Before the server has said where it is, nothing can be compared with its places.
        !core.place.file.is_empty() && self.next(core).is_some()
    }

    /// When something can be read that cannot be now.
    pub fn again_at(&self, core: &Core) -> Option<Instant> {
        let open = core.tables.iter().enumerate().filter(|(_, table)| table.snapshot.is_some());
        open.filter_map(|(at, _)| self.tables.get(&at)?.again).min()
    }
}

/// A session that has its view of the table.
struct View {
    client: Client,
    /// What it surely sees.
    low: Done,
    at_us: i64,
}

/// What comes from a chunk's session.
enum Piece {
    Rows(RecordBatch, u64),
    Dead(DeadLetter),
    End(Box<Client>),
}

/// Keys above one bound and up to another, compared from the first column; the parameters in order.
fn condition(
    names: &[&str],
    travels: &[Travel],
    after: Option<&Bound>,
    to: Option<&Bound>,
    given: Option<&str>,
) -> (String, Vec<Param>) {
    let (mut parts, mut parameters) = (Vec::new(), Vec::new());
    let mut compare = |bound: &Bound, sign: &str, last: &str, start: &str| {
        let values: Vec<Param> = travels.iter().zip(&bound.text).map(|(travel, text)| parameter(travel, text)).collect();
        let mut alternatives = Vec::new();
        for at in 0..names.len() {
            let mut equal: Vec<String> = names[..at].iter().map(|name| format!("{} = ?", ident(name))).collect();
            let sign = if at + 1 == names.len() { last } else { sign };
            equal.push(format!("{} {sign} ?", ident(names[at])));
            parameters.extend(values[..=at].iter().cloned());
            alternatives.push(format!("({})", equal.join(" AND ")));
        }
        // Says nothing new, but lets the server begin or end its range there.
        parts.push(format!("({}) AND {} {start} ?", alternatives.join(" OR "), ident(names[0])));
        parameters.extend(values.first().cloned());
    };
    if let Some(after) = after {
        compare(after, ">", ">", ">=");
    }
    if let Some(to) = to {
        compare(to, "<", "<=", "<=");
    }
    parts.extend(given.map(|given| format!("({given}\n)")));
    let sql = if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) };
    (sql, parameters)
}

/// The columns that ranges are made of: names and how they travel.
fn ordered(shape: &Shape) -> (Vec<&str>, Vec<Travel>) {
    let columns = shape.key_places.iter().take(shape.ordered).map(|at| &shape.columns[*at]);
    columns.map(|column| (column.name.as_str(), column.travel.clone())).unzip()
}

/// The bound that a position remembers; `None` if it does not fit the table any more.
pub fn resumed(shape: &Shape, text: &[String]) -> Option<Bound> {
    key::bound(&ordered(shape).1, text.to_vec())
}

impl Worker {
    /// Reads the next chunks, as many at a time as there are sessions. No transaction is open.
    pub(super) async fn chunks(&mut self) -> Result<()> {
        let read = self.some_chunks().await;
        self.holding = false;
        self.turn_at = Instant::now();
        read
    }

    fn later(&mut self, at: usize, wait: Duration) {
        self.plans.tables.entry(at).or_default().again = Some(Instant::now() + wait);
    }

    async fn some_chunks(&mut self) -> Result<()> {
        let Some(at) = self.plans.next(&self.core) else { return Ok(()) };
        let (name, begun) = {
            let table = &self.core.tables[at];
            (table.name.clone(), table.snapshot.as_ref().map(|snapshot| snapshot.begun))
        };
        self.core.finish_all()?;
        self.emit_all().await?;
        // Far from the end, the window between view and log would be long.
        let end = server::end(&mut self.control).await?;
        let plan = self.plans.tables.entry(at).or_default();
        (plan.again, plan.reach) = (None, None);
        if self.core.place.distance(&end).is_none_or(|bytes| bytes > NEAR) {
            plan.reach = Some(end);
            return Ok(());
        }
        let ranges = match self.ranges(at).await {
            Ok(ranges) => ranges,
            // The catalogue is ahead of the log: another name, or no table any more.
            Err(error) if matches!(errors::number(&error), Some(1054 | 1146 | 1072 | 1176)) => {
                self.later(at, Duration::from_millis(200));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut views = Vec::new();
        for _ in &ranges {
            match self.view(&name).await {
                Ok(view) => views.push(view),
                // Somebody alters the table, or has just done so: the log goes on meanwhile.
                Err(error) if matches!(errors::number(&error), Some(1205 | 1412 | 1146 | 1020)) => {
                    self.later(at, Duration::from_millis(200));
                    return self.give_back(views).await;
                }
                Err(error) => return Err(error.at(name.display())),
            }
        }
        let high = server::end(&mut self.control).await?;
        let Some(snapshot) = &mut self.core.tables[at].snapshot else { return self.give_back(views).await };
        if !views.iter().all(|view| view.low.covers(&snapshot.left_out)) {
            self.later(at, Duration::from_millis(5));
            return self.give_back(views).await;
        }
        // Later views see them too.
        snapshot.left_out = snapshot.left_out.none();
        let window = |((after, to), view): (&(Option<Bound>, Option<Bound>), &View)| Window {
            after: after.clone(),
            to: to.clone(),
            low: view.low.clone(),
            touched: HashSet::new(),
        };
        snapshot.windows = ranges.iter().zip(&views).map(window).collect();
        self.holding = true;
        self.read_to(&high).await?;
        if self.same_columns(at, &name).await? && self.begun(at) == begun {
            self.read(at, &ranges, views, &high).await?;
            self.holding = false;
            self.boundary(false).await
        } else {
            // A restart has taken the windows away; else they are not needed any more, and what they have touched was given out.
            self.give_back(views).await?;
            self.holding = false;
            if self.begun(at) == begun {
                self.core.reload(at)?;
                self.emit_all().await?;
            }
            self.boundary(false).await
        }
    }

    fn begun(&self, at: usize) -> Option<u64> {
        self.core.tables[at].snapshot.as_ref().map(|snapshot| snapshot.begun)
    }

    /// Reads the log up to a place, and gives it out without a boundary.
    async fn read_to(&mut self, high: &Place) -> Result<()> {
        while !(self.core.between_transactions() && self.core.place >= *high) {
            let event = tokio::select! {
                event = self.stream.next() => event?,
                () = self.events.closed() => return Err(stopped()),
            };
            self.event(event).await?;
        }
        self.core.finish_all()?;
        self.emit_all().await
    }

    /// The next ranges. Any keys will do as their bounds: only the sizes depend on it.
    async fn ranges(&mut self, at: usize) -> Result<Vec<(Option<Bound>, Option<Bound>)>> {
        let table = &self.core.tables[at];
        let (name, stream, shape) = (table.name.clone(), table.stream.clone(), table.rows.shape().clone());
        let Some(snapshot) = &table.snapshot else { return Ok(Vec::new()) };
        let (mut after, begun) = (snapshot.after.clone(), snapshot.begun);
        let (names, travels) = ordered(&shape);
        if names.is_empty() {
            return Ok(vec![(None, None)]);
        }
        let chunk_rows = match self.plans.tables.entry(at).or_default().rows {
            Some((known, rows)) if known == begun => rows,
            _ => {
                let relation = catalog::find(&mut self.control, &name).await?;
                let (rows, bytes) = relation.map_or((0, 0), |relation| (relation.rows.unwrap_or(0), relation.bytes));
                let width = bytes.checked_div(rows).unwrap_or(0).max(32);
                let rows = (self.options.chunk_bytes.unwrap_or(CHUNK_BYTES) / width).max(16);
                self.plans.tables.entry(at).or_default().rows = Some((begun, rows));
                rows
            }
        };
        let given = self.given(at);
        let printed: Vec<String> = names.iter().zip(&travels).map(|(name, travel)| key::printed(name, travel)).collect();
        let keys = join_idents(names.iter().copied());
        let mut ranges = Vec::new();
        while ranges.len() < self.parallelism {
            let (condition, parameters) = condition(&names, &travels, after.as_ref(), None, given.as_deref());
            let sql = format!(
                "SELECT {} FROM {} FORCE INDEX (PRIMARY){condition} ORDER BY {keys} LIMIT 1 OFFSET {}",
                printed.join(", "),
                name.sql(),
                chunk_rows - 1
            );
            let rows = self.control.query(&sql, &parameters).await?;
            let Some(row) = rows.first() else {
                ranges.push((after, None));
                break;
            };
            let text = (0..names.len()).map(|at| row.text(at).to_string()).collect();
            let to = key::bound(&travels, text).filter(|to| after.as_ref().is_none_or(|after| after.key < to.key));
            let to = to.ok_or_else(|| Error::internal("a key that the server printed cannot be read").at(stream.to_string()))?;
            ranges.push((after, Some(to.clone())));
            after = Some(to);
        }
        Ok(ranges)
    }

    /// A session in a transaction that has the table and its view.
    async fn view(&mut self, name: &TableName) -> Result<View> {
        let mut client = match self.plans.idle.pop() {
            Some(client) => client,
            None => {
                let mut client = Client::connect(&self.address).await?;
                client.batch("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
                client.batch("SET SESSION lock_wait_timeout = 1").await?;
                client
            }
        };
        let table = name.sql();
        let low = if self.position.family == Family::Mariadb {
            client.batch("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
            let place = server::place_of_view(&mut client).await?;
            // From here on it cannot be altered; if it was in between, the view cannot be used, and the server says so.
            client.batch(&format!("SELECT 1 FROM {table} LIMIT 1")).await?;
            Done::Upto(place)
        } else {
            client.batch("START TRANSACTION READ ONLY").await?;
            // Takes the table, and no view.
            client.batch(&format!("SELECT 1 FROM {table} LIMIT 0")).await?;
            let low = match self.position.family {
                Family::Gtids => Done::Gtids(server::executed(&mut client).await?),
                _ => Done::Upto(server::settled(&mut client).await?),
            };
            client.batch(&format!("SELECT 1 FROM {table} LIMIT 1")).await?;
            low
        };
        let rows = client.simple("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)").await?;
        let at_us = rows.first().map_or(0, |row| row.int(0));
        Ok(View { client, low, at_us })
    }

    async fn give_back(&mut self, views: Vec<View>) -> Result<()> {
        for mut view in views {
            view.client.batch("ROLLBACK").await?;
            self.plans.idle.push(view.client);
        }
        Ok(())
    }

    /// Takes the catalogue's columns over: the table cannot be altered now, and the log was read up to here. Whether the key is as it was.
    async fn same_columns(&mut self, at: usize, name: &TableName) -> Result<bool> {
        let found = catalog::shape(&mut self.control, name).await?;
        let table = &self.core.tables[at];
        let current = table.rows.shape().clone();
        let (boolean, on_loss) = (self.options.tinyint1_as_boolean, &self.on_loss);
        let shape = Shape::new(found.columns, &found.key, current.fills.clone(), boolean, on_loss);
        if shape.key.is_empty() {
            return Err(no_key(&name.display(), self.control.place(), "it has no primary key any more"));
        }
        let same_types = shape
            .raw
            .iter()
            .map(|column| (&column.name, &column.of))
            .eq(current.raw.iter().map(|column| (&column.name, &column.of)));
        if same_types && table.altered.is_empty() && shape.same(&current) && shape.ordered == current.ordered {
            return Ok(true);
        }
        let same = shape.same_order(&current);
        self.core.reshape(at, shape)?;
        self.emit_all().await?;
        Ok(same)
    }

    /// A condition that all rows of the snapshot meet.
    fn given(&self, at: usize) -> Option<String> {
        let table = &self.core.tables[at];
        let only = table.snapshot.as_ref().and_then(|snapshot| snapshot.again.as_ref()?.only.as_deref());
        match (self.options.condition(&table.stream, &self.address.database), only) {
            (Some(given), Some(only)) => Some(format!("({given}\n) AND ({only}\n)")),
            (given, only) => given.or(only).map(str::to_owned),
        }
    }

    /// Reads the ranges side by side and hands their rows out.
    async fn read(&mut self, at: usize, ranges: &[(Option<Bound>, Option<Bound>)], views: Vec<View>, high: &Place) -> Result<()> {
        let (stream, name, shape, windows) = {
            let table = &mut self.core.tables[at];
            let windows = table.snapshot.as_mut().map(|snapshot| std::mem::take(&mut snapshot.windows)).unwrap_or_default();
            (table.stream.clone(), table.name.sql(), table.rows.shape().clone(), windows)
        };
        let position: Arc<str> = high.to_string().into();
        let (sender, mut pieces) = mpsc::channel(2);
        let mut sessions = JoinSet::new();
        let mut moments = Vec::new();
        for (index, ((range, view), window)) in ranges.iter().zip(views).zip(windows).enumerate() {
            let (names, travels) = ordered(&shape);
            let given = self.given(at);
            let (condition, parameters) = condition(&names, &travels, range.0.as_ref(), range.1.as_ref(), given.as_deref());
            let force = if names.is_empty() { "" } else { " FORCE INDEX (PRIMARY)" };
            let sql = format!("SELECT {} FROM {name}{force}{condition}", shape.select_list());
            moments.push(view.at_us);
            let mut client = view.client;
            client.about(&stream);
            let chunk = Chunk {
                sql,
                parameters,
                shape: shape.clone(),
                touched: window.touched,
                stream: stream.clone(),
                bytes: self.batch_bytes,
            };
            let sender = sender.clone();
            sessions.spawn(async move {
                if let Err(error) = chunk.copy(client, index, &sender).await {
                    let _ = sender.send((index, Err(error))).await;
                }
            });
        }
        drop(sender);
        let mut open = ranges.len();
        while open > 0 {
            let piece = tokio::select! {
                piece = pieces.recv() => piece,
                () = self.events.closed() => return Err(stopped()),
            };
            let Some((index, piece)) = piece else { return Err(Error::internal("a chunk ended without its end")) };
            match piece? {
                Piece::End(client) => {
                    open -= 1;
                    self.plans.idle.push(*client);
                }
                Piece::Dead(letter) => {
                    self.core.dirty = true;
                    self.emit(ChangeEvent::Dead(letter)).await?;
                }
                Piece::Rows(rows, source_bytes) => {
                    let mark = TransactionMark {
                        end: rows.num_rows(),
                        position: position.clone(),
                        id: None,
                        committed_at_us: moments[index],
                    };
                    let batch = ChangeBatch::read(stream.clone(), rows, mark, self.before_images, source_bytes)?;
                    self.core.dirty = true;
                    self.core.announce(at);
                    self.emit_all().await?;
                    self.emit(ChangeEvent::Changes(batch)).await?;
                }
            }
        }
        let last = ranges.last().and_then(|(_, to)| to.clone());
        let table = &mut self.core.tables[at];
        match (&mut table.snapshot, last) {
            (Some(snapshot), Some(last)) => snapshot.after = Some(last),
            (snapshot, _) => *snapshot = None,
        }
        if self.core.tables.iter().all(|table| table.snapshot.is_none()) {
            for client in self.plans.idle.drain(..) {
                client.close().await;
            }
        }
        Ok(())
    }
}

/// What one session reads.
struct Chunk {
    sql: String,
    parameters: Vec<Param>,
    shape: Arc<Shape>,
    touched: HashSet<Key>,
    stream: Arc<str>,
    bytes: usize,
}

impl Chunk {
    /// To its end.
    async fn copy(self, mut client: Client, index: usize, sender: &mpsc::Sender<(usize, Result<Piece>)>) -> Result<()> {
        let shape = &*self.shape;
        let kinds = client.portal(&self.sql, &self.parameters).await?;
        let mut decoder = Decoder::new(shape.batch.clone(), &shape.columns, kinds.clone());
        let mut ready = VecDeque::new();
        let mut more = true;
        while more {
            more = client
                .fetch(|row| {
                    let touched = !self.touched.is_empty()
                        && key::of_row(row, &kinds, &shape.columns, &shape.key_places)
                            .is_some_and(|key| self.touched.contains(&key));
                    if !touched {
                        decoder.feed(row, &self.stream)?;
                    }
                    Ok(decoder.bytes() >= self.bytes || decoder.rows() >= BATCH_ROWS)
                })
                .await?;
            for dead in decoder.take_dead() {
                ready.push_back(Piece::Dead(letter(&self.stream, shape, dead, format!("snapshot of {}", self.stream))));
            }
            if let Some((rows, bytes)) = decoder.take_batch()? {
                ready.push_back(Piece::Rows(rows, bytes));
            }
            while let Some(piece) = ready.pop_front() {
                if sender.send((index, Ok(piece))).await.is_err() {
                    return Ok(());
                }
            }
        }
        client.batch("COMMIT").await?;
        let _ = sender.send((index, Ok(Piece::End(Box::new(client))))).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_composite_keys_are_lexicographic() {
        let bound = |a: &str, b: &str| key::bound(&[Travel::Int64, Travel::Text], vec![a.into(), b.into()]).unwrap();
        let travels = [Travel::Int64, Travel::Text];
        let (sql, parameters) =
            condition(&["a", "b"], &travels, Some(&bound("1", "x")), Some(&bound("2", "y")), Some("n > 0 -- c"));
        assert_eq!(
            sql,
            " WHERE ((`a` > ?) OR (`a` = ? AND `b` > ?)) AND `a` >= ? AND ((`a` < ?) OR (`a` = ? AND `b` <= ?)) AND `a` <= ? AND (n > 0 -- c\n)"
        );
        let texts = ["1", "1", "x", "1", "2", "2", "y", "2"];
        let expected: Vec<Param> =
            texts.iter().map(|text| text.parse().map_or_else(|_| Param::Text((*text).into()), Param::Int)).collect();
        assert_eq!(parameters, expected);
        assert_eq!(condition(&[], &[], None, None, None).0, "");
    }
}
