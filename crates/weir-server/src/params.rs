//! Parameters in paths and queries: declared once, from which both the check and the OpenAPI document come.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::problem::{Problem, ProblemPart};

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `/jobs/{job_id}`.
    Path,
    /// `?limit=10`.
    Query,
}

/// What a parameter may be.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// An opaque id.
    Id,
    /// 1 to `max` characters, none of them a control character.
    Text {
        /// Characters.
        max: usize,
    },
    /// A whole number.
    Integer {
        /// From.
        min: i64,
        /// To, inclusive.
        max: i64,
        /// What it is when it is not given.
        default: Option<i64>,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    /// RFC 3339.
    Time,
    /// A name as secrets and connections have.
    Name,
    /// `name:value`, also with `=`.
    Label,
}

/// A parameter.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// Where.
    pub place: Place,
    /// What.
    pub shape: Shape,
    /// Whether a request without it is refused. Path parameters always are.
    pub required: bool,
    /// For people.
    pub about: &'static str,
    /// A value that works.
    pub example: Option<&'static str>,
}

/// Names of connections, secrets, templates: what specs can write.
pub const NAME_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_.-]{0,127}$";
/// Ids.
pub const ID_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$";
/// Printable text.
pub const TEXT_PATTERN: &str = r"^[^\x00-\x1f\x7f]*$";
/// A label's name and value.
pub const LABEL_PATTERN: &str = r"^[^\x00-\x1f\x7f:=]+[:=][^\x00-\x1f\x7f]*$";
/// A label as a filter at most, characters.
const MAX_LABEL: usize = 300;

impl Param {
    /// A path parameter that is an id.
    pub const fn id(name: &'static str, about: &'static str) -> Self {
        Self { name, place: Place::Path, shape: Shape::Id, required: true, about, example: None }
    }
    /// A path parameter.
    pub const fn path(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, place: Place::Path, shape, required: true, about, example: None }
    }
    /// An optional query parameter.
    pub const fn query(name: &'static str, shape: Shape, about: &'static str) -> Self {
        Self { name, place: Place::Query, shape, required: false, about, example: None }
    }
    /// A query parameter that must be there.
    pub const fn needed(mut self) -> Self {
        self.required = true;
        self
    }

    /// A value that works, for the document.
    pub const fn such_as(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }

    /// What is wrong with a value, if something is.
    pub fn refuse(&self, value: &str) -> Option<String> {
        match self.shape {
            Shape::Id => (!is_id(value)).then(|| format!("`{}` must be an id", self.name)),
            Shape::Name => (!is_name(value))
                .then(|| format!("`{}` must be letters, digits, `_`, `.` or `-`, at most 128, the first a letter", self.name)),
            Shape::Label => {
                let named = value.split_once([':', '=']).is_some_and(|(name, _)| !name.is_empty());
                let fits = named && value.chars().count() <= MAX_LABEL && !value.chars().any(|c| c.is_ascii_control());
                (!fits).then(|| format!("`{}` must be `name:value`, at most {MAX_LABEL} characters", self.name))
            }
            Shape::Text { max } => {
                let count = value.chars().count();
                if count == 0 || count > max {
                    Some(format!("`{}` must have 1 to {max} characters", self.name))
                } else if value.chars().any(|c| c.is_ascii_control()) {
                    Some(format!("`{}` must not have control characters", self.name))
                } else {
                    None
                }
            }
            Shape::Integer { min, max, .. } => match number(value) {
                Some(n) if (min..=max).contains(&n) => None,
                _ => Some(format!("`{}` must be a whole number from {min} to {max}", self.name)),
            },
            Shape::Word(words) => {
                (!words.contains(&value)).then(|| format!("`{}` must be one of: {}", self.name, words.join(", ")))
            }
            Shape::Time => DateTime::parse_from_rfc3339(value)
                .is_err()
                .then(|| format!("`{}` must be a time as RFC 3339 has it: 2026-01-31T12:00:00Z", self.name)),
        }
    }

    /// The parameter as OpenAPI has it.
    pub fn describe(&self) -> Value {
        let schema = match self.shape {
            Shape::Id => json!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": ID_PATTERN}),
            Shape::Name => json!({"type": "string", "minLength": 1, "maxLength": 128, "pattern": NAME_PATTERN}),
            Shape::Label => json!({"type": "string", "minLength": 2, "maxLength": MAX_LABEL, "pattern": LABEL_PATTERN}),
            Shape::Text { max } => json!({"type": "string", "minLength": 1, "maxLength": max, "pattern": TEXT_PATTERN}),
            Shape::Integer { min, max, default } => {
                let mut schema = json!({"type": "integer", "format": "int64", "minimum": min, "maximum": max});
                if let Some(default) = default {
                    schema["default"] = json!(default);
                }
                schema
            }
            Shape::Word(words) => json!({"type": "string", "enum": words}),
            Shape::Time => json!({"type": "string", "format": "date-time"}),
        };
        let place = match self.place {
            Place::Path => "path",
            Place::Query => "query",
        };
        let mut out =
            json!({"name": self.name, "in": place, "required": self.required, "description": self.about, "schema": schema});
        if let Some(example) = self.example {
            out["example"] = json!(example);
        }
        out
    }
}

fn is_id(text: &str) -> bool {
    text.len() <= 64 && is_word(text, u8::is_ascii_alphanumeric, b"_-")
}

