//! Values with variables in them, and which variable stands for what.

use std::collections::BTreeMap;

use weir_spec::{Reference, Segment, secret_segments, segments};

use crate::artefact::{Expected, Origin};

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Plain(String),
    /// What a variable holds when the job runs.
    Variable(String),
}

/// A value whose secrets and references are variables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text(pub Vec<Piece>);

impl Text {
    /// Text without variables.
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self(if text.is_empty() { Vec::new() } else { vec![Piece::Plain(text)] })
    }

    /// One variable.
    pub fn variable(name: impl Into<String>) -> Self {
        Self(vec![Piece::Variable(name.into())])
    }

    /// The text, if there is no variable in it.
    pub fn as_plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Plain(text)] => Some(text),
            _ => None,
        }
    }

    /// Itself and another behind it.
    #[must_use]
    pub fn then(mut self, more: impl Into<Self>) -> Self {
        for piece in more.into().0 {
            if let (Piece::Plain(text), Some(Piece::Plain(before))) = (&piece, self.0.last_mut()) {
                before.push_str(text);
                continue;
            }
            self.0.push(piece);
        }
        self
    }

    /// With each variable as `variable` writes it.
    pub fn show(&self, variable: impl Fn(&str) -> String) -> String {
        self.0
            .iter()
            .map(|piece| match piece {
                Piece::Plain(text) => text.clone(),
                Piece::Variable(name) => variable(name),
            })
            .collect()
    }

    /// What [`Text::braces`] showed, taken apart again.
    pub fn of_braces(text: &str) -> Self {
        let mut out = Self::default();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(end) = rest[start..].find('}') else { break };
            out = out.then(&rest[..start]).then(Self::variable(&rest[start + 2..start + end]));
            rest = &rest[start + end + 1..];
        }
        out.then(rest)
    }

    /// With variables as `${NAME}`.
    pub fn braces(&self) -> String {
        self.show(|name| format!("${{{name}}}"))
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::plain(text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::plain(text)
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::plain(text.as_str())
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Self {
        text.clone()
    }
}

/// Why a value cannot be carried to another engine.
#[derive(Debug, PartialEq, Eq)]
pub enum NoText {
    /// `${last_run_time}` or `${cursor}`: bound by our own engine.
    Bound,
    /// A broken reference.
    Broken(String),
}

/// The variables of one compilation.
#[derive(Debug, Default)]
pub struct Variables {
    names: BTreeMap<Origin, (String, bool)>,
}

impl Variables {
    /// The variable for what comes from there. What one place gives has one name, and a name means one place.
    pub fn of(&mut self, origin: Origin, wanted: &str, secret: bool) -> String {
        if let Some((name, known)) = self.names.get_mut(&origin) {
            *known |= secret;
            return name.clone();
        }
        // The environment's own names are kept: they are what whoever wrote the file sets.
        let mut name = if matches!(origin, Origin::Environment { .. }) { wanted.to_string() } else { variable_name(wanted) };
        let taken = |name: &str| self.names.values().any(|(known, _)| known == name);
        if taken(&name) {
            let base = name.clone();
            name = (2..).map(|n| format!("{base}_{n}")).find(|name| !taken(name)).unwrap_or(base);
        }
        self.names.insert(origin, (name.clone(), secret));
        name
    }

    /// A value as it is written in the pipeline file. In a secret option text is not repeated: it becomes a variable of its own.
    pub fn text(&mut self, written: &str, secret: bool, node: &str, option: &str) -> Result<Text, NoText> {
        let read = if secret { secret_segments(written) } else { segments(written) };
        let parts = read.map_err(|error| NoText::Broken(error.to_string()))?;
        let refers = parts.iter().any(|part| matches!(part, Segment::Reference(_)));
        if secret && !refers {
            if written.is_empty() {
                return Ok(Text::default());
            }
            let origin = Origin::Literal { node: node.into(), option: option.into() };
            return Ok(Text::variable(self.of(origin, &format!("{node}_{option}"), true)));
        }
        let mut text = Text::default();
        for part in parts {
            let (origin, wanted, hidden) = match part {
                Segment::Text(plain) => {
                    text = text.then(plain);
                    continue;
                }
                Segment::Reference(Reference::Env { name, default }) => {
                    // A default that is written for a secret is a secret too: it is left out, and the variable must be set.
                    (Origin::Environment { name: name.clone(), default: default.filter(|_| !secret) }, name, secret)
                }
                Segment::Reference(Reference::Credential { name }) => (Origin::Credential { name: name.clone() }, name, true),
                Segment::Reference(Reference::Vault { path, key }) => {
                    (Origin::Vault { path, key }, format!("{node}_{option}"), true)
                }
                Segment::Reference(Reference::File { path }) => (Origin::File { path }, format!("{node}_{option}"), true),
                Segment::Reference(Reference::LastRunTime | Reference::Cursor) => return Err(NoText::Bound),
            };
            text = text.then(Text::variable(self.of(origin, &wanted, hidden)));
        }
        Ok(text)
    }

    /// All of them, by name.
    pub fn expected(&self) -> Vec<Expected> {
        let mut all: Vec<Expected> = self
            .names
            .iter()
            .map(|(from, (name, secret))| Expected { name: name.clone(), from: from.clone(), secret: *secret })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

/// `sink.secret_key` → `SINK_SECRET_KEY`.
fn variable_name(wanted: &str) -> String {
    let mut name: String = wanted.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
        name.insert(0, '_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_in_a_shown_text_are_found_again() {
        assert_eq!(Text::of_braces("lake/${ENV}/orders"), Text::plain("lake/").then(Text::variable("ENV")).then("/orders"));
        assert_eq!(Text::of_braces("lake/orders").as_plain(), Some("lake/orders"));
    }

    #[test]
    fn a_secret_in_plain_text_becomes_a_variable_and_one_place_has_one_name() {
        let mut variables = Variables::default();
        let first = variables.text("hunter2", true, "sink", "secret_key").unwrap();
        assert_eq!(first.braces(), "${SINK_SECRET_KEY}");
        assert_eq!(variables.text("hunter2", true, "sink", "secret_key").unwrap(), first);
        assert_eq!(variables.text("other", true, "sink_secret", "key").unwrap().braces(), "${SINK_SECRET_KEY_2}");
        assert_eq!(variables.expected().len(), 2);
        assert!(!format!("{variables:?}").contains("hunter2"));
    }

    #[test]
    fn references_keep_their_place_in_text_and_a_default_of_a_secret_is_not_told() {
        let mut variables = Variables::default();
        let text = variables.text("Bearer {{token}}", false, "api", "headers").unwrap();
        assert_eq!(text.braces(), "Bearer ${TOKEN}");
        assert!(variables.expected()[0].secret);
        let text = variables.text("${PW:-swordfish}", true, "db", "password").unwrap();
        assert_eq!(text.braces(), "${PW}");
        assert!(!format!("{variables:?}").contains("swordfish"));
        assert_eq!(variables.text("x ${cursor}", false, "db", "query"), Err(NoText::Bound));
        assert_eq!(variables.text("$${HOME}", false, "db", "query").unwrap().as_plain(), Some("${HOME}"));
    }
}
