//! `weir journal`, `weir snapshot`, `weir reload`: what may be typed.

use clap::{Args, Subcommand};

use super::{File, StateDir};

#[derive(Debug, Subcommand)]
pub enum Journal {
    /// Show how large the journals of a pipeline are, what they hold, and how far each sink is
    Ls(JournalLs),
    /// Show changes that stand in the journal
    Inspect(JournalInspect),
    /// Set sinks back: the next run applies what comes after a boundary once more
    Replay(JournalReplay),
    /// Approve what has changed in the shape of a stream that waits (`on_schema_change: hold`)
    Approve(JournalApprove),
}

#[derive(Debug, Args)]
pub struct JournalLs {
    #[command(flatten)]
    pub file: File,
    #[command(flatten)]
    pub state: StateDir,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct JournalInspect {
    #[command(flatten)]
    pub file: File,
    /// Only this stream
    #[arg(long)]
    pub stream: Option<String>,
    /// Only what comes after this boundary [default: all that is there]
    #[arg(long, value_name = "SEQ")]
    pub from: Option<u64>,
    /// At most this many changes
    #[arg(long, default_value_t = 20, value_name = "ROWS")]
    pub limit: usize,
    /// Show values of columns that look personal (email, phone, password …) instead of masking them
    #[arg(long)]
    pub show: bool,
    #[command(flatten)]
    pub state: StateDir,
    /// Print as JSON lines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct JournalReplay {
    #[command(flatten)]
    pub file: File,
    /// The boundary; what comes after it is applied once more
    #[arg(long, value_name = "SEQ")]
    pub from: u64,
    /// Only this sink [default: all of them]
    #[arg(long, value_name = "NODE")]
    pub sink: Option<String>,
    #[command(flatten)]
    pub state: StateDir,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct JournalApprove {
    #[command(flatten)]
    pub file: File,
    /// The stream
    #[arg(long, value_name = "NAME")]
    pub stream: String,
    #[command(flatten)]
    pub state: StateDir,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Snapshot {
    #[command(flatten)]
    pub file: File,
    /// The table, as `weir discover` names it; several times for several
    #[arg(long, required = true, value_name = "STREAM")]
    pub stream: Vec<String>,
    /// Only the rows for which this holds, in the source's SQL
    #[arg(long = "where", value_name = "SQL")]
    pub only: Option<String>,
    #[command(flatten)]
    pub state: StateDir,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Reload {
    #[command(flatten)]
    pub file: File,
    #[command(flatten)]
    pub state: StateDir,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}
