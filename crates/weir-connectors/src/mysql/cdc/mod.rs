//! The change log of MySQL and MariaDB as a source (`mysql-cdc`, `mariadb-cdc`): the row binlog, merged with a snapshot in chunks.
//!
//! * `core`: what each event does. `log`: the reading task. `snapshot`: the chunks, and why they are exact. `window`: what
//!   of the log they have already. `rows`: rows into batches.
//! * `table`: what a table's columns are, from the catalogue and from the log. `ddl`: what statements do. `key`: keys compared.
//! * `server`: everything that is checked beforehand, and where the log is. `position`: the resume point. `options`. `verify`: how far the log is.
//!
//! Not here: the bytes of the log (`binlog`), the batch source, and applying changes. Types are mapped in `types` only.

mod core;
mod ddl;
mod key;
mod log;
mod options;
mod position;
mod rows;
mod server;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
pub(super) mod verify;
mod window;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

use self::core::{Core, Pace};
use self::log::{MysqlLog, Worker};
use self::options::{CdcOptions, SnapshotMode};
use self::position::{Done, Family, Place, Position};
use self::snapshot::Plans;
use self::table::Shape;
use self::window::TableSnapshot;
use super::binlog::{BinlogStream, StartAt};
use super::catalog::{self, Relation};
use super::client::Client;
use super::config::{Address, ConnectionOptions, parse};
use super::source::MysqlSource;
use crate::changes::not_followed;
use crate::changes::position::Stored;

const BATCH_BYTES: usize = 4 << 20;
/// When nothing happens, the server says where it is this often.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// The connector.
pub struct MysqlCdc {
    descriptor: Descriptor,
}

impl Default for MysqlCdc {
    fn default() -> Self {
        Self {
            descriptor: Descriptor {
                name: "mysql-cdc",
                aliases: &["mariadb-cdc"],
                summary: "The change log of MySQL and MariaDB (row binlog): a snapshot, then every insert, update, delete and truncate in order",
                connection: schema_for!(ConnectionOptions).to_value(),
                source: Some(schema_for!(CdcOptions).to_value()),
                sink: None,
                address_option: "table",
            },
        }
    }
}

fn source_of(context: &SourceContext) -> Result<MysqlChanges> {
    let address = parse::<ConnectionOptions>(&context.connection, "connection")?.address(&context.base_dir)?;
    let options = parse::<CdcOptions>(&context.options, "source")?;
    let batch = MysqlSource { address: address.clone(), options: options.choice(), on_loss: context.on_loss.clone() };
    Ok(MysqlChanges { address, options, on_loss: context.on_loss.clone(), batch })
}

#[async_trait]
impl Connector for MysqlCdc {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn connections_of(&self) -> &'static [&'static str] {
        &["mysql", "mariadb"]
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
        let mut report = super::Mysql::default().check(connection).await?;
        if !report.ok() {
            return Ok(report);
        }
        report.items.retain(|item| item.name != "write");
        let address = parse::<ConnectionOptions>(connection, "connection")?.address(Path::new("."))?;
        let mut client = Client::connect(&address).await?;
        let checked = async {
            let found = server::check(&mut client, None).await?;
            let end = server::end(&mut client).await?;
            Ok::<_, Error>(match found.family {
                Family::Gtids => format!("rows are in the log, with GTIDs; it ends at {end}"),
                Family::Mariadb => format!("rows are in the log; it ends at {end}"),
                Family::Files => format!("rows are in the log, without GTIDs; it ends at {end}"),
            })
        };
        match checked.await {
            Ok(text) => report.push("changes", true, text),
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
    Error::new("WEIR-MY-001", Kind::Spec, "`mysql-cdc` is no sink").hint("write with `mysql`")
}

/// A configured source of changes.
struct MysqlChanges {
    address: Address,
    options: CdcOptions,
    on_loss: OnLoss,
    /// The same tables, read at once (`mode: batch`).
    batch: MysqlSource,
}

impl MysqlChanges {
    /// The tables that the options choose, sorted by name, with their shapes.
    async fn tables(&self, client: &mut Client) -> Result<Vec<(Relation, Shape)>> {
        let relations = catalog::choose(client, &self.options.choice().patterns(), &self.address.database).await?;
        let shapes = catalog::shapes(client, &relations).await?;
        let mut tables = Vec::new();
        for relation in relations {
            let stream = relation.name.display();
            let place = client.place().to_string();
            if !relation.table {
                return Err(Error::new("WEIR-MY-079", Kind::Schema, format!("{stream} is no table"))
                    .at(place)
                    .because("views have no changes in the log")
                    .hint(format!("exclude it: \"!{stream}\"")));
            }
            let found = shapes.get(&relation.name).cloned().unwrap_or_default();
            let shape = self.shape(found);
            if shape.key.is_empty() {
                return Err(log::no_key(&stream, &place, "it has no primary key (or `on_loss` drops its columns)"));
            }
            if self.options.snapshot != SnapshotMode::Never && !relation.transactional() {
                return Err(Error::new("WEIR-MY-079", Kind::Unsupported, format!("{stream} has no consistent view"))
                    .at(place)
                    .because(format!("its engine is {}, and a snapshot beside the log needs InnoDB", relation.engine))
                    .hint(format!(
                        "ALTER TABLE {} ENGINE = InnoDB, or `snapshot: never`, or exclude it: \"!{stream}\"",
                        relation.name.sql()
                    )));
            }
            tables.push((relation, shape));
        }
        Ok(tables)
    }

