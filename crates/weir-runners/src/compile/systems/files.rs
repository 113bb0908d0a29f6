//! Files on disk and in buckets.

use serde_json::Value;

use super::super::{Options, Text};
use super::is_glob;

/// The layout of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Comma separated.
    Csv,
    /// Tab separated.
    Tsv,
    /// One JSON document.
    Json,
    /// An object a line.
    Ndjson,
    /// Parquet.
    Parquet,
    /// Avro.
    Avro,
    /// ORC.
    Orc,
    /// Debezium's envelopes.
    Debezium,
}

impl FileFormat {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "csv" => Self::Csv,
            "tsv" => Self::Tsv,
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Ndjson,
            "parquet" => Self::Parquet,
            "avro" => Self::Avro,
            "orc" => Self::Orc,
            "debezium" => Self::Debezium,
            _ => return None,
        })
    }

    /// The word in pipeline files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
            Self::Avro => "avro",
            Self::Orc => "orc",
            Self::Debezium => "debezium",
        }
    }
}

/// A bucket and how to reach it.
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Its name.
    pub name: Text,
    /// Address of the service; `None`: AWS.
    pub endpoint: Option<Text>,
    /// Region.
    pub region: Option<Text>,
    /// Access key and its secret; `None`: what the engine's machine has.
    pub login: Option<(Text, Text)>,
    /// `endpoint/bucket/key`.
    pub path_style: bool,
    /// No credentials at all.
    pub anonymous: bool,
}

/// Files.
#[derive(Debug, Clone)]
pub struct Files {
    /// The bucket they are in; `None`: a disk that every machine of the engine must see.
    pub bucket: Option<Bucket>,
    /// Path, glob or folder, without the bucket.
    pub path: Text,
    /// Layout.
    pub format: FileFormat,
    /// `none`, `gzip`, `zstd`, `snappy`, `lz4`, `bzip2`; `None`: as the layout has it by default.
    pub compression: Option<String>,
    /// Between fields of CSV.
    pub delimiter: Option<String>,
    /// CSV that is read: what stands around values; empty: nothing does. `None`: nobody said, so it is `"`.
    pub quote: Option<String>,
    /// CSV: whether the first line names the columns; `None`: nobody said.
    pub header: Option<bool>,
    /// Folders.
    pub partition_by: Vec<String>,
    /// The stream's name, if it is written.
    named: Option<String>,
}

impl Files {
    pub(super) fn read(options: &Options<'_>, in_bucket: bool) -> Self {
        let source = options.node().role == weir_spec::Role::Source;
        let mut paths: Vec<Text> = Vec::new();
        if let Some(Value::Array(items)) = options.value("paths") {
            paths.extend(items.iter().filter_map(Value::as_str).map(|path| options.as_text(path, false, "paths")));
        }
        paths.extend(options.text("path"));
        if paths.len() > 1 || options.value("streams").is_some() {
            options.refuse(Some("paths"), "is compiled for one path", "one source per path, or one glob");
        }
        let mut path = paths.into_iter().next().unwrap_or_default();
        let root = options.text("root");
        if let Some(root) = root.filter(|_| !path.braces().starts_with('/')) {
            path = root.then("/").then(path);
        }
        let bucket = in_bucket.then(|| bucket(options, &mut path)).flatten();
        options.pass(&[
            "columns",
            "json",
            "csv",
            "stream",
            "sample_records",
            "parquet",
            "avro",
            "orc",
            "overwrite_foreign",
            "keep_replaced_secs",
        ]);
        settings(options, source);
        let shown = path.braces();
        let by_ending = FileFormat::of(ending(&shown));
        let written = options.word("format");
        let format = match written.as_deref().map(FileFormat::of) {
            Some(Some(format)) => format,
            _ if source && by_ending.is_none() => {
                options.refuse(Some("format"), "looks into no file to find the layout", "add `format`");
                FileFormat::Parquet
            }
            _ => by_ending.unwrap_or(FileFormat::Parquet),
        };
        let csv = options.value("csv").cloned().unwrap_or_default();
        let header = match csv.get("header") {
            Some(Value::Bool(header)) => Some(*header),
            Some(Value::String(word)) if word != "auto" => Some(word == "present"),
            _ => (!source).then_some(true),
        };
        Self {
            bucket,
            path,
            format,
            compression: options.word("compression").filter(|word| word != "auto"),
            delimiter: csv.get("delimiter").and_then(Value::as_str).map(Into::into),
            quote: csv.get("quote").and_then(Value::as_str).map(Into::into),
            header,
            partition_by: options.words("partition_by"),
            named: options.word("stream"),
        }
    }

