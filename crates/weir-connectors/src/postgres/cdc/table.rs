//! Tables as the catalogue has them, and the shape of a stream: which columns travel in which order, how each becomes Arrow, what the key is.
//!
//! A shape comes from the catalogue when the log is opened, and from then on from the log's own relation messages, which are exact for the
//! point at which they stand; the catalogue may be ahead of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use twox_hash::XxHash3_64;
use weir_connect::fidelity::{COLUMN_ID, FILL, LOGICAL_TYPE};
use weir_connect::{OnLoss, Result};

use super::super::catalog::{RawColumn, Relation, TypeContext};
use super::super::client::Client;
use super::super::quote::{TableName, ident};
use super::super::types::{Select, SourceColumn, Travel, oid};
use super::decode::LogRelation;

/// A column of a table.
#[derive(Debug, Clone)]
pub struct CatalogColumn {
    /// As elsewhere.
    pub raw: RawColumn,
    /// Its number, which a rename keeps.
    pub attnum: i16,
    /// `s` stored, `v` virtual; blank if it is not generated.
    pub generated: char,
    /// Texts are ordered by their bytes.
    pub by_bytes: bool,
    /// What rows have in it that were there before it was.
    pub fill: Option<String>,
}

/// A table that can be followed.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its number.
    pub oid: u32,
    /// Its name.
    pub name: TableName,
    /// The name of its stream.
    pub stream: Arc<str>,
    /// Partitioned: changes of its partitions come as its own.
    pub partitioned: bool,
    /// `d`, `n`, `f`, `i`.
    pub identity: char,
    /// Columns in order, all of them.
    pub columns: Vec<CatalogColumn>,
    /// Columns of the replica identity's index, or of the primary key, in the index's order.
    pub key: Vec<String>,
    /// Partitions whose rows cannot be identified.
    pub loose_partitions: Vec<String>,
    /// Unlogged: its changes are not in the log.
    pub unlogged: bool,
    /// Estimate.
    pub rows: Option<u64>,
    /// Estimate.
    pub bytes: u64,
}

fn oids(relations: &[Relation]) -> String {
    let list: Vec<String> = relations.iter().map(|relation| relation.oid.to_string()).collect();
    format!("{{{}}}", list.join(","))
}

const COLUMNS: &str = "SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod), a.attnotnull, \
    a.attgenerated, a.attnum, CASE WHEN c.oid IS NULL THEN false WHEN c.oid = 100 THEN \
      CASE coalesce(to_jsonb(d)->>'datlocprovider', 'c') WHEN 'c' THEN d.datcollate IN ('C', 'POSIX') ELSE to_jsonb(d)->>'datlocprovider' = 'b' END \
    ELSE coalesce(c.collprovider = 'b' OR (c.collprovider = 'c' AND c.collcollate IN ('C', 'POSIX')), false) END, \
    CASE WHEN a.atthasmissing AND a.atttypid <> 603 THEN (a.attmissingval::text::text[])[1] END \
    FROM pg_attribute a JOIN pg_database d ON d.datname = current_database() LEFT JOIN pg_collation c ON c.oid = a.attcollation \
    WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum";

const KEYS: &str = "SELECT i.indrelid, a.attname FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid \
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place) \
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
    WHERE i.indrelid = ANY($1::oid[]) AND i.indimmediate AND k.place <= i.indnkeyatts \
    AND CASE t.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END ORDER BY i.indrelid, k.place";

const CLASSES: &str = "SELECT c.oid, c.relreplident, c.relpersistence, (SELECT string_agg(l.oid::regclass::text, ', ') FROM pg_partition_tree(c.oid) p \
    JOIN pg_class l ON l.oid = p.relid WHERE c.relkind = 'p' AND p.isleaf AND (l.relreplident = 'n' OR (l.relreplident = 'd' AND NOT EXISTS \
    (SELECT FROM pg_index i WHERE i.indrelid = l.oid AND i.indisprimary AND i.indimmediate)))) \
    FROM pg_class c WHERE c.oid = ANY($1::oid[])";

