//! The commit: staged rows become the target's.
//!
//! MySQL commits implicitly before and after every RENAME, so a swap is three steps: the ledger says that it is about to happen; one RENAME, atomic for
//! every reader; the ledger says that it has. After a crash between them the next attempt sees by the staging table whether the RENAME came through.
//! Everything else is one transaction with the mark in the ledger.

use weir_connect::{CommitReport, Error, Kind, Result, WriteMode, failpoint};

use super::catalog;
use super::client::Client;
use super::ledger::Ledger;
use super::quote::{TableName, ident};
use super::sink::{SEQUENCE, Staging, list, run_all};

/// Why the table cannot be swapped by renaming; empty if it can.
pub async fn obstacles(client: &mut Client, name: &TableName) -> Result<Vec<String>> {
    let rows = client
        .query(
            "SELECT CONCAT('foreign key ', CONSTRAINT_NAME) FROM information_schema.KEY_COLUMN_USAGE WHERE REFERENCED_TABLE_NAME IS NOT NULL \
               AND (TABLE_SCHEMA = ? AND TABLE_NAME = ? OR REFERENCED_TABLE_SCHEMA = ? AND REFERENCED_TABLE_NAME = ?) \
             UNION SELECT CONCAT('trigger ', TRIGGER_NAME) FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = ? AND EVENT_OBJECT_TABLE = ? \
             UNION SELECT 'system versioning' FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? \
               AND TABLE_TYPE = 'SYSTEM VERSIONED'",
            &[&name.database, &name.table].repeat(4).iter().map(|text| text.as_str().into()).collect::<Vec<_>>(),
        )
        .await?;
    Ok(rows.iter().map(|row| row.text(0).to_string()).collect())
}

/// Deleting the old rows would delete or change rows of other tables, which nobody asked for.
pub async fn refuse_cascades(client: &mut Client, name: &TableName) -> Result<()> {
    let rows = client
        .query(
            "SELECT CONCAT(r.CONSTRAINT_SCHEMA, '.', r.TABLE_NAME, ' (', r.CONSTRAINT_NAME, ')') FROM information_schema.REFERENTIAL_CONSTRAINTS r \
             WHERE r.UNIQUE_CONSTRAINT_SCHEMA = ? AND r.REFERENCED_TABLE_NAME = ? AND r.DELETE_RULE IN ('CASCADE', 'SET NULL', 'SET DEFAULT') \
             AND NOT (r.CONSTRAINT_SCHEMA = r.UNIQUE_CONSTRAINT_SCHEMA AND r.TABLE_NAME = r.REFERENCED_TABLE_NAME)",
            &[name.database.as_str().into(), name.table.as_str().into()],
        )
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    let constraints: Vec<&str> = rows.iter().map(|row| row.text(0)).collect();
    Err(Error::new("WEIR-MY-057", Kind::Conflict, "overwriting the table would change rows of other tables")
        .at(name.display())
        .because(format!("foreign keys with ON DELETE CASCADE or SET NULL refer to it: {}", constraints.join(", ")))
        .hint("use write_mode upsert, or let these foreign keys have no ON DELETE action"))
}

/// The mark in a transaction of its own.
pub async fn mark(client: &mut Client, ledger: &Ledger, attempt: u64, done: &CommitReport) -> Result<()> {
    client.batch("START TRANSACTION").await?;
    ledger.lock(client, attempt).await?;
    ledger.committed(client, done).await?;
    client.batch("COMMIT").await.map(drop)
}

/// One commit. The session holds the run's lock and is in a transaction that has locked the run's row.
pub struct Commit<'a> {
    /// The run's memory.
    pub ledger: &'a Ledger,
    /// The fence.
    pub attempt: u64,
    /// The target.
    pub name: &'a TableName,
    /// The staged rows.
    pub staging: &'a Staging,
    /// How they enter.
    pub mode: WriteMode,
    /// Columns that the stream writes.
    pub names: &'a [String],
    /// Key columns.
    pub keys: &'a [String],
    /// What will be reported.
    pub done: &'a CommitReport,
    /// An earlier attempt has said already that it swaps.
    pub resumed: bool,
}

