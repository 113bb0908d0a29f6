//! The hash chain of the audit log.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use weir_error::Result;

use crate::backend::{Columns, json};
use crate::model::{AuditRow, TenantId};

/// What the first row follows: 64 zeros.
pub(crate) const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A row as it stands in the database; `detail` is the very text that was hashed.
pub(crate) struct Link {
    pub(crate) seq: i64,
    pub(crate) at: DateTime<Utc>,
    pub(crate) actor_id: String,
    pub(crate) actor_name: String,
    pub(crate) request_id: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) action: String,
    pub(crate) target: String,
    pub(crate) outcome: String,
    pub(crate) detail: String,
    pub(crate) previous_hash: String,
    pub(crate) hash: String,
}

/// The columns of a [`Link`], in its order.
pub(crate) const COLUMNS: &str =
    "seq, at, actor_id, actor_name, request_id, trace_id, action, target, outcome, detail, previous_hash, hash";

impl Link {
    pub(crate) fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            seq: columns.int()?,
            at: columns.time()?,
            actor_id: columns.text()?,
            actor_name: columns.text()?,
            request_id: columns.opt_text()?,
            trace_id: columns.opt_text()?,
            action: columns.text()?,
            target: columns.text()?,
            outcome: columns.text()?,
            detail: columns.text()?,
            previous_hash: columns.text()?,
            hash: columns.text()?,
        })
    }

    /// What `hash` must be: SHA-256 over the hash of the row before and the JSON array of the other fields, in this order.
    pub(crate) fn digest(&self, tenant: &TenantId) -> Result<String> {
        let fields = json(&(
            tenant.as_str(),
            self.seq,
            self.at.timestamp_micros(),
            &self.actor_id,
            &self.actor_name,
            &self.request_id,
            &self.trace_id,
            &self.action,
            &self.target,
            &self.outcome,
            &self.detail,
        ))?;
        let digest = Sha256::new().chain_update(&self.previous_hash).chain_update(&fields).finalize();
        let mut text = String::with_capacity(64);
        for byte in digest {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        }
        Ok(text)
    }

    /// As the API shows it.
    pub(crate) fn row(self, tenant: &TenantId) -> Result<AuditRow> {
        Ok(AuditRow {
            seq: self.seq,
            tenant_id: tenant.clone(),
            at: self.at,
            actor_id: self.actor_id,
            actor_name: self.actor_name,
            request_id: self.request_id,
            trace_id: self.trace_id,
            action: self.action,
            target: self.target,
            outcome: self.outcome,
            detail: serde_json::from_str(&self.detail).map_err(|error| crate::fault::stored(error.to_string()))?,
            previous_hash: self.previous_hash,
            hash: self.hash,
        })
    }
}
