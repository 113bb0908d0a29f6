//! Server-sent events: a run's log, a tenant's events.

use std::time::Duration;

use chrono::Utc;
use futures::StreamExt;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use weir_store::model::{EdgeCounts, Lease, NewLogLine, NodeCounts, Outcome, RunStatus, StreamCounts};

use crate::harness::{OURS, Server, expect};

/// Frames of a stream, as they come.
struct Frames {
    answer: futures::stream::BoxStream<'static, reqwest::Result<axum::body::Bytes>>,
    rest: String,
}

#[derive(Debug, Default, PartialEq)]
struct Frame {
    id: Option<i64>,
    event: String,
    data: Value,
}

impl Frames {
    fn of(answer: Response) -> Self {
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer: answer.bytes_stream().boxed(), rest: String::new() }
    }

    /// The next frame; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.rest.split_once("\n\n") {
                let (frame, rest) = (frame.to_owned(), rest.to_owned());
                self.rest = rest;
                let mut out = Frame::default();
                for line in frame.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => out.id = id.parse().ok(),
                        Some(("event", event)) => out.event = event.to_owned(),
                        Some(("data", data)) => out.data = serde_json::from_str(data).unwrap(),
                        _ => assert!(line.starts_with(':'), "{line}"),
                    }
                }
                if out != Frame::default() {
                    return Some(out);
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.answer.next()).await.expect("a frame within 20 s");
            self.rest.push_str(std::str::from_utf8(&chunk?.ok()?).unwrap());
        }
    }
}

fn line(message: &str) -> NewLogLine {
    NewLogLine { at: Utc::now(), level: "info".into(), message: message.into(), event: None }
}

async fn running(server: &Server) -> (String, Lease) {
    let job = server.job(OURS, "logged").await;
    let run =
        expect(server.post(&format!("/api/v1/jobs/{job}/run"), &json!({})).send().await.unwrap(), StatusCode::ACCEPTED).await;
    let claimed = server.platform.store.system().claim_run("w", Duration::from_secs(60)).await.unwrap().unwrap();
    (run["id"].as_str().unwrap().to_owned(), claimed.lease)
}

#[tokio::test]
async fn a_log_is_followed_live_resumed_and_ended() {
    let server = Server::start().await;
    let (run, lease) = running(&server).await;
    let system = server.platform.store.system();
    system.progress(&lease, vec![], vec![line("one"), line("two\nwith a second line: not a new frame")]).await.unwrap();
    let path = format!("/api/v1/runs/{run}/logs");
    let follow = |after: Option<i64>| {
        let request = server.get(&path).header("accept", "text/event-stream");
        match after {
            Some(after) => request.header("last-event-id", after.to_string()),
            None => request,
        }
    };
    let mut live = Frames::of(follow(None).send().await.unwrap());
    let now = live.next().await.unwrap();
    assert_eq!((now.id, now.event.as_str(), &now.data["status"]), (None, "run", &json!("running")));
    let first = live.next().await.unwrap();
    assert_eq!((first.id, first.event.as_str(), &first.data["message"]), (Some(1), "log", &json!("one")));
    assert_eq!(live.next().await.unwrap().data["message"], "two\nwith a second line: not a new frame");

    let mut resumed = Frames::of(follow(Some(1)).send().await.unwrap());
    assert_eq!(resumed.next().await.unwrap().event, "run");
    assert_eq!(resumed.next().await.unwrap().id, Some(2));

    let counts = StreamCounts { name: "orders".into(), rows_read: 7, ..StreamCounts::default() };
    system.progress(&lease, vec![counts], vec![line("three")]).await.unwrap();
    for stream in [&mut live, &mut resumed] {
        let now = stream.next().await.unwrap();
        assert_eq!((now.event.as_str(), &now.data["streams"][0]["rows_read"]), ("run", &json!(7)));
        assert_eq!(stream.next().await.unwrap().id, Some(3));
    }
    let outcome =
        Outcome { status: RunStatus::Succeeded, retry_at: None, streams: vec![], report: None, error: None, resources: None };
    system.finish(&lease, outcome).await.unwrap();
    for stream in [&mut live, &mut resumed] {
        assert_eq!(stream.next().await.unwrap().data["status"], "succeeded");
        assert_eq!(stream.next().await.unwrap().event, "end");
        assert_eq!(stream.next().await, None);
    }

    let json = expect(server.get(&format!("{path}?after=1&limit=1")).send().await.unwrap(), StatusCode::OK).await;
    assert_eq!((&json["items"][0]["seq"], &json["next_after"], &json["run_status"]), (&json!(2), &json!(2), &json!("succeeded")));
    server.stop().await;
}

