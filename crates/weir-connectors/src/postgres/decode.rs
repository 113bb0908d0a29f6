//! COPY BINARY → Arrow, column by column, without row objects.
//!
//! Format: PostgreSQL documentation, "COPY", section "Binary Format": an 11-byte signature, flags, a header extension, then
//! tuples (field count, and per field a length and bytes), then -1. The decoder takes bytes in pieces of any size.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, ListArray, RecordBatch, StringArray, new_null_array};
use arrow::array::{BinaryArray, Decimal128Array, PrimitiveArray, RecordBatchOptions};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Schema, SchemaRef,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use weir_connect::{DeadLetter, Error, Kind, Result};

use super::types::{Decode, ReadColumn};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Days between 1970-01-01 and 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// Why a value cannot be kept exactly.
type Refusal = String;

/// Values of one column, growing.
enum Values {
    Bool(BooleanBufferBuilder),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I128(Vec<i128>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bytes { data: Vec<u8>, offsets: Vec<i32> },
    List { offsets: Vec<i32>, items: Box<Column> },
}

struct Column {
    decode: Decode,
    kind: DataType,
    values: Values,
    valid: BooleanBufferBuilder,
    nulls: usize,
}

impl Column {
    fn new(decode: &Decode, kind: &DataType) -> Self {
        let values = match decode {
            Decode::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            Decode::Int2 => Values::I16(Vec::new()),
            Decode::Int4 | Decode::Date => Values::I32(Vec::new()),
            Decode::Int8 | Decode::Oid | Decode::Time | Decode::Timestamp => Values::I64(Vec::new()),
            Decode::Numeric { .. } => Values::I128(Vec::new()),
            Decode::Float4 => Values::F32(Vec::new()),
            Decode::Float8 => Values::F64(Vec::new()),
            Decode::Text | Decode::Jsonb | Decode::Bytes | Decode::Uuid => Values::Bytes { data: Vec::new(), offsets: vec![0] },
            Decode::Array(inner) => {
                let item = match kind {
                    DataType::List(field) => field.data_type().clone(),
                    _ => DataType::Utf8,
                };
                Values::List { offsets: vec![0], items: Box::new(Column::new(inner, &item)) }
            }
        };
        Self { decode: decode.clone(), kind: kind.clone(), values, valid: BooleanBufferBuilder::new(0), nulls: 0 }
    }

    fn push_null(&mut self) {
        self.valid.append(false);
        self.nulls += 1;
        match &mut self.values {
            Values::Bool(values) => values.append(false),
            Values::I16(values) => values.push(0),
            Values::I32(values) => values.push(0),
            Values::I64(values) => values.push(0),
            Values::I128(values) => values.push(0),
            Values::F32(values) => values.push(0.0),
            Values::F64(values) => values.push(0.0),
            Values::Bytes { offsets, .. } | Values::List { offsets, .. } => {
                let last = offsets.last().copied().unwrap_or_default();
                offsets.push(last);
            }
        }
    }

