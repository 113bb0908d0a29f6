//! The broker's errors as ours: code → kind, retry and advice, in one place.

use lapin::ErrorKind;
use weir_connect::{Error, Kind};

/// The code of a TLS session that could not be set up.
pub const TLS: &str = "WEIR-RABBITMQ-008";

/// The broker cannot be reached, or went away: another try may help.
pub fn unreachable(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-RABBITMQ-002", Kind::Connect, "the RabbitMQ broker does not answer")
        .at(place)
        .because(why)
        .hint("check `host` and `port`, and that the broker runs and listens there")
        .transient()
}

/// The error to show, of a connection that is made.
pub fn shown(error: &lapin::Error, place: &str) -> Error {
    let mine = |code: &'static str, kind: Kind, what: &str| Error::new(code, kind, what).at(place).because(error);
    let ErrorKind::ProtocolError(said) = error.kind() else {
        return match error.kind() {
            ErrorKind::ChannelsLimitReached => mine("WEIR-RABBITMQ-030", Kind::Limit, "the connection has no more channels")
                .hint("raise the broker's `channel_max`"),
            ErrorKind::SerialisationError(_) => mine("WEIR-RABBITMQ-006", Kind::Internal, "the client cannot write this"),
            _ => unreachable(place, error),
        };
    };
    let text = said.get_message().as_str();
    match said.get_id() {
        403 => mine("WEIR-RABBITMQ-004", Kind::Privilege, "the user may not do this").hint(
            "reading needs `read` on the queue, publishing `write` on the exchange (the default exchange is called `amq.default`), declaring `configure`, binding `write` on the queue and `read` on the exchange (`rabbitmqctl set_permissions`)",
        ),
        404 => mine("WEIR-RABBITMQ-005", Kind::NotFound, "the queue or exchange does not exist")
            .hint("check `queue` and `exchange`, or let the source make them (`declare_queue`, `exchange_type`)"),
        405 => mine("WEIR-RABBITMQ-007", Kind::Conflict, "another connection has the queue for itself").transient(),
        406 if text.contains("timed out") => {
            mine("WEIR-RABBITMQ-012", Kind::Limit, "the broker waited too long for an acknowledgement")
                .hint("messages are acknowledged when they are durable: lower `roll`, or raise the broker's `consumer_timeout` (30 min)")
                .transient()
        }
        406 => mine("WEIR-RABBITMQ-007", Kind::Conflict, "the queue or exchange is there with other properties, or does not take this")
            .hint("a queue or exchange that is there is never changed; leave `declare_queue` and `exchange_type` out to take it as it is"),
        // Forced, internal error, resource error.
        320 | 541 | 506 | 313 => unreachable(place, error),
        530 if text.contains("not found") => {
            mine("WEIR-RABBITMQ-005", Kind::NotFound, "the virtual host does not exist").hint("check `virtual_host`")
        }
        530 => mine("WEIR-RABBITMQ-004", Kind::Privilege, "the broker does not allow this")
            .hint("check `virtual_host`, and that the user may use it (`rabbitmqctl set_permissions`)"),
        311 => mine("WEIR-RABBITMQ-031", Kind::Limit, "a message is larger than the broker takes"),
        _ => mine("WEIR-RABBITMQ-006", Kind::Internal, "the broker refuses the operation"),
    }
}

/// The error to show, of a connection in the making.
pub fn not_connected(error: &lapin::Error, place: &str) -> Error {
    match error.kind() {
        ErrorKind::ProtocolError(said) if said.get_id() == 403 => {
            Error::new("WEIR-RABBITMQ-003", Kind::Auth, "the broker refuses the credentials")
                .at(place)
                .because(error)
                .hint("check `user` and `password`; `guest` may only come from the broker's own machine")
        }
        ErrorKind::IOError(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            crate::trust::unsettled(TLS, place, weir_error::chain(io.as_ref()))
        }
        _ => shown(error, place),
    }
}

/// The broker has ended the consumer.
pub fn cancelled(queue: &str) -> Error {
    Error::new("WEIR-RABBITMQ-009", Kind::Conflict, "the broker has cancelled the consumer")
        .at(format!("queue {queue}"))
        .because("the queue was deleted, or has moved to another node")
        .hint("if the queue is still there the next attempt goes on with it")
        .transient()
}

/// The state of the source is of another source, or of a later version.
pub fn broken_state(why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-RABBITMQ-011", Kind::Conflict, "the state of the source cannot be read")
        .because(why)
        .hint("the state belongs to another source: `weir state reset`")
}
