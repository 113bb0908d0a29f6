//! `weir diff`: the same pipeline on several engines, and whether they write the same rows.
//!
//! Each engine writes into a folder of its own below one work folder; the first engine's rows are what the others are held to. Rows are compared as a bag: equal ones
//! are counted, their order means nothing. A column is brought to its type in the first engine's output before it is compared, so `1` and `1.0` are the same number and
//! `2026-01-01 00:00:00` and `2026-01-01T00:00:00` the same moment. Sorting and counting spill to disk beyond the memory budget.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weir_engine::{RunOptions, RunReport, RunStatus};
use weir_error::{Error, Kind, Result};
use weir_spec::model::{Mode, Pipeline, Role};

use super::place;
use super::run::Task;
use crate::cli::{Diff, Progress};
use crate::commands::Context;
use crate::outcome::{Failure, Outcome};
use crate::planning::Opened;
use crate::process::{block_on, stop_on_signals_saying};
use crate::show::number;

mod bags;

const NATIVE: &str = "native";
/// The connector whose sinks can be sent elsewhere and read back.
const FILES: &str = "file";

/// What one engine did.
#[derive(Debug, Serialize)]
struct Tried {
    engine: String,
    /// `done`, `failed`, `refused`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<RunReport>,
    sinks: Vec<Compared>,
}

/// One sink of one engine beside the first engine's.
#[derive(Debug, Serialize)]
struct Compared {
    sink: String,
    rows: u64,
    equal: bool,
    difference: bags::Difference,
}

pub fn execute(args: &Diff, context: &Context) -> Outcome {
    let engines = engines(&args.engines)?;
    let opened = crate::planning::open_for_engines(&args.file, args.json, context)?;
    if opened.pipeline.mode != Mode::Batch {
        return Err(Error::new("WEIR-CLI-084", Kind::Spec, "what has no end cannot be compared")
            .at(opened.file.name.clone())
            .hint("set `mode: batch`: each engine then reads everything once")
            .into());
    }
    let work = Work::new(args.work.as_deref())?;
    block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals_saying(stop.clone(), context.err, "the run at hand is stopped; again to leave at once")?;
        let mut tried: Vec<Tried> = Vec::new();
        for engine in &engines {
            let mine = opened.with_pipeline(redirected(&opened, engine, &work.0)?);
            eprintln!("{}", context.err.bold(engine));
            let mut one = attempt(args, &mine, engine, &work.0, &stop, context).await?;
            if one.status == "done"
                && let Some(first) = tried.first().filter(|first| first.status == "done")
            {
                one.sinks = compare(args, &opened, &first.engine, engine, &work.0).await?;
            }
            let useless = tried.is_empty() && one.status != "done";
            tried.push(one);
            if stop.is_cancelled() {
                return Err(Error::cancelled().into());
            }
            if useless {
                break;
            }
        }
        print(args, &tried, context)
    })
}

/// The engines that were asked for, each once; at least two.
fn engines(asked: &[String]) -> Result<Vec<String>> {
    let mut engines: Vec<String> = Vec::new();
    for name in asked.iter().map(|name| name.trim().replace('_', "-")) {
        if !name.is_empty() && !engines.contains(&name) {
            engines.push(name);
        }
    }
    if engines.len() < 2 {
        return Err(Error::new("WEIR-CLI-085", Kind::Spec, "two engines at least are compared")
            .at("--engines")
            .hint("--engines native,flink"));
    }
    Ok(engines)
}

/// The pipeline with its sinks in this engine's folder.
fn redirected(opened: &Opened, engine: &str, work: &Path) -> Result<Pipeline> {
    let mut pipeline = (*opened.pipeline).clone();
    for node in pipeline.nodes.iter_mut().filter(|node| node.role == Role::Sink) {
        let refused = |why: &str| {
            Error::new("WEIR-CLI-086", Kind::Unsupported, format!("what sink `{}` writes cannot be compared", node.name))
                .because(why.to_owned())
                .hint("write files of JSON or Parquet: {file: {path: out/orders, format: json}}")
        };
        let known = opened.registry.get(&node.kind).is_some_and(|connector| connector.descriptor().name == FILES);
        if !known {
            return Err(refused("only files are sent elsewhere and read back"));
        }
        let path = node.options["path"].as_str().unwrap_or_default();
        let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
        let format = node.options["format"].as_str().unwrap_or(ending).to_owned();
        if matches!(format.as_str(), "" | "csv" | "tsv") {
            return Err(refused("CSV has no types, and each engine has another dialect of it"));
        }
        node.options["format"] = format.into();
        node.options["path"] = place_of(work, engine, &node.name).display().to_string().into();
    }
    Ok(pipeline)
}

fn place_of(work: &Path, engine: &str, sink: &str) -> PathBuf {
    work.join(engine).join(sink)
}

