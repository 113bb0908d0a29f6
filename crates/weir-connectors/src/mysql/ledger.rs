//! How far each run got, kept on the target server so that it changes in the same transaction as the rows.
//!
//! * `runs`: one row per pipeline, sink, stream and run. `attempt` is a fence: every writing transaction holds a share lock on the row and
//!   names its attempt, so a new attempt waits for, and shuts out, writers of the one before. `phase` says that a table is being put in the
//!   place of another, which no transaction can cover.
//! * `flushes`: one row per committed flush.
//! * `progress`: the latest progress of every split.
//! * `shapes`: a change of a target's shape whose flush is not durable yet (see `super::changes`).
//!
//! Statements that no transaction covers (RENAME, DROP) run under a named lock of the run: it lives as long as the session that holds it, so a
//! statement that is still on its way at the server keeps the next attempt out.

use twox_hash::XxHash3_128;
use weir_connect::{Barrier, CommitReport, Error, Kind, Result, SplitProgress};

use super::client::{Client, Param, Row};
use super::errors;
use super::quote::ident;

/// Which run of which stream.
#[derive(Debug, Clone)]
pub struct RunKey {
    /// Pipeline.
    pub pipeline: String,
    /// Sink node.
    pub node: String,
    /// Stream.
    pub stream: String,
    /// Run.
    pub run_id: String,
}

fn digest(parts: &[&str]) -> String {
    let mut text = Vec::new();
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    format!("{:032x}", XxHash3_128::oneshot(&text))
}

/// The ledger of one run.
#[derive(Debug, Clone)]
pub struct Ledger {
    database: String,
    key: RunKey,
    stream_id: String,
    run: String,
}

/// The row of `runs`.
#[derive(Debug, Clone, Default)]
pub struct RunRow {
    /// The fence.
    pub attempt: u64,
    /// The report, once committed.
    pub committed: Option<CommitReport>,
    /// The report of a commit whose tables are being swapped.
    pub swapping: Option<CommitReport>,
}

fn run_row(row: &Row) -> RunRow {
    let report = row.opt(1).and_then(|text| serde_json::from_str::<CommitReport>(text).ok());
    let (committed, swapping) = if row.text(2) == "swapping" { (None, report) } else { (report, None) };
    RunRow { attempt: row.uint(0), committed, swapping }
}

impl Ledger {
    /// The ledger in that database.
    pub fn new(database: &str, key: RunKey) -> Self {
        let stream_id = digest(&[&key.pipeline, &key.node, &key.stream]);
        let run = digest(&[&key.pipeline, &key.node, &key.stream, &key.run_id]);
        Self { database: ident(database), key, stream_id, run }
    }

    /// A word that no other run has.
    pub fn word(&self) -> &str {
        &self.run
    }

    /// Says that it is the state that this user may not write, and the GRANT that mends it.
    fn denied(&self, error: Error) -> Error {
        if error.kind() != Kind::Privilege {
            return error;
        }
        let database = &self.database;
        Error::new("WEIR-MY-006", Kind::Privilege, format!("the user may not write the state database {database}"))
            .because(error.why().unwrap_or_default().to_string())
            .hint(format!(
                "run as an administrator: CREATE DATABASE IF NOT EXISTS {database}; GRANT CREATE, SELECT, INSERT, UPDATE, DELETE ON {database}.* TO …; \
                 or set `state_schema` to a database that the user may write"
            ))
    }

