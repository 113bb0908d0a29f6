//! Timestamps as ORC has them: seconds since 2015 and nanoseconds without their trailing zeros.

use arrow::datatypes::TimeUnit;

/// 2015-01-01T00:00:00Z.
const EPOCH: i64 = 1_420_070_400;
/// The last second of the year 262142: what readers take, give or take a year.
const FARTHEST: u64 = 8_210_266_876_799;

pub(super) struct Moment {
    pub(super) seconds: i64,
    pub(super) nanos: i64,
    /// Since 1970, rounded down.
    pub(super) millis: i64,
}

/// A value as it is stored.
///
/// Readers take a second off a value before 1970 that has more than 999,999 nanoseconds: the first writers rounded towards
/// zero and all later ones keep it so. By that rule nothing stands for the second before 1970, its first millisecond apart.
pub(super) fn split(value: i64, unit: TimeUnit) -> Result<Moment, &'static str> {
    let (per_second, nanos_per) = match unit {
        TimeUnit::Second => (1, 1_000_000_000),
        TimeUnit::Millisecond => (1_000, 1_000_000),
        TimeUnit::Microsecond => (1_000_000, 1_000),
        TimeUnit::Nanosecond => (1_000_000_000, 1),
    };
    let second = value.div_euclid(per_second);
    let nanos = value.rem_euclid(per_second) * nanos_per;
    if second.unsigned_abs() > FARTHEST {
        return Err("ORC's timestamps end with the year 262142");
    }
    let late = second < 0 && nanos > 999_999;
    if late && second == -1 {
        return Err("ORC cannot tell 1969-12-31T23:59:59.001 and later from the same part of 1970's first second");
    }
    Ok(Moment {
        seconds: second + i64::from(late) - EPOCH,
        nanos: without_zeros(nanos),
        millis: second * 1000 + nanos / 1_000_000,
    })
}

/// The digits, and in the low three bits how many zeros were cut off, less one.
fn without_zeros(nanos: i64) -> i64 {
    if nanos == 0 || nanos % 100 != 0 {
        return nanos << 3;
    }
    let (mut digits, mut zeros) = (nanos / 100, 1);
    while digits % 10 == 0 && zeros < 7 {
        digits /= 10;
        zeros += 1;
    }
    digits << 3 | zeros
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_zeros_are_counted() {
        assert_eq!(without_zeros(1000), 0x0a);
        assert_eq!(without_zeros(100_000), 0x0c);
        assert_eq!(without_zeros(100_000_000), 1 << 3 | 7);
        assert_eq!(without_zeros(10), 10 << 3);
    }

    #[test]
    fn what_no_reader_could_tell_apart_is_refused() {
        let at = |value| split(value, TimeUnit::Microsecond).map(|moment| moment.seconds + EPOCH);
        assert_eq!(at(-1_000_000), Ok(-1));
        assert_eq!(at(-999_001), Ok(-1));
        assert!(at(-999_000).is_err() && at(-1).is_err());
        assert_eq!(at(0), Ok(0));
        assert_eq!(at(-1_000_001), Ok(-1));
        assert_eq!(at(-1_999_999), Ok(-2));
        assert!(split(i64::MIN, TimeUnit::Second).is_err() && split(i64::MAX, TimeUnit::Millisecond).is_err());
    }
}
