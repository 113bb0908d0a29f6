//! The columns behind each node, from the planner itself: it plans the pipeline over sources that are only declared, with a sink
//! behind every
//! transform that keeps nothing but the shape.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use serde_json::{Value, json};
use weir_connect::{
    CheckReport, CommitKind, Connector, Descriptor, Error, Kind, ReadRequest, Registry, Result, Sink, SinkCapabilities,
    SinkContext, SinkType, Source, SourceCapabilities, SourceContext, StreamInfo, StreamReader, StreamSink, StreamTarget,
    WriteMode,
};
use weir_plan::{PlanFailure, Planner, Unresolved};
use weir_spec::model::{Input, Mode, Node, Pipeline, Role};

use super::{Job, Told, words};

/// Columns by what feeds a reader (`node` or `node.port`) and stream.
#[derive(Debug, Default)]
pub struct Shapes {
    found: BTreeMap<String, Vec<(String, SchemaRef)>>,
    keys: BTreeMap<String, Vec<(String, Vec<String>)>>,
}

/// The connector of the sinks that are put behind transforms.
const TAP: &str = "weir_tap";
/// The connector that takes the place of every source.
const DECLARED: &str = "weir_declared";

impl Shapes {
    /// As far as sources declare their columns, or were asked for them. What the planner has against the pipeline then is told.
    pub(super) fn of(job: &Job<'_>, told: &mut Told) -> Self {
        let mut shapes = Self::default();
        let mut streams = BTreeMap::new();
        for node in job.pipeline.of(Role::Source) {
            let known = job.streams.get(&node.name).cloned().or_else(|| declared(node).map(|stream| vec![stream]));
            let Some(known) = known else { continue };
            let whole = !PARTLY.contains(&node.kind.as_str()) || node.options.get("only_columns") == Some(&Value::Bool(true));
            if !job.streams.contains_key(&node.name) && !whole && !is_text(node) {
                told.note(format!("`{}`: the columns that are declared are taken for all that there are", node.name));
            }
            shapes
                .found
                .insert(node.name.clone(), known.iter().map(|stream| (stream.name.clone(), stream.schema.clone())).collect());
            shapes.keys.insert(
                node.name.clone(),
                known.iter().map(|stream| (stream.name.clone(), stream.primary_key.clone())).collect(),
            );
            streams.insert(node.name.clone(), known);
        }
        if job.pipeline.of(Role::Transform).next().is_none() || streams.len() < job.pipeline.of(Role::Source).count() {
            return shapes;
        }
        match plan(job, &streams) {
            Ok(found) => shapes.found.extend(found),
            Err(Some(diagnostics)) => told.extend(diagnostics),
            Err(None) => {}
        }
        shapes
    }

    /// The columns of what feeds a reader, in that stream; if there is one stream only, whatever it is called.
    pub fn columns(&self, address: &str, stream: Option<&str>) -> Option<SchemaRef> {
        let known = self.found.get(address)?;
        match known.as_slice() {
            [(_, only)] => Some(only.clone()),
            all => {
                let wanted = stream?;
                all.iter()
                    .find(|(name, _)| name == wanted || name.starts_with(&format!("{wanted}_")))
                    .map(|(_, schema)| schema.clone())
            }
        }
    }

    /// The primary key of a source's stream, as the system tells it.
    pub fn primary_key(&self, node: &str, stream: Option<&str>) -> Vec<String> {
        let known = self.keys.get(node).map(Vec::as_slice).unwrap_or_default();
        match known {
            [(_, only)] => only.clone(),
            all => all.iter().find(|(name, _)| Some(name.as_str()) == stream).map(|(_, key)| key.clone()).unwrap_or_default(),
        }
    }
}

/// Connectors whose `columns` natively say the types of some columns, and others are found by looking.
const PARTLY: [&str; 9] = ["file", "local", "s3", "minio", "http", "rest_api", "kafka", "pulsar", "rabbitmq"];

/// Whether what is read has one column, `value`.
fn is_text(node: &Node) -> bool {
    matches!(node.options.get("format").and_then(Value::as_str), Some("text" | "raw"))
}

