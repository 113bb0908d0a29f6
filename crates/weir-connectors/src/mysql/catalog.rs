//! What `information_schema` says: tables that match a pattern, their columns, keys and sizes.

use std::collections::HashMap;

use globset::GlobBuilder;
use weir_connect::{Error, Kind, Result};

use super::client::{Client, Param, Row};
use super::quote::{self, TableName};
use super::types::ColumnType;

/// Databases of the server itself.
const OWN: &str = "('mysql', 'information_schema', 'performance_schema', 'sys')";

/// A table or view.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    /// Name.
    pub name: TableName,
    /// A base table, not a view.
    pub table: bool,
    /// `InnoDB`; empty for a view.
    pub engine: String,
    /// About how many rows.
    pub rows: Option<u64>,
    /// Bytes of rows.
    pub bytes: u64,
    /// Divided by the server.
    pub partitioned: bool,
}

impl Relation {
    /// Whether several statements can see one state of it.
    pub fn transactional(&self) -> bool {
        self.table && self.engine.eq_ignore_ascii_case("InnoDB")
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub struct RawColumn {
    /// Name.
    pub name: String,
    /// Type.
    pub of: ColumnType,
    /// The server's words for it.
    pub type_name: String,
    /// May not be NULL.
    pub not_null: bool,
    /// The server fills it if nobody does.
    pub optional: bool,
    /// The server computes it.
    pub generated: bool,
    /// `latin1`; empty for what is no text.
    pub charset: String,
    /// `latin1_swedish_ci`; empty for what is no text.
    pub collation: String,
    /// The default as `information_schema` says it.
    pub default: Option<String>,
    /// `auto_increment`, `on update …`.
    pub extra: String,
    /// Comment.
    pub comment: String,
}

/// Columns and primary key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    /// In their order.
    pub columns: Vec<RawColumn>,
    /// Columns of the primary key.
    pub key: Vec<String>,
}

const RELATIONS: &str = "SELECT t.TABLE_SCHEMA, t.TABLE_NAME, t.TABLE_TYPE, CAST(COALESCE(t.ENGINE, '') AS CHAR), \
    CAST(t.TABLE_ROWS AS CHAR), CAST(COALESCE(t.DATA_LENGTH, 0) AS CHAR), CAST(COALESCE(t.CREATE_OPTIONS, '') AS CHAR) \
    FROM information_schema.TABLES t";

fn relation(row: &Row) -> Relation {
    Relation {
        name: TableName::new(row.text(0), row.text(1)),
        table: matches!(row.text(2), "BASE TABLE" | "SYSTEM VERSIONED"),
        engine: row.text(3).into(),
        rows: row.opt(4).and_then(|text| text.parse().ok()),
        bytes: row.uint(5),
        partitioned: row.text(6).contains("partitioned"),
    }
}

/// Every table and view that this user sees.
pub async fn visible(client: &mut Client) -> Result<Vec<Relation>> {
    let sql = format!(
        "{RELATIONS} WHERE t.TABLE_SCHEMA NOT IN {OWN} AND t.TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED', 'VIEW') \
         ORDER BY t.TABLE_SCHEMA, t.TABLE_NAME"
    );
    Ok(client.query(&sql, &[]).await?.iter().map(relation).collect())
}

/// The relation of that name.
pub async fn find(client: &mut Client, name: &TableName) -> Result<Option<Relation>> {
    let sql = format!("{RELATIONS} WHERE t.TABLE_SCHEMA = ? AND t.TABLE_NAME = ?");
    let rows = client.query(&sql, &[name.database.as_str().into(), name.table.as_str().into()]).await?;
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
            .map_err(|error| Error::new("WEIR-MY-001", Kind::Spec, format!("`{text}` is not a valid pattern")).because(error))?;
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
    database: Part,
    table: Part,
}

impl Pattern {
    fn new(text: &str, default_database: &str) -> Result<Self> {
        let (excludes, body) = match text.strip_prefix('!') {
            Some(body) => (true, body.trim()),
            None => (false, text),
        };
        let (database, table) = quote::split(body);
        Ok(Self {
            text: text.to_string(),
            excludes,
            database: Part::new(database.as_deref().unwrap_or(default_database), database.is_none() || body.starts_with('`'))?,
            table: Part::new(&table, body.ends_with('`'))?,
        })
    }

