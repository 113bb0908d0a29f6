//! Writing: what a run does to its target table.
//!
//! | mode | rows go by COPY into | `commit` |
//! | --- | --- | --- |
//! | append | the target | marks the run |
//! | overwrite | a staging table beside it | swaps the tables |
//! | upsert, merge | a staging table | `INSERT … ON CONFLICT` |
//! | upsert, merge of changes | nothing of the run's own (see `changes`) | marks the run |
//!
//! In every mode a flush is one transaction of rows, their count and the progress of their splits (see `ledger`), so the two cannot
//! disagree: exactly once. `commit` is one transaction with the mark that it happened.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::datatypes::Field;
use async_trait::async_trait;
use twox_hash::XxHash64;
use weir_connect::verify::VerifiableTarget;
use weir_connect::{
    ChangeWriter, CommitKind, CommitReport, CommitToken, DeleteMode, Error, Kind, OnLoss, Recovery, Result, Sink,
    SinkCapabilities, SinkType, StreamSink, StreamTarget, StreamWriter, WriteMode, failpoint,
};

use super::catalog::{self, Relation};
use super::changes::{Changes, Setup};
use super::client::Client;
use super::config::{Address, SinkOptions};
use super::copy_encode::ColumnPlan;
use super::ledger::{Ledger, RunKey};
use super::quote::{TableName, checked, ident, join_idents};
use super::swap;
use super::target::{self, Change, TargetPlan};
use super::types;
use super::writer::Writer;

/// Column of a staging table that keeps the order of arrival.
pub const SEQUENCE: &str = "_weir_seq";

/// A configured sink.
pub struct PostgresSink {
    /// Where.
    pub address: Address,
    /// How.
    pub options: SinkOptions,
    /// Columns without exact counterpart.
    pub on_loss: OnLoss,
    /// Name of the sink's node.
    pub node: String,
}

/// What the lanes of one stream share.
pub struct Shared {
    /// Where.
    pub address: Address,
    /// The run's memory.
    pub ledger: Ledger,
    /// The fence.
    pub attempt: u64,
    /// `COPY … FROM STDIN`.
    pub copy: String,
    /// In COPY's text format.
    pub text: bool,
    /// Encoding of every written column.
    pub columns: Vec<ColumnPlan>,
    /// Next value of the order of arrival; `None` if there is no such column.
    pub sequence: Option<AtomicU64>,
    /// The target, for messages.
    pub place: String,
}

/// One stream's way into its table, for one run.
struct PostgresStream {
    shared: Arc<Shared>,
    target: StreamTarget,
    name: TableName,
    staging: Option<Staging>,
    committed: Option<CommitReport>,
    /// Columns of the target that the stream writes.
    names: Vec<String>,
    options: SinkOptions,
    on_loss: OnLoss,
}

struct Staging {
    name: TableName,
    /// Made to take the target's place, with all its columns.
    swap: bool,
    /// What the target needs before rows can be inserted from a staging table that cannot take its place.
    changes: Vec<Change>,
}

#[async_trait]
impl Sink for PostgresSink {
    fn capabilities(&self, _mode: WriteMode) -> SinkCapabilities {
        SinkCapabilities {
            commit: CommitKind::CoCommitted,
            commit_note: format!(
                "postgres keeps positions in {}.progress, in the rows' own transaction",
                self.options.state_schema
            ),
            write_modes: vec![WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert, WriteMode::Merge],
        }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        types::sink_type(field)
    }

    fn place(&self, stream: &str) -> String {
        format!("{} in {}", target::table_name(&self.options, stream).display(), self.address.place())
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        let mut client = Client::connect(&self.address).await?;
        let plan = target::examine(&mut client, target, &self.options, &self.on_loss).await?;
        Ok(plan.changes.iter().map(|change| change.says(&plan.name)).collect())
    }

    async fn columns(&self, target: &StreamTarget) -> Result<Option<Vec<String>>> {
        let mut client = Client::connect(&self.address).await?;
        let name = target::table_name(&self.options, &target.stream);
        let Some(relation) = catalog::find(&mut client, &name).await? else { return Ok(None) };
        let shape = catalog::shapes(&mut client, &[relation.oid]).await?.remove(&relation.oid).unwrap_or_default();
        Ok(Some(shape.columns.into_iter().map(|column| column.name).collect()))
    }

