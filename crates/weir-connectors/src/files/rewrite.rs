//! Commits that make new files out of what the lanes wrote: one single file, and upsert by compaction.
//!
//! Both read files that are complete but hidden (`ready`), and stage their outputs; showing them is the commit's business.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use weir_error::{Error, Kind, Result};
use weir_formats::{
    Compression, DecodeStream, Decoded, ExtraColumns, Format, ReadOptions, encoder, infer_schema, plan_splits, read,
};

use super::local::lost;
use super::manifest::{Manifest, fingerprint};
use super::sink::Shared;
use super::storage::{FileMeta, StagedWriter, StagingArea, join};
use super::writer::{LaneWriter, TokenFile};

/// Bytes copied at a time.
const COPY_BYTES: u64 = 8 << 20;

/// The rows of one of our own files, in a given schema.
pub(crate) async fn rows(shared: &Shared, file: &FileMeta, schema: &SchemaRef) -> Result<DecodeStream> {
    let input = shared.dataset.storage.open(file).await?;
    let mut options = ReadOptions::new(shared.write.format);
    options.compression = match shared.write.resolved_compression()? {
        compression if shared.write.format.is_text() => compression,
        _ => Compression::Auto,
    };
    options.extra_columns = ExtraColumns::Ignore;
    // Of other files the footer says it; and an older one may lack a column.
    options.declared = shared.write.format.is_text().then(|| shared.contract.dataset.clone());
    let inferred = infer_schema(&input, &options).await?;
    let splits = plan_splits(&input, &options, &inferred, u64::MAX).await?;
    let schema = schema.clone();
    let streams = futures::stream::iter(splits).then(move |split| {
        let (input, schema, options) = (input.clone(), schema.clone(), options.clone());
        async move { read(input, &split, schema, &options, None).await }
    });
    Ok(Box::pin(streams.try_flatten()))
}

pub(crate) fn batch_of(decoded: Decoded, file: &FileMeta) -> Result<RecordBatch> {
    match decoded {
        Decoded::Batch { records, .. } => Ok(records),
        Decoded::Dead(letter) => {
            Err(Error::new("WEIR-FILE-070", Kind::Data, "a row of a file that Weir wrote cannot be read back")
                .at(file.path.clone())
                .because(letter.reason))
        }
    }
}

pub(crate) async fn found(shared: &Shared, path: &str) -> Result<FileMeta> {
    shared.dataset.storage.head(path).await?.ok_or_else(|| lost(&shared.dataset.storage.show(path)))
}

async fn area(shared: &Shared) -> Result<Arc<dyn StagingArea>> {
    let lane = format!("{}-commit-{:08x}", shared.nonce, rand::random::<u32>());
    shared.dataset.storage.staging(&shared.staging, &lane).await
}

/// Everything that the lanes wrote as one file, after what is in the file already with `append`.
pub(crate) async fn single(shared: &Shared, path: &str, files: &[TokenFile]) -> Result<TokenFile> {
    let storage = shared.dataset.storage.as_ref();
    let before = match shared.mode {
        weir_connect::WriteMode::Append => storage.head(path).await?.filter(|file| file.size > 0),
        _ => None,
    };
    let mut parts = vec![];
    for file in files {
        parts.push(found(shared, &file.staged.path).await?);
    }
    let area = area(shared).await?;
    let mut output = area.create("single", path).await?;
    if matches!(shared.write.format, Format::Csv | Format::Tsv | Format::Ndjson) {
        let header = encoder(shared.contract.write.clone(), &shared.write)?.finish()?.concat();
        match &before {
            Some(before) => append_to_text(shared, output.as_mut(), before, &header).await?,
            None => output.write(Bytes::from(header)).await?,
        }
        for part in &parts {
            copy(shared, output.as_mut(), part).await?;
        }
    } else {
        let schema = &shared.contract.dataset;
        let mut encoder = encoder(schema.clone(), &shared.write)?;
        for file in before.iter().chain(&parts) {
            let mut rows = rows(shared, file, schema).await?;
            while let Some(decoded) = rows.try_next().await? {
                encoder.write(&batch_of(decoded, file)?)?;
                for bytes in encoder.drain() {
                    output.write(bytes).await?;
                }
            }
        }
        for bytes in encoder.finish()? {
            output.write(bytes).await?;
        }
    }
    let staged = output.finish().await?;
    area.seal().await?;
    let rows = files.iter().map(|file| file.rows).sum();
    Ok(TokenFile { staged, rows, partition: Default::default(), schema: fingerprint(&shared.contract.write) })
}

/// Copies what is there, after making sure that the new rows mean the same columns.
async fn append_to_text(shared: &Shared, output: &mut dyn StagedWriter, before: &FileMeta, header: &[u8]) -> Result<()> {
    let input = shared.dataset.storage.open(before).await?;
    let head = input.range(0..before.size.min(header.len() as u64)).await?;
    if head.as_ref() != header {
        return Err(Error::new("WEIR-FILE-071", Kind::Schema, "the file that is to be appended to begins with another header")
            .at(shared.dataset.storage.show(&before.path))
            .hint("use write_mode: overwrite, or another path"));
    }
    copy(shared, output, before).await?;
    if shared.write.resolved_compression()? == Compression::None {
        let last = input.range(before.size - 1..before.size).await?;
        if last.as_ref() != b"\n" {
            output.write(Bytes::from_static(b"\n")).await?;
        }
    }
    Ok(())
}

