//! Reading the JSON Schemas that `schemars` derives from option structs.

use serde_json::Value as Json;

use crate::problems::one_of;
use crate::tree::{Entry, Tree, Value};
use crate::units;

/// A place in a schema, with the document that its `$ref`s point into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sub<'s> {
    pub schema: &'s Json,
    pub root: &'s Json,
}

/// One of several schemas that describe a map together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'s> {
    pub sub: Sub<'s>,
    /// Whether its required options must be there.
    pub required: bool,
    /// Whether these are options of the connection.
    pub connection: bool,
}

impl<'s> Part<'s> {
    pub fn of(sub: Sub<'s>) -> Self {
        Self { sub, required: true, connection: false }
    }
    pub fn root(schema: &'s Json) -> Self {
        Self::of(Sub { schema, root: schema })
    }
}

impl<'s> Sub<'s> {
    fn with(self, schema: &'s Json) -> Self {
        Self { schema, root: self.root }
    }

    fn at(self, key: &str) -> Option<&'s Json> {
        self.schema.get(key)
    }

    /// Follows `$ref`, and an `allOf` or a choice with null of a single member.
    pub fn resolve(self) -> Self {
        let mut sub = self;
        for _ in 0..32 {
            if let Some(target) = sub.at("$ref").and_then(Json::as_str) {
                match target.strip_prefix('#').and_then(|pointer| sub.root.pointer(pointer)) {
                    Some(schema) => sub = sub.with(schema),
                    None => return sub,
                }
            } else if let Some([only]) = sub.at("allOf").and_then(Json::as_array).map(Vec::as_slice) {
                sub = sub.with(only);
            } else {
                break;
            }
        }
        sub
    }

    /// Whether it says nothing about the value.
    pub fn is_anything(self) -> bool {
        match self.schema {
            Json::Object(map) => {
                !["type", "enum", "const", "oneOf", "anyOf", "allOf", "$ref", "properties", "additionalProperties"]
                    .iter()
                    .any(|key| map.contains_key(*key))
            }
            _ => true,
        }
    }

    /// The choices of `oneOf` and `anyOf`, resolved, nested choices unfolded.
    pub fn variants(self) -> Vec<Sub<'s>> {
        let mut out = Vec::new();
        for key in ["oneOf", "anyOf"] {
            for schema in self.at(key).and_then(Json::as_array).into_iter().flatten() {
                let variant = self.with(schema).resolve();
                let inner = variant.variants();
                if inner.is_empty() { out.push(variant) } else { out.extend(inner) }
            }
        }
        out
    }

    /// The words it allows, if it allows nothing but words.
    pub fn words(self) -> Option<Vec<String>> {
        if let Some(word) = self.at("const").and_then(Json::as_str) {
            return Some(vec![word.into()]);
        }
        let words = self.at("enum")?.as_array()?;
        Some(words.iter().filter_map(Json::as_str).map(Into::into).collect())
    }

    /// Whether values of this JSON type are allowed.
    pub fn is(self, kind: &str) -> bool {
        match self.at("type") {
            Some(Json::String(one)) => one == kind,
            Some(Json::Array(several)) => several.iter().any(|one| one == kind),
            _ => match kind {
                "object" => self.at("properties").is_some() || self.at("additionalProperties").is_some(),
                _ => false,
            },
        }
    }

    pub fn accepts_null(self) -> bool {
        let sub = self.resolve();
        sub.is("null") || sub.variants().iter().any(|variant| variant.is("null"))
    }

    /// Whether the value has a shape that this schema describes; words must agree.
    pub fn fits(self, tree: &Tree) -> bool {
        if self.is_anything() {
            return true;
        }
        if let Some(words) = self.words() {
            return tree.as_text().is_some_and(|text| words.iter().any(|word| word == text));
        }
        match &tree.value {
            Value::Null => self.is("null"),
            Value::Bool(_) => self.is("boolean"),
            Value::Number(number) => self.is("number") || (self.is("integer") && !number.is_f64()),
            Value::Text { .. } => self.is("string"),
            Value::List(_) => self.is("array"),
            Value::Map(_) => self.is("object"),
        }
    }

    /// The property of that name or alias, with its canonical name.
    pub fn property(self, name: &str) -> Option<(String, Sub<'s>)> {
        let properties = self.at("properties")?.as_object()?;
        if let Some(schema) = properties.get(name) {
            return Some((name.into(), self.with(schema)));
        }
        properties
            .iter()
            .find(|(_, schema)| aliases(schema).any(|alias| alias == name))
            .map(|(canonical, schema)| (canonical.clone(), self.with(schema)))
    }

    pub fn properties(self) -> impl Iterator<Item = (&'s String, Sub<'s>)> {
        self.at("properties").and_then(Json::as_object).into_iter().flatten().map(move |(name, schema)| (name, self.with(schema)))
    }

    /// The required properties.
    pub fn required(self) -> impl Iterator<Item = (&'s str, Sub<'s>)> {
        let names = self.at("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        names.filter_map(move |name| Some((name, self.property(name)?.1)))
    }

    pub fn item(self, index: usize) -> Option<Sub<'s>> {
        self.at("prefixItems").and_then(|items| items.get(index)).or_else(|| self.at("items")).map(|schema| self.with(schema))
    }

    pub fn min_items(self) -> usize {
        self.at("minItems").and_then(Json::as_u64).unwrap_or(0) as usize
    }

    pub fn secret(self) -> bool {
        let marked = |schema: &Json| schema.get("x-weir-secret").and_then(Json::as_bool).unwrap_or(false);
        marked(self.schema) || marked(self.resolve().schema)
    }

    /// `duration` or `size`.
    pub fn unit(self) -> Option<&'s str> {
        self.at("x-weir-format").and_then(Json::as_str)
    }

    /// The first sentence of the description.
    pub fn about(self) -> Option<String> {
        let text = self.at("description").or_else(|| self.resolve().at("description"))?.as_str()?;
        let line = text.split("\n\n").next()?.replace('\n', " ");
        let sentence = line.split_once(". ").map_or(line.as_str(), |(first, _)| first);
        Some(crate::problems::short_to(sentence.trim_end_matches('.'), 100))
    }

    /// Least and greatest whole number, from `minimum`, `maximum` and the Rust type behind `format`.
    pub fn range(self) -> (Option<i128>, Option<i128>) {
        let (mut low, mut high): (Option<i128>, Option<i128>) = match self.at("format").and_then(Json::as_str) {
            Some("uint8") => (Some(0), Some(u8::MAX.into())),
            Some("uint16") => (Some(0), Some(u16::MAX.into())),
            Some("uint32") => (Some(0), Some(u32::MAX.into())),
            Some("uint64" | "uint") => (Some(0), None),
            Some("int8") => (Some(i8::MIN.into()), Some(i8::MAX.into())),
            Some("int16") => (Some(i16::MIN.into()), Some(i16::MAX.into())),
            Some("int32") => (Some(i32::MIN.into()), Some(i32::MAX.into())),
            Some("int64" | "int") => (None, Some(i64::MAX.into())),
            _ => (None, None),
        };
        let bound = |key: &str| self.at(key).and_then(Json::as_f64).map(|n| n as i128);
        if let Some(minimum) = bound("minimum") {
            low = Some(low.map_or(minimum, |low| low.max(minimum)));
        }
        if let Some(maximum) = bound("maximum") {
            high = Some(high.map_or(maximum, |high| high.min(maximum)));
        }
        (low, high)
    }

    /// What it wants, in words: `a whole number`, `a list of text`.
    pub fn in_words(self) -> String {
        let sub = self.resolve();
        if let Some(words) = sub.words() {
            return one_of(words.iter().map(String::as_str));
        }
        let variants = sub.variants();
        if !variants.is_empty() {
            let words: Vec<String> = variants.iter().filter_map(|variant| variant.words()).flatten().collect();
            let mut out: Vec<String> = Vec::new();
            if !words.is_empty() {
                out.push(one_of(words.iter().map(String::as_str)));
            }
            for variant in variants.iter().filter(|variant| variant.words().is_none() && !variant.is("null")) {
                let text = variant.in_words();
                if !out.contains(&text) {
                    out.push(text);
                }
            }
            return out.join(" or ");
        }
        match sub.at("x-weir-format").or_else(|| self.at("x-weir-format")).and_then(Json::as_str) {
            Some("duration") => return "a duration such as 5s".into(),
            Some("size") => return "a size such as 64MiB".into(),
            _ => {}
        }
        let mut kinds: Vec<String> = Vec::new();
        for (kind, text) in [
            ("boolean", "true or false"),
            ("integer", "a whole number"),
            ("number", "a number"),
            ("string", "text"),
            ("array", "a list"),
            ("object", "a map"),
        ] {
            if sub.is(kind) {
                let items = (kind == "array").then(|| sub.item(0)).flatten().map(|item| item.resolve());
                kinds.push(match items {
                    Some(item) if item.is("string") && item.words().is_none() => "a list of text".into(),
                    Some(item) if item.is("integer") => "a list of whole numbers".into(),
                    Some(item) if item.is("object") => "a list of maps".into(),
                    _ => text.into(),
                });
            }
        }
        if kinds.is_empty() { "a value".into() } else { kinds.join(" or ") }
    }

    /// The value as it should have been written, where only quotes or brackets are wrong.
    pub fn mended(self, tree: &Tree) -> Option<String> {
        match &tree.value {
            Value::Text { text, .. } => {
                let bare = text.trim().replace('_', "");
                if self.is("integer") && bare.parse::<i128>().is_ok() {
                    return Some(bare);
                }
                if self.is("number") && bare.parse::<f64>().is_ok_and(f64::is_finite) {
                    return Some(bare);
                }
                if self.is("boolean") {
                    return match text.to_lowercase().as_str() {
                        "true" | "yes" | "on" | "y" => Some("true".into()),
                        "false" | "no" | "off" | "n" => Some("false".into()),
                        _ => None,
                    };
                }
                let items = self.is("array").then(|| self.item(0)).flatten();
                items
                    .filter(|item| item.resolve().is("string") && text.len() <= 40 && !text.contains(['\n', ':', '#']))
                    .map(|_| format!("[{text}]"))
            }
            Value::Number(number) if self.unit() == Some("duration") => units::suggest_duration(&number.to_string()),
            Value::Number(number) if self.unit() == Some("size") => units::suggest_size(&number.to_string()),
            Value::Number(number) if self.is("string") => Some(format!("\"{number}\"")),
            Value::Bool(value) if self.is("string") => Some(format!("\"{value}\"")),
            Value::Number(number) if self.is("integer") => {
                number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e15).map(|n| format!("{n:.0}"))
            }
            _ => None,
        }
    }
}

