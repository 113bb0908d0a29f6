//! When to try again, and how long to wait before.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rand::Rng;
use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// Whether a response with this status may be different next time.
pub fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// What `Retry-After` asks for, in seconds or as a date; the date is read against the server's own clock if it sends one.
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = http_date(text)?;
    Some((until - server_time(headers).unwrap_or(now)).to_std().unwrap_or(Duration::ZERO))
}

/// The `Date` header.
pub fn server_time(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

fn http_date(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc2822(text).ok().map(|moment| moment.to_utc())
}

/// Doubling waits with jitter: between half and the whole of `base` × 2^`attempt`, never more than `cap`.
pub fn backoff(base: Duration, attempt: u32, cap: Duration) -> Duration {
    let full = base.saturating_mul(2u32.saturating_pow(attempt)).min(cap);
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date_by_the_servers_clock() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(retry_after(&headers(&[("retry-after", "7")]), now), Some(Duration::from_secs(7)));
        let date = ("retry-after", "Thu, 01 Jan 2026 00:00:30 GMT");
        assert_eq!(retry_after(&headers(&[date]), now), Some(Duration::from_secs(30)));
        let skewed = [date, ("date", "Thu, 01 Jan 2026 00:00:25 GMT")];
        assert_eq!(retry_after(&headers(&skewed), now), Some(Duration::from_secs(5)));
        let past = [("retry-after", "Wed, 31 Dec 2025 00:00:00 GMT")];
        assert_eq!(retry_after(&headers(&past), now), Some(Duration::ZERO));
        assert_eq!(retry_after(&headers(&[("retry-after", "soon")]), now), None);
        assert_eq!(retry_after(&headers(&[]), now), None);
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let base = Duration::from_millis(100);
        for attempt in 0..40 {
            let wait = backoff(base, attempt, Duration::from_secs(5));
            let full = base.saturating_mul(2u32.saturating_pow(attempt)).min(Duration::from_secs(5));
            assert!(wait >= full / 2 && wait <= full, "{attempt}: {wait:?}");
        }
    }
}
