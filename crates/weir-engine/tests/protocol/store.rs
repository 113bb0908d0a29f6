//! The checkpoint store: the same answers from a file, from a PostgreSQL that machines share, and over a wire; and nothing of another job.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use weir_connect::{CommitReport, DeadLetter, Split, SplitProgress};
use weir_engine::gates::GateCount;
use weir_engine::store::link::{StateCall, StateLink};
use weir_engine::store::positions::SplitPosition;
use weir_engine::store::tables::Tables;
use weir_engine::store::{
    Counts, Epoch, EpochBody, FlowPlace, Keep, Phase, ReaderRecord, SetAside, StatePlace, StateStore, StreamState, TurnMark,
    Wanted,
};
use weir_error::{Kind, Result};
use weir_testkit::PostgresServer;

use crate::memory::Faults;

/// A wire: everything is text on the way, and it may break before or after the other end has heard.
pub struct Wire {
    pub tables: Tables,
    pub faults: Arc<Faults>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

#[async_trait]
impl StateLink for Wire {
    async fn ask(&self, call: StateCall) -> Result<Value> {
        let sent = serde_json::to_string(&call).unwrap();
        let ends = matches!(call, StateCall::End { .. } | StateCall::Wishes { .. });
        let mut heard = false;
        // The end of an attempt is told once; the run is what it is without it. What is wished for is asked for again.
        let broken = match ends {
            true => {
                heard = true;
                Ok(())
            }
            false => self.faults.step(|| heard = true),
        };
        if heard {
            let answer = self.tables.answer(serde_json::from_str(&sent).unwrap()).await?;
            broken?;
            return Ok(serde_json::from_str(&answer.to_string()).unwrap());
        }
        broken.map(|()| Value::Null)
    }
}

/// What one process of an attempt has.
async fn process(tables: &Tables, tenant: &str, job: &str) -> (StateStore, tempfile::TempDir) {
    let folder = weir_testkit::memory_folder();
    let place = StatePlace::Link(
        folder.path().to_owned(),
        Arc::new(Wire { tables: tables.scoped(tenant, job).unwrap(), faults: Arc::default() }),
    );
    (place.open().await.unwrap(), folder)
}

fn epoch(number: u64, prepared: bool, read: u64) -> Epoch {
    let split = Split { id: "s".into(), descriptor: json!({"n": 1}), estimated_rows: None, estimated_bytes: None };
    let progress = SplitProgress { split, position: Some(json!({"lsn": "0/1"})), done: false, rows: read };
    let counts = Counts {
        read,
        filtered: 1,
        dead: 1,
        written: vec![read - 2],
        bytes_read: 10,
        set_aside: 0,
        rules: vec![],
        late: 0,
        gates: vec![GateCount { node: "in".into(), rows: read, ..GateCount::default() }],
    };
    Epoch {
        number,
        prepared,
        body: EpochBody {
            lane: 0,
            progress: vec![progress],
            tokens: vec![json!({"file": "a\u{0}b"})],
            counts,
            cursor: None,
            ..EpochBody::default()
        },
    }
}

fn letter(payload: &[u8]) -> SetAside {
    let letter = DeadLetter {
        stream: "in".into(),
        code: "WEIR-X-1".into(),
        reason: "bad \u{0} byte".into(),
        place: "in.csv:3".into(),
        payload: payload.to_vec(),
        media_type: "text/csv".into(),
    };
    SetAside { sink: Some("out".into()), letter }
}

/// A whole life of a run, as the engine asks for it.
async fn life(store: &StateStore, again: &StateStore) {
    assert!(store.unfinished("p").await.unwrap().is_none());
    // Whoever asks need not run anything, and whoever runs sees it.
    let wanted = |only: &str| Wanted::Snapshot { stream: "a".into(), only: Some(only.into()) };
    for one in ["x > 1", "x > 1", "x > 2"] {
        again.wish("p", "in", &wanted(one)).await.unwrap();
    }
    again.wish("p", "other", &Wanted::Approve { stream: "b".into(), seq: 7 }).await.unwrap();
    let wishes = store.wishes("p", "in").await.unwrap();
    assert_eq!(wishes.iter().map(|wish| wish.wanted.clone()).collect::<Vec<_>>(), [wanted("x > 1"), wanted("x > 2")]);
    store.granted("p", &[wishes[0].id.clone()]).await.unwrap();
    assert_eq!(again.wishes("p", "in").await.unwrap(), wishes[1..]);
    assert_eq!((again.wishes("p", "other").await.unwrap().len(), again.wishes("q", "in").await.unwrap().len()), (1, 0));
    assert_eq!(store.begin("r1", "p", "f", Some("platform-1")).await.unwrap(), 1);
    assert_eq!(store.named("platform-1").await.unwrap(), None, "it has not ended");
    let place = FlowPlace { pipeline: "p", run_id: "r1", flow: "in" };
    assert!(store.flow("r1", "in").await.unwrap().is_none());
    let reader = ReaderRecord { node: "in".into(), state: json!({"a": 1}), next_state: Some(json!([2])), as_of: None };
    store.open_flow("r1", "in", std::slice::from_ref(&reader)).await.unwrap();
    store.write_epoch(&place, &epoch(1, false, 10), &[letter(b"\xff\x00x")], Keep::All).await.unwrap();
    store.write_epoch(&place, &epoch(2, true, 5), &[letter(b"plain")], Keep::All).await.unwrap();
    let epochs = store.epochs(&place).await.unwrap();
    assert_eq!(epochs.iter().map(|epoch| (epoch.number, epoch.prepared)).collect::<Vec<_>>(), [(1, false), (2, true)]);
    assert_eq!(epochs[0].body.progress, epoch(1, false, 10).body.progress);
    assert_eq!(epochs[0].body.tokens, [json!({"file": "a\u{0}b"})]);
    // Of the letters only those that no crash can take back, and nothing behind them.
    let kept = again.letters("p", "r1", 0).await.unwrap();
    assert_eq!(kept.iter().map(|kept| &kept.letter.payload[..]).collect::<Vec<_>>(), [b"\xff\x00x"]);
    assert_eq!((kept[0].flow.as_str(), kept[0].sink.as_deref(), kept[0].letter.code.as_str()), ("in", Some("out"), "WEIR-X-1"));

    // Another process takes over: the first can write nothing any more.
    let open = again.unfinished("p").await.unwrap().unwrap();
    assert_eq!((open.run_id.as_str(), open.fingerprint.as_str(), open.attempts), ("r1", "f", 1));
    assert_eq!(again.begin("r1", "p", "f", Some("platform-2")).await.unwrap(), 2);
    for refused in [
        store.confirm_epoch(&place, 2, Keep::All).await,
        store.write_epoch(&place, &epoch(3, false, 5), &[], Keep::All).await,
        store.committing("r1", "in").await,
        store.end("r1", "succeeded", "{}").await,
        store.forget(&place, None).await,
    ] {
        assert_eq!(refused.unwrap_err().kind(), Kind::Conflict);
    }
    assert_eq!(again.epochs(&place).await.unwrap().len(), 2);

    again.confirm_epoch(&place, 2, Keep::All).await.unwrap();
    let next = store.letters("p", "r1", kept[0].id).await.unwrap();
    assert_eq!(next.iter().map(|kept| &kept.letter.payload[..]).collect::<Vec<_>>(), [b"plain"]);
    assert_eq!(store.letters("p", "r1", next[0].id).await.unwrap(), []);
    again.write_epoch(&place, &epoch(3, false, 7), &[], Keep::All).await.unwrap();
    again.forget(&place, Some(3)).await.unwrap();
    again.write_epoch(&place, &epoch(4, true, 7), &[], Keep::Newest).await.unwrap();
    assert_eq!(again.epochs(&place).await.unwrap().len(), 3, "a prepared one does not replace what is sure");
    again.confirm_epoch(&place, 4, Keep::Newest).await.unwrap();
    assert_eq!(again.epochs(&place).await.unwrap().iter().map(|epoch| epoch.number).collect::<Vec<_>>(), [4]);
    again.committing("r1", "in").await.unwrap();
    assert_eq!(again.flow("r1", "in").await.unwrap().unwrap().phase, Phase::Committing);
    let report = CommitReport { rows: 7, bytes: 1, objects: 1, place: "out".into() };
    let state = StreamState { cursor: None, previous: Some(json!({"files": ["a"]})), last_run_time: Some("2026".into()) };
    again.committed("p", "r1", "in", std::slice::from_ref(&report), &[("in".into(), state.clone())]).await.unwrap();
    let flow = again.flow("r1", "in").await.unwrap().unwrap();
    assert_eq!((flow.phase, flow.readers, flow.reports), (Phase::Committed, vec![reader], vec![report]));
    again.end("r1", "succeeded", "{\"rows\": 7}").await.unwrap();
    assert_eq!(again.stream_state("p", "in", "in").await.unwrap(), state);
    assert!(again.unfinished("p").await.unwrap().is_none());
    assert!(again.epochs(&place).await.unwrap().is_empty());
    for name in ["platform-1", "platform-2"] {
        assert_eq!(again.named(name).await.unwrap(), Some(json!({"rows": 7})));
    }
    assert_eq!(again.named("platform-3").await.unwrap(), None);

    // A stream without end says how far its splits are; the first epoch is the one that begins its turn.
    assert_eq!(again.positions("endless").await.unwrap().splits, []);
    store.begin("r9", "endless", "f", None).await.unwrap();
    let place = FlowPlace { pipeline: "endless", run_id: "r9", flow: "in" };
    let mut begins = epoch(1, false, 10);
    begins.body.turn = Some(TurnMark::Begins { id: "t".into(), sinks: "s".into(), reports: vec![] });
    store.write_epoch(&place, &begins, &[], Keep::All).await.unwrap();
    store.write_epoch(&place, &epoch(2, false, 25), &[], Keep::All).await.unwrap();
    let split =
        SplitPosition { stream: "in".into(), split: "s".into(), position: Some(json!({"lsn": "0/1"})), rows: 25, done: false };
    let positions = again.positions("endless").await.unwrap();
    assert_eq!((positions.splits, positions.truncated), (vec![split], false));
    store.end("r9", "abandoned", "null").await.unwrap();
    assert_eq!(again.positions("endless").await.unwrap().splits, [], "nobody goes on from there");
    let batch = again.positions("p").await.unwrap();
    assert_eq!((batch.splits, batch.cursors[0].last_run_time.as_deref()), (vec![], Some("2026")));
}

#[tokio::test]
async fn a_file_keeps_a_run() {
    let folder = weir_testkit::memory_folder();
    let (store, again) = (StateStore::open(folder.path()).await.unwrap(), StateStore::open(folder.path()).await.unwrap());
    life(&store, &again).await;
    let letters = again.dead_list("p", 10).await.unwrap();
    let payloads: Vec<_> = letters.iter().map(|letter| letter.payload.as_slice()).collect();
    assert_eq!(payloads, [&b"\xff\x00x"[..], b"plain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_database_keeps_the_runs_of_all_jobs_apart() {
    let server = PostgresServer::shared().unwrap();
    let database = server.create_database().unwrap();
    // Two machines that come up at the same moment.
    let url = database.url();
    let (tables, other) = tokio::join!(Tables::shared(url, 4), Tables::shared(url, 4));
    let (tables, other) = (tables.unwrap(), other.unwrap());
    let mut lives = tokio::task::JoinSet::new();
    // The same names everywhere: each job sees its own only, or a life would find another's.
    for (tenant, job) in [("a", "1"), ("a", "2"), ("b", "1"), ("b", "12")] {
        let (tables, other) = (tables.clone(), other.clone());
        lives.spawn(async move {
            let ((store, _one), (again, _two)) = (process(&tables, tenant, job).await, process(&other, tenant, job).await);
            life(&store, &again).await;
        });
    }
    while let Some(life) = lives.join_next().await {
        life.unwrap();
    }
    for (tenant, job) in [("a", "1/../2"), ("", "1"), ("a", "")] {
        assert!(tables.scoped(tenant, job).is_err(), "{tenant}/{job}");
    }
    // One of the tenants goes.
    let rows = |scope: &str| -> i64 {
        let keys = [
            ("run", "run_id"),
            ("flow", "run_id"),
            ("epoch", "run_id"),
            ("dead_letter", "pipeline"),
            ("stream_state", "pipeline"),
            ("run_name", "name"),
            ("wish", "pipeline"),
        ];
        let one = |(table, key): (&str, &str)| {
            database.value(format!("SELECT count(*) FROM weir_state.{table} WHERE starts_with({key}, '{scope}')"))
        };
        keys.into_iter().map(|table| one(table).unwrap().parse::<i64>().unwrap()).sum()
    };
    let (of_a, of_b) = (rows("a/"), rows("b/"));
    assert!(of_a > 4 && of_b > 4, "{of_a} {of_b}");
    assert_eq!(tables.forget_tenant("a").await.unwrap(), of_a as u64);
    assert_eq!((rows("a/"), rows("b/"), rows("")), (0, of_b, of_b));
    assert_eq!(tables.forget_tenant("a").await.unwrap(), 0);
    for tenant in ["", "b/1", "b/"] {
        assert!(tables.forget_tenant(tenant).await.is_err(), "{tenant}");
    }
    assert!(Tables::file(weir_testkit::memory_folder().path()).await.unwrap().forget_tenant("b").await.is_err());
}
