//! `weir state export` and `weir state import`: where a stopped pipeline is, in words that other engines understand, and back.

use std::io::Write;

use weir_connect::cursor::CursorState;
use weir_engine::portable::{Places, adopt};
use weir_engine::savepoint::{self, FlowPart};
use weir_engine::store::{ReaderRecord, StateStore, StreamState};
use weir_error::{Error, Kind, Result};
use weir_plan::{FlowInput, Plan, Program};
use weir_runners::seam::{At, SourceState, State, VERSION, begin, position, repeats};
use weir_spec::{Engine, Mode};

use crate::cli::{StateExport, StateImport};
use crate::commands::Context;
use crate::commands::state::existing;
use crate::outcome::{Failure, Outcome};
use crate::planning::Opened;
use crate::process::block_on;

/// The engine of a word.
fn engine(word: &str) -> Result<Engine> {
    let names = Engine::ALL.map(Engine::word).join(", ");
    Engine::parse(word)
        .ok_or_else(|| Error::new("WEIR-CLI-091", Kind::Spec, format!("there is no engine `{word}`")).because(names))
}

pub fn export(args: &StateExport, context: &Context) -> Outcome {
    let engine = args.engine.as_deref().map(engine).transpose()?;
    let opened = crate::planning::open(&args.file, false, context)?;
    block_on(async {
        let store = existing(&args.state.state_dir).await?;
        let sources = match opened.pipeline.mode {
            Mode::Streaming => of_stream(&opened, &store).await?,
            _ => of_committed(&opened, &store).await?,
        };
        let mut state = State {
            version: VERSION,
            pipeline: opened.pipeline.name.clone(),
            made_at: Some(chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
            sources,
            engine,
            start: None,
        };
        if let Some(engine) = engine {
            state.start = Some(begin::options(&opened.pipeline, &state, engine)?).filter(|start| !start.is_null());
        }
        let mut text = serde_json::to_string_pretty(&state).map_err(std::io::Error::from)?;
        text.push('\n');
        match &args.output {
            Some(file) => {
                std::fs::write(file, text).map_err(|error| Error::from(error).at(file.display().to_string()))?;
            }
            None => write!(std::io::stdout(), "{text}")?,
        }
        for source in &state.sources {
            let said = repeats(&source.at, engine.unwrap_or_default());
            writeln!(std::io::stderr(), "{} {} {}: {said}", context.err.dim("seam"), source.node, source.stream)?;
        }
        Ok::<u8, Failure>(0)
    })
}

fn connector<'o>(opened: &'o Opened, node: &'o str) -> Result<&'o str> {
    let kind = &opened.pipeline.node(node).ok_or_else(|| gone(node))?.kind;
    Ok(opened.registry.get(kind).map_or(kind.as_str(), |known| known.descriptor().name))
}

fn gone(node: &str) -> Error {
    Error::new("WEIR-CLI-092", Kind::Conflict, format!("the state is of a source `{node}`, which the file has not"))
        .hint("use the pipeline file that it was run with")
}

/// A stream that was stopped cleanly has one moment for positions and sinks.
async fn of_stream(opened: &Opened, store: &StateStore) -> Result<Vec<SourceState>> {
    let folder = store.folder().join(format!(".export-{}", uuid::Uuid::now_v7().simple()));
    let manifest = savepoint::write(store, &opened.pipeline.name, &folder).await?;
    std::fs::remove_dir_all(&folder).map_err(|error| Error::from(error).at(folder.display().to_string()))?;
    let mut sources = Vec::new();
    for flow in manifest.flows {
        let [reader] = flow.readers.as_slice() else { return Err(keeps_state(&flow.flow)) };
        if flow.state.is_some() {
            return Err(keeps_state(&flow.flow));
        }
        let at = position::of_splits(connector(opened, &reader.node)?, &flow.progress)?;
        let stream = match &at {
            At::KafkaOffsets { topic, .. } => topic.clone(),
            _ => flow.flow,
        };
        sources.push(SourceState { node: reader.node.clone(), stream, at });
    }
    Ok(sources)
}

fn keeps_state(flow: &str) -> Error {
    Error::new("WEIR-CLI-093", Kind::Unsupported, format!("stream `{flow}` keeps state over event time"))
        .because("open windows and rows that wait for a join are in a form that only our own engine reads")
        .hint("`weir savepoint` takes them to another machine; on another engine the stream begins with empty windows: `start_mode: timestamp`")
}

/// What the last committed run left.
async fn of_committed(opened: &Opened, store: &StateStore) -> Result<Vec<SourceState>> {
    let pipeline = &opened.pipeline.name;
    if let Some(open) = store.unfinished(pipeline).await? {
        let end = if opened.pipeline.mode == Mode::Cdc { "with --until-caught-up " } else { "" };
        return Err(Error::new("WEIR-CLI-094", Kind::Conflict, format!("`{pipeline}` has a run that is not at its end"))
            .at(format!("run {}", open.run_id))
            .because("what it has read and the sinks do not show yet would be missing on another engine")
            .hint(format!("run it once more {end}and let it come to its end")));
    }
    let mut sources = Vec::new();
    for view in store.show(pipeline).await?.streams {
        let left = store.stream_state(pipeline, &view.stream, &view.node).await?;
        let connector = connector(opened, &view.node)?;
        let column = opened.pipeline.node(&view.node).and_then(|node| node.options.get("cursor")?.as_str());
        let at = match (column, &left.cursor, &left.previous) {
            (Some(column), Some(cursor), _) => position::of_cursor(column, cursor, left.last_run_time.clone()),
            (_, _, Some(previous)) if opened.pipeline.mode == Mode::Cdc => {
                Some(position::of_committed(connector, previous.get("position").unwrap_or(&serde_json::Value::Null))?)
            }
            (_, _, Some(previous)) => Some(position::of_committed(connector, previous)?),
            _ => None,
        };
        if let Some(at) = at {
            sources.push(SourceState { node: view.node, stream: view.stream, at });
        }
    }
    if sources.is_empty() {
        return Err(Error::new(
            "WEIR-CLI-095",
            Kind::NotFound,
            format!("`{pipeline}` keeps no position from one run to the next"),
        )
        .at(store.folder().display().to_string())
        .hint("`mode: incremental`, `cdc` and `streaming` do, once a run has come to its end"));
    }
    Ok(sources)
}

pub fn import(args: &StateImport, context: &Context) -> Outcome {
    let place = args.from.display().to_string();
    let text = std::fs::read_to_string(&args.from).map_err(|error| Error::from(error).at(place.clone()))?;
    let state = State::parse(&text, &place)?;
    let opened = crate::planning::open(&args.file, false, context)?;
    if state.pipeline != opened.pipeline.name {
        return Err(Error::new("WEIR-SEAM-005", Kind::Spec, format!("the state is of pipeline `{}`", state.pipeline))
            .at(place)
            .because(format!("and the file holds `{}`", opened.pipeline.name))
            .into());
    }
    block_on(async {
        let plan = opened.plan(None, false, context).await?;
        let places = match plan.pipeline.mode {
            Mode::Streaming => Places::Streams(streams(&plan, &state)?),
            Mode::Incremental => Places::Committed(committed(&plan, &state)?),
            Mode::Batch => {
                return Err(nowhere("`mode: batch` keeps no position from one run to the next", "`mode: incremental`").into());
            }
            Mode::Cdc => {
                let hint = "say in the pipeline where its first run begins: `snapshot: never` with `slot` (PostgreSQL) or `start` (MySQL)";
                return Err(nowhere("a log is gone on with from its slot or its place in the binlog", hint).into());
            }
        };
        adopt(&plan, &args.state.state_dir, places).await?;
        let mut err = std::io::stderr();
        for source in &state.sources {
            let said = repeats(&source.at, Engine::Native);
            writeln!(err, "{} {} {}: {said}", context.err.dim("seam"), source.node, source.stream)?;
        }
        writeln!(err, "the next run of {} goes on there", plan.pipeline.name)?;
        Ok::<u8, Failure>(0)
    })
}

fn nowhere(why: &str, hint: &'static str) -> Error {
    Error::new("WEIR-CLI-096", Kind::Unsupported, "there is nothing that this state could be put into").because(why).hint(hint)
}

/// What the state says of an input. Nothing said would be a beginning anew, and rows twice.
fn place<'s>(state: &'s State, flow: &str, input: &FlowInput) -> Result<&'s At> {
    let known = state.of(&input.node, &input.stream.name).or_else(|| state.of(&input.node, flow));
    known.ok_or_else(|| {
        let what = format!("the state says nothing of stream `{}` of source `{}`", input.stream.name, input.node);
        Error::new("WEIR-SEAM-006", Kind::Spec, what).hint("it would begin anew and give its rows a second time")
    })
}

