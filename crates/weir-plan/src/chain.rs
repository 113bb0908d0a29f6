//! The operations that a flow's nodes lower to, with what is known about their columns.
//!
//! There are three: a query over the tables upstream, a checked cast, and rules held against rows. Each knows its schema with the field metadata of
//! columns that pass unchanged, where each column comes from, and whether it runs row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use weir_connect::Edge;
use weir_connect::fidelity::{LOGICAL_TYPE, SOURCE_TYPE};

use crate::keyed::{DedupeRule, TimeMark};
use crate::lineage::{self, Origin};
use crate::model::RowProgram;
use crate::program::cast::CheckedCast;
use crate::program::check::{Check, RowRule};
use crate::program::expectation::Expectation;
use crate::program::row::{self, RowTree, Step};
use crate::sql::{Planned, Session, Table, source};
use crate::transforms::{OnError, Policy};
use crate::types::{TypeWord, show};

/// Where an operation reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// An input of the flow.
    Input(usize),
    /// An earlier operation.
    Op(usize),
}

/// What is known about one column.
#[derive(Debug, Clone)]
pub(crate) struct ColumnState {
    /// `node.stream.column` of everything that the value depends on.
    pub(crate) from: BTreeSet<String>,
    /// The source's type name, or the expression.
    pub(crate) source: String,
    /// The source column that it is, if nothing changed it: (input, column).
    pub(crate) unchanged: Option<(usize, usize)>,
    /// Source columns among `from` whose way from the source loses something.
    pub(crate) losses: Vec<(String, Edge)>,
    /// The edge of an unchanged source column.
    pub(crate) edge: Edge,
}

/// A stream that the flow reads.
pub(crate) struct InputTable {
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Vec<ColumnState>,
}

impl InputTable {
    pub(crate) fn new(index: usize, node: &str, stream: &str, schema: &SchemaRef) -> Self {
        let state = |(column, field): (usize, &FieldRef)| {
            let edge = Edge::of_source(field);
            let losses = if edge.loses() { vec![(field.name().clone(), edge.clone())] } else { Vec::new() };
            ColumnState {
                from: BTreeSet::from([format!("{node}.{stream}.{}", field.name())]),
                source: field.metadata().get(SOURCE_TYPE).cloned().unwrap_or_else(|| show(field.data_type())),
                unchanged: Some((index, column)),
                losses,
                edge,
            }
        };
        Self { schema: schema.clone(), columns: schema.fields().iter().enumerate().map(state).collect() }
    }
}

/// What an operation does. There are a handful in a plan: their size does not matter.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Body {
    /// A query, analysed; its scans are named as in `scans`, which gives the index into [`Op::inputs`].
    Query { plan: LogicalPlan, scans: BTreeMap<String, usize> },
    /// A checked cast.
    Cast(Arc<CheckedCast>),
    /// Rules held against rows.
    Check(Arc<Check>),
}

/// One operation.
pub(crate) struct Op {
    /// The node that it comes from.
    pub(crate) node: String,
    pub(crate) inputs: Vec<Upstream>,
    pub(crate) body: Body,
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Vec<ColumnState>,
    /// How to do it batch by batch, or why that cannot be.
    pub(crate) steps: Result<Vec<Step>, String>,
}

/// The operations of a flow, each after those that it reads.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) inputs: Vec<InputTable>,
    /// Some rows of each input, where a transform wants to see them.
    pub(crate) samples: Vec<Option<RecordBatch>>,
    pub(crate) ops: Vec<Op>,
    /// `mode: streaming`: what keeps state has to do so over event time.
    pub(crate) streaming: bool,
    /// Where rows have their event time.
    pub(crate) times: Vec<TimeMark>,
    /// Operations that give the late rows of the window, or of one input of the join (by its number), of their node. A batch has none.
    pub(crate) late: BTreeMap<usize, usize>,
    /// Operations that are a `dedupe`.
    pub(crate) dedupes: BTreeMap<usize, DedupeRule>,
    /// A query looks rows up as of the event time of others.
    pub(crate) as_of: bool,
    /// The gates of the flow: their nodes, and what passes them.
    pub(crate) gates: Vec<(String, Upstream)>,
}

impl Graph {
    pub(crate) fn schema(&self, upstream: Upstream) -> &SchemaRef {
        match upstream {
            Upstream::Input(index) => &self.inputs[index].schema,
            Upstream::Op(index) => &self.ops[index].schema,
        }
    }

