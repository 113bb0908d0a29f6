//! PostgreSQL's `numeric` on the wire: base-10000 digits ↔ scaled integers. Never through a float.
//!
//! Layout: digit count, weight of the first digit (power of 10000), sign, display scale, then the digits, all 16 bits.

use arrow::datatypes::i256;

use super::columns::Bad;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const PLUS_INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Powers of ten that fit 64 bits.
const TEN: [u64; 20] = {
    let mut table = [1u64; 20];
    let mut at = 1;
    while at < 20 {
        table[at] = table[at - 1] * 10;
        at += 1;
    }
    table
};

fn ten_128(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

struct Digits<'a> {
    /// Exponent of ten of the last digit group.
    exponent: i32,
    negative: bool,
    groups: &'a [u8],
}

fn head(bytes: &[u8]) -> Result<Digits<'_>, Bad> {
    let Some((head, groups)) = bytes.split_first_chunk::<8>() else {
        return Err(Bad::corrupt("a numeric shorter than its head"));
    };
    let count = usize::from(u16::from_be_bytes([head[0], head[1]]));
    let weight = i32::from(i16::from_be_bytes([head[2], head[3]]));
    let sign = u16::from_be_bytes([head[4], head[5]]);
    if groups.len() != count * 2 {
        return Err(Bad::corrupt("a numeric whose digit count does not match its length"));
    }
    match sign {
        0 | NEGATIVE => {}
        NAN => return Err(Bad::value("NaN has no place in a decimal")),
        PLUS_INFINITY => return Err(Bad::value("Infinity has no place in a decimal")),
        MINUS_INFINITY => return Err(Bad::value("-Infinity has no place in a decimal")),
        _ => return Err(Bad::corrupt("a numeric with an unknown sign")),
    }
    Ok(Digits { exponent: (weight - count as i32 + 1) * 4, negative: sign == NEGATIVE, groups })
}

fn too_large() -> Bad {
    Bad::value("the number has more digits than the column's decimal type")
}

/// The value times `10^scale`. Digits beyond the scale are an error, or rounded half away from zero with `round`.
#[inline]
pub fn decode_i128(bytes: &[u8], scale: i8, round: bool) -> Result<i128, Bad> {
    let digits = head(bytes)?;
    let shift = digits.exponent + i32::from(scale);
    if digits.groups.len() <= 8 {
        // Up to 16 digits: everything happens in registers.
        let mut value = 0u64;
        for group in digits.groups.chunks_exact(2) {
            let group = u16::from_be_bytes([group[0], group[1]]);
            if group > 9999 {
                return Err(Bad::corrupt("a numeric digit over 9999"));
            }
            value = value * 10_000 + u64::from(group);
        }
        if value == 0 {
            return Ok(0);
        }
        let magnitude = match shift {
            0 => i128::from(value),
            1..=19 => i128::from(value) * i128::from(TEN[shift as usize]),
            -19..=-1 => {
                let divisor = TEN[-shift as usize];
                let (quotient, remainder) = (value / divisor, value % divisor);
                if remainder != 0 && !round {
                    return Err(Bad::value("the number has more digits after the point than the column's decimal type"));
                }
                i128::from(quotient) + i128::from(remainder != 0 && remainder >= divisor - remainder)
            }
            _ => return decode_slow(&digits, shift, round),
        };
        return Ok(if digits.negative { -magnitude } else { magnitude });
    }
    decode_slow(&digits, shift, round)
}

fn decode_slow(digits: &Digits<'_>, shift: i32, round: bool) -> Result<i128, Bad> {
    let wide = wide(digits, shift, round)?;
    wide.to_i128().ok_or_else(too_large)
}

/// As [`decode_i128`], in 256 bits.
pub fn decode_i256(bytes: &[u8], scale: i8) -> Result<i256, Bad> {
    let digits = head(bytes)?;
    let shift = digits.exponent + i32::from(scale);
    wide(&digits, shift, false)
}

