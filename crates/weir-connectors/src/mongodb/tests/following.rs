//! Change streams: what each event becomes.

use arrow::array::{Array, AsArray};
use futures::StreamExt;
use mongodb::bson::{Bson, doc};
use serde_json::json;
use weir_connect::{ChangeEvent, Connector, Op};

use super::super::cdc::MongodbCdc;
use super::history::{batches, caught_up, exact, open, position, read, rows, source, together};
use super::peer::Peer;

async fn peer(documents: i32) -> Peer {
    let peer = Peer::start().await;
    for n in 0..documents {
        peer.model().put("orders", doc! { "_id": n, "v": n, "a": "x", "n": { "deep": n } });
    }
    peer
}

#[tokio::test]
async fn a_quiet_collection_is_read_once_and_then_followed() {
    let peer = peer(10).await;
    let first = caught_up(&peer, exact(), None).await;
    assert_eq!(rows(&first), (0..10).map(|n| (Op::Read, n, Some(n))).collect::<Vec<_>>());
    peer.write(|model| {
        model.put("orders", doc! { "_id": 50, "v": 1 });
        model.set("orders", Bson::Int32(50), doc! { "v": 2 });
        model.put("orders", doc! { "_id": 50, "v": 3 });
        model.delete("orders", Bson::Int32(50));
        model.put("others", doc! { "_id": 1 });
    });
    let next = caught_up(&peer, exact(), position(&first)).await;
    let expected = [(Op::Create, 50, Some(1)), (Op::Update, 50, Some(2)), (Op::Update, 50, Some(3)), (Op::Delete, 50, None)];
    assert_eq!(rows(&next), expected);
    let marks: Vec<_> = batches(&next).iter().flat_map(|batch| batch.transactions.clone()).collect();
    assert_eq!(marks.len(), 4, "each change has its own position");
    assert!(marks.windows(2).all(|pair| pair[0].committed_at_us < pair[1].committed_at_us));
    assert!(rows(&caught_up(&peer, exact(), position(&next)).await).is_empty());
}

