//! Every kind of paging: all records exactly once, from the start and from every position.

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_connect::{Kind, ReadRequest, Resume, ResumeVerdict, SplitProgress};

use super::server::{Api, Asked, Reply};
use super::{connection, drain, read_all, read_error, source};

/// Records `from..` of `total`, at most `size`.
fn page(total: usize, from: usize, size: usize) -> Vec<Value> {
    (from..total.min(from.saturating_add(size))).map(|id| json!({"id": id, "name": format!("n{id}")})).collect()
}

const KINDS: &[&str] = &[
    "link_header",
    "page",
    "page_short",
    "offset",
    "offset_short",
    "cursor",
    "cursor_body",
    "cursor_more",
    "next_url",
    "next_relative",
];

/// An API with that kind of paging, and the options that read it.
fn api(kind: &'static str, total: usize, size: usize) -> (impl Fn(&Asked) -> Reply + Send + Sync + 'static, Value) {
    let options = match kind {
        "link_header" => json!({"records": "items", "pagination": "link_header"}),
        "page" => {
            json!({"records": "$.items[*]", "pagination": {"page": {"param": "p", "start": 0, "size_param": "n", "size": size}}})
        }
        "page_short" => json!({"records": "items", "pagination": {"page": {"size_param": "n", "size": size, "stop": "short"}}}),
        "offset" => json!({"records": "items", "pagination": {"offset": {"limit_param": "n", "limit": size}}}),
        "offset_short" => {
            json!({"records": "items", "pagination": {"offset": {"limit_param": "n", "limit": size, "stop": "short"}}})
        }
        "cursor" => json!({"records": "items", "pagination": {"cursor": {"param": "after", "path": "meta.next"}}}),
        "cursor_body" => json!({
            "records": "items", "method": "POST", "body": {"filter": {"x": 1}},
            "pagination": {"cursor": {"param": "after", "path": "meta.next", "in": "body"}}
        }),
        "cursor_more" => {
            json!({"records": "items", "pagination": {"cursor": {"param": "after", "path": "last", "has_more": "more"}}})
        }
        "next_url" | "next_relative" => json!({"records": "items", "pagination": {"next_url": {"path": "meta.next"}}}),
        other => panic!("{other}"),
    };
    let handler = move |asked: &Asked| {
        // The server caps pages at 7, whatever is asked: a reader must not conclude anything from that.
        let size = if kind.ends_with("short") { size } else { size.min(7) };
        let number = |name: &str| asked.number_param(name);
        let from = match kind {
            "page" => number("p").unwrap() * size,
            "page_short" => (number("page").unwrap() - 1) * size,
            "offset" | "offset_short" => number("offset").unwrap(),
            "cursor" | "cursor_more" => {
                asked.param("after").map_or(0, |token| token.trim_start_matches("to/ken=&").parse().unwrap())
            }
            "cursor_body" => {
                assert_eq!(asked.json()["filter"], json!({"x": 1}));
                asked.json()["after"].as_str().map_or(0, |token| token.trim_start_matches("to/ken=&").parse().unwrap())
            }
            _ => number("from").unwrap_or(0),
        };
        let items = page(total, from, size);
        let next = from + items.len();
        let more = next < total;
        let host = asked.header("host").unwrap();
        let token = format!("to/ken=&{next}");
        let meta = match kind {
            "cursor" | "cursor_body" if more => json!({"next": token}),
            "cursor" => json!({}),
            "next_url" if more => json!({"next": format!("http://{host}{}?from={next}", asked.path)}),
            "next_relative" if more => json!({"next": format!("?from={next}")}),
            _ => json!({"next": null}),
        };
        let reply = Reply::json(json!({"meta": meta, "items": items, "more": more, "last": token}));
        if kind == "link_header" && more {
            let link = format!("<http://{host}/first>; rel=\"first\", <{}?from={next}>; rel=\"next\"", asked.path);
            return reply.header("link", link);
        }
        reply
    };
    (handler, options)
}

fn with_path(mut options: Value) -> Value {
    options["path"] = json!("/v1/things");
    options["columns"] = json!({"id": "int64", "name": "text"});
    options
}

