//! The grammar of references inside a text.
//!
//! | written | means |
//! | --- | --- |
//! | `${NAME}`, `${NAME:-text}` | the environment; the text (which may hold references) when it is unset or empty |
//! | `{{name}}` | an entry of the pipeline's `credentials_ref` |
//! | `vault://path#key` | the whole text: a key in Vault |
//! | `file://path` | the whole text, where a secret is expected: the content of a file |
//! | `$${` | a literal `${` |
//!
//! Pure: nothing is looked up here.

use std::fmt;

/// How deep defaults may lie inside defaults. Parsing and resolving them recurses, so there must be an end; nobody needs as many.
const MAX_DEPTH: usize = 8;

/// Names that look like environment references but belong to the run; see the crate's documentation.
pub const RUN_PARAMETERS: [&str; 2] = ["last_run_time", "cursor"];

/// One reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `${name}` or `${name:-default}`.
    Environment {
        /// Name of the variable.
        name: String,
        /// Taken when the variable is unset or empty.
        default: Option<Template>,
    },
    /// `{{name}}`.
    Credential {
        /// Name of the entry.
        name: String,
    },
    /// `vault://path#key`.
    Vault {
        /// Path without the scheme.
        path: String,
        /// The field of the entry.
        key: String,
    },
    /// `file://path`.
    File {
        /// Path without the scheme, as written.
        path: String,
    },
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment { name, .. } => write!(f, "${{{name}}}"),
            Self::Credential { name } => write!(f, "{{{{{name}}}}}"),
            Self::Vault { path, key } => write!(f, "vault://{path}#{key}"),
            Self::File { path } => write!(f, "file://{path}"),
        }
    }
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Taken as it is.
    Text(String),
    /// To be replaced.
    Reference(Reference),
}

/// A text with references in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    /// The pieces, in order.
    pub parts: Vec<Part>,
}

impl Template {
    /// Parses a text. `secret` says that the option holds a secret, so that `file://…` is a reference and not an
    /// address. The error says what is malformed.
    pub fn parse(text: &str, secret: bool) -> Result<Self, String> {
        Self::nested(text, secret, 0)
    }

    fn nested(text: &str, secret: bool, depth: usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "`${{…:-…}}` is nested more than {MAX_DEPTH} deep; put the inner default into a variable of its own"
            ));
        }
        if let Some(rest) = text.strip_prefix("vault://") {
            let (path, key) = rest.split_once('#').unwrap_or((rest, ""));
            if path.is_empty() || key.is_empty() {
                return Err("a Vault reference is written vault://path#key".into());
            }
            return Ok(Self::of(Reference::Vault { path: path.into(), key: key.into() }));
        }
        if secret && let Some(path) = text.strip_prefix("file://") {
            if path.is_empty() {
                return Err("a file reference is written file://path".into());
            }
            return Ok(Self::of(Reference::File { path: path.into() }));
        }
        let mut parts = Parts::default();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '{']) {
            parts.text(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$${") {
                parts.text("${");
                rest = after;
            } else if let Some(body) = rest.strip_prefix("${") {
                let end = closing(body).ok_or("`${` without its `}`; a literal one is written `$${`")?;
                match environment(&body[..end], depth)? {
                    Some(reference) => parts.list.push(Part::Reference(reference)),
                    None => parts.text(&rest[..end + 3]),
                }
                rest = &body[end + 1..];
            } else if let Some((name, after)) = credential(rest) {
                parts.list.push(Part::Reference(Reference::Credential { name }));
                rest = after;
            } else {
                parts.text(&rest[..1]);
                rest = &rest[1..];
            }
        }
        parts.text(rest);
        Ok(Self { parts: parts.list })
    }

    fn of(reference: Reference) -> Self {
        Self { parts: vec![Part::Reference(reference)] }
    }

    /// Every reference in it, those inside defaults included.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        for part in &self.parts {
            if let Part::Reference(reference) = part {
                found.push(reference);
                if let Reference::Environment { default: Some(default), .. } = reference {
                    found.extend(default.references());
                }
            }
        }
        found
    }
}

#[derive(Default)]
struct Parts {
    list: Vec<Part>,
}

impl Parts {
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(Part::Text(last)) = self.list.last_mut() {
            last.push_str(text);
        } else {
            self.list.push(Part::Text(text.into()));
        }
    }
}

/// Offset of the `}` that closes an already opened `${`, with nested references in between.
fn closing(body: &str) -> Option<usize> {
    let mut depth = 0usize;
    let bytes = body.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                depth += 1;
                at += 1;
            }
            b'}' if depth == 0 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// `None` for a run parameter, which stays as it is.
fn environment(body: &str, depth: usize) -> Result<Option<Reference>, String> {
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    if default.is_none() && RUN_PARAMETERS.contains(&name) {
        return Ok(None);
    }
    let mut letters = name.chars();
    let good = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !good {
        return Err(format!("`${{{name}}}` names no environment variable; a literal `${{` is written `$${{`"));
    }
    let default = default.map(|text| Template::nested(text, false, depth + 1)).transpose()?;
    Ok(Some(Reference::Environment { name: name.into(), default }))
}

