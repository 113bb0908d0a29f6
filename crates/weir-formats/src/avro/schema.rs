//! The writer's schema as far as it says how many bytes a value has. Logical types, defaults and aliases do not matter for that.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, TimeUnit};
use serde_json::{Map, Value};
use weir_error::Result;

use super::corrupted;

/// Types of a schema, those behind names counted wherever they are named. A schema of a few lines can name its way to more
/// types than fit into memory, and the decoder builds them all.
const MAX_TYPES: u64 = 1 << 16;
/// Types inside each other: decoder and walk follow them with the stack.
const MAX_DEPTH: u32 = 128;

/// A type.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The fewest bytes that a value has. Zero if and only if no value has any.
    pub(super) least: u64,
    /// Types in it, itself included.
    pub(super) types: u64,
    depth: u32,
}

#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(u64),
    /// With this many symbols.
    Enum(u64),
    Array(Arc<Node>),
    Map(Arc<Node>),
    Union(Vec<Arc<Node>>),
    Record(Vec<Arc<Node>>),
}

impl Node {
    fn new(kind: Kind) -> Result<Arc<Self>> {
        let least_of = |nodes: &[Arc<Node>]| nodes.iter().fold(0u64, |sum, node| sum.saturating_add(node.least));
        let (least, children): (u64, &[Arc<Node>]) = match &kind {
            Kind::Null => (0, &[]),
            Kind::Boolean | Kind::Int | Kind::Long | Kind::Bytes | Kind::Text | Kind::Enum(_) => (1, &[]),
            Kind::Float => (4, &[]),
            Kind::Double => (8, &[]),
            Kind::Fixed(size) => (*size, &[]),
            Kind::Array(item) | Kind::Map(item) => (1, std::slice::from_ref(item)),
            Kind::Union(branches) => (branches.iter().map(|branch| branch.least).min().unwrap_or(0).saturating_add(1), branches),
            Kind::Record(fields) => (least_of(fields), fields),
        };
        let types = children.iter().fold(1u64, |sum, child| sum.saturating_add(child.types));
        let depth = 1 + children.iter().map(|child| child.depth).max().unwrap_or(0);
        if types > MAX_TYPES {
            return Err(corrupted(format!("the schema has more than {MAX_TYPES} types")));
        }
        if depth > MAX_DEPTH {
            return Err(corrupted(format!("the schema has more than {MAX_DEPTH} types inside each other")));
        }
        Ok(Arc::new(Self { kind, least, types, depth }))
    }
}

/// The rows' type out of a schema.
///
/// # Errors
/// What is no schema, and a type that contains itself, which has no columns.
pub(super) fn parse(schema: &Value) -> Result<Arc<Node>> {
    let row = Names::default().node(schema, &Space::default())?;
    match row.kind {
        Kind::Record(_) => Ok(row),
        _ => Err(corrupted("the schema is no record")),
    }
}

/// The namespace that a name stands in. By the rules, a record `a.b` opens the namespace `a`; the decoder does not see that.
#[derive(Clone, Default)]
struct Space {
    ruled: String,
    seen: String,
}

/// The named types so far, under their names by the rules and under those that the decoder gives them.
#[derive(Default)]
struct Names {
    ruled: HashMap<String, Arc<Node>>,
    seen: HashMap<(String, String), Arc<Node>>,
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a str> {
    object.get(key).and_then(Value::as_str).ok_or_else(|| corrupted(format!("a type in the schema has no `{key}`")))
}

fn list<'a>(object: &'a Map<String, Value>, key: &str) -> Result<&'a [Value]> {
    let list = object.get(key).and_then(Value::as_array);
    list.map(Vec::as_slice).ok_or_else(|| corrupted(format!("a type in the schema has no `{key}`")))
}

impl Names {
    fn node(&mut self, schema: &Value, space: &Space) -> Result<Arc<Node>> {
        match schema {
            Value::String(name) => self.named(name, space),
            Value::Array(branches) => {
                if branches.iter().any(Value::is_array) {
                    return Err(corrupted("a union in the schema contains another one"));
                }
                let branches = branches.iter().map(|branch| self.node(branch, space)).collect::<Result<_>>()?;
                Node::new(Kind::Union(branches))
            }
            Value::Object(object) => self.complex(object, space),
            _ => Err(corrupted("the schema has something in the place of a type that is none")),
        }
    }

    fn complex(&mut self, object: &Map<String, Value>, space: &Space) -> Result<Arc<Node>> {
        match text(object, "type")? {
            "array" => Node::new(Kind::Array(self.inner(object, "items", space)?)),
            "map" => Node::new(Kind::Map(self.inner(object, "values", space)?)),
            "record" => {
                let inside = opened(object, space)?;
                let mut fields = Vec::new();
                for field in list(object, "fields")? {
                    let field = field.as_object().ok_or_else(|| corrupted("a field in the schema is no object"))?;
                    fields.push(self.inner(field, "type", &inside)?);
                }
                self.define(object, space, Kind::Record(fields))
            }
            "enum" => {
                let symbols = list(object, "symbols")?.len() as u64;
                self.define(object, space, Kind::Enum(symbols))
            }
            "fixed" => {
                // The decoder takes the word for a name when it dislikes the rest of such a type, and two decimals of
                // different sizes look alike from outside.
                if self.seen.keys().any(|(_, name)| name == "fixed") {
                    return Err(corrupted("the schema names a type `fixed`"));
                }
                let size = object.get("size").and_then(Value::as_u64).filter(|size| *size <= i32::MAX as u64);
                let size = size.ok_or_else(|| corrupted("a fixed type in the schema has no size"))?;
                self.define(object, space, Kind::Fixed(size))
            }
            name => self.named(name, space),
        }
    }

