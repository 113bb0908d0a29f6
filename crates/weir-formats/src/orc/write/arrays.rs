//! Arrow arrays taken apart: the values that are there, one after the other, and the items of lists that are there.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, GenericByteArray, OffsetSizeTrait, PrimitiveArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::ByteArrayType;
use arrow::error::ArrowError;
use weir_error::{Error, Result};

use super::rle::Ints;
use super::stats::{Bounds, widen_text};
use super::stream::Stream;
use super::text::Texts;

fn broken(error: ArrowError) -> Error {
    Error::internal(format!("the rows cannot be taken apart: {error}"))
}

pub(super) fn each<T: ArrowPrimitiveType>(array: &ArrayRef, mut push: impl FnMut(T::Native)) {
    let array: &PrimitiveArray<T> = array.as_primitive();
    if array.null_count() == 0 {
        array.values().iter().for_each(|value| push(*value));
    } else {
        array.iter().flatten().for_each(push);
    }
}

pub(super) fn try_each<T: ArrowPrimitiveType>(array: &ArrayRef, push: impl FnMut(T::Native) -> Result<()>) -> Result<()> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    array.iter().flatten().try_for_each(push)
}

pub(super) fn whole<T>(array: &ArrayRef, ints: &mut Ints, bounds: &mut Bounds)
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    each::<T>(array, |value| {
        let value = value.into();
        ints.push(value);
        bounds.whole(value);
    });
}

pub(super) fn each_text<T: ByteArrayType<Native = str>>(array: &GenericByteArray<T>, texts: &mut Texts, bounds: &mut Bounds) {
    for value in array.iter().flatten() {
        texts.push(value.as_bytes());
        if let Bounds::Text { range, bytes } = bounds {
            *bytes += value.len() as u64;
            widen_text(range, value.as_bytes());
        }
    }
}

pub(super) fn each_binary<T: ByteArrayType<Native = [u8]>>(
    array: &GenericByteArray<T>,
    lengths: &mut Ints,
    bytes: &mut Stream,
    bounds: &mut Bounds,
) {
    for value in array.iter().flatten() {
        lengths.push(value.len() as i64);
        bytes.plain.extend_from_slice(value);
        if let Bounds::Bytes(sum) = bounds {
            *sum += value.len() as u64;
        }
    }
}

/// The rows that are there.
pub(super) fn only(column: ArrayRef, nulls: Option<&NullBuffer>) -> Result<ArrayRef> {
    match nulls {
        None => Ok(column),
        Some(nulls) => {
            let there = BooleanArray::new(nulls.inner().clone(), None);
            arrow::compute::filter(&column, &there).map_err(broken)
        }
    }
}

/// The items that belong to a list that is there.
pub(super) struct Kept {
    from: usize,
    length: usize,
    /// Set when items of absent lists lie in between.
    there: Option<BooleanArray>,
}

impl Kept {
    pub(super) fn of(&self, items: &ArrayRef) -> Result<ArrayRef> {
        let items = items.slice(self.from, self.length);
        match &self.there {
            None => Ok(items),
            Some(there) => arrow::compute::filter(&items, there).map_err(broken),
        }
    }
}

pub(super) fn push_lengths<O: OffsetSizeTrait>(
    offsets: &OffsetBuffer<O>,
    nulls: Option<&NullBuffer>,
    lengths: &mut Ints,
) -> Kept {
    let (from, until) = (offsets[0].as_usize(), offsets[offsets.len() - 1].as_usize());
    let mut hidden = 0;
    for (row, length) in offsets.lengths().enumerate() {
        match nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            true => lengths.push(length as i64),
            false => hidden += length,
        }
    }
    let there = nulls.filter(|_| hidden > 0).map(|nulls| {
        let rows = offsets.lengths().enumerate();
        rows.flat_map(|(row, length)| std::iter::repeat_n(nulls.is_valid(row), length)).map(Some).collect::<BooleanArray>()
    });
    Kept { from, length: until - from, there }
}
