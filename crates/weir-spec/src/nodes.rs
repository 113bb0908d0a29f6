//! Reading nodes and connections: one connector or transform with its options, and perhaps `input` and `name`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::LazyLock;

use serde_json::{Map, Value as Json, json};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::jdbc;
use crate::model::{Connection, Input, Role, Span};
use crate::native::name_rule;
use crate::options::schema::Part;
use crate::options::{Checker, Leaf, Subject, TextRules};
use crate::problems::{Path, nearest, one_of, short};
use crate::tree::{Entry, Tree, Value};
use crate::vocabulary::{ConnectorWords, TransformWords, Vocabulary};

/// Options that every source takes: `cursor`, `lag` and `event_time` belong to the engine, `connection` to the spec.
/// A connector that declares one of them itself has the say.
pub(crate) static SOURCE_OPTIONS: LazyLock<Json> = LazyLock::new(|| {
    json!({"type": "object", "properties": {
        "connection": {"type": "string", "description": "Name of a connection: stored, or declared under `connections`."},
        "cursor": {"type": "string", "description": "Column by which `mode: incremental` knows what is new."},
        "lag": {"anyOf": [{"type": "string", "x-weir-format": "duration"}, {"type": "integer", "minimum": 0}],
                "description": "How far behind the last cursor an incremental read starts, for rows that arrive late."},
        "event_time": {"type": "object", "additionalProperties": false, "required": ["column"],
                "description": "`mode: streaming`: the time of each row, for windows and whatever else keeps state.",
                "properties": {
            "column": {"type": "string", "description": "The column with the time: a timestamp."},
            "max_lateness_ms": {"type": "integer", "minimum": 0, "maximum": 4294967295u32, "default": 0,
                "description": "How much older than the newest row of its split a row may be without being late. Milliseconds."},
            "idle_after_ms": {"type": "integer", "minimum": 1, "maximum": 4294967295u32,
                "description": "A split that gives nothing for so long does not hold the others back. Milliseconds; absent: it always does."},
        }},
    }})
});

/// Options that every sink takes: how rows enter is decided by the engine and the sink together.
pub(crate) static SINK_OPTIONS: LazyLock<Json> = LazyLock::new(|| {
    json!({"type": "object", "properties": {
        "connection": {"type": "string", "description": "Name of a connection: stored, or declared under `connections`."},
        "write_mode": {"type": "string", "enum": ["append", "upsert", "overwrite", "merge"], "description": "How rows enter."},
        "key": {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "Columns that identify a row, for `upsert` and `merge`."},
        "metadata_columns": {"type": "array", "items": {"type": "string", "enum": ["op", "source_ts", "position"]}, "minItems": 1,
                "description": "`mode: cdc`: columns about the last change of a row: `_op`, `_source_ts`, `_position`."},
    }})
});

/// A node before the graph is known.
pub(crate) struct Draft {
    /// `None`: to be made from what it does.
    pub name: Option<String>,
    pub role: Role,
    pub kind: String,
    pub options: Json,
    /// `None`: the node before.
    pub inputs: Option<Vec<(Input, Span)>>,
    pub path: Path,
    /// What to underline when the node is meant.
    pub place: Span,
}

/// Reads nodes with the words of a vocabulary.
pub(crate) struct Reader<'v, 'p> {
    pub vocabulary: &'v dyn Vocabulary,
    pub checker: Checker<'p>,
    /// Names of nodes that could not be read.
    pub unread: BTreeSet<String>,
    /// Whether some node could not be read.
    pub broken: bool,
    connectors: BTreeSet<String>,
    transforms: BTreeSet<String>,
    /// Looked up once: a vocabulary hands out whole schemas.
    connector_words: BTreeMap<String, Option<Arc<ConnectorWords>>>,
    transform_words: BTreeMap<String, Option<Arc<TransformWords>>>,
}

impl<'v, 'p> Reader<'v, 'p> {
    pub fn new(vocabulary: &'v dyn Vocabulary, checker: Checker<'p>) -> Self {
        let connectors = vocabulary.connectors().into_iter().collect();
        let transforms = vocabulary.transforms().into_iter().collect();
        Self {
            vocabulary,
            checker,
            unread: BTreeSet::new(),
            broken: false,
            connectors,
            transforms,
            connector_words: BTreeMap::new(),
            transform_words: BTreeMap::new(),
        }
    }

