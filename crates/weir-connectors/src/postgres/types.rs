//! The one mapping between PostgreSQL and Arrow types, both ways.
//!
//! | PostgreSQL | Arrow | edge |
//! | --- | --- | --- |
//! | bool, int2/4/8, float4/8 | the same | exact |
//! | oid | int64 | widening |
//! | numeric(p ≤ 38, s) | decimal128(p, s) | exact (NaN and Infinity are dead letters) |
//! | numeric without precision, or wider | `on_loss`: text, or decimal128(38,18) rounded | lossy until chosen |
//! | text, varchar, name, enum, json, xml, uuid … | text, with `weir.logical_type` | exact |
//! | char(n) | text, padding kept | exact |
//! | bytea | binary | exact |
//! | date, time, timestamp, timestamptz | date32, time64\[us\], timestamp\[us\], timestamp\[us, UTC\] | exact (infinity is a dead letter) |
//! | arrays of the above, one dimension | list | exact (other shapes are dead letters) |
//! | everything else (interval, timetz, ranges, composites, inet, geometry …) | text as the server prints it | exact as text |

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_connect::stream::LossChoice;
use weir_connect::{Edge, SinkType};

/// How a value is decoded from PostgreSQL's binary form.
#[derive(Debug, Clone, PartialEq)]
pub enum Decode {
    /// One byte, 0 or 1.
    Bool,
    /// Big-endian integers.
    Int2,
    /// 32 bits.
    Int4,
    /// 64 bits.
    Int8,
    /// Unsigned 32 bits as int64.
    Oid,
    /// IEEE single.
    Float4,
    /// IEEE double.
    Float8,
    /// Base-10000 digits, to this precision and scale; `round` accepts surplus digits.
    Numeric {
        /// Digits in all.
        precision: u8,
        /// Digits after the point.
        scale: i8,
        /// Round instead of refusing.
        round: bool,
    },
    /// UTF-8.
    Text,
    /// `jsonb`: a version byte, then text.
    Jsonb,
    /// Raw bytes.
    Bytes,
    /// Days since 2000-01-01.
    Date,
    /// Microseconds since midnight.
    Time,
    /// Microseconds since 2000-01-01.
    Timestamp,
    /// 16 bytes, printed with hyphens.
    Uuid,
    /// One-dimensional array.
    Array(Box<Decode>),
}

/// A column as read.
#[derive(Debug, Clone)]
pub struct ReadColumn {
    /// The Arrow field, with source type and edge recorded.
    pub field: Field,
    /// How to decode it.
    pub decode: Decode,
    /// The server prints it (`column::text`) because it has no binary form that we keep.
    pub as_text: bool,
}

/// What the catalogue says about a column's type.
#[derive(Debug, Clone)]
pub struct PgType {
    /// OID of the base type (domains are looked through).
    pub oid: u32,
    /// `pg_type.typtype`: `b`, `e`, `c`, `r`, ….
    pub kind: char,
    /// OID of the element type of an array, 0 otherwise.
    pub element: u32,
    /// Kind of the element type.
    pub element_kind: char,
    /// Type modifier, -1 for none.
    pub modifier: i32,
    /// As `format_type` prints it.
    pub name: String,
}

/// Precision and scale of a numeric modifier. PostgreSQL 15 allows negative scales: 11 bits, two's complement.
pub fn numeric_modifier(modifier: i32) -> Option<(u32, i32)> {
    if modifier < 4 {
        return None;
    }
    let raw = modifier - 4;
    let precision = ((raw >> 16) & 0xffff) as u32;
    let scale = ((raw & 0x7ff) ^ 1024) - 1024;
    Some((precision, scale))
}

