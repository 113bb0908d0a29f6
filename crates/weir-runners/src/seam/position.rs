//! The connectors' own positions as places of their systems, and back. Only what a whole, committed position says is taken; everything else is
//! an error, because a place that is guessed loses rows or doubles them.

use serde_json::{Value, json};
use weir_connect::cursor::CursorState;
use weir_connect::{Split, SplitProgress};
use weir_error::{Error, Kind, Result};

use super::At;

/// What a connector wrote is not what this release knows.
fn strange(connector: &str, what: &str) -> Error {
    Error::new("WEIR-SEAM-003", Kind::Unsupported, format!("the position of `{connector}` cannot be taken to another engine"))
        .because(what.to_owned())
        .hint("only positions of kafka, postgres-cdc, mysql-cdc and of cursors can; others begin anew on another engine")
}

/// A topic of Kafka, read without end: from the splits of its checkpoint.
pub fn of_splits(connector: &str, progress: &[SplitProgress]) -> Result<At> {
    if connector != "kafka" {
        return Err(strange(connector, "its splits mean nothing to other engines"));
    }
    let mut found: Option<At> = None;
    for part in progress {
        let view = &part.split.descriptor;
        let (topic, topic_id, ranges) = view_of(view)?;
        let [range] = ranges else { return Err(strange(connector, "a split is not one partition")) };
        let (partition, start) = range_of(range)?;
        let next = match &part.position {
            Some(position) => {
                position.get("offset").and_then(Value::as_u64).ok_or_else(|| strange(connector, "a position has no offset"))?
            }
            None => start,
        };
        let at = found.get_or_insert_with(|| At::KafkaOffsets { topic: topic.clone(), topic_id, offsets: Default::default() });
        match at {
            At::KafkaOffsets { topic: known, offsets, .. } if *known == topic => drop(offsets.insert(partition, next)),
            _ => return Err(strange(connector, "splits of two topics in one stream")),
        }
    }
    found.ok_or_else(|| strange(connector, "it has no partitions yet"))
}

/// What a committed run left for the next (`ReadRequest::previous`, or a log's position).
pub fn of_committed(connector: &str, left: &Value) -> Result<At> {
    let text = |key: &str| left.get(key).and_then(Value::as_str).map(str::to_owned);
    match connector {
        "kafka" => {
            let (topic, topic_id, ranges) = view_of(left)?;
            let mut offsets = std::collections::BTreeMap::new();
            for range in ranges {
                let (partition, start) = range_of(range)?;
                offsets.insert(partition, range.get("end").and_then(Value::as_u64).unwrap_or(start));
            }
            Ok(At::KafkaOffsets { topic, topic_id, offsets })
        }
        "postgres-cdc" => {
            whole(connector, left)?;
            match (text("slot"), text("lsn"), text("database")) {
                (Some(slot), Some(lsn), Some(database)) => Ok(At::PostgresLog { slot, lsn, database }),
                _ => Err(strange(connector, "it names no slot, LSN and database")),
            }
        }
        "mysql-cdc" => {
            whole(connector, left)?;
            match (text("file"), left.get("position").and_then(Value::as_u64)) {
                (Some(file), Some(position)) => {
                    Ok(At::MysqlLog { file, position, gtids: text("gtids").filter(|gtids| !gtids.is_empty()) })
                }
                _ => Err(strange(connector, "it names no file and position")),
            }
        }
        other => Err(strange(other, "it means nothing to other engines")),
    }
}

/// The snapshot of every table is complete: another engine would not finish it.
fn whole(connector: &str, left: &Value) -> Result<()> {
    let tables = left.get("tables").and_then(Value::as_object);
    let open = tables.into_iter().flatten().find(|(_, table)| table.get("done") != Some(&Value::Bool(true)));
    match open {
        None => Ok(()),
        Some((table, _)) => {
            Err(strange(connector, &format!("the snapshot of `{table}` is not complete: run it once more to its end")))
        }
    }
}

/// A cursor.
pub fn of_cursor(column: &str, state: &CursorState, last_run_time: Option<String>) -> Option<At> {
    let value = state.max_text.clone()?;
    Some(At::Cursor { column: column.to_owned(), value, last_run_time, boundary: Some(state.clone()) })
}

