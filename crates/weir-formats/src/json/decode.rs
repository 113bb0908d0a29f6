//! JSON values to Arrow columns, by a schema. A value that is not of its column's type is a fault of its record.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, LargeListArray, ListArray, MapArray, NullBufferBuilder, StructArray, new_empty_array};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use weir_error::{Error, Kind, Result};

use crate::columns::{TextColumn, broken, text_column};
use crate::csv::scan::CsvCells;
use crate::inference::is_json_text;
use crate::json::tape::{Tape, What, unescape};
use crate::options::{ExtraColumns, JsonOptions};

/// Why a record is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) code: &'static str,
    pub(crate) reason: String,
}

/// A column being built. Every call appends exactly one slot, whatever happens.
pub(crate) enum JsonColumn {
    /// A scalar from its text.
    Scalar {
        column: Box<dyn TextColumn>,
        kind: Takes,
        data_type: DataType,
        strict: bool,
        scratch: Vec<u8>,
    },
    /// The value as JSON text.
    Raw {
        column: Box<dyn TextColumn>,
    },
    Struct(StructColumn),
    List {
        item: FieldRef,
        child: Box<JsonColumn>,
        offsets: Vec<i64>,
        nulls: NullBufferBuilder,
        large: bool,
    },
    Map {
        entries: FieldRef,
        sorted: bool,
        key: Box<JsonColumn>,
        value: Box<JsonColumn>,
        offsets: Vec<i32>,
        nulls: NullBufferBuilder,
    },
}

/// Which JSON values a scalar takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Bool,
    Number,
    Float,
    Text,
    /// Dates, decimals: from a text; decimals also from a number.
    Parsed,
}

pub(crate) struct StructColumn {
    fields: Fields,
    children: Vec<JsonColumn>,
    places: HashMap<Vec<u8>, usize>,
    nulls: NullBufferBuilder,
    rows: usize,
    extra: ExtraColumns,
    /// Per field: the node of its value in the object at hand.
    slots: Vec<u32>,
    scratch: Vec<u8>,
}

const ABSENT: u32 = u32::MAX;

impl JsonColumn {
    /// A builder for a field.
    ///
    /// # Errors
    /// When the type has no JSON form.
    pub(crate) fn new(field: &Field, strict: bool, options: &JsonOptions) -> Result<Self> {
        if is_json_text(field) {
            let column = text_column(field.data_type(), strict).ok_or_else(|| no_form(field))?;
            return Ok(Self::Raw { column });
        }
        Ok(match field.data_type() {
            DataType::Struct(fields) => Self::Struct(StructColumn::new(fields, |_| strict, options)?),
            DataType::List(item) | DataType::LargeList(item) => Self::List {
                item: item.clone(),
                child: Box::new(Self::new(item, strict, options)?),
                offsets: vec![0],
                nulls: NullBufferBuilder::new(0),
                large: matches!(field.data_type(), DataType::LargeList(_)),
            },
            DataType::Map(entries, sorted) => {
                let DataType::Struct(pair) = entries.data_type() else { return Err(no_form(field)) };
                let [key, value] = pair.as_ref() else { return Err(no_form(field)) };
                if !matches!(key.data_type(), DataType::Utf8) {
                    return Err(no_form(field));
                }
                Self::Map {
                    entries: entries.clone(),
                    sorted: *sorted,
                    key: Box::new(Self::new(key, strict, options)?),
                    value: Box::new(Self::new(value, strict, options)?),
                    offsets: vec![0],
                    nulls: NullBufferBuilder::new(0),
                }
            }
            data_type => {
                let column = text_column(data_type, strict).ok_or_else(|| no_form(field))?;
                let kind = match data_type {
                    DataType::Boolean => Takes::Bool,
                    DataType::Float32 | DataType::Float64 => Takes::Float,
                    data_type if data_type.is_integer() => Takes::Number,
                    DataType::Utf8 | DataType::LargeUtf8 => Takes::Text,
                    _ => Takes::Parsed,
                };
                Self::Scalar { column, kind, data_type: data_type.clone(), strict, scratch: Vec::new() }
            }
        })
    }

