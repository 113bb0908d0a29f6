//! A partitioned log in memory: partitions that appear while it is read, broken records, and a start that is "now".

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use weir_connect::*;

use crate::memory::{Faults, info, schema};

/// Rows of a batch; the one in the middle of three has no position.
const BATCH: usize = 4;

pub struct Topic {
    pub faults: Arc<Faults>,
    partitions: Mutex<Vec<Vec<i64>>>,
    /// Changes with whatever readers may wait for.
    changed: watch::Sender<u64>,
    /// So many are listed; one more appears when the first partition has been read to its middle.
    listed: AtomicUsize,
    pub appears: bool,
    /// A stream that is new begins behind what is there.
    pub latest: bool,
    /// The next read fails in a way that passes.
    pub hiccup: AtomicBool,
    /// What was acknowledged, by split.
    pub acknowledged: Mutex<BTreeMap<String, i64>>,
    /// Splits as they were read, with where it began.
    pub reads: Mutex<Vec<(String, i64)>>,
    /// What readers say of how far behind they are.
    pub behind: Mutex<Vec<(String, u64)>>,
}

impl Topic {
    /// `rows` in each of the partitions, all of them listed but the last one, if it is to appear.
    pub fn new(faults: Arc<Faults>, partitions: usize, rows: i64, appears: bool) -> Self {
        let rows = |partition: usize| (0..rows).map(|n| partition as i64 * 100 + n).collect();
        Self {
            faults,
            partitions: Mutex::new((0..partitions).map(rows).collect()),
            changed: watch::Sender::new(0),
            listed: AtomicUsize::new(partitions - usize::from(appears)),
            appears,
            latest: false,
            hiccup: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            reads: Mutex::default(),
            behind: Mutex::default(),
        }
    }

    pub fn append(&self, partition: usize, ids: impl IntoIterator<Item = i64>) {
        self.partitions.lock().unwrap()[partition].extend(ids);
        self.changed.send_modify(|version| *version += 1);
    }

    /// All that is in it.
    pub fn ids(&self) -> Vec<i64> {
        self.partitions.lock().unwrap().concat()
    }

    /// The end of each partition that is listed.
    pub fn ends(&self) -> BTreeMap<String, i64> {
        let partitions = self.partitions.lock().unwrap();
        partitions.iter().enumerate().map(|(at, rows)| (format!("p{at}"), rows.len() as i64)).collect()
    }

    fn split(&self, partition: usize, start: i64) -> Split {
        Split {
            id: format!("p{partition}"),
            descriptor: json!({"partition": partition, "start": start}),
            estimated_rows: None,
            estimated_bytes: None,
        }
    }

    fn complete(&self) -> bool {
        self.listed.load(Ordering::SeqCst) == self.partitions.lock().unwrap().len()
    }
}

pub fn broken(id: i64) -> bool {
    id % 7 == 5
}

/// The topic as a source.
pub struct Broker(pub Arc<Topic>);

#[async_trait]
impl Source for Broker {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: "offsets".into() }
    }
    fn unbounded(&self) -> bool {
        true
    }
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(vec![info()])
    }
    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        assert!(request.unbounded);
        let old: Vec<Split> = request.resume.iter().flat_map(|resume| &resume.progress).map(|part| part.split.clone()).collect();
        let fresh = request.resume.is_none();
        let splits = (0..self.0.listed.load(Ordering::SeqCst)).map(|partition| {
            let start = if fresh && self.0.latest { self.0.partitions.lock().unwrap()[partition].len() as i64 } else { 0 };
            let new = self.0.split(partition, start);
            old.iter().find(|split| split.id == new.id).cloned().unwrap_or(new)
        });
        Ok(Box::new(TopicReader { splits: splits.collect(), topic: self.0.clone() }))
    }
    async fn committed(&self, stream: &str, progress: &[SplitProgress]) -> Result<()> {
        assert_eq!(stream, "numbers");
        self.0.faults.step(|| {
            let mut acknowledged = self.0.acknowledged.lock().unwrap();
            for part in progress {
                let to = part.position.as_ref().unwrap().as_i64().unwrap();
                let before = acknowledged.insert(part.split.id.clone(), to);
                assert!(before.is_none_or(|before| before <= to), "an acknowledgement went back");
            }
        })
    }
}

