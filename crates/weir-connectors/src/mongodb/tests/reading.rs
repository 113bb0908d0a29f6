//! The batch source over the driver, against the peer.

use std::path::PathBuf;

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use futures::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, doc, oid::ObjectId};
use serde_json::{Value as Json, json};
use weir_connect::{
    Connector, CursorWindow, DeadLetter, Event, OnLoss, ReadRequest, Resume, ResumeVerdict, Source, SourceContext, SplitProgress,
};

use super::super::Mongodb;
use super::peer::{Fault, Peer};

async fn source(peer: &Peer, options: Json) -> std::sync::Arc<dyn Source> {
    let context = SourceContext {
        connection: peer.connection(),
        options,
        on_loss: OnLoss::default(),
        parallelism: 2,
        base_dir: PathBuf::from("."),
    };
    Mongodb::default().source(context).await.unwrap()
}

fn request(stream: &str) -> ReadRequest {
    ReadRequest { stream: stream.into(), parallelism: 2, ..ReadRequest::default() }
}

fn texts(events: &[Event], column: &str) -> Vec<String> {
    let batches = events.iter().filter_map(|event| match event {
        Event::Batch(batch) => Some(batch.records.column_by_name(column).unwrap().as_string::<i32>().clone()),
        _ => None,
    });
    batches.flat_map(|column| column.iter().map(|text| text.unwrap_or("NULL").to_owned()).collect::<Vec<_>>()).collect()
}

fn dead(events: &[Event]) -> Vec<DeadLetter> {
    events.iter().filter_map(|event| if let Event::Dead(letter) = event { Some(letter.clone()) } else { None }).collect()
}

async fn everything(source: &dyn Source, request: ReadRequest) -> Vec<Event> {
    let reader = source.open(request).await.unwrap();
    let mut events = Vec::new();
    for split in reader.splits() {
        events.extend(reader.read(&split, None).await.unwrap().try_collect::<Vec<_>>().await.unwrap());
    }
    events
}

/// Keys of every kind in one collection.
fn mixed() -> Vec<Document> {
    let numbers = (0..20).map(|n| doc! { "_id": n, "v": n });
    let texts = (0..20).map(|n| doc! { "_id": format!("k{n:02}"), "v": n });
    let ids = (0..20_u8).map(|n| doc! { "_id": ObjectId::from_bytes([n; 12]), "v": i32::from(n) });
    numbers.chain(texts).chain(ids).collect()
}

#[tokio::test]
async fn splits_hold_each_document_once_whatever_the_types_of_the_keys() {
    let peer = Peer::start().await;
    mixed().into_iter().for_each(|document| peer.model().put("orders", document));
    let source = source(&peer, json!({ "collection": "orders", "schema": "document", "split_documents": 7 })).await;
    let infos = source.streams().await.unwrap();
    assert_eq!((infos.len(), infos[0].primary_key.clone(), infos[0].estimated_rows), (1, vec!["_id".to_owned()], Some(60)));
    let reader = source.open(request("orders")).await.unwrap();
    assert!(reader.splits().len() > 4, "{}", reader.splits().len());
    let mut keys = texts(&everything(&*source, request("orders")).await, "_id");
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 60);
}

#[tokio::test]
async fn a_split_goes_on_after_every_position() {
    let peer = Peer::start().await;
    mixed().into_iter().for_each(|document| peer.model().put("orders", document));
    let source = source(&peer, json!({ "collection": "orders", "schema": "document" })).await;
    // Every document is its own batch.
    let reader = source.open(ReadRequest { batch_bytes: 1, ..request("orders") }).await.unwrap();
    let split = reader.splits().remove(0);
    let all: Vec<Event> = reader.read(&split, None).await.unwrap().try_collect().await.unwrap();
    let keys = texts(&all, "_id");
    assert_eq!(keys.len(), 60);
    for (at, event) in all.iter().enumerate() {
        let Event::Batch(batch) = event else { panic!() };
        let rest: Vec<Event> = reader.read(&split, batch.position.clone()).await.unwrap().try_collect().await.unwrap();
        assert_eq!(texts(&rest, "_id"), keys[at + 1..]);
    }
}

#[tokio::test]
async fn an_interrupted_run_reads_only_the_splits_that_are_left() {
    let peer = Peer::start().await;
    mixed().into_iter().for_each(|document| peer.model().put("orders", document));
    let source = source(&peer, json!({ "collection": "orders", "split_documents": 20 })).await;
    let reader = source.open(request("orders")).await.unwrap();
    let splits = reader.splits();
    let progress = vec![SplitProgress { split: splits[0].clone(), position: None, done: true, rows: 1 }];
    let resume = Resume { reader_state: reader.state(), progress };
    // The columns stay those of the first attempt.
    peer.model().put("orders", doc! { "_id": "zzz", "new": 1 });
    let again = source.open(ReadRequest { resume: Some(resume), ..request("orders") }).await.unwrap();
    assert_eq!(again.verdict(), ResumeVerdict::Continued);
    assert_eq!((again.splits(), again.schema()), (splits[1..].to_vec(), reader.schema()));
}

