//! What the values of a text column are.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, TimeUnit};

use crate::convert::convert;
use crate::types::TypeWord;

/// Whether a text is written in some form.
type Looks = fn(&str) -> bool;

/// What was found.
#[derive(Debug, PartialEq)]
pub(super) enum Inferred {
    /// Text like any other, or no value at all.
    Nothing,
    /// Text of a known form.
    Format { format: &'static str, fitting: usize, of: usize },
    /// Values of a type.
    Type { to: TypeWord, fitting: usize, of: usize },
}

/// Looks at the values that are there. A type is chosen if at least the part `confidence` of them fits; of those the one with the most
/// values, and among equals the narrowest.
pub(super) fn column(values: &ArrayRef, confidence: f64) -> Inferred {
    let Ok(texts) = arrow::compute::cast(values, &DataType::Utf8) else { return Inferred::Nothing };
    let known: Vec<&str> = texts.as_string::<i32>().iter().flatten().collect();
    let of = known.len();
    if of == 0 {
        return Inferred::Nothing;
    }
    let enough = |fitting: usize| fitting > 0 && fitting as f64 >= confidence * of as f64;
    let mut best: Option<(TypeWord, usize)> = None;
    for (to, form) in candidates(&known) {
        // One value that only looks like another type decides against it: `007` is no number.
        if to.data_type.is_numeric() && known.iter().any(|text| leading_zero(text)) {
            continue;
        }
        let Ok(done) = convert(&texts, &to, false) else { continue };
        let failed: std::collections::BTreeSet<usize> = done.failures.iter().map(|(row, _)| *row).collect();
        let rows = texts.as_string::<i32>().iter().enumerate();
        let fitting = rows.filter(|(row, text)| text.is_some_and(|text| form(text) && !failed.contains(row))).count();
        if enough(fitting) && best.as_ref().is_none_or(|(_, most)| fitting > *most) {
            best = Some((to, fitting));
        }
    }
    if let Some((to, fitting)) = best {
        return Inferred::Type { to, fitting, of };
    }
    let forms: [(&'static str, Looks); 4] = [("uuid", uuid), ("e-mail", email), ("URL", url), ("IP address", address)];
    let counted = forms.into_iter().map(|(format, form)| (format, known.iter().filter(|text| form(text)).count()));
    match counted.filter(|(_, fitting)| enough(*fitting)).max_by_key(|(_, fitting)| *fitting) {
        Some((format, fitting)) => Inferred::Format { format, fitting, of },
        None => Inferred::Nothing,
    }
}

/// The types to try with the form that a value must have, the narrowest first.
fn candidates(known: &[&str]) -> Vec<(TypeWord, Looks)> {
    let plain = |data_type| TypeWord { data_type, json: false };
    let micros = |zone: Option<&str>| plain(DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into)));
    let mut all: Vec<(TypeWord, Looks)> = vec![(plain(DataType::Boolean), truth), (plain(DataType::Int64), whole)];
    if let Some(decimal) = decimal(known) {
        all.push((plain(decimal), digits));
    }
    let others: [(TypeWord, Looks); 6] = [
        (plain(DataType::Float64), number),
        (plain(DataType::Date32), date),
        (plain(DataType::Time64(TimeUnit::Microsecond)), time),
        (micros(None), moment),
        (micros(Some("UTC")), zoned),
        (TypeWord { data_type: DataType::Utf8, json: true }, json),
    ];
    all.extend(others);
    all
}

/// A decimal that holds all values that are plain digits; `None` if there are too many digits, or the fractions are too long to be
/// anything but measurements.
fn decimal(known: &[&str]) -> Option<DataType> {
    const LONGEST: usize = 9;
    let (mut before, mut after) = (0, 0);
    for text in known.iter().filter(|text| digits(text)) {
        let (whole, fraction) = text.trim_start_matches('-').split_once('.').unwrap_or((text.trim_start_matches('-'), ""));
        before = before.max(whole.len());
        after = after.max(fraction.len());
    }
    // All the room that there is, since later values may be larger.
    (before + after <= 38 && after <= LONGEST).then(|| DataType::Decimal128(38, i8::try_from(after).unwrap_or(0)))
}

fn leading_zero(text: &str) -> bool {
    let bytes = text.trim_start_matches(['+', '-']).as_bytes();
    bytes.len() > 1 && bytes[0] == b'0' && bytes[1].is_ascii_digit()
}

fn truth(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}

fn whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) && text != "-0"
}

