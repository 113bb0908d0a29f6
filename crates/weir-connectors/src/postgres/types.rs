//! The type-fidelity table, both ways: PostgreSQL type → how it travels and what Arrow type it becomes, and Arrow field →
//! PostgreSQL type. Nothing else in the connector decides about types.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_connect::stream::LossChoice;
use weir_connect::{Edge, SinkType};

/// Numbers of built-in types, fixed by PostgreSQL for ever.
pub mod oid {
    #![allow(missing_docs)]
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const OID: u32 = 26;
    pub const JSON: u32 = 114;
    pub const XML: u32 = 142;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const MONEY: u32 = 790;
    pub const INET: u32 = 869;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const INTERVAL: u32 = 1186;
    pub const NUMERIC: u32 = 1700;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
}

/// A row of `pg_type`, as far as it matters here.
#[derive(Debug, Clone, Default)]
pub struct PgType {
    /// Its number.
    pub oid: u32,
    /// Its name without schema.
    pub name: String,
    /// `b` base, `c` composite, `d` domain, `e` enum, `r` range, `m` multirange, `p` pseudo.
    pub kind: char,
    /// Element type of a true array, else 0.
    pub element: u32,
    /// Base type of a domain, else 0.
    pub base: u32,
    /// Type modifier of a domain's base, else -1.
    pub base_typmod: i32,
}

/// The types that a set of columns needs, by number.
pub type TypeMap = HashMap<u32, PgType>;

/// How a value travels in binary format, and which builder takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Travel {
    /// One byte.
    Bool,
    /// 16 bits.
    Int2,
    /// 32 bits.
    Int4,
    /// 64 bits.
    Int8,
    /// Unsigned 32 bits, into 64.
    Oid,
    /// IEEE single.
    Float4,
    /// IEEE double.
    Float8,
    /// Base-10000 digits into a scaled integer of 128 bits.
    Decimal128 {
        /// Digits.
        precision: u8,
        /// Digits after the point.
        scale: i8,
        /// Digits beyond the scale are rounded, because the spec accepts it. Otherwise they are an error.
        round: bool,
    },
    /// Base-10000 digits into a scaled integer of 256 bits.
    Decimal256 {
        /// Digits.
        precision: u8,
        /// Digits after the point.
        scale: i8,
    },
    /// A 64-bit count of the smallest unit of the currency.
    Money {
        /// Digits after the point in the server's locale.
        scale: i8,
    },
    /// UTF-8.
    Text,
    /// UTF-8 after a version byte.
    Jsonb,
    /// Bytes.
    Bytes,
    /// Days since 2000.
    Date,
    /// Microseconds of the day.
    Time,
    /// Microseconds since 2000, without zone.
    Timestamp,
    /// Microseconds since 2000 UTC.
    TimestampTz,
    /// Microseconds, days, months.
    Interval,
    /// 16 bytes, into text with hyphens.
    Uuid,
    /// One dimension, lower bound 1.
    List(Box<Travel>),
}

impl Travel {
    /// The Arrow type of the builder.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int2 => DataType::Int16,
            Self::Int4 => DataType::Int32,
            Self::Int8 | Self::Oid => DataType::Int64,
            Self::Float4 => DataType::Float32,
            Self::Float8 => DataType::Float64,
            Self::Decimal128 { precision, scale, .. } => DataType::Decimal128(*precision, *scale),
            Self::Decimal256 { precision, scale } => DataType::Decimal256(*precision, *scale),
            Self::Money { scale } => DataType::Decimal128(19, *scale),
            Self::Text | Self::Jsonb | Self::Uuid => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::List(item) => DataType::List(Arc::new(Field::new("item", item.arrow(), true))),
        }
    }
}

/// How the column stands in the select list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// As it is.
    Plain,
    /// `::text`.
    Text,
    /// `::text[]`.
    TextArray,
    /// By the type's output function, where `::text` says something else (`inet` would get a `/32`, `char(n)` lose its padding).
    Output,
}

