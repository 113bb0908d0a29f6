//! From the operations of a flow to operators over event time: the plan is the same that a batch runs, read another way. Joins are in
//! `joins`, places of rows in their window in `ranks`.
//!
//! Stages are made from the outputs backwards. An operation that runs row by row is a stage; a query that has a windowed aggregate is what
//! lies below the aggregate, the operator, and what lies above it. Of each column is known whether it is the event time, or an edge of a
//! window of it; that is how a windowed aggregate is recognised, whoever wrote it. What keeps state without end is refused with its node.

mod joins;
mod ranks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion::physical_expr::expressions::Column;
use sha2::{Digest, Sha256};

use super::dedupe::{Keep, RecentRule};
use super::run::{KeyedFlow, Prepared, Program, Rule, Stage};
use super::spans::{self, Means, OfTime, meaning, spoils};
use super::totals::Total;
use super::windows::{Part, TICK, WindowRule};
use super::{EventTime, KeyedProgram};
use crate::chain::{Body, Graph, Upstream};
use crate::problem::{Problem, code};
use crate::program::row::{LinePart, RowTree, Step, after, lower, physical, row_wise, why_relational};
use crate::sql::Session;
use crate::transforms::{Assign, Shape};

/// Which column of some rows is their event time.
#[derive(Debug, Clone)]
pub(crate) struct TimeMark {
    /// The node that says so.
    pub(crate) node: String,
    pub(crate) at: Upstream,
    pub(crate) column: usize,
    /// Microseconds, both.
    pub(crate) max_lateness: i64,
    pub(crate) idle_after: Option<i64>,
}

/// What a `dedupe` means for a stream.
#[derive(Debug, Clone)]
pub(crate) struct DedupeRule {
    /// Columns of its input.
    pub(crate) keys: Vec<usize>,
    pub(crate) keep: Keep,
    /// The column of its order; `Some(None)`: an order that is not simply a column.
    pub(crate) order: Option<Option<usize>>,
    pub(crate) ttl_ms: Option<u32>,
}

/// Why nothing may be computed from a window before it is there.
const EDGES: &str = "something is computed from `window_start` or `window_end` before the window is aggregated";

/// What a node cannot do, with its name.
type Refused = (String, Problem);

/// A stage that is being made.
struct Draft {
    node: String,
    kind: Kind,
    schema: SchemaRef,
    means: Vec<Option<Means>>,
    /// How far the event time of its rows may be behind the watermark. Microseconds.
    delay: i64,
}

enum Kind {
    Input,
    Rows {
        from: usize,
        steps: Vec<Step>,
    },
    Named {
        from: Vec<usize>,
    },
    Operator {
        from: usize,
        rule: usize,
    },
    /// Into an operator with two inputs.
    Enter {
        from: usize,
        rule: usize,
        port: usize,
    },
    /// What it gives.
    Exit {
        rule: usize,
    },
    Late {
        of: usize,
        port: usize,
    },
}

struct Translation<'a> {
    session: &'a Session,
    graph: &'a Graph,
    drafts: Vec<Draft>,
    inputs: BTreeMap<usize, usize>,
    ops: BTreeMap<usize, usize>,
    rules: Vec<Arc<dyn Rule>>,
    /// The operator (its number) that a node's window, or join, became.
    windows: BTreeMap<String, usize>,
    /// Nodes whose late rows somebody reads.
    late: BTreeSet<String>,
    /// What the query that is being read has sessions by.
    session_keys: Option<BTreeSet<String>>,
}

