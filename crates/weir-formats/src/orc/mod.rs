//! ORC: [`read`] by stripes through the `orc-rust` crate, after [`tail`] has looked at what that crate takes on trust; [`write`]
//! by the v1 specification, with all types that ORC has except unions.

mod read;
mod tail;
mod write;

pub(crate) use read::{infer, plan_splits, read};
pub(crate) use write::{encoder, stored_type};

/// User metadata of the files written here: the timestamp columns that have another unit than ORC's nanoseconds, `3=us,7=s` by
/// column id. Without it a file would come back in another type than it was written in.
const UNITS_KEY: &str = "weir.timestamp_units";
