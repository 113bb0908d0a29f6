//! Comparing tables, and mending rows of a target: this system's part of `weir verify` (see `weir_connect::verify`).
//!
//! * this file: a table of either side, and single rows by their keys;
//! * `forms`: the canonical forms as SQL; `keys`: rows by keys; `view`: a whole table at one moment; `mend`: writing; `rows`: rows as the stream has them.
//!
//! Not here: what is compared with what, and what a difference means. That is the engine's.

mod forms;
mod keys;
mod mend;
mod rows;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use weir_connect::verify::{
    Comparison, Found, Key, Looked, Mend, Verifiable, VerifiableTarget, VerifyColumn, VerifyRows, VerifySink, VerifySource,
    VerifyStream, VerifyTable, VerifyView,
};
use weir_connect::{DeleteMode, Error, Kind, OnLoss, Result};

use self::forms::{Column, Forms};
use self::keys::Keys;
use self::mend::Mending;
use self::view::{View, digest};
use super::catalog::{self, RawColumn, TypeContext};
use super::changes::DELETED;
use super::client::Client;
use super::config::Address;
use super::errors::sqlstate;
use super::quote::{self, TableName, ident};
use super::sink::PostgresSink;
use super::source::PostgresSource;
use super::target;

/// What a table is to the pipeline.
enum Role {
    Source { stream: String },
    Sink { node: String, stream: String, state: String, deletes: DeleteMode },
}

/// A table of either side.
struct Table {
    address: Address,
    name: TableName,
    oid: u32,
    /// In `FROM`.
    from: String,
    raw: Vec<RawColumn>,
    columns: Vec<Column>,
    described: Vec<VerifyColumn>,
    rows: Option<u64>,
    /// Rows of tables have versions; those of views have none, and their hash stands for it.
    versioned: bool,
    row_security: bool,
    on_loss: OnLoss,
    role: Role,
    /// A session that waits for the next question.
    idle: Mutex<Option<Client>>,
}

/// Another one after every write.
const VERSION: &str = "concat_ws(' ', t.tableoid, t.ctid, t.xmin)";
/// Asked for after the rows: what they showed was committed before it.
const POINT: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END";

async fn point(client: &mut Client) -> Result<Value> {
    Ok(json!({"lsn": client.query(POINT, &[]).await?.first().map(|row| row.text(0).to_string())}))
}

fn gone(name: &TableName) -> Error {
    Error::new("WEIR-PG-007", Kind::NotFound, "the table does not exist (any more)").at(name.display())
}

impl Table {
    async fn open(
        address: &Address,
        name: TableName,
        only: bool,
        row_security: bool,
        on_loss: &OnLoss,
        role: Role,
    ) -> Result<Arc<Self>> {
        let mut client = session(address, row_security).await?;
        let relation = catalog::find(&mut client, &name).await?.ok_or_else(|| gone(&name).at(client.place().to_string()))?;
        let raw = catalog::shapes(&mut client, &[relation.oid]).await?.remove(&relation.oid).unwrap_or_default().columns;
        let types = TypeContext::load(&mut client, raw.iter().map(|column| column.type_oid)).await?;
        let oids: Vec<String> = raw.iter().map(|column| column.type_oid.to_string()).collect();
        let casts = client
            .query(
                "SELECT format_type(oid, -1) FROM unnest($1::oid[]) WITH ORDINALITY AS u(oid, at) ORDER BY at",
                &[Some(&format!("{{{}}}", oids.join(",")))],
            )
            .await?;
        let columns: Vec<Column> = raw
            .iter()
            .zip(&casts)
            .map(|(column, cast)| {
                let mut base = column.type_oid;
                while let Some(under) = types.get(base).map(|found| found.base).filter(|under| *under != 0) {
                    base = under;
                }
                Column { name: column.name.clone(), kind: column.type_name.clone(), cast: cast.text(0).into(), base }
            })
            .collect();
        let described = columns
            .iter()
            .map(|column| VerifyColumn { name: column.name.clone(), form: column.form(), kind: column.kind.clone() })
            .collect();
        let only = if only && relation.kind == 'r' { "ONLY " } else { "" };
        Ok(Arc::new(Self {
            address: address.clone(),
            from: format!("{only}{}", name.sql()),
            name,
            oid: relation.oid,
            raw,
            columns,
            described,
            rows: relation.rows,
            versioned: matches!(relation.kind, 'r' | 'p' | 'm'),
            row_security,
            on_loss: on_loss.clone(),
            role,
            idle: Mutex::new(Some(client)),
        }))
    }

