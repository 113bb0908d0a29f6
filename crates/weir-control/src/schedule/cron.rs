//! Five cron fields as sets, and which wall-clock times they mean. No time zones.

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use weir_error::{Error, Kind, Result};

/// One field: a bit for each value that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub bits: u64,
    /// It begins with `*`. For the two fields of days this decides whether they are joined by `and` or by `or`.
    pub star: bool,
}

impl Field {
    pub fn has(self, value: u32) -> bool {
        self.bits & (1 << value) != 0
    }
    pub fn values(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |value| self.has(*value))
    }
    /// The least value from `from` on.
    fn next(self, from: u32) -> Option<u32> {
        let rest = self.bits & u64::MAX.checked_shl(from)?;
        (rest != 0).then(|| rest.trailing_zeros())
    }
}

/// A cron expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    pub(super) minute: Field,
    pub(super) hour: Field,
    pub(super) day: Field,
    pub(super) month: Field,
    pub(super) weekday: Field,
}

struct Kinds {
    name: &'static str,
    low: u32,
    high: u32,
    words: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const KINDS: [Kinds; 5] = [
    Kinds { name: "minute", low: 0, high: 59, words: &[] },
    Kinds { name: "hour", low: 0, high: 23, words: &[] },
    Kinds { name: "day of the month", low: 1, high: 31, words: &[] },
    Kinds { name: "month", low: 1, high: 12, words: &MONTHS },
    Kinds { name: "day of the week", low: 0, high: 7, words: &DAYS },
];

/// Leap days are at most eight years apart (1896 to 1904, 2096 to 2104), and a date falls on each weekday within forty.
const YEARS: i32 = 41;

impl Cron {
    /// Reads minute, hour, day of the month, month, day of the week: `*`, numbers, names, ranges, lists, steps.
    /// An expression that never matches (`0 0 31 2 *`) is an error too.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::new("WEIR-SCHEDULE-001", Kind::Spec, "the schedule is no cron expression")
                .because(why)
                .hint("five fields: minute hour day-of-month month day-of-week, for example `0 */6 * * *`")
        };
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(wrong(format!("it has {} fields", parts.len())));
        };
        let read = |text: &str, kind: usize| field(text, &KINDS[kind]).map_err(wrong);
        let mut cron = Self {
            minute: read(minute, 0)?,
            hour: read(hour, 1)?,
            day: read(day, 2)?,
            month: read(month, 3)?,
            weekday: read(weekday, 4)?,
        };
        // 7 is Sunday too.
        if cron.weekday.has(7) {
            cron.weekday.bits = (cron.weekday.bits & !(1 << 7)) | 1;
        }
        let start = NaiveDate::from_ymd_opt(2000, 1, 1).and_then(|day| day.and_hms_opt(0, 0, 0)).unwrap_or_default();
        if cron.at_or_after(start).is_none() {
            return Err(wrong("no day is like that".into()).hint("the day of the month does not exist in these months"));
        }
        Ok(cron)
    }

    /// Whether it matches the minute in which a wall clock shows this time.
    #[cfg(test)]
    pub(super) fn matches(&self, at: NaiveDateTime) -> bool {
        self.minute.has(at.minute()) && self.hour.has(at.hour()) && self.matches_day(at.date())
    }

    /// Vixie's rule: with a `*` in one of the two fields of days both must match, without one of them is enough.
    fn matches_day(&self, date: NaiveDate) -> bool {
        let day = self.day.has(date.day());
        let weekday = self.weekday.has(date.weekday().num_days_from_sunday());
        let either = !self.day.star && !self.weekday.star;
        self.month.has(date.month()) && if either { day || weekday } else { day && weekday }
    }

    /// The first whole minute at or after `from` that matches.
    pub(super) fn at_or_after(&self, from: NaiveDateTime) -> Option<NaiveDateTime> {
        let whole = from.with_second(0)?.with_nanosecond(0)?;
        let from = if whole < from { whole.checked_add_signed(chrono::TimeDelta::minutes(1))? } else { whole };
        let last = from.year().checked_add(YEARS)?;
        let (mut date, mut time) = (from.date(), Some(from.time()));
        while date.year() <= last {
            if !self.month.has(date.month()) {
                date = first_of_next_month(date)?;
                time = None;
                continue;
            }
            if self.matches_day(date)
                && let Some(found) = self.time_from(time.unwrap_or(NaiveTime::MIN))
            {
                return Some(date.and_time(found));
            }
            date = date.succ_opt()?;
            time = None;
        }
        None
    }

    /// The first time of a day at or after this one.
    fn time_from(&self, from: NaiveTime) -> Option<NaiveTime> {
        if self.hour.has(from.hour())
            && let Some(minute) = self.minute.next(from.minute())
        {
            return NaiveTime::from_hms_opt(from.hour(), minute, 0);
        }
        NaiveTime::from_hms_opt(self.hour.next(from.hour() + 1)?, self.minute.next(0)?, 0)
    }
}

