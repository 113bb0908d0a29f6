//! The SQL of the checkpoint store: one file of SQLite per state folder, or the schema `weir_state` of a PostgreSQL that machines share.
//!
//! Both are written through `sqlx::Any`: texts, 64-bit numbers and bytes only. In a shared database every key begins with the scope
//! (tenant and job), which is added and taken away here and nowhere else.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, Row, Transaction};
use weir_connect::letters::KeptLetter;
use weir_connect::{CommitReport, DeadLetter};
use weir_error::{Error, Kind, Result};

use super::{Epoch, FlowPlace, FlowRecord, Keep, Phase, ReaderRecord, RunRecord, SetAside, StreamState, Wanted, Wish};

/// Version of the tables. Newer ones are refused, older ones are migrated step by step.
const VERSION: i64 = 7;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS meta (version BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS run (
  run_id TEXT PRIMARY KEY, pipeline TEXT NOT NULL, fingerprint TEXT NOT NULL, status TEXT NOT NULL,
  attempts BIGINT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT, report TEXT);
CREATE INDEX IF NOT EXISTS run_by_pipeline ON run (pipeline, started_at);
CREATE TABLE IF NOT EXISTS flow (
  run_id TEXT NOT NULL, flow TEXT NOT NULL, phase TEXT NOT NULL, readers TEXT NOT NULL, reports TEXT,
  PRIMARY KEY (run_id, flow));
CREATE TABLE IF NOT EXISTS epoch (
  run_id TEXT NOT NULL, flow TEXT NOT NULL, epoch BIGINT NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (run_id, flow, epoch));
CREATE TABLE IF NOT EXISTS dead_letter (
  id {IDENTITY}, pipeline TEXT NOT NULL, run_id TEXT NOT NULL, flow TEXT NOT NULL, epoch BIGINT NOT NULL,
  stream TEXT NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL, place TEXT NOT NULL, media_type TEXT NOT NULL,
  payload {BYTES} NOT NULL, at TEXT NOT NULL, replayed_at TEXT, sink TEXT, edited {BYTES}, edited_type TEXT, edited_by TEXT,
  edited_at TEXT, discarded_by TEXT, discarded_at TEXT, discard_reason TEXT, refusal TEXT, chosen TEXT);
CREATE INDEX IF NOT EXISTS dead_by_pipeline ON dead_letter (pipeline, run_id, flow, epoch);
CREATE INDEX IF NOT EXISTS dead_in_order ON dead_letter (pipeline, run_id, id);
CREATE TABLE IF NOT EXISTS rule_result (
  id {IDENTITY}, pipeline TEXT NOT NULL, run_id TEXT NOT NULL, flow TEXT NOT NULL, epoch BIGINT NOT NULL, sink TEXT NOT NULL,
  at TEXT NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS result_in_order ON rule_result (pipeline, run_id, sink, id);
CREATE INDEX IF NOT EXISTS result_by_epoch ON rule_result (run_id, flow, epoch);
CREATE TABLE IF NOT EXISTS stream_state (
  pipeline TEXT NOT NULL, flow TEXT NOT NULL, node TEXT NOT NULL, run_id TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (pipeline, flow, node));
CREATE TABLE IF NOT EXISTS run_name (name TEXT PRIMARY KEY, run_id TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS wish (
  pipeline TEXT NOT NULL, id TEXT NOT NULL, node TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (pipeline, id));
";

/// Of columns that older tables get first.
const LATER: &str = "
CREATE INDEX IF NOT EXISTS dead_by_number ON dead_letter (pipeline, id);
CREATE INDEX IF NOT EXISTS dead_by_choice ON dead_letter (chosen, id);
";

/// What people decided about dead letters: columns since version 6.
const DECIDED: [&str; 9] = [
    "edited {BYTES}",
    "edited_type TEXT",
    "edited_by TEXT",
    "edited_at TEXT",
    "discarded_by TEXT",
    "discarded_at TEXT",
    "discard_reason TEXT",
    "refusal TEXT",
    "chosen TEXT",
];

/// All tables but that of the version, with the column that begins with the scope.
const KEYS: [(&str, &str); 8] = [
    ("epoch", "run_id"),
    ("rule_result", "pipeline"),
    ("flow", "run_id"),
    ("dead_letter", "pipeline"),
    ("stream_state", "pipeline"),
    ("run_name", "name"),
    ("wish", "pipeline"),
    ("run", "run_id"),
];

/// How the file is opened: others wait for its writer, and a commit is on disk.
const FILE: &str = "PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL";

/// Names of runs that ended are of no use; none waits this long.
const NAMES_KEPT_DAYS: i64 = 30;

/// The tables, seen from one scope. Cheap to clone.
#[derive(Clone)]
pub struct Tables {
    pub(super) pool: AnyPool,
    shared: bool,
    scope: String,
    /// The attempt that was begun here last: its writes fail once there is a later one.
    fence: Arc<Mutex<Option<(String, i64)>>>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").field("shared", &self.shared).field("scope", &self.scope).finish_non_exhaustive()
    }
}

pub(super) fn failed(error: sqlx::Error) -> Error {
    let full = error.to_string().contains("disk is full") || error.to_string().contains("No space left");
    let passing = matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_));
    let built = Error::new(
        if full { "WEIR-IO-028" } else { "WEIR-STATE-001" },
        Kind::Io,
        if full { "the disk is full" } else { "the checkpoint store cannot be used" },
    );
    let built = if passing && !full { built.transient() } else { built };
    built.caused_by(error).hint("of `weir run` it is `state.db` in `--state-dir`; of the platform its database")
}

pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("state cannot be written as JSON").caused_by(error))
}

pub(super) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        Error::new("WEIR-STATE-002", Kind::Io, "the checkpoint store holds something this version cannot read")
            .caused_by(error)
            .hint("use the version of weir that wrote it, or `weir state reset PIPELINE`")
    })
}

pub(super) fn now() -> String {
    text_of(chrono::Utc::now())
}

fn text_of(time: chrono::DateTime<chrono::Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Tables {
    /// `state.db` in `folder`, made if it is not there.
    pub async fn file(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| Error::from(error).at(folder.display().to_string()))?;
        let file = folder.join("state.db");
        let place = file.display().to_string();
        // In a URL these three would mean something.
        let path = place.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let url = format!("sqlite://{path}?mode=rwc");
        let pool = pool(&url, 1, FILE).await.map_err(|error| error.at(place.clone()))?;
        let tables = Self { pool, shared: false, scope: String::new(), fence: Arc::default() };
        tables.migrate().await.map_err(|error| error.at(place))?;
        Ok(tables)
    }

    /// The schema `weir_state` of a PostgreSQL, made if it is not there, without a scope: see [`Self::scoped`].
    pub async fn shared(url: &str, connections: u32) -> Result<Self> {
        let pool = pool(url, connections, "SET search_path = weir_state").await?;
        let tables = Self { pool, shared: true, scope: String::new(), fence: Arc::default() };
        tables.migrate().await?;
        Ok(tables)
    }

    /// The same tables for one tenant's job: nothing else can be read or written through the result. The ids come from the platform.
    pub fn scoped(&self, tenant: &str, job: &str) -> Result<Self> {
        if tenant.contains('/') || job.contains('/') || tenant.is_empty() || job.is_empty() {
            return Err(Error::internal("an id cannot be part of a scope"));
        }
        Ok(Self { scope: format!("{tenant}/{job}/"), fence: Arc::default(), ..self.clone() })
    }

    /// Forgets everything of all jobs of a tenant; how many rows there were. Of a shared database only.
    pub async fn forget_tenant(&self, tenant: &str) -> Result<u64> {
        if !self.shared || tenant.contains('/') || tenant.is_empty() {
            return Err(Error::internal("an id cannot be part of a scope"));
        }
        let scope = format!("{tenant}/");
        let mut tx = self.begin_writing().await?;
        let mut rows = 0;
        for (table, key) in KEYS {
            let sql = format!("DELETE FROM {table} WHERE substr({key}, 1, length($1)) = $1");
            rows += sqlx::query(AssertSqlSafe(sql)).bind(&scope).execute(&mut *tx).await.map_err(failed)?.rows_affected();
        }
        tx.commit().await.map_err(failed)?;
        Ok(rows)
    }

    /// A key as it is stored.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.scope)
    }

    /// A stored key as it is known outside.
    pub(super) fn name(&self, key: String) -> String {
        match key.strip_prefix(&self.scope) {
            Some(name) if !self.scope.is_empty() => name.to_owned(),
            _ => key,
        }
    }

    async fn migrate(&self) -> Result<()> {
        // Without the table they are new.
        let known: Option<i64> =
            sqlx::query_scalar("SELECT version FROM meta").fetch_optional(&self.pool).await.unwrap_or_default();
        if known == Some(VERSION) {
            return Ok(());
        }
        // Two programs may open them at once: whoever is second finds the work done.
        let mut tx = self.begin_writing().await?;
        if self.shared {
            sqlx::raw_sql("SELECT pg_advisory_xact_lock(7308339910637985896); CREATE SCHEMA IF NOT EXISTS weir_state")
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        let (identity, bytes) = match self.shared {
            true => ("BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY", "BYTEA"),
            false => ("INTEGER PRIMARY KEY AUTOINCREMENT", "BLOB"),
        };
        let schema = SCHEMA.replace("{IDENTITY}", identity).replace("{BYTES}", bytes);
        sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut *tx).await.map_err(failed)?;
        let found: Option<i64> = sqlx::query_scalar("SELECT version FROM meta").fetch_optional(&mut *tx).await.map_err(failed)?;
        match found {
            Some(VERSION) => return Ok(()),
            None => {
                sqlx::query("INSERT INTO meta VALUES ($1)").bind(VERSION).execute(&mut *tx).await.map_err(failed)?;
            }
            Some(old @ 1..VERSION) => {
                if old == 1 {
                    tx.execute("ALTER TABLE dead_letter ADD COLUMN sink TEXT").await.map_err(failed)?;
                }
                if old < 6 {
                    for column in DECIDED {
                        let sql = format!("ALTER TABLE dead_letter ADD COLUMN {}", column.replace("{BYTES}", bytes));
                        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await.map_err(failed)?;
                    }
                }
                sqlx::query("UPDATE meta SET version = $1").bind(VERSION).execute(&mut *tx).await.map_err(failed)?;
            }
            Some(other) => {
                return Err(Error::new(
                    "WEIR-STATE-003",
                    Kind::Conflict,
                    format!("the checkpoint store has version {other}, this weir knows {VERSION}"),
                )
                .hint("use a newer weir, or another --state-dir"));
            }
        }
        sqlx::raw_sql(LATER).execute(&mut *tx).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    /// A transaction that writes. SQLite: the only one from its beginning, or it might have to give up later.
    pub(super) async fn begin_writing(&self) -> Result<Transaction<'static, Any>> {
        self.pool.begin_with(if self.shared { "BEGIN" } else { "BEGIN IMMEDIATE" }).await.map_err(failed)
    }

    /// The same for writes of a run: refused if this process's attempt of it is not the last one.
    async fn fenced(&self, run_id: &str) -> Result<Transaction<'static, Any>> {
        let mut tx = self.begin_writing().await?;
        let mine = self.fence.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((run, attempt)) = mine
            && run == run_id
        {
            // The lock makes an attempt that begins now wait until this write is done.
            let sql = match self.shared {
                true => "SELECT attempts FROM run WHERE run_id = $1 FOR SHARE",
                false => "SELECT attempts FROM run WHERE run_id = $1",
            };
            let last: Option<i64> =
                sqlx::query_scalar(sql).bind(self.key(run_id)).fetch_optional(&mut *tx).await.map_err(failed)?;
            if last != Some(attempt) {
                return Err(Error::new("WEIR-STATE-005", Kind::Conflict, "another attempt of this run has taken over")
                    .at(format!("run {run_id}, attempt {attempt}"))
                    .hint("only one process may execute a run; this one stops without writing anything more"));
            }
        }
        Ok(tx)
    }

    pub(super) async fn unfinished(&self, pipeline: &str) -> Result<Option<RunRecord>> {
        let row = sqlx::query(
            "SELECT run_id, fingerprint, attempts FROM run WHERE pipeline = $1 AND status NOT IN ('succeeded', 'abandoned')
             ORDER BY started_at DESC, run_id DESC LIMIT 1",
        )
        .bind(self.key(pipeline))
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        Ok(row.map(|row| RunRecord {
            run_id: self.name(row.get(0)),
            fingerprint: row.get(1),
            attempts: u32::try_from(row.get::<i64, _>(2)).unwrap_or(u32::MAX),
        }))
    }

    pub(super) async fn begin(&self, run_id: &str, pipeline: &str, fingerprint: &str, name: Option<&str>) -> Result<u32> {
        let mut tx = self.begin_writing().await?;
        let attempts: i64 = sqlx::query_scalar(
            "INSERT INTO run (run_id, pipeline, fingerprint, status, attempts, started_at) VALUES ($1, $2, $3, 'running', 1, $4)
             ON CONFLICT (run_id) DO UPDATE SET attempts = run.attempts + 1, status = 'running' RETURNING attempts",
        )
        .bind(self.key(run_id))
        .bind(self.key(pipeline))
        .bind(fingerprint)
        .bind(now())
        .fetch_one(&mut *tx)
        .await
        .map_err(failed)?;
        if let Some(name) = name {
            sqlx::query(
                "INSERT INTO run_name (name, run_id, at) VALUES ($1, $2, $3)
                 ON CONFLICT (name) DO UPDATE SET run_id = excluded.run_id, at = excluded.at",
            )
            .bind(self.key(name))
            .bind(self.key(run_id))
            .bind(now())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
            let old = text_of(chrono::Utc::now() - chrono::TimeDelta::days(NAMES_KEPT_DAYS));
            sqlx::query("DELETE FROM run_name WHERE substr(name, 1, length($1)) = $1 AND at < $2")
                .bind(&self.scope)
                .bind(old)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner) = Some((run_id.to_owned(), attempts));
        Ok(u32::try_from(attempts).unwrap_or(u32::MAX))
    }

    pub(super) async fn end(&self, run_id: &str, status: &str, report: &str) -> Result<()> {
        let mut tx = self.fenced(run_id).await?;
        sqlx::query("UPDATE run SET status = $1, ended_at = $2, report = $3 WHERE run_id = $4")
            .bind(status)
            .bind(now())
            .bind(report)
            .bind(self.key(run_id))
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        if status == "succeeded" {
            // The sinks have it all; only totals (in the report) and dead letters are kept.
            sqlx::query("DELETE FROM epoch WHERE run_id = $1").bind(self.key(run_id)).execute(&mut *tx).await.map_err(failed)?;
        }
        if matches!(status, "succeeded" | "abandoned") {
            sqlx::query("DELETE FROM rule_result WHERE run_id = $1")
                .bind(self.key(run_id))
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    pub(super) async fn named(&self, name: &str) -> Result<Option<Value>> {
        let report: Option<Option<String>> = sqlx::query_scalar(
            "SELECT run.report FROM run_name JOIN run ON run.run_id = run_name.run_id WHERE run_name.name = $1 AND run.status = 'succeeded'",
        )
        .bind(self.key(name))
        .fetch_optional(&self.pool)
        .await
        .map_err(failed)?;
        report.flatten().as_deref().map(parse).transpose()
    }

    pub(super) async fn flow(&self, run_id: &str, flow: &str) -> Result<Option<FlowRecord>> {
        let row = sqlx::query("SELECT phase, readers, reports FROM flow WHERE run_id = $1 AND flow = $2")
            .bind(self.key(run_id))
            .bind(flow)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let reports: Option<String> = row.get(2);
        Ok(Some(FlowRecord {
            phase: Phase::parse(&row.get::<String, _>(0))?,
            readers: parse(&row.get::<String, _>(1))?,
            reports: reports.as_deref().map(parse).transpose()?.unwrap_or_default(),
        }))
    }

    pub(super) async fn open_flow(&self, run_id: &str, flow: &str, readers: &[ReaderRecord]) -> Result<()> {
        let mut tx = self.fenced(run_id).await?;
        sqlx::query(
            "INSERT INTO flow (run_id, flow, phase, readers) VALUES ($1, $2, 'reading', $3)
             ON CONFLICT (run_id, flow) DO UPDATE SET readers = excluded.readers",
        )
        .bind(self.key(run_id))
        .bind(flow)
        .bind(json(readers)?)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    pub(super) async fn committing(&self, run_id: &str, flow: &str) -> Result<()> {
        let mut tx = self.fenced(run_id).await?;
        sqlx::query("UPDATE flow SET phase = $1 WHERE run_id = $2 AND flow = $3")
            .bind(Phase::Committing.as_str())
            .bind(self.key(run_id))
            .bind(flow)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }

    pub(super) async fn committed(
        &self,
        pipeline: &str,
        run_id: &str,
        flow: &str,
        reports: &[CommitReport],
        states: &[(String, StreamState)],
    ) -> Result<()> {
        let mut tx = self.fenced(run_id).await?;
        sqlx::query("UPDATE flow SET phase = $1, reports = $2 WHERE run_id = $3 AND flow = $4")
            .bind(Phase::Committed.as_str())
            .bind(json(reports)?)
            .bind(self.key(run_id))
            .bind(flow)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        for (node, state) in states {
            sqlx::query(
                "INSERT INTO stream_state (pipeline, flow, node, run_id, body) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (pipeline, flow, node) DO UPDATE SET run_id = excluded.run_id, body = excluded.body",
            )
            .bind(self.key(pipeline))
            .bind(flow)
            .bind(node)
            .bind(self.key(run_id))
            .bind(json(state)?)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    pub(super) async fn stream_state(&self, pipeline: &str, flow: &str, node: &str) -> Result<StreamState> {
        let body: Option<String> =
            sqlx::query_scalar("SELECT body FROM stream_state WHERE pipeline = $1 AND flow = $2 AND node = $3")
                .bind(self.key(pipeline))
                .bind(flow)
                .bind(node)
                .fetch_optional(&self.pool)
                .await
                .map_err(failed)?;
        body.as_deref().map(parse).transpose().map(Option::unwrap_or_default)
    }

    pub(super) async fn write_epoch(&self, place: &FlowPlace<'_>, epoch: &Epoch, dead: &[SetAside], keep: Keep) -> Result<()> {
        let mut tx = self.fenced(place.run_id).await?;
        let mut epoch = epoch.clone();
        let results = std::mem::take(&mut epoch.body.results);
        sqlx::query("INSERT INTO epoch (run_id, flow, epoch, state, body) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.key(place.run_id))
            .bind(place.flow)
            .bind(signed(epoch.number))
            .bind(if epoch.prepared { "prepared" } else { "done" })
            .bind(json(&epoch.body)?)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        if self.shared && !(dead.is_empty() && results.is_empty()) {
            // Numbers must become visible in their order, or whoever reads on from the last one would pass over a letter.
            sqlx::query("SELECT CAST(pg_advisory_xact_lock(hashtextextended($1, 5)) AS TEXT)")
                .bind(self.key(place.run_id))
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        for letter in dead {
            self.insert_dead(&mut tx, place, epoch.number, letter).await?;
        }
        self.insert_results(&mut tx, place, signed(epoch.number), &results).await?;
        if !epoch.prepared {
            self.drop_before(&mut tx, place, epoch.number, keep).await?;
        }
        tx.commit().await.map_err(failed)
    }

    pub(super) async fn confirm_epoch(&self, place: &FlowPlace<'_>, epoch: u64, keep: Keep) -> Result<()> {
        let mut tx = self.fenced(place.run_id).await?;
        sqlx::query("UPDATE epoch SET state = 'done' WHERE run_id = $1 AND flow = $2 AND epoch = $3")
            .bind(self.key(place.run_id))
            .bind(place.flow)
            .bind(signed(epoch))
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        self.drop_before(&mut tx, place, epoch, keep).await?;
        tx.commit().await.map_err(failed)
    }

    async fn drop_before(&self, tx: &mut Transaction<'_, Any>, place: &FlowPlace<'_>, epoch: u64, keep: Keep) -> Result<()> {
        if keep == Keep::Newest {
            sqlx::query("DELETE FROM epoch WHERE run_id = $1 AND flow = $2 AND epoch < $3")
                .bind(self.key(place.run_id))
                .bind(place.flow)
                .bind(signed(epoch))
                .execute(&mut **tx)
                .await
                .map_err(failed)?;
        }
        Ok(())
    }

    pub(super) async fn epochs(&self, place: &FlowPlace<'_>) -> Result<Vec<Epoch>> {
        let rows = sqlx::query("SELECT epoch, state, body FROM epoch WHERE run_id = $1 AND flow = $2 ORDER BY epoch")
            .bind(self.key(place.run_id))
            .bind(place.flow)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                Ok(Epoch {
                    number: u64::try_from(row.get::<i64, _>(0)).unwrap_or_default(),
                    prepared: row.get::<String, _>(1) == "prepared",
                    body: parse(&row.get::<String, _>(2))?,
                })
            })
            .collect()
    }

    pub(super) async fn forget(&self, place: &FlowPlace<'_>, only: Option<u64>) -> Result<()> {
        let mut tx = self.fenced(place.run_id).await?;
        let (low, high) = only.map_or((0, i64::MAX), |epoch| (signed(epoch), signed(epoch)));
        for statement in [
            "DELETE FROM epoch WHERE run_id = $1 AND flow = $2 AND epoch BETWEEN $3 AND $4",
            "DELETE FROM dead_letter WHERE run_id = $1 AND flow = $2 AND epoch BETWEEN $3 AND $4",
            "DELETE FROM rule_result WHERE run_id = $1 AND flow = $2 AND epoch BETWEEN $3 AND $4",
        ] {
            sqlx::query(statement)
                .bind(self.key(place.run_id))
                .bind(place.flow)
                .bind(low)
                .bind(high)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    pub(super) async fn wish(&self, pipeline: &str, node: &str, wanted: &Wanted) -> Result<()> {
        let body = json(wanted)?;
        let mut tx = self.begin_writing().await?;
        let known: Option<String> =
            sqlx::query_scalar("SELECT id FROM wish WHERE pipeline = $1 AND node = $2 AND body = $3 LIMIT 1")
                .bind(self.key(pipeline))
                .bind(node)
                .bind(&body)
                .fetch_optional(&mut *tx)
                .await
                .map_err(failed)?;
        if known.is_none() {
            sqlx::query("INSERT INTO wish (pipeline, id, node, body) VALUES ($1, $2, $3, $4)")
                .bind(self.key(pipeline))
                .bind(uuid::Uuid::now_v7().simple().to_string())
                .bind(node)
                .bind(&body)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    pub(super) async fn wishes(&self, pipeline: &str, node: &str) -> Result<Vec<Wish>> {
        let rows = sqlx::query("SELECT id, body FROM wish WHERE pipeline = $1 AND node = $2 ORDER BY id")
            .bind(self.key(pipeline))
            .bind(node)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(|row| Ok(Wish { id: row.get(0), wanted: parse(&row.get::<String, _>(1))? })).collect()
    }

    pub(super) async fn granted(&self, pipeline: &str, ids: &[String]) -> Result<()> {
        let mut tx = self.begin_writing().await?;
        for id in ids {
            sqlx::query("DELETE FROM wish WHERE pipeline = $1 AND id = $2")
                .bind(self.key(pipeline))
                .bind(id)
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    pub(super) async fn letters(&self, pipeline: &str, run_id: &str, after: i64) -> Result<Vec<KeptLetter>> {
        // A letter of an epoch that is only prepared may still be forgotten, and met again under a greater number: nothing behind it is given out before.
        let sql = "
            SELECT id, at, flow, sink, stream, code, reason, place, media_type, payload FROM (
              SELECT next.*, sum(length(payload)) OVER (ORDER BY id) - length(payload) AS bytes_before FROM (
                SELECT id, at, flow, sink, stream, code, reason, place, media_type, payload FROM dead_letter
                WHERE pipeline = $1 AND run_id = $2 AND id > $3 AND id < COALESCE((
                  SELECT min(waits.id) FROM dead_letter AS waits
                  JOIN epoch ON epoch.run_id = waits.run_id AND epoch.flow = waits.flow AND epoch.epoch = waits.epoch
                  WHERE waits.pipeline = $1 AND waits.run_id = $2 AND waits.id > $3 AND epoch.state = 'prepared'
                ), 9223372036854775807)
                ORDER BY id LIMIT 1000) AS next) AS sums
            WHERE bytes_before < 2097152 ORDER BY id";
        let rows = sqlx::query(sql)
            .bind(self.key(pipeline))
            .bind(self.key(run_id))
            .bind(after)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(kept_letter).collect()
    }

    async fn insert_dead(&self, tx: &mut Transaction<'_, Any>, place: &FlowPlace<'_>, epoch: u64, dead: &SetAside) -> Result<()> {
        let letter = &dead.letter;
        sqlx::query(
            "INSERT INTO dead_letter (pipeline, run_id, flow, epoch, stream, code, reason, place, media_type, payload, at, sink)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        )
        .bind(self.key(place.pipeline))
        .bind(self.key(place.run_id))
        .bind(place.flow)
        .bind(signed(epoch))
        .bind(&letter.stream)
        .bind(&letter.code)
        .bind(printable(&letter.reason))
        .bind(printable(&letter.place))
        .bind(&letter.media_type)
        .bind(&letter.payload[..letter.payload.len().min(super::letters::MAX_KEPT_BYTES)])
        .bind(now())
        .bind(&dead.sink)
        .execute(&mut **tx)
        .await
        .map_err(failed)?;
        Ok(())
    }
}

fn kept_letter(row: &sqlx::any::AnyRow) -> Result<KeptLetter> {
    let at: String = row.get(1);
    let at = chrono::DateTime::parse_from_rfc3339(&at)
        .map_err(|error| Error::internal("the time of a dead letter cannot be read").because(error))?;
    Ok(KeptLetter {
        id: row.get(0),
        at: at.timestamp_micros(),
        flow: row.get(2),
        sink: row.get(3),
        letter: DeadLetter {
            stream: row.get(4),
            code: row.get(5),
            reason: row.get(6),
            place: row.get(7),
            media_type: row.get(8),
            payload: row.get(9),
        },
    })
}

/// For people only; PostgreSQL holds no U+0000.
fn printable(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

/// A pool whose connections are set up by a script.
async fn pool(url: &str, connections: u32, script: &'static str) -> Result<AnyPool> {
    sqlx::any::install_default_drivers();
    let options = AnyConnectOptions::from_str(url).map_err(failed)?;
    // The pool would try again for half a minute what will not become better: a file that is no database, a wrong password.
    let mut first = AnyConnection::connect_with(&options).await.map_err(failed)?;
    first.execute(script).await.map_err(failed)?;
    first.close().await.map_err(failed)?;
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(30))
        .after_connect(move |connection, _| Box::pin(async move { connection.execute(script).await.map(drop) }))
        .connect_with(options)
        .await
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

    use crate::store::StateStore;

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
INSERT INTO dead_letter VALUES (7, 'orders', 'r1', 'in', 1, 'in', 'WEIR-FMT-101', 'short', 'in.csv:3', 'text/csv', X'78', '2026', NULL);
";

    #[tokio::test]
    async fn a_file_of_version_1_is_taken_over_with_its_letters() {
        let folder = weir_testkit::memory_folder();
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
