//! Whether finished block ranges of a crashed attempt may be kept under a new snapshot.
//!
//! A range is unchanged if the table was not rewritten (same file node), the range holds as many visible rows as were read, and none of them
//! was written by a transaction that the old snapshot did not see. An UPDATE that moves a row into the range shows
//! as a new version in it, one that moves a row out lowers its count. If all finished ranges are unchanged, then what was read of them equals
//! what the new snapshot would show, and the remaining ranges are read under the new snapshot: the union is exactly the new snapshot.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_postgres::Client;
use weir_connect::{Result, Resume, ResumeVerdict};

use super::catalog::Leaf;
use super::client::explain;
use super::source::Part;

/// Kept with the checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReaderState {
    /// `pg_current_snapshot()`.
    pub snapshot: String,
    /// Physical tables with their file nodes.
    pub filenodes: Vec<(u32, u32)>,
}

fn part(descriptor: &Value) -> Option<Part> {
    serde_json::from_value(descriptor.clone()).ok()
}

/// Asks the server about every finished range, without transferring a row.
pub async fn verdict(client: &Client, resume: &Resume, now: &ReaderState) -> Result<ResumeVerdict> {
    let start_over = |reason: String| Ok(ResumeVerdict::StartOver { reason });
    let Ok(before) = serde_json::from_value::<ReaderState>(resume.reader_state.clone()) else {
        return start_over("nothing is known about the snapshot of the interrupted attempt".into());
    };
    for progress in &resume.progress {
        let Some(Part::Blocks { oid, table, from, to }) = part(&progress.split.descriptor) else {
            return start_over("the interrupted attempt read the table as a whole".into());
        };
        if !progress.done {
            return start_over("a range was left in the middle".into());
        }
        let same_file = |state: &ReaderState| state.filenodes.iter().find(|(known, _)| *known == oid).map(|(_, node)| *node);
        if same_file(&before).is_none() || same_file(&before) != same_file(now) {
            return start_over(format!("table {table} was rewritten or replaced"));
        }
        let upper = to.map(|to| format!(" AND ctid < '({to},0)'")).unwrap_or_default();
        // xmin has 32 bits; with the epoch of now it is the transaction's full number, unless it lies before a wraparound, and
        // then the row is older than any snapshot that a resume could hold: the number comes out too large and counts as changed.
        let sql = format!(
            "SELECT count(*), count(*) FILTER (WHERE xmin::text::bigint >= 3 AND NOT pg_visible_in_snapshot(
                 ((pg_snapshot_xmax(pg_current_snapshot())::text::bigint >> 32 << 32) + xmin::text::bigint)::text::xid8, $1::text::pg_snapshot))
             FROM ONLY {table} WHERE ctid >= '({from},0)'{upper}"
        );
        let row = client.query_one(&sql, &[&before.snapshot]).await.map_err(explain)?;
        let (count, new): (i64, i64) = (row.get(0), row.get(1));
        if new > 0 || u64::try_from(count).ok() != Some(progress.rows) {
            return start_over(format!("rows of {table} that were read already have changed since"));
        }
    }
    Ok(ResumeVerdict::Continued)
}

/// The ranges still to read: the gaps that finished ranges leave, in pieces of the planned size.
pub fn remaining(resume: &Resume, leaves: &[Leaf], planned: Vec<Part>) -> Vec<Part> {
    let step = planned
        .iter()
        .find_map(|part| match part {
            Part::Blocks { from, to: Some(to), .. } => Some(to - from),
            _ => None,
        })
        .unwrap_or(4096);
    let mut rest = Vec::new();
    for leaf in leaves {
        let mut done: Vec<(u64, Option<u64>)> = resume
            .progress
            .iter()
            .filter(|progress| progress.done)
            .filter_map(|progress| match part(&progress.split.descriptor) {
                Some(Part::Blocks { oid, from, to, .. }) if oid == leaf.oid => Some((from, to)),
                _ => None,
            })
            .collect();
        done.sort_unstable();
        let mut at = 0;
        let mut open = true;
        let gap = |from: u64, to: Option<u64>, rest: &mut Vec<Part>| {
            let mut from = from;
            let end = to.unwrap_or(leaf.blocks.max(from));
            while from + step + step / 2 < end {
                rest.push(Part::Blocks { oid: leaf.oid, table: leaf.quoted.clone(), from, to: Some(from + step) });
                from += step;
            }
            rest.push(Part::Blocks { oid: leaf.oid, table: leaf.quoted.clone(), from, to });
        };
        for (from, to) in done {
            if from > at {
                gap(at, Some(from), &mut rest);
            }
            match to {
                Some(to) => at = at.max(to),
                None => open = false,
            }
        }
        if open {
            gap(at, None, &mut rest);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_connect::{Split, SplitProgress};

    use super::*;

    fn leaf(blocks: u64) -> Leaf {
        Leaf { oid: 1, quoted: "t".into(), filenode: 1, blocks, physical: true }
    }

    fn done(from: u64, to: Option<u64>) -> SplitProgress {
        let descriptor = json!(Part::Blocks { oid: 1, table: "t".into(), from, to });
        SplitProgress {
            split: Split { id: String::new(), descriptor, estimated_rows: None, estimated_bytes: None },
            position: None,
            done: true,
            rows: 0,
        }
    }

    /// Every block is either finished or left, once, and the open end is covered once.
    fn covers(finished: &[(u64, Option<u64>)], blocks: u64) {
        let resume = Resume { reader_state: Value::Null, progress: finished.iter().map(|(from, to)| done(*from, *to)).collect() };
        let rest = remaining(&resume, &[leaf(blocks)], vec![Part::Blocks { oid: 1, table: "t".into(), from: 0, to: Some(10) }]);
        let mut all: Vec<(u64, Option<u64>)> = finished.to_vec();
        all.extend(rest.iter().map(|part| match part {
            Part::Blocks { from, to, .. } => (*from, *to),
            Part::Whole => panic!("no whole read in a resume"),
        }));
        all.sort_unstable_by_key(|(from, _)| *from);
        assert_eq!(all[0].0, 0);
        for pair in all.windows(2) {
            assert_eq!(pair[0].1, Some(pair[1].0), "{all:?}");
        }
        assert_eq!(all.last().unwrap().1, None, "{all:?}");
    }

    #[test]
    fn finished_and_remaining_ranges_cover_the_table_once() {
        covers(&[(0, Some(10))], 100);
        covers(&[(10, Some(20)), (50, Some(60))], 100);
        covers(&[(90, None)], 100);
        covers(&[(0, Some(10)), (10, None)], 20);
        covers(&[(0, Some(10))], 5);
    }
}
