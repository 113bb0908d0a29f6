//! PostgreSQL's change log as a source (`postgres-cdc`): logical replication with `pgoutput`, merged with a snapshot in chunks.
//!
//! * `decode`: the protocol's messages. `text`: values in text form. `rows`: values into column builders.
//! * `messages`: logical messages as rows of a stream.
//! * `table`: what a table's columns are, from the catalogue and from the log. `key`: keys and transactions compared.
//! * `core`: what each message does. `streamed`: transactions that are not committed yet. `log`: the reading task. `snapshot`: the chunks.
//! * `slot`: what the server keeps for us, and everything that is checked beforehand. `position`: the resume point. `options`.
//!
//! Not here: the batch source, and applying changes (`changes`). Types are mapped in `types` only.

mod core;
mod decode;
mod key;
mod log;
mod messages;
mod options;
mod position;
mod rows;
mod slot;
mod snapshot;
mod streamed;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::schema_for;
use serde_json::Value;
use tokio::time::Instant;
use weir_connect::source::Position as Opaque;
use weir_connect::verify::{Verifiable, VerifyRows, VerifySource};
use weir_connect::{
    ChangeLog, ChangeRequest, ChangeSource, CheckReport, Connector, Descriptor, Error, Kind, OnLoss, ReadRequest, Result, Sink,
    SinkContext, SnapshotAgain, Source, SourceCapabilities, SourceContext, StreamInfo, StreamReader,
};

use self::core::{Core, TableSnapshot};
use self::log::{PostgresLog, Worker};
use self::messages::Prefixes;
use self::options::{CdcOptions, Names, SnapshotMode};
use self::position::Position;
use self::snapshot::Plans;
use self::table::{Shape, Table};
use super::catalog::{self, TypeContext};
use super::client::Client;
use super::config::{Address, ConnectionOptions, parse};
use super::source::PostgresSource;
use super::verify;
use crate::changes::not_followed;
use crate::changes::position::Stored;

/// Of streamed transactions that are not committed yet, in memory.
const STREAMED_BYTES: usize = 16 << 20;
const BATCH_BYTES: usize = 4 << 20;

/// The connector.
pub struct PostgresCdc {
    descriptor: Descriptor,
}

impl Default for PostgresCdc {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "postgres-cdc",
                aliases: &["postgresql-cdc"],
                summary: "PostgreSQL's change log (logical replication): a snapshot, then every insert, update, delete and truncate in order",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(CdcOptions).to_value()),
                sink: None,
                address_option: "table",
            },
        }
    }
}

fn source_of(context: &SourceContext) -> Result<PostgresChanges> {
    let address = parse::<ConnectionOptions>(&context.connection, "connection")?.address(&context.base_dir)?;
    let options = parse::<CdcOptions>(&context.options, "source")?;
    let batch = PostgresSource { address: address.clone(), options: options.choice(), on_loss: context.on_loss.clone() };
    Ok(PostgresChanges { address, options, on_loss: context.on_loss.clone(), batch })
}

#[async_trait]
impl Connector for PostgresCdc {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn connections_of(&self) -> &'static [&'static str] {
        &["postgres", "postgresql"]
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        if !crate::options::has_reference(connection) {
            parse::<ConnectionOptions>(connection, "connection")?.address(Path::new("."))?;
        }
        match role {
            "source" => parse::<CdcOptions>(options, "source")?.validate(),
            "sink" => Err(no_sink()),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let mut report = super::Postgres::default().check(connection).await?;
        if !report.ok() {
            return Ok(report);
        }
        report.items.retain(|item| item.name != "write");
        let address = parse::<ConnectionOptions>(connection, "connection")?.address(Path::new("."))?;
        let mut client = Client::connect(&address).await?;
        match slot::check_server(&mut client).await {
            Ok(()) => report.push("changes", true, "wal_level is logical, and the user may replicate"),
            Err(error) => {
                let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
                report.push("changes", false, format!("{error}{advice}"));
            }
        }
        client.close().await;
        Ok(report)
    }

    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        let source = source_of(&context)?;
        if source.options.choice().patterns().is_empty() {
            return source.batch.discover().await;
        }
        ChangeSource::streams(&source).await
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        let source = source_of(&context)?;
        source.options.validate()?;
        Ok(Arc::new(source))
    }

    async fn sink(&self, _context: SinkContext) -> Result<Arc<dyn Sink>> {
        Err(no_sink())
    }
}

fn no_sink() -> Error {
    Error::new("WEIR-PG-001", Kind::Spec, "`postgres-cdc` is no sink").hint("write with `postgres`: it applies changes")
}

/// A configured source of changes.
struct PostgresChanges {
    address: Address,
    options: CdcOptions,
    on_loss: OnLoss,
    /// The same tables, read at once (`mode: batch`).
    batch: PostgresSource,
}

