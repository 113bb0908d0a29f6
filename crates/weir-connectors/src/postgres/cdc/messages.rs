//! Logical messages (`pg_logical_emit_message`) as a stream of their own: one row each, which nothing changes or deletes later.
//!
//! A message becomes an insert into a relation that no catalogue has ([`OID`] is the number that the server gives to nothing), and goes the way of
//! every row from there. One that belongs to a transaction comes with it, in its place, and only if it is committed. One that does not comes where
//! the log has it, between transactions, whatever becomes of the transaction that sent it.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use weir_connect::{Error, Kind, Result};

use super::super::catalog::RawColumn;
use super::super::quote::TableName;
use super::super::types::oid;
use super::decode::Lsn;
use super::table::{CatalogColumn, Table};

/// No relation has it.
pub const OID: u32 = 0;
/// The stream; tables have their schema before their name.
pub const STREAM: &str = "messages";
/// What we send ourselves to make the server write out its log.
pub const OWN_PREFIX: &str = "weir";

/// Which prefixes are wanted.
#[derive(Debug, Clone, Default)]
pub struct Prefixes(GlobSet);

impl Prefixes {
    /// From what a person wrote: prefixes, or patterns with `*` and `?`.
    pub fn new(patterns: &[String]) -> Result<Self> {
        let wrong = |error: globset::Error| {
            Error::new("WEIR-PG-001", Kind::Spec, "`messages` has a pattern that is none")
                .because(error)
                .hint("`outbox`, `audit.*`, `*`")
        };
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(GlobBuilder::new(pattern).build().map_err(wrong)?);
        }
        set.build().map(Self).map_err(wrong)
    }

    /// Whether messages of this prefix are wanted.
    pub fn take(&self, prefix: &[u8]) -> bool {
        prefix != OWN_PREFIX.as_bytes() && std::str::from_utf8(prefix).is_ok_and(|prefix| self.0.is_match(prefix))
    }
}

/// The table that the messages are rows of. `lsn` is where a message ends in the log: unique, and later ones are larger.
pub fn table() -> Table {
    let column = |name: &str, type_oid, type_name: &str, attnum| CatalogColumn {
        raw: RawColumn {
            name: name.into(),
            type_oid,
            typmod: -1,
            type_name: type_name.into(),
            not_null: true,
            optional: false,
            generated: false,
        },
        attnum,
        generated: ' ',
        by_bytes: true,
        fill: None,
    };
    Table {
        oid: OID,
        name: TableName { schema: String::new(), table: STREAM.into() },
        stream: STREAM.into(),
        partitioned: false,
        identity: 'd',
        columns: vec![
            column("lsn", oid::INT8, "bigint", 1),
            column("prefix", oid::TEXT, "text", 2),
            column("content", oid::BYTEA, "bytea", 3),
            column("transactional", oid::BOOL, "boolean", 4),
        ],
        key: vec!["lsn".into()],
        loose_partitions: Vec::new(),
        unlogged: false,
        rows: None,
        bytes: 0,
    }
}

/// The insert that stands for a message.
pub fn insert(lsn: Lsn, prefix: &[u8], content: &[u8], transactional: bool, out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    out.push(b'I');
    out.extend(OID.to_be_bytes());
    out.push(b'N');
    out.extend(4_u16.to_be_bytes());
    let (lsn, flag) = (lsn.to_be_bytes(), [u8::from(transactional)]);
    for value in [lsn.as_slice(), prefix, content, flag.as_slice()] {
        let length = u32::try_from(value.len()).map_err(|_| Error::internal("a message over 4 GiB"))?;
        out.push(b'b');
        out.extend(length.to_be_bytes());
        out.extend(value);
    }
    Ok(())
}

/// The server's plugin does not give messages.
pub fn too_old(place: &str) -> Error {
    Error::new("WEIR-PG-081", Kind::Unsupported, "this server does not give logical messages")
        .at(place.to_string())
        .because("its pgoutput has them from version 14 on")
        .hint("remove `messages`")
}

/// Why nothing can be read but the log.
pub const IN_NO_TABLE: &str = "logical messages are in the log only, in no table";

/// Something was to be done with the messages that needs a table.
pub fn not_a_table(what: &str) -> Error {
    Error::new("WEIR-PG-081", Kind::Unsupported, format!("logical messages cannot be {what}")).because(IN_NO_TABLE)
}
