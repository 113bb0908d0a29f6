//! Showing problems: on a terminal with the line underlined, and as JSON.
//!
//! Source lines are shown, so secrets in them are covered first: those that a diagnostic points at, everything after
//! a key that sounds like a secret, and passwords in URLs.

use codespan_reporting::diagnostic::{Diagnostic as Shown, Label, Severity as Level};
use codespan_reporting::files::{Error as FilesError, Files};
use codespan_reporting::term::{self, Config, Styles, StylesWriter, termcolor};
use serde_json::Value as Json;

use crate::codes;
use crate::diagnostic::{Diagnostic, Severity};
use crate::options::text::{password_in_url, sounds_secret};

/// Longer source lines are cut around the place.
const WIDTH: usize = 110;

/// The problems as a person reads them, and a closing line: `2 errors in orders.yaml`. Empty without problems.
pub fn terminal(diagnostics: &[Diagnostic], file_text: &str, color: bool) -> String {
    let Some(first) = diagnostics.first() else { return String::new() };
    let secrets: Vec<(usize, usize)> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.code == codes::LITERAL_SECRET)
        .filter_map(|diagnostic| diagnostic.span.map(|span| (span.start, span.end)))
        .collect();
    let config = Config::default();
    let mut out = String::new();
    for diagnostic in diagnostics {
        let line = diagnostic.span.and_then(|_| Line::of(diagnostic, file_text, &secrets));
        let shown = shown(diagnostic, line.as_ref());
        let line = line.unwrap_or_default();
        out.push_str(&emitted(&config, &line, &shown, color));
    }
    out.push_str(&closing(diagnostics, &first.file));
    out
}

fn emitted(config: &Config, line: &Line, shown: &Shown<()>, color: bool) -> String {
    let mut buffer = termcolor::Buffer::no_color();
    if color {
        buffer = termcolor::Buffer::ansi();
    }
    let styles = if color { Styles::default() } else { Styles::no_color() };
    let mut writer = StylesWriter::new(&mut buffer, &styles);
    if term::emit_to_write_style(&mut writer, config, line, shown).is_err() {
        // The place does not fit the text that was handed in: the message is still worth showing.
        return format!("{}: {}\n\n", shown.code.as_deref().unwrap_or_default(), shown.message);
    }
    let text = String::from_utf8_lossy(buffer.as_slice()).into_owned();
    // Borders with nothing beside them end in spaces.
    let mut out = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    out.push('\n');
    out
}

/// The problems as a JSON array of objects with `code`, `severity`, `message`, `file`, `line`, `column`, `path` and more.
pub fn json(diagnostics: &[Diagnostic]) -> Json {
    serde_json::to_value(diagnostics).unwrap_or_else(|_| Json::Array(Vec::new()))
}

fn closing(diagnostics: &[Diagnostic], file: &str) -> String {
    let count = |severity: Severity, noun: &str| {
        let n = diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
        match n {
            0 => None,
            1 => Some(format!("1 {noun}")),
            n => Some(format!("{n} {noun}s")),
        }
    };
    let parts: Vec<String> =
        [count(Severity::Error, "error"), count(Severity::Warning, "warning")].into_iter().flatten().collect();
    let place = if file.is_empty() { String::new() } else { format!(" in {file}") };
    format!("{}{place}\n", parts.join(", "))
}

fn shown(diagnostic: &Diagnostic, line: Option<&Line>) -> Shown<()> {
    let level = match diagnostic.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
    };
    let mut notes = Vec::new();
    if let Some(expected) = &diagnostic.expected {
        notes.push(format!("expected: {expected}"));
    }
    if let Some(help) = &diagnostic.help {
        notes.push(format!("help: {help}"));
    }
    let shown = Shown::new(level).with_code(&diagnostic.code).with_message(&diagnostic.message).with_notes(notes);
    match line {
        Some(line) => {
            let label = Label::primary((), line.start..line.end);
            shown.with_labels(vec![label.with_message(diagnostic.label.clone().unwrap_or_default())])
        }
        None => shown,
    }
}

/// The one line of the file that a problem points at, as it may be shown.
#[derive(Default)]
struct Line {
    name: String,
    text: String,
    number: usize,
    column: usize,
    start: usize,
    end: usize,
}

impl Line {
    fn of(diagnostic: &Diagnostic, file: &str, secrets: &[(usize, usize)]) -> Option<Self> {
        let span = diagnostic.span?;
        let before = file.get(..span.start)?;
        let first = before.rfind('\n').map_or(0, |at| at + 1);
        let first = if first == 0 && file.starts_with('\u{feff}') { 3 } else { first };
        let rest = file.get(first..)?;
        let text = rest.split('\n').next().unwrap_or(rest);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let last = first + text.len();
        let (start, end) = (span.start.clamp(first, last) - first, span.end.clamp(span.start.min(last), last).max(first) - first);
        let ranges = secrets.iter().filter(|(from, to)| *from < last && *to > first);
        let mut hidden: Vec<(usize, usize)> =
            ranges.map(|(from, to)| (from.max(&first) - first, to.min(&last) - first)).collect();
        hidden.extend(suspicious(text));
        let covered = cover(text, &hidden);
        let (text, start, end) = window(&covered, start, end.max(start));
        Some(Self { name: diagnostic.file.clone(), text, number: span.line, column: span.column, start, end })
    }
}

