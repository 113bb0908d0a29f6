//! Writing tables: staged, co-committed or plain append.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Field, Float64Type, SchemaRef};
use arrow::row::{RowConverter, SortField};
use async_trait::async_trait;
use serde_json::json;
use weir_error::{Error, Kind, Result};

use super::system::{Owner, Staged, Table, fit};
use super::{Commit, MemorySystem, Mutation, SinkOptions};
use crate::conformance::matrix::broken;
use crate::fidelity::SinkType;
use crate::sink::{
    Barrier, CommitKind, CommitReport, CommitToken, Flushed, Recovery, Sink, SinkCapabilities, StreamSink, StreamTarget,
    StreamWriter,
};
use crate::stream::{SchemaChangePolicy, WriteMode};

#[derive(Clone)]
pub(super) struct MemorySink {
    pub system: Arc<MemorySystem>,
    pub options: SinkOptions,
    pub mutation: Option<Mutation>,
}

struct MemoryStream {
    sink: MemorySink,
    target: StreamTarget,
}

struct MemoryWriter {
    sink: MemorySink,
    target: StreamTarget,
    buffer: Vec<RecordBatch>,
    spool: Option<u64>,
    /// Rows that a defective writer only pretends to have made durable.
    pretended: Vec<u64>,
    flushes: usize,
}

impl MemorySink {
    fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn owner(&self, target: &StreamTarget) -> Owner {
        (target.run.pipeline.clone(), self.options.table.clone(), target.run.run_id.clone())
    }

    fn new_columns(&self, target: &StreamTarget) -> Option<Vec<String>> {
        let state = self.system.lock();
        let table = state.tables.get(&self.options.table)?;
        let fields = target.schema.fields().iter().filter(|field| table.schema.field_with_name(field.name()).is_err());
        Some(fields.map(|field| field.name().clone()).collect())
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn capabilities(&self, mode: WriteMode) -> SinkCapabilities {
        let (commit, write_modes) = match (self.options.commit, mode) {
            (Commit::Staged, _) => (CommitKind::Staged, vec![WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert]),
            (Commit::CoCommitted, _) => (CommitKind::CoCommitted, vec![WriteMode::Append]),
            (Commit::Append, WriteMode::Upsert) => (CommitKind::Idempotent, vec![WriteMode::Append, WriteMode::Upsert]),
            (Commit::Append, _) => (CommitKind::Append, vec![WriteMode::Append, WriteMode::Upsert]),
        };
        SinkCapabilities { commit, commit_note: "memory keeps what it was given".into(), write_modes }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        SinkType::exact(field.data_type().to_string())
    }

    fn place(&self, _stream: &str) -> String {
        self.options.table.clone()
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        Ok(match self.new_columns(target) {
            None => vec![format!("create table {}", self.options.table)],
            Some(columns) => columns.iter().map(|column| format!("add column {column}")).collect(),
        })
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        if let Some(columns) = self.new_columns(&target)
            && !columns.is_empty()
            && target.on_schema_change == SchemaChangePolicy::Freeze
            && !self.has(Mutation::AcceptsUnderFreeze)
        {
            let what = format!("`{}` has no column {} and its schema is frozen", self.options.table, columns.join(", "));
            return Err(Error::new("WEIR-MEMORY-005", Kind::Schema, what));
        }
        let mut state = self.system.lock();
        let empty = || Table { schema: target.schema.clone(), batches: Vec::new() };
        let table = state.tables.entry(self.options.table.clone()).or_insert_with(empty);
        if !self.has(Mutation::ForgetsTheNewColumn) {
            table.widen(&target.schema)?;
        }
        if self.has(Mutation::OverwritesAtTheStart) && target.write_mode == WriteMode::Overwrite {
            table.batches.clear();
        }
        drop(state);
        Ok(Box::new(MemoryStream { sink: self.clone(), target }))
    }
}

#[async_trait]
impl StreamSink for MemoryStream {
    async fn recover(&self) -> Result<Recovery> {
        let owner = self.sink.owner(&self.target);
        let state = self.sink.system.lock();
        let committed = state.committed.get(&owner).filter(|_| !self.sink.has(Mutation::CommitsTwice)).cloned();
        if self.sink.options.commit != Commit::CoCommitted {
            return Ok(Recovery { committed, ..Recovery::default() });
        }
        let mut epochs = state.progress.get(&owner).cloned().unwrap_or_default();
        if self.sink.has(Mutation::ForgetsProgress) {
            epochs.pop();
        }
        let mut latest: Vec<crate::source::SplitProgress> = Vec::new();
        for entry in epochs.into_iter().flatten() {
            latest.retain(|known| known.split.id != entry.split.id);
            latest.push(entry);
        }
        let rows = latest.iter().map(|entry| entry.rows).sum();
        Ok(Recovery { progress: Some(latest), committed, rows })
    }

