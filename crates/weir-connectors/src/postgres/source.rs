//! Reading: streams, the plan of splits, and the event stream of one split.
//!
//! A table is divided into block ranges, read under one exported snapshot. What cannot be divided (views, foreign tables,
//! queries, reads from a cursor value on) is one split. There are no positions inside a split: splits are small, or cannot be resumed.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_connect::verify::Verifiable;
use weir_connect::{
    Batch, DeadLetter, Error, Event, EventStream, Kind, OnLoss, Position, ReadRequest, Result, ResumeVerdict, Source,
    SourceCapabilities, Split, StreamInfo, StreamReader,
};

use super::catalog::{self, RawColumn, Relation, Shape, Storage, TypeContext};
use super::client::{Client, Payload};
use super::config::{Address, SourceOptions};
use super::copy_decode::{DeadRow, Decoder};
use super::query::{self, Query, Reference};
use super::quote::{self, TableName, ident};
use super::snapshot::{self, Division, Range, ReaderState, STATE_VERSION, Snapshot};
use super::types::{SourceColumn, Travel};

const BLOCK: u64 = 8192;
const SPLIT_BYTES: u64 = 32 << 20;
const SMALLEST_SPLIT: u64 = 1 << 20;
/// A small table is cut into this many splits, so that the lanes end together.
const SPLITS: u64 = 64;
const BATCH_BYTES: usize = 4 << 20;
const BATCH_ROWS: usize = 131_072;

/// A configured source.
pub struct PostgresSource {
    /// Where.
    pub address: Address,
    /// What.
    pub options: SourceOptions,
    /// Columns without exact counterpart.
    pub on_loss: OnLoss,
}

fn schema_of(columns: &[SourceColumn]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>()))
}

/// One split as data.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Statement {
    /// `COPY` of a SELECT without parameters.
    Copy { sql: String },
    /// A SELECT with parameters.
    Portal { sql: String, parameters: Vec<String> },
}

impl PostgresSource {
    fn default_schema(&self) -> &str {
        self.options.schema.as_deref().unwrap_or("public")
    }

    fn query_name(&self) -> String {
        self.options.name.clone().unwrap_or_else(|| "query".into())
    }

    /// The columns that a query gives, with `on_loss` applied.
    async fn query_columns(&self, client: &mut Client, query: &Query) -> Result<(Vec<u32>, Vec<RawColumn>, Vec<SourceColumn>)> {
        client.about(&format!("query `{}`", self.query_name()));
        let (parameters, found) = client.describe(&query.sql).await?;
        let context = TypeContext::load(client, found.iter().map(|column| column.type_oid)).await?;
        let mut names = Vec::new();
        for column in &found {
            // NUMERIC(15,2) etc. by the server, which knows every modifier.
            names.push((column.type_oid.to_string(), column.typmod.to_string()));
        }
        let mut raw = Vec::new();
        for (column, (oid, typmod)) in found.iter().zip(&names) {
            if raw.iter().any(|other: &RawColumn| other.name == column.name) {
                return Err(Error::new(
                    "WEIR-PG-024",
                    Kind::Schema,
                    format!("the query has two columns named `{}`", column.name),
                )
                .hint("give one of them another name with AS"));
            }
            let rows = client.query("SELECT format_type($1::oid, $2::int)", &[Some(oid), Some(typmod)]).await?;
            raw.push(RawColumn {
                name: column.name.clone(),
                type_oid: column.type_oid,
                typmod: column.typmod,
                type_name: rows.first().map(|row| row.text(0).to_string()).unwrap_or_default(),
                not_null: false,
                optional: false,
                generated: false,
            });
        }
        let columns = context.source_columns(&raw, &self.on_loss);
        Ok((parameters, raw, columns))
    }

