//! What runs: a row-local program for the lanes, or a relational one for DataFusion.

pub(crate) mod cast;
pub(crate) mod check;
pub(crate) mod checked_table;
pub(crate) mod correct;
pub(crate) mod discard;
pub(crate) mod expectation;
pub(crate) mod json;
pub(crate) mod path;
pub(crate) mod prepared;
pub(crate) mod record;
pub(crate) mod relational;
pub(crate) mod require;
pub(crate) mod row;
