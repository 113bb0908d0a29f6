//! Bodies are checked against the very schema that the OpenAPI document shows, so that the two cannot differ.
//!
//! Only the part of JSON Schema that the document uses is understood; a keyword outside it fails the crate's tests.

use std::collections::BTreeMap;

use chrono::DateTime;
use regex::Regex;
use serde_json::{Map, Value};

use crate::problem::ProblemPart;

/// The schemas of all bodies, ready to check with.
#[derive(Debug, Default)]
pub struct Schemas {
    components: Map<String, Value>,
    patterns: BTreeMap<String, Regex>,
}

/// At most so many problems are told.
const MAX_PROBLEMS: usize = 20;

/// What a look at a body found.
#[derive(Debug, Default)]
pub struct Found {
    /// What is wrong.
    pub problems: Vec<ProblemPart>,
    /// JSON pointers of integers that are written with a fraction of zero.
    pub whole: Vec<String>,
}

impl Found {
    fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(ProblemPart::at(path, message));
    }
}

/// Writes `5.0` as `5` at the places given.
pub fn make_whole(body: &mut Value, places: &[String]) {
    for place in places {
        if let Some(value) = body.pointer_mut(place)
            && let Some(number) = value.as_f64().filter(|number| is_whole(*number))
        {
            // Whole and within 2^53: the conversion is exact.
            #[expect(clippy::cast_possible_truncation)]
            let number = number as i64;
            *value = Value::from(number);
        }
    }
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0
}

impl Schemas {
    /// From `components.schemas` of the document.
    pub fn new(components: Map<String, Value>) -> Self {
        let mut patterns = BTreeMap::new();
        for schema in components.values() {
            collect_patterns(schema, &mut patterns);
        }
        Self { components, patterns }
    }

    /// Everything in which the body differs from the component's schema.
    pub fn check(&self, component: &str, body: &Value) -> Vec<ProblemPart> {
        self.look(component, body).problems
    }

    /// The same, and where the body has a whole number with a fraction of zero (`5.0`), which JSON Schema calls an integer.
    pub fn look(&self, component: &str, body: &Value) -> Found {
        let mut found = Found::default();
        match self.components.get(component) {
            Some(schema) => self.walk(schema, body, &mut String::new(), &mut found),
            None => found.problem("", "this operation takes no such body"),
        }
        found
    }

    fn walk(&self, schema: &Value, value: &Value, path: &mut String, out: &mut Found) {
        if out.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let Some(schema) = schema.as_object() else { return };
        if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.rsplit('/').next())
            && let Some(target) = self.components.get(name)
        {
            return self.walk(target, value, path, out);
        }
        for key in ["oneOf", "anyOf"] {
            if let Some(options) = schema.get(key).and_then(Value::as_array) {
                return self.walk_options(options, value, path.as_str(), out);
            }
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.walk(part, value, path, out);
        }
        if let Some(types) = schema.get("type")
            && !has_type(types, value)
        {
            if value.as_f64().is_some_and(is_whole) && has_type(types, &Value::from(0)) {
                out.whole.push(path.clone());
            } else {
                out.problem(path, format!("must be {}", words_of(types)));
                return;
            }
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            let words: Vec<String> = allowed.iter().map(plain).collect();
            out.problem(path, format!("must be one of: {}", words.join(", ")));
            return;
        }
        match value {
            Value::String(text) => self.walk_text(schema, text, path, out),
            Value::Number(number) => walk_number(schema, number.as_f64().unwrap_or(f64::NAN), path, out),
            Value::Array(items) => {
                let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
                if bound("maxItems").is_some_and(|max| items.len() as u64 > max)
                    || bound("minItems").is_some_and(|min| (items.len() as u64) < min)
                {
                    out.problem(path, range_words("elements", bound("minItems"), bound("maxItems")));
                }
                if let Some(schema) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        self.deeper(schema, item, &index.to_string(), path, out);
                    }
                }
            }
            Value::Object(fields) => self.walk_object(schema, fields, path, out),
            _ => {}
        }
    }

    fn deeper(&self, schema: &Value, value: &Value, step: &str, path: &mut String, out: &mut Found) {
        let length = path.len();
        path.push('/');
        path.extend(step.chars().take(80).filter(|c| !c.is_control()));
        self.walk(schema, value, path, out);
        path.truncate(length);
    }

    /// One option must fit. If none does, the one that is nearest says why.
    fn walk_options(&self, options: &[Value], value: &Value, path: &str, out: &mut Found) {
        let mut nearest: Option<Vec<ProblemPart>> = None;
        for option in
            options.iter().filter(|option| option.get("type").and_then(Value::as_str) != Some("null") || value.is_null())
        {
            let mut found = Found::default();
            self.walk(option, value, &mut path.to_owned(), &mut found);
            let problems = found.problems;
            if problems.is_empty() {
                out.whole.extend(found.whole);
                return;
            }
            // A problem deeper in the value means that its outer form was right.
            let depth = |problems: &[ProblemPart]| problems.iter().filter_map(|part| part.path.as_ref()).map(String::len).max();
            let better = nearest.as_ref().is_none_or(|known| (depth(&problems), known.len()) > (depth(known), problems.len()));
            if better {
                nearest = Some(problems);
            }
        }
        out.problems.extend(nearest.unwrap_or_else(|| vec![ProblemPart::at(path, "fits none of the allowed forms")]));
    }

    fn walk_text(&self, schema: &Map<String, Value>, text: &str, path: &str, out: &mut Found) {
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        let (min, max) = (bound("minLength"), bound("maxLength"));
        if min.is_some() || max.is_some() {
            let count = text.chars().count() as u64;
            if max.is_some_and(|max| count > max) || min.is_some_and(|min| count < min) {
                out.problem(path, range_words("characters", min, max));
                return;
            }
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
            && !self.patterns.get(pattern).is_some_and(|regex| regex.is_match(text))
        {
            let words = if pattern == crate::params::TEXT_PATTERN {
                "must not have control characters".to_owned()
            } else {
                format!("must match {pattern}")
            };
            out.problem(path, words);
        }
        match schema.get("format").and_then(Value::as_str) {
            Some("date-time") if DateTime::parse_from_rfc3339(text).is_err() => {
                out.problem(path, "must be a time as RFC 3339 has it: 2026-01-31T12:00:00Z");
            }
            Some("uri") if url::Url::parse(text).is_err() => out.problem(path, "must be a URL"),
            _ => {}
        }
    }

    fn walk_object(&self, schema: &Map<String, Value>, fields: &Map<String, Value>, path: &mut String, out: &mut Found) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                out.problem(path, format!("`{name}` is missing"));
            }
        }
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        if bound("maxProperties").is_some_and(|max| fields.len() as u64 > max) {
            out.problem(path, range_words("entries", None, bound("maxProperties")));
            return;
        }
        for (name, value) in fields {
            if let Some(schema) = properties.and_then(|properties| properties.get(name)) {
                self.deeper(schema, value, name, path, out);
                continue;
            }
            if let Some(names) = schema.get("propertyNames") {
                self.deeper(names, &Value::String(name.clone()), name, path, out);
            }
            match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => {
                    let known = properties.into_iter().flat_map(Map::keys).map(String::as_str).collect::<Vec<_>>();
                    let part = ProblemPart::at(path.as_str(), format!("`{}` is not a known key", shown(name)));
                    out.problems.push(ProblemPart { help: Some(format!("known keys: {}", known.join(", "))), ..part });
                }
                Some(other) => self.deeper(other, value, name, path, out),
                None => {}
            }
            if out.problems.len() >= MAX_PROBLEMS {
                return;
            }
        }
    }
}

