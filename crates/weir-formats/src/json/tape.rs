//! A strict JSON parser that makes no values: a flat list of what is where. Depth is bounded, nothing recurses.

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Null,
    True,
    False,
    Number,
    /// Between the quotes; `escaped` says whether there is anything to unescape.
    Text {
        escaped: bool,
    },
    /// Followed by its members: key, value, key, value, ….
    Object,
    /// Followed by its elements.
    Array,
}

/// One value or key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) what: What,
    /// First byte of its text (for strings: without quotes).
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Index of the first node behind it and all it contains.
    pub(crate) next: u32,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) what: &'static str,
    pub(crate) too_deep: bool,
}

/// The nodes of one JSON value.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    pub(crate) nodes: Vec<Node>,
    open: Vec<u32>,
}

fn fault<T>(at: usize, what: &'static str) -> Result<T, Fault> {
    Err(Fault { at, what, too_deep: false })
}

#[derive(Clone, Copy, PartialEq)]
enum Want {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
}

impl Tape {
    /// Parses exactly one value with nothing but white space around it. `text` must be valid UTF-8 and shorter than 4 GiB.
    pub(crate) fn parse(&mut self, text: &[u8], max_depth: usize) -> Result<(), Fault> {
        self.nodes.clear();
        self.open.clear();
        let mut at = 0;
        let mut want = Want::Value;
        loop {
            at = skip_space(text, at);
            let Some(&byte) = text.get(at) else { return fault(at, "the text ends too early") };
            match want {
                Want::CommaOrEnd => {
                    let in_object = self.innermost_is_object();
                    match (byte, in_object) {
                        (b',', true) => want = Want::Key,
                        (b',', false) => want = Want::Value,
                        (b'}', true) | (b']', false) => self.close(at),
                        _ => return fault(at, "a comma or the end of the object or array is missing"),
                    }
                    at += 1;
                }
                Want::Key | Want::KeyOrEnd => {
                    if byte == b'}' && want == Want::KeyOrEnd {
                        self.close(at);
                        at += 1;
                        want = Want::CommaOrEnd;
                    } else if byte == b'"' {
                        at = self.string(text, at)?;
                        at = skip_space(text, at);
                        if text.get(at) != Some(&b':') {
                            return fault(at, "a colon is missing behind a key");
                        }
                        at += 1;
                        want = Want::Value;
                        continue;
                    } else {
                        return fault(at, "a key in double quotes is missing");
                    }
                }
                Want::Value | Want::ValueOrEnd => {
                    if byte == b']' && want == Want::ValueOrEnd {
                        self.close(at);
                        at += 1;
                        want = Want::CommaOrEnd;
                    } else {
                        match byte {
                            b'{' | b'[' => {
                                if self.open.len() >= max_depth {
                                    return Err(Fault { at, what: "nested too deep", too_deep: true });
                                }
                                let what = if byte == b'{' { What::Object } else { What::Array };
                                self.open.push(self.nodes.len() as u32);
                                self.push(what, at, at);
                                at += 1;
                                want = if byte == b'{' { Want::KeyOrEnd } else { Want::ValueOrEnd };
                                continue;
                            }
                            b'"' => at = self.string(text, at)?,
                            b't' => at = self.word(text, at, b"true", What::True)?,
                            b'f' => at = self.word(text, at, b"false", What::False)?,
                            b'n' => at = self.word(text, at, b"null", What::Null)?,
                            _ => at = self.number(text, at)?,
                        }
                        want = Want::CommaOrEnd;
                    }
                }
            }
            if want == Want::CommaOrEnd && self.open.is_empty() {
                let rest = skip_space(text, at);
                return if rest == text.len() { Ok(()) } else { fault(rest, "something stands behind the value") };
            }
        }
    }

