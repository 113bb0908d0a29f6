//! DataFusion as a planner of SQL: functions, options and name resolution, without a catalogue and without executing.
//! The window functions are in `windows`, joins with versions in `as_of`.

mod as_of;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, TableReference, plan_err};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::logical_plan::builder::LogicalTableSource;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::Analyzer;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::GenericDialect;

use crate::checked::{CheckedArithmetic, DecimalLiterals};
use crate::checked_sum::CheckedSum;
use crate::clock;
use crate::program::require::Require;

/// A table that a query may name.
pub(crate) struct Table {
    /// Every spelling that means it, the preferred one first.
    pub(crate) names: Vec<String>,
    /// Its columns.
    pub(crate) schema: SchemaRef,
    /// The column with the event time of its rows, if that is known.
    pub(crate) time: Option<String>,
}

/// A planned query: not yet optimised, and which of the tables each name in it means.
pub(crate) struct Planned {
    pub(crate) plan: LogicalPlan,
    /// Table reference as it stands in the plan's scans → index of the table.
    pub(crate) scans: BTreeMap<String, usize>,
    /// It looks rows up as of the event time of others.
    pub(crate) as_of: bool,
}

/// Plans SQL over given tables. One per plan: `now()` is fixed here.
pub(crate) struct Session {
    state: SessionState,
}

/// The settings under which all SQL is planned, here and in the engine: `VARCHAR` is plain text and not a view, times are in
/// UTC.
pub fn config() -> SessionConfig {
    SessionConfig::new()
        .with_information_schema(false)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false)
        // It moves `element['part']` below the unnest that makes elements of a list.
        .set_bool("datafusion.optimizer.enable_leaf_expression_pushdown", false)
        .set_str("datafusion.execution.time_zone", "UTC")
}

/// Adds what keeps arithmetic exact: decimal literals beside decimals, integers and sums that fail instead of wrapping around; and the window
/// functions. For every session that plans SQL; one that only executes needs nothing, the functions are in the plan.
pub fn exact(builder: SessionStateBuilder) -> SessionStateBuilder {
    let mut rules = Analyzer::new().rules;
    rules.insert(0, Arc::new(DecimalLiterals));
    rules.push(Arc::new(CheckedArithmetic));
    let mut builder = builder.with_analyzer_rules(rules).with_relation_planners(vec![Arc::new(windows::WindowFunctions)]);
    // Later names win when the state is built.
    builder.aggregate_functions().get_or_insert_default().push(Arc::new(AggregateUDF::from(CheckedSum::default())));
    builder
}

impl Session {
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        let builder = SessionStateBuilder::new().with_config(config()).with_default_features();
        let mut state = exact(builder).build();
        for function in clock::functions(now).into_iter().chain([Require::function()]) {
            // Registering replaces the built-in of that name; the only error is a registry that takes no functions.
            let _ = state.register_udf(Arc::new(function));
        }
        Self { state }
    }

    /// Plans a query. Names that mean none of `tables` are an error that lists those that do.
    pub(crate) fn query(&self, sql: &str, tables: &[Table]) -> Result<Planned> {
        let mut statement = parse_query(sql)?;
        let as_of = as_of::rewrite(&mut statement, tables)?;
        let scope = Scope { state: &self.state, tables };
        let plan = SqlToRel::new_with_options(&scope, self.options()).statement_to_plan(statement)?;
        Ok(Planned { as_of, ..self.planned(plan, tables)? })
    }

    /// Takes a plan that was built over [`Session::scan`]s of `tables`.
    pub(crate) fn planned(&self, plan: LogicalPlan, tables: &[Table]) -> Result<Planned> {
        let mut scans = BTreeMap::new();
        collect_scans(&plan, tables, &mut scans)?;
        Ok(Planned { plan, scans, as_of: false })
    }

    /// An expression over one table's columns. Sub-queries are refused: there is nothing they could name.
    pub(crate) fn expression(&self, sql: &str, schema: &DFSchema) -> Result<Expr> {
        let expression = DFParserBuilder::new(sql).with_dialect(&GenericDialect {}).build()?.parse_into_expr()?;
        let scope = Scope { state: &self.state, tables: &[] };
        SqlToRel::new_with_options(&scope, self.options()).sql_to_expr_with_alias(expression, schema, &mut Default::default())
    }

    /// Types coerced, arithmetic checked; the shape stays as written.
    pub(crate) fn analyze(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        self.state.analyzer().execute_and_check(plan, self.state.config_options(), |_, _| {})
    }

    /// Analysed and optimised, to see what a query really needs.
    pub(crate) fn optimize(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        self.state.optimize(plan)
    }

    /// An analysed expression as the optimiser leaves it: some functions compute only then.
    pub(crate) fn simplified(&self, expr: &Expr, schema: &DFSchema) -> Result<Expr> {
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(self.state.config_options().clone())
            .with_query_execution_start_time(self.state.execution_props().query_execution_start_time)
            .build();
        ExprSimplifier::new(context).simplify(expr.clone())
    }

    /// For the compilation of expressions.
    pub(crate) fn state(&self) -> &SessionState {
        &self.state
    }

    fn options(&self) -> ParserOptions {
        ParserOptions { map_string_types_to_utf8view: false, ..ParserOptions::new() }
    }
}

