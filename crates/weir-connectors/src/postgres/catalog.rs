//! Questions to the system catalogue: which tables there are, their columns, keys, sizes and storage.

use std::collections::{BTreeMap, HashMap};

use globset::GlobBuilder;
use weir_connect::{Error, Kind, OnLoss, Result};

use super::client::{Client, Row};
use super::quote::{self, TableName};
use super::types::{PgType, SourceColumn, TypeMap, source_column};

/// A table, view, foreign table or partitioned table.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its number.
    pub oid: u32,
    /// Its name.
    pub name: TableName,
    /// `r` table, `p` partitioned, `m` materialised view, `v` view, `f` foreign.
    pub kind: char,
    /// Estimate, if the server has one.
    pub rows: Option<u64>,
    /// Bytes of the table itself, partitions included.
    pub bytes: u64,
}

/// A column as the catalogue has it.
#[derive(Debug, Clone)]
pub struct RawColumn {
    /// Name.
    pub name: String,
    /// Type.
    pub type_oid: u32,
    /// Type modifier.
    pub typmod: i32,
    /// `numeric(15,2)`.
    pub type_name: String,
    /// Declared NOT NULL.
    pub not_null: bool,
    /// Has a default, is an identity or generated: a row may leave it out.
    pub optional: bool,
    /// Generated: a row must leave it out.
    pub generated: bool,
}

/// Columns and key of one table.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Columns in order.
    pub columns: Vec<RawColumn>,
    /// Primary key.
    pub key: Vec<String>,
}

/// `{1,2}` for a parameter of type `oid[]`.
fn oid_array(oids: impl IntoIterator<Item = u32>) -> String {
    let list: Vec<String> = oids.into_iter().map(|oid| oid.to_string()).collect();
    format!("{{{}}}", list.join(","))
}

const RELATIONS: &str = "SELECT c.oid, n.nspname, c.relname, c.relkind, \
    CASE WHEN c.relkind = 'p' THEN (SELECT sum(greatest(l.reltuples, 0)) FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid WHERE t.isleaf) \
         WHEN c.reltuples >= 0 THEN c.reltuples END::bigint, \
    CASE WHEN c.relkind = 'p' THEN (SELECT coalesce(sum(pg_relation_size(t.relid)), 0) FROM pg_partition_tree(c.oid) t WHERE t.isleaf) \
         WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 0 END::bigint, \
    c.relispartition \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace";

fn relation(row: &Row) -> Relation {
    Relation {
        oid: row.int(0) as u32,
        name: TableName::new(row.text(1), row.text(2)),
        kind: row.text(3).chars().next().unwrap_or('r'),
        rows: row.opt(4).and_then(|text| text.parse().ok()),
        bytes: row.int(5).max(0) as u64,
    }
}

/// Every relation that could be read, with whether it is a partition of another one.
async fn relations(client: &mut Client) -> Result<Vec<(Relation, bool)>> {
    let sql = format!(
        "{RELATIONS} WHERE c.relkind IN ('r','p','m','v','f') AND n.nspname NOT IN ('pg_catalog','information_schema') \
         AND n.nspname !~ '^pg_(toast|temp)' ORDER BY n.nspname, c.relname"
    );
    Ok(client.query(&sql, &[]).await?.iter().map(|row| (relation(row), row.flag(6))).collect())
}

/// The relation of that name.
pub async fn find(client: &mut Client, name: &TableName) -> Result<Option<Relation>> {
    let sql = format!("{RELATIONS} WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r','p','m','v','f')");
    let rows = client.query(&sql, &[Some(&name.schema), Some(&name.table)]).await?;
    Ok(rows.first().map(relation))
}

enum Part {
    Exact(String),
    Glob(globset::GlobMatcher),
}

impl Part {
    fn new(text: &str, quoted: bool) -> Result<Self> {
        if quoted || !text.contains(['*', '?', '[', '{']) {
            return Ok(Self::Exact(text.to_string()));
        }
        let glob = GlobBuilder::new(text)
            .build()
            .map_err(|error| Error::new("WEIR-PG-001", Kind::Spec, format!("`{text}` is not a valid pattern")).because(error))?;
        Ok(Self::Glob(glob.compile_matcher()))
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Glob(glob) => glob.is_match(text),
        }
    }
}

