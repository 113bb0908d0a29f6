//! The resume point: a token of the stream, and how far each collection's snapshot is.

use std::collections::BTreeMap;

use mongodb::bson::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_connect::source::Position as Opaque;
use weir_connect::{Error, Kind, Result};

use super::super::extjson;
use super::super::rows::Layout;
use super::super::scan::{self, Bound};
use super::reader::Start;

/// Of the written form.
pub const VERSION: u32 = 1;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// [`VERSION`]
    pub version: u32,
    /// A token means something in its database only.
    pub database: String,
    /// The stream goes on after it: canonical extended JSON.
    pub token: Option<String>,
    /// Where the stream began, for as long as there is no token: seconds and increment.
    pub start: (u32, u32),
    /// The collections that are followed.
    pub collections: BTreeMap<String, Progress>,
}

/// One collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Its columns, fixed when it was followed first.
    pub layout: Layout,
    /// The snapshot is complete.
    pub done: bool,
    /// The snapshot goes on after this key.
    pub after: Option<Bound>,
}

/// The moment that a fresh stream begins at.
pub fn at(now: Timestamp, start: &Start) -> (u32, u32) {
    match start {
        Start::At(time) => (time.time, time.increment),
        _ => (now.time, now.increment),
    }
}

impl Position {
    /// As the engine keeps it.
    pub fn write(&self) -> Opaque {
        json!(self)
    }

    /// The other way.
    pub fn read(value: &Opaque, database: &str) -> Result<Self> {
        let wrong = |why: String| {
            Error::new("WEIR-MONGO-024", Kind::Data, "the position of the change stream is not readable")
                .because(why)
                .hint("reset the pipeline's state (`weir state reset`): the next run takes a snapshot again")
        };
        let position: Self = serde_json::from_value(value.clone()).map_err(|error| wrong(error.to_string()))?;
        if position.version != VERSION {
            return Err(wrong(format!("it is of version {}", position.version)));
        }
        if position.database != database {
            return Err(wrong(format!("it belongs to the database `{}`, not to `{database}`", position.database)));
        }
        Ok(position)
    }

    /// Where the stream goes on.
    pub fn start(&self) -> Result<Start> {
        Ok(match &self.token {
            Some(token) => {
                Start::After(extjson::document(token).map_err(|error| scan::broken("the resume token is not readable", error))?)
            }
            None => Start::At(Timestamp { time: self.start.0, increment: self.start.1 }),
        })
    }
}
