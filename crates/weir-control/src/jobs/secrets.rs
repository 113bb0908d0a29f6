//! Secrets written in clear in a spec: they are taken out, and a reference `{{job.ID.N}}` stands in their place.
//!
//! What is a secret: what the checker says is one (options marked so, keys of free maps that sound so, passwords in URLs), keys that sound so
//! anywhere else, secret parameters in URLs, and, in comments, whatever follows a key that sounds so. The rest of the text stays byte for
//! byte. Proof at the end: the new text reads as the same pipeline once the values are back, and the checker finds no secret in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;
use weir_error::{Error, Kind, Result, Secret};
use weir_spec::{Diagnostic, Pipeline, Reference, Scalar, Segment, codes, secret_segments};

use crate::workbench::Checked;
use weir_store::model::JobId;

use super::refused::Refused;
use super::spelling::{as_yaml, edited, embedded, has_literal, sounds_secret, telling};

/// A text without its secrets.
#[derive(Debug)]
pub(super) struct Taken {
    pub text: String,
    /// New secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// What the checker says of the new text.
    pub checked: Checked,
}

/// Names of secrets that belong to a job.
pub(super) const PREFIX: &str = "job.";

/// Makes names and remembers which value got which.
struct Names<'a> {
    fresh: &'a dyn Fn() -> String,
    by_value: BTreeMap<String, String>,
}

impl Names<'_> {
    /// The reference that stands for a value.
    fn reference(&mut self, value: &str) -> String {
        let name = self.by_value.entry(value.into()).or_insert_with(|| (self.fresh)());
        format!("{{{{{name}}}}}")
    }
}

/// Takes the secrets out of a text that the checker has no errors for (or only such that the caller accepts).
/// `fresh` gives a name that no secret has yet.
pub(super) fn take_out(
    text: &str,
    checked: Checked,
    fresh: &dyn Fn() -> String,
    check: &dyn Fn(&str) -> Checked,
) -> Result<Taken, Refused> {
    let Some(texts) = weir_spec::texts(text) else { return Err(Refused::Diagnostics(checked.diagnostics)) };
    let found = literal_secrets(&checked.diagnostics);
    for decoded in [false, true] {
        let mut names = Names { fresh, by_value: BTreeMap::new() };
        let mut edits: Vec<(usize, usize, String)> = Vec::new();
        for scalar in &texts.scalars {
            let said = found.iter().find(|said| meant(scalar, said));
            if let Some(new) = without_secret(scalar, said.copied(), decoded, &mut names) {
                edits.push((scalar.span.start, scalar.span.end, as_yaml(&Value::String(new))));
            }
        }
        let values: BTreeSet<&str> = names.by_value.keys().map(String::as_str).filter(|value| value.len() >= 6).collect();
        for scalar in texts.scalars.iter().filter(|scalar| said_to_people(scalar)) {
            let masked = masked(&scalar.text, &values);
            if masked != scalar.text && !edits.iter().any(|(start, ..)| *start == scalar.span.start) {
                edits.push((scalar.span.start, scalar.span.end, as_yaml(&Value::String(masked))));
            }
        }
        for (start, end) in &texts.comments {
            let masked = masked_comment(&text[*start..*end], &values);
            if masked != text[*start..*end] {
                edits.push((*start, *end, masked));
            }
        }
        if edits.is_empty() && found.is_empty() {
            return Ok(Taken { text: text.into(), secrets: BTreeMap::new(), checked });
        }
        let new = edited(text, edits);
        let secrets: BTreeMap<String, String> = names.by_value.into_iter().map(|(value, name)| (name, value)).collect();
        let rechecked = check(&new);
        let clean = literal_secrets(&rechecked.diagnostics).is_empty() && errors(&rechecked) == errors(&checked);
        if clean && same(&checked.pipelines, &rechecked.pipelines, &secrets) {
            let secrets = secrets.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
            return Ok(Taken { text: new, secrets, checked: rechecked });
        }
    }
    Err(Refused::Diagnostics(
        checked
            .diagnostics
            .into_iter()
            .filter(|diagnostic| diagnostic.code == codes::LITERAL_SECRET)
            .map(|diagnostic| Diagnostic { severity: weir_spec::Severity::Error, ..diagnostic })
            .chain([Diagnostic::error(
                "WEIR-JOB-010",
                "a secret is written here in a way from which it cannot be taken out safely",
            )
            .help("write a reference instead: {{name}} of a stored secret, vault://path#key, or `connection: NAME`")])
            .collect(),
    ))
}

