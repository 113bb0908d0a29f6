//! From a batch of changes to messages.

use std::sync::{Arc, Mutex};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use serde_json::{Map, Value, json};
use weir_connect::{ChangeBatch, Op, TransactionMark};
use weir_error::{Error, Kind as ErrorKind, Result};

use super::kind::Kind;
use super::mysql::{MYSQL_TYPE, Mysql, Origin};
use super::value::{print, quote, write};
use super::{DebeziumConnector, DebeziumOptions};

/// What is the same for all streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// As the sink has them.
    pub options: DebeziumOptions,
    /// The pipeline, which names the source unless the options do.
    pub pipeline: String,
    /// `source.version`: of the program.
    pub version: String,
}

/// A message. Without a key, the table has none; without a value, it is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The row of the batch that it tells of.
    pub row: usize,
    /// JSON.
    pub key: Option<Vec<u8>>,
    /// JSON.
    pub value: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Column {
    /// The name as JSON, with its colon.
    name: Vec<u8>,
    title: String,
    kind: Kind,
    required: bool,
    unavailable: Option<String>,
}

/// The messages of one stream in one shape.
#[derive(Debug)]
pub struct Envelope {
    columns: Vec<Column>,
    key: Vec<usize>,
    topic: String,
    tombstones: bool,
    /// What goes around a key and a value that carry their schemas.
    key_head: Vec<u8>,
    value_head: Vec<u8>,
    /// The parts of `source` that never change.
    version_to_name: Vec<u8>,
    db: Vec<u8>,
    /// With the schema, where there are any.
    table: Vec<u8>,
    connector: DebeziumConnector,
    /// The transaction of the last change, and how many of its changes there were.
    counted: Mutex<(Arc<str>, u32)>,
}

impl Envelope {
    /// For a stream `schema.table` in this shape: the schema says which columns are nullable, the names which are the key.
    ///
    /// # Errors
    /// `WEIR-FMT-040` for a column that has no counterpart in the envelope.
    pub fn new(stream: &str, schema: &SchemaRef, key: &[String], context: &Context) -> Result<Self> {
        let (space, table) = stream.rsplit_once('.').unwrap_or(("", stream));
        let prefix = context.options.topic_prefix.as_deref().unwrap_or(&context.pipeline);
        let topic = if space.is_empty() { format!("{prefix}.{table}") } else { format!("{prefix}.{space}.{table}") };
        let connector = context.options.connector.unwrap_or_else(|| {
            let mysql = schema.fields().iter().any(|field| field.metadata().contains_key(MYSQL_TYPE));
            if mysql { DebeziumConnector::Mysql } else { DebeziumConnector::Postgresql }
        });
        let mut columns = Vec::new();
        for field in schema.fields() {
            let kind = match Kind::of(field)? {
                // It is a text there.
                Kind::Mysql(Mysql::Json) if connector == DebeziumConnector::Mariadb => Kind::Text,
                kind => kind,
            };
            let mut name = Vec::new();
            quote(field.name(), &mut name);
            name.push(b':');
            let unavailable = kind.unavailable();
            columns.push(Column { name, title: field.name().clone(), kind, required: !field.is_nullable(), unavailable });
        }
        let mut places = Vec::new();
        for name in key {
            places.push(schema.index_of(name).map_err(|_| Error::internal(format!("the key column `{name}` is no column")))?);
        }
        for place in &places {
            columns[*place].required = true;
        }
        let (mut version_to_name, mut db, mut named_table) = (Vec::new(), Vec::new(), Vec::new());
        version_to_name.extend_from_slice(b"{\"version\":");
        quote(&context.version, &mut version_to_name);
        print(&mut version_to_name, format_args!(",\"connector\":\"{}\",\"name\":", name_of(connector)));
        quote(prefix, &mut version_to_name);
        if connector == DebeziumConnector::Postgresql {
            quote(&context.options.database, &mut db);
            named_table.extend_from_slice(b",\"schema\":");
            quote(space, &mut named_table);
        } else {
            quote(space, &mut db);
        }
        named_table.extend_from_slice(b",\"table\":");
        quote(table, &mut named_table);
        let head = |schema: Value| format!("{{\"schema\":{schema},\"payload\":").into_bytes();
        let (key_head, value_head) = match context.options.schemas {
            true => (head(key_schema(&topic, &columns, &places)), head(value_schema(&topic, &columns, connector))),
            false => (Vec::new(), Vec::new()),
        };
        Ok(Self {
            columns,
            key: places,
            topic,
            tombstones: context.options.tombstones,
            key_head,
            value_head,
            version_to_name,
            db,
            table: named_table,
            connector,
            counted: Mutex::new(("".into(), 0)),
        })
    }

