//! The two databases behind one small face: statements with `$1` parameters, rows read by position, transactions. What differs between
//! them (opening, locking, a few words of SQL) stays in here, and so do the driver's lifetimes: its futures are boxed. What is asked does not live here (see [`crate::tenant`], [`crate::system`]).

mod migrate;
mod postgres;
mod sqlite;
mod value;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use sqlx::{PgPool, Postgres, Transaction};
use weir_error::{Error, Kind, Result, Secret};

use crate::fault;
#[cfg(test)]
pub(crate) use migrate::Step;
pub(crate) use migrate::{CURRENT as SCHEMA_VERSION, Migrations};
pub(crate) use value::{Columns, Row, Value, args, from_micros, json, kept, now, word};

/// Statement text: fixed, or put together from fixed parts. Values never stand in it.
pub(crate) type Sql = Cow<'static, str>;

/// An open database.
#[derive(Clone)]
pub(crate) enum Backend {
    Sqlite(Arc<sqlite::Sqlite>),
    Postgres(PgPool),
}

/// A transaction. Dropped without [`Tx::commit`] it is rolled back.
pub(crate) enum Tx {
    Sqlite(sqlite::SqliteTx),
    Postgres(Transaction<'static, Postgres>),
}

/// Rows of one statement: few lengths, so that the statements stay prepared, and no long ones, because SQLite looks for the name of each
/// parameter from the first one on.
const CHUNKS: [usize; 3] = [32, 8, 1];

/// Rows that one transaction deletes of those that have served.
const DELETED: u64 = 5000;

/// Locks that PostgreSQL's replicas take in turn; SQLite has one writer anyway.
#[derive(Clone, Copy)]
#[repr(i64)]
pub(crate) enum Turn {
    /// Migrations.
    Migrate = 0x7765_6972_0001,
    /// Who claims deliveries.
    ClaimDeliveries = 0x7765_6972_0002,
    /// Who makes the first tenant.
    Bootstrap = 0x7765_6972_0003,
}

/// Rows as they go into statements.
pub(crate) fn chunked<T>(rows: Vec<T>) -> Vec<Vec<T>> {
    let mut rows = rows.into_iter();
    let mut chunks = Vec::new();
    while let Some(length) = CHUNKS.into_iter().find(|length| *length <= rows.len()) {
        chunks.push(rows.by_ref().take(length).collect());
    }
    chunks
}

/// `($1, $2), ($3, $4)`: the places of the rows' values, behind `before` others.
pub(crate) fn rows_of(rows: &[Vec<Value>], before: usize) -> String {
    let mut next = before;
    let row = |row: &Vec<Value>| {
        let places: Vec<_> = row
            .iter()
            .map(|_| {
                next += 1;
                format!("${next}")
            })
            .collect();
        format!("({})", places.join(", "))
    };
    rows.iter().map(row).collect::<Vec<_>>().join(", ")
}

impl Backend {
    /// Opens `sqlite:PATH` or `postgres://…` without looking at what is in it.
    pub(crate) async fn connect(url: &Secret) -> Result<Self> {
        let text = url.expose();
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Self::Sqlite(Arc::new(sqlite::Sqlite::open(Path::new(path)).await?)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(postgres::open(text).await?));
        }
        let scheme: String = text.split("://").next().unwrap_or_default().split(':').take(1).collect();
        Err(Error::new("WEIR-STORE-004", Kind::Spec, "DATABASE_URL names neither SQLite nor PostgreSQL")
            .because(if text.contains(':') { format!("it begins with `{scheme}:`") } else { "it has no `scheme:`".into() })
            .hint("sqlite:/path/to/weir.db or postgres://user@host/database"))
    }

