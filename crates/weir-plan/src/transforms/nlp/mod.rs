//! `nlp`: language, sentiment and entities of a text column, computed here, without a network or a model to load.
//!
//! Here are the options and the functions behind the columns. `language`, `sentiment` and `entities` say how they decide; `words` and
//! `names` hold what they know.

mod entities;
mod language;
#[cfg(test)]
mod measured;
mod names;
mod sentiment;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, StringArray};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Transform;
use crate::chain::Chain;
use crate::problem::{Problem, code};
use entities::{Entity, EntityKind};

/// Adds columns that say what a text is about. NULL gives NULL, and so does a text from which nothing can be told.
///
/// `language` adds its ISO 639-3 code and a confidence (0 to 1); `sentiment` a number from -1 to 1 and `negative`, `neutral` or
/// `positive` (English); `entities` a JSON list of `{kind, text, start, end}` with the places in characters (names: English; the
/// others by their form).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nlp {
    /// The text column.
    column: String,
    /// What to add; everything if absent.
    #[serde(default)]
    enrich: Vec<Enrich>,
    /// Before the names of the new columns; the column's name and `_` if absent.
    #[serde(default)]
    prefix: Option<String>,
    /// Which kinds of entities; all if absent.
    #[serde(default)]
    entities: Vec<EntityKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Enrich {
    /// The language and how sure that is.
    Language,
    /// How well it speaks of its subject.
    Sentiment,
    /// Names, addresses, amounts, dates.
    Entities,
}

impl Nlp {
    /// The new columns with what each says.
    fn added(&self) -> Vec<(String, Says)> {
        const ALL: [Enrich; 3] = [Enrich::Language, Enrich::Sentiment, Enrich::Entities];
        let prefix = self.prefix.clone().unwrap_or_else(|| format!("{}_", self.column));
        let wanted = |enrich: &Enrich| self.enrich.is_empty() || self.enrich.contains(enrich);
        let mut added = Vec::new();
        for enrich in ALL.iter().filter(|enrich| wanted(enrich)) {
            let columns = match enrich {
                Enrich::Language => vec![("language", Says::Language), ("language_confidence", Says::Confidence)],
                Enrich::Sentiment => vec![("sentiment", Says::Sentiment), ("sentiment_label", Says::Label)],
                Enrich::Entities => {
                    let kinds: Vec<EntityKind> =
                        if self.entities.is_empty() { EntityKind::ALL.into() } else { self.entities.clone() };
                    vec![("entities", Says::Entities(kinds))]
                }
            };
            added.extend(columns.into_iter().map(|(name, says)| (format!("{prefix}{name}"), says)));
        }
        added
    }
}

impl Transform for Nlp {
    fn check(&self) -> Vec<Problem> {
        if !self.entities.is_empty() && !self.enrich.is_empty() && !self.enrich.contains(&Enrich::Entities) {
            return vec![
                Problem::new(code::TRANSFORM_OPTIONS, "`entities` chooses kinds, and `enrich` asks for no entities")
                    .option("entities"),
            ];
        }
        Vec::new()
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        match schema.column_with_name(&self.column) {
            None => problems.push(Problem::no_column(&self.column, "column", &names)),
            Some((_, field)) if !matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => {
                let what = format!("`{}` is {}, not text", self.column, crate::types::show(field.data_type()));
                problems.push(Problem::new(code::TRANSFORM_OPTIONS, what).option("column"));
            }
            Some(_) => {}
        }
        let mut taken: BTreeSet<&String> = names.iter().collect();
        let added = self.added();
        for (name, _) in &added {
            if !taken.insert(name) {
                let problem = Problem::new(code::COLUMN, format!("there is a column `{name}` already")).option("prefix");
                problems.push(problem.help("choose another `prefix`, or rename the column before"));
            }
        }
        if !problems.is_empty() {
            return;
        }
        let built = chain.plan(|_, input| {
            let mut columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
            let text = columns[names.iter().position(|name| *name == self.column).unwrap_or_default()].clone();
            for (name, says) in added {
                let function = Arc::new(ScalarUDF::from(Reading { says, signature: Signature::any(1, Volatility::Immutable) }));
                columns.push(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![text.clone()])).alias(name));
            }
            LogicalPlanBuilder::from(input).project(columns)?.build()
        });
        if let Err(error) = built {
            problems.push(Problem::query(&error, "column"));
        }
    }
}

/// What a new column says about the text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Says {
    Language,
    Confidence,
    Sentiment,
    Label,
    Entities(Vec<EntityKind>),
}

/// The function behind a new column.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Reading {
    says: Says,
    signature: Signature,
}

impl ScalarUDFImpl for Reading {
    fn name(&self) -> &str {
        match self.says {
            Says::Language => "language",
            Says::Confidence => "language_confidence",
            Says::Sentiment => "sentiment",
            Says::Label => "sentiment_label",
            Says::Entities(_) => "entities",
        }
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.says {
            Says::Confidence | Says::Sentiment => DataType::Float64,
            Says::Language | Says::Label | Says::Entities(_) => DataType::Utf8,
        })
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = arrow::compute::cast(&arrays[0], &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        let detect = |text: Option<&str>| text.and_then(language::detect);
        let values: ArrayRef = match &self.says {
            Says::Language => Arc::new(texts.iter().map(|text| detect(text).map(|found| found.0)).collect::<StringArray>()),
            Says::Confidence => Arc::new(texts.iter().map(|text| detect(text).map(|found| found.1)).collect::<Float64Array>()),
            Says::Sentiment => Arc::new(texts.iter().map(|text| text.and_then(sentiment::score)).collect::<Float64Array>()),
            Says::Label => {
                Arc::new(texts.iter().map(|text| text.and_then(sentiment::score).map(sentiment::label)).collect::<StringArray>())
            }
            Says::Entities(kinds) => {
                let found = |text: &str| json(&entities::find(text, kinds));
                Arc::new(texts.iter().map(|text| text.map(found)).collect::<StringArray>())
            }
        };
        Ok(ColumnarValue::Array(values))
    }
}

fn json(found: &[Entity]) -> String {
    let list = found.iter().map(
        |entity| serde_json::json!({ "kind": entity.kind.word(), "text": entity.text, "start": entity.start, "end": entity.end }),
    );
    serde_json::Value::Array(list.collect()).to_string()
}
