//! The files of a queue: `NNN.inbox`, NNN the number of the first record. The last one grows. Each is `WEIRINB1` and frames.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use weir_connect::{Error, Kind, Result};

use super::frame::{HEAD, Head};
use super::io;

pub(super) const MAGIC: &[u8; 8] = b"WEIRINB1";

/// One file.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Number of its first record.
    pub first: u64,
    /// Number behind its last one.
    pub end: u64,
    /// Its whole frames, head of the file included.
    pub bytes: u64,
    pub path: PathBuf,
}

impl Segment {
    pub(super) fn is_empty(&self) -> bool {
        self.first == self.end
    }
}

/// An error that names a file which is not as it was written.
pub(super) fn corrupt(path: &Path, why: &str) -> Error {
    Error::new("WEIR-INBOX-006", Kind::Data, "a file of the inbox is not as it was written")
        .at(path.display().to_string())
        .because(why)
        .hint("the messages in it are lost unless there is a copy; move the folder away and run `weir state reset` to begin anew")
}

/// The files there are, in order; the end of each is the beginning of the next. The last one's is found by [`scan`].
pub(super) fn listed(folder: &Path) -> Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| io(error, folder))? {
        let entry = entry.map_err(|error| io(error, folder))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".inbox")?.parse::<u64>().ok());
        let Some(first) = number else { continue };
        // One that is gone by now was forgotten by who writes.
        let Ok(data) = entry.metadata() else { continue };
        found.push(Segment { first, end: first, bytes: data.len(), path: entry.path() });
    }
    found.sort_by_key(|segment| segment.first);
    for at in 1..found.len() {
        found[at - 1].end = found[at].first;
    }
    Ok(found)
}

/// Reads a file up to the last whole frame: sets its end and its bytes. `None`: the file was never finished being made.
pub(super) fn scan(segment: &mut Segment) -> Result<Option<()>> {
    let path = segment.path.clone();
    let fail = |error| io(error, &path);
    let file = File::open(&path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut magic = [0; MAGIC.len()];
    if length < MAGIC.len() as u64 || reader.read_exact(&mut magic).is_err() || &magic != MAGIC {
        return Ok(None);
    }
    (segment.end, segment.bytes) = (segment.first, MAGIC.len() as u64);
    let mut body = Vec::new();
    loop {
        let rest = length - segment.bytes;
        if rest < HEAD as u64 {
            return Ok(Some(()));
        }
        let mut head = [0; HEAD];
        reader.read_exact(&mut head).map_err(fail)?;
        let Some(head) = Head::read(&head).filter(|head| head.length as u64 <= rest - HEAD as u64) else { return Ok(Some(())) };
        body.resize(head.length, 0);
        reader.read_exact(&mut body).map_err(fail)?;
        if !head.fits(segment.end, &body) {
            return Ok(Some(()));
        }
        segment.end += u64::from(head.count);
        segment.bytes += (HEAD + head.length) as u64;
    }
}

/// The files after a crash: what was not finished being written, which nobody was promised, is cut off. The file to append to is the last one.
pub(super) fn recover(folder: &Path) -> Result<(Vec<Segment>, File)> {
    let mut segments = listed(folder)?;
    while let Some(last) = segments.last_mut() {
        if scan(last)?.is_none() {
            let path = last.path.clone();
            // Frames come only after the head is on the disk.
            if last.bytes > MAGIC.len() as u64 {
                return Err(corrupt(&path, "its first bytes are not those of an inbox"));
            }
            segments.pop();
            fs::remove_file(&path).map_err(|error| io(error, &path))?;
            continue;
        }
        let path = last.path.clone();
        let fail = |error| io(error, &path);
        let mut file = OpenOptions::new().write(true).open(&path).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        if length > last.bytes {
            let cut = length - last.bytes;
            tracing::warn!(target: "weir::inbox", "{}: the last {cut} bytes were not finished being written and are cut off", path.display());
            file.set_len(last.bytes).map_err(fail)?;
        }
        // Whole frames may be there that nobody has synced: from now on they are read as what lasts.
        file.sync_all().map_err(fail)?;
        file.seek(SeekFrom::Start(last.bytes)).map_err(fail)?;
        return Ok((segments, file));
    }
    let (segment, file) = create(folder, 0)?;
    Ok((vec![segment], file))
}

/// A new file, durable with its name.
pub(super) fn create(folder: &Path, first: u64) -> Result<(Segment, File)> {
    let path = folder.join(format!("{first:020}.inbox"));
    let fail = |error| io(error, &path);
    let made = || {
        let mut file = File::create(&path)?;
        file.write_all(MAGIC)?;
        file.sync_all()?;
        sync_folder(folder)?;
        Ok(file)
    };
    match made() {
        Ok(file) => Ok((Segment { first, end: first, bytes: MAGIC.len() as u64, path }, file)),
        Err(error) => {
            // A full disk: nothing of it shall be found later.
            let _ = fs::remove_file(&path);
            Err(fail(error))
        }
    }
}

pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
