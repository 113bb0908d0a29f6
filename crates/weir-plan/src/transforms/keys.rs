//! Which columns may be held against each other as keys: what needs no cast that could bend a value.

use arrow::datatypes::DataType;

use crate::problem::{Problem, code};
use crate::types::show;

/// Whether every value of both types keeps its meaning when the two are compared.
fn exact(left: &DataType, right: &DataType) -> bool {
    use DataType::{Dictionary, LargeUtf8, Utf8, Utf8View};
    if let Dictionary(_, value) = left {
        return exact(value, right);
    }
    if let Dictionary(_, value) = right {
        return exact(left, value);
    }
    let text = |kind: &DataType| matches!(kind, Utf8 | LargeUtf8 | Utf8View);
    left == right
        || text(left) && text(right)
        || left.is_signed_integer() && right.is_signed_integer()
        || left.is_unsigned_integer() && right.is_unsigned_integer()
        // A signed type that is wider holds every value of the unsigned one.
        || left.is_unsigned_integer() && right.is_signed_integer() && left.primitive_width() < right.primitive_width()
        || left.is_signed_integer() && right.is_unsigned_integer() && right.primitive_width() < left.primitive_width()
}

/// An error unless the two columns, each with its name as people know it, can be compared without bending a value.
pub(crate) fn comparable(left: (&str, &DataType), right: (&str, &DataType)) -> Result<(), Problem> {
    if exact(left.1, right.1) {
        return Ok(());
    }
    let told = format!("`{}` is {} and `{}` is {}", left.0, show(left.1), right.0, show(right.1));
    Err(Problem::new(code::TRANSFORM_OPTIONS, format!("keys of two types do not meet: {told}"))
        .help("cast one of them before, with the `cast` transform"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_meet_where_nothing_is_lost_and_other_types_only_themselves() {
        use DataType::*;
        for (left, right) in [(Int32, Int64), (UInt8, UInt64), (UInt32, Int64), (Utf8, LargeUtf8), (Date32, Date32)] {
            assert!(exact(&left, &right) && exact(&right, &left), "{left} {right}");
        }
        for (left, right) in [(UInt64, Int64), (Int32, Utf8), (Int64, Float64), (Float32, Float64), (Date32, Utf8)] {
            assert!(!exact(&left, &right) && !exact(&right, &left), "{left} {right}");
        }
        let narrow = Decimal128(10, 2);
        assert!(!exact(&narrow, &Decimal128(10, 3)));
    }
}
