//! The `weir` program: parses the command line, runs one command, turns what happened into an exit code.
//!
//! * [`cli`]: what may be typed; [`commands`]: what it does, one file each;
//! * [`pipeline_file`]: from a file to a pipeline or its diagnostics; [`planning`]: from a pipeline to a plan;
//! * [`advice`]: which engine a plan is for;
//! * [`workbench`], [`checkpoints`]: pipelines, connectors and checkpoints for the platform;
//! * [`report`]: reporters of a run; [`show`]: numbers, tables, colours;
//! * [`outcome`]: exit codes; [`process`]: runtime, logging, signals.
//!
//! Start-up is part of the interface: nothing is made before a command needs it (no async runtime, no TLS, no option schemas).

mod advice;
mod checkpoints;
mod cli;
mod commands;
mod outcome;
mod pipeline_file;
mod placement;
mod planning;
mod process;
#[cfg(test)]
mod reference;
mod report;
mod show;
mod workbench;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    process::start_logging(cli.verbose);
    let context = commands::Context::new(cli.color);
    let json = cli.command.json();
    ExitCode::from(outcome::conclude(commands::execute(cli.command, &context), json, &context))
}
