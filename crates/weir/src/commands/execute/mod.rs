//! `weir execute`: one attempt of a run, or one errand, for the platform. Started by `weir serve` and `weir worker`, never by hand.
//!
//! * `life`: the order on standard input, the parent's signs of life, the limits of this process;
//! * `given`: connections and secrets of the order instead of the machine's;
//! * `run`: the verb `run`; `link`: which engine run belongs to which run of the platform;
//! * `errands`: connection tests, discoveries, previews; `say`: lines on standard output.
//!
//! Nothing of the machine is reachable from here: the environment is empty, files and addresses are guarded, secrets are those of the order.

mod errands;
mod given;
mod life;
mod link;
mod run;
mod say;

use tokio_util::sync::CancellationToken;
use weir_connect::guard::Policy;
use weir_control::worker::order::{Verb, WorkOrder};
use weir_error::Error;

use crate::commands::Context;
use crate::outcome::{Failure, Outcome};
use crate::process::{block_on, stop_on_signals};

pub fn execute(context: &Context) -> Outcome {
    let stop = CancellationToken::new();
    let order = life::begin(&stop)?;
    match prepare(&order) {
        Ok(()) => block_on(async {
            stop_on_signals(stop.clone(), context.err)?;
            match &order.verb {
                Verb::Run => Ok::<_, Failure>(run::execute(&order, stop).await),
                verb => Ok(errands::execute(&order, verb).await),
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
    weir_connect::guard::install(&guard.file_root, egress)
}

fn refuse(order: &WorkOrder, error: &Error) -> u8 {
    match order.verb {
        Verb::Run => say::report(&run::not_begun("", error, 0)),
        _ => say::answer_error(error),
    }
    error.exit_code()
}
