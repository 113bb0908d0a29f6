//! One folder of `cases`: a pipeline, its files, and what each engine makes of it.
//!
//! `case.json` has a word for each engine: `equal` rows, `refused` because it cannot express the pipeline, `differs` as docs/reference/engine-differences.md explains under
//! the case's name, `fails` likewise; without a word the engine is not tried. `"short": true`: also in the test command. `"rows": 0`: there are no rows, which is a
//! result too.
//! With a `seed.sql` the case has a database of its own, and `@host@`, `@port@`, `@database@` in its pipeline; with a `topic.ndjson` a topic whose records are those
//! lines, and `@bootstrap@`, `@topic@`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use weir_testkit::{Database, Kafka, PostgresServer};

/// The table of known differences.
const DIFFERENCES: &str = include_str!("../../../../docs/reference/engine-differences.md");

/// What an engine shall make of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Equal,
    Refused,
    Differs,
    Fails,
}

impl Expected {
    fn parse(case: &str, word: &str) -> Self {
        let explained = DIFFERENCES.contains(&format!("`{case}`"));
        match word {
            "equal" => Self::Equal,
            "refused" => Self::Refused,
            "differs" | "fails" if !explained => panic!("{case}: nothing in engine-differences.md names it"),
            "differs" => Self::Differs,
            "fails" => Self::Fails,
            other => panic!("{case}: case.json says {other}"),
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Refused => "refused",
            Self::Differs => "differs",
            Self::Fails => "fails",
        }
    }
}

/// A case, copied into a folder of its own.
pub struct Case {
    pub name: String,
    pub folder: tempfile::TempDir,
    pub rows: bool,
    words: BTreeMap<String, String>,
    /// What the pipeline reads, kept as long as the case.
    _database: Option<Database>,
}

/// The folders, by name.
pub fn folders() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/cases");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

fn name_of(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().into_owned()
}

/// What `case.json` says.
pub fn said(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap()
}

impl Case {
    /// The case of that name.
    pub fn named(name: &str) -> Self {
        let folder = folders().into_iter().find(|folder| name_of(folder) == name).unwrap();
        Self::copied(&folder)
    }

    /// A copy of the folder, with what its pipeline reads.
    pub fn copied(from: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
            std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        let (name, told) = (name_of(from), said(from));
        let mut places: Vec<(&str, String)> = Vec::new();
        let database = seeded(from).map(|(port, database)| {
            places.extend([("@host@", "127.0.0.1".to_owned()), ("@port@", port.to_string())]);
            places.push(("@database@", database.name().to_owned()));
            database
        });
        if let Some((bootstrap, topic)) = filled(from, folder.path(), &name) {
            places.extend([("@bootstrap@", bootstrap), ("@topic@", topic)]);
        }
        let pipeline = folder.path().join("pipeline.yaml");
        let text = std::fs::read_to_string(&pipeline).unwrap();
        std::fs::write(pipeline, places.iter().fold(text, |text, (mark, value)| text.replace(mark, value))).unwrap();
        let word = |engine: &str| told[engine].as_str().map(|word| (engine.to_owned(), word.to_owned()));
        Self {
            name,
            folder,
            rows: told["rows"] != 0,
            words: ["seatunnel", "flink", "spark"].into_iter().filter_map(word).collect(),
            _database: database,
        }
    }

    /// What this engine shall make of it.
    pub fn expected(&self, engine: &str) -> Expected {
        Expected::parse(&self.name, &self.words[engine])
    }

    /// Runs the program in the case's folder.
    pub fn weir(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).current_dir(self.folder.path());
        command.output().unwrap()
    }
}

fn seeded(from: &Path) -> Option<(u16, Database)> {
    let seed = std::fs::read_to_string(from.join("seed.sql")).ok()?;
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    database.execute(seed).unwrap();
    Some((server.port(), database))
}

/// The broker and a topic that is the case's own.
fn filled(from: &Path, folder: &Path, name: &str) -> Option<(String, String)> {
    let records = from.join("topic.ndjson");
    let records = std::fs::File::open(records).ok()?;
    let broker = Kafka::shared().unwrap();
    let topic = format!("{name}-{}", folder.file_name().unwrap().to_string_lossy().trim_start_matches('.'));
    // The broker makes no topic by itself: the producer would wait for it, a minute for each record.
    for (tool, more, input) in [
        ("org.apache.kafka.tools.TopicCommand", ["--create", "--if-not-exists"].as_slice(), Stdio::null()),
        ("org.apache.kafka.tools.ConsoleProducer", [].as_slice(), Stdio::from(records)),
    ] {
        let mut command = broker.tool(folder, tool).unwrap();
        command.args(["--bootstrap-server", &broker.bootstrap(), "--topic", &topic]).args(more);
        let output = command.stdin(input).stdout(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Some((broker.bootstrap(), topic))
}
