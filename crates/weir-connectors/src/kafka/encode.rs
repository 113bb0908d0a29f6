//! Rows into records: value, key, partition and time of each. Pure.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMillisecondType};
use weir_connect::{Error, Kind, Op, Result, StreamTarget, WriteMode};
use weir_formats::debezium::{Envelope, Message};
use weir_formats::registered;

use super::config::{RowOp, SinkFormat, SinkKeyFormat, SinkOptions};
use super::letters::{self, Letters};
use super::registry::outgoing::Outgoing;
use crate::messages::{self, Payloads};

/// How the rows of one stream become records.
#[derive(Debug, Clone)]
pub struct Encoding {
    schema: SchemaRef,
    values: Values,
    key: Vec<usize>,
    /// How columns become a key of JSON; `None`: the one column is the key.
    keys: Option<messages::Encoding>,
    key_required: bool,
    partition: Option<usize>,
    timestamp: Option<usize>,
}

/// How values are made.
#[derive(Debug, Clone)]
pub enum Values {
    /// By the columns alone.
    Plain(Box<messages::Encoding>),
    /// By a schema of the registry.
    Registered(Box<Outgoing>),
    /// As Debezium tells a row of a snapshot, or a new one; the envelope has the key too.
    Envelope(Arc<Envelope>, Op),
    /// Dead letters, with these headers in each besides their own.
    Letters(Vec<(String, String)>),
}

enum Made {
    Plain(Payloads),
    Registered(registered::Payloads),
    Envelope(Vec<Message>),
    Letters(Letters),
}

enum Keys {
    None,
    Text(StringArray),
    Bytes(ArrayRef),
    Json(Payloads),
}

/// A batch, encoded.
pub struct Records {
    values: Made,
    keys: Keys,
    partitions: Option<Int32Array>,
    timestamps: Option<TimestampMillisecondArray>,
}

impl Encoding {
    /// By the options, unless values are `given`; `key` are the columns of the key.
    ///
    /// # Errors
    /// A column that is not there, or that the format cannot hold.
    pub fn new(options: &SinkOptions, target: &StreamTarget, names: &[String], given: Option<Values>) -> Result<Self> {
        let schema = target.schema.clone();
        let place = |name: &str, what: &str| {
            schema.index_of(name).map_err(|_| {
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                Error::new("WEIR-KAFKA-024", Kind::Schema, format!("{what} `{name}` is no column of the stream"))
                    .hint(format!("columns are: {}", columns.join(", ")))
            })
        };
        let stream = [weir_connect::letters::STREAM.to_owned()];
        // Letters of one stream stay in their order.
        let names = if names.is_empty() && options.format == SinkFormat::DeadLetter { &stream } else { names };
        let key = names.iter().map(|name| place(name, "the key column")).collect::<Result<Vec<_>>>()?;
        let upsert = target.write_mode == WriteMode::Upsert;
        if upsert && key.is_empty() {
            return Err(Error::new("WEIR-KAFKA-024", Kind::Schema, "`write_mode: upsert` needs a key")
                .hint("name its columns under `key`"));
        }
        let values = match (given, options.format) {
            (Some(given), _) => given,
            (None, SinkFormat::DebeziumJson) => {
                let context = options.debezium_context(&target.run.pipeline);
                let op = if options.row_op == RowOp::Create { Op::Create } else { Op::Read };
                Values::Envelope(Arc::new(Envelope::new(&target.stream, &schema, names, &context)?), op)
            }
            (None, SinkFormat::DeadLetter) => {
                letters::check(&schema)?;
                Values::Letters(options.headers.clone().into_iter().collect())
            }
            (None, SinkFormat::Csv) => {
                let csv = messages::Encoding::with_csv(messages::SinkFormat::Csv, &schema, options.csv.clone())?;
                Values::Plain(Box::new(csv))
            }
            (None, _) => Values::Plain(Box::new(messages::Encoding::new(messages::SinkFormat::Json, &schema)?)),
        };
        let several = key.len() > 1 && options.format != SinkFormat::DebeziumJson;
        let keys = match options.key_format.unwrap_or(if several { SinkKeyFormat::Json } else { SinkKeyFormat::Text }) {
            SinkKeyFormat::Text => None,
            SinkKeyFormat::Json => {
                let only = schema.project(&key).map_err(unfit)?;
                Some(messages::Encoding::new(messages::SinkFormat::Json, &only.into())?)
            }
        };
        Ok(Self {
            values,
            keys,
            partition: options.partition_column.as_deref().map(|name| place(name, "`partition_column`")).transpose()?,
            timestamp: options.timestamp_column.as_deref().map(|name| place(name, "`timestamp_column`")).transpose()?,
            schema,
            // The envelope's key has no NULL.
            key_required: upsert || options.format == SinkFormat::DebeziumJson,
            key,
        })
    }

