//! What an entry holds: messages out of batches, compression and chunks. Pure.
//!
//! A message that cannot be read is given as one that says why: nothing is left out silently.

use std::collections::HashMap;
use std::io::Read;

use base64::Engine;
use prost::Message as _;
use pulsar::message::Payload;
use pulsar::message::proto::{CompressionType, KeyValue, MessageMetadata, SingleMessageMetadata};
use weir_formats::Refusal;

use super::position::Entry;
use super::schema::kept::Version;

/// Messages that may be under way in chunks at the same time.
const ASSEMBLIES: usize = 64;
/// Chunks that are this much older than what comes now, by their publish times, belong to a message that nobody finishes (milliseconds).
const EXPIRED_MS: u64 = 10 * 60 * 1000;

/// A message as a whole.
#[derive(Debug)]
pub struct Incoming {
    /// Its place in its batch; `None`: it is in none.
    pub index: Option<i32>,
    /// Nothing else comes out of the entry after this.
    pub last: bool,
    /// Its key, as the producer gave it.
    pub key: Option<Vec<u8>>,
    /// Its properties.
    pub properties: Vec<KeyValue>,
    /// Milliseconds since 1970.
    pub publish_time: u64,
    /// Milliseconds since 1970, if the producer gave it.
    pub event_time: Option<u64>,
    /// Its producer.
    pub producer: String,
    /// Its producer's number of it.
    pub sequence: u64,
    /// The payload, as far as it could be read.
    pub payload: Vec<u8>,
    /// By which version of the topic's schema it was written; `None`: its producer announced none.
    pub schema: Option<Version>,
    /// What is wrong with it.
    pub refusal: Option<Refusal>,
}

fn version_of(metadata: &MessageMetadata) -> Option<Version> {
    metadata.schema_version.as_deref().filter(|version| !version.is_empty()).map(Version::from)
}

fn refusal(reason: impl Into<String>) -> Refusal {
    Refusal { code: "WEIR-PULSAR-020", reason: reason.into() }
}

/// A message of which some chunks came.
struct Assembly {
    first: Entry,
    begun: u64,
    next: i32,
    bytes: Vec<u8>,
    /// It is larger than it may be; only its beginning is kept.
    cut: bool,
}

/// Takes entries apart and puts chunks together.
pub struct Unpack {
    max_bytes: usize,
    orphans: bool,
    assemblies: HashMap<String, Assembly>,
}

impl Unpack {
    /// For messages that are at most this large when nothing is compressed. `orphans`: whether a message whose first chunk is not met is one that
    /// was lost. (A reading that begins in the middle leaves it to the one before, which reads every message to its end that it saw begin.)
    pub fn new(max_bytes: usize, orphans: bool) -> Self {
        Self { max_bytes, orphans, assemblies: HashMap::new() }
    }

    /// The first entry of the oldest message that is under way in chunks.
    pub fn open(&self) -> Option<Entry> {
        self.assemblies.values().map(|assembly| assembly.first).min()
    }

    /// Forgets what is under way: reading begins again at [`Self::open`].
    pub fn clear(&mut self) {
        self.assemblies.clear();
    }

    /// The messages of an entry, in their order. `acknowledged` are bits of a batch that the broker knows to be done (a bit that is set is not);
    /// empty: none is.
    pub fn entry(&mut self, at: Entry, payload: Payload, acknowledged: &[i64]) -> Vec<Incoming> {
        let Payload { metadata, data } = payload;
        let mut out = self.expired(metadata.publish_time);
        if metadata.num_chunks_from_msg.is_some_and(|chunks| chunks > 1) {
            out.extend(self.chunk(at, metadata, data));
        } else {
            out.extend(self.whole(&metadata, data, acknowledged));
        }
        if let Some(last) = out.last_mut() {
            last.last = true;
        }
        out
    }

