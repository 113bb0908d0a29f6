//! The type-fidelity table, both ways: a column's type at the server → how its values become Arrow, and an Arrow field → a type at the
//! server. Nothing else in the connector decides about types.

use arrow::datatypes::{DataType, Field, TimeUnit};
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_connect::stream::LossChoice;
use weir_connect::{Edge, OnLoss, SinkType};

use super::client::{ResultColumn, kind};
use super::quote::{ident, literal};

/// Metadata key: the type of a column of this family of servers. Other systems have types of the same names that mean something else.
pub const MYSQL_TYPE: &str = "weir.mysql_type";

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// 8, 16, 24, 32 or 64 bits.
    Int(u8),
    /// IEEE single.
    Float,
    /// IEEE double.
    Double,
    /// Digits, and how many of them after the point.
    Decimal(u8, u8),
    /// 1 to 64 bits.
    Bit(u8),
    /// A day.
    Date,
    /// A span of time, with digits after the second.
    Time(u8),
    /// A day and time, with digits after the second.
    DateTime(u8),
    /// A moment, with digits after the second.
    Timestamp(u8),
    /// A year.
    Year,
    /// Text without blanks at its end, of so many characters.
    Char(u64),
    /// Text of so many characters.
    Varchar(u64),
    /// Text of so many bytes.
    Text(u64),
    /// So many bytes.
    Binary(u64),
    /// Up to so many bytes.
    Bytes(u64),
    /// One of these.
    Enum(Vec<String>),
    /// Some of these.
    Set(Vec<String>),
    /// JSON.
    Json,
    /// A shape, by its name.
    Geometry(String),
    /// A type that is read and written as text: `uuid`, `inet6`.
    Named(String),
    /// Anything else.
    Other(String),
}

/// A column's type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnType {
    /// What it holds.
    pub base: Base,
    /// Not negative.
    pub unsigned: bool,
    /// Display width 1, which `BOOLEAN` makes.
    pub one_wide: bool,
}

/// The quoted values of `enum(…)`; `None` if the text is not that.
fn members(list: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = list.trim();
    loop {
        let mut text = String::new();
        let mut characters = rest.strip_prefix('\'')?.char_indices().peekable();
        let end = loop {
            match characters.next()? {
                (_, '\'') if characters.peek().is_some_and(|(_, next)| *next == '\'') => {
                    characters.next();
                    text.push('\'');
                }
                (at, '\'') => break at + 2,
                (_, '\\') => text.push(match characters.next()?.1 {
                    'n' => '\n',
                    'r' => '\r',
                    '0' => '\0',
                    other => other,
                }),
                (_, character) => text.push(character),
            }
        };
        found.push(text);
        rest = &rest[end..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return rest.is_empty().then_some(found),
        }
    }
}

