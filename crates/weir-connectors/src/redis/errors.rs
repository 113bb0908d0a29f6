//! The server's errors as ours: code → kind, retry and advice, in one place.

use redis::RedisError;
use weir_connect::{Error, Kind};

/// The server cannot be reached, or does not answer: another try may help.
pub fn unreachable(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-REDIS-002", Kind::Connect, "the Redis server does not answer")
        .at(place)
        .because(why)
        .hint("check `host` and `port`, and that the server runs and listens there")
        .transient()
}

/// Entries were trimmed or deleted before they were read.
pub fn data_loss(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-REDIS-010", Kind::Conflict, "entries are gone that were not read yet").at(place).because(why).hint(
        "`on_data_loss: earliest` goes on at the oldest entry that is left; or reset the pipeline's state (`weir state reset`)",
    )
}

/// The state of the source is of another source, or of a later version.
pub fn broken_state(why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-REDIS-011", Kind::Conflict, "the state of the source cannot be read")
        .because(why)
        .hint("the state belongs to another source: `weir state reset`")
}

/// An answer that is none.
pub fn unexpected(place: &str, what: &str) -> Error {
    Error::new("WEIR-REDIS-006", Kind::Internal, format!("the server's answer is not understood: {what}")).at(place)
}

/// Whether a command was refused because its key is not there.
pub fn is_missing(error: &RedisError) -> bool {
    error.to_string().contains("no such key")
}

/// The error to show.
pub fn shown(error: &RedisError, place: &str) -> Error {
    let mine = |code: &'static str, kind: Kind, what: &str| Error::new(code, kind, what).at(place).because(error);
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() || error.kind() == redis::ErrorKind::Parse {
        return unreachable(place, error);
    }
    if error.kind() == redis::ErrorKind::AuthenticationFailed {
        return refused(place, error);
    }
    match error.code().unwrap_or_default() {
        "WRONGPASS" | "NOAUTH" => refused(place, error),
        "NOPERM" => mine("WEIR-REDIS-004", Kind::Privilege, "the user may not do this").hint(
            "reading needs `+@read +xinfo +scan +type +info` and `~key`, writing `+xadd +xrange +xinfo` and `~key` (`ACL SETUSER`)",
        ),
        "WRONGTYPE" => mine("WEIR-REDIS-005", Kind::NotFound, "the key is there but is no stream").hint("name the key of a stream"),
        "LOADING" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN" | "READONLY" | "BUSY" => unreachable(place, error),
        "OOM" | "MISCONF" => mine("WEIR-REDIS-030", Kind::Limit, "the server takes no more data")
            .hint("its memory (`maxmemory`) or disk is full; `max_length` bounds a stream")
            .transient(),
        "MOVED" | "ASK" | "CROSSSLOT" => {
            mine("WEIR-REDIS-009", Kind::Unsupported, "the server is part of a cluster").hint("clusters are not supported yet")
        }
        _ => mine("WEIR-REDIS-006", Kind::Internal, "the server refuses the command"),
    }
}

fn refused(place: &str, error: &RedisError) -> Error {
    Error::new("WEIR-REDIS-003", Kind::Auth, "the server refuses the credentials")
        .at(place)
        .because(error)
        .hint("check `user` and `password`")
}
