//! One document of the change stream, read. <https://www.mongodb.com/docs/manual/reference/change-events/>

use std::collections::HashSet;
use std::sync::Arc;

use mongodb::bson::Timestamp;
use weir_connect::TransactionMark;

use super::super::bson::{Malformed, Value, Writer, elements, get};
use super::super::extjson::{self, hex};

/// What everything else needs of an event. The bytes stay with the caller.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// The resume token, a document.
    pub token: &'a [u8],
    /// `insert`, `update`, …
    pub operation: &'a str,
    /// The collection, if it is about one.
    pub collection: Option<&'a str>,
    /// After a rename, the new name.
    pub renamed_to: Option<&'a str>,
    /// When it happened, in the order of the oplog.
    pub time: Timestamp,
    /// The wall clock if the server tells it, else the seconds of `time`; microseconds.
    pub at_us: i64,
    /// Session and number of the transaction.
    pub transaction: Option<String>,
    /// The whole event.
    pub document: &'a [u8],
}

fn text<'a>(document: &'a [u8], name: &str) -> Result<Option<&'a str>, Malformed> {
    Ok(match get(document, name)? {
        Some(Value::String(text)) => Some(text),
        _ => None,
    })
}

impl<'a> Event<'a> {
    /// Reads what is common to all events.
    pub fn read(document: &'a [u8]) -> Result<Self, Malformed> {
        let Some(Value::Document(token)) = get(document, "_id")? else {
            return Err(Malformed("an event without resume token".into()));
        };
        let operation = text(document, "operationType")?.ok_or_else(|| Malformed("an event without `operationType`".into()))?;
        let within = |name: &str| match get(document, name)? {
            Some(Value::Document(space)) => text(space, "coll"),
            _ => Ok(None),
        };
        let time = match get(document, "clusterTime")? {
            Some(Value::Timestamp(time, increment)) => Timestamp { time, increment },
            // `invalidate` of old servers has none; it comes after what invalidated the stream.
            _ => Timestamp { time: 0, increment: 0 },
        };
        let at_us = match get(document, "wallTime")? {
            Some(Value::Date(ms)) => ms.saturating_mul(1000),
            _ => i64::from(time.time) * 1_000_000,
        };
        let transaction = match (get(document, "lsid")?, get(document, "txnNumber")?) {
            (Some(Value::Document(session)), Some(number)) => {
                let session = match get(session, "id")? {
                    Some(Value::Binary(_, id)) => hex(id),
                    _ => String::new(),
                };
                let number = match number {
                    Value::Int64(number) => number,
                    Value::Int32(number) => number.into(),
                    _ => 0,
                };
                Some(format!("{session}:{number}"))
            }
            _ => None,
        };
        Ok(Self { token, operation, collection: within("ns")?, renamed_to: within("to")?, time, at_us, transaction, document })
    }

    /// A document in the event.
    pub fn part(&self, name: &str) -> Result<Option<&'a [u8]>, Malformed> {
        Ok(match get(self.document, name)? {
            Some(Value::Document(part)) => Some(part),
            _ => None,
        })
    }

    /// `documentKey`.
    pub fn key(&self) -> Result<&'a [u8], Malformed> {
        self.part("documentKey")?.ok_or_else(|| Malformed(format!("an event `{}` without `documentKey`", self.operation)))
    }

    /// The token as canonical text.
    pub fn token_text(&self) -> Result<String, Malformed> {
        extjson::canonical(self.token)
    }

    /// Its transaction, as the marks of rows say it.
    pub fn mark(&self, end: usize) -> TransactionMark {
        TransactionMark {
            end,
            position: format!("{}:{}", self.time.time, self.time.increment).into(),
            id: self.transaction.as_deref().map(Arc::from),
            committed_at_us: self.at_us,
        }
    }
}

/// What an update changed.
#[derive(Debug, Default)]
pub struct Update<'a> {
    /// Fields with their new values.
    pub changed: Option<&'a [u8]>,
    /// Fields that are gone.
    pub removed: Vec<&'a str>,
    /// Something inside of a field changed, not the field as a whole.
    pub inside: bool,
}

impl<'a> Update<'a> {
    /// From `updateDescription`.
    pub fn read(event: &Event<'a>) -> Result<Self, Malformed> {
        let Some(description) = event.part("updateDescription")? else { return Ok(Self { inside: true, ..Self::default() }) };
        let mut update = Self::default();
        if let Some(Value::Document(changed)) = get(description, "updatedFields")? {
            update.changed = Some(changed);
            for element in elements(changed)? {
                update.inside |= element?.0.contains('.');
            }
        }
        if let Some(Value::Array(removed)) = get(description, "removedFields")? {
            for element in elements(removed)? {
                if let Value::String(name) = element?.1 {
                    update.inside |= name.contains('.');
                    update.removed.push(name);
                }
            }
        }
        if let Some(Value::Array(truncated)) = get(description, "truncatedArrays")? {
            update.inside |= elements(truncated)?.next().is_some();
        }
        Ok(update)
    }

    /// The names of all fields that it is about.
    pub fn names(&self) -> Result<HashSet<&'a str>, Malformed> {
        let mut names: HashSet<&str> = self.removed.iter().copied().collect();
        if let Some(changed) = self.changed {
            for element in elements(changed)? {
                names.insert(element?.0);
            }
        }
        Ok(names)
    }
}

/// `{fragment, of}` of an event that the server divided.
pub fn fragment(document: &[u8]) -> Result<Option<(i64, i64)>, Malformed> {
    let Some(Value::Document(split)) = get(document, "splitEvent")? else { return Ok(None) };
    let number = |name| match get(split, name)? {
        Some(Value::Int32(value)) => Ok(i64::from(value)),
        Some(Value::Int64(value)) => Ok(value),
        _ => Err(Malformed(format!("a divided event without `{name}`"))),
    };
    Ok(Some((number("fragment")?, number("of")?)))
}

/// The pieces of one event together: each field of it is in one of them. The token is that of the last.
pub fn joined(fragments: &[Vec<u8>]) -> Result<Vec<u8>, Malformed> {
    let mut whole = Writer::default();
    let last = fragments.last().map(Vec::as_slice).unwrap_or_default();
    if let Some(token) = get(last, "_id")? {
        whole.put("_id", token)?;
    }
    for fragment in fragments {
        for element in elements(fragment)? {
            let (name, value) = element?;
            if name != "_id" && name != "splitEvent" {
                whole.put(name, value)?;
            }
        }
    }
    Ok(whole.finish())
}

/// The time that a resume token stands for. The server's tokens begin with it (0x82, then seconds and increment), as hexadecimal digits;
/// `None` for tokens of another make.
pub fn token_time(token: &[u8]) -> Option<Timestamp> {
    let Ok(Some(Value::String(data))) = get(token, "_data") else { return None };
    let data = data.strip_prefix("82")?;
    let number = |from: usize| u32::from_str_radix(data.get(from..from + 8)?, 16).ok();
    Some(Timestamp { time: number(0)?, increment: number(8)? })
}

/// What tells keys apart as the server does: equal numbers of different types are the same key.
pub fn identity(id: Value<'_>) -> Result<String, Malformed> {
    match id {
        Value::Int32(value) => Ok(format!("n{value}")),
        Value::Int64(value) => Ok(format!("n{value}")),
        Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e18 => Ok(format!("n{}", value as i64)),
        other => super::super::rows::key_text(other),
    }
}