    fn matches(&self, relation: &Relation) -> bool {
        let exact = matches!((&self.database, &self.table), (Part::Exact(_), Part::Exact(_)));
        // By pattern only what stores rows of its own: a view would give rows twice.
        let ours = relation.name.table.starts_with("_weir_stage_") || relation.name.database == "_weir";
        ((relation.table && !ours) || exact || self.excludes)
            && self.database.matches(&relation.name.database)
            && self.table.matches(&relation.name.table)
    }
}

/// The relations that the patterns choose, sorted by name. A pattern that chooses nothing is an error.
pub async fn choose(client: &mut Client, patterns: &[String], default_database: &str) -> Result<Vec<Relation>> {
    let patterns = patterns.iter().map(|text| Pattern::new(text, default_database)).collect::<Result<Vec<_>>>()?;
    let all = visible(client).await?;
    for pattern in patterns.iter().filter(|pattern| !pattern.excludes) {
        if !all.iter().any(|relation| pattern.matches(relation)) {
            let mut known: Vec<String> = all.iter().map(|relation| relation.name.display()).collect();
            known.truncate(12);
            let seen = if known.is_empty() { "there are no tables that this user can see".into() } else { known.join(", ") };
            return Err(Error::new("WEIR-MY-007", Kind::NotFound, format!("`{}` matches no table", pattern.text))
                .at(client.place())
                .because(format!("tables there: {seen}"))
                .hint(
                    "write `database.table`, or set `database` on the connection; a table is seen only with a privilege on it",
                ));
        }
    }
    let chosen: Vec<Relation> = all
        .into_iter()
        .filter(|relation| {
            patterns.iter().any(|pattern| !pattern.excludes && pattern.matches(relation))
                && !patterns.iter().any(|pattern| pattern.excludes && pattern.matches(relation))
        })
        .collect();
    if chosen.is_empty() {
        return Err(Error::new("WEIR-MY-007", Kind::NotFound, "`tables` excludes everything that it chooses").at(client.place()));
    }
    Ok(chosen)
}

/// Columns and keys of all tables of some databases, or of one table.
async fn shapes_where(client: &mut Client, condition: &str, parameters: &[Param]) -> Result<HashMap<TableName, Shape>> {
    let mut shapes: HashMap<TableName, Shape> = HashMap::new();
    let rows = client
        .query(
            &format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, CAST(COLUMN_TYPE AS CHAR), IS_NULLABLE, CAST(COLUMN_DEFAULT AS CHAR), \
                 CAST(EXTRA AS CHAR), CAST(COALESCE(GENERATION_EXPRESSION, '') AS CHAR), CAST(COALESCE(CHARACTER_SET_NAME, '') AS CHAR), \
                 CAST(COALESCE(COLLATION_NAME, '') AS CHAR), CAST(COLUMN_COMMENT AS CHAR) \
                 FROM information_schema.COLUMNS WHERE {condition} ORDER BY TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION"
            ),
            parameters,
        )
        .await?;
    for row in &rows {
        let extra = row.text(6).to_ascii_lowercase();
        let generated = !row.text(7).is_empty() || extra.contains("generated") && !extra.contains("default_generated");
        let default = row.opt(5).map(str::to_string);
        let not_null = row.text(4) != "YES";
        let column = RawColumn {
            name: row.text(2).into(),
            of: ColumnType::parse(row.text(3)),
            type_name: row.text(3).into(),
            not_null,
            optional: !not_null || default.is_some() || generated || extra.contains("auto_increment"),
            generated,
            charset: row.text(8).into(),
            collation: row.text(9).into(),
            default,
            extra,
            comment: row.text(10).into(),
        };
        shapes.entry(TableName::new(row.text(0), row.text(1))).or_default().columns.push(column);
    }
    let keys = client
        .query(
            &format!(
                "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS WHERE INDEX_NAME = 'PRIMARY' AND {condition} \
                 ORDER BY TABLE_SCHEMA, TABLE_NAME, SEQ_IN_INDEX"
            ),
            parameters,
        )
        .await?;
    for row in &keys {
        shapes.entry(TableName::new(row.text(0), row.text(1))).or_default().key.push(row.text(2).into());
    }
    Ok(shapes)
}

