//! What rules counted, as the store keeps it for one sink: until the sink has it.

use sqlx::any::AnyRow;
use sqlx::{Any, Row, Transaction};
use weir_error::{Error, Result};
use weir_plan::results::{KeptResult, RuleResult};

use super::FlowPlace;
use super::tables::{Tables, failed, json, now, parse};

/// Results in one answer: each is a few hundred bytes.
const PAGE: i64 = 1_000;

impl Tables {
    /// Those of an epoch that is being written. Numbers become visible in their order: [`Tables::write_epoch`] sees to it.
    pub(super) async fn insert_results(
        &self,
        tx: &mut Transaction<'_, Any>,
        place: &FlowPlace<'_>,
        epoch: i64,
        results: &[RuleResult],
    ) -> Result<()> {
        let at = now();
        for result in results {
            sqlx::query(
                "INSERT INTO rule_result (pipeline, run_id, flow, epoch, sink, at, body) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            )
            .bind(self.key(place.pipeline))
            .bind(self.key(place.run_id))
            .bind(place.flow)
            .bind(epoch)
            .bind(&result.sink)
            .bind(&at)
            .bind(json(result)?)
            .execute(&mut **tx)
            .await
            .map_err(failed)?;
        }
        Ok(())
    }

    pub(super) async fn rule_results(&self, pipeline: &str, run_id: &str, sink: &str, after: i64) -> Result<Vec<KeptResult>> {
        // As with letters: an epoch that is only prepared may be forgotten, and nothing behind it is given out before.
        let sql = "
            SELECT id, at, flow, epoch, body FROM rule_result
            WHERE pipeline = $1 AND run_id = $2 AND sink = $3 AND id > $4 AND id < COALESCE((
              SELECT min(waits.id) FROM rule_result AS waits
              JOIN epoch ON epoch.run_id = waits.run_id AND epoch.flow = waits.flow AND epoch.epoch = waits.epoch
              WHERE waits.pipeline = $1 AND waits.run_id = $2 AND waits.sink = $3 AND waits.id > $4 AND epoch.state = 'prepared'
            ), 9223372036854775807)
            ORDER BY id LIMIT $5";
        let rows = sqlx::query(sql)
            .bind(self.key(pipeline))
            .bind(self.key(run_id))
            .bind(sink)
            .bind(after)
            .bind(PAGE)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(kept).collect()
    }

    pub(super) async fn rule_results_carried(&self, pipeline: &str, run_id: &str, sink: &str, up_to: i64) -> Result<()> {
        let mut tx = self.begin_writing().await?;
        sqlx::query("DELETE FROM rule_result WHERE pipeline = $1 AND run_id = $2 AND sink = $3 AND id <= $4")
            .bind(self.key(pipeline))
            .bind(self.key(run_id))
            .bind(sink)
            .bind(up_to)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        tx.commit().await.map_err(failed)
    }
}

fn kept(row: &AnyRow) -> Result<KeptResult> {
    let at: String = row.get(1);
    let at = chrono::DateTime::parse_from_rfc3339(&at)
        .map_err(|error| Error::internal("the time of a rule's result cannot be read").because(error))?;
    let result = parse(&row.get::<String, _>(4))?;
    Ok(KeptResult { id: row.get(0), at: at.timestamp_micros(), flow: row.get(2), epoch: row.get(3), result })
}