    /// Of an entry behind the end: only chunks that belong to messages that began before.
    pub fn rest(&mut self, at: Entry, payload: Payload) -> Vec<Incoming> {
        let metadata = &payload.metadata;
        let key = chunk_key(metadata);
        if metadata.chunk_id.unwrap_or_default() == 0 || !self.assemblies.contains_key(&key) {
            return Vec::new();
        }
        self.entry(at, payload, &[])
    }

    /// Gives up on everything that is under way.
    pub fn abandon(&mut self, why: &str) -> Vec<Incoming> {
        let mut keys: Vec<(Entry, String)> =
            self.assemblies.iter().map(|(key, assembly)| (assembly.first, key.clone())).collect();
        keys.sort();
        let mut out: Vec<Incoming> = keys.iter().filter_map(|(_, key)| self.give_up(key, why)).collect();
        if let Some(last) = out.last_mut() {
            last.last = true;
        }
        out
    }

    fn whole(&self, metadata: &MessageMetadata, data: Vec<u8>, acknowledged: &[i64]) -> Vec<Incoming> {
        if !metadata.encryption_keys.is_empty() {
            return vec![alone(
                metadata,
                data,
                Some(refusal("the message is encrypted by its producer, and nothing here has the key")),
            )];
        }
        let plain = match inflate(metadata, &data, self.max_bytes) {
            Ok(Some(plain)) => plain,
            Ok(None) => data,
            Err(why) => return vec![alone(metadata, data, Some(refusal(why)))],
        };
        // The field is only there for a batch, also for one of a single message.
        match metadata.num_messages_in_batch {
            None => vec![alone(metadata, plain, None)],
            Some(count) => batch(metadata, &plain, count, acknowledged).unwrap_or_else(|why| {
                vec![alone(metadata, plain, Some(refusal(format!("the batch cannot be taken apart: {why}"))))]
            }),
        }
    }

    fn chunk(&mut self, at: Entry, metadata: MessageMetadata, data: Vec<u8>) -> Vec<Incoming> {
        let key = chunk_key(&metadata);
        let (id, total) = (metadata.chunk_id.unwrap_or_default(), metadata.num_chunks_from_msg.unwrap_or_default());
        let mut out = Vec::new();
        if id == 0 {
            // A producer that sends again begins again.
            self.assemblies.remove(&key);
            if self.assemblies.len() >= ASSEMBLIES {
                let oldest = self.assemblies.iter().min_by_key(|(_, assembly)| assembly.first).map(|(key, _)| key.clone());
                out.extend(oldest.and_then(|key| self.give_up(&key, "too many messages are sent in chunks at the same time")));
            }
            let begun = Assembly { first: at, begun: metadata.publish_time, next: 0, bytes: Vec::new(), cut: false };
            self.assemblies.insert(key.clone(), begun);
        }
        let Some(assembly) = self.assemblies.get_mut(&key) else {
            // The last chunk stands for the message; without it the message is not whole yet.
            if id + 1 == total && self.orphans {
                out.push(alone(&metadata, data, Some(refusal("the message came in chunks, and the first ones are not there"))));
            }
            return out;
        };
        if id < assembly.next {
            // Sent twice.
            return out;
        }
        if id > assembly.next {
            self.assemblies.remove(&key);
            let why = format!("the message came in {total} chunks, and one before chunk {} is not there", id + 1);
            out.push(alone(&metadata, data, Some(refusal(why))));
            return out;
        }
        assembly.next += 1;
        let room = self.max_bytes.saturating_sub(assembly.bytes.len());
        assembly.cut |= data.len() > room;
        assembly.bytes.extend_from_slice(&data[..data.len().min(room)]);
        if assembly.next < total {
            return out;
        }
        let (bytes, cut) = self.assemblies.remove(&key).map(|assembly| (assembly.bytes, assembly.cut)).unwrap_or_default();
        if cut {
            out.push(alone(&metadata, bytes, Some(refusal(too_large(self.max_bytes)))));
        } else {
            out.extend(self.whole(&metadata, bytes, &[]));
        }
        out
    }

