//! The text form of a value → its binary form, which the column builders take. One way into Arrow for both forms: what is not representable is
//! refused there, with the same words.
//!
//! Text comes from a session with our settings: ISO dates in UTC, hexadecimal bytea, `postgres` intervals, money in the C locale.

use weir_connect::{Error, Kind, Result};

use super::super::columns::{Bad, Column};
use super::super::types::Travel;

/// Appends the binary form of `text` to `out`. `delimiter` stands between the items of an array.
pub fn to_binary(text: &[u8], travel: &Travel, delimiter: u8, out: &mut Vec<u8>) -> Result<(), Bad> {
    let word = || std::str::from_utf8(text).map_err(|_| Bad::corrupt("a number that is no text"));
    macro_rules! number {
        ($kind:ty, $what:literal) => {
            out.extend_from_slice(&word()?.parse::<$kind>().map_err(|_| Bad::corrupt(concat!("no ", $what)))?.to_be_bytes())
        };
    }
    match travel {
        Travel::Text => out.extend_from_slice(text),
        Travel::Jsonb => {
            out.push(1);
            out.extend_from_slice(text);
        }
        Travel::Bool => out.push(match text {
            b"t" => 1,
            b"f" => 0,
            _ => return Err(Bad::corrupt("no boolean")),
        }),
        Travel::Int2 => number!(i16, "smallint"),
        Travel::Int4 => number!(i32, "integer"),
        Travel::Int8 => number!(i64, "bigint"),
        Travel::Oid => number!(u32, "oid"),
        Travel::Float4 => number!(f32, "real"),
        Travel::Float8 => number!(f64, "double precision"),
        Travel::Decimal128 { .. } | Travel::Decimal256 { .. } => numeric(text, out)?,
        Travel::Money { .. } => {
            let digits: String = text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
            let sign = if text.iter().any(|byte| matches!(byte, b'-' | b'(')) { "-" } else { "" };
            let amount: i64 = format!("{sign}{digits}").parse().map_err(|_| Bad::corrupt("no amount of money"))?;
            out.extend_from_slice(&amount.to_be_bytes());
        }
        Travel::Bytes => {
            let hex = text.strip_prefix(b"\\x").ok_or_else(|| Bad::corrupt("a bytea that is not hexadecimal"))?;
            hexadecimal(hex, out)?;
        }
        Travel::Uuid => {
            let digits: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'-').collect();
            hexadecimal(&digits, out)?;
        }
        Travel::Date => {
            let days = match text {
                b"infinity" => i32::MAX,
                b"-infinity" => i32::MIN,
                _ => {
                    let (day, rest, bc) = day(word()?)?;
                    if !rest.is_empty() || bc.is_none() {
                        return Err(Bad::corrupt("no date"));
                    }
                    i32::try_from(day).map_err(|_| Bad::corrupt("no date"))?
                }
            };
            out.extend_from_slice(&days.to_be_bytes());
        }
        Travel::Time => out.extend_from_slice(&clock(word()?).ok_or_else(|| Bad::corrupt("no time"))?.to_be_bytes()),
        Travel::Timestamp | Travel::TimestampTz => {
            let micros = match text {
                b"infinity" => i64::MAX,
                b"-infinity" => i64::MIN,
                _ => timestamp(word()?, matches!(travel, Travel::TimestampTz))?,
            };
            out.extend_from_slice(&micros.to_be_bytes());
        }
        Travel::Interval => interval(word()?, out)?,
        Travel::List(item) => array(text, item, delimiter, out)?,
    }
    Ok(())
}

/// The text of a value in binary form, which the server reads back as the same value.
pub fn from_binary(bytes: &[u8], travel: &Travel) -> Result<String> {
    let mut column = Column::new(travel);
    column.push(Some(bytes)).map_err(|bad| {
        let (Bad::Value(why) | Bad::Corrupt(why)) = bad;
        Error::new("WEIR-PG-071", Kind::Data, "a key of the replication stream cannot be decoded").because(why)
    })?;
    let array = column.finish()?;
    if *travel == Travel::Bytes {
        return Ok(bytes.iter().fold("\\x".to_string(), |text, byte| format!("{text}{byte:02x}")));
    }
    let text = arrow::compute::cast(&array, &arrow::datatypes::DataType::Utf8)
        .map_err(|error| Error::internal("a key cannot be printed").caused_by(error))?;
    Ok(arrow::array::AsArray::as_string::<i32>(&text).value(0).to_string())
}

