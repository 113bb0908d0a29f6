//! YAML and JSON as one tree in which every value and key knows its place.
//!
//! Loading is total: whatever the bytes, it ends with a tree or a diagnostic, in bounded time and memory. What the
//! tree means is not decided here.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Number, Value as Json};

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::json_text;
use crate::model::Span;
use crate::problems::{Problems, short};

/// Larger files are refused unread: a pipeline is written by hand or by a small program.
pub(crate) const MAX_BYTES: usize = 4 << 20;
/// Deeper nesting is refused; everything after may recurse.
pub(crate) const MAX_DEPTH: usize = 128;
/// More values, copies through aliases included, are refused.
const MAX_VALUES: usize = 200_000;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    pub value: Value,
    pub span: Span,
}

/// What it is. `plain` text was written without quotes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text { text: String, plain: bool },
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Tree,
    /// The key as the author wrote it, where lowering gave it another name.
    pub written: Option<String>,
}

impl Tree {
    pub fn text(text: impl Into<String>, span: Span) -> Self {
        Self { value: Value::Text { text: text.into(), plain: false }, span }
    }
    pub fn map(entries: Vec<Entry>, span: Span) -> Self {
        Self { value: Value::Map(entries), span }
    }
    pub fn list(items: Vec<Tree>, span: Span) -> Self {
        Self { value: Value::List(items), span }
    }
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text { text, .. } => Some(text),
            _ => None,
        }
    }
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }
    pub fn as_list(&self) -> Option<&[Tree]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.as_map()?.iter().find(|entry| entry.key == key)
    }
    /// The type in words: `text`, `a list`.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(number) if number.is_f64() => "a number",
            Value::Number(_) => "a whole number",
            Value::Text { .. } => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
    /// The value without its places.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Text { text, .. } => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Tree::to_json).collect()),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>())
            }
        }
    }
}

impl Entry {
    pub fn new(key: impl Into<String>, key_span: Span, value: Tree) -> Self {
        Self { key: key.into(), key_span, value, written: None }
    }
    /// The same entry under another name; messages keep the written one.
    pub fn renamed(&self, key: &str) -> Self {
        Self { key: key.into(), written: Some(self.written_key().to_string()), ..self.clone() }
    }
    /// The key as the author wrote it.
    pub fn written_key(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.key)
    }
    /// The place to underline for this entry: a scalar itself, the key of anything larger.
    pub fn place(&self) -> Span {
        match self.value.value {
            Value::List(_) | Value::Map(_) | Value::Null => self.key_span,
            _ => self.value.span,
        }
    }
}

