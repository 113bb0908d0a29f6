//! Looking into strings: references that are not closed, secrets in plain sight, placeholders that do not exist.

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::problems::{nearest, short};
use crate::reference::{self, Segment};

/// The placeholders in paths and names.
const PLACEHOLDERS: [&str; 3] = ["stream", "tenant", "date"];
/// And those that only the path of a sink of changes has; its connector says where each may stand.
const IN_PATHS: [&str; 7] = ["connector", "schema", "table", "year", "month", "day", "hour"];
/// Options in which placeholders are replaced.
const NAMING: [&str; 12] = [
    "path",
    "paths",
    "table",
    "tables",
    "topic",
    "topics",
    "prefix",
    "key_prefix",
    "location",
    "collection",
    "index",
    "table_or_topic",
];

/// What to look for in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextRules {
    /// It is marked as a secret, or its name says so.
    pub secret: bool,
    /// `{stream}` and the like are replaced in it.
    pub naming: bool,
    /// It belongs to a connector or connection: names without a schema are judged by how they sound.
    pub connector: bool,
}

impl TextRules {
    pub const CONNECTOR: Self = Self { secret: false, naming: false, connector: true };
    pub const TRANSFORM: Self = Self { secret: false, naming: false, connector: false };

    /// For an option that a schema declares.
    pub fn declared(self, name: &str, secret: bool) -> Self {
        Self { secret, naming: self.connector && NAMING.contains(&name), ..self }
    }
    /// For a key that no schema declares.
    pub fn under(self, name: &str) -> Self {
        Self {
            secret: self.secret || (self.connector && sounds_secret(name)),
            naming: self.naming || (self.connector && NAMING.contains(&name)),
            ..self
        }
    }
    pub fn merged(self, secret: bool) -> Self {
        Self { secret: self.secret || secret, ..self }
    }
}

/// Whether a key is named like a secret.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace(['-', '.', ' '], "_");
    let endings = [
        "password",
        "passwd",
        "secret",
        "token",
        "api_key",
        "apikey",
        "access_key",
        "secret_key",
        "private_key",
        "authorization",
        "credentials",
        "secret_access_key",
    ];
    endings.iter().any(|ending| name.ends_with(ending))
}

/// What is wrong with a string. Never repeats a secret.
pub(crate) fn check(text: &str, name: &str, rules: &TextRules) -> Vec<Diagnostic> {
    let segments = if rules.secret { reference::secret_segments(text) } else { reference::segments(text) };
    let segments = match segments {
        Ok(segments) => segments,
        Err(error) => return vec![Diagnostic::error(codes::REFERENCE, error.message).help(error.help)],
    };
    let mut out = Vec::new();
    let literal = !segments.is_empty() && segments.iter().all(|segment| matches!(segment, Segment::Text(_)));
    if rules.secret && literal {
        out.push(
            Diagnostic::warning(codes::LITERAL_SECRET, format!("`{name}` is a secret in plain text"))
                .label("anyone who reads the file can use it")
                .help("write a reference: ${NAME}, {{name}}, vault://path#key or file://path"),
        );
    } else if rules.connector && password_in_url(text).is_some() {
        out.push(
            Diagnostic::warning(codes::LITERAL_SECRET, format!("`{name}` holds a password in plain text"))
                .label("anyone who reads the file can use it")
                .help("write a reference instead of the password: scheme://user:${PASSWORD}@host"),
        );
    }
    if rules.naming {
        for segment in &segments {
            if let Segment::Text(text) = segment {
                placeholders(text, name, &mut out);
            }
        }
    }
    out
}

/// The byte range of a literal password in `scheme://user:password@host`.
pub(crate) fn password_in_url(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.find("://")? + 3;
    let authority = &text[start..start + text[start..].find(['/', '?', '#', ' ']).unwrap_or(text.len() - start)];
    let at = authority.rfind('@')?;
    let colon = authority[..at].find(':')?;
    let password = &authority[colon + 1..at];
    let reference = password.contains("${") || password.contains("{{");
    (!password.is_empty() && !reference).then(|| start + colon + 1..start + at)
}

fn placeholders(text: &str, name: &str, out: &mut Vec<Diagnostic>) {
    for (at, _) in text.match_indices('{') {
        let Some(end) = text[at..].find('}') else { continue };
        let word = &text[at + 1..at + end];
        // Globs have `{csv,json}`; only a single word can be a placeholder.
        let is_word = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let known = PLACEHOLDERS.contains(&word) || name == "path" && IN_PATHS.contains(&word);
        if is_word && !known {
            out.push(
                Diagnostic::error(codes::PLACEHOLDER, format!("`{name}` holds the unknown placeholder `{{{}}}`", short(word)))
                    .label("nothing replaces it")
                    .did_you_mean(nearest(word, PLACEHOLDERS).map(|word| format!("{{{word}}}")))
                    .expected("{stream}, {tenant} or {date}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_seen_and_a_reference_is_not() {
        assert_eq!(password_in_url("postgresql://r:hunter2@db/x"), Some(15..22));
        for fine in ["postgresql://r:${PW}@db", "postgresql://r@db", "http://x/a:b@c", "no url", "http://h:80/"] {
            assert_eq!(password_in_url(fine), None, "{fine}");
        }
    }

    #[test]
    fn globs_are_no_placeholders() {
        let rules = TextRules { naming: true, ..TextRules::CONNECTOR };
        assert!(check("data/*.{csv,json}", "path", &rules).is_empty());
        assert!(check("{stream}/{tenant}/{date}/${HOME}/{{x}}", "path", &rules).is_empty());
        assert!(check("cdc.{connector}.{table}/{year}/{message-id}.json", "path", &rules).is_empty());
        assert_eq!(check("{table}", "topic", &rules).len(), 1);
        assert_eq!(check("{straem}", "path", &rules)[0].suggestion.as_deref(), Some("{stream}"));
    }
}
