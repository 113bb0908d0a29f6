//! How a command ends, and the exit code that follows.
//!
//! 0 done · 1 failed · 2 bad spec or usage · 3 cannot connect · 4 dead letters over the limit · 5 a stream waits for an
//! approval · 130 interrupted.

use std::io::Write;

use serde_json::json;
use weir_error::Error;

use crate::commands::Context;
use crate::show::error;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// To be told, then the error's own exit code.
    Error(Error),
    /// Told already: only the exit code is left.
    Told(u8),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // The reader of our output has gone (`weir query … | head`): not a failure, and nobody to tell.
        if error.kind() == std::io::ErrorKind::BrokenPipe { Self::Told(0) } else { Self::Error(error.into()) }
    }
}

/// A command's result: its exit code, or why there is a bad one.
pub type Outcome = Result<u8, Failure>;

/// Tells an error that was not told yet: on stderr for people, with `--json` as one object on stdout.
pub fn conclude(outcome: Outcome, json: bool, context: &Context) -> u8 {
    match outcome {
        Ok(code) | Err(Failure::Told(code)) => code,
        Err(Failure::Error(error)) => {
            if broken_pipe(&error) {
                return 0;
            }
            if json {
                let _ = writeln!(std::io::stdout(), "{}", json!({"status": "failed", "error": error.to_json()}));
            } else {
                let _ = write!(std::io::stderr(), "{}", error::render(&error, context.err));
            }
            error.exit_code()
        }
    }
}

fn broken_pipe(error: &Error) -> bool {
    use std::error::Error as _;
    let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}
