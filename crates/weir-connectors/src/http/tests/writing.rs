//! The sink: forms of bodies, bounds, keys, what is sent again and what is not.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use serde_json::{Value, json};
use weir_connect::{
    Barrier, CommitToken, Connector, Error, Kind, OnLoss, Result, Retry, RunIdentity, SchemaChangePolicy, SinkContext,
    StreamSink, StreamTarget, WriteMode,
};

use super::super::HttpConnector;
use super::connection;
use super::server::{Api, Asked, Reply};

fn rows(from: i64, to: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values((from..to).map(|id| format!("n/{id}"))));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
}

async fn stream_sink(connection: Value, options: Value, batch: &RecordBatch, mode: WriteMode) -> Result<Box<dyn StreamSink>> {
    let context =
        SinkContext { connection, options, on_loss: OnLoss::default(), node: "out".into(), parallelism: 1, base_dir: ".".into() };
    let sink = HttpConnector::default().sink(context).await?;
    let target = StreamTarget {
        run: RunIdentity { pipeline: "p".into(), run_id: "r1".into() },
        stream: "things".into(),
        schema: batch.schema(),
        key: if mode == WriteMode::Upsert { vec!["id".into()] } else { vec![] },
        cursor: None,
        write_mode: mode,
        on_schema_change: SchemaChangePolicy::Evolve,
        changes: false,
    };
    sink.prepare(target).await
}

async fn write(sink: &dyn StreamSink, epoch: u64, batches: &[RecordBatch]) -> Result<CommitToken> {
    let mut writer = sink.writer(0).await?;
    for batch in batches {
        writer.write(batch.clone()).await?;
    }
    Ok(writer.flush(&Barrier { epoch, lane: 0, progress: vec![] }).await?.token)
}

async fn post(api: &Api, options: Value, batches: &[RecordBatch]) -> Result<()> {
    let sink = stream_sink(connection(&api.base, json!({})), options, &batches[0], WriteMode::Append).await?;
    let token = write(sink.as_ref(), 1, batches).await?;
    let report = sink.commit(&[token]).await?;
    assert_eq!(report.rows, batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>());
    Ok(())
}

#[tokio::test]
async fn bodies_have_the_form_that_was_asked_for() {
    let first = json!({"id": 0, "name": "n/0"});
    let second = json!({"id": 1, "name": "n/1"});
    type Seen = fn(&Asked) -> Value;
    let whole: Seen = |asked| asked.json();
    let lines: Seen = |asked| {
        String::from_utf8(asked.body.to_vec()).unwrap().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect()
    };
    let cases: [(Value, Seen, Vec<Value>); 4] = [
        (json!("json_array"), whole, vec![json!([first, second])]),
        (json!({"wrap": "it\"ems"}), whole, vec![json!({"it\"ems": [first, second]})]),
        (json!("ndjson"), lines, vec![json!([first, second])]),
        (json!("record"), whole, vec![first.clone(), second.clone()]),
    ];
    for (form, seen, expected) in cases {
        let api = Api::start(|_| Reply::status(201)).await;
        post(&api, json!({"path": "in/{stream}", "body": form, "headers": {"X-A": "b"}}), &[rows(0, 1), rows(1, 2)])
            .await
            .unwrap();
        let asked = api.asked();
        assert_eq!(asked.iter().map(seen).collect::<Vec<_>>(), expected, "{form}");
        assert!(
            asked.iter().all(|asked| asked.method == "POST" && asked.path == "/in/things" && asked.header("x-a") == Some("b"))
        );
    }
}

