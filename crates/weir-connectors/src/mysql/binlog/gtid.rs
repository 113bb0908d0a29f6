//! Global transaction ids: what a server has executed, as a set (MySQL) or as a last id per domain (MariaDB). Pure.
//!
//! The text forms are the servers' own, with `,` and no line breaks between parts.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use uuid::Uuid;
use weir_connect::{Error, Kind, Result};

use super::super::wire::Reader;
use super::errors::{malformed, unsupported};

/// The largest number that a transaction of MySQL can have.
const LAST: u64 = i64::MAX as u64;

#[cold]
fn no_gtid(text: &str, why: &str) -> Error {
    let shown: String = text.chars().take(80).collect();
    Error::new("WEIR-MY-068", Kind::Spec, format!("`{shown}` is no GTID position")).because(why.to_string()).hint(
        "MySQL: `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77`, as SELECT @@global.gtid_executed gives it; MariaDB: `0-1-77`, as \
         SELECT @@gtid_binlog_pos gives it",
    )
}

/// A set of transactions of MySQL: per source a sorted list of closed intervals that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GtidSet {
    sources: BTreeMap<Uuid, Vec<(u64, u64)>>,
}

impl GtidSet {
    /// Whether it has no transaction.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// The intervals of every source, closed, in order.
    pub fn intervals(&self) -> impl Iterator<Item = (Uuid, u64, u64)> + '_ {
        self.sources.iter().flat_map(|(uuid, list)| list.iter().map(move |(first, last)| (*uuid, *first, *last)))
    }

    /// Whether this transaction is in it.
    pub fn contains(&self, uuid: Uuid, gno: u64) -> bool {
        self.sources.get(&uuid).is_some_and(|list| {
            let after = list.partition_point(|(first, _)| *first <= gno);
            after > 0 && list[after - 1].1 >= gno
        })
    }

    /// Adds a transaction.
    pub fn add(&mut self, uuid: Uuid, gno: u64) {
        // Nearly always the next one of its source.
        if let Some(list) = self.sources.get_mut(&uuid)
            && let Some(last) = list.last_mut()
            && last.1.checked_add(1) == Some(gno)
        {
            last.1 = gno;
            return;
        }
        self.add_interval(uuid, gno, gno);
    }

    /// Adds the transactions `first..=last`.
    pub fn add_interval(&mut self, uuid: Uuid, first: u64, last: u64) {
        if first > last {
            return;
        }
        let list = self.sources.entry(uuid).or_default();
        // All intervals that overlap or touch become one.
        let from = list.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = list.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let merged = match list.get(from..to) {
            Some([]) | None => (first, last),
            Some(touched) => (first.min(touched[0].0), touched.iter().map(|(_, end)| *end).max().unwrap_or(last).max(last)),
        };
        list.splice(from..to, [merged]);
    }

    /// Adds all of another set.
    pub fn union(&mut self, other: &Self) {
        for (uuid, first, last) in other.intervals() {
            self.add_interval(uuid, first, last);
        }
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (uuid, list) in &self.sources {
            let taken = other.sources.get(uuid).map(Vec::as_slice).unwrap_or_default();
            for (first, last) in list {
                let mut next = *first;
                let from = taken.partition_point(|(_, end)| end < first);
                for (start, end) in &taken[from..] {
                    if start > last || next > *last {
                        break;
                    }
                    if *start > next {
                        left.add_interval(*uuid, next, start - 1);
                    }
                    next = next.max(end.saturating_add(1));
                }
                left.add_interval(*uuid, next, *last);
            }
        }
        left
    }

    /// Whether the other set has all of this one.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.subtract(other).is_empty()
    }

    /// The form in which a replica says what it has, and in which a log says what came before it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&(self.sources.len() as u64).to_le_bytes());
        for (uuid, list) in &self.sources {
            out.extend_from_slice(uuid.as_bytes());
            out.extend_from_slice(&(list.len() as u64).to_le_bytes());
            for (first, last) in list {
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&(last + 1).to_le_bytes());
            }
        }
        out
    }

    /// The way back.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let cut = || malformed("a set of GTIDs that is cut or out of order");
        let mut reader = Reader(bytes);
        let sources = u64::from_le_bytes(reader.array().ok_or_else(cut)?);
        // The high byte has been the number of the format since GTIDs may have tags.
        if sources >> 56 != 0 {
            return Err(tagged());
        }
        let mut set = Self::default();
        for _ in 0..sources {
            let uuid = Uuid::from_bytes(reader.array().ok_or_else(cut)?);
            let intervals = u64::from_le_bytes(reader.array().ok_or_else(cut)?);
            for _ in 0..intervals {
                let first = u64::from_le_bytes(reader.array().ok_or_else(cut)?);
                let end = u64::from_le_bytes(reader.array().ok_or_else(cut)?);
                if first == 0 || end <= first || end > LAST + 1 {
                    return Err(cut());
                }
                set.add_interval(uuid, first, end - 1);
            }
        }
        Ok(set)
    }
}

