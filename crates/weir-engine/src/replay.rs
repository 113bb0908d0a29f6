//! Dead letters, once more through their pipeline.
//!
//! A replay decodes each waiting letter with the source's options as they are now (a row that a transform set aside needs no
//! decoding), and runs the rows that are well-formed by
//! now through the same program into the same sinks, as a run of its own: it moves no cursor and never overwrites
//! (`overwrite` becomes `append`). Letters that went through are marked as replayed after the commit; a crash before that
//! resumes the same replay, because its identity is made from the letters.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use serde_json::Value;
use weir_connect::{
    Batch, DeadLetter, Event, EventStream, Position, ReadRequest, Resume, ResumeVerdict, Source, SourceCapabilities, Split,
    StreamInfo, StreamReader, WriteMode,
};
use weir_error::{Error, Result};
use weir_plan::{Flow, Plan, Program};

use crate::events::Reporter;
use crate::report::{RunReport, RunStatus};
use crate::run::{RunOptions, run};
use crate::store::StateStore;
use crate::store::inspect::DeadView;

/// What is appended to the pipeline's name for the state of its replays.
pub(crate) const SUFFIX: &str = ".replay";

/// What a replay did.
#[derive(Debug)]
pub struct Replayed {
    /// The run, if any letter was well-formed; its counts are those of the replay.
    pub report: Option<RunReport>,
    /// Letters that went through and are marked.
    pub through: Vec<i64>,
    /// Letters that are still broken, with the reason of now.
    pub still_dead: Vec<(i64, String)>,
}

/// Replays `letters` through `plan`, the plan of the pipeline they came from. Letters of streams that the plan does not
/// have are left alone and reported as still dead.
pub async fn replay(
    mut plan: Plan,
    letters: Vec<DeadView>,
    options: RunOptions,
    reporter: &mut dyn Reporter,
) -> Result<Replayed> {
    let store = StateStore::open(&options.state_dir).await?;
    let mut through = Vec::new();
    let mut still_dead = Vec::new();
    let mut flows: Vec<Flow> = Vec::new();
    let mut seen: Vec<i64> = Vec::new();
    for mut flow in std::mem::take(&mut plan.flows) {
        if flow.inputs.len() != 1 {
            continue;
        }
        let input = &mut flow.inputs[0];
        let mut rows: Vec<Event> = Vec::new();
        let mut ids = Vec::new();
        for letter in letters.iter().filter(|letter| letter.stream == input.stream.name) {
            seen.push(letter.id);
            let events = match by_program(letter, &flow.program, flow.outputs.len(), &input.stream) {
                Some(events) => events,
                None => input.source.redecode(&input.stream.name, &as_letter(letter)).await?,
            };
            match events.iter().find_map(|event| if let Event::Dead(dead) = event { Some(dead.reason.clone()) } else { None }) {
                Some(reason) => still_dead.push((letter.id, reason)),
                None => {
                    ids.push(letter.id);
                    rows.extend(events);
                }
            }
        }
        if ids.is_empty() {
            continue;
        }
        let id = ids.iter().map(i64::to_string).collect::<Vec<_>>().join("-");
        input.source = Arc::new(Letters { id, info: input.stream.clone(), events: rows });
        input.cursor = None;
        for output in &mut flow.outputs {
            if output.write_mode == WriteMode::Overwrite {
                output.write_mode = WriteMode::Append;
            }
        }
        through.extend(ids);
        flows.push(flow);
    }
    for letter in letters.iter().filter(|letter| !seen.contains(&letter.id)) {
        still_dead
            .push((letter.id, format!("stream `{}` cannot be replayed: the pipeline joins or no longer has it", letter.stream)));
    }
    if flows.is_empty() {
        return Ok(Replayed { report: None, through, still_dead });
    }
    let mut pipeline = (*plan.pipeline).clone();
    pipeline.name.push_str(SUFFIX);
    plan.pipeline = Arc::new(pipeline);
    plan.flows = flows;
    let report = run(plan, options, reporter).await;
    if !matches!(report.status, RunStatus::Succeeded | RunStatus::DeadLettersExceeded) {
        return Ok(Replayed { report: Some(report), through: Vec::new(), still_dead });
    }
    store.dead_replayed(&through).await?;
    Ok(Replayed { report: Some(report), through, still_dead })
}

/// A letter that was not set aside by the source but by the flow's own program: its row, if the program takes it by now. `None`
/// for letters of the source.
fn by_program(letter: &DeadView, program: &Program, outputs: usize, stream: &StreamInfo) -> Option<Vec<Event>> {
    let still = |reason: &str| Some(vec![Event::Dead(DeadLetter { reason: reason.into(), ..as_letter(letter) })]);
    let Program::RowLocal(program) = program else {
        return still("the pipeline sees rows together (a join, an aggregate, …): a single one cannot be added; run it again");
    };
    if !letter.code.starts_with("WEIR-ROW-") {
        return None;
    }
    if outputs > 1 {
        return still("the row may have reached another sink of the pipeline already; correct it at the source");
    }
    let Some(records) = weir_plan::decode_record(&letter.payload, &letter.media_type, &stream.schema) else {
        return still("what was kept does not give back the row exactly; correct it at the source");
    };
    match program.apply(&records) {
        Err(error) => still(&error.to_string()),
        Ok(outputs) => match outputs.into_iter().flat_map(|output| output.dead).next() {
            Some(dead) => Some(vec![Event::Dead(dead)]),
            None => {
                let source_bytes = letter.payload.len() as u64;
                Some(vec![Event::Batch(Batch { records, position: None, source_bytes })])
            }
        },
    }
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

/// Events that are already here, as a source with one split.
struct Letters {
    /// Names the letters: a replay of other letters is no resume of this one.
    id: String,
    info: StreamInfo,
    events: Vec<Event>,
}

#[async_trait]
impl Source for Letters {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities { replayable: true, replay_note: "dead letters stay until they are replayed".into() }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(vec![self.info.clone()])
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let split = Split { id: self.id.clone(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
        let (verdict, splits) = match request.resume {
            None => (ResumeVerdict::Fresh, vec![split]),
            Some(Resume { progress, .. }) if progress.iter().all(|part| part.split.id == self.id) => {
                (ResumeVerdict::Continued, if progress.iter().any(|part| part.done) { vec![] } else { vec![split] })
            }
            Some(_) => (ResumeVerdict::StartOver { reason: "other dead letters are replayed now".into() }, vec![split]),
        };
        Ok(Box::new(LettersReader { info: self.info.clone(), events: self.events.clone(), splits, verdict }))
    }
}

struct LettersReader {
    info: StreamInfo,
    events: Vec<Event>,
    splits: Vec<Split>,
    verdict: ResumeVerdict,
}

#[async_trait]
impl StreamReader for LettersReader {
    fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.info.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    async fn read(&self, _: &Split, _: Option<Position>) -> Result<EventStream> {
        // Positions belong to the original split; here only the whole counts.
        let events: Vec<Result<Event>> = self
            .events
            .iter()
            .map(|event| match event {
                Event::Batch(batch) => Ok(Event::Batch(Batch { position: None, ..batch.clone() })),
                Event::Dead(letter) => {
                    Err(Error::internal(format!("letter {} was found broken after it was found good", letter.place)))
                }
                other => Ok(other.clone()),
            })
            .collect();
        Ok(futures::stream::iter(events).boxed())
    }
}
