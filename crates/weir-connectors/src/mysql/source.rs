//! Reading: streams, the plan of splits, and the event stream of one split.
//!
//! A table whose primary key begins with an integer is divided into ranges of it, read under one view. Within a split rows come in the order
//! of the primary key, and each batch carries the key of its last row as the position. What cannot be divided is one split; what has no
//! usable key has no positions.

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

use super::catalog::{self, RawColumn, Relation, Shape};
use super::client::{Client, Param};
use super::config::{Address, SourceOptions};
use super::key::{self, KeyColumn};
use super::query::{self, Query, Reference};
use super::quote::{self, TableName, ident};
use super::types::{Base, ColumnType, SourceColumn, source_column};
use super::values::{DeadRow, Decoder};
use super::view::{self, Facts, Lane, View};

const SMALLEST_SPLIT: u64 = 1 << 20;
const SPLIT_BYTES: u64 = 64 << 20;
/// A table is cut into about this many splits, so that the lanes end together.
const SPLITS: u64 = 64;
const MOST_SPLITS: u64 = 4096;
const BATCH_BYTES: usize = 4 << 20;
const BATCH_ROWS: usize = 131_072;
const STATE_VERSION: u32 = 1;

/// A configured source.
#[derive(Clone)]
pub struct MysqlSource {
    /// Where.
    pub address: Address,
    /// What.
    pub options: SourceOptions,
    /// Columns without exact counterpart.
    pub on_loss: OnLoss,
}

/// What a later attempt must know.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ReaderState {
    version: u32,
    facts: Facts,
    fingerprint: String,
    ranges: Vec<Range>,
}

/// One split as data: bounds of the first key column, the upper one excluded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Range {
    from: Option<String>,
    to: Option<String>,
}

/// A statement without bounds.
struct Plan {
    /// `SELECT … FROM …`.
    select: String,
    /// Conditions with their parameters.
    conditions: Vec<String>,
    parameters: Vec<Param>,
    /// Key columns for order and positions; empty = neither.
    keys: Vec<KeyColumn>,
    limit: Option<u64>,
}

fn schema_of(columns: &[SourceColumn]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|column| column.field.clone()).collect::<Vec<_>>()))
}

fn select_list(columns: &[SourceColumn]) -> String {
    if columns.is_empty() {
        return "NULL".into();
    }
    columns.iter().map(|column| column.select.as_str()).collect::<Vec<_>>().join(", ")
}

impl MysqlSource {
    fn query_name(&self) -> String {
        self.options.name.clone().unwrap_or_else(|| "query".into())
    }

    fn columns(&self, shape: &Shape) -> Vec<SourceColumn> {
        let map = |column: &RawColumn| {
            let boolean = self.options.tinyint1_as_boolean;
            source_column(&column.name, &column.of, &column.type_name, column.not_null, boolean, &self.on_loss)
        };
        shape.columns.iter().filter_map(map).collect()
    }

    /// The columns that a query gives, with `on_loss` applied.
    async fn query_columns(&self, client: &mut Client, query: &Query) -> Result<Vec<SourceColumn>> {
        client.about(&format!("query `{}`", self.query_name()));
        let found = client.describe(&query.sql).await?;
        let mut columns = Vec::new();
        for (at, column) in found.iter().enumerate() {
            if found[..at].iter().any(|other| other.name == column.name) {
                return Err(Error::new(
                    "WEIR-MY-024",
                    Kind::Schema,
                    format!("the query has two columns named `{}`", column.name),
                )
                .hint("give one of them another name with AS"));
            }
            let of = ColumnType::of_result(column);
            let boolean = self.options.tinyint1_as_boolean;
            columns.extend(source_column(&column.name, &of, &of.sql(), false, boolean, &self.on_loss));
        }
        Ok(columns)
    }

