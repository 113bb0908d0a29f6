//! Applying changes: updates and deletes by `_id`, every flush one transaction with its progress.
//!
//! * Changes are collapsed to the last one per key (`crate::changes::pending`). A whole row replaces its document (`upsert`) or sets its fields
//!   (`merge`); a row without all values sets what it has, in a document that must be there.
//! * A flush is one transaction of the server: {the run's document under its fence, the writes}. What the server calls transient is tried again;
//!   a commit of which nothing was heard is committed again, which the server answers with what it did.
//! * What is too much for one transaction **goes ahead** in several: each of them counts its changes in the run's document. After a crash these
//!   changes come again, and are applied again: every key ends where it ended before, because the log says all that happened to it since. Only
//!   documents that an update of that part does not find are no surprise then: the changes that were ahead had deleted them.
//! * With `transactions: never` everything goes ahead of its progress in this way.
//! * A rename of fields cannot be done twice, so it is only done in the transaction that has the progress.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::Field;
use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use mongodb::error::{TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::{ReadConcern, WriteConcern};
use tokio::time::Instant;
use weir_connect::fidelity::FILL;
use weir_connect::{
    Barrier, ChangeBatch, ChangeWriter, CommitToken, DeleteMode, Error, Flushed, Kind, OnLoss, Result, SchemaChange,
    SchemaChangePolicy, StreamTarget, TransactionMark, WriteMode, failpoint,
};

use super::super::bson::{Malformed, Value, Writer};
use super::super::errors::{hands_over, shown};
use super::super::rows::ID;
use super::super::scan::driver_document;
use super::bulk::{Fault, Target, Write};
use super::encode::{Cells, Layout, shown_id};
use super::options::SinkOptions;
use super::plan;
use super::state::{Ledger, Noted};
use crate::changes::pending::{Fate, Pending, Slot};
use crate::changes::shapes::{differences, field};

/// The mark of soft deletes.
pub const DELETED: &str = "_deleted";
/// Bytes of changes, and of writes made of them, that wait in memory.
const PENDING_BYTES: usize = 16 << 20;
/// How long transient refusals of a transaction are tried again.
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
thread_local! {
    /// A smaller bound, so that few rows are too many.
    pub static PENDING_LIMIT: std::cell::Cell<usize> = const { std::cell::Cell::new(PENDING_BYTES) };
}

fn pending_limit() -> usize {
    #[cfg(test)]
    return PENDING_LIMIT.get();
    #[cfg(not(test))]
    PENDING_BYTES
}

/// What a flush does, in order.
enum Work {
    /// Single documents.
    Writes(Vec<Write>),
    /// The source emptied its table.
    Clear,
    /// The same with soft deletes.
    MarkAll,
    /// Fields get other names, in all documents.
    Rename(Vec<(String, String)>),
    /// Documents without this field get it.
    Fill(String, Document),
}

/// What a transaction says of itself in the ledger.
enum Entry<'a> {
    /// So many changes are ahead of their progress.
    Ahead(u64),
    /// The flush.
    Flush(&'a Barrier),
}

/// What does not change while a writer lives.
pub struct Setup {
    /// The options.
    pub options: SinkOptions,
    /// Columns without exact counterpart.
    pub on_loss: OnLoss,
    /// What deletes do.
    pub deletes: DeleteMode,
    /// Flushes are transactions.
    pub transactional: bool,
    /// The fence.
    pub attempt: i64,
}

/// See the module.
pub struct Changes {
    target: Target,
    ledger: Ledger,
    setup: Setup,
    stream: StreamTarget,
    layout: Layout,
    noted: Vec<Noted>,
    /// They are not noted yet: it happens with the flush, because until then rows of the old shape may come again.
    to_note: bool,
    pending: Pending,
    work: Vec<Work>,
    held: usize,
    /// Changes since the last flush, and bytes written.
    rows: u64,
    bytes: u64,
    /// Changes to come that were ahead when an earlier attempt died.
    again: u64,
    /// Something failed halfway: only a new writer knows where to go on.
    failed: bool,
}

fn set(fields: Vec<u8>, operator: &str) -> Result<Vec<u8>> {
    let mut writer = Writer::default();
    let put = writer.put(operator, Value::Document(&fields));
    put.map_err(|Malformed(why)| Error::internal(format!("an update cannot be written: {why}")))?;
    Ok(writer.finish())
}

impl Changes {
    /// Of a stream that was prepared; `again` changes come that are visible already.
    pub fn new(target: Target, ledger: Ledger, setup: Setup, stream: StreamTarget, plan: plan::Plan, again: u64) -> Result<Self> {
        if !matches!(stream.write_mode, WriteMode::Upsert | WriteMode::Merge) {
            let mode = stream.write_mode.as_str();
            return Err(Error::new("WEIR-MONGO-043", Kind::Spec, format!("changes cannot be applied in write_mode {mode}"))
                .at(target.place.clone())
                .hint("set `write_mode: upsert` or `merge`"));
        }
        if setup.deletes == DeleteMode::Soft && stream.schema.field_with_name(DELETED).is_ok() {
            return Err(Error::new(
                "WEIR-MONGO-050",
                Kind::Schema,
                "the stream has a column `_deleted`, which soft deletes need",
            )
            .at(target.place.clone())
            .hint("rename it with a field_mapper, or choose another `delete_mode`"));
        }
        let pending = Pending::new(&stream.schema, &stream.key, setup.deletes)?;
        let plan::Plan { layout, noted, .. } = plan;
        Ok(Self {
            target,
            ledger,
            setup,
            stream,
            layout,
            noted,
            to_note: false,
            pending,
            work: Vec::new(),
            held: 0,
            rows: 0,
            bytes: 0,
            again,
            failed: false,
        })
    }

    fn usable(&self) -> Result<()> {
        if self.failed {
            return Err(Error::internal("a writer of changes was used after it failed").at(self.target.place.clone()));
        }
        Ok(())
    }

    /// The write of a key.
    fn write(&self, slot: &Slot, tables: &[super::encode::Table]) -> Result<Option<Write>> {
        let find = |column: usize| self.pending.find(slot, self.layout.columns[column].index);
        let id = self.layout.id(tables, &find)?;
        let (fresh, deleted) = match slot.fate {
            Fate::Gone => return Write::delete(id).map(Some),
            Fate::Row { fresh, deleted } => (fresh, deleted),
        };
        let whole = fresh || (0..self.layout.columns.len()).all(|column| find(column).is_some());
        let soft = self.setup.deletes == DeleteMode::Soft;
        let replaces = self.stream.write_mode == WriteMode::Upsert && whole && (fresh || !deleted);
        let mut writer = Writer::default();
        if replaces {
            self.layout.put_id(&mut writer, &id)?;
        }
        self.layout.fields(&mut writer, &id, tables, &find)?;
        if soft {
            let put = writer.put(DELETED, Value::Bool(deleted));
            put.map_err(|Malformed(why)| Error::internal(format!("a mark cannot be written: {why}")))?;
        }
        let document = self.layout.sized(writer.finish(), &id)?;
        if replaces {
            return Write::update(id, &document, true).map(Some);
        }
        // Five bytes are a document without fields.
        match (document.len() > 5, whole || deleted) {
            (true, upsert) => Write::update(id, &set(document, "$set")?, upsert).map(Some),
            // Nothing but its key is known, or there is nothing but the key.
            (false, true) => {
                let mut only = Writer::default();
                self.layout.put_id(&mut only, &id)?;
                Write::update(id, &set(only.finish(), "$setOnInsert")?, true).map(Some)
            }
            (false, false) => Ok(None),
        }
    }

    /// Makes writes of what is pending.
    fn compile(&mut self) -> Result<()> {
        let tables = self.pending.batches().iter().map(|held| self.layout.table(&held.rows)).collect::<Result<Vec<_>>>()?;
        // Deletes first: a value that must be unique may have gone from a deleted document to another.
        let mut writes: Vec<Write> = Vec::with_capacity(self.pending.slots().len());
        for gone in [true, false] {
            for slot in self.pending.slots().iter().filter(|slot| (slot.fate == Fate::Gone) == gone) {
                writes.extend(self.write(slot, &tables)?);
            }
        }
        self.pending.clear();
        self.held += writes.iter().map(Write::size).sum::<usize>();
        self.bytes += writes.iter().map(|write| write.bytes.len() as u64).sum::<u64>();
        if !writes.is_empty() {
            self.work.push(Work::Writes(writes));
        }
        Ok(())
    }

    async fn carry_out(&self, work: &Work, mut session: Option<&mut ClientSession>) -> std::result::Result<(), Fault> {
        let collection = &self.target.collection;
        let majority = session.is_none();
        let many = |filter: Document, update: Document| {
            let mut command = doc! { "update": collection, "updates": [{ "q": filter, "u": update, "multi": true }] };
            if majority {
                command.insert("writeConcern", doc! { "w": "majority" });
            }
            command
        };
        let command = match work {
            Work::Writes(writes) => {
                let missing = self.target.send(writes, session).await?;
                return match missing.is_empty() || self.again > 0 {
                    true => Ok(()),
                    false => Err(Fault::Ours(self.not_there(writes, &missing))),
                };
            }
            Work::Clear => {
                let mut command = doc! { "delete": collection, "deletes": [{ "q": {}, "limit": 0 }] };
                if majority {
                    command.insert("writeConcern", doc! { "w": "majority" });
                }
                command
            }
            Work::MarkAll => many(doc! {}, doc! { "$set": { DELETED: true } }),
            Work::Fill(name, fields) => many(doc! { name: { "$exists": false } }, doc! { "$set": fields.clone() }),
            Work::Rename(names) => {
                let rename = |names: Vec<(String, String)>| {
                    let pairs: Document = names.into_iter().map(|(from, to)| (from, to.into())).collect();
                    many(doc! {}, doc! { "$rename": pairs })
                };
                let exchanged = names.iter().any(|(_, to)| names.iter().any(|(from, _)| from == to));
                if !exchanged {
                    rename(names.clone())
                } else {
                    let between = |at: usize| format!("_weir_name_{at}");
                    let first = names.iter().enumerate().map(|(at, (from, _))| (from.clone(), between(at))).collect();
                    self.target.command(rename(first), session.as_deref_mut()).await?;
                    rename(names.iter().enumerate().map(|(at, (_, to))| (between(at), to.clone())).collect())
                }
            }
        };
        self.target.command(command, session).await.map(drop)
    }

    fn not_there(&self, writes: &[Write], missing: &[usize]) -> Error {
        let keys: Vec<String> =
            missing.iter().take(5).filter_map(|at| writes.get(*at)).map(|write| shown_id(&write.id)).collect();
        let what = format!("{} documents that the source has updated are not in the target", missing.len());
        Error::new("WEIR-MONGO-036", Kind::Conflict, what)
            .at(self.target.place.clone())
            .because(format!("the log does not have all their values, so they cannot be made anew; _id {}", keys.join(", ")))
            .hint("somebody removed them from the target: read them again (a new snapshot); a log with whole rows (REPLICA IDENTITY FULL, binlog_row_image = FULL, full_document) gives every value")
    }

    async fn enter(&self, entry: &Entry<'_>, session: Option<&mut ClientSession>) -> std::result::Result<(), Fault> {
        match entry {
            Entry::Ahead(rows) => self.ledger.go_ahead(self.setup.attempt, *rows, session).await,
            Entry::Flush(barrier) => {
                let left = self.again.saturating_sub(self.rows);
                self.ledger.record(self.setup.attempt, barrier, (self.rows, self.bytes), left, session).await
            }
        }
    }

    async fn note(&self, entry: &Entry<'_>, session: Option<&mut ClientSession>) -> std::result::Result<(), Fault> {
        match entry {
            Entry::Flush(_) if self.to_note => self.ledger.note(&self.target.collection, &self.noted, session).await,
            _ => Ok(()),
        }
    }

    async fn body(&self, entry: &Entry<'_>, session: &mut ClientSession) -> std::result::Result<(), Fault> {
        // First, so that a later attempt is met before anything is written.
        self.enter(entry, Some(session)).await?;
        for work in &self.work {
            self.carry_out(work, Some(session)).await?;
        }
        self.note(entry, Some(session)).await
    }

    /// One transaction of the server, tried again as long as it may help.
    async fn transact(&self, entry: Entry<'_>) -> Result<()> {
        let place = &self.target.place;
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(5);
        'again: loop {
            if pause > Duration::from_millis(5) {
                tokio::time::sleep(pause).await;
            }
            pause = (pause * 2).min(Duration::from_secs(2));
            let driver = &self.target.client.driver;
            let mut session = driver.start_session().await.map_err(|error| shown(error, place))?;
            let begin = session.start_transaction().read_concern(ReadConcern::snapshot()).write_concern(WriteConcern::majority());
            begin.await.map_err(|error| shown(error, place))?;
            if let Err(fault) = self.body(&entry, &mut session).await {
                let again = fault.has(TRANSIENT_TRANSACTION_ERROR) && Instant::now() < until;
                let _ = tokio::time::timeout(Duration::from_secs(5), session.abort_transaction()).await;
                if again {
                    continue 'again;
                }
                return Err(fault.shown(place));
            }
            failpoint!("mongodb.changes.before");
            loop {
                let Err(error) = session.commit_transaction().await else {
                    failpoint!("mongodb.changes.after");
                    return Ok(());
                };
                if Instant::now() >= until {
                    return Err(shown(error, place));
                }
                // To ask for a commit once more is harmless: the server says what became of it.
                if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) || hands_over(&error) {
                    tokio::time::sleep(pause).await;
                } else if error.contains_label(TRANSIENT_TRANSACTION_ERROR) {
                    continue 'again;
                } else {
                    return Err(shown(error, place));
                }
            }
        }
    }

    /// Without a transaction: what is done is said before, and how far it got after.
    async fn one_by_one(&self, entry: Entry<'_>) -> Result<()> {
        let place = &self.target.place;
        if !self.work.is_empty() {
            self.enter(&Entry::Ahead(self.visible()), None).await.map_err(|fault| fault.shown(place))?;
        }
        for work in &self.work {
            self.carry_out(work, None).await.map_err(|fault| fault.shown(place))?;
        }
        self.note(&entry, None).await.map_err(|fault| fault.shown(place))?;
        failpoint!("mongodb.changes.before");
        if let Entry::Flush(_) = entry {
            self.enter(&entry, None).await.map_err(|fault| fault.shown(place))?;
        }
        failpoint!("mongodb.changes.after");
        Ok(())
    }

    async fn settle(&mut self, entry: Entry<'_>) -> Result<()> {
        match self.setup.transactional {
            true => self.transact(entry).await?,
            false => self.one_by_one(entry).await?,
        }
        self.work.clear();
        self.held = 0;
        Ok(())
    }

    /// Makes room.
    async fn go_ahead(&mut self) -> Result<()> {
        self.compile()?;
        if self.held < pending_limit() || self.work.iter().any(|work| matches!(work, Work::Rename(_))) {
            return Ok(());
        }
        self.settle(Entry::Ahead(self.visible())).await
    }

    /// How many changes since the last flush will be visible: these, or as many as an earlier attempt has made visible.
    fn visible(&self) -> u64 {
        self.rows.max(self.again)
    }

    /// Fields that change their names, if the contract allows any of it.
    fn renames(&self, change: &SchemaChange) -> Result<Vec<(String, String)>> {
        let place = &self.target.place;
        let policy = self.stream.on_schema_change;
        let all = differences(&self.stream, change);
        let strict = matches!(policy, SchemaChangePolicy::Freeze | SchemaChangePolicy::Hold);
        // Another column has the name now: its values would be mixed with those of the one that had it.
        let mixed =
            policy != SchemaChangePolicy::Evolve && change.renamed.iter().any(|(from, _)| field(&change.schema, from).is_some());
        if (strict && !all.is_empty()) || mixed {
            let error = plan::refused(place, policy, &all.join("; "));
            return Err(match &change.statement {
                Some(statement) => error.because(format!("the source ran: {statement}")),
                None => error,
            });
        }
        let renamed = |name: &String| change.renamed.iter().find(|(from, _)| from == name).map_or(name, |(_, to)| to).clone();
        if self.stream.key.iter().map(renamed).collect::<Vec<_>>() != change.key {
            let (from, to) = (self.stream.key.join(", "), change.key.join(", "));
            return Err(Error::new("WEIR-MONGO-049", Kind::Schema, format!("the key was ({from}) and is ({to}) now"))
                .at(place.clone())
                .because("the documents that are there have the old key as their `_id`")
                .hint("`weir state reset` and a new collection, or overwrite this one with a new snapshot"));
        }
        if policy != SchemaChangePolicy::Evolve {
            return Ok(Vec::new());
        }
        let written = |name: &String| self.layout.columns.iter().any(|column| column.name == *name);
        let renames: Vec<(String, String)> = change.renamed.iter().filter(|(from, _)| written(from)).cloned().collect();
        if let Some((from, to)) = renames
            .iter()
            .find(|(_, to)| self.noted.iter().any(|note| note.name == *to) && !renames.iter().any(|(from, _)| from == to))
        {
            return Err(Error::new(
                "WEIR-MONGO-048",
                Kind::Schema,
                format!("`{from}` is `{to}` now, and documents have another `{to}`"),
            )
            .at(place.clone())
            .hint("rename or remove the old field in the target ($rename, $unset)"));
        }
        let composite = self.stream.key.len() > 1 && renames.iter().any(|(from, _)| self.stream.key.contains(from));
        let own = renames.iter().any(|(from, to)| from == ID || to == ID);
        if !renames.is_empty() && (!self.setup.transactional || composite || own) {
            let why = match self.setup.transactional {
                false => "with `transactions: never` a rename could be carried out twice",
                true => "the name is a part of each document's `_id`",
            };
            return Err(Error::new(
                "WEIR-MONGO-048",
                Kind::Schema,
                "the source has renamed columns, and the documents cannot follow",
            )
            .at(place.clone())
            .because(why)
            .hint("give the column its old name with a field_mapper, or write to another collection"));
        }
        Ok(renames)
    }

    /// The value that a new column has in rows that were there before it.
    fn fill(&self, at: &super::encode::Column, field: &Field, text: &str) -> Result<Document> {
        let place = &self.target.place;
        let wrong = |why: String| {
            Error::new(
                "WEIR-MONGO-048",
                Kind::Schema,
                format!("the default of the new column `{}` cannot be stored", field.name()),
            )
            .at(place.clone())
            .because(why)
            .hint("set it in the target by hand, or use `on_schema_change: discard_column`")
        };
        let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        let value = cast_with_options(&text, field.data_type(), &strict).map_err(|error| wrong(error.to_string()))?;
        let cells = Cells::new(&at.form, &value)?;
        let mut writer = Writer::default();
        cells.put(&mut writer, &at.name, 0).map_err(|Malformed(why)| wrong(why))?;
        driver_document(&writer.finish())
    }
}

