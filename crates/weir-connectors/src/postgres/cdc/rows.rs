//! Changes of one table on their way into a [`ChangeBatch`]: cells of the log straight into column builders.

use std::sync::Arc;

use arrow::array::{BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use weir_connect::{ChangeBatch, DeadLetter, Error, Kind, Op, Result, TransactionMark};

use super::super::columns::{Bad, Column};
use super::super::types::Travel;
use super::decode::{Cell, Form};
use super::table::Shape;
use super::text;

/// A transaction, as the marks of its rows say it.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Of its commit.
    pub position: Arc<str>,
    /// Its number.
    pub id: Arc<str>,
    /// When it was committed.
    pub at_us: i64,
}

impl Transaction {
    /// The mark of a single event.
    pub fn mark(&self, end: usize) -> TransactionMark {
        TransactionMark { end, position: self.position.clone(), id: Some(self.id.clone()), committed_at_us: self.at_us }
    }
}

/// A value that was asked for: column of the log, text.
pub type LookedUp = (usize, Option<String>);

/// A row of the log.
pub struct Row<'a> {
    /// What happened.
    pub op: Op,
    /// The message that the cells point into.
    pub message: &'a [u8],
    /// The values.
    pub cells: &'a [Cell],
    /// Where a value that did not change is found, if it is.
    pub fallback: Option<&'a [Cell]>,
    /// Only the key is known.
    pub key_only: bool,
    /// The row before.
    pub before: Option<&'a [Cell]>,
    /// Values that were looked up.
    pub looked_up: &'a [LookedUp],
}

/// Rows that wait.
pub struct Rows {
    stream: Arc<str>,
    shape: Arc<Shape>,
    columns: Vec<Column>,
    before: Option<Vec<Column>>,
    absent: Vec<Option<BooleanBufferBuilder>>,
    ops: Vec<Op>,
    marks: Vec<TransactionMark>,
    bytes: u64,
    scratch: Vec<u8>,
}

