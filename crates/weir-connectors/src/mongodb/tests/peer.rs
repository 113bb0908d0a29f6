//! A peer that speaks MongoDB's wire protocol (OP_MSG) from a small model in memory: collections, a log of changes with resume tokens, and
//! faults at any command. It answers what the connectors ask, and nothing else. It is no MongoDB, and proves nothing about one.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use mongodb::bson::{
    Binary, Bson, DateTime, Document, Timestamp, deserialize_from_slice, doc, serialize_to_vec, spec::BinarySubtype,
};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::peer_writes::{Answer, Writing, matches};

/// What happens instead of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The connection is cut before anything is done.
    Cut,
    /// The connection is cut after it is done.
    CutAfter,
    /// The server says so; `true`: a change stream may go on.
    Error(i32, &'static str, bool),
    /// The server says so, and what it means to a transaction.
    Labelled(i32, &'static str),
}

/// One change.
struct Entry {
    token: String,
    event: Document,
    /// The key, for a lookup when it is delivered.
    key: Option<(String, Bson)>,
    pieces: usize,
}

enum Cursor {
    Documents(VecDeque<Document>, String),
    Changes { after: String, names: Vec<String>, lookup: bool, post: bool, pre: bool, ended: bool },
}

/// Called with each command before it is carried out.
type Hook = Box<dyn FnMut(&str, &mut Model) + Send>;

/// The state of the server.
#[derive(Default)]
pub struct Model {
    /// Documents, in the order of `_id`.
    pub collections: BTreeMap<String, Vec<Document>>,
    log: Vec<Entry>,
    clock: u32,
    cursors: HashMap<i64, Cursor>,
    next_cursor: i64,
    /// Name of a command, how many of them to let pass, what happens then.
    pub faults: VecDeque<(&'static str, usize, Fault)>,
    /// Commands so far, by name.
    pub seen: BTreeMap<String, usize>,
    /// Every command, for those who look closer.
    pub commands: Vec<Document>,
    /// Documents per answer.
    pub page: usize,
    /// Changes with a token up to this one are gone.
    pub forgotten: String,
    /// It is a single server.
    pub standalone: bool,
    /// Tokens of another make, that tell no time.
    pub opaque_tokens: bool,
    /// So many commands that are no greetings may pass; then this happens to one.
    pub next_fault: Option<(usize, Fault)>,
    /// What only those that write need.
    pub writing: Writing,
}

pub fn rank(value: &Bson) -> u8 {
    match value {
        Bson::MinKey => 0,
        Bson::Null => 1,
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) => 2,
        Bson::Boolean(_) => 9,
        Bson::Array(_) => 10,
        Bson::String(_) => 3,
        Bson::Document(_) => 4,
        Bson::Binary(_) => 5,
        Bson::ObjectId(_) => 6,
        Bson::DateTime(_) => 7,
        _ => 8,
    }
}

pub fn compare(a: &Bson, b: &Bson) -> Ordering {
    let number = |value: &Bson| match value {
        Bson::Int32(value) => f64::from(*value),
        Bson::Int64(value) => *value as f64,
        Bson::Double(value) => *value,
        _ => 0.0,
    };
    rank(a).cmp(&rank(b)).then_with(|| match (a, b) {
        (Bson::String(a), Bson::String(b)) => a.cmp(b),
        (Bson::ObjectId(a), Bson::ObjectId(b)) => a.bytes().cmp(&b.bytes()),
        (Bson::DateTime(a), Bson::DateTime(b)) => a.cmp(b),
        (Bson::Boolean(a), Bson::Boolean(b)) => a.cmp(b),
        (Bson::Binary(a), Bson::Binary(b)) => a.bytes.cmp(&b.bytes),
        (Bson::Int64(a), Bson::Int64(b)) => a.cmp(b),
        (Bson::Document(a), Bson::Document(b)) => a
            .iter()
            .zip(b)
            .map(|(a, b)| a.0.cmp(b.0).then_with(|| compare(a.1, b.1)))
            .find(|order| *order != Ordering::Equal)
            .unwrap_or_else(|| a.len().cmp(&b.len())),
        _ => number(a).total_cmp(&number(b)),
    })
}

impl Model {
    fn tick(&mut self) -> Timestamp {
        self.clock += 1;
        self.now()
    }

    fn now(&self) -> Timestamp {
        Timestamp { time: 1_700_000_000, increment: self.clock }
    }

    fn record(
        &mut self,
        operation: &str,
        collection: &str,
        key: Option<Bson>,
        more: Document,
        transaction: Option<(Timestamp, i64, u32)>,
    ) {
        let (time, order) = match transaction {
            Some((time, _, order)) => (time, order),
            None => (self.tick(), 0),
        };
        let token = format!("82{:08x}{:08x}{order:08x}", time.time, time.increment);
        let mut event = doc! {
            "operationType": operation, "clusterTime": time, "wallTime": DateTime::from_millis(1_700_000_000_000 + i64::from(time.increment)),
            "ns": { "db": "shop", "coll": collection },
        };
        if let Some(key) = &key {
            event.insert("documentKey", doc! { "_id": key.clone() });
        }
        if let Some((_, number, _)) = transaction {
            let id = Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] };
            event.insert("lsid", doc! { "id": id });
            event.insert("txnNumber", number);
        }
        event.extend(more);
        self.log.push(Entry { token, event, key: key.map(|key| (collection.to_owned(), key)), pieces: 1 });
    }

    pub fn place(&self, collection: &str, id: &Bson) -> Result<usize, usize> {
        let documents = self.collections.get(collection).map(Vec::as_slice).unwrap_or_default();
        documents.binary_search_by(|document| compare(&document["_id"], id))
    }

    /// A document as it is now.
    pub fn get(&self, collection: &str, id: &Bson) -> Option<&Document> {
        self.place(collection, id).ok().map(|at| &self.collections[collection][at])
    }

    /// Inserts or replaces.
    pub fn put(&mut self, collection: &str, document: Document) {
        self.put_in(collection, document, None);
    }

    fn put_in(&mut self, collection: &str, document: Document, transaction: Option<(Timestamp, i64, u32)>) {
        let id = document["_id"].clone();
        match self.place(collection, &id) {
            Ok(at) => {
                let before = std::mem::replace(&mut self.collections.get_mut(collection).unwrap()[at], document.clone());
                let more = doc! { "fullDocument": document, "fullDocumentBeforeChange": before };
                self.record("replace", collection, Some(id), more, transaction);
            }
            Err(at) => {
                self.collections.entry(collection.into()).or_default().insert(at, document.clone());
                self.record("insert", collection, Some(id), doc! { "fullDocument": document }, transaction);
            }
        }
    }

    /// Several in one transaction.
    pub fn transaction(&mut self, collection: &str, documents: Vec<Document>) {
        let time = self.tick();
        for (order, document) in documents.into_iter().enumerate() {
            self.put_in(collection, document, Some((time, 5, order as u32)));
        }
    }

    /// Sets fields of the top level. The log has the document after it, as a collection with post-images.
    pub fn set(&mut self, collection: &str, id: Bson, fields: Document) {
        let Ok(at) = self.place(collection, &id) else { return };
        let document = &mut self.collections.get_mut(collection).unwrap()[at];
        let before = document.clone();
        document.extend(fields.clone());
        let after = document.clone();
        let update = doc! { "updatedFields": fields, "removedFields": [], "truncatedArrays": [] };
        let more = doc! { "updateDescription": update, "fullDocumentBeforeChange": before, "post": after };
        self.record("update", collection, Some(id), more, None);
    }

    /// An update of which the log says only what is given here.
    pub fn note_update(&mut self, collection: &str, id: Bson, description: Document) {
        self.record("update", collection, Some(id), doc! { "updateDescription": description }, None);
    }

    /// Deletes.
    pub fn delete(&mut self, collection: &str, id: Bson) {
        if let Ok(at) = self.place(collection, &id) {
            let before = self.collections.get_mut(collection).unwrap().remove(at);
            self.record("delete", collection, Some(id), doc! { "fullDocumentBeforeChange": before }, None);
        }
    }

    /// Drops a collection.
    pub fn drop_collection(&mut self, collection: &str) {
        self.collections.remove(collection);
        self.record("drop", collection, None, Document::new(), None);
    }

    /// Renames one over another.
    pub fn rename(&mut self, from: &str, to: &str) {
        let documents = self.collections.remove(from).unwrap_or_default();
        self.collections.insert(to.into(), documents);
        self.record("rename", from, None, doc! { "to": { "db": "shop", "coll": to } }, None);
    }

    /// Drops everything.
    pub fn drop_database(&mut self) {
        self.collections.clear();
        self.record("dropDatabase", "", None, Document::new(), None);
        self.record("invalidate", "", None, Document::new(), None);
    }

    /// The last change comes in so many pieces.
    pub fn divide_last(&mut self, pieces: usize) {
        self.log.last_mut().unwrap().pieces = pieces;
    }

    /// All changes so far leave the log.
    pub fn forget_changes(&mut self) {
        self.forgotten = self.high_water();
    }

    fn high_water(&self) -> String {
        let now = self.now();
        format!("82{:08x}{:08x}ffffffff", now.time, now.increment)
    }

    fn shown(&self, token: &str) -> Document {
        doc! { "_data": if self.opaque_tokens { format!("x{token}") } else { token.to_owned() } }
    }

    fn find(&self, command: &Document) -> VecDeque<Document> {
        let name = command.get_str("find").unwrap();
        let filter = command.get_document("filter").cloned().unwrap_or_default();
        let mut documents: Vec<Document> = self
            .seen_by(command)
            .get(name)
            .into_iter()
            .flatten()
            .filter(|document| matches(document, &filter))
            .cloned()
            .collect();
        if let Ok(min) = command.get_document("min") {
            assert!(command.contains_key("hint"), "`min` needs `hint`");
            documents.retain(|document| compare(&document["_id"], &min["_id"]) != Ordering::Less);
        }
        if let Ok(max) = command.get_document("max") {
            documents.retain(|document| compare(&document["_id"], &max["_id"]) == Ordering::Less);
        }
        if command.get_document("sort").is_ok_and(|sort| sort.get_i32("_id").is_ok_and(|direction| direction == -1)) {
            documents.reverse();
        }
        if let Ok(projection) = command.get_document("projection") {
            for document in &mut documents {
                *document = document
                    .iter()
                    .filter(|(key, _)| *key == "_id" || projection.contains_key(key))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
            }
        }
        let limit = command.get_i64("limit").or_else(|_| command.get_i32("limit").map(i64::from)).unwrap_or(0);
        if limit > 0 {
            documents.truncate(limit as usize);
        }
        documents.into()
    }

    /// Events after the cursor's token, and where it stands then; `None` if there is nothing to tell.
    fn changes(&self, cursor: &mut Cursor, page: usize) -> (Vec<Document>, String) {
        let Cursor::Changes { after, names, lookup, post, pre, ended } = cursor else { panic!("no change stream") };
        let mut events = Vec::new();
        let from = after.clone();
        for entry in self.log.iter().filter(|entry| entry.token > from) {
            if events.len() >= page || *ended {
                return (events, after.clone());
            }
            let operation = entry.event.get_str("operationType").unwrap();
            let about = |space: &str| {
                entry
                    .event
                    .get_document(space)
                    .and_then(|ns| ns.get_str("coll"))
                    .is_ok_and(|coll| names.iter().any(|name| name == coll))
            };
            after.clone_from(&entry.token);
            if !about("ns") && !about("to") && !matches!(operation, "dropDatabase" | "invalidate") {
                continue;
            }
            *ended = operation == "invalidate";
            let mut event = doc! { "_id": self.shown(&entry.token) };
            event.extend(entry.event.clone());
            let kept = event.remove("post");
            if operation == "update" {
                let found = match (&entry.key, *lookup, *post) {
                    (Some((collection, id)), true, _) => {
                        self.get(collection, id).cloned().map(Bson::Document).or(Some(Bson::Null))
                    }
                    (_, _, true) => kept,
                    _ => None,
                };
                if let Some(found) = found {
                    event.insert("fullDocument", found);
                }
            }
            if !*pre {
                event.remove("fullDocumentBeforeChange");
            }
            if entry.pieces > 1 {
                let fields: Vec<_> =
                    event.iter().filter(|(key, _)| *key != "_id").map(|(key, value)| (key.clone(), value.clone())).collect();
                let size = fields.len().div_ceil(entry.pieces);
                for (at, piece) in fields.chunks(size).enumerate() {
                    let mut part = doc! { "_id": self.shown(&format!("{}{at:02x}", entry.token)), "splitEvent": { "fragment": at as i32 + 1, "of": fields.len().div_ceil(size) as i32 } };
                    part.extend(piece.iter().cloned());
                    events.push(part);
                }
            } else {
                events.push(event);
            }
        }
        let high = self.high_water();
        if !*ended && *after < high {
            after.clone_from(&high);
        }
        (events, after.clone())
    }

    fn watch(&mut self, pipeline: &[Bson]) -> Result<Cursor, Document> {
        let stage =
            |name: &str| pipeline.iter().filter_map(Bson::as_document).find_map(|stage| stage.get_document(name).ok().cloned());
        let options = stage("$changeStream").unwrap();
        let chosen = stage("$match").unwrap();
        let chosen = chosen.get_array("$or").unwrap()[0].as_document().unwrap();
        let names = chosen
            .get_document("ns.coll")
            .unwrap()
            .get_array("$in")
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        let token = ["resumeAfter", "startAfter"]
            .iter()
            .find_map(|name| options.get_document(name).ok())
            .map(|token| token.get_str("_data").unwrap().trim_start_matches('x').to_owned());
        let after = match (token, options.get_timestamp("startAtOperationTime")) {
            (Some(token), _) => token,
            (None, Ok(time)) => format!("82{:08x}{:08x}", time.time, time.increment),
            (None, Err(_)) => self.high_water(),
        };
        if after < self.forgotten {
            return Err(
                doc! { "ok": 0.0, "code": 286, "codeName": "ChangeStreamHistoryLost", "errmsg": "resume of change stream was not possible, as the resume point may no longer be in the oplog." },
            );
        }
        let full = options.get_str("fullDocument").unwrap_or("default");
        let pre = options.contains_key("fullDocumentBeforeChange");
        Ok(Cursor::Changes {
            after,
            names,
            lookup: full == "updateLookup",
            post: full == "whenAvailable" || full == "required",
            pre,
            ended: false,
        })
    }

    fn first(&mut self, mut cursor: Cursor, space: String, page: usize) -> Document {
        self.next_cursor += 1;
        let mut answer = doc! { "ns": &space };
        let more = match &mut cursor {
            Cursor::Documents(documents, _) => {
                let batch: Vec<_> = documents.drain(..documents.len().min(page)).collect();
                answer.insert("firstBatch", batch);
                !documents.is_empty()
            }
            changes => {
                // As the server does where nothing is waiting, and the driver then begins with this token.
                let (events, token) = self.changes(changes, page);
                answer.insert("firstBatch", events);
                answer.insert("postBatchResumeToken", self.shown(&token));
                true
            }
        };
        answer.insert("id", if more { self.next_cursor } else { 0 });
        if more {
            self.cursors.insert(self.next_cursor, cursor);
        }
        doc! { "ok": 1.0, "cursor": answer, "operationTime": self.now() }
    }
}

