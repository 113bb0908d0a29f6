//! What an Arrow column becomes in each format, and what that does to its values. Pure.

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use weir_connect::{Edge, SinkType};
use weir_error::{Error, Kind, Result};

use crate::format::Format;
use crate::inference::is_json_text;

/// How a format stores a column. The plan shows it, and `on_loss` rests on it.
///
/// `Exact`: a reader of the format gets the value and its type back. `Widening`: every value can be got back, in another type.
pub fn sink_type(format: Format, field: &Field) -> SinkType {
    match format {
        Format::Csv | Format::Tsv => csv(field),
        Format::Json | Format::Ndjson => json(field),
        Format::Parquet => parquet(field.data_type()),
        Format::Avro => avro(field.data_type()),
        Format::Orc => orc(field.data_type()),
    }
}

/// Refuses a schema that the format cannot hold, before anything is written.
///
/// # Errors
/// `WEIR-FMT-011` naming the column, its type and the format; also for names that Avro does not allow and for two
/// columns of one name.
pub fn check_writable(format: Format, schema: &Schema) -> Result<()> {
    let mut names = std::collections::HashSet::new();
    for field in schema.fields() {
        if !names.insert(field.name()) {
            return Err(refused(format, field, "two columns have this name".into()));
        }
        if let Edge::Unsupported { reason } = sink_type(format, field).edge {
            return Err(refused(format, field, reason));
        }
        if format == Format::Avro
            && let Some(name) = bad_avro_name(field)
        {
            let why = format!("Avro allows only letters, digits and _ in names, not `{name}`");
            return Err(refused(format, field, why).hint("rename it with the `field_mapper` transform"));
        }
    }
    if schema.fields().is_empty() && matches!(format, Format::Orc | Format::Csv | Format::Tsv) {
        return Err(Error::new(
            "WEIR-FMT-011",
            Kind::Unsupported,
            format!("a {} file without columns cannot be written", format.as_str()),
        ));
    }
    Ok(())
}

fn refused(format: Format, field: &Field, why: String) -> Error {
    Error::new(
        "WEIR-FMT-011",
        Kind::Unsupported,
        format!("column `{}` ({}) cannot be written to a {} file", field.name(), field.data_type(), format.as_str()),
    )
    .because(why)
    .hint("cast or drop it, or carry it as text with `on_loss: string`")
}

fn bad_avro_name(field: &Field) -> Option<String> {
    let name = field.name();
    let good =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    if !good {
        return Some(name.clone());
    }
    match field.data_type() {
        DataType::Struct(fields) => fields.iter().find_map(|field| bad_avro_name(field)),
        DataType::List(item) | DataType::LargeList(item) => match item.data_type() {
            DataType::Struct(fields) => fields.iter().find_map(|field| bad_avro_name(field)),
            _ => None,
        },
        _ => None,
    }
}

fn exact(name: impl Into<String>) -> SinkType {
    SinkType::exact(name)
}

fn widening(name: impl Into<String>, note: impl Into<String>) -> SinkType {
    SinkType { name: name.into(), edge: Edge::Widening { note: note.into() } }
}

fn lossy(name: impl Into<String>, reason: impl Into<String>) -> SinkType {
    SinkType { name: name.into(), edge: Edge::Lossy { reason: reason.into() } }
}

fn unsupported(reason: impl Into<String>) -> SinkType {
    SinkType { name: "none".into(), edge: Edge::Unsupported { reason: reason.into() } }
}

/// The worst edge of nested fields, under the name of the whole.
fn nested<'a>(name: impl Into<String>, parts: impl Iterator<Item = SinkType> + 'a) -> SinkType {
    let edge = parts.fold(Edge::Exact, |edge, part| edge.then(part.edge));
    SinkType { name: name.into(), edge }
}