/// The program of a flow whose outputs are these; `stream` is the name in dead letters.
pub(crate) fn translate(
    session: &Session,
    graph: &Graph,
    tails: &[Upstream],
    streams: &[String],
) -> Result<Arc<dyn KeyedProgram>, Refused> {
    let mut late = BTreeSet::new();
    let mut todo: Vec<Upstream> = tails.to_vec();
    let mut seen = BTreeSet::new();
    while let Some(upstream) = todo.pop() {
        let Upstream::Op(op) = upstream else { continue };
        if seen.insert(op) {
            todo.extend(&graph.ops[op].inputs);
            if graph.late.contains_key(&op) {
                late.insert(graph.ops[op].node.clone());
            }
        }
    }
    let mut made = Translation {
        session,
        graph,
        drafts: Vec::new(),
        inputs: BTreeMap::new(),
        ops: BTreeMap::new(),
        rules: Vec::new(),
        windows: BTreeMap::new(),
        late,
        session_keys: None,
    };
    // Every input is read, whether an output needs it or not.
    for input in 0..graph.inputs.len() {
        made.upstream(Upstream::Input(input))?;
    }
    let ends = tails.iter().map(|tail| made.upstream(*tail)).collect::<Result<Vec<_>, _>>()?;
    for stage in &ends {
        let draft = &made.drafts[*stage];
        if draft.means.iter().flatten().any(Means::unfinished) {
            return Err(refused(&draft.node, "rows are given out with windows that no aggregate closes"));
        }
    }
    if made.rules.len() > usize::from(u8::MAX) {
        return Err((graph.ops[0].node.clone(), Problem::new(code::MODE, "a flow has at most 255 operators with state")));
    }
    Ok(Arc::new(Program(Arc::new(made.finish(&ends, streams)?))))
}

fn query_failed(node: &str) -> impl Fn(DataFusionError) -> Refused + '_ {
    move |error| (node.to_string(), Problem::query(&error, "select"))
}

fn refused(node: &str, why: impl std::fmt::Display) -> Refused {
    let message =
        format!("`mode: streaming` has no place for `{node}`: it sees rows together ({why}), and would never come to an end");
    let help = "a stream is aggregated over windows of event time (`window`), joined within a time (`join` with `within` or `as_of`), and \
                deduplicated for a time (`dedupe` with `ttl_ms`)";
    (node.to_string(), Problem::new(code::MODE, message).help(help))
}

