//! From a spec to a plan: asks the systems for their streams, builds the flows, proves what is promised.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::prelude::SessionContext;
use weir_connect::stream::LossChoice;
use weir_connect::{
    CommitKind, Edge, Error, Kind, OnLoss, Registry, Result, RunIdentity, SchemaChangePolicy, Sink, SinkContext, Source,
    SourceContext, StreamInfo, StreamTarget, WriteMode,
};
use weir_spec::{Delivery, Diagnostic, Mode, Node, Pipeline, Role};

use crate::check;
use crate::flows::{self, Built, Chosen};
use crate::model::{ColumnReport, Flow, FlowInput, FlowOutput, Guarantee, Plan};
use crate::options::{self, Divided, ResolveReferences, divide};
use crate::problems::{PlanFailure, at_key, at_node, placed};
use crate::types;

/// Makes plans.
pub struct Planner {
    /// The connectors.
    pub registry: Registry,
    /// Resolves references late, just before a connector gets its options.
    pub resolve: Arc<dyn ResolveReferences>,
    /// Folder against which relative local paths resolve.
    pub base_dir: PathBuf,
    /// Lanes.
    pub parallelism: usize,
}

/// A source node, asked for its streams.
struct OpenSource {
    connector: &'static str,
    source: Arc<dyn Source>,
    streams: Vec<StreamInfo>,
    own: serde_json::Value,
}

/// A sink node.
struct OpenSink {
    connector: &'static str,
    sink: Arc<dyn Sink>,
    write_mode: WriteMode,
    key: Vec<String>,
}

impl Planner {
    /// What is wrong without reaching any system.
    pub fn check(&self, pipeline: &Pipeline) -> Vec<Diagnostic> {
        check::offline(pipeline, &self.registry)
    }

    /// The plan. Connects to sources for their schemas, and to sinks for what would be done to them.
    pub async fn plan(&self, pipeline: Arc<Pipeline>) -> Result<Plan, PlanFailure> {
        let problems = self.check(&pipeline);
        if !problems.is_empty() {
            return Err(PlanFailure::Diagnostics(problems));
        }
        let on_loss = on_loss(&pipeline);
        let mut sources = BTreeMap::new();
        for node in pipeline.of(Role::Source) {
            sources.insert(node.name.clone(), self.open_source(&pipeline, node, &on_loss).await?);
        }
        let mut sinks = BTreeMap::new();
        for node in pipeline.of(Role::Sink) {
            sinks.insert(node.name.clone(), self.open_sink(&pipeline, node, &on_loss).await?);
        }
        let mut problems = Vec::new();
        let mut plan = Plan {
            pipeline: pipeline.clone(),
            flows: Vec::new(),
            guarantee: Guarantee { delivery: Delivery::ExactlyOnce, reasons: Vec::new() },
            columns: Vec::new(),
            warnings: Vec::new(),
            actions: Vec::new(),
        };
        for component in &flows::components(&pipeline) {
            let component: Vec<&Node> = component.iter().collect();
            let from: Vec<&Node> = component.iter().filter(|node| node.role == Role::Source).copied().collect();
            let choices: Vec<Vec<Chosen>> = match from.as_slice() {
                [] => continue,
                [only] => sources[&only.name]
                    .streams
                    .iter()
                    .map(|stream| vec![Chosen { node: (*only).clone(), stream: stream.clone() }])
                    .collect(),
                several => {
                    let mut chosen = Vec::new();
                    for node in several {
                        match sources[&node.name].streams.as_slice() {
                            [one] => chosen.push(Chosen { node: (*node).clone(), stream: one.clone() }),
                            many => problems.push(placed(
                                &pipeline,
                                &node.name,
                                None,
                                Diagnostic::error(
                                    "WEIR-PLAN-015",
                                    format!(
                                        "source `{}` gives {} streams where one is joined with others",
                                        node.name,
                                        many.len()
                                    ),
                                )
                                .help("choose one table, path or endpoint per source"),
                            )),
                        }
                    }
                    if chosen.len() < several.len() {
                        continue;
                    }
                    vec![chosen]
                }
            };
            let linear = from.len() == 1;
            for chosen in choices {
                let context = crate::sql::session();
                let (finish_for, sinks_ref, on_loss_ref) = (&sinks, &sinks, &on_loss);
                let finish = |sink: &str, schema: &SchemaRef| {
                    finish_for.get(sink).map(|open| flows::finishing(schema, open.sink.as_ref(), on_loss_ref)).unwrap_or_default()
                };
                match flows::build(&context, &pipeline, &component, &chosen, &finish).await {
                    Ok(built) => {
                        self.add_flow(&mut plan, &mut problems, built, chosen, &sources, sinks_ref, linear, &on_loss).await?;
                    }
                    Err(trouble) => problems.push(at_node(&pipeline, &trouble.node, trouble.option, &trouble.error)),
                }
            }
        }
        self.two_writers(&plan, &mut problems);
        self.promise(&mut plan, &mut problems);
        if !problems.is_empty() {
            return Err(PlanFailure::Diagnostics(problems));
        }
        self.preview(&mut plan).await?;
        Ok(plan)
    }

