//! The contract of a dataset: what a new run's columns may do to the columns that are there.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use weir_connect::SchemaChangePolicy;
use weir_error::{Error, Kind, Result};

use super::manifest::bare;

/// What a run writes and what the dataset is afterwards.
#[derive(Debug, Clone)]
pub(crate) struct Contract {
    /// Schema of the files of this run.
    pub write: SchemaRef,
    /// Schema of the dataset after the commit.
    pub dataset: SchemaRef,
    /// What changes, for `weir plan`.
    pub changes: Vec<String>,
}

/// Compares. Columns are matched by name; a column that the run lacks stays and is NULL in its files.
///
/// # Errors
/// `WEIR-FILE-040` when the policy or the types forbid it.
pub(crate) fn reconcile(existing: Option<SchemaRef>, incoming: &SchemaRef, policy: SchemaChangePolicy) -> Result<Contract> {
    let incoming = bare(incoming);
    let Some(existing) = existing else {
        return Ok(Contract { write: incoming.clone(), dataset: incoming, changes: vec![] });
    };
    let (mut write, mut changes) = (vec![], vec![]);
    let mut dataset: Vec<Arc<Field>> = existing.fields().iter().cloned().collect();
    for field in incoming.fields() {
        let Some(at) = dataset.iter().position(|old| old.name() == field.name()) else {
            match policy {
                SchemaChangePolicy::DiscardColumn => changes.push(format!("leave out new column {}", field.name())),
                SchemaChangePolicy::Evolve => {
                    changes.push(format!("add column {} {}", field.name(), field.data_type()));
                    dataset.push(Arc::new(field.as_ref().clone().with_nullable(true)));
                    write.push(field.clone());
                }
                _ => return Err(refused(policy, format!("column `{}` is new", field.name()))),
            }
            continue;
        };
        let old = dataset[at].clone();
        let data_type = match common(old.data_type(), field.data_type()) {
            Some(data_type) => data_type,
            None => {
                return Err(Error::new("WEIR-FILE-040", Kind::Schema, format!("column `{}` changed its type", field.name()))
                    .because(format!(
                        "the dataset has {}, the run brings {}, and neither holds every value of the other",
                        old.data_type(),
                        field.data_type()
                    ))
                    .hint("cast the column in a transform, or write to a new place"));
            }
        };
        if &data_type != old.data_type() {
            if policy != SchemaChangePolicy::Evolve {
                return Err(refused(
                    policy,
                    format!("column `{}` is {} there and {} here", field.name(), old.data_type(), field.data_type()),
                ));
            }
            changes.push(format!("widen column {} from {} to {data_type}", field.name(), old.data_type()));
        }
        let nullable = old.is_nullable() || field.is_nullable();
        write.push(Arc::new(field.as_ref().clone().with_data_type(data_type.clone())));
        dataset[at] = Arc::new(old.as_ref().clone().with_data_type(data_type).with_nullable(nullable));
    }
    for field in &mut dataset {
        if incoming.field_with_name(field.name()).is_err() {
            if policy == SchemaChangePolicy::Freeze || policy == SchemaChangePolicy::Hold {
                return Err(refused(policy, format!("column `{}` is missing", field.name())));
            }
            changes.push(format!("column {} is missing and becomes NULL", field.name()));
            *field = Arc::new(field.as_ref().clone().with_nullable(true));
        }
    }
    Ok(Contract { write: Arc::new(Schema::new(write)), dataset: Arc::new(Schema::new(dataset)), changes })
}

fn refused(policy: SchemaChangePolicy, why: String) -> Error {
    let (word, hint) = match policy {
        SchemaChangePolicy::Hold => ("hold", "approve the change by running once with `on_schema_change: evolve`"),
        SchemaChangePolicy::DiscardRow => {
            ("discard_row", "`discard_row` is for new columns: cast this one, or use `on_schema_change: evolve`")
        }
        _ => ("freeze", "use `on_schema_change: evolve`, or map the columns in a transform"),
    };
    Error::new("WEIR-FILE-041", Kind::Schema, format!("the schema changed and `on_schema_change: {word}` forbids it"))
        .because(why)
        .hint(hint)
}

/// The smaller type that holds every value of both exactly.
fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType as T;
    if a.equals_datatype(b) {
        return Some(a.clone());
    }
    if *a == T::Null || holds(b, a) {
        return Some(b.clone());
    }
    if *b == T::Null || holds(a, b) {
        return Some(a.clone());
    }
    None
}

