//! Batches of self-describing files to the stream's schema: columns by name, types only ever widened, every value checked.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use weir_error::{Error, Kind, Result};

use crate::columns::broken;
use crate::csv::decode::{extra_column, missing_column};
use crate::options::ExtraColumns;

/// How a file's columns become the stream's.
#[derive(Debug, Clone)]
pub(crate) struct Conform {
    schema: SchemaRef,
    /// Per column of the stream: its place among the columns that are read.
    places: Vec<Option<usize>>,
    /// Names of the file's columns that are needed, by their place in the file.
    pub(crate) needed: Vec<usize>,
}

impl Conform {
    /// Matches the schemas.
    ///
    /// # Errors
    /// A required column is missing, a column is too many, or a type does not widen into the wanted one.
    pub(crate) fn new(file: &Schema, schema: SchemaRef, extra: ExtraColumns) -> Result<Self> {
        let mut needed = Vec::new();
        for (at, field) in file.fields().iter().enumerate() {
            match schema.field_with_name(field.name()) {
                Ok(wanted) => {
                    if !widens(field.data_type(), wanted.data_type()) {
                        return Err(Error::new(
                            "WEIR-FMT-029",
                            Kind::Schema,
                            format!("column `{}` is {} in this file", field.name(), field.data_type()),
                        )
                        .because(format!("the stream has it as {}", wanted.data_type()))
                        .hint("read the files as separate streams, or declare a type under `columns` that holds both"));
                    }
                    needed.push(at);
                }
                Err(_) if extra == ExtraColumns::Error => return Err(extra_column(field.name())),
                Err(_) => {}
            }
        }
        let places = schema
            .fields()
            .iter()
            .map(|field| {
                let place = needed.iter().position(|at| file.field(*at).name() == field.name());
                if place.is_none() && !field.is_nullable() { Err(missing_column(field.name())) } else { Ok(place) }
            })
            .collect::<Result<_>>()?;
        Ok(Self { schema, places, needed })
    }

    /// A batch of the needed columns, in the order of the file, in the stream's schema.
    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(self.places.len());
        for (field, place) in self.schema.fields().iter().zip(&self.places) {
            let column = match place {
                None => new_null_array(field.data_type(), batch.num_rows()),
                Some(place) => widened(batch.column(*place), field.data_type(), field.name())?,
            };
            if !field.is_nullable() && column.logical_null_count() > 0 {
                return Err(Error::new("WEIR-FMT-107", Kind::Data, format!("column `{}` may not be NULL", field.name())));
            }
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(broken)
    }
}

/// Whether every value of `from` has a counterpart in `to` (or, for 64-bit numbers in floating point and timestamps in finer units, may
/// have one: those are checked value by value).
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    if from == to {
        return true;
    }
    match (from, to) {
        (D::Null, _) => true,
        (D::Dictionary(_, value), to) => widens(value, to),
        (from, to) if from.is_integer() && to.is_integer() => true,
        (from, D::Float32 | D::Float64) if from.is_integer() => true,
        (from, D::Decimal128(..) | D::Decimal256(..)) if from.is_integer() || from.is_decimal() => true,
        (D::Float16, D::Float32 | D::Float64) | (D::Float32, D::Float64) => true,
        (D::Utf8 | D::LargeUtf8 | D::Utf8View, D::Utf8 | D::LargeUtf8 | D::Utf8View) => true,
        (D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_), D::Binary | D::LargeBinary | D::BinaryView) => true,
        (D::Date32, D::Date64) => true,
        (D::Time32(_) | D::Time64(_), D::Time32(_) | D::Time64(_)) => true,
        (D::Timestamp(_, from), D::Timestamp(_, to)) => from.is_some() == to.is_some(),
        (from, D::Utf8) => {
            from.is_integer()
                || from.is_decimal()
                || matches!(
                    from,
                    D::Boolean | D::Float32 | D::Float64 | D::Date32 | D::Timestamp(..) | D::Time32(_) | D::Time64(_)
                )
        }
        (D::List(a) | D::LargeList(a), D::List(b) | D::LargeList(b)) => widens(a.data_type(), b.data_type()),
        (D::Struct(a), D::Struct(b)) => {
            a.iter().all(|field| b.find(field.name()).is_some_and(|(_, wanted)| widens(field.data_type(), wanted.data_type())))
                && a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| a.name() == b.name())
        }
        (D::Map(a, _), D::Map(b, _)) => widens(a.data_type(), b.data_type()) || same_shape(a.data_type(), b.data_type()),
        _ => false,
    }
}

fn same_shape(a: &DataType, b: &DataType) -> bool {
    match (a, b) {
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| widens(a.data_type(), b.data_type()))
        }
        _ => false,
    }
}

fn widened(column: &ArrayRef, to: &DataType, name: &str) -> Result<ArrayRef> {
    let from = column.data_type();
    if from == to {
        return Ok(column.clone());
    }
    if from == &DataType::Null {
        return Ok(new_null_array(to, column.len()));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let lost = |why: String| {
        Error::new("WEIR-FMT-103", Kind::Data, format!("column `{name}` has a value that {to} does not hold"))
            .because(why)
            .hint("declare a wider type under `columns`")
    };
    // Dates and timestamps as text are written as everywhere else here.
    if to == &DataType::Utf8
        && let Some((_, write)) = crate::cells::scalar_text(column.as_ref())
    {
        let mut builder = arrow::array::StringBuilder::new();
        let mut text = Vec::new();
        for row in 0..column.len() {
            if column.is_null(row) {
                builder.append_null();
            } else {
                text.clear();
                write(row, &mut text);
                builder.append_value(String::from_utf8_lossy(&text));
            }
        }
        return Ok(std::sync::Arc::new(builder.finish()));
    }
    let result = cast_with_options(column, to, &strict).map_err(|error| lost(error.to_string()))?;
    let may_lose = matches!(
        (from, to),
        (DataType::Int64 | DataType::UInt64 | DataType::Int32 | DataType::UInt32, DataType::Float32 | DataType::Float64)
            | (DataType::Timestamp(..), DataType::Timestamp(..))
            | (DataType::Time32(_) | DataType::Time64(_), DataType::Time32(_) | DataType::Time64(_))
    ) || from.is_decimal();
    if may_lose {
        let back = cast_with_options(&result, from, &strict).map_err(|error| lost(error.to_string()))?;
        if back.to_data() != column.to_data() {
            return Err(lost("a value would be rounded".into()));
        }
    }
    Ok(result)
}
