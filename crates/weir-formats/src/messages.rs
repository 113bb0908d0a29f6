//! Records that come one by one, as messages of a broker do, and not as a file: into columns without a text around them.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use weir_error::Result;

use crate::columns::without_rows;
use crate::inference::is_declared;
use crate::json::decode::StructColumn;
use crate::json::tape::{Tape, What};
use crate::options::JsonOptions;

/// Why a record is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable error code.
    pub code: &'static str,
    /// What is wrong with it, in words.
    pub reason: String,
}

/// JSON objects, one per message, into the columns of a schema. By the rules of JSON files: a value that does not fit its column refuses the whole
/// record, and a key that the schema does not have does so unless `extra_keys: ignore`.
pub struct JsonMessages {
    columns: StructColumn,
    tape: Tape,
    bad: Vec<u32>,
    rows: usize,
    max_depth: usize,
    max_bytes: usize,
}

impl JsonMessages {
    /// Builders for the schema's columns. `declared`: columns whose type the user has named; they take texts for numbers too.
    ///
    /// # Errors
    /// `WEIR-FMT-027` when a column's type has no JSON form.
    pub fn new(schema: &SchemaRef, declared: Option<&SchemaRef>, options: &JsonOptions) -> Result<Self> {
        let strict = |name: &str| !is_declared(declared, name);
        Ok(Self {
            columns: StructColumn::new(schema.fields(), strict, options)?,
            tape: Tape::default(),
            bad: Vec::new(),
            rows: 0,
            max_depth: options.max_depth,
            max_bytes: options.max_record_bytes,
        })
    }

    /// Takes one record: a row more, or a refusal and no row.
    ///
    /// # Errors
    /// What the record is not taken for.
    pub fn push(&mut self, record: &[u8]) -> Result<(), Refusal> {
        let refuse = |code, reason: &str| Err(Refusal { code, reason: reason.to_owned() });
        if record.len() > self.max_bytes {
            let reason = format!("a record of {} bytes is over `max_record_bytes` ({})", record.len(), self.max_bytes);
            return refuse("WEIR-FMT-104", &reason);
        }
        if simdutf8::basic::from_utf8(record).is_err() {
            return refuse("WEIR-FMT-102", "not valid UTF-8");
        }
        if let Err(fault) = self.tape.parse(record, self.max_depth) {
            let code = if fault.too_deep { "WEIR-FMT-114" } else { "WEIR-FMT-111" };
            return refuse(code, &format!("{} (byte {} of the record)", fault.what, fault.at));
        }
        if self.tape.nodes.first().is_none_or(|node| node.what != What::Object) {
            return refuse("WEIR-FMT-112", "the record is no JSON object");
        }
        self.rows += 1;
        self.columns.push(&self.tape, 0, record, None).map_err(|misfit| {
            self.bad.push(self.rows as u32 - 1);
            Refusal { code: misfit.code, reason: misfit.reason }
        })
    }

    /// Takes the last row back that was taken.
    pub fn take_back(&mut self) {
        self.bad.push(self.rows.saturating_sub(1) as u32);
    }

    /// A row of NULLs. The caller sees to it that every column may be NULL.
    pub fn push_nulls(&mut self) {
        self.columns.push_null();
        self.rows += 1;
    }

    /// Rows that [`JsonMessages::finish`] would give now.
    pub fn rows(&self) -> usize {
        self.rows - self.bad.len()
    }

    /// The columns so far, in the order of the schema; the builders are empty afterwards.
    ///
    /// # Errors
    /// A list column of over 2^31 elements.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        let (rows, bad) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bad));
        without_rows(self.columns.finish_columns()?, &bad, rows)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    #[test]
    fn a_refused_record_leaves_no_row_behind() {
        let schema =
            Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]));
        let mut messages = JsonMessages::new(&schema, None, &JsonOptions::default()).unwrap();
        messages.push(br#"{"id": 1, "name": "a\nb"}"#).unwrap();
        for (record, code) in [
            (br#"{"id": "x"}"#.as_slice(), "WEIR-FMT-103"),
            (b"{\"id\": 1", "WEIR-FMT-111"),
            (b"[1]", "WEIR-FMT-112"),
            (b"\xff", "WEIR-FMT-102"),
            (br#"{"id": 1, "other": 2}"#, "WEIR-FMT-113"),
        ] {
            assert_eq!(messages.push(record).unwrap_err().code, code);
        }
        messages.push_nulls();
        messages.push(b"{\n  \"name\": \"second\"\n}").unwrap();
        assert_eq!(messages.rows(), 3);
        let columns = messages.finish().unwrap();
        assert_eq!(columns[0].as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), None, None]);
        assert_eq!(columns[1].as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a\nb"), None, Some("second")]);
        assert_eq!(messages.finish().unwrap()[0].len(), 0);
    }
}
