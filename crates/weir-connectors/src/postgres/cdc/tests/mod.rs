//! Against real servers. The oracle is a small applier that is stricter than any sink: what is created must not be there, what is changed or
//! deleted must be. After it the tables must be equal.

mod checks;
mod concurrent;
mod messages;
mod resume;
mod schema;
mod speed;
mod stream;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use futures::StreamExt;
use serde_json::{Value, json};
use weir_connect::source::Position;
use weir_connect::{
    ChangeBatch, ChangeEvent, ChangeLog, ChangeRequest, ChangeSource, ChangeStream, Connector, DeadLetter, OnLoss, Op, Result,
    SchemaChange, Source, SourceContext,
};
use weir_testkit::{Database, PostgresServer};

use super::PostgresCdc;

/// A row: column → value as text.
pub(super) type Row = BTreeMap<String, Option<String>>;

/// The tables as the events left them.
#[derive(Debug, Clone, Default)]
pub(super) struct Applied {
    /// Stream → key and column of values that were absent when the row came.
    lacks: BTreeMap<String, BTreeSet<(String, String)>>,
    pub tables: BTreeMap<String, BTreeMap<String, Row>>,
    pub history: BTreeMap<(String, String), Vec<(Op, Row)>>,
    pub keys: BTreeMap<String, Vec<String>>,
    pub ops: BTreeMap<&'static str, usize>,
    pub dead: Vec<DeadLetter>,
    pub schemas: Vec<SchemaChange>,
    pub truncates: usize,
    pub position: Option<Position>,
}

impl Applied {
    fn key(&self, stream: &str, row: &Row) -> String {
        let names = &self.keys[stream];
        if names.is_empty() {
            return format!("{row:?}");
        }
        names.iter().map(|name| format!("{:?}", row[name])).collect::<Vec<_>>().join(",")
    }

    pub fn apply(&mut self, event: ChangeEvent) {
        match event {
            ChangeEvent::Changes(batch) => self.batch(&batch),
            ChangeEvent::Truncate { stream, .. } => {
                self.truncates += 1;
                self.tables.remove(&*stream);
            }
            ChangeEvent::Schema(change) => {
                self.keys.insert(change.stream.to_string(), change.key.clone());
                let names: Vec<String> = change.schema.fields().iter().map(|field| field.name().clone()).collect();
                for row in self.tables.entry(change.stream.to_string()).or_default().values_mut() {
                    for (old, new) in &change.renamed {
                        if let Some(value) = row.remove(old) {
                            row.insert(new.clone(), value);
                        }
                    }
                    row.retain(|name, _| names.contains(name));
                    for name in &names {
                        row.entry(name.clone()).or_insert(None);
                    }
                }
                self.schemas.push(change);
            }
            ChangeEvent::Dead(letter) => self.dead.push(letter),
            ChangeEvent::Boundary(boundary) => self.position = Some(boundary.position),
        }
    }