/// What the catalogue says about these relations, in their order.
pub async fn load(client: &mut Client, relations: &[Relation]) -> Result<Vec<Table>> {
    let list = oids(relations);
    let mut columns: HashMap<u32, Vec<CatalogColumn>> = HashMap::new();
    for row in &client.query(COLUMNS, &[Some(&list)]).await? {
        columns.entry(row.int(0) as u32).or_default().push(CatalogColumn {
            raw: RawColumn {
                name: row.text(1).into(),
                type_oid: row.int(2) as u32,
                typmod: row.int(3) as i32,
                type_name: row.text(4).into(),
                not_null: row.flag(5),
                optional: false,
                generated: !row.text(6).is_empty(),
            },
            attnum: row.int(7) as i16,
            generated: row.text(6).chars().next().unwrap_or(' '),
            by_bytes: row.flag(8),
            fill: row.opt(9).map(str::to_string),
        });
    }
    let mut keys: HashMap<u32, Vec<String>> = HashMap::new();
    for row in &client.query(KEYS, &[Some(&list)]).await? {
        keys.entry(row.int(0) as u32).or_default().push(row.text(1).into());
    }
    let classes = client.query(CLASSES, &[Some(&list)]).await?;
    Ok(relations
        .iter()
        .map(|relation| {
            let class = classes.iter().find(|row| row.int(0) as u32 == relation.oid);
            Table {
                oid: relation.oid,
                name: relation.name.clone(),
                stream: relation.name.display().into(),
                partitioned: relation.kind == 'p',
                identity: class.and_then(|row| row.text(1).chars().next()).unwrap_or('d'),
                columns: columns.remove(&relation.oid).unwrap_or_default(),
                key: keys.remove(&relation.oid).unwrap_or_default(),
                loose_partitions: class.and_then(|row| row.opt(3)).map(|text| vec![text.to_string()]).unwrap_or_default(),
                unlogged: class.is_some_and(|row| row.text(2) == "u"),
                rows: relation.rows,
                bytes: relation.bytes,
            }
        })
        .collect())
}

/// How a column of the log becomes one of the stream.
#[derive(Debug, Clone, PartialEq)]
pub struct WireColumn {
    /// Name.
    pub name: String,
    /// Type.
    pub type_oid: u32,
    /// Type modifier.
    pub typmod: i32,
    /// Which column of the stream it is; `None` if `on_loss: drop` leaves it out.
    pub place: Option<usize>,
}

/// The shape of a stream at one point of the log.
#[derive(Debug)]
pub struct Shape {
    /// Published columns in the log's order.
    pub wire: Vec<WireColumn>,
    /// Columns of the stream.
    pub columns: Vec<SourceColumn>,
    /// Their schema, as streams announce it.
    pub schema: SchemaRef,
    /// The same with every column nullable: a delete may have its key only.
    pub batch: SchemaRef,
    /// Key columns.
    pub key: Vec<String>,
    /// The types of the key columns, for casts.
    pub key_types: Vec<String>,
    /// Where the key columns are in [`Self::wire`].
    pub key_wire: Vec<usize>,
    /// What stands between the items of an array's text, per column of the stream.
    pub delimiters: Vec<u8>,
    /// Column numbers by name, as far as the catalogue still had them.
    pub attnums: BTreeMap<String, i16>,
    /// Some column is read as the server prints it: the log must come in text form.
    pub needs_text: bool,
    /// The numbers of the published columns, and a print of their names and types, by which [`numbers_left`] knows them again.
    pub left: String,
    /// How the key's values are compared as the server compares them; `None` if only the server can.
    pub order: Option<Vec<Travel>>,
}

/// Whether values of this kind are ordered as [`super::key`] orders them.
fn ordered(column: &CatalogColumn, travel: &Travel) -> bool {
    match travel {
        Travel::Bool | Travel::Int2 | Travel::Int4 | Travel::Int8 | Travel::Oid | Travel::Money { .. } => true,
        Travel::Date | Travel::Time | Travel::Timestamp | Travel::TimestampTz | Travel::Uuid | Travel::Bytes => true,
        Travel::Decimal128 { round, .. } => !round,
        Travel::Text => column.by_bytes && matches!(column.raw.type_oid, oid::TEXT | oid::VARCHAR),
        _ => false,
    }
}

