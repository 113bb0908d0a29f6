//! The folder of an inbox: its lock, and a queue for each stream in a folder of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weir_connect::{Error, Kind, Result};

use super::io;
use super::options::{MIN_BYTES, tame};
use super::queue::Queue;
use super::segments::{corrupt, sync_folder};

/// How long a lock may take to become free.
const PATIENCE: Duration = Duration::from_secs(2);

/// An inbox that is open to append.
pub(crate) struct Inbox {
    queues: BTreeMap<String, Arc<Queue>>,
}

/// `inbox.json` of a queue.
#[derive(Serialize, Deserialize)]
struct About {
    version: u32,
    id: String,
    stream: String,
}

impl Inbox {
    /// Opens, or makes, the queues of these streams. The bound is shared out among them. Blocks.
    ///
    /// # Errors
    /// `WEIR-INBOX-009` if another process has it open.
    pub fn open(folder: &Path, streams: &[String], max_bytes: u64) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| io(error, folder))?;
        let path = folder.join("lock");
        let lock = File::options().create(true).append(true).open(&path).map_err(|error| io(error, &path))?;
        // Who had it may be on its way out: a process that was told to stop, or an attempt that was given up.
        let end = Instant::now() + PATIENCE;
        while lock.try_lock().is_err() {
            if Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            return Err(Error::new("WEIR-INBOX-009", Kind::Conflict, "another process has this inbox open")
                .at(folder.display().to_string())
                .hint("stop the other run, or give this source an inbox of its own: `inbox: {path: …}`"));
        }
        let lock = Arc::new(lock);
        // Below this a queue that is all delivered might have no room for the next message.
        let share = (max_bytes / streams.len().max(1) as u64).max(MIN_BYTES);
        let mut queues = BTreeMap::new();
        for stream in streams {
            let folder = folder.join(tame(stream));
            fs::create_dir_all(&folder).map_err(|error| io(error, &folder))?;
            let about = match about(&folder)? {
                Some(about) => about,
                None => begin(&folder, stream)?,
            };
            queues.insert(stream.clone(), Queue::open(&folder, &about.id, share, lock.clone())?);
        }
        Ok(Self { queues })
    }

    /// The queue of a stream.
    pub fn queue(&self, stream: &str) -> Result<&Arc<Queue>> {
        self.queues.get(stream).ok_or_else(|| {
            Error::new("WEIR-INBOX-010", Kind::NotFound, format!("there is no stream `{stream}`"))
                .hint(format!("there are: {}", self.queues.keys().cloned().collect::<Vec<_>>().join(", ")))
        })
    }

    /// What is there of a stream, without a lock; `None` if nothing was ever received. Blocks.
    pub fn view(folder: &Path, stream: &str) -> Result<Option<Arc<Queue>>> {
        let folder = folder.join(tame(stream));
        about(&folder)?.map(|about| Queue::view(&folder, &about.id)).transpose()
    }
}

fn about_path(folder: &Path) -> PathBuf {
    folder.join("inbox.json")
}

fn about(folder: &Path) -> Result<Option<About>> {
    let path = about_path(folder);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error, &path)),
    };
    let about: About = serde_json::from_slice(&text).map_err(|error| corrupt(&path, &error.to_string()))?;
    if about.version != 1 {
        return Err(Error::new("WEIR-INBOX-011", Kind::Conflict, "this inbox was written by a later version of Weir")
            .at(path.display().to_string()));
    }
    Ok(Some(about))
}

/// Names a new queue. Without its name files of records mean nothing, so it is on the disk before them.
fn begin(folder: &Path, stream: &str) -> Result<About> {
    let path = about_path(folder);
    if fs::read_dir(folder)
        .map_err(|error| io(error, folder))?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().ends_with(".inbox"))
    {
        return Err(corrupt(&path, "there are messages, but the file that names the inbox is gone"));
    }
    let about = About { version: 1, id: uuid::Uuid::new_v4().simple().to_string(), stream: stream.to_owned() };
    let text = serde_json::to_vec(&about).map_err(|error| Error::internal("an inbox cannot be named").because(error))?;
    let new = folder.join("inbox.json.new");
    let written = || {
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_folder(folder)?;
        folder.parent().map_or(Ok(()), sync_folder)
    };
    written().map_err(|error| io(error, &path))?;
    Ok(about)
}
