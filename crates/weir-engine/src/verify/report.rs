//! What a comparison found, for people and machines.

use std::collections::BTreeMap;

use serde::Serialize;

/// The whole pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// Its name.
    pub pipeline: String,
    /// Whether every stream is proven equal.
    pub equal: bool,
    /// One per stream and sink.
    pub streams: Vec<StreamVerdict>,
    /// Streams that have nothing to be compared with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_compared: Vec<NotCompared>,
}

/// A stream that is in the source's log only.
#[derive(Debug, Clone, Serialize)]
pub struct NotCompared {
    /// The stream.
    pub name: String,
    /// Why.
    pub why: String,
}

/// One stream and one sink.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StreamVerdict {
    /// The stream.
    pub name: String,
    /// Where its rows come from.
    pub source: String,
    /// Where they are.
    pub sink: String,
    /// Nothing differs, nothing is in motion.
    pub equal: bool,
    /// Rows at the source at the moment of its view.
    pub rows_source: u64,
    /// Rows at the sink at the moment of its view.
    pub rows_sink: u64,
    /// Chunks that were compared.
    pub chunks: u64,
    /// Of them, those whose checksums were not the same; their rows were compared one by one.
    pub chunks_suspected: u64,
    /// Keys that differ: all of them, however many are listed.
    pub differing_keys: u64,
    /// The first of them.
    pub differing: Vec<Difference>,
    /// Keys that changed each time they were looked at, or that the pipeline has not got to: neither equal nor different.
    pub in_motion: u64,
    /// Keys that only the sink has, where `delete_mode: ignore` or `write_mode: append` lets it keep them.
    pub kept: u64,
    /// Keys that were mended before this comparison.
    pub repaired: u64,
    /// Columns that were not compared, and why.
    pub left_out: Vec<LeftOut>,
    /// What a reader of the report must know.
    pub notes: Vec<String>,
    /// When the comparison ended (RFC 3339, UTC).
    pub checked_at: String,
}

/// A key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its columns; without a key the hash of the row.
    pub key: BTreeMap<String, Option<String>>,
    /// How.
    pub kind: DifferenceKind,
    /// The columns whose values are not the same. Values are not told: they may be personal.
    pub columns: Vec<String>,
}

/// How a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The sink lacks the row, or a copy of it.
    Missing,
    /// The sink has a row that the source has not.
    Extra,
    /// The sink has the row, and more copies of it than the source.
    Repeated,
    /// Both have it, with other values.
    Differs,
}

impl DifferenceKind {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Repeated => "repeated",
            Self::Differs => "differs",
        }
    }
}

/// A column that was not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The column.
    pub column: String,
    /// Why.
    pub why: String,
}
