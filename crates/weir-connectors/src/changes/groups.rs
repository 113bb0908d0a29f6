//! Rows that need the same statement: what happens to them, and which of their columns have no value.

use std::collections::HashMap;

/// Rows that need the same statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What happens to them.
    pub fate: Deed,
    /// Written columns without a value, by position; all false = none.
    pub absent: Vec<bool>,
    /// How many.
    pub rows: u64,
}

/// What happens to the rows of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// Deleted.
    Delete,
    /// Inserted or replaced; what is absent becomes the default.
    Put {
        /// Marked as deleted.
        deleted: bool,
    },
    /// Changed; what is absent stays.
    Change {
        /// Marked as deleted, and made if it is not there.
        deleted: bool,
    },
}

/// The groups of one load, numbered as they come.
#[derive(Debug, Default)]
pub struct Groups {
    /// The groups so far.
    pub all: Vec<Group>,
    numbers: HashMap<(Deed, Vec<bool>), usize>,
    /// The group of the row before: mostly that of the next.
    current: Option<usize>,
}

impl Groups {
    /// Counts a row in, and gives the number of its group.
    pub fn number(&mut self, fate: Deed, absent: &[bool]) -> usize {
        if let Some(at) = self.current {
            let group = &mut self.all[at];
            if group.fate == fate && group.absent == absent {
                group.rows += 1;
                return at;
            }
        }
        let at = *self.numbers.entry((fate, absent.to_vec())).or_insert_with(|| {
            self.all.push(Group { fate, absent: absent.to_vec(), rows: 0 });
            self.all.len() - 1
        });
        self.all[at].rows += 1;
        self.current = Some(at);
        at
    }
}
