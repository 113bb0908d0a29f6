//! One server for a whole test run, although nextest gives every test a process of its own.
//!
//! The first test that asks starts the server, detached, and writes down where it is; the others read that. A watcher
//! waits for the end of the run (the nextest process, or the test program itself under `cargo test`), then stops the
//! server and removes its files, so nothing is left even when the run is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::cache::FileLock;
use crate::process::is_alive;

/// What is known of a running shared server.
#[derive(Serialize, Deserialize)]
struct Entry<T> {
    pid: u32,
    facts: T,
}

/// A server that was started for the run and shall stay.
pub(crate) struct Started<T> {
    /// Its process.
    pub pid: u32,
    /// The signal that ends it cleanly.
    pub stop_signal: i32,
    /// What another process must know to use it.
    pub facts: T,
}

/// The facts of the run's server called `name`; `start` makes it in the folder it is given when there is none yet.
pub(crate) fn shared<T: Serialize + DeserializeOwned>(name: &str, start: impl FnOnce(&Path) -> Result<Started<T>>) -> Result<T> {
    let (key, watched) = run();
    let dir = std::env::temp_dir().join(format!("weir-run-{key}"));
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let _lock = FileLock::acquire(&dir.join(format!("{name}.lock")))?;
    let file = dir.join(format!("{name}.json"));
    if let Ok(text) = fs::read_to_string(&file) {
        let entry: Entry<T> = serde_json::from_str(&text).with_context(|| format!("cannot read {}", file.display()))?;
        if is_alive(entry.pid) {
            return Ok(entry.facts);
        }
    }
    let home = tempfile::Builder::new().prefix(name).tempdir_in(&dir)?.keep();
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let started = start(&home)?;
    watch(watched, started.pid, started.stop_signal, &home, &dir)?;
    let fresh = file.with_extension("new");
    fs::write(&fresh, serde_json::to_string(&Entry { pid: started.pid, facts: &started.facts })?)?;
    fs::rename(&fresh, &file)?;
    Ok(started.facts)
}

/// The run's name and the process whose end is the run's end.
fn run() -> (String, u32) {
    match std::env::var("NEXTEST_RUN_ID") {
        Ok(id) if !id.is_empty() => (id, std::os::unix::process::parent_id()),
        _ => (format!("pid-{}", std::process::id()), std::process::id()),
    }
}

/// Leaves a small process behind that stops `pid` when `watched` is gone. It shares no descriptor with the tests, or
/// nextest would wait for it.
fn watch(watched: u32, pid: u32, stop_signal: i32, home: &Path, dir: &Path) -> Result<()> {
    const SCRIPT: &str = r#"
while [ -d "/proc/$1" ] && [ -d "/proc/$2" ]; do sleep 0.5; done
kill -s "$3" "$2" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -d "/proc/$2" ] || break; sleep 0.5; done
kill -s KILL "$2" 2>/dev/null
while [ -d "/proc/$1" ]; do sleep 0.5; done
rm -rf "$4" "$5"
"#;
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", SCRIPT, "weir-test-watcher"]);
    command.args([watched.to_string(), pid.to_string(), stop_signal.to_string()]).args([home, dir]);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("cannot start the watcher of the shared test servers")?;
    Ok(())
}

/// Leaves a small process behind that stops `pid` when `first` has gone.
pub(crate) fn stop_after(first: u32, pid: u32) -> Result<()> {
    const SCRIPT: &str = r#"while [ -d "/proc/$1" ]; do sleep 0.5; done; kill -s TERM "$2" 2>/dev/null"#;
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", SCRIPT, "weir-test-watcher"]).args([first.to_string(), pid.to_string()]);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("cannot start the watcher of two test servers")?;
    Ok(())
}

/// A temporary folder in memory, where the machine has one. For suites that end a process at every operation: what survives there is what was written, and
/// the syncs of a disk, tens of thousands of them, would only make them wait.
///
/// # Panics
/// No folder can be made.
pub fn memory_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()) } else { tempfile::tempdir() };
    made.expect("a temporary folder")
}

/// A temporary folder that another user may enter.
pub(crate) fn open_tempdir(prefix: &str) -> Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix(prefix).tempdir()?;
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(dir)
}

/// Copies a tree, giving every entry to `owner`.
pub(crate) fn copy_tree(from: &Path, to: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let metadata = fs::symlink_metadata(from).with_context(|| format!("cannot read {}", from.display()))?;
    if metadata.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(from)?, to)?;
        return Ok(());
    }
    if metadata.is_dir() {
        fs::create_dir(to).with_context(|| format!("cannot create {}", to.display()))?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_tree(&entry.path(), &to.join(entry.file_name()), owner)?;
        }
        fs::set_permissions(to, metadata.permissions())?;
    } else {
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    if let Some((uid, gid)) = owner {
        crate::cache::chown(to, uid, gid)?;
    }
    Ok(())
}

/// Whether every user may enter all folders down to `path`.
pub(crate) fn open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.ancestors().skip(1).all(|p| fs::metadata(p).is_ok_and(|m| m.permissions().mode() & 0o001 != 0))
}

/// The first of `candidates` that is a file.
pub(crate) fn first_file(candidates: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    candidates.into_iter().find(|p| p.is_file())
}
