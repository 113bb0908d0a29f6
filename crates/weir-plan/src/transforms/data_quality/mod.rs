//! `data_quality`: rules held against rows, or against all rows together.
//!
//! Here are the options and how they lower: a query computes per row and rule whether the row breaks it, a check decides what
//! becomes of the row (`program::check`). `rules` says what each kind of rule is in SQL.

mod rules;

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{RESULTS, Transform};
use crate::chain::{Chain, quoted};
use crate::problem::{Problem, code};
use crate::program::check::{Action, Limits, RowRule};
use crate::program::expectation::{Expectation, Wording};
use crate::results::RuleFacts;
use crate::sql::Table;
use rules::{About, Reading, Written};

/// Holds rules against the rows. What a broken rule does is its `on_fail`: `warn` counts the row, `drop` takes it out, `quarantine`
/// makes it a dead letter with the rule and the value, `fail` ends the run with nothing committed (if absent).
///
/// A rule that compares passes where the value is NULL, as a CHECK constraint of SQL does; `not_null` forbids NULL. Several inputs
/// are for `foreign_key`: the first is checked, the others are only looked into. What every rule counted is in the run report, and a sink
/// that reads the node's output `results` gets it as rows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataQuality {
    /// The rules, each a map with one kind of rule and perhaps `name`, `on_fail`, `max_failures`, `max_fraction`.
    rules: Vec<Rule>,
    /// What rules without an `on_fail` of their own do.
    #[serde(default)]
    on_fail: OnFail,
}

/// What a broken rule does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnFail {
    /// The row goes on, and is counted.
    Warn,
    /// The row is taken out, and counts as filtered.
    Drop,
    /// The row becomes a dead letter.
    Quarantine,
    /// The run fails; nothing is committed.
    #[default]
    Fail,
}

impl OnFail {
    fn action(self) -> Action {
        match self {
            Self::Warn => Action::Warn,
            Self::Drop => Action::Drop,
            Self::Quarantine => Action::Quarantine,
            Self::Fail => Action::Fail,
        }
    }
}

/// One rule: exactly one of the kinds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// How reports and dead letters call it; from its kind and column if absent.
    #[serde(default)]
    name: Option<String>,
    /// What happens to a row that breaks it.
    #[serde(default)]
    on_fail: Option<OnFail>,
    /// The run fails if more rows than this break the rule.
    #[serde(default)]
    max_failures: Option<u64>,
    /// The run fails if more than this part of all rows (0 to 1) breaks the rule.
    #[serde(default)]
    max_fraction: Option<f64>,
    /// A column, or several, without NULL.
    #[serde(default)]
    not_null: Option<Columns>,
    /// A column, or several together, whose value is in one row only. Every row of a value that is there twice breaks the rule; keys with NULL do not.
    #[serde(default)]
    unique: Option<Columns>,
    /// A column between two bounds, both included.
    #[serde(default)]
    range: Option<Range>,
    /// A text column in which the pattern is found; anchor it with `^` and `$` for the whole text.
    #[serde(default)]
    regex: Option<Pattern>,
    /// A column with one of these values.
    #[serde(default)]
    in_set: Option<InSet>,
    /// A date or time column that is not older than `max_age` when the run begins.
    #[serde(default)]
    freshness: Option<Freshness>,
    /// How many rows there are. Only `warn` and `fail`.
    #[serde(default)]
    row_count: Option<RowCount>,
    /// A column whose values are all in a column of another input.
    #[serde(default)]
    foreign_key: Option<ForeignKey>,
    /// A predicate in SQL over the columns of a row: `shipped >= ordered`.
    #[serde(default)]
    sql: Option<String>,
    /// An aggregate in SQL over all rows, and what it must come to. Only `warn` and `fail`.
    #[serde(default)]
    aggregate: Option<Aggregate>,
}

/// One column name or several.
#[derive(Debug, Clone, PartialEq)]
struct Columns(Vec<String>);

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(one) => Ok(Self(vec![one])),
            Value::Array(many) if !many.is_empty() => many
                .into_iter()
                .map(|name| match name {
                    Value::String(name) => Ok(name),
                    _ => Err(D::Error::custom("expected names of columns")),
                })
                .collect::<Result<_, _>>()
                .map(Self),
            _ => Err(D::Error::custom("expected the name of a column, or a list of names")),
        }
    }
}

