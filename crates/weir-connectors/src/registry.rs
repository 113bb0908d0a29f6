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
    #[cfg(feature = "mysql")]
    registry.add(Arc::new(crate::mysql::Mysql::default())).add(Arc::new(crate::mysql::MysqlCdc::default()));
    #[cfg(feature = "postgres")]
    registry.add(Arc::new(crate::postgres::Postgres::default())).add(Arc::new(crate::postgres::PostgresCdc::default()));
    #[cfg(feature = "pulsar")]
    registry.add(Arc::new(crate::pulsar::Pulsar::default()));
    registry.add(Arc::new(crate::discard::Discard::default()));
    registry
}
