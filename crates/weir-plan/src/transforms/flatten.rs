//! `flatten`: the parts of structs as columns.

use arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Transform;
use super::part::part;
use crate::chain::Chain;
use crate::problem::{Problem, code};
use crate::types::show;

/// Makes columns of the parts of structs, in their place: `address: {city, zip}` becomes `address_city`, `address_zip`. Where the struct is
/// NULL, so are its parts. Lists stay as they are: `explode` makes rows of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Flatten {
    /// The columns; every struct if absent.
    #[serde(default)]
    columns: Vec<String>,
    /// What stands between the names; `_` if absent.
    #[serde(default = "underscore")]
    separator: String,
    /// How many levels; all if absent.
    #[serde(default)]
    #[schemars(range(min = 1))]
    depth: Option<u32>,
}

fn underscore() -> String {
    "_".into()
}

impl Flatten {
    fn parts(&self, name: String, expr: Expr, data_type: &DataType, levels: u32, found: &mut Vec<(String, Expr)>) {
        match data_type {
            DataType::Struct(fields) if levels > 0 => {
                for field in fields {
                    let inner = part(expr.clone(), field.name().clone());
                    self.parts(format!("{name}{}{}", self.separator, field.name()), inner, field.data_type(), levels - 1, found);
                }
            }
            _ => found.push((name, expr)),
        }
    }
}

impl Transform for Flatten {
    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let before = problems.len();
        for (index, name) in self.columns.iter().enumerate() {
            match schema.column_with_name(name) {
                None => problems.push(Problem::no_column(name, &format!("columns/{index}"), &names)),
                Some((_, field)) if !matches!(field.data_type(), DataType::Struct(_)) => {
                    let message = format!("`{name}` is {}, no struct", show(field.data_type()));
                    let problem = Problem::new(code::TRANSFORM_OPTIONS, message).option(format!("columns/{index}"));
                    problems.push(match field.data_type().is_nested() {
                        true => problem.help("`explode` makes rows of a list"),
                        false => problem.help("text with JSON in it: `json_path`"),
                    });
                }
                Some(_) => {}
            }
        }
        let levels = self.depth.unwrap_or(u32::MAX);
        let flat = |columns: &[Column]| {
            let mut found = Vec::new();
            for (field, column) in schema.fields().iter().zip(columns) {
                let (name, expr) = (field.name().clone(), Expr::Column(column.clone()));
                if self.columns.is_empty() || self.columns.contains(&name) {
                    self.parts(name, expr, field.data_type(), levels, &mut found);
                } else {
                    found.push((name, expr));
                }
            }
            found
        };
        let own: Vec<Column> = names.iter().map(Column::from_name).collect();
        let after = flat(&own);
        for (index, (name, _)) in after.iter().enumerate() {
            if after[..index].iter().any(|(other, _)| other == name) {
                problems.push(
                    Problem::new(code::COLUMN, format!("two columns would be called `{name}`"))
                        .option("separator")
                        .help("choose another `separator`, or rename one of them before"),
                );
            }
        }
        if problems.len() > before {
            return;
        }
        let built = chain.plan(|_, input| {
            let columns = input.schema().columns();
            let named = flat(&columns).into_iter().map(|(name, expr)| match expr {
                Expr::Column(_) => expr,
                computed => computed.alias(name),
            });
            LogicalPlanBuilder::from(input).project(named.collect::<Vec<_>>())?.build()
        });
        if let Err(error) = built {
            problems.push(Problem::query(&error, "columns"));
        }
    }
}
