//! The target table: what it is called, what has to change for a stream to fit, and how each column is encoded.

use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use weir_connect::fidelity::LOGICAL_TYPE;
use weir_connect::stream::LossChoice;
use weir_connect::{Error, Kind, OnLoss, Result, SchemaChangePolicy, StreamTarget, WriteMode};

use super::catalog::{self, RawColumn, Relation, Shape};
use super::client::Client;
use super::config::{Create, SinkOptions};
use super::encode::{ColumnPlan, Encoding};
use super::quote::{self, TableName, checked, ident, join_idents, literal};
use super::types::{self, Base, ColumnType, MYSQL_TYPE, decimal_digits};

/// Bytes of fixed places in a row, beside which the server still takes everything else.
const ROW_BYTES: u64 = 60_000;

/// The table that a stream goes to.
pub fn table_name(options: &SinkOptions, stream: &str, default_database: &str) -> TableName {
    // A stream of another system is called `schema.table`: its table's name is meant.
    let (database, table) = match options.table.as_str() {
        "{stream}" => (None, quote::split(stream).1),
        pattern => quote::split(&pattern.replace("{stream}", &quote::split(stream).1)),
    };
    TableName { database: database.unwrap_or_else(|| default_database.into()), table }
}

/// One change to the table.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Make the database.
    CreateDatabase(String),
    /// Make the table.
    CreateTable {
        /// Column definitions.
        columns: Vec<(String, String)>,
        /// Primary key, empty for none.
        key: Vec<String>,
        /// Collation of its text.
        collation: &'static str,
    },
    /// A new, nullable column.
    Add {
        /// Name.
        column: String,
        /// Type.
        kind: String,
    },
    /// A wider type.
    Widen {
        /// Name.
        column: String,
        /// Whole definition.
        definition: String,
    },
}

impl Change {
    /// The statement.
    pub fn sql(&self, table: &TableName) -> String {
        let name = table.sql();
        match self {
            Self::CreateDatabase(database) => format!("CREATE DATABASE IF NOT EXISTS {} CHARACTER SET utf8mb4", ident(database)),
            Self::CreateTable { columns, key, collation } => {
                let mut parts: Vec<String> = columns
                    .iter()
                    .map(|(column, kind)| {
                        let null = if key.contains(column) { "NOT NULL" } else { "NULL" };
                        format!("{} {kind} {null}", ident(column))
                    })
                    .collect();
                if !key.is_empty() {
                    parts.push(format!("PRIMARY KEY ({})", join_idents(key.iter().map(String::as_str))));
                }
                format!(
                    "CREATE TABLE IF NOT EXISTS {name} ({}) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation}",
                    parts.join(", ")
                )
            }
            Self::Add { column, kind } => format!("ALTER TABLE {name} ADD COLUMN {} {kind} NULL", ident(column)),
            Self::Widen { column, definition } => format!("ALTER TABLE {name} MODIFY COLUMN {} {definition}", ident(column)),
        }
    }

    /// For `weir plan`.
    pub fn says(&self, table: &TableName) -> String {
        let name = table.display();
        match self {
            Self::CreateDatabase(database) => format!("create database {database}"),
            Self::CreateTable { columns, .. } => format!("create table {name} ({} columns)", columns.len()),
            Self::Add { column, kind } => format!("add column {column} {kind} to {name}"),
            Self::Widen { column, definition } => format!("widen column {column} of {name} to {definition}"),
        }
    }
}

/// What the sink found and will do.
#[derive(Debug, Clone)]
pub struct TargetPlan {
    /// The table.
    pub name: TableName,
    /// It, if it exists.
    pub existing: Option<Relation>,
    /// What has to change.
    pub changes: Vec<Change>,
    /// Indexes into the stream's schema of the columns that are written.
    pub written: Vec<usize>,
}

/// How a field fits a column.
#[derive(Debug, Clone, PartialEq)]
enum Fit {
    Good { normal: DataType, encoding: Encoding, as_json: bool },
    Widen(String),
    No,
}

