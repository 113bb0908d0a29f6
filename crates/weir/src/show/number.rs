//! Numbers for people: grouped, with their unit.

use std::time::Duration;

/// `6001215` → `6,001,215`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `rows(1)` → `1 row`, `rows(2000)` → `2,000 rows`.
pub fn rows(number: u64) -> String {
    counted(number, "row", "rows")
}

/// A grouped number with its noun.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// Decimal units, three significant digits: `612 MB`, `1.21 GB`, `38 kB`.
pub fn bytes(number: u64) -> String {
    let mut value = number as f64;
    let mut unit = 0;
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", three(value, unit == 0), UNITS[unit])
}

/// Binary mebibytes, for the budget: `141`.
pub fn mebibytes(number: u64) -> String {
    grouped(number.div_ceil(1 << 20))
}

/// `1.21 M rows/s`.
pub fn rate(per_second: f64) -> String {
    let (value, unit) = match per_second {
        v if v >= 999_500.0 => (v / 1e6, " M"),
        v if v >= 9_995.0 => (v / 1e3, " k"),
        v => (v, ""),
    };
    format!("{}{unit} rows/s", three(value, unit.is_empty()))
}

fn three(value: f64, whole: bool) -> String {
    if whole || value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// `0.3 s`, `5.1 s`, `2 min 05 s`, `1 h 02 min`.
pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else if seconds < 3600.0 {
        let whole = duration.as_secs();
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        let minutes = duration.as_secs() / 60;
        format!("{} h {:02} min", minutes / 60, minutes % 60)
    }
}

/// A remaining time, in whole units: `1 s`, `3 min`.
pub fn eta(duration: Duration) -> String {
    match duration.as_secs_f64().ceil() as u64 {
        seconds @ 0..60 => format!("{} s", seconds.max(1)),
        seconds @ 60..3600 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_carry_units() {
        assert_eq!([grouped(0), grouped(999), grouped(1000), grouped(6001215)], ["0", "999", "1,000", "6,001,215"]);
        assert_eq!(rows(1), "1 row");
        assert_eq!(
            [bytes(0), bytes(999), bytes(1500), bytes(999_600), bytes(612_000_000)],
            ["0 B", "999 B", "1.50 kB", "1.00 MB", "612 MB"]
        );
        assert_eq!(
            [rate(12.0), rate(9_994.0), rate(12_345.0), rate(1_210_000.0)],
            ["12 rows/s", "9994 rows/s", "12.3 k rows/s", "1.21 M rows/s"]
        );
        assert_eq!(time(Duration::from_millis(5_140)), "5.1 s");
        assert_eq!(time(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!(eta(Duration::from_millis(200)), "1 s");
    }
}