    async fn table_infos(&self, client: &mut Client, relations: &[Relation]) -> Result<Vec<StreamInfo>> {
        let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
        let shapes = catalog::shapes(client, &oids).await?;
        let types = shapes.values().flat_map(|shape| shape.columns.iter().map(|column| column.type_oid));
        let context = TypeContext::load(client, types.collect::<std::collections::BTreeSet<_>>()).await?;
        let mut infos = Vec::new();
        for relation in relations {
            let empty = Shape::default();
            let shape = shapes.get(&relation.oid).unwrap_or(&empty);
            let columns = context.source_columns(&shape.columns, &self.on_loss);
            let divided = matches!(relation.kind, 'r' | 'p' | 'm') && client.version >= 140_000;
            let splits = relation.bytes.div_ceil(self.step(relation) * BLOCK).max(1);
            let reading = match (&self.options.cursor, divided) {
                (Some(cursor), _) => format!("from the last {cursor} on; everything on the first run"),
                (None, true) => format!("{splits} ctid splits, one snapshot; resumes while what was read is unchanged"),
                (None, false) => "one split, one snapshot; an interrupted read starts over".into(),
            };
            infos.push(StreamInfo {
                name: relation.name.display(),
                schema: schema_of(&columns),
                primary_key: shape.key.iter().filter(|key| columns.iter().any(|column| &column.name == *key)).cloned().collect(),
                estimated_rows: relation.rows,
                estimated_bytes: matches!(relation.kind, 'r' | 'p' | 'm').then_some(relation.bytes),
                reading,
            });
        }
        Ok(infos)
    }

    /// Blocks per split.
    fn step(&self, relation: &Relation) -> u64 {
        let bytes = match (self.options.split_rows, relation.rows) {
            (Some(wanted), Some(rows)) if rows > 0 => relation.bytes.saturating_mul(wanted) / rows,
            _ => self.options.split_bytes.unwrap_or((relation.bytes / SPLITS).clamp(SMALLEST_SPLIT, SPLIT_BYTES)),
        };
        (bytes / BLOCK).max(1)
    }

