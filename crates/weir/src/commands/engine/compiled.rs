//! The artefact of a pipeline for an engine, and the values of the variables in it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use weir_connect::StreamInfo;
use weir_error::{Error, Kind, Result, Secret};
use weir_plan::ResolveReferences;
use weir_runners::artefact::{Artefacts, Expected, Origin, Role};
use weir_runners::client::{EngineClient, File, Submission};
use weir_runners::compile::{Job, compile};
use weir_runners::registry::{Format, Target};
use weir_runners::seam::{State, begin};
use weir_spec::model::{Mode, Node, Pipeline};

use crate::commands::Context;
use crate::outcome::Failure;
use crate::planning::Opened;

/// The connector of local files.
const FILES: &str = "file";

/// What is compiled for, by the engine and its release.
pub fn target(engine: &str, version: &str) -> Result<Target> {
    let named = match engine {
        "seatunnel" if older_than_2_3_9(version) => "seatunnel:2.3.4",
        other => other,
    };
    Target::parse(named)
        .map_err(|why| Error::new("WEIR-CLI-081", Kind::Spec, format!("there is no engine `{engine}`")).because(why))
}

fn older_than_2_3_9(version: &str) -> bool {
    let mut parts = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next()) < (2, 3, 9)
}

/// Compiles, to begin at `state` if there is one; what stands against it is told.
pub async fn compiled(
    opened: &Opened,
    target: Target,
    state: Option<&State>,
    json: bool,
    context: &Context,
) -> Result<Artefacts, Failure> {
    let mut pipeline = located(opened)?;
    let streams = streams(opened, &pipeline, context).await;
    if let Some(state) = state {
        pipeline = begin::begin(&pipeline, &opened.registry, &streams, state, target)?;
    }
    let job = Job { pipeline: &pipeline, registry: &opened.registry, streams, format: Format::Json };
    match compile(&job, target) {
        Ok(mut artefacts) => {
            if let Some(state) = state {
                begin::attach(&mut artefacts, &pipeline, state);
            }
            Ok(artefacts)
        }
        Err(problems) => {
            opened.file.with(problems).tell(json, context)?;
            Err(Failure::Told(2))
        }
    }
}

/// Whether a source is asked for its columns: one that declares none, and files, of which `columns` tells some types and neither which other columns there are
/// nor how they follow each other.
pub fn asks(opened: &Opened, node: &Node) -> bool {
    let files = opened.registry.get(&node.kind).is_some_and(|connector| [FILES, "s3"].contains(&connector.descriptor().name));
    files || node.options.get("columns").is_none()
}

/// What these sources say. The engine may reach what this machine does not; then the compiler says what it misses.
async fn streams(opened: &Opened, pipeline: &Pipeline, context: &Context) -> BTreeMap<String, Vec<StreamInfo>> {
    let mut found = BTreeMap::new();
    for node in pipeline.of(weir_spec::Role::Source).filter(|node| asks(opened, node)) {
        let asked = async { opened.source(node).await?.streams().await };
        match asked.await {
            Ok(streams) => drop(found.insert(node.name.clone(), streams)),
            Err(error) => {
                eprintln!("{} source `{}` does not say what it has: {error}", context.err.yellow("warning:"), node.name)
            }
        }
    }
    found
}

/// The pipeline with whole paths of local files: an engine runs in another folder.
fn located(opened: &Opened) -> Result<Pipeline> {
    let mut pipeline = (*opened.pipeline).clone();
    let here =
        opened.file.base_dir.canonicalize().map_err(|error| Error::from(error).at(opened.file.base_dir.display().to_string()))?;
    for node in pipeline.nodes.iter_mut() {
        if opened.registry.get(&node.kind).is_none_or(|connector| connector.descriptor().name != FILES) {
            continue;
        }
        let whole = |path: &mut Value| {
            if let Some(text) = path.as_str().filter(|text| !text.contains("://") && !text.starts_with("${")) {
                let (mark, bare) = text.strip_prefix('!').map_or(("", text), |bare| ("!", bare));
                *path = format!("{mark}{}", here.join(bare).display()).into();
            }
        };
        for option in ["path", "paths"] {
            match node.options.get_mut(option) {
                Some(Value::Array(paths)) => paths.iter_mut().for_each(whole),
                Some(path) => whole(path),
                None => {}
            }
        }
    }
    Ok(pipeline)
}

/// What is handed to the engine. Values are resolved now and stay in memory.
pub fn submission(opened: &Opened, artefacts: &Artefacts, client: &dyn EngineClient, run_id: &str) -> Result<Submission> {
    let companion = artefacts.files.iter().find(|file| file.role == Role::Companion);
    if let Some(companion) = companion {
        eprintln!("the job reads what {} brings: run that beside it (`weir compile -o DIR` writes it)", companion.name);
    }
    let files = artefacts.files.iter().filter(|file| file.role != Role::Companion);
    Ok(Submission {
        name: opened.pipeline.name.clone(),
        run_id: run_id.to_owned(),
        files: files.map(|file| File { name: file.name.clone(), text: file.text.clone() }).collect(),
        variables: if client.takes_values() { values(opened, &artefacts.expects)? } else { BTreeMap::new() },
        streaming: !matches!(opened.pipeline.mode, Mode::Batch | Mode::Incremental),
        resume: None,
    })
}

/// Values of all variables; those without one are told together.
fn values(opened: &Opened, expected: &[Expected]) -> Result<BTreeMap<String, Secret>> {
    // In upper case, so that none is taken for an option whose value is a number.
    let references: Map<String, Value> = expected
        .iter()
        .map(|one| Ok((format!("VALUE OF {}", one.name), reference(opened, &one.from)?)))
        .collect::<Result<_>>()?;
    let resolved = opened.resolver.resolve(&Value::Object(references), opened.pipeline.credentials_ref.as_deref())?;
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(expected.iter().map(|one| (one.name.clone(), Secret::new(text(&resolved[format!("VALUE OF {}", one.name)])))).collect())
}

/// The reference behind a variable, as a pipeline file writes it; of a literal its text.
fn reference(opened: &Opened, origin: &Origin) -> Result<Value> {
    Ok(match origin {
        Origin::Environment { default: None, name } => format!("${{{name}}}").into(),
        Origin::Environment { default: Some(default), name } => format!("${{{name}:-{default}}}").into(),
        Origin::Credential { name } => format!("{{{{{name}}}}}").into(),
        Origin::Vault { path, key } => format!("vault://{path}#{key}").into(),
        Origin::File { path } => format!("file://{path}").into(),
        Origin::Literal { node, option } => literal(opened, node, option)?,
    })
}

fn literal(opened: &Opened, node: &str, option: &str) -> Result<Value> {
    let pipeline = &opened.pipeline;
    let of_node = pipeline.node(node).map(|node| &node.options);
    let options = of_node.or_else(|| pipeline.connections.get(node).map(|connection| &connection.options));
    let found = options.and_then(|options| option.split('.').try_fold(options, |value, key| value.get(key)));
    found.cloned().ok_or_else(|| Error::internal(format!("option `{option}` of `{node}` is gone")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_seatunnel_chooses_its_words() {
        for (version, old) in [("2.3.4", true), ("2.3.8", true), ("2.3.9", false), ("2.3.12-SNAPSHOT", false), ("3.0.0", false)] {
            assert_eq!(older_than_2_3_9(version), old, "{version}");
        }
        assert_eq!(target("seatunnel", "2.3.4").unwrap().name(), "seatunnel:2.3.4");
        assert_eq!(target("storm", "1").unwrap_err().exit_code(), 2);
    }
}
