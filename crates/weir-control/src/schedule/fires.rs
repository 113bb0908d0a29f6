//! When a schedule fires: wall-clock times of a zone as moments.
//!
//! A zone's clock jumps: an hour is skipped in spring and shown twice in autumn. The rules, for zones of every kind (half hours, whole days):
//!
//! 1. A schedule that names its hours (`30 2 * * *`, `0 */6 * * *`) has one fire for each of its times: a time that the clock skips fires
//!    at the first moment after the gap (several such times are one fire), a time that it shows twice fires at the first showing.
//! 2. A schedule that runs in every hour (`0 * * * *`, `*/15 * * * *`) goes with the time that really passes: it fires whenever the clock shows one of its
//!    times, in both showings, and has nothing to make up for in a gap.
//! 3. A schedule that names hours and begins its minutes with `*` (`*/15 1-3 * * *`) fires in both showings as well, for it asks for a
//!    run every so many minutes; what the clock skips is made up for as in 1.

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use weir_error::{Error, Kind, Result};
use weir_store::model::Schedule;

use super::cron::Cron;

/// A schedule that has been read.
#[derive(Debug, Clone, Copy)]
pub struct Timetable {
    pub(super) cron: Cron,
    pub(super) zone: Tz,
}

/// Every hour of the day.
const ALL_HOURS: u64 = (1 << 24) - 1;
/// No change of a clock lasts less than this before the next one.
const STEP: TimeDelta = TimeDelta::hours(12);
/// No clock was ever put back by more than a day.
const LOOK_BACK: TimeDelta = TimeDelta::hours(25);

/// The clock was changed.
#[derive(Debug, Clone, Copy)]
struct Change {
    /// The first moment with the new offset.
    at: DateTime<Utc>,
    before: TimeDelta,
    after: TimeDelta,
}

