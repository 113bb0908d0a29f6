//! `schema_inference`: text columns become what their values are.
//!
//! Here are the options and how they lower; `infer` says what the values of one column are.

mod infer;

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

use super::cast::{OnError, Policy, check_words};
use super::{SAMPLE_ROWS, Transform};
use crate::chain::{CastColumn, Chain, quoted};
use crate::problem::{Problem, code};
use crate::program::check::{Action, Limits, RowRule};
use crate::types::{TypeWord, show};
use infer::Inferred;

/// Looks at a sample while the plan is made and gives text columns the type that their values have: truth values, whole and
/// decimal numbers, dates, times, JSON. `weir plan` says what was found in how many values, and which columns could be a key.
///
/// Numbers with leading zeros are text (they are codes). A later value that does not fit is a dead letter or an error, never NULL and never
/// bent. What is inferred follows the data: to fix it, write the types that `weir plan` shows into a `cast`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SchemaInference {
    /// Columns to look at; every text column if absent.
    #[serde(default)]
    columns: Vec<String>,
    /// Rows of each source to look at.
    #[serde(default = "sample_rows")]
    #[schemars(extend("x-weir-aliases" = ["sample_size"]))]
    sample_rows: u64,
    /// The part of the sampled values that must fit a type (0 to 1).
    #[serde(default = "one")]
    min_confidence: f64,
    /// Texts that stand for NULL: `["", NA]`.
    #[serde(default)]
    null_values: Vec<String>,
    /// Column → type, where it is known better.
    #[serde(default)]
    types: BTreeMap<String, String>,
    /// Columns of structs become columns of their parts: `address.city` → `address_city`.
    #[serde(default)]
    flatten: bool,
    /// Between the names of a flattened column.
    #[serde(default = "underscore")]
    separator: String,
    /// What happens to a row with a value that does not fit.
    #[serde(default)]
    on_error: Misfit,
}

/// What happens to a row with a value that does not fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Misfit {
    /// It goes to the dead letters.
    #[default]
    DeadLetter,
    /// The run fails.
    Error,
}

