//! `field_mapper`: renames, drops, orders, converts and adds columns.

use std::collections::BTreeMap;

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, cast, ident, lit};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use weir_connect::{Error, Kind, Result};

use super::{Op, Transform, options, schema_of};
use crate::types;

/// Renames, drops, orders, converts and adds columns; in this order: `drop`, `rename`, `cast`, `constants`, `select`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FieldMapperOptions {
    /// Old name → new name.
    #[schemars(extend("x-weir-aliases" = ["field_mapper", "field_mapping"]))]
    pub rename: BTreeMap<String, String>,
    /// Columns to leave out.
    pub drop: Vec<String>,
    /// The columns that remain, in this order (new names). Absent: all, in their order, constants last.
    #[schemars(extend("x-weir-aliases" = ["reorder"]))]
    pub select: Option<Vec<String>>,
    /// Column (new name) → type word. A value that does not convert fails the run; use the transform `cast` for dead letters.
    pub cast: BTreeMap<String, String>,
    /// New column → value.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub constants: BTreeMap<String, Value>,
}

impl FieldMapperOptions {
    /// The projection over a schema: expression and output name, in output order.
    pub fn projection(&self, schema: &DFSchema) -> Result<Vec<(Expr, String)>> {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        for name in self.drop.iter().chain(self.rename.keys()) {
            if !names.contains(&name.as_str()) {
                return Err(missing(name, &names));
            }
        }
        let mut columns: Vec<(Expr, String)> = names
            .iter()
            .filter(|name| !self.drop.iter().any(|dropped| dropped == *name))
            .map(|name| (ident(*name), self.rename.get(*name).cloned().unwrap_or_else(|| (*name).to_owned())))
            .collect();
        for (name, word) in &self.cast {
            let kind = types::parse(word)?;
            let Some((expression, _)) = columns.iter_mut().find(|(_, output)| output == name) else {
                return Err(missing(name, &columns.iter().map(|(_, output)| output.as_str()).collect::<Vec<_>>()));
            };
            *expression = cast(expression.clone(), kind);
        }
        for (name, value) in &self.constants {
            columns.push((constant(name, value)?, name.clone()));
        }
        if let Some(select) = &self.select {
            let mut chosen = Vec::new();
            for name in select {
                let Some(column) = columns.iter().find(|(_, output)| output == name) else {
                    return Err(missing(name, &columns.iter().map(|(_, output)| output.as_str()).collect::<Vec<_>>()));
                };
                chosen.push(column.clone());
            }
            columns = chosen;
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some((_, twice)) = columns.iter().find(|(_, name)| !seen.insert(name.clone())) {
            return Err(Error::new("WEIR-PLAN-023", Kind::Spec, format!("two columns would be called `{twice}`"))
                .hint("rename or drop one of them"));
        }
        Ok(columns)
    }
}

fn constant(name: &str, value: &Value) -> Result<Expr> {
    Ok(match value {
        Value::Null => lit(ScalarValue::Utf8(None)),
        Value::Bool(flag) => lit(*flag),
        Value::String(text) => lit(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => lit(integer),
            (None, Some(float)) => lit(float),
            _ => return Err(Error::new("WEIR-PLAN-024", Kind::Spec, format!("the constant `{name}` is out of range"))),
        },
        _ => {
            return Err(Error::new("WEIR-PLAN-024", Kind::Spec, format!("the constant `{name}` must be a text, number or bool")));
        }
    })
}

pub(crate) fn missing(name: &str, known: &[&str]) -> Error {
    Error::new("WEIR-PLAN-022", Kind::Spec, format!("there is no column `{name}`"))
        .hint(format!("columns here: {}", known.join(", ")))
}

pub(super) const TRANSFORM: Transform = Transform {
    name: "field_mapper",
    bare: None,
    schema: schema_of::<FieldMapperOptions>,
    lower: |value| Ok(Op::Map(options("field_mapper", value)?)),
};
