//! An API that is asked again and again, through the whole program: each of its rows in a real PostgreSQL once, over kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_testkit::{Database, PostgresServer};

use crate::harness::Folder;

const KILL: i32 = 9;
pub const STOP: i32 = 2;
pub const ROWS: i64 = 3000;

/// Answers with the rows from a time on, seven of each time, in pages of twenty; each question finds some more of them.
async fn answer(mut stream: TcpStream, there: Arc<AtomicI64>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let param = |name: &str| -> Option<i64> {
        let value = head.split(&format!("{name}=")).nth(1)?;
        value.split(['&', ' ']).next()?.parse().ok()
    };
    let (since, page) = (param("since").unwrap_or(0), param("page").unwrap());
    let end = there.fetch_add(5, Ordering::SeqCst).min(ROWS);
    let rows: Vec<String> = (since * 7..end).map(|id| format!("{{\"id\": {id}, \"at\": {}}}", id / 7)).collect();
    let page: Vec<String> = rows.into_iter().skip((page as usize - 1) * 20).take(20).collect();
    let body = format!("[{}]", page.join(","));
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}

/// The API on a free port, and how many rows it has by now; each question lets it have five more.
pub async fn api() -> (u16, Arc<AtomicI64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let there = Arc::new(AtomicI64::new(20));
    let more = there.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream, more.clone()));
        }
    });
    (port, there)
}

/// From that API into a table; `transforms` is a line of the file, or nothing.
pub fn pipeline(port: u16, transforms: &str, target: &Database) -> String {
    format!(
        "pipeline: orders\nmode: streaming\ncheckpoint_interval_ms: 20\n\
         source:\n  http:\n    url: http://127.0.0.1:{port}/orders\n    cursor: at\n    cursor_param: since\n    \
         pagination: {{page: {{param: page, size: 20, stop: short}}}}\n    columns: {{id: int64, at: int64}}\n    sample_pages: 0\n    poll: {{every_ms: 5}}\n\
         {transforms}sink: {{postgres: {{url: '{}', table: orders}}}}\n",
        target.url()
    )
}

/// The ids in the table, each as often as it is there.
pub fn ids(target: &Database) -> Vec<i64> {
    let rows = target.rows("SELECT id FROM orders ORDER BY id").unwrap();
    rows.into_iter().map(|row| row[0].as_deref().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_an_api_is_in_postgres_once_over_kills() {
    let folder = Folder::new();
    let database = PostgresServer::shared().unwrap().create_database().unwrap();
    let (port, there) = api().await;
    folder.write("orders.yaml", pipeline(port, "", &database));
    let mut running = folder.start(&["run", "orders.yaml"]);
    for enough in [600, 1200, 1800, 2400] {
        weir_testkit::wait_until("rows are there", Duration::from_secs(120), || there.load(Ordering::SeqCst) >= enough).unwrap();
        running.signal(KILL);
        running.end();
        running = folder.start(&["run", "orders.yaml"]);
    }
    let waited =
        weir_testkit::wait_until("all rows are there", Duration::from_secs(60), || ids(&database).len() >= ROWS as usize);
    if waited.is_err() {
        assert_eq!(ids(&database), (0..ROWS).collect::<Vec<_>>());
    }
    running.signal(STOP);
    running.end().ok();
    assert_eq!(ids(&database), (0..ROWS).collect::<Vec<_>>());
}