#[tokio::test]
async fn documents_that_the_sample_did_not_show_lose_nothing() {
    let peer = Peer::start().await;
    for n in 0..50 {
        peer.model().put("orders", doc! { "_id": n, "v": n });
    }
    peer.model().put("orders", doc! { "_id": 25, "v": "not a number" });
    peer.model().put("orders", doc! { "_id": 26, "v": 26, "more": { "a": [1] } });
    let source = source(&peer, json!({ "collection": "orders", "sample_documents": 10 })).await;
    let events = everything(&*source, request("orders")).await;
    let letters = dead(&events);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].place, r#"orders, _id {"$numberInt":"25"}"#);
    let extra = texts(&events, "_extra");
    assert_eq!(extra.len(), 49);
    assert_eq!(extra.iter().filter(|text| *text != "NULL").collect::<Vec<_>>(), [r#"{"more":{"a":[1]}}"#]);
    // With another declaration the dead letter is a row.
    let declared = self::source(&peer, json!({ "collection": "orders", "columns": { "v": "json" } })).await;
    let again = declared.redecode("orders", &letters[0]).await.unwrap();
    assert_eq!(texts(&again, "v"), ["\"not a number\""]);
}

#[tokio::test]
async fn filter_projection_and_cursor_reach_the_server() {
    let peer = Peer::start().await;
    for n in 0..10 {
        peer.model().put("orders", doc! { "_id": n, "v": n, "kind": if n % 2 == 0 { "even" } else { "odd" }, "at": DateTime::from_millis(i64::from(n) * 1000) });
    }
    let options =
        json!({ "collection": "orders", "filter": "{\"kind\": \"odd\"}", "projection": "{\"v\": 1, \"at\": 1}", "cursor": "at" });
    let source = source(&peer, options).await;
    let window = CursorWindow { column: "at".into(), lower: Some("1970-01-01T00:00:05Z".into()) };
    let events = everything(&*source, ReadRequest { cursor: Some(window), ..request("orders") }).await;
    let Event::Batch(batch) = &events[0] else { panic!() };
    let names: Vec<_> = batch.records.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["_id", "v", "at", "_extra"]);
    assert_eq!(batch.records.column(0).as_primitive::<Int32Type>().values().to_vec(), [5, 7, 9]);
}

#[tokio::test]
async fn a_view_is_one_split_without_positions() {
    let peer = Peer::start().await;
    for n in 0..5 {
        peer.model().put("orders_view", doc! { "_id": n, "v": n });
    }
    let source = source(&peer, json!({ "collection": "orders_view" })).await;
    let events = everything(&*source, request("orders_view")).await;
    assert!(matches!(&events[..], [Event::Batch(batch)] if batch.position.is_none() && batch.records.num_rows() == 5));
}

#[tokio::test]
async fn a_connection_that_is_cut_inside_a_split_is_a_transient_error_and_no_short_read() {
    let peer = Peer::start().await;
    mixed().into_iter().for_each(|document| peer.model().put("orders", document));
    let source = source(&peer, json!({ "collection": "orders", "schema": "document" })).await;
    let reader = source.open(request("orders")).await.unwrap();
    let split = reader.splits().remove(0);
    peer.model().faults.push_back(("getMore", 4, Fault::Cut));
    let error = reader.read(&split, None).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), ("WEIR-MONGO-007", weir_connect::Retry::Transient), "{error}");
    peer.model().faults.push_back(("find", 0, Fault::Error(13, "Unauthorized", false)));
    let error = reader.read(&split, None).await.err().unwrap();
    assert_eq!(error.code(), "WEIR-MONGO-004");
}

#[tokio::test]
async fn names_that_are_not_there_and_hosts_that_do_not_answer_are_told() {
    let peer = Peer::start().await;
    peer.model().put("orders", doc! { "_id": Bson::Int32(1) });
    let error = source(&peer, json!({ "collection": "order" })).await.streams().await.unwrap_err();
    assert_eq!((error.code(), error.advice()), ("WEIR-MONGO-005", Some("there are orders")), "{error}");
    let report = Mongodb::default().check(&peer.connection()).await.unwrap();
    assert!(report.ok(), "{report:?}");
    let gone = json!({ "hosts": "127.0.0.1:1", "database": "shop", "connect_timeout_secs": 1 });
    let report = Mongodb::default().check(&gone).await.unwrap();
    assert_eq!((report.items[0].name.as_str(), report.items[0].ok), ("reach", false));
}

#[tokio::test]
async fn the_tunnel_carries_what_the_guard_permits_and_wants_its_password() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    let peer = Peer::start().await;
    peer.model().put("orders", doc! { "_id": 1 });
    let tunnel = super::super::tunnel::Tunnel::open().await.unwrap();
    let mut options = mongodb::options::ClientOptions::parse(format!("mongodb://{}/shop", peer.address)).await.unwrap();
    options.socks5_proxy = Some(tunnel.proxy.clone());
    let client = mongodb::Client::with_options(options).unwrap();
    let names = client.database("shop").list_collection_names().await.unwrap();
    assert_eq!(names, ["orders"]);
    let mut stranger = TcpStream::connect(("127.0.0.1", tunnel.proxy.port.unwrap())).await.unwrap();
    // SOCKS 5, one method: by password; then user `weir` with a guess.
    stranger.write_all(&[5, 1, 2, 1, 4, b'w', b'e', b'i', b'r', 1, b'x']).await.unwrap();
    let mut answer = Vec::new();
    stranger.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [5, 2, 1, 1], "refused and closed");
}
