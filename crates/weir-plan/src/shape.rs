//! The graph of a pipeline: what feeds what, which parts hang together, which sinks a node reaches.

use std::collections::{BTreeMap, BTreeSet};

use weir_spec::model::{Node, Pipeline, Role};

use crate::problem::{Problem, code};
use crate::results;
use crate::transforms::Kind;

/// A connected part of the graph, without what no sink needs.
#[derive(Debug)]
pub(crate) struct Component<'a> {
    pub(crate) sources: Vec<&'a Node>,
    /// Each after everything that feeds it.
    pub(crate) transforms: Vec<&'a Node>,
    pub(crate) sinks: Vec<Feed<'a>>,
}

/// What one sink gets from one of its inputs. A sink with several inputs writes each as a stream of its own.
#[derive(Debug, Clone)]
pub(crate) struct Feed<'a> {
    pub(crate) sink: &'a Node,
    /// The node that feeds it.
    pub(crate) from: &'a str,
    /// The output of that node, if it has several.
    pub(crate) port: Option<String>,
}

impl<'a> Feed<'a> {
    /// The feeds of a sink. One that names a node with several outputs, and none of these, gets all of them.
    fn of(pipeline: &'a Pipeline, sink: &'a Node) -> Vec<Self> {
        let mut feeds = Vec::new();
        // What rules counted does not come this way: see `results`.
        for input in sink.inputs.iter().filter(|input| !results::reads(pipeline, input)) {
            let ports: Vec<Option<String>> = match (&input.port, pipeline.node(&input.node).map(outputs)) {
                (None, Some(Some(ports))) if !ports.is_empty() => ports.into_iter().map(Some).collect(),
                (port, _) => vec![port.clone()],
            };
            feeds.extend(ports.into_iter().map(|port| Self { sink, from: &input.node, port }));
        }
        feeds
    }

    /// What it reads, as an input is written.
    pub(crate) fn address(&self) -> String {
        address(self.from, self.port.as_deref())
    }
}

/// A node, or an output of it, as an input is written.
pub(crate) fn address(node: &str, port: Option<&str>) -> String {
    match port {
        Some(port) => format!("{node}.{port}"),
        None => node.to_string(),
    }
}

/// The outputs of a node that has several; empty for others. `None`: it cannot be told.
fn outputs(node: &Node) -> Option<Vec<String>> {
    match node.role {
        Role::Transform => Kind::outputs(node),
        Role::Source | Role::Sink => Some(Vec::new()),
    }
}

/// Outputs that nothing reads: their rows would go nowhere.
pub(crate) fn unread(pipeline: &Pipeline) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for node in pipeline.of(Role::Transform) {
        for port in outputs(node).unwrap_or_default() {
            let reads = |reader: &Node| {
                let mut inputs = reader.inputs.iter().filter(|input| input.node == node.name);
                inputs.any(|input| input.port.as_ref().is_none_or(|read| *read == port))
            };
            if !pipeline.nodes.iter().any(reads) {
                found.push((node.name.clone(), port));
            }
        }
    }
    found
}

/// What is wrong with the graph, by node.
pub(crate) fn problems(pipeline: &Pipeline) -> Vec<(String, Problem)> {
    let mut found = Vec::new();
    let names: Vec<&str> = pipeline.nodes.iter().map(|node| node.name.as_str()).collect();
    for node in &pipeline.nodes {
        let tell = |problem: Problem| (node.name.clone(), problem);
        match (node.role, node.inputs.len()) {
            (Role::Source, 0) => {}
            (Role::Source, _) => found.push(tell(Problem::new(code::SHAPE, format!("source `{}` takes no input", node.name)))),
            (_, 0) => found.push(tell(Problem::new(code::SHAPE, format!("`{}` has no input", node.name)))),
            (Role::Sink | Role::Transform, _) => {}
        }
        for input in &node.inputs {
            let problem = match pipeline.node(&input.node) {
                None => Problem::new(code::SHAPE, format!("`{}` reads from `{}`, which does not exist", node.name, input.node))
                    .nearest(&input.node, names.iter().copied()),
                Some(upstream) if upstream.role == Role::Sink => {
                    Problem::new(code::SHAPE, format!("`{}` reads from `{}`, which is a sink", node.name, input.node))
                }
                Some(upstream) => match (&input.port, outputs(upstream)) {
                    (Some(port), Some(_)) if upstream.role == Role::Transform && Kind::side_outputs(upstream).contains(port) => {
                        continue;
                    }
                    (Some(port), Some(known)) if !known.contains(port) => {
                        let known = [known, Kind::side_outputs(upstream)].concat();
                        let problem = Problem::new(code::SHAPE, format!("`{}` has no output `{port}`", input.node))
                            .nearest(port, known.iter().map(String::as_str));
                        match known.is_empty() {
                            true => problem,
                            false => problem.expected(format!("outputs: {}", known.join(", "))),
                        }
                    }
                    (None, Some(known)) if !known.is_empty() && node.role == Role::Transform => {
                        let each: Vec<String> = known.iter().map(|port| format!("`{}.{port}`", input.node)).collect();
                        Problem::new(
                            code::SHAPE,
                            format!("`{}` has {} outputs, and `{}` reads one", input.node, known.len(), node.name),
                        )
                        .expected(format!("one of {}", each.join(", ")))
                    }
                    _ => continue,
                },
            };
            found.push(tell(problem.option("input")));
        }
    }
    found.extend(results::problems(pipeline));
    if found.is_empty()
        && let Some(node) = in_cycle(pipeline)
    {
        found.push((node.clone(), Problem::new(code::SHAPE, format!("`{node}` feeds itself")).option("input")));
    }
    if pipeline.of(Role::Source).next().is_none() || pipeline.of(Role::Sink).next().is_none() {
        let node = pipeline.nodes.first().map(|node| node.name.clone()).unwrap_or_default();
        found.push((node, Problem::new(code::SHAPE, "a pipeline has at least one source and one sink")));
    }
    found
}

