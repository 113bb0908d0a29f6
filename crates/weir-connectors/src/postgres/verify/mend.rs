//! Mending rows of a target while a pipeline writes it.
//!
//! Every flush of a pipeline holds a share lock on its row of `runs` (see `super::super::ledger`). Mending takes that row for itself first: then no flush is
//! under way, and what the source says from now on is not older than what was flushed. Flushes that wait come after it, in their order.

use arrow::array::RecordBatch;
use async_trait::async_trait;
use weir_connect::verify::{Key, Mend};
use weir_connect::{DeleteMode, Error, Kind, OnLoss, Result};

use super::super::changes::DELETED;
use super::super::client::Client;
use super::super::copy_encode::{ColumnPlan, Encoding, HEADER, Rows, TRAILER};
use super::super::errors::sqlstate;
use super::super::quote::{TableName, ident};
use super::super::sink::name_target;
use super::super::{target, text_encode};
use super::keys::Keys;

/// Room for the head of a CopyData message.
const HEAD: usize = 5;
const STAGE: &str = "weir_mend";

/// The transaction.
pub struct Mending {
    pub(super) client: Client,
    pub(super) oid: u32,
    pub(super) name: TableName,
    pub(super) on_loss: OnLoss,
    pub(super) deletes: DeleteMode,
    pub(super) keys: Keys,
    pub(super) key: Vec<String>,
}

impl Mending {
    /// Begins, and waits until no flush is under way.
    pub(super) async fn begin(client: &mut Client, state: &str, of: [&str; 3]) -> Result<()> {
        client
            .batch("SET synchronous_commit = on; SET statement_timeout = 0; SET client_min_messages = error; BEGIN; SET LOCAL lock_timeout = '30s'")
            .await?;
        let runs = format!("{}.runs", ident(state));
        let known = client.query("SELECT to_regclass($1) IS NOT NULL", &[Some(&runs)]).await?;
        if !known.first().is_some_and(|row| row.flag(0)) {
            return Ok(());
        }
        let sql = format!("SELECT 1 FROM {runs} WHERE pipeline = $1 AND node = $2 AND stream = $3 FOR UPDATE");
        client.query(&sql, &of.map(Some)).await.map(drop).map_err(|error| match sqlstate(&error) {
            Some("55P03") => Error::new("WEIR-PG-131", Kind::Conflict, "the pipeline is in the middle of a long transaction")
                .at(client.place().to_string())
                .hint("mend the rows when it is through: run the same command again")
                .transient(),
            _ => error,
        })
    }

    fn matching(&self) -> String {
        let pairs = self.key.iter().map(|name| format!("t.{0} = s.{0}", ident(name)));
        pairs.collect::<Vec<_>>().join(" AND ")
    }

    /// The batch in a temporary table; the names of its columns.
    async fn stage(&mut self, rows: &RecordBatch) -> Result<Vec<String>> {
        let schema = rows.schema();
        let written: Vec<usize> = (0..schema.fields().len()).collect();
        let (plans, text) = target::bind(&mut self.client, self.oid, &self.name, &schema, &written, &self.on_loss).await?;
        let names: Vec<String> = plans.iter().map(|plan| ident(&plan.name)).collect();
        let list = names.join(", ");
        self.client
            .batch(&format!(
                "DROP TABLE IF EXISTS pg_temp.{STAGE}; CREATE TEMP TABLE {STAGE} ON COMMIT DROP AS SELECT {list} FROM {} LIMIT 0",
                self.name.sql()
            ))
            .await?;
        let format = if text { "text" } else { "binary" };
        self.client.copy_in(&format!("COPY pg_temp.{STAGE} ({list}) FROM STDIN (FORMAT {format})")).await?;
        let mut message = vec![0; HEAD];
        if text {
            encode_text(rows, &plans, &mut message)?
        } else {
            encode_binary(rows, &plans, &mut message)?
        }
        self.client.copy_data(&mut message).await?;
        let taken = self.client.copy_done().await?;
        if taken != rows.num_rows() as u64 {
            return Err(Error::internal(format!("{taken} of {} rows were staged", rows.num_rows())).at(self.name.display()));
        }
        Ok(names)
    }
}

