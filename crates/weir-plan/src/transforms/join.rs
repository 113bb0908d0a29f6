//! `join`: two inputs side by side.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema};
use datafusion::logical_expr::{Expr, LogicalPlan};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::join_time::{AsOf, Within};
use super::{Transform, keys};
use crate::chain::{Chain, quoted};
use crate::problem::{Problem, code};
use crate::sql::{Table, parse_expression};

/// Brings the rows of two inputs together: `input: [orders, customers]`. The first is the left one.
///
/// Keys that are NULL match nothing. Keys have one type: integers of different widths meet, all else is cast first. Two columns of one name
/// are an error that says how to tell them apart; a key named in `on: [..]` is there once. Sees all rows together and spills to disk beyond
/// the memory budget. In `mode: streaming` it says how far the times of two rows may be apart (`within`), or which version of a right row
/// counts (`as_of`), and keeps rows for so long; rows that came too late for that go to the outputs `late_left` and `late_right`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Join {
    /// Which rows there are; `inner` if absent.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["type", "join_type", "how"]))]
    kind: JoinKind,
    /// What belongs together: columns that both have (`[id]`), a map of left to right columns (`{customer_id: id}`), or a condition in SQL
    /// with the names of the inputs (`orders.customer_id = customers.id`).
    on: On,
    /// Columns under other names: `{customers.id: customer_id}`.
    #[serde(default)]
    rename: BTreeMap<String, String>,
    /// Columns to leave out: `[customers.id]`.
    #[serde(default)]
    drop: Vec<String>,
    /// Only rows whose times are not further apart than this.
    #[serde(default)]
    within: Option<Within>,
    /// The right input has versions of rows: each left row meets the one that was valid at its time. For `inner` and `left`.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["system_time"]))]
    as_of: Option<AsOf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum JoinKind {
    /// Rows that match.
    #[default]
    Inner,
    /// And left rows without a match.
    #[serde(alias = "left_outer")]
    Left,
    /// And right rows without a match.
    #[serde(alias = "right_outer")]
    Right,
    /// Both.
    #[serde(alias = "full_outer", alias = "outer")]
    Full,
    /// Left rows that have a match, each once, without columns of the right.
    #[serde(alias = "left_semi")]
    Semi,
    /// Left rows that have none.
    #[serde(alias = "left_anti")]
    Anti,
}

impl JoinKind {
    fn sql(self) -> &'static str {
        match self {
            Self::Inner => "INNER JOIN",
            Self::Left => "LEFT JOIN",
            Self::Right => "RIGHT JOIN",
            Self::Full => "FULL JOIN",
            Self::Semi => "LEFT SEMI JOIN",
            Self::Anti => "LEFT ANTI JOIN",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Inner => "inner",
            Self::Left => "left",
            Self::Right => "right",
            Self::Full => "full",
            Self::Semi => "semi",
            Self::Anti => "anti",
        }
    }

    fn left_only(self) -> bool {
        matches!(self, Self::Semi | Self::Anti)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum On {
    /// Pairs of columns, left and right.
    Keys(Vec<(String, String)>),
    Condition(String),
}

impl<'de> Deserialize<'de> for On {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "expected columns (`[id]`), a map of left to right columns, or a condition in SQL";
        let name = |value: Value| match value {
            Value::String(name) => Ok(name),
            _ => Err(D::Error::custom(EXPECTED)),
        };
        match Value::deserialize(deserializer)? {
            Value::String(condition) => Ok(Self::Condition(condition)),
            Value::Array(names) if !names.is_empty() => names
                .into_iter()
                .map(|value| name(value).map(|name| (name.clone(), name)))
                .collect::<Result<_, _>>()
                .map(Self::Keys),
            Value::Object(pairs) if !pairs.is_empty() => {
                pairs.into_iter().map(|(left, right)| Ok((left, name(right)?))).collect::<Result<_, _>>().map(Self::Keys)
            }
            _ => Err(D::Error::custom(EXPECTED)),
        }
    }
}

impl JsonSchema for On {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JoinOn".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" } },
            { "type": "object", "additionalProperties": { "type": "string" } }
        ] })
    }
}

/// One column of the result.
struct Out {
    /// `customers.id`.
    from: String,
    sql: String,
    name: String,
}

/// The outputs for rows that came too late, by side.
const LATE: [&str; 2] = ["late_left", "late_right"];