async fn copy(shared: &Shared, output: &mut dyn StagedWriter, file: &FileMeta) -> Result<()> {
    let input = shared.dataset.storage.open(file).await?;
    let mut at = 0;
    while at < file.size {
        let end = (at + COPY_BYTES).min(file.size);
        output.write(input.range(at..end).await?).await?;
        at = end;
    }
    Ok(())
}

/// Rows by key, as comparable bytes.
struct Keys {
    converter: RowConverter,
    schema: SchemaRef,
}

impl Keys {
    fn new(shared: &Shared) -> Result<Self> {
        let mut fields = vec![];
        for name in &shared.key {
            let (_, field) = shared.contract.dataset.column_with_name(name).ok_or_else(|| {
                Error::new("WEIR-FILE-053", Kind::Spec, format!("the key column `{name}` is not in the dataset"))
            })?;
            fields.push(Arc::new(field.clone()));
        }
        let sort = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(sort)
            .map_err(|error| Error::new("WEIR-FILE-072", Kind::Unsupported, "these columns cannot be a key").because(error))?;
        Ok(Self { converter, schema: Arc::new(Schema::new(fields)) })
    }

    fn of(&self, batch: &RecordBatch) -> Result<arrow::row::Rows> {
        let columns: Vec<ArrayRef> =
            self.schema.fields().iter().filter_map(|field| batch.column_by_name(field.name()).cloned()).collect();
        self.converter.convert_columns(&columns).map_err(|error| Error::internal(error.to_string()))
    }
}

/// Rewrites the live files that hold a key of the new rows, without those rows, together with the new rows: of several
/// with one key the last. Gives the new files and the ones that they replace.
///
/// Memory: the keys of the run, plus the writers' buffers.
pub(crate) async fn upsert(
    shared: &Arc<Shared>,
    manifest: &Manifest,
    files: &[TokenFile],
) -> Result<(Vec<TokenFile>, Vec<String>)> {
    let keys = Keys::new(shared)?;
    let mut ready = vec![];
    for file in files {
        ready.push(found(shared, &file.staged.path).await?);
    }
    // Which row has the last word on a key, counted over all new files.
    let mut last: HashMap<Box<[u8]>, u64> = HashMap::new();
    let mut count = 0u64;
    for file in &ready {
        let mut rows = rows(shared, file, &keys.schema).await?;
        while let Some(decoded) = rows.try_next().await? {
            for key in keys.of(&batch_of(decoded, file)?)?.iter() {
                last.insert(key.as_ref().into(), count);
                count += 1;
            }
        }
    }
    let mut writer = LaneWriter::compacting(shared.clone(), area(shared).await?)?;
    let mut replaced = vec![];
    if !last.is_empty() {
        for live in &manifest.files {
            let path = join(&shared.dataset.folder, live.place());
            let file = found(shared, &path).await?;
            if !holds_any(shared, &keys, &file, &last).await? {
                continue;
            }
            let mut rows = rows(shared, &file, &shared.contract.dataset).await?;
            while let Some(decoded) = rows.try_next().await? {
                let batch = batch_of(decoded, &file)?;
                let found = keys.of(&batch)?;
                let stays: BooleanArray = found.iter().map(|key| Some(!last.contains_key(key.as_ref()))).collect();
                writer.rewrite(Some(&live.partition), filtered(&batch, &stays)?).await?;
            }
            replaced.push(live.path.clone());
        }
    }
    let mut at = 0u64;
    for file in &ready {
        let mut rows = rows(shared, file, &shared.contract.dataset).await?;
        while let Some(decoded) = rows.try_next().await? {
            let batch = batch_of(decoded, file)?;
            let found = keys.of(&batch)?;
            let wins: BooleanArray = found
                .iter()
                .map(|key| {
                    at += 1;
                    Some(last.get(key.as_ref()) == Some(&(at - 1)))
                })
                .collect();
            writer.rewrite(None, filtered(&batch, &wins)?).await?;
        }
    }
    Ok((writer.finish().await?, replaced))
}

fn filtered(batch: &RecordBatch, keep: &BooleanArray) -> Result<RecordBatch> {
    filter_record_batch(batch, keep).map_err(|error| Error::internal(error.to_string()))
}

async fn holds_any(shared: &Shared, keys: &Keys, file: &FileMeta, last: &HashMap<Box<[u8]>, u64>) -> Result<bool> {
    let mut rows = rows(shared, file, &keys.schema).await?;
    while let Some(decoded) = rows.try_next().await? {
        if keys.of(&batch_of(decoded, file)?)?.iter().any(|key| last.contains_key(key.as_ref())) {
            return Ok(true);
        }
    }
    Ok(false)
}
