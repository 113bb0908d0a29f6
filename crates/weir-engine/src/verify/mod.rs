//! `weir verify`: whether the sinks of a pipeline have what its sources have, also while it runs.
//!
//! 1. Both sides compute sums of their rows' hashes per chunk, in one scan of one snapshot each (`compare`; the forms are in [`weir_connect::verify`]).
//! 2. Of chunks whose sums differ the rows are compared, hash by hash, in the order of their keys' hashes: memory does not grow with the table.
//! 3. Keys that differ are suspected. They are looked at again until each is proven equal or different, or is given up as in motion (`settle`,
//!    `progress`).
//! 4. With `repair` what is proven is sent again under the sink's own lock, and everything is compared once more.
//!
//! A source that cannot compute checksums, or whose rows are changed on the way (`change`), is read and hashed here ([`weir_connect::verify::read`]). Of a log
//! only, if rows can be asked for by their keys: nobody could say where in it a reader of everything is.

mod change;
mod compare;
mod progress;
pub mod report;
mod settle;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use tokio_util::sync::CancellationToken;
use weir_connect::verify::read::{Read, RowChange};
use weir_connect::verify::{Comparison, VerifySink, VerifySource, VerifyStream, canonical};
use weir_connect::{DeleteMode, Edge, WriteMode};
use weir_error::{Error, Kind, Result};
use weir_plan::{Flow, FlowInput, FlowOutput, Plan, Program, RowProgram};
use weir_spec::model::Mode;

use self::change::Through;
use self::compare::Pair;
use self::progress::Progress;
pub use self::report::{Difference, DifferenceKind, LeftOut, NotCompared, StreamVerdict, VerifyReport};
use crate::store::StateStore;

/// How to compare.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Folder of the pipeline's checkpoints, if it is at hand.
    pub state: Option<PathBuf>,
    /// Keys that are listed per stream; all are counted.
    pub list: usize,
    /// Make the sink equal.
    pub repair: bool,
    /// How often a key is looked at before it is given up as in motion.
    pub rounds: usize,
    /// How long is waited for the sink to get to a position of the source.
    pub wait: Duration,
    /// Compare a log's sinks as they are, without asking how far they are.
    pub as_is: bool,
    /// Processes that each server may use.
    pub parallelism: usize,
    /// Stops it.
    pub stop: CancellationToken,
}

impl VerifyOptions {
    fn stopped(&self) -> Result<()> {
        if self.stop.is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }
}

fn unsupported(what: impl Into<String>, place: &str) -> Error {
    Error::new("WEIR-VERIFY-001", Kind::Unsupported, what).at(place.to_string())
}

/// Compares every stream of the plan with every sink that it goes to.
pub async fn verify(plan: &Plan, options: &VerifyOptions) -> Result<VerifyReport> {
    let store = match &options.state {
        // Looking must not create anything.
        Some(folder) if folder.join("state.db").is_file() => Some(StateStore::open(folder).await?),
        _ => None,
    };
    let (mut streams, mut not_compared) = (Vec::new(), Vec::new());
    for flow in &plan.flows {
        if let Some(why) = only_in_log(flow) {
            not_compared.push(NotCompared { name: flow.name.clone(), why });
            continue;
        }
        for at in 0..flow.outputs.len() {
            streams.push(stream(plan, flow, at, store.clone(), options).await?);
        }
    }
    let equal = streams.iter().all(|stream| stream.equal);
    Ok(VerifyReport { pipeline: plan.pipeline.name.clone(), equal, streams, not_compared })
}

fn only_in_log(flow: &Flow) -> Option<String> {
    let [input] = flow.inputs.as_slice() else { return None };
    input.source.verifiable()?.only_in_log(&input.stream.name)
}

