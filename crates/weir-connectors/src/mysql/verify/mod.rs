//! Comparing tables, and mending rows of a target: this family's part of `weir verify` (see `weir_connect::verify`).
//!
//! Rows are read by the connector's own reader and hashed by `weir_connect::verify::read`, because SQL here has no exact form of a float, none of JSON by its
//! meaning, and no versions of rows. What it has exact forms of it hashes itself ([`forms`]), for the sums of the whole table: then its rows do
//! not leave the server.
//!
//! * this file: a table of either side, and single rows by their keys; [`keys`]: how keys are bound; [`mend`]: writing.
//!
//! Not here: where the log is (`super::cdc`).

mod forms;
mod keys;
mod mend;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Mutex;
use weir_connect::stream::LossChoice;
use weir_connect::verify::read::Read;
use weir_connect::verify::{
    Comparison, EachDigest, Form, Gathered, Key, Mend, Verifiable, VerifiableTarget, VerifyColumn, VerifyRows, VerifySink,
    VerifySource, VerifyStream,
};
use weir_connect::{DeleteMode, Error, Kind, OnLoss, Result};

use self::mend::Mending;
use super::catalog::{self, RawColumn};
use super::cdc;
use super::client::{Cells, Client};
use super::config::{Address, SourceOptions};
use super::ledger::{Ledger, RunKey};
use super::quote::{self, TableName, ident};
use super::sink::MysqlSink;
use super::source::MysqlSource;
use super::target;
use super::types::{Base, SourceColumn, source_column};
use super::values::Decoder;

/// The mark of soft deletes.
const DELETED: &str = "_deleted";

/// What a table is to the pipeline.
enum Role {
    /// `log`: its changes are followed.
    Source {
        stream: String,
        log: bool,
    },
    Sink {
        ledger: Ledger,
        deletes: DeleteMode,
    },
}

/// A table of either side.
struct Table {
    address: Address,
    name: TableName,
    raw: Vec<RawColumn>,
    columns: Vec<SourceColumn>,
    rows: Option<u64>,
    on_loss: OnLoss,
    /// Rows marked as deleted are not there.
    marked: bool,
    role: Role,
    /// A session that waits for the next question.
    idle: Mutex<Option<Client>>,
}

fn gone(name: &TableName) -> Error {
    Error::new("WEIR-MY-007", Kind::NotFound, format!("table {} does not exist (any more)", name.display()))
}

