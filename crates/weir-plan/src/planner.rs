//! From a pipeline to a plan: references resolved, connectors asked for schemas, every problem told at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use weir_connect::{
    Connector, OnLoss, Registry, SchemaChangePolicy, Sink, SinkContext, Source, SourceContext, StreamInfo, StreamTarget,
    WriteMode,
};
use weir_error::{Error, Kind, Result};
use weir_spec::model::{Mode, Node, Pipeline};
use weir_spec::{Diagnostic, Severity};

use crate::changes::{Anew, passes_on};
use crate::check::{check, refused, two_writers};
use crate::flow::{FlowBuilder, Told};
use crate::guarantee;
use crate::letters;
use crate::model::{ColumnReport, Flow, FlowOutput, Guarantee, Plan, Program, asker};
use crate::options::{self, ResolveReferences};
use crate::problem::{Places, Problem, code, distinct};
use crate::program::discard::{DiscardRows, Unknown};
use crate::results::{self, ResultsSink};
use crate::sample::{self, Samples};
use crate::shape::{self, Component};
use crate::sql::Session;
use crate::streaming;

/// Makes plans.
#[derive(Clone)]
pub struct Planner {
    /// The connectors of this build.
    pub registry: Registry,
    /// How references are resolved.
    pub resolve: Arc<dyn ResolveReferences>,
    /// Folder against which relative local paths resolve.
    pub base_dir: PathBuf,
    /// Lanes, at least 1.
    pub parallelism: usize,
}

/// Why there is no plan, or none that may run.
pub enum PlanFailure {
    /// The pipeline file is wrong. Warnings may be among the diagnostics.
    Diagnostics(Vec<Diagnostic>),
    /// The pipeline could run, but would lose data or break the demanded `delivery`: here is the plan to look at, and what
    /// must be decided first. It must not be run.
    Refused(Box<Plan>, Vec<Diagnostic>),
    /// Something else failed: a system cannot be reached, a reference cannot be resolved.
    Error(Error),
}

impl std::fmt::Debug for PlanFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Diagnostics(diagnostics) => f.debug_tuple("Diagnostics").field(diagnostics).finish(),
            Self::Refused(_, diagnostics) => f.debug_tuple("Refused").field(diagnostics).finish(),
            Self::Error(error) => f.debug_tuple("Error").field(error).finish(),
        }
    }
}

impl From<Error> for PlanFailure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A source, opened, with the streams that its options choose.
#[derive(Clone)]
pub(crate) struct OpenSource {
    pub(crate) node: Node,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) streams: Vec<StreamInfo>,
}

/// A sink, configured.
#[derive(Clone)]
pub(crate) struct OpenSink {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) write_mode: WriteMode,
    pub(crate) key: Vec<String>,
    /// Tells one target system from another.
    pub(crate) connection: Value,
}

/// What the pipeline as a whole decides.
#[derive(Clone)]
pub(crate) struct Policies {
    pub(crate) mode: Mode,
    pub(crate) on_loss: OnLoss,
    pub(crate) on_schema_change: SchemaChangePolicy,
}

impl Planner {
    /// Everything that can be said without connecting: words, options, SQL syntax, modes, the graph. Warnings are among it.
    pub fn check(&self, pipeline: &Pipeline) -> Vec<Diagnostic> {
        check(pipeline, &self.registry)
    }

