//! Batches to JSON: one object per line, or one array of objects.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, SchemaRef};
use bytes::Bytes;
use weir_error::{Error, Kind, Result};

use crate::cells::{Form, WriteText, flat, flat_columns, is_null, no_text, scalar_text};
use crate::compress::Compressor;
use crate::format::{Compression, Format};
use crate::inference::is_json_text;
use crate::json::tape::{Tape, plain};
use crate::options::WriteOptions;
use crate::write::Encoder;

const PIECE: usize = 64 << 10;

/// Writes a column's values as JSON. Nested columns own their flattened children.
pub(crate) enum JsonColumnWriter<'a> {
    /// A text as it is: for CSV.
    Plain(WriteText<'a>),
    Scalar {
        array: &'a dyn Array,
        form: Form,
        write: WriteText<'a>,
    },
    /// A text, escaped from where it lies.
    Text {
        texts: &'a StringArray,
    },
    /// Text that is JSON already.
    Json {
        array: &'a dyn Array,
        write: WriteText<'a>,
        name: String,
    },
    Struct {
        array: &'a dyn Array,
        fields: Vec<(Vec<u8>, JsonColumnWriter<'a>)>,
    },
    List {
        array: &'a dyn Array,
        offsets: Offsets<'a>,
        child: Box<JsonColumnWriter<'a>>,
    },
    Map {
        array: &'a dyn Array,
        offsets: Offsets<'a>,
        key: WriteText<'a>,
        value: Box<JsonColumnWriter<'a>>,
    },
}

/// Where the elements of a row are.
pub(crate) enum Offsets<'a> {
    Small(&'a [i32]),
    Large(&'a [i64]),
    Fixed(usize),
}

impl Offsets<'_> {
    fn of(&self, row: usize) -> std::ops::Range<usize> {
        match self {
            Self::Small(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Large(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
            Self::Fixed(width) => row * width..(row + 1) * width,
        }
    }
}

/// The key of a field with quotes and colon.
fn quoted_key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    escape(name.as_bytes(), &mut key);
    key.push(b':');
    key
}

impl<'a> JsonColumnWriter<'a> {
    pub(crate) fn plain(write: WriteText<'a>) -> Self {
        Self::Plain(write)
    }

    pub(crate) fn new(array: &'a dyn Array, field: &Field) -> Result<Self> {
        if is_json_text(field)
            && let Some((_, write)) = scalar_text(array)
        {
            return Ok(Self::Json { array, write, name: field.name().clone() });
        }
        if let Some(texts) = array.as_string_opt() {
            return Ok(Self::Text { texts });
        }
        if let Some((form, write)) = scalar_text(array) {
            return Ok(Self::Scalar { array, form, write });
        }
        match array.data_type() {
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns();
                let fields = fields
                    .iter()
                    .zip(columns)
                    .map(|(field, column)| Ok((quoted_key(field.name()), Self::new(column.as_ref(), field)?)))
                    .collect::<Result<_>>()?;
                Ok(Self::Struct { array, fields })
            }
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                let child = Box::new(Self::new(list.values().as_ref(), item)?);
                Ok(Self::List { array, offsets: Offsets::Small(list.offsets()), child })
            }
            DataType::LargeList(item) => {
                let list = array.as_list::<i64>();
                let child = Box::new(Self::new(list.values().as_ref(), item)?);
                Ok(Self::List { array, offsets: Offsets::Large(list.offsets()), child })
            }
            DataType::FixedSizeList(item, width) => {
                let list = array.as_fixed_size_list();
                let child = Box::new(Self::new(list.values().as_ref(), item)?);
                Ok(Self::List { array, offsets: Offsets::Fixed(*width as usize), child })
            }
            DataType::Map(entries, _) => {
                let map = array.as_map();
                let DataType::Struct(pair) = entries.data_type() else { return Err(no_text(array.data_type())) };
                let (_, key) = scalar_text(map.keys().as_ref()).ok_or_else(|| no_text(array.data_type()))?;
                let value = Box::new(Self::new(map.values().as_ref(), &pair[1])?);
                Ok(Self::Map { array, offsets: Offsets::Small(map.offsets()), key, value })
            }
            other => Err(no_text(other)),
        }
    }

    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let array = match self {
            Self::Plain(write) => {
                write(row, out);
                return Ok(());
            }
            Self::Text { texts } => *texts,
            Self::Scalar { array, .. }
            | Self::Json { array, .. }
            | Self::Struct { array, .. }
            | Self::List { array, .. }
            | Self::Map { array, .. } => *array,
        };
        if is_null(array, row) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match self {
            Self::Plain(_) => {}
            Self::Text { texts } => escape(texts.value(row).as_bytes(), out),
            Self::Scalar { form, write, .. } => write_scalar(*form, write, row, out),
            Self::Json { write, name, .. } => {
                let start = out.len();
                write(row, out);
                if Tape::default().parse(&out[start..], usize::MAX).is_err() {
                    return Err(Error::new("WEIR-FMT-030", Kind::Data, format!("column `{name}` holds text that is no JSON"))
                        .because(crate::csv::decode::short(&String::from_utf8_lossy(&out[start..]))));
                }
                // Line ends between its parts would break the line of the record; inside texts they are escaped.
                for byte in &mut out[start..] {
                    if matches!(byte, b'\n' | b'\r') {
                        *byte = b' ';
                    }
                }
            }
            Self::Struct { fields, .. } => {
                out.push(b'{');
                for (at, (key, value)) in fields.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(key);
                    value.write(row, out)?;
                }
                out.push(b'}');
            }
            Self::List { offsets, child, .. } => {
                out.push(b'[');
                for (at, element) in offsets.of(row).enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    child.write(element, out)?;
                }
                out.push(b']');
            }
            Self::Map { offsets, key, value, .. } => {
                out.push(b'{');
                let mut text = Vec::new();
                for (at, entry) in offsets.of(row).enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    text.clear();
                    key(entry, &mut text);
                    escape(&text, out);
                    out.push(b':');
                    value.write(entry, out)?;
                }
                out.push(b'}');
            }
        }
        Ok(())
    }
}

