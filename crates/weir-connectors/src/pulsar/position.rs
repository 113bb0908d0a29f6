//! Where a message is, where reading goes on, and what a stream means for one run. Pure.

use std::cmp::Ordering;

use pulsar::message::proto::MessageIdData;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::{Position, Result};

use super::errors::{broken, wrong};

/// The place of an entry: the broker stores a batch of messages as one. Entry -1 is the place before a ledger's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// The ledger; ledgers of one topic have growing numbers.
    pub ledger: i64,
    /// The entry in it.
    pub entry: i64,
}

impl Entry {
    /// As the broker wrote it.
    pub fn of(id: &MessageIdData) -> Self {
        Self { ledger: id.ledger_id as i64, entry: id.entry_id as i64 }
    }

    /// As the broker reads it.
    pub fn to_wire(self) -> MessageIdData {
        MessageIdData { ledger_id: self.ledger as u64, entry_id: self.entry as u64, ..MessageIdData::default() }
    }

    /// Whether anything can be there.
    pub fn is_message(self) -> bool {
        self.ledger >= 0 && self.entry >= 0
    }
}

/// A message as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    /// Its entry.
    pub at: Entry,
    /// Its partition; `None`: of a topic without.
    pub partition: Option<u32>,
    /// Its place in the batch; `None`: it is in none.
    pub index: Option<i32>,
}

impl Id {
    /// `ledger:entry`, `ledger:entry:partition`, `ledger:entry:partition:index`.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            wrong(format!("`{text}` is no message id"), "`ledger:entry:partition`, or `ledger:entry:partition:index` in a batch")
        };
        let numbers: Vec<i64> = text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad())?;
        let (ledger, entry, partition, index) = match numbers.as_slice() {
            [ledger, entry] => (*ledger, *entry, -1, -1),
            [ledger, entry, partition] => (*ledger, *entry, *partition, -1),
            [ledger, entry, partition, index] => (*ledger, *entry, *partition, *index),
            _ => return Err(bad()),
        };
        if ledger < 0 || entry < 0 || partition < -1 || index < -1 {
            return Err(bad());
        }
        Ok(Self {
            at: Entry { ledger, entry },
            partition: u32::try_from(partition).ok(),
            index: i32::try_from(index).ok().filter(|index| *index >= 0),
        })
    }

    /// As text.
    pub fn text(&self) -> String {
        let partition = self.partition.map_or(-1, i64::from);
        let index = self.index.map(|index| format!(":{index}")).unwrap_or_default();
        format!("{}:{}:{partition}{index}", self.at.ledger, self.at.entry)
    }

    /// The place before it.
    pub fn before(&self) -> Place {
        match self.index {
            Some(index) if index > 0 => Place { at: self.at, index: Some(index - 1), open: None },
            _ => Place { at: Entry { entry: self.at.entry - 1, ..self.at }, index: None, open: None },
        }
    }
}

/// Behind a message: everything up to it was given. This is a split's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The entry of the last message that was given.
    pub at: Entry,
    /// Its index, if it is in a batch of which more is to be given; `None`: the entry was given whole.
    pub index: Option<i32>,
    /// The first chunk of the oldest message that had begun but not ended: reading begins there again, and gives nothing up to `at` a second time.
    pub open: Option<Entry>,
}

impl Place {
    /// Behind a whole entry.
    pub fn behind(at: Entry) -> Self {
        Self { at, index: None, open: None }
    }

    /// Out of a position.
    pub fn of(position: &Position) -> Result<Self> {
        serde_json::from_value(position.clone()).map_err(|_| broken(&position.to_string()))
    }

    /// As a position.
    pub fn position(&self) -> Position {
        serde_json::json!(self)
    }

    /// Whether a message at `entry` (with `index` in its batch) is behind this place, so still to be given.
    pub fn is_before(&self, entry: Entry, index: Option<i32>) -> bool {
        match entry.cmp(&self.at) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => match (self.index, index) {
                (Some(given), Some(index)) => index > given,
                _ => false,
            },
        }
    }

    /// What the broker is asked to begin behind, or, inside a batch, at.
    pub fn to_wire(self) -> MessageIdData {
        match (self.open, self.index) {
            // With an index the broker begins at the entry itself.
            (Some(open), _) => MessageIdData { batch_index: Some(0), ..open.to_wire() },
            (None, Some(index)) => MessageIdData { batch_index: Some(index), ..self.at.to_wire() },
            (None, None) => self.at.to_wire(),
        }
    }

    /// The last entry that is not needed again.
    pub fn done(&self) -> Entry {
        match (self.open, self.index) {
            (Some(open), _) => Entry { entry: open.entry - 1, ..open },
            (None, Some(_)) => Entry { entry: self.at.entry - 1, ..self.at },
            (None, None) => self.at,
        }
    }
}

