//! (dev) Real servers, faults, seeds and oracles for tests.
//!
//! A server is started by the test that needs it and never skipped.

pub mod cache;
pub mod minio;
pub mod process;
