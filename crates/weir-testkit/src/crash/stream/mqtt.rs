//! MQTT: Mosquitto, written in MQTT 3.1.1 with quality of service 1. It has its messages in memory and writes them down when it is told
//! to stop, so it is stopped in order here and not killed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::broker::{Broker, COLUMNS, Connect, Pen, Record};
use crate::Mosquitto;
use crate::mqtt::Door;

pub(super) struct Mqtt(Mosquitto);

impl Mqtt {
    pub fn start() -> Result<Self> {
        Ok(Self(Mosquitto::start(Door::Open)?))
    }
}

impl Broker for Mqtt {
    fn topic(&self, name: &str) -> Result<String> {
        Ok(name.to_owned())
    }

    fn source(&self, topic: &str) -> String {
        let port = self.0.port();
        format!("{{mqtt: {{host: 127.0.0.1, port: {port}, topic: {topic}, client_id: reader-{topic}, {COLUMNS}}}}}")
    }

    fn kill_and_start(&mut self) -> Result<()> {
        self.0.restart()
    }

    fn pen(&self, topic: &str) -> Result<Connect> {
        let (port, topic) = (self.0.port(), topic.to_owned());
        Ok(Box::new(move || Ok(Box::new(Client::connect(port, topic.clone())?))))
    }

    fn forgets_unless_subscribed(&self) -> bool {
        true
    }
}

struct Client {
    stream: TcpStream,
    topic: String,
}

/// A text with its length before it.
fn text(value: &str) -> Vec<u8> {
    let mut out = u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    out.extend_from_slice(value.as_bytes());
    out
}

/// A packet: its kind, its length in groups of seven bits, its body.
fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let (mut out, mut left) = (vec![kind], body.len());
    loop {
        let more = left >= 128;
        out.push(u8::try_from(left % 128).unwrap_or_default() | if more { 128 } else { 0 });
        left /= 128;
        if !more {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

impl Client {
    fn connect(port: u16, topic: String) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // Protocol 3.1.1, a clean session, no keep alive.
        let body = [text("MQTT"), vec![4, 2, 0, 0], text(&format!("writer-{topic}"))].concat();
        stream.write_all(&packet(0x10, &body))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        ensure!(answer[0] == 0x20 && answer[3] == 0, "Mosquitto says {answer:?}");
        Ok(Self { stream, topic })
    }
}

impl Pen for Client {
    fn write(&mut self, records: &[Record]) -> Result<()> {
        let mut out = Vec::new();
        for (number, record) in (1..).zip(records) {
            let body = [text(&self.topic), u16::to_be_bytes(number).to_vec(), record.json().into_bytes()].concat();
            out.extend(packet(0x32, &body));
        }
        self.stream.write_all(&out)?;
        for _ in records {
            let mut answer = [0; 4];
            self.stream.read_exact(&mut answer)?;
            ensure!(answer[0] == 0x40, "Mosquitto says {answer:?}");
        }
        Ok(())
    }
}