fn hexadecimal(digits: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    for pair in digits.chunks(2) {
        let value = match pair {
            [high, low] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(value.ok_or_else(|| Bad::corrupt("no hexadecimal digits"))?);
    }
    Ok(())
}

/// Base-10000 digits: count, weight of the first, sign, digits after the point, the digits.
fn numeric(text: &[u8], out: &mut Vec<u8>) -> Result<(), Bad> {
    let mut head = |count: i16, weight: i16, sign: u16, scale: i16| {
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&weight.to_be_bytes());
        out.extend_from_slice(&sign.to_be_bytes());
        out.extend_from_slice(&scale.to_be_bytes());
    };
    match text {
        b"NaN" => {
            head(0, 0, 0xC000, 0);
            return Ok(());
        }
        b"Infinity" => {
            head(0, 0, 0xD000, 0);
            return Ok(());
        }
        b"-Infinity" => {
            head(0, 0, 0xF000, 0);
            return Ok(());
        }
        _ => {}
    }
    let wrong = || Bad::corrupt("no number");
    let (sign, digits) = match text.split_first() {
        Some((b'-', rest)) => (0x4000, rest),
        _ => (0, text),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let whole = &whole[whole.iter().position(|byte| *byte != b'0').unwrap_or(whole.len())..];
    // Groups of four, counted from the point in both directions.
    let groups_before = whole.len().div_ceil(4);
    let mut groups = Vec::with_capacity(groups_before + fraction.len().div_ceil(4));
    let value = |part: &[u8]| part.iter().fold(0_i16, |sum, byte| sum * 10 + i16::from(byte - b'0'));
    let first = whole.len() % 4;
    if first > 0 {
        groups.push(value(&whole[..first]));
    }
    groups.extend(whole[first..].chunks(4).map(value));
    groups.extend(fraction.chunks(4).map(|part| value(part) * 10_i16.pow(4 - part.len() as u32)));
    let mut weight = i16::try_from(groups_before).map_err(|_| wrong())? - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= i16::try_from(leading).map_err(|_| wrong())?;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    head(i16::try_from(groups.len()).map_err(|_| wrong())?, weight, sign, i16::try_from(fraction.len()).map_err(|_| wrong())?);
    groups.iter().for_each(|group| out.extend_from_slice(&group.to_be_bytes()));
    Ok(())
}

/// Days since 2000-01-01 of a date of the Gregorian calendar, without year 0 left out.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Counted from March, so that the leap day is the last of the year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 730_425
}

/// The day at the beginning of a text, what follows it, and whether the year is before Christ (`None` if it says otherwise than well-formed).
fn day(text: &str) -> Result<(i64, &str, Option<bool>), Bad> {
    let wrong = || Bad::corrupt("no date");
    let (body, bc) = match text.strip_suffix(" BC") {
        Some(body) => (body, true),
        None => (text, false),
    };
    let end = body.find(' ').unwrap_or(body.len());
    let mut parts = body[..end].split('-').map(|part| part.parse::<i64>().ok());
    let (Some(Some(year)), Some(Some(month)), Some(Some(day)), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong());
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(1..=10_000_000).contains(&year) {
        return Err(wrong());
    }
    let year = if bc { 1 - year } else { year };
    Ok((days(year, month, day), &body[end..], Some(bc)))
}

/// Microseconds of `hh:mm:ss.ffffff`; hours may be many.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten();
    let fraction = match fraction.len() {
        0 => 0,
        length @ 1..=6 => digits(fraction)? * 10_i64.pow(6 - length as u32),
        _ => return None,
    };
    let seconds = digits(hours)?.checked_mul(3600)?.checked_add(digits(minutes)? * 60 + digits(whole)?)?;
    seconds.checked_mul(1_000_000)?.checked_add(fraction)
}

