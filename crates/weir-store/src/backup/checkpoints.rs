//! Checkpoints of the platform's runs in a backup. On PostgreSQL they are in the schema `weir_state` of the same database, so they are dumped
//! in the same state as everything else. The tables are the engine's: what they are called and hold is asked of the database, and a
//! backup is restored into tables that the engine has made.

use weir_error::{Error, Kind, Result};

use crate::backend::{Tx, args};

/// What to do with checkpoints that a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoints {
    /// They are restored. The database must have the schema `weir_state`, empty.
    Restore,
    /// They stay out: runs that had not ended begin anew, and cursors are forgotten.
    Leave,
}

/// The schema.
pub(super) const SCHEMA: &str = "weir_state.";

/// The tables of the database at hand and their version; `None` where there are none.
pub(super) struct State {
    /// The version that the engine gave them.
    pub(super) version: i64,
    /// `weir_state.run`, …, without the table of the version.
    pub(super) tables: Vec<String>,
}

impl State {
    pub(super) async fn of(tx: &mut Tx) -> Result<Option<Self>> {
        if let Tx::Sqlite(_) = tx {
            return Ok(None);
        }
        let rows = tx
            .fetch_all(
                "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = 'weir_state' ORDER BY table_name",
                args![],
            )
            .await?;
        let mut tables = rows.iter().map(|row| Ok(format!("{SCHEMA}{}", row.columns().text()?))).collect::<Result<Vec<_>>>()?;
        let all = tables.len();
        tables.retain(|table| table != "weir_state.meta");
        if tables.len() == all {
            return Ok(None);
        }
        let version = tx.fetch_optional("SELECT version FROM weir_state.meta", args![]).await?;
        Ok(version.map(|row| row.columns().int()).transpose()?.map(|version| Self { version, tables }))
    }

    /// That tables of that version can be restored here, and that nothing is in the way.
    pub(super) async fn may_take(&self, tx: &mut Tx, version: i64) -> Result<()> {
        if version > self.version {
            return Err(Error::new("WEIR-STORE-005", Kind::Unsupported, "the backup was made by a newer version of weir")
                .because(format!("its checkpoints are of version {version}, this program knows {}", self.version)));
        }
        for table in &self.tables {
            let one = tx.fetch_optional(format!("SELECT CAST(1 AS BIGINT) FROM {table} LIMIT 1"), args![]).await?;
            if one.is_some() {
                return Err(Error::new("WEIR-STORE-008", Kind::Conflict, "the database to be restored is not empty")
                    .because(format!("there are rows in {table}"))
                    .hint("name an empty PostgreSQL database in DATABASE_URL"));
            }
        }
        Ok(())
    }

    /// Numbers that the database gives go on after those that were restored.
    pub(super) async fn renumber(&self, tx: &mut Tx) -> Result<()> {
        let counted = tx
            .fetch_all(
                "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns \
                 WHERE table_schema = 'weir_state' AND is_identity = 'YES'",
                args![],
            )
            .await?;
        for row in counted {
            let mut columns = row.columns();
            let (table, column) = (format!("{SCHEMA}{}", columns.text()?), columns.text()?);
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence($1, $2), coalesce(max({column}), 1), max({column}) IS NOT NULL) FROM {table}"
            );
            tx.fetch_optional(sql, args![table, column]).await?;
        }
        Ok(())
    }
}

/// A backup with checkpoints, and no place for them.
pub(super) fn no_place(place: String) -> Error {
    Error::new(
        "WEIR-STORE-015",
        Kind::Unsupported,
        "the backup holds checkpoints of runs, and this database has no place for them",
    )
    .at(place)
    .because("they were in a PostgreSQL; a platform with SQLite keeps them in the jobs' folders")
    .hint("restore into PostgreSQL, or leave them out with --without-checkpoints: unfinished runs then begin anew")
}
