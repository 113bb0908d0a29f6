//! The checkpoint store: one SQLite file per state folder.
//!
//! Everything that belongs together is written in one transaction with `synchronous=FULL`: an epoch with its positions,
//! sink tokens, counters and dead letters; a flow's commit with the cursor it moves. What is not here: what happened
//! *inside* the sinks. They are asked first (see [`weir_connect::sink`]).
//!
//! * this file: the schema and the run's own writes and reads;
//! * [`inspect`]: what `weir state` and `weir dead` show and change.

pub mod inspect;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, Sqlite, Transaction};
use weir_connect::{CommitReport, DeadLetter, SplitProgress};
use weir_error::{Error, Kind, Result};

use crate::cursor::CursorState;

/// Version of the file's schema. A newer file is refused, an older one is migrated step by step.
const VERSION: i64 = 2;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS run (
  run_id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, fingerprint TEXT NOT NULL, status TEXT NOT NULL,
  attempts INTEGER NOT NULL, started_at TEXT NOT NULL, ended_at TEXT, report TEXT);
CREATE INDEX IF NOT EXISTS run_by_pipeline ON run (pipeline, started_at);
CREATE TABLE IF NOT EXISTS flow (
  run_id TEXT NOT NULL, flow TEXT NOT NULL, phase TEXT NOT NULL, readers TEXT NOT NULL, reports TEXT,
  PRIMARY KEY (run_id, flow));
CREATE TABLE IF NOT EXISTS epoch (
  run_id TEXT NOT NULL, flow TEXT NOT NULL, epoch INTEGER NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (run_id, flow, epoch));
CREATE TABLE IF NOT EXISTS dead_letter (
  id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, run_id TEXT NOT NULL, flow TEXT NOT NULL, epoch INTEGER NOT NULL,
  stream TEXT NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL, place TEXT NOT NULL, media_type TEXT NOT NULL,
  payload BLOB NOT NULL, at TEXT NOT NULL, replayed_at TEXT, sink TEXT);
CREATE INDEX IF NOT EXISTS dead_by_pipeline ON dead_letter (pipeline, run_id, flow, epoch);
CREATE TABLE IF NOT EXISTS stream_state (
  pipeline TEXT NOT NULL, flow TEXT NOT NULL, node TEXT NOT NULL, run_id TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (pipeline, flow, node));
";

/// Counters of one epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Rows read, dead letters included.
    pub read: u64,
    /// Rows taken out by filters, summed over the outputs.
    pub filtered: u64,
    /// Dead letters, summed over the outputs.
    pub dead: u64,
    /// Rows given to each output.
    pub written: Vec<u64>,
    /// Source bytes.
    pub bytes_read: u64,
}

impl Counts {
    /// Adds another epoch's counters.
    pub fn add(&mut self, other: &Counts) {
        self.read += other.read;
        self.filtered += other.filtered;
        self.dead += other.dead;
        self.bytes_read += other.bytes_read;
        if self.written.len() < other.written.len() {
            self.written.resize(other.written.len(), 0);
        }
        for (mine, theirs) in self.written.iter_mut().zip(&other.written) {
            *mine += theirs;
        }
    }
}

/// Everything that one flush of one lane made durable.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct EpochBody {
    /// The lane.
    pub lane: usize,
    /// How far which splits got.
    pub progress: Vec<SplitProgress>,
    /// Receipts of the sinks, one per output; `Null` for none.
    pub tokens: Vec<Value>,
    /// Counters since the lane's last flush.
    pub counts: Counts,
    /// What the cursor saw.
    pub cursor: Option<CursorState>,
}

/// An epoch as stored.
#[derive(Debug, Clone)]
pub struct Epoch {
    /// Its number.
    pub number: u64,
    /// Written before a co-committed sink took the rows, and not yet confirmed after.
    pub prepared: bool,
    /// The content.
    pub body: EpochBody,
}