/// One entry of `tables`.
struct Pattern {
    text: String,
    excludes: bool,
    schema: Part,
    table: Part,
}

impl Pattern {
    fn new(text: &str, default_schema: &str) -> Result<Self> {
        let (excludes, body) = match text.strip_prefix('!') {
            Some(body) => (true, body.trim()),
            None => (false, text),
        };
        let (schema, table) = quote::split(body);
        Ok(Self {
            text: text.to_string(),
            excludes,
            schema: Part::new(schema.as_deref().unwrap_or(default_schema), body.starts_with('"') && schema.is_some())?,
            table: Part::new(&table, body.ends_with('"'))?,
        })
    }

    fn exact(&self) -> bool {
        matches!((&self.schema, &self.table), (Part::Exact(_), Part::Exact(_)))
    }

    fn matches(&self, relation: &Relation, is_partition: bool) -> bool {
        // By pattern only what stores rows of its own: a view or a single partition would give rows twice.
        let ours = relation.name.table.starts_with("_weir_stage_") || relation.name.schema == "_weir";
        let plain = matches!(relation.kind, 'r' | 'p' | 'f') && !is_partition && !ours;
        (plain || self.exact() || self.excludes)
            && self.schema.matches(&relation.name.schema)
            && self.table.matches(&relation.name.table)
    }
}

/// The relations that the patterns choose, sorted by name. A pattern that chooses nothing is an error.
pub async fn choose(client: &mut Client, patterns: &[String], default_schema: &str) -> Result<Vec<Relation>> {
    let patterns = patterns.iter().map(|text| Pattern::new(text, default_schema)).collect::<Result<Vec<_>>>()?;
    let all = relations(client).await?;
    for pattern in patterns.iter().filter(|pattern| !pattern.excludes) {
        if !all.iter().any(|(relation, partition)| pattern.matches(relation, *partition)) {
            let mut known: Vec<String> = all.iter().filter(|(_, p)| !p).map(|(relation, _)| relation.name.display()).collect();
            known.truncate(12);
            let seen = if known.is_empty() { "there are no tables that this user can see".into() } else { known.join(", ") };
            return Err(Error::new("WEIR-PG-007", Kind::NotFound, format!("`{}` matches no table", pattern.text))
                .at(client.place())
                .because(format!("tables there: {seen}"))
                .hint("names are case-sensitive; a name without schema is looked up in `schema` (default public)"));
        }
    }
    let chosen: Vec<Relation> = all
        .into_iter()
        .filter(|(relation, partition)| {
            patterns.iter().any(|pattern| !pattern.excludes && pattern.matches(relation, *partition))
                && !patterns.iter().any(|pattern| pattern.excludes && pattern.matches(relation, *partition))
        })
        .map(|(relation, _)| relation)
        .collect();
    if chosen.is_empty() {
        return Err(Error::new("WEIR-PG-007", Kind::NotFound, "`tables` excludes everything that it chooses").at(client.place()));
    }
    Ok(chosen)
}

/// Every relation of the database that this user may read.
pub async fn readable(client: &mut Client) -> Result<Vec<Relation>> {
    let rows = client
        .query("SELECT c.oid FROM pg_class c WHERE has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(c.relnamespace, 'USAGE')", &[])
        .await?;
    let allowed: std::collections::HashSet<u32> = rows.iter().map(|row| row.int(0) as u32).collect();
    let all = relations(client).await?;
    Ok(all.into_iter().filter(|(found, partition)| !partition && allowed.contains(&found.oid)).map(|(found, _)| found).collect())
}

