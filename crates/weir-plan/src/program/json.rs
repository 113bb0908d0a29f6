//! JSON as it is written: numbers keep their digits, members their order, every value its text.
//!
//! What RFC 8259 leaves open is decided here: a name that an object has twice is kept twice, and whoever asks for it is told.

use std::borrow::Cow;

/// Values inside of values: deeper than this is refused, as the stack is finite.
const DEEPEST: usize = 128;

/// A value and its text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Json<'a> {
    pub(crate) raw: &'a str,
    pub(crate) value: Value<'a>,
}

/// What a text says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// The number as it is written: that is `raw`.
    Number,
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Map(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// Reads one value and nothing after it. The error says what is wrong and at which byte.
pub(crate) fn parse(text: &str) -> Result<Json<'_>, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.wrong("something follows the value"));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, what: &str) -> String {
        format!("no JSON: {what} at byte {}", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes this byte, if it is next.
    fn took(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, String> {
        self.space();
        let start = self.at;
        if depth > DEEPEST {
            return Err(self.wrong("more levels than can be read"));
        }
        let value = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(_) => return Err(self.wrong("a value is expected")),
            None => return Err(self.wrong("the text ends")),
        };
        Ok(Json { raw: &self.text[start..self.at], value })
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, String> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.wrong("a value is expected"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Result<Value<'a>, String> {
        self.took(b'-');
        if !self.took(b'0') && !self.digits() {
            return Err(self.wrong("a digit is expected"));
        }
        if self.took(b'.') && !self.digits() {
            return Err(self.wrong("a digit is expected"));
        }
        if self.took(b'e') || self.took(b'E') {
            let _ = self.took(b'+') || self.took(b'-');
            if !self.digits() {
                return Err(self.wrong("a digit is expected"));
            }
        }
        Ok(Value::Number)
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, String> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.took(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.took(b']') {
                return Ok(Value::List(items));
            }
            if !self.took(b',') {
                return Err(self.wrong("`,` or `]` is expected"));
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value<'a>, String> {
        self.at += 1;
        let mut members = Vec::new();
        self.space();
        if self.took(b'}') {
            return Ok(Value::Map(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a name is expected"));
            }
            let name = self.string()?;
            self.space();
            if !self.took(b':') {
                return Err(self.wrong("`:` is expected"));
            }
            members.push((name, self.value(depth + 1)?));
            self.space();
            if self.took(b'}') {
                return Ok(Value::Map(members));
            }
            if !self.took(b',') {
                return Err(self.wrong("`,` or `}` is expected"));
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut from = start;
        loop {
            match self.peek() {
                None => return Err(self.wrong("a text is not closed")),
                Some(b'"') => {
                    let rest = &self.text[from..self.at];
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(rest),
                        Some(mut text) => {
                            text.push_str(rest);
                            Cow::Owned(text)
                        }
                    });
                }
                Some(b'\\') => {
                    let text = owned.get_or_insert_default();
                    text.push_str(&self.text[from..self.at]);
                    self.at += 1;
                    let c = self.escape()?;
                    owned.get_or_insert_default().push(c);
                    from = self.at;
                }
                Some(0..=0x1f) => return Err(self.wrong("a control character stands in a text")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let Some(byte) = self.peek() else { return Err(self.wrong("a text is not closed")) };
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                let code = match first {
                    0xd800..=0xdbff => {
                        if !(self.took(b'\\') && self.took(b'u')) {
                            return Err(self.wrong("half of a character"));
                        }
                        let second = self.hex()?;
                        if !(0xdc00..=0xdfff).contains(&second) {
                            return Err(self.wrong("half of a character"));
                        }
                        0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    other => other,
                };
                char::from_u32(code).ok_or_else(|| self.wrong("half of a character"))?
            }
            _ => return Err(self.wrong("an unknown escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits.and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        self.at += 4;
        code.ok_or_else(|| self.wrong("four hexadecimal digits are expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_and_texts_their_characters() {
        let text = r#" {"a": 1.10e+2, "b": [12345678901234567890.0, "\ud83d\ude00\n"], "a": null} "#;
        let Value::Map(members) = parse(text).unwrap().value else { panic!() };
        assert_eq!(members.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), ["a", "b", "a"]);
        assert_eq!(members[0].1.raw, "1.10e+2");
        let Value::List(items) = &members[1].1.value else { panic!() };
        assert_eq!(items[0].raw, "12345678901234567890.0");
        assert_eq!(items[1].value, Value::Text("\u{1F600}\n".into()));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = "[".repeat(10_000);
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            "-",
            "+1",
            "1e",
            "\"a",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "nul",
            "1 2",
            "{a:1}",
            "'a'",
            "\"\t\"",
            "\"\\u12\"",
            "NaN",
            &deep,
        ] {
            assert!(parse(text).is_err(), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn it_reads_what_another_reader_reads(text in "[\\[\\]{}\",:0-9a-e\\\\ul. -]{0,24}") {
            let ours = parse(&text).is_ok();
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            // A number that is too large for a double is one all the same.
            let too_large = theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range"));
            proptest::prop_assert!(ours == theirs.is_ok() || too_large, "{}: {} {:?}", text, ours, theirs);
        }
    }
}
