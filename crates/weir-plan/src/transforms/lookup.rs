//! `lookup`: columns from a small second input.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, SchemaRef};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Transform;
use super::explode::taken;
use super::pivot::text;
use crate::chain::{Chain, OWN, quoted};
use crate::problem::{Problem, code};
use crate::program::require::REQUIRE;
use crate::sql::parse_query;
use crate::types::show;

/// Adds columns of a second input, the dictionary, to the rows of the first: `input: [orders, countries]`. Every row of the first input comes
/// out once or, with `on_missing: drop`, not at all; never twice. NULL finds nothing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lookup {
    /// Which input is the dictionary; the second if absent.
    #[serde(default)]
    from: Option<String>,
    /// Column of the first input → column of the dictionary that is equal to it.
    on: BTreeMap<String, String>,
    /// What is added: a list of columns of the dictionary, or a map new column → column. All that are not in `on` if absent.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["select"]))]
    take: Take,
    /// A row without an entry: `null` (if absent) adds NULLs, `drop` leaves the row out, `error` ends the run.
    #[serde(default, deserialize_with = "on_missing")]
    #[schemars(with = "Option<OnMissing>")]
    on_missing: Option<OnMissing>,
    /// Several entries for one key: `error` (if absent) ends the run, `first` takes the first by `order_by`.
    #[serde(default)]
    on_duplicate: OnDuplicate,
    /// SQL order of the entries of one key: `valid_from desc`. Only with `on_duplicate: first`.
    #[serde(default)]
    order_by: Option<String>,
    /// More entries than this end the run; 1,000,000 if absent.
    #[serde(default = "million")]
    #[schemars(range(min = 1))]
    max_rows: u64,
}

fn million() -> u64 {
    1_000_000
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnMissing {
    Null,
    Drop,
    Error,
}

/// `on_missing: null` is the word in YAML's clothes.
fn on_missing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OnMissing>, D::Error> {
    Ok(Some(Option::<OnMissing>::deserialize(deserializer)?.unwrap_or(OnMissing::Null)))
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnDuplicate {
    #[default]
    Error,
    First,
}

/// New column, column of the dictionary.
#[derive(Debug, Default)]
struct Take(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Take {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = |value: &Value| value.as_str().map(String::from);
        let pairs: Option<Vec<(String, String)>> = match Value::deserialize(deserializer)? {
            Value::Array(names) => names.iter().map(|name| Some((text(name)?, text(name)?))).collect(),
            Value::Object(map) => map.iter().map(|(name, column)| Some((name.clone(), text(column)?))).collect(),
            _ => None,
        };
        pairs.map(Self).ok_or_else(|| D::Error::custom("`take` is a list of columns, or a map new column → column"))
    }
}

impl JsonSchema for Take {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Take".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                { "type": "array", "items": { "type": "string" } },
                { "type": "object", "additionalProperties": { "type": "string" } }
            ]
        })
    }
}

