//! What the connectors promise.