impl Shape {
    /// From published columns and the names of the key.
    pub fn new(columns: &[CatalogColumn], key: &[String], types: &TypeContext, on_loss: &OnLoss) -> Self {
        let mapped = types.source_columns(columns.iter().map(|column| &column.raw), on_loss);
        let place = |name: &str| mapped.iter().position(|column| column.name == name);
        let wire: Vec<WireColumn> = columns
            .iter()
            .map(|column| WireColumn {
                name: column.raw.name.clone(),
                type_oid: column.raw.type_oid,
                typmod: column.raw.typmod,
                place: place(&column.raw.name),
            })
            .collect();
        let key: Vec<String> = key.iter().filter(|name| place(name).is_some()).cloned().collect();
        let key_wire = key.iter().filter_map(|name| wire.iter().position(|column| column.name == *name)).collect();
        let key_types = key
            .iter()
            .filter_map(|name| columns.iter().find(|column| column.raw.name == *name))
            .map(|column| column.raw.type_name.clone())
            .collect();
        let order = key
            .iter()
            .map(|name| {
                let column = columns.iter().find(|column| column.raw.name == *name)?;
                let travel = &mapped.get(place(name)?)?.travel;
                ordered(column, travel).then(|| travel.clone())
            })
            .collect::<Option<Vec<_>>>()
            .filter(|order| !order.is_empty());
        let numbered = |column: &SourceColumn| {
            let mut metadata = column.field.metadata().clone();
            if let Some(found) = columns.iter().find(|found| found.raw.name == column.name) {
                if found.attnum > 0 {
                    metadata.insert(COLUMN_ID.to_owned(), found.attnum.to_string());
                }
                metadata.extend(found.fill.clone().map(|fill| (FILL.to_owned(), fill)));
            }
            column.field.clone().with_metadata(metadata)
        };
        let schema = Arc::new(Schema::new(mapped.iter().map(numbered).collect::<Vec<_>>()));
        let nullable = |column: &SourceColumn| column.field.clone().with_nullable(true);
        let batch = Arc::new(Schema::new(mapped.iter().map(nullable).collect::<Vec<Field>>()));
        let delimiters = mapped
            .iter()
            .map(|column| match column.field.metadata().get(LOGICAL_TYPE).map(String::as_str) {
                Some("box") => b';',
                _ => b',',
            })
            .collect();
        Self {
            wire,
            schema,
            batch,
            key,
            key_types,
            key_wire,
            delimiters,
            left: {
                let numbers: Vec<String> = columns.iter().map(|column| column.attnum.to_string()).collect();
                let columns = columns.iter().map(|column| (column.raw.name.as_str(), column.raw.type_oid));
                format!("{} {}", numbers.join(","), print(columns))
            },
            attnums: columns
                .iter()
                .filter(|column| column.attnum > 0)
                .map(|column| (column.raw.name.clone(), column.attnum))
                .collect(),
            needs_text: mapped.iter().any(|column| column.select != Select::Plain),
            order,
            columns: mapped,
        }
    }

    /// Whether the log describes exactly these columns.
    pub fn fits(&self, relation: &LogRelation) -> bool {
        let same = |(wire, column): (&WireColumn, &super::decode::LogColumn)| {
            wire.name == column.name && wire.type_oid == column.type_oid && wire.typmod == column.typmod
        };
        let identity = |name: &String| relation.columns.iter().any(|column| column.identity && column.name == *name);
        let flagged = relation.columns.iter().filter(|column| column.identity).count();
        self.wire.len() == relation.columns.len()
            && self.wire.iter().zip(&relation.columns).all(same)
            && (relation.identity == b'f' || (self.key.iter().all(identity) && flagged == self.key.len()))
    }

    /// Whether a table with this shape gives the same stream.
    pub fn same(&self, other: &Self) -> bool {
        self.wire == other.wire && self.key == other.key && self.schema == other.schema
    }

    /// The select list of the snapshot. What is no Arrow type comes as the type's output function prints it, which is what the log has.
    pub fn select_list(&self) -> String {
        let expression = |column: &SourceColumn| {
            let name = ident(&column.name);
            match column.select {
                Select::Plain => name,
                Select::Text | Select::Output => format!("{} AS {name}", printed(&name)),
                // A cast of the array would cast the items, which for some types says something else than their output.
                Select::TextArray => format!(
                    "CASE WHEN array_ndims({name}) = 1 AND array_lower({name}, 1) = 1 THEN (SELECT array_agg({} ORDER BY weir_at) \
                     FROM generate_subscripts({name}, 1) AS weir_at) ELSE {name}::text[] END AS {name}",
                    printed(&format!("{name}[weir_at]"))
                ),
            }
        };
        self.columns.iter().map(expression).collect::<Vec<_>>().join(", ")
    }
}

/// A value as its type's output function prints it. `IS NOT NULL` would be false of a row that has a NULL in it.
pub fn printed(expression: &str) -> String {
    format!("CASE WHEN {expression} IS DISTINCT FROM NULL THEN format('%s', {expression}) END")
}

/// The published ones of a table's columns: those that a publication's list names, or all; generated ones only if the server publishes them.
pub fn published(table: &Table, listed: Option<&[String]>, generated: bool) -> Vec<CatalogColumn> {
    let wanted = |column: &&CatalogColumn| {
        listed.is_none_or(|names| names.contains(&column.raw.name))
            && (column.generated == ' ' || (generated && column.generated == 's'))
    };
    table.columns.iter().filter(wanted).cloned().collect()
}

