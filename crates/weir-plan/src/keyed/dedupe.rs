//! One row per key, for as long as the key is remembered.
//!
//! The state: the time of each key, under the span of time in which it is forgotten and the key itself in Arrow's row format. In memory, too, keys
//! are held by these spans: what is over is found without looking at the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_connect::Result;
use weir_error::Error;

use super::run::{Given, Keeper, Rule};
use super::state::{self, Clock, failed, foreign};
use super::{StateChange, Stored};

/// Which row stays.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Keep {
    /// The first in the order.
    First,
    /// The last in the order.
    Last,
}

/// A `dedupe`, as the plan has it.
#[derive(Debug)]
pub(super) struct RecentRule {
    pub(super) node: String,
    /// Columns of the input.
    pub(super) keys: Vec<(usize, FieldRef)>,
    pub(super) time: usize,
    pub(super) keep: Keep,
    /// How long a key is remembered after the time of its row. Microseconds.
    pub(super) ttl: i64,
}

/// A key's memory: the time of the row that passed.
struct Recent {
    number: u8,
    rule: Arc<RecentRule>,
    converter: Option<RowConverter>,
    times: HashMap<Arc<[u8]>, i64>,
    /// Keys by the span in which they are forgotten. One may be in an earlier span as well: its time tells.
    spans: BTreeMap<i64, Vec<Arc<[u8]>>>,
    clock: Clock,
    changed: BTreeSet<Arc<[u8]>>,
    written: HashMap<Arc<[u8]>, i64>,
    gone: Vec<Vec<u8>>,
    held: usize,
}

impl RecentRule {
    /// How long a span is: memory is given back in about so many steps.
    fn span(&self) -> i64 {
        (self.ttl / 64).max(1_000)
    }

    /// The span in which a key with this time is forgotten: at its end.
    fn forgotten(&self, time: i64) -> i64 {
        time.saturating_add(self.ttl).div_euclid(self.span())
    }
}

impl Rule for RecentRule {
    fn make(self: Arc<Self>, number: u8) -> Result<Box<dyn Keeper>> {
        Ok(Box::new(Recent {
            number,
            rule: self,
            converter: None,
            times: HashMap::new(),
            spans: BTreeMap::new(),
            clock: Clock::default(),
            changed: BTreeSet::new(),
            written: HashMap::new(),
            gone: Vec::new(),
            held: 0,
        }))
    }

    fn told(&self) -> String {
        let ms = u64::try_from(self.ttl / 1_000).unwrap_or(u64::MAX);
        format!("`{}` remembers each key for {} after its row", self.node, weir_spec::units::duration_text(ms))
    }

    fn fingerprint(&self) -> String {
        format!(
            "dedupe {:?} {:?} {}",
            self.keys.iter().map(|(_, field)| field.data_type()).collect::<Vec<_>>(),
            self.keep,
            self.ttl
        )
    }
}

impl Recent {
    fn keys(&mut self, batch: &RecordBatch) -> Result<arrow::row::Rows> {
        let wrong = |error: arrow::error::ArrowError| failed(&self.rule.node)(error.into());
        let columns: Vec<_> = self.rule.keys.iter().map(|(column, _)| batch.column(*column).clone()).collect();
        let converter = match &mut self.converter {
            Some(converter) => converter,
            none => {
                let fields = self.rule.keys.iter().map(|(_, field)| SortField::new(field.data_type().clone()));
                none.insert(RowConverter::new(fields.collect()).map_err(wrong)?)
            }
        };
        converter.convert_columns(&columns).map_err(wrong)
    }

    /// Whether a key with this time is forgotten.
    fn over(&self, time: i64) -> bool {
        self.clock.past(time.saturating_add(self.rule.ttl))
    }

    fn remember(&mut self, key: &[u8], time: i64) {
        let key: Arc<[u8]> = match self.times.get_key_value(key) {
            Some((key, _)) => key.clone(),
            None => {
                self.held += key.len() + 120;
                key.into()
            }
        };
        let span = self.rule.forgotten(time);
        let before = self.times.insert(key.clone(), time).map(|time| self.rule.forgotten(time));
        if before != Some(span) {
            self.spans.entry(span).or_default().push(key.clone());
        }
        self.changed.insert(key);
    }