fn sample_rows() -> u64 {
    SAMPLE_ROWS
}
fn one() -> f64 {
    1.0
}
fn underscore() -> String {
    "_".into()
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

impl SchemaInference {
    /// Replaces structs by their parts, all levels down.
    fn flatten(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        if !self.flatten || !schema.fields().iter().any(|field| matches!(field.data_type(), DataType::Struct(_))) {
            return;
        }
        let built = chain.plan(|_, input| {
            let mut columns = Vec::new();
            for (column, field) in input.schema().columns().into_iter().zip(schema.fields()) {
                let name = column.name.clone();
                parts(Expr::Column(column), &name, field.data_type(), &self.separator, &mut columns);
            }
            LogicalPlanBuilder::from(input).project(columns)?.build()
        });
        if let Err(error) = built {
            problems.push(Problem::query(&error, "flatten"));
        }
    }

    /// Texts that stand for NULL become NULL.
    fn nulls(&self, chain: &mut Chain<'_>, chosen: &[String], problems: &mut Vec<Problem>) {
        if self.null_values.is_empty() || chosen.is_empty() {
            return;
        }
        let texts: Vec<String> = self.null_values.iter().map(|text| format!("'{}'", text.replace('\'', "''"))).collect();
        let columns: Vec<String> = names(&chain.schema())
            .into_iter()
            .map(|name| {
                let column = quoted(&name);
                match chosen.contains(&name) {
                    true => format!("CASE WHEN {column} IN ({}) THEN NULL ELSE {column} END AS {column}", texts.join(", ")),
                    false => column,
                }
            })
            .collect();
        if let Err(error) = chain.query(&format!("SELECT {} FROM input", columns.join(", "))) {
            problems.push(Problem::query(&error, "null_values"));
        }
    }

    /// Numbers of the sample have no leading zeros; a later one that has would lose them.
    fn guard(&self, chain: &mut Chain<'_>, numbers: &[usize], problems: &mut Vec<Problem>) {
        if numbers.is_empty() {
            return;
        }
        let schema = chain.schema();
        let all = names(&schema);
        let flags: Vec<String> = numbers
            .iter()
            .enumerate()
            .map(|(flag, &at)| format!("regexp_like({}, '^[+-]?0[0-9]') AS __weir_rule_{flag}", quoted(&all[at])))
            .collect();
        if let Err(error) = chain.query(&format!("SELECT *, {} FROM input", flags.join(", "))) {
            problems.push(Problem::query(&error, "columns"));
            return;
        }
        let action = if self.on_error == Misfit::Error { Action::Fail } else { Action::Quarantine };
        let rules = numbers.iter().enumerate().map(|(flag, &at)| RowRule {
            name: format!("number_{}", all[at]),
            flag: all.len() + flag,
            shown: vec![at],
            expected: "a number without leading zeros, as in the sample".into(),
            action,
            limits: Limits::default(),
        });
        chain.check(rules.collect(), Vec::new(), all.len());
    }
}

fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

fn parts(value: Expr, name: &str, kind: &DataType, separator: &str, columns: &mut Vec<Expr>) {
    match kind {
        DataType::Struct(fields) if !fields.is_empty() => {
            for field in fields {
                let part = get_field(value.clone(), field.name().as_str());
                parts(part, &format!("{name}{separator}{}", field.name()), field.data_type(), separator, columns);
            }
        }
        _ => columns.push(value.alias(name)),
    }
}

/// Columns whose values are all there and different, in a sample of some size.
fn could_be_keys(sample: &RecordBatch) -> Vec<String> {
    const ENOUGH: usize = 20;
    if sample.num_rows() < ENOUGH {
        return Vec::new();
    }
    let unique = |column: &dyn Array| {
        let kind = column.data_type();
        if column.null_count() > 0 || !(kind.is_integer() || is_text(kind)) {
            return false;
        }
        let mut seen = BTreeSet::new();
        (0..column.len())
            .all(|row| arrow::util::display::array_value_to_string(column, row).is_ok_and(|value| seen.insert(value)))
    };
    let fields = sample.schema();
    let columns = sample.columns().iter().zip(fields.fields());
    columns.filter(|(column, _)| unique(column.as_ref())).map(|(_, field)| field.name().clone()).collect()
}

impl Transform for SchemaInference {
    fn check(&self) -> Vec<Problem> {
        let mut problems = check_words(&self.types, "types");
        if !(self.min_confidence > 0.0 && self.min_confidence <= 1.0) {
            problems.push(
                Problem::new(code::TRANSFORM_OPTIONS, "`min_confidence` is a part of the values: more than 0, at most 1")
                    .option("min_confidence"),
            );
        }
        if self.sample_rows == 0 {
            problems.push(Problem::new(code::TRANSFORM_OPTIONS, "a sample of no rows tells nothing").option("sample_rows"));
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        self.flatten(chain, problems);
        let schema = chain.schema();
        let all = names(&schema);
        for (name, option) in self
            .columns
            .iter()
            .map(|name| (name, "columns".to_string()))
            .chain(self.types.keys().map(|name| (name, format!("types/{name}"))))
            .filter(|(name, _)| !all.contains(name))
        {
            problems.push(Problem::no_column(name, &option, &all));
        }
        let asked = |name: &String| self.columns.is_empty() || self.columns.contains(name);
        let chosen: Vec<String> = schema
            .fields()
            .iter()
            .filter(|field| is_text(field.data_type()) && asked(field.name()))
            .map(|f| f.name().clone())
            .collect();
        self.nulls(chain, &chosen, problems);
        if !problems.is_empty() {
            return;
        }
        let sample = match chain.sample() {
            Ok(sample) => sample,
            Err(why) => {
                problems.push(
                    Problem::new(code::SHAPE, format!("`schema_inference` needs a sample of its input: {why}"))
                        .help("put it directly behind the source, before joins and aggregates"),
                );
                return;
            }
        };
        let (mut casts, mut numbers, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for name in &chosen {
            let Some((index, column)) = all.iter().position(|known| known == name).zip(sample.column_by_name(name)) else {
                continue;
            };
            if let Some(word) = self.types.get(name) {
                if let Ok(to) = TypeWord::parse(word) {
                    casts.push(CastColumn { index, to });
                    found.push(format!("{name} {word} (as written)"));
                }
                continue;
            }
            match infer::column(column, self.min_confidence) {
                Inferred::Nothing => {}
                Inferred::Format { format, fitting, of } => found.push(format!("{name} text, {format} ({fitting} of {of})")),
                Inferred::Type { to, fitting, of } => {
                    let shown = if to.json { "json".into() } else { show(&to.data_type) };
                    found.push(format!("{name} {shown} ({fitting} of {of})"));
                    if to.data_type.is_numeric() {
                        numbers.push(index);
                    }
                    casts.push(CastColumn { index, to });
                }
            }
        }
        let rows = sample.num_rows();
        let told = if found.is_empty() { "every text column stays text".into() } else { found.join(", ") };
        chain.notes.push(format!("`{}` inferred from {rows} sampled rows: {told}", chain.node()));
        let keys = could_be_keys(&sample);
        if !keys.is_empty() {
            chain.notes.push(format!(
                "`{}`: different in every sampled row, so perhaps a key: {}",
                chain.node(),
                keys.join(", ")
            ));
        }
        self.guard(chain, &numbers, problems);
        let on_error = match self.on_error {
            Misfit::DeadLetter => OnError::DeadLetter,
            Misfit::Error => OnError::Error,
        };
        chain.cast(casts, Policy { on_error: Some(on_error), accept_loss: false });
    }
}
