//! Gates: the places of a flow at which a run counts what passes.
//!
//! A gate is one output of a node. The gates of a flow are its inputs, then its outputs (what is given to each sink), then the outputs of transforms
//! that somebody reads, so that rows out of a node are the rows into those that read it. Programs count under the gate's place in
//! [`crate::Flow::gates`]. A program that runs in steps counts between them; where a query engine is free to move operations over each other
//! there is no such place, and [`Known`] says so: nothing is made up.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{ByteViewType, DataType};
use datafusion::logical_expr::LogicalPlan;

use crate::chain::{Body, Graph, Upstream};
use crate::shape::{Component, Feed, address};

/// One output of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The node.
    pub node: String,
    /// Which of its outputs, if it has several.
    pub port: Option<String>,
    /// The nodes that read it; none: the node is a sink.
    pub readers: Vec<String>,
    /// What is counted here.
    pub known: Known,
    /// The first output of the flow that it leads to: where every output has a program of its own, this one's counts.
    pub leads_to: usize,
}

/// What can be counted at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Rows and bytes.
    All,
    /// Rows; the values are others before or after.
    Rows,
    /// Nothing: the query engine has no such place.
    Nothing,
}

/// What passed a gate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Rows that went on.
    pub rows: u64,
    /// Bytes of their values, see [`value_bytes`].
    pub bytes: u64,
    /// Rows that the node set aside, each once, however many sinks lack it. Counted at one gate of the node.
    pub dead: u64,
}

impl Passed {
    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.dead += other.dead;
    }
}

/// Counts a batch at these gates; `passed` has an entry for each gate of the flow, or none at all if nobody counts.
pub fn count(passed: &mut [Passed], gates: &[usize], batch: &RecordBatch) {
    if !passed.is_empty() && !gates.is_empty() && batch.num_rows() > 0 {
        add(passed, gates, batch.num_rows(), value_bytes(batch));
    }
}

fn add(passed: &mut [Passed], gates: &[usize], rows: usize, bytes: u64) {
    for &gate in gates {
        if let Some(sum) = passed.get_mut(gate) {
            sum.rows += rows as u64;
            sum.bytes += bytes;
        }
    }
}

/// Counts what a step made of a batch, and gives its bytes for the steps after it. `before`: the batch that it had, with its bytes if they are known;
/// columns that are the same are not measured again, so that a step which changes nothing costs nothing.
pub(crate) fn count_step(
    passed: &mut [Passed],
    gates: &[usize],
    (before, known): (&RecordBatch, Option<u64>),
    after: &RecordBatch,
) -> Option<u64> {
    if passed.is_empty() {
        return None;
    }
    let unchanged = before.num_rows() == after.num_rows()
        && before.num_columns() == after.num_columns()
        && before.columns().iter().zip(after.columns()).all(|(one, other)| Arc::ptr_eq(one, other));
    let known = known.filter(|_| unchanged);
    if gates.is_empty() {
        return known;
    }
    let bytes = known.unwrap_or_else(|| value_bytes(after));
    add(passed, gates, after.num_rows(), bytes);
    Some(bytes)
}

/// Counts rows that a node has set aside.
pub(crate) fn count_dead(passed: &mut [Passed], gate: Option<usize>, rows: usize) {
    if let Some(sum) = gate.and_then(|gate| passed.get_mut(gate)) {
        sum.dead += rows as u64;
    }
}

/// Bytes of the values of a batch as Arrow lays them out: those of its rows only, however much memory stands behind them. Costs some nanoseconds
/// per column, whatever the number of rows (but for view types, whose lengths are added up).
pub fn value_bytes(batch: &RecordBatch) -> u64 {
    batch.columns().iter().map(|column| bytes_of(column.as_ref())).sum()
}

