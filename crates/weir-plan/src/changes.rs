//! What `mode: cdc` needs of a plan beyond rows: columns about the change itself, what an output is made of (a log may leave values out), and
//! programs for shapes that the stream had before or gets later.
//!
//! Not here: how changes go through a program. That is the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, Utc};
use weir_connect::StreamInfo;
use weir_error::{Error, Kind, Result};
use weir_spec::Diagnostic;
use weir_spec::model::{Mode, Pipeline};

use crate::flow::{FlowBuilder, Told};
use crate::model::{Flow, Program, RowProgram};
use crate::planner::{OpenSink, OpenSource, Planner, Policies};
use crate::problem::Places;
use crate::sample::Samples;
use crate::shape;
use crate::sql::Session;

/// A column that tells about the last change of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataColumn {
    /// `_op`: Debezium's letter of the change, text.
    Op,
    /// `_source_ts`: when the source committed it, microseconds, UTC; of the snapshot when it was read.
    SourceTs,
    /// `_position`: where it stands in the log, as the system writes it.
    Position,
}

impl MetadataColumn {
    /// All, in the order in which they are added.
    pub const ALL: [Self; 3] = [Self::Op, Self::SourceTs, Self::Position];

    /// The word in the spec.
    pub fn word(self) -> &'static str {
        match self {
            Self::Op => "op",
            Self::SourceTs => "source_ts",
            Self::Position => "position",
        }
    }

    /// The column's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Op => "_op",
            Self::SourceTs => "_source_ts",
            Self::Position => "_position",
        }
    }

    /// The column.
    pub fn field(self) -> Field {
        let data_type = match self {
            Self::Op | Self::Position => DataType::Utf8,
            Self::SourceTs => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        };
        Field::new(self.name(), data_type, true)
    }

    /// What the plan says of where it comes from.
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::Op => "the change",
            Self::SourceTs => "its commit time",
            Self::Position => "its position in the log",
        }
    }
}

/// A schema with these columns after its own. An error of `Kind::Schema` if it has one of that name.
pub fn with_metadata(schema: &SchemaRef, metadata: &[MetadataColumn]) -> Result<SchemaRef> {
    if metadata.is_empty() {
        return Ok(schema.clone());
    }
    if let Some(taken) = metadata.iter().find(|column| schema.column_with_name(column.name()).is_some()) {
        return Err(Error::new(
            "WEIR-CHANGE-001",
            Kind::Schema,
            format!("the stream has a column `{}`, and `metadata_columns` adds one of that name", taken.name()),
        )
        .hint("rename the stream's column with a field_mapper, or leave it out of `metadata_columns`"));
    }
    let mut fields: Vec<_> = schema.fields().to_vec();
    fields.extend(metadata.iter().map(|column| Arc::new(column.field())));
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

/// What an output column is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnWay {
    /// The input column that it is, if nothing but its name was changed.
    pub same: Option<usize>,
    /// Every input column that its value depends on. The value depends on nothing else.
    pub from: BTreeSet<usize>,
}

/// What an output is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputWay {
    /// Its columns.
    pub columns: Vec<ColumnWay>,
    /// Every input column that decides whether a row goes on.
    pub filters: BTreeSet<usize>,
    /// Whether anything decides that.
    pub filtered: bool,
}

impl OutputWay {
    /// All of so many columns, as they are.
    pub fn whole(columns: usize) -> Self {
        let column = |at| ColumnWay { same: Some(at), from: BTreeSet::from([at]) };
        Self { columns: (0..columns).map(column).collect(), filters: BTreeSet::new(), filtered: false }
    }

    /// Whether that is what it is.
    fn is_whole(&self, columns: usize) -> bool {
        !self.filtered && self.columns.iter().map(|column| column.same).eq((0..columns).map(Some))
    }
}

/// Plans a flow's transforms anew.
pub trait Replan: Send + Sync {
    /// The program for the stream in this shape. What does not fit is an error of `Kind::Schema` that names the transform.
    fn replan(&self, stream: &StreamInfo) -> Result<Replanned>;
}

