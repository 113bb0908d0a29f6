//! Reads Parquet by row groups: local files with plain reads, others with the ranges of a row group fetched together.

use std::fs::File;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use weir_connect::Edge;
use weir_error::{Error, Kind, Result};

use crate::conform::Conform;
use crate::input::Input;
use crate::options::ReadOptions;
use crate::read::{DecodeStream, Decoded, FilePosition, FileSplit, Inferred, Layout};
use crate::text::{blocking, decode_on_thread};

pub(crate) fn failed(error: ParquetError) -> Error {
    // An error of the input comes back out as itself.
    let error = match error {
        ParquetError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => return *ours,
            Err(inner) => ParquetError::External(inner),
        },
        other => other,
    };
    Error::new("WEIR-FMT-004", Kind::Data, "the Parquet file is cut off or corrupted")
        .because(error)
        .hint("write or fetch the file again; a Parquet file that was not closed has no footer and cannot be read")
}

fn panicked() -> Error {
    Error::new("WEIR-FMT-006", Kind::Data, "the Parquet decoder gave up on this file")
        .hint("the file is most likely corrupted; check it with another tool, and report it if that can read it")
}

/// Random access for the Parquet crate.
struct Ranges(Arc<dyn Input>);

impl AsyncFileReader for Ranges {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        checked(self.0.clone(), range).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        let input = self.0.clone();
        async move {
            let pieces = ranges.into_iter().map(|range| checked(input.clone(), range));
            futures::future::try_join_all(pieces).await
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let size = self.0.size();
        async move {
            let reader =
                ParquetMetaDataReader::new().with_prefetch_hint(Some(64 << 10)).with_page_index_policy(PageIndexPolicy::Skip);
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

async fn checked(input: Arc<dyn Input>, range: Range<u64>) -> parquet::errors::Result<Bytes> {
    if range.start > range.end || range.end > input.size() {
        return Err(ParquetError::EOF(format!("bytes {}..{} lie outside the file", range.start, range.end)));
    }
    input.range(range).map_err(|error| ParquetError::External(Box::new(error))).await
}

/// Metadata with the schema that Weir reads the file in.
async fn metadata(input: &Arc<dyn Input>) -> Result<ArrowReaderMetadata> {
    if input.size() < 12 {
        return Err(failed(ParquetError::EOF(format!("{} bytes are no Parquet file", input.size()))));
    }
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
    let mut reader = Ranges(input.clone());
    let load = ArrowReaderMetadata::load_async(&mut reader, options);
    let found = AssertUnwindSafe(load).catch_unwind().await.map_err(|_| panicked())?.map_err(failed)?;
    agreeing_rows(found.metadata()).map_err(failed)?;
    coarser_int96(found)
}

/// The footer counts the rows three times: for the file, for each row group, and for each column of one. A row group whose
/// count was damaged would else be left out without a word.
fn agreeing_rows(found: &ParquetMetaData) -> parquet::errors::Result<()> {
    let announced = found.file_metadata().num_rows();
    let mut counted = 0i64;
    for (at, group) in found.row_groups().iter().enumerate() {
        let rows = group.num_rows();
        if rows < 0 {
            return Err(ParquetError::General(format!("row group {at} announces {rows} rows")));
        }
        let torn = group.columns().iter().find(|c| c.column_descr().max_rep_level() == 0 && c.num_values() != rows);
        if let Some(column) = torn {
            let (path, values) = (column.column_path(), column.num_values());
            return Err(ParquetError::General(format!(
                "row group {at} announces {rows} rows, its column {path} {values} values"
            )));
        }
        counted = counted.saturating_add(rows);
    }
    if counted != announced {
        return Err(ParquetError::General(format!("the footer announces {announced} rows, its row groups together {counted}")));
    }
    Ok(())
}

/// INT96 timestamps reach further than 64-bit nanoseconds: they are read as microseconds.
fn coarser_int96(found: ArrowReaderMetadata) -> Result<ArrowReaderMetadata> {
    let descriptor = found.metadata().file_metadata().schema_descr_ptr();
    let is_int96 = |name: &str| {
        descriptor
            .columns()
            .iter()
            .any(|column| column.physical_type() == PhysicalType::INT96 && column.path().parts() == [name.to_owned()])
    };
    if !found.schema().fields().iter().any(|field| is_int96(field.name())) {
        return Ok(found);
    }
    let fields: Vec<Field> = found
        .schema()
        .fields()
        .iter()
        .map(|field| match is_int96(field.name()) {
            true => field.as_ref().clone().with_data_type(DataType::Timestamp(TimeUnit::Microsecond, None)),
            false => field.as_ref().clone(),
        })
        .collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, found.schema().metadata().clone()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    ArrowReaderMetadata::try_new(found.metadata().clone(), options).map_err(failed)
}

fn has_int96(metadata: &ParquetMetaData, name: &str) -> bool {
    let columns = metadata.file_metadata().schema_descr().columns();
    columns.iter().any(|c| c.physical_type() == PhysicalType::INT96 && c.path().parts().first().is_some_and(|p| p == name))
}

pub(crate) async fn infer(input: &Arc<dyn Input>, options: &ReadOptions) -> Result<Inferred> {
    let found = metadata(input).await?;
    let rows: i64 = found.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).sum();
    let fields: Vec<Field> = found
        .schema()
        .fields()
        .iter()
        .map(|field| {
            let field = field.as_ref().clone();
            if has_int96(found.metadata(), field.name()) {
                let edge = Edge::Lossy { reason: "INT96 timestamps are read as microseconds; nanoseconds are cut off".into() };
                return edge.record(field, "INT96");
            }
            field
        })
        .collect();
    let schema = crate::inference::with_declared(Schema::new(fields), options.declared.as_ref(), input.name())?;
    Ok(Inferred {
        schema: Arc::new(schema),
        layout: Layout::SelfDescribing,
        rows_estimate: u64::try_from(rows).ok(),
        notes: Vec::new(),
    })
}

pub(crate) async fn plan_splits(input: &Arc<dyn Input>, target: u64) -> Result<Vec<FileSplit>> {
    let found = metadata(input).await?;
    let mut splits: Vec<FileSplit> = Vec::new();
    for (at, group) in found.metadata().row_groups().iter().enumerate() {
        let bytes = u64::try_from(group.compressed_size()).unwrap_or(0);
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        if rows == 0 {
            continue;
        }
        match splits.last_mut() {
            Some(last) if last.bytes + bytes <= target && last.end == at as u64 => {
                last.end = at as u64 + 1;
                last.bytes += bytes;
                last.rows = last.rows.map(|before| before + rows);
            }
            _ => splits.push(FileSplit {
                start: at as u64,
                end: at as u64 + 1,
                bytes,
                rows: Some(rows),
                layout: Layout::SelfDescribing,
            }),
        }
    }
    Ok(splits)
}

/// Rows per batch so that a batch stays near the wanted bytes.
pub(crate) fn rows_per_batch(bytes: u64, rows: u64, options: &ReadOptions) -> usize {
    let per_row = bytes.checked_div(rows).unwrap_or(1).max(1);
    let fitting = (options.batch_bytes.max(1) as u64 / per_row).max(1);
    usize::try_from(fitting).unwrap_or(usize::MAX).min(options.batch_rows.max(1))
}

pub(crate) async fn read(
    input: Arc<dyn Input>,
    split: &FileSplit,
    schema: SchemaRef,
    options: &ReadOptions,
    from: Option<FilePosition>,
) -> Result<DecodeStream> {
    let found = metadata(&input).await?;
    let groups: Vec<usize> = (split.start as usize..split.end as usize).collect();
    let all = found.metadata().row_groups();
    if groups.last().is_some_and(|last| *last >= all.len()) {
        return Err(Error::new("WEIR-FMT-005", Kind::Conflict, "the file has fewer row groups than when it was planned"));
    }
    let conform = Conform::new(found.schema(), schema, options.extra_columns)?;
    let (rows, bytes) = groups.iter().fold((0u64, 0u64), |(rows, bytes), at| {
        (rows + all[*at].num_rows().max(0) as u64, bytes + all[*at].total_byte_size().max(0) as u64)
    });
    let skip = match from {
        None => 0,
        Some(FilePosition::Records(records)) => records,
        Some(FilePosition::Byte { .. }) => return Err(Error::internal("a byte position in a Parquet file")),
    };
    let batch_rows = rows_per_batch(bytes, rows, options);
    let mask = ProjectionMask::roots(found.parquet_schema(), conform.needed.iter().copied());
    let mut account = Account { conform, rows, bytes: split.bytes, done: skip, name: input.name().to_owned() };

    if let Some(path) = input.local_path() {
        let path = path.to_owned();
        let reader = blocking(move || {
            let file = File::open(path)?;
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, found)
                .with_row_groups(groups)
                .with_projection(mask)
                .with_batch_size(batch_rows)
                .with_offset(skip as usize)
                .build()
                .map_err(failed)
        })
        .await?;
        return Ok(decode_on_thread(input.name().to_owned(), move |output| {
            for batch in reader {
                let batch = batch.map_err(|error| failed(ParquetError::ArrowError(error.to_string())))?;
                output.send(account.take(batch)?)?;
            }
            account.check()
        }));
    }
    let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(Ranges(input), found)
        .with_row_groups(groups)
        .with_projection(mask)
        .with_batch_size(batch_rows)
        .with_offset(skip as usize)
        .build()
        .map_err(failed)?;
    let guarded = AssertUnwindSafe(stream).catch_unwind().boxed();
    Ok(Box::pin(futures::stream::try_unfold((guarded, Some(account)), |(mut stream, account)| async move {
        let Some(mut account) = account else { return Ok(None) };
        match stream.next().await {
            Some(Err(_panic)) => Err(panicked().at(account.name.clone())),
            Some(Ok(Err(error))) => Err(failed(error).at(account.name.clone())),
            Some(Ok(Ok(batch))) => {
                let decoded = account.take(batch)?;
                Ok(Some((decoded, (stream, Some(account)))))
            }
            None => account.check().map(|()| None),
        }
    })))
}

/// Counts rows: for positions, for progress, and against the footer.
pub(crate) struct Account {
    pub(crate) conform: Conform,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) done: u64,
    pub(crate) name: String,
}

impl Account {
    pub(crate) fn take(&mut self, batch: RecordBatch) -> Result<Decoded> {
        let records = self.conform.apply(&batch).map_err(|error| error.at(self.name.clone()))?;
        let share = |rows: u64| (u128::from(self.bytes) * u128::from(rows) / u128::from(self.rows.max(1))) as u64;
        let before = share(self.done);
        let after = share(self.done + records.num_rows() as u64);
        self.done += records.num_rows() as u64;
        Ok(Decoded::Batch { records, source_bytes: after.saturating_sub(before), position: FilePosition::Records(self.done) })
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.done < self.rows {
            return Err(Error::new(
                "WEIR-FMT-004",
                Kind::Data,
                format!("the file announces {} rows but holds only {}", self.rows, self.done),
            )
            .at(self.name.clone()));
        }
        Ok(())
    }
}
