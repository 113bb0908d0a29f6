//! Reading tables and queries under one exported snapshot.
//!
//! A table is read in ctid ranges of a few tens of megabytes, each by `COPY (SELECT … WHERE ctid …) TO STDOUT (FORMAT binary)`. All ranges belong
//! to one snapshot, held by a coordinator connection. After a crash that snapshot is gone; a finished range may be kept
//! only if nothing in it changed since, which is verified inside the server (see [`super::resume`]).

use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_postgres::Client;
use weir_connect::{
    Batch, Error, Event, EventStream, Kind, OnLoss, Position, ReadRequest, Result, ResumeVerdict, Source, SourceCapabilities,
    SourceContext, Split, StreamInfo, StreamReader,
};

use super::catalog::{self, Leaf, Relation};
use super::client::{Connect, explain};
use super::config::{PostgresConnection, PostgresSourceOptions, literal, parse, quote};
use super::decode::Decoder;
use super::resume::{self, ReaderState};
use super::types::{ReadColumn, read_column};

/// A configured source.
pub struct PostgresSource {
    connect: Connect,
    options: PostgresSourceOptions,
    on_loss: OnLoss,
}

/// What a split reads.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// Blocks `[from, to)` of a physical table; `to: None` = to the end, whatever was added.
    Blocks { oid: u32, table: String, from: u64, to: Option<u64> },
    /// A whole relation, or the query.
    Whole,
}

impl PostgresSource {
    /// From options; connects to nothing.
    pub fn new(context: &SourceContext) -> Result<Self> {
        let connection: PostgresConnection = parse("connection", &context.connection)?;
        let options: PostgresSourceOptions = parse("source", &context.options)?;
        options.validate()?;
        Ok(Self { connect: Connect::new(&connection)?, options, on_loss: context.on_loss.clone() })
    }

    /// A source over everything that the connection can see, for `discover`.
    pub fn everything(context: &SourceContext) -> Result<Self> {
        let connection: PostgresConnection = parse("connection", &context.connection)?;
        let options = PostgresSourceOptions { tables: vec!["*.*".into()], ..PostgresSourceOptions::default() };
        Ok(Self { connect: Connect::new(&connection)?, options, on_loss: context.on_loss.clone() })
    }

    async fn chosen(&self, client: &Client) -> Result<Vec<Relation>> {
        let patterns = self.options.patterns();
        let matchers: Vec<(bool, GlobMatcher, GlobMatcher)> =
            patterns.iter().map(|(exclude, schema, table)| Ok((*exclude, glob(schema)?, glob(table)?))).collect::<Result<_>>()?;
        let all = catalog::relations(client).await.map_err(|error| error.at(self.connect.place.clone()))?;
        let mut chosen = Vec::new();
        for relation in &all {
            let hit = |(_, schema, table): &&(bool, GlobMatcher, GlobMatcher)| {
                schema.is_match(&relation.schema) && table.is_match(&relation.name)
            };
            let wanted = matchers.iter().filter(|(exclude, ..)| !exclude).any(|m| hit(&m));
            let unwanted = matchers.iter().filter(|(exclude, ..)| *exclude).any(|m| hit(&m));
            if wanted && !unwanted && relation.schema != "_weir" {
                chosen.push(relation.clone());
            }
        }
        for ((exclude, schema, table), (_, schema_glob, table_glob)) in patterns.iter().zip(&matchers) {
            let found = all.iter().any(|relation| schema_glob.is_match(&relation.schema) && table_glob.is_match(&relation.name));
            if !exclude && !found && (schema, table) != (&"*".to_owned(), &"*".to_owned()) {
                let near = nearest(&format!("{schema}.{table}"), &all);
                let error = Error::new("WEIR-PG-040", Kind::NotFound, format!("no table matches `{schema}.{table}`"))
                    .at(self.connect.place.clone());
                return Err(match near {
                    Some(near) => error.hint(format!("did you mean `{near}`? `weir discover` lists all")),
                    None => error.hint("`weir discover` lists what this user may see"),
                });
            }
        }
        Ok(chosen)
    }

