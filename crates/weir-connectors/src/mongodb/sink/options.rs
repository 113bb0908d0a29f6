//! The options of the sink: what a person writes. No I/O.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_connect::{DeleteMode, Error, Kind, Result, StreamTarget, WriteMode};

use super::super::config::wrong;
use super::super::rows::ID;

/// What `_id` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdRule {
    /// The key: of one column its value, of several a document of them, in the key's order.
    Key,
    /// The stream's own column `_id`.
    Field,
    /// A new objectId for each row.
    Generated,
}

/// Where a flush of changes is atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transactions {
    /// Changes and their position are one transaction: exactly once. Needs a replica set or a sharded cluster.
    #[default]
    Required,
    /// Changes first, their position after them: after a crash the last ones are applied again.
    Never,
}

/// What JSON text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JsonForm {
    /// What it says: documents, arrays, numbers.
    #[default]
    Document,
    /// A string.
    Text,
}

/// How to write.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SinkOptions {
    /// Collection; `{stream}` stands for the stream's name. Default `{stream}`.
    #[schemars(extend("x-weir-aliases" = ["table"]))]
    pub collection: String,
    /// `append`, `overwrite`, `upsert` or `merge`.
    pub write_mode: WriteMode,
    /// Key columns for `upsert` and `merge`; default: the source's primary key.
    #[schemars(extend("x-weir-aliases" = ["primary-key", "primary_key"]))]
    pub key: Vec<String>,
    /// What `_id` is: `key`, `field` (the stream's column `_id`) or `generated`. Default: `field` where the stream has a column `_id`, else `generated` for `append` and `key` for the other modes; an overwritten stream without key: `generated`.
    pub id: Option<IdRule>,
    /// What a column of JSON text becomes: `document` (default) or `text`.
    pub json: JsonForm,
    /// `mode: cdc`: what a delete at the source does here.
    pub delete_mode: DeleteMode,
    /// `mode: cdc`: `required` (default): changes and their position are one transaction, on a replica set or sharded cluster; `never`: also on a single server, at least once and idempotent by key.
    pub transactions: Transactions,
    /// Collection of the same database in which Weir keeps how far each run got. Default `_weir_state`.
    pub state_collection: String,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            collection: "{stream}".into(),
            write_mode: WriteMode::Append,
            key: Vec::new(),
            id: None,
            json: JsonForm::default(),
            delete_mode: DeleteMode::default(),
            transactions: Transactions::default(),
            state_collection: "_weir_state".into(),
        }
    }
}

fn usable(name: &str, what: &'static str) -> Result<()> {
    if name.is_empty() || name.contains(['$', '\0']) || name.starts_with("system.") {
        return Err(wrong(
            format!("`{name}` cannot be the {what}"),
            "names are not empty, do not begin with `system.` and have no `$`",
        ));
    }
    Ok(())
}

impl SinkOptions {
    /// Rules between options.
    pub fn validate(&self) -> Result<()> {
        usable(&self.collection.replace("{stream}", "s"), "collection")?;
        usable(&self.state_collection, "state_collection")?;
        if self.collection == self.state_collection {
            return Err(wrong("`collection` and `state_collection` are the same", "give the state a collection of its own"));
        }
        if self.id == Some(IdRule::Generated) && matches!(self.write_mode, WriteMode::Upsert | WriteMode::Merge) {
            return Err(wrong(
                "`id: generated` cannot be used to upsert",
                "documents are found by `_id`: leave `id` out, so that it is the key",
            ));
        }
        Ok(())
    }

    /// The collection that a stream goes to. A stream of another system is called `schema.table`: its table's name is meant.
    pub fn name(&self, stream: &str) -> String {
        let table = stream.rsplit('.').next().unwrap_or(stream);
        self.collection.replace("{stream}", table)
    }

    /// What `_id` is for this stream.
    pub fn id_rule(&self, target: &StreamTarget) -> Result<IdRule> {
        let by_key = matches!(target.write_mode, WriteMode::Upsert | WriteMode::Merge) || target.changes;
        let own = target.schema.field_with_name(ID).is_ok();
        let rule = match self.id {
            Some(rule) => rule,
            None if own => IdRule::Field,
            None if by_key => IdRule::Key,
            None if target.write_mode == WriteMode::Overwrite && !target.key.is_empty() => IdRule::Key,
            None => IdRule::Generated,
        };
        let only_id = target.key == [ID];
        let refused = |what: String, hint: &'static str| Err(Error::new("WEIR-MONGO-035", Kind::Spec, what).hint(hint));
        if by_key && target.key.is_empty() {
            return refused("the stream has no key to find documents by".into(), "give `key: [column]` on the sink");
        }
        if own && !only_id && (rule == IdRule::Key || (by_key && rule == IdRule::Field)) {
            return refused(
                format!("the stream has a column `_id`, and its key is ({})", target.key.join(", ")),
                "take `_id` as the key, or rename the column with a field_mapper",
            );
        }
        match rule {
            IdRule::Generated if by_key => {
                refused("`id: generated` cannot be used to upsert".into(), "leave `id` out, so that it is the key")
            }
            IdRule::Generated if own => refused(
                "the stream has a column `_id` already".into(),
                "leave `id` out, or rename the column with a field_mapper",
            ),
            IdRule::Field if !own => {
                refused("`id: field` needs a column `_id`".into(), "name a column so with a field_mapper, or use `id: key`")
            }
            IdRule::Key if target.key.is_empty() => {
                refused("`id: key` needs a key".into(), "give `key: [column]` on the sink, or `id: generated`")
            }
            rule => Ok(rule),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::changes::seeds::changes_target;

    fn rule(id: Option<IdRule>, columns: &[&str], mode: WriteMode, key: &[&str]) -> std::result::Result<IdRule, String> {
        let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        let target = StreamTarget { changes: false, ..changes_target("r", Arc::new(Schema::new(fields)), mode, key) };
        SinkOptions { id, ..SinkOptions::default() }.id_rule(&target).map_err(|error| error.code().to_string())
    }

    #[test]
    fn the_id_is_the_streams_own_or_the_key_or_new() {
        use IdRule::{Field as F, Generated as G, Key as K};
        use WriteMode::{Append, Merge, Overwrite, Upsert};
        let refused = Err("WEIR-MONGO-035".to_string());
        assert_eq!(rule(None, &["id", "v"], Append, &["id"]), Ok(G));
        assert_eq!(rule(None, &["_id", "v"], Append, &["_id"]), Ok(F));
        assert_eq!(rule(None, &["id", "v"], Overwrite, &["id"]), Ok(K));
        assert_eq!(rule(None, &["id", "v"], Overwrite, &[]), Ok(G));
        assert_eq!(rule(None, &["id", "v"], Upsert, &["id", "v"]), Ok(K));
        assert_eq!(rule(Some(K), &["id", "v"], Append, &["id"]), Ok(K));
        assert_eq!(rule(None, &["_id", "v"], Merge, &["_id"]), Ok(F));
        for (id, columns, mode, key) in [
            (None, ["id", "v"], Upsert, &[][..]),
            (None, ["_id", "v"], Upsert, &["v"][..]),
            (Some(K), ["_id", "v"], Append, &["v"][..]),
            (Some(G), ["id", "v"], Merge, &["id"][..]),
            (Some(G), ["_id", "v"], Append, &[][..]),
            (Some(F), ["id", "v"], Append, &["id"][..]),
            (Some(K), ["id", "v"], Append, &[][..]),
        ] {
            assert_eq!(rule(id, &columns, mode, key), refused, "{id:?} {columns:?} {mode:?} {key:?}");
        }
    }
}
