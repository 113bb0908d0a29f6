//! `sum` that fails instead of wrapping around.
//!
//! DataFusion adds integers and decimals with wrapping arithmetic. Here they are added in the next wider decimal, where no number
//! of rows that a machine can read overflows, and the total is cast back with a check. The result types are DataFusion's, so a
//! plan's columns do not change. Floating point and durations stay what DataFusion has.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef};
use arrow::util::display::FormatOptions;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature};

/// The function; it takes the place of DataFusion's `sum`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CheckedSum {
    inner: Sum,
}

/// The type in which values of a result type are added up; `None` where DataFusion's own sum is as good.
fn wide(result: &DataType) -> Option<DataType> {
    match result {
        DataType::Int64 | DataType::UInt64 => Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0)),
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) => {
            Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale))
        }
        // Below the full precision there are ten digits to spare.
        DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale) => Some(DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale)),
        _ => None,
    }
}

/// Makes DataFusion's accumulator over the wider type.
fn widened<T>(args: &AccumulatorArgs, wide: &DataType, make: impl Fn(AccumulatorArgs) -> Result<T>) -> Result<Widened<T>> {
    let retyped = |field: &FieldRef| Arc::new(Field::clone(field).with_data_type(wide.clone()));
    let fields: Vec<FieldRef> = args.expr_fields.iter().map(retyped).collect();
    let inner = make(AccumulatorArgs {
        return_field: retyped(&args.return_field),
        expr_fields: &fields,
        schema: args.schema,
        ignore_nulls: args.ignore_nulls,
        order_bys: args.order_bys,
        is_reversed: args.is_reversed,
        name: args.name,
        is_distinct: args.is_distinct,
        exprs: args.exprs,
    })?;
    Ok(Widened { inner, wide: wide.clone(), result: args.return_type().clone() })
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        "sum"
    }
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }
    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match wide(args.return_type()) {
            None => self.inner.state_fields(args),
            Some(wide) => {
                let field = Field::clone(&args.return_field).with_data_type(wide);
                self.inner.state_fields(StateFieldsArgs { return_field: field.into(), ..args })
            }
        }
    }
    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match wide(args.return_type()) {
            None => self.inner.accumulator(args),
            Some(wide) => Ok(Box::new(widened(&args, &wide, |args| self.inner.accumulator(args))?)),
        }
    }
    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match wide(args.return_type()) {
            // DataFusion's sliding distinct sum knows 64-bit integers only.
            Some(wide) if !args.is_distinct => {
                Ok(Box::new(widened(&args, &wide, |args| self.inner.create_sliding_accumulator(args))?))
            }
            _ => self.inner.create_sliding_accumulator(args),
        }
    }
    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }
    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match wide(args.return_type()) {
            None => self.inner.create_groups_accumulator(args),
            Some(wide) => Ok(Box::new(widened(&args, &wide, |args| self.inner.create_groups_accumulator(args))?)),
        }
    }
    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// An accumulator behind two casts: its input to the wider type, its result back with a check.
#[derive(Debug)]
struct Widened<T> {
    inner: T,
    wide: DataType,
    result: DataType,
}

impl<T> Widened<T> {
    fn widen(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        values.iter().map(|array| cast(array, &self.wide)).collect()
    }
    fn narrow(&self, array: &ArrayRef) -> Result<ArrayRef> {
        cast(array, &self.result).map_err(|error| {
            DataFusionError::Execution(format!(
                "overflow: a sum does not fit {}; cast the argument to a wider type, for example sum(CAST(x AS DECIMAL(38, 0))) ({error})",
                self.result
            ))
        })
    }
}

fn cast(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    Ok(cast_with_options(array, to, &options)?)
}

impl Accumulator for Widened<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = self.widen(values)?;
        self.inner.update_batch(&values)
    }
    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = self.widen(values)?;
        self.inner.retract_batch(&values)
    }
    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
    fn evaluate(&mut self) -> Result<ScalarValue> {
        let total = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.narrow(&total)?, 0)
    }
    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }
    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

impl GroupsAccumulator for Widened<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        let values = self.widen(values)?;
        self.inner.update_batch(&values, groups, filter, total_groups)
    }
    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total_groups: usize,
    ) -> Result<()> {
        self.inner.merge_batch(values, groups, filter, total_groups)
    }
    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let totals = self.inner.evaluate(emit_to)?;
        self.narrow(&totals)
    }
    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }
    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&self.widen(values)?, filter)
    }
    fn supports_convert_to_state(&self) -> bool {
        self.inner.supports_convert_to_state()
    }
    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}
