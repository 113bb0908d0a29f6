//! References inside option values: `${ENV}`, `{{name}}`, `vault://path#key`, `file://path`, `${last_run_time}`.
//!
//! They are typed here and resolved elsewhere, late: parsing a pipeline never looks at the environment or a file.
//! A value is a row of [`Segment`]s; one that is a single reference may become a number or a truth value when it is
//! resolved, one that is mixed is always text.
//!
//! | written | means |
//! | --- | --- |
//! | `${NAME}`, `${NAME:-default}` | the environment, with a default |
//! | `{{name}}` | the entry `name` of the pipeline's `credentials_ref` |
//! | `vault://path#key` (the whole value) | a key of a secret in Vault |
//! | `file://path` (the whole value, secret options only) | the content of a file |
//! | `${last_run_time}`, `${cursor}` | bound at run time, never pasted into text |
//! | `$${` | a literal `${` |

use std::fmt;

/// One reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `${NAME}` or `${NAME:-default}`.
    Env {
        /// The variable.
        name: String,
        /// What to take when it is not set; `Some("")` for `${NAME:-}`. May hold references itself.
        default: Option<String>,
    },
    /// `{{name}}`, looked up in the pipeline's `credentials_ref`.
    Credential {
        /// The entry.
        name: String,
    },
    /// `vault://path#key`.
    Vault {
        /// Mount and path of the secret.
        path: String,
        /// The key inside of it.
        key: String,
    },
    /// `file://path`: the content of a file without its last line end.
    File {
        /// The path after `file://`.
        path: String,
    },
    /// `${last_run_time}`: the start of the last committed run, bound as a parameter.
    LastRunTime,
    /// `${cursor}`: the cursor of the last committed checkpoint, bound as a parameter.
    Cursor,
}

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Text as it stands.
    Text(String),
    /// Something to resolve.
    Reference(Reference),
}

/// Why a value is no row of segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceError {
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: String,
    /// Byte offset in the value.
    pub at: usize,
}

impl ReferenceError {
    fn new(at: usize, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), at }
    }
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.help)
    }
}

impl std::error::Error for ReferenceError {}

/// The segments of an ordinary value. Empty text has no segments; neighbouring text is one segment.
pub fn segments(text: &str) -> Result<Vec<Segment>, ReferenceError> {
    if let Some(rest) = text.strip_prefix("vault://") {
        return Ok(vec![Segment::Reference(vault(rest)?)]);
    }
    let mut out = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', '{']) {
        let place = text.len() - rest.len() + at;
        plain.push_str(&rest[..at]);
        let here = &rest[at..];
        let (reference, length) = if let Some(after) = here.strip_prefix("$${") {
            plain.push_str("${");
            rest = after;
            continue;
        } else if let Some(body) = here.strip_prefix("${") {
            let end = closing(body).map_err(|endless| endless.at(place))?;
            (environment(&body[..end], place)?, end + 3)
        } else if let Some(body) = here.strip_prefix("{{") {
            let Some(end) = body.find("}}") else {
                return Err(ReferenceError::new(place, "`{{` is not closed", "close it with `}}`"));
            };
            let name = body[..end].trim();
            if !is_name(name, "_-.") {
                return Err(ReferenceError::new(place, "`{{…}}` holds no usable name", "write it like `{{api_key}}`"));
            }
            (Reference::Credential { name: name.into() }, end + 4)
        } else {
            plain.push_str(&here[..1]);
            rest = &here[1..];
            continue;
        };
        if !plain.is_empty() {
            out.push(Segment::Text(std::mem::take(&mut plain)));
        }
        out.push(Segment::Reference(reference));
        rest = &here[length..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        out.push(Segment::Text(plain));
    }
    Ok(out)
}

/// The segments of a secret option: as [`segments`], and `file://path` is the content of that file.
pub fn secret_segments(text: &str) -> Result<Vec<Segment>, ReferenceError> {
    match text.strip_prefix("file://") {
        Some("") => Err(ReferenceError::new(0, "`file://` names no file", "write it like `file:///run/secrets/password`")),
        Some(path) => Ok(vec![Segment::Reference(Reference::File { path: path.into() })]),
        None => segments(text),
    }
}

/// Whether a value holds a reference. Broken references count: somebody meant one.
pub fn has_reference(text: &str) -> bool {
    segments(text).map_or(true, |segments| segments.iter().any(|segment| matches!(segment, Segment::Reference(_))))
}

fn environment(body: &str, at: usize) -> Result<Reference, ReferenceError> {
    match body {
        "last_run_time" => return Ok(Reference::LastRunTime),
        "cursor" => return Ok(Reference::Cursor),
        _ => {}
    }
    let (name, default) = body.split_once(":-").map_or((body, None), |(name, default)| (name, Some(default)));
    if !is_name(name, "_") || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(ReferenceError::new(
            at,
            "`${…}` holds no usable variable name",
            "write it like `${NAME}` or `${NAME:-default}`",
        ));
    }
    if default.is_some() && matches!(name, "last_run_time" | "cursor") {
        return Err(ReferenceError::new(at, format!("`${{{name}}}` takes no default"), "the first run reads everything"));
    }
    if let Some(default) = default {
        // Its own references must be sound too; where exactly it is wrong matters less than that it is.
        segments(default).map_err(|error| ReferenceError { at, ..error })?;
    }
    Ok(Reference::Env { name: name.into(), default: default.map(Into::into) })
}

