//! The body of a request that makes or changes a job: a pipeline itself, or a spec with settings beside it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use weir_spec::{Diagnostic, nearest};
use weir_store::model::{CatchUp, Overlap, RetryPolicy, Schedule};

use super::refused::Refused;

/// Longer specs are refused.
pub const MAX_SPEC_BYTES: usize = 1 << 20;

/// What a request says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Body {
    pub spec: String,
    /// Whether the spec stands for itself, without settings beside it.
    pub bare: bool,
    /// The name as written, if there is one.
    pub name: Option<String>,
    pub description: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// `Some(None)`: explicitly none.
    pub schedule: Option<Option<Schedule>>,
    pub retry: RetryPolicy,
    pub timeout_secs: Option<u64>,
    /// Names or ids.
    pub depends_on: Vec<String>,
}

const KEYS: [&str; 8] = ["spec", "name", "description", "labels", "retry", "timeout_secs", "depends_on", "schedule"];
const RETRY: [&str; 3] = ["max_attempts", "backoff_secs", "max_backoff_secs"];
const SCHEDULE: [&str; 5] = ["cron", "timezone", "overlap", "catch_up", "jitter_secs"];
/// Keys of pipelines, in whichever form.
const PIPELINE: [&str; 8] = ["pipeline", "source", "sources", "sink", "sinks", "provider", "transforms", "sync_mode"];

/// Reads a body. What is wrong with the spec itself is found later.
pub(super) fn read(text: &str) -> Result<Body, Refused> {
    if text.len() > MAX_SPEC_BYTES + (64 << 10) {
        return Err(too_long("spec"));
    }
    let documents = weir_spec::texts(text).map(|texts| texts.documents).unwrap_or_default();
    let object = match documents.as_slice() {
        [Value::Object(object)] => object,
        // The checker says what is wrong.
        _ => return Ok(Body { spec: text.into(), bare: true, ..Body::default() }),
    };
    let pipeline = PIPELINE.iter().any(|key| object.contains_key(*key));
    let misspelt = || !pipeline && object.keys().any(|key| nearest(key, ["spec"]).is_some());
    if !object.contains_key("spec") && !misspelt() {
        let text_of = |key: &str| object.get(key).and_then(Value::as_str).map(Into::into);
        // Only the job JSON and the unified ingestion spec have a name for people.
        let name = text_of("name").filter(|_| !object.contains_key("pipeline"));
        let description = text_of("description").filter(|_| name.is_some());
        return Ok(Body { spec: text.into(), bare: true, name, description, ..Body::default() });
    }
    Reader::default().envelope(object)
}

fn too_long(path: &str) -> Refused {
    let limit = MAX_SPEC_BYTES >> 20;
    Refused::at("WEIR-JOB-002", path, format!("the spec is longer than {limit} MiB"), "split the pipeline")
}

/// Collects every problem.
#[derive(Default)]
pub(super) struct Reader {
    problems: Vec<Diagnostic>,
}

impl Reader {
    fn wrong(&mut self, path: &str, message: impl Into<String>, help: &str) {
        self.problems.push(Diagnostic::error("WEIR-JOB-002", message).at(path, None).help(help));
    }

