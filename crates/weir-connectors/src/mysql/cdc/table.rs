//! The shape of a stream: which columns stand in which order in the log, how each becomes Arrow, what the key is.
//!
//! A shape comes from the catalogue when a table is first followed, and then lives in the position. What the log's table maps say is compared
//! with it; where they say something else, the shape is made anew from the map itself, from the catalogue (which may be ahead of the log, and
//! is believed for a column only as far as the map agrees with it), and from the shape before.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use weir_connect::fidelity::FILL;
use weir_connect::{OnLoss, Result};

use super::super::binlog::TableMap;
use super::super::binlog::kind;
use super::super::binlog::table_map::Column as MapColumn;
use super::super::catalog::RawColumn;
use super::super::client::Client;
use super::super::quote::literal;
use super::super::types::{Base, ColumnType, SourceColumn, source_column};
use super::ddl::Fill;
use super::key;
use super::position::ColumnNote;

/// The collation of bytes.
const BYTES: u32 = 63;

/// Collations by number: character set and name.
pub type Collations = HashMap<u32, (String, String)>;

/// Columns and key of a stream, all that is made of them, and what rows had in new columns before those were there.
#[derive(Debug, Clone)]
pub struct Shape {
    /// All columns, in the order of the log.
    pub raw: Vec<RawColumn>,
    /// The columns that travel.
    pub columns: Vec<SourceColumn>,
    /// Where each of them stands in `raw`.
    pub places: Vec<usize>,
    /// As it is announced.
    pub schema: SchemaRef,
    /// As batches have it: deletes may have their key only.
    pub batch: SchemaRef,
    /// Columns of the key.
    pub key: Vec<String>,
    /// Where they stand in `columns`.
    pub key_places: Vec<usize>,
    /// How many of them, from the first, are ordered here as at the server: ranges are made of these.
    pub ordered: usize,
    /// See [`FILL`].
    pub fills: BTreeMap<String, String>,
}

impl Shape {
    /// Of columns and a key.
    pub fn new(raw: Vec<RawColumn>, key: &[String], fills: BTreeMap<String, String>, boolean: bool, on_loss: &OnLoss) -> Self {
        let (mut columns, mut places) = (Vec::new(), Vec::new());
        for (at, column) in raw.iter().enumerate() {
            if let Some(mapped) = source_column(&column.name, &column.of, &column.type_name, column.not_null, boolean, on_loss) {
                columns.push(mapped);
                places.push(at);
            }
        }
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        let key: Vec<String> = key.iter().filter(|name| place(name).is_some()).cloned().collect();
        let key_places: Vec<usize> = key.iter().filter_map(place).collect();
        let ordered = key_places.iter().take_while(|at| key::ordered(&raw[places[**at]], &columns[**at])).count();
        let nullable = |column: &SourceColumn| column.field.clone().with_nullable(true);
        let batch = Arc::new(Schema::new(columns.iter().map(nullable).collect::<Vec<Field>>()));
        let schema = batch.clone();
        Self { raw, columns, places, schema, batch, key, key_places, ordered, fills: BTreeMap::new() }.filled(fills)
    }

    /// With what rows had in new columns before those were there.
    pub fn filled(mut self, fills: BTreeMap<String, String>) -> Self {
        let filled = |column: &SourceColumn| {
            let mut metadata = column.field.metadata().clone();
            metadata.extend(fills.get(&column.name).map(|fill| (FILL.to_owned(), fill.clone())));
            column.field.clone().with_metadata(metadata)
        };
        self.schema = Arc::new(Schema::new(self.columns.iter().map(filled).collect::<Vec<Field>>()));
        self.fills = fills;
        self
    }

    /// From a position.
    pub fn of_notes(notes: &[ColumnNote], key: &[String], boolean: bool, on_loss: &OnLoss) -> Self {
        let raw: Vec<RawColumn> = notes.iter().map(ColumnNote::column).collect();
        let fills = raw.iter().zip(notes).filter_map(|(column, note)| Some((column.name.clone(), note.fill.clone()?))).collect();
        Self::new(raw, key, fills, boolean, on_loss)
    }

