//! One lane's writer: a session that copies into the table, and ends its transaction at every flush.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use weir_connect::{Barrier, Error, Flushed, Kind, Result, StreamWriter, failpoint};

use super::client::Client;
use super::copy_encode::{Encoding, HEADER, Rows, TRAILER};
use super::quote;
use super::sink::{Shared, name_target};
use super::text_encode;

/// Encoded bytes that are collected before they are sent.
const MESSAGE_BYTES: usize = 256 * 1024;
/// Room for the head of a CopyData message.
const HEAD: usize = 5;

/// See the module.
pub struct Writer {
    shared: Arc<Shared>,
    lane: usize,
    client: Option<Client>,
    /// A transaction with a running COPY.
    copying: bool,
    message: Vec<u8>,
    rows: u64,
    bytes: u64,
}

impl Writer {
    /// Connects when the first row comes: a lane without splits costs the server nothing.
    pub fn new(shared: Arc<Shared>, lane: usize) -> Self {
        Self { shared, lane, client: None, copying: false, message: Vec::new(), rows: 0, bytes: 0 }
    }

    /// A session in a transaction that holds the fence.
    async fn begin(&mut self) -> Result<&mut Client> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect(&self.shared.address).await?,
        };
        client.about(&self.shared.place);
        // Durable means on disk, whatever the server's default is.
        client.batch("BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL statement_timeout = 0").await?;
        self.shared.ledger.fence(&mut client, self.shared.attempt).await?;
        Ok(self.client.insert(client))
    }

    fn client(&mut self) -> Result<&mut Client> {
        self.client.as_mut().ok_or_else(|| Error::internal("a copy without a session"))
    }

    async fn send(&mut self) -> Result<()> {
        if self.message.len() <= HEAD {
            return Ok(());
        }
        let mut message = std::mem::take(&mut self.message);
        self.bytes += (message.len() - HEAD) as u64;
        let sent = self.client()?.copy_data(&mut message).await;
        // A large cell must not keep its memory for the rest of the run.
        message.truncate(HEAD);
        message.shrink_to(MESSAGE_BYTES * 2);
        self.message = message;
        sent
    }

    async fn end_copy(&mut self) -> Result<()> {
        if !self.shared.text {
            self.message.extend_from_slice(&TRAILER);
        }
        self.send().await?;
        let (shared, rows) = (self.shared.clone(), self.rows);
        let taken = self.client()?.copy_done().await?;
        if taken != rows {
            return Err(Error::new("WEIR-PG-056", Kind::Data, format!("the server took {taken} of {rows} rows"))
                .at(shared.place.clone())
                .because("a trigger on the table left rows out")
                .hint("drop the trigger, or write into another table"));
        }
        Ok(())
    }
}

#[async_trait]
impl StreamWriter for Writer {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let shared = self.shared.clone();
        if !self.copying {
            let denied = |error| name_target(error, &quote::table(&shared.place));
            self.begin().await?.copy_in(&shared.copy).await.map_err(denied)?;
            self.copying = true;
            (self.rows, self.bytes) = (0, 0);
            self.message.clear();
            self.message.resize(HEAD, 0);
            if !shared.text {
                self.message.extend_from_slice(HEADER);
            }
        }
        let count = batch.num_rows();
        let first = shared.sequence.as_ref().map_or(0, |next| next.fetch_add(count as u64, Ordering::Relaxed));
        if shared.text {
            let schema = batch.schema();
            let columns =
                shared.columns.iter().map(|plan| plan.normalise(&batch, schema.field(plan.index))).collect::<Result<Vec<_>>>()?;
            for row in 0..count {
                for (at, (column, plan)) in columns.iter().zip(&shared.columns).enumerate() {
                    if at > 0 {
                        self.message.push(b'\t');
                    }
                    let limit = match plan.encoding {
                        Encoding::Limited(characters) => Some(characters),
                        _ => None,
                    };
                    text_encode::field(column, row, limit, &mut self.message)
                        .map_err(|error| error.at(format!("column `{}`, row {} of the batch", plan.name, row + 1)))?;
                }
                if shared.sequence.is_some() {
                    self.message.extend_from_slice(format!("\t{}", first + row as u64).as_bytes());
                }
                self.message.push(b'\n');
                if self.message.len() >= MESSAGE_BYTES {
                    self.send().await?;
                }
            }
        } else {
            let rows = Rows::new(&batch, &shared.columns, shared.sequence.is_some())?;
            for row in 0..count {
                rows.write(row, first + row as u64, &shared.columns, &mut self.message)?;
                if self.message.len() >= MESSAGE_BYTES {
                    self.send().await?;
                }
            }
        }
        self.rows += count as u64;
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        if !self.copying && barrier.progress.is_empty() {
            return Ok(Flushed { token: serde_json::Value::Null, rows: 0, bytes: 0 });
        }
        let shared = self.shared.clone();
        if self.copying {
            self.end_copy().await?;
        } else {
            (self.rows, self.bytes) = (0, 0);
            self.begin().await?;
        }
        let (rows, bytes) = (self.rows, self.bytes);
        let barrier = Barrier { lane: self.lane, ..barrier.clone() };
        let client = self.client()?;
        shared.ledger.record(client, shared.attempt, &barrier, rows, bytes).await?;
        failpoint!("postgres.flush.before");
        client.commit().await?;
        failpoint!("postgres.flush.after");
        self.copying = false;
        self.rows = 0;
        Ok(Flushed { token: serde_json::Value::Null, rows, bytes })
    }

    fn buffered_bytes(&self) -> usize {
        self.message.capacity()
    }
}
