//! Several rows for one: a function that gives a list of structs, its elements as rows, and the parts of these as columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Column, UnnestOptions, exec_err};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};

use super::part::part;
use crate::chain::{Chain, OWN};

/// Every row of the input once for each element of the list that `list` makes of it. The columns that `keep` names come first, then
/// `parts`: new name ← part of the element. A list without elements leaves nothing of its row.
pub(super) fn lower(
    chain: &mut Chain<'_>,
    list: impl FnOnce(&[Column]) -> Expr,
    keep: &[String],
    parts: &[(String, &str)],
) -> Result<()> {
    let element = format!("{OWN}element");
    chain.plan(|_, input| {
        let columns = input.schema().columns();
        let mut with: Vec<Expr> = columns.iter().cloned().map(Expr::Column).collect();
        with.push(list(&columns).alias(&element));
        let mut after: Vec<Expr> = Vec::new();
        for name in keep {
            after.extend(columns.iter().filter(|column| column.name == *name).cloned().map(Expr::Column));
        }
        for (name, inner) in parts {
            let element = Expr::Column(Column::from_name(element.clone()));
            after.push(part(element, *inner).alias(name));
        }
        let options = UnnestOptions { preserve_nulls: false, recursions: Vec::new() };
        LogicalPlanBuilder::from(input)
            .project(with)?
            .unnest_column_with_options(Column::from_name(element.clone()), options)?
            .project(after)?
            .build()
    })
}

/// The type of such a list.
pub(super) fn list_of(parts: Vec<Field>) -> DataType {
    DataType::List(element(Fields::from(parts)))
}

fn element(fields: Fields) -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(fields), true))
}

/// The list: `lengths[row]` elements for each row, with these parts one after another.
pub(super) fn build(fields: Vec<Field>, parts: Vec<ArrayRef>, lengths: &[usize]) -> Result<ArrayRef> {
    let total: usize = lengths.iter().sum();
    if i32::try_from(total).is_err() {
        return exec_err!("one batch would become {total} rows");
    }
    let fields = Fields::from(fields);
    let elements = StructArray::try_new_with_length(fields.clone(), parts, None, total)?;
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Ok(Arc::new(ListArray::try_new(element(fields), offsets, Arc::new(elements), None)?))
}

/// The elements of any kind of list, as the common one.
pub(super) fn as_list(array: &ArrayRef) -> Result<ListArray> {
    let array = match array.data_type() {
        DataType::List(_) => array.clone(),
        DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => arrow::compute::cast(array, &DataType::List(item.clone()))?,
        other => return exec_err!("{other} is no list"),
    };
    Ok(ListArray::from(array.to_data()))
}

/// What a list holds.
pub(super) fn item_of(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => Some(item),
        _ => None,
    }
}
