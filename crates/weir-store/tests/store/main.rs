//! What the store promises, on SQLite and on PostgreSQL: every test here runs on both, with two handles on one database, as two replicas
//! have them.
#![allow(clippy::unwrap_used)]

mod access;
mod audit;
mod backup;
mod connections;
mod idempotency;
mod isolation;
mod jobs;
mod monitoring;
mod opening;
mod outbox;
mod queue;
mod runs;
mod schedules;
mod speed;
mod upgrade;
mod world;
