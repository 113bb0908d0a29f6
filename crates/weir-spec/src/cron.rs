//! Checking five-field cron expressions and time zones. When they fire is the scheduler's business.

use std::str::FromStr;

use crate::problems::nearest;

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, words: &[] },
    Field { name: "hour", low: 0, high: 23, words: &[] },
    Field { name: "day of the month", low: 1, high: 31, words: &[] },
    Field {
        name: "month",
        low: 1,
        high: 12,
        words: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field { name: "day of the week", low: 0, high: 7, words: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];

/// What is wrong with a cron expression, in one sentence, and what would be right.
pub(crate) fn check(text: &str) -> Result<(), (String, Option<String>)> {
    let macros = [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ];
    if let Some((_, fields)) = macros.iter().find(|(name, _)| *name == text.trim()) {
        return Err(("a schedule has five fields".into(), Some((*fields).into())));
    }
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != 5 {
        let suggestion = match parts.len() {
            // Quartz and Spring write seconds first.
            6 if parts[0] == "0" => Some(parts[1..].join(" ").replace('?', "*")),
            _ => None,
        };
        let fields = if parts.len() == 1 { "field" } else { "fields" };
        return Err((format!("a schedule has five fields, this one has {} {fields}", parts.len()), suggestion));
    }
    for (part, field) in parts.iter().zip(&FIELDS) {
        for item in part.split(',') {
            check_item(item, field).map_err(|why| (why, None))?;
        }
    }
    Ok(())
}

fn check_item(item: &str, field: &Field) -> Result<(), String> {
    let (range, step) = item.split_once('/').map_or((item, None), |(range, step)| (range, Some(step)));
    if let Some(step) = step
        && !step.parse::<u32>().is_ok_and(|n| n >= 1 && n <= field.high.max(1))
    {
        return Err(format!("`{}` is no step for the {}", short(item), field.name));
    }
    if range == "*" {
        return Ok(());
    }
    let value = |text: &str| -> Result<u32, String> {
        if let Some(at) = field.words.iter().position(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(field.low + at as u32);
        }
        match text.parse::<u32>() {
            Ok(n) if (field.low..=field.high).contains(&n) => Ok(n),
            _ => Err(format!("`{}` is no {} ({} to {})", short(text), field.name, field.low, field.high)),
        }
    };
    match range.split_once('-') {
        Some((from, to)) => {
            if value(from)? > value(to)? {
                return Err(format!("`{}` runs backwards", short(range)));
            }
            Ok(())
        }
        None => value(range).map(|_| ()),
    }
}

fn short(text: &str) -> String {
    crate::problems::short(text)
}

/// Whether a name is an IANA time zone; if not, the nearest one.
pub(crate) fn check_timezone(text: &str) -> Result<(), Option<String>> {
    if chrono_tz::Tz::from_str(text).is_ok() {
        return Ok(());
    }
    Err(nearest(text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_with_lists_ranges_steps_and_names() {
        for right in ["0 */6 * * *", "*/5 8-18 * * mon-FRI", "0,30 0 1 jan 7", "15 3 1-7/2 * *"] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for wrong in
            ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * foo *", "*/0 * * * *", "5-1 * * * *", "a b c d e"]
        {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_dialects_get_the_five_fields() {
        assert_eq!(check("@daily").unwrap_err().1.as_deref(), Some("0 0 * * *"));
        assert_eq!(check("0 0 6 * * ?").unwrap_err().1.as_deref(), Some("0 6 * * *"));
    }

    #[test]
    fn time_zones_have_a_nearest_name() {
        assert_eq!(check_timezone("Europe/Berlin"), Ok(()));
        assert_eq!(check_timezone("Europe/Berlni"), Err(Some("Europe/Berlin".into())));
    }
}
