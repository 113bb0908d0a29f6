//! What the rules of `data_quality` nodes counted, as rows for a sink: `input: checked.results`.
//!
//! Here is which sinks want them, how such a sink is opened, and what the rows look like. The engine fills it: the counts of an epoch are
//! kept in its checkpoint, and a stream of its own carries them on, so they hold up no row and are there once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::{DeleteMode, Edge, WriteMode};
use weir_error::{Error, Result};
use weir_spec::model::{Input, Mode, Node, Pipeline, Role};

use crate::model::{Flow, FlowOutput, RuleCount, asker};
use crate::personal::{MASK, looks_personal};
use crate::planner::{OpenSink, Policies};
use crate::problem::{Problem, code};
use crate::transforms::{Kind, RESULTS};

/// How many values of rows that break a rule are kept in one row of its results.
pub const MOST_SAMPLES: usize = 5;

/// No more characters of such a value are kept.
const SAMPLE_CHARS: usize = 120;

/// A rule, as its results name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFacts {
    /// The node.
    pub node: String,
    /// The rule's name, unique in the node.
    pub rule: String,
    /// Its kind: `not_null`, `range`, …
    pub kind: &'static str,
    /// The columns that it is about; none for one in SQL.
    pub columns: Vec<String>,
}

/// A sink of results.
#[derive(Clone)]
pub struct ResultsSink {
    /// The sink; its schema is [`schema`].
    pub output: FlowOutput,
    /// The rules whose results it gets.
    pub rules: Vec<RuleFacts>,
}

/// What one rule counted in one epoch, on its way to one sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleResult {
    /// The sink node.
    pub sink: String,
    /// What was counted.
    pub count: RuleCount,
    /// Values of the first rows that break the rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<String>,
}

/// A result as it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptResult {
    /// Its number: greater than those of all results of the run that were kept before.
    pub id: i64,
    /// When its epoch ended: microseconds since 1970, UTC.
    pub at: i64,
    /// The flow that the rows were in.
    pub flow: String,
    /// The epoch.
    pub epoch: i64,
    /// What was counted.
    pub result: RuleResult,
}

/// The columns: `id`, `at`, `pipeline`, `run_id`, `flow`, `epoch`, `node`, `rule`, `kind`, `columns`, `action`, `rows_checked`, `rows_failed`,
/// `share_failed`, `samples`.
pub fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        text("pipeline"),
        text("run_id"),
        text("flow"),
        Field::new("epoch", DataType::Int64, false),
        text("node"),
        text("rule"),
        text("kind"),
        text("columns"),
        text("action"),
        Field::new("rows_checked", DataType::Int64, false),
        Field::new("rows_failed", DataType::Int64, false),
        Field::new("share_failed", DataType::Float64, false),
        text("samples"),
    ]))
}

