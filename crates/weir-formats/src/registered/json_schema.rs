//! JSON Schemas of a registry: the columns that one means, and one for columns.
//!
//! A column is made of a property only where every value that JSON allows there has one form in it; everything else is a column of JSON text, in which
//! any value stays what it is. What a schema demands beyond types (`minimum`, `pattern`, …) is not checked.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Map, Value as Json, json};
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_error::{Error, Kind, Result};

use super::value::{list_type, map_type};

/// References followed and types inside each other, before a column is JSON text.
const MAX_DEPTH: usize = 32;

struct Schemas<'a> {
    root: &'a Json,
    /// By name.
    references: &'a [(String, Json)],
}

/// The columns of a schema.
///
/// # Errors
/// No JSON, or no schema of objects.
pub(super) fn columns(text: &str, references: &[(String, String)]) -> Result<SchemaRef> {
    let parsed =
        |text: &str| -> Result<Json> { serde_json::from_str(text).map_err(|error| wrong(format!("it is no JSON: {error}"))) };
    let root = parsed(text)?;
    let references =
        references.iter().map(|(name, text)| Ok((name.clone(), parsed(text)?))).collect::<Result<Vec<(String, Json)>>>()?;
    let schemas = Schemas { root: &root, references: &references };
    let (object, base) = schemas.resolved(&root, &root, 0).ok_or_else(|| wrong("it refers to nothing"))?;
    let fields = schemas.properties(object, base, 0).ok_or_else(|| wrong("it does not say which properties its objects have"))?;
    Ok(Arc::new(Schema::new(fields)))
}

fn wrong(why: impl Into<String>) -> Error {
    Error::new("WEIR-FMT-051", Kind::Schema, "the JSON Schema has no columns")
        .because(why.into())
        .hint("declare them under `columns` with `format: json`, or read with `format: raw`")
}

impl<'a> Schemas<'a> {
    /// What a schema means behind its `$ref`s, and the document it stands in.
    fn resolved(&self, schema: &'a Json, base: &'a Json, depth: usize) -> Option<(&'a Map<String, Json>, &'a Json)> {
        let object = schema.as_object()?;
        let Some(reference) = object.get("$ref").and_then(Json::as_str) else { return Some((object, base)) };
        if depth > MAX_DEPTH {
            return None;
        }
        let (document, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let base = if document.is_empty() {
            base
        } else if self.root.get("$id").and_then(Json::as_str) == Some(document) {
            self.root
        } else {
            let same =
                |(name, json): &&(String, Json)| name == document || json.get("$id").and_then(Json::as_str) == Some(document);
            &self.references.iter().find(same)?.1
        };
        self.resolved(base.pointer(pointer)?, base, depth + 1)
    }

    fn properties(&self, object: &'a Map<String, Json>, base: &'a Json, depth: usize) -> Option<Vec<Field>> {
        let properties = object.get("properties")?.as_object().filter(|properties| !properties.is_empty())?;
        let required: Vec<&str> =
            object.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
        Some(
            properties
                .iter()
                .map(|(name, schema)| {
                    let field = self.field(name, schema, base, depth + 1);
                    let nullable = field.is_nullable() || !required.contains(&name.as_str());
                    field.with_nullable(nullable)
                })
                .collect(),
        )
    }

    fn field(&self, name: &str, schema: &'a Json, base: &'a Json, depth: usize) -> Field {
        self.typed(name, schema, base, depth).unwrap_or_else(|| {
            let logical = [(LOGICAL_TYPE.to_owned(), "json".to_owned())];
            Field::new(name, DataType::Utf8, true).with_metadata(logical.into())
        })
    }

    /// `None`: only JSON text holds it.
    fn typed(&self, name: &str, schema: &'a Json, base: &'a Json, depth: usize) -> Option<Field> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (object, base) = self.resolved(schema, base, depth)?;
        for key in ["oneOf", "anyOf"] {
            if let Some(choices) = object.get(key).and_then(Json::as_array) {
                let is_null = |choice: &&Json| choice.get("type").is_some_and(|kind| kind == "null");
                let others: Vec<&Json> = choices.iter().filter(|choice| !is_null(choice)).collect();
                let [only] = others.as_slice() else { return None };
                return Some(self.typed(name, only, base, depth + 1)?.with_nullable(others.len() < choices.len()));
            }
        }
        if object.contains_key("allOf") || object.contains_key("not") {
            return None;
        }
        let (kind, nullable) = match object.get("type")? {
            Json::String(kind) => (kind.as_str(), false),
            Json::Array(kinds) => {
                let others: Vec<&str> = kinds.iter().filter_map(Json::as_str).filter(|kind| *kind != "null").collect();
                let [only] = others.as_slice() else { return None };
                (*only, others.len() < kinds.len())
            }
            _ => return None,
        };
        let data_type = match kind {
            "string" => DataType::Utf8,
            "integer" => DataType::Int64,
            "number" => DataType::Float64,
            "boolean" => DataType::Boolean,
            "array" => list_type(self.field("item", object.get("items").filter(|items| items.is_object())?, base, depth + 1)),
            "object" => match (self.properties(object, base, depth), object.get("additionalProperties")) {
                (Some(fields), _) => DataType::Struct(fields.into()),
                (None, Some(values)) if values.is_object() => {
                    map_type(DataType::Utf8, self.field("value", values, base, depth + 1).with_nullable(true))
                }
                _ => return None,
            },
            _ => return None,
        };
        Some(Field::new(name, data_type, nullable))
    }
}

