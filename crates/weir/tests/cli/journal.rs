//! `weir journal` over a journal that was written by hand, so that what it says is the same every time.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use serde_json::{Value, json};
use weir_connect::{ChangeBatch, DeadLetter, Op, SchemaChange, Split, SplitProgress, TransactionMark};
use weir_engine::codec::{self, Mark, Record};
use weir_engine::journal::{Journal, Journals};
use weir_engine::store::{Epoch, EpochBody, FlowPlace, Keep, StateStore, Wanted};

use crate::assert_said;
use crate::harness::Folder;

const PIPELINE: &str = "pipeline: people
mode: cdc
source: {postgres-cdc: {url: \"postgresql://u@localhost/d\", tables: [public.people]}}
sinks:
  first: {postgres: {url: \"postgresql://u@localhost/e\", table: people}}
  second: {postgres: {url: \"postgresql://u@localhost/f\", table: people}}
journal: {max_bytes: 1GiB}
";

/// (operation, id, e-mail, bio); `None` = not in the log.
type Line = (Op, i64, Option<&'static str>, Option<&'static str>);

fn rows(lines: &[Line]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(lines.iter().map(|line| line.1)));
    let mails: ArrayRef = Arc::new(lines.iter().map(|line| line.2).collect::<StringArray>());
    let bios: ArrayRef = Arc::new(lines.iter().map(|line| line.3).collect::<StringArray>());
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("email", mails, true), ("bio", bios, true)]).unwrap()
}

fn changes(stream: &str, seq: i64, lines: &[Line]) -> Record {
    let mark = TransactionMark {
        end: lines.len(),
        position: format!("0/{seq}00").into(),
        id: None,
        committed_at_us: 1_700_000_000_000_000 + seq,
    };
    Record::Changes(ChangeBatch {
        stream: stream.into(),
        ops: lines.iter().map(|line| line.0).collect(),
        rows: rows(lines),
        absent: vec![
            None,
            Some(lines.iter().map(|line| line.2.is_none()).collect()),
            Some(lines.iter().map(|line| line.3.is_none()).collect()),
        ],
        before: None,
        transactions: vec![mark],
        source_bytes: 10,
    })
}

/// Three boundaries; what follows the last one was never promised.
async fn written(state: &Path) {
    let start = Mark { seq: 0, position: Value::Null, committed_at_us: None };
    let place = Journals::from(state).place("people", "source");
    let (_, mut writer) = Journal::open(&place, &start, 1 << 20).await.unwrap();
    let schema: Arc<Schema> = rows(&[]).schema();
    let change =
        SchemaChange { stream: "public.people".into(), schema, key: vec!["id".into()], renamed: vec![], statement: None };
    let letter = DeadLetter {
        stream: "public.people".into(),
        code: "WEIR-PG-900".into(),
        reason: "ada@example.org is no number".into(),
        place: "column `n`".into(),
        payload: vec![],
        media_type: "text/plain".into(),
    };
    let steps: [Vec<Record>; 3] = [
        vec![
            Record::Schema(change),
            changes("public.people", 1, &[(Op::Read, 1, Some("ada@example.org"), Some("first")), (Op::Read, 2, None, None)]),
        ],
        vec![
            changes("public.people", 2, &[(Op::Update, 1, Some("ada@example.com"), None), (Op::Delete, 2, None, None)]),
            Record::Dead(letter),
        ],
        vec![changes("public.people", 3, &[(Op::Create, 9_007_199_254_740_993, Some("bob@example.org"), Some(""))])],
    ];
    for (seq, records) in (1..).zip(steps) {
        for record in &records {
            writer.write(record).await.unwrap();
        }
        writer.boundary(json!({"lsn": format!("0/{seq}00")}), Some(1_700_000_000_000_000 + seq)).await.unwrap();
        writer.sync().await.unwrap();
    }
}

/// An interrupted run: one sink is at the end, one at boundary 1.
async fn reached(state: &Path) {
    let store = StateStore::open(state).await.unwrap();
    store.begin("0123456789abcdef0123456789abcdef", "people", "f", None).await.unwrap();
    let run_id = "0123456789abcdef0123456789abcdef";
    for (sink, seq) in [("first", 3), ("second", 1)] {
        let split = Split { id: "journal".into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
        let progress = vec![SplitProgress { split, position: Some(json!({"seq": seq})), done: false, rows: 0 }];
        let body = EpochBody { progress, ..EpochBody::default() };
        let flow = format!("source → {sink}");
        let place = FlowPlace { pipeline: "people", run_id, flow: &flow };
        store.write_epoch(&place, &Epoch { number: 1, prepared: false, body }, &[], Keep::Newest).await.unwrap();
    }
    store.end(run_id, "interrupted", "null").await.unwrap();
}

/// The same; at the second sink a stream waits after boundary 1.
async fn waits(state: &Path) {
    reached(state).await;
    let store = StateStore::open(state).await.unwrap();
    let view = json!({
        "stream": "public.people", "sink": "second", "since_seq": 1, "change_seq": 2, "changes": ["add column note text"], "rows": 4,
        "bytes": 2048,
    });
    let schema = codec::schema_text(&rows(&[]).schema()).unwrap();
    let held = json!({"view": view, "schema": schema, "key": ["id"], "noted": 3, "fitted": false});
    let position = json!({"seq": 3, "behind": {"public.people": {"seq": 1, "held": held}}});
    let split = Split { id: "journal".into(), descriptor: Value::Null, estimated_rows: None, estimated_bytes: None };
    let progress = vec![SplitProgress { split, position: Some(position), done: false, rows: 0 }];
    let body = EpochBody { progress, ..EpochBody::default() };
    let place = FlowPlace { pipeline: "people", run_id: "0123456789abcdef0123456789abcdef", flow: "source → second" };
    store.write_epoch(&place, &Epoch { number: 2, prepared: false, body }, &[], Keep::Newest).await.unwrap();
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("people.yaml", PIPELINE);
    folder
}

fn filled() -> Folder {
    let folder = folder();
    let state = folder.path().join(".weir");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        written(&state).await;
        reached(&state).await;
    });
    folder
}

#[test]
fn a_journal_is_listed_with_what_it_holds_and_how_far_its_sinks_are() {
    let folder = filled();
    let said = folder.weir(&["journal", "ls", "people.yaml"]).ok();
    for part in ["boundaries 0 to 3", "of 1GiB", "public.people", "second"] {
        assert!(said.out.contains(part), "{part}: {}", said.shown());
    }
    let said = folder.weir(&["journal", "ls", "people.yaml", "--json"]).ok().json();
    assert_eq!((said["running"].as_bool(), &said["journals"][0]["last"]), (Some(false), &json!(3)));
    assert_eq!(said["journals"][0]["sinks"][1], json!({"sink": "second", "seq": 1, "behind": 2}));
    // While a run is going on it only looks.
    let lock = std::fs::File::create(folder.path().join(".weir/people.lock")).unwrap();
    lock.lock().unwrap();
    folder.weir(&["journal", "ls", "people.yaml"]).ok();
    folder.weir(&["journal", "inspect", "people.yaml"]).ok();
}

#[test]
fn changes_are_shown_masked_unless_somebody_asks() {
    let folder = filled();
    let said = folder.weir(&["journal", "inspect", "people.yaml"]).ok();
    assert!(said.out.contains("(absent)") && said.err.contains("masked"), "{}", said.shown());
    let said = folder.weir(&["journal", "inspect", "people.yaml", "--json"]).ok();
    // A shape, two rows of the snapshot, an update, a delete, a record that is no change, a create.
    assert_eq!(said.out.lines().count(), 7, "{}", said.shown());
    let shown = folder.weir(&["journal", "inspect", "people.yaml", "--json", "--show", "--from", "2"]).ok();
    let line = shown.json();
    assert_eq!((&line["row"]["email"], &line["op"]), (&json!("bob@example.org"), &json!("c")));
    assert!(shown.out.contains("9007199254740993"), "every digit: {}", shown.out);
    for flag in ["--json", "--limit=100"] {
        let said = folder.weir(&["journal", "inspect", "people.yaml", flag]).ok();
        assert!(!said.out.contains('@') && !said.err.contains('@'), "{}", said.shown());
    }
    let said = folder.weir(&["journal", "inspect", "people.yaml", "--limit", "2", "--stream", "public.people"]).ok();
    assert!(said.err.contains("there is more"), "{}", said.shown());
    let said = folder.weir(&["journal", "inspect", "people.yaml", "--json", "--stream", "public.nothing"]).ok();
    assert_eq!(said.out, "");
}

#[test]
fn a_sink_is_set_back_and_never_forward() {
    let folder = filled();
    let said = folder.weir(&["journal", "replay", "people.yaml", "--from", "2"]);
    assert!(said.code != 0 && said.err.contains("WEIR-JOURNAL-009"), "{}", said.shown());
    let said = folder.weir(&["journal", "replay", "people.yaml", "--from", "1", "--sink", "first"]).ok();
    assert!(said.err.contains("from boundary 3 back to 1; 3 changes come once more"), "{}", said.shown());
    let listed = folder.weir(&["journal", "ls", "people.yaml", "--json"]).ok().json();
    assert_eq!(listed["journals"][0]["sinks"][0], json!({"sink": "first", "seq": 1, "behind": 2}));
    let lock = std::fs::File::create(folder.path().join(".weir/people.lock")).unwrap();
    lock.lock().unwrap();
    let said = folder.weir(&["journal", "replay", "people.yaml", "--from", "0"]);
    assert!(said.code != 0 && said.err.contains("WEIR-RUN-010"), "{}", said.shown());
}

#[test]
fn a_stream_that_waits_is_listed_and_approved() {
    let folder = folder();
    let state = folder.path().join(".weir");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        written(&state).await;
        waits(&state).await;
    });
    let said = folder.weir(&["journal", "ls", "people.yaml"]).ok();
    assert!(said.out.contains("held   public.people for sink second after boundary 1: add column note text"), "{}", said.shown());
    assert!(said.out.contains("4 changes wait"), "{}", said.shown());
    let listed = folder.weir(&["journal", "ls", "people.yaml", "--json"]).ok().json();
    assert_eq!(listed["journals"][0]["sinks"][1]["held"][0]["since_seq"], json!(1));
    let said = folder.weir(&["journal", "replay", "people.yaml", "--from", "1"]);
    assert!(said.code != 0 && said.err.contains("WEIR-JOURNAL-014"), "{}", said.shown());
    assert_said!("journal_approves_nothing", folder.weir(&["journal", "approve", "people.yaml", "--stream", "public.orders"]));
    let wishes = async || StateStore::open(&state).await.unwrap().wishes("people", "source").await.unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(runtime.block_on(wishes()), []);
    // Also while a run is going on.
    let lock = std::fs::File::create(state.join("people.lock")).unwrap();
    lock.lock().unwrap();
    assert_said!("journal_approves", folder.weir(&["journal", "approve", "people.yaml", "--stream", "public.people"]));
    let approved = Wanted::Approve { stream: "public.people".into(), seq: 2 };
    assert_eq!(runtime.block_on(wishes()).into_iter().map(|wish| wish.wanted).collect::<Vec<_>>(), [approved]);
}

#[test]
fn without_a_journal_it_says_what_to_do() {
    let folder = folder();
    assert_eq!(folder.weir(&["journal", "ls", "people.yaml"]).code, 1);
    tokio::runtime::Runtime::new().unwrap().block_on(reached(&folder.path().join(".weir")));
    let said = folder.weir(&["journal", "inspect", "people.yaml"]);
    assert!(said.code != 0 && said.err.contains("WEIR-CLI-071"), "{}", said.shown());
    folder.write("batch.yaml", PIPELINE.replace("mode: cdc\n", ""));
    assert_said!("journal_of_a_batch", folder.weir(&["journal", "ls", "batch.yaml"]));
}