    async fn open_source(&self, pipeline: &Pipeline, node: &Node, on_loss: &OnLoss) -> Result<OpenSource, PlanFailure> {
        let connector = self.registry.get(&node.kind).ok_or_else(|| Error::internal("an unknown connector passed the check"))?;
        let Divided { connection, own } = divide(pipeline, node, connector.as_ref())?;
        let credentials = pipeline.credentials_ref.as_deref();
        let context = SourceContext {
            connection: self.resolve.resolve(&connection, credentials)?,
            options: self.resolve.resolve(&own, credentials)?,
            on_loss: on_loss.clone(),
            parallelism: self.parallelism,
            base_dir: self.base_dir.clone(),
        };
        let name = connector.descriptor().name;
        let source = connector.source(context).await.map_err(|error| spec_or_error(pipeline, node, error))?;
        let streams = source.streams().await.map_err(|error| spec_or_error(pipeline, node, error))?;
        Ok(OpenSource { connector: name, source, streams, own })
    }

    async fn open_sink(&self, pipeline: &Pipeline, node: &Node, on_loss: &OnLoss) -> Result<OpenSink, PlanFailure> {
        let connector = self.registry.get(&node.kind).ok_or_else(|| Error::internal("an unknown connector passed the check"))?;
        let Divided { connection, own } = divide(pipeline, node, connector.as_ref())?;
        let credentials = pipeline.credentials_ref.as_deref();
        let context = SinkContext {
            connection: self.resolve.resolve(&connection, credentials)?,
            options: self.resolve.resolve(&own, credentials)?,
            on_loss: on_loss.clone(),
            node: node.name.clone(),
            parallelism: self.parallelism,
            base_dir: self.base_dir.clone(),
        };
        let write_mode = check::write_mode(&own)?;
        let key = options::names(&own, "key");
        let sink = connector.sink(context).await.map_err(|error| spec_or_error(pipeline, node, error))?;
        Ok(OpenSink { connector: connector.descriptor().name, sink, write_mode, key })
    }

