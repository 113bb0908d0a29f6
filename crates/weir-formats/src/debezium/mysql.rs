//! What MySQL and MariaDB have of their own: types, the source's block, where a change stands in their log. As Debezium's MySQL connector 3.6 and its
//! MariaDB connector 3.5 tell it by default (`decimal.handling.mode: precise`, `bigint.unsigned.handling.mode: long`, `time.precision.mode:
//! adaptive_time_microseconds`).

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, TimeUnit, UInt16Type, UInt64Type};
use weir_connect::TransactionMark;
use weir_error::{Error, Kind as ErrorKind, Result};

use super::kind::{Kind, digits};
use super::value::{base64, print, quote};

/// The type of a column of this family of servers, in the metadata of its field.
pub(crate) const MYSQL_TYPE: &str = "weir.mysql_type";

/// A type that only these servers have, or that they have in another form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mysql {
    /// `bigint unsigned`, as a number with a sign.
    Unsigned,
    /// `bit(n)`: all its bytes, the last first.
    Bits(u32),
    Year,
    /// Its words.
    EnumSet(String),
    /// Without blanks between its parts.
    Json,
    /// WKB, with its reference system if it has one.
    Geometry,
    Point,
}

impl Mysql {
    pub(super) fn name(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Unsigned => ("int64", None),
            Self::Bits(_) => ("bytes", Some("io.debezium.data.Bits")),
            Self::Year => ("int32", Some("io.debezium.time.Year")),
            Self::EnumSet(_) => ("string", Some("io.debezium.data.EnumSet")),
            Self::Json => ("string", Some("io.debezium.data.Json")),
            Self::Geometry => ("struct", Some("io.debezium.data.geometry.Geometry")),
            Self::Point => ("struct", Some("io.debezium.data.geometry.Point")),
        }
    }

    pub(super) fn zero(&self) -> &'static str {
        match self {
            Self::Unsigned | Self::Year => "0",
            Self::Bits(_) | Self::EnumSet(_) | Self::Json => "\"\"",
            Self::Geometry => "{\"wkb\":\"\",\"srid\":null}",
            Self::Point => "{\"x\":0.0,\"y\":0.0,\"wkb\":\"AQEAAAAAAAAAAAAAAAAAAAAAAAAA\",\"srid\":null}",
        }
    }

    /// Writes the value of a row; the row is not NULL.
    pub(super) fn write(&self, array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let words = || array.as_string::<i32>().value(row);
        match self {
            Self::Unsigned => {
                let number = array.as_primitive::<UInt64Type>().value(row);
                let signed = i64::try_from(number).map_err(|_| {
                    Error::new(
                        "WEIR-FMT-041",
                        ErrorKind::Data,
                        format!("{number} does not fit the 64 bits with a sign that the envelope has"),
                    )
                    .because("Debezium itself writes another, negative number")
                    .hint("carry the column as text: `on_loss: {column: string}`")
                })?;
                print(out, format_args!("{signed}"));
            }
            Self::Bits(length) => {
                let bytes = array.as_primitive::<UInt64Type>().value(row).to_le_bytes();
                let used = length.div_ceil(8).min(8) as usize;
                print(out, format_args!("\"{}\"", base64(&bytes[..used])));
            }
            Self::Year => print(out, format_args!("{}", array.as_primitive::<UInt16Type>().value(row))),
            Self::EnumSet(_) => quote(words(), out),
            Self::Json => quote(&compact(words()), out),
            Self::Geometry | Self::Point => shape(*self == Self::Point, array.as_binary::<i32>().value(row), out)?,
        }
        Ok(())
    }
}

