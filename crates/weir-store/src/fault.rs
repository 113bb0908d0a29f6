//! What goes wrong in the database, as [`weir_error::Error`]. No message here carries a value that was stored or a database's URL.

use weir_error::{Error, Kind};

/// A unique index refused a row. Callers that can say more turn it into their own error.
pub(crate) const UNIQUE: &str = "WEIR-STORE-002";

/// An error of the driver.
pub(crate) fn database(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(inner) => {
            let code = inner.code().unwrap_or_default().into_owned();
            if inner.is_unique_violation() {
                return Error::new(UNIQUE, Kind::Conflict, "a row with this key is there already").because(inner.message());
            }
            match code.as_str() {
                // SQLite: busy, locked and their extended codes; PostgreSQL: serialisation failure, deadlock, lock not available.
                "5" | "6" | "261" | "262" | "517" | "773" | "40001" | "40P01" | "55P03" => {
                    Error::new("WEIR-STORE-003", Kind::Conflict, "the database is locked by somebody else")
                        .because(inner.message())
                        .hint("try again; if it stays, look for a second program that holds the database open")
                        .transient()
                }
                // SQLite: full; PostgreSQL: disk full.
                "13" | "53100" => Error::new("WEIR-STORE-007", Kind::Io, "the database's disk is full")
                    .because(inner.message())
                    .hint("free some space; nothing of the change was kept"),
                // PostgreSQL: shutting down, starting, too many connections.
                "57P01" | "57P02" | "57P03" | "53300" => unreachable(&error),
                // PostgreSQL: no such role, wrong password; missing privilege.
                "28000" | "28P01" => {
                    Error::new("WEIR-STORE-004", Kind::Auth, "the database refused the login").because(inner.message())
                }
                "42501" => Error::new("WEIR-STORE-004", Kind::Privilege, "the database's user may not do this")
                    .because(inner.message())
                    .hint("weir's user must own its schema"),
                _ => Error::new("WEIR-STORE-001", Kind::Io, "the database failed").because(inner.message()),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => unreachable(&error),
        _ => Error::new("WEIR-STORE-001", Kind::Io, "the database failed").because(&error),
    }
}

fn unreachable(error: &sqlx::Error) -> Error {
    Error::new("WEIR-STORE-004", Kind::Connect, "the database cannot be reached")
        .because(error)
        .hint("is it running, and does DATABASE_URL name it?")
        .transient()
}

/// A stored value that this version cannot read.
pub(crate) fn stored(what: impl Into<String>) -> Error {
    Error::new("WEIR-STORE-006", Kind::Data, "a stored value cannot be read")
        .because(what.into())
        .hint("was the database written by a newer version, or changed by hand?")
}

/// There is no such thing in this tenant. The same words for what is missing and for what belongs to somebody else.
pub(crate) fn missing(what: &str) -> Error {
    Error::new("WEIR-STORE-404", Kind::NotFound, format!("there is no such {what}"))
}

/// The version or revision that the caller saw is not the newest.
pub(crate) fn stale(what: &str) -> Error {
    Error::new("WEIR-STORE-022", Kind::Conflict, format!("the {what} was changed by somebody else meanwhile"))
        .hint("read it again, look at the change, and send yours with the new ETag")
}

/// A value that must not be stored.
pub(crate) fn refused(what: impl Into<String>) -> Error {
    Error::new("WEIR-STORE-012", Kind::Spec, what)
}

/// Gives a unique index's refusal the words of the caller.
pub(crate) fn on_taken(error: Error, words: impl FnOnce() -> Error) -> Error {
    if error.code() == UNIQUE { words() } else { error }
}
