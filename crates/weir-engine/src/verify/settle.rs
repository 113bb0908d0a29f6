//! From suspicion to proof: single keys of a pipeline that runs.
//!
//! A round looks at the source (A), waits until the sink has applied everything that A saw, looks at the sink (B) and at the source again (C). The sink's
//! row is then of a moment between A and C, so:
//!
//! 1. B equals A or C: the key is **equal**.
//! 2. The source has the row, nobody wrote it between A and C (same version), and B is another one: it **differs**. Whatever else has happened, at the
//!    moment of B the sink had to have this row.
//! 3. The sink's row was not written since it was looked at before A (same version), and it is not what A had: it **differs**. What the sink had applied
//!    then ended before A; to get past A it had to write this row, and has not. (This finds rows that the source does not have: what is not
//!    there has no version.)
//!
//! A server's log may tell of a commit a moment before its other sessions see it; then the sink is ahead of A and of C. So a difference counts only if
//! the source still says the same a little later. What is neither equal nor different goes into the next round; after the last one it is *in motion*: it
//! changes too fast, or the sink does not get to it.
//!
//! A system without versions cannot tell a row that was written and is the same again: its versions are hashes. And its position may lag behind what its
//! sessions see, by the moment that a commit takes. So of such a source no rule is proof, and of such a sink not the third, until it has said the same of
//! the same rows in [`AGAIN`] rounds, one after the other. (A row that goes to and fro between two values, in step with every look of every round, is
//! what could still be accused.)

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use weir_connect::Result;
use weir_connect::verify::{Comparison, Found, Key, VerifySink, VerifySource, VerifyTable};

use super::progress::Progress;
use super::report::DifferenceKind;

/// What became of a suspicion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The key is equal on both sides.
    Equal,
    /// It is not, in these columns.
    Differs(DifferenceKind, Vec<String>),
    /// It cannot be said.
    InMotion,
}

/// How long a difference must last.
const LASTS: Duration = Duration::from_millis(100);
/// How often it must be seen where a side has no versions.
const AGAIN: u32 = 3;

/// Rows by key, each key's in order.
#[derive(Default)]
struct Rows(HashMap<u128, Vec<Found>>);

impl Rows {
    fn of(&self, key: &Key) -> &[Found] {
        self.0.get(&key.digest).map_or(&[], Vec::as_slice)
    }
}

/// Asks for all of them; the position after which nothing of the answer was committed.
async fn look<T: VerifyTable + ?Sized>(table: &T, comparison: &Comparison, keys: &[Key]) -> Result<(Rows, Value)> {
    let (mut rows, mut point) = (Rows::default(), Value::Null);
    for part in keys.chunks(table.together()) {
        let looked = table.look(comparison, part).await?;
        for found in looked.rows {
            rows.0.entry(found.key).or_default().push(found);
        }
        // The last one's is the latest.
        point = looked.point;
    }
    rows.0.values_mut().for_each(|found| found.sort_by(|a, b| (a.row, &a.version).cmp(&(b.row, &b.version))));
    Ok((rows, point))
}

fn same_rows(one: &[Found], two: &[Found]) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.row == two.row)
}

fn same_versions(one: &[Found], two: &[Found]) -> bool {
    same_rows(one, two) && one.iter().zip(two).all(|(one, two)| one.version == two.version)
}

/// What the difference is, told by the columns.
fn difference(comparison: &Comparison, source: &[Found], sink: &[Found]) -> Verdict {
    let known = sink.iter().all(|found| source.iter().any(|other| other.row == found.row));
    let kind = match (source.len(), sink.len()) {
        (_, 0) => DifferenceKind::Missing,
        (0, _) => DifferenceKind::Extra,
        // The rows are right, and their number is not.
        (here, there) if known && here < there => DifferenceKind::Repeated,
        (here, there) if known && here > there => DifferenceKind::Missing,
        _ => DifferenceKind::Differs,
    };
    if kind != DifferenceKind::Differs {
        return Verdict::Differs(kind, Vec::new());
    }
    let values = |rows: &[Found], at: usize| {
        let mut values: Vec<Option<String>> = rows.iter().map(|found| found.forms.get(at).cloned().flatten()).collect();
        values.sort();
        values.dedup();
        values
    };
    let differs = |at: &usize| values(source, *at) != values(sink, *at);
    let columns = (0..comparison.columns.len()).filter(differs).map(|at| comparison.columns[at].0.clone()).collect();
    Verdict::Differs(kind, columns)
}

/// Judges every key; the answers are in their order.
pub async fn settle(
    comparison: &Comparison,
    source: &dyn VerifySource,
    sink: &dyn VerifySink,
    progress: &mut Progress,
    rounds: usize,
    keys: &[Key],
) -> Result<Vec<Verdict>> {
    let mut verdicts: HashMap<u128, Verdict> = HashMap::new();
    let mut open: Vec<Key> = keys.to_vec();
    let mut seen: HashMap<u128, (u32, Vec<u128>)> = HashMap::new();
    let (mut before, _) = look(sink, comparison, &open).await?;
    for _ in 0..rounds {
        if open.is_empty() {
            break;
        }
        let (a, point) = look(source, comparison, &open).await?;
        if !progress.passes(source, sink, &point).await? {
            break;
        }
        let (b, _) = look(sink, comparison, &open).await?;
        let (c, _) = look(source, comparison, &open).await?;
        let (mut next, mut wrong) = (Vec::new(), Vec::new());
        for key in open {
            let (a, b, c) = (a.of(&key), b.of(&key), c.of(&key));
            let unwritten = !a.is_empty() && same_versions(a, c);
            let untouched = !b.is_empty() && same_versions(before.of(&key), b);
            if same_rows(b, a) || same_rows(b, c) {
                verdicts.insert(key.digest, Verdict::Equal);
            } else if unwritten || untouched {
                wrong.push(key);
            } else {
                seen.remove(&key.digest);
                next.push(key);
            }
        }
        if !wrong.is_empty() {
            // Without a log nothing can be ahead of what its sessions see.
            let later = match progress.as_is {
                true => None,
                false => {
                    tokio::time::sleep(LASTS).await;
                    Some(look(source, comparison, &wrong).await?.0)
                }
            };
            for key in wrong {
                if later.as_ref().is_some_and(|later| !same_versions(later.of(&key), c.of(&key))) {
                    seen.remove(&key.digest);
                    next.push(key);
                    continue;
                }
                let (a, b, c) = (a.of(&key), b.of(&key), c.of(&key));
                let unwritten = !a.is_empty() && same_versions(a, c);
                let strong = progress.as_is || (source.versioned() && (unwritten || sink.versioned()));
                let now: Vec<u128> = a.iter().chain(b).map(|found| found.row).collect();
                let (times, was) = seen.entry(key.digest).or_default();
                *times = if *was == now { *times + 1 } else { 1 };
                *was = now;
                if strong || *times >= AGAIN {
                    // By the third rule the sink's row is not what A had, whatever C has.
                    verdicts.insert(key.digest, difference(comparison, a, b));
                } else {
                    next.push(key);
                }
            }
        }
        (open, before) = (next, b);
    }
    Ok(keys.iter().map(|key| verdicts.remove(&key.digest).unwrap_or(Verdict::InMotion)).collect())
}