    #[expect(clippy::too_many_arguments, reason = "the pieces of one flow, used here only")]
    async fn add_flow(
        &self,
        plan: &mut Plan,
        problems: &mut Vec<Diagnostic>,
        built: Built,
        chosen: Vec<Chosen>,
        sources: &BTreeMap<String, OpenSource>,
        sinks: &BTreeMap<String, OpenSink>,
        linear: bool,
        on_loss: &OnLoss,
    ) -> Result<(), PlanFailure> {
        let pipeline = plan.pipeline.clone();
        let mut inputs = Vec::new();
        for choice in &chosen {
            let open = &sources[&choice.node.name];
            let cursor = options::text(&open.own, "cursor").filter(|_| pipeline.mode == Mode::Incremental);
            if let Some(column) = cursor
                && choice.stream.schema.column_with_name(column).is_none()
            {
                let known: Vec<&str> = choice.stream.schema.fields().iter().map(|field| field.name().as_str()).collect();
                let error = crate::transforms::missing(column, &known);
                problems.push(at_node(&pipeline, &choice.node.name, Some("cursor"), &error));
            }
            inputs.push(FlowInput {
                node: choice.node.name.clone(),
                connector: open.connector.to_owned(),
                source: open.source.clone(),
                stream: choice.stream.clone(),
                table: choice.node.name.clone(),
                cursor: cursor.map(str::to_owned),
                cursor_lag: options::lag(&open.own)?,
            });
        }
        let name = if linear {
            chosen[0].stream.name.clone()
        } else {
            built.outputs.first().map(|out| out.sink.clone()).unwrap_or_default()
        };
        let policy = policy(&pipeline);
        let mut outputs = Vec::new();
        for output in &built.outputs {
            let open = &sinks[&output.sink];
            let mut key = open.key.clone();
            if key.is_empty() && linear {
                let columns: BTreeSet<&str> = output.schema.fields().iter().map(|field| field.name().as_str()).collect();
                if chosen[0].stream.primary_key.iter().all(|column| columns.contains(column.as_str())) {
                    key = chosen[0].stream.primary_key.clone();
                }
            }
            self.fits(&pipeline, problems, output, open, &key);
            self.columns(plan, problems, &name, output, open, &chosen, on_loss);
            // One sink fed twice by one flow: the feeding node tells the two apart.
            let alone = built.outputs.iter().filter(|other| other.sink == output.sink).count() == 1;
            let stream = if linear && alone { chosen[0].stream.name.clone() } else { output.from.clone() };
            outputs.push(FlowOutput {
                node: output.sink.clone(),
                connector: open.connector.to_owned(),
                sink: open.sink.clone(),
                stream,
                schema: output.schema.clone(),
                write_mode: open.write_mode,
                key,
                on_schema_change: policy,
                on_loss: on_loss.clone(),
            });
        }
        plan.flows.push(Flow { name, inputs, program: built.program, outputs });
        Ok(())
    }

    /// Write mode and key.
    fn fits(&self, pipeline: &Pipeline, problems: &mut Vec<Diagnostic>, output: &flows::Output, open: &OpenSink, key: &[String]) {
        let modes = open.sink.capabilities(open.write_mode).write_modes;
        let mode = open.write_mode.as_str();
        if !modes.contains(&open.write_mode) {
            let known: Vec<&str> = modes.iter().map(|mode| mode.as_str()).collect();
            problems.push(placed(
                pipeline,
                &output.sink,
                Some("write_mode"),
                Diagnostic::error("WEIR-PLAN-016", format!("sink `{}` cannot `{mode}` with these options", output.sink))
                    .expected(known.join(", ")),
            ));
        }
        if matches!(open.write_mode, WriteMode::Upsert | WriteMode::Merge) {
            let columns: Vec<&str> = output.schema.fields().iter().map(|field| field.name().as_str()).collect();
            if key.is_empty() {
                problems.push(placed(
                    pipeline,
                    &output.sink,
                    Some("write_mode"),
                    Diagnostic::error(
                        "WEIR-PLAN-017",
                        format!("`write_mode: {mode}` needs a key, and the stream has no primary key"),
                    )
                    .help("add `key: [column, …]` to the sink"),
                ));
            }
            for name in key.iter().filter(|name| !columns.contains(&name.as_str())) {
                problems.push(at_node(pipeline, &output.sink, Some("key"), &crate::transforms::missing(name, &columns)));
            }
        }
    }

