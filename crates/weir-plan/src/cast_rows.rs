//! Converting columns row by row: which rows convert exactly, and what becomes of the others.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions as ArrowCast, and, cast_with_options, filter_record_batch, is_null, not, or};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_connect::{DeadLetter, Error, Kind, Result};

use crate::transforms::{CastOptions, OnCastError};
use crate::types;

/// A compiled `cast`.
#[derive(Debug, Clone)]
pub struct CastRows {
    targets: Vec<(usize, DataType)>,
    on_error: OnCastError,
    accept_loss: bool,
    /// Schema of the result.
    pub schema: SchemaRef,
    node: String,
}

impl CastRows {
    /// Compiles the options for a schema. `node` names the transform in dead letters.
    pub fn new(options: &CastOptions, schema: &Schema, node: &str) -> Result<Self> {
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        let mut targets = Vec::new();
        for (name, word) in &options.columns {
            let kind = types::parse(word)?;
            let Some((index, field)) = schema.fields().find(name) else {
                let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                return Err(crate::transforms::missing(name, &known));
            };
            if !arrow::compute::can_cast_types(field.data_type(), &kind) {
                return Err(Error::new(
                    "WEIR-PLAN-025",
                    Kind::Spec,
                    format!(
                        "column `{name}` cannot be converted from {} to {}",
                        types::print(field.data_type()),
                        types::print(&kind)
                    ),
                ));
            }
            let nullable = field.is_nullable() || options.on_error == OnCastError::Null;
            fields[index] = Arc::new(Field::new(name, kind.clone(), nullable));
            targets.push((index, kind));
        }
        let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        Ok(Self { targets, on_error: options.on_error, accept_loss: options.accept_loss, schema, node: node.to_owned() })
    }

    /// Converts a batch. Rows that do not convert are dead letters, NULLs or an error, as the options say.
    pub fn apply(&self, batch: &RecordBatch, stream: &str) -> Result<(RecordBatch, Vec<DeadLetter>)> {
        let mut columns = batch.columns().to_vec();
        let mut bad: Option<BooleanArray> = None;
        let mut first_bad: Vec<(usize, BooleanArray)> = Vec::new();
        for (index, kind) in &self.targets {
            let source = batch.column(*index);
            let safe = ArrowCast { safe: true, ..ArrowCast::default() };
            let converted = cast_with_options(source, kind, &safe).map_err(internal)?;
            let failing = self.failing(source, &converted, kind)?;
            if failing.true_count() > 0 {
                match self.on_error {
                    OnCastError::Null => {
                        columns[*index] = arrow::compute::nullif(&converted, &failing).map_err(internal)?;
                        continue;
                    }
                    OnCastError::Error => {
                        let row = (0..failing.len()).find(|&row| failing.value(row)).unwrap_or_default();
                        return Err(self.error(source, row, *index, kind));
                    }
                    OnCastError::DeadLetter => {
                        bad = Some(match &bad {
                            Some(others) => or(others, &failing).map_err(internal)?,
                            None => failing.clone(),
                        });
                        first_bad.push((*index, failing));
                    }
                }
            }
            columns[*index] = converted;
        }
        let Some(bad) = bad else {
            return Ok((self.build(columns)?, Vec::new()));
        };
        let good = not(&bad).map_err(internal)?;
        let mut dead = Vec::new();
        for row in (0..bad.len()).filter(|&row| bad.value(row)) {
            let Some((index, _)) = first_bad.iter().find(|(_, failing)| failing.value(row)) else { continue };
            let kind = self.schema.field(*index).data_type();
            dead.push(self.letter(batch, row, *index, kind, stream)?);
        }
        // Only the good rows may enter the new schema: a failed value is NULL here, and the column may not allow it.
        let columns = columns
            .iter()
            .map(|column| arrow::compute::filter(column, &good))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(internal)?;
        Ok((self.build(columns)?, dead))
    }

    fn build(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        RecordBatch::try_new(self.schema.clone(), columns).map_err(internal)
    }

    /// Rows whose value is there but did not arrive as itself.
    fn failing(&self, source: &ArrayRef, converted: &ArrayRef, kind: &DataType) -> Result<BooleanArray> {
        let vanished = and(&is_null(converted).map_err(internal)?, &not(&is_null(source).map_err(internal)?).map_err(internal)?)
            .map_err(internal)?;
        if self.accept_loss {
            return Ok(vanished);
        }
        let safe = ArrowCast { safe: true, ..ArrowCast::default() };
        // Text may be written in several ways, so the way back is compared only where both sides are values; a decimal read from
        // text is compared at a finer scale, because Arrow rounds surplus digits.
        let (before, after) = match (source.data_type(), kind) {
            (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, DataType::Decimal128(precision, scale)) => {
                let finer = (*scale as i16 + 9).clamp(0, 38 - (i16::from(*precision) - i16::from(*scale)).max(0)) as i8;
                let wide = DataType::Decimal128(38, finer.max(*scale));
                (
                    cast_with_options(source, &wide, &safe).map_err(internal)?,
                    cast_with_options(converted, &wide, &safe).map_err(internal)?,
                )
            }
            (from, to) if is_text(from) || is_text(to) => return Ok(vanished),
            (from, _) => (source.clone(), cast_with_options(converted, from, &safe).map_err(internal)?),
        };
        let same = not_distinct(&before, &after).map_err(internal)?;
        let changed = and(&not(&same).map_err(internal)?, &not(&is_null(source).map_err(internal)?).map_err(internal)?)
            .map_err(internal)?;
        or(&vanished, &changed).map_err(internal)
    }

