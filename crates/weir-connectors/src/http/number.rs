//! Numbers by their digits. A JSON number is text; what it becomes must be the same number or it does not fit.

/// A decimal number: `digits` × 10^`exponent`, without leading or trailing zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digits {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Digits {
    /// Takes a JSON number apart. The text must be a JSON number.
    pub fn of(text: &str) -> Self {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, power) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        // An exponent that does not fit 64 bits is as good as the largest: nothing holds such a number.
        let power: i64 = power.parse().unwrap_or(if power.starts_with('-') { i64::MIN / 4 } else { i64::MAX / 4 });
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0').collect();
        let mut exponent = power.saturating_sub(fraction.len() as i64);
        while digits.last() == Some(&0) {
            digits.pop();
            exponent = exponent.saturating_add(1);
        }
        let leading = digits.iter().take_while(|&&digit| digit == 0).count();
        digits.drain(..leading);
        if digits.is_empty() {
            exponent = 0;
        }
        Self { negative, digits, exponent }
    }

    /// The number × 10^`scale`, if that is an integer of at most 38 digits.
    pub fn scaled(&self, scale: i8) -> Option<i128> {
        let shift = self.exponent.saturating_add(i64::from(scale));
        if self.digits.is_empty() {
            return Some(0);
        }
        if shift < 0 || self.digits.len() as i64 + shift > 38 {
            return None;
        }
        let mut value = self.digits.iter().fold(0i128, |value, &digit| value * 10 + i128::from(digit));
        value *= 10i128.pow(shift as u32);
        Some(if self.negative { -value } else { value })
    }

    /// The value of an integer, whatever way it is written (`1e3`, `5.0`).
    pub fn integer(&self) -> Option<i128> {
        self.scaled(0)
    }
}

/// Whether the number is written as an integer: no point, no exponent.
pub fn written_as_integer(text: &str) -> bool {
    !text.contains(['.', 'e', 'E'])
}

/// The 64-bit float that prints as this number; `None` if a float would have to round digits away.
pub fn exact_f64(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    if !value.is_finite() {
        return None;
    }
    let significant = text.bytes().take_while(|byte| !matches!(byte, b'e' | b'E')).filter(u8::is_ascii_digit).count();
    // Up to 15 digits survive any trip through a normal double.
    if significant <= 15 && (value == 0.0 || value.is_normal()) && (value != 0.0 || is_zero(text)) {
        return Some(value);
    }
    (Digits::of(&format!("{value:e}")) == Digits::of(text)).then_some(value)
}

/// The 32-bit float that prints as this number.
pub fn exact_f32(text: &str) -> Option<f32> {
    let value: f32 = text.parse().ok()?;
    (value.is_finite() && Digits::of(&format!("{value:e}")) == Digits::of(text)).then_some(value)
}

fn is_zero(text: &str) -> bool {
    Digits::of(text).digits.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_float_that_would_round_does_not_fit() {
        for text in ["0.1", "1e300", "-0.0", "0.30000000000000004", "5e-324", "9007199254740992", "1.7976931348623157e308"] {
            assert!(exact_f64(text).is_some(), "{text}");
        }
        for text in ["9007199254740993", "0.12345678901234567890", "1e400", "1e-400", "3.14159265358979323846"] {
            assert!(exact_f64(text).is_none(), "{text}");
        }
        assert!(exact_f64("-0.0").is_some_and(|value| value.is_sign_negative()));
    }

    #[test]
    fn integers_are_integers_however_they_are_written() {
        for (text, value) in [("1e3", 1000), ("5.0", 5), ("-120e-1", -12), ("0.0", 0), ("-0", 0), ("1E+2", 100)] {
            assert_eq!(Digits::of(text).integer(), Some(value), "{text}");
        }
        for text in ["0.5", "1e-1", "1e39", "1e99999999999999999999"] {
            assert_eq!(Digits::of(text).integer(), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_double_survives(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            for text in [format!("{value:?}"), format!("{value}")] {
                let back = exact_f64(&text);
                prop_assert_eq!(back.map(f64::to_bits), Some(bits), "{}", text);
            }
        }

        #[test]
        fn decimals_keep_their_digits(value in -10i128.pow(37)..10i128.pow(37), scale in 0i8..=20) {
            let sign = if value < 0 { "-" } else { "" };
            let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale as usize + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
            let text = if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") };
            prop_assert_eq!(Digits::of(&text).scaled(scale), Some(value));
        }
    }
}
