//! Every text of a file with its place, for whoever changes a part of a file and leaves the rest as it was.
//!
//! Not what the texts mean: a caller that looks for something knows what it looks for.

use crate::json_text;
use crate::model::Span;
use crate::problems::Problems;
use crate::tree::{self, Tree, Value};

/// A scalar that is no key.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// The keys above it as written, from the top of its document; places in lists as numbers.
    pub keys: Vec<String>,
    /// Its text; a number or truth value as JSON writes it.
    pub text: String,
    /// Whether it is text (and not a number or a truth value).
    pub is_text: bool,
    /// Its characters in the file, quotes included, without the line end after it. Anything that is written there in
    /// double quotes, as JSON has them, reads as text.
    pub span: Span,
}

/// All scalars and comments of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Texts {
    /// In file order; what aliases repeat is there once.
    pub scalars: Vec<Scalar>,
    /// Byte ranges of the comments, with the `#` or `//`, without the line end.
    pub comments: Vec<(usize, usize)>,
    /// The documents as JSON, places and comments forgotten.
    pub documents: Vec<serde_json::Value>,
}

/// Reads a file in any of the forms. `None` if it is neither YAML nor JSON.
pub fn texts(text: &str) -> Option<Texts> {
    let mut problems = Problems::default();
    let documents = tree::load(text, &mut problems);
    if documents.is_empty() || problems.list.iter().any(crate::Diagnostic::is_error) {
        return None;
    }
    let mut out = Texts::default();
    // Quoted keys may hold a `#` too.
    let mut taken: Vec<(usize, usize)> = Vec::new();
    for document in &documents {
        walk(document, &mut Vec::new(), text, &mut out.scalars, &mut taken);
        out.documents.push(document.to_json());
    }
    out.scalars.sort_by_key(|scalar| (scalar.span.start, scalar.span.end));
    out.scalars.dedup_by_key(|scalar| (scalar.span.start, scalar.span.end));
    taken.sort_unstable();
    out.comments = comments(text, &taken);
    Some(out)
}

fn walk(tree: &Tree, keys: &mut Vec<String>, text: &str, out: &mut Vec<Scalar>, taken: &mut Vec<(usize, usize)>) {
    let mut scalar = |written: String, is_text: bool| {
        let span = trimmed(tree.span, text);
        taken.push((span.start, span.end));
        out.push(Scalar { keys: keys.clone(), text: written, is_text, span });
    };
    match &tree.value {
        Value::Null => {}
        Value::Bool(value) => scalar(value.to_string(), false),
        Value::Number(number) => scalar(number.to_string(), false),
        Value::Text { text, .. } => scalar(text.clone(), true),
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                keys.push(index.to_string());
                walk(item, keys, text, out, taken);
                keys.pop();
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                taken.push((entry.key_span.start, entry.key_span.end));
                keys.push(entry.key.clone());
                walk(&entry.value, keys, text, out, taken);
                keys.pop();
            }
        }
    }
}

