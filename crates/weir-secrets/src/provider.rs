//! Where values come from.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use weir_error::Secret;

/// One place that holds values. Synchronous: the values are few and asked for once, before a run.
pub trait Provider: Send + Sync {
    /// The value at a locator (a variable's name, a path, `path#key`). `Ok(None)` = there is no such entry; `Err` says
    /// in words, without any value, why the place itself cannot be used.
    fn get(&self, locator: &str) -> Result<Option<Secret>, String>;
}

/// The environment of this process.
pub struct Environment;

impl Provider for Environment {
    fn get(&self, name: &str) -> Result<Option<Secret>, String> {
        match std::env::var(name) {
            Ok(value) => Ok(Some(Secret::new(value))),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err("its value is not valid UTF-8".into()),
        }
    }
}

impl Provider for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Result<Option<Secret>, String> {
        Ok(BTreeMap::get(self, name).map(Secret::new))
    }
}

impl<P: Provider + ?Sized> Provider for Arc<P> {
    fn get(&self, locator: &str) -> Result<Option<Secret>, String> {
        (**self).get(locator)
    }
}

/// Files that hold one secret each, as Docker and Kubernetes mount them. A file must lie, after links are followed, under
/// one of the roots; one newline at its end is not part of the secret.
pub struct SecretFiles {
    base: PathBuf,
    roots: Vec<PathBuf>,
}

/// The largest secret file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

impl SecretFiles {
    /// Relative paths resolve against `base`, which is a root itself; `/run/secrets`, `/var/run/secrets` and the folders in
    /// `WEIR_SECRETS_PATH` (separated by `:`) are the others.
    pub fn new(base: &Path) -> Self {
        let mut roots = vec![base.to_path_buf(), PathBuf::from("/run/secrets"), PathBuf::from("/var/run/secrets")];
        if let Some(more) = std::env::var_os("WEIR_SECRETS_PATH") {
            roots.extend(std::env::split_paths(&more).filter(|path| path.is_absolute()));
        }
        Self { base: base.to_path_buf(), roots }
    }

    /// Only `base`: for a process that works for somebody who does not own the machine.
    pub fn confined(base: &Path) -> Self {
        Self { base: base.to_path_buf(), roots: vec![base.to_path_buf()] }
    }

    /// The content of a file under the roots.
    pub fn read(&self, path: &str) -> Result<Option<String>, String> {
        let written = Path::new(path);
        if written.components().any(|part| part == Component::ParentDir) {
            return Err("a secret's path may not contain `..`".into());
        }
        let real = match self.base.join(written).canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let inside = self.roots.iter().any(|root| root.canonicalize().is_ok_and(|root| real.starts_with(root)));
        if !inside {
            return Err("it lies outside the pipeline's folder and /run/secrets; add its folder to WEIR_SECRETS_PATH".into());
        }
        let metadata = std::fs::metadata(&real).map_err(|error| error.to_string())?;
        if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
            return Err("it is not a regular file of at most 1 MiB".into());
        }
        let bytes = std::fs::read(&real).map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map(Some).map_err(|_| "its content is not valid UTF-8".into())
    }
}

impl Provider for SecretFiles {
    fn get(&self, path: &str) -> Result<Option<Secret>, String> {
        let Some(mut text) = self.read(path)? else { return Ok(None) };
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(Some(Secret::new(text)))
    }
}

/// The entries behind `{{name}}`: a JSON object of names and values. `WEIR_CREDENTIALS_FILE` holds either one such object or one
/// per `credentials_ref`:
///
/// ```json
/// {"vault://polygon-api/credentials": {"api_key": "…"}}
/// ```
pub struct Credentials {
    entries: Result<BTreeMap<String, Secret>, String>,
}

impl Credentials {
    /// Loads what a pipeline's `credentials_ref` names. `file://path` is read from `files`; any other name is looked up in
    /// the file that `WEIR_CREDENTIALS_FILE` names (see [`crate::Resolver::new`] for `vault://`). Problems are kept and told when a reference needs them.
    pub fn load(credentials_ref: Option<&str>, files: &SecretFiles) -> Self {
        if let Some(path) = credentials_ref.and_then(|name| name.strip_prefix("file://")) {
            let text = files.read(path).and_then(|text| text.ok_or_else(|| "the file of credentials_ref does not exist".into()));
            return Self { entries: text.and_then(|text| parse(&text, None)) };
        }
        let Some(path) = std::env::var_os("WEIR_CREDENTIALS_FILE") else {
            return Self { entries: Err("set WEIR_CREDENTIALS_FILE to a JSON file of names and values".into()) };
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("WEIR_CREDENTIALS_FILE {}: {error}", Path::new(&path).display()));
        Self { entries: text.and_then(|text| parse(&text, credentials_ref)) }
    }
}

fn parse(text: &str, name: Option<&str>) -> Result<BTreeMap<String, Secret>, String> {
    // The parser's own message would show the place in words that may quote the content.
    let value: Value = serde_json::from_str(text).map_err(|_| "the credentials file is not valid JSON".to_string())?;
    let Value::Object(mut all) = value else { return Err("the credentials file must hold a JSON object".into()) };
    let entries = match name.and_then(|name| all.remove(name)) {
        Some(Value::Object(entries)) => entries,
        Some(_) => return Err("the entry of credentials_ref must be a JSON object".into()),
        None => all,
    };
    Ok(entries.into_iter().filter_map(|(name, value)| Some((name, Secret::new(value.as_str()?)))).collect())
}

impl Provider for Credentials {
    fn get(&self, name: &str) -> Result<Option<Secret>, String> {
        match &self.entries {
            Ok(entries) => Ok(entries.get(name).cloned()),
            Err(reason) => Err(reason.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_of_a_file_is_not_part_of_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pw"), "hunter2\n\n").unwrap();
        let files = SecretFiles::new(folder.path());
        assert_eq!(files.get("pw").unwrap().unwrap().expose(), "hunter2\n");
        assert!(files.get("absent").unwrap().is_none());
    }

    #[test]
    fn a_link_out_of_the_roots_is_refused() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("pw"), "x").unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path().join("pw"), folder.path().join("link")).unwrap();
        let files = SecretFiles::new(folder.path());
        for path in ["link", "../pw", outside.path().join("pw").to_str().unwrap()] {
            let reason = files.get(path).unwrap_err();
            assert!(reason.contains("outside") || reason.contains(".."), "{path}: {reason}");
        }
    }

    #[test]
    fn credentials_are_found_under_their_reference_or_flat() {
        let nested =
            parse(r#"{"vault://polygon/credentials": {"api_key": "k"}, "other": "o"}"#, Some("vault://polygon/credentials"));
        assert_eq!(nested.unwrap()["api_key"].expose(), "k");
        let flat = parse(r#"{"api_key": "k"}"#, Some("vault://polygon/credentials"));
        assert_eq!(flat.unwrap()["api_key"].expose(), "k");
    }

    #[test]
    fn a_broken_credentials_file_does_not_quote_its_content() {
        assert!(!parse(r#"{"api_key": "hunter2"#, None).unwrap_err().contains("hunter2"));
    }
}
