//! The metadata database: tenants, jobs, runs, connections, audit, outbox, on SQLite or PostgreSQL.
//!
//! * [`model`]: what is stored, as plain types;
//! * [`scope`]: who asks: a [`TenantScope`] opens a tenant's repositories, so that a query without a tenant does not compile;
//! * [`Store`]: opens and migrates a database; [`System`] is what the platform itself may do across tenants.
//!
//! A change, its audit row and its outbox event are one transaction; every method that writes says which events it makes. What is not here:
//! decisions (weir-control), HTTP (weir-server), the checkpoints of a run (weir-engine keeps them beside the data).

pub mod model;
pub mod scope;

pub use scope::{Actor, TenantScope};