    /// Column reports, and the losses that nobody allowed.
    #[expect(clippy::too_many_arguments, reason = "one column report needs all of it")]
    fn columns(
        &self,
        plan: &mut Plan,
        problems: &mut Vec<Diagnostic>,
        flow: &str,
        output: &flows::Output,
        open: &OpenSink,
        chosen: &[Chosen],
        on_loss: &OnLoss,
    ) {
        for (field, origins) in output.schema.fields().iter().zip(&output.lineage) {
            let mut from = Vec::new();
            let mut edge = Edge::Exact;
            let mut allowed = on_loss.for_column(field.name()) != LossChoice::Error;
            let mut source = String::new();
            for (table, column) in origins {
                let Some(choice) = chosen.iter().find(|choice| choice.node.name == *table) else { continue };
                from.push(format!("{table}.{}.{column}", choice.stream.name));
                if let Ok(origin) = choice.stream.schema.field_with_name(column) {
                    let origin_edge = Edge::of_source(origin);
                    if origin_edge.loses() && on_loss.for_column(column) != LossChoice::Error {
                        allowed = true;
                    }
                    edge = edge.then(origin_edge);
                    if origins.len() == 1 && origin.data_type() == field.data_type() {
                        source = origin
                            .metadata()
                            .get(weir_connect::fidelity::SOURCE_TYPE)
                            .cloned()
                            .unwrap_or_else(|| types::print(origin.data_type()));
                    }
                }
            }
            if source.is_empty() {
                source = match origins.len() {
                    0 => "constant".into(),
                    _ => format!("from {}", origins.iter().map(|(_, column)| column.as_str()).collect::<Vec<_>>().join(", ")),
                };
            }
            let sink_type = open.sink.sink_type(field);
            edge = edge.then(sink_type.edge.clone());
            if edge.loses() && !allowed {
                problems.push(loss(&plan.pipeline, output, field.name(), &source, &sink_type.name, &edge));
            }
            plan.columns.push(ColumnReport {
                flow: flow.to_owned(),
                sink: output.sink.clone(),
                column: field.name().clone(),
                from,
                source,
                arrow: types::print(field.data_type()),
                sink_type: sink_type.name,
                edge,
                allowed,
            });
        }
    }

    fn two_writers(&self, plan: &Plan, problems: &mut Vec<Diagnostic>) {
        let mut places: BTreeMap<String, (&str, &str)> = BTreeMap::new();
        for (flow, output) in plan.flows.iter().flat_map(|flow| flow.outputs.iter().map(move |output| (flow, output))) {
            let place = output.sink.place(&output.stream);
            let Some((other, stream)) = places.insert(place.clone(), (&output.node, &flow.name)) else { continue };
            let help = if other == output.node {
                "use {stream} in the path or table name".to_owned()
            } else {
                format!("give `{}` and `{other}` different paths or tables", output.node)
            };
            problems.push(placed(
                &plan.pipeline,
                &output.node,
                None,
                Diagnostic::error(
                    "WEIR-PLAN-018",
                    format!("two writers to one place: `{}` and `{stream}` would both write {place}", flow.name),
                )
                .help(help),
            ));
        }
    }

    /// The guarantee and its reasons; the demand is checked against it.
    fn promise(&self, plan: &mut Plan, problems: &mut Vec<Diagnostic>) {
        let mut weakest = Delivery::ExactlyOnce;
        let mut reasons: Vec<String> = Vec::new();
        let mut culprit: Option<(String, String)> = None;
        for flow in &plan.flows {
            for input in &flow.inputs {
                let source = input.source.capabilities();
                if !source.replayable && weakest > Delivery::AtLeastOnce {
                    weakest = Delivery::AtLeastOnce;
                    culprit = Some((
                        input.node.clone(),
                        format!("source `{}` cannot be read again the same: {}", input.node, source.replay_note),
                    ));
                }
                reasons.push(source.replay_note);
            }
            for output in &flow.outputs {
                let sink = output.sink.capabilities(output.write_mode);
                let kept = match sink.commit {
                    CommitKind::Staged | CommitKind::CoCommitted => Delivery::ExactlyOnce,
                    CommitKind::Idempotent => Delivery::EffectivelyOnce,
                    CommitKind::Append => Delivery::AtLeastOnce,
                };
                if kept < weakest {
                    weakest = kept;
                    let mode = output.write_mode.as_str();
                    culprit = Some((
                        output.node.clone(),
                        format!("sink `{}` with write_mode `{mode}`: {}", output.node, sink.commit_note),
                    ));
                }
                reasons.push(sink.commit_note);
            }
        }
        let mut seen = BTreeSet::new();
        reasons.retain(|reason| !reason.is_empty() && seen.insert(reason.clone()));
        if let Some(demand) = plan.pipeline.delivery.filter(|demand| *demand > weakest) {
            let (_, why) = culprit.unwrap_or_default();
            let (demanded, kept) = (word(demand), word(weakest));
            problems.push(at_key(
                &plan.pipeline,
                "delivery",
                Diagnostic::error("WEIR-PLAN-021", format!("`delivery: {demanded}` cannot be kept"))
                    .label(format!("{why} gives {kept}"))
                    .help(format!("choose another write_mode or sink, or ask for {kept}")),
            ));
        }
        plan.guarantee = Guarantee { delivery: weakest, reasons };
    }