fn timestamp(text: &str, zone: bool) -> Result<i64, Bad> {
    let wrong = || Bad::corrupt("no timestamp");
    let (day, rest, _) = day(text)?;
    let rest = rest.strip_prefix(' ').ok_or_else(wrong)?;
    // The session's zone is UTC.
    let rest = if zone { rest.strip_suffix("+00").ok_or_else(wrong)? } else { rest };
    let time = clock(rest).ok_or_else(wrong)?;
    day.checked_mul(86_400_000_000).and_then(|micros| micros.checked_add(time)).ok_or_else(wrong)
}

/// `1 year 2 mons -3 days +04:05:06.789012`.
fn interval(text: &str, out: &mut Vec<u8>) -> Result<(), Bad> {
    if text == "infinity" || text == "-infinity" {
        // Written by the server as the largest or smallest of all three parts.
        let (micros, part) = if text == "infinity" { (i64::MAX, i32::MAX) } else { (i64::MIN, i32::MIN) };
        out.extend_from_slice(&micros.to_be_bytes());
        out.extend_from_slice(&part.to_be_bytes());
        out.extend_from_slice(&part.to_be_bytes());
        return Ok(());
    }
    let wrong = || Bad::corrupt("no interval");
    let (mut micros, mut days, mut months) = (0_i64, 0_i32, 0_i32);
    let mut words = text.split(' ');
    while let Some(word) = words.next() {
        if word.contains(':') {
            let (sign, rest) = match word.strip_prefix('-') {
                Some(rest) => (-1, rest),
                None => (1, word.strip_prefix('+').unwrap_or(word)),
            };
            micros = match clock(rest) {
                Some(time) => time * sign,
                // The one value whose amount has no positive counterpart.
                None if sign < 0 && rest == "2562047788:00:54.775808" => i64::MIN,
                None => return Err(wrong()),
            };
            continue;
        }
        let amount: i32 = word.parse().map_err(|_| wrong())?;
        let add = |sum: i32, factor: i32| amount.checked_mul(factor).and_then(|part| sum.checked_add(part)).ok_or_else(wrong);
        match words.next() {
            Some("year" | "years") => months = add(months, 12)?,
            Some("mon" | "mons") => months = add(months, 1)?,
            Some("day" | "days") => days = add(days, 1)?,
            _ => return Err(wrong()),
        }
    }
    out.extend_from_slice(&micros.to_be_bytes());
    out.extend_from_slice(&days.to_be_bytes());
    out.extend_from_slice(&months.to_be_bytes());
    Ok(())
}

