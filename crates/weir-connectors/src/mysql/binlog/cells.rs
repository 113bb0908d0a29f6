//! Where a cell of a row image begins and ends, by its column's type. No meaning of the bytes here.

use super::super::wire::Reader;

/// Types of columns as the log knows them: those of a result, and the log's own.
pub mod kind {
    #![allow(missing_docs)]
    pub use super::super::super::client::kind::*;

    pub const NEWDATE: u8 = 14;
    pub const VARCHAR: u8 = 15;
    pub const TIMESTAMP2: u8 = 17;
    pub const DATETIME2: u8 = 18;
    pub const TIME2: u8 = 19;
    pub const TYPED_ARRAY: u8 = 20;
    pub const BLOB_COMPRESSED: u8 = 140;
    pub const VARCHAR_COMPRESSED: u8 = 141;
    pub const VECTOR: u8 = 242;
    pub const ENUM: u8 = 247;
    pub const SET: u8 = 248;
    pub const TINY_BLOB: u8 = 249;
    pub const MEDIUM_BLOB: u8 = 250;
    pub const LONG_BLOB: u8 = 251;
    pub const BLOB: u8 = 252;
    pub const STRING: u8 = 254;
}

/// Bytes of so many decimal digits that are not a multiple of nine.
const DIGIT_BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// Bytes of a decimal with so many digits in all and after the point.
pub(super) fn decimal_bytes(precision: usize, scale: usize) -> Option<usize> {
    let whole = precision.checked_sub(scale)?;
    Some(whole / 9 * 4 + DIGIT_BYTES[whole % 9] + scale / 9 * 4 + DIGIT_BYTES[scale % 9])
}

fn prefixed<'a>(reader: &mut Reader<'a>, bytes: usize) -> Option<&'a [u8]> {
    let length = match bytes {
        1 => reader.byte()?.into(),
        2 => u16::from_le_bytes(reader.array()?).into(),
        3 => {
            let [a, b, c] = reader.array()?;
            u32::from_le_bytes([a, b, c, 0]) as usize
        }
        4 => u32::from_le_bytes(reader.array()?) as usize,
        _ => return None,
    };
    reader.bytes(length)
}

/// The bytes of the next cell, without the length before them. `None` if the row is cut, or of a type whose length is unknown.
#[inline]
pub(super) fn take<'a>(reader: &mut Reader<'a>, kind: u8, meta: u16) -> Option<&'a [u8]> {
    let fixed = match kind {
        kind::TINY | kind::YEAR => 1,
        kind::SHORT => 2,
        kind::INT24 | kind::DATE | kind::NEWDATE | kind::TIME => 3,
        kind::LONG | kind::FLOAT | kind::TIMESTAMP => 4,
        kind::LONGLONG | kind::DOUBLE | kind::DATETIME => 8,
        kind::NULL => 0,
        kind::VARCHAR | kind::VAR_STRING | kind::VARCHAR_COMPRESSED | kind::STRING => {
            return prefixed(reader, if meta > 255 { 2 } else { 1 });
        }
        kind::BLOB | kind::TINY_BLOB | kind::MEDIUM_BLOB | kind::LONG_BLOB => return prefixed(reader, meta.into()),
        kind::JSON | kind::GEOMETRY | kind::VECTOR | kind::BLOB_COMPRESSED => return prefixed(reader, meta.into()),
        kind::NEWDECIMAL => decimal_bytes((meta & 0xff).into(), (meta >> 8).into())?,
        kind::BIT => (usize::from(meta >> 8) * 8 + usize::from(meta & 0xff)).div_ceil(8),
        kind::ENUM | kind::SET => meta.into(),
        kind::TIME2 => 3 + fraction_bytes(meta),
        kind::DATETIME2 => 5 + fraction_bytes(meta),
        kind::TIMESTAMP2 => 4 + fraction_bytes(meta),
        _ => return None,
    };
    reader.bytes(fixed)
}

/// Bytes of a fraction of a second of so many digits.
pub(super) fn fraction_bytes(digits: u16) -> usize {
    usize::from(digits.min(6)).div_ceil(2)
}
