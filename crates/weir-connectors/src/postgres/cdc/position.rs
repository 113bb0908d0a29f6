//! The resume point: which server, how far in its log, and how far in the snapshot of each table.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_connect::source::Position as Opaque;

use super::decode::{Lsn, lsn_text, parse_lsn};
use super::key::Snapshot;
use crate::changes::position::Stored;

/// One value, written whole at every boundary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    version: u32,
    /// System identifier of the server.
    pub system: String,
    /// Its timeline.
    pub timeline: u32,
    /// Its database.
    pub database: String,
    /// The slot.
    pub slot: String,
    /// Everything that was committed before this is durable.
    #[serde(with = "as_text")]
    pub lsn: Lsn,
    /// Per stream.
    pub tables: BTreeMap<String, TableProgress>,
}

/// How far the snapshot of a table is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableProgress {
    /// The table's number: another one under the same name is another table.
    pub oid: u32,
    /// Its columns, as [`super::table::Shape::left`] writes them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub shape: String,
    /// Its snapshot is complete.
    pub done: bool,
    /// It is taken once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// Keys up to this one were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
    /// Chunks of which changes may still come in the log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunks: Vec<ChunkProgress>,
}

/// A snapshot of a table whose rows the targets have already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// A condition: only these rows are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

/// See [`super::key::Chunk`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkProgress {
    /// Keys above this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
    /// Up to and with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// What it was read under.
    pub snapshot: Snapshot,
    /// Until then.
    #[serde(with = "as_text")]
    pub until: Lsn,
    /// See there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

mod as_text {
    use super::{Lsn, lsn_text, parse_lsn};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&lsn_text(*lsn))
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lsn, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_lsn(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no log position")))
    }
}

impl Position {
    /// The beginning.
    pub fn new(system: String, timeline: u32, database: String, slot: String, lsn: Lsn) -> Self {
        Self { version: Self::VERSION, system, timeline, database, slot, lsn, tables: BTreeMap::new() }
    }
}

impl Stored for Position {
    const CODE: &'static str = "WEIR-PG-072";
    const VERSION: u32 = 1;

    fn version(&self) -> u32 {
        self.version
    }
}

/// Only how far it is, for acknowledgements.
pub fn lsn_of(opaque: &Opaque) -> Option<Lsn> {
    opaque.get("lsn").and_then(|text| text.as_str()).and_then(parse_lsn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_as_it_was() {
        let mut position = Position::new("7".into(), 3, "db".into(), "weir_x".into(), 0x16_B374_D848);
        let chunk = ChunkProgress {
            after: None,
            to: Some(vec!["9".into(), "ü".into()]),
            snapshot: "5:9:6".to_string().try_into().unwrap(),
            until: 77,
            gone: true,
        };
        position.tables.insert(
            "public.t".into(),
            TableProgress {
                oid: 4_000_000_000,
                shape: "1,3 f".into(),
                again: None,
                done: false,
                after: Some(vec!["9".into(), "ü".into()]),
                chunks: vec![chunk],
            },
        );
        let opaque = position.write().unwrap();
        assert_eq!(opaque["lsn"], "16/B374D848");
        assert_eq!(Position::read(&opaque).unwrap(), position);
        assert_eq!(lsn_of(&opaque), Some(position.lsn));
        let mut other = opaque;
        other["version"] = 2.into();
        assert_eq!(Position::read(&other).unwrap_err().code(), "WEIR-PG-072");
    }
}
