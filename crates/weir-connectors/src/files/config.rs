//! The options of `file` and `s3` as a person writes them. The doc comments are the reference text.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use weir_connect::{DeleteMode, WriteMode};
use weir_error::Secret;
use weir_formats::debezium::DebeziumOptions;
use weir_formats::{AvroOptions, Compression, CsvOptions, CsvWriteOptions, Format, JsonOptions, OrcOptions, ParquetOptions};

/// Connection of the `file` connector.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileConnection {
    /// Folder that relative paths start from. When it is given, no path may lead out of it. Default: the folder that
    /// Weir was started in, without that limit.
    pub root: Option<String>,
}

/// Connection of the `s3` connector: AWS, MinIO, R2, Ceph and every other S3.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct S3Connection {
    /// Address of the service, `http://minio:9000`. Default: AWS. `http://` switches TLS off.
    #[schemars(extend("x-weir-aliases" = ["endpoint_url", "url"]))]
    pub endpoint: Option<String>,
    /// The bucket. Default: the first part of the path (`s3://bucket/…` or `bucket/…`).
    pub bucket: Option<String>,
    /// The bucket's region. Default: `AWS_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// Access key. Default: the environment (`AWS_ACCESS_KEY_ID`, web identity, container or instance role); with an `endpoint` and nothing in the
    /// environment, requests are anonymous.
    #[schemars(extend("x-weir-aliases" = ["access_key_id", "aws_access_key_id"]))]
    pub access_key: Option<String>,
    /// Secret of the access key.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["secret_access_key", "aws_secret_access_key"]))]
    pub secret_key: Option<Secret>,
    /// Token of temporary credentials.
    #[schemars(with = "Option<String>", extend("x-weir-secret" = true, "x-weir-aliases" = ["aws_session_token", "token"]))]
    pub session_token: Option<Secret>,
    /// Send no credentials at all (public buckets).
    pub anonymous: bool,
    /// `endpoint/bucket/key` (true) or `bucket.endpoint/key` (false). Default: true with an `endpoint`, false on AWS.
    pub path_style: Option<bool>,
}

/// What happens when a file that an earlier run has taken looks different now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangedFiles {
    /// The run stops and names the file.
    #[default]
    Error,
    /// The whole file is read again: with `write_mode: upsert` this corrects rows, with `append` it adds them once more.
    Reread,
    /// The file is left alone.
    Ignore,
}

/// Source options of `file` and `s3`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileSource {
    /// A file, a folder, or a glob: `data/*.csv`, `lake/**/*.parquet`, `in/{jan,feb}.json.gz`. A folder means every file below it. Names that begin with
    /// `_` or `.` are skipped unless they are named.
    #[schemars(extend("x-weir-aliases" = ["file", "table", "prefix"]))]
    pub path: Option<String>,
    /// Several of them; `!` in front excludes.
    #[schemars(extend("x-weir-aliases" = ["files", "tables"]))]
    pub paths: Vec<String>,
    /// Several streams from one node: name → path. Excludes `path` and `paths`.
    pub streams: BTreeMap<String, String>,
    /// Name of the stream. Default: the last folder of the path that is not a glob, or the file's name without endings.
    pub stream: Option<String>,
    /// Layout of the rows. Default: by the ending of the files' names.
    pub format: Option<Format>,
    /// Compression of text files. Default: by the first bytes and the ending.
    pub compression: Compression,
    /// Dialect of CSV and TSV files; what is not given is found by looking.
    pub csv: CsvOptions,
    /// How JSON and NDJSON are read.
    pub json: JsonOptions,
    /// Types of columns by name, `{zip: string, amount: "decimal(15,2)", seen: timestamptz}`; the others are inferred or come from the file.
    pub columns: BTreeMap<String, String>,
    /// Folders named `key=value` become columns. Default: yes when every file has them. With `false` they are only folders.
    #[schemars(extend("x-weir-aliases" = ["hive_partitioning"]))]
    pub partitioned: Option<bool>,
    /// With `mode: incremental`: only files that no committed run has taken yet.
    pub new_files_only: bool,
    /// With `new_files_only`: what to do when a file that was taken has changed: `error`, `reread`, `ignore`.
    pub changed_files: ChangedFiles,
    /// Column by which `mode: incremental` reads only what is new (every file is still read; for files that never change
    /// use `new_files_only`).
    pub cursor: Option<String>,
    /// How far behind the cursor late rows are looked for, `5m`.
    pub lag: Option<String>,
    /// How many files to look into for names and types of text and JSON files (spread over the list). 0 = all.
    pub schema_sample_files: Option<usize>,
    /// About how many bytes of a file make one split, `64MiB`. Default: from the sizes and the number of cores.
    #[schemars(with = "Option<String>")]
    pub split_size: Option<Size>,
}

/// What a sink writes: a format of rows, or Debezium's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkFormat {
    /// See [`Format`].
    Csv,
    /// See [`Format`].
    Tsv,
    /// See [`Format`].
    Json,
    /// See [`Format`].
    Ndjson,
    /// See [`Format`].
    Parquet,
    /// See [`Format`].
    Avro,
    /// See [`Format`].
    Orc,
    /// `mode: cdc`: Debezium's envelope in JSON, a line `{"key": …, "value": …}` per message.
    Debezium,
}

