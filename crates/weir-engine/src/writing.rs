//! The writing half of a lane: rows through the program into the writers, and epochs.
//!
//! The lane owns its writers, so a flush needs no coordination with other lanes; a barrier is the lane's own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow::array::RecordBatch;
use serde_json::Value;
use weir_connect::{Barrier, DeadLetter, SplitProgress, StreamWriter};
use weir_error::{Error, Result};
use weir_plan::keyed::Emitted;
use weir_plan::{Passed, RowProgram, RuleCount, add_rules};

use crate::cursor::CursorState;
use crate::flow::FlowShared;
use crate::gates;
use crate::state::StateMark;
use crate::store::{Counts, EpochBody, SetAside};

pub(crate) struct Writing {
    lane: usize,
    pub(crate) shared: Arc<FlowShared>,
    writers: Vec<Box<dyn StreamWriter>>,
    counts: Counts,
    /// What passed each gate since the last epoch.
    passed: Vec<Passed>,
    dead: Vec<SetAside>,
    letter_bytes: usize,
    /// Receipts of flushes since the last epoch, with their outputs.
    early: Vec<(usize, Value)>,
    /// Since when a sink that shows rows at once has rows that it was not told to show.
    hidden_since: Option<Instant>,
}

/// Rows on their way.
pub(crate) struct Rows<'a> {
    pub(crate) records: RecordBatch,
    /// Rows read for them.
    pub(crate) read: u64,
    /// Rows among these that the last run delivered: they are not in `records`.
    pub(crate) delivered: u64,
    pub(crate) source_bytes: u64,
    /// Outputs that lack them; `None`: all.
    pub(crate) active: Option<&'a [bool]>,
    /// Everything but the rows was recorded by an earlier attempt: count nothing.
    pub(crate) quiet: bool,
}

/// The end of an epoch.
pub(crate) struct Ending {
    /// Its number.
    pub(crate) number: u64,
    pub(crate) progress: Vec<SplitProgress>,
    pub(crate) cursor: Option<CursorState>,
    /// Of a flow that keeps state: the one that belongs to the progress; durable already.
    pub(crate) state: Option<StateMark>,
}

impl Writing {
    pub(crate) async fn open(lane: usize, shared: Arc<FlowShared>) -> Result<Self> {
        let mut writers = Vec::new();
        for target in &shared.targets {
            writers.push(target.sink.writer(lane).await?);
        }
        let counts = Counts { written: vec![0; writers.len()], ..Counts::default() };
        let passed = vec![Passed::default(); shared.gates.len()];
        let (dead, early) = (Vec::new(), Vec::new());
        Ok(Self { lane, shared, writers, counts, passed, dead, letter_bytes: 0, early, hidden_since: None })
    }

    pub(crate) fn outputs(&self) -> usize {
        self.writers.len()
    }

    /// See [`Self::hurry`].
    pub(crate) fn hidden_since(&self) -> Option<Instant> {
        self.hidden_since
    }

    /// Bytes of dead letters that wait for the epoch's end.
    pub(crate) fn letter_bytes(&self) -> usize {
        self.letter_bytes
    }

    fn set_aside(&mut self, letters: impl IntoIterator<Item = SetAside>) {
        for letter in letters {
            self.letter_bytes += letter.letter.payload.len() + 256;
            self.dead.push(letter);
        }
    }

    /// Rows, through a program whose outputs are the writers.
    pub(crate) async fn rows(&mut self, program: &dyn RowProgram, rows: Rows<'_>) -> Result<()> {
        let mut counts = Counts { read: rows.read, bytes_read: rows.source_bytes, ..Counts::default() };
        counts.filtered = rows.delivered * self.writers.len() as u64;
        counts.written = vec![0; self.writers.len()];
        let mut dead = Vec::new();
        let mut passed = vec![Passed::default(); if rows.quiet { 0 } else { self.passed.len() }];
        if program.is_identity() && self.writers.len() == 1 {
            program.count_unchanged(&rows.records, &mut passed);
            counts.written[0] = rows.records.num_rows() as u64;
            self.writers[0].write(rows.records).await?;
        } else {
            for (index, output) in program.apply_counting(&rows.records, &mut passed)?.into_iter().enumerate() {
                let count = output.batch.num_rows() as u64;
                counts.written[index] = count;
                counts.filtered += output.filtered;
                // Outputs that share a node share its counts.
                let new = output.rules.iter().filter(|rule| !counts.rules.iter().any(|known| same_rule(known, rule))).cloned();
                let new: Vec<RuleCount> = new.collect();
                counts.rules.extend(new);
                counts.dead += output.dead.len() as u64;
                let sink = Some(self.shared.sinks[index].clone());
                dead.extend(output.dead.into_iter().map(|letter| SetAside { sink: sink.clone(), letter }));
                if rows.active.is_none_or(|active| active[index]) && count > 0 {
                    self.writers[index].write(output.batch).await?;
                }
            }
        }
        self.wrote(&counts);
        if !rows.quiet {
            self.counts.add(&counts);
            self.went(&passed);
            self.set_aside(dead);
        }
        Ok(())
    }

