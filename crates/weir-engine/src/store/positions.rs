//! How far the streams of a pipeline are, as their checkpoints say: the cursor of an incremental stream, the splits of one without end.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Row;
use weir_error::Result;

use super::link::{StateCall, typed};
use super::tables::{Tables, failed, parse};
use super::{EpochBody, StateStore, StreamState, Way};
use crate::streaming::STATE_SPLIT;

/// Splits that an answer holds at most.
const MOST_SPLITS: usize = 1_000;

/// What is durable.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Positions {
    /// Streams that the last committed run left a cursor or a time for.
    pub cursors: Vec<CursorPosition>,
    /// Splits of streams without end, by stream and id; at most a thousand.
    pub splits: Vec<SplitPosition>,
    /// There are more splits than that.
    pub truncated: bool,
}

/// Where the next run of an incremental stream begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CursorPosition {
    /// The stream.
    pub stream: String,
    /// The source node.
    pub source: String,
    /// The largest value seen, as text.
    pub cursor: Option<String>,
    /// `${last_run_time}` of the next run.
    pub last_run_time: Option<String>,
}

/// How far a split is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitPosition {
    /// The stream.
    pub stream: String,
    /// The split's id, as the connector names it: a partition, a topic.
    pub split: String,
    /// The connector's own position; `None`: nothing is durable yet.
    pub position: Option<Value>,
    /// Rows read from it since the run began, dead letters included.
    pub rows: u64,
    /// It is closed for good at the source.
    pub done: bool,
}

impl StateStore {
    /// How far the streams of a pipeline are.
    pub async fn positions(&self, pipeline: &str) -> Result<Positions> {
        match &self.way {
            Way::Tables(tables) => tables.positions(pipeline).await,
            Way::Link(link) => typed(link.ask(StateCall::Positions { pipeline: pipeline.into() }).await?),
        }
    }
}

impl Tables {
    pub(super) async fn positions(&self, pipeline: &str) -> Result<Positions> {
        let rows = sqlx::query("SELECT flow, node, body FROM stream_state WHERE pipeline = $1 ORDER BY flow, node")
            .bind(self.key(pipeline))
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        let mut cursors = Vec::new();
        for row in &rows {
            let state: StreamState = parse(&row.get::<String, _>(2))?;
            let (cursor, last_run_time) = (state.cursor.and_then(|cursor| cursor.max_text), state.last_run_time);
            if cursor.is_some() || last_run_time.is_some() {
                cursors.push(CursorPosition { stream: row.get(0), source: row.get(1), cursor, last_run_time });
            }
        }
        let rows = sqlx::query(
            "SELECT epoch.flow, epoch.body FROM run JOIN epoch ON epoch.run_id = run.run_id
             WHERE run.pipeline = $1 AND run.status NOT IN ('succeeded', 'abandoned') ORDER BY epoch.flow, epoch.epoch",
        )
        .bind(self.key(pipeline))
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        let (mut endless, mut splits) = (HashSet::new(), BTreeMap::new());
        for row in &rows {
            let (stream, body): (String, EpochBody) = (row.get(0), parse(&row.get::<String, _>(1))?);
            if body.turn.is_some() {
                endless.insert(stream.clone());
            }
            // Parts of other modes are read once, and are nobody's position.
            for part in body.progress.into_iter().filter(|part| endless.contains(&stream) && part.split.id != STATE_SPLIT) {
                let (split, position, rows, done) = (part.split.id, part.position, part.rows, part.done);
                splits.insert(
                    (stream.clone(), split.clone()),
                    SplitPosition { stream: stream.clone(), split, position, rows, done },
                );
            }
        }
        let truncated = splits.len() > MOST_SPLITS;
        Ok(Positions { cursors, splits: splits.into_values().take(MOST_SPLITS).collect(), truncated })
    }
}
