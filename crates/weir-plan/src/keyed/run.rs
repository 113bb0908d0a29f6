//! Operators and what runs row by row between them, running: rows go from stage to stage until an operator keeps them or an output gives
//! them.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use weir_connect::Result;
use weir_error::Error;

use super::{Emitted, EventTime, KeyedProgram, Operators, StateChange, Stored};
use crate::gates;
use crate::model::{RowProgram, add_rules};

/// What an operator gave.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) batches: Vec<RecordBatch>,
    /// How many rows that came do not go on as they are.
    pub(super) absorbed: u64,
    /// How many rows came too late.
    pub(super) late: u64,
    /// These rows, with the port by which they came, if somebody reads them.
    pub(super) late_rows: Vec<(usize, RecordBatch)>,
}

/// One operator with its state.
pub(super) trait Keeper: Send {
    /// Rows that came by a port: a join has two, the left and the right; everything else one.
    fn rows(&mut self, port: usize, batch: &RecordBatch, stored: &dyn Stored, given: &mut Given) -> Result<()>;
    fn watermark(&mut self, time: i64, stored: &dyn Stored, given: &mut Given) -> Result<()>;
    fn changes(&mut self, into: &mut Vec<StateChange>) -> Result<()>;
    fn restore(&mut self, stored: &dyn Stored) -> Result<()>;
    fn bytes(&self) -> usize;
    fn spill(&mut self, target: usize) -> Result<()>;
}

/// Makes an operator under its number.
pub(super) trait Rule: Send + Sync {
    fn make(self: Arc<Self>, number: u8) -> Result<Box<dyn Keeper>>;
    /// What it keeps and until when.
    fn told(&self) -> String;
    /// Everything that its state depends on.
    fn fingerprint(&self) -> String;
}

/// What happens to rows that come to a stage.
pub(super) enum Stage {
    /// They come from outside, or from the operator or stage before: nothing.
    Pass,
    /// Row by row.
    Rows(Arc<dyn RowProgram>),
    /// They get the names of this schema.
    Named(SchemaRef),
    /// They go into the operator by this port; what it gives goes on from its own stage.
    Operator(u8, usize),
}

/// A flow with state.
pub(super) struct KeyedFlow {
    /// Each after those that it reads.
    pub(super) stages: Vec<Stage>,
    /// Stages that read from each.
    pub(super) readers: Vec<Vec<usize>>,
    /// Outputs of the flow that are fed by each.
    pub(super) outputs: Vec<Vec<usize>>,
    /// Per operator and port: the stage from which late rows go on, if anybody reads them.
    pub(super) late: Vec<[Option<usize>; 2]>,
    /// Per operator: its stage.
    pub(super) places: Vec<usize>,
    /// Per operator: how far the times of its rows may be behind the watermark of the flow, because operators before it hold rows back.
    /// Microseconds.
    pub(super) delays: Vec<i64>,
    /// Per stage: the gates of the flow that its rows pass, and the one at which what it sets aside counts.
    pub(super) gates: Vec<(Vec<usize>, Option<usize>)>,
    pub(super) rules: Vec<Arc<dyn Rule>>,
    pub(super) inputs: Vec<Prepared>,
    pub(super) fingerprint: String,
}

/// An input as the operators get it.
pub(super) struct Prepared {
    pub(super) program: Arc<dyn RowProgram>,
    pub(super) schema: SchemaRef,
    pub(super) time: Option<EventTime>,
    /// The stage from which its rows go on.
    pub(super) stage: usize,
}

