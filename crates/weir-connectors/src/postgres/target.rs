//! The target table: what it is called, what has to change for a stream to fit, and how each column is encoded.

use arrow::datatypes::{DataType, Field, IntervalUnit, SchemaRef, TimeUnit};
use weir_connect::fidelity::{LOGICAL_TYPE, SOURCE_TYPE};
use weir_connect::stream::LossChoice;
use weir_connect::{Error, Kind, OnLoss, Result, SchemaChangePolicy, StreamTarget, WriteMode};

use super::catalog::{self, RawColumn, Relation, Shape, TypeContext};
use super::client::Client;
use super::config::{Create, SinkOptions};
use super::copy_encode::{ColumnPlan, Encoding};
use super::quote::{self, TableName, checked, ident, join_idents};
use super::types::{self, oid};

/// The table that a stream goes to.
pub fn table_name(options: &SinkOptions, stream: &str) -> TableName {
    let (schema, table) = quote::split(&options.table.replace("{stream}", stream));
    let schema = options.schema.clone().or(schema).unwrap_or_else(|| "public".into());
    TableName { schema, table }
}

/// One change to the table.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Make the schema.
    CreateSchema(String),
    /// Make the table.
    CreateTable {
        /// Column definitions.
        columns: Vec<(String, String)>,
        /// Primary key, empty for none.
        key: Vec<String>,
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
        /// Type.
        kind: String,
    },
}

impl Change {
    /// The statement.
    pub fn sql(&self, table: &TableName) -> String {
        let name = table.sql();
        match self {
            Self::CreateSchema(schema) => format!("CREATE SCHEMA IF NOT EXISTS {}", ident(schema)),
            Self::CreateTable { columns, key } => {
                let mut parts: Vec<String> = columns.iter().map(|(column, kind)| format!("{} {kind}", ident(column))).collect();
                if !key.is_empty() {
                    parts.push(format!("PRIMARY KEY ({})", join_idents(key.iter().map(String::as_str))));
                }
                format!("CREATE TABLE IF NOT EXISTS {name} ({})", parts.join(", "))
            }
            Self::Add { column, kind } => format!("ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {} {kind}", ident(column)),
            Self::Widen { column, kind } => format!("ALTER TABLE {name} ALTER COLUMN {} TYPE {kind}", ident(column)),
        }
    }

