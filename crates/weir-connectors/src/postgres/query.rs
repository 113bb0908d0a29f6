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

/// A query with `$1`, `$2` … in place of its references.
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
    Error::new("WEIR-PG-022", Kind::Spec, what)
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
    let mut has_parameters = false;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let taken = match rest.as_bytes()[0] {
            b'\'' => {
                let end = quoted_end(rest, ends_escape_prefix(&sql));
                let inner = rest.get(1..end - 1).unwrap_or_default();
                match braced(inner).filter(|(_, length)| *length == inner.len()).and_then(|(name, _)| reference(name)) {
                    Some(found) => {
                        if sql.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '&')) {
                            return Err(wrong("a reference stands in a literal with a prefix", "its value is bound, not pasted"));
                        }
                        references.push(found);
                        sql.push_str(&format!("${}", references.len()));
                        at += end;
                        continue;
                    }
                    None => refuse_inside(&rest[..end])?,
                }
                end
            }
            b'"' => {
                let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
                refuse_inside(&rest[..end])?;
                end
            }
            b'-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => comment_end(rest),
            b'$' => {
                if let Some((name, length)) = braced(rest) {
                    let Some(found) = reference(name) else {
                        return Err(wrong(
                            format!("`${{{name}}}` is not known in a query"),
                            "known are last_run_time and cursor",
                        ));
                    };
                    references.push(found);
                    sql.push_str(&format!("${}", references.len()));
                    at += length;
                    continue;
                }
                has_parameters |= rest[1..].starts_with(|c: char| c.is_ascii_digit());
                match dollar_quoted(rest) {
                    Some(end) if !ends_in_word(&sql) => {
                        refuse_inside(&rest[..end])?;
                        end
                    }
                    _ => 1,
                }
            }
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        sql.push_str(&rest[..taken]);
        at += taken;
    }
    if has_parameters && !references.is_empty() {
        return Err(wrong("a query with references cannot have parameters of its own ($1)", "they would collide"));
    }
    Ok(Query { sql, references })
}

fn ends_in_word(sql: &str) -> bool {
    sql.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Whether a literal that begins here is `E'…'`, in which a backslash escapes.
fn ends_escape_prefix(sql: &str) -> bool {
    let Some(before) = sql.strip_suffix(['e', 'E']) else { return false };
    !ends_in_word(before)
}

fn quoted_end(rest: &str, backslash: bool) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if backslash => at += 2,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 2,
            b'\'' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn comment_end(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

fn dollar_quoted(rest: &str) -> Option<usize> {
    let tag_end = rest[1..].find('$')? + 2;
    let tag = &rest[..tag_end];
    let name = &tag[1..tag.len() - 1];
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    Some(rest[tag_end..].find(tag).map_or(rest.len(), |end| tag_end + end + tag_end))
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
            ("SELECT * FROM t WHERE a > '${last_run_time}';", "SELECT * FROM t WHERE a > $1", vec![LastRunTime]),
            ("SELECT ${cursor}, '${last_run_time}'::date", "SELECT $1, $2::date", vec![Cursor, LastRunTime]),
            ("SELECT 1 -- '${cursor}'\n + 2", "SELECT 1 -- '${cursor}'\n + 2", vec![]),
            ("SELECT /* /* ${cursor} */ ' */ 1", "SELECT /* /* ${cursor} */ ' */ 1", vec![]),
            ("SELECT 'it''s', E'\\'${x}', $q$ ' $q$, \"a'b\"", "SELECT 'it''s', E'\\'${x}', $q$ ' $q$, \"a'b\"", vec![]),
            ("SELECT 'ü' || '${cursor}'", "SELECT 'ü' || $1", vec![Cursor]),
        ] {
            assert_eq!(parse(text).unwrap(), Query { sql: sql.into(), references }, "{text}");
        }
    }

    #[test]
    fn a_reference_that_would_have_to_be_pasted_is_refused() {
        for text in [
            "SELECT 'since ${last_run_time}'",
            "SELECT \"${cursor}\"",
            "SELECT $$ ${cursor} $$",
            "SELECT E'${cursor}'",
            "SELECT ${other}",
            "SELECT $1, ${cursor}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
