//! What `weir state` and `weir dead` show and change.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};
use weir_error::{Error, Result};

use super::tables::{failed, now, parse};
use super::{EpochBody, StateStore};
use crate::streaming::STATE_SPLIT;

/// The state of one source node of one flow, for people.
#[derive(Debug, Clone, Serialize)]
pub struct StreamView {
    /// Flow (stream).
    pub stream: String,
    /// Source node.
    pub node: String,
    /// Run that left it.
    pub run_id: String,
    /// Cursor value reached.
    pub cursor: Option<String>,
    /// `${last_run_time}` of the next run.
    pub last_run_time: Option<String>,
}

/// A run, for people.
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    /// Run id.
    pub run_id: String,
    /// Pipeline.
    pub pipeline: String,
    /// `running`, `succeeded`, `stopped` (a stream without end), `failed`, `interrupted`, `abandoned`.
    pub status: String,
    /// Attempts.
    pub attempts: i64,
    /// When it began.
    pub started_at: String,
    /// When its last attempt ended.
    pub ended_at: Option<String>,
    /// Checkpoints kept for a resume.
    pub checkpoints: i64,
    /// The report of the last attempt.
    pub report: Option<Value>,
}

/// How far a split of a stream without end is durable, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitView {
    /// Flow (stream).
    pub stream: String,
    /// The split's id.
    pub split: String,
    /// Rows read from it since the run began, dead letters included.
    pub rows: u64,
    /// The connector's own position; `None`: nothing is durable yet.
    pub position: Option<Value>,
    /// It is closed for good at the source.
    pub done: bool,
}

/// What a stream keeps over event time, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeptView {
    /// Flow (stream).
    pub stream: String,
    /// The epoch that it is of.
    pub epoch: u64,
    /// What it takes on disk.
    pub bytes: u64,
}

/// All that is known of a pipeline.
#[derive(Debug, Clone, Serialize)]
pub struct PipelineView {
    /// Streams with what the next run starts from.
    pub streams: Vec<StreamView>,
    /// How far the splits of a stream without end are durable.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<SplitView>,
    /// What its streams keep over event time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptView>,
    /// The last runs, newest first.
    pub runs: Vec<RunView>,
    /// Dead letters not yet replayed.
    pub dead_letters: i64,
}

/// A dead letter as stored.
#[derive(Debug, Clone, Serialize)]
pub struct DeadView {
    /// Number, unique in the state file.
    pub id: i64,
    /// Pipeline.
    pub pipeline: String,
    /// Run that met it.
    pub run_id: String,
    /// Flow that it was in.
    pub flow: String,
    /// The sink that lacks it, if a transform on the way there set it aside; otherwise no sink has it.
    pub sink: Option<String>,
    /// Stream it came from.
    pub stream: String,
    /// Stable code.
    pub code: String,
    /// What was wrong.
    pub reason: String,
    /// Where it was.
    pub place: String,
    /// Media type of the payload.
    pub media_type: String,
    /// The record as it came.
    #[serde(skip)]
    pub payload: Vec<u8>,
    /// When.
    pub at: String,
    /// When it was replayed, if ever.
    pub replayed_at: Option<String>,
}

/// Dead letters of one kind, counted.
#[derive(Debug, Clone, Serialize)]
pub struct DeadGroup {
    /// Stream.
    pub stream: String,
    /// Stable code.
    pub code: String,
    /// One of the reasons.
    pub reason: String,
    /// How many wait.
    pub count: i64,
}

impl StateStore {
    /// The pipelines that this state file knows.
    pub async fn pipelines(&self) -> Result<Vec<String>> {
        sqlx::query_scalar("SELECT DISTINCT pipeline FROM run ORDER BY 1").fetch_all(&self.tables()?.pool).await.map_err(failed)
    }

