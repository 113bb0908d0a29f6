//! The columns of the state: those of the table, all nullable, and the mark of soft deletes; and what a change of them does to the rows that are there.
//!
//! | change | files |
//! | --- | --- |
//! | a column is added that older rows have no value of, or is lost | stay as they are: readers find NULL in the older ones |
//! | a column is added with a value for older rows, renamed, or widened | are all written anew, with the flush: one schema for every reader |

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::TryStreamExt;
use weir_connect::fidelity::FILL;
use weir_connect::{DeleteMode, SchemaChange, SchemaChangePolicy, StreamTarget};
use weir_error::{Error, Kind, Result};

use super::super::super::rewrite::{batch_of, found, rows};
use super::super::super::schema::Contract;
use super::super::super::sink::Shared;
use super::super::super::storage::StagingArea;
use super::merge::{area, side_by_side};
use super::output::{Output, broken};
use super::parts::{Fate, Part};

/// The mark of soft deletes.
pub(super) const DELETED: &str = "_deleted";

/// What the dataset must be for the rows of this table.
///
/// # Errors
/// `WEIR-FILE-097` if the table has a column with the name of the mark; and what the policy forbids.
pub(in super::super) fn contract(
    existing: Option<SchemaRef>,
    table: &SchemaRef,
    deletes: DeleteMode,
    policy: SchemaChangePolicy,
    written_before: bool,
) -> Result<Contract> {
    let mut fields: Vec<Field> = table.fields().iter().map(|field| plain(field)).collect();
    if deletes == DeleteMode::Soft {
        if table.field_with_name(DELETED).is_ok() {
            let what = format!("the table has a column `{DELETED}` of its own");
            return Err(Error::new("WEIR-FILE-097", Kind::Schema, what)
                .because("`delete_mode: soft` marks deleted rows in a column of that name")
                .hint("use `delete_mode: hard` or `ignore`, or rename the column"));
        }
        fields.push(Field::new(DELETED, DataType::Boolean, true));
    }
    super::super::contract(existing, &Arc::new(Schema::new(fields)), policy, written_before)
}

/// Of a row that was deleted before anybody saw it only the key is known.
fn plain(field: &Field) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.remove(FILL);
    field.clone().with_nullable(true).with_metadata(metadata)
}

/// What has to happen to the rows that are there.
pub(super) struct Pass {
    /// As the files are read: the new types under the old names.
    reading: SchemaRef,
    /// One value for all rows, by position.
    constants: Vec<(usize, ArrayRef)>,
}

/// A stream in a new shape: what the dataset becomes, and what has to happen to its rows.
pub(super) fn evolved(
    dataset: &SchemaRef,
    old: &StreamTarget,
    change: &SchemaChange,
    deletes: DeleteMode,
) -> Result<(Contract, Option<Pass>)> {
    let policy = old.on_schema_change;
    let evolves = policy == SchemaChangePolicy::Evolve;
    let renames: Vec<&(String, String)> =
        change.renamed.iter().filter(|(from, to)| evolves && from != to && dataset.field_with_name(from).is_ok()).collect();
    let named = renamed(dataset, &renames)?;
    let lost = old.schema.fields().iter().any(|field| {
        change.schema.field_with_name(field.name()).is_err() && !renames.iter().any(|(from, _)| from == field.name())
    });
    let contract = contract(Some(named.clone()), &change.schema, deletes, policy, !lost)?;
    let key_before: Vec<&String> =
        old.key.iter().map(|name| renames.iter().find(|(from, _)| from == name).map_or(name, |(_, to)| to)).collect();
    if key_before != change.key.iter().collect::<Vec<_>>() {
        let known = change.key.iter().all(|name| named.field_with_name(name).is_ok());
        if !evolves || !known || change.key.is_empty() {
            let what = format!("the key changes from ({}) to ({})", old.key.join(", "), change.key.join(", "));
            return Err(Error::new("WEIR-FILE-100", Kind::Schema, what)
                .because(if evolves {
                    "the rows that are there have no value of the new key"
                } else {
                    "`on_schema_change` forbids it"
                })
                .hint("take the snapshot again into an empty folder"));
        }
    }
    let mut constants = Vec::new();
    for (at, field) in contract.dataset.fields().iter().enumerate() {
        let fill = change.schema.field_with_name(field.name()).ok().and_then(|field| field.metadata().get(FILL));
        if let (Some(fill), true) = (fill, named.field_with_name(field.name()).is_err()) {
            constants.push((at, value(fill, field)?));
        }
    }
    let widened = named
        .fields()
        .iter()
        .any(|field| contract.dataset.field_with_name(field.name()).is_ok_and(|after| after.data_type() != field.data_type()));
    if renames.is_empty() && constants.is_empty() && !widened {
        return Ok((contract, None));
    }
    let fields = contract.dataset.fields().iter().map(|field| {
        let before = renames.iter().find(|(_, to)| to == field.name()).map(|(from, _)| from.clone());
        before.map_or_else(|| field.clone(), |before| Arc::new(field.as_ref().clone().with_name(before)))
    });
    let reading = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok((contract, Some(Pass { reading, constants })))
}