    fn batch(&mut self, batch: &ChangeBatch) {
        let rows = rows(batch);
        assert_eq!(batch.ops.len(), rows.len());
        assert_eq!(batch.absent.len(), batch.rows.num_columns());
        assert_eq!(batch.transactions.last().unwrap().end, rows.len());
        assert!(batch.transactions.is_sorted_by(|a, b| a.end < b.end));
        for (at, (row, op)) in rows.into_iter().zip(&batch.ops).enumerate() {
            *self.ops.entry(op.as_str()).or_default() += 1;
            let key = self.key(&batch.stream, &row);
            self.history.entry((batch.stream.to_string(), key.clone())).or_default().push((*op, row.clone()));
            let stream = batch.stream.clone();
            let table = self.tables.entry(batch.stream.to_string()).or_default();
            let absent = |name: &String| {
                let place = batch.rows.schema().index_of(name).unwrap();
                batch.absent[place].as_ref().is_some_and(|bits| bits.value(at))
            };
            match op {
                Op::Create | Op::Read => {
                    // A new key's large value may be lost with its row: the delete is to follow, or a change that brings it.
                    let lacks = row.keys().filter(|name| absent(name)).map(|name| (key.clone(), name.clone()));
                    self.lacks.entry(stream.to_string()).or_default().extend(lacks);
                    let before = table.insert(key.clone(), row.clone());
                    assert!(before.is_none(), "{stream} {key}: {op} of a row that is there: {before:?}, {row:?}");
                }
                Op::Update => {
                    let known =
                        table.get_mut(&key).unwrap_or_else(|| panic!("{stream} {key}: update of a row that is not there"));
                    for (name, value) in row {
                        if !absent(&name) {
                            self.lacks.entry(stream.to_string()).or_default().remove(&(key.clone(), name.clone()));
                            known.insert(name, value);
                        }
                    }
                }
                Op::Delete => {
                    let gone = table.remove(&key);
                    self.lacks.entry(stream.to_string()).or_default().retain(|(known, _)| *known != key);
                    assert!(gone.is_some(), "{stream} {key}: delete of a row that is not there");
                }
            }
        }
    }

    /// The table as sorted lines of `column=value`.
    pub fn lines(&self, stream: &str) -> Vec<String> {
        let lacks = self.lacks.get(stream).into_iter().flatten().next();
        assert!(lacks.is_none(), "{stream}: a value was never told: {lacks:?}");
        let mut lines: Vec<String> = self.tables.get(stream).into_iter().flat_map(BTreeMap::values).map(line).collect();
        lines.sort();
        lines
    }
}

fn line(row: &Row) -> String {
    row.iter().map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("NULL"))).collect::<Vec<_>>().join(" ")
}

/// The rows of a batch as text.
pub(super) fn rows(batch: &ChangeBatch) -> Vec<Row> {
    let columns: Vec<_> = batch.rows.columns().iter().map(|column| cast(column, &DataType::Utf8).unwrap()).collect();
    let cell = |column: &arrow::array::ArrayRef, at| column.is_valid(at).then(|| column.as_string::<i32>().value(at).to_string());
    let schema = batch.rows.schema();
    (0..batch.rows.num_rows())
        .map(|at| schema.fields().iter().zip(&columns).map(|(field, column)| (field.name().clone(), cell(column, at))).collect())
        .collect()
}

/// A followed database. Its slot goes with it.
pub(super) struct Follow {
    pub database: Database,
    pub options: Value,
    pub pipeline: String,
    pub state: Applied,
    pub linger: Duration,
    pub batch_bytes: usize,
    pub before: bool,
    pub on_loss: OnLoss,
}

impl Follow {
    pub fn new(database: Database, options: Value) -> Self {
        Self {
            pipeline: format!("p {}", database.name()),
            database,
            options,
            state: Applied::default(),
            linger: Duration::from_millis(50),
            batch_bytes: 64 << 10,
            before: false,
            on_loss: OnLoss::default(),
        }
    }

    /// On the shared server.
    pub fn shared(setup: &str, options: Value) -> Self {
        let database = PostgresServer::shared().unwrap().create_database().unwrap();
        database.execute(setup).unwrap();
        Self::new(database, options)
    }

    pub async fn source(&self) -> Arc<dyn Source> {
        let context = SourceContext {
            connection: json!({ "url": self.database.url() }),
            options: self.options.clone(),
            on_loss: self.on_loss.clone(),
            parallelism: 2,
            base_dir: PathBuf::from("."),
        };
        PostgresCdc::default().source(context).await.unwrap()
    }

    pub async fn open_from(&self, from: Option<Position>, until_caught_up: bool) -> Result<(Arc<dyn ChangeLog>, ChangeStream)> {
        let source = self.source().await;
        let changes: &dyn ChangeSource = source.changes().unwrap();
        let streams = changes.streams().await?.into_iter().map(|info| info.name).collect();
        let log = changes
            .open(ChangeRequest {
                pipeline: self.pipeline.clone(),
                streams,
                from,
                until_caught_up,
                before_images: self.before,
                parallelism: 2,
                batch_bytes: self.batch_bytes,
                linger: self.linger,
            })
            .await?;
        let events = log.read().await?;
        Ok((log, events))
    }