    async fn relation_info(&self, client: &Client, relation: &Relation) -> Result<StreamInfo> {
        let columns = catalog::columns(client, relation.oid, &self.on_loss).await?;
        let leaves = catalog::leaves(client, relation.oid).await?;
        let parts = self.parts(&leaves, 1);
        let reading = match parts.len() {
            1 if parts[0] == Part::Whole => "one read, one snapshot".into(),
            count => format!("{count} ctid splits, one snapshot"),
        };
        Ok(StreamInfo {
            name: relation.stream(),
            schema: Arc::new(arrow::datatypes::Schema::new(columns.into_iter().map(|column| column.field).collect::<Vec<_>>())),
            primary_key: catalog::primary_key(client, relation.oid).await?,
            estimated_rows: relation.rows,
            estimated_bytes: Some(relation.bytes).filter(|bytes| *bytes > 0),
            reading,
        })
    }

    /// Divides physical tables into block ranges; anything else is read whole.
    fn parts(&self, leaves: &[Leaf], lanes: usize) -> Vec<Part> {
        if leaves.is_empty() || leaves.iter().any(|leaf| !leaf.physical) {
            return vec![Part::Whole];
        }
        let total: u64 = leaves.iter().map(|leaf| leaf.blocks).sum();
        let wanted = self.options.split_mib.unwrap_or(32).max(1) * 128;
        // Small tables still divide over the lanes, as long as a split is worth its round trip.
        let step = wanted.min((total / (lanes.max(1) as u64 * 3)).max(256));
        let mut parts = Vec::new();
        for leaf in leaves {
            let mut from = 0;
            loop {
                let to = from + step;
                let last = to + step / 2 >= leaf.blocks;
                parts.push(Part::Blocks { oid: leaf.oid, table: leaf.quoted.clone(), from, to: (!last).then_some(to) });
                if last {
                    break;
                }
                from = to;
            }
        }
        parts
    }

    fn query_name(&self) -> String {
        self.options.stream.clone().unwrap_or_else(|| "query".into())
    }

    async fn query_columns(&self, client: &Client, sql: &str) -> Result<Vec<ReadColumn>> {
        let statement = client.prepare(sql).await.map_err(|error| self.connect.explain(error))?;
        let mut columns = Vec::new();
        for column in statement.columns() {
            let kind = catalog::type_of(client, column.type_().oid(), column.type_modifier()).await?;
            if let Some(read) = read_column(column.name(), true, &kind, self.on_loss.for_column(column.name())) {
                columns.push(read);
            }
        }
        Ok(columns)
    }
}

fn glob(pattern: &str) -> Result<GlobMatcher> {
    GlobBuilder::new(pattern)
        .literal_separator(false)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| Error::new("WEIR-PG-041", Kind::Spec, format!("`{pattern}` is no table pattern")).because(error))
}

fn nearest(name: &str, all: &[Relation]) -> Option<String> {
    let score = |other: &str| name.chars().zip(other.chars()).filter(|(a, b)| a == b).count();
    all.iter().map(Relation::stream).max_by_key(|other| score(other)).filter(|other| score(other) * 2 > name.len())
}

/// A query with its placeholders turned into parameters: `'${cursor}'` or `${cursor}` → `$1`.
pub(super) fn bind_placeholders(query: &str) -> (String, Vec<&'static str>) {
    let mut sql = query.to_owned();
    let mut names = Vec::new();
    for name in ["last_run_time", "cursor"] {
        let plain = format!("${{{name}}}");
        if !sql.contains(&plain) {
            continue;
        }
        names.push(name);
        let parameter = format!("${}", names.len());
        // In quotes it was a literal of the type that the context wants; a parameter is that without them.
        sql = sql.replace(&format!("'{plain}'"), &parameter).replace(&plain, &parameter);
    }
    (sql, names)
}

