//! Changes against rows: which rows they mean, and what those become. No I/O.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use weir_error::{Error, Kind, Result};

use super::super::super::sink::Shared;
use super::bounds::{Bounds, Firsts};
use super::output::broken;
use crate::changes::pending::{Fate, Pending, Slot};

/// Rows that are put together at once.
const ROWS: usize = 8192;

/// Changes that are brought into the files.
pub(super) struct Work {
    /// With the schema that the files will have.
    pub shared: Arc<Shared>,
    /// In that schema.
    pub pending: Pending,
    /// Position of the mark of soft deletes.
    pub deleted: Option<usize>,
    /// Values of the first key column, if they have an order.
    firsts: Option<Firsts>,
    /// Rows are corrected from outside the log: of several rows with one key one stays, and a value that nobody knows is NULL. The slots whose row
    /// was met.
    mends: Option<Mutex<HashSet<usize>>>,
}

/// A row of the result.
#[derive(Debug, Clone, Copy)]
enum Pick {
    /// As it was.
    Old(usize),
    /// Of a slot; what it lacks is in the old row, if there is one.
    New(usize, Option<usize>),
}

impl Work {
    pub(super) fn new(shared: Arc<Shared>, pending: Pending, deleted: Option<usize>) -> Self {
        let firsts = firsts(&shared, &pending);
        Self { shared, pending, deleted, firsts, mends: None }
    }

    /// Rows as they are to be, instead of changes.
    pub(super) fn mending(shared: Arc<Shared>, pending: Pending, deleted: Option<usize>) -> Self {
        Self { mends: Some(Mutex::default()), ..Self::new(shared, pending, deleted) }
    }

    pub(super) fn mends(&self) -> bool {
        self.mends.is_some()
    }

    /// Whether this is the row of the slot, and no second one.
    fn is_first(&self, slot: usize) -> bool {
        self.mends.as_ref().is_none_or(|met| met.lock().unwrap_or_else(PoisonError::into_inner).insert(slot))
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.shared.contract.dataset
    }

    pub(super) fn first_key(&self) -> usize {
        self.pending.key().first().copied().unwrap_or(0)
    }

    /// Whether a file whose first key column is within these bounds may have a row that is meant. What is corrected may lie outside the bounds that a
    /// file had.
    pub(super) fn may_hold(&self, bounds: Option<&Bounds>) -> bool {
        match (bounds, &self.firsts) {
            (Some(bounds), Some(firsts)) if !self.mends() => bounds.may_hold(firsts),
            _ => true,
        }
    }

    /// The slots of these rows, whose key columns these are.
    pub(super) fn slots(&self, keys: &[ArrayRef]) -> Result<Vec<Option<usize>>> {
        let keys = self.pending.keys_of(keys)?;
        Ok(keys.iter().map(|key| self.pending.slot_of(key)).collect())
    }

    /// The rows of a file after the changes: those that are meant are replaced where they stand, or left out.
    pub(super) fn applied(&self, old: RecordBatch) -> Result<RecordBatch> {
        let keys: Vec<ArrayRef> = self.pending.key().iter().map(|at| old.column(*at).clone()).collect();
        let slots = self.slots(&keys)?;
        if slots.iter().all(Option::is_none) {
            return Ok(old);
        }
        let picks = slots.iter().enumerate().filter_map(|(row, slot)| match slot {
            None => Some(Pick::Old(row)),
            Some(slot) if self.pending.slots()[*slot].fate == Fate::Gone || !self.is_first(*slot) => None,
            Some(slot) => Some(Pick::New(*slot, Some(row))),
        });
        self.compose(Some(&old), &picks.collect::<Vec<_>>())
    }

    /// Rows that no file has, in batches.
    pub(super) fn fresh<'a>(&'a self, slots: &'a [usize]) -> impl Iterator<Item = Result<RecordBatch>> + Send + 'a {
        slots.chunks(ROWS).map(|slots| {
            let picks: Vec<Pick> = slots.iter().map(|slot| Pick::New(*slot, None)).collect();
            self.compose(None, &picks)
        })
    }

