//! Answers that are believed for a moment. Bounded: who tries many tokens fills it with nothing, because only good answers are kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Entries at most; beyond that the old ones go, then all.
const MOST: usize = 10_000;

pub(super) struct Kept<T> {
    time: Duration,
    entries: Mutex<HashMap<String, (Instant, T)>>,
}

impl<T: Clone> Kept<T> {
    pub(super) fn new(time: Duration) -> Self {
        Self { time, entries: Mutex::default() }
    }

    pub(super) fn get(&self, key: &str) -> Option<T> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(since, _)| since.elapsed() < self.time).map(|(_, value)| value.clone())
    }

    pub(super) fn put(&self, key: String, value: T) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST {
            entries.retain(|_, (since, _)| since.elapsed() < self.time);
            if entries.len() >= MOST {
                entries.clear();
            }
        }
        entries.insert(key, (Instant::now(), value));
    }

    pub(super) fn clear(&self) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_ages() {
        let kept = Kept::new(Duration::from_secs(3600));
        for key in 0..=MOST {
            kept.put(key.to_string(), key);
        }
        assert_eq!(kept.get(&MOST.to_string()), Some(MOST));
        assert_eq!(kept.get("0"), None);
        assert!(kept.entries.lock().unwrap().len() <= MOST);
        kept.clear();
        assert_eq!(kept.get(&MOST.to_string()), None);
        let aged = Kept::new(Duration::ZERO);
        aged.put("a".into(), 1);
        assert_eq!(aged.get("a"), None);
    }
}
