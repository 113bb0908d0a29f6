//! Rows as table, CSV or JSON lines.

use std::io::Write;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use weir_error::{Error, Kind, Result};
use weir_plan::personal::{MASK, looks_personal};

use super::table::Table;

/// Replaces every value (not the NULLs) of columns that look personal. Returns the names of the masked columns.
pub fn mask(batch: &RecordBatch) -> Result<(RecordBatch, Vec<String>)> {
    let schema = batch.schema();
    let mut masked = Vec::new();
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if looks_personal(field.name()) && column.data_type() != &DataType::Boolean {
            masked.push(field.name().clone());
            fields.push(field.as_ref().clone().with_data_type(DataType::Utf8));
            let nulls = column.logical_nulls();
            let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let values: StringArray = (0..column.len()).map(|row| valid(row).then_some(MASK)).collect();
            columns.push(std::sync::Arc::new(values));
        } else {
            fields.push(field.as_ref().clone());
            columns.push(column.clone());
        }
    }
    let batch = RecordBatch::try_new(std::sync::Arc::new(Schema::new(fields)), columns).map_err(cannot_show)?;
    Ok((batch, masked))
}

/// Rows as an aligned table. NULL is shown as an empty cell, an empty text as `""`.
pub fn table(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String> {
    let mut table = Table::new(schema.fields().iter().map(|field| field.name().clone()));
    for (index, field) in schema.fields().iter().enumerate() {
        if field.data_type().is_numeric() {
            table = table.right(index);
        }
    }
    let options = FormatOptions::default().with_display_error(true);
    for batch in batches {
        let formatters = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(cannot_show)?;
        let nulls: Vec<_> = batch.columns().iter().map(|column| column.logical_nulls()).collect();
        for row in 0..batch.num_rows() {
            table.row(formatters.iter().zip(&nulls).map(|(formatter, nulls)| {
                if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    return String::new();
                }
                let text = formatter.value(row).to_string();
                if text.is_empty() { "\"\"".into() } else { text }
            }));
        }
    }
    Ok(table.render())
}

/// Rows as text, cell by cell; `None` is NULL. A text longer than `longest` characters is cut and ends with `…`. As text and not as JSON's numbers, so
/// that a reader without 64-bit integers shows what is there.
pub fn cells(batch: &RecordBatch, longest: usize) -> Result<Vec<Vec<Option<String>>>> {
    let options = FormatOptions::default().with_display_error(true);
    let mut columns = Vec::with_capacity(batch.num_columns());
    for column in batch.columns() {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(cannot_show)?;
        columns.push((formatter, column.logical_nulls()));
    }
    let cell = |(formatter, nulls): &(ArrayFormatter<'_>, Option<NullBuffer>), row: usize| {
        let valid = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        valid.then(|| shortened(formatter.value(row).to_string(), longest))
    };
    Ok((0..batch.num_rows()).map(|row| columns.iter().map(|column| cell(column, row)).collect()).collect())
}

fn shortened(mut text: String, longest: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Rows as CSV with a header.
pub struct CsvRows<W: Write> {
    writer: arrow::csv::Writer<W>,
}

impl<W: Write> CsvRows<W> {
    pub fn new(out: W, schema: &SchemaRef) -> Result<Self> {
        let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
        writer.write(&RecordBatch::new_empty(schema.clone())).map_err(cannot_show)?;
        Ok(Self { writer })
    }
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(cannot_show)
    }
}

/// Rows as JSON, one object a line. Decimals and 64-bit integers keep every digit; NULLs are written as `null`.
pub fn json_lines(out: impl Write, batch: &RecordBatch) -> Result<()> {
    let mut writer =
        arrow::json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow::json::writer::LineDelimited>(out);
    writer.write(batch).and_then(|()| writer.finish()).map_err(cannot_show)
}

fn cannot_show(error: arrow::error::ArrowError) -> Error {
    if let arrow::error::ArrowError::IoError(_, io) = error {
        return Error::from(io);
    }
    Error::new("WEIR-SHOW-001", Kind::Data, "cannot print these rows").caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, record_batch};
    use arrow::datatypes as arrow_schema;
    use std::sync::Arc;

    fn people() -> RecordBatch {
        record_batch!(
            ("id", Int64, [Some(1), None]),
            ("user_email", Utf8, [Some("a@b.c"), None]),
            ("city", Utf8, [Some(""), Some("Oslo")])
        )
        .unwrap()
    }

    #[test]
    fn cells_tell_nulls_from_empty_texts_and_are_cut_at_a_character() {
        let told = cells(&people(), 3).unwrap();
        let text = |text: &str| Some(text.to_string());
        assert_eq!(told, [vec![text("1"), text("a@b…"), text("")], vec![None, None, text("Osl…")]]);
        assert_eq!(shortened("äöü".into(), 3), "äöü");
    }

    #[test]
    fn personal_columns_are_masked_and_nulls_stay_nulls() {
        let (masked, names) = mask(&people()).unwrap();
        assert_eq!(names, ["user_email"]);
        let text = table(&masked.schema(), &[masked]).unwrap();
        assert_eq!(text, "id  user_email  city\n 1  •••         \"\"\n                Oslo\n");
    }

    #[test]
    fn json_keeps_every_digit() {
        let batch =
            RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![9_007_199_254_740_993])) as ArrayRef)]).unwrap();
        let mut out = Vec::new();
        json_lines(&mut out, &batch).unwrap();
        assert_eq!(out, b"{\"n\":9007199254740993}\n");
    }

    #[test]
    fn csv_has_its_header_even_without_rows() {
        let mut out = Vec::new();
        CsvRows::new(&mut out, &people().schema()).unwrap();
        assert_eq!(out, b"id,user_email,city\n");
    }
}
