//! One stream against one sink: sums of chunks, rows of the chunks that differ, suspicions to be settled, and rows to be mended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use weir_connect::verify::{Comparison, Key, Line, Sums, VerifySink, VerifySource, VerifyView};
use weir_connect::{Error, Kind, Result};

use super::VerifyOptions;
use super::progress::Progress;
use super::report::{Difference, DifferenceKind, StreamVerdict};
use super::settle::{Verdict, settle};

/// Rows that a chunk should have: about as many are compared one by one for each that differs.
const CHUNK_ROWS: u64 = 256;
const MOST_BITS: u8 = 16;
/// Suspicions that are kept at once.
const SUSPECTS: usize = 2_000;
const SUSPECTS_OF_A_SCAN: usize = 20_000;
/// Keys that are mended in one transaction: the pipeline's writer waits for so long.
const MEND: usize = 500;
/// How often it is tried where the pipeline may be faster.
const TRIES: u32 = 8;

/// A stream's two sides.
pub struct Pair {
    pub source: Arc<dyn VerifySource>,
    pub sink: Arc<dyn VerifySink>,
    pub comparison: Arc<Comparison>,
    pub progress: Progress,
    /// The sink may keep rows that the source does not have.
    pub keeps: bool,
}

/// What one comparison did besides judging.
#[derive(Default)]
pub struct Mended {
    /// Keys whose rows were sent again or deleted.
    pub keys: u64,
}

fn bits(rows: u64) -> u8 {
    let chunks = (rows / CHUNK_ROWS).max(1).next_power_of_two();
    u8::try_from(chunks.trailing_zeros()).unwrap_or(MOST_BITS).clamp(4, MOST_BITS)
}

impl Pair {
    /// Compares; with `mend`, makes what is proven to differ equal at once.
    pub async fn compare(&mut self, options: &VerifyOptions, mend: bool, verdict: &mut StreamVerdict) -> Result<Mended> {
        let workers = options.parallelism;
        (self.progress.waited, self.progress.stuck) = (Duration::ZERO, false);
        // The source first: what is missing at the sink then is rather behind than lost, and the other way round it would look extra.
        let mut here = self.source.view(&self.comparison, workers).await?;
        let mut there = self.sink.view(&self.comparison, workers).await?;
        let rows = self.source.estimated_rows().unwrap_or(0).max(self.sink.estimated_rows().unwrap_or(0));
        let bits = bits(rows);
        let (source, sink) = futures::future::try_join(here.sums(bits), there.sums(bits)).await?;
        let total = |sums: &BTreeMap<u32, Sums>| sums.values().map(|sums| sums.rows).sum::<u64>();
        (verdict.rows_source, verdict.rows_sink) = (total(&source), total(&sink));
        let mut chunks: Vec<u32> = source.keys().chain(sink.keys()).copied().collect();
        chunks.sort_unstable();
        chunks.dedup();
        verdict.chunks = chunks.len() as u64;
        chunks.retain(|chunk| source.get(chunk) != sink.get(chunk));
        verdict.chunks_suspected = chunks.len() as u64;
        let mut mended = Mended::default();
        if chunks.is_empty() {
            return Ok(mended);
        }
        futures::future::try_join(here.open(bits, &chunks), there.open(bits, &chunks)).await?;
        let (mut here, mut there) = (Lines::new(here), Lines::new(there));
        // A table that must be read whole for each question is asked seldom.
        let most = SUSPECTS.max(self.source.together().max(self.sink.together()).min(SUSPECTS_OF_A_SCAN));
        let mut suspects: Vec<Key> = Vec::new();
        loop {
            options.stopped()?;
            let (one, two) = futures::future::try_join(here.group(), there.group()).await?;
            let (one, two) = match (one, two) {
                (None, None) => break,
                // The same key on both sides, or the smaller one alone.
                (Some(one), Some(two)) if one[0].key.digest == two[0].key.digest => (one, two),
                (Some(one), Some(two)) if one[0].key.digest < two[0].key.digest => {
                    there.back(two);
                    (one, Vec::new())
                }
                (Some(one), Some(two)) => {
                    here.back(one);
                    (Vec::new(), two)
                }
                (one, two) => (one.unwrap_or_default(), two.unwrap_or_default()),
            };
            let same = one.len() == two.len() && one.iter().zip(&two).all(|(one, two)| one.row == two.row);
            if let Some(line) = one.into_iter().chain(two).next().filter(|_| !same) {
                suspects.push(line.key);
            }
            if suspects.len() >= most {
                self.judge(std::mem::take(&mut suspects), options, mend, verdict, &mut mended).await?;
            }
        }
        self.judge(suspects, options, mend, verdict, &mut mended).await?;
        Ok(mended)
    }

