//! Dead letters, once more through their pipeline.
//!
//! A letter of a source is decoded again with the source's options as they are now, and goes to every sink of its flow: none has
//! it. A row that a transform set aside needs no decoding, and goes to the one sink that its letter names: another sink may have
//! it, or has a letter of its own. Rows that are well-formed by now run through the same program as runs of their own, one per
//! flow and way, which move no cursor and never overwrite (`overwrite` becomes `append`).
//!
//! Which letters went through is read from what these runs committed: a crash between a commit and the mark, an interrupted
//! replay that is resumed with other letters in between, a second flow that fails: no row is written twice, and none is marked
//! that was not written.
//!
//! * this file: the runs and what they committed;
//! * `way`: where a letter belongs, or why it has to stay;
//! * `letters`: letters as a source.

mod letters;
mod way;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use weir_connect::{Batch, DeadLetter, Event, WriteMode};
use weir_error::Result;
use weir_plan::{Flow, FlowInput, FlowOutput, Plan, Program, RowOutput, RowProgram};

use self::letters::Letters;
use self::way::{Stay, Way};
use crate::events::Reporter;
use crate::report::{RunReport, RunStatus};
use crate::run::{RunOptions, lock, run_for};
use crate::store::inspect::DeadView;
use crate::store::{Phase, ReaderRecord, StateStore};

/// What a replay did.
#[derive(Debug)]
pub struct Replayed {
    /// The run, if any letter was well-formed; its counts are those of the replay. With several flows or ways the sum of their
    /// runs, up to the first that did not succeed.
    pub report: Option<RunReport>,
    /// Letters that went through and are marked.
    pub through: Vec<i64>,
    /// Letters that still wait, with the reason of now.
    pub still_dead: Vec<(i64, String)>,
    /// Letters of runs whose rows are not in the target any more, because a later run replaced them or the run was given up: they
    /// are left alone, for the later run has met the same record.
    pub replaced: Vec<i64>,
}

/// Letters that go the same way.
#[derive(Default)]
struct Part {
    outputs: Vec<usize>,
    ids: Vec<i64>,
    rows: Vec<Event>,
}

/// Replays `letters` through `plan`, the plan of the pipeline they came from. Letters that do not wait any more are passed over.
///
/// # Errors
/// If another replay of the pipeline goes on, the state cannot be read, or a source cannot be asked. What fails later is in the
/// report.
pub async fn replay(
    plan: Plan,
    letters: Vec<DeadView>,
    options: RunOptions,
    reporter: &mut dyn Reporter,
) -> Result<Replayed> {
    let store = StateStore::open(&options.state_dir).await?;
    let pipeline = plan.pipeline.name.clone();
    // Held to the end: of two replays at once, both would write what waits.
    let _lock = lock(&options.state_dir, &format!("{pipeline}.replay"))?;
    let history = store.history(&pipeline, &format!("{pipeline}.replay/")).await?;
    store.dead_replayed(&history.replayed).await?;
    let waiting = store.dead_waiting(&pipeline).await?;

    let mut replayed = Replayed { report: None, through: Vec::new(), still_dead: Vec::new(), replaced: Vec::new() };
    let mut parts: BTreeMap<(usize, String), Part> = BTreeMap::new();
    for letter in letters.iter().filter(|letter| waiting.contains(&letter.id)) {
        let way = match way::find(&plan, &history, letter) {
            Ok(way) => way,
            Err(Stay::Broken(reason)) => {
                replayed.still_dead.push((letter.id, reason));
                continue;
            }
            Err(Stay::Replaced) => {
                replayed.replaced.push(letter.id);
                continue;
            }
        };
        let rows = rows(&plan.flows[way.flow], &way, letter).await?;
        match rows.iter().find_map(|event| if let Event::Dead(dead) = event { Some(dead.reason.clone()) } else { None }) {
            Some(reason) => replayed.still_dead.push((letter.id, reason)),
            None => {
                let part = parts.entry((way.flow, way.name)).or_default();
                part.outputs = way.outputs;
                part.ids.push(letter.id);
                part.rows.extend(rows);
            }
        }
    }
    for ((flow, way), part) in parts {
        let wanted = part.ids.clone();
        let flow = only(&plan.flows[flow], part);
        let (flow_name, mut own) = (flow.name.clone(), (*plan.pipeline).clone());
        // A run of its own with a name of its own: an interrupted one is resumed by the next replay of the same way, whatever
        // other letters wait by then.
        own.name = format!("{pipeline}.replay/{flow_name}/{way}");
        let run_plan = Plan {
            pipeline: Arc::new(own),
            flows: vec![flow],
            guarantee: plan.guarantee.clone(),
            columns: Vec::new(),
            warnings: if replayed.report.is_none() { plan.warnings.clone() } else { Vec::new() },
            actions: Vec::new(),
        };
        let report = run_for(run_plan, options.clone(), reporter, pipeline.clone()).await;
        let done = match store.flow(&report.run_id, &flow_name).await? {
            Some(record) if record.phase == Phase::Committed => letters_of(&record.readers),
            _ => Vec::new(),
        };
        store.dead_replayed(&done).await?;
        let good = matches!(report.status, RunStatus::Succeeded | RunStatus::DeadLettersExceeded);
        if good {
            let done: HashSet<i64> = done.iter().copied().collect();
            let missed = wanted.iter().filter(|id| !done.contains(id));
            let reason = "an interrupted replay of other letters was brought to its end first; replay again";
            replayed.still_dead.extend(missed.map(|id| (*id, reason.to_owned())));
        }
        replayed.through.extend(done);
        replayed.report = Some(match replayed.report.take() {
            Some(before) => both(before, report),
            None => report,
        });
        if !good {
            break;
        }
    }
    Ok(replayed)
}

