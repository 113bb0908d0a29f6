//! Mending rows of a target while a pipeline writes it.
//!
//! Every flush of a pipeline holds a share lock on its row of `runs` (see `super::super::ledger`). Mending takes the stream's rows there for itself first: then
//! no flush is under way, and what the source says from now on is not older than what was flushed. Flushes that wait come after it, in their order.
//!
//! Rows come by a temporary table, which is made before the transaction. Keys are the same only if their bytes are, whatever the collation says.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use weir_connect::verify::{Key, Mend};
use weir_connect::{Error, Kind, OnLoss, Result};

use super::super::catalog::{self, RawColumn};
use super::super::client::{Client, Done, Param};
use super::super::encode::{Form, Rows};
use super::super::errors;
use super::super::ledger::Ledger;
use super::super::quote::{TableName, ident, join_idents};
use super::super::sink::name_target;
use super::super::target;
use super::super::types::{Base, source_column};
use super::super::writer::taken;
use super::keys;

/// Encoded bytes that are collected before they are sent.
const MESSAGE_BYTES: usize = 256 * 1024;
/// Number of a staged row.
const NUMBER: &str = "_weir_n";

/// The transaction.
pub struct Mending {
    pub(super) client: Client,
    pub(super) name: TableName,
    pub(super) on_loss: OnLoss,
    pub(super) key: Vec<String>,
    /// The column that marks deleted rows.
    pub(super) soft: Option<&'static str>,
    /// Rows that the source does not have stay.
    pub(super) keeps: bool,
}

/// What is the same only if its bytes are.
fn bytes(column: &RawColumn, place: &str) -> Option<String> {
    let text = matches!(column.of.base, Base::Char(_) | Base::Varchar(_) | Base::Text(_) | Base::Enum(_) | Base::Set(_));
    text.then(|| format!("CAST(CONVERT({place} USING utf8mb4) AS BINARY)"))
}

impl Mending {
    fn stage(&self) -> TableName {
        TableName::new(self.name.database.clone(), "_weir_mend")
    }

