//! Small JSON paths: `$.data.items`, `data.items[*]`, `meta['next page']`, `rows[0]`. Evaluated over raw bytes, so that a page
//! is never built as a tree.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::json::{JsonError, Scanner};

/// A path into a JSON document. The empty path is the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
    Every,
}

/// What a path led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The values, as byte ranges.
    pub values: Vec<Range<usize>>,
    /// Whether the path exists: also true for `[*]` of an empty list.
    pub exists: bool,
}

impl Path {
    /// Whether it ends with `[*]`.
    pub fn ends_with_every(&self) -> bool {
        self.steps.last() == Some(&Step::Every)
    }

    /// Finds the values in a whole document, which is checked to its last byte.
    pub fn find(&self, document: &[u8]) -> Result<Found, JsonError> {
        let mut found = Found::default();
        let mut scanner = Scanner::new(document);
        step(&mut scanner, &self.steps, &mut found)?;
        scanner.end()?;
        Ok(found)
    }

    /// The first value, if there is one.
    pub fn first<'a>(&self, document: &'a [u8]) -> Result<Option<&'a [u8]>, JsonError> {
        Ok(self.find(document)?.values.into_iter().next().map(|range| &document[range]))
    }
}

fn step(scanner: &mut Scanner<'_>, steps: &[Step], found: &mut Found) -> Result<(), JsonError> {
    let Some((first, rest)) = steps.split_first() else {
        found.exists = true;
        found.values.push(scanner.skip()?);
        return Ok(());
    };
    match (first, scanner.peek()?) {
        (Step::Key(wanted), b'{') => scanner
            .members(|scanner, key| if key == wanted.as_str() { step(scanner, rest, found) } else { scanner.skip().map(drop) }),
        (Step::Index(wanted), b'[') => {
            let mut index = 0;
            scanner.items(|scanner| {
                index += 1;
                if index - 1 == *wanted { step(scanner, rest, found) } else { scanner.skip().map(drop) }
            })
        }
        (Step::Every, b'[') => {
            found.exists = true;
            scanner.items(|scanner| step(scanner, rest, found))
        }
        _ => scanner.skip().map(drop),
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = text.trim();
        rest = rest.strip_prefix('$').unwrap_or(rest);
        let mut first = true;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let (token, after) = bracket(inside).ok_or_else(|| format!("`[` without `]` in `{text}`"))?;
                steps.push(token.map_err(|why| format!("{why} in `{text}`"))?);
                rest = after;
            } else {
                let named = match rest.strip_prefix('.') {
                    Some(named) => named,
                    None if first => rest,
                    None => return Err(format!("`.` or `[` expected before `{rest}` in `{text}`")),
                };
                let end = named.find(['.', '[']).unwrap_or(named.len());
                let (name, after) = named.split_at(end);
                match name {
                    "" => return Err(format!("an empty name in `{text}`")),
                    "*" => steps.push(Step::Every),
                    name => steps.push(Step::Key(name.to_owned())),
                }
                rest = after;
            }
            first = false;
        }
        Ok(Self { steps })
    }
}

/// One bracket without its `[`, and what comes after its `]`.
#[allow(clippy::type_complexity)]
fn bracket(inside: &str) -> Option<(Result<Step, String>, &str)> {
    if let Some(quote) = inside.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let (name, after) = inside[1..].split_once(quote)?;
        return Some((Ok(Step::Key(name.to_owned())), after.strip_prefix(']')?));
    }
    let (token, after) = inside.split_once(']')?;
    let step = match token.trim() {
        "*" => Ok(Step::Every),
        number => number.parse().map(Step::Index).map_err(|_| format!("`{number}` is neither `*`, a number nor a quoted name")),
    };
    Some((step, after))
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.steps {
            match step {
                Step::Key(name) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => write!(f, ".{name}")?,
                Step::Key(name) => write!(f, "['{name}']")?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Every => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str, document: &str) -> Vec<String> {
        let path: Path = path.parse().unwrap();
        let found = path.find(document.as_bytes()).unwrap();
        found.values.into_iter().map(|range| document[range].to_owned()).collect()
    }

    #[test]
    fn dots_brackets_and_stars_lead_to_values() {
        let document = r#" {"a": {"b c": [1, {"d": "x"}]}, "e": [[1, 2], [3]]} "#;
        assert_eq!(texts("$.a['b c'][1].d", document), ["\"x\""]);
        assert_eq!(texts("a[\"b c\"][*]", document), ["1", "{\"d\": \"x\"}"]);
        assert_eq!(texts("e[*][0]", document), ["1", "3"]);
        assert_eq!(texts("e.*", document), ["[1, 2]", "[3]"]);
        assert_eq!(texts("$", "[1]"), ["[1]"]);
        assert_eq!(texts("", "[1]"), ["[1]"]);
        assert!(texts("a.nothing", document).is_empty());
        assert!(texts("e.key", document).is_empty());
    }

    #[test]
    fn an_empty_list_exists_and_a_missing_key_does_not() {
        let path: Path = "items[*]".parse().unwrap();
        assert!(path.find(b"{\"items\": []}").unwrap().exists);
        assert!(!path.find(b"{\"item\": []}").unwrap().exists);
    }

    #[test]
    fn a_cut_document_is_an_error_even_after_the_value() {
        let path: Path = "a".parse().unwrap();
        assert!(path.find(b"{\"a\": 1, \"b\": [1, 2").is_err());
        assert!(path.find(b"{\"a\": 1} x").is_err());
    }

    #[test]
    fn broken_paths_are_told() {
        for text in ["a[", "a[x]", "a..b", "a[0]b", "['a"] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
    }

    #[test]
    fn prints_as_it_parses() {
        for text in ["$", "$.a.b[0][*]", "$['b c'].d"] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
    }
}
