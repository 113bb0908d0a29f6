//! One flow: the nodes of a component over one choice of streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::DataType;
use serde_json::Value;
use weir_connect::{StreamInfo, WriteMode};
use weir_error::Result;
use weir_spec::Diagnostic;
use weir_spec::model::{Mode, Node};

use crate::chain::{Body, Chain, Graph, InputTable, Op, Upstream};
use crate::changes::{reads_log, with_metadata};
use crate::check::{no_key, refused};
use crate::gates::{self, Gate, QueryGates};
use crate::keyed::{self, TimeMark};
use crate::loss::{self, Verdict};
use crate::model::{ColumnReport, Flow, FlowInput, FlowOutput, Program};
use crate::options::{self, Lag};
use crate::planner::{OpenSink, OpenSource, Planner, Policies};
use crate::problem::{Places, Problem, code};
use crate::program::relational::{Prepared, QueryProgram};
use crate::program::row::RowTree;
use crate::sample::Samples;
use crate::shape::{Component, Feed, address};
use crate::sql::Session;
use crate::transforms::{Kind, OnError};

/// What was found while planning.
#[derive(Default)]
pub(crate) struct Told {
    /// There is no plan.
    pub(crate) problems: Vec<Diagnostic>,
    /// There is one, and it must not run.
    pub(crate) refusals: Vec<Diagnostic>,
    pub(crate) warnings: Vec<String>,
    /// Every column that arrives at a sink or is read from a source: what `on_loss` may name.
    pub(crate) columns: BTreeSet<String>,
}

/// Inputs that together stay below this may be held in memory by a join.
const SMALL_BYTES: u64 = 32 << 20;

/// What every flow of a plan shares.
pub(crate) struct FlowBuilder<'a> {
    pub(crate) planner: &'a Planner,
    pub(crate) session: &'a Session,
    pub(crate) policies: &'a Policies,
    pub(crate) sinks: &'a BTreeMap<&'a str, OpenSink>,
    pub(crate) places: &'a Places<'a>,
    pub(crate) samples: &'a Samples,
}