fn csv(field: &Field) -> SinkType {
    use DataType as D;
    let text = |note: &str| widening("text", note);
    match field.data_type() {
        D::Utf8 | D::LargeUtf8 | D::Utf8View => exact("text"),
        D::Null => text("always empty"),
        D::Boolean => text("true and false"),
        data_type if data_type.is_integer() || data_type.is_decimal() => text("all digits, as text"),
        D::Float16 | D::Float32 | D::Float64 => text("the shortest digits that read back the same; NaN, inf, -inf"),
        D::Date32 | D::Date64 => text("ISO 8601 date"),
        D::Time32(_) | D::Time64(_) => text("ISO 8601 time"),
        D::Timestamp(_, Some(_)) => text("RFC 3339 in UTC"),
        D::Timestamp(_, None) => text("ISO 8601 without zone"),
        D::Duration(_) | D::Interval(_) => text("ISO 8601 duration"),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => text("base64"),
        D::Dictionary(_, value) => csv(&Field::new(field.name(), value.as_ref().clone(), true)),
        data_type if data_type.is_nested() => match json(field).edge {
            Edge::Unsupported { reason } => unsupported(reason),
            _ => text("JSON"),
        },
        other => unsupported(format!("{other} has no text form")),
    }
}

fn json(field: &Field) -> SinkType {
    use DataType as D;
    if is_json_text(field) {
        return widening("JSON value", "the text becomes part of the document");
    }
    match field.data_type() {
        D::Utf8 | D::LargeUtf8 | D::Utf8View => exact("string"),
        D::Null => exact("null"),
        D::Boolean => exact("boolean"),
        D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::UInt8 | D::UInt16 | D::UInt32 => exact("number"),
        D::UInt64 => widening("number", "all digits; readers that use doubles round beyond 2^53"),
        data_type if data_type.is_decimal() => widening("number", "all digits; readers that use doubles round beyond 15 digits"),
        D::Float16 | D::Float32 | D::Float64 => widening("number", "NaN and infinities as \"NaN\", \"Infinity\", \"-Infinity\""),
        D::Date32 | D::Date64 => widening("string", "ISO 8601 date"),
        D::Time32(_) | D::Time64(_) => widening("string", "ISO 8601 time"),
        D::Timestamp(_, Some(_)) => widening("string", "RFC 3339 in UTC"),
        D::Timestamp(_, None) => widening("string", "ISO 8601 without zone"),
        D::Duration(_) | D::Interval(_) => widening("string", "ISO 8601 duration"),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => widening("string", "base64"),
        D::Dictionary(_, value) => json(&Field::new(field.name(), value.as_ref().clone(), true)),
        D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _) => nested("array", std::iter::once(json(item))),
        D::Struct(fields) => nested("object", fields.iter().map(|field| json(field))),
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(pair) if matches!(pair.first().map(|key| key.data_type()), Some(D::Utf8 | D::LargeUtf8 | D::Utf8View)) => {
                nested("object", pair.get(1).into_iter().map(|value| json(value)))
            }
            _ => unsupported("only maps with text keys have a JSON form"),
        },
        other => unsupported(format!("{other} has no JSON form")),
    }
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second | TimeUnit::Millisecond => "millis",
        TimeUnit::Microsecond => "micros",
        TimeUnit::Nanosecond => "nanos",
    }
}

