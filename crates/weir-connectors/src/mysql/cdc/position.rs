//! The resume point: how far in the log, in the server's own terms, and for each table its columns at that place and how far its snapshot is.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use weir_connect::Result;

use super::super::binlog::{GtidSet, MariaGtid, MariaGtidList};
use super::super::catalog::RawColumn;
use super::super::types::ColumnType;
use crate::changes::position::Stored;

/// A place in the files of one server's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file; empty before the server has named one.
    pub file: String,
    /// The byte.
    pub position: u64,
}

impl Place {
    /// Files are numbered, and the numbers grow longer.
    fn number(&self) -> u64 {
        self.file.rsplit('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// How far another place of the same server is ahead, in bytes, if it is in the same file.
    pub fn distance(&self, ahead: &Self) -> Option<u64> {
        (self.file == ahead.file).then(|| ahead.position.saturating_sub(self.position))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number()).then(self.position.cmp(&other.position))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position)
    }
}

/// A transaction as the log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// MySQL's.
    Gtid(uuid::Uuid, u64),
    /// MariaDB's.
    Maria(MariaGtid),
    /// It has none: its place must do.
    Anonymous,
}

/// A set of transactions from the beginning of the log on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// By MySQL's GTIDs.
    Gtids(GtidSet),
    /// By the last one of each of MariaDB's domains.
    Maria(MariaGtidList),
    /// By the place where they end.
    Upto(Place),
}

impl Done {
    /// Nothing, in the terms in which views are placed: MariaDB's stand at a place in the files.
    pub fn none(&self) -> Self {
        match self {
            Self::Gtids(_) => Self::Gtids(GtidSet::default()),
            Self::Maria(_) | Self::Upto(_) => Self::Upto(Place::default()),
        }
    }

    /// With one more transaction, which the log has at this place.
    pub fn add(&mut self, name: &Name, place: &Place) {
        match (self, name) {
            (Self::Gtids(set), Name::Gtid(uuid, gno)) => set.add(*uuid, *gno),
            (Self::Maria(list), Name::Maria(gtid)) => list.add(*gtid),
            (Self::Upto(end), _) if *end < *place => end.clone_from(place),
            _ => {}
        }
    }

    /// Whether everything of another one, of the same kind, is in it.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gtids(all), Self::Gtids(some)) => some.is_subset_of(all),
            (Self::Maria(all), Self::Maria(some)) => all.covers_all(some),
            (Self::Upto(end), Self::Upto(other)) => other <= end,
            _ => false,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        match self {
            Self::Gtids(set) => set.to_string(),
            Self::Maria(list) => list.to_string(),
            Self::Upto(place) => place.to_string(),
        }
    }
}

/// How transactions are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// MySQL with `gtid_mode=ON`.
    Gtids,
    /// MariaDB.
    Mariadb,
    /// MySQL without.
    Files,
}

/// One value, written whole at every boundary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    version: u32,
    /// What `gtids` are.
    pub family: Family,
    /// `server_uuid`; empty for MariaDB, which has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// What was processed, by names.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gtids: String,
    /// The file of the log. With names only for people.
    pub file: String,
    /// The byte in it.
    pub position: u64,
    /// Per stream.
    pub tables: BTreeMap<String, TableProgress>,
}

/// What is known of a table at that place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableProgress {
    /// Its columns, in the order of the log.
    pub columns: Vec<ColumnNote>,
    /// Its key.
    pub key: Vec<String>,
    /// Statements that have changed it, since when no row has come that shows how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub altered: Vec<Statement>,
    /// It was dropped, and not made again yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// Its snapshot is complete.
    pub done: bool,
    /// It is taken once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// Keys up to this one were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
}

/// A snapshot of a table whose rows the targets have already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// A condition: only these rows are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
}

/// A statement and the database that it ran in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Database.
    pub database: String,
    /// Text.
    pub sql: String,
}

/// A column, in the server's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnNote {
    name: String,
    #[serde(rename = "type")]
    type_name: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    not_null: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    generated: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    charset: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    collation: String,
    /// What rows have in it that were there before it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<String>,
}

impl ColumnNote {
    /// Of a column.
    pub fn of(column: &RawColumn, fill: Option<&String>) -> Self {
        Self {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
            not_null: column.not_null,
            generated: column.generated,
            charset: column.charset.clone(),
            collation: column.collation.clone(),
            fill: fill.cloned(),
        }
    }

