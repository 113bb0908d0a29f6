//! `weir engines`: which engines can run a pipeline, with which guarantee, and why not.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::json;
use weir_runners::capability::{Verdict, verdicts};
use weir_runners::compile::{Job, word};
use weir_runners::registry::Format;

use crate::cli::Engines;
use crate::commands::Context;
use crate::outcome::Outcome;

pub fn execute(args: &Engines, context: &Context) -> Outcome {
    let opened = crate::planning::open_for_engines(&args.file, args.json, context)?;
    let streams = if args.connect { super::compile::streams(&opened)? } else { BTreeMap::new() };
    let job = Job { pipeline: &opened.pipeline, registry: &opened.registry, streams, format: Format::default() };
    let native = native(&opened.pipeline);
    let found = verdicts(&job);
    let mut out = std::io::stdout();
    if args.json {
        let body =
            json!({"pipeline": opened.pipeline.name, "native": {"runs": native.is_none(), "reason": native}, "engines": found});
        writeln!(out, "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
        return Ok(0);
    }
    let width = found.iter().map(|verdict| verdict.target.name().len()).max().unwrap_or_default();
    match native {
        None => writeln!(out, "{:width$}  {}   the guarantee is in `weir plan`", "native", context.out.green("runs"))?,
        Some(why) => writeln!(out, "{:width$}  {}     {why}", "native", context.out.red("no"))?,
    }
    for verdict in &found {
        row(&mut out, verdict, width, context)?;
    }
    Ok(0)
}

fn row(out: &mut impl Write, verdict: &Verdict, width: usize, context: &Context) -> std::io::Result<()> {
    let name = verdict.target.name();
    let below = " ".repeat(width + 9);
    match verdict.delivery {
        Some(delivery) => {
            writeln!(out, "{name:width$}  {}   {}", context.out.green("runs"), word(delivery))?;
            for reason in &verdict.reasons {
                writeln!(out, "{below}{}", context.out.dim(reason))?;
            }
            for bridge in &verdict.bridges {
                writeln!(out, "{below}through Kafka: {} beside the job ({})", bridge.file, bridge.by)?;
            }
        }
        None => {
            let mut refusals = verdict.refusals.iter();
            let first = refusals.next().map(|refusal| refusal.message.as_str()).unwrap_or_default();
            writeln!(out, "{name:width$}  {}     {first}", context.out.red("no"))?;
            for refusal in refusals {
                writeln!(out, "{below}{}", refusal.message)?;
            }
        }
    }
    Ok(())
}

/// What of the pipeline this build does not reach by itself.
pub fn native(pipeline: &weir_spec::Pipeline) -> Option<String> {
    let registry = weir_connectors::registry::registry();
    let missing =
        pipeline.nodes.iter().find(|node| node.role != weir_spec::Role::Transform && registry.get(&node.kind).is_none())?;
    Some(format!("`{}`: this build does not reach `{}`", missing.name, missing.kind))
}
