//! A batch on its way: rows wait in a collection of the run, and the commit brings them into the target.
//!
//! Each staged document is `{_id, p, n, d}`: the piece (one flush of one lane), a number that grows, and the document itself. A piece counts only
//! if a checkpoint names it: so neither a flush nor the commit needs a transaction of the server, and any deployment will do. What no checkpoint
//! names is deleted before a run goes on.
//!
//! | mode | `commit`, one aggregation on the server |
//! | --- | --- |
//! | overwrite | `$out`: the server builds a new collection with the target's indexes and options, and puts it in its place at once |
//! | append | `$merge`, documents that are there stay |
//! | upsert | the last row of each key, `$merge`, documents that are there are replaced |
//! | merge | the same; documents that are there get the fields of the row |
//!
//! Each of them gives the same when it is carried out again, because the keys are fixed when rows are staged. The ledger says when it is done.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use serde::{Deserialize, Serialize};
use weir_connect::{Barrier, CommitToken, Error, Flushed, Kind, Result, StreamWriter, WriteMode, failpoint};

use super::super::bson::{Malformed, Value, Writer as Bytes};
use super::super::rows::ID;
use super::bulk::{Target, Write, count};
use super::encode::{Layout, shown_id};
use super::options::IdRule;

/// Encoded bytes that are collected before they are sent.
const SEND_BYTES: usize = 1 << 20;

/// What a checkpoint keeps of a flush.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Piece {
    /// Its name.
    pub piece: String,
    /// Documents in it.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The pieces of receipts.
pub fn pieces(tokens: &[CommitToken]) -> Result<Vec<Piece>> {
    tokens
        .iter()
        .map(|token| {
            serde_json::from_value(token.clone()).map_err(|error| {
                Error::new("WEIR-MONGO-040", Kind::Data, "a receipt of the checkpoint cannot be read").because(error)
            })
        })
        .collect()
}

/// What the lanes of one stream share.
pub struct Shared {
    /// The staging collection.
    pub staging: Target,
    /// How rows become documents.
    pub layout: Layout,
    /// The fence, and the begin of the names of pieces.
    pub attempt: i64,
    /// Next number of a row.
    pub sequence: AtomicU64,
}

/// One lane's writer.
pub struct Lane {
    shared: Arc<Shared>,
    lane: usize,
    /// Makes the names of this writer's pieces its own.
    word: String,
    flushes: u64,
    waiting: Vec<Write>,
    held: usize,
    rows: u64,
    bytes: u64,
    failed: bool,
}

impl Lane {
    /// Of this number.
    pub fn new(shared: Arc<Shared>, lane: usize) -> Self {
        let word = ObjectId::new().to_hex();
        Self { shared, lane, word, flushes: 0, waiting: Vec::new(), held: 0, rows: 0, bytes: 0, failed: false }
    }

    fn piece(&self) -> String {
        format!("{}-{}-{}-{}", self.shared.attempt, self.lane, self.word, self.flushes)
    }

    async fn send(&mut self) -> Result<()> {
        let place = self.shared.staging.place.clone();
        self.shared.staging.send(&self.waiting, None).await.map_err(|fault| fault.shown(&place))?;
        self.waiting.clear();
        self.held = 0;
        Ok(())
    }
}

fn wrapped(piece: &str, number: u64, id: &[u8], document: &[u8]) -> std::result::Result<Write, Malformed> {
    let mut writer = Bytes::default();
    writer.put(ID, Value::ObjectId(ObjectId::new().bytes()))?;
    writer.put("p", Value::String(piece))?;
    writer.put("n", Value::Int64(number as i64))?;
    writer.put("d", Value::Document(document))?;
    Ok(Write::insert(id.to_vec(), writer.finish()))
}

