//! Parquet: [`read`] by row groups, [`write`] with encodings chosen from the first rows.

mod read;
mod write;

pub(crate) use read::{Account, infer, plan_splits, read, rows_per_batch};
pub(crate) use write::encoder;
