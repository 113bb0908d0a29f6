//! BSON as bytes: reading one element after the other without building objects, and writing. bsonspec.org, version 1.1.
//!
//! Reading never panics and never reads outside of the slice: whatever is wrong is a [`Malformed`].

use std::fmt;

/// The deepest nesting that is followed; the server itself stores 100 levels.
pub const DEPTH: usize = 200;

/// Why bytes are no BSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn bad<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
}

/// One value, borrowed. Documents and arrays are whole, with length and terminator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// 0x01
    Double(f64),
    /// 0x02
    String(&'a str),
    /// 0x03
    Document(&'a [u8]),
    /// 0x04
    Array(&'a [u8]),
    /// 0x05: subtype and bytes
    Binary(u8, &'a [u8]),
    /// 0x06, deprecated
    Undefined,
    /// 0x07
    ObjectId([u8; 12]),
    /// 0x08
    Bool(bool),
    /// 0x09: milliseconds since 1970
    Date(i64),
    /// 0x0a
    Null,
    /// 0x0b: pattern and options
    Regex(&'a str, &'a str),
    /// 0x0c, deprecated
    DbPointer(&'a str, [u8; 12]),
    /// 0x0d
    JavaScript(&'a str),
    /// 0x0e, deprecated
    Symbol(&'a str),
    /// 0x0f: code and scope, deprecated
    CodeWithScope(&'a str, &'a [u8]),
    /// 0x10
    Int32(i32),
    /// 0x11: seconds and increment
    Timestamp(u32, u32),
    /// 0x12
    Int64(i64),
    /// 0x13: IEEE 754-2008, little-endian
    Decimal128([u8; 16]),
    /// 0xff
    MinKey,
    /// 0x7f
    MaxKey,
}

impl Value<'_> {
    /// The server's own name of the type (`$type`).
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Document(_) => "object",
            Self::Array(_) => "array",
            Self::Binary(..) => "binData",
            Self::Undefined => "undefined",
            Self::ObjectId(_) => "objectId",
            Self::Bool(_) => "bool",
            Self::Date(_) => "date",
            Self::Null => "null",
            Self::Regex(..) => "regex",
            Self::DbPointer(..) => "dbPointer",
            Self::JavaScript(_) => "javascript",
            Self::Symbol(_) => "symbol",
            Self::CodeWithScope(..) => "javascriptWithScope",
            Self::Int32(_) => "int",
            Self::Timestamp(..) => "timestamp",
            Self::Int64(_) => "long",
            Self::Decimal128(_) => "decimal",
            Self::MinKey => "minKey",
            Self::MaxKey => "maxKey",
        }
    }
}

/// The elements of a document or array, in order. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
    done: bool,
}

/// Opens a document: its length and terminator must fit the slice exactly.
pub fn elements(document: &[u8]) -> Result<Elements<'_>, Malformed> {
    let Some(head) = document.first_chunk::<4>() else { return bad("a document of less than 5 bytes") };
    let length = i32::from_le_bytes(*head);
    if usize::try_from(length).ok() != Some(document.len()) || length < 5 {
        return bad(format!("a document that says it has {length} bytes and has {}", document.len()));
    }
    if document.last() != Some(&0) {
        return bad("a document without its last zero byte");
    }
    Ok(Elements { rest: &document[4..document.len() - 1], done: false })
}

/// The value of a field, the first one of that name.
pub fn get<'a>(document: &'a [u8], name: &str) -> Result<Option<Value<'a>>, Malformed> {
    for element in elements(document)? {
        let (key, value) = element?;
        if key == name {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

impl<'a> Elements<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        if count > self.rest.len() {
            return bad(format!("{count} bytes are needed where {} are left", self.rest.len()));
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.take(N)?;
        taken.try_into().or_else(|_| bad("too few bytes"))
    }

    fn length(&mut self) -> Result<usize, Malformed> {
        let length = i32::from_le_bytes(self.array()?);
        usize::try_from(length).or_else(|_| bad(format!("a negative length, {length}")))
    }

    fn cstring(&mut self) -> Result<&'a str, Malformed> {
        let Some(end) = self.rest.iter().position(|byte| *byte == 0) else { return bad("a name without an end") };
        let text = self.take(end)?;
        self.take(1)?;
        std::str::from_utf8(text).or_else(|error| bad(format!("a name is not UTF-8: {error}")))
    }

    fn string(&mut self) -> Result<&'a str, Malformed> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        match bytes.split_last() {
            Some((0, text)) => std::str::from_utf8(text).or_else(|error| bad(format!("a string is not UTF-8: {error}"))),
            _ => bad("a string without its last zero byte"),
        }
    }

    fn document(&mut self) -> Result<&'a [u8], Malformed> {
        let Some(head) = self.rest.first_chunk::<4>() else { return bad("a nested document is cut off") };
        match usize::try_from(i32::from_le_bytes(*head)) {
            Ok(length) if length >= 5 => self.take(length),
            _ => bad("a nested document of an impossible length"),
        }
    }

    fn value(&mut self, tag: u8) -> Result<Value<'a>, Malformed> {
        Ok(match tag {
            0x01 => Value::Double(f64::from_le_bytes(self.array()?)),
            0x02 => Value::String(self.string()?),
            0x03 => Value::Document(self.document()?),
            0x04 => Value::Array(self.document()?),
            0x05 => {
                let length = self.length()?;
                let [subtype] = self.array()?;
                let bytes = self.take(length)?;
                match (subtype, bytes.split_first_chunk::<4>()) {
                    // The old binary subtype has its length twice.
                    (2, Some((inner, rest))) if usize::try_from(i32::from_le_bytes(*inner)).ok() == Some(rest.len()) => {
                        Value::Binary(2, rest)
                    }
                    (2, _) => return bad("binary of subtype 2 with two different lengths"),
                    _ => Value::Binary(subtype, bytes),
                }
            }
            0x06 => Value::Undefined,
            0x07 => Value::ObjectId(self.array()?),
            0x08 => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => return bad(format!("a boolean of {other}")),
            },
            0x09 => Value::Date(i64::from_le_bytes(self.array()?)),
            0x0a => Value::Null,
            0x0b => Value::Regex(self.cstring()?, self.cstring()?),
            0x0c => Value::DbPointer(self.string()?, self.array()?),
            0x0d => Value::JavaScript(self.string()?),
            0x0e => Value::Symbol(self.string()?),
            0x0f => {
                let (before, total) = (self.rest.len(), self.length()?);
                let (code, scope) = (self.string()?, self.document()?);
                if before - self.rest.len() != total {
                    return bad("code with scope of a wrong length");
                }
                Value::CodeWithScope(code, scope)
            }
            0x10 => Value::Int32(i32::from_le_bytes(self.array()?)),
            0x11 => {
                let both = u64::from_le_bytes(self.array()?);
                Value::Timestamp((both >> 32) as u32, both as u32)
            }
            0x12 => Value::Int64(i64::from_le_bytes(self.array()?)),
            0x13 => Value::Decimal128(self.array()?),
            0xff => Value::MinKey,
            0x7f => Value::MaxKey,
            other => return bad(format!("there is no type 0x{other:02x}")),
        })
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<(&'a str, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done || self.rest.is_empty() {
            return None;
        }
        let mut element = || {
            let [tag] = self.array()?;
            let name = self.cstring()?;
            let value = self.value(tag).map_err(|Malformed(why)| Malformed(format!("field `{name}`: {why}")))?;
            Ok((name, value))
        };
        let element = element();
        self.done = element.is_err();
        Some(element)
    }
}

