//! Values that come as PostgreSQL prints them, and go as Debezium has them.

use weir_error::{Error, Kind, Result};

fn wrong(what: &str, text: &str) -> Error {
    Error::new("WEIR-FMT-041", Kind::Data, format!("`{text}` is no {what}"))
        .because("Debezium's envelope has no place for it")
        .hint("carry the column in another way, or leave it out")
}

/// The digits of a decimal number as scale and unscaled number in two's complement. Zeros at the end count for nothing.
pub(super) fn decimal(text: &str) -> Result<(usize, Vec<u8>)> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all = || whole.bytes().chain(fraction.bytes());
    if whole.len() + fraction.len() == 0 || !all().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("number", text));
    }
    // Base 10⁹ into base 2³², least first.
    let mut words: Vec<u32> = Vec::new();
    for digit in all() {
        let mut carry = u64::from(digit - b'0');
        for word in &mut words {
            let next = u64::from(*word) * 10 + carry;
            (*word, carry) = (next as u32, next >> 32);
        }
        if carry > 0 {
            words.push(carry as u32);
        }
    }
    let mut bytes: Vec<u8> = words.iter().rev().flat_map(|word| word.to_be_bytes()).collect();
    bytes.insert(0, 0);
    if negative {
        // Two's complement: all bits turned, and one more.
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            let (turned, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (turned, over);
        }
    }
    Ok((fraction.len(), shortest(&bytes).to_vec()))
}

/// The shortest bytes with the same value in two's complement.
pub(super) fn shortest(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [first, second, ..] = rest
        && (*first == 0 && second & 0x80 == 0 || *first == 0xff && second & 0x80 != 0)
    {
        rest = &rest[1..];
    }
    rest
}

/// `12:34:56.789+02` as `10:34:56.789Z`.
pub(super) fn zoned_time(text: &str) -> Result<String> {
    let wrong = || wrong("time with time zone", text);
    let at = text.rfind(['+', '-']).ok_or_else(wrong)?;
    let (clock, zone) = text.split_at(at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let seconds = |text: &str| -> Option<i64> {
        let mut parts = text.split(':').map(str::parse::<i64>);
        let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next(), parts.next());
        let or_zero = |part: Option<std::result::Result<i64, _>>| part.map_or(Some(0), std::result::Result::ok);
        Some(hours * 3600 + or_zero(minutes)? * 60 + or_zero(seconds)?)
    };
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let utc = seconds(clock)
        .zip(seconds(&zone[1..]))
        .map(|(clock, zone)| (clock - sign * zone).rem_euclid(86_400))
        .ok_or_else(wrong)?;
    let dot = if fraction.is_empty() { "" } else { "." };
    Ok(format!("{:02}:{:02}:{:02}{dot}{fraction}Z", utc / 3600, utc / 60 % 60, utc % 60))
}

/// `10110` as bytes, the last bit first, without empty bytes at the end.
pub(super) fn bits(text: &str) -> Result<Vec<u8>> {
    let mut bytes = vec![0u8; text.len().div_ceil(8)];
    for (at, bit) in text.bytes().rev().enumerate() {
        match bit {
            b'1' => bytes[at / 8] |= 1 << (at % 8),
            b'0' => {}
            _ => return Err(wrong("string of bits", text)),
        }
    }
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(bytes)
}

/// `(1.5,-2)`.
pub(super) fn point(text: &str) -> Result<(f64, f64)> {
    let pair = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).and_then(|text| text.split_once(','));
    let (x, y) = pair.ok_or_else(|| wrong("point", text))?;
    let number = |part: &str| part.trim().parse::<f64>().map_err(|_| wrong("point", text));
    Ok((number(x)?, number(y)?))
}

/// `"k"=>"v", "n"=>NULL` as pairs.
pub(super) fn hstore(text: &str) -> Result<Vec<(String, Option<String>)>> {
    let wrong = || wrong("hstore", text);
    let mut rest = text.trim_start();
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or_else(wrong)?;
        let after = after.strip_prefix("=>").ok_or_else(wrong)?;
        let (value, after) = match after.strip_prefix("NULL") {
            Some(after) => (None, after),
            None => quoted(after).map(|(value, after)| (Some(value), after)).ok_or_else(wrong)?,
        };
        pairs.push((key, value));
        rest = match after.strip_prefix(", ") {
            Some(more) => more,
            None if after.is_empty() => "",
            None => return Err(wrong()),
        };
    }
    Ok(pairs)
}

/// A text in quotes with `\` before what is taken literally, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut characters = text.strip_prefix('"')?.char_indices();
    let mut value = String::new();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_the_shortest_twos_complement() {
        for (text, scale, bytes) in [
            ("0", 0, vec![0]),
            ("0.000", 0, vec![0]),
            ("127", 0, vec![127]),
            ("128", 0, vec![0, 128]),
            ("-128", 0, vec![0x80]),
            ("-129", 0, vec![0xff, 0x7f]),
            ("3.14159", 5, vec![0x04, 0xcb, 0x2f]),
            ("-0.01", 2, vec![0xff]),
            ("256", 0, vec![1, 0]),
            ("4294967296", 0, vec![1, 0, 0, 0, 0]),
            ("1.500", 1, vec![15]),
        ] {
            assert_eq!(decimal(text).unwrap(), (scale, bytes), "{text}");
        }
        for text in ["NaN", "Infinity", "", "-", "1e5"] {
            assert_eq!(decimal(text).unwrap_err().code(), "WEIR-FMT-041", "{text}");
        }
    }

    #[test]
    fn times_with_a_zone_are_told_in_utc() {
        for (text, utc) in [
            ("12:34:56.789+02", "10:34:56.789Z"),
            ("00:30:00+01:30", "23:00:00Z"),
            ("23:00:00-02", "01:00:00Z"),
            ("00:00:00+00:00:01", "23:59:59Z"),
        ] {
            assert_eq!(zoned_time(text).unwrap(), utc, "{text}");
        }
        assert!(zoned_time("12:00").is_err());
    }

    #[test]
    fn bits_are_little_endian_and_empty_bytes_fall_off() {
        assert_eq!(bits("10110").unwrap(), [0x16]);
        assert_eq!(bits("101100001111").unwrap(), [0x0f, 0x0b]);
        assert_eq!(bits("000000000001").unwrap(), [1]);
        assert!(bits("0000").unwrap().is_empty());
        assert!(bits("102").is_err());
    }

    #[test]
    fn hstore_keeps_quotes_commas_and_null() {
        let pair = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
        let found = hstore(r#""a"=>"b", "q\"x"=>"1, \\ \"2\"", "n"=>NULL, "NULL"=>"NULL""#).unwrap();
        assert_eq!(found, [pair("a", Some("b")), pair("q\"x", Some("1, \\ \"2\"")), pair("n", None), pair("NULL", Some("NULL"))]);
        assert!(hstore("").unwrap().is_empty());
        assert!(hstore("a=>b").is_err());
    }
}