    /// The topic that Debezium would write to.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The messages of a batch, in order: one per change, and the tombstones of deletes. `now_ns` is the time of the telling.
    ///
    /// # Errors
    /// `WEIR-FMT-041` for a value that has no form, `WEIR-FMT-042` for one that is not in the log and cannot be told to be missing, `WEIR-FMT-043` for the
    /// log of another system than the connector's.
    pub fn encode(&self, batch: &ChangeBatch, now_ns: i64) -> Result<Vec<Message>> {
        if batch.rows.num_columns() != self.columns.len() {
            return Err(Error::internal("changes in another shape than the envelope's"));
        }
        let mut messages = Vec::with_capacity(batch.ops.len());
        let mut marks = batch.transactions.iter().peekable();
        for (row, op) in batch.ops.iter().enumerate() {
            while marks.peek().is_some_and(|mark| mark.end <= row) {
                marks.next();
            }
            let mark = marks.peek().ok_or_else(|| Error::internal("a change without its transaction"))?;
            let key = self.keyed(&batch.rows, row)?;
            let mut value = self.value_head.clone();
            value.extend_from_slice(b"{\"before\":");
            match (op, &batch.before) {
                (Op::Delete, _) => self.known(batch, row, &mut value)?,
                (Op::Update, Some(before)) if self.is_known(before, row) => self.row(before, row, &mut value)?,
                _ => value.extend_from_slice(b"null"),
            }
            value.extend_from_slice(b",\"after\":");
            match op {
                Op::Delete => value.extend_from_slice(b"null"),
                _ => self.after(batch, row, &mut value)?,
            }
            self.rest(op.as_str(), Some(mark), *op == Op::Read, now_ns, &mut value)?;
            let tombstone = *op == Op::Delete && self.tombstones && key.is_some();
            messages.push(Message { row, key: key.clone(), value: Some(value) });
            if tombstone {
                messages.push(Message { row, key, value: None });
            }
        }
        Ok(messages)
    }

    /// Rows that come from no log, a message each in their order: `source` has no place in a log then, and its time is that of the telling. Columns of the
    /// key must have values.
    ///
    /// # Errors
    /// `WEIR-FMT-041` as [`Self::encode`].
    pub fn rows(&self, rows: &RecordBatch, op: Op, now_ns: i64) -> Result<Vec<Message>> {
        if rows.num_columns() != self.columns.len() {
            return Err(Error::internal("rows in another shape than the envelope's"));
        }
        let told = |row: usize| -> Result<Message> {
            let mut value = self.value_head.clone();
            value.extend_from_slice(b"{\"before\":null,\"after\":");
            self.row(rows, row, &mut value)?;
            self.rest(op.as_str(), None, op == Op::Read, now_ns, &mut value)?;
            Ok(Message { row, key: self.keyed(rows, row)?, value: Some(value) })
        };
        (0..rows.num_rows()).map(told).collect()
    }

    /// The message of a table that was emptied; it has no key.
    ///
    /// # Errors
    /// `WEIR-FMT-043` as [`Self::encode`].
    pub fn truncate(&self, mark: &TransactionMark, now_ns: i64) -> Result<Message> {
        let mut value = self.value_head.clone();
        value.extend_from_slice(b"{\"before\":null,\"after\":null");
        self.rest("t", Some(mark), false, now_ns, &mut value)?;
        Ok(Message { row: 0, key: None, value: Some(value) })
    }

    fn keyed(&self, rows: &RecordBatch, row: usize) -> Result<Option<Vec<u8>>> {
        if self.key.is_empty() {
            return Ok(None);
        }
        let mut key = self.key_head.clone();
        self.object(self.key.iter().copied(), &mut key, |at, column, out| self.cell(column, rows.column(at).as_ref(), row, out))?;
        if !self.key_head.is_empty() {
            key.push(b'}');
        }
        Ok(Some(key))
    }