    /// The stream's name, as the source tells it: the last folder that is no glob, or the file's name without endings.
    pub fn stream(&self) -> String {
        if let Some(named) = &self.named {
            return named.clone();
        }
        let shown = self.path.braces();
        let last = shown.trim_end_matches('/').rsplit('/').find(|part| !is_glob(part)).unwrap_or("files").to_string();
        last.split('.').next().unwrap_or("files").to_string()
    }

    /// The path as Hadoop's file systems, and Flink's and Spark's, have it. Local paths begin with `file://` and a slash.
    pub fn uri(&self, scheme: &str) -> Text {
        match &self.bucket {
            Some(bucket) => Text::plain(format!("{scheme}://")).then(&bucket.name).then("/").then(self.path.clone()),
            None if self.path.braces().starts_with('/') => Text::plain("file://").then(self.path.clone()),
            None => self.path.clone(),
        }
    }

    /// Whether the path is one file, and not a folder or a glob.
    pub fn is_one_file(&self) -> bool {
        let shown = self.path.braces();
        let last = shown.rsplit('/').next().unwrap_or_default();
        !is_glob(last) && FileFormat::of(ending(last)).is_some()
    }
}

/// What no other engine does the same way.
fn settings(options: &Options<'_>, source: bool) {
    let csv = options.value("csv").cloned().unwrap_or_default();
    let known = if source { ["delimiter", "header", "columns", "quote"].as_slice() } else { &["delimiter", "header"] };
    for (name, _) in csv.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(&name.as_str())) {
        options.refuse(Some("csv"), format!("is compiled without `csv.{name}`"), "remove it, or use the native engine");
    }
    if source {
        options.refuse_unless(
            "new_files_only",
            &Value::Bool(false),
            "remembers no files",
            "`mode: streaming` with files, or the native engine",
        );
        options.pass(&["changed_files"]);
        if options.value("partitioned") == Some(&Value::Bool(true)) {
            options
                .compiling()
                .note(format!("`{}`: folders named key=value become columns as the engine reads them", options.node().name));
        }
    } else {
        options.pass(&["roll_secs", "roll_rows"]);
        if options.value("debezium").is_some() {
            options.refuse(Some("debezium"), "writes no envelopes into files", "the native engine");
        }
    }
}

fn bucket(options: &Options<'_>, path: &mut Text) -> Option<Bucket> {
    let mut name = options.text("bucket");
    let shown = path.braces();
    let bare = shown.strip_prefix("s3://").or_else(|| shown.strip_prefix("s3a://"));
    if name.is_none() || bare.is_some() {
        // The bucket is the first part of the path; variables are put back where they were.
        let whole = bare.unwrap_or(&shown).to_string();
        let (first, rest) = whole.split_once('/').unwrap_or((&whole, ""));
        let written = options.value("path").and_then(Value::as_str).unwrap_or_default().to_string();
        let written = written.strip_prefix("s3://").or_else(|| written.strip_prefix("s3a://")).unwrap_or(&written).to_string();
        let (first_written, rest_written) = written.split_once('/').unwrap_or((first, rest));
        name = Some(options.as_text(first_written, false, "path"));
        *path = options.as_text(rest_written, false, "path");
    }
    if options.value("session_token").is_some() {
        options.refuse(
            Some("session_token"),
            "is compiled without tokens of temporary credentials",
            "keys, or the role of the engine's machine",
        );
    }
    let endpoint = options.text("endpoint");
    Some(Bucket {
        name: name?,
        path_style: options.flag("path_style").unwrap_or(endpoint.is_some()),
        endpoint,
        region: options.text("region"),
        login: options.text("access_key").zip(options.text("secret_key")),
        anonymous: options.flag("anonymous").unwrap_or(false),
    })
}

/// `data/a.csv.gz` → `csv`.
fn ending(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = [".gz", ".zst", ".bz2", ".lz4", ".sz"].iter().find_map(|packed| name.strip_suffix(packed)).unwrap_or(name);
    name.rsplit_once('.').map_or("", |(_, ending)| ending)
}
