//! The API over a real listening server with a SQLite file.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod abuse;
mod conditional;
mod drafts;
mod harness;
mod hold;
mod idempotency;
mod isolation;
mod legacy;
mod openapi;
mod pages;
mod problems;
mod reach;
mod removal;
mod resources;
mod roles;
mod seeds;
mod streams;
