//! The job JSON: `source.connector_type`, `connection_params`, `sync_mode`. Rewritten to the native form, places kept.

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::model::Span;
use crate::native::slug;
use crate::options::Checker;
use crate::problems::{Path, Problems, nearest, short};
use crate::tree::{Entry, Tree, Value};
use crate::vocabulary::Vocabulary;

const KEYS: [&str; 16] = [
    "name",
    "description",
    "source",
    "sink",
    "sinks",
    "transforms",
    "sync_mode",
    "schedule",
    "parallelism",
    "checkpoint_interval",
    "monitoring",
    "alert_rules",
    "tenant_id",
    "labels",
    "engine",
    "engine_configs",
];

/// Whether a document is a job: a node has `connector_type`, or there is `sync_mode`.
pub(crate) fn matches(root: &Tree) -> bool {
    let typed = |tree: &Tree| tree.get("connector_type").is_some() || tree.get("connection_params").is_some();
    let node = |key: &str| root.get(key).is_some_and(|entry| typed(&entry.value));
    let many = root.get("sinks").and_then(|entry| entry.value.as_list()).is_some_and(|items| items.iter().any(typed));
    node("source") || node("sink") || many || root.get("sync_mode").is_some()
}

/// The document in the native form.
pub(crate) fn lower(root: &Tree, vocabulary: &dyn Vocabulary, problems: &mut Problems) -> Tree {
    let entries = root.as_map().unwrap_or_default();
    let mut lowering = Lowering { vocabulary, problems };
    let top = Path::default();
    let mut out: Vec<Entry> = Vec::new();
    let start = entries.first().map_or(root.span, |entry| entry.key_span);
    // The body of `/pipelines/validate` has no name.
    if root.get("name").is_none() {
        out.push(Entry::new("pipeline", start, Tree::text("unnamed", start)));
    }
    for entry in entries {
        match entry.key.as_str() {
            "name" => out.extend(name(entry, root.get("description"))),
            "description" if root.get("name").and_then(|name| described(name, Some(entry))).is_some() => {}
            "source" | "sink" => {
                if let Some(node) = lowering.node(&entry.value, entry, &top.key(&entry.key)) {
                    out.push(Entry { value: node, ..entry.clone() });
                }
            }
            "sinks" => out.extend(lowering.sinks(entry)),
            "transforms" => out.push(lowering.transforms(entry)),
            "sync_mode" => out.push(entry.renamed("mode")),
            "checkpoint_interval" => out.push(entry.renamed("checkpoint_interval_ms")),
            "tenant_id" => out.push(entry.renamed("tenant")),
            "alert_rules" => out.push(lowering.alerts(entry)),
            "monitoring" => {
                for part in entry.value.as_map().unwrap_or_default() {
                    match part.key.as_str() {
                        "alert_rules" => out.push(lowering.alerts(part)),
                        _ => lowering.unknown(part, "`monitoring`", &top.key("monitoring"), &["alert_rules"]),
                    }
                }
                if entry.value.as_map().is_none() {
                    lowering.not_a_map(entry, &top.key("monitoring"));
                }
            }
            "description" | "schedule" | "parallelism" | "labels" | "engine" | "engine_configs" => out.push(entry.clone()),
            _ => lowering.unknown(entry, "the job", &top, &KEYS),
        }
    }
    Tree::map(out, root.span)
}

/// The name as lower_snake; what it was called goes before the description.
fn name(entry: &Entry, description: Option<&Entry>) -> Vec<Entry> {
    let Some(text) = entry.value.as_text() else { return vec![entry.renamed("pipeline")] };
    let mut out = vec![Entry { value: Tree::text(slug(text), entry.value.span), ..entry.renamed("pipeline") }];
    if let Some(described) = described(entry, description) {
        let place = description.unwrap_or(entry);
        out.push(Entry::new("description", place.key_span, Tree::text(described, place.value.span)));
    }
    out
}

fn described(name: &Entry, description: Option<&Entry>) -> Option<String> {
    let name = name.value.as_text().filter(|name| slug(name) != *name)?;
    match description.map(|entry| &entry.value) {
        None => Some(name.into()),
        Some(tree) => tree.as_text().map(|text| format!("{name}: {text}")),
    }
}

