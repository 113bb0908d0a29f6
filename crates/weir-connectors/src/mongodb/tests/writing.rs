//! The sink of batches, over the driver, against the peer: the kit, and what only documents have.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, LargeBinaryArray, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId, serialize_to_vec};
use serde_json::{Value as Json, json};
use weir_connect::conformance::matrix::{plain_rows, plain_schema};
use weir_connect::conformance::{Declared, Subject, TypeFamily};
use weir_connect::fidelity::{LOGICAL_TYPE, SOURCE_TYPE};
use weir_connect::stream::LossChoice;
use weir_connect::{
    Barrier, CheckReport, CommitReport, CommitToken, Connector, Descriptor, Edge, Error, Kind, OnLoss, ReadRequest, Result, Sink,
    SinkContext, Source, SourceContext, StreamInfo, StreamSink, StreamTarget, WriteMode,
};

use super::super::bson::Value;
use super::super::{Mongodb, extjson};
use super::peer::{Fault, Peer};
use crate::changes::seeds::changes_target;

/// The connector as a sink only: what it reads has an `_id` that the kit's rows do not have.
struct Writes {
    inner: Mongodb,
    descriptor: Descriptor,
}

impl Default for Writes {
    fn default() -> Self {
        let inner = Mongodb::default();
        let descriptor = Descriptor { source: None, ..inner.descriptor().clone() };
        Self { inner, descriptor }
    }
}

#[async_trait]
impl Connector for Writes {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
    fn validate(&self, role: &str, connection: &Json, options: &Json) -> Result<()> {
        self.inner.validate(role, connection, options)
    }
    async fn check(&self, connection: &Json) -> Result<CheckReport> {
        self.inner.check(connection).await
    }
    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        self.inner.discover(context).await
    }
    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        self.inner.source(context).await
    }
    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        self.inner.sink(context).await
    }
}

struct Subjected {
    peer: Peer,
    mode: WriteMode,
}

fn relaxed(value: &Bson) -> String {
    let document = serialize_to_vec(&doc! { "v": value.clone() }).unwrap();
    let mut out = String::new();
    extjson::write(Value::Document(&document), extjson::Form::Relaxed, &mut out).unwrap();
    out.strip_prefix("{\"v\":").unwrap().strip_suffix('}').unwrap().to_owned()
}

/// A column of the types that the documents have, looked at without the connector's own mapping.
fn column(documents: &[Document], name: &str) -> ArrayRef {
    let values: Vec<Option<&Bson>> =
        documents.iter().map(|document| document.get(name).filter(|value| **value != Bson::Null)).collect();
    let Some(first) = values.iter().flatten().next() else { return Arc::new(StringArray::new_null(values.len())) };
    macro_rules! all {
        ($array:ident, $pattern:ident) => {
            Arc::new(
                values
                    .iter()
                    .map(|value| value.map(|value| if let Bson::$pattern(value) = value { *value } else { panic!("{value}") }))
                    .collect::<$array>(),
            )
        };
    }
    match first {
        Bson::Int32(_) => all!(Int32Array, Int32),
        Bson::Int64(_) => all!(Int64Array, Int64),
        Bson::Double(_) => all!(Float64Array, Double),
        Bson::Boolean(_) => all!(BooleanArray, Boolean),
        Bson::Binary(_) => {
            let bytes = values.iter().map(|value| {
                value.map(|value| if let Bson::Binary(binary) = value { binary.bytes.as_slice() } else { panic!("{value}") })
            });
            Arc::new(bytes.collect::<LargeBinaryArray>())
        }
        Bson::DateTime(_) => {
            let moments = values.iter().map(|value| value.map(|value| value.as_datetime().unwrap().timestamp_millis()));
            Arc::new(moments.collect::<TimestampMillisecondArray>().with_timezone("UTC"))
        }
        Bson::String(_) => {
            Arc::new(values.iter().map(|value| value.map(|value| value.as_str().unwrap())).collect::<StringArray>())
        }
        Bson::Decimal128(_) => Arc::new(values.iter().map(|value| value.map(ToString::to_string)).collect::<StringArray>()),
        _ => Arc::new(values.iter().map(|value| value.map(relaxed)).collect::<StringArray>()),
    }
}