    fn error(&self, source: &ArrayRef, row: usize, index: usize, kind: &DataType) -> Error {
        Error::new(
            "WEIR-RUN-060",
            Kind::Data,
            format!("a value of `{}` does not convert to {}", self.schema.field(index).name(), types::print(kind)),
        )
        .at(format!("transform `{}`", self.node))
        .because(format!("the value is {}", shown(source, row)))
        .hint("use on_error: dead_letter to set such rows aside, or null to empty the value")
    }

    fn letter(&self, batch: &RecordBatch, row: usize, index: usize, kind: &DataType, stream: &str) -> Result<DeadLetter> {
        let one = batch.slice(row, 1);
        let mut payload = Vec::new();
        let mut writer = arrow::json::LineDelimitedWriter::new(&mut payload);
        let written = writer.write(&one).and_then(|()| writer.finish());
        drop(writer);
        if written.is_err() {
            payload = format!("{one:?}").into_bytes();
        }
        Ok(DeadLetter {
            stream: stream.to_owned(),
            code: "WEIR-RUN-060".into(),
            reason: format!(
                "`{}` is {}, which is not exactly a {}",
                self.schema.field(index).name(),
                shown(batch.column(index), row),
                types::print(kind)
            ),
            place: format!("transform `{}`", self.node),
            payload,
            media_type: "application/x-ndjson".into(),
        })
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// A value for a message, at most 60 characters.
fn shown(column: &ArrayRef, row: usize) -> String {
    let text = arrow::util::display::array_value_to_string(column, row).unwrap_or_else(|_| "not printable".into());
    if text.chars().count() > 60 { format!("`{}…`", text.chars().take(60).collect::<String>()) } else { format!("`{text}`") }
}

fn internal(error: arrow::error::ArrowError) -> Error {
    Error::internal("a column could not be converted").caused_by(error)
}

/// Keeps the rows of a predicate; NULL is not true. Returns the batch and the number taken out.
pub fn filter(batch: &RecordBatch, predicate: &ArrayRef) -> Result<(RecordBatch, u64)> {
    let keep = predicate
        .as_any()
        .downcast_ref::<BooleanArray>()
        .ok_or_else(|| Error::internal("a filter did not give true or false"))?;
    let kept = filter_record_batch(batch, keep).map_err(internal)?;
    let out = (batch.num_rows() - kept.num_rows()) as u64;
    Ok((kept, out))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, StringArray};

    use super::*;

    fn cast(column: ArrayRef, word: &str, on_error: OnCastError) -> Result<(RecordBatch, Vec<DeadLetter>)> {
        let schema = Arc::new(Schema::new(vec![Field::new("v", column.data_type().clone(), true)]));
        let options = CastOptions { columns: [("v".to_owned(), word.to_owned())].into(), on_error, accept_loss: false };
        let rows = CastRows::new(&options, &schema, "cast")?;
        rows.apply(&RecordBatch::try_new(schema, vec![column]).unwrap(), "s")
    }

    #[test]
    fn digits_are_never_rounded_away() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("1.25"), Some("1.239"), Some("x"), None]));
        let (batch, dead) = cast(text, "decimal(10,2)", OnCastError::DeadLetter).unwrap();
        assert_eq!(batch.num_rows(), 2, "1.25 and NULL");
        assert_eq!(dead.len(), 2);
        assert!(dead[0].reason.contains("1.239"), "{}", dead[0].reason);
    }

    #[test]
    fn a_float_with_a_fraction_is_no_integer() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 1.5, f64::NAN, 1e300]));
        let (batch, dead) = cast(floats.clone(), "int64", OnCastError::DeadLetter).unwrap();
        assert_eq!((batch.num_rows(), dead.len()), (1, 3));
        let (batch, _) = cast(floats.clone(), "int64", OnCastError::Null).unwrap();
        assert_eq!((batch.num_rows(), batch.column(0).null_count()), (4, 3));
        assert_eq!(cast(floats, "int64", OnCastError::Error).unwrap_err().code(), "WEIR-RUN-060");
    }
}