    /// Plans against the real systems: connects to sources for schemas and to sinks for what a run would do to them. Changes
    /// nothing anywhere.
    pub async fn plan(&self, pipeline: Arc<Pipeline>) -> Result<Plan, PlanFailure> {
        let pipeline = &pipeline;
        let (errors, warned): (Vec<_>, Vec<_>) =
            self.check(pipeline).into_iter().partition(|diagnostic| diagnostic.severity == Severity::Error);
        if !errors.is_empty() {
            return Err(PlanFailure::Diagnostics(distinct(errors.into_iter().chain(warned).collect())));
        }
        let policies = Policies {
            mode: pipeline.mode,
            on_loss: options::on_loss(pipeline).unwrap_or_default(),
            on_schema_change: options::on_schema_change(pipeline).unwrap_or_default(),
        };
        let places = Places(pipeline);
        let mut told = Told { warnings: warned.into_iter().map(|diagnostic| diagnostic.message).collect(), ..Told::default() };
        let components = shape::components(pipeline);
        let mut sources: BTreeMap<&str, OpenSource> = BTreeMap::new();
        let mut sinks: BTreeMap<&str, OpenSink> = BTreeMap::new();
        for component in &components {
            for node in &component.sources {
                match self.open_source(pipeline, node, &policies).await? {
                    Ok(open) => drop(sources.insert(&node.name, open)),
                    Err(problem) => told.problems.push(places.in_node(&node.name, problem)),
                }
            }
            for node in component.sinks.iter().map(|feed| feed.sink) {
                if sinks.contains_key(node.name.as_str()) {
                    continue;
                }
                match self.open_sink(pipeline, node, &policies).await? {
                    Ok(open) => drop(sinks.insert(&node.name, open)),
                    Err(problem) => told.problems.push(places.in_node(&node.name, problem)),
                }
            }
        }
        if !told.problems.is_empty() {
            return Err(PlanFailure::Diagnostics(distinct(told.problems)));
        }
        let mut samples = Samples::new();
        for component in components.iter().filter(|_| pipeline.mode != Mode::Cdc) {
            let Some(rows) = sample::wanted(&component.transforms) else { continue };
            for open in component.sources.iter().filter_map(|node| sources.get(node.name.as_str())) {
                for stream in &open.streams {
                    let place = (open.node.name.clone(), stream.name.clone());
                    samples.insert(place, sample::take(open, stream, rows).await?);
                }
            }
        }
        let now = chrono::Utc::now();
        let session = Session::new(now);
        let builder = FlowBuilder {
            planner: self,
            session: &session,
            policies: &policies,
            sinks: &sinks,
            places: &places,
            samples: &samples,
        };
        let mut planned = Vec::new();
        for component in &components {
            for choice in choices(component, &sources, &places, &mut told) {
                planned.extend(builder.flow(component, &choice, &mut told)?);
            }
        }
        unique_names(&mut planned);
        if pipeline.mode == Mode::Streaming {
            let found = planned.iter().filter_map(|(flow, _)| streaming::problem(flow));
            told.problems.extend(found.map(|(node, problem)| places.in_node(&node, problem)));
        }
        if pipeline.mode == Mode::Cdc {
            for (flow, _) in planned.iter_mut().filter(|(flow, _)| !passes_on(flow)) {
                let source = flow.inputs.first().and_then(|input| sources.get(input.node.as_str()));
                let Some(source) = source else { continue };
                flow.replan = Some(Arc::new(Anew::new(self, pipeline, source, &sinks, &policies, now)));
            }
        }
        if policies.on_schema_change == SchemaChangePolicy::DiscardRow {
            for (flow, columns) in &mut planned {
                discard_rows(pipeline, flow, columns, &places, &mut told).await?;
            }
        }
        let (flows, columns): (Vec<Flow>, Vec<Vec<ColumnReport>>) = planned.into_iter().unzip();
        let columns = columns.concat();
        same_places(&flows, &sinks, &places, &mut told);
        for name in policies.on_loss.columns.keys().filter(|name| !told.columns.contains(*name)) {
            let problem = Problem::new(code::LOSS, format!("`on_loss` names `{name}`, and no stream has such a column"));
            told.problems.push(places.at_key("on_loss", problem.nearest(name, told.columns.iter().map(String::as_str))));
        }
        if !told.problems.is_empty() {
            return Err(PlanFailure::Diagnostics(distinct(told.problems)));
        }
        let mut guarantee = guarantee::of(&flows);
        let letters = match pipeline.dead_letters.to.as_deref() {
            Some(node) => match self.letters(pipeline, node, &policies).await?.and_then(|output| {
                letters::apart(&output, &flows)?;
                Ok(output)
            }) {
                Ok(output) => Some(output),
                Err(problem) => return Err(PlanFailure::Diagnostics(vec![places.in_node(&node.name, problem)])),
            },
            None => None,
        };
        guarantee.reasons.extend(letters.as_ref().map(letters::promise));
        let mut results: Vec<ResultsSink> = Vec::new();
        for node in results::wanted(pipeline) {
            let opened = self.open_sink(pipeline, node, &policies).await?.and_then(|open| {
                let sink = results::sink(pipeline, node, open, &policies)?;
                results::apart(&sink, &flows, &results, letters.as_ref())?;
                Ok(sink)
            });
            match opened {
                Ok(sink) => results.push(sink),
                Err(problem) => return Err(PlanFailure::Diagnostics(vec![places.in_node(&node.name, problem)])),
            }
        }
        guarantee.reasons.extend(results.iter().map(|sink| results::promise(pipeline, sink)));
        if let Some(diagnostic) = demand(pipeline, &guarantee, &flows, &places) {
            told.refusals.push(diagnostic);
        }
        let mut actions = if told.refusals.is_empty() { self.actions(pipeline, &flows).await? } else { Vec::new() };
        if let (Some(output), true) = (&letters, told.refusals.is_empty()) {
            actions.extend(letters::actions(pipeline, output).await?);
        }
        for sink in results.iter().filter(|_| told.refusals.is_empty()) {
            actions.extend(results::actions(pipeline, sink).await?);
        }
        let mut warnings = told.warnings;
        let mut seen = std::collections::BTreeSet::new();
        warnings.retain(|warning| seen.insert(warning.clone()));
        let plan = Plan { pipeline: pipeline.clone(), flows, letters, results, guarantee, columns, warnings, actions };
        if told.refusals.is_empty() { Ok(plan) } else { Err(PlanFailure::Refused(Box::new(plan), distinct(told.refusals))) }
    }