    /// For `weir plan`.
    pub fn says(&self, table: &TableName) -> String {
        let name = table.display();
        match self {
            Self::CreateSchema(schema) => format!("create schema {schema}"),
            Self::CreateTable { columns, .. } => format!("create table {name} ({} columns)", columns.len()),
            Self::Add { column, kind } => format!("add column {column} {kind} to {name}"),
            Self::Widen { column, kind } => format!("widen column {column} of {name} to {kind}"),
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
pub enum Fit {
    /// It does.
    Good {
        /// Arrow type to encode.
        normal: DataType,
        /// How.
        encoding: Encoding,
        /// Through JSON text.
        as_json: bool,
        /// Only COPY's text format can do it.
        text: bool,
    },
    /// With this wider type it would.
    Widen(String),
    /// It does not.
    No,
}

struct Wanted<'a> {
    kind: &'a DataType,
    logical: Option<&'a str>,
    source: &'a str,
    /// Type of a new column.
    sql: String,
    choice: LossChoice,
}

fn good(normal: DataType) -> Fit {
    Fit::Good { normal, encoding: Encoding::Native, as_json: false, text: false }
}

fn encoded(normal: DataType, encoding: Encoding) -> Fit {
    Fit::Good { normal, encoding, as_json: false, text: false }
}

/// Bits that a signed integer needs to hold every value of this type.
fn integer_bits(kind: &DataType) -> Option<u8> {
    Some(match kind {
        DataType::Int8 => 8,
        DataType::UInt8 | DataType::Int16 => 16,
        DataType::UInt16 | DataType::Int32 => 32,
        DataType::UInt32 | DataType::Int64 => 64,
        DataType::UInt64 => 65,
        _ => return None,
    })
}

/// Digits before and after the point that a type needs.
fn decimal_digits(kind: &DataType) -> Option<(u16, u16)> {
    Some(match kind {
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => {
            let (precision, scale) = (i16::from(*p), i16::from(*s));
            ((precision - scale).max(0) as u16, scale.max(0) as u16)
        }
        other => match integer_bits(other)? {
            8 => (3, 0),
            16 => (5, 0),
            32 => (10, 0),
            64 => (19, 0),
            _ => (20, 0),
        },
    })
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
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
    // Text was chosen for what PostgreSQL cannot hold.
    let (kind, sql) = if found.edge.loses() && choice == LossChoice::String {
        (&DataType::Utf8, "text".to_string())
    } else {
        (value_type(field.data_type()), found.name)
    };
    let metadata = |key: &str| field.metadata().get(key).map(String::as_str);
    Wanted { kind, logical: metadata(LOGICAL_TYPE), source: metadata(SOURCE_TYPE).unwrap_or_default(), sql, choice }
}

/// The type of a new column for a field.
pub fn column_type(field: &Field, on_loss: &OnLoss) -> String {
    wanted(field, on_loss).sql
}

/// Type and modifier below a domain.
fn base_of(mut type_oid: u32, mut typmod: i32, types: &TypeContext) -> (u32, i32) {
    while let Some(found) = types.get(type_oid).filter(|found| found.kind == 'd') {
        typmod = if typmod >= 0 { typmod } else { found.base_typmod };
        type_oid = found.base;
    }
    (type_oid, typmod)
}

fn fit(wanted: &Wanted<'_>, type_oid: u32, typmod: i32, types: &TypeContext) -> Fit {
    use DataType as T;
    let (type_oid, typmod) = base_of(type_oid, typmod, types);
    let kind = wanted.kind;
    let widen = || Fit::Widen(wanted.sql.clone());
    let micros = TimeUnit::Microsecond;
    let nested = matches!(kind, T::Struct(_) | T::Map(_, _))
        || matches!(kind, T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) if item.data_type().is_nested());
    if matches!(kind, T::Null) {
        return good(T::Utf8);
    }
    match type_oid {
        oid::BOOL if matches!(kind, T::Boolean) => good(T::Boolean),
        oid::INT2 | oid::INT4 | oid::INT8 => {
            let (bits, normal) = match type_oid {
                oid::INT2 => (16, T::Int16),
                oid::INT4 => (32, T::Int32),
                _ => (64, T::Int64),
            };
            match integer_bits(kind) {
                Some(needed) if needed <= bits => good(normal),
                Some(_) => widen(),
                None => Fit::No,
            }
        }
        oid::FLOAT4 => match kind {
            T::Float16 | T::Float32 => good(T::Float32),
            T::Float64 => widen(),
            other if integer_bits(other).is_some_and(|bits| bits <= 16) => good(T::Float32),
            _ => Fit::No,
        },
        oid::FLOAT8 => match kind {
            T::Float16 | T::Float32 | T::Float64 => good(T::Float64),
            other if integer_bits(other).is_some_and(|bits| bits <= 32) => good(T::Float64),
            _ => Fit::No,
        },
        oid::NUMERIC => {
            let Some((whole, fraction)) = decimal_digits(kind) else {
                return if is_text(kind) && wanted.logical == Some("numeric") { text_form() } else { Fit::No };
            };
            let precision = (whole + fraction).max(1);
            if let Some((has_precision, has_scale)) = types::numeric_typmod(typmod) {
                let has_whole = i32::from(has_precision) - i32::from(has_scale);
                if i32::from(fraction) > i32::from(has_scale) || i32::from(whole) > has_whole {
                    let scale = i32::from(fraction).max(i32::from(has_scale));
                    return Fit::Widen(format!("numeric({},{scale})", i32::from(whole).max(has_whole) + scale));
                }
            }
            match u8::try_from(precision) {
                Ok(precision) if precision <= 38 => good(T::Decimal128(precision, fraction as i8)),
                Ok(precision) if precision <= 76 => good(T::Decimal256(precision, fraction as i8)),
                _ => Fit::No,
            }
        }
        oid::MONEY => match kind {
            T::Decimal128(p, s) if wanted.logical == Some("money") => encoded(T::Decimal128(*p, *s), Encoding::Money),
            _ => Fit::No,
        },
        oid::TEXT | oid::NAME if is_text(kind) => good(T::Utf8),
        oid::VARCHAR | oid::BPCHAR if is_text(kind) => match usize::try_from(typmod - 4) {
            Ok(characters) => {
                if types::text_limit(wanted.source).is_some_and(|limit| limit.is_none_or(|limit| limit > characters)) {
                    return widen();
                }
                encoded(T::Utf8, Encoding::Limited(characters))
            }
            Err(_) => good(T::Utf8),
        },
        oid::TEXT if nested => Fit::Good { normal: T::Utf8, encoding: Encoding::Native, as_json: true, text: false },
        oid::JSON if is_text(kind) => good(T::Utf8),
        oid::JSON if nested => Fit::Good { normal: T::Utf8, encoding: Encoding::Native, as_json: true, text: false },
        oid::JSONB if is_text(kind) => encoded(T::Utf8, Encoding::Jsonb),
        oid::JSONB if nested || matches!(kind, T::List(_)) => {
            Fit::Good { normal: T::Utf8, encoding: Encoding::Jsonb, as_json: true, text: false }
        }
        oid::BYTEA if matches!(kind, T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_)) => good(T::Binary),
        oid::DATE if matches!(kind, T::Date32) => good(T::Date32),
        oid::TIME if matches!(kind, T::Time32(_) | T::Time64(_)) => good(T::Time64(micros)),
        oid::TIMESTAMP if matches!(kind, T::Timestamp(_, None) | T::Date32 | T::Date64) => good(T::Timestamp(micros, None)),
        oid::TIMESTAMPTZ if matches!(kind, T::Timestamp(_, Some(_))) => good(T::Timestamp(micros, Some("UTC".into()))),
        oid::INTERVAL if matches!(kind, T::Interval(_) | T::Duration(_)) => good(T::Interval(IntervalUnit::MonthDayNano)),
        oid::UUID if is_text(kind) || matches!(kind, T::FixedSizeBinary(16)) => encoded(T::Utf8, Encoding::Uuid),
        other => match types.get(other) {
            Some(found) if found.element != 0 => match kind {
                T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) if !nested => {
                    let inner = Wanted {
                        kind: value_type(item.data_type()),
                        logical: wanted.logical,
                        source: wanted.source.trim_end_matches("[]"),
                        sql: wanted.sql.trim_end_matches("[]").to_string(),
                        choice: wanted.choice,
                    };
                    list_fit(fit(&inner, found.element, typmod, types), found.element)
                }
                // The text form of arrays that Arrow cannot hold.
                kind if is_text(kind) && wanted.logical == Some(found.name.as_str()) => text_form(),
                _ => Fit::No,
            },
            Some(found) if is_text(kind) && (found.kind == 'e' || found.name == "citext") => good(T::Utf8),
            // What the source prints, the server reads.
            Some(_) if is_text(kind) => text_form(),
            _ => Fit::No,
        },
    }
}

