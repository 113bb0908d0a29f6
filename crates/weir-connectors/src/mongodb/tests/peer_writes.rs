//! The peer's writes: insert, update, delete, findAndModify, aggregations that write, and transactions under snapshot isolation where the first
//! writer of a document wins. As much as the sink asks for, and no more; what it does not know is a panic.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use mongodb::bson::{Bson, Document, doc, serialize_to_vec};

use super::peer::{Fault, Model, compare, rank};

type Collections = BTreeMap<String, Vec<Document>>;

/// What became of a command.
pub enum Answer {
    /// It is none of those here.
    Other,
    /// It was carried out, or refused.
    Done(Document),
    /// A document is in the hands of an open transaction.
    Wait,
}

/// The server's memory of a session's last transaction.
enum State {
    Open { before: Collections, view: Collections, since: u64, touched: BTreeSet<(String, String)> },
    Committed,
    Aborted,
}

/// What the writing side of a model needs.
#[derive(Default)]
pub struct Writing {
    /// Options of collections: `collation`, `capped`.
    pub options: BTreeMap<String, Document>,
    /// `$merge` dies after so many documents, and the connection with it.
    pub merge_dies_after: Option<usize>,
    /// The largest document; 0 = 16 MiB.
    pub largest: usize,
    /// Fields whose values must be unique, with their collection.
    pub unique: Vec<(&'static str, &'static str)>,
    transactions: HashMap<String, (i64, State)>,
    versions: HashMap<(String, String), u64>,
    commits: u64,
    cut: bool,
}

impl Writing {
    /// The connection is to be cut instead of an answer.
    pub fn cut_now(&mut self) -> bool {
        std::mem::take(&mut self.cut)
    }

    /// Open transactions.
    pub fn open(&self) -> usize {
        self.transactions.values().filter(|(_, state)| matches!(state, State::Open { .. })).count()
    }
}

fn text(id: &Bson) -> String {
    match id {
        Bson::Int32(number) => format!("n{number}"),
        Bson::Int64(number) => format!("n{number}"),
        other => other.to_string(),
    }
}

fn at<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    match path.split_once('.') {
        None => document.get(path),
        Some((first, rest)) => at(document.get(first)?.as_document()?, rest),
    }
}

fn equal(a: &Bson, b: &Bson) -> bool {
    if rank(a) == 8 || rank(a) == 10 { a == b } else { compare(a, b) == Ordering::Equal }
}

fn value(document: &Document, expression: &Bson) -> Bson {
    match expression {
        Bson::String(text) if text.starts_with('$') => at(document, &text[1..]).cloned().unwrap_or(Bson::Null),
        Bson::Document(inner) if inner.contains_key("$arrayElemAt") => {
            let parts = inner.get_array("$arrayElemAt").unwrap();
            let place = parts[1].as_i32().unwrap() as usize;
            value(document, &parts[0]).as_array().and_then(|items| items.get(place)).cloned().unwrap_or(Bson::Undefined)
        }
        other => other.clone(),
    }
}

/// The query language, as far as it is asked.
pub fn matches(document: &Document, filter: &Document) -> bool {
    filter.iter().all(|(name, wanted)| match (name.as_str(), wanted) {
        ("$and", Bson::Array(all)) => all.iter().all(|part| matches(document, part.as_document().unwrap())),
        ("$expr", Bson::Document(expression)) => {
            let parts = expression.get_array("$ne").unwrap();
            value(document, &parts[0]) != value(document, &parts[1])
        }
        (name, Bson::Document(condition)) if !condition.is_empty() && condition.keys().all(|key| key.starts_with('$')) => {
            let found = at(document, name);
            let value = found.unwrap_or(&Bson::Null);
            condition.iter().all(|(operator, bound)| match operator.as_str() {
                "$gte" => compare(value, bound) != Ordering::Less && rank(value) == rank(bound),
                "$gt" => compare(value, bound) == Ordering::Greater && rank(value) == rank(bound),
                "$eq" => equal(value, bound),
                "$ne" => !equal(value, bound),
                "$in" => bound.as_array().unwrap().iter().any(|one| equal(value, one)),
                "$nin" => !bound.as_array().unwrap().iter().any(|one| equal(value, one)),
                "$exists" => found.is_some() == bound.as_bool().unwrap(),
                other => panic!("the peer does not know {other}"),
            })
        }
        (name, wanted) => equal(at(document, name).unwrap_or(&Bson::Null), wanted),
    })
}

fn refusal(code: i32, name: &str) -> Document {
    doc! { "ok": 0.0, "code": code, "codeName": name, "errmsg": name }
}