impl Table {
    /// `reading` says which columns are read as text; `on_loss` how rows are written.
    async fn open(
        address: &Address,
        name: TableName,
        boolean: bool,
        reading: &OnLoss,
        on_loss: &OnLoss,
        role: Role,
    ) -> Result<Self> {
        let mut client = Client::connect(address).await?;
        client.about(&name.display());
        let relation = catalog::find(&mut client, &name).await?.ok_or_else(|| gone(&name).at(client.place().to_string()))?;
        let raw = catalog::shape(&mut client, &name).await?.columns;
        let map =
            |column: &RawColumn| source_column(&column.name, &column.of, &column.type_name, column.not_null, boolean, reading);
        let soft = matches!(role, Role::Sink { deletes: DeleteMode::Soft, .. });
        Ok(Self {
            address: address.clone(),
            columns: raw.iter().filter_map(map).collect(),
            marked: soft && raw.iter().any(|column| target::same_name(&column.name, DELETED)),
            name,
            raw,
            rows: relation.rows,
            on_loss: on_loss.clone(),
            role,
            idle: Mutex::new(Some(client)),
        })
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>()))
    }

    async fn client(&self) -> Result<Client> {
        match self.idle.lock().await.take() {
            Some(client) => Ok(client),
            None => {
                let mut client = Client::connect(&self.address).await?;
                client.about(&self.name.display());
                Ok(client)
            }
        }
    }

    async fn give_back(&self, client: Client) {
        *self.idle.lock().await = Some(client);
    }

    fn column(&self, name: &str) -> Option<(&RawColumn, &SourceColumn)> {
        let raw = self.raw.iter().find(|column| column.name == name)?;
        Some((raw, self.columns.iter().find(|column| column.name == name)?))
    }

    /// Whether this is MySQL's own type for JSON, of which the server keeps the meaning and not the text.
    fn meant(&self, maria: bool, name: &str) -> Option<Form> {
        let (raw, read) = self.column(name)?;
        (!maria && raw.of.base == Base::Json && *read.field.data_type() == DataType::Utf8).then_some(Form::Json)
    }

    /// As it is compared, read by this source.
    async fn side(self, source: MysqlSource) -> Result<Read> {
        let client = self.client().await?;
        let maria = client.version.maria;
        self.give_back(client).await;
        let place = format!("{} in {}", self.name.display(), self.address.place());
        let table = Arc::new(self);
        let mark = table.marked.then_some(DELETED);
        let meaning = table.clone();
        let read = Read::new(Arc::new(source), &table.name.display(), place, table.schema(), table.rows);
        Ok(read.meaning(|name| meaning.meant(maria, name)).without(mark).with(table))
    }

    async fn gather(&self, client: &mut Client, names: &[String], wanted: &[Key]) -> Result<Gathered> {
        let columns: Option<Vec<&SourceColumn>> = names.iter().map(|name| Some(self.column(name)?.1)).collect();
        let columns = columns.ok_or_else(|| Error::internal("a column of the key is not there").at(self.name.display()))?;
        let schema = self.schema();
        let mut rows = None;
        if let Some((condition, parameters)) = keys::condition(&columns, wanted) {
            let list: Vec<&str> = self.columns.iter().map(|column| column.select.as_str()).collect();
            let sql = format!("SELECT {} FROM {} WHERE {condition}", list.join(", "), self.name.sql());
            let kinds = client.portal(&sql, &parameters).await?;
            let mut decoder = Decoder::new(schema.clone(), &self.columns, kinds);
            let place = self.name.display();
            while client.fetch(|row| decoder.feed(row, &place).map(|()| false)).await? {}
            // What has no place in Arrow is in no sink.
            decoder.take_dead();
            rows = decoder.take_batch()?.map(|(batch, _)| batch);
        }
        let rows = rows.unwrap_or_else(|| RecordBatch::new_empty(schema));
        let point = match &self.role {
            // Asked for after the rows: what they showed was committed before it.
            Role::Source { log: true, .. } => cdc::verify::point(client).await?,
            _ => Value::Null,
        };
        Ok(Gathered { rows, versions: None, point })
    }

    async fn hash(&self, client: &mut Client, sql: &str, each: EachDigest<'_>) -> Result<()> {
        let kinds: Vec<u8> = client.portal(sql, &[]).await?.iter().map(|column| column.kind).collect();
        let mut cut = false;
        let digest = |cell: Option<&[u8]>| cell.and_then(|bytes| Some(u128::from_be_bytes(bytes.try_into().ok()?)));
        while client
            .fetch(|row| {
                let read = || {
                    let mut cells = Cells::new(row, kinds.len())?;
                    let key = digest(cells.next(kinds.first().copied()?)?)?;
                    Some((key, digest(cells.next(kinds.get(1).copied()?)?)?))
                };
                match read() {
                    Some((key, row)) => each(key, row),
                    None => cut = true,
                }
                Ok(false)
            })
            .await?
        {}
        if cut { Err(Error::internal("the server gave no hash").at(self.name.display())) } else { Ok(()) }
    }
}

#[async_trait]
impl VerifyRows for Table {
    fn seeks(&self) -> bool {
        true
    }

    async fn of_keys(&self, names: &[String], keys: &[Key]) -> Result<Gathered> {
        let mut client = self.client().await?;
        let gathered = self.gather(&mut client, names, keys).await?;
        self.give_back(client).await;
        Ok(gathered)
    }

    async fn digests(&self, comparison: &Comparison, each: EachDigest<'_>) -> Result<bool> {
        let Some((key, row)) = forms::hashes(comparison, |name| self.column(name)) else { return Ok(false) };
        let visible = if self.marked { format!(" WHERE {} IS NOT TRUE", ident(DELETED)) } else { String::new() };
        let sql = format!("SELECT {key}, {row} FROM {}{visible}", self.name.sql());
        let mut client = self.client().await?;
        self.hash(&mut client, &sql, each).await?;
        self.give_back(client).await;
        Ok(true)
    }

    fn reached(&self, position: &Value, point: &Value) -> bool {
        match &self.role {
            Role::Source { stream, log: true } => cdc::verify::reached(stream, position, point),
            _ => false,
        }
    }

    async fn progress(&self, _pipeline: &str) -> Result<Vec<Value>> {
        let Role::Sink { ledger, .. } = &self.role else { return Ok(Vec::new()) };
        let mut client = self.client().await?;
        let progress = ledger.newest(&mut client).await?;
        self.give_back(client).await;
        Ok(progress.into_iter().filter_map(|part| part.position).collect())
    }

