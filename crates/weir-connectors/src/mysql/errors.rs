//! The server's errors as ours: error number and SQLSTATE → kind, retry and advice, in one place.

use weir_connect::{Error, Kind};

/// An ERR packet, kept as the source of the [`Error`] made from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    /// The server's number.
    pub number: u16,
    /// Five characters.
    pub sqlstate: String,
    /// The message.
    pub message: String,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (error {}, SQLSTATE {})", self.message, self.number, self.sqlstate)
    }
}

impl std::error::Error for ServerError {}

impl ServerError {
    /// From the body of an ERR packet, header included.
    pub fn parse(body: &[u8]) -> Self {
        let number = body.get(1..3).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
        let rest = body.get(3..).unwrap_or_default();
        let (state, message) = match rest.split_first() {
            Some((b'#', rest)) if rest.len() >= 5 => rest.split_at(5),
            _ => (&b"HY000"[..], rest),
        };
        Self {
            number,
            sqlstate: String::from_utf8_lossy(state).into_owned(),
            message: String::from_utf8_lossy(message).into_owned(),
        }
    }

    /// The error to show.
    pub fn into_error(self, place: &str) -> Error {
        let (code, kind, what, hint, transient): (_, _, _, &'static str, bool) = match self.number {
            1045 | 1698 | 1130 | 1251 | 1862 | 3118 | 4151 => (
                "WEIR-MY-003",
                Kind::Auth,
                "the server refused the login",
                "check user, password and the hosts that the account may come from ('user'@'host')",
                false,
            ),
            3159 => ("WEIR-MY-003", Kind::Auth, "the server refused the login", "it demands TLS: set `ssl_mode: require`", false),
            1049 => ("WEIR-MY-005", Kind::NotFound, "the database does not exist", "check `database`", false),
            1044 | 1142 | 1143 | 1227 | 1370 | 1095 => (
                "WEIR-MY-006",
                Kind::Privilege,
                "the user lacks a privilege",
                "grant it as an administrator: GRANT SELECT ON db.t TO user (reading); GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP ON db.* TO user (writing)",
                false,
            ),
            1146 => ("WEIR-MY-007", Kind::NotFound, "a table does not exist (any more)", "", false),
            1054 => ("WEIR-MY-008", Kind::Schema, "a column does not exist (any more)", "", false),
            1040 | 1203 | 1226 => (
                "WEIR-MY-009",
                Kind::Connect,
                "the server has no connection left",
                "raise max_connections (or the account's limit) or lower `parallelism`",
                true,
            ),
            1021 | 1114 => (
                "WEIR-MY-010",
                Kind::Limit,
                "the server's disk is full",
                "free space there and run the same command again: it resumes",
                false,
            ),
            1205 => (
                "WEIR-MY-011",
                Kind::Conflict,
                "another transaction was in the way",
                "it holds a lock for longer than the lock wait timeout; SHOW PROCESSLIST and information_schema.INNODB_TRX show who",
                true,
            ),
            1213 | 1020 | 1689 | 3572 => ("WEIR-MY-011", Kind::Conflict, "another transaction was in the way", "", true),
            1290 | 1836 | 3100 => {
                ("WEIR-MY-012", Kind::Privilege, "the server is read-only", "write to the primary, not to a replica", false)
            }
            1317 | 1969 | 3024 => (
                "WEIR-MY-013",
                Kind::Limit,
                "the server cancelled the statement",
                "raise max_statement_time or max_execution_time for this user",
                false,
            ),
            1053 | 1077 | 1079 | 1927 | 2006 | 2013 | 4031 => {
                ("WEIR-MY-004", Kind::Connect, "the server ended the session", "", true)
            }
            1064 | 1149 | 1305 | 1630 => ("WEIR-MY-014", Kind::Spec, "the server does not accept the statement", "", false),
            1153 => (
                "WEIR-MY-010",
                Kind::Limit,
                "a value is larger than the server takes in one packet",
                "raise max_allowed_packet at the server",
                false,
            ),
            1118 | 1117 | 1074 => (
                "WEIR-MY-021",
                Kind::Schema,
                "the table would have more or larger columns than the server allows",
                "InnoDB takes 1017 columns and about 8 KB of fixed-size values per row: leave columns out, or split the stream",
                false,
            ),
            1062 | 1169 | 1586 => (
                "WEIR-MY-016",
                Kind::Data,
                "a row breaks a unique index of the table",
                "use write_mode `upsert` with a key, or remove the duplicate",
                false,
            ),
            1048 | 1216 | 1217 | 1364 | 1451 | 1452 | 3819 | 4025 => {
                ("WEIR-MY-016", Kind::Data, "a row breaks a constraint of the table", "", false)
            }
            _ => match self.sqlstate.get(..2).unwrap_or_default() {
                "08" => ("WEIR-MY-004", Kind::Connect, "the connection failed", "", true),
                "22" => ("WEIR-MY-015", Kind::Data, "the server does not accept a value", "", false),
                "23" => ("WEIR-MY-016", Kind::Data, "a row breaks a constraint of the table", "", false),
                "28" => ("WEIR-MY-003", Kind::Auth, "the server refused the login", "check user and password", false),
                "40" => ("WEIR-MY-011", Kind::Conflict, "another transaction was in the way", "", true),
                "42" => ("WEIR-MY-014", Kind::Spec, "the server does not accept the statement", "", false),
                _ => ("WEIR-MY-017", Kind::Data, "the server reported an error", "", false),
            },
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

/// The server's number behind an error, if the server sent one.
pub fn number(error: &Error) -> Option<u16> {
    std::error::Error::source(error)?.downcast_ref::<ServerError>().map(|server| server.number)
}

/// The network failed in the middle.
pub fn lost(place: &str, error: std::io::Error) -> Error {
    let why = if error.kind() == std::io::ErrorKind::UnexpectedEof {
        "the server closed the connection".to_string()
    } else {
        error.to_string()
    };
    Error::new("WEIR-MY-004", Kind::Connect, "the connection to the server was lost").at(place).because(why).transient()
}

/// The server said something that the protocol does not allow here.
pub fn protocol(place: &str, what: impl Into<String>) -> Error {
    Error::new("WEIR-MY-018", Kind::Data, "the server's answer cannot be understood")
        .at(place)
        .because(what.into())
        .hint("is this a MySQL or MariaDB server?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_packet_with_and_without_a_state_is_read() {
        let with = ServerError::parse(b"\xff\x15\x04#28000Access denied");
        assert_eq!((with.number, with.sqlstate.as_str(), with.message.as_str()), (1045, "28000", "Access denied"));
        assert_eq!(with.into_error("h").kind(), Kind::Auth);
        let without = ServerError::parse(b"\xff\x10\x04Too many connections");
        assert_eq!((without.number, without.message.as_str()), (1040, "Too many connections"));
        assert_eq!(ServerError::parse(b"\xff").number, 0);
    }
}
