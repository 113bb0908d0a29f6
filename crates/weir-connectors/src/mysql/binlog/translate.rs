//! A row of the log → the row that `SELECT` would have sent over the binary protocol.
//!
//! Why not Arrow at once: then there would be two readers of values, and the day would come when they differ. So everything that decides about a value (what is a
//! dead row, what is lenient, what a zero date is) stays in `values`, and here only the form changes.

use weir_connect::{Error, Kind, Result};

use super::super::catalog::RawColumn;
use super::super::client::{ResultColumn, kind as result};
use super::super::types::{Base, SourceColumn, Travel};
use super::super::wire::put_text;
use super::cells::kind;
use super::charset::{Charset, name_of_collation};
use super::errors::{malformed, unsupported};
use super::rows::{Cell, Image};
use super::table_map::{Column as LogColumn, TableMap};
use super::{json, json_diff, text, values};

/// A column that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its place in the table, from 0.
    pub index: usize,
    /// What the catalog says of it. It must be what the table had when the row was written.
    pub column: &'a RawColumn,
    /// What becomes of it.
    pub to: &'a SourceColumn,
}

/// How a cell changes its form.
#[derive(Debug)]
enum Way {
    /// A number, low byte first, made as long as its counterpart.
    Number {
        bytes: usize,
        signed: bool,
    },
    Float,
    Double,
    Decimal {
        precision: usize,
        scale: usize,
    },
    Bit,
    Year,
    Date,
    Time(u16),
    DateTime(u16),
    Timestamp(u16),
    Text(Charset),
    /// Zeros at the end are not in the log.
    Padded(usize),
    Bytes,
    Enum(Vec<Vec<u8>>),
    Set(Vec<Vec<u8>>),
    Json,
    Uuid,
    Inet4,
    Inet6,
}

#[derive(Debug)]
struct Column {
    index: usize,
    name: String,
    way: Way,
    /// As the server prints it, because the spec asks for text.
    as_text: bool,
    /// Longest text of a double that has no exponent.
    width: usize,
    kind: ResultColumn,
}

/// Makes rows of some columns of one table. It fits a [`TableMap`] and a choice of columns; make a new one when either changes.
#[derive(Debug)]
pub struct Translator {
    columns: Vec<Column>,
    /// The columns stand in the table's order.
    ascending: bool,
    table: String,
    row: Vec<u8>,
    absent: Vec<usize>,
    scratch: Vec<u8>,
}