    async fn open_source(&self, pipeline: &Pipeline, node: &Node, policies: &Policies) -> Result<Result<OpenSource, Problem>> {
        let opened = async {
            let connector = options::connector(&self.registry, node)?;
            let credentials = pipeline.credentials_ref.as_deref();
            let split = options::split(pipeline, node, connector.as_ref())?;
            let context = SourceContext {
                connection: self.resolve.resolve(&split.connection, credentials)?,
                options: self.resolve.resolve(&split.own, credentials)?,
                on_loss: policies.on_loss.clone(),
                parallelism: self.parallelism.max(1),
                base_dir: self.base_dir.clone(),
            };
            let source = connector.source(context).await?;
            if pipeline.mode == Mode::Cdc && source.changes().is_none() {
                let name = connector.descriptor().name;
                let logs: Vec<&str> = self.registry.names().filter(|name| name.ends_with("-cdc")).collect();
                return Err(Problem::new(code::MODE, format!("source `{}` ({name}) has no log of changes", node.name))
                    .help(format!("`mode: cdc` reads logs of databases: {}", logs.join(", ")))
                    .into());
            }
            if pipeline.mode == Mode::Streaming && !source.unbounded() {
                let name = connector.descriptor().name;
                return Err(Problem::new(code::MODE, format!("source `{}` ({name}) has an end: it cannot be read as a stream", node.name))
                    .help("`mode: streaming` reads brokers and sockets; `mode: incremental` reads what is new at each run, `mode: cdc` the log of a database")
                    .into());
            }
            let streams = source.streams().await?;
            if streams.is_empty() {
                return Err(Problem::new(
                    code::OPTIONS,
                    format!("source `{}` has no stream: its options match nothing", node.name),
                )
                .into());
            }
            Ok(OpenSource { node: node.clone(), connector, source, streams })
        };
        opened.await.map_or_else(|stop: Stop| stop.in_node("source", node), |open| Ok(Ok(open)))
    }

    async fn open_sink(&self, pipeline: &Pipeline, node: &Node, policies: &Policies) -> Result<Result<OpenSink, Problem>> {
        let opened = async {
            let connector = options::connector(&self.registry, node)?;
            let credentials = pipeline.credentials_ref.as_deref();
            let split = options::split(pipeline, node, connector.as_ref())?;
            let mut write_mode = options::write_mode(pipeline.mode, node, connector.as_ref())?;
            let key = options::key(node)?;
            let connection = self.resolve.resolve(&split.connection, credentials)?;
            let context = SinkContext {
                connection: connection.clone(),
                options: self.resolve.resolve(&split.own, credentials)?,
                on_loss: policies.on_loss.clone(),
                node: node.name.clone(),
                parallelism: self.parallelism.max(1),
                base_dir: self.base_dir.clone(),
            };
            let sink = connector.sink(context).await?;
            if pipeline.mode == Mode::Cdc {
                write_mode = change_mode(node, connector.descriptor().name, write_mode, &sink.change_modes())?;
            }
            let modes = sink.capabilities(write_mode).write_modes;
            if !modes.contains(&write_mode) {
                let names: Vec<&str> = modes.into_iter().map(WriteMode::as_str).collect();
                return Err(Problem::new(
                    code::WRITE_MODE,
                    format!(
                        "sink `{}` ({}) has no `write_mode: {}` with these options",
                        node.name,
                        connector.descriptor().name,
                        write_mode.as_str()
                    ),
                )
                .option("write_mode")
                .expected(names.join(", "))
                .into());
            }
            Ok(OpenSink { connector, sink, write_mode, key, connection })
        };
        opened.await.map_or_else(|stop: Stop| stop.in_node("sink", node), |open| Ok(Ok(open)))
    }

