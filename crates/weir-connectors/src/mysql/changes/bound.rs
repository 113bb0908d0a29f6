//! The target as the writer of changes sees it: how columns are encoded, and which statements apply.

use weir_connect::{DeleteMode, Error, Kind, OnLoss, Result, StreamTarget, WriteMode};

use super::super::catalog::{self, RawColumn, Shape};
use super::super::client::Client;
use super::super::config::SinkOptions;
use super::super::encode::ColumnPlan;
use super::super::quote::{TableName, ident, join_idents};
use super::super::sink::{name_target, run_all};
use super::super::target::{self, same_name};
use super::super::types::Base;
use super::refusals;
use super::statements::{DELETED, Statements, Whole, staged};

/// What decides how a stream is written, apart from the stream.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The sink's options.
    pub options: SinkOptions,
    /// Columns without exact counterpart.
    pub on_loss: OnLoss,
    /// What happens to deleted rows.
    pub deletes: DeleteMode,
    /// Of the connection.
    pub database: String,
}

/// See the module.
pub struct Bound {
    /// The target.
    pub name: TableName,
    /// Encoding of the written columns.
    pub plans: Vec<ColumnPlan>,
    /// The statements.
    pub statements: Statements,
    /// Loads the table of staged changes by `LOAD DATA`.
    pub load: String,
    /// And by `INSERT`.
    pub insert: String,
    /// Where rows wait that are put back, if anything besides the key must be unique.
    pub whole: Option<Whole>,
    /// How many unique indexes there are.
    pub unique: usize,
}

impl Bound {
    /// Compares stream and target, changes the target where the contract allows it, and makes the session's tables, the names of which end in `number`.
    /// No transaction may be open.
    pub async fn new(client: &mut Client, target: &StreamTarget, setup: &Setup, number: usize) -> Result<Self> {
        let soft = setup.deletes == DeleteMode::Soft;
        let plan = target::examine(client, target, &setup.options, &setup.on_loss, &setup.database).await?;
        let name = plan.name.clone();
        if soft && target.schema.fields().iter().any(|field| same_name(field.name(), DELETED)) {
            return Err(refusals::mark(&name, format!("the stream has a column `{DELETED}` of its own")));
        }
        let mut changes: Vec<String> = plan.changes.iter().map(|change| change.sql(&name)).collect();
        run_all(client, &changes, &name).await?;
        let mut shape = catalog::shape(client, &name).await?;
        if soft {
            changes = mark_column(&shape, &name)?.into_iter().collect();
            run_all(client, &changes, &name).await?;
            if !changes.is_empty() {
                shape = catalog::shape(client, &name).await?;
            }
        }
        let plans = target::bind(&shape, &name, &target.schema, &plan.written, &setup.on_loss)?;
        let keys = target
            .key
            .iter()
            .map(|key| plans.iter().position(|plan| same_name(&plan.name, key)))
            .collect::<Option<Vec<usize>>>()
            .ok_or_else(|| {
                Error::new("WEIR-MY-043", Kind::Spec, "a key column is not written to the target").at(name.display()).hint(
                    "`discard_column` leaves it out, because the target does not have it: add it there, or choose another key",
                )
            })?;
        let columns: Vec<&RawColumn> = plans
            .iter()
            .map(|plan| target::find_column(&shape, &plan.name))
            .collect::<Option<_>>()
            .ok_or_else(|| Error::internal("a column is not there any more").at(name.display()))?;
        let loose = keys.iter().copied().filter(|at| !exact(columns[*at])).collect();
        let unique = catalog::count_unique(client, &name).await?;
        let only_key = unique == of_key(client, &name, &target.key).await?;
        let others = if target.write_mode == WriteMode::Upsert { others(&shape, &plans, soft) } else { Vec::new() };
        let session = |what: &str| TableName::new(name.database.clone(), format!("_weir_{what}_{number}"));
        let stage = session("changes");
        let mut parts = vec!["_weir_g INT UNSIGNED NOT NULL".to_string(), "_weir_n INT UNSIGNED NOT NULL".to_string()];
        parts.extend(columns.iter().enumerate().map(|(at, column)| target::staged(column, &staged(at))));
        parts.push("PRIMARY KEY (_weir_g, _weir_n)".into());
        make(client, &stage, &parts, &name).await?;
        let whole = if only_key {
            None
        } else {
            let all: Vec<&RawColumn> = shape.columns.iter().filter(|column| !column.generated).collect();
            let mut parts: Vec<String> = all.iter().map(|column| target::staged(column, &ident(&column.name))).collect();
            parts.push(format!("KEY ({})", join_idents(keys.iter().map(|at| columns[*at].name.as_str()))));
            let table = session("whole");
            make(client, &table, &parts, &name).await?;
            Some(Whole { table, columns: all.iter().map(|column| column.name.clone()).collect() })
        };
        let (load, insert) = loads(&stage, &plans);
        let statements = Statements {
            table: name.clone(),
            stage,
            columns: plans.iter().map(|plan| plan.name.clone()).collect(),
            keys,
            loose,
            only_key,
            others,
            soft,
        };
        Ok(Self { name, plans, statements, load, insert, whole, unique })
    }
}

