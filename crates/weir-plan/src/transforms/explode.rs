//! `explode`: a row for each element of a list.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Builder, ListBuilder, StringBuilder, UInt32Builder};
use arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Transform, several};
use crate::chain::Chain;
use crate::problem::{Problem, code};
use crate::program::json;
use crate::program::require::unkept;
use crate::types::show;

/// Gives a row for each element of a list; the other columns are repeated. A row whose list is empty or NULL stays, once, with NULL, unless
/// `outer` is false. Elements that are structs become columns with `flatten` after it.
///
/// Text is taken for JSON: each element is JSON as it is written, and `json_path` takes values out of it. Text that is no list ends the run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explode {
    /// The column with the lists.
    column: String,
    /// The name of the column with the elements; that of `column` if absent. It takes the place of `column` either way.
    #[serde(default)]
    r#as: Option<String>,
    /// A column for the element's place in its list, from 0. None if absent.
    #[serde(default)]
    position: Option<String>,
    /// Whether a row without elements stays. True if absent: nothing is left out unseen.
    #[serde(default = "yes")]
    outer: bool,
}

fn yes() -> bool {
    true
}

impl Transform for Explode {
    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let Some((at, field)) = schema.column_with_name(&self.column) else {
            return problems.push(Problem::no_column(&self.column, "column", &names));
        };
        if several::item_of(field.data_type()).is_none() && !is_text(field.data_type()) {
            let message = format!("`{}` is {}, no list", self.column, show(field.data_type()));
            let problem = Problem::new(code::TRANSFORM_OPTIONS, message).option("column");
            return problems.push(match field.data_type() {
                DataType::Struct(_) => problem.help("`flatten` makes columns of a struct"),
                _ => problem,
            });
        }
        let element = self.r#as.clone().unwrap_or_else(|| self.column.clone());
        let mut new = vec![(element, "as")];
        new.extend(self.position.clone().map(|position| (position, "position")));
        let kept: Vec<String> = names.iter().filter(|name| **name != self.column).cloned().collect();
        let before = problems.len();
        for (index, (name, option)) in new.iter().enumerate() {
            if kept.contains(name) || new[..index].iter().any(|(other, _)| other == name) {
                problems.push(taken(name, option));
            }
        }
        if problems.len() > before {
            return;
        }
        let parts: Vec<(String, &str)> =
            new.into_iter().map(|(name, option)| (name, if option == "as" { VALUE } else { POSITION })).collect();
        let function = Elements { outer: self.outer, signature: Signature::any(1, Volatility::Immutable) };
        let list = |columns: &[datafusion::common::Column]| {
            let function = Arc::new(ScalarUDF::from(function));
            Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![Expr::Column(columns[at].clone())]))
        };
        if let Err(error) = several::lower(chain, list, &kept, &parts) {
            problems.push(Problem::query(&error, "column"));
        }
    }
}

/// A new column has the name of one that stays.
pub(super) fn taken(name: &str, option: &str) -> Problem {
    Problem::new(code::COLUMN, format!("two columns would be called `{name}`")).option(option).help("choose another name")
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Lists in JSON text as lists of texts: the elements as they are written, JSON's null as NULL.
fn written(array: &ArrayRef) -> Result<ArrayRef> {
    let texts = arrow::compute::cast(array, &DataType::Utf8)?;
    let mut lists = ListBuilder::new(StringBuilder::new());
    for text in texts.as_string::<i32>() {
        let Some(text) = text else {
            lists.append_null();
            continue;
        };
        match json::parse(text).map(|json| json.value) {
            Ok(json::Value::Null) => lists.append_null(),
            Ok(json::Value::List(items)) => {
                for item in items {
                    lists.values().append_option((item.value != json::Value::Null).then_some(item.raw));
                }
                lists.append(true);
            }
            Ok(_) => return Err(unkept("the JSON in a row is no list")),
            Err(why) => return Err(unkept(why)),
        }
    }
    Ok(Arc::new(lists.finish()))
}

const VALUE: &str = "value";
const POSITION: &str = "position";

/// A list's elements with their places.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Elements {
    outer: bool,
    signature: Signature,
}

fn fields(list: &DataType) -> Vec<Field> {
    let value = several::item_of(list).map_or(DataType::Utf8, |item| item.data_type().clone());
    vec![Field::new(VALUE, value, true), Field::new(POSITION, DataType::Int64, true)]
}

impl ScalarUDFImpl for Elements {
    fn name(&self) -> &str {
        "__weir_elements"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(several::list_of(fields(&types[0])))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        Ok(ColumnarValue::Array(self.elements(&arrays[0])?))
    }
}

impl Elements {
    fn elements(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let array = &if is_text(array.data_type()) { written(array)? } else { array.clone() };
        let list = several::as_list(array)?;
        let mut lengths = Vec::with_capacity(list.len());
        let (mut from, mut places) = (UInt32Builder::new(), Int64Builder::new());
        for row in 0..list.len() {
            let offsets = list.value_offsets();
            let (start, end) = if list.is_null(row) { (0, 0) } else { (offsets[row], offsets[row + 1]) };
            for (place, element) in (start..end).enumerate() {
                from.append_value(element.unsigned_abs());
                places.append_value(place as i64);
            }
            let count = (start..end).len();
            if count == 0 && self.outer {
                from.append_null();
                places.append_null();
            }
            lengths.push(if count == 0 { usize::from(self.outer) } else { count });
        }
        let values = arrow::compute::take(list.values(), &from.finish(), None)?;
        several::build(fields(array.data_type()), vec![values, Arc::new(places.finish())], &lengths)
    }
}
