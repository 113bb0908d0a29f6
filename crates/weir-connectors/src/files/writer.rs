//! One lane: batches → folders → encoders → staged files. Memory is bounded by waiting for files on their way out and by
//! closing the largest one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use weir_connect::{Barrier, Flushed, StreamWriter, failpoint};
use weir_error::{Error, Kind, Result};
use weir_formats::{Encoder, encoder};

use super::manifest::fingerprint;
use super::partition::{Partitioner, Values};
use super::schema::fit;
use super::sink::Shared;
use super::storage::{Staged, StagedWriter, StagingArea, join};

/// Small slices of many partitions are collected to this many rows before they are encoded.
const ENCODE_ROWS: usize = 4096;
/// Or to this many bytes.
const ENCODE_BYTES: usize = 4 << 20;
/// Files on their way to the disk or bucket at once, per lane.
const CLOSING: usize = 4;

/// What a flush made durable: the commit token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub v: u32,
    pub files: Vec<TokenFile>,
}

/// One staged file of a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TokenFile {
    pub staged: Staged,
    pub rows: u64,
    pub partition: BTreeMap<String, Option<String>>,
    pub schema: String,
}

impl Token {
    /// Reads receipts back. `Null` is the receipt of an empty flush.
    pub(crate) fn files_of(tokens: &[serde_json::Value]) -> Result<Vec<TokenFile>> {
        let mut files = vec![];
        for token in tokens.iter().filter(|token| !token.is_null()) {
            let token = Token::deserialize(token).ok().filter(|token| token.v == 1).ok_or_else(|| {
                Error::new("WEIR-FILE-060", Kind::Internal, "a checkpoint holds a token that this version does not know")
                    .hint("finish the run with the version of Weir that began it, or reset its state")
            })?;
            files.extend(token.files);
        }
        Ok(files)
    }
}

struct OpenFile {
    values: Values,
    encoder: Box<dyn Encoder>,
    staged: Box<dyn StagedWriter>,
    rows: u64,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    pending_bytes: usize,
}

impl OpenFile {
    async fn encode(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        (self.pending_rows, self.pending_bytes) = (0, 0);
        match pending.as_slice() {
            [] => {}
            [one] => self.encoder.write(one)?,
            [first, ..] => {
                let whole = concat_batches(&first.schema(), &pending).map_err(|error| Error::internal(error.to_string()))?;
                self.encoder.write(&whole)?;
            }
        }
        for bytes in self.encoder.drain() {
            self.staged.write(bytes).await?;
        }
        Ok(())
    }

    fn buffered(&self) -> usize {
        self.encoder.buffered() + self.staged.buffered() + self.pending_bytes
    }
}

/// A finished file on its way out, and the bytes that it still holds at most.
struct Closing {
    bytes: usize,
    task: JoinHandle<Result<TokenFile>>,
}

/// See [`StreamWriter`].
pub(crate) struct LaneWriter {
    shared: Arc<Shared>,
    schema: SchemaRef,
    partitioner: Partitioner,
    /// Files get a visible name, else one in `ready`, in the order of the rows and not divided: the commit makes the
    /// visible files out of them and must know which row came last.
    visible: bool,
    /// Batches are small, and wait for each other also without partitions.
    collects: bool,
    label: String,
    area: Arc<dyn StagingArea>,
    sequence: u64,
    open: HashMap<String, OpenFile>,
    closing: VecDeque<Closing>,
    closed: Vec<TokenFile>,
}

impl LaneWriter {
    pub(crate) async fn new(shared: Arc<Shared>, lane: usize) -> Result<Self> {
        let area = shared.dataset.storage.staging(&shared.staging, &format!("{}-{lane}", shared.nonce)).await?;
        let visible = !shared.rewrites();
        let partitioner = if visible { shared.partitioner.clone() } else { Partitioner::default() };
        let schema = shared.contract.write.clone();
        let label = format!("{}-{lane}", shared.nonce);
        Ok(Self {
            shared,
            schema,
            partitioner,
            visible,
            collects: false,
            label,
            area,
            sequence: 0,
            open: HashMap::new(),
            closing: VecDeque::new(),
            closed: vec![],
        })
    }

