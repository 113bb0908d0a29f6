//! `sql`: any query that DataFusion can plan over the node's inputs.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Transform;
use crate::chain::Chain;
use crate::problem::Problem;
use crate::sql::parse_query;

/// A query over the inputs.
///
/// With one input the table is called `input`, and also by the name of the upstream node and by the name of the source's
/// table. With several inputs each is called by its node's name. `now()` is one moment for the whole attempt.
/// A row whose expressions cannot be computed (a division by zero, a cast that fails) is a dead letter as long as the query works row by row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sql {
    /// One SELECT.
    query: String,
}

impl Transform for Sql {
    fn takes_many(&self) -> bool {
        true
    }

    fn check(&self) -> Vec<Problem> {
        if has_reference(&self.query) {
            return Vec::new();
        }
        parse_query(&self.query).err().map(|error| Problem::query(&error, "query")).into_iter().collect()
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        if let Err(error) = chain.query(&self.query) {
            problems.push(Problem::query(&error, "query"));
        }
    }
}

/// Whether a text still holds a reference that is resolved later.
pub(crate) fn has_reference(text: &str) -> bool {
    text.contains("${") || text.contains("{{")
}
