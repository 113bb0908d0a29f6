//! The metadata database: tenants, jobs, runs, connections, audit, outbox, on SQLite or PostgreSQL.
//!
//! * [`model`]: what is stored, as plain types;
//! * [`scope`]: who asks: a [`TenantScope`] opens a tenant's repositories, so that a query without a tenant does not compile;
//! * [`Store`]: opens and migrates a database; [`System`] is what the platform itself may do across tenants.
//!
//! A change, its audit row and its outbox event are one transaction; every method that writes says which events it makes. What is not here:
//! decisions (weir-control), HTTP (weir-server), the checkpoints of a run (weir-engine keeps them beside the data).
#![deny(missing_docs)]

mod backend;
mod backup;
mod chain;
mod fault;
pub mod model;
mod page;
pub mod scope;
pub mod system;
pub mod tenant;
mod writer;

use std::path::Path;

use weir_error::{Result, Secret};

use backend::{Backend, Migrations, SCHEMA_VERSION, args};
pub use backup::Checkpoints;
pub use scope::{Actor, TenantScope};
pub use system::System;
pub use tenant::TenantStore;

/// An open database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    backend: Backend,
}

impl Store {
    /// Opens `sqlite:PATH` or `postgres://…`, creates it if it is not there (SQLite) and brings it to this version's schema. A SQLite file
    /// is copied to `<data_dir>/backups` first if a migration is due. A database of a newer version is `WEIR-STORE-005`.
    ///
    /// SQLite is safe against `kill -9` at any moment; a power cut may lose the last commits unless `WEIR_SQLITE_SYNCHRONOUS=FULL`.
    pub async fn open(url: &Secret, data_dir: &Path) -> Result<Self> {
        let backend = Backend::connect(url).await?;
        migrate(&backend, &Migrations::of(&backend), data_dir).await?;
        Ok(Self { backend })
    }

    /// The version of a database's schema, 0 = empty, and the version of this program. Migrates nothing; a SQLite file that is
    /// not there is made, with the table of versions alone.
    pub async fn schema_versions(url: &Secret) -> Result<(i64, i64)> {
        let backend = Backend::connect(url).await?;
        Ok((Migrations::of(&backend).version().await?, SCHEMA_VERSION))
    }

    /// A tenant's repositories.
    pub fn tenant(&self, scope: &TenantScope) -> TenantStore {
        TenantStore { backend: self.backend.clone(), scope: scope.clone() }
    }

    /// What the platform may do across tenants.
    pub fn system(&self) -> System {
        System { backend: self.backend.clone() }
    }

    /// Writes a backup to a new file, in one state, while others go on. SQLite: a copy of the database. PostgreSQL: as [`Store::dump`], the
    /// checkpoints of runs in the schema `weir_state` among it.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        match self.backend.file() {
            Some(_) => backup::copy(&self.backend, to).await,
            None => self.dump(to).await,
        }
    }

    /// Writes all tables as JSON lines to a new file, in one state; either database can be restored from it.
    pub async fn dump(&self, to: &Path) -> Result<()> {
        backup::dump(&self.backend, to).await
    }

    /// Fills an empty database from a backup or dump of either kind, and opens it. A database with a tenant in it is `WEIR-STORE-008`, a
    /// damaged file `WEIR-STORE-009`; then nothing was written. Checkpoints of runs that it holds and the database has no place for are
    /// `WEIR-STORE-015`, unless they are to be left out.
    pub async fn restore(url: &Secret, data_dir: &Path, from: &Path, checkpoints: Checkpoints) -> Result<Self> {
        backup::restore(url, data_dir, from, checkpoints).await?;
        Self::open(url, data_dir).await
    }

    /// One cheap query.
    pub async fn ready(&self) -> Result<()> {
        self.backend.fetch_optional("SELECT version FROM schema_versions LIMIT 1", args![]).await.map(drop)
    }
}