/// A flow's place in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Splits are being read.
    Reading,
    /// Everything is read and durable; the sinks are being told to commit. Only forward from here.
    Committing,
    /// Done.
    Committed,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Committing => "committing",
            Self::Committed => "committed",
        }
    }
    fn parse(text: &str) -> Result<Self> {
        match text {
            "reading" => Ok(Self::Reading),
            "committing" => Ok(Self::Committing),
            "committed" => Ok(Self::Committed),
            other => Err(Error::internal(format!("unknown flow phase `{other}` in the state file"))),
        }
    }
}

/// A dead letter with the way it was on.
#[derive(Debug, Clone)]
pub struct SetAside {
    /// The sink whose part of a row-local program set the row aside: only this sink lacks it for that reason. `None`: the source
    /// met it, or a program that sees rows together, and no sink has it.
    pub sink: Option<String>,
    /// The letter.
    pub letter: DeadLetter,
}

/// What a reader told us when it was opened, by source node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ReaderRecord {
    /// Source node.
    pub node: String,
    /// `StreamReader::state`.
    pub state: Value,
    /// `StreamReader::next_state`.
    pub next_state: Option<Value>,
    /// `StreamReader::as_of`.
    pub as_of: Option<String>,
}

/// A flow as stored.
#[derive(Debug, Clone)]
pub struct FlowRecord {
    /// Where it stands.
    pub phase: Phase,
    /// Its readers.
    pub readers: Vec<ReaderRecord>,
    /// The sinks' reports, once committed.
    pub reports: Vec<CommitReport>,
}

/// What the last committed run left for the next, per source node of a flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamState {
    /// The cursor.
    pub cursor: Option<CursorState>,
    /// `ReadRequest::previous` of the next run.
    pub previous: Option<Value>,
    /// `ReadRequest::last_run_time` of the next run.
    pub last_run_time: Option<String>,
}

/// A run as stored.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// Its id.
    pub run_id: String,
    /// Fingerprint of the plan it belongs to.
    pub fingerprint: String,
    /// Attempts so far.
    pub attempts: u32,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct StateStore {
    pool: SqlitePool,
    folder: PathBuf,
}

fn failed(error: sqlx::Error) -> Error {
    let full = error.to_string().contains("disk is full");
    let built = Error::new(
        if full { "WEIR-IO-028" } else { "WEIR-STATE-001" },
        Kind::Io,
        if full { "the disk is full" } else { "the state file cannot be used" },
    );
    built.caused_by(error).hint("see `--state-dir`; the file is `state.db` in it")
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("state cannot be written as JSON").caused_by(error))
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::new("WEIR-STATE-002", Kind::Io, "the state file holds something this version cannot read")
            .caused_by(error)
            .hint("use the version of weir that wrote it, or `weir state reset PIPELINE`")
    })
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