/// A running peer.
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    model: Mutex<Model>,
    hook: Mutex<Option<Hook>>,
    changed: Notify,
    port: std::sync::OnceLock<u16>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// An empty primary of a replica set.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let model = Model { page: 3, next_cursor: 100, clock: 1, ..Model::default() };
        let shared = Arc::new(Shared {
            model: Mutex::new(model),
            hook: Mutex::new(None),
            changed: Notify::new(),
            port: address.port().into(),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = serving.clone();
                connections.spawn(async move {
                    let _ = serve(stream, &shared).await;
                });
            }
        });
        Self { address, shared, task: task.abort_handle() }
    }

    /// The state, to look at and to change.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.shared.model.lock().unwrap()
    }

    /// Changes the state and wakes who waits for changes.
    pub fn write(&self, change: impl FnOnce(&mut Model)) {
        change(&mut self.model());
        self.shared.changed.notify_waiters();
    }

    /// Is called with every command from now on.
    pub fn hook(&self, hook: impl FnMut(&str, &mut Model) + Send + 'static) {
        *self.shared.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// The connection's options.
    pub fn connection(&self) -> Json {
        json!({ "url": format!("mongodb://{}/shop?heartbeatFrequencyMS=500", self.address), "connect_timeout_secs": 5 })
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    loop {
        let mut header = [0; 16];
        stream.read_exact(&mut header).await?;
        let number = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; number(0) as usize - 16];
        stream.read_exact(&mut body).await?;
        assert_eq!(number(12), 2013, "only OP_MSG is spoken here");
        assert_eq!(body[4], 0, "the first section is the command");
        let length = i32::from_le_bytes(body[5..9].try_into().unwrap()) as usize;
        let command: Document = deserialize_from_slice(&body[5..5 + length]).unwrap();
        let name = command.keys().next().unwrap().clone();
        let fault = {
            let mut model = shared.model.lock().unwrap();
            *model.seen.entry(name.clone()).or_default() += 1;
            if let Some(hook) = &mut *shared.hook.lock().unwrap() {
                hook(&name, &mut model);
            }
            model.commands.push(command.clone());
            match model.faults.front_mut() {
                Some((wanted, 0, fault)) if *wanted == name => {
                    let fault = *fault;
                    model.faults.pop_front();
                    Some(fault)
                }
                Some((wanted, left, _)) if *wanted == name => {
                    *left -= 1;
                    None
                }
                _ => model.due(&name),
            }
        };
        let answer = match fault {
            Some(Fault::Cut) => return Ok(()),
            Some(Fault::Error(code, name, resumable)) => {
                let labels: Vec<&str> = if resumable { vec!["ResumableChangeStreamError"] } else { Vec::new() };
                doc! { "ok": 0.0, "code": code, "codeName": name, "errmsg": name, "errorLabels": labels }
            }
            Some(Fault::Labelled(code, label)) => {
                shared.model.lock().unwrap().abort(&command);
                doc! { "ok": 0.0, "code": code, "codeName": label, "errmsg": label, "errorLabels": [label] }
            }
            _ => answer(&command, &name, shared).await,
        };
        if shared.model.lock().unwrap().writing.cut_now() {
            return Ok(());
        }
        if fault == Some(Fault::CutAfter) {
            return Ok(());
        }
        let document = serialize_to_vec(&answer).unwrap();
        let mut out = Vec::with_capacity(document.len() + 21);
        out.extend((document.len() as i32 + 21).to_le_bytes());
        out.extend(1_i32.to_le_bytes());
        out.extend(&header[4..8]);
        out.extend(2013_i32.to_le_bytes());
        out.extend([0; 5]);
        out.extend(document);
        stream.write_all(&out).await?;
    }
}