    /// Creates database and tables if they are missing.
    pub async fn ensure(&self, client: &mut Client) -> Result<()> {
        let database = &self.database;
        let bare = database.trim_matches('`').replace("``", "`");
        let sql = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME IN ('runs', 'flushes', 'progress', 'shapes')";
        if client.query(sql, &[bare.as_str().into()]).await?.len() == 4 {
            return Ok(());
        }
        let rows =
            client.query("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", &[bare.as_str().into()]).await?;
        let mut statements = Vec::new();
        if rows.is_empty() {
            statements.push(format!("CREATE DATABASE IF NOT EXISTS {database} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"));
        }
        let id = "CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL";
        let end = "ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";
        statements.push(format!(
            "CREATE TABLE IF NOT EXISTS {database}.runs (id {id} PRIMARY KEY, stream_id {id}, pipeline TEXT NOT NULL, node TEXT NOT NULL, \
             stream TEXT NOT NULL, run_id TEXT NOT NULL, version INT NOT NULL DEFAULT 1, attempt BIGINT UNSIGNED NOT NULL, target TEXT NOT NULL, \
             phase VARCHAR(20) NULL, report LONGTEXT NULL, started_at DATETIME(6) NOT NULL, changed_at DATETIME(6) NOT NULL, \
             KEY by_stream (stream_id)) {end}"
        ));
        statements.push(format!(
            "CREATE TABLE IF NOT EXISTS {database}.flushes (id {id}, attempt BIGINT UNSIGNED NOT NULL, lane BIGINT UNSIGNED NOT NULL, \
             epoch BIGINT UNSIGNED NOT NULL, row_count BIGINT UNSIGNED NOT NULL, byte_count BIGINT UNSIGNED NOT NULL, at DATETIME(6) NOT NULL, \
             KEY by_run (id)) {end}"
        ));
        statements.push(format!(
            "CREATE TABLE IF NOT EXISTS {database}.progress (id {id}, split_key {id}, split_id TEXT NOT NULL, progress LONGTEXT NOT NULL, \
             lane BIGINT UNSIGNED NOT NULL, epoch BIGINT UNSIGNED NOT NULL, at DATETIME(6) NOT NULL, PRIMARY KEY (id, split_key)) {end}"
        ));
        statements.push(format!(
            "CREATE TABLE IF NOT EXISTS {database}.shapes (id {id} PRIMARY KEY, shaping LONGTEXT NOT NULL, at DATETIME(6) NOT NULL) {end}"
        ));
        for statement in statements {
            client.batch(&statement).await.map_err(|error| self.denied(error))?;
        }
        Ok(())
    }

    /// Takes the run's lock, waiting for whatever another attempt still does.
    pub async fn hold(&self, client: &mut Client) -> Result<()> {
        let rows = client.query("SELECT GET_LOCK(?, 30)", &[format!("weir:{}", self.run).as_str().into()]).await?;
        if rows.first().is_some_and(|row| row.int(0) == 1) { Ok(()) } else { Err(self.busy(client)) }
    }

    /// Gives the run's lock back before the session ends.
    pub async fn release(&self, client: &mut Client) -> Result<()> {
        client.query("SELECT RELEASE_LOCK(?)", &[format!("weir:{}", self.run).as_str().into()]).await.map(drop)
    }

    fn busy(&self, client: &Client) -> Error {
        Error::new("WEIR-MY-011", Kind::Conflict, "another process still writes for this run")
            .at(client.place().to_string())
            .hint("stop it; if it is gone, its session ends by itself soon")
            .transient()
    }

    /// Begins an attempt: fences off writers of earlier ones and waits until their transactions have ended.
    pub async fn begin(&self, client: &mut Client, target: &str) -> Result<RunRow> {
        client.batch("SET SESSION innodb_lock_wait_timeout = 30").await?;
        let sql = format!(
            "INSERT INTO {}.runs (id, stream_id, pipeline, node, stream, run_id, attempt, target, started_at, changed_at) \
             VALUES (?, ?, ?, ?, ?, ?, 1, ?, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6)) \
             ON DUPLICATE KEY UPDATE attempt = attempt + 1, changed_at = UTC_TIMESTAMP(6)",
            self.database
        );
        let texts = [&self.run, &self.stream_id, &self.key.pipeline, &self.key.node, &self.key.stream, &self.key.run_id];
        let mut parameters: Vec<Param> = texts.iter().map(|text| text.as_str().into()).collect();
        parameters.push(target.into());
        if let Err(error) = client.execute(&sql, &parameters).await {
            return Err(if errors::number(&error) == Some(1205) { self.busy(client) } else { self.denied(error) });
        }
        let sql = format!("SELECT attempt, report, phase FROM {}.runs WHERE id = ?", self.database);
        let rows = client.query(&sql, &[self.run.as_str().into()]).await?;
        rows.first().map(run_row).ok_or_else(|| Error::internal("no run row"))
    }

    /// Inside a writing transaction: holds the fence, or fails if a later attempt has begun.
    pub async fn fence(&self, client: &mut Client, attempt: u64) -> Result<()> {
        let sql =
            format!("SELECT 1 FROM {}.runs WHERE id = ? AND attempt = ? AND report IS NULL LOCK IN SHARE MODE", self.database);
        if client.query(&sql, &[self.run.as_str().into(), attempt.into()]).await?.is_empty() {
            return Err(overtaken().at(client.place().to_string()));
        }
        Ok(())
    }

    /// Inside a writing transaction: what this flush adds.
    pub async fn record(&self, client: &mut Client, attempt: u64, barrier: &Barrier, rows: u64, bytes: u64) -> Result<()> {
        let (lane, epoch) = (Param::UInt(barrier.lane as u64), Param::UInt(barrier.epoch));
        let sql = format!(
            "INSERT INTO {}.flushes (id, attempt, lane, epoch, row_count, byte_count, at) VALUES (?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6))",
            self.database
        );
        let id: Param = self.run.as_str().into();
        client.execute(&sql, &[id.clone(), attempt.into(), lane.clone(), epoch.clone(), rows.into(), bytes.into()]).await?;
        self.record_progress(client, barrier).await
    }

