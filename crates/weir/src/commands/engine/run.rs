//! `weir run` with another engine (`--engine`, or `engine` of the pipeline): the pipeline becomes the engine's own artefact, is handed over, and is followed until it ends.
//!
//! Ctrl-C ends a batch job; a stream is stopped with a savepoint, and the same command goes on from there. A second Ctrl-C leaves the job running on the
//! engine; the next command finds it.

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use weir_engine::RunReport;
use weir_error::{Error, Kind, Result};
use weir_runners::client::ledger::Ledger;
use weir_runners::client::{Begun, EngineClient, Event, Job, OnStop, Outcome as JobOutcome, Watch, launch};
use weir_runners::seam::State;
use weir_spec::model::Mode;

use super::told::Told;
use super::{compiled, place, report};
use crate::cli::{Progress, Run};
use crate::commands::Context;
use crate::outcome::{Failure, Outcome};
use crate::planning::Opened;
use crate::process::{block_on, stop_on_signals_saying};

/// Runs it there.
pub fn execute(args: &Run, opened: &Opened, engine: &str, context: &Context, again: &str) -> Outcome {
    only_native(args)?;
    let opened = opened.for_engines(args.json, context)?;
    let state = args.start_from.as_deref().map(crate::commands::compile::state).transpose()?;
    let client = place::client(engine, &opened, &args.place, &args.state.state_dir, context)?;
    let progress = crate::report::choose(args.progress);
    block_on(async {
        let stop = CancellationToken::new();
        stop_on_signals_saying(
            stop.clone(),
            context.err,
            "the engine is asked to stop the job; again to leave it running there",
        )?;
        let state_dir = &args.state.state_dir;
        let task =
            Task { opened: &opened, client: client.as_ref(), state_dir, start_from: state.as_ref(), progress, json: args.json };
        let report = task.run(&stop, context).await?;
        let object = || serde_json::to_string(&report).map_err(std::io::Error::from);
        match progress {
            Progress::Json if !args.json => writeln!(std::io::stderr(), "{{\"event\":\"report\",\"report\":{}}}", object()?)?,
            Progress::Json | Progress::None => {}
            Progress::Auto | Progress::Bars | Progress::Plain => {
                write!(std::io::stderr(), "{}", report::render(&report, client.engine(), context.err, again))?;
            }
        }
        if args.json {
            writeln!(std::io::stdout(), "{}", object()?)?;
        }
        Ok(report.exit_code())
    })
}

/// Options that mean something to our own engine only.
fn only_native(args: &Run) -> Result<()> {
    let given = [
        (args.until_caught_up, "--until-caught-up"),
        (args.from_savepoint.is_some(), "--from-savepoint"),
        (args.checkpoint_interval.is_some(), "--checkpoint-interval"),
        (args.parallelism.is_some(), "--parallelism"),
    ];
    match given.iter().find(|(given, _)| *given) {
        None => Ok(()),
        Some((_, option)) => Err(Error::new("WEIR-CLI-082", Kind::Spec, format!("`{option}` is for the native engine"))
            .hint("`parallelism` and `checkpoint_interval_ms` of the pipeline file are for all engines")),
    }
}

/// One run of one pipeline on one engine.
pub struct Task<'a> {
    pub opened: &'a Opened,
    pub client: &'a dyn EngineClient,
    pub state_dir: &'a Path,
    /// Where the job begins, unless the engine has one to go on with.
    pub start_from: Option<&'a State>,
    pub progress: Progress,
    pub json: bool,
}

impl Task<'_> {
    /// Compiles, hands over, follows. What stands against it before the engine has the job is an error; afterwards it is in the report.
    pub async fn run(&self, stop: &CancellationToken, context: &Context) -> Result<RunReport, Failure> {
        let begin = Instant::now();
        let (client, pipeline) = (self.client, &self.opened.pipeline);
        let version = client.version().await?;
        let target = compiled::target(client.engine(), &version)?;
        let artefacts = compiled::compiled(self.opened, target, self.start_from, self.json, context).await?;
        let run_id = uuid::Uuid::now_v7().simple().to_string();
        let submission = compiled::submission(self.opened, &artefacts, client, &run_id)?;
        let ledger = Ledger::open(self.state_dir, &pipeline.name, client.engine())?;
        let bounded = matches!(pipeline.mode, Mode::Batch | Mode::Incremental);
        let watch = Watch { on_stop: if bounded { OnStop::Cancel } else { OnStop::Suspend }, ..Watch::default() };
        let place = client.place();
        let told = Mutex::new(Told::new(client.engine(), self.progress, context.err));
        let lock = || told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut job = None;
        let mut begun = |handed: &Job, how: Begun| {
            lock().begun(&place, handed, &how);
            job = Some(handed.clone());
        };
        let mut tell = |event: Event<'_>| lock().event(&event);
        let ended = launch(client, &ledger, submission, &watch, stop, &mut begun, &mut tell).await?;
        let duration_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let run = report::Run {
            engine: client.engine(),
            run_id: &run_id,
            pipeline: &pipeline.name,
            guarantee: weir_runners::compile::word(artefacts.delivery),
            duration_ms,
            notes: &artefacts.notes,
        };
        if let (JobOutcome::Failed(_), Some(job)) = (&ended.outcome, &job) {
            self.log(job).await;
        }
        Ok(report::report(&run, ended))
    }
    /// `-v`: what the engine logged of a job that failed.
    async fn log(&self, job: &Job) {
        if tracing::enabled!(tracing::Level::INFO) {
            match self.client.logs(job).await {
                Ok(lines) => lines.iter().for_each(|line| tracing::info!("{}: {line}", self.client.engine())),
                Err(error) => tracing::info!("{} says no more of the job: {error}", self.client.engine()),
            }
        }
    }
}
