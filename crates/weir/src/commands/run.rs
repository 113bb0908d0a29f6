//! `weir run`: executes a pipeline, resumes an interrupted one, and says what happened.

use std::io::Write;
use std::time::Duration;

use weir_engine::RunOptions;

use crate::cli::{Progress, Run};
use crate::commands::{Context, engine};
use crate::outcome::Outcome;
use crate::process::{block_on, stop_on_signals};
use crate::report;

pub fn execute(args: &Run, context: &Context) -> Outcome {
    let opened = crate::planning::open(&args.file, args.json, context)?;
    let wanted = args.engine.as_ref().map(|word| word.trim().replace('_', "-"));
    let wanted = wanted.unwrap_or_else(|| opened.pipeline.engine.unwrap_or_default().word().into());
    if wanted != "native" {
        return engine::run::execute(args, &opened, &wanted, context, &same_command());
    }
    let lanes = opened.lanes(args.parallelism);
    let interval = args.checkpoint_interval.or(weir_plan::streaming::checkpoint_interval(&opened.pipeline));
    let mut options = RunOptions::new(&args.state.state_dir);
    options.journal = opened.journal()?;
    options.parallelism = lanes;
    options.max_memory_bytes = args.max_memory;
    options.until_caught_up = args.until_caught_up;
    options.from_savepoint = args.from_savepoint.clone();
    options.checkpoint_interval = interval.unwrap_or(options.checkpoint_interval);
    // Who wants to hear often of what is durable wants to hear soon of an approval.
    options.look_again = options.look_again.min(options.checkpoint_interval.max(Duration::from_millis(100)));
    block_on(async {
        stop_on_signals(options.stop.clone(), context.err)?;
        let plan = tokio::select! {
            plan = opened.plan(Some(lanes), args.json, context) => plan?,
            // Nothing has begun: there is nothing to keep.
            () = options.stop.cancelled() => return Err(weir_error::Error::cancelled().into()),
        };
        let progress = report::choose(args.progress);
        let mut reporter = report::reporter(progress, context.err);
        let result = weir_engine::run(plan, options, reporter.as_mut()).await;
        drop(reporter);
        let object = || serde_json::to_string(&result).map_err(std::io::Error::from);
        match progress {
            Progress::Json if !args.json => {
                writeln!(std::io::stderr(), "{{\"event\":\"report\",\"report\":{}}}", object()?)?;
            }
            Progress::Json | Progress::None => {}
            Progress::Auto | Progress::Bars | Progress::Plain => {
                write!(std::io::stderr(), "{}", report::summary::render(&result, context.err, &same_command()))?;
            }
        }
        if args.json {
            writeln!(std::io::stdout(), "{}", object()?)?;
        }
        Ok(result.exit_code())
    })
}

/// The command as it was typed, so that it can be copied.
fn same_command() -> String {
    let words = std::env::args().skip(1).map(|word| {
        let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c));
        if plain { word } else { format!("'{}'", word.replace('\'', "'\\''")) }
    });
    std::iter::once("weir".to_string()).chain(words).collect::<Vec<_>>().join(" ")
}
