//! `unpivot`: columns to rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use schemars::JsonSchema;
use serde::Deserialize;

use super::cast::{OnError, Policy, check_words, lower_casts};
use super::explode::taken;
use super::{Transform, several};
use crate::chain::Chain;
use crate::problem::{Problem, code};
use crate::types::show;

/// Makes rows of columns: for each row one with the name and the value of each of `columns`, in their order; the other columns are repeated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unpivot {
    /// The columns that become rows. All of one type; if they are not, say `type`.
    #[schemars(length(min = 1))]
    columns: Vec<String>,
    /// The new column with their names.
    #[serde(default = "name_column")]
    #[schemars(extend("x-weir-aliases" = ["name_column", "names_to", "variable_name"]))]
    name: String,
    /// The new column with their values.
    #[serde(default = "value_column")]
    #[schemars(extend("x-weir-aliases" = ["value_column", "values_to", "value_name"]))]
    value: String,
    /// The type that the values get, each checked as the `cast` transform does.
    #[serde(default)]
    r#type: Option<String>,
    /// What happens to a row with a value that does not convert to `type`: `dead_letter` (if absent), `null` or `error`.
    #[serde(default, deserialize_with = "super::cast::on_error")]
    #[schemars(with = "Option<OnError>")]
    on_error: Option<OnError>,
    /// What becomes of NULL values: `keep` (if absent) gives a row for each, `drop` none.
    #[serde(default)]
    nulls: Nulls,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Nulls {
    #[default]
    Keep,
    Drop,
}

fn name_column() -> String {
    "name".into()
}

fn value_column() -> String {
    "value".into()
}

impl Unpivot {
    fn words(&self) -> BTreeMap<String, String> {
        self.r#type.iter().flat_map(|word| self.columns.iter().map(move |column| (column.clone(), word.clone()))).collect()
    }
}

impl Transform for Unpivot {
    fn check(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> =
            check_words(&self.words(), "type").into_iter().take(1).map(|problem| problem.option("type")).collect();
        if self.columns.is_empty() {
            problems.push(Problem::new(code::TRANSFORM_OPTIONS, "there is no column to make rows of").option("columns"));
        }
        for (index, name) in self.columns.iter().enumerate() {
            if self.columns[..index].contains(name) {
                let problem = Problem::new(code::TRANSFORM_OPTIONS, format!("`{name}` is there twice"));
                problems.push(problem.option(format!("columns/{index}")));
            }
        }
        if self.name == self.value {
            problems.push(taken(&self.name, "value"));
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let before = problems.len();
        for (index, name) in self.columns.iter().enumerate() {
            if !names.contains(name) {
                problems.push(Problem::no_column(name, &format!("columns/{index}"), &names));
            }
        }
        let kept: Vec<String> = names.iter().filter(|name| !self.columns.contains(name)).cloned().collect();
        for (name, option) in [(&self.name, "name"), (&self.value, "value")] {
            if kept.contains(name) {
                problems.push(taken(name, option));
            }
        }
        if problems.len() > before {
            return;
        }
        let policy = Policy { on_error: self.on_error, accept_loss: false };
        lower_casts(&self.words(), policy, "type", chain, problems);
        let schema = chain.schema();
        let mut places = Vec::new();
        for name in &self.columns {
            let Some((at, field)) = schema.column_with_name(name) else { continue };
            places.push(at);
            let first = schema.field(places[0]);
            if field.data_type() != first.data_type() {
                let (one, other) = (show(first.data_type()), show(field.data_type()));
                problems.push(
                    Problem::new(
                        code::TRANSFORM_OPTIONS,
                        format!("`{}` is {one} and `{name}` is {other}: one column cannot hold both", first.name()),
                    )
                    .option(format!("columns/{}", places.len() - 1))
                    .help("say which `type` the values get"),
                );
                break;
            }
        }
        if problems.len() > before {
            return;
        }
        let function = Pairs {
            names: self.columns.clone(),
            nulls: self.nulls,
            signature: Signature::any(self.columns.len(), Volatility::Immutable),
        };
        let list = |columns: &[datafusion::common::Column]| {
            let arguments = places.iter().map(|&at| Expr::Column(columns[at].clone())).collect();
            Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), arguments))
        };
        let parts = [(self.name.clone(), NAME), (self.value.clone(), VALUE)];
        if let Err(error) = several::lower(chain, list, &kept, &parts) {
            problems.push(Problem::query(&error, "columns"));
        }
    }
}

const NAME: &str = "name";
const VALUE: &str = "value";

/// Names and values of columns, a list for each row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Pairs {
    names: Vec<String>,
    nulls: Nulls,
    signature: Signature,
}

fn fields(value: &DataType) -> Vec<Field> {
    vec![Field::new(NAME, DataType::Utf8, true), Field::new(VALUE, value.clone(), true)]
}

impl ScalarUDFImpl for Pairs {
    fn name(&self) -> &str {
        "__weir_pairs"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(several::list_of(fields(&types[0])))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = args.args.iter().map(|value| value.to_array(args.number_rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let (mut picked, mut names) = (Vec::new(), StringBuilder::new());
        let mut lengths = Vec::with_capacity(args.number_rows);
        for row in 0..args.number_rows {
            let mut length = 0;
            for (at, (column, name)) in columns.iter().zip(&self.names).enumerate() {
                if self.nulls == Nulls::Keep || column.is_valid(row) {
                    picked.push((at, row));
                    names.append_value(name);
                    length += 1;
                }
            }
            lengths.push(length);
        }
        let values: Vec<&dyn Array> = columns.iter().map(AsRef::as_ref).collect();
        let values = interleave(&values, &picked)?;
        let fields = fields(columns[0].data_type());
        Ok(ColumnarValue::Array(several::build(fields, vec![Arc::new(names.finish()), values], &lengths)?))
    }
}