    /// The SQLite file, if it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(db) => Some(db.path()),
            Self::Postgres(_) => None,
        }
    }

    /// Copies SQLite's file, in one state, to a new file.
    pub(crate) async fn copy_to(&self, to: &Path) -> Result<()> {
        match self {
            Self::Sqlite(db) => db.copy_to(to).await,
            Self::Postgres(_) => Err(Error::internal("PostgreSQL has no file to copy")),
        }
    }

    /// `column contains $parameter` as an expression.
    pub(crate) fn contains(&self, column: &str, parameter: usize) -> String {
        match self {
            Self::Sqlite(_) => format!("instr({column}, ${parameter}) > 0"),
            Self::Postgres(_) => format!("strpos({column}, ${parameter}) > 0"),
        }
    }

    /// The sum of a whole number over the objects of a JSON array, as an expression; at most 9 · 10¹⁸.
    pub(crate) fn sum_of(&self, array: &str, field: &str) -> String {
        match self {
            Self::Sqlite(_) => format!(
                "(SELECT CAST(min(total(json_extract(o.value, '$.{field}')), 9e18) AS INTEGER) FROM json_each({array}) o)"
            ),
            Self::Postgres(_) => format!(
                "(SELECT least(coalesce(sum((o.value ->> '{field}')::numeric), 0), 9e18)::bigint FROM json_array_elements({array}::json) o)"
            ),
        }
    }

    /// Deletes the rows that meet a condition, some at a time, each time in a transaction of its own: others get in between. How many.
    pub(crate) async fn delete_in_turns(&self, table: &str, condition: &str, values: Vec<Value>) -> Result<u64> {
        let row = match self {
            Self::Sqlite(_) => "rowid",
            Self::Postgres(_) => "ctid",
        };
        let sql = format!("DELETE FROM {table} WHERE {row} IN (SELECT {row} FROM {table} WHERE {condition} LIMIT {DELETED})");
        let mut all = 0;
        loop {
            let deleted = self.execute(sql.clone(), values.clone()).await?;
            all += deleted;
            if deleted < DELETED {
                return Ok(all);
            }
        }
    }

    /// All rows of a query, outside of a transaction.
    pub(crate) fn fetch_all<'a>(&'a self, sql: impl Into<Sql>, values: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>>> {
        let sql = sql.into();
        match self {
            Self::Sqlite(db) => Box::pin(db.fetch_all(sql, values)),
            Self::Postgres(pool) => postgres::fetch_all(pool, sql, values),
        }
    }

    /// The first row of a query, outside of a transaction.
    pub(crate) fn fetch_optional<'a>(&'a self, sql: impl Into<Sql>, values: Vec<Value>) -> BoxFuture<'a, Result<Option<Row>>> {
        let sql = sql.into();
        match self {
            Self::Sqlite(db) => Box::pin(db.fetch_optional(sql, values)),
            Self::Postgres(pool) => postgres::fetch_optional(pool, sql, values),
        }
    }

    /// A transaction that writes. SQLite: the only one, others wait for it.
    pub(crate) fn begin(&self) -> BoxFuture<'_, Result<Tx>> {
        Box::pin(async move {
            match self {
                Self::Sqlite(db) => Ok(Tx::Sqlite(db.begin().await?)),
                Self::Postgres(pool) => Ok(Tx::Postgres(pool.begin().await.map_err(fault::database)?)),
            }
        })
    }

    /// A transaction that only reads, and sees one state of the database however long it takes.
    pub(crate) fn snapshot(&self) -> BoxFuture<'_, Result<Tx>> {
        Box::pin(async move {
            match self {
                Self::Sqlite(db) => Ok(Tx::Sqlite(db.snapshot().await?)),
                Self::Postgres(pool) => {
                    let tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
                    Ok(Tx::Postgres(tx.map_err(fault::database)?))
                }
            }
        })
    }

    /// One statement that writes, in a transaction of its own; how many rows it touched.
    pub(crate) async fn execute(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<u64> {
        let mut tx = self.begin().await?;
        let rows = tx.execute(sql, values).await?;
        tx.commit().await?;
        Ok(rows)
    }
}

impl Tx {
    /// Runs a statement; how many rows it touched.
    pub(crate) fn execute<'a>(&'a mut self, sql: impl Into<Sql>, values: Vec<Value>) -> BoxFuture<'a, Result<u64>> {
        let sql = sql.into();
        match self {
            Self::Sqlite(tx) => Box::pin(tx.execute(sql, values)),
            Self::Postgres(tx) => postgres::execute(&mut **tx, sql, values),
        }
    }

    /// All rows of a query.
    pub(crate) fn fetch_all<'a>(&'a mut self, sql: impl Into<Sql>, values: Vec<Value>) -> BoxFuture<'a, Result<Vec<Row>>> {
        let sql = sql.into();
        match self {
            Self::Sqlite(tx) => Box::pin(tx.fetch_all(sql, values)),
            Self::Postgres(tx) => postgres::fetch_all(&mut **tx, sql, values),
        }
    }

    /// The first row of a query.
    pub(crate) fn fetch_optional<'a>(
        &'a mut self,
        sql: impl Into<Sql>,
        values: Vec<Value>,
    ) -> BoxFuture<'a, Result<Option<Row>>> {
        let sql = sql.into();
        match self {
            Self::Sqlite(tx) => Box::pin(tx.fetch_optional(sql, values)),
            Self::Postgres(tx) => postgres::fetch_optional(&mut **tx, sql, values),
        }
    }

    /// Runs a statement of which only its failure matters, with a later one or with the commit: SQLite then needs fewer trips to its
    /// thread. The error comes from whoever sends it.
    pub(crate) fn later<'a>(&'a mut self, sql: impl Into<Sql>, values: Vec<Value>) -> BoxFuture<'a, Result<()>> {
        let sql = sql.into();
        match self {
            Self::Sqlite(tx) => Box::pin(tx.later(sql, values)),
            Self::Postgres(tx) => {
                let done = postgres::execute(&mut **tx, sql, values);
                Box::pin(async move { done.await.map(drop) })
            }
        }
    }

    /// Inserts rows of equally many values, many at a time; `insert` ends with `VALUES `.
    pub(crate) async fn insert_many(&mut self, insert: &str, rows: Vec<Vec<Value>>) -> Result<()> {
        for rows in chunked(rows) {
            let statement = format!("{insert}{}", rows_of(&rows, 0));
            let single = rows.len() == 1;
            let values = rows.into_iter().flatten().collect();
            match single {
                true => self.later(statement, values).await?,
                false => self.execute(statement, values).await.map(drop)?,
            }
        }
        Ok(())
    }

    /// Runs several statements, without parameters.
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.script(sql).await,
            Self::Postgres(tx) => postgres::script(&mut **tx, sql).await,
        }
    }

    /// Waits for one's turn until the end of the transaction.
    pub(crate) async fn turn(&mut self, turn: Turn) -> Result<()> {
        if let Self::Postgres(_) = self {
            self.fetch_optional("SELECT pg_advisory_xact_lock($1)", args![turn as i64]).await?;
        }
        Ok(())
    }

    /// ` FOR UPDATE OF alias` where rows are locked one by one.
    pub(crate) fn for_update(&self, alias: &str) -> String {
        match self {
            Self::Sqlite(_) => String::new(),
            Self::Postgres(_) => format!(" FOR UPDATE OF {alias}"),
        }
    }

    /// Keeps what was done.
    pub(crate) fn commit(self) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move {
            match self {
                Self::Sqlite(tx) => tx.commit().await,
                Self::Postgres(tx) => tx.commit().await.map_err(fault::database),
            }
        })
    }
}
