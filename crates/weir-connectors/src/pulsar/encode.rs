//! Rows into messages: payload, key, properties and event time of each. Pure.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMillisecondType};
use base64::Engine;
use pulsar::message::proto::KeyValue;
use weir_connect::{Error, Kind, Result, WriteMode};
use weir_formats::registered::{self, RegisteredEncoder};

use super::config::{SinkKeyFormat, SinkOptions};
use super::schema::announced::Announced;
use crate::messages::{Encoding, Payloads, SinkFormat};

/// How the rows of one stream become messages.
pub struct Messages {
    payloads: Way,
    key: Vec<usize>,
    key_format: SinkKeyFormat,
    key_required: bool,
    properties: Vec<(String, usize)>,
    fixed: BTreeMap<String, String>,
    event_time: Option<usize>,
}

/// How rows become payloads.
enum Way {
    Plain(Encoding),
    Schema(RegisteredEncoder),
}

enum Bodies {
    Plain(Payloads),
    Schema(registered::Payloads),
}

enum Keys {
    None,
    Text(StringArray),
    Bytes(ArrayRef),
    Json(Payloads),
}

/// A batch, encoded.
pub struct Encoded {
    payloads: Bodies,
    keys: Keys,
    properties: Vec<(String, StringArray)>,
    fixed: Vec<KeyValue>,
    event_times: Option<TimestampMillisecondArray>,
}

/// A message's key as the protocol has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key, or its base64.
    pub text: String,
    /// It is base64 of bytes.
    pub encoded: bool,
}

impl Messages {
    /// By the options; `key` are the columns of the key.
    ///
    /// # Errors
    /// A column that is not there, or that the format cannot hold.
    pub fn new(
        options: &SinkOptions,
        schema: &SchemaRef,
        key: &[String],
        mode: WriteMode,
        announced: &Announced,
    ) -> Result<Self> {
        let place = |name: &str, what: &str| {
            schema.index_of(name).map_err(|_| {
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                Error::new("WEIR-PULSAR-024", Kind::Schema, format!("{what} `{name}` is no column of the stream"))
                    .hint(format!("columns are: {}", columns.join(", ")))
            })
        };
        let key = key.iter().map(|name| place(name, "the key column")).collect::<Result<Vec<_>>>()?;
        let key_required = mode == WriteMode::Upsert;
        if key_required && key.is_empty() {
            return Err(Error::new("WEIR-PULSAR-024", Kind::Schema, "`write_mode: upsert` needs a key")
                .hint("name its columns under `key`"));
        }
        let properties = options
            .property_columns
            .iter()
            .map(|name| Ok((name.clone(), place(name, "the property column")?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            payloads: match (&announced.encoder, options.format.plain()) {
                (Some(encoder), _) => Way::Schema(encoder.clone()),
                (None, Some(format)) => Way::Plain(Encoding::with_csv(format, schema, options.csv.clone())?),
                (None, None) => return Err(Error::internal("a format of a schema without one")),
            },
            key_format: options.key_format.unwrap_or(if key.len() > 1 { SinkKeyFormat::Json } else { SinkKeyFormat::Text }),
            key,
            key_required,
            properties,
            fixed: options.properties.clone(),
            event_time: options.event_time_column.as_deref().map(|name| place(name, "`event_time_column`")).transpose()?,
        })
    }

    /// Encodes a batch.
    ///
    /// # Errors
    /// A value that has no form in the format, a key that is NULL where one is needed, a time before 1970.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Encoded> {
        if self.key_required {
            let nulls = |at: &usize| batch.column(*at).logical_null_count() > 0;
            if let Some(at) = self.key.iter().find(|at| nulls(at)) {
                let what = format!("a row has no value in its key column `{}`", batch.schema().field(*at).name());
                return Err(Error::new("WEIR-PULSAR-035", Kind::Data, what)
                    .hint("a message without key cannot replace another; filter such rows out or choose another key"));
            }
        }
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        let event_times = self.event_time.map(|at| without_zone(batch.column(at), &millis)).transpose()?;
        let event_times = event_times.map(|array| array.as_primitive::<TimestampMillisecondType>().clone());
        if event_times.as_ref().is_some_and(|times| times.iter().flatten().any(|time| time <= 0)) {
            return Err(Error::new(
                "WEIR-PULSAR-025",
                Kind::Data,
                "an event time is not after 1970, and messages have no place for one",
            )
            .hint("set such times to NULL, or leave `event_time_column` out"));
        }
        let properties = self
            .properties
            .iter()
            .map(|(name, at)| Ok((name.clone(), converted(batch.column(*at), &DataType::Utf8)?.as_string().clone())))
            .collect::<Result<_>>()?;
        Ok(Encoded {
            payloads: match &self.payloads {
                Way::Plain(encoding) => Bodies::Plain(encoding.encode(batch)?),
                Way::Schema(encoder) => Bodies::Schema(encoder.encode(batch, &[])?),
            },
            keys: self.keys(batch)?,
            properties,
            fixed: self.fixed.iter().map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() }).collect(),
            event_times,
        })
    }

    fn keys(&self, batch: &RecordBatch) -> Result<Keys> {
        match (self.key.as_slice(), self.key_format) {
            ([], _) => Ok(Keys::None),
            ([one], SinkKeyFormat::Text) => {
                let column = batch.column(*one);
                if matches!(column.data_type(), DataType::Binary) {
                    return Ok(Keys::Bytes(column.clone()));
                }
                Ok(Keys::Text(converted(column, &DataType::Utf8)?.as_string().clone()))
            }
            (key, _) => {
                let only = batch.project(key).map_err(unfit)?;
                Ok(Keys::Json(Encoding::new(SinkFormat::Json, &only.schema())?.encode(&only)?))
            }
        }
    }
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::new("WEIR-PULSAR-025", Kind::Data, "a key, property or time cannot be made of its column").because(error)
}