async fn attempt(
    args: &Diff,
    opened: &Opened,
    engine: &str,
    work: &Path,
    stop: &CancellationToken,
    context: &Context,
) -> Result<Tried, Failure> {
    let state_dir = work.join(".state").join(engine);
    let ran = match engine {
        NATIVE => native(args, &opened.native(), &state_dir, stop, context).await,
        _ => {
            let client = place::client(engine, opened, &args.place, &state_dir, context)?;
            let progress = if args.json { Progress::None } else { Progress::Plain };
            // The diagnostics are talk here: stdout is for the comparison.
            let (client, state_dir) = (client.as_ref(), state_dir.as_path());
            let task = Task { opened, client, state_dir, start_from: None, progress, json: false };
            task.run(stop, context).await
        }
    };
    let tried = |status, report| Tried { engine: engine.to_owned(), status, report, sinks: Vec::new() };
    match ran {
        Ok(report) if report.status == RunStatus::Succeeded => Ok(tried("done", Some(report))),
        Ok(report) => {
            if let Some(error) = &report.error {
                eprint!("{}", crate::show::error::render_body("error", error, context.err));
            }
            Ok(tried("failed", Some(report)))
        }
        Err(Failure::Told(2)) => Ok(tried("refused", None)),
        Err(other) => Err(other),
    }
}

async fn native(
    args: &Diff,
    opened: &Opened,
    state_dir: &Path,
    stop: &CancellationToken,
    context: &Context,
) -> Result<RunReport, Failure> {
    let lanes = opened.lanes(None);
    let plan = opened.plan(Some(lanes), false, context).await?;
    let mut options = RunOptions::new(state_dir);
    options.parallelism = lanes;
    options.max_memory_bytes = args.max_memory;
    options.stop = stop.clone();
    Ok(weir_engine::run(plan, options, &mut weir_engine::events::Silent).await)
}

async fn compare(args: &Diff, opened: &Opened, first: &str, engine: &str, work: &Path) -> Result<Vec<Compared>> {
    let mut found = Vec::new();
    for node in opened.pipeline.of(Role::Sink) {
        let folder = |of: &str| place_of(work, of, &node.name);
        let format =
            redirected(opened, engine, work)?.node(&node.name).map_or(Value::Null, |node| node.options["format"].clone());
        let bags = bags::Bags::open(&opened.registry, [folder(first), folder(engine)], &format, args.max_memory).await?;
        let (rows, difference) = bags.compare(args.list).await?;
        found.push(Compared { sink: node.name.clone(), rows, equal: difference.is_none(), difference });
    }
    Ok(found)
}

fn print(args: &Diff, tried: &[Tried], context: &Context) -> Outcome {
    let differs = |one: &Tried| one.status == "failed" || one.sinks.iter().any(|sink| !sink.equal);
    let code = match (tried.iter().any(differs), tried.iter().any(|one| one.status == "refused")) {
        (true, _) => 1,
        (false, true) => 2,
        (false, false) => 0,
    };
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", json!({"equal": code == 0, "engines": tried}))?;
        return Ok(code);
    }
    let first = tried.first().map_or("", |one| one.engine.as_str());
    for one in tried {
        let took = one.report.as_ref().map_or(String::new(), |report| number::time(Duration::from_millis(report.duration_ms)));
        if one.sinks.is_empty() {
            let said = match one.status {
                "refused" => "cannot run this pipeline".to_owned(),
                status => format!("{status} in {took}"),
            };
            writeln!(out, "{:14} {said}", one.engine)?;
        }
        for sink in &one.sinks {
            let verdict = if sink.equal { context.out.green("equal") } else { context.out.red("differs") };
            writeln!(out, "{:14} {} in {took}  {}  {}  {verdict}", one.engine, one.status, sink.sink, number::rows(sink.rows))?;
            for line in sink.difference.lines(first, &one.engine) {
                writeln!(out, "{:14}   {line}", "")?;
            }
        }
    }
    Ok(code)
}

/// The work folder. One that was made here goes at the end.
struct Work(PathBuf, bool);

impl Work {
    fn new(asked: Option<&Path>) -> Result<Self> {
        let folder = match asked {
            Some(folder) => folder.to_owned(),
            None => std::env::temp_dir().join(format!("weir-diff-{}", uuid::Uuid::now_v7().simple())),
        };
        let place = |error: std::io::Error| Error::from(error).at(folder.display().to_string());
        std::fs::create_dir_all(&folder).map_err(place)?;
        let whole = folder.canonicalize().map_err(place)?;
        if asked.is_some() && std::fs::read_dir(&whole).map_err(place)?.next().is_some() {
            return Err(Error::new("WEIR-CLI-087", Kind::Conflict, "the work folder is not empty")
                .at(whole.display().to_string())
                .because("rows of an earlier comparison would be taken for new ones")
                .hint("name a new folder"));
        }
        Ok(Self(whole, asked.is_none()))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.1 {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_engines_at_least_and_each_once() {
        let asked = |names: &[&str]| engines(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(asked(&["native", "kafka_connect", "native"]).unwrap(), ["native", "kafka-connect"]);
        assert_eq!(asked(&["flink", " flink "]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_work_folder_with_rows_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Work::new(Some(&dir.path().join("new"))).is_ok());
        std::fs::write(dir.path().join("new/rows"), "").unwrap();
        let refused = Work::new(Some(&dir.path().join("new"))).err().unwrap();
        assert_eq!(refused.code(), "WEIR-CLI-087");
        let made = Work::new(None).unwrap().0.clone();
        assert!(!made.exists(), "it went with its value");
    }
}