#[async_trait]
impl Source for PostgresSource {
    fn capabilities(&self) -> SourceCapabilities {
        let replay_note = if self.options.query.is_some() {
            "postgres reads a query again as a whole, under one snapshot".into()
        } else {
            "postgres re-reads under one snapshot; finished ctid splits are kept only if the server shows them unchanged".into()
        };
        SourceCapabilities { replayable: true, replay_note }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let client = self.connect.open().await?;
        if let Some(query) = &self.options.query {
            let (sql, _) = bind_placeholders(query);
            let columns = self.query_columns(&client, &sql).await?;
            return Ok(vec![StreamInfo {
                name: self.query_name(),
                schema: Arc::new(arrow::datatypes::Schema::new(
                    columns.into_iter().map(|column| column.field).collect::<Vec<_>>(),
                )),
                primary_key: Vec::new(),
                estimated_rows: None,
                estimated_bytes: None,
                reading: "one query, one snapshot".into(),
            }]);
        }
        let mut streams = Vec::new();
        for relation in self.chosen(&client).await? {
            streams.push(self.relation_info(&client, &relation).await?);
        }
        Ok(streams)
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let coordinator = self.connect.open().await?;
        coordinator
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .await
            .map_err(|error| self.connect.explain(error))?;
        let row = coordinator
            .query_one(
                "SELECT pg_export_snapshot(), pg_current_snapshot()::text,
                        to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
                &[],
            )
            .await
            .map_err(|error| self.connect.explain(error))?;
        let (snapshot, visible, as_of): (String, String, String) = (row.get(0), row.get(1), row.get(2));

        let mut reader = PostgresReader {
            connect: self.connect.clone(),
            stream: request.stream.clone(),
            snapshot,
            as_of,
            columns: Vec::new(),
            read: Read::Query { sql: String::new(), parameters: Vec::new() },
            splits: Vec::new(),
            verdict: ResumeVerdict::Fresh,
            state: ReaderState { snapshot: visible, ..ReaderState::default() },
            batch_bytes: if request.batch_bytes == 0 { 4 << 20 } else { request.batch_bytes },
            idle: Arc::default(),
            _coordinator: None,
        };
        if let Some(query) = &self.options.query {
            let (sql, names) = bind_placeholders(query);
            reader.columns = self.query_columns(&coordinator, &sql).await?;
            let list = select_list(&reader.columns, "q");
            let cursor = request.cursor.as_ref().and_then(|window| window.lower.clone());
            let parameters = names
                .iter()
                .map(|name| match *name {
                    "last_run_time" => request.last_run_time.clone(),
                    _ => cursor.clone(),
                })
                .collect();
            let mut sql = format!("SELECT {list} FROM ({}) AS q", sql.trim().trim_end_matches(';'));
            let mut parameters: Vec<Option<String>> = parameters;
            if let (Some(window), false) = (&request.cursor, names.contains(&"cursor"))
                && let Some(lower) = &window.lower
            {
                parameters.push(Some(lower.clone()));
                sql.push_str(&format!(" WHERE q.{} >= ${}", quote(&window.column), parameters.len()));
            }
            reader.read = Read::Query { sql, parameters };
            reader.splits = vec![whole()];
            if request.resume.is_some_and(|resume| !resume.progress.is_empty()) {
                reader.verdict = ResumeVerdict::StartOver { reason: "a query is read as a whole".into() };
            }
        } else {
            let relation =
                self.chosen(&coordinator).await?.into_iter().find(|relation| relation.stream() == request.stream).ok_or_else(
                    || {
                        Error::new("WEIR-PG-042", Kind::NotFound, format!("table `{}` is gone", request.stream))
                            .at(self.connect.place.clone())
                    },
                )?;
            reader.columns = catalog::columns(&coordinator, relation.oid, &self.on_loss).await?;
            if let Some(wanted) = &request.columns {
                reader.columns.retain(|column| wanted.contains(column.field.name()));
            }
            let lower = request.cursor.as_ref().and_then(|window| Some((window.column.clone(), window.lower.clone()?)));
            if let Some((column, lower)) = lower {
                // An index on the cursor serves this better than block ranges; the bound is a parameter.
                let list = select_list(&reader.columns, "t");
                let sql = format!("SELECT {list} FROM {} AS t WHERE t.{} >= $1", relation.quoted(), quote(&column));
                reader.read = Read::Query { sql, parameters: vec![Some(lower)] };
                reader.splits = vec![whole()];
                if request.resume.is_some_and(|resume| !resume.progress.is_empty()) {
                    reader.verdict = ResumeVerdict::StartOver { reason: "an incremental read is repeated as a whole".into() };
                }
            } else {
                let leaves = catalog::leaves(&coordinator, relation.oid).await?;
                reader.state.filenodes = leaves.iter().map(|leaf| (leaf.oid, leaf.filenode)).collect();
                let mut parts = self.parts(&leaves, request.parallelism);
                if let Some(resume) = request.resume.filter(|resume| !resume.progress.is_empty()) {
                    reader.verdict = resume::verdict(&coordinator, &resume, &reader.state).await?;
                    if reader.verdict == ResumeVerdict::Continued {
                        // The same ranges as before, so that finished ones are recognised; the rest of the table follows.
                        parts = resume::remaining(&resume, &leaves, parts);
                    }
                }
                reader.splits = parts.iter().map(|part| split(part, &relation, &leaves)).collect();
                reader.read = Read::Table { quoted: relation.quoted() };
            }
        }
        reader._coordinator = Some(coordinator);
        Ok(Box::new(reader))
    }
}

