//! Reading: the newest version of a topic's schema says what the columns are; the messages of every other one are read into these.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, Schema, SchemaRef};
use pulsar::message::proto::schema::Type;
use weir_connect::{Edge, Error, Kind, Result};
use weir_formats::Refusal;

use super::super::client::Address;
use super::super::wire::Connection;
use super::kept::{Half, Kept, STRANGE, Version, is_later, shown, word};
use super::side::{Side, Way};

/// How long a version that the broker does not know stays unknown.
const UNKNOWN: Duration = Duration::from_secs(30);
/// Versions that are remembered, before those that led nowhere are forgotten.
const MOST: usize = 4096;

/// What is known of a version.
#[derive(Debug, Clone)]
pub enum Known {
    /// How its messages are read.
    Ways(Arc<Ways>),
    /// Why they cannot be.
    Refused(Refusal),
    /// It came later than the stream's, and has other columns: these.
    Changed(Columns),
}

/// How the messages of one version are read.
#[derive(Debug)]
pub struct Ways {
    /// Their keys; `None`: the schema says nothing of keys.
    pub key: Option<Way>,
    /// Their values.
    pub value: Way,
    /// The key is the message's own; else both are in the payload.
    pub separated: bool,
}

/// What the columns of a schema are.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// Of the value.
    pub value: SchemaRef,
    /// Of the key, by their names in the stream; each may be NULL, because a message may have no key.
    pub key: SchemaRef,
}

/// A schema, understood.
#[derive(Debug)]
struct Sides {
    key: Option<Side>,
    value: Side,
    separated: bool,
}

/// The schemas of one topic.
#[derive(Debug)]
pub struct Incoming {
    topic: String,
    kind: Type,
    reader: Sides,
    reader_version: Version,
    columns: Columns,
    known: Mutex<HashMap<Version, (Known, Instant)>>,
}

fn refused(version: &[u8], error: &Error) -> Known {
    let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
    Known::Refused(Refusal { code: error.code(), reason: format!("schema {}: {error}{advice}", shown(version)) })
}

impl Sides {
    fn of(kept: &Kept, kind: Type) -> Result<Self> {
        if kept.kind() != kind {
            let what = format!("the schema is of the kind {}, and the stream's is {}", word(kept.kind()), word(kind));
            return Err(Error::new("WEIR-PULSAR-007", Kind::Schema, what));
        }
        if kind != Type::KeyValue {
            return Ok(Self { key: None, value: Side::of(&kept.half)?, separated: false });
        }
        let pair = kept.pair()?;
        let side = |half: &Half, of: &str| Side::of(half).map_err(|error| error.at(format!("the schema of the {of}")));
        Ok(Self { key: Some(side(&pair.key, "key")?), value: side(&pair.value, "value")?, separated: pair.separated })
    }

    fn columns(&self) -> Columns {
        let key = self.key.as_ref().map(|key| {
            key.columns().fields().iter().map(|field| {
                let named = field.as_ref().clone().with_name(format!("_key_{}", field.name())).with_nullable(true);
                Edge::Exact.record(named, "key")
            })
        });
        let key: Vec<Field> = key.into_iter().flatten().collect();
        Columns { value: self.value.columns().clone(), key: Arc::new(Schema::new(key)) }
    }

    /// How messages that `writer` wrote are read, and what these have no column for.
    fn ways(&self, writer: &Self) -> Result<(Ways, Vec<String>)> {
        let (value, mut extra) = self.value.way(&writer.value)?;
        let key = match (&self.key, &writer.key) {
            (Some(mine), Some(its)) => {
                let (key, more) = mine.way(its)?;
                extra.extend(more.into_iter().map(|name| format!("_key_{name}")));
                Some(key)
            }
            _ => None,
        };
        Ok((Ways { key, value, separated: writer.separated }, extra))
    }
}

impl Incoming {
    /// The columns of `latest`, the newest schema of a topic.
    ///
    /// # Errors
    /// What it cannot be read for.
    pub fn new(topic: String, latest: &Kept) -> Result<Self> {
        let kind = latest.kind();
        let reader = Sides::of(latest, kind).map_err(|error| error.at(format!("{topic} schema {}", shown(&latest.version))))?;
        let columns = reader.columns();
        Ok(Self { topic, kind, reader, reader_version: latest.version.clone(), columns, known: Mutex::default() })
    }

    /// What the stream's columns are made of.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// What values are read into.
    pub fn value(&self) -> &Side {
        &self.reader.value
    }

    /// What keys are read into.
    pub fn key(&self) -> Option<&Side> {
        self.reader.key.as_ref()
    }

    /// What is known of a version; `None`: ask [`Incoming::learn`] first.
    pub fn known(&self, version: &[u8]) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(version).filter(|(_, until)| Instant::now() < *until).map(|(known, _)| known.clone())
    }

    /// Whether messages of a version have their key beside the payload.
    pub fn keys_are_apart(&self, version: Option<&[u8]>) -> bool {
        match version.and_then(|version| self.known(version)) {
            Some(Known::Ways(ways)) => ways.separated,
            _ => self.reader.separated,
        }
    }

    /// Asks the broker for a version. One that it does not have, or that cannot be read, is known as such; only a broker that does not answer is an
    /// error.
    ///
    /// # Errors
    /// What the broker says, or that it says nothing.
    pub async fn learn(&self, address: &Address, connection: &mut Connection, version: &Version) -> Result<()> {
        let forever = Instant::now() + Duration::from_secs(1 << 30);
        let (known, until) = match address.schema_on(connection, &self.topic, Some(version.as_ref())).await {
            Ok(Some(kept)) => (self.ways(version, &kept).unwrap_or_else(|error| refused(version, &error)), forever),
            Ok(None) => {
                let reason = format!("the broker does not know version {} of the topic's schema", shown(version));
                (Known::Refused(Refusal { code: "WEIR-PULSAR-026", reason }), Instant::now() + UNKNOWN)
            }
            Err(error) if error.code() == STRANGE => (refused(version, &error), forever),
            Err(error) => return Err(error),
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, (known, _)| matches!(known, Known::Ways(_)));
        }
        all.insert(version.clone(), (known, until));
        Ok(())
    }

    fn ways(&self, version: &[u8], kept: &Kept) -> Result<Known> {
        let writer = Sides::of(kept, self.kind)?;
        let found = self.reader.ways(&writer);
        let whole = found.as_ref().is_ok_and(|(_, extra)| extra.is_empty());
        if !whole && is_later(version, &self.reader_version) {
            let columns = writer.columns();
            if columns != self.columns {
                return Ok(Known::Changed(columns));
            }
        }
        let (ways, extra) = found?;
        if !whole {
            tracing::warn!(
                target: "weir::pulsar",
                "{}: schema {} has fields that the stream's schema {} has not, or has otherwise: {}",
                self.topic, shown(version), shown(&self.reader_version), extra.join(", ")
            );
        }
        Ok(Known::Ways(Arc::new(ways)))
    }
}