    /// The row was in the log: any value of it is.
    fn is_known(&self, before: &RecordBatch, row: usize) -> bool {
        before.columns().iter().any(|column| column.is_valid(row))
    }

    fn row(&self, rows: &RecordBatch, row: usize, out: &mut Vec<u8>) -> Result<()> {
        self.object(0..self.columns.len(), out, |at, column, out| self.cell(column, rows.column(at).as_ref(), row, out))
    }

    /// A deleted row: what the log does not have is NULL, or empty where NULL may not be.
    fn known(&self, batch: &ChangeBatch, row: usize, out: &mut Vec<u8>) -> Result<()> {
        self.row(&batch.rows, row, out)
    }

    fn after(&self, batch: &ChangeBatch, row: usize, out: &mut Vec<u8>) -> Result<()> {
        self.object(0..self.columns.len(), out, |at, column, out| {
            let absent = batch.absent.get(at).and_then(Option::as_ref).is_some_and(|bits| bits.value(row));
            if !absent {
                return self.cell(column, batch.rows.column(at).as_ref(), row, out);
            }
            match &column.unavailable {
                Some(sign) => out.extend_from_slice(sign.as_bytes()),
                None => {
                    return Err(Error::new(
                        "WEIR-FMT-042",
                        ErrorKind::Data,
                        format!("the value of column `{}` did not change and is not in the log", column.title),
                    )
                    .because("Debezium's envelope has no sign for that in a column of this type")
                    .hint("ALTER TABLE … REPLICA IDENTITY FULL brings all values into the log"));
                }
            }
            Ok(())
        })
    }

