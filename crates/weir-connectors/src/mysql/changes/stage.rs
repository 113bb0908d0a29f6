//! Collapsed changes → rows of the table of staged changes, and the groups that they fall into. Pure: no I/O.

use weir_connect::Result;

use super::super::encode::{ColumnPlan, Form, Rows, digits, null};
use crate::changes::groups::{Deed, Groups};
use crate::changes::pending::{Fate, Pending, Slot};

/// See the module.
pub struct Stager<'a> {
    pending: &'a Pending,
    plans: &'a [ColumnPlan],
    /// By position in `plans`.
    keys: &'a [usize],
    form: Form,
    encoded: Vec<Rows>,
    /// The groups seen so far.
    pub groups: Groups,
    /// Number of the first group.
    first: usize,
    absent: Vec<bool>,
    row: u64,
}

impl<'a> Stager<'a> {
    /// Brings the batches into the types that are encoded.
    pub fn new(pending: &'a Pending, plans: &'a [ColumnPlan], keys: &'a [usize], form: Form, first: usize) -> Result<Self> {
        let encoded = pending.batches().iter().map(|held| Rows::new(&held.rows, plans, form)).collect::<Result<_>>()?;
        let absent = vec![false; plans.len()];
        Ok(Self { pending, plans, keys, form, encoded, groups: Groups::default(), first, absent, row: 0 })
    }

    /// What happens to a key; its columns without a value are noted.
    fn deed(&mut self, slot: &Slot) -> Deed {
        self.absent.fill(false);
        match slot.fate {
            Fate::Gone => Deed::Delete,
            Fate::Row { deleted, .. } if !self.pending.partial(slot) => Deed::Put { deleted },
            Fate::Row { fresh, deleted } => {
                for (at, plan) in self.plans.iter().enumerate() {
                    self.absent[at] = self.pending.find(slot, plan.index).is_none();
                }
                let complete = !self.absent.contains(&true);
                if fresh || complete { Deed::Put { deleted } } else { Deed::Change { deleted } }
            }
        }
    }

    /// Appends the row of a key.
    pub fn write(&mut self, slot: &Slot, out: &mut Vec<u8>) -> Result<()> {
        let deed = self.deed(slot);
        let number = self.first + self.groups.number(deed, &self.absent);
        let (load, separator) = match self.form {
            Form::Load => (true, b'\t'),
            Form::Insert => (false, b','),
        };
        if !load {
            if self.row > 0 && out.last() == Some(&b')') {
                out.push(b',');
            }
            out.push(b'(');
        }
        digits(number as u64, 1, out);
        out.push(separator);
        digits(self.row, 1, out);
        self.row += 1;
        for at in 0..self.plans.len() {
            out.push(separator);
            let found = match deed {
                // Of a deleted row only the key matters.
                Deed::Delete if !self.keys.contains(&at) => None,
                _ => self.pending.find(slot, self.plans[at].index),
            };
            match found {
                Some((batch, row)) => self.encoded[batch].cell(at, row, self.plans, out)?,
                None => null(self.form, out),
            }
        }
        out.push(if load { b'\n' } else { b')' });
        Ok(())
    }
}