    /// The text of a node.
    pub(crate) fn text<'a>(&self, node: u32, text: &'a [u8]) -> &'a [u8] {
        let node = self.nodes[node as usize];
        &text[node.start as usize..node.end as usize]
    }

    /// The text of a value as it stands in the document, quotes included.
    pub(crate) fn raw<'a>(&self, node: u32, text: &'a [u8]) -> &'a [u8] {
        let node = self.nodes[node as usize];
        match node.what {
            What::Text { .. } => &text[node.start as usize - 1..node.end as usize + 1],
            _ => &text[node.start as usize..node.end as usize],
        }
    }

    /// The members of an object, (key, value), in order.
    pub(crate) fn members(&self, node: u32) -> Members<'_> {
        Members { tape: self, at: node + 1, end: self.nodes[node as usize].next }
    }

    /// The elements of an array.
    pub(crate) fn elements(&self, node: u32) -> Elements<'_> {
        Elements { tape: self, at: node + 1, end: self.nodes[node as usize].next }
    }

    fn push(&mut self, what: What, start: usize, end: usize) {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { what, start: start as u32, end: end as u32, next });
    }

    fn close(&mut self, at: usize) {
        let next = self.nodes.len() as u32;
        if let Some(open) = self.open.pop() {
            let node = &mut self.nodes[open as usize];
            node.end = at as u32 + 1;
            node.next = next;
        }
    }

    fn innermost_is_object(&self) -> bool {
        self.open.last().is_some_and(|open| self.nodes[*open as usize].what == What::Object)
    }

    fn word(&mut self, text: &[u8], at: usize, word: &[u8], what: What) -> Result<usize, Fault> {
        if text[at..].starts_with(word) {
            self.push(what, at, at + word.len());
            Ok(at + word.len())
        } else {
            fault(at, "this is no JSON value")
        }
    }

    fn number(&mut self, text: &[u8], start: usize) -> Result<usize, Fault> {
        let digits = |mut at: usize| {
            while text.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut at = start + usize::from(text[start] == b'-');
        let whole = at;
        at = digits(at);
        if at == whole {
            return fault(start, "this is no JSON value");
        }
        if text[whole] == b'0' && at > whole + 1 {
            return fault(start, "a number begins with a zero");
        }
        if text.get(at) == Some(&b'.') {
            let fraction = at + 1;
            at = digits(fraction);
            if at == fraction {
                return fault(at, "digits are missing behind the point");
            }
        }
        if matches!(text.get(at), Some(b'e' | b'E')) {
            at += 1;
            at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
            let exponent = at;
            at = digits(exponent);
            if at == exponent {
                return fault(at, "the exponent has no digits");
            }
        }
        self.push(What::Number, start, at);
        Ok(at)
    }

    fn string(&mut self, text: &[u8], quote: usize) -> Result<usize, Fault> {
        let start = quote + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at += plain(text.get(at..).unwrap_or_default());
            match text.get(at) {
                None => return fault(at, "a text in quotes does not end"),
                Some(b'"') => {
                    self.push(What::Text { escaped }, start, at);
                    return Ok(at + 1);
                }
                Some(b'\\') => {
                    escaped = true;
                    at = escape_end(text, at)?;
                }
                Some(_) => return fault(at, "a control character stands in a text"),
            }
        }
    }
}

/// How many bytes from the beginning stand for themselves in a text in quotes: neither quote nor backslash nor control character. Most of what JSON
/// holds is such bytes, so they are looked at 32 at a time.
pub(super) fn plain(text: &[u8]) -> usize {
    const WIDE: usize = 32;
    // Without a way out of the inner loop the compiler makes vectors of it.
    let marked = |byte: &u8| (*byte == b'"') | (*byte == b'\\') | (*byte < 0x20);
    let clean =
        text.chunks_exact(WIDE).take_while(|wide| !wide.iter().fold(false, |any, byte| any | marked(byte))).count() * WIDE;
    let rest = text.get(clean..).unwrap_or_default();
    clean + rest.iter().position(marked).unwrap_or(rest.len())
}

fn skip_space(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

fn hex4(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | char::from(*digit).to_digit(16)?))
}

/// Checks the escape at `at` and gives the place behind it. A pair of surrogates counts as one; half a pair is no text.
fn escape_end(text: &[u8], at: usize) -> Result<usize, Fault> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match hex4(text, at + 2) {
            Some(0xd800..=0xdbff) => match (text.get(at + 6..at + 8), hex4(text, at + 8)) {
                (Some(b"\\u"), Some(0xdc00..=0xdfff)) => Ok(at + 12),
                _ => fault(at, "half of a surrogate pair"),
            },
            Some(0xdc00..=0xdfff) => fault(at, "half of a surrogate pair"),
            Some(_) => Ok(at + 6),
            None => fault(at, "a \\u without four hexadecimal digits"),
        },
        _ => fault(at, "an unknown escape"),
    }
}

/// Appends a string's value. The text went through [`Tape::parse`].
pub(crate) fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let mut taken = at + 2;
        match rest.get(at + 1) {
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'u') => {
                let mut unit = hex4(rest, at + 2).unwrap_or(0xfffd);
                taken = at + 6;
                if (0xd800..0xdc00).contains(&unit) {
                    unit = 0x10000 + ((unit - 0xd800) << 10) + (hex4(rest, at + 8).unwrap_or(0xdc00) - 0xdc00);
                    taken = at + 12;
                }
                let mut buffer = [0; 4];
                out.extend_from_slice(char::from_u32(unit).unwrap_or('\u{fffd}').encode_utf8(&mut buffer).as_bytes());
            }
            Some(other) => out.push(*other),
            None => {}
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