    /// The column of an upstream that is its event time: the one that was said, or one that is it unchanged.
    pub(crate) fn time_of(&self, upstream: Upstream) -> Option<usize> {
        if let Some(mark) = self.times.iter().find(|mark| mark.at == upstream) {
            return Some(mark.column);
        }
        let columns = self.columns(upstream);
        self.times.iter().find_map(|mark| {
            let said = self.columns(mark.at).get(mark.column)?.unchanged?;
            columns.iter().position(|column| column.unchanged == Some(said))
        })
    }

    /// The gates that rows of an upstream pass.
    pub(crate) fn gates_at(&self, upstream: Upstream) -> Vec<usize> {
        let here = |(at, (_, passes)): (usize, &(String, Upstream))| (*passes == upstream).then_some(at);
        self.gates.iter().enumerate().filter_map(here).collect()
    }

    /// The gate at which rows count that a node sets aside.
    pub(crate) fn gate_of(&self, node: &str) -> Option<usize> {
        self.gates.iter().position(|(known, _)| known == node)
    }

    pub(crate) fn columns(&self, upstream: Upstream) -> &[ColumnState] {
        match upstream {
            Upstream::Input(index) => &self.inputs[index].columns,
            Upstream::Op(index) => &self.ops[index].columns,
        }
    }
}

/// One column of a cast.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CastColumn {
    pub(crate) index: usize,
    pub(crate) to: TypeWord,
}

/// Appends one node's operations to a graph.
pub(crate) struct Chain<'a> {
    session: &'a Session,
    graph: &'a mut Graph,
    node: String,
    kind: &'static str,
    current: Vec<(Upstream, Vec<String>)>,
    ports: Vec<(String, Upstream)>,
    /// What `weir plan` should say about this node.
    pub(crate) notes: Vec<String>,
}

impl<'a> Chain<'a> {
    /// A node over its inputs, each with every name that a query may give it.
    pub(crate) fn new(
        session: &'a Session,
        graph: &'a mut Graph,
        node: &str,
        kind: &'static str,
        inputs: Vec<(Upstream, Vec<String>)>,
    ) -> Self {
        Self { session, graph, node: node.into(), kind, current: inputs, ports: Vec::new(), notes: Vec::new() }
    }

    /// The columns so far (of the first input, before anything was appended).
    pub(crate) fn schema(&self) -> SchemaRef {
        match self.current.first() {
            Some((upstream, _)) => self.graph.schema(*upstream).clone(),
            None => Arc::new(Schema::empty()),
        }
    }

    /// The inputs: the name that a query gives each, and its columns.
    pub(crate) fn inputs(&self) -> Vec<(String, SchemaRef)> {
        let named = |(upstream, names): &(Upstream, Vec<String>)| {
            (names.first().cloned().unwrap_or_default(), self.graph.schema(*upstream).clone())
        };
        self.current.iter().map(named).collect()
    }

    /// Appends an output of its own to what there is so far, which itself stays as it is for the next.
    pub(crate) fn port(&mut self, name: &str, build: impl FnOnce(&Session, LogicalPlan) -> Result<LogicalPlan>) -> Result<()> {
        let before = self.current.clone();
        self.plan(build)?;
        let end = std::mem::replace(&mut self.current, before);
        self.ports.extend(end.first().map(|(upstream, _)| (name.to_string(), *upstream)));
        Ok(())
    }

    /// Appends an output for rows of an input (by its number) that came too late for what follows. Only a stream has some.
    pub(crate) fn late_port(&mut self, name: &str, input: usize) -> Result<()> {
        let all = self.current.clone();
        self.current = all.get(input).map(|(upstream, _)| (*upstream, vec!["input".into()])).into_iter().collect();
        let built =
            self.port(name, |_, input| LogicalPlanBuilder::from(input).filter(datafusion::logical_expr::lit(false))?.build());
        self.current = all;
        built?;
        if let Some((_, Upstream::Op(op))) = self.ports.last() {
            self.graph.late.insert(*op, input);
            // Nothing for each row: that is row by row.
            self.graph.ops[*op].steps = Ok(vec![Step::Filter { predicate: datafusion::physical_expr::expressions::lit(false) }]);
        }
        Ok(())
    }