    /// Encodes a batch.
    ///
    /// # Errors
    /// A value that has no form in the format, a key that is NULL where one is needed.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Records> {
        self.no_null_keys(batch)?;
        let values = match &self.values {
            Values::Plain(values) => Made::Plain(values.encode(batch)?),
            Values::Registered(values) => Made::Registered(values.encode(batch)?),
            Values::Envelope(envelope, op) => Made::Envelope(envelope.rows(batch, *op, now_ns())?),
            Values::Letters(headers) => Made::Letters(letters::encode(batch, headers)?),
        };
        if values.count() != batch.num_rows() {
            return Err(Error::internal(format!("{} rows became {} records", batch.num_rows(), values.count())));
        }
        let partitions = self.partition.map(|at| converted(batch.column(at), &DataType::Int32)).transpose()?;
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        let timestamps = self.timestamp.map(|at| without_zone(batch.column(at), &millis)).transpose()?;
        Ok(Records {
            values,
            keys: self.keys(batch)?,
            partitions: partitions.map(|array| array.as_primitive().clone()),
            timestamps: timestamps.map(|array| array.as_primitive::<TimestampMillisecondType>().clone()),
        })
    }

    fn no_null_keys(&self, batch: &RecordBatch) -> Result<()> {
        let nulls = |at: &usize| batch.column(*at).logical_null_count() > 0;
        match self.key.iter().find(|at| self.key_required && nulls(at)) {
            Some(at) => {
                let what = format!("a row has no value in its key column `{}`", self.schema.field(*at).name());
                Err(Error::new("WEIR-KAFKA-032", Kind::Data, what)
                    .hint("a record without key cannot replace another; filter such rows out or choose another key"))
            }
            None => Ok(()),
        }
    }

    fn keys(&self, batch: &RecordBatch) -> Result<Keys> {
        match (self.key.as_slice(), &self.keys) {
            _ if matches!(self.values, Values::Envelope(..)) => Ok(Keys::None),
            ([], _) => Ok(Keys::None),
            (key, Some(keys)) => Ok(Keys::Json(keys.encode(&batch.project(key).map_err(unfit)?)?)),
            ([one, ..], None) => {
                let column = batch.column(*one);
                if matches!(column.data_type(), DataType::Binary) {
                    return Ok(Keys::Bytes(column.clone()));
                }
                Ok(Keys::Text(converted(column, &DataType::Utf8)?.as_string().clone()))
            }
        }
    }
}

/// The time of telling.
pub fn now_ns() -> i64 {
    chrono::Utc::now().timestamp_nanos_opt().unwrap_or(0)
}

impl Made {
    fn count(&self) -> usize {
        match self {
            Self::Plain(values) => values.count(),
            Self::Registered(values) => values.ranges.len(),
            Self::Envelope(messages) => messages.len(),
            Self::Letters(letters) => letters.count(),
        }
    }
}