impl SinkFormat {
    /// The layout of the files.
    pub fn rows(self) -> Format {
        match self {
            Self::Csv => Format::Csv,
            Self::Tsv => Format::Tsv,
            Self::Json => Format::Json,
            Self::Ndjson | Self::Debezium => Format::Ndjson,
            Self::Parquet => Format::Parquet,
            Self::Avro => Format::Avro,
            Self::Orc => Format::Orc,
        }
    }
}

/// Sink options of `file` and `s3`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileSink {
    /// The folder to write to, with `{stream}`, `{date}` (UTC, when the run began) and `{tenant}`. A path that ends like a
    /// file (`out.csv`, `out.parquet`) and has no `partition_by` is written as that one file.
    ///
    /// With `mode: cdc` also `{connector}` (the pipeline), `{schema}` and `{table}`; and a path that ends with `{message-id}.json` is one file per
    /// message, below folders of `{year}`, `{month}`, `{day}` and `{hour}` of its commit (UTC).
    #[schemars(extend("x-weir-aliases" = ["file", "table", "prefix"]))]
    pub path: String,
    /// Layout of the rows. Default: by the ending of the path, else `parquet`. `debezium` (with `mode: cdc`) writes Debezium's envelope, and is the default
    /// with `{message-id}` in the path.
    #[schemars(extend("x-weir-aliases" = ["file_format"]))]
    pub format: Option<SinkFormat>,
    /// How Debezium's envelope is written.
    pub debezium: DebeziumOptions,
    /// Compression. Default: zstd for Parquet, Avro and ORC, none for text (or by the ending of the path).
    pub compression: Compression,
    /// How CSV and TSV are written.
    pub csv: CsvWriteOptions,
    /// How Parquet is written.
    pub parquet: ParquetOptions,
    /// How Avro is written.
    pub avro: AvroOptions,
    /// How ORC is written.
    pub orc: OrcOptions,
    /// Folders to divide the rows into, outermost first: a column (`country`), a part of a date or timestamp column (`year(c)`, `month(c)`, `day(c)`,
    /// `hour(c)`), or a bare `year`, `month`, `day`, `hour`: of the cursor column, else of the time when the run began (a column of that
    /// name wins). With `mode: cdc` and `upsert` columns only: a row whose value changes moves to the other folder.
    pub partition_by: Vec<String>,
    /// Files are closed when they have about this size. Default: `128MiB`; `32MiB` with `mode: cdc` and `upsert`, which writes whole files for a change.
    #[schemars(with = "Option<String>")]
    pub target_file_size: Option<Size>,
    /// Files that one lane keeps open at the same time; with more partitions than that the largest is closed. Default: 64.
    pub max_open_files: Option<usize>,
    /// Bytes that one lane may hold in files that are not finished; beyond it the largest is closed. Default: `128MiB`.
    #[schemars(with = "Option<String>")]
    pub max_buffer: Option<Size>,
    /// How rows enter: `append`, `overwrite`, `upsert` (Parquet only: the files are rewritten at commit). With `mode: cdc`: `append`, every change is a
    /// row, with `_op`, `_source_ts`, `_position`, `_absent` and `_seq`; or `upsert`, the files hold the table as it is now (Parquet only).
    pub write_mode: WriteMode,
    /// Columns that identify a row, for `upsert`.
    #[schemars(extend("x-weir-aliases" = ["primary_key", "keys"]))]
    pub key: Vec<String>,
    /// With `mode: cdc` and `append`: `hard` writes a row for a delete, `ignore` none. With `upsert`: the row goes away, is marked in a column `_deleted`
    /// (`soft`), or stays.
    pub delete_mode: DeleteMode,
    /// With `mode: cdc`: files become visible after so many seconds at the latest, however few changes there are (0: at once). Default: 60.
    pub roll_secs: Option<u64>,
    /// With `mode: cdc`: and when they have this many changes, or `target_file_size`. Default: 1,000,000.
    pub roll_rows: Option<u64>,
    /// With `mode: cdc` and `upsert`: how long content that a flush replaced is kept for those who are reading it. Default: 300.
    pub keep_replaced_secs: Option<u64>,
    /// With `overwrite`: also delete files of the same format that Weir did not write.
    pub overwrite_foreign: bool,
}

/// A number of bytes: `64MiB`, `1.5 GB`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(
    /// Bytes.
    pub u64,
);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let value = serde_json::Value::deserialize(deserializer)?;
        let size = match &value {
            serde_json::Value::Number(number) => number.as_u64(),
            serde_json::Value::String(text) => parse_size(text),
            _ => None,
        };
        size.filter(|&size| size > 0)
            .map(Size)
            .ok_or_else(|| D::Error::custom(format!("{value} is not a size; sizes are written like 64MiB, 500 kB or 1048576")))
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..split].parse().ok()?;
    let unit: f64 = match text[split..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1048576.0,
        "gib" => 1073741824.0,
        _ => return None,
    };
    Some((number * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_both_kinds_of_units() {
        for (text, bytes) in [("64MiB", 67_108_864), ("1.5 GB", 1_500_000_000), ("4096", 4096), ("10kb", 10_000)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "12 parsecs", "-1MB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let connection: S3Connection = serde_json::from_str(r#"{"access_key": "weir", "secret_key": "hunter2"}"#).unwrap();
        assert!(!format!("{connection:?}").contains("hunter2"));
    }
}