    /// A writer for batches of few rows.
    pub(crate) async fn collecting(shared: Arc<Shared>) -> Result<Self> {
        let mut writer = Self::new(shared, 0).await?;
        writer.collects = true;
        Ok(writer)
    }

    /// A writer for the commit: rows in the dataset's schema, files with visible names.
    pub(crate) fn compacting(shared: Arc<Shared>, area: Arc<dyn StagingArea>) -> Result<Self> {
        let schema = shared.contract.dataset.clone();
        let partitioner = Partitioner::new(&shared.partition_by, &schema, shared.cursor.as_deref(), shared.started)?;
        let label = format!("{:08x}-0", rand::random::<u32>());
        Ok(Self {
            shared,
            schema,
            partitioner,
            visible: true,
            collects: false,
            label,
            area,
            sequence: 0,
            open: HashMap::new(),
            closing: VecDeque::new(),
            closed: vec![],
        })
    }

    /// Takes rows that go back to the folder they came from, or to the one that their values say.
    pub(crate) async fn rewrite(
        &mut self,
        partition: Option<&BTreeMap<String, Option<String>>>,
        batch: RecordBatch,
    ) -> Result<()> {
        let names = self.partitioner.names();
        match partition
            .filter(|partition| partition.len() == names.len() && names.iter().all(|name| partition.contains_key(name)))
        {
            Some(partition) if batch.num_rows() > 0 => {
                let values = names.iter().map(|name| partition.get(name).cloned().flatten()).collect();
                let bytes = batch.get_array_memory_size();
                self.take(values, batch, bytes, false).await?;
                self.shrink().await
            }
            _ => self.write(batch).await,
        }
    }

    /// A file was full, or had to make room.
    pub(crate) fn has_closed(&self) -> bool {
        !self.closing.is_empty() || !self.closed.is_empty()
    }

    /// The files, all durable.
    pub(crate) async fn finish(mut self) -> Result<Vec<TokenFile>> {
        self.close_all().await?;
        self.area.seal().await?;
        Ok(std::mem::take(&mut self.closed))
    }

    async fn close_all(&mut self) -> Result<()> {
        let mut folders: Vec<String> = self.open.keys().cloned().collect();
        folders.sort();
        for folder in folders {
            self.close(&folder).await?;
        }
        while self.closed_one().await? {}
        Ok(())
    }

    /// Waits for the file that has been closing for longest; false when there is none.
    async fn closed_one(&mut self) -> Result<bool> {
        let Some(Closing { task, .. }) = self.closing.pop_front() else { return Ok(false) };
        self.closed.push(joined(task.await)?);
        Ok(true)
    }

    async fn shrink(&mut self) -> Result<()> {
        while self.buffered_bytes() > self.shared.max_buffer_bytes {
            if !self.closed_one().await? {
                if self.open.len() < 2 {
                    break;
                }
                self.close_largest().await?;
            }
        }
        Ok(())
    }

    async fn open(&mut self, folder: &str, values: Values) -> Result<()> {
        if self.open.len() >= self.shared.max_open_files {
            self.close_largest().await?;
        }
        self.sequence += 1;
        let name = self.shared.file_name(&self.label, self.sequence);
        let path = if !self.visible {
            join(&join(&self.shared.staging, "ready"), &format!("{name}.staged"))
        } else {
            join(&join(&self.shared.dataset.folder, folder), &name)
        };
        let mut write = self.shared.write.clone();
        if self.shared.dataset.single.is_some() {
            // The commit writes the header of the one file.
            write.csv.header = false;
        }
        let staged = self.area.create(&format!("{:05}", self.sequence), &path).await?;
        let encoder = encoder(self.schema.clone(), &write)?;
        let file = OpenFile { values, encoder, staged, rows: 0, pending: vec![], pending_rows: 0, pending_bytes: 0 };
        self.open.insert(folder.to_owned(), file);
        Ok(())
    }

