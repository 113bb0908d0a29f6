//! Behaviour of the formats through the public interface.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod avro;
mod binary;
mod csv;
mod given;
mod json;
mod orc;
mod round_trip;
mod splits;
