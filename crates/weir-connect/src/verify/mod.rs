//! Comparing a source's stream with what a sink holds of it, without moving the rows: `weir verify`.
//!
//! ## The canonical form
//! Both sides hash the same text of a row, each where its rows are: a server by SQL, Arrow rows by [`canonical`]. A row's text is the form of every compared
//! column in the same order, joined by commas; its *hash* is the first 128 bits of the SHA-256 of that text. A column's form depends on the [`Form`]
//! that both sides agreed on, not on how either stores the value, and holds no comma:
//!
//! | form | text of a value |
//! | --- | --- |
//! | (NULL, in any form) | `N` |
//! | [`Form::Bool`] | `true`, `false` |
//! | [`Form::Number`] | decimal digits without trailing zeros after the point: 1.0 and 1.00 are one number. `NaN`, `Infinity`, `-Infinity`. True is 1 |
//! | [`Form::Float32`], [`Form::Float64`] | the bits, 8 or 16 hex digits; `NaN` for every not-a-number |
//! | [`Form::Text`] | hash of the UTF-8 bytes, 32 hex digits. No collation: case, trailing blanks and normal forms count |
//! | [`Form::Json`] | hash of the text that PostgreSQL prints for `jsonb`: order of keys, white space and repeated keys do not count (`json` here) |
//! | [`Form::Bytes`] | hash of the bytes |
//! | [`Form::Date`] | days since 2000-01-01, 32 bits in 8 hex digits |
//! | [`Form::Time`], [`Form::Timestamp`] | microseconds since midnight, since 2000-01-01 00:00:00; 64 bits in 16 hex digits |
//! | [`Form::TimestampTz`] | the same, of the moment in UTC |
//! | [`Form::Interval`] | microseconds (64 bits), days, months (32 bits each) in hex: a day is not 24 hours |
//!
//! NULL is no value's text, so it can be told from an empty one. Rows are summed, not combined by exclusive or: a row that is there twice does not cancel
//! itself out, and the key is part of the row, so that two rows that swapped their values are two differences.
//!
//! ## Chunks
//! A chunk is what the first bits of the hash of a row's key name, not a range of keys: two servers order text by different collations, and an enum and its
//! name differently, but they hash alike. Any key will do, and none must be sorted or have an index.
//!
//! ## Who proves what
//! A view is one consistent moment of one side. Two views are never the same moment of a pipeline that runs, so what differs between them is only suspected.
//! [`VerifyTable::look`] gives single keys with the *version* of each row: equal versions mean that nobody wrote the row in between. Where a system has none
//! the row's hash stands for it, and [`VerifyTable::versioned`] says so: then the engine wants to see the same more often. It asks until each suspicion is
//! proven or dropped.
//!
//! ## Who hashes
//! A server that can do all of it in SQL implements the traits itself. Where SQL has no exact form (MySQL's floats), where there is no server (files), and where
//! rows are changed on the way, the connector's own reader gives the rows and [`read`] hashes them: values are the same because the
//! way from the system to Arrow is the same.

pub mod canonical;
pub mod json;
pub mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_error::{Error, Result};

use crate::change::DeleteMode;
use crate::stream::WriteMode;

/// What a value means; see the table of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// True or false.
    Bool,
    /// Integers and decimals.
    Number,
    /// IEEE single.
    Float32,
    /// IEEE double.
    Float64,
    /// Text, and everything that is compared as the system prints it.
    Text,
    /// JSON by its meaning.
    Json,
    /// JSON that is kept as it was written.
    JsonText,
    /// Bytes.
    Bytes,
    /// A day.
    Date,
    /// A time of the day.
    Time,
    /// A date and time without zone.
    Timestamp,
    /// A moment.
    TimestampTz,
    /// Months, days and microseconds.
    Interval,
}

impl Form {
    /// The form in which values of two columns can be compared; `None` if there is none.
    pub fn common(self, other: Form) -> Option<Form> {
        use Form::{Float32, Float64, Json, JsonText, Text};
        match (self, other) {
            (JsonText, JsonText) => Some(Text),
            (Json, JsonText) | (JsonText, Json) => Some(Json),
            (Float32, Float64) | (Float64, Float32) => Some(Float64),
            // Where a system has no type for truth.
            (Form::Bool, Form::Number) | (Form::Number, Form::Bool) => Some(Form::Number),
            (one, two) if one == two => Some(one),
            (Text, _) | (_, Text) => Some(Text),
            _ => None,
        }
    }
}

/// A column that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyColumn {
    /// Name.
    pub name: String,
    /// The form of its type.
    pub form: Form,
    /// The system's name of the type, for messages.
    pub kind: String,
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Columns in the order of the row's text.
    pub columns: Vec<(String, Form)>,
    /// The columns of the key, as indexes into `columns`. Without a key they are all columns: then rows are compared as a bag.
    pub key: Vec<usize>,
    /// Whether that is a key by which rows can be asked for.
    pub keyed: bool,
    /// Columns of the stream that the sink has, compared or not: a row that is mended has all of them.
    pub carried: Vec<String>,
}

