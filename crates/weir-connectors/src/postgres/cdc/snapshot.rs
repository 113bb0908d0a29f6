//! The snapshot, in chunks between the log's transactions, without a lock that writers feel and without a table of watermarks.
//!
//! A chunk is a range of keys, read in one REPEATABLE READ transaction; `S` is the set of transactions that it sees. The log is not read while
//! chunks are, so a chunk stands at one place `E` of the log. A change of key k by transaction X is
//! * left out, if k is in a range that was not read yet;
//! * left out, if k is in a chunk whose `S` has X;
//! * given out otherwise.
//!
//! Why the result is exact, and every key's changes are in order:
//! 1. What was processed before `E` is in `S`: a chunk is thrown away unless `S` has every transaction of which something was left out. (A
//!    commit is in the log a moment before it is visible.) So nothing that was left out is missing from the chunk.
//! 2. What comes after `E` and is in `S` is left out, because the chunk has it; what is not in `S` is given out, because it has not.
//! 3. If X changed k after W did, X waited for W's row lock, so `S` has W if it has X: what is left out of k's history is its beginning, the row
//!    of the chunk is the state at that point, and the rest follows in the order of the log.
//! 4. After the chunk's `until`, an end of the log taken under `S`, no transaction of `S` can come any more, and the chunk is forgotten.
//! 5. A crash keeps what was read up to the last boundary with its chunks' `S`; ranges after it are read again, with what was left out.
//!
//! A snapshot that is taken once more finds rows in the targets: what goes must go there too. So deletes are given out always, and once a chunk's range had one that
//! the chunk sees, so is everything after it there: the row may have been made anew. Other changes are left out as above: a target that is new has no rows
//! yet which an update without its large values could complete. With a condition of its own everything is given out. Rows then converge, and may show for a
//! moment what they were shortly before.
//!
//! The table is locked (ACCESS SHARE) before `S` is taken: what is not versioned, TRUNCATE and rewriting ALTER TABLE, cannot come in between. A
//! truncate in the log makes the table's snapshot begin anew. Tables whose keys only the server can compare are one chunk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_connect::{ChangeBatch, ChangeEvent, DeadLetter, Error, Result, TransactionMark};

use super::super::catalog::{self, TypeContext};
use super::super::client::{Client, Payload};
use super::super::copy_decode::Decoder;
use super::super::errors::sqlstate;
use super::super::quote::{self, ident, literal};
use super::core::{Core, TableSnapshot};
use super::decode::{Lsn, lsn_text, parse_lsn};
use super::key::{self, Bound, Chunk, Snapshot};
use super::log::Worker;
use super::position::TableProgress;
use super::slot;
use super::table::{self, Shape};

/// Bytes of a table per chunk, unless the options say otherwise.
const CHUNK_BYTES: u64 = 8 << 20;
const BLOCK: u64 = 8192;
/// Blocks that are looked at per chunk to find where it may end.
const SAMPLE_BLOCKS: u64 = 32;
const BATCH_ROWS: usize = 131_072;

/// What is planned for one table.
pub(super) struct Plan {
    /// Where chunks may end, in order; the last chunk has no end. `None` = not planned yet.
    bounds: Option<VecDeque<Bound>>,
    /// Which beginning of the table's snapshot they were planned for.
    begun: u64,
    /// Estimated bytes of the table.
    bytes: u64,
    /// Transactions before this one must have ended: they may have written before the table was published.
    fence: u64,
    /// Not before.
    again: Option<Instant>,
    /// Columns in the catalogue when they were last found to be those of the log, and how often the log had changed them by then.
    verified: Option<(String, u64)>,
    /// Other columns in the catalogue, and where the log was then.
    differs: Option<(String, Lsn)>,
}

/// The plans of the tables, by number.
#[derive(Default)]
pub struct Plans {
    tables: HashMap<u32, Plan>,
    idle: Vec<Client>,
}