/// A schema for what is written of columns.
pub(super) fn schema_of(schema: &Schema, name: &str) -> String {
    let mut object = object_of(schema.fields().iter());
    object.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
    object.insert("title".into(), name.into());
    Json::Object(object).to_string()
}

fn object_of<'a>(fields: impl Iterator<Item = &'a Arc<Field>> + Clone) -> Map<String, Json> {
    let mut object = Map::new();
    object.insert("type".into(), "object".into());
    let properties: Map<String, Json> = fields.clone().map(|field| (field.name().clone(), property(field))).collect();
    object.insert("properties".into(), properties.into());
    // What may be NULL is not required, though it is always written: otherwise such a column could never be added and stay compatible.
    let required: Vec<Json> = fields.filter(|field| !field.is_nullable()).map(|field| field.name().as_str().into()).collect();
    object.insert("required".into(), required.into());
    object.insert("additionalProperties".into(), false.into());
    object
}

fn property(field: &Field) -> Json {
    use DataType as D;
    if crate::inference::is_json_text(field) {
        return json!({});
    }
    let with = |kind: &str| Map::from_iter([("type".to_owned(), Json::from(kind))]);
    let mut object = match field.data_type() {
        D::Boolean => with("boolean"),
        D::Null => with("null"),
        data_type if data_type.is_integer() => with("integer"),
        data_type if data_type.is_decimal() => with("number"),
        D::Float16 | D::Float32 | D::Float64 => with("number"),
        D::List(item) | D::LargeList(item) | D::FixedSizeList(item, _) => {
            let mut array = with("array");
            array.insert("items".into(), property(item));
            array
        }
        D::Struct(fields) => object_of(fields.iter()),
        D::Map(entries, _) => {
            let mut map = with("object");
            if let D::Struct(pair) = entries.data_type()
                && let Some(value) = pair.get(1)
            {
                map.insert("additionalProperties".into(), property(value));
            }
            map
        }
        D::Dictionary(_, value) => return property(&Field::new(field.name(), value.as_ref().clone(), field.is_nullable())),
        D::Date32 | D::Date64 => {
            let mut date = with("string");
            date.insert("format".into(), "date".into());
            date
        }
        D::Timestamp(_, Some(_)) => {
            let mut time = with("string");
            time.insert("format".into(), "date-time".into());
            time
        }
        _ => with("string"),
    };
    if field.is_nullable()
        && let Some(Json::String(kind)) = object.get("type")
        && kind != "null"
    {
        let both = json!(["null", kind]);
        object.insert("type".into(), both);
    }
    object.into()
}