    /// Learns the keys that the source announces.
    pub async fn announce(&mut self) {
        let source = self.source().await;
        for info in source.changes().unwrap().streams().await.unwrap() {
            self.state.keys.insert(info.name, info.primary_key);
        }
    }

    /// From the last boundary until nothing is left; every boundary is acknowledged.
    pub async fn run(&mut self) {
        self.try_run().await.unwrap();
    }

    pub async fn try_run(&mut self) -> Result<()> {
        self.announce().await;
        let (log, mut events) = self.open_from(self.state.position.clone(), true).await?;
        while let Some(event) = events.next().await {
            let event = event?;
            let bounded = matches!(event, ChangeEvent::Boundary(_));
            self.state.apply(event);
            if bounded && let Some(position) = &self.state.position {
                log.acknowledge(position).await?;
            }
        }
        Ok(())
    }

    /// The table must be what the server has.
    pub fn expect(&self, stream: &str) {
        let expected = self.server(stream);
        let found = self.state.lines(stream);
        if found != expected {
            let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).take(5).collect();
            let extra: Vec<_> = found.iter().filter(|line| !expected.contains(line)).take(5).collect();
            panic!("{stream}: {} rows instead of {}; missing {missing:#?}, too many {extra:#?}", found.len(), expected.len());
        }
    }

    fn server(&self, stream: &str) -> Vec<String> {
        let names = self.database.rows(format!("SELECT attname FROM pg_attribute WHERE attrelid = '{stream}'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attname")).unwrap();
        let names: Vec<String> = names.into_iter().map(|row| row[0].clone().unwrap()).collect();
        let list = names
            .iter()
            .map(|name| format!("CASE WHEN {name} IS NOT NULL THEN format('%s', {name}) END"))
            .collect::<Vec<_>>()
            .join(", ");
        let rows = self
            .database
            .rows(format!("SELECT {list} FROM ONLY {stream} t"))
            .or_else(|_| self.database.rows(format!("SELECT {list} FROM {stream} t")));
        let partitioned =
            self.database.value(format!("SELECT relkind FROM pg_class WHERE oid = '{stream}'::regclass")).unwrap() == "p";
        let rows = if partitioned { self.database.rows(format!("SELECT {list} FROM {stream} t")) } else { rows };
        let mut lines: Vec<String> =
            rows.unwrap().into_iter().map(|row| line(&names.iter().cloned().zip(row).collect::<Row>())).collect();
        lines.sort();
        lines
    }

    /// Waits until nobody uses the slot.
    pub async fn idle(&self) {
        let sql = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{}' AND active", self.slot());
        let idle = async {
            while self.database.value(&sql).unwrap() != "0" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), idle).await.expect("the slot is still in use");
    }

    pub fn slot(&self) -> String {
        let options = serde_json::from_value(self.options.clone()).unwrap();
        super::Names::of(&self.pipeline, self.database.name(), &options).slot
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let slot = self.slot();
        let _ = self.database.execute(format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active"
        ));
        for _ in 0..200 {
            let dropped = self.database.execute(format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'"
            ));
            if dropped.is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The next event for which `take` has an answer; the others are applied.
pub(super) async fn until<T>(
    events: &mut ChangeStream,
    state: &mut Applied,
    mut take: impl FnMut(&ChangeEvent, &Applied) -> Option<T>,
) -> T {
    let searching = async {
        loop {
            let event = events.next().await.expect("the stream ended").unwrap();
            let found = take(&event, state);
            state.apply(event);
            if let Some(found) = found {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), searching).await.expect("what was waited for did not come")
}
