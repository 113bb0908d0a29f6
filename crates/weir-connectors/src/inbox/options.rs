//! Where an inbox is, and how large it may become.

use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use weir_connect::guard::{self, Files};
use weir_connect::{Error, Kind, Result};

/// Messages that came and were not delivered yet are kept on the local disk.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InboxOptions {
    /// The folder; a relative path starts at the pipeline file. It must survive a restart. Default: a folder of its own below `.weir/inbox`.
    pub path: Option<PathBuf>,
    /// Bytes that may wait on the disk. When they do, no more is taken from the peer. Default 1 GiB, at least 1 MiB for each stream.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub max_bytes: Option<u64>,
}

/// The smallest inbox of a stream.
pub(super) const MIN_BYTES: u64 = 1 << 20;

impl InboxOptions {
    /// What the JSON Schema cannot say.
    pub fn validate(&self) -> Result<()> {
        match self.max_bytes {
            Some(bytes) if bytes < MIN_BYTES => {
                Err(Error::new("WEIR-INBOX-001", Kind::Spec, format!("`inbox.max_bytes` is {bytes}"))
                    .hint(format!("give it at least {MIN_BYTES}")))
            }
            _ => Ok(()),
        }
    }

    /// The bound.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes.unwrap_or(1 << 30).max(MIN_BYTES)
    }

    /// The folder: the one that is named, or the default one for `own`, a name that tells the sources of one pipeline folder apart.
    ///
    /// # Errors
    /// `WEIR-INBOX-002` where the platform gives a pipeline no disk, or the path leads out of the tenant's folder.
    pub fn folder(&self, base_dir: &Path, own: &str) -> Result<PathBuf> {
        let wanted = match &self.path {
            Some(path) => base_dir.join(path),
            None => base_dir.join(".weir").join("inbox").join(tame(own)),
        };
        match guard::current().files() {
            Files::Anywhere => Ok(wanted),
            Files::Below(root) => confined(root, &wanted),
            Files::Bucket(_) => Err(Error::new(
                "WEIR-INBOX-002",
                Kind::Unsupported,
                "this platform keeps files in a bucket, so there is no disk on which messages could wait",
            )
            .hint("run the pipeline with `weir run` on a machine with a disk that lasts")),
        }
    }
}

/// The path, if neither `..` nor a link leads out of the root.
fn confined(root: &Path, wanted: &Path) -> Result<PathBuf> {
    let refused = || {
        Error::new("WEIR-INBOX-002", Kind::Privilege, "`inbox.path` leads out of the tenant's folder")
            .hint("paths start at the tenant's folder and cannot lead out of it")
    };
    let wanted = root.join(wanted);
    if wanted.components().any(|part| part == Component::ParentDir) {
        return Err(refused());
    }
    // What is not there yet is made later, below what is there.
    let mut there: &Path = &wanted;
    loop {
        match there.canonicalize() {
            Ok(real) if real.starts_with(root) => return Ok(wanted),
            Ok(_) => return Err(refused()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => there = there.parent().ok_or_else(refused)?,
            Err(_) => return Err(refused()),
        }
    }
}

/// A name as one part of a path.
pub(crate) fn tame(name: &str) -> String {
    let tamed: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect();
    if tamed == name && name.len() <= 80 && !name.is_empty() {
        return tamed;
    }
    // Two names that become the same one stay apart.
    let hash = twox_hash::XxHash64::oneshot(0, name.as_bytes());
    format!("{}-{hash:016x}", &tamed[..tamed.len().min(60)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_apart_and_are_one_part_of_a_path() {
        assert_eq!(tame("orders-1"), "orders-1");
        assert_ne!(tame("a/b"), tame("a_b"));
        assert_ne!(tame("a/b"), tame("a?b"));
        for name in ["", "..", "/etc", "é/ü", &"x".repeat(500)] {
            let tamed = tame(name);
            assert!(!tamed.contains(['/', '.']) && !tamed.is_empty() && tamed.len() < 100, "{tamed}");
        }
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("way_out")).unwrap();
        assert_eq!(confined(&root, Path::new(".weir/inbox/a")).unwrap(), root.join(".weir/inbox/a"));
        assert_eq!(confined(&root, &root.join("in")).unwrap(), root.join("in"));
        for path in ["../other", "a/../../other", "way_out/x", "/etc/x"] {
            assert_eq!(confined(&root, Path::new(path)).unwrap_err().code(), "WEIR-INBOX-002", "{path}");
        }
    }
}
