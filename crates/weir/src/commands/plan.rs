//! `weir plan`: what a run would do, what it promises, and which engine it is for.

use std::io::Write;

use serde_json::{Value, json};
use weir_plan::describe;
use weir_runners::capability::{bridges, verdicts};
use weir_runners::compile::{Job, compile, word};
use weir_runners::cost::{self, Advice};
use weir_runners::registry::{Format, Target};
use weir_spec::{Engine, Mode, Role};

use crate::advice::{self, Machine, Streams};
use crate::cli::Plan;
use crate::commands::{Context, engines};
use crate::outcome::{Failure, Outcome};
use crate::planning::{Opened, cores};
use crate::process::block_on;
use crate::show::style::width;

pub fn execute(args: &Plan, context: &Context) -> Outcome {
    let opened = crate::planning::open(&args.file, args.json, context)?;
    match opened.pipeline.foreign_engine() {
        Some(engine) => elsewhere(args, &opened.for_engines(args.json, context)?, engine, context),
        None => here(args, &opened, context),
    }
}

/// On our own engine.
fn here(args: &Plan, opened: &Opened, context: &Context) -> Outcome {
    block_on(async {
        let (plan, refusals) = opened.look(None, args.json, context).await?;
        let machine = machine(args, &plan.pipeline);
        let advice = refusals.is_empty().then(|| advice::of_plan(&plan, machine).1);
        let mut out = std::io::stdout();
        if args.json {
            let mut told = describe::json(&plan);
            told["recommendation"] = json!(advice);
            writeln!(out, "{}", serde_json::to_string_pretty(&told).map_err(std::io::Error::from)?)?;
        } else {
            write!(out, "{}", describe::text(&plan, width()))?;
            if let Some(advice) = &advice {
                tell(&mut out, advice)?;
            }
        }
        if refusals.is_empty() {
            return Ok(0);
        }
        opened.file.with(refusals).tell(false, context)?;
        Ok(2)
    })
}

fn tell(out: &mut impl Write, advice: &Advice) -> std::io::Result<()> {
    for line in cost::lines(advice) {
        write!(out, "{}", wrapped(&line, width()))?;
    }
    Ok(())
}

/// The machine of a run as the command line says it.
fn machine(args: &Plan, pipeline: &weir_spec::Pipeline) -> Machine {
    Machine { cores: args.cores.or(pipeline.parallelism).unwrap_or_else(cores), memory_bytes: args.max_memory as u64 }
}

/// On the engine that the file names: what it gets, what it keeps, and whether it would have to be there.
fn elsewhere(args: &Plan, opened: &Opened, engine: Engine, context: &Context) -> Outcome {
    let pipeline = &opened.pipeline;
    let streams = block_on(async { Ok::<_, Failure>(asked(opened, context).await) })?;
    let mut facts = advice::facts(pipeline, &streams, machine(args, pipeline));
    facts.together =
        pipeline.of(Role::Transform).any(|node| TOGETHER.contains(&node.kind.as_str())) && pipeline.mode == Mode::Batch;
    facts.not_native = engines::native(pipeline);
    let target = Target::parse(engine.word()).map_err(weir_error::Error::internal)?;
    let job = Job { pipeline, registry: &opened.registry, streams, format: Format::default() };
    let advice = cost::recommend(&facts, &verdicts(&job));
    let made = match compile(&job, target) {
        Ok(made) => made,
        Err(refusals) => {
            opened.file.with(refusals).tell(args.json, context)?;
            return Ok(2);
        }
    };
    let mode = serde_json::to_value(pipeline.mode).ok();
    let mode = mode.as_ref().and_then(Value::as_str).unwrap_or_default();
    let mut out = std::io::stdout();
    if args.json {
        let told = json!({
            "pipeline": pipeline.name, "mode": mode, "engine": engine, "target": target,
            "guarantee": {"delivery": made.delivery, "reasons": made.reasons},
            "files": made.files.iter().map(|file| json!({"name": file.name, "role": file.role})).collect::<Vec<_>>(),
            "bridges": bridges(&made.files), "expects": made.expects, "notes": made.notes, "recommendation": advice,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&told).map_err(std::io::Error::from)?)?;
        return Ok(0);
    }
    let kept = word(made.delivery);
    writeln!(out, "{}   {mode} · {} engine · {kept}", pipeline.name, engine.word())?;
    write!(out, "{}", wrapped(&format!("why {kept}: {}", made.reasons.join("; ")), width()))?;
    let files: Vec<&str> = made.files.iter().map(|file| file.name.as_str()).collect();
    write!(out, "{}", wrapped(&format!("will: hand over {} (compiled for {})", files.join(", "), target.name()), width()))?;
    for bridge in bridges(&made.files) {
        writeln!(out, "  through Kafka: {} beside the job ({})", bridge.file, bridge.by)?;
    }
    for note in &made.notes {
        write!(out, "{}", wrapped(&format!("note: {note}"), width()))?;
    }
    tell(&mut out, &advice)?;
    Ok(0)
}

/// Transforms whose rows meet.
const TOGETHER: [&str; 6] = ["join", "aggregate", "dedupe", "window", "pivot", "lookup"];

/// What the sources say, those that this build and this machine reach.
async fn asked(opened: &Opened, context: &Context) -> Streams {
    let mut found = Streams::new();
    for node in opened.pipeline.of(Role::Source).filter(|node| node.options.get("columns").is_none()) {
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

/// A line that begins with two spaces and is no wider than this; what follows is further in.
pub fn wrapped(text: &str, width: usize) -> String {
    let (mut out, mut line) = (String::new(), String::from(" "));
    for part in text.split(' ') {
        if line.trim().is_empty() || line.chars().count() + 1 + part.chars().count() <= width.max(40) {
            line.push(' ');
            line.push_str(part);
        } else {
            out.push_str(line.trim_end());
            out.push('\n');
            line = format!("    {part}");
        }
    }
    out.push_str(line.trim_end());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn lines_are_no_wider_than_the_terminal() {
        let text = "why exactly_once: ".to_owned() + &"word ".repeat(30);
        let lines = wrapped(&text, 60);
        assert!(lines.lines().all(|line| line.chars().count() <= 60) && lines.lines().count() > 2, "{lines}");
        assert!(lines.starts_with("  why exactly_once: word") && lines.ends_with("word\n"));
    }
}
