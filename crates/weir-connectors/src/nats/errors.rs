//! The client's errors as ours: code → kind, retry and advice, in one place.

use weir_connect::{Error, Kind};

/// The server cannot be reached, or does not answer: another try may help.
pub fn unreachable(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-NATS-002", Kind::Connect, "the server does not answer")
        .at(place)
        .because(why)
        .hint("check `servers`, and that JetStream runs there (with `domain`, in that domain)")
        .transient()
}

/// Messages were deleted, or the stream was, before they were read.
pub fn data_loss(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-NATS-010", Kind::Conflict, "messages are gone that were not read yet").at(place).because(why).hint(
        "`on_data_loss: earliest` goes on at the oldest message that is left; or reset the pipeline's state (`weir state reset`)",
    )
}

/// Something was lost between the server and us: what is read anew is whole.
pub fn interrupted(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-NATS-012", Kind::Connect, "the server stopped giving messages").at(place).because(why).transient()
}

/// No such stream.
pub fn no_stream(place: &str, stream: &str) -> Error {
    Error::new("WEIR-NATS-005", Kind::NotFound, format!("there is no stream `{stream}`"))
        .at(place)
        .hint("`weir discover` lists the streams of a connection")
}

/// JetStream's own answers carry an error code; whatever has none is the network's.
pub fn shown(error: &(dyn std::error::Error + 'static), place: &str) -> Error {
    let said = weir_error::chain(error);
    let low = said.to_ascii_lowercase();
    let mine = |code: &'static str, kind: Kind, what: &str| Error::new(code, kind, what).at(place).because(&said);
    if low.contains("permissions violation") {
        return mine("WEIR-NATS-004", Kind::Privilege, "the user may not do this")
            .hint("the README of the connector lists the subjects that it publishes and subscribes to");
    }
    if low.contains("authorization violation") || low.contains("signing nonce") {
        return mine("WEIR-NATS-003", Kind::Auth, "the server refuses the credentials")
            .hint("check `user` and `password`, `token`, `nkey_seed` or `credentials`");
    }
    let Some(code) = error_code(&said) else { return unreachable(place, said) };
    match code {
        // JetStream without a leader, or still starting.
        10008 | 10009 => unreachable(place, said),
        10039 | 10076 => mine("WEIR-NATS-007", Kind::Unsupported, "JetStream is not enabled for this account")
            .hint("`jetstream {}` in the server's configuration, and for the account"),
        10059 => mine("WEIR-NATS-005", Kind::NotFound, "there is no such stream"),
        10014 => interrupted(place, said),
        10077 | 10047 | 10023 | 10002 | 10122 => mine("WEIR-NATS-030", Kind::Limit, "the stream takes no more messages")
            .hint("raise the limits of the stream or account"),
        10054 => mine("WEIR-NATS-030", Kind::Limit, "a message is larger than the stream takes")
            .hint("raise `max_msg_size` of the stream, or leave columns out"),
        10060 => mine("WEIR-NATS-005", Kind::NotFound, "another stream than `stream` has the subject")
            .hint("name the stream that has it, or drop `stream`"),
        _ => mine("WEIR-NATS-006", Kind::Internal, "the server refuses the operation"),
    }
}

/// `… (code 404, error code 10059)`.
fn error_code(said: &str) -> Option<u64> {
    said.split("error code ").nth(1)?.split(')').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_network_says_is_tried_again() {
        let of = |text: &str| shown(&std::io::Error::other(text.to_owned()), "here");
        assert_eq!(of("jetstream error: stream not found (code 404, error code 10059)").code(), "WEIR-NATS-005");
        assert_eq!(of("timed out").code(), "WEIR-NATS-002");
        assert_eq!(of("Permissions Violation for Publish to \"a\"").code(), "WEIR-NATS-004");
        assert_eq!(of("maximum messages exceeded (code 503, error code 10077)").code(), "WEIR-NATS-030");
        assert_eq!(of("what is this (code 500, error code 99999)").code(), "WEIR-NATS-006");
    }
}
