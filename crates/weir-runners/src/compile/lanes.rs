//! One source of several tables or topics is as many lanes: the same nodes, once for each.

use weir_spec::model::Role;

use super::Compiling;
use super::systems::{Endpoint, is_glob};

/// A pass over the nodes of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// The stream, where the only source has several.
    pub stream: Option<String>,
}

/// The lanes of a pipeline. Sources that meet must have one stream each; what is chosen by a pattern must be known by name.
pub fn lanes(compiling: &Compiling<'_>) -> Vec<Lane> {
    let sources: Vec<_> = compiling.pipeline().of(Role::Source).collect();
    let mut several: Vec<Vec<String>> = Vec::new();
    for node in &sources {
        let told = compiling
            .job
            .streams
            .get(&node.name)
            .map(|streams| streams.iter().map(|stream| stream.name.clone()).collect::<Vec<_>>());
        let streams = match told {
            Some(told) => told,
            None => {
                let (endpoint, _) = Endpoint::read(compiling, node);
                let written = endpoint.streams();
                if written.iter().any(|name| is_glob(name)) && !matches!(endpoint.system, super::systems::System::Files(_)) {
                    compiling.refuse(
                        node,
                        Some("tables"),
                        "needs the names of what a pattern chooses",
                        "name them, or compile with --connect",
                    );
                    return Vec::new();
                }
                written
            }
        };
        if streams.len() > 1 {
            if sources.len() > 1 {
                compiling.refuse(
                    node,
                    None,
                    "is compiled with one stream per source where sources stand side by side",
                    "one source per table",
                );
                return Vec::new();
            }
            several.push(streams);
        }
    }
    match several.pop() {
        Some(streams) => streams.into_iter().map(|stream| Lane { stream: Some(stream) }).collect(),
        None => vec![Lane { stream: None }],
    }
}

/// A path, table or topic of a sink with its placeholders filled in: `{stream}`, `{tenant}`.
pub fn filled(compiling: &Compiling<'_>, sink: &Endpoint<'_>, written: &str, stream: &str) -> String {
    let tenant = compiling.pipeline().tenant.as_deref();
    let mut text = written.replace("{stream}", stream);
    if text.contains("{tenant}") {
        match tenant {
            Some(tenant) => text = text.replace("{tenant}", tenant),
            None => compiling.refuse(
                sink.node,
                None,
                "must know the tenant when the pipeline is compiled",
                "`tenant:` in the pipeline",
            ),
        }
    }
    if text.contains("{date}") {
        compiling.refuse(sink.node, None, "puts no `{date}` into a name", "`partition_by` with a column, or the native engine");
    }
    text
}

/// What `{stream}` means to a sink: the stream of the lane, else of the first source above it, with the route that leads there.
pub fn stream_of(compiling: &Compiling<'_>, lane: &Lane, sink: &Endpoint<'_>) -> String {
    let mut node = sink.node;
    let mut port = None;
    while node.role != Role::Source {
        let Some(input) = node.inputs.first() else { break };
        port = port.or(input.port.clone());
        match compiling.pipeline().node(&input.node) {
            Some(above) => node = above,
            None => break,
        }
    }
    let stream = lane.stream.clone().unwrap_or_else(|| {
        let known = compiling.job.streams.get(&node.name).and_then(|streams| streams.first()).map(|stream| stream.name.clone());
        known.unwrap_or_else(|| Endpoint::read(compiling, node).0.streams().first().cloned().unwrap_or_else(|| node.name.clone()))
    });
    match port {
        Some(port) if sink.node.inputs.iter().all(|input| input.port.is_none()) => format!("{stream}_{port}"),
        _ => stream,
    }
}
