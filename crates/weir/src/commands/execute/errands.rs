//! The other verbs: what a connection says of itself, which streams there are, a few rows.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};
use weir_connect::{CheckReport, OnLoss, SourceContext};
use weir_connectors::registry::registry;
use weir_control::worker::order::{Verb, WorkOrder};
use weir_error::{Error, Kind, Result};
use weir_plan::ResolveReferences;

use super::asking::Asking;
use super::{drafts, given, letters, logs, positions, run, say};
use crate::commands::{discover, preview};
use crate::planning::{Resolver, cores};
use crate::show::rows;

/// Does the errand, tells the answer, gives the exit code.
pub async fn execute(order: &WorkOrder, verb: &Verb, asking: Arc<Asking>) -> u8 {
    let answer = match verb {
        Verb::TestConnection { connection } => test(order, connection).await,
        Verb::Discover { connection: Some(connection) } => streams(order, connection).await,
        Verb::Discover { connection: None } => sources(order).await,
        Verb::Preview { limit } => sample(order, *limit).await,
        Verb::Plan => drafts::plan(order).await,
        Verb::Steps { limit } => drafts::steps(order, *limit).await,
        Verb::Journal => logs::look(order, asking).await,
        Verb::Positions => positions::look(order, asking).await,
        Verb::Approve { stream } => logs::approve(order, asking, stream).await,
        Verb::Snapshot { stream, only } => logs::snapshot(order, asking, stream, only.as_deref()).await,
        Verb::DeadLetters { errand } => letters::answer(order, asking, errand).await,
        Verb::Run | Verb::Replay { .. } => Err(Error::internal("a run is no errand")),
    };
    match answer {
        Ok(answer) => {
            say::answer(&answer);
            0
        }
        Err(error) => {
            say::answer_error(&error);
            error.exit_code()
        }
    }
}

/// A connection of the order with its options resolved, and its connector.
fn connection(order: &WorkOrder, name: &str) -> Result<(Arc<dyn weir_connect::Connector>, Value)> {
    let registry = registry();
    let mut taken = given::take(order);
    let Some(connection) = taken.remove(name, &registry) else {
        return Err(Error::new("WEIR-WORKER-052", Kind::NotFound, format!("there is no connection `{name}`")));
    };
    let Some(connector) = registry.get(&connection.kind) else {
        return Err(Error::new(
            "WEIR-WORKER-053",
            Kind::Spec,
            format!("there is no connector `{}` in this build", connection.kind),
        )
        .hint("`weir connectors` lists them"));
    };
    let options = Resolver::of_given(&registry, &order.base_dir, taken.given).resolve(&connection.options, None)?;
    connector.validate("connection", &options, &Value::Object(Map::new()))?;
    Ok((connector, options))
}

async fn test(order: &WorkOrder, name: &str) -> Result<Value> {
    let (connector, options) = connection(order, name)?;
    let begin = Instant::now();
    let report = connector.check(&options).await?;
    Ok(told(&report, begin.elapsed().as_secs_f64() * 1000.0))
}

/// The connector's lines, with what people look for first: whether it works, how long it took, the server's version, what is missing.
fn told(report: &CheckReport, latency_ms: f64) -> Value {
    let version = report.items.iter().find(|item| item.name == "version").map(|item| item.detail.clone());
    let privileges = ["privileges", "read", "write"];
    let missing: Vec<&str> = report
        .items
        .iter()
        .filter(|item| !item.ok && privileges.contains(&item.name.as_str()))
        .map(|item| item.detail.as_str())
        .collect();
    json!({
        "ok": report.ok(), "latency_ms": (latency_ms * 10.0).round() / 10.0, "server_version": version,
        "missing_privileges": missing, "checks": report.items,
    })
}

async fn streams(order: &WorkOrder, name: &str) -> Result<Value> {
    let (connector, connection) = connection(order, name)?;
    let context = SourceContext {
        connection,
        options: Value::Object(Map::new()),
        on_loss: OnLoss::default(),
        parallelism: cores(),
        base_dir: order.base_dir.clone(),
    };
    let found = connector.discover(context).await?;
    Ok(json!({"streams": found.iter().map(|stream| discover::body(name, stream)).collect::<Vec<_>>()}))
}

async fn sources(order: &WorkOrder) -> Result<Value> {
    let opened = run::open(order)?;
    let found = opened.sources().await?;
    Ok(json!({"streams": found.iter().map(|(origin, stream)| discover::body(origin, stream)).collect::<Vec<_>>()}))
}

async fn sample(order: &WorkOrder, limit: usize) -> Result<Value> {
    let opened = run::open(order)?;
    let plan = run::plan(&opened, opened.lanes(None)).await?;
    let mut outputs = Vec::new();
    for flow in &plan.flows {
        for sample in preview::sample(flow, limit, opened.lanes(None)).await? {
            let (batch, masked) = rows::mask(&sample.batch(limit)?)?;
            let mut lines = Vec::new();
            rows::json_lines(&mut lines, &batch)?;
            let rows: Vec<Value> =
                lines.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
            outputs.push(json!({
                "output": sample.title, "rows": rows, "masked_columns": masked, "filtered": sample.filtered,
                "dead_letters": sample.dead.iter().take(20).collect::<Vec<_>>(),
            }));
        }
    }
    Ok(json!({"outputs": outputs}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_says_first_what_people_look_for() {
        let mut report = CheckReport::default();
        report.push("reach", true, "db:5432");
        report.push("version", true, "18.6");
        report.push("read", false, "no table may be read: GRANT SELECT …");
        let body = told(&report, 12.345);
        assert_eq!((&body["ok"], &body["latency_ms"], &body["server_version"]), (&json!(false), &json!(12.3), &json!("18.6")));
        assert_eq!(body["missing_privileges"], json!(["no table may be read: GRANT SELECT …"]));
    }
}