impl FlowBuilder<'_> {
    /// The flow and its column reports; `None` when problems were told instead.
    pub(crate) fn flow(
        &self,
        component: &Component<'_>,
        choice: &[(&OpenSource, &StreamInfo)],
        told: &mut Told,
    ) -> Result<Option<(Flow, Vec<ColumnReport>)>> {
        let before = told.problems.len();
        let mut graph = Graph { streaming: self.policies.mode == Mode::Streaming, ..Graph::default() };
        let mut ends: BTreeMap<String, Upstream> = BTreeMap::new();
        let mut inputs = Vec::new();
        for (index, (open, stream)) in choice.iter().enumerate() {
            ends.insert(open.node.name.clone(), Upstream::Input(index));
            told.columns.extend(stream.schema.fields().iter().map(|field| field.name().clone()));
            graph.inputs.push(InputTable::new(index, &open.node.name, &stream.name, &stream.schema));
            graph.samples.push(self.samples.get(&(open.node.name.clone(), stream.name.clone())).cloned());
            graph.times.extend(self.event_time(index, open, stream, told));
            inputs.extend(self.input(index, open, stream, told));
        }
        for node in &component.transforms {
            self.lower(node, &mut graph, &mut ends, choice, told)?;
        }
        if !graph.streaming && !graph.as_of {
            for (open, _) in choice.iter().filter(|(open, _)| options::event_time(&open.node).is_ok_and(|time| time.is_some())) {
                told.warnings.push(format!(
                    "`event_time` of `{}` is for `mode: streaming`: here every row is seen before anything is counted",
                    open.node.name
                ));
            }
        }
        if told.problems.len() > before {
            return Ok(None);
        }
        let single = match choice {
            [(_, stream)] => Some(*stream),
            _ => None,
        };
        let name = match (single, component.sinks.first()) {
            (Some(stream), _) => stream.name.clone(),
            (None, Some(Feed { sink, from, .. })) if sink.inputs.len() > 1 => format!("{}.{from}", sink.name),
            (None, Some(feed)) => feed.sink.name.clone(),
            (None, None) => return Ok(None),
        };
        let (mut outputs, mut tails, mut feeds, mut reports) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for feed in &component.sinks {
            let node = feed.sink;
            let (Some(open), Some(upstream)) = (self.sinks.get(node.name.as_str()), ends.get(&feed.address()).copied()) else {
                continue;
            };
            let (tail, columns) = self.losses(&name, node, open, upstream, &mut graph, told);
            let stream = single.map_or(feed.from, |stream| stream.name.as_str());
            // One output of a node is the stream; several of them, in one sink, are streams of their own.
            let several = component.sinks.iter().filter(|other| other.sink.name == node.name).count() > 1;
            let stream = match &feed.port {
                Some(port) if several => format!("{stream}_{port}"),
                _ => stream.to_string(),
            };
            outputs.push((node, open, stream));
            tails.push(tail);
            feeds.push(feed);
            reports.extend(columns);
        }
        let sources: Vec<&str> = choice.iter().map(|(open, _)| open.node.name.as_str()).collect();
        let mut gates = gates::of_flow(&sources, component, &feeds);
        let mut at = 0usize;
        gates.retain(|gate| {
            let tail = at.checked_sub(sources.len()).and_then(|output: usize| tails.get(output));
            let passes = tail.or_else(|| ends.get(&address(&gate.node, gate.port.as_deref()))).copied();
            graph.gates.extend(passes.map(|upstream| (gate.node.clone(), upstream)));
            at += 1;
            passes.is_some()
        });
        let program = self.program(&name, &inputs, graph, &tails, &mut gates, told);
        let (program, graph) = match program {
            Some(built) => built,
            None => return Ok(None),
        };
        let row_local = matches!(program, Program::RowLocal(_));
        let together = matches!(program, Program::Relational(_));
        let endless = matches!(self.policies.mode, Mode::Cdc | Mode::Streaming);
        if endless
            && let Some(check) = graph.ops.iter().find_map(|op| match &op.body {
                Body::Check(check) if check.needs_the_end() => Some(check),
                _ => None,
            })
        {
            let problem = Problem::new(
                code::MODE,
                format!("a limit or a rule about all rows in `{}` needs the last row", check.node()),
            )
            .help("a log or a stream has no last row: there, rules are about single rows, without `max_failures` and `max_fraction`");
            told.problems.push(self.places.in_node(check.node(), problem));
            return Ok(None);
        }
        if endless && together {
            told.problems.push(self.together(&graph, choice));
            return Ok(None);
        }
        let outputs: Vec<FlowOutput> = outputs
            .into_iter()
            .zip(&tails)
            .map(|((node, open, stream), tail)| {
                let key = self.key(node, open, &graph, *tail, single.filter(|_| row_local), told);
                let metadata = options::metadata(self.policies.mode, node).unwrap_or_default();
                let schema = with_metadata(graph.schema(*tail), &metadata).unwrap_or_else(|error| {
                    let problem = Problem { code: code::METADATA, ..refused(&error) };
                    told.problems.push(self.places.in_node(&node.name, problem.option("metadata_columns")));
                    graph.schema(*tail).clone()
                });
                reports.extend(metadata.iter().map(|column| loss::about_change(*column, &name, &node.name, open.sink.as_ref())));
                FlowOutput {
                    node: node.name.clone(),
                    connector: open.connector.descriptor().name.into(),
                    sink: open.sink.clone(),
                    stream,
                    schema,
                    write_mode: open.write_mode,
                    key,
                    on_schema_change: self.policies.on_schema_change,
                    on_loss: self.policies.on_loss.clone(),
                    deletes: options::deletes(node).unwrap_or_default(),
                    metadata,
                }
            })
            .collect();
        if told.problems.len() > before {
            return Ok(None);
        }
        if together && self.policies.mode == Mode::Incremental {
            told.warnings.push(format!(
                "`{name}` sees rows together, and of a source that is read incrementally only the new rows are there to be seen"
            ));
        }
        Ok(Some((Flow { name, inputs, program, outputs, gates, replan: None }, reports)))
    }

    fn input(&self, index: usize, open: &OpenSource, stream: &StreamInfo, told: &mut Told) -> Option<FlowInput> {
        let node = &open.node;
        let mut cursor = None;
        let mut cursor_lag = None;
        let written = node.options.get("cursor").and_then(Value::as_str);
        if self.policies.mode == Mode::Incremental
            && let Some(column) = written
        {
            let names: Vec<String> = stream.schema.fields().iter().map(|field| field.name().clone()).collect();
            let Some((_, field)) = stream.schema.column_with_name(column) else {
                let mut problem = Problem::no_column(column, "cursor", &names);
                problem.code = code::CURSOR;
                problem.message = format!("stream `{}` has no column `{column}` to be the cursor", stream.name);
                told.problems.push(self.places.in_node(&node.name, problem));
                return None;
            };
            match lag_for(field.data_type(), options::lag(node).ok().flatten()) {
                Ok(lag) => cursor_lag = lag,
                Err(why) => {
                    let problem = Problem::new(code::CURSOR, format!("`{column}` of `{}`: {why}", stream.name));
                    told.problems.push(self.places.in_node(&node.name, problem.option("cursor")));
                }
            }
            cursor = Some(column.to_string());
        } else if written.is_some() {
            told.warnings.push(format!("`cursor` of `{}` is not used: `mode: batch` reads everything", node.name));
        }
        Some(FlowInput {
            node: node.name.clone(),
            connector: open.connector.descriptor().name.into(),
            source: open.source.clone(),
            stream: stream.clone(),
            table: table_name(index, &node.name),
            cursor,
            cursor_lag,
        })
    }

    /// Where a source says that its rows have their time.
    fn event_time(&self, index: usize, open: &OpenSource, stream: &StreamInfo, told: &mut Told) -> Option<TimeMark> {
        let node = &open.node.name;
        // What cannot be read was told before.
        let written = options::event_time(&open.node).ok().flatten()?;
        if self.policies.mode != Mode::Streaming {
            // Only a look at versions asks for it, and says so if it is not there.
            let (column, _) = stream.schema.column_with_name(&written.column).filter(|(_, field)| is_time(field))?;
            return Some(TimeMark { node: node.clone(), at: Upstream::Input(index), column, max_lateness: 0, idle_after: None });
        }
        let mut tell = |problem: Problem| told.problems.push(self.places.in_node(node, problem));
        let Some((column, field)) = stream.schema.column_with_name(&written.column) else {
            let names: Vec<String> = stream.schema.fields().iter().map(|field| field.name().clone()).collect();
            let mut problem = Problem::no_column(&written.column, "event_time/column", &names);
            problem.code = code::EVENT_TIME;
            problem.message = format!("stream `{}` has no column `{}` to be the event time", stream.name, written.column);
            tell(problem);
            return None;
        };
        if !is_time(field) {
            let kind = crate::types::show(field.data_type());
            let message = format!("`{}` of `{}` is {kind}, no timestamp", written.column, stream.name);
            tell(
                Problem::new(code::EVENT_TIME, message)
                    .option("event_time/column")
                    .help("declare it as a timestamp at the source, or `cast` it and say `watermark: {column: …}` after that"),
            );
            return None;
        }
        Some(TimeMark {
            node: node.clone(),
            at: Upstream::Input(index),
            column,
            max_lateness: i64::from(written.max_lateness_ms) * 1_000,
            idle_after: written.idle_after_ms.map(|ms| i64::from(ms) * 1_000),
        })
    }

    /// Appends a transform's operations, and to `ends` what it gives: nothing if a problem was told, or an upstream had one.
    fn lower(
        &self,
        node: &Node,
        graph: &mut Graph,
        ends: &mut BTreeMap<String, Upstream>,
        choice: &[(&OpenSource, &StreamInfo)],
        told: &mut Told,
    ) -> Result<()> {
        let mut inputs = Vec::new();
        for input in &node.inputs {
            let address = address(&input.node, input.port.as_deref());
            let Some(upstream) = ends.get(&address) else { return Ok(()) };
            inputs.push((*upstream, self.names(node, &address, *upstream, choice)));
        }
        let options = self.planner.resolved_options(self.places.0, node)?;
        let Some(kind) = Kind::of(&node.kind) else { return Ok(()) };
        let read = match kind.read(&options) {
            Ok(read) => read,
            Err(why) => {
                let problem = Problem::new(code::TRANSFORM_OPTIONS, format!("`{}`: {why}", kind.name));
                told.problems.push(self.places.in_node(&node.name, problem));
                return Ok(());
            }
        };
        let mut problems = read.check();
        let mut chain = Chain::new(self.session, graph, &node.name, kind.name, inputs);
        if problems.is_empty() {
            read.lower(&mut chain, &mut problems);
        }
        if problems.is_empty() {
            told.warnings.append(&mut chain.notes);
            ends.extend(chain.ports().iter().map(|(port, end)| (address(&node.name, Some(port)), *end)));
            ends.extend(chain.end().map(|end| (node.name.clone(), end)));
        }
        told.problems.extend(problems.into_iter().map(|problem| self.places.in_node(&node.name, problem)));
        Ok(())
    }

    /// Every name that a query in `node` may give to one of its inputs.
    fn names(&self, node: &Node, upstream: &str, end: Upstream, choice: &[(&OpenSource, &StreamInfo)]) -> Vec<String> {
        let only = node.inputs.len() == 1;
        let mut names = Vec::new();
        if only {
            names.push("input".to_string());
        }
        names.push(upstream.to_string());
        // The source's own table name: for a direct input, or wherever there is only one stream that could be meant.
        let streams: Vec<&(&OpenSource, &StreamInfo)> = match end {
            Upstream::Input(index) => choice.get(index).into_iter().collect(),
            Upstream::Op(_) if only && choice.len() == 1 => choice.iter().collect(),
            Upstream::Op(_) => Vec::new(),
        };
        for (open, stream) in streams {
            names.push(stream.name.clone());
            names.extend(stream.name.rsplit('.').next().map(Into::into));
            let written = open.node.options.get(open.connector.descriptor().address_option).and_then(Value::as_str);
            names.extend(written.map(Into::into));
        }
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// Decides about every column of a sink, and appends the casts and omissions that the spec allows.
    fn losses(
        &self,
        flow: &str,
        node: &Node,
        open: &OpenSink,
        upstream: Upstream,
        graph: &mut Graph,
        told: &mut Told,
    ) -> (Upstream, Vec<ColumnReport>) {
        told.columns.extend(graph.schema(upstream).fields().iter().map(|field| field.name().clone()));
        let judged = loss::judge(graph.schema(upstream), graph.columns(upstream), open.sink.as_ref(), &self.policies.on_loss);
        let mut chain = Chain::new(self.session, graph, &node.name, "on_loss", vec![(upstream, vec!["input".into()])]);
        if let Err(error) = loss::carry_out(&judged, &mut chain) {
            told.problems.push(self.places.in_node(&node.name, Problem::query(&error, "on_loss")));
        }
        let tail = chain.end().unwrap_or(upstream);
        let (mut reports, mut lost) = (Vec::new(), Vec::new());
        for column in judged {
            match &column.verdict {
                Verdict::Drop => {
                    told.warnings.push(format!("column `{}` is left out of `{}` (on_loss: drop)", column.name, node.name));
                    continue;
                }
                Verdict::Refuse { .. } => lost.push(column.refusal(node)),
                Verdict::Keep | Verdict::Text { .. } => {}
            }
            reports.push(column.report(flow, &node.name));
        }
        told.refusals.extend(lost.into_iter().map(|problem| self.places.in_node(&node.name, problem)));
        if reports.is_empty() {
            told.problems.push(
                self.places
                    .in_node(&node.name, Problem::new(code::SHAPE, format!("sink `{}` would get no column at all", node.name))),
            );
        }
        (tail, reports)
    }

    fn program(
        &self,
        name: &str,
        inputs: &[FlowInput],
        graph: Graph,
        tails: &[Upstream],
        gates: &mut [Gate],
        told: &mut Told,
    ) -> Option<(Program, Arc<Graph>)> {
        let together = graph.ops.iter().any(|op| matches!(&op.body, Body::Check(check) if check.decides_together()));
        if let [input] = inputs
            && (!together || reads_log(self.policies))
            && let Some(tree) = RowTree::new(&input.stream.name, &graph, tails)
        {
            return Some((Program::RowLocal(Arc::new(tree)), Arc::new(graph)));
        }
        if graph.streaming && !graph.ops.iter().any(|op| matches!(&op.body, Body::Check(check) if check.needs_the_end())) {
            let streams: Vec<String> = inputs.iter().map(|input| input.stream.name.clone()).collect();
            return match keyed::translate(self.session, &graph, tails, &streams) {
                Ok(program) => Some((Program::Keyed(program), Arc::new(graph))),
                Err((node, problem)) => {
                    told.problems.push(self.places.in_node(&node, problem));
                    None
                }
            };
        }
        let graph = Arc::new(graph);
        let prepared: Vec<Option<Prepared>> =
            inputs.iter().enumerate().map(|(index, input)| prepare(index, &input.stream.name, &graph, tails)).collect();
        let before = told.problems.len();
        for (index, op) in graph.ops.iter().enumerate() {
            let Body::Cast(cast) = &op.body else { continue };
            let inside = prepared.iter().flatten().any(|prepared| within(&graph, index, prepared.end));
            if inside || !cast.sets_aside() {
                continue;
            }
            let why = "it comes after something that sees rows together (a join, an aggregate, …)";
            if cast.policy.on_error == Some(OnError::DeadLetter) {
                let problem = Problem::new(code::DEAD_LETTERS, format!("`{}` cannot set rows aside: {why}", cast.node()))
                    .option("on_error")
                    .help("cast before it, or use `on_error: null` or `error`");
                told.problems.push(self.places.in_node(cast.node(), problem));
            } else {
                told.warnings.push(format!(
                    "a value that does not convert in `{}` fails the run: {why}, so its row cannot be set aside",
                    cast.node()
                ));
            }
        }
        if told.problems.len() > before {
            return None;
        }
        let bytes: Option<u64> = inputs.iter().map(|input| input.stream.estimated_bytes).sum();
        let hash_joins = bytes.is_some_and(|bytes| bytes <= SMALL_BYTES);
        let ends: Vec<Option<usize>> = prepared.iter().map(|prepared| prepared.as_ref().map(|prepared| prepared.end)).collect();
        let program = QueryProgram {
            name: name.into(),
            gates: QueryGates::new(&graph, tails, &ends, gates),
            tables: inputs.iter().map(|input| input.table.clone()).collect(),
            outputs: tails.to_vec(),
            reason: reason(name, &graph, inputs.len(), hash_joins),
            prepared,
            hash_joins,
            graph: graph.clone(),
        };
        Some((Program::Relational(Arc::new(program)), graph))
    }

    /// `mode: cdc` with something that a row alone does not decide.
    fn together(&self, graph: &Graph, choice: &[(&OpenSource, &StreamInfo)]) -> Diagnostic {
        let help = "changes pass row by row: filter, field_mapper, cast, mask, split, flatten, json_path, or sql without joins and aggregates";
        for op in &graph.ops {
            if let Err(why) = &op.steps {
                let message = format!("`mode: cdc` has no place for `{}`: it sees rows together ({why})", op.node);
                return self.places.in_node(&op.node, Problem::new(code::MODE, message).help(help));
            }
        }
        let nodes: Vec<&str> = choice.iter().map(|(open, _)| open.node.name.as_str()).collect();
        let message = format!("`mode: cdc` cannot bring the logs of `{}` together", nodes.join("`, `"));
        self.places.in_node(nodes.first().copied().unwrap_or_default(), Problem::new(code::MODE, message).help(help))
    }

    /// The key: as written, else the source's primary key where its columns arrive unchanged in a row-local flow.
    fn key(
        &self,
        node: &Node,
        open: &OpenSink,
        graph: &Graph,
        tail: Upstream,
        stream: Option<&StreamInfo>,
        told: &mut Told,
    ) -> Vec<String> {
        let schema = graph.schema(tail);
        let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        for name in open.key.iter().filter(|name| !names.contains(name)) {
            let mut problem = Problem::no_column(name, "key", &names);
            problem.code = code::KEY;
            problem.message = format!("the key of sink `{}` names `{name}`, and no such column arrives", node.name);
            told.problems.push(self.places.in_node(&node.name, problem));
        }
        let columns = graph.columns(tail);
        if !open.key.is_empty() {
            let made = open.key.iter().find(|name| {
                let at = names.iter().position(|known| known == *name);
                at.is_some_and(|at| columns[at].unchanged.is_none())
            });
            if let Some(name) = made.filter(|_| reads_log(self.policies)) {
                told.problems.push(self.places.in_node(&node.name, key_is_made(name, &node.name).option("key")));
            }
            return open.key.clone();
        }
        let arrives = |name: &String| {
            let index = stream?.schema.index_of(name).ok()?;
            let at = columns.iter().position(|column| column.unchanged == Some((0, index)))?;
            Some(names[at].clone())
        };
        let primary: Option<Vec<String>> = stream.and_then(|stream| stream.primary_key.iter().map(arrives).collect());
        if primary.is_none()
            && reads_log(self.policies)
            && let Some(lost) = stream.and_then(|stream| stream.primary_key.iter().find(|name| arrives(name).is_none()))
        {
            told.problems.push(self.places.in_node(&node.name, key_is_made(lost, &node.name)));
            return Vec::new();
        }
        let key = primary.unwrap_or_default();
        if key.is_empty() && matches!(open.write_mode, WriteMode::Upsert | WriteMode::Merge) {
            told.problems.push(self.places.in_node(&node.name, no_key(open.write_mode)));
        }
        key
    }
}