    fn holds(&self, column: &VerifyColumn, stream: Form) -> Form {
        // A moment is kept in UTC, in a type that has no zone.
        if column.form == Form::Timestamp && stream == Form::TimestampTz { stream } else { column.form }
    }

    async fn hold(&self, _pipeline: &str, comparison: &Comparison) -> Result<Box<dyn Mend>> {
        let Role::Sink { ledger, deletes } = &self.role else {
            return Err(Error::internal("a source is not mended").at(self.name.display()));
        };
        let key: Vec<String> = comparison.key_names().map(str::to_string).collect();
        let client = Client::connect(&self.address).await?;
        let soft = self.marked.then_some(DELETED).filter(|_| *deletes == DeleteMode::Soft);
        let mending = Mending {
            client,
            name: self.name.clone(),
            on_loss: self.on_loss.clone(),
            key,
            soft,
            keeps: *deletes == DeleteMode::Ignore,
        };
        Ok(Box::new(mending.begin(ledger, &comparison.carried).await?))
    }
}

impl MysqlSource {
    async fn compared(&self, stream: &str, log: bool) -> Result<Table> {
        if self.options.query.is_some() {
            return Err(Error::new("WEIR-MY-131", Kind::Unsupported, "the rows of a query are not asked for by their keys")
                .at(stream.to_string())
                .hint("give the source `tables` in place of `query`"));
        }
        let (database, table) = quote::split(stream);
        let name = TableName::new(database.unwrap_or_else(|| self.address.database.clone()), table);
        let role = Role::Source { stream: stream.to_string(), log };
        Table::open(&self.address, name, self.options.tinyint1_as_boolean, &self.on_loss, &self.on_loss, role).await
    }

    /// A stream as it is compared. `log`: it is followed.
    pub async fn verify_table(&self, stream: &str, log: bool) -> Result<Arc<dyn VerifySource>> {
        Ok(Arc::new(self.compared(stream, log).await?.side(self.clone()).await?))
    }

    /// The same, for rows that are changed on the way.
    pub async fn verify_keys(&self, stream: &str, log: bool) -> Result<Arc<dyn VerifyRows>> {
        Ok(Arc::new(self.compared(stream, log).await?))
    }
}

#[async_trait]
impl Verifiable for MysqlSource {
    async fn verify_source(&self, stream: &str) -> Result<Arc<dyn VerifySource>> {
        self.verify_table(stream, false).await
    }

    async fn verify_rows(&self, stream: &str) -> Result<Arc<dyn VerifyRows>> {
        self.verify_keys(stream, false).await
    }
}

/// Columns that hold text of the stream in a type that is no text: they are read as text, as they were written.
fn as_text(schema: &SchemaRef, raw: &[RawColumn]) -> OnLoss {
    let texts = |column: &&RawColumn| {
        let text = matches!(
            column.of.base,
            Base::Char(_) | Base::Varchar(_) | Base::Text(_) | Base::Enum(_) | Base::Set(_) | Base::Json
        );
        let given = schema.field_with_name(&column.name).map(|field| field.data_type().clone());
        !text && matches!(given, Ok(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View))
    };
    let columns = raw.iter().filter(texts).map(|column| (column.name.clone(), LossChoice::String)).collect();
    OnLoss { default: LossChoice::Error, columns }
}

#[async_trait]
impl VerifiableTarget for MysqlSink {
    async fn verify_sink(&self, of: &VerifyStream) -> Result<Arc<dyn VerifySink>> {
        let name = target::table_name(&self.options, &of.stream, &self.address.database);
        let key =
            RunKey { pipeline: of.pipeline.clone(), node: self.node.clone(), stream: of.stream.clone(), run_id: String::new() };
        let ledger = Ledger::new(&self.options.state_schema, key);
        let mut client = Client::connect(&self.address).await?;
        let raw = catalog::shape(&mut client, &name).await?.columns;
        client.close().await;
        let reading = as_text(&of.schema, &raw);
        let role = Role::Sink { ledger, deletes: of.deletes };
        let table = Table::open(&self.address, name, false, &reading, &self.on_loss, role).await?;
        let source = MysqlSource { address: self.address.clone(), options: SourceOptions::default(), on_loss: reading };
        Ok(Arc::new(table.side(source).await?))
    }
}
