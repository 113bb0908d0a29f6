//! `_weir/manifest.json`: the list of a dataset's live files. A reader that honours it sees whole runs only.
//!
//! It is replaced atomically, never changed in place; every replacement has the next version number.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use weir_connect::{CommitReport, WriteMode};
use weir_error::{Error, Kind, Result};

use super::changes::ledger::LogRecord;
use super::changes::state::bounds::Bounds;
use super::storage::{Expect, Storage, join};

/// The hidden folder of a dataset.
pub(crate) const HIDDEN: &str = "_weir";
/// Its folder of content that lies apart; see [`LiveFile::content`].
pub(crate) const DATA: &str = "data";
/// The manifest's version of its own layout: 1; 2 with `logs`, 3 with files whose content lies apart, which older ones would drop.
const LAYOUT: u32 = 3;
/// Runs that are remembered; older ones are dropped.
const RUNS_KEPT: usize = 200;

/// The manifest. Unknown fields of later versions are refused by the layout number, not dropped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// Layout of this document.
    pub weir_manifest: u32,
    /// Counts up with every commit.
    pub version: u64,
    /// When it was written, RFC 3339.
    pub updated_at: String,
    /// Format of the files.
    pub format: String,
    /// The columns for people.
    pub columns: Vec<Column>,
    /// The same, exactly: an Arrow IPC schema in base64.
    pub schema: String,
    /// How the rows are divided into folders.
    pub partition_by: Vec<String>,
    /// The live files.
    pub files: Vec<LiveFile>,
    /// Files that left the dataset with the latest commits and may not be deleted yet; readers ignore them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// What wrote to the dataset, oldest first.
    pub runs: Vec<RunRecord>,
    /// Logs of changes that are written here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogRecord>,
    /// Copies that the latest flushes were to make, or to take away where no file has that path any more. See [`LiveFile::content`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unshown: Vec<String>,
    /// Content that was replaced: kept for a while for those who are reading it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<Retired>,
}

/// Content that no file has any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retired {
    /// Relative to the dataset's folder.
    pub path: String,
    /// Since when, seconds since 1970.
    pub at: i64,
}

/// A column for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub name: String,
    pub r#type: String,
    pub nullable: bool,
}

/// A live file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LiveFile {
    /// Relative to the dataset's folder.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    /// Folder columns and their values; `null` is NULL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partition: BTreeMap<String, Option<String>>,
    /// Fingerprint of the file's own schema.
    pub schema: String,
    /// The run that wrote it.
    pub run: String,
    /// Where the bytes are, relative to the dataset's folder, if `path` is a copy of them for readers that do not know the manifest. Written
    /// once; whoever changes the file writes another and lets it take the copy's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Smallest and largest value of the first key column, if they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// When it was written last, rows left it for files of other folders: its copy is shown before theirs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
}

impl LiveFile {
    /// Where the bytes are that the manifest means, relative to the dataset's folder.
    pub(crate) fn place(&self) -> &str {
        self.content.as_deref().unwrap_or(&self.path)
    }
}

/// A committed run of one stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub run: String,
    /// Pipeline, sink node and stream.
    pub writer: String,
    pub write_mode: String,
    pub rows: u64,
    pub bytes: u64,
    pub objects: u64,
    pub committed_at: String,
}

impl RunRecord {
    /// A run that is committed now.
    pub(crate) fn new(run: &str, writer: &str, mode: WriteMode, report: &CommitReport) -> Self {
        Self {
            run: run.to_owned(),
            writer: writer.to_owned(),
            write_mode: mode.as_str().to_owned(),
            rows: report.rows,
            bytes: report.bytes,
            objects: report.objects,
            committed_at: now(),
        }
    }
}

impl Manifest {
    /// Where a dataset keeps it.
    pub(crate) fn path(hidden: &str) -> String {
        join(hidden, "manifest.json")
    }

