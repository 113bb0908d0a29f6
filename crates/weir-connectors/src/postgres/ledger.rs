//! How far each run got, kept in the target database so that it changes in the same transaction as the rows.
//!
//! * `runs`: one row per pipeline, sink, stream and run. `attempt` is a fence: every writing transaction holds a share lock on the row and
//!   names its attempt, so a new attempt waits for, and shuts out, writers of the one before — even if their process still lives somewhere.
//! * `flushes`: one row per committed flush, with its transaction id, by which an append can be undone.
//! * `progress`: the latest progress of every split.

use serde_json::Value;
use weir_connect::{Barrier, CommitReport, Error, Kind, Result, SplitProgress};

use super::client::{Client, Row};
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

/// The ledger of one run.
#[derive(Debug, Clone)]
pub struct Ledger {
    schema: String,
    key: RunKey,
}

/// The row of `runs`.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// The fence.
    pub attempt: u64,
    /// The report, once committed.
    pub committed: Option<CommitReport>,
    /// Table that the flushes went into, 0 if not decided.
    pub data_oid: u32,
}

/// A statement with its parameters, for a pipeline.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// In order.
    pub parameters: Vec<String>,
}

const KEY: &str = "pipeline = $1 AND node = $2 AND stream = $3 AND run_id = $4";
const STREAM: &str = "pipeline = $1 AND node = $2 AND stream = $3";

fn report(row: &Row, index: usize) -> Option<CommitReport> {
    row.opt(index).and_then(|text| serde_json::from_str(text).ok())
}

impl Ledger {
    /// The ledger in that schema.
    pub fn new(schema: &str, key: RunKey) -> Self {
        Self { schema: ident(schema), key }
    }

    fn key(&self) -> [Option<&str>; 4] {
        [Some(&self.key.pipeline), Some(&self.key.node), Some(&self.key.stream), Some(&self.key.run_id)]
    }

    async fn keyed(&self, client: &mut Client, sql: &str, more: &[Option<&str>]) -> Result<Vec<Row>> {
        client.query(sql, &[&self.key()[..], more].concat()).await
    }

    /// Says that it is the state that this user may not write, and the GRANT that mends it.
    fn denied(&self, error: Error) -> Error {
        if error.kind() != Kind::Privilege {
            return error;
        }
        let schema = &self.schema;
        Error::new("WEIR-PG-006", Kind::Privilege, format!("the user may not write the state schema {schema}"))
            .because(error.why().unwrap_or_default().to_string())
            .hint(format!(
                "run as its owner: GRANT USAGE ON SCHEMA {schema} TO the_user; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN \
                 SCHEMA {schema} TO the_user; or set `state_schema` to one of the user's own"
            ))
    }

