//! Event time of a flow: how far its splits are, and the watermark that follows.
//!
//! * A split's watermark is the largest time seen in it, less `max_lateness` and one millisecond; or what its source said, if that is later.
//! * The flow's is the smallest of its splits that are neither idle nor closed. It never goes back.
//! * A split is idle when its source has said that nothing is there and nothing came for `idle_after`; without `idle_after` never. While all are idle the
//!   watermark stays. When all splits are closed it is `i64::MAX`.
//!
//! All of it but idleness is durable with the state. Microseconds since 1970, UTC.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weir_error::{Error, Result};
use weir_plan::keyed::EventTime;

/// A row at the end of a window is not in it: the window `[s, e)` is over at `e` less this.
const STEP: i64 = 1_000;

/// What is durable.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    watermark: Option<i64>,
    /// By id.
    splits: BTreeMap<String, KeptSplit>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct KeptSplit {
    input: usize,
    /// The largest time seen.
    time: Option<i64>,
    /// What the source said.
    told: Option<i64>,
    /// The source has closed it.
    closed: bool,
}

#[derive(Debug, Default)]
struct Split {
    id: String,
    kept: KeptSplit,
    /// Since when there is nothing in it.
    waits_since: Option<Instant>,
    idle: bool,
}

#[derive(Debug)]
pub(super) struct Clock {
    inputs: Vec<Option<EventTime>>,
    watermark: Option<i64>,
    /// By slot.
    splits: Vec<Split>,
    /// Known from before, and not being read: closed, or gone from the source.
    others: BTreeMap<String, KeptSplit>,
    /// The watermark, or a time, is not durable.
    changed: bool,
    /// It was told where it is.
    told: bool,
}

impl Clock {
    /// As it was left; `None`: nothing has been seen.
    pub(super) fn new(inputs: Vec<Option<EventTime>>, left: Option<&[u8]>) -> Result<Self> {
        let kept: Kept = match left {
            None | Some([]) => Kept::default(),
            Some(text) => serde_json::from_slice(text)
                .map_err(|error| Error::internal("the times of a state cannot be read").caused_by(error))?,
        };
        Ok(Self { inputs, watermark: kept.watermark, splits: Vec::new(), others: kept.splits, changed: false, told: false })
    }

    /// A split is read from now on, in the next slot.
    pub(super) fn take(&mut self, input: usize, id: &str) {
        let kept = self.others.remove(id).unwrap_or(KeptSplit { input, ..KeptSplit::default() });
        self.splits.push(Split { id: id.to_owned(), kept, ..Split::default() });
    }

    /// Rows came, the newest of this time, if any of them has one.
    pub(super) fn saw(&mut self, slot: usize, time: Option<i64>) {
        let Some(split) = self.splits.get_mut(slot) else { return };
        (split.waits_since, split.idle) = (None, false);
        if time > split.kept.time {
            split.kept.time = time;
            self.changed = true;
        }
    }

    /// The source says how far it is.
    pub(super) fn told(&mut self, slot: usize, watermark: i64) {
        let Some(split) = self.splits.get_mut(slot) else { return };
        if Some(watermark) > split.kept.told {
            split.kept.told = Some(watermark);
            self.changed = true;
        }
    }

    /// The source has nothing more by now.
    pub(super) fn waits(&mut self, slot: usize, now: Instant) {
        if let Some(split) = self.splits.get_mut(slot) {
            split.waits_since.get_or_insert(now);
        }
    }

    pub(super) fn closed(&mut self, slot: usize) {
        if let Some(split) = self.splits.get_mut(slot) {
            split.kept.closed = true;
            self.changed = true;
        }
    }

    /// When a split will be idle, if nothing comes.
    pub(super) fn due(&self) -> Option<Instant> {
        self.splits.iter().filter(|split| !split.idle && !split.kept.closed).filter_map(|split| self.idle_at(split)).min()
    }

    fn idle_at(&self, split: &Split) -> Option<Instant> {
        let after = self.inputs.get(split.kept.input)?.as_ref()?.idle_after?;
        Some(split.waits_since? + Duration::from_micros(u64::try_from(after).unwrap_or(0)))
    }

    /// The watermark, if it has moved; also the first time, if it is known from before.
    pub(super) fn advance(&mut self, now: Instant) -> Option<i64> {
        let idle: Vec<bool> =
            self.splits.iter().map(|split| split.idle || self.idle_at(split).is_some_and(|at| at <= now)).collect();
        for (split, idle) in self.splits.iter_mut().zip(idle) {
            split.idle = idle;
        }
        let first = !std::mem::replace(&mut self.told, true);
        let Some(next) = self.now().filter(|next| Some(*next) > self.watermark) else {
            return self.watermark.filter(|_| first);
        };
        self.watermark = Some(next);
        self.changed = true;
        Some(next)
    }

