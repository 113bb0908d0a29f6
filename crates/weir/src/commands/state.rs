//! `weir state`: where pipelines stand.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use weir_connect::Objects;
use weir_engine::journal::Journals;
use weir_engine::store::StateStore;
use weir_engine::store::inspect::PipelineView;
use weir_error::{Error, Kind};
use weir_spec::Pipeline;

use crate::cli::{File, StateReset, StateShow};
use crate::commands::Context;
use crate::outcome::{Failure, Outcome};
use crate::process::block_on;
use crate::show::number;
use crate::show::table::Table;

/// Opens the state of a folder that has one. Looking must not create anything.
pub async fn existing(folder: &Path) -> Result<StateStore, Failure> {
    if !folder.join("state.db").is_file() {
        return Err(Error::new("WEIR-CLI-030", Kind::NotFound, "there is no state here yet")
            .at(folder.display().to_string())
            .hint("run a pipeline first, or name the folder with --state-dir")
            .into());
    }
    Ok(StateStore::open(folder).await?)
}

/// A pipeline's name from what was typed: a name, or the file that holds one pipeline.
pub fn pipeline_name(typed: &str) -> Result<String, Failure> {
    let path = Path::new(typed);
    if !path.is_file() {
        return Ok(typed.to_string());
    }
    let registry = weir_connectors::registry::registry();
    let file = crate::pipeline_file::PipelineFile::open(path, &registry)?;
    Ok(file.choose(None)?.name.clone())
}

pub fn show(args: &StateShow, context: &Context) -> Outcome {
    let name = args.pipeline.as_deref().map(pipeline_name).transpose()?;
    block_on(async {
        let store = existing(&args.state.state_dir).await?;
        let names = match name {
            Some(name) => vec![name],
            None => store.pipelines().await?,
        };
        let mut out = std::io::stdout();
        let mut bodies = Vec::new();
        for name in &names {
            let view = store.show(name).await?;
            if view.runs.is_empty() && view.streams.is_empty() && args.pipeline.is_some() {
                return Err(unknown(name, &store).await);
            }
            if args.json {
                bodies.push(json!({"pipeline": name, "state": view}));
            } else {
                write!(out, "{}", text(name, &view, context))?;
            }
        }
        if args.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&bodies).map_err(std::io::Error::from)?)?;
        } else if names.is_empty() {
            writeln!(std::io::stderr(), "no pipeline has run yet")?;
        }
        Ok(0)
    })
}

async fn unknown(name: &str, store: &StateStore) -> Failure {
    let known = store.pipelines().await.unwrap_or_default().join(", ");
    let error = Error::new("WEIR-CLI-031", Kind::NotFound, format!("nothing is known of pipeline `{name}`"));
    let error = if known.is_empty() { error } else { error.because(format!("there is state of: {known}")) };
    error.into()
}

fn text(name: &str, view: &PipelineView, context: &Context) -> String {
    let mut text = format!("{}\n", context.out.bold(name));
    let last = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    if !view.streams.is_empty() {
        let mut table = Table::new(["stream", "source", "cursor", "last run time"]).indent(2);
        for stream in &view.streams {
            table.row([stream.stream.clone(), stream.node.clone(), last(&stream.cursor), last(&stream.last_run_time)]);
        }
        text.push_str(&table.render());
    }
    if !view.splits.is_empty() {
        let mut table = Table::new(["stream", "split", "rows", "position"]).right(2).indent(2);
        for part in &view.splits {
            let position = match (&part.position, part.done) {
                (_, true) => "closed".to_string(),
                (Some(position), false) => position.to_string(),
                (None, false) => "-".into(),
            };
            table.row([part.stream.clone(), part.split.clone(), number::grouped(part.rows), position]);
        }
        text.push_str(&table.render());
    }
    for kept in &view.kept {
        let bytes = number::bytes(kept.bytes);
        text.push_str(&format!("  {} keeps state as of epoch {}, {bytes} on disk\n", kept.stream, kept.epoch));
    }
    let mut table = Table::new(["run", "status", "attempts", "checkpoints", "started"]).right(2).right(3).indent(2);
    for run in &view.runs {
        table.row([
            run.run_id.clone(),
            run.status.clone(),
            run.attempts.to_string(),
            run.checkpoints.to_string(),
            run.started_at.split('.').next().unwrap_or_default().to_string(),
        ]);
    }
    text.push_str(&table.render());
    // What the last attempt left waiting.
    let last = view.runs.first().filter(|run| run.status != "succeeded");
    for held in last.and_then(|run| run.report.as_ref()?["held"].as_array()).into_iter().flatten() {
        let [stream, sink] = ["stream", "sink"].map(|key| held[key].as_str().unwrap_or_default());
        text.push_str(&format!("  {stream} waits for an approval at sink {sink}   weir journal ls\n"));
    }
    if view.dead_letters > 0 {
        let count = number::counted(view.dead_letters.unsigned_abs(), "dead letter waits", "dead letters wait");
        text.push_str(&format!("  {count}   weir dead show {name}\n"));
    }
    text
}

/// A pipeline with the bucket that it names for its journal.
type Kept = (Arc<Pipeline>, Arc<dyn Objects>);

/// Of a file, if it is one.
fn journal_in_a_bucket(typed: &str, context: &Context) -> Result<Option<Kept>, Failure> {
    let file = File { file: typed.into(), pipeline: None };
    if !file.file.is_file() {
        return Ok(None);
    }
    let opened = crate::planning::open(&file, false, context)?;
    Ok(opened.journal()?.map(|objects| (opened.pipeline, objects)))
}

pub fn reset(args: &StateReset, context: &Context) -> Outcome {
    let name = pipeline_name(&args.pipeline)?;
    let elsewhere = journal_in_a_bucket(&args.pipeline, context)?;
    block_on(async {
        let store = existing(&args.state.state_dir).await?;
        if let (Some((pipeline, objects)), None) = (elsewhere, &args.stream) {
            // First: a journal that is left over would say where to go on.
            Journals::new(&args.state.state_dir, Some(objects)).clear(&pipeline).await?;
        }
        let forgotten = store.reset(&name, args.stream.as_deref()).await?;
        if forgotten == 0 {
            let view = store.show(&name).await?;
            if view.runs.is_empty() {
                return Err(unknown(&name, &store).await);
            }
            writeln!(std::io::stderr(), "there was nothing to forget: the next run of {name} starts from the beginning anyway")?;
        } else {
            writeln!(std::io::stderr(), "forgotten: the next run of {name} starts from the beginning")?;
        }
        Ok(0)
    })
}
