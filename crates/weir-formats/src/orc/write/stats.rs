//! Column statistics, of a stripe and of the file. Readers leave out what the bounds exclude: a bound that is not sure is
//! not written.

use super::proto::Message;

/// Texts longer than this are no bounds.
const LONGEST_BOUND: usize = 1024;

#[derive(Default)]
pub(super) struct Stats {
    /// Values that are not NULL.
    pub(super) count: u64,
    pub(super) nulls: bool,
    pub(super) bounds: Bounds,
}

/// What is kept besides the count.
#[derive(Default)]
pub(super) enum Bounds {
    #[default]
    None,
    True(u64),
    Int(Range<i64>),
    Double {
        range: Range<f64>,
        sum: f64,
        nan: bool,
    },
    Text {
        range: Range<Box<[u8]>>,
        /// Bytes of all values.
        bytes: u64,
    },
    Bytes(u64),
    Date(Range<i64>),
    /// Milliseconds, rounded down.
    Timestamp(Range<i64>),
    Decimal {
        range: Range<i128>,
        scale: u32,
    },
}

/// The smallest and the largest value, once there is one.
pub(super) type Range<T> = Option<(T, T)>;

/// Widens a range by a value.
pub(super) fn widen<T: PartialOrd + Copy>(range: &mut Range<T>, value: T) {
    match range {
        None => *range = Some((value, value)),
        Some((low, high)) => {
            if value < *low {
                *low = value;
            }
            if value > *high {
                *high = value;
            }
        }
    }
}

/// Widens a range of texts, without copying what lies inside.
pub(super) fn widen_text(range: &mut Range<Box<[u8]>>, value: &[u8]) {
    match range {
        None => *range = Some((value.into(), value.into())),
        Some((low, high)) => {
            if value < &**low {
                *low = value.into();
            } else if value > &**high {
                *high = value.into();
            }
        }
    }
}

fn join<T: PartialOrd + Copy>(whole: &mut Range<T>, part: &Range<T>) {
    if let Some((low, high)) = part {
        widen(whole, *low);
        widen(whole, *high);
    }
}

impl Bounds {
    pub(super) fn whole(&mut self, value: i64) {
        if let Bounds::Int(range) | Bounds::Date(range) = self {
            widen(range, value);
        }
    }

    pub(super) fn float(&mut self, value: f64) {
        if let Bounds::Double { range, sum, nan } = self {
            *sum += value;
            if value.is_nan() {
                *nan = true;
            } else {
                widen(range, value);
            }
        }
    }
}

impl Stats {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, ..Self::default() }
    }

    /// Adds a stripe's to the file's and begins the next stripe's.
    pub(super) fn join_and_reset(&mut self, stripe: &mut Stats) {
        self.count += std::mem::take(&mut stripe.count);
        self.nulls |= std::mem::take(&mut stripe.nulls);
        match (&mut self.bounds, &mut stripe.bounds) {
            (Bounds::True(whole), Bounds::True(part)) | (Bounds::Bytes(whole), Bounds::Bytes(part)) => {
                *whole += std::mem::take(part);
            }
            (Bounds::Int(whole), Bounds::Int(part))
            | (Bounds::Date(whole), Bounds::Date(part))
            | (Bounds::Timestamp(whole), Bounds::Timestamp(part)) => join(whole, &part.take()),
            (Bounds::Double { range, sum, nan }, Bounds::Double { range: part, sum: part_sum, nan: part_nan }) => {
                join(range, &part.take());
                *sum += std::mem::take(part_sum);
                *nan |= std::mem::take(part_nan);
            }
            (Bounds::Decimal { range, .. }, Bounds::Decimal { range: part, .. }) => join(range, &part.take()),
            (Bounds::Text { range: whole, bytes }, Bounds::Text { range: part, bytes: part_bytes }) => {
                *bytes += std::mem::take(part_bytes);
                if let Some((low, high)) = part.take() {
                    widen_text(whole, &low);
                    widen_text(whole, &high);
                }
            }
            _ => {}
        }
    }

    pub(super) fn message(&self) -> Message {
        let mut message = Message::default();
        message.number(1, self.count);
        let mut inner = Message::default();
        match &self.bounds {
            Bounds::Int(Some((low, high))) => {
                inner.signed(1, *low);
                inner.signed(2, *high);
                message.message(2, &inner);
            }
            // NaN is neither inside nor outside of any range.
            Bounds::Double { range: Some((low, high)), sum, nan: false } => {
                // Readers differ on whether the two zeros are equal.
                inner.double(1, if *low == 0.0 { -0.0 } else { *low });
                inner.double(2, if *high == 0.0 { 0.0 } else { *high });
                if sum.is_finite() {
                    inner.double(3, *sum);
                }
                message.message(3, &inner);
            }
            Bounds::Text { range: Some((low, high)), bytes } if low.len().max(high.len()) <= LONGEST_BOUND => {
                inner.bytes(1, low);
                inner.bytes(2, high);
                inner.signed(3, *bytes as i64);
                message.message(4, &inner);
            }
            Bounds::True(count) => {
                inner.packed(1, [*count]);
                message.message(5, &inner);
            }
            Bounds::Decimal { range: Some((low, high)), scale } => {
                inner.bytes(1, decimal_text(*low, *scale).as_bytes());
                inner.bytes(2, decimal_text(*high, *scale).as_bytes());
                message.message(6, &inner);
            }
            Bounds::Date(Some((low, high))) => {
                inner.signed(1, *low);
                inner.signed(2, *high);
                message.message(7, &inner);
            }
            Bounds::Bytes(sum) => {
                inner.signed(1, *sum as i64);
                message.message(8, &inner);
            }
            Bounds::Timestamp(Some((low, high))) => {
                inner.signed(3, *low);
                inner.signed(4, *high);
                message.message(9, &inner);
            }
            _ => {}
        }
        message.number(10, u64::from(self.nulls));
        message
    }
}

fn decimal_text(value: i128, scale: u32) -> String {
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_bounds_with_their_point() {
        assert_eq!(decimal_text(-5, 2), "-0.05");
        assert_eq!(decimal_text(12345, 3), "12.345");
        assert_eq!(decimal_text(-7, 0), "-7");
    }
}
