//! The client's errors as ours: code → kind, retry and advice, in one place.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use weir_connect::{Error, Kind};

/// What we say in the client's name when a connection is not permitted; the library itself never says it of a client like ours.
pub const NOT_PERMITTED: Code = Code::Application;

/// The brokers cannot be reached, or do not answer: another try may help.
pub fn unreachable(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-KAFKA-002", Kind::Connect, "no broker answers")
        .at(place)
        .because(why)
        .hint("check `bootstrap_servers`, and that the addresses that the brokers advertise can be reached from here")
        .transient()
}

/// Records were deleted, or the topic was, before they were read.
pub fn data_loss(place: &str, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-KAFKA-010", Kind::Conflict, "records are gone that were not read yet").at(place).because(why).hint(
        "`on_data_loss: earliest` goes on at the oldest record that is left; or reset the pipeline's state (`weir state reset`)",
    )
}

/// Whether the client mends it by itself, given time.
pub fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::RequestTimedOut
            | Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::CoordinatorLoadInProgress
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::Resolve
            | Code::ConcurrentTransactions
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::WaitingForCoordinator
    )
}

/// The error to show.
pub fn shown(error: &KafkaError, place: &str) -> Error {
    let mine = |code: &'static str, kind: Kind, what: &str| Error::new(code, kind, what).at(place).because(error);
    let Some(code) = error.rdkafka_error_code() else {
        return match error {
            KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => {
                mine("WEIR-KAFKA-001", Kind::Spec, "the client does not take these settings")
                    .hint("check `properties` and the `ssl_` options of the connection")
            }
            _ => mine("WEIR-KAFKA-006", Kind::Internal, "the client refuses the operation"),
        };
    };
    of_code(code, place, error)
}

/// By the code alone.
pub fn of_code(code: Code, place: &str, why: impl std::fmt::Display) -> Error {
    let mine = |number: &'static str, kind: Kind, what: &str| Error::new(number, kind, what).at(place).because(&why);
    match code {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism | Code::IllegalSASLState => {
            mine("WEIR-KAFKA-003", Kind::Auth, "the brokers refuse the credentials")
                .hint("check `user`, `password` and `sasl_mechanism`")
        }
        NOT_PERMITTED => mine("WEIR-KAFKA-008", Kind::Privilege, "the platform does not let pipelines connect to a broker")
            .hint("an administrator can allow its host or network with WEIR_EGRESS_ALLOW: those of `bootstrap_servers` and those that the brokers advertise"),
        Code::SSL => mine("WEIR-KAFKA-002", Kind::Connect, "the encrypted connection cannot be made")
            .hint("check `ssl_root_cert`, and that the port speaks TLS"),
        Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            mine("WEIR-KAFKA-004", Kind::Privilege, "the user may not do this").hint(
                "reading needs READ and DESCRIBE on the topic (READ on the group to commit to it), writing WRITE and DESCRIBE, making a topic CREATE",
            )
        }
        Code::TransactionalIdAuthorizationFailed => {
            mine("WEIR-KAFKA-004", Kind::Privilege, "the user may not use transactions")
                .hint("grant WRITE and DESCRIBE on transactional ids that begin with `transactional_id_prefix`")
        }
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            mine("WEIR-KAFKA-005", Kind::NotFound, "the topic or partition does not exist (any more)")
        }
        Code::OffsetOutOfRange | Code::AutoOffsetReset => data_loss(place, why),
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => {
            mine("WEIR-KAFKA-030", Kind::Limit, "a record is larger than the topic takes")
                .hint("raise the topic's `max.message.bytes` and the sink's `max_message_bytes`, or leave columns out")
        }
        Code::Fenced | Code::InvalidProducerEpoch | Code::ProducerFenced | Code::InvalidProducerIdMapping => {
            mine("WEIR-KAFKA-031", Kind::Conflict, "another run writes in this one's place")
                .hint("one run of a pipeline writes at a time; the one that began last goes on")
        }
        Code::InvalidTransactionTimeout => mine("WEIR-KAFKA-001", Kind::Spec, "the brokers do not allow so long a transaction")
            .hint("lower `transaction_timeout_secs`, or raise the brokers' `transaction.max.timeout.ms`"),
        Code::TopicAlreadyExists => mine("WEIR-KAFKA-007", Kind::Conflict, "the topic is there already"),
        Code::InvalidReplicationFactor | Code::InvalidPartitions | Code::InvalidTopic | Code::InvalidConfig | Code::PolicyViolation => {
            mine("WEIR-KAFKA-001", Kind::Spec, "the brokers do not make the topic like this")
                .hint("check `topic`, `partitions`, `replication` and `topic_config`")
        }
        code if passes(code) => unreachable(place, why),
        _ => mine("WEIR-KAFKA-006", Kind::Internal, "the brokers refuse the operation"),
    }
}
