//! Lower bounds: bound as values, left out of a first run, checked on our side where the API cannot.

use serde_json::{Value, json};
use weir_connect::{CursorWindow, Kind, ReadRequest, Resume, ResumeVerdict};

use super::server::{Api, Reply};
use super::{connection, drain, source};

fn window(column: &str, lower: Option<&str>) -> Option<CursorWindow> {
    Some(CursorWindow { column: column.into(), lower: lower.map(str::to_owned) })
}

fn request(cursor: Option<CursorWindow>, last_run_time: Option<&str>) -> ReadRequest {
    ReadRequest { stream: "x".into(), cursor, last_run_time: last_run_time.map(str::to_owned), ..ReadRequest::default() }
}

#[tokio::test]
async fn bounds_are_bound_as_encoded_values_and_never_spliced() {
    let api = Api::start(|_| Reply::json(json!([{"id": 1, "at": "z"}]))).await;
    let nasty = "2024-01-01T00:00:00+02:00&admin=1#\"}";
    let options = json!({
        "path": "x", "method": "POST", "cursor": "at", "cursor_param": "since", "columns": {"id": "int64", "at": "text"}, "sample_pages": 0,
        "query_params": {"q": "at > ${cursor}", "run": "${last_run_time}", "many": [1, "${cursor}"]},
        "body": {"where": [{"at": "${cursor}"}], "run": "${last_run_time}", "n": 5}
    });
    let source = source(connection(&api.base, json!({})), options).await.unwrap();
    let reader = source.open(request(window("at", Some(nasty)), Some("2024-05-05T05:05:05Z"))).await.unwrap();
    drain(reader.as_ref(), None).await.unwrap();
    let asked = api.asked().remove(0);
    let pairs: Vec<_> = asked.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let spelled = format!("at > {nasty}");
    assert_eq!(
        pairs,
        [("q", spelled.as_str()), ("run", "2024-05-05T05:05:05Z"), ("many", "1"), ("many", nasty), ("since", nasty)]
    );
    assert_eq!(asked.json(), json!({"where": [{"at": nasty}], "run": "2024-05-05T05:05:05Z", "n": 5}));
}

#[tokio::test]
async fn a_first_run_leaves_the_bound_out_or_takes_the_initial_one() {
    let api = Api::start(|_| Reply::json(json!([{"id": 1, "at": "z"}]))).await;
    for (initial, expected) in [
        (Value::Null, vec![("run", "1970-01-01T00:00:00Z")]),
        (json!("2020"), vec![("q", "2020"), ("run", "1970-01-01T00:00:00Z"), ("since", "2020")]),
    ] {
        let mut options = json!({
            "path": "x", "cursor": "at", "cursor_param": "since", "columns": {"id": "int64", "at": "text"}, "sample_pages": 0,
            "query_params": {"q": "${cursor}", "run": "${last_run_time}"}
        });
        options["cursor_initial"] = initial;
        let source = source(connection(&api.base, json!({})), options).await.unwrap();
        let reader = source.open(request(window("at", None), None)).await.unwrap();
        api.forget();
        drain(reader.as_ref(), None).await.unwrap();
        let asked = api.asked().remove(0);
        let pairs: Vec<_> = asked.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, expected);
    }
}

#[tokio::test]
async fn where_the_api_cannot_filter_rows_below_the_bound_are_left_out_here() {
    let api = Api::start(|_| {
        Reply::json(json!([
            {"id": 1, "at": "2024-01-01T00:00:00Z"}, {"id": 2, "at": "2024-01-02T01:00:00+01:00"}, {"id": 3, "at": null}, {"id": 4, "at": "2024-01-03T00:00:00Z"}
        ]))
    })
    .await;
    let options = json!({"path": "x", "cursor": "at", "columns": {"at": "timestamptz"}});
    let source = source(connection(&api.base, json!({})), options).await.unwrap();
    for (lower, ids) in
        [(None, vec![1, 2, 3, 4]), (Some("2024-01-02T00:00:00Z"), vec![2, 4]), (Some("2025-01-01T00:00:00Z"), vec![])]
    {
        let reader = source.open(request(window("at", lower), None)).await.unwrap();
        assert_eq!(drain(reader.as_ref(), None).await.unwrap().ids(), ids, "{lower:?}");
    }
    let Err(error) = source.open(request(window("nope", None), None)).await else { panic!() };
    assert_eq!(error.kind(), Kind::Schema);
}

#[tokio::test]
async fn the_time_of_the_view_is_the_servers_and_survives_a_resume() {
    let api = Api::start(|_| Reply::json(json!([{"id": 1}])).header("date", "Thu, 01 Jan 2026 10:00:00 GMT")).await;
    let make = || source(connection(&api.base, json!({})), json!({"path": "x"}));
    let first = make().await.unwrap();
    let reader = first.open(request(None, None)).await.unwrap();
    assert_eq!(reader.as_of().as_deref(), Some("2026-01-01T10:00:00Z"));
    let mut state = reader.state();
    state["as_of"] = json!("2025-12-31T23:00:00Z");
    let resume = Some(Resume { reader_state: state, progress: Vec::new() });
    let again = make().await.unwrap().open(ReadRequest { resume, ..request(None, None) }).await.unwrap();
    assert_eq!(again.as_of().as_deref(), Some("2025-12-31T23:00:00Z"));
}

#[tokio::test]
async fn a_resume_with_other_columns_or_bounds_starts_over() {
    let api = Api::start(|_| Reply::json(json!([{"id": 1}]))).await;
    let options = json!({"path": "x"});
    let first = source(connection(&api.base, json!({})), options.clone()).await.unwrap();
    let reader = first.open(request(None, None)).await.unwrap();
    let resume = |reader_state| Some(Resume { reader_state, progress: Vec::new() });
    let state = reader.state();
    let again = first.open(ReadRequest { resume: resume(state.clone()), ..request(None, None) }).await.unwrap();
    assert_eq!(again.verdict(), ResumeVerdict::Continued);
    let moved =
        first.open(ReadRequest { resume: resume(state.clone()), ..request(None, Some("2024-01-01T00:00:00Z")) }).await.unwrap();
    assert!(matches!(moved.verdict(), ResumeVerdict::StartOver { .. }));
    let mut other = options;
    other["columns"] = json!({"id": "decimal(10,0)"});
    let other = source(connection(&api.base, json!({})), other).await.unwrap();
    let reader = other.open(ReadRequest { resume: resume(state), ..request(None, None) }).await.unwrap();
    assert!(matches!(reader.verdict(), ResumeVerdict::StartOver { .. }));
}
