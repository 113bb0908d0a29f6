//! What the tests share: a run with its report, its events as they come, and what a reader of the target sees.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::harness::Folder;

/// How long an event may take on a busy machine before the test gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A command that has ended. `report` is the JSON object on stdout, `Null` if there was none.
pub struct Ran {
    pub code: i32,
    pub report: Value,
    pub err: String,
}

impl Ran {
    fn of(status: std::process::ExitStatus, out: &str, err: String) -> Self {
        Self { code: status.code().unwrap_or(-1), report: serde_json::from_str(out.trim()).unwrap_or_default(), err }
    }

    fn shown(&self) -> String {
        format!("exit code {}\n--- report\n{:#}\n--- stderr\n{}", self.code, self.report, self.err)
    }

    /// Over all streams: read, written, filtered, dead.
    pub fn counts(&self) -> [u64; 4] {
        let streams = self.report["streams"].as_array().cloned().unwrap_or_default();
        ["rows_read", "rows_written", "rows_filtered", "rows_dead"]
            .map(|name| streams.iter().map(|stream| stream[name].as_u64().unwrap()).sum())
    }

    /// Ended well with these rows written, none filtered and none dead.
    #[track_caller]
    pub fn wrote(&self, rows: u64) {
        assert_eq!((self.code, self.report["status"].as_str()), (0, Some("succeeded")), "{}", self.shown());
        assert_eq!(self.counts(), [rows, rows, 0, 0], "{}", self.shown());
    }

    /// Committed, but with more dead letters than allowed.
    #[track_caller]
    pub fn wrote_with_dead(&self, written: u64, dead: u64) {
        assert_eq!((self.code, self.report["status"].as_str()), (4, Some("dead_letters_exceeded")), "{}", self.shown());
        assert_eq!(self.counts(), [written + dead, written, 0, dead], "{}", self.shown());
    }

    /// Failed with this exit code and error, and claims no rows.
    #[track_caller]
    pub fn failed(&self, code: i32, error: &str, kind: &str) -> &Self {
        let found = (self.code, self.report["error"]["code"].as_str(), self.report["error"]["kind"].as_str());
        assert_eq!(found, (code, Some(error), Some(kind)), "{}", self.shown());
        assert_eq!(self.report["status"], "failed", "{}", self.shown());
        assert_eq!(self.counts(), [0; 4], "{}", self.shown());
        assert!(!self.err.contains("panicked"), "{}", self.shown());
        self
    }

    /// The error says all of this, in its message, place, cause or hint.
    #[track_caller]
    pub fn says(&self, texts: &[&str]) -> &Self {
        let told = self.report["error"].to_string();
        for text in texts {
            assert!(told.contains(text), "{text:?} is not in {}", self.shown());
        }
        self
    }

    /// Neither the report nor anything on stderr has this text.
    #[track_caller]
    pub fn hides(&self, secret: &str) -> &Self {
        assert!(!self.shown().contains(secret), "{}", self.shown());
        self
    }
}

/// Runs a pipeline to its end. Broken input must not hang the program: a run that does not end fails the test.
pub fn run(folder: &Folder, arguments: &[&str]) -> Ran {
    Watched::start(folder, arguments).end()
}

/// Runs a command that was made by hand.
pub fn output(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    Ran::of(output.status, &out, err)
}

/// A run whose events are read as they come.
pub struct Watched {
    child: Child,
    lines: Receiver<String>,
    reader: Option<JoinHandle<String>>,
}

impl Watched {
    /// Starts `weir run … --json --progress json`.
    pub fn start(folder: &Folder, arguments: &[&str]) -> Self {
        let all: Vec<&str> =
            ["run"].into_iter().chain(arguments.iter().copied()).chain(["--json", "--progress", "json"]).collect();
        let mut child = folder.command(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (send, lines) = channel();
        let reader = std::thread::spawn(move || follow(stderr, |line| drop(send.send(line.to_owned()))));
        Self { child, lines, reader: Some(reader) }
    }

    /// Waits for the first event that is meant.
    #[track_caller]
    pub fn wait_for(&self, what: &str, is_meant: impl Fn(&Value) -> bool) -> Value {
        let mut seen = String::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else { panic!("the run never told {what}:\n{seen}") };
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if is_meant(&event) {
                return event;
            }
            seen.push_str(&line);
        }
    }

