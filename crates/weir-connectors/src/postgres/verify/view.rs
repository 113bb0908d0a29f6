//! One consistent moment of a table: sums of chunks in one scan, rows of chunks through a cursor.

use std::collections::BTreeMap;

use async_trait::async_trait;
use weir_connect::verify::{Key, Line, Sums, VerifyView};
use weir_connect::{Error, Kind, Result};

use super::super::client::{Client, Row};
use super::forms::Forms;

/// Rows that are fetched at once.
const FETCH: usize = 5_000;

/// A session in a transaction that sees one snapshot.
pub struct View {
    client: Client,
    forms: Forms,
    /// `FROM … WHERE …`.
    from: String,
    open: bool,
}

/// A hash as the server prints it.
pub fn digest(row: &Row, at: usize) -> Result<u128> {
    u128::from_str_radix(row.text(at), 16).map_err(|error| Error::internal("the server printed no hash").caused_by(error))
}

fn number<T: std::str::FromStr>(row: &Row, at: usize) -> Result<T> {
    row.text(at).parse().map_err(|_| Error::new("WEIR-PG-130", Kind::Internal, "the server printed no number where one must be"))
}

impl View {
    /// Takes the snapshot.
    pub async fn take(mut client: Client, forms: Forms, from: String, table: &str, workers: usize) -> Result<Self> {
        client
            .batch(&format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
                 SET LOCAL max_parallel_workers_per_gather = {}; SET LOCAL parallel_tuple_cost = 0; SELECT FROM {table} LIMIT 0",
                workers.saturating_sub(1)
            ))
            .await?;
        Ok(Self { client, forms, from, open: false })
    }

    fn chunk(bits: u8) -> String {
        format!("('x' || left(s.k, 4))::bit(16)::int >> {}", 16 - u32::from(bits.min(16)))
    }
}

#[async_trait]
impl VerifyView for View {
    async fn sums(&mut self, bits: u8) -> Result<BTreeMap<u32, Sums>> {
        let Forms { key, row, .. } = &self.forms;
        // OFFSET 0: or the row's hash would be computed once for each of its halves. With it the workers compute the hashes, and their leader only adds:
        // the planner does not know what a hash costs, so a row that is passed on must cost it nothing.
        let sql = format!(
            "SELECT {}, count(*), sum(('x' || left(s.r, 16))::bit(64)::bigint), sum(('x' || right(s.r, 16))::bit(64)::bigint) \
             FROM (SELECT {key} AS k, {row} AS r {} OFFSET 0) AS s GROUP BY 1",
            Self::chunk(bits),
            self.from
        );
        let rows = self.client.query(&sql, &[]).await?;
        rows.iter()
            .map(|row| Ok((number(row, 0)?, Sums { rows: number(row, 1)?, upper: number(row, 2)?, lower: number(row, 3)? })))
            .collect()
    }

    async fn open(&mut self, bits: u8, chunks: &[u32]) -> Result<()> {
        if self.open {
            self.client.batch("CLOSE weir_lines").await?;
        }
        let list: Vec<String> = chunks.iter().map(u32::to_string).collect();
        let Forms { key, row, printed, .. } = &self.forms;
        let printed: String = printed.iter().enumerate().map(|(at, printed)| format!(", {printed} AS p{at}")).collect();
        let names: String = (0..self.forms.printed.len()).map(|at| format!(", s.p{at}")).collect();
        let sql = format!(
            "DECLARE weir_lines NO SCROLL CURSOR FOR SELECT s.k, s.r{names} FROM (SELECT {key} AS k, {row} AS r{printed} {} OFFSET 0) AS s \
             WHERE {} = ANY('{{{}}}'::int[]) ORDER BY s.k COLLATE \"C\", s.r COLLATE \"C\"",
            self.from,
            Self::chunk(bits),
            list.join(",")
        );
        self.client.batch(&sql).await?;
        self.open = true;
        Ok(())
    }

    async fn next(&mut self) -> Result<Vec<Line>> {
        let rows = self.client.query(&format!("FETCH {FETCH} FROM weir_lines"), &[]).await?;
        let columns = self.forms.printed.len();
        rows.iter()
            .map(|row| {
                let values = (0..columns).map(|at| row.opt(at + 2).map(str::to_string)).collect();
                Ok(Line { key: Key { digest: digest(row, 0)?, values }, row: digest(row, 1)? })
            })
            .collect()
    }
}
