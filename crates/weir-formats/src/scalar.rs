//! Texts to values: numbers, dates, timestamps. Exact or nothing: a text that the type cannot hold as it stands is `None`.
//!
//! `strict` parsers are for inferred types: they take only the canonical spelling, so that `007` in a column that
//! looked like whole numbers is told, not turned into 7. Declared types take what people write.

use arrow::datatypes::{TimeUnit, i256};

/// `true`/`false` in any one case; lenient also `t`, `yes`, `1`, ….
#[inline]
pub(crate) fn parse_bool(text: &[u8], strict: bool) -> Option<bool> {
    match text {
        b"true" | b"True" | b"TRUE" => Some(true),
        b"false" | b"False" | b"FALSE" => Some(false),
        _ if strict => None,
        b"t" | b"T" | b"y" | b"Y" | b"yes" | b"Yes" | b"YES" | b"1" => Some(true),
        b"f" | b"F" | b"n" | b"N" | b"no" | b"No" | b"NO" | b"0" => Some(false),
        _ => None,
    }
}

/// A whole number. Strict: no `+`, no leading zeros, no `-0`.
#[inline]
pub(crate) fn parse_i64(text: &[u8], strict: bool) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] if !strict => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 19 {
        // Longer ones may still fit with leading zeros.
        return if strict || digits.is_empty() { None } else { i64::try_from(parse_i128(text)?).ok() };
    }
    if strict && digits[0] == b'0' && (negative || digits.len() > 1) {
        return None;
    }
    let mut value: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits fit a u64.
        value = value * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// A whole number of up to 38 digits.
pub(crate) fn parse_i128(text: &[u8]) -> Option<i128> {
    let valid = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    if valid.is_empty() || !valid.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A whole number without sign.
#[inline]
pub(crate) fn parse_u64(text: &[u8], strict: bool) -> Option<u64> {
    match parse_i64(text, strict) {
        Some(value) => u64::try_from(value).ok(),
        None if text.len() >= 19 && (!strict || text[0].is_ascii_digit() && text[0] != b'0') => {
            u64::try_from(parse_i128(text)?).ok()
        }
        None => None,
    }
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
    1e22,
];

/// A floating point number, correctly rounded. Strict: no `+`, no leading zeros, at most 17 significant digits
/// and only if they are those of the double (`9007199254740993` is not); `NaN`, `inf` in
/// their usual spellings in either case. A finite text beyond the range is `None`, not infinity.
#[inline]
pub(crate) fn parse_f64(text: &[u8], strict: bool) -> Option<f64> {
    // Most numbers: digits and a point, a mantissa below 2^53 and a power of ten that is exact.
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.len() <= 17 && !digits.is_empty() {
        let mut mantissa: u64 = 0;
        let mut point = usize::MAX;
        let mut simple = true;
        for (at, &byte) in digits.iter().enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit <= 9 {
                mantissa = mantissa * 10 + u64::from(digit);
            } else if byte == b'.' && point == usize::MAX {
                point = at;
            } else {
                simple = false;
                break;
            }
        }
        // Up to 15 digits survive the way through a double and back; more are looked at one by one below.
        let limit = if strict { 1_000_000_000_000_000 } else { 1 << 53 };
        if simple && mantissa < limit && digits.len() > usize::from(point != usize::MAX) {
            if strict && digits[0] == b'0' && digits.len() > 1 && digits[1] != b'.' {
                return None;
            }
            let scale = if point == usize::MAX { 0 } else { digits.len() - 1 - point };
            let value = mantissa as f64 / POWERS[scale];
            return Some(if negative { -value } else { value });
        }
    }
    parse_f64_slowly(text, strict)
}

