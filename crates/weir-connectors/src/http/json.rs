//! JSON without loss: numbers stay text, every value knows its raw bytes, duplicate keys stay visible. Two ways through a
//! document: [`Scanner`] walks over bytes without building anything (pages), [`parse`] builds one record.
//!
//! serde_json is not used for data because a number beyond 64 bits or 17 digits would pass through a double.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Nesting deeper than this is refused; a page is walked recursively.
const MAX_DEPTH: usize = 200;

/// What is wrong with a document, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// Byte offset.
    pub at: usize,
    /// In words.
    pub what: &'static str,
    /// The document ended too early.
    pub cut: bool,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// One value with the text it was written as.
#[derive(Debug, Clone, PartialEq)]
pub struct Json<'a> {
    /// The value.
    pub value: JsonValue<'a>,
    /// As written.
    pub raw: &'a str,
}

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonValue<'a> {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A number, as written.
    Number(&'a str),
    /// A text, unescaped.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Json<'a>>),
    /// Members in order; a key may occur twice.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Parses one whole document.
pub fn parse(text: &str) -> Result<Json<'_>, JsonError> {
    let mut scanner = Scanner::new(text.as_bytes());
    let value = scanner.value(text)?;
    scanner.end()?;
    Ok(value)
}

/// A cursor over the bytes of a document.
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    /// At the beginning.
    pub fn new(bytes: &'a [u8]) -> Self {
        // A byte order mark is not JSON, but some servers send one.
        let at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        Self { bytes, at, depth: 0 }
    }

    fn wrong(&self, what: &'static str) -> JsonError {
        let cut = self.at >= self.bytes.len();
        JsonError { at: self.at, what: if cut { "the document ends too early" } else { what }, cut }
    }

    fn blank(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The first byte of the next value.
    pub fn peek(&mut self) -> Result<u8, JsonError> {
        self.blank();
        self.bytes.get(self.at).copied().ok_or_else(|| self.wrong("a value is missing"))
    }

    /// Nothing but blanks may follow.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.blank();
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.wrong("something follows the document")) }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        self.blank();
        if self.bytes.get(self.at) == Some(&byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.wrong(what))
        }
    }

    fn comma_or(&mut self, close: u8) -> Result<bool, JsonError> {
        self.blank();
        match self.bytes.get(self.at) {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(&byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.wrong("`,` or the end of the list or object expected")),
        }
    }

    fn enter(&mut self) -> Result<(), JsonError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.wrong("nested too deeply")) } else { Ok(()) }
    }

    /// Calls `each` at every value of an object; `each` must consume the value.
    pub fn members(&mut self, mut each: impl FnMut(&mut Self, &str) -> Result<(), JsonError>) -> Result<(), JsonError> {
        self.expect(b'{', "an object expected")?;
        self.enter()?;
        if self.peek()? == b'}' {
            self.at += 1;
        } else {
            loop {
                if self.peek()? != b'"' {
                    return Err(self.wrong("a key in quotes expected"));
                }
                let range = self.string()?;
                let raw = std::str::from_utf8(&self.bytes[range.clone()]).map_err(|_| JsonError {
                    at: range.start,
                    what: "a key is not UTF-8",
                    cut: false,
                })?;
                let key = unescape(raw).ok_or(JsonError { at: range.start, what: "a broken escape in a key", cut: false })?;
                self.expect(b':', "`:` expected")?;
                each(self, &key)?;
                if !self.comma_or(b'}')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Calls `each` at every value of a list; `each` must consume the value.
    pub fn items(&mut self, mut each: impl FnMut(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        self.expect(b'[', "a list expected")?;
        self.enter()?;
        if self.peek()? == b']' {
            self.at += 1;
        } else {
            loop {
                self.peek()?;
                each(self)?;
                if !self.comma_or(b']')? {
                    break;
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Walks over one value and returns where it stood.
    pub fn skip(&mut self) -> Result<Range<usize>, JsonError> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'{' => self.members(|scanner, _| scanner.skip().map(drop))?,
            b'[' => self.items(|scanner| scanner.skip().map(drop))?,
            b'"' => {
                self.string()?;
            }
            b'-' | b'0'..=b'9' => self.number()?,
            _ => {
                self.word()?;
            }
        }
        Ok(start..self.at)
    }

    /// The inside of a string, escapes as written.
    fn string(&mut self) -> Result<Range<usize>, JsonError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start..self.at - 1);
                }
                Some(b'\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => {
                    self.at = self.bytes.len();
                    return Err(self.wrong("a text without end"));
                }
            }
        }
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.wrong("a digit expected")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        match self.bytes.get(self.at) {
            None | Some(b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r') => Ok(()),
            Some(_) => Err(self.wrong("not a number")),
        }
    }

    fn word(&mut self) -> Result<&'static str, JsonError> {
        for word in ["null", "true", "false"] {
            let rest = &self.bytes[self.at..];
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(word);
            }
            if !rest.is_empty() && word.as_bytes().starts_with(rest) {
                self.at = self.bytes.len();
            }
        }
        Err(self.wrong("a value expected"))
    }

    /// Builds the next value; `text` is the whole document.
    fn value(&mut self, text: &'a str) -> Result<Json<'a>, JsonError> {
        let first = self.peek()?;
        let start = self.at;
        let value = match first {
            b'{' => {
                let mut members = Vec::new();
                self.members(|scanner, key| {
                    let key = Cow::Owned(key.to_owned());
                    members.push((key, scanner.value(text)?));
                    Ok(())
                })?;
                JsonValue::Object(members)
            }
            b'[' => {
                let mut items = Vec::new();
                self.items(|scanner| {
                    items.push(scanner.value(text)?);
                    Ok(())
                })?;
                JsonValue::List(items)
            }
            b'"' => {
                let range = self.string()?;
                let broken = JsonError { at: range.start, what: "a broken escape in a text", cut: false };
                JsonValue::Text(unescape(&text[range]).ok_or(broken)?)
            }
            b'-' | b'0'..=b'9' => {
                self.number()?;
                JsonValue::Number(&text[start..self.at])
            }
            _ => match self.word()? {
                "null" => JsonValue::Null,
                word => JsonValue::Bool(word == "true"),
            },
        };
        Ok(Json { value, raw: &text[start..self.at] })
    }
}