    /// For a position.
    pub fn notes(&self) -> Vec<ColumnNote> {
        self.raw.iter().map(|column| ColumnNote::of(column, self.fills.get(&column.name))).collect()
    }

    /// Whether the log describes exactly these columns, as far as it describes them.
    pub fn fits(&self, map: &TableMap) -> bool {
        let named = |raw: &RawColumn, column: &MapColumn| column.name.as_ref().is_none_or(|name| *name == raw.name);
        let key = |places: &Vec<usize>| {
            let names: Option<Vec<&str>> = places.iter().map(|at| self.raw.get(*at).map(|raw| raw.name.as_str())).collect();
            names.is_some_and(|names| names == self.key)
        };
        self.raw.len() == map.columns.len()
            && self.raw.iter().zip(&map.columns).all(|(raw, column)| named(raw, column) && agrees(raw, column))
            && map.primary_key.as_ref().is_none_or(key)
    }

    /// Whether a table with this shape gives the same stream.
    pub fn same(&self, other: &Self) -> bool {
        self.schema == other.schema && self.key == other.key
    }

    /// Whether ranges of the key mean the same.
    pub fn same_order(&self, other: &Self) -> bool {
        let travels = |shape: &Self| shape.key_places.iter().map(|at| shape.columns[*at].travel.clone()).collect::<Vec<_>>();
        self.key == other.key && self.ordered == other.ordered && travels(self) == travels(other)
    }