/// Maps a column for reading. `None` when `on_loss: drop` leaves it out.
pub fn read_column(name: &str, nullable: bool, kind: &PgType, choice: LossChoice) -> Option<ReadColumn> {
    let (decode, arrow, logical, edge) = match simple(kind.oid, kind.kind, kind.modifier) {
        Simple::Known(decode, arrow, logical) => (Some(decode), arrow, logical, Edge::Exact),
        Simple::Unbounded => match choice {
            LossChoice::String => (None, DataType::Utf8, Some("numeric"), Edge::Exact),
            LossChoice::Drop => return None,
            LossChoice::Accept | LossChoice::Error => (
                Some(Decode::Numeric { precision: 38, scale: 18, round: true }),
                DataType::Decimal128(38, 18),
                None,
                Edge::Lossy { reason: "numeric without a bounded precision has no exact decimal type".into() },
            ),
        },
        Simple::Other if kind.element != 0 => match simple(kind.element, kind.element_kind, kind.modifier) {
            Simple::Known(decode, arrow, _) => {
                let item = Arc::new(Field::new("item", arrow, true));
                (Some(Decode::Array(Box::new(decode))), DataType::List(item), None, Edge::Exact)
            }
            _ => (None, DataType::Utf8, None, Edge::Exact),
        },
        Simple::Other => (None, DataType::Utf8, logical_text(&kind.name), Edge::Exact),
    };
    let mut field = edge.record(Field::new(name, arrow, nullable), &kind.name);
    if let Some(logical) = logical {
        let mut metadata = field.metadata().clone();
        metadata.insert(LOGICAL_TYPE.into(), logical.into());
        field = field.with_metadata(metadata);
    }
    let as_text = decode.is_none();
    Some(ReadColumn { field, decode: decode.unwrap_or(Decode::Text), as_text })
}

enum Simple {
    Known(Decode, DataType, Option<&'static str>),
    Unbounded,
    Other,
}

fn simple(oid: u32, kind: char, modifier: i32) -> Simple {
    let us = TimeUnit::Microsecond;
    let (decode, arrow, logical) = match oid {
        16 => (Decode::Bool, DataType::Boolean, None),
        21 => (Decode::Int2, DataType::Int16, None),
        23 => (Decode::Int4, DataType::Int32, None),
        20 => (Decode::Int8, DataType::Int64, None),
        26 => (Decode::Oid, DataType::Int64, None),
        700 => (Decode::Float4, DataType::Float32, None),
        701 => (Decode::Float8, DataType::Float64, None),
        25 | 1043 | 1042 | 19 => (Decode::Text, DataType::Utf8, None),
        114 => (Decode::Text, DataType::Utf8, Some("json")),
        3802 => (Decode::Jsonb, DataType::Utf8, Some("json")),
        142 => (Decode::Text, DataType::Utf8, Some("xml")),
        17 => (Decode::Bytes, DataType::Binary, None),
        1082 => (Decode::Date, DataType::Date32, None),
        1083 => (Decode::Time, DataType::Time64(us), None),
        1114 => (Decode::Timestamp, DataType::Timestamp(us, None), None),
        1184 => (Decode::Timestamp, DataType::Timestamp(us, Some("UTC".into())), None),
        2950 => (Decode::Uuid, DataType::Utf8, Some("uuid")),
        1700 => match numeric_modifier(modifier) {
            Some((precision @ 1..=38, scale)) if (0..=precision as i32).contains(&scale) => {
                let (precision, scale) = (precision as u8, scale as i8);
                (Decode::Numeric { precision, scale, round: false }, DataType::Decimal128(precision, scale), None)
            }
            // A negative scale, or more fraction digits than digits: still bounded, if the whole fits.
            Some((precision, scale)) if scale < 0 && precision as i32 - scale <= 38 => {
                let precision = (precision as i32 - scale) as u8;
                (Decode::Numeric { precision, scale: 0, round: false }, DataType::Decimal128(precision, 0), None)
            }
            Some((precision, scale)) if scale > precision as i32 && scale <= 38 => {
                (Decode::Numeric { precision: 38, scale: scale as i8, round: false }, DataType::Decimal128(38, scale as i8), None)
            }
            _ => return Simple::Unbounded,
        },
        _ if kind == 'e' => (Decode::Text, DataType::Utf8, Some("enum")),
        _ => return Simple::Other,
    };
    Simple::Known(decode, arrow, logical)
}

fn logical_text(name: &str) -> Option<&'static str> {
    match name.split(['(', '[']).next().unwrap_or_default().trim() {
        "inet" => Some("inet"),
        "cidr" => Some("cidr"),
        "macaddr" => Some("macaddr"),
        "interval" => Some("interval"),
        "money" => Some("money"),
        _ => None,
    }
}

