//! The command line: what may be typed. What the commands do is in [`crate::commands`].

mod export;
mod journal;
mod platform;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use export::Export;
pub use journal::{Journal, JournalApprove, JournalInspect, JournalLs, JournalReplay, Reload, Snapshot};
pub use platform::{
    Audit, AuditVerify, Backup, Config, ConfigShow, Doctor, Restore, Runner, RunnerAsk, RunnerSample, RunnerServer, Serve,
    Settings,
};

/// Moves data between systems, exactly, from one pipeline file.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, disable_help_subcommand = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 run failed, 2 bad spec or usage, 3 cannot connect, \
4 dead letters over the limit, 5 a stream waits for an approval, 130 interrupted with a checkpoint kept.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Say more on stderr: -v info, -vv debug, -vvv trace (or RUST_LOG)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented starter pipeline and a small sample for it
    Init(Init),
    /// Find every mistake in a pipeline file, without connecting anywhere
    Check(Check),
    /// Show what a run would do: guarantee, columns, types, targets
    Plan(Plan),
    /// Write a pipeline as the artefact of another engine: SeaTunnel, Flink, Spark, Kafka Connect
    Compile(Compile),
    /// Show which engines can run a pipeline, with which guarantee, and why others cannot
    Engines(Engines),
    /// Show a few rows after the transforms, without writing anything
    Preview(Preview),
    /// List the streams that a pipeline's sources, or a connection, offer
    Discover(Discover),
    /// Run a pipeline; the same command resumes an interrupted run
    Run(Run),
    /// Run a pipeline on several engines, and compare the rows that they write
    Diff(Diff),
    /// Prove that the sinks have what the sources have, also while the pipeline runs
    Verify(Verify),
    /// Take the snapshot of tables once more while their log goes on (`mode: cdc`)
    Snapshot(Snapshot),
    /// Let the run that is going on take up its edited file: tables, sinks, transforms (`mode: cdc`, `streaming`)
    Reload(Reload),
    /// Show or forget where a pipeline stands
    #[command(subcommand)]
    State(State),
    /// Write what an orchestrator needs to run a pipeline of a server
    #[command(subcommand)]
    Export(Export),
    /// Copy where a stream is, and what it keeps, into a folder, also while it runs (`mode: streaming`)
    Savepoint(Savepoint),
    /// List, show or replay records that could not be processed
    #[command(subcommand)]
    Dead(Dead),
    /// Look at the durable changes between a log and its sinks (`mode: cdc`), set a sink back, or approve what waits
    #[command(subcommand)]
    Journal(Journal),
    /// Ask SQL over the lake and over any connection
    Query(Query),
    /// List connectors, or the options of one
    Connectors(Connectors),
    /// Serve the API, the schedules and the runs of a team
    Serve(Serve),
    /// Look at what a server is set to
    #[command(subcommand)]
    Config(Config),
    /// Look at everything that a server needs, and say what is wrong
    Doctor(Doctor),
    /// The commands of the ingestion runner
    #[command(subcommand)]
    Runner(Runner),
    /// Write the server's database to a file, while it runs
    Backup(Backup),
    /// Fill an empty database from a backup
    Restore(Restore),
    /// The audit log
    #[command(subcommand)]
    Audit(Audit),
    /// The pipeline file's own tools
    #[command(subcommand)]
    Spec(Spec),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Take runs from the queue and execute them, beside or instead of `weir serve`
    Worker(Worker),
    /// One attempt of a run, ordered on standard input by `weir serve` or `weir worker`
    #[command(hide = true)]
    Execute(Execute),
}

