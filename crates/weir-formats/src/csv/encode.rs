//! Batches to CSV bytes.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use weir_error::{Error, Kind, Result};

use crate::cells::{Form, flat_columns, is_null, no_text, scalar_text};
use crate::compress::Compressor;
use crate::format::{Compression, Format};
use crate::json::encode::JsonColumnWriter;
use crate::options::{QuoteStyle, WriteOptions};
use crate::write::Encoder;

/// Encoded bytes are handed to the compressor in pieces of about this size.
const PIECE: usize = 64 << 10;

pub(crate) fn encoder(schema: SchemaRef, options: &WriteOptions, compression: Compression) -> Result<Box<dyn Encoder>> {
    let delimiter = match (options.csv.delimiter.as_deref(), options.format) {
        (None, Format::Tsv) | (Some("\\t" | "tab"), _) => b'\t',
        (None, _) => b',',
        (Some(text), _) => match text.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => *byte,
            _ => {
                return Err(Error::new(
                    "WEIR-FMT-014",
                    Kind::Spec,
                    format!("`delimiter` must be one ASCII character, not `{text}`"),
                )
                .hint("for a tab write \"\\t\""));
            }
        },
    };
    let null = options.csv.null_value.clone().into_bytes();
    if null.iter().any(|byte| *byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r')) {
        return Err(Error::new("WEIR-FMT-014", Kind::Spec, "`null_value` must not contain delimiter, quote or line end"));
    }
    let mut made = CsvEncoder {
        delimiter,
        always: options.csv.quote_style == QuoteStyle::Always,
        null,
        compressor: Compressor::new(compression)?,
        line: Vec::with_capacity(2 * PIECE),
        text: Vec::new(),
        drained: 0,
        rows: 0,
    };
    if options.csv.header && !schema.fields().is_empty() {
        for (at, field) in schema.fields().iter().enumerate() {
            if at > 0 {
                made.line.push(delimiter);
            }
            made.text.clear();
            made.text.extend_from_slice(field.name().as_bytes());
            made.put_text();
        }
        made.line.push(b'\n');
    }
    Ok(Box::new(made))
}

struct CsvEncoder {
    delimiter: u8,
    always: bool,
    null: Vec<u8>,
    compressor: Compressor,
    line: Vec<u8>,
    text: Vec<u8>,
    drained: u64,
    rows: u64,
}

impl CsvEncoder {
    /// Writes `text`, quoted if it has to be.
    fn put_text(&mut self) {
        let text = &self.text;
        let special = |byte: &u8| *byte == self.delimiter || matches!(byte, b'"' | b'\n' | b'\r');
        // An empty text must differ from NULL; a first `#` could be taken for a comment, outer spaces for padding.
        let quote = self.always
            || text.is_empty()
            || *text == self.null
            || text.iter().any(special)
            || matches!(text.first(), Some(b'#' | b' ' | b'\t' | b'\''))
            || text.last() == Some(&b' ')
            || text.starts_with(b"\xef\xbb\xbf");
        if !quote {
            self.line.extend_from_slice(text);
            return;
        }
        self.line.push(b'"');
        let mut rest = text.as_slice();
        while let Some(at) = memchr::memchr(b'"', rest) {
            self.line.extend_from_slice(&rest[..=at]);
            self.line.push(b'"');
            rest = &rest[at + 1..];
        }
        self.line.extend_from_slice(rest);
        self.line.push(b'"');
    }

    fn pass_on(&mut self) -> Result<()> {
        self.compressor.write(&self.line)?;
        self.line.clear();
        Ok(())
    }
}

impl Encoder for CsvEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let arrays = flat_columns(batch)?;
        // What numbers and dates are made of never needs quotes with the usual delimiters and an empty NULL.
        let usual = !self.always && self.null.is_empty() && b",;\t|".contains(&self.delimiter);
        let mut columns: Vec<(&dyn Array, Form, bool, JsonColumnWriter<'_>)> = Vec::with_capacity(arrays.len());
        for (array, field) in arrays.iter().zip(batch.schema_ref().fields()) {
            let array: &dyn Array = array;
            match scalar_text(array) {
                Some((form, write)) => {
                    let careful = !usual || form == Form::Text || is_binary(array.data_type());
                    columns.push((array, form, careful, JsonColumnWriter::plain(write)));
                }
                None if array.data_type().is_nested() => {
                    columns.push((array, Form::Text, true, JsonColumnWriter::new(array, field)?));
                }
                None => return Err(no_text(array.data_type())),
            }
        }
        for row in 0..batch.num_rows() {
            for (at, (array, form, careful, write)) in columns.iter().enumerate() {
                if at > 0 {
                    self.line.push(self.delimiter);
                }
                if is_null(*array, row) {
                    self.line.extend_from_slice(&self.null);
                } else if *careful {
                    self.text.clear();
                    write.write(row, &mut self.text)?;
                    // Numbers stay bare unless they could be read as NULL or as two fields.
                    let text = *form == Form::Text || self.always || self.text.is_empty();
                    if text || self.text == self.null || self.text.contains(&self.delimiter) {
                        self.put_text();
                    } else {
                        self.line.extend_from_slice(&self.text);
                    }
                } else {
                    write.write(row, &mut self.line)?;
                }
            }
            self.line.push(b'\n');
            if self.line.len() >= PIECE {
                self.pass_on()?;
            }
        }
        self.rows += batch.num_rows() as u64;
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
        self.pass_on()?;
        let rest = self.compressor.finish()?;
        Ok(if rest.is_empty() { Vec::new() } else { vec![rest] })
    }
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_))
}
