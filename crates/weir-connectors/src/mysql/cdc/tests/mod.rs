//! Against real servers of both families. The oracle is a small applier that is stricter than any sink: what is created must not be there, what
//! is changed or deleted must be. After it the tables must be equal.

mod checks;
mod concurrent;
mod failover;
mod resume;
mod schema;
mod stream;
mod types;

use std::collections::BTreeMap;
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
use weir_testkit::mysql::Flavor;
use weir_testkit::{MysqlDatabase, MysqlServer};

use super::MysqlCdc;

pub(super) const BOTH: [Flavor; 2] = [Flavor::MySql, Flavor::MariaDb];

/// A row: column → value as text.
pub(super) type Row = BTreeMap<String, Option<String>>;

/// The tables as the events left them.
#[derive(Debug, Clone, Default)]
pub(super) struct Applied {
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
        self.keys[stream].iter().map(|name| format!("{:?}", row[name])).collect::<Vec<_>>().join(",")
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
                for row in self.tables.entry(change.stream.to_string()).or_default().values_mut() {
                    let mut left = std::mem::take(row);
                    for field in change.schema.fields() {
                        let name = field.name();
                        let old = change.renamed.iter().find(|(_, new)| new == name).map_or(name, |(old, _)| old);
                        let fill = || field.metadata().get(weir_connect::fidelity::FILL).cloned();
                        row.insert(name.clone(), left.remove(old).unwrap_or_else(fill));
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
        for (row, op) in rows.into_iter().zip(&batch.ops) {
            *self.ops.entry(op.as_str()).or_default() += 1;
            let key = self.key(&batch.stream, &row);
            self.history.entry((batch.stream.to_string(), key.clone())).or_default().push((*op, row.clone()));
            let stream = batch.stream.clone();
            let past =
                || format!("{stream} {key}: {op} of {row:?}, after {:?}", self.history[&(stream.to_string(), key.clone())]);
            let table = self.tables.entry(batch.stream.to_string()).or_default();
            match op {
                Op::Create | Op::Read => {
                    let before = table.insert(key.clone(), row.clone());
                    assert!(before.is_none(), "is there: {}", past());
                }
                Op::Update => {
                    let before = table.insert(key.clone(), row.clone());
                    assert!(before.is_some(), "is not there: {}", past());
                }
                Op::Delete => {
                    let gone = table.remove(&key);
                    assert_eq!(gone.as_ref(), Some(&row), "is not what is there: {}", past());
                }
            }
        }
    }

    /// The table as sorted lines of `column=value`.
    pub fn lines(&self, stream: &str) -> Vec<String> {
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

/// A followed database.
pub(super) struct Follow {
    pub database: MysqlDatabase,
    pub options: Value,
    pub pipeline: String,
    pub state: Applied,
    pub linger: Duration,
    pub batch_bytes: usize,
    pub before: bool,
    pub on_loss: OnLoss,
}

impl Follow {
    pub fn new(database: MysqlDatabase, options: Value) -> Self {
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
    pub fn shared(flavor: Flavor, setup: &str, options: Value) -> Self {
        Self::at(&MysqlServer::shared(flavor).unwrap(), setup, options)
    }

    pub fn at(server: &MysqlServer, setup: &str, options: Value) -> Self {
        let database = server.create_database().unwrap();
        database.execute(setup).unwrap();
        Self::new(database, options)
    }

    /// The stream of a table.
    pub fn stream(&self, table: &str) -> String {
        format!("{}.{table}", self.database.name())
    }

    pub async fn source(&self) -> Arc<dyn Source> {
        self.source_at(self.database.url()).await
    }

    pub async fn source_at(&self, url: &str) -> Arc<dyn Source> {
        let context = SourceContext {
            connection: json!({ "url": url }),
            options: self.options.clone(),
            on_loss: self.on_loss.clone(),
            parallelism: 2,
            base_dir: PathBuf::from("."),
        };
        MysqlCdc::default().source(context).await.unwrap()
    }

    pub async fn open_from(&self, from: Option<Position>, until_caught_up: bool) -> Result<(Arc<dyn ChangeLog>, ChangeStream)> {
        self.open_at(self.database.url(), from, until_caught_up).await
    }

    pub async fn open_at(
        &self,
        url: &str,
        from: Option<Position>,
        until_caught_up: bool,
    ) -> Result<(Arc<dyn ChangeLog>, ChangeStream)> {
        let source = self.source_at(url).await;
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
            self.state.keys.entry(info.name).or_insert(info.primary_key);
        }
    }

    /// From the last boundary until nothing is left.
    pub async fn run(&mut self) {
        self.try_run().await.unwrap();
    }

    pub async fn try_run(&mut self) -> Result<()> {
        self.announce().await;
        let (_log, mut events) = self.open_from(self.state.position.clone(), true).await?;
        let running = async {
            while let Some(event) = events.next().await {
                self.state.apply(event?);
            }
            Ok(())
        };
        tokio::time::timeout(Duration::from_secs(90), running).await.expect("the run does not end")
    }

    /// The table must be what the server has.
    pub fn expect(&self, table: &str) {
        let expected = self.server(table);
        let found = self.state.lines(&self.stream(table));
        if found != expected {
            let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).take(5).collect();
            let extra: Vec<_> = found.iter().filter(|line| !expected.contains(line)).take(5).collect();
            panic!("{table}: {} rows instead of {}; missing {missing:#?}, too many {extra:#?}", found.len(), expected.len());
        }
    }

    fn server(&self, table: &str) -> Vec<String> {
        let names = self
            .database
            .rows(format!(
                "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = '{}' AND TABLE_NAME = '{table}' ORDER BY COLUMN_NAME",
                self.database.name()
            ))
            .unwrap();
        let names: Vec<String> = names.into_iter().map(|row| row[0].clone().unwrap()).collect();
        let list = names.iter().map(|name| format!("CAST(`{name}` AS CHAR)")).collect::<Vec<_>>().join(", ");
        let rows = self.database.rows(format!("SELECT {list} FROM `{table}`")).unwrap();
        let mut lines: Vec<String> = rows.into_iter().map(|row| line(&names.iter().cloned().zip(row).collect::<Row>())).collect();
        lines.sort();
        lines
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

/// Rows `1..=count` of `t (id, v, n)`.
pub(super) fn filled(count: usize) -> String {
    let rows: Vec<String> = (1..=count).map(|id| format!("({id}, 'start', 0)")).collect();
    format!(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(60), n int); INSERT INTO t VALUES {}; ANALYZE TABLE t",
        rows.join(", ")
    )
}
