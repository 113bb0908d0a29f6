//! Transforms as queries, one view per node and output, for the engines that speak SQL. What sees one row at a time is in `rows`, what
//! sees
//! several in `together`.

mod rows;
mod together;

use arrow::datatypes::SchemaRef;
use serde_json::Value;
use weir_spec::model::{Input, Node};

use super::dialect::{Dialect, Names};
use super::shapes::{address, stream_name};
use super::{Compiling, identifier};

/// A transform's own name, whatever alias the file has.
pub fn transform_name(kind: &str) -> &str {
    match kind {
        "field_mapping" => "field_mapper",
        "deduplicate" => "dedupe",
        "unnest" => "explode",
        "melt" => "unpivot",
        "jsonpath" => "json_path",
        "infer_schema" => "schema_inference",
        "nlp_enrichment" => "nlp",
        "aggregation" => "aggregate",
        "quality" => "data_quality",
        other => other,
    }
}

/// The routes of a `split` in order: name and predicate; `None` as the predicate of the one that takes what is left.
pub fn routes(node: &Node) -> Option<Vec<(String, Option<String>)>> {
    if node.kind != "split" {
        return None;
    }
    let map = node.options.as_object()?;
    let mut routes = Vec::new();
    let mut otherwise = None;
    for (name, value) in map.iter().filter(|(name, _)| !matches!(name.as_str(), "routes" | "by" | "values" | "unmatched")) {
        match value.as_str()? {
            "default" => otherwise = Some(name.clone()),
            predicate => routes.push((name.clone(), Some(predicate.to_string()))),
        }
    }
    for route in map.get("routes").and_then(Value::as_array).into_iter().flatten() {
        let part = |name: &str| route.get(name).and_then(Value::as_str).map(ToString::to_string);
        routes.push((part("name")?, part("where")));
    }
    if let Some(column) = map.get("by").and_then(Value::as_str) {
        let quoted = format!("\"{}\"", column.replace('"', "\"\""));
        let literal = |value: &Value| match value {
            Value::String(text) => format!("'{}'", text.replace('\'', "''")),
            other => other.to_string(),
        };
        let one_of = |value: &Value| match value {
            Value::Array(all) => format!("{quoted} IN ({})", all.iter().map(literal).collect::<Vec<_>>().join(", ")),
            one => format!("{quoted} = {}", literal(one)),
        };
        match map.get("values")? {
            Value::Array(all) => {
                for value in all {
                    let name = value.as_str().map_or_else(|| value.to_string(), ToString::to_string);
                    routes.push((name, Some(one_of(value))));
                }
            }
            Value::Object(all) => routes.extend(all.iter().map(|(name, value)| (name.clone(), Some(one_of(value))))),
            _ => return None,
        }
    }
    let unmatched =
        map.get("unmatched").and_then(Value::as_str).filter(|word| !matches!(*word, "error" | "dead_letter" | "drop"));
    if let Some(name) = otherwise.or_else(|| unmatched.map(Into::into)) {
        routes.push((name, None));
    }
    Some(routes)
}

/// A view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: String,
    /// The query.
    pub sql: String,
}

/// Which transforms these are: those that have a query in `dialect`.
pub fn expressible(kind: &str, dialect: Dialect) -> bool {
    let everywhere = ["sql", "filter", "field_mapper", "cast", "split"];
    match dialect {
        Dialect::Flink | Dialect::Spark => {
            everywhere.contains(&kind) || matches!(kind, "dedupe" | "join" | "aggregate" | "window" | "watermark" | "json_path")
        }
        Dialect::SeaTunnel => everywhere.contains(&kind),
    }
}

/// The name of the view behind an input, of one stream of several.
pub fn view_name(input: &Input, stream: Option<&str>) -> String {
    let mut name = identifier(&input.node);
    for part in [input.port.as_deref(), stream].into_iter().flatten() {
        name.push_str("__");
        name.push_str(&identifier(part));
    }
    name
}

/// Lowers the transforms of one lane of the pipeline.
pub struct Lowering<'c> {
    /// The compilation.
    pub compiling: &'c Compiling<'c>,
    /// Whose SQL.
    pub dialect: Dialect,
    /// The stream, where a source has several.
    pub stream: Option<&'c str>,
}

