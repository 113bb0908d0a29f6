//! Avro schemas as a registry has them: names, logical types and defaults, and the columns that they mean.
//!
//! By the Avro specification 1.12, "Names", "Logical Types". A logical type that a schema gives to a type that cannot carry it is passed over, as the
//! specification demands.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use serde_json::{Map, Value as Json};
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_error::{Error, Kind, Result};

use super::value::{list_type, map_type};

/// Types of a schema, those behind names counted wherever they are named: a few lines can name their way to more than fit into memory.
const MAX_TYPES: usize = 1 << 16;
const MAX_DEPTH: usize = 64;

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Avro {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Arc<Symbols>),
    Array(Arc<Avro>),
    Map(Arc<Avro>),
    Union(Arc<[Avro]>),
    Record(Arc<Record>),
    /// Bytes of a decimal: of so many bytes, or of any number.
    Decimal {
        size: Option<usize>,
        precision: u8,
        scale: i8,
    },
    Date,
    TimeMillis,
    TimeMicros,
    /// With or without a zone.
    Timestamp(TimeUnit, bool),
    /// A text that is a UUID.
    UuidText,
    /// Sixteen bytes that are one.
    UuidFixed,
    Duration,
}

/// An enum.
#[derive(Debug, PartialEq)]
pub(super) struct Symbols {
    pub(super) name: String,
    pub(super) symbols: Vec<String>,
    pub(super) default: Option<String>,
}

/// A record.
#[derive(Debug, PartialEq)]
pub(super) struct Record {
    /// Full name.
    pub(super) name: String,
    pub(super) fields: Vec<Member>,
}

/// A field of a record.
#[derive(Debug, PartialEq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) kind: Avro,
    pub(super) default: Option<Json>,
}

fn wrong(why: impl Into<String>) -> Error {
    Error::new("WEIR-FMT-050", Kind::Schema, "the Avro schema cannot be used").because(why.into())
}

/// A schema; `references` are the texts that it builds on, each behind those that it builds on itself.
pub(super) fn parse(text: &str, references: &[(String, String)]) -> Result<Avro> {
    let mut names = Names::default();
    for (_, reference) in references {
        names.parse(reference)?;
    }
    names.parse(text)
}

#[derive(Default)]
struct Names {
    known: HashMap<String, Avro>,
    /// Records whose fields are being read.
    open: Vec<String>,
    types: usize,
}

impl Names {
    fn parse(&mut self, text: &str) -> Result<Avro> {
        let json: Json = match serde_json::from_str(text) {
            Ok(json) => json,
            // Some registries give the schema `string` without its quotes.
            Err(_) if text.chars().all(|c| c.is_ascii_alphanumeric()) => Json::String(text.to_owned()),
            Err(error) => return Err(wrong(format!("it is no JSON: {error}"))),
        };
        self.node(&json, "", 0)
    }