    /// Appends a value; on refusal nothing is appended.
    #[inline]
    fn push(&mut self, raw: &[u8]) -> std::result::Result<(), Refusal> {
        match (&mut self.values, &self.decode) {
            (Values::I32(values), Decode::Int4) => values.push(i32::from_be_bytes(fixed(raw)?)),
            (Values::I64(values), Decode::Int8) => values.push(i64::from_be_bytes(fixed(raw)?)),
            (Values::Bytes { data, offsets }, Decode::Text | Decode::Bytes) => append(data, offsets, raw)?,
            (Values::I128(values), Decode::Numeric { precision, scale, round }) => {
                values.push(numeric(raw, *precision, *scale, *round)?);
            }
            (Values::I32(values), Decode::Date) => values.push(date(raw)?),
            (Values::I64(values), Decode::Timestamp) => values.push(timestamp(raw)?),
            (Values::I64(values), Decode::Time) => values.push(i64::from_be_bytes(fixed(raw)?)),
            (Values::I64(values), Decode::Oid) => values.push(i64::from(u32::from_be_bytes(fixed(raw)?))),
            (Values::I16(values), Decode::Int2) => values.push(i16::from_be_bytes(fixed(raw)?)),
            (Values::F32(values), Decode::Float4) => values.push(f32::from_be_bytes(fixed(raw)?)),
            (Values::F64(values), Decode::Float8) => values.push(f64::from_be_bytes(fixed(raw)?)),
            (Values::Bool(values), Decode::Bool) => {
                let [byte] = fixed(raw)?;
                values.append(byte != 0);
            }
            (Values::Bytes { data, offsets }, Decode::Jsonb) => match raw.split_first() {
                Some((1, text)) => append(data, offsets, text)?,
                _ => return Err("jsonb of an unknown version".into()),
            },
            (Values::Bytes { data, offsets }, Decode::Uuid) => {
                let text = uuid::Uuid::from_bytes(fixed(raw)?).hyphenated().to_string();
                append(data, offsets, text.as_bytes())?;
            }
            (Values::List { offsets, items }, Decode::Array(_)) => array(raw, items, offsets)?,
            _ => return Err("the decoder does not fit its column".into()),
        }
        self.valid.append(true);
        Ok(())
    }

    fn len(&self) -> usize {
        self.valid.len()
    }

    /// Drops values beyond `len`: after a row that was cut by the end of the input.
    fn truncate(&mut self, len: usize) {
        while self.valid.len() > len {
            if !self.valid.get_bit(self.valid.len() - 1) {
                self.nulls -= 1;
            }
            self.valid.truncate(self.valid.len() - 1);
        }
        match &mut self.values {
            Values::Bool(values) => values.truncate(len),
            Values::I16(values) => values.truncate(len),
            Values::I32(values) => values.truncate(len),
            Values::I64(values) => values.truncate(len),
            Values::I128(values) => values.truncate(len),
            Values::F32(values) => values.truncate(len),
            Values::F64(values) => values.truncate(len),
            Values::Bytes { data, offsets } => {
                offsets.truncate(len + 1);
                data.truncate(offsets.last().copied().unwrap_or_default() as usize);
            }
            Values::List { offsets, items } => {
                offsets.truncate(len + 1);
                items.truncate(offsets.last().copied().unwrap_or_default() as usize);
            }
        }
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let len = self.len();
        let nulls = (self.nulls > 0).then(|| NullBuffer::new(self.valid.finish()));
        self.valid = BooleanBufferBuilder::new(len);
        self.nulls = 0;
        Ok(match &mut self.values {
            Values::Bool(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::I16(values) => primitive::<Int16Type>(values, nulls),
            Values::I32(values) if self.decode == Decode::Date => primitive::<Date32Type>(values, nulls),
            Values::I32(values) => primitive::<Int32Type>(values, nulls),
            Values::I64(values) => match &self.kind {
                DataType::Timestamp(_, zone) => {
                    let zone = zone.clone();
                    let array = PrimitiveArray::<TimestampMicrosecondType>::new(take(values), nulls);
                    Arc::new(array.with_timezone_opt(zone))
                }
                DataType::Time64(_) => primitive::<Time64MicrosecondType>(values, nulls),
                _ => primitive::<Int64Type>(values, nulls),
            },
            Values::I128(values) => {
                let (precision, scale) = match self.kind {
                    DataType::Decimal128(precision, scale) => (precision, scale),
                    _ => (38, 0),
                };
                let array = Decimal128Array::new(take(values), nulls)
                    .with_precision_and_scale(precision, scale)
                    .map_err(|error| Error::internal("a decimal column has no such precision").caused_by(error))?;
                Arc::new(array)
            }
            Values::F32(values) => primitive::<Float32Type>(values, nulls),
            Values::F64(values) => primitive::<Float64Type>(values, nulls),
            Values::Bytes { data, offsets } => {
                let rows = offsets.len();
                let bytes = data.len();
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, restart(rows))));
                let data = Buffer::from_vec(std::mem::replace(data, Vec::with_capacity(bytes)));
                if self.decode == Decode::Bytes {
                    Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(broken)?)
                } else {
                    // Checks the whole buffer for UTF-8 at once.
                    Arc::new(StringArray::try_new(offsets, data, nulls).map_err(broken)?)
                }
            }
            Values::List { offsets, items } => {
                let field = match &self.kind {
                    DataType::List(field) => field.clone(),
                    other => return Err(Error::internal(format!("a list column of type {other}"))),
                };
                let rows = offsets.len();
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, restart(rows))));
                Arc::new(ListArray::try_new(field, offsets, items.finish()?, nulls).map_err(broken)?)
            }
        })
    }
}

