//! PostgreSQL: one pool, prepared statements cached per connection.

use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, Postgres};
use weir_error::{Error, Kind, Result};

use super::Sql;
use super::value::{self, Row, Value};
use crate::fault;

/// Connections that one process holds at most.
const CONNECTIONS: u32 = 16;

pub(super) async fn open(url: &str) -> Result<PgPool> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| {
            Error::new("WEIR-STORE-004", Kind::Spec, "DATABASE_URL is not a PostgreSQL URL")
                .hint("postgres://user:password@host:5432/database?sslmode=require; escape special characters as %XX")
        })?
        .application_name("weir")
        .disable_statement_logging();
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(15))
        .idle_timeout(Duration::from_secs(300))
        .connect_with(options)
        .await
        .map_err(fault::database)
}

pub(super) fn execute<'a>(
    on: impl Executor<'a, Database = Postgres> + 'a,
    sql: Sql,
    values: Vec<Value>,
) -> BoxFuture<'a, Result<u64>> {
    Box::pin(async move {
        let query = sqlx::query_with(AssertSqlSafe(sql), value::postgres(values)?);
        Ok(on.execute(query).await.map_err(fault::database)?.rows_affected())
    })
}

pub(super) fn fetch_all<'a>(
    on: impl Executor<'a, Database = Postgres> + 'a,
    sql: Sql,
    values: Vec<Value>,
) -> BoxFuture<'a, Result<Vec<Row>>> {
    Box::pin(async move {
        let query = sqlx::query_with(AssertSqlSafe(sql), value::postgres(values)?);
        Ok(on.fetch_all(query).await.map_err(fault::database)?.into_iter().map(Row::Postgres).collect())
    })
}

pub(super) fn fetch_optional<'a>(
    on: impl Executor<'a, Database = Postgres> + 'a,
    sql: Sql,
    values: Vec<Value>,
) -> BoxFuture<'a, Result<Option<Row>>> {
    Box::pin(async move {
        let query = sqlx::query_with(AssertSqlSafe(sql), value::postgres(values)?);
        Ok(on.fetch_optional(query).await.map_err(fault::database)?.map(Row::Postgres))
    })
}

pub(super) fn script<'a>(on: impl Executor<'a, Database = Postgres> + 'a, sql: &'static str) -> BoxFuture<'a, Result<()>> {
    Box::pin(async move { on.execute(sqlx::raw_sql(sql)).await.map(drop).map_err(fault::database) })
}
