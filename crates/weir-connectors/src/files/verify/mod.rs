//! Comparing what is in folders: this system's part of `weir verify` (see `weir_connect::verify`). Rows are read by this connector's own reader.
//!
//! * this file: where a stream's files are, and how far a log has got in them;
//! * [`state`]: the rows that changes amount to, where every change is a row (`write_mode: append` of a log). Where the files hold rows
//!   (batch pipelines, and changes that are applied) the reader gives what is to be compared.
//!
//! * [`mend`]: rows that differ are made equal.

mod mend;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use serde_json::Value;
use weir_connect::verify::read::Read;
use weir_connect::verify::{Comparison, Mend, VerifiableTarget, VerifyRows, VerifySink, VerifyStream};
use weir_connect::{
    DeleteMode, EventStream, Position, ReadRequest, ResumeVerdict, Source, SourceCapabilities, Split, StreamInfo, StreamReader,
    WriteMode,
};
use weir_error::{Error, Kind, Result};
use weir_formats::Format;

use self::mend::Mending;
use self::state::Changes;
use super::config::FileSource;
use super::manifest::Manifest;
use super::sink::{Dataset, FilesSink, Shared};
use super::source::FilesSource;

/// The mark of soft deletes.
const DELETED: &str = "_deleted";

/// The files of one stream.
struct Lake {
    files: FilesSource,
    dataset: Dataset,
    /// While there is no file yet.
    schema: SchemaRef,
}

/// A reader of nothing.
struct Nothing(SchemaRef);

fn is_empty(error: &Error) -> bool {
    error.code() == "WEIR-FILE-080"
}

impl Lake {
    async fn manifest(&self) -> Result<Option<Manifest>> {
        Ok(Manifest::load(self.dataset.storage.as_ref(), &self.dataset.hidden).await?.map(|(manifest, _)| manifest))
    }

    /// The only stream.
    async fn info(&self) -> Result<Option<StreamInfo>> {
        match self.files.streams().await {
            Ok(streams) => Ok(streams.into_iter().next()),
            Err(error) if is_empty(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Source for Lake {
    fn capabilities(&self) -> SourceCapabilities {
        self.files.capabilities()
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        Ok(self.info().await?.into_iter().collect())
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        match self.files.open(request).await {
            Err(error) if is_empty(&error) => Ok(Box::new(Nothing(self.schema.clone()))),
            opened => opened,
        }
    }
}

#[async_trait]
impl StreamReader for Nothing {
    fn schema(&self) -> SchemaRef {
        self.0.clone()
    }

    fn splits(&self) -> Vec<Split> {
        Vec::new()
    }

    fn verdict(&self) -> ResumeVerdict {
        ResumeVerdict::Fresh
    }

    fn state(&self) -> Value {
        Value::Null
    }

    async fn read(&self, _split: &Split, _from: Option<Position>) -> Result<EventStream> {
        Ok(Box::pin(futures::stream::empty()))
    }
}

/// What the manifest says of the pipeline that writes.
struct Written {
    lake: Arc<Lake>,
    /// Pipeline, node and stream.
    writer: String,
    /// What writes into the files beside it.
    beside: Shared,
    /// It writes changes.
    changes: bool,
    deletes: DeleteMode,
}

#[async_trait]
impl VerifyRows for Written {
    async fn progress(&self, _pipeline: &str) -> Result<Vec<Value>> {
        let manifest = self.lake.manifest().await?.unwrap_or_default();
        let record = manifest.logs.into_iter().find(|record| record.writer == self.writer);
        Ok(record.into_iter().flat_map(|record| record.progress).filter_map(|part| part.position).collect())
    }

    async fn hold(&self, _pipeline: &str, comparison: &Comparison) -> Result<Box<dyn Mend>> {
        Ok(Box::new(Mending::begin(self, comparison).await?))
    }
}

#[async_trait]
impl VerifiableTarget for FilesSink {
    async fn verify_sink(&self, of: &VerifyStream) -> Result<Arc<dyn VerifySink>> {
        let told = self.told(of)?;
        let refused = |what: &str, why: &str| {
            Error::new("WEIR-FILE-121", Kind::Unsupported, what.to_owned()).at(told.dataset.place.clone()).because(why.to_owned())
        };
        if told.messages {
            return Err(refused(
                "messages are not compared with rows",
                "each of these files tells of a change, for others to apply",
            ));
        }
        if !matches!(told.format, Format::Parquet | Format::Avro | Format::Orc) {
            return Err(refused(
                "text files are not compared",
                "they do not keep the types of their columns: an empty text and NULL may be written alike",
            )
            .hint("parquet, avro and orc can be compared"));
        }
        if told.dated {
            return Err(refused("a folder per day has no state of its own", "the path has {date}")
                .hint("compare a pipeline that writes into one folder"));
        }
        let options = FileSource {
            path: Some(told.path),
            stream: Some(of.stream.clone()),
            format: Some(told.format),
            // What Weir writes has every column in the files.
            partitioned: Some(false),
            ..FileSource::default()
        };
        let files = FilesSource::new(told.connection, options)?;
        let bare: Vec<_> = of.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        let lake = Arc::new(Lake { files, dataset: told.dataset.clone(), schema: Arc::new(Schema::new(bare)) });
        let info = lake.info().await?;
        let rows = info.as_ref().and_then(|info| info.estimated_rows);
        let schema = info.map_or_else(|| lake.schema.clone(), |info| info.schema);
        let writer = format!("{}.{}.{}", of.pipeline, told.node, of.stream);
        let written = Written { lake: lake.clone(), writer, beside: told.beside, changes: of.changes, deletes: of.deletes };
        if of.changes && of.write_mode == WriteMode::Append {
            return Ok(Arc::new(Changes::new(lake, written, of, &schema, rows)?));
        }
        let mark = (of.deletes == DeleteMode::Soft).then_some(DELETED);
        Ok(Arc::new(Read::new(lake, &of.stream, told.dataset.place, schema, rows).with(Arc::new(written)).without(mark)))
    }
}
