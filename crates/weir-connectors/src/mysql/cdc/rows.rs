//! Changes of one table on their way into a [`ChangeBatch`]: images of rows, made into what `SELECT` would have sent, into the decoder that the
//! batch reader has. So the values are the same.

use std::sync::Arc;

use arrow::array::{BooleanBufferBuilder, RecordBatch};
use weir_connect::{ChangeBatch, DeadLetter, Error, Op, Result, TransactionMark};

use super::super::binlog::{Image, TableMap, Translator, Wanted};
use super::super::client::ResultColumn;
use super::super::values::{DeadRow, Decoder};
use super::key::{self, Key};
use super::table::Shape;

/// A transaction, as the marks of its rows say it.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Its GTID, or where it begins in the log.
    pub position: Arc<str>,
    /// Where it begins in the log, the server that wrote it first, and the session, if the log says it: `binlog.000003:4711 1 42`.
    pub id: Option<Arc<str>>,
    /// When it was committed.
    pub at_us: i64,
}

impl Transaction {
    /// The mark of a single event.
    pub fn mark(&self, end: usize) -> TransactionMark {
        TransactionMark { end, position: self.position.clone(), id: self.id.clone(), committed_at_us: self.at_us }
    }
}

/// What reads the rows of one table map.
struct Reading {
    map: Arc<TableMap>,
    translator: Translator,
    kinds: Vec<ResultColumn>,
    decoder: Decoder,
    before: Option<Decoder>,
    /// A row of NULLs.
    nulls: Vec<u8>,
}

/// Rows that wait.
pub struct Rows {
    stream: Arc<str>,
    shape: Arc<Shape>,
    wants_before: bool,
    reading: Option<Reading>,
    /// The row that was read last, and which of its columns the log does not have.
    row: Vec<u8>,
    missing: Vec<usize>,
    size: usize,
    absent: Vec<Option<BooleanBufferBuilder>>,
    ops: Vec<Op>,
    marks: Vec<TransactionMark>,
    bytes: u64,
}