    async fn table_infos(&self, client: &mut Client, relations: &[Relation]) -> Result<Vec<StreamInfo>> {
        let shapes = match relations {
            [only] => [(only.name.clone(), catalog::shape(client, &only.name).await?)].into(),
            many => catalog::shapes(client, many).await?,
        };
        let mut infos = Vec::new();
        for relation in relations {
            let empty = Shape::default();
            let shape = shapes.get(&relation.name).unwrap_or(&empty);
            let columns = self.columns(shape);
            let keys = key::of(shape, &columns);
            let reading = match (&self.options.cursor, relation.transactional(), keys.first()) {
                (Some(cursor), _, _) => format!("from the last {cursor} on; everything on the first run"),
                (None, true, Some(first)) if first.integer() => format!(
                    "{} ranges of the primary key, one view; resumes while the table is unchanged",
                    self.wanted_splits(relation)
                ),
                (None, true, Some(_)) => "one split in the order of the primary key; resumes while the table is unchanged".into(),
                _ => "one split, one statement; an interrupted read starts over".into(),
            };
            infos.push(StreamInfo {
                name: relation.name.display(),
                schema: schema_of(&columns),
                primary_key: shape.key.iter().filter(|key| columns.iter().any(|column| &column.name == *key)).cloned().collect(),
                estimated_rows: relation.rows,
                estimated_bytes: relation.table.then_some(relation.bytes),
                reading,
            });
        }
        Ok(infos)
    }

    fn wanted_splits(&self, relation: &Relation) -> u64 {
        let splits = match (self.options.split_rows, relation.rows) {
            (Some(wanted), Some(rows)) => rows.div_ceil(wanted),
            _ => {
                let bytes = self.options.split_bytes.unwrap_or((relation.bytes / SPLITS).clamp(SMALLEST_SPLIT, SPLIT_BYTES));
                relation.bytes.div_ceil(bytes.max(1))
            }
        };
        splits.clamp(1, MOST_SPLITS)
    }

    /// Every stream that can be read over this connection.
    pub async fn discover(&self) -> Result<Vec<StreamInfo>> {
        let mut client = Client::connect(&self.address).await?;
        let mut relations = catalog::visible(&mut client).await?;
        if !self.address.database.is_empty() {
            relations.retain(|relation| relation.name.database == self.address.database);
        }
        self.table_infos(&mut client, &relations).await
    }

    async fn open_query(&self, text: &str, request: ReadRequest) -> Result<Reader> {
        let query = query::parse(text)?;
        let view = view::open(&self.address, None, 1).await?;
        let mut lane = view.lane().await?;
        let all = self.query_columns(&mut lane.client, &query).await?;
        view.give_back(lane);
        let lower = request.cursor.as_ref().and_then(|cursor| cursor.lower.as_deref());
        let cursor_column = request.cursor.as_ref().and_then(|cursor| all.iter().find(|column| column.name == cursor.column));
        let mut parameters = Vec::new();
        for reference in &query.references {
            parameters.push(match reference {
                Reference::LastRunTime => {
                    key::moment(request.last_run_time.as_deref().unwrap_or("1970-01-01T00:00:00Z")).into()
                }
                Reference::Cursor => match (lower, cursor_column) {
                    (Some(lower), Some(column)) => key::bound(column, lower),
                    (Some(lower), None) => key::guess(lower),
                    (None, Some(column)) => key::smallest(column)?,
                    (None, None) => {
                        return Err(Error::new("WEIR-MY-022", Kind::Spec, "`${cursor}` has no value on the first run")
                            .hint("set `cursor` to a column of the query's result, or leave `${cursor}` out: the option adds the condition itself"));
                    }
                },
            });
        }
        let mut conditions = Vec::new();
        if let (Some(cursor), Some(lower)) = (&request.cursor, lower)
            && !query.references.contains(&Reference::Cursor)
        {
            conditions.push(format!("{} >= ?", ident(&cursor.column)));
            parameters.push(cursor_column.map_or_else(|| key::guess(lower), |column| key::bound(column, lower)));
        }
        let columns = only(all, request.columns.as_ref());
        let plan = Plan {
            select: format!("SELECT {} FROM (\n{}\n) AS weir_query", select_list(&columns), query.sql),
            conditions,
            parameters,
            keys: Vec::new(),
            limit: request.limit,
        };
        let state = ReaderState {
            version: STATE_VERSION,
            facts: view.facts.clone(),
            fingerprint: String::new(),
            ranges: vec![Range::default()],
        };
        let name = self.query_name();
        Ok(finish_open(view, &request, name, columns, plan, state, (None, None)))
    }