    fn verifiable(&self) -> Option<&dyn VerifiableTarget> {
        Some(self)
    }

    fn change_modes(&self) -> Vec<WriteMode> {
        vec![WriteMode::Upsert, WriteMode::Merge]
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        checked(&self.options.state_schema)?;
        let mut client = Client::connect(&self.address).await?;
        let name = target::table_name(&self.options, &target.stream);
        let key = RunKey {
            pipeline: target.run.pipeline.clone(),
            node: self.node.clone(),
            stream: target.stream.clone(),
            run_id: target.run.run_id.clone(),
        };
        let ledger = Ledger::new(&self.options.state_schema, key);
        ledger.ensure(&mut client).await?;
        let run = ledger.begin(&mut client, &name.display()).await?;
        if let Some(done) = run.committed {
            return Ok(Box::new(PostgresStream::finished(self, ledger, run.attempt, target, name, done)));
        }
        let plan = target::examine(&mut client, &target, &self.options, &self.on_loss).await?;
        let staging = match target.write_mode {
            WriteMode::Append => None,
            _ if target.changes => None,
            mode => Some(self.stage(&mut client, &ledger, &target, &plan, mode).await?),
        };
        if staging.is_none() {
            apply(&mut client, &plan.name, &plan.changes).await?;
        }
        let data = staging.as_ref().map_or(&plan.name, |staging| &staging.name);
        let relation = catalog::find(&mut client, data).await?.ok_or_else(|| {
            Error::new("WEIR-PG-007", Kind::NotFound, "the table that was just made is gone").at(data.display())
        })?;
        if run.data_oid != 0 && run.data_oid != relation.oid {
            // The table that held this run's rows was dropped: what the ledger says about them is not true any more.
            ledger.forget(&mut client).await?;
        }
        if run.data_oid != relation.oid {
            ledger.set_data_oid(&mut client, relation.oid).await?;
        }
        let (columns, text) = target::bind(&mut client, relation.oid, data, &target.schema, &plan.written, &self.on_loss).await?;
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let ordered = staging.is_some() && target.write_mode != WriteMode::Overwrite;
        let mut list = join_idents(names.iter().map(String::as_str));
        if ordered {
            list.push_str(&format!(", {}", ident(SEQUENCE)));
        }
        let format = if text { "text" } else { "binary" };
        let shared = Shared {
            address: self.address.clone(),
            ledger,
            attempt: run.attempt,
            copy: format!("COPY {} ({list}) FROM STDIN (FORMAT {format})", data.sql()),
            text,
            columns,
            // Later attempts come later in the order.
            sequence: ordered.then(|| AtomicU64::new(run.attempt << 40)),
            place: plan.name.display(),
        };
        client.close().await;
        let (options, on_loss) = (self.options.clone(), self.on_loss.clone());
        let shared = Arc::new(shared);
        Ok(Box::new(PostgresStream { shared, target, name: plan.name, staging, committed: None, names, options, on_loss }))
    }
}

async fn apply(client: &mut Client, name: &TableName, changes: &[Change]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let statements: Vec<String> = changes.iter().map(|change| change.sql(name)).collect();
    client.batch(&format!("BEGIN; {}; COMMIT", statements.join("; "))).await.map_err(|error| name_target(error, name))
}

/// Says which table a refusal is about, and the GRANT that mends it.
pub fn name_target(error: Error, name: &TableName) -> Error {
    match error.kind() {
        Kind::Privilege if error.code() == "WEIR-PG-006" => {
            Error::new("WEIR-PG-006", Kind::Privilege, format!("the user may not write {}", name.display()))
                .because(error.why().unwrap_or_default().to_string())
                .hint(format!(
                    "run as its owner: GRANT USAGE, CREATE ON SCHEMA {} TO …; GRANT INSERT ON {} TO …; altering and swapping need its owner",
                    ident(&name.schema),
                    name.sql()
                ))
        }
        _ => error,
    }
}