impl Rows {
    /// Nothing yet.
    pub fn new(stream: Arc<str>, shape: Arc<Shape>, wants_before: bool) -> Self {
        Self {
            stream,
            wants_before,
            reading: None,
            row: Vec::new(),
            missing: Vec::new(),
            size: 0,
            absent: shape.columns.iter().map(|_| None).collect(),
            ops: Vec::new(),
            marks: Vec::new(),
            bytes: 0,
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

    /// Whether rows of this map can be read now.
    pub fn reads(&self, map: &Arc<TableMap>) -> bool {
        self.reading.as_ref().is_some_and(|reading| Arc::ptr_eq(&reading.map, map))
    }

    /// From here on rows come as this map says. What waits and was made otherwise is given back.
    pub fn describe(&mut self, map: &Arc<TableMap>) -> Result<Option<ChangeBatch>> {
        let shape = self.shape.clone();
        let wanted: Vec<Wanted<'_>> = shape
            .columns
            .iter()
            .zip(&shape.places)
            .map(|(to, index)| Wanted { index: *index, column: &shape.raw[*index], to })
            .collect();
        let translator = Translator::new(map, &wanted, &self.stream)?;
        let kinds = translator.kinds();
        if let Some(reading) = &mut self.reading
            && reading.kinds.iter().map(|column| column.kind).eq(kinds.iter().map(|column| column.kind))
        {
            (reading.map, reading.translator) = (map.clone(), translator);
            return Ok(None);
        }
        let waiting = self.finish()?;
        let decoder = || Decoder::new(shape.batch.clone(), &shape.columns, kinds.clone());
        let mut nulls = vec![0];
        nulls.resize(1 + (kinds.len() + 9) / 8, 0xff);
        self.reading = Some(Reading {
            map: map.clone(),
            decoder: decoder(),
            before: self.wants_before.then(decoder),
            translator,
            kinds,
            nulls,
        });
        Ok(waiting)
    }

    fn reading(&mut self) -> Result<&mut Reading> {
        self.reading.as_mut().ok_or_else(|| Error::internal("a row of a table that was not described"))
    }

    /// Makes an image the current row. What the image leaves out because it did not change is taken from `before`.
    pub fn read(&mut self, image: &Image<'_>, before: Option<&Image<'_>>) -> Result<()> {
        let Some(reading) = &mut self.reading else { return Err(Error::internal("a row of a table that was not described")) };
        self.row.clear();
        self.row.extend_from_slice(reading.translator.row(image, before)?);
        self.missing.clear();
        self.missing.extend_from_slice(reading.translator.absent());
        self.size = image.len();
        Ok(())
    }

    /// The key of the current row, if it has one.
    pub fn key(&mut self) -> Result<Option<Key>> {
        let shape = self.shape.clone();
        if shape.key_places.iter().any(|at| self.missing.contains(at)) {
            return Ok(None);
        }
        let row = std::mem::take(&mut self.row);
        let key = key::of_row(&row, &self.reading()?.kinds, &shape.columns, &shape.key_places);
        self.row = row;
        Ok(key)
    }

    /// Whether the current row lacks values.
    pub fn is_partial(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Adds the current row, or says why it has no place in Arrow.
    pub fn push(&mut self, op: Op, before: Option<&Image<'_>>, transaction: &Transaction) -> Result<Option<DeadLetter>> {
        let rows = self.ops.len();
        let Self { reading: Some(reading), row, stream, .. } = self else {
            return Err(Error::internal("a row of a table that was not described"));
        };
        reading.decoder.feed(row, stream)?;
        if let Some(dead) = reading.decoder.take_dead().pop() {
            return Ok(Some(self.letter(dead, transaction)));
        }
        if let Some(decoder) = &mut reading.before {
            if let Some(image) = before {
                decoder.feed(reading.translator.row(image, None)?, stream)?;
            }
            decoder.take_dead();
            if decoder.rows() == rows {
                decoder.feed(&reading.nulls, stream)?;
            }
        }
        for at in &self.missing {
            let bits = self.absent[*at].get_or_insert_with(|| BooleanBufferBuilder::new(rows + 64));
            bits.append_n(rows - bits.len(), false);
            bits.append(true);
        }
        self.ops.push(op);
        self.bytes += self.size as u64;
        match self.marks.last_mut() {
            Some(mark) if Arc::ptr_eq(&mark.position, &transaction.position) => mark.end = rows + 1,
            _ => self.marks.push(transaction.mark(rows + 1)),
        }
        Ok(None)
    }

    /// Takes what waits.
    pub fn finish(&mut self) -> Result<Option<ChangeBatch>> {
        let rows = self.ops.len();
        let Some(reading) = self.reading.as_mut().filter(|_| rows > 0) else { return Ok(None) };
        let take = |decoder: &mut Decoder| -> Result<RecordBatch> {
            let (batch, _) = decoder.take_batch()?.ok_or_else(|| Error::internal("rows without a batch"))?;
            if batch.num_rows() != rows {
                return Err(Error::internal(format!("{} rows where {rows} were taken", batch.num_rows())));
            }
            Ok(batch)
        };
        let records = take(&mut reading.decoder)?;
        let before = reading.before.as_mut().map(take).transpose()?;
        let whole = |bits: &mut Option<BooleanBufferBuilder>| {
            let mut bits = bits.take()?;
            bits.append_n(rows - bits.len(), false);
            Some(bits.finish())
        };
        Ok(Some(ChangeBatch {
            stream: self.stream.clone(),
            ops: std::mem::replace(&mut self.ops, Vec::with_capacity(rows)),
            rows: records,
            absent: self.absent.iter_mut().map(whole).collect(),
            before,
            transactions: std::mem::take(&mut self.marks),
            source_bytes: std::mem::take(&mut self.bytes),
        }))
    }

    fn letter(&self, dead: DeadRow, transaction: &Transaction) -> DeadLetter {
        letter(&self.stream, &self.shape, dead, format!("{}, transaction {}", self.stream, transaction.position))
    }
}

/// A row that Arrow cannot hold.
pub fn letter(stream: &str, shape: &Shape, dead: DeadRow, place: String) -> DeadLetter {
    let name = shape.columns.get(dead.column).map(|column| column.name.as_str()).unwrap_or_default();
    DeadLetter {
        stream: stream.to_string(),
        code: "WEIR-MY-040".into(),
        reason: format!("column `{name}`: {}; `on_loss: {{{name}: string}}` carries it as text, `accept` as NULL", dead.reason),
        place,
        payload: dead.payload,
        media_type: "application/json".into(),
    }
}