/// The place of a scalar as its characters in the file: a block scalar's begins with its `|` or `>` and ends with its last line.
fn trimmed(span: Span, text: &str) -> Span {
    let mut span = span;
    let inside = text.get(span.start..span.end).unwrap_or_default();
    let end = span.start + inside.trim_end().len();
    // An anchor or tag stays: no plain text begins with their characters.
    let mut rest = inside;
    while rest.starts_with(['&', '!']) {
        rest = rest[rest.find(char::is_whitespace).unwrap_or(rest.len())..].trim_start();
    }
    span.column += inside[..inside.len() - rest.len()].chars().count();
    span.start += inside.len() - rest.len();
    if let Some(length) = quoted(rest) {
        return Span { end: span.start + length, ..span };
    }
    let before = text.get(..span.start).unwrap_or_default();
    let blank = before.trim_end();
    let line = &blank[blank.rfind('\n').map_or(0, |at| at + 1)..];
    let header = line.split(" #").next().unwrap_or_default().trim_end();
    let indicator = header.trim_end_matches(['+', '-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    if before[blank.len()..].contains('\n') && indicator.ends_with(['|', '>']) {
        let start = blank.len() - line.len() + indicator.len() - 1;
        return Span { start, end, line: span.line.saturating_sub(1), column: indicator.chars().count() };
    }
    Span { end, ..span }
}

/// Bytes up to the closing quote of a text that begins with a quote; the parser's place reaches over a comment behind it.
fn quoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let quote = *bytes.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote && quote == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

fn comments(text: &str, taken: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let blanked =
        if json_text::looks_like_json(text.trim_start_matches('\u{feff}')) { json_text::as_yaml(text) } else { text.into() };
    let blanked = blanked.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let next = taken.partition_point(|(start, _)| *start <= at);
        if let Some((_, end)) = next.checked_sub(1).map(|before| taken[before]).filter(|(_, end)| *end > at) {
            at = end;
            continue;
        }
        let first = at == 0 || bytes[at - 1].is_ascii_whitespace();
        let slashes = bytes[at] == b'/' && bytes.get(at + 1) == Some(&b'/') && blanked.get(at) == Some(&b' ');
        if slashes || (bytes[at] == b'#' && (first || matches!(bytes[at - 1], b',' | b'{' | b'[' | b'}' | b']'))) {
            let end = bytes[at..].iter().position(|b| matches!(b, b'\n' | b'\r')).map_or(bytes.len(), |n| at + n);
            out.push((at, end));
            at = end;
        } else {
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str, wanted: &str) -> String {
        let texts = texts(text).unwrap();
        let scalar = texts.scalars.iter().find(|scalar| scalar.text.trim() == wanted).unwrap();
        format!("{}\"NEW\"{}", &text[..scalar.span.start], &text[scalar.span.end..])
    }

    #[test]
    fn a_scalar_of_any_style_is_replaced_and_the_rest_stays() {
        for (text, after) in [
            ("a: hunter2 # why\nb: 1\n", "a: \"NEW\" # why\nb: 1\n"),
            ("a: 'hunter2' # it's\n", "a: \"NEW\" # it's\n"),
            ("{a: \"hunter2\" # \"\n}", "{a: \"NEW\" # \"\n}"),
            ("a: \"hunter2\"", "a: \"NEW\""),
            ("a: |\n  hunter2\nb: 1\n", "a: \"NEW\"\nb: 1\n"),
            ("a: >-\n    hunter2\n\nb: 1\n", "a: \"NEW\"\n\nb: 1\n"),
            ("a: &x hunter2\nb: *x\n", "a: &x \"NEW\"\nb: *x\n"),
            ("a: !!str hunter2\n", "a: !!str \"NEW\"\n"),
            ("{a: hunter2, b: [1]}", "{a: \"NEW\", b: [1]}"),
            ("{\"ü\": \"ä\", // c\n\t\"a\": \"hunter2\"}", "{\"ü\": \"ä\", // c\n\t\"a\": \"NEW\"}"),
            ("\u{feff}a: hunter2\n", "\u{feff}a: \"NEW\"\n"),
            ("a:\n  hunter2\nb: 1\n", "a:\n  \"NEW\"\nb: 1\n"),
            ("- x\n- a:\n    b: hunter2\n", "- x\n- a:\n    b: \"NEW\"\n"),
        ] {
            let got = replaced(text, "hunter2");
            assert_eq!(got, after);
            assert!(texts(&got).unwrap().scalars.iter().any(|scalar| scalar.text == "NEW"));
        }
    }

    #[test]
    fn keys_lead_to_a_scalar() {
        let texts = texts("a: {b: [x, {c: 5}]}\n---\nd: true\n").unwrap();
        let all: Vec<_> = texts.scalars.iter().map(|s| (s.keys.join("/"), s.text.as_str(), s.is_text)).collect();
        assert_eq!(all, [("a/b/0".into(), "x", true), ("a/b/1/c".into(), "5", false), ("d".into(), "true", false)]);
        assert_eq!(texts.documents.len(), 2);
    }

    #[test]
    fn comments_are_found_outside_of_scalars_only() {
        let text = "# top\na: 'x # no' # yes\nb: |\n  # no\n  y\nc#d: 1\n";
        let found: Vec<&str> = texts(text).unwrap().comments.iter().map(|(from, to)| &text[*from..*to]).collect();
        assert_eq!(found, ["# top", "# yes"]);
        let text = "// top\n{\"u\": \"http://x//y\", // why\n \"b\": 1}";
        let found: Vec<&str> = texts(text).unwrap().comments.iter().map(|(from, to)| &text[*from..*to]).collect();
        assert_eq!(found, ["// top", "// why"]);
        assert_eq!(texts("a: ["), None);
    }
}