#[async_trait]
impl StreamWriter for Lane {
    async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if self.failed {
            return Err(Error::internal("a writer was used after it failed").at(self.shared.layout.place.clone()));
        }
        self.failed = true;
        let (shared, piece) = (self.shared.clone(), self.piece());
        let tables = [shared.layout.table(&batch)?];
        let first = shared.sequence.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        for row in 0..batch.num_rows() {
            let find = |_: usize| Some((0, row));
            let id = shared.layout.id(&tables, &find)?;
            let document = shared.layout.document(&id, &tables, &find)?;
            self.bytes += document.len() as u64;
            let write = wrapped(&piece, first + row as u64, &id, &document)
                .map_err(|Malformed(why)| Error::internal(format!("a row cannot be staged: {why}")))?;
            // The wrapping needs a few bytes of its own.
            if write.bytes.len() > super::encode::DOCUMENT_BYTES {
                return Err(Error::new("WEIR-MONGO-014", Kind::Limit, "a document is larger than 16 MiB")
                    .at(shared.layout.place.clone())
                    .because(format!(
                        "the document with _id {} has {} bytes, and needs 100 to be staged",
                        shown_id(&id),
                        document.len()
                    ))
                    .hint("leave columns out, or filter such rows with a transform"));
            }
            self.held += write.size();
            self.waiting.push(write);
            self.rows += 1;
            if self.held >= SEND_BYTES {
                self.send().await?;
            }
        }
        self.failed = false;
        Ok(())
    }

    async fn flush(&mut self, _barrier: &Barrier) -> Result<Flushed> {
        if self.failed {
            return Err(Error::internal("a writer was used after it failed").at(self.shared.layout.place.clone()));
        }
        if self.rows == 0 {
            return Ok(Flushed { token: CommitToken::Null, rows: 0, bytes: 0 });
        }
        self.failed = true;
        failpoint!("mongodb.flush.before");
        self.send().await?;
        failpoint!("mongodb.flush.after");
        let piece = Piece { piece: self.piece(), rows: self.rows, bytes: self.bytes };
        self.flushes += 1;
        (self.rows, self.bytes, self.failed) = (0, 0, false);
        let token =
            serde_json::to_value(&piece).map_err(|error| Error::internal("a receipt cannot be written").caused_by(error))?;
        Ok(Flushed { token, rows: piece.rows, bytes: piece.bytes })
    }

    fn buffered_bytes(&self) -> usize {
        self.held
    }
}

/// Bringing staged rows into the target.
pub struct Publish<'a> {
    /// Where rows are staged.
    pub staging: &'a Target,
    /// Where they go.
    pub target: &'a Target,
    /// The rows that count.
    pub pieces: &'a [Piece],
    /// How they enter.
    pub mode: WriteMode,
    /// What `_id` is.
    pub rule: IdRule,
}