fn is_time(field: &arrow::datatypes::Field) -> bool {
    matches!(field.data_type(), DataType::Timestamp(..))
}

/// `mode: cdc`: a delete has the source's key and nothing else to find its row by.
fn key_is_made(column: &str, sink: &str) -> Problem {
    Problem::new(code::KEY, format!("key column `{column}` does not arrive at sink `{sink}` as the source has it"))
        .help("a delete finds its row by the key: keep its columns; they may be renamed, not changed")
}

/// A name that is a plain SQL identifier, whatever the node is called, and unique in the flow.
fn table_name(index: usize, node: &str) -> String {
    let plain: String = node.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    format!("in{index}_{plain}")
}

fn lag_for(cursor: &DataType, lag: Option<Lag>) -> Result<Option<i64>, String> {
    let time = matches!(cursor, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64);
    let number = cursor.is_integer() || cursor.is_decimal();
    match (lag, time, number) {
        (None, true, _) | (None, _, true) => Ok(None),
        (None, _, _) if matches!(cursor, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => Ok(None),
        (Some(Lag::Micros(micros)), true, _) => Ok(Some(micros)),
        (Some(Lag::Units(units)), _, true) => Ok(Some(units)),
        (Some(Lag::Units(0)), _, _) => Ok(None),
        (Some(Lag::Units(_)), true, _) => Err("the cursor is a time, so `lag` is a duration: `5m`".into()),
        (Some(Lag::Micros(_)), _, true) => Err("the cursor is a number, so `lag` is a number too".into()),
        (Some(_), _, _) => Err("`lag` needs a cursor that is a time or a number".into()),
        (None, _, _) => Err(format!("a cursor is a time, a whole number or a text, not {}", crate::types::show(cursor))),
    }
}

/// The longest beginning of an input's way that runs row by row and ends with a cast that may set rows aside.
fn prepare(input: usize, stream: &str, graph: &Graph, outputs: &[Upstream]) -> Option<Prepared> {
    let (mut at, mut ops, mut end) = (Upstream::Input(input), Vec::new(), None);
    loop {
        // Nothing is late in a batch.
        let reads = |(index, op): &(usize, &Op)| op.inputs.contains(&at) && !graph.late.contains_key(index);
        let readers: Vec<usize> = graph.ops.iter().enumerate().filter(reads).map(|(index, _)| index).collect();
        let ([reader], false) = (readers.as_slice(), outputs.contains(&at)) else { break };
        let op = &graph.ops[*reader];
        if op.inputs.len() != 1 || op.steps.is_err() || matches!(&op.body, Body::Check(check) if check.decides_together()) {
            break;
        }
        ops.push(*reader);
        at = Upstream::Op(*reader);
        if matches!(&op.body, Body::Cast(cast) if cast.sets_aside()) {
            end = Some(ops.len());
        }
    }
    ops.truncate(end?);
    let last = *ops.last()?;
    let program = RowTree::along(stream, graph, input, &ops)?;
    Some(Prepared { program: Arc::new(program), schema: graph.ops[last].schema.clone(), end: last })
}

/// Whether an operation is on the prepared way that ends at `end`.
fn within(graph: &Graph, op: usize, end: usize) -> bool {
    let mut at = end;
    loop {
        if at == op {
            return true;
        }
        match graph.ops[at].inputs.as_slice() {
            [Upstream::Op(before)] => at = *before,
            _ => return false,
        }
    }
}

fn reason(name: &str, graph: &Graph, inputs: usize, hash_joins: bool) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut joins = false;
    for op in &graph.ops {
        if let Err(why) = &op.steps {
            joins |= why.contains("join");
            parts.push(format!("`{}` has {why}", op.node).replace("has it ", "needs rows together: it "));
        } else if matches!(&op.body, Body::Check(check) if check.decides_together()) {
            parts.push(format!("`{}` may fail the run over any row, so nothing is committed before the last", op.node));
        }
    }
    if parts.is_empty() && inputs > 1 {
        parts.push(format!("`{name}` reads {inputs} inputs"));
    }
    let memory = match (joins, hash_joins) {
        (true, true) => "; joins keep one side in memory (the inputs are small)",
        (true, false) => "; joins sort both sides",
        (false, _) => "",
    };
    format!("{}{memory}; reads everything once, spills to disk beyond the memory budget", parts.join(", "))
}