    /// Creates schema and tables if they are missing.
    pub async fn ensure(&self, client: &mut Client) -> Result<()> {
        let name = format!("{}.progress", self.schema);
        let rows =
            client.query("SELECT to_regclass($1) IS NOT NULL", &[Some(&name)]).await.map_err(|error| self.denied(error))?;
        if rows.first().is_some_and(|row| row.flag(0)) {
            return Ok(());
        }
        let schema = &self.schema;
        // Even with IF NOT EXISTS the server asks for the privilege to create one.
        let rows = client.query("SELECT to_regnamespace($1) IS NULL", &[Some(schema)]).await?;
        let create = if rows.first().is_some_and(|row| row.flag(0)) {
            format!("CREATE SCHEMA IF NOT EXISTS {schema};")
        } else {
            String::new()
        };
        // The lock makes two first runs at the same moment wait for each other; IF NOT EXISTS alone is not safe against that.
        let sql = format!(
            "BEGIN; SELECT pg_advisory_xact_lock(7308339910637985895); \
             {create} \
             CREATE TABLE IF NOT EXISTS {schema}.runs (pipeline text, node text, stream text, run_id text, version int NOT NULL DEFAULT 1, \
               attempt bigint NOT NULL, data_oid oid NOT NULL DEFAULT 0, target text NOT NULL, report json, \
               started_at timestamptz NOT NULL DEFAULT now(), changed_at timestamptz NOT NULL DEFAULT now(), \
               PRIMARY KEY (pipeline, node, stream, run_id)); \
             CREATE TABLE IF NOT EXISTS {schema}.flushes (pipeline text, node text, stream text, run_id text, attempt bigint NOT NULL, \
               lane int NOT NULL, epoch bigint NOT NULL, xid bigint NOT NULL, rows bigint NOT NULL, bytes bigint NOT NULL, \
               at timestamptz NOT NULL DEFAULT now()); \
             CREATE TABLE IF NOT EXISTS {schema}.progress (pipeline text, node text, stream text, run_id text, split_key uuid, split_id text NOT NULL, \
               progress json NOT NULL, lane int NOT NULL, epoch bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), \
               PRIMARY KEY (pipeline, node, stream, run_id, split_key)); \
             COMMIT"
        );
        client.batch(&sql).await.map_err(|error| match error.kind() {
            Kind::Privilege => Error::new("WEIR-PG-006", Kind::Privilege, format!("the user may not create the state schema {schema}"))
                .at(client.place().to_string())
                .because(error.why().unwrap_or_default().to_string())
                .hint(format!(
                    "run as an administrator: CREATE SCHEMA {schema} AUTHORIZATION the_user; or set `state_schema` to one it may write"
                )),
            _ => error,
        })
    }

    /// Begins an attempt: fences off writers of earlier ones and waits until their transactions have ended.
    pub async fn begin(&self, client: &mut Client, target: &str) -> Result<RunRow> {
        client.batch("BEGIN; SET LOCAL lock_timeout = '30s'").await?;
        let sql = format!(
            "INSERT INTO {0}.runs AS r (pipeline, node, stream, run_id, attempt, target) VALUES ($1, $2, $3, $4, 1, $5) \
             ON CONFLICT (pipeline, node, stream, run_id) DO UPDATE SET attempt = r.attempt + 1, changed_at = now() \
             RETURNING attempt, report, data_oid",
            self.schema
        );
        let rows = self.keyed(client, &sql, &[Some(target)]).await.map_err(|error| {
            if super::errors::sqlstate(&error) == Some("55P03") {
                Error::new("WEIR-PG-011", Kind::Conflict, "another process still writes for this run")
                    .at(target.to_string())
                    .hint("stop it; if it is gone, its session ends by itself soon")
                    .transient()
            } else {
                self.denied(error)
            }
        })?;
        client.commit().await?;
        let row = rows.first().ok_or_else(|| Error::internal("no run row"))?;
        Ok(RunRow { attempt: row.int(0) as u64, committed: report(row, 1), data_oid: row.int(2) as u32 })
    }

    /// Remembers into which table this run's flushes go.
    pub async fn set_data_oid(&self, client: &mut Client, oid: u32) -> Result<()> {
        let sql = format!("UPDATE {}.runs SET data_oid = $5::oid WHERE {KEY}", self.schema);
        self.keyed(client, &sql, &[Some(&oid.to_string())]).await.map(drop)
    }

    fn with_key(&self, sql: String, more: impl IntoIterator<Item = String>) -> Statement {
        let key = &self.key;
        let parameters = [&key.pipeline, &key.node, &key.stream, &key.run_id].into_iter().cloned().chain(more).collect();
        Statement { sql, parameters }
    }

    fn fence_sql(&self) -> String {
        format!("SELECT 1 FROM {}.runs WHERE {KEY} AND attempt = $5::bigint AND report IS NULL FOR SHARE", self.schema)
    }

    /// Inside a writing transaction: holds the fence. If a later attempt has begun it divides by zero, so that nothing behind it in a
    /// pipeline is carried out: then [`Ledger::fenced_off`].
    pub fn fence_statement(&self, attempt: u64) -> Statement {
        self.with_key(format!("WITH held AS ({}) SELECT 1 / count(*) FROM held", self.fence_sql()), [attempt.to_string()])
    }