/// Rewrites parts of a document. The unified ingestion spec shares it.
pub(crate) struct Lowering<'a> {
    pub vocabulary: &'a dyn Vocabulary,
    pub problems: &'a mut Problems,
}

impl Lowering<'_> {
    pub fn unknown(&mut self, entry: &Entry, place: &str, path: &Path, allowed: &[&str]) {
        let mut spans = Default::default();
        Checker { problems: self.problems, spans: &mut spans }.unknown_key(entry, place, path, allowed);
    }

    pub fn missing(&mut self, key: &str, place: &str, path: &Path, span: Span, help: &str) {
        let mut spans = Default::default();
        Checker { problems: self.problems, spans: &mut spans }.missing_key(key, place, path, span, help);
    }

    pub fn not_a_map(&mut self, entry: &Entry, path: &Path) {
        self.wrong(entry, path, "a map");
    }

    pub fn wrong(&mut self, entry: &Entry, path: &Path, expected: &str) {
        self.problems.push(
            Diagnostic::error(codes::WRONG_TYPE, format!("`{}` must be {expected}", short(entry.written_key())))
                .at(&path.dotted, Some(entry.place()))
                .label(if entry.value.is_null() {
                    "nothing follows".to_string()
                } else {
                    format!("this is {}", entry.value.kind())
                })
                .expected(expected),
        );
    }

    /// `{connector_type, connection_params, query, table_or_topic, options}` as `{CONNECTOR: {…}}`.
    fn node(&mut self, tree: &Tree, place: &Entry, path: &Path) -> Option<Tree> {
        const KEYS: [&str; 7] = ["connector_type", "connection_params", "query", "table_or_topic", "options", "name", "tables"];
        let Some(entries) = tree.as_map() else {
            self.not_a_map(&Entry { value: tree.clone(), ..place.clone() }, path);
            return None;
        };
        let span = entries.first().map_or(place.key_span, |entry| entry.key_span);
        // A misspelt `connector_type` is one problem, not two.
        let misspelt = || {
            entries.iter().find(|entry| {
                !KEYS.contains(&entry.key.as_str()) && nearest(&entry.key, KEYS).as_deref() == Some("connector_type")
            })
        };
        let kind = match tree.get("connector_type").or_else(misspelt) {
            Some(entry) => match entry.value.as_text() {
                Some(text) => (text.to_string(), entry.value.span),
                None => {
                    self.wrong(entry, &path.key("connector_type"), "text");
                    return None;
                }
            },
            None => {
                self.missing(
                    "connector_type",
                    &format!("`{}`", place.key),
                    path,
                    span,
                    "say what it connects to, `\"connector_type\": \"postgres\"`",
                );
                return None;
            }
        };
        let (mut node, mut options) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry.key.as_str() {
                "connector_type" => {}
                "connection_params" | "options" => match &entry.value.value {
                    Value::Map(inner) => options.extend(inner.iter().cloned()),
                    Value::Null => {}
                    _ => self.not_a_map(entry, &path.key(&entry.key)),
                },
                "table_or_topic" | "query" | "tables" => options.push(entry.clone()),
                "name" => node.push(slugged(entry)),
                _ => self.unknown(entry, &format!("`{}`", place.key), path, &KEYS),
            }
        }
        self.one_each(&mut options, path);
        node.push(Entry::new(kind.0, kind.1, Tree::map(options, tree.span)));
        Some(Tree::map(node, tree.span))
    }

    /// Options come from several maps; the same one twice is reported, and the first one kept.
    pub fn one_each(&mut self, options: &mut Vec<Entry>, path: &Path) {
        let mut seen = std::collections::HashSet::new();
        options.retain(|entry| {
            let new = seen.insert(entry.key.clone());
            if !new {
                self.problems.push(
                    Diagnostic::error(codes::DUPLICATE_KEY, format!("`{}` is given twice", short(entry.written_key())))
                        .at(&path.key(&entry.key).dotted, Some(entry.key_span))
                        .label("the second one")
                        .help("remove one of the two"),
                );
            }
            new
        });
    }

    fn sinks(&mut self, entry: &Entry) -> Option<Entry> {
        let path = Path::default().key("sinks");
        let Some(items) = entry.value.as_list() else {
            self.wrong(entry, &path, "a list of maps");
            return None;
        };
        let mut nodes: Vec<Tree> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            nodes.extend(self.node(item, entry, &path.index(index)));
        }
        Some(gather_sinks(entry.key_span, entry.value.span, nodes))
    }

    /// `[{type, config}]` as `[{TYPE: {…}}]`.
    fn transforms(&mut self, entry: &Entry) -> Entry {
        const KEYS: [&str; 4] = ["type", "config", "name", "input"];
        let path = Path::default().key("transforms");
        let Some(items) = entry.value.as_list() else { return entry.clone() };
        let mut out = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            let place = Entry::new(
                "transforms",
                item.as_map().and_then(<[Entry]>::first).map_or(item.span, |first| first.key_span),
                item.clone(),
            );
            let Some(parts) = item.as_map() else {
                self.wrong(&place, &path, "a list of maps");
                continue;
            };
            let Some((kind, span)) =
                item.get("type").and_then(|entry| Some((entry.value.as_text()?.to_string(), entry.value.span)))
            else {
                self.missing("type", "a transform", &path, place.key_span, "say what it does, `\"type\": \"sql\"`");
                continue;
            };
            let mut node = Vec::new();
            let mut config = Tree::map(Vec::new(), span);
            for part in parts {
                match part.key.as_str() {
                    "type" => {}
                    "config" => config = part.value.clone(),
                    "name" => node.push(slugged(part)),
                    "input" => node.push(part.clone()),
                    _ => self.unknown(part, "a transform", &path, &KEYS),
                }
            }
            node.push(Entry::new(&kind, span, field_mapper(&kind, config)));
            out.push(Tree::map(node, item.span));
        }
        Entry { value: Tree::list(out, entry.value.span), ..entry.clone() }
    }

    /// `threshold` is `above`.
    fn alerts(&mut self, entry: &Entry) -> Entry {
        let rule = |item: &Tree| match item.as_map() {
            Some(parts) => {
                let parts = parts.iter().map(|part| if part.key == "threshold" { part.renamed("above") } else { part.clone() });
                Tree::map(parts.collect(), item.span)
            }
            None => item.clone(),
        };
        let value = match entry.value.as_list() {
            Some(items) => Tree::list(items.iter().map(rule).collect(), entry.value.span),
            None => entry.value.clone(),
        };
        Entry { value, ..entry.renamed("alerts") }
    }
}

