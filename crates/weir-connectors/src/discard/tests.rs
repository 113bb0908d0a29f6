//! The kit as far as it applies to a target that nobody can read, and the counts, which are all there is.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use async_trait::async_trait;
use serde_json::{Value, json};
use weir_connect::conformance::{Declared, Subject};
use weir_connect::{
    Barrier, ChangeBatch, Connector, DeleteMode, Kind, Op, RunIdentity, SchemaChangePolicy, Sink, SinkContext, Split,
    SplitProgress, StreamTarget, TransactionMark, WriteMode,
};

use super::Discard;

struct Subjected;

#[async_trait]
impl Subject for Subjected {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(Discard::default())
    }

    /// No mode is declared: there is nothing to read back.
    fn declared(&self) -> Declared {
        Declared::sink().modes(&[])
    }

    fn connection(&self) -> Value {
        json!({})
    }
}

mod conformance {
    weir_connect::conformance!(super::Subjected);
}

fn batch(rows: i64) -> RecordBatch {
    RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from_iter_values(0..rows)) as _)]).unwrap()
}

async fn sink(options: Value) -> Arc<dyn Sink> {
    let context = SinkContext {
        connection: json!({}),
        options,
        on_loss: Default::default(),
        node: "sink".into(),
        parallelism: 1,
        base_dir: ".".into(),
    };
    Discard::default().sink(context).await.unwrap()
}

fn target(changes: bool) -> StreamTarget {
    StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: "r".into() },
        stream: "public.t".into(),
        schema: batch(0).schema(),
        key: vec!["id".into()],
        cursor: None,
        write_mode: WriteMode::Upsert,
        on_schema_change: SchemaChangePolicy::default(),
        changes,
    }
}

fn barrier(rows: u64) -> Barrier {
    let split = Split { id: "s".into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    Barrier { epoch: 1, lane: 0, progress: vec![SplitProgress { split, position: None, done: false, rows }] }
}

#[tokio::test]
async fn a_run_has_the_rows_of_the_flushes_that_were_checkpointed() {
    let sink = sink(json!({"write_mode": "overwrite"})).await;
    let stream = sink.prepare(target(false)).await.unwrap();
    let mut tokens = Vec::new();
    for lane in 0..2 {
        let mut writer = stream.writer(lane).await.unwrap();
        writer.write(batch(3)).await.unwrap();
        writer.write(batch(4)).await.unwrap();
        let flushed = writer.flush(&barrier(7)).await.unwrap();
        assert_eq!(flushed.rows, 7);
        tokens.push(flushed.token);
        writer.write(batch(5)).await.unwrap();
    }
    // A flush whose token was lost in a crash is not in the run: its rows come again.
    assert_eq!(stream.commit(&tokens[..1]).await.unwrap().rows, 7);
    let report = stream.commit(&tokens).await.unwrap();
    assert_eq!((report.rows, report.place.as_str()), (14, "discard:public.t"));
    assert_eq!(stream.commit(&tokens).await.unwrap(), report);
}

#[tokio::test]
async fn changes_are_counted_with_those_before_a_crash_and_progress_is_left_to_the_checkpoint() {
    let sink = sink(json!({"delete_mode": "soft", "key": ["id"]})).await;
    assert!(sink.applies_changes());
    let stream = sink.prepare(target(true)).await.unwrap();
    assert_eq!(stream.recover().await.unwrap(), Default::default());
    let mut writer = stream.change_writer(DeleteMode::Soft).await.unwrap();
    let mark = TransactionMark { end: 3, position: "0/1".into(), id: None, committed_at_us: 0 };
    let changes = ChangeBatch {
        stream: "public.t".into(),
        ops: vec![Op::Create, Op::Update, Op::Delete],
        rows: batch(3),
        absent: vec![None],
        before: None,
        transactions: vec![mark.clone()],
        source_bytes: 0,
    };
    writer.apply(changes).await.unwrap();
    writer.truncate(&mark).await.unwrap();
    assert_eq!(stream.commit(&[]).await.unwrap().rows, 0, "not flushed");
    assert_eq!(writer.flush(&barrier(10)).await.unwrap().rows, 3);
    assert_eq!(stream.commit(&[]).await.unwrap().rows, 10);
}

#[test]
fn it_is_no_source_and_has_no_other_options() {
    let connector = Discard::default();
    for (role, connection, options, word) in [
        ("source", json!({}), json!({}), "no source"),
        ("sink", json!({}), json!({"fromat": "x"}), "fromat"),
        ("sink", json!({"host": "h"}), json!({}), "host"),
    ] {
        let error = connector.validate(role, &connection, &options).unwrap_err();
        assert_eq!(error.kind(), Kind::Spec);
        assert!(error.to_string().contains(word) || format!("{error:?}").contains(word), "{error:?}");
    }
    connector.validate("sink", &Value::Null, &Value::Null).unwrap();
}
