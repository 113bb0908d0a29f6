//! Which of Debezium's types a column is: by its Arrow type, and by what the source called it.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use serde_json::{Map, Value, json};
use weir_connect::fidelity::{LOGICAL_TYPE, SOURCE_TYPE};
use weir_error::{Error, Kind as ErrorKind, Result};

use super::mysql::{self, MYSQL_TYPE, Mysql};

/// A type of Kafka Connect or Debezium.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Boolean,
    Int16,
    Int32,
    Int64,
    Float,
    Double,
    Text,
    Bytes,
    /// The unscaled number as bytes.
    Decimal {
        scale: i8,
        precision: Option<u8>,
    },
    /// Digits as text, each value with a scale of its own.
    VariableDecimal,
    Date,
    /// Milliseconds of the day.
    Time,
    MicroTime,
    /// Milliseconds since 1970.
    Timestamp,
    MicroTimestamp,
    /// Text in UTC with this many digits after the second.
    ZonedTimestamp(usize),
    ZonedTime,
    MicroDuration,
    Uuid,
    Json,
    Xml,
    /// Its words, as far as they are known.
    Enum(Option<String>),
    /// `bit(1)`.
    Bit,
    Bits(u32),
    Point,
    Hstore,
    List(Box<Kind>),
    /// Of MySQL and its relatives, see [`super::mysql`].
    Mysql(Mysql),
}

/// The number in the brackets of `timestamp(3) without time zone`.
pub(super) fn digits(source: &str) -> Option<u32> {
    source.split_once('(')?.1.split_once(')')?.0.split(',').next()?.trim().parse().ok()
}

impl Kind {
    /// # Errors
    /// `WEIR-FMT-040` for a type that has no counterpart.
    pub(crate) fn of(field: &Field) -> Result<Self> {
        let said = |key: &str| field.metadata().get(key).map_or("", String::as_str);
        let found = match field.metadata().get(MYSQL_TYPE) {
            Some(name) => mysql::find(field.data_type(), said(LOGICAL_TYPE), name),
            None => Self::find(field.data_type(), said(LOGICAL_TYPE), said(SOURCE_TYPE)),
        };
        found.ok_or_else(|| {
            Error::new(
                "WEIR-FMT-040",
                ErrorKind::Unsupported,
                format!("column `{}` ({}) has no place in Debezium's envelope", field.name(), field.data_type()),
            )
            .hint("carry it as text with `on_loss: string`, or leave it out")
        })
    }