impl StateStore {
    /// Opens, or creates, `state.db` in `folder`.
    pub async fn open(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| Error::from(error).at(folder.display().to_string()))?;
        let file = folder.join("state.db");
        let options = SqliteConnectOptions::from_str(&format!("sqlite://{}", file.display()))
            .unwrap_or_else(|_| SqliteConnectOptions::new())
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(std::time::Duration::from_secs(30));
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(|error| failed(error).at(file.display().to_string()))?;
        let store = Self { pool, folder: folder.to_owned() };
        store.migrate().await.map_err(|error| error.at(file.display().to_string()))?;
        Ok(store)
    }

    async fn migrate(&self) -> Result<()> {
        // A file without the table is a new one.
        let known: Option<i64> =
            sqlx::query_scalar("SELECT version FROM meta").fetch_optional(&self.pool).await.unwrap_or_default();
        if known == Some(VERSION) {
            return Ok(());
        }
        // Two programs may open the file at once: whoever is second finds the work done.
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        sqlx::raw_sql(SCHEMA).execute(&mut *tx).await.map_err(failed)?;
        let found: Option<i64> = sqlx::query_scalar("SELECT version FROM meta").fetch_optional(&mut *tx).await.map_err(failed)?;
        match found {
            Some(VERSION) => return Ok(()),
            None => {
                sqlx::query("INSERT INTO meta VALUES (?)").bind(VERSION).execute(&mut *tx).await.map_err(failed)?;
            }
            Some(1) => {
                sqlx::raw_sql("ALTER TABLE dead_letter ADD COLUMN sink TEXT; UPDATE meta SET version = 2")
                    .execute(&mut *tx)
                    .await
                    .map_err(failed)?;
            }
            Some(other) => {
                return Err(Error::new(
                    "WEIR-STATE-003",
                    Kind::Conflict,
                    format!("the state file has version {other}, this weir knows {VERSION}"),
                )
                .hint("use a newer weir, or another --state-dir"));
            }
        }
        tx.commit().await.map_err(failed)
    }

    /// The folder that holds the file.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The newest run of a pipeline that has not ended, if any.
    pub async fn unfinished(&self, pipeline: &str) -> Result<Option<RunRecord>> {
        let row = sqlx::query(
            "SELECT run_id, fingerprint, attempts FROM run WHERE pipeline = ? AND status NOT IN ('succeeded', 'abandoned')
             ORDER BY started_at DESC, run_id DESC LIMIT 1",
        )
        .bind(pipeline)
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        Ok(row.map(|row| RunRecord {
            run_id: row.get(0),
            fingerprint: row.get(1),
            attempts: u32::try_from(row.get::<i64, _>(2)).unwrap_or(u32::MAX),
        }))
    }

    /// Records a new run, or one more attempt of a run.
    pub async fn begin(&self, run_id: &str, pipeline: &str, fingerprint: &str) -> Result<u32> {
        sqlx::query(
            "INSERT INTO run (run_id, pipeline, fingerprint, status, attempts, started_at) VALUES (?, ?, ?, 'running', 1, ?)
             ON CONFLICT (run_id) DO UPDATE SET attempts = attempts + 1, status = 'running'",
        )
        .bind(run_id)
        .bind(pipeline)
        .bind(fingerprint)
        .bind(now())
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        let attempts: i64 = sqlx::query_scalar("SELECT attempts FROM run WHERE run_id = ?")
            .bind(run_id)
            .fetch_one(&self.pool)
            .await
            .map_err(failed)?;
        Ok(u32::try_from(attempts).unwrap_or(u32::MAX))
    }

    /// Records how an attempt ended. `succeeded` and `abandoned` end the run; others leave it to be resumed.
    pub async fn end(&self, run_id: &str, status: &str, report: &str) -> Result<()> {
        let mut tx = self.pool.begin().await.map_err(failed)?;
        sqlx::query("UPDATE run SET status = ?, ended_at = ?, report = ? WHERE run_id = ?")
            .bind(status)
            .bind(now())
            .bind(report)
            .bind(run_id)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        if status == "succeeded" {
            // The sinks have it all; only totals (in the report) and dead letters are kept.
            sqlx::query("DELETE FROM epoch WHERE run_id = ?").bind(run_id).execute(&mut *tx).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    /// The flow of a run, if it was ever opened.
    pub async fn flow(&self, run_id: &str, flow: &str) -> Result<Option<FlowRecord>> {
        let row = sqlx::query("SELECT phase, readers, reports FROM flow WHERE run_id = ? AND flow = ?")
            .bind(run_id)
            .bind(flow)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let reports: Option<String> = row.get(2);
        Ok(Some(FlowRecord {
            phase: Phase::parse(row.get(0))?,
            readers: parse(row.get(1))?,
            reports: reports.as_deref().map(parse).transpose()?.unwrap_or_default(),
        }))
    }

    /// Records the readers of a flow that is about to be read.
    pub async fn open_flow(&self, run_id: &str, flow: &str, readers: &[ReaderRecord]) -> Result<()> {
        sqlx::query(
            "INSERT INTO flow (run_id, flow, phase, readers) VALUES (?, ?, 'reading', ?)
             ON CONFLICT (run_id, flow) DO UPDATE SET readers = excluded.readers",
        )
        .bind(run_id)
        .bind(flow)
        .bind(json(&readers)?)
        .execute(&self.pool)
        .await
        .map_err(failed)?;
        Ok(())
    }

    /// Everything of the flow is durable; from here it only goes forward.
    pub async fn committing(&self, run_id: &str, flow: &str) -> Result<()> {
        sqlx::query("UPDATE flow SET phase = ? WHERE run_id = ? AND flow = ?")
            .bind(Phase::Committing.as_str())
            .bind(run_id)
            .bind(flow)
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }

    /// The flow is committed in every sink; in the same transaction the cursors move.
    pub async fn committed(
        &self,
        pipeline: &str,
        run_id: &str,
        flow: &str,
        reports: &[CommitReport],
        states: &[(String, StreamState)],
    ) -> Result<()> {
        let mut tx = self.pool.begin().await.map_err(failed)?;
        sqlx::query("UPDATE flow SET phase = ?, reports = ? WHERE run_id = ? AND flow = ?")
            .bind(Phase::Committed.as_str())
            .bind(json(&reports)?)
            .bind(run_id)
            .bind(flow)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        for (node, state) in states {
            sqlx::query(
                "INSERT INTO stream_state (pipeline, flow, node, run_id, body) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT (pipeline, flow, node) DO UPDATE SET run_id = excluded.run_id, body = excluded.body",
            )
            .bind(pipeline)
            .bind(flow)
            .bind(node)
            .bind(run_id)
            .bind(json(state)?)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    /// What the last committed run left for this source node.
    pub async fn stream_state(&self, pipeline: &str, flow: &str, node: &str) -> Result<StreamState> {
        let body: Option<String> =
            sqlx::query_scalar("SELECT body FROM stream_state WHERE pipeline = ? AND flow = ? AND node = ?")
                .bind(pipeline)
                .bind(flow)
                .bind(node)
                .fetch_optional(&self.pool)
                .await
                .map_err(failed)?;
        body.as_deref().map(parse).transpose().map(Option::unwrap_or_default)
    }

    /// Writes an epoch with its dead letters, in one transaction.
    pub async fn write_epoch(
        &self,
        place: &FlowPlace<'_>,
        epoch: u64,
        prepared: bool,
        body: &EpochBody,
        dead: &[SetAside],
    ) -> Result<()> {
        let mut tx = self.pool.begin().await.map_err(failed)?;
        sqlx::query("INSERT INTO epoch (run_id, flow, epoch, state, body) VALUES (?, ?, ?, ?, ?)")
            .bind(place.run_id)
            .bind(place.flow)
            .bind(signed(epoch))
            .bind(if prepared { "prepared" } else { "done" })
            .bind(json(body)?)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        for letter in dead {
            insert_dead(&mut tx, place, epoch, letter).await?;
        }
        tx.commit().await.map_err(failed)
    }

    /// A prepared epoch is in the co-committed sinks too.
    pub async fn confirm_epoch(&self, place: &FlowPlace<'_>, epoch: u64) -> Result<()> {
        sqlx::query("UPDATE epoch SET state = 'done' WHERE run_id = ? AND flow = ? AND epoch = ?")
            .bind(place.run_id)
            .bind(place.flow)
            .bind(signed(epoch))
            .execute(&self.pool)
            .await
            .map_err(failed)?;
        Ok(())
    }

    /// All epochs of a flow, in order.
    pub async fn epochs(&self, place: &FlowPlace<'_>) -> Result<Vec<Epoch>> {
        let rows = sqlx::query("SELECT epoch, state, body FROM epoch WHERE run_id = ? AND flow = ? ORDER BY epoch")
            .bind(place.run_id)
            .bind(place.flow)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                Ok(Epoch {
                    number: u64::try_from(row.get::<i64, _>(0)).unwrap_or_default(),
                    prepared: row.get::<&str, _>(1) == "prepared",
                    body: parse(row.get(2))?,
                })
            })
            .collect()
    }

    /// Forgets epochs of a flow, with their dead letters: all of them (`only: None`, the flow starts over) or one.
    pub async fn forget(&self, place: &FlowPlace<'_>, only: Option<u64>) -> Result<()> {
        let mut tx = self.pool.begin().await.map_err(failed)?;
        let (low, high) = only.map_or((0, i64::MAX), |epoch| (signed(epoch), signed(epoch)));
        for statement in [
            "DELETE FROM epoch WHERE run_id = ? AND flow = ? AND epoch BETWEEN ? AND ?",
            "DELETE FROM dead_letter WHERE run_id = ? AND flow = ? AND epoch BETWEEN ? AND ?",
        ] {
            sqlx::query(statement)
                .bind(place.run_id)
                .bind(place.flow)
                .bind(low)
                .bind(high)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn insert_dead(tx: &mut Transaction<'_, Sqlite>, place: &FlowPlace<'_>, epoch: u64, dead: &SetAside) -> Result<()> {
    let letter = &dead.letter;
    sqlx::query(
        "INSERT INTO dead_letter (pipeline, run_id, flow, epoch, stream, code, reason, place, media_type, payload, at, sink)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(place.pipeline)
    .bind(place.run_id)
    .bind(place.flow)
    .bind(signed(epoch))
    .bind(&letter.stream)
    .bind(&letter.code)
    .bind(&letter.reason)
    .bind(&letter.place)
    .bind(&letter.media_type)
    .bind(&letter.payload[..letter.payload.len().min(1 << 20)])
    .bind(now())
    .bind(&dead.sink)
    .execute(&mut **tx)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Names one flow of one run.
#[derive(Debug, Clone, Copy)]
pub struct FlowPlace<'a> {
    /// Pipeline under which dead letters are listed.
    pub pipeline: &'a str,
    /// Run.
    pub run_id: &'a str,
    /// Flow.
    pub flow: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables as version 1 made them, with one letter.
    const FIRST: &str = "
CREATE TABLE meta (version INTEGER NOT NULL);
INSERT INTO meta VALUES (1);
CREATE TABLE run (
  run_id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, fingerprint TEXT NOT NULL, status TEXT NOT NULL,
  attempts INTEGER NOT NULL, started_at TEXT NOT NULL, ended_at TEXT, report TEXT);
CREATE TABLE flow (
  run_id TEXT NOT NULL, flow TEXT NOT NULL, phase TEXT NOT NULL, readers TEXT NOT NULL, reports TEXT,
  PRIMARY KEY (run_id, flow));
CREATE TABLE epoch (
  run_id TEXT NOT NULL, flow TEXT NOT NULL, epoch INTEGER NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (run_id, flow, epoch));
CREATE TABLE dead_letter (
  id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, run_id TEXT NOT NULL, flow TEXT NOT NULL, epoch INTEGER NOT NULL,
  stream TEXT NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL, place TEXT NOT NULL, media_type TEXT NOT NULL,
  payload BLOB NOT NULL, at TEXT NOT NULL, replayed_at TEXT);
CREATE TABLE stream_state (
  pipeline TEXT NOT NULL, flow TEXT NOT NULL, node TEXT NOT NULL, run_id TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (pipeline, flow, node));
INSERT INTO dead_letter VALUES (7, 'orders', 'r1', 'in', 1, 'in', 'WEIR-FMT-101', 'short', 'in.csv:3', 'text/csv', 'x', '2026', NULL);
";

    #[tokio::test]
    async fn a_file_of_version_1_is_taken_over_with_its_letters() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let old = SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(FIRST).execute(&old).await.unwrap();
        old.close().await;

        for _ in 0..2 {
            let store = StateStore::open(folder.path()).await.unwrap();
            let letters = store.dead_list("orders", 10).await.unwrap();
            let found: Vec<_> = letters.iter().map(|letter| (letter.id, letter.sink.clone(), letter.payload.clone())).collect();
            assert_eq!(found, [(7, None, b"x".to_vec())]);
        }
    }
}
