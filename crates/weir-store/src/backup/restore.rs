//! Restoring an empty database.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use weir_error::{Error, Kind, Result, Secret};

use super::checkpoints::{self, Checkpoints, State, no_place};
use super::dump::{FORMAT, dump};
use super::{TABLES, Type, columns_of};
use crate::backend::{Backend, Migrations, SCHEMA_VERSION, Tx, Value, args};

/// Rows inserted at a time.
const CHUNK: usize = 512;

/// Fills an empty database from a SQLite backup or a dump.
pub(crate) async fn restore(url: &Secret, data_dir: &Path, from: &Path, checkpoints: Checkpoints) -> Result<()> {
    let at = |error: std::io::Error| Error::from(error).at(from.display().to_string());
    let mut magic = Vec::new();
    File::open(from).map_err(at)?.take(16).read_to_end(&mut magic).map_err(at)?;
    if magic != b"SQLite format 3\0" {
        return load(url, from, checkpoints).await;
    }
    // A copy is opened, because opening may migrate it, and goes the way of a dump: the same for either database.
    std::fs::create_dir_all(data_dir).map_err(at)?;
    let work = data_dir.join(format!("restore-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&work).map_err(at)?;
    let done = async {
        let (copy, lines) = (work.join("copy.db"), work.join("dump.jsonl"));
        std::fs::copy(from, &copy).map_err(at)?;
        super::private(&copy)?;
        let backend = Backend::connect(&Secret::new(format!("sqlite:{}", copy.display()))).await?;
        Migrations::of(&backend).up_to(SCHEMA_VERSION).await?;
        dump(&backend, &lines).await?;
        load(url, &lines, checkpoints).await
    }
    .await;
    let _ = std::fs::remove_dir_all(&work);
    done
}

fn damaged(from: &Path, number: usize, why: impl std::fmt::Display) -> Error {
    Error::new("WEIR-STORE-009", Kind::Data, "the backup is damaged, or is no backup")
        .at(format!("{}:{number}", from.display()))
        .because(why)
        .hint("a file made by `weir backup`; nothing was written to the database")
}

/// Reads a dump into the database.
async fn load(url: &Secret, from: &Path, checkpoints: Checkpoints) -> Result<()> {
    let file = File::open(from).map_err(|error| Error::from(error).at(from.display().to_string()))?;
    let mut lines = BufReader::new(file).lines().enumerate().map(|(index, line)| {
        let number = index + 1;
        let line = line.map_err(|error| damaged(from, number, error))?;
        let json: Json = serde_json::from_str(&line).map_err(|error| damaged(from, number, error))?;
        Ok((number, json))
    });
    let (_, head) = lines.next().unwrap_or_else(|| Err(damaged(from, 1, "the file is empty")))?;
    if head["weir_dump"] != FORMAT {
        return Err(damaged(from, 1, "its first line is not that of a dump of this form"));
    }
    let schema = head["schema"].as_i64().filter(|schema| *schema > 0).ok_or_else(|| damaged(from, 1, "it names no schema"))?;
    if schema > SCHEMA_VERSION {
        return Err(Error::new("WEIR-STORE-005", Kind::Unsupported, "the backup was made by a newer version of weir")
            .at(from.display().to_string())
            .because(format!("its schema is {schema}, this program knows {SCHEMA_VERSION}")));
    }

    let backend = Backend::connect(url).await?;
    let migrations = Migrations::of(&backend);
    migrations.up_to(schema).await?;
    let mut tx = backend.begin().await?;
    if tx.fetch_optional("SELECT id FROM tenants LIMIT 1", args![]).await?.is_some() {
        return Err(Error::new("WEIR-STORE-008", Kind::Conflict, "the database to be restored is not empty")
            .hint("name a new SQLite file or an empty PostgreSQL database in DATABASE_URL"));
    }
    let state = match (checkpoints, head["checkpoints"].as_i64()) {
        (Checkpoints::Restore, Some(version)) => {
            let state = State::of(&mut tx).await?;
            if let Some(state) = &state {
                state.may_take(&mut tx, version).await.map_err(|error| error.at(from.display().to_string()))?;
            }
            state
        }
        _ => None,
    };
    let mut table = Table::default();
    let mut rows = 0_u64;
    let mut ended = false;
    for line in lines {
        let (number, line) = line?;
        if ended {
            return Err(damaged(from, number, "there is something behind its end"));
        }
        if let Json::Array(values) = line {
            rows += 1;
            match (&table.place, checkpoints) {
                (Place::None, _) => return Err(damaged(from, number, "a row of no table")),
                (Place::Here, _) => {}
                (Place::Nowhere, Checkpoints::Leave) => continue,
                (Place::Nowhere, Checkpoints::Restore) => return Err(no_place(format!("{}:{number}", from.display()))),
            }
            table.push(values).map_err(|why| damaged(from, number, why))?;
            if table.rows.len() >= CHUNK {
                table.flush(&mut tx).await?;
            }
            continue;
        }
        table.flush(&mut tx).await?;
        if let Some(name) = line["table"].as_str() {
            table =
                Table::open(&mut tx, name, &line["columns"], state.as_ref()).await?.map_err(|why| damaged(from, number, why))?;
        } else if line["end"].as_u64() == Some(rows) {
            ended = true;
        } else {
            return Err(damaged(from, number, "it is neither a table nor the end with the right number of rows"));
        }
    }
    if !ended {
        return Err(damaged(from, 1, "its end is missing: the file was cut short"));
    }
    if let Some(state) = &state {
        state.renumber(&mut tx).await?;
    }
    tx.commit().await?;
    migrations.up_to(SCHEMA_VERSION).await
}

/// The table that rows go to.
#[derive(Default)]
struct Table {
    place: Place,
    insert: String,
    types: Vec<Type>,
    rows: Vec<Vec<Value>>,
}

/// Where rows go.
#[derive(Default)]
enum Place {
    /// No table was named yet.
    #[default]
    None,
    /// Into the database.
    Here,
    /// They are checkpoints, and the database has no tables for them, or shall not have these.
    Nowhere,
}

impl Table {
    /// The inner error is the file's fault.
    async fn open(tx: &mut Tx, name: &str, columns: &Json, state: Option<&State>) -> Result<Result<Self, String>> {
        if state.is_none() && name.starts_with(checkpoints::SCHEMA) {
            return Ok(Ok(Self { place: Place::Nowhere, ..Self::default() }));
        }
        // Names go into a statement: only known ones do.
        if !TABLES.contains(&name) && !state.is_some_and(|state| state.tables.iter().any(|table| table == name)) {
            return Ok(Err(format!("there is no table `{name}`")));
        }
        let known = columns_of(tx, name).await?;
        let mut types = Vec::new();
        let mut names = Vec::new();
        for column in columns.as_array().into_iter().flatten() {
            let Some((column, kind)) = known.iter().find(|(known, _)| column.as_str() == Some(known)) else {
                return Ok(Err(format!("table `{name}` has no column {column}")));
            };
            names.push(column.as_str());
            types.push(*kind);
        }
        if names.is_empty() {
            return Ok(Err(format!("table `{name}` comes without columns")));
        }
        let insert = format!("INSERT INTO {name} ({}) VALUES ", names.join(", "));
        Ok(Ok(Self { place: Place::Here, insert, types, rows: Vec::new() }))
    }

    fn push(&mut self, values: Vec<Json>) -> Result<(), String> {
        if values.len() != self.types.len() || self.types.is_empty() {
            return Err(format!("a row of {} values where {} are", values.len(), self.types.len()));
        }
        let row = self.types.iter().zip(values).map(|(kind, value)| bind(*kind, value)).collect::<Option<Vec<_>>>();
        self.rows.push(row.ok_or("a value is not of its column's type")?);
        Ok(())
    }

    async fn flush(&mut self, tx: &mut Tx) -> Result<()> {
        tx.insert_many(&self.insert, std::mem::take(&mut self.rows)).await
    }
}

fn bind(kind: Type, value: Json) -> Option<Value> {
    Some(match (kind, value) {
        (Type::Int, Json::Null) => Value::Int(None),
        (Type::Int, value) => Value::Int(Some(value.as_i64()?)),
        (Type::Float, Json::String(text)) => Value::Float(Some(text.parse().ok()?)),
        (Type::Text, Json::Null) => Value::Text(None),
        (Type::Text, Json::String(text)) => Value::Text(Some(text)),
        (Type::Bytes, Json::Null) => Value::Blob(None),
        (Type::Bytes, Json::String(text)) => Value::Blob(Some(STANDARD.decode(text).ok()?)),
        _ => return None,
    })
}
