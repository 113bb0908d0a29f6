//! What a plan is. The engine executes [`Plan::flows`]; the rest is for people and machines that read it.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::SessionContext;
use serde::{Deserialize, Serialize};
use weir_connect::{
    CommitKind, DeadLetter, DeleteMode, Edge, OnLoss, Result, RunIdentity, SchemaChangePolicy, Sink, Source, StreamInfo,
    StreamTarget, WriteMode,
};
use weir_spec::model::{Delivery, Pipeline};

use crate::changes::{MetadataColumn, OutputWay, Replan};
use crate::gates::{Gate, Passed};
use crate::keyed::KeyedProgram;
use crate::results::{ResultsSink, add_samples};

/// A pipeline that has been checked against its connectors and, unless planned offline, against the real systems.
pub struct Plan {
    /// The spec it came from.
    pub pipeline: Arc<Pipeline>,
    /// Independent parts, one per source stream in a linear pipeline; run one after another or side by side.
    pub flows: Vec<Flow>,
    /// Where the dead letters of all flows go, beside the checkpoint; its schema is that of `weir_connect::letters`.
    pub letters: Option<FlowOutput>,
    /// Where the results of rules go, beside the checkpoint.
    pub results: Vec<ResultsSink>,
    /// What is promised and why.
    pub guarantee: Guarantee,
    /// Column by column: where it comes from, how it travels, what it becomes.
    pub columns: Vec<ColumnReport>,
    /// Things worth saying that stop nothing.
    pub warnings: Vec<String>,
    /// What the run would do to the targets.
    pub actions: Vec<String>,
}

/// A connected component of the graph for one choice of source streams.
pub struct Flow {
    /// The stream's name in a linear pipeline; otherwise the name of the (first) sink node.
    pub name: String,
    /// What it reads.
    pub inputs: Vec<FlowInput>,
    /// What it does.
    pub program: Program,
    /// What it writes: one entry per sink node, in the order of the program's outputs.
    pub outputs: Vec<FlowOutput>,
    /// Where a run counts what passes: first one per input, then one per output, then those of the transforms. None: nothing is counted.
    pub gates: Vec<Gate>,
    /// `mode: cdc`: the program for other shapes of the stream, if it changes rows at all. `None`: the sinks get what the log gives.
    pub replan: Option<Arc<dyn Replan>>,
}

/// One stream read by a flow.
pub struct FlowInput {
    /// Source node.
    pub node: String,
    /// Connector's descriptor name.
    pub connector: String,
    /// The source, shared by the flows that read from the same node.
    pub source: Arc<dyn Source>,
    /// The stream.
    pub stream: StreamInfo,
    /// Name under which a relational program expects the table.
    pub table: String,
    /// The `cursor` option, if the mode is incremental.
    pub cursor: Option<String>,
    /// The `lag` option in microseconds (for numeric cursors: in the cursor's own unit).
    pub cursor_lag: Option<i64>,
}

/// One sink written by a flow.
#[derive(Clone)]
pub struct FlowOutput {
    /// Sink node.
    pub node: String,
    /// Connector's descriptor name.
    pub connector: String,
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// Name for `{stream}`.
    pub stream: String,
    /// What the program gives it.
    pub schema: SchemaRef,
    /// How rows enter.
    pub write_mode: WriteMode,
    /// Key columns.
    pub key: Vec<String>,
    /// Contract.
    pub on_schema_change: SchemaChangePolicy,
    /// Allowed losses.
    pub on_loss: OnLoss,
    /// What deletes do (`mode: cdc`).
    pub deletes: DeleteMode,
    /// Columns about changes that the engine adds (`mode: cdc`); they are the last columns of `schema`.
    pub metadata: Vec<MetadataColumn>,
}

impl FlowOutput {
    /// What its sink is asked for, of rows without a cursor.
    pub fn target(&self, run: RunIdentity) -> StreamTarget {
        StreamTarget {
            run,
            stream: self.stream.clone(),
            schema: self.schema.clone(),
            key: self.key.clone(),
            cursor: None,
            write_mode: self.write_mode,
            on_schema_change: self.on_schema_change,
            changes: false,
        }
    }

    /// How often a row that is kept in the checkpoint is at the target once it was carried there, for `weir plan`.
    pub(crate) fn each(&self) -> &'static str {
        match self.sink.capabilities(self.write_mode).commit {
            CommitKind::Staged | CommitKind::CoCommitted => "each once",
            CommitKind::Idempotent => "each once by key",
            CommitKind::Append => "each at least once",
        }
    }

    /// The first of the others that would write to the same place.
    pub(crate) fn clash<'o>(&self, place: &str, mut others: impl Iterator<Item = &'o Self>) -> Option<&'o Self> {
        others.find(|other| other.connector == self.connector && other.sink.place(&other.stream) == place)
    }
}

/// Who asks a sink what a run would do.
pub(crate) fn asker(pipeline: &Pipeline) -> RunIdentity {
    RunIdentity { pipeline: pipeline.name.clone(), run_id: "plan".into() }
}

/// What a flow does between its inputs and outputs.
pub enum Program {
    /// Every output batch depends on one input batch only (exactly one input): runs inside the lanes, keeps positions, bounded memory.
    RowLocal(Arc<dyn RowProgram>),
    /// Needs to see rows together (join, aggregate, sort, distinct, window, limit): runs once over everything in DataFusion with spilling.
    Relational(Arc<dyn RelationalProgram>),
    /// Keeps state over event time (`mode: streaming`): runs without end in one lane, its state is part of each epoch.
    Keyed(Arc<dyn KeyedProgram>),
}

