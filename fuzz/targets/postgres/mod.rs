//! The decoder's own files and not the crate `weir-connectors`: the build then needs no Parquet, no object store and no C library.
#![allow(dead_code)]

#[path = "../../../crates/weir-connectors/src/postgres/columns.rs"]
pub mod columns;
#[path = "../../../crates/weir-connectors/src/postgres/copy_decode.rs"]
pub mod copy_decode;
#[path = "../../../crates/weir-connectors/src/postgres/numeric.rs"]
pub mod numeric;
#[path = "../../../crates/weir-connectors/src/postgres/types.rs"]
pub mod types;
