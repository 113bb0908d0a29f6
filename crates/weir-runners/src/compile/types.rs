//! Arrow types in the words of other engines. `Err` says why there is none that holds every value.

use arrow::datatypes::{DataType, Fields, TimeUnit};
use weir_plan::show_type;

fn digits(unit: &TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

fn none(data_type: &DataType, engine: &str) -> String {
    format!("{engine} has no type that holds every {}", show_type(data_type))
}

fn key_and_value<'a>(fields: &'a DataType, data_type: &DataType, engine: &str) -> Result<(&'a DataType, &'a DataType), String> {
    match fields {
        DataType::Struct(fields) if fields.len() == 2 => Ok((fields[0].data_type(), fields[1].data_type())),
        _ => Err(none(data_type, engine)),
    }
}

/// Flink SQL's (the page "Data Types" of its documentation). Unsigned integers become the next larger type.
pub fn flink(data_type: &DataType) -> Result<String, String> {
    Ok(match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 | DataType::UInt8 => "SMALLINT".into(),
        DataType::Int32 | DataType::UInt16 => "INT".into(),
        DataType::Int64 | DataType::UInt32 => "BIGINT".into(),
        DataType::UInt64 => "DECIMAL(20, 0)".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTES".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Time32(unit) | DataType::Time64(unit) if digits(unit) <= 3 => format!("TIME({})", digits(unit)),
        DataType::Timestamp(unit, None) => format!("TIMESTAMP({})", digits(unit)),
        DataType::Timestamp(unit, Some(_)) => format!("TIMESTAMP_LTZ({})", digits(unit)),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::List(item) | DataType::LargeList(item) => format!("ARRAY<{}>", flink(item.data_type())?),
        DataType::Struct(fields) => format!("ROW<{}>", members(fields, flink)?),
        DataType::Map(entries, _) => {
            let (key, value) = key_and_value(entries.data_type(), data_type, "Flink")?;
            format!("MAP<{}, {}>", flink(key)?, flink(value)?)
        }
        other => return Err(none(other, "Flink")),
    })
}

fn members(fields: &Fields, word: fn(&DataType) -> Result<String, String>) -> Result<String, String> {
    let each: Result<Vec<String>, String> =
        fields.iter().map(|field| Ok(format!("`{}` {}", field.name().replace('`', "``"), word(field.data_type())?))).collect();
    each.map(|each| each.join(", "))
}

/// Spark SQL's. `timestamp` without a zone is `TIMESTAMP_NTZ`.
pub fn spark(data_type: &DataType) -> Result<String, String> {
    Ok(match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 | DataType::UInt8 => "SMALLINT".into(),
        DataType::Int32 | DataType::UInt16 => "INT".into(),
        DataType::Int64 | DataType::UInt32 => "BIGINT".into(),
        DataType::UInt64 => "DECIMAL(20, 0)".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Timestamp(unit, zone) if digits(unit) <= 6 => if zone.is_some() { "TIMESTAMP" } else { "TIMESTAMP_NTZ" }.into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::List(item) | DataType::LargeList(item) => format!("ARRAY<{}>", spark(item.data_type())?),
        DataType::Struct(fields) => {
            let each: Result<Vec<String>, String> = fields
                .iter()
                .map(|field| Ok(format!("`{}`: {}", field.name().replace('`', "``"), spark(field.data_type())?)))
                .collect();
            format!("STRUCT<{}>", each?.join(", "))
        }
        DataType::Map(entries, _) => {
            let (key, value) = key_and_value(entries.data_type(), data_type, "Spark")?;
            format!("MAP<{}, {}>", spark(key)?, spark(value)?)
        }
        other => return Err(none(other, "Spark")),
    })
}

/// SeaTunnel's, as in `schema.fields`. It has no instants: a timestamp with a zone has no word there.
pub fn seatunnel(data_type: &DataType) -> Result<String, String> {
    Ok(match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "tinyint".into(),
        DataType::Int16 | DataType::UInt8 => "smallint".into(),
        DataType::Int32 | DataType::UInt16 => "int".into(),
        DataType::Int64 | DataType::UInt32 => "bigint".into(),
        DataType::UInt64 => "decimal(20, 0)".into(),
        DataType::Float32 => "float".into(),
        DataType::Float64 => "double".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytes".into(),
        DataType::Date32 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time".into(),
        DataType::Timestamp(unit, None) if digits(unit) <= 6 => "timestamp".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::List(item) | DataType::LargeList(item) => format!("array<{}>", seatunnel(item.data_type())?),
        DataType::Map(entries, _) => {
            let (key, value) = key_and_value(entries.data_type(), data_type, "SeaTunnel")?;
            format!("map<{}, {}>", seatunnel(key)?, seatunnel(value)?)
        }
        other => return Err(none(other, "SeaTunnel")),
    })
}

/// Whether every value of one type is a value of the other, so that a cast cannot bend it.
pub fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, UInt8, UInt16, UInt32, Utf8};
    let whole = |data_type: &DataType| match data_type {
        Int8 => Some((true, 8)),
        Int16 => Some((true, 16)),
        Int32 => Some((true, 32)),
        Int64 => Some((true, 64)),
        UInt8 => Some((false, 8)),
        UInt16 => Some((false, 16)),
        UInt32 => Some((false, 32)),
        _ => None,
    };
    match (from, to) {
        _ if from == to => true,
        (Float32, Float64) => true,
        (Decimal128(p, s), Decimal128(q, t)) => s <= t && i16::from(*p) - i16::from(*s) <= i16::from(*q) - i16::from(*t),
        (_, Utf8 | LargeUtf8) => whole(from).is_some() || *from == DataType::Boolean || *from == DataType::Date32,
        _ => match (whole(from), whole(to), to) {
            (Some((signed, bits)), Some((to_signed, to_bits)), _) => {
                bits < to_bits && (to_signed || !signed) || bits == to_bits && signed == to_signed
            }
            (Some((_, bits)), None, Float64) => bits <= 32,
            (Some((_, bits)), None, Float32) => bits <= 16,
            (Some((_, bits)), None, Decimal128(p, s)) => {
                let needed = match bits {
                    8 => 3,
                    16 => 5,
                    32 => 10,
                    _ => 19,
                };
                i16::from(*p) - i16::from(*s) >= needed
            }
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_types_that_hold_every_value_have_a_word() {
        assert_eq!(flink(&DataType::UInt64).unwrap(), "DECIMAL(20, 0)");
        assert_eq!(flink(&DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))).unwrap(), "TIMESTAMP_LTZ(6)");
        assert!(flink(&DataType::Time64(TimeUnit::Microsecond)).unwrap_err().contains("Flink has no type"));
        assert!(spark(&DataType::Timestamp(TimeUnit::Nanosecond, None)).is_err());
        assert!(seatunnel(&DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))).is_err());
        assert!(flink(&DataType::Decimal256(50, 2)).is_err());
    }

    #[test]
    fn a_cast_that_could_bend_a_value_does_not_widen() {
        assert!(widens(&DataType::Int32, &DataType::Int64) && widens(&DataType::UInt32, &DataType::Int64));
        assert!(!widens(&DataType::Int64, &DataType::Float64) && !widens(&DataType::Int32, &DataType::UInt32));
        assert!(widens(&DataType::Decimal128(10, 2), &DataType::Decimal128(12, 4)));
        assert!(!widens(&DataType::Decimal128(10, 2), &DataType::Decimal128(11, 4)));
    }
}
