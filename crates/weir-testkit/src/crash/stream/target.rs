//! Where records go, and whether they are all there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use bytes::Bytes;

use super::broker::{Bus, Record, Written};
use super::kafka::Watch;
use crate::crash::rows::{hex, parquet_rows};
use crate::crash::{compare, visible_files};
use crate::{Database, PostgresServer};

/// Which kind of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// A folder of Parquet files.
    Parquet,
    /// Rows of a table, by `append`.
    PgAppend,
    /// Rows of a table, by `upsert`.
    PgUpsert,
    /// Another topic, in transactions.
    Kafka,
}

impl To {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Parquet, Self::PgAppend, Self::PgUpsert, Self::Kafka];

    /// In the names of suites.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::PgAppend => "pg",
            Self::PgUpsert => "pg-upsert",
            Self::Kafka => "kafka",
        }
    }
}

/// A target.
pub(super) enum Target {
    Parquet(PathBuf),
    Table { database: Database, upsert: bool, _server: PostgresServer },
    Topic { name: String, watch: Watch },
}

impl Target {
    /// A new one; files go below `folder`.
    pub fn make(to: To, bus: &Bus, round: usize, folder: &Path) -> Result<Self> {
        Ok(match to {
            To::Parquet => Self::Parquet(folder.join("out")),
            To::PgAppend | To::PgUpsert => {
                let server = PostgresServer::shared()?;
                let database = server.create_database()?;
                let key = if to == To::PgUpsert { " PRIMARY KEY" } else { "" };
                database.execute(format!("CREATE TABLE target (id bigint NOT NULL{key}, key text, pad text)"))?;
                Self::Table { database, upsert: to == To::PgUpsert, _server: server }
            }
            To::Kafka => {
                let kafka = bus.kafka()?;
                let name = kafka.topic(&format!("target_{round}"))?;
                Self::Topic { watch: kafka.watch(&name)?, name }
            }
        })
    }

    /// The pipeline's `sink`.
    pub fn yaml(&self, bus: &Bus) -> Result<String> {
        Ok(match self {
            Self::Parquet(_) => "{file: {path: out, format: parquet}}".into(),
            Self::Table { database, upsert, .. } => {
                let mode = if *upsert { "upsert, key: [id]" } else { "append" };
                format!("{{postgres: {{url: '{}', table: public.target, write_mode: {mode}}}}}", database.url())
            }
            Self::Topic { name, .. } => bus.kafka()?.sink(name),
        })
    }

    /// Grows with what is visible.
    pub fn seen(&mut self) -> Result<u64> {
        match self {
            Self::Parquet(folder) => Ok(visible_files(folder)?.len() as u64),
            Self::Table { database, .. } => {
                let count = database.value("SELECT count(*) FROM target")?;
                Ok(count.parse()?)
            }
            Self::Topic { watch, .. } => Ok(watch.count()),
        }
    }

    /// Every record that the broker had is there, once where that is promised, and none that it cannot have had; those of one key in
    /// their order where the target has one. How many are there more than once.
    pub fn compare(&self, bus: &Bus, written: &Written, once: bool) -> Result<usize> {
        let line = |Record { id, key, pad }: &Record| format!("{id}|{}|{}", hex(key.as_bytes()), hex(pad.as_bytes()));
        let mut found: Vec<String> = Vec::new();
        match self {
            Self::Parquet(folder) => {
                for file in visible_files(folder)? {
                    parquet_rows(Bytes::from(fs::read(file)?), &["id", "key", "pad"], &mut found)?;
                }
            }
            Self::Table { database, .. } => {
                let text = |column: &str| format!("encode(convert_to({column}, 'UTF8'), 'hex')");
                let rows = database.rows(format!("SELECT concat_ws('|', id, {}, {}) FROM target", text("key"), text("pad")))?;
                found.extend(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()));
            }
            Self::Topic { name, .. } => {
                let records = bus.kafka()?.read(name)?;
                in_order(&written.sure, &records)?;
                found.extend(records.iter().map(line));
            }
        }
        let mut expected: Vec<String> = written.sure.iter().map(line).collect();
        found.sort_unstable();
        // What the broker did not answer to may be there.
        let unsure: BTreeSet<String> = written.unsure.iter().map(line).collect();
        expected.extend(found.iter().filter(|row| unsure.contains(*row)).cloned().collect::<BTreeSet<_>>());
        expected.sort_unstable();
        let all = found.len();
        if !once {
            found.dedup();
        }
        compare(&expected, &found)?;
        Ok(all - found.len())
    }
}

fn in_order(source: &[Record], target: &[Record]) -> Result<()> {
    let by_key = |records: &[Record]| {
        let mut keys: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        records.iter().for_each(|record| keys.entry(record.key.clone()).or_default().push(record.id));
        keys
    };
    let (source, target) = (by_key(source), by_key(target));
    for (key, ids) in &source {
        let there = target.get(key).map(Vec::as_slice).unwrap_or_default();
        let differs = ids.iter().zip(there).position(|(one, other)| one != other);
        ensure!(
            differs.is_none() && ids.len() == there.len(),
            "key {key}: {} records in the source, {} in the target, which differ at {differs:?}",
            ids.len(),
            there.len()
        );
    }
    Ok(())
}
