//! Errors of the binlog. What the server says in an ERR packet is judged in `stream`.

use weir_connect::{Error, Kind};

/// The code of the error that says: the position asked for is not in the server's log (any more).
pub const POSITION_GONE: &str = "WEIR-MY-060";

/// Bytes that are not what the format says.
#[cold]
pub(super) fn malformed(what: impl Into<String>) -> Error {
    Error::new("WEIR-MY-061", Kind::Data, "an event of the binlog cannot be understood")
        .because(what.into())
        .hint("the event, its file and its position can be looked at with mysqlbinlog --verbose")
}

/// What the format has and this reader has not.
#[cold]
pub(super) fn unsupported(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-MY-066", Kind::Unsupported, what.into()).hint(hint)
}
