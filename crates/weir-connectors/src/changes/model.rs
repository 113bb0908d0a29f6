//! Random changes, flush points, crashes and truncates against a model of the table. The sinks' tests play them on real servers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use weir_connect::{ChangeWriter, DeleteMode, Op, StreamSink};

use super::seeds::{Cell, Line, after, batch, delete, durable, mark};

/// What is in the log.
#[derive(Debug, Clone)]
pub enum Event {
    Change(Line),
    Truncate,
}

/// What happens between two events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Then {
    /// They are in one batch.
    Nothing,
    NextBatch,
    Flush,
    /// The process dies and another takes over.
    Crash,
}

/// Dice for one event: which row, which operation, which values are absent, which values, what then.
pub type Dice = (i64, u8, (bool, bool), (u8, u8), u8);

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
pub fn log(dice: &[Dice], unique: bool) -> Vec<(Event, Then)> {
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

/// A sink under test.
pub trait Scene {
    /// A stream into the table, and its writer.
    async fn open(&self) -> (Box<dyn StreamSink>, Box<dyn ChangeWriter>);

    /// The table's rows as `id|a|b|deleted`, sorted; `t` or `f` for the mark.
    fn found(&self) -> Vec<String>;
}

/// Applies the log, and compares after every flush and every crash.
pub async fn follow(scene: &impl Scene, deletes: DeleteMode, log: &[(Event, Then)]) -> Result<(), TestCaseError> {
    let (mut stream, mut writer) = scene.open().await;
    let (mut at, mut crashes) = (0, 0);
    let mut lines: Vec<Line> = Vec::new();
    while at <= log.len() {
        let then = if at == log.len() { Then::Flush } else { log[at].1 };
        match log.get(at).map(|(event, _)| event) {
            Some(Event::Change(line)) => lines.push(line.clone()),
            Some(Event::Truncate) => {
                writer.apply(batch(&std::mem::take(&mut lines))).await.unwrap();
                writer.truncate(&mark(1)).await.unwrap();
            }
            None => {}
        }
        at += 1;
        if then != Then::Nothing {
            writer.apply(batch(&std::mem::take(&mut lines))).await.unwrap();
        }
        let done = at.min(log.len());
        if then == Then::Flush {
            writer.flush(&after(done)).await.map_err(|error| TestCaseError::fail(format!("{error}; {:?}", error.advice())))?;
            prop_assert_eq!(scene.found(), expected(&log[..done], deletes), "after {} events", done);
        }
        if then == Then::Crash && crashes < 3 {
            crashes += 1;
            drop((writer, stream));
            (stream, writer) = scene.open().await;
            at = durable(stream.as_ref()).await;
            prop_assert_eq!(scene.found(), expected(&log[..at], deletes), "after a crash, {} events are durable", at);
        }
    }
    Ok(())
}

/// What is thrown for one log.
pub fn dice() -> impl Strategy<Value = Vec<Dice>> {
    let one = (0..8_i64, 0..20_u8, any::<(bool, bool)>(), (0..12_u8, 0..12_u8), 0..20_u8);
    prop::collection::vec(one, 1..60)
}