    fn find(data_type: &DataType, logical: &str, source: &str) -> Option<Self> {
        use DataType as D;
        Some(match data_type {
            D::Boolean => Self::Boolean,
            D::Int8 | D::UInt8 | D::Int16 => Self::Int16,
            D::UInt16 | D::Int32 => Self::Int32,
            D::UInt32 | D::Int64 => Self::Int64,
            D::Float32 => Self::Float,
            D::Float64 => Self::Double,
            D::Decimal128(_, scale) if logical == "money" => Self::Decimal { scale: *scale, precision: None },
            D::Decimal128(precision, scale) | D::Decimal256(precision, scale) => {
                Self::Decimal { scale: *scale, precision: Some(*precision) }
            }
            D::Utf8 => Self::of_text(logical, source),
            D::Binary => Self::Bytes,
            D::Date32 => Self::Date,
            D::Time64(TimeUnit::Microsecond) if digits(source).is_some_and(|digits| digits <= 3) => Self::Time,
            D::Time64(TimeUnit::Microsecond) => Self::MicroTime,
            D::Timestamp(TimeUnit::Microsecond, None) if digits(source).is_some_and(|digits| digits <= 3) => Self::Timestamp,
            D::Timestamp(TimeUnit::Microsecond, None) => Self::MicroTimestamp,
            D::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                Self::ZonedTimestamp(digits(source).map_or(6, |digits| digits as usize))
            }
            D::Interval(IntervalUnit::MonthDayNano) => Self::MicroDuration,
            D::List(item) => {
                Self::List(Box::new(Self::find(item.data_type(), logical, source.strip_suffix("[]").unwrap_or(source))?))
            }
            _ => return None,
        })
    }

    fn of_text(logical: &str, source: &str) -> Self {
        let name = source.split('(').next().unwrap_or(source).trim();
        match (logical, name) {
            ("uuid", _) => Self::Uuid,
            ("json", _) => Self::Json,
            ("xml", _) => Self::Xml,
            ("enum", _) => Self::Enum(None),
            ("numeric", _) => Self::VariableDecimal,
            ("timetz", _) => Self::ZonedTime,
            ("point", _) => Self::Point,
            ("bit", _) if digits(source).unwrap_or(1) == 1 => Self::Bit,
            ("bit" | "varbit", _) => Self::Bits(digits(source).unwrap_or(i32::MAX as u32)),
            // Of an extension: its name is all there is, with or without a schema.
            (_, name) if name == "hstore" || name.ends_with(".hstore") => Self::Hstore,
            _ => Self::Text,
        }
    }

    /// The schema of Kafka Connect, without the name of a field.
    pub(crate) fn schema(&self, optional: bool) -> Map<String, Value> {
        let (kind, name) = match self {
            Self::Boolean | Self::Bit => ("boolean", None),
            Self::Int16 => ("int16", None),
            Self::Int32 => ("int32", None),
            Self::Int64 => ("int64", None),
            Self::Float => ("float", None),
            Self::Double => ("double", None),
            Self::Text => ("string", None),
            Self::Bytes => ("bytes", None),
            Self::Decimal { .. } => ("bytes", Some("org.apache.kafka.connect.data.Decimal")),
            Self::VariableDecimal => ("struct", Some("io.debezium.data.VariableScaleDecimal")),
            Self::Date => ("int32", Some("io.debezium.time.Date")),
            Self::Time => ("int32", Some("io.debezium.time.Time")),
            Self::MicroTime => ("int64", Some("io.debezium.time.MicroTime")),
            Self::Timestamp => ("int64", Some("io.debezium.time.Timestamp")),
            Self::MicroTimestamp => ("int64", Some("io.debezium.time.MicroTimestamp")),
            Self::ZonedTimestamp(_) => ("string", Some("io.debezium.time.ZonedTimestamp")),
            Self::ZonedTime => ("string", Some("io.debezium.time.ZonedTime")),
            Self::MicroDuration => ("int64", Some("io.debezium.time.MicroDuration")),
            Self::Uuid => ("string", Some("io.debezium.data.Uuid")),
            Self::Json | Self::Hstore => ("string", Some("io.debezium.data.Json")),
            Self::Xml => ("string", Some("io.debezium.data.Xml")),
            Self::Enum(_) => ("string", Some("io.debezium.data.Enum")),
            Self::Bits(_) => ("bytes", Some("io.debezium.data.Bits")),
            Self::Point => ("struct", Some("io.debezium.data.geometry.Point")),
            Self::List(_) => ("array", None),
            Self::Mysql(kind) => kind.name(),
        };
        let mut schema = Map::new();
        schema.insert("type".into(), kind.into());
        match self {
            Self::VariableDecimal => {
                let fields = json!([{"type": "int32", "optional": false, "field": "scale"}, {"type": "bytes", "optional": false, "field": "value"}]);
                schema.insert("fields".into(), fields);
            }
            Self::Point | Self::Mysql(Mysql::Point) => {
                let fields = json!([{"type": "double", "optional": false, "field": "x"}, {"type": "double", "optional": false, "field": "y"},
                    {"type": "bytes", "optional": true, "field": "wkb"}, {"type": "int32", "optional": true, "field": "srid"}]);
                schema.insert("fields".into(), fields);
            }
            Self::Mysql(Mysql::Geometry) => {
                let fields = json!([{"type": "bytes", "optional": false, "field": "wkb"}, {"type": "int32", "optional": true, "field": "srid"}]);
                schema.insert("fields".into(), fields);
            }
            Self::List(item) => drop(schema.insert("items".into(), item.schema(true).into())),
            _ => {}
        }
        schema.insert("optional".into(), optional.into());
        if let Some(name) = name {
            schema.insert("name".into(), name.into());
            schema.insert("version".into(), 1.into());
        }
        match self {
            Self::Decimal { scale, precision } => {
                let mut parameters = Map::new();
                parameters.insert("scale".into(), scale.to_string().into());
                if let Some(precision) = precision {
                    parameters.insert("connect.decimal.precision".into(), precision.to_string().into());
                }
                schema.insert("parameters".into(), parameters.into());
            }
            Self::Bits(length) | Self::Mysql(Mysql::Bits(length)) => {
                schema.insert("parameters".into(), json!({"length": length.to_string()}));
            }
            Self::Enum(Some(words)) | Self::Mysql(Mysql::EnumSet(words)) => {
                schema.insert("parameters".into(), json!({ "allowed": words }));
            }
            Self::Mysql(Mysql::Geometry) => drop(schema.insert("doc".into(), "Geometry".into())),
            Self::VariableDecimal => drop(schema.insert("doc".into(), "Variable scaled decimal".into())),
            Self::Point | Self::Mysql(Mysql::Point) => drop(schema.insert("doc".into(), "Geometry (POINT)".into())),
            _ => {}
        }
        schema
    }

    /// What a value stands for that must be there and is not known: the key is all that the log has of a deleted row.
    pub(crate) fn zero(&self) -> &'static str {
        match self {
            Self::Boolean | Self::Bit => "false",
            Self::Int16 | Self::Int32 | Self::Int64 | Self::Date | Self::Time | Self::MicroTime => "0",
            Self::Timestamp | Self::MicroTimestamp | Self::MicroDuration => "0",
            Self::Float | Self::Double => "0.0",
            Self::Decimal { .. } => "\"AA==\"",
            Self::VariableDecimal => "{\"scale\":0,\"value\":\"AA==\"}",
            Self::ZonedTimestamp(_) => "\"1970-01-01T00:00:00Z\"",
            Self::ZonedTime => "\"00:00:00Z\"",
            Self::Text | Self::Bytes | Self::Uuid | Self::Json | Self::Hstore | Self::Xml | Self::Enum(_) | Self::Bits(_) => {
                "\"\""
            }
            Self::Point => "{\"x\":0.0,\"y\":0.0,\"wkb\":\"AQEAAAAAAAAAAAAAAAAAAAAAAAAA\",\"srid\":null}",
            Self::List(_) => "[]",
            Self::Mysql(kind) => kind.zero(),
        }
    }

    /// What stands for a value that did not change and so is not in the log. `None`: there is no such sign.
    pub(crate) fn unavailable(&self) -> Option<String> {
        const SIGN: &str = "__debezium_unavailable_value";
        let numbers = || SIGN.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(",");
        Some(match self {
            Self::Text | Self::Json | Self::Xml | Self::Enum(_) | Self::Uuid => format!("\"{SIGN}\""),
            Self::Hstore => format!("\"{{\\\"{SIGN}\\\":\\\"{SIGN}\\\"}}\""),
            Self::Bytes => format!("\"{}\"", super::value::base64(SIGN.as_bytes())),
            Self::List(item) => match item.as_ref() {
                Self::Int32 | Self::Int64 => format!("[{}]", numbers()),
                Self::Text | Self::Uuid | Self::Json | Self::Enum(_) => format!("[\"{SIGN}\"]"),
                _ => return None,
            },
            _ => return None,
        })
    }
}