    async fn record_progress(&self, client: &mut Client, barrier: &Barrier) -> Result<()> {
        let (lane, epoch) = (Param::UInt(barrier.lane as u64), Param::UInt(barrier.epoch));
        let id: Param = self.run.as_str().into();
        let sql = format!(
            "REPLACE INTO {}.progress (id, split_key, split_id, progress, lane, epoch, at) VALUES (?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6))",
            self.database
        );
        for part in &barrier.progress {
            let text =
                serde_json::to_string(part).map_err(|error| Error::internal("progress cannot be written").caused_by(error))?;
            let split = digest(&[&part.split.id]);
            let parameters = [
                id.clone(),
                split.as_str().into(),
                part.split.id.as_str().into(),
                text.as_str().into(),
                lane.clone(),
                epoch.clone(),
            ];
            client.execute(&sql, &parameters).await?;
        }
        Ok(())
    }

    /// Inside a writing transaction: what a flush of changes adds. A stream of changes never ends, so its flushes share one row.
    pub async fn record_changes(
        &self,
        client: &mut Client,
        attempt: u64,
        barrier: &Barrier,
        rows: u64,
        bytes: u64,
    ) -> Result<()> {
        let sql = format!(
            "UPDATE {}.flushes SET attempt = ?, lane = ?, epoch = ?, row_count = row_count + ?, byte_count = byte_count + ?, \
             at = UTC_TIMESTAMP(6) WHERE id = ?",
            self.database
        );
        let (lane, epoch) = (Param::UInt(barrier.lane as u64), Param::UInt(barrier.epoch));
        let parameters = [attempt.into(), lane, epoch, rows.into(), bytes.into(), self.run.as_str().into()];
        if client.execute(&sql, &parameters).await?.affected == 0 {
            return self.record(client, attempt, barrier, rows, bytes).await;
        }
        self.record_progress(client, barrier).await
    }

