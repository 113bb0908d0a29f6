//! What is told of a message besides its payload: the columns of the option `metadata`. Pure.

use arrow::datatypes::{DataType, TimeUnit};
use weir_formats::Refusal;

use super::config::{KeyFormat, Metadata, SourceOptions};
use super::position::{Entry, Id};
use super::unpack::Incoming;
use crate::messages::{Own, OwnValue, Rows};

/// Which columns there are.
#[derive(Debug, Clone)]
pub struct Layout {
    kinds: Vec<Metadata>,
    key_format: KeyFormat,
    topic: String,
    partition: Option<u32>,
}

/// The columns of the message itself.
pub fn own(options: &SourceOptions) -> Vec<Own> {
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    kinds(options)
        .into_iter()
        .map(|kind| {
            let (name, data_type, nullable, source, json) = match (kind, options.key_format) {
                (Metadata::Key, KeyFormat::Text) => ("_key", DataType::Utf8, true, "key", false),
                (Metadata::Key, KeyFormat::Raw) => ("_key", DataType::Binary, true, "key", false),
                (Metadata::Properties, _) => ("_properties", DataType::Utf8, false, "properties", true),
                (Metadata::Topic, _) => ("_topic", DataType::Utf8, false, "topic", false),
                (Metadata::Partition, _) => ("_partition", DataType::Int32, true, "partition", false),
                (Metadata::MessageId, _) => ("_message_id", DataType::Utf8, false, "message id", false),
                (Metadata::PublishTime, _) => ("_publish_time", millis.clone(), false, "publish time", false),
                (Metadata::EventTime, _) => ("_event_time", millis.clone(), true, "event time", false),
                (Metadata::Producer, _) => ("_producer", DataType::Utf8, false, "producer", false),
                (Metadata::Sequence, _) => ("_sequence", DataType::Int64, false, "sequence id", false),
            };
            Own { name, data_type, nullable, source, json }
        })
        .collect()
}

/// Each once, in the order of the option.
fn kinds(options: &SourceOptions) -> Vec<Metadata> {
    let mut kinds = Vec::new();
    for kind in &options.metadata {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    kinds
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Layout {
    /// For one partition of a topic.
    pub fn new(options: &SourceOptions, topic: String, partition: Option<u32>) -> Self {
        Self { kinds: kinds(options), key_format: options.key_format, topic, partition }
    }

    /// How a message is named.
    pub fn id(&self, at: Entry, message: &Incoming) -> String {
        Id { at, partition: self.partition, index: message.index }.text()
    }

    /// Makes a row of a message.
    ///
    /// # Errors
    /// What is wrong with it; then there is no row.
    pub fn push(&self, rows: &mut Rows, at: Entry, message: &Incoming) -> Result<(), Refusal> {
        if let Some(refusal) = &message.refusal {
            return Err(Refusal { code: refusal.code, reason: refusal.reason.clone() });
        }
        let has = |kind| self.kinds.contains(&kind);
        let key = match (&message.key, self.key_format) {
            (Some(key), KeyFormat::Text) if has(Metadata::Key) => Some(std::str::from_utf8(key).map_err(|_| Refusal {
                code: "WEIR-PULSAR-021",
                reason: "the key is not valid UTF-8; `key_format: raw` takes it as it is".to_owned(),
            })?),
            _ => None,
        };
        let properties = if has(Metadata::Properties) {
            let all: Vec<[&str; 2]> = message.properties.iter().map(|one| [one.key.as_str(), one.value.as_str()]).collect();
            serde_json::json!(all).to_string()
        } else {
            String::new()
        };
        let id = if has(Metadata::MessageId) { self.id(at, message) } else { String::new() };
        let own: Vec<OwnValue<'_>> = self
            .kinds
            .iter()
            .map(|kind| match kind {
                Metadata::Key => match (self.key_format, key, &message.key) {
                    (KeyFormat::Text, Some(key), _) => OwnValue::Text(key),
                    (KeyFormat::Raw, _, Some(key)) => OwnValue::Bytes(key),
                    _ => OwnValue::Null,
                },
                Metadata::Properties => OwnValue::Text(&properties),
                Metadata::Topic => OwnValue::Text(&self.topic),
                Metadata::Partition => self.partition.map_or(OwnValue::Null, |partition| OwnValue::Int(i64::from(partition))),
                Metadata::MessageId => OwnValue::Text(&id),
                Metadata::PublishTime => OwnValue::Time(number(message.publish_time)),
                Metadata::EventTime => message.event_time.map_or(OwnValue::Null, |time| OwnValue::Time(number(time))),
                Metadata::Producer => OwnValue::Text(&message.producer),
                Metadata::Sequence => OwnValue::Int(number(message.sequence)),
            })
            .collect();
        rows.push(&message.payload, &own)
    }
}