#[cold]
fn parse_f64_slowly(text: &[u8], strict: bool) -> Option<f64> {
    match text {
        b"NaN" | b"nan" | b"NAN" => return Some(f64::NAN),
        b"inf" | b"Inf" | b"INF" | b"Infinity" | b"infinity" => return Some(f64::INFINITY),
        b"-inf" | b"-Inf" | b"-INF" | b"-Infinity" | b"-infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let (significant, canonical) = number_shape(text)?;
    if strict && (!canonical || significant > 17) {
        return None;
    }
    let survives = |value: f64| -> bool {
        let printed = format!("{:.*e}", significant.max(1) - 1, value);
        let mantissa = printed.split('e').next().unwrap_or("");
        let mut digits = mantissa.bytes().filter(u8::is_ascii_digit);
        let written = text.iter().take_while(|b| !matches!(b, b'e' | b'E')).filter(|b| b.is_ascii_digit());
        written.skip_while(|b| **b == b'0').take(significant).all(|digit| digits.next() == Some(*digit))
    };
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    // A finite text that overflows, or that vanishes, is not the number that was written.
    if !value.is_finite() || (value == 0.0 && significant > 0) || (strict && significant > 15 && !survives(value)) {
        return None;
    }
    Some(value)
}

/// (significant digits, canonical spelling) of a decimal number with an optional exponent.
pub(crate) fn number_shape(text: &[u8]) -> Option<(usize, bool)> {
    let mut canonical = true;
    let mut rest = match text {
        [b'-', rest @ ..] => rest,
        [b'+', rest @ ..] => {
            canonical = false;
            rest
        }
        _ => text,
    };
    if let Some(at) = rest.iter().position(|b| matches!(b, b'e' | b'E')) {
        let exponent = &rest[at + 1..];
        let digits = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        rest = &rest[..at];
    }
    let (whole, fraction) = match rest.iter().position(|b| *b == b'.') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &rest[..0]),
    };
    if whole.is_empty() && fraction.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    if whole.len() > 1 && whole[0] == b'0' {
        canonical = false;
    }
    let digits = whole.iter().chain(fraction);
    let leading = digits.clone().take_while(|b| **b == b'0').count();
    let trailing = digits.clone().rev().take_while(|b| **b == b'0').count();
    Some(((whole.len() + fraction.len()).saturating_sub(leading + trailing), canonical))
}

/// A decimal number as its unscaled value. Digits beyond the scale must be zeros; more than `precision` digits do not fit.
/// Exponents are understood (`1.5e3`).
#[inline]
pub(crate) fn parse_decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let scale_digits = usize::try_from(scale).ok()?;
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.len() > 18 || digits.is_empty() || scale_digits > 18 {
        return parse_decimal_slowly(text, precision, scale);
    }
    let mut value: u64 = 0;
    let mut point = usize::MAX;
    for (at, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + u64::from(digit);
        } else if byte == b'.' && point == usize::MAX {
            point = at;
        } else {
            return parse_decimal_slowly(text, precision, scale);
        }
    }
    let fraction = if point == usize::MAX { 0 } else { digits.len() - 1 - point };
    if fraction > scale_digits || digits.len() == usize::from(point != usize::MAX) {
        return parse_decimal_slowly(text, precision, scale);
    }
    let unscaled = i128::from(value) * TENS[scale_digits - fraction];
    if unscaled >= *TENS.get(usize::from(precision)).unwrap_or(&i128::MAX) {
        return None;
    }
    Some(if negative { -unscaled } else { unscaled })
}

const TENS: [i128; 39] = {
    let mut tens = [1i128; 39];
    let mut at = 1;
    while at < 39 {
        tens[at] = tens[at - 1] * 10;
        at += 1;
    }
    tens
};

#[cold]
fn parse_decimal_slowly(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let digits = decimal_digits(text, precision, scale)?;
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// Like [`parse_decimal`] for up to 76 digits.
pub(crate) fn parse_decimal256(text: &[u8], precision: u8, scale: i8) -> Option<i256> {
    let digits = decimal_digits(text, precision, scale)?;
    i256::from_string(std::str::from_utf8(&digits).ok()?)
}

/// The digits of the unscaled value with its sign.
fn decimal_digits(text: &[u8], precision: u8, scale: i8) -> Option<Vec<u8>> {
    number_shape(text)?;
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&rest[..at], std::str::from_utf8(&rest[at + 1..]).ok()?.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
    let all: Vec<u8> = mantissa.iter().copied().filter(|b| *b != b'.').collect();
    let leading = all.iter().take_while(|b| **b == b'0').count();
    let significant = &all[leading..];
    let trailing = significant.iter().rev().take_while(|b| **b == b'0').count();
    let significant = &significant[..significant.len() - trailing];
    if significant.is_empty() {
        return Some(b"0".to_vec());
    }
    // value = 0.significant × 10^(magnitude)
    let magnitude = (point as i64).checked_sub(leading as i64)?.checked_add(exponent)?;
    let length = magnitude.checked_add(i64::from(scale))?;
    if length < significant.len() as i64 || length > i64::from(precision) {
        return None;
    }
    let mut digits = Vec::with_capacity(length as usize + 1);
    if negative {
        digits.push(b'-');
    }
    digits.extend_from_slice(significant);
    digits.resize(length as usize + usize::from(negative), b'0');
    Some(digits)
}

/// Days since 1970-01-01 of a valid date of the proleptic Gregorian calendar.
#[inline]
pub(crate) fn days_from_civil(year: i32, month: u32, day: u32) -> Option<i32> {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return None,
    };
    if day == 0 || day > length {
        return None;
    }
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = of_era * 365 + of_era / 4 - of_era / 100 + of_year as i32;
    Some(era * 146_097 + days - 719_468)
}

