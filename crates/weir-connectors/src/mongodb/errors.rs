//! The driver's errors as ours: server code → kind, retry and advice, in one place.

use mongodb::error::{Error as DriverError, ErrorKind as DriverKind, WriteFailure};
use weir_connect::{Error, Kind};

/// The code that the server gave, if it was the server.
pub fn server_code(error: &DriverError) -> Option<i32> {
    match error.kind.as_ref() {
        DriverKind::Command(command) => Some(command.code),
        DriverKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        DriverKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        _ => None,
    }
}

/// Codes of a server that is stepping down, shutting down or not the primary (any more).
const FAILOVER: [i32; 12] = [6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436];

/// The server is not the primary (any more), or about to be.
pub fn hands_over(error: &DriverError) -> bool {
    server_code(error).is_some_and(|code| FAILOVER.contains(&code))
}

/// The error to show.
pub fn shown(error: DriverError, place: &str) -> Error {
    let code = server_code(&error);
    let mine = |code: &'static str, kind: Kind, what: &str| Error::new(code, kind, what).at(place).because(&error);
    let shown = match (code, error.kind.as_ref()) {
        (Some(286), _) => history_lost(place, &error),
        (Some(280 | 260 | 50811), _) => {
            mine("WEIR-MONGO-021", Kind::NotFound, "the change stream cannot go on from this resume token")
                .hint("reset the pipeline's state (`weir state reset`): the next run takes a snapshot again")
        }
        (Some(40573), _) => standalone(place).because(&error),
        (Some(18 | 8000), _) | (None, DriverKind::Authentication { .. }) => {
            mine("WEIR-MONGO-003", Kind::Auth, "the server refuses the credentials")
                .hint("check `user`, `password` and `auth_source` (default `admin`)")
        }
        (Some(13), _) => mine("WEIR-MONGO-004", Kind::Privilege, "the user may not do this")
            .hint("grant the role `read` on the database (`readWrite` to write); change streams need `find` and `changeStream`"),
        (Some(26), _) => mine("WEIR-MONGO-005", Kind::NotFound, "the collection does not exist (any more)"),
        (Some(code), _) if FAILOVER.contains(&code) => {
            mine("WEIR-MONGO-007", Kind::Connect, "the server hands over to another one").transient()
        }
        (Some(43), _) => mine("WEIR-MONGO-008", Kind::Connect, "the server has given up the cursor").transient(),
        (Some(246 | 239), _) => mine("WEIR-MONGO-009", Kind::Conflict, "the snapshot is too old to go on with").transient(),
        (Some(10334 | 17280 | 17419), _) => mine("WEIR-MONGO-014", Kind::Limit, "a document or change is larger than 16 MiB")
            .hint("server 7.0 divides large changes; before, leave fields out or exclude the collection"),
        (Some(11000), _) => mine("WEIR-MONGO-031", Kind::Conflict, "a document with this key is there already"),
        (None, DriverKind::ServerSelection { .. }) => mine("WEIR-MONGO-002", Kind::Connect, "no server can be reached")
            .hint("check `hosts`, the port and `replicaSet`; members of a replica set must be reachable under their own names")
            .transient(),
        (None, DriverKind::DnsResolve { .. }) => mine("WEIR-MONGO-002", Kind::Connect, "the host's name is not known"),
        (None, DriverKind::InvalidTlsConfig { .. }) => mine("WEIR-MONGO-001", Kind::Spec, "the TLS options cannot be used"),
        (None, DriverKind::InvalidArgument { .. }) => mine("WEIR-MONGO-001", Kind::Spec, "the address is not valid"),
        (None, DriverKind::Io(_) | DriverKind::ConnectionPoolCleared { .. }) => {
            mine("WEIR-MONGO-007", Kind::Connect, "the connection is gone").transient()
        }
        _ => mine("WEIR-MONGO-006", Kind::Internal, "the server refuses the operation"),
    };
    if error.contains_label("TransientTransactionError") { shown.transient() } else { shown }
}

/// The changes that were wanted are not kept any more.
pub fn history_lost(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-MONGO-020", Kind::NotFound, "the server has thrown away changes that were not read yet")
        .at(place)
        .because(why)
        .hint("reset the pipeline's state (`weir state reset`): the next run takes a snapshot again; a larger oplog or `storage.oplogMinRetentionHours` keeps more")
}

/// No replica set.
pub fn standalone(place: &str) -> Error {
    Error::new("WEIR-MONGO-022", Kind::Unsupported, "the server is not a member of a replica set, so it has no change streams")
        .at(place)
        .hint("make it one: start it with `--replSet rs0` and run rs.initiate(); one member is enough")
}