fn write_scalar(form: Form, write: &WriteText<'_>, row: usize, out: &mut Vec<u8>) {
    match form {
        Form::Bare => write(row, out),
        Form::Float => {
            let start = out.len();
            write(row, out);
            let text: Option<&[u8]> = match &out[start..] {
                b"NaN" => Some(b"\"NaN\""),
                b"inf" => Some(b"\"Infinity\""),
                b"-inf" => Some(b"\"-Infinity\""),
                _ => None,
            };
            if let Some(text) = text {
                out.truncate(start);
                out.extend_from_slice(text);
            }
        }
        Form::PlainText => {
            out.push(b'"');
            write(row, out);
            out.push(b'"');
        }
        Form::Text => {
            let mut text = Vec::new();
            write(row, &mut text);
            escape(&text, out);
        }
    }
}

/// A text in quotes, with what JSON requires escaped and nothing else.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text;
    loop {
        let (as_it_is, marked) = rest.split_at(plain(rest));
        out.extend_from_slice(as_it_is);
        let Some((&byte, after)) = marked.split_first() else { break };
        rest = after;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            _ => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
    out.push(b'"');
}

/// Dictionaries inside nested columns become plain as well.
fn flat_deep(array: &ArrayRef) -> Result<ArrayRef> {
    if !array.data_type().is_nested() {
        return flat(array);
    }
    let wanted = without_dictionaries(array.data_type());
    if wanted == *array.data_type() {
        return Ok(array.clone());
    }
    arrow::compute::cast(array, &wanted).map_err(crate::columns::broken)
}

fn without_dictionaries(data_type: &DataType) -> DataType {
    let field = |field: &arrow::datatypes::FieldRef| {
        std::sync::Arc::new(field.as_ref().clone().with_data_type(without_dictionaries(field.data_type())))
    };
    match data_type {
        DataType::Dictionary(_, value) => without_dictionaries(value),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, width) => DataType::FixedSizeList(field(item), *width),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}

