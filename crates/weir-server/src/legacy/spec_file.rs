//! `spec_path` of `/jobs/execute`: a regular file below one folder, whatever the path says and whoever moves links meanwhile.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use axum::http::StatusCode;

use crate::problem::Problem;

/// Bytes at most.
const MAX_SPEC: u64 = 1024 * 1024;

/// The one answer for every path that is not a spec: what is outside the folder cannot be told from what is not there.
pub fn missing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "WEIR-API-070", "there is no such spec file")
        .hint("`spec_path` is a file in the server's spec folder, relative to it or absolute")
}

/// The text of a spec.
pub async fn read(root: &Path, spec_path: &str) -> Result<String, Problem> {
    let (root, path) = (root.to_owned(), PathBuf::from(spec_path));
    let read = tokio::task::spawn_blocking(move || read_below(&root, &path)).await;
    let bytes = read.map_err(|error| weir_error::Error::internal("reading a spec ended").because(error))??;
    String::from_utf8(bytes).map_err(|_| Problem::unprocessable("WEIR-API-071", "the spec file is not UTF-8 text"))
}

fn read_below(root: &Path, path: &Path) -> Result<Vec<u8>, Problem> {
    // `..` is refused before the file system sees it; a link's own `..` is resolved by canonicalize.
    let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::RootDir));
    if !plain || path.as_os_str().is_empty() {
        return Err(missing());
    }
    let root = root.canonicalize().map_err(|_| missing())?;
    let path = root.join(path).canonicalize().map_err(|_| missing())?;
    if !path.starts_with(&root) || path == root {
        return Err(missing());
    }
    // A pipe would block; a link put there after the check is not followed.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(&path)
        .map_err(|_| missing())?;
    // A folder on the way may have become a link meanwhile: where the open file really is decides.
    if !really_at(&file).is_some_and(|place| place.starts_with(&root)) {
        return Err(missing());
    }
    let facts = file.metadata().map_err(|_| missing())?;
    if !facts.is_file() {
        return Err(missing());
    }
    let mut bytes = Vec::new();
    file.take(MAX_SPEC + 1).read_to_end(&mut bytes).map_err(|_| missing())?;
    if bytes.len() as u64 > MAX_SPEC {
        return Err(Problem::unprocessable("WEIR-API-072", format!("the spec file is longer than {MAX_SPEC} bytes")));
    }
    Ok(bytes)
}

fn really_at(file: &File) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_below_the_folder_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("specs");
        std::fs::create_dir_all(root.join("team")).unwrap();
        std::fs::write(root.join("team/a.yaml"), "pipeline: a").unwrap();
        std::fs::write(folder.path().join("secret.yaml"), "secret").unwrap();
        std::fs::create_dir_all(folder.path().join("specs-other")).unwrap();
        std::fs::write(folder.path().join("specs-other/a.yaml"), "secret").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.yaml"), root.join("out.yaml")).unwrap();
        std::os::unix::fs::symlink(folder.path(), root.join("up")).unwrap();
        std::os::unix::fs::symlink(root.join("team/a.yaml"), root.join("inside.yaml")).unwrap();

        let absolute = root.join("team/a.yaml");
        for good in [Path::new("team/a.yaml"), Path::new("team//a.yaml"), Path::new("inside.yaml"), &absolute] {
            assert_eq!(read_below(&root, good).unwrap(), b"pipeline: a", "{}", good.display());
        }
        let outside = folder.path().join("specs-other/a.yaml");
        for bad in [
            "",
            ".",
            "/",
            "team",
            "../secret.yaml",
            "team/../../secret.yaml",
            "out.yaml",
            "up/secret.yaml",
            "/etc/passwd",
            "nothing.yaml",
        ]
        .map(Path::new)
        .into_iter()
        .chain([outside.as_path()])
        {
            assert_eq!(read_below(&root, bad).unwrap_err().status(), 404, "{}", bad.display());
        }
    }

    #[test]
    fn a_spec_that_is_too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("long.yaml"), vec![b'#'; MAX_SPEC as usize + 1]).unwrap();
        assert_eq!(read_below(folder.path(), Path::new("long.yaml")).unwrap_err().status(), 422);
    }
}