struct Wanted<'a> {
    kind: &'a DataType,
    logical: Option<&'a str>,
    source: Option<ColumnType>,
    /// Type of a new column.
    sql: String,
    choice: LossChoice,
}

fn good(normal: DataType, encoding: Encoding) -> Fit {
    Fit::Good { normal, encoding, as_json: false }
}

/// Smallest and largest value of an integer type.
fn integers(kind: &DataType) -> Option<(i128, i128)> {
    Some(match kind {
        DataType::Boolean => (0, 1),
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_))
}

fn value_type(kind: &DataType) -> &DataType {
    match kind {
        DataType::Dictionary(_, value) => value_type(value),
        DataType::RunEndEncoded(_, value) => value_type(value.data_type()),
        other => other,
    }
}

fn wanted<'a>(field: &'a Field, on_loss: &OnLoss) -> Wanted<'a> {
    let choice = on_loss.for_column(field.name());
    let found = types::sink_type(field);
    let metadata = |key: &str| field.metadata().get(key).map(String::as_str);
    // Text was chosen for what MySQL cannot hold.
    let (kind, sql) = if found.edge.loses() && choice == LossChoice::String {
        (&DataType::Utf8, "longtext".to_string())
    } else {
        (value_type(field.data_type()), found.name)
    };
    Wanted { kind, logical: metadata(LOGICAL_TYPE), source: metadata(MYSQL_TYPE).map(ColumnType::parse), sql, choice }
}

/// Numbers travel as 64 bits, signed or not.
fn integer_form(least: i128) -> DataType {
    if least < 0 { DataType::Int64 } else { DataType::UInt64 }
}

/// The smallest type for a range of whole numbers.
fn integer_type((least, most): (i128, i128)) -> String {
    for bits in [8, 16, 32, 64] {
        for unsigned in [false, true] {
            let of = ColumnType { base: Base::Int(bits), unsigned, one_wide: false };
            if of.range().is_some_and(|(from, to)| from <= least && most <= to) {
                return of.sql();
            }
        }
    }
    "decimal(20,0)".into()
}