    /// The column again.
    pub fn column(&self) -> RawColumn {
        RawColumn {
            name: self.name.clone(),
            of: ColumnType::parse(&self.type_name),
            type_name: self.type_name.clone(),
            not_null: self.not_null,
            optional: false,
            generated: self.generated,
            charset: self.charset.clone(),
            collation: self.collation.clone(),
            default: None,
            extra: String::new(),
            comment: String::new(),
        }
    }
}

impl Position {
    /// A place without tables.
    pub fn new(server: String, done: &Done, place: &Place) -> Self {
        let mut position = Self {
            version: Self::VERSION,
            family: match done {
                Done::Gtids(_) => Family::Gtids,
                Done::Maria(_) => Family::Mariadb,
                Done::Upto(_) => Family::Files,
            },
            server,
            gtids: String::new(),
            file: String::new(),
            position: 0,
            tables: BTreeMap::new(),
        };
        position.move_to(done, place);
        position
    }

    /// Moves it.
    pub fn move_to(&mut self, done: &Done, place: &Place) {
        self.gtids = if matches!(done, Done::Upto(_)) { String::new() } else { done.text() };
        self.file.clone_from(&place.file);
        self.position = place.position;
    }

    /// What was processed.
    pub fn done(&self) -> Result<Done> {
        Ok(match self.family {
            Family::Gtids => Done::Gtids(self.gtids.parse()?),
            Family::Mariadb => Done::Maria(self.gtids.parse()?),
            Family::Files => Done::Upto(self.place()),
        })
    }

    /// Where that ends in the files.
    pub fn place(&self) -> Place {
        Place { file: self.file.clone(), position: self.position }
    }
}

impl Stored for Position {
    const CODE: &'static str = "WEIR-MY-070";
    const VERSION: u32 = 1;

    fn version(&self) -> u32 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str, position: u64) -> Place {
        Place { file: file.into(), position }
    }

    #[test]
    fn files_are_ordered_by_their_numbers() {
        assert!(place("binlog.999999", 9) < place("binlog.1000000", 4));
        assert!(place("a.b.000002", 5) < place("a.b.000002", 6));
        assert!(Place::default() < place("binlog.000001", 4));
        assert_eq!(place("b.1", 5).distance(&place("b.1", 9)), Some(4));
        assert_eq!(place("b.1", 5).distance(&place("b.2", 9)), None);
    }

    #[test]
    fn a_position_comes_back_as_it_was() {
        let column = RawColumn {
            name: "ä".into(),
            of: ColumnType::parse("enum('a','b')"),
            type_name: "enum('a','b')".into(),
            not_null: true,
            optional: false,
            generated: false,
            charset: "latin1".into(),
            collation: "latin1_bin".into(),
            default: None,
            extra: String::new(),
            comment: String::new(),
        };
        let note = ColumnNote::of(&column, Some(&"a".to_string()));
        assert_eq!(note.column(), column);
        for done in [
            Done::Gtids("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77:80".parse().unwrap()),
            Done::Maria("0-1-77,5-2-9".parse().unwrap()),
            Done::Upto(place("b.3", 77)),
        ] {
            let mut position = Position::new("s".into(), &done, &place("b.3", 77));
            let progress = TableProgress {
                columns: vec![note.clone()],
                key: vec!["ä".into()],
                altered: vec![Statement { database: "d".into(), sql: "ALTER".into() }],
                gone: false,
                again: Some(Again { only: Some("a > 1".into()) }),
                done: false,
                after: Some(vec!["9".into(), "ü".into()]),
            };
            position.tables.insert("d.t".into(), progress);
            let opaque = position.write().unwrap();
            let back = Position::read(&opaque).unwrap();
            assert_eq!(back, position);
            assert_eq!((back.done().unwrap(), back.place()), (done, place("b.3", 77)));
            let mut other = opaque;
            other["version"] = 2.into();
            assert_eq!(Position::read(&other).unwrap_err().code(), "WEIR-MY-070");
        }
    }

    #[test]
    fn what_was_processed_covers_what_came_before() {
        let mut done = Done::Maria("0-1-7".parse().unwrap());
        let wanted = Done::Maria("0-1-8,1-1-1".parse().unwrap());
        assert!(!done.covers(&wanted));
        for gtid in ["0-2-8", "1-1-1"] {
            done.add(&Name::Maria(gtid.parse().unwrap()), &Place::default());
        }
        assert!(done.covers(&wanted));
        let mut done = Done::Upto(place("b.1", 5));
        done.add(&Name::Anonymous, &place("b.2", 4));
        assert!(done.covers(&Done::Upto(place("b.1", 900))) && !done.covers(&Done::Upto(place("b.2", 5))));
    }
}
