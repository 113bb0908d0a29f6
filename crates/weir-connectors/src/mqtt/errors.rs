//! What goes wrong, in one place: code → kind, retry and advice.

use weir_connect::{Error, Kind};

/// The broker cannot be reached, or does not answer: another try may help.
pub fn unreachable(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-MQTT-002", Kind::Connect, "the broker does not answer")
        .at(place)
        .because(why)
        .hint("check `host` and `port`, and that the broker listens there")
        .transient()
}

/// The connection ended in the middle. What was not acknowledged comes again.
pub fn lost(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-MQTT-012", Kind::Connect, "the connection to the broker was lost").at(place).because(why).transient()
}

/// It was encrypted, or was to be.
pub fn tls(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-MQTT-002", Kind::Connect, "the encrypted connection cannot be made")
        .at(place)
        .because(why)
        .hint("give the authority of the broker's certificate as `ssl_root_cert`; the certificate must name `host`")
}

/// The broker has forgotten what it kept for us.
pub fn data_loss(place: &str, client_id: &str) -> Error {
    Error::new("WEIR-MQTT-010", Kind::Conflict, format!("the broker has forgotten the session `{client_id}`"))
        .at(place)
        .because(
            "what came while nobody read is gone: the session expired, was taken away, or the broker keeps nothing on its disk",
        )
        .hint("`on_data_loss: earliest` goes on with what comes from now on; or reset the pipeline's state (`weir state reset`)")
}

/// The answer to CONNECT, by its code: of version 5 (3.2.2.2), or of 3.1.1 (3.2.2.3).
pub fn refused(place: &str, code: u8) -> Error {
    let mine = |number: &'static str, kind: Kind, what: &str| {
        Error::new(number, kind, what.to_owned()).at(place).because(format!("code {code:#04x}"))
    };
    match code {
        0x01 | 0x84 => mine("WEIR-MQTT-007", Kind::Unsupported, "the broker does not speak this version of MQTT")
            .hint("set `protocol_version: v3_1_1` (or `v5`)"),
        0x02 | 0x85 => {
            mine("WEIR-MQTT-001", Kind::Spec, "the broker does not take the client's name").hint("give another `client_id`")
        }
        0x04 | 0x05 | 0x86 | 0x87 | 0x8A | 0x8C => mine("WEIR-MQTT-003", Kind::Auth, "the broker refuses the credentials")
            .hint("check `user` and `password`, or the client's certificate"),
        0x03 | 0x80 | 0x83 | 0x88 | 0x89 | 0x97 | 0x9F => unreachable(place, format!("it refuses with code {code:#04x}")),
        _ => mine("WEIR-MQTT-006", Kind::Internal, "the broker refuses the connection"),
    }
}

/// The answer to a message or a subscription, from 0x80 on.
pub fn rejected(place: &str, what: &str, code: u8) -> Error {
    let mine = |number: &'static str, kind: Kind, said: String| {
        Error::new(number, kind, said).at(place).because(format!("code {code:#04x}"))
    };
    match code {
        0x87 => mine("WEIR-MQTT-004", Kind::Privilege, format!("the user may not use {what}"))
            .hint("the broker's access list must allow it"),
        0x8F | 0x90 => mine("WEIR-MQTT-001", Kind::Spec, format!("the broker does not take {what}")),
        0x97 => mine("WEIR-MQTT-030", Kind::Limit, format!("the broker takes no more of {what}")),
        _ => mine("WEIR-MQTT-006", Kind::Internal, format!("the broker refuses {what}")),
    }
}