fn digits(text: &str) -> bool {
    match text.strip_prefix('-').unwrap_or(text).split_once('.') {
        Some((whole, fraction)) => {
            [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        }
        None => whole(text),
    }
}

fn number(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit()) && text.bytes().all(|byte| b"0123456789+-.eE".contains(&byte))
}

/// `2024-05-01`.
fn date(text: &str) -> bool {
    shaped(text, "dddd-dd-dd")
}

fn time(text: &str) -> bool {
    text.is_ascii() && (text.len() >= 8 && shaped(&text[..8], "dd:dd:dd") || shaped(text, "dd:dd"))
}

fn moment(text: &str) -> bool {
    text.is_ascii() && text.len() > 10 && date(&text[..10]) && matches!(text.as_bytes()[10], b'T' | b' ' | b't') && !zoned(text)
}

/// A moment that says its zone.
fn zoned(text: &str) -> bool {
    if !text.is_ascii() || text.len() <= 16 || !date(&text[..10]) {
        return false;
    }
    let clock = &text[11..];
    clock.ends_with(['Z', 'z']) || clock.contains('+') || clock.contains('-')
}

fn json(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('{') && text.ends_with('}') || text.starts_with('[') && text.ends_with(']')
}

/// Whether a text is made of digits where the pattern has `d`, of hexadecimal digits where it has `x`, and is the pattern elsewhere.
fn shaped(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
            b'd' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_hexdigit(),
            other => byte == other,
        })
}

fn uuid(text: &str) -> bool {
    shaped(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

fn email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty()
            && domain.contains('.')
            && !domain.starts_with('.')
            && !domain.ends_with('.')
            && !text.contains(char::is_whitespace)
    })
}

fn url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty()) && !text.contains(char::is_whitespace)
}

fn address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;

    use super::*;
    use crate::types::show;

    fn found(values: &[&str], confidence: f64) -> String {
        let array: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        match column(&array, confidence) {
            Inferred::Nothing => "text".into(),
            Inferred::Format { format, .. } => format.into(),
            Inferred::Type { to, .. } if to.json => "json".into(),
            Inferred::Type { to, .. } => show(&to.data_type),
        }
    }

    #[test]
    fn values_say_what_they_are() {
        for (values, kind) in [
            (&["true", "FALSE"][..], "bool"),
            (&["1", "-20", "0"], "int64"),
            (&["1", "2.50", "-0.1"], "decimal128(38,2)"),
            (&["9223372036854775808", "1"], "decimal128(38,0)"),
            (&["1e10", "2.5"], "float64"),
            (&["0.1234567891234", "2.5"], "float64"),
            (&["2024-02-29", "1999-12-31"], "date32"),
            (&["12:30:00", "23:59:59.5"], "time[us]"),
            (&["2024-01-01 10:00:00", "2024-01-01T10:00:00.123456"], "timestamp[us]"),
            (&["2024-01-01T10:00:00Z", "2024-01-01T10:00:00+02:00"], "timestamp[us, UTC]"),
            (&["{\"a\": 1}", "[1, 2]"], "json"),
            (&["6ba7b810-9dad-11d1-80b4-00c04fd430c8"], "uuid"),
            (&["ada@example.org"], "e-mail"),
            (&["https://example.org/a"], "URL"),
            (&["10.0.0.1", "::1"], "IP address"),
            (&["a", "1"], "text"),
        ] {
            assert_eq!(found(values, 1.0), kind, "{values:?}");
        }
    }

    #[test]
    fn codes_and_mixtures_stay_text() {
        for values in [
            &["00501", "10001"][..],
            &["-01", "5"],
            &["2024-02-30"],
            &["2024-01-01", "2024-01-01T10:00:00Z"],
            &["t", "f"],
            &[""],
            &["1", ""],
        ] {
            assert_eq!(found(values, 1.0), "text", "{values:?}");
        }
    }

    #[test]
    fn confidence_allows_a_few_others() {
        let values = ["1", "2", "3", "n/a"];
        assert_eq!(found(&values, 0.75), "int64");
        assert_eq!(found(&values, 0.76), "text");
        assert_eq!(found(&["1", "2", "3", "007"], 0.5), "text", "a leading zero is never outvoted");
    }
}
