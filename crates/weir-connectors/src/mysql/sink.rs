//! Writing: what a run does to its target table.
//!
//! | mode | `commit` |
//! | --- | --- |
//! | append, no table yet | the staged table becomes the target (RENAME) |
//! | append | `INSERT … SELECT` |
//! | overwrite | the staged table takes the target's place (RENAME); or DELETE and INSERT, where something holds on to the target |
//! | upsert, merge | `UPDATE` and `INSERT … SELECT` by key |
//! | upsert, merge of changes | nothing of the run's own (see `changes`): marks the run |
//!
//! But for changes, rows go into a staging table beside the target, because InnoDB does not tell which run wrote a row, so nothing else could be taken
//! back. A flush is one transaction of rows, their count and the progress of their splits (see `ledger`): exactly once. `commit` is one
//! transaction with the mark that it happened, or a RENAME, which is atomic itself, between two such transactions.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::datatypes::Field;
use async_trait::async_trait;
use weir_connect::verify::VerifiableTarget;
use weir_connect::{
    ChangeWriter, CommitKind, CommitReport, CommitToken, DeleteMode, Error, Kind, OnLoss, Recovery, Result, Sink,
    SinkCapabilities, SinkType, StreamSink, StreamTarget, StreamWriter, WriteMode, failpoint,
};

use super::catalog;
use super::changes::{self, Changes, Setup};
use super::client::Client;
use super::config::{Address, Load, SinkOptions};
use super::encode::{ColumnPlan, Form};
use super::ledger::{Ledger, RunKey};
use super::publish;
use super::quote::{TableName, checked, ident, join_idents};
use super::target::{self, Change, TargetPlan};
use super::types;
use super::writer::Writer;

/// Column of a staging table that keeps the order of arrival.
pub const SEQUENCE: &str = "_weir_seq";

/// A configured sink.
pub struct MysqlSink {
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
    /// What the rows are written as.
    pub form: Form,
    /// `LOAD DATA …`, or `INSERT INTO … VALUES `.
    pub statement: String,
    /// Encoding of every written column.
    pub columns: Vec<ColumnPlan>,
    /// Next value of the order of arrival; `None` if there is no such column.
    pub sequence: Option<AtomicU64>,
    /// The target, for messages.
    pub place: String,
}

/// One stream's way into its table, for one run.
struct MysqlStream {
    shared: Arc<Shared>,
    target: StreamTarget,
    name: TableName,
    staging: Staging,
    committed: Option<CommitReport>,
    /// Columns of the target that the stream writes.
    names: Vec<String>,
    options: SinkOptions,
    on_loss: OnLoss,
}

/// The staging table.
#[derive(Debug, Clone)]
pub struct Staging {
    /// Its name.
    pub name: TableName,
    /// Where the target goes when it is replaced.
    pub old: TableName,
    /// Made to take the target's place, with all its columns.
    pub swap: bool,
    /// Statements that make it.
    pub make: Vec<String>,
    /// What the target needs before rows can be inserted from a staging table that cannot take its place.
    pub changes: Vec<Change>,
}

#[async_trait]
impl Sink for MysqlSink {
    fn capabilities(&self, _mode: WriteMode) -> SinkCapabilities {
        SinkCapabilities {
            commit: CommitKind::CoCommitted,
            commit_note: format!("mysql keeps positions in {}.progress, in the rows' own transaction", self.options.state_schema),
            write_modes: vec![WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert, WriteMode::Merge],
        }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        types::sink_type(field)
    }

    fn place(&self, stream: &str) -> String {
        let name = target::table_name(&self.options, stream, &self.address.database);
        format!("{} in {}", name.display(), self.address.place())
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        let mut client = Client::connect(&self.address).await?;
        let name = target::table_name(&self.options, &target.stream, &self.address.database);
        let target = match target.changes {
            true => &changes::as_it_is(&mut client, &self.ledger(target), target, &name).await?,
            false => target,
        };
        let plan = self.examine(&mut client, target).await?;
        Ok(plan.changes.iter().map(|change| change.says(&plan.name)).collect())
    }

    async fn columns(&self, target: &StreamTarget) -> Result<Option<Vec<String>>> {
        let mut client = Client::connect(&self.address).await?;
        let name = target::table_name(&self.options, &target.stream, &self.address.database);
        if catalog::find(&mut client, &name).await?.is_none() {
            return Ok(None);
        }
        let shape = catalog::shape(&mut client, &name).await?;
        Ok(Some(shape.columns.into_iter().map(|column| column.name).collect()))
    }

