//! What follows from a spec: mode, connectors, connections, schedule, alert rules, labels.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;
use weir_spec::{Diagnostic, Mode, Pipeline, Role, codes};
use weir_store::model::{NewRule, Schedule, TenantId};

use crate::schedule::Timetable;
use crate::workbench::{Checked, Workbench};

use super::body::{catch_up_of, overlap_of};
use super::refused::{Refused, Understood};

/// What a spec says of its job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Derived {
    pub name: String,
    pub description: Option<String>,
    pub mode: String,
    pub source_kinds: Vec<String>,
    pub sink_kinds: Vec<String>,
    pub connections: Vec<String>,
    pub schedule: Option<Schedule>,
    pub labels: BTreeMap<String, String>,
    pub rules: Vec<NewRule>,
}

/// Connectors by every name that they have.
pub(crate) fn kinds(workbench: &dyn Workbench) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for connector in workbench.connectors().as_array().into_iter().flatten() {
        let Some(name) = connector.get("name").and_then(Value::as_str) else { continue };
        out.insert(name.to_string(), name.to_string());
        for alias in connector.get("aliases").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            out.insert(alias.to_string(), name.to_string());
        }
    }
    out
}

/// Systems that the seeds' specs name and that this build may not have yet. A spec that fails for nothing else is kept as a paused job.
const PLANNED: [&str; 36] = [
    "activemq",
    "bigquery",
    "cassandra",
    "cassandra-cdc",
    "clickhouse",
    "doris",
    "elasticsearch",
    "ftp",
    "graphql",
    "hdfs",
    "iceberg",
    "ignite",
    "kafka",
    "mongodb",
    "mongodb-cdc",
    "mysql",
    "mysql-cdc",
    "opensearch",
    "oracle",
    "oracle-cdc",
    "postgres-cdc",
    "postgresql-cdc",
    "pulsar",
    "rabbitmq",
    "redis",
    "redshift",
    "sftp",
    "snowflake",
    "sqlserver",
    "sqlserver-cdc",
    "starrocks",
    "hive",
    "webhook",
    "websocket",
    "rest",
    "kinesis",
];

/// `mode: cdc` and `mode: streaming`, as long as no connector here can do them.
const MODE_UNAVAILABLE: &str = "WEIR-PLAN-005";

/// Whether the only errors are connectors that this build does not have, and that are known to exist elsewhere.
pub(super) fn only_unavailable(checked: &Checked, kinds: &BTreeMap<String, String>) -> bool {
    let Some(pipeline) = checked.pipelines.first() else { return false };
    let of_nodes = pipeline.systems().map(|node| node.kind.as_str());
    let used: BTreeSet<&str> = of_nodes.chain(pipeline.connections.values().map(|connection| connection.kind.as_str())).collect();
    let unknown: Vec<&str> = used.into_iter().filter(|kind| !kinds.contains_key(*kind)).collect();
    let place = |problem: &Diagnostic| !problem.path.starts_with("transforms");
    let mut errors = checked.diagnostics.iter().filter(|problem| problem.is_error());
    !unknown.is_empty()
        && unknown.iter().all(|kind| PLANNED.contains(kind))
        && errors.all(|problem| (problem.code == codes::UNKNOWN_CONNECTOR && place(problem)) || problem.code == MODE_UNAVAILABLE)
}