    fn compared(&self, comparison: &Comparison) -> Result<Vec<&Column>> {
        let find = |name: &str| self.columns.iter().find(|column| column.name == name);
        comparison
            .columns
            .iter()
            .map(|(name, _)| find(name).ok_or_else(|| Error::internal(format!("`{name}` is compared and not there"))))
            .collect()
    }

    /// The forms, and how rows are asked for.
    fn forms(&self, comparison: &Comparison, version: u32) -> Result<(Forms, Keys)> {
        let columns = self.compared(comparison)?;
        let forms = Forms::new(&columns, comparison, version);
        let key = if comparison.keyed { comparison.key.as_slice() } else { &[] };
        let names = key.iter().map(|at| (columns[*at].name.as_str(), columns[*at].cast.as_str())).collect();
        let keys = Keys::new(names, &forms.key);
        Ok((forms, keys))
    }

    /// What follows `FROM`, up to the condition.
    fn visible(&self) -> (String, &'static str) {
        let from = format!("FROM {} AS t", self.from);
        match self.role {
            Role::Sink { deletes: DeleteMode::Soft, .. } if self.columns.iter().any(|column| column.name == DELETED) => {
                (from, "t._deleted IS NOT TRUE")
            }
            _ => (from, "true"),
        }
    }

    async fn client(&self) -> Result<Client> {
        match self.idle.lock().await.take().filter(Client::usable) {
            Some(client) => Ok(client),
            None => session(&self.address, self.row_security).await,
        }
    }

    async fn give_back(&self, client: Client) {
        if client.usable() {
            *self.idle.lock().await = Some(client);
        }
    }

