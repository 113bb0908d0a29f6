//! The type-loss lattice. Every edge source → Arrow and Arrow → sink is exact, widening or lossy.

use arrow::datatypes::Field;
use serde::{Deserialize, Serialize};

/// Metadata key: the source system's own name of a column's type.
pub const SOURCE_TYPE: &str = "weir.source_type";
/// Metadata key: the number of a column at the source, which a rename keeps and no other column of the table ever gets.
pub const COLUMN_ID: &str = "weir.column_id";
/// Metadata key: the value that a column has, as the source prints it, in rows that were there before it was added and were not written since.
pub const FILL: &str = "weir.fill";
/// Metadata key: the edge source → Arrow, as JSON; absent means exact.
pub const SOURCE_EDGE: &str = "weir.edge";
/// Metadata key: a logical type that Arrow has no word for (`json`, `uuid`, `interval`, `xml`, …). Sinks may map it
/// to their native type; otherwise the storage type is what counts.
pub const LOGICAL_TYPE: &str = "weir.logical_type";

/// The source's name of a field's type, or Arrow's.
pub fn type_of(field: &Field) -> String {
    match field.metadata().get(SOURCE_TYPE) {
        Some(name) => name.clone(),
        None => field.data_type().to_string(),
    }
}

/// What one conversion does to values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// Every value arrives as itself and can be told apart from every other.
    Exact,
    /// Every value arrives, in a type that holds more (int4 → bigint, date → text).
    Widening {
        /// What is different.
        note: String,
    },
    /// Some values would be rounded, truncated, shifted or merged.
    Lossy {
        /// Which and why.
        reason: String,
    },
    /// The sink has no place for this type at all.
    Unsupported {
        /// Why.
        reason: String,
    },
}

impl Edge {
    /// Whether a spec has to allow this edge with `on_loss`.
    pub fn loses(&self) -> bool {
        matches!(self, Self::Lossy { .. } | Self::Unsupported { .. })
    }

    /// The worse of two consecutive edges.
    #[must_use]
    pub fn then(self, next: Edge) -> Edge {
        if next.rank() > self.rank() { next } else { self }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Exact => 0,
            Self::Widening { .. } => 1,
            Self::Lossy { .. } => 2,
            Self::Unsupported { .. } => 3,
        }
    }

    /// The edge source → Arrow that a source recorded on a field.
    pub fn of_source(field: &Field) -> Edge {
        field.metadata().get(SOURCE_EDGE).and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Edge::Exact)
    }

    /// Records this edge, and the source's type name, on a field.
    #[must_use]
    pub fn record(&self, field: Field, source_type: &str) -> Field {
        let mut metadata = field.metadata().clone();
        metadata.insert(SOURCE_TYPE.into(), source_type.into());
        if *self != Edge::Exact {
            metadata.insert(SOURCE_EDGE.into(), serde_json::to_string(self).unwrap_or_default());
        }
        field.with_metadata(metadata)
    }
}

/// How a sink stores one Arrow field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkType {
    /// The sink's own name of the type: `DECIMAL(15,2)`, `timestamptz`.
    pub name: String,
    /// What the conversion does to values.
    pub edge: Edge,
}

impl SinkType {
    /// An exact counterpart.
    pub fn exact(name: impl Into<String>) -> Self {
        Self { name: name.into(), edge: Edge::Exact }
    }
}
