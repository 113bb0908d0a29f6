//! When a delivery is tried again, and when it is given up.

use std::time::Duration;

use chrono::{DateTime, Utc};
use weir_error::Retry;

/// An event that nobody took for this long is given up: kept and visible, and the job's later events go on.
pub const PATIENCE: chrono::Duration = chrono::Duration::hours(24);

const FIRST: f64 = 2.0;
const LONGEST: f64 = 3600.0;

/// The next try of an event of `made_at` after its `attempts`th try failed; `None` = given up. `chance` is in 0..1: half of the wait is left
/// to it, so that receivers which come back are not met by everybody at once. A receiver that named a time gets it.
pub fn next_try(made_at: DateTime<Utc>, now: DateTime<Utc>, attempts: u32, said: Retry, chance: f64) -> Option<DateTime<Utc>> {
    let deadline = made_at + PATIENCE;
    if now >= deadline {
        return None;
    }
    let wait = (FIRST * 2_f64.powi(attempts.clamp(1, 20) as i32 - 1)).min(LONGEST);
    let wait = wait * (0.5 + chance.clamp(0.0, 1.0) / 2.0);
    let wait = match said {
        Retry::After(least) => wait.max(least.min(Duration::from_secs(3600)).as_secs_f64()),
        Retry::Never | Retry::Transient => wait,
    };
    // One last try at the end.
    Some((now + chrono::Duration::milliseconds((wait * 1000.0) as i64)).min(deadline))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn waits_double_up_to_an_hour_and_end_after_a_day() {
        let wait = |attempts| (next_try(at(0), at(0), attempts, Retry::Transient, 1.0).unwrap() - at(0)).num_seconds();
        assert_eq!([wait(1), wait(2), wait(3), wait(11), wait(12), wait(4_000_000_000)], [2, 4, 8, 2048, 3600, 3600]);
        assert_eq!((next_try(at(0), at(0), 3, Retry::Transient, 0.0).unwrap() - at(0)).num_seconds(), 4);
        assert_eq!(next_try(at(0), at(86_400 - 5), 12, Retry::Transient, 1.0), Some(at(86_400)));
        assert_eq!(next_try(at(0), at(86_400), 1, Retry::Transient, 1.0), None);
        assert_eq!(next_try(at(0), at(0), 1, Retry::After(Duration::from_secs(60)), 0.0), Some(at(60)));
        assert_eq!(next_try(at(0), at(0), 1, Retry::After(Duration::from_secs(1 << 40)), 0.0), Some(at(3600)));
    }

    #[test]
    fn a_day_of_failures_is_some_dozens_of_tries() {
        let (mut now, mut tries) = (at(0), 0);
        while let Some(next) = next_try(at(0), now, tries + 1, Retry::Transient, 0.5) {
            (now, tries) = (next, tries + 1);
        }
        assert!((30..60).contains(&tries), "{tries}");
    }
}
