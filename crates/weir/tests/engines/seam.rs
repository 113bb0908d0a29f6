//! A stream that changes the engine, there and back, on the real ones: records of a topic, part after part, and in the end each of them once.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use weir_testkit::{FlinkCluster, Kafka, KafkaConnect, wait_until};

use super::{at_flink, said};

/// Records of each part.
const PART: u64 = 1000;

/// A pipeline from a topic of three partitions, and what it has written so far.
struct Stream {
    broker: Kafka,
    topic: String,
    folder: tempfile::TempDir,
    parts: u64,
}

impl Stream {
    fn new(broker: Kafka, engine: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let topic = format!("seam-{engine}-{}", folder.path().file_name().unwrap().to_string_lossy().trim_start_matches('.'));
        let mut command = broker.tool(folder.path(), "org.apache.kafka.tools.TopicCommand").unwrap();
        command.args(["--bootstrap-server", &broker.bootstrap(), "--create", "--topic", &topic, "--partitions", "3"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        Self { broker, topic, folder, parts: 0 }
    }

    /// The pipeline, with this sink.
    fn pipeline(&self, file: &str, sink: &Value) {
        let source = json!({"kafka": {
            "bootstrap_servers": self.broker.bootstrap(), "topic": self.topic, "only_columns": true, "columns": {"id": "bigint"}
        }});
        let whole =
            json!({"pipeline": "numbers", "mode": "streaming", "checkpoint_interval_ms": 1000, "source": source, "sink": sink});
        std::fs::write(self.folder.path().join(file), whole.to_string()).unwrap();
    }

    fn file(&self, path: &str) -> Value {
        json!({"file": {"path": self.folder.path().join(path), "format": "ndjson"}})
    }

    /// One part more.
    fn fill(&mut self) {
        let mut command = self.broker.tool(self.folder.path(), "org.apache.kafka.tools.ConsoleProducer").unwrap();
        command.args(["--bootstrap-server", &self.broker.bootstrap(), "--topic", &self.topic]);
        // Records without a key go to one partition for a batch, so the batches are small.
        command.args(["--reader-property", "parse.key=true", "--reader-property", "key.separator=;"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines: String = (self.parts * PART..(self.parts + 1) * PART).map(|id| format!("{id};{{\"id\":{id}}}\n")).collect();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        self.parts += 1;
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).current_dir(self.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn weir(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        output
    }

    /// The numbers in all files that a reader would read, sorted.
    fn written(&self) -> Vec<u64> {
        let mut found = Vec::new();
        lines_below(&self.folder.path().join("out"), &mut found);
        found.sort_unstable();
        found
    }

    /// Runs here until everything has arrived.
    fn here(&self, pipeline: &str, state: &str) {
        self.weir(&["run", pipeline, "--until-caught-up", "--progress", "none", "--state-dir", state]);
    }

    /// Runs there from the state on, until the whole of the topic has arrived, and stops it with a savepoint. What it said.
    fn there(&self, pipeline: &str, engine: &str, options: &[String], from: &[&str]) -> Output {
        let mut arguments = vec!["run", pipeline, "--engine", engine, "--progress", "plain", "--state-dir", "there"];
        arguments.extend_from_slice(from);
        options.iter().for_each(|option| arguments.extend(["--engine-option", option.as_str()]));
        let mut child = Running(Some(self.command(&arguments).spawn().unwrap()));
        let wanted = self.parts * PART;
        let arrived = wait_until("everything has arrived", Duration::from_secs(180), || {
            self.written().len() as u64 >= wanted || child.ended()
        });
        let output = child.stop();
        assert!(arrived.is_ok() && output.status.success(), "{} of {wanted}: {}", self.written().len(), said(&output));
        output
    }

    /// Where the topic ends: the engine that has read all of it stands there.
    fn end(&self) -> Value {
        let mut command = self.broker.tool(self.folder.path(), "org.apache.kafka.tools.GetOffsetShell").unwrap();
        command.args(["--bootstrap-server", &self.broker.bootstrap(), "--topic", &self.topic]);
        let output = command.output().unwrap();
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let each = lines.lines().filter_map(|line| line.strip_prefix(&format!("{}:", self.topic))?.split_once(':'));
        let offsets: serde_json::Map<String, Value> =
            each.map(|(partition, offset)| (partition.to_owned(), offset.parse::<u64>().unwrap().into())).collect();
        assert_eq!(offsets.len(), 3, "{}", said(&output));
        json!({"version": 1, "pipeline": "numbers", "sources": [
            {"node": "source", "stream": self.topic, "at": {"kafka_offsets": {"topic": self.topic, "offsets": offsets}}}
        ]})
    }

    /// Each record that was ever put in, once.
    fn each_once(&self, when: &str) {
        let (found, wanted) = (self.written(), self.parts * PART);
        let mut distinct = found.clone();
        distinct.dedup();
        assert!(
            found.len() as u64 == wanted && distinct.len() as u64 == wanted && distinct.last() == Some(&(wanted - 1)),
            "{when}: {} rows, {} of them different, {wanted} put in",
            found.len(),
            distinct.len()
        );
    }
}

/// A run that is ended with the test.
struct Running(Option<Child>);

impl Running {
    fn ended(&mut self) -> bool {
        self.0.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    fn stop(mut self) -> Output {
        let child = self.0.take().unwrap();
        // Already over: its output says why.
        let _ = weir_testkit::process::signal(child.id(), libc::SIGINT);
        child.wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Hidden files are not finished, or no data.
fn lines_below(folder: &Path, found: &mut Vec<u64>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with(['.', '_']) || name.ends_with(".crc") {
            continue;
        }
        if path.is_dir() {
            lines_below(&path, found);
        } else {
            // A file may be moved to its place between two looks.
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["id"].as_u64()));
        }
    }
}

/// Here, there, there again from its savepoint, and back.
fn there_and_back(stream: &mut Stream, engine: &str, options: &[String], (native, foreign): (&str, &str)) {
    stream.fill();
    stream.here(native, "here");
    stream.each_once("after the native run");
    let told = stream.weir(&["state", "export", native, "--for", engine, "--output", "state.json", "--state-dir", "here"]);
    assert!(said(&told).contains("nothing is repeated"), "{}", said(&told));

    stream.fill();
    let from = ["--start-from", "state.json"];
    let output = stream.there(foreign, engine, options, &from);
    println!("{engine}: {}", String::from_utf8_lossy(&output.stderr));
    stream.each_once("after the other engine");

    stream.fill();
    // The same command goes on from the savepoint, not from the state.
    stream.there(foreign, engine, options, &from);
    stream.each_once("after the other engine went on");

    std::fs::write(stream.folder.path().join("back.json"), stream.end().to_string()).unwrap();
    let refused = stream.command(&["state", "import", native, "--from", "back.json", "--state-dir", "here"]).output().unwrap();
    assert!(
        refused.status.code() == Some(1) && said(&refused).contains("WEIR-SEAM-010"),
        "a state of its own is not overwritten: {}",
        said(&refused)
    );
    stream.weir(&["state", "import", native, "--from", "back.json", "--state-dir", "back"]);
    stream.fill();
    stream.here(native, "back");
    stream.each_once("back");
}

/// `cargo nextest run -p weir --features kafka --test engines --run-ignored all -E 'test(a_stream_goes_to_flink)'`
#[test]
#[ignore = "a broker and three JVMs, two minutes: see the command above"]
fn a_stream_goes_to_flink_and_back_with_each_record_once() {
    let flink = FlinkCluster::start().unwrap();
    let mut stream = Stream::new(Kafka::shared().unwrap(), "flink");
    stream.pipeline("numbers.yaml", &stream.file("out"));
    there_and_back(&mut stream, "flink", &at_flink(&flink), ("numbers.yaml", "numbers.yaml"));
}

/// Kafka Connect has one sink for files, of one file: that is another sink of the same pipeline.
///
/// `cargo nextest run -p weir --features kafka --test engines --run-ignored all -E 'test(a_stream_goes_to_kafka_connect)'`
#[test]
#[ignore = "a broker and a worker of Kafka Connect, two minutes: see the command above"]
fn a_stream_goes_to_kafka_connect_and_back_with_each_record_once() {
    let broker = Kafka::shared().unwrap();
    let connect = KafkaConnect::start(&broker, &[]).unwrap();
    let mut stream = Stream::new(broker, "connect");
    stream.pipeline("numbers.yaml", &stream.file("out"));
    stream.pipeline("connect.yaml", &stream.file("out/connect.ndjson"));
    let options = [format!("url={}", connect.url())];
    there_and_back(&mut stream, "kafka-connect", &options, ("numbers.yaml", "connect.yaml"));
}
