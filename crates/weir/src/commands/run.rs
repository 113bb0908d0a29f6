//! `weir run`: executes a pipeline, resumes an interrupted one, and says what happened.

use std::io::Write;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_engine::{RunOptions, RunReport, RunStatus};
use weir_error::Result;
use weir_plan::Plan;

use crate::cli::{Progress, Run};
use crate::commands::{Context, engine, reload};
use crate::outcome::{Failure, Outcome};
use crate::planning::Opened;
use crate::process::{block_on, stop_on_signals};
use crate::report;

pub fn execute(args: &Run, context: &Context) -> Outcome {
    let opened = crate::planning::open(&args.file, args.json, context)?;
    let wanted = args.engine.as_ref().map(|word| word.trim().replace('_', "-"));
    let wanted = wanted.unwrap_or_else(|| opened.pipeline.engine.unwrap_or_default().word().into());
    if wanted != "native" {
        return engine::run::execute(args, &opened, &wanted, context, &same_command());
    }
    if args.start_from.is_some() {
        return Err(weir_error::Error::new("WEIR-CLI-082", weir_error::Kind::Spec, "`--start-from` is for other engines")
            .hint("`weir state import` brings a state back to the native engine")
            .into());
    }
    block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals(stop.clone(), context.err)?;
        let plan = tokio::select! {
            plan = opened.plan(Some(opened.lanes(args.parallelism)), args.json, context) => plan?,
            // Nothing has begun: there is nothing to keep.
            () = stop.cancelled() => return Err(weir_error::Error::cancelled().into()),
        };
        let mut next = Some((opened, plan, args.from_savepoint.clone()));
        let mut result = None;
        while let Some((opened, plan, from_savepoint)) = next.take() {
            let mut options = options(args, &opened, stop.child_token())?;
            options.from_savepoint = from_savepoint;
            let (report, changed) = part(args, &opened, plan, options, context).await;
            if report.status == RunStatus::Interrupted && !stop.is_cancelled() {
                next = changed.map(|(opened, plan)| (opened, plan, None));
            }
            tell(args, &report, next.is_some(), context)?;
            result = Some(report);
        }
        Ok(result.map_or(1, |report| report.exit_code()))
    })
}

/// Runs the plan, until it ends or its file is to be taken up again; then with what goes on after it.
async fn part(
    args: &Run,
    opened: &Opened,
    plan: Plan,
    options: RunOptions,
    context: &Context,
) -> (RunReport, Option<(Opened, Plan)>) {
    let progress = report::choose(args.progress);
    let mut reporter = report::reporter(progress, context.err);
    let (stop, every) = (options.stop.clone(), options.look_again);
    let mut run = pin!(weir_engine::run(plan, options, reporter.as_mut()));
    if !reload::takes_up(&opened.pipeline) || args.file.file == Path::new("-") {
        return (run.await, None);
    }
    tokio::select! {
        report = &mut run => (report, None),
        changed = reload::asked(args, opened, every, progress, context) => {
            stop.cancel();
            (run.await, Some(changed))
        }
    }
}

fn options(args: &Run, opened: &Opened, stop: CancellationToken) -> Result<RunOptions> {
    let interval = args.checkpoint_interval.or(weir_plan::streaming::checkpoint_interval(&opened.pipeline));
    let mut options = RunOptions::new(&args.state.state_dir);
    options.stop = stop;
    options.journal = opened.journal()?;
    options.parallelism = opened.lanes(args.parallelism);
    options.max_memory_bytes = args.max_memory;
    options.until_caught_up = args.until_caught_up;
    options.checkpoint_interval = interval.unwrap_or(options.checkpoint_interval);
    // Who wants to hear often of what is durable wants to hear soon of an approval.
    options.look_again = options.look_again.min(options.checkpoint_interval.max(Duration::from_millis(100)));
    Ok(options)
}

/// What has happened; of a run that `goes_on` with another file, what it did with the one before. The object on stdout is that of the last one.
fn tell(args: &Run, result: &RunReport, goes_on: bool, context: &Context) -> Result<(), Failure> {
    let progress = report::choose(args.progress);
    let object = || serde_json::to_string(result).map_err(std::io::Error::from);
    match progress {
        Progress::Json if !args.json || goes_on => {
            writeln!(std::io::stderr(), "{{\"event\":\"report\",\"report\":{}}}", object()?)?;
        }
        Progress::Json | Progress::None => {}
        Progress::Auto | Progress::Bars | Progress::Plain if goes_on => {
            writeln!(std::io::stderr(), "until here: {}", report::summary::reconciliation(&result.streams))?;
        }
        Progress::Auto | Progress::Bars | Progress::Plain => {
            write!(std::io::stderr(), "{}", report::summary::render(result, context.err, &same_command()))?;
        }
    }
    if args.json && !goes_on {
        writeln!(std::io::stdout(), "{}", object()?)?;
    }
    Ok(())
}

/// The command as it was typed, so that it can be copied.
fn same_command() -> String {
    let words = std::env::args().skip(1).map(|word| {
        let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c));
        if plain { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    std::iter::once("weir".to_string()).chain(words).collect::<Vec<_>>().join(" ")
}