fn fit(wanted: &Wanted<'_>, column: &ColumnType) -> Fit {
    use DataType as T;
    let kind = wanted.kind;
    let micros = TimeUnit::Microsecond;
    let unlimited = Encoding::Text { characters: None, bytes: None, padded: false };
    let text = |characters, bytes, padded| good(T::Utf8, Encoding::Text { characters, bytes, padded });
    let nested = kind.is_nested();
    if matches!(kind, T::Null) {
        return good(T::Utf8, unlimited);
    }
    match &column.base {
        Base::Int(_) => match (integers(kind), column.range()) {
            (Some((least, most)), Some((from, to))) if from <= least && most <= to => {
                let normal = if matches!(kind, T::Boolean) { T::Boolean } else { integer_form(least) };
                good(normal, Encoding::Number)
            }
            // 24 bits came as 32, and go back.
            (Some((least, _)), _) if wanted.source.as_ref().is_some_and(|source| source == column) => {
                good(integer_form(least), Encoding::Number)
            }
            (Some((least, most)), Some((from, to))) => Fit::Widen(integer_type((least.min(from), most.max(to)))),
            _ => Fit::No,
        },
        Base::Year if wanted.logical == Some("year") => good(T::UInt64, Encoding::Year),
        Base::Bit(bits) => match kind {
            T::Boolean if *bits == 1 => good(T::Boolean, Encoding::Bits(1)),
            T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => good(T::UInt64, Encoding::Bits(*bits)),
            _ => Fit::No,
        },
        Base::Float => match kind {
            // Through a double, which holds every single exactly.
            T::Float16 | T::Float32 => good(T::Float64, Encoding::Number),
            T::Float64 => Fit::Widen("double".into()),
            other if integers(other).is_some_and(|(_, most)| most <= 65_535) => good(T::Float64, Encoding::Number),
            _ => Fit::No,
        },
        Base::Double => match kind {
            T::Float16 | T::Float32 | T::Float64 => good(T::Float64, Encoding::Number),
            other if integers(other).is_some_and(|(_, most)| most <= u32::MAX.into()) => good(T::Float64, Encoding::Number),
            _ => Fit::No,
        },
        Base::Decimal(precision, scale) => decimal_fit(wanted, column, *precision, *scale),
        Base::Char(limit) | Base::Varchar(limit) if is_text(kind) => {
            if let Some(ColumnType { base: Base::Varchar(other), .. }) = &wanted.source
                && other > limit
            {
                return Fit::Widen(format!("varchar({other})"));
            }
            text(Some(*limit), None, matches!(column.base, Base::Char(_)))
        }
        Base::Text(limit) if is_text(kind) => text(None, Some(*limit), false),
        Base::Text(limit) if nested => Fit::Good {
            normal: T::Utf8,
            encoding: Encoding::Text { characters: None, bytes: Some(*limit), padded: false },
            as_json: true,
        },
        Base::Json if is_text(kind) => good(T::Utf8, unlimited),
        Base::Json if nested => Fit::Good { normal: T::Utf8, encoding: unlimited, as_json: true },
        Base::Named(_) if is_text(kind) => good(T::Utf8, unlimited),
        Base::Enum(values) if is_text(kind) => good(T::Utf8, Encoding::Members { values: values.clone(), several: false }),
        Base::Set(values) if is_text(kind) => good(T::Utf8, Encoding::Members { values: values.clone(), several: true }),
        Base::Binary(limit) if is_bytes(kind) => good(T::Binary, Encoding::Bytes { limit: *limit, fixed: true }),
        Base::Bytes(limit) if is_bytes(kind) => good(T::Binary, Encoding::Bytes { limit: *limit, fixed: false }),
        Base::Geometry(_) if is_bytes(kind) => good(T::Binary, Encoding::Shape),
        // What was read as text is read again by the server itself.
        Base::Date | Base::Time(_) | Base::DateTime(_) | Base::Timestamp(_)
            if is_text(kind) && wanted.source.as_ref().is_some_and(|source| source.base == column.base) =>
        {
            good(T::Utf8, unlimited)
        }
        Base::Date if matches!(kind, T::Date32) => good(T::Date32, Encoding::Moment(0)),
        Base::Time(digits) if matches!(kind, T::Time32(_) | T::Time64(_)) => good(T::Time64(micros), Encoding::Moment(*digits)),
        Base::DateTime(digits) => match kind {
            T::Timestamp(_, None) | T::Date32 | T::Date64 => good(T::Timestamp(micros, None), Encoding::Moment(*digits)),
            T::Timestamp(_, Some(_)) => good(T::Timestamp(micros, Some("UTC".into())), Encoding::Moment(*digits)),
            _ => Fit::No,
        },
        Base::Timestamp(digits) if matches!(kind, T::Timestamp(_, Some(_))) => {
            good(T::Timestamp(micros, Some("UTC".into())), Encoding::Moment(*digits))
        }
        _ => Fit::No,
    }
}

