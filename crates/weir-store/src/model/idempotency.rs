//! Answers kept for requests that are sent again.

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResponse {
    /// HTTP status.
    pub status: u16,
    /// Headers worth keeping, as a JSON object.
    pub headers_json: String,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

/// What is known of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Idempotent {
    /// Nobody used it: the caller has it now, and must finish or abandon it.
    New,
    /// The same request was answered before.
    Replay(StoredResponse),
    /// The same request is being answered, or its server died while it was: whether it took effect is not known.
    InProgress,
    /// Another request used this key.
    Mismatch,
}
