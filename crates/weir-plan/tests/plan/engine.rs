//! What the engine does with one flow that keeps state, without an engine: rows, watermarks, epochs, restarts.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMillisecondArray};
use bytes::Bytes;
use weir_connect::Result;
use weir_plan::keyed::{Emitted, KeyedProgram, Operators, StateChange, Stored};
use weir_plan::{Plan, Program};

use crate::bench::rows;

/// Milliseconds, key, value.
pub type Row = (i64, Option<i64>, i64);

pub fn batch(rows: &[Row]) -> RecordBatch {
    let at: TimestampMillisecondArray = rows.iter().map(|row| Some(row.0)).collect();
    let keys: Int64Array = rows.iter().map(|row| row.1).collect();
    let values: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![("ts", Arc::new(at)), ("k", Arc::new(keys)), ("v", Arc::new(values))];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

#[derive(Debug, Default, Clone)]
pub struct Store(pub BTreeMap<Vec<u8>, Bytes>);

impl Store {
    fn apply(&mut self, changes: Vec<StateChange>) {
        for change in changes {
            match change {
                StateChange::Put(key, value) => drop(self.0.insert(key, value)),
                StateChange::Remove(key) => drop(self.0.remove(&key)),
                StateChange::RemovePrefix(prefix) => self.0.retain(|key, _| !key.starts_with(&prefix)),
            }
        }
    }
}

impl Stored for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.get(key).cloned())
    }
    fn scan(&self, prefix: &[u8]) -> Box<dyn Iterator<Item = Result<(Vec<u8>, Bytes)>> + '_> {
        let prefix = prefix.to_vec();
        let found = self.0.range(prefix.clone()..).take_while(move |(key, _)| key.starts_with(&prefix));
        Box::new(found.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }
}

/// What the engine does with one flow.
pub struct Engine {
    pub program: Arc<dyn KeyedProgram>,
    pub operators: Box<dyn Operators>,
    pub store: Store,
    /// Rows of each output.
    pub out: Vec<Vec<String>>,
    pub late: u64,
    pub absorbed: u64,
    pub dead: usize,
    /// Of each input, in milliseconds.
    pub newest: Vec<i64>,
}

impl Engine {
    pub fn new(plan: &Plan) -> Self {
        let Program::Keyed(program) = &plan.flows[0].program else { panic!("it keeps no state") };
        let mut operators = program.operators().unwrap();
        operators.restore(&Store::default()).unwrap();
        let out = vec![Vec::new(); plan.flows[0].outputs.len()];
        let (program, store) = (program.clone(), Store::default());
        let newest = vec![i64::MIN; plan.flows[0].inputs.len()];
        Self { program, operators, store, out, late: 0, absorbed: 0, dead: 0, newest }
    }

    fn take(&mut self, emitted: Emitted) {
        for (output, batch) in emitted.batches {
            self.out[output].extend(rows(&batch));
        }
        self.late += emitted.late;
        self.absorbed += emitted.absorbed;
        self.dead += emitted.dead.len();
    }

    pub fn feed(&mut self, input: usize, batch: &RecordBatch) {
        let (prepare, schema) = self.program.prepare(input);
        let prepared = prepare.apply(batch).unwrap().remove(0);
        assert_eq!(prepared.batch.schema(), schema, "the prepared batch has the schema that was told");
        let mut out = Emitted::default();
        self.operators.rows(input, &prepared.batch, &self.store, &mut out).unwrap();
        self.take(out);
    }

    pub fn watermark(&mut self, time: i64) {
        let mut out = Emitted::default();
        self.operators.watermark(time, &self.store, &mut out).unwrap();
        self.take(out);
    }

    /// Rows of the only input, and the watermark after them.
    pub fn rows(&mut self, rows: &[Row]) {
        self.arrive(0, rows);
    }

    /// Rows of an input, and the watermark after them: that of the slowest input.
    pub fn arrive(&mut self, input: usize, rows: &[Row]) {
        self.feed(input, &batch(rows));
        let newest = rows.iter().map(|row| row.0).max().unwrap_or(i64::MIN);
        if newest > self.newest[input] {
            self.newest[input] = newest;
            let at = |(input, newest): (usize, &i64)| {
                let time = self.program.event_time(input).unwrap();
                assert_eq!(time.idle_after, None);
                if *newest == i64::MIN { i64::MIN } else { newest * 1_000 - time.max_lateness - 1_000 }
            };
            let slowest = self.newest.iter().enumerate().map(at).min().unwrap();
            if slowest > i64::MIN {
                self.watermark(slowest);
            }
        }
    }

    pub fn epoch(&mut self) -> usize {
        let changes = self.operators.changes().unwrap();
        let count = changes.len();
        self.store.apply(changes);
        count
    }

    pub fn restart(&mut self) {
        self.operators = self.program.operators().unwrap();
        self.operators.restore(&self.store).unwrap();
    }

    pub fn end(&mut self) -> Vec<Vec<String>> {
        self.watermark(i64::MAX);
        assert_eq!(self.dead, 0);
        assert!(self.operators.bytes() < 10_000, "nothing is kept of what is over: {}", self.operators.bytes());
        std::mem::take(&mut self.out)
    }
}

pub fn times(rows: &[String]) -> Vec<String> {
    rows.iter().map(|row| row.replace("1970-01-01T00:", "")).collect()
}

pub fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
