//! Checking options against the JSON Schema of their connector or transform, and giving them their canonical names.
//!
//! Schemas are those that `schemars` derives; no general validator is needed, and none would know a near miss.
//! [`text`] looks into the strings: references, literal secrets, placeholders. [`schema`] reads the schemas.

mod choice;
pub(crate) mod schema;
pub(crate) mod text;

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::model::Span;
use crate::problems::{Path, Problems, nearest, one_of, short};
use crate::reference::has_reference;
use crate::tree::{Entry, Tree, Value};
use crate::units;
use schema::{Part, Sub};
pub(crate) use text::TextRules;

/// Whose options they are.
pub(crate) struct Subject {
    /// In messages: ``sink `s3` ``.
    pub what: String,
    /// Where all of them are listed: `weir connectors s3`.
    pub see: String,
}

/// What is known about the value being checked.
#[derive(Clone)]
pub(crate) struct Leaf<'a> {
    pub subject: &'a Subject,
    /// The option as the author wrote it, from the options of the node on: `pagination.kind`.
    pub name: String,
    /// The map inside the options in which it stands, if any: `pagination`.
    pub inside: Option<String>,
    pub rules: TextRules,
}

impl Leaf<'_> {
    /// A key of the map that is being checked.
    fn entry(&self, entry: &Entry, rules: TextRules) -> Self {
        let name = match &self.inside {
            Some(inside) => format!("{inside}.{}", entry.written_key()),
            None => entry.written_key().to_string(),
        };
        Self { name, rules, ..self.clone() }
    }

    /// The map itself, once its keys are looked at.
    fn opened(&self) -> Self {
        Self { inside: Some(self.name.clone()), ..self.clone() }
    }
}

/// Checks values and remembers where they stood.
pub(crate) struct Checker<'p> {
    pub problems: &'p mut Problems,
    pub spans: &'p mut BTreeMap<String, Span>,
}

