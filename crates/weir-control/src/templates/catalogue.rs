//! The files, and how one is read.

use serde::Deserialize;
use serde_json::Value;
use weir_error::{Error, Result};

use super::parameter::Parameter;

macro_rules! template {
    ($category:literal, $id:literal) => {
        ($category, $id, include_str!(concat!("../../templates/", $category, "/", $id, ".yaml")))
    };
}

/// Category, id and text of each. A test compares the list with the folder.
pub(super) const FILES: &[(&str, &str, &str)] = &[
    template!("data-lake", "api_to_lake"),
    template!("data-lake", "csv_to_parquet"),
    template!("data-lake", "json_to_parquet"),
    template!("data-lake", "postgres_query_to_files"),
    template!("data-lake", "postgres_to_lake"),
    template!("data-lake", "s3_landing_to_bronze"),
    template!("cdc", "postgres_cdc_to_postgres"),
    template!("cdc", "postgres_changed_rows_to_lake"),
    template!("cdc", "postgres_changed_rows_to_postgres"),
    template!("streaming", "api_events_every_minute"),
    template!("streaming", "kafka_to_lake"),
    template!("streaming", "new_files_every_few_minutes"),
    template!("etl", "api_to_postgres"),
    template!("etl", "csv_to_postgres"),
    template!("etl", "files_clean_up"),
    template!("etl", "files_summary"),
    template!("etl", "lake_to_postgres"),
    template!("etl", "postgres_masked_copy"),
    template!("etl", "postgres_to_postgres"),
];

/// A file that was read.
pub(super) struct File {
    pub head: Head,
    pub body: String,
}

/// What stands before the pipeline.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub id: String,
    pub category: String,
    pub title: String,
    pub description: String,
    pub requires: Option<String>,
    pub parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    title: String,
    description: String,
    requires: Option<String>,
    parameters: Vec<Parameter>,
}

pub(super) fn parse((category, id, text): &(&str, &str, &str)) -> Result<File> {
    let broken = |why: String| Error::internal(format!("the template `{id}` cannot be read")).because(why);
    let (head, body) = text.split_once("\n---\n").ok_or_else(|| broken("it has no `---`".into()))?;
    let head = weir_spec::texts(head).and_then(|texts| texts.documents.into_iter().next()).unwrap_or(Value::Null);
    let head: Written = serde_json::from_value(head).map_err(|error| broken(error.to_string()))?;
    let head = Head {
        id: (*id).into(),
        category: (*category).into(),
        title: head.title,
        description: head.description,
        requires: head.requires,
        parameters: head.parameters,
    };
    Ok(File { head, body: body.into() })
}
