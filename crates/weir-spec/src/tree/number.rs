//! Numbers as YAML 1.2 has them, refused where reading would change them.

use serde_json::Number;

/// What a plain scalar is.
pub(super) enum Reading {
    Text,
    Number(Number),
    /// It is a number, but reading it would change it.
    Bent(&'static str),
}

/// Reads a plain scalar as a number.
pub(super) fn number(text: &str) -> Reading {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => return Reading::Bent("is not finite"),
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && !digits.is_empty()
            && digits.chars().all(|c| c.is_digit(radix))
        {
            return u64::from_str_radix(digits, radix)
                .map_or(Reading::Bent("has more digits than a 64-bit number holds"), |n| Reading::Number(n.into()));
        }
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let shaped = digits(whole)
        && fraction.is_none_or(digits)
        && !(whole.is_empty() && fraction.is_none_or(str::is_empty))
        && exponent.is_none_or(|e| {
            let e = e.strip_prefix(['-', '+']).unwrap_or(e);
            !e.is_empty() && digits(e)
        });
    if !shaped {
        return Reading::Text;
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return Reading::Bent("has a leading zero");
    }
    if fraction.is_none() && exponent.is_none() {
        if let Ok(n) = text.parse::<i64>() {
            return Reading::Number(n.into());
        }
        return match text.strip_prefix('+').unwrap_or(text).parse::<u64>() {
            Ok(n) => Reading::Number(n.into()),
            Err(_) => Reading::Bent("has more digits than a 64-bit number holds"),
        };
    }
    let significant = mantissa.chars().filter(char::is_ascii_digit).collect::<String>();
    if significant.trim_start_matches('0').len() > 17 {
        return Reading::Bent("has more digits than a floating-point number holds");
    }
    match text.parse::<f64>().ok().and_then(Number::from_f64) {
        Some(number) => Reading::Number(number),
        None => Reading::Bent("is too large"),
    }
}