impl Plans {
    /// A table that is to be read, of about this many bytes.
    pub fn add(&mut self, oid: u32, bytes: u64, fence: u64) {
        self.tables.insert(oid, Plan { bounds: None, begun: 0, bytes, fence, again: None, verified: None, differs: None });
    }

    /// The first table that has something to read.
    fn next(&self, core: &Core) -> Option<usize> {
        let ready = |oid: &u32| {
            let plan = self.tables.get(oid)?;
            let time = plan.again.is_none_or(|again| again <= Instant::now());
            let log = plan.differs.as_ref().is_none_or(|(_, lsn)| core.processed >= *lsn);
            (time && log).then_some(())
        };
        core.tables
            .iter()
            .position(|table| table.snapshot.as_ref().is_some_and(|found| !found.done) && ready(&table.oid).is_some())
    }

    /// Whether something can be read now.
    pub fn open(&self, core: &Core) -> bool {
        self.next(core).is_some()
    }

    /// When something can be read that cannot be now.
    pub fn again_at(&self, core: &Core) -> Option<Instant> {
        let open = core.tables.iter().filter(|table| table.snapshot.as_ref().is_some_and(|found| !found.done));
        open.filter_map(|table| self.tables.get(&table.oid)?.again).min()
    }

    /// Whether a table waits until the log is past a point.
    pub fn waits_for_log(&self, core: &Core) -> bool {
        let open = core.tables.iter().filter(|table| table.snapshot.as_ref().is_some_and(|found| !found.done));
        open.filter_map(|table| self.tables.get(&table.oid)?.differs.as_ref()).any(|(_, lsn)| core.processed < *lsn)
    }
}

/// The state that a position remembers; `None` if it does not fit the table any more.
pub fn resumed(progress: &TableProgress, shape: &Shape) -> Option<TableSnapshot> {
    let bound = |text: &Option<Vec<String>>| -> Option<Option<Bound>> {
        let Some(text) = text else { return Some(None) };
        let key = key::of_text(shape, text).ok()??;
        Some(Some(Bound { text: text.clone(), key }))
    };
    let mut chunks = Vec::new();
    for chunk in &progress.chunks {
        let (snapshot, until, gone) = (chunk.snapshot.clone(), chunk.until, chunk.gone);
        chunks.push(Chunk { after: bound(&chunk.after)?, to: bound(&chunk.to)?, snapshot, until, gone });
    }
    Some(TableSnapshot {
        done: progress.done,
        after: bound(&progress.after)?,
        chunks,
        again: progress.again.clone(),
        whole: shape.order.is_none(),
        ..TableSnapshot::default()
    })
}

/// A session that has the table locked and its snapshot taken.
struct View {
    client: Client,
    snapshot: Snapshot,
    until: Lsn,
    at_us: i64,
}

/// What comes from a chunk's session.
enum Piece {
    Rows(RecordBatch, u64),
    Dead(DeadLetter),
    End(Box<Client>),
}

/// An end of the log as other messages give it: a record never begins inside a page's head.
fn end_of_record(lsn: Lsn) -> Lsn {
    match lsn % BLOCK {
        head @ (24 | 40) => lsn - head,
        _ => lsn,
    }
}

fn condition(shape: &Shape, after: Option<&Bound>, to: Option<&Bound>, given: &[&str]) -> String {
    let row = |bound: &Bound| {
        let casts = bound.text.iter().zip(&shape.key_types).map(|(text, kind)| format!("{}::{kind}", literal(text)));
        format!("({})", casts.collect::<Vec<_>>().join(", "))
    };
    let key = format!("({})", quote::join_idents(shape.key.iter().map(String::as_str)));
    let mut parts = Vec::new();
    parts.extend(after.map(|after| format!("{key} > {}", row(after))));
    parts.extend(to.map(|to| format!("{key} <= {}", row(to))));
    parts.extend(given.iter().map(|given| format!("({given}\n)")));
    if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) }
}

impl Worker {
    /// Reads the next chunks, as many at a time as there are sessions. No transaction is open.
    pub(super) async fn chunks(&mut self) -> Result<()> {
        let read = self.some_chunks().await;
        self.turn_at = Instant::now();
        read
    }