fn streams(plan: &Plan, state: &State) -> Result<Vec<FlowPart>> {
    let mut parts = Vec::new();
    for flow in &plan.flows {
        let [input] = flow.inputs.as_slice() else { return Err(keeps_state(&flow.name)) };
        if matches!(flow.program, Program::Keyed(_)) {
            return Err(keeps_state(&flow.name));
        }
        if input.connector != "kafka" {
            let why = format!("`{}` keeps positions of its own", input.connector);
            return Err(nowhere(&why, "streams go on from Kafka's offsets only"));
        }
        let (reader, progress) = position::into_splits(place(state, &flow.name, input)?)?;
        let readers = vec![ReaderRecord { node: input.node.clone(), state: reader, ..ReaderRecord::default() }];
        parts.push(FlowPart { flow: flow.name.clone(), progress, readers, state: None });
    }
    Ok(parts)
}

/// A flow, and for each of its inputs what a run has left of it.
type Committed = (String, Vec<(String, StreamState)>);

fn committed(plan: &Plan, state: &State) -> Result<Vec<Committed>> {
    let mut flows = Vec::new();
    for flow in &plan.flows {
        let mut states = Vec::new();
        for input in &flow.inputs {
            states.push((input.node.clone(), left(place(state, &flow.name, input)?, input)?));
        }
        flows.push((flow.name.clone(), states));
    }
    Ok(flows)
}

/// What a run of our own would have left of an input.
fn left(at: &At, input: &FlowInput) -> Result<StreamState> {
    match (at, input.cursor.as_deref()) {
        (At::Cursor { column, value, last_run_time, boundary }, Some(cursor)) if column == cursor => {
            let of_column = |field: &arrow::datatypes::Field| CursorState::at(value, field.data_type());
            let written = input.stream.schema.field_with_name(column).map_err(|_| gone(&input.node)).map(of_column)??;
            // The hashes are of rows at this very value; those of another one would hide rows that nobody has had.
            let known = boundary.clone().filter(|boundary| boundary.max == written.max);
            Ok(StreamState { cursor: Some(known.unwrap_or(written)), previous: None, last_run_time: last_run_time.clone() })
        }
        (At::KafkaOffsets { .. }, None) if input.connector == "kafka" => {
            Ok(StreamState { previous: position::into_committed(at), ..StreamState::default() })
        }
        _ => {
            let what = format!("the state names a place that source `{}` does not have", input.node);
            Err(Error::new("WEIR-SEAM-009", Kind::Spec, what)
                .because(input.cursor.as_ref().map_or("it has no cursor".into(), |cursor| format!("its cursor is `{cursor}`"))))
        }
    }
}
