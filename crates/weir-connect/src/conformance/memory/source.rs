//! Reading tables in splits of a hundred rows and batches of ten.

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use weir_error::{Error, Kind, Result};

use super::{MemorySystem, Mutation};
use crate::conformance::matrix::broken;
use crate::source::{
    Batch, Event, EventStream, Position, ReadRequest, ResumeVerdict, Source, SourceCapabilities, Split, StreamReader,
};
use crate::stream::StreamInfo;

const SPLIT_ROWS: usize = 100;
const BATCH_ROWS: usize = 10;

pub(super) struct MemorySource {
    pub system: Arc<MemorySystem>,
    pub table: String,
    pub mutation: Option<Mutation>,
}

struct MemoryReader {
    system: Arc<MemorySystem>,
    rows: RecordBatch,
    splits: Vec<Split>,
    verdict: ResumeVerdict,
    mutation: Option<Mutation>,
}

/// Counts a read that is dropped before its end.
struct Cancel {
    system: Arc<MemorySystem>,
    ended: bool,
}

impl Cancel {
    fn at(&mut self, ended: bool) {
        self.ended = ended;
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if !self.ended {
            self.system.lock().cancelled += 1;
        }
    }
}

impl MemorySource {
    fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn missing(table: &str) -> Error {
        Error::new("WEIR-MEMORY-004", Kind::NotFound, format!("there is no table `{table}`"))
    }
}

#[async_trait]
impl Source for MemorySource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: "tables in memory do not change".into() }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let state = self.system.lock();
        let table = state.tables.get(&self.table).ok_or_else(|| Self::missing(&self.table))?;
        Ok(vec![StreamInfo {
            name: self.table.clone(),
            schema: table.schema.clone(),
            primary_key: Vec::new(),
            estimated_rows: None,
            estimated_bytes: None,
            reading: "from memory".into(),
        }])
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let mut state = self.system.lock();
        state.reads += 1;
        let reads = state.reads;
        let Some(table) = state.tables.get(&request.stream) else {
            if self.has(Mutation::MissingStreamIsEmpty) {
                let rows = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
                let (splits, verdict) = (Vec::new(), ResumeVerdict::Fresh);
                return Ok(Box::new(MemoryReader { system: self.system.clone(), rows, splits, verdict, mutation: None }));
            }
            return Err(Self::missing(&request.stream));
        };
        let batches: Vec<_> = table.batches.iter().map(|(_, batch)| batch.clone()).collect();
        let mut rows = concat_batches(&table.schema, &batches).map_err(broken)?;
        rows = super::sink::bend(&rows, self.mutation)?;
        if rows.num_rows() == 0 && self.has(Mutation::EmptyStreamFails) {
            return Err(Error::new("WEIR-MEMORY-006", Kind::Data, "there are no rows"));
        }
        if let Some(lower) = request.cursor.and_then(|cursor| cursor.lower).and_then(|lower| lower.parse::<i64>().ok()) {
            let ids = rows.column(0).as_primitive::<Int64Type>();
            let exclusive = self.has(Mutation::CursorIsExclusive);
            let keep: BooleanArray = ids.iter().map(|id| id.map(|id| id > lower || (!exclusive && id == lower))).collect();
            rows = filter_record_batch(&rows, &keep).map_err(broken)?;
        }
        if self.has(Mutation::GivesDifferentRowsEachTime) && reads > 1 && rows.num_rows() > 0 {
            rows = rows.slice(0, rows.num_rows() - 1);
        }
        let done =
            |id: &str| request.resume.iter().flat_map(|resume| &resume.progress).any(|entry| entry.done && entry.split.id == id);
        let mut splits: Vec<Split> = (0..rows.num_rows())
            .step_by(SPLIT_ROWS)
            .map(|from| Split {
                id: format!("rows-{from}"),
                descriptor: json!({"from": from, "to": (from + SPLIT_ROWS).min(rows.num_rows())}),
                estimated_rows: None,
                estimated_bytes: None,
            })
            .filter(|split| self.has(Mutation::RepeatsFinishedSplits) || !done(&split.id))
            .collect();
        if self.has(Mutation::LosesTheLastSplit) && splits.len() > 1 {
            splits.pop();
        }
        let verdict = if request.resume.is_some() { ResumeVerdict::Continued } else { ResumeVerdict::Fresh };
        drop(state);
        Ok(Box::new(MemoryReader { system: self.system.clone(), rows, splits, verdict, mutation: self.mutation }))
    }
}

#[async_trait]
impl StreamReader for MemoryReader {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }
    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }
    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }
    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let index = |value: &Value| value.as_u64().map(|number| number as usize);
        let (Some(first), Some(end)) = (index(&split.descriptor["from"]), index(&split.descriptor["to"])) else {
            return Err(Error::internal("not a split of this table"));
        };
        let mut start = first;
        if let Some(position) = from.as_ref().and_then(index) {
            start = match self.mutation {
                Some(Mutation::SkipsARowOnResume) => (position + 1).min(end),
                Some(Mutation::RepeatsARowOnResume) => position - 1,
                _ => position,
            };
        }
        if self.mutation == Some(Mutation::CancelPoisons) && self.system.lock().cancelled > 0 {
            start = (start + 1).min(end);
        }
        let batches: Vec<_> = (start..end)
            .step_by(BATCH_ROWS)
            .map(|at| {
                let length = BATCH_ROWS.min(end - at);
                let records = self.rows.slice(at, length);
                Event::Batch(Batch { records, position: Some(json!(at + length)), source_bytes: 0 })
            })
            .collect();
        let mut cancel = Cancel { system: self.system.clone(), ended: batches.is_empty() };
        let last = batches.len().saturating_sub(1);
        let events = futures::stream::iter(batches.into_iter().enumerate()).map(move |(index, event)| {
            cancel.at(index == last);
            Ok(event)
        });
        Ok(events.boxed())
    }
}
