//! A batch taken apart: a payload for each row. Pure.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_connect::{Error, Kind, Result};
use weir_formats::{Compression, CsvWriteOptions, WriteOptions, encoder, json_objects};

/// What a payload is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkFormat {
    /// A JSON object per row.
    #[default]
    Json,
    /// A line of CSV per row, without a header and without the line's end.
    Csv,
    /// The text of the only column.
    Text,
    /// The bytes of the only column.
    Raw,
}

/// How the rows of one stream become payloads.
#[derive(Debug, Clone)]
pub struct Encoding {
    schema: SchemaRef,
    format: SinkFormat,
    options: WriteOptions,
}

/// The payloads of a batch, in its order.
#[derive(Debug, Clone)]
pub struct Payloads {
    text: Bytes,
    ranges: Vec<Range<usize>>,
}

impl Payloads {
    /// How many.
    pub fn count(&self) -> usize {
        self.ranges.len()
    }

    /// That of a row; shares the memory of all.
    pub fn get(&self, row: usize) -> Bytes {
        self.text.slice(self.ranges[row].clone())
    }

    /// That of a row, as a slice.
    pub fn slice(&self, row: usize) -> &[u8] {
        &self.text[self.ranges[row].clone()]
    }
}

impl Encoding {
    /// For these columns.
    ///
    /// # Errors
    /// * A column that the format cannot hold.
    /// * `WEIR-MSG-010`: `text` and `raw` with several columns, or one that is neither text nor bytes.
    pub fn new(format: SinkFormat, schema: &SchemaRef) -> Result<Self> {
        Self::with_csv(format, schema, CsvWriteOptions::default())
    }

    /// For these columns, with CSV written in this way.
    ///
    /// # Errors
    /// As [`Encoding::new`].
    pub fn with_csv(format: SinkFormat, schema: &SchemaRef, csv: CsvWriteOptions) -> Result<Self> {
        let mut options = WriteOptions::new(match format {
            SinkFormat::Csv => weir_formats::Format::Csv,
            _ => weir_formats::Format::Ndjson,
        });
        options.compression = Compression::None;
        options.csv = csv;
        options.csv.header = false;
        match format {
            SinkFormat::Json | SinkFormat::Csv => weir_formats::check_writable(options.format, schema)?,
            SinkFormat::Text | SinkFormat::Raw => {
                let fits = |data_type: &DataType| match format {
                    SinkFormat::Text => matches!(data_type, DataType::Utf8),
                    _ => matches!(data_type, DataType::Utf8 | DataType::Binary),
                };
                let [field] = &schema.fields()[..] else {
                    let what = format!("`format: text` and `raw` take one column, and here are {}", schema.fields().len());
                    return Err(Error::new("WEIR-MSG-010", Kind::Schema, what)
                        .hint("keep one with `field_mapper`, or write `format: json`"));
                };
                if !fits(field.data_type()) {
                    let what = format!("column `{}` is {}, which is no payload as it is", field.name(), field.data_type());
                    return Err(Error::new("WEIR-MSG-010", Kind::Schema, what).hint("cast it to a text, or write `format: json`"));
                }
            }
        }
        Ok(Self { schema: schema.clone(), format, options })
    }

    /// Takes a batch apart.
    ///
    /// # Errors
    /// A value that has no form in the format; `WEIR-MSG-011`: a NULL where the column is the payload.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Payloads> {
        let payloads = match self.format {
            SinkFormat::Json => {
                let (text, ranges) = json_objects(&self.schema, batch)?;
                Payloads { text: text.into(), ranges }
            }
            SinkFormat::Csv => self.row_by_row(batch)?,
            SinkFormat::Text | SinkFormat::Raw => as_they_are(batch.column(0))?,
        };
        match payloads.ranges.len() == batch.num_rows() {
            true => Ok(payloads),
            false => Err(Error::internal(format!("{} rows became {} payloads", batch.num_rows(), payloads.ranges.len()))),
        }
    }

    /// A field of CSV may have line ends inside.
    fn row_by_row(&self, batch: &RecordBatch) -> Result<Payloads> {
        let mut encoder = encoder(self.schema.clone(), &self.options)?;
        let (mut text, mut ranges) = (Vec::new(), Vec::with_capacity(batch.num_rows()));
        for row in 0..batch.num_rows() {
            let start = text.len();
            encoder.write(&batch.slice(row, 1))?;
            for part in encoder.drain() {
                text.extend_from_slice(&part);
            }
            let end = text.len() - usize::from(text.last() == Some(&b'\n'));
            ranges.push(start..end);
        }
        Ok(Payloads { text: text.into(), ranges })
    }
}

fn as_they_are(column: &ArrayRef) -> Result<Payloads> {
    if column.logical_null_count() > 0 {
        return Err(Error::new("WEIR-MSG-011", Kind::Data, "a row has no value, and its value is the payload")
            .hint("filter such rows out, or write `format: json`"));
    }
    let (mut text, mut ranges) = (Vec::new(), Vec::with_capacity(column.len()));
    for row in 0..column.len() {
        let start = text.len();
        match column.data_type() {
            DataType::Utf8 => text.extend_from_slice(column.as_string::<i32>().value(row).as_bytes()),
            _ => text.extend_from_slice(column.as_binary::<i32>().value(row)),
        }
        ranges.push(start..text.len());
    }
    Ok(Payloads { text: text.into(), ranges })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn batch(texts: Vec<Option<&str>>) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("text", DataType::Utf8, true)]);
        let ids = Int64Array::from_iter_values(1..=texts.len() as i64);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(ids), Arc::new(StringArray::from(texts))]).unwrap()
    }

    fn encoded(format: SinkFormat, batch: &RecordBatch) -> Result<Vec<String>> {
        let payloads = Encoding::new(format, &batch.schema())?.encode(batch)?;
        Ok((0..payloads.count()).map(|row| String::from_utf8(payloads.get(row).to_vec()).unwrap()).collect())
    }

    #[test]
    fn a_row_is_one_payload_whatever_its_texts_hold() {
        let rows = batch(vec![Some("a\nb"), None, Some("\"q\", ü")]);
        assert_eq!(
            encoded(SinkFormat::Json, &rows).unwrap(),
            [r#"{"id":1,"text":"a\nb"}"#, r#"{"id":2,"text":null}"#, r#"{"id":3,"text":"\"q\", ü"}"#]
        );
        assert_eq!(encoded(SinkFormat::Csv, &rows).unwrap(), ["1,\"a\nb\"", "2,", "3,\"\"\"q\"\", ü\""]);
    }

    #[test]
    fn a_column_is_the_payload_only_alone_and_without_nulls() {
        let rows = batch(vec![Some("a\nb"), Some("")]);
        assert_eq!(encoded(SinkFormat::Text, &rows).unwrap_err().code(), "WEIR-MSG-010");
        let text = rows.project(&[1]).unwrap();
        assert_eq!(encoded(SinkFormat::Text, &text).unwrap(), ["a\nb", ""]);
        assert_eq!(encoded(SinkFormat::Raw, &text).unwrap(), ["a\nb", ""]);
        assert_eq!(encoded(SinkFormat::Raw, &rows.project(&[0]).unwrap()).unwrap_err().code(), "WEIR-MSG-010");
        let null = batch(vec![None]).project(&[1]).unwrap();
        assert_eq!(encoded(SinkFormat::Text, &null).unwrap_err().code(), "WEIR-MSG-011");
    }
}
