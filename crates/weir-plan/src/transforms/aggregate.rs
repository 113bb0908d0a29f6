//! `aggregate`: one row per group, or one for all rows.

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::LogicalPlan;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Transform;
use super::sql::has_reference;
use crate::chain::{Chain, quoted};
use crate::problem::{Problem, code};
use crate::sql::{parse_expression, parse_query};
use crate::types::show;

/// Groups rows and computes one value per group and measure. Without `group_by` there is one row for all, also for none.
///
/// Rows whose key is NULL are one group. Sums of integers and decimals are exact: one that does not fit fails the run instead of wrapping
/// around. `first` and `last` need an order, and among equals take the smallest (largest) value, so that the result does not depend on the order of reading.
/// Sees all rows together and spills to disk beyond the memory budget.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Aggregate {
    /// Columns of the key. They come first in the result.
    #[serde(default)]
    group_by: Names,
    /// New column → an aggregate in SQL (`sum(amount)`), or `{function: sum, column: amount}`.
    #[schemars(extend("x-weir-aliases" = ["aggregations", "measures", "metrics"]))]
    select: Measures,
}

/// One name or several.
#[derive(Debug, Default, Clone, PartialEq)]
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("expected the name of a column, or a list of names");
        match Value::deserialize(deserializer)? {
            Value::Null => Ok(Self::default()),
            Value::String(one) => Ok(Self(vec![one])),
            Value::Array(many) => {
                many.iter().map(|name| name.as_str().map(Into::into).ok_or_else(wrong)).collect::<Result<_, _>>().map(Self)
            }
            _ => Err(wrong()),
        }
    }
}

impl JsonSchema for Names {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GroupBy".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// The measures, in the order in which they are written.
#[derive(Debug, Clone, PartialEq)]
struct Measures(Vec<(String, Measure)>);

impl<'de> Deserialize<'de> for Measures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Object(map) = Value::deserialize(deserializer)? else {
            return Err(D::Error::custom("expected a map of new columns: {revenue: sum(amount)}"));
        };
        let read = |(name, value): (String, Value)| match value {
            Value::String(sql) => Ok((name, Measure::Sql(sql))),
            value => match serde_json::from_value(value) {
                Ok(written) => Ok((name, Measure::Written(written))),
                Err(error) => Err(D::Error::custom(format!("`{name}`: {error}"))),
            },
        };
        map.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl JsonSchema for Measures {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Measures".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let written = generator.subschema_for::<Written>();
        json_schema!({ "type": "object", "additionalProperties": { "oneOf": [{ "type": "string" }, written] } })
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Measure {
    Sql(String),
    Written(Written),
}

#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// What is computed.
    function: Function,
    /// Of which column; only `count` goes without.
    #[serde(default)]
    column: Option<String>,
    /// The order of `first` and `last`: `updated_at desc`.
    #[serde(default)]
    order_by: Option<String>,
    /// Only over rows for which this predicate is true.
    #[serde(default)]
    r#where: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Function {
    /// Rows; with a column those where it is not NULL.
    Count,
    /// Different values, NULL not among them.
    CountDistinct,
    /// The sum, exact for integers and decimals.
    Sum,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The mean: of decimals a decimal with four more digits, of others a float64.
    Avg,
    /// The value of the first row in the order, which may be NULL.
    First,
    /// The value of the last row in the order.
    Last,
}

impl Function {
    fn ordered(self) -> bool {
        matches!(self, Self::First | Self::Last)
    }
}

impl Written {
    fn check(&self, place: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut tell = |message: &str, option: &str, help: Option<&str>| {
            let problem = Problem::new(code::TRANSFORM_OPTIONS, message).option(format!("{place}/{option}"));
            problems.push(match help {
                Some(help) => problem.help(help),
                None => problem,
            });
        };
        if self.column.is_none() && self.function != Function::Count {
            tell("which column?", "function", Some("add `column: ..`; only `count` counts rows without one"));
        }
        match (&self.order_by, self.function.ordered()) {
            (None, true) => tell("rows have no order of their own", "function", Some("add `order_by: updated_at`")),
            (Some(_), false) => tell("only `first` and `last` have an order", "order_by", None),
            (Some(order), true) => {
                if let Err(error) = parse_query(&format!("SELECT 1 FROM input ORDER BY {order}")) {
                    problems.push(Problem::query(&error, &format!("{place}/order_by")));
                }
            }
            (None, false) => {}
        }
        if let Some(predicate) = &self.r#where
            && !has_reference(predicate)
            && let Err(error) = parse_expression(predicate)
        {
            problems.push(Problem::query(&error, &format!("{place}/where")));
        }
        problems
    }