/// Brings a database to the newest schema; SQLite is copied first if there is something to lose.
async fn migrate(backend: &Backend, migrations: &Migrations<'_>, data_dir: &Path) -> Result<()> {
    let version = migrations.version().await?;
    if version > 0 && version < migrations.newest() && backend.file().is_some() {
        backup::before_migration(backend, version, data_dir).await?;
    }
    migrations.up_to(migrations.newest()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawnable<T: Send + 'static>(_: impl Fn(Store) -> T) {}

    /// Servers spawn what is built upon these.
    #[test]
    fn futures_can_be_sent_to_other_threads() {
        let scope = || TenantScope::granted("t".into(), Actor::system("test"));
        spawnable(move |store: Store| async move {
            let job = store.tenant(&scope()).job(&"j".into()).await?;
            store.tenant(&scope()).update_job(&job.id, None, job.body.clone(), "", None).await?;
            let _ = store.system().claim_run("w", std::time::Duration::from_secs(1)).await?;
            store.system().audit_verify(None).await?;
            store.system().sweep(chrono::Utc::now()).await?;
            store.system().claim_deliveries(&["pulsar"], "w", std::time::Duration::from_secs(1), 1).await?;
            store.backup(Path::new("x")).await
        });
    }

    async fn sqlite(dir: &Path) -> Backend {
        Backend::connect(&Secret::new(format!("sqlite:{}", dir.join("weir.db").display()))).await.unwrap()
    }

    const FIRST: backend::Step = ("first", "CREATE TABLE a (x BIGINT NOT NULL)", "");

    #[tokio::test]
    async fn a_migration_copies_the_file_first_and_keeps_the_rows() {
        let dir = tempfile::tempdir().unwrap();
        let backend = sqlite(dir.path()).await;
        migrate(&backend, &Migrations::with(&backend, &[FIRST]), dir.path()).await.unwrap();
        backend.execute("INSERT INTO a (x) VALUES ($1)", args![7_i64]).await.unwrap();
        assert!(!dir.path().join("backups").exists(), "a new database is not copied");
        const SECOND: backend::Step =
            ("second", "ALTER TABLE a ADD COLUMN y BIGINT NOT NULL DEFAULT 1; CREATE TABLE b (z BIGINT)", "");
        for _ in 0..2 {
            migrate(&backend, &Migrations::with(&backend, &[FIRST, SECOND]), dir.path()).await.unwrap();
        }
        let row = backend.fetch_optional("SELECT x, y FROM a", args![]).await.unwrap().unwrap();
        let mut columns = row.columns();
        assert_eq!((columns.int().unwrap(), columns.int().unwrap()), (7, 1));
        let copies: Vec<_> = std::fs::read_dir(dir.path().join("backups")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(copies.len(), 1, "one copy for one migration");
        let copy = Backend::connect(&Secret::new(format!("sqlite:{}", copies[0].display()))).await.unwrap();
        assert_eq!(Migrations::with(&copy, &[FIRST]).version().await.unwrap(), 1);
        assert!(copy.fetch_optional("SELECT x FROM a WHERE x = 7", args![]).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_migration_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let backend = sqlite(dir.path()).await;
        migrate(&backend, &Migrations::with(&backend, &[FIRST]), dir.path()).await.unwrap();
        const BROKEN: backend::Step = ("broken", "DROP TABLE a; CREATE TABLE c (z BIGINT); INSERT INTO nowhere VALUES (1)", "");
        let failed = migrate(&backend, &Migrations::with(&backend, &[FIRST, BROKEN]), dir.path()).await.unwrap_err();
        assert_eq!(failed.place(), Some("migration 0002_broken"));
        assert_eq!(Migrations::with(&backend, &[FIRST]).version().await.unwrap(), 1);
        backend.execute("INSERT INTO a (x) VALUES ($1)", args![7_i64]).await.unwrap();
    }
}
