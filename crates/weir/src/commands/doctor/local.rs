//! This machine.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use weir_control::config::Settings;
use weir_control::seal::{FILE, KeyRing};

use super::Finding;

/// Below this a server should not be started.
const LEAST_FREE: u64 = 100 << 20;
/// Below this somebody should look.
const LITTLE_FREE: u64 = 1 << 30;

/// The data folder is there, or can be made, and can be written to.
pub fn data_folder(settings: &Settings) -> Finding {
    const PART: &str = "data folder";
    let folder = &settings.data_dir;
    let (existing, shown) = (existing(folder), folder.display());
    if !existing.is_dir() {
        return Finding::fail(PART, format!("{} is no folder", existing.display()), "choose another with --data or WEIR_DATA");
    }
    if !may_write(&existing) {
        let hint = "give the user that runs weir write access to it, or choose another with --data or WEIR_DATA";
        return Finding::fail(PART, format!("{} cannot be written to", existing.display()), hint);
    }
    if *folder == existing {
        Finding::ok(PART, shown.to_string())
    } else {
        Finding::ok(PART, format!("{shown} will be made by the first start"))
    }
}

/// Free space where the data folder is.
pub fn disk(settings: &Settings) -> Finding {
    const PART: &str = "disk";
    let Some(free) = free_bytes(&existing(&settings.data_dir)) else {
        return Finding::warn(PART, "how much is free cannot be found out", "look with `df`");
    };
    let said = format!("{} MiB are free", free >> 20);
    let hint = "free some space, or move the data folder";
    match free {
        0..LEAST_FREE => Finding::fail(PART, said, hint),
        LEAST_FREE..LITTLE_FREE => Finding::warn(PART, said, hint),
        _ => Finding::ok(PART, said),
    }
}

/// The key of the sealed secrets can be read, and nobody else can read it. Makes none.
pub fn seal_key(settings: &Settings) -> Finding {
    const PART: &str = "seal key";
    let file = settings.data_dir.join(FILE);
    if settings.seal_key.is_none() && !file.exists() {
        return Finding::ok(
            PART,
            format!("{} will be made by the first start; keep a copy of it in another place", file.display()),
        );
    }
    match KeyRing::load(&settings.data_dir, settings.seal_key.as_ref()) {
        Ok(ring) => Finding::ok(
            PART,
            format!("{} of {}", ring.ids().join(", "), if settings.seal_key.is_some() { "WEIR_SEAL_KEY" } else { FILE }),
        ),
        Err(error) => Finding::error(PART, &error),
    }
}

/// The clock is kept right: tokens, leases and schedules depend on it.
pub fn clock() -> Finding {
    const PART: &str = "clock";
    let now = chrono::Utc::now();
    // A machine that lost its time starts in 1970, or when its image was built.
    if now.timestamp() < 1_767_225_600 {
        return Finding::fail(
            PART,
            format!("it is {}: that cannot be", now.format("%F %T UTC")),
            "set the clock, and keep it right with chrony or systemd-timesyncd",
        );
    }
    // SAFETY: an all-zero timex asks and sets nothing; the call writes into it alone.
    #[allow(unsafe_code)]
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex)
    };
    let said = now.format("%F %T UTC").to_string();
    if state < 0 || timex.status & libc::STA_UNSYNC != 0 {
        return Finding::warn(
            PART,
            format!("{said}; the system does not say that it is kept in step"),
            "run chrony or systemd-timesyncd; in a container the host does it",
        );
    }
    Finding::ok(PART, format!("{said}, kept in step"))
}

/// The deepest folder of a path that is there.
fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    absolute.ancestors().find(|folder| folder.exists()).map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

fn may_write(folder: &Path) -> bool {
    let Ok(path) = CString::new(folder.as_os_str().as_bytes()) else { return false };
    // SAFETY: the string ends with NUL and lives through the call.
    #[allow(unsafe_code)]
    let answer = unsafe { libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) };
    answer == 0
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: the string ends with NUL and lives through the call, which writes into `found` alone.
    #[allow(unsafe_code)]
    let (answer, found) = unsafe {
        let mut found: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &raw mut found), found)
    };
    (answer == 0).then(|| found.f_bavail.saturating_mul(found.f_frsize))
}
