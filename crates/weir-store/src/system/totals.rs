//! Totals over all runs that ever ended. They only grow, and each run counts once: its share is added in the transaction that takes its
//! event out of the outbox.

use weir_error::Result;

use crate::backend::{args, json};
use crate::model::{Delivery, RunTotal};

impl super::System {
    /// The delivery is done, and what it stands for is counted: both or neither. `false` = another worker had the delivery by then; nothing
    /// was counted.
    pub async fn delivered_with_totals(&self, delivery: &Delivery, totals: &[RunTotal]) -> Result<bool> {
        let mut tx = self.backend.begin().await?;
        // Each claim raises `attempts` by one: a worker whose lease ran out finds another number.
        let claim = i64::from(delivery.attempts) + 1;
        let mine = tx
            .execute(
                "DELETE FROM deliveries WHERE destination = $1 AND tenant_id = $2 AND seq = $3 AND attempts = $4 AND due_at IS NOT NULL",
                args![&delivery.destination, &delivery.row.tenant_id, delivery.row.seq, claim],
            )
            .await?;
        if mine == 0 {
            return Ok(false);
        }
        // One order of rows everywhere, so that two workers do not wait for each other in a circle.
        let mut ordered: Vec<(String, &RunTotal)> = Vec::with_capacity(totals.len());
        for total in totals {
            ordered.push((json(&total.labels)?, total));
        }
        ordered.sort_by(|(a, x), (b, y)| (&x.tenant_id, &x.metric, a).cmp(&(&y.tenant_id, &y.metric, b)));
        for (labels, total) in ordered {
            tx.execute(
                "INSERT INTO run_totals (tenant_id, metric, labels, value) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (tenant_id, metric, labels) DO UPDATE SET value = run_totals.value + excluded.value",
                args![&total.tenant_id, &total.metric, labels, total.value],
            )
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// All totals of all tenants, in the order of tenant, metric, labels.
    pub async fn run_totals(&self) -> Result<Vec<RunTotal>> {
        let rows = self
            .backend
            .fetch_all("SELECT tenant_id, metric, labels, value FROM run_totals ORDER BY tenant_id, metric, labels", args![])
            .await?;
        rows.iter()
            .map(|row| {
                let mut columns = row.columns();
                let tenant_id = columns.text()?.into();
                Ok(RunTotal { tenant_id, metric: columns.text()?, labels: columns.json()?, value: columns.float()? })
            })
            .collect()
    }
}