    async fn judge(
        &mut self,
        suspects: Vec<Key>,
        options: &VerifyOptions,
        mend: bool,
        verdict: &mut StreamVerdict,
        mended: &mut Mended,
    ) -> Result<()> {
        let Self { source, sink, comparison, progress, keeps } = self;
        let judged = settle(comparison, source.as_ref(), sink.as_ref(), progress, options.rounds, &suspects).await?;
        let mut wrong = Vec::new();
        for (key, judged) in suspects.into_iter().zip(judged) {
            match judged {
                Verdict::Equal => {}
                Verdict::InMotion => verdict.in_motion += 1,
                Verdict::Differs(DifferenceKind::Extra, _) if *keeps => verdict.kept += 1,
                Verdict::Differs(kind, columns) => {
                    verdict.differing_keys += 1;
                    if verdict.differing.len() < options.list {
                        verdict.differing.push(Difference { key: shown(comparison, &key), kind, columns });
                    }
                    wrong.push(key);
                }
            }
        }
        if !mend {
            return Ok(());
        }
        // A row without a key's value cannot be asked for.
        wrong.retain(|key| key.values.iter().all(Option::is_some));
        mended.keys += resend(comparison, source.as_ref(), sink.as_ref(), &progress.pipeline, &wrong, options).await?;
        Ok(())
    }
}

/// Makes the rows of these keys at the sink those of the source; how many they were.
pub(super) async fn resend(
    comparison: &Comparison,
    source: &dyn VerifySource,
    sink: &dyn VerifySink,
    pipeline: &str,
    wrong: &[Key],
    options: &VerifyOptions,
) -> Result<u64> {
    let at_once = MEND.max(source.together()).min(SUSPECTS_OF_A_SCAN);
    let (mut left, mut tries) = (wrong, 0);
    while !left.is_empty() {
        options.stopped()?;
        let mut mending = sink.hold(pipeline, comparison).await?;
        let mut given = 0;
        for part in left.chunks(at_once) {
            let (rows, there) = source.fetch(comparison, part).await?;
            let gone: Vec<Key> = part.iter().filter(|key| !there.contains(&key.digest)).cloned().collect();
            // First what is in the way of others.
            mending.delete(&gone).await?;
            mending.put(&rows).await?;
            given += part.len();
            if mending.full() {
                break;
            }
        }
        if mending.commit().await? {
            (left, tries) = (&left[given..], 0);
            continue;
        }
        tries += 1;
        if tries == TRIES {
            let what = format!("the pipeline wrote {TRIES} times while its rows were to be mended");
            return Err(Error::new("WEIR-VERIFY-002", Kind::Conflict, what)
                .at(sink.place())
                .because("nothing locks here, so rows are mended only if nobody has written since the source was asked")
                .hint("try again when there are fewer changes, let the sink flush less often (`roll_secs`), or stop the pipeline")
                .transient());
        }
    }
    Ok(wrong.len() as u64)
}

fn shown(comparison: &Comparison, key: &Key) -> BTreeMap<String, Option<String>> {
    if key.values.is_empty() {
        return BTreeMap::from([("hash".to_string(), Some(format!("{:032x}", key.digest)))]);
    }
    comparison.key_names().map(str::to_string).zip(key.values.iter().cloned()).collect()
}

/// A view's lines, key by key.
struct Lines {
    view: Box<dyn VerifyView>,
    ready: VecDeque<Line>,
    ended: bool,
    back: Option<Vec<Line>>,
}

impl Lines {
    fn new(view: Box<dyn VerifyView>) -> Self {
        Self { view, ready: VecDeque::new(), ended: false, back: None }
    }

    /// All rows of the next key, not empty; `None` at the end.
    async fn group(&mut self) -> Result<Option<Vec<Line>>> {
        if let Some(back) = self.back.take() {
            return Ok(Some(back));
        }
        let mut group: Vec<Line> = Vec::new();
        loop {
            while let Some(line) = self.ready.front() {
                if group.first().is_some_and(|first| first.key.digest != line.key.digest) {
                    return Ok(Some(group));
                }
                group.extend(self.ready.pop_front());
            }
            if self.ended {
                return Ok(if group.is_empty() { None } else { Some(group) });
            }
            let more = self.view.next().await?;
            self.ended = more.is_empty();
            self.ready.extend(more);
        }
    }

    /// The other side was behind: this group is for later.
    fn back(&mut self, group: Vec<Line>) {
        self.back = Some(group);
    }
}