#[async_trait]
impl ChangeWriter for Changes {
    async fn apply(&mut self, batch: ChangeBatch) -> Result<()> {
        self.usable()?;
        let count = batch.ops.len() as u64;
        self.failed = true;
        self.pending.add(batch).map_err(|error| error.at(self.target.place.clone()))?;
        self.rows += count;
        if self.pending.bytes() + self.held >= pending_limit() {
            self.go_ahead().await?;
        }
        self.failed = false;
        Ok(())
    }

    async fn truncate(&mut self, _transaction: &TransactionMark) -> Result<()> {
        self.usable()?;
        match self.setup.deletes {
            DeleteMode::Hard => {
                // What was applied before is gone with the documents; names and defaults are not of the documents alone.
                self.pending.clear();
                self.work.retain(|work| matches!(work, Work::Rename(_)));
                self.held = 0;
                self.work.push(Work::Clear);
            }
            DeleteMode::Soft => {
                self.failed = true;
                self.compile()?;
                self.work.push(Work::MarkAll);
                self.failed = false;
            }
            DeleteMode::Ignore => {}
        }
        Ok(())
    }

    async fn reshape(&mut self, change: &SchemaChange) -> Result<()> {
        self.usable()?;
        Layout::check_names(&change.schema, &self.target.place)?;
        let renames = self.renames(change)?;
        let stream = StreamTarget { schema: change.schema.clone(), key: change.key.clone(), ..self.stream.clone() };
        let mut noted = self.noted.clone();
        for note in &mut noted {
            if let Some((_, to)) = renames.iter().find(|(from, _)| *from == note.name) {
                note.name.clone_from(to);
            }
        }
        let (options, on_loss, place) = (&self.setup.options, &self.setup.on_loss, &self.target.place);
        let rule = options.id_rule(&stream)?;
        let (columns, noted, _) = plan::columns(&stream, rule, options, on_loss, Some(&noted), place)?;
        let id = plan::id_of(rule, &stream, &columns, on_loss, options, place)?;
        let mut fills = Vec::new();
        for column in &columns {
            let added =
                !self.noted.iter().any(|note| note.name == column.name) && !renames.iter().any(|(_, to)| *to == column.name);
            let field = change.schema.field(column.index);
            if let (true, Some(text)) = (added, field.metadata().get(FILL)) {
                fills.push(Work::Fill(column.name.clone(), self.fill(column, field, text)?));
            }
        }
        let pending = Pending::new(&stream.schema, &stream.key, self.setup.deletes)?;
        self.failed = true;
        // In the old shape.
        self.compile()?;
        if !renames.is_empty() {
            self.work.push(Work::Rename(renames));
        }
        self.work.extend(fills);
        self.to_note = true;
        self.layout = Layout { columns, id, place: self.layout.place.clone() };
        (self.noted, self.stream, self.pending) = (noted, stream, pending);
        self.failed = false;
        Ok(())
    }

    async fn flush(&mut self, barrier: &Barrier) -> Result<Flushed> {
        self.usable()?;
        if self.rows == 0 && self.work.is_empty() && barrier.progress.is_empty() {
            return Ok(Flushed { token: CommitToken::Null, rows: 0, bytes: 0 });
        }
        self.failed = true;
        self.compile()?;
        self.settle(Entry::Flush(barrier)).await?;
        self.again = self.again.saturating_sub(self.rows);
        self.to_note = false;
        let flushed = Flushed { token: CommitToken::Null, rows: self.rows, bytes: self.bytes };
        (self.rows, self.bytes, self.failed) = (0, 0, false);
        Ok(flushed)
    }

    fn buffered_bytes(&self) -> usize {
        self.pending.bytes() + self.held
    }
}
