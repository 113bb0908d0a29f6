//! Deterministic data: the same seed and row number give the same value on every machine.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Int32Type};
use arrow::error::ArrowError;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Texts that break naive writers: quotes, separators, line ends, non-Latin, combining, emoji, empty, NULL look-alikes.
pub const AWKWARD_TEXTS: [&str; 14] = [
    "",
    " ",
    "NULL",
    "\\N",
    "a,b;c\td",
    "say \"hi\"",
    "it's",
    "line\nbreak",
    "cr\r\nlf",
    "Grüße",
    "日本語テキスト",
    "e\u{301}",
    "🦀🚀",
    "back\\slash",
];

/// `rows` rows from row number `first`, of the Arrow types that every format and database here should carry; the row
/// number is `id`, and about one value in eight of the other columns is NULL.
pub fn table(first: i64, rows: usize, seed: u64) -> Result<RecordBatch, ArrowError> {
    let ids: Vec<i64> = (first..).take(rows).collect();
    let column = |which: u64| {
        ids.iter().map(move |id| {
            let mut rng = StdRng::seed_from_u64(
                seed ^ which.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ id.cast_unsigned().wrapping_mul(0x2545_F491_4F6C_DD1D),
            );
            (rng.random_ratio(7, 8)).then_some(rng)
        })
    };
    let small = |which| column(which).map(|r| r.map(|mut r| r.random::<i32>()));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("flag", Arc::new(column(1).map(|r| r.map(|mut r| r.random::<bool>())).collect::<BooleanArray>())),
        ("tiny", Arc::new(column(2).map(|r| r.map(|mut r| r.random::<i8>())).collect::<Int8Array>())),
        ("small", Arc::new(column(3).map(|r| r.map(|mut r| r.random::<i16>())).collect::<Int16Array>())),
        ("medium", Arc::new(small(4).collect::<Int32Array>())),
        ("large", Arc::new(column(5).map(|r| r.map(|mut r| r.random::<i64>())).collect::<Int64Array>())),
        ("single", Arc::new(column(6).map(|r| r.map(|mut r| float(r.random::<u64>()) as f32)).collect::<Float32Array>())),
        ("double", Arc::new(column(7).map(|r| r.map(|mut r| float(r.random::<u64>()))).collect::<Float64Array>())),
        (
            "amount",
            Arc::new(
                column(8)
                    .map(|r| r.map(|mut r| i128::from(r.random_range(-999_999_999_999_999_i64..=999_999_999_999_999))))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(15, 2)?,
            ),
        ),
        ("day", Arc::new(column(9).map(|r| r.map(|mut r| r.random_range(-25_000..60_000))).collect::<Date32Array>())),
        (
            "clock",
            Arc::new(
                column(10).map(|r| r.map(|mut r| r.random_range(0..86_400_000_000_i64))).collect::<Time64MicrosecondArray>(),
            ),
        ),
        ("local_time", Arc::new(column(11).map(|r| r.map(|mut r| moment(&mut r))).collect::<TimestampMicrosecondArray>())),
        (
            "at",
            Arc::new(
                column(12).map(|r| r.map(|mut r| moment(&mut r))).collect::<TimestampMicrosecondArray>().with_timezone("UTC"),
            ),
        ),
        ("label", Arc::new(column(13).map(|r| r.map(|mut r| text(&mut r))).collect::<StringArray>())),
        ("raw", Arc::new(column(14).map(|r| r.map(|mut r| blob(&mut r))).collect::<BinaryArray>())),
        (
            "numbers",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(column(15).map(|r| {
                r.map(|mut r| (0..r.random_range(0..4)).map(|_| r.random_ratio(4, 5).then(|| r.random())).collect::<Vec<_>>())
            }))),
        ),
        ("pair", pair(small(16).collect(), column(17).map(|r| r.map(|mut r| text(&mut r))).collect())?),
    ];
    let id: ArrayRef = Arc::new(Int64Array::from(ids.clone()));
    let all = std::iter::once(("id", id, false)).chain(columns.into_iter().map(|(n, c)| (n, c, true)));
    RecordBatch::try_from_iter_with_nullable(all)
}

fn pair(left: Int32Array, right: StringArray) -> Result<ArrayRef, ArrowError> {
    let fields = Fields::from(vec![Field::new("left", DataType::Int32, true), Field::new("right", DataType::Utf8, true)]);
    Ok(Arc::new(StructArray::try_new(fields, vec![Arc::new(left), Arc::new(right)], None)?))
}

/// Finite doubles of every magnitude, with a share of exact small numbers.
fn float(bits: u64) -> f64 {
    let any = f64::from_bits(bits);
    if bits.is_multiple_of(4) || !any.is_finite() { f64::from((bits >> 40) as u32) / 8.0 } else { any }
}

/// Between the years 1900 and 2200, in microseconds.
fn moment(rng: &mut StdRng) -> i64 {
    rng.random_range(-2_208_988_800_000_000..7_258_118_400_000_000)
}

fn text(rng: &mut StdRng) -> String {
    let word = AWKWARD_TEXTS[rng.random_range(0..AWKWARD_TEXTS.len())];
    format!("{word}{}", rng.random_range(0..100_000_u32))
}

fn blob(rng: &mut StdRng) -> Vec<u8> {
    (0..rng.random_range(0..24)).map(|_| rng.random()).collect()
}

/// SQL that makes and fills `table` with `rows` deterministic rows inside PostgreSQL, of the types that a column store
/// can hold exactly.
pub fn postgres_table(table: &str, rows: u64) -> String {
    format!(
        "CREATE TABLE {table} (id bigint PRIMARY KEY, customer integer NOT NULL, amount numeric(15,2), rate double precision, ok boolean, \
         label text, raw bytea, day date, local_time timestamp, at timestamptz, tag uuid); \
         INSERT INTO {table} SELECT i, (i * 7919 % 100003)::int, \
         CASE WHEN i % 11 = 0 THEN NULL ELSE ((i * 1000003 % 99999999) - 50000000) / 100.0 END, \
         CASE WHEN i % 13 = 0 THEN NULL ELSE sqrt(i)::float8 - 1e3 END, \
         CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN true ELSE false END, \
         CASE WHEN i % 17 = 0 THEN NULL WHEN i % 5 = 0 THEN E'line\\n\"quoted\", Grüße \\\\N ' || i ELSE 'row ' || md5(i::text) END, \
         CASE WHEN i % 7 = 0 THEN NULL ELSE decode(md5((i * 3)::text), 'hex') END, \
         date '1970-01-01' + (i % 40000)::int, \
         timestamp '1999-12-31 23:59:59.999999' + i * interval '61.000001 seconds', \
         timestamptz '1999-12-31 23:59:59.999999+00' + i * interval '3601.5 seconds', \
         md5('tag' || i)::uuid FROM generate_series(1::bigint, {rows}) AS i"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_row_is_the_same_in_whatever_slice_it_comes() {
        let whole = table(0, 100, 42).unwrap();
        let parts = [table(60, 40, 42).unwrap(), table(0, 60, 42).unwrap()];
        crate::oracle::assert_same_rows(std::slice::from_ref(&whole), &parts);
        assert!(crate::oracle::same_rows(&[whole], &[table(0, 100, 43).unwrap()]).is_err());
    }

    #[test]
    fn every_column_but_the_id_has_nulls_and_values() {
        let batch = table(0, 500, 7).unwrap();
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()).skip(1).take(15) {
            assert!((1..500).contains(&column.null_count()), "{}", field.name());
        }
    }
}
