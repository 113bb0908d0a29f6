//! The imaginary system: what survives a crash of everything that talks to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use weir_error::Result;

use crate::conformance::matrix::broken;
use crate::sink::CommitReport;
use crate::source::SplitProgress;

/// Tables, staged rows and what sinks remember.
#[derive(Default)]
pub struct MemorySystem {
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub tables: BTreeMap<String, Table>,
    pub staged: BTreeMap<u64, Staged>,
    pub spools: BTreeMap<u64, Vec<RecordBatch>>,
    pub next: u64,
    pub commits: u64,
    pub reads: u64,
    pub cancelled: u64,
    pub committed: BTreeMap<Owner, CommitReport>,
    pub progress: BTreeMap<Owner, Vec<Vec<SplitProgress>>>,
}

/// Pipeline, table, run.
pub(super) type Owner = (String, String, String);

pub(super) struct Table {
    pub schema: SchemaRef,
    /// Rows with the run that wrote them.
    pub batches: Vec<(String, RecordBatch)>,
}

pub(super) struct Staged {
    pub owner: Owner,
    pub batches: Vec<RecordBatch>,
}

impl MemorySystem {
    /// An empty system.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces a table by these rows.
    pub fn seed(&self, table: &str, schema: SchemaRef, batches: &[RecordBatch]) {
        let batches = batches.iter().map(|batch| ("seed".to_owned(), batch.clone())).collect();
        self.lock().tables.insert(table.into(), Table { schema, batches });
    }

    /// What a reader of the table sees.
    pub fn rows(&self, table: &str) -> Vec<RecordBatch> {
        let state = self.lock();
        state.tables.get(table).map(|table| table.batches.iter().map(|(_, batch)| batch.clone()).collect()).unwrap_or_default()
    }
}

impl State {
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Table {
    /// Adds the columns that the table lacks; old rows get NULL.
    pub fn widen(&mut self, schema: &SchemaRef) -> Result<()> {
        let mut fields = self.schema.fields().to_vec();
        fields.extend(schema.fields().iter().filter(|field| self.schema.field_with_name(field.name()).is_err()).cloned());
        if fields.len() > self.schema.fields().len() {
            self.schema = Arc::new(Schema::new(fields));
            for (_, batch) in &mut self.batches {
                *batch = fit(batch, &self.schema)?;
            }
        }
        Ok(())
    }
}

/// The batch in that schema: absent columns NULL, others left out.
pub(super) fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let absent = || new_null_array(field.data_type(), batch.num_rows());
            batch.column_by_name(field.name()).cloned().unwrap_or_else(absent)
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(broken)
}