    /// What the splits say; `None`: not yet anything.
    fn now(&self) -> Option<i64> {
        let (mut least, mut waiting) = (None::<i64>, false);
        for (input, event_time) in self.inputs.iter().enumerate() {
            let Some(event_time) = event_time else { continue };
            let splits = self.splits.iter().filter(|split| split.kept.input == input);
            // An input whose splits are not known yet may still have any time.
            if splits.clone().next().is_none() && !self.others.values().any(|kept| kept.input == input && kept.closed) {
                return None;
            }
            for split in splits.filter(|split| !split.kept.closed) {
                if split.idle {
                    waiting = true;
                    continue;
                }
                let seen = split.kept.time.map(|time| time.saturating_sub(event_time.max_lateness).saturating_sub(STEP));
                let at = seen.max(split.kept.told)?;
                least = Some(least.map_or(at, |least| least.min(at)));
            }
        }
        match least {
            Some(least) => Some(least),
            None if waiting || self.inputs.iter().all(Option::is_none) => None,
            None => Some(i64::MAX),
        }
    }

    pub(super) fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// Something is not durable.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// What must be durable, for the epoch that ends now.
    pub(super) fn keep(&mut self) -> Result<Vec<u8>> {
        self.changed = false;
        let mut splits = self.others.clone();
        splits.extend(self.splits.iter().map(|split| (split.id.clone(), split.kept.clone())));
        let kept = Kept { watermark: self.watermark, splits };
        serde_json::to_vec(&kept).map_err(|error| Error::internal("the times of a state cannot be written").caused_by(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn time(lateness: i64, idle_after: Option<i64>) -> Option<EventTime> {
        Some(EventTime { column: 0, said: 0, max_lateness: lateness, idle_after })
    }

    fn clock(inputs: Vec<Option<EventTime>>, splits: &[usize]) -> Clock {
        let mut clock = Clock::new(inputs, None).unwrap();
        for (slot, input) in splits.iter().enumerate() {
            clock.take(*input, &format!("s{slot}"));
        }
        clock
    }

    #[test]
    fn the_slowest_split_decides_and_time_never_goes_back() {
        let now = Instant::now();
        let mut clock = clock(vec![time(2 * SECOND, None)], &[0, 0]);
        clock.saw(0, Some(10 * SECOND));
        assert_eq!(clock.advance(now), None, "the second split has not given anything");
        clock.saw(1, Some(20 * SECOND));
        assert_eq!(clock.advance(now), Some(8 * SECOND - STEP));
        clock.saw(0, Some(5 * SECOND));
        assert_eq!((clock.advance(now), clock.watermark()), (None, Some(8 * SECOND - STEP)));
        clock.saw(0, Some(30 * SECOND));
        assert_eq!(clock.advance(now), Some(18 * SECOND - STEP));
        // A source that knows better.
        clock.told(1, 25 * SECOND);
        assert_eq!(clock.advance(now), Some(25 * SECOND));
    }

    #[test]
    fn a_split_that_is_idle_does_not_hold_it_back_until_it_gives_again() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let mut clock = clock(vec![time(0, Some(SECOND))], &[0, 0]);
        clock.saw(0, Some(10 * SECOND));
        clock.waits(1, now);
        assert_eq!((clock.advance(after(999)), clock.due()), (None, Some(after(1000))));
        assert_eq!(clock.advance(after(1000)), Some(10 * SECOND - STEP));
        assert_eq!(clock.due(), None, "it is idle already");
        clock.saw(1, Some(3 * SECOND));
        clock.saw(0, Some(12 * SECOND));
        assert_eq!(clock.advance(after(1001)), None, "it is behind");
        clock.waits(0, after(1001));
        clock.waits(1, after(1001));
        assert_eq!(clock.advance(after(9000)), None, "all are idle: it stays");
    }

    #[test]
    fn the_end_of_all_splits_is_the_end_of_time() {
        let now = Instant::now();
        let mut clock = clock(vec![time(0, Some(1)), None], &[0, 0, 1]);
        clock.saw(0, Some(SECOND));
        clock.closed(0);
        clock.waits(1, now);
        assert_eq!(clock.advance(now + Duration::from_secs(1)), None, "one may still give rows");
        clock.closed(1);
        assert_eq!(clock.advance(now), Some(i64::MAX));
    }

    #[test]
    fn it_goes_on_where_it_was_and_what_is_gone_does_not_hold_it_back() {
        let now = Instant::now();
        let inputs = || vec![time(0, None), time(0, None)];
        let mut before = clock(inputs(), &[0, 0, 1]);
        before.saw(0, Some(9 * SECOND));
        before.saw(1, Some(5 * SECOND));
        before.closed(2);
        assert_eq!(before.advance(now), Some(5 * SECOND - STEP));
        assert!(before.changed());
        let kept = before.keep().unwrap();
        assert!(!before.changed());
        let mut after = Clock::new(inputs(), Some(&kept)).unwrap();
        assert_eq!(after.advance(now), Some(5 * SECOND - STEP), "operators must know it before the first row");
        assert_eq!((after.advance(now), after.changed()), (None, false));
        after.take(0, "s0");
        // `s1` is not there any more, the second input was closed.
        assert_eq!(after.advance(now), Some(9 * SECOND - STEP));
        let mut fresh = Clock::new(inputs(), None).unwrap();
        fresh.take(0, "s0");
        fresh.saw(0, Some(SECOND));
        assert_eq!(fresh.advance(now), None, "nothing is known of the second input");
    }
}