    /// The change of shape that is not durable with its rows yet. Also before anything was made here.
    pub async fn shaping(&self, client: &mut Client) -> Result<Option<String>> {
        let sql = format!("SELECT shaping FROM {}.shapes WHERE id = ?", self.database);
        match client.query(&sql, &[self.run.as_str().into()]).await {
            Ok(rows) => Ok(rows.first().map(|row| row.text(0).to_string())),
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Privilege) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes a change of shape, or forgets it.
    pub async fn set_shaping(&self, client: &mut Client, shaping: Option<&str>) -> Result<()> {
        let id: Param = self.run.as_str().into();
        let (sql, parameters) = match shaping {
            Some(text) => (
                format!("REPLACE INTO {}.shapes (id, shaping, at) VALUES (?, ?, UTC_TIMESTAMP(6))", self.database),
                vec![id, text.into()],
            ),
            None => (format!("DELETE FROM {}.shapes WHERE id = ?", self.database), vec![id]),
        };
        client.execute(&sql, &parameters).await.map(drop)
    }

    /// How far every split got.
    pub async fn progress(&self, client: &mut Client) -> Result<Vec<SplitProgress>> {
        let sql = format!("SELECT progress FROM {}.progress WHERE id = ? ORDER BY epoch, split_key", self.database);
        let rows = client.query(&sql, &[self.run.as_str().into()]).await?;
        rows.iter()
            .map(|row| {
                serde_json::from_str(row.text(0)).map_err(|error| {
                    Error::new("WEIR-MY-042", Kind::Data, "the progress kept on the target server cannot be read")
                        .at(format!("{}.progress", self.database))
                        .because(error)
                        .hint("was it written by a newer version of Weir?")
                })
            })
            .collect()
    }

    /// How far the newest run of the stream got: those before it say nothing once it has begun.
    pub async fn newest(&self, client: &mut Client) -> Result<Vec<SplitProgress>> {
        let sql = format!("SELECT id FROM {}.runs WHERE stream_id = ? ORDER BY started_at DESC LIMIT 1", self.database);
        let rows = match client.query(&sql, &[self.stream_id.as_str().into()]).await {
            Err(error) if error.kind() == Kind::NotFound => return Ok(Vec::new()),
            rows => rows?,
        };
        match rows.first() {
            Some(row) => Self { run: row.text(0).to_string(), ..self.clone() }.progress(client).await,
            None => Ok(Vec::new()),
        }
    }

    /// Inside a transaction: waits until no flush of the stream is under way, and lets none begin.
    pub async fn exclude(&self, client: &mut Client) -> Result<()> {
        let sql = format!("SELECT id FROM {}.runs WHERE stream_id = ? FOR UPDATE", self.database);
        match client.query(&sql, &[self.stream_id.as_str().into()]).await {
            // Nothing has ever written here.
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            rows => rows.map(drop),
        }
    }

    /// Rows and bytes that all flushes added.
    pub async fn totals(&self, client: &mut Client) -> Result<(u64, u64)> {
        let sql = format!(
            "SELECT CAST(COALESCE(SUM(row_count), 0) AS CHAR), CAST(COALESCE(SUM(byte_count), 0) AS CHAR) FROM {}.flushes WHERE id = ?",
            self.database
        );
        let rows = client.query(&sql, &[self.run.as_str().into()]).await?;
        Ok(rows.first().map_or((0, 0), |row| (row.uint(0), row.uint(1))))
    }

    /// Forgets the flushes and progress of this run.
    pub async fn forget(&self, client: &mut Client) -> Result<()> {
        client.batch("START TRANSACTION").await?;
        for table in ["flushes", "progress", "shapes"] {
            client.execute(&format!("DELETE FROM {}.{table} WHERE id = ?", self.database), &[self.run.as_str().into()]).await?;
        }
        client
            .execute(
                &format!("UPDATE {}.runs SET phase = NULL, report = NULL WHERE id = ?", self.database),
                &[self.run.as_str().into()],
            )
            .await?;
        client.batch("COMMIT").await.map(drop)
    }

    /// Inside a transaction: locks the run, and checks the fence.
    pub async fn lock(&self, client: &mut Client, attempt: u64) -> Result<RunRow> {
        let sql = format!("SELECT attempt, report, phase FROM {}.runs WHERE id = ? FOR UPDATE", self.database);
        let rows = client.query(&sql, &[self.run.as_str().into()]).await?;
        let row = rows.first().map(run_row).ok_or_else(|| {
            Error::new("WEIR-MY-042", Kind::Conflict, "the run is not in the target's state any more")
                .at(format!("{}.runs", self.database))
        })?;
        if row.committed.is_none() && row.attempt != attempt {
            return Err(overtaken());
        }
        Ok(row)
    }

    /// Inside a transaction: from here on a table of this run may be in the target's place already.
    pub async fn swapping(&self, client: &mut Client, done: &CommitReport) -> Result<()> {
        let text = serde_json::to_string(done).unwrap_or_default();
        let sql = format!(
            "UPDATE {}.runs SET phase = 'swapping', report = ?, changed_at = UTC_TIMESTAMP(6) WHERE id = ?",
            self.database
        );
        client.execute(&sql, &[text.as_str().into(), self.run.as_str().into()]).await.map(drop)
    }

    /// Inside a transaction: the run is done, and what earlier runs of the stream left here is not needed any more.
    pub async fn committed(&self, client: &mut Client, done: &CommitReport) -> Result<()> {
        let text = serde_json::to_string(done).unwrap_or_default();
        let sql =
            format!("UPDATE {}.runs SET phase = NULL, report = ?, changed_at = UTC_TIMESTAMP(6) WHERE id = ?", self.database);
        client.execute(&sql, &[text.as_str().into(), self.run.as_str().into()]).await?;
        for table in ["flushes", "progress", "shapes"] {
            let sql = format!(
                "DELETE FROM {0}.{table} WHERE id IN (SELECT id FROM {0}.runs WHERE stream_id = ? AND id <> ?)",
                self.database
            );
            client.execute(&sql, &[self.stream_id.as_str().into(), self.run.as_str().into()]).await?;
        }
        let sql = format!("DELETE FROM {}.runs WHERE stream_id = ? AND id <> ?", self.database);
        client.execute(&sql, &[self.stream_id.as_str().into(), self.run.as_str().into()]).await.map(drop)
    }

    /// The words of other runs of this stream, which may have left tables over.
    pub async fn other_runs(&self, client: &mut Client) -> Result<Vec<String>> {
        let sql = format!("SELECT id FROM {}.runs WHERE stream_id = ? AND id <> ? AND phase IS NULL", self.database);
        let rows = client.query(&sql, &[self.stream_id.as_str().into(), self.run.as_str().into()]).await?;
        Ok(rows.iter().map(|row| row.text(0).to_string()).collect())
    }
}

fn overtaken() -> Error {
    Error::new("WEIR-MY-041", Kind::Conflict, "another attempt of this run has taken over")
        .hint("only one process may execute a run; this one stops without writing anything more")
}
