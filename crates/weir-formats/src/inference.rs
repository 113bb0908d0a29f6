//! Stable typing: from texts to the narrowest Arrow type that keeps every one of them, and the union of schemas.

use arrow::datatypes::SchemaRef;
use weir_error::{Error, Result};

pub(crate) fn unify(_files: &[(&str, SchemaRef)]) -> Result<SchemaRef> {
    Err(Error::internal("unify is not there yet"))
}