    fn push_null(&mut self) {
        match self {
            Self::Scalar { column, .. } | Self::Raw { column } => column.push_null(),
            Self::Struct(column) => column.push_null(),
            Self::List { offsets, nulls, .. } => {
                offsets.push(offsets.last().copied().unwrap_or(0));
                nulls.append_null();
            }
            Self::Map { offsets, nulls, .. } => {
                offsets.push(offsets.last().copied().unwrap_or(0));
                nulls.append_null();
            }
        }
    }

    /// Appends a value. On a misfit the slot is there, its content is worth nothing.
    pub(crate) fn push(&mut self, tape: &Tape, node: u32, text: &[u8], field: &Field) -> Result<(), Misfit> {
        let what = tape.nodes[node as usize].what;
        if what == What::Null && (field.is_nullable() || !matches!(self, Self::Raw { .. })) {
            self.push_null();
            return if field.is_nullable() { Ok(()) } else { Err(not_null(field)) };
        }
        match self {
            Self::Raw { column } => match column.push(tape.raw(node, text)) {
                true => Ok(()),
                false => Err(misfit(field, "does not fit", tape.raw(node, text))),
            },
            Self::Scalar { column, kind, data_type, strict, scratch } => {
                let fits = match (*kind, what) {
                    (Takes::Bool, What::True | What::False) => column.push(tape.text(node, text)),
                    (Takes::Number | Takes::Float, What::Number) => column.push(tape.text(node, text)),
                    (Takes::Parsed, What::Number) if data_type.is_decimal() => column.push(tape.text(node, text)),
                    (Takes::Float, What::Text { .. })
                        if !*strict
                            || matches!(tape.text(node, text), b"NaN" | b"Infinity" | b"-Infinity" | b"inf" | b"-inf") =>
                    {
                        column.push(tape.text(node, text))
                    }
                    (Takes::Text | Takes::Parsed, What::Text { escaped: false }) => column.push(tape.text(node, text)),
                    (Takes::Text | Takes::Parsed, What::Text { escaped: true }) => {
                        scratch.clear();
                        unescape(tape.text(node, text), scratch);
                        column.push(scratch)
                    }
                    // A declared type takes what the user says is one.
                    (Takes::Text, _) if !*strict => column.push(tape.raw(node, text)),
                    (Takes::Bool | Takes::Number, What::Text { .. }) if !*strict => column.push(tape.text(node, text)),
                    _ => {
                        column.push_null();
                        false
                    }
                };
                if fits { Ok(()) } else { Err(misfit(field, &format!("is no {data_type}"), tape.raw(node, text))) }
            }
            Self::Struct(column) if what == What::Object => column.push(tape, node, text, Some(field.name())),
            Self::List { item, child, offsets, nulls, .. } if what == What::Array => {
                let mut first = Ok(());
                let mut count = 0;
                for element in tape.elements(node) {
                    let pushed = child.push(tape, element, text, item);
                    first = first.and(pushed);
                    count += 1;
                }
                offsets.push(offsets.last().copied().unwrap_or(0) + count);
                nulls.append_non_null();
                first.map_err(|fault| fault.inside(field.name()))
            }
            Self::Map { entries, key, value, offsets, nulls, .. } if what == What::Object => {
                let mut first = Ok(());
                let mut count = 0;
                if let DataType::Struct(pair) = entries.data_type() {
                    for (key_node, value_node) in tape.members(node) {
                        first = first.and(key.push(tape, key_node, text, &pair[0]));
                        first = first.and(value.push(tape, value_node, text, &pair[1]));
                        count += 1;
                    }
                }
                offsets.push(offsets.last().copied().unwrap_or(0) + count);
                nulls.append_non_null();
                first.map_err(|fault| fault.inside(field.name()))
            }
            other => {
                other.push_null();
                Err(misfit(field, &format!("is no {}", field.data_type()), tape.raw(node, text)))
            }
        }
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        match self {
            Self::Scalar { column, .. } | Self::Raw { column } => column.finish(),
            Self::Struct(column) => column.finish(),
            Self::List { item, child, offsets, nulls, large } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                let (values, nulls) = (child.finish()?, nulls.finish());
                if *large {
                    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                    return Ok(Arc::new(LargeListArray::try_new(item.clone(), offsets, values, nulls).map_err(broken)?));
                }
                let offsets: Vec<i32> = offsets
                    .into_iter()
                    .map(|offset| i32::try_from(offset).map_err(|_| Error::internal("a list column of over 2^31 elements")))
                    .collect::<Result<_>>()?;
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, nulls).map_err(broken)?))
            }
            Self::Map { entries, sorted, key, value, offsets, nulls } => {
                let DataType::Struct(pair) = entries.data_type() else {
                    return Ok(new_empty_array(&DataType::Map(entries.clone(), *sorted)));
                };
                let offsets = OffsetBuffer::new(ScalarBuffer::from(std::mem::replace(offsets, vec![0])));
                let inner = StructArray::try_new(pair.clone(), vec![key.finish()?, value.finish()?], None).map_err(broken)?;
                let array = MapArray::try_new(entries.clone(), offsets, inner, nulls.finish(), *sorted).map_err(broken)?;
                Ok(Arc::new(array))
            }
        }
    }
}

