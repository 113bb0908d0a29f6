//! Programs that keep state over event time (`docs/adr/0009`): what the engine calls, and what calls it expects to be answered.
//!
//! One task owns [`Operators`]: nothing here runs concurrently. The engine feeds rows and watermarks in any order of the inputs, asks for
//! the changes of the state at every epoch, and makes positions, changes and sinks durable as one moment. After a crash it makes new
//! operators, gives them the state of the last durable epoch, and reads on from its positions: the same rows then give the same results.
//!
//! * `translate`: from the operations of a flow to operators and what runs row by row between them; `run`: these, running.
//! * `spans`: what in a plan is event time and a window of it; `bounds`: how far the times of two sides are apart.
//! * `windows` (tumble, hop, cumulate), `sessions`, `dedupe`, `intervals` and `versions` (the joins), `ranks`: the operators; each says what
//!   it writes into the state.
//! * `groups`: keys as numbers; `totals`: aggregates over them; `shelves`: rows that are kept, by their time; `state`: all of it as bytes.
//!
//! What is not here: where state is kept, watermarks of splits (`weir-engine`), and how rows are made before the first operator
//! ([`RowProgram`]).

mod bounds;
mod dedupe;
mod groups;
mod intervals;
mod ranks;
mod run;
mod sessions;
mod shelves;
mod spans;
mod state;
mod totals;
mod translate;
mod versions;
mod windows;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use weir_connect::{DeadLetter, Result};

pub(crate) use dedupe::Keep;
pub(crate) use translate::{DedupeRule, TimeMark, translate};

use crate::gates::Passed;
use crate::model::{RowProgram, RuleCount};

/// Event time of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTime {
    /// Index of the column in the batches that [`KeyedProgram::prepare`] leaves: a timestamp, with or without zone, of any unit.
    pub column: usize,
    /// Index of the column in the second output of that program: rows where their time is said. One that is filtered out after that has had
    /// its say in what time it is.
    pub said: usize,
    /// How much older than the newest row of its split a row may be without being late. Microseconds.
    pub max_lateness: i64,
    /// A split that gives nothing for so long does not hold the watermark back. Microseconds; `None`: it always does.
    pub idle_after: Option<i64>,
}

/// A program with state.
pub trait KeyedProgram: Send + Sync {
    /// What is done to each batch of an input before it comes to the operators, and the schema then. It runs beside them, on other cores, and counts at
    /// the gates before its end; those at its end are the operators'.
    /// The second output is the batch where its time is said ([`EventTime::said`]).
    fn prepare(&self, input: usize) -> (Arc<dyn RowProgram>, SchemaRef);
    /// Where an input has its time; `None`: no operator asks for it, and it does not hold the watermark back.
    fn event_time(&self, input: usize) -> Option<EventTime>;
    /// Operators without state.
    fn operators(&self) -> Result<Box<dyn Operators>>;
    /// Tells apart programs that cannot read each other's state.
    fn fingerprint(&self) -> String;
    /// The gate at which rows of an input count that have no time.
    fn gate_of_untimed(&self, _input: usize) -> Option<usize> {
        None
    }
    /// What is kept and until when, for `weir plan`: `per_hour keeps a sum per country and window until 5s after its end`.
    fn reason(&self) -> String;
}

/// What operators gave.
#[derive(Debug, Default)]
pub struct Emitted {
    /// Output of the flow, batch in its schema; in the order in which they are to be written.
    pub batches: Vec<(usize, RecordBatch)>,
    /// Rows that could not be processed, with the output that lacks them.
    pub dead: Vec<(usize, DeadLetter)>,
    /// Rows that went into the state or were taken out, and will not come out as they are.
    pub absorbed: u64,
    /// Rows that came behind the watermark; they are among `batches` if an output asked for them.
    pub late: u64,
    /// What rules counted.
    pub rules: Vec<RuleCount>,
    /// What has passed the gates of the flow; empty if nobody counts.
    pub passed: Vec<Passed>,
}

/// One piece of state. Keys begin with the number of their operator (one byte) and are ordered as their bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateChange {
    /// This is the value now.
    Put(Vec<u8>, Bytes),
    /// It is gone.
    Remove(Vec<u8>),
    /// Everything whose key begins so is gone.
    RemovePrefix(Vec<u8>),
}

/// The state as of the last durable epoch; what operators dropped from memory is read here.
pub trait Stored: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;
    /// Everything whose key begins so, in the order of the keys.
    fn scan(&self, prefix: &[u8]) -> Box<dyn Iterator<Item = Result<(Vec<u8>, Bytes)>> + '_>;
}

/// Operators and their state.
pub trait Operators: Send {
    /// Takes rows of an input, in its prepared schema.
    ///
    /// # Errors
    /// What ends the run: a sum that overflows, a row without a time.
    fn rows(&mut self, input: usize, batch: &RecordBatch, stored: &dyn Stored, out: &mut Emitted) -> Result<()>;
    /// No row older than this (microseconds since 1970, UTC) is expected any more. It never goes back.
    fn watermark(&mut self, time: i64, stored: &dyn Stored, out: &mut Emitted) -> Result<()>;
    /// What changed since this was last asked: applied in this order to the state of then, it gives the state of now.
    fn changes(&mut self) -> Result<Vec<StateChange>>;
    /// Takes the state over, once, before anything else.
    ///
    /// # Errors
    /// State that these operators did not write.
    fn restore(&mut self, stored: &dyn Stored) -> Result<()>;
    /// About how much memory the state takes.
    fn bytes(&self) -> usize;
    /// Drops from memory what is in the store already, down to about so many bytes; called right after an epoch became durable.
    fn spill(&mut self, target_bytes: usize) -> Result<()>;
}
