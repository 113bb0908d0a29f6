//! How far the times of two sides of a join are apart, read off its condition.
//!
//! A comparison whose sides are event times, give or take something constant, bounds the difference of the two times. The bounds only say
//! how long a row is kept; which rows meet is decided by the condition itself. So they may be wider than what is written, never narrower.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, ExprSchema, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, Cast};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};

use super::spans::Means;
use crate::transforms::Shape;

/// The two sides of a join: what is known about the columns of both, left before right.
pub(super) struct Sides<'a> {
    pub(super) schema: &'a DFSchema,
    pub(super) left: &'a [Option<Means>],
    pub(super) right: &'a [Option<Means>],
}

/// What comparisons say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// How much later the right time is than the left at least, and at most; nanoseconds.
    pub(super) least: Option<i128>,
    pub(super) most: Option<i128>,
    /// A comparison was of these columns, by side.
    pub(super) columns: Option<(usize, usize)>,
}

/// The time of one side (false: left), or its negative, and what is added to it: at least and at most so many nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Term {
    time: Option<(bool, usize, i8)>,
    least: i128,
    most: i128,
}

impl Term {
    fn constant(value: i128) -> Self {
        Self { time: None, least: value, most: value }
    }

    fn negative(self) -> Self {
        let time = self.time.map(|(side, column, sign)| (side, column, -sign));
        Self { time, least: -self.most, most: -self.least }
    }

    fn wider(self, below: i128, above: i128) -> Self {
        Self { least: self.least - below, most: self.most + above, ..self }
    }
}