/// Whether a text may be the name of a connection or secret.
pub fn is_name(text: &str) -> bool {
    text.len() <= 128 && is_word(text, u8::is_ascii_alphabetic, b"_.-")
}

fn is_word(text: &str, first: fn(&u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(first) && bytes.iter().all(|b| b.is_ascii_alphanumeric() || inner.contains(b))
}

/// Plain decimal digits with an optional minus; `+5`, ` 5` and `5.0` are not numbers here.
fn number(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// The values of a request's parameters, all of them checked.
#[derive(Debug, Default)]
pub struct Values(Vec<(&'static str, String)>);

impl Values {
    /// Checks path and query against what is declared. An ill-formed id in a path is an id that does not exist; a name in a path is chosen
    /// by the caller, who is told how one looks.
    pub fn read<'a>(
        declared: &[Param],
        path: impl Iterator<Item = (&'a str, &'a str)>,
        query: Option<&str>,
    ) -> Result<Self, Problem> {
        let mut values = Vec::new();
        for (name, value) in path {
            let Some(param) = declared.iter().find(|param| param.place == Place::Path && param.name == name) else { continue };
            if let Some(why) = param.refuse(value) {
                if matches!(param.shape, Shape::Name) {
                    return Err(Problem::unprocessable("WEIR-API-013", why));
                }
                return Err(Problem::from(weir_error::Error::new(
                    "WEIR-API-404",
                    weir_error::Kind::NotFound,
                    "there is no such thing",
                )));
            }
            values.push((param.name, value.to_owned()));
        }
        let mut wrong = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let Some(param) = declared.iter().find(|param| param.place == Place::Query && param.name == name) else {
                let known: Vec<&str> =
                    declared.iter().filter(|param| param.place == Place::Query).map(|param| param.name).collect();
                let shown: String = name.chars().take(60).filter(|c| !c.is_control()).collect();
                wrong.push(ProblemPart {
                    help: Some(match known.is_empty() {
                        true => "this operation takes none".into(),
                        false => format!("it takes: {}", known.join(", ")),
                    }),
                    ..ProblemPart::at(format!("?{shown}"), "there is no such parameter")
                });
                continue;
            };
            if values.iter().any(|(known, _)| *known == param.name) {
                wrong.push(ProblemPart::at(format!("?{}", param.name), "this parameter is given twice"));
            } else if let Some(why) = param.refuse(&value) {
                wrong.push(ProblemPart::at(format!("?{}", param.name), why));
            } else {
                values.push((param.name, value.into_owned()));
            }
        }
        for param in declared {
            if param.required && param.place == Place::Query && !values.iter().any(|(name, _)| *name == param.name) {
                wrong.push(ProblemPart::at(format!("?{}", param.name), "this parameter is missing"));
            }
        }
        match wrong.is_empty() {
            true => Ok(Self(values)),
            false => Err(Problem::bad_request("WEIR-API-012", wrong[0].message.clone()).errors(wrong)),
        }
    }

    /// A value as it was sent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
    /// A number.
    pub fn integer(&self, name: &str) -> Option<i64> {
        self.text(name).and_then(number)
    }
    /// A time.
    pub fn time(&self, name: &str) -> Option<DateTime<Utc>> {
        self.text(name).and_then(|text| DateTime::parse_from_rfc3339(text).ok()).map(|time| time.to_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Param = Param::query("limit", Shape::Integer { min: 1, max: 500, default: Some(50) }, "");
    const JOB: Param = Param::id("job_id", "");

    fn read(path: &str, query: &str) -> Result<Values, Problem> {
        Values::read(&[LIMIT, JOB], [("job_id", path)].into_iter(), Some(query))
    }

    #[test]
    fn a_declared_number_is_read_and_its_bounds_hold() {
        assert_eq!(read("a", "limit=500").unwrap().integer("limit"), Some(500));
        for bad in [
            "limit=0",
            "limit=501",
            "limit=",
            "limit=%2B5",
            "limit=5.0",
            "limit=99999999999999999999",
            "limit=1&limit=2",
            "limi=3",
        ] {
            assert_eq!(read("a", bad).unwrap_err().status(), 400, "{bad}");
        }
    }

    #[test]
    fn a_name_in_a_path_says_how_names_look() {
        let name = [Param::path("name", Shape::Name, "")];
        let read = |text: &'static str| Values::read(&name, [("name", text)].into_iter(), None);
        assert_eq!(read("db.password-1").unwrap().text("name"), Some("db.password-1"));
        for bad in ["", "1st", "-a", "a b", "é"] {
            assert_eq!(read(bad).unwrap_err().status(), 422, "{bad:?}");
        }
    }

    #[test]
    fn a_label_has_a_name() {
        let label = Param::query("label", Shape::Label, "");
        let pattern = regex::Regex::new(LABEL_PATTERN).unwrap();
        for (text, yes) in [("team:data", true), ("team=", true), ("a:b:c", true), ("team", false), (":x", false), ("", false)] {
            assert_eq!(label.refuse(text).is_none(), yes, "{text:?}");
            assert_eq!(pattern.is_match(text), yes, "{text:?}");
        }
    }

    #[test]
    fn an_ill_formed_id_is_one_that_does_not_exist() {
        for bad in ["", "..", "a/b", "a\0", "é", &"x".repeat(65)] {
            assert_eq!(read(bad, "").unwrap_err().status(), 404, "{bad:?}");
        }
    }
}