impl Translation<'_> {
    fn draft(&mut self, draft: Draft) -> usize {
        self.drafts.push(draft);
        self.drafts.len() - 1
    }

    /// The stage that has the rows of an upstream.
    fn upstream(&mut self, upstream: Upstream) -> Result<usize, Refused> {
        let known = match upstream {
            Upstream::Input(input) => self.inputs.get(&input),
            Upstream::Op(op) => self.ops.get(&op),
        };
        if let Some(stage) = known {
            return Ok(*stage);
        }
        let stage = match upstream {
            Upstream::Input(input) => {
                let schema = self.graph.inputs[input].schema.clone();
                let means = vec![None; schema.fields().len()];
                let stage = self.draft(Draft { node: String::new(), kind: Kind::Input, schema, means, delay: 0 });
                self.inputs.insert(input, stage);
                stage
            }
            Upstream::Op(op) => {
                let stage = self.op(op)?;
                self.ops.insert(op, stage);
                stage
            }
        };
        for mark in self.graph.times.iter().filter(|mark| mark.at == upstream) {
            self.drafts[stage].means[mark.column] = Some(Means::Time);
        }
        Ok(stage)
    }

    fn op(&mut self, index: usize) -> Result<usize, Refused> {
        let graph = self.graph;
        let op = &graph.ops[index];
        let node = op.node.as_str();
        if let Some(port) = graph.late.get(&index).copied() {
            // The window itself comes after, in the same node.
            for (later, other) in graph.ops.iter().enumerate().skip(index + 1) {
                if !self.windows.contains_key(node) && other.node == node {
                    self.upstream(Upstream::Op(later))?;
                }
            }
            let Some(&of) = self.windows.get(node) else { return Err(refused(node, "its late rows are asked for")) };
            let (means, delay) = self.below(op.inputs.first().copied())?;
            let kind = Kind::Late { of, port };
            return Ok(self.draft(Draft { node: node.into(), kind, schema: op.schema.clone(), means, delay }));
        }
        if let (Some(rule), Some(input)) = (graph.dedupes.get(&index), op.inputs.first()) {
            let from = self.upstream(*input)?;
            return self.dedupe(node, rule, from, &op.schema);
        }
        if let (Ok(steps), [input]) = (&op.steps, op.inputs.as_slice()) {
            let from = self.upstream(*input)?;
            let mut means = self.drafts[from].means.clone();
            match &op.body {
                Body::Query { plan, scans } => means = spans::means(plan, &|table| scans.get(table).map(|_| means.clone())),
                Body::Cast(cast) => cast.casts().for_each(|column| {
                    means[column] = means[column].take().filter(Means::unfinished).map(|_| Means::Spoilt);
                }),
                Body::Check(check) => {
                    let spoilt = check.rules.iter().any(|rule| means[rule.flag].as_ref().is_some_and(Means::unfinished));
                    means.truncate(check.schema().fields().len());
                    if spoilt {
                        means.fill(Some(Means::Spoilt));
                    }
                }
            }
            let (kind, delay) = (Kind::Rows { from, steps: steps.clone() }, self.drafts[from].delay);
            return Ok(self.draft(Draft { node: node.into(), kind, schema: op.schema.clone(), means, delay }));
        }
        let Body::Query { plan, scans } = &op.body else { return Err(refused(node, "a rule about all rows")) };
        let mut tables = BTreeMap::new();
        for (table, input) in scans {
            tables.insert(table.clone(), self.upstream(op.inputs[*input])?);
        }
        let streamed = spans::streamed(plan).map_err(query_failed(node))?;
        self.session_keys = streamed.session_keys;
        let from = self.query(node, &streamed.plan, &tables)?;
        // The names and metadata that the node promises.
        let names = Step::Pick { columns: (0..op.schema.fields().len()).collect(), schema: op.schema.clone() };
        let (means, delay) = (self.drafts[from].means.clone(), self.drafts[from].delay);
        let kind = Kind::Rows { from, steps: vec![names] };
        Ok(self.draft(Draft { node: node.into(), kind, schema: op.schema.clone(), means, delay }))
    }

    fn below(&mut self, input: Option<Upstream>) -> Result<(Vec<Option<Means>>, i64), Refused> {
        match input {
            Some(input) => {
                let stage = self.upstream(input)?;
                Ok((self.drafts[stage].means.clone(), self.drafts[stage].delay))
            }
            None => Ok((Vec::new(), 0)),
        }
    }

    /// The stage that a query gives.
    fn query(&mut self, node: &str, plan: &LogicalPlan, tables: &BTreeMap<String, usize>) -> Result<usize, Refused> {
        let mut steps = Vec::new();
        let leaf = lower(self.session, plan, &mut steps).map_err(query_failed(node))?;
        let leaf = leaf.ok_or_else(|| refused(node, why_relational(plan).unwrap_or_else(|| "it is no simple query".into())))?;
        let from = match leaf {
            LogicalPlan::TableScan(scan) => match tables.get(&scan.table_name.to_string()) {
                Some(stage) => *stage,
                None => return Err(refused(node, "a table that is no input")),
            },
            LogicalPlan::Aggregate(aggregate) => self.aggregate(node, aggregate, tables)?,
            LogicalPlan::Join(join) => self.join(node, join, tables)?,
            LogicalPlan::Window(window) => self.places(node, window, tables)?,
            LogicalPlan::Union(union) => {
                let from = union.inputs.iter().map(|input| self.query(node, input, tables)).collect::<Result<Vec<_>, _>>()?;
                let mut means = vec![None; union.schema.fields().len()];
                for (at, means) in means.iter_mut().enumerate() {
                    let mut all = from.iter().map(|stage| self.drafts[*stage].means.get(at).cloned().flatten());
                    let first = all.next().flatten();
                    *means = first.filter(|first| all.all(|other| other.as_ref() == Some(first)));
                }
                let schema = Arc::new(union.schema.as_arrow().clone());
                let delay = from.iter().map(|stage| self.drafts[*stage].delay).max().unwrap_or(0);
                self.draft(Draft { node: node.into(), kind: Kind::Named { from }, schema, means, delay })
            }
            other => return Err(refused(node, why_relational(other).unwrap_or_else(|| "it is no simple query".into()))),
        };
        if steps.is_empty() {
            return Ok(from);
        }
        let schema = after(&steps, &self.drafts[from].schema);
        let base = self.drafts[from].means.clone();
        let means = spans::means(plan, &|_| Some(base.clone()));
        let delay = self.drafts[from].delay;
        Ok(self.draft(Draft { node: node.into(), kind: Kind::Rows { from, steps }, schema, means, delay }))
    }

    fn aggregate(&mut self, node: &str, aggregate: &Aggregate, tables: &BTreeMap<String, usize>) -> Result<usize, Refused> {
        let below = self.query(node, &aggregate.input, tables)?;
        let means = self.drafts[below].means.clone();
        let schema = aggregate.input.schema().clone();
        let mut found: Option<(Assign, OfTime)> = None;
        let (mut parts, mut keys): (Vec<Part>, Vec<&Expr>) = (Vec::new(), Vec::new());
        let mut place: Option<(&Expr, Part)> = None;
        for expr in &aggregate.group_expr {
            let (part, window) = match meaning(expr, &schema, &means) {
                Some(Means::Start(assign, of_time)) => (Part::Start, (assign, of_time)),
                Some(Means::End(assign, of_time)) => (Part::End, (assign, of_time)),
                Some(Means::Last(assign, of_time)) => (Part::Last, (assign, of_time)),
                Some(Means::Spoilt | Means::Window(..)) => return Err(refused(node, EDGES)),
                _ if matches!(expr, Expr::GroupingSet(_)) => return Err(refused(node, "groupings of several kinds")),
                _ => {
                    parts.push(Part::Key(keys.len()));
                    keys.push(expr);
                    continue;
                }
            };
            if found.as_ref().is_some_and(|found| *found != window) {
                return Err(refused(node, "windows of two kinds in one aggregate"));
            }
            found = Some(window);
            parts.push(part);
            if place.is_none() || part == Part::Start {
                place = Some((expr, part));
            }
        }
        let (Some((assign, of_time)), Some((edge, edge_part))) = (found, place) else {
            return Err(refused(node, "an aggregate that no window ends"));
        };
        if !of_time {
            return Err(self.not_the_time(node));
        }
        if aggregate.aggr_expr.iter().any(|expr| spoils(expr, &schema, &means)) || means.contains(&Some(Means::Spoilt)) {
            return Err(refused(node, EDGES));
        }
        if let (Shape::Session { .. }, Some(partition)) = (assign.shape, &self.session_keys) {
            let names: BTreeSet<String> = keys.iter().map(|key| schema_name(key)).collect();
            if names != *partition {
                let told = partition.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                return Err(refused(node, format!("its sessions are those of ({told}), and it groups by other columns")));
            }
        }
        let columns = Columns::new(self, node, &schema, &self.drafts[below].schema, &means);
        self.operator(node, below, aggregate, Window { assign, edge, edge_part, parts, keys }, columns)
    }

    /// A window over something that is not the event time.
    fn not_the_time(&self, node: &str) -> Refused {
        let said: Vec<String> = self
            .graph
            .times
            .iter()
            .map(|mark| {
                let column = self.graph.schema(mark.at).field(mark.column).name().clone();
                format!("`{column}` of `{}`", mark.node)
            })
            .collect();
        let problem = match said.is_empty() {
            true => Problem::new(code::EVENT_TIME, format!("`{node}` needs to know the time of its rows, and no source says it"))
                .help("say `event_time: {column: ts, max_lateness_ms: 5000}` on the source, or put a `watermark` before it"),
            false => Problem::new(
                code::EVENT_TIME,
                format!("`{node}` counts on another column than the event time, which is {}", said.join(" and ")),
            )
            .help("in a stream a window closes when its event time has passed: count on that column, unchanged"),
        };
        (node.to_string(), problem)
    }

    fn operator(
        &mut self,
        node: &str,
        below: usize,
        aggregate: &Aggregate,
        window: Window<'_>,
        mut columns: Columns,
    ) -> Result<usize, Refused> {
        let wrong = query_failed(node);
        let schema = aggregate.input.schema();
        let edge = columns.add(self.session, window.edge, schema).map_err(&wrong)?;
        let time = columns.fields[edge].data_type().clone();
        let mut keys = Vec::new();
        for key in &window.keys {
            let at = columns.add(self.session, key, schema).map_err(&wrong)?;
            let name = schema_name(key);
            keys.push((at, Arc::new(columns.fields[at].as_ref().clone().with_name(name)) as FieldRef));
        }
        let mut totals = Vec::new();
        for expr in &aggregate.aggr_expr {
            totals.push(self.total(node, expr, schema, &mut columns)?);
        }
        let late = columns.late.clone();
        let Columns { exprs, fields, means, .. } = columns;
        let ready: SchemaRef = Arc::new(Schema::new(fields));
        let step = Step::Project { columns: exprs, schema: ready.clone() };
        let kind = Kind::Rows { from: below, steps: vec![step] };
        let delay = self.drafts[below].delay;
        let from = self.draft(Draft { node: node.into(), kind, schema: ready, means, delay });
        let output: SchemaRef = Arc::new(aggregate.schema.as_arrow().clone());
        let rule = WindowRule {
            node: node.into(),
            shape: window.assign.shape,
            offset: window.assign.offset,
            time,
            lateness: match window.assign.shape {
                Shape::Session { .. } => 0,
                Shape::Hop { .. } | Shape::Cumulate { .. } => window.assign.lateness,
            },
            place: (edge, window.edge_part),
            keys,
            totals: totals.into(),
            parts: window.parts,
            output: output.clone(),
            late,
        };
        // The results of a window are of its end, and come out in the order of their ends: windows of them close as those of rows do. A
        // result that is corrected would be counted twice.
        let mut means = vec![Some(Means::Given); output.fields().len()];
        if rule.lateness == 0 {
            let session = matches!(rule.shape, Shape::Session { .. });
            for (means, part) in means.iter_mut().zip(&rule.parts) {
                if *part == Part::Last || *part == Part::End && !session {
                    *means = Some(Means::Time);
                }
            }
        }
        // A session comes out at its end, and its last moment is before that.
        let delay = delay.saturating_add(if matches!(rule.shape, Shape::Session { .. }) { TICK } else { 0 });
        self.rules.push(Arc::new(rule));
        self.windows.insert(node.into(), self.rules.len() - 1);
        let kind = Kind::Operator { from, rule: self.rules.len() - 1 };
        Ok(self.draft(Draft { node: node.into(), kind, schema: output, means, delay }))
    }

    fn total(&self, node: &str, expr: &Expr, schema: &DFSchema, columns: &mut Columns) -> Result<Total, Refused> {
        let wrong = query_failed(node);
        let mut inner = expr.clone();
        while let Expr::Alias(alias) = inner {
            inner = *alias.expr;
        }
        let Expr::AggregateFunction(function) = &mut inner else { return Err(refused(node, "an aggregate of another kind")) };
        for argument in &mut function.params.args {
            if !row_wise(argument).map_err(&wrong)? {
                return Err(refused(node, "a sub-query in an aggregate"));
            }
            *argument = self.session.simplified(argument, schema).map_err(&wrong)?;
        }
        if let Some(filter) = &mut function.params.filter {
            **filter = self.session.simplified(filter, schema).map_err(&wrong)?;
        }
        let state = self.session.state();
        let built = LoweredAggregateBuilder::new(&inner, schema, schema.as_arrow(), state.execution_props());
        let lowered = built.build().map_err(&wrong)?;
        let aggregate = lowered.aggregate;
        if !aggregate.order_bys().is_empty() && aggregate.order_sensitivity().hard_requires() {
            let why = format!("`{}` needs its rows sorted", aggregate.name());
            return Err(refused(node, why));
        }
        let ordered = aggregate.order_bys().iter().map(|order| order.expr.clone());
        let arguments = aggregate.expressions().into_iter().chain(ordered).collect::<Vec<_>>();
        let arguments = arguments.into_iter().map(|argument| columns.push(argument)).collect::<Result<_, _>>().map_err(&wrong)?;
        let filter = lowered.filter.map(|filter| columns.push(filter)).transpose().map_err(&wrong)?;
        let state = aggregate.state_fields().map_err(&wrong)?;
        Ok(Total { aggregate, arguments, filter, state })
    }

    fn dedupe(&mut self, node: &str, rule: &DedupeRule, from: usize, schema: &SchemaRef) -> Result<usize, Refused> {
        let before = &self.drafts[from];
        let Some(time) = before.means.iter().position(|means| *means == Some(Means::Time)) else {
            return Err(self.not_the_time(node));
        };
        if rule.keys.iter().any(|key| before.means[*key].as_ref().is_some_and(Means::unfinished)) {
            return Err(refused(node, EDGES));
        }
        let Some(ttl) = rule.ttl_ms else {
            let message = format!("`{node}` would remember every key for ever");
            let problem = Problem::new(code::EVENT_TIME, message);
            return Err((node.into(), problem.help("say for how long: `ttl_ms: 3600000` of event time")));
        };
        if rule.order.is_some_and(|order| order.is_none_or(|column| before.means[column] != Some(Means::Time))) {
            let name = before.schema.field(time).name();
            let message = format!("in `mode: streaming` rows of `{node}` have the order in which they come, or that of `{name}`");
            return Err((node.into(), Problem::new(code::EVENT_TIME, message).option("order_by")));
        }
        let keys = rule.keys.iter().map(|key| (*key, schema.fields()[*key].clone())).collect();
        let recent = RecentRule { node: node.into(), keys, time, keep: rule.keep, ttl: i64::from(ttl) * 1_000 };
        let (means, delay) = (before.means.clone(), before.delay);
        self.rules.push(Arc::new(recent));
        let kind = Kind::Operator { from, rule: self.rules.len() - 1 };
        Ok(self.draft(Draft { node: node.into(), kind, schema: schema.clone(), means, delay }))
    }

    /// The stages that read from each.
    fn readers(&self) -> Vec<Vec<usize>> {
        let mut readers = vec![Vec::new(); self.drafts.len()];
        for (stage, draft) in self.drafts.iter().enumerate() {
            match &draft.kind {
                Kind::Input | Kind::Late { .. } => {}
                Kind::Rows { from, .. } | Kind::Operator { from, .. } | Kind::Enter { from, .. } => readers[*from].push(stage),
                Kind::Exit { rule } => {
                    let enters = |(_, draft): &(usize, &Draft)| matches!(draft.kind, Kind::Enter { rule: of, .. } if of == *rule);
                    self.drafts.iter().enumerate().filter(enters).for_each(|(enter, _)| readers[enter].push(stage));
                }
                Kind::Named { from } => from.iter().for_each(|from| readers[*from].push(stage)),
            }
        }
        readers
    }

    fn finish(self, ends: &[usize], streams: &[String]) -> Result<KeyedFlow, Refused> {
        let readers = self.readers();
        let mut outputs = vec![Vec::new(); self.drafts.len()];
        ends.iter().enumerate().for_each(|(output, stage)| outputs[*stage].push(output));
        let mut inputs = Vec::new();
        for (input, stage) in &self.inputs {
            inputs.push(self.prepared(*input, *stage, &readers, &outputs, streams)?);
        }
        let stream = streams.first().cloned().unwrap_or_default();
        let mut late = vec![[None; 2]; self.rules.len()];
        let mut places = vec![0; self.rules.len()];
        let mut delays = vec![0; self.rules.len()];
        let mut stages = Vec::with_capacity(self.drafts.len());
        for (stage, draft) in self.drafts.iter().enumerate() {
            stages.push(match &draft.kind {
                Kind::Input => Stage::Pass,
                Kind::Late { of, port } => {
                    late[*of][*port] = Some(stage);
                    Stage::Pass
                }
                Kind::Enter { from, rule, port } => {
                    delays[*rule] = self.drafts[*from].delay.max(delays[*rule]);
                    Stage::Operator(*rule as u8, *port)
                }
                Kind::Exit { rule } => {
                    places[*rule] = stage;
                    Stage::Pass
                }
                Kind::Rows { from, steps } => {
                    let part = LinePart { node: draft.node.clone(), steps: steps.clone(), gates: Vec::new(), aside: None };
                    Stage::Rows(Arc::new(RowTree::line(&stream, &self.drafts[*from].schema, Vec::new(), vec![part])))
                }
                Kind::Named { .. } => Stage::Named(draft.schema.clone()),
                Kind::Operator { from, rule } => {
                    places[*rule] = stage;
                    delays[*rule] = self.drafts[*from].delay;
                    Stage::Operator(*rule as u8, 0)
                }
            });
        }
        let mut text = String::from("1");
        self.rules.iter().for_each(|rule| text.push_str(&format!("\n{}", rule.fingerprint())));
        let mut fingerprint = String::new();
        for byte in Sha256::digest(text.as_bytes()).iter().take(16) {
            let _ = write!(fingerprint, "{byte:02x}");
        }
        let gates = (0..self.drafts.len()).map(|stage| self.gates(stage)).collect();
        Ok(KeyedFlow { stages, readers, outputs, late, places, delays, gates, rules: self.rules, inputs, fingerprint })
    }

    /// The gates that rows of a stage pass, and the one at which what it sets aside counts.
    fn gates(&self, stage: usize) -> (Vec<usize>, Option<usize>) {
        let gates = self.graph.gates.iter().enumerate();
        let here = gates.filter(|(_, (_, upstream))| self.stage_of(*upstream) == Some(stage)).map(|(gate, _)| gate).collect();
        let input = self.inputs.iter().find(|(_, of)| **of == stage).map(|(input, _)| *input);
        // The first gates are those of the inputs.
        let aside =
            input.filter(|input| *input < self.graph.gates.len()).or_else(|| self.graph.gate_of(&self.drafts[stage].node));
        (here, aside)
    }

    /// The longest way of an input that runs row by row, has no other readers, and still has the time.
    fn prepared(
        &self,
        input: usize,
        stage: usize,
        readers: &[Vec<usize>],
        outputs: &[Vec<usize>],
        streams: &[String],
    ) -> Result<Prepared, Refused> {
        let mut way = vec![stage];
        let mut at = stage;
        while let ([next], true) = (readers[at].as_slice(), outputs[at].is_empty()) {
            let Kind::Rows { .. } = &self.drafts[*next].kind else { break };
            way.push(*next);
            at = *next;
        }
        let time_of = |stage: &usize| self.drafts[*stage].means.iter().position(|means| *means == Some(Means::Time));
        let marks: Vec<&TimeMark> =
            self.graph.times.iter().filter(|mark| self.leads(stage, self.stage_of(mark.at), readers)).collect();
        let mark = match marks.as_slice() {
            [] => None,
            [mark] => Some(*mark),
            [first, second, ..] => {
                let message =
                    format!("`{}` and `{}` both say which column is the time of the same rows", first.node, second.node);
                return Err((second.node.clone(), Problem::new(code::EVENT_TIME, message)));
            }
        };
        let (mut time, mut said) = (None, 0);
        if let Some(mark) = mark {
            let place = way.iter().position(|stage| Some(*stage) == self.stage_of(mark.at));
            let (Some(last), Some(place)) = (way.iter().rposition(|stage| time_of(stage).is_some()), place) else {
                let message = format!("`{}` says the time of rows that went several ways before", mark.node);
                let problem = Problem::new(code::EVENT_TIME, message);
                return Err((mark.node.clone(), problem.help("say it nearer to the source")));
            };
            said = place;
            way.truncate(last + 1);
            time = time_of(&way[last]).map(|column| EventTime {
                column,
                said: mark.column,
                max_lateness: mark.max_lateness,
                idle_after: mark.idle_after,
            });
        }
        let end = way.last().copied().unwrap_or(stage);
        // What passes its end the operators count: rows without a time do not.
        let gates = |stage: usize| if stage == end { Vec::new() } else { self.gates(stage).0 };
        let parts: Vec<LinePart> = way
            .iter()
            .filter_map(|&stage| match &self.drafts[stage].kind {
                Kind::Rows { steps, .. } => {
                    let (node, aside) = (self.drafts[stage].node.clone(), self.gates(stage).1);
                    Some(LinePart { node, steps: steps.clone(), gates: gates(stage), aside })
                }
                _ => None,
            })
            .collect();
        let stream = streams.get(input).cloned().unwrap_or_default();
        let schema = &self.graph.inputs[input].schema;
        let program = match time {
            Some(_) => RowTree::line_and(&stream, schema, gates(stage), parts, said),
            None => RowTree::line(&stream, schema, gates(stage), parts),
        };
        Ok(Prepared { program: Arc::new(program), schema: self.drafts[end].schema.clone(), time, stage: end })
    }

    fn stage_of(&self, upstream: Upstream) -> Option<usize> {
        match upstream {
            Upstream::Input(input) => self.inputs.get(&input).copied(),
            Upstream::Op(op) => self.ops.get(&op).copied(),
        }
    }

    /// Whether a stage feeds another.
    fn leads(&self, from: usize, to: Option<usize>, readers: &[Vec<usize>]) -> bool {
        Some(from) == to || readers[from].iter().any(|reader| self.leads(*reader, to, readers))
    }
}

