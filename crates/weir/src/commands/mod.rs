//! What the commands do, one file each. A command reads its options, calls the crates, and prints: data to stdout, talk to
//! stderr.

mod audit;
mod backup;
mod check;
mod compile;
mod completions;
mod config;
pub mod connectors;
mod dead;
mod discover;
mod doctor;
mod engine;
mod engines;
mod execute;
mod export;
mod init;
mod journal;
mod plan;
mod portable;
mod preview;
mod query;
mod reload;
mod run;
mod runner;
mod savepoint;
mod serve;
mod snapshot;
mod spec;
mod state;
mod verify;
mod worker;

use crate::cli::{Audit, Color, Command, Config, Dead, Runner, State};
use crate::outcome::Outcome;
use crate::show::style::{Stream, Style, colored};

/// What every command is given.
pub struct Context {
    /// Painter for stdout.
    pub out: Style,
    /// Painter for stderr.
    pub err: Style,
    /// Whether stderr has colours, for those who paint by themselves.
    pub err_colored: bool,
}

impl Context {
    pub fn new(color: Color) -> Self {
        let err_colored = colored(color, Stream::Stderr);
        Self { out: Style::new(colored(color, Stream::Stdout)), err: Style::new(err_colored), err_colored }
    }
}

/// Runs a command.
pub fn execute(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Init(args) => init::execute(&args, context),
        Command::Check(args) => check::execute(&args, context),
        Command::Plan(args) => plan::execute(&args, context),
        Command::Compile(args) => compile::execute(&args, context),
        Command::Engines(args) => engines::execute(&args, context),
        Command::Preview(args) => preview::execute(&args, context),
        Command::Discover(args) => discover::execute(&args, context),
        Command::Run(args) => run::execute(&args, context),
        Command::Diff(args) => engine::diff::execute(&args, context),
        Command::Verify(args) => verify::execute(&args, context),
        Command::Snapshot(args) => snapshot::execute(&args, context),
        Command::Reload(args) => reload::execute(&args, context),
        Command::State(State::Show(args)) => state::show(&args, context),
        Command::State(State::Reset(args)) => state::reset(&args, context),
        Command::State(State::Export(args)) => portable::export(&args, context),
        Command::State(State::Import(args)) => portable::import(&args, context),
        Command::Export(args) => export::execute(&args, context),
        Command::Savepoint(args) => savepoint::execute(&args, context),
        Command::Dead(Dead::List(args)) => dead::list(&args, context),
        Command::Dead(Dead::Show(args)) => dead::show(&args, context),
        Command::Dead(Dead::Replay(args)) => dead::replay(&args, context),
        Command::Journal(args) => journal::execute(&args, context),
        Command::Query(args) => query::execute(&args, context),
        Command::Connectors(args) => connectors::execute(&args, context),
        Command::Serve(args) => serve::execute(&args, context),
        Command::Config(Config::Show(args)) => config::show(&args, context),
        Command::Doctor(args) => doctor::execute(&args, context),
        Command::Runner(Runner::Sample(args)) => runner::sample(&args, context),
        Command::Runner(Runner::Server(args)) => runner::server(&args, context),
        Command::Runner(Runner::Health(args)) => runner::health(&args, context),
        Command::Runner(Runner::Info(args)) => runner::info(&args, context),
        Command::Backup(args) => backup::backup(&args, context),
        Command::Restore(args) => backup::restore(&args, context),
        Command::Audit(Audit::Verify(args)) => audit::verify(&args, context),
        Command::Spec(args) => spec::execute(&args, context),
        Command::Completions(args) => completions::execute(&args),
        Command::Worker(args) => worker::execute(&args, context),
        Command::Execute(args) => execute::execute(&args, context),
    }
}