    fn change_modes(&self) -> Vec<WriteMode> {
        vec![WriteMode::Upsert, WriteMode::Merge]
    }

    fn verifiable(&self) -> Option<&dyn VerifiableTarget> {
        Some(self)
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        checked(&self.options.state_schema)?;
        let mut client = Client::connect(&self.address).await?;
        let name = target::table_name(&self.options, &target.stream, &self.address.database);
        let ledger = self.ledger(&target);
        ledger.ensure(&mut client).await?;
        ledger.hold(&mut client).await?;
        let run = ledger.begin(&mut client, &name.display()).await?;
        let (stage, old) = staging_names(ledger.word(), &name);
        let staged = catalog::find(&mut client, &stage).await?.is_some();
        let committed = match run.swapping {
            // The staged table is gone: it is the target now, and only the mark is missing.
            Some(done) if !staged => {
                publish::mark(&mut client, &ledger, run.attempt, &done).await?;
                client.batch(&format!("DROP TABLE IF EXISTS {}", old.sql())).await?;
                Some(done)
            }
            _ => run.committed,
        };
        if let Some(done) = committed {
            client.close().await;
            let held = (ledger, run.attempt);
            return Ok(Box::new(MysqlStream::without_staging(self, held, Form::Insert, target, name, Some(done))));
        }
        if target.changes {
            self.prepare_changes(&mut client, &ledger, &target, &name).await?;
            let form = self.form(&mut client).await?;
            client.close().await;
            return Ok(Box::new(MysqlStream::without_staging(self, (ledger, run.attempt), form, target, name, None)));
        }
        if !staged {
            // The table that held this run's rows is not there (any more): what the ledger says about them is not true.
            ledger.forget(&mut client).await?;
        }
        let plan = self.examine(&mut client, &target).await?;
        for word in ledger.other_runs(&mut client).await? {
            let (stage, old) = staging_names(&word, &plan.name);
            client.batch(&format!("DROP TABLE IF EXISTS {}, {}", stage.sql(), old.sql())).await?;
        }
        let staging = self.plan_staging(&mut client, &target, &plan, stage, old).await?;
        if !staged {
            run_all(&mut client, &staging.make, &plan.name).await?;
        }
        let shape = catalog::shape(&mut client, &staging.name).await?;
        let columns = target::bind(&shape, &staging.name, &target.schema, &plan.written, &self.on_loss)?;
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let ordered = matches!(target.write_mode, WriteMode::Upsert | WriteMode::Merge);
        let form = self.form(&mut client).await?;
        let shared = Shared {
            address: self.address.clone(),
            ledger,
            attempt: run.attempt,
            form,
            statement: statement(form, &staging.name, &columns, ordered),
            columns,
            // Later attempts come later in the order.
            sequence: ordered.then(|| AtomicU64::new(run.attempt << 40)),
            place: plan.name.display(),
        };
        client.close().await;
        let (options, on_loss) = (self.options.clone(), self.on_loss.clone());
        Ok(Box::new(MysqlStream {
            shared: Arc::new(shared),
            target,
            name: plan.name,
            staging,
            committed: None,
            names,
            options,
            on_loss,
        }))
    }
}

/// The staging table of a run, and the name under which the table that it replaces waits to be dropped.
fn staging_names(word: &str, name: &TableName) -> (TableName, TableName) {
    let table = |what: &str| TableName { database: name.database.clone(), table: format!("_weir_stage_{word}{what}") };
    (table(""), table("_old"))
}

fn statement(form: Form, table: &TableName, columns: &[ColumnPlan], ordered: bool) -> String {
    let sequence = ordered.then(|| ident(SEQUENCE));
    if form == Form::Insert {
        let list: Vec<String> = columns.iter().map(|column| ident(&column.name)).chain(sequence).collect();
        return format!("INSERT INTO {} ({}) VALUES ", table.sql(), list.join(", "));
    }
    let (mut fields, mut sets) = (Vec::new(), Vec::new());
    for (at, column) in columns.iter().enumerate() {
        let variable = format!("@weir_{at}");
        match column.through(&variable) {
            Some(expression) => {
                fields.push(variable);
                sets.push(format!("{} = {expression}", ident(&column.name)));
            }
            None => fields.push(ident(&column.name)),
        }
    }
    fields.extend(sequence);
    let set = if sets.is_empty() { String::new() } else { format!(" SET {}", sets.join(", ")) };
    format!(
        "LOAD DATA LOCAL INFILE 'weir' INTO TABLE {} CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' \
         LINES TERMINATED BY '\\n' ({}){set}",
        table.sql(),
        fields.join(", ")
    )
}