impl Sides<'_> {
    /// What conjuncts say together.
    pub(super) fn bounds<'e>(&self, conjuncts: impl IntoIterator<Item = &'e Expr>) -> Bounds {
        let mut bounds = Bounds { least: None, most: None, columns: None };
        for expr in conjuncts {
            match expr {
                Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.comparison(left, *op, right, &mut bounds),
                Expr::Between(between) if !between.negated => {
                    self.comparison(&between.expr, Operator::GtEq, &between.low, &mut bounds);
                    self.comparison(&between.expr, Operator::LtEq, &between.high, &mut bounds);
                }
                _ => {}
            }
        }
        bounds
    }

    fn comparison(&self, one: &Expr, op: Operator, other: &Expr, bounds: &mut Bounds) {
        let (up, down) = match op {
            Operator::Eq => (true, true),
            Operator::Gt | Operator::GtEq => (true, false),
            Operator::Lt | Operator::LtEq => (false, true),
            _ => return,
        };
        let (Some(one), Some(other)) = (self.term(one), self.term(other)) else { return };
        let other = other.negative();
        let ((side, first, sign), (other_side, second, other_sign)) = match (one.time, other.time) {
            (Some(one), Some(other)) => (one, other),
            _ => return,
        };
        if side == other_side || sign == other_sign {
            return;
        }
        // `one - other` is the right time less the left, or the other way round, and something between `least` and `most`.
        let (least, most) = (one.least + other.least, one.most + other.most);
        let right_is_positive = side == (sign > 0);
        let columns = if side { (second, first) } else { (first, second) };
        if *bounds.columns.get_or_insert(columns) != columns {
            return;
        }
        let (above, below) = match right_is_positive {
            true => (up.then_some(-most), down.then_some(-least)),
            false => (down.then_some(least), up.then_some(most)),
        };
        if let Some(above) = above {
            bounds.least = Some(bounds.least.map_or(above, |least| least.max(above)));
        }
        if let Some(below) = below {
            bounds.most = Some(bounds.most.map_or(below, |most| most.min(below)));
        }
    }

    fn term(&self, expr: &Expr) -> Option<Term> {
        match expr {
            Expr::Alias(alias) => self.term(&alias.expr),
            Expr::Column(column) => {
                let at = self.schema.maybe_index_of_column(column)?;
                let (side, at) = if at < self.left.len() { (false, at) } else { (true, at - self.left.len()) };
                let all = if side { self.right } else { self.left };
                let means = all.get(at)?.as_ref()?;
                let time = |at: usize| Term { time: Some((side, at, 1)), least: 0, most: 0 };
                match means {
                    Means::Time => Some(time(at)),
                    // The edges of a window are not further from the time than it is long.
                    Means::Start(assign, true) | Means::End(assign, true) | Means::Last(assign, true) => {
                        let Shape::Hop { size, step } = assign.shape else { return None };
                        let own = all.iter().position(|means| *means == Some(Means::Time))?;
                        let unit = unit(self.schema.field_from_column(column).ok()?.data_type())?;
                        let long = i128::from(size) * unit;
                        (size == step).then(|| time(own).wider(long, long))
                    }
                    _ => None,
                }
            }
            Expr::Literal(value, _) => constant(value).map(Term::constant),
            Expr::Negative(inner) => self.term(inner).map(Term::negative),
            Expr::Cast(Cast { expr: inner, field }) => {
                let (from, to) = (inner.get_type(self.schema).ok()?, field.data_type().clone());
                let term = self.term(inner)?;
                // A cast between zones of which one is not there shifts by what the clocks there say.
                let (DataType::Timestamp(_, from_zone), DataType::Timestamp(_, to_zone)) = (&from, &to) else { return None };
                if from_zone.is_some() != to_zone.is_some()
                    && ![from_zone, to_zone].into_iter().flatten().all(|zone| is_utc(zone))
                {
                    return None;
                }
                let (from, to) = (unit(&from)?, unit(&to)?);
                Some(if to > from { term.wider(to, to) } else { term })
            }
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
                let (one, mut other) = (self.term(left)?, self.term(right)?);
                if *op == Operator::Minus {
                    other = other.negative();
                }
                if one.time.is_some() && other.time.is_some() {
                    return None;
                }
                let sum = Term { time: one.time.or(other.time), least: one.least + other.least, most: one.most + other.most };
                // What is finer than the type is cut off.
                let kind = expr.get_type(self.schema).ok()?;
                let DataType::Timestamp(_, zone) = &kind else { return Some(sum) };
                if zone.as_ref().is_some_and(|zone| !is_utc(zone)) {
                    // A day there may be an hour longer or shorter.
                    return Some(sum.wider(HOUR, HOUR));
                }
                let unit = unit(&kind)?;
                Some(if sum.least % unit == 0 && sum.most % unit == 0 { sum } else { sum.wider(unit, unit) })
            }
            _ => None,
        }
    }
}

const HOUR: i128 = 3_600_000_000_000;

fn is_utc(zone: &str) -> bool {
    ["UTC", "Z", "+00:00", "Etc/UTC"].contains(&zone)
}

/// The nanoseconds of a type's unit.
fn unit(kind: &DataType) -> Option<i128> {
    let DataType::Timestamp(unit, _) = kind else { return None };
    Some(match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    })
}

/// How many nanoseconds an interval has. Months have no length.
fn constant(value: &ScalarValue) -> Option<i128> {
    const DAY: i128 = 24 * HOUR;
    match value {
        ScalarValue::IntervalMonthDayNano(Some(span)) if span.months == 0 => {
            Some(i128::from(span.days) * DAY + i128::from(span.nanoseconds))
        }
        ScalarValue::IntervalDayTime(Some(span)) => Some(i128::from(span.days) * DAY + i128::from(span.milliseconds) * 1_000_000),
        ScalarValue::DurationSecond(Some(span)) => Some(i128::from(*span) * 1_000_000_000),
        ScalarValue::DurationMillisecond(Some(span)) => Some(i128::from(*span) * 1_000_000),
        ScalarValue::DurationMicrosecond(Some(span)) => Some(i128::from(*span) * 1_000),
        ScalarValue::DurationNanosecond(Some(span)) => Some(i128::from(*span)),
        _ => None,
    }
}
