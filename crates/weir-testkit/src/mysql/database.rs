//! A database of one's own, with the few blocking calls that seeding and checking need. The client is `mysql_async`, not the connector's.

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};

use crate::blocking::block_on;

/// One database on a test server. It goes with the server; nothing is dropped.
#[derive(Debug, Clone)]
pub struct MysqlDatabase {
    name: String,
    url: String,
}

impl MysqlDatabase {
    pub(super) fn create(admin_url: &str, url: String, name: String) -> Result<Self> {
        execute_at(admin_url, format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))?;
        Ok(Self { name, url })
    }

    /// A database that exists already, by its URL.
    pub fn at(url: impl Into<String>) -> Self {
        let url = url.into();
        let name = url.split('?').next().and_then(|u| u.rsplit('/').next()).unwrap_or_default().to_owned();
        Self { name, url }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The administrator's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements, several if need be. Zero dates are allowed. Blocks; may be called in async tests.
    pub fn execute(&self, sql: impl Into<String>) -> Result<()> {
        execute_at(&self.url, sql.into())
    }

    /// The rows of a query in the server's own text form, NULL as `None`.
    pub fn rows(&self, sql: impl Into<String>) -> Result<Vec<Vec<Option<String>>>> {
        let (url, sql) = (self.url.clone(), sql.into());
        block_on(move || async move {
            let mut connection = connect(&url).await?;
            let rows: Vec<Row> = connection.query(&sql).await.with_context(|| sql.clone())?;
            connection.disconnect().await?;
            Ok(rows
                .into_iter()
                .map(|row| row.unwrap_raw().into_iter().map(|value| text(value.unwrap_or(mysql_async::Value::NULL))).collect())
                .collect())
        })
    }

    /// The first column of the first row, as text.
    pub fn value(&self, sql: impl Into<String>) -> Result<String> {
        let sql = sql.into();
        let rows = self.rows(sql.clone())?;
        rows.into_iter().next().and_then(|r| r.into_iter().next()).flatten().with_context(|| format!("`{sql}` gave no value"))
    }

    /// A client on the caller's runtime.
    pub async fn client(&self) -> Result<Conn> {
        connect(&self.url).await
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other => Some(other.as_sql(false)),
    }
}

pub(super) fn execute_at(url: &str, sql: String) -> Result<()> {
    let url = url.to_owned();
    block_on(move || async move {
        let mut connection = connect(&url).await?;
        connection.query_drop(&sql).await.with_context(|| sql.chars().take(500).collect::<String>())?;
        connection.disconnect().await?;
        Ok(())
    })
}

async fn connect(url: &str) -> Result<Conn> {
    let options = OptsBuilder::from_opts(Opts::from_url(url)?)
        .prefer_socket(false)
        .max_allowed_packet(Some(1 << 30))
        .init(vec!["SET time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'"]);
    Conn::new(options).await.with_context(|| format!("cannot connect to {url}"))
}