async fn every_record_once(kind: &'static str, total: usize, size: usize) {
    let (handler, options) = api(kind, total, size);
    let api = Api::start(handler).await;
    let read = read_all(connection(&api.base, json!({})), with_path(options)).await.unwrap();
    assert_eq!(read.ids(), (0..total as i64).collect::<Vec<_>>(), "{kind} total {total} size {size}");
    assert!(read.batches.iter().all(|(_, position)| position.is_some()), "{kind}: a page without a position");
}

#[tokio::test]
async fn every_kind_of_paging_reads_every_record_once() {
    for kind in KINDS {
        for (total, size) in [(0, 5), (1, 5), (5, 5), (6, 5), (10, 5), (23, 7)] {
            every_record_once(kind, total, size).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_total_and_page_size_reads_every_record_once(kind in 0..KINDS.len(), total in 0usize..60, size in 1usize..20) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(every_record_once(KINDS[kind], total, size));
    }
}

#[tokio::test]
async fn a_resume_goes_on_after_any_page_without_reading_it_again() {
    for kind in KINDS {
        let (handler, options) = api(kind, 23, 5);
        let api = Api::start(handler).await;
        let options = with_path(options);
        let first = source(connection(&api.base, json!({})), options.clone()).await.unwrap();
        let request = ReadRequest { stream: "things".into(), parallelism: 1, ..ReadRequest::default() };
        let reader = first.open(request.clone()).await.unwrap();
        let split = reader.splits().remove(0);
        let state = reader.state();
        let whole = drain(reader.as_ref(), None).await.unwrap();
        let mut rows = 0;
        for (batch, position) in &whole.batches {
            rows += batch.num_rows() as u64;
            let progress = vec![SplitProgress { split: split.clone(), position: position.clone(), done: false, rows }];
            let resume = Some(Resume { reader_state: state.clone(), progress });
            let again = source(connection(&api.base, json!({})), options.clone()).await.unwrap();
            let reader = again.open(ReadRequest { resume, ..request.clone() }).await.unwrap();
            assert_eq!(reader.verdict(), ResumeVerdict::Continued);
            api.forget();
            let rest = drain(reader.as_ref(), position.clone()).await.unwrap();
            assert_eq!(rest.ids(), (rows as i64..23).collect::<Vec<_>>(), "{kind} after {rows}");
            let pages_left = whole.batches.len() as u64 - rows.div_ceil(5);
            assert!(api.asked().len() as u64 <= pages_left + 1, "{kind} after {rows}: {} requests", api.asked().len());
        }
    }
}

#[tokio::test]
async fn a_page_larger_than_a_batch_has_its_position_at_the_end_only() {
    let api = Api::start(|_| Reply::json(Value::Array(page(1000, 0, 1000)))).await;
    let source = source(connection(&api.base, json!({})), json!({"path": "x"})).await.unwrap();
    let request = ReadRequest { stream: "x".into(), batch_bytes: 1000, ..ReadRequest::default() };
    let reader = source.open(request).await.unwrap();
    let read = drain(reader.as_ref(), None).await.unwrap();
    assert_eq!(read.ids(), (0..1000).collect::<Vec<_>>());
    assert!(read.batches.len() > 10);
    let with_position: Vec<_> = read.batches.iter().map(|(_, position)| position.is_some()).collect();
    assert_eq!(with_position.iter().filter(|has| **has).count(), 1);
    assert_eq!(with_position.last(), Some(&true));
}

#[tokio::test]
async fn an_api_that_never_ends_is_an_error() {
    // The last page again and again.
    let api =
        Api::start(|asked| Reply::json(json!({"items": page(8, asked.number_param("page").unwrap().min(2) * 4 - 4, 4)}))).await;
    let options = json!({"path": "x", "records": "items", "pagination": {"page": {}}});
    let error = read_error(connection(&api.base, json!({})), options).await;
    assert_eq!(error.code(), "WEIR-HTTP-018");
    assert!(error.advice().unwrap().contains("stop: short"));

    // Tokens that go round.
    let api = Api::start(|asked| {
        let next = match asked.param("cursor") {
            None => "a",
            Some("a") => "b",
            Some("b") => "c",
            _ => "a",
        };
        Reply::json(json!({"items": [{"id": asked.number}], "next": next}))
    })
    .await;
    let options = json!({"path": "x", "records": "items", "sample_pages": 1, "pagination": {"cursor": {"path": "next"}}});
    let error = read_error(connection(&api.base, json!({})), options).await;
    assert_eq!(error.code(), "WEIR-HTTP-018");

    // New pages for ever.
    let api = Api::start(|asked| Reply::json(json!({"items": [{"id": asked.number}]}))).await;
    let options = json!({"path": "x", "records": "items", "max_pages": 20, "pagination": {"page": {}}});
    let error = read_error(connection(&api.base, json!({})), options).await;
    assert_eq!((error.code(), error.kind()), ("WEIR-HTTP-014", Kind::Limit));
}

#[tokio::test]
async fn equal_pages_are_read_where_that_is_right() {
    let api = Api::start(|asked| {
        let items = if asked.number_param("page").unwrap() <= 3 { json!([{"id": 7}]) } else { json!([]) };
        Reply::json(json!({"items": items}))
    })
    .await;
    let options = json!({"path": "x", "records": "items", "allow_repeated_pages": true, "pagination": {"page": {}}});
    let read = read_all(connection(&api.base, json!({})), options).await.unwrap();
    assert_eq!(read.ids(), [7, 7, 7]);
}

#[tokio::test]
async fn each_endpoint_is_a_stream_with_its_own_options() {
    let api = Api::start(|asked| match asked.path.as_str() {
        "/v1/a" => Reply::json(json!([{"id": 1, "q": asked.param("q"), "h": asked.header("x-h"), "shared": asked.param("s")}])),
        "/v1/deep/b" => Reply::json(json!({"d": {"items": page(9, asked.number_param("offset").unwrap(), 4)}})),
        other => panic!("{other}"),
    })
    .await;
    let options = json!({
        "query_params": {"s": 5},
        "endpoints": [
            {"path": "/a", "query_params": {"q": "x y&z"}, "headers": {"X-H": "yes"}},
            {"name": "bees", "path": "deep/b", "records": "d.items", "pagination": {"offset": {}}, "primary_key": ["id"]}
        ]
    });
    let source = source(connection(&format!("{}/v1/", api.base), json!({})), options).await.unwrap();
    let streams = source.streams().await.unwrap();
    let names: Vec<_> = streams.iter().map(|stream| (stream.name.as_str(), stream.primary_key.len())).collect();
    assert_eq!(names, [("a", 0), ("bees", 1)]);
    for (name, expected) in [("a", vec![r#"{"id":1,"q":"x y&z","h":"yes","shared":"5"}"#.to_owned()]), ("bees", Vec::new())] {
        let reader = source.open(ReadRequest { stream: name.into(), ..ReadRequest::default() }).await.unwrap();
        let read = drain(reader.as_ref(), None).await.unwrap();
        if expected.is_empty() { assert_eq!(read.ids(), (0..9).collect::<Vec<_>>()) } else { assert_eq!(read.lines(), expected) }
    }
}

#[tokio::test]
async fn a_preview_stops_early() {
    let (handler, options) = api("offset", 1000, 5);
    let api = Api::start(handler).await;
    let source = source(connection(&api.base, json!({})), with_path(options)).await.unwrap();
    let reader = source.open(ReadRequest { stream: "things".into(), limit: Some(12), ..ReadRequest::default() }).await.unwrap();
    api.forget();
    assert_eq!(drain(reader.as_ref(), None).await.unwrap().ids().len(), 15);
    assert_eq!(api.asked().len(), 3);
}

#[tokio::test]
async fn ndjson_gives_a_record_per_line() {
    let api = Api::start(|_| {
        Reply::bytes("{\"id\": 1}\n\n{\"id\": 2}\r\n{oops}\n{\"id\": 3}").header("content-type", "application/x-ndjson")
    })
    .await;
    let read = read_all(connection(&api.base, json!({})), json!({"path": "x", "format": "ndjson"})).await.unwrap();
    assert_eq!(read.ids(), [1, 2, 3]);
    assert_eq!(read.dead.len(), 1);
    assert_eq!(read.dead[0].payload, b"{oops}");
}