fn parquet(data_type: &DataType) -> SinkType {
    use DataType as D;
    match data_type {
        D::Boolean => exact("BOOLEAN"),
        D::Int8 => exact("INT32 (INT8)"),
        D::Int16 => exact("INT32 (INT16)"),
        D::Int32 => exact("INT32"),
        D::Int64 => exact("INT64"),
        D::UInt8 => exact("INT32 (UINT8)"),
        D::UInt16 => exact("INT32 (UINT16)"),
        D::UInt32 => exact("INT32 (UINT32)"),
        D::UInt64 => exact("INT64 (UINT64)"),
        D::Float16 => exact("FLOAT16"),
        D::Float32 => exact("FLOAT"),
        D::Float64 => exact("DOUBLE"),
        D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) | D::Decimal256(p, s) => exact(format!("DECIMAL({p},{s})")),
        D::Utf8 | D::LargeUtf8 | D::Utf8View => exact("STRING"),
        D::Binary | D::LargeBinary | D::BinaryView => exact("BYTE_ARRAY"),
        D::FixedSizeBinary(width) => exact(format!("FIXED_LEN_BYTE_ARRAY({width})")),
        D::Date32 => exact("DATE"),
        D::Date64 => widening("DATE", "days; a time of day in it would be refused"),
        D::Time32(TimeUnit::Second) => widening("TIME(millis)", "Parquet has no seconds"),
        D::Time32(unit) | D::Time64(unit) => exact(format!("TIME({})", unit_name(*unit))),
        D::Timestamp(unit, zone) => {
            let name = format!("TIMESTAMP({}{})", unit_name(*unit), if zone.is_some() { ", UTC" } else { "" });
            match unit {
                TimeUnit::Second => widening(name, "Parquet has no seconds"),
                _ => exact(name),
            }
        }
        D::Duration(_) => widening("INT64", "only Arrow readers see that it is a duration"),
        D::Interval(IntervalUnit::MonthDayNano) => unsupported("Parquet's interval has milliseconds and no sign"),
        D::Interval(_) => widening("INTERVAL", "months, days and milliseconds"),
        D::Null => widening("NULL", "a column without values"),
        D::Dictionary(_, value) => parquet(value),
        D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _) => {
            nested("LIST", std::iter::once(parquet(item.data_type())))
        }
        D::Struct(fields) if fields.is_empty() => unsupported("Parquet has no structs without fields"),
        D::Struct(fields) => nested("STRUCT", fields.iter().map(|field| parquet(field.data_type()))),
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(pair) => nested("MAP", pair.iter().map(|field| parquet(field.data_type()))),
            _ => unsupported("a map without entries"),
        },
        other => unsupported(format!("Parquet has no counterpart of {other}")),
    }
}

fn avro(data_type: &DataType) -> SinkType {
    use DataType as D;
    match data_type {
        D::Boolean => exact("boolean"),
        D::Int8 | D::Int16 | D::UInt8 | D::UInt16 => widening("int", "32 bits"),
        D::Int32 => exact("int"),
        D::UInt32 => widening("long", "64 bits"),
        D::Int64 => exact("long"),
        D::UInt64 => widening("decimal(20,0)", "Avro has no unsigned numbers"),
        D::Float16 => widening("float", "32 bits"),
        D::Float32 => exact("float"),
        D::Float64 => exact("double"),
        D::Decimal128(p, s) | D::Decimal256(p, s) => exact(format!("decimal({p},{s})")),
        D::Utf8 | D::LargeUtf8 | D::Utf8View => exact("string"),
        D::Binary | D::LargeBinary | D::BinaryView => exact("bytes"),
        D::FixedSizeBinary(width) => exact(format!("fixed({width})")),
        D::Date32 => exact("date"),
        D::Date64 => widening("date", "days; a time of day in it would be refused"),
        D::Time32(TimeUnit::Second) => widening("time-millis", "Avro has no seconds"),
        D::Time32(_) => exact("time-millis"),
        D::Time64(TimeUnit::Microsecond) => exact("time-micros"),
        D::Time64(_) => lossy("time-micros", "Avro has no times finer than microseconds"),
        D::Timestamp(unit, zone) => {
            let name = format!("{}timestamp-{}", if zone.is_some() { "" } else { "local-" }, unit_name(*unit));
            match unit {
                TimeUnit::Second => widening(name, "Avro has no seconds"),
                _ => exact(name),
            }
        }
        D::Duration(_) => lossy("long", "the unit is not stored"),
        D::Interval(_) => unsupported("Avro's duration has no negative parts and no microseconds"),
        D::Null => exact("null"),
        D::Dictionary(_, value) => avro(value),
        D::List(item) | D::LargeList(item) => nested("array", std::iter::once(avro(item.data_type()))),
        D::Struct(fields) if fields.is_empty() => unsupported("a record without fields"),
        D::Struct(fields) => nested("record", fields.iter().map(|field| avro(field.data_type()))),
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(pair) if pair.len() == 2 && matches!(pair[0].data_type(), D::Utf8) => {
                nested("map", std::iter::once(avro(pair[1].data_type())))
            }
            _ => unsupported("Avro's maps have text keys"),
        },
        other => unsupported(format!("Avro has no counterpart of {other}")),
    }
}