impl Translator {
    /// For these columns. Fails if the table in the log does not have them like that: `WEIR-MY-064`.
    pub fn new(table: &TableMap, wanted: &[Wanted<'_>], place: &str) -> Result<Self> {
        let columns = wanted.iter().map(|wanted| column(table, wanted).map_err(|error| error.at(place.to_string())));
        Ok(Self {
            columns: columns.collect::<Result<_>>()?,
            ascending: wanted.is_sorted_by(|a, b| a.index < b.index),
            table: table.display(),
            row: Vec::new(),
            absent: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// How the columns of the rows would be described in a result.
    pub fn kinds(&self) -> Vec<ResultColumn> {
        self.columns.iter().map(|column| column.kind.clone()).collect()
    }

    /// The wanted columns, by their place among them, that the last row did not have. They stand in it as NULL.
    pub fn absent(&self) -> &[usize] {
        &self.absent
    }

    /// The row, in the form that `values::Decoder::feed` takes. `before` is needed for an image after whose JSON is only a difference.
    pub fn row(&mut self, image: &Image<'_>, before: Option<&Image<'_>>) -> Result<&[u8]> {
        let Self { columns, ascending, table, row, absent, scratch } = self;
        row.clear();
        absent.clear();
        // A zero byte, then a bit for every column after two spare ones.
        row.resize(1 + (columns.len() + 9) / 8, 0);
        let all: Vec<Cell<'_>> = if *ascending { Vec::new() } else { image.cells().collect::<Result<_>>()? };
        let mut cells = image.cells();
        let mut next = 0;
        for (at, column) in columns.iter().enumerate() {
            let cell = if *ascending {
                let cell = cells.nth(column.index - next).transpose()?;
                next = column.index + 1;
                cell
            } else {
                all.get(column.index).copied()
            };
            let done = match cell.unwrap_or(Cell::Absent) {
                Cell::Present(raw) => column.put(raw, row, scratch),
                Cell::JsonDiff(raw) => column.put_difference(raw, before, row, scratch),
                other => {
                    row[1 + (at + 2) / 8] |= 1 << ((at + 2) % 8);
                    if other == Cell::Absent {
                        absent.push(at);
                    }
                    Ok(())
                }
            };
            done.map_err(|error| error.at(format!("{table}, column `{}`", column.name)))?;
        }
        Ok(row)
    }
}

impl Column {
    fn put(&self, raw: &[u8], row: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<()> {
        if self.as_text {
            put_text(row, self.print(raw).ok_or_else(|| self.broken())?.as_bytes());
            return Ok(());
        }
        scratch.clear();
        match &self.way {
            Way::Number { bytes, signed } => {
                let fill = if *signed && raw.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
                row.extend_from_slice(raw);
                row.resize(row.len() + bytes.saturating_sub(raw.len()), fill);
            }
            Way::Float | Way::Double => row.extend_from_slice(raw),
            Way::Decimal { precision, scale } => {
                // Never longer than its length byte can say.
                let length = row.len();
                row.push(0);
                values::decimal(raw, *precision, *scale, row).ok_or_else(|| self.broken())?;
                row[length] = (row.len() - length - 1) as u8;
            }
            Way::Year => row.extend_from_slice(&year(raw).to_le_bytes()),
            Way::Date => values::date(raw).put(row, true),
            Way::DateTime(digits) => values::date_time(raw, *digits).put(row, false),
            Way::Timestamp(digits) => values::timestamp(raw, *digits).put(row, false),
            Way::Time(digits) => values::time(raw, *digits).put(row),
            Way::Text(charset) => put_text(row, &charset.decode(raw).ok_or_else(|| self.no_utf8(raw))?),
            Way::Padded(length) => {
                if raw.len() > *length {
                    return Err(self.broken());
                }
                scratch.extend_from_slice(raw);
                scratch.resize(*length, 0);
                put_text(row, scratch);
            }
            Way::Bit | Way::Bytes => put_text(row, raw),
            Way::Enum(members) => put_text(row, chosen(members, raw).ok_or_else(|| self.broken())?),
            Way::Set(members) => {
                some(members, raw, scratch).ok_or_else(|| self.broken())?;
                put_text(row, scratch);
            }
            Way::Json => {
                json::print(raw, scratch).ok_or_else(|| self.broken())?;
                put_text(row, scratch);
            }
            Way::Uuid => put_text(row, values::uuid(&padded(raw).ok_or_else(|| self.broken())?).as_bytes()),
            Way::Inet4 => put_text(row, text::inet4(padded(raw).ok_or_else(|| self.broken())?).as_bytes()),
            Way::Inet6 => put_text(row, text::inet6(padded(raw).ok_or_else(|| self.broken())?).as_bytes()),
        }
        Ok(())
    }

    fn put_difference(&self, raw: &[u8], before: Option<&Image<'_>>, row: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Result<()> {
        let old = before.map(|image| image.cell(self.index)).transpose()?;
        let Some(Cell::Present(old)) = old else {
            return Err(unsupported(
                "the log has only what changed in a JSON value, and not the value before",
                "set binlog_row_value_options = '' or binlog_row_image = FULL at the server, and take a new snapshot",
            ));
        };
        scratch.clear();
        json_diff::print(old, raw, scratch).ok_or_else(|| self.broken())?;
        put_text(row, scratch);
        Ok(())
    }

    /// As `CAST(… AS CHAR)` gives it, or the expression that stands for it in a select list.
    fn print(&self, raw: &[u8]) -> Option<String> {
        Some(match &self.way {
            Way::Number { signed: false, .. } | Way::Bit if raw.len() <= 8 => match self.way {
                Way::Bit => raw.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)).to_string(),
                _ => values::little_endian(raw).to_string(),
            },
            Way::Number { .. } => {
                let shift = 64_usize.checked_sub(8 * raw.len())?;
                let number = (values::little_endian(raw) << (shift % 64)) as i64 >> (shift % 64);
                number.to_string()
            }
            Way::Float => text::double(f32::from_le_bytes(raw.try_into().ok()?).into(), self.width),
            Way::Double => text::double(f64::from_le_bytes(raw.try_into().ok()?), self.width),
            Way::Decimal { precision, scale } => {
                let mut out = Vec::new();
                values::decimal(raw, *precision, *scale, &mut out)?;
                String::from_utf8(out).ok()?
            }
            Way::Year => format!("{:04}", year(raw)),
            Way::Date => text::moment(&values::date(raw), true, 0),
            Way::DateTime(digits) => text::moment(&values::date_time(raw, *digits), false, (*digits).into()),
            Way::Timestamp(digits) => text::moment(&values::timestamp(raw, *digits), false, (*digits).into()),
            Way::Time(digits) => text::span(&values::time(raw, *digits), (*digits).into()),
            Way::Padded(length) => text::hex(raw) + &"00".repeat(length.checked_sub(raw.len())?),
            Way::Bytes => text::hex(raw),
            _ => return None,
        })
    }

    #[cold]
    fn broken(&self) -> Error {
        malformed("a value that is not of its column's type")
    }

    #[cold]
    fn no_utf8(&self, raw: &[u8]) -> Error {
        let shown = text::hex(&raw[..raw.len().min(64)]);
        Error::new("WEIR-MY-063", Kind::Data, "text has a character without an exact form in UTF-8")
            .because(format!("the bytes begin with {shown}"))
            .hint("convert the column (ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4) or leave it out of the stream")
    }
}

/// Fixed bytes whose zeros at the end are not in the log.
fn padded<const N: usize>(raw: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..raw.len())?.copy_from_slice(raw);
    Some(all)
}

fn year(raw: &[u8]) -> u16 {
    match raw {
        [0] | [] => 0,
        [since, ..] => 1900 + u16::from(*since),
    }
}

/// The member of an enum; number 0 is the empty text that stands for what was none.
fn chosen<'m>(members: &'m [Vec<u8>], raw: &[u8]) -> Option<&'m [u8]> {
    match values::little_endian(raw) as usize {
        0 => Some(&[]),
        at => members.get(at - 1).map(Vec::as_slice),
    }
}

