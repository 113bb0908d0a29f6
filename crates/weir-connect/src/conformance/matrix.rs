//! Rows that are hard to carry: one nullable column per type with its extreme values, and the small table of all other checks.

use std::sync::Arc;

use arrow::array::{Array, Int64Builder};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array, new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use weir_error::{Error, Result};

/// Types that stand or fall together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TypeFamily {
    /// `bool`.
    Bool,
    /// int8 to int64 with both ends.
    Ints,
    /// uint8 to uint64 with both ends.
    UInts,
    /// float32 and float64: tiny, huge, subnormal, -0.
    Floats,
    /// NaN and both infinities. In a sink: exact, or a loud error.
    FloatSpecials,
    /// decimal(15,2), (38,0), (38,10) with both ends.
    Decimals,
    /// Text: empty, blanks, quotes, newlines, escapes, `NULL`, `\N`, four-byte characters.
    Text,
    /// Text with a NUL character. In a sink: exact, or a loud error.
    TextNul,
    /// Bytes: empty, all 256 values.
    Binary,
    /// Dates from year 1 to 9999.
    Date,
    /// Time of day in microseconds.
    Time,
    /// Timestamps without a zone, in microseconds, from year 1 to 9999.
    Timestamp,
    /// Timestamps in UTC, in microseconds, from year 1 to 9999.
    TimestampTz,
    /// Lists of int64 and of text: empty, NULL, NULL inside.
    Lists,
    /// A struct of int64 and text, NULL inside and as a whole.
    Structs,
}

impl TypeFamily {
    /// Every family whose values a system with that type can be asked to hold.
    pub const PLAIN: &'static [TypeFamily] = &[
        Self::Bool,
        Self::Ints,
        Self::UInts,
        Self::Floats,
        Self::Decimals,
        Self::Text,
        Self::Binary,
        Self::Date,
        Self::Time,
        Self::Timestamp,
        Self::TimestampTz,
        Self::Lists,
        Self::Structs,
    ];
    /// Families that share their Arrow type with another one but hold values that many systems refuse.
    pub const SPECIAL: &'static [TypeFamily] = &[Self::FloatSpecials, Self::TextNul];

    /// The columns of the family: field name, values. Names are unique over all families.
    pub fn columns(self) -> Vec<(Field, ArrayRef)> {
        fn column<A: Array + 'static>(name: &str, values: A) -> (Field, ArrayRef) {
            (Field::new(name, values.data_type().clone(), true), Arc::new(values))
        }
        match self {
            Self::Bool => vec![column("c_bool", BooleanArray::from(vec![Some(true), Some(false), None]))],
            Self::Ints => vec![
                column("c_int8", Int8Array::from(vec![Some(i8::MIN), Some(i8::MAX), Some(0), Some(-1), None])),
                column("c_int16", Int16Array::from(vec![Some(i16::MIN), Some(i16::MAX), Some(0), Some(-1), None])),
                column("c_int32", Int32Array::from(vec![Some(i32::MIN), Some(i32::MAX), Some(0), Some(-1), None])),
                column(
                    "c_int64",
                    Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), Some((1 << 53) + 1), Some(0), Some(-1), None]),
                ),
            ],
            Self::UInts => vec![
                column("c_uint8", UInt8Array::from(vec![Some(0), Some(u8::MAX), None])),
                column("c_uint16", UInt16Array::from(vec![Some(0), Some(u16::MAX), None])),
                column("c_uint32", UInt32Array::from(vec![Some(0), Some(u32::MAX), None])),
                column("c_uint64", UInt64Array::from(vec![Some(0), Some(u64::MAX), Some((1 << 63) + 1), None])),
            ],
            Self::Floats => vec![
                column(
                    "c_float32",
                    Float32Array::from(vec![
                        Some(0.1),
                        Some(-0.0),
                        Some(f32::MIN),
                        Some(f32::MAX),
                        Some(f32::MIN_POSITIVE),
                        Some(f32::from_bits(1)),
                        Some(16_777_217.0),
                        None,
                    ]),
                ),
                column(
                    "c_float64",
                    Float64Array::from(vec![
                        Some(0.1),
                        Some(0.1 + 0.2),
                        Some(-0.0),
                        Some(f64::MIN),
                        Some(f64::MAX),
                        Some(f64::MIN_POSITIVE),
                        Some(f64::from_bits(1)),
                        Some(9_007_199_254_740_993.0),
                        None,
                    ]),
                ),
            ],
            Self::FloatSpecials => vec![
                column(
                    "c_special32",
                    Float32Array::from(vec![Some(f32::NAN), Some(f32::INFINITY), Some(f32::NEG_INFINITY), None]),
                ),
                column(
                    "c_special64",
                    Float64Array::from(vec![Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), None]),
                ),
            ],
            Self::Decimals => {
                let largest = 10i128.pow(38) - 1;
                let decimal = |name: &str, precision: u8, scale: i8, values: Vec<Option<i128>>| {
                    let data_type = DataType::Decimal128(precision, scale);
                    column(name, Decimal128Array::from(values).with_data_type(data_type))
                };
                vec![
                    decimal("c_dec15_2", 15, 2, vec![Some(1), Some(-1), Some(999_999_999_999_999), Some(-100), Some(0), None]),
                    decimal("c_dec38_0", 38, 0, vec![Some(largest), Some(-largest), Some(i128::from(i64::MAX) + 1), None]),
                    decimal("c_dec38_10", 38, 10, vec![Some(largest), Some(-largest), Some(1), Some(10_000_000_000), None]),
                ]
            }
            Self::Text => vec![column(
                "c_text",
                StringArray::from(vec![
                    Some(""),
                    Some(" "),
                    Some("  both ends  "),
                    Some("O'Brien said \"no\""),
                    Some("line\nbreak\r\nand \r alone"),
                    Some("tab\tcomma,semi;pipe|"),
                    Some("back\\slash \\n \\N"),
                    Some("NULL"),
                    Some("null"),
                    Some("\\N"),
                    Some("NA"),
                    Some("007"),
                    Some("1e5"),
                    Some("2024-02-30"),
                    Some("{\"a\": [1, \"}\"]}"),
                    Some("Ærøskøbing 北京 🦆 e\u{301} \u{200d}\u{feff}"),
                    Some("\u{1}\u{7f}\u{85}\u{2028}"),
                    None,
                ]),
            )],
            Self::TextNul => vec![column("c_text_nul", StringArray::from(vec![Some("a\0b"), Some("\0"), None]))],
            Self::Binary => {
                let all: Vec<u8> = (0..=255).collect();
                vec![column(
                    "c_binary",
                    BinaryArray::from_opt_vec(vec![Some(b""), Some(&[0]), Some(&all), Some(&[0xff, 0xfe]), None]),
                )]
            }
            Self::Date => vec![column(
                "c_date",
                Date32Array::from(vec![Some(0), Some(-1), Some(-719_162), Some(2_932_896), Some(19_782), None]),
            )],
            Self::Time => {
                vec![column("c_time", Time64MicrosecondArray::from(vec![Some(0), Some(1), Some(86_399_999_999), None]))]
            }
            Self::Timestamp => vec![column("c_timestamp", TimestampMicrosecondArray::from(instants()))],
            Self::TimestampTz => {
                vec![column("c_timestamptz", TimestampMicrosecondArray::from(instants()).with_timezone("UTC"))]
            }
            Self::Lists => {
                let mut numbers = ListBuilder::new(Int64Builder::new());
                numbers.append_value([Some(1), None, Some(i64::MIN)]);
                numbers.append(true);
                numbers.append(false);
                let mut words = ListBuilder::new(StringBuilder::new());
                words.append_value([Some("a,b"), None, Some(""), Some("\"{}\"")]);
                words.append(true);
                words.append(false);
                vec![column("c_list_int", numbers.finish()), column("c_list_text", words.finish())]
            }
            Self::Structs => {
                let fields = Fields::from(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)]);
                let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, None]));
                let b: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), Some("é\"\n"), None]));
                vec![column("c_struct", StructArray::new(fields, vec![a, b], Some(NullBuffer::from(vec![true, true, false]))))]
            }
        }
    }
}