pub(crate) struct Members<'a> {
    tape: &'a Tape,
    at: u32,
    end: u32,
}

impl Iterator for Members<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        if self.at >= self.end {
            return None;
        }
        let (key, value) = (self.at, self.at + 1);
        self.at = self.tape.nodes[value as usize].next;
        Some((key, value))
    }
}

pub(crate) struct Elements<'a> {
    tape: &'a Tape,
    at: u32,
    end: u32,
}

impl Iterator for Elements<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.at >= self.end {
            return None;
        }
        let node = self.at;
        self.at = self.tape.nodes[node as usize].next;
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_bytes_end_at_the_first_that_means_something_wherever_it_stands() {
        for length in 0..100 {
            let clean = vec![b'x'; length];
            assert_eq!(plain(&clean), length);
            for at in 0..length {
                for byte in 0..=255 {
                    let mut text = clean.clone();
                    text[at] = byte;
                    let means = matches!(byte, b'"' | b'\\' | 0..=0x1f);
                    assert_eq!(plain(&text), if means { at } else { length }, "{byte} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn bad_json_is_told_with_its_place() {
        for (text, what) in [
            ("", "the text ends too early"),
            ("{", "the text ends too early"),
            ("{\"a\":1,}", "a key in double quotes is missing"),
            ("[1,]", "this is no JSON value"),
            ("[1 2]", "a comma or the end of the object or array is missing"),
            ("{\"a\" 1}", "a colon is missing behind a key"),
            ("[1}", "a comma or the end of the object or array is missing"),
            ("01", "a number begins with a zero"),
            ("1.", "digits are missing behind the point"),
            ("1e", "the exponent has no digits"),
            ("-", "this is no JSON value"),
            ("nul", "this is no JSON value"),
            ("NaN", "this is no JSON value"),
            ("\"a", "a text in quotes does not end"),
            ("\"a\nb\"", "a control character stands in a text"),
            ("\"\\x\"", "an unknown escape"),
            ("\"\\ud800\"", "half of a surrogate pair"),
            ("\"\\udc00\"", "half of a surrogate pair"),
            ("\"\\u12\"", "a \\u without four hexadecimal digits"),
            ("{} {}", "something stands behind the value"),
            ("'a'", "this is no JSON value"),
        ] {
            assert_eq!(Tape::default().parse(text.as_bytes(), 10).map_err(|f| f.what), Err(what), "{text}");
        }
        let deep = "[".repeat(300_000);
        assert!(Tape::default().parse(deep.as_bytes(), 256).unwrap_err().too_deep);
    }

    fn values() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<i32>().prop_map(|n| (f64::from(n) / 8.0).into()),
            ".*".prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map(".*", inner, 0..6)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn rebuilt(tape: &Tape, node: u32, text: &[u8]) -> serde_json::Value {
        let string = |node: u32| {
            let mut out = Vec::new();
            unescape(tape.text(node, text), &mut out);
            String::from_utf8(out).unwrap()
        };
        match tape.nodes[node as usize].what {
            What::Object => tape.members(node).map(|(k, v)| (string(k), rebuilt(tape, v, text))).collect(),
            What::Array => tape.elements(node).map(|v| rebuilt(tape, v, text)).collect(),
            What::Text { .. } => string(node).into(),
            _ => serde_json::from_slice(tape.raw(node, text)).unwrap(),
        }
    }

    proptest! {
        #[test]
        fn what_serde_writes_is_read_the_same(value in values(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let mut tape = Tape::default();
            tape.parse(text.as_bytes(), 100).unwrap();
            prop_assert_eq!(rebuilt(&tape, 0, text.as_bytes()), value);
        }

        #[test]
        fn it_accepts_what_serde_accepts(text in "[\\[\\]{},:\"\\\\0-9.eE+ntrufals -]{0,24}") {
            let serde = serde_json::from_str::<serde_json::Value>(&text);
            let ours = Tape::default().parse(text.as_bytes(), 100);
            // serde refuses numbers beyond the range of a double.
            if !serde.as_ref().is_err_and(|error| error.to_string().contains("out of range")) {
                prop_assert_eq!(ours.is_ok(), serde.is_ok(), "{:?} {:?}", ours, serde);
            }
        }
    }
}
