//! `weir serve`: the API, the loops and, unless told otherwise, the workers, in one process. `weir worker`: the same without the API.
//!
//! * [`setup`]: settings from all layers, logging;
//! * `loops`: what runs beside the API, and how it ends.
//!
//! SIGTERM or Ctrl-C drains: nothing new is begun, requests and runs get their time, runs go back into the queue with a checkpoint.

mod loops;
pub mod setup;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use weir_control::Platform;
use weir_control::access::bootstrap;
use weir_control::config::{Environment, Inputs, Loaded, Settings};
use weir_error::{Error, Kind, Result};

use crate::checkpoints;
use crate::cli;
use crate::commands::Context;
use crate::outcome::Outcome;
use crate::placement;
use crate::process::block_on_platform;
use crate::workbench::Bench;
use loops::Loops;

pub fn execute(args: &cli::Serve, context: &Context) -> Outcome {
    let inputs = setup::inputs(&args.settings)
        .flag("environment", "--dev", args.dev.then(|| "development".into()))
        .flag("listen", "--listen", args.listen.clone())
        .flag("max_concurrent_jobs", "--workers", args.workers.map(|workers| workers.to_string()))
        .flag("scheduler", "--no-scheduler", args.no_scheduler.then(|| "false".into()));
    serve(inputs, context)
}

/// Serves until told to stop.
pub fn serve(inputs: Inputs, context: &Context) -> Outcome {
    let Loaded { settings, effective, .. } = setup::loaded(&inputs, context)?;
    setup::start_logging(&settings);
    block_on_platform(async {
        let stop = CancellationToken::new();
        setup::stop_on_signals(stop.clone())?;
        // Before anything else: a second server on the same address must not touch the database first.
        let listener = bind(settings.listen, "the API").await?;
        let metrics = match settings.metrics_listen {
            Some(address) => Some(bind(address, "metrics").await?),
            None => None,
        };
        let platform = open(settings).await?.with_effective(&effective);
        let token = bootstrap(&platform.store, &platform.settings).await?;
        announce(&platform.settings, listener.local_addr()?, metrics.as_ref(), token.as_ref().map(|token| token.expose()))?;

        let mut loops = Loops::new(stop.clone());
        loops.serve(&platform, listener, metrics);
        loops.all(&platform)?;
        loops.until_stopped(&platform.settings).await
    })
}

/// `weir worker`: takes runs from the queue of the database that the settings name.
pub fn work(args: &cli::Worker, context: &Context) -> Outcome {
    let workers = args.workers.map(|workers| workers.to_string());
    let places = cli::Settings { config: args.config.clone(), data: args.data.clone(), files: args.files.clone() };
    let settings = setup::load(&setup::inputs(&places).flag("max_concurrent_jobs", "--workers", workers), context)?;
    if settings.max_concurrent_jobs == 0 {
        return Err(Error::new("WEIR-CLI-060", Kind::Spec, "a worker without slots does nothing")
            .because("MAX_CONCURRENT_JOBS is 0")
            .hint("give it some: --workers 4")
            .into());
    }
    setup::start_logging(&settings);
    block_on_platform(async {
        let stop = CancellationToken::new();
        setup::stop_on_signals(stop.clone())?;
        let metrics = match settings.metrics_listen {
            Some(address) => Some(bind(address, "metrics").await?),
            None => None,
        };
        let platform = open(settings).await?;
        let (runner, slots) = (&platform.settings.runner_id, platform.settings.max_concurrent_jobs);
        writeln!(std::io::stdout(), "weir worker {runner} takes runs, {slots} at a time")?;
        let mut loops = Loops::new(stop.clone());
        loops.metrics(&platform, metrics);
        loops.work(&platform)?;
        loops.until_stopped(&platform.settings).await
    })
}

async fn open(settings: Settings) -> Result<Platform> {
    let checkpoints = checkpoints::open(&settings).await?;
    let cluster = placement::open(&settings)?;
    Ok(Platform::open(settings, Arc::new(Bench::new())).await?.with_checkpoints(checkpoints).with_cluster(cluster))
}

async fn bind(address: SocketAddr, what: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let told = Error::new("WEIR-CLI-061", Kind::Io, format!("{what} cannot listen")).at(address.to_string());
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                told.because("somebody else listens there").hint("stop it, or choose another address: --listen, METRICS_PORT")
            }
            std::io::ErrorKind::PermissionDenied => told
                .because("the system does not allow this user so low a port")
                .hint("choose a port above 1023: --listen 127.0.0.1:8080"),
            std::io::ErrorKind::AddrNotAvailable => {
                told.because("this machine has no such address").hint("--listen 0.0.0.0:8080 means all addresses")
            }
            _ => told.caused_by(error),
        }
    })
}

/// What a person must know: on stdout, so that it is not lost among log lines.
fn announce(settings: &Settings, address: SocketAddr, metrics: Option<&TcpListener>, token: Option<&str>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "weir listens on http://{address}")?;
    if let Some(address) = metrics.and_then(|listener| listener.local_addr().ok()) {
        writeln!(out, "metrics are on http://{address}{}", settings.metrics_path)?;
    }
    match (settings.environment, token) {
        (Environment::Development, _) => writeln!(out, "development: no token is needed on this machine")?,
        (Environment::Production, Some(token)) => {
            writeln!(out, "token of the first administrator, shown this once: {token}")?;
        }
        (Environment::Production, None) => {}
    }
    Ok(out.flush()?)
}
