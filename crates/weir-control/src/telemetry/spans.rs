//! From an attempt of a run to its spans.
//!
//! ```text
//! Job Execution
//! ├── Secret Resolution     claimed, until the order with the opened secrets is written
//! ├── Compilation           the child reads the spec and plans against the real systems
//! ├── Job Submission        the plan is handed to the engine, until the engine's report
//! │   └── stream NAME       one for each stream
//! └── Completion            the outcome is stored
//! ```
//!
//! All attempts of a run are in one trace: that of the request that asked for it, else the run's own id. Ids are derived, so that a span which
//! is sent twice is the same span.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sha2::{Digest, Sha256};
use weir_store::model::{Run, RunId, RunStatus, StreamCounts};

/// When what happened in an attempt; a step that was never reached has no time.
#[derive(Debug, Clone, PartialEq)]
pub struct Marks {
    /// The run was claimed.
    pub claimed: DateTime<Utc>,
    /// Its secrets are opened and the child has its order.
    pub ordered: Option<DateTime<Utc>>,
    /// The child has planned.
    pub planned: Option<DateTime<Utc>>,
    /// The engine has reported.
    pub reported: Option<DateTime<Utc>>,
    /// The outcome is stored.
    pub ended: DateTime<Utc>,
    /// First and last sign of each stream.
    pub streams: Vec<(String, DateTime<Utc>, DateTime<Utc>)>,
}

/// The trace of a run: that of its request, else its own.
pub fn trace_id(run: &Run) -> TraceId {
    let given = run.trace_id.as_deref().and_then(|text| TraceId::from_hex(text).ok()).filter(|id| *id != TraceId::INVALID);
    given.unwrap_or_else(|| {
        let bytes: [u8; 16] = digest(&run.id, 0, "trace")[..16].try_into().unwrap_or([1; 16]);
        TraceId::from_bytes(bytes)
    })
}

/// W3C `traceparent` of an attempt's root span.
pub fn trace_parent(run: &Run) -> String {
    format!("00-{}-{}-01", trace_id(run), span_id(&run.id, run.attempt, ROOT))
}

const ROOT: &str = "Job Execution";
const SUBMISSION: &str = "Job Submission";

fn digest(run: &RunId, attempt: u32, name: &str) -> [u8; 32] {
    Sha256::new().chain_update(run.as_str()).chain_update(attempt.to_le_bytes()).chain_update(name).finalize().into()
}

fn span_id(run: &RunId, attempt: u32, name: &str) -> SpanId {
    SpanId::from_bytes(digest(run, attempt, name)[..8].try_into().unwrap_or([1; 8]))
}

/// What all spans of a tree share.
struct Tree<'a> {
    run: &'a Run,
    attempt: u32,
    trace: TraceId,
}

impl Tree<'_> {
    fn span(&self, parent: Option<&str>, id: &str, name: String, from: DateTime<Utc>, to: DateTime<Utc>) -> SpanData {
        SpanData {
            span_context: SpanContext::new(
                self.trace,
                span_id(&self.run.id, self.attempt, id),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: parent.map_or(SpanId::INVALID, |parent| span_id(&self.run.id, self.attempt, parent)),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: SystemTime::from(from),
            // A clock that was set back must not make a span that ends before it begins.
            end_time: SystemTime::from(to.max(from)),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("weir").with_version(env!("CARGO_PKG_VERSION")).build(),
        }
    }
}

/// The spans of an attempt, root first. `run` is as it was stored at the end; `job` is the job's name.
pub fn tree(run: &Run, attempt: u32, job: &str, marks: &Marks) -> Vec<SpanData> {
    let tree = Tree { run, attempt, trace: trace_id(run) };
    let mut root = tree.span(None, ROOT, ROOT.into(), marks.claimed, marks.ended);
    root.attributes = vec![
        KeyValue::new("weir.tenant", run.tenant_id.to_string()),
        KeyValue::new("weir.job.id", run.job_id.to_string()),
        KeyValue::new("weir.job.name", job.to_owned()),
        KeyValue::new("weir.job.version", run.job_version),
        KeyValue::new("weir.run.id", run.id.to_string()),
        KeyValue::new("weir.run.attempt", i64::from(attempt)),
        KeyValue::new("weir.run.status", run.status.as_str()),
    ];
    root.status = match run.status {
        RunStatus::Succeeded => Status::Ok,
        RunStatus::Cancelled | RunStatus::Skipped => Status::Unset,
        // `queued` again: this attempt has failed.
        RunStatus::Failed | RunStatus::Queued | RunStatus::Running => Status::error(why(run)),
    };
    if let Some(code) = run.error.as_ref().and_then(|error| error["code"].as_str()) {
        root.attributes.push(KeyValue::new("error.type", code.to_owned()));
    }
    let mut spans = vec![root];
    let mut from = marks.claimed;
    let steps = [("Secret Resolution", marks.ordered), ("Compilation", marks.planned), (SUBMISSION, marks.reported)];
    let mut stopped = false;
    for (name, reached) in steps {
        let mut span = tree.span(Some(ROOT), name, name.into(), from, reached.unwrap_or(marks.ended));
        match reached {
            Some(at) => from = at,
            None => {
                // The step that the attempt ended in; those after it never began.
                span.status = Status::error(why(run));
                stopped = true;
            }
        }
        spans.push(span);
        if name == SUBMISSION {
            spans.extend(streams(&tree, run, marks));
        }
        if stopped {
            break;
        }
    }
    if !stopped {
        spans.push(tree.span(Some(ROOT), "Completion", "Completion".into(), from, marks.ended));
    }
    spans
}

