//! A server that does everything wrong, thousands of times: nothing is lost that it gives at all, nothing comes twice, and memory stays flat.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::SinkExt;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::server::{Peer, Server, heard, say, stay, tick};
use super::*;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// What a connection does after some messages.
async fn mischief(number: usize, mut peer: Peer, ticks: Arc<AtomicI64>) {
    let Some(heard) = heard(&mut peer).await else { return };
    let from = from_of(&heard);
    // There are a few new messages by now.
    let end = ticks.fetch_max(from + 3, Ordering::SeqCst).max(from + 3);
    let send = async |peer: &mut Peer, range: std::ops::Range<i64>| {
        for number in range {
            if !say(peer, tick(number)).await {
                return;
            }
        }
    };
    match number % 9 {
        // Gone without a word.
        0 => send(&mut peer, from..end).await,
        // A proper end.
        1 => {
            send(&mut peer, from..end).await;
            let _ = peer.close(Some(CloseFrame { code: 1001u16.into(), reason: "going away".into() })).await;
            stay(&mut peer).await;
        }
        // Garbage in place of a frame.
        2 => {
            send(&mut peer, from..end - 1).await;
            let _ = peer.get_mut().write_all(&[0xff; 64]).await;
            stay(&mut peer).await;
        }
        // Half of a frame.
        3 => {
            send(&mut peer, from..end - 1).await;
            let _ = peer.get_mut().write_all(b"\x81\x7e\x10\x00half of it").await;
        }
        // Half open: connected, and silent for ever. The client finds out by its heartbeat.
        4 if number % 90 == 4 || number < 50 => {
            send(&mut peer, from..end).await;
            std::future::pending::<()>().await;
        }
        // A frame that says it has an exabyte.
        5 => {
            send(&mut peer, from..end).await;
            let _ = peer.get_mut().write_all(b"\x82\x7f\x10\x00\x00\x00\x00\x00\x00\x00").await;
            stay(&mut peer).await;
        }
        // Some of them are left out; asked again, the next connection gives them.
        6 => {
            send(&mut peer, from..from + 1).await;
            send(&mut peer, from + 2..end).await;
            stay(&mut peer).await;
        }
        // What was sent before, again.
        7 => {
            send(&mut peer, (from - 5).max(0)..end).await;
            send(&mut peer, (from - 2).max(0)..end).await;
        }
        // Text that is none.
        8 => {
            send(&mut peer, from..end - 1).await;
            let _ = peer.get_mut().write_all(b"\x81\x02\xff\xfe").await;
            stay(&mut peer).await;
        }
        _ => {
            let _ = peer.send(Message::Ping(vec![7; 100].into())).await;
            send(&mut peer, from..end).await;
        }
    }
}

async fn survive(connections: usize) {
    let folder = tempfile::tempdir().unwrap();
    let ticks = Arc::new(AtomicI64::new(0));
    let given = ticks.clone();
    let server = Server::start(move |number, mut peer| {
        let ticks = given.clone();
        async move {
            if number < connections {
                return mischief(number, peer, ticks).await;
            }
            // At last a good one.
            let Some(heard) = heard(&mut peer).await else { return };
            let from = from_of(&heard);
            for number in from..ticks.fetch_max(from + 3, Ordering::SeqCst).max(from + 3) {
                say(&mut peer, tick(number)).await;
            }
            stay(&mut peer).await;
        }
    })
    .await;
    let options = quick(json!({
        "on_gap": "resubscribe", "heartbeat": {"interval_ms": 20, "timeout_ms": 200}, "max_message_bytes": 100_000,
    }));
    let source = source(folder.path(), json!({"url": server.url()}), options).await.unwrap();
    let mut open = Open::new(source.clone(), None).await.unwrap();
    let (mut next, mut dead, mut early) = (0, 0, 0);
    while server.connections() <= connections || next < ticks.load(Ordering::SeqCst) {
        let got = open.take(1).await.unwrap();
        for id in got.ids() {
            assert_eq!(id, next, "after {} connections", server.connections());
            next += 1;
        }
        dead += got.dead.len();
        assert!(got.dead.iter().all(|letter| letter.code == "WEIR-WS-010"), "{:?}", got.dead);
        source.committed("feed", &open.progress(got.position)).await.unwrap();
        if early == 0 && server.connections() > connections / 10 {
            early = resident_bytes();
        }
    }
    let grown = resident_bytes().saturating_sub(early);
    println!("{} connections, {next} messages, {dead} too large, memory grew by {} KiB", server.connections(), grown / 1024);
    assert!(next as usize >= connections, "{next} messages");
    assert!(grown < 24 << 20, "memory grew by {grown} bytes");
    // The large frames, each once.
    assert_eq!(dead, (0..connections).filter(|number| number % 9 == 5).count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_reconnects_lose_and_double_nothing() {
    survive(300).await;
}

/// `cargo nextest run -p weir-connectors --run-ignored only --no-capture -E 'test(ten_thousand_reconnects)'`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn ten_thousand_reconnects_lose_and_double_nothing() {
    survive(10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_stays_is_given_up_after_three_times() {
    // The server has lost 2 and 3 for good.
    let server = Server::start(|_, mut peer| async move {
        let Some(heard) = heard(&mut peer).await else { return };
        for number in (from_of(&heard)..6).filter(|number| ![2, 3].contains(number)) {
            say(&mut peer, tick(number)).await;
        }
        stay(&mut peer).await;
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let options = quick(json!({"on_gap": "resubscribe"}));
    let mut open = Open::new(source(folder.path(), json!({"url": server.url()}), options).await.unwrap(), None).await.unwrap();
    assert_eq!(open.take(4).await.unwrap().ids(), [0, 1, 4, 5]);
    assert_eq!(server.connections(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_of_the_servers_own_is_sent_and_its_answer_is_no_row() {
    let server = Server::start(|number, mut peer| async move {
        heard(&mut peer).await;
        say(&mut peer, tick(number as i64)).await;
        // The first connection stops to answer after two.
        let mut answers = 0;
        while let Some(beat) = heard(&mut peer).await {
            assert_eq!(beat, json!({"op": "ping"}));
            answers += 1;
            if number > 0 || answers < 3 {
                say(&mut peer, json!({"op": "pong", "seq": 1000})).await;
            }
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let heartbeat = json!({"interval_ms": 10, "timeout_ms": 100, "message": {"op": "ping"}, "answer": "\"pong\""});
    let options = quick(json!({"heartbeat": heartbeat, "on_gap": "fail"}));
    let mut open = Open::new(source(folder.path(), json!({"url": server.url()}), options).await.unwrap(), None).await.unwrap();
    assert_eq!(open.take(2).await.unwrap().ids(), [0, 1]);
    assert_eq!(server.connections(), 2);
}
