//! Collapsed changes → the data of a COPY into the table of staged changes, and the groups that its rows fall into. Pure: no I/O.

use arrow::array::ArrayRef;
use weir_connect::Result;

use super::super::copy_encode::{ColumnPlan, Encoding, Rows};
use super::super::text_encode;
use crate::changes::groups::{Deed, Groups};
use crate::changes::pending::{Fate, Pending, Slot};

/// A batch whose values can be written one by one.
enum Encoded {
    Binary(Rows),
    Text(Vec<ArrayRef>),
}

/// See the module.
pub struct Stager<'a> {
    pending: &'a Pending,
    plans: &'a [ColumnPlan],
    /// By position in `plans`.
    keys: &'a [usize],
    encoded: Vec<Encoded>,
    /// The groups seen so far.
    pub groups: Groups,
    absent: Vec<bool>,
    text: bool,
}

impl<'a> Stager<'a> {
    /// Brings the batches into the types that are encoded.
    pub fn new(pending: &'a Pending, plans: &'a [ColumnPlan], keys: &'a [usize], text: bool) -> Result<Self> {
        let mut encoded = Vec::with_capacity(pending.batches().len());
        for held in pending.batches() {
            encoded.push(if text {
                let schema = held.rows.schema();
                let columns = plans.iter().map(|plan| plan.normalise(&held.rows, schema.field(plan.index)));
                Encoded::Text(columns.collect::<Result<_>>()?)
            } else {
                Encoded::Binary(Rows::new(&held.rows, plans, true)?)
            });
        }
        Ok(Self { pending, plans, keys, encoded, groups: Groups::default(), absent: vec![false; plans.len()], text })
    }

    fn cell(&self, at: usize, found: Option<(usize, usize)>, out: &mut Vec<u8>) -> Result<()> {
        match (found.map(|(batch, row)| (&self.encoded[batch], row)), self.text) {
            (None, true) => out.extend_from_slice(b"\\N"),
            (None, false) => out.extend_from_slice(&(-1i32).to_be_bytes()),
            (Some((Encoded::Binary(rows), row)), _) => rows.cell(at, row, self.plans, out)?,
            (Some((Encoded::Text(columns), row)), _) => {
                let plan = &self.plans[at];
                let limit = match plan.encoding {
                    Encoding::Limited(characters) => Some(characters),
                    _ => None,
                };
                text_encode::field(&columns[at], row, limit, out)
                    .map_err(|error| error.at(format!("column `{}`, row {} of the batch", plan.name, row + 1)))?;
            }
        }
        Ok(())
    }

    /// Appends the row of a key.
    pub fn write(&mut self, slot: &Slot, out: &mut Vec<u8>) -> Result<()> {
        let last = (slot.last.batch as usize, slot.last.row as usize);
        self.absent.fill(false);
        let fate = match slot.fate {
            Fate::Gone => Deed::Delete,
            Fate::Row { deleted, .. } if !self.pending.partial(slot) => {
                let number = self.groups.number(Deed::Put { deleted }, &self.absent) as u64;
                if let Encoded::Binary(rows) = &self.encoded[last.0] {
                    return rows.write(last.1, number, self.plans, out);
                }
                self.begin(out);
                for at in 0..self.plans.len() {
                    self.cell(at, Some(last), out)?;
                    self.between(out);
                }
                self.end(number, out);
                return Ok(());
            }
            Fate::Row { fresh, deleted } => {
                for (at, plan) in self.plans.iter().enumerate() {
                    self.absent[at] = self.pending.find(slot, plan.index).is_none();
                }
                let complete = !self.absent.contains(&true);
                if fresh || complete { Deed::Put { deleted } } else { Deed::Change { deleted } }
            }
        };
        let number = self.groups.number(fate, &self.absent) as u64;
        self.begin(out);
        for (at, plan) in self.plans.iter().enumerate() {
            let found = match fate {
                // Of a deleted row only the key matters.
                Deed::Delete => self.keys.contains(&at).then_some(last),
                _ => self.pending.find(slot, plan.index),
            };
            self.cell(at, found, out)?;
            self.between(out);
        }
        self.end(number, out);
        Ok(())
    }

    fn begin(&self, out: &mut Vec<u8>) {
        if !self.text {
            // One more than the columns: the group. Tables have at most 1,600.
            out.extend_from_slice(&(self.plans.len() as i16 + 1).to_be_bytes());
        }
    }

    fn between(&self, out: &mut Vec<u8>) {
        if self.text {
            out.push(b'\t');
        }
    }

    fn end(&self, group: u64, out: &mut Vec<u8>) {
        if self.text {
            out.extend_from_slice(format!("{group}\n").as_bytes());
        } else {
            out.extend_from_slice(&8i32.to_be_bytes());
            out.extend_from_slice(&group.to_be_bytes());
        }
    }
}
