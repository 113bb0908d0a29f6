//! MySQL's binary form of JSON → the text that the server prints of it.
//!
//! The form: a type byte, then for objects and arrays a table of entries with offsets into the same value. An offset may point anywhere, so what is
//! read is counted: all parts together are never longer than the whole, unless somebody made the bytes to do harm.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::wire::Reader;
use super::cells::kind as field;
use super::text;
use super::values;

/// Types of values.
pub(super) mod kind {
    #![allow(missing_docs)]
    pub const SMALL_OBJECT: u8 = 0;
    pub const LARGE_OBJECT: u8 = 1;
    pub const LARGE_ARRAY: u8 = 3;
    pub const LITERAL: u8 = 4;
    pub const INT16: u8 = 5;
    pub const UINT16: u8 = 6;
    pub const INT32: u8 = 7;
    pub const UINT32: u8 = 8;
    pub const INT64: u8 = 9;
    pub const UINT64: u8 = 10;
    pub const DOUBLE: u8 = 11;
    pub const STRING: u8 = 12;
    pub const OPAQUE: u8 = 15;
}

/// The server nests no deeper than 100.
const DEPTH: usize = 128;

/// An object or array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container<'a> {
    bytes: &'a [u8],
    pub object: bool,
    large: bool,
    pub count: usize,
}

impl<'a> Container<'a> {
    /// From the type and what follows it; `None` if it is a scalar or cut.
    pub(super) fn open(kind: u8, bytes: &'a [u8]) -> Option<Self> {
        let large = matches!(kind, kind::LARGE_OBJECT | kind::LARGE_ARRAY);
        let object = matches!(kind, kind::SMALL_OBJECT | kind::LARGE_OBJECT);
        let mut new = Self { bytes, object, large, count: 0 };
        new.count = new.number(0)?;
        let size = new.number(new.width())?;
        new.bytes = bytes.get(..size)?;
        let entry = 1 + new.width() + if object { new.width() + 2 } else { 0 };
        (new.count.checked_mul(entry)? <= size).then_some(new)
    }

    fn width(&self) -> usize {
        if self.large { 4 } else { 2 }
    }

    fn number(&self, at: usize) -> Option<usize> {
        Some(values::little_endian(self.bytes.get(at..at + self.width())?) as usize)
    }

    /// Key of an object's entry.
    pub(super) fn key(&self, at: usize) -> Option<&'a [u8]> {
        let entry = 2 * self.width() + at * (self.width() + 2);
        let offset = self.number(entry)?;
        let length = self.bytes.get(entry + self.width()..entry + self.width() + 2)?;
        self.bytes.get(offset..)?.get(..values::little_endian(length) as usize)
    }

    /// Type and bytes of a value; what belongs to other values may follow them.
    pub(super) fn value(&self, at: usize) -> Option<(u8, &'a [u8])> {
        let keys = if self.object { self.count * (self.width() + 2) } else { 0 };
        let entry = 2 * self.width() + keys + at * (1 + self.width());
        let kind = *self.bytes.get(entry)?;
        let inlined = match kind {
            kind::LITERAL | kind::INT16 | kind::UINT16 => true,
            kind::INT32 | kind::UINT32 => self.large,
            _ => false,
        };
        let bytes = if inlined {
            self.bytes.get(entry + 1..entry + 1 + self.width())?
        } else {
            self.bytes.get(self.number(entry + 1)?..)?
        };
        Some((kind, bytes))
    }
}

pub(super) fn is_container(kind: u8) -> bool {
    kind <= kind::LARGE_ARRAY
}

/// The text of a value of a column. `None` if the bytes are not JSON in that form.
pub(super) fn print(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // What a column has that was never given a value.
    let Some((kind, rest)) = bytes.split_first() else {
        out.extend_from_slice(b"null");
        return Some(());
    };
    Printer { left: bytes.len() }.value(*kind, rest, out, 0)
}

/// Counts what is read against the size of the whole.
pub(super) struct Printer {
    left: usize,
}

impl Printer {
    fn value(&mut self, kind: u8, bytes: &[u8], out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if !is_container(kind) {
            self.left = self.left.checked_sub(scalar(kind, bytes, out)?)?;
            return Some(());
        }
        if depth == DEPTH {
            return None;
        }
        let container = Container::open(kind, bytes)?;
        self.left = self.left.checked_sub(2 * container.width())?;
        out.push(if container.object { b'{' } else { b'[' });
        for at in 0..container.count {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            self.left = self.left.checked_sub(1)?;
            if container.object {
                let key = container.key(at)?;
                self.left = self.left.checked_sub(key.len())?;
                quote(key, out);
                out.extend_from_slice(b": ");
            }
            let (kind, bytes) = container.value(at)?;
            self.value(kind, bytes, out, depth + 1)?;
        }
        out.push(if container.object { b'}' } else { b']' });
        Some(())
    }
}