/// Digit by digit in 256 bits. Groups that lie wholly behind the scale are looked at but not kept.
fn wide(digits: &Digits<'_>, shift: i32, round: bool) -> Result<i256, Bad> {
    let group_factor = i256::from_i128(10_000);
    let count = (digits.groups.len() / 2) as i32;
    let mut value = i256::ZERO;
    let mut behind = Behind::Nothing;
    for (at, group) in digits.groups.chunks_exact(2).enumerate() {
        let group = u16::from_be_bytes([group[0], group[1]]);
        if group > 9999 {
            return Err(Bad::corrupt("a numeric digit over 9999"));
        }
        // Exponent of this group after scaling.
        let place = shift + 4 * (count - 1 - at as i32);
        if place >= 0 {
            value = value
                .checked_mul(group_factor)
                .and_then(|v| v.checked_add(i256::from_i128(group.into())))
                .ok_or_else(too_large)?;
        } else if place > -4 {
            let cut = 10u16.pow(place.unsigned_abs());
            let keep = 10i128.pow((4 + place).unsigned_abs());
            value = value
                .checked_mul(i256::from_i128(keep))
                .and_then(|v| v.checked_add(i256::from_i128((group / cut).into())))
                .ok_or_else(too_large)?;
            behind = Behind::of(group % cut, cut);
        } else if place == -4 {
            behind = Behind::of(group, 10_000);
        } else if group != 0 && behind == Behind::Nothing {
            behind = Behind::Less;
        }
    }
    if shift > 0 && value != i256::ZERO {
        let factor = i256::from_i128(10).checked_pow(shift.unsigned_abs()).ok_or_else(too_large)?;
        value = value.checked_mul(factor).ok_or_else(too_large)?;
    }
    if behind != Behind::Nothing {
        if !round {
            return Err(Bad::value("the number has more digits after the point than the column's decimal type"));
        }
        if behind == Behind::HalfOrMore {
            value = value.checked_add(i256::ONE).ok_or_else(too_large)?;
        }
    }
    Ok(if digits.negative { value.wrapping_neg() } else { value })
}

#[derive(PartialEq, Clone, Copy)]
enum Behind {
    Nothing,
    Less,
    HalfOrMore,
}

impl Behind {
    fn of(rest: u16, unit: u16) -> Self {
        match rest {
            0 => Self::Nothing,
            rest if rest >= unit.div_ceil(2) => Self::HalfOrMore,
            _ => Self::Less,
        }
    }
}

/// Appends length and value of `value / 10^scale` (`scale` ≥ 0) as a field.
#[inline]
pub fn encode_i128(value: i128, scale: u8, out: &mut Vec<u8>) {
    let negative = value < 0;
    let mut magnitude = value.unsigned_abs();
    let mut groups = [0u16; 12];
    let mut count = 0;
    let fraction_groups = usize::from(scale.div_ceil(4));
    let pad = TEN[fraction_groups * 4 - usize::from(scale)];
    // The last group of the fraction may be short: it is aligned first, without overflowing the whole.
    if pad > 1 {
        let unit = u128::from(10_000 / pad);
        groups[0] = ((magnitude % unit) * u128::from(pad)) as u16;
        magnitude /= unit;
        count = 1;
    }
    if let Ok(mut small) = u64::try_from(magnitude) {
        while small > 0 {
            groups[count] = (small % 10_000) as u16;
            small /= 10_000;
            count += 1;
        }
    } else {
        while magnitude > 0 {
            groups[count] = (magnitude % 10_000) as u16;
            magnitude /= 10_000;
            count += 1;
        }
    }
    write(&groups[..count], fraction_groups, negative, scale.into(), out);
}

/// As [`encode_i128`], in 256 bits.
pub fn encode_i256(value: i256, scale: u8, out: &mut Vec<u8>) {
    if let Some(small) = value.to_i128() {
        return encode_i128(small, scale, out);
    }
    let negative = value.is_negative();
    let fraction_groups = usize::from(scale.div_ceil(4));
    let mut groups = Vec::with_capacity(22);
    // Remainders are taken of the signed value: i256::MIN has no positive counterpart.
    let mut rest = value;
    let mut cut = |unit: i128, factor: u16| {
        let unit = i256::from_i128(unit);
        let remainder = rest.wrapping_rem(unit).to_i128().unwrap_or(0).unsigned_abs() as u16;
        groups.push(remainder * factor);
        rest = rest.wrapping_div(unit);
        rest != i256::ZERO
    };
    let pad = TEN[fraction_groups * 4 - usize::from(scale)] as u16;
    let mut more = if pad > 1 { cut(i128::from(10_000 / pad), pad) } else { true };
    while more {
        more = cut(10_000, 1);
    }
    write(&groups, fraction_groups, negative, scale.into(), out);
}

