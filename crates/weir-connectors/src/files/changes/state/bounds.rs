//! The smallest and the largest first key of a file, so that a flush does not look for a key where it cannot be.
//!
//! Values are kept as bytes in the order of the values: numbers, dates and times as a signed number, most significant byte first; texts and bytes as they
//! are, the beginning of long ones. What is cut off cannot make a file look too small: of two values the smaller one never has the larger beginning.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, Int64Type, UInt64Type};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// So much of a text or of bytes is kept.
const KEPT: usize = 64;

/// Of one column of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// The column and its type: other values are not compared with these.
    column: String,
    r#type: String,
    low: Edge,
    high: Edge,
}

/// A value; base64 in the manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge(Vec<u8>);

impl Serialize for Edge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Edge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// First keys that are looked for, ascending.
pub(super) struct Firsts {
    column: String,
    r#type: String,
    values: Vec<Edge>,
}

/// The values as bytes; `None` if there is a NULL, or the type has no order that is kept here.
fn edges(column: &ArrayRef) -> Option<Vec<Edge>> {
    use DataType as T;
    if column.null_count() > 0 {
        return None;
    }
    let rows = 0..column.len();
    let bytes = |bytes: &[u8]| Edge(bytes[..bytes.len().min(KEPT)].to_vec());
    // With the sign turned round the bytes are in the order of the numbers.
    let number = |number: i128| Edge((number ^ i128::MIN).to_be_bytes().to_vec());
    Some(match column.data_type() {
        T::Utf8 => rows.map(|row| bytes(column.as_string::<i32>().value(row).as_bytes())).collect(),
        T::LargeUtf8 => rows.map(|row| bytes(column.as_string::<i64>().value(row).as_bytes())).collect(),
        T::Binary => rows.map(|row| bytes(column.as_binary::<i32>().value(row))).collect(),
        T::FixedSizeBinary(_) => rows.map(|row| bytes(column.as_fixed_size_binary().value(row))).collect(),
        T::UInt64 => column.as_primitive::<UInt64Type>().values().iter().map(|value| number((*value).into())).collect(),
        T::Decimal128(..) => column.as_primitive::<Decimal128Type>().values().iter().map(|value| number(*value)).collect(),
        data if data.is_integer() || matches!(data, T::Date32 | T::Date64 | T::Timestamp(..)) => {
            let days = if *data == T::Date32 { cast(column, &T::Int32).ok()? } else { column.clone() };
            let numbers = cast(&days, &T::Int64).ok()?;
            numbers.as_primitive::<Int64Type>().values().iter().map(|value| number((*value).into())).collect()
        }
        _ => return None,
    })
}

impl Bounds {
    /// Of these values, at least one.
    pub(super) fn of(field: &Field, column: &ArrayRef) -> Option<Self> {
        let edges = edges(column)?;
        let (low, high) = (edges.iter().min()?.clone(), edges.iter().max()?.clone());
        Some(Self { column: field.name().clone(), r#type: field.data_type().to_string(), low, high })
    }

    /// Of both; they are of one column.
    pub(super) fn and(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high), ..self }
    }

    /// Whether one of the values may be among those of the file.
    pub(super) fn may_hold(&self, firsts: &Firsts) -> bool {
        if self.column != firsts.column || self.r#type != firsts.r#type {
            return true;
        }
        firsts.values.get(firsts.values.partition_point(|first| *first < self.low)).is_some_and(|first| *first <= self.high)
    }
}