    fn later(&mut self, oid: u32, wait: Duration) {
        if let Some(plan) = self.plans.tables.get_mut(&oid) {
            plan.again = Some(Instant::now() + wait);
        }
    }

    async fn some_chunks(&mut self) -> Result<()> {
        let Some(at) = self.plans.next(&self.core) else { return Ok(()) };
        let (oid, stream) = (self.core.tables[at].oid, self.core.tables[at].stream.clone());
        self.core.finish_all()?;
        self.emit_all().await?;
        self.plan(at).await?;
        let ranges = self.ranges(at);
        let mut views = Vec::new();
        for _ in &ranges {
            match self.view(&stream).await {
                Ok(view) => views.push(view),
                // Somebody alters the table: the log goes on meanwhile.
                Err(error) if sqlstate(&error) == Some("55P03") => {
                    self.later(oid, Duration::from_millis(500));
                    return self.give_back(views).await;
                }
                Err(error) => return Err(error.at(stream.to_string())),
            }
        }
        if !self.sees_all(at, &views) {
            // Visible any moment, unless it waits for a synchronous standby.
            self.later(oid, Duration::from_millis(5));
            return self.give_back(views).await;
        }
        if !self.same_columns(at, &mut views).await? {
            return self.give_back(views).await;
        }
        let result = self.read(at, &ranges, views).await;
        if result.is_ok() {
            self.boundary(false).await?;
        }
        result
    }

    /// Finds where chunks may end. Any key will do: only the sizes depend on it.
    async fn plan(&mut self, at: usize) -> Result<()> {
        let table = &self.core.tables[at];
        let (oid, stream, shape) = (table.oid, table.stream.clone(), table.rows.shape().clone());
        let Some(snapshot) = &table.snapshot else { return Ok(()) };
        let after = snapshot.after.clone();
        let (whole, begun) = (snapshot.whole, snapshot.begun);
        let Some(plan) = self.plans.tables.get_mut(&oid) else { return Ok(()) };
        if plan.bounds.is_some() && plan.begun == begun {
            return Ok(());
        }
        plan.begun = begun;
        let chunk_bytes = self.options.chunk_bytes.unwrap_or(CHUNK_BYTES);
        let chunks = plan.bytes.div_ceil(chunk_bytes);
        if whole || chunks <= 1 {
            plan.bounds = Some(VecDeque::new());
            return Ok(());
        }
        let key = quote::join_idents(shape.key.iter().map(String::as_str));
        let printed: Vec<String> = shape.key.iter().map(|name| format!("format('%s', {})", ident(name))).collect();
        let percent = (100.0 * (SAMPLE_BLOCKS * BLOCK) as f64 / chunk_bytes as f64).min(100.0);
        let (given, only) = (self.given(at), self.from(at));
        let sql = format!(
            "SELECT {} FROM (SELECT {key}, row_number() OVER (ORDER BY {key}) AS weir_row, count(*) OVER () AS weir_rows \
             FROM {only} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (7){}) AS sample \
             WHERE weir_row % greatest(weir_rows / {chunks}, 1) = 0 ORDER BY {key}",
            printed.join(", "),
            condition(&shape, after.as_ref(), None, &given)
        );
        let Self { control, wire, told, .. } = self;
        let rows = patiently(wire, *told, control.query(&sql, &[])).await.map_err(|error| error.at(stream.to_string()))?;
        let mut bounds: VecDeque<Bound> = VecDeque::new();
        for row in &rows {
            let text: Vec<String> = (0..shape.key.len()).map(|at| row.text(at).to_string()).collect();
            let found = key::of_text(&shape, &text).ok().flatten();
            let key =
                found.ok_or_else(|| Error::internal("a key that the server printed cannot be read").at(stream.to_string()))?;
            // Keys that compare equal here but not there would be a hole.
            if bounds.back().is_none_or(|last| last.key < key) {
                bounds.push_back(Bound { text, key });
            }
        }
        if let Some(plan) = self.plans.tables.get_mut(&oid) {
            plan.bounds = Some(bounds);
        }
        Ok(())
    }