/// `groups` from the least significant.
fn write(groups: &[u16], fraction_groups: usize, negative: bool, scale: u16, out: &mut Vec<u8>) {
    let first = groups.iter().position(|group| *group != 0).unwrap_or(groups.len());
    let last = groups.iter().rposition(|group| *group != 0).map_or(first, |at| at + 1);
    let digits = &groups[first..last];
    let weight = if digits.is_empty() { 0 } else { last as i16 - 1 - fraction_groups as i16 };
    let mut field = [0u8; 12];
    field[..4].copy_from_slice(&(8 + 2 * digits.len() as i32).to_be_bytes());
    field[4..6].copy_from_slice(&(digits.len() as u16).to_be_bytes());
    field[6..8].copy_from_slice(&weight.to_be_bytes());
    field[8..10].copy_from_slice(&(if negative { NEGATIVE } else { 0 }).to_be_bytes());
    field[10..12].copy_from_slice(&scale.to_be_bytes());
    out.extend_from_slice(&field);
    for digit in digits.iter().rev() {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

/// Whether `value` has at most `precision` digits.
#[inline]
pub fn fits_i128(value: i128, precision: u8) -> bool {
    ten_128(precision.into()).is_none_or(|limit| value.unsigned_abs() < limit.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(value: i128, scale: u8) -> Vec<u8> {
        let mut out = Vec::new();
        encode_i128(value, scale, &mut out);
        assert_eq!(i32::from_be_bytes(out[..4].try_into().unwrap()) as usize, out.len() - 4);
        out.split_off(4)
    }

    #[test]
    fn known_encodings() {
        // 12345.67 = groups 1, 2345, 6700; weight 1; scale 2 (as pg sends it)
        assert_eq!(field(1_234_567, 2), [0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 0x09, 0x29, 0x1A, 0x2C]);
        assert_eq!(field(0, 2), [0, 0, 0, 0, 0, 0, 0, 2]);
        // -0.05 = group 500, weight -1
        assert_eq!(field(-5, 2), [0, 1, 0xFF, 0xFF, 0x40, 0, 0, 2, 0x01, 0xF4]);
    }

    #[test]
    fn what_a_decimal_cannot_hold_is_a_value_error_and_garbage_is_corruption() {
        for sign in [NAN, PLUS_INFINITY, MINUS_INFINITY] {
            let mut bytes = vec![0; 8];
            bytes[4..6].copy_from_slice(&sign.to_be_bytes());
            assert!(matches!(decode_i128(&bytes, 2, false), Err(Bad::Value(_))));
        }
        assert!(matches!(decode_i128(&[0, 1, 0, 0, 0, 0, 0, 0], 2, false), Err(Bad::Corrupt(_))));
        assert!(matches!(decode_i128(&[0, 1, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], 2, false), Err(Bad::Corrupt(_))));
        // 0.125 at scale 2
        assert!(matches!(decode_i128(&field(125, 3), 2, false), Err(Bad::Value(_))));
        assert_eq!(decode_i128(&field(125, 3), 2, true).ok(), Some(13));
        assert_eq!(decode_i128(&field(-125, 3), 2, true).ok(), Some(-13));
        assert_eq!(decode_i128(&field(124, 3), 2, true).ok(), Some(12));
        assert_eq!(decode_i128(&field(449, 4), 1, true).ok(), Some(0));
    }

    proptest! {
        #[test]
        fn every_decimal_survives_the_wire(value in any::<i128>(), scale in 0u8..=38) {
            let value = value % 10i128.pow(38);
            prop_assert_eq!(decode_i128(&field(value, scale), scale as i8, false).ok(), Some(value));
        }

        #[test]
        fn small_decimals_survive_the_wire(value in -10_000_000_000i128..10_000_000_000, scale in 0u8..=20) {
            prop_assert_eq!(decode_i128(&field(value, scale), scale as i8, false).ok(), Some(value));
        }

        #[test]
        fn wide_decimals_survive_the_wire(high in any::<i128>(), low in any::<u128>(), scale in 0u8..=76) {
            let value = i256::from_parts(low, high).wrapping_rem(i256::from_i128(10).checked_pow(76).unwrap());
            let mut out = Vec::new();
            encode_i256(value, scale, &mut out);
            prop_assert_eq!(decode_i256(&out[4..], scale as i8).ok(), Some(value));
        }

        #[test]
        fn round_wide_decimals_survive_the_wire(few in any::<i32>(), zeros in 0u32..=66, scale in 0u8..=76) {
            let value = i256::from_i128(few.into()).wrapping_mul(i256::from_i128(10).wrapping_pow(zeros));
            let mut out = Vec::new();
            encode_i256(value, scale, &mut out);
            prop_assert_eq!(decode_i256(&out[4..], scale as i8).ok(), Some(value));
        }

        #[test]
        fn rounding_in_both_paths_agrees(value in any::<i64>(), scale in 1u8..=18, to in 0i8..=18) {
            let bytes = field(value.into(), scale);
            let digits = head(&bytes).ok().unwrap();
            let slow = decode_slow(&digits, digits.exponent + i32::from(to), true).ok();
            prop_assert_eq!(decode_i128(&bytes, to, true).ok(), slow);
        }

        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64), scale in -5i8..76) {
            let _ = decode_i128(&bytes, scale, true);
            let _ = decode_i256(&bytes, scale);
        }
    }
}
