//! Transforms as queries, one view per node and output, for the engines that speak SQL.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, SchemaRef};
use serde_json::Value;
use weir_plan::TypeWord;
use weir_spec::model::{Input, Node};

use super::dialect::{Dialect, Names};
use super::shapes::{address, stream_name};
use super::types::widens;
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

    fn names_of(&self, node: &Node) -> Vec<String> {
        let all = node.inputs.iter().filter_map(|input| self.compiling.shapes.columns(&address(input), self.stream));
        all.flat_map(|schema| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()).collect()
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
        match self.dialect.translate(sql, tables, &self.names_of(node)) {
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

    /// A row goes to the first route whose predicate is true.
    fn split(&self, node: &Node) -> Vec<View> {
        let Some(routes) = routes(node) else {
            self.refuse(node, None, "is given no routes", "");
            return Vec::new();
        };
        let unmatched = self.text(node, "unmatched").unwrap_or("error");
        let covered = routes.iter().any(|(_, predicate)| predicate.is_none());
        if !covered && unmatched != "drop" {
            let why = "cannot end or set rows aside that no route takes";
            self.refuse(node, Some("unmatched"), why, "a route that is `default`, or `unmatched: drop`");
        }
        let mut views = Vec::new();
        let mut before: Vec<String> = Vec::new();
        for (name, predicate) in routes {
            let own = match predicate {
                Some(sql) => match self.expression(node, &name, &sql) {
                    Some(sql) => Some(format!("({sql})")),
                    None => continue,
                },
                None => None,
            };
            // NULL is not true; `IS NOT TRUE` is not in every engine's parser.
            let others = before.iter().map(|taken| format!("COALESCE({taken}, FALSE) = FALSE"));
            let all: Vec<String> = others.chain(own.clone()).collect();
            let rest = if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) };
            let input = Input { node: node.name.clone(), port: Some(name) };
            views.push(View { name: view_name(&input, self.stream), sql: format!("SELECT * FROM {}{rest}", self.from(node)) });
            before.extend(own);
        }
        views
    }

    /// A type word there; with the note that a value which does not fit has another fate.
    fn cast_of(&self, node: &Node, column: &str, from: &DataType, word: &str, try_cast: bool) -> Option<String> {
        let to = TypeWord::parse(word).ok()?;
        let theirs = match self.dialect {
            Dialect::Flink => super::types::flink(&to.data_type),
            Dialect::Spark => super::types::spark(&to.data_type),
            Dialect::SeaTunnel => super::types::seatunnel(&to.data_type).map(|word| word.to_uppercase()),
        };
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(why) => {
                self.refuse(node, Some("cast"), &why, "another type, or the native engine");
                return None;
            }
        };
        if to.json {
            self.refuse(node, Some("cast"), "does not hold text to being JSON", "`text`, or the native engine");
            return None;
        }
        let from_text = matches!(from, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        if !widens(from, &to.data_type) && !from_text {
            let why =
                format!("may round or cut `{column}` unseen: {} does not hold every {}", theirs, weir_plan::show_type(from));
            self.refuse(node, Some("cast"), &why, "a wider type, SQL that says how to round, or the native engine");
            return None;
        }
        if from_text {
            self.compiling.note(format!(
                "`{}`: text in `{column}` that is no {word} ends the job; more digits than the type has are cut or rounded, natively they are an error",
                node.name
            ));
        }
        let function = if try_cast && self.dialect != Dialect::SeaTunnel { "TRY_CAST" } else { "CAST" };
        Some(format!("{function}({} AS {theirs})", self.quoted(column)))
    }

    fn on_error(&self, node: &Node) -> bool {
        match self.text(node, "on_error") {
            Some("null") => true,
            Some("dead_letter") => {
                self.refuse(node, Some("on_error"), "sets no rows aside", "`on_error: error` or `null`, or the native engine");
                false
            }
            _ => false,
        }
    }

    fn cast(&self, node: &Node) -> Option<String> {
        let columns = self.known(node, "a cast")?;
        let casts = node.options.get("columns")?.as_object()?;
        let null = self.on_error(node);
        let each: Option<Vec<String>> = columns
            .fields()
            .iter()
            .map(|field| match casts.get(field.name()).and_then(Value::as_str) {
                None => Some(self.quoted(field.name())),
                Some(word) => {
                    let cast = self.cast_of(node, field.name(), field.data_type(), word, null)?;
                    Some(format!("{cast} AS {}", self.quoted(field.name())))
                }
            })
            .collect();
        Some(format!("SELECT {} FROM {}", each?.join(", "), self.from(node)))
    }

    fn field_mapper(&self, node: &Node) -> Option<String> {
        let columns = self.known(node, "a field_mapper")?;
        let map = |option: &str| -> BTreeMap<String, Value> {
            node.options.get(option).and_then(Value::as_object).map(|map| map.clone().into_iter().collect()).unwrap_or_default()
        };
        let (rename, casts, constants) = (map("rename"), map("cast"), map("constants"));
        let (drop, select) = (self.list(node, "drop"), self.list(node, "select"));
        let null = self.on_error(node);
        let mut out: Vec<(String, String)> = Vec::new();
        for field in columns.fields().iter().filter(|field| !drop.contains(field.name())) {
            let name = rename.get(field.name()).and_then(Value::as_str).unwrap_or(field.name()).to_string();
            // A cast names the column as it is called afterwards, or before.
            let word = casts.get(&name).or_else(|| casts.get(field.name())).and_then(Value::as_str);
            let value = match word {
                Some(word) => self.cast_of(node, field.name(), field.data_type(), word, null)?,
                None => self.quoted(field.name()),
            };
            out.push((name, value));
        }
        for (name, value) in constants {
            let literal = match &value {
                Value::String(text) if text.contains("${") || text.contains("{{") => {
                    self.refuse(
                        node,
                        Some("constants"),
                        "is given no references inside of SQL",
                        "write the value, or use the native engine",
                    );
                    return None;
                }
                Value::String(text) => self.dialect.literal(text),
                Value::Null => {
                    self.refuse(node, Some("constants"), "needs a value for each constant", "a value");
                    return None;
                }
                other => other.to_string(),
            };
            out.push((name, literal));
        }
        if !select.is_empty() {
            let chosen: Vec<(String, String)> =
                select.iter().filter_map(|name| out.iter().find(|(known, _)| known == name).cloned()).collect();
            out = chosen;
        }
        let each: Vec<String> = out
            .iter()
            .map(|(name, value)| {
                let name = self.quoted(name);
                if *value == name { name } else { format!("{value} AS {name}") }
            })
            .collect();
        Some(format!("SELECT {} FROM {}", each.join(", "), self.from(node)))
    }

    fn dedupe(&self, node: &Node) -> Option<String> {
        let key = self.list(node, "key");
        if key.is_empty() {
            return Some(format!("SELECT DISTINCT * FROM {}", self.from(node)));
        }
        let columns = self.known(node, "a dedupe")?;
        let last = self.text(node, "keep") == Some("last");
        let direction = if last { "DESC" } else { "ASC" };
        let mut order = Vec::new();
        if let Some(written) = self.text(node, "order_by") {
            for part in written.split(',') {
                let part = part.trim();
                let lower = part.to_lowercase();
                let (name, down) = match lower.strip_suffix(" desc") {
                    Some(_) => (part[..part.len() - 5].trim(), true),
                    None => (part.strip_suffix(" asc").or_else(|| part.strip_suffix(" ASC")).unwrap_or(part).trim(), false),
                };
                let down = down != last;
                let name = self.expression(node, "order_by", name)?;
                // NULL is last natively when ascending, and first when descending.
                order.push(if down { format!("{name} DESC NULLS FIRST") } else { format!("{name} ASC NULLS LAST") });
            }
        }
        let streaming = !self.compiling.bounded();
        if !streaming {
            // Among equals natively the smallest (largest) by the columns that are left.
            let rest = columns.fields().iter().filter(|field| !key.contains(field.name()));
            order.extend(rest.map(|field| {
                let nulls = if last { "NULLS FIRST" } else { "NULLS LAST" };
                format!("{} {direction} {nulls}", self.quoted(field.name()))
            }));
        } else if order.is_empty() {
            self.refuse(node, Some("order_by"), "needs the time by which a stream is ordered", "`order_by` with the event time");
            return None;
        } else if self.dialect == Dialect::Flink {
            // A stream is deduplicated by its time attribute, which is never NULL.
            order = order.into_iter().map(|part| part.replace(" NULLS LAST", "").replace(" NULLS FIRST", "")).collect();
        }
        let all: Vec<String> = columns.fields().iter().map(|field| self.quoted(field.name())).collect();
        let keys: Vec<String> = key.iter().map(|name| self.quoted(name)).collect();
        if self.dialect == Dialect::Spark && streaming {
            self.refuse(node, None, "has no ROW_NUMBER over a stream", "Flink, or the native engine");
            return None;
        }
        if node.options.get("ttl_ms").is_some_and(|ttl| !ttl.is_null()) {
            self.compiling
                .note(format!("`{}.ttl_ms`: on Flink `table.exec.state.ttl` says how long keys are remembered", node.name));
        }
        Some(format!(
            "SELECT {all} FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {order}) AS `weir_row` FROM {from}) WHERE `weir_row` = 1",
            all = all.join(", "),
            keys = keys.join(", "),
            order = order.join(", "),
            from = self.from(node),
        ))
    }

    fn join(&self, node: &Node) -> Option<String> {
        let [left, right, ..] = node.inputs.as_slice() else { return None };
        let shape = |input: &Input| self.compiling.shapes.columns(&address(input), self.stream);
        let (Some(of_left), Some(of_right)) = (shape(left), shape(right)) else {
            self.refuse(
                node,
                None,
                "needs to know the columns of both inputs for a join",
                "declare them at the sources (`columns`), or compile with --connect",
            );
            return None;
        };
        let (l, r) = (view_name(left, self.stream), view_name(right, self.stream));
        let (ql, qr) = (self.quoted(&l), self.quoted(&r));
        let kind = match self.text(node, "kind").unwrap_or("inner") {
            "left" | "left_outer" => "LEFT JOIN",
            "right" | "right_outer" => "RIGHT JOIN",
            "full" | "full_outer" | "outer" => "FULL JOIN",
            "inner" => "JOIN",
            other => {
                self.refuse(
                    node,
                    Some("kind"),
                    &format!("is compiled without `{other}` joins"),
                    "`sql` with EXISTS or NOT EXISTS",
                );
                return None;
            }
        };
        let mut shared: Vec<String> = Vec::new();
        let on = match node.options.get("on")? {
            Value::String(condition) => {
                let tables =
                    [(vec![address(left), left.node.clone()], l.clone()), (vec![address(right), right.node.clone()], r.clone())];
                self.translate(node, "on", condition, &tables)?
            }
            Value::Array(names) => {
                shared = names.iter().filter_map(Value::as_str).map(Into::into).collect();
                let each: Vec<String> = shared.iter().map(|name| format!("{ql}.{0} = {qr}.{0}", self.quoted(name))).collect();
                each.join(" AND ")
            }
            Value::Object(pairs) => {
                let each: Vec<String> = pairs
                    .iter()
                    .filter_map(|(from, to)| Some(format!("{ql}.{} = {qr}.{}", self.quoted(from), self.quoted(to.as_str()?))))
                    .collect();
                each.join(" AND ")
            }
            _ => return None,
        };
        let drop = self.list(node, "drop");
        let rename: BTreeMap<String, String> =
            node.options.get("rename").and_then(Value::as_object).map_or_else(BTreeMap::new, |map| {
                map.iter().filter_map(|(from, to)| Some((from.clone(), to.as_str()?.to_string()))).collect()
            });
        let mut out = Vec::new();
        for (input, columns, view, is_right) in [(left, &of_left, &ql, false), (right, &of_right, &qr, true)] {
            for field in columns.fields() {
                let name = field.name();
                let spellings = [format!("{}.{name}", input.node), name.clone()];
                if drop.iter().any(|dropped| *dropped == spellings[0]) || (is_right && shared.contains(name)) {
                    continue;
                }
                let target = spellings.iter().find_map(|spelling| rename.get(spelling)).unwrap_or(name);
                let value = match shared.contains(name) {
                    // With whichever side has it.
                    true if kind != "JOIN" && kind != "LEFT JOIN" => format!("COALESCE({ql}.{0}, {qr}.{0})", self.quoted(name)),
                    _ => format!("{view}.{}", self.quoted(name)),
                };
                out.push(format!("{value} AS {}", self.quoted(target)));
            }
        }
        Some(format!("SELECT {} FROM {ql} {kind} {qr} ON {on}", out.join(", ")))
    }

    /// One measure in SQL.
    fn measure(&self, node: &Node, value: &Value) -> Option<String> {
        if let Some(sql) = value.as_str() {
            return self.expression(node, "select", sql);
        }
        let part = |name: &str| value.get(name).and_then(Value::as_str);
        let column = part("column").map(|name| self.quoted(name));
        let function = part("function")?;
        let inner = match function {
            "count" => format!("COUNT({})", column.unwrap_or_else(|| "*".into())),
            "count_distinct" => format!("COUNT(DISTINCT {})", column?),
            "sum" | "min" | "max" => format!("{}({})", function.to_uppercase(), column?),
            other => {
                let why = format!("is compiled without `{other}`, which gives other values there");
                self.refuse(node, Some("select"), &why, "SQL of the engine's own in `sql`, or the native engine");
                return None;
            }
        };
        match part("where") {
            None => Some(inner),
            Some(predicate) => Some(format!("{inner} FILTER (WHERE {})", self.expression(node, "select", predicate)?)),
        }
    }

    fn measures(&self, node: &Node) -> Option<Vec<String>> {
        let select = node.options.get("select")?.as_object()?;
        select.iter().map(|(name, value)| Some(format!("{} AS {}", self.measure(node, value)?, self.quoted(name)))).collect()
    }

    fn aggregate(&self, node: &Node) -> Option<String> {
        let key: Vec<String> = self.list(node, "group_by").iter().map(|name| self.quoted(name)).collect();
        let out: Vec<String> = key.iter().cloned().chain(self.measures(node)?).collect();
        let group = if key.is_empty() { String::new() } else { format!(" GROUP BY {}", key.join(", ")) };
        self.compiling.note(format!(
            "`{}`: a sum that does not fit ends the run natively; on the engine it may wrap around or be NULL",
            node.name
        ));
        Some(format!("SELECT {} FROM {}{group}", out.join(", "), self.from(node)))
    }

    fn window(&self, node: &Node) -> Option<String> {
        let measures = self.measures(node)?;
        let on = self.text(node, "on")?;
        let key: Vec<String> = self.list(node, "group_by").iter().map(|name| self.quoted(name)).collect();
        let lateness = node.options.get("allowed_lateness_ms").and_then(Value::as_u64).unwrap_or(0);
        if lateness > 0 && !self.compiling.bounded() {
            self.refuse(
                node,
                Some("allowed_lateness_ms"),
                "closes a window for good",
                "a larger `max_lateness_ms` at the source, or the native engine",
            );
        }
        if self.text(node, "nulls") != Some("drop") {
            self.compiling
                .note(format!("`{}`: a row without a time ends the run natively; the engine may leave it out", node.name));
        }
        match self.dialect {
            Dialect::Flink => self.flink_window(node, on, &key, &measures),
            _ => self.spark_window(node, on, &key, &measures),
        }
    }

    fn flink_window(&self, node: &Node, on: &str, key: &[String], measures: &[String]) -> Option<String> {
        let from = self.from(node);
        let time = format!("DESCRIPTOR({})", self.quoted(on));
        let interval = |option: &str| self.text(node, option).and_then(seconds);
        let part = |option: &str, name: &str| node.options.get(option)?.get(name)?.as_str().and_then(seconds);
        let offset = interval("offset").map_or(String::new(), |offset| format!(", {offset}"));
        let call = if let Some(size) = interval("tumble") {
            format!("TUMBLE(TABLE {from}, {time}, {size}{offset})")
        } else if let (Some(size), Some(slide)) = (part("hop", "size"), part("hop", "slide")) {
            format!("HOP(TABLE {from}, {time}, {slide}, {size}{offset})")
        } else if let (Some(size), Some(step)) = (part("cumulate", "size"), part("cumulate", "step")) {
            format!("CUMULATE(TABLE {from}, {time}, {step}, {size}{offset})")
        } else {
            let gap = interval("session")?;
            if self.compiling.bounded() {
                self.refuse(node, Some("session"), "has sessions in streams only", "`mode: streaming`, or the native engine");
                return None;
            }
            let by = if key.is_empty() { String::new() } else { format!(" PARTITION BY ({})", key.join(", ")) };
            format!("SESSION(TABLE {from}{by}, {time}, {gap})")
        };
        let group: Vec<String> =
            ["window_start".to_string(), "window_end".into()].into_iter().chain(key.iter().cloned()).collect();
        let out: Vec<String> = group.iter().cloned().chain(measures.iter().cloned()).collect();
        Some(format!("SELECT {} FROM TABLE({call}) GROUP BY {}", out.join(", "), group.join(", ")))
    }

    fn spark_window(&self, node: &Node, on: &str, key: &[String], measures: &[String]) -> Option<String> {
        let from = self.from(node);
        let time = self.quoted(on);
        let length = |text: &str| weir_spec::units::duration_ms(text).map(|ms| format!("'{ms} milliseconds'"));
        let interval = |option: &str| self.text(node, option).and_then(length);
        let part = |option: &str, name: &str| node.options.get(option)?.get(name)?.as_str().and_then(length);
        let offset = interval("offset");
        let window = if let Some(size) = interval("tumble") {
            match offset {
                Some(offset) => format!("window({time}, {size}, {size}, {offset})"),
                None => format!("window({time}, {size})"),
            }
        } else if let (Some(size), Some(slide)) = (part("hop", "size"), part("hop", "slide")) {
            match offset {
                Some(offset) => format!("window({time}, {size}, {slide}, {offset})"),
                None => format!("window({time}, {size}, {slide})"),
            }
        } else if let Some(gap) = interval("session") {
            format!("session_window({time}, {gap})")
        } else {
            self.refuse(node, Some("cumulate"), "has no windows that grow", "Flink, or the native engine");
            return None;
        };
        let name = if window.starts_with("session") { "session_window" } else { "window" };
        let mut out = vec![format!("{name}.start AS `window_start`"), format!("{name}.end AS `window_end`")];
        out.extend(key.iter().cloned());
        out.extend(measures.iter().cloned());
        let group: Vec<String> = std::iter::once(window).chain(key.iter().cloned()).collect();
        Some(format!("SELECT {} FROM {from} GROUP BY {}", out.join(", "), group.join(", ")))
    }

    fn json_path(&self, node: &Node) -> Option<String> {
        let columns = self.known(node, "a json_path")?;
        let column = self.text(node, "column")?;
        if self.text(node, "on_missing").is_some_and(|word| word != "null") || self.text(node, "on_error") == Some("dead_letter")
        {
            self.refuse(node, None, "sets no rows aside for a path", "`on_missing: null` and `on_error: null` or `error`");
        }
        let keep = node.options.get("keep").and_then(Value::as_bool).unwrap_or(true);
        let mut out: Vec<String> = columns
            .fields()
            .iter()
            .filter(|field| keep || field.name() != column)
            .map(|field| self.quoted(field.name()))
            .collect();
        for taken in node.options.get("columns")?.as_array()? {
            let (path, name) = (taken.get("path")?.as_str()?, taken.get("as")?.as_str()?);
            if path.contains(['*', '?', ':', ',']) || path.contains("..") {
                self.refuse(
                    node,
                    Some("columns"),
                    &format!("takes paths to one value, and `{path}` may lead to several"),
                    "the native engine",
                );
                return None;
            }
            let value = match self.dialect {
                Dialect::Flink => format!("JSON_VALUE({}, {})", self.quoted(column), self.dialect.literal(path)),
                _ => format!("get_json_object({}, {})", self.quoted(column), self.dialect.literal(path)),
            };
            let value = match taken.get("type").and_then(Value::as_str) {
                None | Some("text" | "string") => value,
                Some(word) => {
                    let to = TypeWord::parse(word).ok()?.data_type;
                    let theirs = if self.dialect == Dialect::Flink { super::types::flink(&to) } else { super::types::spark(&to) };
                    match theirs {
                        Ok(theirs) => format!("CAST({value} AS {theirs})"),
                        Err(why) => {
                            self.refuse(node, Some("columns"), &why, "another type");
                            return None;
                        }
                    }
                }
            };
            out.push(format!("{value} AS {}", self.quoted(name)));
        }
        Some(format!("SELECT {} FROM {}", out.join(", "), self.from(node)))
    }
}