#[tokio::test]
async fn requests_stay_within_rows_and_bytes_and_lose_no_record() {
    for options in
        [json!({"path": "x", "batch_rows": 7}), json!({"path": "x", "batch_bytes": 100}), json!({"path": "x", "batch_bytes": 1})]
    {
        let api = Api::start(|_| Reply::status(200)).await;
        post(&api, options.clone(), &[rows(0, 20), rows(20, 50)]).await.unwrap();
        let asked = api.asked();
        let ids: Vec<i64> = asked
            .iter()
            .flat_map(|asked| asked.json().as_array().unwrap().clone())
            .map(|record| record["id"].as_i64().unwrap())
            .collect();
        assert_eq!(ids, (0..50).collect::<Vec<_>>(), "{options}");
        for asked in &asked {
            let records = asked.json().as_array().unwrap().len();
            assert!(records <= 7 || options.get("batch_rows").is_none());
            assert!(asked.body.len() <= 102 || options.get("batch_bytes").is_none() || records == 1, "{}", asked.body.len());
        }
    }
}

#[tokio::test]
async fn a_put_goes_to_the_records_own_address_and_is_safe_to_repeat() {
    let api = Api::start(|asked| if asked.number % 2 == 0 { Reply::status(500) } else { Reply::status(200) }).await;
    let options = json!({"path": "things/{name}/{id}", "method": "PUT"});
    let sink = stream_sink(connection(&api.base, json!({})), options, &rows(0, 1), WriteMode::Upsert).await.unwrap();
    let token = write(sink.as_ref(), 1, &[rows(0, 2)]).await.unwrap();
    assert_eq!(sink.commit(&[token]).await.unwrap().rows, 2);
    let paths: Vec<_> = api.asked().iter().map(|asked| (asked.method.clone(), asked.path.clone())).collect();
    let put = |path: &str| ("PUT".to_owned(), path.to_owned());
    assert_eq!(paths, [put("/things/n%2F0/0"), put("/things/n%2F0/0"), put("/things/n%2F1/1"), put("/things/n%2F1/1")]);
    assert_eq!(api.asked()[3].json(), json!({"id": 1, "name": "n/1"}));
}

fn names(values: &[Option<&str>]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
    let names: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
    RecordBatch::try_from_iter([("id", ids), ("name", names)]).unwrap()
}

#[tokio::test]
async fn a_key_that_would_change_the_address_is_refused() {
    let api = Api::start(|_| Reply::status(200)).await;
    for bad in [Some(".."), Some("."), Some(""), None] {
        let batch = names(&[bad]);
        let options = json!({"path": "things/{id}/{name}", "method": "PUT"});
        let sink = stream_sink(connection(&api.base, json!({})), options, &batch, WriteMode::Upsert).await.unwrap();
        let error = write(sink.as_ref(), 1, &[batch]).await.unwrap_err();
        assert_eq!(error.code(), "WEIR-HTTP-042", "{bad:?}");
    }
    assert!(api.asked().is_empty());
}

async fn post_error(reply: fn() -> Reply, options: Value) -> (Error, usize) {
    let api = Api::start(move |_| reply()).await;
    let error = post(&api, options, &[rows(0, 3)]).await.unwrap_err();
    (error, api.asked().len())
}

#[tokio::test]
async fn only_what_is_safe_is_sent_again() {
    let plain = json!({"path": "x"});
    let idempotent = json!({"path": "x", "server_is_idempotent": true});
    // A 500 or a broken answer may come after the records were stored.
    for reply in [|| Reply::status(500), || Reply::json(json!({"ok": [1, 2, 3]})).cut()] {
        assert_eq!(post_error(reply, plain.clone()).await.1, 1);
        assert_eq!(post_error(reply, idempotent.clone()).await.1, 5);
    }
    let (error, _) = post_error(|| Reply::json(json!({"ok": [1, 2, 3]})).cut(), plain.clone()).await;
    assert_eq!(error.retryable(), Retry::Never);
    assert!(error.advice().unwrap().contains("3 records"), "{error:?}");
    // A 429 or 503 comes before.
    for reply in [|| Reply::status(429), || Reply::status(503)] {
        assert_eq!(post_error(reply, plain.clone()).await.1, 5);
    }
}

