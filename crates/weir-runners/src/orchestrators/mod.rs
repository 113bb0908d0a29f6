//! What an orchestrator needs to start a job of a Weir server and to wait for its end, over plain HTTP: pure texts, one file each.
//!
//! Both start a run under an `Idempotency-Key` of the orchestrator's own run, so that a request that is sent again starts no second one. The
//! job's own `schedule` should be off then: two clocks start it twice.

mod airflow;
mod dolphinscheduler;

use weir_error::{Error, Kind, Result};
use weir_spec::Pipeline;

pub use airflow::airflow;
pub use dolphinscheduler::dolphinscheduler;

/// What is started, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub struct Started<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// Id of the job that the server has of it.
    pub job: &'a str,
    /// Minutes that a run may take.
    pub timeout_minutes: u32,
}

impl<'a> Started<'a> {
    /// Checks the id: it becomes part of an address.
    pub fn new(pipeline: &'a Pipeline, job: &'a str, timeout_minutes: u32) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if job.is_empty() || job.len() > 64 || !job.chars().all(plain) || job.starts_with(['_', '-']) {
            return Err(Error::new("WEIR-EXPORT-001", Kind::Spec, format!("`{job}` is no id of a job"))
                .hint("`GET /api/v1/jobs` of the server lists them with their ids"));
        }
        Ok(Self { pipeline, job, timeout_minutes })
    }

    fn about(&self) -> String {
        match &self.pipeline.description {
            Some(text) => text.lines().next().unwrap_or_default().to_owned(),
            None => format!("Runs {} on Weir and waits for its end.", self.pipeline.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn pipeline(schedule: &str) -> Pipeline {
        let text = format!(
            "pipeline: orders\ndescription: \"Orders: \\\"all\\\" of them\"\n{schedule}source: {{file: {{path: a.csv}}}}\nsink: {{file: {{path: b.csv}}}}\n"
        );
        let words = weir_plan::vocabulary(&weir_connectors::registry::registry());
        weir_spec::parse(&text, "orders.yaml", &words).pipelines.remove(0)
    }

    /// `WEIR_REWRITE=1` writes what is made now.
    fn compare(name: &str, made: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/orchestrators").join(name);
        if std::env::var_os("WEIR_REWRITE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, made).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), made, "{name}");
    }

    #[test]
    fn what_orchestrators_get_is_exactly_what_is_expected() {
        let scheduled = pipeline("schedule: {cron: \"0 */6 * * *\", timezone: Europe/Berlin}\n");
        let started = Started::new(&scheduled, "01a1ff19d3df7526", 90).unwrap();
        compare("scheduled.py", &airflow(&started, "weir"));
        compare("scheduled.json", &dolphinscheduler(&started, "http://weir:8080/").unwrap());
        let by_hand = pipeline("");
        compare("by_hand.py", &airflow(&Started::new(&by_hand, "job-1", 60).unwrap(), "weir \"prod\""));
    }

    #[test]
    fn ids_and_addresses_that_are_none_are_refused() {
        let pipeline = pipeline("");
        for job in ["", "a b", "../x", "-a", &"a".repeat(65)] {
            assert_eq!(Started::new(&pipeline, job, 1).unwrap_err().code(), "WEIR-EXPORT-001", "{job}");
        }
        let started = Started::new(&pipeline, "a", 1).unwrap();
        for url in ["weir:8080", "ftp://weir", "http://u:p@weir"] {
            assert_eq!(dolphinscheduler(&started, url).unwrap_err().code(), "WEIR-EXPORT-002", "{url}");
        }
    }
}