fn restart(capacity: usize) -> Vec<i32> {
    let mut offsets = Vec::with_capacity(capacity);
    offsets.push(0);
    offsets
}

fn take<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let capacity = values.len();
    ScalarBuffer::from(std::mem::replace(values, Vec::with_capacity(capacity)))
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<T>::new(take(values), nulls))
}

fn broken(error: arrow::error::ArrowError) -> Error {
    Error::new("WEIR-PG-030", Kind::Data, "PostgreSQL sent text that is not UTF-8").caused_by(error)
}

#[inline]
fn fixed<const N: usize>(raw: &[u8]) -> std::result::Result<[u8; N], Refusal> {
    raw.try_into().map_err(|_| format!("a value has {} bytes where {N} belong", raw.len()))
}

#[inline]
fn append(data: &mut Vec<u8>, offsets: &mut Vec<i32>, raw: &[u8]) -> std::result::Result<(), Refusal> {
    let end = i32::try_from(data.len() + raw.len()).map_err(|_| "more than 2 GiB of text in one batch".to_owned())?;
    data.extend_from_slice(raw);
    offsets.push(end);
    Ok(())
}

fn date(raw: &[u8]) -> std::result::Result<i32, Refusal> {
    match i32::from_be_bytes(fixed(raw)?) {
        i32::MAX => Err("the date is `infinity`".into()),
        i32::MIN => Err("the date is `-infinity`".into()),
        days => days.checked_add(EPOCH_DAYS).ok_or_else(|| "the date is out of range".into()),
    }
}

fn timestamp(raw: &[u8]) -> std::result::Result<i64, Refusal> {
    match i64::from_be_bytes(fixed(raw)?) {
        i64::MAX => Err("the timestamp is `infinity`".into()),
        i64::MIN => Err("the timestamp is `-infinity`".into()),
        micros => micros.checked_add(EPOCH_MICROS).ok_or_else(|| "the timestamp is out of range".into()),
    }
}

