//! The bond to the worker: the order, its signs of life, and what this process may use.
//!
//! Whoever is silent for [`SILENCE`] is gone, or has lost the run: this process then ends at once, which is safe, because it is what a crash
//! is. It must not go on, because somebody else may have the run. The watch is kept by plain threads: nothing that the run does can delay it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use weir_control::worker::order::{Limits, MAX_ORDER_BYTES, ParentLine, WorkOrder};
use weir_error::{Error, Kind, Result};

use super::asking::Asking;

/// How long the worker may be silent. It speaks every two seconds; its lease is fifteen.
const SILENCE: Duration = Duration::from_secs(10);
/// The longest line after the order: an answer of the checkpoint store.
const MAX_LINE_BYTES: u64 = 256 << 20;
/// What nobody hears: the worker is gone.
const ABANDONED: i32 = 97;

/// Reads the order and begins the watch.
pub fn begin(stop: &CancellationToken, asking: &Arc<Asking>) -> Result<WorkOrder> {
    die_with_parent();
    let mut input = BufReader::new(std::io::stdin());
    let mut line = Vec::new();
    input.by_ref().take(MAX_ORDER_BYTES as u64).read_until(b'\n', &mut line)?;
    let order = WorkOrder::from_line(&line)?;
    if std::os::unix::process::parent_id() != order.parent_pid {
        return Err(Error::new("WEIR-WORKER-002", Kind::Cancelled, "the worker that gave this order is gone"));
    }
    let heard = Arc::new(Heard { last: Mutex::new(Instant::now()), until_ms: AtomicI64::new(order.lease_until_ms) });
    let (listener, stop, asking) = (heard.clone(), stop.clone(), asking.clone());
    std::thread::Builder::new().name("listen".into()).spawn(move || listen(input, &listener, &stop, &asking))?;
    std::thread::Builder::new().name("watch".into()).spawn(move || watch(&heard))?;
    Ok(order)
}

/// Reads the order of a run that is placed in a cluster. Nobody speaks to it: its cluster ends it with SIGTERM, and lets no second one begin
/// before it is gone.
pub fn placed(file: &Path) -> Result<WorkOrder> {
    let at = |error: std::io::Error| Error::from(error).at(file.display().to_string());
    let mut line = Vec::new();
    let opened = std::fs::File::open(file).map_err(at)?;
    opened.take(MAX_ORDER_BYTES as u64).read_to_end(&mut line).map_err(at)?;
    let order = WorkOrder::from_line(&line)?;
    if order.parent_pid != 0 || order.checkpoints_at_worker {
        return Err(Error::new("WEIR-WORKER-003", Kind::Spec, "this order is for a process beside its worker"));
    }
    Ok(order)
}

struct Heard {
    last: Mutex<Instant>,
    until_ms: AtomicI64,
}

fn listen(mut input: BufReader<std::io::Stdin>, heard: &Heard, stop: &CancellationToken, asking: &Asking) {
    let mut line = Vec::new();
    loop {
        line.clear();
        match input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => end_now(),
            Ok(_) => {}
        }
        match serde_json::from_slice(&line) {
            Ok(ParentLine::LeaseUntilMs(until)) => heard.until_ms.store(until, Ordering::Relaxed),
            Ok(ParentLine::Cancel(true)) => stop.cancel(),
            Ok(ParentLine::State(answer)) => asking.answered(answer),
            Ok(ParentLine::Cancel(false)) | Err(_) => {}
        }
        *heard.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

fn watch(heard: &Heard) {
    loop {
        std::thread::sleep(Duration::from_millis(250));
        let silent = heard.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        // The wall clock too: a machine that slept does not count the time on the other one.
        if silent > SILENCE || chrono::Utc::now().timestamp_millis() > heard.until_ms.load(Ordering::Relaxed) {
            end_now();
        }
    }
}

/// No destructors, no buffers, no waiting for threads.
fn end_now() -> ! {
    // SAFETY: _exit ends the process; nothing of it is used afterwards.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(ABANDONED)
    }
}

/// The kernel kills this process with the thread that started it.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    // SAFETY: prctl with these arguments takes integers and touches no memory of ours.
    #[allow(unsafe_code)]
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Limits that this process sets for itself, behind those that the worker watches: no core dumps (they would hold secrets), a ceiling for
/// memory that grows faster than it is measured, and the first place when the kernel must choose whom to kill.
pub fn limit(limits: &Limits) {
    // Twice the limit and the program itself: only what outruns the measuring of four times a second meets it.
    let ceiling = limits.memory_bytes.saturating_mul(2).saturating_add(1 << 30);
    for (what, value) in [(libc::RLIMIT_CORE, 0), (libc::RLIMIT_DATA, ceiling)] {
        let bound = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: setrlimit reads the struct, which lives until it returns. A refusal (a lower hard limit) leaves the lower limit.
        #[allow(unsafe_code)]
        unsafe {
            libc::setrlimit(what, &raw const bound);
        }
    }
    // Refused in some containers: then the kernel chooses by size, which is this process too.
    let _ = std::fs::write("/proc/self/oom_score_adj", "800");
}
