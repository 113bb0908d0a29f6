//! The verb `run`: as `weir run` does it, with what the order gives in place of what the machine has.

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::Field;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use weir_connect::Objects;
use weir_connectors::registry::registry;
use weir_control::worker::order::WorkOrder;
use weir_engine::store::StatePlace;
use weir_engine::{RunOptions, RunStatus};
use weir_error::{Error, Kind, Result};
use weir_plan::{Flow, Plan};
use weir_spec::{Diagnostic, Pipeline, Placement, Severity};

use super::asking::Asking;
use super::{given, say};
use crate::pipeline_file::PipelineFile;
use crate::planning::{NoPlan, Opened, Resolver};

/// Runs, tells the report, gives the exit code.
pub async fn execute(order: &WorkOrder, stop: CancellationToken, asking: Arc<Asking>) -> u8 {
    let begin = Instant::now();
    match attempt(order, stop, asking).await {
        Ok(Done { report, code }) => {
            say::report(&report);
            code
        }
        Err(error) => {
            let millis = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
            say::report(&not_begun("", &error, millis));
            error.exit_code()
        }
    }
}

struct Done {
    report: Value,
    code: u8,
}

async fn attempt(order: &WorkOrder, stop: CancellationToken, asking: Arc<Asking>) -> Result<Done> {
    let state = state(order, asking);
    // An attempt may die after the engine has recorded success and before the worker has heard of it. Beginning anew would append twice.
    if let Some(report) = state.open().await?.named(&order.run_id).await? {
        let code = if report.get("status").and_then(Value::as_str) == Some("succeeded") { 0 } else { 4 };
        return Ok(Done { report, code });
    }
    let opened = open(order)?;
    let options = options(order, &opened, state, stop.clone())?;
    let plan = tokio::select! {
        plan = plan(&opened, options.parallelism) => plan?,
        () = stop.cancelled() => return Err(Error::cancelled()),
    };
    say::schemas(&schemas(&plan));
    let read = read_by_flow(&plan);
    let report = weir_engine::run(plan, options, &mut say::Lines).await;
    // A stream that was stopped on the way to another machine is to go on there.
    let code = if report.status == RunStatus::Interrupted { 130 } else { report.exit_code() };
    let mut report =
        serde_json::to_value(&report).map_err(|error| Error::internal("a report cannot be written").caused_by(error))?;
    for stream in report["streams"].as_array_mut().into_iter().flatten() {
        if let Some((_, columns)) = read.iter().find(|(flow, _)| stream["name"] == **flow) {
            stream["schema"] = columns.clone();
        }
    }
    Ok(Done { report, code })
}

/// A run that nobody watches must not become a job somewhere that the platform could not stop.
pub fn only_native(pipeline: &Pipeline) -> Result<()> {
    match pipeline.foreign_engine() {
        None => Ok(()),
        Some(engine) => {
            Err(Error::new("WEIR-WORKER-029", Kind::Unsupported, format!("the pipeline names the engine `{}`", engine.word()))
                .because("the platform runs jobs on the native engine only")
                .hint(format!("remove `engine`, or hand it over with `weir run FILE --engine {}`", engine.word())))
        }
    }
}

/// How a run of the order runs.
///
/// # Errors
/// This process is not where the pipeline is to run.
pub fn options(order: &WorkOrder, opened: &Opened, state: StatePlace, stop: CancellationToken) -> Result<RunOptions> {
    only_native(&opened.pipeline)?;
    if opened.pipeline.placement == Some(Placement::Kubernetes) && order.parent_pid != 0 {
        return Err(Error::new(
            "WEIR-WORKER-019",
            Kind::Spec,
            "the pipeline is to run in Kubernetes, and this platform has none",
        )
        .at("placement")
        .hint("KUBERNETES_ENABLED=true and the settings beside it, or `placement: process`"));
    }
    let mut options = RunOptions::new(&order.state_dir);
    options.state = state;
    options.name = Some(order.run_id.clone());
    options.parallelism = opened.lanes(None);
    options.max_memory_bytes = usize::try_from(budget(order)).unwrap_or(usize::MAX);
    options.checkpoint_interval =
        weir_plan::streaming::checkpoint_interval(&opened.pipeline).unwrap_or(options.checkpoint_interval);
    options.journal = journal(order, opened)?;
    options.stop = stop;
    Ok(options)
}

/// The memory budget of a run of the order. The other half is for the process itself and what the sinks hold.
pub fn budget(order: &WorkOrder) -> u64 {
    order.limits.memory_bytes / 2
}

/// Where the job's checkpoints are.
pub fn state(order: &WorkOrder, asking: Arc<Asking>) -> StatePlace {
    match order.checkpoints_at_worker {
        true => StatePlace::Link(order.state_dir.clone(), asking),
        false => StatePlace::Folder(order.state_dir.clone()),
    }
}

