//! Streams that wait for an approval (`on_schema_change: hold`).
//!
//! When the shape of a stream changes, nothing of it is applied from the boundary before the change on. Its changes stay in the journal, and the
//! other streams go on. A change is approved
//!
//! * by `weir journal approve`, or through the platform's API;
//! * by whoever fits the target by hand: it is as the new shape needs it, and was not before, or is not any more as the old one needs it;
//! * by another contract in the pipeline file.
//!
//! The first two end up in a file beside the journal: the boundary up to which the stream's shape may change as under `evolve`. It is durable
//! before anything of it is applied, so it holds for the attempt after a crash as well. The sink node then begins again where the stream is, as
//! after a crash; streams that are further pass over what they have.
//!
//! Not here: how a node goes on without a stream and finds its way back (`super::applier`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weir_error::{Error, Kind, Result};
use weir_spec::{Pipeline, Role};

use super::codec::{self, Record};
use super::journal::{JournalPlace, Journals};
use super::look;
use super::shape::Shape;
use crate::store::{StateStore, Wanted};

/// The code of a run that ends while a stream waits.
pub const HELD: &str = "WEIR-CHANGE-005";
/// The approvals of a journal, in its folder.
const FILE: &str = "approved.json";

/// A stream that waits at one sink node, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldStream {
    /// The stream.
    pub stream: String,
    /// The sink node.
    pub sink: String,
    /// The last boundary that its target has.
    pub since_seq: u64,
    /// The boundary of the last change of its shape.
    pub change_seq: u64,
    /// What has changed, in order: `add column note text`.
    pub changes: Vec<String>,
    /// Changes that wait.
    pub rows: u64,
    /// Bytes of them, as the source counted.
    pub bytes: u64,
    /// Why what was approved could not be carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl HeldStream {
    /// What has changed, in one line.
    pub fn change(&self) -> String {
        self.changes.join("; then ")
    }
}

/// The same, for the node.
#[derive(Debug)]
pub(super) struct Held {
    pub view: HeldStream,
    /// The stream as the journal leaves it.
    pub to: Shape,
    /// Up to this boundary the journal was looked at.
    noted: u64,
    /// The target already was as `to` needs it when that was found out: it says nothing.
    pub fitted: bool,
}

impl Held {
    /// From boundary `since` on; what follows it was not looked at.
    pub fn new(stream: &str, sink: &str, since: u64, shape: Shape) -> Self {
        let view = HeldStream {
            stream: stream.to_owned(),
            sink: sink.to_owned(),
            since_seq: since,
            change_seq: since + 1,
            changes: Vec::new(),
            rows: 0,
            bytes: 0,
            problem: None,
        };
        Self { view, to: shape, noted: since, fitted: false }
    }

    /// What was approved could not be carried out.
    pub fn refused(&mut self, problem: String) {
        self.view.problem = Some(problem);
        self.fitted = true;
    }

    /// Counts a record of the stream that belongs to boundary `upcoming`. Whether it changed the shape.
    pub fn note(&mut self, record: &Record, upcoming: u64) -> bool {
        if upcoming <= self.noted {
            return false;
        }
        match record {
            Record::Changes(batch) => {
                self.view.rows += batch.ops.len() as u64;
                self.view.bytes += batch.source_bytes;
            }
            Record::Dead(_) => self.view.rows += 1,
            Record::Schema(change) => {
                let Some(changed) = self.to.changed(change) else { return false };
                let words = changed.differences(&self.to.schema, &self.to.key);
                self.to = Shape { schema: changed.schema, key: changed.key };
                self.view.change_seq = upcoming;
                if !words.is_empty() {
                    self.view.changes.push(words.join("; "));
                }
                return true;
            }
            Record::Truncate(..) | Record::Boundary(_) => {}
        }
        false
    }

    /// For a checkpoint that was made at boundary `seq`.
    pub fn write(&self, seq: u64) -> Result<Value> {
        Ok(json!({
            "view": self.view, "schema": codec::schema_text(&self.to.schema)?, "key": self.to.key,
            "noted": self.noted.max(seq), "fitted": self.fitted,
        }))
    }

