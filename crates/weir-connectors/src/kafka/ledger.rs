//! What an exactly-once sink remembers: a compacted topic that is written in the transactions of the rows themselves.
//!
//! | key, a JSON array | value |
//! | --- | --- |
//! | `[pipeline, node, stream, "split", id]` | how far the split got in this run |
//! | `[pipeline, node, stream, "lane", number]` | rows and bytes of the lane in this run |
//! | `[pipeline, node, stream, "commit"]` | the last run that was committed, with its report |
//! | `[pipeline, node, stream, "lanes"]` | how many lanes there ever were |
//!
//! Everything is in partition 0, so that one order holds. Nobody can commit for a run once another attempt has taken its transactional ids over; only then
//! is the topic read, up to its very end, with `read_committed`: what is found is what is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_connect::{CommitReport, Error, Kind, Result, SplitProgress};

use super::client::Address;
use super::config::Isolation;
use super::errors::{passes, shown, unreachable};

/// How long another pipeline's transaction may stand in the way.
const PATIENCE: Duration = Duration::from_secs(120);
const FETCH_BYTES: u64 = 4 << 20;

/// Whose memory.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The topic.
    pub topic: String,
    /// Pipeline, node, stream.
    pub owner: [String; 3],
    /// The run.
    pub run_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    version: u8,
    run: String,
    body: Value,
}

/// What is known of a run.
#[derive(Debug, Default)]
pub struct State {
    /// How far each split got.
    pub progress: Vec<SplitProgress>,
    /// Rows and bytes per lane.
    pub lanes: BTreeMap<usize, (u64, u64)>,
    /// The report, if the run was committed.
    pub committed: Option<CommitReport>,
    /// How many lanes there ever were, in any run.
    pub width: usize,
    /// Keys of splits and lanes, of any run.
    pub keys: BTreeSet<Vec<u8>>,
}

impl Ledger {
    fn key(&self, rest: &[Value]) -> Vec<u8> {
        let mut parts: Vec<Value> = self.owner.iter().map(|part| json!(part)).collect();
        parts.extend_from_slice(rest);
        Value::Array(parts).to_string().into_bytes()
    }

    fn entry(&self, body: Value) -> Vec<u8> {
        json!({"version": 1, "run": self.run_id, "body": body}).to_string().into_bytes()
    }

    /// Key and value for a split.
    pub fn split(&self, progress: &SplitProgress) -> Result<(Vec<u8>, Vec<u8>)> {
        let body = serde_json::to_value(progress)
            .map_err(|error| Error::internal("a progress that cannot be written").because(error))?;
        Ok((self.key(&[json!("split"), json!(progress.split.id)]), self.entry(body)))
    }

    /// Key and value for a lane.
    pub fn lane(&self, lane: usize, rows: u64, bytes: u64) -> (Vec<u8>, Vec<u8>) {
        (self.key(&[json!("lane"), json!(lane)]), self.entry(json!([rows, bytes])))
    }

    /// Key and value for a committed run.
    pub fn commit(&self, report: &CommitReport) -> Result<(Vec<u8>, Vec<u8>)> {
        let body =
            serde_json::to_value(report).map_err(|error| Error::internal("a report that cannot be written").because(error))?;
        Ok((self.key(&[json!("commit")]), self.entry(body)))
    }

    /// Key and value for the number of lanes.
    pub fn width(&self, lanes: usize) -> (Vec<u8>, Vec<u8>) {
        (self.key(&[json!("lanes")]), self.entry(json!(lanes)))
    }

    /// Reads what there is. `wait`: up to the end as it is now, whoever's transaction is in the way; otherwise as far as one can see.
    pub fn read(&self, address: &Address, wait: bool) -> Result<State> {
        let place = format!("topic `{}`", self.topic);
        let consumer = address.looking(Isolation::ReadCommitted, FETCH_BYTES)?;
        address.partitions(&consumer, &self.topic)?;
        let mut found: BTreeMap<Vec<u8>, Option<Entry>> = BTreeMap::new();
        let (low, mut stable) = address.bounds(&consumer, &self.topic, 0)?;
        if wait {
            let all = address.looking(Isolation::ReadUncommitted, FETCH_BYTES)?;
            let (_, end) = address.bounds(&all, &self.topic, 0)?;
            let begun = Instant::now();
            while stable < end {
                if begun.elapsed() > PATIENCE {
                    return Err(Error::new("WEIR-KAFKA-034", Kind::Conflict, "a transaction of another pipeline hides the progress")
                        .at(place)
                        .because(format!("it has been open for {} s", PATIENCE.as_secs()))
                        .hint("brokers end it after its `transaction_timeout_secs`; a `progress_topic` of one's own is never waited for")
                        .transient());
                }
                std::thread::sleep(Duration::from_millis(25));
                (_, stable) = address.bounds(&consumer, &self.topic, 0)?;
            }
        }
        if stable > low {
            let mut assignment = TopicPartitionList::with_capacity(1);
            assignment
                .add_partition_offset(&self.topic, 0, Offset::Beginning)
                .and_then(|()| consumer.assign(&assignment))
                .map_err(|error| shown(&error, &place))?;
            let mut heard = Instant::now();
            loop {
                match consumer.poll(Duration::from_millis(200)) {
                    Some(Ok(message)) => {
                        heard = Instant::now();
                        self.take(message.key(), message.payload(), &mut found)?;
                        if message.offset() + 1 >= stable {
                            break;
                        }
                    }
                    // The end of what is stable, which is not before `stable`.
                    Some(Err(KafkaError::PartitionEOF(_))) => break,
                    Some(Err(error)) if error.rdkafka_error_code().is_some_and(passes) => {}
                    Some(Err(error)) => return Err(shown(&error, &place)),
                    None => {}
                }
                if heard.elapsed() > PATIENCE {
                    return Err(unreachable(&place, "the progress topic is not read to its end"));
                }
            }
        }
        self.state(found)
    }

