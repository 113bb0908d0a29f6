//! What the broker remembers: subscriptions that are read, and those that only hold what is not durable.

use weir_connect::SplitProgress;

use super::*;

fn options(kind: &str) -> Value {
    json!({"topic": "t", "read_by": "subscription", "subscription_name": "s", "subscription_type": kind})
}

/// Reads what a subscription gives, in batches of one row; the positions of the rows.
async fn given(source: &dyn Source) -> (Split, Vec<(i64, Position)>) {
    let request = ReadRequest { stream: "t".into(), parallelism: 1, batch_bytes: 1, ..ReadRequest::default() };
    let reader = source.open(request).await.unwrap();
    let split = reader.splits().remove(0);
    let mut read = Read::default();
    read_split(reader.as_ref(), &split, None, &mut read).await.unwrap();
    let rows = read.batches.remove(&split.id).unwrap_or_default();
    (
        split,
        rows.into_iter()
            .flat_map(|(batch, position)| ids_of(&batch).into_iter().map(move |id| (id, position.clone().unwrap())))
            .collect(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_durable_is_acknowledged_and_the_rest_comes_again() {
    for kind in ["exclusive", "shared", "failover", "key_shared"] {
        let lab = Lab::new("acks");
        lab.put("t", None, ids(0..6)).await;
        lab.put("t", Some(3), ids(6..9)).await;
        let source = lab.source(options(kind)).await.unwrap();
        assert!(!source.capabilities().replayable);
        let (split, rows) = given(source.as_ref()).await;
        assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>(), "{kind}");
        // The eighth row is inside a batch: of that nothing is acknowledged.
        let progress = SplitProgress { split, position: Some(json!({"delivery": 8})), done: false, rows: 8 };
        source.committed("t", std::slice::from_ref(&progress)).await.unwrap();
        source.committed("t", &[progress]).await.unwrap();
        drop(source);
        let source = lab.source(options(kind)).await.unwrap();
        let (split, rows) = given(source.as_ref()).await;
        assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [6, 7, 8], "{kind}");
        source.committed("t", &[SplitProgress { split, position: None, done: true, rows: 3 }]).await.unwrap();
        drop(source);
        let source = lab.source(options(kind)).await.unwrap();
        assert!(given(source.as_ref()).await.1.is_empty(), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_a_subscription_gives_what_comes_and_is_idle() {
    let lab = Lab::new("queue");
    lab.put("t", Some(2), ids(0..4)).await;
    let source = lab.source(options("shared")).await.unwrap();
    let request = ReadRequest { stream: "t".into(), parallelism: 1, unbounded: true, ..ReadRequest::default() };
    let reader = source.open(request).await.unwrap();
    let split = reader.splits().remove(0);
    let mut events = reader.read(&split, None).await.unwrap();
    let (first, position) = until_idle(&mut events).await;
    assert_eq!(first, [0, 1, 2, 3]);
    source.committed("t", &[SplitProgress { split: split.clone(), position, done: false, rows: 4 }]).await.unwrap();
    lab.put("t", None, ids(4..5)).await;
    let (second, position) = until_idle(&mut events).await;
    assert_eq!(second, [4]);
    source.committed("t", &[SplitProgress { split, position, done: false, rows: 5 }]).await.unwrap();
    let stats = lab.admin(reqwest::Method::GET, "persistent/{ns}/t/stats", None).await;
    assert_eq!(
        (&stats["subscriptions"]["s"]["msgBacklog"], &stats["subscriptions"]["s"]["unackedMessages"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_beside_positions_holds_what_is_not_durable_and_moves_on_with_it() {
    let lab = Lab::new("bookmark");
    lab.put("t", None, ids(0..5)).await;
    let source = lab.source(json!({"topic": "t", "subscription_name": "weir"})).await.unwrap();
    let request = ReadRequest { stream: "t".into(), parallelism: 1, batch_bytes: 1, ..ReadRequest::default() };
    let reader = source.open(request).await.unwrap();
    let backlog = async || {
        let stats = lab.admin(reqwest::Method::GET, "persistent/{ns}/t/stats", None).await;
        stats["subscriptions"]["weir"]["msgBacklog"].as_i64()
    };
    // It is there before a row is read.
    assert_eq!(backlog().await, Some(5));
    let read = drain(reader.as_ref()).await.unwrap();
    let split = reader.splits().remove(0);
    let position = read.batches["whole"][2].1.clone();
    for _ in 0..2 {
        let progress = SplitProgress { split: split.clone(), position: position.clone(), done: false, rows: 3 };
        source.committed("t", &[progress]).await.unwrap();
        assert_eq!(backlog().await, Some(2));
    }
    source.committed("t", &[SplitProgress { split, position: None, done: true, rows: 5 }]).await.unwrap();
    assert_eq!(backlog().await, Some(0));
}
