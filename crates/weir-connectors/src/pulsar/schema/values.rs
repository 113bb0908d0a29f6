//! Columns in the making, of messages whose schema the broker has.

use std::sync::Arc;

use arrow::array::ArrayRef;
use weir_connect::{Error, Result};
use weir_formats::registered::{RegisteredRows, Resolution};
use weir_formats::{JsonMessages, JsonOptions, Refusal};

use super::super::unpack::Incoming as Message;
use super::incoming::{Incoming, Known, Ways};
use super::kept::{Version, shown, sized};
use super::side::{Side, Way, as_avro};

/// The columns of one side.
enum Rows {
    Record(Box<RegisteredRows>),
    Json(Box<JsonMessages>),
}

impl Rows {
    fn new(side: &Side, json: &JsonOptions) -> Result<Self> {
        Ok(if side.is_json() {
            Self::Json(Box::new(JsonMessages::new(side.columns(), None, json)?))
        } else {
            Self::Record(Box::new(RegisteredRows::new(side.definition(), side.columns(), json)?))
        })
    }

    /// A row more, or a refusal and no row. `only_look`: no row in either case.
    fn push(&mut self, way: &Way, bytes: &[u8], only_look: bool) -> Result<(), Refusal> {
        let refused = |reason: String| Refusal { code: "WEIR-PULSAR-028", reason };
        let record = |rows: &mut RegisteredRows, way: &Resolution, bytes: &[u8]| match only_look {
            true => rows.check(way, bytes),
            false => rows.push(way, bytes),
        };
        match (self, way) {
            (Self::Record(rows), Way::Record(resolution)) => record(rows, resolution, bytes),
            (Self::Record(rows), Way::Simple(kind, resolution)) => {
                let bytes = as_avro(*kind, bytes).map_err(refused)?;
                record(rows, resolution, &bytes)
            }
            (Self::Json(rows), Way::Json) => {
                rows.push(bytes)?;
                if only_look {
                    rows.take_back();
                }
                Ok(())
            }
            _ => Err(refused("the message is of another kind than the stream".to_owned())),
        }
    }

    fn push_nulls(&mut self) {
        match self {
            Self::Record(rows) => rows.push_nulls(),
            Self::Json(rows) => rows.push_nulls(),
        }
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        match self {
            Self::Record(rows) => rows.finish(),
            Self::Json(rows) => rows.finish(),
        }
    }
}

/// The columns of values and keys.
pub struct Values {
    schemas: Arc<Incoming>,
    value: Rows,
    key: Option<Rows>,
    /// The version of the message before.
    last: Option<(Version, Arc<Ways>)>,
    /// Keys and values do not fit together any more.
    torn: Option<Refusal>,
}

impl Values {
    /// Builders for the columns of a topic.
    ///
    /// # Errors
    /// A column that has no form.
    pub fn new(schemas: &Arc<Incoming>, json: &JsonOptions) -> Result<Self> {
        let key = schemas.key().map(|side| Rows::new(side, json)).transpose()?;
        Ok(Self { value: Rows::new(schemas.value(), json)?, key, schemas: schemas.clone(), last: None, torn: None })
    }

    fn ways(&mut self, message: &Message) -> Result<Arc<Ways>, Refusal> {
        let refused = |reason: String| Refusal { code: "WEIR-PULSAR-026", reason };
        let Some(version) = &message.schema else {
            let reason = "its producer announced no schema, so nobody knows by which one it was written; `format: raw` takes it";
            return Err(refused(reason.to_owned()));
        };
        if let Some((last, ways)) = &self.last
            && last == version
        {
            return Ok(ways.clone());
        }
        match self.schemas.known(version) {
            Some(Known::Ways(ways)) => {
                self.last = Some((version.clone(), ways.clone()));
                Ok(ways)
            }
            Some(Known::Refused(refusal)) => Err(refusal),
            Some(Known::Changed(_)) => {
                let what = "came later than the stream's and has other columns; the next run reads it";
                Err(refused(format!("schema {} {what}", shown(version))))
            }
            None => Err(refused(format!("nothing is known of schema {}", shown(version)))),
        }
    }

    /// Takes a message: a row more, or a refusal and no row.
    ///
    /// # Errors
    /// What it is not taken for.
    pub fn push(&mut self, message: &Message) -> Result<(), Refusal> {
        let ways = self.ways(message)?;
        let (Some(keys), Some(way)) = (&mut self.key, &ways.key) else {
            return self.value.push(&ways.value, &message.payload, false);
        };
        let in_key = |refusal: Refusal| Refusal { reason: format!("the key: {}", refusal.reason), ..refusal };
        let (key, value) = match ways.separated {
            true => (message.key.as_deref(), message.payload.as_slice()),
            false => both(&message.payload)?,
        };
        // First looked at: when the value is refused there must be no key for it.
        if let Some(key) = key {
            keys.push(way, key, true).map_err(in_key)?;
        }
        self.value.push(&ways.value, value, false)?;
        match key {
            Some(key) => keys.push(way, key, false).map_err(|refusal| {
                self.torn = Some(refusal.clone());
                in_key(refusal)
            }),
            None => {
                keys.push_nulls();
                Ok(())
            }
        }
    }

    /// The columns of the values and those of the keys so far; the builders are empty afterwards.
    ///
    /// # Errors
    /// A list column of over 2^31 elements.
    pub fn finish(&mut self) -> Result<(Vec<ArrayRef>, Vec<ArrayRef>)> {
        if let Some(refusal) = self.torn.take() {
            return Err(Error::internal("a key was looked at and taken, and then it was not").because(refusal.reason));
        }
        let key = match &mut self.key {
            Some(keys) => keys.finish()?,
            None => Vec::new(),
        };
        Ok((self.value.finish()?, key))
    }
}

/// Key and value of a payload that has both.
fn both(payload: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Refusal> {
    let broken = || Refusal {
        code: "WEIR-PULSAR-028",
        reason: "the payload is no key and value: their lengths are not in front of them, or are not theirs".to_owned(),
    };
    let (key, rest) = sized(payload).ok_or_else(broken)?;
    match sized(rest).ok_or_else(broken)? {
        (Some(value), []) => Ok((key, value)),
        (None, []) => Err(Refusal { code: "WEIR-PULSAR-022", reason: "the message has no value (a tombstone)".to_owned() }),
        _ => Err(broken()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_with_key_and_value_is_taken_apart_to_its_last_byte() {
        assert_eq!(both(b"\0\0\0\x01k\0\0\0\x02ab").unwrap(), (Some(&b"k"[..]), &b"ab"[..]));
        assert_eq!(both(b"\xff\xff\xff\xff\0\0\0\0").unwrap(), (None, &b""[..]));
        let code = |payload: &[u8]| both(payload).unwrap_err().code;
        assert_eq!(code(b"\0\0\0\x01k\xff\xff\xff\xff"), "WEIR-PULSAR-022");
        for bad in [&b""[..], b"\0\0\0\x01k", b"\0\0\0\x09k\0\0\0\0", b"\0\0\0\0\0\0\0\0x", b"\xff\xff\xff\xfe\0\0\0\0"] {
            assert_eq!(code(bad), "WEIR-PULSAR-028", "{bad:?}");
        }
    }
}
