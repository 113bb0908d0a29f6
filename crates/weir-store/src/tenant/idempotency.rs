//! Answers kept for requests that are sent again with the same idempotency key, per tenant and actor, for a day.

use chrono::TimeDelta;
use weir_error::Result;

use super::TenantStore;
use crate::backend::{args, now};
use crate::fault;
use crate::model::{Idempotent, StoredResponse};

/// How long a key is remembered.
pub(crate) const KEPT: TimeDelta = TimeDelta::hours(24);

impl TenantStore {
    /// Takes the key for this request, or says what became of it. A key whose request was begun and neither finished nor abandoned (its
    /// server died) stays [`Idempotent::InProgress`] for the day: whether the request took effect is not known.
    pub async fn idempotent_begin(&self, key: &str, fingerprint: &str) -> Result<Idempotent> {
        let now = now();
        let owner = self.scope.actor().id.as_str();
        let mut tx = self.backend.begin().await?;
        let taken = tx
            .execute(
                "INSERT INTO idempotency (tenant_id, actor_id, key, fingerprint, created_at) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (tenant_id, actor_id, key) DO UPDATE SET fingerprint = excluded.fingerprint, status = NULL, headers = NULL, \
                 body = NULL, created_at = excluded.created_at WHERE idempotency.created_at < $6",
                args![self.tenant_id(), owner, key, fingerprint, now, now - KEPT],
            )
            .await?;
        if taken == 1 {
            tx.commit().await?;
            return Ok(Idempotent::New);
        }
        let row = tx
            .fetch_optional(
                "SELECT fingerprint, status, headers, body FROM idempotency WHERE tenant_id = $1 AND actor_id = $2 AND key = $3",
                args![self.tenant_id(), owner, key],
            )
            .await?;
        // It was abandoned between the two statements.
        let Some(row) = row else { return Ok(Idempotent::InProgress) };
        let mut columns = row.columns();
        if columns.str()? != fingerprint {
            return Ok(Idempotent::Mismatch);
        }
        let Some(status) = columns.opt_int()? else { return Ok(Idempotent::InProgress) };
        Ok(Idempotent::Replay(StoredResponse {
            status: u16::try_from(status).map_err(|_| fault::stored(format!("{status} is not an HTTP status")))?,
            headers_json: columns.text()?,
            body: columns.blob()?,
        }))
    }

    /// Keeps the answer to the request that took the key.
    pub async fn idempotent_finish(&self, key: &str, response: StoredResponse) -> Result<()> {
        let sql =
            "UPDATE idempotency SET status = $4, headers = $5, body = $6 WHERE tenant_id = $1 AND actor_id = $2 AND key = $3";
        let owner = self.scope.actor().id.as_str();
        let status = i64::from(response.status);
        let values = args![self.tenant_id(), owner, key, status, response.headers_json, response.body.as_slice()];
        self.backend.execute(sql, values).await.map(drop)
    }

    /// Gives the key back: the request took no effect.
    pub async fn idempotent_abandon(&self, key: &str) -> Result<()> {
        let sql = "DELETE FROM idempotency WHERE tenant_id = $1 AND actor_id = $2 AND key = $3 AND status IS NULL";
        self.backend.execute(sql, args![self.tenant_id(), self.scope.actor().id.as_str(), key]).await.map(drop)
    }
}