    /// Waits for a line that holds the text and is no event.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) {
        let mut seen = String::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else { panic!("the run never said {text:?}:\n{seen}") };
            if line.contains(text) {
                return;
            }
            seen.push_str(&line);
        }
    }

    /// Waits until rows are durable in a stream, before all of `rows` are.
    #[track_caller]
    pub fn wait_for_checkpoint_before(&self, rows: u64) {
        let event = self.wait_for("a checkpoint", |event| event["event"] == "checkpoint" && event["rows"].as_u64() > Some(0));
        assert!(event["rows"].as_u64() < Some(rows), "the run was over before anything could break: {event}");
    }

    pub fn signal(&self, signal: i32) {
        weir_testkit::process::signal(self.child.id(), signal).unwrap();
    }

    pub fn end(mut self) -> Ran {
        let mut out = String::new();
        let id = self.child.id();
        let (ended, watched) = channel::<()>();
        // Takes the place of a hang: the test then fails with what the program had said.
        let guard = std::thread::spawn(move || {
            if watched.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = weir_testkit::process::signal(id, libc::SIGKILL);
            }
        });
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        let err = self.reader.take().unwrap().join().unwrap();
        drop(ended);
        guard.join().unwrap();
        Ran::of(self.child.wait().unwrap(), &out, err)
    }
}

fn follow(stderr: ChildStderr, mut tell: impl FnMut(&str)) -> String {
    let (mut reader, mut all, mut line) = (BufReader::new(stderr), String::new(), String::new());
    while reader.read_line(&mut line).unwrap() > 0 {
        tell(&line);
        all.push_str(&line);
        line.clear();
    }
    all
}

/// Files below `path` that any reader would take: nothing hidden, nothing that begins with `_`.
pub fn visible(path: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(path) else { return found };
    for entry in entries {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with(['.', '_']) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() { found.extend(visible(&entry.path())) } else { found.push(entry.path()) }
    }
    found.sort();
    found
}

/// Nothing of a run can be seen in the lake.
#[track_caller]
pub fn nothing_visible(folder: &Folder) {
    assert_eq!(visible(&folder.path().join("lake")), Vec::<std::path::PathBuf>::new());
}

/// The rows of all visible CSV files below `lake/NAME`, read without Weir, sorted.
pub fn csv_rows(folder: &Folder, name: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for file in visible(&folder.path().join("lake").join(name)) {
        rows.extend(std::fs::read_to_string(file).unwrap().lines().skip(1).map(str::to_owned));
    }
    rows.sort();
    rows
}

/// The data lines of a CSV text, sorted.
pub fn lines_of(csv: &str) -> Vec<String> {
    let mut rows: Vec<String> = csv.lines().skip(1).map(str::to_owned).collect();
    rows.sort();
    rows
}

/// `rows` lines of `id,word`; the words do not compress to nothing.
pub fn words(rows: u64) -> String {
    let word = |id: u64| id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let lines: String = (0..rows).map(|id| format!("{id},w{:016x}\n", word(id))).collect();
    format!("id,word\n{lines}")
}

/// A pipeline from files to CSV files in `lake/orders`. The options are those of the source, `path: …` among them.
pub fn from_files(folder: &Folder, options: &str, more: &str) {
    folder.write(
        "orders.yaml",
        format!(
            "pipeline: orders\nsource:\n  file: {{{options}}}\n\
             sink:\n  file: {{path: lake/orders, format: csv, write_mode: overwrite}}\n{more}"
        ),
    );
}

/// The text, packed by gzip.
pub fn gzip(text: impl AsRef<[u8]>) -> Vec<u8> {
    use std::io::Write;
    let mut child = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = text.as_ref().to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&text).unwrap());
    let packed = child.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    packed
}
