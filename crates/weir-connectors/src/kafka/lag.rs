//! How far the readers of a topic are behind: where each is, and where its partition ended when that was last asked. In offsets, which count the marks
//! of transactions too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::client::Reading;

/// How long asking for the ends may take, all together.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends of a partition that are remembered. Beyond that every second is forgotten, so that the oldest stays.
const MOST_ENDS: usize = 256;

#[derive(Debug, Clone, Default)]
struct At {
    /// The next offset to read.
    next: i64,
    /// Where the partition ended.
    end: Option<i64>,
    /// Ends that the reader has not come to, and when they were seen first; ascending.
    seen: VecDeque<(Instant, i64)>,
}

impl At {
    fn passed(&mut self) {
        while self.seen.front().is_some_and(|(_, end)| *end <= self.next) {
            self.seen.pop_front();
        }
    }

    fn ends_at(&mut self, end: i64, now: Instant) {
        self.end = Some(end);
        if self.seen.back().map_or(self.next, |(_, known)| *known) >= end {
            return;
        }
        if self.seen.len() == MOST_ENDS {
            let mut keep = false;
            self.seen.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.seen.push_back((now, end));
    }
}

/// What is known of the partitions that are read without end.
#[derive(Debug, Default)]
pub struct Lags(Mutex<BTreeMap<i32, At>>);

impl Lags {
    fn all(&self) -> MutexGuard<'_, BTreeMap<i32, At>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader of a partition got there.
    pub fn reached(&self, partition: i32, next: i64) {
        let mut all = self.all();
        let at = all.entry(partition).or_default();
        at.next = next;
        at.passed();
    }

    /// The reader of a partition has nothing more to read.
    pub fn at_end(&self, partition: i32, next: i64) {
        self.all().insert(partition, At { next, end: Some(next), seen: VecDeque::new() });
    }

    /// Asks where the partitions end now. One that does not answer keeps the end that was known: this is for people, and holds nobody up.
    pub fn ask(&self, consumer: &Reading, topic: &str) {
        let until = Instant::now() + PATIENCE;
        let partitions: Vec<i32> = self.all().keys().copied().collect();
        for partition in partitions {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match consumer.fetch_watermarks(topic, partition, left) {
                Ok((_, end)) => {
                    if let Some(at) = self.all().get_mut(&partition) {
                        at.ends_at(end, Instant::now());
                    }
                }
                Err(error) => tracing::debug!(target: "weir::kafka", "where {topic}[{partition}] ends is not known: {error}"),
            }
        }
    }

    /// By partition, those whose end is known.
    pub fn told(&self) -> Vec<(String, u64)> {
        let behind = |at: &At| at.end.map(|end| u64::try_from(end - at.next).unwrap_or(0));
        self.all().iter().filter_map(|(partition, at)| Some((partition.to_string(), behind(at)?))).collect()
    }

    /// For how long, in milliseconds, a record that was not read has been there: since an end behind it was seen first. Of a partition whose end
    /// is asked for every few seconds that is too little by as much, and before the run began nobody looked.
    pub fn told_ms(&self, now: Instant) -> Option<u64> {
        let all = self.all();
        let known = all.values().filter(|at| at.end.is_some());
        let since = |at: &At| at.seen.front().map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(*since));
        known.map(since).max().map(|longest| u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_is_not_known_is_no_lag_and_one_that_is_passed_is_none() {
        let lags = Lags::default();
        lags.reached(0, 5);
        assert_eq!(lags.told(), []);
        lags.at_end(1, 7);
        lags.all().get_mut(&0).unwrap().ends_at(12, Instant::now());
        assert_eq!(lags.told(), [("0".to_owned(), 7), ("1".to_owned(), 0)]);
        lags.reached(0, 15);
        lags.reached(1, 9);
        assert_eq!(lags.told(), [("0".to_owned(), 0), ("1".to_owned(), 0)]);
    }

    #[test]
    fn a_record_has_waited_since_an_end_behind_it_was_seen() {
        let (lags, begin) = (Lags::default(), Instant::now());
        let later = |secs| begin + Duration::from_secs(secs);
        lags.reached(0, 5);
        assert_eq!(lags.told_ms(later(9)), None);
        for (secs, end) in [(0, 5), (1, 8), (2, 8), (3, 20)] {
            lags.all().get_mut(&0).unwrap().ends_at(end, later(secs));
        }
        assert_eq!(lags.told_ms(later(10)), Some(9_000));
        lags.reached(0, 7);
        assert_eq!(lags.told_ms(later(10)), Some(9_000));
        lags.reached(0, 8);
        assert_eq!(lags.told_ms(later(10)), Some(7_000));
        lags.reached(0, 20);
        assert_eq!(lags.told_ms(later(10)), Some(0));
        // However long it goes on, what is remembered is bounded, and the oldest stays.
        for secs in 0..10_000 {
            lags.all().get_mut(&0).unwrap().ends_at(21 + i64::try_from(secs).unwrap(), later(secs));
        }
        assert_eq!(lags.told_ms(later(10_000)), Some(10_000_000));
        assert!(lags.all()[&0].seen.len() <= MOST_ENDS);
    }
}
