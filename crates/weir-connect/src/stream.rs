//! Names and shapes of streams, and the small words of the spec that connectors need.

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

/// A stream that a source offers: a table, a file set, an endpoint.
///
/// Field metadata used throughout: `weir.source_type` (the system's own name of the type, `numeric(15,2)`),
/// `weir.edge` (an [`crate::Edge`] as JSON for source → Arrow; absent = exact).
#[derive(Debug, Clone)]
pub struct StreamInfo {
    /// Name as the source calls it: `public.orders`, `flights`.
    pub name: String,
    /// Arrow schema of its batches.
    pub schema: SchemaRef,
    /// Columns of the primary key; empty if there is none.
    pub primary_key: Vec<String>,
    /// About how many rows, if the system knows cheaply.
    pub estimated_rows: Option<u64>,
    /// About how many bytes at the source.
    pub estimated_bytes: Option<u64>,
    /// How it will be read and resumed, one line for `weir plan`: `8 ctid splits, one snapshot`.
    pub reading: String,
}

/// How rows enter a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, Default)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// Add rows to what is there.
    #[default]
    Append,
    /// Replace everything, in one swap at the end of the run; a failed run leaves the old data as it was.
    Overwrite,
    /// Insert or replace by `key`.
    Upsert,
    /// Like `upsert`, but only the columns that the stream has are changed.
    Merge,
}

impl WriteMode {
    /// The word in the spec.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Overwrite => "overwrite",
            Self::Upsert => "upsert",
            Self::Merge => "merge",
        }
    }
}

/// What a stream's schema may do between and during runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, Default)]
#[serde(rename_all = "snake_case")]
pub enum SchemaChangePolicy {
    /// New columns are added to the sink, types are widened; nothing is ever narrowed or dropped.
    #[default]
    Evolve,
    /// Any difference fails the run before a row is written.
    Freeze,
    /// The stream stops until a person approves the change.
    Hold,
    /// Rows that carry a value in an unknown column, or do not fit, go to the dead letters.
    DiscardRow,
    /// Unknown columns are left out; the rest is written.
    DiscardColumn,
}

/// What to do with a column that has no exact counterpart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnLoss {
    /// For every column that is not named in `columns`.
    pub default: LossChoice,
    /// Per column name.
    pub columns: std::collections::BTreeMap<String, LossChoice>,
}

/// One choice of [`OnLoss`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossChoice {
    /// Refuse the run.
    #[default]
    Error,
    /// Carry the value as text, exactly as the source prints it.
    String,
    /// Take the nearest value and accept the loss.
    Accept,
    /// Leave the column out.
    Drop,
}

impl OnLoss {
    /// The choice for a column.
    pub fn for_column(&self, name: &str) -> LossChoice {
        self.columns.get(name).copied().unwrap_or(self.default)
    }
}

/// A record that could not be processed, kept with its error, position and bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Stream it came from.
    pub stream: String,
    /// Stable error code.
    pub code: String,
    /// What was wrong with it, in words.
    pub reason: String,
    /// Where it was: `file.csv:1203`, `page 7 record 12`.
    pub place: String,
    /// The record as it came, as far as it could be read; at most 1 MiB is kept.
    #[serde(with = "bytes_as_text")]
    pub payload: Vec<u8>,
    /// The media type of the payload: `text/csv`, `application/json`, `application/octet-stream`.
    pub media_type: String,
}

mod bytes_as_text {
    //! Bytes as text if they are UTF-8, else as a list of numbers: readable in JSON lines without another crate.
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => text.serialize(serializer),
            Err(_) => bytes.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        match value {
            serde_json::Value::String(text) => Ok(text.into_bytes()),
            other => serde_json::from_value(other).map_err(serde::de::Error::custom),
        }
    }
}