fn renamed(dataset: &SchemaRef, renames: &[&(String, String)]) -> Result<SchemaRef> {
    let fields: Vec<Arc<Field>> = dataset
        .fields()
        .iter()
        .map(|field| match renames.iter().find(|(from, _)| from == field.name()) {
            Some((_, to)) => Arc::new(field.as_ref().clone().with_name(to)),
            None => field.clone(),
        })
        .collect();
    for (at, field) in fields.iter().enumerate() {
        if fields[..at].iter().any(|other| other.name() == field.name()) {
            let what = format!("a column is renamed to `{}`, and the files have a column of that name", field.name());
            return Err(Error::new("WEIR-FILE-101", Kind::Schema, what)
                .because("it is one that the table lost before; its values would be mixed with those of the renamed one")
                .hint("take the snapshot again into an empty folder"));
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// A value that the source prints as this text.
fn value(text: &str, field: &Field) -> Result<ArrayRef> {
    let refused = || {
        Error::new(
            "WEIR-FILE-102",
            Kind::Schema,
            format!("the value of the new column `{}` in older rows cannot be read", field.name()),
        )
        .hint("take the snapshot again into an empty folder")
    };
    if matches!(field.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_))
    {
        return Err(refused().because(format!("it is of type {}", field.data_type())));
    }
    let printed: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&printed, field.data_type(), &options).map_err(|error| refused().because(error))
}

impl Pass {
    /// Every row is marked as deleted.
    pub(super) fn marking(shared: &Shared) -> Result<Self> {
        let reading = shared.contract.dataset.clone();
        let at = reading.index_of(DELETED).map_err(broken)?;
        Ok(Self { reading, constants: vec![(at, Arc::new(BooleanArray::from(vec![true])))] })
    }

    fn apply(&self, schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        let zeros = UInt32Array::from(vec![0; batch.num_rows()]);
        for (at, constant) in &self.constants {
            columns[*at] = take(constant, &zeros, None).map_err(broken)?;
        }
        RecordBatch::try_new(schema.clone(), columns).map_err(broken)
    }

    /// All files anew; `shared` has the schema that they get.
    pub(super) async fn run(self, shared: &Arc<Shared>, first_key: usize, parts: &mut [Part]) -> Result<()> {
        let area = area(shared).await?;
        let pass = Arc::new(self);
        // Read as it was.
        let mut before = shared.as_ref().clone();
        before.contract.dataset = pass.reading.clone();
        let before = Arc::new(before);
        let mut tasks = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let Some(place) = part.place(shared) else { continue };
            let (pass, before, shared, area) = (pass.clone(), before.clone(), shared.clone(), area.clone());
            let part = part.clone();
            tasks.push(async move { Ok((at, pass.file(&before, &shared, &area, first_key, &place, &part).await?)) });
        }
        for (at, made) in side_by_side(tasks).await? {
            parts[at].fate = Fate::Made(Box::new(made));
        }
        area.seal().await
    }

    async fn file(
        &self,
        before: &Arc<Shared>,
        shared: &Arc<Shared>,
        area: &Arc<dyn StagingArea>,
        first_key: usize,
        place: &str,
        part: &Part,
    ) -> Result<super::parts::Made> {
        let mut output = Output::create(shared, area, first_key, (&part.path, &part.partition)).await?;
        let file = found(before, place).await?;
        let mut stream = rows(before, &file, &self.reading).await?;
        while let Some(decoded) = stream.try_next().await? {
            output.write(&self.apply(&shared.contract.dataset, &batch_of(decoded, &file)?)?).await?;
        }
        output.finish().await
    }
}