#[tokio::test]
async fn a_rejected_record_is_an_error_in_the_servers_words() {
    for status in [400, 422] {
        let api = Api::start(move |_| Reply::json(json!({"detail": "`name` is too short"})).with(status)).await;
        let error = post(&api, json!({"path": "x"}), &[rows(0, 3)]).await.unwrap_err();
        assert_eq!((error.kind(), api.asked().len()), (Kind::Data, 1));
        assert!(error.to_string().contains("too short"), "{error}");
    }
    let (error, _) = post_error(|| Reply::json(json!({"errors": ["row 2"]})), json!({"path": "x", "error_path": "errors"})).await;
    assert_eq!(error.code(), "WEIR-HTTP-015");
    let api = Api::start(|_| Reply::json(json!({"errors": []}))).await;
    post(&api, json!({"path": "x", "error_path": "errors"}), &[rows(0, 3)]).await.unwrap();
}

fn keys(api: &Api) -> Vec<String> {
    api.asked().iter().map(|asked| asked.header("idempotency-key").unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_same_request_has_the_same_key_and_no_other_has_it() {
    let api = Api::start(|asked| if asked.number == 0 { Reply::status(429) } else { Reply::status(200) }).await;
    let options = json!({"path": "x", "batch_rows": 5});
    let equal = rows(0, 5);
    let open = || stream_sink(connection(&api.base, json!({})), options.clone(), &equal, WriteMode::Append);
    // Equal rows twice are two requests, not one.
    let sink = open().await.unwrap();
    let token = write(sink.as_ref(), 3, &[equal.clone(), equal.clone(), rows(5, 10)]).await.unwrap();
    let first = keys(&api);
    assert_eq!(first[0], first[1], "a retry keeps its key");
    assert_eq!(first.len(), 4);
    assert!(first[1] != first[2] && first[2] != first[3]);
    assert!(first[0].starts_with("p-r1-things-0-0-0-"), "{}", first[0]);

    // The same rows again after a crash that the checkpoint did not see.
    api.forget();
    let again = open().await.unwrap();
    again.discard(&[]).await.unwrap();
    write(again.as_ref(), 3, &[equal.clone(), equal.clone(), rows(5, 10)]).await.unwrap();
    let mut expected = first[1..].to_vec();
    expected.insert(0, first[0].clone());
    assert_eq!(keys(&api), expected);

    // Equal rows that come after the checkpoint are new ones.
    api.forget();
    let after = open().await.unwrap();
    after.discard(std::slice::from_ref(&token)).await.unwrap();
    write(after.as_ref(), 4, std::slice::from_ref(&equal)).await.unwrap();
    let new = keys(&api);
    assert!(new.iter().all(|key| key.starts_with("p-r1-things-0-3-0-")), "{new:?}");
    assert!(!new.iter().any(|key| first.contains(key)));

    // Other rows at the same place are never taken for the old ones.
    api.forget();
    let other = open().await.unwrap();
    other.discard(&[]).await.unwrap();
    write(other.as_ref(), 3, &[rows(50, 55)]).await.unwrap();
    assert!(!first.contains(&keys(&api).pop().unwrap()));
}

#[tokio::test]
async fn not_a_number_stops_the_run_instead_of_becoming_null() {
    let api = Api::start(|_| Reply::status(200)).await;
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1.5, f64::NAN]));
    let batch = RecordBatch::try_from_iter([("v", values)]).unwrap();
    let error = post(&api, json!({"path": "x"}), &[batch]).await.unwrap_err();
    assert_eq!(error.kind(), Kind::TypeLoss);
    assert_eq!(error.place(), Some("column `v`"));
    assert!(api.asked().is_empty());
}

#[tokio::test]
async fn modes_that_the_address_cannot_do_are_refused_before_a_row() {
    let base = "http://127.0.0.1:1";
    let batch = rows(0, 1);
    for (options, mode) in [
        (json!({"path": "x"}), WriteMode::Upsert),
        (json!({"path": "x"}), WriteMode::Overwrite),
        (json!({"path": "x/{name}", "method": "PUT"}), WriteMode::Upsert),
        (json!({"path": "x/{id}", "method": "PUT"}), WriteMode::Append),
    ] {
        let Err(error) = stream_sink(connection(base, json!({})), options.clone(), &batch, mode).await else {
            panic!("{options}")
        };
        assert_eq!(error.kind(), Kind::Spec, "{options}");
    }
}
