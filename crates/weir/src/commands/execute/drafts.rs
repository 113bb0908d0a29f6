//! The verbs about a pipeline that is still being written: its plan, and a few rows after every step.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_control::worker::order::WorkOrder;
use weir_error::Result;
use weir_plan::{describe, show_field};
use weir_runners::cost;
use weir_spec::model::Input;
use weir_spec::{Diagnostic, Node, Pipeline, Role};

use super::run;
use crate::advice::{self, Machine};
use crate::commands::plan::wrapped;
use crate::commands::preview;
use crate::planning::{NoPlan, Opened};
use crate::show::rows;

/// Columns of the plan as text.
const WIDTH: usize = 110;

/// Characters of a cell; what is longer is cut.
const LONGEST_CELL: usize = 400;

/// A step shows no more than so many bytes of cells, but one row in any case.
const STEP_BYTES: usize = 256 << 10;

/// The sink of a step. It keeps nothing, takes every type, and no pipeline can call a node so: there is a space in the name.
const NOWHERE: &str = "no where";

/// Tells the plan, or what keeps the pipeline from having one, with places in the text. A plan that would be refused is told with the reasons,
/// and without what a run of it would take.
pub async fn plan(order: &WorkOrder) -> Result<Value> {
    let opened = run::open(order)?;
    match opened.try_plan(None).await {
        Ok((plan, refusals)) => {
            let (mut shown, mut text, mut expected) = (describe::json(&plan), describe::text(&plan, WIDTH), Value::Null);
            shown["recommendation"] = Value::Null;
            if refusals.is_empty() {
                let machine = Machine { cores: opened.lanes(None), memory_bytes: run::budget(order) };
                let (facts, advice) = advice::of_plan(&plan, machine);
                for line in cost::lines(&advice) {
                    text += &wrapped(&line, WIDTH);
                }
                shown["recommendation"] = json!(advice);
                expected = json!({
                    "rows": facts.rows, "bytes": facts.bytes, "seconds": advice.native_secs, "cores": facts.cores,
                    "memory_bytes": facts.memory_bytes,
                });
            }
            Ok(json!({"plan": shown, "text": text, "expected": expected, "diagnostics": told(&opened, refusals)}))
        }
        Err(NoPlan::Problems(problems)) => Ok(json!({"plan": null, "text": null, "diagnostics": problems})),
        Err(NoPlan::Error(error)) => Err(error),
    }
}

fn told(opened: &Opened, problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    opened.file.with(problems).diagnostics
}

/// What flows along every edge of the graph: the first rows of each source and after each transform. A step that cannot be shown says why and
/// does not keep the others from it.
pub async fn steps(order: &WorkOrder, limit: usize) -> Result<Value> {
    let opened = run::open(order)?;
    let mut steps = Vec::new();
    for edge in edges(&opened.pipeline) {
        let node = opened.pipeline.node(&edge.node);
        let mut step = json!({
            "step": named(&edge), "node": edge.node, "role": node.map(|node| node.role), "kind": node.map(|node| &node.kind), "streams": [],
        });
        match sample(&opened, &edge, limit).await {
            Ok(streams) => step["streams"] = streams,
            Err(error) => step["error"] = json!(error.to_json()),
        }
        steps.push(step);
    }
    Ok(json!({"steps": steps}))
}

fn named(edge: &Input) -> String {
    match &edge.port {
        Some(port) => format!("{}.{port}", edge.node),
        None => edge.node.clone(),
    }
}

/// What is read by somebody, each once, in the order of the nodes that it comes from.
fn edges(pipeline: &Pipeline) -> Vec<Input> {
    let mut found: Vec<Input> = Vec::new();
    for node in &pipeline.nodes {
        for reader in &pipeline.nodes {
            for input in reader.inputs.iter().filter(|input| input.node == node.name) {
                if !found.contains(input) {
                    found.push(input.clone());
                }
            }
        }
    }
    found
}

/// The part of a pipeline that leads to an edge, into a sink that keeps nothing.
fn until(pipeline: &Pipeline, edge: &Input) -> Pipeline {
    let (mut needed, mut open) = (BTreeSet::new(), vec![edge.node.as_str()]);
    while let Some(name) = open.pop() {
        if needed.insert(name.to_string())
            && let Some(node) = pipeline.node(name)
        {
            open.extend(node.inputs.iter().map(|input| input.node.as_str()));
        }
    }
    let mut part = pipeline.clone();
    part.nodes.retain(|node| needed.contains(&node.name));
    part.nodes.push(Node {
        name: NOWHERE.into(),
        role: Role::Sink,
        kind: "discard".into(),
        inputs: vec![edge.clone()],
        options: Value::Object(Map::new()),
    });
    // What is promised of the real sinks says nothing of this one.
    part.delivery = None;
    part
}

async fn sample(opened: &Opened, edge: &Input, limit: usize) -> Result<Value> {
    let part = Opened {
        registry: opened.registry.clone(),
        file: opened.file.with(Vec::new()),
        pipeline: Arc::new(until(&opened.pipeline, edge)),
        resolver: opened.resolver.clone(),
    };
    let plan = run::plan(&part, part.lanes(None)).await?;
    let mut streams = Vec::new();
    for flow in &plan.flows {
        for sample in preview::sample(flow, limit, part.lanes(None)).await? {
            let columns: Vec<Value> = sample
                .schema
                .fields()
                .iter()
                .map(|field| json!({"name": field.name(), "type": show_field(field), "nullable": field.is_nullable()}))
                .collect();
            let (batch, masked) = rows::mask(&sample.batch(limit)?)?;
            let cells = within(rows::cells(&batch, LONGEST_CELL)?);
            streams.push(json!({
                "stream": flow.name, "columns": columns, "rows": cells, "masked_columns": masked, "filtered": sample.filtered,
                "dead_letters": sample.dead.iter().take(20).collect::<Vec<_>>(),
            }));
        }
    }
    Ok(Value::Array(streams))
}

fn within(rows: Vec<Vec<Option<String>>>) -> Vec<Vec<Option<String>>> {
    let mut bytes = 0;
    let mut kept = Vec::with_capacity(rows.len());
    for row in rows {
        bytes += row.iter().flatten().map(String::len).sum::<usize>();
        if bytes > STEP_BYTES && !kept.is_empty() {
            break;
        }
        kept.push(row);
    }
    kept
}
