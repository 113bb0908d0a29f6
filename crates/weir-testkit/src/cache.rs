//! The folder that outlives a clone: built servers, generated data sets, virtual environments.
//!
//! What lives here is always whole: it is made in a temporary folder beside its place and renamed into it, under a
//! lock, so that concurrent tests build a thing once and a killed build leaves nothing that looks finished.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// `$WEIR_CACHE`, else `~/.cache/weir`. Created when missing.
pub fn cache_dir() -> Result<PathBuf> {
    let dir = match std::env::var_os("WEIR_CACHE") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => match std::env::var_os("HOME") {
            Some(home) if !home.is_empty() => PathBuf::from(home).join(".cache/weir"),
            _ => bail!("neither WEIR_CACHE nor HOME is set: no place for built servers"),
        },
    };
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// An exclusive lock between processes, held until dropped. The kernel releases it when the holder dies.
#[derive(Debug)]
pub struct FileLock(#[allow(dead_code)] File);

impl FileLock {
    /// Waits for the lock on `path`, creating the file (empty) when missing.
    pub fn acquire(path: &Path) -> Result<Self> {
        let file =
            OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("cannot open {}", path.display()))?;
        // SAFETY: the descriptor is open for as long as `file` lives; flock touches no memory of ours.
        #[allow(unsafe_code)]
        let rc = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
        if rc != 0 {
            return Err(std::io::Error::last_os_error()).with_context(|| format!("cannot lock {}", path.display()));
        }
        Ok(Self(file))
    }
}

/// The folder `<cache>/<name>`, made once by `build`, which is given an empty folder on the same file system.
///
/// Present means whole. Concurrent callers wait for the first one; when `build` fails nothing is left behind.
pub fn install_once(name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let place = cache.join(name);
    if place.is_dir() {
        return Ok(place);
    }
    let locks = cache.join("locks");
    fs::create_dir_all(&locks)?;
    let _lock = FileLock::acquire(&locks.join(format!("{}.lock", name.replace('/', "-"))))?;
    if place.is_dir() {
        return Ok(place);
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    let work = tempfile::Builder::new().prefix(".building-").tempdir_in(&cache)?;
    build(work.path()).with_context(|| format!("building `{name}` for the tests"))?;
    fs::set_permissions(work.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::rename(work.keep(), &place).with_context(|| format!("cannot move the finished build to {}", place.display()))?;
    Ok(place)
}

/// Whether this process runs as the superuser, whom PostgreSQL refuses to serve.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid cannot fail and takes no arguments.
    #[allow(unsafe_code)]
    let uid = unsafe { libc::geteuid() };
    uid == 0
}

/// Gives `path` to the operating system's user `user`.
pub(crate) fn chown(path: &Path, uid: u32, gid: u32) -> Result<()> {
    let c_path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `c_path` is a NUL-terminated string that lives through the call.
    #[allow(unsafe_code)]
    let rc = unsafe { libc::chown(c_path.as_ptr(), uid, gid) };
    if rc != 0 {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("cannot give {} to uid {uid}", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_and_released_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = FileLock::acquire(&path).unwrap();
        let (sent, received) = std::sync::mpsc::channel();
        let other = std::thread::spawn({
            let path = path.clone();
            move || {
                let _lock = FileLock::acquire(&path).unwrap();
                sent.send(()).unwrap();
            }
        });
        assert!(received.recv_timeout(std::time::Duration::from_millis(100)).is_err(), "second holder got in");
        drop(held);
        received.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
        other.join().unwrap();
    }
}
