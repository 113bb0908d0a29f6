//! The one table of routes: method, path, least role, operation id, handler. Router, OpenAPI document and tests are made from it.

use std::sync::LazyLock;

use axum::http::{Method, StatusCode};
use weir_store::model::Role::{self, Admin, Editor, Operator, PlatformAdmin, Viewer};

use crate::answer::Reply;
use crate::api::page::{All, Page};
use crate::api::words::{ALERT_STATES, JOB_ORDERS, JOB_STATUSES, MODES, RUN_ORDERS, RUN_STATUSES};
use crate::api::*;
use crate::ask::Ask;
use crate::legacy;
use crate::params::{Param, Shape};
use crate::route::Route;
use weir_control::access::Caller;

/// All of them.
pub static TABLE: LazyLock<Vec<Route>> = LazyLock::new(|| {
    [
        jobs_routes(),
        dead_letters_routes(),
        runs_routes(),
        monitoring_routes(),
        resources_routes(),
        access_routes(),
        legacy_routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
});

const LIMIT: Param = Param::query("limit", Shape::Integer { min: 1, max: 500, default: Some(50) }, "Rows at most.");
const CURSOR: Param = Param::query("cursor", Shape::Text { max: 2000 }, "`next_cursor` of the page before.");
const AFTER: Param =
    Param::query("after", Shape::Integer { min: 0, max: 9_007_199_254_740_991, default: None }, "Go on after this number.");
const SINCE: Param = Param::query("since", Shape::Time, "Not older than this.");
const RUN_SORT: Param = Param::query(
    "sort",
    Shape::Word(RUN_ORDERS),
    "By what; `-`: the largest first. `-queued_at` if absent. Runs that have not begun, or for `duration` not ended, are the smallest.",
);
const JOB: Param = Param::id("job_id", "The job.");
const JOB_FILTER: Param = Param::query("job_id", Shape::Id, "Only of this job.");
const RUN: Param = Param::id("run_id", "The run.");
const RUN_STATUS: Param = Param::query("status", Shape::Word(RUN_STATUSES), "Only in this state.");

/// The example of seed 000, shortened.
const JOB_EXAMPLE: &str = r#"{"name": "orders to parquet", "source": {"connector_type": "file", "connection_params": {"path": "orders.csv"}},
 "sink": {"connector_type": "file", "connection_params": {"path": "out/orders.parquet"}}, "sync_mode": "batch"}"#;

fn get<F, R>(path: &'static str, role: Role, id: &'static str, run: F) -> Route
where
    F: Fn(Ask, Caller) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    Route::guarded(Method::GET, path, role, id, run)
}

fn post<F, R>(path: &'static str, role: Role, id: &'static str, run: F) -> Route
where
    F: Fn(Ask, Caller) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    Route::guarded(Method::POST, path, role, id, run)
}

fn put<F, R>(path: &'static str, role: Role, id: &'static str, run: F) -> Route
where
    F: Fn(Ask, Caller) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    Route::guarded(Method::PUT, path, role, id, run)
}

fn delete<F, R>(path: &'static str, role: Role, id: &'static str, run: F) -> Route
where
    F: Fn(Ask, Caller) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    Route::guarded(Method::DELETE, path, role, id, run)
}

