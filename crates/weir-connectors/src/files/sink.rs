//! The sink: which folder a stream goes to, whether it may, and the way there.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use weir_connect::verify::{VerifiableTarget, VerifyStream};
use weir_connect::{
    CommitKind, CommitReport, CommitToken, Recovery, RunIdentity, SchemaChangePolicy, Sink, SinkCapabilities, SinkType,
    StreamSink, StreamTarget, StreamWriter, WriteMode,
};
use weir_error::{Error, Kind, Result};
use weir_formats::debezium::{self, Context};
use weir_formats::{Compression, Format, WriteOptions, check_writable, sink_type};

use super::changes::place::{MessagePath, divide};
use super::changes::shape::Layout;
use super::changes::{self, ChangesStream, Roll};
use super::client::{Connection, Located};
use super::commit;
use super::config::{FileSink, SinkFormat};
use super::listing::is_ours;
use super::manifest::{HIDDEN, Manifest};
use super::names::{fill, run_time, slug};
use super::partition::Partitioner;
use super::schema::{Contract, reconcile};
use super::storage::{Expect, FileMeta, Storage, folder_of, join};
use super::writer::LaneWriter;

/// A configured `file` or `s3` target.
pub(crate) struct FilesSink {
    connection: Connection,
    options: FileSink,
    node: String,
    word: &'static str,
}

/// Where one stream's dataset is.
#[derive(Debug, Clone)]
pub(crate) struct Dataset {
    pub storage: Arc<dyn Storage>,
    /// Its folder.
    pub folder: String,
    /// Its hidden folder, with the manifest and the staging.
    pub hidden: String,
    /// The only file, if the path names one.
    pub single: Option<String>,
    /// For people.
    pub place: String,
}

/// Everything that the lanes and the commit of one stream share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub dataset: Dataset,
    pub contract: Contract,
    pub partitioner: Partitioner,
    pub partition_by: Vec<String>,
    pub cursor: Option<String>,
    /// When the run began.
    pub started: DateTime<Utc>,
    pub write: WriteOptions,
    pub extension: String,
    pub mode: WriteMode,
    pub key: Vec<String>,
    pub overwrite_foreign: bool,
    pub run: String,
    /// What the names of data files say first: the run.
    pub stem: String,
    /// Pipeline, node and stream: whose staging this is.
    pub writer: String,
    /// Staging of this writer, all runs.
    pub stagings: String,
    /// Staging of this run.
    pub staging: String,
    /// Differs in every attempt, so that names never meet.
    pub nonce: String,
    pub target_file_bytes: u64,
    pub max_open_files: usize,
    pub max_buffer_bytes: usize,
}

impl Shared {
    /// The name of a data file. `listing::is_ours` knows it.
    pub(crate) fn file_name(&self, label: &str, sequence: u64) -> String {
        format!("part-{}-{label}-{sequence:05}{}", self.stem, self.extension)
    }

    /// The way into folders for rows of another schema.
    pub(crate) fn partitioner_of(&self, schema: &SchemaRef) -> Result<Partitioner> {
        Partitioner::new(&self.partition_by, schema, self.cursor.as_deref(), self.started)
    }

    /// Whether the commit makes new files out of what the lanes wrote.
    pub(crate) fn rewrites(&self) -> bool {
        self.dataset.single.is_some() || self.mode == WriteMode::Upsert
    }
}

impl FilesSink {
    pub(crate) fn new(connection: Connection, options: FileSink, node: String, word: &'static str) -> Result<Self> {
        let sink = Self { connection, options, node, word };
        sink.check_options()?;
        Ok(sink)
    }

    fn format(&self) -> Format {
        let written = self.options.format.map(SinkFormat::rows);
        let default = if self.message().is_some() { Format::Ndjson } else { Format::Parquet };
        written.or_else(|| self.single_format().map(|(format, _)| format)).unwrap_or(default)
    }

    /// The part of the path that every message has its own of.
    fn message(&self) -> Option<MessagePath> {
        divide(&self.options.path).1
    }