pub(crate) fn encoder(schema: SchemaRef, options: &WriteOptions, compression: Compression) -> Result<Box<dyn Encoder>> {
    Ok(Box::new(JsonEncoder {
        keys: schema.fields().iter().map(|field| quoted_key(field.name())).collect(),
        schema,
        array: options.format == Format::Json,
        compressor: Compressor::new(compression)?,
        line: Vec::with_capacity(2 * PIECE),
        drained: 0,
        rows: 0,
    }))
}

/// Each row as an object: the texts one behind the other, and where each is. For records of a broker, which are not lines of a file.
///
/// # Errors
/// As [`Encoder::write`]; a column without a form in JSON.
pub fn json_objects(schema: &SchemaRef, batch: &RecordBatch) -> Result<(Vec<u8>, Vec<Range<usize>>)> {
    let keys: Vec<Vec<u8>> = schema.fields().iter().map(|field| quoted_key(field.name())).collect();
    let arrays = plain_columns(batch)?;
    let columns = writers(&arrays, schema)?;
    let of_keys = keys.iter().map(|key| key.len() + 1).sum::<usize>() + 2;
    let of_values = arrays.iter().map(|array| array.to_data().get_slice_memory_size().unwrap_or(0)).sum::<usize>();
    let mut text = Vec::with_capacity(of_values + of_keys * batch.num_rows());
    let mut places = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let start = text.len();
        write_object(&keys, &columns, row, &mut text)?;
        places.push(start..text.len());
    }
    Ok((text, places))
}

fn plain_columns(batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    flat_columns(batch)?.iter().map(flat_deep).collect()
}

fn writers<'a>(arrays: &'a [ArrayRef], schema: &SchemaRef) -> Result<Vec<JsonColumnWriter<'a>>> {
    arrays.iter().zip(schema.fields()).map(|(array, field)| JsonColumnWriter::new(array.as_ref(), field)).collect()
}

fn write_object(keys: &[Vec<u8>], columns: &[JsonColumnWriter<'_>], row: usize, out: &mut Vec<u8>) -> Result<()> {
    out.push(b'{');
    for (at, (key, column)) in keys.iter().zip(columns).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key);
        column.write(row, out)?;
    }
    out.push(b'}');
    Ok(())
}

struct JsonEncoder {
    schema: SchemaRef,
    keys: Vec<Vec<u8>>,
    /// One array instead of lines.
    array: bool,
    compressor: Compressor,
    line: Vec<u8>,
    drained: u64,
    rows: u64,
}

impl JsonEncoder {
    fn pass_on(&mut self) -> Result<()> {
        self.compressor.write(&self.line)?;
        self.line.clear();
        Ok(())
    }
}

impl Encoder for JsonEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let arrays = plain_columns(batch)?;
        let columns = writers(&arrays, &self.schema)?;
        for row in 0..batch.num_rows() {
            if self.array {
                self.line.extend_from_slice(if self.rows == 0 { b"[\n" } else { b",\n" });
            }
            write_object(&self.keys, &columns, row, &mut self.line)?;
            if !self.array {
                self.line.push(b'\n');
            }
            self.rows += 1;
            if self.line.len() >= PIECE {
                self.pass_on()?;
            }
        }
        self.pass_on()
    }

    fn drain(&mut self) -> Vec<Bytes> {
        let ready: Vec<Bytes> = self.compressor.drain().into_iter().collect();
        self.drained += ready.iter().map(|b| b.len() as u64).sum::<u64>();
        ready
    }

    fn buffered(&self) -> usize {
        self.line.len() + self.compressor.ready()
    }

    fn estimated_bytes(&self) -> u64 {
        self.drained + self.buffered() as u64
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Bytes>> {
        if self.array {
            self.line.extend_from_slice(if self.rows == 0 { b"[]\n" } else { b"\n]\n" });
        }
        self.pass_on()?;
        let rest = self.compressor.finish()?;
        Ok(if rest.is_empty() { Vec::new() } else { vec![rest] })
    }
}