    /// Every stream that can be read over this connection.
    pub async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let mut client = Client::connect(&self.address).await?;
        let relations = catalog::readable(&mut client).await?;
        self.table_infos(&mut client, &relations).await
    }

    fn read_only(&self, columns: Vec<SourceColumn>, wanted: Option<&Vec<String>>) -> Vec<SourceColumn> {
        match wanted {
            Some(wanted) => columns.into_iter().filter(|column| wanted.contains(&column.name)).collect(),
            None => columns,
        }
    }

    async fn open_query(&self, text: &str, request: ReadRequest) -> Result<Reader> {
        let query = query::parse(text)?;
        let view = Client::connect(&self.address).await?;
        let mut view = snapshot::take(view, None, self.options.apply_row_security).await?;
        let (types, _, all) = self.query_columns(&mut view.client, &query).await?;
        let columns = self.read_only(all, request.columns.as_ref());
        let mut parameters = Vec::new();
        for (reference, kind) in query.references.iter().zip(types) {
            parameters.push(match reference {
                Reference::LastRunTime => request.last_run_time.clone().unwrap_or_else(|| "1970-01-01T00:00:00Z".into()),
                Reference::Cursor => match request.cursor.as_ref().and_then(|cursor| cursor.lower.clone()) {
                    Some(lower) => lower,
                    None => smallest(kind)?.into(),
                },
            });
        }
        let list = select_list(&columns);
        let mut sql = format!("SELECT {list} FROM (\n{}\n) AS weir_query", query.sql);
        let bound_already = query.references.contains(&Reference::Cursor);
        if let Some((column, lower)) =
            request.cursor.as_ref().and_then(|c| Some((&c.column, c.lower.as_ref()?))).filter(|_| !bound_already)
        {
            parameters.push(lower.clone());
            sql.push_str(&format!(" WHERE {} >= ${}", ident(column), parameters.len()));
        }
        if let Some(limit) = request.limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        let statement = if parameters.is_empty() { Statement::Copy { sql } } else { Statement::Portal { sql, parameters } };
        let state = ReaderState {
            version: STATE_VERSION,
            snapshot: view.text.clone(),
            identity: view.identity.clone(),
            fingerprint: String::new(),
            division: Division::Whole,
            step: 0,
            storage: Vec::new(),
            as_of: view.as_of.clone(),
            statement: serde_json::to_string(&statement).unwrap_or_default(),
        };
        self.finish_open(view, request, self.query_name(), columns, state, (None, None)).await
    }

    async fn open_table(&self, request: ReadRequest) -> Result<Reader> {
        let (schema, table) = quote::split(&request.stream);
        let name = TableName::new(schema.unwrap_or_else(|| self.default_schema().into()), table);
        let mut client = Client::connect(&self.address).await?;
        let gone = || Error::new("WEIR-PG-007", Kind::NotFound, format!("table {} does not exist (any more)", name.display()));
        let relation = catalog::find(&mut client, &name).await?.ok_or_else(gone)?;
        let mut view = snapshot::take(client, Some(&relation), self.options.apply_row_security).await?;
        // Again inside the snapshot: what was true before the lock may not be now.
        let relation = catalog::find(&mut view.client, &name).await?.ok_or_else(gone)?;
        let shape = catalog::shapes(&mut view.client, &[relation.oid]).await?.remove(&relation.oid).unwrap_or_default();
        let context = TypeContext::load(&mut view.client, shape.columns.iter().map(|column| column.type_oid)).await?;
        let columns = self.read_only(context.source_columns(&shape.columns, &self.on_loss), request.columns.as_ref());
        let storage = catalog::storage(&mut view.client, &relation).await?;
        let lower = request.cursor.as_ref().and_then(|cursor| Some((&cursor.column, cursor.lower.as_ref()?)));
        let divisible = matches!(relation.kind, 'r' | 'p' | 'm')
            && view.client.version >= 140_000
            && storage.iter().all(|part| part.heap)
            // The policies of a partitioned table do not hold for its partitions when these are read by name.
            && !(self.options.apply_row_security && storage.iter().any(|part| part.oid != relation.oid))
            && lower.is_none()
            && request.limit.is_none();
        let list = select_list(&columns);
        let statement = match lower {
            _ if divisible => None,
            Some((column, lower)) => {
                let limit = request.limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
                let sql = format!("SELECT {list} FROM {} WHERE {} >= $1{limit}", name.sql(), ident(column));
                Some(Statement::Portal { sql, parameters: vec![lower.clone()] })
            }
            None => {
                let limit = request.limit.map(|limit| format!(" LIMIT {limit}")).unwrap_or_default();
                Some(Statement::Copy { sql: format!("SELECT {list} FROM {}{limit}", name.sql()) })
            }
        };
        let selected: Vec<RawColumn> =
            shape.columns.iter().filter(|raw| columns.iter().any(|column| column.name == raw.name)).cloned().collect();
        let state = ReaderState {
            version: STATE_VERSION,
            snapshot: view.text.clone(),
            identity: view.identity.clone(),
            fingerprint: catalog::fingerprint(&selected),
            division: if divisible { Division::Blocks } else { Division::Whole },
            step: self.step(&relation),
            storage,
            as_of: view.as_of.clone(),
            statement: statement.map(|statement| serde_json::to_string(&statement).unwrap_or_default()).unwrap_or_default(),
        };
        let estimates = (relation.rows, Some(relation.bytes));
        let shown = relation.name.clone();
        self.finish_open(view, request, shown.display(), columns, state, estimates)
            .await
            .map_err(|e| snapshot::name_table(e, &shown))
    }

    /// Decides about an earlier attempt and plans the splits.
    async fn finish_open(
        &self,
        mut view: snapshot::View,
        request: ReadRequest,
        stream: String,
        columns: Vec<SourceColumn>,
        fresh: ReaderState,
        estimates: (Option<u64>, Option<u64>),
    ) -> Result<Reader> {
        let mut state = fresh;
        let mut verdict = ResumeVerdict::Fresh;
        let mut splits = plan(&state, estimates)?;
        if let Some(resume) = &request.resume {
            let done: Vec<_> = resume.progress.iter().filter(|part| part.done).cloned().collect();
            let is_done = |split: &Split| done.iter().any(|part| part.split.id == split.id);
            match serde_json::from_value::<ReaderState>(resume.reader_state.clone()) {
                Ok(old) if old.version == STATE_VERSION => {
                    let before = plan(&old, estimates)?;
                    if before.iter().all(is_done) {
                        // Everything was read under the old snapshot: nothing to prove, nothing to read.
                        (state, splits, verdict) = (old, Vec::new(), ResumeVerdict::Continued);
                    } else if let Some(reason) = snapshot::changed(&mut view, &old, &state, &done).await? {
                        verdict = ResumeVerdict::StartOver { reason };
                    } else {
                        // The old ranges stay, so that their ids do; the last one of a table is open to the end.
                        state = ReaderState { storage: old.storage, step: old.step, ..state };
                        splits = before.into_iter().filter(|split| !is_done(split)).collect();
                        verdict = ResumeVerdict::Continued;
                    }
                }
                _ => verdict = ResumeVerdict::StartOver { reason: "what the earlier attempt read cannot be understood".into() },
            }
        }
        let travels = columns.iter().map(|column| column.travel.clone()).collect();
        let batch_bytes = if request.batch_bytes == 0 { BATCH_BYTES } else { request.batch_bytes };
        let snapshot = Arc::new(Snapshot::new(view, self.address.clone(), self.options.apply_row_security));
        let list = select_list(&columns);
        Ok(Reader { stream, schema: schema_of(&columns), travels, list, splits, verdict, state, snapshot, batch_bytes })
    }
}

