//! Setting a sink back: what comes after a boundary that the journal still holds is applied to it once more.
//!
//! Changes are applied by key, so the target passes once more through the states that it had and ends where it would be anyway; while that goes on
//! it shows the past. It is done with the pipeline's lock held, and written as a checkpoint: the next run goes on from there.

use serde::Serialize;
use serde_json::{Value, json};
use weir_connect::{Split, SplitProgress};
use weir_error::{Error, Kind, Result};
use weir_spec::{Pipeline, Role};

use super::codec::Record;
use super::journal::Journals;
use super::look::{Reached, Records, reached, records};
use super::shape;
use super::{SPLIT, applier, look};
use crate::run::lock;
use crate::store::{Epoch, EpochBody, FlowPlace, Keep, Phase, StateStore};

/// A sink that was set back.
#[derive(Debug, Clone, Serialize)]
pub struct SetBack {
    /// The source node.
    pub source: String,
    /// The sink node.
    pub sink: String,
    /// Where it was.
    pub was: u64,
    /// Where it is now.
    pub now: u64,
    /// Changes that come once more.
    pub changes: u64,
}

/// Sets a pipeline's sinks, or one of them, back to boundary `from`. All is checked before anything is written.
pub async fn set_back(at: impl Into<Journals>, pipeline: &Pipeline, from: u64, sink: Option<&str>) -> Result<Vec<SetBack>> {
    let sinks = chosen(pipeline, sink)?;
    let at = at.into();
    let state = at.state();
    let _lock = lock(state, &pipeline.name)
        .map_err(|error| error.hint("a sink is set back while nothing runs: stop the run first, then start it again"))?;
    let store = at.store().await?;
    let places = look::places(&at, pipeline).await?;
    let [(node, _)] = places.as_slice() else {
        return Err(Error::new(
            "WEIR-JOURNAL-006",
            Kind::NotFound,
            format!("`{}` has {} journals here", pipeline.name, places.len()),
        )
        .hint(if places.is_empty() { "run the pipeline first" } else { "only a pipeline with one log can be set back" }));
    };
    let run = match store.unfinished(&pipeline.name).await? {
        Some(run) => {
            if store.flow(&run.run_id, node).await?.is_some_and(|flow| flow.phase != Phase::Reading) {
                return Err(Error::new("WEIR-JOURNAL-007", Kind::Conflict, "the last run has still to commit")
                    .at(format!("run {}", run.run_id))
                    .hint("run the pipeline once more, then set it back"));
            }
            Some(run.run_id)
        }
        None => None,
    };
    let mut todo = Vec::new();
    for sink in sinks {
        let Some(reached) = reached(&store, pipeline, node, &sink).await? else {
            return Err(Error::new(
                "WEIR-JOURNAL-008",
                Kind::NotFound,
                format!("nothing of the log has come to sink `{sink}` yet"),
            ));
        };
        if reached.position["behind"].as_object().is_some_and(|behind| !behind.is_empty()) {
            return Err(Error::new(
                "WEIR-JOURNAL-014",
                Kind::Conflict,
                format!("a stream of sink `{sink}` is not where the others are"),
            )
            .because("its changes wait for an approval, or are being caught up with")
            .hint("see `weir journal ls`; approve what waits and run the pipeline, then set it back"));
        }
        if from > reached.seq {
            return Err(Error::new(
                "WEIR-JOURNAL-009",
                Kind::Conflict,
                format!("sink `{sink}` has boundary {}, and {from} comes after it", reached.seq),
            )
            .hint("a sink is set back, never forward: it would lack what lies between"));
        }
        let (changes, last) = repeatable(records(at.clone(), pipeline, node, from).await?, &sink, &reached).await?;
        todo.push((sink, reached, changes, last));
    }
    let fresh = run.is_none();
    let run_id = run.unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
    if fresh {
        // The next run of a log goes on with it whatever its plan is.
        store.begin(&run_id, &pipeline.name, "set back", None).await?;
    }
    let mut done = Vec::new();
    for (sink, reached, changes, last) in todo {
        let name = applier::name(node, &sink);
        let place = FlowPlace { pipeline: &pipeline.name, run_id: &run_id, flow: &name };
        // The sink itself remembers that it was further, up to the journal's end perhaps: that must not count until it is there again.
        let kept = &reached.position;
        let position = json!({"seq": from, "shapes": kept["shapes"], "outlets": kept["outlets"], "again": last});
        write(&store, &place, position).await?;
        done.push(SetBack { source: node.clone(), sink, was: reached.seq, now: from, changes });
    }
    if fresh {
        store.end(&run_id, "interrupted", "null").await?;
    }
    Ok(done)
}