    fn keys(&mut self, object: &Map<String, Value>, path: &str, known: &[&str]) {
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            let shown: String = key.chars().take(40).collect();
            let at = if path.is_empty() { shown.clone() } else { format!("{path}.{shown}") };
            self.problems.push(
                Diagnostic::error("WEIR-JOB-003", format!("unknown key `{shown}`"))
                    .at(at, None)
                    .did_you_mean(nearest(key, known.iter().copied()))
                    .expected(known.join(", ")),
            );
        }
    }

    fn envelope(mut self, object: &Map<String, Value>) -> Result<Body, Refused> {
        self.keys(object, "", &KEYS);
        let mut body = Body::default();
        match object.get("spec") {
            Some(Value::String(text)) if text.len() > MAX_SPEC_BYTES => return Err(too_long("spec")),
            Some(Value::String(text)) => body.spec.clone_from(text),
            Some(spec @ Value::Object(_)) => body.spec = format!("{spec:#}"),
            Some(_) => self.wrong("spec", "`spec` must be text: a pipeline as YAML or JSON", "send the pipeline file's content"),
            None => self.wrong("spec", "`spec` is missing", "send the pipeline file's content as text"),
        }
        body.name = self.text(object, "name");
        body.description = self.text(object, "description");
        body.labels = self.labels(object);
        if let Some(schedule) = object.get("schedule") {
            body.schedule = self.schedule(schedule);
        }
        match object.get("retry") {
            None | Some(Value::Null) => {}
            Some(Value::Object(retry)) => {
                self.keys(retry, "retry", &RETRY);
                let base = RetryPolicy::default();
                let attempts = self.whole(retry, "retry.", "max_attempts", 1, 20).unwrap_or(base.max_attempts.into());
                let backoff = self.whole(retry, "retry.", "backoff_secs", 0, 86_400).unwrap_or(base.backoff_secs.into());
                let most = self.whole(retry, "retry.", "max_backoff_secs", 0, 86_400).unwrap_or(base.max_backoff_secs.into());
                // All are below 86,401.
                let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
                body.retry =
                    RetryPolicy { max_attempts: small(attempts), backoff_secs: small(backoff), max_backoff_secs: small(most) };
            }
            Some(_) => self.wrong("retry", "`retry` must be a map", "for example {\"max_attempts\": 3, \"backoff_secs\": 10}"),
        }
        body.timeout_secs = self.whole(object, "", "timeout_secs", 1, 7 * 86_400);
        match object.get("depends_on") {
            None | Some(Value::Null) => {}
            Some(Value::Array(jobs)) if jobs.len() <= 50 && jobs.iter().all(Value::is_string) => {
                body.depends_on = jobs.iter().filter_map(Value::as_str).map(Into::into).collect();
            }
            Some(_) => {
                self.wrong("depends_on", "`depends_on` must be a list of at most 50 job names or ids", "[\"orders_to_lake\"]")
            }
        }
        if self.problems.is_empty() { Ok(body) } else { Err(Refused::Diagnostics(self.problems)) }
    }

    fn text(&mut self, object: &Map<String, Value>, key: &str) -> Option<String> {
        match object.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.wrong(key, format!("`{key}` must be text"), "put it in quotes");
                None
            }
        }
    }

    fn whole(&mut self, object: &Map<String, Value>, path: &str, key: &str, low: u64, high: u64) -> Option<u64> {
        match object.get(key) {
            None | Some(Value::Null) => None,
            Some(value) => {
                let number = value.as_u64().filter(|number| (low..=high).contains(number));
                if number.is_none() {
                    self.wrong(
                        &format!("{path}{key}"),
                        format!("`{path}{key}` must be a whole number from {low} to {high}"),
                        "write it without quotes",
                    );
                }
                number
            }
        }
    }

    fn labels(&mut self, object: &Map<String, Value>) -> BTreeMap<String, String> {
        let help = "for example {\"owner\": \"sales\"}";
        match object.get("labels") {
            None | Some(Value::Null) => BTreeMap::new(),
            Some(Value::Object(labels)) if labels.values().all(Value::is_string) => {
                labels.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_string()))).collect()
            }
            Some(_) => {
                self.wrong("labels", "`labels` must be a map of texts", help);
                BTreeMap::new()
            }
        }
    }

    /// `Some(None)` = explicitly none; `None` = wrong, which has been told.
    fn schedule(&mut self, value: &Value) -> Option<Option<Schedule>> {
        let object = match value {
            Value::Null => return Some(None),
            Value::String(cron) => &Map::from_iter([("cron".to_string(), Value::String(cron.clone()))]),
            Value::Object(object) => object,
            _ => {
                self.wrong("schedule", "`schedule` must be a cron expression or a map", "\"0 */6 * * *\"");
                return None;
            }
        };
        self.keys(object, "schedule", &SCHEDULE);
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let word = |reader: &mut Self, key: &str, words: &[&str]| match object.get(key) {
            None | Some(Value::Null) => Some(None),
            Some(Value::String(word)) if words.contains(&word.as_str()) => Some(Some(word.clone())),
            Some(_) => {
                reader.wrong(
                    &format!("schedule.{key}"),
                    format!("`schedule.{key}` must be one of {}", words.join(", ")),
                    "choose one",
                );
                None
            }
        };
        let overlap = word(self, "overlap", &["skip", "queue"])?;
        let catch_up = word(self, "catch_up", &["none", "last", "all"])?;
        let jitter = self.whole(object, "schedule.", "jitter_secs", 0, 3600).unwrap_or(0);
        let Some(cron) = text("cron") else {
            self.wrong("schedule.cron", "`schedule.cron` is missing", "five fields, for example \"0 */6 * * *\"");
            return None;
        };
        if object.get("timezone").is_some_and(|zone| !zone.is_string() && !zone.is_null()) {
            self.wrong("schedule.timezone", "`schedule.timezone` must be text", "for example \"Europe/Berlin\"");
            return None;
        }
        Some(Some(Schedule {
            cron: cron.into(),
            timezone: text("timezone").unwrap_or("UTC").into(),
            overlap: overlap_of(overlap.as_deref()),
            catch_up: catch_up_of(catch_up.as_deref()),
            jitter_secs: u32::try_from(jitter).unwrap_or(0),
        }))
    }
}