    async fn discard(&self, keep: &[CommitToken]) -> Result<()> {
        if self.sink.has(Mutation::IgnoresDiscard) {
            return Ok(());
        }
        let owner = self.sink.owner(&self.target);
        let keep: Vec<u64> = keep.iter().filter_map(serde_json::Value::as_u64).collect();
        let mut state = self.sink.system.lock();
        state.staged.retain(|number, staged| (&staged.owner.0, &staged.owner.1) != (&owner.0, &owner.1) || keep.contains(number));
        if self.sink.options.commit == Commit::CoCommitted && keep.is_empty() {
            state.progress.remove(&owner);
            if let Some(table) = state.tables.get_mut(&self.sink.options.table) {
                table.batches.retain(|(run, _)| *run != owner.2);
            }
        }
        Ok(())
    }

    async fn writer(&self, _lane: usize) -> Result<Box<dyn StreamWriter>> {
        Ok(Box::new(MemoryWriter {
            sink: self.sink.clone(),
            target: self.target.clone(),
            buffer: Vec::new(),
            spool: None,
            pretended: Vec::new(),
            flushes: 0,
        }))
    }

    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        let owner = self.sink.owner(&self.target);
        let mut guard = self.sink.system.lock();
        let state = &mut *guard;
        if !self.sink.has(Mutation::CommitsTwice)
            && let Some(report) = state.committed.get(&owner)
        {
            return Ok(report.clone());
        }
        let named: Vec<u64> = tokens.iter().filter_map(serde_json::Value::as_u64).collect();
        let mut report = CommitReport { place: self.sink.options.table.clone(), objects: 1, ..CommitReport::default() };
        let Some(table) = state.tables.get_mut(&self.sink.options.table) else {
            return Err(Error::internal("commit before prepare"));
        };
        if self.sink.options.commit == Commit::Staged {
            let all = self.sink.has(Mutation::IgnoresDiscard);
            let taken: Vec<&Staged> = state
                .staged
                .iter()
                .filter(|(number, staged)| if all { staged.owner == owner } else { named.contains(number) })
                .map(|(_, staged)| staged)
                .collect();
            let mut rows: Vec<RecordBatch> = taken.iter().flat_map(|staged| staged.batches.iter().cloned()).collect();
            state.commits += 1;
            if self.sink.has(Mutation::LosesARowOnTheSecondCommit)
                && state.commits == 2
                && let Some(last) = rows.last_mut()
                && last.num_rows() > 0
            {
                *last = last.slice(0, last.num_rows() - 1);
            }
            report.rows = taken.iter().flat_map(|staged| &staged.batches).map(|batch| batch.num_rows() as u64).sum();
            apply(&self.sink, table, &owner, self.target.write_mode, &self.target.key, rows)?;
            if !self.sink.has(Mutation::CommitsTwice) {
                state.staged.retain(|number, _| !named.contains(number));
            }
        } else {
            // The rows of this run are in the table already; Append counts receipts because it remembers nothing else.
            report.rows = match self.sink.options.commit {
                Commit::CoCommitted => {
                    table.batches.iter().filter(|(run, _)| *run == owner.2).map(|(_, batch)| batch.num_rows() as u64).sum()
                }
                _ => named.iter().sum(),
            };
        }
        if self.sink.has(Mutation::MiscountsRows) {
            report.rows += 1;
        }
        state.committed.insert(owner, report.clone());
        Ok(report)
    }
}