    fn object(
        &self,
        places: impl Iterator<Item = usize>,
        out: &mut Vec<u8>,
        mut cell: impl FnMut(usize, &Column, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        out.push(b'{');
        for (nth, at) in places.enumerate() {
            if nth > 0 {
                out.push(b',');
            }
            let column = &self.columns[at];
            out.extend_from_slice(&column.name);
            cell(at, column, out)?;
        }
        out.push(b'}');
        Ok(())
    }

    fn cell(&self, column: &Column, array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
        if array.is_valid(row) {
            return write(&column.kind, array, row, out).map_err(|error| error.at(format!("{}.{}", self.topic, column.title)));
        }
        out.extend_from_slice(if column.required { column.kind.zero().as_bytes() } else { b"null" });
        Ok(())
    }

    /// Everything after `after`. Without a mark the row comes from no log.
    fn rest(&self, op: &str, mark: Option<&TransactionMark>, snapshot: bool, now_ns: i64, out: &mut Vec<u8>) -> Result<()> {
        let us = mark.map_or(now_ns / 1000, |mark| mark.committed_at_us);
        out.extend_from_slice(b",\"source\":");
        out.extend_from_slice(&self.version_to_name);
        print(out, format_args!(",\"ts_ms\":{},\"snapshot\":\"{snapshot}\",\"db\":", us.div_euclid(1000)));
        out.extend_from_slice(&self.db);
        match self.connector {
            DebeziumConnector::Postgresql => self.postgres(mark, us, snapshot, out)?,
            DebeziumConnector::Mysql | DebeziumConnector::Mariadb => self.mysql(mark, us, snapshot, out)?,
        }
        out.extend_from_slice(b"},\"transaction\":null,\"op\":");
        quote(op, out);
        print(out, format_args!(",\"ts_ms\":{},\"ts_us\":{},\"ts_ns\":{now_ns}}}", now_ns / 1_000_000, now_ns / 1000));
        if !self.value_head.is_empty() {
            out.push(b'}');
        }
        Ok(())
    }

    /// The source's block after `db`.
    fn postgres(&self, mark: Option<&TransactionMark>, us: i64, snapshot: bool, out: &mut Vec<u8>) -> Result<()> {
        let place = mark.map(|mark| lsn(&mark.position).ok_or_else(|| self.foreign(mark))).transpose()?;
        match place {
            None => out.extend_from_slice(b",\"sequence\":null"),
            Some(lsn) if snapshot => print(out, format_args!(",\"sequence\":\"[null,\\\"{lsn}\\\"]\"")),
            Some(lsn) => print(out, format_args!(",\"sequence\":\"[\\\"{lsn}\\\",\\\"{lsn}\\\"]\"")),
        }
        self.at_and_table(us, out);
        let transaction = mark.and_then(|mark| mark.id.as_deref()?.parse::<u64>().ok());
        print(out, format_args!(",\"txId\":{},\"lsn\":{}", number(transaction), number(place)));
        out.extend_from_slice(b",\"xmin\":null,\"origin\":null,\"origin_lsn\":null");
        Ok(())
    }

    fn mysql(&self, mark: Option<&TransactionMark>, us: i64, snapshot: bool, out: &mut Vec<u8>) -> Result<()> {
        let origin = mark.map(|mark| Origin::of(mark).ok_or_else(|| self.foreign(mark))).transpose()?.unwrap_or_default();
        out.extend_from_slice(b",\"sequence\":null");
        self.at_and_table(us, out);
        print(out, format_args!(",\"server_id\":{},\"gtid\":", origin.server));
        match origin.gtid {
            Some(gtid) => quote(gtid, out),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"file\":");
        quote(origin.file, out);
        let row = mark.filter(|_| !snapshot).map_or(Ok(0), |mark| self.count(mark))?;
        print(out, format_args!(",\"pos\":{},\"row\":{row},\"thread\":{}", origin.byte, number(origin.thread)));
        out.extend_from_slice(b",\"query\":null");
        Ok(())
    }

    fn at_and_table(&self, us: i64, out: &mut Vec<u8>) {
        print(out, format_args!(",\"ts_us\":{us},\"ts_ns\":{}", us.saturating_mul(1000)));
        out.extend_from_slice(&self.table);
    }

    /// How many changes of this transaction came before. One may come in several batches.
    fn count(&self, mark: &TransactionMark) -> Result<u32> {
        let mut counted = self.counted.lock().map_err(|_| Error::internal("a lock was poisoned"))?;
        if counted.0 != mark.position {
            *counted = (mark.position.clone(), 0);
        }
        counted.1 += 1;
        Ok(counted.1 - 1)
    }

    fn foreign(&self, mark: &TransactionMark) -> Error {
        Error::new(
            "WEIR-FMT-043",
            ErrorKind::Unsupported,
            "Debezium's envelope is written for changes of PostgreSQL, MySQL and MariaDB",
        )
        .because(format!("`{}` is no position of a log as {} has it", mark.position, name_of(self.connector)))
        .hint("write rows: `format: parquet`, `ndjson`, …; or say which `connector` it is")
    }
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

fn name_of(connector: DebeziumConnector) -> &'static str {
    match connector {
        DebeziumConnector::Postgresql => "postgresql",
        DebeziumConnector::Mysql => "mysql",
        DebeziumConnector::Mariadb => "mariadb",
    }
}

/// `0/16B3748` as the number that it is.
fn lsn(position: &str) -> Option<u64> {
    let (high, low) = position.split_once('/')?;
    let part = |text| u64::from_str_radix(text, 16).ok().filter(|part| *part <= u64::from(u32::MAX));
    Some(part(high)? << 32 | part(low)?)
}

fn named(mut schema: Map<String, Value>, field: &str) -> Value {
    schema.insert("field".into(), field.into());
    schema.into()
}

fn fields<'a>(columns: impl Iterator<Item = &'a Column>) -> Vec<Value> {
    columns.map(|column| named(column.kind.schema(!column.required), &column.title)).collect()
}

fn key_schema(topic: &str, columns: &[Column], key: &[usize]) -> Value {
    json!({"type": "struct", "fields": fields(key.iter().map(|at| &columns[*at])), "optional": false, "name": format!("{topic}.Key")})
}