    fn place(&self, key: &[u8], span: i64) -> Vec<u8> {
        let mut place = state::under(self.number, span);
        place.extend_from_slice(key);
        place
    }
}

impl Keeper for Recent {
    fn rows(&mut self, _: usize, batch: &RecordBatch, _: &dyn Stored, given: &mut Given) -> Result<()> {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let times = arrow::compute::cast(batch.column(self.rule.time), &micros)
            .map_err(|error| Error::internal("a time that is none").caused_by(error))?;
        let times = times.as_primitive::<TimestampMicrosecondType>().values().clone();
        let keys = self.keys(batch)?;
        let mut passes = Vec::with_capacity(batch.num_rows());
        for (row, time) in times.iter().copied().enumerate() {
            let key = keys.row(row);
            let key = key.data();
            // Whether it is the first of its key cannot be known any more.
            if self.over(time) {
                given.late += 1;
                passes.push(false);
                continue;
            }
            let known = self.times.get(key).copied().filter(|known| !self.over(*known));
            let passed = known.is_none_or(|known| self.rule.keep == Keep::Last && time >= known);
            if passed {
                self.remember(key, time);
            }
            passes.push(passed);
        }
        let passes = BooleanArray::from(passes);
        let kept = passes.true_count();
        given.absorbed += (batch.num_rows() - kept) as u64;
        if kept > 0 {
            let batch = match batch.num_columns() {
                0 => {
                    let options = RecordBatchOptions::new().with_row_count(Some(kept));
                    RecordBatch::try_new_with_options(batch.schema(), Vec::new(), &options)
                }
                _ => filter_record_batch(batch, &passes),
            };
            given.batches.push(batch.map_err(|error| Error::internal("rows of a key").caused_by(error))?);
        }
        Ok(())
    }

    fn watermark(&mut self, time: i64, _: &dyn Stored, _: &mut Given) -> Result<()> {
        if !self.clock.advance(time) {
            return Ok(());
        }
        let span = self.rule.span();
        while let Some(first) = self.spans.first_entry()
            && (*first.key()).saturating_add(1).checked_mul(span).is_some_and(|end| self.clock.past(end))
        {
            let (ended, keys) = first.remove_entry();
            for key in keys {
                if self.times.get(&key).is_none_or(|time| self.rule.forgotten(*time) != ended) {
                    continue;
                }
                self.times.remove(&key);
                self.changed.remove(&key);
                self.held = self.held.saturating_sub(key.len() + 120);
                if let Some(span) = self.written.remove(&key) {
                    self.gone.push(self.place(&key, span));
                }
            }
        }
        Ok(())
    }

    fn changes(&mut self, into: &mut Vec<StateChange>) -> Result<()> {
        self.clock.changes(self.number, into);
        into.extend(self.gone.drain(..).map(StateChange::Remove));
        for key in std::mem::take(&mut self.changed) {
            let Some(time) = self.times.get(&key).copied() else { continue };
            let span = self.rule.forgotten(time);
            if let Some(before) = self.written.insert(key.clone(), span).filter(|before| *before != span) {
                into.push(StateChange::Remove(self.place(&key, before)));
            }
            into.push(StateChange::Put(self.place(&key, span), Bytes::copy_from_slice(&time.to_be_bytes())));
        }
        Ok(())
    }

    fn restore(&mut self, stored: &dyn Stored) -> Result<()> {
        self.clock.restore(self.number, stored)?;
        for piece in stored.scan(&state::all(self.number)) {
            let (place, value) = piece?;
            let (span, key) = state::number(&place)?;
            let time = i64::from_be_bytes(value.as_ref().try_into().map_err(|_| foreign())?);
            self.remember(key, time);
            self.written.insert(key.into(), span);
        }
        self.changed.clear();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.held
    }

    /// Keys stay in memory: any row may ask for any of them.
    fn spill(&mut self, _: usize) -> Result<()> {
        Ok(())
    }
}
