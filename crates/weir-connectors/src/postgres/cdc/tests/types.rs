//! Every type: what the snapshot reads is what the log says.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Int32Type;
use serde_json::json;
use weir_connect::ChangeEvent;
use weir_connect::stream::{LossChoice, OnLoss};
use weir_testkit::PostgresServer;

use super::Follow;
use crate::postgres::tests::matrix::{ARRAYS, Case, NUMBERS, OTHERS, TEXTS, TIMES, USER_TYPES};

/// Rows of the snapshot and of the stream for one table each: id → value.
async fn compare(server: &PostgresServer, cases: &[Case], text: bool) {
    let database = server.create_database().unwrap();
    database.execute(USER_TYPES).unwrap();
    let mut setup = String::new();
    for (at, (kind, _, _)) in cases.iter().enumerate() {
        setup.push_str(&format!("CREATE TABLE t{at} (id int PRIMARY KEY, v {kind}); ALTER TABLE t{at} REPLICA IDENTITY FULL;"));
    }
    if text {
        // One column that only the server can print brings the whole log in text form.
        setup.push_str("CREATE TABLE force (id int PRIMARY KEY, v inet);");
    }
    database.execute(setup).unwrap();
    let fill = |shift: usize| {
        let mut sql = String::new();
        for (at, (_, _, literals)) in cases.iter().enumerate() {
            let rows = literals.iter().enumerate().map(|(id, text)| format!("({}, '{}')", id + shift, text.replace('\'', "''")));
            let rows: Vec<String> = rows.chain([format!("({}, NULL)", 99 + shift)]).collect();
            sql.push_str(&format!("INSERT INTO t{at} VALUES {};", rows.join(", ")));
        }
        sql
    };
    database.execute(fill(0)).unwrap();
    let mut follow = Follow::new(database, json!({ "tables": ["*"] }));
    follow.on_loss = OnLoss { default: LossChoice::Error, columns: BTreeMap::new() };
    let mut found: BTreeMap<(String, i32), ArrayRef> = BTreeMap::new();
    for round in 0..2 {
        if round == 1 {
            follow.database.execute(fill(1000)).unwrap();
        }
        let (_log, mut events) = follow.open_from(follow.state.position.clone(), true).await.unwrap();
        while let Some(event) = futures::StreamExt::next(&mut events).await {
            match event.unwrap() {
                ChangeEvent::Changes(batch) => {
                    let ids = batch.rows.column(0).as_primitive::<Int32Type>();
                    for row in 0..batch.rows.num_rows() {
                        found.insert((batch.stream.to_string(), ids.value(row)), batch.rows.column(1).slice(row, 1));
                    }
                }
                ChangeEvent::Boundary(boundary) => follow.state.position = Some(boundary.position),
                // Said again by every run that goes on.
                ChangeEvent::Schema(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let mut wrong = Vec::new();
    for (at, (kind, _, literals)) in cases.iter().enumerate() {
        for id in (0..literals.len()).chain([99]) {
            let of = |id: usize| found.get(&(format!("public.t{at}"), id as i32));
            let (snapshot, stream) = (of(id), of(id + 1000));
            // Bits, so that NaN equals NaN and -0 is not 0.
            let same = match (snapshot, stream) {
                (Some(a), Some(b)) => {
                    a.data_type() == b.data_type() && format!("{a:?}") == format!("{b:?}") && a.null_count() == b.null_count()
                }
                _ => false,
            };
            if !same {
                wrong.push(format!("{kind} {:?}: {snapshot:?} {stream:?}", literals.get(id)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn everywhere(cases: &[Case]) {
    // The 18 of the tests is built without libxml.
    let without: Vec<Case> = cases.iter().filter(|(kind, _, _)| !kind.starts_with("xml")).copied().collect();
    for (server, cases) in
        [(PostgresServer::shared().unwrap(), cases), (PostgresServer::version(18).unwrap(), without.as_slice())]
    {
        compare(&server, cases, false).await;
        compare(&server, cases, true).await;
    }
}

#[tokio::test]
async fn numbers_are_the_same_in_snapshot_and_log() {
    everywhere(NUMBERS).await;
}

#[tokio::test]
async fn texts_are_the_same_in_snapshot_and_log() {
    everywhere(TEXTS).await;
}

#[tokio::test]
async fn times_are_the_same_in_snapshot_and_log() {
    everywhere(TIMES).await;
}

#[tokio::test]
async fn networks_ranges_geometry_and_user_types_are_the_same_in_snapshot_and_log() {
    everywhere(OTHERS).await;
}

#[tokio::test]
async fn arrays_are_the_same_in_snapshot_and_log() {
    everywhere(ARRAYS).await;
    everywhere(&[
        ("money", "", &["-92233720368547758.08", "0.01"]),
        ("money[]", "", &["{1.5,NULL}"]),
        ("box[]", "", &["{(2,2),(0,0);(1,1),(0,0)}"]),
        ("cidr[]", "", &["{10.0.0.0/8}"]),
        ("xml[]", "", &["{<a/>}"]),
    ])
    .await;
}