    fn node(&mut self, json: &Json, space: &str, depth: usize) -> Result<Avro> {
        self.types += 1;
        if depth > MAX_DEPTH || self.types > MAX_TYPES {
            return Err(wrong("it has too many types, or too many inside each other"));
        }
        match json {
            Json::String(name) => self.named(name, space),
            Json::Array(branches) => {
                let branches = branches.iter().map(|branch| self.node(branch, space, depth + 1)).collect::<Result<Vec<_>>>()?;
                if branches.is_empty() || branches.iter().any(|branch| matches!(branch, Avro::Union(_))) {
                    return Err(wrong("a union is empty or contains another one"));
                }
                let mut words: Vec<String> = branches.iter().map(Avro::word).collect();
                words.sort_unstable();
                if words.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(wrong("two branches of a union have the same name"));
                }
                Ok(Avro::Union(branches.into()))
            }
            Json::Object(object) => self.complex(object, space, depth),
            _ => Err(wrong("something stands in the place of a type that is none")),
        }
    }

    fn complex(&mut self, object: &Map<String, Json>, space: &str, depth: usize) -> Result<Avro> {
        let inside = |key: &str| object.get(key).ok_or_else(|| wrong(format!("a type has no `{key}`")));
        let Json::String(kind) = inside("type")? else { return self.node(inside("type")?, space, depth + 1) };
        match kind.as_str() {
            "array" => Ok(Avro::Array(Arc::new(self.node(inside("items")?, space, depth + 1)?))),
            "map" => Ok(Avro::Map(Arc::new(self.node(inside("values")?, space, depth + 1)?))),
            "record" | "error" => {
                let full = full_name(object, space)?;
                let inner = full.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
                self.open.push(full.clone());
                let members = inside("fields")?.as_array().ok_or_else(|| wrong("the `fields` of a record are no list"))?;
                let mut fields: Vec<Member> = Vec::with_capacity(members.len());
                for member in members {
                    let member = member.as_object().ok_or_else(|| wrong("a field is no object"))?;
                    let name = text(member, "name")?.to_owned();
                    if fields.iter().any(|other| other.name == name) {
                        return Err(wrong(format!("record `{full}` has two fields `{name}`")));
                    }
                    let kind = member.get("type").ok_or_else(|| wrong(format!("field `{name}` has no type")))?;
                    fields.push(Member {
                        kind: self.node(kind, &inner, depth + 1)?,
                        aliases: texts(member.get("aliases")),
                        default: member.get("default").cloned(),
                        name,
                    });
                }
                self.open.pop();
                self.define(&full, Avro::Record(Arc::new(Record { name: full.clone(), fields })))
            }
            "enum" => {
                let full = full_name(object, space)?;
                let symbols = texts(Some(inside("symbols")?));
                let default = object.get("default").and_then(Json::as_str).map(str::to_owned);
                self.define(&full, Avro::Enum(Arc::new(Symbols { name: full.clone(), symbols, default })))
            }
            "fixed" => {
                let full = full_name(object, space)?;
                let size = object.get("size").and_then(Json::as_u64).and_then(|size| i32::try_from(size).ok());
                let size = size.ok_or_else(|| wrong(format!("`{full}` has no size")))? as usize;
                let plain = Avro::Fixed(size);
                let kind = logical(&plain, object).unwrap_or(plain);
                self.define(&full, kind)
            }
            name => {
                let plain = self.named(name, space)?;
                Ok(logical(&plain, object).unwrap_or(plain))
            }
        }
    }

    fn named(&self, name: &str, space: &str) -> Result<Avro> {
        Ok(match name {
            "null" => Avro::Null,
            "boolean" => Avro::Boolean,
            "int" => Avro::Int,
            "long" => Avro::Long,
            "float" => Avro::Float,
            "double" => Avro::Double,
            "bytes" => Avro::Bytes,
            "string" => Avro::Text,
            _ => {
                let full = if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") };
                if self.open.contains(&full) {
                    return Err(wrong(format!("`{full}` contains itself: such values have no columns"))
                        .hint("read the topic with `format: raw`"));
                }
                // A name without a namespace may mean one that has none.
                let found = self.known.get(&full).or_else(|| self.known.get(name));
                found.cloned().ok_or_else(|| wrong(format!("it names the type `{full}`, which is not defined")))?
            }
        })
    }

    fn define(&mut self, full: &str, kind: Avro) -> Result<Avro> {
        match self.known.insert(full.to_owned(), kind.clone()) {
            Some(other) if other != kind => Err(wrong(format!("it defines `{full}` twice"))),
            _ => Ok(kind),
        }
    }
}

fn text<'a>(object: &'a Map<String, Json>, key: &str) -> Result<&'a str> {
    object.get(key).and_then(Json::as_str).ok_or_else(|| wrong(format!("a type or a field has no `{key}`")))
}

