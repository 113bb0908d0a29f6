//! Keys as numbers: each different key gets the next one, in the order in which keys come.

use std::hash::{BuildHasher, RandomState};

use arrow::array::{Array, ArrayRef, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, FieldRef};
use arrow::row::{RowConverter, SortField};
use datafusion::error::Result;

/// The keys of one slice of time. One key column of four or eight bytes is kept as it is, everything else as Arrow's row format.
pub(super) struct Groups {
    fields: Vec<FieldRef>,
    index: Index,
    keys: Keys,
}

enum Keys {
    /// No key column: there is one group, once a row came.
    One {
        seen: bool,
    },
    Wide(Plain<i64>),
    Narrow(Plain<i32>),
    Rows {
        converter: RowConverter,
        bytes: Vec<u8>,
        ends: Vec<usize>,
    },
}

/// Values by number; that of NULL stands as zero.
struct Plain<T> {
    values: Vec<T>,
    null: Option<u32>,
}

/// Numbers found by the hash of what they stand for: open addressing, never more than three quarters full.
struct Index {
    slots: Vec<u32>,
    held: usize,
    seed: u64,
}

const EMPTY: u32 = u32::MAX;

impl Index {
    fn new() -> Self {
        // A seed that nobody outside knows: keys cannot be chosen so that they collide.
        Self { slots: vec![EMPTY; 64], held: 0, seed: RandomState::new().hash_one(0u64) }
    }

    fn mix(&self, value: u64) -> u64 {
        let wide = u128::from(value ^ self.seed) * u128::from(0x9e37_79b9_7f4a_7c15u64);
        (wide as u64) ^ ((wide >> 64) as u64)
    }

    fn mix_bytes(&self, bytes: &[u8]) -> u64 {
        let mut hash = self.mix(bytes.len() as u64);
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            hash = self.mix(hash.rotate_left(23) ^ u64::from_le_bytes(word));
        }
        hash
    }

    /// The number behind a hash for which `same` holds; else `next`, which is kept then.
    fn number(&mut self, hash: u64, next: usize, same: impl Fn(u32) -> bool) -> (u32, bool) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                EMPTY => {
                    self.slots[at] = next as u32;
                    self.held += 1;
                    return (next as u32, true);
                }
                number if same(number) => return (number, false),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// Makes room for one more.
    fn reserve(&mut self, hash: impl Fn(&Self, u32) -> u64) {
        if (self.held + 1) * 4 <= self.slots.len() * 3 {
            return;
        }
        let size = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; size]);
        for number in old.into_iter().filter(|number| *number != EMPTY) {
            let mut at = hash(self, number) as usize & (size - 1);
            while self.slots[at] != EMPTY {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = number;
        }
    }
}

trait Bits: ArrowNativeType {
    fn bits(self) -> u64;
}

impl Bits for i64 {
    fn bits(self) -> u64 {
        self as u64
    }
}

impl Bits for i32 {
    fn bits(self) -> u64 {
        u64::from(self as u32)
    }
}

impl<T: Bits + PartialEq> Plain<T> {
    fn new() -> Self {
        Self { values: Vec::new(), null: None }
    }

    fn number(&mut self, index: &mut Index, array: &ArrayRef, ids: &mut Vec<usize>) {
        let data = array.to_data();
        let values = &data.buffers()[0].typed_data::<T>()[data.offset()..data.offset() + data.len()];
        for (row, value) in values.iter().enumerate() {
            if data.nulls().is_some_and(|nulls| nulls.is_null(row)) {
                let number = *self.null.get_or_insert_with(|| {
                    self.values.push(T::default());
                    (self.values.len() - 1) as u32
                });
                ids.push(number as usize);
                continue;
            }
            index.reserve(|index, number| index.mix(self.values[number as usize].bits()));
            let (known, null) = (&self.values, self.null);
            let same = |number: u32| known[number as usize] == *value && null != Some(number);
            let (number, new) = index.number(index.mix(value.bits()), known.len(), same);
            if new {
                self.values.push(*value);
            }
            ids.push(number as usize);
        }
    }

    fn column(&self, from: usize, to: usize, kind: &DataType) -> Result<ArrayRef> {
        let null = self.null.map(|null| null as usize).filter(|null| (from..to).contains(null));
        let nulls = null.map(|null| NullBuffer::from_iter((from..to).map(|at| at != null)));
        let data = arrow::array::ArrayData::builder(kind.clone())
            .len(to - from)
            .add_buffer(Buffer::from_slice_ref(&self.values[from..to]))
            .nulls(nulls)
            .build()?;
        Ok(make_array(data))
    }
}

impl Groups {
    /// Without any key yet, for columns like these.
    pub(super) fn new(fields: &[FieldRef]) -> Result<Self> {
        use DataType::{Date32, Date64, Duration, Int32, Int64, Time32, Time64, Timestamp, UInt32, UInt64};
        let keys = match fields {
            [] => Keys::One { seen: false },
            [one] => match one.data_type() {
                Int64 | UInt64 | Timestamp(..) | Date64 | Time64(_) | Duration(_) => Keys::Wide(Plain::new()),
                Int32 | UInt32 | Date32 | Time32(_) => Keys::Narrow(Plain::new()),
                _ => Self::rows(fields)?,
            },
            _ => Self::rows(fields)?,
        };
        Ok(Self { fields: fields.to_vec(), index: Index::new(), keys })
    }

