//! A receiver that failed several times in a row is left alone for a moment, so that it does not hold up the others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

const FAILURES: u32 = 3;
const REST: Duration = Duration::from_secs(30);

/// Per destination: failures in a row, and until when it rests. Only of this process; forgotten with it.
#[derive(Debug, Default)]
pub struct Breakers(HashMap<String, (u32, Option<Instant>)>);

impl Breakers {
    /// How long the destination still rests; `None` = it may be asked.
    pub fn resting(&self, destination: &str, now: Instant) -> Option<Duration> {
        let until = self.0.get(destination)?.1?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// It was asked.
    pub fn told(&mut self, destination: &str, worked: bool, now: Instant) {
        if worked {
            self.0.remove(destination);
            return;
        }
        let (failures, until) = self.0.entry(destination.to_owned()).or_default();
        *failures = failures.saturating_add(1);
        if *failures >= FAILURES {
            *until = Some(now + REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_bring_a_rest_and_a_success_ends_it() {
        let (mut breakers, now) = (Breakers::default(), Instant::now());
        for _ in 0..2 {
            breakers.told("a", false, now);
        }
        assert_eq!(breakers.resting("a", now), None);
        breakers.told("a", false, now);
        assert_eq!(breakers.resting("a", now), Some(REST));
        assert_eq!(breakers.resting("b", now), None);
        assert_eq!(breakers.resting("a", now + REST), None);
        breakers.told("a", true, now + REST);
        breakers.told("a", false, now + REST);
        assert_eq!(breakers.resting("a", now + REST), None);
    }
}
