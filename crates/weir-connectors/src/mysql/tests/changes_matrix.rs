//! Every type of the server as changes: the same text as by batch, in new rows and in replaced ones.

use arrow::array::RecordBatch;
use serde_json::json;
use weir_connect::{DeleteMode, OnLoss, Op, ReadRequest, StreamTarget, WriteMode};
use weir_testkit::mysql::Flavor;

use super::matrix::{TYPES, texts};
use super::{connection, database_of, open, sink_at, source_at, take_all};
use crate::changes::seeds::{after, change_batch, changes_target};

async fn by_changes(flavor: Flavor, load: &str) {
    let database = database_of(flavor);
    let mut bent = Vec::new();
    for (number, (kind, values)) in TYPES.iter().enumerate() {
        let (from, to) = (format!("from_{number}"), format!("to_{number}"));
        database.execute(format!("CREATE TABLE {from} (id INT PRIMARY KEY, v {kind}) CHARACTER SET utf8mb4")).unwrap();
        let rows: Vec<String> = values.iter().enumerate().map(|(id, value)| format!("({id}, {value})")).collect();
        database.execute(format!("INSERT INTO {from} VALUES {}, (1000, NULL)", rows.join(", "))).unwrap();
        let source = source_at(connection(database.url()), json!({ "table": from }), OnLoss::default()).await;
        let reader = open(&source, ReadRequest::default()).await.unwrap();
        let taken = take_all(reader.as_ref()).await.unwrap();
        let sink = sink_at(connection(database.url()), json!({ "table": to, "load": load }), OnLoss::default()).await;
        let target = StreamTarget { stream: from.clone(), ..changes_target("r", reader.schema(), WriteMode::Upsert, &["id"]) };
        let applied = async {
            let stream = sink.prepare(target).await?;
            let mut writer = stream.change_writer(DeleteMode::Hard).await?;
            let mut given = 0;
            for op in [Op::Read, Op::Update] {
                for rows in &taken.batches {
                    given += rows.num_rows();
                    let rows: RecordBatch = rows.clone();
                    writer.apply(change_batch(rows.clone(), vec![op; rows.num_rows()], Vec::new())).await?;
                }
                writer.flush(&after(given)).await?;
            }
            Ok::<_, weir_connect::Error>(())
        };
        match applied.await {
            Ok(()) => {
                let (was, is) = (texts(&database, &from), texts(&database, &to));
                if was != is {
                    let differing = was.iter().zip(&is).find(|(was, is)| was != is);
                    bent.push(format!("{kind}: {:.300}", format!("{differing:?}")));
                }
            }
            Err(error) => bent.push(format!("{kind}: {error:.300}")),
        }
    }
    assert!(bent.is_empty(), "{flavor:?} by {load}:\n{}", bent.join("\n"));
}

#[tokio::test]
async fn every_type_of_mariadb_survives_as_changes() {
    by_changes(Flavor::MariaDb, "auto").await;
}

#[tokio::test]
async fn every_type_of_mysql_survives_as_changes() {
    by_changes(Flavor::MySql, "auto").await;
}
