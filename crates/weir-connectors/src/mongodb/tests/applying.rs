//! The sink of changes, over the driver, against the peer: the model of changes, crashes at every command, what servers say while they hand
//! over, and what goes ahead of its progress.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use mongodb::bson::{Bson, doc};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value as Json, json};
use weir_connect::fidelity::FILL;
use weir_connect::{
    ChangeWriter, CommitKind, DeleteMode, Error, Kind, Op, Retry, SchemaChange, SchemaChangePolicy, Sink, StreamSink,
    StreamTarget, WriteMode,
};

use super::super::sink::changes::PENDING_LIMIT;
use super::peer::{Fault, Peer};
use super::writing::{documents, sink};
use crate::changes::model::{Scene, dice, follow, log};
use crate::changes::seeds::{
    Line, after, applied, batch, change_batch, changes_target, delete, durable, durable_or_error, is, line, mark, schema,
};

/// `id|a|b|deleted` of each document, sorted.
fn lines(peer: &Peer, name: &str) -> Vec<String> {
    let documents = peer.model().collections.get(name).cloned().unwrap_or_default();
    let text = |value: Option<&Bson>| match value {
        Some(Bson::String(text)) => text.clone(),
        Some(Bson::Null) | None => "NULL".to_owned(),
        Some(other) => other.to_string(),
    };
    let mut lines: Vec<String> = documents
        .iter()
        .map(|one| {
            let deleted = if one.get_bool("_deleted").unwrap_or(false) { "t" } else { "f" };
            assert!(one.get("id").is_none_or(|id| *id == one["_id"]), "{one}");
            format!("{}|{}|{}|{deleted}", text(one.get("_id")), text(one.get("a")), text(one.get("b")))
        })
        .collect();
    lines.sort();
    lines
}

struct Run<'a> {
    peer: &'a Peer,
    table: String,
    sink: Arc<dyn Sink>,
    mode: WriteMode,
    deletes: DeleteMode,
}

impl Scene for Run<'_> {
    async fn open(&self) -> (Box<dyn StreamSink>, Box<dyn ChangeWriter>) {
        let target = StreamTarget { stream: self.table.clone(), ..changes_target("r", schema(), self.mode, &["id"]) };
        let stream = self.sink.prepare(target).await.unwrap();
        let writer = stream.change_writer(self.deletes).await.unwrap();
        (stream, writer)
    }

    fn found(&self) -> Vec<String> {
        lines(self.peer, &self.table)
    }
}