/// Walks everything that a document holds, so that later readers meet no surprise.
pub fn check(document: &[u8]) -> Result<(), Malformed> {
    fn walk(document: &[u8], depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH {
            return bad(format!("nested deeper than {DEPTH} levels"));
        }
        for element in elements(document)? {
            match element?.1 {
                Value::Document(inner) | Value::Array(inner) | Value::CodeWithScope(_, inner) => walk(inner, depth + 1)?,
                _ => {}
            }
        }
        Ok(())
    }
    walk(document, 0)
}

/// A document that is being written.
#[derive(Debug, Clone)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self { bytes: vec![0; 4] }
    }
}

impl Writer {
    /// Adds an element. A name with a zero byte has no place in BSON.
    pub fn put(&mut self, name: &str, value: Value<'_>) -> Result<(), Malformed> {
        if name.contains('\0') {
            return bad("a field name holds a zero byte");
        }
        let out = &mut self.bytes;
        let at = out.len();
        out.push(0);
        out.extend(name.as_bytes());
        out.push(0);
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as i32 + 1).to_le_bytes());
            out.extend(text.as_bytes());
            out.push(0);
        };
        out[at] = match value {
            Value::Double(value) => {
                out.extend(value.to_le_bytes());
                0x01
            }
            Value::String(value) => {
                text(out, value);
                0x02
            }
            Value::Document(value) => {
                out.extend(value);
                0x03
            }
            Value::Array(value) => {
                out.extend(value);
                0x04
            }
            Value::Binary(subtype, value) => {
                let twice = if subtype == 2 { 4 } else { 0 };
                out.extend((value.len() as i32 + twice).to_le_bytes());
                out.push(subtype);
                if subtype == 2 {
                    out.extend((value.len() as i32).to_le_bytes());
                }
                out.extend(value);
                0x05
            }
            Value::Undefined => 0x06,
            Value::ObjectId(value) => {
                out.extend(value);
                0x07
            }
            Value::Bool(value) => {
                out.push(u8::from(value));
                0x08
            }
            Value::Date(value) => {
                out.extend(value.to_le_bytes());
                0x09
            }
            Value::Null => 0x0a,
            Value::Regex(pattern, options) => {
                if pattern.contains('\0') || options.contains('\0') {
                    return bad("a regular expression holds a zero byte");
                }
                for part in [pattern, options] {
                    out.extend(part.as_bytes());
                    out.push(0);
                }
                0x0b
            }
            Value::DbPointer(namespace, id) => {
                text(out, namespace);
                out.extend(id);
                0x0c
            }
            Value::JavaScript(value) => {
                text(out, value);
                0x0d
            }
            Value::Symbol(value) => {
                text(out, value);
                0x0e
            }
            Value::CodeWithScope(code, scope) => {
                out.extend((4 + 4 + code.len() as i32 + 1 + scope.len() as i32).to_le_bytes());
                text(out, code);
                out.extend(scope);
                0x0f
            }
            Value::Int32(value) => {
                out.extend(value.to_le_bytes());
                0x10
            }
            Value::Timestamp(seconds, increment) => {
                out.extend(((u64::from(seconds) << 32) | u64::from(increment)).to_le_bytes());
                0x11
            }
            Value::Int64(value) => {
                out.extend(value.to_le_bytes());
                0x12
            }
            Value::Decimal128(value) => {
                out.extend(value);
                0x13
            }
            Value::MinKey => 0xff,
            Value::MaxKey => 0x7f,
        };
        Ok(())
    }

    /// The document.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(0);
        let length = self.bytes.len() as i32;
        self.bytes[..4].copy_from_slice(&length.to_le_bytes());
        self.bytes
    }
}

/// Whether the server holds two `_id` for the same: the same bytes, or equal numbers of different types.
pub fn same_key(a: Value<'_>, b: Value<'_>) -> bool {
    let number = |value| match value {
        Value::Int32(value) => Some(i128::from(value)),
        Value::Int64(value) => Some(i128::from(value)),
        Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e30 => Some(value as i128),
        _ => None,
    };
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => match (a, b) {
            (Value::Double(a), Value::Double(b)) => a == b || (a.is_nan() && b.is_nan()),
            _ => a == b,
        },
    }
}
