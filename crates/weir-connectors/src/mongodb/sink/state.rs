//! How far each run got, kept in a collection beside the target, so that it changes in the same transaction as the documents.
//!
//! One document per run: `attempt` is a fence, which every writing transaction changes the document under; `progress` is how far the log got;
//! `ahead` counts changes that were made visible before their progress (see `super::changes`); `report` says that the run was committed.
//! One document per target: the columns that were written there, for the contract.

use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;
use weir_connect::{Barrier, CommitReport, Error, Kind, Result, RunIdentity, SplitProgress};

use super::super::client::Client;
use super::bulk::{Fault, Target, count};

/// The version of what is written here.
const VERSION: i32 = 1;

fn digest(parts: &[&str]) -> String {
    let mut text = Vec::new();
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    format!("{:032x}", XxHash3_128::oneshot(&text))
}

/// A run, as it is remembered.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// The fence.
    pub attempt: i64,
    /// The report, once committed.
    pub committed: Option<CommitReport>,
    /// A commit has begun to bring staged rows into the target.
    pub publishing: bool,
    /// How far the log got.
    pub progress: Vec<SplitProgress>,
    /// Changes that it accounts for, and their bytes.
    pub rows: u64,
    /// See above.
    pub bytes: u64,
    /// Changes behind the progress that are visible already.
    pub ahead: u64,
}

/// A column that was written to a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Its name.
    pub name: String,
    /// The type in BSON.
    pub kind: String,
}

/// The memory of one run.
#[derive(Clone)]
pub struct Ledger {
    state: Target,
    stream_id: String,
    run: String,
    facts: Document,
}

fn unreadable(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-MONGO-040", Kind::Data, "what is kept about a run cannot be read")
        .at(place)
        .because(why)
        .hint("was it written by a newer version of Weir?")
}

/// Another attempt has begun.
pub fn overtaken(place: &str) -> Error {
    Error::new("WEIR-MONGO-037", Kind::Conflict, "another attempt of this run has taken over")
        .at(place)
        .hint("only one process may execute a run; this one stops without writing anything more")
}

impl Ledger {
    /// Of this run of this stream.
    pub fn new(client: Client, collection: &str, run: &RunIdentity, node: &str, stream: &str, target: &str) -> Self {
        let place = format!("{}.{collection}", client.place);
        let stream_id = digest(&[&run.pipeline, node, stream]);
        let word = digest(&[&run.pipeline, node, stream, &run.run_id]);
        let facts = doc! {
            "kind": "run", "version": VERSION, "stream_id": &stream_id, "pipeline": &run.pipeline, "node": node, "stream": stream,
            "run_id": &run.run_id, "target": target,
        };
        Self { state: Target { client, collection: collection.into(), place }, stream_id, run: word, facts }
    }

    /// A word that no other run has.
    pub fn word(&self) -> &str {
        &self.run
    }

    async fn command(&self, mut command: Document, session: Option<&mut ClientSession>) -> std::result::Result<Document, Fault> {
        if session.is_none() {
            command.insert("writeConcern", doc! { "w": "majority" });
        }
        self.state.command(command, session).await
    }

    async fn plain(&self, command: Document) -> Result<Document> {
        self.command(command, None).await.map_err(|fault| fault.shown(&self.state.place))
    }

    /// Begins an attempt: fences off writers of earlier ones. A transaction of theirs that is not committed yet can no more be.
    pub async fn begin(&self) -> Result<Run> {
        let mut facts = self.facts.clone();
        facts.insert("started_at", DateTime::now());
        let command = doc! {
            "findAndModify": &self.state.collection, "query": { "_id": &self.run }, "new": true, "upsert": true,
            "update": { "$inc": { "attempt": 1_i64 }, "$set": { "changed_at": DateTime::now() }, "$setOnInsert": facts },
        };
        let answer = self.plain(command).await?;
        match answer.get_document("value") {
            Ok(found) => self.read(found),
            Err(error) => Err(unreadable(&self.state.place, error)),
        }
    }

    fn read(&self, found: &Document) -> Result<Run> {
        let wrong = |why: &dyn std::fmt::Display| unreadable(&self.state.place, why);
        if count(found, "version") > VERSION as u64 {
            return Err(wrong(&format!("version {}", count(found, "version"))));
        }
        let text = |name: &str| found.get_str(name).ok();
        let progress = match text("progress") {
            Some(text) => serde_json::from_str(text).map_err(|error| wrong(&error))?,
            None => Vec::new(),
        };
        let committed = match text("report") {
            Some(text) => Some(serde_json::from_str(text).map_err(|error| wrong(&error))?),
            None => None,
        };
        Ok(Run {
            attempt: i64::try_from(count(found, "attempt")).unwrap_or(i64::MAX),
            committed,
            publishing: found.get_bool("publishing").unwrap_or(false),
            progress,
            rows: count(found, "rows"),
            bytes: count(found, "bytes"),
            ahead: count(found, "ahead"),
        })
    }

    /// As it is now.
    pub async fn look(&self) -> Result<Run> {
        let command = doc! { "find": &self.state.collection, "filter": { "_id": &self.run }, "limit": 1, "singleBatch": true };
        match self.first(command).await? {
            Some(found) => self.read(&found),
            None => Err(Error::new("WEIR-MONGO-040", Kind::Conflict, "the run is not in the target's state any more")
                .at(self.state.place.clone())),
        }
    }

