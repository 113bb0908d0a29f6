//! Records of CSV that come one by one, each a message of its own: no header, no line to find the end of.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_error::{Error, Kind, Result};

use crate::columns::{TextColumn, text_column, without_rows};
use crate::messages::Refusal;

/// How a message of CSV is read.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CsvMessageOptions {
    /// Names of the columns, in the order of the fields.
    pub columns: Vec<String>,
    /// One character between fields. Default `,`.
    pub delimiter: Option<String>,
    /// The quote character; the empty string switches quoting off. Default `"`; it is doubled within a field.
    pub quote: Option<String>,
    /// Texts that mean NULL, quoted or not. An empty field without quotes is always NULL.
    pub null_values: Vec<String>,
}

impl CsvMessageOptions {
    /// The columns: those declared have their types, the others are texts.
    ///
    /// # Errors
    /// `WEIR-FMT-058`: no names, two of one name, a declared column that has no place; a delimiter or quote that is no single character.
    pub fn schema(&self, declared: Option<&SchemaRef>) -> Result<SchemaRef> {
        let wrong = |what: String| Error::new("WEIR-FMT-058", Kind::Spec, what);
        if self.columns.is_empty() {
            return Err(wrong("messages of CSV say no names of columns".into())
                .hint("give them in their order: `csv: {columns: [id, name]}`"));
        }
        for (at, name) in self.columns.iter().enumerate() {
            if self.columns[..at].contains(name) {
                return Err(wrong(format!("two columns of CSV have the name `{name}`")));
            }
        }
        let stray = |field: &&Arc<Field>| !self.columns.contains(field.name());
        if let Some(field) = declared.and_then(|declared| declared.fields().iter().find(stray)) {
            return Err(wrong(format!("`{}` is declared but no column of the CSV", field.name())));
        }
        self.signs()?;
        let field = |name: &String| match declared.and_then(|declared| declared.field_with_name(name).ok()) {
            Some(field) => field.clone(),
            None => Field::new(name, DataType::Utf8, true),
        };
        Ok(Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>())))
    }

    /// Delimiter and quote.
    fn signs(&self) -> Result<(u8, Option<u8>)> {
        let one = |given: Option<&str>, default: u8, name: &str| match given.map(str::as_bytes) {
            None => Ok(Some(default)),
            Some([]) if name == "quote" => Ok(None),
            Some([byte]) if !matches!(byte, b'\n' | b'\r') => Ok(Some(*byte)),
            Some(_) => Err(Error::new("WEIR-FMT-058", Kind::Spec, format!("`{name}` of CSV must be one ASCII character"))),
        };
        let delimiter = one(self.delimiter.as_deref(), b',', "delimiter")?.unwrap_or(b',');
        Ok((delimiter, one(self.quote.as_deref(), b'"', "quote")?))
    }
}

/// Messages of CSV into the columns of a schema.
pub struct CsvMessages {
    columns: Vec<Box<dyn TextColumn>>,
    names: Vec<String>,
    null_values: Vec<Vec<u8>>,
    delimiter: u8,
    quote: Option<u8>,
    bad: Vec<u32>,
    rows: usize,
    /// The field at hand, without its quotes.
    scratch: Vec<u8>,
}

/// A field: its text in the record, or in the scratch; and whether it was quoted.
enum Cut {
    Plain(std::ops::Range<usize>),
    Quoted,
}

impl CsvMessages {
    /// Builders for the columns that [`CsvMessageOptions::schema`] gave.
    ///
    /// # Errors
    /// A type that has no form in text.
    pub fn new(schema: &SchemaRef, options: &CsvMessageOptions) -> Result<Self> {
        let (delimiter, quote) = options.signs()?;
        let column = |field: &Arc<Field>| {
            text_column(field.data_type(), false).ok_or_else(|| {
                let what = format!("column `{}` ({}) has no form in CSV", field.name(), field.data_type());
                Error::new("WEIR-FMT-058", Kind::Spec, what)
            })
        };
        Ok(Self {
            columns: schema.fields().iter().map(column).collect::<Result<_>>()?,
            names: schema.fields().iter().map(|field| field.name().clone()).collect(),
            null_values: options.null_values.iter().map(|text| text.clone().into_bytes()).collect(),
            delimiter,
            quote,
            bad: Vec::new(),
            rows: 0,
            scratch: Vec::new(),
        })
    }