/// Runs statements that no transaction covers.
pub async fn run_all(client: &mut Client, statements: &[String], name: &TableName) -> Result<()> {
    for statement in statements {
        client.batch(statement).await.map_err(|error| name_target(error, name))?;
    }
    Ok(())
}

/// Says which table a refusal is about, and the GRANT that mends it.
pub fn name_target(error: Error, name: &TableName) -> Error {
    if error.code() != "WEIR-MY-006" {
        return error;
    }
    Error::new("WEIR-MY-006", Kind::Privilege, format!("the user may not write {}", name.display()))
        .because(error.why().unwrap_or_default().to_string())
        .hint(format!(
            "run as an administrator: GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP ON {}.* TO … (staging tables lie beside the target)",
            ident(&name.database)
        ))
}

impl MysqlSink {
    async fn examine(&self, client: &mut Client, target: &StreamTarget) -> Result<TargetPlan> {
        target::examine(client, target, &self.options, &self.on_loss, &self.address.database).await
    }

    fn ledger(&self, target: &StreamTarget) -> Ledger {
        let key = RunKey {
            pipeline: target.run.pipeline.clone(),
            node: self.node.clone(),
            stream: target.stream.clone(),
            run_id: target.run.run_id.clone(),
        };
        Ledger::new(&self.options.state_schema, key)
    }

    /// The target of a stream of changes, as the contract allows.
    async fn prepare_changes(&self, client: &mut Client, ledger: &Ledger, target: &StreamTarget, name: &TableName) -> Result<()> {
        let target = changes::as_it_is(client, ledger, target, name).await?;
        let plan = self.examine(client, &target).await?;
        if plan.existing.is_none() {
            // The table that held this run's rows is not there (any more): what the ledger says about them is not true.
            ledger.forget(client).await?;
        }
        let statements: Vec<String> = plan.changes.iter().map(|change| change.sql(&plan.name)).collect();
        run_all(client, &statements, &plan.name).await
    }

    async fn form(&self, client: &mut Client) -> Result<Form> {
        if self.options.load == Load::Insert {
            return Ok(Form::Insert);
        }
        let rows = client.query("SELECT @@local_infile + 0", &[]).await?;
        Ok(if rows.first().is_some_and(|row| row.text(0) == "1") { Form::Load } else { Form::Insert })
    }

    /// What the staging table is, and the statements that make it. Changes to the target itself are made here and now where the mode
    /// writes into it.
    async fn plan_staging(
        &self,
        client: &mut Client,
        target: &StreamTarget,
        plan: &TargetPlan,
        name: TableName,
        old: TableName,
    ) -> Result<Staging> {
        let ordered = matches!(target.write_mode, WriteMode::Upsert | WriteMode::Merge);
        let overwrite = target.write_mode == WriteMode::Overwrite;
        let staging = |swap, make, changes| Staging { name: name.clone(), old: old.clone(), swap, make, changes };
        if plan.existing.is_none() && !ordered {
            let (database, table): (Vec<&Change>, Vec<&Change>) =
                plan.changes.iter().partition(|change| matches!(change, Change::CreateDatabase(_)));
            let make = database.iter().chain(&table).map(|change| change.sql(&name)).collect();
            return Ok(staging(true, make, Vec::new()));
        }
        if overwrite && publish::obstacles(client, &plan.name).await?.is_empty() {
            let mut make = vec![format!("CREATE TABLE IF NOT EXISTS {} LIKE {}", name.sql(), plan.name.sql())];
            make.extend(plan.changes.iter().map(|change| change.sql(&name)));
            return Ok(staging(true, make, Vec::new()));
        }
        let changes = if overwrite {
            publish::refuse_cascades(client, &plan.name).await?;
            // The target stays as it is until the commit: what it needs is done there.
            plan.changes.clone()
        } else {
            let statements: Vec<String> = plan.changes.iter().map(|change| change.sql(&plan.name)).collect();
            run_all(client, &statements, &plan.name).await?;
            Vec::new()
        };
        let shape = catalog::shape(client, &plan.name).await?;
        let mut parts = Vec::new();
        for at in &plan.written {
            let column = target.schema.field(*at).name();
            let changed = changes.iter().find_map(|change| match change {
                Change::Add { column: name, kind } if name == column => Some(format!("{} {kind} NULL", ident(column))),
                Change::Widen { column: name, definition } if name.eq_ignore_ascii_case(column) => {
                    Some(format!("{} {}", ident(column), definition.replace(" NOT NULL", " NULL")))
                }
                _ => None,
            });
            let present = || shape.columns.iter().find(|found| found.name.to_lowercase() == column.to_lowercase());
            match changed.or_else(|| present().map(|found| target::staged(found, &ident(&found.name)))) {
                Some(part) => parts.push(part),
                None => return Err(Error::internal(format!("column `{column}` is not in the target")).at(plan.name.display())),
            }
        }
        if ordered {
            parts.push(format!("{} BIGINT UNSIGNED NOT NULL", ident(SEQUENCE)));
        }
        let make = format!(
            "CREATE TABLE IF NOT EXISTS {} ({}) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {}",
            name.sql(),
            parts.join(", "),
            client.version.exact_collation()
        );
        Ok(staging(false, vec![make], changes))
    }
}