/// The documents of a file. Empty documents are left out unless there is no other.
pub(crate) fn load(text: &str, problems: &mut Problems) -> Vec<Tree> {
    if text.len() > MAX_BYTES {
        let limit = MAX_BYTES >> 20;
        problems.push(
            Diagnostic::error(
                codes::TOO_MUCH,
                format!("the file has {} bytes; a pipeline file has at most {limit} MiB", text.len()),
            )
            .help("split it into several files"),
        );
        return Vec::new();
    }
    // A byte order mark is no part of the first line.
    let (body, base) = text.strip_prefix('\u{feff}').map_or((text, 0), |body| (body, 3));
    let json = json_text::looks_like_json(body);
    let body = if json { json_text::as_yaml(body) } else { body.into() };
    let places = Places::new(&body, base);
    if let Some((index, character)) =
        body.chars().enumerate().find(|(_, c)| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
    {
        problems.push(
            Diagnostic::error(
                codes::CONTROL_CHARACTER,
                format!("the file contains the control character U+{:04X}", u32::from(character)),
            )
            .at("", Some(places.span(index, index + 1)))
            .help("write it as an escape in double quotes, or remove it"),
        );
        return Vec::new();
    }
    let mut builder = Builder {
        places: &places,
        problems,
        frames: Vec::new(),
        anchors: HashMap::new(),
        values: 0,
        documents: Vec::new(),
        saw_empty: false,
    };
    let mut parser = Parser::new_from_str(&body);
    while let Some(step) = parser.next_event() {
        match step {
            Ok((event, span)) => {
                if builder.event(event, span.start.index(), span.end.index()).is_none() {
                    break;
                }
            }
            Err(error) => {
                let diagnostic = explain(&error, &body, &places, json);
                builder.problems.push(diagnostic);
                break;
            }
        }
    }
    let (documents, saw_empty) = (builder.documents, builder.saw_empty);
    if documents.is_empty() && (saw_empty || !problems.list.iter().any(Diagnostic::is_error)) {
        problems.push(
            Diagnostic::error(codes::EMPTY, "there is no pipeline in this file")
                .at("", Some(places.span(0, 0)))
                .help("start with `pipeline: NAME`, or let `weir init` write a starter"),
        );
    }
    documents
}

/// From the parser's character counts to bytes, lines and columns.
struct Places {
    /// Byte offset of each character; `None` if every character is one byte.
    bytes: Option<Vec<usize>>,
    /// Character index of the start of each line.
    lines: Vec<usize>,
    characters: usize,
    base: usize,
}

impl Places {
    fn new(text: &str, base: usize) -> Self {
        let bytes = (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).chain([text.len()]).collect::<Vec<_>>());
        let mut lines = vec![0];
        let mut characters = 0;
        for character in text.chars() {
            characters += 1;
            if character == '\n' {
                lines.push(characters);
            }
        }
        Self { bytes, lines, characters, base }
    }

    fn span(&self, start: usize, end: usize) -> Span {
        let start = start.min(self.characters);
        let end = end.clamp(start, self.characters);
        let line = self.lines.partition_point(|first| *first <= start).max(1);
        let byte = |index: usize| self.base + self.bytes.as_ref().map_or(index, |bytes| bytes[index]);
        Span { start: byte(start), end: byte(end), line, column: start - self.lines[line - 1] + 1 }
    }
}

enum Open {
    List(Vec<Tree>),
    Map { entries: Vec<Entry>, seen: HashSet<String>, key: Option<Key> },
}

struct Key {
    text: String,
    span: Span,
    usable: bool,
}

struct Frame {
    open: Open,
    span: Span,
    anchor: usize,
}

struct Anchored {
    tree: Tree,
    values: usize,
    depth: usize,
}

struct Builder<'a> {
    places: &'a Places,
    problems: &'a mut Problems,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    values: usize,
    documents: Vec<Tree>,
    saw_empty: bool,
}

