//! `weir reload`: a run that has no end takes up its edited file. The asking, and what the run does with it.
//!
//! The run makes a checkpoint, ends, and begins again in the same process with the new plan, as if it had been stopped, edited and started. The new file is
//! planned before the old run is stopped; what would be refused is told, and the run goes on as it was.

use std::io::Write;
use std::time::Duration;

use serde_json::json;
use weir_engine::store::{StateStore, Wanted, Wish};
use weir_error::{Error, Kind, Result};
use weir_plan::Plan;
use weir_spec::{Mode, Pipeline};

use crate::cli::{Progress, Reload, Run};
use crate::commands::Context;
use crate::commands::state::existing;
use crate::outcome::{Failure, Outcome};
use crate::planning::Opened;
use crate::process::block_on;

pub fn execute(args: &Reload, context: &Context) -> Outcome {
    let opened = crate::planning::open(&args.file, args.json, context)?;
    let pipeline = &opened.pipeline;
    let name = &pipeline.name;
    if !takes_up(pipeline) {
        return Err(Error::new("WEIR-CLI-120", Kind::Spec, format!("a run of `{name}` takes up no other file"))
            .at(opened.file.name.clone())
            .because("only a run of `mode: cdc` or `mode: streaming` has no end of its own")
            .hint("the next run reads the file as it is then")
            .into());
    }
    block_on(async {
        let store = existing(&args.state.state_dir).await?;
        if !weir_engine::going_on(&args.state.state_dir, name) {
            return Err(Error::new("WEIR-CLI-121", Kind::NotFound, format!("no run of `{name}` is going on here"))
                .at(args.state.state_dir.display().to_string())
                .hint("`weir run FILE` reads the file as it is; --state-dir names the folder of a run that is going on")
                .into());
        }
        // Whoever asks hears of mistakes, not only the run.
        opened.plan(None, args.json, context).await?;
        store.wish(name, Wish::RUN, &Wanted::Reload).await?;
        if args.json {
            let body = json!({"pipeline": name, "asked": true});
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&body).map_err(std::io::Error::from)?)?;
        } else {
            writeln!(std::io::stderr(), "{name}: the run that is going on takes the file up within seconds, and says so")?;
        }
        Ok(0)
    })
}

/// Whether a native run of it can be asked to take up another file.
pub fn takes_up(pipeline: &Pipeline) -> bool {
    matches!(pipeline.mode, Mode::Cdc | Mode::Streaming)
}

/// Waits until the run is asked to take up its file, and the file can be: comes back with it, planned. What cannot be is told.
pub async fn asked(args: &Run, running: &Opened, every: Duration, progress: Progress, context: &Context) -> (Opened, Plan) {
    let mut store = None;
    loop {
        tokio::time::sleep(every).await;
        // A store that does not answer is met by the run itself, which says so.
        if store.is_none() {
            store = StateStore::open(&args.state.state_dir).await.ok();
        }
        let Some(open) = &store else { continue };
        let name = &running.pipeline.name;
        let Ok(wishes) = open.wishes(name, Wish::RUN).await else { continue };
        let ids: Vec<String> = wishes.into_iter().filter(|wish| wish.wanted == Wanted::Reload).map(|wish| wish.id).collect();
        // Forgotten before it is done: a process that ends in between begins with the new file anyway.
        if ids.is_empty() || open.granted(name, &ids).await.is_err() {
            continue;
        }
        match read(args, running, context).await {
            Ok(next) => {
                tell(progress, context, None);
                return next;
            }
            Err(failure) => {
                let why = match failure {
                    Failure::Error(error) => weir_error::chain(&error),
                    Failure::Told(_) => "it has mistakes".into(),
                };
                tell(progress, context, Some(&why));
            }
        }
    }
}

async fn read(args: &Run, running: &Opened, context: &Context) -> Result<(Opened, Plan), Failure> {
    // Never as JSON: standard output is for the run's result.
    let opened = crate::planning::open(&args.file, false, context)?;
    let (old, new) = (&running.pipeline, &opened.pipeline);
    if new.name != old.name || new.mode != old.mode || new.engine != old.engine {
        return Err(Error::new("WEIR-CLI-122", Kind::Spec, "the name, the mode or the engine of the pipeline is another one")
            .at(opened.file.name.clone())
            .hint("stop the run, and start the other pipeline")
            .into());
    }
    let plan = opened.plan(Some(opened.lanes(args.parallelism)), false, context).await?;
    Ok((opened, plan))
}

fn tell(progress: Progress, context: &Context, refused: Option<&str>) {
    match (progress, refused) {
        (Progress::Json, _) => eprintln!("{}", json!({"event": "reload", "taken_up": refused.is_none(), "reason": refused})),
        (_, None) => {
            eprintln!("{} the file has changed; making a checkpoint and going on with it", context.err.yellow("reloading:"))
        }
        (_, Some(why)) => eprintln!("{} {why}; the run goes on as it was", context.err.yellow("not reloaded:")),
    }
}