impl Comparison {
    /// Names of the key's columns.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|at| self.columns[*at].0.as_str())
    }
}

/// A row's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Hash of the forms of its columns.
    pub digest: u128,
    /// Its columns as the system prints them; empty without a key.
    pub values: Vec<Option<String>>,
}

/// The rows of a chunk, in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many.
    pub rows: u64,
    /// Sum of the upper halves of the rows' hashes, as signed numbers of 64 bits.
    pub upper: i128,
    /// Of the lower halves.
    pub lower: i128,
}

impl Sums {
    /// Adds a row.
    pub fn add(&mut self, row: u128) {
        self.rows += 1;
        self.upper += i128::from((row >> 64) as u64 as i64);
        self.lower += i128::from(row as u64 as i64);
    }
}

/// A row of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its key.
    pub key: Key,
    /// Its hash.
    pub row: u128,
}

/// A row that was asked for by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Hash of its key.
    pub key: u128,
    /// Its hash.
    pub row: u128,
    /// Another one whenever anybody has written the row since.
    pub version: String,
    /// The form of each compared column; `None` for NULL.
    pub forms: Vec<Option<String>>,
}

/// What a look saw: one consistent moment.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// The rows, in any order; a key may have none or several.
    pub rows: Vec<Found>,
    /// The source's position: everything that the look saw was committed before it.
    pub point: Value,
}

/// A consistent moment of a whole table. Dropping it lets go of what it holds.
#[async_trait]
pub trait VerifyView: Send {
    /// The sums of the chunks that have rows, by number: a chunk is the first `bits` (at most 16) of the key's digest.
    async fn sums(&mut self, bits: u8) -> Result<BTreeMap<u32, Sums>>;

    /// Begins to read the rows of these chunks; [`VerifyView::next`] gives them.
    async fn open(&mut self, bits: u8, chunks: &[u32]) -> Result<()>;

    /// More rows, ascending by the key's digest and then by hash; empty at the end.
    async fn next(&mut self) -> Result<Vec<Line>>;
}

/// A table that can be compared.
#[async_trait]
pub trait VerifyTable: Send + Sync {
    /// Where it is, for people.
    fn place(&self) -> String;

    /// Its columns.
    fn columns(&self) -> &[VerifyColumn];

    /// Whether it can bring a column's values into a form that is not the column's own.
    fn computes(&self, _column: &str, _form: Form) -> bool {
        true
    }

    /// Whose printing of a value is meant by [`Form::Text`] where a type has no form of its own. Sides that print differently compare only
    /// what Arrow prints as well.
    fn prints(&self) -> &'static str {
        "arrow"
    }

    /// Whether [`Found::version`] tells of every write; else it is the row's hash.
    fn versioned(&self) -> bool {
        true
    }

    /// About how many rows it has.
    fn estimated_rows(&self) -> Option<u64>;

    /// A consistent moment: now. The server may use so many `workers` for it.
    async fn view(&self, comparison: &Arc<Comparison>, workers: usize) -> Result<Box<dyn VerifyView>>;

    /// For how many keys [`VerifyTable::look`] is asked at once.
    fn together(&self) -> usize {
        500
    }

    /// The rows of these keys as they are now, in one consistent read.
    async fn look(&self, comparison: &Comparison, keys: &[Key]) -> Result<Looked>;
}

/// Rows that were asked for by their keys.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// The rows as the stream has them; others may be among them.
    pub rows: RecordBatch,
    /// The version of each; `None`: the system has none.
    pub versions: Option<Vec<String>>,
    /// See [`Looked::point`].
    pub point: Value,
}

/// Gets the hash of a key and of its row.
pub type EachDigest<'a> = &'a mut (dyn FnMut(u128, u128) + Send);

/// What a system can do for [`read::Read`] besides reading a stream from its beginning to its end. Everything has a default: nothing.
#[async_trait]
pub trait VerifyRows: Send + Sync {
    /// Whether [`VerifyRows::of_keys`] works.
    fn seeks(&self) -> bool {
        false
    }

    /// Whether [`Gathered::versions`] are there.
    fn versioned(&self) -> bool {
        false
    }

    /// The rows of these keys as they are now, in one consistent read; `names` are the key's columns in the stream.
    async fn of_keys(&self, _names: &[String], _keys: &[Key]) -> Result<Gathered> {
        Err(Error::internal("a system that does not seek was asked for keys"))
    }

    /// The hashes of all rows, computed by the system in one consistent read. `false`: it cannot, and nothing was given.
    async fn digests(&self, _comparison: &Comparison, _each: EachDigest<'_>) -> Result<bool> {
        Ok(false)
    }

    /// See [`VerifySource::reached`].
    fn reached(&self, _position: &Value, _point: &Value) -> bool {
        false
    }

    /// See [`VerifySource::nudge`].
    async fn nudge(&self) {}

    /// See [`VerifySink::progress`].
    async fn progress(&self, _pipeline: &str) -> Result<Vec<Value>> {
        Ok(Vec::new())
    }

