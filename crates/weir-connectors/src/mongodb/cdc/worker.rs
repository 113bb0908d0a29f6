//! What each event does, and where boundaries are.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Timestamp, doc};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use weir_connect::change::linger_by_delay;
use weir_connect::{Boundary, ChangeBatch, ChangeEvent, Error, Kind, Op, Result, SchemaChange, TransactionMark};

use super::super::bson::{Malformed, Writer, get};
use super::super::client::Client;
use super::super::config::{OnDrop, SnapshotMode};
use super::super::errors::shown;
use super::super::extjson;
use super::super::rows::{Cell, ID, Rows, Shape, Unfit};
use super::super::scan::{broken, driver_document};
use super::chunk::Chunk;
use super::event::{Event, Update, fragment, identity, joined, token_time};
use super::position::Position;
use super::reader::{self, Arrived, Changes, Options, Reader, Start};

/// Nothing came for so long: give out what is there.
const GRACE: Duration = Duration::from_millis(2);
const CHUNK_DOCUMENTS: u64 = 10_000;

/// One stream.
pub struct Followed {
    name: Arc<str>,
    shape: Arc<Shape>,
    /// Its reader has been told columns by an earlier run.
    known: bool,
    rows: Rows,
    before: Option<Rows>,
    ops: Vec<Op>,
    marks: Vec<TransactionMark>,
    bytes: u64,
}

impl Followed {
    /// Without rows yet.
    pub fn new(name: Arc<str>, shape: Arc<Shape>, known: bool, before: bool) -> Self {
        let before = before.then(|| Rows::new(shape.clone()));
        Self { name, known, rows: Rows::new(shape.clone()), before, ops: Vec::new(), marks: Vec::new(), bytes: 0, shape }
    }

    /// From here on in another shape. There are no rows that wait.
    fn reshape(&mut self, shape: Arc<Shape>) {
        self.before = self.before.is_some().then(|| Rows::new(shape.clone()));
        self.rows = Rows::new(shape.clone());
        self.shape = shape;
    }

    fn schema(&self) -> SchemaChange {
        SchemaChange {
            stream: self.name.clone(),
            schema: self.shape.schema.clone(),
            key: vec![ID.into()],
            renamed: Vec::new(),
            statement: None,
        }
    }

    fn push(&mut self, op: Op, cells: Vec<Cell<'_>>, before: Option<&[u8]>, mark: TransactionMark) {
        self.rows.push(cells);
        if let Some(rows) = &mut self.before {
            match before.and_then(|before| self.shape.row(before).ok()) {
                Some(cells) => rows.push(cells),
                None => rows.push_nothing(),
            }
        }
        self.ops.push(op);
        match self.marks.last_mut() {
            Some(last) if last.position == mark.position && last.id == mark.id => last.end = self.ops.len(),
            _ => self.marks.push(TransactionMark { end: self.ops.len(), ..mark }),
        }
    }

    fn finish(&mut self) -> Result<Option<ChangeBatch>> {
        if self.ops.is_empty() {
            return Ok(None);
        }
        let (rows, absent) = self.rows.finish()?;
        let before = self.before.as_mut().map(|before| before.finish().map(|(rows, _)| rows)).transpose()?;
        Ok(Some(ChangeBatch {
            stream: self.name.clone(),
            ops: std::mem::take(&mut self.ops),
            rows,
            absent,
            before,
            transactions: std::mem::take(&mut self.marks),
            source_bytes: std::mem::take(&mut self.bytes),
        }))
    }
}

/// See the module.
pub struct Worker {
    client: Client,
    options: Options,
    reader: Reader,
    followed: Vec<Followed>,
    position: Position,
    batch_bytes: usize,
    linger: Duration,
    /// What happened up to here is in the snapshot, or before the beginning: the stream begins *with* this moment.
    begun: Option<Timestamp>,
    /// End when the stream stands here.
    target: Option<Timestamp>,
    opened_at: Instant,
    chunk: Option<Chunk>,
    fragments: Vec<Vec<u8>>,
    transaction: Option<String>,
    /// Rows or anything else that no boundary stands after yet, since when.
    pending: Option<Instant>,
    committed_at_us: Option<i64>,
    /// The last boundary, and whether it was said to be the newest.
    told: Option<(Position, bool)>,
    events: Option<mpsc::Sender<Result<ChangeEvent>>>,
}