pub(super) fn overlap_of(word: Option<&str>) -> Overlap {
    if word == Some("queue") { Overlap::Queue } else { Overlap::Skip }
}

pub(super) fn catch_up_of(word: Option<&str>) -> CatchUp {
    match word {
        Some("none") => CatchUp::None,
        Some("all") => CatchUp::All,
        _ => CatchUp::Last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<(String, Option<String>)> {
        let refused = read(text).unwrap_err();
        refused.diagnostics().iter().map(|problem| (problem.path.clone(), problem.suggestion.clone())).collect()
    }

    #[test]
    fn a_pipeline_is_its_own_body_and_its_name_is_kept_as_written() {
        let text = "{\n  \"name\": \"MySQL to Lake\", // why\n  \"source\": {\"connector_type\": \"file\"}\n}";
        let body = read(text).unwrap();
        assert_eq!((body.spec.as_str(), body.bare, body.name.as_deref()), (text, true, Some("MySQL to Lake")));
        assert_eq!(read("pipeline: p\nsource: {file: {path: x}}\n").unwrap().name, None);
    }

    #[test]
    fn an_envelope_has_settings_beside_the_spec() {
        let body = read(
            r#"{"spec": "pipeline: p", "retry": {"max_attempts": 5}, "timeout_secs": 60, "depends_on": ["a"], "labels": {"k": "v"},
                "schedule": {"cron": "0 0 * * *", "timezone": "Europe/Berlin", "overlap": "queue", "catch_up": "all", "jitter_secs": 30}}"#,
        )
        .unwrap();
        assert_eq!(body.retry, RetryPolicy { max_attempts: 5, ..RetryPolicy::default() });
        let schedule = body.schedule.unwrap().unwrap();
        assert_eq!((schedule.overlap, schedule.catch_up, schedule.jitter_secs), (Overlap::Queue, CatchUp::All, 30));
        assert_eq!(read(r#"{"spec": "x", "schedule": null}"#).unwrap().schedule, Some(None));
        assert_eq!(read(r#"{"spec": {"pipeline": "p"}}"#).unwrap().spec, "{\n  \"pipeline\": \"p\"\n}");
    }

    #[test]
    fn unknown_keys_get_the_nearest_and_all_problems_are_told() {
        assert_eq!(problems(r#"{"spce": "x"}"#)[0], ("spce".into(), Some("spec".into())));
        let all = problems(
            r#"{"spec": 5, "timeout_sec": 1, "retry": {"max_attempt": 1, "backoff_secs": -1}, "labels": [], "depends_on": "a", "name": 1}"#,
        );
        let paths: Vec<&str> = all.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["timeout_sec", "spec", "name", "labels", "retry.max_attempt", "retry.backoff_secs", "depends_on"]);
        assert_eq!(all[0].1.as_deref(), Some("timeout_secs"));
        assert_eq!(problems(r#"{"spec": "x", "schedule": {"cron": "* * * * *", "overlap": "both"}}"#)[0].0, "schedule.overlap");
    }

    #[test]
    fn a_body_that_mixes_both_forms_is_refused() {
        assert_eq!(problems(r#"{"spec": "x", "source": {}}"#)[0].0, "source");
    }
}
