//! Streams over event time: windows of one topic, or two topics that meet within a time, into a table. Numbers are the time, so the batch
//! answer over all the records is known: the table must be that answer, row for row.
//!
//! At the end both topics get records of a far later time, which close what is open.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::broker::{CLOSING, KEYS};
use super::kafka::{Bus, Lines, Writer};
use crate::crash::compare;
use crate::{Database, PostgresServer};

/// Milliseconds of event time between two records.
const STEP_MS: u64 = 10;
/// How far out of order the right side of the join may come.
const APART_MS: u64 = 800;

/// What is made of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Counts by key and second.
    Window,
    /// Each record with what came for it within a second, or with nothing.
    Join,
}

/// A pipeline over event time.
pub(super) struct Timed {
    over: Over,
    left: String,
    right: Option<String>,
    database: Database,
    _server: PostgresServer,
}

/// A moment of the first days of 2026.
fn instant(ms: u64) -> String {
    let (days, ms) = (ms / 86_400_000 + 1, ms % 86_400_000);
    format!("2026-01-{days:02}T{:02}:{:02}:{:02}.{:03}Z", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// In PostgreSQL.
fn millis(column: &str) -> String {
    format!("(extract(epoch from {column} - timestamptz '2026-01-01T00:00:00Z') * 1000)::bigint")
}

/// When the right side says that something happened to a record.
fn seen_ms(id: u64) -> u64 {
    id * STEP_MS + id * 37 % APART_MS
}

fn left(id: u64, ms: u64) -> (String, String) {
    let key = format!("k{}", id * 7 % KEYS);
    let value = format!("{{\"id\": {id}, \"key\": \"{key}\", \"at\": \"{}\"}}", instant(ms));
    (key, value)
}

fn right(number: i64, key: u64, ms: u64) -> (String, String) {
    (format!("k{}", key % KEYS), format!("{{\"ref\": {number}, \"seen\": \"{}\"}}", instant(ms)))
}

/// No record of a suite is as late.
const END_MS: u64 = 20 * 86_400_000;

impl Timed {
    pub fn set(over: Over, bus: &Bus, round: usize) -> Result<Self> {
        let server = PostgresServer::shared()?;
        let database = server.create_database()?;
        database.execute(match over {
            Over::Window => {
                "CREATE TABLE target (window_start timestamptz, window_end timestamptz, key text, records bigint, first bigint, last bigint)"
            }
            Over::Join => "CREATE TABLE target (id bigint, key text, at timestamptz, ref bigint, seen timestamptz)",
        })?;
        let right = (over == Over::Join).then(|| bus.topic(&format!("right_{round}"))).transpose()?;
        Ok(Self { over, left: bus.topic(&format!("left_{round}"))?, right, database, _server: server })
    }

    /// The pipeline's nodes.
    pub fn nodes(&self, bus: &Bus) -> String {
        let time = |column: &str| format!("event_time: {{column: {column}, max_lateness_ms: 2000}}");
        let left = bus.source(
            &self.left,
            &format!("columns: {{id: bigint, key: text, at: timestamptz}}, only_columns: true, {}", time("at")),
        );
        let sink = format!("postgres: {{url: '{}', table: public.target, write_mode: append}}", self.database.url());
        match &self.right {
            None => format!(
                "sources:\n  left: {left}\ntransforms:\n  counted: {{input: left, window: {{tumble: 1s, on: at, group_by: [key], \
                 select: {{records: count(*), first: min(id), last: max(id)}}}}}}\nsinks:\n  out: {{input: counted, {sink}}}\n"
            ),
            Some(topic) => {
                let columns = format!("columns: {{ref: bigint, seen: timestamptz}}, only_columns: true, {}", time("seen"));
                let right = bus.source(topic, &columns);
                format!(
                    "sources:\n  left: {left}\n  right: {right}\ntransforms:\n  met: {{input: [left, right], join: {{kind: left, on: {{id: ref}}, \
                     within: {{left: at, right: seen, after_ms: 1000}}}}}}\nsinks:\n  out: {{input: met, {sink}}}\n"
                )
            }
        }
    }

    pub fn write(&self, bus: &Bus, rate: u64) -> Result<Vec<Writer>> {
        let last = (0..KEYS).map(|key| left(CLOSING + key, END_MS)).collect();
        let mut writers = vec![Writer::start(bus, &self.left, rate, Lines { of: |id| Some(left(id, id * STEP_MS)), last })?];
        if let Some(topic) = &self.right {
            let of = |id: u64| (!id.is_multiple_of(3)).then(|| right(id as i64, id, seen_ms(id)));
            let last = (0..KEYS).map(|key| right(-1 - key as i64, key, END_MS)).collect();
            writers.push(Writer::start(bus, topic, rate, Lines { of, last })?);
        }
        Ok(writers)
    }

    pub fn seen(&self) -> Result<u64> {
        Ok(self.database.value("SELECT count(*) FROM target")?.parse()?)
    }

    /// The table is the answer over all the records; how many they are.
    pub fn compare(&self, bus: &Bus, folder: &Path) -> Result<usize> {
        let (records, mut expected) = self.answer(bus)?;
        let line = match self.over {
            Over::Window => {
                format!("concat_ws('|', {}, {}, key, records, first, last)", millis("window_start"), millis("window_end"))
            }
            Over::Join => {
                let cell = |text: String| format!("coalesce({text}::text, '~')");
                format!("concat_ws('|', id, key, {}, {}, {})", millis("at"), cell("ref".into()), cell(millis("seen")))
            }
        };
        let rows = self.database.rows(format!("SELECT {line} FROM target"))?;
        let mut found: Vec<String> = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        expected.sort_unstable();
        found.sort_unstable();
        compare(&expected, &found).with_context(|| {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            format!("the table is not the answer over {records} records; the last run said\n{}", crate::process::tail(&log, 10))
        })?;
        Ok(records)
    }

    fn answer(&self, bus: &Bus) -> Result<(usize, Vec<String>)> {
        let number =
            |value: &Value, name: &str| value[name].as_i64().with_context(|| format!("a record without `{name}`: {value}"));
        let mut records = Vec::new();
        for value in bus.values(&self.left)? {
            let id = u64::try_from(number(&value, "id")?)?;
            if id < CLOSING {
                records.push(id);
            }
        }
        let mut count = records.len();
        let key = |id: u64| format!("k{}", id * 7 % KEYS);
        let rows = match &self.right {
            None => {
                let mut windows: BTreeMap<(u64, String), Vec<u64>> = BTreeMap::new();
                for id in records {
                    windows.entry((id * STEP_MS / 1000 * 1000, key(id))).or_default().push(id);
                }
                let row = |((start, key), ids): ((u64, String), Vec<u64>)| {
                    let (first, last) = (ids.iter().min().copied().unwrap_or(0), ids.iter().max().copied().unwrap_or(0));
                    format!("{start}|{}|{key}|{}|{first}|{last}", start + 1000, ids.len())
                };
                windows.into_iter().map(row).collect()
            }
            Some(topic) => {
                let mut met: HashMap<u64, usize> = HashMap::new();
                for value in bus.values(topic)? {
                    if let Ok(id) = u64::try_from(number(&value, "ref")?) {
                        *met.entry(id).or_default() += 1;
                        count += 1;
                    }
                }
                let row = |id: u64| {
                    let (times, begin) = (met.get(&id).copied().unwrap_or(0), format!("{id}|{}|{}", key(id), id * STEP_MS));
                    match times {
                        0 => vec![format!("{begin}|~|~")],
                        times => vec![format!("{begin}|{id}|{}", seen_ms(id)); times],
                    }
                };
                records.into_iter().flat_map(row).collect()
            }
        };
        Ok((count, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_moments() {
        assert_eq!(instant(0), "2026-01-01T00:00:00.000Z");
        assert_eq!(instant(86_400_000 + 3_723_004), "2026-01-02T01:02:03.004Z");
        assert_eq!(instant(END_MS), "2026-01-21T00:00:00.000Z");
        assert!((0..5_000).all(|id| (id * STEP_MS..=id * STEP_MS + 1000).contains(&seen_ms(id))));
    }
}
