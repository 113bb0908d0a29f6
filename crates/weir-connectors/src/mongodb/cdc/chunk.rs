//! A piece of a snapshot: documents that wait for the stream to reach the moment after their reading. The proof is in the module above.

use std::collections::HashSet;

use mongodb::bson::Timestamp;
use tokio::time::Instant;
use weir_connect::Result;

use super::super::bson;
use super::super::client::Client;
use super::super::errors::shown;
use super::super::rows::ID;
use super::super::scan::{self, Bound, Scan};
use super::event::identity;

/// Bytes of a chunk at most, in memory until the stream has caught up with it.
const CHUNK_BYTES: usize = 16 << 20;

/// See the module.
pub struct Chunk {
    /// Which stream.
    pub stream: usize,
    /// The documents.
    pub documents: Vec<Vec<u8>>,
    /// The primary's time after the reading.
    pub until: Timestamp,
    /// When it was read.
    pub read_at: Instant,
    /// Its last key.
    pub after: Option<Bound>,
    /// There is nothing behind it.
    pub last: bool,
    touched: HashSet<String>,
}

impl Chunk {
    /// Reads the documents behind a key.
    pub async fn read(client: &Client, stream: usize, name: &str, after: Option<&Bound>, documents: u64) -> Result<Self> {
        let scan = Scan { ordered: true, from: after.cloned(), limit: Some(documents + 1), ..Scan::default() };
        let mut skip = after.map(|after| scan::bound_bytes(after)).transpose()?;
        let mut cursor = scan::open(client, name, &scan).await?;
        let (mut taken, mut bytes, mut last, mut met) = (Vec::new(), 0, true, 0);
        let mut bound = after.cloned();
        let place = format!("{}.{name}", client.place);
        while cursor.advance().await.map_err(|error| shown(error, &place))? {
            met += 1;
            let document = cursor.current().as_bytes();
            if skip.take().is_some_and(|skip| scan::is_bound(&skip, document)) {
                continue;
            }
            bytes += document.len();
            bound = Some(scan::bound_of(document).map_err(|error| scan::broken("a document has no readable key", error))?);
            taken.push(document.to_vec());
            if bytes >= CHUNK_BYTES {
                last = false;
                break;
            }
        }
        last &= met <= documents;
        let until = client.operation_time().await?;
        Ok(Self { stream, documents: taken, until, read_at: Instant::now(), after: bound, last, touched: HashSet::new() })
    }

    /// A change of this key was met: it wins.
    pub fn touch(&mut self, key: String) {
        self.touched.insert(key);
    }

    /// All of it is void: the collection was dropped.
    pub fn discard(&mut self) {
        self.documents.clear();
    }

    /// The documents that no change was met of.
    pub fn left(&mut self) -> Vec<Vec<u8>> {
        let touched = std::mem::take(&mut self.touched);
        let mut documents = std::mem::take(&mut self.documents);
        documents.retain(|document| match bson::get(document, ID) {
            Ok(Some(id)) => identity(id).is_ok_and(|key| !touched.contains(&key)),
            _ => true,
        });
        documents
    }
}
