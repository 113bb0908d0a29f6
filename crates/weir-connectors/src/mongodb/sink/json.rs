//! JSON text (RFC 8259) → BSON, without bending a number: whole numbers are int or long, others double where a double is exactly what is
//! written, and else decimal. What fits none of them, and two fields of one name, are errors.

use std::collections::HashSet;

use mongodb::bson::Decimal128;

use super::super::bson::{DEPTH, Malformed, Value, Writer};
use super::types::DIGITS;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

fn bad<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
}

/// Adds a value, given as text, to a document.
pub fn put(writer: &mut Writer, name: &str, text: &str) -> Result<(), Malformed> {
    let mut reader = Reader { text, at: 0 };
    reader.value(writer, name, 0)?;
    reader.blanks();
    if reader.at < text.len() { bad(format!("there is more behind the JSON value, at byte {}", reader.at)) } else { Ok(()) }
}

impl<'a> Reader<'a> {
    fn blanks(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn peek(&mut self) -> Result<u8, Malformed> {
        self.blanks();
        self.text.as_bytes().get(self.at).copied().ok_or_else(|| Malformed("the JSON text ends too early".into()))
    }

    fn wrong<T>(&self) -> Result<T, Malformed> {
        bad(format!("this is not JSON, at byte {}", self.at))
    }

    fn value(&mut self, writer: &mut Writer, name: &str, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH {
            return bad(format!("nested deeper than {DEPTH} levels"));
        }
        match self.peek()? {
            b'{' => {
                self.at += 1;
                let (mut inner, mut seen) = (Writer::default(), HashSet::new());
                if self.peek()? == b'}' {
                    self.at += 1;
                    return writer.put(name, Value::Document(&inner.finish()));
                }
                loop {
                    if self.peek()? != b'"' {
                        return self.wrong();
                    }
                    let key = self.string()?;
                    if self.peek()? != b':' {
                        return self.wrong();
                    }
                    self.at += 1;
                    self.value(&mut inner, &key, depth + 1)?;
                    if !seen.insert(key.clone()) {
                        return bad(format!("two fields `{key}` in one document"));
                    }
                    match self.peek()? {
                        b',' => self.at += 1,
                        b'}' => break self.at += 1,
                        _ => return self.wrong(),
                    }
                }
                writer.put(name, Value::Document(&inner.finish()))
            }
            b'[' => {
                self.at += 1;
                let mut inner = Writer::default();
                if self.peek()? == b']' {
                    self.at += 1;
                    return writer.put(name, Value::Array(&inner.finish()));
                }
                for item in 0.. {
                    self.value(&mut inner, &item.to_string(), depth + 1)?;
                    match self.peek()? {
                        b',' => self.at += 1,
                        b']' => break,
                        _ => return self.wrong(),
                    }
                }
                self.at += 1;
                writer.put(name, Value::Array(&inner.finish()))
            }
            b'"' => {
                let text = self.string()?;
                writer.put(name, Value::String(&text))
            }
            b't' => self.word("true").and_then(|()| writer.put(name, Value::Bool(true))),
            b'f' => self.word("false").and_then(|()| writer.put(name, Value::Bool(false))),
            b'n' => self.word("null").and_then(|()| writer.put(name, Value::Null)),
            _ => {
                let rest = &self.text[self.at..];
                let end = rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
                let token = &rest[..end];
                if !is_number(token) {
                    return self.wrong();
                }
                self.at += end;
                number(writer, name, token)
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Malformed> {
        if !self.text[self.at..].starts_with(word) {
            return self.wrong();
        }
        self.at += word.len();
        Ok(())
    }

    fn string(&mut self) -> Result<String, Malformed> {
        let bytes = &self.text.as_bytes()[self.at..];
        let (mut end, mut plain) = (1, true);
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    plain = false;
                    end += 2;
                }
                Some(0..=0x1f) | None => return self.wrong(),
                Some(_) => end += 1,
            }
        }
        let Some(token) = self.text.get(self.at..=self.at + end) else { return self.wrong() };
        self.at += end + 1;
        if plain {
            return Ok(token[1..token.len() - 1].to_owned());
        }
        serde_json::from_str(token).or_else(|error| bad(format!("a string of the JSON text: {error}")))
    }
}

fn is_number(token: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match token.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (token, None),
    };
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|text| digits(text.strip_prefix(['-', '+']).unwrap_or(text)))
}