async fn stream(
    plan: &Plan,
    flow: &Flow,
    at: usize,
    store: Option<StateStore>,
    options: &VerifyOptions,
) -> Result<StreamVerdict> {
    let output = &flow.outputs[at];
    let place = format!("{} → {}", flow.name, output.node);
    let ([input], Program::RowLocal(program)) = (flow.inputs.as_slice(), &flow.program) else {
        return Err(unsupported(
            "a query over several rows lies between source and sink: there is nothing to compare with",
            &place,
        ));
    };
    let cdc = plan.pipeline.mode == Mode::Cdc;
    let source = source_of(flow, input, program, at, cdc).await.map_err(|error| error.at(place.clone()))?;
    let target = output.sink.verifiable().ok_or_else(|| {
        unsupported(format!("what `{}` holds cannot be compared yet", output.connector), &place)
            .hint("postgres, mysql, file and s3 can")
    })?;
    let deletes = if cdc { output.deletes } else { DeleteMode::Hard };
    let asked = VerifyStream {
        pipeline: plan.pipeline.name.clone(),
        stream: output.stream.clone(),
        schema: output.schema.clone(),
        key: output.key.clone(),
        write_mode: output.write_mode,
        changes: cdc,
        deletes,
    };
    let sink = target.verify_sink(&asked).await.map_err(|error| error.at(place.clone()))?;
    let mut verdict = StreamVerdict { name: flow.name.clone(), source: source.place(), sink: sink.place(), ..Default::default() };
    let (comparison, left_out) = agree(output, source.as_ref(), sink.as_ref());
    if comparison.columns.is_empty() {
        return Err(unsupported("the two tables have no column in common that can be compared", &place));
    }
    if options.repair && !comparison.keyed {
        return Err(unsupported("rows without a key cannot be mended one by one", &place).hint("give the sink a `key`"));
    }
    verdict.left_out = left_out;
    if !comparison.keyed {
        verdict.notes.push("there is no key: rows are compared as a bag".into());
    }
    let progress = Progress {
        pipeline: plan.pipeline.name.clone(),
        nodes: (input.node.clone(), output.node.clone()),
        store,
        as_is: options.as_is || !cdc,
        wait: options.wait,
        waited: Duration::ZERO,
        stuck: false,
    };
    // A run that reads what is new leaves what was deleted at the source; upsert and merge do so even when everything is read.
    let keeps = if cdc { deletes == DeleteMode::Ignore } else { output.write_mode != WriteMode::Overwrite };
    let mut pair = Pair { source, sink, comparison: Arc::new(comparison), progress, keeps };
    let mut mended = 0;
    if options.repair {
        // What this pass counts was true before it was mended.
        mended = pair.compare(options, true, &mut StreamVerdict::default()).await.map_err(|error| error.at(place.clone()))?.keys;
    }
    pair.compare(options, false, &mut verdict).await.map_err(|error| error.at(place.clone()))?;
    verdict.repaired = mended;
    if pair.progress.stuck {
        verdict.notes.push(format!(
            "the sink did not get to where the source is within {} s: is the pipeline running? With --as-is nothing is waited for",
            options.wait.as_secs()
        ));
    }
    verdict.equal = verdict.differing_keys == 0 && verdict.in_motion == 0;
    verdict.checked_at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    Ok(verdict)
}

/// What a flow gives to one of its outputs, without the columns that the engine adds.
fn given(output: &FlowOutput) -> SchemaRef {
    let own = output.schema.fields().len().saturating_sub(output.metadata.len());
    let fields: Vec<_> = output.schema.fields().iter().take(own).cloned().collect();
    Arc::new(Schema::new_with_metadata(fields, output.schema.metadata().clone()))
}

