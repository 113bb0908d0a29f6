//! `now()` and its relatives, fixed for one plan.
//!
//! Every row, lane and sink of one attempt sees the same moment: the one at which the plan was made, which is the start of
//! the attempt. An attempt that resumes an interrupted run is planned again and has its own moment; rows that were durable
//! before keep the earlier one. The type is `timestamp[us, UTC]`, because microseconds are what databases keep.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// The functions that tell the time, all telling `now`.
pub(crate) fn functions(now: DateTime<Utc>) -> Vec<ScalarUDF> {
    [Reading::Instant, Reading::Date, Reading::Time].map(|reading| ScalarUDF::from(Clock::new(reading, now))).into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Reading {
    Instant,
    Date,
    Time,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Clock {
    reading: Reading,
    micros: i64,
    signature: Signature,
    aliases: Vec<String>,
}

impl Clock {
    fn new(reading: Reading, now: DateTime<Utc>) -> Self {
        let aliases: &[&str] = match reading {
            Reading::Instant => &["current_timestamp"],
            Reading::Date => &["today"],
            Reading::Time => &[],
        };
        Self {
            reading,
            micros: now.timestamp_micros(),
            signature: Signature::nullary(Volatility::Stable),
            aliases: aliases.iter().map(ToString::to_string).collect(),
        }
    }

    fn value(&self) -> ScalarValue {
        const DAY: i64 = 86_400_000_000;
        match self.reading {
            Reading::Instant => ScalarValue::TimestampMicrosecond(Some(self.micros), Some(Arc::from("UTC"))),
            Reading::Date => ScalarValue::Date32(i32::try_from(self.micros.div_euclid(DAY)).ok()),
            Reading::Time => ScalarValue::Time64Microsecond(Some(self.micros.rem_euclid(DAY))),
        }
    }
}

impl ScalarUDFImpl for Clock {
    fn name(&self) -> &str {
        match self.reading {
            Reading::Instant => "now",
            Reading::Date => "current_date",
            Reading::Time => "current_time",
        }
    }
    fn aliases(&self) -> &[String] {
        &self.aliases
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.reading {
            Reading::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Reading::Date => DataType::Date32,
            Reading::Time => DataType::Time64(TimeUnit::Microsecond),
        })
    }
    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value()))
    }
    fn simplify(&self, _: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(self.value(), None)))
    }
}
