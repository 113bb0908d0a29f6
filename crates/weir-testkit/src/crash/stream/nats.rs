//! NATS JetStream, written in its own protocol. Debian's server cannot be told to have a message in its file before it confirms it, and
//! one that a kill takes back leaves its number to another: so the server is stopped in order here and not killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::broker::{Broker, COLUMNS, Connect, Pen, Record};
use crate::Nats;

pub(super) struct Jetstream(Nats);

impl Jetstream {
    pub fn start() -> Result<Self> {
        Ok(Self(Nats::start()?))
    }
}

impl Broker for Jetstream {
    fn topic(&self, name: &str) -> Result<String> {
        let mut client = Client::connect(self.0.port(), String::new())?;
        let wanted = format!("{{\"name\": \"{name}\", \"subjects\": [\"{name}\"], \"storage\": \"file\"}}");
        client.publish(&format!("$JS.API.STREAM.CREATE.{name}"), &wanted)?;
        client.answer()?;
        Ok(name.to_owned())
    }

    fn source(&self, topic: &str) -> String {
        format!("{{nats: {{servers: '{}', stream: {topic}, {COLUMNS}}}}}", self.0.url())
    }

    fn kill_and_start(&mut self) -> Result<()> {
        self.0.restart()
    }

    fn pen(&self, topic: &str) -> Result<Connect> {
        let (port, topic) = (self.0.port(), topic.to_owned());
        Ok(Box::new(move || Ok(Box::new(Client::connect(port, topic.clone())?))))
    }
}

struct Client {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
    subject: String,
}

impl Client {
    fn connect(port: u16, subject: String) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(
            b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\nSUB _INBOX.crash 1\r\n",
        )?;
        Ok(Self { lines: BufReader::new(stream.try_clone()?), stream, subject })
    }

    fn publish(&mut self, subject: &str, payload: &str) -> Result<()> {
        Ok(self.stream.write_all(format!("PUB {subject} _INBOX.crash {}\r\n{payload}\r\n", payload.len()).as_bytes())?)
    }

    /// The next answer of JetStream; an error if it is one.
    fn answer(&mut self) -> Result<()> {
        loop {
            let mut line = String::new();
            ensure!(self.lines.read_line(&mut line)? > 0, "NATS went away");
            let mut words = line.split_whitespace();
            match words.next() {
                Some("INFO" | "PONG" | "+OK") => {}
                Some("PING") => self.stream.write_all(b"PONG\r\n")?,
                Some("MSG") => {
                    let bytes: usize = words.next_back().unwrap_or_default().parse()?;
                    let mut body = vec![0; bytes + 2];
                    self.lines.read_exact(&mut body)?;
                    let body = String::from_utf8_lossy(&body);
                    ensure!(!body.contains("\"error\""), "JetStream says {body}");
                    return Ok(());
                }
                _ => bail!("NATS says {line:?}"),
            }
        }
    }
}

impl Pen for Client {
    fn write(&mut self, records: &[Record]) -> Result<()> {
        let subject = self.subject.clone();
        for record in records {
            self.publish(&subject, &record.json())?;
        }
        records.iter().try_for_each(|_| self.answer())
    }
}
