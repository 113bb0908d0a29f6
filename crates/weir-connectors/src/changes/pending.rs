//! Changes that wait for the flush, collapsed to the last one per key. Pure: no I/O.
//!
//! Batches stay as they came; a key is a slot that points at (batch, row). A change that lacks values (unchanged TOAST) also points at the
//! one before it of the same key, if that is here, where they are taken from. What no link of this chain has, the target has.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::SchemaRef;
use arrow::row::{Row, RowConverter, Rows, SortField};
use twox_hash::XxHash3_64;
use weir_connect::{ChangeBatch, DeleteMode, Error, Kind, Op, Result};

use super::look_like;

/// No link.
const NONE: u32 = u32::MAX;

/// A batch with its keys.
pub struct Held {
    /// The rows.
    pub rows: RecordBatch,
    /// Per column, the rows without a value; may be shorter than the columns.
    absent: Vec<Option<BooleanBuffer>>,
    /// Rows that lack at least one value.
    partial: Option<BooleanBuffer>,
    keys: Rows,
}

impl Held {
    /// Whether the value is in the log.
    #[inline]
    pub fn has(&self, column: usize, row: usize) -> bool {
        !matches!(self.absent.get(column), Some(Some(absent)) if absent.value(row))
    }

    fn partial(&self, row: usize) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.value(row))
    }
}

/// A row of a held batch.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Which batch.
    pub batch: u32,
    /// Which row of it.
    pub row: u32,
    earlier: u32,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its row is deleted.
    Gone,
    /// It has this row.
    Row {
        /// The chain begins with a create: what it lacks is not to be taken from an older row of the target.
        fresh: bool,
        /// Marked as deleted.
        deleted: bool,
    },
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Its last change.
    pub last: Link,
    /// What that means.
    pub fate: Fate,
    /// The next slot with the same hash.
    next: u32,
}

/// The hash is the key.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _bytes: &[u8]) {}
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// See the module.
pub struct Pending {
    schema: SchemaRef,
    /// The schema of a batch that was last found to be ours: most batches share one.
    seen: Option<SchemaRef>,
    deletes: DeleteMode,
    keys: Vec<usize>,
    converter: RowConverter,
    batches: Vec<Held>,
    slots: Vec<Slot>,
    earlier: Vec<Link>,
    first: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    bytes: usize,
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::new("WEIR-CHANGE-012", Kind::Unsupported, "the key cannot be compared").because(error).hint("choose another `key`")
}

impl Pending {
    /// For batches of this schema.
    pub fn new(schema: &SchemaRef, key: &[String], deletes: DeleteMode) -> Result<Self> {
        let keys: Vec<usize> = key.iter().map(|name| schema.index_of(name)).collect::<Result<_, _>>().map_err(broken)?;
        let fields = keys.iter().map(|at| SortField::new(schema.field(*at).data_type().clone())).collect();
        let converter = RowConverter::new(fields).map_err(broken)?;
        Ok(Self {
            schema: schema.clone(),
            seen: None,
            deletes,
            keys,
            converter,
            batches: Vec::new(),
            slots: Vec::new(),
            earlier: Vec::new(),
            first: HashMap::default(),
            bytes: 0,
        })
    }

    /// Nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// About how many bytes this takes.
    pub fn bytes(&self) -> usize {
        let index = self.slots.capacity() * size_of::<Slot>() + self.earlier.capacity() * size_of::<Link>();
        self.bytes + index + self.first.capacity() * (size_of::<(u64, u32)>() + 1)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.batches.clear();
        self.slots.clear();
        self.earlier.clear();
        self.first.clear();
        self.bytes = 0;
        // One large transaction must not keep its memory for ever.
        self.slots.shrink_to(65_536);
        self.earlier.shrink_to(65_536);
        self.first.shrink_to(65_536);
    }

    /// The batches, by number.
    pub fn batches(&self) -> &[Held] {
        &self.batches
    }

    /// The keys, in the order in which they were first touched.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether the row of this slot lacks values of its own.
    pub fn partial(&self, slot: &Slot) -> bool {
        self.batches[slot.last.batch as usize].partial(slot.last.row as usize)
    }

    /// Positions of the key.
    pub fn key(&self) -> &[usize] {
        &self.keys
    }

    /// The keys of rows from elsewhere, whose key columns these are, to ask [`Self::slot_of`] for.
    pub fn keys_of(&self, columns: &[ArrayRef]) -> Result<Rows> {
        self.converter.convert_columns(columns).map_err(broken)
    }

    /// The number of the slot of a key.
    pub fn slot_of(&self, key: Row<'_>) -> Option<usize> {
        let hash = XxHash3_64::oneshot(key.as_ref());
        self.search(key, self.first.get(&hash).copied().unwrap_or(NONE))
    }

    fn search(&self, key: Row<'_>, head: u32) -> Option<usize> {
        let mut found = head;
        while let Some(slot) = self.slots.get(found as usize) {
            if self.batches[slot.last.batch as usize].keys.row(slot.last.row as usize) == key {
                return Some(found as usize);
            }
            found = slot.next;
        }
        None
    }

