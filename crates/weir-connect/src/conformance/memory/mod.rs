//! The reference connector: tables in memory behind an imaginary host with a password. The kit is tested on it, whole and
//! with one [`Mutation`] at a time; each mutation is a way in which real connectors lose, repeat or bend rows.

mod sink;
mod source;
mod system;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_error::{Error, Kind, Result, Secret};

pub use system::MemorySystem;

use crate::connector::{CheckReport, Connector, Descriptor, SinkContext, SourceContext};
use crate::sink::Sink;
use crate::source::Source;
use crate::stream::StreamInfo;

/// One defect. The kit must find each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mutation {
    // sink
    LosesARowOnTheSecondCommit,
    CommitsTwice,
    IgnoresDiscard,
    ShowsBeforeCommit,
    FlushIsNotDurable,
    FlushSkipsTheFirstBatch,
    DropKeepsUnflushedRows,
    MiscountsRows,
    CutsLongText,
    TextNullBecomesEmpty,
    RoundsFloats,
    RoundsDecimals,
    NanBecomesNull,
    ShiftsEarlyDates,
    LosesColumnsBeyond255,
    EmptyStreamFails,
    OverwritesAtTheStart,
    OverwriteWithNothingKeeps,
    UpsertAppends,
    UpsertKeepsTheFirst,
    AcceptsUnderFreeze,
    ForgetsTheNewColumn,
    BuffersWithoutBound,
    ForgetsProgress,
    ProgressIsAheadOfRows,
    // source
    LosesTheLastSplit,
    SkipsARowOnResume,
    RepeatsARowOnResume,
    RepeatsFinishedSplits,
    CursorIsExclusive,
    CancelPoisons,
    GivesDifferentRowsEachTime,
    MissingStreamIsEmpty,
    // options
    IgnoresUnknownOptions,
    VagueAboutMissingOptions,
    AnyPasswordWillDo,
    BlamesTheNetworkForThePassword,
    HangsOnUnreachable,
    CheckIsAlwaysFine,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Connection {
    /// Only `memory` answers.
    host: String,
    /// Only `sesame` opens.
    #[schemars(with = "String")]
    #[schemars(extend("x-weir-secret" = true))]
    password: Secret,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SourceOptions {
    /// The table to read.
    table: String,
}

/// How the memory sink commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Commit {
    /// Invisible until commit.
    #[default]
    Staged,
    /// Rows and progress together at each flush.
    CoCommitted,
    /// Visible at each flush, nothing remembered.
    Append,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SinkOptions {
    /// The table to write.
    table: String,
    /// How rows become visible.
    #[serde(default)]
    commit: Commit,
    /// A writer sends its rows to the table's spool when it holds this many bytes.
    #[serde(default = "default_buffer_bytes")]
    buffer_bytes: usize,
}

fn default_buffer_bytes() -> usize {
    256 * 1024
}

/// The connector over one [`MemorySystem`].
pub struct MemoryConnector {
    system: Arc<MemorySystem>,
    mutation: Option<Mutation>,
    descriptor: Descriptor,
}

impl MemoryConnector {
    /// A connector with at most one defect.
    pub fn new(system: Arc<MemorySystem>, mutation: Option<Mutation>) -> Self {
        let schema = |schema: schemars::Schema| schema.to_value();
        let descriptor = Descriptor {
            name: "memory",
            aliases: &[],
            summary: "tables in memory, for the tests of the conformance kit",
            connection: schema(schemars::schema_for!(Connection)),
            source: Some(schema(schemars::schema_for!(SourceOptions))),
            sink: Some(schema(schemars::schema_for!(SinkOptions))),
            address_option: "table",
        };
        Self { system, mutation, descriptor }
    }

    fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn parse<T: DeserializeOwned>(&self, role: &str, options: &Value) -> Result<T> {
        let mut options = options.clone();
        if self.has(Mutation::IgnoresUnknownOptions)
            && let Some(map) = options.as_object_mut()
        {
            map.retain(|key, _| key != "fromat");
        }
        serde_json::from_value(options).map_err(|error| {
            let why = if self.has(Mutation::VagueAboutMissingOptions) { "bad options".into() } else { error.to_string() };
            Error::new("WEIR-MEMORY-001", Kind::Spec, format!("the {role} options are wrong")).because(why)
        })
    }

    async fn connect(&self, connection: &Value) -> Result<()> {
        let connection: Connection = self.parse("connection", connection)?;
        if connection.host != "memory" {
            if self.has(Mutation::HangsOnUnreachable) {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            return Err(Error::new("WEIR-MEMORY-002", Kind::Connect, "nobody answers").at(connection.host));
        }
        if connection.password.expose() != "sesame" && !self.has(Mutation::AnyPasswordWillDo) {
            let wrong = self.has(Mutation::BlamesTheNetworkForThePassword);
            let kind = if wrong { Kind::Connect } else { Kind::Auth };
            return Err(Error::new("WEIR-MEMORY-003", kind, "the password is wrong").at("memory"));
        }
        Ok(())
    }
}

#[async_trait]
impl Connector for MemoryConnector {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn validate(&self, role: &str, connection: &Value, options: &Value) -> Result<()> {
        self.parse::<Connection>("connection", connection)?;
        match role {
            "source" => self.parse::<SourceOptions>(role, options).map(drop),
            "sink" => self.parse::<SinkOptions>(role, options).map(drop),
            _ => Ok(()),
        }
    }

    async fn check(&self, connection: &Value) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        if !self.has(Mutation::CheckIsAlwaysFine) {
            self.connect(connection).await?;
        }
        report.push("reach", true, "memory answers");
        Ok(report)
    }

    async fn discover(&self, context: SourceContext) -> Result<Vec<StreamInfo>> {
        self.source(context).await?.streams().await
    }

    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        let options: SourceOptions = self.parse("source", &context.options)?;
        self.connect(&context.connection).await?;
        Ok(Arc::new(source::MemorySource { system: self.system.clone(), table: options.table, mutation: self.mutation }))
    }

    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        let options: SinkOptions = self.parse("sink", &context.options)?;
        self.connect(&context.connection).await?;
        Ok(Arc::new(sink::MemorySink { system: self.system.clone(), options, mutation: self.mutation }))
    }
}

impl MemorySystem {
    /// A staged sink into a table, without a defect.
    pub fn sink(self: &Arc<Self>, table: &str) -> Arc<dyn Sink> {
        let options = SinkOptions { table: table.into(), commit: Commit::Staged, buffer_bytes: default_buffer_bytes() };
        Arc::new(sink::MemorySink { system: self.clone(), options, mutation: None })
    }
}
