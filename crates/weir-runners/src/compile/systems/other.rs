//! Systems that our own engine does not have.

use super::super::{Options, Text};

/// Such a system, with its options by name.
#[derive(Debug, Clone)]
pub struct Other {
    /// `iceberg`, `clickhouse`, …
    pub kind: String,
    /// Options with one value.
    pub values: Vec<(String, Text)>,
    /// Options that are lists.
    pub lists: Vec<(String, Vec<String>)>,
    /// Options that are maps.
    pub maps: Vec<(String, Vec<(String, Text)>)>,
}

impl Other {
    pub(super) fn read(options: &Options<'_>, kind: &str) -> Self {
        let mut other = Self { kind: kind.into(), values: Vec::new(), lists: Vec::new(), maps: Vec::new() };
        for name in super::super::foreign::options_of(kind) {
            match options.value(&name) {
                None => {}
                Some(serde_json::Value::Array(_)) => other.lists.push((name.clone(), options.words(&name))),
                Some(serde_json::Value::Object(_)) => other.maps.push((name.clone(), options.map(&name))),
                Some(_) => {
                    let value = if matches!(name.as_str(), "url" | "uri" | "endpoint") {
                        options.address(&name)
                    } else {
                        options.text(&name)
                    };
                    other.values.extend(value.map(|value| (name.clone(), value)));
                }
            }
        }
        other
    }

    /// An option with one value.
    pub fn get(&self, name: &str) -> Option<&Text> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// An option that must be there; the check of options has told it otherwise.
    pub fn text(&self, name: &str) -> Text {
        self.get(name).cloned().unwrap_or_default()
    }

    /// A list.
    pub fn list(&self, name: &str) -> &[String] {
        self.lists.iter().find(|(known, _)| known == name).map_or(&[], |(_, list)| list)
    }

    /// A map.
    pub fn map(&self, name: &str) -> &[(String, Text)] {
        self.maps.iter().find(|(known, _)| known == name).map_or(&[], |(_, map)| map)
    }

    /// What `{stream}` is.
    pub fn stream(&self) -> String {
        ["table", "index", "topic"].iter().find_map(|name| self.get(name)).map(Text::braces).unwrap_or_else(|| self.kind.clone())
    }
}