/// Brings rows into the table.
fn apply(
    sink: &MemorySink,
    table: &mut Table,
    owner: &Owner,
    mode: WriteMode,
    key: &[String],
    rows: Vec<RecordBatch>,
) -> Result<()> {
    let schema = table.schema.clone();
    let rows = rows.iter().map(|batch| fit(batch, &schema)).collect::<Result<Vec<_>>>()?;
    match mode {
        WriteMode::Overwrite
            if rows.iter().all(|batch| batch.num_rows() == 0) && sink.has(Mutation::OverwriteWithNothingKeeps) => {}
        WriteMode::Overwrite => table.batches.clear(),
        WriteMode::Upsert | WriteMode::Merge if !sink.has(Mutation::UpsertAppends) => {
            let old = table.batches.iter().map(|(_, batch)| batch).chain(&rows);
            let all = concat_batches(&schema, old).map_err(broken)?;
            let kept = last_of_each_key(&all, key, sink.has(Mutation::UpsertKeepsTheFirst))?;
            table.batches = vec![(owner.2.clone(), kept)];
            return Ok(());
        }
        _ => {}
    }
    table.batches.extend(rows.into_iter().map(|batch| (owner.2.clone(), batch)));
    Ok(())
}

fn last_of_each_key(rows: &RecordBatch, key: &[String], first: bool) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = key.iter().filter_map(|name| rows.column_by_name(name).cloned()).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(broken)?;
    let keys = converter.convert_columns(&columns).map_err(broken)?;
    let mut place = std::collections::BTreeMap::new();
    for (index, row) in keys.iter().enumerate() {
        let entry = place.entry(row.as_ref().to_vec()).or_insert(index as u64);
        if !first {
            *entry = index as u64;
        }
    }
    let indices = arrow::array::UInt64Array::from_iter_values(place.into_values());
    arrow::compute::take_record_batch(rows, &indices).map_err(broken)
}

#[async_trait]
impl StreamWriter for MemoryWriter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let batch = bend(&batch, self.sink.mutation)?;
        if batch.num_rows() == 0 {
            if self.sink.has(Mutation::EmptyStreamFails) {
                return Err(Error::new("WEIR-MEMORY-006", Kind::Data, "there are no rows"));
            }
            return Ok(());
        }
        self.buffer.push(batch);
        if self.buffered_bytes() > self.sink.options.buffer_bytes && !self.sink.has(Mutation::BuffersWithoutBound) {
            let mut state = self.sink.system.lock();
            let number = *self.spool.get_or_insert_with(|| state.number());
            state.spools.entry(number).or_default().append(&mut self.buffer);
        }
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        let owner = self.sink.owner(&self.target);
        let mut guard = self.sink.system.lock();
        let state = &mut *guard;
        let mut batches = self.spool.take().and_then(|number| state.spools.remove(&number)).unwrap_or_default();
        batches.append(&mut self.buffer);
        let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        self.flushes += 1;
        if self.sink.has(Mutation::FlushSkipsTheFirstBatch) && self.flushes > 1 && batches.len() > 1 {
            batches.remove(0);
        }
        let number = state.number();
        let token = match self.sink.options.commit {
            Commit::Staged if self.sink.has(Mutation::ShowsBeforeCommit) => {
                if let Some(table) = state.tables.get_mut(&self.sink.options.table) {
                    apply(&self.sink, table, &owner, WriteMode::Append, &[], batches)?;
                }
                json!(number)
            }
            Commit::Staged => {
                state.staged.insert(number, Staged { owner, batches });
                if self.sink.has(Mutation::FlushIsNotDurable) {
                    self.pretended.push(number);
                }
                json!(number)
            }
            Commit::CoCommitted | Commit::Append => {
                let Some(table) = state.tables.get_mut(&self.sink.options.table) else {
                    return Err(Error::internal("flush before prepare"));
                };
                if self.sink.has(Mutation::ProgressIsAheadOfRows) && batches.len() > 1 {
                    batches.pop();
                }
                apply(&self.sink, table, &owner, self.target.write_mode, &self.target.key, batches)?;
                if self.sink.options.commit == Commit::CoCommitted {
                    state.progress.entry(owner).or_default().push(barrier.progress.clone());
                    json!(null)
                } else {
                    json!(rows)
                }
            }
        };
        Ok(Flushed { token, rows, bytes: 0 })
    }

    fn buffered_bytes(&self) -> usize {
        self.buffer.iter().map(RecordBatch::get_array_memory_size).sum()
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        let mut state = self.sink.system.lock();
        if self.sink.has(Mutation::DropKeepsUnflushedRows)
            && let Some(table) = state.tables.get_mut(&self.sink.options.table)
        {
            table.batches.extend(self.buffer.drain(..).map(|batch| ("dropped".to_owned(), batch)));
        }
        if let Some(number) = self.spool.take() {
            state.spools.remove(&number);
        }
        // Only a crash drops the writer before the commit: the rows were never safe.
        if self.sink.has(Mutation::FlushIsNotDurable) && !state.committed.contains_key(&self.sink.owner(&self.target)) {
            for number in &self.pretended {
                state.staged.remove(number);
            }
        }
    }
}