/// `{{name}}` at the start of the text. Anything else in double braces is text.
fn credential(text: &str) -> Option<(String, &str)> {
    let body = text.strip_prefix("{{")?;
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    // Not `find("}}")`: a text of nothing but braces would be searched to its end for each of them.
    let (name, after) = body.split_at(body.find(|c: char| !letter(c) && !c.is_whitespace())?);
    let (name, after) = (name.trim(), after.strip_prefix("}}")?);
    (!name.is_empty() && name.chars().all(letter)).then(|| (name.to_string(), after))
}

/// Joins a value onto a text that is being built. Inside the user part of a URL (`scheme://user:…@`) the characters that would
/// end it are percent-encoded, so that a password with an `@` or a `/` stays a password; `%` is left alone, because a
/// value may be encoded already.
pub fn splice(built: &mut String, value: &str, following: &str) {
    let in_authority = built.find("://").is_some_and(|at| {
        let authority = &built[at + 3..];
        !authority.contains(['/', '?', '#', '@'])
    });
    let user_part =
        in_authority && following.find('@').is_some_and(|at| following.find(['/', '?', '#']).is_none_or(|end| at < end));
    if !user_part {
        built.push_str(value);
        return;
    }
    for byte in value.bytes() {
        match byte {
            b'@' | b'/' | b'?' | b'#' | b'[' | b']' | b' ' | b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'}' | b'|' => {
                built.push_str(&format!("%{byte:02X}"))
            }
            byte if byte.is_ascii_graphic() => built.push(byte as char),
            byte => built.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        Template::parse(text, true).unwrap().references().iter().map(|r| r.to_string()).collect()
    }

    #[test]
    fn finds_each_kind() {
        assert_eq!(shown("postgresql://u:${PW}@h/${DB:-crm}"), ["${PW}", "${DB}"]);
        assert_eq!(shown("Bearer {{ api_key }}"), ["{{api_key}}"]);
        assert_eq!(shown("vault://minio/lake#access"), ["vault://minio/lake#access"]);
        assert_eq!(shown("file:///run/secrets/pw"), ["file:///run/secrets/pw"]);
        assert_eq!(shown("${A:-${B:-x}}"), ["${A}", "${B}"]);
    }

    #[test]
    fn a_file_address_is_not_a_secret_reference() {
        let template = Template::parse("file:///data/orders.csv", false).unwrap();
        assert_eq!(template.parts, [Part::Text("file:///data/orders.csv".into())]);
    }

    #[test]
    fn run_parameters_placeholders_and_escapes_stay_text() {
        for (text, same) in [
            ("where t > '${last_run_time}' and c > '${cursor}'", "where t > '${last_run_time}' and c > '${cursor}'"),
            ("lake/{stream}/{date}", "lake/{stream}/{date}"),
            ("costs $5 {or} less", "costs $5 {or} less"),
            ("$${HOME}", "${HOME}"),
            ("{{not a name}}", "{{not a name}}"),
        ] {
            assert_eq!(Template::parse(text, true).unwrap().parts, [Part::Text(same.into())], "{text}");
        }
    }

    #[test]
    fn malformed_references_say_so() {
        for text in ["${", "${}", "${MY VAR}", "${1X}", "vault://only-a-path", "vault://#key"] {
            assert!(Template::parse(text, true).is_err(), "{text}");
        }
    }

    #[test]
    fn defaults_are_nested_to_a_limit() {
        let nested = |depth: usize| "${A:-".repeat(depth) + "x" + &"}".repeat(depth);
        assert_eq!(Template::parse(&nested(MAX_DEPTH), false).unwrap().references().len(), MAX_DEPTH);
        // Far beyond what a stack would bear.
        for depth in [MAX_DEPTH + 2, 100_000] {
            let reason = Template::parse(&nested(depth), false).unwrap_err();
            assert!(reason.contains("more than 8 deep"), "{reason}");
        }
        assert!(Template::parse(&"${A:-".repeat(100_000), false).is_err());
        assert!(Template::parse(&"{{".repeat(50_000), false).is_ok());
    }

    #[test]
    fn a_password_cannot_break_out_of_a_url() {
        let mut url = String::from("postgresql://reader:");
        splice(&mut url, "p@ss/w:rd%40", "@db:5432/crm");
        assert_eq!(url, "postgresql://reader:p%40ss%2Fw:rd%40");
    }

    #[test]
    fn outside_the_user_part_values_are_taken_as_they_are() {
        let mut url = String::from("postgresql://reader:x@db/");
        splice(&mut url, "a/b@c", "?sslmode=require");
        assert_eq!(url, "postgresql://reader:x@db/a/b@c");
        let mut host = String::from("https://");
        splice(&mut host, "example.org:8080", "/v1");
        assert_eq!(host, "https://example.org:8080");
    }
}
