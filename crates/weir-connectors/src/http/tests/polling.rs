//! Asked again and again: each row once, over rounds, pages and restarts.

use std::sync::{Arc, Mutex};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::{Value, json};
use weir_connect::{Event, EventStream, Position, ReadRequest, Resume, SplitProgress};

use super::server::{Api, Asked, Reply};
use super::*;

/// Rows with an id and a time, as the API has them by now.
type Rows = Arc<Mutex<Vec<(i64, i64)>>>;

fn known(rows: &[(i64, i64)]) -> Rows {
    Arc::new(Mutex::new(rows.to_vec()))
}

fn json_of(rows: impl Iterator<Item = (i64, i64)>) -> Value {
    rows.map(|(id, at)| json!({"id": id, "at": at})).collect()
}

fn options(more: Value) -> Value {
    let mut options = json!({
        "path": "x", "cursor": "at", "cursor_param": "since", "columns": {"id": "int64", "at": "int64"}, "sample_pages": 0,
        "poll": {"every_ms": 1},
    });
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    options
}

/// A stream that is read without end.
struct Open {
    events: EventStream,
    position: Option<Position>,
    dead: Vec<String>,
}

impl Open {
    async fn new(base: &str, options: Value, from: Option<Position>) -> Result<Self> {
        let source = source(connection(base, json!({})), options).await?;
        assert!(source.unbounded());
        let mut request = ReadRequest { stream: "x".into(), parallelism: 1, unbounded: true, ..ReadRequest::default() };
        let split = source.open(request.clone()).await?.splits().remove(0);
        let progress = SplitProgress { split: split.clone(), position: from.clone(), done: false, rows: 0 };
        request.resume = Some(Resume { reader_state: Value::Null, progress: vec![progress] });
        let reader = source.open(request).await?;
        let events = reader.read(&split, from.clone()).await?;
        Ok(Self { events, position: from, dead: Vec::new() })
    }

    async fn next(&mut self) -> Result<Option<Vec<i64>>> {
        match self.events.next().await.unwrap()? {
            Event::Batch(batch) => {
                self.position = batch.position.or(self.position.take());
                let ids = batch.records.column_by_name("id").unwrap().as_primitive::<Int64Type>();
                Ok(Some(ids.iter().flatten().collect()))
            }
            Event::Dead(letter) => {
                self.dead.push(letter.place);
                Ok(Some(Vec::new()))
            }
            Event::Idle => Ok(None),
            other => panic!("{other:?}"),
        }
    }

    /// What comes until nothing is left.
    async fn all(&mut self) -> Vec<i64> {
        let mut ids = Vec::new();
        while let Some(more) = self.next().await.unwrap() {
            ids.extend(more);
        }
        ids
    }
}

/// An API that filters by `since`.
async fn filtering(rows: &Rows) -> Api {
    let rows = rows.clone();
    Api::start(move |asked: &Asked| {
        let since = asked.number_param("since").map_or(i64::MIN, |since| since as i64);
        Reply::json(json_of(rows.lock().unwrap().iter().copied().filter(|(_, at)| *at >= since)))
    })
    .await
}

#[tokio::test]
async fn each_row_comes_once_over_rounds_and_restarts_also_where_values_are_equal() {
    let rows = known(&[(1, 10), (2, 20), (3, 20)]);
    let api = filtering(&rows).await;
    let mut open = Open::new(&api.base, options(json!({})), None).await.unwrap();
    assert_eq!(open.all().await, [1, 2, 3]);
    let first = open.position.clone();
    // One with the greatest value that was there already, and one below it that is late for good.
    rows.lock().unwrap().extend([(4, 20), (5, 30), (6, 15)]);
    assert_eq!(open.all().await, [4, 5]);
    let second = open.position.clone();
    drop(open);
    // The same again from where it was not durable, nothing from where it was.
    let mut again = Open::new(&api.base, options(json!({})), first).await.unwrap();
    assert_eq!(again.all().await, [4, 5]);
    let mut again = Open::new(&api.base, options(json!({})), second).await.unwrap();
    assert_eq!(again.all().await, Vec::<i64>::new());
    rows.lock().unwrap().extend([(7, 30), (8, 31)]);
    assert_eq!(again.all().await, [7, 8]);
    let bounds: Vec<_> = api.asked().iter().map(|asked| asked.param("since").map(str::to_owned)).collect();
    assert!(bounds.contains(&None) && bounds.contains(&Some("20".into())) && bounds.contains(&Some("30".into())), "{bounds:?}");
}

#[tokio::test]
async fn an_interrupted_round_goes_on_at_its_next_page() {
    let rows = known(&[(1, 10), (2, 20), (3, 20), (4, 30), (5, 30)]);
    let of = rows.clone();
    // Without a filter: what is below the bound is left out here.
    let api = Api::start(move |asked| {
        let page = asked.number_param("page").unwrap();
        Reply::json(json_of(of.lock().unwrap().iter().copied().skip((page - 1) * 2).take(2)))
    })
    .await;
    let paged = options(json!({"cursor_param": null, "pagination": {"page": {"param": "page", "size": 2, "stop": "short"}}}));
    let mut open = Open::new(&api.base, paged.clone(), None).await.unwrap();
    assert_eq!(open.next().await.unwrap(), Some(vec![1, 2]));
    let inside = open.position.clone();
    drop(open);
    let mut again = Open::new(&api.base, paged.clone(), inside).await.unwrap();
    api.forget();
    assert_eq!(again.all().await, [3, 4, 5]);
    assert_eq!(api.asked()[0].param("page"), Some("2"));
    rows.lock().unwrap().push((6, 30));
    assert_eq!(again.all().await, [6]);
    // Another cursor cannot go on from there.
    let other = options(json!({"cursor": "id"}));
    let error = Open::new(&api.base, other, again.position.clone()).await.err().unwrap();
    assert_eq!(error.code(), "WEIR-HTTP-024");
}