/// GTIDs with tags exist since MySQL 8.3.
#[cold]
pub(super) fn tagged() -> Error {
    unsupported(
        "the server uses GTIDs with tags, which cannot be read yet",
        "leave gtid_next at AUTOMATIC without a tag, or start at a file and position",
    )
}

impl FromStr for GtidSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut pieces = part.split(':').map(str::trim);
            let uuid = pieces
                .next()
                .and_then(|uuid| Uuid::try_parse(uuid).ok())
                .ok_or_else(|| no_gtid(text, "a part does not begin with the UUID of a server"))?;
            let mut any = false;
            for piece in pieces {
                any = true;
                if piece.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                    return Err(tagged());
                }
                let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
                let number = |text: &str| {
                    text.trim()
                        .parse::<u64>()
                        .ok()
                        .filter(|number| (1..=LAST).contains(number))
                        .ok_or_else(|| no_gtid(text, "a transaction's number is not between 1 and 2^63"))
                };
                // The server takes an interval that ends before it begins for an empty one.
                set.add_interval(uuid, number(first)?, number(last)?);
            }
            if !any {
                return Err(no_gtid(text, "a server without transactions"));
            }
        }
        set.sources.retain(|_, list| !list.is_empty());
        Ok(set)
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (uuid, list)) in self.sources.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{uuid}")?;
            for (first, last) in list {
                if first == last {
                    write!(f, ":{first}")?;
                } else {
                    write!(f, ":{first}-{last}")?;
                }
            }
        }
        Ok(())
    }
}

/// A transaction of MariaDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MariaGtid {
    /// An order of its own.
    pub domain: u32,
    /// Where it was committed first.
    pub server: u32,
    /// Grows within the domain.
    pub sequence: u64,
}

impl FromStr for MariaGtid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.trim().split('-');
        let gtid = (|| {
            let gtid = Self {
                domain: parts.next()?.parse().ok()?,
                server: parts.next()?.parse().ok()?,
                sequence: parts.next()?.parse().ok()?,
            };
            parts.next().is_none().then_some(gtid)
        })();
        gtid.ok_or_else(|| no_gtid(text, "it is not domain-server-sequence"))
    }
}

impl fmt::Display for MariaGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

/// A position of MariaDB: the last transaction of every domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MariaGtidList {
    domains: BTreeMap<u32, MariaGtid>,
}

impl MariaGtidList {
    /// Whether it names no domain.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// In the order of the domains.
    pub fn iter(&self) -> impl Iterator<Item = MariaGtid> + '_ {
        self.domains.values().copied()
    }

    /// The last transaction of a domain.
    pub fn get(&self, domain: u32) -> Option<MariaGtid> {
        self.domains.get(&domain).copied()
    }

    /// Whether the position is at or after this transaction in its domain.
    pub fn covers(&self, gtid: MariaGtid) -> bool {
        self.get(gtid.domain).is_some_and(|last| last.sequence >= gtid.sequence)
    }

    /// Whether the position is at or after another one in each of its domains.
    pub fn covers_all(&self, other: &Self) -> bool {
        other.iter().all(|gtid| self.covers(gtid))
    }

    /// Moves the domain to this transaction: the log's order counts, not the numbers'.
    pub fn add(&mut self, gtid: MariaGtid) {
        self.domains.insert(gtid.domain, gtid);
    }
}

impl FromStr for MariaGtidList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut list = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let gtid: MariaGtid = part.parse()?;
            if list.domains.insert(gtid.domain, gtid).is_some() {
                return Err(no_gtid(text, "a domain stands in it twice"));
            }
        }
        Ok(list)
    }
}

