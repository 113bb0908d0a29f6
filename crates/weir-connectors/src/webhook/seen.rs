//! Deliveries that came before: a window over their names. What the inbox still holds is known again after a restart.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

/// What is known of a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is new, and from now on it is being stored: [`Seen::stored`] or [`Seen::failed`] must follow.
    New,
    /// It is being stored at this moment.
    Underway,
    /// It is on the disk.
    Stored,
}

/// A window over deliveries.
pub(super) struct Seen {
    window_us: i64,
    max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By name: when it was stored, or `None` while it is underway.
    names: HashMap<Bytes, Option<i64>>,
    /// Those that are stored, the oldest first.
    order: VecDeque<(i64, Bytes)>,
}

impl Seen {
    pub(super) fn new(window: Duration, max: usize) -> Self {
        let window_us = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
        Self { window_us, max, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a delivery now.
    pub(super) fn ask(&self, name: &Bytes, now_us: i64) -> Known {
        let mut state = self.state();
        let oldest = now_us.saturating_sub(self.window_us);
        while let Some((at, name)) = state.order.pop_front_if(|(at, _)| *at < oldest) {
            state.forget(at, &name);
        }
        match state.names.get(name) {
            Some(Some(_)) => Known::Stored,
            Some(None) => Known::Underway,
            None => {
                state.names.insert(name.clone(), None);
                Known::New
            }
        }
    }

    /// It is on the disk.
    pub(super) fn stored(&self, name: Bytes, at_us: i64) {
        let mut state = self.state();
        state.names.insert(name.clone(), Some(at_us));
        state.order.push_back((at_us, name));
        if state.order.len() > self.max
            && let Some((at, name)) = state.order.pop_front()
        {
            state.forget(at, &name);
        }
    }

    /// It was not stored: it may come again.
    pub(super) fn failed(&self, name: &Bytes) {
        let mut state = self.state();
        if state.names.get(name) == Some(&None) {
            state.names.remove(name);
        }
    }
}

impl State {
    fn forget(&mut self, at: i64, name: &Bytes) {
        if self.names.get(name) == Some(&Some(at)) {
            self.names.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_new_once_until_the_window_is_over_or_it_failed() {
        let seen = Seen::new(Duration::from_micros(100), 10);
        let name = Bytes::from_static(b"a");
        assert_eq!(seen.ask(&name, 0), Known::New);
        assert_eq!(seen.ask(&name, 1), Known::Underway);
        seen.failed(&name);
        assert_eq!(seen.ask(&name, 2), Known::New);
        seen.stored(name.clone(), 3);
        seen.failed(&name);
        assert_eq!(seen.ask(&name, 103), Known::Stored);
        assert_eq!(seen.ask(&name, 104), Known::New);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let seen = Seen::new(Duration::from_secs(10), 2);
        let names: Vec<Bytes> = (0..3).map(|n| Bytes::from(format!("{n}"))).collect();
        for (at, name) in names.iter().enumerate() {
            assert_eq!(seen.ask(name, at as i64), Known::New);
            seen.stored(name.clone(), at as i64);
        }
        assert_eq!(seen.ask(&names[0], 5), Known::New);
        assert_eq!(seen.ask(&names[2], 5), Known::Stored);
        assert_eq!(seen.state().order.len(), 2);
    }
}