/// The secrets that a text holds in clear, as far as it can be read. Nothing is taken out.
pub(super) fn literal_values(text: &str, diagnostics: &[Diagnostic]) -> BTreeSet<String> {
    let Some(texts) = weir_spec::texts(text) else { return BTreeSet::new() };
    let found = literal_secrets(diagnostics);
    let fresh = || "value".to_string();
    let mut names = Names { fresh: &fresh, by_value: BTreeMap::new() };
    for scalar in &texts.scalars {
        let said = found.iter().find(|said| meant(scalar, said));
        for decoded in [false, true] {
            let _ = without_secret(scalar, said.copied(), decoded, &mut names);
        }
    }
    names.by_value.into_keys().collect()
}

/// Whether a problem is about this scalar.
fn meant(scalar: &Scalar, said: &Diagnostic) -> bool {
    said.span.is_some_and(|span| span.start < scalar.span.end && scalar.span.start < span.end)
}

fn errors(checked: &Checked) -> usize {
    checked.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count()
}

fn literal_secrets(diagnostics: &[Diagnostic]) -> Vec<&Diagnostic> {
    diagnostics.iter().filter(|diagnostic| diagnostic.code == codes::LITERAL_SECRET).collect()
}

/// Maps whose keys are the user's own words (columns, streams), and transforms: there a key says nothing about its value.
const OWN_WORDS: [&str; 8] = ["transforms", "columns", "streams", "field_mapping", "rename", "labels", "on_loss", "tables"];

/// Whether the key above a scalar sounds secret, at a place where keys tell.
fn named(scalar: &Scalar) -> bool {
    let mut keys = scalar.keys.iter().rev().filter(|key| key.parse::<usize>().is_err());
    let (Some(key), parent) = (keys.next(), keys.next().map_or("", String::as_str)) else { return false };
    let parameter = matches!(parent, "query_params" | "params") && matches!(key.to_lowercase().as_str(), "key" | "code");
    (sounds_secret(key) || parameter) && !scalar.keys.iter().any(|key| OWN_WORDS.contains(&key.as_str()))
}

/// Whether the checker means the scalar as a whole, and not a part of a URL.
fn whole(scalar: &Scalar, said: &Diagnostic) -> bool {
    let option = said.message.strip_prefix('`').and_then(|rest| rest.split('`').next()).unwrap_or_default();
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().split('[').next().unwrap_or_default().to_string();
    let key = scalar.keys.iter().rev().find(|key| key.parse::<usize>().is_err());
    said.message.contains("is a secret") && key.is_some_and(|key| last(option) == last(key))
}

/// The scalar's text with references in the place of its secrets, if it holds any.
fn without_secret(scalar: &Scalar, said: Option<&Diagnostic>, decoded: bool, names: &mut Names<'_>) -> Option<String> {
    let named = named(scalar);
    if !scalar.is_text {
        // A number: a PIN, a numeric token. Never a truth value.
        return (named && scalar.text.len() >= 4 && scalar.text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| names.reference(&scalar.text));
    }
    let parts = embedded(&scalar.text);
    if said.is_some_and(|said| whole(scalar, said)) || ((named || said.is_some()) && parts.is_empty()) {
        let out = replaced(&scalar.text, false, names);
        return (out != scalar.text).then_some(out);
    }
    let mut out = String::new();
    let mut at = 0;
    for (start, end) in parts {
        out.push_str(&scalar.text[at..start]);
        out.push_str(&replaced(&scalar.text[start..end], decoded, names));
        at = end;
    }
    out.push_str(&scalar.text[at..]);
    (out != scalar.text).then_some(out)
}

/// A reference as people write it.
fn written(reference: &Reference) -> String {
    match reference {
        Reference::Env { name, default: None } => format!("${{{name}}}"),
        Reference::Env { name, default: Some(default) } => format!("${{{name}:-{default}}}"),
        Reference::Credential { name } => format!("{{{{{name}}}}}"),
        Reference::Vault { path, key } => format!("vault://{path}#{key}"),
        Reference::File { path } => format!("file://{path}"),
        Reference::LastRunTime => "${last_run_time}".into(),
        Reference::Cursor => "${cursor}".into(),
    }
}