fn whole() -> Split {
    Split { id: "whole".into(), descriptor: json!(Part::Whole), estimated_rows: None, estimated_bytes: None }
}

fn split(part: &Part, relation: &Relation, leaves: &[Leaf]) -> Split {
    match part {
        Part::Whole => Split { estimated_rows: relation.rows, ..whole() },
        Part::Blocks { oid, from, to, .. } => {
            let end = to.or_else(|| leaves.iter().find(|leaf| leaf.oid == *oid).map(|leaf| leaf.blocks)).unwrap_or(*from);
            let blocks = end.saturating_sub(*from);
            let all: u64 = leaves.iter().map(|leaf| leaf.blocks).sum();
            Split {
                id: format!("{oid}:{from}-{}", to.map_or("end".into(), |to| to.to_string())),
                descriptor: json!(part),
                estimated_rows: relation.rows.filter(|_| all > 0).map(|rows| rows * blocks / all),
                estimated_bytes: Some(blocks * 8192),
            }
        }
    }
}

/// `alias."column"`, as text where the server has to print it.
fn select_list(columns: &[ReadColumn], alias: &str) -> String {
    if columns.is_empty() {
        return "1 AS _weir_none".into();
    }
    columns
        .iter()
        .map(|column| {
            let name = quote(column.field.name());
            if column.as_text { format!("{alias}.{name}::text AS {name}") } else { format!("{alias}.{name}") }
        })
        .collect::<Vec<_>>()
        .join(", ")
}

enum Read {
    Table { quoted: String },
    Query { sql: String, parameters: Vec<Option<String>> },
}

struct PostgresReader {
    connect: Connect,
    stream: String,
    snapshot: String,
    as_of: String,
    columns: Vec<ReadColumn>,
    read: Read,
    splits: Vec<Split>,
    verdict: ResumeVerdict,
    state: ReaderState,
    batch_bytes: usize,
    /// Connections that are in the snapshot and free.
    idle: Arc<Mutex<Vec<Client>>>,
    /// Keeps the snapshot exported.
    _coordinator: Option<Client>,
}

impl PostgresReader {
    async fn connection(&self) -> Result<Client> {
        if let Some(client) = self.idle.lock().ok().and_then(|mut idle| idle.pop()) {
            return Ok(client);
        }
        let client = self.connect.open().await?;
        client
            .batch_execute(&format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}",
                literal(&self.snapshot)
            ))
            .await
            .map_err(|error| self.connect.explain(error))?;
        Ok(client)
    }
}

