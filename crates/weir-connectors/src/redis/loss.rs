//! Entries that were trimmed, or a stream that was deleted, before they were read.
//!
//! The server counts what it has ever added to a stream (`entries-added`, Redis 7) and what is there; the difference is what is gone. A stream is trimmed
//! from its oldest entry on, so nothing unread is gone as long as no more is gone than is accounted for: what was gone at the
//! beginning, and what was delivered since. An older server does not count; there the last entry that was delivered must still be there.

use serde::{Deserialize, Serialize};

use super::client::Facts;
use super::entries::Id;

/// How far reading got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Reading goes on after this id.
    pub id: Id,
    /// Of all entries ever added, so many are accounted for; `None`: not known.
    pub counted: Option<u64>,
    /// `id` is an entry that was delivered, not only a place to begin at.
    pub delivered: bool,
}

/// A [`Place`] as checkpoints keep it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counted: Option<u64>,
    #[serde(default)]
    delivered: bool,
}

impl From<Place> for Kept {
    fn from(place: Place) -> Self {
        Self { id: place.id.to_string(), counted: place.counted, delivered: place.delivered }
    }
}

impl Kept {
    /// Back again; `None`: its id is none.
    pub fn place(&self) -> Option<Place> {
        Some(Place { id: Id::parse(&self.id)?, counted: self.counted, delivered: self.delivered })
    }
}

impl Place {
    /// Before the oldest entry that is kept.
    pub fn earliest(facts: &Facts) -> Self {
        Self { id: Id::default(), counted: gone(facts), delivered: false }
    }

    /// Behind everything that is there.
    pub fn latest(facts: &Facts) -> Self {
        Self { id: facts.last, counted: facts.added, delivered: false }
    }

    /// At a time: before every entry that is of it or later.
    pub fn at(millis: u64) -> Self {
        Self { id: Id::before(millis), counted: None, delivered: false }
    }

    /// Behind an entry that somebody else was given.
    pub fn behind(id: Id) -> Self {
        Self { id, counted: None, delivered: false }
    }

    /// With the count, where the server lets it be known at a beginning: nothing older is there any more, so all that is gone was before it.
    pub fn anchored(self, facts: &Facts) -> Self {
        let first = facts.first.is_none_or(|first| first > self.id);
        if self.counted.is_none() && !self.delivered && first { Self { counted: gone(facts), ..self } } else { self }
    }

    /// One more entry was delivered.
    pub fn past(self, id: Id) -> Self {
        Self { id, counted: self.counted.map(|counted| counted + 1), delivered: true }
    }

    /// Nothing was left to read when the server said this.
    pub fn at_end(self, facts: &Facts) -> Self {
        Self { counted: facts.added, ..self }
    }

    /// What was lost, in words, judged at one moment with what follows this place; `None` in `facts`: the stream is not there.
    pub fn lost(&self, facts: Option<&Facts>) -> Option<String> {
        let Some(facts) = facts else {
            return (self.id > Id::default()).then(|| format!("the stream was read up to {} and is not there any more", self.id));
        };
        if self.delivered && facts.last < self.id {
            return Some(format!("the stream was read up to {} and now ends at {}: it was made anew", self.id, facts.last));
        }
        match (self.counted, facts.added, gone(facts)) {
            (Some(counted), Some(added), _) if added < counted => {
                Some(format!("{counted} entries were known, and only {added} were ever added: the stream was made anew"))
            }
            (Some(counted), Some(_), Some(gone)) => {
                (gone > counted).then(|| format!("{} entries after {} were trimmed or deleted", gone - counted, self.id))
            }
            _ if !self.delivered || facts.last == self.id => None,
            // Whether the entry itself is the only one that is gone cannot be known.
            _ => facts
                .first
                .is_none_or(|first| first > self.id)
                .then(|| format!("the last entry that was read, {}, was trimmed, and perhaps others after it", self.id)),
        }
    }
}

/// How many entries are gone, if the server counts.
fn gone(facts: &Facts) -> Option<u64> {
    facts.added.map(|added| added.saturating_sub(facts.length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        Id { millis: number, number: 0 }
    }

    /// Entries `first..=last` are there, of those that were numbered from 1.
    fn facts(first: u64, last: u64) -> Facts {
        let length = (last + 1).saturating_sub(first);
        Facts { length, last: id(last), first: (length > 0).then(|| id(first)), added: Some(last) }
    }

    fn after(number: u64) -> Place {
        (1..=number).fold(Place::earliest(&facts(1, 0)), |place, number| place.past(id(number)))
    }

    #[test]
    fn what_was_read_may_go_and_what_was_not_may_not() {
        assert_eq!(after(5).lost(Some(&facts(1, 9))), None);
        assert_eq!(after(5).lost(Some(&facts(6, 9))), None);
        assert_eq!(after(5).lost(Some(&facts(7, 9))).unwrap(), "1 entries after 5-0 were trimmed or deleted");
        assert!(after(9).lost(Some(&facts(12, 11))).is_some(), "everything is trimmed, two unread");
        assert_eq!(after(9).lost(Some(&facts(10, 9))), None, "everything is trimmed, all of it read");
    }

    #[test]
    fn what_was_gone_at_the_beginning_is_no_loss() {
        let begin = Place::earliest(&facts(4, 9));
        assert_eq!(begin.lost(Some(&facts(4, 9))), None);
        assert!(begin.lost(Some(&facts(5, 9))).is_some());
        let latest = Place::latest(&facts(4, 9));
        assert_eq!(latest.lost(Some(&facts(10, 12))), None);
        assert!(latest.lost(Some(&facts(11, 12))).is_some());
    }

    #[test]
    fn a_beginning_in_time_is_counted_once_nothing_older_is_there() {
        let older = Place::at(7).anchored(&facts(4, 9));
        assert_eq!(older.counted, None);
        let begin = Place::at(7).anchored(&facts(7, 9));
        assert_eq!(begin.lost(Some(&facts(8, 9))).unwrap(), "1 entries after 6-18446744073709551615 were trimmed or deleted");
        assert_eq!(begin.past(id(7)).lost(Some(&facts(8, 9))), None);
    }

    #[test]
    fn a_stream_that_was_made_anew_is_a_loss() {
        assert!(after(5).lost(None).is_some());
        assert_eq!(Place::earliest(&facts(1, 0)).lost(None), None);
        assert!(after(5).lost(Some(&facts(1, 3))).is_some());
        let new = Facts { length: 2, last: id(100), first: Some(id(99)), added: Some(2) };
        assert!(after(5).lost(Some(&new)).is_some(), "ids went on, the count did not");
    }

    #[test]
    fn without_a_count_the_last_entry_that_was_read_must_be_there() {
        let old = |first, last| Facts { added: None, ..facts(first, last) };
        let place = Place { counted: None, ..after(5) };
        assert_eq!(place.lost(Some(&old(5, 9))), None);
        assert!(place.lost(Some(&old(6, 9))).is_some());
        assert_eq!(place.lost(Some(&old(6, 5))), None, "everything was read");
        assert_eq!(Place::at(7).lost(Some(&old(8, 9))), None);
    }
}
