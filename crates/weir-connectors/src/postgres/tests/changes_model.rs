//! Random changes, flush points, crashes and truncates against a model of the table.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use weir_connect::{ChangeWriter, DeleteMode, Op, Sink, StreamSink, StreamTarget, WriteMode};
use weir_testkit::{Database, PostgresServer};

use super::super::changes::PENDING_LIMIT;
use super::changes::{Cell, Line, after, batch, changes_target, delete, durable, schema};
use super::{database, server_lines, sink};

/// What is in the log.
#[derive(Debug, Clone)]
enum Event {
    Change(Line),
    Truncate,
}

/// What happens between two events.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// They are in one batch.
    Nothing,
    NextBatch,
    Flush,
    /// The process dies and another takes over.
    Crash,
}

/// Dice for one event: which row, which operation, which values are absent, which values, what then.
type Dice = (i64, u8, (bool, bool), (u8, u8), u8);

/// Values of the columns.
type Values = (Option<String>, Option<String>);

fn text(dice: u8) -> Option<String> {
    (dice > 0).then(|| format!("10.{dice}.0.0/16"))
}

/// A value of `a` that no row has, or NULL.
fn unused(rows: &BTreeMap<i64, Values>, dice: u8) -> Option<String> {
    let used: BTreeSet<&str> = rows.values().filter_map(|row| row.0.as_deref()).collect();
    (dice..dice + 12).filter_map(|dice| text(dice % 12)).find(|text| !used.contains(text.as_str()))
}

/// Dice → a log that a database could have written, with what happens between its events.
fn log(dice: &[Dice], unique: bool) -> Vec<(Event, Then)> {
    let mut rows: BTreeMap<i64, Values> = BTreeMap::new();
    let mut log = Vec::new();
    for (id, what, (no_a, no_b), (a, b), then) in dice.iter().cloned() {
        let then = match then {
            0..=9 => Then::Nothing,
            10..=13 => Then::NextBatch,
            14..=17 => Then::Flush,
            _ => Then::Crash,
        };
        let old = rows.get(&id).cloned();
        let value = |rows: &BTreeMap<i64, Values>| if unique { unused(rows, a) } else { text(a) };
        let full = |op, id, row: &Values| Line { op, id, a: Some(row.0.clone()), b: Some(row.1.clone()) };
        let mut push = |event, then| log.push((event, then));
        match (what, old) {
            (0, _) => {
                rows.clear();
                push(Event::Truncate, then);
            }
            (_, None) => {
                let row = (value(&rows), text(b));
                let op = if what % 2 == 0 { Op::Create } else { Op::Read };
                push(Event::Change(full(op, id, &row)), then);
                rows.insert(id, row);
            }
            (1..=4, Some(row)) => {
                // With the key only, or with the row as it was.
                push(Event::Change(if no_a { delete(id) } else { full(Op::Delete, id, &row) }), then);
                rows.remove(&id);
            }
            (5..=6, Some(row)) if !rows.contains_key(&(id + 1)) => {
                push(Event::Change(delete(id)), Then::Nothing);
                push(Event::Change(full(Op::Create, id + 1, &row)), then);
                rows.remove(&id);
                rows.insert(id + 1, row);
            }
            (_, Some(old)) => {
                let row = (if no_a { old.0 } else { value(&rows) }, if no_b { old.1 } else { text(b) });
                let cell = |absent: bool, value: &Option<String>| -> Cell { (!absent).then(|| value.clone()) };
                push(Event::Change(Line { op: Op::Update, id, a: cell(no_a, &row.0), b: cell(no_b, &row.1) }), then);
                rows.insert(id, row);
            }
        }
    }
    log
}

/// The target after these events.
fn expected(events: &[(Event, Then)], deletes: DeleteMode) -> Vec<String> {
    let mut rows: BTreeMap<i64, (Values, bool)> = BTreeMap::new();
    for (event, _) in events {
        match event {
            Event::Truncate => match deletes {
                DeleteMode::Hard => rows.clear(),
                DeleteMode::Soft => rows.values_mut().for_each(|row| row.1 = true),
                DeleteMode::Ignore => {}
            },
            Event::Change(line) if line.op == Op::Delete => match deletes {
                DeleteMode::Hard => drop(rows.remove(&line.id)),
                DeleteMode::Soft => rows.entry(line.id).or_default().1 = true,
                DeleteMode::Ignore => {}
            },
            Event::Change(line) => {
                let row = rows.entry(line.id).or_default();
                row.1 = false;
                if let Some(a) = &line.a {
                    row.0.0 = a.clone();
                }
                if let Some(b) = &line.b {
                    row.0.1 = b.clone();
                }
            }
        }
    }
    let text = |value: Option<String>| value.unwrap_or_else(|| "NULL".into());
    let mut lines: Vec<String> = rows
        .into_iter()
        .map(|(id, ((a, b), deleted))| format!("{id}|{}|{}|{}", text(a), text(b), if deleted { "t" } else { "f" }))
        .collect();
    lines.sort();
    lines
}

struct Run<'a> {
    database: &'a Database,
    table: String,
    sink: std::sync::Arc<dyn Sink>,
    mode: WriteMode,
    deletes: DeleteMode,
}

