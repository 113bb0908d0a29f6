//! The source: a list of files taken once, divided into splits, read through `weir-formats`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{FieldRef, SchemaRef};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;
use weir_connect::{
    Batch, CursorWindow, DeadLetter, Event, EventStream, Position, ReadRequest, ResumeVerdict, Source, SourceCapabilities, Split,
    StreamInfo, StreamReader,
};
use weir_error::{Error, Kind, Result};
use weir_formats::{Decoded, FilePosition, FileSplit, ReadOptions, plan_splits, read};

use super::again;
use super::client::Connection;
use super::config::{ChangedFiles, FileSource};
use super::hive;
use super::listing::{Listed, Listing, stream_name};
use super::manifest::now;
use super::storage::{FileMeta, Storage};
use super::survey::{LOOKS, Survey, files, survey};
use super::window::at_or_above;

/// Splits are not made smaller than this …
const SMALLEST_SPLIT: u64 = 4 << 20;
/// … nor larger, so that a checkpoint of a whole split is never far.
const LARGEST_SPLIT: u64 = 256 << 20;

/// A configured `file` or `s3` source.
pub(crate) struct FilesSource {
    connection: Connection,
    options: FileSource,
    /// The last look at each stream, valid while its files are the same.
    looks: Mutex<HashMap<String, Arc<Survey>>>,
}

/// [`StreamReader::state`]: what makes the splits the same again.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    v: u32,
    files: Vec<FileMeta>,
    split_bytes: u64,
    columns: Vec<String>,
    next: Option<Taken>,
    /// Paths of files that a committed run has read to their ends, as they are now.
    #[serde(default)]
    known: HashSet<String>,
}

/// [`StreamReader::next_state`]: files that committed runs have read to their ends, by path below the anchor. With `new_files_only`
/// they are not read again; under a cursor they are, for rows at or above the bound, but what is broken in them was set aside by
/// the run that took them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Taken {
    v: u32,
    taken: BTreeMap<String, FileMeta>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    file: FileMeta,
    split: FileSplit,
    folders: Vec<(String, Option<String>)>,
}

impl FilesSource {
    pub(crate) fn new(connection: Connection, options: FileSource) -> Result<Self> {
        let source = Self { connection, options, looks: Mutex::default() };
        source.patterns()?;
        Ok(source)
    }

    /// The streams and their patterns, without looking.
    pub(crate) fn patterns(&self) -> Result<Vec<(String, Vec<String>)>> {
        let options = &self.options;
        let mut paths: Vec<String> = options.path.iter().cloned().collect();
        paths.extend(options.paths.iter().cloned());
        let bad = |why: &str| {
            Error::new("WEIR-FILE-002", Kind::Spec, why.to_owned())
                .hint("give `path: data/*.csv`, `paths: [..]`, or `streams: {name: path}`")
        };
        if !options.streams.is_empty() {
            if !paths.is_empty() || options.stream.is_some() {
                return Err(bad("`streams` and `path` exclude each other"));
            }
            return Ok(options.streams.iter().map(|(name, path)| (name.clone(), vec![path.clone()])).collect());
        }
        let Some(first) = paths.iter().find(|path| !path.starts_with('!')) else {
            return Err(bad("the source has no path"));
        };
        let name = options.stream.clone().unwrap_or_else(|| stream_name(first));
        Ok(vec![(name, paths)])
    }

    async fn listing(&self, stream: &str) -> Result<(Arc<dyn Storage>, super::listing::Anchor, Listing)> {
        let (_, patterns) = self
            .patterns()?
            .into_iter()
            .find(|(name, _)| name == stream)
            .ok_or_else(|| Error::new("WEIR-FILE-003", Kind::NotFound, format!("this source has no stream `{stream}`")))?;
        let located = self.connection.locate(&patterns)?;
        let listing = files(located.storage.as_ref(), &located.anchor, &located.paths, &self.options).await?;
        Ok((located.storage, located.anchor, listing))
    }

