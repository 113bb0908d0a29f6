//! JSONPath (RFC 9535) without function extensions: `$`, names, indices, slices, wildcards, descendants, unions, filters with comparisons.
//!
//! A path is read once, with every mistake told by its place, and then asked of many values.

use std::cmp::Ordering;

use super::json::{Json, Value};

/// A path from the root of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Segment {
    /// `..`: at the value itself and everywhere below.
    descendant: bool,
    selectors: Vec<Selector>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Selector {
    Name(String),
    Wildcard,
    Index(i64),
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Filter(Test),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    Exists(Query),
    Compare(Side, Comparison, Side),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Query {
    /// `@`, not `$`.
    relative: bool,
    path: Path,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Side {
    Query(Query),
    /// JSON text.
    Number(String),
    Text(String),
    Bool(bool),
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Whole numbers in a path are those that every JSON reader agrees on.
const LARGEST: i64 = (1 << 53) - 1;
/// Brackets in filters inside of brackets in filters.
const DEEPEST: usize = 32;

impl Path {
    /// Reads a path. The error says what is wrong and at which character.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text: text.chars().collect(), at: 0 };
        if !reader.took('$') {
            return Err(reader.wrong("a path begins with `$`"));
        }
        let path = reader.segments(0)?;
        if reader.at < reader.text.len() {
            return Err(reader.wrong("`.` or `[` is expected"));
        }
        Ok(path)
    }

    /// Whether it can lead to one value at most.
    pub(crate) fn singular(&self) -> bool {
        let single = |segment: &Segment| {
            !segment.descendant && matches!(segment.selectors.as_slice(), [Selector::Name(_) | Selector::Index(_)])
        };
        self.segments.iter().all(single)
    }

    /// Every value that it leads to, in order. An error if an object has a name twice that is asked for: which is meant?
    pub(crate) fn find<'v, 't>(&self, root: &'v Json<'t>) -> Result<Vec<&'v Json<'t>>, String> {
        self.from(root, root)
    }

    fn from<'v, 't>(&self, start: &'v Json<'t>, root: &'v Json<'t>) -> Result<Vec<&'v Json<'t>>, String> {
        let mut current = vec![start];
        for segment in &self.segments {
            let mut next = Vec::new();
            for value in current {
                segment.apply(value, root, &mut next)?;
            }
            current = next;
        }
        Ok(current)
    }
}

impl Segment {
    fn apply<'v, 't>(&self, value: &'v Json<'t>, root: &'v Json<'t>, found: &mut Vec<&'v Json<'t>>) -> Result<(), String> {
        for selector in &self.selectors {
            selector.apply(value, root, found)?;
        }
        if self.descendant {
            for child in children(value) {
                self.apply(child, root, found)?;
            }
        }
        Ok(())
    }
}

fn children<'v, 't>(value: &'v Json<'t>) -> Vec<&'v Json<'t>> {
    match &value.value {
        Value::List(items) => items.iter().collect(),
        Value::Map(members) => members.iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    }
}

/// An index as it counts from the front, if there is such an item.
fn place(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    let place = if index < 0 { length.checked_add(index)? } else { index };
    usize::try_from(place).ok().filter(|_| place < length)
}

impl Selector {
    fn apply<'v, 't>(&self, value: &'v Json<'t>, root: &'v Json<'t>, found: &mut Vec<&'v Json<'t>>) -> Result<(), String> {
        match (self, &value.value) {
            (Self::Name(name), Value::Map(members)) => {
                let mut named = members.iter().filter(|(known, _)| known == name);
                found.extend(named.next().map(|(_, value)| value));
                if named.next().is_some() {
                    return Err(format!("an object has the name `{name}` twice"));
                }
            }
            (Self::Wildcard, _) => found.extend(children(value)),
            (Self::Index(index), Value::List(items)) => found.extend(place(*index, items.len()).and_then(|at| items.get(at))),
            (Self::Slice { start, end, step }, Value::List(items)) => {
                found.extend(slice(*start, *end, *step, items.len()).into_iter().filter_map(|at| items.get(at)));
            }
            (Self::Filter(test), _) => {
                for child in children(value) {
                    if test.holds(child, root)? {
                        found.push(child);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The places of a slice, RFC 9535 §2.3.4.2.
fn slice(start: Option<i64>, end: Option<i64>, step: i64, length: usize) -> Vec<usize> {
    let Ok(length) = i64::try_from(length) else { return Vec::new() };
    let from_front = |index: i64| if index >= 0 { index } else { length + index };
    let mut places = Vec::new();
    if step > 0 {
        let (low, high) = (from_front(start.unwrap_or(0)).clamp(0, length), from_front(end.unwrap_or(length)).clamp(0, length));
        let mut at = low;
        while at < high {
            places.extend(usize::try_from(at));
            at = at.saturating_add(step);
        }
    } else if step < 0 {
        let high = from_front(start.unwrap_or(length - 1)).clamp(-1, length - 1);
        let low = from_front(end.unwrap_or(-length - 1)).clamp(-1, length - 1);
        let mut at = high;
        while at > low {
            places.extend(usize::try_from(at));
            at = at.saturating_add(step);
        }
    }
    places
}

impl Test {
    fn holds<'v, 't>(&self, this: &'v Json<'t>, root: &'v Json<'t>) -> Result<bool, String> {
        Ok(match self {
            Self::Any(tests) => {
                for test in tests {
                    if test.holds(this, root)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::All(tests) => {
                for test in tests {
                    if !test.holds(this, root)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Not(test) => !test.holds(this, root)?,
            Self::Exists(query) => !query.find(this, root)?.is_empty(),
            Self::Compare(left, comparison, right) => compare(left.value(this, root)?, *comparison, right.value(this, root)?),
        })
    }
}

impl Query {
    fn find<'v, 't>(&self, this: &'v Json<'t>, root: &'v Json<'t>) -> Result<Vec<&'v Json<'t>>, String> {
        self.path.from(if self.relative { this } else { root }, root)
    }
}

/// A side of a comparison; nothing if a query found nothing.
#[derive(Clone, Copy)]
enum Compared<'a> {
    Nothing,
    Number(&'a str),
    Text(&'a str),
    Bool(bool),
    Null,
    Nested(&'a Json<'a>),
}

impl<'a> Compared<'a> {
    fn of(json: &'a Json<'a>) -> Self {
        match &json.value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number => Self::Number(json.raw),
            Value::Text(text) => Self::Text(text),
            Value::List(_) | Value::Map(_) => Self::Nested(json),
        }
    }
}

impl Side {
    fn value<'a>(&'a self, this: &'a Json<'a>, root: &'a Json<'a>) -> Result<Compared<'a>, String> {
        Ok(match self {
            Self::Query(query) => query.find(this, root)?.first().map_or(Compared::Nothing, |json| Compared::of(json)),
            Self::Number(digits) => Compared::Number(digits),
            Self::Text(text) => Compared::Text(text),
            Self::Bool(truth) => Compared::Bool(*truth),
            Self::Null => Compared::Null,
        })
    }
}

fn compare(left: Compared<'_>, comparison: Comparison, right: Compared<'_>) -> bool {
    let less = |left, right| order(left, right) == Some(Ordering::Less);
    match comparison {
        Comparison::Equal => equal(left, right),
        Comparison::NotEqual => !equal(left, right),
        Comparison::Less => less(left, right),
        Comparison::Greater => less(right, left),
        Comparison::LessOrEqual => less(left, right) || equal(left, right),
        Comparison::GreaterOrEqual => less(right, left) || equal(left, right),
    }
}

/// What is smaller; only numbers and texts have an order.
fn order(left: Compared<'_>, right: Compared<'_>) -> Option<Ordering> {
    match (left, right) {
        (Compared::Number(left), Compared::Number(right)) => numbers(left, right),
        (Compared::Text(left), Compared::Text(right)) => Some(left.chars().cmp(right.chars())),
        _ => None,
    }
}

fn numbers(left: &str, right: &str) -> Option<Ordering> {
    match (left.parse::<i128>(), right.parse::<i128>()) {
        (Ok(left), Ok(right)) => Some(left.cmp(&right)),
        _ => left.parse::<f64>().ok()?.partial_cmp(&right.parse::<f64>().ok()?),
    }
}

fn equal(left: Compared<'_>, right: Compared<'_>) -> bool {
    match (left, right) {
        (Compared::Nothing, Compared::Nothing) | (Compared::Null, Compared::Null) => true,
        (Compared::Bool(left), Compared::Bool(right)) => left == right,
        (Compared::Number(_), Compared::Number(_)) | (Compared::Text(_), Compared::Text(_)) => {
            order(left, right) == Some(Ordering::Equal)
        }
        (Compared::Nested(left), Compared::Nested(right)) => match (&left.value, &right.value) {
            (Value::List(left), Value::List(right)) => {
                left.len() == right.len()
                    && left.iter().zip(right).all(|(left, right)| equal(Compared::of(left), Compared::of(right)))
            }
            (Value::Map(left), Value::Map(right)) => {
                let same = |(name, value): &(std::borrow::Cow<'_, str>, Json<'_>)| {
                    right.iter().any(|(other, there)| other == name && equal(Compared::of(value), Compared::of(there)))
                };
                left.len() == right.len() && left.iter().all(same)
            }
            _ => false,
        },
        _ => false,
    }
}

struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    fn wrong(&self, what: &str) -> String {
        format!("{what}, at character {}", self.at + 1)
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn took(&mut self, c: char) -> bool {
        let next = self.peek() == Some(c);
        self.at += usize::from(next);
        next
    }

    fn took_all(&mut self, word: &str) -> bool {
        let next = word.chars().enumerate().all(|(index, c)| self.text.get(self.at + index) == Some(&c));
        self.at += if next { word.chars().count() } else { 0 };
        next
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn segments(&mut self, depth: usize) -> Result<Path, String> {
        let mut segments = Vec::new();
        loop {
            let before = self.at;
            self.space();
            if self.took_all("..") {
                let selectors = match self.peek() {
                    Some('[') => self.bracketed(depth)?,
                    _ => vec![self.short()?],
                };
                segments.push(Segment { descendant: true, selectors });
            } else if self.took('.') {
                segments.push(Segment { descendant: false, selectors: vec![self.short()?] });
            } else if self.peek() == Some('[') {
                segments.push(Segment { descendant: false, selectors: self.bracketed(depth)? });
            } else {
                self.at = before;
                return Ok(Path { segments });
            }
        }
    }

    /// A name without quotes, or `*`.
    fn short(&mut self) -> Result<Selector, String> {
        if self.took('*') {
            return Ok(Selector::Wildcard);
        }
        let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| begins(*c) || (!name.is_empty() && c.is_ascii_digit())) {
            name.push(c);
            self.at += 1;
        }
        match name.is_empty() {
            true => Err(self.wrong("a name or `*` is expected (other names stand in brackets: `['a-b']`)")),
            false => Ok(Selector::Name(name)),
        }
    }

    fn bracketed(&mut self, depth: usize) -> Result<Vec<Selector>, String> {
        if depth > DEEPEST {
            return Err(self.wrong("more brackets than can be read"));
        }
        self.at += 1;
        let mut selectors = Vec::new();
        loop {
            self.space();
            selectors.push(self.selector(depth)?);
            self.space();
            if self.took(']') {
                return Ok(selectors);
            }
            if !self.took(',') {
                return Err(self.wrong("`,` or `]` is expected"));
            }
        }
    }

    fn selector(&mut self, depth: usize) -> Result<Selector, String> {
        match self.peek() {
            Some('*') => {
                self.at += 1;
                Ok(Selector::Wildcard)
            }
            Some('?') => {
                self.at += 1;
                self.space();
                Ok(Selector::Filter(self.any(depth + 1)?))
            }
            Some('\'' | '"') => Ok(Selector::Name(self.quoted()?)),
            Some(':' | '-' | '0'..='9') => self.index_or_slice(),
            _ => Err(self.wrong("a name in quotes, an index, a slice, `*` or a filter `?` is expected")),
        }
    }

    fn whole(&mut self) -> Result<Option<i64>, String> {
        let start = self.at;
        let minus = self.took('-');
        while matches!(self.peek(), Some('0'..='9')) {
            self.at += 1;
        }
        let digits: String = self.text[start..self.at].iter().collect();
        if digits.is_empty() {
            return Ok(None);
        }
        let plain = digits.trim_start_matches('-');
        let number = digits.parse::<i64>().ok().filter(|number| number.abs() <= LARGEST);
        match number {
            Some(number) if !(plain.len() > 1 && plain.starts_with('0') || minus && number == 0) => Ok(Some(number)),
            _ => Err(self.wrong("this is no index")),
        }
    }

    fn index_or_slice(&mut self) -> Result<Selector, String> {
        let start = self.whole()?;
        self.space();
        if !self.took(':') {
            return start.map(Selector::Index).ok_or_else(|| self.wrong("an index is expected"));
        }
        self.space();
        let end = self.whole()?;
        self.space();
        let mut step = None;
        if self.took(':') {
            self.space();
            step = self.whole()?;
        }
        Ok(Selector::Slice { start, end, step: step.unwrap_or(1) })
    }

    fn quoted(&mut self) -> Result<String, String> {
        let Some(quote) = self.peek() else { return Err(self.wrong("a text is expected")) };
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.peek() else { return Err(self.wrong("a text is not closed")) };
            self.at += 1;
            match c {
                c if c == quote => return Ok(text),
                '\\' => text.push(self.escape(quote)?),
                '\0'..='\u{1f}' => return Err(self.wrong("a control character stands in a text")),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self, quote: char) -> Result<char, String> {
        let Some(c) = self.peek() else { return Err(self.wrong("a text is not closed")) };
        self.at += 1;
        Ok(match c {
            c if c == quote => c,
            '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.hex()?;
                let code = match first {
                    0xd800..=0xdbff => {
                        let second = if self.took_all("\\u") { self.hex()? } else { 0 };
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
        let digits: String = self.text.iter().skip(self.at).take(4).filter(|c| c.is_ascii_hexdigit()).collect();
        self.at += 4;
        if digits.len() < 4 {
            return Err(self.wrong("four hexadecimal digits are expected"));
        }
        u32::from_str_radix(&digits, 16).map_err(|_| self.wrong("four hexadecimal digits are expected"))
    }

    fn any(&mut self, depth: usize) -> Result<Test, String> {
        let mut tests = vec![self.all(depth)?];
        loop {
            self.space();
            if !self.took_all("||") {
                break;
            }
            self.space();
            tests.push(self.all(depth)?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::Any(tests) })
    }

    fn all(&mut self, depth: usize) -> Result<Test, String> {
        let mut tests = vec![self.basic(depth)?];
        loop {
            self.space();
            if !self.took_all("&&") {
                break;
            }
            self.space();
            tests.push(self.basic(depth)?);
        }
        Ok(if tests.len() == 1 { tests.remove(0) } else { Test::All(tests) })
    }

    fn basic(&mut self, depth: usize) -> Result<Test, String> {
        if depth > DEEPEST {
            return Err(self.wrong("more brackets than can be read"));
        }
        let not = self.took('!');
        self.space();
        if self.took('(') {
            self.space();
            let inner = self.any(depth + 1)?;
            self.space();
            if !self.took(')') {
                return Err(self.wrong("`)` is expected"));
            }
            return Ok(if not { Test::Not(Box::new(inner)) } else { inner });
        }
        let left = self.side(depth)?;
        self.space();
        let Some(comparison) = self.comparison() else {
            return match left {
                Side::Query(query) if not => Ok(Test::Not(Box::new(Test::Exists(query)))),
                Side::Query(query) => Ok(Test::Exists(query)),
                _ => Err(self.wrong("a comparison is expected")),
            };
        };
        if not {
            return Err(self.wrong("`!` before a comparison needs brackets: `!(@.a == 1)`"));
        }
        self.space();
        let right = self.side(depth)?;
        for side in [&left, &right] {
            if matches!(side, Side::Query(query) if !query.path.singular()) {
                return Err(self.wrong("only a path to one value can be compared"));
            }
        }
        Ok(Test::Compare(left, comparison, right))
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let all = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        all.into_iter().find(|(word, _)| self.took_all(word)).map(|(_, comparison)| comparison)
    }

    fn side(&mut self, depth: usize) -> Result<Side, String> {
        match self.peek() {
            Some(c @ ('@' | '$')) => {
                self.at += 1;
                Ok(Side::Query(Query { relative: c == '@', path: self.segments(depth + 1)? }))
            }
            Some('\'' | '"') => self.quoted().map(Side::Text),
            Some('-' | '0'..='9') => {
                let start = self.at;
                while matches!(self.peek(), Some('-' | '+' | '.' | 'e' | 'E' | '0'..='9')) {
                    self.at += 1;
                }
                let digits: String = self.text[start..self.at].iter().collect();
                match super::json::parse(&digits).map(|json| json.value) {
                    Ok(Value::Number) => Ok(Side::Number(digits)),
                    _ => Err(self.wrong("this is no number")),
                }
            }
            _ if self.took_all("true") => Ok(Side::Bool(true)),
            _ if self.took_all("false") => Ok(Side::Bool(false)),
            _ if self.took_all("null") => Ok(Side::Null),
            Some('a'..='z') => {
                Err(self
                    .wrong("functions are not part of this subset; `@`, `$`, a text, a number, true, false or null is expected"))
            }
            _ => Err(self.wrong("`@`, `$`, a text, a number, true, false or null is expected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    fn found(path: &str, json: &str) -> Vec<String> {
        let json = parse(json).unwrap();
        Path::parse(path).unwrap().find(&json).unwrap().iter().map(|json| json.raw.to_string()).collect()
    }

    const STORE: &str = r#"{"store": {"book": [
        {"category": "reference", "author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95},
        {"category": "fiction", "author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99},
        {"category": "fiction", "author": "Herman Melville", "title": "Moby Dick", "isbn": "0-553-21311-3", "price": 8.99},
        {"category": "fiction", "author": "J. R. R. Tolkien", "title": "The Lord of the Rings", "isbn": "0-395-19395-8", "price": 22.99}],
        "bicycle": {"color": "red", "price": 399}}}"#;

    #[test]
    fn the_examples_of_rfc_9535_give_what_it_says() {
        assert_eq!(found("$.store.book[*].author", STORE).len(), 4);
        assert_eq!(found("$..author", STORE)[3], "\"J. R. R. Tolkien\"");
        assert_eq!(found("$.store.*", STORE).len(), 2);
        assert_eq!(found("$.store..price", STORE), ["8.95", "12.99", "8.99", "22.99", "399"]);
        assert_eq!(found("$..book[2].title", STORE), ["\"Moby Dick\""]);
        assert_eq!(found("$..book[-1].price", STORE), ["22.99"]);
        assert_eq!(found("$..book[0,1].price", STORE), ["8.95", "12.99"]);
        assert_eq!(found("$..book[:2].price", STORE), ["8.95", "12.99"]);
        assert_eq!(found("$..book[?@.isbn].price", STORE), ["8.99", "22.99"]);
        assert_eq!(found("$..book[?@.price<10].price", STORE), ["8.95", "8.99"]);
        assert_eq!(found("$..*", STORE).len(), 27);
    }

    #[test]
    fn slices_are_those_of_the_rfc() {
        let list = r#"["a", "b", "c", "d", "e", "f", "g"]"#;
        let all = |path: &str| found(path, list).concat().replace('"', "");
        assert_eq!(all("$[1:3]"), "bc");
        assert_eq!(all("$[5:]"), "fg");
        assert_eq!(all("$[1:5:2]"), "bd");
        assert_eq!(all("$[5:1:-2]"), "fd");
        assert_eq!(all("$[::-1]"), "gfedcba");
        assert_eq!(all("$[1:5:0]"), "");
        assert_eq!(all("$[-2:]"), "fg");
        assert_eq!(all("$[99]"), "");
    }

    #[test]
    fn comparisons_are_those_of_the_rfc() {
        let holds = |test: &str| {
            !found(&format!("$[?{test}]"), r#"[{"obj": {"x": "y"}, "arr": [2, 3], "n": 1.0, "big": 12345678901234567890}]"#)
                .is_empty()
        };
        for test in [
            "@.absent1 == @.absent2",
            "@.absent1 <= @.absent2",
            "@.obj == @.obj",
            "@.arr != 3",
            "@.n == 1",
            "'a' < 'b'",
            "13 == 13.0",
            "@.obj != @.arr",
            "true != 'true'",
            "@.n >= 1 && !(@.n > 1)",
            "@.big == 12345678901234567890",
            "@.big != 12345678901234567891",
            "@.arr[1] == 3 || @.zzz",
            "!@.zzz",
        ] {
            assert!(holds(test), "{test}");
        }
        for test in ["@.absent == 'g'", "@.obj == 'x'", "@.arr <= 1", "1 <= '1'", "true <= false", "@.absent < 1", "13 == '13'"] {
            assert!(!holds(test), "{test}");
        }
    }

    #[test]
    fn names_in_quotes_may_be_anything() {
        let json = r#"{"a.b": 1, "it's": 2, "\u263a": 3, "": 4}"#;
        assert_eq!(found(r#"$['a.b', "it's", '\u263A', '']"#, json), ["1", "2", "3", "4"]);
        assert_eq!(found("$.☺", json), ["3"]);
    }

    #[test]
    fn a_mistake_is_told_by_its_place() {
        for (path, told) in [
            ("a.b", "begins with `$`, at character 1"),
            ("$.", "a name or `*`"),
            ("$.a-b", "`.` or `[`"),
            ("$[01]", "no index"),
            ("$['a'", "`,` or `]`"),
            ("$[?length(@.a) > 1]", "functions are not part"),
            ("$[?@.* == 1]", "one value"),
            ("$[?!@.a == 1]", "brackets"),
            ("$[?1]", "a comparison"),
            ("$['a]", "not closed"),
        ] {
            let error = Path::parse(path).unwrap_err();
            assert!(error.contains(told), "{path}: {error}");
        }
        assert!(Path::parse(&format!("${}", "[?@".repeat(1000))).is_err());
    }

    #[test]
    fn a_name_that_is_there_twice_is_not_chosen_from() {
        let json = parse(r#"{"a": 1, "a": 2}"#).unwrap();
        assert!(Path::parse("$.a").unwrap().find(&json).unwrap_err().contains("twice"));
        assert_eq!(Path::parse("$.*").unwrap().find(&json).unwrap().len(), 2);
    }
}