impl PostgresSink {
    fn staging_name(&self, ledger_run: &str, target: &StreamTarget, name: &TableName, mode: WriteMode) -> TableName {
        let identity = format!("{}\0{}\0{}\0{ledger_run}", target.run.pipeline, self.node, target.stream);
        let schema = match (&self.options.staging_schema, mode) {
            (Some(schema), WriteMode::Upsert | WriteMode::Merge) => schema.clone(),
            _ => name.schema.clone(),
        };
        TableName { schema, table: format!("_weir_stage_{:016x}", XxHash64::oneshot(0, identity.as_bytes())) }
    }

    /// Makes the staging table, and drops those of earlier runs that were never committed.
    async fn stage(
        &self,
        client: &mut Client,
        ledger: &Ledger,
        target: &StreamTarget,
        plan: &TargetPlan,
        mode: WriteMode,
    ) -> Result<Staging> {
        for run_id in ledger.other_runs(client).await? {
            let old = self.staging_name(&run_id, target, &plan.name, mode);
            client.batch(&format!("DROP TABLE IF EXISTS {}", old.sql())).await?;
        }
        let name = self.staging_name(&target.run.run_id, target, &plan.name, mode);
        if name.schema != plan.name.schema {
            let rows = client.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[Some(&name.schema)]).await?;
            if rows.is_empty() {
                client.batch(&format!("CREATE SCHEMA IF NOT EXISTS {}", ident(&name.schema))).await?;
            }
        }
        let overwrite = mode == WriteMode::Overwrite;
        let made = |changes: Vec<Change>, swap| Staging { name: name.clone(), swap, changes };
        let Some(existing) = &plan.existing else {
            if overwrite {
                // The staging table becomes the target.
                let schema: Vec<Change> = plan.changes.iter().filter(|c| matches!(c, Change::CreateSchema(_))).cloned().collect();
                let table: Vec<Change> = plan.changes.iter().filter(|c| !matches!(c, Change::CreateSchema(_))).cloned().collect();
                apply(client, &name, &[schema, table].concat()).await?;
                return Ok(made(Vec::new(), true));
            }
            apply(client, &plan.name, &plan.changes).await?;
            let relation = catalog::find(client, &plan.name).await?;
            self.copy_columns(client, target, plan, relation.as_ref(), &name).await?;
            return Ok(made(Vec::new(), false));
        };
        if overwrite && swap::obstacles(client, existing).await?.is_empty() {
            let statement = format!(
                "CREATE TABLE IF NOT EXISTS {} (LIKE {} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING STORAGE \
                 INCLUDING COMMENTS)",
                name.sql(),
                plan.name.sql()
            );
            client.batch(&statement).await.map_err(|error| name_target(error, &plan.name))?;
            apply(client, &name, &plan.changes).await?;
            return Ok(made(Vec::new(), true));
        }
        if overwrite {
            swap::refuse_cascades(client, existing, &plan.name).await?;
            // The target stays as it is until the commit: what it needs is done there.
            let columns = self.columns_after(client, target, plan, existing).await?;
            self.create_staging(client, &name, &columns, false).await?;
            return Ok(made(plan.changes.clone(), false));
        }
        apply(client, &plan.name, &plan.changes).await?;
        self.copy_columns(client, target, plan, Some(existing), &name).await?;
        Ok(made(Vec::new(), false))
    }

    /// Names and types of the written columns, as they will be in the target.
    async fn columns_after(
        &self,
        client: &mut Client,
        target: &StreamTarget,
        plan: &TargetPlan,
        existing: &Relation,
    ) -> Result<Vec<(String, String)>> {
        let shape = catalog::shapes(client, &[existing.oid]).await?.remove(&existing.oid).unwrap_or_default();
        let columns = plan.written.iter().map(|at| {
            let name = target.schema.field(*at).name();
            let changed = plan.changes.iter().find_map(|change| match change {
                Change::Add { column, kind } | Change::Widen { column, kind } if column == name => Some(kind.clone()),
                _ => None,
            });
            let present = || shape.columns.iter().find(|column| &column.name == name).map(|column| column.type_name.clone());
            (name.clone(), changed.or_else(present).unwrap_or_else(|| "text".into()))
        });
        Ok(columns.collect())
    }

    async fn copy_columns(
        &self,
        client: &mut Client,
        target: &StreamTarget,
        plan: &TargetPlan,
        relation: Option<&Relation>,
        name: &TableName,
    ) -> Result<()> {
        let Some(relation) = relation else {
            return Err(Error::new("WEIR-PG-007", Kind::NotFound, "the table that was just made is gone").at(plan.name.display()));
        };
        let after = TargetPlan { changes: Vec::new(), ..plan.clone() };
        let columns = self.columns_after(client, target, &after, relation).await?;
        self.create_staging(client, name, &columns, true).await
    }

    async fn create_staging(
        &self,
        client: &mut Client,
        name: &TableName,
        columns: &[(String, String)],
        ordered: bool,
    ) -> Result<()> {
        let mut parts: Vec<String> = columns.iter().map(|(column, kind)| format!("{} {kind}", ident(column))).collect();
        if ordered {
            parts.push(format!("{} bigint NOT NULL", ident(SEQUENCE)));
        }
        let sql = format!("CREATE TABLE IF NOT EXISTS {} ({})", name.sql(), parts.join(", "));
        client.batch(&sql).await.map_err(|error| name_target(error, name))
    }
}

