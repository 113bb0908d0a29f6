//! A template's parameters and which values they take.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::jobs::spelling;
use crate::schedule::Cron;

/// What can be chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What values it takes.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// What it means.
    pub description: String,
    /// Whether it must be given.
    #[serde(default)]
    pub required: bool,
    /// What it is when it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// A value that would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<Value>,
    /// The words of a `choice`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// The connector of a `connection`.
    #[serde(default, rename = "kind", skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
}

/// What values a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParameterType {
    /// A name: a lower-case letter, then lower-case letters, digits and `_`.
    Name,
    /// A column or parameter: a letter or `_`, then letters, digits and `_`.
    Identifier,
    /// A file, folder or pattern.
    Path,
    /// An `http` or `https` address.
    Url,
    /// Any text.
    Text,
    /// A list of texts.
    List,
    /// A map of texts.
    Map,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of the choices.
    Choice,
    /// Five cron fields.
    Cron,
    /// The name of a stored connection.
    Connection,
}

const MAX_TEXT: usize = 64 << 10;
const MAX_ITEMS: usize = 1000;
/// YAML allows keys of at most 1024 characters before their `:`.
const MAX_KEY: usize = 200;

impl Parameter {
    /// What is wrong with a value, as what it must be; `None` = it is fine.
    pub(super) fn refuse(&self, value: &Value) -> Option<String> {
        let text = |longest: usize, fine: &dyn Fn(&str) -> bool| {
            value.as_str().is_some_and(|text| text.len() <= longest && printable(text) && fine(text))
        };
        let (fine, expected) = match self.kind {
            ParameterType::Name => (
                text(63, &|text| {
                    begins(text, |c| c.is_ascii_lowercase()) && all(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit(), "_")
                }),
                "a lower-case letter, then lower-case letters, digits and `_`, at most 63".to_string(),
            ),
            ParameterType::Identifier => (
                text(63, &|text| {
                    begins(text, |c| c.is_ascii_alphabetic() || c == '_') && all(text, |c| c.is_ascii_alphanumeric(), "_")
                }),
                "a letter or `_`, then letters, digits and `_`, at most 63".into(),
            ),
            ParameterType::Connection => (
                text(63, &|text| begins(text, |c| c.is_ascii_alphabetic()) && all(text, |c| c.is_ascii_alphanumeric(), "_-")),
                "the name of a stored connection".into(),
            ),
            ParameterType::Path => (text(1024, &|text| !text.is_empty() && !text.contains('\n')), "a path on one line".into()),
            ParameterType::Url => (
                text(2048, &|text| {
                    (text.starts_with("http://") || text.starts_with("https://")) && !text.contains(char::is_whitespace)
                }),
                "an http or https address".into(),
            ),
            ParameterType::Text => (text(MAX_TEXT, &|text| !text.is_empty()), "text".into()),
            ParameterType::Cron => {
                (text(200, &|text| Cron::parse(text).is_ok()), "five cron fields such as `0 */6 * * *`".into())
            }
            ParameterType::Choice => {
                (text(200, &|text| self.choices.iter().any(|word| word == text)), format!("one of {}", self.choices.join(", ")))
            }
            ParameterType::List => {
                let item = |item: &Value| item.as_str().is_some_and(|text| text.len() <= MAX_TEXT && printable(text));
                (
                    value.as_array().is_some_and(|items| items.len() <= MAX_ITEMS && items.iter().all(item)),
                    "a list of texts".into(),
                )
            }
            ParameterType::Map => {
                let entry = |(key, item): (&String, &Value)| {
                    key.chars().count() <= MAX_KEY
                        && printable(key)
                        && item.as_str().is_some_and(|text| text.len() <= MAX_TEXT && printable(text))
                };
                (value.as_object().is_some_and(|map| map.len() <= MAX_ITEMS && map.iter().all(entry)), "a map of texts".into())
            }
            ParameterType::Integer => (value.is_i64() || value.is_u64(), "a whole number".into()),
            ParameterType::Boolean => (value.is_boolean(), "true or false".into()),
        };
        match fine {
            false => Some(expected),
            // The filled-in template is shown.
            true if holds_secret(value) => {
                Some(format!("{expected}, without a password or key in it: write {{{{name}}}} of a stored secret"))
            }
            true => None,
        }
    }

    /// Whether its value may stand inside of a longer text.
    pub(super) fn may_be_part(&self) -> bool {
        matches!(
            self.kind,
            ParameterType::Name
                | ParameterType::Identifier
                | ParameterType::Connection
                | ParameterType::Choice
                | ParameterType::Integer
        )
    }
}

/// Whether a text of the value has a secret in clear inside: the password or a key of an address.
fn holds_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => spelling::embedded(text).iter().any(|(start, end)| spelling::has_literal(&text[*start..*end])),
        Value::Array(items) => items.iter().any(holds_secret),
        Value::Object(map) => map.values().any(holds_secret),
        _ => false,
    }
}

fn printable(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
}

fn begins(text: &str, fine: impl Fn(char) -> bool) -> bool {
    text.starts_with(fine)
}

fn all(text: &str, fine: impl Fn(char) -> bool, also: &str) -> bool {
    text.chars().all(|c| fine(c) || also.contains(c))
}
