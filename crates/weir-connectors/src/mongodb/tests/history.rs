//! What a reader of changes sees, per key, and what happened at the peer: one must be a tail of the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use futures::StreamExt;
use mongodb::bson::{Bson, doc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};
use weir_connect::source::Position;
use weir_connect::{ChangeBatch, ChangeEvent, ChangeLog, ChangeRequest, Connector, OnLoss, Op, Result, Source, SourceContext};

use super::super::cdc::MongodbCdc;
use super::peer::{Model, Peer};

/// Longer than the server waits for changes.
pub const QUIET: Duration = Duration::from_millis(400);

/// The options that give exact images, of a collection with post-images.
pub fn exact() -> Json {
    json!({ "collections": ["orders"], "schema": "infer", "full_document": "when_available", "chunk_documents": 4, "await_ms": 20, "on_drop": "truncate" })
}

/// A source of changes.
pub async fn source(peer: &Peer, options: Json) -> Arc<dyn Source> {
    let context = SourceContext {
        connection: peer.connection(),
        options,
        on_loss: OnLoss::default(),
        parallelism: 1,
        base_dir: PathBuf::from("."),
    };
    MongodbCdc::default().source(context).await.unwrap()
}

/// Opens its log for `orders`.
pub async fn open(source: &Arc<dyn Source>, from: Option<Position>, until_caught_up: bool) -> Result<Arc<dyn ChangeLog>> {
    let request = ChangeRequest {
        pipeline: "p".into(),
        streams: vec!["orders".into()],
        from,
        until_caught_up,
        before_images: false,
        parallelism: 1,
        batch_bytes: 0,
        linger: Duration::from_millis(1),
    };
    source.changes().unwrap().open(request).await
}

/// Reads until `enough` says so, or the end, or until nothing comes while nobody writes. An error ends the test.
pub async fn read(
    log: &Arc<dyn ChangeLog>,
    busy: Option<&Busy>,
    mut enough: impl FnMut(&ChangeEvent) -> bool,
) -> Vec<ChangeEvent> {
    let mut stream = log.read().await.unwrap();
    let mut events = Vec::new();
    loop {
        match tokio::time::timeout(QUIET, stream.next()).await {
            Ok(None) => return events,
            Ok(Some(event)) => {
                let event = event.unwrap();
                let last = enough(&event);
                events.push(event);
                if last {
                    return events;
                }
            }
            Err(_) if busy.is_some_and(Busy::done) => return events,
            Err(_) => {}
        }
    }
}

/// All changes up to what was there when the log was opened.
pub async fn caught_up(peer: &Peer, options: Json, from: Option<Position>) -> Vec<ChangeEvent> {
    let source = source(peer, options).await;
    read(&open(&source, from, true).await.unwrap(), None, |_| false).await
}

/// The last position.
pub fn position(events: &[ChangeEvent]) -> Option<Position> {
    events
        .iter()
        .rev()
        .find_map(|event| if let ChangeEvent::Boundary(boundary) = event { Some(boundary.position.clone()) } else { None })
}

/// What a boundary stands behind.
pub fn durable(mut events: Vec<ChangeEvent>) -> Vec<ChangeEvent> {
    let end = events.iter().rposition(|event| matches!(event, ChangeEvent::Boundary(_))).map_or(0, |at| at + 1);
    events.truncate(end);
    events
}

/// The batches.
pub fn batches(events: &[ChangeEvent]) -> Vec<&ChangeBatch> {
    events.iter().filter_map(|event| if let ChangeEvent::Changes(batch) = event { Some(batch) } else { None }).collect()
}

/// All batches as one: rows, operations, and per column which rows are absent.
pub fn together(events: &[ChangeEvent]) -> (RecordBatch, Vec<Op>, Vec<Vec<bool>>) {
    let batches = batches(events);
    let rows: Vec<_> = batches.iter().map(|batch| &batch.rows).collect();
    let rows = arrow::compute::concat_batches(&batches[0].rows.schema(), rows).unwrap();
    let ops = batches.iter().flat_map(|batch| batch.ops.clone()).collect();
    let absent = (0..rows.num_columns()).map(|column| {
        let bits = batches.iter().map(|batch| match &batch.absent[column] {
            Some(bits) => bits.iter().collect(),
            None => vec![false; batch.ops.len()],
        });
        bits.collect::<Vec<_>>().concat()
    });
    let absent = absent.collect();
    (rows, ops, absent)
}