    /// Keeps what is ours.
    fn take(&self, key: Option<&[u8]>, value: Option<&[u8]>, found: &mut BTreeMap<Vec<u8>, Option<Entry>>) -> Result<()> {
        let Some(key) = key else { return Ok(()) };
        let Ok(Value::Array(parts)) = serde_json::from_slice::<Value>(key) else { return Ok(()) };
        let ours = parts.len() > 3 && parts.iter().zip(&self.owner).all(|(part, own)| part.as_str() == Some(own));
        if !ours {
            return Ok(());
        }
        let entry = value.map(serde_json::from_slice::<Entry>).transpose().map_err(|error| self.strange(&error))?;
        if entry.as_ref().is_some_and(|entry| entry.version != 1) {
            return Err(self.strange(&"it was written by a later version of Weir"));
        }
        found.insert(key.to_vec(), entry);
        Ok(())
    }

    fn strange(&self, why: &dyn std::fmt::Display) -> Error {
        Error::new("WEIR-KAFKA-035", Kind::Data, "the progress topic holds what is no progress of ours")
            .at(format!("topic `{}`", self.topic))
            .because(why)
            .hint("let `progress_topic` name a topic that nobody else writes to")
    }

    fn state(&self, found: BTreeMap<Vec<u8>, Option<Entry>>) -> Result<State> {
        let mut state = State::default();
        for (key, entry) in found {
            let Some(entry) = entry else { continue };
            let parts: Vec<Value> = serde_json::from_slice(&key).map_err(|error| self.strange(&error))?;
            let kind = parts.get(3).and_then(Value::as_str).unwrap_or_default();
            let this_run = entry.run == self.run_id;
            match kind {
                "split" => {
                    if this_run {
                        state.progress.push(serde_json::from_value(entry.body).map_err(|error| self.strange(&error))?);
                    }
                    state.keys.insert(key);
                }
                "lane" => {
                    let lane = parts.get(4).and_then(Value::as_u64).and_then(|lane| usize::try_from(lane).ok());
                    if let (true, Some(lane)) = (this_run, lane) {
                        state.lanes.insert(lane, serde_json::from_value(entry.body).map_err(|error| self.strange(&error))?);
                    }
                    state.keys.insert(key);
                }
                "commit" if this_run => {
                    state.committed = Some(serde_json::from_value(entry.body).map_err(|error| self.strange(&error))?);
                }
                "lanes" => state.width = serde_json::from_value(entry.body).map_err(|error| self.strange(&error))?,
                _ => {}
            }
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use weir_connect::Split;

    use super::*;

    fn ledger(run: &str) -> Ledger {
        Ledger { topic: "weir.progress".into(), owner: ["p".into(), "n".into(), "s".into()], run_id: run.into() }
    }

    fn progress(id: &str, rows: u64) -> SplitProgress {
        let split = Split { id: id.into(), descriptor: json!({}), estimated_rows: None, estimated_bytes: None };
        SplitProgress { split, position: Some(json!(rows)), done: false, rows }
    }

    fn read(ledger: &Ledger, records: &[(Vec<u8>, Option<Vec<u8>>)]) -> State {
        let mut found = BTreeMap::new();
        for (key, value) in records {
            ledger.take(Some(key), value.as_deref(), &mut found).unwrap();
        }
        ledger.state(found).unwrap()
    }

    #[test]
    fn the_last_word_of_each_key_counts_and_other_runs_are_only_remembered_to_be_forgotten() {
        let (old, new) = (ledger("1"), ledger("2"));
        let mut records: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        let mut put = |(key, value): (Vec<u8>, Vec<u8>)| records.push((key, Some(value)));
        put(old.split(&progress("x", 9)).unwrap());
        put(old.width(3));
        put(new.split(&progress("a", 1)).unwrap());
        put(new.split(&progress("a", 2)).unwrap());
        put(new.lane(1, 2, 20));
        let other = Ledger { owner: ["p".into(), "n".into(), "other".into()], ..ledger("2") };
        put(other.split(&progress("z", 5)).unwrap());
        let state = read(&new, &records);
        assert_eq!(state.progress, [progress("a", 2)]);
        assert_eq!((state.lanes[&1], state.width, state.keys.len()), ((2, 20), 3, 3));
        assert!(state.committed.is_none());
        let report = CommitReport { rows: 2, bytes: 20, objects: 1, place: "t".into() };
        let (key, value) = new.commit(&report).unwrap();
        records.push((key, Some(value)));
        records.extend(state.keys.into_iter().map(|key| (key, None)));
        let after = read(&new, &records);
        assert_eq!((after.committed, after.progress.len(), after.keys.len()), (Some(report), 0, 0));
        assert!(read(&old, &records).committed.is_none());
    }
}