struct TopicReader {
    splits: Vec<Split>,
    topic: Arc<Topic>,
}

#[async_trait]
impl StreamReader for TopicReader {
    fn schema(&self) -> SchemaRef {
        schema()
    }
    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }
    async fn look(&self) -> Result<Vec<Split>> {
        let topic = &self.topic;
        let all = (0..topic.listed.load(Ordering::SeqCst)).map(|partition| topic.split(partition, 0)).collect();
        topic.changed.send_modify(|version| *version += 1);
        Ok(all)
    }
    fn lags(&self) -> Vec<(String, u64)> {
        self.topic.behind.lock().unwrap().clone()
    }
    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let (topic, partition) = (self.topic.clone(), split.descriptor["partition"].as_u64().unwrap() as usize);
        let start = from.unwrap_or_else(|| split.descriptor["start"].clone()).as_i64().unwrap();
        topic.reads.lock().unwrap().push((split.id.clone(), start));
        if topic.hiccup.swap(false, Ordering::SeqCst) {
            return Err(Error::new("WEIR-TEST-002", Kind::Connect, "the broker is restarting").transient());
        }
        let (send, events) = mpsc::unbounded_channel();
        tokio::spawn(async move { give(&topic, partition, start as usize, &send).await });
        Ok(futures::stream::unfold(events, |mut events| async move { events.recv().await.map(|event| (Ok(event), events)) })
            .boxed())
    }
}

/// Gives what there is and what comes, until nobody listens.
async fn give(topic: &Topic, partition: usize, mut at: usize, send: &mpsc::UnboundedSender<Event>) {
    let mut changed = topic.changed.subscribe();
    let mut told_idle = false;
    loop {
        let rows: Vec<i64> = topic.partitions.lock().unwrap()[partition][at..].to_vec();
        for ids in rows.chunks(BATCH) {
            told_idle = false;
            for id in ids.iter().filter(|id| broken(**id)) {
                let letter = DeadLetter {
                    stream: "numbers".into(),
                    code: "WEIR-TEST-003".into(),
                    reason: "it is broken".into(),
                    place: format!("number {id}"),
                    payload: id.to_string().into_bytes(),
                    media_type: "text/plain".into(),
                };
                if send.send(Event::Dead(letter)).is_err() {
                    return;
                }
            }
            at += ids.len();
            let good: Vec<i64> = ids.iter().copied().filter(|id| !broken(*id)).collect();
            // Between positions: the first half of the batch has none.
            let (first, second) = good.split_at(good.len() / 2);
            let batch = |ids: &[i64], position| {
                let records = RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(ids.to_vec()))]).unwrap();
                Event::Batch(Batch { records, position, source_bytes: ids.len() as u64 * 8 })
            };
            if send.send(batch(first, None)).is_err() || send.send(batch(second, Some(json!(at)))).is_err() {
                return;
            }
            if partition == 0 && topic.appears && !topic.complete() {
                topic.listed.fetch_add(1, Ordering::SeqCst);
            }
        }
        changed.borrow_and_update();
        let more = topic.partitions.lock().unwrap()[partition].len() > at;
        // The reader of the first partition waits until everybody can know of the last.
        let everybody_knows =
            !topic.appears || partition != 0 || topic.reads.lock().unwrap().iter().any(|(id, _)| *id == last(topic));
        if !more && everybody_knows && !told_idle {
            told_idle = true;
            if send.send(Event::Idle).is_err() {
                return;
            }
        }
        if !more {
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                () = send.closed() => return,
            }
        }
    }
}

fn last(topic: &Topic) -> String {
    format!("p{}", topic.partitions.lock().unwrap().len() - 1)
}