impl fmt::Display for MariaGtidList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, gtid) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{gtid}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const A: Uuid = Uuid::from_u128(0x3e11_fa47_71ca_11e1_9e33_c80a_a942_9562);
    const B: Uuid = Uuid::from_u128(0xffff_fa47_71ca_11e1_9e33_c80a_a942_9562);

    fn set_of(parts: &[(bool, u64, u64)]) -> (GtidSet, BTreeSet<(bool, u64)>) {
        let (mut set, mut model) = (GtidSet::default(), BTreeSet::new());
        for (which, first, length) in parts {
            set.add_interval(if *which { A } else { B }, *first, first + length);
            model.extend((*first..=first + length).map(|gno| (*which, gno)));
        }
        (set, model)
    }

    fn members(set: &GtidSet) -> BTreeSet<(bool, u64)> {
        set.intervals().flat_map(|(uuid, first, last)| (first..=last).map(move |gno| (uuid == A, gno))).collect()
    }

    fn parts() -> impl Strategy<Value = Vec<(bool, u64, u64)>> {
        proptest::collection::vec((any::<bool>(), 1_u64..60, 0_u64..8), 0..12)
    }

    proptest! {
        #[test]
        fn a_set_is_what_a_plain_set_of_numbers_is(left in parts(), right in parts(), more in 1_u64..70) {
            let ((a, plain_a), (b, plain_b)) = (set_of(&left), set_of(&right));
            prop_assert_eq!(&members(&a), &plain_a);
            prop_assert_eq!(members(&a.subtract(&b)), plain_a.difference(&plain_b).copied().collect());
            prop_assert_eq!(a.is_subset_of(&b), plain_a.is_subset(&plain_b));
            prop_assert_eq!(a.contains(A, more), plain_a.contains(&(true, more)));
            let mut both = a.clone();
            both.union(&b);
            prop_assert_eq!(members(&both), plain_a.union(&plain_b).copied().collect());
            let mut one_more = a.clone();
            one_more.add(A, more);
            prop_assert!(one_more.contains(A, more) && a.is_subset_of(&one_more));
            // There is one form of a set, and it survives both ways of writing it down.
            prop_assert_eq!(&a.to_string().parse::<GtidSet>().unwrap(), &a);
            prop_assert_eq!(&GtidSet::decode(&a.encode()).unwrap(), &a);
        }

        #[test]
        fn cut_sets_are_errors(left in parts(), cut in 0_usize..100) {
            let bytes = set_of(&left).0.encode();
            if cut < bytes.len() {
                prop_assert!(GtidSet::decode(&bytes[..cut]).is_err());
            }
        }
    }

    #[test]
    fn the_servers_text_is_understood() {
        let text = format!("{A}:1-5:7,\n{}:3", B.to_string().to_uppercase());
        let set: GtidSet = text.parse().unwrap();
        assert_eq!(set.to_string(), format!("{A}:1-5:7,{B}:3"));
        assert!("".parse::<GtidSet>().unwrap().is_empty());
        for bad in ["x:1", &format!("{A}"), &format!("{A}:0"), &format!("{A}:1-x"), "0-1-5"] {
            assert_eq!(bad.parse::<GtidSet>().unwrap_err().code(), "WEIR-MY-068", "{bad}");
        }
        assert_eq!(format!("{A}:tag:1-5").parse::<GtidSet>().unwrap_err().code(), "WEIR-MY-066");
    }

    #[test]
    fn a_position_of_mariadb_moves_with_the_log() {
        let mut list: MariaGtidList = "0-1-5, 7-2-18446744073709551615".parse().unwrap();
        assert_eq!(list.to_string(), "0-1-5,7-2-18446744073709551615");
        let gtid = |text: &str| text.parse::<MariaGtid>().unwrap();
        assert!(list.covers(gtid("0-9-5")) && !list.covers(gtid("0-1-6")) && !list.covers(gtid("1-1-1")));
        list.add(gtid("0-3-6"));
        list.add(gtid("1-1-1"));
        assert_eq!(list.to_string(), "0-3-6,1-1-1,7-2-18446744073709551615");
        assert!(list.covers_all(&"0-1-6".parse().unwrap()) && !list.covers_all(&"3-1-1".parse().unwrap()));
        for bad in ["0-1", "0-1-2-3", "a-1-1", "0-1-1,0-2-2", "-1-1-1"] {
            assert!(bad.parse::<MariaGtidList>().is_err(), "{bad}");
        }
    }
}
