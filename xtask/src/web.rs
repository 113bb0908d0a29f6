//! `cargo xtask web`: the web pages, built from the npm lockfile into `web/dist`, and tested in a real browser against the real program.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::results;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Builds the pages, if anything has changed since the last time. The next `cargo build` embeds them
    Build,
    /// Types, the generated client, unit tests, and walks in Chromium against the program that `cargo build` has made
    Test {
        /// The program; by default the one beside this one
        #[arg(long, env = "WEIR_PROGRAM")]
        program: Option<PathBuf>,
        /// Words for vitest, after `--`: names of files, `-t NAME`; only the end-to-end tests are run then
        #[arg(last = true)]
        only: Vec<String>,
    },
    /// Measures the pages (first load, scrolling, live runs) and holds them to their bars; for a machine that does nothing else
    Bars {
        /// The program; by default the one beside this one
        #[arg(long, env = "WEIR_PROGRAM")]
        program: Option<PathBuf>,
        /// Where the result is kept
        #[arg(long, default_value = "bench/results")]
        results: PathBuf,
    },
}

/// What the pages are made of, in `web`.
const INPUTS: [&str; 8] =
    ["src", "public", "scripts", "index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"];
/// The oldest Node.js that Vite runs on.
const OLDEST_NODE: (u32, u32) = (20, 19);

pub fn run(args: Args) -> Result<()> {
    let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("../web").canonicalize()?;
    let begin = Instant::now();
    match args.action {
        Action::Build => build(&web)?,
        Action::Test { program, only } => test(&web, program, &only)?,
        Action::Bars { program, results } => bars(&web, program, &results)?,
    }
    println!("web: done in {:.1} s", begin.elapsed().as_secs_f32());
    Ok(())
}

fn build(web: &Path) -> Result<()> {
    let stamp = web.join("dist/.built");
    let built = stamp.metadata().and_then(|stamp| stamp.modified()).ok();
    let mut newest = SystemTime::UNIX_EPOCH;
    for input in INPUTS {
        newest = newest.max(changed(&web.join(input))?);
    }
    if built.is_some_and(|built| built >= newest) {
        println!("web: dist is up to date");
        return Ok(());
    }
    install(web)?;
    npm(web, &["run", "--silent", "build"])?;
    File::create(&stamp)?;
    Ok(())
}

/// The packages of the lockfile, unless they are there.
fn install(web: &Path) -> Result<()> {
    let said = Command::new("node").arg("--version").output().context("Node.js is missing: scripts/setup.sh test installs it")?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let mut numbers = said.trim_start_matches('v').split('.').filter_map(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    ensure!(found >= OLDEST_NODE, "Node.js {said} is too old: the pages need {}.{} at least", OLDEST_NODE.0, OLDEST_NODE.1);
    let lock = fs::read(web.join("package-lock.json"))?;
    // npm leaves no copy of the lockfile that could be compared, so this is ours.
    let installed = web.join("node_modules/.installed-lock.json");
    if fs::read(&installed).is_ok_and(|there| there == lock) {
        return Ok(());
    }
    npm(web, &["ci", "--no-audit", "--no-fund", "--loglevel=error"])?;
    fs::write(installed, lock)?;
    Ok(())
}

fn test(web: &Path, program: Option<PathBuf>, only: &[String]) -> Result<()> {
    let program = results::program(program.as_deref())?;
    build(web)?;
    install(web)?;
    if only.is_empty() {
        for script in ["api:check", "types", "unit"] {
            npm(web, &["run", "--silent", script])?;
        }
    }
    done(end_to_end(web, &program).args(only))
}

/// The result is kept also when a bar is missed.
fn bars(web: &Path, program: Option<PathBuf>, results: &Path) -> Result<()> {
    let program = results::program(program.as_deref())?;
    build(web)?;
    install(web)?;
    let folder = tempfile::tempdir()?;
    let figures = folder.path().join("figures.json");
    let met = done(end_to_end(web, &program).arg("bars").env("WEIR_BARS", &figures));
    let figures: serde_json::Value = serde_json::from_slice(&fs::read(&figures).context("nothing was measured")?)?;
    let file = results::keep(results, "web", &program, &serde_json::json!({ "figures": figures }))?;
    println!("{}", file.display());
    met
}

fn end_to_end(web: &Path, program: &Path) -> Command {
    let mut command = Command::new("npm");
    command.args(["run", "--silent", "e2e", "--"]).current_dir(web).env("WEIR_PROGRAM", program);
    command
}

/// When a file or anything below a folder was changed last.
fn changed(path: &Path) -> Result<SystemTime> {
    let about = path.metadata().with_context(|| path.display().to_string())?;
    let mut newest = about.modified()?;
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            newest = newest.max(changed(&entry?.path())?);
        }
    }
    Ok(newest)
}

fn npm<S: AsRef<OsStr>>(web: &Path, words: &[S]) -> Result<()> {
    done(Command::new("npm").args(words).current_dir(web))
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{:?}", command.get_program()))?;
    if !status.success() {
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        bail!("npm {} failed ({status})", words.join(" "));
    }
    Ok(())
}
