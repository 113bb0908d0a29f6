//! Pulsar: a topic with a subscription, written over its WebSocket.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::broker::{Broker, COLUMNS, Connect, Pen, Record};
use crate::Pulsar;

pub(super) struct Topics(Pulsar);

impl Topics {
    pub fn start(is_killed: bool) -> Result<Self> {
        Ok(Self(if is_killed { Pulsar::start()? } else { Pulsar::shared()? }))
    }

    fn put(&self, path: &str) -> Result<()> {
        let url = format!("{}/admin/v2/persistent/public/default/{path}", self.0.admin_url());
        crate::blocking::block_on(move || async move {
            let status = reqwest::Client::new().put(&url).send().await?.status();
            ensure!(status.is_success(), "Pulsar does not make {url}: {status}");
            Ok(())
        })
    }
}

impl Broker for Topics {
    /// What no subscription needs is deleted, so there is one before the first message.
    fn topic(&self, name: &str) -> Result<String> {
        let name = format!("{name}-{}", uuid::Uuid::new_v4().simple());
        self.put(&name)?;
        self.put(&format!("{name}/subscription/crash"))?;
        Ok(name)
    }

    fn source(&self, topic: &str) -> String {
        let (service, admin) = (self.0.url(), self.0.admin_url());
        format!(
            "{{pulsar: {{service_url: '{service}', admin_url: '{admin}', topic: 'persistent://public/default/{topic}', \
             subscription_name: crash, {COLUMNS}}}}}"
        )
    }

    fn kill_and_start(&mut self) -> Result<()> {
        self.0.kill_9()?;
        self.0.restart()
    }

    fn pen(&self, topic: &str) -> Result<Connect> {
        let authority = self.0.admin_url().trim_start_matches("http://").to_owned();
        let topic = topic.to_owned();
        Ok(Box::new(move || Ok(Box::new(Socket::connect(&authority, &topic)?))))
    }
}

struct Socket {
    stream: TcpStream,
    frames: BufReader<TcpStream>,
}

impl Socket {
    fn connect(authority: &str, topic: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(authority)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let path = format!("/ws/v2/producer/persistent/public/default/{topic}?sendTimeoutMillis=20000");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut frames = BufReader::new(stream.try_clone()?);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            frames.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        ensure!(head.starts_with(b"HTTP/1.1 101"), "Pulsar says {}", String::from_utf8_lossy(&head));
        Ok(Self { stream, frames })
    }

    /// A frame of a client: its mask is of zeros, which changes nothing.
    fn send(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let mut frame = vec![0x80 | kind];
        match u8::try_from(body.len()) {
            Ok(short) if short < 126 => frame.push(0x80 | short),
            _ => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(body.len()).context("a frame that is too long")?.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(body);
        Ok(self.stream.write_all(&frame)?)
    }

    /// The next text of the server.
    fn text(&mut self) -> Result<String> {
        loop {
            let mut head = [0; 2];
            self.frames.read_exact(&mut head)?;
            let mut length = usize::from(head[1] & 0x7f);
            if length == 126 {
                let mut long = [0; 2];
                self.frames.read_exact(&mut long)?;
                length = usize::from(u16::from_be_bytes(long));
            }
            ensure!(length < 127 || head[1] & 0x7f == 126, "a frame that is too long");
            let mut body = vec![0; length];
            self.frames.read_exact(&mut body)?;
            match head[0] & 0x0f {
                1 => return Ok(String::from_utf8(body)?),
                9 => self.send(10, &body)?,
                other => bail!("Pulsar sends a frame of kind {other}"),
            }
        }
    }
}

impl Pen for Socket {
    fn write(&mut self, records: &[Record]) -> Result<()> {
        for record in records {
            let message = format!("{{\"payload\": \"{}\", \"context\": \"{}\"}}", base64(record.json().as_bytes()), record.id);
            self.send(1, message.as_bytes())?;
        }
        for _ in records {
            let answer = self.text()?;
            ensure!(answer.contains("\"ok\""), "Pulsar says {answer}");
        }
        Ok(())
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0, |sum, at| sum << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * at) & 63) as usize] as char;
            out.push(if at <= group.len() { letter } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_written_as_everybody_writes_them() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(super::base64(bytes.as_bytes()), text);
        }
    }
}
