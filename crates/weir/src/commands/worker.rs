//! `weir worker`: takes runs from the queue of a platform and executes them; serves nothing. As many as wanted, on machines that share the
//! database and the data folder.

use crate::cli::Worker;
use crate::commands::{Context, serve};
use crate::outcome::Outcome;

pub fn execute(args: &Worker, context: &Context) -> Outcome {
    serve::work(args, context)
}
