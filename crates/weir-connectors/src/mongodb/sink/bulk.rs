//! Writes on their way to the server: commands of bounded size, in order, and what the server says about each of them.
//!
//! The commands are written as bytes, so that a row is encoded once. Outside of a transaction every command is acknowledged by the majority.

use std::collections::HashSet;

use mongodb::ClientSession;
use mongodb::bson::{Bson, Document, RawDocumentBuf};
use mongodb::error::Error as DriverError;
use weir_connect::{Error, Kind, Result};

use super::super::bson::{Malformed, Value, Writer, get};
use super::super::client::Client;
use super::super::errors::shown;
use super::super::rows::ID;
use super::encode::shown_id;

/// Bytes of a command, but for one large document. A command as a whole may have 16 MiB and 16 KiB.
const COMMAND_BYTES: usize = 8 << 20;
/// Writes of a command; the server takes 100,000.
const COMMAND_WRITES: usize = 10_000;

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Adds documents.
    Insert,
    /// Changes or replaces documents.
    Update,
    /// Removes documents.
    Delete,
}

/// One write.
#[derive(Debug, Clone)]
pub struct Write {
    /// Of which command.
    pub verb: Verb,
    /// `{_id: …}` of the document.
    pub id: Vec<u8>,
    /// The element of the command.
    pub bytes: Vec<u8>,
}

/// Why a command did not come through: the driver's error keeps its labels until somebody decides about them.
#[derive(Debug)]
pub enum Fault {
    /// Of the driver or the server.
    Driver(DriverError),
    /// Ours.
    Ours(Error),
}

impl Fault {
    /// To show.
    pub fn shown(self, place: &str) -> Error {
        match self {
            Self::Driver(error) => shown(error, place),
            Self::Ours(error) => error,
        }
    }

