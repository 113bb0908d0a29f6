//! Bytes of a cell in the log → what they mean, and the form that the same value has in a row of the binary protocol. No character sets, no JSON.

use super::cells::{decimal_bytes, fraction_bytes};

/// A day and time; all zero is the zero date.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Moment {
    pub year: u16,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
}

/// A span of time of either sign.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Span {
    pub negative: bool,
    pub hours: u32,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
}

fn big_endian(raw: &[u8]) -> u64 {
    raw.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Microseconds of a fraction in so many bytes.
fn micros(fraction: u64, bytes: usize) -> u32 {
    let scale = match bytes {
        1 => 10_000,
        2 => 100,
        _ => 1,
    };
    (fraction * scale) as u32
}

/// A number of so many bytes, low byte first.
pub(super) fn little_endian(raw: &[u8]) -> u64 {
    raw.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(super) fn date(raw: &[u8]) -> Moment {
    let packed = little_endian(raw);
    Moment { year: (packed >> 9) as u16, month: (packed >> 5 & 15) as u8, day: (packed & 31) as u8, ..Moment::default() }
}

pub(super) fn date_time(raw: &[u8], digits: u16) -> Moment {
    let bytes = fraction_bytes(digits);
    let packed = big_endian(raw);
    let (whole, fraction) = (packed >> (8 * bytes), packed & ((1 << (8 * bytes)) - 1));
    packed_moment(whole & 0x7f_ffff_ffff, micros(fraction, bytes))
}

/// From the 39 bits that hold everything but the fraction.
pub(super) fn packed_moment(packed: u64, micros: u32) -> Moment {
    let months = packed >> 22;
    Moment {
        year: (months / 13) as u16,
        month: (months % 13) as u8,
        day: (packed >> 17 & 31) as u8,
        hour: (packed >> 12 & 31) as u8,
        minute: (packed >> 6 & 63) as u8,
        second: (packed & 63) as u8,
        micros,
    }
}

/// A timestamp is counted in UTC.
pub(super) fn timestamp(raw: &[u8], digits: u16) -> Moment {
    let bytes = fraction_bytes(digits);
    let packed = big_endian(raw);
    let (seconds, fraction) = (packed >> (8 * bytes), packed & ((1 << (8 * bytes)) - 1));
    if packed == 0 {
        return Moment::default();
    }
    let (year, month, day) = weir_formats::civil((seconds / 86_400) as i64);
    let of_day = seconds % 86_400;
    Moment {
        year: year as u16,
        month: month as u8,
        day: day as u8,
        hour: (of_day / 3600) as u8,
        minute: (of_day / 60 % 60) as u8,
        second: (of_day % 60) as u8,
        micros: micros(fraction, bytes),
    }
}

pub(super) fn time(raw: &[u8], digits: u16) -> Span {
    let bytes = fraction_bytes(digits);
    // Whole and fraction are one number, moved so that it is never negative.
    let number = big_endian(raw) as i64 - (0x80_0000_i64 << (8 * bytes));
    let size = number.unsigned_abs();
    packed_span(number < 0, size >> (8 * bytes), micros(size & ((1 << (8 * bytes)) - 1), bytes))
}

/// From the bits that hold hours, minutes and seconds.
pub(super) fn packed_span(negative: bool, packed: u64, micros: u32) -> Span {
    Span { negative, hours: (packed >> 12 & 0x3ff) as u32, minute: (packed >> 6 & 63) as u8, second: (packed & 63) as u8, micros }
}

impl Moment {
    /// As a date or a date with time stands in a binary row, after its length.
    pub(super) fn put(&self, out: &mut Vec<u8>, only_date: bool) {
        if *self == Self::default() {
            out.push(0);
            return;
        }
        let clock = (self.hour, self.minute, self.second) != (0, 0, 0);
        let length = match (only_date, clock, self.micros) {
            (true, ..) | (_, false, 0) => 4,
            (_, _, 0) => 7,
            _ => 11,
        };
        let year = self.year.to_le_bytes();
        out.extend_from_slice(&[length, year[0], year[1], self.month, self.day]);
        if length > 4 {
            out.extend_from_slice(&[self.hour, self.minute, self.second]);
        }
        if length > 7 {
            out.extend_from_slice(&self.micros.to_le_bytes());
        }
    }
}

impl Span {
    /// As it stands in a binary row, after its length.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        if (self.hours, self.minute, self.second, self.micros) == (0, 0, 0, 0) {
            out.push(0);
            return;
        }
        out.push(if self.micros == 0 { 8 } else { 12 });
        out.push(u8::from(self.negative));
        out.extend_from_slice(&(self.hours / 24).to_le_bytes());
        out.extend_from_slice(&[(self.hours % 24) as u8, self.minute, self.second]);
        if self.micros != 0 {
            out.extend_from_slice(&self.micros.to_le_bytes());
        }
    }
}