async fn make(client: &mut Client, table: &TableName, parts: &[String], target: &TableName) -> Result<()> {
    let sql = format!(
        "CREATE TEMPORARY TABLE {} ({}) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {}",
        table.sql(),
        parts.join(", "),
        client.version.exact_collation()
    );
    client.batch(&sql).await.map(drop).map_err(|error| refusals::stage(name_target(error, target), target))
}

/// Whether values of the column are equal only if they are the same.
fn exact(column: &RawColumn) -> bool {
    let collation = column.collation.as_str();
    match column.of.base {
        Base::Float | Base::Double | Base::Named(_) => false,
        _ => collation.is_empty() || collation == "utf8mb4_0900_bin" || collation.ends_with("nopad_bin"),
    }
}

/// How many unique indexes are on the key.
async fn of_key(client: &mut Client, name: &TableName, key: &[String]) -> Result<usize> {
    let lower = |columns: &[String]| {
        let mut columns: Vec<String> = columns.iter().map(|column| column.to_lowercase()).collect();
        columns.sort_unstable();
        columns
    };
    let wanted = lower(key);
    Ok(catalog::unique_indexes(client, name).await?.iter().filter(|columns| lower(columns) == wanted).count())
}

/// Columns that a replaced row has NULL in. One with a default, or that fills itself, is the table's own affair.
fn others(shape: &Shape, plans: &[ColumnPlan], soft: bool) -> Vec<String> {
    let ours = |name: &str| (soft && same_name(name, DELETED)) || plans.iter().any(|plan| plan.name == name);
    let plain = |column: &RawColumn| {
        !column.not_null
            && !column.generated
            && column.extra.is_empty()
            && column.default.as_deref().is_none_or(|default| default == "NULL")
    };
    shape.columns.iter().filter(|column| plain(column) && !ours(&column.name)).map(|column| column.name.clone()).collect()
}

/// The statements that fill the table of staged changes.
fn loads(stage: &TableName, plans: &[ColumnPlan]) -> (String, String) {
    let (mut fields, mut sets) = (vec!["_weir_g".to_string(), "_weir_n".to_string()], Vec::new());
    let list: Vec<String> = fields.iter().cloned().chain((0..plans.len()).map(staged)).collect();
    for (at, plan) in plans.iter().enumerate() {
        let variable = format!("@weir_{at}");
        match plan.through(&variable) {
            Some(expression) => {
                fields.push(variable);
                sets.push(format!("{} = {expression}", staged(at)));
            }
            None => fields.push(staged(at)),
        }
    }
    let set = if sets.is_empty() { String::new() } else { format!(" SET {}", sets.join(", ")) };
    let load = format!(
        "LOAD DATA LOCAL INFILE 'weir' INTO TABLE {} CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' \
         LINES TERMINATED BY '\\n' ({}){set}",
        stage.sql(),
        fields.join(", ")
    );
    (load, format!("INSERT INTO {} ({}) VALUES ", stage.sql(), list.join(", ")))
}

/// What makes the column that marks deleted rows, if it is missing.
fn mark_column(shape: &Shape, name: &TableName) -> Result<Option<String>> {
    match target::find_column(shape, DELETED) {
        // Not null, so that `WHERE NOT _deleted` finds the rows that were there before.
        None => Ok(Some(format!("ALTER TABLE {} ADD COLUMN {} tinyint(1) NOT NULL DEFAULT 0", name.sql(), ident(DELETED)))),
        Some(column) if column.of.base == Base::Int(8) => Ok(None),
        Some(column) => Err(refusals::mark(name, format!("the table has a column `{DELETED}` of type {}", column.type_name))),
    }
}