    fn shape(&self, found: catalog::Shape) -> Shape {
        Shape::new(found.columns, &found.key, BTreeMap::new(), self.options.tinyint1_as_boolean, &self.on_loss)
    }
}

#[async_trait]
impl Source for MysqlChanges {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: true,
            replay_note: "the binlog keeps every change as long as the server is told to (binlog_expire_logs_seconds)".into(),
        }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        ChangeSource::streams(self).await
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
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
impl Verifiable for MysqlChanges {
    async fn verify_source(&self, stream: &str) -> Result<Arc<dyn VerifySource>> {
        self.batch.verify_table(stream, true).await
    }

    async fn verify_rows(&self, stream: &str) -> Result<Arc<dyn VerifyRows>> {
        self.batch.verify_keys(stream, true).await
    }
}

#[async_trait]
impl ChangeSource for MysqlChanges {
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut client = Client::connect(&self.address).await?;
        let tables = self.tables(&mut client).await?;
        client.close().await;
        let info = |(relation, shape): (Relation, Shape)| StreamInfo {
            name: relation.name.display(),
            primary_key: shape.key.clone(),
            estimated_rows: relation.rows,
            estimated_bytes: Some(relation.bytes),
            reading: match (self.options.snapshot, shape.ordered) {
                (SnapshotMode::Never, _) => "the log from the first run on, no snapshot".into(),
                (_, 0) => "a snapshot in one piece, then the log; the key cannot be divided".into(),
                _ => "a snapshot in ranges of the key between transactions of the log; resumes anywhere".into(),
            },
            schema: shape.schema,
        };
        Ok(tables.into_iter().map(info).collect())
    }

