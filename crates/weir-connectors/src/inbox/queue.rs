//! One named queue: appended to by a thread of its own, which writes and syncs what has gathered in one go, and read by any number of cursors.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};
use weir_connect::{Error, Kind, Result};

use super::frame::{self, HEAD, MAX_BODY, Record};
use super::segments::{self, Segment};
use super::{FULL, io};

/// A queue that is open.
pub(crate) struct Queue {
    folder: PathBuf,
    id: String,
    max_bytes: u64,
    state: Arc<Mutex<State>>,
    /// The number behind the last record that is on the disk.
    durable: watch::Receiver<u64>,
    room: Notify,
    /// `None` in a view, and while the queue is being closed.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<std::thread::JoinHandle<()>>,
    /// Held as long as anybody may append.
    _lock: Option<Arc<File>>,
}

struct State {
    segments: Vec<Segment>,
    /// Records before this one are of no use any more.
    forgotten: u64,
    /// Bytes that are on their way to the disk.
    reserved: u64,
}

impl State {
    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum::<u64>() + self.reserved
    }
}

struct Job {
    body: Vec<u8>,
    count: u32,
    done: oneshot::Sender<Result<u64>>,
}

impl Job {
    fn size(&self) -> u64 {
        (HEAD + self.body.len()) as u64
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// Opens a queue to append to. `lock` is kept until it is closed.
    pub fn open(folder: &Path, id: &str, max_bytes: u64, lock: Arc<File>) -> Result<Arc<Self>> {
        let (segments, file) = segments::recover(folder)?;
        let (last, first) = match (segments.last(), segments.first()) {
            (Some(last), Some(first)) => (last.clone(), first.first),
            _ => return Err(Error::internal("an inbox without files")),
        };
        let state = Arc::new(Mutex::new(State { segments, forgotten: first, reserved: 0 }));
        let (tell, durable) = watch::channel(last.end);
        let (jobs, taken) = mpsc::channel();
        let mut writer = Writer {
            folder: folder.to_owned(),
            file,
            path: last.path,
            written: last.bytes,
            next: last.end,
            segment_bytes: segment_bytes(max_bytes),
            broken: None,
            state: state.clone(),
            durable: tell,
        };
        let thread = std::thread::Builder::new()
            .name("inbox".into())
            .spawn(move || writer.work(&taken))
            .map_err(|error| io(error, folder))?;
        Ok(Arc::new(Self {
            folder: folder.to_owned(),
            id: id.to_owned(),
            max_bytes,
            state,
            durable,
            room: Notify::new(),
            jobs: Some(jobs),
            writer: Some(thread),
            _lock: Some(lock),
        }))
    }

    /// What is there now, to look at while somebody else may be writing. Nothing can be appended or forgotten.
    pub fn view(folder: &Path, id: &str) -> Result<Arc<Self>> {
        let mut segments = segments::listed(folder)?;
        while let Some(last) = segments.last_mut() {
            if segments::scan(last)?.is_some() {
                break;
            }
            segments.pop();
        }
        let (forgotten, end) = (segments.first().map_or(0, |first| first.first), segments.last().map_or(0, |last| last.end));
        let state = Arc::new(Mutex::new(State { segments, forgotten, reserved: 0 }));
        Ok(Arc::new(Self {
            folder: folder.to_owned(),
            id: id.to_owned(),
            max_bytes: 0,
            state,
            durable: watch::channel(end).1,
            room: Notify::new(),
            jobs: None,
            writer: None,
            _lock: None,
        }))
    }

    /// Unlike that of every other queue: a folder that was made anew has another one.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder, for messages.
    pub fn place(&self) -> String {
        self.folder.display().to_string()
    }

    /// The number behind the last record that is on the disk.
    pub fn end(&self) -> u64 {
        *self.durable.borrow()
    }

    /// The oldest record that is of use.
    pub fn begin(&self) -> u64 {
        locked(&self.state).forgotten
    }

    /// The oldest record that is there, also if it is of no use any more.
    pub fn oldest(&self) -> u64 {
        locked(&self.state).segments.first().map_or(0, |segment| segment.first)
    }

    /// The largest append, as bytes of records.
    pub fn max_append(&self) -> usize {
        usize::try_from(self.max_bytes / 4).unwrap_or(usize::MAX).min(MAX_BODY)
    }

    /// Puts records behind the others, all or none of them. When it returns they are on the disk, and stay there whatever happens to the machine.
    /// The number behind the last of them. A caller that goes away while it waits does not know whether they are there.
    ///
    /// # Errors
    /// [`FULL`] (transient) if there is no room; `WEIR-INBOX-005` if the records are too large for any inbox of this size; the system's own if the
    /// disk fails, with nothing appended.
    pub async fn append(&self, records: &[Record]) -> Result<u64> {
        if records.is_empty() {
            return Ok(self.end());
        }
        let size: usize = records.iter().map(Record::size).sum();
        if size > self.max_append() {
            let what = format!("a message of {size} bytes is too large for the inbox");
            return Err(Error::new("WEIR-INBOX-005", Kind::Limit, what)
                .at(self.place())
                .hint("messages may take a quarter of `inbox.max_bytes`, and 64 MiB at most"));
        }
        let job_bytes = (HEAD + size) as u64;
        {
            let mut state = locked(&self.state);
            if state.bytes() + job_bytes > self.max_bytes {
                return Err(Error::new(FULL, Kind::Limit, "the inbox is full")
                    .at(self.place())
                    .because(format!("{} bytes wait, `inbox.max_bytes` is {}", state.bytes(), self.max_bytes))
                    .hint("the sink is slower than the peer; give the inbox more room, or the sink more speed")
                    .transient());
            }
            state.reserved += job_bytes;
        }
        let (done, told) = oneshot::channel();
        let job = Job { body: frame::body_of(records), count: records.len() as u32, done };
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            locked(&self.state).reserved -= job_bytes;
            return Err(Error::internal("nobody writes to this inbox").at(self.place()));
        }
        told.await.map_err(|_| Error::internal("the writer of the inbox is gone").at(self.place()))?
    }

