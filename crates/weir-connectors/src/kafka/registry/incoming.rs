//! Reading: one schema of the registry says what the stream's columns are; the records of every other one are read into these.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use weir_connect::{Error, Kind, Result};
use weir_formats::Refusal;
use weir_formats::registered::{Definition, Resolution, SchemaKind, SchemaText};

use super::client::{Registry, Version};

/// How long a number that the registry does not know stays unknown.
const UNKNOWN: Duration = Duration::from_secs(30);
/// Numbers that are remembered, before those that led nowhere are forgotten.
const MOST: usize = 4096;

/// What is known of a schema's number.
#[derive(Debug, Clone)]
pub enum Known {
    /// How its records are read.
    Way(Arc<Resolution>),
    /// Why they cannot be.
    Refused(Refusal),
    /// It came later than the stream's, and has other columns: these.
    Changed(SchemaRef),
}

/// The schemas of one topic.
pub struct Incoming {
    registry: Arc<Registry>,
    kind: SchemaKind,
    record_name: Option<String>,
    /// The one that the columns are made of, and its number.
    reader: Definition,
    reader_id: u32,
    columns: SchemaRef,
    known: Mutex<HashMap<u32, (Known, Instant)>>,
}

impl Incoming {
    /// The columns of `latest`, the subject's latest schema, or of `sampled`, the number in front of a record, when there is no such subject.
    ///
    /// # Errors
    /// What the registry says; `WEIR-KAFKA-046` when neither is there, or it is of another language.
    pub async fn new(
        registry: Arc<Registry>,
        kind: SchemaKind,
        subject: &str,
        record_name: Option<String>,
        latest: Option<Version>,
        sampled: Option<u32>,
    ) -> Result<Self> {
        let (reader_id, schema) = match (latest, sampled) {
            (Some(version), _) => (version.id, version.schema),
            (None, Some(id)) => (id, registry.by_id(id).await?.as_ref().clone()),
            (None, None) => {
                return Err(Error::new("WEIR-KAFKA-046", Kind::NotFound, format!("the registry has no subject `{subject}`"))
                    .because("and the topic has no records that would name a schema")
                    .hint("`subject` names another one, `subject_name_strategy` says how they are named"));
            }
        };
        let reader =
            understood(&schema, kind, record_name.as_deref()).map_err(|error| error.at(format!("schema {reader_id}")))?;
        let columns = reader.columns()?;
        Ok(Self { registry, kind, record_name, reader, reader_id, columns, known: Mutex::default() })
    }

    /// What the records are read into.
    pub fn reader(&self) -> &Definition {
        &self.reader
    }

    /// The columns of the stream's values.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// What is known of a number; `None`: ask [`Incoming::learn`] first.
    pub fn known(&self, id: u32) -> Option<Known> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).filter(|(_, until)| Instant::now() < *until).map(|(known, _)| known.clone())
    }

    /// Asks the registry for a schema. One that it does not have, or that cannot be read, is known as such; only a registry that does not answer is an
    /// error.
    pub async fn learn(&self, id: u32) -> Result<()> {
        let forever = Instant::now() + Duration::from_secs(1 << 30);
        let refused = |error: &Error| {
            let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
            Refusal { code: error.code(), reason: format!("schema {id}: {error}{advice}") }
        };
        let (known, until) = match self.registry.by_id(id).await {
            Ok(schema) => (self.resolved(id, &schema).unwrap_or_else(|error| Known::Refused(refused(&error))), forever),
            Err(error) if error.code() == "WEIR-KAFKA-042" => (Known::Refused(refused(&error)), Instant::now() + UNKNOWN),
            Err(error) => return Err(error),
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, (known, _)| matches!(known, Known::Way(_)));
        }
        all.insert(id, (known, until));
        Ok(())
    }

    fn resolved(&self, id: u32, schema: &SchemaText) -> Result<Known> {
        let writer = understood(schema, self.kind, self.record_name.as_deref())?;
        let way = Resolution::new(&writer, &self.reader);
        let whole = way.as_ref().is_ok_and(|way| way.extra().is_empty());
        // Numbers only grow: a larger one is a schema that came later.
        if !whole && id > self.reader_id {
            let columns = writer.columns()?;
            if columns != self.columns {
                return Ok(Known::Changed(columns));
            }
        }
        let way = way?;
        if !whole {
            tracing::warn!(
                target: "weir::kafka",
                "schema {id} has fields that the stream's schema {} has not, or has otherwise: {}",
                self.reader_id,
                way.extra().join(", ")
            );
        }
        Ok(Known::Way(Arc::new(way)))
    }
}

fn understood(schema: &SchemaText, kind: SchemaKind, record_name: Option<&str>) -> Result<Definition> {
    if schema.kind != kind {
        return Err(Error::new(
            "WEIR-KAFKA-046",
            Kind::Schema,
            format!("the schema is one of {}, and `format` says {}", schema.kind.as_str(), kind.as_str()),
        ));
    }
    let message = record_name.filter(|_| kind == SchemaKind::Protobuf);
    Definition::new(schema, message)
}
