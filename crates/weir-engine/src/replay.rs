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
//! * `letters`: letters as a source;
//! * `correct`: whether what somebody wrote instead of a record would go through.

mod correct;
mod letters;
mod way;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use weir_connect::{Batch, DeadLetter, Event, WriteMode};
use weir_error::{Error, Result};
use weir_plan::{Flow, FlowInput, FlowOutput, Plan, Program, RowOutput, RowProgram};
use weir_spec::Mode;

pub use self::correct::{Corrected, correct};
use self::letters::Letters;
use self::way::{Stay, Way};
use crate::events::Reporter;
use crate::report::{RunReport, RunStatus};
use crate::run::{RunOptions, lock, run_for};
use crate::store::inspect::DeadView;
use crate::store::letters::Letter;
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
    letters: Vec<(i64, Vec<Event>)>,
}

/// Replays `letters` through `plan`, the plan of the pipeline they came from. Letters that do not wait any more are passed over.
///
/// # Errors
/// If another replay of the pipeline goes on, the state cannot be read, or a source cannot be asked. What fails later is in the
/// report.
pub async fn replay(plan: Plan, letters: Vec<DeadView>, options: RunOptions, reporter: &mut dyn Reporter) -> Result<Replayed> {
    through(&plan, &letters, &options, reporter).await
}

/// Bytes of records that are replayed at once.
const PORTION_BYTES: i64 = 4 << 20;

/// Reasons of letters that still wait, at most; there may be more of them.
const MOST_REASONS: usize = 100;

/// What a replay of chosen letters did.
#[derive(Debug, Default)]
pub struct ReplayedChosen {
    /// The runs, told as one; `None`: there was nothing to write.
    pub report: Option<RunReport>,
    /// Letters that went through.
    pub through: u64,
    /// Letters that still wait.
    pub waiting: u64,
    /// Why, of the first of them.
    pub reasons: Vec<(i64, String)>,
    /// Letters whose runs' rows a later run has replaced.
    pub replaced: u64,
}

/// Replays the letters that were chosen under a name (see [`StateStore::letters_choose`]), oldest first, a few megabytes at a time, each once: the
/// corrected record where there is one. Ends early when a run does not end well. Why a letter still waits is kept with it.
///
/// # Errors
/// As [`replay`].
pub async fn replay_chosen(plan: &Plan, key: &str, options: &RunOptions, reporter: &mut dyn Reporter) -> Result<ReplayedChosen> {
    let store = options.state.open().await?;
    let pipeline = &plan.pipeline.name;
    let (mut sum, mut after) = (ReplayedChosen::default(), 0);
    loop {
        let portion = store.letters_chosen(pipeline, key, after, PORTION_BYTES).await?;
        let Some(last) = portion.last() else { return Ok(sum) };
        after = last.id;
        let letters: Vec<DeadView> = portion.into_iter().map(Letter::into_view).collect();
        let now = through(plan, &letters, options, reporter).await?;
        let replaced = now.replaced.iter().map(|id| (*id, REPLACED.to_owned()));
        let refusals: Vec<(i64, String)> = now.still_dead.iter().cloned().chain(replaced).collect();
        store.letters_refused(pipeline, &refusals).await?;
        sum.through += now.through.len() as u64;
        sum.waiting += now.still_dead.len() as u64;
        sum.replaced += now.replaced.len() as u64;
        let room = MOST_REASONS - sum.reasons.len();
        sum.reasons.extend(now.still_dead.into_iter().take(room));
        let good = now
            .report
            .as_ref()
            .is_none_or(|report| matches!(report.status, RunStatus::Succeeded | RunStatus::DeadLettersExceeded));
        sum.report = match (sum.report.take(), now.report) {
            (Some(before), Some(after)) => Some(both(before, after)),
            (before, after) => after.or(before),
        };
        if !good {
            return Ok(sum);
        }
        if options.stop.is_cancelled() {
            return Err(Error::cancelled());
        }
    }
}

/// Why a letter is left alone whose run is not in the target any more.
const REPLACED: &str = "what its run wrote is not in the target any more; the run that replaced it has met the record, too";

