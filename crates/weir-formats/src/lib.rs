//! Bytes ↔ Arrow batches: CSV, TSV, JSON, NDJSON, Parquet, Avro and ORC, with their compressions; changes → Debezium's envelope ([`debezium`]);
//! records whose schema a registry keeps ([`registered`]).
//!
//! No storage access lives here: a connector hands in an [`Input`] (random access to one object) and takes the
//! encoder's bytes to wherever they belong.
//!
//! ## Reading one file
//! 1. [`Format::from_path`] or the spec's `format` gives a [`ReadOptions`].
//! 2. [`infer_schema`] looks at a bounded part of the file: the Arrow schema, and the [`Layout`] (dialect, encoding,
//!    header) that is fixed from then on. With several files, [`unify_schemas`] makes the schema of the stream.
//! 3. [`plan_splits`] divides the file into [`FileSplit`]s. They are serialisable and carry the layout: a resumed
//!    run reads exactly what the first attempt would have read.
//! 4. [`read()`] gives a stream of [`Decoded`]: batches in the stream's schema, and dead letters.
//!
//! ## Writing one file
//! [`sink_type`] says what each column becomes (pure, for the plan), [`check_writable`] refuses a schema before a byte is
//! written, [`encoder`] turns batches into bytes that the caller drains and stores.
//!
//! ## What is promised
//! * A value arrives as itself, or its record is a dead letter, or the read fails. Nothing becomes NULL by accident.
//! * A truncated, corrupted or over-long file is an error with a `WEIR-FMT` code, never a short read and never a panic.
//! * Memory is bounded by `batch_bytes`, the record limit and the row group being read or written.
#![deny(missing_docs)]

mod avro;
mod cells;
mod columns;
mod compress;
mod conform;
mod csv;
mod csv_messages;
pub mod debezium;
mod declared;
mod fidelity;
mod format;
mod inference;
mod input;
mod json;
mod messages;
mod options;
mod orc;
mod out_buffer;
mod parquet;
mod read;
pub mod registered;
mod scalar;
mod stored;
mod text;
mod text_buffer;
mod write;

pub use cells::civil;
pub use csv::layout::CsvLayout;
pub use csv_messages::{CsvMessageOptions, CsvMessages};
pub use declared::declared_type;
pub use fidelity::{check_writable, sink_type};
pub use format::{Compression, Format};
pub use input::{Input, MemoryInput};
pub use json::JsonLayout;
pub use json::encode::json_objects;
pub use messages::{JsonMessages, Refusal};
pub use options::{
    AvroOptions, CsvOptions, CsvWriteOptions, Decimals, ExtraColumns, Header, JsonOptions, OrcOptions, ParquetOptions,
    QuoteStyle, Ragged, ReadOptions, WriteOptions,
};
pub use read::{
    DecodeStream, Decoded, FilePosition, FileSplit, Inferred, Layout, infer_schema, plan_splits, read, unify_schemas,
};
pub use write::{Encoder, encoder};
