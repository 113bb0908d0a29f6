//! The narrow waist: a spec becomes a checked plan. Engine and runners translate only what is here.
//!
//! * [`model`]: what a plan is; the contract with the engine.
//! * [`planner`]: how one is made; [`vocabulary`]: the words that a pipeline file may use.
//! * `transforms`: what users write; each lowers to queries and checked casts (`chain`), whose columns are traced back to
//!   the sources (`lineage`) and which run batch by batch or in DataFusion (`program`).
//! * [`keyed`]: programs that keep state over event time (`mode: streaming`).
//! * [`changes`]: what `mode: cdc` needs beyond that: columns about changes, and programs for other shapes.
//! * [`gates`]: where a run counts what passes; [`results`]: what rules counted, as rows.
//! * `loss`, `guarantee`: the two proofs. [`describe`]: the plan for people and machines.
//!
//! Nothing here reads or writes rows of a real system.
#![deny(missing_docs)]

mod chain;
pub mod changes;
mod check;
mod checked;
mod checked_sum;
mod clock;
mod convert;
pub mod describe;
mod flow;
pub mod gates;
mod guarantee;
pub mod keyed;
mod letters;
mod lineage;
mod loss;
pub mod model;
pub mod options;
pub mod personal;
pub mod planner;
mod problem;
mod program;
pub mod results;
mod sample;
mod shape;
pub mod sql;
pub mod streaming;
mod transforms;
mod types;
mod vocabulary;

pub use changes::{ColumnWay, MetadataColumn, OutputWay, Replan, Replanned};
pub use gates::{Gate, Known, Passed, value_bytes};
pub use model::*;
pub use options::{ResolveReferences, Unresolved};
pub use planner::{PlanFailure, Planner};
pub use problem::{code, place, place_of_key};
pub use program::checked_table::Aside;
pub use program::correct::{WrongColumn, correct_record};
pub use program::prepared::prepared;
pub use program::record::{decode_record, encode as encode_record};
pub use types::{TypeWord, show as show_type, show_field};
pub use vocabulary::{Words, vocabulary};