fn bytes_of(array: &dyn Array) -> u64 {
    let rows = array.len() as u64;
    let nulls = if array.nulls().is_some() { rows.div_ceil(8) } else { 0 };
    let ends = |offsets: &[i32]| offsets.last().zip(offsets.first()).map_or(0, |(end, begin)| (end - begin) as u64);
    let large_ends = |offsets: &[i64]| offsets.last().zip(offsets.first()).map_or(0, |(end, begin)| (end - begin) as u64);
    let values = match array.data_type() {
        DataType::Null => 0,
        DataType::Boolean => rows.div_ceil(8),
        DataType::Utf8 => ends(array.as_string::<i32>().value_offsets()) + 4 * rows,
        DataType::Binary => ends(array.as_binary::<i32>().value_offsets()) + 4 * rows,
        DataType::LargeUtf8 => large_ends(array.as_string::<i64>().value_offsets()) + 8 * rows,
        DataType::LargeBinary => large_ends(array.as_binary::<i64>().value_offsets()) + 8 * rows,
        DataType::Utf8View => viewed::<arrow::datatypes::StringViewType>(array),
        DataType::BinaryView => viewed::<arrow::datatypes::BinaryViewType>(array),
        DataType::FixedSizeBinary(width) => rows * u64::try_from(*width).unwrap_or(0),
        DataType::Struct(_) => array.as_struct().columns().iter().map(|column| bytes_of(column.as_ref())).sum(),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (offsets, values) = (list.value_offsets(), list.values());
            part(values.as_ref(), offsets.first().map(|at| *at as usize), ends(offsets)) + 4 * rows
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let (offsets, values) = (list.value_offsets(), list.values());
            part(values.as_ref(), offsets.first().map(|at| *at as usize), large_ends(offsets)) + 8 * rows
        }
        DataType::Map(_, _) => {
            let map = array.as_map();
            let offsets = map.value_offsets();
            part(map.entries(), offsets.first().map(|at| *at as usize), ends(offsets)) + 4 * rows
        }
        DataType::FixedSizeList(_, _) => bytes_of(array.as_fixed_size_list().values().as_ref()),
        other => match other.primitive_width() {
            Some(width) => rows * width as u64,
            // Dictionaries, unions, runs: what they keep in memory.
            None => array.get_array_memory_size() as u64,
        },
    };
    values + nulls
}

/// Of some of an array's values.
fn part(values: &dyn Array, begin: Option<usize>, rows: u64) -> u64 {
    begin.map_or(0, |begin| bytes_of(values.slice(begin, rows as usize).as_ref()))
}

/// A view has sixteen bytes, and what is longer than twelve stands elsewhere.
fn viewed<T: ByteViewType>(array: &dyn Array) -> u64 {
    let views = array.as_byte_view::<T>().views();
    let elsewhere: u64 = views.iter().map(|view| u64::from(*view as u32)).filter(|length| *length > 12).sum();
    elsewhere + 16 * views.len() as u64
}

/// The gates of a flow over these source nodes and feeds.
pub(crate) fn of_flow(sources: &[&str], component: &Component<'_>, feeds: &[&Feed<'_>]) -> Vec<Gate> {
    // Who reads what, in the order of the flow.
    let mut read: Vec<(&str, Option<&str>, Vec<String>)> = Vec::new();
    let transforms = component.transforms.iter();
    let by_transforms =
        transforms.flat_map(|node| node.inputs.iter().map(|input| (input.node.as_str(), input.port.as_deref(), &node.name)));
    let by_sinks = feeds.iter().map(|feed| (feed.from, feed.port.as_deref(), &feed.sink.name));
    for (node, port, reader) in by_transforms.chain(by_sinks) {
        match read.iter_mut().find(|known| (known.0, known.1) == (node, port)) {
            Some((_, _, readers)) if readers.contains(reader) => {}
            Some((_, _, readers)) => readers.push(reader.clone()),
            None => read.push((node, port, vec![reader.clone()])),
        }
    }
    let leads = leads_to(component, feeds);
    let gate = |node: &str, port: Option<&str>, readers: Vec<String>| Gate {
        node: node.into(),
        port: port.map(Into::into),
        readers,
        known: Known::All,
        leads_to: leads.get(&address(node, port)).copied().unwrap_or(0),
    };
    let of_source = |source: &&str| {
        let readers = read.iter().find(|known| (known.0, known.1) == (*source, None)).map(|known| known.2.clone());
        gate(source, None, readers.unwrap_or_default())
    };
    let of_sink = |(at, feed): (usize, &&Feed<'_>)| Gate { leads_to: at, ..gate(&feed.sink.name, None, Vec::new()) };
    let others = read.iter().filter(|known| !sources.contains(&known.0));
    let others = others.map(|(node, port, readers)| gate(node, *port, readers.clone()));
    sources.iter().map(of_source).chain(feeds.iter().enumerate().map(of_sink)).chain(others).collect()
}

/// By address: the first of the feeds that it leads to.
fn leads_to(component: &Component<'_>, feeds: &[&Feed<'_>]) -> BTreeMap<String, usize> {
    let mut leads = BTreeMap::new();
    for (at, feed) in feeds.iter().enumerate() {
        let mut todo = vec![(feed.from, feed.port.as_deref())];
        while let Some((node, port)) = todo.pop() {
            let address = address(node, port);
            if leads.contains_key(&address) {
                continue;
            }
            leads.insert(address, at);
            let inputs = component.transforms.iter().filter(|known| known.name == node).flat_map(|node| &node.inputs);
            todo.extend(inputs.map(|input| (input.node.as_str(), input.port.as_deref())));
        }
    }
    leads
}

