//! What can stand in the way of a change at the target, in words: table, constraint, and what to do.

use weir_connect::{Error, Kind};

use super::super::errors::number;
use super::super::quote::{TableName, ident};
use super::super::sink::name_target;

/// A statement on the target was refused.
pub fn statement(error: Error, name: &TableName, loose: bool) -> Error {
    let table = name.sql();
    let hint = match number(&error) {
        Some(1048 | 1364) => {
            "the source allows NULL there, or the log does not have the value: let the target's column be nullable (ALTER TABLE … MODIFY COLUMN …)"
                .to_string()
        }
        Some(1216 | 1452) => format!(
            "the row that is referred to is not in the target (yet), because each table is written by itself: drop the foreign key of {table}"
        ),
        Some(1217 | 1451) => format!(
            "rows of another table refer to a row that the source has deleted: replicate that table as well, in the same pipeline, or drop the foreign key to {table}"
        ),
        Some(1062 | 1169 | 1586) if loose => format!(
            "if two keys that differ at the source are equal at the target: give the target's key columns a binary collation (utf8mb4_0900_bin, on MariaDB utf8mb4_nopad_bin); else {table} demands more than the source does: compare them (`weir verify`)"
        ),
        Some(1062 | 1169 | 1586) => format!(
            "{table} demands more than the source does, or has rows that the source does not have: compare them (`weir verify`), or drop this unique index"
        ),
        Some(3819 | 4025) => format!("{table} demands more than the source does: drop this check constraint"),
        Some(1644) => format!("a trigger of {table} raised this: drop it, or write into another table"),
        _ => return name_target(error, name),
    };
    error.at(name.display()).hint(hint)
}

/// The session's own table cannot be made.
pub fn stage(error: Error, name: &TableName) -> Error {
    if error.kind() != Kind::Privilege {
        return error;
    }
    Error::new("WEIR-MY-006", Kind::Privilege, "the user may not make the temporary table that changes need")
        .at(name.display())
        .because(error.why().unwrap_or_default().to_string())
        .hint(format!(
            "run as an administrator: GRANT CREATE TEMPORARY TABLES ON {}.* TO …; GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO …",
            ident(&name.database),
            name.sql()
        ))
}

/// Rows are neither changed nor new.
pub fn left_out(name: &TableName, done: u64, expected: u64) -> Error {
    Error::new("WEIR-MY-056", Kind::Data, format!("the server took {done} of {expected} rows"))
        .at(name.display())
        .because("keys that differ at the source are equal at the target, or somebody else writes these rows")
        .hint("give the target's key columns the source's types and a binary collation, and let nobody else write the table")
}

/// Updates without all values found no row.
pub fn missing(name: &TableName, rows: u64, keys: &[String]) -> Error {
    Error::new("WEIR-MY-114", Kind::Conflict, format!("{rows} rows that the source has updated are not in the target"))
        .at(name.display())
        .because(format!("the log does not have all their values, so they cannot be made anew; keys: {}", keys.join("; ")))
        .hint("somebody removed them from the target: read them again (a snapshot with `where`, or `weir verify --repair`); a log with whole rows (REPLICA IDENTITY FULL, binlog_row_image = FULL) gives every value")
}

/// The second way would reach other tables.
pub fn referred_to(error: &Error, name: &TableName, constraints: &str) -> Error {
    Error::new(
        "WEIR-MY-113",
        Kind::Conflict,
        "values that must be unique change places, and the foreign keys do not allow to put the rows back",
    )
    .at(name.display())
    .because(format!("{}; foreign keys that refer to the table: {constraints}", error.why().unwrap_or_default()))
    .hint(format!("drop these foreign keys, or the unique index of {}", name.sql()))
}

/// The column for the mark cannot be had.
pub fn mark(name: &TableName, what: String) -> Error {
    Error::new("WEIR-MY-112", Kind::Schema, what)
        .at(name.display())
        .hint("soft deletes need a column `_deleted` of type tinyint(1): rename yours, or choose another `delete_mode`")
}