impl Command {
    /// Whether the command's result, errors too, is wanted as JSON on stdout.
    pub fn json(&self) -> bool {
        match self {
            Self::Check(args) => args.json,
            Self::Plan(args) => args.json,
            Self::Compile(args) => args.json,
            Self::Engines(args) => args.json,
            Self::Preview(args) => args.json,
            Self::Discover(args) => args.json,
            Self::Run(args) => args.json,
            Self::Diff(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Snapshot(args) => args.json,
            Self::Reload(args) => args.json,
            Self::State(State::Show(args)) => args.json,
            Self::Savepoint(args) => args.json,
            Self::Dead(Dead::List(args)) => args.json,
            Self::Dead(Dead::Show(args)) => args.json,
            Self::Dead(Dead::Replay(args)) => args.json,
            Self::Journal(Journal::Ls(args)) => args.json,
            Self::Journal(Journal::Inspect(args)) => args.json,
            Self::Journal(Journal::Replay(args)) => args.json,
            Self::Journal(Journal::Approve(args)) => args.json,
            Self::Query(args) => args.json || args.output == Output::Json,
            Self::Connectors(args) => args.json,
            Self::Config(Config::Show(args)) => args.json,
            Self::Doctor(args) => args.json,
            Self::Audit(Audit::Verify(args)) => args.json,
            Self::Runner(Runner::Sample(_)) => true,
            Self::Serve(_) | Self::Backup(_) | Self::Restore(_) | Self::Runner(_) => false,
            Self::Init(_)
            | Self::State(State::Reset(_) | State::Export(_) | State::Import(_))
            | Self::Export(_)
            | Self::Spec(_)
            | Self::Completions(_)
            | Self::Worker(_)
            | Self::Execute(_) => false,
        }
    }
}

/// Which pipeline.
#[derive(Debug, Args)]
pub struct File {
    /// The pipeline file; `-` reads standard input
    pub file: PathBuf,
    /// Which pipeline, when the file holds several
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
}

/// Where checkpoints, state and dead letters are kept.
#[derive(Debug, Args)]
pub struct StateDir {
    /// Folder of checkpoints, state and dead letters
    #[arg(long, env = "WEIR_STATE_DIR", hide_env_values = true, value_name = "DIR", default_value = ".weir")]
    pub state_dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct Init {
    /// Name of the pipeline (lower_snake); also the name of the file
    #[arg(default_value = "starter")]
    pub name: String,
    /// Replace files that exist
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub file: File,
    /// Print the diagnostics as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    pub file: File,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
    /// Cores that a run would have, for the choice of an engine [default: those of this machine]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub cores: Option<usize>,
    /// Memory budget that a run would have
    #[arg(long, default_value = "512MiB", value_parser = size, value_name = "SIZE")]
    pub max_memory: usize,
}

#[derive(Debug, Args)]
pub struct Compile {
    #[command(flatten)]
    pub file: File,
    /// For which engine: seatunnel (2.3.9 and newer), seatunnel:2.3.4, flink-sql, flink-json, spark, kafka-connect; as manifests: kubernetes, kubernetes:flink, kubernetes:spark, kubernetes:seatunnel
    #[arg(long, value_name = "TARGET")]
    pub target: String,
    /// How SeaTunnel's configuration is written: its command line takes HOCON, its REST API JSON
    #[arg(long, value_enum, default_value_t = Notation::Hocon)]
    pub format: Notation,
    /// Write the files into a folder [default: the job to standard output]
    #[arg(short, long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Begin where a state of the pipeline says (`weir state export`), without reading anything again
    #[arg(long, value_name = "STATE")]
    pub start_from: Option<PathBuf>,
    /// Ask the sources for the columns that the file does not declare
    #[arg(long)]
    pub connect: bool,
    /// Print files, expected variables and notes as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Notation {
    Hocon,
    Json,
}

#[derive(Debug, Args)]
pub struct Engines {
    #[command(flatten)]
    pub file: File,
    /// Ask the sources for the columns that the file does not declare
    #[arg(long)]
    pub connect: bool,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Preview {
    #[command(flatten)]
    pub file: File,
    /// Rows per stream
    #[arg(long, default_value_t = 20, value_name = "ROWS")]
    pub limit: usize,
    /// Show values of columns that look personal (email, phone, password …) instead of masking them
    #[arg(long)]
    pub show: bool,
    /// Print rows as JSON lines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Discover {
    /// A pipeline file, or a connection declared in --file
    pub target: String,
    /// The pipeline file that declares the connection
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Which pipeline, when the file holds several
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
    /// Print the streams as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub file: File,
    /// End with one JSON object on stdout
    #[arg(long)]
    pub json: bool,
    /// What to show while it runs: bars on a terminal, JSON lines otherwise
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub progress: Progress,
    #[command(flatten)]
    pub state: StateDir,
    /// Memory budget of the whole run
    #[arg(long, default_value = "512MiB", value_parser = size, value_name = "SIZE")]
    pub max_memory: usize,
    /// Lanes that read and write at the same time [default: the pipeline's, else the cores]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub parallelism: Option<usize>,
    /// Time between checkpoints [default: the pipeline's, else 10s; `mode: streaming` 1s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub checkpoint_interval: Option<Duration>,
    /// `mode: cdc` and `streaming`: end when everything that is at the source by now has arrived, instead of waiting for more
    #[arg(long)]
    pub until_caught_up: bool,
    /// `mode: streaming`: begin where this savepoint is; the pipeline must have no state of its own
    #[arg(long, value_name = "DIR")]
    pub from_savepoint: Option<PathBuf>,
    /// On another engine: begin where a state of the pipeline says (`weir state export`), unless that engine has a job of it to go on with
    #[arg(long, value_name = "STATE")]
    pub start_from: Option<PathBuf>,
    /// Where it runs: native, seatunnel, flink, spark, kafka-connect [default: the pipeline's, else native]
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    #[command(flatten)]
    pub place: EnginePlace,
}

/// Where the other engines are.
#[derive(Debug, Clone, Args)]
pub struct EnginePlace {
    /// A setting of the engine: `url=http://flink:8081`; of one of several: `flink.url=…` (docs/how-to/engines.md)
    #[arg(long, value_name = "KEY=VALUE")]
    pub engine_option: Vec<String>,
    /// The JSON file with settings; of it `engine_configs` counts here
    #[arg(long, env = "WEIR_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Diff {
    #[command(flatten)]
    pub file: File,
    /// The engines, by comma; what the first one writes is what the others are held to
    #[arg(long, value_name = "ENGINE,…", value_delimiter = ',', default_value = "native")]
    pub engines: Vec<String>,
    /// Rows that differ are shown, this many for each engine; all are counted
    #[arg(long, default_value_t = 10, value_name = "ROWS")]
    pub list: usize,
    /// Folder of checkpoints and of what was written; a new one if absent, removed at the end
    #[arg(long, value_name = "DIR")]
    pub work: Option<PathBuf>,
    /// Memory budget of a native run
    #[arg(long, default_value = "512MiB", value_parser = size, value_name = "SIZE")]
    pub max_memory: usize,
    #[command(flatten)]
    pub place: EnginePlace,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    pub file: File,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub state: StateDir,
    /// Send the rows that differ again, and only these, and compare once more
    #[arg(long)]
    pub repair: bool,
    /// List at most this many differing keys per stream; all are counted
    #[arg(long, default_value_t = 100, value_name = "ROWS")]
    pub list: usize,
    /// Look at a key that keeps changing this often before it counts as in motion
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = positive)]
    pub rounds: usize,
    /// `mode: cdc`: wait this long for the sink to get to where the source is
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration)]
    pub wait: Duration,
    /// `mode: cdc`: compare the sides as they are: the pipeline is stopped and has read everything
    #[arg(long)]
    pub as_is: bool,
    /// Processes that each server may use for its checksums
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = positive)]
    pub parallelism: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    Auto,
    Bars,
    Plain,
    Json,
    None,
}