#[tokio::test]
async fn the_whole_document_is_the_default() {
    let peer = peer(1).await;
    let events = caught_up(&peer, json!({ "collection": "orders" }), None).await;
    let batch = batches(&events)[0];
    assert_eq!(batch.rows.column(0).as_string::<i32>().value(0), r#"{"$numberInt":"0"}"#);
    let text = r#"{"_id":{"$numberInt":"0"},"v":{"$numberInt":"0"},"a":"x","n":{"deep":{"$numberInt":"0"}}}"#;
    assert_eq!(batch.rows.column(1).as_string::<i32>().value(0), text);
    peer.write(|model| {
        model.set("orders", Bson::Int32(0), doc! { "v": 9 });
        model.delete("orders", Bson::Int32(0));
    });
    let next = caught_up(&peer, json!({ "collection": "orders" }), position(&events)).await;
    let (_, ops, absent) = together(&next);
    // The document was gone when the update was looked up: it is not known, which is not NULL.
    assert_eq!(ops, [Op::Update, Op::Delete]);
    assert_eq!(absent, [[false, false], [true, true]]);
}

#[tokio::test]
async fn fields_that_did_not_change_are_absent_and_not_null() {
    let peer = peer(2).await;
    let options = json!({ "collection": "orders", "schema": "infer", "full_document": "none", "await_ms": 20 });
    let first = caught_up(&peer, options.clone(), None).await;
    peer.write(|model| {
        model.set("orders", Bson::Int32(0), doc! { "v": 7 });
        model.note_update("orders", Bson::Int32(0), doc! { "updatedFields": {}, "removedFields": ["a"] });
        // Inside of a field: the document is looked up.
        model.note_update("orders", Bson::Int32(1), doc! { "updatedFields": { "n.deep": 1 }, "removedFields": [] });
        model.delete("orders", Bson::Int32(0));
    });
    let events = caught_up(&peer, options, position(&first)).await;
    let (rows, ops, bits) = together(&events);
    assert_eq!(ops, [Op::Update, Op::Update, Op::Update, Op::Delete]);
    let absent = |name: &str| bits[rows.schema().index_of(name).unwrap()].clone();
    assert_eq!(absent("_id"), [false; 4]);
    assert_eq!(absent("v"), [false, true, false, true]);
    assert_eq!(absent("a"), [true, false, false, true], "removed is NULL, not absent");
    assert!(rows.column_by_name("a").unwrap().is_null(1));
    assert_eq!(absent("n"), [true, true, false, true]);
}

#[tokio::test]
async fn rows_before_changes_come_where_the_log_has_them() {
    let peer = peer(1).await;
    let source = source(&peer, exact()).await;
    let first = caught_up(&peer, exact(), None).await;
    peer.write(|model| {
        model.set("orders", Bson::Int32(0), doc! { "v": 5 });
        model.delete("orders", Bson::Int32(0));
    });
    let request = weir_connect::ChangeRequest {
        pipeline: "p".into(),
        streams: vec!["orders".into()],
        from: position(&first),
        until_caught_up: true,
        before_images: true,
        parallelism: 1,
        batch_bytes: 0,
        linger: std::time::Duration::from_millis(1),
    };
    let log = source.changes().unwrap().open(request).await.unwrap();
    let events = read(&log, None, |_| false).await;
    let before = batches(&events).into_iter().flat_map(|batch| {
        let before = batch.before.as_ref().unwrap().column_by_name("v").unwrap().clone();
        before.as_primitive::<arrow::datatypes::Int32Type>().values().to_vec()
    });
    assert_eq!(before.collect::<Vec<_>>(), [0, 5]);
    assert_eq!(rows(&events)[1], (Op::Delete, 0, Some(5)), "a delete has its row where it is known");
}

#[tokio::test]
async fn no_boundary_cuts_a_transaction() {
    let peer = peer(0).await;
    peer.model().put("orders", doc! { "_id": 0, "v": 0 });
    peer.model().page = 2;
    let first = caught_up(&peer, exact(), None).await;
    peer.write(|model| {
        model.put("orders", doc! { "_id": 1, "v": 1 });
        model.transaction("orders", (10..17).map(|n| doc! { "_id": n, "v": n }).collect());
        model.put("orders", doc! { "_id": 2, "v": 2 });
    });
    let events = caught_up(&peer, exact(), position(&first)).await;
    let mut seen = 0;
    for event in &events {
        match event {
            ChangeEvent::Changes(batch) => seen += batch.ops.len(),
            ChangeEvent::Boundary(_) => assert!(seen <= 1 || seen >= 8, "a boundary after {seen} rows"),
            _ => {}
        }
    }
    assert_eq!(seen, 9);
    let ids: Vec<_> =
        batches(&events).iter().flat_map(|batch| batch.transactions.clone()).filter(|mark| mark.id.is_some()).collect();
    assert_eq!(ids.len(), 1, "one mark for the transaction: {ids:?}");
}

#[tokio::test]
async fn a_drop_stops_the_run_unless_it_may_empty_the_target() {
    let peer = peer(3).await;
    let first = caught_up(&peer, exact(), None).await;
    peer.write(|model| {
        model.drop_collection("orders");
        model.put("orders", doc! { "_id": 9, "v": 9 });
    });
    let events = caught_up(&peer, exact(), position(&first)).await;
    let truncated = events.iter().position(|event| matches!(event, ChangeEvent::Truncate { .. })).unwrap();
    assert!(rows(&events[..truncated]).is_empty());
    assert_eq!(rows(&events[truncated..]), [(Op::Create, 9, Some(9))]);
    let mut strict = exact();
    strict["on_drop"] = json!("error");
    let source = source(&peer, strict).await;
    let log = open(&source, position(&first), true).await.unwrap();
    let mut stream = log.read().await.unwrap();
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(event) => assert!(!matches!(event, ChangeEvent::Changes(_))),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "WEIR-MONGO-023");
}

#[tokio::test]
async fn a_collection_that_is_swapped_in_is_read_again() {
    let peer = peer(3).await;
    let first = caught_up(&peer, exact(), None).await;
    peer.write(|model| {
        model.put("built", doc! { "_id": 100, "v": 1 });
        model.put("built", doc! { "_id": 101, "v": 2 });
        model.rename("built", "orders");
        model.put("orders", doc! { "_id": 102, "v": 3 });
    });
    let events = caught_up(&peer, exact(), position(&first)).await;
    let truncated = events.iter().position(|event| matches!(event, ChangeEvent::Truncate { .. })).unwrap();
    let mut after = rows(&events[truncated..]);
    after.sort_by_key(|(_, key, _)| *key);
    after.dedup_by_key(|(_, key, _)| *key);
    assert_eq!(after.iter().map(|(_, key, v)| (*key, *v)).collect::<Vec<_>>(), [(100, Some(1)), (101, Some(2)), (102, Some(3))]);
}