    fn give_up(&mut self, key: &str, why: &str) -> Option<Incoming> {
        let assembly = self.assemblies.remove(key)?;
        let place = format!("{}:{}", assembly.first.ledger, assembly.first.entry);
        Some(Incoming {
            index: None,
            last: false,
            key: None,
            properties: Vec::new(),
            publish_time: assembly.begun,
            event_time: None,
            producer: key.split('/').next().unwrap_or_default().to_owned(),
            sequence: 0,
            payload: assembly.bytes,
            schema: None,
            refusal: Some(refusal(format!("the message that begins at {place} came in chunks, and not to its end: {why}"))),
        })
    }

    /// Messages that will not become whole any more. By publish times, so that a second reading finds the same ones at the same entries.
    fn expired(&mut self, now: u64) -> Vec<Incoming> {
        let mut old: Vec<(Entry, String)> = self
            .assemblies
            .iter()
            .filter(|(_, assembly)| assembly.begun.saturating_add(EXPIRED_MS) < now)
            .map(|(key, assembly)| (assembly.first, key.clone()))
            .collect();
        old.sort();
        old.iter().filter_map(|(_, key)| self.give_up(key, "the rest did not come within ten minutes")).collect()
    }
}

fn chunk_key(metadata: &MessageMetadata) -> String {
    format!("{}/{}", metadata.producer_name, metadata.uuid.as_deref().unwrap_or_default())
}

fn too_large(max: usize) -> String {
    format!("the message is larger than {max} bytes; `max_message_bytes` takes larger ones")
}

fn no_value(is_null: Option<bool>) -> Option<Refusal> {
    is_null
        .unwrap_or_default()
        .then(|| Refusal { code: "WEIR-PULSAR-022", reason: "the message has no value (a tombstone)".to_owned() })
}

fn key_of(key: Option<&String>, encoded: Option<bool>) -> (Option<Vec<u8>>, Option<Refusal>) {
    match (key, encoded.unwrap_or_default()) {
        (None, _) => (None, None),
        (Some(key), false) => (Some(key.as_bytes().to_vec()), None),
        (Some(key), true) => match base64::engine::general_purpose::STANDARD.decode(key) {
            Ok(bytes) => (Some(bytes), None),
            Err(_) => (None, Some(refusal("the key says that it is base64 and is not"))),
        },
    }
}

/// A message that is not in a batch.
fn alone(metadata: &MessageMetadata, payload: Vec<u8>, refused: Option<Refusal>) -> Incoming {
    let (key, odd) = key_of(metadata.partition_key.as_ref(), metadata.partition_key_b64_encoded);
    Incoming {
        index: None,
        last: false,
        key,
        properties: metadata.properties.clone(),
        publish_time: metadata.publish_time,
        event_time: metadata.event_time.filter(|time| *time > 0),
        producer: metadata.producer_name.clone(),
        sequence: metadata.sequence_id,
        payload,
        schema: version_of(metadata),
        refusal: refused.or_else(|| no_value(metadata.null_value)).or(odd),
    }
}

fn batch(metadata: &MessageMetadata, mut data: &[u8], count: i32, acknowledged: &[i64]) -> Result<Vec<Incoming>, String> {
    let mut out = Vec::new();
    let schema = version_of(metadata);
    let count = u32::try_from(count).map_err(|_| format!("it is said to hold {count} messages"))?;
    for index in 0..count {
        let size = data.split_off(..4).ok_or("it ends too early")?;
        let size = size.iter().fold(0usize, |size, byte| size << 8 | usize::from(*byte));
        let single = data.split_off(..size).ok_or("it ends too early")?;
        let single = SingleMessageMetadata::decode(single).map_err(|error| error.to_string())?;
        let size = usize::try_from(single.payload_size).map_err(|_| "a message has less than no bytes")?;
        let payload = data.split_off(..size).ok_or("it ends too early")?;
        let done = acknowledged.get(index as usize / 64).is_some_and(|bits| bits >> (index % 64) & 1 == 0)
            || (!acknowledged.is_empty() && index as usize / 64 >= acknowledged.len());
        if done || single.compacted_out == Some(true) {
            continue;
        }
        let (key, odd) = key_of(single.partition_key.as_ref(), single.partition_key_b64_encoded);
        out.push(Incoming {
            index: i32::try_from(index).ok(),
            last: false,
            key,
            properties: single.properties,
            publish_time: metadata.publish_time,
            event_time: single.event_time.filter(|time| *time > 0),
            producer: metadata.producer_name.clone(),
            sequence: single.sequence_id.unwrap_or_else(|| metadata.sequence_id.saturating_add(u64::from(index))),
            payload: payload.to_vec(),
            schema: schema.clone(),
            refusal: no_value(single.null_value).or(odd),
        });
    }
    Ok(out)
}