/// The kind of a column that these servers call `name`.
pub(super) fn find(data_type: &DataType, logical: &str, name: &str) -> Option<Kind> {
    use DataType as D;
    let base = name.split(['(', ' ']).next().unwrap_or(name);
    Some(match data_type {
        D::Boolean => Kind::Boolean,
        D::Int8 | D::UInt8 | D::Int16 => Kind::Int16,
        D::UInt16 if logical == "year" => Kind::Mysql(Mysql::Year),
        D::UInt16 | D::Int32 => Kind::Int32,
        D::UInt32 if base == "mediumint" => Kind::Int32,
        D::UInt32 | D::Int64 => Kind::Int64,
        D::UInt64 if logical == "bit" => Kind::Mysql(Mysql::Bits(digits(name).unwrap_or(64))),
        D::UInt64 => Kind::Mysql(Mysql::Unsigned),
        D::Float32 => Kind::Float,
        D::Float64 => Kind::Double,
        D::Decimal128(precision, scale) | D::Decimal256(precision, scale) => {
            Kind::Decimal { scale: *scale, precision: Some(*precision) }
        }
        D::Utf8 => match logical {
            "enum" => Kind::Enum(Some(allowed(name))),
            "set" => Kind::Mysql(Mysql::EnumSet(allowed(name))),
            "json" => Kind::Mysql(Mysql::Json),
            _ => Kind::Text,
        },
        D::Binary if logical == "geometry" && base == "point" => Kind::Mysql(Mysql::Point),
        D::Binary if logical == "geometry" => Kind::Mysql(Mysql::Geometry),
        D::Binary => Kind::Bytes,
        D::Date32 => Kind::Date,
        D::Time64(TimeUnit::Microsecond) => Kind::MicroTime,
        D::Timestamp(TimeUnit::Microsecond, None) if digits(name).unwrap_or(0) <= 3 => Kind::Timestamp,
        D::Timestamp(TimeUnit::Microsecond, None) => Kind::MicroTimestamp,
        D::Timestamp(TimeUnit::Microsecond, Some(_)) => Kind::ZonedTimestamp(digits(name).unwrap_or(0) as usize),
        _ => return None,
    })
}

/// The words of `enum('a','b, c')` as the schemas have them: `a,b\, c`.
fn allowed(name: &str) -> String {
    let mut words = String::new();
    let list = name.split_once('(').map_or("", |(_, list)| list);
    let mut characters = list.chars().peekable();
    let mut inside = false;
    while let Some(character) = characters.next() {
        match character {
            '\'' if inside && characters.peek() == Some(&'\'') => {
                characters.next();
                words.push('\'');
            }
            '\'' => inside = !inside,
            '\\' if inside => words.extend(characters.next()),
            ',' if inside => words.push_str("\\,"),
            ',' => words.push(','),
            other if inside => words.push(other),
            _ => {}
        }
    }
    words
}

/// JSON without the blanks between its parts.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut inside, mut literal) = (false, false);
    for character in json.chars() {
        let blank = !inside && matches!(character, ' ' | '\t' | '\n' | '\r');
        if !blank {
            out.push(character);
        }
        match character {
            _ if literal => literal = false,
            '\\' if inside => literal = true,
            '"' => inside = !inside,
            _ => {}
        }
    }
    out
}

/// WKB, or EWKB with the number of its reference system, as Debezium's struct.
fn shape(point: bool, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    const HAS_SYSTEM: u32 = 0x2000_0000;
    let broken = || Error::new("WEIR-FMT-041", ErrorKind::Data, "a shape is not in the form that its type says");
    let (order, rest) = bytes.split_first().ok_or_else(broken)?;
    let (kind, mut rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
    if *order != 1 {
        return Err(broken());
    }
    let mut kind = u32::from_le_bytes(*kind);
    let mut system = None;
    if kind & HAS_SYSTEM != 0 {
        let (number, after) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
        (kind, rest, system) = (kind & !HAS_SYSTEM, after, Some(u32::from_le_bytes(*number)));
    }
    let mut wkb = vec![1];
    wkb.extend_from_slice(&kind.to_le_bytes());
    wkb.extend_from_slice(rest);
    out.push(b'{');
    if point {
        let (x, after) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
        let y = after.first_chunk::<8>().ok_or_else(broken)?;
        print(out, format_args!("\"x\":{:?},\"y\":{:?},", f64::from_le_bytes(*x), f64::from_le_bytes(*y)));
    }
    print(out, format_args!("\"wkb\":\"{}\",\"srid\":", base64(&wkb)));
    match system {
        Some(system) => print(out, format_args!("{system}}}")),
        None => out.extend_from_slice(b"null}"),
    }
    Ok(())
}

/// Where a transaction begins in the log, and who wrote it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Origin<'a> {
    pub file: &'a str,
    pub byte: u64,
    pub server: u64,
    pub thread: Option<u64>,
    pub gtid: Option<&'a str>,
}