#[tokio::test]
async fn the_stream_goes_on_after_the_database_was_dropped() {
    let peer = peer(3).await;
    let first = caught_up(&peer, exact(), None).await;
    peer.write(|model| {
        model.drop_database();
        model.put("orders", doc! { "_id": 1, "v": 1 });
    });
    let events = caught_up(&peer, exact(), position(&first)).await;
    assert!(events.iter().any(|event| matches!(event, ChangeEvent::Truncate { .. })));
    assert_eq!(rows(&events), [(Op::Create, 1, Some(1))]);
}

#[tokio::test]
async fn an_event_in_pieces_is_one_change() {
    let peer = peer(1).await;
    let first = caught_up(&peer, exact(), None).await;
    peer.write(|model| {
        model.put("orders", doc! { "_id": 5, "v": 55 });
        model.divide_last(3);
        model.put("orders", doc! { "_id": 6, "v": 66 });
    });
    let events = caught_up(&peer, exact(), position(&first)).await;
    assert_eq!(rows(&events), [(Op::Create, 5, Some(55)), (Op::Create, 6, Some(66))]);
    let watched = peer.model().commands.iter().any(|command| command.to_string().contains("$changeStreamSplitLargeEvent"));
    assert!(watched, "the server is asked to divide");
}

#[tokio::test]
async fn the_columns_stay_what_they_were_when_the_pipeline_began() {
    let peer = peer(2).await;
    let first = caught_up(&peer, exact(), None).await;
    peer.write(|model| model.put("orders", doc! { "_id": 7, "v": 7, "later": true }));
    let events = caught_up(&peer, exact(), position(&first)).await;
    assert!(matches!(&events[0], ChangeEvent::Schema(change) if change.schema.index_of("later").is_err()));
    let batch = batches(&events)[0];
    assert_eq!(batch.rows.column_by_name("_extra").unwrap().as_string::<i32>().value(0), r#"{"later":true}"#);
    // What does not fit is a letter; it does not stop the stream.
    peer.write(|model| {
        model.put("orders", doc! { "_id": 8, "v": "eight" });
        model.put("orders", doc! { "_id": 9, "v": 9 });
    });
    let events = caught_up(&peer, exact(), position(&events)).await;
    assert_eq!(
        events.iter().filter(|event| matches!(event, ChangeEvent::Dead(letter) if letter.code == "WEIR-MONGO-010")).count(),
        1
    );
    assert_eq!(rows(&events), [(Op::Create, 9, Some(9))]);
}

#[tokio::test]
async fn a_new_field_gets_a_column_between_two_rows_and_keeps_it() {
    let peer = peer(2).await;
    let mut options = exact();
    options["unknown_keys"] = json!("column");
    let first = caught_up(&peer, options.clone(), None).await;
    peer.write(|model| {
        model.put("orders", doc! { "_id": 7, "v": 7 });
        model.put("orders", doc! { "_id": 8, "v": 8, "later": true, "nothing": Bson::Null });
        model.set("orders", Bson::Int32(7), doc! { "later": false, "size": 5 });
    });
    let shown = |events: &[ChangeEvent]| -> Vec<String> {
        let names = |schema: &arrow::datatypes::Schema| {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            names.join(" ")
        };
        events
            .iter()
            .filter_map(|event| match event {
                ChangeEvent::Schema(change) => Some(format!("columns {}", names(&change.schema))),
                ChangeEvent::Changes(batch) => Some(format!("{} rows of {}", batch.ops.len(), names(&batch.rows.schema()))),
                _ => None,
            })
            .collect()
    };
    let events = caught_up(&peer, options.clone(), position(&first)).await;
    let expected = [
        "columns _id v a n",
        "1 rows of _id v a n",
        "columns _id v a n later",
        "1 rows of _id v a n later",
        "columns _id v a n later size",
        "1 rows of _id v a n later size",
    ];
    assert_eq!(shown(&events), expected);
    let last = batches(&events)[2];
    let later = last.rows.column_by_name("later").unwrap().as_boolean().clone();
    assert!(!later.value(0) && later.is_valid(0));
    // A later run begins with the columns that there are by now, and what does not fit one of them is a letter.
    peer.write(|model| {
        model.put("orders", doc! { "_id": 9, "v": 9, "size": 6_000_000_000_i64 });
        model.put("orders", doc! { "_id": 10, "v": 10, "size": "large" });
    });
    let events = caught_up(&peer, options, position(&events)).await;
    assert_eq!(shown(&events), ["columns _id v a n later size", "1 rows of _id v a n later size"]);
    let letters = events.iter().filter(|event| matches!(event, ChangeEvent::Dead(letter) if letter.code == "WEIR-MONGO-010"));
    assert_eq!(letters.count(), 1);
}

#[tokio::test]
async fn a_snapshot_gives_columns_to_what_the_sample_did_not_show() {
    let peer = Peer::start().await;
    for n in 0..30 {
        let mut document = doc! { "_id": n, "v": n };
        if n == 15 {
            document.insert("rare", "x");
        }
        peer.model().put("orders", document);
    }
    let mut options = exact();
    options["unknown_keys"] = json!("column");
    options["sample_documents"] = json!(4);
    let events = caught_up(&peer, options, None).await;
    let mut keys: Vec<i32> = rows(&events).iter().map(|(_, key, _)| *key).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..30).collect::<Vec<_>>(), "no row is lost where the shape changes");
    let rare = batches(&events)
        .iter()
        .filter_map(|batch| batch.rows.column_by_name("rare"))
        .map(|column| column.len() - column.null_count())
        .sum::<usize>();
    assert_eq!(rare, 1);
}

