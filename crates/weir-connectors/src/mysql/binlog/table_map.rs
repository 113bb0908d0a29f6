//! What a table looked like when its rows were written: the table map event.
//!
//! How much it says depends on `binlog_row_metadata` at the server: types, lengths and nullability always; signedness and character sets from
//! `MINIMAL` on (MySQL's default); names, members of enums and sets, the key with `FULL`. MariaDB's default, `NO_LOG`, has none of these.

use weir_connect::Result;

use super::super::wire::Reader;
use super::cells::kind;
use super::errors::malformed;

/// A column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// Type, with `enum` (247), `set` (248) and `char`/`binary` (254) told apart.
    pub kind: u8,
    /// What belongs to the type: length in bytes, bytes of a length, precision and scale, digits after the second.
    pub meta: u16,
    /// May be NULL.
    pub nullable: bool,
    /// Its name.
    pub name: Option<String>,
    /// A number that is not negative.
    pub unsigned: Option<bool>,
    /// Number of the collation of text, enum and set; 63 is bytes.
    pub collation: Option<u32>,
    /// Members of an enum or set, in the column's character set.
    pub members: Option<Vec<Vec<u8>>>,
    /// 0 geometry, 1 point, 2 linestring, 3 polygon, 4 multipoint, 5 multilinestring, 6 multipolygon, 7 collection.
    pub shape: Option<u8>,
    /// `SELECT *` shows it.
    pub visible: Option<bool>,
}

/// A table, as it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableMap {
    /// Names this description within the log file.
    pub id: u64,
    /// Flags of the event.
    pub flags: u16,
    /// MariaDB wrote it.
    pub maria: bool,
    /// Database.
    pub schema: String,
    /// Table.
    pub table: String,
    /// In the table's order.
    pub columns: Vec<Column>,
    /// Indexes of the columns of the primary key.
    pub primary_key: Option<Vec<usize>>,
}

impl TableMap {
    /// Index of a column, if names are in the log.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.as_deref() == Some(name))
    }

    /// Whether the log has the columns' names.
    pub fn has_names(&self) -> bool {
        self.columns.iter().all(|column| column.name.is_some())
    }

    /// Schema and table, for messages.
    pub fn display(&self) -> String {
        format!("{}.{}", self.schema, self.table)
    }

    /// From the body of an event.
    pub(super) fn parse(body: &[u8], maria: bool) -> Result<Self> {
        read(body, maria).ok_or_else(|| malformed("a table map event that is cut or has columns of an unknown type"))
    }
}