    /// Whether Debezium's envelope is written.
    fn is_debezium(&self) -> bool {
        match self.options.format {
            Some(format) => format == SinkFormat::Debezium,
            None => self.message().is_some(),
        }
    }

    /// What the changes of a stream are written as.
    fn layout(&self, target: &StreamTarget) -> Layout {
        if !self.is_debezium() {
            return Layout::Rows;
        }
        Layout::Debezium(Context {
            options: self.options.debezium.clone(),
            pipeline: target.run.pipeline.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }

    /// What changes may not be written as.
    fn check_changes(&self, target: &StreamTarget) -> Result<()> {
        if !target.changes {
            if self.message().is_none() && !self.is_debezium() {
                return Ok(());
            }
            let what = if self.message().is_some() { "a path with `{message-id}`" } else { "`format: debezium`" };
            return Err(
                Error::new("WEIR-FILE-094", Kind::Spec, format!("{what} is for changes")).hint("set `mode: cdc`, or write rows")
            );
        }
        if !self.change_modes().contains(&target.write_mode) {
            let mode = target.write_mode.as_str();
            return Err(Error::new("WEIR-FILE-052", Kind::Unsupported, format!("`write_mode: {mode}` is not possible here"))
                .because("files take changes as rows, or as the table as it is now in Parquet files of one folder")
                .hint("set `write_mode: append`; or `upsert` with `format: parquet`"));
        }
        if self.single_format().is_some() {
            return Err(Error::new("WEIR-FILE-095", Kind::Spec, "changes are not written into a single file")
                .at(self.options.path.clone())
                .hint("name a folder: end the path with /"));
        }
        Ok(())
    }

    /// Format and compression when the path names one file.
    fn single_format(&self) -> Option<(Format, Compression)> {
        if self.options.path.ends_with('/') || !self.options.partition_by.is_empty() || self.message().is_some() {
            return None;
        }
        Format::from_path(&self.options.path)
    }

    fn write_options(&self) -> WriteOptions {
        let mut write = WriteOptions::new(self.format());
        write.compression = match (self.options.compression, self.single_format()) {
            (Compression::Auto, Some((_, named))) if named != Compression::None => named,
            (given, _) => given,
        };
        write.csv = self.options.csv.clone();
        write.parquet = self.options.parquet.clone();
        write.avro = self.options.avro.clone();
        write.orc = self.options.orc.clone();
        write
    }

    fn modes(&self) -> Vec<WriteMode> {
        let mut modes = vec![WriteMode::Append, WriteMode::Overwrite];
        if self.format() == Format::Parquet && self.single_format().is_none() {
            modes.push(WriteMode::Upsert);
        }
        modes
    }

    pub(crate) fn check_options(&self) -> Result<()> {
        if self.options.path.trim().is_empty() {
            return Err(Error::new("WEIR-FILE-050", Kind::Spec, "the sink has no `path`")
                .hint("give the folder to write to, e.g. lake/{stream}"));
        }
        let (folder, message) = divide(&self.options.path);
        fill(&folder, "stream", Utc::now(), "pipeline")?;
        if let Some(message) = message {
            message.check(&folder)?;
            let json = matches!(self.options.format, None | Some(SinkFormat::Debezium | SinkFormat::Json | SinkFormat::Ndjson));
            if !json || !self.options.partition_by.is_empty() || self.options.compression != Compression::Auto {
                return Err(Error::new(
                    "WEIR-FILE-096",
                    Kind::Spec,
                    "a message is written as plain JSON, in the folder that the path says",
                )
                .at(self.options.path.clone())
                .hint("`{message-id}` goes with `format: debezium` or `json`, without `partition_by` and `compression`"));
            }
        }
        self.write_options().resolved_compression()?;
        if let (Some(format), Some((named, _))) = (self.options.format.map(SinkFormat::rows), self.single_format())
            && format != named
        {
            return Err(Error::new(
                "WEIR-FILE-051",
                Kind::Spec,
                format!("the path ends like {} but the format is {}", named.as_str(), format.as_str()),
            )
            .at(self.options.path.clone())
            .hint("make them agree, or end the path with / to mean a folder"));
        }
        self.check_mode(self.options.write_mode, &self.options.key, false)
    }

    fn check_mode(&self, mode: WriteMode, key: &[String], key_known: bool) -> Result<()> {
        if !self.modes().contains(&mode) {
            let why = match (mode, self.single_format()) {
                (WriteMode::Merge, _) => "files have no rows to change in place".to_owned(),
                (_, Some(_)) => "the path names a single file".to_owned(),
                _ => format!("{} files are not rewritten", self.format().as_str()),
            };
            return Err(Error::new(
                "WEIR-FILE-052",
                Kind::Unsupported,
                format!("`write_mode: {}` is not possible here", mode.as_str()),
            )
            .because(why)
            .hint("upsert works with format parquet and a folder; else use append or overwrite"));
        }
        if mode == WriteMode::Upsert && key.is_empty() && key_known {
            return Err(
                Error::new("WEIR-FILE-053", Kind::Spec, "upsert needs a `key`").hint("set `key: [column, …]` on the sink")
            );
        }
        Ok(())
    }

    fn dataset(&self, stream: &str, started: DateTime<Utc>, pipeline: &str) -> Result<Dataset> {
        let path = fill(&divide(&self.options.path).0, stream, started, pipeline)?;
        let Located { storage, anchor, paths } = self.connection.locate(std::slice::from_ref(&path))?;
        #[cfg(test)]
        let storage = super::tests::cut::wrap(storage);
        let full = anchor.resolve(paths.first().map_or("", String::as_str))?;
        anchor.check_link(&full)?;
        let (folder, hidden, single) = match self.single_format() {
            Some(_) => {
                let folder = folder_of(&full).to_owned();
                let name = full.rsplit('/').next().unwrap_or(&full);
                let hidden =
                    join(if folder.is_empty() && full.starts_with('/') { "/" } else { &folder }, &format!("{HIDDEN}_{name}"));
                (folder, hidden, Some(full.clone()))
            }
            None => (full.clone(), join(&full, HIDDEN), None),
        };
        let place = storage.show(&full);
        Ok(Dataset { storage, folder, hidden, single, place })
    }

    /// What the writers of a stream share, but for the way into folders.
    fn shared(&self, target: &StreamTarget, dataset: Dataset, contract: Contract, writer: String) -> Result<Shared> {
        let write = self.write_options();
        let state = target.changes && target.write_mode == WriteMode::Upsert;
        // The time of a change is when it was committed; a row that is changed again and again has none.
        let cursor = match (target.changes, self.layout(target)) {
            _ if state => None,
            (true, Layout::Rows) => Some(changes::SOURCE_TS.to_owned()),
            _ => target.cursor.clone(),
        };
        let stagings = join(&join(&dataset.hidden, "staging"), &slug(&writer));
        Ok(Shared {
            contract,
            partitioner: Partitioner::default(),
            partition_by: self.options.partition_by.clone(),
            cursor,
            started: run_time(&target.run.run_id).unwrap_or_else(Utc::now),
            extension: write.format.extension(write.resolved_compression()?),
            write,
            mode: target.write_mode,
            key: target.key.clone(),
            overwrite_foreign: self.options.overwrite_foreign,
            staging: join(&stagings, &slug(&target.run.run_id)),
            run: target.run.run_id.clone(),
            stem: slug(&target.run.run_id),
            writer,
            stagings,
            nonce: format!("{:08x}", rand::random::<u32>()),
            // What is rewritten for a change should not be large.
            target_file_bytes: self.options.target_file_size.map_or(if state { 32 << 20 } else { 128 << 20 }, |size| size.0),
            max_open_files: self.options.max_open_files.unwrap_or(64).max(1),
            max_buffer_bytes: self.options.max_buffer.map_or(128 << 20, |size| usize::try_from(size.0).unwrap_or(usize::MAX)),
            dataset,
        })
    }

    /// Everything that can be judged without writing.
    async fn plan(&self, target: &StreamTarget) -> Result<(Shared, Option<Manifest>, Vec<FileMeta>)> {
        let started = run_time(&target.run.run_id).unwrap_or_else(Utc::now);
        self.check_changes(target)?;
        let landing = self.message().is_some();
        let layout = self.layout(target);
        let dataset = self.dataset(&target.stream, started, &target.run.pipeline)?;
        let key = if target.key.is_empty() { self.options.key.clone() } else { target.key.clone() };
        let target = &StreamTarget { key, ..target.clone() };
        self.check_mode(target.write_mode, &target.key, true)?;
        let missing = target.key.iter().find(|column| target.schema.index_of(column).is_err());
        if let Some(missing) = missing.filter(|_| target.write_mode == WriteMode::Upsert) {
            return Err(Error::new("WEIR-FILE-053", Kind::Spec, format!("the key column `{missing}` is not in the stream")));
        }
        let manifest = Manifest::load(dataset.storage.as_ref(), &dataset.hidden).await?.map(|(manifest, _)| manifest);
        let fresh = target.write_mode == WriteMode::Overwrite && target.on_schema_change != SchemaChangePolicy::Freeze;
        let existing: Option<SchemaRef> = match &manifest {
            Some(manifest) if !fresh && !landing => manifest.arrow_schema()?,
            _ => None,
        };
        let format = self.format();
        let joins = manifest.as_ref().filter(|manifest| !manifest.files.is_empty() && target.write_mode != WriteMode::Overwrite);
        if let Some(manifest) = joins
            && manifest.format != format.as_str()
        {
            return Err(Error::new("WEIR-FILE-054", Kind::Conflict, format!("the dataset is made of {} files", manifest.format))
                .at(dataset.place.clone())
                .hint(format!("set `format: {}`, write to a new place, or use write_mode: overwrite", manifest.format)));
        }
        let writer = format!("{}.{}.{}", target.run.pipeline, self.node, target.stream);
        let contract = if target.changes {
            manifest.as_ref().map_or(Ok(()), |manifest| not_the_other_kind(manifest, target.write_mode, &dataset.place))?;
            let before = manifest.iter().flat_map(|manifest| &manifest.logs).any(|log| log.writer == writer);
            changes::contract_of(existing, target, &layout, self.options.delete_mode, before)
        } else {
            reconcile(existing, &target.schema, target.on_schema_change)
        };
        let contract = contract.map_err(|error| error.at(dataset.place.clone()))?;
        check_writable(format, &contract.write)?;
        let mut shared = self.shared(target, dataset, contract, writer)?;
        shared.started = started;
        shared.partitioner = shared.partitioner_of(&shared.contract.write)?;
        if target.changes && target.write_mode == WriteMode::Upsert {
            changes::state::divided::check(&shared, manifest.as_ref())?;
        }
        // Beside messages nobody is in the way, and there may be very many of them.
        let foreign = if landing { vec![] } else { foreign_files(&shared, manifest.as_ref()).await? };
        if target.write_mode == WriteMode::Overwrite && !self.options.overwrite_foreign && !foreign.is_empty() {
            return Err(foreign_refused(&shared, &foreign));
        }
        Ok((shared, manifest, foreign))
    }
}

/// A folder holds the changes of a table, or the table as it is now.
fn not_the_other_kind(manifest: &Manifest, mode: WriteMode, place: &str) -> Result<()> {
    let has = |name: &str| manifest.columns.iter().any(|column| column.name == name);
    let (changes, state) = (has("_op") && has("_seq"), manifest.files.iter().any(|file| file.content.is_some()));
    let other = match mode {
        WriteMode::Upsert => changes.then_some("every change of a table as a row"),
        _ => state.then_some("a table as it is now"),
    };
    other.map_or(Ok(()), |other| {
        Err(Error::new("WEIR-FILE-103", Kind::Conflict, format!("the folder holds {other}"))
            .at(place)
            .hint("write to another folder, or set the other `write_mode`"))
    })
}

pub(crate) fn foreign_refused(shared: &Shared, foreign: &[FileMeta]) -> Error {
    Error::new(
        "WEIR-FILE-055",
        Kind::Conflict,
        format!("{} files that Weir did not write are in the way of overwrite", foreign.len()),
    )
    .at(shared.dataset.place.clone())
    .because(format!("one is {}", foreign.first().map_or(String::new(), |file| shared.dataset.storage.show(&file.path))))
    .hint("set `overwrite_foreign: true` to delete them too, or write to another place")
}

/// Data files of this format in the folder that no manifest covers and no Weir wrote.
pub(crate) async fn foreign_files(shared: &Shared, manifest: Option<&Manifest>) -> Result<Vec<FileMeta>> {
    let dataset = &shared.dataset;
    if dataset.single.is_some() {
        return Ok(vec![]);
    }
    let known: std::collections::HashSet<&str> = manifest
        .iter()
        .flat_map(|manifest| {
            manifest.files.iter().map(|file| file.path.as_str()).chain(manifest.removed.iter().map(String::as_str))
        })
        .collect();
    let below = join(&dataset.folder, "/");
    let files = dataset.storage.list(&dataset.folder, None).await?;
    Ok(files
        .into_iter()
        .filter(|file| {
            let relative = file.path.strip_prefix(below.as_str()).unwrap_or(&file.path);
            !relative.split('/').any(|part| part.starts_with('.') || part.starts_with('_') && !part.contains('='))
                && Format::from_path(relative).is_some_and(|(format, _)| format == shared.write.format)
                && !known.contains(relative)
                && !is_ours(file.name())
        })
        .collect())
}

#[async_trait]
impl Sink for FilesSink {
    fn capabilities(&self, _mode: WriteMode) -> SinkCapabilities {
        SinkCapabilities {
            commit: if self.message().is_some() { CommitKind::Idempotent } else { CommitKind::Staged },
            commit_note: match self.message() {
                Some(_) => format!("{} writes a message that comes again under its name again", self.word),
                None => format!("{} keeps the run in its manifest; staged files stay invisible until the commit", self.word),
            },
            write_modes: self.modes(),
        }
    }

    fn sink_type(&self, field: &Field) -> SinkType {
        if self.is_debezium() { debezium::sink_type(field) } else { sink_type(self.format(), field) }
    }

    fn verifiable(&self) -> Option<&dyn VerifiableTarget> {
        Some(self)
    }

    fn change_modes(&self) -> Vec<WriteMode> {
        let mut modes = vec![WriteMode::Append];
        if self.modes().contains(&WriteMode::Upsert) {
            modes.push(WriteMode::Upsert);
        }
        modes
    }

    fn wants_before(&self) -> bool {
        self.is_debezium()
    }

    fn place(&self, stream: &str) -> String {
        let date = divide(&self.options.path).0.replace("{date}", "date-of-run");
        match fill(&date, stream, Utc::now(), "name-of-pipeline")
            .and_then(|path| self.connection.locate(std::slice::from_ref(&path)).map(|located| (path, located)))
        {
            Ok((_, located)) => {
                let path = located.paths.first().map_or("", String::as_str);
                located.storage.show(&located.anchor.resolve(path).unwrap_or_else(|_| path.to_owned()))
            }
            Err(_) => self.options.path.clone(),
        }
    }

    async fn preview(&self, target: &StreamTarget) -> Result<Vec<String>> {
        let (shared, manifest, foreign) = self.plan(target).await?;
        let place = &shared.dataset.place;
        let (files, rows) =
            manifest.as_ref().map_or((0, 0), |m| (m.files.len(), m.files.iter().map(|file| file.rows).sum::<u64>()));
        let format = if self.is_debezium() { "debezium" } else { shared.write.format.as_str() };
        let mut actions = vec![match (shared.mode, files) {
            _ if self.message().is_some() => format!("write one file per message below {place}"),
            (_, 0) => format!("create {place} ({format})"),
            (WriteMode::Overwrite, _) => format!("replace {files} files with {rows} rows in {place}"),
            (WriteMode::Upsert, _) => format!("rewrite the affected ones of {files} files with {rows} rows in {place}"),
            _ => format!("add {format} files to {place}, which has {files} files with {rows} rows"),
        }];
        actions.extend(shared.contract.changes.iter().map(|change| format!("{place}: {change}")));
        if !foreign.is_empty() {
            let fate = if shared.mode == WriteMode::Overwrite { "will be deleted" } else { "stay as they are" };
            actions.push(format!("{place}: {} files that Weir did not write {fate}", foreign.len()));
        }
        Ok(actions)
    }

    async fn columns(&self, target: &StreamTarget) -> Result<Option<Vec<String>>> {
        if target.write_mode == WriteMode::Overwrite {
            return Ok(None);
        }
        if self.is_debezium() {
            return Ok(None);
        }
        let started = run_time(&target.run.run_id).unwrap_or_else(Utc::now);
        let dataset = self.dataset(&target.stream, started, &target.run.pipeline)?;
        let Some((manifest, _)) = Manifest::load(dataset.storage.as_ref(), &dataset.hidden).await? else { return Ok(None) };
        Ok(manifest.arrow_schema()?.map(|schema| schema.fields().iter().map(|field| field.name().clone()).collect()))
    }

    async fn prepare(&self, target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        let (shared, _, foreign) = self.plan(&target).await?;
        if !foreign.is_empty() && shared.mode != WriteMode::Overwrite {
            tracing::info!(place = %shared.dataset.place, files = foreign.len(), "files that Weir did not write stay as they are");
        }
        // Finds a folder that cannot be written to before the source is read.
        shared.dataset.storage.put_small(&join(&shared.staging, "begun.json"), "{}".into(), Expect::Anything).await?;
        let shared = Arc::new(shared);
        if target.changes {
            let (layout, roll) = (self.layout(&target), Roll::of(&self.options));
            return Ok(Box::new(ChangesStream { shared, layout, roll, message: self.message(), target }));
        }
        Ok(Box::new(FilesStream { shared }))
    }
}

struct FilesStream {
    shared: Arc<Shared>,
}

#[async_trait]
impl StreamSink for FilesStream {
    async fn recover(&self) -> Result<Recovery> {
        Ok(Recovery { committed: commit::committed(&self.shared).await?, ..Recovery::default() })
    }

    async fn discard(&self, keep: &[CommitToken]) -> Result<()> {
        commit::discard(&self.shared, keep).await
    }

    async fn writer(&self, lane: usize) -> Result<Box<dyn StreamWriter>> {
        Ok(Box::new(LaneWriter::new(self.shared.clone(), lane).await?))
    }

    async fn commit(&self, tokens: &[CommitToken]) -> Result<CommitReport> {
        commit::commit(&self.shared, tokens).await
    }
}

/// The staging of those who mend rows: no pipeline has this name, because a writer's has dots.
const MENDING: &str = "mend";

/// What a comparison needs to know of a stream's place.
pub(crate) struct Told {
    pub connection: Connection,
    /// For the reader.
    pub path: String,
    pub dataset: Dataset,
    /// For a writer that is not the pipeline's; it has the columns of the files still to learn.
    pub beside: Shared,
    pub node: String,
    pub format: Format,
    /// Every change is a message of its own.
    pub messages: bool,
    /// Each day has a folder of its own.
    pub dated: bool,
}

impl FilesSink {
    /// Where a stream is.
    pub(crate) fn told(&self, of: &VerifyStream) -> Result<Told> {
        let folder = divide(&self.options.path).0;
        let dataset = self.dataset(&of.stream, Utc::now(), &of.pipeline)?;
        let unknown = Contract { write: of.schema.clone(), dataset: of.schema.clone(), changes: Vec::new() };
        let target = StreamTarget {
            run: RunIdentity { pipeline: of.pipeline.clone(), run_id: MENDING.to_owned() },
            stream: of.stream.clone(),
            schema: of.schema.clone(),
            key: of.key.clone(),
            cursor: None,
            write_mode: of.write_mode,
            on_schema_change: SchemaChangePolicy::Freeze,
            changes: of.changes,
        };
        Ok(Told {
            connection: self.connection.clone(),
            path: fill(&folder, &of.stream, Utc::now(), &of.pipeline)?,
            beside: self.shared(&target, dataset.clone(), unknown, MENDING.to_owned())?,
            dataset,
            node: self.node.clone(),
            format: self.format(),
            messages: self.message().is_some() || self.is_debezium(),
            dated: folder.contains("{date}"),
        })
    }
}