impl Builder<'_> {
    /// `None` stops loading.
    fn event(&mut self, event: Event<'_>, start: usize, end: usize) -> Option<()> {
        let span = self.places.span(start, end);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, span)?;
                let is_key = matches!(self.frames.last(), Some(Frame { open: Open::Map { key: None, .. }, .. }));
                let value = if is_key {
                    Value::Text { text: text.into_owned(), plain: style == ScalarStyle::Plain }
                } else {
                    self.scalar(text.into_owned(), style, tag.as_deref(), span)
                };
                self.add(Tree { value, span }, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                self.open(Open::List(Vec::new()), span, anchor)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                self.open(Open::Map { entries: Vec::new(), seen: HashSet::new(), key: None }, span, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let frame = self.frames.pop()?;
                let (value, last) = match frame.open {
                    Open::List(items) => {
                        let last = items.last().map(|item| item.span.end);
                        (Value::List(items), last)
                    }
                    Open::Map { entries, .. } => {
                        let last = entries.last().map(|entry| entry.value.span.end.max(entry.key_span.end));
                        (Value::Map(entries), last)
                    }
                };
                // A block ends where its last value ends; only `}` and `]` have a place of their own.
                let end = if span.end > span.start { span.end } else { last.unwrap_or(frame.span.end) };
                let span = Span { end: end.max(frame.span.start), ..frame.span };
                self.add(Tree { value, span }, frame.anchor)?;
            }
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(anchored) => {
                    let (values, depth) = (anchored.values, anchored.depth);
                    let tree = anchored.tree.clone();
                    self.count(values, span)?;
                    self.deeper(depth, span)?;
                    self.add(tree, 0)?;
                }
                None => {
                    self.problems.push(
                        Diagnostic::error(codes::SYNTAX, "this alias stands inside the value that it repeats").at("", Some(span)),
                    );
                    return None;
                }
            },
        }
        Some(())
    }

    fn count(&mut self, values: usize, span: Span) -> Option<()> {
        self.values += values;
        if self.values <= MAX_VALUES {
            return Some(());
        }
        self.problems.push(
            Diagnostic::error(codes::TOO_MUCH, format!("the file holds more than {MAX_VALUES} values"))
                .at("", Some(span))
                .help("aliases count as often as they are used"),
        );
        None
    }

    fn deeper(&mut self, levels: usize, span: Span) -> Option<()> {
        if self.frames.len() + levels <= MAX_DEPTH {
            return Some(());
        }
        self.problems
            .push(Diagnostic::error(codes::TOO_MUCH, format!("values are nested more than {MAX_DEPTH} deep")).at("", Some(span)));
        None
    }

    fn open(&mut self, open: Open, span: Span, anchor: usize) -> Option<()> {
        self.count(1, span)?;
        self.deeper(1, span)?;
        self.frames.push(Frame { open, span, anchor });
        Some(())
    }

    fn add(&mut self, mut tree: Tree, anchor: usize) -> Option<()> {
        if anchor > 0 {
            let (values, depth) = measure(&tree);
            self.count(values, tree.span)?;
            self.anchors.insert(anchor, Anchored { tree: tree.clone(), values, depth });
        }
        match self.frames.last_mut() {
            None if tree.is_null() => self.saw_empty = true,
            None => self.documents.push(tree),
            Some(Frame { open: Open::List(items), .. }) => items.push(tree),
            Some(Frame { open: Open::Map { entries, seen, key }, .. }) => match key.take() {
                None => *key = Some(self::key(tree, seen, self.problems)),
                Some(key) => {
                    // An empty value has no place worth pointing at.
                    if tree.is_null() && tree.span.start >= tree.span.end {
                        tree.span = key.span;
                    }
                    if key.usable {
                        entries.push(Entry::new(key.text, key.span, tree));
                    }
                }
            },
        }
        Some(())
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: Span) {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "map" | "seq"))
        {
            self.unknown_tag(tag, span);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, span: Span) {
        let name = if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { tag.to_string() };
        self.problems.push(
            Diagnostic::error(codes::TAG, format!("the YAML tag `{}` means nothing in a pipeline file", short(&name)))
                .at("", Some(span))
                .help("remove the tag; quotes make text of anything"),
        );
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Value {
        let plain = style == ScalarStyle::Plain;
        match tag {
            None => {}
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => return Value::Text { text, plain: false },
            Some(tag) if tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "int" | "float" | "bool" | "null") => {}
            Some(tag) if tag.handle.is_empty() && tag.suffix == "!" => return Value::Text { text, plain: false },
            Some(tag) => self.unknown_tag(tag, span),
        }
        if !plain {
            return Value::Text { text, plain };
        }
        match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Value::Null,
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            _ => match number(&text) {
                Reading::Text => Value::Text { text, plain },
                Reading::Number(number) => Value::Number(number),
                Reading::Bent(why) => {
                    self.problems.push(
                        Diagnostic::error(codes::NUMBER, format!("the number `{}` {why}", short(&text)))
                            .at("", Some(span))
                            .label("would not stay what it is")
                            .help(format!("if it is text, write it in quotes: \"{}\"", short(&text))),
                    );
                    // As text it is at least not changed.
                    Value::Text { text, plain }
                }
            },
        }
    }
}