/// The number of a table, before the rest of a table map or rows event.
pub(super) fn table_id(reader: &mut Reader<'_>) -> Option<u64> {
    let [a, b, c, d, e, f] = reader.array()?;
    Some(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
}

fn name(reader: &mut Reader<'_>) -> Option<String> {
    let length = reader.byte()?;
    let text = reader.bytes(length.into())?;
    reader.byte()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn read(body: &[u8], maria: bool) -> Option<TableMap> {
    let mut reader = Reader(body);
    let id = table_id(&mut reader)?;
    let flags = u16::from_le_bytes(reader.array()?);
    let schema = name(&mut reader)?;
    let table = name(&mut reader)?;
    let count = usize::try_from(reader.length()?).ok()?;
    let kinds = reader.bytes(count)?;
    let mut metas = Reader(reader.text()?);
    let mut columns = Vec::with_capacity(count);
    for kind in kinds {
        columns.push(column(*kind, &mut metas)?);
    }
    let nulls = reader.bytes(count.div_ceil(8))?;
    for (at, column) in columns.iter_mut().enumerate() {
        column.nullable = nulls[at / 8] & (1 << (at % 8)) != 0;
    }
    let mut map = TableMap { id, flags, maria, schema, table, columns, primary_key: None };
    while !reader.0.is_empty() {
        let field = reader.byte()?;
        let value = reader.text()?;
        optional(&mut map, field, value)?;
    }
    Some(map)
}

fn column(of: u8, metas: &mut Reader<'_>) -> Option<Column> {
    let (kind, meta) = match of {
        kind::STRING | kind::ENUM | kind::SET => {
            let [first, second] = metas.array()?;
            // Lengths beyond 255 hide two bits, inverted, in the type.
            if first & 0x30 == 0x30 {
                (first, second.into())
            } else {
                (first | 0x30, u16::from(second) | u16::from((first & 0x30) ^ 0x30) << 4)
            }
        }
        kind::VARCHAR | kind::VAR_STRING | kind::VARCHAR_COMPRESSED | kind::NEWDECIMAL | kind::BIT => {
            (of, u16::from_le_bytes(metas.array()?))
        }
        kind::FLOAT
        | kind::DOUBLE
        | kind::BLOB
        | kind::TINY_BLOB
        | kind::MEDIUM_BLOB
        | kind::LONG_BLOB
        | kind::BLOB_COMPRESSED
        | kind::JSON
        | kind::GEOMETRY
        | kind::VECTOR
        | kind::TIME2
        | kind::DATETIME2
        | kind::TIMESTAMP2 => (of, metas.byte()?.into()),
        // Its metadata has no fixed length: what follows could not be found.
        kind::TYPED_ARRAY => return None,
        _ => (of, 0),
    };
    if kind == kind::NEWDECIMAL && (meta & 0xff > 65 || meta >> 8 > meta & 0xff) {
        return None;
    }
    Some(Column { kind, meta, ..Column::default() })
}

fn is_number(column: &Column) -> bool {
    matches!(
        column.kind,
        kind::TINY
            | kind::SHORT
            | kind::INT24
            | kind::LONG
            | kind::LONGLONG
            | kind::NEWDECIMAL
            | kind::DECIMAL
            | kind::FLOAT
            | kind::DOUBLE
            | kind::YEAR
    )
}

fn is_text(column: &Column) -> bool {
    matches!(
        column.kind,
        kind::STRING
            | kind::VAR_STRING
            | kind::VARCHAR
            | kind::VARCHAR_COMPRESSED
            | kind::BLOB
            | kind::TINY_BLOB
            | kind::MEDIUM_BLOB
            | kind::LONG_BLOB
            | kind::BLOB_COMPRESSED
    )
}

fn is_choice(column: &Column) -> bool {
    matches!(column.kind, kind::ENUM | kind::SET)
}

fn optional(map: &mut TableMap, field: u8, value: &[u8]) -> Option<()> {
    let mut reader = Reader(value);
    match field {
        1 => {
            for (at, column) in map.columns.iter_mut().filter(|column| is_number(column)).enumerate() {
                let byte = value.get(at / 8)?;
                column.unsigned = Some(byte & (0x80 >> (at % 8)) != 0);
            }
        }
        2 | 10 => {
            let default = u32::try_from(reader.length()?).ok()?;
            let mut chosen: Vec<&mut Column> =
                map.columns.iter_mut().filter(|column| if field == 2 { is_text(column) } else { is_choice(column) }).collect();
            for column in &mut chosen {
                column.collation = Some(default);
            }
            while !reader.0.is_empty() {
                let at = usize::try_from(reader.length()?).ok()?;
                chosen.get_mut(at)?.collation = Some(u32::try_from(reader.length()?).ok()?);
            }
        }
        3 | 11 => {
            for column in map.columns.iter_mut().filter(|column| if field == 3 { is_text(column) } else { is_choice(column) }) {
                column.collation = Some(u32::try_from(reader.length()?).ok()?);
            }
        }
        4 => {
            for column in &mut map.columns {
                column.name = Some(String::from_utf8_lossy(reader.text()?).into_owned());
            }
        }
        5 | 6 => {
            let of = if field == 5 { kind::SET } else { kind::ENUM };
            for column in map.columns.iter_mut().filter(|column| column.kind == of) {
                let mut members = Vec::new();
                for _ in 0..reader.length()? {
                    members.push(reader.text()?.to_vec());
                }
                column.members = Some(members);
            }
        }
        7 => {
            for column in map.columns.iter_mut().filter(|column| column.kind == kind::GEOMETRY) {
                column.shape = Some(u8::try_from(reader.length()?).ok()?);
            }
        }
        8 | 9 => {
            let mut key = Vec::new();
            while !reader.0.is_empty() {
                let at = usize::try_from(reader.length()?).ok()?;
                if field == 9 {
                    // How many characters of it are in the key.
                    reader.length()?;
                }
                map.columns.get(at)?;
                key.push(at);
            }
            map.primary_key = Some(key);
        }
        12 => {
            for (at, column) in map.columns.iter_mut().enumerate() {
                column.visible = Some(value.get(at / 8)? & (0x80 >> (at % 8)) != 0);
            }
        }
        // What newer servers add is not needed to read the rows.
        _ => {}
    }
    Some(())
}