fn converted(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() }).map_err(unfit)
}

/// An instant is its milliseconds, in whatever zone it is shown.
fn without_zone(array: &ArrayRef, millis: &DataType) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Timestamp(_, Some(_)) => {
            let utc = converted(array, &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())))?;
            converted(&utc, &DataType::Int64).and_then(|numbers| converted(&numbers, millis))
        }
        _ => converted(array, millis),
    }
}

impl Encoded {
    /// How many.
    pub fn count(&self) -> usize {
        match &self.payloads {
            Bodies::Plain(payloads) => payloads.count(),
            Bodies::Schema(payloads) => payloads.ranges.len(),
        }
    }

    /// A message's payload.
    pub fn payload(&self, row: usize) -> &[u8] {
        match &self.payloads {
            Bodies::Plain(payloads) => payloads.slice(row),
            Bodies::Schema(payloads) => &payloads.bytes[payloads.ranges[row].clone()],
        }
    }

    /// A message's key.
    pub fn key(&self, row: usize) -> Option<Key> {
        let plain = |text: &str| Key { text: text.to_owned(), encoded: false };
        match &self.keys {
            Keys::None => None,
            Keys::Text(keys) => keys.is_valid(row).then(|| plain(keys.value(row))),
            Keys::Bytes(keys) => keys.is_valid(row).then(|| {
                let bytes = keys.as_binary::<i32>().value(row);
                Key { text: base64::engine::general_purpose::STANDARD.encode(bytes), encoded: true }
            }),
            Keys::Json(keys) => Some(plain(&String::from_utf8_lossy(keys.slice(row)))),
        }
    }

    /// A message's properties.
    pub fn properties(&self, row: usize) -> Vec<KeyValue> {
        let own = self.properties.iter().filter(|(_, values)| values.is_valid(row));
        let own = own.map(|(name, values)| KeyValue { key: name.clone(), value: values.value(row).to_owned() });
        self.fixed.iter().cloned().chain(own).collect()
    }

