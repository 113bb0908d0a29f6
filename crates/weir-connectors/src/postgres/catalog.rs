//! What the server's catalogue says: tables, columns, keys, sizes.

use tokio_postgres::Client;
use weir_connect::{OnLoss, Result};

use super::client::explain;
use super::config::quote;
use super::types::{PgType, ReadColumn, read_column};

/// A table or view to read.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its OID.
    pub oid: u32,
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// About how many rows.
    pub rows: Option<u64>,
    /// Bytes on disk.
    pub bytes: u64,
}

impl Relation {
    /// `schema.table`.
    pub fn stream(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
    /// The quoted name.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

/// A part of a table that has blocks of its own: the table itself, or a leaf partition or child.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// OID.
    pub oid: u32,
    /// Quoted name.
    pub quoted: String,
    /// Physical file; a rewrite of the table changes it.
    pub filenode: u32,
    /// Blocks now.
    pub blocks: u64,
    /// Whether it has ctids (foreign tables have not).
    pub physical: bool,
}

/// All readable relations, system schemas left out, sorted.
pub async fn relations(client: &Client) -> Result<Vec<Relation>> {
    let rows = client
        .query(
            "SELECT c.oid, n.nspname, c.relname,
                    CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END,
                    CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 0 END
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
               AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
               AND n.nspname NOT LIKE 'pg_temp%' AND has_schema_privilege(n.oid, 'USAGE')
             ORDER BY 2, 3",
            &[],
        )
        .await
        .map_err(explain)?;
    Ok(rows
        .iter()
        .map(|row| Relation {
            oid: row.get(0),
            schema: row.get(1),
            name: row.get(2),
            rows: row.get::<_, Option<i64>>(3).and_then(|rows| u64::try_from(rows).ok()),
            bytes: u64::try_from(row.get::<_, i64>(4)).unwrap_or_default(),
        })
        .collect())
}

/// The columns of a relation as they will be read, in their order.
pub async fn columns(client: &Client, oid: u32, on_loss: &OnLoss) -> Result<Vec<ReadColumn>> {
    let rows = client
        .query(
            "SELECT a.attname, a.attnotnull, b.oid, b.typtype::text, b.typelem, coalesce(e.typtype, 'b')::text,
                    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
                    format_type(a.atttypid, a.atttypmod), b.typcategory::text
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
             LEFT JOIN pg_type e ON e.oid = b.typelem
             WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            &[&oid],
        )
        .await
        .map_err(explain)?;
    Ok(rows
        .iter()
        .filter_map(|row| {
            let name: String = row.get(0);
            let letter = |index: usize| row.get::<_, String>(index).chars().next().unwrap_or('b');
            // `name` and `point` have an element type too, but only category A is an array.
            let element: u32 = if letter(8) == 'A' { row.get(4) } else { 0 };
            let kind = PgType {
                oid: row.get(2),
                kind: letter(3),
                element,
                element_kind: letter(5),
                modifier: row.get(6),
                name: row.get(7),
            };
            read_column(&name, !row.get::<_, bool>(1), &kind, on_loss.for_column(&name))
        })
        .collect())
}

/// The type of an OID, for the columns of a query.
pub async fn type_of(client: &Client, oid: u32, modifier: i32) -> Result<PgType> {
    let row = client
        .query_one(
            "SELECT b.oid, b.typtype::text, b.typelem, coalesce(e.typtype, 'b')::text,
                    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE $2 END, format_type(t.oid, $2), b.typcategory::text
             FROM pg_type t JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
             LEFT JOIN pg_type e ON e.oid = b.typelem WHERE t.oid = $1",
            &[&oid, &modifier],
        )
        .await
        .map_err(explain)?;
    let letter = |index: usize| row.get::<_, String>(index).chars().next().unwrap_or('b');
    Ok(PgType {
        oid: row.get(0),
        kind: letter(1),
        element: if letter(6) == 'A' { row.get(2) } else { 0 },
        element_kind: letter(3),
        modifier: row.get(4),
        name: row.get(5),
    })
}

/// Columns of the primary key, in key order.
pub async fn primary_key(client: &Client, oid: u32) -> Result<Vec<String>> {
    let rows = client
        .query(
            "SELECT a.attname FROM pg_index i
             CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
             WHERE i.indrelid = $1 AND i.indisprimary ORDER BY k.place",
            &[&oid],
        )
        .await
        .map_err(explain)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The physical parts of a relation: itself and everything that inherits from it.
pub async fn leaves(client: &Client, oid: u32) -> Result<Vec<Leaf>> {
    let rows = client
        .query(
            "WITH RECURSIVE part(oid) AS (
               SELECT $1::oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN part ON i.inhparent = part.oid)
             SELECT c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname), coalesce(pg_relation_filenode(c.oid), 0::oid),
                    coalesce(pg_relation_size(c.oid) / current_setting('block_size')::bigint, 0), c.relkind::text
             FROM part JOIN pg_class c ON c.oid = part.oid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind <> 'p' ORDER BY c.oid",
            &[&oid],
        )
        .await
        .map_err(explain)?;
    Ok(rows
        .iter()
        .map(|row| Leaf {
            oid: row.get(0),
            quoted: row.get(1),
            filenode: row.get(2),
            blocks: u64::try_from(row.get::<_, i64>(3)).unwrap_or_default(),
            physical: matches!(row.get::<_, String>(4).as_str(), "r" | "m"),
        })
        .collect())
}
