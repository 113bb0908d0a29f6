//! Joins of a stream with the versions of a table: a row meets the version of its key that was valid at its time.
//!
//! A version is a row of the right side; it is valid from its time until that of the next one of its key. A left row waits until the
//! watermark has reached its time, because until then its version may still come. What was valid before the watermark is forgotten, but for
//! the last version of each key. A version that is none, because what the condition says of the right side alone does not hold (a deleted
//! row), ends the one before it.
//!
//! Of two versions of one key and one time the one that comes last is valid. A left row behind the watermark is late and meets nobody. So
//! is a version; but it is valid for rows that come after it, unless there is a newer one.
//!
//! The state: left rows as `shelves` writes them; and beside these the versions, each under its key in Arrow's row format and its time, as
//! a row in that format.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::row::{RowConverter, RowParser, SortField};
use bytes::Bytes;
use datafusion::physical_expr::PhysicalExpr;
use weir_connect::Result;
use weir_error::Error;

use super::groups::typed;
use super::intervals::Condition;
use super::run::{Given, Keeper, Rule};
use super::shelves::{Shelves, Side, chosen};
use super::state::{self, Clock, failed, foreign};
use super::{StateChange, Stored};

/// Rows that are looked at together.
const ROWS: usize = 8_192;
/// The span of a shelf of left rows. Microseconds.
const SHELF: i64 = 1_000_000;
/// Beside what an operator keeps on shelves.
const VERSIONS: u8 = 2;
/// What a version takes in memory beside its bytes.
const EACH: usize = 120;

/// A join with versions, as the plan has it.
#[derive(Debug)]
pub(super) struct VersionRule {
    pub(super) node: String,
    /// Left rows without a version come out, too.
    pub(super) outer: bool,
    pub(super) sides: [Arc<Side>; 2],
    /// What the condition says of the right side alone.
    pub(super) valid: Option<Arc<dyn PhysicalExpr>>,
    pub(super) condition: Condition,
    /// The left columns, the right ones, and columns of the plan that nothing reads.
    pub(super) output: SchemaRef,
}

impl Rule for VersionRule {
    fn make(self: Arc<Self>, number: u8) -> Result<Box<dyn Keeper>> {
        let wrong = |error: arrow::error::ArrowError| failed(&self.node)(error.into());
        let fields = self.sides[1].schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let rows = RowConverter::new(fields.collect()).map_err(wrong)?;
        let keys = |port: usize| self.sides[port].converter()?.ok_or_else(|| Error::internal("versions without a key"));
        // Left rows wait for their time, and are found by nothing else: they need no keys on their shelves.
        let waiting = Side { keys: Vec::new(), schema: self.sides[0].schema.clone(), node: self.node.clone(), ..*self.sides[0] };
        Ok(Box::new(Versions {
            number,
            keys: [keys(0)?, keys(1)?],
            parser: rows.parser(),
            rows,
            waiting: Shelves::new(&Arc::new(waiting), (number, 0), SHELF, true)?,
            known: HashMap::new(),
            partial: false,
            pending: BTreeSet::new(),
            changed: BTreeSet::new(),
            clock: Clock::default(),
            held: 0,
            rule: self,
        }))
    }

    fn told(&self) -> String {
        format!(
            "`{}` keeps left rows until the watermark reaches them, and of each key of the right side the versions from the one valid then",
            self.node
        )
    }

    fn fingerprint(&self) -> String {
        let sides = self.sides.iter().map(|side| side.fingerprint()).collect::<Vec<_>>().join(" / ");
        let valid = self.valid.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("versions {} {sides} / {} / {valid}", self.outer, self.condition.expr)
    }
}

struct Version {
    time: i64,
    /// `None`: from here on there is none.
    row: Option<Box<[u8]>>,
}

