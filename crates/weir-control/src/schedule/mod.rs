//! Schedules: when they fire ([`next_fires`]), what they say in words ([`words`]), and the loop that fires them ([`run`]).
//!
//! What a fire becomes (a run in the queue) is the store's; who executes it is the worker's.

mod cron;
mod decide;
mod fires;
mod scheduler;
#[cfg(test)]
mod tests;
mod words;

pub use cron::Cron;
pub use fires::{Timetable, next_fires};
pub use scheduler::{Scheduler, run};
pub use words::words;
