//! Two databases with a pipeline between them, and the program in a folder of its own.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_testkit::postgres::{Database, PostgresServer};

/// One column of every kind that is compared in its own way.
pub const TABLE: &str = "
CREATE TYPE public.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE public.t (id bigint PRIMARY KEY, name text, note varchar(40), amount numeric(12,2), f double precision, r real,
  ts timestamp, at timestamptz, d date, tm time, iv interval, flag boolean, doc jsonb, raw json, b bytea, e public.mood, u uuid, tags text[],
  padded char(6), net inet);
INSERT INTO public.t SELECT g, 'name ' || g, CASE WHEN g % 2 = 0 THEN '' END, g + 0.5, 1.5 + g, 0.1 * g,
  timestamp '2024-02-29 23:59:59.999999' + g * interval '1 hour', timestamptz '2024-03-31 01:30:00+00' + g * interval '1 minute',
  date '2024-01-01' + g, time '12:00:00' + g * interval '1 second', interval '1 day', g % 3 = 0,
  jsonb_build_object('a', g, 'b', 'x'), ('{\"a\": ' || g || ', \"b\": 1}')::json, decode('00ff' || lpad(to_hex(g), 4, '0'), 'hex'),
  'ok', md5(g::text)::uuid, ARRAY['one', NULL, g::text], 'ab', '10.0.0.1'
  FROM generate_series(1, 3000) g;
";

/// See the module.
pub struct Scene {
    ends: Option<(Database, Database)>,
    /// The database whose slot goes with the scene.
    slot: Option<Database>,
    folder: tempfile::TempDir,
    cdc: bool,
}

/// Expected differences, in the order of [`Said::differing`].
pub fn owned(expected: &[(i64, &str, Vec<&str>)]) -> Vec<(i64, String, Vec<String>)> {
    let mut owned: Vec<_> = expected
        .iter()
        .map(|(id, kind, columns)| (*id, (*kind).to_owned(), columns.iter().map(|name| (*name).to_owned()).collect()))
        .collect();
    owned.sort();
    owned
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(source) = &self.slot {
            // Slots are few.
            let active = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database() AND active";
            let _ = source.execute(active);
            let begin = Instant::now();
            let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()";
            while source.execute(drop).is_err() && begin.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// What `weir verify` said.
pub struct Said {
    pub code: i32,
    pub stream: Value,
}

impl Said {
    /// `(id, kind, columns)` of what differs, by id.
    pub fn differing(&self) -> Vec<(i64, String, Vec<String>)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut found: Vec<_> = self.stream["differing"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let columns = one["columns"].as_array().unwrap().iter().map(text).collect();
                (text(&one["key"]["id"]).parse().unwrap(), text(&one["kind"]), columns)
            })
            .collect();
        found.sort();
        found
    }

    pub fn count(&self, what: &str) -> u64 {
        self.stream[what].as_u64().unwrap()
    }
}

impl Scene {
    /// A batch pipeline; `sink` are more options of the sink.
    pub fn batch(sink: &str) -> Self {
        Self::new(false, sink)
    }

    /// A pipeline of changes.
    pub fn cdc(sink: &str) -> Self {
        Self::new(true, sink)
    }

    /// A batch pipeline with anything between `source:` and `sink:`, as YAML; `SOURCE` is the URL of the source's database.
    pub fn custom(source_yaml: &str, sink: &str, files: &[(&str, &str)]) -> Self {
        let scene = Self::new(false, sink);
        let text = format!(
            "pipeline: custom\nconnections:\n  to: {{postgres: {{url: '{}'}}}}\n{}sink:\n  postgres: {{connection: to{sink}}}\n",
            scene.target().url(),
            source_yaml.replace("SOURCE", scene.source().url()),
        );
        fs::write(scene.folder.path().join("pipeline.yaml"), text).unwrap();
        for (name, content) in files {
            fs::write(scene.folder.path().join(name), content).unwrap();
        }
        scene
    }

