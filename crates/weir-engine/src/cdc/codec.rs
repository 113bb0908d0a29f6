//! Records of the journal as bytes, and back.
//!
//! A batch is an Arrow IPC stream of one batch, so each record can be read alone; what Arrow has no place for (operations, transactions, absent
//! values) stands before it. All numbers are little-endian.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::{BooleanBuffer, Buffer};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};
use weir_connect::{ChangeBatch, DeadLetter, Op, Position, SchemaChange, TransactionMark};
use weir_error::{Error, Kind, Result};

/// What stands in the journal.
#[derive(Debug, Clone)]
pub enum Record {
    /// Changes of one stream.
    Changes(ChangeBatch),
    /// The table was emptied.
    Truncate(Arc<str>, TransactionMark),
    /// A stream's new shape.
    Schema(SchemaChange),
    /// A record that could not be decoded.
    Dead(DeadLetter),
    /// The end of what belongs together.
    Boundary(Mark),
}

impl Record {
    /// The stream that it belongs to; `None`: a boundary.
    pub fn stream(&self) -> Option<&str> {
        match self {
            Self::Changes(batch) => Some(&batch.stream),
            Self::Truncate(stream, _) => Some(stream),
            Self::Schema(change) => Some(&change.stream),
            Self::Dead(letter) => Some(&letter.stream),
            Self::Boundary(_) => None,
        }
    }
}

/// A boundary in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Counts boundaries from 1; 0 stands before the first.
    pub seq: u64,
    /// Where the source goes on.
    pub position: Position,
    /// Commit time of the last transaction, microseconds since 1970.
    pub committed_at_us: Option<i64>,
}

const CHANGES: u8 = 1;
const TRUNCATE: u8 = 2;
const SCHEMA: u8 = 3;
const DEAD: u8 = 4;
const BOUNDARY: u8 = 5;

fn broken(what: &str) -> Error {
    Error::new("WEIR-JOURNAL-001", Kind::Data, format!("the journal holds {what}"))
        .hint("it was damaged outside of Weir, or written by a newer version")
}

/// Writes into a buffer.
struct Out<'a>(&'a mut Vec<u8>);

impl Out<'_> {
    fn number(&mut self, value: usize) {
        self.0.extend_from_slice(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.extend_from_slice(bytes);
    }
    fn mark(&mut self, mark: &TransactionMark) {
        self.number(mark.end);
        self.bytes(mark.position.as_bytes());
        match &mark.id {
            Some(id) => {
                self.0.push(1);
                self.bytes(id.as_bytes());
            }
            None => self.0.push(0),
        }
        self.0.extend_from_slice(&mark.committed_at_us.to_le_bytes());
    }
    fn batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let at = self.0.len();
        self.number(0);
        let failed = |error| Error::internal("a batch cannot be written to the journal").caused_by(error);
        let mut writer = StreamWriter::try_new(&mut *self.0, &batch.schema()).map_err(failed)?;
        writer.write(batch).and_then(|()| writer.finish()).map_err(failed)?;
        drop(writer);
        let length = self.0.len() - at - 4;
        let length = u32::try_from(length).map_err(|_| {
            Error::new("WEIR-JOURNAL-002", Kind::Limit, "a batch of changes is larger than 4 GiB")
                .hint("one row cannot be so large")
        })?;
        self.0[at..at + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

/// Reads from a buffer; what is missing is an error, never a panic.
struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        if self.0.len() < length {
            return Err(broken("a record that ends too early"));
        }
        let (head, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(head)
    }
    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }
    fn number(&mut self) -> Result<usize> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    }
    fn long(&mut self) -> Result<i64> {
        let mut eight = [0; 8];
        eight.copy_from_slice(self.take(8)?);
        Ok(i64::from_le_bytes(eight))
    }
    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.number()?;
        self.take(length)
    }
    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| broken("a text that is no UTF-8"))
    }
    fn mark(&mut self) -> Result<TransactionMark> {
        let end = self.number()?;
        let position = self.text()?.into();
        let id = if self.byte()? == 1 { Some(self.text()?.into()) } else { None };
        Ok(TransactionMark { end, position, id, committed_at_us: self.long()? })
    }
    fn batch(&mut self) -> Result<RecordBatch> {
        let bytes = self.bytes()?;
        let failed = |error| broken("a batch that cannot be read").caused_by(error);
        let mut reader = StreamReader::try_new(bytes, None).map_err(failed)?;
        reader.next().ok_or_else(|| broken("a record without its batch"))?.map_err(failed)
    }
    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        serde_json::from_slice(self.bytes()?).map_err(|error| broken("a record that cannot be read").caused_by(error))
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::internal("a record cannot be written to the journal").caused_by(error))
}

/// A schema as an IPC stream without batches.
fn schema_bytes(schema: &SchemaRef) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Out(&mut bytes).batch(&RecordBatch::new_empty(schema.clone()))?;
    Ok(bytes)
}

