//! `COPY … (FORMAT binary)` → record batches. Pure: bytes in, batches and dead rows out, no I/O, so that it can be fuzzed.
//!
//! The stream may be cut anywhere. A tuple that is whole in the bytes at hand is decoded in place; one that is cut is collected first.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use weir_connect::{Error, Kind, Result};

use super::columns::{Bad, Column};
use super::types::Travel;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// A row that has no place in Arrow.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadRow {
    /// Which row of the stream, from 1.
    pub row: u64,
    /// Which column.
    pub column: usize,
    /// Why.
    pub reason: String,
    /// The tuple in binary format.
    pub tuple: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    Header,
    /// Bytes of the header's extension to skip.
    Extension(usize),
    Tuples,
    Ended,
}

/// What became of a tuple.
enum Tuple {
    /// Decoded (or dead); it took this many bytes.
    Taken(usize),
    /// At least this many bytes are needed.
    Needs(usize),
    /// The end mark.
    End,
}

/// Decodes one stream.
pub struct Decoder {
    schema: SchemaRef,
    columns: Vec<Column>,
    state: State,
    /// A beginning of a header or tuple that was cut, and how long it must be for the next try.
    carry: Vec<u8>,
    needed: usize,
    rows: usize,
    bytes: usize,
    seen: u64,
    dead: Vec<DeadRow>,
}

fn corrupt(row: u64, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-PG-030", Kind::Data, "the server's COPY stream is damaged")
        .at(format!("row {row}"))
        .because(why)
        .hint("read the split again; if it stays so, report the column's type")
}

impl Decoder {
    /// A decoder for rows of `schema`, whose columns travel as given.
    pub fn new(schema: SchemaRef, travels: &[Travel]) -> Self {
        Self {
            schema,
            columns: travels.iter().map(Column::new).collect(),
            state: State::Header,
            carry: Vec::new(),
            needed: 0,
            rows: 0,
            bytes: 0,
            seen: 0,
            dead: Vec::new(),
        }
    }