/// How many references a reference may consist of, one in the default of the other. Reading them recurses.
const MAX_DEPTH: usize = 8;

/// Why a `${` has no end.
enum Endless {
    NotClosed,
    TooDeep,
}

impl Endless {
    fn at(self, place: usize) -> ReferenceError {
        match self {
            Self::NotClosed => {
                ReferenceError::new(place, "`${` is not closed", "close it with `}`, or write `$${` for the two characters")
            }
            Self::TooDeep => ReferenceError::new(
                place,
                format!("`${{…:-…}}` is nested more than {MAX_DEPTH} deep"),
                "put the inner default into a variable of its own",
            ),
        }
    }
}

/// The `}` that closes an opened `${`, past those of references inside.
fn closing(body: &str) -> Result<usize, Endless> {
    let mut depth = 1usize;
    for (at, character) in body.char_indices() {
        match character {
            '{' if body[..at].ends_with('$') && depth == MAX_DEPTH => return Err(Endless::TooDeep),
            '{' if body[..at].ends_with('$') => depth += 1,
            '}' if depth == 1 => return Ok(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    Err(Endless::NotClosed)
}

fn vault(rest: &str) -> Result<Reference, ReferenceError> {
    match rest.split_once('#') {
        Some((path, key)) if !path.is_empty() && !key.is_empty() => Ok(Reference::Vault { path: path.into(), key: key.into() }),
        _ => Err(ReferenceError::new(0, "`vault://` names no key", "write it like `vault://path/of/secret#key`")),
    }
}

fn is_name(text: &str, also: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str, default: Option<&str>) -> Segment {
        Segment::Reference(Reference::Env { name: name.into(), default: default.map(Into::into) })
    }

    #[test]
    fn a_value_is_a_row_of_text_and_references() {
        assert_eq!(
            segments("postgresql://r:${PW}@${HOST:-db}/x").unwrap(),
            [
                Segment::Text("postgresql://r:".into()),
                env("PW", None),
                Segment::Text("@".into()),
                env("HOST", Some("db")),
                Segment::Text("/x".into())
            ]
        );
        assert_eq!(segments("{{ api_key }}").unwrap(), [Segment::Reference(Reference::Credential { name: "api_key".into() })]);
        assert_eq!(
            segments("vault://minio/lake#access").unwrap(),
            [Segment::Reference(Reference::Vault { path: "minio/lake".into(), key: "access".into() })]
        );
        assert_eq!(segments("").unwrap(), []);
    }

    #[test]
    fn dollars_and_braces_that_are_no_reference_stay_text() {
        for text in ["$1 and {stream}", "a$", "{", "regex{2}$", "{a}}"] {
            assert_eq!(segments(text).unwrap(), [Segment::Text(text.into())]);
        }
        assert_eq!(segments("$${HOME}").unwrap(), [Segment::Text("${HOME}".into())]);
    }

    #[test]
    fn a_default_may_hold_references() {
        assert_eq!(segments("${A:-${B:-x}}/y").unwrap(), [env("A", Some("${B:-x}")), Segment::Text("/y".into())]);
        // Many levels are refused, not a stack that overflows.
        let nested = |depth: usize| "${A:-".repeat(depth) + &"}".repeat(depth);
        assert!(segments(&nested(MAX_DEPTH)).is_ok());
        for depth in [MAX_DEPTH + 1, 100_000] {
            assert!(segments(&nested(depth)).unwrap_err().message.contains("more than 8 deep"));
        }
    }

    #[test]
    fn run_time_values_are_not_the_environment() {
        assert_eq!(
            segments("${last_run_time}${cursor}").unwrap(),
            [Segment::Reference(Reference::LastRunTime), Segment::Reference(Reference::Cursor)]
        );
        assert!(segments("${cursor:-0}").is_err());
    }

    #[test]
    fn files_are_read_for_secrets_only() {
        assert_eq!(segments("file:///x").unwrap(), [Segment::Text("file:///x".into())]);
        assert_eq!(secret_segments("file:///x").unwrap(), [Segment::Reference(Reference::File { path: "/x".into() })]);
    }

    #[test]
    fn broken_references_say_where() {
        for (text, at) in [
            ("ab${X", 2),
            ("{{x", 0),
            ("ü{{}}", 2),
            ("${}", 0),
            ("${1X}", 0),
            ("vault://a", 0),
            ("${A:-${B}", 0),
            ("${A:-${1}}", 0),
        ] {
            assert_eq!(segments(text).unwrap_err().at, at, "{text}");
        }
    }
}
