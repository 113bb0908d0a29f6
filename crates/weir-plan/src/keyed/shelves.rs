//! Rows that an operator keeps, on shelves of time: those of one side of a join, say, by the span of time that theirs is in.
//!
//! A shelf is taken away as a whole, found by time and, on it, by the hash of its keys; whether two rows belong together is decided by
//! whoever asks. Rows are written once, in the epoch in which they came; a shelf that is written may leave memory and is read back when it
//! is asked for. Of each row there may be a mark that it is done with, which stays in memory.
//!
//! The state: under the beginning of a shelf and the number of the side, rows as chunks under the number of their first row and how many
//! they are; and marks, a bit for each, in chunks of [`CHUNK`] rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave, take, take_record_batch};
use arrow::datatypes::{DataType, FieldRef, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType};
use arrow::row::{RowConverter, Rows, SortField};
use bytes::Bytes;
use datafusion::physical_expr::PhysicalExpr;
use weir_connect::Result;
use weir_error::{Error, Kind};

use super::run::Given;
use super::state::{self, CHUNK, failed, foreign};
use super::{StateChange, Stored};

/// Pieces of a shelf that are brought together when there are more.
const PIECES: usize = 256;
/// Under the beginning of a shelf and its side.
const ROWS: u8 = 0;
const DONE: u8 = 1;

/// Rows that come to an operator: one side of a join, or all there are.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) node: String,
    /// Rows as they come.
    pub(super) schema: SchemaRef,
    /// The column with the event time.
    pub(super) time: usize,
    /// What is equal on both sides, in one order and of one type each.
    pub(super) keys: Vec<(Arc<dyn PhysicalExpr>, FieldRef)>,
    /// Somebody reads the rows that come too late.
    pub(super) late: bool,
}

impl Side {
    /// The times of rows in microseconds, rounded down.
    pub(super) fn times(&self, batch: &RecordBatch) -> Result<Vec<i64>> {
        let column = batch.column(self.time);
        if column.null_count() > 0 {
            return Err(Error::new("WEIR-KEYED-003", Kind::Data, "a row has no time").at(format!("node `{}`", self.node)));
        }
        if let DataType::Timestamp(TimeUnit::Nanosecond, _) = column.data_type() {
            let times = column.as_primitive::<TimestampNanosecondType>().values();
            return Ok(times.iter().map(|time| time.div_euclid(1_000)).collect());
        }
        let micros = arrow::compute::cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))
            .map_err(|error| Error::internal("a time that is none").caused_by(error))?;
        Ok(micros.as_primitive::<TimestampMicrosecondType>().values().to_vec())
    }

    /// What keys become bytes with; `None` if there are none.
    pub(super) fn converter(&self) -> Result<Option<RowConverter>> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let fields = self.keys.iter().map(|(_, field)| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(|error| failed(&self.node)(error.into()))?;
        Ok(Some(converter))
    }

    /// The keys of rows as bytes, and which rows have one: NULL is equal to nothing.
    pub(super) fn keys(&self, batch: &RecordBatch, converter: &RowConverter) -> Result<(Rows, Vec<bool>)> {
        let wrong = failed(&self.node);
        let mut has = vec![true; batch.num_rows()];
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.keys.len());
        for (key, _) in &self.keys {
            let column = key.evaluate(batch).and_then(|value| value.into_array(batch.num_rows())).map_err(&wrong)?;
            if let Some(nulls) = column.logical_nulls() {
                has.iter_mut().enumerate().for_each(|(row, has)| *has &= nulls.is_valid(row));
            }
            columns.push(column);
        }
        let rows = converter.convert_columns(&columns).map_err(|error| wrong(error.into()))?;
        Ok((rows, has))
    }

    /// Everything about it that its state depends on.
    pub(super) fn fingerprint(&self) -> String {
        let types: Vec<String> = self.schema.fields().iter().map(|field| field.data_type().to_string()).collect();
        let keys: Vec<String> = self.keys.iter().map(|(key, _)| key.to_string()).collect();
        format!("{} at {} by {}", types.join(" "), self.time, keys.join(" "))
    }

    /// Takes the rows out that are behind the watermark: they have missed partners already. What stays is given by its places.
    pub(super) fn on_time(
        &self,
        port: usize,
        batch: &RecordBatch,
        times: &[i64],
        late: impl Fn(i64) -> bool,
        given: &mut Given,
    ) -> Result<Vec<u32>> {
        let (mut stays, mut behind) = (Vec::with_capacity(times.len()), Vec::new());
        for (row, time) in times.iter().enumerate() {
            match late(*time) {
                true => behind.push(row as u32),
                false => stays.push(row as u32),
            }
        }
        given.late += behind.len() as u64;
        if self.late && !behind.is_empty() {
            given.absorbed = given.absorbed.saturating_sub(behind.len() as u64);
            given.late_rows.push((port, chosen(batch, behind)?));
        }
        Ok(stays)
    }
}