fn key(tree: Tree, seen: &mut HashSet<String>, problems: &mut Problems) -> Key {
    let span = tree.span;
    let text = match tree.value {
        Value::Text { text, .. } => text,
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::List(_) | Value::Map(_) => {
            problems.push(
                Diagnostic::error(codes::KEY_NOT_TEXT, "a list or map cannot be a key")
                    .at("", Some(span))
                    .help("put text that contains `{`, `[` or `*` in quotes"),
            );
            return Key { text: String::new(), span, usable: false };
        }
    };
    let usable = seen.insert(text.clone());
    if !usable {
        problems.push(
            Diagnostic::error(codes::DUPLICATE_KEY, format!("the key `{}` stands here twice", short(&text)))
                .at("", Some(span))
                .label("the second one")
                .help("remove one of the two"),
        );
    }
    Key { text, span, usable }
}

/// How many values a tree holds and how deep it is.
fn measure(tree: &Tree) -> (usize, usize) {
    let children: Vec<(usize, usize)> = match &tree.value {
        Value::List(items) => items.iter().map(measure).collect(),
        Value::Map(entries) => entries.iter().map(|entry| measure(&entry.value)).collect(),
        _ => return (1, 0),
    };
    let values = children.iter().map(|(values, _)| values).sum::<usize>() + 1;
    (values, children.iter().map(|(_, depth)| *depth).max().unwrap_or(0) + 1)
}

enum Reading {
    Text,
    Number(Number),
    /// It is a number, but reading it would change it.
    Bent(&'static str),
}

/// Numbers as YAML 1.2 has them, refused where reading would change them.
fn number(text: &str) -> Reading {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => return Reading::Bent("is not finite"),
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            return u64::from_str_radix(digits, radix)
                .map_or(Reading::Bent("has more digits than a 64-bit number holds"), |n| Reading::Number(n.into()));
        }
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let shaped = digits(whole)
        && fraction.is_none_or(digits)
        && !(whole.is_empty() && fraction.is_none_or(str::is_empty))
        && exponent.is_none_or(|e| {
            let e = e.strip_prefix(['-', '+']).unwrap_or(e);
            !e.is_empty() && digits(e)
        });
    if !shaped {
        return Reading::Text;
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return Reading::Bent("has a leading zero");
    }
    if fraction.is_none() && exponent.is_none() {
        if let Ok(n) = text.parse::<i64>() {
            return Reading::Number(n.into());
        }
        return match text.strip_prefix('+').unwrap_or(text).parse::<u64>() {
            Ok(n) => Reading::Number(n.into()),
            Err(_) => Reading::Bent("has more digits than a 64-bit number holds"),
        };
    }
    let significant = mantissa.chars().filter(char::is_ascii_digit).collect::<String>();
    if significant.trim_start_matches('0').len() > 17 {
        return Reading::Bent("has more digits than a floating-point number holds");
    }
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) => Reading::Number(number),
        None => Reading::Bent("is too large"),
    }
}