/// `10m` → `INTERVAL '10' MINUTE`, in the largest unit that divides it. More than two digits must be announced.
fn seconds(text: &str) -> Option<String> {
    let ms = weir_spec::units::duration_ms(text)?;
    let whole = |count: u64, unit: &str| {
        let digits = count.to_string().len();
        let announced = if digits > 2 { format!("({digits})") } else { String::new() };
        format!("INTERVAL '{count}' {unit}{announced}")
    };
    Some(match ms {
        ms if ms % 86_400_000 == 0 => whole(ms / 86_400_000, "DAY"),
        ms if ms % 3_600_000 == 0 => whole(ms / 3_600_000, "HOUR"),
        ms if ms % 60_000 == 0 => whole(ms / 60_000, "MINUTE"),
        ms if ms % 1000 == 0 => whole(ms / 1000, "SECOND"),
        ms => format!("INTERVAL '{}.{:03}' SECOND({}, 3)", ms / 1000, ms % 1000, (ms / 1000).to_string().len().max(2)),
    })
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

    #[test]
    fn intervals_have_the_largest_unit() {
        assert_eq!(seconds("90m").unwrap(), "INTERVAL '90' MINUTE");
        assert_eq!(seconds("121m").unwrap(), "INTERVAL '121' MINUTE(3)");
        assert_eq!(seconds("1500ms").unwrap(), "INTERVAL '1.500' SECOND(2, 3)");
    }
}