    fn inner(&mut self, object: &Map<String, Value>, key: &str, space: &Space) -> Result<Arc<Node>> {
        let schema = object.get(key).ok_or_else(|| corrupted(format!("a type in the schema has no `{key}`")))?;
        self.node(schema, space)
    }

    fn named(&self, name: &str, space: &Space) -> Result<Arc<Node>> {
        let kind = match name {
            "null" => Kind::Null,
            "boolean" => Kind::Boolean,
            "int" => Kind::Int,
            "long" => Kind::Long,
            "float" => Kind::Float,
            "double" => Kind::Double,
            "bytes" => Kind::Bytes,
            "string" => Kind::Text,
            _ => {
                let ruled = self.ruled.get(&full(name, &space.ruled));
                let (space, last) = name.rsplit_once('.').unwrap_or((&space.seen, name));
                let seen = self.seen.get(&(space.to_owned(), last.to_owned()));
                return match (ruled, seen) {
                    (Some(ruled), Some(seen)) if Arc::ptr_eq(ruled, seen) => Ok(ruled.clone()),
                    (None, None) => Err(corrupted(format!(
                        "the schema names the type `{name}` before it is defined; types that contain themselves cannot be read"
                    ))),
                    _ => Err(corrupted(format!("the decoder does not find the type `{name}` of the schema"))),
                };
            }
        };
        Node::new(kind)
    }

    /// Only now, behind its fields, a type has its name: so does the decoder.
    fn define(&mut self, object: &Map<String, Value>, space: &Space, kind: Kind) -> Result<Arc<Node>> {
        let node = Node::new(kind)?;
        let name = text(object, "name")?;
        let own = object.get("namespace").and_then(Value::as_str);
        self.ruled.insert(full(name, own.unwrap_or(&space.ruled)), node.clone());
        self.seen.insert((own.unwrap_or(&space.seen).to_owned(), name.to_owned()), node.clone());
        Ok(node)
    }
}

/// The namespace inside a record.
fn opened(record: &Map<String, Value>, space: &Space) -> Result<Space> {
    let own = record.get("namespace").and_then(Value::as_str);
    let ruled = match text(record, "name")?.rsplit_once('.') {
        Some((space, _)) => space,
        None => own.unwrap_or(&space.ruled),
    };
    Ok(Space { ruled: ruled.to_owned(), seen: own.unwrap_or(&space.seen).to_owned() })
}

fn full(name: &str, space: &str) -> String {
    if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") }
}

/// Whether the decoder reads the same bytes for a row as the walk does: where the two would part, a block that was found in
/// order could still leave the decoder with bytes and no record.
pub(super) fn same_shape(row: &Node, found: &Schema) -> bool {
    matches!(&row.kind, Kind::Record(fields) if same_fields(fields, found.fields()))
}

fn same_fields(nodes: &[Arc<Node>], fields: &Fields) -> bool {
    nodes.len() == fields.len() && nodes.iter().zip(fields).all(|(node, field)| same_field(node, field))
}

fn same_field(node: &Node, field: &Field) -> bool {
    let Kind::Union(branches) = &node.kind else {
        // Nullable means that the decoder reads a branch first.
        return !field.is_nullable() && same_type(node, field.data_type());
    };
    if let DataType::Union(fields, _) = field.data_type() {
        return branches.len() == fields.len()
            && branches.iter().zip(fields.iter()).all(|(node, (_, field))| same_field(node, field));
    }
    match branches.as_slice() {
        [null, value] | [value, null] if matches!(null.kind, Kind::Null) => {
            field.is_nullable() && same_type(value, field.data_type())
        }
        _ => false,
    }
}

fn same_type(node: &Node, found: &DataType) -> bool {
    use DataType as D;
    match (&node.kind, found) {
        (Kind::Null, D::Null)
        | (Kind::Boolean, D::Boolean)
        | (Kind::Int, D::Int32 | D::Date32 | D::Time32(TimeUnit::Millisecond))
        | (Kind::Long, D::Int64 | D::Time64(TimeUnit::Microsecond) | D::Timestamp(..))
        | (Kind::Float, D::Float32)
        | (Kind::Double, D::Float64)
        | (Kind::Bytes, D::Binary | D::Decimal128(..) | D::Decimal256(..))
        // A text with the logical type `uuid`.
        | (Kind::Text, D::Utf8 | D::FixedSizeBinary(16))
        | (Kind::Fixed(_), D::Decimal128(..) | D::Decimal256(..))
        | (Kind::Fixed(12), D::Interval(IntervalUnit::MonthDayNano))
        | (Kind::Enum(_), D::Dictionary(..)) => true,
        (Kind::Fixed(size), D::FixedSizeBinary(width)) => i64::try_from(*size) == Ok(i64::from(*width)),
        (Kind::Array(item), D::List(field)) => same_field(item, field),
        (Kind::Map(value), D::Map(entries, _)) => match entries.data_type() {
            D::Struct(fields) => fields.get(1).is_some_and(|field| same_field(value, field)),
            _ => false,
        },
        (Kind::Record(nodes), D::Struct(fields)) => same_fields(nodes, fields),
        _ => false,
    }
}
