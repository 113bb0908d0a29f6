//! The transforms, one file each, and the list of them.
//!
//! A transform is an options struct and a way to append operations to a [`Chain`]. There are two operations: a query (a
//! logical plan over the inputs) and a checked cast. Whether the result runs row by row or needs the whole input is not
//! declared here: it is read off the plan.

mod aggregate;
pub(crate) mod as_of;
mod cast;
mod data_quality;
mod dedupe;
mod explode;
mod field_mapper;
mod filter;
mod flatten;
mod join;
mod join_time;
mod json_path;
pub(crate) mod keys;
mod lookup;
mod mask;
mod nlp;
mod part;
mod pivot;
mod schema_inference;
mod several;
mod split;
mod sql;
mod token;
mod unpivot;
mod values;
mod watermark;
mod window;
pub(crate) mod windowed;

pub(crate) use as_of::UNTIL;
pub(crate) use cast::{OnError, Policy};
pub(crate) use part::Part;
pub(crate) use window::{Assign, Shape, times};

use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_spec::TransformWords;
use weir_spec::model::Node;

use crate::chain::Chain;
use crate::problem::Problem;
use crate::results::RuleFacts;

/// The transform that looks at rows while the plan is made.
pub(crate) const SAMPLING: &str = "schema_inference";
/// At how many, if it does not say.
pub(crate) const SAMPLE_ROWS: u64 = 1_000;

/// The side output with what rules counted.
pub(crate) const RESULTS: &str = "results";

/// A transform with its options read.
pub(crate) trait Transform: Send + Sync {
    /// Whether it can take more than one input.
    fn takes_many(&self) -> bool {
        false
    }
    /// The names of its outputs, if it has several: `input: node.output` reads one of them.
    fn outputs(&self) -> Vec<String> {
        Vec::new()
    }
    /// The names of outputs that it has beside its own: `input: node.output` reads one of them, `input: node` what the node is for.
    fn side_outputs(&self) -> Vec<String> {
        Vec::new()
    }
    /// The rules that it holds against rows; a node with some has the side output [`RESULTS`].
    fn rules(&self, _node: &str) -> Vec<RuleFacts> {
        Vec::new()
    }
    /// What can be said without knowing any column.
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
    /// Things worth saying that stop nothing.
    fn warnings(&self) -> Vec<Problem> {
        Vec::new()
    }
    /// Appends its operations. Every problem found goes to `problems`; a chain with problems is not used.
    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>);
}

/// One entry of the list.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    /// The option that a bare string means.
    bare: Option<&'static str>,
    schema: fn() -> Value,
    read: fn(&Value) -> Result<Box<dyn Transform>, String>,
}

const fn kind<T: Transform + DeserializeOwned + schemars::JsonSchema + 'static>(
    name: &'static str,
    aliases: &'static [&'static str],
    bare: Option<&'static str>,
) -> Kind {
    Kind { name, aliases, bare, schema: || schemars::schema_for!(T).to_value(), read: read::<T> }
}

fn read<T: Transform + DeserializeOwned + 'static>(options: &Value) -> Result<Box<dyn Transform>, String> {
    serde_json::from_value::<T>(options.clone())
        .map(|read| Box::new(read) as Box<dyn Transform>)
        .map_err(|error| error.to_string())
}

/// Every transform.
pub(crate) const ALL: &[Kind] = &[
    kind::<sql::Sql>("sql", &[], Some("query")),
    kind::<filter::Filter>("filter", &[], Some("where")),
    kind::<field_mapper::FieldMapper>("field_mapper", &["field_mapping"], None),
    kind::<cast::Cast>("cast", &[], None),
    kind::<dedupe::Dedupe>("dedupe", &["deduplicate"], None),
    kind::<mask::Mask>("mask", &[], None),
    kind::<split::Split>("split", &[], None),
    kind::<explode::Explode>("explode", &["unnest"], Some("column")),
    kind::<flatten::Flatten>("flatten", &[], None),
    kind::<unpivot::Unpivot>("unpivot", &["melt"], None),
    kind::<pivot::Pivot>("pivot", &[], None),
    kind::<json_path::JsonPath>("json_path", &["jsonpath"], None),
    kind::<lookup::Lookup>("lookup", &[], None),
    kind::<watermark::Watermark>("watermark", &[], Some("column")),
    kind::<window::Window>("window", &[], None),
    kind::<schema_inference::SchemaInference>(SAMPLING, &["infer_schema"], None),
    kind::<nlp::Nlp>("nlp", &["nlp_enrichment"], None),
    kind::<join::Join>("join", &[], None),
    kind::<aggregate::Aggregate>("aggregate", &["aggregation"], None),
    kind::<data_quality::DataQuality>("data_quality", &["quality"], None),
];

impl Kind {
    /// The transform of that name or alias.
    pub(crate) fn of(name: &str) -> Option<&'static Kind> {
        ALL.iter().find(|kind| kind.name == name || kind.aliases.contains(&name))
    }

    /// What the spec parser needs to know.
    pub(crate) fn words(&self) -> TransformWords {
        TransformWords { canonical: self.name.into(), schema: (self.schema)(), bare: self.bare.map(Into::into) }
    }

    /// The outputs of a transform node: none for a node with one. `None`: its options cannot be read, which is told elsewhere.
    pub(crate) fn outputs(node: &Node) -> Option<Vec<String>> {
        Some(Self::of(&node.kind)?.read(&node.options).ok()?.outputs())
    }

    /// The outputs that a transform node has beside its own.
    pub(crate) fn side_outputs(node: &Node) -> Vec<String> {
        Self::of(&node.kind).and_then(|kind| kind.read(&node.options).ok()).map(|read| read.side_outputs()).unwrap_or_default()
    }

    /// The rules of a transform node.
    pub(crate) fn rules(node: &Node) -> Vec<RuleFacts> {
        Self::of(&node.kind).and_then(|kind| kind.read(&node.options).ok()).map(|read| read.rules(&node.name)).unwrap_or_default()
    }

    /// Reads the options of a node.
    pub(crate) fn read(&self, options: &Value) -> Result<Box<dyn Transform>, String> {
        match options {
            Value::Null => (self.read)(&Value::Object(Default::default())),
            Value::String(_) if self.bare.is_some() => {
                let mut map = serde_json::Map::new();
                map.insert(self.bare.unwrap_or_default().into(), options.clone());
                (self.read)(&Value::Object(map))
            }
            other => (self.read)(other),
        }
    }
}
