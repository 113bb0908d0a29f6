//! The rows of an event, before and after, cell by cell, where they lie in the packet. No conversion of values here.

use std::sync::Arc;

use bytes::Bytes;
use weir_connect::Result;

use super::super::wire::Reader;
use super::cells::{self, kind};
use super::errors::malformed;
use super::table_map::TableMap;

/// What was done to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// Rows have only an image after.
    Insert,
    /// Rows have both.
    Update,
    /// Rows have only an image before.
    Delete,
}

/// Changed rows of one table.
#[derive(Debug, Clone)]
pub struct RowsEvent {
    /// The table as it was then.
    pub table: Arc<TableMap>,
    /// What was done.
    pub kind: RowKind,
    /// Bit 1: the statement ends here; bits 2 and 4: foreign keys and unique keys were not checked; 8: the columns are complete.
    pub flags: u16,
    /// A bit for every column of the table: is it in the image. Of an update first for the image before, then for the one after.
    pub(super) present: Bytes,
    /// JSON values of the image after may be differences to those of the image before.
    pub(super) partial: bool,
    pub(super) data: Bytes,
}

fn bit(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte & (1 << (at % 8)) != 0)
}

fn ones(bits: &[u8], of: usize) -> usize {
    (0..of).filter(|at| bit(bits, *at)).count()
}

impl RowsEvent {
    /// Whether the statement that made the rows ends with them.
    pub fn ends_statement(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Whether the image before has the column.
    pub fn has_before(&self, column: usize) -> bool {
        self.kind != RowKind::Insert && column < self.table.columns.len() && bit(self.present(false), column)
    }

    /// The bits of one of the images.
    fn present(&self, after: bool) -> &[u8] {
        if self.kind != RowKind::Update {
            return &self.present;
        }
        let (before, other) = self.present.split_at(self.present.len() / 2);
        if after { other } else { before }
    }

    /// Whether the image after has the column.
    pub fn has_after(&self, column: usize) -> bool {
        self.kind != RowKind::Delete && column < self.table.columns.len() && bit(self.present(true), column)
    }

    /// Bytes of all rows.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The rows in their order. After an error there are no more.
    pub fn rows(&self) -> Rows<'_> {
        Rows { event: self, left: &self.data }
    }

    fn image<'a>(&'a self, after: bool, reader: &mut Reader<'a>) -> Option<Image<'a>> {
        let table = &*self.table;
        let count = table.columns.len();
        let present = self.present(after);
        let mut differences: &[u8] = &[];
        if after && self.partial && reader.length()? & 1 != 0 {
            let jsons = table.columns.iter().filter(|column| column.kind == kind::JSON).count();
            differences = reader.bytes(jsons.div_ceil(8))?;
        }
        let nulls = reader.bytes(ones(present, count).div_ceil(8))?;
        let mut image = Image { table, present, nulls, differences, data: reader.0 };
        let mut cells = image.cells();
        while cells.next().transpose().ok()?.is_some() {}
        let length = image.data.len() - cells.reader.0.len();
        image.data = reader.bytes(length)?;
        Some(image)
    }
}

/// See [`RowsEvent::rows`].
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    event: &'a RowsEvent,
    left: &'a [u8],
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// As it was.
    pub before: Option<Image<'a>>,
    /// As it became.
    pub after: Option<Image<'a>>,
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Row<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let mut reader = Reader(self.left);
        let kind = self.event.kind;
        let row = (|| {
            let before = if kind == RowKind::Insert { None } else { Some(self.event.image(false, &mut reader)?) };
            let after = if kind == RowKind::Delete { None } else { Some(self.event.image(true, &mut reader)?) };
            Some(Row { before, after })
        })();
        // A row of no bytes would come for ever.
        let moved = reader.0.len() < self.left.len();
        self.left = reader.0;
        match row.filter(|_| moved) {
            Some(row) => Some(Ok(row)),
            None => {
                self.left = &[];
                Some(Err(malformed(format!("a row of {} that is cut, or of other columns", self.event.table.display()))
                    .at(self.event.table.display())))
            }
        }
    }
}

/// A row at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// Its table.
    pub table: &'a TableMap,
    present: &'a [u8],
    nulls: &'a [u8],
    differences: &'a [u8],
    data: &'a [u8],
}

/// A cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// The log does not have it; that says nothing about its value.
    Absent,
    /// NULL.
    Null,
    /// Its bytes in the log's form, without the length before them.
    Present(&'a [u8]),
    /// What changed in a JSON value, against the image before.
    JsonDiff(&'a [u8]),
}

impl<'a> Image<'a> {
    /// The cells of all columns of the table, in its order.
    pub fn cells(&self) -> Cells<'a> {
        Cells { image: *self, reader: Reader(self.data), column: 0, seen: 0, jsons: 0 }
    }

    /// One cell.
    pub fn cell(&self, column: usize) -> Result<Cell<'a>> {
        self.cells().nth(column).unwrap_or(Ok(Cell::Absent))
    }

    /// Bytes of all its cells.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether they have none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// See [`Image::cells`].
#[derive(Debug, Clone)]
pub struct Cells<'a> {
    image: Image<'a>,
    reader: Reader<'a>,
    column: usize,
    seen: usize,
    jsons: usize,
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cell<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let column = self.image.table.columns.get(self.column)?;
        let at = self.column;
        self.column += 1;
        let json = self.jsons;
        self.jsons += usize::from(column.kind == kind::JSON);
        if !bit(self.image.present, at) {
            return Some(Ok(Cell::Absent));
        }
        let seen = self.seen;
        self.seen += 1;
        if bit(self.image.nulls, seen) {
            return Some(Ok(Cell::Null));
        }
        let Some(bytes) = cells::take(&mut self.reader, column.kind, column.meta) else {
            self.column = usize::MAX;
            return Some(Err(malformed(format!("the row is cut at column {}, or its type {} is unknown", at + 1, column.kind))
                .at(self.image.table.display())));
        };
        let difference = column.kind == kind::JSON && bit(self.image.differences, json);
        Some(Ok(if difference { Cell::JsonDiff(bytes) } else { Cell::Present(bytes) }))
    }
}