fn decimal_fit(wanted: &Wanted<'_>, column: &ColumnType, precision: u8, scale: u8) -> Fit {
    use DataType as T;
    let kind = wanted.kind;
    if is_text(kind) {
        let same = wanted.source.as_ref().is_some_and(|source| source.base == column.base);
        let unlimited = Encoding::Text { characters: None, bytes: None, padded: false };
        return if same { good(T::Utf8, unlimited) } else { Fit::No };
    }
    let (whole, fraction) = match kind {
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => decimal_digits(*p, *s),
        other => match integers(other) {
            Some((_, most)) => (most.to_string().len() as u16, 0),
            None => return Fit::No,
        },
    };
    let has_whole = u16::from(precision) - u16::from(scale);
    if whole > has_whole || fraction > scale.into() {
        let (whole, fraction) = (whole.max(has_whole), fraction.max(scale.into()));
        return if whole + fraction <= 65 && fraction <= 30 {
            Fit::Widen(format!("decimal({},{fraction})", whole + fraction))
        } else {
            Fit::No
        };
    }
    if integers(kind).is_some() {
        return good(
            integer_form(if matches!(kind, T::Int8 | T::Int16 | T::Int32 | T::Int64) { -1 } else { 0 }),
            Encoding::Number,
        );
    }
    match (whole + fraction).max(1) {
        digits @ 1..=38 => good(T::Decimal128(digits as u8, fraction as i8), Encoding::Number),
        digits => good(T::Decimal256(digits as u8, fraction as i8), Encoding::Number),
    }
}

/// The types do not go together.
pub fn mismatch(name: &TableName, field: &Field, column: &RawColumn) -> Error {
    Error::new(
        "WEIR-MY-045",
        Kind::Schema,
        format!("column `{}` of type {} does not fit {} of the table", field.name(), field.data_type(), column.type_name),
    )
    .at(name.display())
    .hint("cast it in the pipeline, or change the column's type at the target")
}

/// What the contract forbids.
pub fn refused(name: &TableName, policy: SchemaChangePolicy, what: &str) -> Error {
    let (code, kind, hint) = match policy {
        SchemaChangePolicy::Hold => {
            ("WEIR-MY-047", Kind::Conflict, "approve the change by running once with `on_schema_change: evolve`")
        }
        SchemaChangePolicy::DiscardRow => {
            ("WEIR-MY-048", Kind::Schema, "`discard_row` is for new columns: cast this one, or use `on_schema_change: evolve`")
        }
        _ => ("WEIR-MY-046", Kind::Schema, "change the table, or set `on_schema_change: evolve`"),
    };
    Error::new(code, kind, format!("the target needs a change that the contract does not allow: {what}"))
        .at(name.display())
        .hint(hint)
}

/// A new column's type where an index must hold it.
fn key_type(sql: &str) -> String {
    match ColumnType::parse(sql).base {
        Base::Text(_) | Base::Json => "varchar(255)".into(),
        Base::Bytes(limit) if limit > 255 => "varbinary(255)".into(),
        _ => sql.into(),
    }
}

/// Text that lies in the row itself must share 64 KiB; what is too much is moved out of it.
fn spare_row(columns: &mut [(String, String)], key: &[String]) {
    let place = |sql: &str| match ColumnType::parse(sql).base {
        Base::Varchar(characters) | Base::Char(characters) => characters * 4,
        Base::Bytes(bytes) if bytes < 65_535 => bytes,
        _ => 0,
    };
    if columns.iter().map(|(_, sql)| place(sql)).sum::<u64>() <= ROW_BYTES {
        return;
    }
    for (_, sql) in columns.iter_mut().filter(|(name, _)| !key.contains(name)) {
        match ColumnType::parse(sql).base {
            Base::Varchar(characters) if characters > 63 => *sql = "mediumtext".into(),
            Base::Bytes(bytes) if bytes > 255 && bytes < 65_535 => *sql = "mediumblob".into(),
            _ => {}
        }
    }
}

/// Columns of the stream that are written. What a table could not be called, or not be keyed by, is refused.
pub fn written(target: &StreamTarget, name: &TableName, on_loss: &OnLoss) -> Result<Vec<usize>> {
    let drop = |field: &Field| on_loss.for_column(field.name()) == LossChoice::Drop && types::sink_type(field).edge.loses();
    let written: Vec<usize> = (0..target.schema.fields().len()).filter(|at| !drop(target.schema.field(*at))).collect();
    for at in &written {
        checked(target.schema.field(*at).name())?;
    }
    distinct_names(target, &written, name)?;
    if matches!(target.write_mode, WriteMode::Upsert | WriteMode::Merge) {
        check_key(target, name)?;
    }
    Ok(written)
}

