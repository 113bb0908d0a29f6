//! What a person writes about a change log. The connection's options are those of `mysql`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use weir_connect::{Error, Kind, Result};

use super::super::config::SourceOptions;
use super::super::quote;

/// What of the rows that are there already is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotMode {
    /// All of them, once per table; then the changes.
    #[default]
    Initial,
    /// None: only changes from the first run on.
    #[serde(alias = "latest", alias = "no_data")]
    Never,
    /// All of them, with the changes that happen meanwhile; then the run ends.
    #[serde(alias = "initial_only")]
    Only,
}

/// A place in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartOptions {
    /// After these transactions: MySQL's set of GTIDs, MariaDB's list.
    pub gtid: Option<String>,
    /// A file of the log, for servers without GTIDs.
    pub file: Option<String>,
    /// The byte in that file at which a transaction begins.
    pub position: Option<u64>,
}

/// What to follow.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CdcOptions {
    /// Tables by name or pattern: `orders`, `shop.order_*`, `!shop.order_tmp`.
    #[schemars(extend("x-weir-aliases" = ["table_names", "table-names", "table.whitelist", "table.include.list"]))]
    pub tables: Vec<String>,
    /// One table.
    pub table: Option<String>,
    /// The number under which we read the log, like a replica: no replica and no other reader of the server may have it. Default: one
    /// drawn for each run, between 1,000,000,000 and 1,999,999,999.
    #[schemars(extend("x-weir-aliases" = ["server-id", "database.server.id"]))]
    pub server_id: Option<u32>,
    /// `initial` (default), `never` or `only`.
    #[schemars(extend("x-weir-aliases" = ["snapshot.mode", "snapshot_mode", "startup.mode"]))]
    pub snapshot: SnapshotMode,
    /// With `snapshot: never`: where the first run begins. Default: where the log ends now.
    pub start: Option<StartOptions>,
    /// Table → condition in SQL: only these rows are read by the snapshot. Changes come of all rows.
    pub snapshot_where: BTreeMap<String, String>,
    /// About how many bytes of a table are read at once by the snapshot, between two looks at the log. Default 8 MiB.
    #[schemars(extend("x-weir-unit" = "bytes"))]
    pub chunk_bytes: Option<u64>,
    /// Read `tinyint(1)` as boolean. Other values than 0 and 1 become dead letters. By default it is the 8-bit number that it is.
    pub tinyint1_as_boolean: bool,
}

impl CdcOptions {
    /// The choice of tables, as the batch source has it.
    pub fn choice(&self) -> SourceOptions {
        SourceOptions {
            tables: self.tables.clone(),
            table: self.table.clone(),
            tinyint1_as_boolean: self.tinyint1_as_boolean,
            ..SourceOptions::default()
        }
    }

    /// Rules between options.
    pub fn validate(&self) -> Result<()> {
        self.choice().validate()?;
        let wrong = |what: &str, hint: &'static str| Err(Error::new("WEIR-MY-001", Kind::Spec, what).hint(hint));
        if self.choice().patterns().is_empty() {
            return wrong("the source does not say which tables to follow", "give `tables: [shop.orders]`");
        }
        if self.server_id == Some(0) {
            return wrong("`server_id` 0 is no number of a replica", "leave it out, or take one that no replica has");
        }
        if self.chunk_bytes == Some(0) {
            return wrong("a chunk cannot be empty", "leave `chunk_bytes` out for the default");
        }
        let Some(start) = &self.start else { return Ok(()) };
        if self.snapshot != SnapshotMode::Never {
            return wrong("`start` needs `snapshot: never`", "a snapshot begins where the log is, or leave `start` out");
        }
        match (&start.gtid, &start.file, start.position) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => Ok(()),
            _ => wrong("`start` is no place in the log", "give `gtid`, or `file` and `position`"),
        }
    }

    /// The condition for a table, by its stream's name or as it was written without database.
    pub fn condition(&self, stream: &str, database: &str) -> Option<&str> {
        let name = quote::split(stream);
        let same = |written: &str| {
            let (own, table) = quote::split(written);
            (Some(own.unwrap_or_else(|| database.to_string())), table) == name
        };
        self.snapshot_where.iter().find(|(written, _)| same(written)).map(|(_, condition)| condition.as_str())
    }

    /// The number of a reader of the log.
    ///
    /// It is not made of the pipeline's name: two pipelines of one name (of two tenants, of a test and of production) would end each
    /// other's streams. So would two runs of one pipeline: a server takes up a request for its log when it comes to it, so that of a run
    /// which has ended meanwhile may be taken up after that of the next run, and throw it out.
    pub fn server_id(&self) -> u32 {
        self.server_id.unwrap_or_else(|| rand::random_range(1_000_000_000..2_000_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> CdcOptions {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn options_that_cannot_work_are_refused() {
        for text in [
            "{}",
            r#"{"tables": ["!t"]}"#,
            r#"{"tables": ["t"], "server_id": 0}"#,
            r#"{"tables": ["t"], "chunk_bytes": 0}"#,
            r#"{"tables": ["t"], "start": {"gtid": "x"}}"#,
            r#"{"tables": ["t"], "snapshot": "never", "start": {"file": "x"}}"#,
            r#"{"tables": ["t"], "snapshot": "never", "start": {"gtid": "x", "file": "y", "position": 4}}"#,
        ] {
            assert_eq!(of(text).validate().unwrap_err().code(), "WEIR-MY-001", "{text}");
        }
        assert!(of(r#"{"table": "t", "snapshot": "latest", "start": {"file": "x", "position": 4}}"#).validate().is_ok());
    }

    #[test]
    fn every_reader_has_a_number_of_its_own_unless_it_is_given() {
        let options = CdcOptions::default();
        let (a, b) = (options.server_id(), options.server_id());
        assert_ne!(a, b);
        assert!((1_000_000_000..2_000_000_000).contains(&a));
        assert_eq!(CdcOptions { server_id: Some(7), ..CdcOptions::default() }.server_id(), 7);
    }

    #[test]
    fn a_condition_is_found_with_and_without_database() {
        let options = of(r#"{"snapshot_where": {"orders": "a", "s.orders": "b"}}"#);
        assert_eq!(options.condition("shop.orders", "shop"), Some("a"));
        assert_eq!(options.condition("s.orders", "shop"), Some("b"));
        assert_eq!(options.condition("s.other", "shop"), None);
    }
}