impl Publish<'_> {
    fn chosen(&self) -> Document {
        let names: Vec<&str> = self.pieces.iter().map(|piece| piece.piece.as_str()).collect();
        doc! { "$match": { "p": { "$in": names } } }
    }

    async fn aggregate(&self, stages: Vec<Document>, writes: bool) -> Result<Vec<Document>> {
        let mut command = doc! { "aggregate": &self.staging.collection, "pipeline": stages, "cursor": {}, "allowDiskUse": true };
        if writes {
            command.insert("writeConcern", doc! { "w": "majority" });
        }
        let answer = self.staging.command(command, None).await.map_err(|fault| fault.shown(&self.target.place))?;
        let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        Ok(batch.map(|batch| batch.iter().filter_map(Bson::as_document).cloned().collect()).unwrap_or_default())
    }

    /// Whether all rows that the checkpoint names are here.
    pub async fn complete(&self) -> Result<()> {
        let expected: u64 = self.pieces.iter().map(|piece| piece.rows).sum();
        let group = doc! { "$group": { "_id": "$p", "rows": { "$sum": 1_i64 } } };
        let mut found: HashMap<String, u64> = HashMap::new();
        // In parts, so that the answer is one.
        for part in self.pieces.chunks(100) {
            let names: Vec<&str> = part.iter().map(|piece| piece.piece.as_str()).collect();
            for line in self.aggregate(vec![doc! { "$match": { "p": { "$in": names } } }, group.clone()], false).await? {
                found.insert(line.get_str("_id").unwrap_or_default().to_owned(), count(&line, "rows"));
            }
        }
        let wrong = self.pieces.iter().filter(|piece| found.get(&piece.piece).copied().unwrap_or(0) != piece.rows).count();
        if wrong == 0 {
            return Ok(());
        }
        let here: u64 = found.values().sum();
        Err(Error::new("WEIR-MONGO-038", Kind::Conflict, "staged rows are missing")
            .at(self.staging.place.clone())
            .because(format!("{here} of {expected} rows are there; {wrong} of {} flushes are not whole", self.pieces.len()))
            .hint("somebody has deleted from the collection of a running pipeline: `weir state reset` and run again"))
    }

    /// Keys of staged rows whose document in the target is not `same` as the staged one; a few of them.
    async fn taken(&self, same: bool) -> Result<Vec<String>> {
        let lookup =
            doc! { "$lookup": { "from": &self.target.collection, "localField": "d._id", "foreignField": "_id", "as": "t" } };
        let condition = match same {
            // After the commit: the target has another document.
            true => doc! { "$expr": { "$ne": ["$d", { "$arrayElemAt": ["$t", 0] }] } },
            // Before it: the target has one.
            false => doc! { "t": { "$ne": [] } },
        };
        let stages = vec![
            self.chosen(),
            lookup,
            doc! { "$match": condition },
            doc! { "$limit": 5 },
            doc! { "$project": { "_id": "$d._id" } },
        ];
        let found = self.aggregate(stages, false).await?;
        let text = |found: &Document| mongodb::bson::serialize_to_vec(found).map(|bytes| shown_id(&bytes)).unwrap_or_default();
        Ok(found.iter().map(text).collect())
    }

    fn collision(&self, keys: &[String]) -> Error {
        Error::new("WEIR-MONGO-041", Kind::Conflict, "documents with the keys of new rows are there already")
            .at(self.target.place.clone())
            .because(format!("_id {}", keys.join(", ")))
            .hint("`write_mode: upsert` replaces them, `id: generated` gives new rows keys of their own")
    }

    /// Appended rows must be new: before the first attempt of the commit none of their keys is there. Keys that we made are.
    pub async fn new_keys(&self) -> Result<()> {
        if self.mode != WriteMode::Append || self.rule == IdRule::Generated {
            return Ok(());
        }
        let twice = vec![
            self.chosen(),
            doc! { "$group": { "_id": "$d._id", "rows": { "$sum": 1_i64 } } },
            doc! { "$match": { "rows": { "$gt": 1_i64 } } },
            doc! { "$limit": 5 },
        ];
        let found = self.aggregate(twice, false).await?;
        let text = |found: &Document| mongodb::bson::serialize_to_vec(found).map(|bytes| shown_id(&bytes)).unwrap_or_default();
        let mut keys: Vec<String> = found.iter().map(text).collect();
        if keys.is_empty() {
            keys = self.taken(false).await?;
        }
        if keys.is_empty() { Ok(()) } else { Err(self.collision(&keys)) }
    }

    /// Does it.
    pub async fn carry_out(&self) -> Result<()> {
        let document = doc! { "$replaceRoot": { "newRoot": "$d" } };
        let last = [doc! { "$sort": { "n": 1 } }, doc! { "$group": { "_id": "$d._id", "d": { "$last": "$d" } } }];
        let merge = |matched: &str| {
            doc! { "$merge": { "into": &self.target.collection, "on": "_id", "whenMatched": matched, "whenNotMatched": "insert" } }
        };
        let mut stages = vec![self.chosen()];
        match self.mode {
            WriteMode::Overwrite => stages.extend([document, doc! { "$out": &self.target.collection }]),
            WriteMode::Append => stages.extend([document, merge("keepExisting")]),
            WriteMode::Upsert => stages.extend(last.into_iter().chain([document, merge("replace")])),
            WriteMode::Merge => stages.extend(last.into_iter().chain([document, merge("merge")])),
        }
        self.aggregate(stages, true).await?;
        if self.mode == WriteMode::Append && self.rule != IdRule::Generated {
            let keys = self.taken(true).await?;
            if !keys.is_empty() {
                return Err(self.collision(&keys));
            }
        }
        Ok(())
    }
}