fn walk_number(schema: &Map<String, Value>, number: f64, path: &str, out: &mut Found) {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let (min, max) = (bound("minimum"), bound("maximum"));
    if max.is_some_and(|max| number > max) || min.is_some_and(|min| number < min) {
        let words = match (min, max) {
            (Some(min), Some(max)) => format!("must be from {min} to {max}"),
            (Some(min), None) => format!("must be at least {min}"),
            (_, max) => format!("must be at most {}", max.unwrap_or(f64::MAX)),
        };
        out.problem(path, words);
    }
}

fn shown(name: &str) -> String {
    name.chars().take(60).filter(|c| !c.is_control()).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn range_words(what: &str, min: Option<u64>, max: Option<u64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("must have {min} to {max} {what}"),
        (Some(min), None) => format!("must have at least {min} {what}"),
        (None, max) => format!("must have at most {} {what}", max.unwrap_or(u64::MAX)),
    }
}

fn words_of(types: &Value) -> String {
    match types {
        Value::Array(options) => options.iter().map(plain).collect::<Vec<_>>().join(" or "),
        other => plain(other),
    }
}

fn has_type(types: &Value, value: &Value) -> bool {
    match types {
        Value::Array(options) => options.iter().any(|option| has_type(option, value)),
        Value::String(name) => match name.as_str() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            "number" => value.is_number(),
            "integer" => value.is_i64() || value.is_u64(),
            _ => false,
        },
        _ => true,
    }
}

fn collect_patterns(schema: &Value, out: &mut BTreeMap<String, Regex>) {
    match schema {
        Value::Object(fields) => {
            if let Some(pattern) = fields.get("pattern").and_then(Value::as_str)
                && let Ok(regex) = Regex::new(pattern)
            {
                out.insert(pattern.to_owned(), regex);
            }
            fields.values().for_each(|value| collect_patterns(value, out));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_patterns(value, out)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schemas() -> Schemas {
        let Value::Object(components) = json!({
            "Job": {
                "type": "object", "required": ["name"], "additionalProperties": false,
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]*$"},
                    "count": {"type": ["integer", "null"], "minimum": 0},
                    "retry": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Retry"}]},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 2},
                }
            },
            "Retry": {"type": "object", "additionalProperties": false, "properties": {"at": {"type": "string", "format": "date-time"}}},
        }) else {
            unreachable!()
        };
        Schemas::new(components)
    }

    #[test]
    fn a_body_that_fits_has_no_problems() {
        let body = json!({"name": "abc", "count": null, "retry": {"at": "2026-01-01T00:00:00Z"}, "labels": {"a": "b"}});
        assert!(schemas().check("Job", &body).is_empty());
    }

    #[test]
    fn a_whole_number_with_a_fraction_of_zero_is_an_integer() {
        let mut body = json!({"name": "abc", "count": 5.0});
        let found = schemas().look("Job", &body);
        assert!(found.problems.is_empty());
        make_whole(&mut body, &found.whole);
        assert_eq!(body["count"].as_u64(), Some(5));
        assert!(!schemas().check("Job", &json!({"name": "abc", "count": 5.5})).is_empty());
        assert!(!schemas().check("Job", &json!({"name": "abc", "count": 1e300})).is_empty());
    }

    #[test]
    fn every_difference_is_told_with_its_place() {
        let body = json!({"name": "ABCDEF", "count": -1, "retry": {"at": "soon"}, "labels": {"a": 1}, "role": "admin"});
        let places: Vec<_> = schemas().check("Job", &body).into_iter().filter_map(|part| part.path).collect();
        assert_eq!(places, ["/name", "/count", "/retry/at", "/labels/a", ""]);
        assert_eq!(schemas().check("Job", &json!({}))[0].message, "`name` is missing");
    }
}