fn encode_binary(rows: &RecordBatch, plans: &[ColumnPlan], out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(HEADER);
    let encoded = Rows::new(rows, plans, false)?;
    for row in 0..rows.num_rows() {
        encoded.write(row, 0, plans, out)?;
    }
    out.extend_from_slice(&TRAILER);
    Ok(())
}

fn encode_text(rows: &RecordBatch, plans: &[ColumnPlan], out: &mut Vec<u8>) -> Result<()> {
    let schema = rows.schema();
    let columns = plans.iter().map(|plan| plan.normalise(rows, schema.field(plan.index))).collect::<Result<Vec<_>>>()?;
    for row in 0..rows.num_rows() {
        for (at, (column, plan)) in columns.iter().zip(plans).enumerate() {
            if at > 0 {
                out.push(b'\t');
            }
            let limit = match plan.encoding {
                Encoding::Limited(characters) => Some(characters),
                _ => None,
            };
            text_encode::field(column, row, limit, out).map_err(|error| error.at(format!("column `{}`", plan.name)))?;
        }
        out.push(b'\n');
    }
    Ok(())
}

#[async_trait]
impl Mend for Mending {
    async fn put(&mut self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let names = self.stage(rows).await?;
        let (table, matching, soft) = (self.name.sql(), self.matching(), self.deletes == DeleteMode::Soft);
        let keys: Vec<String> = self.key.iter().map(|name| ident(name)).collect();
        let partition: Vec<String> = keys.iter().map(|key| format!("t.{key}")).collect();
        // Of several rows with one key the first stays. No row is lost: it is given the source's values next.
        let mut statements = vec![format!(
            "DELETE FROM {table} AS t USING (SELECT t.tableoid AS o, t.ctid AS c, row_number() OVER (PARTITION BY {} ORDER BY t.ctid) AS n \
             FROM {table} AS t JOIN pg_temp.{STAGE} AS s ON {matching}) AS d WHERE t.tableoid = d.o AND t.ctid = d.c AND d.n > 1",
            partition.join(", ")
        )];
        let mut changed: Vec<String> =
            names.iter().filter(|name| !keys.contains(name)).map(|name| format!("{name} = s.{name}")).collect();
        if soft {
            changed.push(format!("{} = false", ident(DELETED)));
        }
        if !changed.is_empty() {
            statements.push(format!("UPDATE {table} AS t SET {} FROM pg_temp.{STAGE} AS s WHERE {matching}", changed.join(", ")));
        }
        let (list, values) = (names.join(", "), names.iter().map(|name| format!("s.{name}")).collect::<Vec<_>>().join(", "));
        let (mark, unmarked) = if soft { (format!(", {}", ident(DELETED)), ", false") } else { Default::default() };
        statements.push(format!(
            "INSERT INTO {table} ({list}{mark}) OVERRIDING SYSTEM VALUE SELECT {values}{unmarked} FROM pg_temp.{STAGE} AS s \
             WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE {matching})"
        ));
        self.client.batch(&statements.join("; ")).await.map_err(|error| name_target(error, &self.name))
    }

    async fn delete(&mut self, keys: &[Key]) -> Result<()> {
        if keys.is_empty() || self.deletes == DeleteMode::Ignore {
            return Ok(());
        }
        let (wanted, parameters) = self.keys.condition(keys, true);
        let parameters: Vec<Option<&str>> = parameters.iter().map(|text| Some(text.as_str())).collect();
        let table = self.name.sql();
        let sql = match self.deletes {
            DeleteMode::Soft => format!("UPDATE {table} AS t SET {} = true WHERE {wanted}", ident(DELETED)),
            _ => format!("DELETE FROM {table} AS t WHERE {wanted}"),
        };
        self.client.execute(&sql, &parameters).await.map(drop).map_err(|error| name_target(error, &self.name))
    }

    async fn commit(mut self: Box<Self>) -> Result<bool> {
        self.client.commit().await?;
        self.client.close().await;
        Ok(true)
    }
}