    fn new(cdc: bool, sink: &str) -> Self {
        let server = PostgresServer::shared().unwrap();
        let (source, target) = (server.create_database().unwrap(), server.create_database().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let (mode, kind) = if cdc { ("cdc", "postgres-cdc") } else { ("batch", "postgres") };
        let text = format!(
            "pipeline: verify_{}\nmode: {mode}\nconnections:\n  from: {{{kind}: {{url: '{}'}}}}\n  to: {{postgres: {{url: '{}'}}}}\n\
             source:\n  {kind}: {{connection: from, tables: [public.t]}}\nsink:\n  postgres: {{connection: to{sink}}}\n",
            // Slots are the server's, and have the pipeline's name.
            source.name(),
            source.url(),
            target.url(),
        );
        fs::write(folder.path().join("pipeline.yaml"), text).unwrap();
        Self { slot: cdc.then(|| source.clone()), ends: Some((source, target)), folder, cdc }
    }

    /// A pipeline from any connector into another; `sink` are more options of the sink.
    pub fn of(source: &str, from: &str, stream: &str, sink: &str, to: &str, options: &str) -> Self {
        let text = format!(
            "connections:\n  from: {{{source}: {{url: '{from}'}}}}\n  to: {{{sink}: {{url: '{to}'}}}}\n\
             source:\n  {source}: {{connection: from, tables: [{stream}]}}\nsink:\n  {sink}: {{connection: to{options}}}\n"
        );
        Self::written(source, &text)
    }

    /// A pipeline from any connector into files; `sink` is the whole sink.
    pub fn of_files(source: &str, from: &str, stream: &str, sink: &str) -> Self {
        let text = format!(
            "connections:\n  from: {{{source}: {{url: '{from}'}}}}\nsource:\n  {source}: {{connection: from, tables: [{stream}]}}\n\
             sink:\n  {sink}\n"
        );
        Self::written(source, &text)
    }

    fn written(source: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cdc = source.ends_with("-cdc");
        // Slots and readers of a log have the pipeline's name, and are the server's.
        let name =
            folder.path().file_name().unwrap().to_string_lossy().to_lowercase().replace(|c: char| !c.is_alphanumeric(), "_");
        let mode = if cdc { "cdc" } else { "batch" };
        fs::write(folder.path().join("pipeline.yaml"), format!("pipeline: verify_{name}\nmode: {mode}\n{text}")).unwrap();
        Self { ends: None, slot: None, folder, cdc }
    }

    /// Puts lines before `sink:`.
    pub fn with_transforms(self, lines: &str) -> Self {
        let path = self.folder.path().join("pipeline.yaml");
        let text = fs::read_to_string(&path).unwrap().replace("sink:\n", &format!("transforms:\n{lines}sink:\n"));
        fs::write(path, text).unwrap();
        self
    }

    /// The slot in this database goes when the scene does.
    pub fn with_slot(mut self, source: &Database) -> Self {
        self.slot = Some(source.clone());
        self
    }

    /// The database that is read.
    pub fn source(&self) -> &Database {
        &self.ends.as_ref().unwrap().0
    }

    /// The database that is written.
    pub fn target(&self) -> &Database {
        &self.ends.as_ref().unwrap().1
    }

    /// Another sink for the same changes: the table `public.u`, where rows are marked as deleted.
    pub fn with_second_sink(self) -> Self {
        let text = format!(
            "pipeline: verify_{}\nmode: cdc\nconnections:\n  from: {{postgres-cdc: {{url: '{}'}}}}\n  to: {{postgres: {{url: '{}'}}}}\n\
             sources:\n  log: {{postgres-cdc: {{connection: from, tables: [public.t]}}}}\nsinks:\n  one: {{input: log, postgres: {{connection: to}}}}\n  \
             two: {{input: log, postgres: {{connection: to, table: public.u, delete_mode: soft}}}}\n",
            self.source().name(),
            self.source().url(),
            self.target().url(),
        );
        fs::write(self.folder.path().join("pipeline.yaml"), text).unwrap();
        self
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).args(["--state-dir", "state"]).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// A run to its end.
    pub fn run(&self) {
        let mut arguments = vec!["run", "pipeline.yaml", "--progress", "none"];
        arguments.extend(self.cdc.then_some("--until-caught-up"));
        let output = self.command(&arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A batch that replaces what the pipeline has written with the rows of another database.
    pub fn replaced_from(&self, url: &str, sink: &str) {
        let text = format!("pipeline: other\nsource:\n  postgres: {{url: '{url}', tables: [public.t]}}\nsink:\n  {sink}\n");
        fs::write(self.folder.path().join("other.yaml"), text).unwrap();
        let output = self.command(&["run", "other.yaml", "--progress", "none"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Files below the folder, hidden ones too.
    pub fn files(&self, below: &str) -> Vec<std::path::PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(self.folder.path().join(below)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.is_file());
        files.sort();
        files
    }

    /// A run that goes on until it is dropped.
    pub fn start(&self) -> Running {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let child = self
            .command(&["run", "pipeline.yaml", "--progress", "plain", "--checkpoint-interval", "500ms"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Running { child }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// `weir verify --json`, with its only stream.
    pub fn verify(&self, more: &[&str]) -> Said {
        let mut all = self.verify_all(more);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }

    /// The same with all its streams.
    pub fn verify_all(&self, more: &[&str]) -> Vec<Said> {
        let mut arguments = vec!["verify", "pipeline.yaml", "--json"];
        arguments.extend(more);
        let output = self.command(&arguments).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}{}", self.log()));
        let code = output.status.code().unwrap();
        let streams = report["streams"].as_array().unwrap_or_else(|| panic!("{out}{err}"));
        streams.iter().map(|stream| Said { code, stream: stream.clone() }).collect()
    }

    /// As a person sees it: exit code and stdout.
    pub fn shown(&self, more: &[&str]) -> (i32, String, String) {
        let mut arguments = vec!["verify", "pipeline.yaml"];
        arguments.extend(more);
        let output = self.command(&arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// Every value of every row, as the server prints it.
    pub fn rows(&self, database: &Database) -> Vec<Vec<Option<String>>> {
        database.rows("SELECT * FROM public.t ORDER BY id, ctid").unwrap()
    }

    /// Waits until the target answers so.
    pub fn until(&self, sql: &str, answer: &str) {
        let begin = Instant::now();
        while self.target().value(sql).ok().as_deref() != Some(answer) {
            assert!(begin.elapsed() < Duration::from_secs(60), "not in a minute: {sql} = {answer}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A run under way.
pub struct Running {
    child: Child,
}

impl Running {
    pub fn must_live(&mut self, scene: &Scene) {
        assert!(self.child.try_wait().unwrap().is_none(), "the run has ended\n{}", scene.log());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
