//! Files in a bucket: any S3. Ranged reads pinned to the listed entity tag; writes go to hidden objects below the staging
//! folder, which the commit copies, inside the service, to their visible names.
//!
//! Completing a multipart upload only at the commit would spare the copy, but it is no operation to crash in: a MinIO whose
//! client goes away while it completes forgets the parts, and with them rows that a checkpoint calls durable
//! (docs/adr/0004-s3-staging.md). A copy leaves its source alone and can be repeated.
//!
//! S3 cannot list incomplete uploads through `object_store`, so each lane notes its upload ids in a small object below the
//! staging folder *before* it uploads the first part. [`S3Storage::sweep`] aborts what the notes name.

use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use weir_error::{Error, Kind, Result};
use weir_formats::Input;

use super::local::{STAGED_SUFFIX, changed, conflict, lost};
use super::s3_errors::{explain, explain_own};
use super::storage::{Expect, FileMeta, Staged, StagedWriter, StagingArea, Storage, join};

/// All parts but the last have this size: above the 5 MiB that S3 demands, equal as R2 demands.
const PART_BYTES: usize = 8 << 20;
/// Parts of one file on their way at once.
const PARTS_IN_FLIGHT: usize = 2;
/// Larger ranges are fetched in pieces of this size, side by side.
const GET_BYTES: u64 = 8 << 20;
/// The largest object that one request copies.
const COPY_BYTES: u64 = 5 << 30;
/// Requests of one kind at once (copying, deleting).
pub(crate) const REQUESTS: usize = 16;
/// Blocks fetched ahead of a sequential reader.
const BLOCKS_AHEAD: usize = 2;
/// Below this a read is a look at a footer or header; above it the next block is fetched ahead.
const READ_AHEAD_FROM: u64 = 256 << 10;

/// A bucket.
#[derive(Debug, Clone)]
pub(crate) struct S3Storage {
    store: Arc<AmazonS3>,
    bucket: String,
    endpoint: String,
    /// The access key (no secret), for messages.
    user: Option<String>,
    /// What every key begins with, `tenants/acme/files/`. Paths do not show it, and no path leads out of it: [`Self::key`] is the only way to
    /// a key, and knows no `..`.
    root: Arc<str>,
}

impl S3Storage {
    pub(crate) fn new(store: AmazonS3, bucket: String, endpoint: String, user: Option<String>) -> Self {
        Self { store: Arc::new(store), bucket, endpoint, user, root: "".into() }
    }

    /// The same, of which only what lies below a folder is in reach. The folder is somebody else's business than the reader's: no
    /// message names it, the bucket or the service.
    pub(crate) fn below(self, folder: &str) -> Self {
        Self { root: format!("{}/", folder.trim_matches('/')).into(), ..self }
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(super) fn store(&self) -> &AmazonS3 {
        &self.store
    }

    pub(super) fn key(&self, path: &str) -> Result<Key> {
        Key::parse(format!("{}{path}", self.root)).map_err(|error| {
            let refused = Error::new("WEIR-S3-010", Kind::Unsupported, "this object key cannot be addressed").at(self.show(path));
            if self.root.is_empty() { refused.caused_by(error) } else { refused }
        })
    }

    /// The path that means a key.
    pub(super) fn path<'k>(&self, key: &'k Key) -> &'k str {
        key.as_ref().strip_prefix(&*self.root).unwrap_or(key.as_ref())
    }

    pub(super) fn error(&self, action: &'static str, path: &str, error: object_store::Error) -> Error {
        if !self.root.is_empty() {
            return explain_own(action, &self.show(path), error);
        }
        explain(action, &self.bucket, &self.endpoint, self.user.as_deref(), path, error)
    }

    fn meta(&self, object: ObjectMeta) -> FileMeta {
        FileMeta {
            path: self.path(&object.location).to_owned(),
            size: object.size,
            modified_ns: object.last_modified.timestamp_nanos_opt().unwrap_or(0),
            etag: object.e_tag,
        }
    }

    /// Copies an object that is too large for one request, through this process.
    async fn copy_through(&self, hidden: &str, staged: &Staged) -> Result<()> {
        let Some(meta) = self.head(hidden).await? else { return self.still_staged(staged).await };
        let (from, to) = (self.key(hidden)?, self.key(&staged.path)?);
        let failed = |error| self.error("writing", &staged.path, error);
        let upload = self.store.create_multipart(&to).await.map_err(failed)?;
        let mut parts = Vec::new();
        // Ten thousand parts are allowed.
        for (index, start) in (0..meta.size).step_by(PART_BYTES * 16).enumerate() {
            let range = start..(start + PART_BYTES as u64 * 16).min(meta.size);
            let bytes = get_in_pieces(self.clone(), from.clone(), meta.etag.clone(), range).await?;
            parts.push(self.store.put_part(&to, &upload, index, PutPayload::from(bytes)).await.map_err(failed)?);
        }
        self.store.complete_multipart(&to, &upload, parts).await.map(drop).map_err(failed)
    }

    async fn abort(&self, upload: &Upload) -> Result<()> {
        match self.store.abort_multipart(&self.key(&upload.path)?, &upload.id).await {
            Ok(()) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(self.error("aborting an upload of", &upload.path, error)),
        }
    }
}

