//! Which engine a plan is for, and what a run of it takes: the facts of a plan for the model of `weir_runners::cost`.

use std::collections::BTreeMap;

use weir_connect::StreamInfo;
use weir_plan::{Plan, Program};
use weir_runners::capability::verdicts;
use weir_runners::compile::Job;
use weir_runners::cost::{self, Advice, Facts};
use weir_runners::registry::Format;
use weir_spec::Pipeline;

use crate::planning::engines_registry;

/// The streams of each source, by its node.
pub type Streams = BTreeMap<String, Vec<StreamInfo>>;

/// What a run has on this side.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Cores.
    pub cores: usize,
    /// Memory budget.
    pub memory_bytes: u64,
}

/// The choice for a plan that would not be refused, with the facts that it was made of.
pub fn of_plan(plan: &Plan, machine: Machine) -> (Facts, Advice) {
    let mut streams = Streams::new();
    for input in plan.flows.iter().flat_map(|flow| &flow.inputs) {
        let known = streams.entry(input.node.clone()).or_default();
        if !known.iter().any(|stream| stream.name == input.stream.name) {
            known.push(input.stream.clone());
        }
    }
    let mut facts = facts(&plan.pipeline, &streams, machine);
    facts.together = plan.flows.iter().any(|flow| matches!(flow.program, Program::Relational(_)));
    facts.keeps_state = plan.flows.iter().any(|flow| matches!(flow.program, Program::Keyed(_)));
    let registry = engines_registry();
    let job = Job { pipeline: &plan.pipeline, registry: &registry, streams, format: Format::default() };
    let advice = cost::recommend(&facts, &verdicts(&job));
    (facts, advice)
}

/// What the file and the sources say. Rows and bytes are known only if every stream tells them.
pub fn facts(pipeline: &Pipeline, streams: &Streams, machine: Machine) -> Facts {
    let sum = |of: fn(&StreamInfo) -> Option<u64>| {
        let known: Option<Vec<u64>> = streams.values().flatten().map(of).collect();
        known.filter(|known| !known.is_empty()).map(|known| known.into_iter().fold(0, u64::saturating_add))
    };
    Facts {
        mode: pipeline.mode,
        named: pipeline.engine,
        rows: sum(|stream| stream.estimated_rows),
        bytes: sum(|stream| stream.estimated_bytes),
        cores: machine.cores.max(1),
        memory_bytes: machine.memory_bytes,
        together: false,
        keeps_state: false,
        not_native: None,
    }
}
