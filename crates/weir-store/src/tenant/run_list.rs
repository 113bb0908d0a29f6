//! Runs in lists: which, in which order, a page at a time.

use weir_error::Result;

use super::TenantStore;
use super::runs::{RUN_COLUMNS, read_run};
use crate::backend::{Backend, Value, args};
use crate::model::{Page, PageRequest, Run, RunFilter, RunKey, RunOrder};
use crate::page::{Asked, SortKey};

impl TenantStore {
    /// Runs, also of deleted jobs, newest first.
    pub async fn list_runs(&self, filter: &RunFilter, page: &PageRequest) -> Result<Page<Run>> {
        self.list_runs_by(filter, RunOrder::default(), page).await
    }

    /// The same in another order. A run whose place in it changes between two pages may be in both or in none; by when runs were queued
    /// that cannot happen.
    pub async fn list_runs_by(&self, filter: &RunFilter, order: RunOrder, page: &PageRequest) -> Result<Page<Run>> {
        let (listing, key) = sorted_by(order, &self.backend);
        let asked = Asked::of(listing, page)?;
        let mut values = args![self.tenant_id()];
        let mut sql = format!("SELECT {RUN_COLUMNS}, {} FROM runs r WHERE r.tenant_id = $1", key.sql());
        if let Some(job) = &filter.job_id {
            values.push(Value::from(job));
            sql += &format!(" AND r.job_id = ${}", values.len());
        }
        if !filter.statuses.is_empty() {
            let words: Vec<_> = filter.statuses.iter().map(|status| format!("'{}'", status.as_str())).collect();
            // Of one job the index by job is the right one; SQLite would take the one by status.
            let status = if filter.job_id.is_some() { "coalesce(r.status, '')" } else { "r.status" };
            sql += &format!(" AND {status} IN ({})", words.join(", "));
        }
        if let Some(since) = filter.since {
            values.push(Value::from(since));
            sql += &format!(" AND r.queued_at >= ${}", values.len());
        }
        sql += &asked.sorted(&key, "r.id", order.descending, &mut values);
        let rows = self.backend.fetch_all(sql, values).await?;
        asked.page(&rows, |row| {
            let mut columns = row.columns();
            let run = read_run(&mut columns)?;
            let key = key.of(&mut columns, run.id.as_str())?;
            Ok((run, key))
        })
    }
}

/// The name of the listing, so that cursors of different orders are told apart, and its key. What stands between a text and the id is less
/// than any letter.
fn sorted_by(order: RunOrder, backend: &Backend) -> (&'static str, SortKey) {
    match order.by {
        RunKey::Queued => (if order.descending { "runs" } else { "runs, oldest first" }, SortKey::number("r.queued_at")),
        RunKey::Started => ("runs by start", SortKey::number("coalesce(r.started_at, 0)")),
        RunKey::Duration => ("runs by duration", SortKey::number("coalesce(r.ended_at - r.started_at, -1)")),
        RunKey::RowsWritten => ("runs by rows", SortKey::Number(backend.sum_of("r.streams", "rows_written").into())),
        RunKey::Status => ("runs by status", SortKey::text("(r.status || '\u{1}' || r.id)")),
        RunKey::Job => (
            "runs by job",
            SortKey::text(
                "(coalesce((SELECT j.name_search FROM jobs j WHERE j.tenant_id = r.tenant_id AND j.id = r.job_id), '') || '\u{1}' || r.id)",
            ),
        ),
    }
}
