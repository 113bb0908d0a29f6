//! Bringing a database to this version's schema: forward only, each step in a transaction of its own.

use weir_error::{Error, Kind, Result};

use super::{Backend, Turn, args, now};

/// The steps, oldest first: name, SQLite, PostgreSQL. The number is the place in the list, from 1. A step that was released is never changed.
const STEPS: &[Step] = &[
    ("start", include_str!("../../migrations/sqlite/0001_start.sql"), include_str!("../../migrations/postgres/0001_start.sql")),
    (
        "run_totals",
        include_str!("../../migrations/sqlite/0002_run_totals.sql"),
        include_str!("../../migrations/postgres/0002_run_totals.sql"),
    ),
    (
        "points_by_time",
        include_str!("../../migrations/sqlite/0003_points_by_time.sql"),
        include_str!("../../migrations/postgres/0003_points_by_time.sql"),
    ),
];

/// Name, SQLite, PostgreSQL.
pub(crate) type Step = (&'static str, &'static str, &'static str);

/// The schema's version of this program.
pub(crate) const CURRENT: i64 = STEPS.len() as i64;

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)";

/// Migrations of one database.
pub(crate) struct Migrations<'a> {
    backend: &'a Backend,
    steps: &'static [Step],
}

impl<'a> Migrations<'a> {
    pub(crate) fn of(backend: &'a Backend) -> Self {
        Self { backend, steps: STEPS }
    }

    /// Other steps than those of this program.
    #[cfg(test)]
    pub(crate) fn with(backend: &'a Backend, steps: &'static [Step]) -> Self {
        Self { backend, steps }
    }

    /// The newest version that it knows.
    pub(crate) fn newest(&self) -> i64 {
        self.steps.len() as i64
    }

    /// The version of what is there; 0 = an empty database. A newer one than this program's is an error.
    pub(crate) async fn version(&self) -> Result<i64> {
        let mut tx = self.backend.begin().await?;
        tx.turn(Turn::Migrate).await?;
        tx.execute(TABLE, args![]).await?;
        let row = tx.fetch_optional("SELECT coalesce(max(version), 0) FROM schema_versions", args![]).await?;
        let version = row.ok_or_else(|| Error::internal("an aggregate without a row"))?.columns().int()?;
        tx.commit().await?;
        if version > self.newest() {
            return Err(Error::new("WEIR-STORE-005", Kind::Unsupported, "the database was made by a newer version of weir")
                .because(format!("its schema is {version}, this program knows {}", self.newest()))
                .hint("use the newer program, or restore a backup made before the upgrade"));
        }
        Ok(version)
    }

    /// Brings the database to `target`. Several processes may do so at once: each step is done by one of them.
    pub(crate) async fn up_to(&self, target: i64) -> Result<()> {
        let mut version = self.version().await?;
        for (number, (name, sqlite, postgres)) in (1_i64..).zip(self.steps).take_while(|(number, _)| *number <= target) {
            if number <= version {
                continue;
            }
            let mut tx = self.backend.begin().await?;
            tx.turn(Turn::Migrate).await?;
            let done = tx.fetch_optional("SELECT version FROM schema_versions WHERE version = $1", args![number]).await?;
            if done.is_none() {
                let script = match self.backend {
                    Backend::Sqlite(_) => sqlite,
                    Backend::Postgres(_) => postgres,
                };
                tx.script(script).await.map_err(|error| error.at(format!("migration {number:04}_{name}")))?;
                tx.execute(
                    "INSERT INTO schema_versions (version, name, applied_at) VALUES ($1, $2, $3)",
                    args![number, *name, now()],
                )
                .await?;
                tx.commit().await?;
                tracing::info!(number, name, "database migrated");
            }
            version = number;
        }
        Ok(())
    }
}
