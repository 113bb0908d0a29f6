//! Values as the servers print them: for columns that are read as text because the spec asks for it, and inside of JSON.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

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

/// The shortest digits that give the number back; with an exponent below 1e-15 and from 1e15 on.
pub(super) fn double(number: f64) -> String {
    if number == 0.0 {
        return if number.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let shortest = format!("{number:e}");
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    // How many digits stand before the point.
    let point = exponent + 1;
    if !(-14..=15).contains(&point) {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{dot}{rest}e{exponent}");
    }
    if point <= 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize));
    }
    let point = point as usize;
    if digits.len() <= point {
        return format!("{sign}{digits}{}", "0".repeat(point - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..point], &digits[point..])
}

/// `10.0.0.1`.
pub(super) fn inet4(stored: [u8; 4]) -> String {
    Ipv4Addr::from(stored).to_string()
}

/// `2001:db8::1`; the last four bytes as of version 4 where the address is such a one.
pub(super) fn inet6(stored: [u8; 16]) -> String {
    let address = Ipv6Addr::from(stored);
    let [.., a, b, c, d] = stored;
    // Twelve zero bytes, and something in the two that follow.
    if stored[..12] == [0; 12] && (a, b) != (0, 0) {
        return format!("::{}", Ipv4Addr::new(a, b, c, d));
    }
    address.to_string()
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
        ] {
            assert_eq!(double(number), text);
        }
    }

    #[test]
    fn times_have_the_digits_of_their_column() {
        let of = Span { negative: true, hours: 838, minute: 59, second: 59, micros: 120_000 };
        assert_eq!((span(&of, 3).as_str(), span(&of, 0).as_str()), ("-838:59:59.120", "-838:59:59"));
    }
}
