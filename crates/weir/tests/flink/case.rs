//! The folders of `cases`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// One query.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub folder: PathBuf,
    pub described: Described,
}

/// What `case.json` says.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// Why the answer, or our query, is as it is. For people.
    #[serde(default, rename = "note")]
    _note: String,
    /// The zone of Flink's session; UTC if absent. For `goldens.py`.
    #[serde(default, rename = "flink_zone")]
    _flink_zone: String,
    /// Table → its time as a stream; absent if the query runs in batch only.
    #[serde(default)]
    pub streaming: BTreeMap<String, Stream>,
}

/// A table as a stream.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The column with the time.
    pub column: String,
    pub max_lateness_ms: i64,
    /// A row far in the future that closes the windows of the others; its own never closes.
    pub closing: Value,
}

impl Case {
    /// The files of the tables.
    pub fn tables(&self) -> Vec<PathBuf> {
        let is_table = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.ends_with(".ndjson") && !name.starts_with("expected.")
        };
        entries(&self.folder).into_iter().filter(is_table).collect()
    }

    /// What Flink answered, as a stream or not.
    pub fn expected(&self, streaming: bool) -> PathBuf {
        let stream = self.folder.join("expected.streaming.ndjson");
        if streaming && stream.is_file() { stream } else { self.folder.join("expected.ndjson") }
    }
}

/// Every case, by name.
pub fn all() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/flink/cases");
    let of = |folder: PathBuf| {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(folder.join("case.json")).unwrap_or_else(|error| panic!("{name}: {error}"));
        let described = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}/case.json: {error}"));
        Case { name, folder, described }
    };
    entries(&root).into_iter().map(of).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}