impl PostgresChanges {
    /// The tables that the options choose, sorted by name.
    async fn tables(&self, client: &mut Client) -> Result<Vec<Table>> {
        let schema = self.options.schema.as_deref().unwrap_or("public");
        let relations = catalog::choose(client, &self.options.choice().patterns(), schema).await?;
        if let Some(other) = relations.iter().find(|relation| !matches!(relation.kind, 'r' | 'p')) {
            return Err(Error::new("WEIR-PG-074", Kind::Schema, format!("{} is no table", other.name.display()))
                .at(client.place().to_string())
                .because("views and foreign tables have no changes in the log")
                .hint(format!("exclude it: \"!{}\"", other.name.display())));
        }
        table::load(client, &relations).await
    }

    async fn shapes(&self, client: &mut Client, names: &Names, tables: &[Table]) -> Result<Vec<Shape>> {
        let columns = slot::columns(client, names, tables).await?;
        let types = columns.iter().flatten().map(|column| column.raw.type_oid).collect::<HashSet<_>>();
        let types = TypeContext::load(client, types).await?;
        Ok(tables.iter().zip(&columns).map(|(table, columns)| Shape::new(columns, &table.key, &types, &self.on_loss)).collect())
    }
}

#[async_trait]
impl Source for PostgresChanges {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: true,
            replay_note: "the replication slot keeps every change until it is durable in the sinks".into(),
        }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        ChangeSource::streams(self).await
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        if request.stream == messages::STREAM {
            return Err(messages::not_a_table("read in `mode: batch`"));
        }
        Source::open(&self.batch, request).await
    }

    fn verifiable(&self) -> Option<&dyn Verifiable> {
        Some(self)
    }

    fn changes(&self) -> Option<&dyn ChangeSource> {
        Some(self)
    }
}

#[async_trait]
impl Verifiable for PostgresChanges {
    async fn verify_source(&self, stream: &str) -> Result<Arc<dyn VerifySource>> {
        verify::source_table(&self.batch, stream, true).await
    }

    async fn verify_rows(&self, stream: &str) -> Result<Arc<dyn VerifyRows>> {
        verify::source_rows(&self.batch, stream, true).await
    }

    fn only_in_log(&self, stream: &str) -> Option<String> {
        (stream == messages::STREAM).then(|| messages::IN_NO_TABLE.to_string())
    }
}