/// Digits without zeros around them, and the power of ten of the last: two texts of one number are the same.
fn normal(text: &str) -> Option<(String, i64)> {
    let text = text.trim_start_matches('-');
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0').trim_end_matches('0');
    if digits.is_empty() {
        return Some((String::new(), 0));
    }
    let zeros = all.len() - all.trim_end_matches('0').len();
    Some((digits.to_owned(), exponent - fraction.len() as i64 + zeros as i64))
}

fn number(writer: &mut Writer, name: &str, token: &str) -> Result<(), Malformed> {
    if token.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
        && token != "-0"
        && let Ok(value) = token.parse::<i64>()
    {
        return match i32::try_from(value) {
            Ok(small) => writer.put(name, Value::Int32(small)),
            Err(_) => writer.put(name, Value::Int64(value)),
        };
    }
    let out_of_range = || Malformed(format!("the number {token} is too large or too fine for BSON"));
    let wanted = normal(token).ok_or_else(out_of_range)?;
    if let Ok(double) = token.parse::<f64>()
        && double.is_finite()
        && normal(&format!("{double:e}")).is_some_and(|same| same == wanted)
    {
        return writer.put(name, Value::Double(double));
    }
    if wanted.0.len() > usize::from(DIGITS) {
        return Err(out_of_range());
    }
    let sign = if token.starts_with('-') { "-" } else { "" };
    let decimal: Decimal128 = format!("{sign}{}E{}", wanted.0, wanted.1).parse().map_err(|_| out_of_range())?;
    writer.put(name, Value::Decimal128(decimal.bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::super::extjson;
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let mut writer = Writer::default();
        put(&mut writer, "v", text).map_err(|Malformed(why)| why)?;
        let text = extjson::canonical(&writer.finish()).unwrap();
        Ok(text.strip_prefix("{\"v\":").unwrap().strip_suffix('}').unwrap().to_owned())
    }

    #[test]
    fn no_number_is_bent() {
        for (text, stored) in [
            ("0", r#"{"$numberInt":"0"}"#),
            ("-2147483648", r#"{"$numberInt":"-2147483648"}"#),
            ("2147483648", r#"{"$numberLong":"2147483648"}"#),
            ("9223372036854775807", r#"{"$numberLong":"9223372036854775807"}"#),
            ("9223372036854775809", r#"{"$numberDecimal":"9223372036854775809"}"#),
            ("18446744073709551616", r#"{"$numberDecimal":"18446744073709551616"}"#),
            ("-0", r#"{"$numberDouble":"-0.0"}"#),
            ("1.10", r#"{"$numberDouble":"1.1"}"#),
            ("0.1", r#"{"$numberDouble":"0.1"}"#),
            ("1e3", r#"{"$numberDouble":"1000.0"}"#),
            ("0.12345678901234567890", r#"{"$numberDecimal":"0.1234567890123456789"}"#),
            ("1e400", r#"{"$numberDecimal":"1E+400"}"#),
        ] {
            assert_eq!(read(text).as_deref(), Ok(stored), "{text}");
        }
        for text in ["1e7000", "1234567890123456789012345678901234567891"] {
            assert!(read(text).unwrap_err().contains("too large or too fine"), "{text}");
        }
    }

    #[test]
    fn documents_arrays_and_strings_are_what_they_say() {
        let text = " {\"a\" : [1, \"x\\u00e9\\n\", null, true, []], \"\": {}, \"$ref\": \"\u{1f600}\\ud83d\\ude00\"} ";
        let stored = "{\"a\":[{\"$numberInt\":\"1\"},\"xé\\n\",null,true,[]],\"\":{},\"$ref\":\"\u{1f600}\u{1f600}\"}";
        assert_eq!(read(text).as_deref(), Ok(stored));
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = format!("{}1{}", "[".repeat(300), "]".repeat(300));
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "--1",
            "nul",
            "\"\u{1}\"",
            "\"\\x\"",
            "1 2",
            "{a:1}",
            "\"\\",
            "[1 2]",
            "\"\\u0000\\",
            &deep,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("{\"a\":1,\"a\":2}").unwrap_err().contains("two fields `a`"));
    }
}
