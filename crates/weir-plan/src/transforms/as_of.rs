//! A table as versions: each row with the time of the next one of its key, until which it is valid. `join` with `as_of` and FOR SYSTEM_TIME
//! AS OF in SQL look rows up in it; a stream keeps the versions itself (`crate::keyed`), and knows them by [`UNTIL`].

use arrow::datatypes::{DataType, SchemaRef};

use crate::chain::quoted;

/// How the name of the column begins that has the time of the next version.
pub(crate) const UNTIL: &str = "__weir_until";
/// The column by which a row of Debezium's envelope says what happened.
const OP: &str = "_op";

/// The table as a query: its columns, and `until`. Two versions of one key and one time end a batch: it cannot know which of them is valid.
pub(crate) fn versions(table: &str, keys: &[String], time: &str, until: &str) -> String {
    let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
    let (time, until) = (quoted(time), quoted(until));
    let next = format!("lead({time}) OVER (PARTITION BY {} ORDER BY {time})", keys.join(", "));
    // Rows without a key are versions of nothing.
    let none: String = keys.iter().map(|key| format!(" OR {key} IS NULL")).collect();
    let told = format!(
        "two versions of one key have the same time in {table}: keep one of them, with `dedupe` before, or give them different times"
    );
    let told = told.replace('\'', "''");
    format!("SELECT *, __weir_require({next} IS NULL OR {next} > {time}{none}, {next}, '{told}') AS {until} FROM {table}")
}

/// Whether the version of `table` is valid at a time.
pub(crate) fn valid(table: &str, time: &str, until: &str, at: &str) -> String {
    let (time, until) = (quoted(time), quoted(until));
    format!("{table}.{time} <= {at} AND ({table}.{until} IS NULL OR {table}.{until} > {at})")
}

/// Whether a version is one, of a table that has Debezium's operations: a deleted row ends the version before it.
pub(crate) fn not_deleted(table: &str, schema: &SchemaRef) -> Option<String> {
    let (_, field) = schema.column_with_name(OP)?;
    let text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    text.then(|| format!("({table}.{OP} = 'd') IS NOT TRUE"))
}