    async fn look(&self, stream: &str) -> Result<Arc<Survey>> {
        let (storage, anchor, listing) = self.listing(stream).await?;
        if let Some(known) = self.looks.lock().await.get(stream) {
            let same = known.files.len() == listing.files.len()
                && known.files.iter().zip(&listing.files).all(|(a, b)| a.meta == b.meta && a.rows == b.rows);
            if same {
                return Ok(known.clone());
            }
        }
        let fresh = Arc::new(survey(storage, anchor, listing, &self.options).await?);
        self.looks.lock().await.insert(stream.to_owned(), fresh.clone());
        Ok(fresh)
    }
}

#[async_trait]
impl Source for FilesSource {
    fn capabilities(&self) -> SourceCapabilities {
        SourceCapabilities {
            replayable: true,
            replay_note: "files are listed once; one that has changed since is noticed before it is read again".into(),
        }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut streams = vec![];
        for (name, _) in self.patterns()? {
            streams.push(self.look(&name).await?.info(&name));
        }
        Ok(streams)
    }

    async fn redecode(&self, stream: &str, letter: &DeadLetter) -> Result<Vec<Event>> {
        again::redecode(self.look(stream).await?.as_ref(), letter).await
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let survey = self.look(&request.stream).await?;
        let as_of = now();
        let earlier: Option<State> = match &request.resume {
            Some(resume) if !resume.reader_state.is_null() => {
                Some(State::deserialize(&resume.reader_state).map_err(|error| {
                    Error::new("WEIR-FILE-086", Kind::Internal, "the checkpoint of this source cannot be read").because(error)
                })?)
            }
            _ => None,
        };
        let (verdict, state) = match earlier {
            Some(state) => match changed_since(&survey, &state) {
                None => (ResumeVerdict::Continued, state),
                Some(reason) => (ResumeVerdict::StartOver { reason }, self.view(&survey, &request)?),
            },
            None => (ResumeVerdict::Fresh, self.view(&survey, &request)?),
        };
        let mut splits = self.splits(&survey, &state).await?;
        if verdict == ResumeVerdict::Continued {
            let done: HashSet<&str> = request
                .resume
                .iter()
                .flat_map(|resume| &resume.progress)
                .filter(|progress| progress.done)
                .map(|progress| progress.split.id.as_str())
                .collect();
            splits.retain(|split| !done.contains(split.id.as_str()));
        }
        let mut options = survey.options.clone();
        if request.batch_bytes > 0 {
            options.batch_bytes = request.batch_bytes;
        }
        let state =
            serde_json::to_value(&state).map(|value| (value, state)).map_err(|error| Error::internal(error.to_string()))?;
        let next = match &state.1.next {
            Some(next) => Some(serde_json::to_value(next).map_err(|error| Error::internal(error.to_string()))?),
            None => None,
        };
        Ok(Box::new(FilesReader {
            stream: request.stream,
            schema: survey.schema(),
            survey,
            options,
            splits,
            verdict,
            state: state.0,
            known: state.1.known,
            next,
            as_of,
            limit: request.limit,
            cursor: request.cursor,
        }))
    }
}

/// Why an interrupted run cannot go on, if it cannot.
fn changed_since(survey: &Survey, state: &State) -> Option<String> {
    let present: HashMap<&str, &FileMeta> = survey.files.iter().map(|file| (file.meta.path.as_str(), &file.meta)).collect();
    for file in &state.files {
        match present.get(file.path.as_str()) {
            None => return Some(format!("{} is gone", survey.storage.show(&file.path))),
            Some(now) if !now.same_content(file) => return Some(format!("{} has changed", survey.storage.show(&file.path))),
            _ => {}
        }
    }
    let columns = columns(&survey.schema());
    (columns != state.columns).then(|| "the files' columns are different now".to_owned())
}