impl Firsts {
    /// The values of the column at these places (batch, row).
    pub(super) fn new(field: &Field, batches: &[ArrayRef], places: impl Iterator<Item = (usize, usize)>) -> Option<Self> {
        let edges = batches.iter().map(edges).collect::<Option<Vec<_>>>()?;
        let mut values: Vec<Edge> = places.filter_map(|(batch, row)| edges.get(batch)?.get(row).cloned()).collect();
        values.sort_unstable();
        Some(Self { column: field.name().clone(), r#type: field.data_type().to_string(), values })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Date32Array, Decimal128Array, Float64Array, Int32Array, StringArray, TimestampMicrosecondArray, UInt64Array,
    };

    use super::*;

    fn field(column: &ArrayRef) -> Field {
        Field::new("k", column.data_type().clone(), true)
    }

    /// Whether a file with the values `file` is looked into for each of `sought`.
    fn looked(file: ArrayRef, sought: ArrayRef) -> Vec<bool> {
        let bounds = Bounds::of(&field(&file), &file).unwrap();
        let kept: Bounds = serde_json::from_str(&serde_json::to_string(&bounds).unwrap()).unwrap();
        assert_eq!(kept, bounds);
        let one = |at: usize| Firsts::new(&field(&sought), std::slice::from_ref(&sought), [(0, at)].into_iter()).unwrap();
        (0..sought.len()).map(|at| kept.may_hold(&one(at))).collect()
    }

    #[test]
    fn a_file_is_looked_into_for_keys_between_its_smallest_and_its_largest() {
        let yes_and_no = [false, true, true, true, false];
        assert_eq!(
            looked(Arc::new(Int32Array::from(vec![-5, 7])), Arc::new(Int32Array::from(vec![-6, -5, 0, 7, 8]))),
            yes_and_no
        );
        let big = u64::MAX - 10;
        let numbers = |values: [u64; 5]| Arc::new(UInt64Array::from(values.to_vec())) as ArrayRef;
        assert_eq!(looked(numbers([3, 4, 5, 6, big]), numbers([2, 3, 9, big, big + 1])), yes_and_no);
        let decimals = |values: Vec<i128>| Arc::new(Decimal128Array::from(values)) as ArrayRef;
        assert_eq!(looked(decimals(vec![-100, 100]), decimals(vec![-101, -100, 0, 100, 101])), yes_and_no);
        let days = |values: Vec<i32>| Arc::new(Date32Array::from(values)) as ArrayRef;
        assert_eq!(looked(days(vec![-1, 20_000]), days(vec![-2, -1, 0, 20_000, 20_001])), yes_and_no);
        let times = |values: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) as ArrayRef;
        assert_eq!(looked(times(vec![-1, 5]), times(vec![-2, -1, 0, 5, 6])), yes_and_no);
        let texts = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
        assert_eq!(looked(texts(vec!["b", "m", "ä"]), texts(vec!["az", "b", "bb", "ä", "äa"])), yes_and_no);
        let bytes = |values: Vec<&[u8]>| Arc::new(BinaryArray::from(values)) as ArrayRef;
        assert_eq!(looked(bytes(vec![&[1], &[200]]), bytes(vec![&[], &[1], &[1, 0], &[200], &[200, 0]])), yes_and_no);
    }

    #[test]
    fn long_texts_are_known_by_their_beginnings_and_no_file_is_missed() {
        let long = |end: &str| format!("{}{end}", "x".repeat(KEPT));
        let texts = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
        let file = texts(vec![long("b"), long("c")]);
        let sought = texts(vec!["x".into(), long(""), long("a"), long("c"), long("d"), "y".into()]);
        // The third and the fifth are not there, and nobody can tell.
        assert_eq!(looked(file, sought), [false, true, true, true, true, false]);
    }

    #[test]
    fn two_batches_have_the_bounds_of_both_and_what_is_not_comparable_is_looked_for_everywhere() {
        let texts = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
        let (one, two) = (texts(vec!["b", "c"]), texts(vec!["a", "bb"]));
        let both = Bounds::of(&field(&one), &one).unwrap().and(Bounds::of(&field(&two), &two).unwrap());
        let all = texts(vec!["a", "c"]);
        assert_eq!(both, Bounds::of(&field(&all), &all).unwrap());
        let sought = texts(vec!["z"]);
        let other = Field::new("other", DataType::Utf8, true);
        assert!(both.may_hold(&Firsts::new(&other, std::slice::from_ref(&sought), [(0, 0)].into_iter()).unwrap()));
        assert!(!both.may_hold(&Firsts::new(&field(&sought), std::slice::from_ref(&sought), [(0, 0)].into_iter()).unwrap()));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        assert!(Bounds::of(&field(&floats), &floats).is_none());
        let nulls: ArrayRef = Arc::new(StringArray::from(vec![None, Some("a")]));
        assert!(Bounds::of(&field(&nulls), &nulls).is_none());
    }
}