/// The members of a set, with commas.
fn some(members: &[Vec<u8>], raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let bits = values::little_endian(raw);
    if members.len() < 64 && bits >> members.len() != 0 {
        return None;
    }
    for (_, member) in members.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0) {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
    Some(())
}

fn column(table: &TableMap, wanted: &Wanted<'_>) -> Result<Column> {
    let name = wanted.column.name.clone();
    let about = |why: String| {
        Error::new("WEIR-MY-064", Kind::Schema, format!("`{}` in the binlog has another shape", table.display()))
            .because(format!("column `{name}` {why}"))
            .hint(
                "it was altered after this part of the log was written: the columns of that moment are needed, or a new snapshot",
            )
    };
    let log = table.columns.get(wanted.index).ok_or_else(|| about(format!("is number {}", wanted.index + 1)))?;
    if let Some(there) = log.name.as_deref().filter(|there| !there.eq_ignore_ascii_case(&name)) {
        return Err(about(format!("was `{there}`")));
    }
    let base = &wanted.column.of.base;
    let text_in_arrow = wanted.to.travel == Travel::Text;
    let as_text = text_in_arrow
        && !matches!(
            base,
            Base::Char(_)
                | Base::Varchar(_)
                | Base::Text(_)
                | Base::Enum(_)
                | Base::Set(_)
                | Base::Json
                | Base::Named(_)
                | Base::Other(_)
        );
    let printed = wanted.column.type_name.to_ascii_lowercase();
    if as_text && (printed.contains("zerofill") || matches!(base, Base::Float | Base::Double) && printed.contains('(')) {
        return Err(unsupported(
            format!("column `{name}` ({printed}) cannot be read from the binlog as text"),
            "choose another `on_loss` for the column",
        ));
    }
    let way = way(table, log, wanted, as_text).and_then(|way| {
        way.ok_or_else(|| about(format!("is `{printed}` now, and the log has type {} of {}", log.kind, log.meta)))
    })?;
    let kind = if as_text { result::VAR_STRING } else { way.kind() };
    let flags = if wanted.column.of.unsigned { 32 } else { 0 };
    let kind = ResultColumn { name: name.clone(), kind, flags, ..ResultColumn::default() };
    // The two families cast with room of their own.
    let width = if table.maria { usize::MAX } else { 24 };
    Ok(Column { index: wanted.index, name, way, as_text, width, kind })
}

