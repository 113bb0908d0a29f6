//! The platform as a whole: a real database, real worker pools, and the real `weir` program for every run.
//!
//! * [`stage`]: a platform in a folder of its own; [`running`]: the whole path of a run; [`stopping`]: cancel, drain, limits;
//! * [`order`]: `weir execute` by itself; [`crash`]: kills at random moments;
//! * [`bucket`]: tenants' files in a bucket;
//! * [`drifted`]: a source whose columns changed since the run before, and the alert about it;
//! * `lag`: a stream that cannot keep up, and its alert;
//! * [`tracing`]: spans at a real collector;
//! * [`templates`]: each passes `weir check`, those of files run.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod bucket;
mod canary;
mod crash;
mod drifted;
#[cfg(feature = "kafka")]
mod lag;
mod object_store;
mod order;
mod running;
mod stage;
mod stopping;
mod templates;
mod tracing;