/// Compares stream and table. Changes nothing.
pub async fn examine(
    client: &mut Client,
    target: &StreamTarget,
    options: &SinkOptions,
    on_loss: &OnLoss,
    default_database: &str,
) -> Result<TargetPlan> {
    let name = table_name(options, &target.stream, default_database);
    if name.database.is_empty() {
        return Err(Error::new("WEIR-MY-001", Kind::Spec, "the sink does not say which database to write to")
            .at(name.table.clone())
            .hint("set `database` on the connection, or write `table: database.table`"));
    }
    checked(&name.database)?;
    checked(&name.table)?;
    let written = written(target, &name, on_loss)?;
    let keyed = matches!(target.write_mode, WriteMode::Upsert | WriteMode::Merge);
    let Some(relation) = catalog::find(client, &name).await? else {
        if options.create == Create::Never {
            return Err(Error::new("WEIR-MY-007", Kind::NotFound, "the target table does not exist and `create` is `never`")
                .at(name.display())
                .hint("create it, or set `create: auto`"));
        }
        let mut changes = Vec::new();
        let rows = client
            .query("SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", &[name.database.as_str().into()])
            .await?;
        if rows.is_empty() {
            changes.push(Change::CreateDatabase(name.database.clone()));
        }
        let key = if keyed { target.key.clone() } else { Vec::new() };
        let mut columns: Vec<(String, String)> = written
            .iter()
            .map(|at| {
                let field = target.schema.field(*at);
                let sql = wanted(field, on_loss).sql;
                (field.name().clone(), if key.contains(field.name()) { key_type(&sql) } else { sql })
            })
            .collect();
        spare_row(&mut columns, &key);
        changes.push(Change::CreateTable { columns, key, collation: client.version.exact_collation() });
        return Ok(TargetPlan { name, existing: None, changes, written });
    };
    if !relation.transactional() {
        let (why, hint) = if relation.table {
            (format!("its engine is {}, which has no transactions", relation.engine), "ALTER TABLE … ENGINE = InnoDB")
        } else {
            ("it is a view".to_string(), "write into the table behind it")
        };
        return Err(Error::new("WEIR-MY-049", Kind::Unsupported, "rows cannot be written exactly once into the target")
            .at(name.display())
            .because(why)
            .hint(hint));
    }
    let shape = catalog::shape(client, &name).await?;
    let (changes, kept) = compare(target, &written, &shape, &name, on_loss)?;
    if keyed {
        unique_index(client, target, &name).await?;
    }
    Ok(TargetPlan { name, existing: Some(relation), changes, written: kept })
}

/// Compares the columns of a stream with those of a table: what has to change there, and which columns are written. Pure.
pub fn compare(
    target: &StreamTarget,
    written: &[usize],
    shape: &Shape,
    name: &TableName,
    on_loss: &OnLoss,
) -> Result<(Vec<Change>, Vec<usize>)> {
    let policy = target.on_schema_change;
    let mut changes = Vec::new();
    let mut kept = Vec::new();
    for at in written.iter().copied() {
        let field = target.schema.field(at);
        let wanted = wanted(field, on_loss);
        let Some(column) = find_column(shape, field.name()) else {
            let change = Change::Add { column: field.name().clone(), kind: wanted.sql };
            match policy {
                SchemaChangePolicy::Evolve => changes.push(change),
                SchemaChangePolicy::DiscardColumn => continue,
                _ => return Err(refused(name, policy, &change.says(name))),
            }
            kept.push(at);
            continue;
        };
        if column.generated {
            return Err(Error::new(
                "WEIR-MY-045",
                Kind::Schema,
                format!("column `{}` is generated by the table itself", column.name),
            )
            .at(name.display())
            .hint("drop it in a field_mapper"));
        }
        match fit(&wanted, &column.of) {
            Fit::Good { .. } => {}
            Fit::Widen(kind) => {
                let change = Change::Widen { column: column.name.clone(), definition: definition(name, column, &kind)? };
                match policy {
                    SchemaChangePolicy::Evolve => changes.push(change),
                    SchemaChangePolicy::DiscardColumn => return Err(mismatch(name, field, column)),
                    _ => return Err(refused(name, policy, &change.says(name))),
                }
            }
            Fit::No => return Err(mismatch(name, field, column)),
        }
        kept.push(at);
    }
    let given = |column: &RawColumn| kept.iter().any(|at| same_name(target.schema.field(*at).name(), &column.name));
    if let Some(column) = shape.columns.iter().find(|column| column.not_null && !column.optional && !given(column)) {
        return Err(Error::new(
            "WEIR-MY-045",
            Kind::Schema,
            format!("column `{}` must have a value and the stream has none", column.name),
        )
        .at(name.display())
        .hint("give it a default at the target, or add the column in the pipeline"));
    }
    Ok((changes, kept))
}

