//! Values that are written in a pipeline file and compared with a column: exactly, in the column's own type.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::convert::{convert, convertible};
use crate::problem::{Problem, code};
use crate::types::{TypeWord, show};

/// Values with a name each: a list, whose names are the values as they are written, or a map name → value (or values).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Named(pub(crate) Vec<(String, Vec<String>)>);

fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("values are a list of texts, numbers or truth values, or a map name → value");
        let entries: Option<Vec<(String, Vec<String>)>> = match Value::deserialize(deserializer)? {
            Value::Array(values) => values.iter().map(|value| written(value).map(|text| (text.clone(), vec![text]))).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| {
                    let texts = match value {
                        Value::Array(several) => several.iter().map(written).collect(),
                        one => written(one).map(|text| vec![text]),
                    };
                    texts.map(|texts: Vec<String>| (name.clone(), texts))
                })
                .collect(),
            _ => None,
        };
        entries.map(Self).ok_or_else(wrong)
    }
}

impl JsonSchema for Named {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NamedValues".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "array", "items": { "type": ["string", "number", "integer", "boolean"] } },
                { "type": "object", "additionalProperties": { "oneOf": [
                    { "type": ["string", "number", "integer", "boolean"] },
                    { "type": "array", "items": { "type": ["string", "number", "integer", "boolean"] } }
                ] } }
            ]
        })
    }
}

impl Named {
    /// The names, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// What can be said without the column: names and values that are there twice.
    pub(crate) fn check(&self, option: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut seen: Vec<&String> = Vec::new();
        for (index, (name, values)) in self.0.iter().enumerate() {
            if self.0[..index].iter().any(|(other, _)| other == name) {
                problems.push(Problem::new(code::TRANSFORM_OPTIONS, format!("`{name}` is there twice")).option(option));
                continue;
            }
            for value in values {
                if seen.contains(&value) {
                    let message = format!("the value `{value}` is there twice");
                    problems.push(Problem::new(code::TRANSFORM_OPTIONS, message).option(option));
                }
                seen.push(value);
            }
        }
        problems
    }
}

/// A written value as one of a column's type; a value that the type cannot hold as it is written is a problem.
pub(crate) fn literal(text: &str, data_type: &DataType, option: &str) -> Result<ScalarValue, Problem> {
    let wrong = |why: String| Problem::new(code::TRANSFORM_OPTIONS, why).option(option);
    let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
    convertible(texts.data_type(), data_type).map_err(wrong)?;
    let to = TypeWord { data_type: data_type.clone(), json: false };
    let done = convert(&texts, &to, false).map_err(|error| wrong(error.to_string()))?;
    if !done.failures.is_empty() {
        return Err(wrong(format!("`{text}` is no value of the column, which is {}", show(data_type))));
    }
    ScalarValue::try_from_array(&done.values, 0).map_err(|error| wrong(error.to_string()))
}