/// Whether `wide` holds every value of `narrow` as itself.
fn holds(wide: &DataType, narrow: &DataType) -> bool {
    use DataType as T;
    let text = |t: &T| matches!(t, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let binary = |t: &T| matches!(t, T::Binary | T::LargeBinary | T::BinaryView);
    match (wide, narrow) {
        _ if text(wide) && text(narrow) || binary(wide) && binary(narrow) => true,
        (wide, T::Dictionary(_, values)) => wide == values.as_ref() || holds(wide, values),
        (T::Float64, T::Float32) => true,
        (T::Float64, narrow) if narrow.is_integer() => bits(narrow) <= 32,
        (T::Float32, narrow) if narrow.is_integer() => bits(narrow) <= 16,
        (T::Decimal128(p, s) | T::Decimal256(p, s), T::Decimal128(q, t) | T::Decimal256(q, t)) => {
            s >= t && i16::from(*p) - i16::from(*s) >= i16::from(*q) - i16::from(*t)
        }
        (T::Decimal128(p, s) | T::Decimal256(p, s), narrow) if narrow.is_integer() => {
            let digits = match bits(narrow) {
                8 => 3,
                16 => 5,
                32 => 10,
                _ => 20,
            };
            i16::from(*p) - i16::from(*s) >= digits
        }
        (wide, narrow) if wide.is_integer() && narrow.is_integer() => {
            match (wide.is_signed_integer(), narrow.is_signed_integer()) {
                (true, false) => bits(wide) > bits(narrow),
                (false, true) => false,
                _ => bits(wide) >= bits(narrow),
            }
        }
        (T::Timestamp(wide, a), T::Timestamp(narrow, b)) => {
            a == b && *wide == TimeUnit::Microsecond && *narrow != TimeUnit::Nanosecond
        }
        _ => false,
    }
}

fn bits(data_type: &DataType) -> usize {
    data_type.primitive_width().map_or(0, |bytes| bytes * 8)
}

/// The batch in the schema of the files: columns by name, types widened.
pub(crate) fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let column = batch
                .column_by_name(field.name())
                .ok_or_else(|| Error::new("WEIR-FILE-042", Kind::Schema, format!("a batch lacks column `{}`", field.name())))?;
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            cast_with_options(column, field.data_type(), &CastOptions { safe: false, ..CastOptions::default() }).map_err(
                |error| {
                    Error::new("WEIR-FILE-043", Kind::Data, format!("column `{}` does not fit its type", field.name()))
                        .caused_by(error)
                },
            )
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|error| Error::new("WEIR-FILE-043", Kind::Data, "a batch does not fit the schema of its file").caused_by(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
        Arc::new(Schema::new(fields.iter().map(|(name, t)| Field::new(*name, t.clone(), true)).collect::<Vec<_>>()))
    }

    #[test]
    fn evolving_adds_and_widens_and_never_narrows() {
        let old = schema(&[("a", DataType::Int32), ("b", DataType::Int64), ("gone", DataType::Utf8)]);
        let new = schema(&[("b", DataType::Int32), ("a", DataType::Int64), ("c", DataType::Utf8)]);
        let contract = reconcile(Some(old), &new, SchemaChangePolicy::Evolve).unwrap();
        let types: Vec<_> = contract.dataset.fields().iter().map(|f| (f.name().as_str(), f.data_type().clone())).collect();
        assert_eq!(types, [("a", DataType::Int64), ("b", DataType::Int64), ("gone", DataType::Utf8), ("c", DataType::Utf8)]);
        assert_eq!(contract.write.field_with_name("b").unwrap().data_type(), &DataType::Int64);
    }

    #[test]
    fn a_type_that_cannot_hold_the_other_is_refused() {
        let text = schema(&[("a", DataType::Utf8)]);
        let number = schema(&[("a", DataType::Int64)]);
        assert_eq!(reconcile(Some(text), &number, SchemaChangePolicy::Evolve).unwrap_err().code(), "WEIR-FILE-040");
        assert!(!holds(&DataType::Float64, &DataType::Int64));
        assert!(!holds(&DataType::Decimal128(10, 2), &DataType::Decimal128(10, 3)));
    }

    #[test]
    fn freezing_refuses_any_difference_and_accepts_none() {
        let old = schema(&[("a", DataType::Int32)]);
        let more = schema(&[("a", DataType::Int32), ("b", DataType::Int32)]);
        assert!(reconcile(Some(old.clone()), &old, SchemaChangePolicy::Freeze).is_ok());
        for other in [more, schema(&[("a", DataType::Int64)]), schema(&[])] {
            assert_eq!(reconcile(Some(old.clone()), &other, SchemaChangePolicy::Freeze).unwrap_err().code(), "WEIR-FILE-041");
        }
    }
}
