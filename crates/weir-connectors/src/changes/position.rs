//! How a log's resume point is kept: one JSON value with the number of its format.

use serde::Serialize;
use serde::de::DeserializeOwned;
use weir_connect::source::Position as Opaque;
use weir_connect::{Error, Kind, Result};

/// A resume point of a log.
pub trait Stored: Serialize + DeserializeOwned {
    /// The code of the error for a value that is not understood.
    const CODE: &'static str;
    /// The format that is written, and the only one that is read.
    const VERSION: u32;

    /// The format that the value says it has.
    fn version(&self) -> u32;

    /// The one that [`Stored::write`] wrote.
    fn read(opaque: &Opaque) -> Result<Self> {
        let wrong = |why: String| {
            Error::new(Self::CODE, Kind::Conflict, "the stored position of the change log cannot be understood")
                .because(why)
                .hint("it was written by another version of Weir; `weir state reset` begins with a new snapshot")
        };
        let found: Self = serde_json::from_value(opaque.clone()).map_err(|error| wrong(error.to_string()))?;
        if found.version() != Self::VERSION {
            return Err(wrong(format!("it has format {}, and this is format {}", found.version(), Self::VERSION)));
        }
        Ok(found)
    }

    /// As the engine keeps it.
    fn write(&self) -> Result<Opaque> {
        serde_json::to_value(self).map_err(|error| Error::internal("a position cannot be written down").caused_by(error))
    }
}
