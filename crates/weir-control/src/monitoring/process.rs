//! `process_*`: the standard names for what the operating system says of this process.

use super::text::{Kind, Text};

/// Writes what `/proc/self` tells; what it does not tell is left out.
pub fn write(text: &mut Text) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let mut gauge = |name: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            text.family(name, Kind::Gauge, help);
            text.sample(name, &[], value);
        }
    };
    let status = read("status");
    let stat = read("stat");
    // The command's name may contain blanks and brackets: fields are counted from its last bracket.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|f| f.parse::<f64>().ok());
    let ticks = ticks_per_second();
    gauge("process_resident_memory_bytes", "Resident memory.", kib(&status, "VmRSS:"));
    gauge("process_virtual_memory_bytes", "Virtual memory.", kib(&status, "VmSize:"));
    gauge("process_threads", "Threads.", field(20));
    gauge("process_open_fds", "Open file descriptors.", std::fs::read_dir("/proc/self/fd").ok().map(|d| d.count() as f64));
    gauge("process_max_fds", "Most file descriptors that may be open.", max_fds(&read("limits")));
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|t| t.trim().parse::<f64>().ok());
    let start = boot.zip(field(22)).map(|(boot, after)| boot + after / ticks);
    gauge("process_start_time_seconds", "When the process began, seconds since 1970.", start);
    if let Some((user, system)) = field(14).zip(field(15)) {
        text.family("process_cpu_seconds_total", Kind::Counter, "CPU time, user and system.");
        text.sample("process_cpu_seconds_total", &[], (user + system) / ticks);
    }
}

fn kib(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib * 1024.0)
}

fn max_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(f64::INFINITY) } else { soft.parse().ok() }
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf takes an integer and touches no memory of ours.
    #[allow(unsafe_code)]
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_and_a_past() {
        let mut text = Text::default();
        write(&mut text);
        let said = text.finish();
        let value = |name: &str| -> f64 {
            said.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_open_fds") <= value("process_max_fds"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - value("process_start_time_seconds")).abs() < 3600.0 * 24.0);
    }
}
