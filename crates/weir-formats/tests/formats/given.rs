//! Files for the tests and what comes out of them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use weir_connect::DeadLetter;
use weir_error::Result;
use weir_formats::{
    Decoded, FilePosition, FileSplit, Format, Inferred, Input, MemoryInput, ReadOptions, WriteOptions, encoder, infer_schema,
    plan_splits, read,
};

/// A file on disk, as the `file` connector hands it in.
pub struct Local {
    path: PathBuf,
    name: String,
    _dir: tempfile::TempDir,
}

impl Local {
    pub fn holding(name: &str, bytes: &[u8]) -> Arc<dyn Input> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Arc::new(Self { path, name: name.into(), _dir: dir })
    }
}

#[async_trait]
impl Input for Local {
    fn name(&self) -> &str {
        &self.name
    }
    fn size(&self) -> u64 {
        std::fs::metadata(&self.path).unwrap().len()
    }
    async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = std::fs::read(&self.path)?;
        Ok(Bytes::from(bytes).slice(range.start as usize..range.end as usize))
    }
    fn local_path(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

/// The same bytes as a local and as a remote file.
pub fn both(name: &str, bytes: &[u8]) -> [Arc<dyn Input>; 2] {
    [Local::holding(name, bytes), Arc::new(MemoryInput::new(name, bytes.to_vec()))]
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Everything that a read gave.
#[derive(Debug)]
pub struct Read {
    pub batches: Vec<(RecordBatch, FilePosition)>,
    pub dead: Vec<DeadLetter>,
    pub source_bytes: u64,
}

impl Read {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(|b| b.0.num_rows()).sum()
    }

    pub fn table(&self, schema: &SchemaRef) -> RecordBatch {
        concat_batches(schema, self.batches.iter().map(|b| &b.0)).unwrap()
    }
}

pub async fn read_split(
    input: &Arc<dyn Input>,
    split: &FileSplit,
    schema: &SchemaRef,
    options: &ReadOptions,
    from: Option<FilePosition>,
) -> Result<Read> {
    let mut stream = read(input.clone(), split, schema.clone(), options, from).await?;
    let mut found = Read { batches: Vec::new(), dead: Vec::new(), source_bytes: 0 };
    while let Some(decoded) = stream.next().await {
        match decoded? {
            Decoded::Batch { records, source_bytes, position } => {
                assert_eq!(records.schema(), *schema);
                assert!(records.num_rows() > 0);
                found.source_bytes += source_bytes;
                found.batches.push((records, position));
            }
            Decoded::Dead(letter) => found.dead.push(letter),
        }
    }
    Ok(found)
}

pub async fn read_all(input: &Arc<dyn Input>, options: &ReadOptions, target: u64) -> Result<(Inferred, Read)> {
    let inferred = infer_schema(input, options).await?;
    let schema = inferred.schema.clone();
    let read = read_with(input, options, &inferred, &schema, target).await?;
    Ok((inferred, read))
}

pub async fn read_with(
    input: &Arc<dyn Input>,
    options: &ReadOptions,
    inferred: &Inferred,
    schema: &SchemaRef,
    target: u64,
) -> Result<Read> {
    let mut all = Read { batches: Vec::new(), dead: Vec::new(), source_bytes: 0 };
    for split in plan_splits(input, options, inferred, target).await? {
        let text = serde_json::to_string(&split).unwrap();
        assert_eq!(serde_json::from_str::<FileSplit>(&text).unwrap(), split);
        let part = read_split(input, &split, schema, options, None).await?;
        all.batches.extend(part.batches);
        all.dead.extend(part.dead);
        all.source_bytes += part.source_bytes;
    }
    Ok(all)
}

/// A file with these batches.
pub fn written(batches: &[RecordBatch], options: &WriteOptions) -> Result<Vec<u8>> {
    let mut encoder = encoder(batches[0].schema(), options)?;
    let mut out = Vec::new();
    for batch in batches {
        encoder.write(batch)?;
        out.extend(encoder.drain().iter().flat_map(|b| b.to_vec()));
    }
    assert_eq!(encoder.rows(), batches.iter().map(|b| b.num_rows() as u64).sum::<u64>());
    out.extend(encoder.finish()?.iter().flat_map(|b| b.to_vec()));
    Ok(out)
}

/// Rows as texts, NULL as `∅`.
pub fn shown(batch: &RecordBatch) -> Vec<String> {
    let options = arrow::util::display::FormatOptions::default().with_null("∅");
    let columns: Vec<_> =
        batch.columns().iter().map(|c| arrow::util::display::ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|")).collect()
}

/// Types, rows and dead letters of a text.
pub fn look(name: &str, bytes: &[u8], options: &ReadOptions) -> Result<(String, Vec<String>, Vec<String>)> {
    let mut results = Vec::new();
    for input in both(name, bytes) {
        results.push(run(async {
            let (inferred, read) = read_all(&input, options, u64::MAX).await?;
            let types: Vec<String> = inferred.schema.fields().iter().map(|f| format!("{}:{}", f.name(), f.data_type())).collect();
            let dead = read.dead.iter().map(|d| format!("{} {} {}", d.code, d.place, d.reason)).collect::<Vec<_>>();
            Ok::<_, weir_error::Error>((types.join(" "), shown(&read.table(&inferred.schema)), dead))
        })?);
    }
    assert_eq!(results[0], results[1], "local and remote differ");
    Ok(results.remove(0))
}

pub fn csv() -> ReadOptions {
    ReadOptions::new(Format::Csv)
}