    /// Whether the driver or the server said so.
    pub fn has(&self, label: &str) -> bool {
        matches!(self, Self::Driver(error) if error.contains_label(label))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

fn written(done: std::result::Result<(), Malformed>) -> Result<()> {
    done.map_err(|Malformed(why)| Error::internal(format!("a command cannot be written: {why}")))
}

impl Write {
    /// Adds a document.
    pub fn insert(id: Vec<u8>, document: Vec<u8>) -> Self {
        Self { verb: Verb::Insert, id, bytes: document }
    }

    /// `change` is a document that replaces, or operators.
    pub fn update(id: Vec<u8>, change: &[u8], upsert: bool) -> Result<Self> {
        let mut writer = Writer::default();
        written(writer.put("q", Value::Document(&id)))?;
        written(writer.put("u", Value::Document(change)))?;
        written(writer.put("upsert", Value::Bool(upsert)))?;
        Ok(Self { verb: Verb::Update, bytes: writer.finish(), id })
    }

    /// Removes a document.
    pub fn delete(id: Vec<u8>) -> Result<Self> {
        let mut writer = Writer::default();
        written(writer.put("q", Value::Document(&id)))?;
        written(writer.put("limit", Value::Int32(1)))?;
        Ok(Self { verb: Verb::Delete, bytes: writer.finish(), id })
    }

    /// About how much memory it takes.
    pub fn size(&self) -> usize {
        self.id.capacity() + self.bytes.capacity() + size_of::<Self>()
    }
}

/// Appends `writeConcern: {w: "majority"}`.
fn by_majority(writer: &mut Writer) -> Result<()> {
    let mut concern = Writer::default();
    written(concern.put("w", Value::String("majority")))?;
    written(writer.put("writeConcern", Value::Document(&concern.finish())))
}

/// `{_id: {$in: […]}}` of these writes.
fn any_of(writes: &[&Write]) -> Result<Vec<u8>> {
    let (mut list, mut condition, mut filter) = (Writer::default(), Writer::default(), Writer::default());
    for (at, write) in writes.iter().enumerate() {
        let value = get(&write.id, ID).ok().flatten().unwrap_or(Value::Null);
        written(list.put(&at.to_string(), value))?;
    }
    written(condition.put("$in", Value::Array(&list.finish())))?;
    written(filter.put(ID, Value::Document(&condition.finish())))?;
    Ok(filter.finish())
}

/// A number of an answer, whatever its type.
pub fn count(answer: &Document, name: &str) -> u64 {
    let number = match answer.get(name) {
        Some(Bson::Int32(value)) => i64::from(*value),
        Some(Bson::Int64(value)) => *value,
        Some(Bson::Double(value)) => *value as i64,
        _ => 0,
    };
    u64::try_from(number).unwrap_or_default()
}

/// A connection to one collection.
#[derive(Clone)]
pub struct Target {
    /// The client.
    pub client: Client,
    /// The collection.
    pub collection: String,
    /// For messages.
    pub place: String,
}

impl Target {
    /// A command as it is.
    pub async fn command(&self, command: Document, session: Option<&mut ClientSession>) -> std::result::Result<Document, Fault> {
        let run = self.client.database.run_command(command);
        let answer = match session {
            Some(session) => run.session(session).await,
            None => run.await,
        };
        let answer = answer.map_err(Fault::Driver)?;
        self.acknowledged(&answer, &[]).map_err(Fault::Ours)?;
        Ok(answer)
    }

    async fn raw(&self, command: Vec<u8>, session: Option<&mut ClientSession>) -> std::result::Result<Document, Fault> {
        let command = RawDocumentBuf::from_bytes(command)
            .map_err(|error| Fault::Ours(Error::internal(format!("a command is malformed: {error}"))))?;
        let run = self.client.database.run_raw_command(command);
        let answer = match session {
            Some(session) => run.session(session).await,
            None => run.await,
        };
        answer.map_err(Fault::Driver)
    }

    /// Carries out writes, in order. All of them were carried out, or it is an error; outside of a transaction the first ones may have been.
    ///
    /// Updates without upsert whose document is not there come back, by their place.
    pub async fn send(
        &self,
        writes: &[Write],
        mut session: Option<&mut ClientSession>,
    ) -> std::result::Result<Vec<usize>, Fault> {
        let (mut from, mut missing) = (0, Vec::new());
        while let Some(first) = writes.get(from) {
            let mut bytes = 0;
            let fits = |write: &&Write| {
                bytes += write.bytes.len() + 16;
                write.verb == first.verb && (bytes <= COMMAND_BYTES || std::ptr::eq(*write, first))
            };
            let part = &writes[from..from + writes[from..].iter().take(COMMAND_WRITES).take_while(fits).count()];
            let command = self.written(first.verb, part, session.is_none())?;
            let answer = self.raw(command, session.as_deref_mut()).await?;
            self.acknowledged(&answer, part)?;
            let done = count(&answer, "n");
            if first.verb == Verb::Update && done < part.len() as u64 {
                missing.extend(self.missing(part, from, session.as_deref_mut()).await?);
            }
            if first.verb == Verb::Insert && done < part.len() as u64 {
                return Err(Fault::Ours(self.bent(format!("the server took {done} of {} documents", part.len()))));
            }
            from += part.len();
        }
        Ok(missing)
    }

    fn written(&self, verb: Verb, part: &[Write], majority: bool) -> Result<Vec<u8>> {
        let (command, list) = match verb {
            Verb::Insert => ("insert", "documents"),
            Verb::Update => ("update", "updates"),
            Verb::Delete => ("delete", "deletes"),
        };
        let (mut writer, mut items) = (Writer::default(), Writer::default());
        written(writer.put(command, Value::String(&self.collection)))?;
        for (at, write) in part.iter().enumerate() {
            written(items.put(&at.to_string(), Value::Document(&write.bytes)))?;
        }
        written(writer.put("ordered", Value::Bool(true)))?;
        if majority {
            by_majority(&mut writer)?;
        }
        written(writer.put(list, Value::Array(&items.finish())))?;
        Ok(writer.finish())
    }

    /// Which of these documents are not there.
    async fn missing(
        &self,
        part: &[Write],
        from: usize,
        session: Option<&mut ClientSession>,
    ) -> std::result::Result<Vec<usize>, Fault> {
        let strict: Vec<(usize, &Write)> = part.iter().enumerate().filter(|(_, write)| !upserts(write)).collect();
        let all: Vec<&Write> = strict.iter().map(|(_, write)| *write).collect();
        let mut writer = Writer::default();
        written(writer.put("find", Value::String(&self.collection)))?;
        written(writer.put("filter", Value::Document(&any_of(&all)?)))?;
        let mut projection = Writer::default();
        written(projection.put(ID, Value::Int32(1)))?;
        written(writer.put("projection", Value::Document(&projection.finish())))?;
        written(writer.put("singleBatch", Value::Bool(true)))?;
        written(writer.put("batchSize", Value::Int32(i32::try_from(all.len()).unwrap_or(i32::MAX))))?;
        let answer = self.raw(writer.finish(), session).await?;
        let found: HashSet<String> = answer
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"))
            .map(|batch| batch.iter().filter_map(Bson::as_document).map(id_text).collect())
            .unwrap_or_default();
        Ok(strict.into_iter().filter(|(_, write)| !found.contains(&shown_id(&write.id))).map(|(at, _)| from + at).collect())
    }

    /// The server's objections to single writes, and to the acknowledgement.
    fn acknowledged(&self, answer: &Document, part: &[Write]) -> Result<()> {
        if let Some(first) = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()).and_then(Bson::as_document) {
            let write = part.get(usize::try_from(count(first, "index")).unwrap_or(usize::MAX));
            let id = write.map(|write| format!("the document with _id {}: ", shown_id(&write.id))).unwrap_or_default();
            let said = first.get_str("errmsg").unwrap_or("no reason was given");
            return Err(self.objection(count(first, "code"), &format!("{id}{said}")));
        }
        if let Ok(concern) = answer.get_document("writeConcernError") {
            return Err(Error::new(
                "WEIR-MONGO-007",
                Kind::Connect,
                "the majority of the servers has not confirmed a write (yet)",
            )
            .at(self.place.clone())
            .because(concern.get_str("errmsg").unwrap_or("no reason was given"))
            .transient());
        }
        Ok(())
    }

    fn objection(&self, code: u64, said: &str) -> Error {
        let error = match code {
            11000 => Error::new("WEIR-MONGO-031", Kind::Conflict, "a document with this key is there already")
                .hint("two rows have one key, or the collection has a unique index that the source does not have: compare them, or drop the index"),
            121 => Error::new("WEIR-MONGO-045", Kind::Data, "the collection's validator refuses a document")
                .hint("change the row in the pipeline, or the validator (collMod)"),
            10334 | 17280 | 17419 => Error::new("WEIR-MONGO-014", Kind::Limit, "a document is larger than 16 MiB")
                .hint("leave columns out, or filter such rows with a transform"),
            13 => Error::new("WEIR-MONGO-004", Kind::Privilege, "the user may not write this")
                .hint("grant the role `readWrite` on the database"),
            _ => Error::new("WEIR-MONGO-045", Kind::Data, "the server refuses a document"),
        };
        error.at(self.place.clone()).because(format!("{said} (code {code})"))
    }

    /// The server did something else than it was asked.
    pub fn bent(&self, why: String) -> Error {
        Error::new("WEIR-MONGO-045", Kind::Data, "the server has not written every document").at(self.place.clone()).because(why)
    }
}

fn id_text(document: &Document) -> String {
    mongodb::bson::serialize_to_vec(document).map(|bytes| shown_id(&bytes)).unwrap_or_default()
}

fn upserts(write: &Write) -> bool {
    matches!(get(&write.bytes, "upsert"), Ok(Some(Value::Bool(true))))
}
