//! A user's query: its references become bound parameters. The value of a reference never enters the text.

use weir_connect::{Error, Kind, Result};

/// A reference in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// `${last_run_time}`.
    LastRunTime,
    /// `${cursor}`.
    Cursor,
}

/// A query with `?` in place of its references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The text.
    pub sql: String,
    /// What each parameter stands for, in order.
    pub references: Vec<Reference>,
}

fn reference(name: &str) -> Option<Reference> {
    match name.trim() {
        "last_run_time" => Some(Reference::LastRunTime),
        "cursor" => Some(Reference::Cursor),
        _ => None,
    }
}

fn wrong(what: impl Into<String>, why: &str) -> Error {
    Error::new("WEIR-MY-022", Kind::Spec, what)
        .because(why)
        .hint("write it alone, in quotes or without: updated_at > '${last_run_time}'")
}

/// `${name}` at the beginning of `text`: its name and length.
fn braced(text: &str) -> Option<(&str, usize)> {
    let inner = text.strip_prefix("${")?;
    let end = inner.find('}')?;
    Some((&inner[..end], end + 3))
}

/// Finds the references, skipping comments and quoted text, in which a reference is an error unless it is all there is.
pub fn parse(text: &str) -> Result<Query> {
    let text = text.trim().trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    let mut sql = String::with_capacity(text.len());
    let mut references = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let taken = match rest.as_bytes()[0] {
            quote @ (b'\'' | b'"') => {
                let end = quoted_end(rest, quote, true);
                let inner = rest.get(1..end - 1).unwrap_or_default();
                match braced(inner).filter(|(_, length)| *length == inner.len()).and_then(|(name, _)| reference(name)) {
                    Some(found) => {
                        if sql.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                            return Err(wrong("a reference stands in a literal with a prefix", "its value is bound, not pasted"));
                        }
                        references.push(found);
                        sql.push('?');
                        at += end;
                        continue;
                    }
                    None => refuse_inside(&rest[..end])?,
                }
                end
            }
            b'`' => {
                let end = quoted_end(rest, b'`', false);
                refuse_inside(&rest[..end])?;
                end
            }
            b'-' if rest.starts_with("-- ") || rest.starts_with("--\n") || rest.starts_with("--\t") => line_end(rest),
            b'#' => line_end(rest),
            b'/' if rest.starts_with("/*!") || rest.starts_with("/*M!") => {
                return Err(wrong("the query has a comment that the server executes", "`/*! … */` is not looked into"));
            }
            b'/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            b'?' => return Err(wrong("a query cannot have parameters of its own (?)", "nothing is bound to them")),
            b'$' => {
                if let Some((name, length)) = braced(rest) {
                    let Some(found) = reference(name) else {
                        return Err(wrong(
                            format!("`${{{name}}}` is not known in a query"),
                            "known are last_run_time and cursor",
                        ));
                    };
                    references.push(found);
                    sql.push('?');
                    at += length;
                    continue;
                }
                1
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        sql.push_str(&rest[..taken]);
        at += taken;
    }
    Ok(Query { sql, references })
}

fn line_end(rest: &str) -> usize {
    rest.find('\n').unwrap_or(rest.len())
}

fn quoted_end(rest: &str, quote: u8, backslash: bool) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if backslash => at += 2,
            byte if byte == quote && bytes.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn refuse_inside(literal: &str) -> Result<()> {
    for known in ["${last_run_time}", "${cursor}"] {
        if literal.contains(known) {
            return Err(wrong(
                format!("`{known}` stands inside a longer literal"),
                "its value is bound as a parameter, not pasted",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Reference::*;
    use super::*;

    #[test]
    fn references_become_parameters_quoted_or_not() {
        for (text, sql, references) in [
            ("SELECT * FROM t WHERE a > '${last_run_time}';", "SELECT * FROM t WHERE a > ?", vec![LastRunTime]),
            ("SELECT ${cursor}, \"${last_run_time}\"", "SELECT ?, ?", vec![Cursor, LastRunTime]),
            ("SELECT 1 -- '${cursor}'\n + 2 # ${x}", "SELECT 1 -- '${cursor}'\n + 2 # ${x}", vec![]),
            ("SELECT /* ${cursor} ' */ 1", "SELECT /* ${cursor} ' */ 1", vec![]),
            ("SELECT 'it''s', '\\'${x}', `a'b`, 5--1", "SELECT 'it''s', '\\'${x}', `a'b`, 5--1", vec![]),
            ("SELECT 'ü', '?', ${cursor}", "SELECT 'ü', '?', ?", vec![Cursor]),
        ] {
            assert_eq!(parse(text).unwrap(), Query { sql: sql.into(), references }, "{text}");
        }
    }

    #[test]
    fn a_reference_that_would_have_to_be_pasted_is_refused() {
        for text in [
            "SELECT 'since ${last_run_time}'",
            "SELECT `${cursor}`",
            "SELECT _utf8'${cursor}'",
            "SELECT ${other}",
            "SELECT ?, ${cursor}",
            "SELECT /*! ${cursor} */ 1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
