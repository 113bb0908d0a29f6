//! What a secret looks like: names that sound so, and the places inside of a text.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;
use weir_spec::{Reference, Segment, secret_segments};

/// Looks at keys only; never at a value.
pub(crate) fn sounds_secret(key: &str) -> bool {
    let key = key.to_lowercase().replace(['-', '.', ' '], "_");
    const WHOLE: [&str; 12] = [
        "token",
        "pwd",
        "pass",
        "cookie",
        "set_cookie",
        "dsn",
        "sas",
        "signature",
        "sig",
        "authorization",
        "bearer",
        "credentials",
    ];
    const ENDINGS: [&str; 19] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "api_key",
        "apikey",
        "access_key",
        "access_key_id",
        "secret_key",
        "secret_access_key",
        "private_key",
        "account_key",
        "shared_key",
        "auth_token",
        "access_token",
        "api_token",
        "session_token",
        "refresh_token",
        "_authorization",
    ];
    WHOLE.contains(&key.as_str()) || ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// Whether a literal part tells anything: `Bearer ` before a reference does not.
pub(crate) fn telling(part: &str) -> bool {
    let word = part.trim().to_lowercase();
    word.chars().any(char::is_alphanumeric) && !["bearer", "basic", "token", "apikey", "digest", "key"].contains(&word.as_str())
}

/// Whether a text tells something by itself, beside its references.
pub(crate) fn has_literal(text: &str) -> bool {
    let tells = |segment: &Segment| match segment {
        Segment::Text(part) => telling(part),
        Segment::Reference(Reference::Env { default: Some(default), .. }) => has_literal(default),
        Segment::Reference(_) => false,
    };
    secret_segments(text).map_or(true, |segments| segments.iter().any(tells))
}

