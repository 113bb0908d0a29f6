//! What can stand in the way of a change at the target, in words: table, constraint, and what to do.

use weir_connect::{Error, Kind};

use super::super::errors::{ServerError, sqlstate};
use super::super::quote::{TableName, ident};
use super::super::sink::name_target;

/// The server's own words.
fn server(error: &Error) -> Option<&ServerError> {
    std::error::Error::source(error)?.downcast_ref::<ServerError>()
}

/// A statement on the target was refused.
pub fn statement(error: Error, name: &TableName) -> Error {
    let Some(said) = server(&error) else { return error };
    let table = name.sql();
    let hint = match said.sqlstate.as_str() {
        "23502" => "the source allows NULL there, or the log does not have the value: let the target's column be nullable (ALTER TABLE … ALTER COLUMN … DROP NOT NULL)".to_string(),
        "23503" if said.message.contains("still referenced") || said.message.starts_with("update or delete") => format!(
            "rows of another table refer to a row that the source has deleted: replicate that table as well, in the same pipeline, or drop the foreign key to {table}"
        ),
        "23503" => format!(
            "the row that is referred to is not in the target (yet), because each table is written by itself: drop the foreign key of {table}"
        ),
        "23505" | "23P01" => format!(
            "{table} demands more than the source does, or has rows that the source does not have: compare them (`weir verify`), or drop this constraint"
        ),
        "23514" => format!("{table} demands more than the source does: drop this check constraint"),
        "21000" => "two keys that differ at the source are equal at the target (citext, or a collation that ignores case): give the target's key column the source's type and collation".to_string(),
        "428C9" => "the target computes this column itself: drop it in a field_mapper".to_string(),
        "0A000" => format!("rules and some kinds of triggers and partitions do not go with INSERT … ON CONFLICT: take them off {table}"),
        "42501" => return name_target(error, name),
        "P0001" => format!("a trigger of {table} raised this: disable it, or write into another table"),
        _ => return error,
    };
    error.hint(hint)
}

/// The session's own table cannot be made.
pub fn stage(error: Error, name: &TableName) -> Error {
    match sqlstate(&error) {
        Some("42501") => {
            Error::new("WEIR-PG-006", Kind::Privilege, "the user may not make the temporary table that changes need")
                .at(name.display())
                .because(error.why().unwrap_or_default().to_string())
                .hint(format!(
                    "run as its owner: GRANT TEMPORARY ON DATABASE … TO …; GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO …",
                    name.sql()
                ))
        }
        _ => error,
    }
}

/// Rows could be left alone without a word.
pub fn row_security(name: &TableName) -> Error {
    Error::new("WEIR-PG-113", Kind::Privilege, "row-level security hides rows of the target from this user")
        .at(name.display())
        .because("updates and deletes would silently leave out the rows that the policies hide")
        .hint("ALTER ROLE … BYPASSRLS, or write as the table's owner")
}

/// A trigger left rows out.
pub fn left_out(name: &TableName, done: u64, expected: u64) -> Error {
    Error::new("WEIR-PG-056", Kind::Data, format!("the server took {done} of {expected} rows"))
        .at(name.display())
        .because("a trigger on the table left rows out")
        .hint("drop the trigger, or write into another table")
}

/// A trigger kept rows from being deleted.
pub fn not_deleted(name: &TableName) -> Error {
    Error::new("WEIR-PG-056", Kind::Data, "rows that were deleted are still there")
        .at(name.display())
        .because("a BEFORE DELETE trigger on the table kept them")
        .hint("drop the trigger, choose `delete_mode: soft` or `ignore`, or write into another table")
}

/// Updates without all values found no row.
pub fn missing(name: &TableName, rows: &str, keys: &[String]) -> Error {
    Error::new("WEIR-PG-114", Kind::Conflict, format!("{rows} rows that the source has updated are not in the target"))
        .at(name.display())
        .because(format!(
            "the log does not have all their values (unchanged TOAST), so they cannot be made anew; keys: {}",
            keys.join(", ")
        ))
        .hint("somebody removed them from the target: read them again (a snapshot with `where`, or `weir verify --repair`); REPLICA IDENTITY FULL at the source gives every value")
}

/// The second way would reach other tables.
pub fn cascades(error: Error, name: &TableName, constraints: &str) -> Error {
    Error::new(
        "WEIR-PG-057",
        Kind::Conflict,
        "values that must be unique change places, and the foreign keys do not allow to put the rows back",
    )
    .at(name.display())
    .because(format!(
        "{}; foreign keys with ON DELETE CASCADE or SET refer to the table: {constraints}",
        error.why().unwrap_or_default()
    ))
    .hint(format!("let these foreign keys have no ON DELETE action, or drop the unique constraint of {}", ident(&name.table)))
}
