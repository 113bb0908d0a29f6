//! `weir connectors`: the list, or the options of one, from the schemas that also parse them.

use std::io::Write;

use serde_json::{Value, json};
use weir_connect::Descriptor;
use weir_error::{Error, Kind};

use crate::cli::Connectors;
use crate::commands::Context;
use crate::outcome::Outcome;
use crate::show::style::{Style, width};
use crate::show::table::Table;

pub fn execute(args: &Connectors, context: &Context) -> Outcome {
    let registry = weir_connectors::registry::registry();
    let mut out = std::io::stdout();
    let Some(name) = &args.name else {
        let all: Vec<Descriptor> = registry.iter().map(|connector| connector.descriptor().clone()).collect();
        if args.json {
            let list: Vec<Value> = all.iter().map(summary).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&list).map_err(std::io::Error::from)?)?;
            return Ok(0);
        }
        let mut table = Table::new(["name", "is", "also called", "what"]);
        for descriptor in &all {
            table.row([descriptor.name, roles(descriptor), &descriptor.aliases.join(", "), descriptor.summary]);
        }
        write!(out, "{}", table.render())?;
        writeln!(out, "\noptions of one: weir connectors NAME")?;
        return Ok(0);
    };
    let Some(connector) = registry.get(name) else {
        let known = registry.iter().map(|connector| connector.descriptor().name).collect::<Vec<_>>().join(", ");
        return Err(Error::new("WEIR-CLI-020", Kind::Spec, format!("there is no connector `{name}`"))
            .because(format!("this build has {known}"))
            .into());
    };
    let descriptor = connector.descriptor();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&whole(descriptor)).map_err(std::io::Error::from)?)?;
    } else {
        write!(out, "{}", reference(descriptor, context.out, width().clamp(60, 110)))?;
    }
    Ok(0)
}

/// A connector with the schemas of its options.
pub fn whole(descriptor: &Descriptor) -> Value {
    let mut body = summary(descriptor);
    body["connection"] = descriptor.connection.clone();
    body["source"] = descriptor.source.clone().unwrap_or(Value::Null);
    body["sink"] = descriptor.sink.clone().unwrap_or(Value::Null);
    body
}

fn roles(descriptor: &Descriptor) -> &'static str {
    match (descriptor.source.is_some(), descriptor.sink.is_some()) {
        (true, true) => "source, sink",
        (true, false) => "source",
        (false, true) => "sink",
        (false, false) => "connection",
    }
}

pub fn summary(descriptor: &Descriptor) -> Value {
    json!({
        "name": descriptor.name, "aliases": descriptor.aliases, "summary": descriptor.summary,
        "is_source": descriptor.source.is_some(), "is_sink": descriptor.sink.is_some(),
    })
}

/// A connector's options in words, within so many columns.
pub fn reference(descriptor: &Descriptor, style: Style, columns: usize) -> String {
    let mut text = format!("{}  {}\n", style.bold(descriptor.name), descriptor.summary);
    if !descriptor.aliases.is_empty() {
        text.push_str(&format!("also called {}\n", descriptor.aliases.join(", ")));
    }
    for (title, schema) in
        [("connection", Some(&descriptor.connection)), ("source", descriptor.source.as_ref()), ("sink", descriptor.sink.as_ref())]
    {
        if let Some(schema) = schema {
            let listed = options(schema, schema, style, columns);
            if !listed.is_empty() {
                text.push_str(&format!("\n{}\n{listed}", style.bold(title)));
            }
        }
    }
    text
}

fn options(schema: &Value, root: &Value, style: Style, columns: usize) -> String {
    let mut text = String::new();
    list(&mut text, schema, root, style, columns, 2);
    text
}

/// Deeper than this nothing is listed: the schema may refer to itself.
const DEEPEST_INDENT: usize = 10;

fn list(text: &mut String, schema: &Value, root: &Value, style: Style, columns: usize, indent: usize) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let pad = " ".repeat(indent);
    for (name, property) in properties {
        let facts = facts(property, root, required.contains(&name.as_str()));
        text.push_str(format!("{pad}{}  {}", style.bold(name), style.dim(&facts.join(" · "))).trim_end());
        text.push('\n');
        if let Some(description) = described(property, root) {
            for line in wrap(&description, columns.saturating_sub(indent + 4)) {
                text.push_str(&format!("{pad}    {line}\n"));
            }
        }
        let inner = target(property, root).unwrap_or(property);
        if indent < DEEPEST_INDENT {
            list(text, inner, root, style, columns, indent + 4);
        }
    }
}