/// Columns and key of one table.
pub async fn shape(client: &mut Client, name: &TableName) -> Result<Shape> {
    let parameters = [name.database.as_str().into(), name.table.as_str().into()];
    let mut found = shapes_where(client, "TABLE_SCHEMA = ? AND TABLE_NAME = ?", &parameters).await?;
    Ok(found.remove(name).unwrap_or_default())
}

/// Columns and keys of many tables.
pub async fn shapes(client: &mut Client, relations: &[Relation]) -> Result<HashMap<TableName, Shape>> {
    let mut databases: Vec<&str> = relations.iter().map(|relation| relation.name.database.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    let mut all = HashMap::new();
    for database in databases {
        all.extend(shapes_where(client, "TABLE_SCHEMA = ?", &[database.into()]).await?);
    }
    Ok(all)
}

/// Unique indexes without expressions or prefixes: their columns, sorted.
pub async fn unique_indexes(client: &mut Client, name: &TableName) -> Result<Vec<Vec<String>>> {
    let rows = client
        .query(
            "SELECT INDEX_NAME, COALESCE(COLUMN_NAME, ''), CAST(COALESCE(SUB_PART, 0) AS CHAR) FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0",
            &[name.database.as_str().into(), name.table.as_str().into()],
        )
        .await?;
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for row in &rows {
        let part = if row.text(2) == "0" { row.text(1) } else { "" };
        found.entry(row.text(0).into()).or_default().push(part.into());
    }
    let mut indexes: Vec<Vec<String>> =
        found.into_values().filter(|columns| columns.iter().all(|name| !name.is_empty())).collect();
    indexes.iter_mut().for_each(|columns| columns.sort_unstable());
    Ok(indexes)
}

/// How many unique indexes there are, those with expressions or prefixes included.
pub async fn count_unique(client: &mut Client, name: &TableName) -> Result<usize> {
    let rows = client
        .query(
            "SELECT CAST(COUNT(DISTINCT INDEX_NAME) AS CHAR) FROM information_schema.STATISTICS \
             WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0",
            &[name.database.as_str().into(), name.table.as_str().into()],
        )
        .await?;
    Ok(rows.first().map_or(0, |row| row.uint(0) as usize))
}

/// Foreign keys that refer to a table, its own included.
pub async fn referring(client: &mut Client, name: &TableName) -> Result<Vec<String>> {
    let rows = client
        .query(
            "SELECT CONCAT(CONSTRAINT_SCHEMA, '.', TABLE_NAME, ' (', CONSTRAINT_NAME, ')') FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE UNIQUE_CONSTRAINT_SCHEMA = ? AND REFERENCED_TABLE_NAME = ?",
            &[name.database.as_str().into(), name.table.as_str().into()],
        )
        .await?;
    Ok(rows.iter().map(|row| row.text(0).to_string()).collect())
}

/// A stable text of names and types, to see whether a table was altered.
pub fn fingerprint(shape: &Shape) -> String {
    let columns: Vec<(&str, &str)> =
        shape.columns.iter().map(|column| (column.name.as_str(), column.type_name.as_str())).collect();
    serde_json::to_string(&(columns, &shape.key)).unwrap_or_default()
}
