//! What the changes of a stream look like in its files, as long as the stream has one shape.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_connect::{ChangeBatch, TransactionMark};
use weir_error::{Error, Result};
use weir_formats::debezium::{Context, Envelope, Message};

use super::rows;
use crate::changes::look_like;

/// Rows, or Debezium's messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    Rows,
    Debezium(Context),
}

/// One shape of a stream.
pub(crate) struct Shape {
    /// As the source announced it.
    schema: SchemaRef,
    /// Of the files.
    stored: SchemaRef,
    /// Their messages, if that is what they hold.
    pub envelope: Option<Envelope>,
}

impl Shape {
    /// # Errors
    /// When a column has no place in the layout.
    pub(crate) fn new(layout: &Layout, stream: &str, schema: SchemaRef, key: Vec<String>) -> Result<Self> {
        let (stored, envelope) = match layout {
            Layout::Rows => (rows::schema(&schema)?, None),
            Layout::Debezium(context) => (messages_schema(), Some(Envelope::new(stream, &schema, &key, context)?)),
        };
        Ok(Self { schema, stored, envelope })
    }

    pub(crate) fn stored(&self) -> &SchemaRef {
        &self.stored
    }

    /// Values are found by position, so the batch must look as the stream does now.
    pub(super) fn check(&self, batch: &ChangeBatch) -> Result<()> {
        look_like(&self.schema, &batch.rows.schema()).map_err(|error| error.at(format!("`{}`", batch.stream)))
    }

    /// The changes as they are stored; `seq` is the number of the last change before them.
    pub(super) fn batch(&self, batch: &ChangeBatch, seq: u64) -> Result<RecordBatch> {
        match &self.envelope {
            None => rows::of(batch, &self.stored, seq),
            Some(envelope) => self.messages(&envelope.encode(batch, now_ns())?),
        }
    }

    /// The emptied table as it is stored.
    pub(super) fn emptied(&self, mark: &TransactionMark, seq: u64) -> Result<RecordBatch> {
        match &self.envelope {
            None => rows::emptied(mark, &self.stored, seq),
            Some(envelope) => self.messages(&[envelope.truncate(mark, now_ns())?]),
        }
    }

    fn messages(&self, messages: &[Message]) -> Result<RecordBatch> {
        let text = |part: fn(&Message) -> &Option<Vec<u8>>| -> Result<StringArray> {
            let texts = messages.iter().map(|message| part(message).as_deref().map(std::str::from_utf8).transpose());
            let texts: std::result::Result<StringArray, _> = texts.collect();
            texts.map_err(|error| Error::internal("a message is no UTF-8").caused_by(error))
        };
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(text(|message| &message.key)?), Arc::new(text(|message| &message.value)?)];
        RecordBatch::try_new(self.stored.clone(), columns)
            .map_err(|error| Error::internal("messages do not fit").caused_by(error))
    }
}

/// Key and value are JSON already and become part of the line.
fn messages_schema() -> SchemaRef {
    let part =
        |name: &str| Field::new(name, DataType::Utf8, true).with_metadata([(LOGICAL_TYPE.to_owned(), "json".to_owned())].into());
    Arc::new(Schema::new(vec![part("key"), part("value")]))
}

pub(super) fn now_ns() -> i64 {
    chrono::Utc::now().timestamp_nanos_opt().unwrap_or(0)
}
