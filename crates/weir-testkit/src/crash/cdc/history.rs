//! The oracle: what happened to each key, at the source and at the target.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};

/// Key → its `v`s in order; `None` where the row went.
pub(super) type Histories = HashMap<i64, Vec<Option<i64>>>;

/// What was compared.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Compared {
    /// Changes at the source.
    pub changes: u64,
    /// Changes that the target saw.
    pub applied: u64,
    pub keys: usize,
}

fn sum(histories: &Histories) -> u64 {
    histories.values().map(|history| history.len() as u64).sum()
}

/// Some of what happened, not thousands of values.
fn told(history: &[Option<i64>]) -> String {
    let from = history.len().saturating_sub(60);
    format!("{} changes, at the end {:?}", history.len(), &history[from..])
}

/// For a target that gets several changes of a key as one: each history is a part of the source's, in order, and ends as it does. No value is used
/// twice, so one that came twice or too late is not found in what is left.
pub(super) fn in_order(expected: &Histories, found: &Histories) -> Result<Compared> {
    for (key, found) in found {
        let expected = expected.get(key).with_context(|| format!("key {key} was never at the source"))?;
        let mut rest = expected.iter();
        for (at, value) in found.iter().enumerate() {
            ensure!(
                rest.any(|known| known == value),
                "key {key}: {value:?} is out of order or doubled\nsource: {}\ntarget: {}",
                told(expected),
                told(&found[..=at])
            );
        }
        ensure!(
            found.last() == expected.last(),
            "key {key} ends otherwise than at the source\nsource: {}\ntarget: {}",
            told(expected),
            told(found)
        );
    }
    all_arrived(expected, found)?;
    Ok(Compared { changes: sum(expected), applied: sum(found), keys: expected.len() })
}

/// For a target that keeps every change: from the row that the snapshot read on (or from the first change after it), each history is the source's.
pub(super) fn complete(expected: &Histories, found: &Histories) -> Result<Compared> {
    for (key, found) in found {
        let expected = expected.get(key).with_context(|| format!("key {key} was never at the source"))?;
        if !expected.ends_with(found) {
            bail!("key {key} has another history\nsource: {}\ntarget: {}", told(expected), told(found));
        }
    }
    all_arrived(expected, found)?;
    Ok(Compared { changes: sum(expected), applied: sum(found), keys: expected.len() })
}

fn all_arrived(expected: &Histories, found: &Histories) -> Result<()> {
    for (key, expected) in expected {
        // A row that was gone before anybody looked need not have been there.
        let gone = expected.last() == Some(&None);
        ensure!(gone || found.contains_key(key), "key {key} never arrived");
    }
    Ok(())
}

/// Two lists of rows by key are the same.
pub(super) fn same_rows(expected: &[Vec<Option<String>>], found: &[Vec<Option<String>>]) -> Result<()> {
    for (expected, found) in expected.iter().zip(found) {
        ensure!(expected == found, "the source has {expected:?}, the target {found:?}");
    }
    ensure!(expected.len() == found.len(), "the source has {} rows, the target {}", expected.len(), found.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[Option<i64>]) -> Histories {
        [(1, values.to_vec())].into()
    }

    #[test]
    fn changes_may_come_as_one_but_not_late_twice_or_short() {
        let source = of(&[Some(1), Some(2), None, Some(3)]);
        for good in [&[Some(1), Some(2), None, Some(3)][..], &[Some(2), Some(3)], &[Some(3)]] {
            assert!(in_order(&source, &of(good)).is_ok(), "{good:?}");
        }
        for bad in [&[Some(2), Some(1), Some(3)][..], &[Some(2), Some(2), Some(3)], &[Some(2)], &[Some(3), None], &[Some(4)]] {
            assert!(in_order(&source, &of(bad)).is_err(), "{bad:?}");
        }
        assert!(in_order(&source, &Histories::new()).is_err());
        assert!(in_order(&Histories::new(), &of(&[Some(1)])).is_err());
    }

    #[test]
    fn a_row_that_came_and_went_need_not_be_seen() {
        assert!(in_order(&of(&[Some(1), None]), &Histories::new()).is_ok());
        assert!(complete(&of(&[Some(1), None]), &Histories::new()).is_ok());
    }

    #[test]
    fn a_target_of_all_changes_lacks_none_after_its_first() {
        let source = of(&[Some(1), Some(2), None, Some(3)]);
        assert!(complete(&source, &of(&[Some(2), None, Some(3)])).is_ok());
        assert!(complete(&source, &of(&[Some(2), Some(3)])).is_err());
        assert!(complete(&source, &of(&[Some(2), None])).is_err());
    }
}
