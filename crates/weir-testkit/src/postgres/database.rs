//! A database of one's own, with the few blocking calls that seeding and checking need.

use anyhow::{Context, Result};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::blocking::block_on;

/// One database on a test server. It goes with the server; nothing is dropped.
#[derive(Debug, Clone)]
pub struct Database {
    name: String,
    url: String,
}

impl Database {
    pub(super) fn create(admin_url: &str, url: String, name: String) -> Result<Self> {
        // template0 has no session that a concurrent CREATE DATABASE would trip over.
        execute_at(admin_url, format!("CREATE DATABASE {name} TEMPLATE template0"))?;
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

    /// The superuser's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements, several if need be, in one implicit transaction. Blocks; may be called in async tests.
    pub fn execute(&self, sql: impl Into<String>) -> Result<()> {
        execute_at(&self.url, sql.into())
    }

    /// The rows of a query in PostgreSQL's own text form, NULL as `None`.
    pub fn rows(&self, sql: impl Into<String>) -> Result<Vec<Vec<Option<String>>>> {
        let (url, sql) = (self.url.clone(), sql.into());
        block_on(move || async move {
            let client = connect(&url).await?;
            let messages = client.simple_query(&sql).await.with_context(|| sql.clone())?;
            Ok(messages
                .into_iter()
                .filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
                    _ => None,
                })
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
    pub async fn client(&self) -> Result<tokio_postgres::Client> {
        connect(&self.url).await
    }
}

fn execute_at(url: &str, sql: String) -> Result<()> {
    let url = url.to_owned();
    block_on(move || async move {
        let client = connect(&url).await?;
        client.batch_execute(&sql).await.with_context(|| sql.chars().take(500).collect::<String>())
    })
}

async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.with_context(|| format!("cannot connect to {url}"))?;
    tokio::spawn(connection);
    Ok(client)
}
