//! Where each partition is read from and up to: fixed when a stream is opened, kept with the checkpoint, checked before a row is read.

use std::collections::BTreeMap;

use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use weir_connect::{Error, Kind, Result};

use super::client::{Address, Reading};
use super::config::{OnDataLoss, SourceOptions, StartMode};
use super::errors::{data_loss, shown};
use super::topics::topic_id;

/// Part of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The partition.
    pub partition: i32,
    /// The first offset to read.
    pub start: i64,
    /// The offset behind the last one to read; `None`: without end.
    pub end: Option<i64>,
}

/// What a stream means for one run. Also a split's descriptor (with one range), the reader's state, and what the next run goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Of this format.
    pub version: u8,
    /// The topic.
    pub topic: String,
    /// Its number, if the brokers say it: a topic that was deleted and made anew has another one.
    pub topic_id: Option<String>,
    /// The parts.
    pub ranges: Vec<Range>,
}

/// The topic as it is now.
pub struct Now {
    /// Its number.
    pub topic_id: Option<String>,
    /// Per partition the first offset and the one behind the last.
    pub bounds: BTreeMap<i32, (i64, i64)>,
}

impl Now {
    /// Asks the brokers.
    pub fn look(address: &Address, consumer: &Reading, topic: &str) -> Result<Self> {
        let mut bounds = BTreeMap::new();
        for partition in address.partitions(consumer, topic)? {
            bounds.insert(partition, address.bounds(consumer, topic, partition)?);
        }
        Ok(Self { topic_id: topic_id(consumer, topic, address.patience())?, bounds })
    }
}

/// Where reading goes on at `wanted` when it can; else what `on_data_loss` says.
fn still_there(topic: &str, partition: i32, wanted: i64, bounds: (i64, i64), choice: OnDataLoss) -> Result<i64> {
    let (low, high) = bounds;
    let why = if wanted < low {
        format!("the next record to read is {wanted}, the oldest that is kept is {low}: {} records are gone", low - wanted)
    } else if wanted > high {
        format!("the next record to read is {wanted}, but the partition ends at {high}: it was cut off or made anew")
    } else {
        return Ok(wanted);
    };
    let place = format!("{topic}[{partition}]");
    match choice {
        OnDataLoss::Fail => Err(data_loss(&place, why)),
        OnDataLoss::Earliest => {
            tracing::warn!(target: "weir::kafka", "{place}: {why}; reading goes on at {low}");
            Ok(low)
        }
    }
}

fn same_topic(topic: &str, known: Option<&String>, now: &Now, choice: OnDataLoss) -> Result<bool> {
    match (known, &now.topic_id) {
        (Some(known), Some(id)) if known != id => {
            let why = "the topic was deleted and made again; what it held before and was not read is gone";
            match choice {
                OnDataLoss::Fail => Err(data_loss(topic, why)),
                OnDataLoss::Earliest => {
                    tracing::warn!(target: "weir::kafka", "{topic}: {why}; it is read from its beginning");
                    Ok(false)
                }
            }
        }
        _ => Ok(true),
    }
}

/// The view of a fresh run: after `previous`, or where the options say.
pub fn begin(
    address: &Address,
    consumer: &Reading,
    topic: &str,
    options: &SourceOptions,
    previous: Option<&View>,
    unbounded: bool,
) -> Result<View> {
    let now = Now::look(address, consumer, topic)?;
    let mut starts: BTreeMap<i32, i64> = BTreeMap::new();
    match previous {
        Some(previous) if same_topic(topic, previous.topic_id.as_ref(), &now, options.on_data_loss)? => {
            for range in &previous.ranges {
                let Some(bounds) = now.bounds.get(&range.partition) else {
                    return Err(data_loss(&format!("{topic}[{}]", range.partition), "the partition is not there any more"));
                };
                let wanted = range.end.unwrap_or(range.start);
                starts.insert(range.partition, still_there(topic, range.partition, wanted, *bounds, options.on_data_loss)?);
            }
        }
        Some(_) => {}
        None => starts = configured(address, consumer, topic, options, &now)?,
    }
    let ranges = now
        .bounds
        .iter()
        .map(|(&partition, &(low, high))| {
            // A partition that nothing is known of is new: it is read from its beginning.
            let start = starts.get(&partition).copied().unwrap_or(low).clamp(low, high.max(low));
            Range { partition, start, end: (!unbounded).then_some(high.max(start)) }
        })
        .collect();
    Ok(View { version: 1, topic: topic.to_owned(), topic_id: now.topic_id, ranges })
}