fn columns(schema: &SchemaRef) -> Vec<String> {
    schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect()
}

impl FilesSource {
    /// Fixes the files of a fresh run.
    fn view(&self, survey: &Survey, request: &ReadRequest) -> Result<State> {
        let remembers = self.options.new_files_only || request.cursor.is_some();
        let mut taken = match &request.previous {
            Some(previous) if remembers && !previous.is_null() => Taken::deserialize(previous).map_err(|error| {
                Error::new("WEIR-FILE-086", Kind::Internal, "the list of files that were taken cannot be read").because(error)
            })?,
            _ => Taken { v: 1, taken: BTreeMap::new() },
        };
        let (mut chosen, mut known) = (vec![], HashSet::new());
        for Listed { meta, .. } in &survey.files {
            let key = meta.path.strip_prefix(survey.anchor.folder.as_str()).unwrap_or(&meta.path).trim_start_matches('/');
            match taken.taken.get(key) {
                Some(before) if before.same_content(meta) => {
                    if self.options.new_files_only {
                        continue;
                    }
                    known.insert(meta.path.clone());
                }
                Some(_) if !self.options.new_files_only => {}
                Some(_) => match self.options.changed_files {
                    ChangedFiles::Reread => {}
                    ChangedFiles::Ignore => {
                        tracing::warn!(file = %survey.storage.show(&meta.path), "a file that was taken has changed; it is ignored");
                        continue;
                    }
                    ChangedFiles::Error => {
                        return Err(Error::new(
                            "WEIR-FILE-087",
                            Kind::Conflict,
                            "a file that an earlier run has taken was changed",
                        )
                        .at(survey.storage.show(&meta.path))
                        .hint("set `changed_files: reread` to read the whole file again, or `ignore` to leave it"));
                    }
                },
                None => {}
            }
            taken.taken.insert(key.to_owned(), meta.clone());
            chosen.push(meta.clone());
        }
        let total: u64 = chosen.iter().map(|file| file.size).sum();
        // A few splits per lane even out the ends.
        let even = total / (request.parallelism.max(1) as u64 * 4);
        let split_bytes = self.options.split_size.map_or(even.clamp(SMALLEST_SPLIT, LARGEST_SPLIT), |size| size.0);
        let next = remembers.then_some(taken);
        Ok(State { v: 1, files: chosen, split_bytes, columns: columns(&survey.schema()), next, known })
    }

    async fn splits(&self, survey: &Survey, state: &State) -> Result<Vec<Split>> {
        let chosen: HashSet<&str> = state.files.iter().map(|file| file.path.as_str()).collect();
        let plans: Vec<_> = survey
            .files
            .iter()
            .zip(&survey.inferred)
            .filter(|(file, _)| chosen.contains(file.meta.path.as_str()))
            .map(|(file, inferred)| {
                let (storage, options, split_bytes) = (survey.storage.clone(), &survey.options, state.split_bytes);
                async move {
                    let input = storage.open(&file.meta).await?;
                    let parts = plan_splits(&input, options, inferred, split_bytes).await?;
                    parts.into_iter().map(|part| split_of(storage.as_ref(), file, part)).collect::<Result<Vec<_>>>()
                }
            })
            .collect();
        let planned: Vec<Vec<Split>> = futures::stream::iter(plans).buffered(LOOKS).try_collect().await?;
        let mut splits: Vec<Split> = planned.into_iter().flatten().collect();
        splits.sort_by_key(|split| std::cmp::Reverse(split.estimated_bytes));
        Ok(splits)
    }
}

fn split_of(storage: &dyn Storage, file: &Listed, split: FileSplit) -> Result<Split> {
    let id = format!("{}#{}-{}", storage.show(&file.meta.path), split.start, split.end);
    let (estimated_rows, estimated_bytes) = (split.rows, Some(split.bytes));
    let part = Part { file: file.meta.clone(), split, folders: file.partition.clone() };
    let descriptor = serde_json::to_value(part).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Split { id, descriptor, estimated_rows, estimated_bytes })
}