/// Columns as they follow each other in a file: `csv.columns` says so where there is no header, and the engines go by it.
fn in_order<'a>(node: &'a Node, words: &'a serde_json::Map<String, Value>) -> Vec<(&'a String, &'a Value)> {
    let named = node.options.get("csv").and_then(|csv| csv.get("columns")?.as_array());
    let place = |name: &String| named.and_then(|named| named.iter().position(|known| known.as_str() == Some(name)));
    let mut all: Vec<_> = words.iter().collect();
    all.sort_by_key(|(name, _)| place(name).unwrap_or(usize::MAX));
    all
}

/// What the options of a source say of its columns.
fn declared(node: &Node) -> Option<StreamInfo> {
    let mut fields = Vec::new();
    if is_text(node) {
        let raw = node.options.get("format").and_then(Value::as_str) == Some("raw");
        fields.push(Field::new("value", if raw { DataType::Binary } else { DataType::Utf8 }, true));
    } else {
        let columns = node.options.get("columns")?.as_object()?;
        for (name, word) in in_order(node, columns) {
            fields.push(Field::new(name, words::declared_type(&node.kind, word.as_str()?)?, true));
        }
    }
    let primary_key = node.options.get("primary_key").and_then(Value::as_array).into_iter().flatten();
    Some(StreamInfo {
        name: stream_name(node),
        schema: Arc::new(Schema::new(fields)),
        primary_key: primary_key.filter_map(|name| name.as_str().map(Into::into)).collect(),
        estimated_rows: None,
        estimated_bytes: None,
        reading: "declared".into(),
    })
}

/// What a source with one stream calls it, as far as its options tell.
pub(super) fn stream_name(node: &Node) -> String {
    let one = |name: &str| match node.options.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => items.first().and_then(Value::as_str).map(Into::into),
        _ => None,
    };
    let by_option =
        ["stream", "stream_name", "name", "table", "tables", "topic", "topics", "collection", "collections", "queue", "index"];
    let path = || {
        one("path").map(|path| {
            path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default().to_string()
        })
    };
    by_option.iter().find_map(|name| one(name)).or_else(path).filter(|name| !name.is_empty()).unwrap_or_else(|| node.name.clone())
}

type Found = BTreeMap<String, Vec<(String, SchemaRef)>>;

/// Plans a copy of the pipeline. `Err(None)`: the planner cannot tell without the systems.
fn plan(
    job: &Job<'_>,
    streams: &BTreeMap<String, Vec<StreamInfo>>,
) -> std::result::Result<Found, Option<Vec<weir_spec::Diagnostic>>> {
    let mut pipeline: Pipeline = job.pipeline.clone();
    if pipeline.mode != Mode::Streaming {
        pipeline.mode = Mode::Batch;
    }
    pipeline.delivery = None;
    pipeline.journal = None;
    // A cursor or a contract has no bearing on shapes, and the sinks of the copy have none of the real ones' options.
    pipeline.on_schema_change = None;
    let mut addresses: Vec<(String, Input)> = Vec::new();
    for input in pipeline.nodes.iter().flat_map(|node| node.inputs.clone()).collect::<Vec<_>>() {
        let ports = match (&input.port, pipeline.node(&input.node)) {
            (None, Some(node)) => {
                super::views::routes(node).map_or_else(Vec::new, |routes| routes.into_iter().map(|(name, _)| name).collect())
            }
            _ => Vec::new(),
        };
        let all = if ports.is_empty() { vec![input.port.clone()] } else { ports.into_iter().map(Some).collect() };
        for port in all {
            let input = Input { node: input.node.clone(), port };
            let address = address(&input);
            if pipeline.node(&input.node).is_some_and(|node| node.role == Role::Transform)
                && !addresses.iter().any(|(known, _)| *known == address)
            {
                addresses.push((address, input));
            }
        }
    }
    pipeline.nodes.retain(|node| node.role != Role::Sink);
    pipeline.connections.clear();
    for node in pipeline.nodes.iter_mut().filter(|node| node.role == Role::Source) {
        let event_time = node.options.get("event_time").cloned();
        node.kind = DECLARED.into();
        node.options = json!({"node": node.name});
        if let Some(event_time) = event_time {
            node.options["event_time"] = event_time;
        }
    }
    for (place, (_, input)) in addresses.iter().enumerate() {
        pipeline.nodes.push(Node {
            name: format!("{TAP}_{place}"),
            role: Role::Sink,
            kind: TAP.into(),
            inputs: vec![input.clone()],
            options: Value::Object(Default::default()),
        });
    }
    let planner = Planner {
        registry: declared_registry(streams),
        resolve: Arc::new(Unresolved),
        base_dir: PathBuf::from("."),
        parallelism: 1,
    };
    let planned = match futures::executor::block_on(planner.plan(Arc::new(pipeline))) {
        Ok(plan) => plan,
        Err(PlanFailure::Refused(plan, _)) => *plan,
        Err(PlanFailure::Diagnostics(diagnostics)) => return Err(Some(diagnostics)),
        Err(PlanFailure::Error(_)) => return Err(None),
    };
    let mut found = Found::new();
    for flow in &planned.flows {
        let stream = flow.inputs.first().map(|input| input.stream.name.clone()).unwrap_or_default();
        for output in &flow.outputs {
            let Some(place) = output.node.strip_prefix(TAP).and_then(|rest| rest.strip_prefix('_')?.parse::<usize>().ok()) else {
                continue;
            };
            if let Some((address, _)) = addresses.get(place) {
                found.entry(address.clone()).or_default().push((stream.clone(), output.schema.clone()));
            }
        }
    }
    Ok(found)
}