fn names_of(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// Whether values of these types can be equal without being changed.
fn comparable(left: &DataType, right: &DataType) -> bool {
    let text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    left == right || (left.is_integer() && right.is_integer()) || (text(left) && text(right))
}

impl Lookup {
    /// The dictionary as a query: one row for each key, with `__weir_key…` and the new columns.
    fn dictionary(&self, table: &str, columns: &[String], take: &[(String, String)]) -> String {
        let keys: Vec<String> = self.on.values().map(|column| quoted(column)).collect();
        let key_list = keys.join(", ");
        let known = keys.iter().map(|key| format!("{key} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
        let order: Vec<String> = self.order_by.iter().cloned().chain(columns.iter().map(|column| quoted(column))).collect();
        let mut chosen: Vec<String> = keys.iter().enumerate().map(|(at, key)| format!("{key} AS {OWN}key{at}")).collect();
        chosen.extend(take.iter().enumerate().map(|(at, (_, column))| format!("{} AS {OWN}value{at}", quoted(column))));
        chosen.push(format!("count(*) OVER () AS {OWN}size"));
        let shown = keys.iter().map(|key| format!("CAST({key} AS VARCHAR)")).collect::<Vec<_>>().join(", ', ', ");
        chosen.push(format!("concat({shown}) AS {OWN}shown"));
        chosen.push(match self.on_duplicate {
            OnDuplicate::Error => format!("count(*) OVER (PARTITION BY {key_list}) AS {OWN}rank"),
            OnDuplicate::First => {
                format!("row_number() OVER (PARTITION BY {key_list} ORDER BY {}) AS {OWN}rank", order.join(", "))
            }
        });
        let most = self.max_rows;
        let too_many =
            text(&format!("the dictionary has more than {most} entries: it is no lookup; use a join, or raise `max_rows`"));
        let unique = match self.on_duplicate {
            OnDuplicate::Error => {
                let told = text("several entries of the dictionary have the key ");
                format!("{REQUIRE}({OWN}rank = 1, true, concat({told}, {OWN}shown))")
            }
            OnDuplicate::First => format!("{OWN}rank = 1"),
        };
        format!(
            "SELECT * FROM (SELECT {} FROM (SELECT * FROM {} WHERE {known} LIMIT {})) \
             WHERE {REQUIRE}({OWN}size <= {most}, true, {too_many}) AND {unique}",
            chosen.join(", "),
            quoted(table),
            most.saturating_add(1)
        )
    }
}

impl Transform for Lookup {
    fn takes_many(&self) -> bool {
        true
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.on.is_empty() {
            problems.push(Problem::new(code::TRANSFORM_OPTIONS, "there is no column to find an entry by").option("on"));
        }
        match (&self.order_by, self.on_duplicate) {
            (Some(_), OnDuplicate::Error) => problems.push(
                Problem::new(code::TRANSFORM_OPTIONS, "`order_by` chooses among entries of one key, and several are an error")
                    .option("order_by")
                    .help("add `on_duplicate: first`"),
            ),
            (None, OnDuplicate::First) => problems.push(
                Problem::new(code::TRANSFORM_OPTIONS, "`on_duplicate: first` needs `order_by`: the first in which order?")
                    .option("on_duplicate"),
            ),
            (Some(order), OnDuplicate::First) => {
                if let Err(error) = parse_query(&format!("SELECT 1 FROM input ORDER BY {order}")) {
                    problems.push(Problem::query(&error, "order_by"));
                }
            }
            (None, OnDuplicate::Error) => {}
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let inputs = chain.inputs();
        let ([first, second], before) = (inputs.as_slice(), problems.len()) else {
            let message = format!("a lookup has two inputs, the rows and the dictionary, not {}", inputs.len());
            return problems.push(Problem::new(code::SHAPE, message).option("input").help("`input: [orders, countries]`"));
        };
        let (rows, entries) = match &self.from {
            None => (first, second),
            Some(name) if *name == second.0 => (first, second),
            Some(name) if *name == first.0 => (second, first),
            Some(name) => {
                let names = [first.0.as_str(), second.0.as_str()];
                let problem =
                    Problem::new(code::TRANSFORM_OPTIONS, format!("`{name}` is no input of this lookup")).option("from");
                return problems.push(problem.nearest(name, names).expected(format!("one of {}", names.join(", "))));
            }
        };
        let (row_names, entry_names) = (names_of(&rows.1), names_of(&entries.1));
        for (column, entry) in &self.on {
            let option = format!("on/{column}");
            match (rows.1.field_with_name(column), entries.1.field_with_name(entry)) {
                (Err(_), _) => problems.push(Problem::no_column(column, &option, &row_names)),
                (_, Err(_)) => problems.push(Problem::no_column(entry, &option, &entry_names)),
                (Ok(left), Ok(right)) if !comparable(left.data_type(), right.data_type()) => problems.push(
                    Problem::new(
                        code::TRANSFORM_OPTIONS,
                        format!("`{column}` is {} and `{entry}` is {}", show(left.data_type()), show(right.data_type())),
                    )
                    .option(option)
                    .help("`cast` one of them first: a key is compared as it is"),
                ),
                _ => {}
            }
        }
        let all = || entry_names.iter().filter(|name| !self.on.values().any(|key| key == *name)).map(|n| (n.clone(), n.clone()));
        let take: Vec<(String, String)> = if self.take.0.is_empty() { all().collect() } else { self.take.0.clone() };
        for (index, (new, column)) in take.iter().enumerate() {
            if !entry_names.contains(column) {
                problems.push(Problem::no_column(column, "take", &entry_names));
            }
            if row_names.contains(new) || take[..index].iter().any(|(other, _)| other == new) {
                problems.push(taken(new, "take").help(format!("`take: {{another_name: {column}}}`")));
            }
        }
        if problems.len() > before {
            return;
        }
        let mut columns: Vec<String> = row_names.iter().map(|name| format!("r.{0} AS {0}", quoted(name))).collect();
        columns.extend(take.iter().enumerate().map(|(at, (new, _))| format!("d.{OWN}value{at} AS {}", quoted(new))));
        let on: Vec<String> =
            self.on.keys().enumerate().map(|(at, column)| format!("r.{} = d.{OWN}key{at}", quoted(column))).collect();
        let (join, demand) = match self.on_missing.unwrap_or(OnMissing::Null) {
            OnMissing::Null => ("LEFT JOIN", String::new()),
            OnMissing::Drop => ("JOIN", String::new()),
            OnMissing::Error => {
                let shown: Vec<String> =
                    self.on.keys().map(|column| format!("coalesce(CAST(r.{} AS VARCHAR), 'NULL')", quoted(column))).collect();
                let told = text("the dictionary has no entry for ");
                let demand =
                    format!(" WHERE {REQUIRE}(d.{OWN}rank IS NOT NULL, true, concat({told}, {}))", shown.join(", ', ', "));
                ("LEFT JOIN", demand)
            }
        };
        let sql = format!(
            "SELECT {} FROM {} AS r {join} ({}) AS d ON {}{demand}",
            columns.join(", "),
            quoted(&rows.0),
            self.dictionary(&entries.0, &entry_names, &take),
            on.join(" AND ")
        );
        if let Err(error) = chain.query(&sql) {
            problems.push(Problem::query(&error, "order_by"));
        }
    }
}
