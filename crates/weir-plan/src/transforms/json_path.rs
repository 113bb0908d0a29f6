//! `json_path`: typed columns out of JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::Column;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::Transform;
use super::cast::{OnError, Policy, check_words, lower_casts};
use super::explode::taken;
use super::part::part;
use crate::chain::Chain;
use crate::problem::{Problem, code};
use crate::program::json::{self, Json, Value};
use crate::program::path::Path;
use crate::program::require::unkept;
use crate::types::show;

/// Takes values out of a column with JSON, each by a path, into columns of their own.
///
/// Paths are JSONPath (RFC 9535) without functions: `$.a.b`, `$['a b']`, `$.items[0]`, `$.items[-1]`, `$.items[1:3]`, `$..id`,
/// `$.items[?@.price < 10].id`. A path that can lead to one value at most gives that value, JSON's null is NULL; any other path gives a
/// JSON list of all that it finds. Numbers keep their digits until they have their type.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JsonPath {
    /// The column with JSON in it: text.
    #[schemars(extend("x-weir-aliases" = ["from", "src_field"]))]
    column: String,
    /// What is taken out.
    #[schemars(length(min = 1))]
    columns: Vec<Taken>,
    /// Whether `column` stays. True if absent.
    #[serde(default = "yes")]
    keep: bool,
    /// What happens to a row whose text is no JSON, or with a value that does not fit its type: `dead_letter` (if absent), `null` or `error`.
    #[serde(default, deserialize_with = "super::cast::on_error")]
    #[schemars(with = "Option<OnError>", extend("x-weir-aliases" = ["row_error_handle_way", "column_error_handle_way"]))]
    on_error: Option<OnError>,
    /// What happens where a path leads nowhere: `null` (if absent), `dead_letter` or `error`.
    #[serde(default, deserialize_with = "on_missing")]
    #[schemars(with = "Option<OnError>")]
    on_missing: Option<OnError>,
}

/// One new column.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Taken {
    /// The path: `$.customer.id`.
    path: String,
    /// The new column.
    #[schemars(extend("x-weir-aliases" = ["name", "dest_field"]))]
    r#as: String,
    /// Its type, as in `cast`; text if absent, json for a path that may find several values. `json` takes a value as it is written.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["dest_type"]))]
    r#type: Option<String>,
}

fn yes() -> bool {
    true
}

/// `on_missing: null` is the word in YAML's clothes.
fn on_missing<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<OnError>, D::Error> {
    Ok(Some(Option::<OnError>::deserialize(deserializer)?.unwrap_or(OnError::Null)))
}