    /// As SQL over a table with these columns.
    fn sql(&self, schema: &SchemaRef, place: &str) -> Result<String, Problem> {
        let only = self.r#where.as_ref().map(|predicate| format!(" FILTER (WHERE {predicate})")).unwrap_or_default();
        let Some(name) = &self.column else { return Ok(format!("count(*){only}")) };
        let Some((_, field)) = schema.column_with_name(name) else {
            return Err(Problem::no_column(name, &format!("{place}/column"), &columns(schema)));
        };
        let (column, kind) = (quoted(name), field.data_type());
        let numeric = |word: &str| match kind.is_numeric() {
            true => Ok(()),
            false => {
                let problem = Problem::new(code::TRANSFORM_OPTIONS, format!("`{word}` of `{name}`, which is {}", show(kind)));
                Err(problem.option(format!("{place}/column")).help("cast it to a number first"))
            }
        };
        Ok(match self.function {
            Function::Count => format!("count({column}){only}"),
            Function::CountDistinct => format!("count(DISTINCT {column}){only}"),
            Function::Min => format!("min({column}){only}"),
            Function::Max => format!("max({column}){only}"),
            Function::Sum => {
                numeric("sum")?;
                format!("sum({column}){only}")
            }
            // The mean of integers through their exact sum: a sum of binary fractions forgets digits beyond 2^53. (`CAST` would
            // give it the name of a plain `sum`.)
            Function::Avg if kind.is_integer() => {
                format!(
                    "CAST(sum(arrow_cast({column}, 'Decimal128(38, 0)')){only} AS DOUBLE) / CAST(nullif(count({column}){only}, 0) AS DOUBLE)"
                )
            }
            Function::Avg => {
                numeric("avg")?;
                format!("avg({column}){only}")
            }
            Function::First | Function::Last => {
                let order = self.order_by.as_deref().unwrap_or_default();
                let (word, ties) = match self.function {
                    Function::First => ("first_value", "ASC NULLS LAST"),
                    _ => ("last_value", "ASC NULLS FIRST"),
                };
                // Of rows that are equal in the order the smallest (largest) value, whichever is read first.
                let ties = if kind.is_nested() { String::new() } else { format!(", {column} {ties}") };
                format!("{word}({column} ORDER BY {order}{ties}){only}")
            }
        })
    }
}

/// Whether rows become fewer in a plan.
fn aggregates(plan: &LogicalPlan) -> bool {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(aggregate) if !aggregate.aggr_expr.is_empty()))).unwrap_or(false)
}

fn columns(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

impl Transform for Aggregate {
    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.group_by.0.is_empty() && self.select.0.is_empty() {
            problems.push(
                Problem::new(code::TRANSFORM_OPTIONS, "an aggregate of nothing")
                    .option("select")
                    .help("`select: {rows: count(*)}`"),
            );
        }
        for (at, name) in self.group_by.0.iter().enumerate() {
            if self.group_by.0[..at].contains(name) {
                problems.push(Problem::new(code::TRANSFORM_OPTIONS, format!("`{name}` is in the key twice")).option("group_by"));
            }
        }
        for (name, measure) in &self.select.0 {
            let place = format!("select/{name}");
            if self.group_by.0.contains(name) {
                problems.push(
                    Problem::new(code::COLUMN, format!("two columns would be called `{name}`: the key and the measure"))
                        .option(&place),
                );
            }
            match measure {
                Measure::Sql(sql) if !has_reference(sql) => {
                    problems.extend(parse_expression(sql).err().map(|error| Problem::query(&error, &place)));
                }
                Measure::Sql(_) => {}
                Measure::Written(written) => problems.extend(written.check(&place)),
            }
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        let names = columns(&schema);
        for name in self.group_by.0.iter().filter(|name| !names.contains(name)) {
            problems.push(Problem::no_column(name, "group_by", &names));
        }
        let key: Vec<String> = self.group_by.0.iter().map(|name| quoted(name)).collect();
        let grouped = if key.is_empty() { String::new() } else { format!(" GROUP BY {}", key.join(", ")) };
        let mut chosen = key.clone();
        for (name, measure) in &self.select.0 {
            let place = format!("select/{name}");
            let sql = match measure {
                Measure::Sql(sql) => sql.clone(),
                Measure::Written(written) => match written.sql(&schema, &place) {
                    Ok(sql) => sql,
                    Err(problem) => {
                        problems.push(problem);
                        continue;
                    }
                },
            };
            let column = format!("{sql} AS {}", quoted(name));
            // Alone first, so that what is wrong with it is told at its own place.
            let alone = key.iter().cloned().chain([column.clone()]).collect::<Vec<_>>().join(", ");
            let planned = chain.session().query(&format!("SELECT {alone} FROM input{grouped}"), &chain.tables());
            match planned.and_then(|planned| chain.session().analyze(planned.plan)) {
                Ok(plan) if aggregates(&plan) => chosen.push(column),
                Ok(_) => problems.push(
                    Problem::new(code::TRANSFORM_OPTIONS, format!("`{sql}` is no aggregate of the rows"))
                        .option(&place)
                        .help("count(*), sum(x), max(x), …; a computed column is for `sql`"),
                ),
                Err(error) => problems.push(Problem::query(&error, &place)),
            }
        }
        if !problems.is_empty() {
            return;
        }
        if let Err(error) = chain.query(&format!("SELECT {} FROM input{grouped}", chosen.join(", "))) {
            problems.push(Problem::query(&error, "select"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_keep_the_order_in_which_they_are_written() {
        let read: Aggregate =
            serde_json::from_str(r#"{"select": {"z": "count(*)", "a": {"function": "sum", "column": "x"}}}"#).unwrap();
        let names: Vec<&str> = read.select.0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["z", "a"]);
    }

    #[test]
    fn first_without_an_order_and_sum_without_a_column_are_mistakes() {
        let read: Aggregate = serde_json::from_str(
            r#"{"group_by": "k", "select": {"a": {"function": "first", "column": "x"}, "b": {"function": "sum"},
                "c": {"function": "max", "column": "x", "order_by": "t"}, "k": "count(*)", "d": "sum("}}"#,
        )
        .unwrap();
        let options: Vec<String> = read.check().into_iter().filter_map(|problem| problem.option).collect();
        assert_eq!(options, ["select/a/function", "select/b/function", "select/c/order_by", "select/k", "select/d"]);
    }

    #[test]
    fn an_unknown_function_says_which_there_are() {
        let error = serde_json::from_str::<Aggregate>(r#"{"select": {"a": {"function": "median"}}}"#).unwrap_err().to_string();
        assert!(error.contains("count_distinct"), "{error}");
    }
}