    /// Reads it, with the version that [`Manifest::save`] expects to replace.
    pub(crate) async fn load(storage: &dyn Storage, hidden: &str) -> Result<Option<(Manifest, Expect)>> {
        let path = Self::path(hidden);
        let Some((text, version)) = storage.read_small(&path).await? else { return Ok(None) };
        let broken = |why: String| {
            Error::new("WEIR-FILE-030", Kind::Data, "the manifest of this dataset cannot be read")
                .at(storage.show(&path))
                .because(why)
                .hint("restore it from a copy; without it Weir cannot tell committed files from others")
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        let layout = value.get("weir_manifest").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if !(1..=u64::from(LAYOUT)).contains(&layout) {
            return Err(broken(format!("it has layout {layout}, this Weir knows {LAYOUT}"))
                .hint("use the version of Weir that wrote it, or a later one"));
        }
        let manifest = serde_json::from_value(value).map_err(|error| broken(error.to_string()))?;
        Ok(Some((manifest, Expect::Version(version))))
    }

    /// Replaces it as the next version.
    pub(crate) async fn save(mut self, storage: &dyn Storage, hidden: &str, expect: Expect) -> Result<()> {
        let apart = !self.retired.is_empty() || self.files.iter().any(|file| file.content.is_some());
        self.weir_manifest = match (apart, self.logs.is_empty()) {
            (true, _) => LAYOUT,
            (false, false) => 2,
            (false, true) => 1,
        };
        self.version += 1;
        self.updated_at = now();
        let surplus = self.runs.len().saturating_sub(RUNS_KEPT);
        self.runs.drain(..surplus);
        let text = serde_json::to_vec_pretty(&self).map_err(|error| Error::internal(error.to_string()))?;
        storage.put_small(&Self::path(hidden), text.into(), expect).await
    }

    /// The schema, `None` before the first commit.
    pub(crate) fn arrow_schema(&self) -> Result<Option<SchemaRef>> {
        if self.schema.is_empty() {
            return Ok(None);
        }
        let broken =
            |why: String| Error::new("WEIR-FILE-030", Kind::Data, "the schema in the manifest cannot be read").because(why);
        let bytes = STANDARD.decode(&self.schema).map_err(|error| broken(error.to_string()))?;
        let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(|error| broken(error.to_string()))?;
        Ok(Some(reader.schema()))
    }

    pub(crate) fn set_schema(&mut self, schema: &Schema) -> Result<()> {
        self.schema = STANDARD.encode(schema_bytes(schema)?);
        self.columns = schema
            .fields()
            .iter()
            .map(|field| Column {
                name: field.name().clone(),
                r#type: field.data_type().to_string(),
                nullable: field.is_nullable(),
            })
            .collect();
        Ok(())
    }

    /// The report of a run that is committed already.
    pub(crate) fn report(&self, run: &str, writer: &str, place: &str) -> Option<CommitReport> {
        let record = self.runs.iter().rev().find(|record| record.run == run && record.writer == writer)?;
        Some(CommitReport { rows: record.rows, bytes: record.bytes, objects: record.objects, place: place.to_owned() })
    }
}

fn schema_bytes(schema: &Schema) -> Result<Vec<u8>> {
    let mut bytes = vec![];
    StreamWriter::try_new(&mut bytes, schema)
        .and_then(|mut writer| writer.finish())
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(bytes)
}

/// Equal for equal columns (names, types, nullability, order).
pub(crate) fn fingerprint(schema: &SchemaRef) -> String {
    let text: String = schema
        .fields()
        .iter()
        .map(|field| format!("{}\0{}\0{}\n", field.name(), field.data_type(), field.is_nullable()))
        .collect();
    format!("{:016x}", twox_hash::XxHash3_64::oneshot(text.as_bytes()))
}

pub(crate) fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A schema without the metadata of the source, as a dataset remembers it.
pub(crate) fn bare(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().clone()))
}
