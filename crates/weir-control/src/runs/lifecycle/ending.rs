//! How a child's process ended, as the worker saw it.

use serde_json::Value;
use weir_error::Error;

/// What the system says of the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// An exit code: 0 done, 1 failed, 2 bad spec, 3 cannot connect, 4 dead letters, 130 interrupted.
    Code(i32),
    /// A signal.
    Signal(i32),
}

impl From<std::process::ExitStatus> for Exit {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

/// Why the worker stopped the child.
#[derive(Debug)]
pub enum Stop {
    /// Somebody asked to cancel the run.
    Cancel,
    /// The worker shuts down.
    Drain,
    /// It went over a limit, which the error names.
    Limit(Error),
}

/// How an attempt ended.
#[derive(Debug)]
pub struct Ending {
    /// The engine's report, if one came.
    pub report: Option<Value>,
    /// How the process ended; `None`: it was never started, for the reason in `refused`.
    pub exit: Option<Exit>,
    /// Why the worker stopped it, if it did.
    pub stop: Option<Stop>,
    /// Why it could not be started.
    pub refused: Option<Error>,
    /// The end of what it wrote to standard error, clean and without secrets.
    pub said: String,
    /// The kernel killed something for want of memory while it ran.
    pub kernel_out_of_memory: bool,
}

impl Ending {
    /// One that never began.
    pub fn refused(error: Error) -> Self {
        Self { report: None, exit: None, stop: None, refused: Some(error), said: String::new(), kernel_out_of_memory: false }
    }
}