    /// All that is known of a pipeline.
    pub async fn show(&self, pipeline: &str) -> Result<PipelineView> {
        let rows = sqlx::query("SELECT flow, node, run_id, body FROM stream_state WHERE pipeline = $1 ORDER BY flow, node")
            .bind(pipeline)
            .fetch_all(&self.tables()?.pool)
            .await
            .map_err(failed)?;
        let mut streams = Vec::new();
        for row in &rows {
            let state: super::StreamState = parse(&row.get::<String, _>(3))?;
            streams.push(StreamView {
                stream: row.get(0),
                node: row.get(1),
                run_id: row.get(2),
                cursor: state.cursor.and_then(|cursor| cursor.max_text),
                last_run_time: state.last_run_time,
            });
        }
        let rows = sqlx::query(
            "SELECT run_id, pipeline, status, attempts, started_at, ended_at, report,
                    (SELECT count(*) FROM epoch WHERE epoch.run_id = run.run_id)
             FROM run WHERE pipeline = $1 ORDER BY started_at DESC, run_id DESC LIMIT 10",
        )
        .bind(pipeline)
        .fetch_all(&self.tables()?.pool)
        .await
        .map_err(failed)?;
        let mut runs = Vec::new();
        for row in &rows {
            let report: Option<String> = row.get(6);
            runs.push(RunView {
                run_id: row.get(0),
                pipeline: row.get(1),
                status: row.get(2),
                attempts: row.get(3),
                started_at: row.get(4),
                ended_at: row.get(5),
                report: report.as_deref().map(parse).transpose()?,
                checkpoints: row.get(7),
            });
        }
        let dead_letters = sqlx::query_scalar(
            "SELECT count(*) FROM dead_letter WHERE pipeline = $1 AND replayed_at IS NULL AND discarded_at IS NULL",
        )
        .bind(pipeline)
        .fetch_one(&self.tables()?.pool)
        .await
        .map_err(failed)?;
        let (splits, kept) = self.splits(pipeline).await?;
        Ok(PipelineView { streams, splits, kept, runs, dead_letters })
    }

    /// The splits of a stream without end, by flow and id, and what it keeps: what the epochs of its run say last.
    async fn splits(&self, pipeline: &str) -> Result<(Vec<SplitView>, Vec<KeptView>)> {
        let rows = sqlx::query(
            "SELECT epoch.flow, epoch.body FROM run JOIN epoch ON epoch.run_id = run.run_id
             WHERE run.pipeline = $1 AND run.status NOT IN ('succeeded', 'abandoned') ORDER BY epoch.flow, epoch.epoch",
        )
        .bind(pipeline)
        .fetch_all(&self.tables()?.pool)
        .await
        .map_err(failed)?;
        let mut splits = BTreeMap::new();
        let (mut streams, mut kept) = (HashSet::new(), BTreeMap::new());
        for row in &rows {
            let (stream, body): (String, EpochBody) = (row.get(0), parse(&row.get::<String, _>(1))?);
            if body.turn.is_some() {
                streams.insert(stream.clone());
            }
            if let Some(mark) = &body.state {
                kept.insert(stream.clone(), mark.point.epoch);
            }
            // Epochs of other modes are not told split by split: there are as many as the source has parts.
            for part in body.progress.into_iter().filter(|part| streams.contains(&stream) && part.split.id != STATE_SPLIT) {
                let (split, position, done) = (part.split.id, part.position, part.done);
                let view = SplitView { stream: stream.clone(), split: split.clone(), rows: part.rows, position, done };
                splits.insert((stream.clone(), split), view);
            }
        }
        let folder = |stream: &str| crate::state::folder_of_flow(self.folder(), pipeline, stream);
        let kept =
            kept.into_iter().map(|(stream, epoch)| KeptView { bytes: crate::state::bytes_of(&folder(&stream)), stream, epoch });
        Ok((splits.into_values().collect(), kept.collect()))
    }