#[async_trait]
impl StreamReader for PostgresReader {
    fn schema(&self) -> SchemaRef {
        Decoder::new(&self.stream, &self.columns).schema()
    }
    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }
    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }
    fn state(&self) -> serde_json::Value {
        json!(self.state)
    }
    fn as_of(&self) -> Option<String> {
        Some(self.as_of.clone())
    }

    async fn read(&self, split: &Split, _: Option<Position>) -> Result<EventStream> {
        let part: Part = serde_json::from_value(split.descriptor.clone())
            .map_err(|error| Error::internal("a split of another connector").caused_by(error))?;
        let client = self.connection().await?;
        let list = select_list(&self.columns, "t");
        let place = format!("{} {}", self.connect.place, self.stream);
        let decoder = Decoder::new(&self.stream, &self.columns);
        let source: Rows = match (&part, &self.read) {
            (Part::Blocks { table, from, to, .. }, _) => {
                let upper = to.map(|to| format!(" AND t.ctid < '({to},0)'")).unwrap_or_default();
                let sql = format!(
                    "COPY (SELECT {list} FROM ONLY {table} AS t WHERE t.ctid >= '({from},0)'{upper}) TO STDOUT (FORMAT binary)"
                );
                Rows::Copy(Box::pin(client.copy_out(&sql).await.map_err(|error| self.connect.explain(error))?))
            }
            (Part::Whole, Read::Table { quoted }) => {
                let sql = format!("COPY (SELECT {list} FROM {quoted} AS t) TO STDOUT (FORMAT binary)");
                Rows::Copy(Box::pin(client.copy_out(&sql).await.map_err(|error| self.connect.explain(error))?))
            }
            (Part::Whole, Read::Query { sql, parameters }) if parameters.is_empty() => {
                let sql = format!("COPY ({sql}) TO STDOUT (FORMAT binary)");
                Rows::Copy(Box::pin(client.copy_out(&sql).await.map_err(|error| self.connect.explain(error))?))
            }
            (Part::Whole, Read::Query { sql, parameters }) => {
                let statement = client.prepare(sql).await.map_err(|error| self.connect.explain(error))?;
                let values = parameters.iter().map(|value| super::binding::Bound(value.clone()));
                let rows = client.query_raw(&statement, values).await.map_err(|error| self.connect.explain(error))?;
                Rows::Query(Box::pin(rows))
            }
        };
        let state = Reading {
            source,
            decoder,
            client: Some(client),
            idle: self.idle.clone(),
            place,
            batch_bytes: self.batch_bytes,
            pending: Vec::new(),
            ended: false,
        };
        let events =
            futures::stream::try_unfold(state, |mut state| async move { Ok(state.next().await?.map(|event| (event, state))) });
        Ok(events.boxed())
    }
}

enum Rows {
    Copy(std::pin::Pin<Box<tokio_postgres::CopyOutStream>>),
    Query(std::pin::Pin<Box<tokio_postgres::RowStream>>),
}

struct Reading {
    source: Rows,
    decoder: Decoder,
    client: Option<Client>,
    idle: Arc<Mutex<Vec<Client>>>,
    place: String,
    batch_bytes: usize,
    pending: Vec<Event>,
    ended: bool,
}

const MAX_ROWS: usize = 32_768;

impl Reading {
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.pending.pop() {
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            self.fill().await?;
            let bytes = self.decoder.bytes() as u64;
            if self.decoder.rows() == 0 {
                continue;
            }
            let rows = self.decoder.take().map_err(|error| error.at(self.place.clone()))?;
            if rows.batch.num_rows() > 0 {
                self.pending.push(Event::Batch(Batch { records: rows.batch, position: None, source_bytes: bytes }));
            }
            self.pending.extend(rows.dead.into_iter().map(Event::Dead));
        }
    }

    /// Decodes until a batch is full or the source ends.
    async fn fill(&mut self) -> Result<()> {
        while self.decoder.rows() < MAX_ROWS && self.decoder.bytes() < self.batch_bytes {
            let more = match &mut self.source {
                Rows::Copy(stream) => match stream.try_next().await.map_err(|error| explain(error).at(self.place.clone()))? {
                    Some(piece) => {
                        self.decoder.feed(&piece).map_err(|error| error.at(self.place.clone()))?;
                        true
                    }
                    None => {
                        self.decoder.end()?;
                        false
                    }
                },
                Rows::Query(stream) => match stream.try_next().await.map_err(|error| explain(error).at(self.place.clone()))? {
                    Some(row) => {
                        self.decoder.row((0..row.len()).map(|index| super::binding::raw(&row, index)));
                        true
                    }
                    None => false,
                },
            };
            if !more {
                self.ended = true;
                // Back to the others: it is still in the snapshot.
                if let (Some(client), Ok(mut idle)) = (self.client.take(), self.idle.lock()) {
                    idle.push(client);
                }
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_parameters_and_nothing_is_spliced() {
        let (sql, names) =
            bind_placeholders("SELECT * FROM t WHERE a > '${last_run_time}' AND b > ${cursor} OR a = '${last_run_time}'");
        assert_eq!(sql, "SELECT * FROM t WHERE a > $1 AND b > $2 OR a = $1");
        assert_eq!(names, ["last_run_time", "cursor"]);
    }
}
