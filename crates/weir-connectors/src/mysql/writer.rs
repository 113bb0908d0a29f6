//! One lane's writer: a session that loads into the staging table, and ends its transaction at every flush.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use weir_connect::{Barrier, Error, Flushed, Kind, Result, StreamWriter, failpoint};

use super::client::{Client, Done};
use super::encode::{Form, Rows};
use super::sink::Shared;
use super::wire::HEAD;

/// Encoded bytes that are collected before they are sent.
const MESSAGE_BYTES: usize = 256 * 1024;

/// See the module.
pub struct Writer {
    shared: Arc<Shared>,
    lane: usize,
    client: Option<Client>,
    /// A transaction is open; with `LOAD DATA`, the server waits for data.
    writing: bool,
    message: Vec<u8>,
    /// Rows in the message, for `INSERT`.
    pending: u64,
    rows: u64,
    bytes: u64,
}

impl Writer {
    /// Connects when the first row comes: a lane without splits costs the server nothing.
    pub fn new(shared: Arc<Shared>, lane: usize) -> Self {
        Self { shared, lane, client: None, writing: false, message: Vec::new(), pending: 0, rows: 0, bytes: 0 }
    }

    /// A session in a transaction that holds the fence.
    async fn begin(&mut self) -> Result<()> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                let mut client = Client::connect(&self.shared.address).await?;
                // Fewer locks between lanes; nothing is read that a lane has not written itself.
                client.batch("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                client
            }
        };
        client.about(&self.shared.place);
        client.batch("START TRANSACTION").await?;
        self.shared.ledger.fence(&mut client, self.shared.attempt).await?;
        self.client = Some(client);
        (self.rows, self.bytes, self.pending) = (0, 0, 0);
        Ok(())
    }

    fn client(&mut self) -> Result<&mut Client> {
        self.client.as_mut().ok_or_else(|| Error::internal("a write without a session"))
    }

    fn reset_message(&mut self) {
        self.message.clear();
        // A large cell must not keep its memory for the rest of the run.
        self.message.shrink_to(MESSAGE_BYTES * 2);
        match self.shared.form {
            Form::Load => self.message.resize(HEAD, 0),
            Form::Insert => self.message.extend_from_slice(self.shared.statement.as_bytes()),
        }
    }

    async fn send(&mut self) -> Result<()> {
        if self.pending == 0 {
            return Ok(());
        }
        let shared = self.shared.clone();
        let mut message = std::mem::take(&mut self.message);
        self.bytes += message.len() as u64;
        let sent = match shared.form {
            Form::Load => self.client()?.load_data(&mut message).await,
            Form::Insert => {
                let expected = self.pending;
                match std::str::from_utf8(&message) {
                    Ok(sql) => {
                        let client = self.client()?;
                        match client.batch(sql).await {
                            Ok(done) => taken(client, done, expected, &shared.place).await,
                            Err(error) => Err(error),
                        }
                    }
                    Err(_) => Err(Error::internal("a statement that is not UTF-8")),
                }
            }
        };
        self.pending = 0;
        self.message = message;
        self.reset_message();
        sent
    }
}

/// Whether the server took every row as it was. `LOAD DATA LOCAL` never refuses a row: it bends or skips it, and warns.
pub async fn taken(client: &mut Client, done: Done, rows: u64, place: &str) -> Result<()> {
    if done.affected == rows && done.warnings == 0 {
        return Ok(());
    }
    let warnings = client.simple("SHOW WARNINGS LIMIT 3").await?;
    let said: Vec<String> = warnings.iter().map(|row| format!("{} (error {})", row.text(2), row.text(1))).collect();
    Err(Error::new("WEIR-MY-056", Kind::Data, "the server would not take every row as it is")
        .at(place)
        .because(format!("{} of {rows} rows, {} warnings: {}", done.affected, done.warnings, said.join("; ")))
        .hint("change the value in the pipeline or the column at the target; nothing of this flush was written"))
}

#[async_trait]
impl StreamWriter for Writer {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let shared = self.shared.clone();
        if !self.writing {
            self.begin().await?;
            if shared.form == Form::Load {
                self.client()?.load_begin(&shared.statement).await?;
            }
            self.writing = true;
            self.reset_message();
        }
        let count = batch.num_rows();
        let first = shared.sequence.as_ref().map(|next| next.fetch_add(count as u64, Ordering::Relaxed));
        let rows = Rows::new(&batch, &shared.columns, shared.form)?;
        for row in 0..count {
            if shared.form == Form::Insert && self.pending > 0 {
                self.message.push(b',');
            }
            rows.write(row, first.map(|first| first + row as u64), &shared.columns, &mut self.message)?;
            self.pending += 1;
            if self.message.len() >= MESSAGE_BYTES {
                self.send().await?;
            }
        }
        self.rows += count as u64;
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        if !self.writing && barrier.progress.is_empty() {
            return Ok(Flushed { token: serde_json::Value::Null, rows: 0, bytes: 0 });
        }
        let shared = self.shared.clone();
        if self.writing {
            self.send().await?;
            if shared.form == Form::Load {
                let rows = self.rows;
                let client = self.client()?;
                let done = client.load_end().await?;
                taken(client, done, rows, &shared.place).await?;
            }
        } else {
            self.begin().await?;
        }
        let (rows, bytes) = (self.rows, self.bytes);
        let barrier = Barrier { lane: self.lane, ..barrier.clone() };
        let client = self.client()?;
        shared.ledger.record(client, shared.attempt, &barrier, rows, bytes).await?;
        failpoint!("mysql.flush.before");
        client.batch("COMMIT").await?;
        failpoint!("mysql.flush.after");
        self.writing = false;
        self.rows = 0;
        Ok(Flushed { token: serde_json::Value::Null, rows, bytes })
    }

    fn buffered_bytes(&self) -> usize {
        self.message.capacity()
    }
}