fn aliases(schema: &Json) -> impl Iterator<Item = &str> {
    schema.get("x-weir-aliases").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

/// The property of that name or alias in the first part that has it; names go before aliases.
pub(crate) fn property<'s>(parts: &[Part<'s>], name: &str) -> Option<(String, Sub<'s>)> {
    let own = |part: &Part<'s>| {
        let schema = part.sub.at("properties")?.get(name)?;
        Some((name.to_string(), part.sub.with(schema)))
    };
    parts.iter().find_map(own).or_else(|| parts.iter().find_map(|part| part.sub.property(name)))
}

/// Every accepted spelling with the canonical name behind it, in the order of the schemas.
pub(crate) fn names(parts: &[Part<'_>]) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for (name, sub) in parts.iter().flat_map(|part| part.sub.properties()) {
        for spelling in std::iter::once(name.as_str()).chain(aliases(sub.schema)) {
            if !out.iter().any(|(known, _)| known == spelling) {
                out.push((spelling.into(), name.clone()));
            }
        }
    }
    out
}

/// The schema of keys that are free, if they are.
pub(crate) fn additional<'s>(parts: &[Part<'s>]) -> Option<Sub<'s>> {
    static ANYTHING: Json = Json::Bool(true);
    parts.iter().find_map(|part| match part.sub.at("additionalProperties") {
        Some(Json::Bool(false)) => None,
        Some(schema) => Some(part.sub.with(schema)),
        // A map about which nothing is said is free; a struct is not.
        None if part.sub.at("properties").is_none() && parts.len() == 1 => Some(part.sub.with(&ANYTHING)),
        None => None,
    })
}

