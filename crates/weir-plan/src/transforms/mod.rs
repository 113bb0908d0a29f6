//! The transforms, one file each, and the list of them. A transform parses its options and lowers to one core operator
//! ([`Op`]); engines and lineage know operators only.

mod cast;
mod dedupe;
mod field_mapper;
mod filter;
mod mask;
mod sql;

pub(crate) use field_mapper::missing;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_connect::{Error, Kind, Result};

pub use cast::{CastOptions, OnCastError};
pub use dedupe::{DedupeOptions, Keep};
pub use field_mapper::FieldMapperOptions;
pub use mask::{MaskOptions, Masking};

/// The core operators.
#[derive(Debug, Clone)]
pub enum Op {
    /// Keeps rows for which the SQL predicate is true; NULL is not true.
    Filter(String),
    /// Renames, drops, orders, converts and adds columns.
    Map(FieldMapperOptions),
    /// Converts columns, row by row accountable.
    Cast(CastOptions),
    /// Hides values.
    Mask(MaskOptions),
    /// Keeps one row per key.
    Dedupe(DedupeOptions),
    /// A query over the named inputs.
    Sql(String),
}

/// One verb of the spec.
pub struct Transform {
    /// Its name.
    pub name: &'static str,
    /// The option that a bare string means.
    pub bare: Option<&'static str>,
    /// JSON Schema of the options.
    pub schema: fn() -> Value,
    /// Options → operator.
    pub lower: fn(&Value) -> Result<Op>,
}

/// All of them; a new one is a line here.
pub const ALL: &[Transform] =
    &[filter::TRANSFORM, field_mapper::TRANSFORM, cast::TRANSFORM, dedupe::TRANSFORM, mask::TRANSFORM, sql::TRANSFORM];

/// The transform of that name.
pub fn find(name: &str) -> Option<&'static Transform> {
    ALL.iter().find(|transform| transform.name == name)
}

/// Options as their struct; the message names the transform.
fn options<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T> {
    T::deserialize(value)
        .map_err(|error| Error::new("WEIR-PLAN-021", Kind::Spec, format!("the options of `{name}` do not fit")).because(error))
}

fn schema_of<T: schemars::JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}
