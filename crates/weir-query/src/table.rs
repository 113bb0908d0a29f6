//! Any source stream as a table. The view is fixed when a query is planned; every scan of one query sees its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::{StreamExt, TryStreamExt};
use weir_connect::{Event, ReadRequest, Result, Source, Split, StreamInfo, StreamReader};

/// Counts records that could not be decoded: a query says so instead of hiding them.
#[derive(Debug, Default)]
pub struct Broken(AtomicU64);

impl Broken {
    /// How many so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream of a source as a DataFusion table.
pub struct SourceTable {
    source: Arc<dyn Source>,
    stream: StreamInfo,
    schema: SchemaRef,
    parallelism: usize,
    broken: Arc<Broken>,
}

impl SourceTable {
    /// A table over `stream` of `source`, scanned by up to `parallelism` partitions.
    pub fn new(source: Arc<dyn Source>, stream: StreamInfo, parallelism: usize, broken: Arc<Broken>) -> Self {
        let schema = bare(&stream.schema);
        Self { source, stream, schema, parallelism: parallelism.max(1), broken }
    }
}

/// The columns without what their sources say of them beside name and type: DataFusion's planners do not agree on it where columns of two sources
/// meet (a UNION of a column that cannot be NULL), and refuse the query.
fn bare(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<Field> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_metadata(Default::default())).collect();
    Arc::new(Schema::new(fields))
}

fn barely(batch: &RecordBatch, schema: &SchemaRef) -> datafusion::error::Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)?)
}

impl fmt::Debug for SourceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceTable({})", self.stream.name)
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let full = self.schema.clone();
        let wanted: Option<Vec<String>> =
            projection.map(|columns| columns.iter().map(|&index| full.field(index).name().clone()).collect());
        let request = ReadRequest {
            stream: self.stream.name.clone(),
            parallelism: self.parallelism,
            // A reader may take an empty list for "no columns at all"; counting needs the rows.
            columns: wanted.clone().filter(|columns| !columns.is_empty()),
            limit: limit.map(|rows| rows as u64),
            ..ReadRequest::default()
        };
        let reader: Arc<dyn StreamReader> = Arc::from(self.source.open(request).await.map_err(external)?);
        let given = bare(&reader.schema());
        let projection =
            wanted.map(|columns| columns.iter().map(|name| given.index_of(name)).collect::<Result<Vec<_>, _>>()).transpose()?;
        let splits = reader.splits();
        let shares = self.parallelism.min(splits.len()).max(1);
        let partitions = (0..shares)
            .map(|share| {
                Arc::new(Share {
                    schema: given.clone(),
                    reader: reader.clone(),
                    splits: splits.iter().skip(share).step_by(shares).cloned().collect(),
                    broken: self.broken.clone(),
                }) as Arc<dyn PartitionStream>
            })
            .collect();
        Ok(Arc::new(StreamingTableExec::try_new(given, partitions, projection.as_ref(), [], false, limit)?))
    }
}

fn external(error: weir_connect::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

struct Share {
    schema: SchemaRef,
    reader: Arc<dyn StreamReader>,
    splits: Vec<Split>,
    broken: Arc<Broken>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} splits)", self.splits.len())
    }
}

impl PartitionStream for Share {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (reader, broken, schema) = (self.reader.clone(), self.broken.clone(), self.schema.clone());
        let rows = futures::stream::iter(self.splits.clone())
            .then(move |split| {
                let reader = reader.clone();
                async move { reader.read(&split, None).await }
            })
            .try_flatten()
            .filter_map(move |event| {
                let out = match event {
                    Ok(Event::Batch(batch)) => Some(barely(&batch.records, &schema)),
                    Ok(Event::Dead(_)) => {
                        broken.0.fetch_add(1, Ordering::Relaxed);
                        None
                    }
                    Ok(_) => None,
                    Err(error) => Some(Err(external(error))),
                };
                async move { out }
            });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}
