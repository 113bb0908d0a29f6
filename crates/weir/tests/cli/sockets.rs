//! Requests and messages that come once, through the whole program: into a real PostgreSQL and into Parquet files, over kills and broken connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use weir_testkit::PostgresServer;

use crate::harness::{Folder, Running, closed_port};

const KILL: i32 = 9;
const STOP: i32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_that_was_answered_is_in_postgres_once_over_kills() {
    let folder = Folder::new();
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let address = format!("127.0.0.1:{}", closed_port());
    let pipeline = format!(
        "pipeline: hooks\nmode: streaming\ncheckpoint_interval_ms: 20\n\
         source: {{webhook: {{listen: '{address}', path: /orders, columns: {{id: int64}}, deduplicate: {{header: Idempotency-Key}}}}}}\n\
         sink: {{postgres: {{url: '{}', table: orders}}}}\n",
        database.url()
    );
    folder.write("hooks.yaml", pipeline);
    let answered = Arc::new(AtomicI64::new(0));
    let sent = answered.clone();
    let url = format!("http://{address}/orders");
    let sender = tokio::spawn(async move {
        let http = reqwest::Client::new();
        for id in 0..1500 {
            // Whoever is not answered sends again, as senders of webhooks do.
            loop {
                let request = http.post(&url).header("idempotency-key", id.to_string()).body(format!("{{\"id\": {id}}}"));
                match request.send().await {
                    Ok(answer) if answer.status().is_success() => break,
                    _ => tokio::task::yield_now().await,
                }
            }
            sent.store(id + 1, Ordering::SeqCst);
        }
    });
    let mut kills = 0;
    let mut running = folder.start(&["run", "hooks.yaml"]);
    for enough in [200, 450, 700, 950, 1200] {
        weir_testkit::wait_until("requests are answered", Duration::from_secs(120), || answered.load(Ordering::SeqCst) >= enough)
            .unwrap();
        running.signal(KILL);
        running.end();
        kills += 1;
        running = folder.start(&["run", "hooks.yaml"]);
    }
    sender.await.unwrap();
    let rows = || -> Vec<i64> {
        let rows = database.rows("SELECT id FROM orders ORDER BY id").unwrap();
        rows.into_iter().map(|row| row[0].as_deref().unwrap().parse().unwrap()).collect()
    };
    weir_testkit::wait_until("all rows are there", Duration::from_secs(60), || rows().len() >= 1500).unwrap();
    stopped(running);
    assert_eq!((rows(), kills), ((0..1500).collect(), 5));
}

fn stopped(running: Running) {
    running.signal(STOP);
    running.end().ok();
}

/// Numbered messages from where the client asks, thirty per connection.
async fn ticks(end: i64) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let Ok(mut peer) = tokio_tungstenite::accept_async(stream).await else { return };
                let Some(Ok(Message::Text(asked))) = peer.next().await else { return };
                let from: i64 = asked.parse().unwrap();
                for id in from..(from + 30).min(end) {
                    if peer.send(Message::text(format!("{{\"id\": {id}}}"))).await.is_err() {
                        return;
                    }
                }
                if from >= end {
                    while let Some(Ok(_)) = peer.next().await {}
                }
            });
        }
    });
    (port, connections)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_a_socket_is_in_parquet_once_over_reconnects_and_kills() {
    let folder = Folder::new();
    let (port, connections) = ticks(3000).await;
    let pipeline = format!(
        "pipeline: ticks\nmode: streaming\nroll: {{interval_ms: 100}}\n\
         source:\n  websocket:\n    url: ws://127.0.0.1:{port}/ticks\n    subscribe_message: '{{next_sequence}}'\n    sequence_field: id\n    on_gap: fail\n    \
         columns: {{id: int64}}\n    reconnect_config: {{max_attempts: 0, initial_delay_ms: 5, max_delay_ms: 5}}\n\
         sink: {{file: {{path: 'lake/{{stream}}', format: parquet}}}}\n"
    );
    folder.write("ticks.yaml", pipeline);
    let mut running = folder.start(&["run", "ticks.yaml"]);
    for enough in [20, 50, 80] {
        weir_testkit::wait_until("connections are made", Duration::from_secs(120), || {
            connections.load(Ordering::SeqCst) >= enough
        })
        .unwrap();
        running.signal(KILL);
        running.end();
        running = folder.start(&["run", "ticks.yaml"]);
    }
    let ids = || -> Vec<i64> {
        let said = folder.weir(&["query", "--lake", "lake", "--output", "csv", "SELECT id FROM ticks ORDER BY id"]);
        said.out.lines().skip(1).map(|line| line.parse().unwrap()).collect()
    };
    weir_testkit::wait_until("all messages are shown", Duration::from_secs(120), || ids().len() >= 3000).unwrap();
    stopped(running);
    assert_eq!(ids(), (0..3000).collect::<Vec<_>>());
    assert!(connections.load(Ordering::SeqCst) >= 100);
}