    /// Whether the keys, which the other side may have printed, are values of this side's types.
    async fn valid(&self, client: &mut Client, keys: &Keys, wanted: &[Key]) -> Result<bool> {
        if keys.columns.is_empty() {
            return Ok(false);
        }
        let parameters = keys.parameters(wanted);
        let parameters: Vec<Option<&str>> = parameters.iter().map(|text| Some(text.as_str())).collect();
        match client.query(&keys.probe(), &parameters).await {
            Ok(_) => Ok(true),
            Err(error) if sqlstate(&error).is_some_and(|state| state.starts_with("22")) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn looked(&self, client: &mut Client, comparison: &Comparison, wanted: &[Key]) -> Result<Looked> {
        let (forms, keys) = self.forms(comparison, client.version)?;
        let valid = self.valid(client, &keys, wanted).await?;
        let (condition, parameters) = keys.condition(wanted, valid);
        let (from, visible) = self.visible();
        let version = if self.versioned { VERSION } else { &forms.row };
        let sql = format!(
            "SELECT {}, {}, {version}, {} {from} WHERE {visible} AND {condition}",
            forms.key,
            forms.row,
            forms.cells.join(", ")
        );
        let parameters: Vec<Option<&str>> = parameters.iter().map(|text| Some(text.as_str())).collect();
        let rows = client.query(&sql, &parameters).await?;
        let rows = rows
            .iter()
            .map(|row| {
                let forms = (0..forms.cells.len()).map(|at| row.opt(at + 3).map(str::to_string)).collect();
                Ok(Found { key: digest(row, 0)?, row: digest(row, 1)?, version: row.text(2).into(), forms })
            })
            .collect::<Result<_>>()?;
        let point = match self.role {
            Role::Sink { .. } => Value::Null,
            Role::Source { .. } => point(client).await?,
        };
        Ok(Looked { rows, point })
    }
}

async fn session(address: &Address, row_security: bool) -> Result<Client> {
    let mut client = Client::connect(address).await?;
    // Without row_security=off, policies would leave out rows silently.
    let security = if row_security { "on" } else { "off" };
    client.batch(&format!("SET row_security = {security}; SET lc_monetary = 'C'; SET client_min_messages = error")).await?;
    Ok(client)
}

#[async_trait]
impl VerifyTable for Table {
    fn place(&self) -> String {
        format!("{} in {}", self.name.display(), self.address.place())
    }

    fn columns(&self) -> &[VerifyColumn] {
        &self.described
    }

    fn prints(&self) -> &'static str {
        "postgres"
    }

    fn versioned(&self) -> bool {
        self.versioned
    }

    fn estimated_rows(&self) -> Option<u64> {
        self.rows
    }

    async fn view(&self, comparison: &Arc<Comparison>, workers: usize) -> Result<Box<dyn VerifyView>> {
        let mut client = self.client().await?;
        client.about(&self.name.display());
        let (forms, _) = self.forms(comparison, client.version)?;
        let (from, visible) = self.visible();
        Ok(Box::new(View::take(client, forms, format!("{from} WHERE {visible}"), &self.from, workers).await?))
    }

    async fn look(&self, comparison: &Comparison, keys: &[Key]) -> Result<Looked> {
        let mut client = self.client().await?;
        client.about(&self.name.display());
        let looked = self.looked(&mut client, comparison, keys).await;
        self.give_back(client).await;
        looked
    }
}

/// `16/B374D848` as a number.
fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some((u64::from_str_radix(high, 16).ok()? << 32) | u64::from_str_radix(low, 16).ok()?)
}

#[async_trait]
impl VerifySource for Table {
    fn reached(&self, position: &Value, point: &Value) -> bool {
        let at = |value: &Value| value["lsn"].as_str().and_then(lsn);
        let copied = match &self.role {
            Role::Source { stream } => position["tables"][stream.as_str()]["done"].as_bool() == Some(true),
            Role::Sink { .. } => false,
        };
        copied && at(position).zip(at(point)).is_some_and(|(position, point)| position >= point)
    }

    async fn nudge(&self) {
        if let Ok(mut client) = self.client().await {
            // A commit makes the server write out its log and tell its readers.
            let _ = client.query("SELECT pg_logical_emit_message(true, 'weir', '')", &[]).await;
            self.give_back(client).await;
        }
    }

    async fn fetch(&self, comparison: &Comparison, keys: &[Key]) -> Result<(RecordBatch, Vec<u128>)> {
        let mut client = self.client().await?;
        client.about(&self.name.display());
        let fetched = self.fetched(&mut client, comparison, keys).await;
        self.give_back(client).await;
        fetched
    }
}

impl Table {
    async fn fetched(&self, client: &mut Client, comparison: &Comparison, wanted: &[Key]) -> Result<(RecordBatch, Vec<u128>)> {
        let (forms, keys) = self.forms(comparison, client.version)?;
        let valid = self.valid(client, &keys, wanted).await?;
        let (condition, parameters) = keys.condition(wanted, valid);
        let names: Vec<&str> = comparison.carried.iter().map(String::as_str).collect();
        let (rows, digests, dead) = rows::select(self, client, &names, &forms.key, (&condition, &parameters)).await?;
        if let Some(why) = dead {
            return Err(Error::new("WEIR-PG-040", Kind::Data, "a row of the source cannot be carried to the sink")
                .at(self.name.display())
                .because(why));
        }
        let digests = digests
            .iter()
            .map(|text| u128::from_str_radix(text, 16))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::internal("the server printed no hash").caused_by(error))?;
        Ok((rows, digests))
    }
}

