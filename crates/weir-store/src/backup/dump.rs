//! Writing a dump.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json as object};
use weir_error::{Error, Result};

use super::checkpoints::State;
use super::{TABLES, Type, columns_of, new_file};
use crate::backend::{Backend, Row, SCHEMA_VERSION, Tx, args};

/// The form of the file.
pub(super) const FORMAT: i64 = 1;
/// Rows read at a time.
const CHUNK: i64 = 500;

/// Writes all tables, in one state. The file appears when it is complete.
pub(crate) async fn dump(backend: &Backend, to: &Path) -> Result<()> {
    new_file(to)?;
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    let partial = to.with_file_name(name);
    let at = |error: std::io::Error| Error::from(error).at(to.display().to_string());
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(at)?;
    let written = write_all(backend, BufWriter::new(file)).await;
    let kept = written.and_then(|file| {
        file.sync_all().map_err(at)?;
        fs::rename(&partial, to).map_err(at)
    });
    if kept.is_err() {
        let _ = fs::remove_file(&partial);
    }
    kept
}

async fn write_all(backend: &Backend, mut out: BufWriter<File>) -> Result<File> {
    let mut tx = backend.snapshot().await?;
    let state = State::of(&mut tx).await?;
    let mut head = object!({"weir_dump": FORMAT, "schema": SCHEMA_VERSION, "made_at": chrono::Utc::now()});
    if let Some(state) = &state {
        head["checkpoints"] = state.version.into();
    }
    line(&mut out, &head)?;
    let mut rows = 0_u64;
    let of_state = state.iter().flat_map(|state| &state.tables).map(String::as_str);
    for table in TABLES.iter().copied().chain(of_state) {
        let columns = columns_of(&mut tx, table).await?;
        let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
        line(&mut out, &object!({"table": table, "columns": names}))?;
        let mut scan = Scan::of(&mut tx, table, &names).await?;
        loop {
            let chunk = scan.next(&mut tx).await?;
            if chunk.is_empty() {
                break;
            }
            for row in &chunk {
                line(&mut out, &read(row, &columns)?)?;
            }
            rows += chunk.len() as u64;
        }
        scan.end(&mut tx).await?;
    }
    line(&mut out, &object!({"end": rows}))?;
    out.into_inner().map_err(|error| Error::from(error.into_error()))
}

fn line(out: &mut impl Write, value: &Json) -> Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    out.write_all(b"\n").map_err(Error::from)
}

fn read(row: &Row, columns: &[(String, Type)]) -> Result<Json> {
    let mut taken = row.columns();
    // The number that the scan goes on from.
    taken.opt_int()?;
    let mut values = Vec::with_capacity(columns.len());
    for (_, kind) in columns {
        values.push(match kind {
            Type::Int => taken.opt_int()?.map(Json::from),
            // As text: it reads back as the very same number.
            Type::Float => Some(Json::from(format!("{:?}", taken.float()?))),
            Type::Text => taken.opt_text()?.map(Json::from),
            Type::Bytes => taken.opt_blob()?.map(|bytes| Json::from(STANDARD.encode(bytes))),
        });
    }
    Ok(values.into_iter().map(|value| value.unwrap_or(Json::Null)).collect())
}

/// Reads a table from one end to the other.
enum Scan {
    /// By row number.
    Sqlite { sql: String, after: i64 },
    /// By a cursor of the database, called after the table: each has a statement of its own in the driver's cache.
    Postgres { cursor: String },
}

impl Scan {
    async fn of(tx: &mut Tx, table: &str, columns: &[&str]) -> Result<Self> {
        let columns = columns.join(", ");
        match tx {
            Tx::Sqlite(_) => {
                let sql = format!("SELECT rowid, {columns} FROM {table} WHERE rowid > $1 ORDER BY rowid LIMIT $2");
                Ok(Self::Sqlite { sql, after: i64::MIN })
            }
            Tx::Postgres(_) => {
                let cursor = format!("scan_{}", table.replace('.', "_"));
                let declare = format!("DECLARE {cursor} NO SCROLL CURSOR FOR SELECT CAST(0 AS BIGINT), {columns} FROM {table}");
                tx.execute(declare, args![]).await?;
                Ok(Self::Postgres { cursor })
            }
        }
    }

    async fn next(&mut self, tx: &mut Tx) -> Result<Vec<Row>> {
        match self {
            Self::Sqlite { sql, after } => {
                let rows = tx.fetch_all(sql.clone(), args![*after, CHUNK]).await?;
                if let Some(last) = rows.last() {
                    *after = last.columns().int()?;
                }
                Ok(rows)
            }
            Self::Postgres { cursor } => tx.fetch_all(format!("FETCH {CHUNK} FROM {cursor}"), args![]).await,
        }
    }

    async fn end(self, tx: &mut Tx) -> Result<()> {
        match self {
            Self::Sqlite { .. } => Ok(()),
            Self::Postgres { cursor } => tx.execute(format!("CLOSE {cursor}"), args![]).await.map(drop),
        }
    }
}