    /// See [`VerifySink::holds`].
    fn holds(&self, column: &VerifyColumn, _stream: Form) -> Form {
        column.form
    }

    /// See [`VerifySink::hold`].
    async fn hold(&self, _pipeline: &str, _comparison: &Comparison) -> Result<Box<dyn Mend>> {
        Err(Error::internal("a source is not mended"))
    }
}

/// A table that a pipeline reads.
#[async_trait]
pub trait VerifySource: VerifyTable {
    /// Whether a resume point of this source's log has passed a [`Looked::point`], and has all rows of the table that were committed before it.
    fn reached(&self, position: &Value, point: &Value) -> bool;

    /// Asks the system to tell its readers how far its log is. What it cannot or may not do is left undone.
    async fn nudge(&self);

    /// The rows of these keys as they are now, in the stream's own types, with the carried columns, and the digest of each row's key.
    async fn fetch(&self, comparison: &Comparison, keys: &[Key]) -> Result<(RecordBatch, Vec<u128>)>;
}

/// A table that a pipeline writes.
#[async_trait]
pub trait VerifySink: VerifyTable {
    /// In what form a column holds values that have this form in the stream.
    fn holds(&self, column: &VerifyColumn, _stream: Form) -> Form {
        column.form
    }

    /// How far the changes of this pipeline are applied: what the sink keeps with the rows, as it was given with the barriers.
    async fn progress(&self, pipeline: &str) -> Result<Vec<Value>>;

    /// Shuts the pipeline's own writer out of this stream for a moment, to mend rows. What the source is asked for after this returns is not older than
    /// anything that the writer has applied; and what the writer applies afterwards comes in order, up to and beyond it.
    async fn hold(&self, pipeline: &str, comparison: &Comparison) -> Result<Box<dyn Mend>>;
}

/// A short transaction that mends rows. Dropping it takes everything back.
#[async_trait]
pub trait Mend: Send {
    /// Makes each of these rows the only one of its key. Columns that are not in the batch stay as they are.
    async fn put(&mut self, rows: &RecordBatch) -> Result<()>;

    /// Deletes the rows of these keys, or marks them as deleted, as the pipeline does.
    async fn delete(&mut self, keys: &[Key]) -> Result<()>;

    /// Whether what has come together is enough: it is committed before more is given. A writer waits for so long.
    fn full(&self) -> bool {
        true
    }

    /// Makes it so, and lets the writer go on. `false`: the writer has written meanwhile, so the rows may be older than its own. Then nothing was
    /// changed, and all begins anew with [`VerifySink::hold`].
    async fn commit(self: Box<Self>) -> Result<bool>;
}

/// A source whose streams can be compared.
#[async_trait]
pub trait Verifiable: Send + Sync {
    /// The table behind a stream.
    async fn verify_source(&self, stream: &str) -> Result<Arc<dyn VerifySource>>;

    /// What [`read::Read`] needs of the system besides reading the stream, for rows that are changed on the way.
    async fn verify_rows(&self, stream: &str) -> Result<Arc<dyn VerifyRows>>;

    /// Why there is nothing in the system that a stream could be compared with, if so: it is in the log only.
    fn only_in_log(&self, _stream: &str) -> Option<String> {
        None
    }
}

/// What is known of a stream that is looked for in a sink.
#[derive(Debug, Clone)]
pub struct VerifyStream {
    /// The pipeline.
    pub pipeline: String,
    /// Name for `{stream}`.
    pub stream: String,
    /// As the sink gets it, columns about changes included.
    pub schema: SchemaRef,
    /// Columns of the key.
    pub key: Vec<String>,
    /// How rows enter.
    pub write_mode: WriteMode,
    /// A log's changes are applied, or kept (`write_mode: append`).
    pub changes: bool,
    /// Rows that are marked as deleted (`soft`) are not there.
    pub deletes: DeleteMode,
}

/// A sink whose tables can be compared.
#[async_trait]
pub trait VerifiableTarget: Send + Sync {
    /// The table that a stream is written to.
    async fn verify_sink(&self, stream: &VerifyStream) -> Result<Arc<dyn VerifySink>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_there_twice_does_not_cancel_out() {
        let (mut once, mut twice) = (Sums::default(), Sums::default());
        once.add(u128::MAX - 5);
        (0..3).for_each(|_| twice.add(u128::MAX - 5));
        assert_ne!((once.upper, once.lower), (twice.upper, twice.lower));
        assert_eq!((once.upper, once.lower), (-1, -6));
    }

    #[test]
    fn forms_agree_in_both_directions_or_not_at_all() {
        use Form::*;
        let all = [Bool, Number, Float32, Float64, Text, Json, JsonText, Bytes, Date, Time, Timestamp, TimestampTz, Interval];
        for one in all {
            for two in all {
                assert_eq!(one.common(two), two.common(one), "{one:?} {two:?}");
            }
            assert_eq!(one.common(Text), Some(Text), "what a system prints can be compared with text");
        }
        assert_eq!(Timestamp.common(TimestampTz), None);
        assert_eq!(JsonText.common(JsonText), Some(Text));
    }
}