impl PostgresStream {
    /// The run is committed already: only its report is left to give.
    fn finished(
        sink: &PostgresSink,
        ledger: Ledger,
        attempt: u64,
        target: StreamTarget,
        name: TableName,
        done: CommitReport,
    ) -> Self {
        let shared = Shared {
            address: sink.address.clone(),
            ledger,
            attempt,
            copy: String::new(),
            text: false,
            columns: Vec::new(),
            sequence: None,
            place: name.display(),
        };
        let (options, on_loss) = (sink.options.clone(), sink.on_loss.clone());
        Self { shared: Arc::new(shared), target, name, staging: None, committed: Some(done), names: Vec::new(), options, on_loss }
    }

    async fn connect(&self) -> Result<Client> {
        Client::connect(&self.shared.address).await
    }

    /// Deletes the rows of this run from an append target. They are known by their transaction; if one was changed since, nothing is deleted.
    async fn undo(&self, client: &mut Client) -> Result<()> {
        let (expected, _) = self.shared.ledger.totals(client).await?;
        if expected == 0 {
            return Ok(());
        }
        let (transactions, young) = self.shared.ledger.transactions(client).await?;
        let sql = format!("DELETE FROM {} WHERE xmin = ANY($1::text[]::xid[])", self.name.sql());
        let deleted = if young { client.execute(&sql, &[Some(&transactions)]).await?.1 } else { 0 };
        if deleted == expected {
            return Ok(());
        }
        Err(Error::new("WEIR-PG-060", Kind::Conflict, "the rows of the interrupted run cannot be taken back")
            .at(self.name.display())
            .because(format!("{expected} rows were written and {deleted} of them are still there unchanged"))
            .hint("remove them by hand, or `weir state reset` to keep them and read everything again"))
    }