impl KeyedFlow {
    /// The outputs that a stage leads to.
    fn leads_to(&self, stage: usize) -> Vec<usize> {
        let mut found = self.outputs[stage].clone();
        for reader in &self.readers[stage] {
            found.extend(self.leads_to(*reader));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// A keyed program as the plan hands it out.
pub(super) struct Program(pub(super) Arc<KeyedFlow>);

impl KeyedProgram for Program {
    fn prepare(&self, input: usize) -> (Arc<dyn RowProgram>, SchemaRef) {
        let prepared = &self.0.inputs[input];
        (prepared.program.clone(), prepared.schema.clone())
    }
    fn event_time(&self, input: usize) -> Option<EventTime> {
        self.0.inputs.get(input)?.time.clone()
    }
    fn operators(&self) -> Result<Box<dyn Operators>> {
        let keepers = self.0.rules.iter().zip(0u8..).map(|(rule, number)| rule.clone().make(number));
        let keepers = keepers.collect::<Result<_>>()?;
        Ok(Box::new(Running { flow: self.0.clone(), keepers }))
    }
    fn fingerprint(&self) -> String {
        self.0.fingerprint.clone()
    }
    fn gate_of_untimed(&self, input: usize) -> Option<usize> {
        self.0.gates[self.0.inputs.get(input)?.stage].1
    }
    fn reason(&self) -> String {
        self.0.rules.iter().map(|rule| rule.told()).collect::<Vec<_>>().join("; ")
    }
}

struct Running {
    flow: Arc<KeyedFlow>,
    keepers: Vec<Box<dyn Keeper>>,
}

impl Running {
    /// Rows that a stage has: to its outputs and its readers.
    fn on(&mut self, stage: usize, batch: &RecordBatch, stored: &dyn Stored, out: &mut Emitted) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let flow = self.flow.clone();
        gates::count(&mut out.passed, &flow.gates[stage].0, batch);
        out.batches.extend(flow.outputs[stage].iter().map(|output| (*output, batch.clone())));
        for &reader in &flow.readers[stage] {
            match &flow.stages[reader] {
                Stage::Pass => self.on(reader, batch, stored, out)?,
                Stage::Named(schema) => {
                    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                    let named = RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options);
                    let named = named.map_err(|error| Error::internal("inputs of a union differ").caused_by(error))?;
                    self.on(reader, &named, stored, out)?;
                }
                Stage::Rows(program) => {
                    let mut made = program.apply(batch)?;
                    let Some(made) = made.pop() else { continue };
                    out.absorbed += made.filtered;
                    add_rules(&mut out.rules, &made.rules);
                    gates::count_dead(&mut out.passed, flow.gates[reader].1, made.dead.len());
                    if !made.dead.is_empty() {
                        for output in flow.leads_to(reader) {
                            out.dead.extend(made.dead.iter().map(|letter| (output, letter.clone())));
                        }
                    }
                    self.on(reader, &made.batch, stored, out)?;
                }
                Stage::Operator(number, port) => {
                    let mut given = Given::default();
                    self.keepers[usize::from(*number)].rows(*port, batch, stored, &mut given)?;
                    self.given(*number, given, stored, out)?;
                }
            }
        }
        Ok(())
    }

    fn given(&mut self, number: u8, given: Given, stored: &dyn Stored, out: &mut Emitted) -> Result<()> {
        out.late += given.late;
        out.absorbed += given.absorbed;
        let number = usize::from(number);
        for (port, batch) in &given.late_rows {
            if let Some(stage) = self.flow.late[number][*port] {
                self.on(stage, batch, stored, out)?;
            }
        }
        let stage = self.flow.places[number];
        for batch in &given.batches {
            self.on(stage, batch, stored, out)?;
        }
        Ok(())
    }
}

impl Operators for Running {
    fn rows(&mut self, input: usize, batch: &RecordBatch, stored: &dyn Stored, out: &mut Emitted) -> Result<()> {
        let stage = self.flow.inputs[input].stage;
        self.on(stage, batch, stored, out)
    }

    fn watermark(&mut self, time: i64, stored: &dyn Stored, out: &mut Emitted) -> Result<()> {
        // Operators are numbered in the order of the flow: what one gives out at this time still comes in time to those after it.
        for number in 0..self.keepers.len() {
            let mut given = Given::default();
            // The end of time is the end for all.
            let here = if time == i64::MAX { time } else { time.saturating_sub(self.flow.delays[number]) };
            self.keepers[number].watermark(here, stored, &mut given)?;
            self.given(number as u8, given, stored, out)?;
        }
        Ok(())
    }

    fn changes(&mut self) -> Result<Vec<StateChange>> {
        let mut changes = Vec::new();
        self.keepers.iter_mut().try_for_each(|keeper| keeper.changes(&mut changes))?;
        Ok(changes)
    }

    fn restore(&mut self, stored: &dyn Stored) -> Result<()> {
        self.keepers.iter_mut().try_for_each(|keeper| keeper.restore(stored))
    }

    fn bytes(&self) -> usize {
        self.keepers.iter().map(|keeper| keeper.bytes()).sum()
    }

    fn spill(&mut self, target_bytes: usize) -> Result<()> {
        // Each gives as much of what it has as is asked of all.
        let all = self.bytes().max(1) as u128;
        for keeper in &mut self.keepers {
            let share = keeper.bytes() as u128 * target_bytes as u128 / all;
            keeper.spill(share as usize)?;
        }
        Ok(())
    }
}