/// The sinks by name, all if none is named.
fn chosen(pipeline: &Pipeline, sink: Option<&str>) -> Result<Vec<String>> {
    let known: Vec<String> = pipeline.of(Role::Sink).map(|node| node.name.clone()).collect();
    let chosen = match sink {
        None => known,
        Some(name) if known.iter().any(|known| known == name) => vec![name.to_owned()],
        Some(name) => {
            return Err(Error::new("WEIR-JOURNAL-010", Kind::Spec, format!("the pipeline has no sink `{name}`"))
                .hint(format!("its sinks: {}", known.join(", "))));
        }
    };
    for name in &chosen {
        let mode = pipeline.node(name).and_then(|node| node.options.get("write_mode")).and_then(Value::as_str);
        if let Some(mode) = mode.filter(|mode| !matches!(*mode, "upsert" | "merge")) {
            return Err(Error::new("WEIR-JOURNAL-011", Kind::Unsupported, format!("sink `{name}` has `write_mode: {mode}`"))
                .because("what comes once more would be there twice")
                .hint("only a sink that writes by key can be set back"));
        }
    }
    Ok(chosen)
}

/// How many changes would come once more, and the journal's last boundary. An error if among them is one of a shape that its stream does not have any more.
async fn repeatable(mut records: Records, sink: &str, reached: &Reached) -> Result<(u64, u64)> {
    let shapes = shape::read(&reached.position["shapes"])?;
    let (mut changes, mut late) = (0, None);
    while let Some((seq, record)) = records.read().await? {
        if seq > reached.seq {
            continue;
        }
        let fits = match &record {
            Record::Changes(batch) => {
                changes += batch.ops.len() as u64;
                shapes.get(&batch.stream).is_none_or(|shape| shape.is_of(&batch.rows.schema()))
            }
            Record::Schema(change) => shapes.get(&change.stream).is_none_or(|shape| shape.is_of(&change.schema)),
            _ => true,
        };
        if !fits {
            late = Some(seq);
        }
    }
    match late {
        None => Ok((changes, records.passed())),
        Some(seq) => Err(Error::new("WEIR-JOURNAL-012", Kind::Conflict, "a table had another shape by then")
            .at(format!("sink `{sink}`"))
            .because(format!("boundary {seq} holds changes in a shape that the target does not have any more"))
            .hint(format!("boundary {seq} is the earliest that it can be set back to"))),
    }
}

/// Writes a checkpoint with this position and the counts of the last one.
async fn write(store: &StateStore, place: &FlowPlace<'_>, position: Value) -> Result<()> {
    let last = store.epochs(place).await?.pop();
    let number = last.as_ref().map_or(0, |epoch| epoch.number) + 1;
    let streams = last.map(|epoch| epoch.body.streams).unwrap_or_default();
    let split = Split { id: SPLIT.into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    let progress = vec![SplitProgress { split, position: Some(position), done: false, rows: 0 }];
    let body = EpochBody { progress, streams, ..EpochBody::default() };
    store.write_epoch(place, &Epoch { number, prepared: false, body }, &[], Keep::Newest).await
}
