//! Transforms that see one row at a time.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use serde_json::Value;
use weir_plan::TypeWord;
use weir_spec::model::{Input, Node};

use super::super::dialect::Dialect;
use super::super::types::{flink, seatunnel, spark, widens};
use super::{Lowering, View, routes, view_name};

impl Lowering<'_> {
    /// A row goes to the first route whose predicate is true.
    pub(super) fn split(&self, node: &Node) -> Vec<View> {
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
            Dialect::Flink => flink(&to.data_type),
            Dialect::Spark => spark(&to.data_type),
            Dialect::SeaTunnel => seatunnel(&to.data_type).map(|word| word.to_uppercase()),
        };
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(why) => {
                self.refuse(node, Some("cast"), &why, "another type, or the native engine");
                return None;
            }
        };
        let castable = matches!(theirs.split('(').next(), Some("STRING" | "INT" | "BIGINT" | "FLOAT" | "DOUBLE" | "DECIMAL"));
        if self.dialect == Dialect::SeaTunnel && !castable {
            self.refuse(node, Some("cast"), &format!("casts nothing to {theirs}"), "Flink, Spark, or the native engine");
            return None;
        }
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

    pub(super) fn cast(&self, node: &Node) -> Option<String> {
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

    pub(super) fn field_mapper(&self, node: &Node) -> Option<String> {
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
                Value::String(text) if self.dialect == Dialect::SeaTunnel && text.contains(['\'', '\\']) => {
                    let why = "keeps the second of two quotes in a text, and reads backslashes";
                    self.refuse(node, Some("constants"), why, "another text, Flink, Spark, or the native engine");
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

    pub(super) fn json_path(&self, node: &Node) -> Option<String> {
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
                    let theirs = if self.dialect == Dialect::Flink { flink(&to) } else { spark(&to) };
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
