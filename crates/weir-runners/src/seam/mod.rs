//! Changing the engine of a pipeline without reading everything again: where it is, in words that other engines understand.
//!
//! ```text
//! native run, stopped ──export──▶ State ──start──▶ the engine's own start options (`begin`), in the artefact
//!                     ◀──import──       ◀── whoever stops the other engine writes down where it is
//! ```
//!
//! * this file: the document ([`State`]), version 1, and what is repeated at the seam ([`repeats`]);
//! * [`position`]: the connectors' own positions as places of their systems, and back;
//! * [`begin`]: a pipeline, and the artefact made of it, that begin there.
//!
//! What is not here: where states are kept (`weir_engine`), and state over event time, which no other engine can read.

pub mod begin;
pub mod position;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::cursor::CursorState;
use weir_error::{Error, Kind, Result};
use weir_spec::Engine;

/// Version of the document.
pub const VERSION: u32 = 1;

/// Where a pipeline is. Everything before these places is in its sinks, and nothing behind them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Version of the document: 1.
    pub version: u32,
    /// The pipeline.
    pub pipeline: String,
    /// When it was written down: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_at: Option<String>,
    /// Its sources.
    pub sources: Vec<SourceState>,
    /// The engine that `start` is for; not read back.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// The same places in the words of that engine; not read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Value>,
}

/// Where one source is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceState {
    /// The source node.
    pub node: String,
    /// The stream: a table, a topic. Of a log, which has one place for all of its tables, the node once more.
    pub stream: String,
    /// Where it goes on.
    pub at: At,
}

/// A place in a system, in that system's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum At {
    /// A topic of Kafka: by partition, the offset of the next record to read.
    KafkaOffsets {
        /// The topic.
        topic: String,
        /// Its number at the brokers, which tells it from one that was made anew under its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic_id: Option<String>,
        /// Partition → offset.
        offsets: BTreeMap<u32, u64>,
    },
    /// PostgreSQL's log: everything that was committed before `lsn`. The slot holds what comes after it.
    PostgresLog {
        /// The slot.
        slot: String,
        /// `16/B374D848`.
        lsn: String,
        /// The database.
        database: String,
    },
    /// The log of MySQL or MariaDB.
    MysqlLog {
        /// The file.
        file: String,
        /// The byte in it behind the last transaction that is done.
        position: u64,
        /// The transactions that are done, by name, where the server names them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gtids: Option<String>,
    },
    /// `mode: incremental`: the largest value of a column so far.
    Cursor {
        /// The column.
        column: String,
        /// Its largest value: RFC 3339 for timestamps, digits for numbers.
        value: String,
        /// `${last_run_time}` of the next run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_run_time: Option<String>,
        /// Which rows at that value (and within the `lag` before it) were read; without it they are read again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boundary: Option<CursorState>,
    },
}

impl State {
    /// Of a document's text.
    ///
    /// # Errors
    /// It is no such document, or of another version.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::new("WEIR-SEAM-001", Kind::Spec, "this is no state of a pipeline")
                .at(place.to_owned())
                .because(why)
                .hint("docs/how-to/change-engine.md shows the document; `weir state export` writes it")
        };
        let value: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        match value.get("version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            other => {
                let found = other.map_or("no `version`".into(), |version| format!("version {version}"));
                return Err(wrong(format!("it has {found}, and this program reads version {VERSION}")));
            }
        }
        serde_json::from_value(value).map_err(|error| wrong(error.to_string()))
    }

    /// What it says of a source, by node and stream; a node with one place needs no stream.
    pub fn of(&self, node: &str, stream: &str) -> Option<&At> {
        let mut mine = self.sources.iter().filter(|source| source.node == node);
        self.sources.iter().find(|source| source.node == node && source.stream == stream).map(|source| &source.at).or_else(|| {
            match (mine.next(), mine.next()) {
                (Some(only), None) if only.stream == node => Some(&only.at),
                _ => None,
            }
        })
    }

    /// All places of a node.
    pub fn places<'s>(&'s self, node: &'s str) -> impl Iterator<Item = &'s At> {
        self.sources.iter().filter(move |source| source.node == node).map(|source| &source.at)
    }
}

/// What happens to rows at the seam when an engine begins at this place: which are repeated, by whom. Nothing is left out.
pub fn repeats(at: &At, engine: Engine) -> &'static str {
    match (at, engine) {
        (At::KafkaOffsets { .. }, _) => "nothing is repeated: the offsets are those of the next records",
        (At::PostgresLog { .. }, Engine::Native) => "nothing is repeated: the position is that of the sinks",
        (At::PostgresLog { .. }, _) => {
            "the slot says where it begins: transactions that the native run had and had not yet acknowledged come again"
        }
        (At::MysqlLog { .. }, _) => "nothing is repeated: the position is behind the last transaction that is done",
        (At::Cursor { boundary: Some(_), .. }, Engine::Native) => "nothing is repeated: the rows at the last value are known",
        (At::Cursor { .. }, _) => "rows whose cursor has the last value, or lies within `lag` before it, are read again",
    }
}

/// A place that an engine cannot begin at.
pub(crate) fn cannot(engine: Engine, node: &str, why: &str, hint: &str) -> Error {
    let what = format!("{} cannot begin where source `{node}` is", engine.word());
    Error::new("WEIR-SEAM-002", Kind::Unsupported, what).because(why.to_owned()).hint(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"version": 1, "pipeline": "orders", "sources": [
        {"node": "bus", "stream": "orders", "at": {"kafka_offsets": {"topic": "orders", "offsets": {"0": 12, "1": 0}}}},
        {"node": "crm", "stream": "crm", "at": {"postgres_log": {"slot": "s", "lsn": "0/16B3748", "database": "crm"}}}]}"#;

    #[test]
    fn a_document_is_read_as_it_is_written() {
        let state = State::parse(DOCUMENT, "state.json").unwrap();
        assert_eq!(State::parse(&serde_json::to_string(&state).unwrap(), "again").unwrap(), state);
        let At::KafkaOffsets { offsets, .. } = state.of("bus", "orders").unwrap() else { panic!("{state:?}") };
        assert_eq!(offsets, &BTreeMap::from([(0, 12), (1, 0)]));
        assert!(state.of("bus", "other").is_none(), "a topic that nothing is said of");
        assert!(state.of("crm", "public.orders").is_some(), "a log has one place for all tables");
    }

    #[test]
    fn other_versions_and_other_documents_are_not_guessed() {
        for broken in ["", "{}", r#"{"version": 2}"#, r#"{"version": 1, "pipeline": "p", "sources": [{"nod": "a"}]}"#] {
            let error = State::parse(broken, "state.json").unwrap_err();
            assert_eq!((error.code(), error.exit_code()), ("WEIR-SEAM-001", 2), "{broken}");
        }
    }
}