fn read_back(peer: &Peer, name: &str) -> Vec<RecordBatch> {
    let documents = peer.model().collections.get(name).cloned().unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for document in &documents {
        for name in document.keys().filter(|name| *name != "_id") {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    if documents.is_empty() {
        return Vec::new();
    }
    let columns: Vec<ArrayRef> = names.iter().map(|name| column(&documents, name)).collect();
    let fields: Vec<Field> =
        names.iter().zip(&columns).map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    vec![RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()]
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("the subject: {error}"))
}

#[async_trait]
impl Subject for Subjected {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Writes::default())
    }

    fn declared(&self) -> Declared {
        use TypeFamily as T;
        // Not here: decimals of 38 digits and moments in microseconds, which BSON does not have.
        let types = [
            T::Bool,
            T::Ints,
            T::UInts,
            T::Floats,
            T::FloatSpecials,
            T::Text,
            T::TextNul,
            T::Binary,
            T::Date,
            T::Time,
            T::Lists,
            T::Structs,
        ];
        Declared::sink().modes(&[self.mode]).types(&types).schema_change().max_buffered_bytes(2 << 20)
    }

    fn connection(&self) -> Json {
        self.peer.connection()
    }

    fn bad_connection(&self) -> Option<Json> {
        let mut connection = self.peer.connection();
        connection["user"] = "x".into();
        connection["password"] = "wrong".into();
        Some(connection)
    }

    fn unreachable_connection(&self) -> Option<Json> {
        Some(json!({ "hosts": "127.0.0.1:1", "database": "shop", "connect_timeout_secs": 1 }))
    }

    fn sink_options(&self, name: &str, _mode: WriteMode) -> Json {
        json!({ "collection": name })
    }

    async fn read_back(&self, name: &str) -> Result<Vec<RecordBatch>> {
        Ok(read_back(&self.peer, name))
    }

    fn map_back(&self, field: &Field, read: &ArrayRef) -> Result<ArrayRef> {
        if read.data_type() == field.data_type() {
            return Ok(read.clone());
        }
        if field.data_type().is_nested() && *read.data_type() == DataType::Utf8 {
            let text = cast(read, &DataType::LargeUtf8).map_err(broken)?;
            let schema = Arc::new(Schema::new(vec![Field::new("v", field.data_type().clone(), true)]));
            let mut decoder = arrow::json::ReaderBuilder::new(schema.clone()).with_batch_size(1 << 20).build_decoder().unwrap();
            for text in arrow::array::AsArray::as_string::<i64>(text.as_ref()) {
                decoder.decode(format!("{{\"v\": {}}}\n", text.unwrap_or("null")).as_bytes()).map_err(broken)?;
            }
            let batch = decoder.flush().map_err(broken)?.unwrap_or_else(|| RecordBatch::new_empty(schema));
            return Ok(batch.column(0).clone());
        }
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(read, field.data_type(), &strict).map_err(broken)
    }
}

async fn subject(mode: WriteMode) -> Subjected {
    Subjected { peer: Peer::start().await, mode }
}

mod append {
    use super::*;
    weir_connect::conformance!(subject(WriteMode::Append).await);
}
mod overwrite {
    use super::*;
    weir_connect::conformance!(subject(WriteMode::Overwrite).await);
}
mod upsert {
    use super::*;
    weir_connect::conformance!(subject(WriteMode::Upsert).await);
}
mod merge {
    use super::*;
    weir_connect::conformance!(subject(WriteMode::Merge).await);
}

/// A sink with any choice about loss.
pub(super) async fn sink_with(peer: &Peer, options: Json, on_loss: OnLoss) -> Arc<dyn Sink> {
    let context = SinkContext {
        connection: peer.connection(),
        options,
        on_loss,
        node: "sink".into(),
        parallelism: 2,
        base_dir: PathBuf::from("."),
    };
    Mongodb::default().sink(context).await.unwrap()
}

pub(super) async fn sink(peer: &Peer, options: Json) -> Arc<dyn Sink> {
    sink_with(peer, options, OnLoss::default()).await
}

fn target(run: &str, batch: &RecordBatch, mode: WriteMode, key: &[&str]) -> StreamTarget {
    StreamTarget { changes: false, stream: "shop.orders".into(), ..changes_target(run, batch.schema(), mode, key) }
}

