//! JSON by its meaning: the text that PostgreSQL prints for the same document as `jsonb`.
//!
//! Objects have their keys in the order of length and then of bytes, each once (the last one counts); one blank after `:` and `,`; strings have no escapes
//! but the necessary ones; numbers are written out, with the digits after the point that they were given: `1.50e1` is `15.0`, and `1.0` is not `1`.

use std::fmt::Write;

/// Deeper documents are taken as text; the server refuses them as `jsonb` somewhat later.
const DEPTH: usize = 512;
/// Longer numbers are taken as they are.
const DIGITS: i64 = 20_000;

/// The canonical text; `None` if it is no JSON.
pub fn canonical(text: &str) -> Option<String> {
    let mut parser = Parser { bytes: text.as_bytes(), text, at: 0 };
    let mut out = String::with_capacity(text.len());
    parser.value(&mut out, 0)?;
    parser.blank();
    (parser.at == text.len()).then_some(out)
}

struct Parser<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn blank(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        self.blank();
        (self.bytes.get(self.at) == Some(&byte)).then(|| self.at += 1)
    }

    fn value(&mut self, out: &mut String, depth: usize) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        self.blank();
        match self.bytes.get(self.at)? {
            b'{' => self.object(out, depth),
            b'[' => self.array(out, depth),
            b'"' => {
                let text = self.string()?;
                quote(&text, out);
                Some(())
            }
            b'-' | b'0'..=b'9' => self.number(out),
            _ => {
                let word = ["true", "false", "null"].into_iter().find(|word| self.text[self.at..].starts_with(word))?;
                self.at += word.len();
                out.push_str(word);
                Some(())
            }
        }
    }

    fn array(&mut self, out: &mut String, depth: usize) -> Option<()> {
        self.take(b'[')?;
        out.push('[');
        if self.take(b']').is_none() {
            loop {
                self.value(out, depth + 1)?;
                if self.take(b',').is_none() {
                    break;
                }
                out.push_str(", ");
            }
            self.take(b']')?;
        }
        out.push(']');
        Some(())
    }

    fn object(&mut self, out: &mut String, depth: usize) -> Option<()> {
        self.take(b'{')?;
        let mut members: Vec<(String, String)> = Vec::new();
        if self.take(b'}').is_none() {
            loop {
                self.blank();
                let key = self.string()?;
                self.take(b':')?;
                let mut value = String::new();
                self.value(&mut value, depth + 1)?;
                members.push((key, value));
                if self.take(b',').is_none() {
                    break;
                }
            }
            self.take(b'}')?;
        }
        // Stable: of equal keys the last one stays the last.
        members.sort_by(|(one, _), (two, _)| one.len().cmp(&two.len()).then_with(|| one.cmp(two)));
        out.push('{');
        let mut first = true;
        for (at, (key, value)) in members.iter().enumerate() {
            if members.get(at + 1).is_some_and(|(next, _)| next == key) {
                continue;
            }
            if !first {
                out.push_str(", ");
            }
            first = false;
            quote(key, out);
            out.push_str(": ");
            out.push_str(value);
        }
        out.push('}');
        Some(())
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn string(&mut self) -> Option<String> {
        if self.bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        self.at += 1;
        let mut out = String::new();
        loop {
            let from = self.at;
            while !matches!(self.bytes.get(self.at)?, b'"' | b'\\' | 0..=0x1f) {
                self.at += 1;
            }
            out.push_str(self.text.get(from..self.at)?);
            let byte = self.bytes[self.at];
            self.at += 1;
            match byte {
                b'"' => return Some(out),
                b'\\' => {}
                _ => return None,
            }
            let escape = *self.bytes.get(self.at)?;
            self.at += 1;
            out.push(match escape {
                b'"' | b'\\' | b'/' => char::from(escape),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    let unit = self.hex()?;
                    if (0xd800..0xdc00).contains(&unit) {
                        (self.text.get(self.at..self.at + 2)? == "\\u").then_some(())?;
                        self.at += 2;
                        let low = self.hex()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + low)?
                    } else {
                        char::from_u32(unit)?
                    }
                }
                _ => return None,
            });
        }
    }

    fn digits(&mut self) -> &str {
        let from = self.at;
        while matches!(self.bytes.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        &self.text[from..self.at]
    }

    fn number(&mut self, out: &mut String) -> Option<()> {
        let from = self.at;
        let negative = self.bytes.get(self.at) == Some(&b'-');
        self.at += usize::from(negative);
        let whole = self.digits().to_string();
        let mut fraction = String::new();
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            fraction = self.digits().to_string();
            if fraction.is_empty() {
                return None;
            }
        }
        let mut exponent = 0_i64;
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            let sign = match self.bytes.get(self.at) {
                Some(b'-') => -1,
                Some(b'+') => 1,
                _ => 0,
            };
            self.at += usize::from(sign != 0);
            let digits = self.digits();
            // A longer one is no number that anybody keeps; it is compared as it is written.
            exponent = if digits.len() > 9 { DIGITS + 1 } else { digits.parse::<i64>().ok()? * if sign == 0 { 1 } else { sign } };
        }
        if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) {
            return None;
        }
        if exponent.abs() > DIGITS {
            out.push_str(&self.text[from..self.at]);
            return Some(());
        }
        // The value is `digits` with the point after `point` of them.
        let digits = format!("{whole}{fraction}");
        let point = whole.len() as i64 + exponent;
        let places = (fraction.len() as i64 - exponent).max(0);
        let digit =
            |at: i64| usize::try_from(at).ok().and_then(|at| digits.as_bytes().get(at)).map_or('0', |byte| char::from(*byte));
        let front: String = (0..point.max(0)).map(digit).collect();
        let front = front.trim_start_matches('0');
        let back: String = (point..point + places).map(digit).collect();
        if negative && digits.bytes().any(|byte| byte != b'0') {
            out.push('-');
        }
        out.push_str(if front.is_empty() { "0" } else { front });
        if !back.is_empty() {
            out.push('.');
            out.push_str(&back);
        }
        Some(())
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string cannot fail.
            control if control < ' ' => drop(write!(out, "\\u{:04x}", control as u32)),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn documents_that_mean_the_same_have_one_text() {
        for (text, expected) in [
            (r#"{"bb":1,"a" : [1 , 2.50],"a":null}"#, r#"{"a": null, "bb": 1}"#),
            (r#" "\u00e4\/\ud83d\ude00\u0001\n" "#, "\"ä/😀\\u0001\\n\""),
            ("[]", "[]"),
            ("{}", "{}"),
            ("[1.50e1, 1e2, 1e-2, -0, -0.0, 1.0, 0.10, -1.5E+0, 12e0]", "[15.0, 100, 0.01, 0, 0.0, 1.0, 0.10, -1.5, 12]"),
            ("1e30", "1000000000000000000000000000000"),
            ("123456789012345678901234567890.5", "123456789012345678901234567890.5"),
            ("1e1000000000000", "1e1000000000000"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in ["", "{", "[1,]", "{\"a\" 1}", "01", "1.", "-", "\"\n\"", "tru", "1 2", "\"\\ud800\"", "{'a': 1}", "nullx"] {
            assert_eq!(canonical(text), None, "{text}");
        }
        assert_eq!(canonical(&"[".repeat(100_000)), None);
    }
}
