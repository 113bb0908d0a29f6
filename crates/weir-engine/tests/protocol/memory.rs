//! An in-memory source and two sinks (staged, co-committed) with a fault counter: every operation that could be the last one
//! before a crash counts, and the chosen one fails before or after it took effect.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use weir_connect::*;

/// Counts operations; the `n`-th fails. Odd: before its effect, even: after it.
#[derive(Default)]
pub struct Faults {
    countdown: AtomicI64,
    after: std::sync::atomic::AtomicBool,
    pub hit: std::sync::atomic::AtomicBool,
}

impl Faults {
    pub fn arm(&self, nth: i64, after: bool) {
        self.countdown.store(nth, Ordering::SeqCst);
        self.after.store(after, Ordering::SeqCst);
        self.hit.store(false, Ordering::SeqCst);
    }
    pub fn step<T>(&self, effect: impl FnOnce() -> T) -> Result<T> {
        let now = self.countdown.fetch_sub(1, Ordering::SeqCst) == 1;
        if now {
            self.hit.store(true, Ordering::SeqCst);
            if self.after.load(Ordering::SeqCst) {
                effect();
            }
            return Err(Error::new("WEIR-TEST-001", Kind::Internal, "crash"));
        }
        Ok(effect())
    }
}

pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]))
}

/// Splits of consecutive numbers, ten rows a batch; numbers divisible by 97 are broken records.
pub struct Numbers {
    /// What a dead letter decodes to by now.
    pub mended: bool,
    pub splits: usize,
    pub rows: i64,
    pub positions: bool,
    pub start_over: Mutex<Option<String>>,
}

#[async_trait]
impl Source for Numbers {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: "numbers are numbers".into() }
    }
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(vec![info()])
    }
    async fn redecode(&self, _: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        if !self.mended {
            return Ok(vec![Event::Dead(letter.clone())]);
        }
        let id: i64 = String::from_utf8_lossy(&letter.payload).parse().unwrap();
        let records = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(vec![id]))]).unwrap();
        Ok(vec![Event::Batch(Batch { records, position: None, source_bytes: 8 })])
    }
    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let resume = request.resume.unwrap_or_default();
        let verdict = match (self.start_over.lock().unwrap().take(), resume.progress.is_empty()) {
            (Some(reason), false) => ResumeVerdict::StartOver { reason },
            (_, false) => ResumeVerdict::Continued,
            _ => ResumeVerdict::Fresh,
        };
        let done: Vec<String> = match verdict {
            ResumeVerdict::StartOver { .. } => vec![],
            _ => resume.progress.iter().filter(|p| p.done).map(|p| p.split.id.clone()).collect(),
        };
        let splits = (0..self.splits)
            .map(|index| Split {
                id: format!("s{index}"),
                descriptor: json!(index as i64 * self.rows),
                estimated_rows: Some(self.rows as u64),
                estimated_bytes: None,
            })
            .filter(|split| !done.contains(&split.id))
            .collect();
        let lower = request.cursor.and_then(|window| window.lower).map(|text| text.parse().unwrap());
        Ok(Box::new(NumbersReader { splits, verdict, rows: self.rows, positions: self.positions, lower }))
    }
}

pub fn info() -> StreamInfo {
    StreamInfo {
        name: "numbers".into(),
        schema: schema(),
        primary_key: vec![],
        estimated_rows: None,
        estimated_bytes: None,
        reading: "splits".into(),
    }
}

struct NumbersReader {
    splits: Vec<Split>,
    verdict: ResumeVerdict,
    rows: i64,
    positions: bool,
    lower: Option<i64>,
}

#[async_trait]
impl StreamReader for NumbersReader {
    fn schema(&self) -> SchemaRef {
        schema()
    }
    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }
    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }
    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let start = split.descriptor.as_i64().unwrap();
        let begin = from.map_or(start, |position| position.as_i64().unwrap());
        let end = start + self.rows;
        let mut events = Vec::new();
        let mut at = begin;
        while at < end {
            let next = (at + 10).min(end);
            let wanted = (at..next).filter(|id| self.lower.is_none_or(|lower| *id >= lower));
            let (broken, good): (Vec<i64>, Vec<i64>) = wanted.partition(|id| id % 97 == 96);
            for id in broken {
                events.push(Ok(Event::Dead(DeadLetter {
                    stream: "numbers".into(),
                    code: "WEIR-TEST-097".into(),
                    reason: "divisible".into(),
                    place: format!("number {id}"),
                    payload: id.to_string().into_bytes(),
                    media_type: "text/plain".into(),
                })));
            }
            let records = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(good))]).unwrap();
            events.push(Ok(Event::Batch(Batch { records, position: self.positions.then(|| json!(next)), source_bytes: 80 })));
            at = next;
        }
        Ok(futures::stream::iter(events).boxed())
    }
}