    /// From a checkpoint; `None`: the stream does not wait.
    pub fn read(value: &Value) -> Result<Option<Self>> {
        let Ok(view) = HeldStream::deserialize(&value["view"]) else { return Ok(None) };
        let schema = codec::schema_of_text(value["schema"].as_str().unwrap_or_default())?;
        let key = value["key"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let noted = value["noted"].as_u64().unwrap_or(view.since_seq);
        Ok(Some(Self { view, to: Shape { schema, key }, noted, fitted: value["fitted"].as_bool().unwrap_or(true) }))
    }

    /// What is said when it begins to wait, and when a run goes on with it.
    pub fn says(&self) -> String {
        let HeldStream { stream, sink, since_seq, problem, .. } = &self.view;
        let because = match problem {
            Some(problem) => format!("what was approved could not be carried out: {problem}"),
            None if self.view.changes.is_empty() => "its shape has changed".to_owned(),
            None => self.view.change(),
        };
        format!(
            "`{stream}` waits for an approval after boundary {since_seq} of sink `{sink}` (on_schema_change: hold): {because}. Its changes stay in the \
             journal, the other streams go on; see `weir journal ls`, `weir journal approve`"
        )
    }
}

/// The streams that wait, by a checkpoint.
pub(super) fn held_in(position: &Value) -> Result<Vec<HeldStream>> {
    let behind = position["behind"].as_object().into_iter().flatten();
    let held = behind.map(|(_, place)| Ok(Held::read(&place["held"])?.map(|held| held.view)));
    held.filter_map(Result::transpose).collect()
}

/// An error as the reason why what was approved was not carried out.
pub(super) fn problem(error: &Error) -> String {
    let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
    format!("{}: {error}{advice}", error.code())
}

/// How a run ends that has caught up but for these.
pub(super) fn error(held: &[HeldStream]) -> Error {
    let named: Vec<String> = held.iter().map(|held| format!("`{}`", held.stream)).collect();
    let what = match named.as_slice() {
        [one] => format!("{one} waits for an approval; everything else is in the targets"),
        all => format!("{} wait for an approval; everything else is in the targets", all.join(", ")),
    };
    let because = held.iter().map(|held| {
        let problem = held.problem.as_ref().map(|problem| format!(" ({problem})")).unwrap_or_default();
        format!("{}: {}{problem}; {} changes wait after boundary {}", held.stream, held.change(), held.rows, held.since_seq)
    });
    Error::new(HELD, Kind::Conflict, what)
        .because(because.collect::<Vec<_>>().join(" | "))
        .hint("`weir journal approve FILE --stream NAME`, or fit the target, or set `on_schema_change: evolve`; the next run applies what waits")
}

fn io(error: std::io::Error, path: &Path) -> Error {
    Error::from(error).at(path.display().to_string())
}

/// Per stream the boundary up to which its shape may change. It is beside the journal, wherever that is.
pub(super) async fn approved(place: &JournalPlace) -> Result<BTreeMap<String, u64>> {
    match place {
        JournalPlace::Folder(folder) => in_folder(folder),
        JournalPlace::Objects(objects, folder) => {
            let name = format!("{folder}/{FILE}");
            match objects.get(&name).await? {
                Some(bytes) => read(&bytes, &objects.show(&name)),
                None => Ok(BTreeMap::new()),
            }
        }
    }
}

fn in_folder(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let path = folder.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => read(&bytes, &path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(io(error, &path)),
    }
}

fn read(bytes: &[u8], shown: &str) -> Result<BTreeMap<String, u64>> {
    let broken = || Error::new("WEIR-JOURNAL-001", Kind::Data, "the approvals of a journal cannot be read").at(shown);
    let value: Value = serde_json::from_slice(bytes).map_err(|error| broken().caused_by(error))?;
    BTreeMap::deserialize(&value["streams"]).map_err(|error| broken().caused_by(error))
}

fn text(all: &BTreeMap<String, u64>) -> String {
    json!({"version": 1, "streams": all}).to_string()
}

/// Sets the boundary of a stream, durably. Others may do the same at this moment; in a bucket one of two approvals at the same moment may be lost, and is
/// asked for again.
pub(super) async fn approve_up_to(place: &JournalPlace, stream: &str, seq: u64) -> Result<()> {
    match place {
        JournalPlace::Folder(folder) => approve_in_folder(folder, stream, seq),
        JournalPlace::Objects(objects, folder) => {
            let mut all = approved(place).await?;
            all.insert(stream.to_owned(), seq);
            objects.replace(&format!("{folder}/{FILE}"), text(&all).into()).await
        }
    }
}

fn approve_in_folder(folder: &Path, stream: &str, seq: u64) -> Result<()> {
    let lock = folder.join("approved.lock");
    let held = File::create(&lock).map_err(|error| io(error, &lock))?;
    held.lock().map_err(|error| io(error, &lock))?;
    let mut all = in_folder(folder)?;
    all.insert(stream.to_owned(), seq);
    let (path, next) = (folder.join(FILE), folder.join("approved.next"));
    let mut file = File::create(&next).map_err(|error| io(error, &next))?;
    file.write_all(text(&all).as_bytes()).and_then(|()| file.sync_all()).map_err(|error| io(error, &next))?;
    fs::rename(&next, &path).map_err(|error| io(error, &path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io(error, folder))
}

/// The streams that wait, as the last checkpoints tell, each with its source node.
async fn waiting(store: &StateStore, pipeline: &Pipeline) -> Result<Vec<(String, HeldStream)>> {
    let mut found = Vec::new();
    for node in pipeline.of(Role::Source) {
        for sink in pipeline.of(Role::Sink) {
            let Some(reached) = look::reached(store, pipeline, &node.name, &sink.name).await? else { continue };
            found.extend(held_in(&reached.position)?.into_iter().map(|held| (node.name.clone(), held)));
        }
    }
    Ok(found)
}

/// Approves what has changed in the shape of a stream so far: what waits is applied as under `evolve`, by the run that is going on within seconds, or by the next one.
/// A later change waits again. Gives what was approved, once per sink. It is asked for in the checkpoint store: see [`super::asked`].
pub async fn approve(at: impl Into<Journals>, pipeline: &Pipeline, stream: &str) -> Result<Vec<HeldStream>> {
    let store = at.into().store().await?;
    let (chosen, others): (Vec<_>, Vec<_>) =
        waiting(&store, pipeline).await?.into_iter().partition(|(_, held)| held.stream == stream);
    if chosen.is_empty() {
        let named: Vec<String> = others.into_iter().map(|(_, held)| format!("`{}`", held.stream)).collect();
        return Err(Error::new("WEIR-JOURNAL-015", Kind::NotFound, format!("nothing of `{stream}` waits for an approval"))
            .because(match named.as_slice() {
                [] => "no stream of the pipeline does".to_owned(),
                named => format!("these do: {}", named.join(", ")),
            })
            .hint("a run that is going on says so with its next checkpoint; see `weir journal ls`"));
    }
    for (node, held) in &chosen {
        let wanted = Wanted::Approve { stream: stream.to_owned(), seq: held.change_seq };
        store.wish(&pipeline.name, node, &wanted).await?;
    }
    Ok(chosen.into_iter().map(|(_, held)| held).collect())
}
