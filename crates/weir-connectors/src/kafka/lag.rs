//! How far the readers of a topic are behind: where each is, and where its partition ended when that was last asked. In offsets, which count the marks
//! of transactions too.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::client::Reading;

/// How long asking for the ends may take, all together.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
struct At {
    /// The next offset to read.
    next: i64,
    /// Where the partition ended.
    end: Option<i64>,
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
        self.all().entry(partition).or_insert(At { next, end: None }).next = next;
    }

    /// The reader of a partition has nothing more to read.
    pub fn at_end(&self, partition: i32, next: i64) {
        self.all().insert(partition, At { next, end: Some(next) });
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
                        at.end = Some(end);
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
        lags.all().get_mut(&0).unwrap().end = Some(12);
        assert_eq!(lags.told(), [("0".to_owned(), 7), ("1".to_owned(), 0)]);
        lags.reached(0, 15);
        lags.reached(1, 9);
        assert_eq!(lags.told(), [("0".to_owned(), 0), ("1".to_owned(), 0)]);
    }
}