/// The text with each literal part as a reference. References stay, unless they have a literal default.
fn replaced(text: &str, decoded: bool, names: &mut Names<'_>) -> String {
    let Ok(segments) = secret_segments(text) else { return text.into() };
    let mut out = String::new();
    for segment in segments {
        match segment {
            Segment::Text(part) if !telling(&part) => out.push_str(&part.replace("${", "$${")),
            Segment::Text(part) if decoded => out.push_str(&names.reference(&percent_decoded(&part))),
            Segment::Text(part) => out.push_str(&names.reference(&part)),
            // A run has no environment of its own: the default is the value.
            Segment::Reference(Reference::Env { default: Some(default), .. }) if has_literal(&default) => {
                out.push_str(&replaced(&default, decoded, names));
            }
            Segment::Reference(other) => out.push_str(&written(&other)),
        }
    }
    out
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code =
            (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap_or_else(|_| text.into())
}

/// Text that no program reads.
fn said_to_people(scalar: &Scalar) -> bool {
    scalar.is_text && matches!(scalar.keys.last().map(String::as_str), Some("description" | "display_name"))
}

fn masked(text: &str, values: &BTreeSet<&str>) -> String {
    let mut out = text.to_string();
    let mut longest: Vec<&&str> = values.iter().collect();
    longest.sort_by_key(|value| std::cmp::Reverse(value.len()));
    for value in longest {
        out = out.replace(*value, "***");
    }
    let mut parts = embedded(&out);
    parts.reverse();
    for (start, end) in parts {
        out.replace_range(start..end, "***");
    }
    out
}

/// A comment in which values after keys that sound secret are covered.
fn masked_comment(text: &str, values: &BTreeSet<&str>) -> String {
    static KEY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"["']?([A-Za-z][A-Za-z0-9_.\-]*)["']?\s*[:=]\s*"#).ok());
    static VALUE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"^(?:(?i:bearer|basic)\s+\S+|"[^"]*"|'[^']*'|[^\s,}\]]+)"#).ok());
    let mut out = masked(text, values);
    let mut covered: Vec<(usize, usize)> = Vec::new();
    for found in KEY.iter().flat_map(|regex| regex.captures_iter(&out)) {
        let (Some(all), Some(name)) = (found.get(0), found.get(1)) else { continue };
        let rest = &out[all.end()..];
        let Some(value) = VALUE.as_ref().and_then(|regex| regex.find(rest)).filter(|_| sounds_secret(name.as_str())) else {
            continue;
        };
        let reference =
            ["${", "{{", "vault://"].iter().any(|start| value.as_str().trim_start_matches(['"', '\'']).starts_with(start));
        if !reference {
            covered.push((all.end(), all.end() + value.end()));
        }
    }
    covered.reverse();
    for (start, end) in covered {
        out.replace_range(start..end, "***");
    }
    out
}

/// Whether the pipelines are equal once the values stand in the place of their references.
fn same(before: &[Pipeline], after: &[Pipeline], secrets: &BTreeMap<String, String>) -> bool {
    let plain = |pipelines: &[Pipeline]| -> Option<Value> {
        let mut value = serde_json::to_value(pipelines).ok()?;
        // What people read may be masked.
        value.as_array_mut().into_iter().flatten().for_each(|pipeline| pipeline["description"] = Value::Null);
        filled(&mut value, secrets);
        Some(value)
    };
    plain(before).is_some_and(|before| plain(after) == Some(before))
}

fn filled(value: &mut Value, secrets: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => *text = read(text, secrets),
        Value::Number(number) => *value = Value::String(number.to_string()),
        Value::Array(items) => items.iter_mut().for_each(|item| filled(item, secrets)),
        Value::Object(map) => map.values_mut().for_each(|item| filled(item, secrets)),
        _ => {}
    }
}

/// The text as a run would read it, as far as the values are known.
fn read(text: &str, secrets: &BTreeMap<String, String>) -> String {
    let Ok(segments) = secret_segments(text) else { return text.into() };
    let mut out = String::new();
    for segment in segments {
        match segment {
            Segment::Text(part) => out.push_str(&part),
            Segment::Reference(Reference::Env { default: Some(default), .. }) => out.push_str(&read(&default, secrets)),
            Segment::Reference(Reference::Credential { name }) if secrets.contains_key(&name) => out.push_str(&secrets[&name]),
            Segment::Reference(other) => out.push_str(&written(&other)),
        }
    }
    out
}