    /// Conditions that all rows of the snapshot meet.
    fn given(&self, at: usize) -> Vec<&str> {
        let table = &self.core.tables[at];
        let only = table.snapshot.as_ref().and_then(|snapshot| snapshot.again.as_ref()?.only.as_deref());
        self.options.condition(&table.stream).into_iter().chain(only).collect()
    }

    fn from(&self, at: usize) -> String {
        let table = &self.core.tables[at];
        let name = quote::table(&table.stream).sql();
        if self.partitioned.contains(&table.oid) { name } else { format!("ONLY {name}") }
    }

    fn ranges(&mut self, at: usize) -> Vec<(Option<Bound>, Option<Bound>)> {
        let table = &self.core.tables[at];
        let Some(plan) = self.plans.tables.get_mut(&table.oid) else { return Vec::new() };
        let mut after = table.snapshot.as_ref().and_then(|snapshot| snapshot.after.clone());
        let mut bounds = plan.bounds.iter().flatten().cloned().peekable();
        let mut ranges = Vec::new();
        while ranges.len() < self.parallelism.max(1) {
            let to = bounds.next();
            let last = to.is_none();
            ranges.push((after.clone(), to.clone()));
            after = to;
            if last {
                break;
            }
        }
        ranges
    }

    /// A session with the table locked and a snapshot taken, in this order.
    async fn view(&mut self, stream: &str) -> Result<View> {
        let mut client = match self.plans.idle.pop() {
            Some(client) => client,
            None => {
                let mut client = Client::connect(&self.address).await?;
                client.batch("SET lc_monetary='C'").await?;
                client
            }
        };
        let name = quote::table(stream).sql();
        client
            .batch(&format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL row_security = off; SET LOCAL statement_timeout = 0; \
                 SET LOCAL lock_timeout = '500ms'; LOCK TABLE {name} IN ACCESS SHARE MODE"
            ))
            .await
            .map_err(|error| super::super::snapshot::name_table(error, &quote::table(stream)))?;
        let rows = client
            .query(
                "SELECT txid_current_snapshot()::text, pg_current_wal_insert_lsn(), (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
                &[],
            )
            .await?;
        let row = rows.first().ok_or_else(|| Error::internal("no snapshot").at(stream.to_string()))?;
        let snapshot = Snapshot::try_from(row.text(0).to_string()).map_err(Error::internal)?;
        let until = parse_lsn(row.text(1)).ok_or_else(|| Error::internal("no end of the log").at(stream.to_string()))?;
        Ok(View { client, snapshot, until: end_of_record(until), at_us: row.int(2) })
    }

    async fn give_back(&mut self, views: Vec<View>) -> Result<()> {
        for mut view in views {
            if view.client.usable() {
                view.client.batch("ROLLBACK").await?;
                self.plans.idle.push(view.client);
            }
        }
        Ok(())
    }

    /// Whether the snapshots have everything that was left out so far.
    fn sees_all(&mut self, at: usize, views: &[View]) -> bool {
        let table = &mut self.core.tables[at];
        let fence = self.plans.tables.get(&table.oid).map_or(0, |plan| plan.fence);
        let Some(snapshot) = &mut table.snapshot else { return false };
        if views.iter().any(|view| view.snapshot.xmin < fence) {
            return false;
        }
        if !snapshot.left_out.iter().all(|xid| views.iter().all(|view| view.snapshot.sees(*xid))) {
            return false;
        }
        // Later snapshots see them too.
        snapshot.left_out.clear();
        true
    }

    /// Whether the catalogue has the columns that the log has at this point. If it is ahead, the log must come up to it first; if nothing more
    /// is said about it there, then from here on the catalogue is right.
    async fn same_columns(&mut self, at: usize, views: &mut [View]) -> Result<bool> {
        let Some(view) = views.first_mut() else { return Ok(false) };
        let (oid, stream, shapes) = {
            let table = &self.core.tables[at];
            (table.oid, table.stream.clone(), table.shapes)
        };
        let sql = "SELECT md5(string_agg(format('%s %s %s %s %s', attnum, attname, atttypid, atttypmod, attnotnull), ',' ORDER BY attnum)) \
                   FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped";
        let rows = view.client.query(sql, &[Some(&oid.to_string())]).await?;
        let print = rows.first().map(|row| row.text(0).to_string()).unwrap_or_default();
        let Some(plan) = self.plans.tables.get_mut(&oid) else { return Ok(false) };
        if plan.verified.as_ref().is_some_and(|(known, count)| *known == print && *count == shapes) {
            return Ok(true);
        }
        let name = quote::table(&stream);
        let relation = catalog::find(&mut view.client, &name).await?;
        let Some(relation) = relation.filter(|relation| relation.oid == oid) else {
            return Err(slot::table_replaced(&stream, view.client.place()));
        };
        let tables = table::load(&mut view.client, std::slice::from_ref(&relation)).await?;
        let columns = slot::columns(&mut view.client, &self.names, &tables).await?;
        let (Some(table), Some(columns)) = (tables.first(), columns.first()) else { return Ok(false) };
        let types = TypeContext::load(&mut view.client, columns.iter().map(|column| column.raw.type_oid)).await?;
        let shape = Shape::new(columns, &table.key, &types, &self.on_loss);
        let current = self.core.tables[at].rows.shape().clone();
        // Nullability is not what makes rows fit.
        let fits = shape.wire == current.wire && shape.key == current.key;
        let until = view.until;
        let processed = self.core.processed;
        let Some(plan) = self.plans.tables.get_mut(&oid) else { return Ok(false) };
        if !fits {
            let seen = plan.differs.take().is_some_and(|(known, lsn)| known == print && processed >= lsn);
            if !seen {
                plan.differs = Some((print, until));
                return Ok(false);
            }
            if shape.needs_text && self.binary {
                self.in_text().await?;
            }
            self.core.reshape(oid, Arc::new(shape), false)?;
            self.emit_all().await?;
            // The key may be another one: what is planned is looked at again.
            self.later(oid, Duration::ZERO);
            return Ok(false);
        }
        plan.differs = None;
        plan.verified = Some((print, shapes));
        Ok(true)
    }

    /// Reads the ranges side by side and hands their rows out.
    async fn read(&mut self, at: usize, ranges: &[(Option<Bound>, Option<Bound>)], views: Vec<View>) -> Result<()> {
        let (oid, stream, shape) = {
            let table = &self.core.tables[at];
            (table.oid, table.stream.clone(), table.rows.shape().clone())
        };
        let from = self.from(at);
        let (sender, mut pieces) = mpsc::channel(2);
        let mut sessions = JoinSet::new();
        let mut chunks = Vec::new();
        let mut marks = Vec::new();
        for (index, ((after, to), view)) in ranges.iter().zip(views).enumerate() {
            let given = self.given(at);
            let sql = format!(
                "COPY (SELECT {} FROM {from}{}) TO STDOUT (FORMAT binary)",
                shape.select_list(),
                condition(&shape, after.as_ref(), to.as_ref(), &given)
            );
            chunks.push(Chunk { after: after.clone(), to: to.clone(), snapshot: view.snapshot, until: view.until, gone: false });
            marks.push((lsn_text(view.until), view.at_us));
            let (sender, shape, stream, batch_bytes) = (sender.clone(), shape.clone(), stream.clone(), self.batch_bytes);
            let mut client = view.client;
            client.about(&stream);
            sessions.spawn(async move {
                if let Err(error) = copy(client, &sql, &shape, &stream, batch_bytes, index, &sender).await {
                    let _ = sender.send((index, Err(error))).await;
                }
            });
        }
        drop(sender);
        let mut open = ranges.len();
        while open > 0 {
            let piece = tokio::select! {
                piece = pieces.recv() => piece,
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    self.status(false, false).await?;
                    continue;
                }
                () = self.events.closed() => return Err(Error::cancelled()),
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
                    let (position, at_us) = &marks[index];
                    let mark = TransactionMark {
                        end: rows.num_rows(),
                        position: position.as_str().into(),
                        id: None,
                        committed_at_us: *at_us,
                    };
                    let batch = ChangeBatch::read(stream.clone(), rows, mark, self.before_images, source_bytes)?;
                    self.core.dirty = true;
                    self.core.announce(at);
                    self.emit_all().await?;
                    self.emit(ChangeEvent::Changes(batch)).await?;
                }
            }
        }
        // Only now, and whole: a boundary in between would say that half a chunk was read.
        let last = ranges.last().and_then(|(_, to)| to.clone());
        if let Some(snapshot) = &mut self.core.tables[at].snapshot {
            snapshot.done = last.is_none();
            snapshot.after = last;
            snapshot.chunks.append(&mut chunks);
        }
        if let Some(plan) = self.plans.tables.get_mut(&oid) {
            plan.again = None;
            for _ in 0..ranges.len() {
                plan.bounds.as_mut().and_then(VecDeque::pop_front);
            }
        }
        if self.core.tables.iter().all(|table| table.snapshot.as_ref().is_none_or(|snapshot| snapshot.done)) {
            for client in self.plans.idle.drain(..) {
                client.close().await;
            }
        }
        Ok(())
    }
}