/// What a defective type mapping makes of the rows.
pub(super) fn bend(batch: &RecordBatch, mutation: Option<Mutation>) -> Result<RecordBatch> {
    let Some(mutation) = mutation else { return Ok(batch.clone()) };
    let mut columns = batch.columns().to_vec();
    for (index, column) in columns.iter_mut().enumerate() {
        let bent: Option<ArrayRef> = match (mutation, column.data_type()) {
            (Mutation::CutsLongText, DataType::Utf8) => {
                let cut = |text: &str| text.chars().take(4000).collect::<String>();
                let texts = column.as_string::<i32>();
                Some(Arc::new(texts.iter().map(|text| text.map(cut)).collect::<StringArray>()))
            }
            (Mutation::TextNullBecomesEmpty, DataType::Utf8) => {
                Some(Arc::new(column.as_string::<i32>().iter().map(|text| Some(text.unwrap_or(""))).collect::<StringArray>()))
            }
            (Mutation::RoundsFloats, DataType::Float64) => {
                Some(Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(|value| f64::from(value as f32))))
            }
            (Mutation::RoundsDecimals, DataType::Decimal128(..)) => {
                let through_double = |value: i128| (value as f64) as i128;
                let bent = column.as_primitive::<Decimal128Type>().unary::<_, Decimal128Type>(through_double);
                Some(Arc::new(bent.with_data_type(column.data_type().clone())))
            }
            (Mutation::NanBecomesNull, DataType::Float64) => {
                let values = column.as_primitive::<Float64Type>();
                let kept = values.iter().map(|value| value.filter(|value| !value.is_nan()));
                Some(Arc::new(kept.collect::<arrow::array::Float64Array>()))
            }
            (Mutation::ShiftsEarlyDates, DataType::Date32) => {
                let shift = |day: i32| if day < -141_428 { day + 2 } else { day };
                Some(Arc::new(column.as_primitive::<Date32Type>().unary::<_, Date32Type>(shift)))
            }
            (Mutation::LosesColumnsBeyond255, data_type) if index > 255 => {
                Some(arrow::array::new_null_array(data_type, column.len()))
            }
            _ => None,
        };
        if let Some(bent) = bent {
            *column = bent;
        }
    }
    let schema: SchemaRef = batch.schema();
    RecordBatch::try_new(schema, columns).map_err(broken)
}