async fn answer(command: &Document, name: &str, shared: &Shared) -> Document {
    if name == "getMore" {
        return more(command, shared).await;
    }
    // A write that meets the open transaction of somebody else waits for its end; this server's transactions do not live long.
    let until = tokio::time::Instant::now() + Duration::from_millis(200);
    loop {
        let changed = shared.changed.notified();
        let done = shared.model.lock().unwrap().write_command(command, name, tokio::time::Instant::now() >= until);
        match done {
            Answer::Other => break,
            Answer::Done(answer) => {
                shared.changed.notify_waiters();
                return answer;
            }
            Answer::Wait => drop(tokio::time::timeout_at(until, changed).await),
        }
    }
    let mut model = shared.model.lock().unwrap();
    let page = model.page;
    let address = format!("127.0.0.1:{}", shared.port.get().unwrap());
    match name {
        "hello" | "isMaster" | "ismaster" => {
            let mut hello = doc! {
                "ok": 1.0, "helloOk": true, "isWritablePrimary": true, "ismaster": true, "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
                "maxWriteBatchSize": 100_000, "localTime": DateTime::from_millis(1_700_000_000_000), "logicalSessionTimeoutMinutes": 30,
                "connectionId": 1, "minWireVersion": 0, "maxWireVersion": 21, "readOnly": false,
            };
            if !model.standalone {
                hello.extend(doc! { "setName": "rs0", "hosts": [&address], "primary": &address, "me": &address, "setVersion": 1, "secondary": false });
            }
            hello
        }
        "ping" if model.standalone => doc! { "ok": 1.0 },
        "ping" => doc! { "ok": 1.0, "operationTime": model.now() },
        "endSessions" | "killCursors" => {
            doc! { "ok": 1.0, "cursorsKilled": [], "cursorsNotFound": [], "cursorsAlive": [], "cursorsUnknown": [] }
        }
        "listCollections" => {
            let known: VecDeque<Document> = model
                .collections
                .keys()
                .filter(|name| command.get_document("filter").ok().and_then(|filter| filter.get_str("name").ok()).is_none_or(|wanted| wanted == *name))
                .map(|name| doc! { "name": name, "type": if name.ends_with("_view") { "view" } else { "collection" }, "options": model.writing.options.get(name).cloned().unwrap_or_default(), "info": { "readOnly": false } })
                .collect();
            let page = known.len().max(1);
            model.first(Cursor::Documents(known, "$cmd.listCollections".into()), "shop.$cmd.listCollections".into(), page)
        }
        "count" => {
            let count = model.collections.get(command.get_str("count").unwrap()).map_or(0, Vec::len);
            doc! { "ok": 1.0, "n": count as i32 }
        }
        "find" => {
            let found = model.find(command);
            let collection = command.get_str("find").unwrap().to_owned();
            // A limited read is one answer where it fits, as it is with the server.
            let single =
                command.get_bool("singleBatch").unwrap_or(false) || command.get_i64("limit").is_ok_and(|limit| limit < 0);
            let page = if single { found.len().max(1) } else { page };
            model.first(Cursor::Documents(found, collection.clone()), format!("shop.{collection}"), page)
        }
        "aggregate" => {
            let pipeline = command.get_array("pipeline").unwrap().clone();
            let first = pipeline[0].as_document().unwrap();
            if !first.contains_key("$changeStream") && !first.contains_key("$sample") {
                return model.aggregate(command);
            }
            if first.contains_key("$changeStream") {
                match model.watch(&pipeline) {
                    Ok(cursor) => model.first(cursor, "shop.$cmd.aggregate".into(), page),
                    Err(refusal) => refusal,
                }
            } else {
                let collection = command.get_str("aggregate").unwrap().to_owned();
                let keys = model
                    .collections
                    .get(&collection)
                    .into_iter()
                    .flatten()
                    .map(|document| doc! { "_id": document["_id"].clone() })
                    .collect();
                model.first(Cursor::Documents(keys, collection.clone()), format!("shop.{collection}"), page)
            }
        }
        other => panic!("the peer does not know the command {other}: {command}"),
    }
}