    fn compose(&self, old: Option<&RecordBatch>, picks: &[Pick]) -> Result<RecordBatch> {
        let schema = self.schema();
        let columns = schema.fields().iter().enumerate().map(|(at, field)| {
            if self.deleted == Some(at) {
                return self.marks(old.map(|old| old.column(at)), picks);
            }
            let nothing = new_null_array(field.data_type(), 1);
            let mut sources: Vec<&dyn Array> =
                vec![nothing.as_ref(), old.map_or(nothing.as_ref(), |old| old.column(at).as_ref())];
            sources.extend(self.pending.batches().iter().map(|held| held.rows.column(at).as_ref()));
            let places: Vec<(usize, usize)> = picks.iter().map(|pick| self.source(at, *pick)).collect();
            interleave(&sources, &places).map_err(broken)
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        RecordBatch::try_new(schema.clone(), columns).map_err(broken)
    }

    /// Where a value is, among {NULL, the old rows, the batches}.
    fn source(&self, column: usize, pick: Pick) -> (usize, usize) {
        let (slot, old) = match pick {
            Pick::Old(row) => return (1, row),
            Pick::New(slot, old) => (&self.pending.slots()[slot], old),
        };
        match (self.pending.find(slot, column), old) {
            (Some((batch, row)), _) => (batch + 2, row),
            // A row that was made anew has nothing of the one before it.
            (None, Some(row)) if !is_fresh(slot) => (1, row),
            _ => (0, 0),
        }
    }

    fn marks(&self, old: Option<&ArrayRef>, picks: &[Pick]) -> Result<ArrayRef> {
        let before = old.map(|old| old.as_boolean_opt().ok_or_else(|| broken("the mark is no boolean"))).transpose()?;
        let marks = picks.iter().map(|pick| match pick {
            Pick::Old(row) => before.is_some_and(|before| before.is_valid(*row) && before.value(*row)),
            Pick::New(slot, _) => matches!(self.pending.slots()[*slot].fate, Fate::Row { deleted: true, .. }),
        });
        Ok(Arc::new(BooleanArray::from(marks.collect::<Vec<_>>())))
    }

    /// Whether a slot needs a row that is there already.
    fn needs_old(&self, slot: &Slot) -> bool {
        matches!(slot.fate, Fate::Row { fresh: false, deleted: false })
            && self.pending.partial(slot)
            && (0..self.schema().fields().len()).any(|column| self.pending.find(slot, column).is_none())
    }

    /// The slots that become rows of their own, given those whose row was found.
    pub(super) fn unfound(&self, found: &[bool]) -> Result<Vec<usize>> {
        let mut missing: Vec<&Slot> = Vec::new();
        let mut fresh = Vec::new();
        for (at, slot) in self.pending.slots().iter().enumerate().filter(|(at, _)| !found[*at]) {
            if !self.mends() && self.needs_old(slot) {
                missing.push(slot);
            }
            if slot.fate != Fate::Gone {
                fresh.push(at);
            }
        }
        if missing.is_empty() {
            return Ok(fresh);
        }
        let keys: Vec<String> = missing.iter().take(5).map(|slot| self.key_text(slot)).collect();
        let what = format!("{} rows that the source has updated are not in the files", missing.len());
        Err(Error::new("WEIR-FILE-098", Kind::Conflict, what)
            .at(self.shared.dataset.place.clone())
            .because(format!(
                "the log does not have all their values (unchanged TOAST), so they cannot be made anew; keys: {}",
                keys.join(", ")
            ))
            .hint("somebody removed them from the files: take the snapshot again (`weir state reset`, an empty folder); REPLICA IDENTITY FULL at the source gives every value"))
    }

    pub(super) fn key_text(&self, slot: &Slot) -> String {
        let held = &self.pending.batches()[slot.last.batch as usize];
        let value = |at: &usize| array_value_to_string(held.rows.column(*at), slot.last.row as usize).unwrap_or_default();
        self.pending.key().iter().map(value).collect::<Vec<_>>().join("/")
    }
}

fn is_fresh(slot: &Slot) -> bool {
    matches!(slot.fate, Fate::Row { fresh: true, .. })
}

fn firsts(shared: &Shared, pending: &Pending) -> Option<Firsts> {
    let first = *pending.key().first()?;
    let columns: Vec<ArrayRef> = pending.batches().iter().map(|held| held.rows.column(first).clone()).collect();
    let places = pending.slots().iter().map(|slot| (slot.last.batch as usize, slot.last.row as usize));
    Firsts::new(shared.contract.dataset.field(first), &columns, places)
}
