//! The one model that all surfaces lower to: a small graph of named nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `mode`: how the pipeline reads its sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Everything, every time.
    #[default]
    Batch,
    /// What is new since the last committed run.
    Incremental,
    /// A snapshot, then every change.
    Cdc,
    /// Without end.
    Streaming,
}

/// `delivery`: the demand (and, computed by the plan, the promise).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Nothing is lost; a crash may repeat rows.
    AtLeastOnce,
    /// Repeated rows replace themselves.
    EffectivelyOnce,
    /// Every row is in the target exactly once.
    ExactlyOnce,
}

/// `engine`: where the pipeline runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// In the process of `weir run`.
    #[default]
    Native,
    /// Apache SeaTunnel.
    Seatunnel,
    /// Apache Flink.
    Flink,
    /// Apache Spark.
    Spark,
    /// Kafka Connect.
    KafkaConnect,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Native, Self::Seatunnel, Self::Flink, Self::Spark, Self::KafkaConnect];

    /// The word in pipeline files and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Seatunnel => "seatunnel",
            Self::Flink => "flink",
            Self::Spark => "spark",
            Self::KafkaConnect => "kafka-connect",
        }
    }

    /// The engine of a word; underscores are understood.
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.trim().replace('_', "-");
        Self::ALL.into_iter().find(|engine| engine.word() == word)
    }
}

/// A place in a pipeline file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    /// Byte offset of the first character.
    pub start: usize,
    /// Byte offset after the last character.
    pub end: usize,
    /// Line of `start`.
    pub line: usize,
    /// Column of `start`.
    pub column: usize,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Source,
    /// Changes.
    Transform,
    /// Writes.
    Sink,
}

/// One input of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The upstream node.
    pub node: String,
    /// The output of that node, for nodes with several (`routed.eu`).
    pub port: Option<String>,
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the pipeline.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// The connector's or transform's name as written (aliases are resolved by the registry).
    pub kind: String,
    /// Upstream nodes, in order; empty for sources.
    pub inputs: Vec<Input>,
    /// The options with canonical names; references (`${ENV}`, `{{name}}`, `vault://`) still as text. `input` and `name` are taken out,
    /// `connection` (a name) stays for sources and sinks. Bare strings are under the transform's natural key.
    pub options: Value,
}

/// A connection declared in the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// The connector's name as written.
    pub kind: String,
    /// Its options, canonical names, references as text.
    pub options: Value,
}

/// `schedule`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Five cron fields.
    pub cron: String,
    /// IANA time zone; UTC if absent.
    pub timezone: Option<String>,
    /// `skip` or `queue`.
    pub overlap: Option<String>,
    /// `none`, `last` or `all`.
    pub catch_up: Option<String>,
}

/// `dead_letters`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeadLetterPolicy {
    /// More than this many in one run fail it (exit code 4).
    pub allow: u64,
    /// The sink that gets them too; it has no inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Box<Node>>,
}

/// What happens at the source when the journal has grown to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// Nothing more is read until the sinks have caught up.
    #[default]
    Wait,
    /// The run ends.
    Fail,
}

/// How long the journal keeps what every sink has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// For so many milliseconds.
    Ms(u64),
    /// The last so many bytes.
    Bytes(u64),
}

/// `journal`: the durable changes between a log and its sinks (`mode: cdc`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalPolicy {
    /// `s3://BUCKET/PREFIX`; `None`: where the checkpoints are, or in the platform's bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The connection that reaches `path`; `None`: the credentials of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// It may take so many bytes.
    pub max_bytes: u64,
    /// What happens then.
    pub when_full: WhenFull,
    /// What stays for `weir journal replay` beyond what sinks still need. It never makes the source wait.
    pub keep: Option<Keep>,
}

impl Default for JournalPolicy {
    fn default() -> Self {
        Self { path: None, connection: None, max_bytes: 10 << 30, when_full: WhenFull::Wait, keep: None }
    }
}

/// `roll`: how long a stream's rows are collected where they become visible together (`mode: streaming`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RollPolicy {
    /// For so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// Or until so many bytes were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// `alerts[]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// `error_rate`, `processing_lag`, …
    pub metric: String,
    /// The threshold.
    pub above: f64,
    /// Over this long (`5m`).
    pub window: Option<String>,
    /// `info`, `warning`, `critical`.
    pub severity: Option<String>,
    /// `webhook`, …
    pub action: Option<String>,
}

/// Where the platform runs a pipeline. `weir run` runs it where it is called, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// As a process of the worker's machine.
    Process,
    /// As a Job of a Kubernetes cluster.
    Kubernetes,
}

/// A pipeline, as parsed and shape-checked. Semantics (does the connector exist, do the columns) are the plan's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// lower_snake name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// How it reads.
    pub mode: Mode,
    /// Where it runs, unless the command says otherwise; `None` = native.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// Settings of engines, as their clients know them: address, sizes. References as text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub engine_configs: BTreeMap<Engine, Map<String, Value>>,
    /// When it runs by itself.
    pub schedule: Option<Schedule>,
    /// Lanes; `None` = the cores of the machine.
    pub parallelism: Option<usize>,
    /// Where the platform runs it; `None` = as the platform is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// Time between checkpoints.
    pub checkpoint_interval_ms: Option<u64>,
    /// `mode: streaming`: a row waits no longer than this for others on its way to a sink that shows rows at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_latency_ms: Option<u64>,
    /// `mode: streaming`: when files become visible; `None` = as by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll: Option<RollPolicy>,
    /// The graph, in file order.
    pub nodes: Vec<Node>,
    /// Connections declared in the file.
    pub connections: BTreeMap<String, Connection>,
    /// `evolve | freeze | hold | discard_row | discard_column`.
    pub on_schema_change: Option<String>,
    /// Column → choice; the key `*` is the default for all columns. Choices: `error | string | accept | drop`.
    pub on_loss: BTreeMap<String, String>,
    /// The demand.
    pub delivery: Option<Delivery>,
    /// How many dead letters are tolerated.
    pub dead_letters: DeadLetterPolicy,
    /// The journal of `mode: cdc`; `None` = as by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalPolicy>,
    /// Alert rules, for the platform.
    pub alerts: Vec<Alert>,
    /// Labels (`owner`, …).
    pub labels: BTreeMap<String, String>,
    /// Where `{{name}}` references are looked up.
    pub credentials_ref: Option<String>,
    /// Tenant named in the file; must equal the caller's.
    pub tenant: Option<String>,
    /// Where each part stood, by JSON pointer into the *native form* (`/source/postgres/tables/0`); for diagnostics only.
    #[serde(skip)]
    pub spans: BTreeMap<String, Span>,
    /// The pointer of each node in `spans`, by node name.
    #[serde(skip)]
    pub node_paths: BTreeMap<String, String>,
}

impl Pipeline {
    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }
    /// The engine that the file names, if that is not our own.
    pub fn foreign_engine(&self) -> Option<Engine> {
        self.engine.filter(|engine| *engine != Engine::Native)
    }
    /// All nodes that read or write a system, the sink of the dead letters too.
    pub fn systems(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.role != Role::Transform).chain(self.dead_letters.to.as_deref())
    }
    /// All nodes of a role, in file order.
    pub fn of(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.role == role)
    }
}