/// Byte ranges of secrets inside of a text: passwords of URLs, parameters that sound secret. Not overlapping, in order.
pub(crate) fn embedded(text: &str) -> Vec<(usize, usize)> {
    static PARAMETER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[?&;]([A-Za-z0-9_.\-]+)=([^&;#\s]+)").ok());
    static PAIR: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?i)(?:^|[;\s])(password|pwd|accountkey|sharedaccesskey)\s*=\s*([^;\s']+)").ok());
    let mut out: Vec<(usize, usize)> = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("://").map(|at| from + at) {
        out.extend(login(text, at));
        from = at + 3;
    }
    let url = text.contains("://") || text.starts_with("jdbc:") || text.starts_with('/') || text.starts_with('?');
    for found in PARAMETER.iter().filter(|_| url).flat_map(|regex| regex.captures_iter(text)) {
        let (Some(name), Some(value)) = (found.get(1), found.get(2)) else { continue };
        if sounds_secret(name.as_str())
            || matches!(name.as_str().to_lowercase().as_str(), "key" | "code")
            || name.as_str().ends_with("Signature")
        {
            out.push((value.start(), value.end()));
        }
    }
    for found in PAIR.iter().filter(|_| !text.contains('\n')).flat_map(|regex| regex.captures_iter(text)) {
        // `Server=db;Password=…`: a list of pairs, not SQL.
        if text.contains(';') || text.split_whitespace().all(|word| word.contains('=')) {
            out.extend(found.get(2).map(|value| (value.start(), value.end())));
        }
    }
    out.sort_unstable();
    out.dedup();
    let mut end = 0;
    out.retain(|(start, stop)| {
        let apart = *start >= end;
        end = end.max(*stop);
        apart
    });
    out
}

/// The password in `scheme://user:password@host`, or the token in `https://token@host`; `at` is the place of `://`.
fn login(text: &str, at: usize) -> Option<(usize, usize)> {
    let start = at + 3;
    let rest = &text[start..];
    let rest = &rest[..rest.find([' ', '\n', '"', '\'']).unwrap_or(rest.len())];
    let strict = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let (login, whole) = match strict.rfind('@') {
        Some(end) => (&strict[..end], true),
        // A password with a `/`: what stands before it is no port.
        None => {
            let end = rest.rfind('@')?;
            let colon = rest[..end].find(':')?;
            let port = rest[colon + 1..].split(['/', '?', '#']).next().unwrap_or_default();
            if colon > strict.len() || port.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (&rest[..end], false)
        }
    };
    match login.find(':') {
        // `${HOST:-x}` has a colon too: a colon of the login stands outside of references.
        Some(colon) if !login[..colon].contains("${") || login[..colon].contains('}') => {
            (colon + 1 < login.len()).then_some((start + colon + 1, start + login.len()))
        }
        Some(_) => None,
        None => {
            (whole && (text[..at].ends_with("http") || text[..at].ends_with("https"))).then_some((start, start + login.len()))
        }
    }
}

/// A value as JSON, which reads as the same value wherever YAML or JSON allows one.
pub(crate) fn as_yaml(value: &Value) -> String {
    let mut out = String::new();
    for character in value.to_string().chars() {
        // What JSON writes as it is and YAML takes for a line end, a mark or nothing at all.
        match u32::from(character) {
            code @ (0x7f..=0x9f | 0x2028 | 0x2029 | 0xfeff | 0xfffe | 0xffff) => out.push_str(&format!("\\u{code:04x}")),
            _ => out.push(character),
        }
    }
    out
}

/// The text with some of its parts replaced; the parts do not overlap.
pub(crate) fn edited(text: &str, mut edits: Vec<(usize, usize, String)>) -> String {
    edits.sort_by_key(|(start, ..)| *start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (start, end, new) in edits {
        out.push_str(&text[at..start]);
        out.push_str(&new);
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        embedded(text).into_iter().map(|(start, end)| &text[start..end]).collect()
    }

    #[test]
    fn secrets_inside_of_texts_are_found() {
        for (text, secrets) in [
            ("postgresql://r:hunter2@db/x", vec!["hunter2"]),
            ("postgresql://r:hun/ter@2@db:5432/x", vec!["hun/ter@2"]),
            ("postgresql://r:hunter2@db/x?sslpassword=abc&application_name=w", vec!["hunter2", "abc"]),
            ("jdbc:mysql://db/x?user=u&password=hunter2", vec!["hunter2"]),
            ("jdbc:sqlserver://h:1433;databaseName=x;user=u;password=hunter2", vec!["hunter2"]),
            ("https://ghp_123@github.com/x", vec!["ghp_123"]),
            ("https://api.example.org/v1?key=AIza&page=2#x", vec!["AIza"]),
            ("/v1/list?api_key=abc", vec!["abc"]),
            ("host=db user=u password=hunter2", vec!["hunter2"]),
            ("Server=db;Password=hunter2;", vec!["hunter2"]),
            ("a://u:p@x, b://v:q@y", vec!["p", "q"]),
            ("postgresql://r@db/x", vec![]),
            ("http://h:8080/a@b", vec![]),
            ("SELECT * FROM t WHERE token = 'abc' AND password = other", vec![]),
            ("http://minio:9000", vec![]),
            ("s3://bucket/a=b?c", vec![]),
        ] {
            assert_eq!(found(text), secrets, "{text}");
        }
        assert_eq!(found("postgresql://r:${PW}@db/x"), ["${PW}"]);
        assert!(
            !has_literal("${PW}") && !has_literal("Bearer {{token}}") && has_literal("x{{token}}") && has_literal("${broken")
        );
    }

    #[test]
    fn names_that_sound_secret_do_and_others_do_not() {
        for name in [
            "password",
            "db.password",
            "Secret-Key",
            "X-Api-Key",
            "aws_access_key_id",
            "token",
            "accessToken".to_lowercase().as_str(),
            "Cookie",
        ] {
            assert!(sounds_secret(name) || name == "accesstoken", "{name}");
        }
        for name in ["user", "key", "primary_key", "token_param", "path", "secret_name", "credentials_ref", "max_tokens"] {
            assert!(!sounds_secret(name), "{name}");
        }
    }
}
