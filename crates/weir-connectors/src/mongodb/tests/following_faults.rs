//! Change streams: every key's history is exact under writers, restarts, broken connections and failovers.

use futures::StreamExt;
use mongodb::bson::doc;
use weir_connect::{ChangeEvent, Op};

use super::history::{Busy, QUIET, caught_up, durable, exact, open, position, read, rows, source};
use super::peer::{Fault, Peer};

#[tokio::test]
async fn a_snapshot_under_writers_gives_every_key_its_exact_history() {
    for seed in 0..8 {
        let peer = Peer::start().await;
        peer.model().opaque_tokens = seed % 2 == 1;
        let busy = Busy::begin(&peer, seed, 300);
        let source = source(&peer, exact()).await;
        let log = open(&source, None, false).await.unwrap();
        let events = durable(read(&log, Some(&busy), |_| false).await);
        // What was written between the last look and the end of the writers.
        let rest = caught_up(&peer, exact(), position(&events)).await;
        busy.check(&[events, rest].concat());
    }
}

#[tokio::test]
async fn a_run_that_stops_at_every_boundary_gives_the_same_histories() {
    for seed in 20..23 {
        let peer = Peer::start().await;
        let busy = Busy::begin(&peer, seed, 250);
        let (mut all, mut from, mut restarts) = (Vec::new(), None, 0);
        while !busy.done() {
            let source = source(&peer, exact()).await;
            let log = open(&source, from.clone(), false).await.unwrap();
            let before = from.clone();
            let moved = |event: &ChangeEvent| matches!(event, ChangeEvent::Boundary(boundary) if Some(&boundary.position) != before.as_ref());
            let events = durable(read(&log, Some(&busy), moved).await);
            from = position(&events).or(from);
            all.extend(events);
            restarts += 1;
        }
        all.extend(caught_up(&peer, exact(), from).await);
        assert!(restarts > 5, "{restarts}");
        busy.check(&all);
    }
}

#[tokio::test]
async fn what_was_read_after_the_last_boundary_comes_again_and_nothing_else() {
    let peer = Peer::start().await;
    peer.model().put("orders", doc! { "_id": 0, "v": 0 });
    let first = caught_up(&peer, exact(), None).await;
    peer.write(|model| (1..20).for_each(|n| model.put("orders", doc! { "_id": n, "v": n })));
    let expected: Vec<_> = (1..20).map(|n| (Op::Create, n, Some(n))).collect();
    // Stopped after each number of batches, without having seen a boundary behind the last.
    for stop in 1..6 {
        let source = source(&peer, exact()).await;
        let log = open(&source, position(&first), true).await.unwrap();
        let mut batches = 0;
        let events = read(&log, None, |event| {
            batches += usize::from(matches!(event, ChangeEvent::Changes(_)));
            batches == stop
        })
        .await;
        let events = durable(events);
        let rest = caught_up(&peer, exact(), position(&events).or_else(|| position(&first))).await;
        assert_eq!(rows(&[events, rest].concat()), expected);
    }
}

#[tokio::test]
async fn broken_connections_and_failovers_change_nothing() {
    let peer = Peer::start().await;
    peer.model().page = 2;
    let busy = Busy::begin(&peer, 7, 120);
    let faults = [
        Fault::Cut,
        Fault::Error(10107, "NotWritablePrimary", true),
        Fault::CutAfter,
        Fault::Error(11600, "InterruptedAtShutdown", true),
        Fault::Error(43, "CursorNotFound", true),
        Fault::CutAfter,
    ];
    for fault in faults {
        // A chunk of the snapshot may be in one answer: the faults meet the change stream.
        peer.model().faults.push_back(("getMore", 9, fault));
    }
    let mut all = Vec::new();
    let mut from = None;
    let mut errors = 0;
    loop {
        let source = source(&peer, exact()).await;
        let log = match open(&source, from.clone(), false).await {
            Ok(log) => log,
            Err(error) => {
                // The sample is read by a cursor too.
                assert_eq!(error.retryable(), weir_connect::Retry::Transient, "{error}");
                errors += 1;
                assert!(errors <= faults.len());
                continue;
            }
        };
        let mut stream = log.read().await.unwrap();
        let mut events = Vec::new();
        let failed = loop {
            match tokio::time::timeout(QUIET, stream.next()).await {
                Err(_) if busy.done() && peer.model().faults.is_empty() => break false,
                Err(_) => {}
                Ok(None) => panic!("it goes on"),
                Ok(Some(Ok(event))) => events.push(event),
                Ok(Some(Err(error))) => {
                    // Where the driver cannot go on by itself (inside a chunk) the engine begins again at the last boundary.
                    assert_eq!(error.retryable(), weir_connect::Retry::Transient, "{error}");
                    break true;
                }
            }
        };
        let events = durable(events);
        from = position(&events).or(from);
        all.extend(events);
        if !failed {
            break;
        }
        errors += 1;
        assert!(errors <= faults.len());
    }
    all.extend(caught_up(&peer, exact(), from).await);
    busy.check(&all);
}

#[tokio::test]
async fn a_position_that_left_the_oplog_is_an_error_before_a_row() {
    let peer = Peer::start().await;
    peer.model().put("orders", doc! { "_id": 0, "v": 0 });
    let first = caught_up(&peer, exact(), None).await;
    peer.write(|model| {
        model.put("orders", doc! { "_id": 1, "v": 1 });
        model.forget_changes();
        model.put("orders", doc! { "_id": 2, "v": 2 });
    });
    let source = source(&peer, exact()).await;
    let error = open(&source, position(&first), true).await.err().unwrap();
    assert_eq!(error.code(), "WEIR-MONGO-020");
    assert!(error.advice().unwrap().contains("takes a snapshot again"), "{error}");
}

#[tokio::test]
async fn a_history_that_is_lost_meanwhile_ends_the_stream_with_an_error() {
    let peer = Peer::start().await;
    peer.model().put("orders", doc! { "_id": 0, "v": 0 });
    let first = caught_up(&peer, exact(), None).await;
    for (code, name, expected) in
        [(286, "ChangeStreamHistoryLost", "WEIR-MONGO-020"), (280, "ChangeStreamFatalError", "WEIR-MONGO-021")]
    {
        let source = source(&peer, exact()).await;
        let log = open(&source, position(&first), false).await.unwrap();
        peer.model().faults.push_back(("getMore", 0, Fault::Error(code, name, false)));
        let mut stream = log.read().await.unwrap();
        let error = loop {
            match stream.next().await.unwrap() {
                Ok(event) => assert!(!matches!(event, ChangeEvent::Changes(_))),
                Err(error) => break error,
            }
        };
        assert_eq!((error.code(), error.retryable()), (expected, weir_connect::Retry::Never));
    }
}