/// The operator.
struct Versions {
    number: u8,
    rule: Arc<VersionRule>,
    keys: [RowConverter; 2],
    rows: RowConverter,
    parser: RowParser,
    waiting: Shelves,
    /// By key, in the order of their times. Of a key that is here all versions are here.
    known: HashMap<Arc<[u8]>, Vec<Version>>,
    /// The store may have keys that are not in memory.
    partial: bool,
    /// Versions that are valid only after the watermark.
    pending: BTreeSet<(i64, Arc<[u8]>)>,
    /// What is not as it is written.
    changed: BTreeSet<(Arc<[u8]>, i64)>,
    clock: Clock,
    held: usize,
}

fn weight(key: &[u8], version: &Version) -> usize {
    EACH + key.len() + version.row.as_ref().map_or(0, |row| row.len())
}

impl Versions {
    fn place(&self, key: &[u8]) -> Vec<u8> {
        [&[self.number, VERSIONS][..], key].concat()
    }

    fn place_of(&self, key: &[u8], time: i64) -> Vec<u8> {
        let mut place = self.place(key);
        // Without the sign bit turned, times before 1970 would come last.
        place.extend(((time as u64) ^ (1 << 63)).to_be_bytes());
        place
    }

    /// Key and time of a place.
    fn parts(place: &[u8]) -> Result<(&[u8], i64)> {
        let (key, time) = place.get(2..).and_then(|rest| rest.split_last_chunk::<8>()).ok_or_else(foreign)?;
        Ok((key, (u64::from_be_bytes(*time) ^ (1 << 63)) as i64))
    }

    /// Sees to it that the versions of a key are in memory.
    fn fetch(&mut self, key: &[u8], stored: &dyn Stored) -> Result<()> {
        if !self.partial || self.known.contains_key(key) {
            return Ok(());
        }
        let mut versions = Vec::new();
        for piece in stored.scan(&self.place(key)) {
            let (place, value) = piece?;
            let row = match value.split_first() {
                Some((1, row)) => Some(row.into()),
                Some((0, [])) => None,
                _ => return Err(foreign()),
            };
            let version = Version { time: Self::parts(&place)?.1, row };
            self.held += weight(key, &version);
            versions.push(version);
        }
        if !versions.is_empty() {
            self.known.insert(key.into(), versions);
        }
        Ok(())
    }

    /// A version comes.
    fn put(&mut self, key: &[u8], version: Version, stored: &dyn Stored) -> Result<()> {
        self.fetch(key, stored)?;
        let key: Arc<[u8]> = match self.known.get_key_value(key) {
            Some((key, _)) => key.clone(),
            None => key.into(),
        };
        let time = version.time;
        self.held += weight(&key, &version);
        let versions = self.known.entry(key.clone()).or_default();
        match versions.binary_search_by_key(&time, |version| version.time) {
            Ok(at) => {
                let before = std::mem::replace(&mut versions[at], version);
                self.held = self.held.saturating_sub(weight(&key, &before));
            }
            Err(at) => versions.insert(at, version),
        }
        self.changed.insert((key.clone(), time));
        match self.clock.past(time) {
            true => self.forget(&key),
            false => _ = self.pending.insert((time, key)),
        }
        Ok(())
    }

    /// Forgets what of a key was valid before the watermark only.
    fn forget(&mut self, key: &Arc<[u8]>) {
        let Some(versions) = self.known.get_mut(key) else { return };
        let over = versions.partition_point(|version| self.clock.past(version.time));
        // The last of them is valid, unless it says that there is none.
        let valid = over > 0 && versions[over - 1].row.is_some();
        for version in versions.drain(..over - usize::from(valid)) {
            self.held = self.held.saturating_sub(weight(key, &version));
            self.changed.insert((key.clone(), version.time));
        }
    }

