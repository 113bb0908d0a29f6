//! `filter`: keeps the rows for which a predicate is true.

use datafusion::logical_expr::LogicalPlanBuilder;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Transform;
use super::sql::has_reference;
use crate::chain::Chain;
use crate::problem::Problem;
use crate::sql::parse_expression;

/// Keeps the rows for which the predicate is true. As everywhere in SQL, a predicate that is NULL does not keep the row:
/// `status <> 'draft'` drops rows without a status. Rows taken out are counted as filtered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// A SQL predicate over the columns of the input.
    r#where: String,
}

impl Transform for Filter {
    fn check(&self) -> Vec<Problem> {
        if has_reference(&self.r#where) {
            return Vec::new();
        }
        parse_expression(&self.r#where).err().map(|error| Problem::query(&error, "where")).into_iter().collect()
    }

    fn lower(&self, chain: &mut Chain<'_>, problems: &mut Vec<Problem>) {
        let built = chain.plan(|session, input| {
            let predicate = session.expression(&self.r#where, input.schema())?;
            LogicalPlanBuilder::from(input).filter(predicate)?.build()
        });
        if let Err(error) = built {
            problems.push(Problem::query(&error, "where"));
        }
    }
}
