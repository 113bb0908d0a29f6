//! The narrow waist: a spec becomes a checked plan. Engine and runners translate only what is in [`model`].
//!
//! * [`planner`]: asks the systems, builds flows, proves the types, computes the guarantee.
//! * [`check`]: what can be said without reaching any system.
//! * [`transforms`]: one file per verb; each lowers to one core operator.
//! * `flows`, `row_local`, `relational`, [`cast_rows`]: operators as programs.
//! * [`lineage`]: column lineage as data. [`describe`]: the plan for people and machines.
#![deny(missing_docs)]

pub mod cast_rows;
pub mod check;
pub mod describe;
mod flows;
pub mod lineage;
pub mod model;
pub mod options;
pub mod planner;
mod problems;
mod relational;
mod row_local;
pub mod sql;
pub mod transforms;
pub mod types;
mod words;

pub use model::*;
pub use options::{ResolveReferences, Unresolved};
pub use planner::Planner;
pub use problems::PlanFailure;
pub use words::vocabulary;