impl Timetable {
    /// Reads cron fields and an IANA zone.
    pub fn new(cron: &str, zone: &str) -> Result<Self> {
        let zone = zone.parse::<Tz>().map_err(|_| {
            let shown: String = zone.chars().take(40).collect();
            let near = weir_spec::nearest(zone, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
            let error = Error::new("WEIR-SCHEDULE-002", Kind::Spec, format!("`{shown}` is no IANA time zone"));
            error.hint(near.map_or("for example Europe/Berlin, or UTC".into(), |near| format!("did you mean {near}?")))
        })?;
        Ok(Self { cron: Cron::parse(cron)?, zone })
    }

    /// The first fire after a moment. `None` only at the end of the calendar.
    pub fn after(&self, moment: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // Fires are whole minutes of UTC: no zone of our times differs from it by parts of a minute. For those that once did, the
        // search goes on from the second after.
        let mut from = moment.checked_add_signed(TimeDelta::seconds(1))?;
        let every_hour = self.cron.hour.bits == ALL_HOURS;
        let both_showings = every_hour || self.cron.minute.star;
        loop {
            let offset = self.offset(from);
            let mut local = from.naive_utc().checked_add_signed(offset)?;
            if let Some(back) = self.change_before(from).filter(|change| change.after < change.before)
                && !both_showings
            {
                // What the clock showed before it was put back is not shown for the first time now.
                local = local.max(back.at.naive_utc().checked_add_signed(back.before)?);
            }
            let found = self.cron.at_or_after(local)?;
            let fire = found.checked_sub_signed(offset)?.and_utc();
            let Some(change) = self.change_within(from, fire) else { return Some(fire) };
            if !every_hour && change.after > change.before {
                let skipped_from = change.at.naive_utc().checked_add_signed(change.before)?;
                let skipped_to = change.at.naive_utc().checked_add_signed(change.after)?;
                if self.cron.at_or_after(skipped_from).is_some_and(|time| time < skipped_to) {
                    return Some(change.at);
                }
            }
            from = change.at;
        }
    }

    fn offset(&self, at: DateTime<Utc>) -> TimeDelta {
        offset(self.zone, at.naive_utc())
    }

    /// The first change after `from` and not after `to`.
    fn change_within(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<Change> {
        let before = self.offset(from);
        let mut low = from;
        while low < to {
            let high = low.checked_add_signed(STEP).map_or(to, |high| high.min(to));
            if self.offset(high) != before {
                let at = self.bisect(low, high, before);
                return Some(Change { at, before, after: self.offset(at) });
            }
            low = high;
        }
        None
    }

    /// The last change at or before `at`, if it is recent enough to matter.
    fn change_before(&self, at: DateTime<Utc>) -> Option<Change> {
        let mut from = at.checked_sub_signed(LOOK_BACK)?;
        let mut last = None;
        while let Some(change) = self.change_within(from, at) {
            from = change.at;
            last = Some(change);
        }
        last
    }

    /// The first second with another offset than `before`, which `low` has and `high` has not.
    fn bisect(&self, low: DateTime<Utc>, high: DateTime<Utc>, before: TimeDelta) -> DateTime<Utc> {
        let (mut low, mut high) = (low.timestamp(), high.timestamp());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let at = DateTime::from_timestamp(middle, 0).unwrap_or_default();
            if self.offset(at) == before { low = middle } else { high = middle }
        }
        DateTime::from_timestamp(high, 0).unwrap_or_default()
    }
}

fn offset(zone: Tz, utc: NaiveDateTime) -> TimeDelta {
    TimeDelta::seconds(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc().into())
}

/// The first `n` fires after a moment, oldest first.
pub fn next_fires(schedule: &Schedule, after: DateTime<Utc>, n: usize) -> Result<Vec<DateTime<Utc>>> {
    let timetable = Timetable::new(&schedule.cron, &schedule.timezone)?;
    Ok(std::iter::successors(timetable.after(after), |last| timetable.after(*last)).take(n).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Timelike;
    use proptest::prelude::*;

    fn fires(cron: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
        let zone: Tz = zone.parse().unwrap();
        let after = after.parse::<DateTime<Utc>>().unwrap();
        let schedule = Schedule {
            cron: cron.into(),
            timezone: zone.name().into(),
            overlap: Default::default(),
            catch_up: Default::default(),
            jitter_secs: 0,
        };
        let all = next_fires(&schedule, after, n).unwrap();
        all.iter().map(|at| at.with_timezone(&zone).format("%d %H:%M %z").to_string()).collect()
    }

    // Berlin 2025: 30 March 02:00 +01 -> 03:00 +02 (01:00Z), 26 October 03:00 +02 -> 02:00 +01 (01:00Z).

    #[test]
    fn a_skipped_time_fires_at_the_first_moment_after_the_gap() {
        let berlin = |cron, n| fires(cron, "Europe/Berlin", "2025-03-29T00:00:00Z", n);
        assert_eq!(berlin("30 2 * * *", 3), ["29 02:30 +0100", "30 03:00 +0200", "31 02:30 +0200"]);
        assert_eq!(berlin("0,20,40 2 30 * *", 1), ["30 03:00 +0200"]);
        assert_eq!(berlin("0 2,3 30 3 *", 1), ["30 03:00 +0200"]);
        assert_eq!(berlin("*/15 2 30 3 *", 1), ["30 03:00 +0200"]);
        assert_eq!(berlin("0 */2 * * *", 14)[11..], ["30 00:00 +0100", "30 03:00 +0200", "30 04:00 +0200"]);
    }

    #[test]
    fn a_time_shown_twice_fires_once_at_the_first() {
        let berlin = |cron, n| fires(cron, "Europe/Berlin", "2025-10-25T12:00:00Z", n);
        assert_eq!(berlin("30 2 * * *", 2), ["26 02:30 +0200", "27 02:30 +0100"]);
        assert_eq!(berlin("0 */2 * * *", 7)[4..], ["26 00:00 +0200", "26 02:00 +0200", "26 04:00 +0100"]);
        assert_eq!(fires("30 2 * * *", "Europe/Berlin", "2025-10-26T00:31:00Z", 1), ["27 02:30 +0100"]);
    }

    #[test]
    fn what_runs_every_so_many_minutes_goes_with_the_time_that_passes() {
        let expected = ["26 02:45 +0200", "26 02:00 +0100", "26 02:15 +0100"];
        assert_eq!(fires("*/15 * * * *", "Europe/Berlin", "2025-10-26T00:30:00Z", 3), expected);
        assert_eq!(fires("*/15 1-3 * * *", "Europe/Berlin", "2025-10-26T00:30:00Z", 3), expected);
        assert_eq!(fires("0 * * * *", "Europe/Berlin", "2025-10-26T00:00:00Z", 2), ["26 02:00 +0100", "26 03:00 +0100"]);
        assert_eq!(fires("30 * * * *", "Europe/Berlin", "2025-03-30T00:00:00Z", 2), ["30 01:30 +0100", "30 03:30 +0200"]);
    }

    #[test]
    fn zones_that_change_by_half_an_hour_or_a_day_or_for_a_month() {
        // Lord Howe: 5 October 2025 02:00 +10:30 -> 02:30 +11; back on 6 April 2025 02:00 +11 -> 01:30 +10:30.
        assert_eq!(fires("15 2 5 10 *", "Australia/Lord_Howe", "2025-10-01T00:00:00Z", 1), ["05 02:30 +1100"]);
        assert_eq!(fires("45 1 6 4 *", "Australia/Lord_Howe", "2025-04-01T00:00:00Z", 2), ["06 01:45 +1100", "06 01:45 +1030"]);
        // Apia had no 30 December 2011.
        assert_eq!(
            fires("0 9 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3),
            ["29 09:00 -1000", "31 00:00 +1400", "31 09:00 +1400"]
        );
        // Casablanca is back at UTC for Ramadan 2025: 23 February 03:00 +01 -> 02:00 +00, 6 April 02:00 +00 -> 03:00 +01.
        assert_eq!(fires("30 2 23 2 *", "Africa/Casablanca", "2025-02-22T00:00:00Z", 1), ["23 02:30 +0100"]);
        assert_eq!(fires("30 2 6 4 *", "Africa/Casablanca", "2025-04-01T00:00:00Z", 1), ["06 03:00 +0100"]);
        assert_eq!(fires("0 0 * * *", "Asia/Kathmandu", "2025-01-01T00:00:00Z", 1), ["02 00:00 +0545"]);
    }

    #[test]
    fn an_unknown_zone_gets_the_nearest() {
        let error = Timetable::new("0 0 * * *", "Europe/Berlni").unwrap_err();
        assert_eq!((error.code(), error.advice()), ("WEIR-SCHEDULE-002", Some("did you mean Europe/Berlin?")));
    }

    /// The rules again, minute by minute and without any cleverness.
    fn slowly(cron: &Cron, zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let minute = TimeDelta::minutes(1);
        let every_hour = cron.hour.values().count() == 24;
        let both = every_hour || cron.minute.star;
        let shown = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
        let mut seen: std::collections::BTreeSet<NaiveDateTime> = Default::default();
        let mut out = Vec::new();
        let mut at = from - TimeDelta::hours(48);
        while at <= to {
            let (before, now) = (shown(at - minute), shown(at));
            let mut fires = cron.matches(now) && (both || !seen.contains(&now));
            let mut skipped = before + minute;
            while skipped < now {
                fires |= !every_hour && cron.matches(skipped);
                skipped += minute;
            }
            seen.insert(now);
            if fires && at > from {
                out.push(at);
            }
            at += minute;
        }
        out
    }

    fn any_field(low: u32, high: u32) -> impl Strategy<Value = String> {
        let value = low..=high;
        prop_oneof![
            3 => Just("*".to_string()),
            2 => value.clone().prop_map(|n| n.to_string()),
            1 => (1..=high.max(1)).prop_map(|step| format!("*/{step}")),
            1 => (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => (value.clone(), value.clone(), value).prop_map(|(a, b, c)| format!("{a},{},{}", b.min(c), b.max(c))),
        ]
    }

    /// Changes of clocks, so that the odd hours are looked at more often than the others.
    const CHANGES: [(&str, &str); 14] = [
        ("Europe/Berlin", "2025-03-30T01:00:00Z"),
        ("Europe/Berlin", "2025-10-26T01:00:00Z"),
        ("America/New_York", "2025-03-09T07:00:00Z"),
        ("America/New_York", "2025-11-02T06:00:00Z"),
        ("Australia/Lord_Howe", "2025-04-05T15:00:00Z"),
        ("Australia/Lord_Howe", "2025-10-04T15:30:00Z"),
        ("Africa/Casablanca", "2025-02-23T02:00:00Z"),
        ("Africa/Casablanca", "2025-04-06T02:00:00Z"),
        ("Asia/Kathmandu", "1985-12-31T18:30:00Z"),
        ("America/St_Johns", "2010-11-07T02:31:00Z"),
        ("America/Havana", "2025-11-02T05:00:00Z"),
        ("Africa/Cairo", "2025-04-24T22:00:00Z"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z"),
        ("Antarctica/Troll", "2025-03-30T01:00:00Z"),
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
        #[test]
        fn the_fast_way_and_the_slow_way_agree(
            minute in any_field(0, 59),
            hour in prop_oneof![any_field(0, 23), any_field(0, 4)],
            day in prop_oneof![4 => Just("*".to_string()), 1 => any_field(1, 31)],
            month in prop_oneof![4 => Just("*".to_string()), 1 => any_field(1, 12)],
            weekday in prop_oneof![3 => Just("*".to_string()), 1 => any_field(0, 7)],
            place in 0..CHANGES.len(),
            minutes_before in 0i64..3000,
            seconds in 0u32..60,
        ) {
            let text = format!("{minute} {hour} {day} {month} {weekday}");
            let Ok(cron) = Cron::parse(&text) else { return Ok(()) };
            let zone: Tz = CHANGES[place].0.parse().unwrap();
            let change = CHANGES[place].1.parse::<DateTime<Utc>>().unwrap();
            let from = (change - TimeDelta::minutes(minutes_before)).with_second(0).unwrap();
            let to = change + TimeDelta::hours(50);
            let timetable = Timetable { cron, zone };
            let start = from + TimeDelta::seconds(seconds.into());
            let fast: Vec<_> = std::iter::successors(timetable.after(start), |last| timetable.after(*last))
                .take_while(|at| *at <= to).collect();
            prop_assert_eq!(fast, slowly(&cron, zone, from, to), "{} in {}", text, zone);
        }
    }
}
