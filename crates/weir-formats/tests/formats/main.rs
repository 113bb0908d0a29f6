//! Behaviour of the formats through the public interface.

mod binary;
mod csv;
mod given;
mod json;
mod round_trip;
mod splits;