fn orc(data_type: &DataType) -> SinkType {
    use DataType as D;
    match data_type {
        D::Boolean => exact("boolean"),
        D::Int8 => exact("tinyint"),
        D::Int16 => exact("smallint"),
        D::Int32 => exact("int"),
        D::Int64 => exact("bigint"),
        D::Float32 => exact("float"),
        D::Float64 => exact("double"),
        D::UInt8 => widening("smallint", "16 bits"),
        D::UInt16 => widening("int", "32 bits"),
        D::UInt32 => widening("bigint", "64 bits"),
        D::UInt64 => widening("decimal(20,0)", "ORC has no unsigned numbers"),
        D::Float16 => widening("float", "32 bits"),
        D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) | D::Decimal256(p, s) => {
            let digits = i16::from(*p) - i16::from(*s).min(0);
            match (digits > 38, *s < 0) {
                (true, _) => unsupported("ORC's decimals have at most 38 digits"),
                (_, true) => widening(format!("decimal({digits},0)"), "ORC's decimals have no negative scale"),
                _ => exact(format!("decimal({p},{s})")),
            }
        }
        D::Utf8 | D::LargeUtf8 | D::Utf8View => exact("string"),
        D::Binary | D::LargeBinary | D::BinaryView => exact("binary"),
        D::FixedSizeBinary(_) => widening("binary", "the width is not stored"),
        D::Date32 => exact("date"),
        D::Date64 => widening("date", "days; a time of day in it would be refused"),
        D::Time32(_) | D::Time64(_) => widening("string", "ISO 8601 time; ORC has no times of day"),
        D::Timestamp(_, None) => exact("timestamp"),
        D::Timestamp(_, Some(_)) => exact("timestamp_instant"),
        D::Duration(_) => lossy("bigint", "the unit is not stored"),
        D::Interval(_) => unsupported("ORC has no intervals"),
        D::Null => widening("string", "a column without values"),
        D::Dictionary(_, value) => orc(value),
        D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _) => nested("array", std::iter::once(orc(item.data_type()))),
        D::Struct(fields) if fields.is_empty() => unsupported("a struct without fields"),
        D::Struct(fields) => nested("struct", fields.iter().map(|field| orc(field.data_type()))),
        D::Map(entries, _) => match entries.data_type() {
            D::Struct(pair) if pair.len() == 2 => nested("map", pair.iter().map(|field| orc(field.data_type()))),
            _ => unsupported("a map without entries"),
        },
        other => unsupported(format!("ORC has no counterpart of {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(format: Format, data_type: DataType) -> Edge {
        sink_type(format, &Field::new("c", data_type, true)).edge
    }

    #[test]
    fn edges_are_told_honestly() {
        assert_eq!(edge(Format::Parquet, DataType::Decimal256(60, 5)), Edge::Exact);
        assert!(matches!(edge(Format::Parquet, DataType::Interval(IntervalUnit::MonthDayNano)), Edge::Unsupported { .. }));
        assert!(matches!(edge(Format::Avro, DataType::Time64(TimeUnit::Nanosecond)), Edge::Lossy { .. }));
        assert!(matches!(edge(Format::Ndjson, DataType::Float64), Edge::Widening { .. }));
        assert_eq!(edge(Format::Orc, DataType::Decimal256(38, 5)), Edge::Exact);
        assert!(matches!(edge(Format::Orc, DataType::Decimal128(37, -2)), Edge::Unsupported { .. }));
        let list = DataType::new_list(DataType::Time64(TimeUnit::Nanosecond), true);
        assert!(matches!(edge(Format::Avro, list), Edge::Lossy { .. }));
    }

    #[test]
    fn a_schema_without_a_place_is_refused_before_writing() {
        let schema = Schema::new(vec![Field::new("price", DataType::Decimal256(39, 2), true)]);
        let error = check_writable(Format::Orc, &schema).unwrap_err();
        assert_eq!((error.code(), error.kind()), ("WEIR-FMT-011", Kind::Unsupported));
        let twice = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("a", DataType::Int64, true)]);
        assert_eq!(check_writable(Format::Parquet, &twice).unwrap_err().code(), "WEIR-FMT-011");
        let named = Schema::new(vec![Field::new("first name", DataType::Int64, true)]);
        assert!(check_writable(Format::Avro, &named).is_err());
        assert!(check_writable(Format::Parquet, &named).is_ok());
    }
}
