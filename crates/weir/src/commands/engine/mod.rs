//! Pipelines on other engines: `weir run --engine X`, and `weir diff`, which holds several engines to the same rows.
//!
//! * [`run`]: compile, hand over, follow, report; * `compiled`: the artefact and the values of its variables; * `place`: where the engine is;
//! * [`early`]: what can be said against it without connecting;
//! * `told`: what is said on the way; * `report`: the result in the run's own words; * [`diff`]: the same rows?
//!
//! What an engine can express, and how it is asked, is in `weir_runners`.

mod compiled;
pub mod diff;
pub mod early;
mod place;
mod report;
pub mod run;
mod told;

pub use compiled::asks;