/// The name of the only property, which is required: `avro` of `{avro: {…}}`.
fn tag<'s>(variant: &Sub<'s>) -> Option<&'s String> {
    let mut properties = variant.properties();
    let (name, _) = properties.next()?;
    (properties.next().is_none() && variant.required().any(|(required, _)| required == name)).then_some(name)
}

/// The tags of the variants that have one.
pub(crate) fn tags(variants: &[Sub<'_>]) -> Vec<String> {
    variants.iter().filter_map(tag).cloned().collect()
}

/// The variant whose only property the map has: `{avro: {…}}`.
pub(crate) fn externally_tagged<'s>(variants: &[Sub<'s>], entries: &[Entry]) -> Option<Sub<'s>> {
    variants.iter().copied().find(|variant| tag(variant).is_some_and(|name| entries.iter().any(|entry| entry.key == *name)))
}

/// The property by which the variants are told apart: a constant word in each of them.
pub(crate) fn internal_tag<'s>(variants: &[Sub<'s>]) -> Option<&'s str> {
    let (first, rest) = variants.split_first()?;
    first
        .properties()
        .find(|(name, sub)| {
            sub.resolve().words().is_some_and(|words| words.len() == 1)
                && rest.iter().all(|other| {
                    other.property(name).is_some_and(|(_, sub)| sub.resolve().words().is_some_and(|words| words.len() == 1))
                })
        })
        .map(|(name, _)| name.as_str())
}