impl ColumnType {
    /// From the server's own words: `int(10) unsigned`, `enum('a','b')`.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let open = text.find('(');
        let (name, arguments, tail) = match (open, text.rfind(')')) {
            (Some(open), Some(close)) if open < close => (&text[..open], &text[open + 1..close], &text[close + 1..]),
            _ => {
                let end = text.find(' ').unwrap_or(text.len());
                (&text[..end], "", &text[end..])
            }
        };
        let numbers: Vec<u64> = arguments.split(',').filter_map(|number| number.trim().parse().ok()).collect();
        let first = numbers.first().copied();
        let digits = first.unwrap_or(0).min(6) as u8;
        let base = match name.to_ascii_lowercase().as_str() {
            "tinyint" => Base::Int(8),
            "smallint" => Base::Int(16),
            "mediumint" => Base::Int(24),
            "int" | "integer" => Base::Int(32),
            "bigint" => Base::Int(64),
            "float" => Base::Float,
            "double" | "real" => Base::Double,
            "decimal" | "numeric" => {
                Base::Decimal(first.unwrap_or(10).clamp(1, 65) as u8, numbers.get(1).copied().unwrap_or(0).min(38) as u8)
            }
            "bit" => Base::Bit(first.unwrap_or(1).clamp(1, 64) as u8),
            "date" => Base::Date,
            "time" => Base::Time(digits),
            "datetime" => Base::DateTime(digits),
            "timestamp" => Base::Timestamp(digits),
            "year" => Base::Year,
            "char" => Base::Char(first.unwrap_or(1)),
            "varchar" => Base::Varchar(first.unwrap_or(0)),
            "tinytext" => Base::Text(255),
            "text" => Base::Text(65_535),
            "mediumtext" => Base::Text(16_777_215),
            "longtext" => Base::Text(u64::from(u32::MAX)),
            "binary" => Base::Binary(first.unwrap_or(1)),
            "varbinary" => Base::Bytes(first.unwrap_or(0)),
            "tinyblob" => Base::Bytes(255),
            "blob" => Base::Bytes(65_535),
            "mediumblob" => Base::Bytes(16_777_215),
            "longblob" => Base::Bytes(u64::from(u32::MAX)),
            "enum" => members(arguments).map_or_else(|| Base::Other(text.into()), Base::Enum),
            "set" => members(arguments).map_or_else(|| Base::Other(text.into()), Base::Set),
            "json" => Base::Json,
            shape @ ("geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geometrycollection" | "geomcollection") => Base::Geometry(shape.into()),
            named @ ("uuid" | "inet4" | "inet6") => Base::Named(named.into()),
            _ => Base::Other(text.into()),
        };
        let unsigned = tail.split(' ').any(|word| word == "unsigned" || word == "zerofill");
        Self { one_wide: base == Base::Int(8) && first == Some(1), base, unsigned }
    }

    /// From a result's column definition.
    pub fn of_result(column: &ResultColumn) -> Self {
        let unsigned = column.flags & 32 != 0;
        let bytes = column.charset == 63;
        let digits = column.decimals.min(6);
        let length = u64::from(column.length);
        let base = match column.kind {
            kind::TINY => Base::Int(8),
            kind::SHORT => Base::Int(16),
            kind::INT24 => Base::Int(24),
            kind::LONG => Base::Int(32),
            kind::LONGLONG => Base::Int(64),
            kind::FLOAT => Base::Float,
            kind::DOUBLE => Base::Double,
            kind::DECIMAL | kind::NEWDECIMAL => {
                let sign = u64::from(!unsigned) + u64::from(column.decimals > 0);
                Base::Decimal(length.saturating_sub(sign).clamp(1, 65) as u8, column.decimals.min(38))
            }
            kind::BIT => Base::Bit(length.clamp(1, 64) as u8),
            kind::DATE => Base::Date,
            kind::TIME => Base::Time(digits),
            kind::DATETIME => Base::DateTime(digits),
            kind::TIMESTAMP => Base::Timestamp(digits),
            kind::YEAR => Base::Year,
            kind::JSON => Base::Json,
            kind::GEOMETRY => Base::Geometry("geometry".into()),
            _ if bytes && column.flags & (256 | 2048) == 0 => Base::Bytes(u64::from(u32::MAX)),
            _ => Base::Text(u64::from(u32::MAX)),
        };
        Self { one_wide: base == Base::Int(8) && length == 1, base, unsigned }
    }

    /// As it stands in a column definition. Made anew from what was understood, so that nothing else can enter a statement.
    pub fn sql(&self) -> String {
        let unsigned = if self.unsigned { " unsigned" } else { "" };
        let fraction = |name: &str, digits: &u8| if *digits == 0 { name.to_string() } else { format!("{name}({digits})") };
        let list = |members: &[String]| members.iter().map(|member| literal(member)).collect::<Vec<_>>().join(",");
        match &self.base {
            Base::Int(8) if self.one_wide && !self.unsigned => "tinyint(1)".into(),
            Base::Int(bits) => {
                let name = match bits {
                    8 => "tinyint",
                    16 => "smallint",
                    24 => "mediumint",
                    32 => "int",
                    _ => "bigint",
                };
                format!("{name}{unsigned}")
            }
            Base::Float => format!("float{unsigned}"),
            Base::Double => format!("double{unsigned}"),
            Base::Decimal(precision, scale) => format!("decimal({precision},{scale}){unsigned}"),
            Base::Bit(bits) => format!("bit({bits})"),
            Base::Date => "date".into(),
            Base::Time(digits) => fraction("time", digits),
            Base::DateTime(digits) => fraction("datetime", digits),
            Base::Timestamp(digits) => fraction("timestamp", digits),
            Base::Year => "year".into(),
            Base::Char(characters) => format!("char({characters})"),
            Base::Varchar(characters) => format!("varchar({characters})"),
            Base::Text(255) => "tinytext".into(),
            Base::Text(65_535) => "text".into(),
            Base::Text(16_777_215) => "mediumtext".into(),
            Base::Text(_) => "longtext".into(),
            Base::Binary(bytes) => format!("binary({bytes})"),
            Base::Bytes(255) => "tinyblob".into(),
            Base::Bytes(65_535) => "blob".into(),
            Base::Bytes(16_777_215) => "mediumblob".into(),
            Base::Bytes(bytes) if *bytes < 65_535 => format!("varbinary({bytes})"),
            Base::Bytes(_) => "longblob".into(),
            Base::Enum(values) => format!("enum({})", list(values)),
            Base::Set(values) => format!("set({})", list(values)),
            Base::Json => "json".into(),
            Base::Geometry(name) | Base::Named(name) => name.clone(),
            Base::Other(_) => "longtext".into(),
        }
    }

    /// Smallest and largest value of an integer type.
    pub fn range(&self) -> Option<(i128, i128)> {
        let Base::Int(bits) = self.base else { return None };
        Some(if self.unsigned { (0, (1_i128 << bits) - 1) } else { (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1) })
    }
}