/// Names of `{{…}}` in a text, in whichever place.
pub fn references(text: &str) -> BTreeSet<String> {
    static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\{\{\s*([A-Za-z0-9_.\-]+)\s*\}\}").ok());
    let found = NAME.iter().flat_map(|regex| regex.captures_iter(text));
    found.filter_map(|found| found.get(1).map(|name| name.as_str().to_string())).collect()
}

/// The job that a secret's name belongs to.
pub(super) fn owner(name: &str) -> Option<&str> {
    Some(name.strip_prefix(PREFIX)?.rsplit_once('.')?.0)
}

/// A name that no secret has yet.
pub(super) fn fresh_name(job: &JobId) -> String {
    format!("{PREFIX}{job}.{:016x}", rand::random::<u64>())
}

/// The text with one secret's name instead of another's.
pub(super) fn renamed(text: &str, from: &str, to: &str) -> Result<String> {
    let regex = Regex::new(&format!(r"\{{\{{\s*{}\s*\}}\}}", regex::escape(from)))
        .map_err(|error| Error::new("WEIR-INTERNAL-001", Kind::Internal, "a pattern cannot be read").caused_by(error))?;
    Ok(regex.replace_all(text, format!("{{{{{to}}}}}")).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use crate::workbench::Workbench;

    fn taken(text: &str) -> Result<Taken, Refused> {
        let bench = Bench::new();
        let check = |text: &str| bench.check(text, "spec", &[]);
        let count = std::cell::Cell::new(0);
        let fresh = || {
            count.set(count.get() % 9 + 1);
            format!("job.j1.{}", count.get())
        };
        let checked = check(text);
        // As the service does.
        if checked.diagnostics.iter().any(|problem| problem.is_error() && problem.code != codes::UNKNOWN_CONNECTOR) {
            return Err(Refused::Diagnostics(checked.diagnostics));
        }
        take_out(text, checked, &fresh, &check)
    }

    /// The text with secrets replaced, and the values in order of their names.
    fn shown(text: &str) -> (String, Vec<String>) {
        let taken = taken(text).unwrap_or_else(|refused| panic!("{:?}", refused.into_error()));
        (taken.text, taken.secrets.values().map(|value| value.expose().to_string()).collect())
    }

    const SINK: &str = "sink:\n  file: {path: out, format: csv}\n";

    #[test]
    fn a_secret_of_any_style_becomes_a_reference_and_the_rest_stays_as_it_was() {
        for (written, after, value) in [
            ("hunter2-pw # the login", "\"{{job.j1.1}}\" # the login", "hunter2-pw"),
            ("'hunter2-''pw'", "\"{{job.j1.1}}\"", "hunter2-'pw"),
            ("\"hunter2\\n\"", "\"{{job.j1.1}}\"", "hunter2\n"),
            ("&pw hunter2-pw", "&pw \"{{job.j1.1}}\"", "hunter2-pw"),
            ("|-\n      hunter2-pw\n", "\"{{job.j1.1}}\"\n", "hunter2-pw"),
            ("pa$${x", "\"{{job.j1.1}}\"", "pa${x"),
            ("${PW:-hunter2-pw}", "\"{{job.j1.1}}\"", "hunter2-pw"),
            ("${PW:-${OTHER:-hunter2-pw}}", "\"{{job.j1.1}}\"", "hunter2-pw"),
            ("a$${B:-c}d", "\"{{job.j1.1}}\"", "a${B:-c}d"),
            ("hunter2-{{half}}", "\"{{job.j1.1}}{{half}}\"", "hunter2-"),
        ] {
            let text = format!(
                "# crm\npipeline: p   # name\nsource:\n  postgres:\n    host: db\n    password: {written}\n    table: t\n{SINK}"
            );
            let (new, values) = shown(&text);
            assert_eq!(new, text.replace(written, after), "{written}");
            assert_eq!(values, [value], "{written}");
        }
    }

    #[test]
    fn references_are_left_alone() {
        for reference in ["${PW}", "{{pw}}", "vault://crm/db#password", "file:///run/secrets/pw", "${PW:-}", "${PW:-${OTHER}}"] {
            let text = format!("pipeline: p\nsource:\n  postgres: {{password: \"{reference}\", table: t}}\n{SINK}");
            assert_eq!(shown(&text), (text.clone(), vec![]), "{reference}");
        }
    }

    #[test]
    fn the_jobs_of_seed_000_lose_their_secrets_and_keep_their_comments() {
        let text = include_str!("../../../weir-spec/tests/seeds/000_mysql_to_lake.json");
        let (new, values) = shown(text);
        assert_eq!(values, ["password", "minioadmin"]);
        let expected = text
            .replace("\"password\": \"password\"", "\"password\": \"{{job.j1.1}}\"")
            .replace("\"minioadmin\"", "\"{{job.j1.2}}\"");
        assert_eq!(new, expected);
        assert!(new.contains("// Every 6 hours"));
        let (new, values) = shown(include_str!("../../../weir-spec/tests/seeds/000_postgres_cdc_to_pulsar.json"));
        assert_eq!((values, new.contains("\"password\": \"{{job.j1.1}}\"")), (vec!["password".to_string()], true));
    }

    #[test]
    fn secrets_inside_of_urls_headers_and_parameters_are_found() {
        for (source, secrets) in [
            ("postgres: {url: \"postgresql://r:hunter2@db/x\", table: t}", vec!["hunter2"]),
            ("postgres: {url: \"postgresql://r:hun/ter2@db/x\", table: t}", vec!["hun/ter2"]),
            ("jdbc: {url: \"jdbc:postgresql://db/x?user=r&password=hunter%402\", table: t}", vec!["hunter@2"]),
            ("jdbc: {url: \"jdbc:postgresql://r:hunter2@db/x\", table: t}", vec!["hunter2"]),
            (
                "http: {url: \"https://h/x\", headers: {Authorization: Bearer hunter2, Cookie: hunter3, Accept: json}}",
                vec!["Bearer hunter2", "hunter3"],
            ),
            ("http: {url: \"https://h/x?api_key=hunter2&page=1\"}", vec!["hunter2"]),
            ("http: {url: \"https://h/x\", query_params: {key: hunter2, page: 1}}", vec!["hunter2"]),
            ("http: {url: \"https://h/x\", auth: {bearer: {token: hunter2}}}", vec!["hunter2"]),
            ("http: {url: \"https://h/x\", auth: {api_key: {name: X-Key, value: hunter2, in: header}}}", vec!["hunter2"]),
            (
                "s3: {path: \"b/x.csv\", access_key: AKIAHUNTER, secret_key: hunter2, session_token: hunter3}",
                vec!["AKIAHUNTER", "hunter2", "hunter3"],
            ),
        ] {
            let text = format!("pipeline: p\nsource:\n  {source}\n{SINK}");
            let (new, values) = shown(&text);
            assert_eq!(values, secrets, "{new}");
            assert!(!new.to_lowercase().contains("hunter"), "{new}");
        }
        let text = format!(
            "pipeline: p\nsource: {{file: {{path: x.csv}}}}\ntransforms:\n  - mask: {{columns: {{password: redact}}, salt: hunter2}}\n{SINK}"
        );
        assert_eq!(
            shown(&text),
            (text.replace("hunter2", "\"{{job.j1.1}}\""), vec!["hunter2".into()]),
            "columns are not secrets"
        );
    }

    #[test]
    fn the_same_value_is_one_secret_and_is_covered_in_comments_and_descriptions() {
        let text = format!(
            "# password: hunter2-pw, was: token=abc123\npipeline: p\ndescription: uses hunter2-pw\nsource:\n  postgres: {{password: hunter2-pw, table: t}} # hunter2-pw\n\
             connections:\n  a: {{postgres: {{password: hunter2-pw}}}}\n  # b: postgresql://u:other@h/x\n{SINK}"
        );
        let (new, values) = shown(&text);
        assert_eq!(values, ["hunter2-pw"]);
        for secret in ["hunter2", "abc123", "other@"] {
            assert!(!new.contains(secret), "{new}");
        }
        assert!(
            new.contains("# password: ***, was: token=***")
                && new.contains("description: \"uses ***\"")
                && new.contains("# ***\n"),
            "{new}"
        );
        assert_eq!(new.matches("{{job.j1.1}}").count(), 2);
    }

    #[test]
    fn a_reference_in_a_comment_or_text_is_named_once() {
        assert_eq!(references("a: {{x}} {{ job.j1.2 }} {{x}} {y} {{}}"), ["job.j1.2", "x"].map(String::from).into());
        assert_eq!((owner("job.0192-ab.7"), owner("job.x"), owner("api_key")), (Some("0192-ab"), None, None));
        assert_eq!(renamed("{{ job.a.1 }} {{job.a.11}}", "job.a.1", "job.b.5").unwrap(), "{{job.b.5}} {{job.a.11}}");
    }

    /// A scalar in one of YAML's styles, for a key that stands at `indent`.
    fn styled(value: &str, style: u8, indent: usize) -> Option<String> {
        let pad = " ".repeat(indent + 2);
        let one_line = !value.contains('\n') && value.trim() == value;
        Some(match style {
            0 if value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') => value.to_string(),
            1 if one_line => format!("'{}'", value.replace('\'', "''")),
            2 => Value::String(value.into()).to_string(),
            3 if one_line => format!("|-\n{pad}{value}"),
            4 if one_line => format!(">-\n\n{pad}{value}\n"),
            5 if one_line => format!("&anchor |2- # a comment\n{pad}{value}"),
            6 => format!("!!str {}", Value::String(value.into())),
            _ => return None,
        })
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { cases: 600, ..Default::default() })]
        #[test]
        fn whatever_a_secret_looks_like_it_is_gone_or_refused(
            tail in "[ -~]{0,12}",
            style in 0u8..7,
            place in 0usize..5,
            crlf in proptest::bool::ANY,
            mark in proptest::bool::ANY,
            wide in "[äß語😀# ]{0,6}",
            as_json in proptest::bool::ANY,
        ) {
            let value = format!("CANARY{tail}");
            let (head, key) = [
                ("source:\n  postgres:\n    table: t\n", "password"),
                ("source:\n  s3:\n    path: b/x.csv\n", "secret_key"),
                ("source:\n  s3:\n    path: b/x.csv\n", "access_key"),
                ("source:\n  http:\n    url: \"https://h/x\"\n    headers:\n", "  X-Api-Key"),
                ("source: {file: {path: x.csv}}\ntransforms:\n  - mask:\n      columns: {a: redact}\n", "  salt"),
            ][place];
            let text = if as_json {
                let secret = Value::String(value.clone());
                format!("{{\"pipeline\": \"p\", \"description\": {},\t// {wide}\n \"source\": {{\"postgres\": {{\"table\": \"t\",\n\t\"password\"\t: {secret} , \"host\": \"db\"}}}}, // x\n \"sink\": {{\"file\": {{\"path\": \"o\", \"format\": \"csv\"}}}}}}", Value::String(wide.clone()))
            } else {
                let Some(scalar) = styled(&value, style, 6) else { return Ok(()) };
                let text = format!("# {wide}\npipeline: p\ndescription: \"{wide}\"\n{head}    {key}: {scalar}\n{SINK}");
                if crlf { text.replace('\n', "\r\n") } else { text }
            };
            let text = if mark { format!("\u{feff}{text}") } else { text };
            match taken(&text) {
                Ok(taken) => {
                    proptest::prop_assert!(!taken.text.contains("CANARY"), "{}", taken.text);
                    // References in the value stay; the rest of it comes back.
                    let known = taken.secrets.iter().map(|(name, value)| (name.clone(), value.expose().to_string())).collect();
                    let check = |text: &str| Bench::new().check(text, "spec", &[]);
                    proptest::prop_assert!(same(&check(&text).pipelines, &taken.checked.pipelines, &known));
                    proptest::prop_assert!(taken.secrets.values().any(|value| value.expose().contains("CANARY")));
                    let lines = |text: &str| text.lines().filter(|line| line.contains("# ") || line.contains("sink")).count();
                    proptest::prop_assert!(as_json || style == 5 || lines(&text) == lines(&taken.text), "{}\n{}", text, taken.text);
                }
                Err(refused) => {
                    let shown = format!("{:?}", refused.diagnostics());
                    proptest::prop_assert!(!shown.contains("CANARY"), "{}", shown);
                    // Only values that are broken references, or that no text form can carry, are refused.
                    proptest::prop_assert!(value.contains(['$', '{']), "{} refused: {}", text, shown);
                }
            }
        }
    }
}
