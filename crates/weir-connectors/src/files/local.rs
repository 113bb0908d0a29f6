//! Files on a local disk: plain `std::fs`, `pread` for reading, fsync + rename for making things visible.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use weir_error::{Error, Kind, Result};
use weir_formats::Input;

use super::storage::{Expect, FileMeta, Staged, StagedWriter, StagingArea, Storage, folder_of, join};

/// Staged files carry this ending, so that no reader's `**/*.parquet` ever matches them.
pub(crate) const STAGED_SUFFIX: &str = ".staged";
/// Writes reach the kernel in blocks of at least this many bytes.
const WRITE_BLOCK: usize = 1 << 20;

/// A local disk. Paths are absolute.
#[derive(Debug, Clone, Default)]
pub(crate) struct LocalStorage {
    /// Shown paths are relative to it where possible.
    base: PathBuf,
}

impl LocalStorage {
    pub(crate) fn new(base: &Path) -> Self {
        Self { base: base.to_owned() }
    }
}

fn io_error(error: io::Error, path: &str) -> Error {
    Error::from(error).at(path)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| if error.is_cancelled() { Error::cancelled() } else { Error::internal(error.to_string()) })?
}

fn meta_of(path: String, metadata: &fs::Metadata) -> FileMeta {
    let modified_ns = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|age| i64::try_from(age.as_nanos()).ok())
        .unwrap_or(0);
    FileMeta { path, size: metadata.len(), modified_ns, etag: None }
}

/// fsync of a folder makes the names in it durable.
fn sync_folder(folder: &str) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error(error, folder))
}

/// Creates a folder and makes the names of all folders that were new durable.
fn create_folder(folder: &str) -> Result<()> {
    let path = Path::new(folder);
    if path.is_dir() {
        return Ok(());
    }
    let mut new = vec![];
    let mut at = Some(path);
    while let Some(folder) = at {
        if folder.exists() {
            break;
        }
        new.push(folder.to_owned());
        at = folder.parent();
    }
    fs::create_dir_all(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            Error::new("WEIR-FILE-004", Kind::Conflict, "a file stands where a folder is needed")
                .at(folder)
                .hint("choose another path, or move the file away")
        }
        _ => io_error(error, folder),
    })?;
    for folder in new {
        if let Some(parent) = folder.parent().and_then(Path::to_str) {
            sync_folder(if parent.is_empty() { "." } else { parent })?;
        }
    }
    Ok(())
}

fn walk(folder: &str, depth: Option<usize>, files: &mut Vec<FileMeta>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(io_error(error, folder)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| io_error(error, folder))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return Err(Error::new("WEIR-FILE-005", Kind::Unsupported, "a file name is not UTF-8")
                .at(entry.path().display().to_string())
                .hint("rename the file, or point the path at another folder"));
        };
        let path = join(folder, name);
        // Follows links; one that dangles is no file.
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error(error, &path)),
        };
        if metadata.is_file() {
            files.push(meta_of(path, &metadata));
        } else if metadata.is_dir() && depth != Some(0) {
            // A link to a folder above would never end.
            let looped = entry.file_type().is_ok_and(|kind| kind.is_symlink())
                && fs::canonicalize(&path).is_ok_and(|real| fs::canonicalize(folder).is_ok_and(|here| here.starts_with(real)));
            if !looped {
                walk(&path, depth.map(|depth| depth - 1), files)?;
            }
        }
    }
    Ok(())
}

struct LocalFile {
    file: Arc<File>,
    path: PathBuf,
    name: String,
    size: u64,
}

#[async_trait]
impl Input for LocalFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn local_path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        use std::os::unix::fs::FileExt;
        let length = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|_| Error::internal("range larger than the address space"))?;
        let (file, name) = (self.file.clone(), self.name.clone());
        blocking(move || {
            let mut block = BytesMut::zeroed(length);
            file.read_exact_at(&mut block, range.start).map_err(|error| {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    Error::new("WEIR-FILE-006", Kind::Conflict, "the file became shorter while it was read").at(&name)
                } else {
                    io_error(error, &name)
                }
            })?;
            Ok(block.freeze())
        })
        .await
    }
}

struct LocalWriter {
    file: File,
    hidden: String,
    path: String,
    buffer: Vec<u8>,
    written: u64,
}

impl LocalWriter {
    // Straight into the page cache: copying a block costs less than handing it to another thread. Waiting for
    // the disk is left to `finish`, which runs elsewhere.
    fn drain(&mut self) -> Result<()> {
        self.file.write_all(&self.buffer).map_err(|error| io_error(error, &self.hidden))?;
        self.buffer.clear();
        Ok(())
    }
}