/// The payload uncompressed; `None`: it is so already.
fn inflate(metadata: &MessageMetadata, data: &[u8], max: usize) -> Result<Option<Vec<u8>>, String> {
    let kind = metadata.compression.unwrap_or_default();
    let kind = CompressionType::try_from(kind).map_err(|_| format!("its compression, number {kind}, is not known"))?;
    let size = metadata.uncompressed_size.unwrap_or_default() as usize;
    if kind == CompressionType::None {
        return if data.len() > max { Err(too_large(max)) } else { Ok(None) };
    }
    if size > max {
        return Err(too_large(max));
    }
    let broken = |error: &dyn std::fmt::Display| format!("it cannot be uncompressed: {error}");
    let plain = match kind {
        CompressionType::Lz4 => lz4_flex::block::decompress(data, size).map_err(|error| broken(&error))?,
        CompressionType::Zstd => zstd::bulk::decompress(data, size).map_err(|error| broken(&error))?,
        CompressionType::Snappy => {
            let said = snap::raw::decompress_len(data).map_err(|error| broken(&error))?;
            if said > size {
                return Err(broken(&"it is larger than it says"));
            }
            snap::raw::Decoder::new().decompress_vec(data).map_err(|error| broken(&error))?
        }
        CompressionType::Zlib => {
            let mut plain = Vec::with_capacity(size);
            let more = flate2::read::ZlibDecoder::new(data).take(size as u64 + 1);
            std::io::copy(&mut { more }, &mut plain).map_err(|error| broken(&error))?;
            plain
        }
        CompressionType::None => return Ok(None),
    };
    if plain.len() == size { Ok(Some(plain)) } else { Err(format!("it has {} bytes and says {size}", plain.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(entry: i64) -> Entry {
        Entry { ledger: 1, entry }
    }

    fn chunk(uuid: &str, id: i32, total: i32, time: u64, data: &[u8]) -> Payload {
        let metadata = MessageMetadata {
            producer_name: "p".into(),
            publish_time: time,
            uuid: Some(uuid.into()),
            chunk_id: Some(id),
            num_chunks_from_msg: Some(total),
            ..MessageMetadata::default()
        };
        Payload { metadata, data: data.to_vec() }
    }

    fn plain(messages: &[Incoming]) -> Vec<(String, bool)> {
        messages.iter().map(|m| (String::from_utf8_lossy(&m.payload).into_owned(), m.refusal.is_some())).collect()
    }

    #[test]
    fn chunks_of_several_messages_are_put_together_and_hold_the_place_of_the_oldest() {
        let mut unpack = Unpack::new(100, true);
        assert!(unpack.entry(at(1), chunk("a", 0, 2, 1, b"aa"), &[]).is_empty());
        assert!(unpack.entry(at(2), chunk("b", 0, 2, 1, b"bb"), &[]).is_empty());
        assert_eq!(unpack.open(), Some(at(1)));
        assert_eq!(plain(&unpack.entry(at(3), chunk("a", 1, 2, 1, b"AA"), &[])), [("aaAA".into(), false)]);
        assert_eq!(unpack.open(), Some(at(2)));
        // Sent twice, then to its end.
        assert!(unpack.entry(at(4), chunk("b", 0, 2, 1, b"bb"), &[]).is_empty());
        assert_eq!(plain(&unpack.entry(at(5), chunk("b", 1, 2, 1, b"BB"), &[])), [("bbBB".into(), false)]);
        assert_eq!(unpack.open(), None);
    }

    #[test]
    fn a_message_without_all_its_chunks_is_told_once_and_not_left_out() {
        let mut unpack = Unpack::new(100, true);
        assert!(unpack.entry(at(1), chunk("a", 1, 3, 1, b"x"), &[]).is_empty());
        assert_eq!(plain(&unpack.entry(at(2), chunk("a", 2, 3, 1, b"y"), &[])), [("y".into(), true)]);
        let mut later = Unpack::new(100, false);
        assert!(later.entry(at(2), chunk("a", 2, 3, 1, b"y"), &[]).is_empty());
        assert!(unpack.entry(at(3), chunk("b", 0, 3, 1, b"x"), &[]).is_empty());
        assert_eq!(plain(&unpack.entry(at(4), chunk("b", 2, 3, 1, b"z"), &[])), [("z".into(), true)]);
        assert!(unpack.entry(at(5), chunk("c", 0, 2, 1000, b"old"), &[]).is_empty());
        let late = unpack.entry(at(6), chunk("d", 0, 2, 1001 + EXPIRED_MS, b"new"), &[]);
        assert_eq!(plain(&late), [("old".into(), true)]);
        assert_eq!(unpack.open(), Some(at(6)));
    }

    #[test]
    fn behind_the_end_only_what_began_before_is_brought_to_its_end() {
        let mut unpack = Unpack::new(100, true);
        assert!(unpack.entry(at(1), chunk("a", 0, 2, 1, b"a"), &[]).is_empty());
        assert!(unpack.rest(at(2), chunk("b", 0, 2, 1, b"b")).is_empty());
        assert!(unpack.rest(at(3), chunk("b", 1, 2, 1, b"b")).is_empty());
        assert_eq!(plain(&unpack.rest(at(4), chunk("a", 1, 2, 1, b"A"))), [("aA".into(), false)]);
        assert!(unpack.entry(at(5), chunk("c", 0, 2, 1, b"c"), &[]).is_empty());
        assert_eq!(plain(&unpack.abandon("it ends")), [("c".into(), true)]);
        assert_eq!(unpack.open(), None);
    }

    #[test]
    fn a_message_that_is_too_large_is_cut_and_told() {
        let mut unpack = Unpack::new(3, true);
        assert!(unpack.entry(at(1), chunk("a", 0, 2, 1, b"aa"), &[]).is_empty());
        assert_eq!(plain(&unpack.entry(at(2), chunk("a", 1, 2, 1, b"bb"), &[])), [("aab".into(), true)]);
        let bomb = MessageMetadata {
            compression: Some(CompressionType::Zstd as i32),
            uncompressed_size: Some(4),
            ..MessageMetadata::default()
        };
        let bomb = unpack.entry(at(3), Payload { metadata: bomb, data: vec![1] }, &[]);
        assert!(bomb[0].refusal.as_ref().unwrap().reason.contains("max_message_bytes"));
    }

    #[test]
    fn a_batch_that_lies_about_itself_is_one_refused_message() {
        let metadata = |count| MessageMetadata { num_messages_in_batch: Some(count), ..MessageMetadata::default() };
        for (count, data) in [(1, &b"\0\0\0\x09ab"[..]), (-1, b""), (i32::MAX, b"\0\0\0\0")] {
            let out = Unpack::new(100, true).entry(at(1), Payload { metadata: metadata(count), data: data.to_vec() }, &[]);
            assert_eq!(out.len(), 1);
            assert_eq!(out[0].refusal.as_ref().unwrap().code, "WEIR-PULSAR-020");
        }
    }
}
