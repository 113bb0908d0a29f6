//! Durations (`500ms 5s 10m 1h 1d`) and sizes (`64MiB`) as text.

const DURATIONS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Milliseconds of a duration: one whole number and one unit, `500ms`, `5s`, `10m`, `1h`, `1d`.
pub fn duration_ms(text: &str) -> Option<u64> {
    measure(text, DURATIONS)
}

/// Bytes of a size: one whole number and one unit, `B`, `KB` … (powers of 1000) or `KiB` … (powers of 1024).
pub fn size_bytes(text: &str) -> Option<u64> {
    measure(text, SIZES)
}

/// A size as it is written: in the largest binary unit that divides it.
pub fn size_text(bytes: u64) -> String {
    let mut units = SIZES.iter().rev().filter(|(name, _)| name.ends_with("iB")).map(|(name, factor)| (*name, *factor));
    let (name, factor) = units.find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)).unwrap_or(("B", 1));
    format!("{}{name}", bytes / factor)
}

/// A duration as it is written: in the largest unit that divides it.
pub fn duration_text(ms: u64) -> String {
    let mut units = DURATIONS.iter().rev().map(|(name, factor)| (*name, *factor));
    let (name, factor) = units.find(|(_, factor)| ms > 0 && ms.is_multiple_of(*factor)).unwrap_or(("ms", 1));
    format!("{}{name}", ms / factor)
}

/// The nearest right way to write a duration.
pub(crate) fn suggest_duration(text: &str) -> Option<String> {
    let (number, unit) = split(text.trim());
    number.parse::<u64>().ok()?;
    let unit = match unit.trim().to_lowercase().as_str() {
        "ms" | "msec" | "millis" | "milliseconds" => "ms",
        "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hr" | "hrs" | "hour" | "hours" => "h",
        "d" | "day" | "days" => "d",
        "w" | "week" | "weeks" => return Some(format!("{}d", number.parse::<u64>().ok()?.checked_mul(7)?)),
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

/// The nearest right way to write a size.
pub(crate) fn suggest_size(text: &str) -> Option<String> {
    let (number, unit) = split(text.trim());
    number.parse::<u64>().ok()?;
    let unit = match unit.trim().to_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => "B",
        "k" | "kib" => "KiB",
        "kb" => "KB",
        "m" | "mib" => "MiB",
        "mb" => "MB",
        "g" | "gib" => "GiB",
        "gb" => "GB",
        "t" | "tib" => "TiB",
        "tb" => "TB",
        _ => return None,
    };
    Some(format!("{number}{unit}"))
}

fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = split(text);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_one_number_and_one_unit() {
        assert_eq!(duration_ms("500ms"), Some(500));
        assert_eq!(duration_ms("1d"), Some(86_400_000));
        assert_eq!(size_bytes("64MiB"), Some(64 << 20));
        assert_eq!(size_bytes("5MB"), Some(5_000_000));
        for wrong in ["", "5", "s", "-5s", "1.5h", "1h30m", "5 s", "5S", "99999999999999999999d"] {
            assert_eq!(duration_ms(wrong), None, "{wrong}");
        }
        assert_eq!(size_bytes("64mib"), None);
    }

    #[test]
    fn what_is_written_reads_back() {
        for bytes in [0, 1, 1023, 1 << 10, 10 << 30, (1 << 40) + 1, 5_000_000] {
            assert_eq!(size_bytes(&size_text(bytes)), Some(bytes));
        }
        for ms in [0, 1, 999, 60_000, 86_400_000, 90_000] {
            assert_eq!(duration_ms(&duration_text(ms)), Some(ms));
        }
        assert_eq!((size_text(10 << 30), duration_text(86_400_000)), ("10GiB".into(), "1d".into()));
    }

    #[test]
    fn near_misses_are_mended() {
        assert_eq!(suggest_duration("5 minutes").as_deref(), Some("5m"));
        assert_eq!(suggest_duration("2w").as_deref(), Some("14d"));
        assert_eq!(suggest_size("64mib").as_deref(), Some("64MiB"));
        assert_eq!(suggest_duration("soon"), None);
    }
}