/// A flow for one shape of its stream.
pub struct Replanned {
    /// Takes batches of the stream in which every column may be NULL.
    pub program: Arc<dyn RowProgram>,
    /// Per output of the flow: its columns with those about changes, and its key.
    pub outputs: Vec<(SchemaRef, Vec<String>)>,
}

/// Whether a flow's sinks get the stream's rows as they are.
pub(crate) fn passes_on(flow: &Flow) -> bool {
    let (Program::RowLocal(program), [input]) = (&flow.program, flow.inputs.as_slice()) else { return false };
    let columns = input.stream.schema.fields().len();
    program.is_identity() || program.ways(columns).is_some_and(|ways| ways.iter().all(|way| way.is_whole(columns)))
}

/// Everything that a flow is planned from.
pub(crate) struct Anew {
    planner: Planner,
    pipeline: Arc<Pipeline>,
    source: OpenSource,
    sinks: BTreeMap<String, OpenSink>,
    policies: Policies,
    now: DateTime<Utc>,
}

impl Anew {
    pub(crate) fn new(
        planner: &Planner,
        pipeline: &Arc<Pipeline>,
        source: &OpenSource,
        sinks: &BTreeMap<&str, OpenSink>,
        policies: &Policies,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            planner: planner.clone(),
            pipeline: pipeline.clone(),
            source: source.clone(),
            sinks: sinks.iter().map(|(name, sink)| ((*name).to_owned(), sink.clone())).collect(),
            policies: policies.clone(),
            now,
        }
    }

    fn flow(&self, stream: &StreamInfo) -> Result<Flow> {
        let places = Places(&self.pipeline);
        let session = Session::new(self.now);
        let sinks: BTreeMap<&str, OpenSink> = self.sinks.iter().map(|(name, sink)| (name.as_str(), sink.clone())).collect();
        let builder = FlowBuilder {
            planner: &self.planner,
            session: &session,
            policies: &self.policies,
            sinks: &sinks,
            places: &places,
            samples: &Samples::new(),
        };
        let components = shape::components(&self.pipeline);
        let own = |component: &&shape::Component<'_>| component.sources.iter().any(|node| node.name == self.source.node.name);
        let component = components.iter().find(own).ok_or_else(|| Error::internal("a source without a flow"))?;
        let mut told = Told::default();
        let flow = builder.flow(component, &[(&self.source, stream)], &mut told)?;
        let refused: Vec<&Diagnostic> = told.problems.iter().chain(&told.refusals).collect();
        match flow {
            Some((flow, _)) if refused.is_empty() => Ok(flow),
            _ => Err(misfit(stream, &refused)),
        }
    }
}

fn misfit(stream: &StreamInfo, refused: &[&Diagnostic]) -> Error {
    let told: Vec<String> = refused.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
    Error::new("WEIR-CHANGE-002", Kind::Schema, format!("the transforms do not fit a shape of `{}`", stream.name))
        .because(told.join("; "))
        .hint("fit the transforms to what the table has become, and run again: it goes on from there")
}

impl Replan for Anew {
    fn replan(&self, stream: &StreamInfo) -> Result<Replanned> {
        let told = self.flow(stream)?;
        // A value that the log leaves out is NULL on its way, whatever the column says.
        let nullable = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_nullable(true));
        let open: Vec<Arc<Field>> = stream.schema.fields().iter().map(nullable).collect();
        let open = Arc::new(Schema::new_with_metadata(open, stream.schema.metadata().clone()));
        let Program::RowLocal(program) = self.flow(&StreamInfo { schema: open, ..stream.clone() })?.program else {
            return Err(Error::internal("a flow of a log sees rows together"));
        };
        Ok(Replanned { program, outputs: told.outputs.into_iter().map(|output| (output.schema, output.key)).collect() })
    }
}

/// Whether the mode reads logs.
pub(crate) fn reads_log(policies: &Policies) -> bool {
    policies.mode == Mode::Cdc
}