impl JsonSchema for Columns {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ColumnNames".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Range {
    /// The column.
    column: String,
    /// The smallest value: a number, or a date or time as text.
    #[serde(default)]
    min: Option<Value>,
    /// The largest value.
    #[serde(default)]
    max: Option<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pattern {
    /// The column.
    column: String,
    /// The regular expression (without look-around and back-references: it takes linear time).
    pattern: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct InSet {
    /// The column.
    column: String,
    /// The values.
    values: Vec<Value>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Freshness {
    /// The column: a date, or a time. A time without a zone is taken for UTC.
    column: String,
    /// A duration: `500ms`, `10s`, `5m`, `1h`, `1d`.
    max_age: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RowCount {
    /// At least so many.
    #[serde(default)]
    min: Option<u64>,
    /// At most so many.
    #[serde(default)]
    max: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ForeignKey {
    /// The column of the first input.
    column: String,
    /// `input.column`, with the name of another input of this node.
    references: String,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Aggregate {
    /// The aggregate: `sum(amount)`, `max(updated_at)`, `count(*) FILTER (WHERE status = 'open')`.
    value: String,
    /// At least this.
    #[serde(default)]
    min: Option<Value>,
    /// At most this.
    #[serde(default)]
    max: Option<Value>,
}

impl DataQuality {
    fn action(&self, rule: &Rule) -> Action {
        rule.on_fail.unwrap_or(self.on_fail).action()
    }

    /// Each rule with its name: as written, else from its kind, with a number where that is taken.
    fn named(&self) -> Vec<(String, &Rule)> {
        let mut taken: BTreeSet<String> = self.rules.iter().filter_map(|rule| rule.name.clone()).collect();
        let mut all = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let name = rule.name.clone().unwrap_or_else(|| {
                let plain = rule.plain_name();
                let numbers = std::iter::once(plain.clone()).chain((2..).map(|number| format!("{plain}_{number}")));
                let free = numbers.into_iter().find(|name| !taken.contains(name)).unwrap_or_else(|| plain.clone());
                taken.insert(free.clone());
                free
            });
            all.push((name, rule));
        }
        all
    }
}

impl Transform for DataQuality {
    fn takes_many(&self) -> bool {
        true
    }

    fn side_outputs(&self) -> Vec<String> {
        vec![RESULTS.into()]
    }

    fn rules(&self, node: &str) -> Vec<RuleFacts> {
        let facts = |(rule, written): (String, &Rule)| RuleFacts {
            node: node.into(),
            rule,
            kind: written.kinds().first().copied().unwrap_or_default(),
            columns: written.about(),
        };
        self.named().into_iter().map(facts).collect()
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.rules.is_empty() {
            problems.push(Problem::new(code::TRANSFORM_OPTIONS, "`data_quality` without a rule checks nothing").option("rules"));
        }
        let mut names = BTreeSet::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let place = format!("rules/{at}");
            if let Some(name) = &rule.name
                && !names.insert(name)
            {
                problems.push(
                    Problem::new(code::TRANSFORM_OPTIONS, format!("two rules are called `{name}`"))
                        .option(format!("{place}/name")),
                );
            }
            problems.extend(rule.check(self.action(rule), &place));
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let tables = chain.tables();
        let Some((first, others)) = tables.split_first() else { return };
        let unused = others.iter().filter(|table| !self.rules.iter().any(|rule| rule.looks_into(table)));
        problems.extend(unused.map(|table| {
            let name = table.names.first().cloned().unwrap_or_default();
            Problem::new(code::SHAPE, format!("no rule looks into `{name}`: only the first input is checked"))
                .option("input")
                .help(format!("remove it, or add `- foreign_key: {{column: .., references: {name}.column}}`"))
        }));
        let reading = Reading { session: chain.session(), first, others };
        let named = self.named();
        let mut written: Vec<(usize, Written)> = Vec::new();
        let mut whole = Vec::new();
        for (at, (name, rule)) in named.iter().enumerate() {
            let wording = |expected: String| Wording { name: name.clone(), expected, action: self.action(rule) };
            match rule.read(&reading, &format!("rules/{at}")) {
                Err(problem) => problems.push(problem),
                Ok(About::Row(row)) => written.push((at, row)),
                Ok(About::Whole { value, holds, expected, option }) => {
                    match Expectation::new(chain.session(), &first.schema, &value, &holds, wording(expected)) {
                        Ok(expectation) => whole.push(expectation),
                        Err(error) => problems.push(Problem::query(&error, &format!("rules/{at}/{option}"))),
                    }
                }
            }
        }
        if !problems.is_empty() {
            return;
        }
        let width = first.schema.fields().len();
        if let Err(error) = chain.query(&flags(first, &written)) {
            problems.push(Problem::query(&error, "rules"));
            return;
        }
        let rules = written.into_iter().enumerate().map(|(flag, (at, row))| {
            let (name, rule) = &named[at];
            RowRule {
                name: name.clone(),
                flag: width + flag,
                shown: row.shown,
                expected: row.expected,
                action: self.action(rule),
                limits: Limits { failures: rule.max_failures, fraction: rule.max_fraction },
            }
        });
        chain.check(rules.collect(), whole, width);
    }
}

/// The query that adds one flag per rule behind the columns of the first input.
fn flags(first: &Table, rules: &[(usize, Written)]) -> String {
    let name = first.names.first().map(String::as_str).unwrap_or_default();
    let (mut columns, mut joins) = (String::from("i.*"), String::new());
    for (flag, (_, rule)) in rules.iter().enumerate() {
        columns.push_str(&format!(", {} AS __weir_rule_{flag}", rule.broken));
        joins.push_str(&rule.join);
    }
    format!("SELECT {columns} FROM {} AS i{joins}", quoted(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> DataQuality {
        serde_json::from_str(text).unwrap()
    }

    fn messages(text: &str) -> Vec<String> {
        read(text).check().into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn rules_are_called_after_what_they_say() {
        let node = read(
            r#"{"rules": [{"not_null": "a"}, {"not_null": "a"}, {"unique": ["a", "b"]}, {"name": "unique_a_b_2", "sql": "a > 1"},
                          {"unique": ["a", "b"]}, {"row_count": {"min": 1}}]}"#,
        );
        let names: Vec<String> = node.named().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["not_null_a", "not_null_a_2", "unique_a_b", "unique_a_b_2", "unique_a_b_3", "row_count"]);
    }

    #[test]
    fn a_rule_is_one_kind() {
        assert_eq!(
            messages(r#"{"rules": [{"not_null": "a", "sql": "a > 1"}]}"#),
            ["a rule is of one kind, here are not_null, sql"]
        );
        assert_eq!(messages(r#"{"rules": [{"name": "x"}]}"#), ["a rule without a kind"]);
        assert_eq!(messages(r#"{"rules": []}"#).len(), 1);
    }

    #[test]
    fn a_rule_about_all_rows_takes_none_of_them_out() {
        let told = messages(r#"{"rules": [{"row_count": {"min": 1}, "on_fail": "drop"}, {"row_count": {}, "max_failures": 1}]}"#);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("no single row"), "{told:?}");
    }

    #[test]
    fn limits_are_sensible() {
        assert_eq!(messages(r#"{"rules": [{"not_null": "a", "max_fraction": 1.5}]}"#).len(), 1);
        assert_eq!(messages(r#"{"rules": [{"range": {"column": "a"}}]}"#).len(), 1);
        assert_eq!(messages(r#"{"rules": [{"regex": {"column": "a", "pattern": "("}}]}"#).len(), 1);
        assert_eq!(messages(r#"{"rules": [{"freshness": {"column": "a", "max_age": "soon"}}]}"#).len(), 1);
        assert_eq!(messages(r#"{"rules": [{"name": "x", "not_null": "a"}, {"name": "x", "not_null": "b"}]}"#).len(), 1);
    }
}
