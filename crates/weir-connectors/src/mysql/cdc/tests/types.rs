//! Values of the log equal those of the snapshot, bit for bit, for every type of both servers.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use futures::StreamExt;
use serde_json::json;
use weir_connect::stream::LossChoice;
use weir_connect::{ChangeEvent, OnLoss};

use super::super::super::tests::matrix::{STRANGE, TYPES};
use super::{BOTH, Follow};

/// The values of column `v` by `id`, one row each, as the events have them; and what was set aside.
async fn values(follow: &mut Follow) -> (BTreeMap<i64, ArrayRef>, usize) {
    let (_log, mut events) = follow.open_from(follow.state.position.clone(), true).await.unwrap();
    let (mut found, mut dead) = (BTreeMap::new(), 0);
    while let Some(event) = events.next().await {
        match event.unwrap() {
            ChangeEvent::Changes(batch) => {
                let ids =
                    arrow::compute::cast(batch.rows.column_by_name("id").unwrap(), &arrow::datatypes::DataType::Int64).unwrap();
                let ids = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(&ids).clone();
                for at in 0..ids.len() {
                    found.insert(ids.value(at), batch.rows.column_by_name("v").unwrap().slice(at, 1));
                }
            }
            ChangeEvent::Dead(_) => dead += 1,
            ChangeEvent::Boundary(boundary) => follow.state.position = Some(boundary.position),
            ChangeEvent::Schema(_) | ChangeEvent::Truncate { .. } => {}
        }
    }
    (found, dead)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_the_same_in_the_snapshot_and_in_the_log() {
    for flavor in BOTH {
        let mut bent = Vec::new();
        for (kind, literals) in TYPES {
            let rows: Vec<String> = literals.iter().enumerate().map(|(id, value)| format!("({id}, {value})")).collect();
            let insert = format!("INSERT INTO t VALUES {}, (1000, NULL)", rows.join(", "));
            let create = format!("CREATE TABLE t (id int PRIMARY KEY, v {kind}) CHARACTER SET utf8mb4");
            let mut follow = Follow::shared(flavor, &format!("{create}; {insert}"), json!({ "tables": ["t"] }));
            let (snapshot, dead) = values(&mut follow).await;
            assert_eq!((snapshot.len(), dead), (literals.len() + 1, 0), "{kind}");
            follow.database.execute("DELETE FROM t").unwrap();
            let (deleted, _) = values(&mut follow).await;
            follow.database.execute(insert).unwrap();
            let (logged, _) = values(&mut follow).await;
            for (what, other) in [("deleted", &deleted), ("inserted", &logged)] {
                if snapshot != *other {
                    let differing = snapshot.iter().find(|(id, value)| other.get(id) != Some(value));
                    bent.push(format!(
                        "{kind}, {what}: {:.400}",
                        format!("{differing:?} {:?}", differing.and_then(|(id, _)| other.get(id)))
                    ));
                }
            }
        }
        assert!(bent.is_empty(), "{flavor:?}:\n{}", bent.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_arrow_lacks_are_treated_the_same_in_the_snapshot_and_in_the_log() {
    for flavor in BOTH {
        for (kind, value, _) in STRANGE {
            for choice in [LossChoice::Error, LossChoice::Accept, LossChoice::String] {
                let insert = format!("INSERT INTO t VALUES (1, {value}), (2, NULL)");
                let create = format!("CREATE TABLE t (id int PRIMARY KEY, v {kind})");
                let mut follow = Follow::shared(flavor, &format!("{create}; {insert}"), json!({ "tables": ["t"] }));
                follow.on_loss = OnLoss { default: LossChoice::Error, columns: [("v".to_string(), choice)].into() };
                let snapshot = values(&mut follow).await;
                follow.database.execute("DELETE FROM t").unwrap();
                values(&mut follow).await;
                follow.database.execute(insert).unwrap();
                let logged = values(&mut follow).await;
                assert_eq!(snapshot, logged, "{flavor:?} {kind} {value} {choice:?}");
                assert_eq!(snapshot.1, usize::from(choice == LossChoice::Error));
            }
        }
    }
}