impl Select {
    /// The expression for a column whose quoted name is `name`.
    pub fn expression(self, name: &str) -> String {
        match self {
            Self::Plain => name.to_string(),
            Self::Text => format!("{name}::text"),
            Self::TextArray => format!("{name}::text[]"),
            Self::Output => format!("CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END"),
        }
    }
}

/// A column of a stream, with its way into Arrow.
#[derive(Debug, Clone)]
pub struct SourceColumn {
    /// Its name.
    pub name: String,
    /// How it is selected.
    pub select: Select,
    /// How it travels.
    pub travel: Travel,
    /// The Arrow field, with the edge in its metadata.
    pub field: Field,
}

/// Digits and scale of `numeric(p,s)`; `None` if unbounded.
pub fn numeric_typmod(typmod: i32) -> Option<(u16, i16)> {
    if typmod < 4 {
        return None;
    }
    let packed = typmod - 4;
    let precision = ((packed >> 16) & 0xffff) as u16;
    // Eleven bits with sign since 15; before, scales ended at 1000 and never set the sign bit.
    let scale = (((packed & 0x7ff) ^ 1024) - 1024) as i16;
    Some((precision, scale))
}

/// Precision and scale that hold every `numeric(p,s)`, in Arrow's terms: scale between 0 and precision.
fn arrow_decimal(precision: u16, scale: i16) -> (u16, i16) {
    if scale < 0 { (precision.saturating_add(scale.unsigned_abs()), 0) } else { (precision.max(scale.unsigned_abs()), scale) }
}

struct Mapped {
    travel: Travel,
    select: Select,
    edge: Edge,
    logical: Option<String>,
}

fn as_text(name: &str) -> Mapped {
    Mapped {
        travel: Travel::Text,
        select: Select::Text,
        edge: Edge::Widening { note: format!("{name} as text, as the server prints it") },
        logical: Some(name.to_string()),
    }
}

/// Numbers from here on are of types that users and extensions made.
const FIRST_USER_OID: u32 = 16_384;

fn map(type_oid: u32, typmod: i32, types: &TypeMap, money_scale: i8, choice: LossChoice) -> Mapped {
    let exact = |travel| Mapped { travel, select: Select::Plain, edge: Edge::Exact, logical: None };
    let logical = |travel, name: &str| Mapped { logical: Some(name.into()), ..exact(travel) };
    match type_oid {
        oid::BOOL => exact(Travel::Bool),
        oid::INT2 => exact(Travel::Int2),
        oid::INT4 => exact(Travel::Int4),
        oid::INT8 => exact(Travel::Int8),
        oid::OID => Mapped { edge: Edge::Widening { note: "unsigned 32 bits into 64".into() }, ..exact(Travel::Oid) },
        oid::FLOAT4 => exact(Travel::Float4),
        oid::FLOAT8 => exact(Travel::Float8),
        oid::NUMERIC => numeric(typmod, choice),
        oid::MONEY => logical(Travel::Money { scale: money_scale }, "money"),
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME => exact(Travel::Text),
        oid::JSON => logical(Travel::Text, "json"),
        oid::JSONB => logical(Travel::Jsonb, "json"),
        oid::XML => as_text("xml"),
        oid::BYTEA => exact(Travel::Bytes),
        oid::DATE => exact(Travel::Date),
        oid::TIME => exact(Travel::Time),
        oid::TIMESTAMP => exact(Travel::Timestamp),
        oid::TIMESTAMPTZ => exact(Travel::TimestampTz),
        oid::INTERVAL => logical(Travel::Interval, "interval"),
        oid::UUID => logical(Travel::Uuid, "uuid"),
        oid::INET => Mapped { select: Select::Output, ..as_text("inet") },
        other => {
            let Some(found) = types.get(&other) else { return as_text("unknown") };
            match found.kind {
                'd' => map(found.base, if typmod >= 0 { typmod } else { found.base_typmod }, types, money_scale, choice),
                'e' => logical(Travel::Text, "enum"),
                'b' if found.element != 0 => list(found, typmod, types, money_scale, choice),
                'b' if found.name == "citext" => logical(Travel::Text, "citext"),
                // A type that a user made may be named as a built-in one is, and must not become that.
                _ if other >= FIRST_USER_OID => Mapped { logical: None, ..as_text(&found.name) },
                _ => as_text(&found.name),
            }
        }
    }
}