    /// Where the value of a column is; `None`: nowhere here.
    pub fn find(&self, slot: &Slot, column: usize) -> Option<(usize, usize)> {
        let mut link = slot.last;
        loop {
            let (batch, row) = (link.batch as usize, link.row as usize);
            if self.batches[batch].has(column, row) {
                return Some((batch, row));
            }
            link = *self.earlier.get(link.earlier as usize)?;
        }
    }

    /// Takes changes, which must be in the schema that this was made for.
    pub fn add(&mut self, batch: ChangeBatch) -> Result<()> {
        let ChangeBatch { ops, rows, absent, .. } = batch;
        if ops.len() != rows.num_rows() {
            return Err(Error::internal(format!("{} operations for {} rows", ops.len(), rows.num_rows())));
        }
        if ops.is_empty() {
            return Ok(());
        }
        let schema = rows.schema();
        if !self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &schema)) {
            look_like(&self.schema, &schema)?;
            self.seen = Some(schema);
        }
        let columns: Vec<_> = self.keys.iter().map(|at| rows.column(*at).clone()).collect();
        for (at, column) in self.keys.iter().zip(&columns) {
            let unknown = matches!(absent.get(*at), Some(Some(absent)) if absent.count_set_bits() > 0);
            let nulls = column.logical_null_count();
            if unknown || nulls > 0 {
                let schema = rows.schema();
                let name = schema.field(*at).name();
                let what = if unknown {
                    format!("a change has no value of the key column `{name}`")
                } else {
                    format!("{nulls} changes have NULL in the key column `{name}`")
                };
                return Err(Error::new("WEIR-CHANGE-011", Kind::Data, what)
                    .hint("the key must be the source's primary key, or columns of its replica identity that are never NULL"));
            }
        }
        let keys = self.converter.convert_columns(&columns).map_err(broken)?;
        let partial = absent.iter().flatten().fold(None, |all: Option<BooleanBuffer>, one| match all {
            None => Some(one.clone()),
            Some(all) => Some(&all | one),
        });
        let partial = partial.filter(|partial| partial.count_set_bits() > 0);
        self.bytes += keys.size();
        for column in rows.columns() {
            let data = column.to_data();
            self.bytes += data.get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size());
        }
        let number = u32::try_from(self.batches.len()).map_err(|_| Error::internal("too many batches in one flush"))?;
        self.batches.push(Held { rows, absent, partial, keys });
        for (row, op) in ops.into_iter().enumerate() {
            self.change(number, row, op)?;
        }
        Ok(())
    }

    fn change(&mut self, batch: u32, row: usize, op: Op) -> Result<()> {
        if op == Op::Delete && self.deletes == DeleteMode::Ignore {
            return Ok(());
        }
        let held = &self.batches[batch as usize];
        let key = held.keys.row(row);
        let hash = XxHash3_64::oneshot(key.as_ref());
        let head = self.first.get(&hash).copied().unwrap_or(NONE);
        let found = self.search(key, head);
        let old = found.map(|at| self.slots[at]);
        let partial = held.partial(row);
        let row = u32::try_from(row).map_err(|_| Error::internal("a batch of too many rows"))?;
        let mut last = Link { batch, row, earlier: NONE };
        let deleted = op == Op::Delete;
        let fate = match op {
            Op::Delete if self.deletes == DeleteMode::Hard => Fate::Gone,
            Op::Create | Op::Read => Fate::Row { fresh: true, deleted: false },
            Op::Update | Op::Delete => match old.map(|slot| (slot.fate, slot)) {
                Some((Fate::Row { fresh, .. }, slot)) if partial => {
                    last.earlier = self.link(&slot, &last)?;
                    Fate::Row { fresh, deleted }
                }
                Some((Fate::Gone, _)) if partial => {
                    return Err(Error::new("WEIR-CHANGE-013", Kind::Data, "a row is updated after it was deleted")
                        .because("the update does not have all values, and those that it lacks went with the deleted row"));
                }
                _ => Fate::Row { fresh: false, deleted },
            },
        };
        match found.and_then(|at| self.slots.get_mut(at)) {
            Some(slot) => (slot.last, slot.fate) = (last, fate),
            None => {
                let at = u32::try_from(self.slots.len()).map_err(|_| Error::internal("too many keys in one flush"))?;
                self.slots.push(Slot { last, fate, next: head });
                self.first.insert(hash, at);
            }
        }
        Ok(())
    }

    /// What the newest link of a key's chain points back to. A row is left out of the chain if the new one has all that it has, so that
    /// a key that is updated over and over does not make a long one.
    fn link(&mut self, old: &Slot, new: &Link) -> Result<u32> {
        let (before, after) = (&self.batches[old.last.batch as usize], &self.batches[new.batch as usize]);
        let columns = before.rows.num_columns();
        let superseded =
            (0..columns).all(|column| after.has(column, new.row as usize) || !before.has(column, old.last.row as usize));
        if superseded {
            return Ok(old.last.earlier);
        }
        let at = u32::try_from(self.earlier.len()).map_err(|_| Error::internal("too many changes in one flush"))?;
        self.earlier.push(old.last);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use weir_connect::TransactionMark;

    use super::*;

    /// Rows of (operation, id, a, b); `None` = not in the log.
    type Line<'a> = (Op, i64, Option<&'a str>, Option<&'a str>);

    fn batch(lines: &[Line<'_>]) -> ChangeBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(lines.iter().map(|line| line.1)));
        let a: ArrayRef = Arc::new(lines.iter().map(|line| line.2).collect::<StringArray>());
        let b: ArrayRef = Arc::new(lines.iter().map(|line| line.3).collect::<StringArray>());
        let absent = vec![
            None,
            Some(lines.iter().map(|line| line.2.is_none()).collect()),
            Some(lines.iter().map(|line| line.3.is_none()).collect()),
        ];
        ChangeBatch {
            stream: "s".into(),
            ops: lines.iter().map(|line| line.0).collect(),
            rows: RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("a", a, true), ("b", b, true)]).unwrap(),
            absent,
            before: None,
            transactions: vec![TransactionMark { end: lines.len(), position: "0/1".into(), id: None, committed_at_us: 0 }],
            source_bytes: 0,
        }
    }

    fn collapsed(deletes: DeleteMode, batches: &[&[Line<'_>]]) -> Vec<String> {
        let batches: Vec<ChangeBatch> = batches.iter().map(|lines| batch(lines)).collect();
        let mut pending = Pending::new(&batches[0].rows.schema(), &["id".to_string()], deletes).unwrap();
        for batch in batches {
            pending.add(batch).unwrap();
        }
        let text = |slot: &Slot, column: usize| match pending.find(slot, column) {
            None => "?".to_string(),
            Some((batch, row)) => {
                arrow::util::display::array_value_to_string(pending.batches()[batch].rows.column(column), row).unwrap()
            }
        };
        pending
            .slots()
            .iter()
            .map(|slot| match slot.fate {
                Fate::Gone => format!("{} gone", text(slot, 0)),
                Fate::Row { fresh, deleted } => {
                    let marks = if fresh { " fresh" } else { "" }.to_string() + if deleted { " deleted" } else { "" };
                    format!("{} {} {}{marks}", text(slot, 0), text(slot, 1), text(slot, 2))
                }
            })
            .collect()
    }

    #[test]
    fn the_last_change_of_a_key_wins_and_takes_what_it_lacks_from_those_before() {
        let batches: [&[Line<'_>]; 2] = [
            &[
                (Op::Create, 1, Some("a1"), Some("b1")),
                (Op::Update, 2, Some("a2"), None),
                (Op::Update, 1, Some("a3"), None),
                (Op::Delete, 3, None, None),
            ],
            &[(Op::Update, 1, Some("a4"), None), (Op::Update, 2, None, Some("b5")), (Op::Create, 3, Some("a6"), Some("b6"))],
        ];
        assert_eq!(collapsed(DeleteMode::Hard, &batches), ["1 a4 b1 fresh", "2 a2 b5", "3 a6 b6 fresh"]);
    }

    #[test]
    fn deletes_take_the_row_mark_it_or_are_left_out() {
        let lines: &[Line<'_>] = &[
            (Op::Create, 1, Some("a"), Some("b")),
            (Op::Delete, 1, None, None),
            (Op::Delete, 2, None, None),
            (Op::Update, 3, Some("c"), None),
        ];
        assert_eq!(collapsed(DeleteMode::Hard, &[lines]), ["1 gone", "2 gone", "3 c ?"]);
        assert_eq!(collapsed(DeleteMode::Soft, &[lines]), ["1 a b fresh deleted", "2 ? ? deleted", "3 c ?"]);
        assert_eq!(collapsed(DeleteMode::Ignore, &[lines]), ["1 a b fresh", "3 c ?"]);
    }

    #[test]
    fn a_key_that_is_updated_again_and_again_keeps_a_short_chain() {
        let lines: Vec<Line<'_>> = std::iter::once((Op::Create, 1, Some("a"), Some("b")))
            .chain((0..1000).map(|_| (Op::Update, 1, Some("c"), None)))
            .collect();
        let batch = batch(&lines);
        let mut pending = Pending::new(&batch.rows.schema(), &["id".to_string()], DeleteMode::Hard).unwrap();
        pending.add(batch).unwrap();
        assert_eq!((pending.slots().len(), pending.earlier.len()), (1, 1));
    }

    #[test]
    fn changes_without_key_are_refused() {
        let mut without = batch(&[(Op::Delete, 1, None, None)]);
        without.absent[0] = Some(BooleanBuffer::new_set(1));
        let mut pending = Pending::new(&without.rows.schema(), &["id".to_string()], DeleteMode::Ignore).unwrap();
        assert_eq!(pending.add(without).unwrap_err().code(), "WEIR-CHANGE-011");
    }
}
