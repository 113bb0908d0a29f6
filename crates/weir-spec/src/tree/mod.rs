//! YAML and JSON as one tree in which every value and key knows its place.
//!
//! [`load`] is total: whatever the bytes, it ends with a tree or a diagnostic, in bounded time and memory. What the
//! tree means is not decided here.

mod load;
mod number;
mod syntax;

use serde_json::{Map, Number, Value as Json};

use crate::model::Span;

pub(crate) use load::load;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    pub value: Value,
    pub span: Span,
}

/// What it is. `plain` text was written without quotes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text { text: String, plain: bool },
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Tree,
    /// The key as the author wrote it, where lowering gave it another name.
    pub written: Option<String>,
}

impl Tree {
    pub fn text(text: impl Into<String>, span: Span) -> Self {
        Self { value: Value::Text { text: text.into(), plain: false }, span }
    }
    pub fn map(entries: Vec<Entry>, span: Span) -> Self {
        Self { value: Value::Map(entries), span }
    }
    pub fn list(items: Vec<Tree>, span: Span) -> Self {
        Self { value: Value::List(items), span }
    }
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text { text, .. } => Some(text),
            _ => None,
        }
    }
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }
    pub fn as_list(&self) -> Option<&[Tree]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.as_map()?.iter().find(|entry| entry.key == key)
    }
    /// The type in words: `text`, `a list`.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(number) if number.is_f64() => "a number",
            Value::Number(_) => "a whole number",
            Value::Text { .. } => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
    /// The value without its places.
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Number(number) => Json::Number(number.clone()),
            Value::Text { text, .. } => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Tree::to_json).collect()),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>())
            }
        }
    }
}

impl Entry {
    pub fn new(key: impl Into<String>, key_span: Span, value: Tree) -> Self {
        Self { key: key.into(), key_span, value, written: None }
    }
    /// The same entry under another name; messages keep the written one.
    pub fn renamed(&self, key: &str) -> Self {
        Self { key: key.into(), written: Some(self.written_key().to_string()), ..self.clone() }
    }
    /// The key as the author wrote it.
    pub fn written_key(&self) -> &str {
        self.written.as_deref().unwrap_or(&self.key)
    }
    /// The place to underline for this entry: a scalar itself, the key of anything larger.
    pub fn place(&self) -> Span {
        match self.value.value {
            Value::List(_) | Value::Map(_) | Value::Null => self.key_span,
            _ => self.value.span,
        }
    }
}
