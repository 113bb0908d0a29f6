//! A run's pipeline as a graph, with what has passed each edge: JSON, or live with `Accept: text/event-stream`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_store::TenantStore;
use weir_store::model::{EdgeCounts, NodeCounts, Run, RunId, RunStatus as Status};

use super::graph::{Graph, GraphEdge};
use super::words::RunStatus;
use crate::answer::{Answer, Reply};
use crate::ask::Ask;
use crate::stream::{self, Step};

/// The pipeline that a run executes, and what has passed.
#[derive(Debug, Serialize, ToSchema)]
pub struct RunGraph {
    /// The pipeline in the run's version.
    pub graph: Graph,
    /// What has passed.
    pub counts: GraphCounts,
}

/// What the nodes and edges of a run have seen, over all its streams.
#[derive(Debug, Serialize, ToSchema)]
pub struct GraphCounts {
    /// Where the run stands.
    pub run_status: RunStatus,
    /// When it was so: two answers give a rate.
    #[schema(value_type = String, format = DateTime)]
    pub at: DateTime<Utc>,
    /// In the order of the graph.
    pub nodes: Vec<NodeFlow>,
    /// In the order of the graph.
    pub edges: Vec<EdgeFlow>,
}

/// What a node took in and gave out. Null: not known (yet), or nothing of the kind.
#[derive(Debug, Serialize, Hash, ToSchema)]
pub struct NodeFlow {
    /// The node.
    pub node: String,
    /// Rows in, over all its inputs; a source has none.
    #[schema(minimum = 0)]
    pub rows_in: Option<u64>,
    /// Bytes of their values.
    #[schema(minimum = 0)]
    pub bytes_in: Option<u64>,
    /// Rows out; of a sink those handed to it.
    #[schema(minimum = 0)]
    pub rows_out: Option<u64>,
    /// Bytes of their values; of a sink those at the target, at the end.
    #[schema(minimum = 0)]
    pub bytes_out: Option<u64>,
    /// Rows that it set aside.
    #[schema(minimum = 0)]
    pub rows_dead: u64,
}

/// What went from one node to another. Null: not known (yet), or a query runs over this place as a whole.
#[derive(Debug, Serialize, Hash, ToSchema)]
pub struct EdgeFlow {
    /// The node before.
    pub from: String,
    /// The output of that node, as the graph has it.
    pub port: Option<String>,
    /// The node after.
    pub to: String,
    /// Rows.
    #[schema(minimum = 0)]
    pub rows: Option<u64>,
    /// Bytes of their values as they are in memory.
    #[schema(minimum = 0)]
    pub bytes: Option<u64>,
}

impl GraphCounts {
    fn of(graph: &Graph, run: &Run) -> Self {
        let nodes = graph.nodes.iter().map(|node| {
            let found: Vec<&NodeCounts> =
                run.streams.iter().flat_map(|stream| &stream.nodes).filter(|counts| counts.node == node.name).collect();
            let sum = |part: fn(&NodeCounts) -> Option<u64>| sum(found.iter().map(|counts| part(counts)));
            NodeFlow {
                node: node.name.clone(),
                rows_in: sum(|counts| counts.rows_in),
                bytes_in: sum(|counts| counts.bytes_in),
                rows_out: sum(|counts| counts.rows_out),
                bytes_out: sum(|counts| counts.bytes_out),
                rows_dead: found.iter().fold(0, |sum, counts| sum.saturating_add(counts.rows_dead)),
            }
        });
        let edges = graph.edges.iter().map(|edge| {
            let found = || run.streams.iter().flat_map(|stream| &stream.edges).filter(|counts| is(edge, counts));
            EdgeFlow {
                from: edge.from.clone(),
                port: edge.port.clone(),
                to: edge.to.clone(),
                rows: sum(found().map(|counts| counts.rows)),
                bytes: sum(found().map(|counts| counts.bytes)),
            }
        });
        Self {
            run_status: run.status.into(),
            at: run.ended_at.unwrap_or_else(Utc::now),
            nodes: nodes.collect(),
            edges: edges.collect(),
        }
    }

    /// Everything but the time.
    fn hash(&self, status: Status) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.nodes, &self.edges, status).hash(&mut hasher);
        hasher.finish().max(1)
    }
}

/// An edge of the graph without an output of its own has what comes by all of them.
fn is(edge: &GraphEdge, counts: &EdgeCounts) -> bool {
    edge.from == counts.from && edge.to == counts.to && (edge.port.is_none() || edge.port == counts.port)
}

/// Of all streams; `None` if there are none, or one is not known.
fn sum(parts: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let mut known = None;
    for part in parts {
        known = Some(u64::saturating_add(known.unwrap_or(0), part?));
    }
    known
}

/// `GET /runs/{run_id}/graph`: JSON, or events: `graph` once, `counts` when they have changed, `end`.
pub async fn get(ask: Ask, me: Caller) -> Reply {
    let store = ask.app.tenant(&me.scope);
    let id = RunId::from(ask.id("run_id"));
    let run = store.run(&id).await?;
    let checked = ask.app.jobs.look_at_version(&me.scope, &run.job_id, run.job_version).await?;
    let graph = Graph::checked(&checked);
    if stream::wanted(&ask.headers) {
        let followed = Arc::new(Followed { store, id, graph, told: AtomicU64::new(0) });
        return stream::follow(&ask, &me.scope, move || {
            let followed = followed.clone();
            async move { followed.more().await }
        });
    }
    let counts = GraphCounts::of(&graph, &run);
    Answer::json(&RunGraph { graph, counts })
}

/// A run whose edges somebody watches.
struct Followed {
    store: TenantStore,
    id: RunId,
    graph: Graph,
    /// What was sent last, as a hash; 0: nothing yet.
    told: AtomicU64,
}

impl Followed {
    async fn more(&self) -> weir_error::Result<Step> {
        let run = self.store.run(&self.id).await?;
        let counts = GraphCounts::of(&self.graph, &run);
        let now = counts.hash(run.status);
        let before = self.told.swap(now, Relaxed);
        let mut frames = Vec::new();
        if before == 0 {
            frames.push(stream::frame(None, "graph", &self.graph));
        }
        if before != now {
            frames.push(stream::frame(None, "counts", &counts));
        }
        Ok(Step { frames, over: run.status.is_final(), more: false })
    }
}