impl StructColumn {
    /// Builders for the fields of a record or object. `strict_of` says per field name whether its type was inferred.
    pub(crate) fn new(fields: &Fields, strict_of: impl Fn(&str) -> bool, options: &JsonOptions) -> Result<Self> {
        let children =
            fields.iter().map(|field| JsonColumn::new(field, strict_of(field.name()), options)).collect::<Result<Vec<_>>>()?;
        let places = fields.iter().enumerate().map(|(at, field)| (field.name().as_bytes().to_vec(), at)).collect();
        Ok(Self {
            slots: vec![ABSENT; children.len()],
            fields: fields.clone(),
            children,
            places,
            nulls: NullBufferBuilder::new(0),
            rows: 0,
            extra: options.extra_keys,
            scratch: Vec::new(),
        })
    }

    pub(crate) fn push_null(&mut self) {
        for child in &mut self.children {
            child.push_null();
        }
        self.nulls.append_null();
        self.rows += 1;
    }

    /// Appends an object. A column's key that comes twice is a misfit: which value was meant nobody knows (RFC 8259, section 4).
    pub(crate) fn push(&mut self, tape: &Tape, node: u32, text: &[u8], name: Option<&str>) -> Result<(), Misfit> {
        self.slots.fill(ABSENT);
        let mut fault = Ok(());
        // Keys usually come in the order of the schema.
        let mut expected = 0;
        for (key, value) in tape.members(node) {
            let mut raw = tape.text(key, text);
            if tape.nodes[key as usize].what == (What::Text { escaped: true }) {
                self.scratch.clear();
                unescape(raw, &mut self.scratch);
                raw = &self.scratch;
            }
            let place = match self.fields.get(expected) {
                Some(field) if field.name().as_bytes() == raw => Some(expected),
                _ => self.places.get(raw).copied(),
            };
            match place {
                Some(place) => {
                    if self.slots[place] != ABSENT && fault.is_ok() {
                        let key = crate::csv::decode::short(&String::from_utf8_lossy(raw));
                        fault = Err(Misfit { code: "WEIR-FMT-115", reason: format!("the key {key} comes twice in one object") });
                    }
                    self.slots[place] = value;
                    expected = place + 1;
                }
                None if self.extra == ExtraColumns::Error && fault.is_ok() => {
                    fault = Err(Misfit {
                        code: "WEIR-FMT-113",
                        reason: format!(
                            "the key {} was not in the sample that the columns were inferred from; declare it under `columns`, raise \
                             `infer_rows`, or let `extra_keys: ignore` leave it out",
                            crate::csv::decode::short(&String::from_utf8_lossy(raw))
                        ),
                    });
                }
                None => {}
            }
        }
        for (at, child) in self.children.iter_mut().enumerate() {
            let field = &self.fields[at];
            let pushed = match self.slots[at] {
                ABSENT => {
                    child.push_null();
                    if field.is_nullable() { Ok(()) } else { Err(not_null(field)) }
                }
                value => child.push(tape, value, text, field),
            };
            if fault.is_ok() {
                fault = pushed;
            }
        }
        self.nulls.append_non_null();
        self.rows += 1;
        match name {
            Some(name) => fault.map_err(|fault| fault.inside(name)),
            None => fault,
        }
    }

