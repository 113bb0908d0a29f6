//! Several statements in one round trip, a `COPY … FROM STDIN` with its data among them.
//!
//! The server answers in order. After an error it skips everything up to the end of the pipeline, so nothing behind a failed statement is
//! carried out. Begin with [`Client::pipeline`], add with [`Client::push`], end with [`Client::run`]; an error in between leaves the
//! connection unusable.

use postgres_protocol::message::frontend;
use tokio::io::AsyncWriteExt;
use weir_connect::{Error, Result};

use super::super::errors::lost;
use super::{Client, command_tag};

/// Data up to this size goes out together with the statements around it.
const TOGETHER: usize = 64 * 1024;

/// What became of a pipeline.
#[derive(Debug)]
pub struct Answer {
    /// Per statement that succeeded, in order: the number in its command tag, 0 if it has none.
    pub counts: Vec<u64>,
    /// The error of the statement after those.
    pub error: Option<Error>,
}

impl Client {
    /// Begins a pipeline.
    pub fn pipeline(&mut self) -> Result<()> {
        self.begin()
    }

    /// Adds a statement with bound text parameters.
    pub fn push(&mut self, sql: &str, parameters: &[Option<&str>]) -> Result<()> {
        self.unsynced(sql, parameters, false)
    }

    /// Adds data of the COPY that was pushed last. `message` begins with five bytes of room for the head. `false`: the server has refused
    /// something, and what follows is not worth sending.
    pub async fn push_data(&mut self, message: &mut [u8]) -> Result<bool> {
        let length = u32::try_from(message.len() - 1).map_err(|_| Error::internal("a copy message over 4 GiB"))?;
        message[0] = b'd';
        message[1..5].copy_from_slice(&length.to_be_bytes());
        if message.len() + self.out.len() <= TOGETHER {
            self.out.extend_from_slice(message);
            return Ok(true);
        }
        let sent = async {
            self.stream.write_all(&self.out).await?;
            self.stream.write_all(message).await
        }
        .await;
        self.out.clear();
        if let Err(error) = sent {
            return Err(self.why_lost(error).await);
        }
        // Whatever has arrived meanwhile stays in the buffer; the future is dropped when nothing has.
        let arrived = {
            let mut reading = std::pin::pin!(self.fill());
            futures::poll!(reading.as_mut())
        };
        if let std::task::Poll::Ready(Err(error)) = arrived {
            self.dead = true;
            return Err(lost(&self.place, error));
        }
        Ok(!self.error_ahead())
    }

    /// Ends the data.
    pub fn push_data_end(&mut self) {
        frontend::copy_done(&mut self.out);
    }

    fn error_ahead(&self) -> bool {
        let mut at = self.start;
        while let Some(head) = self.buffer[at..self.end].get(..5) {
            if head[0] == b'E' {
                return true;
            }
            at += 1 + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if at > self.end {
                break;
            }
        }
        false
    }

    /// Ends whatever was begun, a COPY as well, and rolls the transaction back: its locks must not last as long as this value. Errors do
    /// not matter any more.
    pub async fn abandon(&mut self) {
        if self.busy && !self.dead {
            self.out.clear();
            if frontend::copy_fail("abandoned", &mut self.out).is_ok() {
                let _ = self.run().await;
            }
        }
        if self.usable() {
            let _ = self.batch("ROLLBACK").await;
        }
    }

    /// Sends what is left and waits for all answers. `Err` only if the connection is lost.
    pub async fn run(&mut self) -> Result<Answer> {
        frontend::sync(&mut self.out);
        self.send().await?;
        let mut counts = Vec::new();
        let ended = self
            .finish(|tag, body| {
                if tag == b'C' {
                    counts.push(command_tag(body).1);
                }
                Ok(())
            })
            .await;
        match ended {
            Ok(()) => Ok(Answer { counts, error: None }),
            Err(error) if self.usable() => Ok(Answer { counts, error: Some(error) }),
            Err(error) => Err(error),
        }
    }
}