/// No such key or upload. A missing bucket is something else.
pub(super) fn is_gone(error: &object_store::Error) -> bool {
    let text = weir_error::chain(error);
    !text.contains("NoSuchBucket") && (matches!(error, object_store::Error::NotFound { .. }) || text.contains("NoSuchUpload"))
}

struct S3Object {
    storage: S3Storage,
    meta: FileMeta,
    key: Key,
    name: String,
    ahead: Mutex<Ahead>,
}

/// Blocks of a sequential read that are fetched before they are asked for.
#[derive(Default)]
struct Ahead {
    expected: u64,
    tasks: VecDeque<(Range<u64>, JoinHandle<Result<Bytes>>)>,
}

impl Drop for S3Object {
    fn drop(&mut self) {
        for (_, task) in self.ahead.get_mut().tasks.drain(..) {
            task.abort();
        }
    }
}

async fn get(storage: S3Storage, key: Key, etag: Option<String>, range: Range<u64>) -> Result<Bytes> {
    let length = range.end - range.start;
    let options = GetOptions { range: Some(GetRange::Bounded(range)), if_match: etag, ..GetOptions::default() };
    let fetched = async { storage.store.get_opts(&key, options).await?.bytes().await }.await;
    match fetched {
        Ok(bytes) if bytes.len() as u64 == length => Ok(bytes),
        Ok(_) | Err(object_store::Error::Precondition { .. }) => Err(changed(&storage.show(storage.path(&key)))),
        Err(error) => Err(storage.error("reading", storage.path(&key), error)),
    }
}