#[async_trait]
impl StagedWriter for LocalWriter {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.written += data.len() as u64;
        if self.buffer.is_empty() && data.len() >= WRITE_BLOCK {
            return self.file.write_all(&data).map_err(|error| io_error(error, &self.hidden));
        }
        self.buffer.extend_from_slice(&data);
        if self.buffer.len() >= WRITE_BLOCK { self.drain() } else { Ok(()) }
    }

    fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    async fn finish(mut self: Box<Self>) -> Result<Staged> {
        blocking(move || {
            self.drain()?;
            self.file.sync_all().map_err(|error| io_error(error, &self.hidden))?;
            Ok(Staged { path: self.path, bytes: self.written, hidden: Some(self.hidden) })
        })
        .await
    }
}

struct LocalStaging {
    folder: String,
    lane: String,
}

#[async_trait]
impl StagingArea for LocalStaging {
    async fn create(&self, name: &str, path: &str) -> Result<Box<dyn StagedWriter>> {
        let hidden = join(&self.folder, &format!("{}-{name}{STAGED_SUFFIX}", self.lane));
        let file = File::create_new(&hidden).map_err(|error| io_error(error, &hidden))?;
        Ok(Box::new(LocalWriter { file, hidden, path: path.to_owned(), buffer: vec![], written: 0 }))
    }

    async fn seal(&self) -> Result<()> {
        let folder = self.folder.clone();
        blocking(move || sync_folder(&folder)).await
    }
}

#[async_trait]
impl Storage for LocalStorage {
    fn show(&self, path: &str) -> String {
        match Path::new(path).strip_prefix(&self.base) {
            Ok(relative) if !relative.as_os_str().is_empty() => relative.display().to_string(),
            _ => path.to_owned(),
        }
    }

    async fn list(&self, folder: &str, depth: Option<usize>) -> Result<Vec<FileMeta>> {
        let folder = folder.to_owned();
        blocking(move || {
            let mut files = vec![];
            walk(if folder.is_empty() { "/" } else { &folder }, depth, &mut files)?;
            files.sort_by(|a, b| a.path.cmp(&b.path));
            Ok(files)
        })
        .await
    }