/// A decimal as the server prints it: all digits after the point, none but one zero before it that need not be. `None` if it is none.
pub(super) fn decimal(raw: &[u8], precision: usize, scale: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = [0_u8; 40];
    let length = decimal_bytes(precision, scale)?;
    if raw.len() != length || length == 0 || length > bytes.len() {
        return None;
    }
    let bytes = &mut bytes[..length];
    bytes.copy_from_slice(raw);
    // The first bit is the sign, inverted; of a negative number all bits are.
    let negative = bytes[0] & 0x80 == 0;
    bytes[0] ^= 0x80;
    if negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let whole = precision - scale;
    let mut at = 0;
    let mut group = |digits: usize| {
        let size = decimal_bytes(digits, 0)?;
        let number = big_endian(bytes.get(at..at + size)?);
        at += size;
        (number < 10_u64.pow(digits as u32)).then_some(number)
    };
    if negative {
        out.push(b'-');
    }
    let begin = out.len();
    let put = |number: u64, digits: usize, out: &mut Vec<u8>| {
        let mut text = [b'0'; 9];
        let mut rest = number;
        for place in text[..digits].iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let leading = if out.len() == begin { text[..digits].iter().take_while(|digit| **digit == b'0').count() } else { 0 };
        out.extend_from_slice(&text[leading..digits]);
    };
    if !whole.is_multiple_of(9) {
        put(group(whole % 9)?, whole % 9, out);
    }
    for _ in 0..whole / 9 {
        put(group(9)?, 9, out);
    }
    if out.len() == begin {
        out.push(b'0');
    }
    if scale > 0 {
        out.push(b'.');
        for _ in 0..scale / 9 {
            put(group(9)?, 9, out);
        }
        if !scale.is_multiple_of(9) {
            put(group(scale % 9)?, scale % 9, out);
        }
    }
    Some(())
}

/// The text of a UUID of MariaDB, which stores those with a time in it in an order of its own.
pub(super) fn uuid(stored: &[u8; 16]) -> String {
    let s = stored;
    // A variant where the clock stands in the turned order, and a version below 6 where the version does.
    let turned = s[6] & 0x80 != 0 && s[8] > 0 && s[8] < 0x60;
    let plain = if turned {
        [s[12], s[13], s[14], s[15], s[10], s[11], s[8], s[9], s[6], s[7], s[0], s[1], s[2], s[3], s[4], s[5]]
    } else {
        *s
    };
    uuid::Uuid::from_bytes(plain).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_times_with_fractions_are_read_back() {
        // -00:00:01.50 with two digits: one second and a half below the middle.
        let number = (0x80_0000_u64 << 8) - (1 << 8 | 50);
        let span = time(&number.to_be_bytes()[4..], 2);
        assert_eq!(span, Span { negative: true, hours: 0, minute: 0, second: 1, micros: 500_000 });
        let mut out = Vec::new();
        span.put(&mut out);
        assert_eq!(out, [12, 1, 0, 0, 0, 0, 0, 0, 1, 0x20, 0xa1, 7, 0]);
    }

    #[test]
    fn decimals_have_all_their_digits_and_no_more() {
        let text = |raw: &[u8], precision, scale| {
            let mut out = Vec::new();
            decimal(raw, precision, scale, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(text(&[0x80, 0, 0, 1, 5], 10, 2).as_deref(), Some("1.05"));
        assert_eq!(text(&[0x7f, 0xff, 0xff, 0xfe, 0xfa], 10, 2).as_deref(), Some("-1.05"));
        assert_eq!(text(&[0x80], 2, 2).as_deref(), Some("0.00"));
        // A group of nine digits that has ten, and one of two that has three.
        assert_eq!(text(&[0xff, 0xff, 0xff, 0xff, 0xff], 10, 2), None);
        assert_eq!(text(&[0x80, 0, 0, 1, 100], 10, 2), None);
        assert_eq!(text(&[0x80], 10, 2), None);
    }
}