struct FilesReader {
    stream: String,
    survey: Arc<Survey>,
    schema: SchemaRef,
    options: ReadOptions,
    splits: Vec<Split>,
    verdict: ResumeVerdict,
    state: Value,
    known: HashSet<String>,
    next: Option<Value>,
    as_of: String,
    limit: Option<u64>,
    cursor: Option<CursorWindow>,
}

#[async_trait]
impl StreamReader for FilesReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    fn state(&self) -> Value {
        self.state.clone()
    }

    fn next_state(&self) -> Option<Value> {
        self.next.clone()
    }

    fn as_of(&self) -> Option<String> {
        Some(self.as_of.clone())
    }

    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let broken = |error: serde_json::Error| {
            Error::new("WEIR-FILE-086", Kind::Internal, "a split or position from the checkpoint cannot be read").because(error)
        };
        let part = Part::deserialize(&split.descriptor).map_err(broken)?;
        let from: Option<FilePosition> = match from {
            Some(position) if !position.is_null() => Some(FilePosition::deserialize(&position).map_err(broken)?),
            _ => None,
        };
        let input = self.survey.storage.open(&part.file).await?;
        let place = input.name().to_owned();
        let decoded = read(input, &part.split, self.survey.file_schema.clone(), &self.options, from).await?;
        let folders = folder_values(&self.survey, &part.folders, &place)?;
        let (schema, stream, limit) = (self.schema.clone(), self.stream.clone(), self.limit.unwrap_or(u64::MAX));
        let (fields, window) = (self.survey.folder_fields.clone(), self.cursor.clone());
        let known = self.known.contains(&part.file.path);
        let decoded = decoded.try_filter(move |decoded| {
            let told_before = known && matches!(decoded, Decoded::Dead(_));
            futures::future::ready(!told_before)
        });
        let events = decoded.map(move |decoded| match decoded? {
            Decoded::Batch { records, source_bytes, position } => Ok(Event::Batch(Batch {
                records: at_or_above(with_folders(records, &schema, &fields, &folders)?, window.as_ref())?,
                position: Some(serde_json::to_value(position).map_err(|error| Error::internal(error.to_string()))?),
                source_bytes,
            })),
            Decoded::Dead(mut letter) => {
                letter.stream.clone_from(&stream);
                Ok(Event::Dead(letter))
            }
        });
        let mut seen = 0u64;
        Ok(Box::pin(events.take_while(move |event| {
            let go_on = seen < limit;
            if let Ok(Event::Batch(batch)) = event {
                seen += batch.records.num_rows() as u64;
            }
            futures::future::ready(go_on)
        })))
    }
}

/// The values of the columns that come from the folders, one row each.
pub(crate) fn folder_values(survey: &Survey, folders: &[(String, Option<String>)], place: &str) -> Result<Vec<ArrayRef>> {
    let value = |field: &FieldRef| {
        let text = folders.iter().find(|(key, _)| key == field.name()).and_then(|(_, value)| value.as_deref());
        hive::value(field, text, place)
    };
    survey.folder_fields.iter().map(value).collect()
}

pub(crate) fn with_folders(
    records: RecordBatch,
    schema: &SchemaRef,
    fields: &[FieldRef],
    folders: &[ArrayRef],
) -> Result<RecordBatch> {
    if fields.is_empty() {
        return Ok(records);
    }
    let rows = records.num_rows();
    let zeros = UInt32Array::from(vec![0u32; rows]);
    let mut columns = records.columns().to_vec();
    for value in folders {
        columns.push(take(value, &zeros, None).map_err(|error| Error::internal(error.to_string()))?);
    }
    RecordBatch::try_new_with_options(schema.clone(), columns, &RecordBatchOptions::new().with_row_count(Some(rows)))
        .map_err(|error| Error::internal(error.to_string()))
}