fn streams<'a>(tree: &'a Tree<'_>, run: &'a Run, marks: &'a Marks) -> impl Iterator<Item = SpanData> + 'a {
    marks.streams.iter().map(move |(name, from, to)| {
        let mut span = tree.span(Some(SUBMISSION), &format!("stream/{name}"), format!("stream {name}"), *from, *to);
        if let Some(counts) = run.streams.iter().find(|stream| stream.name == *name) {
            span.attributes = counted(counts);
        }
        span
    })
}

fn counted(counts: &StreamCounts) -> Vec<KeyValue> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    vec![
        KeyValue::new("weir.stream", counts.name.clone()),
        KeyValue::new("weir.rows_read", number(counts.rows_read)),
        KeyValue::new("weir.rows_written", number(counts.rows_written)),
        KeyValue::new("weir.rows_filtered", number(counts.rows_filtered)),
        KeyValue::new("weir.rows_dead", number(counts.rows_dead)),
        KeyValue::new("weir.bytes_written", number(counts.bytes_written)),
    ]
}

/// The first sentence of the error.
fn why(run: &Run) -> String {
    let what = run.error.as_ref().and_then(|error| error["message"].as_str().or(error["what"].as_str()));
    what.unwrap_or("the attempt did not succeed").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_store::model::{JobId, TenantId, Trigger};

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    fn run(status: RunStatus) -> Run {
        Run {
            id: RunId::from("0192f0c1-7a3b-7000-8000-000000000001"),
            tenant_id: TenantId::from("acme"),
            job_id: JobId::from("j"),
            job_version: 3,
            status,
            trigger: Trigger::Manual,
            attempt: 1,
            cancel_requested: false,
            queued_at: at(0),
            started_at: Some(at(1)),
            ended_at: Some(at(9)),
            worker: None,
            streams: vec![StreamCounts { name: "orders".into(), rows_written: 7, ..StreamCounts::default() }],
            report: None,
            error: (status == RunStatus::Failed).then(|| serde_json::json!({"code": "WEIR-PG-002", "message": "gone"})),
            trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
            resources: None,
        }
    }

    fn marks() -> Marks {
        Marks {
            claimed: at(1),
            ordered: Some(at(2)),
            planned: Some(at(3)),
            reported: Some(at(8)),
            ended: at(9),
            streams: vec![("orders".into(), at(4), at(7))],
        }
    }

    #[test]
    fn a_run_is_a_tree_of_steps_and_streams_in_the_trace_of_its_request() {
        let spans = tree(&run(RunStatus::Succeeded), 1, "nightly", &marks());
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_ref()).collect();
        assert_eq!(names, ["Job Execution", "Secret Resolution", "Compilation", "Job Submission", "stream orders", "Completion"]);
        let root = spans[0].span_context.span_id();
        assert!(spans.iter().all(|s| s.span_context.trace_id().to_string() == "0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(spans[1].parent_span_id, root);
        assert_eq!(spans[4].parent_span_id, spans[3].span_context.span_id());
        assert_eq!(spans[0].status, Status::Ok);
        assert!(spans[4].attributes.contains(&KeyValue::new("weir.rows_written", 7)));
        // Steps follow each other without a gap.
        for pair in [(1, 2), (2, 3), (3, 5)] {
            assert_eq!(spans[pair.0].end_time, spans[pair.1].start_time);
        }
    }

    #[test]
    fn an_attempt_that_ends_early_has_its_error_at_the_step_it_ended_in() {
        let marks = Marks { planned: None, reported: None, streams: Vec::new(), ..marks() };
        let spans = tree(&run(RunStatus::Failed), 1, "nightly", &marks);
        assert_eq!(spans.len(), 3);
        assert_eq!(spans[2].name, "Compilation");
        assert_eq!(spans[2].status, Status::error("gone"));
        assert!(spans[0].attributes.contains(&KeyValue::new("error.type", "WEIR-PG-002")));
    }

    #[test]
    fn attempts_of_a_run_share_a_trace_and_no_span() {
        let mut run = run(RunStatus::Failed);
        run.trace_id = None;
        let first = trace_parent(&run);
        run.attempt = 2;
        let second = trace_parent(&run);
        assert_eq!(first[..36], second[..36]);
        assert_ne!(first, second);
    }
}
