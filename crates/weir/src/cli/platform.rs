//! What may be typed after `serve`, `config`, `doctor`, `runner`, `backup`, `restore` and `audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::StateDir;

/// Where settings come from, beside the environment.
#[derive(Debug, Args)]
pub struct Settings {
    /// JSON file with settings (or WEIR_CONFIG)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of everything local: database, tenants' files, seal key, backups [default: weir-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Bucket for tenants' files [default: the data folder]
    #[arg(long, value_name = "s3://BUCKET/PREFIX")]
    pub files: Option<String>,
}

#[derive(Debug, Args)]
pub struct Serve {
    #[command(flatten)]
    pub settings: Settings,
    /// Address of the API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// For one's own machine: no token is needed, and only this machine may reach it
    #[arg(long)]
    pub dev: bool,
    /// Runs at the same time in this process; 0 leaves them to `weir worker` [default: the cores]
    #[arg(long, value_name = "N")]
    pub workers: Option<u32>,
    /// Start nothing by schedule
    #[arg(long)]
    pub no_scheduler: bool,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Show every setting, its value and where it comes from; secrets are hidden
    Show(ConfigShow),
}

#[derive(Debug, Args)]
pub struct ConfigShow {
    #[command(flatten)]
    pub settings: Settings,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub settings: Settings,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Runner {
    /// Run one specification here and now; the result is one JSON object
    Sample(RunnerSample),
    /// Serve the API, with metrics on a port of their own
    Server(RunnerServer),
    /// Ask the server how it is; prints its answer
    Health(RunnerAsk),
    /// Show what this runner is and can do, as JSON
    Info(RunnerAsk),
}

#[derive(Debug, Args)]
pub struct RunnerSample {
    /// The specification
    pub spec: PathBuf,
    /// JSON file with settings (or WEIR_CONFIG)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Token for Vault. Others on this machine can read it while the command runs: VAULT_TOKEN is better
    #[arg(long, value_name = "TOKEN")]
    pub vault_token: Option<String>,
    #[command(flatten)]
    pub state: StateDir,
}

#[derive(Debug, Args)]
pub struct RunnerServer {
    /// IP address to listen on
    #[arg(long, value_name = "IP")]
    pub host: Option<String>,
    /// Port to listen on
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct RunnerAsk {
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct Backup {
    /// The new file
    pub file: PathBuf,
    /// JSON lines that either database can be restored from, instead of a copy of the SQLite file
    #[arg(long)]
    pub portable: bool,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// The backup
    pub file: PathBuf,
    /// Leave checkpoints of runs out: unfinished runs begin anew
    #[arg(long)]
    pub without_checkpoints: bool,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Check that no row was changed, taken out or added
    Verify(AuditVerify),
}

#[derive(Debug, Args)]
pub struct AuditVerify {
    /// Only this tenant's log
    #[arg(long, value_name = "ID")]
    pub tenant: Option<String>,
    #[command(flatten)]
    pub settings: Settings,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}
