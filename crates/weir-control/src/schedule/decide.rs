//! What becomes of fires that are due: which of them run, which are skipped, and when the next one is.

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use weir_error::Result;
use weir_store::model::{CatchUp, JobId, Overlap, RunStatus, ScheduleRow};

use super::fires::Timetable;

/// A fire that nobody took for longer than this was missed; until then it is only late.
const LATE: TimeDelta = TimeDelta::seconds(60);
/// `catch_up: all` makes up for so many fires, the newest.
const MOST: usize = 100;

/// What to store.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    /// Fire without jitter, not before, and queued or skipped; oldest first.
    pub fires: Vec<(DateTime<Utc>, DateTime<Utc>, RunStatus)>,
    /// The first fire after those.
    pub next: Option<DateTime<Utc>>,
}

/// Decides about the fires of a row from `next_fire_at` to `now`. A run of the job that has not ended counts for fires that follow it, not for
/// fires that are made up for together.
pub(super) fn decide(row: &ScheduleRow, now: DateTime<Utc>) -> Result<Decision> {
    let timetable = Timetable::new(&row.schedule.cron, &row.schedule.timezone)?;
    let mut due = newest(&timetable, row.next_fire_at, now);
    let next = timetable.after(due.last().copied().unwrap_or(now).max(now));
    match row.schedule.catch_up {
        CatchUp::All => {}
        CatchUp::Last => due = due.split_off(due.len().saturating_sub(1)),
        CatchUp::None => {
            due.retain(|fire| now - *fire <= LATE);
            due = due.split_off(due.len().saturating_sub(1));
        }
    }
    let status = if row.unfinished && row.schedule.overlap == Overlap::Skip { RunStatus::Skipped } else { RunStatus::Queued };
    let delay = jitter(&row.job_id, row.schedule.jitter_secs);
    Ok(Decision { fires: due.into_iter().map(|fire| (fire, fire + delay, status)).collect(), next })
}

/// The newest fires from `first` to `now`, oldest first. `first` is a fire even if the rules of its zone have changed since it was computed.
fn newest(timetable: &Timetable, first: DateTime<Utc>, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    if first > now {
        return Vec::new();
    }
    // Backwards in growing steps: after years without a scheduler nobody wants to count minutes.
    for hours in [1, 24, 31 * 24, 366 * 24, i64::MAX / 3_600_000_000] {
        let from = now.checked_sub_signed(TimeDelta::hours(hours)).unwrap_or(first);
        let whole = from <= first;
        let start = if whole { first } else { from };
        let mut fires: Vec<_> = std::iter::successors(timetable.after(start), |last| timetable.after(*last))
            .take_while(|fire| *fire <= now)
            .collect();
        if whole {
            fires.insert(0, first);
        }
        if whole || fires.len() >= MOST {
            return fires.split_off(fires.len().saturating_sub(MOST));
        }
    }
    vec![first]
}

/// The same for each fire of a job: jobs that share a schedule do not start together.
fn jitter(job: &JobId, below_secs: u32) -> TimeDelta {
    if below_secs == 0 {
        return TimeDelta::zero();
    }
    let digest = Sha256::digest(job.as_str().as_bytes());
    let number = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    TimeDelta::seconds(i64::try_from(number % u64::from(below_secs)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_store::model::Schedule;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2025-01-01T{text}Z").parse().unwrap()
    }

    fn row(cron: &str, overlap: Overlap, catch_up: CatchUp, next: &str) -> ScheduleRow {
        ScheduleRow {
            tenant_id: "acme".into(),
            job_id: "j1".into(),
            schedule: Schedule { cron: cron.into(), timezone: "UTC".into(), overlap, catch_up, jitter_secs: 0 },
            next_fire_at: at(next),
            unfinished: false,
        }
    }

    fn fires(decision: &Decision) -> Vec<String> {
        decision.fires.iter().map(|(fire, _, status)| format!("{} {}", fire.format("%H:%M"), status.as_str())).collect()
    }

    #[test]
    fn a_fire_on_time_is_queued_and_the_next_one_follows_it() {
        for catch_up in [CatchUp::None, CatchUp::Last, CatchUp::All] {
            let decision = decide(&row("*/15 * * * *", Overlap::Skip, catch_up, "10:15:00"), at("10:15:00.2")).unwrap();
            assert_eq!(fires(&decision), ["10:15 queued"]);
            assert_eq!(decision.next, Some(at("10:30:00")));
        }
    }

    #[test]
    fn missed_fires_are_gone_or_one_or_all() {
        let decided = |catch_up| {
            let decision = decide(&row("0 * * * *", Overlap::Skip, catch_up, "03:00:00"), at("06:30:00")).unwrap();
            assert_eq!(decision.next, Some(at("07:00:00")));
            fires(&decision)
        };
        assert!(decided(CatchUp::None).is_empty());
        assert_eq!(decided(CatchUp::Last), ["06:00 queued"]);
        assert_eq!(decided(CatchUp::All), ["03:00 queued", "04:00 queued", "05:00 queued", "06:00 queued"]);
        // The newest one is on time.
        let late = decide(&row("0 * * * *", Overlap::Skip, CatchUp::None, "03:00:00"), at("06:00:30")).unwrap();
        assert_eq!(fires(&late), ["06:00 queued"]);
    }

    #[test]
    fn years_without_a_scheduler_cost_no_time_and_give_a_hundred_runs_at_most() {
        let mut old = row("* * * * *", Overlap::Queue, CatchUp::All, "00:00:00");
        old.next_fire_at = "1990-01-01T00:00:00Z".parse().unwrap();
        let decision = decide(&old, at("10:00:00")).unwrap();
        assert_eq!((decision.fires.len(), decision.fires[99].0, decision.fires[0].0), (100, at("10:00:00"), at("08:21:00")));
        old.schedule.cron = "0 0 29 2 *".into();
        let decision = decide(&old, at("10:00:00")).unwrap();
        assert_eq!(decision.fires.len(), 10, "1990 itself and nine leap days: {decision:?}");
    }

    #[test]
    fn an_unfinished_run_skips_or_lets_wait() {
        let busy = |overlap| ScheduleRow { unfinished: true, ..row("0 * * * *", overlap, CatchUp::Last, "06:00:00") };
        let skip = decide(&busy(Overlap::Skip), at("06:00:00")).unwrap();
        assert_eq!(fires(&skip), ["06:00 skipped"]);
        let queue = decide(&busy(Overlap::Queue), at("06:00:00")).unwrap();
        assert_eq!(fires(&queue), ["06:00 queued"]);
    }

    #[test]
    fn jitter_is_fixed_per_job_and_spreads_jobs() {
        let delays: Vec<i64> = (0..200).map(|n| jitter(&JobId::from(format!("job-{n}")), 60).num_seconds()).collect();
        assert!(delays.iter().all(|delay| (0..60).contains(delay)));
        assert!(delays.iter().collect::<std::collections::BTreeSet<_>>().len() > 40);
        let mut jittered = row("0 * * * *", Overlap::Skip, CatchUp::Last, "06:00:00");
        jittered.schedule.jitter_secs = 300;
        let [(fire, not_before, _)] = decide(&jittered, at("06:00:00")).unwrap().fires[..] else { panic!() };
        assert_eq!((fire, not_before), (at("06:00:00"), at("06:00:00") + jitter(&"j1".into(), 300)));
    }
}