/// The bucket of the job's journals: the one that the pipeline names, else the platform's; `None`: they are in the folder.
pub fn journal(order: &WorkOrder, opened: &Opened) -> Result<Option<Arc<dyn Objects>>> {
    match (opened.journal()?, &order.journals) {
        (Some(named), _) => Ok(Some(named)),
        (None, Some(own)) => Ok(Some(weir_connectors::files::objects::own(&super::part(own))?)),
        (None, None) => Ok(None),
    }
}

/// The order's pipeline with its stored connections.
pub fn open(order: &WorkOrder) -> Result<Opened> {
    let registry = registry();
    let mut file = PipelineFile::parse(order.spec.clone(), "pipeline.yaml".into(), order.base_dir.clone(), &registry);
    if file.has_errors() {
        return Err(refused(&file.diagnostics));
    }
    let taken = given::take(order);
    file.pipelines.iter_mut().for_each(|pipeline| taken.complete(pipeline, &registry));
    let [pipeline] = file.pipelines.as_slice() else {
        return Err(Error::new("WEIR-WORKER-017", Kind::Spec, "a job is one pipeline")
            .because(format!("its spec holds {}", file.pipelines.len()))
            .hint("make a job of each"));
    };
    if pipeline.tenant.as_ref().is_some_and(|tenant| *tenant != order.tenant) {
        return Err(Error::new("WEIR-WORKER-018", Kind::Spec, "the spec names another tenant than the job's")
            .hint("leave `tenant` out; the job's own is meant"));
    }
    let pipeline = Arc::new(pipeline.clone());
    let resolver = Arc::new(Resolver::of_given(&registry, &order.base_dir, taken.given));
    Ok(Opened { registry, file, pipeline, resolver })
}

/// The plan; one that would be refused is none.
pub async fn plan(opened: &Opened, lanes: usize) -> Result<Plan> {
    match opened.try_plan(Some(lanes)).await {
        Ok((plan, refusals)) if refusals.is_empty() => Ok(plan),
        Ok((_, refusals)) => Err(refused(&opened.file.with(refusals).diagnostics)),
        Err(NoPlan::Problems(problems)) => Err(refused(&problems)),
        Err(NoPlan::Error(error)) => Err(error),
    }
}

/// Tells each problem on a line of its own; the error holds the first ones.
fn refused(problems: &[Diagnostic]) -> Error {
    problems.iter().for_each(say::diagnostic);
    let errors: Vec<&Diagnostic> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    let shown = |problem: &&Diagnostic| {
        let place = problem.span.map_or(String::new(), |span| format!(" (line {}, column {})", span.line, span.column));
        let help = problem.help.as_ref().map_or(String::new(), |help| format!(": {help}"));
        format!("[{}] {}{place}{help}", problem.code, problem.message)
    };
    let mut lines: Vec<String> = errors.iter().take(5).map(shown).collect();
    if errors.len() > 5 {
        lines.push(format!("and {} more", errors.len() - 5));
    }
    Error::new("WEIR-WORKER-015", Kind::Spec, "the pipeline cannot run as it is")
        .because(lines.join("\n"))
        .hint("mend the spec; POST /api/v1/pipelines/validate tells every problem with its place")
}

/// The schemas as planned.
pub fn schemas(plan: &Plan) -> Value {
    let streams = plan.flows.iter().flat_map(|flow| &flow.inputs);
    let told = streams.map(|input| {
        let columns: Vec<Value> = input.stream.schema.fields().iter().map(|field| column(field.name(), field)).collect();
        json!({"stream": input.stream.name, "columns": columns})
    });
    Value::Array(told.collect())
}

/// What each flow reads, for its part of the report: the platform sees by it that a source has changed since the run before. (Of a run that ended unheard
/// it is not known any more; the next one tells.) The columns of
/// a flow that reads several streams have their stream's name before their own.
fn read_by_flow(plan: &Plan) -> Vec<(String, Value)> {
    let of = |flow: &Flow| {
        let several = flow.inputs.len() > 1;
        let columns = flow.inputs.iter().flat_map(|input| {
            input.stream.schema.fields().iter().map(move |field| match several {
                true => column(&format!("{}.{}", input.stream.name, field.name()), field),
                false => column(field.name(), field),
            })
        });
        (flow.name.clone(), columns.collect())
    };
    plan.flows.iter().map(of).collect()
}

fn column(name: &str, field: &Field) -> Value {
    json!({"name": name, "type": field.data_type().to_string(), "nullable": field.is_nullable()})
}

/// The report of a run that did not begin.
pub fn not_begun(pipeline: &str, error: &Error, duration_ms: u64) -> Value {
    let interrupted = error.kind() == Kind::Cancelled;
    let status = if interrupted { "interrupted" } else { "failed" };
    let mut report = json!({
        "run_id": "", "pipeline": pipeline, "status": status, "streams": [], "duration_ms": duration_ms,
        "guarantee": "", "checkpoint": null, "warnings": [],
    });
    if !interrupted {
        report["error"] = serde_json::to_value(error.to_json()).unwrap_or_default();
    }
    report
}
