//! `weir verify` with the real program between real databases: damage of many kinds is found and mended, exactly; a pipeline that runs is not accused.
//!
//! * [`scene`]: two databases, a pipeline between them, and the program; [`damage`]: of a pipeline that stands still; [`live`]: of one that runs;
//!   [`pairs`]: databases of other families; [`files`]: files as sinks.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod damage;
mod files;
mod live;
mod pairs;
mod scene;
