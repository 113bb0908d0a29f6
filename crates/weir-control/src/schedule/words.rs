//! A schedule in plain words.

use weir_error::Result;

use super::cron::{Cron, Field};
use super::fires::Timetable;

const WEEKDAYS: [&str; 7] = ["Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays"];
const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];

/// `every 6 hours`, `at 02:30 on Mondays`, `every 15 minutes from 08:00 to 18:59 on Mondays to Fridays`; with the zone unless it is UTC.
pub fn words(cron: &str, zone: &str) -> Result<String> {
    let timetable = Timetable::new(cron, zone)?;
    let mut out = times(&timetable.cron);
    for part in [days(&timetable.cron), months(&timetable.cron)].into_iter().flatten() {
        out.push(' ');
        out.push_str(&part);
    }
    if timetable.zone != chrono_tz::UTC {
        out.push_str(&format!(" ({})", timetable.zone.name()));
    }
    Ok(out)
}

/// When in a day.
fn times(cron: &Cron) -> String {
    let (minutes, hours): (Vec<u32>, Vec<u32>) = (cron.minute.values().collect(), cron.hour.values().collect());
    let every_hour = hours.len() == 24;
    let minute_step = step(&minutes, 60);
    if let Some(step) = minute_step.filter(|step| *step < 60) {
        let often = if step == 1 { "every minute".to_string() } else { format!("every {step} minutes") };
        return match (every_hour, run(&hours)) {
            (true, _) => often,
            (false, Some((first, last))) => format!("{often} from {first:02}:00 to {last:02}:59"),
            (false, None) => format!("{often} in the hours {}", list(hours.iter().map(|hour| format!("{hour:02}")))),
        };
    }
    if every_hour {
        return match minutes.as_slice() {
            [0] => "every hour".into(),
            [minute] => format!("every hour at minute {minute}"),
            _ => format!("every hour at the minutes {}", list(minutes.iter().map(ToString::to_string))),
        };
    }
    if let (Some(step), [minute]) = (step(&hours, 24).filter(|step| *step < 24), minutes.as_slice()) {
        return match minute {
            0 => format!("every {step} hours"),
            _ => format!("every {step} hours at minute {minute}"),
        };
    }
    if hours.len() * minutes.len() <= 6 {
        let all = hours.iter().flat_map(|hour| minutes.iter().map(move |minute| format!("{hour:02}:{minute:02}")));
        return format!("at {}", list(all));
    }
    let within = match run(&hours) {
        Some((first, last)) if last > first => format!("every hour from {first:02} to {last:02}"),
        _ => format!("in the hours {}", list(hours.iter().map(|hour| format!("{hour:02}")))),
    };
    match minutes.as_slice() {
        [0] => within,
        [minute] => format!("{within} at minute {minute}"),
        _ => format!("{within} at the minutes {}", list(minutes.iter().map(ToString::to_string))),
    }
}

/// On which days.
fn days(cron: &Cron) -> Option<String> {
    let whole = |field: Field, count: usize| field.values().count() == count;
    let of_month = (!whole(cron.day, 31)).then(|| {
        let days: Vec<u32> = cron.day.values().collect();
        match run(&days) {
            Some((first, last)) if last > first + 1 => format!("from the {} to the {}", ordinal(first), ordinal(last)),
            _ => format!("on the {}", list(days.iter().map(|day| ordinal(*day)))),
        }
    });
    let of_week = (!whole(cron.weekday, 7)).then(|| {
        let days: Vec<u32> = cron.weekday.values().collect();
        match run(&days) {
            Some((first, last)) if last > first + 1 => format!("on {} to {}", WEEKDAYS[first as usize], WEEKDAYS[last as usize]),
            _ => format!("on {}", list(days.iter().map(|day| WEEKDAYS[*day as usize].to_string()))),
        }
    });
    let either = !cron.day.star && !cron.weekday.star;
    match (of_month, of_week) {
        // With an `or`, a field that matches every day leaves nothing to say.
        (Some(_), None) | (None, Some(_)) if either => None,
        (Some(day), Some(weekday)) if either => Some(format!("{day} or {weekday}")),
        (Some(day), Some(weekday)) => Some(format!("{day}, only {weekday}")),
        (day, weekday) => day.or(weekday),
    }
}

fn months(cron: &Cron) -> Option<String> {
    let months: Vec<u32> = cron.month.values().collect();
    if months.len() == 12 {
        return None;
    }
    let name = |month: u32| MONTHS[month as usize - 1].to_string();
    Some(match run(&months) {
        Some((first, last)) if last > first + 1 => format!("from {} to {}", name(first), name(last)),
        _ => format!("in {}", list(months.iter().map(|month| name(*month)))),
    })
}

/// The distance between values that begin at 0 and divide `whole` evenly.
fn step(values: &[u32], whole: u32) -> Option<u32> {
    let count = values.len() as u32;
    if !whole.is_multiple_of(count) {
        return None;
    }
    let step = whole / count;
    values.iter().enumerate().all(|(index, value)| *value == index as u32 * step).then_some(step)
}

/// First and last of values without gaps.
fn run(values: &[u32]) -> Option<(u32, u32)> {
    let (first, last) = (*values.first()?, *values.last()?);
    (values.len() as u32 == last - first + 1).then_some((first, last))
}

fn list(items: impl Iterator<Item = String>) -> String {
    let mut items: Vec<String> = items.collect();
    match items.pop() {
        None => String::new(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} and {last}", items.join(", ")),
    }
}

fn ordinal(n: u32) -> String {
    let ending = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_read_as_a_person_would_say_them() {
        for (cron, expected) in [
            ("0 */6 * * *", "every 6 hours"),
            ("30 2 * * 1", "at 02:30 on Mondays"),
            ("* * * * *", "every minute"),
            ("*/15 * * * *", "every 15 minutes"),
            ("0 * * * *", "every hour"),
            ("5 * * * *", "every hour at minute 5"),
            ("*/7 * * * *", "every hour at the minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56"),
            ("*/15 8-18 * * 1-5", "every 15 minutes from 08:00 to 18:59 on Mondays to Fridays"),
            ("0 0 1 * *", "at 00:00 on the 1st"),
            ("0 0 1,15 */6 *", "at 00:00 on the 1st and 15th in January and July"),
            ("0 12 13 * 5", "at 12:00 on the 13th or on Fridays"),
            ("0 12 */10 * 5", "at 12:00 on the 1st, 11th, 21st and 31st, only on Fridays"),
            ("0 12 1-31 * 5", "at 12:00"),
            ("0 6,18 * * 0,6", "at 06:00 and 18:00 on Sundays and Saturdays"),
            ("15 9-17 * * *", "every hour from 09 to 17 at minute 15"),
            ("0 0 * 6-8 *", "at 00:00 from June to August"),
            ("20 */8 * * *", "every 8 hours at minute 20"),
            ("0 0 29 2 *", "at 00:00 on the 29th in February"),
        ] {
            assert_eq!(words(cron, "UTC").unwrap(), expected, "{cron}");
        }
        assert_eq!(words("0 0 * * *", "Europe/Berlin").unwrap(), "at 00:00 (Europe/Berlin)");
        assert!(words("0 0 31 2 *", "UTC").is_err());
    }
}