fn texts(list: Option<&Json>) -> Vec<String> {
    let list = list.and_then(Json::as_array);
    list.into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn full_name(object: &Map<String, Json>, space: &str) -> Result<String> {
    let name = text(object, "name")?;
    if name.contains('.') {
        return Ok(name.to_owned());
    }
    let space = object.get("namespace").and_then(Json::as_str).unwrap_or(space);
    Ok(if space.is_empty() { name.to_owned() } else { format!("{space}.{name}") })
}

/// What a logical type makes of a type; `None` if it means nothing there.
fn logical(plain: &Avro, object: &Map<String, Json>) -> Option<Avro> {
    let name = object.get("logicalType").and_then(Json::as_str)?;
    Some(match (name, plain) {
        ("decimal", Avro::Bytes | Avro::Fixed(_)) => {
            let precision =
                object.get("precision").and_then(Json::as_u64).filter(|precision| (1..=76).contains(precision))? as u8;
            let scale = object.get("scale").map_or(Some(0), Json::as_u64).filter(|scale| *scale <= u64::from(precision))? as i8;
            let size = if let Avro::Fixed(size) = plain { Some(*size) } else { None };
            Avro::Decimal { size, precision, scale }
        }
        ("date", Avro::Int) => Avro::Date,
        ("time-millis", Avro::Int) => Avro::TimeMillis,
        ("time-micros", Avro::Long) => Avro::TimeMicros,
        ("timestamp-millis", Avro::Long) => Avro::Timestamp(TimeUnit::Millisecond, true),
        ("timestamp-micros", Avro::Long) => Avro::Timestamp(TimeUnit::Microsecond, true),
        ("timestamp-nanos", Avro::Long) => Avro::Timestamp(TimeUnit::Nanosecond, true),
        ("local-timestamp-millis", Avro::Long) => Avro::Timestamp(TimeUnit::Millisecond, false),
        ("local-timestamp-micros", Avro::Long) => Avro::Timestamp(TimeUnit::Microsecond, false),
        ("local-timestamp-nanos", Avro::Long) => Avro::Timestamp(TimeUnit::Nanosecond, false),
        ("uuid", Avro::Text) => Avro::UuidText,
        ("uuid", Avro::Fixed(16)) => Avro::UuidFixed,
        ("duration", Avro::Fixed(12)) => Avro::Duration,
        _ => return None,
    })
}

/// A union of NULL and one more type: that type. A union with one type is that type.
pub(super) fn plain_union(branches: &[Avro]) -> Option<(&Avro, bool)> {
    match branches {
        [only] => Some((only, false)),
        [Avro::Null, value] | [value, Avro::Null] if *value != Avro::Null => Some((value, true)),
        _ => None,
    }
}

impl Avro {
    /// The columns that a schema means: those of its record, or one column `value`.
    pub(super) fn columns(&self) -> SchemaRef {
        let fields: Vec<Field> = match self {
            Self::Record(record) => record.fields.iter().map(|member| member.kind.field(&member.name)).collect(),
            other => vec![other.field("value")],
        };
        Arc::new(Schema::new(fields))
    }

    /// A type as a field.
    pub(super) fn field(&self, name: &str) -> Field {
        let nullable = match self {
            Self::Null => true,
            Self::Union(branches) => match plain_union(branches) {
                Some((inner, null)) => return inner.field(name).with_nullable(null || matches!(inner, Self::Null)),
                None => branches.contains(&Self::Null),
            },
            _ => false,
        };
        let field = Field::new(name, self.data_type(), nullable);
        match self {
            Self::UuidText | Self::UuidFixed => {
                let logical = [(LOGICAL_TYPE.to_owned(), "uuid".to_owned())];
                field.with_metadata(logical.into())
            }
            _ => field,
        }
    }

    fn data_type(&self) -> DataType {
        use DataType as D;
        match self {
            Self::Null => D::Null,
            Self::Boolean => D::Boolean,
            Self::Int => D::Int32,
            Self::Long => D::Int64,
            Self::Float => D::Float32,
            Self::Double => D::Float64,
            Self::Bytes => D::Binary,
            Self::Text | Self::Enum(_) | Self::UuidText | Self::UuidFixed => D::Utf8,
            Self::Fixed(size) => D::FixedSizeBinary(*size as i32),
            Self::Array(item) => list_type(item.field("item")),
            Self::Map(value) => map_type(D::Utf8, value.field("value")),
            Self::Record(record) => D::Struct(record.fields.iter().map(|member| member.kind.field(&member.name)).collect()),
            Self::Decimal { precision, scale, .. } if *precision <= 38 => D::Decimal128(*precision, *scale),
            Self::Decimal { precision, scale, .. } => D::Decimal256(*precision, *scale),
            Self::Date => D::Date32,
            Self::TimeMillis => D::Time32(TimeUnit::Millisecond),
            Self::TimeMicros => D::Time64(TimeUnit::Microsecond),
            Self::Timestamp(unit, zoned) => D::Timestamp(*unit, zoned.then(|| "UTC".into())),
            Self::Duration => D::Interval(IntervalUnit::MonthDayNano),
            Self::Union(branches) => match plain_union(branches) {
                Some((inner, _)) => inner.data_type(),
                // One member per branch, of which one has a value: as Avro's own JSON shows a union.
                None => {
                    let members = branches.iter().filter(|branch| **branch != Self::Null);
                    D::Struct(members.map(|branch| branch.field(&branch.word()).with_nullable(true)).collect())
                }
            },
        }
    }

    /// The name of a type in a union; no two branches have the same.
    pub(super) fn word(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Boolean => "boolean".into(),
            Self::Int | Self::Date | Self::TimeMillis => "int".into(),
            Self::Long | Self::TimeMicros | Self::Timestamp(..) => "long".into(),
            Self::Float => "float".into(),
            Self::Double => "double".into(),
            Self::Bytes | Self::Decimal { size: None, .. } => "bytes".into(),
            Self::Text | Self::UuidText => "string".into(),
            Self::Fixed(size) | Self::Decimal { size: Some(size), .. } => format!("fixed{size}"),
            Self::UuidFixed => "uuid".into(),
            Self::Duration => "duration".into(),
            Self::Array(_) => "array".into(),
            Self::Map(_) => "map".into(),
            Self::Union(_) => "union".into(),
            Self::Enum(symbols) => last(&symbols.name).to_owned(),
            Self::Record(record) => last(&record.name).to_owned(),
        }
    }
}

/// A name without its namespace.
pub(super) fn last(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

impl Avro {
    /// A column's type as the columns of a schema would have it: item names and the like do not count.
    pub(super) fn plain(data_type: &DataType) -> DataType {
        let inner = |field: &Field| Field::new(field.name(), Self::plain(field.data_type()), field.is_nullable());
        match data_type {
            DataType::Int8 | DataType::Int16 | DataType::UInt8 | DataType::UInt16 => DataType::Int32,
            DataType::UInt32 => DataType::Int64,
            DataType::Float16 => DataType::Float32,
            DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
            DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
            DataType::List(item) | DataType::LargeList(item) => list_type(inner(item)),
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| inner(field)).collect()),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) if pair.len() == 2 => map_type(DataType::Utf8, inner(&pair[1])),
                other => other.clone(),
            },
            DataType::Timestamp(unit, zone) => DataType::Timestamp(*unit, zone.as_ref().map(|_| "UTC".into())),
            other => other.clone(),
        }
    }
}