/// `{a,NULL,"b \"c\""}`. Arrays that Arrow cannot hold keep the mark by which the builder refuses them: their dimensions, their first index.
fn array(text: &[u8], item: &Travel, delimiter: u8, out: &mut Vec<u8>) -> Result<(), Bad> {
    let wrong = || Bad::corrupt("no array");
    let mut head = |dimensions: i32| {
        out.extend_from_slice(&dimensions.to_be_bytes());
        out.extend_from_slice(&[0; 8]);
    };
    let (text, lower) = match text.first() {
        Some(b'[') => {
            let at = text.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
            (&text[at + 1..], 0_i32)
        }
        _ => (text, 1),
    };
    let inner = text.strip_prefix(b"{").and_then(|text| text.strip_suffix(b"}")).ok_or_else(wrong)?;
    if inner.is_empty() {
        head(0);
        return Ok(());
    }
    if inner.first() == Some(&b'{') {
        let dimensions = inner.iter().take_while(|byte| **byte == b'{').count().min(5) as i32 + 1;
        head(dimensions);
        return Ok(());
    }
    head(1);
    let count_at = out.len();
    out.extend_from_slice(&0_i32.to_be_bytes());
    // A first index other than 1 makes the builder refuse the array, whatever it is exactly.
    out.extend_from_slice(&lower.to_be_bytes());
    let (mut at, mut count) = (0, 0_i32);
    let mut value = Vec::new();
    loop {
        value.clear();
        let quoted = inner.get(at) == Some(&b'"');
        if quoted {
            at += 1;
            loop {
                match inner.get(at).ok_or_else(wrong)? {
                    b'"' => break,
                    b'\\' => {
                        value.push(*inner.get(at + 1).ok_or_else(wrong)?);
                        at += 2;
                    }
                    byte => {
                        value.push(*byte);
                        at += 1;
                    }
                }
            }
            at += 1;
        } else {
            while let Some(byte) = inner.get(at).filter(|byte| **byte != delimiter) {
                value.push(*byte);
                at += 1;
            }
        }
        if !quoted && value == b"NULL" {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
        } else {
            let length_at = out.len();
            out.extend_from_slice(&0_i32.to_be_bytes());
            to_binary(&value, item, b',', out)?;
            let length = i32::try_from(out.len() - length_at - 4).map_err(|_| wrong())?;
            out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        }
        count += 1;
        match inner.get(at) {
            None => break,
            Some(byte) if *byte == delimiter => at += 1,
            Some(_) => return Err(wrong()),
        }
    }
    out[count_at..count_at + 4].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn binary(text: &str, travel: &Travel) -> Result<Vec<u8>, Bad> {
        let mut out = Vec::new();
        to_binary(text.as_bytes(), travel, b',', &mut out).map(|()| out)
    }

    #[test]
    fn days_are_counted_from_2000() {
        for (text, day) in [
            ("2000-01-01", 0),
            ("1999-12-31", -1),
            ("2000-02-29", 59),
            ("1970-01-01", -10_957),
            ("0001-01-01", -730_119),
            ("0001-12-31 BC", -730_120),
            ("4713-01-01 BC", -2_451_507),
            ("5874897-12-31", 2_145_031_948),
        ] {
            assert_eq!(binary(text, &Travel::Date).unwrap(), i32::to_be_bytes(day), "{text}");
        }
    }

    #[test]
    fn what_is_not_of_the_type_is_damage_not_a_value() {
        let list = Travel::List(Box::new(Travel::Int4));
        for (text, travel) in [
            ("", &Travel::Int4),
            ("2147483648", &Travel::Int4),
            ("2024-13-01", &Travel::Date),
            ("2024-01-01", &Travel::Timestamp),
            ("2024-01-01 00:00:00", &Travel::TimestampTz),
            ("1 fortnight", &Travel::Interval),
            ("{1", &list),
            ("{1;2}", &list),
            ("{\"1}", &list),
            ("xyz", &Travel::Bytes),
            ("\\x0", &Travel::Bytes),
            ("1e5", &Travel::Decimal128 { precision: 9, scale: 0, round: false }),
        ] {
            assert!(matches!(binary(text, travel), Err(Bad::Corrupt(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_have_the_digits_of_their_text(value in any::<i128>(), scale in 0_u8..30) {
            let value = value / 1000;
            let mut encoded = Vec::new();
            super::super::super::numeric::encode_i128(value, scale, &mut encoded);
            let digits = format!("{:0>width$}", value.unsigned_abs(), width = usize::from(scale) + 1);
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
            let sign = if value < 0 { "-" } else { "" };
            let text = if scale > 0 { format!("{sign}{whole}.{fraction}") } else { format!("{sign}{whole}") };
            let travel = Travel::Decimal128 { precision: 38, scale: 30, round: false };
            prop_assert_eq!(binary(&text, &travel).unwrap(), &encoded[4..]);
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,30}", lists in "[{}\",\\\\a0-9;\\[\\]=:]{0,20}", times in "[0-9:. \\-+BCa-z]{0,30}") {
            for travel in [
                Travel::Bool, Travel::Int8, Travel::Float8, Travel::Decimal256 { precision: 76, scale: 3 }, Travel::Money { scale: 2 },
                Travel::Bytes, Travel::Date, Travel::Time, Travel::Timestamp, Travel::TimestampTz, Travel::Interval, Travel::Uuid, Travel::Jsonb,
                Travel::List(Box::new(Travel::Text)), Travel::List(Box::new(Travel::List(Box::new(Travel::Int4)))),
            ] {
                for text in [&text, &lists, &times] {
                    let _ = binary(text, &travel);
                }
            }
        }
    }
}