fn check(transactions: &str, limits: BoxedStrategy<usize>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let peer = runtime.block_on(Peer::start());
    let sink = runtime.block_on(sink(&peer, json!({ "transactions": transactions })));
    let number = std::cell::Cell::new(0);
    let config = Config { cases: 40, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let deletes = prop_oneof![Just(DeleteMode::Hard), Just(DeleteMode::Soft), Just(DeleteMode::Ignore)];
    let mode = prop_oneof![Just(WriteMode::Upsert), Just(WriteMode::Merge)];
    let result = TestRunner::new(config).run(&(dice(), deletes, mode, limits), |(dice, deletes, mode, limit)| {
        number.set(number.get() + 1);
        PENDING_LIMIT.set(limit);
        let run = Run { peer: &peer, table: format!("t{}", number.get()), sink: sink.clone(), mode, deletes };
        runtime.block_on(follow(&run, deletes, &log(&dice, false)))
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn documents_are_what_the_log_says_after_every_flush_and_every_crash() {
    check("required", Just(16 << 20).boxed());
}

#[test]
fn and_without_transactions() {
    check("never", Just(16 << 20).boxed());
}

async fn opened(peer: &Peer, options: Json) -> Result<(Box<dyn StreamSink>, Box<dyn ChangeWriter>), Error> {
    let stream = sink(peer, options).await.prepare(changes_target("r", schema(), WriteMode::Upsert, &["id"])).await?;
    let writer = stream.change_writer(DeleteMode::Hard).await?;
    Ok((stream, writer))
}

/// The changes of a flush, and the documents after it.
fn changes(number: usize) -> [Line; 5] {
    let name = |which: &str| is(&format!("{which}{number}"));
    [
        line(Op::Create, 1, name("a"), name("b")),
        line(Op::Create, 2, name("c"), name("d")),
        line(Op::Update, 3, name("e"), None),
        delete(4 + number as i64 - 1),
        line(Op::Create, 4 + number as i64, name("f"), Some(None)),
    ]
}

fn expected(number: usize) -> Vec<String> {
    let mut lines = vec![
        format!("1|a{number}|b{number}|f"),
        format!("2|c{number}|d{number}|f"),
        format!("3|e{number}|kept|f"),
        format!("{}|f{number}|NULL|f", 4 + number),
    ];
    lines.sort();
    lines
}

async fn round(writer: &mut dyn ChangeWriter, number: usize) -> Result<(), Error> {
    writer.apply(batch(&changes(number))).await?;
    writer.flush(&after(number)).await.map(drop)
}

#[tokio::test]
async fn a_flush_that_is_cut_at_any_command_is_there_as_a_whole_or_not_at_all() {
    for fault in [Fault::Cut, Fault::CutAfter] {
        let peer = Peer::start().await;
        peer.model().put("s", doc! { "_id": 3_i64, "id": 3_i64, "a": "x", "b": "kept" });
        let (_, mut writer) = opened(&peer, json!({})).await.unwrap();
        round(writer.as_mut(), 1).await.unwrap();
        drop(writer);
        let (mut number, mut lost, mut heard) = (1, 0, 0);
        for at in 0.. {
            peer.model().next_fault = Some((at, fault));
            let outcome = async {
                let (_stream, mut writer) = opened(&peer, json!({})).await?;
                round(writer.as_mut(), number + 1).await
            }
            .await;
            let passed = peer.model().next_fault.take().is_some();
            let (stream, _writer) = opened(&peer, json!({})).await.unwrap();
            let found = durable(stream.as_ref()).await;
            assert!(found == number || found == number + 1, "{found} after {number}");
            assert_eq!(lines(&peer, "s"), expected(found), "{fault:?} at {at}");
            match &outcome {
                Ok(()) => assert_eq!(found, number + 1, "a flush that returned is not there"),
                Err(error) => assert_eq!(error.retryable(), Retry::Transient, "{error}"),
            }
            lost += usize::from(found == number);
            heard += usize::from(outcome.is_ok() && !passed);
            number = found;
            if passed {
                break;
            }
        }
        // Before the transaction the attempt fails; inside of it the whole is done again.
        assert!(lost > 3 && heard > 3, "{fault:?}: {lost} lost, {heard} done in spite of it");
        assert_eq!(peer.model().writing.open(), 0, "no transaction stays open");
    }
}

#[tokio::test]
async fn without_transactions_a_cut_flush_comes_again_and_ends_the_same() {
    for fault in [Fault::Cut, Fault::CutAfter] {
        for at in 0..20 {
            let peer = Peer::start().await;
            peer.model().standalone = true;
            peer.model().put("s", doc! { "_id": 3_i64, "id": 3_i64, "a": "x", "b": "kept" });
            let options = json!({ "transactions": "never" });
            let (_, mut writer) = opened(&peer, options.clone()).await.unwrap();
            round(writer.as_mut(), 1).await.unwrap();
            drop(writer);
            peer.model().next_fault = Some((at, fault));
            let _ = async {
                let (_stream, mut writer) = opened(&peer, options.clone()).await?;
                // An update of a row that is gone in the end: when it comes again, it finds no document.
                writer.apply(batch(&[line(Op::Update, 5, is("late"), None)])).await?;
                round(writer.as_mut(), 2).await
            }
            .await;
            peer.model().next_fault = None;
            let (stream, mut writer) = opened(&peer, options.clone()).await.unwrap();
            if durable(stream.as_ref()).await == 1 {
                // In smaller flushes than before.
                writer.apply(batch(&[line(Op::Update, 5, is("late"), None)])).await.unwrap();
                writer.flush(&after(1)).await.unwrap();
                round(writer.as_mut(), 2).await.unwrap();
            }
            assert_eq!(lines(&peer, "s"), expected(2), "{fault:?} at {at}");
        }
    }
}

#[tokio::test]
async fn what_the_server_calls_transient_is_tried_again_and_done_once() {
    let transient = "TransientTransactionError";
    let unknown = "UnknownTransactionCommitResult";
    for (command, faults) in [
        ("update", vec![Fault::Labelled(112, transient), Fault::Labelled(112, transient)]),
        ("delete", vec![Fault::Labelled(251, transient)]),
        ("commitTransaction", vec![Fault::CutAfter, Fault::CutAfter, Fault::CutAfter]),
        ("commitTransaction", vec![Fault::Cut, Fault::Cut]),
        (
            "commitTransaction",
            vec![Fault::Error(10107, "NotWritablePrimary", false), Fault::Error(189, "PrimarySteppedDown", false)],
        ),
        ("commitTransaction", vec![Fault::Error(91, "ShutdownInProgress", false)]),
        ("commitTransaction", vec![Fault::Labelled(251, transient)]),
        ("commitTransaction", vec![Fault::Labelled(50, unknown)]),
        ("update", vec![Fault::Labelled(10107, transient)]),
        ("update", vec![Fault::Cut]),
    ] {
        let peer = Peer::start().await;
        peer.model().put("s", doc! { "_id": 3_i64, "id": 3_i64, "a": "x", "b": "kept" });
        let (stream, mut writer) = opened(&peer, json!({})).await.unwrap();
        for fault in &faults {
            peer.model().faults.push_back((command, 0, *fault));
        }
        match round(writer.as_mut(), 1).await {
            Ok(()) => {
                assert_eq!(durable(stream.as_ref()).await, 1);
                assert_eq!(lines(&peer, "s"), expected(1), "{command} {faults:?}");
                assert_eq!(stream.recover().await.unwrap().rows, 5, "counted once: {command} {faults:?}");
            }
            Err(error) => panic!("{command} {faults:?}: {error}: {:?}", error.why()),
        }
        assert!(peer.model().faults.is_empty(), "{command} {faults:?}");
    }
}

#[tokio::test]
async fn an_attempt_that_was_overtaken_writes_nothing_more() {
    for transactions in ["required", "never"] {
        let peer = Peer::start().await;
        let options = json!({ "transactions": transactions });
        let (_, mut old) = opened(&peer, options.clone()).await.unwrap();
        applied(old.as_mut(), &[line(Op::Create, 1, is("a"), is("b"))]).await.unwrap();
        let (_stream, mut new) = opened(&peer, options).await.unwrap();
        let error = applied(old.as_mut(), &[line(Op::Create, 2, is("old"), is("old"))]).await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("WEIR-MONGO-037", Kind::Conflict), "{error}");
        new.apply(batch(&[line(Op::Create, 3, is("new"), is("new"))])).await.unwrap();
        new.flush(&after(2)).await.unwrap();
        assert_eq!(lines(&peer, "s"), ["1|a|b|f", "3|new|new|f"], "{transactions}");
    }
}

/// More than memory holds: the first changes are visible before their progress, and a crash between leaves all of it right in the end.
#[tokio::test]
async fn what_goes_ahead_is_applied_again_after_a_crash_and_ends_the_same() {
    for transactions in ["required", "never"] {
        for crash in [10, 33, 60, 95] {
            let peer = Peer::start().await;
            PENDING_LIMIT.set(4000);
            let options = json!({ "transactions": transactions });
            // Rows come, change in part and go, over and over.
            let all: Vec<Line> = (0..100_i64)
                .map(|at| {
                    let id = at % 7;
                    match at / 7 % 3 {
                        0 => line(Op::Create, id, is(&format!("a{at}")), is(&format!("b{at}"))),
                        1 => line(Op::Update, id, is(&format!("c{at}")), None),
                        _ => delete(id),
                    }
                })
                .collect();
            let (_, mut writer) = opened(&peer, options.clone()).await.unwrap();
            for one in &all[..crash] {
                writer.apply(batch(std::slice::from_ref(one))).await.unwrap();
            }
            drop(writer);
            let ahead = |peer: &Peer| {
                let run = peer.model().collections["_weir_state"].iter().find(|one| one.contains_key("attempt")).unwrap().clone();
                run.get_i64("ahead").unwrap_or(0)
            };
            assert!(crash < 60 || ahead(&peer) > 0, "something went ahead: {crash}");
            let (stream, mut writer) = opened(&peer, options.clone()).await.unwrap();
            assert_eq!(durable(stream.as_ref()).await, 0);
            // In other pieces than before.
            for part in all.chunks(9) {
                writer.apply(batch(part)).await.unwrap();
            }
            writer.flush(&after(100)).await.unwrap();
            let mut model = std::collections::BTreeMap::new();
            for one in &all {
                match one.op {
                    Op::Delete => drop(model.remove(&one.id)),
                    Op::Create => drop(model.insert(one.id, (one.a.clone(), one.b.clone()))),
                    _ => {
                        if let Some(row) = model.get_mut(&one.id) {
                            row.0 = one.a.clone();
                        }
                    }
                }
            }
            let text = |cell: &Option<Option<String>>| cell.clone().flatten().unwrap();
            let expected: Vec<String> = model.iter().map(|(id, (a, b))| format!("{id}|{}|{}|f", text(a), text(b))).collect();
            assert_eq!(lines(&peer, "s"), expected, "{transactions}, crash after {crash}");
            PENDING_LIMIT.set(16 << 20);
            // What comes after is strict again.
            let error = writer.apply(batch(&[line(Op::Update, 77, is("x"), None)])).await;
            error.unwrap();
            assert_eq!(writer.flush(&after(101)).await.unwrap_err().code(), "WEIR-MONGO-036");
        }
    }
}

#[tokio::test]
async fn an_update_that_lacks_values_of_a_document_that_is_not_there_is_a_conflict_that_names_it() {
    let peer = Peer::start().await;
    let (_stream, mut writer) = opened(&peer, json!({})).await.unwrap();
    applied(writer.as_mut(), &[line(Op::Create, 1, is("a"), is("b"))]).await.unwrap();
    writer.apply(batch(&[line(Op::Update, 1, is("x"), None), line(Op::Update, 7, is("x"), None)])).await.unwrap();
    let error = writer.flush(&after(3)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-MONGO-036", Kind::Conflict));
    assert!(error.to_string().contains("1 documents") && error.why().unwrap().contains(r#""7""#), "{error}: {:?}", error.why());
    assert_eq!(lines(&peer, "s"), ["1|a|b|f"], "nothing of the flush is left");
}

#[tokio::test]
async fn a_value_that_must_be_unique_is_refused_with_the_document_and_the_remedy() {
    let peer = Peer::start().await;
    peer.model().writing.unique.push(("s", "a"));
    let (_stream, mut writer) = opened(&peer, json!({})).await.unwrap();
    applied(writer.as_mut(), &[line(Op::Create, 1, is("a"), is("b"))]).await.unwrap();
    // It goes from a deleted document to a new one: fine.
    writer.apply(batch(&[line(Op::Create, 2, is("a"), is("c")), delete(1)])).await.unwrap();
    writer.flush(&after(2)).await.unwrap();
    writer.apply(batch(&[line(Op::Create, 3, is("a"), is("d"))])).await.unwrap();
    let error = writer.flush(&after(3)).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("WEIR-MONGO-031", Kind::Conflict));
    assert!(
        error.why().unwrap().contains(r#"_id {"$numberLong":"3"}"#) && error.advice().unwrap().contains("unique index"),
        "{error}"
    );
    assert_eq!(lines(&peer, "s"), ["2|a|c|f"]);
}

#[tokio::test]
async fn a_single_server_is_refused_with_the_way_out_and_the_plan_says_which_promise_is_kept() {
    let peer = Peer::start().await;
    peer.model().standalone = true;
    let strict = sink(&peer, json!({})).await;
    let target = changes_target("r", schema(), WriteMode::Upsert, &["id"]);
    let error = strict.prepare(target.clone()).await.err().unwrap();
    assert_eq!((error.code(), error.kind()), ("WEIR-MONGO-032", Kind::Unsupported));
    assert!(error.advice().unwrap().contains("transactions: never"), "{error}");
    assert_eq!(strict.preview(&target).await.unwrap_err().code(), "WEIR-MONGO-032");
    assert_eq!(strict.capabilities(WriteMode::Upsert).commit, CommitKind::Staged);
    let loose = sink(&peer, json!({ "transactions": "never" })).await;
    let capabilities = loose.capabilities(WriteMode::Upsert);
    assert_eq!(capabilities.commit, CommitKind::Idempotent);
    assert!(capabilities.commit_note.contains("again after a crash"), "{}", capabilities.commit_note);
    assert!(loose.prepare(target).await.is_ok());
}

/// A stream of `id` and these columns.
fn shape(columns: &[(&str, Option<&str>)]) -> SchemaRef {
    let mut fields = vec![Field::new("id", DataType::Int64, false)];
    for (name, fill) in columns {
        let mut field = Field::new(*name, DataType::Utf8, true);
        field.metadata_mut().extend(fill.map(|text| (FILL.to_owned(), text.to_owned())));
        fields.push(field);
    }
    Arc::new(Schema::new(fields))
}

fn created(schema: &SchemaRef, id: i64) -> weir_connect::ChangeBatch {
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(vec![id]))];
    for field in &schema.fields()[1..] {
        columns.push(Arc::new(StringArray::from(vec![format!("{}{id}", field.name())])));
    }
    let rows = RecordBatch::try_new(schema.clone(), columns).unwrap();
    let absent = vec![None; rows.num_columns()];
    change_batch(rows, vec![Op::Create], absent)
}

fn reshaped(schema: &SchemaRef, renamed: &[(&str, &str)]) -> SchemaChange {
    let renamed = renamed.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
    SchemaChange { stream: "s".into(), schema: schema.clone(), key: vec!["id".into()], renamed, statement: None }
}

async fn shaped(peer: &Peer, schema: &SchemaRef, policy: SchemaChangePolicy) -> (Box<dyn StreamSink>, Box<dyn ChangeWriter>) {
    let target = StreamTarget { on_schema_change: policy, ..changes_target("r", schema.clone(), WriteMode::Upsert, &["id"]) };
    let stream = sink(peer, json!({})).await.prepare(target).await.unwrap();
    let writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
    (stream, writer)
}

#[tokio::test]
async fn renamed_columns_are_renamed_in_all_documents_once_and_new_ones_filled() {
    let old = shape(&[("a", None), ("b", None)]);
    // The two exchange their names, and a third is new.
    let new = shape(&[("b", None), ("a", None), ("c", Some("was there"))]);
    for at in 0.. {
        let peer = Peer::start().await;
        let (_, mut writer) = shaped(&peer, &old, SchemaChangePolicy::Evolve).await;
        writer.apply(created(&old, 1)).await.unwrap();
        writer.flush(&after(1)).await.unwrap();
        drop(writer);
        peer.model().next_fault = Some((at, Fault::Cut));
        // What a source gives again after a crash: the same rows in the same shapes.
        let mut attempts = 0;
        loop {
            attempts += 1;
            let attempt = async {
                let target = changes_target("r", old.clone(), WriteMode::Upsert, &["id"]);
                let stream = sink(&peer, json!({})).await.prepare(target).await?;
                if durable_or_error(stream.as_ref()).await? == 3 {
                    return Ok(());
                }
                let mut writer = stream.change_writer(DeleteMode::Hard).await?;
                writer.apply(created(&old, 2)).await?;
                writer.reshape(&reshaped(&new, &[("a", "b"), ("b", "a")])).await?;
                writer.apply(created(&new, 3)).await?;
                writer.flush(&after(3)).await.map(drop)
            };
            let outcome: Result<(), Error> = attempt.await;
            match outcome {
                Ok(()) => break,
                Err(error) => assert!(error.retryable() == Retry::Transient && attempts < 3, "{error}: {:?}", error.why()),
            }
        }
        let found = documents(&peer, "s");
        let row = |id: i64, b: &str, a: &str, c: &str| {
            let id = format!(r#"{{"$numberLong":"{id}"}}"#);
            let mut fields = [format!(r#""b":"{b}""#), format!(r#""a":"{a}""#), format!(r#""c":"{c}""#)];
            fields.sort();
            format!("{id} {}", fields.join(","))
        };
        let shown: Vec<String> = found
            .iter()
            .map(|text| {
                let document: Json = serde_json::from_str(text).unwrap();
                row(
                    document["_id"]["$numberLong"].as_str().unwrap().parse().unwrap(),
                    document["b"].as_str().unwrap(),
                    document["a"].as_str().unwrap(),
                    document["c"].as_str().unwrap(),
                )
            })
            .collect();
        let expected = [row(1, "a1", "b1", "was there"), row(2, "a2", "b2", "was there"), row(3, "b3", "a3", "c3")];
        assert_eq!(shown, expected, "cut at {at}");
        if peer.model().next_fault.is_some() {
            assert!(at > 8, "{at}");
            break;
        }
    }
}

#[tokio::test]
async fn what_the_contract_or_the_documents_do_not_allow_is_refused_by_name() {
    let old = shape(&[("a", None)]);
    let wider = shape(&[("a", None), ("more", None)]);
    for (policy, code) in [
        (SchemaChangePolicy::Freeze, "WEIR-MONGO-033"),
        (SchemaChangePolicy::Hold, "WEIR-MONGO-046"),
        (SchemaChangePolicy::DiscardRow, "WEIR-MONGO-033"),
    ] {
        let peer = Peer::start().await;
        let (_stream, mut writer) = shaped(&peer, &old, policy).await;
        let error = writer.reshape(&reshaped(&wider, &[])).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains("more"), "{error}");
    }
    let peer = Peer::start().await;
    let (_stream, mut writer) = shaped(&peer, &old, SchemaChangePolicy::DiscardColumn).await;
    writer.reshape(&reshaped(&wider, &[])).await.unwrap();
    writer.apply(created(&wider, 1)).await.unwrap();
    writer.flush(&after(1)).await.unwrap();
    assert!(!documents(&peer, "s")[0].contains("more"));
    // The key is a part of every `_id`.
    let peer = Peer::start().await;
    let (_stream, mut writer) = shaped(&peer, &old, SchemaChangePolicy::Evolve).await;
    let other = SchemaChange { key: vec!["a".into()], ..reshaped(&old, &[]) };
    assert_eq!(writer.reshape(&other).await.unwrap_err().code(), "WEIR-MONGO-049");
    // A field that was dropped once is still in the documents.
    writer.reshape(&reshaped(&wider, &[])).await.unwrap();
    writer.reshape(&reshaped(&old, &[])).await.unwrap();
    let again = shape(&[("more", None)]);
    assert_eq!(writer.reshape(&reshaped(&again, &[("a", "more")])).await.unwrap_err().code(), "WEIR-MONGO-048");
}

#[tokio::test]
async fn a_truncate_empties_marks_or_is_ignored_in_order() {
    for (deletes, expected) in [
        (DeleteMode::Hard, vec!["3|a|b|f"]),
        (DeleteMode::Soft, vec!["1|a|b|t", "2|a|b|t", "3|a|b|f"]),
        (DeleteMode::Ignore, vec!["1|a|b|f", "2|a|b|f", "3|a|b|f"]),
    ] {
        let peer = Peer::start().await;
        let stream =
            sink(&peer, json!({})).await.prepare(changes_target("r", schema(), WriteMode::Merge, &["id"])).await.unwrap();
        let mut writer = stream.change_writer(deletes).await.unwrap();
        applied(writer.as_mut(), &[line(Op::Create, 1, is("a"), is("b"))]).await.unwrap();
        writer.apply(batch(&[line(Op::Create, 2, is("a"), is("b"))])).await.unwrap();
        writer.truncate(&mark(1)).await.unwrap();
        writer.apply(batch(&[line(Op::Create, 3, is("a"), is("b"))])).await.unwrap();
        writer.flush(&after(3)).await.unwrap();
        assert_eq!(lines(&peer, "s"), expected, "{deletes:?}");
    }
}

#[tokio::test]
async fn merge_keeps_fields_that_the_stream_does_not_have_and_upsert_replaces() {
    for (mode, kept) in [(WriteMode::Merge, true), (WriteMode::Upsert, false)] {
        let peer = Peer::start().await;
        peer.model().put("s", doc! { "_id": 1_i64, "own": { "x": 1 }, "a": "old" });
        let stream = sink(&peer, json!({})).await.prepare(changes_target("r", schema(), mode, &["id"])).await.unwrap();
        let mut writer = stream.change_writer(DeleteMode::Hard).await.unwrap();
        applied(writer.as_mut(), &[line(Op::Update, 1, is("new"), Some(None))]).await.unwrap();
        let found = peer.model().collections["s"][0].clone();
        assert_eq!((found.get_str("a").unwrap(), found.get("b"), found.contains_key("own")), ("new", Some(&Bson::Null), kept));
    }
}