    fn rows(fields: &[FieldRef]) -> Result<Keys> {
        let sorted = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Keys::Rows { converter: RowConverter::new(sorted)?, bytes: Vec::new(), ends: Vec::new() })
    }

    pub(super) fn len(&self) -> usize {
        match &self.keys {
            Keys::One { seen } => usize::from(*seen),
            Keys::Wide(plain) => plain.values.len(),
            Keys::Narrow(plain) => plain.values.len(),
            Keys::Rows { ends, .. } => ends.len(),
        }
    }

    /// The number of each of `rows` rows, into `ids` (cleared before).
    pub(super) fn number(&mut self, columns: &[ArrayRef], rows: usize, ids: &mut Vec<usize>) -> Result<()> {
        ids.clear();
        ids.reserve(rows);
        let index = &mut self.index;
        match &mut self.keys {
            Keys::One { seen } => {
                *seen |= rows > 0;
                ids.resize(rows, 0);
            }
            Keys::Wide(plain) => plain.number(index, &columns[0], ids),
            Keys::Narrow(plain) => plain.number(index, &columns[0], ids),
            Keys::Rows { converter, bytes, ends } => {
                let converted = converter.convert_columns(columns)?;
                for row in &converted {
                    let row = row.data();
                    index.reserve(|index, number| index.mix_bytes(cut(bytes, ends, number)));
                    let hash = index.mix_bytes(row);
                    let (number, new) = index.number(hash, ends.len(), |number| cut(bytes, ends, number) == row);
                    if new {
                        bytes.extend_from_slice(row);
                        ends.push(bytes.len());
                    }
                    ids.push(number as usize);
                }
            }
        }
        Ok(())
    }

    /// The keys numbered `from` to `to` (not included) as columns.
    pub(super) fn columns(&self, from: usize, to: usize) -> Result<Vec<ArrayRef>> {
        match &self.keys {
            Keys::One { .. } => Ok(Vec::new()),
            Keys::Wide(plain) => Ok(vec![plain.column(from, to, self.fields[0].data_type())?]),
            Keys::Narrow(plain) => Ok(vec![plain.column(from, to, self.fields[0].data_type())?]),
            Keys::Rows { converter, bytes, ends } => {
                let parser = converter.parser();
                let rows = (from..to).map(|number| parser.parse(cut(bytes, ends, number as u32)));
                typed(converter.convert_rows(rows)?, &self.fields)
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::One { .. } => 0,
            Keys::Wide(plain) => plain.values.capacity() * 8,
            Keys::Narrow(plain) => plain.values.capacity() * 4,
            Keys::Rows { bytes, ends, converter } => bytes.capacity() + ends.capacity() * 8 + converter.size(),
        };
        keys + self.index.slots.len() * 4
    }
}

fn cut<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let at = number as usize;
    &bytes[at.checked_sub(1).map_or(0, |before| ends[before])..ends[at]]
}

/// Rows give dictionaries back as their values: here they have the type again that is promised.
pub(super) fn typed(columns: Vec<ArrayRef>, fields: &[FieldRef]) -> Result<Vec<ArrayRef>> {
    let typed = |(column, field): (ArrayRef, &FieldRef)| match column.data_type() == field.data_type() {
        true => Ok(column),
        false => Ok(arrow::compute::cast(&column, field.data_type())?),
    };
    columns.into_iter().zip(fields).map(typed).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray};
    use arrow::datatypes::Field;

    use super::*;

    fn field(kind: DataType) -> FieldRef {
        Arc::new(Field::new("k", kind, true))
    }

    fn check(columns: Vec<Vec<ArrayRef>>, expected: &[usize]) {
        let fields: Vec<FieldRef> = columns[0].iter().map(|column| field(column.data_type().clone())).collect();
        let (mut groups, mut all, mut ids) = (Groups::new(&fields).unwrap(), Vec::new(), Vec::new());
        for batch in &columns {
            groups.number(batch, batch[0].len(), &mut ids).unwrap();
            all.extend(ids.iter().copied());
        }
        assert_eq!(all, expected);
        let back = groups.columns(0, groups.len()).unwrap();
        groups.number(&back, groups.len(), &mut ids).unwrap();
        assert_eq!(ids, (0..groups.len()).collect::<Vec<_>>(), "keys come back as they were");
        if groups.len() > 1 {
            assert_eq!(groups.columns(1, groups.len()).unwrap()[0].as_ref(), back[0].slice(1, groups.len() - 1).as_ref());
        }
    }

    #[test]
    fn keys_are_numbered_as_they_come_and_null_is_one() {
        let wide = |values: Vec<Option<i64>>| vec![Arc::new(Int64Array::from(values)) as ArrayRef];
        check(vec![wide(vec![Some(7), None, Some(0), Some(7)]), wide(vec![Some(0), None, Some(-1)])], &[0, 1, 2, 0, 2, 1, 3]);
        let narrow = Int32Array::from(vec![Some(3), Some(0), None, Some(3)]);
        check(vec![vec![Arc::new(narrow.slice(1, 3)) as ArrayRef]], &[0, 1, 2]);
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("a")]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 2.0, 1.0]));
        check(vec![vec![texts, floats]], &[0, 1, 2, 0]);
    }

    #[test]
    fn a_table_grows() {
        let many: Vec<i64> = (0..10_000).map(|at| at * 64).collect();
        let mut groups = Groups::new(&[field(DataType::Int64)]).unwrap();
        let column: ArrayRef = Arc::new(Int64Array::from(many));
        let mut ids = Vec::new();
        for _ in 0..2 {
            groups.number(std::slice::from_ref(&column), 10_000, &mut ids).unwrap();
            assert!(ids.iter().copied().eq(0..10_000));
        }
        assert_eq!(groups.columns(0, 10_000).unwrap()[0].as_ref(), column.as_ref());
    }
}