    async fn open(&self, request: ChangeRequest) -> Result<Arc<dyn ChangeLog>> {
        let from = request.from.as_ref().map(Position::read).transpose()?;
        let mut control = Client::connect(&self.address).await?;
        let place = control.place().to_string();
        let server_id = self.options.server_id();
        let server = server::check(&mut control, Some(server_id)).await?;
        let mut tables = self.tables(&mut control).await?;
        tables.retain(|(relation, _)| request.streams.contains(&relation.name.display()));
        let there = |wanted: &&String| tables.iter().any(|(relation, _)| relation.name.display() == **wanted);
        if let Some(missing) = request.streams.iter().find(|wanted| !there(wanted)) {
            return Err(Error::new("WEIR-MY-007", Kind::NotFound, format!("table {missing} does not exist (any more)")).at(place));
        }
        server::check_filters(&mut control, &tables.iter().map(|(relation, _)| relation.name.database.as_str()).collect())
            .await?;
        let names: Vec<_> = tables.iter().map(|(relation, _)| relation.name.clone()).collect();
        for child in server::cascades(&mut control, &names).await? {
            tracing::warn!(table = %child, "its foreign key cascades: the engine does not write such changes into the log, and they are not seen");
        }
        let (done, begins) = match &from {
            Some(from) => (from.done()?, from.place()),
            None => server::beginning(&mut control, &server, self.options.start.as_ref()).await?,
        };
        server::check_position(&mut control, &server, &done, from.as_ref()).await?;
        if server.family == Family::Files && self.options.snapshot != SnapshotMode::Never {
            server::settled(&mut control).await?;
        }
        let (start, known_place) = match &done {
            Done::Gtids(set) => (StartAt::Gtid(set.clone()), Place::default()),
            Done::Maria(list) => (StartAt::Maria(list.clone()), Place::default()),
            Done::Upto(at) => (StartAt::File { file: at.file.clone(), position: at.position }, at.clone()),
        };
        tracing::info!(server_id, from = %start, "reading the binlog of {place}");
        let stream = BinlogStream::open(Client::connect(&self.address).await?, start, server_id, HEARTBEAT).await?;
        let target = match server.family {
            Family::Gtids => Done::Gtids(server::executed(&mut control).await?),
            Family::Mariadb => Done::Maria(server::last(&mut control).await?),
            Family::Files => Done::Upto(server::end(&mut control).await?),
        };
        let batch_bytes = if request.batch_bytes == 0 { BATCH_BYTES } else { request.batch_bytes };
        let pace = Pace { batch_bytes, linger: request.linger, before: request.before_images };
        let snapshots = self.options.snapshot != SnapshotMode::Never;
        let mut core = Core::new(done.clone(), known_place, pace, server.fold, snapshots);
        // Views must see everything that comes before what we read. MariaDB's do, once one does.
        let fence = if matches!(done, Done::Maria(_)) { done.none() } else { done.clone() };
        let mut open = false;
        for (relation, shape) in tables {
            let progress = from.as_ref().and_then(|from| from.tables.get(&relation.name.display()));
            let Some(progress) = progress else {
                let snapshot = snapshots.then(|| TableSnapshot::new(fence.clone()));
                open |= snapshot.is_some();
                core.add(relation.name, Arc::new(shape), snapshot, from.is_none());
                continue;
            };
            let known = Shape::of_notes(&progress.columns, &progress.key, self.options.tinyint1_as_boolean, &self.on_loss);
            let again = progress.again.clone();
            let mut snapshot = (!progress.done).then(|| TableSnapshot { again, ..TableSnapshot::new(fence.clone()) });
            open |= snapshot.is_some();
            if let (Some(snapshot), Some(after)) = (&mut snapshot, &progress.after) {
                let bound = snapshot::resumed(&known, after);
                snapshot.after = Some(bound.ok_or_else(|| {
                    Error::new("WEIR-MY-070", Kind::Conflict, "the stored position of the snapshot cannot be understood")
                        .at(relation.name.display())
                        .hint("`weir state reset` begins with a new snapshot")
                })?);
            }
            let state = core.add(relation.name, Arc::new(known), snapshot, false);
            state.altered.clone_from(&progress.altered);
            state.gone = progress.gone;
        }
        if let (true, true, Done::Maria(list)) = (open, from.is_some(), &done) {
            server::settle(&mut control, list).await?;
        }
        let ends = request.until_caught_up || self.options.snapshot == SnapshotMode::Only;
        let position = Position::new(server.uuid, &done, &begins);
        Ok(Arc::new(MysqlLog::new(|events| Worker {
            address: self.address.clone(),
            options: self.options.clone(),
            on_loss: self.on_loss.clone(),
            stream,
            control,
            core,
            plans: Plans::default(),
            position,
            events,
            batch_bytes,
            before_images: request.before_images,
            parallelism: request.parallelism.max(1),
            target: ends.then_some(target),
            said_caught_up: false,
            turn_at: Instant::now(),
            holding: false,
            collations: None,
        })))
    }

    fn snapshot_again(&self, from: &Opaque, streams: &[SnapshotAgain]) -> Result<Opaque> {
        let mut position = Position::read(from)?;
        for wanted in streams {
            let Some(progress) = position.tables.get_mut(&wanted.stream) else {
                let known: Vec<&str> = position.tables.keys().map(String::as_str).collect();
                return Err(not_followed(&wanted.stream, &known));
            };
            let again = Some(position::Again { only: wanted.only.clone() });
            // One that the targets do not have yet is simply begun again.
            progress.again = if progress.done || progress.again.is_some() { again } else { None };
            (progress.done, progress.after) = (false, None);
        }
        position.write()
    }

    async fn forget(&self, _pipeline: &str, _from: Option<&Opaque>) -> Result<()> {
        // A server keeps nothing for readers of its log.
        Ok(())
    }
}