fn first_of_next_month(date: NaiveDate) -> Option<NaiveDate> {
    let (year, month) = if date.month() == 12 { (date.year() + 1, 1) } else { (date.year(), date.month() + 1) };
    NaiveDate::from_ymd_opt(year, month, 1)
}

fn field(text: &str, kind: &Kinds) -> std::result::Result<Field, String> {
    let mut bits = 0u64;
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let step = match step {
            None => 1,
            Some(step) => match step.parse::<u32>() {
                Ok(n) if n >= 1 && n <= kind.high => n,
                _ => return Err(format!("`{}` is no step for the {}", short(item), kind.name)),
            },
        };
        let value = |text: &str| -> std::result::Result<u32, String> {
            let named = kind.words.iter().position(|word| word.eq_ignore_ascii_case(text));
            named
                .map(|at| kind.low + at as u32)
                .or_else(|| text.parse().ok().filter(|n| (kind.low..=kind.high).contains(n)))
                .ok_or_else(|| format!("`{}` is no {} ({} to {})", short(text), kind.name, kind.low, kind.high))
        };
        // 7 stands for Sunday only where it is written.
        let last = if kind.high == 7 { 6 } else { kind.high };
        let (low, high) = match (range, range.split_once('-')) {
            ("*", _) => (kind.low, last),
            (_, Some((low, high))) => (value(low)?, value(high)?),
            // `5/15`: from there on.
            (_, None) if item.contains('/') => (value(range)?, last),
            (_, None) => (value(range)?, value(range)?),
        };
        if low > high {
            return Err(format!("`{}` runs backwards", short(range)));
        }
        bits |= (low..=high).step_by(step as usize).fold(0, |bits, value| bits | 1 << value);
    }
    Ok(Field { bits, star: text.starts_with('*') })
}

fn short(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, from: &str) -> String {
        let from = NaiveDateTime::parse_from_str(from, "%Y-%m-%d %H:%M").unwrap();
        Cron::parse(cron).unwrap().at_or_after(from).unwrap().format("%Y-%m-%d %H:%M").to_string()
    }

    #[test]
    fn each_kind_of_field_means_what_vixie_cron_means() {
        for (cron, from, expected) in [
            ("*/15 * * * *", "2025-01-01 10:01", "2025-01-01 10:15"),
            ("5/20 * * * *", "2025-01-01 10:26", "2025-01-01 10:45"),
            ("0 */6 * * *", "2025-01-01 18:01", "2025-01-02 00:00"),
            ("30 8-18/5 * * mon-FRI", "2025-01-03 18:31", "2025-01-06 08:30"),
            ("0 0 29 2 *", "2025-01-01 00:00", "2028-02-29 00:00"),
            ("0 0 29 2 1", "2096-03-01 00:00", "2097-02-04 00:00"),
            ("0 0 * * 7", "2025-01-01 00:00", "2025-01-05 00:00"),
            ("0 0 * * 5-7", "2025-01-04 00:01", "2025-01-05 00:00"),
            ("59 23 31 dec *", "2025-12-31 23:59", "2025-12-31 23:59"),
            ("0 0 1 1,7 *", "2025-01-01 00:01", "2025-07-01 00:00"),
        ] {
            assert_eq!(next(cron, from), expected, "{cron} from {from}");
        }
    }

    #[test]
    fn two_fields_of_days_are_joined_by_or_unless_one_begins_with_a_star() {
        // The 13th or a Friday.
        assert_eq!(next("0 0 13 * 5", "2025-01-01 00:00"), "2025-01-03 00:00");
        assert_eq!(next("0 0 13 * 5", "2025-01-11 00:00"), "2025-01-13 00:00");
        // `*/2` begins with a star: odd days that are Fridays.
        assert_eq!(next("0 0 */2 * 5", "2025-01-04 00:00"), "2025-01-17 00:00");
        assert_eq!(next("0 0 13 * */3", "2025-01-01 00:00"), "2025-04-13 00:00");
    }

    #[test]
    fn what_never_comes_or_cannot_be_read_is_refused() {
        for wrong in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "0 0 31 2 *",
            "0 0 31 4,6,9,11 *",
            "*/0 * * * *",
            "*/60 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "1,,2 * * * *",
            "-1 * * * *",
            "@daily",
            "* * * 13 *",
            "* * * * 8",
        ] {
            assert_eq!(Cron::parse(wrong).unwrap_err().code(), "WEIR-SCHEDULE-001", "{wrong}");
        }
        Cron::parse("0 0 30 2 1").expect("Mondays in February come");
    }
}