/// Results of a run as a batch of [`schema`]. `samples` is a JSON array of texts, as a text: every sink can keep that.
///
/// # Errors
/// More than 2^31 bytes of texts in one batch.
pub fn batch(pipeline: &str, run_id: &str, rules: &[RuleFacts], kept: &[KeptResult]) -> Result<RecordBatch> {
    let facts: BTreeMap<(&str, &str), &RuleFacts> =
        rules.iter().map(|facts| ((facts.node.as_str(), facts.rule.as_str()), facts)).collect();
    let fact = |kept: &KeptResult| facts.get(&(kept.result.count.node.as_str(), kept.result.count.rule.as_str())).copied();
    let text = |of: fn(&KeptResult) -> &str| Arc::new(StringArray::from_iter_values(kept.iter().map(of))) as ArrayRef;
    let number = |of: fn(&KeptResult) -> i64| Arc::new(Int64Array::from_iter_values(kept.iter().map(of))) as ArrayRef;
    let same = |value: &str| Arc::new(StringArray::from_iter_values(kept.iter().map(|_| value))) as ArrayRef;
    // Counts below 2^53 are exact.
    let share = |kept: &KeptResult| match kept.result.count.checked {
        0 => 0.0,
        checked => kept.result.count.failed as f64 / checked as f64,
    };
    let columns: Vec<ArrayRef> = vec![
        number(|kept| kept.id),
        Arc::new(TimestampMicrosecondArray::from_iter_values(kept.iter().map(|kept| kept.at)).with_timezone("UTC")),
        same(pipeline),
        same(run_id),
        text(|kept| &kept.flow),
        number(|kept| kept.epoch),
        text(|kept| &kept.result.count.node),
        text(|kept| &kept.result.count.rule),
        // A rule that the file does not have any more is told by its name.
        Arc::new(StringArray::from_iter_values(kept.iter().map(|kept| fact(kept).map_or("", |facts| facts.kind)))),
        Arc::new(StringArray::from_iter_values(
            kept.iter().map(|kept| fact(kept).map_or_else(String::new, |facts| facts.columns.join(", "))),
        )),
        text(|kept| &kept.result.count.action),
        number(|kept| signed(kept.result.count.checked)),
        number(|kept| signed(kept.result.count.failed)),
        Arc::new(Float64Array::from_iter_values(kept.iter().map(share))),
        Arc::new(StringArray::from_iter_values(kept.iter().map(|kept| Value::from(kept.result.samples.clone()).to_string()))),
    ];
    RecordBatch::try_new(schema(), columns).map_err(|error| Error::internal("results of rules as rows").caused_by(error))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The values of a row that a rule shows, as a sample: `amount=-7`. Those of columns that look personal are masked, as in a preview.
pub(crate) fn sample(batch: &RecordBatch, shown: &[usize], row: usize) -> Option<String> {
    let one = |&at: &usize| {
        let (column, name) = (batch.column(at), batch.schema_ref().field(at).name().clone());
        let value = match (column.is_null(row), looks_personal(&name)) {
            (true, _) => "NULL".into(),
            (false, true) => MASK.into(),
            (false, false) => array_value_to_string(column, row).unwrap_or_default(),
        };
        let value: String = value.chars().take(SAMPLE_CHARS).collect();
        format!("{name}={value}")
    };
    (!shown.is_empty()).then(|| shown.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// Adds samples, up to the most that are kept; each value once.
pub fn add_samples(all: &mut Vec<String>, more: &[String]) {
    for sample in more {
        if all.len() == MOST_SAMPLES {
            return;
        }
        if !all.contains(sample) {
            all.push(sample.clone());
        }
    }
}

/// Whether an input reads results of rules, and not rows.
pub(crate) fn reads(pipeline: &Pipeline, input: &Input) -> bool {
    input.port.as_deref() == Some(RESULTS)
        && pipeline.node(&input.node).is_some_and(|node| node.role == Role::Transform && !Kind::rules(node).is_empty())
}

/// Sinks that read nothing else.
fn sinks(pipeline: &Pipeline) -> impl Iterator<Item = &Node> {
    pipeline.of(Role::Sink).filter(|node| !node.inputs.is_empty() && node.inputs.iter().all(|input| reads(pipeline, input)))
}

/// What is wrong with the readers of results, by node.
pub(crate) fn problems(pipeline: &Pipeline) -> Vec<(String, Problem)> {
    let mut found = Vec::new();
    for node in &pipeline.nodes {
        let Some(results) = node.inputs.iter().find(|input| reads(pipeline, input)) else { continue };
        let address = format!("{}.{RESULTS}", results.node);
        let problem = if node.role != Role::Sink {
            Problem::new(code::SHAPE, format!("`{address}` is no stream of rows: a sink reads it, and no transform"))
        } else if node.inputs.iter().any(|input| !reads(pipeline, input)) {
            Problem::new(code::SHAPE, format!("`{}` reads rows and results of rules, which have other columns", node.name))
                .help("give the results a sink of their own")
        } else if pipeline.mode == Mode::Cdc {
            Problem::new(code::MODE, "`mode: cdc` counts for rules sink by sink: their results are in the report, and not rows")
                .help("remove the sink; `weir run --json` tells `streams[].rules`")
        } else if !read_for_rows(pipeline, &results.node) {
            Problem::new(
                code::SHAPE,
                format!("nothing reads the rows of `{}`, so nothing is held against its rules", results.node),
            )
            .help(format!("`input: {}` in another sink", results.node))
        } else {
            continue;
        };
        found.push((node.name.clone(), problem.option("input")));
    }
    found
}

/// Whether rows of a node arrive at some sink.
fn read_for_rows(pipeline: &Pipeline, name: &str) -> bool {
    let mut todo = vec![name];
    let mut seen = Vec::new();
    while let Some(name) = todo.pop() {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        for reader in &pipeline.nodes {
            if reader.inputs.iter().any(|input| input.node == name && !reads(pipeline, input)) {
                if reader.role == Role::Sink {
                    return true;
                }
                todo.push(&reader.name);
            }
        }
    }
    false
}

/// The sinks of results, to be opened.
pub(crate) fn wanted(pipeline: &Pipeline) -> Vec<&Node> {
    sinks(pipeline).collect()
}

/// A sink of results, opened.
pub(crate) fn sink(pipeline: &Pipeline, node: &Node, open: OpenSink, policies: &Policies) -> Result<ResultsSink, Problem> {
    if open.write_mode == WriteMode::Overwrite {
        return Err(Problem::new(code::WRITE_MODE, "results of rules are added to those before, not put in their place")
            .option("write_mode")
            .expected("append, upsert"));
    }
    if open.key.is_empty() && matches!(open.write_mode, WriteMode::Upsert | WriteMode::Merge) {
        return Err(Problem::new(code::KEY, format!("`write_mode: {}` needs a key", open.write_mode.as_str()))
            .option("write_mode")
            .help("`key: [run_id, id]`"));
    }
    let schema = schema();
    for name in &open.key {
        if schema.index_of(name).is_err() {
            let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
            return Err(Problem { code: code::KEY, ..Problem::no_column(name, "key", &names) });
        }
    }
    for field in schema.fields() {
        if let Edge::Lossy { reason } | Edge::Unsupported { reason } = open.sink.sink_type(field).edge {
            let what = format!("the sink cannot keep `{}` of a rule's result as it is: {reason}", field.name());
            return Err(Problem::new(code::LOSS, what).help("files: `format: parquet` or `ndjson`; or a table"));
        }
    }
    let nodes = node.inputs.iter().filter_map(|input| pipeline.node(&input.node));
    Ok(ResultsSink {
        rules: nodes.flat_map(Kind::rules).collect(),
        output: FlowOutput {
            node: node.name.clone(),
            connector: open.connector.descriptor().name.to_owned(),
            sink: open.sink,
            stream: "rule_results".into(),
            schema,
            write_mode: open.write_mode,
            key: open.key,
            on_schema_change: policies.on_schema_change,
            on_loss: policies.on_loss.clone(),
            deletes: DeleteMode::Hard,
            metadata: Vec::new(),
        },
    })
}

/// Where the results go and how often each is there, for `weir plan`.
pub(crate) fn promise(pipeline: &Pipeline, results: &ResultsSink) -> String {
    let output = &results.output;
    let when = match pipeline.mode {
        Mode::Streaming => "one row per rule and epoch",
        _ => "one row per rule and stream, when it is committed",
    };
    format!("results of rules go to {}, {}: {when}", output.sink.place(&output.stream), output.each())
}

/// What a run would do to the target.
pub(crate) async fn actions(pipeline: &Pipeline, results: &ResultsSink) -> Result<Vec<String>> {
    let output = &results.output;
    let target = output.target(asker(pipeline));
    output.sink.preview(&target).await.map_err(|error| error.at(format!("sink `{}`", output.node)))
}

/// Where two things would write to one place.
pub(crate) fn apart(
    results: &ResultsSink,
    others: &[Flow],
    more: &[ResultsSink],
    letters: Option<&FlowOutput>,
) -> Result<(), Problem> {
    let output = &results.output;
    let place = output.sink.place(&output.stream);
    let all = others.iter().flat_map(|flow| &flow.outputs).chain(more.iter().map(|results| &results.output)).chain(letters);
    match output.clash(&place, all) {
        Some(other) => {
            let what = format!("sinks `{}` and `{}` would both write to {place}", other.node, output.node);
            Err(Problem::new(code::PLACE, what).help("give the results of rules a place of their own"))
        }
        None => Ok(()),
    }
}