    /// The error of a writer whose fence is gone.
    pub fn fenced_off(client: &Client) -> Error {
        Error::new("WEIR-PG-041", Kind::Conflict, "another attempt of this run has taken over")
            .at(client.place().to_string())
            .hint("only one process may execute a run; this one stops without writing anything more")
    }

    /// Inside a writing transaction: holds the fence, or fails if a later attempt has begun.
    pub async fn fence(&self, client: &mut Client, attempt: u64) -> Result<()> {
        if self.keyed(client, &self.fence_sql(), &[Some(&attempt.to_string())]).await?.is_empty() {
            return Err(Self::fenced_off(client));
        }
        Ok(())
    }

    /// Inside a writing transaction: what this flush adds.
    pub async fn record(&self, client: &mut Client, attempt: u64, barrier: &Barrier, rows: u64, bytes: u64) -> Result<()> {
        let (lane, epoch) = (barrier.lane.to_string(), barrier.epoch.to_string());
        let sql = format!(
            "INSERT INTO {}.flushes (pipeline, node, stream, run_id, attempt, lane, epoch, xid, rows, bytes) \
             VALUES ($1, $2, $3, $4, $5::bigint, $6::int, $7::bigint, txid_current(), $8::bigint, $9::bigint)",
            self.schema
        );
        let numbers = [attempt.to_string(), lane.clone(), epoch.clone(), rows.to_string(), bytes.to_string()];
        self.keyed(client, &sql, &numbers.each_ref().map(|text| Some(text.as_str()))).await?;
        let sql = self.progress_sql();
        for part in &barrier.progress {
            let text =
                serde_json::to_string(part).map_err(|error| Error::internal("progress cannot be written").caused_by(error))?;
            self.keyed(client, &sql, &[Some(&part.split.id), Some(&text), Some(&lane), Some(&epoch)]).await?;
        }
        Ok(())
    }

    fn progress_sql(&self) -> String {
        format!(
            "INSERT INTO {}.progress (pipeline, node, stream, run_id, split_key, split_id, progress, lane, epoch) \
             VALUES ($1, $2, $3, $4, md5($5)::uuid, $5, $6::json, $7::int, $8::bigint) \
             ON CONFLICT (pipeline, node, stream, run_id, split_key) DO UPDATE SET progress = EXCLUDED.progress, lane = EXCLUDED.lane, \
             epoch = EXCLUDED.epoch, at = now()",
            self.schema
        )
    }

    /// What a flush of changes adds, for its transaction. A stream of changes never ends, so its flushes share one row of `flushes`.
    pub fn flush_statements(&self, attempt: u64, barrier: &Barrier, rows: u64, bytes: u64) -> Result<Vec<Statement>> {
        let (lane, epoch) = (barrier.lane.to_string(), barrier.epoch.to_string());
        let sql = format!(
            "WITH counted AS (UPDATE {0}.flushes SET attempt = $5::bigint, lane = $6::int, epoch = $7::bigint, xid = txid_current(), \
             rows = rows + $8::bigint, bytes = bytes + $9::bigint, at = now() WHERE {KEY} RETURNING 1) \
             INSERT INTO {0}.flushes (pipeline, node, stream, run_id, attempt, lane, epoch, xid, rows, bytes) \
             SELECT $1, $2, $3, $4, $5::bigint, $6::int, $7::bigint, txid_current(), $8::bigint, $9::bigint \
             WHERE NOT EXISTS (SELECT FROM counted)",
            self.schema
        );
        let mut all =
            vec![self.with_key(sql, [attempt.to_string(), lane.clone(), epoch.clone(), rows.to_string(), bytes.to_string()])];
        for part in &barrier.progress {
            let text =
                serde_json::to_string(part).map_err(|error| Error::internal("progress cannot be written").caused_by(error))?;
            all.push(self.with_key(self.progress_sql(), [part.split.id.clone(), text, lane.clone(), epoch.clone()]));
        }
        Ok(all)
    }

