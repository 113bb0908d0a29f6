//! What a person writes about a change log. The connection's options are those of `postgres`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_connect::{Error, Kind, Result};

use super::super::config::SourceOptions;
use super::super::quote;
use super::messages::Prefixes;

/// What of the rows that are there already is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// All of them, once per table; then the changes.
    #[default]
    Initial,
    /// None: only changes from the first run on.
    Never,
    /// All of them, with the changes that happen meanwhile; then the run ends.
    Only,
}

/// What to follow.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CdcOptions {
    /// Tables by name or pattern: `orders`, `public.order_*`, `!public.order_tmp`.
    #[schemars(extend("x-weir-aliases" = ["table_names", "table.whitelist"]))]
    pub tables: Vec<String>,
    /// One table.
    pub table: Option<String>,
    /// Schema of the names that carry none. Default `public`.
    pub schema: Option<String>,
    /// Replication slot. Default: one named after the pipeline and the database; it is made when it is missing.
    #[schemars(extend("x-weir-aliases" = ["slot_name", "slot.name"]))]
    pub slot: Option<String>,
    /// A publication that exists already and is not altered. Default: one named after the pipeline, made for exactly these tables.
    #[schemars(extend("x-weir-aliases" = ["publication_name", "publication.name"]))]
    pub publication: Option<String>,
    /// Logical messages (`pg_logical_emit_message`) of these prefixes (`outbox`, `audit.*`) come as rows of a stream `messages` (`lsn, prefix,
    /// content, transactional`). Server 14 and newer; it then keeps large transactions until their end.
    pub messages: Vec<String>,
    /// Make the slot one that standbys keep too, so that a failover loses nothing (server 17 and newer).
    pub failover: bool,
    /// `initial` (default), `never` or `only`.
    #[schemars(extend("x-weir-aliases" = ["snapshot.mode", "snapshot_mode"]))]
    pub snapshot: SnapshotMode,
    /// Table → condition in SQL: only these rows are read by the snapshot. Changes come of all rows.
    pub snapshot_where: BTreeMap<String, String>,
    /// About how many bytes of a table are read at once by the snapshot, between two looks at the log. Default 8 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub chunk_bytes: Option<u64>,
}

impl CdcOptions {
    /// The choice of tables, as the batch source has it.
    pub fn choice(&self) -> SourceOptions {
        SourceOptions {
            tables: self.tables.clone(),
            table: self.table.clone(),
            schema: self.schema.clone(),
            ..SourceOptions::default()
        }
    }

    /// Rules between options.
    pub fn validate(&self) -> Result<()> {
        self.choice().validate()?;
        let wrong = |what: &str, hint: &'static str| Err(Error::new("WEIR-PG-001", Kind::Spec, what).hint(hint));
        if self.choice().patterns().is_empty() {
            return wrong("the source does not say which tables to follow", "give `tables: [public.orders]`");
        }
        let legal = |name: &str| {
            !name.is_empty() && name.len() <= 63 && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        };
        if self.slot.as_deref().is_some_and(|name| !legal(name)) {
            return wrong("`slot` is no name of a slot", "up to 63 lower-case letters, digits and underscores");
        }
        if let Some(name) = &self.publication {
            quote::checked(name)?;
        }
        Prefixes::new(&self.messages)?;
        if self.chunk_bytes == Some(0) {
            return wrong("a chunk cannot be empty", "leave `chunk_bytes` out for the default");
        }
        Ok(())
    }

    /// The condition for a table, by its stream's name or as it was written without schema.
    pub fn condition(&self, stream: &str) -> Option<&str> {
        let name = quote::table(stream);
        let default = self.schema.as_deref().unwrap_or("public");
        let same = |written: &str| {
            let (schema, table) = quote::split(written);
            schema.as_deref().unwrap_or(default) == name.schema && table == name.table
        };
        self.snapshot_where.iter().find(|(written, _)| same(written)).map(|(_, condition)| condition.as_str())
    }
}

/// Slot and publication of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Slot.
    pub slot: String,
    /// Publication.
    pub publication: String,
    /// We make, alter and drop it.
    pub own_publication: bool,
}

impl Names {
    /// The ones that the options give, or `weir_<name>_<hash>`. A slot's name is the server's, so its hash is of pipeline and database; a
    /// publication is the database's own.
    pub fn of(pipeline: &str, database: &str, options: &CdcOptions) -> Self {
        let slot = || own(pipeline, &format!("{pipeline}\0{database}"));
        Self {
            slot: options.slot.clone().unwrap_or_else(slot),
            publication: options.publication.clone().unwrap_or_else(|| own(pipeline, pipeline)),
            own_publication: options.publication.is_none(),
        }
    }

    /// What a slot of the pipeline was called before the database was a part of its name. Such slots are used on.
    pub fn former_slot(pipeline: &str, options: &CdcOptions) -> Option<String> {
        options.slot.is_none().then(|| own(pipeline, pipeline))
    }
}

fn own(pipeline: &str, unique: &str) -> String {
    let letters: String = pipeline
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
        .take(40)
        .collect();
    // Names that differ only in what was replaced or cut must not meet.
    let hash = twox_hash::XxHash64::oneshot(0, unique.as_bytes()) as u32;
    format!("weir_{letters}_{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_and_differ_where_pipelines_or_databases_do() {
        let names = |pipeline: &str, database: &str| Names::of(pipeline, database, &CdcOptions::default());
        let (a, b, long) = (names("Orders ü", "db"), names("Orders ö", "db"), names(&"x".repeat(200), "db"));
        assert!(a.slot.starts_with("weir_orders___"), "{}", a.slot);
        assert_ne!(a.slot, b.slot);
        assert_ne!(a.publication, b.publication);
        let other = names("Orders ü", "db2");
        assert_ne!(a.slot, other.slot, "slots of all databases are in one list");
        assert_eq!(a.publication, other.publication, "publications are not");
        assert!(long.slot.len() <= 63);
        for name in [&a, &b, &long] {
            assert!(
                CdcOptions { tables: vec!["t".into()], slot: Some(name.slot.clone()), ..Default::default() }.validate().is_ok()
            );
        }
        let given = CdcOptions { slot: Some("mine".into()), ..Default::default() };
        assert_eq!((Names::of("p", "db", &given).slot.as_str(), Names::former_slot("p", &given)), ("mine", None));
    }

    #[test]
    fn a_condition_is_found_with_and_without_schema() {
        let snapshot_where = [("orders".to_string(), "a".to_string()), ("s.orders".into(), "b".into())].into();
        let options = CdcOptions { snapshot_where, ..Default::default() };
        assert_eq!(options.condition("public.orders"), Some("a"));
        assert_eq!(options.condition("s.orders"), Some("b"));
        assert_eq!(options.condition("s.other"), None);
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        for options in [
            CdcOptions::default(),
            CdcOptions { tables: vec!["t".into()], slot: Some("Has-Dash".into()), ..Default::default() },
            CdcOptions { tables: vec!["!t".into()], ..Default::default() },
            CdcOptions { tables: vec!["t".into()], chunk_bytes: Some(0), ..Default::default() },
            CdcOptions { tables: vec!["t".into()], messages: vec!["a[".into()], ..Default::default() },
        ] {
            assert_eq!(options.validate().unwrap_err().code(), "WEIR-PG-001");
        }
    }
}
