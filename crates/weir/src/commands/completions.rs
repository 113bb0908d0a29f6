//! `weir completions`: a script for the shell.

use std::io::Write;

use clap::CommandFactory;

use crate::cli::{Cli, Completions};
use crate::outcome::Outcome;

pub fn execute(args: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "weir", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(0)
}