    /// What the sinks would do, told by themselves.
    async fn actions(&self, pipeline: &Pipeline, flows: &[Flow]) -> Result<Vec<String>> {
        let mut actions: Vec<String> = Vec::new();
        for flow in flows {
            for output in &flow.outputs {
                let target = target(pipeline, flow, output);
                let preview = match output.sink.preview(&target).await {
                    // The source may have changes in its log that the target has to see first, in their order: the run finds out.
                    Err(error) if pipeline.mode == Mode::Cdc && matches!(error.kind(), Kind::Schema | Kind::Conflict) => {
                        vec![format!("as the source is now, {error}")]
                    }
                    preview => preview.map_err(|error| error.at(format!("sink `{}`", output.node)))?,
                };
                for action in preview {
                    if !actions.contains(&action) {
                        actions.push(action);
                    }
                }
            }
        }
        Ok(actions)
    }

    pub(crate) fn resolved_options(&self, pipeline: &Pipeline, node: &Node) -> Result<Value> {
        self.resolve
            .resolve(&node.options, pipeline.credentials_ref.as_deref())
            .map_err(|error| error.at(format!("transform `{}`", node.name)))
    }
}

/// How a sink takes changes: as written, else as it likes best.
fn change_mode(node: &Node, connector: &str, chosen: WriteMode, modes: &[WriteMode]) -> Result<WriteMode, Problem> {
    let Some(best) = modes.first() else {
        return Err(Problem::new(code::MODE, format!("sink `{}` ({connector}) applies no changes", node.name))
            .help("it takes whole rows: `mode: batch` or `mode: incremental`"));
    };
    let written = node.options.get("write_mode").is_some_and(|value| !value.is_null());
    match (written, modes.contains(&chosen)) {
        (_, true) => Ok(chosen),
        (false, false) => Ok(*best),
        (true, false) => {
            let names: Vec<&str> = modes.iter().map(|mode| mode.as_str()).collect();
            let what = format!("sink `{}` ({connector}) takes no changes with `write_mode: {}`", node.name, chosen.as_str());
            Err(Problem::new(code::WRITE_MODE, what).option("write_mode").expected(names.join(", ")))
        }
    }
}

/// Why a node could not be opened.
enum Stop {
    Problem(Problem),
    Error(Error),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Stop {
    /// What the user wrote wrongly becomes a problem with a place; the rest stays an error.
    fn in_node<T>(self, role: &str, node: &Node) -> Result<Result<T, Problem>> {
        match self {
            Self::Problem(problem) => Ok(Err(problem)),
            Self::Error(error) if matches!(error.kind(), Kind::Spec | Kind::Unsupported) => Ok(Err(refused(&error))),
            Self::Error(error) => Err(error.at(format!("{role} `{}`", node.name))),
        }
    }
}

/// For each flow of a component the stream that each of its sources gives. One source may have many streams: a flow each.
/// Several sources meet in one flow, so each must have exactly one.
fn choices<'a>(
    component: &Component<'_>,
    sources: &'a BTreeMap<&str, OpenSource>,
    places: &Places<'_>,
    told: &mut Told,
) -> Vec<Vec<(&'a OpenSource, &'a StreamInfo)>> {
    let open: Vec<&OpenSource> = component.sources.iter().filter_map(|node| sources.get(node.name.as_str())).collect();
    if let [only] = open.as_slice() {
        return only.streams.iter().map(|stream| vec![(*only, stream)]).collect();
    }
    let mut choice = Vec::new();
    for source in open {
        match source.streams.as_slice() {
            [stream] => choice.push((source, stream)),
            streams => {
                let names: Vec<String> = streams.iter().map(|stream| format!("`{}`", stream.name)).collect();
                told.problems.push(
                    places.in_node(
                        &source.node.name,
                        Problem::new(
                            code::SHAPE,
                            format!(
                                "source `{}` meets other sources, so it must give one stream, not {}",
                                source.node.name,
                                streams.len()
                            ),
                        )
                        .expected(format!("one of {}", names.join(", ")))
                        .help("declare one source per table"),
                    ),
                );
            }
        }
    }
    if choice.len() == component.sources.len() { vec![choice] } else { Vec::new() }
}

/// State is kept by flow name, so each name is used once: where two sources have a stream of one name, the node's goes before it.
fn unique_names(planned: &mut [(Flow, Vec<ColumnReport>)]) {
    let names: Vec<String> = planned.iter().map(|(flow, _)| flow.name.clone()).collect();
    for (flow, columns) in planned {
        if names.iter().filter(|name| **name == flow.name).count() < 2 {
            continue;
        }
        let Some(input) = flow.inputs.first() else { continue };
        flow.name = format!("{}.{}", input.node, flow.name);
        columns.iter_mut().for_each(|column| column.flow = flow.name.clone());
    }
}