/// How a value in binary protocol becomes Arrow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Travel {
    /// One byte, 0 or 1.
    Bool,
    /// `bit(1)`.
    BitBool,
    /// `bit(n)`.
    BitNumber,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float,
    Double,
    Decimal128(u8, i8),
    Decimal256(u8, i8),
    Text,
    Bytes,
    Geometry,
    Date,
    Time,
    DateTime,
    Timestamp,
}

impl Travel {
    /// The Arrow type of the builder.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Bool | Self::BitBool => DataType::Boolean,
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::UInt8 => DataType::UInt8,
            Self::UInt16 => DataType::UInt16,
            Self::UInt32 => DataType::UInt32,
            Self::UInt64 | Self::BitNumber => DataType::UInt64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal128(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Decimal256(precision, scale) => DataType::Decimal256(*precision, *scale),
            Self::Text => DataType::Utf8,
            Self::Bytes | Self::Geometry => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::DateTime => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// A column of a stream, with its way into Arrow.
#[derive(Debug, Clone)]
pub struct SourceColumn {
    /// Its name.
    pub name: String,
    /// How it stands in the select list.
    pub select: String,
    /// How it travels.
    pub travel: Travel,
    /// What has no counterpart in Arrow becomes NULL, because the spec accepts it.
    pub lenient: bool,
    /// The Arrow field, with the edge in its metadata.
    pub field: Field,
}

/// How a column's values travel, its logical type, and its expression as text.
fn travel(of: &ColumnType, tinyint1_as_boolean: bool) -> (Travel, Option<&'static str>) {
    match &of.base {
        Base::Int(8) if of.one_wide && tinyint1_as_boolean => (Travel::Bool, None),
        Base::Int(8) if of.unsigned => (Travel::UInt8, None),
        Base::Int(8) => (Travel::Int8, None),
        Base::Int(16) if of.unsigned => (Travel::UInt16, None),
        Base::Int(16) => (Travel::Int16, None),
        Base::Int(24 | 32) if of.unsigned => (Travel::UInt32, None),
        Base::Int(24 | 32) => (Travel::Int32, None),
        Base::Int(_) if of.unsigned => (Travel::UInt64, None),
        Base::Int(_) => (Travel::Int64, None),
        Base::Float => (Travel::Float, None),
        Base::Double => (Travel::Double, None),
        Base::Decimal(precision, scale) if *precision <= 38 => (Travel::Decimal128(*precision, *scale as i8), None),
        Base::Decimal(precision, scale) => (Travel::Decimal256(*precision, *scale as i8), None),
        Base::Bit(1) => (Travel::BitBool, None),
        Base::Bit(_) => (Travel::BitNumber, Some("bit")),
        Base::Date => (Travel::Date, None),
        Base::Time(_) => (Travel::Time, None),
        Base::DateTime(_) => (Travel::DateTime, None),
        Base::Timestamp(_) => (Travel::Timestamp, None),
        Base::Year => (Travel::UInt16, Some("year")),
        Base::Char(_) | Base::Varchar(_) | Base::Text(_) => (Travel::Text, None),
        Base::Binary(_) | Base::Bytes(_) => (Travel::Bytes, None),
        Base::Enum(_) => (Travel::Text, Some("enum")),
        Base::Set(_) => (Travel::Text, Some("set")),
        Base::Json => (Travel::Text, Some("json")),
        Base::Geometry(_) => (Travel::Geometry, Some("geometry")),
        Base::Named(name) if name == "uuid" => (Travel::Text, Some("uuid")),
        Base::Named(_) => (Travel::Text, Some("inet")),
        Base::Other(_) => (Travel::Text, None),
    }
}

/// A column of a table or query. `None` if `on_loss: drop` leaves it out.
pub fn source_column(
    name: &str,
    of: &ColumnType,
    type_name: &str,
    not_null: bool,
    tinyint1_as_boolean: bool,
    on_loss: &OnLoss,
) -> Option<SourceColumn> {
    let quoted = ident(name);
    let (mut travel, logical) = travel(of, tinyint1_as_boolean);
    let mut select = quoted.clone();
    let mut edge = match &of.base {
        Base::Other(kind) => Edge::Widening { note: format!("{kind} as text, as the server prints it") },
        Base::Int(24) => Edge::Widening { note: "24 bits into 32".into() },
        Base::Year => Edge::Widening { note: "a year as a number".into() },
        _ => Edge::Exact,
    };
    // Asked for by name, text it is: for values that a type has but Arrow has not (zero dates, times beyond a day).
    if on_loss.columns.get(name) == Some(&LossChoice::String) && travel != Travel::Text {
        select = match of.base {
            Base::Bit(_) => format!("CAST({quoted} + 0 AS CHAR)"),
            Base::Geometry(_) => format!("ST_AsText({quoted})"),
            Base::Binary(_) | Base::Bytes(_) => format!("HEX({quoted})"),
            // As CHAR a float would lose digits.
            Base::Float => format!("CAST(CAST({quoted} AS DOUBLE) AS CHAR)"),
            _ => format!("CAST({quoted} AS CHAR)"),
        };
        travel = Travel::Text;
        edge = Edge::Widening { note: format!("{type_name} as text, as the server prints it") };
    } else if matches!(of.base, Base::Other(_)) {
        select = format!("CAST({quoted} AS CHAR)");
    }
    let lenient = on_loss.for_column(name) == LossChoice::Accept;
    // A zero date in a column that may not be NULL becomes NULL all the same.
    let nullable = !not_null || (lenient && matches!(travel, Travel::Date | Travel::Time | Travel::DateTime | Travel::Timestamp));
    let mut field = Field::new(name, travel.arrow(), nullable);
    let mut metadata = field.metadata().clone();
    metadata.insert(MYSQL_TYPE.into(), of.sql());
    if let Some(logical) = logical {
        metadata.insert(LOGICAL_TYPE.into(), logical.into());
    }
    field = field.with_metadata(metadata);
    let field = edge.record(field, type_name);
    if select != quoted {
        select = format!("{select} AS {quoted}");
    }
    Some(SourceColumn { name: name.into(), select, travel, lenient, field })
}

// ---------------------------------------------------------------- Arrow → MySQL

/// How the sink stores a field when it creates the column.
pub fn sink_type(field: &Field) -> SinkType {
    let metadata = |key: &str| field.metadata().get(key).map(String::as_str);
    if let Some(back) = metadata(MYSQL_TYPE).map(ColumnType::parse).filter(|back| same_shape(back, field.data_type())) {
        return SinkType::exact(back.sql());
    }
    of_arrow(field.data_type())
}

/// Whether values of this Arrow type, which came from a column of that type, can go back into one.
fn same_shape(of: &ColumnType, kind: &DataType) -> bool {
    let text = matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match of.base {
        Base::Other(_) => false,
        // What was read as text goes back as text where the server's own text is read again.
        Base::Date | Base::Time(_) | Base::DateTime(_) | Base::Timestamp(_) | Base::Decimal(..) if text => true,
        _ => travel(of, matches!(kind, DataType::Boolean)).0.arrow() == *kind,
    }
}

fn of_arrow(kind: &DataType) -> SinkType {
    use DataType as T;
    let widening = |name: &str, note: &str| SinkType { name: name.into(), edge: Edge::Widening { note: note.into() } };
    let lossy = |name: &str, reason: &str| SinkType { name: name.into(), edge: Edge::Lossy { reason: reason.into() } };
    let fraction = |name: &str, unit: &TimeUnit| match unit {
        TimeUnit::Second => name.to_string(),
        TimeUnit::Millisecond => format!("{name}(3)"),
        _ => format!("{name}(6)"),
    };
    const CUT: &str = "MySQL keeps microseconds, nanoseconds are cut";
    match kind {
        T::Boolean => SinkType::exact("tinyint(1)"),
        T::Int8 => SinkType::exact("tinyint"),
        T::Int16 => SinkType::exact("smallint"),
        T::Int32 => SinkType::exact("int"),
        T::Int64 => SinkType::exact("bigint"),
        T::UInt8 => SinkType::exact("tinyint unsigned"),
        T::UInt16 => SinkType::exact("smallint unsigned"),
        T::UInt32 => SinkType::exact("int unsigned"),
        T::UInt64 => SinkType::exact("bigint unsigned"),
        T::Float16 => widening("float", "16 bits into 32"),
        T::Float32 => SinkType::exact("float"),
        T::Float64 => SinkType::exact("double"),
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
            let (whole, fraction) = decimal_digits(*p, *s);
            if whole + fraction > 65 || fraction > 30 {
                return lossy("decimal(65,30)", "MySQL keeps 65 digits, 30 of them after the point");
            }
            SinkType::exact(format!("decimal({},{fraction})", (whole + fraction).max(1)))
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => SinkType::exact("longtext"),
        T::FixedSizeBinary(bytes) if (1..=255).contains(bytes) => SinkType::exact(format!("binary({bytes})")),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => SinkType::exact("longblob"),
        T::Date32 => SinkType::exact("date"),
        T::Date64 => widening("datetime(3)", "date with milliseconds"),
        T::Time64(TimeUnit::Nanosecond) => lossy("time(6)", CUT),
        T::Time32(unit) | T::Time64(unit) => SinkType::exact(fraction("time", unit)),
        T::Timestamp(TimeUnit::Nanosecond, _) => lossy("datetime(6)", CUT),
        T::Timestamp(unit, None) => SinkType::exact(fraction("datetime", unit)),
        T::Timestamp(unit, Some(_)) => widening(
            &fraction("datetime", unit),
            "the moment in UTC; MySQL's timestamp ends in 2038 and its datetime has no zone",
        ),
        T::Dictionary(_, value) => of_arrow(value),
        T::RunEndEncoded(_, value) => of_arrow(value.data_type()),
        // JSON of MySQL bends large numbers, text does not.
        T::List(_) | T::LargeList(_) | T::FixedSizeList(_, _) | T::Struct(_) | T::Map(_, _) => {
            widening("longtext", "as JSON text")
        }
        T::Null => widening("longtext", "a column without values"),
        other => SinkType {
            name: "longtext".into(),
            edge: Edge::Unsupported { reason: format!("MySQL has no counterpart of {other}") },
        },
    }
}

/// Digits before and after the point.
pub fn decimal_digits(precision: u8, scale: i8) -> (u16, u16) {
    let (precision, scale) = (i16::from(precision), i16::from(scale));
    ((precision - scale).max(0) as u16, scale.max(0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_for_types_are_understood_and_said_again() {
        for (text, sql) in [
            ("int(10) unsigned zerofill", "int unsigned"),
            ("bigint(20)", "bigint"),
            ("tinyint(1)", "tinyint(1)"),
            ("tinyint(4)", "tinyint"),
            ("decimal(65,30)", "decimal(65,30)"),
            ("datetime(6)", "datetime(6)"),
            ("enum('a','it''s','x,y)')", "enum('a','it''s','x,y)')"),
            ("set('a','b')", "set('a','b')"),
            ("varchar(255)", "varchar(255)"),
            ("year(4)", "year"),
            ("double unsigned", "double unsigned"),
        ] {
            assert_eq!(ColumnType::parse(text).sql(), sql, "{text}");
        }
    }

    #[test]
    fn a_type_from_foreign_metadata_cannot_carry_a_statement() {
        for text in ["int); DROP TABLE t; --", "enum('a'); DROP TABLE t; --')", "enum('a','b", "varchar(1e9)", "date, x int"] {
            let field = Field::new("c", DataType::Utf8, true).with_metadata([(MYSQL_TYPE.to_string(), text.to_string())].into());
            let name = sink_type(&field).name;
            assert!(!name.contains("DROP") && !name.contains(';'), "{text} → {name}");
        }
        assert_eq!(ColumnType::parse("enum('a\\\\b','n\\nl')").sql(), "enum('a\\\\b','n\nl')");
        assert!(matches!(ColumnType::parse("enum('a\\','b')").base, Base::Other(_)));
    }

    #[test]
    fn what_came_from_mysql_goes_back_as_it_was() {
        for text in [
            "tinyint",
            "smallint unsigned",
            "mediumint",
            "bigint unsigned",
            "float",
            "double",
            "decimal(10,2)",
            "decimal(65,30)",
            "bit(1)",
            "bit(64)",
            "date",
            "time(3)",
            "datetime(6)",
            "timestamp(6)",
            "year",
            "char(3)",
            "varchar(20)",
            "text",
            "longtext",
            "binary(16)",
            "varbinary(20)",
            "blob",
            "enum('a','b')",
            "set('a','b')",
            "json",
            "point",
            "uuid",
        ] {
            let column = source_column("c", &ColumnType::parse(text), text, false, false, &OnLoss::default()).unwrap();
            assert_eq!(sink_type(&column.field).name, text);
        }
    }

    #[test]
    fn tinyint_1_is_a_number_unless_asked_for() {
        let of = ColumnType::parse("tinyint(1)");
        assert_eq!(source_column("c", &of, "tinyint(1)", false, false, &OnLoss::default()).unwrap().travel, Travel::Int8);
        assert_eq!(source_column("c", &of, "tinyint(1)", false, true, &OnLoss::default()).unwrap().travel, Travel::Bool);
    }
}
