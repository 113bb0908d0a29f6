//! SQL over the lake and over any connection.
//!
//! * [`QuerySession`]: a DataFusion session with a memory budget and the tables registered in it.
//! * [`name`]: names of tables, one to three parts.
//! * [`table`]: any [`Source`](weir_connect::Source) stream as a table: one mechanism for lakes, databases and APIs.
//! * [`lake`]: finds the tables of a lake folder.
//!
//! Not here: how a lake's files are read (the `file` connector, which honours the manifest), and output formats (the binary).
#![deny(missing_docs)]

pub mod lake;
pub mod name;
pub mod table;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::catalog::{MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use weir_connect::{Error, Kind, Result, Source, StreamInfo};

pub use crate::name::TableName;
use crate::table::SourceTable;

const DEFAULT_CATALOG: &str = "datafusion";
const DEFAULT_SCHEMA: &str = "public";

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
        let config = weir_plan::sql::config().with_target_partitions(parallelism.max(1)).with_information_schema(true);
        let builder = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
        let context = SessionContext::new_with_state(weir_plan::sql::exact(builder).build());
        Ok(Self { context, parallelism, broken: Arc::default() })
    }

    /// The DataFusion context underneath, for programs that make their own data frames.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Registers one stream of a source. Catalogs and schemas are made as they are named; a name that is taken is an error.
    pub fn register(&self, name: &TableName, source: Arc<dyn Source>, stream: StreamInfo) -> Result<()> {
        let table = Arc::new(SourceTable::new(source, stream, self.parallelism, self.broken.clone()));
        let failed = |error: DataFusionError| {
            Error::new("WEIR-QUERY-001", Kind::Spec, format!("table `{name}` cannot be registered"))
                .because(error.strip_backtrace())
        };
        let (catalog, schema) = match name.parts() {
            [catalog, schema, _] => (catalog.as_str(), schema.as_str()),
            [schema, _] => (DEFAULT_CATALOG, schema.as_str()),
            _ => (DEFAULT_CATALOG, DEFAULT_SCHEMA),
        };
        if self.context.catalog(catalog).is_none() {
            self.context.register_catalog(catalog, Arc::new(MemoryCatalogProvider::new()));
        }
        let catalog = self.context.catalog(catalog).ok_or_else(|| Error::internal("a registered catalog is gone"))?;
        if catalog.schema(schema).is_none() {
            catalog.register_schema(schema, Arc::new(MemorySchemaProvider::new())).map_err(failed)?;
        }
        self.context.register_table(name.reference(), table).map_err(failed)?;
        Ok(())
    }

    /// The tables that a query names, without its common table expressions: what has to be registered before it is asked.
    pub fn tables_of(&self, query: &str) -> Result<Vec<TableName>> {
        let statement = weir_plan::sql::statement(query).map_err(explain)?;
        let references = self.context.state().resolve_table_references(&statement).map_err(explain)?;
        Ok(references.iter().map(TableName::from_reference).collect())
    }

    /// Names of all registered tables, as SQL needs them, sorted.
    pub fn tables(&self) -> Vec<String> {
        let mut names = Vec::new();
        for catalog_name in self.context.catalog_names() {
            let Some(catalog) = self.context.catalog(&catalog_name) else { continue };
            for schema in catalog.schema_names().into_iter().filter(|schema| schema != "information_schema") {
                for table in catalog.schema(&schema).map(|provider| provider.table_names()).unwrap_or_default() {
                    names.push(match (catalog_name.as_str(), schema.as_str()) {
                        (DEFAULT_CATALOG, DEFAULT_SCHEMA) => TableName::new(&table).to_string(),
                        (DEFAULT_CATALOG, schema) => TableName::of_stream(schema, &table).to_string(),
                        (catalog, schema) => TableName::of_stream(catalog, &format!("{schema}.{table}")).to_string(),
                    });
                }
            }
        }
        names.sort();
        names
    }

    /// Asks a query, window functions (`TUMBLE`, `HOP`, `CUMULATE`, `SESSION`) among its tables. Only reading is allowed: DDL, DML, `COPY` and
    /// `SET` are refused.
    pub async fn sql(&self, query: &str) -> Result<Answer> {
        let options = datafusion::execution::context::SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let statement = weir_plan::sql::statement(query).map_err(|error| self.explain(error))?;
        let plan = self.context.state().statement_to_plan(statement).await.map_err(|error| self.explain(error))?;
        options.verify_plan(&plan).map_err(|error| self.explain(error))?;
        let frame = self.context.execute_logical_plan(plan).await.map_err(|error| self.explain(error))?;
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
pub fn explain(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::new("WEIR-QUERY-002", Kind::Data, "the query failed").because(other),
        },
        DataFusionError::ArrowError(inner, _) => match *inner {
            ArrowError::ExternalError(inner) => explain(DataFusionError::External(inner)),
            other => Error::new("WEIR-QUERY-002", Kind::Data, "the query failed").because(other),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => explain(*inner),
        DataFusionError::SQL(inner, _) => Error::new("WEIR-QUERY-003", Kind::Spec, "this is not SQL").because(inner),
        DataFusionError::ResourcesExhausted(why) => {
            Error::new("WEIR-QUERY-004", Kind::Limit, "the query needs more memory than the budget, even with spilling")
                .because(first_line(&why))
                .hint("give it more with --max-memory")
        }
        DataFusionError::Plan(why) if refused(&why) => {
            Error::new("WEIR-QUERY-007", Kind::Spec, "a query can only read").because(why)
        }
        DataFusionError::Plan(why) => Error::new("WEIR-QUERY-005", Kind::Spec, "the query does not fit the tables").because(why),
        DataFusionError::NotImplemented(why) => {
            Error::new("WEIR-QUERY-005", Kind::Spec, "the query uses something that is not supported").because(why)
        }
        DataFusionError::SchemaError(inner, _) => {
            Error::new("WEIR-QUERY-005", Kind::Spec, "the query does not fit the tables").because(inner)
        }
        DataFusionError::Collection(errors) => {
            errors.into_iter().next().map_or_else(|| Error::internal("an error without a cause"), explain)
        }
        other => Error::new("WEIR-QUERY-002", Kind::Data, "the query failed").because(first_line(&other.strip_backtrace())),
    }
}

/// How DataFusion words the refusal of [`SQLOptions`](datafusion::execution::context::SQLOptions).
fn refused(why: &str) -> bool {
    ["DDL not supported", "DML not supported", "Statement not supported"].iter().any(|head| why.starts_with(head))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests;