/// The starts that the options say, per partition.
fn configured(
    address: &Address,
    consumer: &Reading,
    topic: &str,
    options: &SourceOptions,
    now: &Now,
) -> Result<BTreeMap<i32, i64>> {
    let list = |offset: Option<i64>| -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(now.bounds.len());
        for &partition in now.bounds.keys() {
            match offset {
                Some(offset) => {
                    list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(|error| shown(&error, topic))?
                }
                None => {
                    list.add_partition(topic, partition);
                }
            }
        }
        Ok(list)
    };
    match options.start_mode {
        StartMode::Earliest => Ok(BTreeMap::new()),
        StartMode::Latest => Ok(now.bounds.iter().map(|(&partition, &(_, high))| (partition, high)).collect()),
        StartMode::Timestamp => {
            let wanted = list(Some(options.start_timestamp_ms.unwrap_or_default().max(0)))?;
            let found = consumer.offsets_for_times(wanted, address.patience()).map_err(|error| shown(&error, topic))?;
            let mut starts = BTreeMap::new();
            for element in found.elements() {
                element.error().map_err(|error| shown(&error, topic))?;
                let high = now.bounds.get(&element.partition()).map_or(0, |bounds| bounds.1);
                let start = match element.offset() {
                    Offset::Offset(offset) => offset,
                    // Nothing is as late as that.
                    _ => high,
                };
                starts.insert(element.partition(), start);
            }
            Ok(starts)
        }
        StartMode::SpecificOffsets => {
            let mut starts = BTreeMap::new();
            for (name, &offset) in &options.start_offsets {
                let partition = match name.rsplit_once('-') {
                    Some((of, partition)) if of == topic => partition,
                    Some(_) => continue,
                    None => name,
                };
                let partition: i32 = partition.parse().map_err(|_| unknown_partition(topic, name))?;
                let bounds = now.bounds.get(&partition).ok_or_else(|| unknown_partition(topic, name))?;
                starts.insert(partition, still_there(topic, partition, offset, *bounds, options.on_data_loss)?);
            }
            Ok(starts)
        }
        StartMode::GroupOffsets => {
            let found = consumer.committed_offsets(list(None)?, address.patience()).map_err(|error| shown(&error, topic))?;
            let mut starts = BTreeMap::new();
            for element in found.elements() {
                element.error().map_err(|error| shown(&error, topic))?;
                if let (Offset::Offset(offset), Some(bounds)) = (element.offset(), now.bounds.get(&element.partition())) {
                    let start = still_there(topic, element.partition(), offset, *bounds, options.on_data_loss)?;
                    starts.insert(element.partition(), start);
                }
            }
            Ok(starts)
        }
    }
}

fn unknown_partition(topic: &str, name: &str) -> Error {
    Error::new("WEIR-KAFKA-001", Kind::Spec, format!("`start_offsets` names `{name}`, which `{topic}` does not have"))
        .hint("write `topic-partition`, or the number of the partition alone")
}

/// Checks that what an interrupted attempt still has to read is there. `next` is the next offset per partition. The answer: partitions that go on
/// elsewhere, because `on_data_loss` says so.
pub fn check(
    address: &Address,
    consumer: &Reading,
    view: &View,
    next: &BTreeMap<i32, i64>,
    choice: OnDataLoss,
) -> Result<BTreeMap<i32, i64>> {
    let topic = &view.topic;
    let now = Now::look(address, consumer, topic)?;
    let same = same_topic(topic, view.topic_id.as_ref(), &now, choice)?;
    let mut moved = BTreeMap::new();
    for range in &view.ranges {
        let Some(&wanted) = next.get(&range.partition) else { continue };
        if range.end.is_some_and(|end| wanted >= end) {
            continue;
        }
        let Some(bounds) = now.bounds.get(&range.partition) else {
            return Err(data_loss(&format!("{topic}[{}]", range.partition), "the partition is not there any more"));
        };
        let found = if same { still_there(topic, range.partition, wanted, *bounds, choice)? } else { bounds.0 };
        if found != wanted {
            moved.insert(range.partition, found);
        }
    }
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_gone_is_an_error_or_the_oldest_that_is_left_and_never_the_end() {
        for (wanted, bounds) in [(4, (5, 9)), (10, (5, 9)), (10, (0, 0))] {
            assert_eq!(still_there("t", 0, wanted, bounds, OnDataLoss::Fail).unwrap_err().code(), "WEIR-KAFKA-010");
            assert_eq!(still_there("t", 0, wanted, bounds, OnDataLoss::Earliest).unwrap(), bounds.0);
        }
        for wanted in 5..=9 {
            assert_eq!(still_there("t", 0, wanted, (5, 9), OnDataLoss::Fail).unwrap(), wanted);
        }
    }

    #[test]
    fn a_topic_of_the_same_name_is_not_the_same_topic() {
        let now = Now { topic_id: Some("b".into()), bounds: BTreeMap::new() };
        assert_eq!(same_topic("t", Some(&"a".into()), &now, OnDataLoss::Fail).unwrap_err().code(), "WEIR-KAFKA-010");
        assert!(!same_topic("t", Some(&"a".into()), &now, OnDataLoss::Earliest).unwrap());
        assert!(same_topic("t", None, &now, OnDataLoss::Fail).unwrap());
        assert!(same_topic("t", Some(&"b".into()), &now, OnDataLoss::Fail).unwrap());
    }
}
