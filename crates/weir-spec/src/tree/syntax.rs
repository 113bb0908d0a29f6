//! The parser's complaints in words that help.

use saphyr_parser::ScanError;

use super::load::Places;
use crate::codes;
use crate::diagnostic::Diagnostic;

/// What is wrong with the text and, where that can be told, what to do.
pub(super) fn explain(error: &ScanError, text: &str, places: &Places, json: bool) -> Diagnostic {
    let index = error.marker().index();
    let mut span = places.span(index, index + 1);
    let start = span.start - places.base;
    let line_start = text[..start.min(text.len())].rfind('\n').map_or(0, |at| at + 1);
    let line = text[line_start..].lines().next().unwrap_or("");
    let at_end = text[start.min(text.len())..].trim().is_empty();
    let what = if json { "JSON" } else { "YAML" };
    if at_end {
        // Point at the last thing there is, not at the emptiness after it.
        let end = text.trim_end().chars().count();
        span = places.span(end.saturating_sub(1), end);
    }
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
    if info.contains("did not find expected ',' or") {
        return diagnostic(
            "a `,` or a closing bracket is missing before this".into(),
            "entries between brackets are separated by commas",
        );
    }
    if info.contains("did not find expected key") || info.contains("did not find expected '-' indicator") {
        return diagnostic(
            "this does not line up with the lines above".into(),
            "indent it like its neighbours, and close quotes and brackets before it",
        );
    }
    let help = if json { "look for a missing comma, quote or bracket just before this place" } else { "" };
    diagnostic(format!("this is not valid {what}: {info}"), help)
}