/// The smallest value of a type, for `${cursor}` on the first run.
fn smallest(type_oid: u32) -> Result<&'static str> {
    use super::types::oid;
    Ok(match type_oid {
        oid::DATE | oid::TIMESTAMP | oid::TIMESTAMPTZ => "-infinity",
        oid::INT2 => "-32768",
        oid::INT4 => "-2147483648",
        oid::INT8 => "-9223372036854775808",
        oid::NUMERIC => "-1e131071",
        oid::FLOAT4 | oid::FLOAT8 => "-Infinity",
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME => "",
        _ => {
            return Err(Error::new("WEIR-PG-022", Kind::Spec, "`${cursor}` has no smallest value of its type for the first run")
                .hint("leave `${cursor}` out of the query: the `cursor` option adds the condition itself"));
        }
    })
}

fn select_list(columns: &[SourceColumn]) -> String {
    columns
        .iter()
        .map(|column| {
            let name = ident(&column.name);
            let expression = column.select.expression(&name);
            if expression == name { name } else { format!("{expression} AS {name}") }
        })
        .collect::<Vec<_>>()
        .join(", ")
}

/// The splits that a state stands for. The same state gives the same splits.
fn plan(state: &ReaderState, (rows, bytes): (Option<u64>, Option<u64>)) -> Result<Vec<Split>> {
    let broken = |error| Error::internal("a split cannot be written down").caused_by(error);
    if state.division == Division::Whole {
        let descriptor: Value = serde_json::from_str(&state.statement).map_err(broken)?;
        return Ok(vec![Split { id: "whole".into(), descriptor, estimated_rows: rows, estimated_bytes: bytes }]);
    }
    let total: u64 = state.storage.iter().map(|part| part.blocks).sum();
    let mut splits = Vec::new();
    for Storage { oid, schema, table, blocks, .. } in &state.storage {
        let step = state.step.max(1);
        let mut from: u64 = 0;
        loop {
            let to = from.checked_add(step).filter(|to| *to < *blocks);
            let length = to.unwrap_or(*blocks).saturating_sub(from);
            let range = Range { oid: *oid, schema: schema.clone(), table: table.clone(), from, to };
            let share = |amount: u64| (u128::from(amount) * u128::from(length) / u128::from(total.max(1))) as u64;
            splits.push(Split {
                id: format!("ctid:{oid}:{from}-{}", to.map_or("end".into(), |to| to.to_string())),
                descriptor: serde_json::to_value(range).map_err(broken)?,
                estimated_rows: rows.map(share),
                estimated_bytes: Some(length * BLOCK),
            });
            match to {
                Some(next) => from = next,
                None => break,
            }
        }
    }
    Ok(splits)
}

#[async_trait]
impl Source for PostgresSource {
    fn capabilities(&self) -> SourceCapabilities {
        let note = if self.options.query.is_some() {
            "postgres re-reads a query as a whole, under a new snapshot"
        } else if self.options.cursor.is_some() {
            "postgres replays from the committed cursor value"
        } else {
            "postgres reuses ctid splits that it proves unchanged under a new snapshot, else starts over"
        };
        SourceCapabilities { replayable: true, replay_note: note.into() }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut client = Client::connect(&self.address).await?;
        if let Some(text) = &self.options.query {
            let query = query::parse(text)?;
            let (_, _, columns) = self.query_columns(&mut client, &query).await?;
            return Ok(vec![StreamInfo {
                name: self.query_name(),
                schema: schema_of(&columns),
                primary_key: Vec::new(),
                estimated_rows: None,
                estimated_bytes: None,
                reading: "one query, one snapshot; an interrupted read starts over".into(),
            }]);
        }
        let patterns = self.options.patterns();
        if patterns.is_empty() {
            return Err(Error::new("WEIR-PG-001", Kind::Spec, "the source does not say what to read")
                .hint("give `tables: [public.orders]`, `table` or `query`; `weir discover` lists what is there"));
        }
        let relations = catalog::choose(&mut client, &patterns, self.default_schema()).await?;
        self.table_infos(&mut client, &relations).await
    }

    fn verifiable(&self) -> Option<&dyn Verifiable> {
        Some(self)
    }

    async fn open(&self, request: ReadRequest) -> Result<Box<dyn StreamReader>> {
        let reader = match &self.options.query {
            Some(text) => self.open_query(text, request).await?,
            None => self.open_table(request).await?,
        };
        Ok(Box::new(reader))
    }
}