    /// Waits until something was forgotten. Ask [`Self::append`] again afterwards.
    pub async fn room(&self) {
        // Half a second bounds the wait for a word that was said before this began to listen.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), self.room.notified()).await;
    }

    /// Waits for a record with this number.
    pub async fn reach(&self, number: u64) {
        let mut durable = self.durable.clone();
        if durable.wait_for(|end| *end > number).await.is_err() {
            // A view, or a queue that is closed: nothing will come.
            std::future::pending::<()>().await;
        }
    }

    /// Records before this number are not needed any more: they were made durable elsewhere. Files go as a whole, and the newest one that holds
    /// something stays: it shows what records look like. Blocks.
    pub fn forget(&self, number: u64) -> Result<()> {
        if self.jobs.is_none() {
            return Ok(());
        }
        let mut gone = Vec::new();
        {
            let mut state = locked(&self.state);
            state.forgotten = state.forgotten.max(number.min(self.end()));
            let forgotten = state.forgotten;
            let newest = state.segments.iter().rposition(|segment| !segment.is_empty()).unwrap_or(0);
            let count = state.segments[..newest].iter().take_while(|segment| segment.end <= forgotten).count();
            gone.extend(state.segments.drain(..count));
        }
        for segment in &gone {
            std::fs::remove_file(&segment.path).map_err(|error| io(error, &segment.path))?;
        }
        if !gone.is_empty() {
            self.room.notify_waiters();
        }
        Ok(())
    }

