//! `weir execute`: one attempt of a run, or one errand, for the platform. Started by `weir serve` and `weir worker`, never by hand.
//!
//! * `life`: the order on standard input, the parent's signs of life, the limits of this process;
//! * `given`: connections and secrets of the order instead of the machine's;
//! * `run`: the verb `run`; `asking`: checkpoints that are kept by the worker;
//! * `errands`: connection tests, discoveries, previews; `drafts`: what a pipeline would do that is still being written; `logs`: how a job's logs stand, and what is asked of them; `letters`: its dead letters, and the verb `replay`; `say`: lines on standard output.
//!
//! Nothing of the machine is reachable from here: the environment is empty, files and addresses are guarded, secrets are those of the order.

mod asking;
mod drafts;
mod errands;
mod given;
mod letters;
mod life;
mod logs;
mod positions;
mod run;
mod say;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weir_connect::guard::{Bucket, Files, Policy};
use weir_control::files::FileBucket;
use weir_control::worker::order::{Verb, WorkOrder};
use weir_error::Error;

pub use self::run::only_native;

use self::asking::Asking;
use crate::cli::Execute;
use crate::commands::Context;
use crate::outcome::{Failure, Outcome};
use crate::process::{block_on, stop_on_signals};

pub fn execute(args: &Execute, context: &Context) -> Outcome {
    let stop = CancellationToken::new();
    let asking = Arc::new(Asking::default());
    let order = match &args.order {
        Some(file) => life::placed(file)?,
        None => life::begin(&stop, &asking)?,
    };
    match prepare(&order) {
        Ok(()) => block_on(async {
            stop_on_signals(stop.clone(), context.err)?;
            match &order.verb {
                Verb::Run => Ok::<_, Failure>(run::execute(&order, stop, asking).await),
                Verb::Replay { letters } => Ok(letters::replay(&order, letters, stop, asking).await),
                verb => Ok(errands::execute(&order, verb, asking).await),
            }
        }),
        Err(error) => Ok(refuse(&order, &error)),
    }
}

/// What must hold before any connector is made.
fn prepare(order: &WorkOrder) -> Result<(), Error> {
    life::limit(&order.limits);
    guard(order)
}

/// The one place where the guard of this process is installed.
fn guard(order: &WorkOrder) -> Result<(), Error> {
    let guard = &order.guard;
    let egress = if guard.deny_private { Policy::public_and(&guard.egress_allow)? } else { Policy::open() };
    let files = match &guard.bucket {
        None => Files::Below(guard.file_root.clone()),
        Some(bucket) => {
            weir_error::veil::remember(bucket.secret_key.expose());
            Files::Bucket(part(bucket))
        }
    };
    weir_connect::guard::install(files, egress)
}

/// A part of the platform's bucket, as connectors take it.
fn part(bucket: &FileBucket) -> Bucket {
    Bucket {
        endpoint: bucket.endpoint.clone(),
        region: bucket.region.clone(),
        bucket: bucket.bucket.clone(),
        prefix: bucket.prefix.clone(),
        access_key: bucket.access_key.clone(),
        secret_key: bucket.secret_key.clone(),
    }
}

fn refuse(order: &WorkOrder, error: &Error) -> u8 {
    match order.verb {
        Verb::Run | Verb::Replay { .. } => say::report(&run::not_begun("", error, 0)),
        _ => say::answer_error(error),
    }
    error.exit_code()
}