fn print<'a>(columns: impl Iterator<Item = (&'a str, u32)>) -> String {
    let all: Vec<String> = columns.map(|(name, kind)| format!("{name}\u{1}{kind}")).collect();
    format!("{:016x}", XxHash3_64::oneshot(all.join("\u{2}").as_bytes()))
}

/// The numbers that [`Shape::left`] wrote, if the log describes the same columns.
fn numbers_left(left: &str, relation: &LogRelation) -> Option<Vec<i16>> {
    let (numbers, printed) = left.split_once(' ')?;
    let same = printed == print(relation.columns.iter().map(|column| (column.name.as_str(), column.type_oid)));
    same.then(|| numbers.split(',').map(str::parse).collect::<Result<Vec<i16>, _>>().ok()).flatten()
}

/// A column that the catalogue has or had.
struct Numbered<'a> {
    number: i16,
    /// `None`: dropped.
    now: Option<(&'a str, u32)>,
}

/// The numbers of the log's columns. The log has them in their order, but under the names of then, and the catalogue the names of now: of all
/// ways to number them in order, the one that agrees best with names and types that are known.
fn numbers(relation: &LogRelation, before: &BTreeMap<String, i16>, known: &[Numbered<'_>]) -> Vec<i16> {
    let columns = &relation.columns;
    let score = |column: &super::decode::LogColumn, known: &Numbered<'_>| -> u32 {
        let now = known.now.map_or(0, |(name, kind)| 2 * u32::from(name == column.name) + u32::from(kind == column.type_oid));
        now + 4 * u32::from(before.get(&column.name) == Some(&known.number))
    };
    // best[i][j]: of the first i columns among the first j numbers.
    let mut best = vec![vec![None; known.len() + 1]; columns.len() + 1];
    best[0].fill(Some(0));
    for i in 1..=columns.len() {
        for j in 1..=known.len() {
            let taken = best[i - 1][j - 1].map(|so_far: u32| so_far + score(&columns[i - 1], &known[j - 1]));
            best[i][j] = best[i][j - 1].max(taken);
        }
    }
    let mut found = vec![0; columns.len()];
    let (mut i, mut j) = (columns.len(), known.len());
    while i > 0 && j > 0 && best[i][j].is_some() {
        if best[i][j - 1] == best[i][j] {
            j -= 1;
        } else {
            found[i - 1] = known[j - 1].number;
            (i, j) = (i - 1, j - 1);
        }
    }
    found
}

/// The shape that the log describes. The catalogue is asked for types and names that it still has; nullability is only as new as the
/// catalogue, so a column that is new is nullable until the log is opened again.
/// `left` is what the last run left ([`Shape::left`]), as long as nothing of the table was read since.
pub async fn from_log(
    client: &mut Client,
    relation: &LogRelation,
    before: &Shape,
    left: Option<&str>,
    on_loss: &OnLoss,
) -> Result<Shape> {
    let oid = relation.oid.to_string();
    let now = client.query(COLUMNS, &[Some(&format!("{{{oid}}}"))]).await?;
    let keys = client.query(KEYS, &[Some(&format!("{{{oid}}}"))]).await?;
    let ever = client
        .query(
            "SELECT attnum, CASE WHEN NOT attisdropped THEN attname END, atttypid FROM pg_attribute \
             WHERE attrelid = $1::oid AND attnum > 0 AND (attisdropped OR attgenerated = '' OR attname = ANY($2::text[])) ORDER BY attnum",
            &[Some(&oid), Some(&array(relation.columns.iter().map(|column| column.name.as_str())))],
        )
        .await?;
    let ever: Vec<Numbered<'_>> = ever
        .iter()
        .map(|row| Numbered { number: row.int(0) as i16, now: row.opt(1).map(|name| (name, row.int(2) as u32)) })
        .collect();
    // What the catalogue had when the log was opened says nothing about what came before.
    let none = BTreeMap::new();
    let known = if left.is_some() { &none } else { &before.attnums };
    let numbers = left.and_then(|left| numbers_left(left, relation)).unwrap_or_else(|| numbers(relation, known, &ever));
    let mut columns = Vec::new();
    for (column, number) in relation.columns.iter().zip(numbers) {
        let found = now.iter().find(|row| row.text(1) == column.name);
        let known = before.columns.iter().find(|known| known.name == column.name);
        let names = client
            .query(
                "SELECT format_type($1::oid, $2::int)",
                &[Some(&column.type_oid.to_string()), Some(&column.typmod.to_string())],
            )
            .await?;
        columns.push(CatalogColumn {
            raw: RawColumn {
                name: column.name.clone(),
                type_oid: column.type_oid,
                typmod: column.typmod,
                type_name: names.first().map(|row| row.text(0).to_string()).unwrap_or_default(),
                not_null: known.is_some_and(|known| !known.field.is_nullable()) && found.is_some_and(|row| row.flag(5)),
                optional: false,
                generated: false,
            },
            attnum: number,
            generated: ' ',
            by_bytes: found.is_some_and(|row| row.flag(8)),
            fill: found
                .filter(|row| row.int(7) as i16 == number && row.int(2) as u32 == column.type_oid)
                .and_then(|row| row.opt(9))
                .map(str::to_string),
        });
    }
    let flagged: Vec<String> =
        relation.columns.iter().filter(|column| column.identity).map(|column| column.name.clone()).collect();
    let current: Vec<String> = keys.iter().map(|row| row.text(1).to_string()).collect();
    let has = |name: &String| relation.columns.iter().any(|column| column.name == *name);
    let key = if relation.identity == b'f' {
        // The log marks every column; the key is known from the catalogue only.
        if current.iter().all(has) { current } else { before.key.iter().filter(|name| has(name)).cloned().collect() }
    } else if current.len() == flagged.len() && current.iter().all(|name| flagged.contains(name)) {
        current
    } else {
        flagged
    };
    let types = TypeContext::load(client, columns.iter().map(|column| column.raw.type_oid)).await?;
    Ok(Shape::new(&columns, &key, &types, on_loss))
}