    /// The file that holds a record, with the number of its first one.
    pub(super) fn file_of(&self, number: u64) -> Option<(PathBuf, u64)> {
        let state = locked(&self.state);
        let at = state.segments.partition_point(|segment| segment.end <= number);
        let segment = state.segments.get(at).filter(|segment| segment.first <= number)?;
        Some((segment.path.clone(), segment.first))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // What was handed over is written; then the lock may go.
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Files are a small part of the bound, so that much of it is free again soon.
fn segment_bytes(max_bytes: u64) -> u64 {
    (max_bytes / 8).clamp(64 << 10, 64 << 20)
}

/// What is written at once, at most, unless one append alone is larger.
const GROUP_BYTES: u64 = 4 << 20;

struct Writer {
    folder: PathBuf,
    file: File,
    path: PathBuf,
    written: u64,
    next: u64,
    segment_bytes: u64,
    /// The disk failed in a way after which nobody knows what is on it.
    broken: Option<String>,
    state: Arc<Mutex<State>>,
    durable: watch::Sender<u64>,
}

impl Writer {
    fn work(&mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut bytes = first.size();
            let mut group = vec![first];
            while bytes < GROUP_BYTES.min(self.segment_bytes)
                && let Ok(job) = jobs.try_recv()
            {
                bytes += job.size();
                group.push(job);
            }
            let outcome = self.commit(&group);
            if outcome.is_err() {
                locked(&self.state).reserved -= bytes;
            }
            let mut end = self.next - group.iter().map(|job| u64::from(job.count)).sum::<u64>() * u64::from(outcome.is_ok());
            for job in group {
                end += u64::from(job.count);
                // Who asked may be gone.
                let _ = job.done.send(match &outcome {
                    Ok(()) => Ok(end),
                    Err(error) => Err(again(error)),
                });
            }
        }
    }

    /// Writes a group and waits for the disk.
    fn commit(&mut self, group: &[Job]) -> Result<()> {
        if let Some(why) = &self.broken {
            return Err(unusable(&self.path, why));
        }
        if self.written >= self.segment_bytes {
            let (segment, file) = segments::create(&self.folder, self.next)?;
            (self.file, self.path, self.written) = (file, segment.path.clone(), segment.bytes);
            locked(&self.state).segments.push(segment);
        }
        let mut bytes = Vec::with_capacity(group.iter().map(|job| job.size() as usize).sum());
        let mut next = self.next;
        for job in group {
            bytes.extend_from_slice(&frame::head_of(next, job.count, &job.body));
            bytes.extend_from_slice(&job.body);
            next += u64::from(job.count);
        }
        if let Err(error) = self.write(&bytes) {
            // What was written of it goes, so that the next group stands where this one would have.
            let back = self.file.set_len(self.written).and_then(|()| self.file.seek(SeekFrom::Start(self.written)));
            if let Err(back) = back {
                self.broken = Some(back.to_string());
            }
            return Err(error);
        }
        if let Err(error) = self.file.sync_data() {
            // What a disk says after a failed sync is not to be relied on: only reading the file again shows what it holds.
            self.broken = Some(error.to_string());
            return Err(unusable(&self.path, &error.to_string()));
        }
        self.written += bytes.len() as u64;
        self.next = next;
        {
            let mut state = locked(&self.state);
            state.reserved -= bytes.len() as u64;
            if let Some(last) = state.segments.last_mut() {
                (last.bytes, last.end) = (self.written, next);
            }
        }
        self.durable.send_replace(next);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        weir_connect::failpoint!("inbox.write");
        self.file.write_all(bytes).map_err(|error| {
            let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
            let error = Error::new("WEIR-INBOX-007", Kind::Io, "the message cannot be written to the inbox")
                .at(self.path.display().to_string())
                .because(error);
            if full { error.hint("the disk is full").transient() } else { error }
        })?;
        weir_connect::failpoint!("inbox.written");
        Ok(())
    }
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::new("WEIR-INBOX-008", Kind::Io, "the disk of the inbox failed")
        .at(path.display().to_string())
        .because(why)
        .hint("nothing that was promised is lost as far as the disk keeps it; look at the disk, then run again")
}

/// The same error for each of a group.
fn again(error: &Error) -> Error {
    let mut same = Error::new(error.code(), error.kind(), error.what()).retry(error.retryable());
    if let Some(place) = error.place() {
        same = same.at(place);
    }
    if let Some(why) = error.why() {
        same = same.because(why);
    }
    if let Some(advice) = error.advice() {
        same = same.hint(advice.to_owned());
    }
    same
}
