//! APIs that fail, cut, lie and never end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use weir_testkit::{HttpFixture, Recorded, Reply};

use crate::harness::Folder;
use crate::scene::{csv_rows, nothing_visible, run};

const PAGES: usize = 5;
const SIZE: usize = 10;

/// Page `number` of the numbers; behind the last one there is nothing.
fn page(number: usize) -> Reply {
    let ids = if number > PAGES { 0..0 } else { (number - 1) * SIZE..number * SIZE };
    Reply::json(json!({"data": ids.map(|id| json!({"id": id, "name": format!("n{id}")})).collect::<Vec<_>>()}))
}

fn number(request: &Recorded) -> usize {
    request.param("page").unwrap().parse().unwrap()
}

/// An API whose page 3, which no plan looks at, is answered by `bad` until it is mended.
fn api(bad: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static) -> (Folder, HttpFixture, Arc<AtomicBool>) {
    let (folder, server, mended) = (Folder::new(), HttpFixture::start().unwrap(), Arc::new(AtomicBool::new(false)));
    let (asked, good) = (AtomicUsize::new(0), mended.clone());
    server.handle("/items", move |request| match number(request) {
        3 if !good.load(Ordering::SeqCst) => bad(asked.fetch_add(1, Ordering::SeqCst)).unwrap_or_else(|| page(3)),
        other => page(other),
    });
    pipeline(&folder, &server, "pagination: {page: {}}");
    (folder, server, mended)
}

fn pipeline(folder: &Folder, server: &HttpFixture, options: &str) {
    folder.write(
        "items.yaml",
        format!(
            "pipeline: items\nsource:\n  http: {{url: \"{}/items\", records: data, max_retries: 2, retry_base_ms: 1, {options}}}\n\
             sink:\n  file: {{path: lake/items, format: csv, write_mode: append}}\n",
            server.url()
        ),
    );
}

#[track_caller]
fn is_exact(folder: &Folder) {
    let mut expected: Vec<String> = (0..PAGES * SIZE).map(|id| format!("{id},n{id}")).collect();
    expected.sort();
    assert_eq!(csv_rows(folder, "items"), expected);
}

/// The run fails with this, shows nothing, and is exact after the API was mended.
#[track_caller]
fn fails_then_is_exact(bad: Reply, exit: i32, error: &str, kind: &str) {
    let (folder, _server, mended) = api(move |_| Some(bad.clone()));
    run(&folder, &["items.yaml"]).failed(exit, error, kind).says(&["/items?page=3"]);
    nothing_visible(&folder);
    mended.store(true, Ordering::SeqCst);
    run(&folder, &["items.yaml"]).wrote(50);
    is_exact(&folder);
}

#[test]
fn an_api_that_fails_twice_is_asked_again_and_doubles_nothing() {
    let (folder, server, _) = api(|asked| (asked < 2).then(|| Reply::status(500)));
    run(&folder, &["items.yaml"]).wrote(50);
    is_exact(&folder);
    let third = server.requests().iter().filter(|request| number(request) == 3).count();
    assert_eq!(third, 3);
}

#[test]
fn an_api_that_fails_for_good_fails_the_run_and_the_next_is_exact() {
    fails_then_is_exact(Reply::status(500), 1, "WEIR-HTTP-009", "data");
}

#[test]
fn an_api_that_is_not_available_is_exit_code_3() {
    fails_then_is_exact(Reply::status(503), 3, "WEIR-HTTP-009", "connect");
}

#[test]
fn a_body_that_breaks_off_is_never_taken_for_the_whole() {
    // Whole JSON could be cut so that it is still JSON: the length that was announced counts.
    let whole = json!({"data": [{"id": 20, "name": "n20"}]}).to_string();
    let announced = whole.len() as u64 + 500;
    let cut = Reply::status(200).header("content-type", "application/json").body(whole).truncated(announced);
    fails_then_is_exact(cut, 3, "WEIR-HTTP-006", "connect");
}