async fn stage(stream: &dyn StreamSink, batches: &[RecordBatch]) -> Result<Vec<CommitToken>> {
    let mut writer = stream.writer(0).await?;
    let mut tokens = Vec::new();
    for (epoch, batch) in batches.iter().enumerate() {
        writer.write(batch.clone()).await?;
        tokens.push(writer.flush(&Barrier { epoch: epoch as u64, lane: 0, progress: Vec::new() }).await?.token);
    }
    Ok(tokens)
}

async fn run(sink: &Arc<dyn Sink>, target: StreamTarget, batches: &[RecordBatch]) -> Result<CommitReport> {
    let stream = sink.prepare(target).await?;
    let tokens = stage(stream.as_ref(), batches).await?;
    stream.commit(&tokens).await
}

/// The documents as canonical text.
pub(super) fn documents(peer: &Peer, name: &str) -> Vec<String> {
    let documents = peer.model().collections.get(name).cloned().unwrap_or_default();
    documents.iter().map(|document| extjson::canonical(&serialize_to_vec(document).unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn the_id_of_one_key_column_is_its_value_and_of_several_a_document() {
    let peer = Peer::start().await;
    let rows = plain_rows(1, 2, 3).unwrap();
    let sink = sink(&peer, json!({})).await;
    run(&sink, target("a", &rows, WriteMode::Upsert, &["id"]), std::slice::from_ref(&rows)).await.unwrap();
    let fields = r#""id":{"$numberLong":"1"},"name":"row 1 \"ü\"","n":{"$numberLong":"3"}"#;
    assert_eq!(documents(&peer, "orders"), [format!(r#"{{"_id":{{"$numberLong":"1"}},{fields}}}"#)]);
    peer.model().collections.clear();
    let report = run(&sink, target("b", &rows, WriteMode::Upsert, &["n", "id"]), std::slice::from_ref(&rows)).await.unwrap();
    let id = r#"{"n":{"$numberLong":"3"},"id":{"$numberLong":"1"}}"#;
    assert_eq!(documents(&peer, "orders"), [format!(r#"{{"_id":{id},{fields}}}"#)]);
    assert!(report.place.ends_with("/shop.orders"), "{}", report.place);
    let left: Vec<String> = peer.model().collections.keys().cloned().collect();
    assert_eq!(left, ["_weir_state", "orders"], "nothing staged is left");
}

fn field(name: &str, kind: DataType, source: Option<&str>, logical: Option<&str>) -> Field {
    let mut field = Field::new(name, kind, true);
    let metadata = field.metadata_mut();
    metadata.extend(source.map(|text| (SOURCE_TYPE.to_owned(), text.to_owned())));
    metadata.extend(logical.map(|text| (LOGICAL_TYPE.to_owned(), text.to_owned())));
    field
}

#[tokio::test]
async fn json_uuids_and_what_mongodb_read_become_what_they_were() {
    let peer = Peer::start().await;
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = [
        (field("_id", DataType::Utf8, Some("key"), None), text("0123456789abcdef01234567")),
        (field("j", DataType::Utf8, Some("jsonb"), Some("json")), text(r#"{"a": [1, 2.5, 12345678901234567890]}"#)),
        (field("u", DataType::Utf8, Some("uuid"), Some("uuid")), text("11111111-2222-3333-4444-555555555555")),
        (field("m", DataType::Utf8, Some("mixed"), Some("json")), text(r#"{"$numberDecimal": "1.50"}"#)),
        (field("o", DataType::Utf8, Some("objectId"), None), text("0123456789abcdef01234567")),
    ]
    .into_iter()
    .unzip();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    run(&sink(&peer, json!({})).await, target("a", &rows, WriteMode::Append, &["_id"]), std::slice::from_ref(&rows))
        .await
        .unwrap();
    let expected = concat!(
        r#"{"_id":{"$oid":"0123456789abcdef01234567"},"#,
        r#""j":{"a":[{"$numberInt":"1"},{"$numberDouble":"2.5"},{"$numberDecimal":"1.234567890123456789E+19"}]},"#,
        r#""u":{"$binary":{"base64":"EREREiIiMzNERFVVVVVVVQ==","subType":"04"}},"#,
        r#""m":{"$numberDecimal":"1.50"},"o":{"$oid":"0123456789abcdef01234567"}}"#
    );
    let found = documents(&peer, "orders").remove(0);
    let uuid = |text: &str| text.split(r#""u":"#).nth(1).unwrap().split(r#","m""#).next().unwrap().to_owned();
    assert!(uuid(&found).ends_with(r#""subType":"04"}}"#), "{found}");
    assert_eq!(found.replace(&uuid(&found), ""), expected.replace(&uuid(expected), ""));
    let wrong = sink_with(&peer, json!({ "json": "text", "collection": "t" }), OnLoss::default()).await;
    run(&wrong, target("b", &rows, WriteMode::Append, &["_id"]), &[rows]).await.unwrap();
    assert!(documents(&peer, "t")[0].contains(r#""j":"{\"a\": [1, 2.5, 12345678901234567890]}""#));
}

#[tokio::test]
async fn a_collection_that_is_copied_is_the_same_bytes() {
    let peer = Peer::start().await;
    let all = [
        doc! { "_id": 1, "a": { "b": [1, 2_i64, 2.0, Bson::Null] }, "c": "x" },
        doc! { "_id": "1", "d": Bson::MaxKey, "e": ObjectId::from_bytes([7; 12]) },
        doc! { "_id": ObjectId::from_bytes([9; 12]), "z": 1, "a": true },
    ];
    all.iter().for_each(|document| peer.model().put("orders", document.clone()));
    let context = SourceContext {
        connection: peer.connection(),
        options: json!({ "collection": "orders", "schema": "document" }),
        on_loss: OnLoss::default(),
        parallelism: 1,
        base_dir: PathBuf::from("."),
    };
    let source = Mongodb::default().source(context).await.unwrap();
    let reader = source.open(ReadRequest { stream: "orders".into(), parallelism: 1, ..ReadRequest::default() }).await.unwrap();
    let mut batches = Vec::new();
    for split in reader.splits() {
        let events: Vec<_> = futures::TryStreamExt::try_collect(reader.read(&split, None).await.unwrap()).await.unwrap();
        batches.extend(events.into_iter().filter_map(|event| match event {
            weir_connect::Event::Batch(batch) => Some(batch.records),
            _ => None,
        }));
    }
    let sink = sink(&peer, json!({ "collection": "copy" })).await;
    run(&sink, target("a", &batches[0], WriteMode::Overwrite, &["_id"]), &batches).await.unwrap();
    assert_eq!(documents(&peer, "copy"), documents(&peer, "orders"));
}

#[tokio::test]
async fn rows_with_keys_that_are_there_are_not_appended_and_nothing_is() {
    let peer = Peer::start().await;
    let (old, new) = (plain_rows(0, 5, 3).unwrap(), plain_rows(3, 9, 4).unwrap());
    let sink = sink(&peer, json!({ "id": "key" })).await;
    let target = |run: &str| target(run, &old, WriteMode::Append, &["id"]);
    run(&sink, target("a"), std::slice::from_ref(&old)).await.unwrap();
    let before = documents(&peer, "orders");
    let error = run(&sink, target("b"), &[new]).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-MONGO-041", Kind::Conflict), "{error}");
    assert!(error.why().unwrap().contains(r#"{"$numberLong":"3"}"#), "{:?}", error.why());
    assert_eq!(documents(&peer, "orders"), before);
    let twice = plain_rows(20, 22, 3).unwrap();
    let error = run(&sink, target("c"), &[twice.clone(), twice]).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-MONGO-041");
    assert_eq!(documents(&peer, "orders"), before);
}

#[tokio::test]
async fn a_commit_that_dies_inside_is_finished_by_the_next_attempt_in_every_mode() {
    for (mode, key, id) in [
        (WriteMode::Append, &[][..], json!(null)),
        (WriteMode::Append, &["id"], json!("key")),
        (WriteMode::Upsert, &["id"], json!(null)),
        (WriteMode::Merge, &["id"], json!(null)),
    ] {
        let peer = Peer::start().await;
        let rows = [plain_rows(0, 10, 3).unwrap(), plain_rows(10, 20, 3).unwrap()];
        let target = target("a", &rows[0], mode, key);
        let options = json!({ "id": id });
        let stream = sink(&peer, options.clone()).await.prepare(target.clone()).await.unwrap();
        let tokens = stage(stream.as_ref(), &rows).await.unwrap();
        peer.model().writing.merge_dies_after = Some(13);
        let error = stream.commit(&tokens).await.unwrap_err();
        assert_eq!(error.retryable(), weir_connect::Retry::Transient, "{error}");
        assert_eq!(documents(&peer, "orders").len(), 13);
        drop(stream);
        let stream = sink(&peer, options).await.prepare(target).await.unwrap();
        assert!(stream.recover().await.unwrap().committed.is_none());
        stream.discard(&tokens).await.unwrap();
        assert_eq!(stream.commit(&tokens).await.unwrap().rows, 20);
        let ids: BTreeSet<i64> =
            peer.model().collections["orders"].iter().map(|document| document.get_i64("id").unwrap()).collect();
        assert_eq!((ids.len(), documents(&peer, "orders").len()), (20, 20), "{mode:?} {key:?}");
    }
}

/// Every command of a run cut once before and once after it is carried out.
#[tokio::test]
async fn a_run_that_is_cut_at_any_command_brings_every_row_once() {
    for mode in [WriteMode::Append, WriteMode::Overwrite, WriteMode::Upsert] {
        for fault in [Fault::Cut, Fault::CutAfter] {
            let mut cuts = 0;
            for at in 0.. {
                let peer = Peer::start().await;
                let rows = [plain_rows(0, 4, 3).unwrap(), plain_rows(4, 8, 3).unwrap()];
                let key: &[&str] = if mode == WriteMode::Upsert { &["id"] } else { &[] };
                let target = target("a", &rows[0], mode, key);
                // The checkpoint: receipts of what was flushed.
                let mut tokens: Vec<CommitToken> = Vec::new();
                peer.model().next_fault = Some((at, fault));
                let mut failed = false;
                let report = loop {
                    let attempt = async {
                        let stream = sink(&peer, json!({})).await.prepare(target.clone()).await?;
                        if let Some(done) = stream.recover().await?.committed {
                            return Ok(done);
                        }
                        stream.discard(&tokens).await?;
                        let mut writer = stream.writer(0).await?;
                        for (epoch, batch) in rows.iter().enumerate().skip(tokens.len()) {
                            writer.write(batch.clone()).await?;
                            let barrier = Barrier { epoch: epoch as u64, lane: 0, progress: Vec::new() };
                            tokens.push(writer.flush(&barrier).await?.token);
                        }
                        stream.commit(&tokens).await
                    };
                    let outcome: Result<CommitReport> = attempt.await;
                    match outcome {
                        Ok(report) => break report,
                        Err(error) => {
                            assert!(!std::mem::replace(&mut failed, true), "once: {error}");
                            assert_eq!(error.retryable(), weir_connect::Retry::Transient, "{error}");
                        }
                    }
                };
                assert_eq!(report.rows, 8);
                let ids: Vec<i64> = peer.model().collections["orders"].iter().map(|one| one.get_i64("id").unwrap()).collect();
                assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (8, 8), "{mode:?} {fault:?} at {at}");
                cuts += usize::from(failed);
                if peer.model().next_fault.is_some() {
                    break;
                }
            }
            assert!(cuts > 8, "{mode:?} {fault:?}: {cuts} commands were cut");
        }
    }
}

#[tokio::test]
async fn two_rows_of_one_key_leave_an_overwritten_collection_as_it_was() {
    let peer = Peer::start().await;
    let rows = plain_rows(0, 5, 3).unwrap();
    let sink = sink(&peer, json!({})).await;
    run(&sink, target("a", &rows, WriteMode::Overwrite, &["id"]), std::slice::from_ref(&rows)).await.unwrap();
    let before = documents(&peer, "orders");
    let error = run(&sink, target("b", &rows, WriteMode::Overwrite, &["id"]), &[rows.clone(), rows.clone()]).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-MONGO-031", "{error}");
    assert_eq!(documents(&peer, "orders"), before);
}

#[tokio::test]
async fn staged_rows_that_somebody_deleted_are_missed_before_the_commit() {
    let peer = Peer::start().await;
    let rows = plain_rows(0, 5, 3).unwrap();
    let stream = sink(&peer, json!({})).await.prepare(target("a", &rows, WriteMode::Append, &[])).await.unwrap();
    let tokens = stage(stream.as_ref(), &[rows]).await.unwrap();
    let staging = peer.model().collections.keys().find(|name| name.starts_with("_weir_stage")).unwrap().clone();
    peer.model().collections.get_mut(&staging).unwrap().pop();
    let error = stream.commit(&tokens).await.unwrap_err();
    assert_eq!(error.code(), "WEIR-MONGO-038");
    assert!(error.why().unwrap().starts_with("4 of 5 rows"), "{:?}", error.why());
    assert!(documents(&peer, "orders").is_empty());
}

#[tokio::test]
async fn a_document_that_is_too_large_is_an_error_that_names_its_key() {
    let peer = Peer::start().await;
    let large = "x".repeat((16 << 20) - 20);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![6, 7]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["small", &large]));
    let rows = RecordBatch::try_from_iter([("id", ids), ("t", text)]).unwrap();
    let error = run(&sink(&peer, json!({ "id": "key" })).await, target("a", &rows, WriteMode::Append, &["id"]), &[rows]).await;
    let error = error.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-MONGO-014", Kind::Limit));
    assert!(error.why().unwrap().contains(r#"_id {"$numberLong":"7"}"#), "{:?}", error.why());
}

#[tokio::test]
async fn commands_stay_below_what_the_server_takes() {
    let peer = Peer::start().await;
    let large = "x".repeat(5 << 20);
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..6));
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..6).map(|_| large.as_str())));
    let rows = RecordBatch::try_from_iter([("id", ids), ("t", text)]).unwrap();
    run(&sink(&peer, json!({})).await, target("a", &rows, WriteMode::Append, &[]), &[rows]).await.unwrap();
    assert_eq!(peer.model().collections["orders"].len(), 6);
    let model = peer.model();
    let sizes = model.commands.iter().map(|command| serialize_to_vec(command).unwrap().len());
    assert!(sizes.max().unwrap() < (16 << 20) + (16 << 10));
}

#[test]
fn what_bson_does_not_have_is_told_in_the_plan_and_done_only_by_choice() {
    use super::super::sink::options::JsonForm;
    use super::super::sink::types::{chosen, sink_type};
    use arrow::datatypes::TimeUnit::{Microsecond, Millisecond};
    let utc = Some(Arc::from("UTC"));
    let edge = |field: &Field| sink_type(field, JsonForm::Document).edge;
    for (kind, source, loses) in [
        (DataType::Timestamp(Microsecond, utc.clone()), Some("timestamptz"), true),
        (DataType::Timestamp(Microsecond, utc.clone()), Some("timestamptz(3)"), false),
        (DataType::Timestamp(Microsecond, utc.clone()), Some("date"), false),
        (DataType::Timestamp(Microsecond, None), Some("datetime"), false),
        (DataType::Timestamp(Microsecond, None), Some("datetime(6)"), true),
        (DataType::Timestamp(Millisecond, utc), None, false),
        (DataType::Decimal128(34, 2), None, false),
        (DataType::Decimal128(38, 2), None, true),
        (DataType::Decimal128(38, 2), Some("decimal"), false),
        (DataType::Duration(Microsecond), None, true),
        (DataType::List(Arc::new(Field::new("item", DataType::Decimal128(38, 2), true))), None, true),
    ] {
        assert_eq!(edge(&field("c", kind.clone(), source, None)).loses(), loses, "{kind} {source:?}");
    }
    let moment = field("c", DataType::Timestamp(Microsecond, None), None, None);
    let choice = |choice| OnLoss { default: choice, columns: Default::default() };
    let of = |loss| chosen(&moment, JsonForm::Document, &choice(loss));
    assert!(of(LossChoice::Error).unwrap_err().contains("milliseconds"));
    assert_eq!(of(LossChoice::Drop), Ok(None));
    assert_eq!(of(LossChoice::Accept).unwrap().unwrap().name, "date");
    let text = of(LossChoice::String).unwrap().unwrap();
    assert_eq!((text.name, text.edge), ("string", Edge::Widening { note: "as text".into() }));
}

#[tokio::test]
async fn moments_are_text_or_cut_as_the_spec_chooses() {
    let peer = Peer::start().await;
    let at: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![1_700_000_000_123_456]).with_timezone("UTC"));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let rows = RecordBatch::try_from_iter([("id", ids), ("at", at)]).unwrap();
    for (choice, stored) in [
        (LossChoice::String, r#""at":"2023-11-14T22:13:20.123456Z""#),
        (LossChoice::Accept, r#""at":{"$date":{"$numberLong":"1700000000123"}}"#),
    ] {
        let on_loss = OnLoss { default: choice, columns: Default::default() };
        let sink = sink_with(&peer, json!({ "collection": format!("{choice:?}") }), on_loss).await;
        run(&sink, target(&format!("{choice:?}"), &rows, WriteMode::Append, &[]), std::slice::from_ref(&rows)).await.unwrap();
        assert!(documents(&peer, &format!("{choice:?}"))[0].contains(stored), "{:?}", documents(&peer, &format!("{choice:?}")));
    }
    let strict = sink(&peer, json!({})).await.prepare(target("b", &rows, WriteMode::Append, &[])).await;
    let error = strict.err().unwrap();
    assert_eq!((error.code(), error.advice().unwrap().contains("on_loss")), ("WEIR-MONGO-044", true), "{error}");
}

#[tokio::test]
async fn targets_that_bend_keys_or_take_no_rows_are_refused_before_a_row() {
    let peer = Peer::start().await;
    let rows = plain_rows(0, 2, 3).unwrap();
    peer.model().collections.insert("orders".into(), Vec::new());
    peer.model().collections.insert("some_view".into(), Vec::new());
    peer.model().writing.options.insert("orders".into(), doc! { "collation": { "locale": "de", "strength": 1 } });
    let refused = async |options: Json, mode, key: &[&str]| {
        let error = sink(&peer, options).await.prepare(target("a", &rows, mode, key)).await.err().unwrap();
        error.code().to_string()
    };
    assert_eq!(refused(json!({}), WriteMode::Upsert, &["id"]).await, "WEIR-MONGO-042");
    assert_eq!(refused(json!({ "collection": "some_view" }), WriteMode::Append, &[]).await, "WEIR-MONGO-047");
    peer.model().writing.options.insert("orders".into(), doc! { "capped": true });
    assert_eq!(refused(json!({}), WriteMode::Append, &[]).await, "WEIR-MONGO-047");
    let dotted = RecordBatch::try_from_iter([("a.b", rows.column(0).clone())]).unwrap();
    let error = sink(&peer, json!({ "collection": "t" })).await.prepare(target("b", &dotted, WriteMode::Append, &[])).await;
    assert_eq!(error.err().unwrap().code(), "WEIR-MONGO-039");
}

#[tokio::test]
async fn a_key_of_another_type_would_not_find_its_documents_and_is_refused() {
    let peer = Peer::start().await;
    let rows = plain_rows(0, 2, 3).unwrap();
    let sink = sink(&peer, json!({})).await;
    run(&sink, target("a", &rows, WriteMode::Upsert, &["id"]), std::slice::from_ref(&rows)).await.unwrap();
    let mut columns = rows.columns().to_vec();
    columns[0] = cast(&columns[0], &DataType::Utf8).unwrap();
    let mut fields: Vec<Field> = plain_schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[0] = Field::new("id", DataType::Utf8, true);
    let text = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let error = sink.prepare(target("b", &text, WriteMode::Upsert, &["id"])).await.err().unwrap();
    assert_eq!((error.code(), error.kind()), ("WEIR-MONGO-049", Kind::Schema), "{error}");
}

#[tokio::test]
async fn the_columns_of_a_target_are_known_to_the_contract() {
    let peer = Peer::start().await;
    let rows = plain_rows(0, 2, 3).unwrap();
    let sink = sink(&peer, json!({})).await;
    let first = target("a", &rows, WriteMode::Append, &[]);
    assert_eq!(sink.columns(&first).await.unwrap(), None);
    assert_eq!(sink.preview(&first).await.unwrap(), ["create collection orders"]);
    run(&sink, first.clone(), std::slice::from_ref(&rows)).await.unwrap();
    assert_eq!(sink.columns(&first).await.unwrap().unwrap(), ["id", "name", "n"]);
    let wide = RecordBatch::try_from_iter([("id", rows.column(0).clone()), ("more", rows.column(1).clone())]).unwrap();
    let narrow = StreamTarget {
        on_schema_change: weir_connect::SchemaChangePolicy::DiscardColumn,
        ..target("b", &wide, WriteMode::Append, &[])
    };
    run(&sink, narrow, &[wide]).await.unwrap();
    assert!(peer.model().collections["orders"].iter().all(|document| !document.contains_key("more")));
}
