//! Servers that lie, storm, break off, and redirect.

use std::io::Write;
use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::{Value, json};
use weir_connect::{Connector, Kind, Retry};

use super::super::HttpConnector;
use super::server::{Api, Reply};
use super::{connection, read_all, read_error};

fn two() -> Value {
    json!([{"id": 1}, {"id": 2}])
}

/// One page, one request: nothing is sampled.
fn plain() -> Value {
    json!({"path": "x", "sample_pages": 0, "columns": {"id": "int64"}})
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_storm_of_429_and_503_is_waited_out() {
    for status in [408, 429, 500, 502, 503, 504] {
        let api = Api::start(move |asked| if asked.number < 4 { Reply::status(status) } else { Reply::json(two()) }).await;
        let read = read_all(connection(&api.base, json!({})), plain()).await.unwrap();
        assert_eq!(read.ids(), [1, 2]);
        assert_eq!(api.asked().len(), 5);
    }
}

#[tokio::test]
async fn a_storm_without_end_is_an_error_that_may_pass_later() {
    let api = Api::start(|_| Reply::bytes("slow down, please").with(429)).await;
    let error = read_error(connection(&api.base, json!({"max_retries": 3})), plain()).await;
    assert_eq!((error.kind(), error.retryable()), (Kind::Limit, Retry::Transient));
    assert_eq!(error.why(), Some("slow down, please"));
    assert_eq!(api.asked().len(), 4);
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    for (status, kind) in [(400, Kind::Data), (401, Kind::Auth), (403, Kind::Privilege), (404, Kind::NotFound), (501, Kind::Data)]
    {
        let api = Api::start(move |_| Reply::status(status)).await;
        let error = read_error(connection(&api.base, json!({})), plain()).await;
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(api.asked().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_in_seconds_and_as_a_date() {
    for as_date in [false, true] {
        let api = Api::start(move |asked| {
            if asked.number > 0 {
                return Reply::json(two());
            }
            let now = Utc::now();
            // By the server's own clock, which is an hour ahead.
            let there = now + chrono::Duration::hours(1);
            let http = |moment: chrono::DateTime<Utc>| moment.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let after = if as_date { http(there + chrono::Duration::seconds(1)) } else { "1".to_owned() };
            Reply::status(429).header("retry-after", after).header("date", http(there))
        })
        .await;
        let read = read_all(connection(&api.base, json!({})), plain()).await.unwrap();
        assert_eq!(read.ids(), [1, 2]);
        let asked = api.asked();
        let waited = asked[1].at - asked[0].at;
        assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(10), "{waited:?}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_too_long_a_wait_ends_the_run_at_once() {
    let api = Api::start(|_| Reply::status(503).header("retry-after", "3600")).await;
    let begin = Instant::now();
    let error = read_error(connection(&api.base, json!({"max_retry_wait_secs": 5})), plain()).await;
    assert_eq!(error.retryable(), Retry::After(Duration::from_secs(3600)));
    assert!(error.advice().unwrap().contains("3600 s"));
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn requests_keep_the_distance_of_the_rate_limit() {
    let api = Api::start(|asked| {
        Reply::json(json!({"items": if asked.number < 6 { json!([{"id": asked.number}]) } else { json!([]) }}))
    })
    .await;
    let options = json!({
        "path": "x", "records": "items", "rate_limit_per_second": 20, "sample_pages": 0, "columns": {"id": "int64"}, "pagination": {"page": {}}
    });
    assert_eq!(read_all(connection(&api.base, json!({})), options).await.unwrap().ids(), [0, 1, 2, 3, 4, 5]);
    let asked = api.asked();
    let span = asked[asked.len() - 1].at - asked[0].at;
    // Six distances of 50 ms; a little less may be seen because the way to the server is not always equally long.
    assert!(span >= Duration::from_millis(290), "{span:?}");
}

#[tokio::test]
async fn a_connection_cut_in_the_body_is_tried_again_and_never_a_short_page() {
    let api = Api::start(|asked| if asked.number < 2 { Reply::json(two()).cut() } else { Reply::json(two()) }).await;
    assert_eq!(read_all(connection(&api.base, json!({})), plain()).await.unwrap().ids(), [1, 2]);
    assert_eq!(api.asked().len(), 3);

    let api = Api::start(|_| Reply::bytes("{\"id\": 1}\n{\"id\": 2}\n").cut()).await;
    let mut options = plain();
    options["format"] = json!("ndjson");
    let error = read_error(connection(&api.base, json!({"max_retries": 1})), options).await;
    assert_eq!((error.kind(), error.retryable()), (Kind::Connect, Retry::Transient));
}

#[tokio::test]
async fn a_server_that_hangs_or_hangs_up_is_a_connect_error() {
    // Nobody accepts: the connection is made by the kernel and then nothing comes.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", silent.local_addr().unwrap());
    let error = read_error(connection(&base, json!({"timeout_secs": 0.1, "max_retries": 1})), plain()).await;
    assert_eq!((error.kind(), error.retryable()), (Kind::Connect, Retry::Transient));
    assert!(error.what().contains("in time"), "{error}");

    let rude = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", rude.local_addr().unwrap());
    let task = tokio::spawn(async move { while rude.accept().await.is_ok() {} });
    let error = read_error(connection(&base, json!({"max_retries": 1})), plain()).await;
    task.abort();
    assert_eq!((error.kind(), error.retryable()), (Kind::Connect, Retry::Transient));
}

#[tokio::test]
async fn gzip_is_believed_by_its_bytes_not_by_its_header() {
    let zipped = gzip(two().to_string().as_bytes());
    let honest = zipped.clone();
    let silent = zipped.clone();
    type Handler = Box<dyn Fn() -> Reply + Send + Sync>;
    let handlers: Vec<Handler> = vec![
        Box::new(move || Reply::bytes(honest.clone()).header("content-encoding", "gzip")),
        Box::new(|| Reply::json(two()).header("content-encoding", "gzip")),
        Box::new(move || Reply::bytes(silent.clone()).header("content-type", "application/json")),
    ];
    for handler in handlers {
        let api = Api::start(move |_| handler()).await;
        assert_eq!(read_all(connection(&api.base, json!({})), plain()).await.unwrap().ids(), [1, 2]);
        assert_eq!(api.asked()[0].header("accept-encoding"), Some("gzip"));
    }
    let cut = zipped[..zipped.len() - 4].to_vec();
    let api = Api::start(move |_| Reply::bytes(cut.clone()).header("content-encoding", "gzip")).await;
    let error = read_error(connection(&api.base, json!({"max_retries": 1})), plain()).await;
    assert_eq!(error.code(), "WEIR-HTTP-008");
    let api = Api::start(|_| Reply::bytes("x").header("content-encoding", "br")).await;
    assert_eq!(read_error(connection(&api.base, json!({})), plain()).await.kind(), Kind::Unsupported);
}

#[tokio::test]
async fn a_compressed_bomb_and_a_huge_page_stay_within_the_bound() {
    let bomb = gzip(&vec![b' '; 50 << 20]);
    let api = Api::start(move |_| Reply::bytes(bomb.clone())).await;
    let error = read_error(connection(&api.base, json!({"max_response_bytes": 1_000_000})), plain()).await;
    assert_eq!(error.kind(), Kind::Limit);
    let api = Api::start(|_| Reply::bytes(vec![b' '; 2_000_000])).await;
    let error = read_error(connection(&api.base, json!({"max_response_bytes": 1_000_000})), plain()).await;
    assert_eq!(error.kind(), Kind::Limit);
}

/// Every kind of credentials, and a header that may be one.
fn credentials(token_url: &str) -> Vec<Value> {
    vec![
        json!({"bearer": {"token": "s3cret"}}),
        json!({"basic": {"user": "u", "password": "s3cret"}}),
        json!({"api_key": {"name": "X-Key", "value": "s3cret"}}),
        json!({"api_key": {"name": "k", "value": "s3cret", "in": "query"}}),
        json!({"oauth2_client_credentials": {"token_url": token_url, "client_id": "c", "client_secret": "s3cret"}}),
    ]
}

fn betrays(text: &str) -> bool {
    ["s3cret", "dTpzM2NyZXQ=", "t0ken"].iter().any(|secret| text.contains(secret))
}

#[tokio::test]
async fn no_other_host_ever_sees_a_credential() {
    let tokens = Api::start(|_| Reply::json(json!({"access_token": "t0ken", "expires_in": 3600}))).await;
    for way in ["redirect", "link", "next_url"] {
        for auth in credentials(&tokens.base) {
            let other = Api::start(|_| Reply::json(json!({"items": [{"id": 2}]}))).await;
            let there = format!("{}/elsewhere", other.base);
            let api = Api::start(move |asked| {
                let allowed = asked.headers.iter().chain(&asked.query).any(|(_, value)| betrays(value));
                if !allowed {
                    return Reply::status(401);
                }
                match way {
                    "redirect" => Reply::status(302).header("location", &*there),
                    "link" => Reply::json(json!({"items": [{"id": 1}]})).header("link", format!("<{there}>; rel=next")),
                    _ => Reply::json(json!({"items": [{"id": 1}], "next": there})),
                }
            })
            .await;
            let mut options = plain();
            options["records"] = json!("items");
            options["headers"] = json!({"X-Session": "s3cret-session"});
            options["pagination"] = match way {
                "redirect" => json!("none"),
                "link" => json!("link_header"),
                _ => json!({"next_url": {"path": "next"}}),
            };
            let with = connection(&api.base, json!({"auth": auth, "headers": {"X-Team": "s3cret-team"}}));
            let read = read_all(with, options).await.unwrap();
            assert_eq!(read.ids(), if way == "redirect" { vec![2] } else { vec![1, 2] });
            let seen = other.asked();
            assert_eq!(seen.len(), 1);
            assert!(!betrays(&format!("{seen:?}")), "{way} {auth}: {seen:?}");
            let positions = format!("{:?}", read.batches.iter().map(|(_, position)| position).collect::<Vec<_>>());
            assert!(!betrays(&positions), "{positions}");
        }
    }
}

#[tokio::test]
async fn no_error_text_shows_a_credential() {
    let tokens = Api::start(|_| Reply::json(json!({"access_token": "t0ken"}))).await;
    for auth in credentials(&tokens.base) {
        for status in [401, 404, 429, 500] {
            let api = Api::start(move |_| Reply::status(status)).await;
            let error = read_error(connection(&api.base, json!({"auth": auth, "max_retries": 0})), plain()).await;
            let told = format!("{error:?} {}", serde_json::to_string(&error.to_json()).unwrap());
            assert!(!betrays(&told), "{told}");
        }
    }
}

#[tokio::test]
async fn a_post_is_not_sent_to_another_host() {
    let other = Api::start(|_| Reply::json(two())).await;
    let there = other.base.clone();
    let api = Api::start(move |_| Reply::status(307).header("location", &*there)).await;
    let mut options = plain();
    options["method"] = json!("POST");
    options["body"] = json!({"password": "s3cret"});
    let error = read_error(connection(&api.base, json!({})), options).await;
    assert_eq!(error.code(), "WEIR-HTTP-005");
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn redirects_that_go_round_end() {
    let api = Api::start(|_| Reply::status(302).header("location", "/x")).await;
    assert_eq!(read_error(connection(&api.base, json!({})), plain()).await.code(), "WEIR-HTTP-005");
    assert!(api.asked().len() < 20);
}

#[tokio::test]
async fn an_oauth_token_is_renewed_when_it_is_refused_and_when_it_expires() {
    for (expires_in, expected_tokens) in [(json!(3600), 3), (json!("0"), 9)] {
        let tokens = Api::start(move |asked| {
            let basic = asked.header("authorization") == Some("Basic YSUyRmI6cyUzQTE=");
            let body = String::from_utf8(asked.body.to_vec()).unwrap();
            if !basic || body != "grant_type=client_credentials&scope=read+all" {
                return Reply::status(401);
            }
            Reply::json(json!({"access_token": format!("t{}", asked.number), "expires_in": expires_in, "token_type": "Bearer"}))
        })
        .await;
        // Each token is good for three requests, then the server forgets it.
        let uses = std::sync::Mutex::new(std::collections::BTreeMap::<String, u32>::new());
        let api = Api::start(move |asked| {
            let token = asked.header("authorization").unwrap().to_owned();
            let mut uses = uses.lock().unwrap();
            let used = uses.entry(token).or_default();
            *used += 1;
            if *used > 3 {
                return Reply::status(401);
            }
            let page = asked.number_param("page").unwrap();
            Reply::json(json!({"items": if page <= 8 { json!([{"id": page}]) } else { json!([]) }}))
        })
        .await;
        let oauth = json!({"token_url": tokens.base, "client_id": "a/b", "client_secret": "s:1", "scope": "read all"});
        let mut options = plain();
        options["records"] = json!("items");
        options["pagination"] = json!({"page": {}});
        let with = connection(&api.base, json!({"auth": {"oauth2_client_credentials": oauth}}));
        let read = read_all(with, options).await.unwrap();
        assert_eq!(read.ids(), (1..=8).collect::<Vec<_>>());
        assert_eq!(tokens.asked().len(), expected_tokens);
    }
}

#[tokio::test]
async fn a_wrong_oauth_secret_is_an_auth_error_and_a_refused_fresh_token_too() {
    let tokens = Api::start(|asked| {
        let good = String::from_utf8_lossy(&asked.body).contains("client_secret=good");
        if good { Reply::json(json!({"access_token": "t"})) } else { Reply::json(json!({"error": "invalid_client"})).with(400) }
    })
    .await;
    let api = Api::start(|_| Reply::status(401)).await;
    for (secret, why) in [("bad", "invalid_client"), ("good", "")] {
        let oauth = json!({"token_url": tokens.base, "client_id": "c", "client_secret": secret, "client_auth": "body"});
        let with = connection(&api.base, json!({"auth": {"oauth2_client_credentials": oauth}}));
        let error = read_error(with, plain()).await;
        assert_eq!(error.kind(), Kind::Auth);
        assert!(error.why().unwrap_or("").contains(why), "{error:?}");
    }
    // One try, one renewal, no more.
    assert_eq!(api.asked().len(), 2);
}

#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let api = Api::start(|_| Reply::json(json!({"error": {"message": "no such account"}, "items": []}))).await;
    let mut options = plain();
    options["records"] = json!("items");
    options["error_path"] = json!("error.message");
    let error = read_error(connection(&api.base, json!({})), options.clone()).await;
    assert_eq!(error.code(), "WEIR-HTTP-015");
    assert!(error.why().unwrap().contains("no such account"));

    let api = Api::start(|_| Reply::json(json!({"error": null, "items": two()}))).await;
    assert_eq!(read_all(connection(&api.base, json!({})), options).await.unwrap().ids(), [1, 2]);
}

#[tokio::test]
async fn what_is_not_the_expected_json_is_an_error_with_a_glimpse_of_it() {
    let cases = [
        (
            Reply::bytes("<html><title>Log in</title>").header("content-type", "text/html; charset=utf-8"),
            "WEIR-HTTP-019",
            "Log in",
        ),
        (Reply::json(json!({"message": "quota exceeded"})), "WEIR-HTTP-016", "quota exceeded"),
        (Reply::bytes("{\"items\": [{\"id\": 1}, {\"id\""), "WEIR-HTTP-020", "ends too early"),
        (Reply::bytes("{\"items\": [{\"id\": 1}]} trailing"), "WEIR-HTTP-020", "follows the document"),
        (Reply::bytes(""), "WEIR-HTTP-020", "ends too early"),
        (Reply::bytes("Service temporarily down"), "WEIR-HTTP-020", "Service temporarily down"),
    ];
    for (reply, code, glimpse) in cases {
        let reply = std::sync::Mutex::new(Some(reply));
        let api = Api::start(move |_| reply.lock().unwrap().take().unwrap()).await;
        let mut options = plain();
        options["records"] = json!("items");
        let error = read_error(connection(&api.base, json!({})), options).await;
        assert_eq!(error.code(), code);
        assert!(error.to_string().contains(glimpse), "{error}");
    }
}

#[tokio::test]
async fn null_and_no_content_are_empty_pages() {
    for reply in [|| Reply::json(json!({"items": null})), || Reply::json(json!({"items": []})), || Reply::status(204)] {
        let api = Api::start(move |_| reply()).await;
        let mut options = plain();
        options["records"] = json!("items");
        assert!(read_all(connection(&api.base, json!({})), options).await.unwrap().ids().is_empty());
    }
}

#[tokio::test]
async fn records_that_do_not_fit_the_sample_are_dead_letters_with_their_bytes() {
    let pages = [
        r#"{"items": [{"id": 1, "price": 1}, {"id": 2, "price": 2.5}]}"#,
        r#"{"items": [{"id": 3, "price": 3}]}"#,
        r#"{"items": [{"id": "four", "price": 1}, {"id": 5, "price": 5, "new": true}, {"id": 6,  "price": 9007199254740993}, {"id": 7}]}"#,
        r#"{"items": [{"id": 8, "price": 0.12345678901234567890}]}"#,
        r#"{"items": []}"#,
    ];
    let api = Api::start(move |asked| Reply::bytes(pages[asked.number_param("page").unwrap() - 1])).await;
    let options = json!({"path": "x", "records": "items", "sample_pages": 2, "pagination": {"page": {}}});
    let read = read_all(connection(&api.base, json!({})), options.clone()).await.unwrap();
    assert_eq!(read.ids(), [1, 2, 3, 7]);
    let dead: Vec<_> = read.dead.iter().map(|letter| String::from_utf8(letter.payload.clone()).unwrap()).collect();
    assert_eq!(
        dead,
        [
            r#"{"id": "four", "price": 1}"#,
            r#"{"id": 5, "price": 5, "new": true}"#,
            r#"{"id": 6,  "price": 9007199254740993}"#,
            r#"{"id": 8, "price": 0.12345678901234567890}"#
        ]
    );
    assert!(read.dead[0].place.ends_with("page 3 record 1"), "{}", read.dead[0].place);
    assert!(read.dead[1].reason.contains("`new`"));
    // The page of which nothing is left still moves the position.
    assert_eq!(read.batches.len(), 4);
    assert!(read.batches[3].1.is_some());

    let mut tolerant = options;
    tolerant["unknown_keys"] = json!("ignore");
    assert_eq!(read_all(connection(&api.base, json!({})), tolerant).await.unwrap().ids(), [1, 2, 3, 5, 7]);
}

#[tokio::test]
async fn an_endpoint_without_records_and_without_columns_says_what_to_do() {
    let api = Api::start(|_| Reply::json(json!([]))).await;
    let error = read_error(connection(&api.base, json!({})), json!({"path": "x"})).await;
    assert_eq!(error.kind(), Kind::Schema);
    assert!(error.advice().unwrap().contains("columns"));
}

#[tokio::test]
async fn a_connection_check_tells_reach_from_credentials() {
    let api =
        Api::start(
            |asked| {
                if asked.header("authorization") == Some("Bearer good") { Reply::status(404) } else { Reply::status(401) }
            },
        )
        .await;
    let connector = HttpConnector::default();
    let check = async |token: &str, base: &str| {
        let report = connector.check(&connection(base, json!({"auth": {"bearer": {"token": token}}}))).await.unwrap();
        report.items.iter().map(|item| (item.name.clone(), item.ok)).collect::<Vec<_>>()
    };
    assert_eq!(check("good", &api.base).await, [("reach".to_owned(), true), ("auth".to_owned(), true)]);
    assert_eq!(check("bad", &api.base).await, [("reach".to_owned(), true), ("auth".to_owned(), false)]);
    assert_eq!(check("good", "http://127.0.0.1:1").await, [("reach".to_owned(), false)]);
}