/// `None` if the two types do not go together.
fn way(table: &TableMap, log: &LogColumn, wanted: &Wanted<'_>, as_text: bool) -> Result<Option<Way>> {
    let of = &wanted.column.of;
    let name = &wanted.column.name;
    let number = |kind: u8, bytes: usize| {
        let same = log.kind == kind && log.unsigned.is_none_or(|unsigned| unsigned == of.unsigned);
        same.then_some(Way::Number { bytes, signed: !of.unsigned })
    };
    let only = |good: bool, way: Way| good.then_some(way);
    let blob = matches!(log.kind, kind::BLOB | kind::TINY_BLOB | kind::MEDIUM_BLOB | kind::LONG_BLOB);
    let varying = blob || matches!(log.kind, kind::VARCHAR | kind::VAR_STRING);
    let old = || {
        unsupported(
            format!("column `{name}` of {} has the form that its type had before MySQL 5.6", table.display()),
            "ALTER TABLE … FORCE gives it today's form; then take a new snapshot",
        )
    };
    Ok(match &of.base {
        Base::Int(8) => number(kind::TINY, 1),
        Base::Int(16) => number(kind::SHORT, 2),
        Base::Int(24) => number(kind::INT24, 4),
        Base::Int(32) => number(kind::LONG, 4),
        Base::Int(_) => number(kind::LONGLONG, 8),
        Base::Float => only(log.kind == kind::FLOAT, Way::Float),
        Base::Double => only(log.kind == kind::DOUBLE, Way::Double),
        Base::Decimal(precision, scale) => {
            let meta = u16::from(*precision) | u16::from(*scale) << 8;
            let way = Way::Decimal { precision: (*precision).into(), scale: (*scale).into() };
            only(log.kind == kind::NEWDECIMAL && log.meta == meta, way)
        }
        Base::Bit(bits) => only(log.kind == kind::BIT && (log.meta >> 8) * 8 + (log.meta & 0xff) == u16::from(*bits), Way::Bit),
        Base::Date => only(matches!(log.kind, kind::DATE | kind::NEWDATE), Way::Date),
        Base::Time(_) | Base::DateTime(_) | Base::Timestamp(_)
            if matches!(log.kind, kind::TIME | kind::DATETIME | kind::TIMESTAMP) =>
        {
            return Err(old());
        }
        Base::Time(_) => only(log.kind == kind::TIME2, Way::Time(log.meta)),
        Base::DateTime(_) => only(log.kind == kind::DATETIME2, Way::DateTime(log.meta)),
        Base::Timestamp(_) => only(log.kind == kind::TIMESTAMP2, Way::Timestamp(log.meta)),
        Base::Year => only(log.kind == kind::YEAR, Way::Year),
        Base::Char(_) | Base::Varchar(_) | Base::Text(_)
            if matches!(log.kind, kind::BLOB_COMPRESSED | kind::VARCHAR_COMPRESSED) =>
        {
            return Err(compressed(name));
        }
        Base::Bytes(_) if matches!(log.kind, kind::BLOB_COMPRESSED | kind::VARCHAR_COMPRESSED) => return Err(compressed(name)),
        Base::Char(_) if log.kind == kind::STRING => text_way(log, wanted)?,
        Base::Varchar(_) | Base::Text(_) if varying => text_way(log, wanted)?,
        Base::Binary(length) => only(
            log.kind == kind::STRING && u64::from(log.meta) == *length && log.collation.is_none_or(|id| id == 63),
            Way::Padded(log.meta.into()),
        ),
        Base::Bytes(_) => only(varying && log.collation.is_none_or(|id| id == 63), Way::Bytes),
        Base::Enum(now) if log.kind == kind::ENUM => Some(Way::Enum(members(log, wanted, now)?)),
        Base::Set(now) if log.kind == kind::SET => Some(Way::Set(members(log, wanted, now)?)),
        Base::Json if log.kind == kind::JSON => Some(Way::Json),
        Base::Json if blob => Some(Way::Text(Charset::Utf8)),
        Base::Geometry(_) if as_text => {
            return Err(unsupported(
                format!("column `{name}`, a shape, cannot be read from the binlog as text"),
                "choose another `on_loss` for the column",
            ));
        }
        Base::Geometry(_) => only(log.kind == kind::GEOMETRY, Way::Bytes),
        Base::Named(known) if log.kind == kind::STRING => match (known.as_str(), log.meta) {
            ("uuid", 16) => Some(Way::Uuid),
            ("inet6", 16) => Some(Way::Inet6),
            ("inet4", 4) => Some(Way::Inet4),
            _ => None,
        },
        Base::Other(_) => {
            return Err(unsupported(
                format!("column `{name}` is of a type that cannot be read from the binlog: {}", wanted.column.type_name),
                "leave the column out of the stream",
            ));
        }
        _ => None,
    })
}