/// A schema as text, for places that hold JSON.
pub fn schema_text(schema: &SchemaRef) -> Result<String> {
    Ok(schema_bytes(schema)?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The schema of [`schema_text`].
pub fn schema_of_text(text: &str) -> Result<SchemaRef> {
    let digits = text.as_bytes().chunks(2).map(|pair| {
        std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or_else(|| broken("a schema that is no text"))
    });
    let bytes = digits.collect::<Result<Vec<u8>>>()?;
    let mut read = In(&bytes);
    let reader = StreamReader::try_new(read.bytes()?, None);
    Ok(reader.map_err(|error| broken("a schema that cannot be read").caused_by(error))?.schema())
}

#[derive(Serialize, Deserialize)]
struct Reshaped {
    stream: String,
    key: Vec<String>,
    renamed: Vec<(String, String)>,
    statement: Option<String>,
}

/// Appends a record's body to `out`.
pub fn encode(record: &Record, out: &mut Vec<u8>) -> Result<()> {
    match record {
        Record::Changes(changes) => {
            out.push(CHANGES);
            let mut write = Out(out);
            write.bytes(changes.stream.as_bytes());
            write.number(changes.ops.len());
            write.0.extend(changes.ops.iter().map(|&op| op as u8));
            write.number(changes.transactions.len());
            changes.transactions.iter().for_each(|mark| write.mark(mark));
            let absent: Vec<(usize, &BooleanBuffer)> =
                changes.absent.iter().enumerate().filter_map(|(at, bits)| Some((at, bits.as_ref()?))).collect();
            write.number(absent.len());
            for (column, bits) in absent {
                write.number(column);
                // Packed from bit 0, whatever slice of a larger buffer it was.
                write.bytes(bits.sliced().as_slice());
            }
            write.0.extend_from_slice(&changes.source_bytes.to_le_bytes());
            write.batch(&changes.rows)?;
            write.0.push(u8::from(changes.before.is_some()));
            if let Some(before) = &changes.before {
                write.batch(before)?;
            }
        }
        Record::Truncate(stream, mark) => {
            out.push(TRUNCATE);
            Out(out).bytes(stream.as_bytes());
            Out(out).mark(mark);
        }
        Record::Schema(change) => {
            out.push(SCHEMA);
            let reshaped = Reshaped {
                stream: change.stream.to_string(),
                key: change.key.clone(),
                renamed: change.renamed.clone(),
                statement: change.statement.clone(),
            };
            Out(out).bytes(&json(&reshaped)?);
            out.extend(schema_bytes(&change.schema)?);
        }
        Record::Dead(letter) => {
            out.push(DEAD);
            Out(out).bytes(&json(letter)?);
        }
        Record::Boundary(mark) => {
            out.push(BOUNDARY);
            Out(out).bytes(&json(mark)?);
        }
    }
    Ok(())
}

/// Reads a record's body.
pub fn decode(body: &[u8]) -> Result<Record> {
    let mut read = In(body);
    Ok(match read.byte()? {
        CHANGES => {
            let stream = read.text()?.into();
            let rows = read.number()?;
            let ops = read.take(rows)?.iter().map(|&byte| op(byte)).collect::<Result<Vec<Op>>>()?;
            let marks = read.number()?;
            let mut transactions = Vec::with_capacity(marks.min(rows));
            for _ in 0..marks {
                transactions.push(read.mark()?);
            }
            let mut sparse = Vec::new();
            for _ in 0..read.number()? {
                let column = read.number()?;
                let bytes = read.bytes()?;
                if bytes.len() < rows.div_ceil(8) {
                    return Err(broken("a record that ends too early"));
                }
                sparse.push((column, BooleanBuffer::new(Buffer::from(bytes), 0, rows)));
            }
            let source_bytes = read.long()?.cast_unsigned();
            let batch = read.batch()?;
            let before = if read.byte()? == 1 { Some(read.batch()?) } else { None };
            if batch.num_rows() != rows || transactions.last().is_some_and(|mark| mark.end != rows) {
                return Err(broken("a record that contradicts itself"));
            }
            let mut absent = vec![None; batch.num_columns()];
            for (column, bits) in sparse {
                *absent.get_mut(column).ok_or_else(|| broken("a record that contradicts itself"))? = Some(bits);
            }
            Record::Changes(ChangeBatch { stream, ops, rows: batch, absent, before, transactions, source_bytes })
        }
        TRUNCATE => Record::Truncate(read.text()?.into(), read.mark()?),
        SCHEMA => {
            let reshaped: Reshaped = read.json()?;
            let bytes = read.bytes()?;
            let reader =
                StreamReader::try_new(bytes, None).map_err(|error| broken("a schema that cannot be read").caused_by(error))?;
            let schema: Arc<Schema> = reader.schema();
            Record::Schema(SchemaChange {
                stream: reshaped.stream.into(),
                schema,
                key: reshaped.key,
                renamed: reshaped.renamed,
                statement: reshaped.statement,
            })
        }
        DEAD => Record::Dead(read.json()?),
        BOUNDARY => Record::Boundary(read.json()?),
        other => return Err(broken(&format!("a record of kind {other}, which this version does not know"))),
    })
}

/// The boundary in a record's body; `None` if it is another kind of record.
pub fn boundary(body: &[u8]) -> Result<Option<Mark>> {
    match body.first() {
        Some(&BOUNDARY) => In(&body[1..]).json().map(Some),
        _ => Ok(None),
    }
}

/// What a record is about, read without its rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Outline {
    /// Changes of one stream: how many of each operation.
    Changes(Arc<str>, Vec<(Op, u64)>),
    /// The table was emptied.
    Truncate(Arc<str>),
    /// A stream's new shape.
    Schema(Arc<str>),
    /// A record of this stream that could not be decoded.
    Dead(Arc<str>),
    /// The end of what belongs together.
    Boundary(Mark),
}

/// Reads what a record's body is about.
pub fn outline(body: &[u8]) -> Result<Outline> {
    let mut read = In(body);
    Ok(match read.byte()? {
        CHANGES => {
            let stream = read.text()?.into();
            let rows = read.number()?;
            let mut counts: Vec<(Op, u64)> = Vec::new();
            for &byte in read.take(rows)? {
                let op = op(byte)?;
                match counts.iter_mut().find(|(known, _)| *known == op) {
                    Some((_, count)) => *count += 1,
                    None => counts.push((op, 1)),
                }
            }
            Outline::Changes(stream, counts)
        }
        TRUNCATE => Outline::Truncate(read.text()?.into()),
        SCHEMA => Outline::Schema(read.json::<Reshaped>()?.stream.into()),
        DEAD => Outline::Dead(read.json::<DeadLetter>()?.stream.into()),
        BOUNDARY => Outline::Boundary(read.json()?),
        other => return Err(broken(&format!("a record of kind {other}, which this version does not know"))),
    })
}

fn op(byte: u8) -> Result<Op> {
    Ok(match byte {
        b'c' => Op::Create,
        b'u' => Op::Update,
        b'd' => Op::Delete,
        b'r' => Op::Read,
        other => return Err(broken(&format!("an operation {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};
    use serde_json::json;

    use super::*;

    pub(crate) fn mark(end: usize) -> TransactionMark {
        TransactionMark { end, position: format!("0/{end}").into(), id: Some("7".into()), committed_at_us: -5 }
    }

    fn changes() -> ChangeBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("body", DataType::Utf8, true)]);
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![1, 2, 3])), Arc::new(StringArray::from(vec![Some("a"), None, None]))];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        // A slice that begins inside of a byte.
        let bits = BooleanBuffer::from(vec![true, true, true, false, true, true]).slice(3, 3);
        ChangeBatch {
            stream: "public.t".into(),
            ops: vec![Op::Create, Op::Update, Op::Delete],
            before: Some(rows.clone()),
            rows,
            absent: vec![None, Some(bits)],
            transactions: vec![TransactionMark { id: None, ..mark(1) }, mark(3)],
            source_bytes: 99,
        }
    }

    #[test]
    fn every_record_comes_back_as_it_went() {
        let changes = changes();
        let schema = SchemaChange {
            stream: "t".into(),
            schema: changes.rows.schema(),
            key: vec!["id".into()],
            renamed: vec![("a".into(), "b".into())],
            statement: None,
        };
        let letter = DeadLetter {
            stream: "t".into(),
            code: "C".into(),
            reason: "r".into(),
            place: "p".into(),
            payload: vec![255, 0],
            media_type: "x/y".into(),
        };
        let boundary = Mark { seq: 9, position: json!({"lsn": 1}), committed_at_us: Some(3) };
        for record in [
            Record::Changes(changes.clone()),
            Record::Truncate("t".into(), mark(0)),
            Record::Schema(schema),
            Record::Dead(letter),
            Record::Boundary(boundary),
        ] {
            let mut bytes = Vec::new();
            encode(&record, &mut bytes).unwrap();
            let outlined = match outline(&bytes).unwrap() {
                Outline::Changes(stream, counts) => {
                    assert_eq!(counts, [(Op::Create, 1), (Op::Update, 1), (Op::Delete, 1)]);
                    stream.to_string()
                }
                Outline::Truncate(stream) | Outline::Schema(stream) | Outline::Dead(stream) => stream.to_string(),
                Outline::Boundary(mark) => mark.seq.to_string(),
            };
            assert!(format!("{record:?}").contains(&outlined));
            let read = decode(&bytes).unwrap();
            match (&read, &record) {
                (Record::Changes(read), Record::Changes(record)) => {
                    assert_eq!((&read.ops, &read.rows, &read.absent), (&record.ops, &record.rows, &record.absent));
                    assert_eq!((&read.before, &read.transactions), (&record.before, &record.transactions));
                    assert_eq!((&read.stream, read.source_bytes), (&record.stream, record.source_bytes));
                }
                _ => assert_eq!(format!("{read:?}"), format!("{record:?}")),
            }
            for end in 0..bytes.len() {
                // Arrow's reader takes a stream without its end mark; nothing else may pass for whole.
                if let Ok(Record::Changes(cut)) = decode(&bytes[..end]) {
                    panic!("{end} of {} bytes gave {cut:?}", bytes.len());
                }
            }
        }
    }
}