/// Rows of a batch.
pub(super) fn chosen(batch: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch> {
    if rows.len() == batch.num_rows() && rows.iter().enumerate().all(|(at, row)| at == *row as usize) {
        return Ok(batch.clone());
    }
    take_record_batch(batch, &UInt32Array::from(rows)).map_err(|error| Error::internal("rows of a batch").caused_by(error))
}

/// The rows of a shelf in memory.
#[derive(Default)]
struct Held {
    pieces: Vec<RecordBatch>,
    /// The number of the first row of each.
    firsts: Vec<u32>,
    times: Vec<i64>,
    /// The last row with a hash, and for each row the one before it with the same.
    last: HashMap<u64, u32>,
    before: Vec<u32>,
    bytes: usize,
}

const NONE: u32 = u32::MAX;

/// A row that asks: the hash of its key (`None`: it meets nobody), and the first and last time that it meets.
pub(super) type Asking = (Option<u64>, i64, i64);

impl Held {
    fn push(&mut self, batch: RecordBatch, times: &[i64], hashes: &[Option<u64>]) {
        let first = self.times.len() as u32;
        for (row, hash) in (first..).zip(hashes) {
            let before = hash.and_then(|hash| self.last.insert(hash, row));
            self.before.push(before.unwrap_or(NONE));
        }
        self.bytes += batch.get_array_memory_size() + times.len() * 40;
        self.times.extend_from_slice(times);
        self.firsts.push(first);
        self.pieces.push(batch);
    }

    /// The piece that a row is in, and its place there.
    fn place(&self, row: u32) -> (usize, usize) {
        let piece = self.firsts.partition_point(|first| *first <= row) - 1;
        (piece, (row - self.firsts[piece]) as usize)
    }

    /// Brings the pieces from this one on together.
    fn bring_together(&mut self, from: usize, schema: &SchemaRef) -> Result<()> {
        if self.pieces.len() - from > 1 {
            let whole = concat_batches(schema, &self.pieces[from..]);
            let whole = whole.map_err(|error| Error::internal("rows of a shelf differ").caused_by(error))?;
            let before: usize = self.pieces[from..].iter().map(RecordBatch::get_array_memory_size).sum();
            self.bytes = (self.bytes + whole.get_array_memory_size()).saturating_sub(before);
            self.pieces.truncate(from);
            self.firsts.truncate(from + 1);
            self.pieces.push(whole);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Shelf {
    count: u32,
    /// How many of them, the first ones, are written.
    written: u32,
    /// By row; empty if nobody asks.
    done: Vec<bool>,
    /// Chunks of marks that are not as they are written.
    marked: BTreeSet<u32>,
    /// `None`: they are only in the store.
    held: Option<Held>,
}

/// The shelves of one side.
pub(super) struct Shelves {
    side: Arc<Side>,
    /// The operator, and the side's number in it.
    place: (u8, u8),
    /// The span of a shelf, in microseconds.
    length: i64,
    /// Rows have marks.
    marks: bool,
    converter: Option<RowConverter>,
    hashing: RandomState,
    written: SchemaRef,
    shelves: BTreeMap<i64, Shelf>,
    /// Written ones that are no longer needed.
    gone: Vec<i64>,
    bytes: usize,
    /// Beyond this, shelves that are written leave memory as soon as they were asked.
    budget: usize,
}

impl Shelves {
    pub(super) fn new(side: &Arc<Side>, place: (u8, u8), length: i64, marks: bool) -> Result<Self> {
        Ok(Self {
            side: side.clone(),
            place,
            length,
            marks,
            converter: side.converter()?,
            hashing: RandomState::new(),
            written: state::schema(side.schema.fields().iter()),
            shelves: BTreeMap::new(),
            gone: Vec::new(),
            bytes: 0,
            budget: usize::MAX,
        })
    }

    /// Both sides find each other by the same hashes.
    pub(super) fn hash_as(&mut self, other: &Self) {
        self.hashing = other.hashing.clone();
    }

    /// The hash of each row's keys; `None` if one of them is NULL.
    pub(super) fn hashes(&self, batch: &RecordBatch) -> Result<Vec<Option<u64>>> {
        let Some(converter) = &self.converter else { return Ok(vec![Some(0); batch.num_rows()]) };
        let (rows, has) = self.side.keys(batch, converter)?;
        Ok(has.iter().enumerate().map(|(row, has)| has.then(|| self.hashing.hash_one(rows.row(row).data()))).collect())
    }

    /// The beginning of the shelf for a time.
    fn start(&self, time: i64) -> i64 {
        time.saturating_sub(time.rem_euclid(self.length))
    }

    /// The last time that belongs on a shelf.
    pub(super) fn last(&self, start: i64) -> i64 {
        start.saturating_add(self.length - 1)
    }

    /// Puts these rows of a batch on their shelves, done with or not.
    pub(super) fn add(
        &mut self,
        batch: &RecordBatch,
        (times, hashes): (&[i64], &[Option<u64>]),
        rows: impl Iterator<Item = (u32, bool)>,
        stored: &dyn Stored,
    ) -> Result<()> {
        let mut parts: BTreeMap<i64, (Vec<u32>, Vec<bool>)> = BTreeMap::new();
        for (row, done) in rows {
            let part = parts.entry(self.start(times[row as usize])).or_default();
            part.0.push(row);
            part.1.push(done);
        }
        for (start, (rows, done)) in parts {
            // What is put on a shelf that is not in memory would hide what is there.
            self.fetch(start, stored)?;
            let times: Vec<i64> = rows.iter().map(|row| times[*row as usize]).collect();
            let hashes: Vec<Option<u64>> = rows.iter().map(|row| hashes[*row as usize]).collect();
            let part = chosen(batch, rows)?;
            let shelf = self.shelves.entry(start).or_default();
            let held = shelf.held.get_or_insert_default();
            let before = held.bytes;
            held.push(part, &times, &hashes);
            self.bytes += held.bytes - before;
            let first = shelf.count;
            shelf.count += times.len() as u32;
            if self.marks {
                self.bytes += done.len();
                shelf.done.extend(done);
                shelf.marked.extend(first / CHUNK as u32..=(shelf.count - 1) / CHUNK as u32);
            }
        }
        Ok(())
    }

    /// The beginnings of shelves with times in this span, both ends included.
    pub(super) fn between(&self, from: i64, to: i64) -> Vec<i64> {
        if from > to {
            return Vec::new();
        }
        self.shelves.range(self.start(from)..=to).map(|(start, _)| *start).collect()
    }

    /// The beginning of the first shelf.
    pub(super) fn first(&self) -> Option<i64> {
        self.shelves.first_key_value().map(|(start, _)| *start)
    }

    /// Reads a shelf back, if it is not in memory.
    fn fetch(&mut self, start: i64, stored: &dyn Stored) -> Result<()> {
        let Some(shelf) = self.shelves.get(&start).filter(|shelf| shelf.held.is_none() && shelf.count > 0) else { return Ok(()) };
        let count = shelf.count;
        let mut held = Held::default();
        let mut prefix = self.under(start);
        prefix.push(ROWS);
        for chunk in stored.scan(&prefix) {
            let plain = state::decode(&self.written, &chunk?.1)?;
            let batch = RecordBatch::try_new(self.side.schema.clone(), plain.columns().to_vec());
            let batch = batch.map_err(|error| foreign().because(error))?;
            let times = self.side.times(&batch)?;
            held.push(batch.clone(), &times, &self.hashes(&batch)?);
        }
        if held.times.len() != count as usize {
            return Err(foreign());
        }
        self.bytes += held.bytes;
        if let Some(shelf) = self.shelves.get_mut(&start) {
            shelf.held = Some(held);
        }
        Ok(())
    }

    fn held(&mut self, start: i64, stored: &dyn Stored) -> Result<&Held> {
        self.fetch(start, stored)?;
        let held = self.shelves.get(&start).and_then(|shelf| shelf.held.as_ref());
        held.ok_or_else(|| Error::internal("a shelf that is not there"))
    }

    /// Pairs of a row that asks (by its place among them) and a row of a shelf that has the hash and a time in the span that it asks for.
    pub(super) fn candidates(&mut self, start: i64, asking: &[Asking], stored: &dyn Stored) -> Result<(Vec<u32>, Vec<u32>)> {
        let held = self.held(start, stored)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for (place, (hash, from, to)) in asking.iter().enumerate() {
            let mut next = hash.and_then(|hash| held.last.get(&hash).copied()).unwrap_or(NONE);
            let begin = theirs.len();
            while next != NONE {
                if (*from..=*to).contains(&held.times[next as usize]) {
                    ours.push(place as u32);
                    theirs.push(next);
                }
                next = held.before[next as usize];
            }
            // In the order in which they came.
            theirs[begin..].reverse();
        }
        Ok((ours, theirs))
    }

    /// Rows of a shelf.
    pub(super) fn take(&mut self, start: i64, rows: &[u32], stored: &dyn Stored) -> Result<RecordBatch> {
        let schema = self.side.schema.clone();
        let held = self.held(start, stored)?;
        let wrong = |error| Error::internal("rows of a shelf").caused_by(error);
        let columns: Vec<ArrayRef> = match held.pieces.as_slice() {
            [only] => {
                let rows = UInt32Array::from(rows.to_vec());
                only.columns()
                    .iter()
                    .map(|column| take(column, &rows, None))
                    .collect::<std::result::Result<_, _>>()
                    .map_err(wrong)?
            }
            pieces => {
                let places: Vec<(usize, usize)> = rows.iter().map(|row| held.place(*row)).collect();
                let column = |at: usize| {
                    let parts: Vec<&dyn Array> = pieces.iter().map(|piece| piece.column(at).as_ref()).collect();
                    interleave(&parts, &places)
                };
                (0..schema.fields().len()).map(column).collect::<std::result::Result<_, _>>().map_err(wrong)?
            }
        };
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(wrong)
    }

    /// Marks a row as done with; whether it was not.
    pub(super) fn mark(&mut self, start: i64, row: u32) -> bool {
        let Some(shelf) = self.shelves.get_mut(&start) else { return false };
        let Some(done) = shelf.done.get_mut(row as usize) else { return false };
        let first = !std::mem::replace(done, true);
        if first {
            shelf.marked.insert(row / CHUNK as u32);
        }
        first
    }

    /// Rows of a shelf that are not done with, and whose time is at most this, in the order of their times.
    pub(super) fn open(&mut self, start: i64, until: i64, stored: &dyn Stored) -> Result<Vec<u32>> {
        let Some(shelf) = self.shelves.get(&start) else { return Ok(Vec::new()) };
        let mut open: Vec<u32> = (0u32..).zip(&shelf.done).filter(|(_, done)| !**done).map(|(row, _)| row).collect();
        if open.is_empty() {
            return Ok(open);
        }
        let held = self.held(start, stored)?;
        open.retain(|row| held.times[*row as usize] <= until);
        open.sort_by_key(|row| held.times[*row as usize]);
        Ok(open)
    }

    /// It was asked: if memory is short, and it is in the store, it leaves.
    pub(super) fn asked(&mut self, start: i64) {
        if self.bytes > self.budget {
            self.leave(start);
        }
    }

    fn leave(&mut self, start: i64) {
        let Some(shelf) = self.shelves.get_mut(&start) else { return };
        if let Some(held) = shelf.held.take_if(|_| shelf.written == shelf.count) {
            self.bytes = self.bytes.saturating_sub(held.bytes);
        }
    }

    /// Takes a shelf away.
    pub(super) fn remove(&mut self, start: i64) {
        let Some(shelf) = self.shelves.remove(&start) else { return };
        self.bytes = self.bytes.saturating_sub(shelf.held.map_or(0, |held| held.bytes) + shelf.done.len());
        if shelf.written > 0 {
            self.gone.push(start);
        }
    }

    /// Beginning of the keys of a shelf.
    fn under(&self, start: i64) -> Vec<u8> {
        let mut key = state::under(self.place.0, start);
        key.push(self.place.1);
        key
    }

    pub(super) fn changes(&mut self, into: &mut Vec<StateChange>) -> Result<()> {
        for start in std::mem::take(&mut self.gone) {
            into.push(StateChange::RemovePrefix(self.under(start)));
        }
        let (place, written) = (self.place, self.written.clone());
        let schema = self.side.schema.clone();
        for (start, shelf) in &mut self.shelves {
            let mut under = state::under(place.0, *start);
            under.push(place.1);
            if shelf.written < shelf.count {
                let held = shelf.held.as_mut().ok_or_else(|| Error::internal("rows that are nowhere"))?;
                let before = held.bytes;
                let from = held.firsts.partition_point(|first| *first < shelf.written);
                held.bring_together(from, &schema)?;
                let piece = held.pieces.last().ok_or_else(|| Error::internal("a shelf without rows"))?;
                let mut key = under.clone();
                key.push(ROWS);
                key.extend(shelf.written.to_be_bytes());
                key.extend((shelf.count - shelf.written).to_be_bytes());
                into.push(StateChange::Put(key, state::encode(&written, piece.columns().to_vec(), piece.num_rows())?));
                if held.pieces.len() > PIECES {
                    held.bring_together(0, &schema)?;
                }
                self.bytes = (self.bytes + held.bytes).saturating_sub(before);
                shelf.written = shelf.count;
            }
            for chunk in std::mem::take(&mut shelf.marked) {
                let mut key = under.clone();
                key.push(DONE);
                key.extend(chunk.to_be_bytes());
                let from = chunk as usize * CHUNK;
                let marks = &shelf.done[from..shelf.done.len().min(from + CHUNK)];
                let bits =
                    marks.chunks(8).map(|bits| bits.iter().enumerate().fold(0u8, |byte, (at, bit)| byte | u8::from(*bit) << at));
                into.push(StateChange::Put(key, bits.collect::<Bytes>()));
            }
        }
        Ok(())
    }

    /// Takes note of one piece of the state, if it is of this side.
    pub(super) fn restore(&mut self, key: &[u8], value: &Bytes) -> Result<()> {
        let (start, rest) = state::number(key)?;
        let Some((side, rest)) = rest.split_first() else { return Err(foreign()) };
        if *side != self.place.1 {
            return Ok(());
        }
        let shelf = self.shelves.entry(start).or_default();
        let word = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).map_err(|_| foreign());
        match rest.split_first() {
            Some((&ROWS, rest)) if rest.len() == 8 => {
                let (first, count) = (word(&rest[..4])?, word(&rest[4..])?);
                if first != shelf.count {
                    return Err(foreign());
                }
                shelf.count += count;
                shelf.written = shelf.count;
                if self.marks {
                    self.bytes += count as usize;
                    shelf.done.resize(shelf.count as usize, false);
                }
            }
            // Marks stand behind the rows.
            Some((&DONE, chunk)) => {
                let from = word(chunk)? as usize * CHUNK;
                let marks = shelf.done.get_mut(from..).ok_or_else(foreign)?;
                for (at, mark) in marks.iter_mut().take(CHUNK).enumerate() {
                    *mark = value.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1);
                }
            }
            _ => return Err(foreign()),
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest go first: what comes is newer, and meets what is new.
    pub(super) fn spill(&mut self, target: usize) {
        self.budget = target;
        let starts: Vec<i64> = self.shelves.keys().copied().collect();
        for start in starts {
            if self.bytes <= target {
                break;
            }
            self.leave(start);
        }
    }
}