#[tokio::test]
async fn the_edges_of_a_run_are_answered_and_followed() {
    let server = Server::start().await;
    let (run, lease) = running(&server).await;
    let system = server.platform.store.system();
    let path = format!("/api/v1/runs/{run}/graph");
    let graph = expect(server.get(&path).send().await.unwrap(), StatusCode::OK).await;
    let (from, to) = (graph["graph"]["edges"][0]["from"].clone(), graph["graph"]["edges"][0]["to"].clone());
    assert_eq!((&graph["counts"]["run_status"], &graph["counts"]["edges"][0]["rows"]), (&json!("running"), &Value::Null));

    let mut live = Frames::of(server.get(&path).header("accept", "text/event-stream").send().await.unwrap());
    let first = live.next().await.unwrap();
    assert_eq!((first.event.as_str(), &first.data["edges"][0]["from"]), ("graph", &from));
    assert_eq!(live.next().await.unwrap().event, "counts");
    let counted = |name: &str, rows| StreamCounts {
        name: name.into(),
        edges: vec![EdgeCounts {
            from: from.as_str().unwrap().into(),
            to: to.as_str().unwrap().into(),
            rows,
            bytes: Some(10),
            ..EdgeCounts::default()
        }],
        nodes: vec![NodeCounts { node: to.as_str().unwrap().into(), rows_in: rows, rows_dead: 2, ..NodeCounts::default() }],
        ..StreamCounts::default()
    };
    system.progress(&lease, vec![counted("a", Some(7)), counted("b", Some(5))], vec![]).await.unwrap();
    let now = live.next().await.unwrap();
    let edge = |counts: &Value| (counts["edges"][0]["rows"].clone(), counts["edges"][0]["bytes"].clone());
    assert_eq!((now.event.as_str(), edge(&now.data)), ("counts", (json!(12), json!(20))));
    assert_eq!((&now.data["nodes"][1]["rows_in"], &now.data["nodes"][1]["rows_dead"]), (&json!(12), &json!(4)));
    // What one stream does not know is not known of all.
    let done = vec![counted("a", Some(9)), counted("b", None)];
    let outcome =
        Outcome { status: RunStatus::Succeeded, retry_at: None, streams: done, report: None, error: None, resources: None };
    system.finish(&lease, outcome).await.unwrap();
    let last = live.next().await.unwrap();
    assert_eq!((&last.data["run_status"], edge(&last.data)), (&json!("succeeded"), (Value::Null, json!(20))));
    assert_eq!(live.next().await.unwrap().event, "end");
    server.stop().await;
}

#[tokio::test]
async fn events_of_the_tenant_follow_from_now_or_from_a_place() {
    let server = Server::start().await;
    server.job(OURS, "before").await;
    let mut live = Frames::of(server.get("/api/v1/events").header("accept", "text/event-stream").send().await.unwrap());
    let mut all = Frames::of(server.get("/api/v1/events?after=0").header("accept", "text/event-stream").send().await.unwrap());
    let first = all.next().await.unwrap();
    assert_eq!(first.event, "seatunnel-pipeline-created-events");
    assert_eq!((&first.data["specversion"], &first.data["type"]), (&json!("1.0"), &json!("seatunnel-pipeline-created-events")));
    server.job(crate::harness::THEIRS, "foreign").await;
    let after = server.job(OURS, "after").await;
    let next = live.next().await.unwrap();
    assert_eq!(next.data["subject"], format!("jobs/{after}"));
    assert_eq!(all.next().await.unwrap(), next);
    server.stop().await;
}

#[tokio::test]
async fn open_streams_do_not_keep_the_server_from_stopping() {
    let server = Server::start().await;
    let mut live = Frames::of(server.get("/api/v1/events").header("accept", "text/event-stream").send().await.unwrap());
    tokio::time::timeout(Duration::from_secs(10), server.stop()).await.expect("stopped");
    assert_eq!(live.next().await, None);
}
