//! The broker's errors as ours: code → kind, retry and advice, in one place.

use pulsar::message::proto::ServerError;
use weir_connect::{Error, Kind};

/// The broker cannot be reached, or does not answer: another try may help.
pub fn unreachable(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-PULSAR-002", Kind::Connect, "the broker does not answer")
        .at(place)
        .because(why)
        .hint("check `service_url`, and that the addresses that the brokers advertise can be reached from here")
        .transient()
}

/// What the other side sent is not the protocol, or not whole.
pub fn garbled(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-PULSAR-002", Kind::Connect, "what the broker sent cannot be understood")
        .at(place)
        .because(why)
        .hint("check that `service_url` is a broker's port for Pulsar's binary protocol (6650), not the one for HTTP")
        .transient()
}

/// An option that cannot be.
pub fn wrong(what: impl Into<String>, hint: &'static str) -> Error {
    Error::new("WEIR-PULSAR-001", Kind::Spec, what).hint(hint)
}

/// There is no such topic.
pub fn missing(topic: &str) -> Error {
    Error::new("WEIR-PULSAR-005", Kind::NotFound, format!("there is no topic `{topic}`"))
}

/// Messages were deleted, or the topic was, before they were read.
pub fn data_loss(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-PULSAR-010", Kind::Conflict, "messages may be gone that were not read yet").at(place).because(why).hint(
        "with `subscription_name` the broker keeps what was not read; `on_data_loss: earliest` goes on at the oldest message that is left",
    )
}

/// State that is not ours.
pub fn broken(what: &str) -> Error {
    Error::new("WEIR-PULSAR-011", Kind::Conflict, format!("the state of the source cannot be read: {what}"))
        .hint("it belongs to another source or a later version of Weir: `weir state reset`")
}

/// An error that the broker has sent.
pub fn told(code: i32, message: &str, place: &str) -> Error {
    let mine = |code: &'static str, kind: Kind, what: &str| Error::new(code, kind, what).at(place).because(message);
    let code = ServerError::try_from(code).unwrap_or(ServerError::UnknownError);
    match code {
        ServerError::AuthenticationError => mine("WEIR-PULSAR-003", Kind::Auth, "the broker refuses the credentials")
            .hint("check `token`, or `user` and `password`, or `ssl_cert` and `ssl_key`, or `audience` and `scope` of OAuth 2"),
        ServerError::AuthorizationError => mine("WEIR-PULSAR-004", Kind::Privilege, "the role may not do this")
            .hint("reading needs `consume`, writing `produce` on the topic or its namespace"),
        ServerError::TopicNotFound | ServerError::SubscriptionNotFound => {
            mine("WEIR-PULSAR-005", Kind::NotFound, "the topic or subscription does not exist")
        }
        // A namespace that is missing has no code of its own.
        ServerError::MetadataError | ServerError::UnknownError | ServerError::ServiceNotReady
            if ["not found", "does not exist"].iter().any(|words| message.to_ascii_lowercase().contains(words)) =>
        {
            mine("WEIR-PULSAR-005", Kind::NotFound, "the namespace or topic does not exist")
                .hint("`pulsar-admin namespaces create tenant/namespace` makes a namespace")
        }
        ServerError::InvalidTopicName => mine("WEIR-PULSAR-001", Kind::Spec, "the broker does not take the topic's name")
            .hint("`persistent://tenant/namespace/topic`, or the last part alone"),
        ServerError::IncompatibleSchema => mine("WEIR-PULSAR-007", Kind::Schema, "the topic has a schema that this does not fit").hint(
            "make new columns nullable and keep the types of the others, or write to another topic, or change what the namespace allows (`pulsar-admin namespaces set-schema-compatibility-strategy`); where it demands a schema of every producer, `format: avro` and `announce_schema: true` tell one",
        ),
        ServerError::ProducerFenced => mine("WEIR-PULSAR-031", Kind::Conflict, "another producer writes in this one's place")
            .hint("one run of a pipeline writes at a time; the one that began last goes on"),
        ServerError::ConsumerBusy => mine("WEIR-PULSAR-032", Kind::Conflict, "another consumer holds the subscription")
            .hint("choose another `subscription_name`, or a `subscription_type` that several share")
            .transient(),
        ServerError::ProducerBusy => {
            mine("WEIR-PULSAR-031", Kind::Conflict, "a producer with this name is still connected").transient()
        }
        ServerError::TopicTerminatedError => {
            mine("WEIR-PULSAR-033", Kind::Conflict, "the topic was terminated: nothing can be written to it any more")
        }
        ServerError::ProducerBlockedQuotaExceededError | ServerError::ProducerBlockedQuotaExceededException => {
            mine("WEIR-PULSAR-034", Kind::Limit, "the topic's backlog is full")
                .hint("a subscription that nobody reads holds it up; read or delete that, or raise the backlog quota")
                .transient()
        }
        ServerError::NotAllowedError | ServerError::UnsupportedVersionError => {
            mine("WEIR-PULSAR-006", Kind::Unsupported, "the broker does not allow this")
        }
        ServerError::ChecksumError => mine("WEIR-PULSAR-002", Kind::Connect, "a message reached the broker damaged").transient(),
        ServerError::MetadataError
        | ServerError::PersistenceError
        | ServerError::ServiceNotReady
        | ServerError::TooManyRequests
        | ServerError::ConsumerNotFound
        | ServerError::ConsumerAssignError => {
            mine("WEIR-PULSAR-002", Kind::Connect, "the broker cannot do this at the moment").transient()
        }
        _ => mine("WEIR-PULSAR-006", Kind::Internal, "the broker refuses the operation"),
    }
}

#[cfg(test)]
mod tests {
    use weir_connect::Retry;

    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_a_person_must_mend_is_not() {
        let of = |code: ServerError, message: &str| {
            let error = told(code as i32, message, "t");
            (error.code(), error.retryable() == Retry::Transient)
        };
        assert_eq!(of(ServerError::ServiceNotReady, "unloaded"), ("WEIR-PULSAR-002", true));
        assert_eq!(of(ServerError::AuthenticationError, ""), ("WEIR-PULSAR-003", false));
        assert_eq!(of(ServerError::AuthorizationError, ""), ("WEIR-PULSAR-004", false));
        assert_eq!(of(ServerError::MetadataError, "Policies not found for x/y"), ("WEIR-PULSAR-005", false));
        assert_eq!(of(ServerError::ProducerBusy, ""), ("WEIR-PULSAR-031", true));
        assert_eq!(told(9999, "?", "t").code(), "WEIR-PULSAR-006");
    }
}
