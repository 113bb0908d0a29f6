//! Spark's log of events (`spark.eventLog`): one JSON object a line. Rows and bytes are sums over the tasks that succeeded.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_error::{Error, Result};

use crate::client::Look;

/// A line that is longer (a plan with thousands of columns) is passed over.
const LONGEST_LINE_BYTES: u64 = 8 * 1024 * 1024;

/// What was read of one log.
#[derive(Debug, Default)]
pub struct Events {
    offset: u64,
    /// Whether the application has begun.
    pub begun: bool,
    /// Why the last job of it failed.
    pub failure: Option<String>,
    rows_read: u64,
    bytes_read: u64,
    rows_written: u64,
    bytes_written: u64,
    /// Attempts of stages after their first.
    again: u64,
    /// Batches of streaming queries.
    batches: Option<u64>,
}

impl Events {
    /// Reads on from where it stopped the last time, up to the last whole line.
    pub fn read(&mut self, folder: &Path) -> Result<()> {
        let Some(path) = log(folder) else { return Ok(()) };
        let place = |error: std::io::Error| Error::from(error).at(path.display().to_string());
        let mut file = match std::fs::File::open(&path) {
            Ok(file) => file,
            // It is renamed at its end.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(place(error)),
        };
        file.seek(SeekFrom::Start(self.offset)).map_err(place)?;
        let mut lines = BufReader::new(file);
        loop {
            let mut line = Vec::new();
            let length = (&mut lines).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line).map_err(place)? as u64;
            if line.last() == Some(&b'\n') {
                self.offset += length;
                if let Ok(event) = serde_json::from_slice(&line) {
                    self.event(&event);
                }
            } else if length == LONGEST_LINE_BYTES {
                let mut rest = Skipped(0);
                if !rest.skip_line(&mut lines).map_err(place)? {
                    return Ok(());
                }
                self.offset += length + rest.0;
            } else {
                return Ok(());
            }
        }
    }

    fn event(&mut self, event: &Value) {
        match event["Event"].as_str().unwrap_or_default() {
            "SparkListenerApplicationStart" => self.begun = true,
            "SparkListenerTaskEnd" if event["Task End Reason"]["Reason"] == "Success" => {
                let count = |group: &str, of: &str| event["Task Metrics"][group][of].as_u64().unwrap_or(0);
                self.rows_read += count("Input Metrics", "Records Read");
                self.bytes_read += count("Input Metrics", "Bytes Read");
                self.rows_written += count("Output Metrics", "Records Written");
                self.bytes_written += count("Output Metrics", "Bytes Written");
            }
            "SparkListenerStageSubmitted" if event["Stage Info"]["Stage Attempt ID"].as_u64().unwrap_or(0) > 0 => self.again += 1,
            "SparkListenerJobEnd" if event["Job Result"]["Result"] == "JobFailed" => {
                self.failure = event["Job Result"]["Exception"]["Message"].as_str().map(str::to_owned);
            }
            "org.apache.spark.sql.streaming.StreamingQueryListener$QueryProgressEvent" => {
                self.batches = Some(self.batches.unwrap_or(0) + 1);
            }
            _ => {}
        }
    }

    /// The look with the counts in it.
    pub fn counted(&self, look: Look) -> Look {
        let known = |count: u64| self.begun.then_some(count);
        Look {
            rows_read: known(self.rows_read),
            rows_written: known(self.rows_written),
            bytes_read: known(self.bytes_read),
            bytes_written: known(self.bytes_written),
            restarts: known(self.again),
            checkpoints: self.batches,
            ..look
        }
    }
}

/// Bytes that were passed over.
struct Skipped(u64);

impl Skipped {
    /// False: the line has no end yet.
    fn skip_line(&mut self, lines: &mut impl BufRead) -> std::io::Result<bool> {
        loop {
            let buffer = lines.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(buffer.len(), |at| at + 1);
            lines.consume(used);
            self.0 += used as u64;
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

/// The log in the folder; there is one at most, under another name once it is complete.
fn log(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    entries.filter(|path| path.is_file() && !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))).min()
}