#[inline]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let (a, b) = (text.get(at)?.wrapping_sub(b'0'), text.get(at + 1)?.wrapping_sub(b'0'));
    (a <= 9 && b <= 9).then(|| u32::from(a) * 10 + u32::from(b))
}

/// `YYYY-MM-DD`.
#[inline]
pub(crate) fn parse_date(text: &[u8]) -> Option<i32> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = two(text, 0)? * 100 + two(text, 2)?;
    days_from_civil(year as i32, two(text, 5)?, two(text, 8)?)
}

/// Time of day in nanoseconds, and how many bytes it took: `HH:MM`, `HH:MM:SS`, `HH:MM:SS.fffffffff`.
fn parse_clock(text: &[u8]) -> Option<(i64, usize)> {
    let (hour, minute) = (two(text, 0)?, two(text, 3)?);
    if text[2] != b':' || hour > 23 || minute > 59 {
        return None;
    }
    let mut seconds = i64::from(hour) * 3600 + i64::from(minute) * 60;
    let mut taken = 5;
    let mut nanos = 0i64;
    if text.get(5) == Some(&b':') {
        let second = two(text, 6)?;
        if second > 59 {
            return None;
        }
        seconds += i64::from(second);
        taken = 8;
        if matches!(text.get(8), Some(b'.' | b',')) {
            let digits = text[9..].iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            for at in 0..9 {
                let digit = if at < digits { text[9 + at] - b'0' } else { 0 };
                nanos = nanos * 10 + i64::from(digit);
            }
            // Finer than nanoseconds only as zeros.
            if text[9..9 + digits].iter().skip(9).any(|b| *b != b'0') {
                return None;
            }
            taken = 9 + digits;
        }
    }
    Some((seconds * 1_000_000_000 + nanos, taken))
}

/// Time of day in nanoseconds.
pub(crate) fn parse_time(text: &[u8]) -> Option<i64> {
    let (nanos, taken) = parse_clock(text)?;
    (taken == text.len()).then_some(nanos)
}

/// A timestamp: its text's wall clock as (days, nanoseconds of the day), and its offset in seconds if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) days: i32,
    pub(crate) nanos: i64,
    pub(crate) offset: Option<i32>,
}

impl Moment {
    /// The count of units since the epoch: of the instant if there is an offset, of the wall clock if not. `None` when the
    /// unit is too coarse or the range too small.
    #[inline]
    pub(crate) fn in_unit(self, unit: TimeUnit) -> Option<i64> {
        let seconds = i64::from(self.days) * 86_400 + self.nanos / 1_000_000_000 - i64::from(self.offset.unwrap_or(0));
        let fraction = self.nanos % 1_000_000_000;
        let (per_second, nanos_per) = match unit {
            TimeUnit::Second => (1, 1_000_000_000),
            TimeUnit::Millisecond => (1_000, 1_000_000),
            TimeUnit::Microsecond => (1_000_000, 1_000),
            TimeUnit::Nanosecond => (1_000_000_000, 1),
        };
        if fraction % nanos_per != 0 {
            return None;
        }
        seconds.checked_mul(per_second)?.checked_add(fraction / nanos_per)
    }
}

