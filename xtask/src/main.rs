//! Development tasks: `cargo xtask --help`. One file per command.

use clap::{Parser, Subcommand};

mod service;

#[derive(Parser)]
#[command(name = "xtask", about = "Development tasks of Weir")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install, start and stop the real servers that tests and benchmarks use.
    Service(service::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Task::Service(args) => service::run(args),
    }
}
