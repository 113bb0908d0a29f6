//! What a child uses, read from `/proc`. Nothing here is told by the child itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a run used, over all of its attempts; stored as the run's `resources`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CPU seconds, user and system.
    pub cpu_seconds: f64,
    /// The largest resident memory of any attempt, bytes.
    pub memory_peak_bytes: u64,
    /// Bytes read through files and pipes, whether from disk or cache. Sockets are not in it.
    pub io_read_bytes: u64,
    /// Bytes written through files and pipes.
    pub io_written_bytes: u64,
    /// Bytes that the sources gave, as the engine counts them.
    pub source_bytes: u64,
    /// Bytes at the targets, as the engine counts them.
    pub target_bytes: u64,
    /// Wall seconds of the processes.
    pub wall_seconds: f64,
    /// Attempts that failed by themselves. Those that lost their worker, or gave way to a shutdown, are not in it.
    pub failed_attempts: u32,
}

impl Resources {
    /// What a run's row holds; nothing, or something of another shape, is zero.
    pub fn of_run(stored: Option<&serde_json::Value>) -> Self {
        stored.and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default()
    }

    /// With another attempt's use.
    #[must_use]
    pub fn plus(self, sample: &Sample, wall: Duration) -> Self {
        Self {
            cpu_seconds: round(self.cpu_seconds + sample.cpu_seconds),
            memory_peak_bytes: self.memory_peak_bytes.max(sample.memory_peak_bytes),
            io_read_bytes: self.io_read_bytes + sample.io_read_bytes,
            io_written_bytes: self.io_written_bytes + sample.io_written_bytes,
            wall_seconds: round(self.wall_seconds + wall.as_secs_f64()),
            ..self
        }
    }

    /// As stored.
    pub fn to_json(self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Milliseconds are enough, and do not print as 0.30000000000000004.
fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// One look at a process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// CPU seconds since it began.
    pub cpu_seconds: f64,
    /// Resident memory now, bytes.
    pub memory_bytes: u64,
    /// The largest so far, bytes.
    pub memory_peak_bytes: u64,
    /// Bytes read through system calls.
    pub io_read_bytes: u64,
    /// Bytes written through system calls.
    pub io_written_bytes: u64,
    /// It has ended, and waits for its parent to notice.
    pub ended: bool,
}

/// Looks at one process again and again; figures never go back when `/proc` has less to say (a process that ends has no memory).
#[derive(Debug)]
pub struct Meter {
    pid: u32,
    ticks_per_second: f64,
    last: Sample,
}

impl Meter {
    /// For a child that was not waited for yet: until then its number belongs to nobody else.
    pub fn new(pid: u32) -> Self {
        // SAFETY: sysconf takes an integer and returns one.
        #[allow(unsafe_code)]
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Self { pid, ticks_per_second: if ticks > 0 { ticks as f64 } else { 100.0 }, last: Sample::default() }
    }

    /// A fresh look. Reads three small files of `/proc`, which does not block.
    pub fn look(&mut self) -> Sample {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap_or_default();
        let mut now = Sample { memory_bytes: 0, ..self.last };
        if let Some((cpu_ticks, ended)) = parse_stat(&read("stat")) {
            now.cpu_seconds = now.cpu_seconds.max(cpu_ticks as f64 / self.ticks_per_second);
            now.ended = ended;
        }
        let status = read("status");
        now.memory_bytes = kibibytes(&status, "VmRSS:").unwrap_or(0);
        let peak = kibibytes(&status, "VmHWM:").unwrap_or(0).max(now.memory_bytes);
        now.memory_peak_bytes = now.memory_peak_bytes.max(peak);
        let io = read("io");
        now.io_read_bytes = now.io_read_bytes.max(field(&io, "rchar:").unwrap_or(0));
        now.io_written_bytes = now.io_written_bytes.max(field(&io, "wchar:").unwrap_or(0));
        self.last = now;
        now
    }

    /// What the process itself says of its peak: it knows better than a look now and then.
    pub fn peak(&mut self, bytes: u64) {
        self.last.memory_peak_bytes = self.last.memory_peak_bytes.max(bytes);
    }

    /// The last look.
    pub fn last(&self) -> Sample {
        self.last
    }
}

/// CPU ticks, and whether it is a zombie. The name in parentheses may hold anything, spaces and parentheses too.
fn parse_stat(text: &str) -> Option<(u64, bool)> {
    let rest = &text[text.rfind(')')? + 1..];
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let user: u64 = fields.get(11)?.parse().ok()?;
    let system: u64 = fields.get(12)?.parse().ok()?;
    Some((user + system, matches!(*fields.first()?, "Z" | "X")))
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// The most memory that this process has held.
pub fn own_peak_bytes() -> u64 {
    kibibytes(&std::fs::read_to_string("/proc/self/status").unwrap_or_default(), "VmHWM:").unwrap_or(0)
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    field(text, name).map(|kib| kib * 1024)
}

/// How often the kernel has killed for want of memory since the machine began; to tell such a kill from one by a person.
pub fn kernel_memory_kills() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    field(&text, "oom_kill ").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_process_with_a_hostile_name_is_read_right() {
        let text = "7 (a) Z 1 (x) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(parse_stat(text), Some((300, false)));
        assert_eq!(parse_stat("7 (x) Z 1 7 7 0 -1 4194304 1 0 0 0 1 2 0 0 20"), Some((3, true)));
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_is_seen_at_work() {
        let mut meter = Meter::new(std::process::id());
        let before = meter.look();
        let mut work = vec![1_u8; 64 << 20];
        let begin = std::time::Instant::now();
        while begin.elapsed() < Duration::from_millis(60) {
            work.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
        }
        let after = meter.look();
        assert!(after.memory_bytes >= before.memory_bytes + (32 << 20), "{before:?} {after:?} {}", work[5]);
        assert!(after.memory_peak_bytes >= after.memory_bytes && after.cpu_seconds > before.cpu_seconds, "{after:?}");
        assert!(!after.ended);
    }

    #[test]
    fn figures_of_a_process_that_is_gone_stay() {
        let mut meter = Meter::new(u32::MAX);
        meter.last = Sample { cpu_seconds: 1.5, memory_bytes: 10, memory_peak_bytes: 20, ..Sample::default() };
        let sample = meter.look();
        assert_eq!((sample.cpu_seconds, sample.memory_bytes, sample.memory_peak_bytes), (1.5, 0, 20));
    }

    #[test]
    fn attempts_add_up_and_peaks_do_not() {
        let stored =
            json!({"cpu_seconds": 1.1, "memory_peak_bytes": 500, "failed_attempts": 2, "source_bytes": 9, "unknown": true});
        let sample = Sample { cpu_seconds: 2.2, memory_peak_bytes: 400, io_read_bytes: 7, ..Sample::default() };
        let sum = Resources::of_run(Some(&stored)).plus(&sample, Duration::from_millis(1500));
        assert_eq!((sum.cpu_seconds, sum.memory_peak_bytes, sum.io_read_bytes), (3.3, 500, 7));
        assert_eq!((sum.wall_seconds, sum.failed_attempts, sum.source_bytes), (1.5, 2, 9));
        assert_eq!(Resources::of_run(Some(&json!("x"))), Resources::default());
    }
}