/// Where a query counts: what it sees of its inputs and gives to its outputs, and what goes in and out of checks. Gates between which
/// nothing but columns change have the same rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueryGates {
    /// Per input of the flow.
    pub(crate) inputs: Vec<Vec<usize>>,
    /// Per output.
    pub(crate) outputs: Vec<Vec<usize>>,
    /// Per operation that is a check: before it and after it.
    pub(crate) checks: BTreeMap<usize, (Vec<usize>, Vec<usize>)>,
}

impl QueryGates {
    /// Of a graph whose inputs are prepared up to these operations (with all before them), by programs that count for themselves. Says in `gates` what
    /// is known.
    pub(crate) fn new(graph: &Graph, tails: &[Upstream], ends: &[Option<usize>], gates: &mut [Gate]) -> Self {
        let mut here = Self { inputs: vec![Vec::new(); ends.len()], outputs: vec![Vec::new(); tails.len()], ..Self::default() };
        let root = |at: Upstream| root(graph, ends, at);
        let mut places: Vec<(Upstream, Place)> = Vec::new();
        for (input, end) in ends.iter().enumerate() {
            places.push((end.map_or(Upstream::Input(input), Upstream::Op), Place::Input(input)));
        }
        for (op, check) in graph.ops.iter().enumerate().filter(|(_, op)| matches!(op.body, Body::Check(_))) {
            here.checks.insert(op, Default::default());
            places.push((Upstream::Op(op), Place::After(op)));
            places.extend(check.inputs.iter().map(|input| (*input, Place::Before(op))));
        }
        places.extend(tails.iter().enumerate().map(|(output, tail)| (*tail, Place::Output(output))));
        for (at, gate) in gates.iter_mut().enumerate() {
            let Some((_, upstream)) = graph.gates.get(at) else { continue };
            if let Some(output) = at.checked_sub(ends.len()).filter(|output| *output < tails.len()) {
                here.outputs[output].push(at);
                continue;
            }
            if ends.iter().enumerate().any(|(input, end)| end.is_some_and(|end| inside(graph, input, end, *upstream))) {
                continue;
            }
            let Some((exact, place)) = places.iter().find(|(place, _)| root(*place) == root(*upstream)) else {
                gate.known = Known::Nothing;
                continue;
            };
            if exact != upstream {
                gate.known = Known::Rows;
            }
            match place {
                Place::Input(input) => here.inputs[*input].push(at),
                Place::Output(output) => here.outputs[*output].push(at),
                Place::Before(op) => here.checks.entry(*op).or_default().0.push(at),
                Place::After(op) => here.checks.entry(*op).or_default().1.push(at),
            }
        }
        here
    }
}

/// A place at which a query counts.
enum Place {
    Input(usize),
    Before(usize),
    After(usize),
    Output(usize),
}

/// The first place before it from which on no row is lost or made.
fn root(graph: &Graph, ends: &[Option<usize>], mut at: Upstream) -> Upstream {
    while let Upstream::Op(op) = at {
        let here = &graph.ops[op];
        let keeps = match &here.body {
            Body::Query { plan, .. } => keeps_rows(plan),
            // In a query a value that does not convert is NULL or ends the run.
            Body::Cast(_) => true,
            Body::Check(_) => false,
        };
        match here.inputs.as_slice() {
            [before] if keeps && !ends.contains(&Some(op)) => at = *before,
            _ => break,
        }
    }
    at
}

/// Whether a query gives as many rows as it reads, whatever they are.
fn keeps_rows(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.filters.is_empty() && scan.fetch.is_none(),
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Window(_) => {
            plan.inputs().into_iter().all(keeps_rows)
        }
        LogicalPlan::Sort(sort) => sort.fetch.is_none() && keeps_rows(&sort.input),
        _ => false,
    }
}

/// Whether a place is on the prepared way of an input, its two ends included.
fn inside(graph: &Graph, input: usize, end: usize, place: Upstream) -> bool {
    let mut at = Upstream::Op(end);
    loop {
        if at == place {
            return true;
        }
        match at {
            Upstream::Op(op) => match graph.ops[op].inputs.as_slice() {
                [before] => at = *before,
                _ => return false,
            },
            Upstream::Input(known) => return known == input && place == at,
        }
    }
}