    /// Rows that wait in the columns.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the tuples that wait in the columns or among the dead.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the next piece of a COPY stream.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<()> {
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(chunk);
            if self.carry.len() < self.needed {
                return Ok(());
            }
            let carried = std::mem::take(&mut self.carry);
            let used = self.consume(&carried)?;
            // Giving the buffer back would keep a gigabyte for one large cell.
            self.carry = carried[used..].to_vec();
            return Ok(());
        }
        let used = self.consume(chunk)?;
        chunk = &chunk[used..];
        if !chunk.is_empty() {
            self.carry.extend_from_slice(chunk);
        }
        Ok(())
    }

    /// Takes one whole row that came as a DataRow message.
    pub fn feed_row(&mut self, row: &[u8]) -> Result<()> {
        self.state = State::Tuples;
        match self.tuple(row)? {
            Tuple::Taken(used) if used == row.len() => Ok(()),
            _ => Err(corrupt(self.seen, "a row that does not fill its message")),
        }
    }

    /// The stream is over: what is cut now stays cut.
    pub fn end(&self) -> Result<()> {
        if self.carry.is_empty() {
            return Ok(());
        }
        Err(corrupt(self.seen + 1, "the stream ends in the middle of a row"))
    }

    /// The rows so far as a batch, if there are any.
    pub fn take_batch(&mut self) -> Result<Option<RecordBatch>> {
        self.bytes = 0;
        if self.rows == 0 {
            return Ok(None);
        }
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map(Some).map_err(|error| {
            Error::new("WEIR-PG-031", Kind::Data, "the server sent values that the schema does not allow").because(error)
        })
    }

    /// The rows so far that have no place in Arrow.
    pub fn take_dead(&mut self) -> Vec<DeadRow> {
        std::mem::take(&mut self.dead)
    }

    /// Decodes as much as is whole and returns how many bytes that was.
    fn consume(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.state {
                State::Tuples => {
                    if rest.is_empty() {
                        return Ok(at);
                    }
                    match self.tuple(rest)? {
                        Tuple::Taken(used) => at += used,
                        Tuple::Needs(needed) => {
                            self.needed = needed;
                            return Ok(at);
                        }
                        Tuple::End => {
                            self.state = State::Ended;
                            at += 2;
                        }
                    }
                }
                State::Header => {
                    if rest.is_empty() {
                        return Ok(at);
                    }
                    let Some(header) = rest.get(..19) else {
                        self.needed = 19;
                        return Ok(at);
                    };
                    if &header[..11] != SIGNATURE {
                        return Err(corrupt(0, "it does not begin as COPY BINARY does"));
                    }
                    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                    if number(11) & 0xffff_0000 != 0 {
                        return Err(corrupt(0, "it has a critical flag that Weir does not know"));
                    }
                    self.state = State::Extension(number(15) as usize);
                    at += 19;
                }
                State::Extension(0) => self.state = State::Tuples,
                State::Extension(left) => {
                    if rest.is_empty() {
                        return Ok(at);
                    }
                    let skipped = left.min(rest.len());
                    self.state = State::Extension(left - skipped);
                    at += skipped;
                }
                State::Ended => {
                    return if rest.is_empty() { Ok(at) } else { Err(corrupt(self.seen, "bytes after the end mark")) };
                }
            }
        }
    }

    fn tuple(&mut self, bytes: &[u8]) -> Result<Tuple> {
        let Some((count, _)) = bytes.split_first_chunk::<2>() else { return Ok(Tuple::Needs(2)) };
        let count = i16::from_be_bytes(*count);
        if count == -1 {
            return Ok(Tuple::End);
        }
        if usize::try_from(count) != Ok(self.columns.len()) {
            return Err(corrupt(self.seen + 1, format!("a row of {count} columns instead of {}", self.columns.len())));
        }
        let mut at = 2;
        let mut failed: Option<(usize, Bad)> = None;
        let mut needs = None;
        for (index, column) in self.columns.iter_mut().enumerate() {
            let Some(length) = bytes.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>()) else {
                needs = Some(at + 4);
                break;
            };
            let length = i32::from_be_bytes(*length);
            at += 4;
            let value = if length >= 0 {
                let end = at + length as usize;
                let Some(value) = bytes.get(at..end) else {
                    needs = Some(end);
                    break;
                };
                at = end;
                Some(value)
            } else if length == -1 {
                None
            } else {
                return Err(corrupt(self.seen + 1, "a negative length"));
            };
            // After a bad value the rest is only walked over, to find where the row ends.
            if failed.is_none()
                && let Err(bad) = column.push(value)
            {
                failed = Some((index, bad));
            }
        }
        if needs.is_none() && failed.is_none() {
            self.rows += 1;
            self.seen += 1;
            self.bytes += at;
            return Ok(Tuple::Taken(at));
        }
        for column in &mut self.columns {
            column.truncate(self.rows);
        }
        if let Some(needs) = needs {
            return Ok(Tuple::Needs(needs));
        }
        self.seen += 1;
        self.bytes += at;
        match failed {
            Some((column, Bad::Value(reason))) => {
                let tuple = bytes[..at.min(1 << 20)].to_vec();
                self.dead.push(DeadRow { row: self.seen, column, reason: reason.into(), tuple });
                Ok(Tuple::Taken(at))
            }
            Some((column, Bad::Corrupt(why))) => {
                let name = self.schema.fields().get(column).map(|field| field.name().as_str()).unwrap_or_default();
                Err(corrupt(self.seen, why).at(format!("row {}, column `{name}`", self.seen)))
            }
            None => Ok(Tuple::Taken(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Field, Int32Type, Schema};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn travels() -> Vec<Travel> {
        vec![
            Travel::Int4,
            Travel::Text,
            Travel::Decimal128 { precision: 15, scale: 2, round: false },
            Travel::List(Box::new(Travel::Int4)),
            Travel::Date,
        ]
    }

    fn schema(travels: &[Travel]) -> SchemaRef {
        Arc::new(Schema::new(
            travels.iter().enumerate().map(|(at, travel)| Field::new(format!("c{at}"), travel.arrow(), true)).collect::<Vec<_>>(),
        ))
    }

    fn header() -> Vec<u8> {
        [SIGNATURE.as_slice(), &[0; 8]].concat()
    }

    fn row(values: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut out = (values.len() as i16).to_be_bytes().to_vec();
        for value in values {
            match value {
                Some(bytes) => {
                    out.extend((bytes.len() as i32).to_be_bytes());
                    out.extend(bytes);
                }
                None => out.extend((-1i32).to_be_bytes()),
            }
        }
        out
    }

    fn array(items: &[i32]) -> Vec<u8> {
        let mut out: Vec<u8> = [1, 0, 23, items.len() as i32, 1].iter().flat_map(|n: &i32| n.to_be_bytes()).collect();
        items.iter().for_each(|item| {
            out.extend(4i32.to_be_bytes());
            out.extend(item.to_be_bytes());
        });
        out
    }

    fn good(id: i32) -> Vec<u8> {
        let mut number = Vec::new();
        super::super::numeric::encode_i128(i128::from(id) * 7, 2, &mut number);
        row(&[
            Some(id.to_be_bytes().to_vec()),
            (id % 3 != 0).then(|| format!("text {id}").into_bytes()),
            Some(number.split_off(4)),
            Some(array(&[id, -id])),
            Some((-10_957i32).to_be_bytes().to_vec()),
        ])
    }

    fn bad(id: i32) -> Vec<u8> {
        row(&[Some(id.to_be_bytes().to_vec()), None, None, Some(array(&[1, 2])), Some(i32::MAX.to_be_bytes().to_vec())])
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_rows() {
        let mut stream = header();
        (0..20).for_each(|id| stream.extend(if id == 7 { bad(id) } else { good(id) }));
        stream.extend((-1i16).to_be_bytes());
        let whole = {
            let mut decoder = Decoder::new(schema(&travels()), &travels());
            decoder.feed(&stream).unwrap();
            decoder.end().unwrap();
            (decoder.take_dead(), decoder.take_batch().unwrap().unwrap())
        };
        assert_eq!(whole.1.num_rows(), 19);
        assert_eq!(whole.0.len(), 1);
        assert_eq!((whole.0[0].row, whole.0[0].column), (8, 4));
        assert!(whole.0[0].reason.contains("infinity"));
        assert_eq!(whole.1.column(0).as_primitive::<Int32Type>().value(7), 8);
        assert_eq!(whole.1.column(3).as_list::<i32>().value(7).as_primitive::<Int32Type>().values(), &[8, -8]);
        assert_eq!(whole.1.column(1).null_count(), 7);
        for size in 1..80 {
            let mut decoder = Decoder::new(schema(&travels()), &travels());
            stream.chunks(size).for_each(|chunk| decoder.feed(chunk).unwrap());
            decoder.end().unwrap();
            assert_eq!((decoder.take_dead(), decoder.take_batch().unwrap().unwrap()), whole, "pieces of {size}");
        }
    }

    #[test]
    fn a_truncated_stream_is_an_error_not_fewer_rows() {
        let mut stream = header();
        stream.extend(good(1));
        stream.extend(&good(2)[..9]);
        let mut decoder = Decoder::new(schema(&travels()), &travels());
        decoder.feed(&stream).unwrap();
        assert_eq!(decoder.rows(), 1);
        assert!(decoder.end().is_err());
    }

    #[test]
    fn a_row_of_another_shape_is_corruption() {
        let mut stream = header();
        stream.extend(row(&[None]));
        let mut decoder = Decoder::new(schema(&travels()), &travels());
        assert_eq!(decoder.feed(&stream).unwrap_err().code(), "WEIR-PG-030");
    }

    fn every_travel() -> Vec<Travel> {
        let mut all = vec![
            Travel::Bool,
            Travel::Int2,
            Travel::Int8,
            Travel::Oid,
            Travel::Float4,
            Travel::Float8,
            Travel::Decimal256 { precision: 76, scale: 10 },
            Travel::Money { scale: 2 },
            Travel::Jsonb,
            Travel::Bytes,
            Travel::Time,
            Travel::Timestamp,
            Travel::TimestampTz,
            Travel::Interval,
            Travel::Uuid,
        ];
        all.extend(travels());
        all
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_the_decoder(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..6),
            with_header in any::<bool>(),
        ) {
            let mut decoder = Decoder::new(schema(&travels()), &travels());
            if with_header {
                decoder.feed(&header()).unwrap();
            }
            for chunk in &chunks {
                if decoder.feed(chunk).is_err() {
                    break;
                }
            }
            let _ = decoder.end();
            let _ = decoder.take_batch();
        }

        #[test]
        fn arbitrary_values_never_panic_the_decoder(
            values in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)), 20),
        ) {
            let all = every_travel();
            for (travel, value) in all.iter().zip(&values) {
                let travels = [travel.clone()];
                let mut decoder = Decoder::new(schema(&travels), &travels);
                decoder.feed(&header()).unwrap();
                let outcome = decoder.feed(&row(std::slice::from_ref(value)));
                if outcome.is_ok() {
                    let rows = decoder.rows() + decoder.take_dead().len();
                    prop_assert_eq!(rows, 1);
                    decoder.take_batch().unwrap();
                }
            }
        }
    }
}
