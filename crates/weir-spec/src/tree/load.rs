//! From text to trees: the events of the YAML parser, with limits.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::number::{Reading, number};
use super::syntax::explain;
use super::{Entry, Tree, Value};
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
pub(super) struct Places {
    /// Byte offset of each character; `None` if every character is one byte.
    bytes: Option<Vec<usize>>,
    /// Character index of the start of each line.
    lines: Vec<usize>,
    characters: usize,
    /// Bytes before the text, those of a byte order mark.
    pub(super) base: usize,
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

    pub(super) fn span(&self, start: usize, end: usize) -> Span {
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
