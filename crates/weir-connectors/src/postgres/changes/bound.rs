//! The target as the writer of changes sees it: how columns are encoded, which statements apply, and what stands in the way.

use weir_connect::{DeleteMode, Error, Kind, OnLoss, Result, StreamTarget, WriteMode};

use super::super::catalog;
use super::super::client::Client;
use super::super::config::SinkOptions;
use super::super::copy_encode::ColumnPlan;
use super::super::quote::{TableName, ident};
use super::super::sink::name_target;
use super::super::target;
use super::refusals;
use super::statements::{DELETED, Statements, facts};

/// What decides how a stream is written, apart from the stream.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The sink's options.
    pub options: SinkOptions,
    /// Columns without exact counterpart.
    pub on_loss: OnLoss,
    /// What happens to deleted rows.
    pub deletes: DeleteMode,
}

/// See the module.
pub struct Bound {
    /// The target.
    pub name: TableName,
    /// Encoding of the written columns.
    pub plans: Vec<ColumnPlan>,
    /// In COPY's text format.
    pub text: bool,
    /// The statements.
    pub statements: Statements,
    /// Something besides the key must be unique, so that an order of rows may be refused that another is not.
    pub unique: bool,
    /// TRUNCATE is allowed and nothing refers to the table.
    pub may_truncate: bool,
    /// Foreign keys by which a delete would reach other tables.
    pub cascades: Option<String>,
}

impl Bound {
    /// Compares stream and target, changes the target where the contract allows it, and makes the session's table for staged changes.
    pub async fn new(client: &mut Client, target: &StreamTarget, setup: &Setup) -> Result<Self> {
        let soft = setup.deletes == DeleteMode::Soft;
        if soft && target.schema.index_of(DELETED).is_ok() {
            return Err(Error::new("WEIR-PG-112", Kind::Spec, format!("the stream has a column `{DELETED}` of its own"))
                .at(target.stream.clone())
                .hint("rename it with a field_mapper, or choose another `delete_mode`"));
        }
        let plan = target::examine(client, target, &setup.options, &setup.on_loss).await?;
        let name = plan.name.clone();
        let mut changes: Vec<String> = plan.changes.iter().map(|change| change.sql(&name)).collect();
        if soft {
            changes.extend(mark_column(client, &name).await?);
        }
        if !changes.is_empty() {
            client.batch(&changes.join("; ")).await.map_err(|error| name_target(error, &name))?;
        }
        let gone = || Error::new("WEIR-PG-007", Kind::NotFound, "the target table does not exist (any more)").at(name.display());
        let relation = catalog::find(client, &name).await?.ok_or_else(gone)?;
        let (plans, text) = target::bind(client, relation.oid, &name, &target.schema, &plan.written, &setup.on_loss).await?;
        let keys = target
            .key
            .iter()
            .map(|key| plans.iter().position(|plan| &plan.name == key))
            .collect::<Option<Vec<usize>>>()
            .ok_or_else(|| {
            Error::new("WEIR-PG-043", Kind::Spec, "a key column is not written to the target")
                .at(name.display())
                .hint("`discard_column` leaves it out, because the target does not have it: add it there, or choose another key")
        })?;
        let shape = catalog::shapes(client, &[relation.oid]).await?.remove(&relation.oid).unwrap_or_default();
        // What the stream does not have is NULL in a row that is replaced, unless the table has a default for it: then that is its own affair.
        let ours = |name: &str| (soft && name == DELETED) || plans.iter().any(|plan| plan.name == name);
        let replaces = target.write_mode == WriteMode::Upsert;
        let others = shape.columns.iter().filter(|column| replaces && !column.optional && !ours(&column.name));
        let rows = client.query(&facts(relation.oid, &target.key), &[]).await?;
        let facts = rows.first().ok_or_else(gone)?;
        if facts.flag(4) {
            return Err(refusals::row_security(&name));
        }
        let statements = Statements {
            table: name.sql(),
            columns: plans.iter().map(|plan| ident(&plan.name)).collect(),
            keys,
            others: others.map(|column| ident(&column.name)).collect(),
            soft,
            insertable: facts.text(6).split('\u{1}').map(ident).collect(),
            watch_deletes: facts.flag(1),
        };
        client.batch(&statements.stage()).await.map_err(|error| refusals::stage(error, &name))?;
        Ok(Self {
            name,
            plans,
            text,
            statements,
            unique: facts.flag(0),
            may_truncate: facts.flag(2) && !facts.flag(3),
            cascades: facts.opt(5).map(str::to_string),
        })
    }
}

/// What makes the column that marks deleted rows, if it is missing.
async fn mark_column(client: &mut Client, name: &TableName) -> Result<Option<String>> {
    // Not null, so that `WHERE NOT _deleted` finds the rows that were there before.
    let add = format!("ALTER TABLE {} ADD COLUMN {} boolean NOT NULL DEFAULT false", name.sql(), ident(DELETED));
    let Some(relation) = catalog::find(client, name).await? else { return Ok(Some(add)) };
    let shape = catalog::shapes(client, &[relation.oid]).await?.remove(&relation.oid).unwrap_or_default();
    match shape.columns.iter().find(|column| column.name == DELETED) {
        None => Ok(Some(add)),
        Some(column) if column.type_name == "boolean" => Ok(None),
        Some(column) => Err(Error::new(
            "WEIR-PG-112",
            Kind::Schema,
            format!("the table has a column `{DELETED}` of type {}", column.type_name),
        )
        .at(name.display())
        .hint("soft deletes need it as boolean: rename yours, or choose another `delete_mode`")),
    }
}
