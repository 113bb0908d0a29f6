//! Source and target side by side, in PostgreSQL's own text form.

use anyhow::{Result, ensure};
use weir_testkit::postgres::Database;

use super::case::Compared;

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn sorted(database: &Database, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
    let mut rows = database.rows(sql)?;
    rows.sort();
    Ok(rows)
}

/// The columns of a table, in order.
pub fn columns(database: &Database, table: &str) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('{}') AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        table.replace('\'', "''")
    );
    Ok(database.rows(sql)?.into_iter().flatten().flatten().collect())
}

/// Everything about the tables that a refused change must not touch.
pub fn shape(database: &Database) -> Result<Vec<Vec<Option<String>>>> {
    sorted(
        database,
        "SELECT c.oid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND a.attnum > 0",
    )
}

/// Whether the target has what it is to have. `tables` as the pipeline names them.
pub fn equal(source: &Database, target: &Database, tables: &[String], compared: &Compared) -> Result<()> {
    let (left, right, rows) = match compared {
        Compared::Queries(left, right) => (sorted(source, left)?, sorted(target, right)?, None),
        Compared::Without(names) => {
            let (mut left, mut right) = (Vec::new(), Vec::new());
            for table in tables {
                let (here, there) = (columns(source, table)?, columns(target, table)?);
                ensure!(!here.is_empty(), "{table} is not at the source");
                let unwanted: Vec<&String> = names.iter().filter(|name| there.contains(name)).collect();
                ensure!(unwanted.is_empty(), "the target has {unwanted:?}");
                let list: Vec<String> =
                    here.iter().filter(|name| !names.contains(name)).map(|name| format!("{}::text", quoted(name))).collect();
                let sql = format!("SELECT '{}', {} FROM {table}", table.replace('\'', "''"), list.join(", "));
                left.extend(sorted(source, &sql)?);
                right.extend(sorted(target, &sql)?);
            }
            (left, right, Some(tables))
        }
    };
    ensure!(!left.is_empty() || rows.is_none(), "the source has no rows, so nothing is compared");
    if left != right {
        let only = |a: &[Vec<Option<String>>], b: &[Vec<Option<String>>]| -> Vec<String> {
            a.iter().filter(|row| !b.contains(row)).take(5).map(|row| format!("{row:?}")).collect()
        };
        let (source, target) = (only(&left, &right), only(&right, &left));
        anyhow::bail!(
            "{} rows and {}; only at the source: {source:#?}; only at the target: {target:#?}",
            left.len(),
            right.len()
        );
    }
    Ok(())
}

/// Rows of the new shape, which have ids from 100 on.
pub fn new_rows(target: &Database, tables: &[String]) -> Result<u64> {
    let mut count = 0;
    for table in tables {
        if columns(target, table)?.iter().any(|name| name == "id") {
            count += target.value(format!("SELECT count(*) FROM {table} WHERE id::text ~ '^[0-9]{{3,}}$'"))?.parse::<u64>()?;
        }
    }
    Ok(count)
}
