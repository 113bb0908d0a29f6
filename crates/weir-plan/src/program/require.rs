//! A demand inside a query: what does not keep it ends the run. Transforms write it into their queries; a pipeline file does not.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use weir_error::{Error, Kind};

/// The function's name in queries.
pub(crate) const REQUIRE: &str = "__weir_require";

/// `__weir_require(condition, value, message)`: `value`; where `condition` is not true the run ends with `message`.
///
/// Volatile, so that no optimiser moves it, leaves it out under a filter or asks it about NULLs that are not there.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Require {
    signature: Signature,
}

impl Require {
    pub(crate) fn function() -> ScalarUDF {
        ScalarUDF::from(Self { signature: Signature::any(3, Volatility::Volatile) })
    }
}

/// The error behind a demand that is not kept.
pub(crate) fn unkept(why: impl std::fmt::Display) -> DataFusionError {
    let error = Error::new("WEIR-ROW-004", Kind::Data, "rows are not as the transform demands").because(why);
    DataFusionError::External(Box::new(error))
}

impl ScalarUDFImpl for Require {
    fn name(&self) -> &str {
        REQUIRE
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[1].clone())
    }
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let value = &args.arg_fields[1];
        Ok(Arc::new(Field::new(REQUIRE, value.data_type().clone(), true)))
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [condition, value, message] = args.args.as_slice() else { return internal_err!("a demand has three parts") };
        let condition = condition.to_array(rows)?;
        let Some(kept) = condition.as_boolean_opt() else { return internal_err!("a demand is a truth value") };
        if let Some(row) = (0..kept.len()).find(|&row| kept.is_null(row) || !kept.value(row)) {
            let message = arrow::compute::cast(&message.to_array(rows)?, &DataType::Utf8)?;
            let texts = message.as_string::<i32>();
            return Err(unkept(if texts.is_valid(row) { texts.value(row) } else { "" }));
        }
        Ok(value.clone())
    }
}