#[tokio::test]
async fn a_page_that_has_not_changed_is_not_read_again() {
    let state = Arc::new(Mutex::new((1, true)));
    let given = state.clone();
    let api = Api::start(move |asked| {
        let (version, tags) = *given.lock().unwrap();
        let tag = format!("\"v{version}\"");
        let reply = if tags && asked.header("if-none-match") == Some(tag.as_str()) {
            Reply::status(304)
        } else {
            Reply::json(json_of((0..version).map(|id| (id, id))))
        };
        if tags { reply.header("etag", tag).header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT") } else { reply }
    })
    .await;
    let whole = options(json!({"cursor": null, "cursor_param": null, "poll": {"every_ms": 1, "whole": true}}));
    let mut open = Open::new(&api.base, whole.clone(), None).await.unwrap();
    assert_eq!(open.all().await, [0]);
    state.lock().unwrap().0 = 3;
    assert_eq!(open.all().await, [0, 1, 2]);
    let asked = api.asked();
    let last = asked.last().unwrap();
    assert_eq!(
        (last.header("if-none-match"), last.header("if-modified-since")),
        (Some("\"v1\""), Some("Thu, 01 Jan 2026 00:00:00 GMT"))
    );
    // Over a restart too, and by the bytes where the server tells no versions.
    for tags in [true, false] {
        state.lock().unwrap().1 = tags;
        let mut again = Open::new(&api.base, whole.clone(), open.position.clone()).await.unwrap();
        assert_eq!(again.all().await, Vec::<i64>::new());
    }
    state.lock().unwrap().0 = 2;
    let mut again = Open::new(&api.base, whole, open.position.clone()).await.unwrap();
    assert_eq!(again.all().await, [0, 1]);
}

#[tokio::test]
async fn a_cursor_that_stands_still_is_asked_for_with_its_version() {
    let api = Api::start(|asked| match asked.header("if-none-match") {
        Some("\"a\"") if asked.param("since") == Some("5") => Reply::status(304),
        _ => Reply::json(json_of([(1, 5)].into_iter())).header("etag", "\"a\""),
    })
    .await;
    let mut open = Open::new(&api.base, options(json!({})), None).await.unwrap();
    assert_eq!(open.all().await, [1]);
    let same = || api.asked().iter().filter(|asked| asked.header("if-none-match").is_some()).count();
    // Nothing is told any more; the rounds go on all the same.
    let asked = async {
        while same() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        more = open.next() => panic!("{more:?}"),
        () = asked => {}
    }
    let all = api.asked();
    // The first question has no bound, and its answer's version says nothing of the second one.
    assert_eq!((all[0].param("since"), all[0].header("if-none-match")), (None, None));
    assert_eq!((all[1].param("since"), all[1].header("if-none-match")), (Some("5"), None));
}

#[tokio::test]
async fn a_broken_record_is_told_once_and_a_server_that_is_busy_is_waited_for() {
    let broken = Arc::new(Mutex::new(json!([{"id": 1, "at": 1}, {"id": "x", "at": 2}])));
    let given = broken.clone();
    let api = Api::start(move |asked| match asked.number % 3 {
        1 => Reply::status(503).header("retry-after", "0"),
        _ => Reply::json(given.lock().unwrap().clone()),
    })
    .await;
    let mut open = Open::new(&api.base, options(json!({})), None).await.unwrap();
    assert_eq!((open.all().await, open.dead.len()), (vec![1], 1));
    *broken.lock().unwrap() = json!([{"id": 1, "at": 1}, {"id": "x", "at": 2}, {"id": "y", "at": 2}, {"id": 3, "at": 3}]);
    assert_eq!((open.all().await, open.dead.len()), (vec![3], 2));
    let mut again = Open::new(&api.base, options(json!({})), open.position.clone()).await.unwrap();
    assert_eq!((again.all().await, again.dead.len()), (vec![], 0));
}

#[tokio::test]
async fn what_cannot_be_asked_again_and_again_is_refused() {
    for (more, why) in [
        (json!({"cursor": null}), "without a `cursor`"),
        (json!({"poll": {"whole": true}}), "exclude each other"),
        (json!({"cursor": null, "poll": {"whole": true}, "pagination": "link_header"}), "one page"),
        (json!({"poll": {"every_ms": 0}}), "never pause"),
        (json!({"pagination": {"page": {"param": "page"}}}), "pages without a size"),
        (json!({"lag": "5m"}), "`lag`"),
        (json!({"query_params": {"since": "${last_run_time}"}}), "no last run"),
    ] {
        let error = Open::new("http://127.0.0.1:9", options(more), None).await.err().unwrap();
        assert!(error.code() == "WEIR-HTTP-001" && error.to_string().contains(why), "{why}: {error}");
    }
}
