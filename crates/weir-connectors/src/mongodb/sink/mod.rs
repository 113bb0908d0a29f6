//! Writing: what a run does to its collection.
//!
//! | what | where |
//! | --- | --- |
//! | options; what a stream's target is, against the contract | `options`, `plan` |
//! | Arrow → BSON: the table of types, values, JSON text | `types`, `encode`, `json` |
//! | commands with many writes, and what the server says | `bulk` |
//! | how far each run got | `state` |
//! | a batch: staged, and brought in at once (append, overwrite, upsert, merge) | `staged` |
//! | changes by key (`mode: cdc`) | `changes` |
//!
//! Not here: reading, and the driver's errors in words (`super::errors`).

mod bulk;
pub mod changes;
pub mod encode;
mod json;
pub mod options;
mod plan;
mod staged;
mod state;
pub mod types;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::datatypes::Field;
use async_trait::async_trait;
use mongodb::bson::doc;
use tokio::sync::OnceCell;
use weir_connect::{
    ChangeWriter, CommitKind, CommitReport, CommitToken, DeleteMode, Error, OnLoss, Recovery, Result, Sink, SinkCapabilities,
    SinkType, StreamSink, StreamTarget, StreamWriter, WriteMode, failpoint,
};

use super::client::Client;
use super::config::ConnectionOptions;
use super::errors;
use bulk::{Fault, Target};
use changes::{Changes, Setup};
use options::{IdRule, SinkOptions, Transactions};
use plan::Plan;
use staged::{Lane, Publish, Shared};
use state::{Ledger, Run};

/// A namespace of that name is there already.
const EXISTS: i32 = 48;

/// A configured sink.
pub struct MongoSink {
    connection: ConnectionOptions,
    options: SinkOptions,
    on_loss: OnLoss,
    node: String,
    base: PathBuf,
    client: OnceCell<Client>,
}

impl MongoSink {
    /// Connects when it is needed.
    pub fn new(connection: ConnectionOptions, options: SinkOptions, on_loss: OnLoss, node: String, base: PathBuf) -> Self {
        Self { connection, options, on_loss, node, base, client: OnceCell::new() }
    }

    async fn client(&self) -> Result<Client> {
        self.client.get_or_try_init(|| Client::open(&self.connection, &self.base)).await.cloned()
    }

    fn target(&self, client: &Client, stream: &str) -> Target {
        let collection = self.options.name(stream);
        let place = format!("{}.{collection}", client.place);
        Target { client: client.clone(), collection, place }
    }

    fn ledger(&self, target: &StreamTarget, place: &Target) -> Ledger {
        let state = &self.options.state_collection;
        Ledger::new(place.client.clone(), state, &target.run, &self.node, &target.stream, &place.collection)
    }
}

/// A replica set or a sharded cluster: what has transactions.
async fn has_transactions(client: &Client) -> Result<bool> {
    let hello = client.hello().await?;
    Ok(hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|text| text == "isdbgrid"))
}

/// Makes a collection; one that is there is fine.
async fn create(target: &Target) -> Result<()> {
    let command = doc! { "create": &target.collection, "writeConcern": { "w": "majority" } };
    match target.command(command, None).await {
        Ok(_) => Ok(()),
        Err(Fault::Driver(error)) if errors::server_code(&error) == Some(EXISTS) => Ok(()),
        Err(fault) => Err(fault.shown(&target.place)),
    }
}

/// Removes a collection; one that is not there is fine.
async fn remove(target: &Target) -> Result<()> {
    let command = doc! { "drop": &target.collection, "writeConcern": { "w": "majority" } };
    match target.command(command, None).await {
        Ok(_) => Ok(()),
        Err(Fault::Driver(error)) if errors::server_code(&error) == Some(26) => Ok(()),
        Err(fault) => Err(fault.shown(&target.place)),
    }
}