impl Run<'_> {
    async fn open(&self) -> (Box<dyn StreamSink>, Box<dyn ChangeWriter>) {
        let target = StreamTarget { stream: self.table.clone(), ..changes_target("r", schema(), self.mode, &["id"]) };
        let stream = self.sink.prepare(target).await.unwrap();
        let writer = stream.change_writer(self.deletes).await.unwrap();
        (stream, writer)
    }

    fn found(&self) -> Vec<String> {
        let deleted = if self.deletes == DeleteMode::Soft { "_deleted" } else { "false" };
        server_lines(self.database, &format!("SELECT id, a, b::text, {deleted} FROM {}", self.table))
    }

    /// Applies the log, and compares after every flush and every crash.
    async fn follow(&self, log: &[(Event, Then)]) -> Result<(), TestCaseError> {
        let (mut stream, mut writer) = self.open().await;
        let (mut at, mut crashes) = (0, 0);
        let mut lines: Vec<Line> = Vec::new();
        while at <= log.len() {
            let then = if at == log.len() { Then::Flush } else { log[at].1 };
            match log.get(at).map(|(event, _)| event) {
                Some(Event::Change(line)) => lines.push(line.clone()),
                Some(Event::Truncate) => {
                    writer.apply(batch(&std::mem::take(&mut lines))).await.unwrap();
                    writer.truncate().await.unwrap();
                }
                None => {}
            }
            at += 1;
            if then != Then::Nothing {
                writer.apply(batch(&std::mem::take(&mut lines))).await.unwrap();
            }
            let done = at.min(log.len());
            if then == Then::Flush {
                writer
                    .flush(&after(done))
                    .await
                    .map_err(|error| TestCaseError::fail(format!("{error}; {:?}", error.advice())))?;
                prop_assert_eq!(self.found(), expected(&log[..done], self.deletes), "after {} events", done);
            }
            if then == Then::Crash && crashes < 3 {
                crashes += 1;
                drop((writer, stream));
                (stream, writer) = self.open().await;
                at = durable(stream.as_ref()).await;
                prop_assert_eq!(self.found(), expected(&log[..at], self.deletes), "after a crash, {} events are durable", at);
            }
        }
        Ok(())
    }
}

fn dice() -> impl Strategy<Value = Vec<Dice>> {
    let one = (0..8_i64, 0..20_u8, any::<(bool, bool)>(), (0..12_u8, 0..12_u8), 0..20_u8);
    prop::collection::vec(one, 1..60)
}

fn check(database: &Database, cases: u32, table: &str, unique: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sink = runtime.block_on(sink(database.url(), json!({ "table": "{stream}" })));
    let number = std::cell::Cell::new(0);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let deletes = prop_oneof![Just(DeleteMode::Hard), Just(DeleteMode::Soft), Just(DeleteMode::Ignore)];
    let deletes = if unique { Just(DeleteMode::Hard).boxed() } else { deletes.boxed() };
    let mode = prop_oneof![Just(WriteMode::Upsert), Just(WriteMode::Merge)];
    // So small that nearly every batch goes ahead of its flush, or as it is.
    let limit = prop_oneof![Just(600_usize), Just(16 << 20)];
    let result = TestRunner::new(config).run(&(dice(), deletes, mode, limit), |(dice, deletes, mode, limit)| {
        number.set(number.get() + 1);
        let name = format!("t{}", number.get());
        database.execute(format!("CREATE TABLE {name} {table}")).unwrap();
        PENDING_LIMIT.set(limit);
        let run = Run { database, table: name.clone(), sink: sink.clone(), mode, deletes };
        let checked = runtime.block_on(run.follow(&log(&dice, unique)));
        database.execute(format!("DROP TABLE {name}")).unwrap();
        checked
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

const PLAIN: &str = "(id bigint PRIMARY KEY, a text, b text)";

#[test]
fn the_target_is_what_the_log_says_after_every_flush_and_every_crash() {
    check(&database(), 60, PLAIN, false);
}

#[test]
fn and_so_it_is_when_the_server_must_parse_the_values() {
    check(&database(), 20, "(id bigint PRIMARY KEY, a text, b cidr)", false);
}

#[test]
fn and_when_the_table_is_partitioned() {
    let database = database();
    // Partitions are made by the table's own name, so there is one function that makes them.
    database
        .execute(
            "CREATE FUNCTION parts() RETURNS event_trigger LANGUAGE plpgsql AS $$ DECLARE made record; BEGIN \
             FOR made IN SELECT objid::regclass::text AS name FROM pg_event_trigger_ddl_commands() c JOIN pg_class p ON p.oid = c.objid \
             WHERE c.command_tag = 'CREATE TABLE' AND p.relkind = 'p' LOOP \
             EXECUTE format('CREATE TABLE %I PARTITION OF %s FOR VALUES FROM (0) TO (4)', made.name || '_low', made.name); \
             EXECUTE format('CREATE TABLE %I PARTITION OF %s DEFAULT', made.name || '_high', made.name); END LOOP; END $$; \
             CREATE EVENT TRIGGER parts ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION parts()",
        )
        .unwrap();
    check(&database, 20, "(id bigint PRIMARY KEY, a text, b text) PARTITION BY RANGE (id)", false);
}

#[test]
fn values_that_must_be_unique_may_go_from_row_to_row() {
    check(&database(), 40, "(id bigint PRIMARY KEY, a text UNIQUE, b text, made text GENERATED ALWAYS AS (a || b) STORED)", true);
}

#[test]
fn all_of_it_on_the_newest_server() {
    let server = PostgresServer::version(18).unwrap();
    let database = server.create_database().unwrap();
    check(&database, 20, PLAIN, false);
    check(&database, 20, "(id bigint PRIMARY KEY, a text UNIQUE, b text)", true);
}
