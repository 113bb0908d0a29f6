//! `running`: the only state that others follow. What follows is decided here and nowhere else.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use weir_error::{Error, Kind, Retry};
use weir_store::model::{RetryPolicy, Run};

use super::queued::{after_loss, backoff};
use super::{Cancelled, Ending, Exit, Failed, MOST_ATTEMPTS, Next, Queued, Stop, Succeeded};
use crate::worker::Resources;

/// An attempt under way.
#[derive(Debug, Clone)]
pub struct Running {
    attempt: u32,
    failed_before: u32,
    policy: RetryPolicy,
}

/// Whether another attempt makes sense.
enum Chance {
    /// It would end the same way.
    None,
    /// It may pass; the job's policy says how often.
    Maybe,
    /// The attempt did not fail, it was taken away.
    Lost,
}

impl Running {
    /// A claimed run; `policy` is its job's.
    pub fn new(run: &Run, policy: &RetryPolicy) -> Self {
        let failed_before = Resources::of_run(run.resources.as_ref()).failed_attempts;
        Self { attempt: run.attempt, failed_before, policy: policy.clone() }
    }

    /// What follows. A report of success always wins: the data is committed, whatever happened to the process around it.
    pub fn ended(self, ending: Ending, now: DateTime<Utc>) -> Next {
        let Ending { report, exit, stop, refused, said, kernel_out_of_memory } = ending;
        let status = report.as_ref().and_then(|report| report.get("status")).and_then(Value::as_str).unwrap_or_default();
        if status == "succeeded"
            && let Some(report) = report
        {
            return Next::Succeeded(Succeeded { report });
        }
        match stop {
            Some(Stop::Cancel) => return Next::Cancelled(Cancelled { report }),
            Some(Stop::Limit(error)) => return failed(body(&error), report),
            Some(Stop::Drain) if status != "failed" && status != "dead_letters_exceeded" => {
                return self.again(Chance::Lost, now, now, None, report);
            }
            Some(Stop::Drain) | None => {}
        }
        if status == "dead_letters_exceeded" {
            return failed(body(&too_many_dead_letters(report.as_ref())), report);
        }
        let told = report.as_ref().and_then(|report| report.get("error")).filter(|error| error.is_object()).cloned();
        let (error, chance) = match (told, refused) {
            (Some(error), _) => {
                let chance = chance_of(&error);
                (error, chance)
            }
            (None, Some(error)) => (body(&error), chance_of(&body(&error))),
            (None, None) if status == "interrupted" => (body(&interrupted()), Chance::Lost),
            (None, None) => without_a_word(exit, &said, kernel_out_of_memory),
        };
        let wait = match chance {
            Chance::Lost => after_loss(self.attempt),
            Chance::Maybe | Chance::None => backoff(&self.policy, self.failed_before + 1),
        };
        let at = now + wait;
        self.again(chance, now, at, Some(error), report)
    }

    fn again(self, chance: Chance, now: DateTime<Utc>, at: DateTime<Utc>, error: Option<Value>, report: Option<Value>) -> Next {
        let allowed = match chance {
            Chance::None => false,
            Chance::Maybe => self.failed_before + 1 < self.policy.max_attempts,
            Chance::Lost => true,
        };
        if allowed && self.attempt < MOST_ATTEMPTS {
            let counted = matches!(chance, Chance::Maybe);
            return Next::Queued(Queued { at: at.max(now), counted, error, report });
        }
        failed(error.unwrap_or_else(|| body(&worn_out(self.attempt))), report)
    }
}

fn failed(error: Value, report: Option<Value>) -> Next {
    Next::Failed(Failed { error, report })
}

fn body(error: &Error) -> Value {
    serde_json::to_value(error.to_json()).unwrap_or_else(|_| json!({"code": error.code(), "message": error.what()}))
}

/// Transient errors and systems that cannot be reached may pass. A lock that is held belongs to the process of a former attempt, which ends
/// by itself. Everything else (a bad spec, a loss of type, refused credentials, broken data) ends the same way again.
fn chance_of(error: &Value) -> Chance {
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("code") == "WEIR-RUN-010" {
        return Chance::Lost;
    }
    if matches!(text("kind"), "spec" | "type_loss") {
        return Chance::None;
    }
    let transient = error.get("transient").and_then(Value::as_bool).unwrap_or(false);
    if transient || text("kind") == "connect" { Chance::Maybe } else { Chance::None }
}

fn too_many_dead_letters(report: Option<&Value>) -> Error {
    let streams = report.and_then(|report| report.get("streams")).and_then(Value::as_array);
    let dead: u64 = streams.into_iter().flatten().filter_map(|stream| stream.get("rows_dead").and_then(Value::as_u64)).sum();
    Error::new("WEIR-WORKER-040", Kind::Data, "more records could not be processed than the pipeline allows")
        .because(format!("{dead} dead letters; all other rows are committed"))
        .hint("look at the run's dead letters; tolerate them with `dead_letters: {allow: N}`, or mend them and replay")
}

fn interrupted() -> Error {
    Error::new("WEIR-WORKER-013", Kind::Cancelled, "the run was interrupted from outside; its checkpoint is kept")
        .retry(Retry::Transient)
}

fn worn_out(attempt: u32) -> Error {
    Error::new("WEIR-WORKER-014", Kind::Limit, format!("the run did not come to an end in {attempt} attempts"))
        .hint("its checkpoint is kept; look at the workers' logs, then run the job again")
}

/// The process ended and gave no report.
fn without_a_word(exit: Option<Exit>, said: &str, kernel_out_of_memory: bool) -> (Value, Chance) {
    let because = |error: Error| if said.is_empty() { error } else { error.because(said) };
    let memory = || {
        Error::new("WEIR-WORKER-020", Kind::Limit, "the run's process wanted more memory than there is")
            .hint("give the run less to hold (fewer lanes: `parallelism`), or a larger limit: WEIR_RUN_MEMORY, the tenant's max_memory_bytes_per_run")
    };
    let crashed = |how: String| {
        Error::new("WEIR-WORKER-011", Kind::Internal, format!("the run's process {how} without a report")).transient()
    };
    match exit {
        Some(Exit::Signal(libc::SIGABRT)) if said.contains("memory allocation of") => (body(&because(memory())), Chance::None),
        Some(Exit::Signal(libc::SIGKILL)) if kernel_out_of_memory => {
            (body(&memory().because("the kernel killed it: the machine was out of memory").transient()), Chance::Maybe)
        }
        Some(Exit::Signal(signal @ (libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP))) => {
            let error = Error::new("WEIR-WORKER-012", Kind::Internal, "the run's process was killed from outside").transient();
            (body(&error.because(format!("signal {signal}"))), Chance::Lost)
        }
        Some(Exit::Signal(signal)) => (body(&because(crashed(format!("was ended by signal {signal}")))), Chance::Maybe),
        Some(Exit::Code(2)) => {
            let error = Error::new("WEIR-WORKER-015", Kind::Spec, "the pipeline cannot run as it is");
            (body(&because(error)), Chance::None)
        }
        Some(Exit::Code(3)) => {
            let error = Error::new("WEIR-WORKER-016", Kind::Connect, "a system cannot be reached").transient();
            (body(&because(error)), Chance::Maybe)
        }
        Some(Exit::Code(130)) => (body(&interrupted()), Chance::Lost),
        Some(Exit::Code(code)) => (body(&because(crashed(format!("ended with exit code {code}")))), Chance::Maybe),
        None => (body(&Error::internal("a run ended that was never started")), Chance::None),
    }
}