/// Cuts a long line around a place.
fn window(text: &str, start: usize, end: usize) -> (String, usize, usize) {
    let characters = text.chars().count();
    if characters <= WIDTH {
        return (text.into(), start, end);
    }
    let at = text[..start].chars().count();
    let from = at.saturating_sub(WIDTH / 3);
    let byte = |index: usize| text.char_indices().nth(index).map_or(text.len(), |(byte, _)| byte);
    let (first, last) = (byte(from), byte(from + WIDTH));
    let head = if first > 0 { "…" } else { "" };
    let tail = if last < text.len() { "…" } else { "" };
    let shift = |place: usize| place.clamp(first, last) - first + head.len();
    (format!("{head}{}{tail}", &text[first..last]), shift(start), shift(end))
}

/// Parts of a line that look like secrets although nothing may have been parsed.
fn suspicious(line: &str) -> Vec<(usize, usize)> {
    let mut out = Vec::new();
    for (at, _) in line.match_indices(':') {
        let key = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let word = &key
            [key.rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))).map_or(0, |n| n + last_len(key, n))..];
        if !sounds_secret(word) {
            continue;
        }
        let value_start = at + 1 + (line[at + 1..].len() - line[at + 1..].trim_start().len());
        let value = &line[value_start..];
        let bare = value.trim_start_matches(['"', '\'']);
        if ["${", "{{", "vault://", "file://"].iter().any(|reference| bare.starts_with(reference)) {
            continue;
        }
        let length = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].find(quote).map_or(value.len(), |n| n + 2),
            Some('[') => value.find(']').map_or(value.len(), |n| n + 1),
            Some('{') | None => continue,
            _ => value.find([',', '}', ' ']).unwrap_or(value.len()),
        };
        out.push((value_start, value_start + length));
    }
    let mut from = 0;
    while let Some(range) = password_in_url(&line[from..]) {
        out.push((from + range.start, from + range.end));
        from += range.end;
    }
    out
}

fn last_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}

/// Covers parts of a line. Every character keeps its number of bytes, so that places stay right.
fn cover(text: &str, hidden: &[(usize, usize)]) -> String {
    let covered = |at: usize| hidden.iter().any(|(from, to)| (*from..*to).contains(&at));
    text.char_indices()
        .map(|(at, character)| match character.len_utf8() {
            _ if !covered(at) || matches!(character, '"' | '\'') => character,
            1 => '*',
            2 => '·',
            3 => '•',
            _ => '𝟎',
        })
        .collect()
}

impl<'a> Files<'a> for Line {
    type FileId = ();
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, (): ()) -> Result<&'a str, FilesError> {
        Ok(&self.name)
    }
    fn source(&'a self, (): ()) -> Result<&'a str, FilesError> {
        Ok(&self.text)
    }
    fn line_index(&'a self, (): (), _: usize) -> Result<usize, FilesError> {
        Ok(0)
    }
    fn line_number(&'a self, (): (), _: usize) -> Result<usize, FilesError> {
        Ok(self.number.max(1))
    }
    fn column_number(&'a self, (): (), _: usize, _: usize) -> Result<usize, FilesError> {
        Ok(self.column.max(1))
    }
    fn line_range(&'a self, (): (), _: usize) -> Result<std::ops::Range<usize>, FilesError> {
        Ok(0..self.text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    fn at(start: usize, end: usize) -> Diagnostic {
        let mut diagnostic =
            Diagnostic::error(codes::UNKNOWN_KEY, "unknown key").at("x", Some(Span { start, end, line: 1, column: start + 1 }));
        diagnostic.file = "a.yaml".into();
        diagnostic
    }

    #[test]
    fn secrets_beside_the_place_are_covered() {
        for line in [
            "{fromat: x, password: hunter2, b: 1}",
            "{fromat: x, \"db.password\": \"hunter2\"}",
            "{fromat: x, url: postgresql://u:hunter2@db/x}",
            "{fromat: x, secret_key: 'hunter2}",
        ] {
            let text = terminal(&[at(1, 7)], line, false);
            assert!(!text.contains("hunter2") && text.contains("fromat"), "{text}");
        }
        assert!(terminal(&[at(1, 7)], "{fromat: x, password: ${PW}}", false).contains("${PW}"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let line = format!("{}fromat: 1{}", "x".repeat(5000), "y".repeat(5000));
        let text = terminal(&[at(5000, 5006)], &line, false);
        assert!(text.lines().all(|line| line.chars().count() < 140) && text.contains("fromat"), "{text}");
    }

    #[test]
    fn a_place_outside_of_the_text_is_no_reason_to_panic() {
        assert!(terminal(&[at(5000, 9000)], "short", true).contains("unknown key"));
        assert!(terminal(&[at(1, 2)], "ü", false).contains("unknown key"));
        assert_eq!(terminal(&[], "", false), "");
    }
}
