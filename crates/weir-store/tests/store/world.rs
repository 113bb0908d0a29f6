//! A database with two handles on it.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Executor;
use weir_error::{Error, Kind, Secret};
use weir_store::model::*;
use weir_store::{Actor, Store, System, TenantScope, TenantStore};
use weir_testkit::PostgresServer;
use weir_testkit::postgres::Database;

/// Makes each story a test on SQLite and a test on PostgreSQL.
macro_rules! both {
    ($($(#[$attribute:meta])* async fn $name:ident($world:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            async fn story($world: World) $body
            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                story(World::sqlite().await).await;
            }
            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                story(World::postgres().await).await;
            }
        }
    )*};
}
pub(crate) use both;

pub struct World {
    /// One replica.
    pub store: Store,
    /// Another, with connections of its own.
    pub other: Store,
    pub url: Secret,
    pub dir: tempfile::TempDir,
    pub database: Option<Database>,
}

impl World {
    pub async fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = Secret::new(format!("sqlite:{}", dir.path().join("weir.db").display()));
        Self::open(dir, url, None).await
    }

    pub async fn postgres() -> Self {
        let database = PostgresServer::shared().unwrap().create_database().unwrap();
        let url = Secret::new(database.url());
        Self::open(tempfile::tempdir().unwrap(), url, Some(database)).await
    }

    /// A database that holds what the statements make, opened after them.
    pub async fn found(sqlite: Option<&str>, postgres: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if let Some(sql) = sqlite {
            let path = dir.path().join("weir.db");
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
            let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
            connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))).await.unwrap();
            sqlx::Connection::close(connection).await.unwrap();
            return Self::open(dir, Secret::new(format!("sqlite:{}", path.display())), None).await;
        }
        let database = PostgresServer::shared().unwrap().create_database().unwrap();
        database.execute(postgres.unwrap()).unwrap();
        let url = Secret::new(database.url());
        Self::open(dir, url, Some(database)).await
    }

    async fn open(dir: tempfile::TempDir, url: Secret, database: Option<Database>) -> Self {
        let store = Store::open(&url, dir.path()).await.unwrap();
        let other = Store::open(&url, dir.path()).await.unwrap();
        Self { store, other, url, dir, database }
    }

    /// An empty database of the other kind than this one.
    pub fn opposite(&self) -> Secret {
        match self.database {
            Some(_) => Secret::new(format!("sqlite:{}", self.dir.path().join("opposite.db").display())),
            None => Secret::new(PostgresServer::shared().unwrap().create_database().unwrap().url()),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn system(&self) -> System {
        self.store.system()
    }

    /// A new tenant, asked by `ann`.
    pub async fn tenant(&self, id: &str) -> TenantStore {
        self.tenant_with(id, Quotas::default()).await
    }

    pub async fn tenant_with(&self, id: &str, quotas: Quotas) -> TenantStore {
        self.system().create_tenant(&actor(), &id.into(), id, quotas).await.unwrap();
        self.store.tenant(&scope(id))
    }

    /// The same tenant through the other handle.
    pub fn twin(&self, tenant: &TenantStore) -> TenantStore {
        self.other.tenant(tenant.scope())
    }

    /// Statements of somebody with access to the database itself.
    pub async fn raw(&self, sql: &str) -> Result<(), String> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        if self.database.is_some() {
            let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(self.url.expose()).await.unwrap();
            connection.execute(sqlx::raw_sql(sql)).await.map(drop).map_err(|error| error.to_string())
        } else {
            let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(self.url.expose()).await.unwrap();
            connection.execute(sqlx::raw_sql(sql)).await.map(drop).map_err(|error| error.to_string())
        }
    }

    /// The events of a tenant so far, as kinds.
    pub async fn kinds(&self, tenant: &TenantStore) -> Vec<String> {
        tenant.outbox_after(0, 1000).await.unwrap().into_iter().map(|row| row.event.kind).collect()
    }
}

pub fn actor() -> Actor {
    Actor { id: "p-ann".into(), name: "ann".into(), request_id: Some("r-1".into()), trace_id: None }
}

pub fn scope(tenant: &str) -> TenantScope {
    TenantScope::granted(tenant.into(), actor())
}

pub fn page(limit: u32) -> PageRequest {
    PageRequest { limit, cursor: None }
}

/// A plain batch job.
pub fn job(name: &str) -> NewJob {
    NewJob {
        name: name.into(),
        description: Some(format!("moves {name}")),
        spec: format!("pipeline: {name}\n"),
        mode: "batch".into(),
        source_kinds: vec!["file".into()],
        sink_kinds: vec!["postgres".into()],
        connections: Vec::new(),
        schedule: None,
        depends_on: Vec::new(),
        retry: RetryPolicy::default(),
        timeout_secs: Some(60),
        labels: BTreeMap::from([("team".to_owned(), "core".to_owned())]),
    }
}

pub fn hourly() -> Schedule {
    Schedule {
        cron: "0 * * * *".into(),
        timezone: "Europe/Berlin".into(),
        overlap: Overlap::Skip,
        catch_up: CatchUp::Last,
        jitter_secs: 0,
    }
}

pub fn rule(metric: &str) -> NewRule {
    NewRule { metric: metric.into(), threshold: 0.05, window_secs: 300, severity: "warning".into(), action: "none".into() }
}

pub fn manual(job: &JobId) -> NewRun {
    NewRun { job_id: job.clone(), trigger: Trigger::Manual, not_before: Utc::now() }
}

pub fn counts(rows: u64) -> Vec<StreamCounts> {
    vec![StreamCounts {
        name: "s".into(),
        rows_read: rows,
        rows_written: rows,
        bytes_written: rows * 10,
        ..StreamCounts::default()
    }]
}

pub fn ended(status: RunStatus) -> Outcome {
    Outcome { status, retry_at: None, streams: counts(5), report: None, error: None, resources: None }
}

/// A moment, `secs` after a fixed one.
pub fn moment(secs: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 123_456_000).unwrap() + TimeDelta::seconds(secs)
}

pub fn is(error: Error, code: &str, kind: Kind) {
    assert_eq!((error.code(), error.kind()), (code, kind), "{error:?}");
}

pub const LEASE: std::time::Duration = std::time::Duration::from_secs(15);