    /// The select list of the snapshot.
    pub fn select_list(&self) -> String {
        self.columns.iter().map(|column| column.select.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Bytes of the longest character.
fn widest(charset: &str) -> u64 {
    match charset {
        "utf8mb4" | "utf16" | "utf16le" | "utf32" | "gb18030" => 4,
        "utf8" | "utf8mb3" | "ujis" | "eucjpms" => 3,
        "ucs2" | "gbk" | "big5" | "sjis" | "cp932" | "gb2312" | "euckr" => 2,
        _ => 1,
    }
}

/// Bytes that hold the length of a text or blob of up to so many bytes.
fn length_bytes(most: u64) -> u16 {
    match most {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xff_ffff => 3,
        _ => 4,
    }
}

/// Whether a column of the log can be this one.
fn agrees(raw: &RawColumn, column: &MapColumn) -> bool {
    let (at, meta) = (column.kind, column.meta);
    let long = u64::from(meta);
    let varying = matches!(at, kind::VARCHAR | kind::VAR_STRING | kind::VARCHAR_COMPRESSED);
    let large = matches!(at, kind::BLOB | kind::BLOB_COMPRESSED);
    let text = column.collation.is_none_or(|collation| collation != BYTES);
    let bytes = column.collation.is_none_or(|collation| collation == BYTES);
    // What is kept compressed has one byte more.
    let holds = |most: u64| long == most || (at == kind::VARCHAR_COMPRESSED && long == most + 1);
    let signed = column.unsigned.is_none_or(|unsigned| unsigned == raw.of.unsigned);
    match &raw.of.base {
        Base::Int(bits) => {
            let expected = match bits {
                8 => kind::TINY,
                16 => kind::SHORT,
                24 => kind::INT24,
                32 => kind::LONG,
                _ => kind::LONGLONG,
            };
            at == expected && signed
        }
        Base::Float => at == kind::FLOAT && signed,
        Base::Double => at == kind::DOUBLE && signed,
        Base::Decimal(precision, scale) => {
            at == kind::NEWDECIMAL && meta == u16::from(*precision) | u16::from(*scale) << 8 && signed
        }
        Base::Bit(bits) => at == kind::BIT && (meta >> 8) * 8 + (meta & 0xff) == u16::from(*bits),
        Base::Date => matches!(at, kind::DATE | kind::NEWDATE),
        Base::Time(digits) => at == kind::TIME || (at == kind::TIME2 && meta == u16::from(*digits)),
        Base::DateTime(digits) => at == kind::DATETIME || (at == kind::DATETIME2 && meta == u16::from(*digits)),
        Base::Timestamp(digits) => at == kind::TIMESTAMP || (at == kind::TIMESTAMP2 && meta == u16::from(*digits)),
        Base::Year => at == kind::YEAR,
        Base::Char(characters) => at == kind::STRING && text && long == characters * widest(&raw.charset),
        Base::Varchar(characters) => varying && text && holds(characters * widest(&raw.charset)),
        Base::Text(most) => large && text && meta == length_bytes(*most),
        Base::Binary(length) => at == kind::STRING && bytes && long == *length,
        Base::Bytes(most) if raw.type_name.starts_with("varbinary") => varying && bytes && holds(*most),
        Base::Bytes(most) => large && bytes && meta == length_bytes(*most),
        Base::Enum(members) => at == kind::ENUM && same_members(members, column),
        Base::Set(members) => at == kind::SET && same_members(members, column),
        Base::Json => at == kind::JSON,
        Base::Geometry(name) => at == kind::GEOMETRY && column.shape.is_none_or(|shape| shape_name(shape) == shape_called(name)),
        Base::Named(name) => at == kind::STRING && long == if name == "inet4" { 4 } else { 16 },
        Base::Other(_) => true,
    }
}

fn same_members(members: &[String], column: &MapColumn) -> bool {
    let Some(found) = &column.members else { return true };
    // In another character set only the ASCII ones can be compared.
    let same =
        |(member, found): (&String, &Vec<u8>)| !member.is_ascii() || !found.is_ascii() || member.as_bytes() == found.as_slice();
    members.len() == found.len() && members.iter().zip(found).all(same)
}

fn shape_name(shape: u8) -> &'static str {
    ["geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geometrycollection"]
        .get(usize::from(shape))
        .copied()
        .unwrap_or("geometry")
}

fn shape_called(name: &str) -> &str {
    if name == "geomcollection" { "geometrycollection" } else { name }
}

/// The column as the map alone describes it; `None`: the map does not say enough.
fn of_map(column: &MapColumn, collations: &Collations) -> Option<RawColumn> {
    let meta = column.meta;
    let collation = column.collation.and_then(|number| collations.get(&number)).cloned();
    let (charset, collated) = match column.collation {
        Some(BYTES) | None => (String::new(), String::new()),
        Some(_) => collation?,
    };
    let bytes = charset.is_empty();
    let characters = u64::from(meta) / widest(&charset);
    let unsigned = || if column.unsigned == Some(true) { " unsigned" } else { "" };
    let fraction = |name: &str| if meta == 0 { name.to_string() } else { format!("{name}({meta})") };
    let members = || {
        // Members come in the column's own character set.
        let texts = column.members.as_ref()?.iter().map(|member| std::str::from_utf8(member).ok().map(literal));
        Some(texts.collect::<Option<Vec<_>>>()?.join(","))
    };
    let sized = |names: [&str; 4]| names.get(usize::from(meta).checked_sub(1)?).map(|name| (*name).to_string());
    let type_name = match column.kind {
        kind::TINY => format!("tinyint{}", unsigned()),
        kind::SHORT => format!("smallint{}", unsigned()),
        kind::INT24 => format!("mediumint{}", unsigned()),
        kind::LONG => format!("int{}", unsigned()),
        kind::LONGLONG => format!("bigint{}", unsigned()),
        kind::FLOAT => format!("float{}", unsigned()),
        kind::DOUBLE => format!("double{}", unsigned()),
        kind::NEWDECIMAL => format!("decimal({},{}){}", meta & 0xff, meta >> 8, unsigned()),
        kind::BIT => format!("bit({})", (meta >> 8) * 8 + (meta & 0xff)),
        kind::DATE | kind::NEWDATE => "date".into(),
        kind::TIME | kind::TIME2 => fraction("time"),
        kind::DATETIME | kind::DATETIME2 => fraction("datetime"),
        kind::TIMESTAMP | kind::TIMESTAMP2 => fraction("timestamp"),
        kind::YEAR => "year".into(),
        kind::STRING | kind::VARCHAR | kind::VAR_STRING | kind::VARCHAR_COMPRESSED if column.collation.is_none() => return None,
        kind::STRING if bytes => format!("binary({meta})"),
        kind::STRING => format!("char({characters})"),
        kind::VARCHAR | kind::VAR_STRING if bytes => format!("varbinary({meta})"),
        kind::VARCHAR | kind::VAR_STRING => format!("varchar({characters})"),
        kind::BLOB | kind::BLOB_COMPRESSED if column.collation.is_none() => return None,
        kind::BLOB | kind::BLOB_COMPRESSED if bytes => sized(["tinyblob", "blob", "mediumblob", "longblob"])?,
        kind::BLOB | kind::BLOB_COMPRESSED => sized(["tinytext", "text", "mediumtext", "longtext"])?,
        kind::ENUM => format!("enum({})", members()?),
        kind::SET => format!("set({})", members()?),
        kind::JSON => "json".into(),
        kind::GEOMETRY => shape_name(column.shape?).into(),
        _ => return None,
    };
    Some(RawColumn {
        name: column.name.clone()?,
        of: ColumnType::parse(&type_name),
        type_name,
        not_null: !column.nullable,
        optional: column.nullable,
        generated: false,
        charset,
        collation: collated,
        default: None,
        extra: String::new(),
        comment: String::new(),
    })
}

/// The columns and the key that a map describes, with what is known from before and from the catalogue. `None`: it has no names.
pub fn from_map(
    map: &TableMap,
    before: &Shape,
    renamed: &[(String, String)],
    catalog: &[RawColumn],
    collations: &Collations,
) -> Option<(Vec<RawColumn>, Vec<String>)> {
    let mut raw = Vec::new();
    for column in &map.columns {
        let name = column.name.as_ref()?;
        let old = renamed.iter().find(|(_, new)| new == name).map_or(name, |(old, _)| old);
        let known = catalog.iter().filter(|known| known.name == *name);
        let known = known.chain(before.raw.iter().filter(|known| known.name == *old)).find(|known| agrees(known, column));
        raw.push(match known {
            Some(known) => RawColumn { name: name.clone(), not_null: !column.nullable, ..known.clone() },
            None => of_map(column, collations)?,
        });
    }
    let key = map.primary_key.iter().flatten().filter_map(|at| raw.get(*at)).map(|column| column.name.clone()).collect();
    Some((raw, key))
}

/// What rows that were there before have in a new column, as text; `None` = NULL, or a value that has no text here.
pub fn fill(column: &RawColumn, fill: &Fill) -> Option<String> {
    match fill {
        Fill::Value(text) => match &column.of.base {
            Base::Binary(_) | Base::Bytes(_) | Base::Bit(_) | Base::Geometry(_) => None,
            Base::Date | Base::DateTime(_) | Base::Timestamp(_) if text.starts_with('0') => None,
            _ => Some(text.clone()),
        },
        Fill::Implicit => match &column.of.base {
            Base::Int(_) | Base::Float | Base::Double | Base::Decimal(..) => Some("0".into()),
            Base::Char(_) | Base::Varchar(_) | Base::Text(_) | Base::Set(_) => Some(String::new()),
            Base::Enum(members) => members.first().cloned(),
            Base::Time(_) => Some("00:00:00".into()),
            _ => None,
        },
        Fill::Null | Fill::Unknown => None,
    }
}

/// The collations of a server.
pub async fn collations(client: &mut Client) -> Result<Collations> {
    let sql = if client.version.maria && client.version.number >= 101_001 {
        "SELECT CAST(ID AS CHAR), CHARACTER_SET_NAME, FULL_COLLATION_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY \
         WHERE ID IS NOT NULL"
    } else {
        "SELECT CAST(ID AS CHAR), CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLLATIONS WHERE ID IS NOT NULL"
    };
    let rows = client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.uint(0) as u32, (row.text(1).to_string(), row.text(2).to_string()))).collect())
}

