//! docs/reference/monitoring.md, made from the tables that the code uses.

use std::fmt::Write;

use super::export::families;
use super::measures::{Fold, MEASURES};

fn page() -> String {
    let mut page = String::from(
        "# Monitoring

What is measured, under which names, and who is told. Made from the program by `WEIR_REWRITE=1 cargo nextest run -p weir-control reference`.

## Prometheus

`GET /metrics`, text format 0.0.4. The `uis_runner_*` and `weir_engine_*` totals come from the database: they survive restarts and are the same in every
replica (scrape one, or take `max`). `provider_type` is the kind of the sources (`rest_api` for `http`), `sink_type` that of the sinks; several are joined by `,`.
`uis_runner_job_duration_seconds` is a histogram, and under its bare name the mean, as the runner's documentation prints it.
A tenant's own page, `GET /api/v1/monitoring/metrics/export`, has its totals and its queue, nothing of others and nothing of the process.

| name | type | what |
| --- | --- | --- |
",
    );
    for (name, kind, help) in families() {
        writeln!(page, "| `{name}` | {} | {help} |", kind.as_str()).unwrap();
    }
    page.push_str(
        "
## Measures of runs

Written for each run at its end, and every ten seconds while it goes on; kept for 30 days in the database, or in Apache Ignite when `IGNITE_HOSTS` names its REST
endpoints. Alert rules watch them by these names. Over a window several runs become one value; of a run that was looked at several times only the newest look counts.

| name | unit | over a window | what |
| --- | --- | --- | --- |
",
    );
    for measure in MEASURES {
        let fold = match measure.fold {
            Fold::Sum => "sum",
            Fold::Mean => "mean",
            Fold::Max => "largest",
        };
        writeln!(page, "| `{}` | {} | {fold} | {} |", measure.name, measure.unit, measure.help).unwrap();
    }
    page.push_str(
        "
## Alerts

A rule (`metric`, `threshold`, `window`, `severity`, `action`) is measured every ten seconds. It fires **above** its threshold and is resolved when its value is not above
any more; each once, however many replicas there are. A window without points says nothing: what fires goes on firing, what does not stays quiet.
`processing_lag` also counts runs that wait or go on now; `freshness` is the age of the newest data now, and of a paused job nothing.
A silence keeps notifications back, of one job or of all; alerts are recorded all the same.

`ALERT_WEBHOOK_URL` gets alerts of rules with action `webhook` (CloudEvents) or `slack` (also when it is on hooks.slack.com), not those with `none`.

## Webhooks

A subscription gets CloudEvents 1.0 in structured JSON (`application/cloudevents+json`), or Slack's body: at least once, per job in order. The event's `id`
(`X-Weir-Event-Id`) is the same in every try. An answer other than 2xx within ten seconds is tried again after 2 s, 4 s, … up to an hour, for 24 hours. Redirects are
not followed. Private addresses are refused unless `WEIR_EGRESS_ALLOW` names them.

With a key, `X-Weir-Signature: t=<seconds>,v1=<hex>` is HMAC-SHA256 over `<seconds>.<body>`; refuse what is older than five minutes.

## Pulsar

With `PULSAR_URL` (and a program built with the feature `pulsar`) events go to `persistent://platformq/<tenant>/seatunnel-job-completed`,
`…/seatunnel-pipeline-created-events` and, all others, `…/weir-events`, keyed by the job; `digital-asset-created-events` of every tenant is read into the inbox, each event id once.
The namespaces `platformq/<tenant>` must exist. Messages carry `event_id` and `sequence` as properties: a message may come twice after a crash.
",
    );
    page
}

#[test]
fn the_reference_says_what_the_program_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/monitoring.md");
    if std::env::var_os("WEIR_REWRITE").is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        there == page(),
        "docs/reference/monitoring.md is not up to date: WEIR_REWRITE=1 cargo nextest run -p weir-control reference"
    );
}