pub(super) fn names(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

pub(super) fn called(table: &Table) -> &str {
    table.names.first().map(String::as_str).unwrap_or_default()
}

impl Join {
    /// The columns of the result before it is known whether their names are different.
    fn columns(&self, left: &Table, right: &Table) -> Vec<Out> {
        let mut all = Vec::new();
        let sides = if self.kind.left_only() { vec![left] } else { vec![left, right] };
        for table in sides {
            for name in names(&table.schema) {
                let from = format!("{}.{name}", called(table));
                let mut sql = format!("{}.{}", quoted(called(table)), quoted(&name));
                if let On::Keys(pairs) = &self.on {
                    let same = pairs.iter().any(|(l, r)| l == r && *l == name);
                    // One column for both sides: whichever has it.
                    if same && std::ptr::eq(table, right) {
                        continue;
                    }
                    if same && matches!(self.kind, JoinKind::Right | JoinKind::Full) {
                        sql = format!("coalesce({sql}, {}.{})", quoted(called(right)), quoted(&name));
                    }
                }
                if self.drop.contains(&from) {
                    continue;
                }
                let name = self.rename.get(&from).cloned().unwrap_or(name);
                all.push(Out { from, sql, name });
            }
        }
        all
    }

    fn clashes(&self, columns: &[Out]) -> Vec<Problem> {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        let mut problems = Vec::new();
        for Out { from, name, .. } in columns {
            if let Some(first) = seen.get(name.as_str()) {
                let other = from.replace('.', "_");
                problems.push(
                    Problem::new(code::COLUMN, format!("two columns would be called `{name}`: `{first}` and `{from}`"))
                        .option("on")
                        .help(format!("`rename: {{{from}: {other}}}` or `drop: [{from}]`")),
                );
            } else {
                seen.insert(name, from);
            }
        }
        problems
    }

    /// Names in `rename` and `drop` that mean no column.
    fn misnamed(&self, left: &Table, right: &Table) -> Vec<Problem> {
        let known: Vec<String> = [left, right]
            .into_iter()
            .flat_map(|table| names(&table.schema).into_iter().map(|name| format!("{}.{name}", called(table))))
            .collect();
        let renamed = self.rename.keys().map(|name| (name, format!("rename/{name}")));
        let dropped = self.drop.iter().map(|name| (name, "drop".to_string()));
        renamed
            .chain(dropped)
            .filter(|(name, _)| !known.contains(name))
            .map(|(name, option)| Problem::no_column(name, &option, &known))
            .collect()
    }

    fn condition(&self, left: &Table, right: &Table, problems: &mut Vec<Problem>) -> String {
        let pairs = match &self.on {
            On::Condition(condition) => return format!("({condition})"),
            On::Keys(pairs) => pairs,
        };
        let mut parts = Vec::new();
        for (l, r) in pairs {
            let found: Vec<_> = [(left, l), (right, r)]
                .into_iter()
                .filter_map(|(table, name)| match table.schema.column_with_name(name) {
                    Some((_, field)) => Some((format!("{}.{name}", called(table)), field.data_type().clone())),
                    None => {
                        let mut problem = Problem::no_column(name, "on", &names(&table.schema));
                        problem.message = format!("`{}` has no column `{name}`", called(table));
                        problems.push(problem);
                        None
                    }
                })
                .collect();
            if let [(left, one), (right, other)] = found.as_slice()
                && let Err(problem) = keys::comparable((left, one), (right, other))
            {
                problems.push(problem.option("on"));
            }
            parts.push(format!("{}.{} = {}.{}", quoted(called(left)), quoted(l), quoted(called(right)), quoted(r)));
        }
        parts.join(" AND ")
    }
}

/// Comparisons of two columns in a join's condition whose types differ so that a cast would decide.
fn bent(plan: &LogicalPlan) -> Vec<Problem> {
    let mut problems = Vec::new();
    let _ = plan.apply(|node| {
        let LogicalPlan::Join(join) = node else { return Ok(TreeNodeRecursion::Continue) };
        let kind = |column: &Column| join.schema.field_from_column(column).ok().map(|field| field.data_type().clone());
        // Of a semi join the schema has one side only.
        let kind = |column: &Column| {
            kind(column)
                .or_else(|| join.left.schema().field_from_column(column).ok().map(|field| field.data_type().clone()))
                .or_else(|| join.right.schema().field_from_column(column).ok().map(|field| field.data_type().clone()))
        };
        let mut pair = |left: &Expr, right: &Expr| {
            if let (Expr::Column(left), Expr::Column(right)) = (left, right)
                && let (Some(one), Some(other)) = (kind(left), kind(right))
                && let Err(problem) = keys::comparable((&left.flat_name(), &one), (&right.flat_name(), &other))
            {
                problems.push(problem.option("on"));
            }
        };
        join.on.iter().for_each(|(left, right)| pair(left, right));
        if let Some(filter) = &join.filter {
            filter.apply(|part| {
                if let Expr::BinaryExpr(binary) = part
                    && binary.op.supports_propagation()
                {
                    pair(&binary.left, &binary.right);
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    problems
}

impl Transform for Join {
    fn takes_many(&self) -> bool {
        true
    }

    fn side_outputs(&self) -> Vec<String> {
        match self.within.is_some() || self.as_of.is_some() {
            true => LATE.map(String::from).to_vec(),
            false => Vec::new(),
        }
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = self.as_of.as_ref().map(AsOf::check).unwrap_or_default();
        let mut wrong =
            |message: String, option: &str| problems.push(Problem::new(code::TRANSFORM_OPTIONS, message).option(option));
        if self.as_of.is_some() {
            if self.within.is_some() {
                wrong("a version is valid until the next: there is nothing for `within` to say".into(), "within");
            }
            if !matches!(self.kind, JoinKind::Inner | JoinKind::Left) {
                wrong(format!("a join with versions is `inner` or `left`, not `{}`", self.kind.word()), "kind");
            }
            if matches!(self.on, On::Condition(_)) {
                wrong("versions are found by columns: `on: [id]` or `on: {customer_id: id}`".into(), "on");
            }
        }
        if let On::Condition(condition) = &self.on
            && !super::sql::has_reference(condition)
            && let Err(error) = parse_expression(condition)
        {
            problems.push(Problem::query(&error, "on"));
        }
        let mut seen = BTreeSet::new();
        for name in self.drop.iter().chain(self.rename.keys()).filter(|name| !seen.insert(name.as_str())) {
            problems.push(
                Problem::new(code::TRANSFORM_OPTIONS, format!("`{name}` is both renamed and dropped, or dropped twice"))
                    .option("drop"),
            );
        }
        problems
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let tables = chain.tables();
        let [left, right] = tables.as_slice() else {
            let message =
                format!("`join` brings two inputs together, here {}", if tables.len() == 1 { "is one" } else { "are more" });
            problems.push(
                Problem::new(code::SHAPE, message)
                    .option("input")
                    .help("`input: [orders, customers]`; a third is joined by a `join` of its own"),
            );
            return;
        };
        problems.extend(self.misnamed(left, right));
        let columns = self.columns(left, right);
        problems.extend(self.clashes(&columns));
        let mut condition = self.condition(left, right, problems);
        let mut of_right = quoted(called(right));
        if let Some(within) = &self.within {
            condition = format!("{condition} AND {}", within.condition(left, right, problems));
        }
        if let (Some(as_of), On::Keys(pairs)) = (&self.as_of, &self.on) {
            let keys: Vec<String> = pairs.iter().map(|(_, right)| right.clone()).collect();
            condition = format!("{condition} AND {}", as_of.condition(left, right, problems));
            of_right = as_of.table(right, &keys);
        }
        if !problems.is_empty() {
            return;
        }
        let chosen: Vec<String> = columns.iter().map(|out| format!("{} AS {}", out.sql, quoted(&out.name))).collect();
        let sql =
            format!("SELECT {} FROM {} {} {} ON {condition}", chosen.join(", "), quoted(called(left)), self.kind.sql(), of_right);
        if !self.side_outputs().is_empty() {
            for (input, name) in LATE.into_iter().enumerate() {
                if let Err(error) = chain.late_port(name, input) {
                    return problems.push(Problem::query(&error, "on"));
                }
            }
        }
        match chain.session().query(&sql, &tables) {
            Ok(planned) => problems.extend(bent(&planned.plan)),
            Err(error) => problems.push(Problem::query(&error, "on")),
        }
        if problems.is_empty()
            && let Err(error) = chain.query(&sql)
        {
            problems.push(Problem::query(&error, "on"));
        }
    }
}
