//! `field_mapper`: rename, drop, cast, add constants, choose and order columns.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::Transform;
use super::cast::{OnError, Policy, check_words, lower_casts};
use crate::chain::Chain;
use crate::problem::{Problem, code};

/// Renames, drops, casts, adds and orders columns, in this sequence: `rename` and `drop` speak of the columns that come in;
/// `cast`, `constants` and `select` of the new names. Columns that are not mentioned pass through.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldMapper {
    /// Old name → new name.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["field_mapper", "field_mapping", "mapping"]))]
    rename: BTreeMap<String, String>,
    /// Columns to leave out.
    #[serde(default)]
    drop: Vec<String>,
    /// Column → type, checked value by value as the `cast` transform does.
    #[serde(default)]
    cast: BTreeMap<String, String>,
    /// What happens to a row with a value that does not convert; `dead_letter` if absent.
    #[serde(default)]
    on_error: Option<OnError>,
    /// Column → value, the same in every row: a text, a number or a truth value. Replaces a column of that name.
    #[serde(default)]
    constants: BTreeMap<String, Value>,
    /// The columns of the result, in this order; every other is left out.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["reorder"]))]
    select: Vec<String>,
}

impl FieldMapper {
    fn renamed<'a>(&'a self, name: &'a str) -> &'a str {
        self.rename.get(name).map_or(name, String::as_str)
    }
}

/// A constant's literal: whole numbers are int64, others decimals of the digits that are written, so that `0.1` is not a binary fraction.
fn literal(value: &Value) -> Result<ScalarValue, String> {
    match value {
        Value::String(text) => Ok(ScalarValue::Utf8(Some(text.clone()))),
        Value::Bool(truth) => Ok(ScalarValue::Boolean(Some(*truth))),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => Ok(ScalarValue::Int64(Some(whole))),
            (_, Some(whole), _) => Ok(ScalarValue::UInt64(Some(whole))),
            (_, _, Some(float)) => Ok(decimal(&number.to_string()).unwrap_or(ScalarValue::Float64(Some(float)))),
            _ => Err(format!("{number} is too large")),
        },
        Value::Null => Err("a column of nothing but NULL has no type; leave it out, or write it in `sql`".into()),
        _ => Err("a constant is a text, a number or a truth value".into()),
    }
}

fn decimal(text: &str) -> Option<ScalarValue> {
    let (whole, fraction) = text.split_once('.')?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = i8::try_from(fraction.len()).ok()?;
    let precision = u8::try_from(digits.unsigned_abs().to_string().len().max(fraction.len() + 1)).ok()?;
    (precision <= 38).then_some(ScalarValue::Decimal128(Some(digits), precision, scale))
}

impl Transform for FieldMapper {
    fn check(&self) -> Vec<Problem> {
        let mut problems = check_words(&self.cast, "cast");
        for name in &self.drop {
            if self.rename.contains_key(name) {
                problems.push(
                    Problem::new(code::TRANSFORM_OPTIONS, format!("`{name}` is both renamed and dropped"))
                        .option(format!("rename/{name}")),
                );
            }
        }
        for (name, value) in &self.constants {
            if let Err(why) = literal(value) {
                problems.push(
                    Problem::new(code::TRANSFORM_OPTIONS, format!("constant `{name}`: {why}"))
                        .option(format!("constants/{name}")),
                );
            }
        }
        let mut seen = BTreeSet::new();
        for name in &self.select {
            if !seen.insert(name) {
                problems.push(Problem::new(code::TRANSFORM_OPTIONS, format!("`{name}` is selected twice")).option("select"));
            }
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let before = problems.len();
        let incoming: Vec<String> = chain.schema().fields().iter().map(|field| field.name().clone()).collect();
        for name in self.rename.keys() {
            if !incoming.contains(name) {
                problems.push(Problem::no_column(name, &format!("rename/{name}"), &incoming));
            }
        }
        for name in &self.drop {
            if !incoming.contains(name) {
                problems.push(Problem::no_column(name, "drop", &incoming));
            }
        }
        let kept: Vec<&String> = incoming.iter().filter(|name| !self.drop.contains(name)).collect();
        let mut taken = BTreeSet::new();
        for name in &kept {
            if !taken.insert(self.renamed(name)) {
                let new = self.renamed(name);
                problems.push(
                    Problem::new(code::COLUMN, format!("two columns would be called `{new}`"))
                        .option(format!("rename/{name}"))
                        .help("drop one of them, or choose another name"),
                );
            }
        }
        if problems.len() > before {
            return;
        }
        if !self.rename.is_empty() || !self.drop.is_empty() {
            let built = chain.plan(|_, input| {
                let columns = kept.iter().map(|name| column(&input, name).alias(self.renamed(name))).collect::<Vec<_>>();
                LogicalPlanBuilder::from(input).project(columns)?.build()
            });
            if let Err(error) = built {
                problems.push(Problem::query(&error, "rename"));
                return;
            }
        }
        if !self.cast.is_empty() {
            lower_casts(&self.cast, Policy { on_error: self.on_error, accept_loss: false }, "cast", chain, problems);
        }
        let mut names: Vec<String> = chain.schema().fields().iter().map(|field| field.name().clone()).collect();
        names.extend(self.constants.keys().filter(|name| !names.contains(name)).cloned().collect::<Vec<_>>());
        for name in self.select.iter().filter(|name| !names.contains(name)) {
            problems.push(Problem::no_column(name, "select", &names));
        }
        if problems.len() > before || (self.constants.is_empty() && self.select.is_empty()) {
            return;
        }
        let wanted = if self.select.is_empty() { &names } else { &self.select };
        let built = chain.plan(|_, input| {
            let columns = wanted
                .iter()
                .map(|name| match self.constants.get(name).and_then(|value| literal(value).ok()) {
                    Some(value) => Expr::Literal(value, None).alias(name),
                    None => column(&input, name),
                })
                .collect::<Vec<_>>();
            LogicalPlanBuilder::from(input).project(columns)?.build()
        });
        if let Err(error) = built {
            problems.push(Problem::query(&error, "select"));
        }
    }
}

/// A column by its exact name: names in pipeline files are not SQL identifiers.
fn column(input: &datafusion::logical_expr::LogicalPlan, name: &str) -> Expr {
    let found = input.schema().iter().find(|(_, field)| field.name() == name);
    Expr::Column(match found {
        Some((qualifier, field)) => Column::new(qualifier.cloned(), field.name()),
        None => Column::new_unqualified(name),
    })
}
