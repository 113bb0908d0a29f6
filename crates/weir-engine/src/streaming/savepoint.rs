//! Savepoints: where a stream is, and what it keeps, in a folder that depends on nothing else.
//!
//! `manifest.json` says which pipeline, which flows, all positions, and names a file per flow that keeps state. It is written into a folder beside the
//! final one, which gets its name when everything in it is durable. A run that begins there is a new run: its sums begin at zero, and
//! what sinks got after the savepoint was made they get again.
//!
//! Only between two turns a stream has one moment for positions, state and sinks: once it was stopped cleanly ([`write`]), or when it is asked
//! while it runs ([`ask`], `asked`). What is not here: the state's own format (`crate::state`).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_connect::SplitProgress;
use weir_error::{Error, Kind, Result};
use weir_plan::{Flow, Plan, Program};
use weir_spec::Mode;

use super::turn::Base;
use crate::carrier;
use crate::run::{going_on, lock, tame};
use crate::state::{self, StateMark, blocking};
use crate::store::{FlowPlace, Keep, ReaderRecord, StateStore, Wanted, Wish};

/// Version of the folder's form.
const VERSION: u32 = 1;
const MANIFEST: &str = "manifest.json";
/// Whoever waits for a run looks so often.
const LOOK: Duration = Duration::from_millis(100);
/// Stands beside the states of a pipeline while a savepoint is being taken over.
pub(crate) const UNFINISHED: &str = "from-savepoint";

/// What stands in `manifest.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the folder's form.
    pub version: u32,
    /// The weir that made it.
    pub weir: String,
    /// The pipeline.
    pub pipeline: String,
    /// Fingerprint of its plan, for people: what a flow keeps has one of its own.
    pub fingerprint: String,
    /// When it was made: RFC 3339, UTC.
    pub made_at: String,
    /// Its flows.
    pub flows: Vec<FlowPart>,
}

impl Manifest {
    /// Of positions that came another way than from a run here.
    pub(crate) fn new(pipeline: &str, flows: Vec<FlowPart>) -> Self {
        Self {
            version: VERSION,
            weir: env!("CARGO_PKG_VERSION").into(),
            pipeline: pipeline.to_owned(),
            fingerprint: String::new(),
            made_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            flows,
        }
    }
}

/// One flow of a [`Manifest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FlowPart {
    /// Its name.
    pub flow: String,
    /// Where every split is.
    pub progress: Vec<SplitProgress>,
    /// What its readers need to go on.
    pub readers: Vec<ReaderRecord>,
    /// What it keeps.
    pub state: Option<StatePart>,
}

/// The state of a [`FlowPart`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatePart {
    /// Its file in the folder.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// What it must be found to be.
    pub mark: StateMark,
}