const POWERS: [i128; 39] = {
    let mut powers = [1i128; 39];
    let mut index = 1;
    while index < 39 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// numeric: digit count, weight, sign, display scale, then base-10000 digits; all big-endian 16-bit.
#[inline]
fn numeric(raw: &[u8], precision: u8, scale: i8, round: bool) -> std::result::Result<i128, Refusal> {
    let short = |at: usize| raw.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let header = || "a numeric value is cut off".to_owned();
    let count = short(0).ok_or_else(header)? as usize;
    let weight = short(2).ok_or_else(header)? as i16;
    match short(4).ok_or_else(header)? {
        0x0000 | 0x4000 => {}
        0xC000 => return Err("the number is NaN".into()),
        0xD000 => return Err("the number is Infinity".into()),
        0xF000 => return Err("the number is -Infinity".into()),
        _ => return Err("a numeric value has an unknown sign".into()),
    }
    let negative = raw[4] == 0x40;
    let digits = raw.get(8..8 + 2 * count).ok_or_else(header)?;
    let too_large = || format!("the number has more than {precision} digits");
    let mut value: i128 = 0;
    if count <= 4 {
        // Fits into 64 bits: the usual case.
        let mut small: i64 = 0;
        for pair in digits.chunks_exact(2) {
            small = small * 10_000 + i64::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        value = i128::from(small);
    } else {
        for pair in digits.chunks_exact(2) {
            value = value
                .checked_mul(10_000)
                .and_then(|value| value.checked_add(i128::from(u16::from_be_bytes([pair[0], pair[1]]))))
                .ok_or_else(too_large)?;
        }
    }
    // The last digit group stands at 10000^(weight - count + 1).
    let exponent = (i32::from(weight) - count as i32 + 1) * 4 + i32::from(scale);
    if value != 0 {
        if exponent >= 0 {
            let power = POWERS.get(exponent as usize).ok_or_else(too_large)?;
            value = value.checked_mul(*power).ok_or_else(too_large)?;
        } else {
            let Some(power) = POWERS.get((-exponent) as usize) else {
                return if round { Ok(0) } else { Err(format!("the number has more than {scale} digits after the point")) };
            };
            let rest = value % power;
            value /= power;
            if rest != 0 {
                if !round {
                    return Err(format!("the number has more than {scale} digits after the point"));
                }
                if rest >= power / 2 {
                    value += 1;
                }
            }
        }
    }
    if POWERS.get(precision as usize).is_some_and(|limit| value >= *limit) {
        return Err(too_large());
    }
    Ok(if negative { -value } else { value })
}

/// Array: dimensions, NULL flag, element OID, per dimension length and lower bound, then elements.
fn array(raw: &[u8], items: &mut Column, offsets: &mut Vec<i32>) -> std::result::Result<(), Refusal> {
    let int = |at: usize| raw.get(at..at + 4).map(|four| i32::from_be_bytes([four[0], four[1], four[2], four[3]]));
    let cut = || "an array value is cut off".to_owned();
    let before = items.len();
    match int(0).ok_or_else(cut)? {
        0 => {}
        1 => {
            if int(16).ok_or_else(cut)? != 1 {
                return Err("the array does not start at 1".into());
            }
            let count = int(12).ok_or_else(cut)?;
            let mut at = 20;
            for _ in 0..count {
                let pushed = match int(at).ok_or_else(cut) {
                    Ok(-1) => {
                        at += 4;
                        items.push_null();
                        Ok(())
                    }
                    Ok(length) => usize::try_from(length).map_err(|_| cut()).and_then(|length| {
                        let value = raw.get(at + 4..at + 4 + length).ok_or_else(cut)?;
                        at += 4 + length;
                        items.push(value)
                    }),
                    Err(refusal) => Err(refusal),
                };
                if let Err(refusal) = pushed {
                    items.truncate(before);
                    return Err(refusal);
                }
            }
        }
        dimensions => return Err(format!("the array has {dimensions} dimensions")),
    }
    offsets.push(i32::try_from(items.len()).map_err(|_| "more than 2^31 array elements in one batch".to_owned())?);
    Ok(())
}

/// Rows that are ready, and records that were refused.
#[derive(Debug)]
pub struct DecodedRows {
    /// The rows.
    pub batch: RecordBatch,
    /// Refused records; they are not in the batch.
    pub dead: Vec<DeadLetter>,
}

/// Decodes a COPY BINARY stream, or single rows of raw values.
pub struct Decoder {
    stream: String,
    schema: SchemaRef,
    columns: Vec<Column>,
    header_seen: bool,
    ended: bool,
    carry: Vec<u8>,
    rows: usize,
    bytes: usize,
    /// Rows of the batch that are refused: index, column, why.
    refused: Vec<(usize, usize, Refusal)>,
    total: u64,
}

impl Decoder {
    /// A decoder for these columns of `stream`.
    pub fn new(stream: &str, columns: &[ReadColumn]) -> Self {
        let fields: Vec<_> = columns.iter().map(|column| column.field.clone()).collect();
        Self {
            stream: stream.to_owned(),
            schema: Arc::new(Schema::new(fields)),
            columns: columns.iter().map(|column| Column::new(&column.decode, column.field.data_type())).collect(),
            header_seen: false,
            ended: false,
            carry: Vec::new(),
            rows: 0,
            bytes: 0,
            refused: Vec::new(),
            total: 0,
        }
    }

    /// Rows waiting in the decoder.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the waiting rows.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the next piece of the COPY stream.
    pub fn feed(&mut self, piece: &[u8]) -> Result<()> {
        if self.carry.is_empty() {
            let used = self.consume(piece)?;
            self.carry.extend_from_slice(&piece[used..]);
        } else {
            let mut joined = std::mem::take(&mut self.carry);
            joined.extend_from_slice(piece);
            let used = self.consume(&joined)?;
            joined.drain(..used);
            self.carry = joined;
        }
        Ok(())
    }

    /// The stream has ended: an error if it ended in the middle.
    pub fn end(&self) -> Result<()> {
        if self.ended && self.carry.is_empty() {
            return Ok(());
        }
        Err(cut().at(format!("stream `{}` after {} rows", self.stream, self.total)).transient())
    }

    /// Consumes whole tuples from the front of `bytes`; returns how many bytes.
    fn consume(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        if !self.header_seen {
            if bytes.len() < 19 {
                return Ok(0);
            }
            if &bytes[..11] != SIGNATURE {
                return Err(Error::new("WEIR-PG-031", Kind::Data, "this is not a COPY BINARY stream"));
            }
            if bytes[11..15] != [0, 0, 0, 0] {
                return Err(Error::new("WEIR-PG-031", Kind::Data, "the COPY BINARY stream has flags that are not understood"));
            }
            let extension = u32::from_be_bytes([bytes[15], bytes[16], bytes[17], bytes[18]]) as usize;
            if bytes.len() < 19 + extension {
                return Ok(0);
            }
            at = 19 + extension;
            self.header_seen = true;
        }
        while !self.ended {
            let Some(count) = bytes.get(at..at + 2) else { break };
            let count = i16::from_be_bytes([count[0], count[1]]);
            if count == -1 {
                self.ended = true;
                at += 2;
                break;
            }
            if count as usize != self.columns.len() || count < 0 {
                return Err(Error::new(
                    "WEIR-PG-032",
                    Kind::Schema,
                    format!("a row has {count} columns where {} were planned", self.columns.len()),
                )
                .hint("the table was changed while it was read; run again"));
            }
            let Some(next) = self.tuple(bytes, at + 2)? else { break };
            self.bytes += next - at;
            at = next;
        }
        if self.ended && at < bytes.len() {
            return Err(Error::new("WEIR-PG-031", Kind::Data, "bytes follow the end of the COPY BINARY stream"));
        }
        Ok(at)
    }

    /// One tuple's fields from `at`; `None` if they are not all here yet.
    #[inline]
    fn tuple(&mut self, bytes: &[u8], mut at: usize) -> Result<Option<usize>> {
        let row = self.rows;
        let mut complete = true;
        for (index, column) in self.columns.iter_mut().enumerate() {
            let Some(length) = bytes.get(at..at + 4) else {
                complete = false;
                break;
            };
            let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
            at += 4;
            if length == -1 {
                column.push_null();
                continue;
            }
            let Ok(length) = usize::try_from(length) else {
                return Err(Error::new("WEIR-PG-031", Kind::Data, "a field has a negative length"));
            };
            let Some(raw) = bytes.get(at..at + length) else {
                complete = false;
                break;
            };
            at += length;
            if let Err(refusal) = column.push(raw) {
                column.push_null();
                self.refused.push((row, index, refusal));
            }
        }
        if !complete {
            for column in &mut self.columns {
                column.truncate(row);
            }
            self.refused.retain(|(refused, ..)| *refused < row);
            return Ok(None);
        }
        self.rows += 1;
        self.total += 1;
        Ok(Some(at))
    }

    /// Takes one row of raw binary values (from a parameterised query).
    pub fn row<'a>(&mut self, values: impl Iterator<Item = Option<&'a [u8]>>) {
        let row = self.rows;
        for (index, (column, value)) in self.columns.iter_mut().zip(values).enumerate() {
            match value {
                None => column.push_null(),
                Some(raw) => {
                    self.bytes += raw.len() + 4;
                    if let Err(refusal) = column.push(raw) {
                        column.push_null();
                        self.refused.push((row, index, refusal));
                    }
                }
            }
        }
        self.rows += 1;
        self.total += 1;
    }

    /// The waiting rows as a batch. Refused rows are dead letters with the rest of their values.
    pub fn take(&mut self) -> Result<DecodedRows> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let refused = std::mem::take(&mut self.refused);
        if refused.is_empty() {
            let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
                .map_err(|error| Error::internal("rows do not fit their schema").caused_by(error))?;
            return Ok(DecodedRows { batch, dead: Vec::new() });
        }
        // A refused value stands as NULL even where the column allows none, so the bad rows go first.
        let loose: Vec<_> = self.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let all = RecordBatch::try_new_with_options(Arc::new(Schema::new(loose)), columns, &options)
            .map_err(|error| Error::internal("rows do not fit their schema").caused_by(error))?;
        let mut keep = vec![true; rows];
        let mut dead = Vec::new();
        for (row, column, refusal) in &refused {
            if std::mem::replace(&mut keep[*row], false) {
                dead.push(self.letter(&all, *row, *column, refusal));
            }
        }
        let kept = arrow::compute::filter_record_batch(&all, &BooleanArray::new(BooleanBuffer::from(keep), None))
            .map_err(|error| Error::internal("refused rows cannot be taken out").caused_by(error))?;
        let kept_options = RecordBatchOptions::new().with_row_count(Some(kept.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), kept.columns().to_vec(), &kept_options)
            .map_err(|error| Error::internal("rows do not fit their schema").caused_by(error))?;
        Ok(DecodedRows { batch, dead })
    }

    fn letter(&self, all: &RecordBatch, row: usize, column: usize, refusal: &str) -> DeadLetter {
        let mut payload = Vec::new();
        let mut writer = arrow::json::LineDelimitedWriter::new(&mut payload);
        let written = writer.write(&all.slice(row, 1)).and_then(|()| writer.finish());
        drop(writer);
        if written.is_err() {
            payload = format!("{:?}", all.slice(row, 1)).into_bytes();
        }
        let name = self.schema.field(column).name();
        DeadLetter {
            stream: self.stream.clone(),
            code: "WEIR-PG-033".into(),
            reason: format!("column `{name}`: {refusal}; `on_loss: {{{name}: string}}` would carry it as text"),
            place: format!("row {} of the split", self.total - (all.num_rows() - row) as u64 + 1),
            payload,
            media_type: "application/x-ndjson".into(),
        }
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// An empty batch.
    pub fn empty(&self) -> RecordBatch {
        let columns = self.schema.fields().iter().map(|field| new_null_array(field.data_type(), 0)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(0));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .unwrap_or_else(|_| RecordBatch::new_empty(self.schema.clone()))
    }
}

fn cut() -> Error {
    Error::new("WEIR-PG-034", Kind::Connect, "the server ended the copy in the middle")
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use proptest::prelude::*;
    use weir_connect::stream::LossChoice;

    use super::super::types::{PgType, read_column};
    use super::*;

    fn columns() -> Vec<ReadColumn> {
        [(23u32, -1), (25, -1), (1700, ((15 << 16) | 2) + 4), (1007, -1)]
            .iter()
            .enumerate()
            .map(|(index, (oid, modifier))| {
                let element = if *oid == 1007 { 23 } else { 0 };
                let kind = PgType { oid: *oid, kind: 'b', element, element_kind: 'b', modifier: *modifier, name: "t".into() };
                read_column(&format!("c{index}"), true, &kind, LossChoice::Error).unwrap()
            })
            .collect()
    }

    fn copy(rows: &[(i32, &str, &[u8])]) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        out.extend([0; 8]);
        for (number, text, numeric) in rows {
            out.extend(4i16.to_be_bytes());
            out.extend(4i32.to_be_bytes());
            out.extend(number.to_be_bytes());
            out.extend((text.len() as i32).to_be_bytes());
            out.extend(text.as_bytes());
            out.extend((numeric.len() as i32).to_be_bytes());
            out.extend(*numeric);
            out.extend((-1i32).to_be_bytes());
        }
        out.extend((-1i16).to_be_bytes());
        out
    }

    /// 12345.67 as PostgreSQL sends it: digits 1, 2345, 6700, weight 1.
    const NUMBER: [u8; 14] = [0, 3, 0, 1, 0, 0, 0, 2, 0, 1, 9, 41, 26, 44];
    const NAN: [u8; 8] = [0, 0, 0, 0, 0xC0, 0, 0, 0];

    #[test]
    fn pieces_of_any_size_give_the_same_rows() {
        let bytes = copy(&[(1, "a", &NUMBER), (2, "", &NUMBER), (3, "ccc", &NUMBER)]);
        for size in 1..bytes.len() {
            let mut decoder = Decoder::new("t", &columns());
            for piece in bytes.chunks(size) {
                decoder.feed(piece).unwrap();
            }
            decoder.end().unwrap();
            let rows = decoder.take().unwrap();
            assert_eq!(rows.batch.num_rows(), 3);
            assert_eq!(rows.batch.column(2).as_primitive::<arrow::datatypes::Decimal128Type>().value(0), 1_234_567);
            assert_eq!(rows.batch.column(1).as_string::<i32>().value(2), "ccc");
        }
    }

    #[test]
    fn a_refused_value_takes_its_row_out_and_no_other() {
        let mut decoder = Decoder::new("t", &columns());
        decoder.feed(&copy(&[(1, "a", &NUMBER), (2, "b", &NAN), (3, "c", &NUMBER)])).unwrap();
        let rows = decoder.take().unwrap();
        assert_eq!(rows.batch.column(0).as_primitive::<Int32Type>().values(), &[1, 3]);
        assert_eq!(rows.dead.len(), 1);
        assert!(rows.dead[0].reason.contains("NaN"), "{}", rows.dead[0].reason);
        assert!(String::from_utf8_lossy(&rows.dead[0].payload).contains("\"b\""));
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error() {
        let bytes = copy(&[(1, "a", &NUMBER)]);
        for end in 0..bytes.len() {
            let mut decoder = Decoder::new("t", &columns());
            decoder.feed(&bytes[..end]).unwrap();
            assert!(decoder.end().is_err(), "cut at {end}");
        }
    }

    #[test]
    fn numbers_keep_every_digit() {
        // 0.0001: one digit 1 at weight -1.
        let tiny = [0, 1, 0xff, 0xff, 0, 0, 0, 4, 0, 1];
        assert_eq!(numeric(&tiny, 38, 4, false), Ok(1));
        assert!(numeric(&tiny, 38, 2, false).is_err());
        assert_eq!(numeric(&tiny, 38, 2, true), Ok(0));
        // -1e36 in base 10000: one digit 1 at weight 9.
        let large = [0, 1, 0, 9, 0x40, 0, 0, 0, 0, 1];
        assert_eq!(numeric(&large, 38, 0, false), Ok(-POWERS[36]));
        assert!(numeric(&large, 38, 4, false).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5), with_header in any::<bool>()) {
            let mut decoder = Decoder::new("t", &columns());
            if with_header {
                let mut header = SIGNATURE.to_vec();
                header.extend([0; 8]);
                decoder.feed(&header).unwrap();
            }
            for piece in &pieces {
                if decoder.feed(piece).is_err() {
                    break;
                }
            }
            let _ = decoder.end();
            let _ = decoder.take();
        }

        #[test]
        fn mutated_rows_never_panic(at in 19usize..120, value in any::<u8>()) {
            let mut bytes = copy(&[(1, "abc", &NUMBER), (2, "", &NUMBER), (3, "z", &NUMBER)]);
            let index = at % bytes.len();
            bytes[index] = value;
            let mut decoder = Decoder::new("t", &columns());
            let _ = decoder.feed(&bytes);
            let _ = decoder.take();
        }
    }
}
