//! Crashes at every step, in any order: the dataset holds every row of the committed runs exactly once, and nothing else.

use super::*;
use proptest::prelude::*;
use weir_connect::CommitToken;

/// What happens to a run.
#[derive(Debug, Clone)]
enum Step {
    Write(u8),
    /// Flush and write the checkpoint.
    Checkpoint,
    /// Flush, then crash before the checkpoint is written.
    FlushAndCrash,
    Crash,
    /// A commit that crashes at a place, then the run is resumed.
    CrashInCommit(&'static str),
    /// A commit that crashes, then the source says that everything must be read again.
    CrashInCommitAndStartOver(&'static str),
    /// The run is given up and another begins.
    Abandon,
}

fn step() -> impl Strategy<Value = Step> {
    let place = prop_oneof![
        Just("files.commit.before"),
        Just("files.commit.intent"),
        Just("files.commit.renamed"),
        Just("files.commit.manifest")
    ];
    prop_oneof![
        4 => (1u8..40).prop_map(Step::Write),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::FlushAndCrash),
        2 => Just(Step::Crash),
        2 => place.clone().prop_map(Step::CrashInCommit),
        1 => place.prop_map(Step::CrashInCommitAndStartOver),
        1 => Just(Step::Abandon),
    ]
}

/// A run as the engine's checkpoint knows it.
struct Run {
    id: String,
    tokens: Vec<CommitToken>,
    /// Rows that are durable; the source is read from here.
    position: i64,
}

struct Life<'a> {
    place: &'a Place,
    options: Value,
    mode: WriteMode,
    stream: Box<dyn StreamSink>,
    writer: Box<dyn StreamWriter>,
    run: Run,
    /// Rows given to the writer.
    written: i64,
    epoch: u64,
    runs: i64,
    committed: Vec<RecordBatch>,
}

impl Life<'_> {
    fn rows(&self, ids: std::ops::Range<i64>) -> RecordBatch {
        // Every run brings rows of its own.
        batch(ids.map(|id| self.runs * 1000 + id))
    }

    async fn begin(&mut self) {
        self.runs += 1;
        self.run = Run { id: format!("run-{}", self.runs), tokens: vec![], position: 0 };
        self.resume().await;
    }

    /// What the engine does at the start of every attempt.
    async fn resume(&mut self) {
        self.stream = self.place.prepare(self.options.clone(), target(&self.run.id, self.mode)).await.unwrap();
        if self.stream.recover().await.unwrap().committed.is_some() {
            self.settle();
            Box::pin(self.begin()).await;
            return;
        }
        self.stream.discard(&self.run.tokens).await.unwrap();
        self.writer = self.stream.writer(0).await.unwrap();
        self.written = self.run.position;
    }

    fn settle(&mut self) {
        if self.mode == WriteMode::Overwrite {
            self.committed.clear();
        }
        self.committed.push(self.rows(0..self.run.position));
    }

    async fn flush(&mut self) -> CommitToken {
        self.epoch += 1;
        write(self.writer.as_mut(), &[], self.epoch).await.unwrap()
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Write(count) => {
                let next = self.written + i64::from(*count);
                let rows = self.rows(self.written..next);
                self.writer.write(rows).await.unwrap();
                self.written = next;
            }
            Step::Checkpoint => {
                let token = self.flush().await;
                self.run.tokens.push(token);
                self.run.position = self.written;
            }
            Step::FlushAndCrash => {
                self.flush().await;
                self.resume().await;
            }
            Step::Crash => self.resume().await,
            Step::CrashInCommit(place) | Step::CrashInCommitAndStartOver(place) => {
                fail::cfg(*place, "return").unwrap();
                let error = self.stream.commit(&self.run.tokens).await.unwrap_err();
                assert_eq!(error.code(), "WEIR-TEST-001", "{error:?}");
                fail::remove(*place);
                if matches!(step, Step::CrashInCommitAndStartOver(_)) {
                    let report = self.place.prepare(self.options.clone(), target(&self.run.id, self.mode)).await.unwrap();
                    if report.recover().await.unwrap().committed.is_none() {
                        (self.run.tokens, self.run.position) = (vec![], 0);
                    }
                }
                self.resume().await;
            }
            Step::Abandon => self.begin().await,
        }
    }

    async fn finish(&mut self) {
        self.step(&Step::Checkpoint).await;
        let report = self.stream.commit(&self.run.tokens).await.unwrap();
        assert_eq!(report.rows, self.run.position as u64);
        self.settle();
    }

    async fn check(&self) {
        let expected = sorted(&self.committed);
        let seen = match self.place.rows(json!({"path": "lake"})).await {
            Ok(rows) => rows,
            Err(error) if error.code() == "WEIR-FILE-080" => vec![],
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(seen, expected);
    }
}

async fn live(place: Place, mode: WriteMode, steps: Vec<Step>) {
    let options = json!({"path": "lake", "partition_by": ["day"], "target_file_size": "1kB"});
    let stream = place.prepare(options.clone(), target("none", mode)).await.unwrap();
    let writer = stream.writer(0).await.unwrap();
    let run = Run { id: String::new(), tokens: vec![], position: 0 };
    let mut life = Life { place: &place, options, mode, stream, writer, run, written: 0, epoch: 0, runs: 0, committed: vec![] };
    life.begin().await;
    for step in &steps {
        life.step(step).await;
        // A reader in the middle of it all.
        life.check().await;
    }
    life.finish().await;
    life.check().await;
    // Whoever reads by glob sees the same files as who honours the manifest, and nothing is left behind.
    let manifest: Value = match &place.bucket {
        Some(bucket) => serde_json::from_slice(&bucket.get("lake/_weir/manifest.json").unwrap()).unwrap(),
        None => serde_json::from_slice(&place.read_file("lake/_weir/manifest.json")).unwrap(),
    };
    let listed: Vec<String> =
        manifest["files"].as_array().unwrap().iter().map(|file| format!("lake/{}", file["path"].as_str().unwrap())).collect();
    assert_eq!(place.visible().into_keys().collect::<Vec<_>>(), listed);
    let left: Vec<String> =
        place.everything().into_keys().filter(|path| path.contains("staging/test.sink.orders/run-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn run(place: Place, mode: WriteMode, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(live(place, mode, steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_committed_row_is_there_exactly_once_after_any_crashes_locally(steps in prop::collection::vec(step(), 1..14)) {
        run(Place::local(), WriteMode::Append, steps);
    }

    #[test]
    fn overwriting_survives_any_crashes_locally(steps in prop::collection::vec(step(), 1..14)) {
        run(Place::local(), WriteMode::Overwrite, steps);
    }

    #[test]
    fn upserting_survives_any_crashes_locally(steps in prop::collection::vec(step(), 1..10)) {
        run(Place::local(), WriteMode::Upsert, steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_committed_row_is_there_exactly_once_after_any_crashes_on_s3(steps in prop::collection::vec(step(), 1..10)) {
        run(Place::s3(), WriteMode::Append, steps);
    }

    #[test]
    fn overwriting_survives_any_crashes_on_s3(steps in prop::collection::vec(step(), 1..10)) {
        run(Place::s3(), WriteMode::Overwrite, steps);
    }

    #[test]
    fn upserting_survives_any_crashes_on_s3(steps in prop::collection::vec(step(), 1..8)) {
        run(Place::s3(), WriteMode::Upsert, steps);
    }
}