/// Type, whether it is required, default, secret, other spellings.
fn facts(property: &Value, root: &Value, required: bool) -> Vec<String> {
    let mut facts = vec![kind(property, root)];
    if required {
        facts.push("required".into());
    }
    let unit = property.get("x-weir-unit").and_then(Value::as_str).map(|unit| format!(" {unit}")).unwrap_or_default();
    match property.get("default") {
        None | Some(Value::Null | Value::Object(_) | Value::Array(_)) => facts.push(unit.trim().to_string()),
        Some(Value::String(text)) if text.is_empty() => {}
        Some(Value::String(text)) => facts.push(format!("default {text}")),
        Some(other) => facts.push(format!("default {other}{unit}")),
    }
    if property.get("x-weir-secret") == Some(&Value::Bool(true)) {
        facts.push("secret".into());
    }
    let aliases: Vec<&str> =
        property.get("x-weir-aliases").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if !aliases.is_empty() {
        facts.push(format!("also {}", aliases.join(", ")));
    }
    facts.retain(|fact| !fact.is_empty());
    facts
}

fn described(property: &Value, root: &Value) -> Option<String> {
    let own = property.get("description").and_then(Value::as_str);
    let text = own.or_else(|| target(property, root)?.get("description")?.as_str())?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// What a `$ref` (alone, or as the only alternative besides null) points to.
fn target<'a>(property: &'a Value, root: &'a Value) -> Option<&'a Value> {
    if let Some(path) = property.get("$ref").and_then(Value::as_str) {
        return root.pointer(path.strip_prefix('#')?);
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        if let Some(items) = property.get(word).and_then(Value::as_array) {
            let mut solid = items.iter().filter(|item| item.get("type") != Some(&json!("null")));
            if let (Some(only), None) = (solid.next(), solid.next()) {
                return target(only, root).or(Some(only));
            }
        }
    }
    None
}

/// A type in a few words: `text`, `whole number`, `csv | json`, `list of text`.
fn kind(property: &Value, root: &Value) -> String {
    if let Some(found) = target(property, root) {
        return kind(found, root);
    }
    if let Some(words) = property.get("enum").and_then(Value::as_array) {
        return words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | ");
    }
    if let Some(word) = property.get("const") {
        return word.as_str().map_or_else(|| word.to_string(), String::from);
    }
    if let Some(items) = property.get("oneOf").or_else(|| property.get("anyOf")).and_then(Value::as_array) {
        let mut kinds: Vec<String> = items.iter().map(|item| kind(item, root)).filter(|kind| !kind.is_empty()).collect();
        kinds.dedup();
        return kinds.join(" | ");
    }
    let names: Vec<&str> = match property.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect(),
        _ => return String::new(),
    };
    let words: Vec<String> = names
        .iter()
        .map(|name| match *name {
            "string" => "text".to_string(),
            "integer" => "whole number".to_string(),
            "boolean" => "true | false".to_string(),
            "array" => match property.get("items").map(|items| kind(items, root)) {
                Some(item) if !item.is_empty() => format!("list of {item}"),
                _ => "list".to_string(),
            },
            "object" => "map".to_string(),
            "null" => String::new(),
            other => other.to_string(),
        })
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" | ")
}

fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let fits = lines.last().is_some_and(|line| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= columns);
        if !fits {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_in_words() {
        let schema = json!({
            "type": "object",
            "required": ["path"],
            "properties": {
                "path": {"type": "string", "description": "Where the\nfiles are."},
                "format": {"anyOf": [{"$ref": "#/$defs/Format"}, {"type": "null"}], "default": null},
                "password": {"type": ["string", "null"], "x-weir-secret": true, "x-weir-aliases": ["pass-word"]},
                "columns": {"type": "array", "items": {"type": "string"}, "default": []},
                "csv": {"$ref": "#/$defs/Csv", "default": {"wide": 5}},
            },
            "$defs": {
                "Csv": {"type": "object", "properties": {"wide": {"type": "integer", "default": 5, "x-weir-unit": "bytes"}}},
                "Format": {"description": "How rows are written.", "oneOf": [{"const": "csv"}, {"const": "json"}]}},
        });
        assert_eq!(
            options(&schema, &schema, Style::new(false), 80),
            "  path  text · required\n      Where the files are.\n  format  csv | json\n      How rows are written.\n  \
             password  text · secret · also pass-word\n  columns  list of text\n  csv  map\n      wide  whole number · default 5 bytes\n"
        );
    }
}