    /// Begins, and waits until no flush is under way. `names` are the columns that will be written.
    pub(super) async fn begin(mut self, ledger: &Ledger, names: &[String]) -> Result<Self> {
        self.client.about(&self.name.display());
        self.client.batch("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
        self.client.batch("SET SESSION innodb_lock_wait_timeout = 30").await?;
        let shape = catalog::shape(&mut self.client, &self.name).await?;
        let mut parts = vec![format!("{NUMBER} INT UNSIGNED NOT NULL PRIMARY KEY")];
        for name in names {
            let column = target::find_column(&shape, name)
                .ok_or_else(|| Error::internal(format!("`{name}` is not there any more")).at(self.name.display()))?;
            parts.push(target::staged(column, &ident(name)));
        }
        let collation = self.client.version.exact_collation();
        let sql = format!(
            "CREATE TEMPORARY TABLE {} ({}) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation}",
            self.stage().sql(),
            parts.join(", ")
        );
        self.client.batch(&sql).await.map_err(|error| name_target(error, &self.name))?;
        self.client.batch("START TRANSACTION").await?;
        ledger.exclude(&mut self.client).await.map_err(|error| match errors::number(&error) {
            Some(1205) => Error::new("WEIR-MY-130", Kind::Conflict, "the pipeline is in the middle of a long transaction")
                .at(self.name.display())
                .hint("mend the rows when it is through: run the same command again")
                .transient(),
            _ => error,
        })?;
        Ok(self)
    }

    async fn key_columns(&mut self) -> Result<Vec<RawColumn>> {
        let shape = catalog::shape(&mut self.client, &self.name).await?;
        let found = self.key.iter().map(|name| target::find_column(&shape, name).cloned());
        found.collect::<Option<_>>().ok_or_else(|| Error::internal("a column of the key is not there").at(self.name.display()))
    }

    /// That a row of the target has the key of the staged row.
    fn same(columns: &[RawColumn]) -> String {
        let equal = columns.iter().map(|column| format!("t.{0} = s.{0}", ident(&column.name)));
        let identical = columns.iter().filter_map(|column| {
            let name = ident(&column.name);
            Some(format!("{} = {}", bytes(column, &format!("t.{name}"))?, bytes(column, &format!("s.{name}"))?))
        });
        equal.chain(identical).collect::<Vec<_>>().join(" AND ")
    }

    async fn run(&mut self, sql: &str, parameters: &[Param]) -> Result<Done> {
        let done = match parameters {
            [] => self.client.batch(sql).await,
            _ => self.client.execute(sql, parameters).await,
        };
        done.map_err(|error| name_target(error, &self.name))
    }

    async fn fill(&mut self, rows: &RecordBatch) -> Result<Vec<String>> {
        let shape = catalog::shape(&mut self.client, &self.name).await?;
        let schema = rows.schema();
        let written: Vec<usize> = (0..schema.fields().len()).collect();
        let plans = target::bind(&shape, &self.name, &schema, &written, &self.on_loss)?;
        let names: Vec<String> = plans.iter().map(|plan| plan.name.clone()).collect();
        let head =
            format!("INSERT INTO {} ({}, {NUMBER}) VALUES ", self.stage().sql(), join_idents(names.iter().map(String::as_str)));
        self.run(&format!("DELETE FROM {}", self.stage().sql()), &[]).await?;
        let encoded = Rows::new(rows, &plans, Form::Insert)?;
        let (mut message, mut waiting) = (head.clone().into_bytes(), 0);
        for row in 0..rows.num_rows() {
            if waiting > 0 {
                message.push(b',');
            }
            encoded.write(row, Some(row as u64), &plans, &mut message).map_err(|error| error.at(self.name.display()))?;
            waiting += 1;
            if message.len() >= MESSAGE_BYTES || row + 1 == rows.num_rows() {
                let sql = std::str::from_utf8(&message).map_err(|_| Error::internal("a statement that is not UTF-8"))?;
                let done = self.client.batch(sql).await.map_err(|error| name_target(error, &self.name))?;
                taken(&mut self.client, done, waiting, &self.name.display()).await?;
                (message, waiting) = (head.clone().into_bytes(), 0);
            }
        }
        Ok(names)
    }

    /// Of several rows with one key one stays. No row is lost: it is given the source's values next.
    async fn single(&mut self, columns: &[RawColumn]) -> Result<()> {
        let (table, stage) = (self.name.sql(), self.stage().sql());
        let sql = format!(
            "SELECT CAST(s.{NUMBER} AS CHAR), CAST(COUNT(*) AS CHAR) FROM {stage} AS s JOIN {table} AS t ON {} GROUP BY s.{NUMBER} HAVING COUNT(*) > 1",
            Self::same(columns)
        );
        for row in self.client.query(&sql, &[]).await? {
            let exact = |place: &str| {
                let plain = columns.iter().map(|column| format!("{place}{}", ident(&column.name)));
                let bytes = columns.iter().filter_map(|column| bytes(column, &format!("{place}{}", ident(&column.name))));
                plain.chain(bytes).collect::<Vec<_>>().join(", ")
            };
            let sql = format!(
                "DELETE FROM {table} WHERE ({}) = (SELECT {} FROM {stage} AS s WHERE s.{NUMBER} = {}) LIMIT {}",
                exact(""),
                exact("s."),
                row.uint(0),
                row.uint(1).saturating_sub(1)
            );
            self.run(&sql, &[]).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Mend for Mending {
    async fn put(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let names = self.fill(rows).await?;
        let columns = self.key_columns().await?;
        self.single(&columns).await?;
        let (table, stage, same) = (self.name.sql(), self.stage().sql(), Self::same(&columns));
        let changed = names.iter().filter(|name| !columns.iter().any(|key| target::same_name(&key.name, name)));
        let mut sets: Vec<String> = changed.map(|name| format!("t.{0} = s.{0}", ident(name))).collect();
        sets.extend(self.soft.map(|mark| format!("t.{} = 0", ident(mark))));
        if !sets.is_empty() {
            self.run(&format!("UPDATE {stage} AS s JOIN {table} AS t ON {same} SET {}", sets.join(", ")), &[]).await?;
        }
        let (mut into, mut from): (Vec<String>, Vec<String>) =
            names.iter().map(|name| (ident(name), format!("s.{}", ident(name)))).unzip();
        if let Some(mark) = self.soft {
            into.push(ident(mark));
            from.push("0".into());
        }
        let first = columns.first().map(|column| ident(&column.name)).unwrap_or_default();
        let sql = format!(
            "INSERT INTO {table} ({}) SELECT {} FROM {stage} AS s LEFT JOIN {table} AS t ON {same} WHERE t.{first} IS NULL",
            into.join(", "),
            from.join(", ")
        );
        self.run(&sql, &[]).await.map(drop)
    }

    async fn delete(&mut self, keys: &[Key]) -> Result<()> {
        if self.keeps {
            return Ok(());
        }
        let raw = self.key_columns().await?;
        let none = OnLoss::default();
        let read =
            raw.iter().map(|column| source_column(&column.name, &column.of, &column.type_name, column.not_null, false, &none));
        let read: Vec<_> = read.flatten().collect();
        let table = self.name.sql();
        for key in keys {
            let Some((mut condition, mut parameters)) =
                keys::condition(&read.iter().collect::<Vec<_>>(), std::slice::from_ref(key))
            else {
                continue;
            };
            for (column, value) in raw.iter().zip(&key.values) {
                if let (Some(exact), Some(value)) = (bytes(column, &ident(&column.name)), value) {
                    condition.push_str(&format!(" AND {exact} = CAST(? AS BINARY)"));
                    parameters.push(value.as_str().into());
                }
            }
            let sql = match self.soft {
                Some(mark) => format!("UPDATE {table} SET {} = 1 WHERE {condition}", ident(mark)),
                None => format!("DELETE FROM {table} WHERE {condition}"),
            };
            self.run(&sql, &parameters).await?;
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<bool> {
        self.client.batch("COMMIT").await?;
        self.client.close().await;
        Ok(true)
    }
}
