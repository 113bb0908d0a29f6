//! Kafka, written and read with its own tools.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::broker::Record;
use crate::Kafka;
use crate::process::run_checked;

/// Partitions of every topic.
const PARTITIONS: usize = 4;

/// A running broker.
pub(super) struct Bus {
    kafka: Kafka,
    folder: tempfile::TempDir,
}

impl Bus {
    pub fn start() -> Result<Self> {
        Ok(Self { kafka: Kafka::start()?, folder: tempfile::Builder::new().prefix("weir-crash-bus-").tempdir()? })
    }

    fn tool(&self, class: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = self.kafka.tool(self.folder.path(), class)?;
        command.args(["--bootstrap-server", &self.kafka.bootstrap()]).args(arguments);
        Ok(command)
    }

    /// A new topic.
    pub fn topic(&self, name: &str) -> Result<String> {
        let partitions = PARTITIONS.to_string();
        run_checked(
            &mut self.tool("org.apache.kafka.tools.TopicCommand", &["--create", "--topic", name, "--partitions", &partitions])?,
        )?;
        Ok(name.to_owned())
    }

    /// A `source` of a pipeline, with more options.
    pub fn source(&self, topic: &str, more: &str) -> String {
        format!("{{kafka: {{bootstrap_servers: '{}', topic: {topic}, {more}}}}}", self.kafka.bootstrap())
    }

    /// A `sink` of a pipeline.
    pub fn sink(&self, topic: &str) -> String {
        format!("{{kafka: {{bootstrap_servers: '{}', topic: {topic}, key: [key]}}}}", self.kafka.bootstrap())
    }

    /// Kills it, and starts it with what it has.
    pub fn kill_and_start(&mut self) -> Result<()> {
        self.kafka.kill_9()?;
        self.kafka.restart()
    }

    /// Every committed record of a topic, those of one partition in their order.
    pub fn read(&self, topic: &str) -> Result<Vec<Record>> {
        self.values(topic)?.iter().map(record).collect()
    }

    /// The same, as JSON.
    pub fn values(&self, topic: &str) -> Result<Vec<Value>> {
        let mut child = self.consumer(topic, &["--timeout-ms", "15000"])?;
        let lines = BufReader::new(child.stdout.take().context("a reader without output")?).lines();
        let values = lines.map(|line| {
            let line = line?;
            serde_json::from_str(&line).with_context(|| format!("no record: {line}"))
        });
        let values = values.collect::<Result<Vec<Value>>>()?;
        child.wait()?;
        Ok(values)
    }

    /// Counts the committed records of a topic from now on.
    pub fn watch(&self, topic: &str) -> Result<Watch> {
        let mut child = self.consumer(topic, &[])?;
        let lines = BufReader::new(child.stdout.take().context("a reader without output")?).lines();
        let count = Arc::new(AtomicUsize::new(0));
        let told = count.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|_| {
                told.fetch_add(1, Ordering::SeqCst);
            })
        });
        Ok(Watch { child, count })
    }

    fn consumer(&self, topic: &str, more: &[&str]) -> Result<Child> {
        let mut command = self.tool(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &["--topic", topic, "--from-beginning", "--isolation-level", "read_committed"],
        )?;
        command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().context("cannot start Kafka's reader")
    }
}

fn record(value: &Value) -> Result<Record> {
    let text = |name: &str| value[name].as_str().map(ToOwned::to_owned).with_context(|| format!("a record without `{name}`"));
    Ok(Record { id: value["id"].as_i64().context("a record without its number")?, key: text("key")?, pad: text("pad")? })
}

/// Somebody who counts.
pub(super) struct Watch {
    child: Child,
    count: Arc<AtomicUsize>,
}

impl Watch {
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst) as u64
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What somebody writes.
pub(super) struct Lines {
    /// Key and value of each number; some have none.
    pub of: fn(u64) -> Option<(String, String)>,
    /// And at the end.
    pub last: Vec<(String, String)>,
}

impl Lines {
    /// Records.
    pub fn plain() -> Self {
        let of = |id| {
            let record = Record::new(id);
            Some((record.key.clone(), record.json()))
        };
        Self { of, last: Vec::new() }
    }
}

/// Somebody who writes numbered records without pause, also while the broker is away.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
    child: Child,
}

impl Writer {
    pub fn start(bus: &Bus, topic: &str, rate: u64, lines: Lines) -> Result<Self> {
        let mut command = bus.tool(
            "org.apache.kafka.tools.ConsoleProducer",
            &[
                "--topic",
                topic,
                "--reader-property",
                "parse.key=true",
                "--request-required-acks",
                "all",
                "--max-block-ms",
                "600000",
            ],
        )?;
        for property in ["delivery.timeout.ms=600000", "linger.ms=5", "buffer.memory=67108864"] {
            command.args(["--command-property", property]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut pipe = child.stdin.take().context("a writer without input")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let begin = Instant::now();
            let mut id = 0;
            while !stopped.load(Ordering::SeqCst) {
                let due = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX) * rate / 1_000;
                while id < due {
                    if let Some((key, value)) = (lines.of)(id) {
                        writeln!(pipe, "{key}\t{value}")?;
                    }
                    id += 1;
                }
                pipe.flush()?;
                std::thread::sleep(Duration::from_millis(10));
            }
            for (key, value) in &lines.last {
                writeln!(pipe, "{key}\t{value}")?;
            }
            Ok(())
        });
        Ok(Self { stop, thread, child })
    }

    /// Everything that was given to the broker is there.
    pub fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        // The end of its input is its end.
        self.thread.join().map_err(|_| anyhow::anyhow!("the writer died"))??;
        let status = self.child.wait()?;
        ensure!(status.success(), "the writer ended with {status}");
        Ok(())
    }
}