/// Asks the run of a stream that goes on for a savepoint in a folder that is not there yet, and waits until it is made. A run that ends meanwhile
/// leaves it to [`write`], which this is then.
///
/// # Errors
/// No stream has begun; the folder exists; the run could not make it, and has said why.
pub async fn ask(store: &StateStore, pipeline: &str, to: &Path) -> Result<Manifest> {
    let open = store.unfinished(pipeline).await?.ok_or_else(|| nothing(store, pipeline))?;
    let mut begun = false;
    for flow in store.flows(&open.run_id).await? {
        let place = FlowPlace { pipeline, run_id: &open.run_id, flow: &flow };
        begun |= store.epochs(&place).await?.first().is_some_and(|epoch| epoch.body.turn.is_some());
    }
    if !begun {
        return Err(nothing(store, pipeline));
    }
    let failed = |error: std::io::Error| Error::from(error).at(to.display().to_string());
    // The run may have another folder for its own.
    let to = std::path::absolute(to).map_err(failed)?;
    if to.exists() {
        return Err(there(&to));
    }
    let text = to.to_str().ok_or_else(|| Error::new("WEIR-SAVEPOINT-010", Kind::Spec, "the name of the folder is no text"))?;
    let wanted = Wanted::Savepoint { to: text.to_owned() };
    store.wish(pipeline, Wish::RUN, &wanted).await?;
    loop {
        let waits = store.wishes(pipeline, Wish::RUN).await?.into_iter().find(|wish| wish.wanted == wanted);
        match waits {
            None if to.exists() => return read(&to),
            None => {
                return Err(Error::new("WEIR-SAVEPOINT-011", Kind::Conflict, "the run could not make the savepoint")
                    .at(to.display().to_string())
                    .hint("the run has said why, as a warning"));
            }
            Some(wish) if !going_on(store.folder(), pipeline) => {
                store.granted(pipeline, &[wish.id]).await?;
                return if to.exists() { read(&to) } else { write(store, pipeline, &to).await };
            }
            Some(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Makes a savepoint of a stream that was stopped, in a folder that is not there yet.
///
/// # Errors
/// The stream is running, was not stopped cleanly, or has not begun; the folder exists.
pub async fn write(store: &StateStore, pipeline: &str, to: &Path) -> Result<Manifest> {
    if going_on(store.folder(), pipeline) {
        return Err(Error::new("WEIR-SAVEPOINT-001", Kind::Conflict, format!("`{pipeline}` is running"))
            .hint("`weir savepoint` asks the run for it"));
    }
    let _lock = lock(store.folder(), pipeline)?;
    let nothing = || nothing(store, pipeline);
    let open = store.unfinished(pipeline).await?.ok_or_else(nothing)?;
    let mut flows = Vec::new();
    // What is carried has its numbers in this state alone.
    let of_rows = |flow: &String| !carrier::carries(flow);
    for flow in store.flows(&open.run_id).await?.into_iter().filter(of_rows) {
        let place = FlowPlace { pipeline, run_id: &open.run_id, flow: &flow };
        let epochs = store.epochs(&place).await?;
        let base = epochs.first().and_then(Base::of).ok_or_else(nothing)?;
        if epochs.len() > 1 {
            return Err(Error::new("WEIR-SAVEPOINT-003", Kind::Conflict, format!("`{pipeline}` was not stopped cleanly"))
                .at(format!("stream `{flow}`"))
                .because("rows are on their way to the sinks that are not shown yet")
                .hint("run it once more and stop it with Ctrl-C, or with `--until-caught-up`"));
        }
        let readers = store.flow(&open.run_id, &flow).await?.map(|record| record.readers).unwrap_or_default();
        flows.push((flow, base, readers));
    }
    if flows.is_empty() {
        return Err(nothing());
    }
    let manifest = manifest(pipeline, open.fingerprint, Vec::new());
    let to = to.to_owned();
    let of = |flow: &str| state::folder_of_flow(store.folder(), pipeline, flow);
    let flows: Vec<_> = flows.into_iter().map(|(flow, base, readers)| (of(&flow), flow, base, readers)).collect();
    blocking(move || write_now(manifest, flows, &to)).await
}

fn nothing(store: &StateStore, pipeline: &str) -> Error {
    Error::new("WEIR-SAVEPOINT-002", Kind::NotFound, format!("there is no stream of `{pipeline}` to make a savepoint of"))
        .at(store.folder().display().to_string())
        .because("only `mode: streaming` that has run, and was not reset, has positions to keep")
}

pub(super) fn there(to: &Path) -> Error {
    Error::new("WEIR-SAVEPOINT-004", Kind::Conflict, "the folder of the savepoint exists")
        .at(to.display().to_string())
        .hint("name another one with --output")
}

/// The folder in which a savepoint is made, empty.
pub(super) fn draft(to: &Path) -> Result<PathBuf> {
    let failed = |error| Error::from(error).at(to.display().to_string());
    let parent = parent(to);
    fs::create_dir_all(parent).map_err(failed)?;
    let name = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = parent.join(format!(".{name}.draft"));
    state::clear(&draft)?;
    fs::create_dir(&draft).map_err(failed)?;
    Ok(draft)
}

fn parent(to: &Path) -> &Path {
    to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The part of a flow that keeps this state: its file in a draft is called so.
pub(super) fn state_file(number: usize, flow: &str) -> String {
    format!("{}-{}.state", number + 1, tame(flow))
}

/// Of flows that have left their parts.
pub(super) fn manifest(pipeline: &str, fingerprint: String, flows: Vec<FlowPart>) -> Manifest {
    Manifest { fingerprint, ..Manifest::new(pipeline, flows) }
}

/// A draft with all its parts becomes the savepoint, whole or not at all.
pub(super) fn finish(manifest: &Manifest, draft: &Path, to: &Path) -> Result<()> {
    keep(manifest, draft)?;
    fs::rename(draft, to).map_err(|error| Error::from(error).at(to.display().to_string()))?;
    state::sync(parent(to))
}

type Flows = Vec<(PathBuf, String, Base, Vec<ReaderRecord>)>;

fn write_now(mut manifest: Manifest, flows: Flows, to: &Path) -> Result<Manifest> {
    let failed = |error| Error::from(error).at(to.display().to_string());
    if to.exists() {
        return Err(there(to));
    }
    let draft = draft(to)?;
    for (number, (folder, flow, base, readers)) in flows.into_iter().enumerate() {
        let mut part = FlowPart { flow, progress: base.progress.into_values().collect(), readers, state: None };
        if let Some(mark) = base.state {
            let file = state_file(number, &part.flow);
            let path = draft.join(&file);
            let mark = state::export(&folder, &mark, &path)?;
            let bytes = fs::metadata(&path).map_err(failed)?.len();
            part.state = Some(StatePart { file, bytes, mark });
        }
        manifest.flows.push(part);
    }
    finish(&manifest, &draft, to)?;
    Ok(manifest)
}

/// Writes the manifest into a folder, durably.
pub(crate) fn keep(manifest: &Manifest, folder: &Path) -> Result<()> {
    let path = folder.join(MANIFEST);
    let failed = |error| Error::from(error).at(path.display().to_string());
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| Error::internal("a manifest").caused_by(error))?;
    let mut file = File::create(&path).map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    state::sync(folder)
}

/// Before the run is chosen: what an earlier beginning left half done is not taken for a state, and a savepoint that is asked for becomes the
/// pipeline's state. The caller holds the pipeline's lock.
pub(crate) async fn begin(plan: &Plan, store: &StateStore, fingerprint: &str, from: Option<&Path>) -> Result<()> {
    let pipeline = &plan.pipeline.name;
    let folder = state::folder_of(store.folder(), pipeline);
    let unfinished = folder.join(UNFINISHED);
    let half = unfinished.exists();
    let Some(from) = from else {
        return match half {
            true => Err(Error::new("WEIR-SAVEPOINT-005", Kind::Conflict, "the beginning from a savepoint was interrupted")
                .at(unfinished.display().to_string())
                .hint(format!(
                    "repeat it (--from-savepoint, or `weir state import`), or begin anew after `weir state reset {pipeline}`"
                ))),
            false => Ok(()),
        };
    };
    if plan.pipeline.mode != Mode::Streaming {
        return Err(
            Error::new("WEIR-SAVEPOINT-006", Kind::Spec, "only `mode: streaming` begins from a savepoint").at(pipeline.clone())
        );
    }
    if let Some(open) = store.unfinished(pipeline).await? {
        if !half {
            return Err(Error::new("WEIR-SAVEPOINT-007", Kind::Conflict, format!("`{pipeline}` has a state of its own"))
                .at(format!("run {}", open.run_id))
                .hint(format!("go on with it without --from-savepoint; or give it up first: `weir state reset {pipeline}`")));
        }
        store.begin(&open.run_id, pipeline, fingerprint, None).await?;
        for flow in &plan.flows {
            store.forget(&FlowPlace { pipeline, run_id: &open.run_id, flow: &flow.name }, None).await?;
        }
        store.end(&open.run_id, "abandoned", "null").await?;
    }
    let manifest = read(from)?;
    let parts = plan.flows.iter().map(|flow| part(&manifest, flow, from).map(|part| (flow, part)));
    let parts: Vec<(&Flow, &FlowPart)> = parts.collect::<Result<_>>()?;
    if let Some(other) = manifest.flows.iter().find(|part| plan.flows.iter().all(|flow| flow.name != part.flow)) {
        return Err(not_of(from, format!("it has the stream `{}`, which the pipeline has not", other.flow)));
    }
    let failed = |error| Error::from(error).at(unfinished.display().to_string());
    fs::create_dir_all(&folder).map_err(failed)?;
    File::create(&unfinished).and_then(|file| file.sync_all()).map_err(failed)?;
    folder.ancestors().take(3).try_for_each(state::sync)?;
    let run_id = uuid::Uuid::now_v7().simple().to_string();
    for (flow, part) in &parts {
        if let Some(kept) = &part.state {
            let (file, mark) = (from.join(&kept.file), kept.mark.clone());
            let to = state::folder_of_flow(store.folder(), pipeline, &flow.name);
            blocking(move || state::import(&file, &mark, &to)).await?;
        }
    }
    store.begin(&run_id, pipeline, fingerprint, None).await?;
    for (flow, part) in parts {
        store.open_flow(&run_id, &flow.name, &part.readers).await?;
        let base = Base::first(flow, part.progress.clone(), part.state.as_ref().map(|kept| kept.mark.clone()));
        store.write_epoch(&FlowPlace { pipeline, run_id: &run_id, flow: &flow.name }, &base.epoch(), &[], Keep::Newest).await?;
    }
    fs::remove_file(&unfinished).map_err(failed)?;
    state::sync(&folder)
}

fn read(from: &Path) -> Result<Manifest> {
    let path = from.join(MANIFEST);
    let text = fs::read(&path).map_err(|error| Error::from(error).at(path.display().to_string()))?;
    let version = serde_json::from_slice::<serde_json::Value>(&text).ok().and_then(|manifest| manifest["version"].as_u64());
    if version != Some(u64::from(VERSION)) {
        let found = version.map_or("no version".into(), |version| format!("version {version}"));
        return Err(Error::new("WEIR-SAVEPOINT-008", Kind::Unsupported, "this is no savepoint that this weir can read")
            .at(path.display().to_string())
            .because(format!("its manifest has {found}, not {VERSION}")));
    }
    serde_json::from_slice(&text).map_err(|error| {
        Error::new("WEIR-SAVEPOINT-008", Kind::Data, "this is no savepoint that this weir can read")
            .at(path.display().to_string())
            .caused_by(error)
    })
}

/// What the savepoint has of a flow.
fn part<'m>(manifest: &'m Manifest, flow: &Flow, from: &Path) -> Result<&'m FlowPart> {
    let part = manifest.flows.iter().find(|part| part.flow == flow.name);
    let part = part.ok_or_else(|| not_of(from, format!("it has nothing of the stream `{}`", flow.name)))?;
    let own = match &flow.program {
        Program::Keyed(program) => Some(program.fingerprint()),
        Program::RowLocal(_) | Program::Relational(_) => None,
    };
    match &part.state {
        Some(kept) if own.as_ref() != Some(&kept.mark.fingerprint) => Err(not_of(
            from,
            format!("what the stream `{}` kept there was kept by a program that computed something else", flow.name),
        )),
        Some(kept) if Path::new(&kept.file).file_name().is_none_or(|name| name != kept.file.as_str()) => {
            Err(not_of(from, format!("`{}` is no name of a file in it", kept.file)))
        }
        _ => Ok(part),
    }
}

fn not_of(from: &Path, why: String) -> Error {
    Error::new("WEIR-SAVEPOINT-009", Kind::Conflict, "the savepoint is not one of this pipeline")
        .at(from.display().to_string())
        .because(why)
        .hint("use the pipeline file that it was made with")
}