/// A length in groups of seven bits.
fn long_length(reader: &mut Reader<'_>) -> Option<usize> {
    let mut length = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = reader.byte()?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return usize::try_from(length).ok().filter(|_| length <= u64::from(u32::MAX));
        }
    }
    None
}

/// Prints a scalar. How many bytes it took, without inlined ones.
pub(super) fn scalar(kind: u8, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut reader = Reader(bytes);
    let mut taken = 0;
    let number = match kind {
        kind::LITERAL => match reader.byte()? {
            0 => "null".into(),
            1 => "true".into(),
            2 => "false".into(),
            _ => return None,
        },
        kind::INT16 => i16::from_le_bytes(reader.array()?).to_string(),
        kind::UINT16 => u16::from_le_bytes(reader.array()?).to_string(),
        kind::INT32 => i32::from_le_bytes(reader.array()?).to_string(),
        kind::UINT32 => u32::from_le_bytes(reader.array()?).to_string(),
        kind::INT64 => i64::from_le_bytes(reader.array()?).to_string(),
        kind::UINT64 => u64::from_le_bytes(reader.array()?).to_string(),
        kind::DOUBLE => {
            let mut text = text::double(f64::from_le_bytes(reader.array()?), usize::MAX);
            // It stays told apart from an integer.
            if !text.contains(['.', 'e']) {
                text.push_str(".0");
            }
            text
        }
        kind::STRING => {
            let length = long_length(&mut reader)?;
            quote(reader.bytes(length)?, out);
            return Some(length);
        }
        kind::OPAQUE => {
            let of = reader.byte()?;
            let length = long_length(&mut reader)?;
            taken = length;
            opaque(of, reader.bytes(length)?)?
        }
        _ => return None,
    };
    out.extend_from_slice(number.as_bytes());
    Some(taken)
}

/// A value of one of the server's own types.
fn opaque(of: u8, bytes: &[u8]) -> Option<String> {
    Some(match of {
        field::NEWDECIMAL => {
            let (precision, rest) = bytes.split_first()?;
            let (scale, rest) = rest.split_first()?;
            let mut out = Vec::new();
            if precision < scale || *precision > 65 {
                return None;
            }
            values::decimal(rest, (*precision).into(), (*scale).into(), &mut out)?;
            String::from_utf8(out).ok()?
        }
        field::DATE | field::DATETIME | field::TIMESTAMP => {
            let packed = i64::from_le_bytes(bytes.try_into().ok()?);
            let moment = values::packed_moment(packed.unsigned_abs() >> 24 & 0x7f_ffff_ffff, (packed & 0xff_ffff) as u32);
            format!("\"{}\"", text::moment(&moment, of == field::DATE, 6))
        }
        field::TIME => {
            let packed = i64::from_le_bytes(bytes.try_into().ok()?);
            let size = packed.unsigned_abs();
            let span = values::packed_span(packed < 0, size >> 24, (size & 0xff_ffff) as u32);
            format!("\"{}\"", text::span(&span, 6))
        }
        other => format!("\"base64:type{other}:{}\"", STANDARD.encode(bytes)),
    })
}

/// Text between quotes, with the escapes that the server writes.
pub(super) fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain = 0;
    for (at, byte) in text.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            8 => b"\\b",
            12 => b"\\f",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f => b"\\u00",
            _ => continue,
        };
        out.extend_from_slice(&text[plain..at]);
        plain = at + 1;
        out.extend_from_slice(escape);
        if escape == b"\\u00" {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
    out.extend_from_slice(&text[plain..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_point_at_themselves_end_in_an_error() {
        // An array of 10 entries, each of them the array itself.
        let mut bytes = vec![2, 10, 0, 34, 0];
        for _ in 0..10 {
            bytes.extend_from_slice(&[2, 0, 0]);
        }
        assert_eq!(print(&bytes, &mut Vec::new()), None);
        let text = |bytes: &[u8]| {
            let mut out = Vec::new();
            print(bytes, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(text(&[2, 2, 0, 10, 0, 5, 0xff, 0xff, 4, 1, 0]).as_deref(), Some("[-1, true]"));
        assert_eq!(text(&[]).as_deref(), Some("null"));
        assert_eq!(text(&[12, 4, b'"', 1, 0x7f, b'\n']).as_deref(), Some("\"\\\"\\u0001\u{7f}\\n\""));
    }
}