    async fn first(&self, command: Document) -> Result<Option<Document>> {
        let answer = self.state.command(command, None).await.map_err(|fault| fault.shown(&self.state.place))?;
        let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        Ok(batch.ok().and_then(|batch| batch.first()).and_then(Bson::as_document).cloned())
    }

    /// Changes the run's document, under the fence.
    async fn change(
        &self,
        attempt: i64,
        update: Document,
        session: Option<&mut ClientSession>,
    ) -> std::result::Result<(), Fault> {
        // `null` is also what is not there.
        let query = doc! { "_id": &self.run, "attempt": attempt, "report": Bson::Null };
        let command = doc! { "update": &self.state.collection, "updates": [{ "q": query, "u": update }] };
        let answer = self.command(command, session).await?;
        if count(&answer, "n") == 1 { Ok(()) } else { Err(Fault::Ours(overtaken(&self.state.place))) }
    }

    /// So many changes behind the progress are visible, or may be.
    pub async fn go_ahead(&self, attempt: i64, rows: u64, session: Option<&mut ClientSession>) -> std::result::Result<(), Fault> {
        let update = doc! { "$set": { "ahead": rows as i64, "changed_at": DateTime::now() } };
        self.change(attempt, update, session).await
    }

    /// What a flush of changes adds; `ahead` changes behind it are visible since an earlier attempt.
    pub async fn record(
        &self,
        attempt: i64,
        barrier: &Barrier,
        (rows, bytes): (u64, u64),
        ahead: u64,
        session: Option<&mut ClientSession>,
    ) -> std::result::Result<(), Fault> {
        let mut set = doc! { "ahead": ahead as i64, "epoch": barrier.epoch as i64, "changed_at": DateTime::now() };
        if !barrier.progress.is_empty() {
            let text = serde_json::to_string(&barrier.progress)
                .map_err(|error| Error::internal("progress cannot be written").caused_by(error))?;
            set.insert("progress", text);
        }
        let update = doc! { "$set": set, "$inc": { "rows": rows as i64, "bytes": bytes as i64 } };
        self.change(attempt, update, session).await
    }

    /// From here on rows of this run may be in the target.
    pub async fn publishing(&self, attempt: i64) -> Result<()> {
        let update = doc! { "$set": { "publishing": true } };
        self.change(attempt, update, None).await.map_err(|fault| fault.shown(&self.state.place))
    }

    /// Forgets how far this run got.
    pub async fn forget(&self) -> Result<()> {
        let update = doc! { "$unset": { "progress": "", "rows": "", "bytes": "", "ahead": "", "publishing": "" } };
        let command = doc! { "update": &self.state.collection, "updates": [{ "q": { "_id": &self.run }, "u": update }] };
        self.plain(command).await.map(drop)
    }

    /// The run is done. What earlier runs of the stream left here is not needed any more.
    pub async fn committed(&self, attempt: i64, report: &CommitReport) -> Result<()> {
        let text = serde_json::to_string(report).unwrap_or_default();
        let update = doc! { "$set": { "report": text, "changed_at": DateTime::now() } };
        self.change(attempt, update, None).await.map_err(|fault| fault.shown(&self.state.place))?;
        let others = doc! { "stream_id": &self.stream_id, "_id": { "$ne": &self.run } };
        self.plain(doc! { "delete": &self.state.collection, "deletes": [{ "q": others, "limit": 0 }] }).await.map(drop)
    }

    /// The words of other runs of this stream, which may have left collections over.
    pub async fn other_runs(&self) -> Result<Vec<String>> {
        let filter = doc! { "stream_id": &self.stream_id, "_id": { "$ne": &self.run } };
        let command = doc! { "find": &self.state.collection, "filter": filter, "singleBatch": true, "batchSize": 1000 };
        let answer = self.state.command(command, None).await.map_err(|fault| fault.shown(&self.state.place))?;
        let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        let word = |found: &Bson| found.as_document()?.get_str("_id").ok().map(str::to_owned);
        Ok(batch.map(|batch| batch.iter().filter_map(word).collect()).unwrap_or_default())
    }

    /// The columns that were written to a target; `None` if nothing is known of it.
    pub async fn noted(&self, target: &str) -> Result<Option<Vec<Noted>>> {
        let id = format!("columns of {target}");
        let command = doc! { "find": &self.state.collection, "filter": { "_id": id }, "limit": 1, "singleBatch": true };
        match self.first(command).await?.as_ref().and_then(|found| found.get_str("columns").ok()) {
            Some(text) => serde_json::from_str(text).map(Some).map_err(|error| unreadable(&self.state.place, error)),
            None => Ok(None),
        }
    }

    /// Notes the columns of a target.
    pub async fn note(
        &self,
        target: &str,
        columns: &[Noted],
        session: Option<&mut ClientSession>,
    ) -> std::result::Result<(), Fault> {
        let text = serde_json::to_string(columns).unwrap_or_default();
        let update = doc! { "$set": { "kind": "columns", "version": VERSION, "columns": text, "changed_at": DateTime::now() } };
        let query = doc! { "_id": format!("columns of {target}") };
        let command = doc! { "update": &self.state.collection, "updates": [{ "q": query, "u": update, "upsert": true }] };
        self.command(command, session).await.map(drop)
    }
}
