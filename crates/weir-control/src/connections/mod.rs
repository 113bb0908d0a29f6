//! Stored connections and secrets, which specs name: `connection: crm-db`, `{{api_key}}`.
//!
//! * [`ConnectionService`]: store, show, delete. Secret options are sealed as one value per connection and never shown again;
//! * [`SecretService`]: secrets by name;
//! * [`test`]: trying one out.
//!
//! Nothing here connects anywhere: a test is a process of its own. What a run needs is opened by [`crate::worker::outfit`].

mod options;
mod secrets;
mod service;
mod test;
#[cfg(test)]
mod tests;

pub use secrets::{SecretService, TABLE as SECRETS_TABLE};
pub use service::{ConnectionRequest, ConnectionService, Shown};
pub use test::{ConnectionTest, test, test_draft};

/// The table of connections, as their seals know it; the row is the connection's name.
pub const TABLE: &str = "connection";
