//! Connections that specs name, their secrets sealed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ConnectionId;

/// Bytes that only weir-control can open: key id, nonce and ciphertext, bound to tenant and connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret(pub Vec<u8>);

/// A connection to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewConnection {
    /// Unique in the tenant; what specs write after `connection:`.
    pub name: String,
    /// The connector.
    pub kind: String,
    /// The options that are not secret.
    pub options: Value,
    /// The secret options as one sealed JSON object.
    pub sealed: Option<SealedSecret>,
    /// Names of the secret options that are set.
    pub secret_names: Vec<String>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// What its maker said.
    pub body: NewConnection,
    /// Grows with each change.
    pub version: i64,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When.
    pub updated_at: DateTime<Utc>,
}

/// A name and value that specs use as `{{name}}`, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretName {
    /// The name.
    pub name: String,
    /// When it was last set.
    pub updated_at: DateTime<Utc>,
}