/// One stream under one snapshot.
struct Reader {
    stream: String,
    schema: SchemaRef,
    travels: Vec<Travel>,
    list: String,
    splits: Vec<Split>,
    verdict: ResumeVerdict,
    state: ReaderState,
    snapshot: Arc<Snapshot>,
    batch_bytes: usize,
}

#[async_trait]
impl StreamReader for Reader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn splits(&self) -> Vec<Split> {
        self.splits.clone()
    }

    fn verdict(&self) -> ResumeVerdict {
        self.verdict.clone()
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.state).unwrap_or_default()
    }

    fn as_of(&self) -> Option<String> {
        Some(self.state.as_of.clone())
    }

    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        if from.is_some() {
            return Err(Error::internal("a position inside a PostgreSQL split").at(split.id.clone()));
        }
        let (statement, place) = if self.state.division == Division::Blocks {
            let range: Range = serde_json::from_value(split.descriptor.clone())
                .map_err(|error| Error::internal("a split of another format").at(split.id.clone()).caused_by(error))?;
            (Statement::Copy { sql: format!("SELECT {} {}", self.list, range.sql()) }, range.display())
        } else {
            let statement = serde_json::from_value(split.descriptor.clone())
                .map_err(|error| Error::internal("a split of another format").at(split.id.clone()).caused_by(error))?;
            (statement, self.stream.clone())
        };
        let mut client = self.snapshot.lane().await?;
        client.about(&place);
        match &statement {
            Statement::Copy { sql } => client.copy_out(&format!("COPY ({sql}\n) TO STDOUT (FORMAT binary)")).await,
            Statement::Portal { sql, parameters } => {
                let parameters: Vec<Option<&str>> = parameters.iter().map(|text| Some(text.as_str())).collect();
                client.portal(sql, &parameters).await
            }
        }
        .map_err(|error| match self.state.fingerprint.is_empty() {
            true => error,
            // Row security is looked at only now.
            false => snapshot::name_table(error, &quote::table(&self.stream)),
        })?;
        let reading = Reading {
            client: Some(client),
            decoder: Decoder::new(self.schema.clone(), &self.travels),
            snapshot: self.snapshot.clone(),
            stream: self.stream.clone(),
            schema: self.schema.clone(),
            place,
            batch_bytes: self.batch_bytes,
            ready: Default::default(),
        };
        Ok(Box::pin(futures::stream::try_unfold(reading, |mut reading| async move {
            let event = reading.next().await?;
            Ok(event.map(|event| (event, reading)))
        })))
    }
}

/// A split being read.
struct Reading {
    /// `None` when the server has no more.
    client: Option<Client>,
    decoder: Decoder,
    snapshot: Arc<Snapshot>,
    stream: String,
    schema: SchemaRef,
    place: String,
    batch_bytes: usize,
    ready: std::collections::VecDeque<Event>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(client) = &mut self.client else { return Ok(None) };
            let (decoder, limit) = (&mut self.decoder, self.batch_bytes);
            let fetched = client
                .fetch(|payload| {
                    match payload {
                        Payload::Copy(bytes) => decoder.feed(bytes)?,
                        Payload::Row(row) => decoder.feed_row(row)?,
                    }
                    Ok(decoder.bytes() >= limit || decoder.rows() >= BATCH_ROWS)
                })
                .await
                .map_err(|error| error.at(self.place.clone()))?;
            if !fetched {
                self.decoder.end().map_err(|error| error.at(self.place.clone()))?;
                if let Some(client) = self.client.take() {
                    self.snapshot.give_back(client);
                }
            }
            let source_bytes = self.decoder.bytes() as u64;
            for dead in self.decoder.take_dead() {
                let letter = self.letter(dead);
                self.ready.push_back(Event::Dead(letter));
            }
            if let Some(records) = self.decoder.take_batch()? {
                self.ready.push_back(Event::Batch(Batch { records, position: None, source_bytes }));
            }
        }
    }

    fn letter(&self, dead: DeadRow) -> DeadLetter {
        let column = self.schema.fields().get(dead.column).map(|field| field.name().as_str()).unwrap_or_default();
        DeadLetter {
            stream: self.stream.clone(),
            code: "WEIR-PG-040".into(),
            reason: format!("column `{column}`: {}; `on_loss: {{{column}: string}}` carries it as text", dead.reason),
            place: format!("{}, row {}", self.place, dead.row),
            payload: dead.tuple,
            media_type: "application/vnd.postgresql.copy-tuple".into(),
        }
    }
}