#[async_trait]
impl ChangeSource for PostgresChanges {
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut client = Client::connect(&self.address).await?;
        let mut tables = self.tables(&mut client).await?;
        if !self.options.messages.is_empty() {
            tables.push(messages::table());
        }
        // The pipeline's name is not known here; only a publication that somebody else made can leave columns out.
        let names = Names::of("", &self.address.database, &self.options);
        let shapes = self.shapes(&mut client, &names, &tables).await?;
        Ok(tables
            .iter()
            .zip(shapes)
            .map(|(table, shape)| StreamInfo {
                name: table.stream.to_string(),
                schema: shape.schema.clone(),
                primary_key: shape.key.clone(),
                estimated_rows: table.rows,
                estimated_bytes: (table.oid != messages::OID).then_some(table.bytes),
                reading: match (self.options.snapshot, &shape.order) {
                    _ if table.oid == messages::OID => "logical messages from the first run on".into(),
                    (SnapshotMode::Never, _) => "the log from the first run on, no snapshot".into(),
                    (_, Some(_)) => "a snapshot in ranges of the key between transactions of the log; resumes anywhere".into(),
                    (_, None) => "a snapshot in one piece, then the log; the key cannot be divided".into(),
                },
            })
            .collect())
    }

    async fn open(&self, request: ChangeRequest) -> Result<Arc<dyn ChangeLog>> {
        let from = request.from.as_ref().map(Position::read).transpose()?;
        let mut control = Client::connect(&self.address).await?;
        control.batch("SET statement_timeout = 0; SET default_transaction_read_only = off; SET lc_monetary = 'C'").await?;
        let mut wire = Client::connect_replication(&self.address).await?;
        let place = control.place().to_string();
        let names = slot::names(&mut control, &request.pipeline, &self.address.database, &self.options, from.as_ref()).await?;
        let mut tables = self.tables(&mut control).await?;
        tables.retain(|table| request.streams.iter().any(|wanted| *wanted == *table.stream));
        let messages = !self.options.messages.is_empty() && request.streams.iter().any(|wanted| wanted == messages::STREAM);
        let is_table = |wanted: &String| tables.iter().any(|table| *table.stream == **wanted);
        if let Some(missing) =
            request.streams.iter().find(|wanted| !(is_table(wanted) || messages && *wanted == messages::STREAM))
        {
            return Err(Error::new("WEIR-PG-007", Kind::NotFound, format!("table {missing} does not exist (any more)")).at(place));
        }
        let known = |table: &Table| from.as_ref().and_then(|from| from.tables.get(&*table.stream));
        if let Some(table) = tables.iter().find(|table| known(table).is_some_and(|known| known.oid != table.oid)) {
            return Err(slot::table_replaced(&table.stream, &place));
        }
        let prepared =
            slot::prepare(&mut control, &mut wire, &self.options, &names, &tables, from.as_ref(), &self.address.database).await?;
        if messages {
            if control.version < 140_000 {
                return Err(messages::too_old(&place));
            }
            tables.push(messages::table());
        }
        let shapes = self.shapes(&mut control, &names, &tables).await?;
        let rows = control.query("SELECT txid_snapshot_xmax(txid_current_snapshot()), pg_current_wal_flush_lsn()", &[]).await?;
        let row = rows.first().ok_or_else(|| Error::internal("no snapshot").at(place.clone()))?;
        let fence = if prepared.fresh { 0 } else { row.int(0) as u64 };
        let target = decode::parse_lsn(row.text(1)).unwrap_or(prepared.start);
        let batch_bytes = if request.batch_bytes == 0 { BATCH_BYTES } else { request.batch_bytes };
        let mut core = Core::new(prepared.start, batch_bytes, request.linger, request.before_images, STREAMED_BYTES);
        let mut plans = Plans::default();
        let binary = !shapes.iter().any(|shape| shape.needs_text);
        for (table, shape) in tables.iter().zip(shapes) {
            if table.oid == messages::OID {
                core.add(table.oid, table.stream.clone(), Arc::new(shape), None, None);
                core.listen(Prefixes::new(&self.options.messages)?);
                continue;
            }
            let progress = known(table);
            let state = match progress {
                Some(progress) if progress.done && progress.chunks.is_empty() => None,
                Some(progress) => match snapshot::resumed(progress, &shape) {
                    Some(state) => Some(state),
                    // The key is another one now: what was read cannot be told from what was not.
                    None => return Err(slot::key_replaced(&table.stream, &place)),
                },
                None if self.options.snapshot == SnapshotMode::Never => None,
                None => Some(TableSnapshot { whole: shape.order.is_none(), ..TableSnapshot::default() }),
            };
            if state.is_some() {
                plans.add(table.oid, table.bytes, if progress.is_none() { fence } else { 0 });
            }
            core.add(table.oid, table.stream.clone(), Arc::new(shape), state, progress.map(|progress| progress.shape.clone()));
        }
        let ends = request.until_caught_up || self.options.snapshot == SnapshotMode::Only;
        let position =
            Position::new(prepared.system, prepared.timeline, self.address.database.clone(), names.slot.clone(), prepared.start);
        let now = Instant::now();
        let log = PostgresLog::new(|shared, events| Worker {
            address: self.address.clone(),
            options: self.options.clone(),
            names,
            on_loss: self.on_loss.clone(),
            wire,
            control,
            core,
            plans,
            shared,
            events,
            batch_bytes,
            before_images: request.before_images,
            parallelism: request.parallelism.max(1),
            partitioned: tables.iter().filter(|table| table.partitioned).map(|table| table.oid).collect(),
            target: ends.then_some(target),
            binary,
            told: 0,
            told_at: now,
            bounded: position.lsn,
            bounded_at: now,
            said_caught_up: false,
            nudged_at: None,
            turn_at: now,
            waited_at: now,
            position,
        });
        log.begin().await?;
        Ok(Arc::new(log))
    }

    fn snapshot_again(&self, from: &Opaque, streams: &[SnapshotAgain]) -> Result<Opaque> {
        let mut position = Position::read(from)?;
        for wanted in streams {
            if wanted.stream == messages::STREAM {
                return Err(messages::not_a_table("read once more"));
            }
            let Some(progress) = position.tables.get_mut(&wanted.stream) else {
                let known: Vec<&str> = position.tables.keys().map(String::as_str).collect();
                return Err(not_followed(&wanted.stream, &known));
            };
            let again = Some(position::Again { only: wanted.only.clone() });
            // One that the targets do not have yet is simply begun again.
            let again = if progress.done || progress.again.is_some() { again } else { None };
            *progress = position::TableProgress { done: false, again, after: None, chunks: Vec::new(), ..progress.clone() };
        }
        position.write()
    }

    async fn forget(&self, pipeline: &str, from: Option<&Opaque>) -> Result<()> {
        let from = from.and_then(|from| Position::read(from).ok());
        let mut client = Client::connect(&self.address).await?;
        let mut names = slot::names(&mut client, pipeline, &self.address.database, &self.options, from.as_ref()).await?;
        if let Some(from) = from {
            // Whatever the options say by now: the one that was used.
            names.slot = from.slot;
        }
        slot::forget(&mut client, &names).await?;
        client.close().await;
        Ok(())
    }
}
