//! What a process needs once: logging, the async runtime with TLS, signals.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use weir_control::telemetry::logs::{NO_DATA, Veiled};
use weir_error::{Error, Result};

use crate::show::style::Style;

/// Tracing to stderr, for `-v` or `RUST_LOG`; without either nothing is installed.
pub fn start_logging(verbose: u8) {
    let filter = match (std::env::var("RUST_LOG"), verbose) {
        (Ok(filter), _) if !filter.is_empty() => filter,
        (_, 0) => return,
        (_, 1) => "warn,weir=info".into(),
        (_, 2) => "info,weir=debug".into(),
        (_, _) => "debug,weir=trace".into(),
    };
    // Targets are crate paths: `weir=…` also matches weir_engine, weir_plan and the others, by prefix.
    let filter = EnvFilter::new(format!("{filter},{NO_DATA}"));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Veiled(std::io::stderr())).try_init();
}

/// Runs a future to its end on a runtime made for it, with the TLS provider installed.
pub fn block_on<T, E: From<Error>>(future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    // Lanes wait for disks and networks as much as they compute: more workers than cores keep the cores busy.
    block_on_workers((2 * cores()).max(4), cores().div_ceil(2), future)
}

/// The same for the platform's own processes, which compute little themselves. Requests are many and small: a heap for each worker, so that
/// they do not wait for each other.
pub fn block_on_platform<T, E: From<Error>>(future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let workers = cores().clamp(2, 8);
    block_on_workers(workers, workers + 1, future)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn block_on_workers<T, E: From<Error>>(workers: usize, heaps: usize, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    // An error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    limit_arenas(heaps);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().map_err(Error::from)?;
    let result = runtime.block_on(future);
    // Blocking reads that nobody waits for any more (a listing of a dead file system) must not hold the exit.
    runtime.shutdown_background();
    result
}

/// Tells glibc how many heaps to keep instead of eight for each core. A run has one for two cores: batches are made on one thread and freed on
/// another, and each heap keeps what it once had; with the default a run holds twice the memory for the same speed. `MALLOC_ARENA_MAX` still wins.
fn limit_arenas(arenas: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        let arenas = libc::c_int::try_from(arenas).unwrap_or(libc::c_int::MAX);
        // SAFETY: mallopt is a plain libc call on integers; the runtime's threads, which it concerns, do not exist yet.
        #[allow(unsafe_code)]
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas) };
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = arenas;
}

/// Watches for Ctrl-C and a polite kill. The first one cancels the token: the run makes a checkpoint and stops. The
/// second one ends the process at once, which is safe too: it is what a crash is.
pub fn stop_on_signals(stop: CancellationToken, style: Style) -> Result<()> {
    stop_on_signals_saying(stop, style, "making a checkpoint; again to stop at once")
}

/// The same, with what is said at the first signal.
pub fn stop_on_signals_saying(stop: CancellationToken, style: Style, what: &'static str) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let mut signals = 0;
        loop {
            let received = tokio::select! {
                received = interrupt.recv() => received,
                received = terminate.recv() => received,
            };
            if received.is_none() {
                return;
            }
            signals += 1;
            if signals > 1 {
                std::process::exit(130);
            }
            eprintln!("{} {what}", style.yellow("stopping:"));
            stop.cancel();
        }
    });
    Ok(())
}