#[async_trait]
impl VerifySink for Table {
    async fn progress(&self, pipeline: &str) -> Result<Vec<Value>> {
        let Role::Sink { node, stream, state, .. } = &self.role else { return Ok(Vec::new()) };
        let mut client = self.client().await?;
        let known = client
            .query("SELECT to_regclass($1) IS NOT NULL", &[Some(&format!("{}.progress", ident(state)))])
            .await?
            .first()
            .is_some_and(|row| row.flag(0));
        let mut positions = Vec::new();
        if known {
            // Of the newest run: those before it say nothing once it has begun.
            let sql = format!(
                "SELECT p.progress FROM {0}.progress AS p JOIN (SELECT run_id FROM {0}.runs WHERE pipeline = $1 AND node = $2 AND stream = $3 \
                 ORDER BY started_at DESC LIMIT 1) AS r ON p.run_id = r.run_id WHERE p.pipeline = $1 AND p.node = $2 AND p.stream = $3",
                ident(state)
            );
            for row in client.query(&sql, &[Some(pipeline), Some(node), Some(stream)]).await? {
                let progress: Value = serde_json::from_str(row.text(0)).unwrap_or_default();
                positions.push(progress["position"].clone());
            }
        }
        self.give_back(client).await;
        Ok(positions)
    }

    async fn hold(&self, pipeline: &str, comparison: &Comparison) -> Result<Box<dyn Mend>> {
        let Role::Sink { node, stream, state, deletes } = &self.role else {
            return Err(Error::internal("a source is not mended").at(self.name.display()));
        };
        let mut client = session(&self.address, false).await?;
        client.about(&self.name.display());
        let (_, keys) = self.forms(comparison, client.version)?;
        Mending::begin(&mut client, state, [pipeline, node, stream]).await?;
        Ok(Box::new(Mending {
            client,
            oid: self.oid,
            name: self.name.clone(),
            on_loss: self.on_loss.clone(),
            deletes: *deletes,
            keys,
            key: comparison.key_names().map(str::to_string).collect(),
        }))
    }
}

/// The table behind a stream of a source. `only`: without the tables that inherit from it, which have no part in its log.
async fn source_side(source: &PostgresSource, stream: &str, only: bool) -> Result<Arc<Table>> {
    if source.options.query.is_some() {
        return Err(Error::new("WEIR-PG-132", Kind::Unsupported, "the rows of a query are not compared")
            .at(stream.to_string())
            .hint("give the source `tables` in place of `query`, or make a view of the query"));
    }
    let name = quote::table(stream);
    let role = Role::Source { stream: stream.to_string() };
    let security = source.options.apply_row_security;
    Table::open(&source.address, name, only, security, &source.on_loss, role).await
}

/// The same, to be compared by its server.
pub async fn source_table(source: &PostgresSource, stream: &str, only: bool) -> Result<Arc<dyn VerifySource>> {
    Ok(source_side(source, stream, only).await?)
}

/// The same, for rows that are changed on the way.
pub async fn source_rows(source: &PostgresSource, stream: &str, only: bool) -> Result<Arc<dyn VerifyRows>> {
    Ok(source_side(source, stream, only).await?)
}

#[async_trait]
impl Verifiable for PostgresSource {
    async fn verify_source(&self, stream: &str) -> Result<Arc<dyn VerifySource>> {
        source_table(self, stream, false).await
    }

    async fn verify_rows(&self, stream: &str) -> Result<Arc<dyn VerifyRows>> {
        source_rows(self, stream, false).await
    }
}

#[async_trait]
impl VerifiableTarget for PostgresSink {
    async fn verify_sink(&self, of: &VerifyStream) -> Result<Arc<dyn VerifySink>> {
        let stream = of.stream.clone();
        let state = self.options.state_schema.clone();
        let name = target::table_name(&self.options, &stream);
        let role = Role::Sink { node: self.node.clone(), stream, state, deletes: of.deletes };
        Ok(Table::open(&self.address, name, false, false, &self.on_loss, role).await?)
    }
}
