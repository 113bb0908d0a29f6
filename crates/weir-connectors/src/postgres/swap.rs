//! `overwrite`: a staged table takes the place of the target, in the transaction that marks the run as committed.
//!
//! Usually by renaming: owner, grants, comment, storage parameters, constraints and indexes of the old table are given to the new one. Where
//! something else holds on to the old table (a view, a foreign key, a trigger, a policy, a publication, partitions, a sequence), the rows
//! are replaced inside it instead: TRUNCATE (or DELETE, when foreign keys refer to it; refused when that would reach other tables) and INSERT.
//! Readers see the old rows or the new, never a mixture.

use weir_connect::{Error, Kind, Result};

use super::catalog::{self, Relation};
use super::client::Client;
use super::quote::{TableName, ident, join_idents, literal};
use super::sink::name_target;
use super::target::Change;

/// Why the table cannot be swapped; empty if it can.
pub async fn obstacles(client: &mut Client, relation: &Relation) -> Result<Vec<String>> {
    catalog::swap_obstacles(client, relation.oid).await
}

/// Deleting the old rows would delete or change rows of other tables, which nobody asked for.
pub async fn refuse_cascades(client: &mut Client, relation: &Relation, name: &TableName) -> Result<()> {
    let rows = client
        .query(
            "SELECT string_agg(conrelid::regclass || ' (' || conname || ')', ', ' ORDER BY conname) FROM pg_constraint \
             WHERE confrelid = $1::oid AND conrelid <> $1::oid AND contype = 'f' AND confdeltype IN ('c', 'n', 'd')",
            &[Some(&relation.oid.to_string())],
        )
        .await?;
    match rows.first().and_then(|row| row.opt(0)) {
        None => Ok(()),
        Some(constraints) => {
            Err(Error::new("WEIR-PG-057", Kind::Conflict, "overwriting the table would change rows of other tables")
                .at(name.display())
                .because(format!("foreign keys with ON DELETE CASCADE or SET refer to it: {constraints}"))
                .hint("use write_mode upsert, or let these foreign keys have no ON DELETE action"))
        }
    }
}

/// Puts the staged rows in the place of the target's. Runs inside the caller's transaction.
pub async fn replace(
    client: &mut Client,
    name: &TableName,
    staging: &TableName,
    may_swap: bool,
    changes: &[Change],
    columns: &[String],
) -> Result<()> {
    let rename = format!("ALTER TABLE {} RENAME TO {}", staging.sql(), ident(&name.table));
    let Some(_) = catalog::find(client, name).await? else {
        return client.batch(&rename).await.map_err(|error| name_target(error, name));
    };
    client
        .batch(&format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", name.sql()))
        .await
        .map_err(|error| name_target(error, name))?;
    let Some(existing) = catalog::find(client, name).await? else {
        return client.batch(&rename).await.map_err(|error| name_target(error, name));
    };
    let held = obstacles(client, &existing).await?;
    let mut statements = Vec::new();
    if may_swap && held.is_empty() {
        let belongings = belongings(client, &existing, name).await?;
        statements.push(format!("DROP TABLE {}", name.sql()));
        statements.push(rename);
        statements.extend(belongings);
    } else {
        statements.extend(changes.iter().map(|change| change.sql(name)));
        // A staging table made for a swap may have columns that the stream lacks: only the stream's are taken.
        let list = join_idents(columns.iter().map(String::as_str));
        let referred = held.iter().any(|reason| reason.contains("refers to it"));
        let (table, stage) = (name.sql(), staging.sql());
        if referred {
            refuse_cascades(client, &existing, name).await?;
            // One statement, so that the foreign keys are checked when the new rows are there.
            statements.push(format!(
                "WITH gone AS (DELETE FROM {table} RETURNING 1) INSERT INTO {table} ({list}) SELECT {list} FROM {stage} \
                 WHERE (SELECT count(*) FROM gone) >= 0"
            ));
        } else {
            statements.push(format!("TRUNCATE {table}"));
            statements.push(format!("INSERT INTO {table} ({list}) SELECT {list} FROM {stage}"));
        }
        statements.push(format!("DROP TABLE {}", staging.sql()));
    }
    client.batch(&statements.join("; ")).await.map_err(|error| name_target(error, name))
}

/// Statements that give the new table what the old one has.
async fn belongings(client: &mut Client, old: &Relation, name: &TableName) -> Result<Vec<String>> {
    let oid = old.oid.to_string();
    let table = name.sql();
    let mut out = Vec::new();
    // Constraints with an index first; check constraints came along with LIKE.
    let rows = client
        .query(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::oid AND contype IN ('p','u','x') ORDER BY contype, conname",
            &[Some(&oid)],
        )
        .await?;
    for row in &rows {
        out.push(format!("ALTER TABLE {table} ADD CONSTRAINT {} {}", ident(row.text(0)), row.text(1)));
    }
    let rows = client
        .query(
            "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = $1::oid \
             AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid) ORDER BY i.indexrelid",
            &[Some(&oid)],
        )
        .await?;
    out.extend(rows.iter().map(|row| row.text(0).to_string()));
    let rows = client
        .query(
            "SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, a.privilege_type, a.is_grantable \
             FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE c.oid = $1::oid AND a.grantee <> c.relowner",
            &[Some(&oid)],
        )
        .await?;
    for row in &rows {
        let option = if row.flag(2) { " WITH GRANT OPTION" } else { "" };
        out.push(format!("GRANT {} ON {table} TO {}{option}", row.text(1), row.text(0)));
    }
    let rows = client
        .query(
            "SELECT obj_description(c.oid, 'pg_class'), array_to_string(c.reloptions, ', '), quote_ident(pg_get_userbyid(c.relowner)), \
             pg_get_userbyid(c.relowner) <> current_user, c.relreplident, c.relpersistence FROM pg_class c WHERE c.oid = $1::oid",
            &[Some(&oid)],
        )
        .await?;
    if let Some(row) = rows.first() {
        if let Some(comment) = row.opt(0) {
            out.push(format!("COMMENT ON TABLE {table} IS {}", literal(comment)));
        }
        if let Some(options) = row.opt(1).filter(|options| !options.is_empty()) {
            out.push(format!("ALTER TABLE {table} SET ({options})"));
        }
        if row.text(4) == "f" {
            out.push(format!("ALTER TABLE {table} REPLICA IDENTITY FULL"));
        }
        if row.text(5) == "u" {
            out.push(format!("ALTER TABLE {table} SET UNLOGGED"));
        }
        if row.flag(3) {
            out.push(format!("ALTER TABLE {table} OWNER TO {}", row.text(2)));
        }
    }
    Ok(out)
}