#[test]
fn json_that_ends_in_the_middle_although_the_response_is_whole_is_told() {
    fails_then_is_exact(Reply::text(r#"{"data":[{"id":20,"name":"n20"},{"id":21,"#), 1, "WEIR-HTTP-020", "data");
}

#[test]
fn what_is_no_json_is_told_with_its_beginning() {
    let (folder, _server, _) = api(|_| Some(Reply::text("{'data': oops}")));
    run(&folder, &["items.yaml"]).failed(1, "WEIR-HTTP-020", "data").says(&["{'data': oops}"]);
    nothing_visible(&folder);
    let html = Reply::status(200).header("content-type", "text/html").body("<h1>Log in</h1>");
    fails_then_is_exact(html, 1, "WEIR-HTTP-019", "data");
}

#[test]
fn an_error_with_status_200_is_not_the_end_of_the_pages() {
    fails_then_is_exact(Reply::json(json!({"error": {"message": "quota"}})), 1, "WEIR-HTTP-016", "data");
}

#[test]
fn nesting_without_end_does_not_end_the_program() {
    let deep = format!("{{\"data\":[{{\"id\":20,\"name\":{}1{}}}]}}", "[".repeat(100_000), "]".repeat(100_000));
    let (folder, _server, _) = api(move |_| Some(Reply::json(serde_json::Value::Null).body(deep.clone())));
    let ran = run(&folder, &["items.yaml"]);
    // As a broken page or as one dead letter: either is right, an abort or a row is not.
    assert!(matches!(ran.code, 1 | 4), "exit code {}: {}", ran.code, ran.err);
    assert!(!csv_rows(&folder, "items").iter().any(|row| row.contains("[[")));
}

#[test]
fn credentials_that_expire_in_the_middle_are_exit_code_3() {
    fails_then_is_exact(Reply::status(401), 3, "WEIR-HTTP-003", "auth");
}

#[test]
fn a_next_address_that_leads_to_itself_is_noticed() {
    let (folder, server) = (Folder::new(), HttpFixture::start().unwrap());
    let url = server.url();
    // Other bytes each time, the same address: nothing but the address can give it away.
    let count = AtomicUsize::new(0);
    server.handle("/items", move |_| {
        let id = count.fetch_add(1, Ordering::SeqCst);
        Reply::json(json!({"data": [{"id": id, "name": "n"}], "next": format!("{url}/items?page=2")}))
    });
    pipeline(&folder, &server, "pagination: {next_url: {path: next}}");
    run(&folder, &["items.yaml"]).failed(1, "WEIR-HTTP-018", "data").says(&["leads back"]);
    nothing_visible(&folder);
    assert!(server.requests().len() < 10, "{}", server.requests().len());
}

#[test]
fn pages_that_repeat_are_noticed() {
    let (folder, server) = (Folder::new(), HttpFixture::start().unwrap());
    server.on("/items", page(1));
    pipeline(&folder, &server, "pagination: {page: {}}");
    run(&folder, &["items.yaml"]).failed(1, "WEIR-HTTP-018", "data").says(&["same page again and again", "stop: short"]);
    nothing_visible(&folder);
}

#[test]
fn pages_without_end_stop_at_the_limit() {
    let (folder, server) = (Folder::new(), HttpFixture::start().unwrap());
    server.handle("/items", |request| {
        let page = number(request);
        Reply::json(json!({"data": [{"id": page, "name": "n"}]}))
    });
    pipeline(&folder, &server, "pagination: {page: {}}, max_pages: 40");
    run(&folder, &["items.yaml"]).failed(1, "WEIR-HTTP-014", "limit").says(&["more than 40 pages", "max_pages"]);
    nothing_visible(&folder);
    let most = server.requests().iter().map(number).max();
    assert_eq!(most, Some(40));
}

#[test]
fn https_to_a_server_that_speaks_http_is_exit_code_3() {
    let (folder, server) = (Folder::new(), HttpFixture::start().unwrap());
    let url = server.url().replace("http://", "https://");
    folder.write(
        "items.yaml",
        format!(
            "pipeline: items\nsource:\n  http: {{url: \"{url}/items\", max_retries: 0}}\nsink:\n  file: {{path: lake/items}}\n"
        ),
    );
    run(&folder, &["items.yaml"]).failed(3, "WEIR-HTTP-002", "connect").says(&["secure connection", "http://"]);
    nothing_visible(&folder);
}

#[test]
fn a_sink_that_refuses_rows_fails_the_run_and_is_not_asked_for_ever() {
    let (folder, server) = (Folder::new(), HttpFixture::start().unwrap());
    server.on("/in", Reply::status(422).body("{\"error\":\"name is too long\"}"));
    folder.write("in.csv", "id,name\n1,a\n2,b\n");
    folder.write(
        "push.yaml",
        format!("pipeline: push\nsource:\n  file: {{path: in.csv}}\nsink:\n  http: {{url: \"{}/in\"}}\n", server.url()),
    );
    run(&folder, &["push.yaml"]).failed(1, "WEIR-HTTP-013", "data").says(&["name is too long"]);
    assert_eq!(server.requests().len(), 1);

    server.on("/in", Reply::status(200));
    run(&folder, &["push.yaml"]).wrote(2);
    let sent: Vec<serde_json::Value> = server.requests()[1..].iter().map(|request| request.json().unwrap()).collect();
    assert_eq!(sent, [json!([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])]);
}
