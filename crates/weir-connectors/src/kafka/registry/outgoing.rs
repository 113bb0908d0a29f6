//! Writing: the schema that a stream's records are written by.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use weir_connect::{Error, Kind, Result};
use weir_formats::registered::{Payloads, RegisteredEncoder};

use super::super::config::SinkOptions;
use super::client::Registry;
use super::prefix;

/// A schema with its number.
#[derive(Debug, Clone)]
pub struct Outgoing {
    encoder: RegisteredEncoder,
    prefix: [u8; 5],
}

impl Outgoing {
    /// The subject's latest schema if it is that of the columns; else one that is registered now, if that is allowed.
    ///
    /// # Errors
    /// `WEIR-KAFKA-043`: it is not compatible with those before it. `WEIR-KAFKA-047`: there is none that fits, and none may be registered.
    pub async fn new(registry: &Registry, options: &SinkOptions, topic: &str, schema: &SchemaRef) -> Result<Self> {
        let Some(kind) = options.format.registered() else { return Err(Error::internal("a format without schemas")) };
        let name = options.record_name.as_deref();
        let subject = subject(options, topic);
        let latest = registry.latest(&subject).await?;
        let mut why = format!("there is no subject `{subject}`");
        if let Some(latest) = latest.as_ref() {
            if latest.schema.kind != kind {
                why = format!("the latest schema of subject `{subject}` is one of {}", latest.schema.kind.as_str());
            } else {
                match RegisteredEncoder::given(&latest.schema, schema, name) {
                    Ok(encoder) => return Ok(Self { encoder, prefix: prefix(latest.id) }),
                    Err(error) => why = format!("subject `{subject}`: {error}"),
                }
            }
        }
        if options.auto_register == Some(false) {
            return Err(Error::new("WEIR-KAFKA-047", Kind::Schema, "no registered schema is that of the stream's columns")
                .because(why)
                .hint("register one, change the columns with `field_mapper`, or allow it with `auto_register: true`"));
        }
        let before = latest.as_ref().map(|latest| &latest.schema).filter(|schema| schema.kind == kind);
        let encoder = RegisteredEncoder::own(kind, schema, name.unwrap_or("Row"), before)?;
        let id = registry.register(&subject, kind, encoder.text()).await?;
        Ok(Self { encoder, prefix: prefix(id) })
    }

    /// The values of a batch.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Payloads> {
        self.encoder.encode(batch, &self.prefix)
    }
}

/// The subject of a sink's values.
pub fn subject(options: &SinkOptions, topic: &str) -> String {
    match &options.subject {
        Some(subject) => subject.replace("{topic}", topic),
        None => options.subject_name_strategy.subject(topic, options.record_name.as_deref().unwrap_or_default()),
    }
}
