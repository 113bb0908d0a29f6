//! The server's errors as ours: SQLSTATE → kind, retry and advice, in one place.

use weir_connect::{Error, Kind};

/// An `ErrorResponse`, kept as the source of the [`Error`] made from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`.
    pub severity: String,
    /// Five characters.
    pub sqlstate: String,
    /// The message.
    pub message: String,
    /// More about it.
    pub detail: String,
    /// The server's advice.
    pub hint: String,
    /// Context: `COPY orders, line 12, column amount`.
    pub context: String,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)?;
        for (name, text) in [("detail", &self.detail), ("hint", &self.hint), ("context", &self.context)] {
            if !text.is_empty() {
                write!(f, "; {name}: {}", text.lines().next().unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}

impl ServerError {
    /// From the fields of an `ErrorResponse` body.
    pub fn parse(body: &[u8]) -> Self {
        let mut error = Self::default();
        for field in body.split(|byte| *byte == 0) {
            let Some((kind, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            match kind {
                b'V' => error.severity = text,
                b'S' if error.severity.is_empty() => error.severity = text,
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'D' => error.detail = text,
                b'H' => error.hint = text,
                b'W' => error.context = text,
                _ => {}
            }
        }
        error
    }

    /// The error to show.
    pub fn into_error(self, place: &str) -> Error {
        let state = self.sqlstate.as_str();
        let class = state.get(..2).unwrap_or_default();
        let (code, kind, what, hint, transient): (_, _, _, &'static str, bool) = match (class, state) {
            (_, "28000") if self.message.contains("no encryption") => (
                "WEIR-PG-003",
                Kind::Auth,
                "the server refused the login",
                "the server has no rule for a login without TLS: set `ssl_mode: require`, or check user and pg_hba.conf",
                false,
            ),
            (_, "28P01" | "28000") => {
                ("WEIR-PG-003", Kind::Auth, "the server refused the login", "check user, password and pg_hba.conf", false)
            }
            (_, "3D000") => ("WEIR-PG-005", Kind::NotFound, "the database does not exist", "check `database`", false),
            (_, "42501") => (
                "WEIR-PG-006",
                Kind::Privilege,
                "the user lacks a privilege",
                "grant it as an administrator: GRANT USAGE ON SCHEMA s TO user; GRANT SELECT (reading) or INSERT (writing) ON s.t TO user",
                false,
            ),
            (_, "42P01") => ("WEIR-PG-007", Kind::NotFound, "a table does not exist (any more)", "", false),
            (_, "3F000") => ("WEIR-PG-007", Kind::NotFound, "a schema does not exist", "", false),
            (_, "42703") => ("WEIR-PG-008", Kind::Schema, "a column does not exist (any more)", "", false),
            ("08", _) => ("WEIR-PG-004", Kind::Connect, "the connection failed", "", true),
            (_, "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04") => {
                ("WEIR-PG-004", Kind::Connect, "the server ended the session", "", true)
            }
            (_, "53300") => (
                "WEIR-PG-009",
                Kind::Connect,
                "the server has no connection left",
                "raise max_connections or lower `parallelism`",
                true,
            ),
            (_, "53100") => (
                "WEIR-PG-010",
                Kind::Limit,
                "the server's disk is full",
                "free space there and run the same command again: it resumes",
                false,
            ),
            ("53", _) => ("WEIR-PG-010", Kind::Limit, "the server ran out of a resource", "", false),
            (_, "55P03") => (
                "WEIR-PG-011",
                Kind::Conflict,
                "another transaction was in the way",
                "it holds a lock for longer than lock_timeout; pg_stat_activity and pg_locks show who",
                true,
            ),
            ("40", _) => ("WEIR-PG-011", Kind::Conflict, "another transaction was in the way", "", true),
            (_, "25006") => {
                ("WEIR-PG-012", Kind::Privilege, "the server is read-only", "write to the primary, not to a standby", false)
            }
            (_, "57014") => {
                ("WEIR-PG-013", Kind::Limit, "the server cancelled the statement", "raise statement_timeout for this user", false)
            }
            ("42", _) => ("WEIR-PG-014", Kind::Spec, "the server does not accept the statement", "", false),
            ("22", _) => ("WEIR-PG-015", Kind::Data, "the server does not accept a value", "", false),
            ("23", _) => ("WEIR-PG-016", Kind::Data, "a row breaks a constraint of the table", "", false),
            _ => ("WEIR-PG-017", Kind::Data, "the server reported an error", "", false),
        };
        let mut error = Error::new(code, kind, what).at(place).because(&self);
        if !hint.is_empty() {
            error = error.hint(hint);
        }
        if transient {
            error = error.transient();
        }
        error.caused_by(self)
    }
}

/// The SQLSTATE behind an error, if the server sent one.
pub fn sqlstate(error: &Error) -> Option<&str> {
    std::error::Error::source(error)?.downcast_ref::<ServerError>().map(|server| server.sqlstate.as_str())
}

/// The network failed in the middle.
pub fn lost(place: &str, error: std::io::Error) -> Error {
    let why = if error.kind() == std::io::ErrorKind::UnexpectedEof {
        "the server closed the connection".to_string()
    } else {
        error.to_string()
    };
    Error::new("WEIR-PG-004", Kind::Connect, "the connection to the server was lost").at(place).because(why).transient()
}

/// The server said something that the protocol does not allow here.
pub fn protocol(place: &str, what: impl Into<String>) -> Error {
    Error::new("WEIR-PG-018", Kind::Data, "the server's answer cannot be understood")
        .at(place)
        .because(what.into())
        .hint("is this a PostgreSQL server, version 12 or newer?")
}
