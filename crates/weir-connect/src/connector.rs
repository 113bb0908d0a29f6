//! The plug-in itself: who it is, what options it takes, and how to make a source or sink of it.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use weir_error::Result;

use crate::sink::Sink;
use crate::source::Source;
use crate::stream::{OnLoss, StreamInfo};

/// The JSON Schema of one options struct, made by `schemars` from the struct that also parses the options: parsing,
/// editor completion, `weir connectors NAME` and the reference page all come from that one definition.
///
/// Extensions understood on a property: `x-weir-secret: true`, `x-weir-aliases: [..]` (other accepted spellings),
/// `x-weir-unit`, `x-weir-example`.
pub type OptionSchema = Value;

/// Who a connector is. Constant data: the same for every instance.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// The name in pipeline files: snake_case, a noun.
    pub name: &'static str,
    /// Other names that mean this connector (`postgresql`, `minio`, `rest_api`).
    pub aliases: &'static [&'static str],
    /// One line for lists.
    pub summary: &'static str,
    /// Options of a connection: address and credentials.
    pub connection: OptionSchema,
    /// Options of the source beyond the connection; `None` if this connector is no source.
    pub source: Option<OptionSchema>,
    /// Options of the sink beyond the connection; `None` if this connector is no sink.
    pub sink: Option<OptionSchema>,
    /// For each role the name of the option that a seed's `table_or_topic` means: `table`, `path`, `topic`.
    pub address_option: &'static str,
}

/// Which pipeline and run this instance belongs to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RunIdentity {
    /// Pipeline name; state kept in the other system is keyed by it.
    pub pipeline: String,
    /// Unique id of the run; a resumed run keeps its id.
    pub run_id: String,
}

/// What a source is made from. Every reference (`${ENV}`, `vault://`) in the two values is resolved already.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// The connection's options, canonical names.
    pub connection: Value,
    /// The source's options, canonical names.
    pub options: Value,
    /// What to do with columns that have no exact Arrow type.
    pub on_loss: OnLoss,
    /// Cores to use, at least 1.
    pub parallelism: usize,
    /// Folder against which relative local paths resolve.
    pub base_dir: std::path::PathBuf,
}

/// What a sink is made from.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// The connection's options, canonical names.
    pub connection: Value,
    /// The sink's options, canonical names.
    pub options: Value,
    /// What to do with columns that the sink cannot hold exactly.
    pub on_loss: OnLoss,
    /// Name of the sink's node in the pipeline: with the pipeline's name it identifies the sink's state.
    pub node: String,
    /// Writers that may be open at once, at least 1.
    pub parallelism: usize,
    /// Folder against which relative local paths resolve.
    pub base_dir: std::path::PathBuf,
}

/// One line of a connection check.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CheckItem {
    /// `reach`, `auth`, `privileges`, `version`, …
    pub name: String,
    /// Whether it is fine.
    pub ok: bool,
    /// What was seen; with `ok: false`, what is missing and how to grant it.
    pub detail: String,
}

/// The result of [`Connector::check`]: reach, authentication, privileges, one line each.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct CheckReport {
    /// The lines, in the order they were checked; checking stops at the first that makes the rest pointless.
    pub items: Vec<CheckItem>,
}

impl CheckReport {
    /// Adds a line.
    pub fn push(&mut self, name: &str, ok: bool, detail: impl Into<String>) {
        self.items.push(CheckItem { name: name.into(), ok, detail: detail.into() });
    }
    /// Whether every line is fine.
    pub fn ok(&self) -> bool {
        self.items.iter().all(|item| item.ok)
    }
}

/// A plug-in for one system. Stateless; instances hold the connections.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Who this is.
    fn descriptor(&self) -> &Descriptor;

    /// Other connectors whose declared connections this one can use: `postgres-cdc` takes those of `postgres`.
    fn connections_of(&self) -> &'static [&'static str] {
        &[]
    }

    /// Deserialises options without connecting, so that `weir check` finds what a JSON Schema cannot say
    /// (two options that exclude each other, an unparsable URL). `role` is `source`, `sink` or `connection`.
    /// References may be unresolved in `connection`; do not judge values that contain `${` or `://`.
    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()>;

    /// Reaches the system and says what works and what is missing.
    async fn check(&self, connection: &Value) -> Result<CheckReport>;

    /// Every stream that the connection could read, without reading rows where the system has a catalogue.
    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>>;

    /// Makes a source. Connects lazily: errors of the network come from [`Source::streams`] and later.
    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>>;

    /// Makes a sink. Connects lazily.
    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>>;
}