#[derive(Debug, Subcommand)]
pub enum State {
    /// Show the cursor, the last runs and the checkpoints of a pipeline
    Show(StateShow),
    /// Forget where a pipeline, or one stream of it, stands: the next run starts over
    Reset(StateReset),
    /// Write down where a stopped pipeline is, so that another engine goes on there
    Export(StateExport),
    /// Go on where another engine stopped: the next run begins there, without a new snapshot
    Import(StateImport),
}

#[derive(Debug, Args)]
pub struct StateShow {
    /// The pipeline's name, or its file; all pipelines if absent
    pub pipeline: Option<String>,
    #[command(flatten)]
    pub state: StateDir,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StateReset {
    /// The pipeline's name, or its file (which it must be if its journal is in a bucket)
    pub pipeline: String,
    /// Only this stream
    #[arg(long)]
    pub stream: Option<String>,
    #[command(flatten)]
    pub state: StateDir,
}

#[derive(Debug, Args)]
pub struct StateExport {
    #[command(flatten)]
    pub file: File,
    /// Add the places in the words of this engine: seatunnel, flink, spark, kafka-connect
    #[arg(long = "for", value_name = "ENGINE")]
    pub engine: Option<String>,
    /// Write it to a file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub state: StateDir,
}

#[derive(Debug, Args)]
pub struct StateImport {
    #[command(flatten)]
    pub file: File,
    /// The document: what `weir state export` wrote, or one like it (docs/how-to/change-engine.md)
    #[arg(long, value_name = "STATE")]
    pub from: PathBuf,
    #[command(flatten)]
    pub state: StateDir,
}

#[derive(Debug, Args)]
pub struct Savepoint {
    /// The pipeline's name, or its file
    pub pipeline: String,
    /// The folder to write; it must not be there yet [default: PIPELINE-TIME in `savepoints` of the state folder]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub state: StateDir,
    /// Print the manifest as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Dead {
    /// Count the waiting dead letters by stream and reason
    List(DeadList),
    /// Show dead letters: where, why, and the record as it came
    Show(DeadShow),
    /// Send dead letters through the pipeline again
    Replay(DeadReplay),
}

#[derive(Debug, Args)]
pub struct DeadList {
    /// The pipeline's name, or its file; all pipelines if absent
    pub pipeline: Option<String>,
    #[command(flatten)]
    pub state: StateDir,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DeadShow {
    /// The pipeline's name or file, or the number of one dead letter
    pub target: String,
    /// At most this many
    #[arg(long, default_value_t = 20, value_name = "ROWS")]
    pub limit: i64,
    #[command(flatten)]
    pub state: StateDir,
    /// Print as JSON lines
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DeadReplay {
    #[command(flatten)]
    pub file: File,
    #[command(flatten)]
    pub state: StateDir,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Query {
    /// The SQL. Tables: datasets of the lake by name, `connection.stream` of the pipeline's connections
    pub sql: String,
    /// A pipeline file whose connections and sources become tables
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Which pipeline, when the file holds several
    #[arg(long, value_name = "NAME", requires = "file")]
    pub pipeline: Option<String>,
    /// Folder of the lake
    #[arg(long, value_name = "DIR", env = "WEIR_LAKE", hide_env_values = true, default_value = "lake")]
    pub lake: PathBuf,
    /// How to print the rows
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Rows are written as JSON lines; the same as --output json
    #[arg(long)]
    pub json: bool,
    /// Memory budget of the query
    #[arg(long, default_value = "512MiB", value_parser = size, value_name = "SIZE")]
    pub max_memory: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Csv,
    Json,
}

#[derive(Debug, Args)]
pub struct Connectors {
    /// Name or alias of a connector
    pub name: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Spec {
    /// Print the JSON Schema of the pipeline file, for editors
    Schema,
    /// Print a pipeline file of any accepted form in the native form
    Convert(Convert),
}

#[derive(Debug, Args)]
pub struct Convert {
    #[command(flatten)]
    pub file: File,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct Worker {
    /// The JSON file with settings
    #[arg(long, env = "WEIR_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of tenants' files and checkpoints, shared with `weir serve`, and of the database unless DATABASE_URL names another
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Bucket for tenants' files, the same as that of `weir serve` [default: the data folder]
    #[arg(long, value_name = "s3://BUCKET/PREFIX")]
    pub files: Option<String>,
    /// Runs at the same time [default: the cores]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub workers: Option<usize>,
}

#[derive(Debug, Args)]
pub struct Execute {
    /// File with the order, where nobody writes to standard input: in a Pod
    #[arg(long, value_name = "FILE")]
    pub order: Option<PathBuf>,
}

/// `512MiB`, `2GiB`, `64MB`, `1048576`.
fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err("a size is written 512MiB, 2GiB or 64MB".into()),
    };
    let number: f64 = digits.trim().parse().map_err(|_| "a size is written 512MiB, 2GiB or 64MB".to_string())?;
    let bytes = number * unit as f64;
    if !(1.0..1e18).contains(&bytes) {
        return Err("a size must be at least one byte".into());
    }
    Ok(bytes as usize)
}

/// `500ms`, `10s`, `1m`, `1h`, `1d`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is written 500ms, 10s, 5m, 1h or 1d".to_string();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let millis = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).filter(|&ms| ms > 0).map(Duration::from_millis).ok_or_else(wrong)
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=1024).contains(&number) => Ok(number),
        _ => Err("a whole number from 1 to 1024".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_and_durations_carry_their_unit() {
        assert_eq!(size("512MiB"), Ok(512 << 20));
        assert_eq!(size("1.5GiB"), Ok(3 << 29));
        assert_eq!(size("64mb"), Ok(64_000_000));
        assert!(size("0").is_err() && size("lots").is_err() && size("5 apples").is_err() && size("-1MiB").is_err());
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert!(duration("10").is_err() && duration("0s").is_err() && duration("1w").is_err());
    }
}
