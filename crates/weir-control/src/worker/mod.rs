//! Executing runs, each in a process of its own (`weir execute`), so that a bad job never harms the server.
//!
//! * [`Pool`]: claims runs while there are free slots; `supervisor`: one attempt of one run; `keeper`: its lease; `record`: its progress;
//! * [`Errands`]: connection tests, discoveries and previews, in processes like that of a run;
//! * [`outfit`]: from a claimed run to its order, with secrets opened; [`order`]: the order itself, [`letters`]: what it asks about dead letters; [`Launcher`]: starts children;
//! * [`lines`], [`said`], [`scrub`]: what a child says, bounded, clean and without secrets; [`meter`], [`limits`]: what it uses, and may use;
//! * [`Cluster`]: where runs go that are no processes of this machine;
//! * [`Checkpoints`]: where machines share a database, children ask their worker for their checkpoints;
//! * [`Signals`]: wakes the workers of this process; [`Observer`]: is told of runs.
//!
//! What is not here: what an ending means for the run ([`crate::runs::lifecycle`]), the work itself (the binary's `weir execute`).

mod away;
mod checkpoints;
mod errand;
mod keeper;
mod launch;
pub mod letters;
pub mod limits;
pub mod lines;
pub mod meter;
mod observer;
pub mod order;
pub mod outfit;
mod pool;
mod record;
pub mod said;
pub mod scrub;
mod signals;
mod supervisor;

pub use away::{Away, Cluster, Going, News};
pub use checkpoints::{Checkpoints, CheckpointsOfJob};
pub use errand::Errands;
pub use launch::Launcher;
pub use meter::Resources;
pub use observer::{Column, Mark, Observer, Schemas, StreamSchema};
pub use pool::Pool;
pub use signals::Signals;