fn in_cycle(pipeline: &Pipeline) -> Option<String> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    loop {
        let next = pipeline
            .nodes
            .iter()
            .filter(|node| !done.contains(node.name.as_str()))
            .find(|node| node.inputs.iter().all(|input| done.contains(input.node.as_str())));
        match next {
            Some(node) => done.insert(&node.name),
            None => return pipeline.nodes.iter().find(|node| !done.contains(node.name.as_str())).map(|node| node.name.clone()),
        };
    }
}

/// Nodes that feed some sink.
fn needed(pipeline: &Pipeline) -> BTreeSet<&str> {
    let mut needed = BTreeSet::new();
    let mut todo: Vec<&str> = pipeline.of(Role::Sink).map(|node| node.name.as_str()).collect();
    while let Some(name) = todo.pop() {
        if needed.insert(name)
            && let Some(node) = pipeline.node(name)
        {
            todo.extend(node.inputs.iter().map(|input| input.node.as_str()));
        }
    }
    needed
}

/// The parts of a graph that has no [`problems`], in the order of their first sinks.
pub(crate) fn components(pipeline: &Pipeline) -> Vec<Component<'_>> {
    let needed = needed(pipeline);
    let nodes: Vec<&Node> = pipeline.nodes.iter().filter(|node| needed.contains(node.name.as_str())).collect();
    let mut group: BTreeMap<&str, usize> = nodes.iter().enumerate().map(|(index, node)| (node.name.as_str(), index)).collect();
    // Sinks hold nothing together: what two of its inputs have in common is only the target.
    for node in nodes.iter().filter(|node| node.role != Role::Sink) {
        for input in &node.inputs {
            let (here, there) = (group[node.name.as_str()], group.get(input.node.as_str()).copied());
            if let Some(there) = there {
                group.values_mut().filter(|value| **value == there).for_each(|value| *value = here);
            }
        }
    }
    let feeds: Vec<Feed<'_>> =
        nodes.iter().filter(|node| node.role == Role::Sink).flat_map(|sink| Feed::of(pipeline, sink)).collect();
    let mut order: Vec<usize> = Vec::new();
    for id in feeds.iter().filter_map(|feed| group.get(feed.from)) {
        if !order.contains(id) {
            order.push(*id);
        }
    }
    order
        .into_iter()
        .map(|id| {
            let of = |role: Role| -> Vec<&Node> {
                nodes.iter().copied().filter(|node| node.role == role && group[node.name.as_str()] == id).collect()
            };
            let sinks = feeds.iter().filter(|&feed| group.get(feed.from) == Some(&id)).cloned().collect();
            Component { sources: of(Role::Source), transforms: ordered(of(Role::Transform)), sinks }
        })
        .collect()
}

/// Transforms, each after those that feed it, otherwise in file order.
fn ordered(mut waiting: Vec<&Node>) -> Vec<&Node> {
    let mut done: Vec<&Node> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|node| !node.inputs.iter().any(|input| waiting.iter().any(|w| w.name == input.node)));
        // Without a cycle one is always ready.
        let Some(ready) = ready else { break };
        done.push(waiting.remove(ready));
    }
    done
}