/// What one write did.
enum Done {
    Matched(usize),
    Upserted,
    Refused(i32, String),
    Blocked(String),
}

/// Applies operators, or replaces.
fn changed(before: &Document, update: &Document, inserting: bool) -> Document {
    if !update.keys().next().is_some_and(|key| key.starts_with('$')) {
        let mut after = doc! { "_id": before["_id"].clone() };
        after.extend(update.iter().filter(|(name, _)| *name != "_id").map(|(name, value)| (name.clone(), value.clone())));
        return after;
    }
    let mut after = before.clone();
    for (operator, fields) in update {
        for (name, given) in fields.as_document().unwrap() {
            assert!(!name.contains('.'), "the peer does not know paths: {name}");
            match operator.as_str() {
                "$set" => drop(after.insert(name, given.clone())),
                "$setOnInsert" if inserting => drop(after.insert(name, given.clone())),
                "$setOnInsert" => {}
                "$unset" => drop(after.remove(name)),
                "$inc" => {
                    let old = after.get(name).and_then(Bson::as_i64).unwrap_or(0);
                    after.insert(name, old + given.as_i64().unwrap());
                }
                "$rename" => {
                    if let Some(value) = after.remove(name) {
                        after.insert(given.as_str().unwrap(), value);
                    }
                }
                other => panic!("the peer does not know {other}"),
            }
        }
    }
    after
}

fn place(documents: &[Document], id: &Bson) -> Result<usize, usize> {
    documents.binary_search_by(|document| compare(&document["_id"], id))
}

fn store(collections: &mut Collections, collection: &str, id: &Bson, document: Option<Document>) {
    let documents = collections.entry(collection.into()).or_default();
    match (place(documents, id), document) {
        (Ok(at), Some(document)) => documents[at] = document,
        (Ok(at), None) => drop(documents.remove(at)),
        (Err(at), Some(document)) => documents.insert(at, document),
        (Err(_), None) => {}
    }
}

fn session(command: &Document) -> Option<(String, i64)> {
    let number = command.get_i64("txnNumber").ok().filter(|_| command.contains_key("autocommit"))?;
    Some((command.get_document("lsid").unwrap().to_string(), number))
}