/// The server does not tell `Name` from `name`.
pub fn same_name(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

/// The column of that name, as the server compares names.
pub fn find_column<'a>(shape: &'a Shape, name: &str) -> Option<&'a RawColumn> {
    shape.columns.iter().find(|column| same_name(&column.name, name))
}

fn distinct_names(target: &StreamTarget, written: &[usize], name: &TableName) -> Result<()> {
    let mut seen = std::collections::HashMap::new();
    for at in written {
        let column = target.schema.field(*at).name();
        if let Some(other) = seen.insert(column.to_lowercase(), column) {
            return Err(Error::new(
                "WEIR-MY-021",
                Kind::Schema,
                format!("columns `{other}` and `{column}` are the same name in MySQL"),
            )
            .at(name.display())
            .hint("rename one of them with a field_mapper"));
        }
    }
    Ok(())
}

/// The whole definition of a column with another type.
pub fn definition(name: &TableName, column: &RawColumn, kind: &str) -> Result<String> {
    let has_default = column.default.as_deref().is_some_and(|default| default != "NULL");
    if has_default || !column.extra.is_empty() {
        return Err(Error::new(
            "WEIR-MY-045",
            Kind::Schema,
            format!("column `{}` must be widened to {kind} by hand", column.name),
        )
        .at(name.display())
        .because("it has a default or fills itself, which a change of its type would have to say again")
        .hint(format!("ALTER TABLE {} MODIFY COLUMN {} {kind} …", name.sql(), ident(&column.name))));
    }
    let mut definition = kind.to_string();
    if !column.charset.is_empty() && matches!(ColumnType::parse(kind).base, Base::Varchar(_) | Base::Char(_) | Base::Text(_)) {
        definition.push_str(&format!(" CHARACTER SET {} COLLATE {}", word(&column.charset), word(&column.collation)));
    }
    definition.push_str(if column.not_null { " NOT NULL" } else { " NULL" });
    if !column.comment.is_empty() {
        definition.push_str(&format!(" COMMENT {}", literal(&column.comment)));
    }
    Ok(definition)
}

/// The name of a character set or collation: letters, digits, underscores.
fn word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// A column of a staging table, by its quoted name there: the same type and comparison, but it may be NULL.
pub fn staged(column: &RawColumn, name: &str) -> String {
    let text = matches!(column.of.base, Base::Char(_) | Base::Varchar(_) | Base::Text(_) | Base::Enum(_) | Base::Set(_));
    let collation = if text && !column.charset.is_empty() {
        format!(" CHARACTER SET {} COLLATE {}", word(&column.charset), word(&column.collation))
    } else {
        String::new()
    };
    format!("{name} {}{collation} NULL", column.of.sql())
}