fn value_schema(topic: &str, columns: &[Column], connector: DebeziumConnector) -> Value {
    let row = |field: &str| json!({"type": "struct", "fields": fields(columns.iter()), "optional": true, "name": format!("{topic}.Value"), "field": field});
    let plain = |kind: &str, optional: bool, field: &str| json!({"type": kind, "optional": optional, "field": field});
    let snapshot = json!({"type": "string", "optional": true, "name": "io.debezium.data.Enum", "version": 1,
        "parameters": {"allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"}, "default": "false", "field": "snapshot"});
    let mut of_source = vec![
        plain("string", false, "version"),
        plain("string", false, "connector"),
        plain("string", false, "name"),
        plain("int64", false, "ts_ms"),
        snapshot,
        plain("string", false, "db"),
        plain("string", true, "sequence"),
        plain("int64", true, "ts_us"),
        plain("int64", true, "ts_ns"),
    ];
    match connector {
        DebeziumConnector::Postgresql => of_source.extend([
            plain("string", false, "schema"),
            plain("string", false, "table"),
            plain("int64", true, "txId"),
            plain("int64", true, "lsn"),
            plain("int64", true, "xmin"),
            plain("string", true, "origin"),
            plain("int64", true, "origin_lsn"),
        ]),
        DebeziumConnector::Mysql | DebeziumConnector::Mariadb => of_source.extend([
            plain("string", true, "table"),
            plain("int64", false, "server_id"),
            plain("string", true, "gtid"),
            plain("string", false, "file"),
            plain("int64", false, "pos"),
            plain("int32", false, "row"),
            plain("int64", true, "thread"),
            plain("string", true, "query"),
        ]),
    }
    let source = json!({"type": "struct", "fields": of_source, "optional": false,
        "name": format!("io.debezium.connector.{}.Source", name_of(connector)), "version": 1, "field": "source"});
    let transaction = json!({"type": "struct", "fields": [
        plain("string", false, "id"), plain("int64", false, "total_order"), plain("int64", false, "data_collection_order"),
    ], "optional": true, "name": "event.block", "version": 1, "field": "transaction"});
    json!({"type": "struct", "fields": [
        row("before"), row("after"), source, transaction, plain("string", false, "op"),
        plain("int64", true, "ts_ms"), plain("int64", true, "ts_us"), plain("int64", true, "ts_ns"),
    ], "optional": false, "name": format!("{topic}.Envelope"), "version": 2})
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use arrow::buffer::BooleanBuffer;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("text", DataType::Utf8, true)]))
    }

    fn envelope(options: DebeziumOptions) -> Envelope {
        let context = Context { options, pipeline: "shop".into(), version: "1".into() };
        Envelope::new("public.orders", &schema(), &["id".into()], &context).unwrap()
    }

    fn batch(op: Op, text: Option<&str>, absent: bool) -> ChangeBatch {
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![7])), Arc::new(StringArray::from(vec![text]))];
        let mark = TransactionMark { end: 1, position: "1/10".into(), id: Some("42".into()), committed_at_us: 1_500 };
        ChangeBatch {
            stream: "public.orders".into(),
            ops: vec![op],
            rows: RecordBatch::try_new(schema(), columns).unwrap(),
            absent: vec![None, absent.then(|| BooleanBuffer::new_set(1))],
            before: None,
            transactions: vec![mark],
            source_bytes: 0,
        }
    }

    fn json(bytes: &Option<Vec<u8>>) -> Value {
        serde_json::from_slice(bytes.as_deref().unwrap()).unwrap()
    }

    #[test]
    fn a_value_that_is_not_in_the_log_is_told_to_be_missing_and_null_stays_null() {
        let envelope = envelope(DebeziumOptions::default());
        let told = |batch: &ChangeBatch| json(&envelope.encode(batch, 0).unwrap()[0].value)["after"]["text"].clone();
        assert_eq!(told(&batch(Op::Update, None, true)), "__debezium_unavailable_value");
        assert_eq!(told(&batch(Op::Update, None, false)), Value::Null);
        assert_eq!(told(&batch(Op::Update, Some("a\"b"), false)), "a\"b");
    }

    #[test]
    fn a_delete_has_its_row_before_and_a_tombstone_behind_it() {
        let messages = envelope(DebeziumOptions::default()).encode(&batch(Op::Delete, None, true), 0).unwrap();
        let value = json(&messages[0].value);
        assert_eq!(
            (&value["op"], &value["before"], &value["after"]),
            (&json!("d"), &json!({"id": 7, "text": null}), &Value::Null)
        );
        assert_eq!((messages.len(), &messages[1].value, &messages[1].key), (2, &None, &messages[0].key));
        let quiet = envelope(DebeziumOptions { tombstones: false, ..DebeziumOptions::default() });
        assert_eq!(quiet.encode(&batch(Op::Delete, None, true), 0).unwrap().len(), 1);
    }

    #[test]
    fn the_position_is_a_number_and_times_are_in_three_units() {
        let value =
            json(&envelope(DebeziumOptions::default()).encode(&batch(Op::Create, None, false), 5_000_001).unwrap()[0].value);
        assert_eq!(value["source"]["lsn"], json!((1u64 << 32) + 16));
        assert_eq!(
            (&value["source"]["ts_ms"], &value["source"]["ts_us"], &value["source"]["ts_ns"]),
            (&json!(1), &json!(1500), &json!(1_500_000))
        );
        assert_eq!((&value["ts_ms"], &value["ts_us"], &value["ts_ns"]), (&json!(5), &json!(5000), &json!(5_000_001)));
        assert_eq!((&value["source"]["txId"], &value["source"]["name"]), (&json!(42), &json!("shop")));
    }

    #[test]
    fn a_log_of_another_system_is_refused() {
        let mut other = batch(Op::Create, None, false);
        other.transactions[0].position = "binlog.000003:4711".into();
        assert_eq!(envelope(DebeziumOptions::default()).encode(&other, 0).unwrap_err().code(), "WEIR-FMT-043");
    }

    #[test]
    fn changes_of_a_transaction_of_mysql_are_counted_over_its_batches() {
        let options = DebeziumOptions { connector: Some(DebeziumConnector::Mysql), ..DebeziumOptions::default() };
        let envelope = envelope(options);
        let told = |position: &str, id: &str| {
            let mut batch = batch(Op::Create, None, false);
            (batch.transactions[0].position, batch.transactions[0].id) = (position.into(), Some(id.into()));
            let source = json(&envelope.encode(&batch, 0).unwrap()[0].value)["source"].clone();
            (
                source["gtid"].clone(),
                source["file"].clone(),
                source["pos"].clone(),
                source["row"].clone(),
                source["thread"].clone(),
            )
        };
        let expected = |gtid: &str, pos: u64, row: u32| (json!(gtid), json!("b.1"), json!(pos), json!(row), json!(9));
        assert_eq!(told("u:1", "b.1:4 1 9"), expected("u:1", 4, 0));
        assert_eq!(told("u:1", "b.1:4 1 9"), expected("u:1", 4, 1));
        assert_eq!(told("u:2", "b.1:80 1 9"), expected("u:2", 80, 0));
        let source = json(
            &envelope
                .encode(
                    &{
                        let mut batch = batch(Op::Read, None, false);
                        (batch.transactions[0].position, batch.transactions[0].id) = ("b.1:80".into(), None);
                        batch
                    },
                    0,
                )
                .unwrap()[0]
                .value,
        )["source"]
            .clone();
        assert_eq!(
            (&source["db"], &source["server_id"], &source["gtid"], &source["row"]),
            (&json!("public"), &json!(0), &Value::Null, &json!(0))
        );
    }

    #[test]
    fn with_schemas_key_and_value_carry_theirs() {
        let options = DebeziumOptions { schemas: true, topic_prefix: Some("p".into()), ..DebeziumOptions::default() };
        let messages = envelope(options).encode(&batch(Op::Create, None, false), 0).unwrap();
        let (key, value) = (json(&messages[0].key), json(&messages[0].value));
        assert_eq!((&key["payload"], &key["schema"]["name"]), (&json!({"id": 7}), &json!("p.public.orders.Key")));
        assert_eq!(value["schema"]["name"], "p.public.orders.Envelope");
        assert_eq!(value["payload"]["after"]["id"], 7);
    }

    #[test]
    fn a_type_without_a_counterpart_is_refused_before_the_first_change() {
        let odd = Arc::new(Schema::new(vec![Field::new(
            "x",
            DataType::Struct(vec![Field::new("a", DataType::Utf8, true)].into()),
            true,
        )]));
        let context = Context { options: DebeziumOptions::default(), pipeline: "p".into(), version: "1".into() };
        let refused = Envelope::new("t", &odd, &[], &context).err().unwrap();
        assert_eq!(refused.code(), "WEIR-FMT-040");
    }
}
