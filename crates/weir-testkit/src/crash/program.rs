//! The program under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running `weir run`; it ends with this value.
pub(super) struct Weir {
    child: Child,
    log: PathBuf,
    began: Instant,
}

impl Weir {
    /// Runs the folder's `pipeline.yaml`.
    pub fn start(program: &Path, folder: &Path, more: &[&str]) -> Result<Self> {
        let log = folder.join("log");
        let began = Instant::now();
        let child = Command::new(program)
            .args(["run", "pipeline.yaml", "--progress", "plain", "--state-dir", "state"])
            .args(more)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .env("RUST_BACKTRACE", "0")
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { child, log, began })
    }

    /// Since it was started.
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        crate::process::tail(&fs::read_to_string(&self.log).unwrap_or_default(), 30)
    }

    /// A figure of `/proc/PID/status` in bytes: `VmRSS`, `VmHWM`.
    pub fn memory(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Seconds of processor time so far.
    pub fn processor_secs(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let ticks = |at: usize| stat.rsplit(')').next()?.split_whitespace().nth(at)?.parse::<u64>().ok();
        (ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0)) as f64 / 100.0
    }

    /// One that ended by itself has met something that it must not end for.
    pub fn must_live(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("`weir run` ended with {status}\n{}", self.log()),
        }
    }

    /// It is not there any more.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// It ended before it had looked at everything and said which run it is. A server that cannot be reached is told at once then, and
    /// whoever started it starts it again; a run that has begun waits for the server.
    pub fn refused_to_begin(&mut self) -> Result<bool> {
        Ok(self.has_ended()? && !fs::read_to_string(&self.log)?.contains("  run "))
    }

    /// Waits until `is_so`; the program must not end meanwhile.
    pub fn until(&mut self, what: &str, limit: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<Duration> {
        let begin = Instant::now();
        while !is_so()? {
            self.must_live()?;
            if begin.elapsed() > limit {
                bail!("waited {} s in vain until {what}\n{}", limit.as_secs(), self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(begin.elapsed())
    }

    /// Waits for the end of one that ends by itself.
    pub fn must_succeed(&mut self, limit: Duration) -> Result<()> {
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the last run ended with {status}\n{}", self.log()),
                None if self.age() > limit => bail!("the last run does not end\n{}", self.log()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    pub fn kill_9(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