fn text_form() -> Fit {
    Fit::Good { normal: DataType::Utf8, encoding: Encoding::Native, as_json: false, text: true }
}

fn list_fit(item: Fit, element: u32) -> Fit {
    match item {
        Fit::Good { normal, encoding, as_json: false, text } => Fit::Good {
            normal: DataType::List(std::sync::Arc::new(Field::new("item", normal, true))),
            encoding: Encoding::List(element, Box::new(encoding)),
            as_json: false,
            text,
        },
        Fit::Widen(kind) => Fit::Widen(format!("{kind}[]")),
        _ => Fit::No,
    }
}

fn mismatch(name: &TableName, field: &Field, column: &RawColumn) -> Error {
    Error::new(
        "WEIR-PG-045",
        Kind::Schema,
        format!("column `{}` of type {} does not fit {} of the table", field.name(), field.data_type(), column.type_name),
    )
    .at(name.display())
    .hint("cast it in the pipeline, or change the column's type at the target")
}

/// The contract does not allow it.
pub fn refused(name: &TableName, policy: SchemaChangePolicy, what: &str) -> Error {
    let (code, kind, hint) = match policy {
        SchemaChangePolicy::Hold => {
            ("WEIR-PG-047", Kind::Conflict, "approve the change by running once with `on_schema_change: evolve`")
        }
        SchemaChangePolicy::DiscardRow => {
            ("WEIR-PG-048", Kind::Schema, "`discard_row` is for new columns: cast this one, or use `on_schema_change: evolve`")
        }
        _ => ("WEIR-PG-046", Kind::Schema, "change the table, or set `on_schema_change: evolve`"),
    };
    Error::new(code, kind, format!("the target needs a change that the contract does not allow: {what}"))
        .at(name.display())
        .hint(hint)
}