/// Columns and keys of tables.
pub async fn shapes(client: &mut Client, oids: &[u32]) -> Result<HashMap<u32, Shape>> {
    let list = oid_array(oids.iter().copied());
    let mut shapes: HashMap<u32, Shape> = oids.iter().map(|oid| (*oid, Shape::default())).collect();
    let columns = client
        .query(
            "SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
             a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '', a.attgenerated <> '' OR a.attidentity = 'a' \
             FROM pg_attribute a WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY a.attrelid, a.attnum",
            &[Some(&list)],
        )
        .await?;
    for row in &columns {
        shapes.entry(row.int(0) as u32).or_default().columns.push(RawColumn {
            name: row.text(1).into(),
            type_oid: row.int(2) as u32,
            typmod: row.int(3) as i32,
            type_name: row.text(4).into(),
            not_null: row.flag(5),
            optional: row.flag(6),
            generated: row.flag(7),
        });
    }
    let keys = client
        .query(
            "SELECT i.indrelid, a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
             WHERE i.indisprimary AND i.indrelid = ANY($1::oid[]) ORDER BY i.indrelid, k.place",
            &[Some(&list)],
        )
        .await?;
    for row in &keys {
        shapes.entry(row.int(0) as u32).or_default().key.push(row.text(1).into());
    }
    Ok(shapes)
}

/// What is needed to map columns: the types they use, and how many digits money has.
pub struct TypeContext {
    types: TypeMap,
    money_scale: i8,
}

impl TypeContext {
    /// Loads types with everything they are made of.
    pub async fn load(client: &mut Client, oids: impl IntoIterator<Item = u32>) -> Result<Self> {
        let list = oid_array(oids);
        let rows = client
            .query(
                "WITH RECURSIVE needed(oid) AS (SELECT unnest($1::oid[]) UNION SELECT part.oid FROM needed JOIN pg_type t ON t.oid = needed.oid \
                 CROSS JOIN LATERAL (VALUES (t.typbasetype), (CASE WHEN t.typoutput = 'pg_catalog.array_out'::regproc THEN t.typelem END)) part(oid) \
                 WHERE part.oid <> 0) \
                 SELECT t.oid, t.typname, t.typtype, CASE WHEN t.typoutput = 'pg_catalog.array_out'::regproc THEN t.typelem ELSE 0 END, \
                 t.typbasetype, t.typtypmod, scale('1'::money::numeric) FROM needed JOIN pg_type t ON t.oid = needed.oid",
                &[Some(&list)],
            )
            .await?;
        let types = rows
            .iter()
            .map(|row| {
                let oid = row.int(0) as u32;
                let found = PgType {
                    oid,
                    name: row.text(1).into(),
                    kind: row.text(2).chars().next().unwrap_or('b'),
                    element: row.int(3) as u32,
                    base: row.int(4) as u32,
                    base_typmod: row.int(5) as i32,
                };
                (oid, found)
            })
            .collect();
        Ok(Self { types, money_scale: rows.first().map_or(2, |row| row.int(6) as i8) })
    }

    /// The type of that number.
    pub fn get(&self, oid: u32) -> Option<&PgType> {
        self.types.get(&oid)
    }

    /// The columns' ways into Arrow, without those that `on_loss: drop` leaves out.
    pub fn source_columns<'a>(&self, columns: impl IntoIterator<Item = &'a RawColumn>, on_loss: &OnLoss) -> Vec<SourceColumn> {
        let map = |column: &RawColumn| {
            let RawColumn { name, type_oid, typmod, type_name, not_null, .. } = column;
            source_column(name, *type_oid, *typmod, type_name, *not_null, &self.types, self.money_scale, on_loss)
        };
        columns.into_iter().filter_map(map).collect()
    }
}

/// A relation with rows of its own: a table, a partition, a child by inheritance.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Storage {
    /// Its number.
    pub oid: u32,
    /// Schema.
    pub schema: String,
    /// Name.
    pub table: String,
    /// The file behind it: another one after TRUNCATE, VACUUM FULL, CLUSTER or a rewriting ALTER TABLE. 0 if it has none.
    pub filenode: u64,
    /// Blocks at the time of the plan.
    pub blocks: u64,
    /// Has row addresses (`ctid`) that can be divided, and this user may read it by its own name: through the partitioned table no privilege
    /// on the partitions is needed.
    pub heap: bool,
}