/// The letters that readers of a replay were opened with.
pub(crate) fn letters_of(readers: &[ReaderRecord]) -> Vec<i64> {
    let ids = |reader: &ReaderRecord| reader.state["letters"].as_array().cloned().unwrap_or_default();
    readers.iter().flat_map(ids).filter_map(|id| id.as_i64()).collect()
}

/// Two runs of one replay, told as one.
fn both(before: RunReport, after: RunReport) -> RunReport {
    let status = match (before.status, after.status) {
        (RunStatus::DeadLettersExceeded, RunStatus::Succeeded) => RunStatus::DeadLettersExceeded,
        (_, after) => after,
    };
    RunReport {
        status,
        streams: [before.streams, after.streams].concat(),
        duration_ms: before.duration_ms + after.duration_ms,
        warnings: [before.warnings, after.warnings].concat(),
        ..after
    }
}

/// The letter's rows, or a letter with the reason why there still are none.
async fn rows(flow: &Flow, way: &Way, letter: &DeadView) -> Result<Vec<Event>> {
    let (Program::RowLocal(program), [input]) = (&flow.program, flow.inputs.as_slice()) else {
        return Err(weir_error::Error::internal("a letter was sent into a flow that sees rows together"));
    };
    if !way.by_program {
        return input.source.redecode(&input.stream.name, &as_letter(letter)).await;
    }
    let still = |reason: String| Ok(vec![Event::Dead(DeadLetter { reason, ..as_letter(letter) })]);
    let Some(records) = weir_plan::decode_record(&letter.payload, &letter.media_type, &input.stream.schema) else {
        return still("what was kept does not give back the row exactly; correct it at the source".into());
    };
    let outputs = match program.apply(&records) {
        Ok(outputs) => outputs,
        Err(error) => return still(error.to_string()),
    };
    let dead = outputs.into_iter().enumerate().filter(|(at, _)| way.outputs.contains(at)).flat_map(|(_, output)| output.dead).next();
    Ok(vec![match dead {
        Some(dead) => Event::Dead(dead),
        None => Event::Batch(Batch { records, position: None, source_bytes: letter.payload.len() as u64 }),
    }])
}

fn as_letter(view: &DeadView) -> DeadLetter {
    DeadLetter {
        stream: view.stream.clone(),
        code: view.code.clone(),
        reason: view.reason.clone(),
        place: view.place.clone(),
        payload: view.payload.clone(),
        media_type: view.media_type.clone(),
    }
}

/// The flow as the letters of one part see it: they are its input, and only their sinks are written.
fn only(flow: &Flow, part: Part) -> Flow {
    let inputs = flow.inputs.iter().take(1).map(|input| FlowInput {
        node: input.node.clone(),
        connector: input.connector.clone(),
        source: Arc::new(Letters::new(input.stream.clone(), part.ids.clone(), part.rows.clone())),
        stream: input.stream.clone(),
        table: input.table.clone(),
        cursor: None,
        cursor_lag: None,
    });
    let outputs = part.outputs.iter().map(|&at| {
        let output = &flow.outputs[at];
        FlowOutput {
            node: output.node.clone(),
            connector: output.connector.clone(),
            sink: output.sink.clone(),
            stream: output.stream.clone(),
            schema: output.schema.clone(),
            write_mode: if output.write_mode == WriteMode::Overwrite { WriteMode::Append } else { output.write_mode },
            key: output.key.clone(),
            on_schema_change: output.on_schema_change,
            on_loss: output.on_loss.clone(),
        }
    });
    let program = match &flow.program {
        Program::RowLocal(program) if part.outputs.len() == flow.outputs.len() => Program::RowLocal(program.clone()),
        Program::RowLocal(program) => {
            Program::RowLocal(Arc::new(Chosen { inner: program.clone(), outputs: part.outputs.clone() }))
        }
        Program::Relational(program) => Program::Relational(program.clone()),
    };
    Flow { name: flow.name.clone(), inputs: inputs.collect(), program, outputs: outputs.collect() }
}

/// Some outputs of a program.
struct Chosen {
    inner: Arc<dyn RowProgram>,
    /// Ascending.
    outputs: Vec<usize>,
}

impl RowProgram for Chosen {
    fn apply(&self, batch: &RecordBatch) -> Result<Vec<RowOutput>> {
        let outputs = self.inner.apply(batch)?.into_iter().enumerate();
        Ok(outputs.filter(|(at, _)| self.outputs.contains(at)).map(|(_, output)| output).collect())
    }
}