/// Compares stream and table. Changes nothing.
pub async fn examine(client: &mut Client, target: &StreamTarget, options: &SinkOptions, on_loss: &OnLoss) -> Result<TargetPlan> {
    let name = table_name(options, &target.stream);
    checked(&name.schema)?;
    checked(&name.table)?;
    let drop = |field: &Field| on_loss.for_column(field.name()) == LossChoice::Drop && types::sink_type(field).edge.loses();
    let mut written: Vec<usize> = (0..target.schema.fields().len()).filter(|at| !drop(target.schema.field(*at))).collect();
    for at in &written {
        checked(target.schema.field(*at).name())?;
    }
    let keyed = matches!(target.write_mode, WriteMode::Upsert | WriteMode::Merge);
    if keyed {
        check_key(target, &name)?;
    }
    let Some(relation) = catalog::find(client, &name).await? else {
        if options.create == Create::Never {
            return Err(Error::new("WEIR-PG-007", Kind::NotFound, "the target table does not exist and `create` is `never`")
                .at(name.display())
                .hint("create it, or set `create: auto`"));
        }
        let mut changes = Vec::new();
        let schemas = client.query("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[Some(&name.schema)]).await?;
        if schemas.is_empty() {
            changes.push(Change::CreateSchema(name.schema.clone()));
        }
        let columns = written
            .iter()
            .map(|at| {
                let field = target.schema.field(*at);
                (field.name().clone(), wanted(field, on_loss).sql)
            })
            .collect();
        let key = if keyed { target.key.clone() } else { Vec::new() };
        changes.push(Change::CreateTable { columns, key });
        return Ok(TargetPlan { name, existing: None, changes, written });
    };
    if !matches!(relation.kind, 'r' | 'p') {
        return Err(Error::new(
            "WEIR-PG-049",
            Kind::Unsupported,
            "the target is a view or foreign table, rows can only be copied into a table",
        )
        .at(name.display()));
    }
    let shape = catalog::shapes(client, &[relation.oid]).await?.remove(&relation.oid).unwrap_or_default();
    let context = TypeContext::load(client, shape.columns.iter().map(|column| column.type_oid)).await?;
    let policy = target.on_schema_change;
    let mut changes = Vec::new();
    let mut kept = Vec::new();
    for at in written.drain(..) {
        let field = target.schema.field(at);
        let wanted = wanted(field, on_loss);
        let Some(column) = shape.columns.iter().find(|column| &column.name == field.name()) else {
            let change = Change::Add { column: field.name().clone(), kind: wanted.sql };
            match policy {
                SchemaChangePolicy::Evolve => changes.push(change),
                SchemaChangePolicy::DiscardColumn => continue,
                _ => return Err(refused(&name, policy, &change.says(&name))),
            }
            kept.push(at);
            continue;
        };
        if column.generated {
            return Err(Error::new(
                "WEIR-PG-045",
                Kind::Schema,
                format!("column `{}` is generated by the table itself", column.name),
            )
            .at(name.display())
            .hint("drop it in a field_mapper"));
        }
        match fit(&wanted, column.type_oid, column.typmod, &context) {
            Fit::Good { .. } => {}
            Fit::Widen(kind) => {
                let change = Change::Widen { column: field.name().clone(), kind };
                match policy {
                    SchemaChangePolicy::Evolve => changes.push(change),
                    SchemaChangePolicy::DiscardColumn => return Err(mismatch(&name, field, column)),
                    _ => return Err(refused(&name, policy, &change.says(&name))),
                }
            }
            Fit::No => return Err(mismatch(&name, field, column)),
        }
        kept.push(at);
    }
    let lacking = shape.columns.iter().find(|column| {
        column.not_null && !column.optional && !kept.iter().any(|at| target.schema.field(*at).name() == &column.name)
    });
    if let Some(column) = lacking {
        return Err(Error::new(
            "WEIR-PG-045",
            Kind::Schema,
            format!("column `{}` must have a value and the stream has none", column.name),
        )
        .at(name.display())
        .hint("give it a default at the target, or add the column in the pipeline"));
    }
    if keyed {
        unique_index(client, &relation, &shape, target, &name).await?;
    }
    Ok(TargetPlan { name, existing: Some(relation), changes, written: kept })
}

fn check_key(target: &StreamTarget, name: &TableName) -> Result<()> {
    let mode = target.write_mode.as_str();
    if target.key.is_empty() {
        return Err(Error::new("WEIR-PG-043", Kind::Spec, format!("write_mode {mode} needs a key and the stream has none"))
            .at(name.display())
            .hint("set `key: [column]` on the sink"));
    }
    match target.key.iter().find(|key| target.schema.index_of(key).is_err()) {
        Some(missing) => Err(Error::new("WEIR-PG-043", Kind::Spec, format!("the key column `{missing}` is not in the stream"))
            .at(name.display())
            .because(format!(
                "columns: {}",
                target.schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", ")
            ))),
        None => Ok(()),
    }
}