    /// The version of each row of some left rows: its place among the found ones, and these as columns.
    fn find(&mut self, left: &RecordBatch, times: &[i64], stored: &dyn Stored) -> Result<(Vec<Option<u32>>, Vec<ArrayRef>)> {
        let rule = self.rule.clone();
        let (keys, has) = rule.sides[0].keys(left, &self.keys[0])?;
        for (row, _) in has.iter().enumerate().filter(|(_, has)| **has) {
            self.fetch(keys.row(row).data(), stored)?;
        }
        let (mut places, mut found) = (Vec::with_capacity(times.len()), Vec::new());
        for (row, time) in times.iter().enumerate() {
            let versions = has[row].then(|| self.known.get(keys.row(row).data())).flatten();
            let version = versions.and_then(|versions| {
                let at = versions.partition_point(|version| version.time <= *time);
                versions[..at].last()?.row.as_deref()
            });
            places.push(version.map(|_| found.len() as u32));
            found.extend(version.map(|version| self.parser.parse(version)));
        }
        let fields: &[FieldRef] = rule.sides[1].schema.fields();
        if found.is_empty() {
            return Ok((places, fields.iter().map(|field| new_null_array(field.data_type(), 0)).collect()));
        }
        let wrong = failed(&rule.node);
        let columns = self.rows.convert_rows(found).map_err(|error| wrong(error.into()))?;
        Ok((places, typed(columns, fields).map_err(&wrong)?))
    }

    /// Left rows whose time has come go out.
    fn resolve(&mut self, left: &RecordBatch, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        let rule = self.rule.clone();
        let times = rule.sides[0].times(left)?;
        let (places, columns) = self.find(left, &times, stored)?;
        let rows = places.len();
        // The condition is asked about rows that have a version; for the others it does not hold.
        let some: Vec<u32> = places.iter().zip(0u32..).filter(|(place, _)| place.is_some()).map(|(_, row)| row).collect();
        let mut holds = vec![false; rows];
        if !some.is_empty() {
            let here = chosen(left, some.clone())?;
            let (_, kept) = rule.condition.pairs(here.columns(), &rule.right_of(&columns, some.len()))?;
            kept.values().set_indices().for_each(|pair| holds[some[pair] as usize] = true);
        }
        let stays: Vec<u32> = (0u32..).zip(&holds).filter(|(_, holds)| rule.outer || **holds).map(|(row, _)| row).collect();
        if stays.is_empty() {
            return Ok(());
        }
        let of_right: UInt32Array = stays.iter().map(|row| places[*row as usize].filter(|_| holds[*row as usize])).collect();
        let wrong = |error| Error::internal("rows of a version").caused_by(error);
        let right: Vec<ArrayRef> =
            columns.iter().map(|column| take(column, &of_right, None)).collect::<std::result::Result<_, _>>().map_err(wrong)?;
        let count = stays.len();
        let left = chosen(left, stays)?;
        let columns = left.columns().iter().cloned().chain(rule.right_of(&right, count)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        given.batches.push(RecordBatch::try_new_with_options(rule.output.clone(), columns, &options).map_err(wrong)?);
        Ok(())
    }
}

impl VersionRule {
    /// The right columns of the plan: those of the right rows, and those that nothing reads.
    fn right_of(&self, columns: &[ArrayRef], rows: usize) -> Vec<ArrayRef> {
        let from = self.sides[0].schema.fields().len() + columns.len();
        let unread = self.output.fields()[from..].iter().map(|field| new_null_array(field.data_type(), rows));
        columns.iter().cloned().chain(unread).collect()
    }

