//! Values as the servers print them: for columns that are read as text because the spec asks for it, and inside of JSON.

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::values::{Moment, Span};

fn fraction(out: &mut String, micros: u32, digits: usize) {
    if digits > 0 {
        let text = format!("{micros:06}");
        out.push('.');
        out.push_str(&text[..digits.min(6)]);
    }
}

/// `2024-02-29 23:59:59.5` with so many digits after the second, or only the day.
pub(super) fn moment(of: &Moment, only_date: bool, digits: usize) -> String {
    let mut out = format!("{:04}-{:02}-{:02}", of.year, of.month, of.day);
    if !only_date {
        // Writing into a String does not fail.
        let _ = write!(out, " {:02}:{:02}:{:02}", of.hour, of.minute, of.second);
        fraction(&mut out, of.micros, digits);
    }
    out
}

/// `-838:59:59`.
pub(super) fn span(of: &Span, digits: usize) -> String {
    let sign = if of.negative { "-" } else { "" };
    let mut out = format!("{sign}{:02}:{:02}:{:02}", of.hours, of.minute, of.second);
    fraction(&mut out, of.micros, digits);
    out
}

/// The shortest digits that give the number back. With an exponent where a zero would have to stand before the point of more than 15 digits, or more than 14 after it,
/// or where the number would be longer than `width`.
pub(super) fn double(number: f64, width: usize) -> String {
    if number == 0.0 {
        return if number.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let mut shortest = format!("{number:e}");
    // Of two that are as near, the server takes the even one.
    let count = shortest.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit).count();
    let even = format!("{number:.*e}", count.saturating_sub(1));
    if even.parse::<f64>() == Ok(number) {
        shortest = even;
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    // How many digits stand before the point.
    let point = exponent + 1;
    let count = digits.len() as i32;
    let plain = if point < -14 || point > 15 && point >= count {
        None
    } else if point <= 0 {
        Some(format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)))
    } else if point < count {
        Some(format!("{sign}{}.{}", &digits[..point as usize], &digits[point as usize..]))
    } else {
        Some(format!("{sign}{digits}{}", "0".repeat((point - count) as usize)))
    };
    plain.filter(|text| text.len() <= width).unwrap_or_else(|| {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{sign}{first}{dot}{rest}e{exponent}")
    })
}

/// `10.0.0.1`.
pub(super) fn inet4(stored: [u8; 4]) -> String {
    Ipv4Addr::from(stored).to_string()
}

/// `2001:db8::1` as MariaDB prints it: the first longest run of zeros is left out, even a single one; the last four bytes as of version 4 where
/// the address is such a one.
pub(super) fn inet6(stored: [u8; 16]) -> String {
    let groups: Vec<u16> = stored.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    let mapped = groups[..5] == [0; 5] && groups[5] == 0xffff;
    let compatible = groups[..6] == [0; 6] && groups[6] != 0;
    if mapped || compatible {
        let [.., a, b, c, d] = stored;
        return format!("::{}{}", if mapped { "ffff:" } else { "" }, Ipv4Addr::new(a, b, c, d));
    }
    let (mut from, mut length) = (0, 0);
    for start in 0..8 {
        let run = groups[start..].iter().take_while(|group| **group == 0).count();
        if run > length {
            (from, length) = (start, run);
        }
    }
    let hex = |groups: &[u16]| groups.iter().map(|group| format!("{group:x}")).collect::<Vec<_>>().join(":");
    match length {
        0 => hex(&groups),
        _ => format!("{}::{}", hex(&groups[..from]), hex(&groups[from + length..])),
    }
}

/// Two digits for every byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02X}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_printed_as_the_servers_do() {
        for (number, text) in [
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1e14, "100000000000000"),
            (1e15, "1e15"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
            (-1.5e-300, "-1.5e-300"),
            (f64::MAX, "1.7976931348623157e308"),
            (5e-324, "5e-324"),
            (2540667325549472.5, "2540667325549472.5"),
            (6.542978532667191e-8, "0.00000006542978532667191"),
        ] {
            assert_eq!(double(number, usize::MAX), text);
        }
        // Half way between two: the even one.
        assert_eq!(double("742.62237548828125".parse().unwrap(), 24), "742.6223754882812");
        assert_eq!(double(6.542978532667191e-8, 24), "6.542978532667191e-8");
    }

    #[test]
    fn times_have_the_digits_of_their_column() {
        let of = Span { negative: true, hours: 838, minute: 59, second: 59, micros: 120_000 };
        assert_eq!((span(&of, 3).as_str(), span(&of, 0).as_str()), ("-838:59:59.120", "-838:59:59"));
    }
}