/// A row-local program. Pure and shared by all lanes.
pub trait RowProgram: Send + Sync {
    /// Applies it to one batch: one entry per flow output.
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>>;
    /// The same, and adds to `passed` what passes the gates that lie in the program, and what is set aside at them. `passed` has one entry per gate of
    /// the flow, or is empty: then nothing is counted.
    fn apply_counting(&self, batch: &RecordBatch, passed: &mut [Passed]) -> Result<Vec<RowOutput>> {
        let _ = passed;
        self.apply(batch)
    }
    /// Adds what a batch is to its gates that passes an identity, so that `apply` can be skipped.
    fn count_unchanged(&self, batch: &RecordBatch, passed: &mut [Passed]) {
        let _ = (batch, passed);
    }
    /// Whether the only output is the input itself, so that `apply` can be skipped.
    fn is_identity(&self) -> bool {
        false
    }
    /// Whether this output is the input itself, whatever the others are.
    fn passes_on(&self, output: usize) -> bool {
        output == 0 && self.is_identity()
    }

    /// What each output is made of, for an input of so many columns. `None`: it is not known, and must be taken for everything.
    fn ways(&self, _columns: usize) -> Option<Vec<OutputWay>> {
        None
    }
}

/// What one output gets from one batch. `batch.num_rows() + filtered + dead.len()` equals the input's rows.
#[derive(Debug)]
pub struct RowOutput {
    /// The rows that go on.
    pub batch: RecordBatch,
    /// Rows that a filter took out.
    pub filtered: u64,
    /// Rows that could not be processed (a cast that fails, for example). The payload of each is its row as the *input* had it,
    /// so that it can go through the whole program again.
    pub dead: Vec<DeadLetter>,
    /// Which rows each thinning kept, in order: leads from a row of `batch` back to its place in the input. Without NULLs.
    pub kept: Vec<Arc<BooleanArray>>,
    /// What the rules of `data_quality` nodes counted on the way to this output. Outputs that share a node share its counts.
    pub rules: Vec<RuleCount>,
}

/// What one rule of a `data_quality` node counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCount {
    /// The node.
    pub node: String,
    /// The rule's name, unique in the node.
    pub rule: String,
    /// `warn`, `drop`, `quarantine` or `fail`.
    pub action: String,
    /// Rows that it was held against; 1 for a rule about all rows together.
    pub checked: u64,
    /// Those that break it.
    pub failed: u64,
    /// Values of the first of these, masked, for those who keep results as rows; reports and checkpoints count only.
    #[serde(skip)]
    pub samples: Vec<String>,
}

/// Adds counts, rule by rule.
pub fn add_rules(all: &mut Vec<RuleCount>, more: &[RuleCount]) {
    for count in more {
        match all.iter_mut().find(|known| known.node == count.node && known.rule == count.rule) {
            Some(known) => {
                known.checked += count.checked;
                known.failed += count.failed;
                add_samples(&mut known.samples, &count.samples);
            }
            None => all.push(count.clone()),
        }
    }
}

impl RowOutput {
    /// The place in the input of a row of `batch`.
    pub fn origin(&self, row: usize) -> usize {
        origin(&self.kept, row)
    }
}

/// The place, before all these thinnings, of a row that they left.
pub(crate) fn origin(kept: &[Arc<BooleanArray>], mut row: usize) -> usize {
    for kept in kept.iter().rev() {
        row = kept.values().set_indices().nth(row).unwrap_or(row);
    }
    row
}

/// A relational program.
#[async_trait::async_trait]
pub trait RelationalProgram: Send + Sync {
    /// One data frame per flow output, over a context in which the inputs are registered under [`FlowInput::table`].
    async fn frames(&self, context: &SessionContext) -> Result<Vec<DataFrame>>;
    /// Why it is not row-local, for `weir plan`: `join keeps planes in memory; spills`.
    fn reason(&self) -> String;
    /// What must be done to the batches of an input *before* they are registered as its table, and their schema then: a
    /// row-local beginning with a cast that may set rows aside, which a query could not. It has one output; rows it filters
    /// out and its dead letters count as those of the input. `None`: batches are registered as they come.
    fn prepare(&self, _input: usize) -> Option<(Arc<dyn RowProgram>, SchemaRef)> {
        None
    }
    /// The gates that rows pass which are registered as an input's table, beside those at which its preparation counts.
    fn gates_of_input(&self, _input: usize) -> &[usize] {
        &[]
    }
    /// The gates that rows of an output's frame pass.
    fn gates_of_output(&self, _output: usize) -> &[usize] {
        &[]
    }
}

/// The promise.
#[derive(Debug, Clone, Serialize)]
pub struct Guarantee {
    /// The weakest over all sinks.
    pub delivery: Delivery,
    /// Why, one clause each.
    pub reasons: Vec<String>,
}

/// One output column of one sink.
#[derive(Debug, Clone, Serialize)]
pub struct ColumnReport {
    /// Flow.
    pub flow: String,
    /// Sink node.
    pub sink: String,
    /// Column name at the sink.
    pub column: String,
    /// Lineage: `node.stream.column` of every source column the value depends on.
    pub from: Vec<String>,
    /// The source's own type name if the column is one source column unchanged, else the expression.
    pub source: String,
    /// Arrow type.
    pub arrow: String,
    /// The sink's type.
    pub sink_type: String,
    /// Worst edge of the way.
    pub edge: Edge,
    /// Whether the spec allows the loss.
    pub allowed: bool,
}