#[async_trait]
impl Sink for MongoSink {
    fn capabilities(&self, mode: WriteMode) -> SinkCapabilities {
        let by_key = matches!(mode, WriteMode::Upsert | WriteMode::Merge);
        let (commit, commit_note) = match self.options.transactions {
            // A batch is staged in any case; it is of changes that this speaks.
            Transactions::Never if by_key => (
                CommitKind::Idempotent,
                "mongodb with `transactions: never` applies the last changes again after a crash, each to the same end"
                    .to_owned(),
            ),
            _ if by_key => (
                CommitKind::Staged,
                format!(
                    "mongodb stages a batch and brings it in at the end; changes and their position ({}) are one transaction of the replica set",
                    self.options.state_collection
                ),
            ),
            _ => (CommitKind::Staged, "mongodb stages a run and brings it in at the end".to_owned()),
        };
        let write_modes = match self.options.id {
            Some(IdRule::Generated) => vec![WriteMode::Append, WriteMode::Overwrite],
            _ => vec![WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert, WriteMode::Merge],
        };
        SinkCapabilities { commit, commit_note, write_modes }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        types::sink_type(field, self.options.json)
    }

    fn place(&self, stream: &str) -> String {
        format!("{} in {}", self.options.name(stream), self.connection.place())
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        let client = self.client().await?;
        let place = self.target(&client, &target.stream);
        if target.changes && self.options.transactions == Transactions::Required && !has_transactions(&client).await? {
            return Err(no_transactions(&place.place));
        }
        let ledger = self.ledger(target, &place);
        plan::examine(&place, &ledger, target, &self.options, &self.on_loss).await.map(|plan| plan.changes)
    }

    async fn columns(&self, target: &StreamTarget) -> Result<Option<Vec<String>>> {
        let place = self.target(&self.client().await?, &target.stream);
        if !plan::find(&place.client, &place.collection).await?.there {
            return Ok(None);
        }
        let noted = self.ledger(target, &place).noted(&place.collection).await?;
        Ok(noted.map(|noted| noted.into_iter().map(|note| note.name).collect()))
    }

    fn applies_changes(&self) -> bool {
        self.options.id != Some(IdRule::Generated)
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        let client = self.client().await?;
        let place = self.target(&client, &target.stream);
        let transactional = self.options.transactions == Transactions::Required;
        if target.changes && transactional && !has_transactions(&client).await? {
            return Err(no_transactions(&place.place));
        }
        let ledger = self.ledger(&target, &place);
        let run = ledger.begin().await?;
        let plan = plan::examine(&place, &ledger, &target, &self.options, &self.on_loss).await?;
        let staging = staging(&client, ledger.word());
        if target.changes && run.committed.is_none() {
            if !plan.found.there {
                // The collection that held this run's documents is not there (any more): what the ledger says of it is not true.
                ledger.forget().await?;
                create(&place).await?;
            }
            ledger.note(&place.collection, &plan.noted, None).await.map_err(|fault| fault.shown(&place.place))?;
        } else if run.committed.is_none() {
            for word in ledger.other_runs().await? {
                remove(&self::staging(&client, &word)).await?;
            }
            create(&staging).await?;
        } else {
            // Somebody died after the commit.
            remove(&staging).await?;
        }
        let shared = Arc::new(Shared {
            staging,
            layout: plan.layout.clone(),
            attempt: run.attempt,
            // Later attempts come later in the order.
            sequence: AtomicU64::new(u64::try_from(run.attempt).unwrap_or_default() << 40),
        });
        let (options, on_loss) = (self.options.clone(), self.on_loss.clone());
        Ok(Box::new(MongoStream { shared, ledger, run, place, target, plan, options, on_loss }))
    }
}

fn staging(client: &Client, word: &str) -> Target {
    let collection = format!("_weir_stage_{word}");
    let place = format!("{}.{collection}", client.place);
    Target { client: client.clone(), collection, place }
}

fn no_transactions(place: &str) -> Error {
    Error::new("WEIR-MONGO-032", weir_connect::Kind::Unsupported, "the server has no transactions, and changes need them")
        .at(place)
        .because("it is a single server, and neither a member of a replica set nor of a sharded cluster")
        .hint("make it a replica set (one member is enough: start it with `--replSet rs0`, run rs.initiate()); or set `transactions: never` on the sink: after a crash the last changes are applied again, each to the same end")
}

