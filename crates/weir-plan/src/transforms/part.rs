//! A part of a struct as an expression.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The part of that name; NULL where the struct is NULL, whatever lies under it.
///
/// Not DataFusion's own function: that shows what lies under a NULL, and its optimiser moves it below an unnest.
pub(super) fn part(of: Expr, name: impl Into<String>) -> Expr {
    let function = Part { name: name.into(), signature: Signature::any(1, Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![of]))
}

/// The function behind it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) name: String,
    signature: Signature,
}

impl ScalarUDFImpl for Part {
    fn name(&self) -> &str {
        "__weir_part"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match &types[0] {
            DataType::Struct(fields) => match fields.find(&self.name) {
                Some((_, field)) => Ok(field.data_type().clone()),
                None => plan_err!("there is no part `{}`", self.name),
            },
            other => plan_err!("{other} has no parts"),
        }
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let whole = args.args[0].to_array(args.number_rows)?;
        let Some(part) = whole.as_struct_opt().and_then(|whole| whole.column_by_name(&self.name)) else {
            return plan_err!("there is no part `{}`", self.name);
        };
        Ok(ColumnarValue::Array(match whole.null_count() {
            0 => part.clone(),
            _ => arrow::compute::nullif(part, &arrow::compute::is_null(&whole)?)?,
        }))
    }
}
