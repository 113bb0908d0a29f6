//! What a batch is turned into before a binary format's encoder takes it: types that the format has no word for become the
//! next one that holds their values. [`crate::sink_type`] tells the user the same.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_error::{Error, Kind, Result};

use crate::columns::broken;
use crate::format::Format;

/// The type a column is stored in.
pub(crate) fn stored_type(format: Format, data_type: &DataType) -> DataType {
    let inner = |field: &Field| Arc::new(stored_field(format, field));
    match data_type {
        other if format == Format::Orc => crate::orc::stored_type(other),
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Date64 => DataType::Date32,
        DataType::UInt64 if format == Format::Avro => DataType::Decimal128(20, 0),
        DataType::Time64(TimeUnit::Nanosecond) if format == Format::Avro => DataType::Time64(TimeUnit::Microsecond),
        DataType::Dictionary(_, value) => stored_type(format, value),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::FixedSizeList(item, width) => DataType::FixedSizeList(inner(item), *width),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| stored_field(format, field)).collect()),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other => other.clone(),
    }
}

fn stored_field(format: Format, field: &Field) -> Field {
    let stored = field.clone().with_data_type(stored_type(format, field.data_type()));
    // Avro's encoder takes names and logical types from metadata that it knows; ours means nothing to it.
    if format == Format::Avro { stored.with_metadata(Default::default()) } else { stored }
}

/// The schema that is stored.
pub(crate) fn stored_schema(format: Format, schema: &Schema) -> SchemaRef {
    let fields: Vec<Field> = schema.fields().iter().map(|field| stored_field(format, field)).collect();
    let metadata = if format == Format::Avro { Default::default() } else { schema.metadata().clone() };
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// A batch in the schema that is stored.
pub(crate) fn stored_batch(batch: &RecordBatch, stored: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(stored.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            let strict = arrow::compute::CastOptions { safe: false, ..Default::default() };
            arrow::compute::cast_with_options(column, field.data_type(), &strict).map_err(|error| {
                Error::new("WEIR-FMT-031", Kind::Data, format!("column `{}` has a value out of range", field.name()))
                    .because(error)
            })
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(stored.clone(), columns, &options).map_err(broken)
}