/// The window of an aggregate, and what groups beside it.
struct Window<'e> {
    assign: Assign,
    edge: &'e Expr,
    edge_part: Part,
    parts: Vec<Part>,
    keys: Vec<&'e Expr>,
}

/// What an operator gets of each row.
struct Columns {
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    means: Vec<Option<Means>>,
    below: SchemaRef,
    /// The first columns are those of a late row.
    late: Option<SchemaRef>,
}

impl Columns {
    fn new(made: &Translation<'_>, node: &str, schema: &DFSchema, below: &SchemaRef, means: &[Option<Means>]) -> Self {
        let mut columns = Self {
            exprs: Vec::new(),
            fields: Vec::new(),
            means: Vec::new(),
            below: Arc::new(schema.as_arrow().clone()),
            late: None,
        };
        let graph = made.graph;
        if let Some(op) = graph.late.keys().find(|op| graph.ops[**op].node == node).filter(|_| made.late.contains(node)) {
            let late = graph.ops[*op].schema.clone();
            for (at, field) in late.fields().iter().enumerate() {
                columns.exprs.push(Arc::new(Column::new(below.field(at).name(), at)));
                columns.fields.push(field.clone());
                columns.means.push(means.get(at).cloned().flatten());
            }
            columns.late = Some(late);
        }
        if !columns.means.contains(&Some(Means::Time))
            && let Some(at) = means.iter().position(|means| *means == Some(Means::Time))
        {
            columns.exprs.push(Arc::new(Column::new(below.field(at).name(), at)));
            columns.fields.push(Arc::new(Field::clone(below.field(at))));
            columns.means.push(Some(Means::Time));
        }
        columns
    }

    fn add(&mut self, session: &Session, expr: &Expr, schema: &DFSchema) -> Result<usize, DataFusionError> {
        self.push(physical(session, expr, schema)?)
    }

    fn push(&mut self, expr: Arc<dyn PhysicalExpr>) -> Result<usize, DataFusionError> {
        if let Some(known) = self.exprs.iter().position(|known| known.as_ref() == expr.as_ref()) {
            return Ok(known);
        }
        let kind: DataType = expr.data_type(&self.below)?;
        // Names do not count here, only places.
        self.fields.push(Arc::new(Field::new(format!("{}{}", crate::chain::OWN, self.exprs.len()), kind, true)));
        self.exprs.push(expr);
        self.means.push(None);
        Ok(self.exprs.len() - 1)
    }
}

fn schema_name(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::Alias(alias) => alias.name.clone(),
        other => other.schema_name().to_string(),
    }
}