fn compressed(name: &str) -> Error {
    unsupported(
        format!("column `{name}` is COMPRESSED, which cannot be read from the binlog yet"),
        "ALTER the column without COMPRESSED, or leave it out of the stream",
    )
}

impl Way {
    /// The type that the form has in a result.
    fn kind(&self) -> u8 {
        match self {
            Self::Number { bytes: 1, .. } => result::TINY,
            Self::Number { bytes: 2, .. } => result::SHORT,
            Self::Number { bytes: 4, .. } => result::LONG,
            Self::Number { .. } => result::LONGLONG,
            Self::Float => result::FLOAT,
            Self::Double => result::DOUBLE,
            Self::Decimal { .. } => result::NEWDECIMAL,
            Self::Bit => result::BIT,
            Self::Year => result::YEAR,
            Self::Date => result::DATE,
            Self::Time(_) => result::TIME,
            Self::DateTime(_) => result::DATETIME,
            Self::Timestamp(_) => result::TIMESTAMP,
            _ => result::VAR_STRING,
        }
    }
}

/// The character set: what the log says, else what the catalog says.
fn charset_of(log: &LogColumn, wanted: &Wanted<'_>) -> Result<Charset> {
    let there = log.collation.map(|id| (id, name_of_collation(id)));
    let found = match there {
        Some((_, Some(name))) => Charset::named(name),
        Some((_, None)) => None,
        None => Charset::named(&wanted.column.charset),
    };
    found.ok_or_else(|| {
        unsupported(
            format!(
                "the character set of column `{}` is unknown ({})",
                wanted.column.name,
                there.map_or(wanted.column.charset.clone(), |(id, _)| format!("collation {id}"))
            ),
            "convert the column to utf8mb4, or leave it out of the stream",
        )
    })
}

fn text_way(log: &LogColumn, wanted: &Wanted<'_>) -> Result<Option<Way>> {
    Ok(match charset_of(log, wanted)? {
        // Bytes then, text now.
        Charset::Binary => None,
        charset => Some(Way::Text(charset)),
    })
}

/// Members of an enum or set in UTF-8: those of the log, which are those of then; else those of now.
fn members(log: &LogColumn, wanted: &Wanted<'_>, now: &[String]) -> Result<Vec<Vec<u8>>> {
    let Some(then) = &log.members else {
        // The catalogs have question marks in the place of what is not in the basic plane.
        let any_plane = matches!(wanted.column.charset.as_str(), "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030");
        if any_plane && now.iter().any(|member| member.contains('?')) {
            return Err(unsupported(
                format!("neither the binlog nor the catalog says the members of column `{}` exactly", wanted.column.name),
                "set binlog_row_metadata = FULL at the server",
            ));
        }
        return Ok(now.iter().map(|member| member.as_bytes().to_vec()).collect());
    };
    let charset = charset_of(log, wanted)?;
    then.iter()
        .map(|member| charset.decode(member).map(|text| text.into_owned()))
        .collect::<Option<_>>()
        .ok_or_else(|| malformed(format!("a member of column `{}` has no form in UTF-8", wanted.column.name)))
}