/// The text that an escaped string means; `None` if an escape is broken or half of a surrogate pair is missing.
fn unescape(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('\\') {
        return Some(Cow::Borrowed(raw));
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = rest[at + 1..].chars().next()?;
        rest = &rest[at + 1 + escape.len_utf8()..];
        text.push(match escape {
            '"' | '\\' | '/' => escape,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = hex4(rest)?;
                rest = &rest[4..];
                if (0xd800..0xdc00).contains(&first) {
                    let second = hex4(rest.strip_prefix("\\u")?)?;
                    rest = &rest[6..];
                    if !(0xdc00..0xe000).contains(&second) {
                        return None;
                    }
                    char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?
                } else {
                    char::from_u32(first)?
                }
            }
            _ => return None,
        });
    }
    text.push_str(rest);
    Some(Cow::Owned(text))
}

fn hex4(text: &str) -> Option<u32> {
    let digits = text.get(..4)?;
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_keep_every_digit() {
        let long = "[12345678901234567890123456789.000000000000000000001, -0, 1E+400]";
        let JsonValue::List(items) = parse(long).unwrap().value else { panic!() };
        let raws: Vec<_> = items.iter().map(|item| item.raw).collect();
        assert_eq!(raws, ["12345678901234567890123456789.000000000000000000001", "-0", "1E+400"]);
    }

    #[test]
    fn every_way_to_be_broken_is_an_error() {
        let broken = [
            "",
            " ",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{a:1}",
            "'a'",
            "\"a",
            "\"\\",
            "tru",
            "nul",
            "truee",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "--1",
            "NaN",
            "Infinity",
            "1 2",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\u+123\"",
            "[1 2]",
            "{\"a\" 1}",
        ];
        for text in broken {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_cut_document_is_told_apart_from_a_wrong_one() {
        for text in ["[1, 2", "{\"a\": \"b", "[tr", "{\"a\": 1,"] {
            assert!(parse(text).unwrap_err().cut, "{text}");
        }
        assert!(!parse("[1 2]").unwrap_err().cut);
    }

    #[test]
    fn deep_nesting_is_refused_and_not_a_crash() {
        let deep = "[".repeat(100_000);
        assert_eq!(parse(&deep).unwrap_err().what, "nested too deeply");
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(".*", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn as_serde(json: &Json<'_>) -> serde_json::Value {
        match &json.value {
            JsonValue::Null => serde_json::Value::Null,
            JsonValue::Bool(value) => (*value).into(),
            JsonValue::Number(text) => text.parse::<i64>().unwrap().into(),
            JsonValue::Text(text) => text.as_ref().into(),
            JsonValue::List(items) => items.iter().map(as_serde).collect(),
            JsonValue::Object(members) => {
                serde_json::Value::Object(members.iter().map(|(key, value)| (key.to_string(), as_serde(value))).collect())
            }
        }
    }

    proptest! {
        #[test]
        fn reads_what_serde_json_writes(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
            prop_assert_eq!(as_serde(&parse(&text).unwrap()), value);
            let mut scanner = Scanner::new(text.as_bytes());
            prop_assert_eq!(scanner.skip().unwrap(), 0..text.len());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json in "[\\[\\]{}\",:0-9a-z\\\\ .eE+-]*") {
            let mut scanner = Scanner::new(&bytes);
            let _ = scanner.skip();
            let _ = parse(&json);
        }
    }
}