enum Go {
    On,
    End,
}

fn corrupt(error: Malformed) -> Error {
    broken("an event of the change stream cannot be read", error)
}

impl Worker {
    /// Around an open stream.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        client: Client,
        options: Options,
        stream: Changes,
        followed: Vec<Followed>,
        position: Position,
        batch_bytes: usize,
        linger: Duration,
        target: Option<Timestamp>,
    ) -> Self {
        let reader = Reader::new(stream, client.place.clone());
        let exactly = position.token.is_none() && options.cdc.start_at.is_none() && !options.sharded;
        let begun = exactly.then_some(Timestamp { time: position.start.0, increment: position.start.1 });
        Self {
            client,
            options,
            reader,
            followed,
            position,
            batch_bytes,
            linger,
            begun,
            target,
            opened_at: Instant::now(),
            chunk: None,
            fragments: Vec::new(),
            transaction: None,
            pending: None,
            committed_at_us: None,
            told: None,
            events: None,
        }
    }

    /// Works until the end, an error, or until nobody listens.
    pub async fn run(mut self, events: mpsc::Sender<Result<ChangeEvent>>) {
        self.events = Some(events.clone());
        if let Err(error) = self.work().await {
            let _ = events.send(Err(error)).await;
        }
    }

    async fn send(&self, event: ChangeEvent) -> Result<()> {
        match &self.events {
            Some(events) => events.send(Ok(event)).await.map_err(|_| Error::cancelled()),
            None => Err(Error::cancelled()),
        }
    }

    async fn work(&mut self) -> Result<()> {
        for at in 0..self.followed.len() {
            let followed = &self.followed[at];
            if followed.known && !followed.shape.is_whole() {
                // The columns stay what they were when the pipeline began, whatever a new sample shows.
                self.send(ChangeEvent::Schema(followed.schema())).await?;
            }
        }
        loop {
            if self.chunk.is_none() && self.transaction.is_none() {
                match self.unread() {
                    Some(at) => self.begin_chunk(at).await?,
                    None if self.options.cdc.snapshot == SnapshotMode::Only => return self.boundary(true).await,
                    None => {}
                }
            }
            let arrived = match self.pending {
                Some(_) if self.transaction.is_none() => match timeout(GRACE, self.reader.next()).await {
                    Ok(arrived) => arrived?,
                    Err(_) => {
                        self.boundary(false).await?;
                        continue;
                    }
                },
                _ => self.reader.next().await?,
            };
            let go = match arrived {
                Arrived::Event(document, _share) => self.arrived(document).await?,
                Arrived::Idle(token, asked) => self.idle(token, asked).await?,
                Arrived::Ended => {
                    self.reopen().await?;
                    Go::On
                }
            };
            if let Go::End = go {
                return Ok(());
            }
        }
    }

    /// A stream whose snapshot is not complete.
    fn unread(&self) -> Option<usize> {
        self.followed.iter().position(|followed| !self.done(&followed.name))
    }

    fn done(&self, name: &str) -> bool {
        self.position.collections.get(name).is_none_or(|progress| progress.done)
    }

    async fn begin_chunk(&mut self, at: usize) -> Result<()> {
        let name = self.followed[at].name.clone();
        let after = self.position.collections.get(&*name).and_then(|progress| progress.after.clone());
        let documents = self.options.cdc.chunk_documents.unwrap_or(CHUNK_DOCUMENTS);
        self.chunk = Some(Chunk::read(&self.client, at, &name, after.as_ref(), documents).await?);
        Ok(())
    }

    /// Gives out what is left of the chunk. The stream stands at its time or later, between two transactions.
    async fn end_chunk(&mut self) -> Result<()> {
        let Some(mut chunk) = self.chunk.take() else { return Ok(()) };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mark = TransactionMark {
            end: 0,
            position: format!("{}:{}", chunk.until.time, chunk.until.increment).into(),
            id: None,
            committed_at_us: i64::try_from(now.as_micros()).unwrap_or(i64::MAX),
        };
        for document in chunk.left() {
            self.fit(chunk.stream, &document).await?;
            let followed = &mut self.followed[chunk.stream];
            followed.bytes += document.len() as u64;
            let letter = match followed.shape.row(&document) {
                Ok(cells) => {
                    followed.push(Op::Read, cells, None, mark.clone());
                    None
                }
                Err(unfit) => Some(unfit.letter(&followed.name, &document)),
            };
            if let Some(letter) = letter {
                self.send(ChangeEvent::Dead(letter)).await?;
            }
            if self.followed[chunk.stream].bytes as usize >= self.batch_bytes {
                self.flush().await?;
            }
        }
        if let Some(progress) = self.position.collections.get_mut(&*self.followed[chunk.stream].name)
            && !progress.done
        {
            (progress.done, progress.after) = (chunk.last, chunk.after);
        }
        self.boundary(false).await
    }

    /// Gives a document's new fields columns, where the options say so. Rows that wait are of the old shape.
    async fn fit(&mut self, at: usize, document: &[u8]) -> Result<()> {
        let Some(shape) = self.followed[at].shape.widened(document) else { return Ok(()) };
        self.flush().await?;
        let layout = shape.layout.clone();
        self.followed[at].reshape(Arc::new(shape));
        let name = self.followed[at].name.clone();
        if let Some(progress) = self.position.collections.get_mut(&*name) {
            progress.layout = layout;
        }
        self.send(ChangeEvent::Schema(self.followed[at].schema())).await
    }

    async fn flush(&mut self) -> Result<()> {
        for at in 0..self.followed.len() {
            if let Some(batch) = self.followed[at].finish()? {
                self.send(ChangeEvent::Changes(batch)).await?;
            }
        }
        Ok(())
    }

    async fn boundary(&mut self, caught_up: bool) -> Result<()> {
        self.flush().await?;
        self.pending = None;
        if self.told.as_ref().is_some_and(|(position, said)| *position == self.position && (*said || !caught_up)) {
            return Ok(());
        }
        self.told = Some((self.position.clone(), caught_up));
        let boundary = Boundary { position: self.position.write(), committed_at_us: self.committed_at_us.take(), caught_up };
        self.send(ChangeEvent::Boundary(boundary)).await
    }

    async fn idle(&mut self, token: Option<Vec<u8>>, asked: Instant) -> Result<Go> {
        if !self.fragments.is_empty() {
            return Ok(Go::On);
        }
        self.transaction = None;
        let mut time = None;
        if let Some(token) = token {
            time = token_time(&token);
            self.position.token = Some(extjson::canonical(&token).map_err(corrupt)?);
        }
        // The token says that everything before its time was told. What happened at its very time is one entry of the oplog, told as a whole;
        // several shards may each have one. A token of another make: the server was asked after that moment and had nothing more.
        let sharded = self.options.sharded;
        let reached =
            |moment: Timestamp, since: Instant| time.map_or(asked > since, |time| time > moment || (time == moment && !sharded));
        if self.chunk.as_ref().is_some_and(|chunk| reached(chunk.until, chunk.read_at)) {
            self.end_chunk().await?;
            return Ok(Go::On);
        }
        let complete = self.chunk.is_none() && self.unread().is_none();
        if complete && self.target.is_some_and(|target| reached(target, self.opened_at)) {
            self.boundary(true).await?;
            return Ok(Go::End);
        }
        self.boundary(complete).await?;
        Ok(Go::On)
    }

    async fn arrived(&mut self, document: Vec<u8>) -> Result<Go> {
        let document = match fragment(&document).map_err(corrupt)? {
            None => document,
            Some((at, of)) => {
                if at != self.fragments.len() as i64 + 1 {
                    return Err(corrupt(Malformed(format!(
                        "piece {at} of {of} of an event where piece {} is due",
                        self.fragments.len() + 1
                    ))));
                }
                self.fragments.push(document);
                if at < of {
                    return Ok(Go::On);
                }
                joined(&std::mem::take(&mut self.fragments)).map_err(corrupt)?
            }
        };
        let event = Event::read(&document).map_err(corrupt)?;
        if self.begun.is_some_and(|begun| event.time <= begun) && event.operation != "invalidate" {
            self.position.token = Some(event.token_text().map_err(corrupt)?);
            return Ok(Go::On);
        }
        let whole = event.transaction.is_none() || event.transaction != self.transaction;
        if whole {
            // Between transactions.
            self.transaction = None;
            if event.time > self.chunk.as_ref().map_or(Timestamp { time: u32::MAX, increment: u32::MAX }, |chunk| chunk.until) {
                self.end_chunk().await?;
            }
            let complete = self.chunk.is_none() && self.unread().is_none();
            if complete && self.target.is_some_and(|target| event.time > target) {
                self.boundary(true).await?;
                return Ok(Go::End);
            }
            let bytes: u64 = self.followed.iter().map(|followed| followed.bytes).sum();
            let late = self.committed_at_us.map_or(self.linger, |at| linger_by_delay(self.linger, at));
            if self.pending.is_some_and(|since| bytes as usize >= self.batch_bytes || since.elapsed() >= late) {
                self.boundary(false).await?;
            }
        } else if self.followed.iter().map(|followed| followed.bytes).sum::<u64>() as usize >= self.batch_bytes {
            // A transaction larger than a batch: its rows go ahead, the boundary comes after it.
            self.flush().await?;
        }
        self.pending.get_or_insert_with(Instant::now);
        self.apply(&event).await?;
        self.committed_at_us = Some(event.at_us);
        self.transaction = event.transaction.clone();
        self.position.token = Some(event.token_text().map_err(corrupt)?);
        Ok(Go::On)
    }

    fn place_of(&self, name: Option<&str>) -> Option<usize> {
        name.and_then(|name| self.followed.iter().position(|followed| &*followed.name == name))
    }

    async fn apply(&mut self, event: &Event<'_>) -> Result<()> {
        let at = self.place_of(event.collection);
        match (event.operation, at) {
            ("insert" | "update" | "replace" | "delete", Some(at)) => self.change(at, event).await,
            ("insert" | "update" | "replace" | "delete", None) => Ok(()),
            ("drop", Some(at)) => self.emptied(at, event, "was dropped", false).await,
            ("drop", None) => Ok(()),
            ("rename", from) => {
                if let Some(at) = from {
                    self.emptied(at, event, "was renamed", false).await?;
                }
                match self.place_of(event.renamed_to) {
                    Some(at) => self.emptied(at, event, "was replaced by another collection", true).await,
                    None => Ok(()),
                }
            }
            ("dropDatabase", _) => {
                for at in 0..self.followed.len() {
                    self.emptied(at, event, "was dropped with its database", false).await?;
                }
                Ok(())
            }
            // The stream ends after it; what invalidated it came before.
            ("invalidate", _) => Ok(()),
            (
                "create"
                | "createIndexes"
                | "dropIndexes"
                | "modify"
                | "shardCollection"
                | "refineCollectionShardKey"
                | "reshardCollection",
                _,
            ) => Ok(()),
            (other, _) => Err(Error::new(
                "WEIR-MONGO-026",
                Kind::Unsupported,
                format!("the change stream has an event `{other}` that is not known here"),
            )
            .at(self.client.place.clone())),
        }
    }

    /// A collection has lost all its documents without a delete of each.
    async fn emptied(&mut self, at: usize, event: &Event<'_>, what: &str, again: bool) -> Result<()> {
        let name = self.followed[at].name.clone();
        if self.options.cdc.on_drop == OnDrop::Error {
            return Err(Error::new("WEIR-MONGO-023", Kind::Schema, format!("the collection `{name}` {what}"))
                .at(self.client.place.clone())
                .hint("`on_drop: truncate` empties the target and goes on; or reset the pipeline's state (`weir state reset`)"));
        }
        self.flush().await?;
        self.send(ChangeEvent::Truncate { stream: name.clone(), transaction: event.mark(0) }).await?;
        if let Some(chunk) = self.chunk.as_mut().filter(|chunk| chunk.stream == at) {
            chunk.discard();
            if again {
                self.chunk = None;
            }
        }
        if let Some(progress) = self.position.collections.get_mut(&*name) {
            // What is inserted after a drop comes as changes; what a rename brought along was never one.
            (progress.done, progress.after) = (!again, None);
        }
        Ok(())
    }

    async fn change(&mut self, at: usize, event: &Event<'_>) -> Result<()> {
        let key = event.key().map_err(corrupt)?;
        let id = get(key, ID).map_err(corrupt)?.ok_or_else(|| corrupt(Malformed("a key without `_id`".into())))?;
        if let Some(chunk) = self.chunk.as_mut().filter(|chunk| chunk.stream == at) {
            chunk.touch(identity(id).map_err(corrupt)?);
        }
        let before = event.part("fullDocumentBeforeChange").map_err(corrupt)?;
        let full = event.part("fullDocument").map_err(corrupt)?;
        for document in before.into_iter().chain(full) {
            self.fit(at, document).await?;
        }
        self.followed[at].bytes += event.document.len() as u64;
        let looked_up;
        let (op, document, cells) = match (event.operation, full) {
            ("insert", Some(full)) => (Op::Create, full, self.followed[at].shape.row(full)),
            ("replace" | "update", Some(full)) => (Op::Update, full, self.followed[at].shape.row(full)),
            // A row that has no place in the columns is deleted all the same.
            ("delete", _) => match before.map(|before| (before, self.followed[at].shape.row(before))) {
                Some((before, Ok(cells))) => (Op::Delete, before, Ok(cells)),
                _ => (Op::Delete, key, self.followed[at].shape.part(key, None, &[])),
            },
            ("update", None) => {
                let update = Update::read(event).map_err(corrupt)?;
                let snapshot = !self.done(&self.followed[at].name);
                let shape = self.followed[at].shape.clone();
                let foreign = shape.is_whole() || !update.names().map_err(corrupt)?.iter().all(|name| shape.has(name));
                let found = if snapshot || foreign || update.inside { self.look_up(at, id).await? } else { None };
                if let Some(found) = &found {
                    self.fit(at, found).await?;
                }
                let shape = self.followed[at].shape.clone();
                match found {
                    Some(found) => {
                        looked_up = found;
                        (Op::Update, looked_up.as_slice(), shape.row(&looked_up))
                    }
                    // Its delete follows, and the snapshot will not find it either.
                    None if snapshot => return Ok(()),
                    None => {
                        if let (Some(changed), false) = (update.changed, update.inside) {
                            self.fit(at, changed).await?;
                        }
                        let shape = self.followed[at].shape.clone();
                        let changed = if shape.is_whole() || update.inside { None } else { update.changed };
                        let removed = if update.inside { &[][..] } else { &update.removed };
                        (Op::Update, event.document, shape.part(key, changed, removed))
                    }
                }
            }
            (operation, None) => return Err(corrupt(Malformed(format!("an event `{operation}` without `fullDocument`")))),
            (operation, _) => return Err(corrupt(Malformed(format!("`{operation}` is no change")))),
        };
        let letter = match cells {
            Ok(cells) => {
                self.followed[at].push(op, cells, before, event.mark(0));
                None
            }
            Err(unfit) => {
                let Unfit { code, why } = unfit;
                let why = format!("{} at {}:{}: {why}", event.operation, event.time.time, event.time.increment);
                Some(Unfit { code, why }.letter(&self.followed[at].name, document))
            }
        };
        match letter {
            Some(letter) => self.send(ChangeEvent::Dead(letter)).await,
            None => Ok(()),
        }
    }

    /// The document as it is now.
    async fn look_up(&self, at: usize, id: super::super::bson::Value<'_>) -> Result<Option<Vec<u8>>> {
        let name = &self.followed[at].name;
        let mut equal = Writer::default();
        equal.put("$eq", id).map_err(corrupt)?;
        let filter = doc! { ID: driver_document(&equal.finish())? };
        let found = self.client.collection(name).find_one(filter).await;
        found
            .map(|found| found.map(mongodb::bson::RawDocumentBuf::into_bytes))
            .map_err(|error| shown(error, &format!("{}.{name}", self.client.place)))
    }

    /// After an `invalidate`: a stream that begins after it sees what comes next.
    async fn reopen(&mut self) -> Result<()> {
        let start = self.position.start()?;
        if !matches!(start, Start::After(_)) {
            return Err(Error::new("WEIR-MONGO-021", Kind::NotFound, "the change stream has ended")
                .at(self.client.place.clone())
                .transient());
        }
        let names: Vec<String> = self.followed.iter().map(|followed| followed.name.to_string()).collect();
        let stream = reader::open_with(&self.client, &self.options, &names, &start).await?;
        self.reader = Reader::new(stream, self.client.place.clone());
        Ok(())
    }
}