fn unfit(error: arrow::error::ArrowError) -> Error {
    Error::new("WEIR-KAFKA-025", Kind::Data, "a key, partition or time cannot be made of its column").because(error)
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

impl Records {
    /// How many.
    pub fn count(&self) -> usize {
        self.values.count()
    }

    /// Whether each has nothing but a key and a value.
    pub fn plain(&self) -> bool {
        self.partitions.is_none() && self.timestamps.is_none() && !matches!(self.values, Made::Letters(_))
    }

    /// A record's value.
    pub fn value(&self, row: usize) -> &[u8] {
        match &self.values {
            Made::Plain(values) => values.slice(row),
            Made::Registered(values) => &values.bytes[values.ranges[row].clone()],
            Made::Envelope(messages) => messages[row].value.as_deref().unwrap_or_default(),
            Made::Letters(letters) => letters.value(row),
        }
    }

    /// A record's headers, if they are its own.
    pub fn headers(&self, row: usize) -> Option<&[(String, String)]> {
        match &self.values {
            Made::Letters(letters) => Some(letters.headers(row)),
            _ => None,
        }
    }

    /// A record's key.
    pub fn key(&self, row: usize) -> Option<&[u8]> {
        if let Made::Envelope(messages) = &self.values {
            return messages[row].key.as_deref();
        }
        match &self.keys {
            Keys::None => None,
            Keys::Text(keys) => keys.is_valid(row).then(|| keys.value(row).as_bytes()),
            Keys::Bytes(keys) => keys.is_valid(row).then(|| keys.as_binary::<i32>().value(row)),
            Keys::Json(keys) => Some(keys.slice(row)),
        }
    }

    /// The partition that a record is to go to.
    pub fn partition(&self, row: usize) -> Option<i32> {
        self.partitions.as_ref().filter(|partitions| partitions.is_valid(row)).map(|partitions| partitions.value(row))
    }

    /// A record's time, in milliseconds.
    pub fn timestamp(&self, row: usize) -> Option<i64> {
        self.timestamps.as_ref().filter(|timestamps| timestamps.is_valid(row)).map(|timestamps| timestamps.value(row))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{Field, Schema};
    use serde_json::{Value, json};
    use weir_connect::{RunIdentity, SchemaChangePolicy};

    use super::*;

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("text", DataType::Utf8, true)]);
        let text = StringArray::from(vec![Some("a\nb"), None, Some("\"q\", ü")]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(vec![1, 2, 3])), Arc::new(text)]).unwrap()
    }

    fn target(write_mode: WriteMode) -> StreamTarget {
        StreamTarget {
            run: RunIdentity { pipeline: "shop".into(), run_id: "1".into() },
            stream: "public.orders".into(),
            schema: batch().schema(),
            key: Vec::new(),
            cursor: None,
            write_mode,
            on_schema_change: SchemaChangePolicy::Evolve,
            changes: false,
        }
    }

    fn encoded(options: SinkOptions, key: &[&str]) -> Vec<(Option<String>, String)> {
        let key: Vec<String> = key.iter().map(ToString::to_string).collect();
        let encoding = Encoding::new(&options, &target(WriteMode::Append), &key, None).unwrap();
        let records = encoding.encode(&batch()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (0..records.count()).map(|row| (records.key(row).map(text), text(records.value(row)))).collect()
    }

    #[test]
    fn a_row_is_one_record_whatever_its_texts_hold() {
        let plain = encoded(SinkOptions::default(), &[]);
        assert_eq!(plain[0], (None, r#"{"id":1,"text":"a\nb"}"#.to_owned()));
        assert_eq!(plain[1].1, r#"{"id":2,"text":null}"#);
        let csv = encoded(SinkOptions { format: SinkFormat::Csv, ..SinkOptions::default() }, &["id"]);
        assert_eq!(csv[0], (Some("1".to_owned()), "1,\"a\nb\"".to_owned()));
        assert_eq!(csv[1].1, "2,");
        assert_eq!(csv[2].1, "3,\"\"\"q\"\", ü\"");
    }

    #[test]
    fn several_key_columns_are_an_object_and_a_null_is_no_key() {
        let both = encoded(SinkOptions::default(), &["id", "text"]);
        assert_eq!(both[1].0.as_deref(), Some(r#"{"id":2,"text":null}"#));
        let one = encoded(SinkOptions::default(), &["text"]);
        assert_eq!((one[0].0.as_deref(), one[1].0.as_deref()), (Some("a\nb"), None));
    }

    #[test]
    fn upsert_does_not_take_a_row_without_its_key() {
        let encoding = Encoding::new(&SinkOptions::default(), &target(WriteMode::Upsert), &["text".into()], None).unwrap();
        assert_eq!(encoding.encode(&batch()).err().unwrap().code(), "WEIR-KAFKA-032");
        let none = Encoding::new(&SinkOptions::default(), &target(WriteMode::Upsert), &[], None);
        assert_eq!(none.unwrap_err().code(), "WEIR-KAFKA-024");
    }

    #[test]
    fn rows_are_told_as_debezium_tells_a_snapshot_or_new_rows() {
        let with = |row_op| SinkOptions { format: SinkFormat::DebeziumJson, row_op, ..SinkOptions::default() };
        for (row_op, op, snapshot) in [(RowOp::Read, "r", "true"), (RowOp::Create, "c", "false")] {
            let told = encoded(with(row_op), &["id"]);
            assert_eq!((told.len(), told[1].0.as_deref()), (3, Some(r#"{"id":2}"#)));
            let value: Value = serde_json::from_str(&told[1].1).unwrap();
            assert_eq!((&value["op"], &value["before"]), (&json!(op), &Value::Null));
            assert_eq!(value["after"], json!({"id": 2, "text": null}));
            let source = &value["source"];
            assert_eq!(
                (&source["snapshot"], &source["schema"], &source["table"]),
                (&json!(snapshot), &json!("public"), &json!("orders"))
            );
            assert_eq!((&source["name"], &source["lsn"], &source["txId"]), (&json!("shop"), &Value::Null, &Value::Null));
            assert!(source["ts_ms"].as_i64().unwrap() > 0);
        }
        let encoding = Encoding::new(&with(RowOp::Read), &target(WriteMode::Append), &["text".into()], None).unwrap();
        assert_eq!(encoding.encode(&batch()).err().unwrap().code(), "WEIR-KAFKA-032");
    }
}