fn numeric(typmod: i32, choice: LossChoice) -> Mapped {
    let mapped = |travel, edge| Mapped { travel, select: Select::Plain, edge, logical: None };
    if let Some((precision, scale)) = numeric_typmod(typmod) {
        let (precision, scale) = arrow_decimal(precision, scale);
        if let (Ok(precision), Ok(scale)) = (u8::try_from(precision), i8::try_from(scale)) {
            if precision <= 38 {
                return mapped(Travel::Decimal128 { precision, scale, round: false }, Edge::Exact);
            }
            if precision <= 76 {
                return mapped(Travel::Decimal256 { precision, scale }, Edge::Exact);
            }
        }
    }
    match choice {
        LossChoice::String => Mapped {
            logical: Some("numeric".into()),
            ..mapped(Travel::Text, Edge::Widening { note: "numeric as text, every digit kept".into() })
        }
        .texted(),
        _ => {
            let what = if numeric_typmod(typmod).is_some() { "more than 76 digits" } else { "unbounded numeric" };
            let reason = format!("{what}; decimal128(38,18) rounds after 18 digits: set on_loss: string, or cast it in a query");
            mapped(Travel::Decimal128 { precision: 38, scale: 18, round: choice == LossChoice::Accept }, Edge::Lossy { reason })
        }
    }
}

impl Mapped {
    fn texted(self) -> Self {
        Self { select: Select::Text, ..self }
    }
}

fn list(array: &PgType, typmod: i32, types: &TypeMap, money_scale: i8, choice: LossChoice) -> Mapped {
    let item = map(array.element, typmod, types, money_scale, choice);
    if matches!(item.travel, Travel::List(_)) {
        // An array of a domain over an array.
        return as_text(&array.name);
    }
    let select = if item.select == Select::Plain { Select::Plain } else { Select::TextArray };
    // The logical type of the items, so that the sink can make an array of the same type again.
    Mapped { travel: Travel::List(Box::new(item.travel)), select, edge: item.edge, logical: item.logical }
}

/// A column of a table or query. `None` if `on_loss: drop` leaves it out.
#[allow(clippy::too_many_arguments)]
pub fn source_column(
    name: &str,
    type_oid: u32,
    typmod: i32,
    type_name: &str,
    not_null: bool,
    types: &TypeMap,
    money_scale: i8,
    on_loss: &weir_connect::OnLoss,
) -> Option<SourceColumn> {
    let choice = on_loss.for_column(name);
    let mut mapped = map(type_oid, typmod, types, money_scale, choice);
    if mapped.edge.loses() && choice == LossChoice::Drop {
        return None;
    }
    // Asked for by name, text it is: for values that a type has but Arrow has not (`infinity`, NaN, arrays of arrays).
    let asked = on_loss.columns.get(name) == Some(&LossChoice::String);
    if asked && !matches!(mapped.travel, Travel::Text | Travel::Jsonb | Travel::Uuid) {
        let base = types.get(&type_oid).map_or_else(|| type_name.to_string(), |found| found.name.clone());
        mapped = as_text(&base);
    }
    let mut field = Field::new(name, mapped.travel.arrow(), !not_null);
    if let Some(logical) = mapped.logical {
        let mut metadata = field.metadata().clone();
        metadata.insert(LOGICAL_TYPE.into(), logical);
        field = field.with_metadata(metadata);
    }
    let field = mapped.edge.record(field, type_name);
    Some(SourceColumn { name: name.into(), select: mapped.select, travel: mapped.travel, field })
}

// ---------------------------------------------------------------- Arrow → PostgreSQL

/// Built-in types that a text column of ours becomes again, because the server reads its own text form.
pub const TEXT_TYPES: &[&str] = &[
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "bit",
    "varbit",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "tsvector",
    "tsquery",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "tsmultirange",
    "tstzmultirange",
    "datemultirange",
    "pg_lsn",
    "timetz",
    "interval",
    "xml",
    "numeric",
    "jsonpath",
];