/// Waits for the work; the server hears from us meanwhile.
async fn patiently<T>(wire: &mut Client, durable: Lsn, work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = work.as_mut() => return done,
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
        wire.send_status(durable, durable, false).await?;
    }
}

/// One chunk, to its end.
async fn copy(
    mut client: Client,
    sql: &str,
    shape: &Shape,
    stream: &str,
    batch_bytes: usize,
    index: usize,
    sender: &mpsc::Sender<(usize, Result<Piece>)>,
) -> Result<()> {
    client.copy_out(sql).await?;
    let travels: Vec<_> = shape.columns.iter().map(|column| column.travel.clone()).collect();
    let mut decoder = Decoder::new(shape.batch.clone(), &travels);
    let mut more = true;
    while more {
        more = client
            .fetch(|payload| {
                match payload {
                    Payload::Copy(bytes) => decoder.feed(bytes)?,
                    Payload::Row(row) => decoder.feed_row(row)?,
                }
                Ok(decoder.bytes() >= batch_bytes || decoder.rows() >= BATCH_ROWS)
            })
            .await?;
        if !more {
            decoder.end().map_err(|error| error.at(stream.to_string()))?;
        }
        let bytes = decoder.bytes() as u64;
        for dead in decoder.take_dead() {
            let column = shape.columns.get(dead.column).map(|column| column.name.as_str()).unwrap_or_default();
            let letter = DeadLetter {
                stream: stream.to_string(),
                code: "WEIR-PG-040".into(),
                reason: format!("column `{column}`: {}; `on_loss: {{{column}: string}}` carries it as text", dead.reason),
                place: format!("snapshot of {stream}"),
                payload: dead.tuple,
                media_type: "application/vnd.postgresql.copy-tuple".into(),
            };
            if sender.send((index, Ok(Piece::Dead(letter)))).await.is_err() {
                return Ok(());
            }
        }
        if let Some(rows) = decoder.take_batch()?
            && sender.send((index, Ok(Piece::Rows(rows, bytes)))).await.is_err()
        {
            return Ok(());
        }
    }
    client.batch("COMMIT").await?;
    let _ = sender.send((index, Ok(Piece::End(Box::new(client))))).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_log_is_never_inside_the_head_of_a_page() {
        assert_eq!(end_of_record(0x200_0018), 0x200_0000);
        assert_eq!(end_of_record(0x200_0028), 0x200_0000);
        assert_eq!(end_of_record(0x200_0030), 0x200_0030);
    }
}