/// `YYYY-MM-DD` then `T` or a space, a time of day, and `Z`, `±HH:MM`, `±HHMM`, `±HH` or nothing.
#[inline]
pub(crate) fn parse_moment(text: &[u8]) -> Option<Moment> {
    if text.len() < 16 || !matches!(text[10], b'T' | b' ' | b't') {
        return None;
    }
    let days = parse_date(&text[..10])?;
    let (nanos, taken) = parse_clock(&text[11..])?;
    let zone = &text[11 + taken..];
    let zone = if zone.len() > 1 && zone[0] == b' ' { &zone[1..] } else { zone };
    let offset = match zone {
        [] => None,
        [b'Z' | b'z'] | b"UTC" => Some(0),
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let (hours, minutes) = match rest.len() {
                2 => (two(rest, 0)?, 0),
                4 => (two(rest, 0)?, two(rest, 2)?),
                5 if rest[2] == b':' => (two(rest, 0)?, two(rest, 3)?),
                _ => return None,
            };
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = (hours * 3600 + minutes * 60) as i32;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => return None,
    };
    Some(Moment { days, nanos, offset })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whole_numbers_strict_and_lenient() {
        for (text, strict, lenient) in [
            ("0", Some(0), Some(0)),
            ("-1", Some(-1), Some(-1)),
            ("9223372036854775807", Some(i64::MAX), Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN), Some(i64::MIN)),
            ("9223372036854775808", None, None),
            ("007", None, Some(7)),
            ("+5", None, Some(5)),
            ("-0", None, Some(0)),
            ("00000000000000000000000012", None, Some(12)),
            ("", None, None),
            ("-", None, None),
            ("1.0", None, None),
            (" 1", None, None),
            ("1_000", None, None),
            ("१", None, None),
        ] {
            assert_eq!(parse_i64(text.as_bytes(), true), strict, "{text}");
            assert_eq!(parse_i64(text.as_bytes(), false), lenient, "{text}");
        }
        assert_eq!(parse_u64(b"18446744073709551615", true), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616", true), None);
        assert_eq!(parse_u64(b"-1", false), None);
    }

    #[test]
    fn floats_are_not_bent() {
        assert_eq!(parse_f64(b"17954.55", true), Some(17954.55));
        assert_eq!(parse_f64(b".5", true), Some(0.5));
        assert_eq!(parse_f64(b"5.", true), Some(5.0));
        assert_eq!(parse_f64(b"-0", true).map(f64::to_bits), Some((-0.0f64).to_bits()));
        assert_eq!(parse_f64(b"0.1000000000000000055511151231257827", true), None);
        assert_eq!(parse_f64(b"0.1000000000000000055511151231257827", false), Some(0.1));
        assert_eq!(parse_f64(b"9007199254740993", true), None);
        assert_eq!(parse_f64(b"9007199254740993", false), Some(9_007_199_254_740_992.0));
        assert_eq!(parse_f64(b"9007199254740992", true), Some(9_007_199_254_740_992.0));
        assert_eq!(parse_f64(b"0.30000000000000004", true), Some(0.300_000_000_000_000_04));
        assert_eq!(parse_f64(b"8.999999999999993", true), Some(8.999_999_999_999_993));
        assert_eq!(parse_f64(b"1e400", false), None);
        assert_eq!(parse_f64(b"1e-400", false), None);
        assert_eq!(parse_f64(b"0e-400", false), Some(0.0));
        assert!(parse_f64(b"NaN", true).is_some_and(f64::is_nan));
        for text in ["", ".", "-", "1.2.3", "1,5", "0x10", "1e", "e5", "--1", "01.5", "nanx", "1f"] {
            assert_eq!(parse_f64(text.as_bytes(), true), None, "{text}");
        }
    }

    #[test]
    fn decimals_keep_every_digit_or_refuse() {
        for (text, precision, scale, expected) in [
            ("17954.55", 15, 2, Some(1_795_455)),
            ("17954.5", 15, 2, Some(1_795_450)),
            ("17954.550", 15, 2, Some(1_795_455)),
            ("17954.555", 15, 2, None),
            ("-0.01", 15, 2, Some(-1)),
            ("999.99", 5, 2, Some(99_999)),
            ("1000.00", 5, 2, None),
            ("1.5e3", 10, 0, Some(1500)),
            ("1e-2", 10, 2, Some(1)),
            ("0.000", 3, 2, Some(0)),
            ("99999999999999999999999999999999999999", 38, 0, Some(10i128.pow(38) - 1)),
            ("999999999999999999999999999999999999999", 38, 0, None),
            (".", 5, 2, None),
            ("-", 5, 2, None),
            ("1e99999999999999999999", 5, 2, None),
            ("abc", 5, 2, None),
        ] {
            assert_eq!(parse_decimal(text.as_bytes(), precision, scale), expected, "{text}");
        }
    }

    #[test]
    fn dates_and_moments() {
        assert_eq!(parse_date(b"1970-01-01"), Some(0));
        assert_eq!(parse_date(b"2000-02-29"), Some(11_016));
        assert_eq!(parse_date(b"0001-01-01"), Some(-719_162));
        for text in ["2001-02-29", "2001-13-01", "2001-00-01", "2001-01-00", "2001-1-01", "20010101", "2001/01/01", "+001-01-01"]
        {
            assert_eq!(parse_date(text.as_bytes()), None, "{text}");
        }
        let at = |text: &str| parse_moment(text.as_bytes());
        let micros = |text: &str| at(text).and_then(|m| m.in_unit(TimeUnit::Microsecond));
        assert_eq!(micros("2013-01-01T10:00:00Z"), Some(1_357_034_400_000_000));
        assert_eq!(micros("2013-01-01 12:00:00+02:00"), Some(1_357_034_400_000_000));
        assert_eq!(micros("1969-12-31T23:59:59.999999Z"), Some(-1));
        assert_eq!(at("2013-01-01 10:00").map(|m| m.offset), Some(None));
        assert_eq!(micros("2013-01-01T10:00:00.1234567"), None);
        assert_eq!(
            at("2013-01-01T10:00:00.1234567").and_then(|m| m.in_unit(TimeUnit::Nanosecond)),
            Some(1_357_034_400_123_456_700)
        );
        assert_eq!(at("9999-12-31T00:00:00").and_then(|m| m.in_unit(TimeUnit::Nanosecond)), None);
        for text in [
            "2013-01-01T24:00:00Z",
            "2013-01-01T10:60:00",
            "2013-01-01T10:00:60Z",
            "2013-01-01T10:00:00.",
            "2013-01-01T1:00:00",
            "2013-01-01T10:00:00 Europe/Berlin",
            "2013-01-01",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn floats_agree_with_the_standard_library(value in any::<f64>()) {
            for text in [format!("{value:?}"), format!("{value}"), format!("{value:e}")] {
                let parsed = parse_f64(text.as_bytes(), false);
                prop_assert_eq!(parsed.map(f64::to_bits).or(Some(f64::NAN.to_bits()).filter(|_| value.is_nan())), Some(value.to_bits()).map(|b| if value.is_nan() { f64::NAN.to_bits() } else { b }), "{}", text);
            }
        }

        #[test]
        fn short_floats_agree_with_the_standard_library(whole in 0u64..10_000_000_000, fraction in 0u32..1_000_000, negative: bool) {
            let text = format!("{}{whole}.{fraction}", if negative { "-" } else { "" });
            prop_assert_eq!(parse_f64(text.as_bytes(), false), text.parse::<f64>().ok());
            if let Some(strict) = parse_f64(text.as_bytes(), true) {
                prop_assert_eq!(Some(strict), text.parse::<f64>().ok());
            } else {
                prop_assert!(text.bytes().filter(u8::is_ascii_digit).count() > 15, "{}", text);
            }
        }

        #[test]
        fn dates_agree_with_chrono(days in -719_162i32..2_932_896) {
            let text = (chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + chrono::Duration::days(i64::from(days))).to_string();
            prop_assert_eq!(parse_date(text.as_bytes()), Some(days));
        }

        #[test]
        fn decimals_print_and_parse(value in -(10i128.pow(30))..10i128.pow(30), scale in 0i8..20) {
            let text = arrow::datatypes::Decimal128Type::format_decimal(value, 38, scale);
            use arrow::datatypes::DecimalType;
            prop_assert_eq!(parse_decimal(text.as_bytes(), 38, scale), Some(value));
        }
    }
}
