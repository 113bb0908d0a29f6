//! Messages on their way from a socket to the disk.

use weir_connect::Result;

use super::FULL;
use super::frame::Record;
use super::queue::Queue;

/// Messages that came and are not on the disk yet.
#[derive(Default)]
pub(crate) struct Gathered {
    records: Vec<Record>,
    bytes: usize,
}

impl Gathered {
    /// Bytes that are gathered at most, while more are there at once.
    const ENOUGH: usize = 1 << 20;

    /// One more.
    pub fn push(&mut self, record: Record) {
        self.bytes += record.size();
        self.records.push(record);
    }

    /// Whether they should be stored before more is taken.
    pub fn is_enough(&self) -> bool {
        self.bytes >= Self::ENOUGH
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Puts them on the disk, in order. While the inbox is full this waits, and the socket is not read: so the peer is slowed down.
    pub async fn store(&mut self, queue: &Queue) -> Result<()> {
        let max = queue.max_append();
        while !self.records.is_empty() {
            let mut size = 0;
            let fits = self.records.iter().take_while(|record| {
                size += record.size();
                size <= max
            });
            // One that is too large by itself is refused by the inbox.
            let count = fits.count().max(1);
            match queue.append(&self.records[..count]).await {
                Ok(_) => drop(self.records.drain(..count)),
                Err(error) if error.code() == FULL => queue.room().await,
                Err(error) => return Err(error),
            }
        }
        self.bytes = 0;
        Ok(())
    }
}
