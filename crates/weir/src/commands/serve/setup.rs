//! Settings from all layers, logging, signals: what every command of the platform begins with.

use tokio_util::sync::CancellationToken;
use weir_control::config::{Inputs, Loaded, Settings, load as load_layers, show};
use weir_error::Result;

use crate::cli;
use crate::commands::Context;

/// The environment, and what was typed.
pub fn inputs(args: &cli::Settings) -> Inputs {
    let mut inputs = Inputs::from_environment();
    if let Some(file) = &args.config {
        inputs.file = Some(file.clone());
    }
    inputs.flag("data_dir", "--data", args.data.as_ref().map(|path| path.display().to_string())).flag(
        "files",
        "--files",
        args.files.clone(),
    )
}

/// Settings in effect; warnings are told.
pub fn load(inputs: &Inputs, context: &Context) -> Result<Settings> {
    Ok(loaded(inputs, context)?.settings)
}

/// The same with where each value came from.
pub fn loaded(inputs: &Inputs, context: &Context) -> Result<Loaded> {
    let loaded = load_layers(inputs)?;
    // Before anything is said of them.
    show::remember_secrets(&loaded.effective);
    for warning in &loaded.warnings {
        eprintln!("{} {warning}", context.err.yellow("warning:"));
    }
    Ok(loaded)
}

/// Log lines from now on. RUST_LOG, which was looked at before, wins.
pub fn start_logging(settings: &Settings) {
    weir_control::telemetry::logs::start(settings);
}

/// Ctrl-C and a polite kill: the first one drains, the second one ends the process at once, which is safe too: it is what a crash is.
pub fn stop_on_signals(stop: CancellationToken) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let mut before = false;
        loop {
            let received = tokio::select! {
                received = interrupt.recv() => received,
                received = terminate.recv() => received,
            };
            if received.is_none() {
                return;
            }
            if before {
                std::process::exit(130);
            }
            before = true;
            tracing::info!("stopping: nothing new is begun, runs get a checkpoint; again to stop at once");
            stop.cancel();
        }
    });
    Ok(())
}