    /// Whether the flow is a stream.
    pub(crate) fn streaming(&self) -> bool {
        self.graph.streaming
    }

    /// Says that a column of the one input is its event time.
    pub(crate) fn mark_time(&mut self, column: usize, max_lateness: i64, idle_after: Option<i64>) {
        if let Some((at, _)) = self.current.first() {
            let mark = TimeMark { node: self.node.clone(), at: *at, column, max_lateness, idle_after };
            self.graph.times.push(mark);
        }
    }

    /// Says what the last operation means for a stream.
    pub(crate) fn mark_dedupe(&mut self, rule: DedupeRule) {
        if let Some((Upstream::Op(op), _)) = self.current.first() {
            self.graph.dedupes.insert(*op, rule);
        }
    }

    /// What the node gives at each of its outputs, if it has several.
    pub(crate) fn ports(&self) -> &[(String, Upstream)] {
        &self.ports
    }

    /// The node.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// What plans SQL.
    pub(crate) fn session(&self) -> &'a Session {
        self.session
    }

    /// Every input: the names that a query may give it, the preferred one first, and its columns.
    pub(crate) fn tables(&self) -> Vec<Table> {
        self.current
            .iter()
            .map(|(upstream, names)| {
                let schema = self.graph.schema(*upstream).clone();
                let time = self.graph.time_of(*upstream).map(|column| schema.field(column).name().clone());
                Table { names: names.clone(), schema, time }
            })
            .collect()
    }

    /// Some rows of the one input, as they are here; or why there are none.
    pub(crate) fn sample(&self) -> Result<RecordBatch, String> {
        let mut at = self.current.first().map(|(upstream, _)| *upstream).ok_or("it has no input")?;
        let mut ops = Vec::new();
        let input = loop {
            match at {
                Upstream::Input(input) => break input,
                Upstream::Op(op) => {
                    ops.push(op);
                    match self.graph.ops[op].inputs.as_slice() {
                        [before] => at = *before,
                        _ => return Err("what comes before it sees rows together".into()),
                    }
                }
            }
        };
        ops.reverse();
        let sample = self.graph.samples.get(input).and_then(Option::as_ref).ok_or("a log of changes gives none")?;
        let way = RowTree::along("sample", self.graph, input, &ops).ok_or("what comes before it sees rows together")?;
        let done = way.apply(sample).map_err(|error| error.to_string())?;
        done.into_iter().next().map(|output| output.batch).ok_or_else(|| "it has no input".into())
    }

    /// What the node gives.
    pub(crate) fn end(self) -> Option<Upstream> {
        match self.current.as_slice() {
            [(upstream, _)] => Some(*upstream),
            _ => None,
        }
    }

    /// Appends a query.
    pub(crate) fn query(&mut self, sql: &str) -> Result<()> {
        let tables = self.tables();
        let planned = self.session.query(sql, &tables)?;
        self.append(planned)
    }

    /// Appends a plan built over the one input.
    pub(crate) fn plan(&mut self, build: impl FnOnce(&Session, LogicalPlan) -> Result<LogicalPlan>) -> Result<()> {
        let tables = self.tables();
        let input = LogicalPlanBuilder::scan("input", source(self.schema()), None)?.build()?;
        let planned = self.session.planned(build(self.session, input)?, &tables)?;
        self.append(planned)
    }

    /// Appends a checked cast of the one input. Nothing to cast, nothing appended.
    pub(crate) fn cast(&mut self, mut casts: Vec<CastColumn>, policy: Policy) {
        let (Some((upstream, _)), schema) = (self.current.first(), self.schema()) else { return };
        let upstream = *upstream;
        casts.retain(|cast| schema.field(cast.index).data_type() != &cast.to.data_type || cast.to.json);
        if casts.is_empty() {
            return;
        }
        let mut fields: Vec<FieldRef> = schema.fields().to_vec();
        let mut columns = self.graph.columns(upstream).to_vec();
        for cast in &casts {
            let old = &fields[cast.index];
            let mut field =
                Field::new(old.name(), cast.to.data_type.clone(), old.is_nullable() || policy.on_error == Some(OnError::Null));
            if cast.to.json {
                field = field.with_metadata([(LOGICAL_TYPE.to_string(), "json".to_string())].into());
            }
            fields[cast.index] = Arc::new(field);
            let state = &mut columns[cast.index];
            state.source = format!("{} → {} ({})", state.source, show(&cast.to.data_type), self.kind);
            state.unchanged = None;
            state.edge = Edge::Exact;
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let cast = Arc::new(CheckedCast::new(&self.node, casts, policy, schema.clone()));
        self.push(Op {
            node: self.node.clone(),
            inputs: vec![upstream],
            steps: Ok(vec![Step::Cast(cast.clone())]),
            body: Body::Cast(cast),
            schema,
            columns,
        });
    }

    /// Appends rules over the one input, whose last columns are their flags.
    pub(crate) fn check(&mut self, rules: Vec<RowRule>, whole: Vec<Expectation>, columns: usize) {
        let Some((upstream, _)) = self.current.first() else { return };
        let upstream = *upstream;
        let schema: SchemaRef = Arc::new(Schema::new(self.schema().fields()[..columns].to_vec()));
        let columns = self.graph.columns(upstream)[..columns].to_vec();
        let steps = !whole.is_empty();
        let check = Arc::new(Check::new(&self.node, rules, whole, schema.clone()));
        self.push(Op {
            node: self.node.clone(),
            inputs: vec![upstream],
            steps: if steps { Err("a rule about all rows".into()) } else { Ok(vec![Step::Check(check.clone())]) },
            body: Body::Check(check),
            schema,
            columns,
        });
    }

    fn append(&mut self, planned: Planned) -> Result<()> {
        let Planned { plan, scans, as_of } = planned;
        self.graph.as_of |= as_of;
        let analyzed = self.session.analyze(plan.clone())?;
        let origins = lineage::origins(&plan, &scans)?;
        let mut names = BTreeSet::new();
        for field in analyzed.schema().fields() {
            if !names.insert(field.name()) {
                return plan_err!("two columns are called `{}`: give one another name with AS", field.name());
            }
        }
        let (fields, columns): (Vec<Field>, Vec<ColumnState>) =
            analyzed.schema().fields().iter().zip(&origins).map(|(field, origin)| self.column(field, origin)).unzip();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let steps = if self.current.len() == 1 {
            row::compile(self.session, &plan, &analyzed, &schema)?
        } else {
            Err(row::why_relational(&analyzed).unwrap_or_else(|| "it has several inputs".into()))
        };
        let inputs = self.current.iter().map(|(upstream, _)| *upstream).collect();
        self.push(Op { node: self.node.clone(), inputs, body: Body::Query { plan: analyzed, scans }, schema, columns, steps });
        Ok(())
    }

    /// A result column: its field carries the metadata of the source only if it is that column, unchanged.
    fn column(&self, field: &FieldRef, origin: &Origin) -> (Field, ColumnState) {
        let cell = |(table, column): (usize, usize)| {
            let upstream = self.current[table].0;
            (self.graph.schema(upstream).field(column).clone(), self.graph.columns(upstream)[column].clone())
        };
        if let Some((before, state)) = origin.same.map(cell)
            && before.data_type() == field.data_type()
        {
            let same = Field::new(field.name(), field.data_type().clone(), field.is_nullable());
            return (same.with_metadata(before.metadata().clone()), state);
        }
        // A computed column may be NULL: what DataFusion derives about that is a hint to its optimiser, not a promise.
        let plain = Field::new(field.name(), field.data_type().clone(), true);
        let mut state = ColumnState {
            from: BTreeSet::new(),
            source: match origin.text() {
                // Columns of our own on the way tell nobody anything.
                Some(text) if !text.contains(OWN) => format!("{text} ({})", self.kind),
                Some(_) => format!("({})", self.kind),
                None => format!("({})", self.kind),
            },
            unchanged: None,
            losses: Vec::new(),
            edge: Edge::Exact,
        };
        for (_, below) in origin.from.iter().copied().map(cell) {
            state.from.extend(below.from);
            for loss in below.losses {
                if !state.losses.contains(&loss) {
                    state.losses.push(loss);
                }
            }
        }
        (plain, state)
    }

    fn push(&mut self, op: Op) {
        self.graph.ops.push(op);
        self.current = vec![(Upstream::Op(self.graph.ops.len() - 1), vec!["input".into()])];
    }
}

/// How the names of columns begin that a transform adds on the way and takes out again.
pub(crate) const OWN: &str = "__weir_";

/// A name as a SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