/// One stream's way into its collection, for one run.
struct MongoStream {
    shared: Arc<Shared>,
    ledger: Ledger,
    run: Run,
    place: Target,
    target: StreamTarget,
    plan: Plan,
    options: SinkOptions,
    on_loss: OnLoss,
}

#[async_trait]
impl StreamSink for MongoStream {
    async fn recover(&self) -> Result<Recovery> {
        if !self.target.changes {
            return Ok(Recovery { progress: None, committed: self.run.committed.clone(), rows: 0 });
        }
        let run = self.ledger.look().await?;
        Ok(Recovery { progress: Some(run.progress), committed: run.committed, rows: run.rows })
    }

    async fn discard(&self, keep: &[CommitToken]) -> Result<()> {
        if self.run.committed.is_some() {
            return Ok(());
        }
        if self.target.changes {
            // Applied changes cannot be told from other documents; a new snapshot replaces them by key.
            return self.ledger.forget().await;
        }
        let staging = &self.shared.staging;
        let pieces = staged::pieces(keep)?;
        if pieces.is_empty() {
            remove(staging).await?;
            self.ledger.forget().await?;
            return create(staging).await;
        }
        let names: Vec<&str> = pieces.iter().map(|piece| piece.piece.as_str()).collect();
        let command = doc! {
            "delete": &staging.collection, "deletes": [{ "q": { "p": { "$nin": names } }, "limit": 0 }], "writeConcern": { "w": "majority" },
        };
        staging.command(command, None).await.map(drop).map_err(|fault| fault.shown(&staging.place))
    }

    async fn writer(&self, lane: usize) -> Result<Box<dyn StreamWriter>> {
        if self.run.committed.is_some() || self.target.changes {
            return Err(Error::internal("a writer of rows was asked for another stream").at(self.place.place.clone()));
        }
        Ok(Box::new(Lane::new(self.shared.clone(), lane)))
    }

    async fn change_writer(&self, deletes: DeleteMode) -> Result<Box<dyn ChangeWriter>> {
        if self.run.committed.is_some() || !self.target.changes {
            return Err(Error::internal("a writer of changes was asked for another stream").at(self.place.place.clone()));
        }
        let setup = Setup {
            options: self.options.clone(),
            on_loss: self.on_loss.clone(),
            deletes,
            transactional: self.options.transactions == Transactions::Required,
            attempt: self.run.attempt,
        };
        let again = self.ledger.look().await?.ahead;
        let (place, ledger) = (self.place.clone(), self.ledger.clone());
        Ok(Box::new(Changes::new(place, ledger, setup, self.target.clone(), self.plan.clone(), again)?))
    }

    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        let run = self.ledger.look().await?;
        if let Some(done) = run.committed {
            return Ok(done);
        }
        if run.attempt != self.run.attempt {
            return Err(state::overtaken(&self.place.place));
        }
        let report = |rows, bytes| CommitReport { rows, bytes, objects: 1, place: self.place.place.clone() };
        if self.target.changes {
            let done = report(run.rows, run.bytes);
            self.ledger.committed(self.run.attempt, &done).await?;
            return Ok(done);
        }
        let pieces = staged::pieces(tokens)?;
        let done = report(pieces.iter().map(|piece| piece.rows).sum(), pieces.iter().map(|piece| piece.bytes).sum());
        let publish = Publish {
            staging: &self.shared.staging,
            target: &self.place,
            pieces: &pieces,
            mode: self.target.write_mode,
            rule: self.plan.rule,
        };
        publish.complete().await?;
        if !run.publishing {
            publish.new_keys().await?;
            self.ledger.publishing(self.run.attempt).await?;
        }
        failpoint!("mongodb.commit.before");
        if self.target.write_mode != WriteMode::Overwrite {
            create(&self.place).await?;
        }
        publish.carry_out().await?;
        failpoint!("mongodb.commit.after");
        let noted = self.ledger.note(&self.place.collection, &self.plan.noted, None).await;
        noted.map_err(|fault| fault.shown(&self.place.place))?;
        self.ledger.committed(self.run.attempt, &done).await?;
        remove(&self.shared.staging).await?;
        Ok(done)
    }
}