/// `node`, or `node.port`.
pub(super) fn address(input: &Input) -> String {
    match &input.port {
        Some(port) => format!("{}.{port}", input.node),
        None => input.node.clone(),
    }
}

/// Two connectors of which none connects: sources that are declared, and sinks that keep shapes.
fn declared_registry(streams: &BTreeMap<String, Vec<StreamInfo>>) -> Registry {
    let mut registry = Registry::new();
    let source = descriptor(DECLARED, Some(json!({"type": "object", "properties": {"node": {"type": "string"}}})), None);
    registry.add(Arc::new(Stub { descriptor: source, streams: streams.clone() }));
    registry.add(Arc::new(Stub { descriptor: descriptor(TAP, None, Some(no_options())), streams: BTreeMap::new() }));
    registry
}

fn no_options() -> Value {
    json!({"type": "object", "properties": {}})
}

fn descriptor(name: &'static str, source: Option<Value>, sink: Option<Value>) -> Descriptor {
    Descriptor {
        name,
        aliases: &[],
        summary: "has a shape and no rows",
        connection: no_options(),
        source,
        sink,
        address_option: "table",
    }
}

fn nothing_here() -> Error {
    Error::new("WEIR-ENGINE-008", Kind::Internal, "a declared stream has no rows")
}

struct Stub {
    descriptor: Descriptor,
    streams: BTreeMap<String, Vec<StreamInfo>>,
}

#[async_trait]
impl Connector for Stub {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
    fn validate(&self, _role: &str, _connection: &Value, _options: &Value) -> Result<()> {
        Ok(())
    }
    async fn check(&self, _connection: &Value) -> Result<CheckReport> {
        Err(nothing_here())
    }
    async fn discover(&self, _context: SourceContext) -> Result<Vec<StreamInfo>> {
        Err(nothing_here())
    }
    async fn source(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        let node = context.options.get("node").and_then(Value::as_str).unwrap_or_default();
        let streams = self.streams.get(node).cloned().ok_or_else(nothing_here)?;
        Ok(Arc::new(Stream { streams }))
    }
    async fn sink(&self, context: SinkContext) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(Kept { node: context.node }))
    }
}

struct Stream {
    streams: Vec<StreamInfo>,
}

#[async_trait]
impl Source for Stream {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: String::new() }
    }
    fn unbounded(&self) -> bool {
        true
    }
    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(self.streams.clone())
    }
    async fn open(&self, _request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        Err(nothing_here())
    }
}

struct Kept {
    node: String,
}

#[async_trait]
impl Sink for Kept {
    fn capabilities(&self, _mode: WriteMode) -> SinkCapabilities {
        SinkCapabilities { commit: CommitKind::Append, commit_note: String::new(), write_modes: vec![WriteMode::Append] }
    }
    fn sink_type(&self, _field: &Field) -> SinkType {
        SinkType::exact("kept")
    }
    fn place(&self, stream: &str) -> String {
        format!("{}/{stream}", self.node)
    }
    async fn preview(&self, _target: &StreamTarget) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    async fn prepare(&self, _target: StreamTarget) -> Result<Box<dyn StreamSink>> {
        Err(nothing_here())
    }
}
