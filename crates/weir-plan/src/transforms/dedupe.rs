//! `dedupe`: one row per key, or distinct rows.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Transform;
use crate::chain::{Chain, quoted};
use crate::keyed::{DedupeRule, Keep};
use crate::problem::{Problem, code};
use crate::sql::parse_query;

/// Keeps one row per key; without a key, one of each set of equal rows.
///
/// Which row stays does not depend on the order in which rows were read: it is the first (or last) by `order_by`, and among equals
/// the smallest (or largest) by the remaining columns. Rows whose key is NULL count as one group. Sees all rows
/// together and spills to disk beyond the memory budget.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dedupe {
    /// Columns of the key.
    #[serde(default)]
    key: Vec<String>,
    /// SQL order within a key: `updated_at desc`. Only with `key`.
    #[serde(default)]
    order_by: Option<String>,
    /// Which row of the order stays; `first` if absent. Only with `key`.
    #[serde(default)]
    keep: Option<Keep>,
    /// `mode: streaming`: for how many milliseconds of event time after its row a key is remembered. There `keep: first` passes the first row that
    /// comes, and `keep: last` every row that is not older than the one before.
    #[serde(default)]
    #[schemars(extend("x-weir-aliases" = ["ttl", "state_ttl_ms"]))]
    ttl_ms: Option<u32>,
}

impl Dedupe {
    /// What it means for a stream.
    fn mark(&self, chain: &mut Chain<'_>, keys: Vec<usize>, columns: &[String]) {
        if let (Some(_), false) = (self.ttl_ms, chain.streaming()) {
            chain.notes.push(format!("`ttl_ms` of `{}` is for `mode: streaming`: here every row is seen anyway", chain.node()));
        }
        // An order is the event time if it is that column and nothing else; which one is, the stream knows.
        let order = self.order_by.as_ref().map(|order| columns.iter().position(|name| name == order.trim()));
        chain.mark_dedupe(DedupeRule { keys, keep: self.keep.unwrap_or(Keep::First), order, ttl_ms: self.ttl_ms });
    }

    fn query(&self, columns: &[String], sortable: &[String]) -> String {
        const RANK: &str = "__weir_rank";
        let names = columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let key = self.key.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let last = self.keep == Some(Keep::Last);
        let rest: Vec<String> = sortable
            .iter()
            .filter(|name| !self.key.contains(name))
            .map(|name| format!("{} {}", quoted(name), if last { "DESC NULLS LAST" } else { "ASC NULLS LAST" }))
            .collect();
        let order: Vec<String> = match &self.order_by {
            Some(order) if last => std::iter::once(reversed(order)).chain(rest).collect(),
            Some(order) => std::iter::once(order.clone()).chain(rest).collect(),
            None => rest,
        };
        let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
        format!(
            "SELECT {names} FROM (SELECT {names}, row_number() OVER (PARTITION BY {key}{order}) AS {RANK} FROM input) \
             WHERE {RANK} = 1"
        )
    }
}

/// Turns an ORDER BY list around. It was parsed before, so a comma outside brackets and quotes separates its parts.
fn reversed(order: &str) -> String {
    split_order(order)
        .iter()
        .map(|part| {
            let lower = part.to_ascii_lowercase();
            let (body, nulls) = match lower.rfind(" nulls ") {
                Some(cut) => (&part[..cut], Some(lower[cut..].contains("first"))),
                None => (part.as_str(), None),
            };
            let trimmed = body.trim_end();
            let lower = trimmed.to_ascii_lowercase();
            let (body, descending) = if let Some(cut) = lower.strip_suffix(" desc") {
                (&trimmed[..cut.len()], true)
            } else if let Some(cut) = lower.strip_suffix(" asc") {
                (&trimmed[..cut.len()], false)
            } else {
                (trimmed, false)
            };
            // SQL's default: NULLs are larger than everything.
            let nulls_first = nulls.unwrap_or(descending);
            let direction = if descending { "ASC" } else { "DESC" };
            format!("{body} {direction} NULLS {}", if nulls_first { "LAST" } else { "FIRST" })
        })
        .collect::<Vec<_>>()
        .join(", ")
}

fn split_order(order: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quote) = (vec![String::new()], 0i32, None);
    for c in order.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    parts.into_iter().map(|part| part.trim().to_string()).collect()
}

impl Transform for Dedupe {
    fn check(&self) -> Vec<Problem> {
        if self.key.is_empty() && (self.order_by.is_some() || self.keep.is_some()) {
            return vec![
                Problem::new(
                    code::TRANSFORM_OPTIONS,
                    "`order_by` and `keep` choose among the rows of a key, and there is no `key`",
                )
                .help("add `key: [..]`; without a key only equal rows are dropped"),
            ];
        }
        if let Some(order) = &self.order_by
            && let Err(error) = parse_query(&format!("SELECT 1 FROM input ORDER BY {order}"))
        {
            return vec![Problem::query(&error, "order_by")];
        }
        Vec::new()
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let schema = chain.schema();
        let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let missing: Vec<&String> = self.key.iter().filter(|name| !columns.contains(name)).collect();
        if !missing.is_empty() {
            problems.extend(missing.into_iter().map(|name| Problem::no_column(name, "key", &columns)));
            return;
        }
        if self.key.is_empty() {
            match chain.query("SELECT DISTINCT * FROM input") {
                Ok(()) => self.mark(chain, (0..columns.len()).collect(), &columns),
                Err(error) => problems.push(Problem::query(&error, "key")),
            }
            return;
        }
        let sortable: Vec<String> =
            schema.fields().iter().filter(|f| !f.data_type().is_nested()).map(|f| f.name().clone()).collect();
        match chain.query(&self.query(&columns, &sortable)) {
            Ok(()) => {
                let place = |name: &String| columns.iter().position(|column| column == name);
                self.mark(chain, self.key.iter().filter_map(place).collect(), &columns);
            }
            Err(error) => problems.push(Problem::query(&error, "order_by")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reversed;

    #[test]
    fn an_order_turned_around_turns_nulls_around_too() {
        assert_eq!(
            reversed("a desc, coalesce(b, 'x,y') , c asc nulls first"),
            "a ASC NULLS LAST, coalesce(b, 'x,y') DESC NULLS FIRST, c DESC NULLS LAST"
        );
    }
}