impl Commit<'_> {
    /// Does it.
    pub async fn carry_out(&self, client: &mut Client) -> Result<()> {
        if self.resumed && catalog::find(client, &self.staging.name).await?.is_none() {
            self.ledger.committed(client, self.done).await?;
            return client.batch("COMMIT").await.map(drop);
        }
        let existing = catalog::find(client, self.name).await?;
        let overwrite = self.mode == WriteMode::Overwrite;
        let swap = self.staging.swap
            && match &existing {
                None => true,
                Some(_) => overwrite && obstacles(client, self.name).await?.is_empty(),
            };
        if swap {
            return self.swap(client, existing.is_some()).await;
        }
        if existing.is_none() {
            return Err(Error::new("WEIR-MY-007", Kind::NotFound, "the target table is gone").at(self.name.display()));
        }
        if overwrite {
            refuse_cascades(client, self.name).await?;
            if !self.staging.changes.is_empty() {
                // A change of the table would end the transaction in the middle, so it comes before.
                client.batch("COMMIT").await?;
                let columns = catalog::shape(client, self.name).await?.columns;
                let open: Vec<String> = self
                    .staging
                    .changes
                    .iter()
                    .filter(|change| match change {
                        super::target::Change::Add { column, .. } => !columns.iter().any(|found| &found.name == column),
                        _ => true,
                    })
                    .map(|change| change.sql(self.name))
                    .collect();
                run_all(client, &open, self.name).await?;
                client.batch("START TRANSACTION").await?;
                self.ledger.lock(client, self.attempt).await?;
            }
            client.batch(&format!("DELETE FROM {}", self.name.sql())).await?;
        }
        match self.mode {
            WriteMode::Append | WriteMode::Overwrite => self.insert_all(client).await?,
            WriteMode::Upsert | WriteMode::Merge => self.by_key(client).await?,
        }
        self.ledger.committed(client, self.done).await?;
        failpoint!("mysql.commit.before");
        client.batch("COMMIT").await?;
        failpoint!("mysql.commit.after");
        client.batch(&format!("DROP TABLE IF EXISTS {}", self.staging.name.sql())).await.map(drop)
    }

    async fn swap(&self, client: &mut Client, replaces: bool) -> Result<()> {
        self.ledger.swapping(client, self.done).await?;
        client.batch("COMMIT").await?;
        failpoint!("mysql.swap.before");
        let (name, stage, old) = (self.name.sql(), self.staging.name.sql(), self.staging.old.sql());
        let rename = if replaces {
            format!("RENAME TABLE {name} TO {old}, {stage} TO {name}")
        } else {
            format!("RENAME TABLE {stage} TO {name}")
        };
        client.batch(&rename).await?;
        failpoint!("mysql.swap.after");
        mark(client, self.ledger, self.attempt, self.done).await?;
        failpoint!("mysql.commit.after");
        client.batch(&format!("DROP TABLE IF EXISTS {old}")).await.map(drop)
    }

    async fn insert_all(&self, client: &mut Client) -> Result<()> {
        let (name, stage, list) = (self.name.sql(), self.staging.name.sql(), list(self.names));
        let done = client.batch(&format!("INSERT INTO {name} ({list}) SELECT {list} FROM {stage}")).await?;
        if done.affected == self.done.rows && done.warnings == 0 {
            return Ok(());
        }
        let warnings = client.simple("SHOW WARNINGS LIMIT 3").await?;
        let said: Vec<&str> = warnings.iter().map(|row| row.text(2)).collect();
        Err(Error::new("WEIR-MY-056", Kind::Data, "the server would not take every row as it is")
            .at(self.name.display())
            .because(format!("{} of {} rows; {}", done.affected, self.done.rows, said.join("; ")))
            .hint("look at the triggers and types of the table"))
    }

    /// The last row of every key replaces what is there. Not by `ON DUPLICATE KEY UPDATE`, which would change the row that any other
    /// unique index finds.
    async fn by_key(&self, client: &mut Client) -> Result<()> {
        let (name, stage) = (self.name.sql(), self.staging.name.sql());
        let null: Vec<String> = self.keys.iter().map(|key| format!("{} IS NULL", ident(key))).collect();
        let rows = client.query(&format!("SELECT CAST(COUNT(*) AS CHAR) FROM {stage} WHERE {}", null.join(" OR ")), &[]).await?;
        let nulls = rows.first().map_or(0, |row| row.uint(0));
        if nulls > 0 {
            return Err(Error::new(
                "WEIR-MY-055",
                Kind::Data,
                format!("{nulls} rows have no value in the key ({})", self.keys.join(", ")),
            )
            .at(self.name.display())
            .hint("a row without key cannot replace another; filter them out or choose another key"));
        }
        let newest = format!(
            "(SELECT * FROM (SELECT {stage}.*, ROW_NUMBER() OVER (PARTITION BY {} ORDER BY {} DESC) AS _weir_rank FROM {stage}) AS ranked \
             WHERE _weir_rank = 1) AS newest",
            list(self.keys),
            ident(SEQUENCE)
        );
        let same: Vec<String> = self.keys.iter().map(|key| format!("old.{0} = newest.{0}", ident(key))).collect();
        let same = same.join(" AND ");
        let is_key = |column: &str| self.keys.iter().any(|key| key.eq_ignore_ascii_case(column));
        let mut sets: Vec<String> = self
            .names
            .iter()
            .filter(|column| !is_key(column))
            .map(|column| format!("old.{0} = newest.{0}", ident(column)))
            .collect();
        // The key itself too: an equal key may be written differently, as the collation sees it.
        sets.extend(self.keys.iter().map(|key| format!("old.{0} = newest.{0}", ident(key))));
        if self.mode == WriteMode::Upsert {
            // A replaced row has nothing left of the old one.
            let shape = catalog::shape(client, self.name).await?;
            let others = shape.columns.iter().filter(|column| {
                !column.generated
                    && !column.extra.contains("auto_increment")
                    && !self.names.iter().any(|name| name.eq_ignore_ascii_case(&column.name))
            });
            sets.extend(others.map(|column| format!("old.{} = DEFAULT", ident(&column.name))));
        }
        client.batch(&format!("UPDATE {name} AS old JOIN {newest} ON {same} SET {}", sets.join(", "))).await?;
        let columns = list(self.names);
        let values: Vec<String> = self.names.iter().map(|column| format!("newest.{}", ident(column))).collect();
        let first = self.keys.first().map(|key| ident(key)).unwrap_or_default();
        client
            .batch(&format!(
                "INSERT INTO {name} ({columns}) SELECT {} FROM {newest} LEFT JOIN {name} AS old ON {same} WHERE old.{first} IS NULL",
                values.join(", ")
            ))
            .await
            .map(drop)
    }
}