impl Rows {
    /// An empty set of builders.
    pub fn new(stream: Arc<str>, shape: Arc<Shape>, before: bool) -> Self {
        let columns = || shape.columns.iter().map(|column| Column::new(&column.travel)).collect::<Vec<_>>();
        Self {
            stream,
            columns: columns(),
            before: before.then(columns),
            absent: shape.columns.iter().map(|_| None).collect(),
            ops: Vec::new(),
            marks: Vec::new(),
            bytes: 0,
            scratch: Vec::new(),
            shape,
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// The shape of what is built.
    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// Adds a row, or says why it has no place in Arrow.
    pub fn push(&mut self, row: &Row<'_>, transaction: &Transaction) -> Result<Option<DeadLetter>> {
        if row.cells.len() != self.shape.wire.len() {
            return Err(self.corrupt(format!("a row of {} columns instead of {}", row.cells.len(), self.shape.wire.len())));
        }
        let rows = self.ops.len();
        if let Err((place, bad)) = self.values(row, rows) {
            return match bad {
                Bad::Corrupt(why) => Err(self.corrupt(why.to_string()).at(self.place(place))),
                Bad::Value(why) => {
                    self.truncate(rows);
                    Ok(Some(self.letter(place, &why, row.message, transaction)))
                }
            };
        }
        if let Some(before) = &mut self.before {
            for (index, wire) in self.shape.wire.iter().enumerate() {
                let Some(place) = wire.place else { continue };
                let cell = row.before.and_then(|cells| cells.get(index));
                let taken = cell.is_some_and(|cell| {
                    let travel = &self.shape.columns[place].travel;
                    push(&mut before[place], cell, row.message, travel, self.shape.delimiters[place], &mut self.scratch).is_ok()
                });
                if !taken {
                    before[place].truncate(rows);
                    // NULL is always taken.
                    let _ = before[place].push(None);
                }
            }
        }
        self.ops.push(row.op);
        self.bytes += row.message.len() as u64;
        match self.marks.last_mut() {
            Some(mark) if Arc::ptr_eq(&mark.position, &transaction.position) => mark.end = rows + 1,
            _ => self.marks.push(transaction.mark(rows + 1)),
        }
        Ok(None)
    }

    #[inline]
    fn values(&mut self, row: &Row<'_>, rows: usize) -> Result<(), (usize, Bad)> {
        let shape = self.shape.clone();
        for (index, wire) in shape.wire.iter().enumerate() {
            let Some(place) = wire.place else { continue };
            let mut cell = row.cells[index];
            if cell.form == Form::Unchanged {
                if let Some((_, value)) = row.looked_up.iter().find(|(column, _)| *column == index) {
                    let value = value.as_deref().map(str::as_bytes);
                    self.push_text(place, value).map_err(|bad| (place, bad))?;
                    continue;
                }
                if let Some(found) = row.fallback.and_then(|cells| cells.get(index)) {
                    cell = *found;
                }
            }
            let missing = cell.form == Form::Unchanged || (row.key_only && !shape.key_wire.contains(&index));
            if missing {
                let bits = self.absent[place].get_or_insert_with(|| BooleanBufferBuilder::new(rows + 64));
                bits.append_n(rows - bits.len(), false);
                bits.append(true);
                self.columns[place].push(None).map_err(|bad| (place, bad))?;
                continue;
            }
            let travel = &shape.columns[place].travel;
            push(&mut self.columns[place], &cell, row.message, travel, shape.delimiters[place], &mut self.scratch)
                .map_err(|bad| (place, bad))?;
        }
        Ok(())
    }

    fn push_text(&mut self, place: usize, value: Option<&[u8]>) -> Result<(), Bad> {
        let Some(value) = value else { return self.columns[place].push(None) };
        self.scratch.clear();
        text::to_binary(value, &self.shape.columns[place].travel, self.shape.delimiters[place], &mut self.scratch)?;
        self.columns[place].push(Some(&self.scratch))
    }

    fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
        self.before.iter_mut().flatten().for_each(|column| column.truncate(rows));
        for bits in self.absent.iter_mut().flatten() {
            bits.truncate(rows.min(bits.len()));
        }
    }

    /// Takes what waits.
    pub fn finish(&mut self) -> Result<Option<ChangeBatch>> {
        let rows = self.ops.len();
        if rows == 0 {
            return Ok(None);
        }
        let shape = self.shape.clone();
        let batch = |columns: &mut Vec<Column>| -> Result<RecordBatch> {
            let arrays = columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(shape.batch.clone(), arrays, &options)
                .map_err(|error| Error::internal("cannot build a batch of changes").caused_by(error))
        };
        let records = batch(&mut self.columns)?;
        let before = self.before.as_mut().map(batch).transpose()?;
        let absent = self
            .absent
            .iter_mut()
            .map(|bits| {
                let mut bits = bits.take()?;
                bits.append_n(rows - bits.len(), false);
                Some(bits.finish())
            })
            .collect();
        let next = Vec::with_capacity(rows);
        Ok(Some(ChangeBatch {
            stream: self.stream.clone(),
            ops: std::mem::replace(&mut self.ops, next),
            rows: records,
            absent,
            before,
            transactions: std::mem::take(&mut self.marks),
            source_bytes: std::mem::take(&mut self.bytes),
        }))
    }

    fn place(&self, column: usize) -> String {
        let name = self.shape.columns.get(column).map(|column| column.name.as_str()).unwrap_or_default();
        format!("{}, column `{name}`", self.stream)
    }

    fn corrupt(&self, why: String) -> Error {
        Error::new("WEIR-PG-071", Kind::Data, "a row of the replication stream cannot be decoded")
            .at(self.stream.to_string())
            .because(why)
            .hint("run again; if it stays so, report the column's type")
    }

    fn letter(&self, column: usize, why: &str, message: &[u8], transaction: &Transaction) -> DeadLetter {
        let name = self.shape.columns.get(column).map(|column| column.name.as_str()).unwrap_or_default();
        DeadLetter {
            stream: self.stream.to_string(),
            code: "WEIR-PG-040".into(),
            reason: format!("column `{name}`: {why}; `on_loss: {{{name}: string}}` carries it as text"),
            place: format!("{}, transaction {} committed at {}", self.stream, transaction.id, transaction.position),
            payload: message[..message.len().min(1 << 20)].to_vec(),
            media_type: "application/vnd.postgresql.pgoutput".into(),
        }
    }
}

#[inline]
fn push(
    column: &mut Column,
    cell: &Cell,
    message: &[u8],
    travel: &Travel,
    delimiter: u8,
    scratch: &mut Vec<u8>,
) -> Result<(), Bad> {
    match cell.form {
        Form::Binary => column.push(Some(cell.bytes(message))),
        Form::Null | Form::Unchanged => column.push(None),
        Form::Text if *travel == Travel::Text => column.push(Some(cell.bytes(message))),
        Form::Text => {
            scratch.clear();
            text::to_binary(cell.bytes(message), travel, delimiter, scratch)?;
            column.push(Some(scratch))
        }
    }
}
