//! Backups: a copy of SQLite's file, or a dump of all tables as JSON lines that either database can be restored from.
//!
//! A dump's first line says what it is and of which schema; then for each table a line with its columns and one array a row; the last line
//! counts the rows, so that a dump cut short is noticed. Numbers are JSON numbers, fractions and bytes (base64) are JSON strings.

mod checkpoints;
mod dump;
mod restore;

use std::path::{Path, PathBuf};

use weir_error::{Error, Kind, Result};

use crate::backend::{Backend, Tx, args};
pub use checkpoints::Checkpoints;
pub(crate) use dump::dump;
pub(crate) use restore::restore;

/// All tables, each after those that it refers to.
const TABLES: &[&str] = &[
    "tenants",
    "heads",
    "principals",
    "tokens",
    "jobs",
    "job_versions",
    "job_uses",
    "runs",
    "run_logs",
    "usage_days",
    "connections",
    "secrets",
    "alert_rules",
    "alerts",
    "silences",
    "metric_points",
    "drifts",
    "stream_schemas",
    "audit",
    "outbox",
    "subscriptions",
    "outbox_cursors",
    "deliveries",
    "inbox",
    "idempotency",
    "run_totals",
];

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Float,
    Text,
    Bytes,
}

/// The columns of a table, in its order. The name is one of [`TABLES`], or comes from the database.
async fn columns_of(tx: &mut Tx, table: &str) -> Result<Vec<(String, Type)>> {
    let (schema, name) = match table.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, table),
    };
    let (sql, values) = match tx {
        Tx::Sqlite(_) => ("SELECT name, lower(type) FROM pragma_table_info($1) ORDER BY cid", args![name]),
        Tx::Postgres(_) => (
            "SELECT CAST(column_name AS TEXT), CAST(data_type AS TEXT) FROM information_schema.columns \
             WHERE table_schema = coalesce($2, CAST(current_schema() AS TEXT)) AND table_name = $1 ORDER BY ordinal_position",
            args![name, schema],
        ),
    };
    let rows = tx.fetch_all(sql, values).await?;
    rows.iter()
        .map(|row| {
            let mut columns = row.columns();
            let name = columns.text()?;
            let kind = match columns.str()? {
                "bigint" => Type::Int,
                "double precision" => Type::Float,
                "text" => Type::Text,
                "blob" | "bytea" => Type::Bytes,
                other => return Err(Error::internal(format!("column {table}.{name} is of type {other}"))),
            };
            Ok((name, kind))
        })
        .collect()
}

/// Copies SQLite's file.
pub(crate) async fn copy(backend: &Backend, to: &Path) -> Result<()> {
    new_file(to)?;
    backend.copy_to(to).await.map_err(|error| error.at(to.display().to_string()))?;
    private(to)
}

/// Copies SQLite's file before it is migrated.
pub(crate) async fn before_migration(backend: &Backend, version: i64, data_dir: &Path) -> Result<PathBuf> {
    let folder = data_dir.join("backups");
    std::fs::create_dir_all(&folder).map_err(|error| Error::from(error).at(folder.display().to_string()))?;
    let at = chrono::Utc::now().format("%Y%m%dT%H%M%S%.6fZ");
    let to = folder.join(format!("weir-schema{version}-{at}.db"));
    copy(backend, &to).await?;
    tracing::info!(path = %to.display(), "database copied before its migration");
    Ok(to)
}

fn new_file(to: &Path) -> Result<()> {
    if to.exists() {
        return Err(Error::new("WEIR-STORE-013", Kind::Conflict, "the file is there already")
            .at(to.display().to_string())
            .hint("name a new file; backups are never overwritten"));
    }
    Ok(())
}

/// A backup holds the hashes of tokens and sealed secrets.
fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, mode).map_err(|error| Error::from(error).at(path.display().to_string()))
}