impl<'a> Origin<'a> {
    /// The id of a transaction says it (`binlog.000003:4711 1 42`: place, server, session); of a snapshot the position.
    pub(super) fn of(mark: &'a TransactionMark) -> Option<Self> {
        let place = |text: &'a str| {
            let (file, byte) = text.rsplit_once(':')?;
            Some((file, byte.parse::<u64>().ok()?))
        };
        let Some(id) = mark.id.as_deref() else {
            let (file, byte) = place(&mark.position)?;
            return Some(Self { file, byte, server: 0, thread: None, gtid: None });
        };
        let mut parts = id.rsplitn(3, ' ');
        let (thread, server, first) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        let (file, byte) = place(first)?;
        let gtid = (*mark.position != *first).then_some(&*mark.position);
        Some(Self { file, byte, server, thread: thread.parse().ok(), gtid })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, StringArray, UInt64Array};

    use super::*;

    fn written(kind: &Mysql, array: &dyn Array) -> String {
        let mut out = Vec::new();
        kind.write(array, 0, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn words_of_enums_keep_quotes_and_commas() {
        assert_eq!(allowed("enum('a','b, c','it''s','')"), "a,b\\, c,it's,");
        assert_eq!(allowed("set('x\\\\y')"), "x\\y");
    }

    #[test]
    fn json_loses_only_the_blanks_between_its_parts() {
        assert_eq!(compact(r#"{"a b": [1, 2, "x, \" y: z"], "n": null}"#), r#"{"a b":[1,2,"x, \" y: z"],"n":null}"#);
        assert_eq!(compact(r#""a \\" "#), r#""a \\""#);
        assert_eq!(written(&Mysql::Json, &StringArray::from(vec!["[1, 2]"])), "\"[1,2]\"");
    }

    #[test]
    fn a_number_that_has_no_place_is_an_error_and_not_another_number() {
        assert_eq!(written(&Mysql::Unsigned, &UInt64Array::from(vec![i64::MAX as u64])), i64::MAX.to_string());
        let mut out = Vec::new();
        let error = Mysql::Unsigned.write(&UInt64Array::from(vec![1 << 63]), 0, &mut out).unwrap_err();
        assert_eq!(error.code(), "WEIR-FMT-041");
    }

    #[test]
    fn bits_have_all_their_bytes_the_last_one_first() {
        assert_eq!(written(&Mysql::Bits(12), &UInt64Array::from(vec![1])), "\"AQA=\"");
        assert_eq!(written(&Mysql::Bits(64), &UInt64Array::from(vec![1 << 63 | 1])), "\"AQAAAAAAAIA=\"");
    }

    #[test]
    fn a_shape_tells_its_reference_system_beside_its_bytes() {
        let mut bytes = vec![1, 1, 0, 0, 0x20, 0xe6, 0x10, 0, 0];
        bytes.extend_from_slice(&1.5_f64.to_le_bytes());
        bytes.extend_from_slice(&(-2.0_f64).to_le_bytes());
        let told = written(&Mysql::Point, &BinaryArray::from_vec(vec![&bytes]));
        assert_eq!(told, r#"{"x":1.5,"y":-2.0,"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAADA","srid":4326}"#);
        assert!(Mysql::Geometry.write(&BinaryArray::from_vec(vec![b"\x01\x01"]), 0, &mut Vec::new()).is_err());
    }

    #[test]
    fn the_mark_of_a_transaction_says_where_it_stands() {
        let mark = |position: &str, id: Option<&str>| TransactionMark {
            end: 1,
            position: position.into(),
            id: id.map(Arc::from),
            committed_at_us: 0,
        };
        let named = mark("3e11fa47-71ca-11e1-9e33-c80aa9429562:23", Some("my log.000003:4711 7 42"));
        let expected = Origin { file: "my log.000003", byte: 4711, server: 7, thread: Some(42), gtid: Some(&named.position) };
        assert_eq!(Origin::of(&named).unwrap(), expected);
        let anonymous = mark("b.1:4", Some("b.1:4 1 -"));
        assert_eq!(Origin::of(&anonymous).unwrap(), Origin { file: "b.1", byte: 4, server: 1, thread: None, gtid: None });
        assert_eq!(Origin::of(&mark("b.1:4", None)).unwrap().server, 0);
        assert_eq!(Origin::of(&mark("0/16B3748", Some("77"))), None);
    }
}
