//! A job's pipeline as a graph: what a page draws, whatever form the file has.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use weir_control::access::Caller;
use weir_control::workbench::Checked;
use weir_spec::{Pipeline, Role};
use weir_store::model::JobId;

use crate::answer::{Answer, Reply};
use crate::ask::Ask;
use crate::problem::ProblemPart;

/// The nodes of a pipeline and what flows between them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Graph {
    /// In the order of the file; empty when the file has errors that hide them.
    pub nodes: Vec<GraphNode>,
    /// From each node to those that read it.
    pub edges: Vec<GraphEdge>,
    /// What this build says of the file now, warnings too.
    pub diagnostics: Vec<ProblemPart>,
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
pub struct GraphNode {
    /// Unique in the pipeline.
    pub name: String,
    /// What it is.
    pub role: NodeRole,
    /// The connector's or transform's name as written.
    pub kind: String,
    /// The stored connection or the one of the file that it names.
    pub connection: Option<String>,
    /// Its options, references to secrets as text.
    #[schema(value_type = Object)]
    pub options: Value,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// Reads.
    Source,
    /// Changes.
    Transform,
    /// Writes.
    Sink,
}

/// What flows from one node to another.
#[derive(Debug, Serialize, ToSchema)]
pub struct GraphEdge {
    /// The node before.
    pub from: String,
    /// The output of that node, for nodes with several.
    pub port: Option<String>,
    /// The node after.
    pub to: String,
}

impl Graph {
    fn of(pipeline: Option<&Pipeline>, diagnostics: Vec<ProblemPart>) -> Self {
        let all = pipeline.map(|pipeline| pipeline.nodes.as_slice()).unwrap_or_default();
        let nodes = all.iter().map(|node| GraphNode {
            name: node.name.clone(),
            role: match node.role {
                Role::Source => NodeRole::Source,
                Role::Transform => NodeRole::Transform,
                Role::Sink => NodeRole::Sink,
            },
            kind: node.kind.clone(),
            connection: node.options.get("connection").and_then(Value::as_str).map(str::to_owned),
            options: node.options.clone(),
        });
        let edges = all.iter().flat_map(|node| {
            let edge = |input: &weir_spec::Input| GraphEdge {
                from: input.node.clone(),
                port: input.port.clone(),
                to: node.name.clone(),
            };
            node.inputs.iter().map(edge)
        });
        Self { nodes: nodes.collect(), edges: edges.collect(), diagnostics }
    }

    /// Of a file, with what the checker says of it.
    pub fn checked(checked: &Checked) -> Self {
        Self::of(checked.pipelines.first(), checked.diagnostics.iter().map(ProblemPart::of).collect())
    }
}

/// `GET /jobs/{job_id}/graph`.
pub async fn get(ask: Ask, me: Caller) -> Reply {
    let checked = ask.app.jobs.look(&me.scope, &JobId::from(ask.id("job_id"))).await?;
    Answer::json(&Graph::checked(&checked))
}
