//! Redis: streams, written in its own protocol.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, bail};

use super::broker::{Broker, COLUMNS, Connect, Pen, Record};
use crate::Redis;

pub(super) struct Streams(Redis);

impl Streams {
    pub fn start() -> Result<Self> {
        Ok(Self(Redis::start()?))
    }
}

impl Broker for Streams {
    /// An empty stream is there once somebody has a group in it.
    fn topic(&self, name: &str) -> Result<String> {
        self.0.cli(&["XGROUP", "CREATE", name, "crash", "$", "MKSTREAM"])?;
        Ok(name.to_owned())
    }

    fn source(&self, topic: &str) -> String {
        format!("{{redis: {{host: 127.0.0.1, port: {}, key: {topic}, field: payload, {COLUMNS}}}}}", self.0.port())
    }

    fn kill_and_start(&mut self) -> Result<()> {
        self.0.kill_9()?;
        self.0.restart()
    }

    fn pen(&self, topic: &str) -> Result<Connect> {
        let (port, topic) = (self.0.port(), topic.to_owned());
        Ok(Box::new(move || {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            Ok(Box::new(Entries { answers: BufReader::new(stream.try_clone()?), stream, key: topic.clone() }))
        }))
    }
}

struct Entries {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    key: String,
}

impl Pen for Entries {
    fn write(&mut self, records: &[Record]) -> Result<()> {
        let mut text = String::new();
        for record in records {
            let words =
                ["XADD", self.key.as_str(), "*", "payload", &record.json()].map(|word| format!("${}\r\n{word}\r\n", word.len()));
            text.push_str(&format!("*{}\r\n{}", words.len(), words.concat()));
        }
        self.stream.write_all(text.as_bytes())?;
        for _ in records {
            // The length of an id, and the id.
            let mut line = String::new();
            if self.answers.read_line(&mut line)? == 0 || !line.starts_with('$') {
                bail!("Redis says {line:?}");
            }
            line.clear();
            self.answers.read_line(&mut line)?;
        }
        Ok(())
    }
}