    async fn head(&self, path: &str) -> Result<Option<FileMeta>> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(meta_of(path.to_owned(), &metadata))),
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(io_error(error, path)),
        }
    }

    async fn open(&self, listed: &FileMeta) -> Result<Arc<dyn Input>> {
        let file = File::open(&listed.path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound { changed(&listed.path) } else { io_error(error, &listed.path) }
        })?;
        let metadata = file.metadata().map_err(|error| io_error(error, &listed.path))?;
        if !meta_of(listed.path.clone(), &metadata).same_content(listed) {
            return Err(changed(&listed.path));
        }
        Ok(Arc::new(LocalFile {
            file: Arc::new(file),
            path: PathBuf::from(&listed.path),
            name: self.show(&listed.path),
            size: listed.size,
        }))
    }

    async fn read_small(&self, path: &str) -> Result<Option<(Bytes, String)>> {
        match fs::read(path) {
            Ok(data) => {
                let version = fingerprint(&data);
                Ok(Some((data.into(), version)))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(io_error(error, path)),
        }
    }

    async fn put_small(&self, path: &str, data: Bytes, expect: Expect) -> Result<()> {
        let path = path.to_owned();
        blocking(move || {
            let folder = folder_of(&path);
            create_folder(folder)?;
            let found = match fs::read(&path) {
                Ok(found) => Some(fingerprint(&found)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(io_error(error, &path)),
            };
            let fine = match &expect {
                Expect::Anything => true,
                Expect::Absent => found.is_none(),
                Expect::Version(version) => found.as_ref() == Some(version),
            };
            if !fine {
                return Err(conflict(&path));
            }
            let hidden = format!("{path}.{}.tmp", uuid::Uuid::new_v4().simple());
            let written = File::create_new(&hidden).and_then(|mut file| {
                file.write_all(&data)?;
                file.sync_all()
            });
            let renamed = written.and_then(|()| fs::rename(&hidden, &path));
            if let Err(error) = renamed {
                // Best effort: the error that matters is the one above.
                let _ = fs::remove_file(&hidden);
                return Err(io_error(error, &path));
            }
            sync_folder(folder)
        })
        .await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        match fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
            Err(error) => Err(io_error(error, path)),
        }
    }

    async fn prune(&self, root: &str, folders: &[String]) -> Result<()> {
        for folder in folders {
            let mut at = folder.as_str();
            // `remove_dir` refuses a folder that is not empty: that ends the climb.
            while at.len() > root.len() && at.starts_with(root) && fs::remove_dir(at).is_ok() {
                at = folder_of(at);
            }
        }
        Ok(())
    }

    async fn staging(&self, staging: &str, lane: &str) -> Result<Arc<dyn StagingArea>> {
        let (folder, lane) = (staging.to_owned(), lane.to_owned());
        blocking(move || {
            create_folder(&folder)?;
            Ok(Arc::new(LocalStaging { folder, lane }) as Arc<dyn StagingArea>)
        })
        .await
    }

    async fn still_staged(&self, staged: &Staged) -> Result<()> {
        let staged = staged.clone();
        blocking(move || {
            let hidden = staged.hidden.as_deref().unwrap_or_default();
            let visible = || fs::metadata(&staged.path).is_ok_and(|metadata| metadata.len() == staged.bytes);
            let there = Path::new(hidden).is_file() || visible();
            if there { Ok(()) } else { Err(lost(&staged.path).because(format!("{hidden} is gone"))) }
        })
        .await
    }

    async fn publish(&self, staged: &Staged) -> Result<()> {
        let staged = staged.clone();
        blocking(move || {
            let hidden = staged.hidden.as_deref().ok_or_else(|| Error::internal("a local token without its hidden file"))?;
            create_folder(folder_of(&staged.path))?;
            match fs::rename(hidden, &staged.path) {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::metadata(&staged.path) {
                    Ok(metadata) if metadata.len() == staged.bytes => Ok(()),
                    _ => Err(lost(&staged.path).because(format!("{hidden} is gone"))),
                },
                Err(error) => Err(io_error(error, &staged.path)),
            }
        })
        .await
    }

    async fn copy(&self, from: &str, to: &str, _bytes: u64) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        blocking(move || {
            create_folder(folder_of(&to))?;
            // A name that the next attempt finds again.
            let aside = format!("{from}.copy");
            let away = |path: &str| match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(error, path)),
                _ => Ok(()),
            };
            away(&aside)?;
            // A second name for the same bytes, where the disk has that.
            if fs::hard_link(&from, &aside).is_err() {
                fs::copy(&from, &aside).map_err(|error| io_error(error, &from))?;
                File::open(&aside).and_then(|file| file.sync_all()).map_err(|error| io_error(error, &aside))?;
            }
            fs::rename(&aside, &to).map_err(|error| io_error(error, &to))?;
            // If both were names of one file already, the rename did nothing.
            away(&aside)
        })
        .await
    }

    async fn seal(&self, published: &[Staged]) -> Result<()> {
        let mut folders: Vec<String> = published.iter().map(|staged| folder_of(&staged.path).to_owned()).collect();
        folders.sort();
        folders.dedup();
        blocking(move || folders.iter().try_for_each(|folder| sync_folder(folder))).await
    }

    async fn sweep(&self, staging: &str, keep: &[Staged]) -> Result<()> {
        let staging = staging.to_owned();
        let keep: std::collections::HashSet<String> =
            keep.iter().flat_map(|staged| [Some(staged.path.clone()), staged.hidden.clone()]).flatten().collect();
        blocking(move || {
            let mut files = vec![];
            walk(&staging, None, &mut files)?;
            let mut folders = vec![staging.clone()];
            for file in files {
                if !keep.contains(&file.path) {
                    fs::remove_file(&file.path).map_err(|error| io_error(error, &file.path))?;
                }
                folders.push(folder_of(&file.path).to_owned());
            }
            folders.sort_by_key(|folder| std::cmp::Reverse(folder.len()));
            for folder in folders {
                // Fails while something is kept inside: right.
                let _ = fs::remove_dir(folder);
            }
            Ok(())
        })
        .await
    }

    async fn lock(&self, folder: &str) -> Result<Option<Box<dyn Send + Sync>>> {
        let path = join(folder, "lock");
        blocking(move || {
            create_folder(folder_of(&path))?;
            let file = File::options().create(true).append(true).open(&path).map_err(|error| io_error(error, &path))?;
            file.lock().map_err(|error| io_error(error, &path))?;
            Ok(Some(Box::new(file) as Box<dyn Send + Sync>))
        })
        .await
    }
}

fn fingerprint(data: &[u8]) -> String {
    format!("{:016x}-{}", twox_hash::XxHash3_64::oneshot(data), data.len())
}

/// The source changed underneath.
pub(crate) fn changed(path: &str) -> Error {
    Error::new("WEIR-FILE-007", Kind::Conflict, "the file was changed or removed after the run had listed it")
        .at(path)
        .hint("run again: a new run reads the files as they are then")
}

const OVERTAKEN: &str = "WEIR-FILE-008";

/// Whether an error is a [`conflict`]: trying again may do.
pub(crate) fn is_overtaken(error: &Error) -> bool {
    error.code() == OVERTAKEN
}

/// Two writers of one manifest.
pub(crate) fn conflict(path: &str) -> Error {
    Error::new(OVERTAKEN, Kind::Conflict, "another run wrote to the same place at the same time")
        .at(path)
        .hint("run again; let only one pipeline write to a place, or schedule them one after another")
        .transient()
}

const LOST: &str = "WEIR-FILE-009";

/// Whether an error is one of [`lost`].
pub(crate) fn is_lost(error: &Error) -> bool {
    error.code() == LOST
}

/// What a token names is neither staged nor visible.
pub(crate) fn lost(path: &str) -> Error {
    Error::new(LOST, Kind::NotFound, "rows that an earlier attempt had staged are gone").at(path).hint(
        "someone removed the hidden `_weir/staging` data; reset the run's state (weir state reset) and run again from the start",
    )
}