async fn get_in_pieces(storage: S3Storage, key: Key, etag: Option<String>, range: Range<u64>) -> Result<Bytes> {
    if range.end - range.start <= GET_BYTES * 3 / 2 {
        return get(storage, key, etag, range).await;
    }
    let mut whole = BytesMut::with_capacity((range.end - range.start) as usize);
    let starts = (range.start..range.end).step_by(GET_BYTES as usize);
    let mut pieces = futures::stream::iter(starts)
        .map(|start| get(storage.clone(), key.clone(), etag.clone(), start..(start + GET_BYTES).min(range.end)))
        .buffered(4);
    while let Some(piece) = pieces.try_next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

#[async_trait]
impl Input for S3Object {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.meta.size
    }

    async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start >= range.end {
            return Ok(Bytes::new());
        }
        let length = range.end - range.start;
        let mut ahead = self.ahead.lock().await;
        let sequential = ahead.expected == range.start && range.start > 0 && length >= READ_AHEAD_FROM;
        ahead.expected = range.end;
        let hit = ahead.tasks.iter().position(|(fetching, _)| fetching.start == range.start && fetching.end >= range.end);
        let fetched = hit.and_then(|index| {
            ahead.tasks.drain(..index).for_each(|(_, task)| task.abort());
            ahead.tasks.pop_front()
        });
        if sequential {
            let mut next = ahead.tasks.back().map_or(range.end, |(fetching, _)| fetching.end);
            while ahead.tasks.len() < BLOCKS_AHEAD && next < self.meta.size {
                let wanted = next..(next + length).min(self.meta.size);
                next = wanted.end;
                let task = get_in_pieces(self.storage.clone(), self.key.clone(), self.meta.etag.clone(), wanted.clone());
                ahead.tasks.push_back((wanted, tokio::spawn(task)));
            }
        }
        drop(ahead);
        match fetched {
            Some((_, task)) => {
                let bytes = task.await.map_err(|error| Error::internal(error.to_string()))??;
                Ok(bytes.slice(..length as usize))
            }
            None => get_in_pieces(self.storage.clone(), self.key.clone(), self.meta.etag.clone(), range).await,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Upload {
    path: String,
    id: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Notes {
    uploads: Vec<Upload>,
}

struct S3Staging {
    storage: S3Storage,
    folder: String,
    lane: String,
    notes_path: String,
    notes: Arc<NoteBook>,
}

/// The upload ids of one lane. Several files may begin at once: whoever holds the lock writes down everything that is known.
struct NoteBook {
    known: std::sync::Mutex<Vec<Upload>>,
    noted: Mutex<usize>,
}

impl NoteBook {
    async fn note(&self, storage: &S3Storage, notes_path: &str, upload: Upload) -> Result<()> {
        let mine = {
            let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            known.push(upload);
            known.len()
        };
        let mut noted = self.noted.lock().await;
        if *noted >= mine {
            return Ok(());
        }
        let all = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let count = all.len();
        let text = serde_json::to_vec(&Notes { uploads: all }).map_err(|error| Error::internal(error.to_string()))?;
        storage.put_small(notes_path, text.into(), Expect::Anything).await?;
        *noted = count;
        Ok(())
    }
}

struct S3Writer {
    storage: S3Storage,
    notes_path: String,
    notes: Arc<NoteBook>,
    /// Where the file becomes visible.
    path: String,
    /// Where it is until then.
    hidden: String,
    key: Key,
    upload: Option<String>,
    buffer: BytesMut,
    sent: usize,
    flying: VecDeque<JoinHandle<Result<PartId>>>,
    parts: Vec<PartId>,
    written: u64,
}

impl S3Writer {
    fn failed(&self, error: object_store::Error) -> Error {
        self.storage.error("writing", &self.hidden, error)
    }

    async fn start(&mut self) -> Result<String> {
        if let Some(id) = &self.upload {
            return Ok(id.clone());
        }
        let id = self.storage.store.create_multipart(&self.key).await.map_err(|error| self.failed(error))?;
        let upload = Upload { path: self.hidden.clone(), id: id.clone() };
        self.notes.note(&self.storage, &self.notes_path, upload).await?;
        self.upload = Some(id.clone());
        Ok(id)
    }

    async fn land_one(&mut self) -> Result<()> {
        if let Some(task) = self.flying.pop_front() {
            let part = task.await.map_err(|error| Error::internal(error.to_string()))??;
            self.parts.push(part);
        }
        Ok(())
    }

    async fn send(&mut self, part: Bytes) -> Result<()> {
        let id = self.start().await?;
        while self.flying.len() >= PARTS_IN_FLIGHT {
            self.land_one().await?;
        }
        let (storage, key, index, path) = (self.storage.clone(), self.key.clone(), self.sent, self.hidden.clone());
        self.sent += 1;
        self.flying.push_back(tokio::spawn(async move {
            storage
                .store
                .put_part(&key, &id, index, PutPayload::from(part))
                .await
                .map_err(|error| storage.error("writing", &path, error))
        }));
        Ok(())
    }
}

#[async_trait]
impl StagedWriter for S3Writer {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.written += data.len() as u64;
        self.buffer.extend_from_slice(&data);
        while self.buffer.len() >= PART_BYTES {
            let part = self.buffer.split_to(PART_BYTES).freeze();
            self.send(part).await?;
        }
        Ok(())
    }

    fn buffered(&self) -> usize {
        self.buffer.len() + self.flying.len() * PART_BYTES
    }

    async fn finish(mut self: Box<Self>) -> Result<Staged> {
        let rest = self.buffer.split().freeze();
        if self.sent == 0 {
            let put = self.storage.store.put(&self.key, PutPayload::from(rest)).await;
            put.map_err(|error| self.failed(error))?;
        } else {
            if !rest.is_empty() {
                self.send(rest).await?;
            }
            while !self.flying.is_empty() {
                self.land_one().await?;
            }
            let (upload, parts) = (self.start().await?, std::mem::take(&mut self.parts));
            let completed = self.storage.store.complete_multipart(&self.key, &upload, parts).await;
            completed.map_err(|error| self.failed(error))?;
        }
        Ok(Staged { path: self.path.clone(), bytes: self.written, hidden: Some(self.hidden.clone()) })
    }
}

impl Drop for S3Writer {
    fn drop(&mut self) {
        for task in self.flying.drain(..) {
            task.abort();
        }
    }
}

#[async_trait]
impl StagingArea for S3Staging {
    async fn create(&self, name: &str, path: &str) -> Result<Box<dyn StagedWriter>> {
        let hidden = join(&self.folder, &format!("{}-{name}{STAGED_SUFFIX}", self.lane));
        Ok(Box::new(S3Writer {
            storage: self.storage.clone(),
            notes_path: self.notes_path.clone(),
            notes: self.notes.clone(),
            path: path.to_owned(),
            key: self.storage.key(&hidden)?,
            hidden,
            upload: None,
            buffer: BytesMut::new(),
            sent: 0,
            flying: VecDeque::new(),
            parts: vec![],
            written: 0,
        }))
    }

    async fn seal(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Storage for S3Storage {
    fn show(&self, path: &str) -> String {
        match (self.root.is_empty(), path) {
            (true, _) => format!("s3://{}/{path}", self.bucket),
            (false, "") => ".".to_owned(),
            (false, _) => path.to_owned(),
        }
    }

    async fn list(&self, folder: &str, depth: Option<usize>) -> Result<Vec<FileMeta>> {
        let folder = folder.trim_end_matches('/');
        let prefix = if folder.is_empty() && self.root.is_empty() { None } else { Some(self.key(folder)?) };
        let list = if depth == Some(0) {
            self.store.list_with_delimiter(prefix.as_ref()).await.map(|list| list.objects)
        } else {
            self.store.list(prefix.as_ref()).try_collect::<Vec<_>>().await
        };
        let objects = list.map_err(|error| self.error("listing", folder, error))?;
        let skip = if folder.is_empty() { 0 } else { folder.len() + 1 };
        let mut files: Vec<FileMeta> = objects
            .into_iter()
            .map(|object| self.meta(object))
            .filter(|file| depth.is_none_or(|depth| file.path.get(skip..).is_some_and(|rest| rest.matches('/').count() <= depth)))
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    async fn head(&self, path: &str) -> Result<Option<FileMeta>> {
        match self.store.head(&self.key(path)?).await {
            Ok(object) => Ok(Some(self.meta(object))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(self.error("reading", path, error)),
        }
    }

    async fn open(&self, listed: &FileMeta) -> Result<Arc<dyn Input>> {
        Ok(Arc::new(S3Object {
            storage: self.clone(),
            key: self.key(&listed.path)?,
            name: self.show(&listed.path),
            meta: listed.clone(),
            ahead: Mutex::default(),
        }))
    }

    async fn read_small(&self, path: &str) -> Result<Option<(Bytes, String)>> {
        let key = self.key(path)?;
        let got = async {
            let got = self.store.get(&key).await?;
            let version = got.meta.e_tag.clone().unwrap_or_default();
            Ok((got.bytes().await?, version))
        };
        match got.await {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(self.error("reading", path, error)),
        }
    }

    async fn put_small(&self, path: &str, data: Bytes, expect: Expect) -> Result<()> {
        let mode = match expect {
            Expect::Anything => PutMode::Overwrite,
            Expect::Absent => PutMode::Create,
            Expect::Version(version) => PutMode::Update(UpdateVersion { e_tag: Some(version), version: None }),
        };
        let put = self.store.put_opts(&self.key(path)?, PutPayload::from(data.clone()), PutOptions::from(mode.clone())).await;
        match put {
            Ok(_) => Ok(()),
            Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => {
                // A repeated request whose first answer was lost meets its own result.
                match self.read_small(path).await? {
                    Some((found, _)) if found == data => Ok(()),
                    _ => Err(conflict(&self.show(path))),
                }
            }
            Err(error) => Err(self.error("writing", path, error)),
        }
    }

    async fn delete(&self, path: &str) -> Result<()> {
        match self.store.delete(&self.key(path)?).await {
            Ok(()) => Ok(()),
            Err(error) if is_gone(&error) => Ok(()),
            Err(error) => Err(self.error("deleting", path, error)),
        }
    }

    async fn prune(&self, _root: &str, _folders: &[String]) -> Result<()> {
        Ok(())
    }

    async fn staging(&self, staging: &str, lane: &str) -> Result<Arc<dyn StagingArea>> {
        let notes = Arc::new(NoteBook { known: std::sync::Mutex::default(), noted: Mutex::new(0) });
        let notes_path = join(staging, &format!("{lane}.json"));
        let (folder, lane) = (staging.to_owned(), lane.to_owned());
        Ok(Arc::new(S3Staging { storage: self.clone(), folder, lane, notes_path, notes }))
    }

    async fn still_staged(&self, staged: &Staged) -> Result<()> {
        for path in staged.hidden.iter().chain([&staged.path]) {
            if self.head(path).await?.is_some_and(|object| object.size == staged.bytes) {
                return Ok(());
            }
        }
        Err(lost(&self.show(&staged.path)))
    }

    async fn publish(&self, staged: &Staged) -> Result<()> {
        let hidden = staged.hidden.as_ref().ok_or_else(|| Error::internal("an S3 token without its object"))?;
        if staged.bytes > COPY_BYTES {
            return self.copy_through(hidden, staged).await;
        }
        match self.store.copy(&self.key(hidden)?, &self.key(&staged.path)?).await {
            Ok(()) => Ok(()),
            // Swept after an earlier attempt had copied it.
            Err(error) if is_gone(&error) => self.still_staged(staged).await,
            Err(error) => Err(self.error("writing", &staged.path, error)),
        }
    }

    async fn copy(&self, from: &str, to: &str, bytes: u64) -> Result<()> {
        self.publish(&Staged { path: to.to_owned(), bytes, hidden: Some(from.to_owned()) }).await
    }

    async fn seal(&self, _published: &[Staged]) -> Result<()> {
        Ok(())
    }

    async fn sweep(&self, staging: &str, keep: &[Staged]) -> Result<()> {
        let keep: HashSet<&str> =
            keep.iter().flat_map(|staged| staged.hidden.as_deref().into_iter().chain([staged.path.as_str()])).collect();
        let mut swept = Vec::new();
        for file in self.list(staging, None).await? {
            if keep.contains(file.path.as_str()) {
                continue;
            }
            if file.path.ends_with(".json") {
                let notes = self.read_small(&file.path).await?;
                let notes = notes.and_then(|(text, _)| serde_json::from_slice::<Notes>(&text).ok()).unwrap_or_default();
                // Most were completed; aborting those does nothing.
                let aborts: Vec<_> = notes.uploads.iter().map(|upload| self.abort(upload)).collect();
                futures::stream::iter(aborts).buffer_unordered(REQUESTS).try_collect::<Vec<()>>().await?;
            }
            swept.push(file.path);
        }
        let deletes: Vec<_> = swept.iter().map(|path| self.delete(path)).collect();
        futures::stream::iter(deletes).buffer_unordered(REQUESTS).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    async fn lock(&self, _folder: &str) -> Result<Option<Box<dyn Send + Sync>>> {
        Ok(None)
    }
}
