//! Which changes of the log are left out because the snapshot has them, or will have them. Why this is right is in `snapshot`.

use std::collections::HashSet;

use super::key::{Bound, Key, KeyValue};
use super::position::{Again, Done, Name, Place};

/// A range of keys whose rows are about to be read, under a view that is open already. See `snapshot`.
#[derive(Debug)]
pub struct Window {
    /// Keys above this.
    pub after: Option<Bound>,
    /// Up to and with this.
    pub to: Option<Bound>,
    /// Transactions that the view surely sees.
    pub low: Done,
    /// Keys of which changes were given out: the rows of the view are not.
    pub touched: HashSet<Key>,
}

impl Window {
    fn holds(&self, key: &[KeyValue]) -> bool {
        self.after.as_ref().is_none_or(|after| *key > *after.key) && self.to.as_ref().is_none_or(|to| *key <= *to.key)
    }

    /// Whether the view surely sees a transaction that begins at this place.
    fn sees(&self, name: &Name, begun: &Place) -> bool {
        match (&self.low, name) {
            (Done::Gtids(set), Name::Gtid(uuid, gno)) => set.contains(*uuid, *gno),
            (Done::Upto(end), _) => begun <= end,
            _ => false,
        }
    }
}

/// The snapshot of a table, as far as it decides about changes. `None` in its place: complete.
#[derive(Debug)]
pub struct TableSnapshot {
    /// Keys up to here were read; `None` = none were.
    pub after: Option<Bound>,
    /// Being read.
    pub windows: Vec<Window>,
    /// Transactions of which changes were left out because their keys were not read yet: a view must see them.
    pub left_out: Done,
    /// Counts beginnings.
    pub begun: u64,
    /// The targets have rows of it already: nothing is left out.
    pub again: Option<Again>,
}

/// What becomes of a change.
pub enum Verdict {
    /// It is in what was read, or will be.
    LeaveOut,
    /// It is given out.
    Give,
    /// The first change of a row that was not given out yet.
    GiveFirst,
}

impl TableSnapshot {
    /// From the beginning; views must see `left_out`.
    pub fn new(left_out: Done) -> Self {
        Self { after: None, windows: Vec::new(), left_out, begun: 0, again: None }
    }

    /// Nothing was given out.
    pub fn is_untouched(&self) -> bool {
        self.after.is_none() && self.windows.is_empty() && self.again.is_none()
    }

    /// What becomes of a change of this key by a transaction that begins at this place. `ordered`: how many columns ranges are made of.
    pub fn verdict(&mut self, key: &Key, ordered: usize, name: &Name, begun: &Place) -> Verdict {
        let prefix = key.get(..ordered).unwrap_or_default();
        if ordered > 0 && self.after.as_ref().is_some_and(|after| *prefix <= *after.key) {
            return Verdict::Give;
        }
        let Some(window) = self.windows.iter_mut().find(|window| window.holds(prefix)) else {
            // Also if it is given out: a view that does not see it would put back what was before it.
            self.left_out.add(name, begun);
            return if self.again.is_some() { Verdict::Give } else { Verdict::LeaveOut };
        };
        // What was begun for a key goes on: its row in the view will be left out.
        if window.touched.contains(key) {
            return Verdict::Give;
        }
        if window.sees(name, begun) {
            return if self.again.is_some() { Verdict::Give } else { Verdict::LeaveOut };
        }
        window.touched.insert(key.clone());
        if self.again.is_some() { Verdict::Give } else { Verdict::GiveFirst }
    }

    /// Forgets everything: the table was emptied, or its key is another one.
    pub fn restart(&mut self) {
        self.after = None;
        self.windows.clear();
        self.begun += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: u64) -> Place {
        Place { file: "b.1".into(), position }
    }

    fn key(number: i128) -> Key {
        vec![KeyValue::Number(number)]
    }

    fn bound(number: i128) -> Option<Bound> {
        Some(Bound { text: vec![number.to_string()], key: key(number) })
    }

    fn judged(snapshot: &mut TableSnapshot, number: i128, at: u64) -> &'static str {
        match snapshot.verdict(&key(number), 1, &Name::Anonymous, &place(at)) {
            Verdict::LeaveOut => "out",
            Verdict::Give => "given",
            Verdict::GiveFirst => "first",
        }
    }

    #[test]
    fn changes_are_given_where_ranges_were_read_and_where_a_view_may_lack_them() {
        let mut snapshot = TableSnapshot::new(Done::Upto(Place::default()));
        snapshot.after = bound(10);
        assert_eq!([judged(&mut snapshot, 10, 5), judged(&mut snapshot, 11, 6)], ["given", "out"]);
        assert!(Done::Upto(place(6)).covers(&snapshot.left_out) && !Done::Upto(place(5)).covers(&snapshot.left_out));
        snapshot.windows = vec![Window { after: bound(10), to: bound(20), low: Done::Upto(place(100)), touched: HashSet::new() }];
        assert_eq!(judged(&mut snapshot, 15, 100), "out");
        assert_eq!([judged(&mut snapshot, 15, 101), judged(&mut snapshot, 15, 102)], ["first", "given"]);
        // The order in which transactions became visible may be another one than the log's.
        assert_eq!(judged(&mut snapshot, 15, 90), "given");
        assert_eq!([judged(&mut snapshot, 21, 103), judged(&mut snapshot, 16, 50)], ["out", "out"]);
        snapshot.restart();
        assert!(snapshot.is_untouched() && snapshot.begun == 1);
    }

    #[test]
    fn nothing_is_left_out_of_a_table_that_the_targets_have_and_a_view_still_sees_what_was_given() {
        let mut snapshot = TableSnapshot { again: Some(Again::default()), ..TableSnapshot::new(Done::Upto(Place::default())) };
        assert!(!snapshot.is_untouched(), "a new shape is told");
        assert_eq!(judged(&mut snapshot, 11, 6), "given");
        assert!(!Done::Upto(place(5)).covers(&snapshot.left_out), "a view that lacks it would put back what was before");
        snapshot.windows = vec![Window { after: None, to: bound(20), low: Done::Upto(place(100)), touched: HashSet::new() }];
        // The view has it: its row comes later and is the same. What it may lack keeps its row out.
        assert_eq!([judged(&mut snapshot, 15, 100), judged(&mut snapshot, 16, 101)], ["given", "given"]);
        assert_eq!(snapshot.windows[0].touched, HashSet::from([key(16)]));
    }

    #[test]
    fn a_table_that_cannot_be_divided_is_one_window() {
        let mut snapshot = TableSnapshot::new(Done::Upto(Place::default()));
        let text = vec![KeyValue::Bytes(b"x".to_vec())];
        let judge = |snapshot: &mut TableSnapshot, at| {
            matches!(snapshot.verdict(&text, 0, &Name::Anonymous, &place(at)), Verdict::GiveFirst)
        };
        assert!(!judge(&mut snapshot, 5));
        snapshot.windows = vec![Window { after: None, to: None, low: Done::Upto(place(100)), touched: HashSet::new() }];
        assert!(!judge(&mut snapshot, 100) && judge(&mut snapshot, 101));
    }
}
