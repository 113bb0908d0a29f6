//! A configuration as a tree, written as HOCON or as JSON.

use serde_json::{Map, Value, json};

use crate::compile::{Piece, Text};
use crate::registry::Release;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Conf {
    Text(Text),
    Number(u64),
    Truth(bool),
    List(Vec<Conf>),
    Map(Vec<(String, Conf)>),
}

impl From<&str> for Conf {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}
impl From<String> for Conf {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}
impl From<&Text> for Conf {
    fn from(text: &Text) -> Self {
        Self::Text(text.clone())
    }
}
impl From<Text> for Conf {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}
impl From<u64> for Conf {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}
impl From<bool> for Conf {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}
impl From<&[String]> for Conf {
    fn from(texts: &[String]) -> Self {
        Self::List(texts.iter().map(|text| Self::from(text.as_str())).collect())
    }
}

impl Conf {
    pub(super) fn map() -> Self {
        Self::Map(Vec::new())
    }

    /// Adds an entry to a map.
    pub(super) fn put(&mut self, key: impl Into<String>, value: impl Into<Self>) {
        if let Self::Map(entries) = self {
            entries.push((key.into(), value.into()));
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.braces()),
            Self::Number(number) => json!(number),
            Self::Truth(truth) => json!(truth),
            Self::List(items) => Value::Array(items.iter().map(Self::json).collect()),
            Self::Map(entries) => Value::Object(entries.iter().map(|(key, value)| (key.clone(), value.json())).collect()),
        }
    }

    fn hocon(&self, indent: usize, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(&quoted(text)),
            Self::Number(number) => out.push_str(&number.to_string()),
            Self::Truth(truth) => out.push_str(&truth.to_string()),
            Self::List(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 {
                        out.push_str(", ");
                    }
                    item.hocon(indent, out);
                }
                out.push(']');
            }
            Self::Map(entries) => {
                out.push_str("{\n");
                for (key, value) in entries {
                    entry(key, value, indent + 2, out);
                }
                out.push_str(&" ".repeat(indent));
                out.push('}');
            }
        }
    }
}

fn entry(key: &str, value: &Conf, indent: usize, out: &mut String) {
    out.push_str(&" ".repeat(indent));
    out.push_str(&key_text(key));
    out.push_str(if matches!(value, Conf::Map(_)) { " " } else { " = " });
    value.hocon(indent, out);
    out.push('\n');
}

/// Keys with dots are paths in HOCON, as SeaTunnel reads its options; anything else than its own words is put in quotes.
fn key_text(key: &str) -> String {
    let word = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if word && !key.is_empty() { key.to_string() } else { Value::String(key.into()).to_string() }
}

/// Text in quotes; variables stand outside of them, where HOCON reads the environment.
fn quoted(text: &Text) -> String {
    if text.0.is_empty() {
        return "\"\"".into();
    }
    let part = |piece: &Piece| match piece {
        Piece::Plain(plain) => Value::String(plain.clone()).to_string(),
        Piece::Variable(name) => format!("${{{name}}}"),
    };
    text.0.iter().map(part).collect()
}

/// A source, transform or sink.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plugin {
    pub(super) name: &'static str,
    /// The tables it reads from (transforms and sinks).
    pub(super) inputs: Vec<String>,
    /// The table it gives (sources and transforms).
    pub(super) output: Option<String>,
    pub(super) options: Conf,
}

impl Plugin {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, inputs: Vec::new(), output: None, options: Conf::map() }
    }

    pub(super) fn put(&mut self, key: impl Into<String>, value: impl Into<Conf>) -> &mut Self {
        self.options.put(key, value);
        self
    }

    pub(super) fn put_some(&mut self, key: &str, value: Option<impl Into<Conf>>) -> &mut Self {
        if let Some(value) = value {
            self.options.put(key, value);
        }
        self
    }

    /// The options with the names of tables as the release calls them.
    fn entries(&self, release: Release) -> Conf {
        let (input, output) = match release {
            Release::V2_3_4 => ("source_table_name", "result_table_name"),
            Release::V2_3_9 => ("plugin_input", "plugin_output"),
        };
        let mut all = Conf::map();
        match self.inputs.as_slice() {
            [] => {}
            [one] => all.put(input, one.as_str()),
            many => all.put(input, many),
        }
        if let Some(table) = &self.output {
            all.put(output, table.as_str());
        }
        if let (Conf::Map(all), Conf::Map(own)) = (&mut all, &self.options) {
            all.extend(own.iter().cloned());
        }
        all
    }
}

pub(super) fn hocon(env: &Conf, sources: &[Plugin], transforms: &[Plugin], sinks: &[Plugin], release: Release) -> String {
    let mut out = String::from("env ");
    env.hocon(0, &mut out);
    out.push('\n');
    for (section, plugins) in [("source", sources), ("transform", transforms), ("sink", sinks)] {
        out.push_str(&format!("{section} {{\n"));
        for plugin in plugins {
            entry(plugin.name, &plugin.entries(release), 2, &mut out);
        }
        out.push_str("}\n");
    }
    out
}

pub(super) fn json(env: &Conf, sources: &[Plugin], transforms: &[Plugin], sinks: &[Plugin], release: Release) -> String {
    let mut whole = Map::new();
    whole.insert("env".into(), env.json());
    for (section, plugins) in [("source", sources), ("transform", transforms), ("sink", sinks)] {
        let each = plugins.iter().map(|plugin| {
            let mut map = Map::new();
            map.insert("plugin_name".into(), json!(plugin.name));
            if let Value::Object(entries) = plugin.entries(release).json() {
                map.extend(entries);
            }
            Value::Object(map)
        });
        whole.insert(section.into(), Value::Array(each.collect()));
    }
    format!("{:#}\n", Value::Object(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_outside_of_quotes_in_hocon_and_inside_in_json() {
        let mut plugin = Plugin::new("Jdbc");
        plugin.output = Some("orders".into());
        plugin.put("url", Text::plain("jdbc:x://").then(Text::variable("HOST")).then("/db")).put("batch_size", 10u64);
        let text = hocon(&Conf::map(), std::slice::from_ref(&plugin), &[], &[], Release::V2_3_4);
        assert!(text.contains("url = \"jdbc:x://\"${HOST}\"/db\"\n"), "{text}");
        assert!(text.contains("result_table_name = \"orders\""));
        let text = json(&Conf::map(), &[plugin], &[], &[], Release::V2_3_9);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["source"][0]["url"], "jdbc:x://${HOST}/db");
        assert_eq!(read["source"][0]["plugin_output"], "orders");
    }

    #[test]
    fn text_cannot_break_out_of_its_quotes() {
        let text = quoted(&Text::plain("a\"b\\c\n${HOME}"));
        assert_eq!(text, r#""a\"b\\c\n${HOME}""#);
    }
}
