//! SQL over the lake and over any connection.
//!
//! * [`QuerySession`]: a DataFusion session with a memory budget and the tables registered in it.
//! * [`table`]: any [`Source`](weir_connect::Source) stream as a table: one mechanism for lakes, databases and APIs.
//! * [`lake`]: finds the tables of a lake folder.
//!
//! Not here: how a lake's files are read (the `file` connector, which honours the manifest), and output formats (the binary).
#![deny(missing_docs)]

pub mod lake;
pub mod table;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;
use weir_connect::{Error, Kind, Result, Source, StreamInfo};

use crate::table::SourceTable;

/// A session in which tables are registered and queries are asked.
pub struct QuerySession {
    context: SessionContext,
    parallelism: usize,
    broken: Arc<table::Broken>,
}

impl QuerySession {
    /// A session that keeps to `max_memory_bytes` and spills beyond it.
    pub fn new(max_memory_bytes: usize, parallelism: usize) -> Result<Self> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(max_memory_bytes / 2)))
            .build_arc()
            .map_err(|error| Error::internal("the query engine cannot start").caused_by(error))?;
        let config = SessionConfig::new().with_target_partitions(parallelism.max(1)).with_information_schema(true);
        Ok(Self { context: SessionContext::new_with_config_rt(config, runtime), parallelism, broken: Arc::default() })
    }

    /// Registers one stream of a source under `name`, which may be `schema.table`; a missing schema is made.
    pub fn register(&self, name: &str, source: Arc<dyn Source>, stream: StreamInfo) -> Result<()> {
        let table = Arc::new(SourceTable::new(source, stream, self.parallelism, self.broken.clone()));
        let (schema, table_name) = match name.rsplit_once('.') {
            Some((schema, table)) => (schema.replace('.', "_"), table),
            None => ("public".to_owned(), name),
        };
        let catalog = self.context.catalog("datafusion").ok_or_else(|| Error::internal("the session has no catalog"))?;
        let failed = |error: DataFusionError| {
            Error::new("WEIR-QUERY-001", Kind::Spec, format!("table `{name}` cannot be registered")).caused_by(error)
        };
        let provider = match catalog.schema(&schema) {
            Some(provider) => provider,
            None => {
                let provider = Arc::new(datafusion::catalog::MemorySchemaProvider::new());
                catalog.register_schema(&schema, provider.clone()).map_err(failed)?;
                provider
            }
        };
        provider.register_table(table_name.to_owned(), table).map_err(failed)?;
        Ok(())
    }

    /// Names of all registered tables, `schema.table` except in `public`, sorted.
    pub fn tables(&self) -> Vec<String> {
        let Some(catalog) = self.context.catalog("datafusion") else { return Vec::new() };
        let mut names = Vec::new();
        for schema in catalog.schema_names().into_iter().filter(|schema| schema != "information_schema") {
            for table in catalog.schema(&schema).map(|provider| provider.table_names()).unwrap_or_default() {
                names.push(if schema == "public" { table } else { format!("{schema}.{table}") });
            }
        }
        names.sort();
        names
    }

    /// Asks a query. Only reading is allowed: DDL, DML, `COPY` and `SET` are refused.
    pub async fn sql(&self, query: &str) -> Result<Answer> {
        let options = datafusion::execution::context::SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let frame = self.context.sql_with_options(query, options).await.map_err(|error| self.explain(error))?;
        let stream = frame.execute_stream().await.map_err(|error| self.explain(error))?;
        Ok(Answer { schema: stream.schema(), stream })
    }

    /// Records that a scan met and could not decode, so far.
    pub fn broken_records(&self) -> u64 {
        self.broken.count()
    }

    fn explain(&self, error: DataFusionError) -> Error {
        let known = self.tables();
        let built = explain(error);
        if built.to_string().contains("not found") && !known.is_empty() {
            return built.hint(format!("tables here: {}", known.join(", ")));
        }
        built
    }
}

/// The rows of a query, as they come.
pub struct Answer {
    /// Their schema.
    pub schema: SchemaRef,
    stream: SendableRecordBatchStream,
}

impl Answer {
    /// The next rows.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.stream.next().await.transpose().map_err(explain)
    }
}

/// A DataFusion error as ours; an error that a source threw inside a query comes out as it was.
fn explain(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::new("WEIR-QUERY-002", Kind::Data, "the query failed").because(other),
        },
        DataFusionError::Context(_, inner) => explain(*inner),
        DataFusionError::SQL(inner, _) => Error::new("WEIR-QUERY-003", Kind::Spec, "this is not SQL").because(inner),
        DataFusionError::ResourcesExhausted(why) => {
            Error::new("WEIR-QUERY-004", Kind::Limit, "the query needs more memory than the budget, even with spilling")
                .because(why)
                .hint("give it more with --max-memory")
        }
        DataFusionError::Plan(why) => Error::new("WEIR-QUERY-005", Kind::Spec, "the query does not fit the tables").because(why),
        DataFusionError::SchemaError(inner, _) => {
            Error::new("WEIR-QUERY-005", Kind::Spec, "the query does not fit the tables").because(inner)
        }
        DataFusionError::Collection(errors) => {
            errors.into_iter().next().map_or_else(|| Error::internal("an error without a cause"), explain)
        }
        other => Error::new("WEIR-QUERY-002", Kind::Data, "the query failed").because(other.strip_backtrace()),
    }
}