/// Parses one statement for a session that has a catalogue, window functions and all: a session made with [`exact`] plans it. Which statements are
/// allowed is not decided here.
///
/// # Errors
/// Text that is no SQL, nothing, and more than one statement.
pub fn statement(sql: &str) -> Result<Statement> {
    let parser = DFParserBuilder::new(windows::tokens(sql)?).with_dialect(&GenericDialect {});
    let mut statements = parser.build()?.parse_statements()?;
    if statements.len() > 1 {
        return plan_err!("one statement is expected, here are {}", statements.len());
    }
    let Some(mut statement) = statements.pop_front() else { return plan_err!("the query is empty") };
    windows::name_tables(&mut statement);
    Ok(statement)
}

/// Parses one `SELECT` (or `WITH …`, `VALUES …`) and nothing else.
pub(crate) fn parse_query(sql: &str) -> Result<Statement> {
    let mut statements = DFParserBuilder::new(as_of::tokens(windows::tokens(sql)?)?)
        .with_dialect(&GenericDialect {})
        .build()?
        .parse_statements()?;
    if statements.len() > 1 {
        return plan_err!("one statement is expected, here are {}", statements.len());
    }
    match statements.pop_front() {
        Some(Statement::Statement(statement)) if matches!(*statement, ast::Statement::Query(_)) => {
            Ok(Statement::Statement(statement))
        }
        Some(_) => plan_err!("a transform is a query: it starts with SELECT, WITH or VALUES"),
        None => plan_err!("the query is empty"),
    }
}

/// Parses an expression, for checks that know no columns.
pub(crate) fn parse_expression(sql: &str) -> Result<()> {
    DFParserBuilder::new(sql).with_dialect(&GenericDialect {}).build()?.parse_into_expr().map(|_| ())
}

/// A table as a leaf of a plan.
pub(crate) fn source(schema: SchemaRef) -> Arc<dyn TableSource> {
    Arc::new(LogicalTableSource::new(schema))
}

fn collect_scans(plan: &LogicalPlan, tables: &[Table], scans: &mut BTreeMap<String, usize>) -> Result<()> {
    use datafusion::common::tree_node::TreeNodeRecursion;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(index) = position(&scan.table_name, tables)
        {
            scans.insert(scan.table_name.to_string(), index);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Which table a reference means: its dotted name must equal one of the spellings, at best in the same case.
fn position(reference: &TableReference, tables: &[Table]) -> Option<usize> {
    let name = dotted(reference);
    tables
        .iter()
        .position(|table| table.names.contains(&name))
        .or_else(|| tables.iter().position(|table| table.names.iter().any(|known| known.eq_ignore_ascii_case(&name))))
}

fn dotted(reference: &TableReference) -> String {
    match reference {
        TableReference::Bare { table } => table.to_string(),
        TableReference::Partial { schema, table } => format!("{schema}.{table}"),
        TableReference::Full { catalog, schema, table } => format!("{catalog}.{schema}.{table}"),
    }
}

/// `TIMESTAMP` without a precision means microseconds, as in every database we know, not DataFusion's nanoseconds.
#[derive(Debug)]
struct Micros;

impl TypePlanner for Micros {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
        let zone: Option<Arc<str>> = match sql_type {
            ast::DataType::Timestamp(None, ast::TimezoneInfo::Tz | ast::TimezoneInfo::WithTimeZone) => Some("UTC".into()),
            ast::DataType::Timestamp(None, _) => None,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", DataType::Timestamp(TimeUnit::Microsecond, zone), true))))
    }
}

struct Scope<'a> {
    state: &'a SessionState,
    tables: &'a [Table],
}

impl ContextProvider for Scope<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match position(&name, self.tables) {
            Some(index) => Ok(source(self.tables[index].schema.clone())),
            None => {
                let known: Vec<String> =
                    self.tables.iter().flat_map(|table| &table.names).map(|name| format!("`{name}`")).collect();
                Err(DataFusionError::Plan(if known.is_empty() {
                    "no table can be named here".into()
                } else {
                    format!("there is no table `{}` here; the names are {}", dotted(&name), known.join(", "))
                }))
            }
        }
    }
    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }
    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Micros))
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }
    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        self.state.relation_planners()
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }
    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }
    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }
    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }
    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }
    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }
    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
