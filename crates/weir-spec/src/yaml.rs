//! Writing YAML that reads back as the same values, and that a person would have written.

use serde_json::{Map, Value as Json};

/// Lists of scalars up to this width stay on one line.
const WIDTH: usize = 90;

/// A map as one document. It reads back as the same values.
pub fn to_yaml(entries: &Map<String, Json>) -> String {
    let mut out = String::new();
    map(entries, 0, &mut out);
    out
}

/// The documents of any YAML or JSON text, without their places; `None` if it is neither.
pub fn from_yaml(text: &str) -> Option<Vec<Json>> {
    crate::texts(text).map(|texts| texts.documents)
}

/// A map as a block, at this depth of indentation.
pub(crate) fn map(entries: &Map<String, Json>, depth: usize, out: &mut String) {
    for (key, value) in entries {
        indent(depth, out);
        entry(key, value, depth, out);
    }
}

/// `key: value` with its line end; the place before the key is written already.
fn entry(key: &str, value: &Json, depth: usize, out: &mut String) {
    out.push_str(&scalar_text(key));
    out.push(':');
    match value {
        Json::Object(inner) if !inner.is_empty() => {
            out.push('\n');
            map(inner, depth + 1, out);
        }
        Json::Array(items) if !items.is_empty() => match flow(items, WIDTH.saturating_sub(depth * 2 + key.len())) {
            Some(line) => {
                out.push(' ');
                out.push_str(&line);
                out.push('\n');
            }
            None => {
                out.push('\n');
                list(items, depth + 1, out);
            }
        },
        Json::String(text) if block_text(text) => block(text, depth + 1, out),
        other => {
            out.push(' ');
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

fn list(items: &[Json], depth: usize, out: &mut String) {
    for item in items {
        indent(depth, out);
        out.push_str("- ");
        match item {
            Json::Object(inner) if !inner.is_empty() => {
                for (index, (key, value)) in inner.iter().enumerate() {
                    if index > 0 {
                        indent(depth + 1, out);
                    }
                    entry(key, value, depth + 1, out);
                }
            }
            Json::Array(inner) if !inner.is_empty() => match flow(inner, usize::MAX) {
                Some(line) => {
                    out.push_str(&line);
                    out.push('\n');
                }
                None => {
                    // A nested list starts on a line of its own; `-` alone is followed by it.
                    out.pop();
                    out.push('\n');
                    list(inner, depth + 1, out);
                }
            },
            other => {
                out.push_str(&scalar(other));
                out.push('\n');
            }
        }
    }
}

/// A list of scalars on one line, if it fits.
fn flow(items: &[Json], width: usize) -> Option<String> {
    let mut parts = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Json::Object(inner) if !inner.is_empty() => return None,
            Json::Array(inner) if !inner.is_empty() => return None,
            Json::String(text) if text.contains('\n') => return None,
            other => parts.push(scalar(other)),
        }
    }
    let line = format!("[{}]", parts.join(", "));
    (line.chars().count() <= width || items.len() == 1).then_some(line)
}

fn scalar(value: &Json) -> String {
    match value {
        Json::String(text) => scalar_text(text),
        Json::Object(_) => "{}".into(),
        Json::Array(_) => "[]".into(),
        other => other.to_string(),
    }
}

/// Text as it may stand between brackets and as a key: plain if nothing in it could be misread.
fn scalar_text(text: &str) -> String {
    let safe_first = |c: char| {
        c.is_ascii_alphabetic()
            || c == '/'
            || c == '_'
            || c == '.'
            || c == '('
            || c == '$'
            || (c.is_alphabetic() && !c.is_ascii())
    };
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./()$=<>+*;@ ".contains(c) || (c.is_alphabetic() && !c.is_ascii());
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan"];
    let plain = text.starts_with(safe_first)
        && text.chars().all(safe)
        && !text.ends_with(' ')
        && !words.contains(&text.to_lowercase().as_str())
        && !text.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit())
        && !text.starts_with("...");
    if plain { text.to_string() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Invisible characters and those that YAML takes for line ends.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether text of several lines can stand as a block without a change.
fn block_text(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && !text.ends_with("\n\n")
        && text.chars().all(|c| c == '\n' || !(c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')))
        && text.lines().all(|line| !line.ends_with(' ') && line.trim().is_empty() == line.is_empty())
}

fn block(text: &str, depth: usize, out: &mut String) {
    out.push_str(if text.ends_with('\n') { " |\n" } else { " |-\n" });
    for line in text.lines() {
        if !line.is_empty() {
            indent(depth, out);
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}
