//! What passes the gates of a flow ([`weir_plan::gates`]): live, in checkpoints, and as nodes and edges for those who look.
//!
//! A lane counts batch by batch for itself and adds to the gauges, which only the display reads; what counts is in the epochs. A checkpoint
//! keeps counts under the names of their nodes. A run that goes on with another graph (a stream, a log) begins to count anew: what was counted
//! in another graph does not add up with what is counted in this one.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use weir_connect::CommitReport;
use weir_plan::{Gate, Known, Passed};

use crate::report::{EdgeCounts, NodeCounts};

/// Nodes, and edges, that an event about progress tells at most; the report tells all.
const MOST_TOLD: usize = 200;

/// What passed a gate, under its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateCount {
    /// The node.
    pub node: String,
    /// Which of its outputs, if it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Rows.
    pub rows: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Rows set aside.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dead: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Under their names.
pub(crate) fn named(gates: &[Gate], passed: &[Passed]) -> Vec<GateCount> {
    let one = |(gate, passed): (&Gate, &Passed)| GateCount {
        node: gate.node.clone(),
        port: gate.port.clone(),
        rows: passed.rows,
        bytes: passed.bytes,
        dead: passed.dead,
    };
    gates.iter().zip(passed).map(one).collect()
}

/// What was counted at these gates; nothing if it was in another graph.
pub(crate) fn of(gates: &[Gate], counts: &[GateCount]) -> Vec<Passed> {
    let same = gates.len() == counts.len()
        && gates.iter().zip(counts).all(|(gate, count)| gate.node == count.node && gate.port == count.port);
    match same {
        true => counts.iter().map(|count| Passed { rows: count.rows, bytes: count.bytes, dead: count.dead }).collect(),
        false => vec![Passed::default(); gates.len()],
    }
}

/// Adds later counts; if they are of another graph, they take the place of what there is.
pub(crate) fn add(all: &mut Vec<GateCount>, later: &[GateCount]) {
    let same = all.len() == later.len() && all.iter().zip(later).all(|(a, b)| a.node == b.node && a.port == b.port);
    if same {
        for (sum, more) in all.iter_mut().zip(later) {
            sum.rows += more.rows;
            sum.bytes += more.bytes;
            sum.dead += more.dead;
        }
    } else if !later.is_empty() {
        *all = later.to_vec();
    }
}

/// Live counters, one per gate.
#[derive(Default)]
pub(crate) struct GateGauges(Vec<[AtomicU64; 3]>);

impl GateGauges {
    pub(crate) fn new(gates: usize) -> Self {
        Self((0..gates).map(|_| Default::default()).collect())
    }

    pub(crate) fn add(&self, passed: &[Passed]) {
        for ([rows, bytes, dead], more) in self.0.iter().zip(passed) {
            if more.rows > 0 {
                rows.fetch_add(more.rows, Ordering::Relaxed);
                bytes.fetch_add(more.bytes, Ordering::Relaxed);
            }
            if more.dead > 0 {
                dead.fetch_add(more.dead, Ordering::Relaxed);
            }
        }
    }

    /// Adds to one gate.
    pub(crate) fn add_at(&self, gate: usize, more: &Passed) {
        if let Some([rows, bytes, dead]) = self.0.get(gate) {
            rows.fetch_add(more.rows, Ordering::Relaxed);
            bytes.fetch_add(more.bytes, Ordering::Relaxed);
            dead.fetch_add(more.dead, Ordering::Relaxed);
        }
    }

    /// Sums that only grow: for those who count again what was told before.
    pub(crate) fn at_least(&self, sums: &[Passed]) {
        for ([rows, bytes, dead], sum) in self.0.iter().zip(sums) {
            rows.fetch_max(sum.rows, Ordering::Relaxed);
            bytes.fetch_max(sum.bytes, Ordering::Relaxed);
            dead.fetch_max(sum.dead, Ordering::Relaxed);
        }
    }

    pub(crate) fn set(&self, sums: &[Passed]) {
        for ([rows, bytes, dead], sum) in self.0.iter().zip(sums) {
            rows.store(sum.rows, Ordering::Relaxed);
            bytes.store(sum.bytes, Ordering::Relaxed);
            dead.store(sum.dead, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> Vec<Passed> {
        let one = |[rows, bytes, dead]: &[AtomicU64; 3]| Passed {
            rows: rows.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
            dead: dead.load(Ordering::Relaxed),
        };
        self.0.iter().map(one).collect()
    }

    /// As an event tells it.
    pub(crate) fn told(&self, gates: &[Gate]) -> (Vec<NodeCounts>, Vec<EdgeCounts>) {
        let (mut nodes, mut edges) = told(gates, &self.read(), &[]);
        nodes.truncate(MOST_TOLD);
        edges.truncate(MOST_TOLD);
        (nodes, edges)
    }
}

/// The nodes of the flow (sources, transforms, sinks) and its edges with what passed them. `reports`: of the sinks, by output, once they have told.
pub(crate) fn told(gates: &[Gate], passed: &[Passed], reports: &[CommitReport]) -> (Vec<NodeCounts>, Vec<EdgeCounts>) {
    let mut edges = Vec::new();
    for (gate, passed) in gates.iter().zip(passed) {
        edges.extend(gate.readers.iter().map(|reader| EdgeCounts {
            from: gate.node.clone(),
            port: gate.port.clone(),
            to: reader.clone(),
            rows: (gate.known != Known::Nothing).then_some(passed.rows),
            bytes: (gate.known == Known::All).then_some(passed.bytes),
        }));
    }
    let sinks = gates.iter().filter(|gate| gate.readers.is_empty());
    let others = gates.iter().filter(|gate| !gate.readers.is_empty());
    let mut nodes: Vec<NodeCounts> = Vec::new();
    for gate in others.chain(sinks) {
        if nodes.iter().any(|known| known.node == gate.node) {
            continue;
        }
        let own = || gates.iter().zip(passed).filter(|(other, _)| other.node == gate.node);
        let rows = |(gate, passed): (&Gate, &Passed)| (gate.known != Known::Nothing).then_some(passed.rows);
        let bytes = |(gate, passed): (&Gate, &Passed)| (gate.known == Known::All).then_some(passed.bytes);
        let into = || edges.iter().filter(|edge| edge.to == gate.node);
        // A source takes in nothing that stands in the graph.
        let reads = into().next().is_some();
        let is_sink = gate.readers.is_empty();
        // What a sink has in the end is its own word.
        let shown = gates.iter().filter(|gate| gate.readers.is_empty()).zip(reports).filter(|(sink, _)| sink.node == gate.node);
        nodes.push(NodeCounts {
            node: gate.node.clone(),
            rows_in: if reads { into().map(|edge| edge.rows).sum() } else { None },
            bytes_in: if reads { into().map(|edge| edge.bytes).sum() } else { None },
            rows_out: own().map(rows).sum(),
            bytes_out: match is_sink {
                true => (!reports.is_empty()).then(|| shown.map(|(_, report)| report.bytes).sum()),
                false => own().map(bytes).sum(),
            },
            rows_dead: own().map(|(_, passed)| passed.dead).sum(),
        });
    }
    (nodes, edges)
}

#[cfg(test)]
#[path = "gates_tests.rs"]
mod tests;