/// The only pipeline of a file that the caller accepts, and what follows from it.
pub(super) fn derive(checked: &Checked, tenant: &TenantId, kinds: &BTreeMap<String, String>) -> Result<Derived, Refused> {
    let pipeline = match checked.pipelines.as_slice() {
        [one] => one,
        several => {
            return Err(Refused::at(
                "WEIR-JOB-004",
                "",
                format!("a job has exactly one pipeline, and this file has {}", several.len()),
                "make a job of each",
            ));
        }
    };
    if let Some(named) = pipeline.tenant.as_deref().filter(|named| *named != tenant.as_str()) {
        let shown: String = named.chars().take(63).collect();
        return Err(Refused::Diagnostics(vec![
            Diagnostic::error("WEIR-JOB-005", format!("the spec is for the tenant `{shown}`, and you act for `{tenant}`"))
                .at("tenant", pipeline.spans.get("/tenant").copied())
                .help("remove `tenant`, or act for the tenant it names"),
        ]));
    }
    let canonical = |kind: &str| kinds.get(kind).cloned().unwrap_or_else(|| kind.to_string());
    let of = |role: Role| -> Vec<String> {
        pipeline.of(role).map(|node| canonical(&node.kind)).collect::<BTreeSet<_>>().into_iter().collect()
    };
    Ok(Derived {
        name: pipeline.name.clone(),
        description: pipeline.description.clone(),
        mode: mode(pipeline.mode).into(),
        source_kinds: of(Role::Source),
        sink_kinds: of(Role::Sink),
        connections: connections(pipeline),
        schedule: pipeline.schedule.as_ref().map(|schedule| Schedule {
            cron: schedule.cron.clone(),
            timezone: schedule.timezone.clone().unwrap_or_else(|| "UTC".into()),
            overlap: overlap_of(schedule.overlap.as_deref()),
            catch_up: catch_up_of(schedule.catch_up.as_deref()),
            jitter_secs: 0,
        }),
        labels: pipeline.labels.clone(),
        rules: pipeline
            .alerts
            .iter()
            .map(|alert| NewRule {
                metric: alert.metric.clone(),
                threshold: alert.above,
                window_secs: alert
                    .window
                    .as_deref()
                    .and_then(weir_spec::units::duration_ms)
                    .map_or(WINDOW_SECS, |ms| u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX)),
                severity: alert.severity.clone().unwrap_or_else(|| "warning".into()),
                action: alert.action.clone().unwrap_or_else(|| "webhook".into()),
            })
            .collect(),
    })
}

/// A rule that names no window looks at this long.
const WINDOW_SECS: u32 = 300;

/// As the spec writes it.
pub(super) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Batch => "batch",
        Mode::Incremental => "incremental",
        Mode::Cdc => "cdc",
        Mode::Streaming => "streaming",
    }
}

/// Names of connections that the file uses and does not declare.
fn connections(pipeline: &Pipeline) -> Vec<String> {
    let named = pipeline.systems().filter_map(|node| node.options.get("connection").and_then(Value::as_str));
    let journal = pipeline.journal.as_ref().and_then(|journal| journal.connection.as_deref());
    named
        .chain(journal)
        .filter(|name| !pipeline.connections.contains_key(*name))
        .map(str::to_string)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// The schedule with its first fire after `now`.
pub(super) fn first_fire(schedule: Schedule, now: DateTime<Utc>) -> Result<(Schedule, DateTime<Utc>), Refused> {
    let next = Timetable::new(&schedule.cron, &schedule.timezone).map_err(|error| {
        let message = match error.why() {
            Some(why) => format!("{}: {why}", error.what()),
            None => error.what().to_string(),
        };
        Refused::at(error.code(), "schedule", message, error.advice().unwrap_or_default())
    })?;
    match next.after(now) {
        Some(at) => Ok((schedule, at)),
        None => Err(Refused::at("WEIR-SCHEDULE-001", "schedule", "the schedule never fires again", "choose another")),
    }
}

impl Derived {
    /// For people.
    pub fn understood(&self) -> Understood {
        let schedule = self
            .schedule
            .as_ref()
            .map(|schedule| crate::schedule::words(&schedule.cron, &schedule.timezone).unwrap_or_else(|_| schedule.cron.clone()));
        Understood {
            name: self.name.clone(),
            mode: self.mode.clone(),
            sources: self.source_kinds.clone(),
            sinks: self.sink_kinds.clone(),
            connections: self.connections.clone(),
            schedule,
        }
    }
}