/// A literal of an array of texts.
fn array<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<String> = items.map(|item| format!("\"{}\"", item.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{{{}}}", items.join(","))
}

/// Columns that have the same number under another name.
pub fn renamed(before: &Shape, after: &Shape) -> Vec<(String, String)> {
    let found = |number: &i16| after.attnums.iter().find(|(_, other)| *other == number).map(|(name, _)| name.clone());
    let moved = before.attnums.iter().filter_map(|(old, number)| Some((old.clone(), found(number)?)));
    moved.filter(|(old, new)| old != new).collect()
}

#[cfg(test)]
mod tests {
    use super::super::decode::LogColumn;
    use super::*;

    fn relation(columns: &[(&str, u32)]) -> LogRelation {
        let column =
            |(name, kind): &(&str, u32)| LogColumn { identity: false, name: (*name).to_owned(), type_oid: *kind, typmod: -1 };
        let columns = columns.iter().map(column).collect();
        LogRelation { oid: 1, schema: "public".into(), table: "t".into(), identity: b'd', columns }
    }

    fn known(columns: &[(i16, Option<(&'static str, u32)>)]) -> Vec<Numbered<'static>> {
        columns.iter().map(|(number, now)| Numbered { number: *number, now: *now }).collect()
    }

    #[test]
    fn columns_of_the_past_find_their_numbers_under_the_names_of_now() {
        let log = relation(&[("id", 23), ("a", 25), ("b", 23)]);
        let none = BTreeMap::new();
        let renamed = known(&[(1, Some(("id", 23))), (2, Some(("z", 25))), (3, Some(("b", 23)))]);
        assert_eq!(numbers(&log, &none, &renamed), [1, 2, 3]);
        let dropped = known(&[(1, Some(("id", 23))), (2, None), (3, Some(("b", 23))), (4, Some(("c", 25)))]);
        assert_eq!(numbers(&log, &none, &dropped), [1, 2, 3]);
        // The log is past a rename that the shape before it has.
        let before = BTreeMap::from([("id".to_owned(), 1), ("a".to_owned(), 2), ("b".to_owned(), 3)]);
        let later = known(&[(1, Some(("id", 23))), (2, Some(("a", 25))), (3, Some(("z", 23))), (4, Some(("b", 25)))]);
        assert_eq!(numbers(&log, &before, &later), [1, 2, 3]);
        assert_eq!(numbers(&relation(&[("id", 23), ("a", 25), ("z", 23), ("b", 25)]), &before, &later), [1, 2, 3, 4]);
    }

    #[test]
    fn numbers_that_were_left_are_good_for_the_same_columns_only() {
        let log = relation(&[("id", 23), ("a", 25)]);
        let left = format!("1,7 {}", print([("id", 23), ("a", 25)].into_iter()));
        assert_eq!(numbers_left(&left, &log), Some(vec![1, 7]));
        assert_eq!(numbers_left(&left, &relation(&[("id", 23), ("a", 23)])), None);
        assert_eq!(numbers_left("", &log), None);
    }
}