    /// Takes one message: a row more, or a refusal and no row. A line end behind it does not count.
    ///
    /// # Errors
    /// What it is not taken for.
    pub fn push(&mut self, message: &[u8]) -> Result<(), Refusal> {
        let refuse = |code, reason: String| Err(Refusal { code, reason });
        if simdutf8::basic::from_utf8(message).is_err() {
            return refuse("WEIR-FMT-102", "not valid UTF-8".into());
        }
        let message = message.strip_suffix(b"\n").unwrap_or(message);
        let message = message.strip_suffix(b"\r").unwrap_or(message);
        let (mut at, mut first) = (0, None);
        let mut ended = false;
        for column in 0..self.columns.len() {
            let cut = if ended { Err("the record has too few fields".to_owned()) } else { self.cut(message, at) };
            let (cut, next) = match cut {
                Ok(found) => found,
                Err(why) => {
                    first.get_or_insert((if ended { "WEIR-FMT-105" } else { "WEIR-FMT-101" }, why));
                    self.columns[column].push_null();
                    ended = true;
                    continue;
                }
            };
            let (text, quoted): (&[u8], bool) = match &cut {
                Cut::Plain(range) => (&message[range.clone()], false),
                Cut::Quoted => (&self.scratch, true),
            };
            if (text.is_empty() && !quoted) || self.null_values.iter().any(|null| null == text) {
                self.columns[column].push_null();
            } else if !self.columns[column].push(text) {
                let shown = String::from_utf8_lossy(&text[..text.len().min(120)]).into_owned();
                first.get_or_insert(("WEIR-FMT-103", format!("`{shown}` does not fit column `{}`", self.names[column])));
            }
            match next {
                Some(next) => at = next,
                None => ended = true,
            }
        }
        if !ended {
            first.get_or_insert(("WEIR-FMT-105", "the record has too many fields".into()));
        }
        self.rows += 1;
        match first {
            None => Ok(()),
            Some((code, reason)) => {
                self.bad.push(self.rows as u32 - 1);
                refuse(code, reason)
            }
        }
    }

    /// The field that begins here, and where the next one does.
    fn cut(&mut self, message: &[u8], start: usize) -> Result<(Cut, Option<usize>), String> {
        let rest = &message[start..];
        let Some(quote) = self.quote.filter(|quote| rest.first() == Some(quote)) else {
            let length = rest.iter().position(|byte| *byte == self.delimiter);
            let end = start + length.unwrap_or(rest.len());
            return Ok((Cut::Plain(start..end), length.map(|_| end + 1)));
        };
        self.scratch.clear();
        let mut at = 1;
        loop {
            let Some(length) = rest[at..].iter().position(|byte| *byte == quote) else {
                return Err("a quote is not closed".into());
            };
            self.scratch.extend_from_slice(&rest[at..at + length]);
            at += length + 1;
            match rest.get(at) {
                Some(byte) if *byte == quote => {
                    self.scratch.push(quote);
                    at += 1;
                }
                Some(byte) if *byte == self.delimiter => return Ok((Cut::Quoted, Some(start + at + 1))),
                None => return Ok((Cut::Quoted, None)),
                Some(_) => return Err("something stands behind a quoted field".into()),
            }
        }
    }

    /// A row of NULLs.
    pub fn push_nulls(&mut self) {
        self.columns.iter_mut().for_each(|column| column.push_null());
        self.rows += 1;
    }

    /// The columns so far; the builders are empty afterwards.
    ///
    /// # Errors
    /// More bytes of text than a column takes.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        let (rows, bad) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bad));
        let columns = self.columns.iter_mut().map(|column| column.finish()).collect::<Result<_>>()?;
        without_rows(columns, &bad, rows)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn a_message_is_one_record_whole_or_not_at_all() {
        let options = CsvMessageOptions {
            columns: vec!["id".into(), "name".into(), "note".into()],
            null_values: vec!["NA".into()],
            ..CsvMessageOptions::default()
        };
        let declared = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let schema = options.schema(Some(&declared)).unwrap();
        let mut rows = CsvMessages::new(&schema, &options).unwrap();
        for good in [b"1,a,b".as_slice(), b"2,\"x\n\"\"y\"\",\",NA\r\n", b"3,\"\","] {
            rows.push(good).unwrap();
        }
        for (bad, code) in [
            (b"x,a,b".as_slice(), "WEIR-FMT-103"),
            (b"4,a", "WEIR-FMT-105"),
            (b"4,a,b,c", "WEIR-FMT-105"),
            (b"4,\"a,b", "WEIR-FMT-101"),
            (b"4,\"a\"b,c", "WEIR-FMT-101"),
            (b"4,\xff,b", "WEIR-FMT-102"),
        ] {
            assert_eq!(rows.push(bad).unwrap_err().code, code, "{}", String::from_utf8_lossy(bad));
        }
        rows.push_nulls();
        let columns = rows.finish().unwrap();
        assert_eq!(columns[0].as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), Some(2), Some(3), None]);
        let text = |at: usize| columns[at].as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>();
        assert_eq!(text(1), [Some("a".into()), Some("x\n\"y\",".into()), Some(String::new()), None]);
        assert_eq!(text(2), [Some("b".into()), None, None, None]);
    }

    #[test]
    fn columns_need_names_that_are_theirs() {
        let named = |names: &[&str]| CsvMessageOptions {
            columns: names.iter().map(ToString::to_string).collect(),
            ..CsvMessageOptions::default()
        };
        let declared: SchemaRef = Arc::new(Schema::new(vec![Field::new("other", DataType::Int64, true)]));
        for (options, declared) in [(named(&[]), None), (named(&["a", "a"]), None), (named(&["a"]), Some(&declared))] {
            assert_eq!(options.schema(declared).unwrap_err().code(), "WEIR-FMT-058");
        }
        let tab = CsvMessageOptions { delimiter: Some("\t".into()), quote: Some(String::new()), ..named(&["a", "b"]) };
        let mut rows = CsvMessages::new(&tab.schema(None).unwrap(), &tab).unwrap();
        rows.push(b"\"x\ty").unwrap();
        assert_eq!(rows.finish().unwrap()[0].as_string::<i32>().value(0), "\"x");
    }
}