impl MysqlStream {
    /// Nothing is staged: the run is committed already and only its report is left to give, or it applies changes.
    fn without_staging(
        sink: &MysqlSink,
        (ledger, attempt): (Ledger, u64),
        form: Form,
        target: StreamTarget,
        name: TableName,
        committed: Option<CommitReport>,
    ) -> Self {
        let (stage, old) = staging_names(ledger.word(), &name);
        let shared = Shared {
            address: sink.address.clone(),
            ledger,
            attempt,
            form,
            statement: String::new(),
            columns: Vec::new(),
            sequence: None,
            place: name.display(),
        };
        let staging = Staging { name: stage, old, swap: false, make: Vec::new(), changes: Vec::new() };
        let (options, on_loss) = (sink.options.clone(), sink.on_loss.clone());
        Self { shared: Arc::new(shared), target, name, staging, committed, names: Vec::new(), options, on_loss }
    }

    async fn connect(&self) -> Result<Client> {
        let mut client = Client::connect(&self.shared.address).await?;
        client.about(&self.shared.place);
        client.batch("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        Ok(client)
    }
}

#[async_trait]
impl StreamSink for MysqlStream {
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
        let ledger = &self.shared.ledger;
        ledger.hold(&mut client).await?;
        client.batch("START TRANSACTION").await?;
        let run = ledger.lock(&mut client, self.shared.attempt).await?;
        client.batch("COMMIT").await?;
        if run.committed.is_some() {
            return Ok(());
        }
        if self.target.changes {
            // Applied changes cannot be told from other rows; a new snapshot replaces them by key.
            return ledger.forget(&mut client).await;
        }
        // In this order: a staging table that is missing makes the next attempt forget what the ledger says about it.
        client.batch(&format!("DROP TABLE IF EXISTS {}", self.staging.name.sql())).await?;
        failpoint!("mysql.discard.between");
        ledger.forget(&mut client).await?;
        run_all(&mut client, &self.staging.make, &self.name).await?;
        client.close().await;
        Ok(())
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
        let (options, on_loss) = (self.options.clone(), self.on_loss.clone());
        let setup = Setup { options, on_loss, deletes, database: self.shared.address.database.clone() };
        Ok(Box::new(Changes::open(self.shared.clone(), setup, self.target.clone(), &self.name).await?))
    }

    async fn commit(&self, _tokens: &[CommitToken]) -> Result<CommitReport> {
        if let Some(done) = &self.committed {
            return Ok(done.clone());
        }
        let mut client = self.connect().await?;
        let ledger = &self.shared.ledger;
        ledger.hold(&mut client).await?;
        client.batch("START TRANSACTION").await?;
        let run = ledger.lock(&mut client, self.shared.attempt).await?;
        if let Some(done) = run.committed {
            return Ok(done);
        }
        let (rows, bytes) = ledger.totals(&mut client).await?;
        let done = CommitReport { rows, bytes, objects: 1, place: self.name.display() };
        if self.target.changes {
            ledger.committed(&mut client, &done).await?;
            failpoint!("mysql.commit.before");
            client.batch("COMMIT").await?;
            failpoint!("mysql.commit.after");
            return Ok(done);
        }
        let commit = publish::Commit {
            ledger,
            attempt: self.shared.attempt,
            name: &self.name,
            staging: &self.staging,
            mode: self.target.write_mode,
            names: &self.names,
            keys: &self.target.key,
            done: &done,
            resumed: run.swapping.is_some(),
        };
        commit.carry_out(&mut client).await.map_err(|error| name_target(error, &self.name))?;
        client.close().await;
        Ok(done)
    }
}

/// `` `a`, `b` `` of names.
pub fn list(names: &[String]) -> String {
    join_idents(names.iter().map(String::as_str))
}