async fn unique_index(
    client: &mut Client,
    relation: &Relation,
    shape: &Shape,
    target: &StreamTarget,
    name: &TableName,
) -> Result<()> {
    let mut wanted: Vec<&str> = target.key.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    let mut primary: Vec<&str> = shape.key.iter().map(String::as_str).collect();
    primary.sort_unstable();
    if primary == wanted {
        return Ok(());
    }
    let rows = client
        .query(
            "SELECT (SELECT string_agg(a.attname::text, chr(1) ORDER BY a.attname::text COLLATE \"C\") FROM unnest(i.indkey::int2[]) k(attnum) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum) FROM pg_index i \
             WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL \
             AND i.indnatts = i.indnkeyatts",
            &[Some(&relation.oid.to_string())],
        )
        .await?;
    let joined = wanted.join("\u{1}");
    if rows.iter().any(|row| row.text(0) == joined) {
        return Ok(());
    }
    Err(Error::new("WEIR-PG-044", Kind::Schema, format!("the table has no unique index on the key ({})", wanted.join(", ")))
        .at(name.display())
        .hint(format!(
            "create one: CREATE UNIQUE INDEX ON {} ({})",
            name.sql(),
            join_idents(target.key.iter().map(String::as_str))
        )))
}

/// How the written columns are encoded into a table as it is now, and whether COPY's text format is needed.
pub async fn bind(
    client: &mut Client,
    table_oid: u32,
    name: &TableName,
    schema: &SchemaRef,
    written: &[usize],
    on_loss: &OnLoss,
) -> Result<(Vec<ColumnPlan>, bool)> {
    let shape = catalog::shapes(client, &[table_oid]).await?.remove(&table_oid).unwrap_or_default();
    let context = TypeContext::load(client, shape.columns.iter().map(|column| column.type_oid)).await?;
    let mut plans = Vec::new();
    let mut any_text = false;
    for at in written {
        let field = schema.field(*at);
        let column = shape.columns.iter().find(|column| &column.name == field.name()).ok_or_else(|| {
            Error::new("WEIR-PG-008", Kind::Schema, format!("column `{}` does not exist (any more)", field.name()))
                .at(name.display())
        })?;
        let wanted = wanted(field, on_loss);
        match fit(&wanted, column.type_oid, column.typmod, &context) {
            Fit::Good { normal, encoding, as_json, text } => {
                any_text |= text;
                plans.push(ColumnPlan {
                    index: *at,
                    name: field.name().clone(),
                    normal,
                    as_json,
                    encoding,
                    accept_loss: wanted.choice == LossChoice::Accept,
                });
            }
            _ => return Err(mismatch(name, field, column)),
        }
    }
    Ok((plans, any_text))
}