/// Where the rows of a relation lie: itself, its partitions and children.
pub async fn storage(client: &mut Client, relation: &Relation) -> Result<Vec<Storage>> {
    let rows = client
        .query(
            "WITH RECURSIVE tree(oid) AS (SELECT $1::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid) \
             SELECT c.oid, n.nspname, c.relname, coalesce(pg_relation_filenode(c.oid), 0), \
             CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) / current_setting('block_size')::bigint ELSE 0 END, \
             c.relkind IN ('r', 'm') AND coalesce(am.amname, '') = 'heap' AND has_table_privilege(c.oid, 'SELECT') \
             AND has_schema_privilege(c.relnamespace, 'USAGE') \
             FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_am am ON am.oid = c.relam WHERE c.relkind <> 'p' ORDER BY n.nspname, c.relname",
            &[Some(&relation.oid.to_string())],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| Storage {
            oid: row.int(0) as u32,
            schema: row.text(1).into(),
            table: row.text(2).into(),
            filenode: row.int(3) as u64,
            blocks: row.int(4) as u64,
            heap: row.flag(5),
        })
        .collect())
}

/// Table name → what depends on it in a way that a swap would break; empty if a swap is safe.
pub async fn swap_obstacles(client: &mut Client, oid: u32) -> Result<Vec<String>> {
    let oid = oid.to_string();
    let rows = client
        .query(
            "SELECT 'a view reads it' FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_rewrite'::regclass \
               WHERE d.refobjid = $1::oid AND d.refclassid = 'pg_class'::regclass AND r.ev_class <> $1::oid \
             UNION SELECT 'a foreign key refers to it' FROM pg_constraint WHERE confrelid = $1::oid AND conrelid <> $1::oid \
             UNION SELECT 'it has a foreign key' FROM pg_constraint WHERE conrelid = $1::oid AND contype = 'f' \
             UNION SELECT 'it has triggers' FROM pg_trigger WHERE tgrelid = $1::oid AND NOT tgisinternal \
             UNION SELECT 'it has rules' FROM pg_rewrite WHERE ev_class = $1::oid AND rulename <> '_RETURN' \
             UNION SELECT 'it has row security' FROM pg_class WHERE oid = $1::oid AND (relrowsecurity OR relforcerowsecurity) \
             UNION SELECT 'it has policies' FROM pg_policy WHERE polrelid = $1::oid \
             UNION SELECT 'it is partitioned, a partition or inherited' FROM pg_class WHERE oid = $1::oid AND (relkind <> 'r' OR relispartition OR relhassubclass) \
             UNION SELECT 'it inherits' FROM pg_inherits WHERE inhrelid = $1::oid \
             UNION SELECT 'it is published' FROM pg_publication_rel WHERE prrelid = $1::oid \
             UNION SELECT 'it owns a sequence' FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' \
               WHERE d.refobjid = $1::oid AND d.refclassid = 'pg_class'::regclass AND d.classid = 'pg_class'::regclass \
             UNION SELECT 'columns have privileges of their own' FROM pg_attribute WHERE attrelid = $1::oid AND attacl IS NOT NULL \
             UNION SELECT 'it has extended statistics' FROM pg_statistic_ext WHERE stxrelid = $1::oid \
             UNION SELECT 'it has a type of its own' FROM pg_class WHERE oid = $1::oid AND reloftype <> 0",
            &[Some(&oid)],
        )
        .await?;
    Ok(rows.iter().map(|row| row.text(0).to_string()).collect())
}

/// A stable text of names and types, to see whether a table was altered.
pub fn fingerprint(columns: &[RawColumn]) -> String {
    let parts: BTreeMap<&str, String> =
        columns.iter().map(|column| (column.name.as_str(), format!("{}:{}", column.type_oid, column.typmod))).collect();
    serde_json::to_string(&parts).unwrap_or_default()
}