    async fn close_largest(&mut self) -> Result<()> {
        let largest = self.open.iter().max_by_key(|(_, file)| file.buffered()).map(|(folder, _)| folder.clone());
        match largest {
            Some(folder) => self.close(&folder).await,
            None => Ok(()),
        }
    }

    async fn close(&mut self, folder: &str) -> Result<()> {
        let Some(mut file) = self.open.remove(folder) else { return Ok(()) };
        file.encode().await?;
        if self.closing.len() >= CLOSING {
            self.closed_one().await?;
        }
        let partition = self.partitioner.named(&file.values);
        let schema = fingerprint(&self.schema);
        let OpenFile { encoder, mut staged, rows, .. } = file;
        let rest = encoder.finish()?;
        let bytes = staged.buffered() + rest.iter().map(Bytes::len).sum::<usize>();
        let task = tokio::spawn(async move {
            for bytes in rest {
                staged.write(bytes).await?;
            }
            Ok(TokenFile { staged: staged.finish().await?, rows, partition, schema })
        });
        self.closing.push_back(Closing { bytes, task });
        Ok(())
    }

    async fn take(&mut self, values: Values, part: RecordBatch, bytes: usize, alone: bool) -> Result<()> {
        let folder = self.partitioner.folder(&values);
        if !self.open.contains_key(&folder) {
            self.open(&folder, values).await?;
        }
        let Some(file) = self.open.get_mut(&folder) else { return Err(Error::internal("a file that was just opened is gone")) };
        file.rows += part.num_rows() as u64;
        file.pending_rows += part.num_rows();
        file.pending_bytes += bytes;
        file.pending.push(part);
        if alone || file.pending_rows >= ENCODE_ROWS || file.pending_bytes >= ENCODE_BYTES {
            file.encode().await?;
        }
        if file.encoder.estimated_bytes() >= self.shared.target_file_bytes {
            self.close(&folder).await?;
        }
        Ok(())
    }
}

/// What the rows take, where many batches share one buffer.
fn sliced_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.map_err(|error| if error.is_cancelled() { Error::cancelled() } else { Error::internal(error.to_string()) })?
}

#[async_trait]
impl StreamWriter for LaneWriter {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        let batch = fit(&batch, &self.schema)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.partitioner.is_empty() {
            let bytes = if self.collects { sliced_bytes(&batch) } else { 0 };
            self.take(vec![], batch, bytes, !self.collects).await?;
        } else {
            let parts = self.partitioner.divide(&batch)?;
            let alone = parts.len() == 1 && !self.collects;
            let row_bytes = batch.get_array_memory_size() / batch.num_rows() + 1;
            for (values, part) in parts {
                let bytes = part.num_rows() * row_bytes;
                self.take(values, part, bytes, alone).await?;
            }
        }
        self.shrink().await
    }

    async fn flush(&mut self, _barrier: &Barrier) -> Result<Flushed> {
        failpoint!("files.flush.before");
        self.close_all().await?;
        let files = std::mem::take(&mut self.closed);
        if files.is_empty() {
            return Ok(Flushed { token: serde_json::Value::Null, rows: 0, bytes: 0 });
        }
        self.area.seal().await?;
        failpoint!("files.flush.after");
        let (rows, bytes) = files.iter().fold((0, 0), |(rows, bytes), file| (rows + file.rows, bytes + file.staged.bytes));
        let token = serde_json::to_value(Token { v: 1, files }).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Flushed { token, rows, bytes })
    }

    fn buffered_bytes(&self) -> usize {
        let closing = self.closing.iter().filter(|file| !file.task.is_finished()).map(|file| file.bytes);
        self.open.values().map(OpenFile::buffered).chain(closing).sum()
    }
}

impl Drop for LaneWriter {
    fn drop(&mut self) {
        for file in self.closing.drain(..) {
            file.task.abort();
        }
    }
}
