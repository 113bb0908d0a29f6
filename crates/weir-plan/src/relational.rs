//! Relational programs: nodes as views over the inputs, planned again at run time over the real tables.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, cast, ident, try_cast};
use datafusion::prelude::SessionContext;
use weir_connect::{Error, Result};

use crate::model::RelationalProgram;
use crate::sql;
use crate::transforms::{CastOptions, OnCastError, Op};
use crate::types;

/// A node of a relational program.
#[derive(Clone)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// Names of the nodes, or inputs, that it reads.
    pub inputs: Vec<String>,
    /// Further names under which a query may call its only input.
    pub aliases: Vec<String>,
    /// What it does.
    pub op: Op,
}

/// A DAG of operators.
pub struct Relational {
    /// Tables of the inputs, as the engine registers them.
    pub tables: Vec<String>,
    /// In topological order.
    pub steps: Vec<Step>,
    /// Per output the node or input that feeds it.
    pub outputs: Vec<String>,
    /// Per output the columns that end as text because the sink cannot hold them, and those left out.
    pub finish: Vec<Vec<Op>>,
    /// Why it is relational.
    pub reason: String,
}

#[async_trait::async_trait]
impl RelationalProgram for Relational {
    async fn frames(&self, context: &SessionContext) -> Result<Vec<DataFrame>> {
        let mut known: HashMap<String, DataFrame> = HashMap::new();
        for table in &self.tables {
            known.insert(table.clone(), context.table(table.as_str()).await.map_err(sql::explain)?);
        }
        for step in &self.steps {
            let frame = apply(context, &known, step).await?;
            known.insert(step.name.clone(), frame);
        }
        let mut frames = Vec::new();
        for (output, finish) in self.outputs.iter().zip(&self.finish) {
            let mut frame = known.get(output).cloned().ok_or_else(|| Error::internal(format!("no node `{output}`")))?;
            for op in finish {
                frame = chain(context, frame, op).await?;
            }
            frames.push(frame);
        }
        Ok(frames)
    }

    fn reason(&self) -> String {
        self.reason.clone()
    }
}

async fn apply(context: &SessionContext, known: &HashMap<String, DataFrame>, step: &Step) -> Result<DataFrame> {
    let upstream = |name: &String| known.get(name).cloned().ok_or_else(|| Error::internal(format!("no node `{name}`")));
    if let Op::Sql(query) = &step.op {
        let scope = context.clone();
        let mut names: Vec<(String, DataFrame)> = Vec::new();
        for input in &step.inputs {
            names.push((input.clone(), upstream(input)?));
        }
        if let [only] = step.inputs.as_slice() {
            for alias in step.aliases.iter().chain(std::iter::once(&"input".to_owned())) {
                if alias != only {
                    names.push((alias.clone(), upstream(only)?));
                }
            }
        }
        // A node may have the name of a table that the engine registered: that one is put back afterwards.
        let mut replaced = Vec::new();
        for (name, frame) in &names {
            if let Ok(table) = scope.table_provider(name.as_str()).await {
                replaced.push((name.clone(), table));
            }
            sql::register(&scope, name, frame.clone().into_view())?;
        }
        let planned = scope.sql(query).await.map_err(sql::explain);
        for (name, _) in &names {
            sql::deregister(&scope, name)?;
        }
        for (name, table) in replaced {
            sql::register(&scope, &name, table)?;
        }
        return planned;
    }
    let [only] = step.inputs.as_slice() else {
        return Err(Error::internal(format!("node `{}` needs exactly one input", step.name)));
    };
    chain(context, upstream(only)?, &step.op).await
}

/// An operator with one input on a frame.
async fn chain(context: &SessionContext, frame: DataFrame, op: &Op) -> Result<DataFrame> {
    let schema: DFSchema = frame.schema().clone().strip_qualifiers();
    let projected =
        |columns: Vec<(Expr, String)>| columns.into_iter().map(|(expression, name)| expression.alias(name)).collect::<Vec<_>>();
    match op {
        Op::Filter(predicate) => frame.filter(sql::expression(context, predicate, &schema)?).map_err(sql::explain),
        Op::Map(options) => frame.select(projected(options.projection(&schema)?)).map_err(sql::explain),
        Op::Mask(options) => frame.select(projected(options.projection(&schema)?)).map_err(sql::explain),
        Op::Cast(options) => frame.select(casts(options, &schema)?).map_err(sql::explain),
        Op::Dedupe(options) => {
            let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let query = options.query(&columns);
            query_over(context, frame, &query).await
        }
        Op::Sql(query) => query_over(context, frame, query).await,
    }
}

async fn query_over(context: &SessionContext, frame: DataFrame, query: &str) -> Result<DataFrame> {
    let before = context.table_provider("input").await.ok();
    sql::register(context, "input", frame.into_view())?;
    let planned = context.sql(query).await.map_err(sql::explain);
    sql::deregister(context, "input")?;
    if let Some(table) = before {
        sql::register(context, "input", table)?;
    }
    planned
}

fn casts(options: &CastOptions, schema: &DFSchema) -> Result<Vec<Expr>> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if let Some(name) = options.columns.keys().find(|name| !names.contains(&name.as_str())) {
        return Err(crate::transforms::missing(name, &names));
    }
    names
        .iter()
        .map(|name| {
            Ok(match options.columns.get(*name) {
                None => ident(*name),
                Some(word) if options.on_error == OnCastError::Null => try_cast(ident(*name), types::parse(word)?).alias(*name),
                Some(word) => cast(ident(*name), types::parse(word)?).alias(*name),
            })
        })
        .collect()
}

/// A program with its tables as empty ones, for schemas and lineage at plan time.
pub fn empty_tables(context: &SessionContext, tables: &[(String, arrow::datatypes::SchemaRef)]) -> Result<()> {
    for (name, schema) in tables {
        sql::register(context, name, Arc::new(datafusion::datasource::empty::EmptyTable::new(schema.clone())))?;
    }
    Ok(())
}
