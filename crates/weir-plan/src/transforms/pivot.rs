//! `pivot`: rows to columns.

use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Transform;
use super::explode::taken;
use super::values::{Named, literal};
use crate::chain::{Chain, OWN, quoted};
use crate::problem::{Problem, code};
use crate::program::require::REQUIRE;

/// Makes columns of rows: one row for each distinct `group_by`, one column for each declared value of `column`, in it what `aggregate`
/// makes of `value`. The columns are known before a row is read; a value that is not declared is never dropped unseen.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pivot {
    /// The columns that tell one row of the result from another. Without any there is one row.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["key", "rows", "id_columns"]))]
    group_by: Vec<String>,
    /// The column whose values become columns.
    #[schemars(extend("x-weir-aliases" = ["names_from", "on"]))]
    column: String,
    /// These values: a list, or a map new column → value.
    values: Named,
    /// The column with what goes into them.
    #[schemars(extend("x-weir-aliases" = ["values_from", "cells"]))]
    value: String,
    /// What several rows for one cell become: `one` (if absent) allows no more than one row; `sum`, `min`, `max`, `count`, `avg`.
    #[serde(default)]
    aggregate: Aggregate,
    /// A value of `column` that is not declared, NULL among them: `error` (if absent) ends the run, `drop` leaves its rows out.
    #[serde(default)]
    undeclared: Undeclared,
    /// A column for everything that is not declared, instead of `undeclared`.
    #[serde(default)]
    other: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Aggregate {
    #[default]
    One,
    Sum,
    Min,
    Max,
    Count,
    Avg,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Undeclared {
    #[default]
    Error,
    Drop,
}

impl Aggregate {
    /// What the rows for which `filter` is true become, as SQL.
    fn sql(self, value: &str, nested: bool, filter: &str, cell: &str) -> String {
        let filtered = |function: &str| format!("{function}({value}) FILTER (WHERE {filter})");
        match self {
            Self::One => {
                let only = filtered(if nested { "first_value" } else { "max" });
                let told = text(&format!("more than one row for `{cell}`: say which `aggregate` they become"));
                format!("{REQUIRE}(count(*) FILTER (WHERE {filter}) <= 1, {only}, {told})")
            }
            Self::Sum => filtered("sum"),
            Self::Min => filtered("min"),
            Self::Max => filtered("max"),
            Self::Count => filtered("count"),
            Self::Avg => filtered("avg"),
        }
    }
}

/// A text as a SQL literal.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A value as a SQL literal of its type.
fn constant(value: &ScalarValue) -> datafusion::error::Result<String> {
    let data_type = value.data_type();
    let shown = array_value_to_string(&value.to_array()?, 0)?;
    Ok(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => text(&shown),
        _ => format!("arrow_cast({}, {})", text(&shown), text(&data_type.to_string())),
    })
}

impl Transform for Pivot {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.values.check("values");
        if self.values.0.is_empty() {
            problems.push(Problem::new(code::TRANSFORM_OPTIONS, "there is no value to make a column of").option("values"));
        }
        let mut names: Vec<&String> = self.group_by.iter().collect();
        for (name, option) in
            self.values.names().map(|name| (name, "values")).chain(self.other.iter().map(|name| (name, "other")))
        {
            if names.contains(&name) && !problems.iter().any(|problem| problem.option.as_deref() == Some("values")) {
                problems.push(taken(name, option));
            }
            names.push(name);
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let before = problems.len();
        let named = [(&self.column, "column".to_string()), (&self.value, "value".to_string())];
        let grouped = self.group_by.iter().enumerate().map(|(index, name)| (name, format!("group_by/{index}")));
        for (name, option) in named.into_iter().chain(grouped) {
            if !names.contains(name) {
                problems.push(Problem::no_column(name, &option, &names));
            }
        }
        let (Ok(column), Ok(value)) = (schema.field_with_name(&self.column), schema.field_with_name(&self.value)) else { return };
        let mut cells: Vec<(&String, Vec<String>)> = Vec::new();
        for (name, values) in &self.values.0 {
            let mut constants = Vec::new();
            for written in values {
                let value = literal(written, column.data_type(), "values");
                match value.and_then(|value| constant(&value).map_err(|error| Problem::query(&error, "values"))) {
                    Ok(constant) => constants.push(constant),
                    Err(problem) => problems.push(problem),
                }
            }
            cells.push((name, constants));
        }
        if problems.len() > before {
            return;
        }
        let (by, content) = (quoted(&self.column), quoted(&self.value));
        let (by_own, content_own) = (format!("{OWN}by"), format!("{OWN}content"));
        let declared: Vec<&str> = cells.iter().flat_map(|(_, constants)| constants.iter().map(String::as_str)).collect();
        let declared = format!("{by} IN ({})", declared.join(", "));
        let checked = match (&self.other, self.undeclared) {
            (None, Undeclared::Error) => {
                let told = text(&format!("a value of `{}` is not declared in `values`: ", self.column));
                format!("{REQUIRE}({declared}, {by}, concat({told}, coalesce(CAST({by} AS VARCHAR), 'NULL')))")
            }
            _ => by.clone(),
        };
        let group: Vec<String> = self.group_by.iter().map(|name| quoted(name)).collect();
        let list = |extra: &[String]| group.iter().cloned().chain(extra.iter().cloned()).collect::<Vec<_>>().join(", ");
        let inner = list(&[format!("{checked} AS {by_own}"), format!("{content} AS {content_own}")]);
        let nested = value.data_type().is_nested();
        let mut columns: Vec<String> = cells
            .iter()
            .map(|(name, constants)| {
                let filter = format!("{by_own} IN ({})", constants.join(", "));
                format!("{} AS {}", self.aggregate.sql(&content_own, nested, &filter, name), quoted(name))
            })
            .collect();
        if let Some(other) = &self.other {
            let declared = declared.replacen(&by, &by_own, 1);
            let filter = format!("(NOT ({declared}) OR {by_own} IS NULL)");
            columns.push(format!("{} AS {}", self.aggregate.sql(&content_own, nested, &filter, other), quoted(other)));
        }
        let grouping = if group.is_empty() { String::new() } else { format!(" GROUP BY {}", group.join(", ")) };
        let sql = format!("SELECT {} FROM (SELECT {inner} FROM input){grouping}", list(&columns));
        if let Err(error) = chain.query(&sql) {
            problems.push(Problem::query(&error, "value"));
        }
    }
}
