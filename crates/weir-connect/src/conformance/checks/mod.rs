//! The checks, by the side of the connector that they look at. A check returns an error where a promise does not hold.

pub mod options;
pub mod sink;
pub mod source;

use weir_error::{Error, Kind, Result};

use super::report::Outcome;

/// Fails with a text unless the condition holds.
fn ensure(condition: bool, what: impl FnOnce() -> String) -> Result<()> {
    if condition { Ok(()) } else { Err(fails(what())) }
}

fn fails(what: impl Into<String>) -> Error {
    Error::new("WEIR-TEST-003", Kind::Data, what)
}

fn passed(note: impl Into<String>) -> Result<Outcome> {
    Ok(Outcome::Passed(note.into()))
}

fn skipped(note: impl Into<String>) -> Result<Outcome> {
    Ok(Outcome::Skipped(note.into()))
}