async fn more(command: &Document, shared: &Shared) -> Document {
    let id = command.get_i64("getMore").unwrap();
    let wait = command.get_i64("maxTimeMS").or_else(|_| command.get_i32("maxTimeMS").map(i64::from)).unwrap_or(0);
    let until = tokio::time::Instant::now() + Duration::from_millis(wait as u64);
    loop {
        let changed = shared.changed.notified();
        {
            let mut model = shared.model.lock().unwrap();
            let Some(mut cursor) = model.cursors.remove(&id) else {
                return doc! { "ok": 0.0, "code": 43, "codeName": "CursorNotFound", "errmsg": "cursor not found", "errorLabels": ["ResumableChangeStreamError"] };
            };
            let page = model.page;
            if let Cursor::Documents(documents, collection) = &mut cursor {
                let batch: Vec<_> = documents.drain(..documents.len().min(page)).collect();
                let (next, space) = (if documents.is_empty() { 0 } else { id }, format!("shop.{collection}"));
                if next != 0 {
                    model.cursors.insert(id, cursor);
                }
                return doc! { "ok": 1.0, "cursor": { "nextBatch": batch, "id": next, "ns": space } };
            }
            let (events, token) = model.changes(&mut cursor, page);
            let token = model.shown(&token);
            let gone = matches!(&cursor, Cursor::Changes { ended: true, .. });
            if !events.is_empty() || tokio::time::Instant::now() >= until {
                let next = if gone { 0 } else { id };
                model.cursors.insert(id, cursor);
                return doc! { "ok": 1.0, "cursor": { "nextBatch": events, "id": next, "ns": "shop.$cmd.aggregate", "postBatchResumeToken": token }, "operationTime": model.now() };
            }
            model.cursors.insert(id, cursor);
        }
        let _ = tokio::time::timeout_at(until, changed).await;
    }
}
