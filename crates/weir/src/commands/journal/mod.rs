//! `weir journal`: the durable changes between a log and its sinks. `ls` and `inspect` only look, also while a run is going on; `replay` sets
//! sinks back while none is; `approve` lets a stream that waits go on, in the run that is going on or in the next one.

mod inspect;

use std::io::Write;
use std::sync::Arc;

use serde_json::json;
use weir_engine::HeldStream;
use weir_engine::journal::Journals;
use weir_engine::look::{self, JournalView, PipelineJournals};
use weir_error::{Error, Kind};
use weir_spec::units::size_text;
use weir_spec::{Mode, Pipeline};

use crate::cli::{File, Journal, JournalApprove, JournalLs, JournalReplay, StateDir};
use crate::commands::Context;
use crate::commands::state::existing;
use crate::outcome::{Failure, Outcome};
use crate::process::block_on;
use crate::show::number;
use crate::show::table::Table;

pub fn execute(command: &Journal, context: &Context) -> Outcome {
    match command {
        Journal::Ls(args) => list(args, context),
        Journal::Inspect(args) => inspect::execute(args, context),
        Journal::Replay(args) => replay(args, context),
        Journal::Approve(args) => approve(args, context),
    }
}

/// The pipeline, which must be one that has a journal, and where that is.
fn opened(file: &File, state: &StateDir, json: bool, context: &Context) -> Result<(Arc<Pipeline>, Journals), Failure> {
    let opened = crate::planning::open(file, json, context)?;
    if opened.pipeline.mode != Mode::Cdc {
        return Err(Error::new("WEIR-CLI-070", Kind::Spec, format!("`{}` has no journal", opened.pipeline.name))
            .at(opened.file.name.clone())
            .because("only `mode: cdc` keeps one")
            .into());
    }
    let journals = Journals::new(&state.state_dir, opened.journal()?);
    Ok((opened.pipeline, journals))
}

fn none_yet(pipeline: &Pipeline, state: &std::path::Path) -> Failure {
    Error::new("WEIR-CLI-071", Kind::NotFound, format!("there is no journal of `{}` yet", pipeline.name))
        .at(state.display().to_string())
        .hint("run the pipeline first, or name the folder with --state-dir")
        .into()
}

fn list(args: &JournalLs, context: &Context) -> Outcome {
    let (pipeline, journals) = opened(&args.file, &args.state, args.json, context)?;
    block_on(async {
        let folder = &args.state.state_dir;
        existing(folder).await?;
        let found = look::journals(journals, &pipeline).await?;
        if found.journals.is_empty() {
            return Err(none_yet(&pipeline, folder));
        }
        let policy = pipeline.journal.clone().unwrap_or_default();
        let mut out = std::io::stdout();
        if args.json {
            let body = json!({
                "pipeline": pipeline.name, "running": found.running, "max_bytes": policy.max_bytes, "journals": found.journals,
            });
            writeln!(out, "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
        } else {
            write!(out, "{}", text(&pipeline, &found, policy.max_bytes, context))?;
        }
        Ok(0)
    })
}

fn text(pipeline: &Pipeline, found: &PipelineJournals, max_bytes: u64, context: &Context) -> String {
    let mut text = context.out.bold(&pipeline.name);
    text.push_str(if found.running { "   a run is going on: this is already the past\n" } else { "\n" });
    for journal in &found.journals {
        text.push_str(&format!(
            "  source {}   boundaries {} to {}   {} of {}   {}\n",
            journal.source,
            journal.first,
            journal.last,
            number::bytes(journal.bytes),
            size_text(max_bytes),
            journal.folder
        ));
        for table in [segments(journal), streams(journal), sinks(journal)] {
            text.push_str(&table.render());
        }
        for held in journal.sinks.iter().flat_map(|sink| &sink.held) {
            text.push_str(&waits(held));
        }
    }
    text
}

fn segments(journal: &JournalView) -> Table {
    let mut table =
        Table::new(["segment", "after", "last", "changes", "bytes", "last commit"]).right(1).right(2).right(3).right(4).indent(4);
    for segment in &journal.segments {
        table.row([
            segment.file.clone(),
            segment.after.to_string(),
            segment.last.to_string(),
            number::grouped(segment.changes),
            number::bytes(segment.bytes),
            segment.committed_at_us.map_or_else(|| "-".into(), inspect::time),
        ]);
    }
    table
}

fn streams(journal: &JournalView) -> Table {
    let head = ["stream", "snapshot", "creates", "updates", "deletes", "truncates", "shapes", "dead"];
    let mut table = (1..head.len()).fold(Table::new(head).indent(4), Table::right);
    for stream in &journal.streams {
        let counts = [stream.reads, stream.creates, stream.updates, stream.deletes, stream.truncates, stream.shapes, stream.dead];
        table.row(std::iter::once(stream.stream.clone()).chain(counts.map(number::grouped)));
    }
    table
}

fn sinks(journal: &JournalView) -> Table {
    let mut table = Table::new(["sink", "boundary", "behind"]).right(1).right(2).indent(4);
    for sink in &journal.sinks {
        let seq = sink.seq.map_or_else(|| "-".into(), |seq| seq.to_string());
        table.row([sink.sink.clone(), seq, number::grouped(sink.behind)]);
    }
    table
}

/// A stream that waits, in two lines.
fn waits(held: &HeldStream) -> String {
    let HeldStream { stream, sink, since_seq, rows, bytes, .. } = held;
    let count = number::counted(*rows, "change waits", "changes wait");
    let mut text = format!("    held   {stream} for sink {sink} after boundary {since_seq}: {}\n", held.change());
    text.push_str(&format!("           {count} ({})", number::bytes(*bytes)));
    if let Some(problem) = &held.problem {
        text.push_str(&format!("; what was approved could not be carried out: {problem}"));
    }
    text.push('\n');
    text
}

fn approve(args: &JournalApprove, context: &Context) -> Outcome {
    let (pipeline, journals) = opened(&args.file, &args.state, args.json, context)?;
    block_on(async {
        existing(&args.state.state_dir).await?;
        let approved = weir_engine::hold::approve(journals, &pipeline, &args.stream).await?;
        if args.json {
            let body = json!({"pipeline": pipeline.name, "approved": approved});
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
            return Ok(0);
        }
        let mut err = std::io::stderr();
        for held in &approved {
            let count = number::counted(held.rows, "change waits", "changes wait");
            writeln!(err, "{} for sink {}: {} is approved; {count}", held.stream, held.sink, held.change())?;
        }
        writeln!(err, "a run of {} that is going on applies it within seconds, else the next one does", pipeline.name)?;
        Ok(0)
    })
}

fn replay(args: &JournalReplay, context: &Context) -> Outcome {
    let (pipeline, journals) = opened(&args.file, &args.state, args.json, context)?;
    block_on(async {
        existing(&args.state.state_dir).await?;
        let done = weir_engine::back::set_back(journals, &pipeline, args.from, args.sink.as_deref()).await?;
        if args.json {
            let body = json!({"pipeline": pipeline.name, "set_back": done});
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
            return Ok(0);
        }
        let mut err = std::io::stderr();
        for sink in &done {
            let count = number::counted(sink.changes, "change comes", "changes come");
            writeln!(err, "sink {}: from boundary {} back to {}; {count} once more", sink.sink, sink.was, sink.now)?;
        }
        writeln!(err, "the next run of {} does it: until it has caught up the target shows the past", pipeline.name)?;
        Ok(0)
    })
}