async fn through(plan: &Plan, letters: &[DeadView], options: &RunOptions, reporter: &mut dyn Reporter) -> Result<Replayed> {
    let store = options.state.open().await?;
    let pipeline = plan.pipeline.name.clone();
    // Held to the end: of two replays at once, both would write what waits.
    let _lock = lock(options.state.folder(), &format!("{pipeline}.replay"))?;
    let history = store.history(&pipeline, &format!("{pipeline}.replay/")).await?;
    let ids: Vec<i64> = letters.iter().map(|letter| letter.id).collect();
    let known: HashSet<i64> = history.replayed.iter().copied().collect();
    // A crash may have come between what a replay committed and the mark.
    store.dead_replayed(&ids.iter().copied().filter(|id| known.contains(id)).collect::<Vec<_>>()).await?;
    let waiting = store.dead_waiting(&pipeline, &ids).await?;

    let mut replayed = Replayed { report: None, through: Vec::new(), still_dead: Vec::new(), replaced: Vec::new() };
    let mut parts: BTreeMap<(usize, String), Part> = BTreeMap::new();
    for letter in letters.iter().filter(|letter| waiting.contains(&letter.id)) {
        let way = match way::find(plan, &history, letter) {
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
                part.letters.push((letter.id, rows));
            }
        }
    }
    for ((flow, way), mut part) in parts {
        let flow = &plan.flows[flow];
        let mut own = (*plan.pipeline).clone();
        // A name of its own: an interrupted run is resumed by the next replay of the same way, whatever other letters wait by then.
        own.name = format!("{pipeline}.replay/{}/{way}", flow.name);
        if own.mode == Mode::Streaming {
            // Letters have an end.
            own.mode = Mode::Batch;
        }
        let own = Arc::new(own);
        while !part.letters.is_empty() {
            let now = next(&store, &own.name, flow, &mut part).await?;
            let warnings = if replayed.report.is_none() { plan.warnings.clone() } else { Vec::new() };
            let run_plan = Plan {
                pipeline: own.clone(),
                flows: vec![only(flow, &part.outputs, now.clone())],
                letters: None,
                results: Vec::new(),
                guarantee: plan.guarantee.clone(),
                columns: Vec::new(),
                warnings,
                actions: Vec::new(),
            };
            let report = run_for(run_plan, options.clone(), reporter, pipeline.clone()).await;
            let done = match store.flow(&report.run_id, &flow.name).await? {
                Some(record) if record.phase == Phase::Committed => letters_of(&record.readers),
                _ => Vec::new(),
            };
            store.dead_replayed(&done).await?;
            let good = matches!(report.status, RunStatus::Succeeded | RunStatus::DeadLettersExceeded);
            replayed.report = Some(match replayed.report.take() {
                Some(before) => both(before, report),
                None => report,
            });
            // What was resumed may have been begun with other letters: these come next.
            let missed = now.into_iter().filter(|(id, _)| !done.contains(id));
            match (good, done.is_empty()) {
                (true, false) => part.letters.extend(missed),
                (true, true) => return Err(Error::internal("a replay was committed without its letters")),
                (false, _) => {
                    replayed.through.extend(done);
                    return Ok(replayed);
                }
            }
            replayed.through.extend(done);
        }
    }
    Ok(replayed)
}

/// The letters of the next run of a part: those of an interrupted run first, so that it is resumed and not begun anew; else all.
async fn next(store: &StateStore, run: &str, flow: &Flow, part: &mut Part) -> Result<Vec<(i64, Vec<Event>)>> {
    let begun = match store.unfinished(run).await? {
        Some(open) => store.flow(&open.run_id, &flow.name).await?.map(|record| letters_of(&record.readers)).unwrap_or_default(),
        None => Vec::new(),
    };
    let begun: HashSet<i64> = begun.into_iter().collect();
    let (first, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut part.letters).into_iter().partition(|(id, _)| begun.contains(id));
    if begun.is_empty() || first.len() < begun.len() {
        // Letters of it do not go through any more: the engine decides whether it may begin anew.
        let mut all = [first, rest].concat();
        all.sort_by_key(|(id, _)| *id);
        return Ok(all);
    }
    part.letters = rest;
    Ok(first)
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
        return Err(Error::internal("a letter was sent into a flow that sees rows together"));
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
    let dead =
        outputs.into_iter().enumerate().filter(|(at, _)| way.outputs.contains(at)).flat_map(|(_, output)| output.dead).next();
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

/// The flow as these letters see it: they are its input, and only the sinks that lack them are written.
fn only(flow: &Flow, outputs: &[usize], letters: Vec<(i64, Vec<Event>)>) -> Flow {
    let (ids, rows): (Vec<i64>, Vec<Vec<Event>>) = letters.into_iter().unzip();
    let rows = rows.concat();
    let inputs = flow.inputs.iter().take(1).map(|input| FlowInput {
        node: input.node.clone(),
        connector: input.connector.clone(),
        source: Arc::new(Letters::new(input.stream.clone(), ids.clone(), rows.clone())),
        stream: input.stream.clone(),
        table: input.table.clone(),
        cursor: None,
        cursor_lag: None,
    });
    let chosen = outputs.iter().map(|&at| {
        let output = &flow.outputs[at];
        FlowOutput {
            write_mode: if output.write_mode == WriteMode::Overwrite { WriteMode::Append } else { output.write_mode },
            ..output.clone()
        }
    });
    let program = match &flow.program {
        Program::RowLocal(program) if outputs.len() == flow.outputs.len() => Program::RowLocal(program.clone()),
        Program::RowLocal(program) => Program::RowLocal(Arc::new(Chosen { inner: program.clone(), outputs: outputs.to_vec() })),
        Program::Relational(program) => Program::Relational(program.clone()),
        Program::Keyed(program) => Program::Keyed(program.clone()),
    };
    Flow {
        name: flow.name.clone(),
        inputs: inputs.collect(),
        program,
        outputs: chosen.collect(),
        gates: Vec::new(),
        replan: flow.replan.clone(),
    }
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