/// How the sink stores a field when it creates the column.
pub fn sink_type(field: &Field) -> SinkType {
    let logical = field.metadata().get(LOGICAL_TYPE).map(String::as_str);
    let source = field.metadata().get(weir_connect::fidelity::SOURCE_TYPE).map(String::as_str).unwrap_or_default();
    of_arrow(field.data_type(), logical, source)
}

fn of_arrow(kind: &DataType, logical: Option<&str>, source: &str) -> SinkType {
    use DataType as T;
    let widening = |name: &str, note: &str| SinkType { name: name.into(), edge: Edge::Widening { note: note.into() } };
    let lossy = |name: &str, reason: &str| SinkType { name: name.into(), edge: Edge::Lossy { reason: reason.into() } };
    match kind {
        T::Boolean => SinkType::exact("boolean"),
        T::Int8 | T::UInt8 => widening("smallint", "8 bits into 16"),
        T::Int16 => SinkType::exact("smallint"),
        T::UInt16 => widening("integer", "16 bits into 32"),
        T::Int32 => SinkType::exact("integer"),
        T::UInt32 => widening("bigint", "32 bits into 64"),
        T::Int64 => SinkType::exact("bigint"),
        T::UInt64 => widening("numeric(20,0)", "64 unsigned bits"),
        T::Float16 => widening("real", "16 bits into 32"),
        T::Float32 => SinkType::exact("real"),
        T::Float64 => SinkType::exact("double precision"),
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
            let (precision, scale) = arrow_decimal(u16::from(*p), i16::from(*s));
            SinkType::exact(format!("numeric({precision},{scale})"))
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => match logical {
            Some("uuid") => SinkType::exact("uuid"),
            // jsonb keeps the value but not its spelling; only what was jsonb before becomes jsonb.
            Some("json") if source.starts_with("jsonb") => SinkType::exact("jsonb"),
            Some("json") => SinkType::exact("json"),
            // A bare `bit` would be one bit.
            Some("bit") => SinkType::exact(sized(source, "bit").map_or("varbit".into(), |digits| format!("bit({digits})"))),
            Some(name) if TEXT_TYPES.contains(&name) => SinkType::exact(name),
            _ => SinkType::exact(text_name(source)),
        },
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => SinkType::exact("bytea"),
        T::Date32 => SinkType::exact("date"),
        T::Date64 => widening("timestamp", "date with milliseconds"),
        T::Time32(_) => widening("time", "coarser than a microsecond"),
        T::Time64(TimeUnit::Nanosecond) => lossy("time", "PostgreSQL keeps microseconds, nanoseconds are cut"),
        T::Time64(_) => SinkType::exact("time"),
        T::Timestamp(unit, zone) => {
            let name = if zone.is_some() { "timestamptz" } else { "timestamp" };
            match unit {
                TimeUnit::Nanosecond => lossy(name, "PostgreSQL keeps microseconds, nanoseconds are cut"),
                _ if zone.as_deref().is_some_and(|zone| !matches!(zone, "UTC" | "Etc/UTC" | "Z" | "+00:00")) => {
                    widening(name, "the instant is kept, the zone's name is not")
                }
                TimeUnit::Microsecond => SinkType::exact(name),
                _ => widening(name, "coarser than a microsecond"),
            }
        }
        T::Duration(TimeUnit::Nanosecond) => lossy("interval", "PostgreSQL keeps microseconds, nanoseconds are cut"),
        T::Duration(_) => widening("interval", "a span without calendar parts"),
        T::Interval(IntervalUnit::MonthDayNano) if logical != Some("interval") => {
            lossy("interval", "PostgreSQL keeps microseconds, nanoseconds are cut")
        }
        T::Interval(_) => SinkType::exact("interval"),
        T::Dictionary(_, value) => of_arrow(value, logical, source),
        T::RunEndEncoded(_, value) => of_arrow(value.data_type(), logical, source),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => list_type(item, logical, source),
        T::Struct(_) | T::Map(_, _) => widening("jsonb", "as JSON"),
        T::Null => widening("text", "a column without values"),
        other => SinkType {
            name: "text".into(),
            edge: Edge::Unsupported { reason: format!("PostgreSQL has no counterpart of {other}") },
        },
    }
}