impl Checker<'_> {
    /// Remembers where a value stood.
    pub fn mark(&mut self, path: &Path, span: Span) {
        self.spans.insert(path.pointer.clone(), span);
    }

    /// A map of options against the schemas that describe it together; the first that knows a key decides.
    /// `whole` is underlined when something is missing.
    pub fn object(
        &mut self,
        entries: &[Entry],
        whole: Span,
        parts: &[Part<'_>],
        path: &Path,
        leaf: &Leaf<'_>,
    ) -> Map<String, Json> {
        let mut out = Map::new();
        let mut meant: Vec<String> = Vec::new();
        for entry in entries {
            let Some((canonical, sub)) = schema::property(parts, &entry.key) else {
                match schema::additional(parts) {
                    Some(extra) => {
                        let path = path.key(&entry.key);
                        self.mark(&path, entry.place());
                        let leaf = leaf.entry(entry, leaf.rules.under(&entry.key));
                        out.insert(entry.key.clone(), self.value(&entry.value, extra, &path, &leaf));
                    }
                    None => meant.extend(self.unknown_option(entry, parts, path, leaf)),
                }
                continue;
            };
            let path = path.key(&canonical);
            if out.contains_key(&canonical) {
                self.problems.push(
                    Diagnostic::error(
                        codes::DUPLICATE_KEY,
                        format!("`{}` and `{canonical}` are the same option", entry.written_key()),
                    )
                    .at(&path.dotted, Some(entry.key_span))
                    .label("given twice")
                    .help("remove one of the two"),
                );
                continue;
            }
            self.mark(&path, entry.place());
            let leaf = leaf.entry(entry, leaf.rules.declared(&canonical, sub.secret()));
            let value = self.value(&entry.value, sub, &path, &leaf);
            // `key:` with nothing after it says the same as leaving the key out.
            if !(value.is_null() && entry.value.is_null()) || sub.accepts_null() {
                out.insert(canonical, value);
            }
        }
        let given = |name: &str| {
            entries.iter().any(|entry| schema::property(parts, &entry.key).is_some_and(|(canonical, _)| canonical == name))
        };
        for part in parts.iter().filter(|part| part.required) {
            for (name, sub) in part.sub.required() {
                // A misspelt option is one problem, not two.
                if given(name) || meant.iter().any(|word| word == name) {
                    continue;
                }
                let place = self.missing(name, leaf);
                let mut problem = Diagnostic::error(codes::MISSING_OPTION, place)
                    .at(&path.key(name).dotted, Some(whole))
                    .expected(sub.in_words());
                if part.connection {
                    problem = problem.help(format!("add `{name}`, or name a stored connection: `connection: NAME`"));
                } else if let Some(about) = sub.about() {
                    problem = problem.help(format!("`{name}`: {about}"));
                }
                self.problems.push(problem);
            }
        }
        out
    }

    fn missing(&self, name: &str, leaf: &Leaf<'_>) -> String {
        match &leaf.inside {
            Some(inside) => format!("`{inside}` of {} needs `{name}`", leaf.subject.what),
            None => format!("{} needs `{name}`", leaf.subject.what),
        }
    }

    /// Reports the key and returns the option that was probably meant.
    fn unknown_option(&mut self, entry: &Entry, parts: &[Part<'_>], path: &Path, leaf: &Leaf<'_>) -> Option<String> {
        if self.problems.full() {
            return None;
        }
        let names = schema::names(parts);
        let word = nearest(&entry.key, names.iter().map(|(name, _)| name.as_str()))
            // A near miss of an alias means the option behind it.
            .and_then(|word| names.iter().find(|(name, _)| *name == word).map(|(_, canonical)| canonical.clone()));
        let place = match &leaf.inside {
            Some(inside) => format!("in `{inside}` of {}", leaf.subject.what),
            None => format!("for {}", leaf.subject.what),
        };
        let mut allowed: Vec<&str> =
            names.iter().filter(|(name, canonical)| name == canonical).map(|(name, _)| name.as_str()).collect();
        // The list may be cut: what was meant comes first.
        allowed.sort_by_key(|name| word.as_deref() != Some(*name));
        self.problems.push(
            Diagnostic::error(codes::UNKNOWN_OPTION, format!("unknown option `{}` {place}", short(entry.written_key())))
                .at(&path.key(&entry.key).dotted, Some(entry.key_span))
                .label("not an option here")
                .did_you_mean(word.clone())
                .expected(one_of(allowed))
                .help(format!("all options: {}", leaf.subject.see)),
        );
        word
    }

    /// One value against its schema.
    pub fn value(&mut self, tree: &Tree, sub: Sub<'_>, path: &Path, leaf: &Leaf<'_>) -> Json {
        let sub = sub.resolve();
        if sub.is_anything() {
            return self.raw(tree, path, leaf);
        }
        let variants = sub.variants();
        if !variants.is_empty() {
            return self.union(tree, sub, &variants, path, leaf);
        }
        if let Some(words) = sub.words() {
            return self.word(tree, &words, path, leaf);
        }
        match &tree.value {
            Value::Null if sub.is("null") => Json::Null,
            Value::Bool(value) if sub.is("boolean") => Json::Bool(*value),
            Value::Number(number) if sub.is("number") || (sub.is("integer") && !number.is_f64()) => {
                self.range(tree, number, sub, path, leaf);
                Json::Number(number.clone())
            }
            Value::Text { text, .. } if sub.is("string") => {
                let rules = leaf.rules.merged(sub.secret());
                if !self.text(text, tree.span, path, leaf, &rules) {
                    self.unit(text, tree, sub, path, leaf);
                }
                Json::String(text.clone())
            }
            // `${PORT}` becomes a number when it is resolved.
            Value::Text { text, .. } if (sub.is("integer") || sub.is("number") || sub.is("boolean")) && has_reference(text) => {
                self.text(text, tree.span, path, leaf, &leaf.rules);
                Json::String(text.clone())
            }
            Value::List(items) if sub.is("array") => {
                if items.len() < sub.min_items() {
                    self.wrong_type(tree, "is empty".into(), sub, path, leaf, None);
                }
                let checked = items.iter().enumerate().map(|(index, item)| {
                    let path = path.index(index);
                    self.mark(&path, item.span);
                    let leaf = Leaf { name: format!("{}[{index}]", leaf.name), ..leaf.clone() };
                    match sub.item(index) {
                        Some(item_schema) => self.value(item, item_schema, &path, &leaf),
                        None => self.raw(item, &path, &leaf),
                    }
                });
                Json::Array(checked.collect())
            }
            Value::Map(entries) if sub.is("object") => {
                let whole = self.spans.get(&path.pointer).copied().unwrap_or(tree.span);
                Json::Object(self.object(entries, whole, &[Part::of(sub)], path, &leaf.opened()))
            }
            _ => {
                let suggestion = sub.mended(tree);
                self.wrong_type(tree, format!("is {}", tree.kind()), sub, path, leaf, suggestion);
                tree.to_json()
            }
        }
    }

    /// A value without a schema: taken as it is; its strings are looked at all the same.
    pub fn raw(&mut self, tree: &Tree, path: &Path, leaf: &Leaf<'_>) -> Json {
        match &tree.value {
            Value::Text { text, .. } => {
                self.text(text, tree.span, path, leaf, &leaf.rules);
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = path.index(index);
                    self.mark(&path, item.span);
                    self.raw(item, &path, leaf);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let path = path.key(&entry.key);
                    self.mark(&path, entry.place());
                    let leaf = leaf.entry(entry, leaf.rules.under(&entry.key));
                    self.raw(&entry.value, &path, &leaf.opened());
                }
            }
            _ => {}
        }
        tree.to_json()
    }

    /// Looks into a string; true if it was reported.
    fn text(&mut self, text: &str, span: Span, path: &Path, leaf: &Leaf<'_>, rules: &TextRules) -> bool {
        let found = text::check(text, &leaf.name, rules);
        let broken = found.iter().any(Diagnostic::is_error);
        for diagnostic in found {
            self.problems.push(diagnostic.at(&path.dotted, Some(span)));
        }
        broken
    }

    pub(super) fn word(&mut self, tree: &Tree, words: &[String], path: &Path, leaf: &Leaf<'_>) -> Json {
        let all = words.iter().map(String::as_str);
        match &tree.value {
            Value::Text { text, .. } if words.contains(text) => {}
            Value::Text { text, .. } if has_reference(text) => {
                self.text(text, tree.span, path, leaf, &leaf.rules);
            }
            Value::Text { text, .. } => self.problems.push(
                Diagnostic::error(
                    codes::OPTION_WORD,
                    format!("`{}` of {} cannot be `{}`", leaf.name, leaf.subject.what, short(text)),
                )
                .at(&path.dotted, Some(tree.span))
                .label("not a word it knows")
                .did_you_mean(nearest(text, all.clone()))
                .expected(one_of(all)),
            ),
            _ => self.problems.push(
                Diagnostic::error(
                    codes::OPTION_TYPE,
                    format!("`{}` of {} must be {}", leaf.name, leaf.subject.what, one_of(all.clone())),
                )
                .at(&path.dotted, Some(self.place(tree, path)))
                .label(format!("this is {}", tree.kind()))
                .expected(one_of(all)),
            ),
        }
        tree.to_json()
    }

    fn place(&self, tree: &Tree, path: &Path) -> Span {
        match tree.value {
            Value::Map(_) | Value::List(_) | Value::Null => self.spans.get(&path.pointer).copied().unwrap_or(tree.span),
            _ => tree.span,
        }
    }

    pub(super) fn wrong_type(
        &mut self,
        tree: &Tree,
        found: String,
        sub: Sub<'_>,
        path: &Path,
        leaf: &Leaf<'_>,
        suggestion: Option<String>,
    ) {
        let expected = sub.in_words();
        let message = match tree.value {
            Value::Null => format!("`{}` of {} has no value", leaf.name, leaf.subject.what),
            _ => format!("`{}` of {} must be {expected}", leaf.name, leaf.subject.what),
        };
        let mut problem =
            Diagnostic::error(codes::OPTION_TYPE, message).at(&path.dotted, Some(self.place(tree, path))).expected(expected);
        problem = match tree.value {
            Value::Null => problem.label("nothing follows"),
            _ => problem.label(format!("this {found}")),
        };
        // A secret is not repeated, whatever its type.
        if let Some(suggestion) = suggestion.filter(|_| !leaf.rules.secret && !sub.secret()) {
            problem = problem.help(format!("write {suggestion}"));
            problem.suggestion = Some(suggestion);
        }
        self.problems.push(problem);
    }

    fn range(&mut self, tree: &Tree, number: &serde_json::Number, sub: Sub<'_>, path: &Path, leaf: &Leaf<'_>) {
        let (low, high) = sub.range();
        let outside = if let Some(n) = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)) {
            low.is_some_and(|low| n < low) || high.is_some_and(|high| n > high)
        } else {
            let n = number.as_f64().unwrap_or_default();
            low.is_some_and(|low| n < low as f64) || high.is_some_and(|high| n > high as f64)
        };
        if outside {
            let bounds = match (low, high) {
                (Some(low), Some(high)) => format!("from {low} to {high}"),
                (Some(low), None) => format!("at least {low}"),
                (None, Some(high)) => format!("at most {high}"),
                (None, None) => return,
            };
            self.problems.push(
                Diagnostic::error(codes::RANGE, format!("`{}` of {} must be {bounds}", leaf.name, leaf.subject.what))
                    .at(&path.dotted, Some(tree.span))
                    .label("out of range")
                    .expected(bounds),
            );
        }
    }

    fn unit(&mut self, text: &str, tree: &Tree, sub: Sub<'_>, path: &Path, leaf: &Leaf<'_>) {
        if has_reference(text) {
            return;
        }
        let (right, noun, example, suggestion) = match sub.unit() {
            Some("duration") => (
                units::duration_ms(text).is_some(),
                "duration",
                "a duration such as 500ms, 5s, 10m, 1h, 1d",
                units::suggest_duration(text),
            ),
            Some("size") => {
                (units::size_bytes(text).is_some(), "size", "a size such as 512KiB, 64MiB, 1GiB", units::suggest_size(text))
            }
            _ => return,
        };
        if !right {
            self.problems.push(
                Diagnostic::error(
                    codes::UNIT,
                    format!("`{}` of {} is not a {noun}: `{}`", leaf.name, leaf.subject.what, short(text)),
                )
                .at(&path.dotted, Some(tree.span))
                .label("one whole number and one unit")
                .did_you_mean(suggestion)
                .expected(example),
            );
        }
    }
}