/// Where a partition's reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the oldest message that is kept.
    Oldest,
    /// Behind a place.
    Behind(Place),
    /// At messages published then or later, milliseconds since 1970.
    Published(i64),
}

/// Part of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The partition; `None`: the topic has none.
    pub partition: Option<u32>,
    /// Where reading begins.
    pub start: Start,
    /// The last entry to read; `None`: without end.
    pub end: Option<Entry>,
}

impl Range {
    /// The id of its split.
    pub fn id(&self) -> String {
        self.partition.map_or_else(|| "whole".to_owned(), |partition| partition.to_string())
    }

    /// Whether there is nothing to read in it.
    pub fn is_empty(&self) -> bool {
        match (self.end, self.start) {
            (Some(end), _) if !end.is_message() => true,
            (Some(end), Start::Behind(place)) => place.index.is_none() && place.open.is_none() && place.at >= end,
            _ => false,
        }
    }
}

/// What a stream means for one run. Also a split's descriptor (with one range), the reader's state, and what the next run goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Of this format.
    pub version: u8,
    /// The topic, with tenant and namespace.
    pub topic: String,
    /// The parts.
    pub ranges: Vec<Range>,
}

impl View {
    /// Out of JSON.
    pub fn read(value: Value) -> Result<Self> {
        let view: Self = serde_json::from_value(value).map_err(|error| broken(&error.to_string()))?;
        if view.version != 1 {
            return Err(broken("it is of a later version of Weir"));
        }
        Ok(view)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ledger: i64, entry: i64) -> Entry {
        Entry { ledger, entry }
    }

    #[test]
    fn a_place_inside_a_batch_divides_it() {
        let place = Place { at: at(5, 2), index: Some(1), open: None };
        let to_come = |entry, index| place.is_before(entry, index);
        assert!(!to_come(at(5, 2), Some(0)) && !to_come(at(5, 2), Some(1)) && to_come(at(5, 2), Some(2)));
        assert!(!to_come(at(5, 1), None) && !to_come(at(4, 9), None) && to_come(at(5, 3), None) && to_come(at(6, 0), Some(0)));
        assert!(!Place::behind(at(5, 2)).is_before(at(5, 2), Some(7)));
        assert_eq!(Place::of(&place.position()).unwrap(), place);
        assert_eq!(place.to_wire().batch_index, Some(1));
        assert_eq!(place.done(), at(5, 1));
        assert_eq!(Place { open: Some(at(4, 3)), ..place }.done(), at(4, 2));
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        for text in ["12:0:-1", "12:7:3", "12:7:3:0", "12:7:-1:9"] {
            assert_eq!(Id::parse(text).unwrap().text(), text);
        }
        for bad in ["", "12", "a:b", "1:2:3:4:5", "-1:0", "1:-1"] {
            assert_eq!(Id::parse(bad).unwrap_err().code(), "WEIR-PULSAR-001", "{bad}");
        }
        assert!(Id::parse("12:7:3:4").unwrap().before().is_before(at(12, 7), Some(4)));
        assert!(!Id::parse("12:7:3:4").unwrap().before().is_before(at(12, 7), Some(3)));
        assert_eq!(Id::parse("12:0").unwrap().before(), Place::behind(at(12, -1)));
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_empty() {
        let range = |start, end| Range { partition: None, start, end }.is_empty();
        assert!(range(Start::Oldest, Some(at(3, -1))));
        assert!(range(Start::Behind(Place::behind(at(3, 4))), Some(at(3, 4))));
        assert!(!range(Start::Behind(Place { at: at(3, 4), index: Some(0), open: None }), Some(at(3, 4))));
        assert!(!range(Start::Oldest, Some(at(3, 0))) && !range(Start::Oldest, None));
    }
}
