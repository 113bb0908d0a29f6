//! The bounds of a child, and what is said when one is broken.

use std::time::Duration;

use weir_error::{Error, Kind};

use super::meter::Sample;
use super::order::Limits;

/// The bounds of one attempt.
pub struct Bounds {
    limits: Limits,
}

impl Bounds {
    /// As ordered.
    pub fn new(limits: &Limits) -> Self {
        Self { limits: *limits }
    }

    /// How long the attempt may take.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.limits.time_secs)
    }

    /// Which bound the process has broken, if one.
    pub fn exceeded(&self, sample: &Sample) -> Option<Error> {
        if sample.memory_bytes > self.limits.memory_bytes {
            let limit = mebibytes(self.limits.memory_bytes);
            return Some(
                Error::new("WEIR-WORKER-020", Kind::Limit, format!("the run was stopped at its memory limit of {limit}"))
                    .because(format!("its process held {}", mebibytes(sample.memory_bytes)))
                    .hint(
                        "raise the limit (the platform's WEIR_RUN_MEMORY, the tenant's max_memory_bytes_per_run; the smaller one counts), \
                         or let the run hold less with fewer lanes: `parallelism: 1`",
                    ),
            );
        }
        let limit = self.limits.cpu_secs?;
        if sample.cpu_seconds <= limit as f64 {
            return None;
        }
        Some(
            Error::new("WEIR-WORKER-021", Kind::Limit, format!("the run was stopped at its limit of {limit} CPU seconds"))
                .hint("raise the tenant's max_cpu_secs_per_run; the next run goes on at the checkpoint"),
        )
    }

    /// What is said when the time is over.
    pub fn too_long(&self) -> Error {
        let limit = self.limits.time_secs;
        Error::new("WEIR-WORKER-022", Kind::Limit, format!("the run was stopped at its time limit of {limit} s"))
            .hint("raise the job's timeout_secs, or JOB_TIMEOUT_SECONDS; the next run goes on at the checkpoint")
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_bound_names_itself_and_how_to_raise_it() {
        let bounds = Bounds::new(&Limits { memory_bytes: 100 << 20, cpu_secs: Some(5), time_secs: 60 });
        let at = |memory_bytes, cpu_seconds| bounds.exceeded(&Sample { memory_bytes, cpu_seconds, ..Sample::default() });
        assert!(at(100 << 20, 5.0).is_none());
        let memory = at((100 << 20) + 1, 0.0).unwrap();
        assert_eq!((memory.code(), memory.what()), ("WEIR-WORKER-020", "the run was stopped at its memory limit of 100 MiB"));
        assert!(memory.advice().unwrap().contains("max_memory_bytes_per_run") && memory.why().unwrap().contains("101 MiB"));
        let cpu = at(0, 5.01).unwrap();
        assert!(cpu.code() == "WEIR-WORKER-021" && cpu.advice().unwrap().contains("max_cpu_secs_per_run"));
        assert!(bounds.too_long().advice().unwrap().contains("JOB_TIMEOUT_SECONDS"));
        let unlimited = Bounds::new(&Limits { memory_bytes: u64::MAX, cpu_secs: None, time_secs: 60 });
        assert!(unlimited.exceeded(&Sample { cpu_seconds: 1e9, ..Sample::default() }).is_none());
    }
}