/// The splits of a topic that is to be read from these offsets on, and what its reader must know.
pub fn into_splits(at: &At) -> Result<(Value, Vec<SplitProgress>)> {
    let At::KafkaOffsets { topic, topic_id, offsets } = at else {
        return Err(Error::new("WEIR-SEAM-004", Kind::Spec, "a stream without end goes on from Kafka's offsets only")
            .hint("`kafka_offsets`; of a log say where it begins in the pipeline (`slot`, `start`, `snapshot: never`)"));
    };
    let view = |ranges: Vec<Value>| json!({"version": 1, "topic": topic, "topic_id": topic_id, "ranges": ranges});
    let range = |(partition, start): (&u32, &u64)| json!({"partition": partition, "start": start, "end": null});
    let split = |part: (&u32, &u64)| SplitProgress {
        split: Split { id: part.0.to_string(), descriptor: view(vec![range(part)]), estimated_rows: None, estimated_bytes: None },
        position: None,
        done: false,
        rows: 0,
    };
    Ok((view(offsets.iter().map(range).collect()), offsets.iter().map(split).collect()))
}

/// What a committed run would have left of a topic that was read up to these offsets.
pub fn into_committed(at: &At) -> Option<Value> {
    let At::KafkaOffsets { topic, topic_id, offsets } = at else { return None };
    let ranges: Vec<Value> =
        offsets.iter().map(|(partition, end)| json!({"partition": partition, "start": end, "end": end})).collect();
    Some(json!({"version": 1, "topic": topic, "topic_id": topic_id, "ranges": ranges}))
}

fn view_of(view: &Value) -> Result<(String, Option<String>, &[Value])> {
    let topic = view.get("topic").and_then(Value::as_str);
    let ranges = view.get("ranges").and_then(Value::as_array);
    match (view.get("version").and_then(Value::as_u64), topic, ranges) {
        (Some(1), Some(topic), Some(ranges)) => {
            let id = view.get("topic_id").and_then(Value::as_str).map(str::to_owned);
            Ok((topic.to_owned(), id, ranges))
        }
        _ => Err(strange("kafka", "what it wrote is of another version")),
    }
}

fn range_of(range: &Value) -> Result<(u32, u64)> {
    let number = |key: &str| range.get(key).and_then(Value::as_u64);
    let partition = number("partition").and_then(|partition| u32::try_from(partition).ok());
    partition.zip(number("start")).ok_or_else(|| strange("kafka", "a range has no partition and start"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn offsets_are_those_of_the_next_record_there_and_back() {
        let at = At::KafkaOffsets { topic: "t".into(), topic_id: Some("id".into()), offsets: BTreeMap::from([(0, 7), (3, 0)]) };
        let (_, mut splits) = into_splits(&at).unwrap();
        assert_eq!(of_splits("kafka", &splits).unwrap(), at, "nothing was read yet");
        splits[0].position = Some(json!({"offset": 9}));
        let At::KafkaOffsets { offsets, .. } = of_splits("kafka", &splits).unwrap() else { panic!() };
        assert_eq!(offsets, BTreeMap::from([(0, 9), (3, 0)]));
        assert_eq!(of_committed("kafka", &into_committed(&at).unwrap()).unwrap(), at);
    }

    #[test]
    fn a_log_is_taken_over_when_its_snapshot_is_complete() {
        let mut left = json!({"version": 1, "system": "7", "timeline": 1, "database": "shop", "slot": "weir_shop", "lsn": "0/16B3748",
            "tables": {"public.t": {"oid": 1, "done": true}}});
        let at = of_committed("postgres-cdc", &left).unwrap();
        assert_eq!(at, At::PostgresLog { slot: "weir_shop".into(), lsn: "0/16B3748".into(), database: "shop".into() });
        left["tables"]["public.t"]["done"] = json!(false);
        assert!(of_committed("postgres-cdc", &left).unwrap_err().why().unwrap().contains("`public.t` is not complete"));
        let mysql = json!({"version": 1, "family": "files", "file": "binlog.000003", "position": 157, "tables": {}});
        assert_eq!(
            of_committed("mysql-cdc", &mysql).unwrap(),
            At::MysqlLog { file: "binlog.000003".into(), position: 157, gtids: None }
        );
    }

    #[test]
    fn what_other_engines_do_not_understand_is_refused() {
        assert_eq!(of_committed("file", &json!({"files": []})).unwrap_err().code(), "WEIR-SEAM-003");
        assert_eq!(of_splits("pulsar", &[]).unwrap_err().code(), "WEIR-SEAM-003");
        assert_eq!(of_committed("kafka", &json!({"version": 2})).unwrap_err().code(), "WEIR-SEAM-003");
    }
}