    /// The nodes under `source`, `sources`, `transforms`, `sink` or `sinks`.
    pub fn nodes(&mut self, entry: &Entry, role: Role, path: &Path) -> Vec<Draft> {
        let one = matches!(entry.key.as_str(), "source" | "sink");
        match &entry.value.value {
            Value::Null if role == Role::Transform => Vec::new(),
            Value::Map(_) if one => self.node(&entry.value, role, path, None, entry.key_span).into_iter().collect(),
            Value::Map(entries) => {
                let mut out = Vec::new();
                for named in entries {
                    let path = path.key(&named.key);
                    name_rule(&mut self.checker, &named.key, named, &path);
                    out.extend(self.node(&named.value, role, &path, Some(&named.key), named.key_span));
                }
                out
            }
            Value::List(items) if role == Role::Transform => {
                let mut out = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    out.extend(self.node(item, role, &path.index(index), None, item.span));
                }
                out
            }
            _ => {
                self.broken = true;
                let (expected, help) = match (role, one) {
                    (Role::Transform, _) => {
                        ("a list, or a map by name", "write `transforms:` and a list such as `- filter: a > 1`".to_string())
                    }
                    (_, true) => ("a map with one connector", format!("write `{}: {{CONNECTOR: {{…}}}}`", entry.key)),
                    (_, false) => ("a map by name", format!("write `{}: {{NAME: {{CONNECTOR: {{…}}}}}}`", entry.key)),
                };
                self.checker.problems.push(
                    Diagnostic::error(codes::WRONG_TYPE, format!("`{}` must be {expected}", entry.key))
                        .at(&path.dotted, Some(entry.place()))
                        .label(if entry.value.is_null() {
                            "nothing follows".to_string()
                        } else {
                            format!("this is {}", entry.value.kind())
                        })
                        .expected(expected)
                        .help(help),
                );
                Vec::new()
            }
        }
    }

    /// The sink of the dead letters, under `dead_letters.to`: they come from everywhere, so it has no input.
    pub fn letters(&mut self, entry: &Entry, path: &Path) -> Option<Draft> {
        let draft = self.node(&entry.value, Role::Sink, path, Some("dead_letters"), entry.key_span)?;
        if let Some((_, span)) = draft.inputs.iter().flatten().next() {
            self.checker.problems.push(
                Diagnostic::error(codes::UNKNOWN_KEY, "the sink of the dead letters has no input")
                    .at(&path.key("input").dotted, Some(*span))
                    .label("it gets the dead letters of all nodes")
                    .help("remove `input`"),
            );
        }
        Some(draft)
    }

    /// One node. `name` is given in the graph form, where the key is the name.
    fn node(&mut self, tree: &Tree, role: Role, path: &Path, name: Option<&str>, place: Span) -> Option<Draft> {
        let draft = self.read_node(tree, role, path, name, place);
        if draft.is_none() {
            self.broken = true;
            self.unread.extend(name.map(str::to_string));
        }
        draft
    }

    fn read_node(&mut self, tree: &Tree, role: Role, path: &Path, name: Option<&str>, place: Span) -> Option<Draft> {
        let noun = noun(role);
        let Some(entries) = tree.as_map() else {
            let mut problem = Diagnostic::error(codes::WRONG_TYPE, format!("a {noun} must be a map"))
                .at(&path.dotted, Some(if tree.is_null() { place } else { tree.span }))
                .label(if tree.is_null() { "nothing follows".to_string() } else { format!("this is {}", tree.kind()) })
                .expected(format!("a map with one {}", word_noun(role)));
            if let Some(word) = tree.as_text().filter(|word| self.known(role).contains(*word)) {
                let suggestion = format!("{word}: {{}}");
                problem = problem.did_you_mean(Some(suggestion));
            }
            self.checker.problems.push(problem);
            return None;
        };
        let (mut own_name, mut inputs, mut words) = (name.map(str::to_string), None, Vec::new());
        for entry in entries {
            match entry.key.as_str() {
                "input" => inputs = self.inputs(entry, &path.key("input"), role),
                "name" if name.is_some() => self.checker.problems.push(
                    Diagnostic::error(codes::UNKNOWN_KEY, "this node has its name already")
                        .at(&path.key("name").dotted, Some(entry.key_span))
                        .label(format!("its name is `{}`", short(name.unwrap_or_default())))
                        .help("remove `name`; here the key is the name"),
                ),
                "name" => {
                    let path = path.key("name");
                    own_name = self.checker.name_field(entry, &path);
                }
                _ => words.push(entry),
            }
        }
        let chosen = self.choose(&words, role, path, place)?;
        self.checker.mark(path, if name.is_some() { place } else { chosen.key_span });
        let place = chosen.key_span;
        let (kind, options) = match role {
            Role::Transform => self.transform(chosen, &path.key(&chosen.key)),
            _ => self.connector(chosen, role, path),
        };
        Some(Draft { name: own_name, role, kind, options, inputs, path: path.clone(), place })
    }

    /// What is known about a connector.
    fn connector_words(&mut self, kind: &str) -> Option<Arc<ConnectorWords>> {
        let vocabulary = self.vocabulary;
        self.connector_words.entry(kind.into()).or_insert_with(|| vocabulary.connector(kind)).clone()
    }

    fn transform_words(&mut self, kind: &str) -> Option<Arc<TransformWords>> {
        let vocabulary = self.vocabulary;
        self.transform_words.entry(kind.into()).or_insert_with(|| vocabulary.transform(kind)).clone()
    }

    fn known(&self, role: Role) -> &BTreeSet<String> {
        if role == Role::Transform { &self.transforms } else { &self.connectors }
    }

    /// The one key that says what the node does.
    fn choose<'t>(&mut self, words: &[&'t Entry], role: Role, path: &Path, place: Span) -> Option<&'t Entry> {
        let (noun, what) = (noun(role), word_noun(role));
        let known: Vec<&'t Entry> = words.iter().copied().filter(|entry| self.known(role).contains(&entry.key)).collect();
        match (words, known.as_slice()) {
            ([only], _) => Some(only),
            ([], _) => {
                self.checker.problems.push(
                    Diagnostic::error(codes::ONE_WORD, format!("this {noun} names no {what}"))
                        .at(&path.dotted, Some(place))
                        .expected(format!("exactly one {what}"))
                        .help(if role == Role::Transform {
                            "write it like `filter: a > 1`"
                        } else {
                            "`weir connectors` lists them"
                        }),
                );
                None
            }
            (all, [only]) => {
                for stray in all.iter().filter(|entry| entry.key != only.key) {
                    self.checker.problems.push(
                        Diagnostic::error(
                            codes::UNKNOWN_KEY,
                            format!("unknown key `{}` beside `{}`", short(&stray.key), only.key),
                        )
                        .at(&path.key(&stray.key).dotted, Some(stray.key_span))
                        .label("not a key here")
                        .did_you_mean(nearest(&stray.key, ["input", "name"]))
                        .help(format!("options of `{0}` go under `{0}:`, indented", only.key)),
                    );
                }
                Some(only)
            }
            (all, _) => {
                self.checker.problems.push(
                    Diagnostic::error(
                        codes::ONE_WORD,
                        format!(
                            "this {noun} names {} {what}s: {}",
                            all.len(),
                            one_of(all.iter().map(|entry| entry.key.as_str())).trim_start_matches("one of ")
                        ),
                    )
                    .at(&path.dotted, Some(all[1].key_span))
                    .label("one too many")
                    .expected(format!("exactly one {what}"))
                    .help(if role == Role::Transform {
                        "put a `- ` before each transform".to_string()
                    } else {
                        format!("several {noun}s go under `{noun}s:`, each with a name")
                    }),
                );
                all.first().copied()
            }
        }
    }

    fn inputs(&mut self, entry: &Entry, path: &Path, role: Role) -> Option<Vec<(Input, Span)>> {
        self.checker.mark(path, entry.place());
        if role == Role::Source {
            self.checker.problems.push(
                Diagnostic::error(codes::SOURCE_INPUT, "a source has no input")
                    .at(&path.dotted, Some(entry.key_span))
                    .label("a source reads from outside")
                    .help("remove `input`"),
            );
            return None;
        }
        let items: &[Tree] = match &entry.value.value {
            Value::List(items) if !items.is_empty() => items,
            Value::Text { .. } => std::slice::from_ref(&entry.value),
            _ => {
                self.bad_input(path, entry.place());
                return None;
            }
        };
        let mut out = Vec::new();
        for item in items {
            match item.as_text().filter(|text| !text.is_empty()) {
                Some(text) => {
                    let (node, port) = text.split_once('.').map_or((text, None), |(node, port)| (node, Some(port.to_string())));
                    out.push((Input { node: node.into(), port }, item.span));
                }
                None => self.bad_input(path, item.span),
            }
        }
        Some(out)
    }

    fn bad_input(&mut self, path: &Path, span: Span) {
        self.checker.problems.push(
            Diagnostic::error(codes::WRONG_TYPE, "`input` must be the name of a node, or a list of names")
                .at(&path.dotted, Some(span))
                .label("not a name")
                .expected("a name, or a list of names"),
        );
    }

    fn transform(&mut self, entry: &Entry, path: &Path) -> (String, Json) {
        let kind = entry.key.clone();
        let subject = Subject { what: format!("transform `{}`", short(&kind)), see: "weir spec schema".into() };
        let leaf = Leaf { subject: &subject, name: kind.clone(), inside: None, rules: TextRules::TRANSFORM };
        self.checker.mark(path, entry.key_span);
        let Some(words) = self.transform_words(&kind) else {
            let options = self.checker.raw(&entry.value, path, &leaf);
            return (kind, if options.is_null() { Json::Object(Map::new()) } else { options });
        };
        let parts = [Part::root(&words.schema)];
        let options = match (&entry.value.value, &words.bare) {
            (Value::Text { .. }, Some(bare)) => {
                let inner = Entry::new(bare, entry.value.span, entry.value.clone());
                Json::Object(self.checker.object(&[inner], entry.key_span, &parts, path, &leaf))
            }
            (Value::Map(entries), _) => Json::Object(self.checker.object(entries, entry.key_span, &parts, path, &leaf)),
            (Value::Null, _) => Json::Object(self.checker.object(&[], entry.key_span, &parts, path, &leaf)),
            (_, bare) if parts[0].sub.resolve().is("object") => {
                let expected = match bare {
                    Some(bare) => format!("a map, or the text of `{bare}`"),
                    None => "a map".into(),
                };
                self.checker.problems.push(
                    Diagnostic::error(codes::OPTION_TYPE, format!("`{kind}` must be {expected}"))
                        .at(&path.dotted, Some(entry.place()))
                        .label(format!("this is {}", entry.value.kind()))
                        .expected(expected),
                );
                entry.value.to_json()
            }
            _ => self.checker.value(&entry.value, parts[0].sub, path, &leaf),
        };
        (kind, options)
    }

    fn connector(&mut self, entry: &Entry, role: Role, node: &Path) -> (String, Json) {
        let Some(entries) = self.option_entries(entry, &node.key(&entry.key), noun(role)) else {
            return (entry.key.clone(), Json::Object(Map::new()));
        };
        let (kind, entries) = self.through_jdbc(&entry.key, entries, &node.key(&entry.key));
        let path = node.key(&kind);
        self.checker.mark(&path, entry.key_span);
        let subject =
            Subject { what: format!("{} `{}`", noun(role), short(&kind)), see: format!("weir connectors {}", short(&kind)) };
        let leaf = Leaf { subject: &subject, name: kind.clone(), inside: None, rules: TextRules::CONNECTOR };
        let words = self.connector_words(&kind);
        // The job JSON says `table_or_topic` for whatever the connector calls it.
        let entries: Vec<Entry> = match &words {
            Some(words) => entries
                .iter()
                .map(|entry| if entry.key == "table_or_topic" { entry.renamed(&words.address_option) } else { entry.clone() })
                .collect(),
            None => entries,
        };
        let own = words.as_ref().and_then(|words| if role == Role::Source { words.source.as_ref() } else { words.sink.as_ref() });
        let (Some(words), Some(own)) = (&words, own) else {
            // Not in this build: the plan says so. What is written is kept as it is.
            let tree = Tree::map(entries, entry.value.span);
            return (kind.clone(), self.checker.raw(&tree, &path, &leaf));
        };
        let named = entries.iter().any(|entry| entry.key == "connection" && !entry.value.is_null());
        let shared: &Json = if role == Role::Source { &SOURCE_OPTIONS } else { &SINK_OPTIONS };
        let parts = [
            Part::root(own),
            Part { required: !named, connection: true, ..Part::root(&words.connection) },
            Part { required: false, ..Part::root(shared) },
        ];
        let options = self.checker.object(&entries, entry.key_span, &parts, &path, &leaf);
        (kind, Json::Object(options))
    }

    /// `connections`.
    pub fn connections(&mut self, entry: &Entry, path: &Path) -> BTreeMap<String, Connection> {
        let mut out = BTreeMap::new();
        let entries: Vec<Entry> = self.checker.map_field(entry, path, "a map by name").to_vec();
        for named in entries {
            let path = path.key(&named.key);
            self.checker.mark(&path, named.key_span);
            name_rule(&mut self.checker, &named.key, &named, &path);
            let Some(parts) = named.value.as_map() else {
                self.checker.problems.push(
                    Diagnostic::error(codes::WRONG_TYPE, format!("connection `{}` must be a map", short(&named.key)))
                        .at(&path.dotted, Some(named.place()))
                        .label(if named.value.is_null() {
                            "nothing follows".to_string()
                        } else {
                            format!("this is {}", named.value.kind())
                        })
                        .expected("a map with one connector")
                        .help("write it like `crm: {postgres: {url: …}}`"),
                );
                continue;
            };
            let words: Vec<&Entry> = parts.iter().collect();
            let Some(chosen) = self.choose(&words, Role::Source, &path, named.key_span) else { continue };
            let Some(entries) = self.option_entries(chosen, &path.key(&chosen.key), "connection") else { continue };
            let (kind, entries) = self.through_jdbc(&chosen.key, entries, &path.key(&chosen.key));
            let path = path.key(&kind);
            self.checker.mark(&path, chosen.key_span);
            let subject =
                Subject { what: format!("connection `{}`", short(&named.key)), see: format!("weir connectors {}", short(&kind)) };
            let leaf = Leaf { subject: &subject, name: kind.clone(), inside: None, rules: TextRules::CONNECTOR };
            let options = match self.connector_words(&kind) {
                Some(words) => {
                    let parts = [Part::root(&words.connection)];
                    Json::Object(self.checker.object(&entries, chosen.key_span, &parts, &path, &leaf))
                }
                None => self.checker.raw(&Tree::map(entries, chosen.value.span), &path, &leaf),
            };
            out.insert(named.key.clone(), Connection { kind, options });
        }
        out
    }

    fn option_entries(&mut self, entry: &Entry, path: &Path, noun: &str) -> Option<Vec<Entry>> {
        match &entry.value.value {
            Value::Map(entries) => Some(entries.clone()),
            Value::Null => Some(Vec::new()),
            _ => {
                let mut problem =
                    Diagnostic::error(codes::WRONG_TYPE, format!("the options of {noun} `{}` must be a map", short(&entry.key)))
                        .at(&path.dotted, Some(entry.place()))
                        .label(format!("this is {}", entry.value.kind()))
                        .expected("a map");
                if let Some(address) = self.connector_words(&entry.key).map(|words| words.address_option.clone())
                    && entry.value.as_text().is_some()
                {
                    problem = problem.help(format!("write `{}: {{{address}: …}}`", entry.key));
                }
                self.checker.problems.push(problem);
                None
            }
        }
    }

    /// `jdbc` is no system: the URL says which one is meant.
    fn through_jdbc(&mut self, kind: &str, entries: Vec<Entry>, path: &Path) -> (String, Vec<Entry>) {
        match kind {
            "jdbc" => jdbc::rewrite(entries, self.vocabulary, self.checker.problems, path),
            _ => (kind.to_string(), entries),
        }
    }
}

pub(crate) fn noun(role: Role) -> &'static str {
    match role {
        Role::Source => "source",
        Role::Transform => "transform",
        Role::Sink => "sink",
    }
}

fn word_noun(role: Role) -> &'static str {
    if role == Role::Transform { "transform" } else { "connector" }
}
