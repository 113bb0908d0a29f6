//! What is proven and what is not, with two sides that answer by a script.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use async_trait::async_trait;
use serde_json::{Value, json};
use weir_connect::Result;
use weir_connect::verify::{
    Comparison, Form, Found, Key, Looked, Mend, VerifyColumn, VerifySink, VerifySource, VerifyTable, VerifyView,
};
use weir_error::Error;

use super::VerifyOptions;
use super::compare::resend;
use super::progress::Progress;
use super::report::DifferenceKind::{Differs, Extra, Missing, Repeated};
use super::settle::{Verdict, settle};

/// Rows of the only key: value and version. Each look takes the next answer; the last one stays.
struct Scripted {
    answers: Mutex<VecDeque<Vec<(&'static str, u32)>>>,
    reached: bool,
    versioned: bool,
    /// What it says when rows are to be mended; the last answer stays.
    takes: Mutex<VecDeque<bool>>,
}

/// Says whether the rows were taken.
struct Scratch(bool);

#[async_trait]
impl Mend for Scratch {
    async fn put(&mut self, _: &RecordBatch) -> Result<()> {
        Ok(())
    }
    async fn delete(&mut self, _: &[Key]) -> Result<()> {
        Ok(())
    }
    async fn commit(self: Box<Self>) -> Result<bool> {
        Ok(self.0)
    }
}

impl Scripted {
    fn new(answers: &[&[(&'static str, u32)]]) -> Self {
        let answers: Vec<_> = answers.iter().map(|rows| rows.to_vec()).collect();
        Self { answers: Mutex::new(answers.into()), reached: true, versioned: true, takes: Mutex::default() }
    }

    /// Of a system whose versions are the rows' hashes.
    fn bare(answers: &[&[&'static str]]) -> Self {
        let answers: Vec<Vec<(&'static str, u32)>> =
            answers.iter().map(|rows| rows.iter().map(|row| (*row, row.bytes().map(u32::from).sum())).collect()).collect();
        Self { answers: Mutex::new(answers.into()), reached: true, versioned: false, takes: Mutex::default() }
    }
}

#[async_trait]
impl VerifyTable for Scripted {
    fn place(&self) -> String {
        "script".into()
    }
    fn columns(&self) -> &[VerifyColumn] {
        &[]
    }
    fn estimated_rows(&self) -> Option<u64> {
        None
    }
    fn versioned(&self) -> bool {
        self.versioned
    }
    async fn view(&self, _: &Arc<Comparison>, _: usize) -> Result<Box<dyn VerifyView>> {
        Err(Error::internal("not scripted"))
    }
    async fn look(&self, _: &Comparison, keys: &[Key]) -> Result<Looked> {
        let mut answers = self.answers.lock().unwrap();
        let rows = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
        let found = |(value, version): &(&str, u32)| Found {
            key: keys[0].digest,
            row: value.bytes().fold(0, |hash, byte| hash * 256 + u128::from(byte)),
            version: version.to_string(),
            forms: vec![Some("1".into()), Some((*value).into())],
        };
        Ok(Looked { rows: rows.iter().map(found).collect(), point: json!(1) })
    }
}

#[async_trait]
impl VerifySource for Scripted {
    fn reached(&self, _: &Value, _: &Value) -> bool {
        self.reached
    }
    async fn nudge(&self) {}
    async fn fetch(&self, _: &Comparison, _: &[Key]) -> Result<(RecordBatch, Vec<u128>)> {
        Ok((RecordBatch::new_empty(Arc::new(Schema::empty())), vec![]))
    }
}

#[async_trait]
impl VerifySink for Scripted {
    async fn progress(&self, _: &str) -> Result<Vec<Value>> {
        Ok(vec![json!({"at": 1})])
    }
    async fn hold(&self, _: &str, _: &Comparison) -> Result<Box<dyn Mend>> {
        let mut takes = self.takes.lock().unwrap();
        Ok(Box::new(Scratch(if takes.len() > 1 { takes.pop_front().unwrap() } else { takes[0] })))
    }
}

fn comparison() -> Comparison {
    let columns = vec![("id".into(), Form::Number), ("v".into(), Form::Text)];
    Comparison { columns, key: vec![0], keyed: true, carried: Vec::new() }
}

async fn judge_with(source: Scripted, sink: Scripted, rounds: usize) -> Verdict {
    let comparison = comparison();
    let mut progress = Progress {
        pipeline: "p".into(),
        nodes: ("source".into(), "sink".into()),
        store: None,
        as_is: false,
        wait: Duration::ZERO,
        waited: Duration::ZERO,
        stuck: false,
    };
    let key = Key { digest: 7, values: vec![Some("1".into())] };
    settle(&comparison, &source, &sink, &mut progress, rounds, &[key]).await.unwrap().remove(0)
}

/// The source is asked for A, C and, of what seems to differ, once more; the sink before A and for B.
async fn judge(source: &[&[(&'static str, u32)]], sink: &[&[(&'static str, u32)]]) -> Verdict {
    judge_with(Scripted::new(source), Scripted::new(sink), 3).await
}

fn differs() -> Verdict {
    Verdict::Differs(Differs, vec!["v".into()])
}

#[tokio::test]
async fn a_sink_that_is_between_the_two_looks_is_equal() {
    assert_eq!(judge(&[&[("old", 1)], &[("new", 2)]], &[&[("old", 1)]]).await, Verdict::Equal);
    assert_eq!(judge(&[&[("old", 1)], &[("new", 2)]], &[&[("old", 1)], &[("new", 2)]]).await, Verdict::Equal);
    assert_eq!(judge(&[&[("old", 1)], &[]], &[&[]]).await, Verdict::Equal);
}

#[tokio::test]
async fn a_row_that_nobody_wrote_at_the_source_must_be_at_the_sink() {
    assert_eq!(judge(&[&[("a", 1)]], &[&[]]).await, Verdict::Differs(Missing, vec![]));
    assert_eq!(judge(&[&[("a", 1)]], &[&[("b", 1)], &[("b", 2)]]).await, differs());
    assert_eq!(judge(&[&[("a", 1)]], &[&[("a", 1), ("a", 2)]]).await, Verdict::Differs(Repeated, vec![]));
    assert_eq!(judge(&[&[("a", 1), ("a", 2)]], &[&[("a", 1)]]).await, Verdict::Differs(Missing, vec![]));
}

#[tokio::test]
async fn a_row_that_the_sink_did_not_write_must_have_been_at_the_source() {
    assert_eq!(judge(&[&[]], &[&[("a", 1)]]).await, Verdict::Differs(Extra, vec![]));
    // Written in between: the row may have come and gone at the source. The next round knows.
    assert_eq!(judge_with(Scripted::new(&[&[]]), Scripted::new(&[&[("a", 1)], &[("a", 2)]]), 1).await, Verdict::InMotion);
    assert_eq!(judge(&[&[]], &[&[("a", 1)], &[("a", 2)]]).await, Verdict::Differs(Extra, vec![]));
    // The source changes all the time, and the sink has not moved at all.
    assert_eq!(judge(&[&[("b", 1)], &[("c", 2)]], &[&[("a", 1)]]).await, differs());
}

#[tokio::test]
async fn a_key_that_both_sides_write_all_the_time_is_in_motion() {
    let source: [&[(&str, u32)]; 9] =
        [&[("a", 1)], &[("b", 2)], &[("c", 3)], &[("d", 4)], &[("e", 5)], &[("f", 6)], &[("g", 7)], &[("h", 8)], &[("i", 9)]];
    let sink: [&[(&str, u32)]; 4] = [&[("w", 1)], &[("x", 2)], &[("y", 3)], &[("z", 4)]];
    assert_eq!(judge(&source, &sink).await, Verdict::InMotion);
}

#[tokio::test]
async fn a_commit_that_the_log_tells_before_other_sessions_see_it_is_no_difference() {
    // A and C are old, the sink has the new row already, and a little later the source shows it too.
    assert_eq!(judge(&[&[("old", 1)], &[("old", 1)], &[("new", 2)]], &[&[("old", 1)], &[("new", 2)]]).await, Verdict::Equal);
    assert_eq!(judge(&[&[("old", 1)], &[("old", 1)], &[]], &[&[("old", 1)], &[]]).await, Verdict::Equal);
}

#[tokio::test]
async fn nothing_is_said_of_a_sink_that_does_not_get_there() {
    let source = Scripted { reached: false, ..Scripted::new(&[&[("a", 1)]]) };
    assert_eq!(judge_with(source, Scripted::new(&[&[]]), 3).await, Verdict::InMotion);
}

#[tokio::test]
async fn without_versions_a_difference_must_be_seen_again_and_again() {
    // The source goes to another value and back while the sink is looked at, once. (A, C, later; then A, C of the next round.)
    let flips = Scripted::bare(&[&["a"], &["a"], &["a"], &["a"]]);
    let sink = Scripted::bare(&[&["a"], &["b"], &["a"]]);
    assert_eq!(judge_with(flips, sink, 5).await, Verdict::Equal);
    assert_eq!(judge_with(Scripted::bare(&[&["a"]]), Scripted::bare(&[&["b"]]), 2).await, Verdict::InMotion);
    assert_eq!(judge_with(Scripted::bare(&[&["a"]]), Scripted::bare(&[&["b"]]), 3).await, differs());
    assert_eq!(judge_with(Scripted::bare(&[&[]]), Scripted::bare(&[&["b"]]), 3).await, Verdict::Differs(Extra, vec![]));
    // The sink's versions do not help a source whose position may lag; the source's prove what it has, and not what it has not.
    assert_eq!(judge_with(Scripted::bare(&[&["a"]]), Scripted::new(&[&[("b", 1)]]), 2).await, Verdict::InMotion);
    assert_eq!(judge_with(Scripted::new(&[&[("a", 1)]]), Scripted::bare(&[&["b"]]), 1).await, differs());
    assert_eq!(judge_with(Scripted::new(&[&[]]), Scripted::bare(&[&["b"]]), 2).await, Verdict::InMotion);
}

#[tokio::test]
async fn rows_are_mended_anew_where_the_pipeline_was_faster_and_not_for_ever() {
    let options = VerifyOptions {
        state: None,
        list: 1,
        repair: true,
        rounds: 1,
        wait: Duration::ZERO,
        as_is: true,
        parallelism: 1,
        stop: Default::default(),
    };
    // More than are mended at once.
    let keys: Vec<Key> = (0..1200).map(|digest| Key { digest, values: vec![Some(digest.to_string())] }).collect();
    for (takes, expected) in [
        (vec![true], Ok(1200)),
        (vec![false, false, true, false, true], Ok(1200)),
        ([vec![false; 7], vec![true]].concat(), Ok(1200)),
        (vec![true, false], Err("WEIR-VERIFY-002")),
    ] {
        let sink = Scripted { takes: Mutex::new(takes.clone().into()), ..Scripted::new(&[&[]]) };
        let source = Scripted::new(&[&[]]);
        let done = resend(&comparison(), &source, &sink, "p", &keys, &options).await;
        assert_eq!(done.map_err(|error| error.code()), expected, "{takes:?}");
    }
}
