//! A connection, its statements, and those who wait for the commit of what they did on it.

use std::borrow::Cow;

use futures::TryStreamExt;
use futures::future::BoxFuture;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Either, Executor};
use tokio::sync::oneshot;
use weir_error::{Error, Kind, Result};

use super::super::Sql;
use super::super::value::{self, Row, Value};
use crate::fault;

/// A connection.
pub(super) struct Slot {
    connection: SqliteConnection,
    /// Whether somebody has begun something here whose end was not seen yet.
    pub(super) open: bool,
    /// Who has done its part of the open transaction, and waits for the commit.
    group: Vec<oneshot::Sender<Result<()>>>,
    /// How many groups there were.
    generation: u64,
    /// Trips to the connection's thread, and commits.
    #[cfg(test)]
    pub(super) counted: (u64, u64),
}

/// Statements that go to the database together.
#[derive(Default)]
pub(super) struct Batch {
    sql: String,
    values: Vec<Value>,
    statements: usize,
}

impl Batch {
    pub(super) fn push(&mut self, sql: &str, values: Vec<Value>) {
        if !self.sql.is_empty() {
            self.sql.push_str("; ");
        }
        renumber(sql, self.values.len(), &mut self.sql);
        self.values.extend(values);
        self.statements += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.statements
    }

    pub(super) fn into_parts(self) -> (Sql, Vec<Value>) {
        (Cow::Owned(self.sql), self.values)
    }

    /// All of it with a last statement.
    pub(super) fn with(&mut self, sql: Sql, values: Vec<Value>) -> (Sql, Vec<Value>) {
        if self.statements == 0 {
            return (sql, values);
        }
        self.push(&sql, values);
        std::mem::take(self).into_parts()
    }
}

/// The same statement with parameters that are counted from `by`: the driver numbers those of all statements of a text together.
fn renumber(sql: &str, by: usize, into: &mut String) {
    let mut parts = sql.split('$');
    into.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        into.push('$');
        match part[..digits].parse::<usize>() {
            Ok(number) => into.push_str(&(number + by).to_string()),
            Err(_) => into.push_str(&part[..digits]),
        }
        into.push_str(&part[digits..]);
    }
}

// The driver's futures are boxed here, so that no lifetime of its traits gets into the types of all that is built upon them.
impl Slot {
    pub(super) fn new(connection: SqliteConnection) -> Self {
        Self {
            connection,
            open: false,
            group: Vec::new(),
            generation: 0,
            #[cfg(test)]
            counted: (0, 0),
        }
    }

    #[cfg(test)]
    fn count(&mut self, sql: &str) {
        self.counted.0 += 1;
        self.counted.1 += u64::from(sql.ends_with("COMMIT"));
    }
    #[cfg(not(test))]
    fn count(&mut self, _: &str) {}

    /// Runs one statement or several; how many rows the last one touched.
    pub(super) fn execute(&mut self, sql: Sql, values: Vec<Value>) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async move {
            self.count(&sql);
            let query = sqlx::query_with(AssertSqlSafe(sql), value::sqlite(values)?);
            let mut steps = Executor::fetch_many(&mut self.connection, query);
            let mut rows = 0;
            while let Some(step) = steps.try_next().await.map_err(fault::database)? {
                if let Either::Left(done) = step {
                    rows = done.rows_affected();
                }
            }
            Ok(rows)
        })
    }
    pub(super) fn fetch_all(&mut self, sql: Sql, values: Vec<Value>) -> BoxFuture<'_, Result<Vec<Row>>> {
        Box::pin(async move {
            self.count(&sql);
            let query = sqlx::query_with(AssertSqlSafe(sql), value::sqlite(values)?);
            let rows = Executor::fetch_all(&mut self.connection, query).await;
            Ok(rows.map_err(fault::database)?.into_iter().map(Row::Sqlite).collect())
        })
    }
    pub(super) fn fetch_optional(&mut self, sql: Sql, values: Vec<Value>) -> BoxFuture<'_, Result<Option<Row>>> {
        Box::pin(async move {
            self.count(&sql);
            let query = sqlx::query_with(AssertSqlSafe(sql), value::sqlite(values)?);
            let row = Executor::fetch_optional(&mut self.connection, query).await;
            Ok(row.map_err(fault::database)?.map(Row::Sqlite))
        })
    }
    pub(super) fn script(&mut self, sql: &'static str) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.count(sql);
            let done = Executor::execute(&mut self.connection, sqlx::raw_sql(sql)).await;
            done.map(drop).map_err(fault::database)
        })
    }
    async fn say(&mut self, sql: &'static str) -> Result<()> {
        self.execute(Cow::Borrowed(sql), Vec::new()).await.map(drop)
    }

    /// Whether somebody waits for a commit here.
    pub(super) fn has_group(&self) -> bool {
        !self.group.is_empty()
    }

    /// Undoes what somebody has left open. The others of the group keep what they did.
    pub(super) async fn close(&mut self) {
        if !self.open {
            return;
        }
        if self.group.is_empty() {
            // It fails if the transaction has ended already; the next statement says so if it has not.
            let _ = self.say("ROLLBACK").await;
        } else if let Err(error) = self.say("ROLLBACK TO member").await {
            // The database has undone all (a full disk, a broken file): nobody's part is there any more.
            let _ = self.say("ROLLBACK").await;
            self.answer(&Err(error));
        }
        self.open = false;
    }

    /// Joins the group; the answer comes with the commit. Also the group's number and its size.
    pub(super) fn join(&mut self) -> (oneshot::Receiver<Result<()>>, u64, usize) {
        let (tell, told) = oneshot::channel();
        self.group.push(tell);
        (told, self.generation, self.group.len())
    }

    /// Commits what the group did and answers its members. `of`: only if it is still that group.
    pub(super) async fn settle(&mut self, of: Option<u64>) {
        if of.is_some_and(|of| of != self.generation) {
            return;
        }
        self.close().await;
        if self.group.is_empty() {
            return;
        }
        let done = self.say("COMMIT").await;
        if done.is_err() {
            let _ = self.say("ROLLBACK").await;
        }
        self.answer(&done);
    }

    fn answer(&mut self, done: &Result<()>) {
        self.generation += 1;
        for member in self.group.drain(..) {
            // Who does not wait any more needs no answer.
            let _ = member.send(match done {
                Ok(()) => Ok(()),
                Err(error) => Err(Error::new("WEIR-STORE-014", Kind::Io, "the database could not keep the change")
                    .because(error)
                    .hint("nothing of it was kept; try again")
                    .transient()),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_go_together_count_their_parameters_together() {
        let mut batch = Batch::default();
        assert_eq!(batch.with("SELECT $1".into(), vec![Value::from(1_i64)]).0, "SELECT $1");
        batch.push("BEGIN IMMEDIATE", Vec::new());
        batch.push("INSERT INTO a VALUES ($1, $2, $1)", vec![Value::from(1_i64), Value::from(2_i64)]);
        let (sql, values) = batch.with("UPDATE b SET c = $1 WHERE d = '$' AND e = $10".into(), vec![Value::from(3_i64)]);
        assert_eq!(sql, "BEGIN IMMEDIATE; INSERT INTO a VALUES ($1, $2, $1); UPDATE b SET c = $3 WHERE d = '$' AND e = $12");
        assert_eq!((values.len(), batch.len()), (3, 0));
    }
}