#[tokio::test]
async fn rows_before_changes_that_were_not_recorded_are_null_and_not_made_up() {
    let peer = peer(1).await;
    let source = source(&peer, exact()).await;
    let first = caught_up(&peer, exact(), None).await;
    // The collection has no pre-images: the event says nothing of the document before.
    peer.write(|model| model.note_update("orders", Bson::Int32(0), doc! { "updatedFields": { "v": 5 }, "removedFields": [] }));
    let request = weir_connect::ChangeRequest {
        pipeline: "p".into(),
        streams: vec!["orders".into()],
        from: position(&first),
        until_caught_up: true,
        before_images: true,
        parallelism: 1,
        batch_bytes: 0,
        linger: std::time::Duration::from_millis(1),
    };
    let log = source.changes().unwrap().open(request).await.unwrap();
    let events = read(&log, None, |_| false).await;
    let batch = batches(&events)[0];
    assert_eq!((batch.ops.as_slice(), batch.rows.num_rows()), (&[Op::Update][..], 1));
    assert!(batch.before.as_ref().unwrap().columns().iter().all(|column| column.is_null(0)));
    let asked = peer
        .model()
        .commands
        .iter()
        .any(|command| command.to_string().contains(r#""fullDocumentBeforeChange": "whenAvailable""#));
    assert!(asked, "the server is asked for them");
}

#[tokio::test]
async fn a_single_server_and_a_view_are_refused_before_a_row() {
    let peer = peer(1).await;
    peer.model().put("orders_view", doc! { "_id": 1 });
    let source = source(&peer, json!({ "collections": ["*"] })).await;
    let request = weir_connect::ChangeRequest {
        pipeline: "p".into(),
        streams: vec!["orders_view".into()],
        from: None,
        until_caught_up: true,
        before_images: false,
        parallelism: 1,
        batch_bytes: 0,
        linger: std::time::Duration::ZERO,
    };
    assert_eq!(source.changes().unwrap().open(request).await.err().unwrap().code(), "WEIR-MONGO-027");
    assert!(MongodbCdc::default().check(&peer.connection()).await.unwrap().ok());
    let alone = Peer::start().await;
    alone.model().standalone = true;
    alone.model().put("orders", doc! { "_id": 1 });
    let source = super::history::source(&alone, exact()).await;
    assert_eq!(open(&source, None, true).await.err().unwrap().code(), "WEIR-MONGO-022");
}