fn list_type(item: &Field, logical: Option<&str>, source: &str) -> SinkType {
    if item.data_type().is_nested() {
        return SinkType { name: "jsonb".into(), edge: Edge::Widening { note: "as JSON".into() } };
    }
    let logical = item.metadata().get(LOGICAL_TYPE).map(String::as_str).or(logical);
    let inner = of_arrow(item.data_type(), logical, source.trim_end_matches("[]"));
    SinkType { name: format!("{}[]", inner.name), edge: inner.edge }
}

/// How many characters a text type of PostgreSQL's name holds: `None` if the name is no text type, `Some(None)` if without limit.
pub fn text_limit(source: &str) -> Option<Option<usize>> {
    match text_name(source).as_str() {
        "text" if matches!(source, "text" | "character varying") => Some(None),
        "text" => None,
        sized => sized.split(['(', ')']).nth(1).and_then(|digits| digits.parse().ok()).map(Some),
    }
}

/// The digits of `name(digits)`. The text may come from a file's metadata and goes into a statement, so nothing else passes.
fn sized<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let digits = source.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u32>().is_ok()).then_some(digits)
}

/// `varchar(n)` and `char(n)` stay what they were, if the source was one of us or speaks the same names.
fn text_name(source: &str) -> String {
    let bare = source.trim_end_matches("[]");
    match (sized(bare, "character varying"), sized(bare, "character")) {
        (Some(digits), _) => format!("varchar({digits})"),
        (_, Some(digits)) => format!("char({digits})"),
        _ => "text".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numeric_modifiers_are_unpacked_with_negative_scale() {
        let pack = |p: i32, s: i32| ((p << 16) | (s & 0x7ff)) + 4;
        assert_eq!(numeric_typmod(pack(15, 2)), Some((15, 2)));
        assert_eq!(numeric_typmod(pack(5, -3)), Some((5, -3)));
        assert_eq!(numeric_typmod(-1), None);
        assert_eq!(arrow_decimal(5, -3), (8, 0));
        assert_eq!(arrow_decimal(3, 5), (5, 5));
    }

    #[test]
    fn unbounded_numeric_is_lossy_until_the_spec_says_otherwise() {
        let types = TypeMap::new();
        let mut on_loss = weir_connect::OnLoss::default();
        let column = |on_loss: &_| source_column("n", oid::NUMERIC, -1, "numeric", false, &types, 2, on_loss);
        assert!(Edge::of_source(&column(&on_loss).unwrap().field).loses());
        on_loss.default = LossChoice::String;
        let text = column(&on_loss).unwrap();
        assert_eq!((text.travel, text.select), (Travel::Text, Select::Text));
        assert!(!Edge::of_source(&text.field).loses());
        on_loss.default = LossChoice::Drop;
        assert!(column(&on_loss).is_none());
    }

    #[test]
    fn what_came_from_postgres_goes_back_as_it_was() {
        let types = TypeMap::new();
        let on_loss = weir_connect::OnLoss::default();
        for (type_oid, typmod, name, back) in [
            (oid::INT4, -1, "integer", "integer"),
            (oid::VARCHAR, 14, "character varying(10)", "varchar(10)"),
            (oid::BPCHAR, 5, "character(1)", "char(1)"),
            (oid::TEXT, -1, "text", "text"),
            (oid::JSONB, -1, "jsonb", "jsonb"),
            (oid::JSON, -1, "json", "json"),
            (oid::UUID, -1, "uuid", "uuid"),
            (oid::INET, -1, "inet", "inet"),
            (oid::INTERVAL, -1, "interval", "interval"),
            (oid::TIMESTAMPTZ, -1, "timestamp with time zone", "timestamptz"),
            (oid::NUMERIC, ((15 << 16) | 2) + 4, "numeric(15,2)", "numeric(15,2)"),
        ] {
            let column = source_column("c", type_oid, typmod, name, false, &types, 2, &on_loss).unwrap();
            assert_eq!(sink_type(&column.field).name, back, "{name}");
            assert!(!sink_type(&column.field).edge.loses(), "{name}");
        }
    }
}