/// Holds the outputs of a flow against the columns that their targets have.
async fn discard_rows(
    pipeline: &Pipeline,
    flow: &mut Flow,
    columns: &mut Vec<ColumnReport>,
    places: &Places<'_>,
    told: &mut Told,
) -> Result<()> {
    let mut unknown = Vec::new();
    for output in &flow.outputs {
        let known = output.sink.columns(&target(pipeline, flow, output)).await;
        let known = known.map_err(|error| error.at(format!("sink `{}`", output.node)))?;
        unknown.push(known.and_then(|known| Unknown::find(&output.node, &output.schema, &known)));
    }
    if unknown.iter().all(Option::is_none) {
        return Ok(());
    }
    let adds = flow.outputs.iter().any(|output| !output.metadata.is_empty());
    let inner = match &flow.program {
        Program::RowLocal(inner) if flow.replan.is_none() && !adds => inner.clone(),
        program => {
            let why = match program {
                Program::Relational(_) | Program::Keyed(_) => format!("`{}` sees rows together", flow.name),
                Program::RowLocal(_) if adds => "they get `metadata_columns`".into(),
                Program::RowLocal(_) => "changes go through transforms on the way".into(),
            };
            let names: Vec<&str> = flow.outputs.iter().map(|output| output.node.as_str()).collect();
            let problem = Problem::new(
                code::SHAPE,
                format!("`on_schema_change: discard_row` cannot set rows of `{}` aside: {why}", names.join("`, `")),
            )
            .help("use evolve, freeze or discard_column");
            told.problems.push(places.at_key("on_schema_change", problem));
            return Ok(());
        }
    };
    for (output, unknown) in flow.outputs.iter_mut().zip(&unknown) {
        let Some(unknown) = unknown else { continue };
        let names: Vec<&str> = unknown.columns.iter().map(|at| output.schema.field(*at).name().as_str()).collect();
        told.warnings.push(format!(
            "the target of `{}` has no column `{}`: rows with a value in it become dead letters (on_schema_change: discard_row)",
            output.node,
            names.join("`, `")
        ));
        columns.retain(|column| column.sink != output.node || !names.contains(&column.column.as_str()));
        output.schema = unknown.schema(&output.schema)?;
    }
    let stream = flow.inputs.first().map(|input| input.stream.name.clone()).unwrap_or_default();
    flow.program = Program::RowLocal(Arc::new(DiscardRows { inner, stream, unknown, gate: flow.inputs.len() }));
    Ok(())
}

fn target(pipeline: &Pipeline, flow: &Flow, output: &FlowOutput) -> StreamTarget {
    StreamTarget {
        cursor: flow.inputs.first().and_then(|input| input.cursor.clone()),
        changes: pipeline.mode == Mode::Cdc,
        ..output.target(asker(pipeline))
    }
}

fn same_places(flows: &[Flow], sinks: &BTreeMap<&str, OpenSink>, places: &Places<'_>, told: &mut Told) {
    let mut written: BTreeMap<String, &str> = BTreeMap::new();
    for output in flows.iter().flat_map(|flow| &flow.outputs) {
        let Some(open) = sinks.get(output.node.as_str()) else { continue };
        let place = output.sink.place(&output.stream);
        let key = format!("{}\u{0}{}\u{0}{place}", open.connector.descriptor().name, open.connection);
        match written.get(&key) {
            Some(first) => told.problems.push(places.in_node(&output.node, two_writers(first, &output.node, &place))),
            None => drop(written.insert(key, &output.node)),
        }
    }
}

/// Whether the demanded delivery can be kept.
fn demand(pipeline: &Pipeline, guarantee: &Guarantee, flows: &[Flow], places: &Places<'_>) -> Option<Diagnostic> {
    let demanded = pipeline.delivery?;
    if guarantee.delivery >= demanded {
        return None;
    }
    let (word, kept) = (guarantee::word(demanded), guarantee::word(guarantee.delivery));
    let mut problem = Problem::new(code::DELIVERY, format!("`delivery: {word}` cannot be kept"))
        .help(format!("{}, or ask for {kept}", guarantee::way_out(flows, demanded)));
    problem.label = Some(guarantee::weakest(flows).unwrap_or_else(|| format!("this pipeline gives {kept}")));
    problem.expected = Some(format!("{kept}: {}", guarantee.reasons.join("; ")));
    Some(places.at_key("delivery", problem))
}