    async fn preview(&self, plan: &mut Plan) -> Result<(), PlanFailure> {
        let mut actions = Vec::new();
        for flow in &plan.flows {
            for output in &flow.outputs {
                let target = StreamTarget {
                    run: RunIdentity { pipeline: plan.pipeline.name.clone(), run_id: "plan".into() },
                    stream: output.stream.clone(),
                    schema: output.schema.clone(),
                    key: output.key.clone(),
                    cursor: flow.inputs.iter().find_map(|input| input.cursor.clone()),
                    write_mode: output.write_mode,
                    on_schema_change: output.on_schema_change,
                };
                actions.extend(output.sink.preview(&target).await?);
            }
        }
        plan.actions = actions;
        Ok(())
    }
}

/// Errors about the spec become diagnostics at the node; the others (network, rights) stay errors.
fn spec_or_error(pipeline: &Pipeline, node: &Node, error: Error) -> PlanFailure {
    match error.kind() {
        Kind::Spec | Kind::TypeLoss => PlanFailure::Diagnostics(vec![at_node(pipeline, &node.name, None, &error)]),
        _ => {
            PlanFailure::Error(error.at(format!("{} `{}`", if node.role == Role::Source { "source" } else { "sink" }, node.name)))
        }
    }
}

fn loss(pipeline: &Pipeline, output: &flows::Output, column: &str, source: &str, sink_type: &str, edge: &Edge) -> Diagnostic {
    let reason = match edge {
        Edge::Lossy { reason } | Edge::Unsupported { reason } => reason.as_str(),
        _ => "",
    };
    placed(
        pipeline,
        &output.sink,
        None,
        Diagnostic::error("WEIR-PLAN-050", format!("column `{column}` ({source}) would lose data as {sink_type}: {reason}"))
            .help(format!("set `on_loss: {{{column}: string}}` (or accept, drop), cast it, or drop it with field_mapper")),
    )
}

fn word(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::AtLeastOnce => "at_least_once",
        Delivery::EffectivelyOnce => "effectively_once",
        Delivery::ExactlyOnce => "exactly_once",
    }
}

fn policy(pipeline: &Pipeline) -> SchemaChangePolicy {
    pipeline
        .on_schema_change
        .as_ref()
        .and_then(|word| serde_json::from_value(serde_json::Value::String(word.clone())).ok())
        .unwrap_or_default()
}

fn on_loss(pipeline: &Pipeline) -> OnLoss {
    let choice = |word: &String| serde_json::from_value(serde_json::Value::String(word.clone())).unwrap_or(LossChoice::Error);
    OnLoss {
        default: pipeline.on_loss.get("*").map(choice).unwrap_or_default(),
        columns: pipeline
            .on_loss
            .iter()
            .filter(|(name, _)| *name != "*")
            .map(|(name, word)| (name.clone(), choice(word)))
            .collect(),
    }
}

/// A session for planning over these inputs, with empty tables in their place.
pub(crate) fn tables(context: &SessionContext, chosen: &[Chosen]) -> Result<()> {
    let tables: Vec<(String, SchemaRef)> =
        chosen.iter().map(|choice| (choice.node.name.clone(), choice.stream.schema.clone())).collect();
    crate::relational::empty_tables(context, &tables)
}
