//! The three suites: what their source is, which pipeline runs, how their target is read without Weir.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use bytes::Bytes;

use super::rows::{hex, parquet_rows};
use super::visible_files;
use crate::{Bucket, Database, Minio, PostgresServer, seeds};

/// The pipelines' name.
pub(super) const PIPELINE: &str = "crash";

/// Which pair of systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// PostgreSQL → Parquet files.
    PgParquet,
    /// PostgreSQL → PostgreSQL, appended.
    PgPg,
    /// CSV files → Parquet in S3.
    CsvS3,
}

impl Suite {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::PgParquet, Self::PgPg, Self::CsvS3];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::PgParquet => "pg-parquet",
            Self::PgPg => "pg-pg",
            Self::CsvS3 => "csv-s3",
        }
    }

    /// The suite of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }
}

const PG_COLUMNS: [&str; 11] = ["id", "customer", "amount", "rate", "ok", "label", "raw", "day", "local_time", "at", "tag"];
const CSV_COLUMNS: [&str; 5] = ["id", "score", "label", "ok", "big"];

/// The servers and the source of one suite.
pub(super) struct Scene {
    suite: Suite,
    rows: Vec<String>,
    database: Option<(Database, PostgresServer)>,
    bucket: Option<(Bucket, Minio)>,
    dir: tempfile::TempDir,
}

impl Scene {
    /// Starts the servers and makes a source of `rows` rows.
    pub(super) fn set(suite: Suite, rows: u64) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("weir-crash-source-").tempdir()?;
        let mut scene = Self { suite, rows: Vec::new(), database: None, bucket: None, dir };
        match suite {
            Suite::PgParquet | Suite::PgPg => {
                let server = PostgresServer::shared()?;
                let database = server.create_database()?;
                database.execute(seeds::postgres_table("source", rows))?;
                database.execute("VACUUM (ANALYZE) source")?;
                scene.rows = table_rows(&database, "source")?;
                scene.database = Some((database, server));
            }
            Suite::CsvS3 => {
                scene.rows = write_csv(&scene.dir.path().join("in"), rows)?;
                let minio = Minio::shared()?;
                scene.bucket = Some((minio.create_bucket()?, minio));
            }
        }
        if scene.rows.len() as u64 != rows {
            bail!("the source has {} rows instead of {rows}", scene.rows.len());
        }
        Ok(scene)
    }

    pub(super) fn source_rows(&self) -> &[String] {
        &self.rows
    }

    /// The pipeline that fills `target`.
    pub(super) fn pipeline(&self, target: &str, dir: &Path) -> String {
        let mut text = format!("pipeline: {PIPELINE}\nmode: batch\ncheckpoint_interval_ms: 100\n");
        if let Some((database, _)) = &self.database {
            let _ = writeln!(text, "source: {{postgres: {{url: \"{}\", table: public.source, split_mib: 1}}}}", database.url());
        } else {
            let _ = writeln!(
                text,
                "source: {{file: {{path: \"{}/*.csv\", stream: source, split_size: 256KiB}}}}",
                self.dir.path().join("in").display()
            );
        }
        match (self.suite, &self.database, &self.bucket) {
            (Suite::PgPg, Some((database, _)), _) => {
                let _ = writeln!(
                    text,
                    "sink: {{postgres: {{url: \"{}\", table: public.{target}, write_mode: append}}}}\ndelivery: exactly_once",
                    database.url()
                );
            }
            (Suite::CsvS3, _, Some((bucket, minio))) => {
                let (endpoint, access, secret) = (minio.endpoint(), minio.access_key(), minio.secret_key());
                let _ = writeln!(
                    text,
                    "sink: {{s3: {{endpoint: \"{endpoint}\", bucket: {}, region: {}, access_key: {access}, secret_key: {secret}, path: {target}, \
                     format: parquet, write_mode: append, target_file_size: 1MiB}}}}",
                    bucket.name(),
                    minio.region()
                );
            }
            _ => {
                let path = dir.join(target);
                let _ = writeln!(
                    text,
                    "sink: {{file: {{path: \"{}\", format: parquet, write_mode: append, target_file_size: 2MiB}}}}",
                    path.display()
                );
            }
        }
        text
    }

    /// The rows of `target`, sorted.
    pub(super) fn read_target(&self, target: &str, dir: &Path) -> Result<Vec<String>> {
        let mut rows = Vec::new();
        match (self.suite, &self.database, &self.bucket) {
            (Suite::PgPg, Some((database, _)), _) => return table_rows(database, target),
            (Suite::CsvS3, _, Some((bucket, _))) => {
                for key in bucket.keys(target)? {
                    if key.split('/').any(|part| part.starts_with(['.', '_'])) {
                        continue;
                    }
                    parquet_rows(Bytes::from(bucket.get(&key)?), &CSV_COLUMNS, &mut rows)?;
                }
            }
            _ => {
                for file in visible_files(&dir.join(target))? {
                    parquet_rows(Bytes::from(fs::read(file)?), &PG_COLUMNS, &mut rows)?;
                }
            }
        }
        rows.sort_unstable();
        Ok(rows)
    }
}

/// The canonical rows of a table, said by PostgreSQL itself, sorted bytewise.
fn table_rows(database: &Database, table: &str) -> Result<Vec<String>> {
    let micros = |column: &str| format!("(extract(epoch from {column}) * 1000000)::bigint::text");
    let hexed = |column: &str| format!("encode(convert_to({column}, 'UTF8'), 'hex')");
    let cells = [
        "id::text".to_owned(),
        "customer::text".to_owned(),
        "trim_scale(amount)::text".to_owned(),
        "encode(float8send(rate), 'hex')".to_owned(),
        "ok::text".to_owned(),
        hexed("label"),
        "encode(raw, 'hex')".to_owned(),
        "(day - date '1970-01-01')::text".to_owned(),
        micros("local_time"),
        micros("at"),
        "replace(tag::text, '-', '')".to_owned(),
    ];
    let line = cells.map(|cell| format!("coalesce({cell}, '~')")).join(", ");
    let answer = database.rows(format!("SELECT concat_ws('|', {line}) FROM {table}"))?;
    let mut rows: Vec<String> = answer.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
    rows.sort_unstable();
    Ok(rows)
}

/// Four files with quotes, line ends and other alphabets in their texts; gives their canonical rows, sorted.
fn write_csv(dir: &Path, rows: u64) -> Result<Vec<String>> {
    fs::create_dir_all(dir)?;
    let mut canonical = Vec::new();
    for part in 0..4_u64 {
        let mut text = format!("{}\n", CSV_COLUMNS.join(","));
        for id in (1..=rows).filter(|id| id % 4 == part) {
            let score = (id as f64).sqrt() / 3.0 + 0.125;
            let label = format!("{}{id}", seeds::AWKWARD_TEXTS[usize::try_from(id % 14)?]);
            let (ok, big) = (id % 3 == 0, id.wrapping_mul(6_364_136_223_846_793_005) % 1_000_000_000_000_000);
            let big_cell = if id % 7 == 0 { String::new() } else { big.to_string() };
            let _ = writeln!(text, "{id},{score:?},\"{}\",{ok},{big_cell}", label.replace('"', "\"\""));
            let big_row = if id % 7 == 0 { "~".to_owned() } else { big.to_string() };
            canonical.push(format!("{id}|{:016x}|{}|{ok}|{big_row}", score.to_bits(), hex(label.as_bytes())));
        }
        fs::write(dir.join(format!("part-{part}.csv")), text)?;
    }
    canonical.sort_unstable();
    Ok(canonical)
}