/// The source as it can be compared: by checksums of its own, or by reading it.
async fn source_of(
    flow: &Flow,
    input: &FlowInput,
    program: &Arc<dyn RowProgram>,
    at: usize,
    cdc: bool,
) -> Result<Arc<dyn VerifySource>> {
    let (output, stream) = (&flow.outputs[at], &input.stream);
    let changed = !program.passes_on(at);
    let refused = |error: &Error| error.kind() == Kind::Unsupported;
    let mut why = format!("`{}` cannot compute checksums", input.connector);
    let mut system = None;
    if let Some(source) = input.source.verifiable() {
        if !changed {
            match source.verify_source(&stream.name).await {
                Err(error) if refused(&error) => why = error.to_string(),
                found => return found,
            }
        }
        match source.verify_rows(&stream.name).await {
            Err(error) if refused(&error) => why = error.to_string(),
            found => system = Some(found?),
        }
    }
    if cdc && system.is_none() {
        return Err(unsupported("this pipeline of changes cannot be compared", &stream.name).because(why));
    }
    let gives = given(output);
    let change: Option<Arc<dyn RowChange>> = match changed {
        true => Some(Arc::new(Through::new(flow, input, program, at, &gives)?)),
        false => None,
    };
    let place = format!("{} (`{}`), read", stream.name, input.connector);
    let read = Read::new(input.source.clone(), &stream.name, place, gives, stream.estimated_rows).through(change);
    Ok(Arc::new(match system {
        Some(system) => read.with(system),
        None => read,
    }))
}

/// The columns that both sides have, in a form that both can compute.
fn agree(output: &FlowOutput, source: &dyn VerifySource, sink: &dyn VerifySink) -> (Comparison, Vec<LeftOut>) {
    let (mut columns, mut left_out) = (Vec::new(), Vec::new());
    let mut leave = |column: &str, why: String| left_out.push(LeftOut { column: column.into(), why });
    let alike = source.prints() == sink.prints();
    for ours in source.columns() {
        let field = output.schema.field_with_name(&ours.name).ok();
        match (field, sink.columns().iter().find(|theirs| theirs.name == ours.name)) {
            (None, _) => leave(&ours.name, "the pipeline does not carry it".into()),
            (_, None) => leave(&ours.name, "the sink does not have it".into()),
            (Some(field), Some(theirs)) => match (Edge::of_source(field), ours.form.common(sink.holds(theirs, ours.form))) {
                (edge, _) if edge.loses() => leave(&ours.name, "the pipeline accepts that its values change".into()),
                // Each system has its own text for such values.
                (_, Some(form)) if !alike && !canonical::computable(field.data_type(), form) => leave(
                    &ours.name,
                    format!("{} here and {} there are compared by servers of one kind only", ours.kind, theirs.kind),
                ),
                (_, Some(form)) if source.computes(&ours.name, form) && sink.computes(&ours.name, form) => {
                    columns.push((ours.name.clone(), form))
                }
                (_, Some(_)) => leave(&ours.name, format!("{} here and {} there have no common form", ours.kind, theirs.kind)),
                (_, None) => leave(&ours.name, format!("{} and {} cannot be compared", ours.kind, theirs.kind)),
            },
        }
    }
    let known = |name: &str| source.columns().iter().any(|ours| ours.name == name);
    for field in output.schema.fields().iter().filter(|field| !known(field.name())) {
        match output.metadata.iter().any(|added| added.name() == field.name()) {
            true => leave(field.name(), "it tells of the change, not of the row".into()),
            false => leave(field.name(), format!("{} has no canonical form", field.data_type())),
        }
    }
    for theirs in
        sink.columns().iter().filter(|theirs| !known(&theirs.name) && output.schema.field_with_name(&theirs.name).is_err())
    {
        leave(&theirs.name, "only the sink has it".into());
    }
    let at = |name: &String| columns.iter().position(|(column, _)| column == name);
    let key: Option<Vec<usize>> = output.key.iter().map(at).collect();
    let key = key.filter(|key| !key.is_empty());
    let keyed = key.is_some();
    let key = key.unwrap_or_else(|| (0..columns.len()).collect());
    // Also what cannot be compared: a row that is mended must be whole.
    let told = given(output);
    let there = |name: &&String| sink.columns().iter().any(|theirs| theirs.name == **name);
    let carried = told.fields().iter().map(|field| field.name()).filter(there).cloned().collect();
    (Comparison { columns, key, keyed, carried }, left_out)
}