    /// Everything visible, inside an open transaction.
    async fn publish(&self, client: &mut Client) -> Result<()> {
        let Some(staging) = &self.staging else { return Ok(()) };
        if self.target.write_mode == WriteMode::Overwrite {
            return swap::replace(client, &self.name, &staging.name, staging.swap, &staging.changes, &self.names).await;
        }
        let (table, stage) = (self.name.sql(), staging.name.sql());
        let keys: Vec<&str> = self.target.key.iter().map(String::as_str).collect();
        let null = keys.iter().map(|key| format!("{} IS NULL", ident(key))).collect::<Vec<_>>().join(" OR ");
        let rows = client.query(&format!("SELECT count(*) FROM {stage} WHERE {null}"), &[]).await?;
        let nulls = rows.first().map(|row| row.int(0)).unwrap_or(0);
        if nulls > 0 {
            return Err(Error::new(
                "WEIR-PG-055",
                Kind::Data,
                format!("{nulls} rows have no value in the key ({})", keys.join(", ")),
            )
            .at(self.name.display())
            .hint("a row without key cannot replace another; filter them out or choose another key"));
        }
        let mut sets: Vec<String> = self
            .names
            .iter()
            .filter(|name| !keys.contains(&name.as_str()))
            .map(|name| format!("{0} = EXCLUDED.{0}", ident(name)))
            .collect();
        if self.target.write_mode == WriteMode::Upsert {
            // A replaced row has nothing left of the old one.
            let relation = catalog::find(client, &self.name).await?;
            let oid = relation.map(|relation| relation.oid).unwrap_or_default();
            let shape = catalog::shapes(client, &[oid]).await?.remove(&oid).unwrap_or_default();
            let others = shape.columns.iter().filter(|column| !column.generated && !self.names.contains(&column.name));
            sets.extend(others.map(|column| format!("{} = DEFAULT", ident(&column.name))));
        }
        let action = if sets.is_empty() { "NOTHING".to_string() } else { format!("UPDATE SET {}", sets.join(", ")) };
        let list = join_idents(self.names.iter().map(String::as_str));
        let key = join_idents(keys.iter().copied());
        client
            .batch(&format!(
                "INSERT INTO {table} ({list}) SELECT {list} FROM (SELECT DISTINCT ON ({key}) * FROM {stage} \
                 ORDER BY {key}, {} DESC) AS newest ON CONFLICT ({key}) DO {action}; DROP TABLE {stage}",
                ident(SEQUENCE)
            ))
            .await
            .map_err(|error| name_target(error, &self.name))
    }
}

#[async_trait]
impl StreamSink for PostgresStream {
    async fn recover(&self) -> Result<Recovery> {
        let mut client = self.connect().await?;
        let progress = self.shared.ledger.progress(&mut client).await?;
        let (rows, _) = self.shared.ledger.totals(&mut client).await?;
        Ok(Recovery { progress: Some(progress), committed: self.committed.clone(), rows })
    }

    async fn discard(&self, _keep: &[CommitToken]) -> Result<()> {
        // There are no tokens to keep: what is durable here is known by the ledger, and the engine calls this only to start over.
        if self.committed.is_some() {
            return Ok(());
        }
        let mut client = self.connect().await?;
        client.batch("BEGIN").await?;
        self.shared.ledger.lock(&mut client, self.shared.attempt).await?;
        match &self.staging {
            Some(staging) => client.batch(&format!("TRUNCATE {}", staging.name.sql())).await?,
            // Applied changes cannot be told from other rows; a new snapshot replaces them by key.
            None if self.target.changes => {}
            None => self.undo(&mut client).await?,
        }
        self.shared.ledger.forget(&mut client).await?;
        client.commit().await
    }

    async fn writer(&self, lane: usize) -> Result<Box<dyn StreamWriter>> {
        if self.committed.is_some() {
            return Err(Error::internal("a writer was asked for after the commit").at(self.shared.place.clone()));
        }
        if self.target.changes {
            return Err(Error::internal("a writer of rows was asked for a stream of changes").at(self.shared.place.clone()));
        }
        Ok(Box::new(Writer::new(self.shared.clone(), lane)))
    }

    async fn change_writer(&self, deletes: DeleteMode) -> Result<Box<dyn ChangeWriter>> {
        if self.committed.is_some() || !self.target.changes {
            return Err(Error::internal("a writer of changes was asked for another stream").at(self.shared.place.clone()));
        }
        let setup = Setup { options: self.options.clone(), on_loss: self.on_loss.clone(), deletes };
        Ok(Box::new(Changes::open(self.shared.clone(), setup, self.target.clone()).await?))
    }

    async fn commit(&self, _tokens: &[CommitToken]) -> Result<CommitReport> {
        if let Some(done) = &self.committed {
            return Ok(done.clone());
        }
        let mut client = self.connect().await?;
        client.batch("BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL statement_timeout = 0").await?;
        if let Some(done) = self.shared.ledger.lock(&mut client, self.shared.attempt).await? {
            return Ok(done);
        }
        let (rows, bytes) = self.shared.ledger.totals(&mut client).await?;
        self.publish(&mut client).await?;
        let done = CommitReport { rows, bytes, objects: 1, place: self.name.display() };
        self.shared.ledger.committed(&mut client, &done).await?;
        failpoint!("postgres.commit.before");
        client.commit().await?;
        failpoint!("postgres.commit.after");
        Ok(done)
    }
}