    async fn open_table(&self, request: ReadRequest) -> Result<Reader> {
        let (database, table) = quote::split(&request.stream);
        let name = TableName::new(database.unwrap_or_else(|| self.address.database.clone()), table);
        let gone = || Error::new("WEIR-MY-007", Kind::NotFound, format!("table {} does not exist (any more)", name.display()));
        let mut client = Client::connect(&self.address).await?;
        client.about(&name.display());
        let relation = catalog::find(&mut client, &name).await?.ok_or_else(gone)?;
        client.close().await;
        let lower = request.cursor.as_ref().and_then(|cursor| cursor.lower.as_deref());
        let whole = lower.is_some() || request.limit.is_some() || !relation.transactional();
        let wanted = self.wanted_splits(&relation);
        let lanes = if whole { 1 } else { request.parallelism.max(1).min(wanted as usize) };
        let view = view::open(&self.address, Some(&name), lanes).await.map_err(|error| name_table(error, &name))?;
        let mut lane = view.lane().await?;
        lane.client.about(&name.display());
        let shape = catalog::shape(&mut lane.client, &name).await?;
        let columns = only(self.columns(&shape), request.columns.as_ref());
        let mut plan = Plan {
            select: format!("SELECT {} FROM {}", select_list(&columns), name.sql()),
            conditions: Vec::new(),
            parameters: Vec::new(),
            keys: if whole { Vec::new() } else { key::of(&shape, &columns) },
            limit: request.limit,
        };
        if !plan.keys.is_empty() {
            // In the order of the primary key, and not by sorting what another index gives.
            plan.select.push_str(" FORCE INDEX (PRIMARY)");
        }
        if let (Some(cursor), Some(lower)) = (&request.cursor, lower) {
            plan.conditions.push(format!("{} >= ?", ident(&cursor.column)));
            let bound =
                self.columns(&shape).iter().find(|column| column.name == cursor.column).map(|column| key::bound(column, lower));
            plan.parameters.push(bound.ok_or_else(|| {
                Error::new("WEIR-MY-008", Kind::Schema, format!("the cursor column `{}` does not exist", cursor.column))
                    .at(name.display())
            })?);
        }
        let first = shape.key.first().and_then(|key| shape.columns.iter().find(|column| &column.name == key));
        let ranges = match first.filter(|column| !whole && wanted > 1 && view.lanes > 0 && matches!(column.of.base, Base::Int(_)))
        {
            Some(column) => ranges(&mut lane.client, &name, &column.name, wanted).await?,
            None => vec![Range::default()],
        };
        let resumes = request.resume.as_ref().is_some_and(|resume| resume.progress.iter().any(|part| part.rows > 0));
        let empty = resumes && lane.client.query(&format!("SELECT 1 FROM {} LIMIT 1", name.sql()), &[]).await?.is_empty();
        view.give_back(lane);
        let mut facts = view.facts.clone();
        if empty {
            // MariaDB's TRUNCATE leaves all times as they were.
            facts.created = None;
        }
        if relation.partitioned || !relation.transactional() {
            // The time of the last write is not kept for partitions.
            facts.updated = None;
        }
        let fingerprint = catalog::fingerprint(&shape);
        let state = ReaderState { version: STATE_VERSION, facts, fingerprint, ranges };
        let estimates = (relation.rows, relation.table.then_some(relation.bytes));
        Ok(finish_open(view, &request, name.display(), columns, plan, state, estimates))
    }
}

fn only(columns: Vec<SourceColumn>, wanted: Option<&Vec<String>>) -> Vec<SourceColumn> {
    match wanted {
        Some(wanted) => columns.into_iter().filter(|column| wanted.contains(&column.name)).collect(),
        None => columns,
    }
}

/// Says which table a refusal is about, and the GRANT that mends it.
fn name_table(error: Error, name: &TableName) -> Error {
    match error.code() {
        "WEIR-MY-006" => Error::new("WEIR-MY-006", Kind::Privilege, format!("the user may not read {}", name.display()))
            .because(error.why().unwrap_or_default().to_string())
            .hint(format!("run as an administrator: GRANT SELECT ON {} TO …", name.sql())),
        _ => error,
    }
}