    /// Forgets where a pipeline (or one of its streams) stands: the next run starts from the beginning. An unfinished run
    /// is abandoned; what it staged is thrown away when the next run begins. Dead letters stay. Returns the number of
    /// states forgotten. Refused while a run goes on: it would commit without the checkpoints that were taken from it.
    pub async fn reset(&self, pipeline: &str, stream: Option<&str>) -> Result<u64> {
        let _lock = crate::run::lock(self.folder(), pipeline)?;
        if stream.is_none() {
            // First: a journal that is left over would say where to go on.
            let journal = crate::cdc::folder_of(self.folder(), pipeline);
            match std::fs::remove_dir_all(&journal) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::from(error).at(journal.display().to_string()));
                }
                _ => {}
            }
        }
        if let Some(stream) = stream
            && !self.splits(pipeline).await?.0.is_empty()
        {
            // Of streams without end the run holds the others, too: it goes on.
            let sql = "DELETE FROM epoch WHERE flow = $1 AND run_id IN
                       (SELECT run_id FROM run WHERE pipeline = $2 AND status NOT IN ('succeeded', 'abandoned'))";
            let mut tx = self.tables()?.begin_writing().await?;
            let epochs = sqlx::query(sql).bind(stream).bind(pipeline).execute(&mut *tx).await.map_err(failed)?.rows_affected();
            tx.commit().await.map_err(failed)?;
            crate::state::clear(&crate::state::folder_of_flow(self.folder(), pipeline, stream))?;
            return Ok(epochs.min(1));
        }
        let mut tx = self.tables()?.begin_writing().await?;
        let forgotten = sqlx::query("DELETE FROM stream_state WHERE pipeline = $1 AND ($2 IS NULL OR flow = $2)")
            .bind(pipeline)
            .bind(stream)
            .execute(&mut *tx)
            .await
            .map_err(failed)?
            .rows_affected();
        let abandoned = sqlx::query(
            "UPDATE run SET status = 'abandoned', ended_at = $1 WHERE pipeline = $2 AND status NOT IN ('succeeded', 'abandoned')",
        )
        .bind(now())
        .bind(pipeline)
        .execute(&mut *tx)
        .await
        .map_err(failed)?
        .rows_affected();
        for table in ["epoch", "rule_result"] {
            let sql = format!(
                "DELETE FROM {table} WHERE run_id IN (SELECT run_id FROM run WHERE pipeline = $1 AND status = 'abandoned')"
            );
            sqlx::query(AssertSqlSafe(sql)).bind(pipeline).execute(&mut *tx).await.map_err(failed)?;
        }
        if stream.is_none() {
            // They were about what was there.
            sqlx::query("DELETE FROM wish WHERE pipeline = $1").bind(pipeline).execute(&mut *tx).await.map_err(failed)?;
        }
        tx.commit().await.map_err(failed)?;
        if stream.is_none() {
            // After: without a checkpoint that names it nobody takes it for anything.
            crate::state::clear(&crate::state::folder_of(self.folder(), pipeline))?;
        }
        Ok(forgotten + abandoned)
    }

    /// The flows of a run that have checkpoints.
    pub(crate) async fn flows(&self, run_id: &str) -> Result<Vec<String>> {
        sqlx::query_scalar("SELECT DISTINCT flow FROM epoch WHERE run_id = $1 ORDER BY flow")
            .bind(run_id)
            .fetch_all(&self.tables()?.pool)
            .await
            .map_err(failed)
    }

    /// Waiting dead letters, by stream and code.
    pub async fn dead_groups(&self, pipeline: Option<&str>) -> Result<Vec<DeadGroup>> {
        let rows = sqlx::query(
            "SELECT stream, code, min(reason), count(*) FROM dead_letter
             WHERE ($1 IS NULL OR pipeline = $1) AND replayed_at IS NULL AND discarded_at IS NULL GROUP BY stream, code ORDER BY 4 DESC",
        )
        .bind(pipeline)
        .fetch_all(&self.tables()?.pool)
        .await
        .map_err(failed)?;
        Ok(rows
            .iter()
            .map(|row| DeadGroup { stream: row.get(0), code: row.get(1), reason: row.get(2), count: row.get(3) })
            .collect())
    }

    /// Waiting dead letters of a pipeline, oldest first, at most `limit`. Of one that was corrected the corrected record.
    pub async fn dead_list(&self, pipeline: &str, limit: i64) -> Result<Vec<DeadView>> {
        let rows = sqlx::query(
            "SELECT id, pipeline, run_id, flow, sink, stream, code, reason, place, coalesce(edited_type, media_type), coalesce(edited, payload),
                    at, replayed_at
             FROM dead_letter WHERE pipeline = $1 AND replayed_at IS NULL AND discarded_at IS NULL ORDER BY id LIMIT $2",
        )
        .bind(pipeline)
        .bind(limit)
        .fetch_all(&self.tables()?.pool)
        .await
        .map_err(failed)?;
        Ok(rows.iter().map(dead_view).collect())
    }

    /// One dead letter; of one that was corrected the corrected record.
    pub async fn dead_show(&self, id: i64) -> Result<Option<DeadView>> {
        let row = sqlx::query(
            "SELECT id, pipeline, run_id, flow, sink, stream, code, reason, place, coalesce(edited_type, media_type), coalesce(edited, payload),
                    at, replayed_at
             FROM dead_letter WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.tables()?.pool)
        .await
        .map_err(failed)?;
        Ok(row.as_ref().map(dead_view))
    }
}

fn dead_view(row: &sqlx::any::AnyRow) -> DeadView {
    DeadView {
        id: row.get(0),
        pipeline: row.get(1),
        run_id: row.get(2),
        flow: row.get(3),
        sink: row.get(4),
        stream: row.get(5),
        code: row.get(6),
        reason: row.get(7),
        place: row.get(8),
        media_type: row.get(9),
        payload: row.get(10),
        at: row.get(11),
        replayed_at: row.get(12),
    }
}
