//! Development tasks: `cargo xtask --help`. One file per command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod crash;
mod lint;
mod results;
mod service;
mod soak;
mod tpch;
mod web;

#[derive(Parser)]
#[command(name = "xtask", about = "Development tasks of Weir")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Kill `weir run` at random moments and compare what it leaves with the source
    Crash(crash::Args),
    /// Check the rules of the house that no compiler checks
    Lint,
    /// Install, start and stop the real servers that tests and benchmarks use
    Service(service::Args),
    /// Follow a changing database for long, and look at what must not grow
    Soak(soak::Args),
    /// Generate TPC-H's lineitem as CSV
    Tpch(tpch::Args),
    /// Build and test the web pages
    Web(web::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Task::Crash(args) => crash::run(args),
        Task::Lint => lint::run(),
        Task::Service(args) => service::run(&args),
        Task::Soak(args) => soak::run(&args),
        Task::Tpch(args) => tpch::run(&args),
        Task::Web(args) => web::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without the back trace that `RUST_BACKTRACE` would add: the chain of causes says it.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
