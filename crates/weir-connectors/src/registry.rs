//! The list of connectors in this build. A new connector is one line here.

use std::sync::Arc;

use weir_connect::Registry;

/// Every connector that this build has.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    #[cfg(feature = "files")]
    registry.add(Arc::new(crate::files::Files::file())).add(Arc::new(crate::files::Files::s3()));
    #[cfg(feature = "http")]
    registry.add(Arc::new(crate::http::HttpConnector::default()));
    #[cfg(feature = "kafka")]
    registry.add(Arc::new(crate::kafka::Kafka::default()));
    #[cfg(feature = "mongodb")]
    registry.add(Arc::new(crate::mongodb::Mongodb::default())).add(Arc::new(crate::mongodb::cdc::MongodbCdc::default()));
    #[cfg(feature = "mqtt")]
    registry.add(Arc::new(crate::mqtt::Mqtt::default()));
    #[cfg(feature = "mysql")]
    registry.add(Arc::new(crate::mysql::Mysql::default())).add(Arc::new(crate::mysql::MysqlCdc::default()));
    #[cfg(feature = "nats")]
    registry.add(Arc::new(crate::nats::Nats::default()));
    #[cfg(feature = "postgres")]
    registry.add(Arc::new(crate::postgres::Postgres::default())).add(Arc::new(crate::postgres::PostgresCdc::default()));
    #[cfg(feature = "pulsar")]
    registry.add(Arc::new(crate::pulsar::Pulsar::default()));
    #[cfg(feature = "rabbitmq")]
    registry.add(Arc::new(crate::rabbitmq::Rabbitmq::default()));
    #[cfg(feature = "redis")]
    registry.add(Arc::new(crate::redis::Redis::default()));
    #[cfg(feature = "sse")]
    registry.add(Arc::new(crate::sse::Sse::default()));
    #[cfg(feature = "webhook")]
    registry.add(Arc::new(crate::webhook::Webhook::default()));
    #[cfg(feature = "websocket")]
    registry.add(Arc::new(crate::websocket::Websocket::default()));
    registry.add(Arc::new(crate::discard::Discard::default()));
    registry
}
