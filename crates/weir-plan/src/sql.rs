//! The bridge to DataFusion: expressions, schemas, names, and its errors in our words.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::catalog::TableProvider;
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::TableReference;
use weir_connect::{Error, Kind, Result};

/// The settings under which all SQL is planned, here and in the engine: `VARCHAR` is plain text, not a view.
pub fn config() -> SessionConfig {
    let mut config = SessionConfig::new().with_information_schema(false);
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    config
}

/// A session for planning.
pub fn session() -> SessionContext {
    SessionContext::new_with_config(config())
}

/// Parses a SQL expression over a schema.
pub fn expression(context: &SessionContext, text: &str, schema: &DFSchema) -> Result<Expr> {
    context.parse_sql_expr(text, schema).map_err(explain)
}

/// Registers a table under a name that is taken as it is, dots included (`public.orders` is schema and table).
pub fn register(context: &SessionContext, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
    let reference = reference(context, name)?;
    // `input` names another table for each node.
    let _ = context.deregister_table(reference.clone()).map_err(explain)?;
    context.register_table(reference, table).map_err(explain)?;
    Ok(())
}

/// Forgets a table.
pub fn deregister(context: &SessionContext, name: &str) -> Result<()> {
    context.deregister_table(reference(context, name)?).map_err(explain)?;
    Ok(())
}

fn reference(context: &SessionContext, name: &str) -> Result<TableReference> {
    match name.rsplit_once('.') {
        None => Ok(TableReference::bare(name)),
        Some((schema, table)) => {
            let catalog = context.catalog("datafusion").ok_or_else(|| Error::internal("the session has no catalog"))?;
            if catalog.schema(schema).is_none() {
                catalog.register_schema(schema, Arc::new(datafusion::catalog::MemorySchemaProvider::new())).map_err(explain)?;
            }
            Ok(TableReference::partial(schema, table))
        }
    }
}

/// The fields of a projection. A plain column keeps its metadata under the new name.
pub fn fields(columns: &[(Expr, String)], input: &DFSchema) -> Result<Vec<Arc<Field>>> {
    columns
        .iter()
        .map(|(expression, name)| {
            let (_, field) = expression.to_field(input).map_err(explain)?;
            Ok(Arc::new(field.as_ref().clone().with_name(name)))
        })
        .collect()
}

/// A planning error: the spec does not fit the data.
pub fn explain(error: DataFusionError) -> Error {
    let (what, why) = match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => return *ours,
            Err(other) => ("the SQL cannot be planned", other.to_string()),
        },
        DataFusionError::SQL(inner, _) => ("this is not SQL", inner.to_string()),
        DataFusionError::SchemaError(inner, _) => ("the SQL does not fit the columns", inner.to_string()),
        DataFusionError::Plan(text) => ("the SQL does not fit the columns", text),
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => return explain(*inner),
        DataFusionError::Collection(mut all) if !all.is_empty() => return explain(all.remove(0)),
        other => ("the SQL cannot be planned", other.strip_backtrace()),
    };
    let built = Error::new("WEIR-PLAN-030", Kind::Spec, what).because(&why);
    if why.contains("No field named") && why.chars().any(char::is_uppercase) {
        return built.hint("column names with capitals or spaces need double quotes");
    }
    built
}

/// An error while rows were computed.
pub fn failed(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::new("WEIR-RUN-061", Kind::Data, "an expression failed").because(other),
        },
        other => Error::new("WEIR-RUN-061", Kind::Data, "an expression failed")
            .because(other.strip_backtrace())
            .hint("use `cast` with on_error: dead_letter, or try_cast(...), for values that do not convert"),
    }
}