fn instants() -> Vec<Option<i64>> {
    vec![
        Some(0),
        Some(-1),
        Some(1),
        Some(-62_135_596_800_000_000), // 0001-01-01T00:00:00
        Some(253_402_300_799_999_999), // 9999-12-31T23:59:59.999999
        Some(1_711_846_799_123_456),   // a moment in the hour that summer time skips in Berlin
        Some(1_709_164_800_000_000),   // 2024-02-29
        None,
    ]
}

/// One batch with a column `id` and the columns given, the shorter ones filled up with NULL.
pub fn table_of(columns: Vec<(Field, ArrayRef)>) -> Result<RecordBatch> {
    let rows = columns.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let mut fields = vec![Field::new("id", DataType::Int64, true)];
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..rows as i64))];
    for (field, values) in columns {
        let missing = rows - values.len();
        let padded = if missing == 0 {
            values
        } else {
            concat(&[&values, &new_null_array(field.data_type(), missing)]).map_err(broken)?
        };
        fields.push(field);
        arrays.push(padded);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(broken)
}

/// The schema of [`plain_rows`]: `id` int64, `name` text, `n` int64.
pub fn plain_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]))
}

/// Rows with ids `from..to`; every seventh name is NULL; `n` is `id * factor`.
pub fn plain_rows(from: i64, to: i64, factor: i64) -> Result<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    let names: ArrayRef = Arc::new(StringArray::from_iter((from..to).map(|id| (id % 7 != 3).then(|| format!("row {id} \"ü\"")))));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((from..to).map(|id| id * factor)));
    RecordBatch::try_new(plain_schema(), vec![ids, names, numbers]).map_err(broken)
}

/// `batches` batches of `rows` rows each, ids counting up.
pub fn plain_batches(batches: i64, rows: i64) -> Result<Vec<RecordBatch>> {
    (0..batches).map(|batch| plain_rows(batch * rows, (batch + 1) * rows, 3)).collect()
}

/// Three rows with very many columns: `id` and `c0001`, …
pub fn wide_rows(columns: usize) -> Result<RecordBatch> {
    let extra = (1..columns)
        .map(|index| {
            let base = index as i64 * 10;
            let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(base), None, Some(base + 2)]));
            (Field::new(format!("c{index:04}"), DataType::Int64, true), values)
        })
        .collect();
    table_of(extra)
}

/// Two rows, one of them with a text of that many bytes (two-byte characters, so that a cut shows).
pub fn large_cell(bytes: usize) -> Result<RecordBatch> {
    let large = "é".repeat(bytes / 2);
    let values: ArrayRef = Arc::new(StringArray::from(vec![Some(large.as_str()), Some("small")]));
    table_of(vec![(Field::new("name", DataType::Utf8, true), values)])
}

pub(super) fn broken(error: arrow::error::ArrowError) -> Error {
    Error::internal("the conformance kit could not build its rows").because(error)
}