fn check_key(target: &StreamTarget, name: &TableName) -> Result<()> {
    let mode = target.write_mode.as_str();
    if target.key.is_empty() {
        return Err(Error::new("WEIR-MY-043", Kind::Spec, format!("write_mode {mode} needs a key and the stream has none"))
            .at(name.display())
            .hint("set `key: [column]` on the sink"));
    }
    match target.key.iter().find(|key| target.schema.index_of(key).is_err()) {
        Some(missing) => Err(Error::new("WEIR-MY-043", Kind::Spec, format!("the key column `{missing}` is not in the stream"))
            .at(name.display())
            .because(format!(
                "columns: {}",
                target.schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ")
            ))),
        None => Ok(()),
    }
}

/// An existing table needs a unique index on the key.
pub async fn unique_index(client: &mut Client, target: &StreamTarget, name: &TableName) -> Result<()> {
    let lower = |columns: &[String]| {
        let mut columns: Vec<String> = columns.iter().map(|column| column.to_lowercase()).collect();
        columns.sort_unstable();
        columns
    };
    let wanted = lower(&target.key);
    if catalog::unique_indexes(client, name).await?.iter().any(|columns| lower(columns) == wanted) {
        return Ok(());
    }
    let list = join_idents(target.key.iter().map(String::as_str));
    Err(Error::new("WEIR-MY-044", Kind::Schema, format!("the table has no unique index on the key ({})", target.key.join(", ")))
        .at(name.display())
        .hint(format!("create one: ALTER TABLE {} ADD UNIQUE ({list})", name.sql())))
}

/// How the written columns are encoded into a table as it is now.
pub fn bind(shape: &Shape, name: &TableName, schema: &SchemaRef, written: &[usize], on_loss: &OnLoss) -> Result<Vec<ColumnPlan>> {
    let plan = |at: &usize| {
        let field = schema.field(*at);
        let column = find_column(shape, field.name()).ok_or_else(|| {
            Error::new("WEIR-MY-008", Kind::Schema, format!("column `{}` does not exist (any more)", field.name()))
                .at(name.display())
        })?;
        let wanted = wanted(field, on_loss);
        match fit(&wanted, &column.of) {
            Fit::Good { normal, encoding, as_json } => Ok(ColumnPlan {
                index: *at,
                name: column.name.clone(),
                normal,
                as_json,
                encoding,
                accept_loss: wanted.choice == LossChoice::Accept,
            }),
            _ => Err(mismatch(name, field, column)),
        }
    };
    written.iter().map(plan).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(kind: &DataType, column: &str) -> Fit {
        let field = Field::new("c", kind.clone(), true);
        fit(&wanted(&field, &OnLoss::default()), &ColumnType::parse(column))
    }

    #[test]
    fn integers_widen_to_what_holds_old_and_new_values() {
        for (kind, column, wider) in [
            (DataType::Int32, "smallint", "int"),
            (DataType::Int8, "tinyint unsigned", "smallint"),
            (DataType::UInt64, "bigint", "decimal(20,0)"),
            (DataType::Int64, "int unsigned", "bigint"),
        ] {
            assert_eq!(fits(&kind, column), Fit::Widen(wider.into()), "{kind} into {column}");
        }
        assert!(matches!(fits(&DataType::Int16, "int"), Fit::Good { .. }));
        assert!(matches!(fits(&DataType::Boolean, "tinyint(1)"), Fit::Good { .. }));
        assert_eq!(fits(&DataType::Utf8, "int"), Fit::No);
        assert_eq!(fits(&DataType::Timestamp(TimeUnit::Microsecond, None), "timestamp(6)"), Fit::No);
        assert_eq!(fits(&DataType::Decimal128(10, 4), "decimal(10,2)"), Fit::Widen("decimal(12,4)".into()));
    }

    #[test]
    fn a_table_of_a_schema_keeps_its_own_name_only() {
        let options = SinkOptions::default();
        assert_eq!(table_name(&options, "public.orders", "dwh"), TableName::new("dwh", "orders"));
        let options = SinkOptions { table: "bronze.x_{stream}".into(), ..SinkOptions::default() };
        assert_eq!(table_name(&options, "shop.orders", "dwh"), TableName::new("bronze", "x_orders"));
    }
}