    /// Which right rows are versions, and do not only end the one before.
    fn valid(&self, batch: &RecordBatch) -> Result<Vec<bool>> {
        let rows = batch.num_rows();
        let Some(valid) = &self.valid else { return Ok(vec![true; rows]) };
        let valid = valid.evaluate(batch).and_then(|valid| valid.into_array(rows)).map_err(failed(&self.node))?;
        let Some(valid) = valid.as_any().downcast_ref::<BooleanArray>() else {
            return Err(Error::internal("a condition that is no truth value"));
        };
        Ok((0..rows).map(|row| valid.is_valid(row) && valid.value(row)).collect())
    }
}

impl Keeper for Versions {
    fn rows(&mut self, port: usize, batch: &RecordBatch, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        given.absorbed += batch.num_rows() as u64;
        let rule = self.rule.clone();
        let side = &rule.sides[port];
        let times = side.times(batch)?;
        let on_time = side.on_time(port, batch, &times, |time| self.clock.past(time), given)?;
        if port == 0 {
            let nothing = vec![None; times.len()];
            return self.waiting.add(batch, (&times, &nothing), on_time.into_iter().map(|row| (row, false)), stored);
        }
        let (keys, has) = side.keys(batch, &self.keys[1])?;
        let rows = self.rows.convert_columns(batch.columns());
        let rows = rows.map_err(|error| failed(&rule.node)(error.into()))?;
        for (row, valid) in rule.valid(batch)?.into_iter().enumerate().filter(|(row, _)| has[*row]) {
            let version = Version { time: times[row], row: valid.then(|| rows.row(row).data().into()) };
            self.put(keys.row(row).data(), version, stored)?;
        }
        Ok(())
    }

    fn watermark(&mut self, time: i64, stored: &dyn Stored, given: &mut Given) -> Result<()> {
        if !self.clock.advance(time) {
            return Ok(());
        }
        for start in self.waiting.between(i64::MIN, time) {
            for rows in self.waiting.open(start, time, stored)?.chunks(ROWS) {
                let left = self.waiting.take(start, rows, stored)?;
                self.resolve(&left, stored, given)?;
                rows.iter().for_each(|row| _ = self.waiting.mark(start, *row));
            }
            match self.waiting.last(start) <= time {
                true => self.waiting.remove(start),
                false => self.waiting.asked(start),
            }
        }
        while let Some((first, key)) = self.pending.first()
            && *first <= time
        {
            let key = key.clone();
            self.pending.pop_first();
            self.fetch(&key, stored)?;
            self.forget(&key);
        }
        Ok(())
    }

    fn changes(&mut self, into: &mut Vec<StateChange>) -> Result<()> {
        self.clock.changes(self.number, into);
        self.waiting.changes(into)?;
        for (key, time) in std::mem::take(&mut self.changed) {
            let version = self.known.get(&key).and_then(|versions| {
                let at = versions.binary_search_by_key(&time, |version| version.time).ok()?;
                versions.get(at)
            });
            let place = self.place_of(&key, time);
            into.push(match version {
                None => StateChange::Remove(place),
                Some(Version { row: None, .. }) => StateChange::Put(place, Bytes::from_static(&[0])),
                Some(Version { row: Some(row), .. }) => StateChange::Put(place, [&[1][..], row].concat().into()),
            });
            // Whoever asks for it finds nothing in the store, either.
            if self.known.get(&key).is_some_and(Vec::is_empty) {
                self.known.remove(&key);
            }
        }
        Ok(())
    }

    fn restore(&mut self, stored: &dyn Stored) -> Result<()> {
        self.clock.restore(self.number, stored)?;
        for piece in stored.scan(&state::all(self.number)) {
            let (key, value) = piece?;
            self.waiting.restore(&key, &value)?;
        }
        for piece in stored.scan(&self.place(&[])) {
            let (place, _) = piece?;
            let (key, time) = Self::parts(&place)?;
            self.partial = true;
            if !self.clock.past(time) {
                self.pending.insert((time, key.into()));
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.held + self.waiting.bytes()
    }

    fn spill(&mut self, target: usize) -> Result<()> {
        let all = self.bytes().max(1) as u128;
        self.waiting.spill((self.waiting.bytes() as u128 * target as u128 / all) as usize);
        let target = target.saturating_sub(self.waiting.bytes());
        // What changed is not in the store yet.
        if !self.changed.is_empty() {
            return Ok(());
        }
        let (held, before) = (&mut self.held, self.known.len());
        self.known.retain(|key, versions| {
            let goes = *held > target;
            if goes {
                *held = held.saturating_sub(versions.iter().map(|version| weight(key, version)).sum());
            }
            !goes
        });
        self.partial |= self.known.len() < before;
        Ok(())
    }
}