/// What the world outside sees: survives every crash.
#[derive(Default)]
pub struct World {
    pub visible: Vec<i64>,
    /// By pipeline and name.
    staged: BTreeMap<(String, String), Vec<i64>>,
    /// Of a co-committed sink, by run: positions and rows.
    progress: BTreeMap<String, (Vec<SplitProgress>, u64)>,
    committed: BTreeMap<String, CommitReport>,
    names: u64,
}

pub struct MemorySink {
    pub world: Arc<Mutex<World>>,
    pub faults: Arc<Faults>,
    pub co_committed: bool,
}

#[async_trait]
impl Sink for MemorySink {
    fn capabilities(&self, _: WriteMode) -> SinkCapabilities {
        let commit = if self.co_committed { CommitKind::CoCommitted } else { CommitKind::Staged };
        SinkCapabilities { commit, commit_note: String::new(), write_modes: vec![WriteMode::Append] }
    }
    fn sink_type(&self, field: &Field) -> SinkType {
        SinkType::exact(field.data_type().to_string())
    }
    fn place(&self, stream: &str) -> String {
        stream.into()
    }
    async fn preview(&self, _: &StreamTarget) -> Result<Vec<String>> {
        Ok(vec![])
    }
    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        Ok(Box::new(MemoryStream {
            run: target.run,
            world: self.world.clone(),
            faults: self.faults.clone(),
            co_committed: self.co_committed,
        }))
    }
}

struct MemoryStream {
    run: RunIdentity,
    world: Arc<Mutex<World>>,
    faults: Arc<Faults>,
    co_committed: bool,
}

#[async_trait]
impl StreamSink for MemoryStream {
    async fn recover(&self) -> Result<Recovery> {
        let world = self.world.lock().unwrap();
        Ok(Recovery {
            progress: self.co_committed.then(|| world.progress.get(&self.run.run_id).cloned().unwrap_or_default().0),
            committed: world.committed.get(&self.run.run_id).cloned(),
            rows: 0,
        })
    }
    async fn discard(&self, keep: &[CommitToken]) -> Result<()> {
        self.faults.step(|| {
            let mut world = self.world.lock().unwrap();
            world.staged.retain(|(pipeline, name), _| {
                *pipeline != self.run.pipeline || keep.iter().any(|token| token.as_str() == Some(name))
            });
        })
    }
    async fn writer(&self, _: usize) -> Result<Box<dyn StreamWriter>> {
        Ok(Box::new(MemoryWriter {
            run: self.run.clone(),
            rows: vec![],
            world: self.world.clone(),
            faults: self.faults.clone(),
            co_committed: self.co_committed,
        }))
    }
    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        // One step per staged file, so that a crash can fall between two of them.
        for token in tokens {
            self.faults.step(|| {
                let mut world = self.world.lock().unwrap();
                if let Some(rows) = world.staged.remove(&(self.run.pipeline.clone(), token.as_str().unwrap().to_owned())) {
                    world.visible.extend(&rows);
                    let report = world.committed.entry(format!("{}-partial", self.run.run_id)).or_default();
                    report.rows += rows.len() as u64;
                }
            })?;
        }
        self.faults.step(|| {
            let mut world = self.world.lock().unwrap();
            let report = if self.co_committed {
                CommitReport {
                    rows: world.progress.get(&self.run.run_id).map_or(0, |(_, rows)| *rows),
                    place: "memory".into(),
                    ..Default::default()
                }
            } else {
                world.committed.get(&format!("{}-partial", self.run.run_id)).cloned().unwrap_or_default()
            };
            world.committed.insert(self.run.run_id.clone(), report.clone());
            report
        })
    }
}

struct MemoryWriter {
    run: RunIdentity,
    rows: Vec<i64>,
    world: Arc<Mutex<World>>,
    faults: Arc<Faults>,
    co_committed: bool,
}

#[async_trait]
impl StreamWriter for MemoryWriter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.faults.step(|| self.rows.extend(batch.column(0).as_primitive::<Int64Type>().values()))
    }
    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        let rows = std::mem::take(&mut self.rows);
        let count = rows.len() as u64;
        let token = self.faults.step(|| {
            let mut world = self.world.lock().unwrap();
            if self.co_committed {
                world.visible.extend(&rows);
                let (progress, total) = world.progress.entry(self.run.run_id.clone()).or_default();
                *total += count;
                for part in &barrier.progress {
                    progress.retain(|known| known.split.id != part.split.id);
                    progress.push(part.clone());
                }
                Value::Null
            } else {
                world.names += 1;
                let name = format!("f{}", world.names);
                world.staged.insert((self.run.pipeline.clone(), name.clone()), rows);
                json!(name)
            }
        })?;
        Ok(Flushed { token, rows: count, bytes: count * 8 })
    }
}