impl Lowering<'_> {
    /// The views of a transform, in order. What cannot be said is told; then there may be none.
    pub fn views(&self, node: &Node) -> Vec<View> {
        let kind = transform_name(&node.kind);
        if !expressible(kind, self.dialect) {
            self.refuse(node, None, &format!("has no `{kind}` that gives the same rows"), alternatives(kind));
            return Vec::new();
        }
        if kind == "split" {
            return self.split(node);
        }
        let query = match kind {
            "sql" => self.sql(node),
            "filter" => self.filter(node),
            "field_mapper" => self.field_mapper(node),
            "cast" => self.cast(node),
            "dedupe" => self.dedupe(node),
            "join" => self.join(node),
            "aggregate" => self.aggregate(node),
            "window" => self.window(node),
            "json_path" => self.json_path(node),
            _ => Some(format!("SELECT * FROM {}", self.from(node))),
        };
        let name = view_name(&Input { node: node.name.clone(), port: None }, self.stream);
        query.map(|sql| View { name, sql }).into_iter().collect()
    }

    fn refuse(&self, node: &Node, option: Option<&str>, why: &str, alternatives: &str) {
        self.compiling.refuse(node, option, why, alternatives);
    }

    /// The columns that feed a node.
    fn columns(&self, node: &Node) -> Option<SchemaRef> {
        self.compiling.shapes.columns(&address(node.inputs.first()?), self.stream)
    }

    fn known(&self, node: &Node, for_what: &str) -> Option<SchemaRef> {
        let found = self.columns(node);
        if found.is_none() {
            self.refuse(
                node,
                None,
                &format!("needs to know the columns for {for_what}"),
                "declare them at the source (`columns`), or compile with --connect",
            );
        }
        found
    }

    fn inputs_of(&self, node: &Node) -> Vec<SchemaRef> {
        node.inputs.iter().filter_map(|input| self.compiling.shapes.columns(&address(input), self.stream)).collect()
    }

    fn names_of(&self, node: &Node) -> Vec<String> {
        let all = self.inputs_of(node);
        all.iter().flat_map(|schema| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()).collect()
    }

    fn quoted(&self, name: &str) -> String {
        self.dialect.name(name)
    }

    /// The view that feeds a node with one input.
    fn from(&self, node: &Node) -> String {
        node.inputs.first().map(|input| self.quoted(&view_name(input, self.stream))).unwrap_or_default()
    }

    /// How a query may call its inputs.
    fn tables(&self, node: &Node) -> Vec<(Vec<String>, String)> {
        let each = node.inputs.iter().map(|input| {
            let mut names = vec![address(input), input.node.clone()];
            if node.inputs.len() == 1 {
                names.push("input".into());
                // The source's own name, as far up as there is one way.
                let mut at = self.compiling.pipeline().node(&input.node);
                while let Some(upstream) = at {
                    match upstream.inputs.as_slice() {
                        [] => {
                            let stream = self.stream.map_or_else(|| stream_name(upstream), ToString::to_string);
                            names.extend(stream.rsplit('.').next().map(ToString::to_string));
                            names.push(stream);
                            at = None;
                        }
                        [one] => at = self.compiling.pipeline().node(&one.node),
                        _ => at = None,
                    }
                }
            }
            (names, view_name(input, self.stream))
        });
        each.collect()
    }

    fn translate(&self, node: &Node, option: &str, sql: &str, tables: &Names) -> Option<String> {
        if sql.contains("${") || sql.contains("{{") {
            self.refuse(node, Some(option), "is given no references inside of SQL", "write the value, or use the native engine");
            return None;
        }
        let adapted = match self.dialect {
            Dialect::SeaTunnel => super::zeta::adapt(sql, &self.inputs_of(node)),
            Dialect::Flink | Dialect::Spark => Ok((sql.to_owned(), Vec::new())),
        };
        let translated = adapted.and_then(|(sql, notes)| {
            let mut done = self.dialect.translate(&sql, tables, &self.names_of(node))?;
            done.notes.extend(notes);
            Ok(done)
        });
        match translated {
            Err(why) => {
                self.refuse(
                    node,
                    Some(option),
                    &format!("cannot take this SQL: {why}"),
                    "another way to write it, or the native engine",
                );
                None
            }
            Ok(done) => {
                if self.dialect == Dialect::SeaTunnel && (done.joins || done.together) {
                    let what = if done.joins { "joins" } else { "aggregates, groups or orders" };
                    self.refuse(
                        node,
                        Some(option),
                        &format!("has SQL for one row at a time, and this {what}"),
                        "the native engine, Flink or Spark",
                    );
                    return None;
                }
                for note in done.notes {
                    self.compiling.note(format!("`{}`: {note}", node.name));
                }
                Some(done.sql)
            }
        }
    }

    /// An expression over the node's one input.
    fn expression(&self, node: &Node, option: &str, sql: &str) -> Option<String> {
        self.translate(node, option, sql, &[])
    }

    /// The same, for those who make their own queries.
    pub fn translated(&self, node: &Node, option: &str, sql: &str) -> Option<String> {
        self.expression(node, option, sql)
    }

    fn text<'n>(&self, node: &'n Node, option: &str) -> Option<&'n str> {
        node.options.get(option).and_then(Value::as_str)
    }

    fn list(&self, node: &Node, option: &str) -> Vec<String> {
        match node.options.get(option) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(Into::into).collect(),
            _ => Vec::new(),
        }
    }

    fn sql(&self, node: &Node) -> Option<String> {
        self.translate(node, "query", self.text(node, "query")?, &self.tables(node))
    }

    fn filter(&self, node: &Node) -> Option<String> {
        let predicate = self.expression(node, "where", self.text(node, "where")?)?;
        Some(format!("SELECT * FROM {} WHERE {predicate}", self.from(node)))
    }
}

/// What to do without a transform.
pub fn alternatives(kind: &str) -> &'static str {
    match kind {
        "join" | "aggregate" | "window" | "dedupe" => "Flink, Spark, or the native engine",
        "lookup" => "`join` with `kind: left`, or the native engine",
        "data_quality" => "`filter` for rows that are to be dropped, or the native engine",
        "schema_inference" => "a `cast` with the types that `weir plan` shows, or the native engine",
        _ => "the native engine",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use weir_spec::Role;

    #[test]
    fn routes_are_read_in_every_form() {
        let node =
            |options: Value| Node { name: "s".into(), role: Role::Transform, kind: "split".into(), inputs: Vec::new(), options };
        let short = routes(&node(json!({"eu": "region = 'EU'", "rest": "default"}))).unwrap();
        assert_eq!(short, [("eu".into(), Some("region = 'EU'".into())), ("rest".into(), None)]);
        let by =
            routes(&node(json!({"by": "region", "values": {"eu": "EU", "us": ["US", "CA"]}, "unmatched": "other"}))).unwrap();
        assert_eq!(by[1], ("us".into(), Some("\"region\" IN ('US', 'CA')".into())));
        assert_eq!(by[2], ("other".into(), None));
    }
}