    /// What operators gave, with what was counted, and set aside, on the way to them.
    pub(crate) async fn emitted(&mut self, out: Emitted, mut counts: Counts, mut dead: Vec<SetAside>) -> Result<()> {
        counts.written = vec![0; self.writers.len()];
        for (index, batch) in out.batches {
            let (Some(writer), Some(count)) = (self.writers.get_mut(index), counts.written.get_mut(index)) else {
                return Err(Error::internal("operators gave an output that there is not"));
            };
            if batch.num_rows() > 0 {
                *count += batch.num_rows() as u64;
                writer.write(batch).await?;
            }
        }
        for (index, letter) in out.dead {
            dead.push(SetAside { sink: self.shared.sinks.get(index).cloned(), letter });
        }
        counts.dead += dead.len() as u64;
        counts.filtered += out.absorbed;
        counts.late += out.late;
        add_rules(&mut counts.rules, &out.rules);
        self.wrote(&counts);
        self.counts.add(&counts);
        self.went(&out.passed);
        self.set_aside(dead);
        Ok(())
    }

    /// What passed the gates.
    fn went(&mut self, passed: &[Passed]) {
        self.passed.iter_mut().zip(passed).for_each(|(sum, more)| sum.add(more));
        self.shared.gauges.gates.add(passed);
    }

    fn wrote(&mut self, counts: &Counts) {
        let gauges = &self.shared.gauges;
        let hides = |(count, target): (&u64, &crate::flow::Target)| *count > 0 && target.at_once;
        if self.hidden_since.is_none() && counts.written.iter().zip(&self.shared.targets).any(hides) {
            self.hidden_since = Some(Instant::now());
        }
        gauges.written.fetch_add(counts.written.iter().sum(), Ordering::Relaxed);
        gauges.dead.fetch_add(counts.dead, Ordering::Relaxed);
        gauges.late.fetch_add(counts.late, Ordering::Relaxed);
    }

    /// A record that the source of this input could not read.
    pub(crate) fn dead(&mut self, letter: DeadLetter, input: usize) {
        self.counts.read += 1;
        self.counts.dead += 1;
        let one = Passed { dead: 1, ..Passed::default() };
        if let Some(sum) = self.passed.get_mut(input) {
            sum.add(&one);
        }
        self.shared.gauges.gates.add_at(input, &one);
        self.shared.gauges.read.fetch_add(1, Ordering::Relaxed);
        self.shared.gauges.dead.fetch_add(1, Ordering::Relaxed);
        self.set_aside([SetAside { sink: None, letter }]);
    }

    /// Lets sinks that show rows at once do so. The positions follow with the epoch: after a crash in between these rows come again.
    pub(crate) async fn hurry(&mut self) -> Result<()> {
        self.hidden_since = None;
        let shared = self.shared.clone();
        let barrier = Barrier { epoch: shared.next_epoch(), lane: self.lane, progress: Vec::new() };
        for (index, target) in shared.targets.iter().enumerate().filter(|(_, target)| target.at_once) {
            debug_assert!(!target.co_committed);
            let token = self.writers[index].flush(&barrier).await?.token;
            if !token.is_null() {
                self.early.push((index, token));
            }
        }
        Ok(())
    }

    /// Ends an epoch: staged sinks first (their receipts belong into the checkpoint), then the checkpoint, then the sinks that
    /// commit rows and positions together.
    pub(crate) async fn flush(&mut self, progress: Vec<SplitProgress>, cursor: Option<CursorState>) -> Result<()> {
        let number = self.shared.next_epoch();
        self.end(Ending { number, progress, cursor, state: None }).await
    }

    /// The same, of an epoch that has its number already.
    pub(crate) async fn end(&mut self, ending: Ending) -> Result<()> {
        self.hidden_since = None;
        let shared = self.shared.clone();
        let barrier = Barrier { epoch: ending.number, lane: self.lane, progress: ending.progress };
        let mut tokens = vec![Value::Null; self.writers.len()];
        for (index, target) in shared.targets.iter().enumerate() {
            if !target.co_committed {
                tokens[index] = self.writers[index].flush(&barrier).await?.token;
            }
        }
        let empty = Counts { written: vec![0; self.writers.len()], ..Counts::default() };
        self.counts.gates = gates::named(&shared.gates, &self.passed);
        self.passed.fill(Passed::default());
        let body = EpochBody {
            lane: self.lane,
            progress: barrier.progress.clone(),
            tokens,
            results: shared.context.results.of(&self.counts.rules),
            early: std::mem::take(&mut self.early),
            counts: std::mem::replace(&mut self.counts, empty),
            cursor: ending.cursor,
            state: ending.state,
            ..EpochBody::default()
        };
        let dead = std::mem::take(&mut self.dead);
        self.letter_bytes = 0;
        shared.prepare(barrier.epoch, &body, &dead).await?;
        for (index, target) in shared.targets.iter().enumerate() {
            if target.co_committed {
                self.writers[index].flush(&barrier).await?;
            }
        }
        shared.confirm(barrier.epoch, &body.counts).await
    }
}

fn same_rule(one: &RuleCount, other: &RuleCount) -> bool {
    one.node == other.node && one.rule == other.rule
}