/// In the seeds' mapper the map from old to new name has the mapper's own name.
fn field_mapper(kind: &str, config: Tree) -> Tree {
    match config.as_map() {
        Some(entries) if kind == "field_mapper" => {
            let entries =
                entries.iter().map(|entry| if entry.key == "field_mapper" { entry.renamed("rename") } else { entry.clone() });
            Tree::map(entries.collect(), config.span)
        }
        _ => config,
    }
}

fn slugged(entry: &Entry) -> Entry {
    match entry.value.as_text() {
        Some(text) => Entry { value: Tree::text(slug(text), entry.value.span), ..entry.clone() },
        None => entry.clone(),
    }
}

/// One node as `sink`, several as `sinks` with names.
pub(crate) fn gather_sinks(key_span: Span, span: Span, mut nodes: Vec<Tree>) -> Entry {
    if nodes.len() == 1 {
        return Entry::new("sink", key_span, nodes.remove(0));
    }
    let named = nodes.into_iter().map(|node| {
        let entries = node.as_map().unwrap_or_default();
        let own = entries.iter().find(|entry| entry.key == "name").and_then(|entry| entry.value.as_text().map(Into::into));
        let kind = entries.iter().find(|entry| !matches!(entry.key.as_str(), "name" | "input"));
        let place = kind.map_or(key_span, |kind| kind.key_span);
        let name: String = own.unwrap_or_else(|| kind.map_or_else(|| "sink".into(), |kind| slug(&kind.key)));
        (name, place, Tree::map(entries.iter().filter(|entry| entry.key != "name").cloned().collect(), node.span))
    });
    let mut out: Vec<Entry> = Vec::new();
    for (name, place, node) in named {
        let taken = |candidate: &str| out.iter().any(|entry| entry.key == candidate);
        let unique = if taken(&name) {
            (2..).map(|n| format!("{name}_{n}")).find(|candidate| !taken(candidate)).unwrap_or(name)
        } else {
            name
        };
        out.push(Entry::new(unique, place, node));
    }
    Entry::new("sinks", key_span, Tree::map(out, span))
}