/// Ranges of an integer column that about divide its values evenly; open at both ends.
async fn ranges(client: &mut Client, name: &TableName, column: &str, wanted: u64) -> Result<Vec<Range>> {
    let quoted = ident(column);
    let sql = format!("SELECT CAST(MIN({quoted}) AS CHAR), CAST(MAX({quoted}) AS CHAR) FROM {}", name.sql());
    let rows = client.query(&sql, &[]).await?;
    let edge = |at: usize| rows.first().and_then(|row| row.opt(at)).and_then(|text| text.parse::<i128>().ok());
    let (Some(least), Some(most)) = (edge(0), edge(1)) else { return Ok(vec![Range::default()]) };
    let width = most - least + 1;
    let count = i128::from(wanted).min(width);
    let mut ranges = Vec::new();
    let mut from = None;
    for at in 1..count {
        let to = (least + width * at / count).to_string();
        ranges.push(Range { from: from.take(), to: Some(to.clone()) });
        from = Some(to);
    }
    ranges.push(Range { from, to: None });
    Ok(ranges)
}

/// The splits that a state stands for. The same state gives the same splits.
fn plan_splits(state: &ReaderState, (rows, bytes): (Option<u64>, Option<u64>)) -> Vec<Split> {
    let count = state.ranges.len().max(1) as u64;
    let split = |range: &Range| Split {
        id: match (&range.from, &range.to) {
            (None, None) => "whole".into(),
            (from, to) => format!("key:{}:{}", from.as_deref().unwrap_or(""), to.as_deref().unwrap_or("")),
        },
        descriptor: serde_json::to_value(range).unwrap_or_default(),
        estimated_rows: rows.map(|rows| rows / count),
        estimated_bytes: bytes.map(|bytes| bytes / count),
    };
    state.ranges.iter().map(split).collect()
}

/// Decides about an earlier attempt.
fn finish_open(
    view: View,
    request: &ReadRequest,
    stream: String,
    columns: Vec<SourceColumn>,
    plan: Plan,
    fresh: ReaderState,
    estimates: (Option<u64>, Option<u64>),
) -> Reader {
    let mut state = fresh;
    let mut verdict = ResumeVerdict::Fresh;
    let mut splits = plan_splits(&state, estimates);
    if let Some(resume) = &request.resume {
        let is_done = |split: &Split| resume.progress.iter().any(|part| part.done && part.split.id == split.id);
        match serde_json::from_value::<ReaderState>(resume.reader_state.clone()) {
            Ok(old) if old.version == STATE_VERSION => {
                let before = plan_splits(&old, estimates);
                let changed = if old.fingerprint != state.fingerprint || state.fingerprint.is_empty() {
                    Some("the columns or the query may be others now".to_string())
                } else {
                    old.facts.changed(&state.facts)
                };
                if before.iter().all(is_done) {
                    // Everything was read under the old view: nothing to prove, nothing to read.
                    (state, splits, verdict) = (old, Vec::new(), ResumeVerdict::Continued);
                } else if let Some(reason) = changed {
                    verdict = ResumeVerdict::StartOver { reason };
                } else {
                    // The old facts stay as well: the next attempt has to be compared with the first.
                    splits = before.into_iter().filter(|split| !is_done(split)).collect();
                    (state, verdict) = (old, ResumeVerdict::Continued);
                }
            }
            _ => verdict = ResumeVerdict::StartOver { reason: "what the earlier attempt read cannot be understood".into() },
        }
    }
    let batch_bytes = if request.batch_bytes == 0 { BATCH_BYTES } else { request.batch_bytes };
    Reader {
        stream,
        schema: schema_of(&columns),
        columns: Arc::new(columns),
        plan,
        splits,
        verdict,
        state,
        view: Arc::new(view),
        batch_bytes,
    }
}

#[async_trait]
impl Source for MysqlSource {
    fn capabilities(&self) -> SourceCapabilities {
        let note = if self.options.query.is_some() {
            "mysql re-reads a query as a whole, under a new view"
        } else if self.options.cursor.is_some() {
            "mysql replays from the committed cursor value"
        } else {
            "mysql goes on after the last key while the server proves the table unchanged, else starts over"
        };
        SourceCapabilities { replayable: true, replay_note: note.into() }
    }