impl Model {
    /// Whether it is this command's turn to fail.
    pub fn due(&mut self, name: &str) -> Option<Fault> {
        if matches!(name, "hello" | "isMaster" | "ismaster" | "ping" | "endSessions" | "abortTransaction") {
            return None;
        }
        match &mut self.next_fault {
            Some((0, fault)) => {
                let fault = *fault;
                self.next_fault = None;
                Some(fault)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }

    /// What a command sees: the collections, or those of its transaction.
    pub fn seen_by(&self, command: &Document) -> &Collections {
        match session(command).and_then(|(session, _)| self.writing.transactions.get(&session)) {
            Some((_, State::Open { view, .. })) => view,
            _ => &self.collections,
        }
    }

    /// The server gives up the transaction of a command.
    pub fn abort(&mut self, command: &Document) {
        if let Some((session, number)) = session(command) {
            self.writing.transactions.insert(session, (number, State::Aborted));
        }
    }

    fn begin(&mut self, command: &Document) -> Result<Option<String>, Document> {
        let Some((session, number)) = session(command) else { return Ok(None) };
        if self.standalone {
            return Err(refusal(20, "Transaction numbers are only allowed on a replica set member or mongos"));
        }
        if command.get_bool("startTransaction").unwrap_or(false) {
            let open = State::Open {
                before: self.collections.clone(),
                view: self.collections.clone(),
                since: self.writing.commits,
                touched: BTreeSet::new(),
            };
            self.writing.transactions.insert(session.clone(), (number, open));
        }
        match self.writing.transactions.get(&session) {
            Some((known, State::Open { .. })) if *known == number => Ok(Some(session)),
            _ => Err(
                doc! { "ok": 0.0, "code": 251, "codeName": "NoSuchTransaction", "errmsg": "NoSuchTransaction", "errorLabels": ["TransientTransactionError"] },
            ),
        }
    }

    /// Who holds a document.
    fn holder(&self, key: &(String, String), except: Option<&str>) -> Option<String> {
        self.writing
            .transactions
            .iter()
            .find(|(session, (_, state))| {
                Some(session.as_str()) != except && matches!(state, State::Open { touched, .. } if touched.contains(key))
            })
            .map(|(session, _)| session.clone())
    }

    /// Writes one document, in a transaction or not.
    fn put_one(&mut self, session: Option<&str>, collection: &str, id: &Bson, document: Option<Document>) -> Option<Done> {
        if let Some(document) = &document {
            let largest = if self.writing.largest == 0 { 16 << 20 } else { self.writing.largest };
            if serialize_to_vec(document).unwrap().len() > largest {
                return Some(Done::Refused(10334, "BSONObjectTooLarge".into()));
            }
            let view = self.view(session);
            for (_, field) in self.writing.unique.iter().filter(|(of, _)| *of == collection) {
                let taken = view.get(collection).into_iter().flatten().any(|other| {
                    !equal(&other["_id"], id) && document.get(field).is_some_and(|value| other.get(field) == Some(value))
                });
                if taken {
                    return Some(Done::Refused(11000, format!("E11000 duplicate key error index: {field}")));
                }
            }
        }
        let key = (collection.to_owned(), text(id));
        let held = self.holder(&key, session);
        let Some(session) = session else {
            if let Some(holder) = held {
                return Some(Done::Blocked(holder));
            }
            self.writing.commits += 1;
            self.writing.versions.insert(key, self.writing.commits);
            match document {
                Some(document) => self.put(collection, document),
                None => self.delete(collection, id.clone()),
            }
            return None;
        };
        let version = self.writing.versions.get(&key).copied().unwrap_or(0);
        let Some((_, state)) = self.writing.transactions.get_mut(session) else { panic!("no transaction") };
        let State::Open { view, since, touched, .. } = state else { panic!("no open transaction") };
        if held.is_some() || version > *since {
            *state = State::Aborted;
            return Some(Done::Refused(112, "WriteConflict".into()));
        }
        store(view, collection, id, document);
        touched.insert(key);
        None
    }

    fn view(&self, session: Option<&str>) -> &Collections {
        match session.and_then(|session| self.writing.transactions.get(session)) {
            Some((_, State::Open { view, .. })) => view,
            _ => &self.collections,
        }
    }

    /// The documents that match; the first one only, or all.
    fn chosen(&self, session: Option<&str>, collection: &str, filter: &Document, many: bool) -> Vec<Document> {
        let documents = self.view(session).get(collection).map(Vec::as_slice).unwrap_or_default();
        let by_id = filter.get("_id").filter(|id| !id.as_document().is_some_and(|id| id.keys().any(|key| key.starts_with('$'))));
        match by_id {
            Some(id) => place(documents, id)
                .ok()
                .map(|at| &documents[at])
                .filter(|one| matches(one, filter))
                .cloned()
                .into_iter()
                .collect(),
            None => {
                documents.iter().filter(|one| matches(one, filter)).take(if many { usize::MAX } else { 1 }).cloned().collect()
            }
        }
    }

    fn update_one(&mut self, session: Option<&str>, collection: &str, statement: &Document) -> Done {
        let filter = statement.get_document("q").unwrap();
        let update = statement.get_document("u").unwrap();
        let multi = statement.get_bool("multi").unwrap_or(false);
        let found = self.chosen(session, collection, filter, multi);
        for before in &found {
            let after = changed(before, update, false);
            if update.get("_id").is_some_and(|id| !equal(id, &before["_id"])) || !equal(&after["_id"], &before["_id"]) {
                return Done::Refused(66, "ImmutableField".into());
            }
            if let Some(refused) = self.put_one(session, collection, &before["_id"], Some(after)) {
                return refused;
            }
        }
        if found.is_empty() && statement.get_bool("upsert").unwrap_or(false) {
            let fresh = changed(&doc! { "_id": filter["_id"].clone() }, update, true);
            return self.put_one(session, collection, &filter["_id"], Some(fresh)).unwrap_or(Done::Upserted);
        }
        Done::Matched(found.len())
    }

    /// Carries out a command that writes; `impatient`: a transaction that is in the way is over its time.
    pub fn write_command(&mut self, command: &Document, name: &str, impatient: bool) -> Answer {
        let known = ["insert", "update", "delete", "findAndModify", "create", "drop", "commitTransaction", "abortTransaction"];
        if name.starts_with("sasl") {
            return Answer::Done(refusal(18, "AuthenticationFailed"));
        }
        if !known.contains(&name) {
            // A transaction may begin with a look.
            return match (name, session(command)) {
                ("find", Some(_)) => self.begin(command).map_or_else(Answer::Done, |_| Answer::Other),
                _ => Answer::Other,
            };
        }
        if matches!(name, "commitTransaction" | "abortTransaction") {
            return Answer::Done(self.end(command, name));
        }
        let session = match self.begin(command) {
            Ok(session) => session,
            Err(refusal) => return Answer::Done(refusal),
        };
        let session = session.as_deref();
        let collection = command.get_str(name).unwrap().to_owned();
        match name {
            "create" if self.collections.contains_key(&collection) => return Answer::Done(refusal(48, "NamespaceExists")),
            "create" => {
                self.collections.insert(collection, Vec::new());
                return Answer::Done(doc! { "ok": 1.0 });
            }
            "drop" if self.collections.remove(&collection).is_none() => return Answer::Done(refusal(26, "NamespaceNotFound")),
            "drop" => return Answer::Done(doc! { "ok": 1.0 }),
            "findAndModify" => {
                let statement = doc! { "q": command["query"].clone(), "u": command["update"].clone(), "upsert": true };
                return match self.update_one(session, &collection, &statement) {
                    Done::Blocked(holder) => self.blocked(holder, impatient),
                    Done::Refused(code, why) => Answer::Done(refusal(code, &why)),
                    _ => {
                        let filter = command.get_document("query").unwrap();
                        let found = self.chosen(session, &collection, filter, false).pop();
                        Answer::Done(doc! { "ok": 1.0, "value": found.unwrap() })
                    }
                };
            }
            _ => {}
        }
        let list = match name {
            "insert" => "documents",
            "update" => "updates",
            _ => "deletes",
        };
        let (mut done, mut errors) = (0, Vec::new());
        for (index, statement) in command.get_array(list).unwrap().iter().enumerate() {
            let statement = statement.as_document().unwrap();
            let outcome = match name {
                "insert" => {
                    let id = &statement["_id"];
                    let there = self.view(session).get(&collection).is_some_and(|all| place(all, id).is_ok());
                    match there {
                        true => Done::Refused(11000, format!("E11000 duplicate key error _id: {id}")),
                        false => self.put_one(session, &collection, id, Some(statement.clone())).unwrap_or(Done::Matched(1)),
                    }
                }
                "update" => self.update_one(session, &collection, statement),
                _ => {
                    let filter = statement.get_document("q").unwrap();
                    let found = self.chosen(session, &collection, filter, statement.get_i32("limit").unwrap() != 1);
                    let stopped = found.iter().find_map(|document| self.put_one(session, &collection, &document["_id"], None));
                    stopped.unwrap_or(Done::Matched(found.len()))
                }
            };
            match outcome {
                Done::Matched(count) => done += count,
                Done::Upserted => done += 1,
                // What was done before is done; the same again changes nothing, so the whole command may come again.
                Done::Blocked(holder) => return self.blocked(holder, impatient),
                Done::Refused(112, _) => {
                    return Answer::Done(
                        doc! { "ok": 0.0, "code": 112, "codeName": "WriteConflict", "errmsg": "WriteConflict", "errorLabels": ["TransientTransactionError"] },
                    );
                }
                Done::Refused(code, why) => {
                    errors.push(doc! { "index": index as i32, "code": code, "errmsg": why });
                    if session.is_some() {
                        self.abort(command);
                    }
                    break;
                }
            }
        }
        let mut answer = doc! { "ok": 1.0, "n": done as i32 };
        if !errors.is_empty() {
            answer.insert("writeErrors", errors);
        }
        Answer::Done(answer)
    }

    fn blocked(&mut self, holder: String, impatient: bool) -> Answer {
        if impatient && let Some(held) = self.writing.transactions.get_mut(&holder) {
            held.1 = State::Aborted;
        }
        Answer::Wait
    }

    fn end(&mut self, command: &Document, name: &str) -> Document {
        let Some((session, number)) = session(command) else { panic!("no session") };
        let missing = doc! { "ok": 0.0, "code": 251, "codeName": "NoSuchTransaction", "errmsg": "NoSuchTransaction", "errorLabels": ["TransientTransactionError"] };
        let Some((known, state)) = self.writing.transactions.get_mut(&session) else { return missing };
        if *known != number {
            return missing;
        }
        let ends = if name == "commitTransaction" { State::Committed } else { State::Aborted };
        match std::mem::replace(state, ends) {
            State::Open { before, view, touched, .. } if name == "commitTransaction" => {
                self.writing.commits += 1;
                for (collection, id) in touched {
                    let find = |all: &Collections| {
                        all.get(&collection).into_iter().flatten().find(|document| text(&document["_id"]) == id).cloned()
                    };
                    match (find(&before), find(&view)) {
                        (_, Some(after)) => self.put(&collection, after),
                        (Some(gone), None) => self.delete(&collection, gone["_id"].clone()),
                        (None, None) => {}
                    }
                    self.writing.versions.insert((collection, id), self.writing.commits);
                }
                doc! { "ok": 1.0 }
            }
            State::Committed if name == "commitTransaction" => doc! { "ok": 1.0 },
            State::Aborted if name == "commitTransaction" => {
                self.writing.transactions.insert(session, (number, State::Aborted));
                missing
            }
            _ => doc! { "ok": 1.0 },
        }
    }

    /// Aggregations of the sink.
    pub fn aggregate(&mut self, command: &Document) -> Document {
        let source = command.get_str("aggregate").unwrap();
        let mut rows = self.collections.get(source).cloned().unwrap_or_default();
        for stage in command.get_array("pipeline").unwrap() {
            let (name, given) = stage.as_document().unwrap().iter().next().unwrap();
            match name.as_str() {
                "$match" => rows.retain(|row| matches(row, given.as_document().unwrap())),
                "$limit" => rows.truncate(given.as_i32().unwrap() as usize),
                "$sort" => {
                    let (path, direction) = given.as_document().unwrap().iter().next().unwrap();
                    assert_eq!(direction.as_i32(), Some(1));
                    rows.sort_by(|a, b| compare(at(a, path).unwrap(), at(b, path).unwrap()));
                }
                "$project" => {
                    let fields = given.as_document().unwrap();
                    rows = rows
                        .iter()
                        .map(|row| fields.iter().map(|(name, path)| (name.clone(), value(row, path))).collect())
                        .collect();
                }
                "$replaceRoot" => {
                    let path = given.as_document().unwrap().get("newRoot").unwrap();
                    rows = rows.iter().map(|row| value(row, path).as_document().unwrap().clone()).collect();
                }
                "$lookup" => {
                    let given = given.as_document().unwrap();
                    assert_eq!(given.get_str("foreignField").unwrap(), "_id");
                    let others = self.collections.get(given.get_str("from").unwrap()).cloned().unwrap_or_default();
                    for row in &mut rows {
                        let id = at(row, given.get_str("localField").unwrap()).unwrap().clone();
                        let found: Vec<Bson> =
                            place(&others, &id).ok().map(|at| Bson::Document(others[at].clone())).into_iter().collect();
                        row.insert(given.get_str("as").unwrap(), found);
                    }
                }
                "$group" => {
                    let given = given.as_document().unwrap();
                    let mut groups: Vec<Document> = Vec::new();
                    for row in &rows {
                        let id = value(row, &given["_id"]);
                        let known = groups.iter().position(|group| equal(&group["_id"], &id)).unwrap_or_else(|| {
                            groups.push(doc! { "_id": id });
                            groups.len() - 1
                        });
                        for (name, by) in given.iter().filter(|(name, _)| *name != "_id") {
                            let (operator, of) = by.as_document().unwrap().iter().next().unwrap();
                            let next = match operator.as_str() {
                                "$last" => value(row, of),
                                "$sum" => Bson::Int64(groups[known].get_i64(name).unwrap_or(0) + of.as_i64().unwrap()),
                                other => panic!("the peer does not know {other}"),
                            };
                            groups[known].insert(name, next);
                        }
                    }
                    rows = groups;
                }
                "$out" => {
                    let mut fresh: Vec<Document> = Vec::new();
                    for row in std::mem::take(&mut rows) {
                        match place(&fresh, &row["_id"]) {
                            Ok(_) => return refusal(11000, &format!("E11000 duplicate key error _id: {}", row["_id"])),
                            Err(at) => fresh.insert(at, row),
                        }
                    }
                    self.collections.insert(given.as_str().unwrap().to_owned(), fresh);
                }
                "$merge" => {
                    let given = given.as_document().unwrap();
                    let (into, matched) = (given.get_str("into").unwrap(), given.get_str("whenMatched").unwrap());
                    for (number, row) in std::mem::take(&mut rows).into_iter().enumerate() {
                        if self.writing.merge_dies_after == Some(number) {
                            self.writing.merge_dies_after = None;
                            self.writing.cut = true;
                            break;
                        }
                        let there = self.get(into, &row["_id"]).cloned();
                        match (there, matched) {
                            (Some(_), "keepExisting") => {}
                            (Some(mut old), "merge") => {
                                old.extend(row);
                                self.put(into, old);
                            }
                            (Some(_), "replace") | (None, _) => self.put(into, row),
                            (_, other) => panic!("the peer does not know {other}"),
                        }
                    }
                }
                other => panic!("the peer does not know the stage {other}"),
            }
        }
        assert!(rows.len() <= 101, "an answer of one page");
        doc! { "ok": 1.0, "cursor": { "id": 0_i64, "ns": format!("shop.{source}"), "firstBatch": rows } }
    }
}