    /// The columns, without the struct around them.
    pub(crate) fn finish_columns(&mut self) -> Result<Vec<ArrayRef>> {
        self.rows = 0;
        let _no_validity_at_the_top = self.nulls.finish();
        self.children.iter_mut().map(JsonColumn::finish).collect()
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let rows = std::mem::take(&mut self.rows);
        let nulls = self.nulls.finish();
        if self.children.is_empty() {
            return Ok(Arc::new(StructArray::new_empty_fields(rows, nulls)));
        }
        let columns: Vec<ArrayRef> = self.children.iter_mut().map(JsonColumn::finish).collect::<Result<_>>()?;
        Ok(Arc::new(StructArray::try_new(self.fields.clone(), columns, nulls).map_err(broken)?))
    }
}

impl Misfit {
    fn inside(self, name: &str) -> Self {
        let reason = match self.reason.strip_prefix("column `") {
            Some(rest) => format!("column `{name}.{rest}"),
            None => self.reason,
        };
        Self { reason, ..self }
    }
}

fn no_form(field: &Field) -> Error {
    Error::new(
        "WEIR-FMT-027",
        Kind::Unsupported,
        format!("column `{}` cannot be read from text as {}", field.name(), field.data_type()),
    )
}

fn not_null(field: &Field) -> Misfit {
    Misfit { code: "WEIR-FMT-107", reason: format!("column `{}` may not be NULL", field.name()) }
}

fn misfit(field: &Field, why: &str, raw: &[u8]) -> Misfit {
    let shown = crate::csv::decode::short(&String::from_utf8_lossy(raw));
    Misfit {
        code: "WEIR-FMT-103",
        reason: format!(
            "column `{}`: {shown} {why}; if the type was inferred, declare it under `columns` or raise `infer_rows`",
            field.name()
        ),
    }
}

/// A nested column of a CSV file: each field is a JSON text.
struct JsonInText {
    column: JsonColumn,
    field: Field,
    tape: Tape,
    max_depth: usize,
}

impl TextColumn for JsonInText {
    fn push(&mut self, text: &[u8]) -> bool {
        if self.tape.parse(text, self.max_depth).is_err() {
            self.column.push_null();
            return false;
        }
        self.column.push(&self.tape, 0, text, &self.field).is_ok()
    }

    fn push_null(&mut self) {
        self.column.push_null();
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        self.column.finish()
    }

    fn extend(&mut self, cells: &CsvCells<'_>, bad: &mut Vec<u32>) {
        crate::columns::extend_from(self, cells, bad);
    }
}

/// A builder that takes JSON texts, for nested columns of other text formats.
pub(crate) fn json_column(field: &Field, strict: bool, options: &JsonOptions) -> Result<Box<dyn TextColumn>> {
    let column = JsonColumn::new(field, strict, options)?;
    let field = field.clone().with_nullable(true);
    Ok(Box::new(JsonInText { column, field, tape: Tape::default(), max_depth: options.max_depth }))
}
