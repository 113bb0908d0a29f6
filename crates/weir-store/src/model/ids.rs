//! Ids as types, so that a run's id cannot be taken for a job's.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// A new, unique one; later ones sort after earlier ones.
            pub fn generate() -> Self {
                Self(uuid::Uuid::now_v7().to_string())
            }
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}

ids! {
    /// A tenant: a DNS label (`[a-z0-9-]`, at most 63), chosen by who creates it; part of paths, topics and labels.
    TenantId;
    /// A user or service account.
    PrincipalId;
    /// An API token (not its secret).
    TokenId;
    /// A job.
    JobId;
    /// A run.
    RunId;
    /// A connection.
    ConnectionId;
    /// An alert rule.
    RuleId;
    /// An alert.
    AlertId;
    /// A silence.
    SilenceId;
    /// A webhook subscription.
    SubscriptionId;
}
