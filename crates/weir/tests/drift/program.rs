//! The program under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(90);

/// `weir run` in a folder that has a `pipeline.yaml`.
pub struct Run {
    child: Child,
    log: PathBuf,
}

/// How it ended.
pub struct Ended {
    pub status: ExitStatus,
    pub said: String,
}

impl Run {
    pub fn start(folder: &Path, more: &[&str]) -> Result<Self> {
        let log = folder.join("log");
        let child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["run", "pipeline.yaml", "--progress", "plain", "--state-dir", "state"])
            .args(more)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()
            .context("cannot start the program")?;
        Ok(Self { child, log })
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    pub fn stop(&self) -> Result<()> {
        let id = i32::try_from(self.child.id())?;
        // SAFETY: the child has not been waited for, so the id is its own.
        #[allow(unsafe_code)]
        let sent = unsafe { libc::kill(id, libc::SIGTERM) };
        if sent != 0 {
            bail!("the program has ended already");
        }
        Ok(())
    }

    pub fn end(&mut self) -> Result<Ended> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Ended { status, said: self.said() });
            }
            if begin.elapsed() > PATIENCE {
                bail!("`weir run` does not end\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `weir journal …` beside it.
pub fn journal(folder: &Path, words: &[&str]) -> Result<()> {
    let done = Command::new(env!("CARGO_BIN_EXE_weir"))
        .arg("journal")
        .args(words)
        .args(["--state-dir", "state"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .context("cannot start the program")?;
    match done.status.success() {
        true => Ok(()),
        false => bail!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr)),
    }
}

/// Waits until it is so; looks again and again, because servers do not tell.
pub fn until(what: &str, mut so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !so()? {
        if begin.elapsed() > PATIENCE {
            bail!("not in {PATIENCE:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