    async fn streams(&self) -> Result<Vec<StreamInfo>> {
        let mut client = Client::connect(&self.address).await?;
        if let Some(text) = &self.options.query {
            let query = query::parse(text)?;
            let columns = self.query_columns(&mut client, &query).await?;
            return Ok(vec![StreamInfo {
                name: self.query_name(),
                schema: schema_of(&columns),
                primary_key: Vec::new(),
                estimated_rows: None,
                estimated_bytes: None,
                reading: "one query, one view; an interrupted read starts over".into(),
            }]);
        }
        let patterns = self.options.patterns();
        if patterns.is_empty() {
            return Err(Error::new("WEIR-MY-001", Kind::Spec, "the source does not say what to read")
                .hint("give `tables: [shop.orders]`, `table` or `query`; `weir discover` lists what is there"));
        }
        let relations = catalog::choose(&mut client, &patterns, &self.address.database).await?;
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

/// One stream under one view.
struct Reader {
    stream: String,
    schema: SchemaRef,
    columns: Arc<Vec<SourceColumn>>,
    plan: Plan,
    splits: Vec<Split>,
    verdict: ResumeVerdict,
    state: ReaderState,
    view: Arc<View>,
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
        Some(self.state.facts.as_of.clone())
    }

    async fn read(&self, split: &Split, from: Option<Position>) -> Result<EventStream> {
        let range: Range = serde_json::from_value(split.descriptor.clone())
            .map_err(|error| Error::internal("a split of another format").at(split.id.clone()).caused_by(error))?;
        let mut conditions = self.plan.conditions.clone();
        let mut parameters = self.plan.parameters.clone();
        for (bound, sign) in [(&range.from, ">="), (&range.to, "<")] {
            if let (Some(bound), Some(first)) = (bound, self.plan.keys.first()) {
                conditions.push(format!("{} {sign} ?", ident(&first.name)));
                parameters.push(key::number(bound));
            }
        }
        if let Some(position) = &from {
            let after = key::after(&self.plan.keys, position)
                .ok_or_else(|| Error::internal("a position of another format").at(split.id.clone()))?;
            conditions.push(after.0);
            parameters.extend(after.1);
        }
        let mut sql = self.plan.select.clone();
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if !self.plan.keys.is_empty() {
            sql.push_str(&format!(" ORDER BY {}", quote::join_idents(self.plan.keys.iter().map(|key| key.name.as_str()))));
        }
        if let Some(limit) = self.plan.limit {
            sql.push_str(&format!(" LIMIT {limit}"));
        }
        let mut lane = self.view.lane().await?;
        let place = if split.id == "whole" { self.stream.clone() } else { format!("{} {}", self.stream, split.id) };
        lane.client.about(&place);
        let kinds = lane.client.portal(&sql, &parameters).await?;
        let reading = Reading {
            lane: Some(lane),
            decoder: Decoder::new(self.schema.clone(), &self.columns, kinds),
            view: self.view.clone(),
            keys: self.plan.keys.clone(),
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
    lane: Option<Lane>,
    decoder: Decoder,
    view: Arc<View>,
    keys: Vec<KeyColumn>,
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
            let Some(lane) = &mut self.lane else { return Ok(None) };
            let (decoder, limit, place) = (&mut self.decoder, self.batch_bytes, &self.place);
            let fetched = lane
                .client
                .fetch(|row| {
                    decoder.feed(row, place)?;
                    Ok((decoder.bytes() >= limit || decoder.rows() >= BATCH_ROWS) && decoder.may_cut())
                })
                .await
                .map_err(|error| error.at(self.place.clone()))?;
            if !fetched && let Some(lane) = self.lane.take() {
                self.view.give_back(lane);
            }
            for dead in self.decoder.take_dead() {
                let letter = self.letter(dead);
                self.ready.push_back(Event::Dead(letter));
            }
            if let Some((records, source_bytes)) = self.decoder.take_batch()? {
                let position = key::position(&self.keys, &records);
                self.ready.push_back(Event::Batch(Batch { records, position, source_bytes }));
            }
        }
    }

    fn letter(&self, dead: DeadRow) -> DeadLetter {
        let column = self.schema.fields().get(dead.column).map(|field| field.name().as_str()).unwrap_or_default();
        DeadLetter {
            stream: self.stream.clone(),
            code: "WEIR-MY-040".into(),
            reason: format!(
                "column `{column}`: {}; `on_loss: {{{column}: string}}` carries it as text, `accept` as NULL",
                dead.reason
            ),
            place: self.place.clone(),
            payload: dead.payload,
            media_type: "application/json".into(),
        }
    }
}