fn jobs_routes() -> Vec<Route> {
    let version =
        Param::path("version", Shape::Integer { min: 1, max: 9_007_199_254_740_991, default: None }, "The version, from 1.");
    vec![
        get("/api/v1/jobs", Viewer, "listJobs", jobs::list)
            .says("jobs", "List jobs, newest first unless another order is asked for")
            .with(&[
                LIMIT,
                CURSOR,
                Param::query("sort", Shape::Word(JOB_ORDERS), "By what; `-`: the largest first. `-created_at` if absent."),
                Param::query("name", Shape::Text { max: 200 }, "Part of the name, in any case."),
                Param::query("status", Shape::Word(JOB_STATUSES), "Only in this state."),
                Param::query("mode", Shape::Word(MODES), "Only in this mode."),
                Param::query("connector", Shape::Name, "Only with a source or sink of this kind."),
                Param::query("connection", Shape::Name, "Only with this stored connection."),
                Param::query("label", Shape::Label, "Only with this label: `name:value`.").such_as("team:data"),
            ])
            .gives::<Page<jobs::JobSummaryView>>(),
        post("/api/v1/jobs", Editor, "createJob", jobs::create)
            .says("jobs", "Create a job")
            .takes_pipeline::<jobs::JobBody>(JOB_EXAMPLE)
            .gives_with::<jobs::JobView>(StatusCode::CREATED)
            .tagged()
            .also(&[429]),
        get("/api/v1/jobs/{job_id}", Viewer, "getJob", jobs::get)
            .says("jobs", "Get a job with its spec")
            .with(&[JOB])
            .gives::<jobs::JobView>()
            .tagged(),
        put("/api/v1/jobs/{job_id}", Editor, "updateJob", jobs::update)
            .says("jobs", "Replace a job's spec and settings; a changed spec is a new version")
            .with(&[JOB])
            .takes_pipeline::<jobs::JobBody>(JOB_EXAMPLE)
            .gives::<jobs::JobView>()
            .tagged()
            .conditional(),
        delete("/api/v1/jobs/{job_id}", Editor, "deleteJob", jobs::delete)
            .says("jobs", "Delete a job; its queued runs are cancelled, its history stays")
            .with(&[JOB])
            .gives_nothing()
            .conditional(),
        get("/api/v1/jobs/{job_id}/graph", Viewer, "getJobGraph", graph::get)
            .says("jobs", "Get a job's pipeline as a graph of nodes, with what the checker says of it")
            .with(&[JOB])
            .gives::<graph::Graph>(),
        get("/api/v1/jobs/{job_id}/positions", Viewer, "getJobPositions", positions::look)
            .says("jobs", "Get how far a job's streams are: cursors, splits with their positions and lag, event time")
            .with(&[JOB])
            .also(&[409, 422, 429])
            .gives::<weir_control::positions::JobPositions>(),
        get("/api/v1/jobs/{job_id}/versions", Viewer, "listJobVersions", jobs::versions)
            .says("jobs", "List the kept versions of a job's spec, newest first")
            .with(&[JOB, LIMIT, CURSOR])
            .gives::<Page<jobs::VersionView>>(),
        get("/api/v1/jobs/{job_id}/versions/{version}", Viewer, "getJobVersion", jobs::version)
            .says("jobs", "Get a kept version of a job's spec")
            .with(&[JOB, version])
            .gives::<jobs::VersionView>(),
        post("/api/v1/jobs/{job_id}/rollback", Editor, "rollbackJob", jobs::rollback)
            .says("jobs", "Make a new version from a kept one")
            .with(&[JOB])
            .takes::<jobs::Rollback>()
            .such_as(r#"{"version": 1}"#)
            .gives::<jobs::JobView>()
            .tagged()
            .conditional(),
        post("/api/v1/jobs/{job_id}/clone", Editor, "cloneJob", jobs::copy)
            .says("jobs", "Make a copy under another name; it begins paused")
            .with(&[JOB])
            .takes::<jobs::CloneBody>()
            .such_as(r#"{"name": "orders to parquet, for trying out"}"#)
            .gives_with::<jobs::JobView>(StatusCode::CREATED)
            .tagged()
            .also(&[429]),
        post("/api/v1/jobs/{job_id}/run", Operator, "runJob", jobs::run)
            .says("jobs", "Run a job now")
            .with(&[JOB])
            .gives_with::<runs::RunView>(StatusCode::ACCEPTED)
            .also(&[429]),
        post("/api/v1/jobs/{job_id}/pause", Operator, "pauseJob", jobs::pause)
            .says("jobs", "Stop running a job by itself")
            .with(&[JOB])
            .gives::<jobs::JobView>()
            .tagged(),
        post("/api/v1/jobs/{job_id}/resume", Operator, "resumeJob", jobs::resume)
            .says("jobs", "Run a job by itself again; fires of the pause are gone")
            .with(&[JOB])
            .gives::<jobs::JobView>()
            .tagged(),
        get("/api/v1/jobs/{job_id}/journal", Viewer, "getJobJournal", journal::look)
            .says(
                "jobs",
                "Say how the logs of a `cdc` job stand: their journals, how far each sink is, what waits for an approval",
            )
            .with(&[JOB])
            .gives::<weir_control::journal::JobJournal>()
            .also(&[409, 422, 429]),
        post("/api/v1/jobs/{job_id}/journal/approve", Operator, "approveStream", journal::approve)
            .says("jobs", "Let a stream go on that waits since its shape has changed (`on_schema_change: hold`)")
            .with(&[JOB])
            .takes::<journal::ApproveBody>()
            .such_as(r#"{"stream": "public.orders"}"#)
            .gives::<weir_control::journal::Approved>()
            .also(&[429]),
        post("/api/v1/jobs/{job_id}/snapshot", Editor, "snapshotStream", journal::snapshot)
            .says("jobs", "Read a table of a `cdc` job once more, or some of its rows, while its log goes on")
            .with(&[JOB])
            .takes::<journal::SnapshotBody>()
            .such_as(r#"{"stream": "public.orders", "where": "id > 1000"}"#)
            .gives_with::<weir_control::journal::SnapshotAsked>(StatusCode::ACCEPTED)
            .also(&[429]),
    ]
}

/// Records of the sources stand in dead letters as they came, so they are not for viewers.
fn dead_letters_routes() -> Vec<Route> {
    let letter =
        Param::path("letter", Shape::Integer { min: 1, max: 9_007_199_254_740_991, default: None }, "The letter's number.");
    vec![
        get("/api/v1/jobs/{job_id}/dead-letters", Operator, "listDeadLetters", dead_letters::list)
            .says("dead letters", "List the records that a job could not process, newest first, with the beginning of each")
            .with(&[
                JOB,
                LIMIT,
                CURSOR,
                Param::query("state", Shape::Word(dead_letters::LETTER_STATES), "Only in this state."),
                Param::query("run_id", Shape::Id, "Only those that this run has met."),
                Param::query("stream", Shape::Text { max: 1000 }, "Only of this stream."),
                Param::query("code", Shape::Text { max: 100 }, "Only with this code."),
                Param::query("sink", Shape::Text { max: 200 }, "Only those that this sink lacks; `-`: those that none has."),
                SINCE,
                Param::query("until", Shape::Time, "Older than this."),
            ])
            .gives::<weir_control::dead_letters::DeadLetters>()
            .also(&[409, 422, 429]),
        get("/api/v1/jobs/{job_id}/dead-letters/{letter}", Operator, "getDeadLetter", dead_letters::get)
            .says("dead letters", "Get a dead letter with its whole record")
            .with(&[JOB, letter])
            .gives::<weir_control::dead_letters::DeadLetter>()
            .also(&[409, 422, 429]),
        put("/api/v1/jobs/{job_id}/dead-letters/{letter}", Editor, "correctDeadLetter", dead_letters::correct)
            .says("dead letters", "Correct a record: what is written is kept beside what came, if a replay would write it")
            .with(&[JOB, letter])
            .takes::<dead_letters::CorrectionBody>()
            .such_as(r#"{"record": "{\"id\": 7, \"amount\": 12.50}"}"#)
            .gives::<weir_control::dead_letters::DeadLetter>()
            .also(&[429]),
        post("/api/v1/jobs/{job_id}/dead-letters/replay", Operator, "replayDeadLetters", dead_letters::replay)
            .says(
                "dead letters",
                "Take dead letters once more through the pipeline as it is now, in a run of their own, each once",
            )
            .with(&[JOB])
            .takes::<dead_letters::ChoiceBody>()
            .such_as(r#"{"ids": [7, 8]}"#)
            .gives_with::<runs::RunView>(StatusCode::ACCEPTED)
            .also(&[429]),
        post("/api/v1/jobs/{job_id}/dead-letters/discard", Editor, "discardDeadLetters", dead_letters::discard)
            .says("dead letters", "Give dead letters up: they are kept, and no replay takes them")
            .with(&[JOB])
            .takes::<dead_letters::DiscardBody>()
            .such_as(r#"{"reason": "test data", "letters": {"stream": "orders", "up_to": 99}}"#)
            .gives::<weir_control::dead_letters::DiscardedLetters>()
            .also(&[429]),
    ]
}

fn runs_routes() -> Vec<Route> {
    vec![
        get("/api/v1/runs", Viewer, "listRuns", runs::list)
            .says("runs", "List runs, newest first unless another order is asked for")
            .with(&[LIMIT, CURSOR, RUN_SORT, JOB_FILTER, RUN_STATUS, SINCE])
            .gives::<Page<runs::RunView>>(),
        get("/api/v1/jobs/{job_id}/runs", Viewer, "listRunsOfJob", runs::list_of_job)
            .says("runs", "List a job's runs, newest first unless another order is asked for")
            .with(&[JOB, LIMIT, CURSOR, RUN_SORT, RUN_STATUS, SINCE])
            .gives::<Page<runs::RunView>>(),
        get("/api/v1/runs/{run_id}", Viewer, "getRun", runs::get)
            .says("runs", "Get a run with its counts and report")
            .with(&[RUN])
            .gives::<runs::RunView>(),
        get("/api/v1/runs/{run_id}/graph", Viewer, "getRunGraph", graph_counts::get)
            .says("runs", "Get the pipeline of a run as a graph with the rows and bytes on its edges; with `Accept: text/event-stream` live: events `graph`, `counts` when they have changed, at last `end`")
            .with(&[RUN])
            .gives::<graph_counts::RunGraph>()
            .gives_media("text/event-stream"),
        get("/api/v1/runs/{run_id}/logs", Viewer, "getRunLogs", runs::logs)
            .says("runs", "Read a run's log; with `Accept: text/event-stream` live: events `log`, `run` when its state or counts have changed, at last `end`")
            .with(&[RUN, LIMIT, AFTER])
            .gives::<runs::Logs>()
            .gives_media("text/event-stream"),
        post("/api/v1/runs/{run_id}/cancel", Operator, "cancelRun", runs::cancel)
            .says("runs", "Stop a run; a queued one at once, a running one within seconds, its checkpoint kept")
            .with(&[RUN])
            .gives::<runs::RunView>(),
        post("/api/v1/runs/{run_id}/retry", Operator, "retryRun", runs::retry)
            .says("runs", "Run the same version of the job again")
            .with(&[RUN])
            .gives_with::<runs::RunView>(StatusCode::ACCEPTED)
            .also(&[429]),
    ]
}

fn monitoring_routes() -> Vec<Route> {
    let hours = Param::query("time_range_hours", Shape::Integer { min: 1, max: 720, default: Some(24) }, "How far back, hours.");
    vec![
        get("/api/v1/jobs/{job_id}/metrics", Viewer, "getJobMetrics", monitoring::of_job)
            .says("monitoring", "Get a job's numbers: one value per measure, and all values over the time")
            .with(&[JOB, hours])
            .gives::<weir_control::monitoring::JobMetrics>(),
        get("/api/v1/monitoring/dashboard", Viewer, "getMonitoringDashboard", monitoring::dashboard)
            .says("monitoring", "Get what matters now: runs, failing jobs, throughput, lag, freshness, alerts, queue, cost")
            .gives::<weir_control::monitoring::Dashboard>(),
        get("/api/v1/monitoring/history", Viewer, "getMonitoringHistory", monitoring::history)
            .says("monitoring", "Get what all runs did over a while, in 48 steps: rows, bytes, ends, lag")
            .with(&[hours])
            .gives::<weir_control::monitoring::History>(),
        get("/api/v1/monitoring/metrics/export", Viewer, "exportMetrics", monitoring::export)
            .says("monitoring", "Export the tenant's metrics for Prometheus")
            .gives_media("text/plain"),
        post("/api/v1/jobs/{job_id}/alerts", Editor, "setAlertRules", alerts::put_rules)
            .says("monitoring", "Set a job's alert rules: a list replaces all, a single rule is added")
            .with(&[JOB])
            .takes::<alerts::RulesBody>()
            .such_as(
                r#"[{"metric": "error_rate", "threshold": 0.05, "window": "5m", "severity": "critical", "action": "webhook"}]"#,
            )
            .gives::<All<alerts::RuleView>>(),
        get("/api/v1/jobs/{job_id}/alerts", Viewer, "listAlertRules", alerts::rules)
            .says("monitoring", "List a job's alert rules")
            .with(&[JOB])
            .gives::<All<alerts::RuleView>>(),
        post("/api/v1/jobs/{job_id}/alerts/preview", Viewer, "previewAlertRule", alerts::rehearse)
            .says("monitoring", "Say when a rule would have fired, from what was measured; nothing is stored")
            .with(&[
                JOB,
                Param::query("time_range_hours", Shape::Integer { min: 1, max: 720, default: Some(168) }, "How far back, hours."),
            ])
            .takes::<alerts::RuleBody>()
            .such_as(r#"{"metric": "error_rate", "threshold": 0.05, "window": "5m"}"#)
            .gives::<weir_control::monitoring::Rehearsal>(),
        get("/api/v1/alerts", Viewer, "listAlerts", alerts::list)
            .says("monitoring", "List alerts, newest first")
            .with(&[LIMIT, CURSOR, JOB_FILTER, Param::query("state", Shape::Word(ALERT_STATES), "Only in this state.")])
            .gives::<Page<alerts::AlertView>>(),
        post("/api/v1/silences", Operator, "createSilence", alerts::silence)
            .says("monitoring", "Send no notifications of a job, or of all, for a while")
            .takes::<alerts::SilenceBody>()
            .such_as(r#"{"until": "2099-01-01T06:00:00Z", "reason": "maintenance of the warehouse"}"#)
            .gives_with::<alerts::SilenceView>(StatusCode::ACCEPTED)
            .also(&[404]),
        delete("/api/v1/silences/{silence_id}", Operator, "endSilence", alerts::end_silence)
            .says("monitoring", "End a silence that still holds")
            .with(&[Param::id("silence_id", "The silence.")])
            .gives_nothing(),
        get("/api/v1/silences", Viewer, "listSilences", alerts::silences)
            .says("monitoring", "List the silences that still hold")
            .gives::<All<alerts::SilenceView>>(),
        get("/api/v1/events", Viewer, "listEvents", events::list)
            .says("events", "Read events as CloudEvents; with `Accept: text/event-stream` live")
            .with(&[LIMIT, AFTER])
            .gives::<events::Events>()
            .gives_media("text/event-stream"),
        post("/api/v1/subscriptions", Admin, "createSubscription", subscriptions::create)
            .says("events", "Send events to a URL, signed; the key is shown once")
            .takes::<subscriptions::NewSubscriptionBody>()
            .such_as(r#"{"url": "https://hooks.example.com/weir", "kinds": ["run.finished"]}"#)
            .gives_with::<subscriptions::CreatedSubscription>(StatusCode::CREATED),
        get("/api/v1/subscriptions", Admin, "listSubscriptions", subscriptions::list)
            .says("events", "List subscriptions")
            .gives::<All<subscriptions::SubscriptionView>>(),
        get("/api/v1/subscriptions/{subscription_id}", Admin, "getSubscription", subscriptions::get)
            .says("events", "Get a subscription")
            .with(&[Param::id("subscription_id", "The subscription.")])
            .gives::<subscriptions::SubscriptionView>(),
        delete("/api/v1/subscriptions/{subscription_id}", Admin, "deleteSubscription", subscriptions::delete)
            .says("events", "Delete a subscription")
            .with(&[Param::id("subscription_id", "The subscription.")])
            .gives_nothing(),
    ]
}

fn resources_routes() -> Vec<Route> {
    let connection = Param::id("connection_id", "The connection.");
    let template = Param::id("template_id", "The template.");
    let secret = Param::path("name", Shape::Name, "The secret's name.");
    vec![
        post("/api/v1/pipelines/validate", Viewer, "validatePipeline", pipelines::validate)
            .says("pipelines", "Check a pipeline without storing it; problems are told, not refused")
            .takes_pipeline::<jobs::JobBody>(JOB_EXAMPLE)
            .anything()
            .gives::<pipelines::ValidationView>(),
        get("/api/v1/pipelines/schema", Viewer, "getPipelineSchema", pipelines::schema)
            .says("pipelines", "Get the JSON Schema of pipeline files, for editors")
            .gives_media("application/schema+json"),
        post("/api/v1/pipelines/plan", Editor, "planPipeline", pipelines::plan)
            .says("pipelines", "Say what a run of a pipeline would do, asking the real systems: types, losses, actions, guarantee; nothing is stored")
            .takes_pipeline::<jobs::JobBody>(JOB_EXAMPLE)
            .anything()
            .gives::<pipelines::PlanView>()
            .also(&[429]),
        post("/api/v1/pipelines/preview", Editor, "previewPipeline", pipelines::preview)
            .says("pipelines", "Read the first rows of each source and after each transform; nothing is written, what looks personal is masked")
            .with(&[Param::query("limit", Shape::Integer { min: 1, max: 100, default: Some(20) }, "Rows per step at most.")])
            .takes_pipeline::<jobs::JobBody>(JOB_EXAMPLE)
            .anything()
            .gives::<pipelines::PreviewView>()
            .also(&[429]),
        get("/api/v1/templates", Viewer, "listTemplates", templates::list)
            .says("templates", "List templates by category")
            .gives::<All<weir_control::templates::Template>>(),
        get("/api/v1/templates/{template_id}", Viewer, "getTemplate", templates::get)
            .says("templates", "Get a template with its text and an example")
            .with(&[template])
            .gives::<weir_control::templates::TemplateDetail>(),
        post("/api/v1/templates/{template_id}/instantiate", Editor, "instantiateTemplate", templates::instantiate)
            .says("templates", "Fill in a template's parameters; make a job of it if asked to")
            .with(&[template])
            .takes::<templates::InstantiateBody>()
            .such_as(r#"{"parameters": {"name": "orders"}, "create_job": false}"#)
            .gives::<templates::Instantiated>()
            .also(&[429]),
        post("/api/v1/connections", Editor, "createConnection", connections::create)
            .says("connections", "Store a connection that specs can name")
            .takes::<connections::ConnectionBody>()
            .such_as(r#"{"name": "warehouse", "kind": "postgres", "options": {"host": "db.example.com", "database": "shop", "user": "weir", "password": "{{warehouse_password}}"}}"#)
            .gives_with::<connections::ConnectionView>(StatusCode::CREATED)
            .tagged(),
        get("/api/v1/connections", Viewer, "listConnections", connections::list)
            .says("connections", "List stored connections, without their secrets")
            .with(&[LIMIT, CURSOR])
            .gives::<Page<connections::ConnectionView>>(),
        get("/api/v1/connections/{connection_id}", Viewer, "getConnection", connections::get)
            .says("connections", "Get a stored connection, without its secrets")
            .with(&[connection])
            .gives::<connections::ConnectionView>()
            .tagged(),
        put("/api/v1/connections/{connection_id}", Editor, "updateConnection", connections::update)
            .says("connections", "Replace a connection's options")
            .with(&[connection])
            .takes::<connections::ConnectionBody>()
            .such_as(r#"{"name": "warehouse", "kind": "postgres", "options": {"host": "db.example.com", "database": "shop", "user": "weir", "password": "{{warehouse_password}}"}}"#)
            .gives::<connections::ConnectionView>()
            .tagged()
            .conditional(),
        delete("/api/v1/connections/{connection_id}", Editor, "deleteConnection", connections::delete)
            .says("connections", "Delete a connection that no job names")
            .with(&[connection])
            .gives_nothing()
            .conditional(),
        post("/api/v1/connections/{connection_id}/test", Operator, "testConnection", connections::test)
            .says("connections", "Try a connection out: latency, version, privileges missing")
            .with(&[connection])
            .gives::<weir_control::connections::ConnectionTest>()
            .also(&[429]),
        post("/api/v1/connections/test", Editor, "testConnectionDraft", connections::test_draft)
            .says("connections", "Try a connection out before it is stored; a secret that is `{\"set\": true}` is that of the stored connection of the name")
            .takes::<connections::ConnectionBody>()
            .such_as(r#"{"name": "warehouse", "kind": "postgres", "options": {"host": "db.example.com", "database": "shop", "user": "weir", "password": "{{warehouse_password}}"}}"#)
            .gives::<weir_control::connections::ConnectionTest>()
            .also(&[429]),
        get("/api/v1/secrets", Editor, "listSecrets", secrets::list)
            .says("secrets", "List the names of secrets")
            .gives::<All<secrets::SecretView>>(),
        put("/api/v1/secrets/{name}", Editor, "putSecret", secrets::put)
            .says("secrets", "Store a value that specs write as `{{name}}`; it is never shown")
            .with(&[secret])
            .takes::<secrets::SecretValue>()
            .such_as(r#"{"value": "correct horse battery staple"}"#)
            .gives_nothing(),
        delete("/api/v1/secrets/{name}", Editor, "deleteSecret", secrets::delete)
            .says("secrets", "Delete a secret")
            .with(&[secret])
            .gives_nothing()
            .also(&[422]),
        get("/api/v1/connectors", Viewer, "listConnectors", connectors::list)
            .says("connections", "List the connectors with the schemas of their options")
            .gives::<connectors::Connectors>(),
        get("/api/v1/schedules/preview", Viewer, "previewSchedule", schedule::preview)
            .says("schedules", "Say what a schedule means and when it fires next")
            .with(&[
                Param::query("cron", Shape::Text { max: 200 }, "Five cron fields.").needed().such_as("0 6 * * 1-5"),
                Param::query("timezone", Shape::Text { max: 64 }, "IANA zone; UTC if absent.").such_as("Europe/Berlin"),
                Param::query("count", Shape::Integer { min: 1, max: 50, default: Some(5) }, "How many fires."),
                Param::query("after", Shape::Time, "After this moment; now if absent."),
            ])
            .gives::<schedule::SchedulePreview>()
            .also(&[422]),
    ]
}

fn access_routes() -> Vec<Route> {
    let tenant = Param::id("tenant_id", "The tenant.");
    let principal = Param::id("principal_id", "The principal.");
    vec![
        get("/api/v1/me", Viewer, "getMe", me::get)
            .says("access", "Say who asks: the principal, its tenant, its role and the scopes of its token")
            .gives::<me::Me>(),
        get("/api/v1/quotas", Viewer, "getQuotas", tenants::quotas)
            .says("tenants", "Get the own tenant's limits and what it has used of them")
            .gives::<tenants::QuotaUse>(),
        get("/api/v1/tenants", PlatformAdmin, "listTenants", tenants::list)
            .says("tenants", "List tenants")
            .with(&[LIMIT, CURSOR])
            .gives::<Page<tenants::TenantView>>(),
        post("/api/v1/tenants", PlatformAdmin, "createTenant", tenants::create)
            .says("tenants", "Create a tenant")
            .takes::<tenants::NewTenant>()
            .such_as(r#"{"id": "team-a", "name": "Team A", "quotas": {"max_pipelines": 100}}"#)
            .gives_with::<tenants::TenantView>(StatusCode::CREATED)
            .tagged(),
        get("/api/v1/tenants/{tenant_id}", PlatformAdmin, "getTenant", tenants::get)
            .says("tenants", "Get a tenant")
            .with(&[tenant])
            .gives::<tenants::TenantView>()
            .tagged(),
        put("/api/v1/tenants/{tenant_id}", PlatformAdmin, "updateTenant", tenants::update)
            .says("tenants", "Change a tenant's name, status and limits")
            .with(&[tenant])
            .takes::<tenants::TenantUpdate>()
            .such_as(r#"{"name": "Team A", "status": "active", "quotas": {"max_pipelines": 200}}"#)
            .gives::<tenants::TenantView>()
            .tagged()
            .conditional(),
        delete("/api/v1/tenants/{tenant_id}", PlatformAdmin, "removeTenant", tenants::remove)
            .says("tenants", "Remove a suspended tenant for good, with its files, connections and secrets; its history stays")
            .with(&[tenant])
            .gives_nothing()
            .conditional(),
        get("/api/v1/principals", Admin, "listPrincipals", principals::list)
            .says("access", "List users and service accounts")
            .with(&[LIMIT, CURSOR])
            .gives::<Page<principals::PrincipalView>>(),
        post("/api/v1/principals", Admin, "createPrincipal", principals::create)
            .says("access", "Create a user or service account")
            .takes::<principals::NewPrincipal>()
            .such_as(r#"{"kind": "service_account", "name": "deployer", "role": "editor"}"#)
            .gives_with::<principals::PrincipalView>(StatusCode::CREATED)
            .tagged(),
        get("/api/v1/principals/{principal_id}", Admin, "getPrincipal", principals::get)
            .says("access", "Get a user or service account")
            .with(&[principal])
            .gives::<principals::PrincipalView>()
            .tagged(),
        put("/api/v1/principals/{principal_id}", Admin, "updatePrincipal", principals::update)
            .says("access", "Change the role, disable or enable")
            .with(&[principal])
            .takes::<principals::PrincipalUpdate>()
            .such_as(r#"{"role": "operator", "disabled": false}"#)
            .gives::<principals::PrincipalView>()
            .tagged()
            .conditional(),
        delete("/api/v1/principals/{principal_id}", Admin, "deletePrincipal", principals::delete)
            .says("access", "Delete a user or service account with its tokens")
            .with(&[principal])
            .gives_nothing()
            .also(&[409]),
        get("/api/v1/tokens", Admin, "listTokens", tokens::list)
            .says("access", "List tokens, without their secrets")
            .with(&[LIMIT, CURSOR, Param::query("principal_id", Shape::Id, "Only of this principal.")])
            .gives::<Page<tokens::TokenView>>(),
        post("/api/v1/tokens", Admin, "createToken", tokens::create)
            .says("access", "Create a token; its secret is shown once")
            .takes::<tokens::NewTokenBody>()
            .gives_with::<tokens::CreatedToken>(StatusCode::CREATED)
            .also(&[404]),
        delete("/api/v1/tokens/{token_id}", Admin, "revokeToken", tokens::revoke)
            .says("access", "Revoke a token")
            .with(&[Param::id("token_id", "The token.")])
            .gives_nothing(),
        get("/api/v1/audit", Admin, "listAudit", audit::list)
            .says("audit", "Read the tenant's audit log, newest first")
            .with(&[
                LIMIT,
                CURSOR,
                SINCE,
                Param::query("action", Shape::Text { max: 100 }, "Only this action: `job.create`."),
                Param::query("actor", Shape::Text { max: 100 }, "Only by this principal."),
            ])
            .gives::<Page<audit::AuditView>>(),
        get("/api/v1/audit/verify", Admin, "verifyAudit", audit::verify)
            .says("audit", "Check that the tenant's audit log is as it was written: every hash, every link, no gap")
            .gives::<audit::CheckView>(),
        get("/api/v1/config", PlatformAdmin, "getConfig", config::effective)
            .says("platform", "List the settings in effect and where each came from; secrets are hidden")
            .gives::<All<config::SettingView>>(),
    ]
}

fn legacy_routes() -> Vec<Route> {
    vec![
        Route::open(Method::GET, "/health", "getHealth", legacy::health)
            .says("runner", "Health of the runner")
            .gives::<legacy::Health>()
            .gives_with::<legacy::Health>(StatusCode::SERVICE_UNAVAILABLE),
        post("/jobs/execute", Editor, "executeSpec", legacy::execute)
            .says("runner", "Store the spec file of the server's folder as a job and run it")
            .with(&[
                Param::query("spec_path", Shape::Text { max: 1000 }, "The file, relative to the folder or absolute.").needed()
            ])
            .gives::<legacy::Executed>()
            .also(&[404, 429]),
        get("/jobs/active", Viewer, "listActiveJobs", legacy::active)
            .says("runner", "List the runs that wait or go on")
            .gives::<legacy::ActiveJobs>(),
        delete("/jobs/{job_id}", Operator, "cancelJob", legacy::cancel)
            .says("runner", "Stop a run")
            .with(&[Param::id("job_id", "The run.")])
            .gives::<legacy::CancelledJob>()
            .also(&[409]),
        get("/metrics", PlatformAdmin, "getMetrics", legacy::metrics)
            .says("runner", "Metrics of the platform for Prometheus")
            .gives_media("text/plain"),
        Route::open(Method::GET, "/livez", "getLive", legacy::live)
            .says("probes", "The process answers")
            .gives::<legacy::Probe>(),
        Route::open(Method::GET, "/readyz", "getReady", legacy::ready)
            .says("probes", "The database answers too")
            .gives::<legacy::Probe>()
            .also(&[503]),
        Route::open(Method::GET, "/openapi.json", "getOpenApi", legacy::openapi)
            .says("probes", "This document")
            .gives_media("application/json"),
        Route::open(Method::GET, "/docs", "getDocs", legacy::docs)
            .says("probes", "A page that lists and tries the operations")
            .gives_media("text/html"),
        Route::open(Method::GET, "/docs/app.js", "getDocsScript", legacy::docs_script)
            .says("probes", "Its script")
            .gives_media("text/javascript"),
        Route::open(Method::GET, "/docs/app.css", "getDocsStyle", legacy::docs_style)
            .says("probes", "Its style")
            .gives_media("text/css"),
    ]
}
