//! A tenant's folder on this machine: `<data>/tenants/<tenant>`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use weir_error::{Error, Kind, Result};

/// Ids are made by the platform and hold nothing else; checked all the same, where a path is made of one.
pub(crate) fn safe(id: &str) -> Result<&str> {
    let good = !id.is_empty() && id.len() <= 128 && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if good { Ok(id) } else { Err(Error::internal("an id cannot be part of a path")) }
}

/// Where a tenant's folder is, whether it is there or not.
pub(crate) fn of_tenant(data_dir: &Path, tenant: &str) -> Result<PathBuf> {
    let root = std::path::absolute(data_dir).map_err(Error::from)?;
    Ok(root.join("tenants").join(safe(tenant)?))
}

/// Removes a tenant's folder with all that is in it; how many files and bytes there were. Links are removed and not followed. After an
/// error, or a crash, the rest is still there.
pub(super) fn remove(data_dir: &Path, tenant: &str) -> Result<(u64, u64)> {
    remove_folder(&of_tenant(data_dir, tenant)?)
}

/// The same with the journals of a job.
pub(super) fn remove_journals(data_dir: &Path, tenant: &str, job: &str) -> Result<(u64, u64)> {
    let state = of_tenant(data_dir, tenant)?.join("state");
    // Runs make neither of them a link; whoever did leads us nowhere.
    let job = state.join(safe(job)?);
    if [&state, &job].into_iter().any(|folder| !std::fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir())) {
        return Ok((0, 0));
    }
    remove_folder(&job.join("journal"))
}

fn remove_folder(path: &Path) -> Result<(u64, u64)> {
    let at = |error: std::io::Error| Error::from(error).at(path.display().to_string());
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => {
            return Err(Error::new("WEIR-FILES-003", Kind::Unsupported, "a folder that is to be removed is a link or a file")
                .at(path.display().to_string())
                .because("nothing is removed through a link")
                .hint("remove what it leads to by hand, and then the link"));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(at(error)),
    }
    let counted = count(path);
    match std::fs::remove_dir_all(path) {
        // Somebody else who shares the folder was faster.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(counted),
        removed => removed.map(|()| counted).map_err(at),
    }
}

/// Files and bytes below a folder; links count as files without bytes.
fn count(root: &Path) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => {
                    files += 1;
                    bytes += if metadata.is_file() { metadata.len() } else { 0 };
                }
                Err(_) => {}
            }
        }
    }
    (files, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_could_leave_a_folder_are_refused() {
        for id in ["", "..", "a/b", "a.b", "a\0b", &"x".repeat(200)] {
            assert!(safe(id).is_err() && remove(Path::new("/nowhere"), id).is_err(), "{id:?}");
        }
        assert_eq!(safe("0192-ab_C").unwrap(), "0192-ab_C");
    }

    #[test]
    fn a_folder_goes_with_its_links_and_not_with_what_they_lead_to() {
        let data = tempfile::tempdir().unwrap();
        let (acme, other) = (data.path().join("tenants/acme"), data.path().join("tenants/acme2"));
        std::fs::create_dir_all(acme.join("files/sub")).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(acme.join("files/sub/a.csv"), [0; 70]).unwrap();
        std::fs::write(other.join("b.csv"), [0; 30]).unwrap();
        std::os::unix::fs::symlink(&other, acme.join("files/sub/theirs")).unwrap();
        assert_eq!(remove(data.path(), "acme").unwrap(), (2, 70));
        assert!(!acme.exists() && other.join("b.csv").exists());
        assert_eq!(remove(data.path(), "acme").unwrap(), (0, 0), "again");
        // The folder itself is a link.
        std::os::unix::fs::symlink(&other, &acme).unwrap();
        assert_eq!(remove(data.path(), "acme").unwrap_err().code(), "WEIR-FILES-003");
        assert!(other.join("b.csv").exists());
    }

    #[test]
    fn of_a_job_only_its_journals_go() {
        let data = tempfile::tempdir().unwrap();
        let state = data.path().join("tenants/acme/state");
        for job in ["one", "two"] {
            std::fs::create_dir_all(state.join(job).join("journal/p/s")).unwrap();
            std::fs::write(state.join(job).join("journal/p/s/0.log"), [0; 7]).unwrap();
            std::fs::write(state.join(job).join("state.db"), [0; 3]).unwrap();
        }
        assert_eq!(remove_journals(data.path(), "acme", "one").unwrap(), (1, 7));
        assert_eq!(remove_journals(data.path(), "acme", "one").unwrap(), (0, 0), "again");
        assert!(state.join("one/state.db").exists() && state.join("two/journal/p/s/0.log").exists());
        std::os::unix::fs::symlink(state.join("two"), state.join("link")).unwrap();
        assert_eq!(remove_journals(data.path(), "acme", "link").unwrap(), (0, 0));
        assert!(remove_journals(data.path(), "acme", "../two").is_err() && state.join("two/journal/p/s/0.log").exists());
    }
}