/// The parser's complaint in words that help.
fn explain(error: &ScanError, text: &str, places: &Places, json: bool) -> Diagnostic {
    let index = error.marker().index();
    let span = places.span(index, index + 1);
    let start = span.start - places.base;
    let line_start = text[..start.min(text.len())].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    let at_end = text[start.min(text.len())..].trim().is_empty();
    let what = if json { "JSON" } else { "YAML" };
    let diagnostic = |message: String, help: &str| {
        let built = Diagnostic::error(codes::SYNTAX, message).at("", Some(span));
        if help.is_empty() { built } else { built.help(help) }
    };
    let info = error.info();
    if !json && line.trim_start_matches(' ').starts_with('\t') {
        return diagnostic("a tab indents this line".into(), "indent with spaces; YAML has no tabs");
    }
    if info.contains("undefined") || info.contains("unknown anchor") {
        return diagnostic(
            "there is no anchor of this name".into(),
            "text that starts with `*` needs quotes, a cron expression for example",
        );
    }
    if json && at_end {
        return diagnostic("the JSON ends too early".into(), "a bracket or a quote was opened and not closed");
    }
    if info.contains("mapping values are not allowed") {
        return diagnostic(
            "a `:` stands where no key can be".into(),
            "check the indentation, or put text that contains `: ` in quotes",
        );
    }
    if info.contains("quoted scalar") {
        return diagnostic("a quote is opened and not closed".into(), "add the closing quote, or quote the whole text");
    }
    let help = if json { "look for a missing comma, quote or bracket just before this place" } else { "" };
    diagnostic(format!("this is not valid {what}: {info}"), help)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Tree {
        let mut problems = Problems::default();
        let mut documents = load(text, &mut problems);
        assert!(problems.list.is_empty(), "{:?}", problems.list);
        assert_eq!(documents.len(), 1);
        documents.remove(0)
    }

    #[test]
    fn places_count_characters_and_bytes() {
        let tree = one("größe: \"ä\"\nlist:\n  - ünd: 1\n");
        let entry = tree.get("größe").unwrap();
        assert_eq!((entry.value.span.start, entry.value.span.end), (9, 13));
        assert_eq!((entry.value.span.line, entry.value.span.column), (1, 8));
        let inner = tree.get("list").unwrap().value.as_list().unwrap()[0].get("ünd").unwrap();
        assert_eq!((inner.key_span.line, inner.key_span.column), (3, 5));
    }

    #[test]
    fn a_byte_order_mark_moves_bytes_but_not_columns() {
        let tree = one("\u{feff}a: b");
        let span = tree.get("a").unwrap().key_span;
        assert_eq!((span.start, span.column), (3, 1));
    }

    #[test]
    fn scalars_are_read_by_the_core_schema_only() {
        let tree = one("[yes, on, 1_000, 2024-01-01, 0x10, 1e3, -0.5, ~, 12:30, +7, 'a', 1.]");
        assert_eq!(tree.to_json().to_string(), r#"["yes","on","1_000","2024-01-01",16,1000.0,-0.5,null,"12:30",7,"a",1.0]"#);
    }

    #[test]
    fn numbers_that_would_change_are_refused() {
        for text in ["a: 007", "a: 1234567890123456789012", "a: 0.1234567890123456789", "a: .nan", "a: 1e999"] {
            let mut problems = Problems::default();
            load(text, &mut problems);
            assert_eq!(problems.list.iter().map(|d| d.code.as_str()).collect::<Vec<_>>(), [codes::NUMBER], "{text}");
        }
    }

    #[test]
    fn an_alias_bomb_is_stopped_by_its_size_and_by_its_depth() {
        let mut wide = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            wide += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
        }
        let mut deep = format!("a0: &a0 {}{}\n", "[".repeat(100), "]".repeat(100));
        for level in 1..100 {
            deep += &format!("a{level}: &a{level} {}*a{}{}\n", "[".repeat(100), level - 1, "]".repeat(100));
        }
        for text in [wide, deep, "[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(10_000), "a: &a [*a]".into()] {
            let mut problems = Problems::default();
            load(&text, &mut problems);
            assert!(problems.list.iter().any(Diagnostic::is_error));
        }
    }

    #[test]
    fn nothing_after_a_nul_is_lost_silently() {
        let mut problems = Problems::default();
        load("a: 1\n\0b: 2\n", &mut problems);
        assert_eq!(problems.list[0].code, codes::CONTROL_CHARACTER);
    }

    #[test]
    fn long_json_strings_are_values() {
        let text = format!("{{\"a\": \"{}\", \"b\": [\"{}\"]}}", "x".repeat(5000), "y".repeat(5000));
        assert_eq!(one(&text).get("a").unwrap().value.as_text().unwrap().len(), 5000);
    }
}