impl JsonPath {
    /// New column → type word.
    fn words(&self) -> BTreeMap<String, String> {
        let word = |taken: &Taken| match (&taken.r#type, Path::parse(&taken.path)) {
            (Some(word), _) => Some(word.clone()),
            (None, Ok(path)) if !path.singular() => Some("json".to_string()),
            (None, _) => None,
        };
        self.columns.iter().filter_map(|taken| Some((taken.r#as.clone(), word(taken)?))).collect()
    }
}

impl Transform for JsonPath {
    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.columns.is_empty() {
            problems.push(Problem::new(code::TRANSFORM_OPTIONS, "there is nothing to take out").option("columns"));
        }
        for (index, one) in self.columns.iter().enumerate() {
            let at = |option: &str| format!("columns/{index}/{option}");
            if self.columns[..index].iter().any(|other| other.r#as == one.r#as) {
                problems.push(taken(&one.r#as, &at("as")));
            }
            match Path::parse(&one.path) {
                Err(why) => {
                    problems.push(Problem::new(code::TRANSFORM_OPTIONS, format!("`{}`: {why}", one.path)).option(at("path")))
                }
                Ok(path) => {
                    let list = one.r#type.as_ref().is_some_and(|word| !["json", "text", "string"].contains(&word.trim()));
                    if list && !path.singular() {
                        let message = format!("`{}` may find several values, and `{}` is one", one.path, one.r#as);
                        let problem = Problem::new(code::TRANSFORM_OPTIONS, message).option(at("type"));
                        problems.push(problem.expected("json: the list of all of them"));
                    }
                }
            }
            let word: BTreeMap<String, String> = one.r#type.iter().map(|word| (one.r#as.clone(), word.clone())).collect();
            problems.extend(check_words(&word, "type").into_iter().map(|problem| problem.option(at("type"))));
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let Some((at, field)) = schema.column_with_name(&self.column) else {
            return problems.push(Problem::no_column(&self.column, "column", &names));
        };
        if !matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
            let message = format!("`{}` is {}, no text", self.column, show(field.data_type()));
            let problem = Problem::new(code::TRANSFORM_OPTIONS, message).option("column");
            return problems.push(match field.data_type() {
                DataType::Struct(_) => problem.help("`flatten` makes columns of a struct"),
                DataType::Binary | DataType::LargeBinary => problem.help("`cast` it to text first"),
                _ => problem,
            });
        }
        let stays = |name: &String| self.keep || *name != self.column;
        let before = problems.len();
        for (index, one) in self.columns.iter().enumerate() {
            if names.iter().any(|name| *name == one.r#as && stays(name)) {
                problems.push(taken(&one.r#as, &format!("columns/{index}/as")));
            }
        }
        let words = self.words();
        let mut paths = Vec::new();
        for one in &self.columns {
            let Ok(path) = Path::parse(&one.path) else { return };
            let written = words.get(&one.r#as).is_some_and(|word| word.trim().eq_ignore_ascii_case("json"));
            paths.push(Asked { text: one.path.clone(), path, written });
        }
        if problems.len() > before {
            return;
        }
        let function = Take {
            paths,
            column: self.column.clone(),
            on_error: self.on_error.unwrap_or(OnError::DeadLetter),
            on_missing: self.on_missing.unwrap_or(OnError::Null),
            signature: Signature::any(1, Volatility::Immutable),
        };
        let function = Arc::new(ScalarUDF::from(function));
        let built = chain.plan(|_, input| {
            let columns: Vec<Column> = input.schema().columns();
            let found = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![Expr::Column(columns[at].clone())]));
            let mut after: Vec<Expr> = columns.iter().filter(|column| stays(&column.name)).cloned().map(Expr::Column).collect();
            for (index, one) in self.columns.iter().enumerate() {
                after.push(part(found.clone(), place(index)).alias(&one.r#as));
            }
            LogicalPlanBuilder::from(input).project(after)?.build()
        });
        if let Err(error) = built {
            return problems.push(Problem::query(&error, "columns"));
        }
        lower_casts(&words, Policy { on_error: self.on_error, accept_loss: false }, "columns", chain, problems);
    }
}

fn place(index: usize) -> String {
    format!("c{index}")
}

/// One path, and whether its value is taken as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    text: String,
    path: Path,
    written: bool,
}

/// The values that paths lead to, as texts: a struct with one part for each path.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Take {
    paths: Vec<Asked>,
    column: String,
    on_error: OnError,
    on_missing: OnError,
    signature: Signature,
}

impl Take {
    fn fields(&self) -> Fields {
        (0..self.paths.len()).map(|index| Field::new(place(index), DataType::Utf8, true)).collect()
    }

    fn refuse(&self, policy: OnError, why: &str) -> Result<()> {
        let told = format!("{}: {why}", self.column);
        match policy {
            OnError::Null => Ok(()),
            OnError::DeadLetter => Err(DataFusionError::Execution(told)),
            OnError::Error => Err(unkept(told)),
        }
    }

    fn one(&self, asked: &Asked, root: &Json<'_>) -> Result<Option<String>> {
        let found = match asked.path.find(root) {
            Ok(found) => found,
            Err(why) => return self.refuse(self.on_error, &why).map(|()| None),
        };
        if !asked.path.singular() {
            let all: Vec<&str> = found.iter().map(|json| json.raw).collect();
            return Ok(Some(format!("[{}]", all.join(","))));
        }
        let Some(json) = found.first() else {
            return self.refuse(self.on_missing, &format!("`{}` leads nowhere", asked.text)).map(|()| None);
        };
        Ok(match &json.value {
            Value::Null => None,
            Value::Text(text) if !asked.written => Some(text.to_string()),
            _ => Some(json.raw.to_string()),
        })
    }
}

impl ScalarUDFImpl for Take {
    fn name(&self) -> &str {
        "json_path"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(self.fields()))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = arrow::compute::cast(&args.args[0].to_array(args.number_rows)?, &DataType::Utf8)?;
        let texts = array.as_string::<i32>();
        let mut found: Vec<StringBuilder> = self.paths.iter().map(|_| StringBuilder::new()).collect();
        for row in 0..texts.len() {
            let root = match texts.is_valid(row).then(|| json::parse(texts.value(row))) {
                Some(Ok(root)) => Some(root),
                Some(Err(why)) => {
                    self.refuse(self.on_error, &why)?;
                    None
                }
                None => None,
            };
            for (builder, asked) in found.iter_mut().zip(&self.paths) {
                builder.append_option(match &root {
                    Some(root) => self.one(asked, root)?,
                    None => None,
                });
            }
        }
        let parts: Vec<ArrayRef> = found.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef).collect();
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new_with_length(self.fields(), parts, None, texts.len())?)))
    }
}