/// The PostgreSQL type that holds an Arrow field, and what the way does to values.
pub fn sink_type(field: &Field) -> SinkType {
    let logical = field.metadata().get(LOGICAL_TYPE).map(String::as_str);
    let widening = |name: &str, note: &str| SinkType { name: name.into(), edge: Edge::Widening { note: note.into() } };
    let lossy = |name: &str, reason: &str| SinkType { name: name.into(), edge: Edge::Lossy { reason: reason.into() } };
    match field.data_type() {
        DataType::Boolean => SinkType::exact("boolean"),
        DataType::Int8 | DataType::UInt8 => widening("smallint", "int16 holds it"),
        DataType::Int16 => SinkType::exact("smallint"),
        DataType::UInt16 => widening("integer", "int32 holds it"),
        DataType::Int32 => SinkType::exact("integer"),
        DataType::UInt32 => widening("bigint", "int64 holds it"),
        DataType::Int64 => SinkType::exact("bigint"),
        DataType::UInt64 => widening("numeric(20,0)", "beyond bigint"),
        DataType::Float16 | DataType::Float32 => SinkType::exact("real"),
        DataType::Float64 => SinkType::exact("double precision"),
        DataType::Decimal128(p, s) => SinkType::exact(format!("numeric({p},{s})")),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => match logical {
            Some("json") => SinkType::exact("json"),
            Some("uuid") => SinkType::exact("uuid"),
            Some("xml") => SinkType::exact("xml"),
            _ => SinkType::exact("text"),
        },
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            SinkType::exact("bytea")
        }
        DataType::Date32 => SinkType::exact("date"),
        DataType::Time64(TimeUnit::Microsecond) => SinkType::exact("time"),
        DataType::Time32(_) => widening("time", "microseconds hold it"),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            lossy(if zone.is_some() { "timestamptz" } else { "timestamp" }, "PostgreSQL keeps microseconds, not nanoseconds")
        }
        DataType::Timestamp(unit, zone) => {
            let name = if zone.is_some() { "timestamptz" } else { "timestamp" };
            if *unit == TimeUnit::Microsecond { SinkType::exact(name) } else { widening(name, "microseconds hold it") }
        }
        DataType::List(item) => {
            let inner = sink_type(item);
            match inner.edge {
                Edge::Exact if !matches!(item.data_type(), DataType::List(_)) => SinkType::exact(format!("{}[]", inner.name)),
                _ => unsupported(field),
            }
        }
        _ => unsupported(field),
    }
}

fn unsupported(field: &Field) -> SinkType {
    SinkType {
        name: "-".into(),
        edge: Edge::Unsupported { reason: format!("PostgreSQL has no column type for {}", field.data_type()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_are_read_with_their_sign() {
        assert_eq!(numeric_modifier(-1), None);
        assert_eq!(numeric_modifier(((15 << 16) | 2) + 4), Some((15, 2)));
        assert_eq!(numeric_modifier(((2 << 16) | (-3 & 0x7ff)) + 4), Some((2, -3)));
    }

    #[test]
    fn what_is_read_exactly_is_written_as_the_same_type() {
        for (oid, modifier, name) in [
            (16, -1, "boolean"),
            (23, -1, "integer"),
            (20, -1, "bigint"),
            (1700, ((15 << 16) | 2) + 4, "numeric(15,2)"),
            (1184, -1, "timestamptz"),
            (2950, -1, "uuid"),
            (114, -1, "json"),
        ] {
            let kind = PgType { oid, kind: 'b', element: 0, element_kind: 'b', modifier, name: name.into() };
            let column = read_column("c", true, &kind, LossChoice::Error).unwrap();
            assert_eq!(sink_type(&column.field), SinkType::exact(name));
        }
    }
}