/// Rows as operation, key and the value of `v`: `None` = absent or NULL.
pub fn rows(events: &[ChangeEvent]) -> Vec<(Op, i32, Option<i32>)> {
    let mut rows = Vec::new();
    for batch in batches(events) {
        let column = |name: &str| batch.rows.column_by_name(name).unwrap().as_primitive::<Int32Type>().clone();
        let (ids, values) = (column("_id"), column("v"));
        for (at, op) in batch.ops.iter().enumerate() {
            rows.push((*op, ids.value(at), values.is_valid(at).then(|| values.value(at))));
        }
        assert_eq!(batch.transactions.last().unwrap().end, batch.ops.len());
    }
    rows
}

/// What happened: per key the versions it had, `None` = deleted.
pub type Happened = Arc<Mutex<BTreeMap<i32, Vec<Option<i32>>>>>;

/// A collection of 30 documents, and writers that do something whenever a command arrives.
pub struct Busy {
    /// What they did.
    pub happened: Happened,
    /// How much is left to do.
    pub left: Arc<Mutex<usize>>,
}

impl Busy {
    /// Seeds the peer and begins.
    pub fn begin(peer: &Peer, seed: u64, writes: usize) -> Self {
        let happened: Happened = Happened::default();
        for n in 0..30 {
            peer.model().put("orders", doc! { "_id": n, "v": 0 });
            happened.lock().unwrap().insert(n, vec![Some(0)]);
        }
        let left = Arc::new(Mutex::new(writes));
        let busy = Self { happened: happened.clone(), left: left.clone() };
        let (mut random, mut version) = (StdRng::seed_from_u64(seed), 0);
        peer.hook(move |command, model: &mut Model| {
            if !matches!(command, "find" | "getMore" | "ping" | "aggregate") {
                return;
            }
            for _ in 0..random.random_range(0..4) {
                if *left.lock().unwrap() == 0 {
                    return;
                }
                *left.lock().unwrap() -= 1;
                version += 1;
                let key = random.random_range(0..40);
                let id = Bson::Int32(key);
                let there = model.get("orders", &id).is_some();
                let state = match random.random_range(0..10) {
                    0..2 if there => {
                        model.delete("orders", id);
                        None
                    }
                    2..4 => {
                        model.put("orders", doc! { "_id": key, "v": version });
                        Some(version)
                    }
                    4 => {
                        let other = 100 + key;
                        model.transaction("orders", vec![doc! { "_id": key, "v": version }, doc! { "_id": other, "v": version }]);
                        happened.lock().unwrap().entry(other).or_default().push(Some(version));
                        Some(version)
                    }
                    _ if there => {
                        model.set("orders", id, doc! { "v": version });
                        Some(version)
                    }
                    _ => continue,
                };
                happened.lock().unwrap().entry(key).or_default().push(state);
            }
        });
        busy
    }

    /// Whether the writers are done.
    pub fn done(&self) -> bool {
        *self.left.lock().unwrap() == 0
    }

    /// Each key's history as read is a tail of the one that happened, without a gap or a step back.
    pub fn check(&self, events: &[ChangeEvent]) {
        let mut read: BTreeMap<i32, Vec<Option<i32>>> = BTreeMap::new();
        for (op, key, version) in rows(events) {
            let history = read.entry(key).or_default();
            let version = if op == Op::Delete { None } else { version };
            // A row of the snapshot may say again what a change has said.
            if op == Op::Read && history.last() == Some(&version) {
                continue;
            }
            history.push(version);
        }
        for (key, happened) in &*self.happened.lock().unwrap() {
            let read = read.remove(key).unwrap_or_default();
            let gone = happened.last() == Some(&None);
            assert!(happened.ends_with(&read), "key {key}: {happened:?} happened, {read:?} was read");
            assert!(!read.is_empty() || gone, "key {key} was never read: {happened:?}");
        }
        assert!(read.is_empty(), "keys that never were: {read:?}");
    }
}