    /// A message's event time, in milliseconds.
    pub fn event_time(&self, row: usize) -> Option<u64> {
        let times = self.event_times.as_ref().filter(|times| times.is_valid(row))?;
        u64::try_from(times.value(row)).ok()
    }
}

/// The partition of a key, as Java's client chooses it unless told otherwise (`String.hashCode`).
pub fn partition_of(key: &str, partitions: usize) -> usize {
    let hash = key.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) as usize % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BinaryArray, Int64Array};
    use arrow::datatypes::{Field, Schema};

    use super::*;

    fn batch() -> RecordBatch {
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int64Array::from(vec![1, 2]))),
            ("text", Arc::new(StringArray::from(vec![Some("a\nb"), None]))),
            ("raw", Arc::new(BinaryArray::from_vec(vec![b"\xff", b"x"]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![Some(5), None]).with_timezone("+02:00"))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
    }

    fn messages(options: SinkOptions, key: &[&str], mode: WriteMode) -> Result<Encoded> {
        let key: Vec<String> = key.iter().map(ToString::to_string).collect();
        Messages::new(&options, &batch().schema(), &key, mode, &Announced::default())?.encode(&batch())
    }

    #[test]
    fn keys_are_text_bytes_or_an_object_and_a_null_is_none() {
        let key = |columns: &[&str], row| messages(SinkOptions::default(), columns, WriteMode::Append).unwrap().key(row);
        assert_eq!(key(&["id"], 0), Some(Key { text: "1".into(), encoded: false }));
        assert_eq!(key(&["text"], 1), None);
        assert_eq!(key(&["raw"], 0), Some(Key { text: "/w==".into(), encoded: true }));
        assert_eq!(key(&["id", "text"], 1), Some(Key { text: r#"{"id":2,"text":null}"#.into(), encoded: false }));
        let error = messages(SinkOptions::default(), &["text"], WriteMode::Upsert).err().unwrap();
        assert_eq!(error.code(), "WEIR-PULSAR-035");
        assert_eq!(messages(SinkOptions::default(), &["none"], WriteMode::Append).err().unwrap().code(), "WEIR-PULSAR-024");
    }

    #[test]
    fn properties_and_event_times_come_from_columns_and_a_null_is_none() {
        let options = SinkOptions {
            properties: BTreeMap::from([("origin".to_owned(), "weir".to_owned())]),
            property_columns: vec!["text".into(), "id".into()],
            event_time_column: Some("at".into()),
            ..SinkOptions::default()
        };
        let encoded = messages(options, &[], WriteMode::Append).unwrap();
        let of = |row| encoded.properties(row).into_iter().map(|one| format!("{}={}", one.key, one.value)).collect::<Vec<_>>();
        assert_eq!(of(0), ["origin=weir", "text=a\nb", "id=1"]);
        assert_eq!(of(1), ["origin=weir", "id=2"]);
        assert_eq!((encoded.event_time(0), encoded.event_time(1)), (Some(5), None));
        let schema = Arc::new(Schema::new(vec![Field::new("at", DataType::Int64, false)]));
        let old = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(vec![-1]))]).unwrap();
        let options = SinkOptions { event_time_column: Some("at".into()), ..SinkOptions::default() };
        let error =
            Messages::new(&options, &schema, &[], WriteMode::Append, &Announced::default()).unwrap().encode(&old).err().unwrap();
        assert_eq!(error.code(), "WEIR-PULSAR-025");
    }

    #[test]
    fn keys_go_to_the_partitions_that_javas_client_chooses() {
        // `"key".hashCode()` is 106079, that of "Aa" and "BB" is 2112 both.
        assert_eq!(partition_of("key", 1000), 79);
        assert_eq!(partition_of("Aa", 7), partition_of("BB", 7));
        assert_eq!(partition_of("Aa", 1_000_000), 2112);
        // Of "polygenelubricants" it is the smallest integer there is.
        assert_eq!(partition_of("polygenelubricants", 10), 0);
    }
}