    /// How far every split got.
    pub async fn progress(&self, client: &mut Client) -> Result<Vec<SplitProgress>> {
        let sql = format!("SELECT progress FROM {}.progress WHERE {KEY} ORDER BY epoch, split_id", self.schema);
        let rows = self.keyed(client, &sql, &[]).await?;
        rows.iter()
            .map(|row| {
                serde_json::from_str(row.text(0)).map_err(|error| {
                    Error::new("WEIR-PG-042", Kind::Data, "the progress kept in the target database cannot be read")
                        .at(format!("{}.progress", self.schema))
                        .because(error)
                        .hint("was it written by a newer version of Weir?")
                })
            })
            .collect()
    }

    /// Rows and bytes that all flushes added.
    pub async fn totals(&self, client: &mut Client) -> Result<(u64, u64)> {
        let sql = format!("SELECT coalesce(sum(rows), 0), coalesce(sum(bytes), 0) FROM {}.flushes WHERE {KEY}", self.schema);
        let rows = self.keyed(client, &sql, &[]).await?;
        Ok(rows.first().map_or((0, 0), |row| (row.int(0) as u64, row.int(1) as u64)))
    }

    /// The 32-bit transaction ids of flushes with rows, as `{1,2}`, and whether all are young enough to be told from later ones.
    pub async fn transactions(&self, client: &mut Client) -> Result<(String, bool)> {
        let sql = format!(
            "SELECT '{{' || coalesce(string_agg((xid & 4294967295)::text, ','), '') || '}}', \
             coalesce(txid_current() - min(xid) < 2000000000, true) FROM {}.flushes WHERE {KEY} AND rows > 0",
            self.schema
        );
        let rows = self.keyed(client, &sql, &[]).await?;
        Ok(rows.first().map_or(("{}".into(), true), |row| (row.text(0).to_string(), row.flag(1))))
    }

    /// Forgets the flushes and progress of this run.
    pub async fn forget(&self, client: &mut Client) -> Result<()> {
        for table in ["flushes", "progress"] {
            self.keyed(client, &format!("DELETE FROM {}.{table} WHERE {KEY}", self.schema), &[]).await?;
        }
        Ok(())
    }

    /// Inside the commit's transaction: locks the run and returns its report if it is committed already.
    pub async fn lock(&self, client: &mut Client, attempt: u64) -> Result<Option<CommitReport>> {
        let sql = format!("SELECT report, attempt FROM {}.runs WHERE {KEY} FOR UPDATE", self.schema);
        let rows = self.keyed(client, &sql, &[]).await?;
        let row = rows.first().ok_or_else(|| {
            Error::new("WEIR-PG-042", Kind::Conflict, "the run is not in the target's state any more")
                .at(format!("{}.runs", self.schema))
        })?;
        if let Some(done) = report(row, 0) {
            return Ok(Some(done));
        }
        if row.int(1) as u64 != attempt {
            return Err(Error::new("WEIR-PG-041", Kind::Conflict, "another attempt of this run has taken over"));
        }
        Ok(None)
    }

    /// Inside the commit's transaction: the run is done, and what earlier runs of the stream left here is not needed any more.
    pub async fn committed(&self, client: &mut Client, done: &CommitReport) -> Result<()> {
        let text = serde_json::to_value(done).unwrap_or(Value::Null).to_string();
        let sql = format!("UPDATE {}.runs SET report = $5::json, changed_at = now() WHERE {KEY}", self.schema);
        self.keyed(client, &sql, &[Some(&text)]).await?;
        for table in ["flushes", "progress", "runs"] {
            let sql = format!("DELETE FROM {}.{table} WHERE {STREAM} AND run_id <> $4", self.schema);
            self.keyed(client, &sql, &[]).await?;
        }
        Ok(())
    }

    /// Tables of other runs of this stream that may be left over.
    pub async fn other_runs(&self, client: &mut Client) -> Result<Vec<String>> {
        let sql = format!("SELECT run_id FROM {}.runs WHERE {STREAM} AND run_id <> $4", self.schema);
        Ok(self.keyed(client, &sql, &[]).await?.iter().map(|row| row.text(0).to_string()).collect())
    }
}
