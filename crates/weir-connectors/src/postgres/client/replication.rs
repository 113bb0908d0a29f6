//! The session as a receiver of a logical replication stream: simple statements only, then `START_REPLICATION`, from which on both sides
//! send copy data.

use std::ops::Range;
use std::task::{Context, Poll, Waker};

use postgres_protocol::message::frontend;
use tokio::io::AsyncWriteExt;
use weir_connect::{Error, Kind, Result};

use super::super::config::Address;
use super::super::errors::lost;
use super::{Client, Row, SETTINGS, text_row};

/// Where the stream stands.
pub enum Arrived {
    /// One whole message: where it lies in [`Client::received`].
    Message(Range<usize>),
    /// What is in the buffer is used up; wait with [`Client::more`].
    Nothing,
}

impl Client {
    /// Connects as a walsender's receiver.
    pub async fn connect_replication(address: &Address) -> Result<Self> {
        let connecting = async {
            let mut client = Self::login_as_asked(address, true).await?;
            client.batch(SETTINGS).await?;
            // Text forms of money must not depend on the database's locale.
            client.batch("SET lc_monetary='C'").await?;
            let rows = client.simple("SELECT current_setting('server_version_num')").await?;
            client.version = rows.first().map(|row| row.int(0)).unwrap_or(0) as u32;
            Ok(client)
        };
        Self::in_time(address, connecting).await
    }

    /// One statement or replication command without parameters; all rows as text.
    pub async fn simple(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.begin()?;
        frontend::query(sql, &mut self.out).map_err(|e| self.malformed(e))?;
        self.send().await?;
        let place = self.place.clone();
        let mut rows = Vec::new();
        self.finish(|tag, body| {
            if tag == b'D' {
                rows.push(text_row(body).ok_or_else(|| super::protocol(&place, "malformed row"))?);
            }
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// Sends `START_REPLICATION …`; then [`Self::next_message`] and [`Self::more`].
    pub async fn start_replication(&mut self, command: &str) -> Result<()> {
        self.begin()?;
        frontend::query(command, &mut self.out).map_err(|e| self.malformed(e))?;
        self.send().await?;
        self.expect(b'W').await
    }

    /// The bytes that [`Arrived::Message`] points into, valid until the next [`Self::more`].
    pub fn received(&self) -> &[u8] {
        &self.buffer
    }

    /// The next message of the stream that is whole in the buffer. Never waits.
    #[inline]
    pub fn next_message(&mut self) -> Result<Arrived> {
        loop {
            let Some((tag, length)) = self.head() else { return Ok(Arrived::Nothing) };
            if length > 0x4000_0000 + 0x1_0000 || !tag.is_ascii_alphanumeric() {
                self.dead = true;
                return Err(super::protocol(&self.place, "not a PostgreSQL message"));
            }
            if self.end - self.start < 5 + length {
                return Ok(Arrived::Nothing);
            }
            let body = self.start + 5..self.start + 5 + length;
            self.start = body.end;
            match tag {
                b'd' => return Ok(Arrived::Message(body)),
                b'E' => {
                    let frame = super::Frame { tag, start: body.start, end: body.end };
                    let error = self.server_error(&frame);
                    self.dead = true;
                    return Err(error);
                }
                b'c' | b'C' | b'Z' => {
                    self.dead = true;
                    return Err(Error::new("WEIR-PG-004", Kind::Connect, "the server ended the replication stream")
                        .at(&self.place)
                        .because("it is shutting down, or an administrator ended it")
                        .transient());
                }
                _ => {}
            }
        }
    }

    /// Reads once from the network if something has come. `false`: nothing has, and nobody will be woken when it does: the socket is not watched until
    /// [`Self::more`].
    pub fn look(&mut self) -> Result<bool> {
        self.switch.aside(true);
        let looked = std::pin::pin!(self.fill()).poll(&mut Context::from_waker(Waker::noop()));
        match looked {
            Poll::Pending => Ok(false),
            Poll::Ready(read) => self.read(read).map(|()| true),
        }
    }

    /// Waits for the network and reads once. May be dropped while it waits.
    pub async fn more(&mut self) -> Result<()> {
        self.switch.aside(false);
        let read = self.fill().await;
        self.read(read)
    }

    fn read(&mut self, outcome: std::io::Result<()>) -> Result<()> {
        outcome.map_err(|error| {
            self.dead = true;
            lost(&self.place, error)
        })
    }

    /// Tells the server how far we are. `asks` makes it answer at once. Must not be dropped while it waits.
    pub async fn send_status(&mut self, received: u64, durable: u64, asks: bool) -> Result<()> {
        let mut message = [0_u8; 39];
        message[0] = b'd';
        message[1..5].copy_from_slice(&38_u32.to_be_bytes());
        message[5] = b'r';
        message[6..14].copy_from_slice(&received.to_be_bytes());
        message[14..22].copy_from_slice(&durable.to_be_bytes());
        message[22..30].copy_from_slice(&durable.to_be_bytes());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_micros() as i64;
        message[30..38].copy_from_slice(&(now - 946_684_800_000_000).to_be_bytes());
        message[38] = u8::from(asks);
        let sent = async {
            self.stream.write_all(&message).await?;
            self.stream.flush().await
        }
        .await;
        match sent {
            Ok(()) => Ok(()),
            Err(error) => Err(self.why_lost(error).await),
        }
    }

    /// Ends the session without asking the server to cancel anything: the stream has no result to spoil.
    pub async fn hang_up(mut self) {
        if !self.dead {
            self.out.clear();
            frontend::copy_done(&mut self.out);
            frontend::terminate(&mut self.out);
            let _ = self.stream.write_all(&self.out).await;
            let _ = self.stream.shutdown().await;
        }
        self.dead = true;
    }
}
