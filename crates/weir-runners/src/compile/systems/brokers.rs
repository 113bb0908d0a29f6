//! Pulsar and RabbitMQ.

use super::super::{Options, Text};
use super::kafka::{StartAt, ValueFormat};

/// Topics of Pulsar.
#[derive(Debug, Clone)]
pub struct Pulsar {
    /// `pulsar://…`.
    pub service_url: Text,
    /// `http://…`.
    pub admin_url: Option<Text>,
    /// `tenant/namespace` of topics that name none.
    pub namespace: Option<String>,
    /// A token.
    pub token: Option<Text>,
    /// Topics by name; of a sink one.
    pub topics: Vec<String>,
    /// A regular expression for topics.
    pub pattern: Option<String>,
    /// What values are.
    pub format: ValueFormat,
    /// The subscription.
    pub subscription: Option<String>,
    /// Where the first run begins.
    pub start: StartAt,
    /// `start_mode: subscription`.
    pub from_subscription: bool,
}

impl Pulsar {
    pub(super) fn read(options: &Options<'_>) -> Self {
        let mut topics = options.words("topics");
        topics.extend(options.words("topic"));
        options.pass(&[
            "columns",
            "only_columns",
            "json",
            "on_data_loss",
            "auth_plugin_class",
            "read_by",
            "partitions",
            "create_topic",
        ]);
        for option in [
            "user",
            "password",
            "ssl_root_cert",
            "ssl_cert",
            "ssl_key",
            "verify_tls",
            "metadata",
            "key_format",
            "start_message_ids",
            "properties",
            "property_columns",
            "event_time_column",
            "compression",
            "chunking",
            "csv",
            "max_message_bytes",
        ] {
            if options.value(option).is_some() {
                options.refuse(Some(option), format!("has nothing for `{option}`"), "remove it, or use the native engine");
            }
        }
        if options.word("subscription_type").is_some_and(|kind| kind != "exclusive") {
            options.refuse(Some("subscription_type"), "reads by itself, exclusively", "`subscription_type: exclusive`");
        }
        let mode = options.word("start_mode");
        Self {
            service_url: options.address("service_url").unwrap_or_default(),
            admin_url: options.address("admin_url"),
            namespace: options.word("namespace"),
            token: options.text("token"),
            topics,
            pattern: options.word("topic_pattern"),
            format: ValueFormat::of(options.word("format").as_deref()),
            subscription: options.word("subscription_name"),
            start: match mode.as_deref() {
                Some("latest") => StartAt::Latest,
                Some("timestamp") => StartAt::Timestamp(options.number("start_timestamp_ms").unwrap_or_default()),
                _ => StartAt::Earliest,
            },
            from_subscription: mode.as_deref() == Some("subscription"),
        }
    }

    /// A topic with its tenant and namespace.
    pub fn full_name(&self, topic: &str) -> String {
        match (&self.namespace, topic.contains("://")) {
            (Some(namespace), false) if !topic.contains('/') => format!("persistent://{namespace}/{topic}"),
            _ => topic.to_string(),
        }
    }
}

/// A queue.
#[derive(Debug, Clone)]
pub struct RabbitMq {
    /// Server.
    pub host: Text,
    /// Port.
    pub port: Text,
    /// Virtual host.
    pub virtual_host: Text,
    /// User and password.
    pub login: Option<(Text, Text)>,
    /// The queue that is read, or the routing key that is written.
    pub queue: String,
    /// An exchange.
    pub exchange: Option<String>,
    /// What messages are.
    pub format: ValueFormat,
}

impl RabbitMq {
    pub(super) fn read(options: &Options<'_>) -> Self {
        options.pass(&["columns", "only_columns", "json", "declare_queue", "persistent", "mandatory"]);
        for option in [
            "tls",
            "ssl_root_cert",
            "ssl_cert",
            "ssl_key",
            "verify_tls",
            "queue_arguments",
            "exchange_type",
            "routing_keys",
            "metadata",
            "routing_key_column",
            "message_id_column",
            "headers",
        ] {
            if options.value(option).is_some() {
                options.refuse(Some(option), format!("has nothing for `{option}`"), "remove it, or use the native engine");
            }
        }
        Self {
            host: options.text("host").unwrap_or_default(),
            port: options.text("port").unwrap_or_else(|| "5672".into()),
            virtual_host: options.text("virtual_host").unwrap_or_else(|| "/".into()),
            login: options.text("user").zip(options.text("password")),
            queue: options.word("queue").or_else(|| options.word("routing_key")).unwrap_or_default(),
            exchange: options.word("exchange"),
            format: ValueFormat::of(options.word("format").as_deref()),
        }
    }
}