/// Renames one after another, as one step; only what is there before and after.
pub fn renames(steps: &[(String, String)], before: &Shape, after: &Shape) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (old, new) in steps {
        match all.iter_mut().find(|(_, now)| now == old) {
            Some((_, now)) => now.clone_from(new),
            None => all.push((old.clone(), new.clone())),
        }
    }
    let has = |shape: &Shape, name: &String| shape.raw.iter().any(|column| column.name == *name);
    all.retain(|(old, new)| old != new && has(before, old) && has(after, new));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(name: &str, type_name: &str, charset: &str) -> RawColumn {
        RawColumn {
            name: name.into(),
            of: ColumnType::parse(type_name),
            type_name: type_name.into(),
            not_null: true,
            optional: false,
            generated: false,
            charset: charset.into(),
            collation: String::new(),
            default: None,
            extra: String::new(),
            comment: String::new(),
        }
    }

    fn mapped(name: &str, kind: u8, meta: u16, collation: Option<u32>) -> MapColumn {
        MapColumn { kind, meta, name: Some(name.into()), collation, ..MapColumn::default() }
    }

    fn shape(columns: &[(&str, &str)]) -> Shape {
        let raw = columns.iter().map(|(name, type_name)| raw(name, type_name, "utf8mb4")).collect();
        Shape::new(raw, &["id".to_string()], BTreeMap::new(), false, &OnLoss::default())
    }

    #[test]
    fn a_type_of_the_catalogue_is_believed_only_if_the_log_agrees() {
        for (type_name, charset, kind, meta, fits) in [
            ("int", "", kind::LONG, 0, true),
            ("int", "", kind::LONGLONG, 0, false),
            ("decimal(10,2)", "", kind::NEWDECIMAL, 10 | 2 << 8, true),
            ("decimal(10,3)", "", kind::NEWDECIMAL, 10 | 2 << 8, false),
            ("varchar(20)", "utf8mb4", kind::VARCHAR, 80, true),
            ("varchar(20)", "latin1", kind::VARCHAR, 80, false),
            ("char(80)", "utf8mb4", kind::STRING, 320, true),
            ("text", "utf8mb4", kind::BLOB, 2, true),
            ("longtext", "utf8mb4", kind::BLOB, 2, false),
            ("varbinary(255)", "", kind::VARCHAR, 255, true),
            ("tinyblob", "", kind::BLOB, 1, true),
            ("bit(12)", "", kind::BIT, 4 | 1 << 8, true),
            ("datetime(6)", "", kind::DATETIME2, 6, true),
            ("datetime(6)", "", kind::DATETIME2, 0, false),
            ("uuid", "", kind::STRING, 16, true),
        ] {
            assert_eq!(agrees(&raw("c", type_name, charset), &mapped("c", kind, meta, None)), fits, "{type_name}");
        }
        assert!(!agrees(&raw("c", "text", "utf8mb4"), &mapped("c", kind::BLOB, 2, Some(63))));
        assert!(!agrees(&raw("c", "blob", ""), &mapped("c", kind::BLOB, 2, Some(45))));
    }

    #[test]
    fn a_map_with_names_tells_the_columns_that_the_catalogue_has_lost() {
        let before = shape(&[("id", "int"), ("old", "uuid"), ("n", "int")]);
        let collations = Collations::from([(45, ("utf8mb4".to_string(), "utf8mb4_general_ci".to_string()))]);
        let map = TableMap {
            columns: vec![
                mapped("id", kind::LONG, 0, None),
                mapped("new", kind::STRING, 16, Some(63)),
                mapped("gone", kind::VARCHAR, 40, Some(45)),
                mapped("n", kind::LONGLONG, 0, None),
            ],
            primary_key: Some(vec![0]),
            ..TableMap::default()
        };
        let catalog = [raw("id", "int", ""), raw("n", "varchar(3)", "utf8mb4")];
        let (columns, key) = from_map(&map, &before, &[("old".into(), "new".into())], &catalog, &collations).unwrap();
        let types: Vec<&str> = columns.iter().map(|column| column.type_name.as_str()).collect();
        assert_eq!(types, ["int", "uuid", "varchar(10)", "bigint"]);
        assert_eq!(key, ["id"]);
        let mut nameless = map;
        nameless.columns[0].name = None;
        assert!(from_map(&nameless, &before, &[], &catalog, &collations).is_none());
    }

    #[test]
    fn renames_are_followed_over_several_statements() {
        let (before, after) = (shape(&[("id", "int"), ("a", "int"), ("x", "int")]), shape(&[("id", "int"), ("c", "int")]));
        let steps = [("a", "b"), ("b", "c"), ("x", "y"), ("new", "newer")].map(|(old, new)| (old.to_string(), new.to_string()));
        assert_eq!(renames(&steps, &before, &after), [("a".to_string(), "c".to_string())]);
    }
}
