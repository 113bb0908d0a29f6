//! Documents into columns: the shape of a stream, and the builders that bytes of BSON go straight into.
//!
//! A document fits as a whole or not at all: what cannot be a row says why ([`Unfit`]) and leaves the builders as they were.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBufferBuilder, BooleanBuilder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder,
    RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Schema, SchemaRef};
use weir_connect::{DeadLetter, Error, Result};

use super::bson::{self, Malformed, Value, elements};
use super::extjson::{self, Form, hex};
use super::kinds::{Kind, Seen, decimal};

/// The column of fields that have none.
pub const EXTRA: &str = "_extra";
/// The column of the whole document.
pub const DOCUMENT: &str = "document";
/// The key.
pub const ID: &str = "_id";
/// Columns that a stream may grow to: documents whose field names are data would give it one for each.
const MOST_COLUMNS: usize = 1000;
/// Bytes of a dead document that are kept.
const DEAD_BYTES: usize = 1 << 20;

/// What happens to a field that the columns do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownKeys {
    /// It goes to the column `_extra`, a document as extended JSON.
    #[default]
    Extra,
    /// `mongodb-cdc`: it gets a column of its own, and the stream has it from there on.
    Column,
    /// The document becomes a dead letter.
    DeadLetter,
    /// It is left out.
    Ignore,
}

/// Columns by name, in order.
pub type Layout = Vec<(String, Kind)>;

/// What documents become.
#[derive(Debug)]
pub struct Shape {
    /// The columns; without `_extra`.
    pub layout: Layout,
    /// How nested values are written.
    pub form: Form,
    /// See [`UnknownKeys`]; meaningless where there is a column of the whole document.
    pub unknown: UnknownKeys,
    /// All of it in Arrow.
    pub schema: SchemaRef,
    places: HashMap<String, usize>,
    whole: bool,
}

impl Shape {
    /// From columns; the whole document if one of them is of that kind.
    pub fn new(layout: Layout, form: Form, unknown: UnknownKeys) -> Self {
        let whole = layout.iter().any(|(_, kind)| *kind == Kind::Document);
        let mut fields: Vec<_> =
            layout.iter().map(|(name, kind)| kind.field(name, form == Form::Relaxed && *kind == Kind::Json)).collect();
        if !whole && unknown == UnknownKeys::Extra {
            fields.push(Kind::Json.field(EXTRA, form == Form::Relaxed));
        }
        let places = layout.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
        Self { layout, form, unknown, schema: Arc::new(Schema::new(fields)), places, whole }
    }

    /// `_id` and the document as it is.
    pub fn document() -> Self {
        let layout = vec![(ID.to_owned(), Kind::Key), (DOCUMENT.to_owned(), Kind::Document)];
        Self::new(layout, Form::Canonical, UnknownKeys::Ignore)
    }

    /// Whether there is a column of the whole document.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    fn extra(&self) -> Option<usize> {
        (self.schema.fields().len() > self.layout.len()).then_some(self.layout.len())
    }

    /// The cells of a document.
    pub fn row<'a>(&self, document: &'a [u8]) -> std::result::Result<Vec<Cell<'a>>, Unfit> {
        bson::check(document)?;
        let mut cells = vec![Cell::Null; self.schema.fields().len()];
        if self.whole {
            for (place, (_, kind)) in self.layout.iter().enumerate() {
                cells[place] = match kind {
                    Kind::Document => Cell::Text(extjson::canonical(document)?.into()),
                    _ => match bson::get(document, ID)? {
                        Some(id) => cell(*kind, id, self.form).map_err(|why| Unfit::value(ID, &why))?,
                        None => Cell::Null,
                    },
                };
            }
            return Ok(cells);
        }
        self.fill(document, &mut cells, true)?;
        Ok(cells)
    }

    /// The cells of a row of which only some fields are known; the others are absent.
    pub fn part<'a>(
        &self,
        known: &'a [u8],
        changed: Option<&'a [u8]>,
        removed: &[&str],
    ) -> std::result::Result<Vec<Cell<'a>>, Unfit> {
        let mut cells = vec![Cell::Absent; self.schema.fields().len()];
        if self.whole {
            for (place, (name, kind)) in self.layout.iter().enumerate() {
                if name == ID
                    && let Some(id) = bson::get(known, ID)?
                {
                    cells[place] = cell(*kind, id, self.form).map_err(|why| Unfit::value(ID, &why))?;
                }
            }
            return Ok(cells);
        }
        // Fields of the key that have no column of their own say nothing new.
        self.fill(known, &mut cells, false)?;
        if let Some(changed) = changed {
            self.fill(changed, &mut cells, true)?;
        }
        for name in removed {
            if let Some(&place) = self.places.get(*name) {
                cells[place] = Cell::Null;
            }
        }
        Ok(cells)
    }

    /// With columns for the fields of this document that have none; `None` if it has no such fields, or there are too many columns already.
    pub fn widened(&self, document: &[u8]) -> Option<Self> {
        if self.whole || self.unknown != UnknownKeys::Column {
            return None;
        }
        let mut layout = self.layout.clone();
        for (name, value) in elements(document).ok()?.map_while(std::result::Result::ok) {
            let new = !matches!(value, Value::Null | Value::Undefined) && !layout.iter().any(|(known, _)| known == name);
            if new && layout.len() < MOST_COLUMNS {
                let mut seen = Seen::default();
                seen.see(value);
                // One value says little: the next number may be larger.
                let kind = match seen.kind() {
                    Kind::Int32 => Kind::Int64,
                    Kind::Decimal(..) => Kind::DecimalText,
                    kind => kind,
                };
                layout.push((name.to_owned(), kind));
            }
        }
        (layout.len() > self.layout.len()).then(|| Self::new(layout, self.form, self.unknown))
    }

    /// Whether a field has a column of its own.
    pub fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    fn fill<'a>(&self, document: &'a [u8], cells: &mut [Cell<'a>], all: bool) -> std::result::Result<(), Unfit> {
        let mut seen = vec![false; self.layout.len()];
        let mut extra: Option<String> = None;
        let mut next = 0;
        for element in elements(document)? {
            let (name, value) = element?;
            // Documents of a collection mostly have their fields in the same order.
            let place = match self.layout.get(next) {
                Some((expected, _)) if expected == name => Some(next),
                _ => self.places.get(name).copied(),
            };
            let Some(place) = place else {
                match self.unknown {
                    _ if !all => {}
                    UnknownKeys::Ignore => {}
                    // A missing field and null are the same in a column.
                    UnknownKeys::Column if matches!(value, Value::Null | Value::Undefined) => {}
                    UnknownKeys::Column | UnknownKeys::DeadLetter => {
                        return Err(Unfit { code: "WEIR-MONGO-012", why: format!("field `{name}` is not among the columns") });
                    }
                    UnknownKeys::Extra => {
                        let text = extra.get_or_insert_with(|| "{".into());
                        if text.len() > 1 {
                            text.push(',');
                        }
                        extjson::write(Value::String(name), self.form, text)?;
                        text.push(':');
                        extjson::write(value, self.form, text)?;
                    }
                }
                continue;
            };
            if std::mem::replace(&mut seen[place], true) {
                return Err(Unfit { code: "WEIR-MONGO-011", why: format!("the document has two fields `{name}`") });
            }
            cells[place] = cell(self.layout[place].1, value, self.form).map_err(|why| Unfit::value(name, &why))?;
            if name == ID && matches!(cells[place], Cell::Null) {
                return Err(Unfit::value(ID, "the key is null, and its column holds only values of one type"));
            }
            next = place + 1;
        }
        if all && let (Some(place), Some(mut text)) = (self.extra(), extra) {
            text.push('}');
            cells[place] = Cell::Text(text.into());
        }
        Ok(())
    }
}

/// Why a document is no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Of the error catalogue.
    pub code: &'static str,
    /// In words.
    pub why: String,
}

impl Unfit {
    fn value(name: &str, why: &str) -> Self {
        Self { code: "WEIR-MONGO-010", why: format!("field `{name}`: {why}; `columns: {{{name}: json}}` holds every value") }
    }

    /// The letter about a document.
    pub fn letter(self, stream: &str, document: &[u8]) -> DeadLetter {
        let id = bson::get(document, ID).ok().flatten();
        let place = match id.and_then(|id| key_text(id).ok()) {
            Some(id) => format!("{stream}, _id {id}"),
            None => stream.to_owned(),
        };
        // A text that is cut is of no use; bytes that are cut can still be looked at.
        let (payload, media_type) = match extjson::canonical(document) {
            Ok(text) if text.len() <= DEAD_BYTES => (text.into_bytes(), "application/json"),
            _ => (document[..document.len().min(DEAD_BYTES)].to_vec(), "application/bson"),
        };
        DeadLetter {
            stream: stream.into(),
            code: self.code.into(),
            reason: self.why,
            place,
            payload,
            media_type: media_type.into(),
        }
    }
}

impl From<Malformed> for Unfit {
    fn from(Malformed(why): Malformed) -> Self {
        Self { code: "WEIR-MONGO-011", why: format!("the document is malformed: {why}") }
    }
}

/// A value on its way into a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// Not known: did not change, or is not in the log.
    Absent,
    /// NULL
    Null,
    /// 32 bits
    Int(i32),
    /// 64 bits, microseconds too
    Long(i64),
    /// double
    Double(f64),
    /// boolean
    Bool(bool),
    /// unscaled decimal
    Decimal(i128),
    /// text
    Text(Cow<'a, str>),
    /// bytes
    Bytes(&'a [u8]),
}

/// The text of a key: an objectId as 24 digits, everything else as canonical extended JSON (a string has its quotes, so nothing collides).
pub fn key_text(value: Value<'_>) -> std::result::Result<String, Malformed> {
    if let Value::ObjectId(id) = value {
        return Ok(hex(&id));
    }
    let mut text = String::new();
    extjson::write(value, Form::Canonical, &mut text)?;
    Ok(text)
}

fn cell<'a>(kind: Kind, value: Value<'a>, form: Form) -> std::result::Result<Cell<'a>, String> {
    let text = |text: String| Ok(Cell::Text(Cow::Owned(text)));
    Ok(match (kind, value) {
        (Kind::Key, value) => return text(key_text(value).map_err(|Malformed(why)| why)?),
        (_, Value::Null) => Cell::Null,
        (Kind::Json | Kind::Document, value) => {
            let mut out = String::new();
            extjson::write(value, form, &mut out).map_err(|Malformed(why)| why)?;
            return text(out);
        }
        (Kind::Int32, Value::Int32(value)) => Cell::Int(value),
        (Kind::Int64, Value::Int32(value)) => Cell::Long(value.into()),
        (Kind::Int64, Value::Int64(value)) => Cell::Long(value),
        (Kind::Int32, Value::Int64(value)) if i32::try_from(value).is_ok() => Cell::Int(value as i32),
        (Kind::Double, Value::Double(value)) => Cell::Double(value),
        (Kind::Double, Value::Int32(value)) => Cell::Double(value.into()),
        (Kind::Bool, Value::Bool(value)) => Cell::Bool(value),
        (Kind::Date, Value::Date(ms)) => match ms.checked_mul(1000) {
            Some(us) => Cell::Long(us),
            None => return Err(format!("the date {ms} ms is outside of the years that timestamps have")),
        },
        // Strings only: the text of a number would look like a string.
        (Kind::Text, Value::String(value)) => Cell::Text(value.into()),
        (Kind::ObjectId, Value::ObjectId(id)) => return text(hex(&id)),
        (Kind::DecimalText, Value::Decimal128(bytes)) => {
            return text(mongodb::bson::Decimal128::from_bytes(bytes).to_string());
        }
        (Kind::DecimalText, Value::Int32(value)) => return text(value.to_string()),
        (Kind::DecimalText, Value::Int64(value)) => return text(value.to_string()),
        (Kind::Decimal(digits, scale), Value::Int32(_) | Value::Int64(_) | Value::Decimal128(_)) => {
            let (unscaled, has) = match value {
                Value::Int32(value) => (i128::from(value), 0),
                Value::Int64(value) => (i128::from(value), 0),
                Value::Decimal128(bytes) => match decimal(bytes) {
                    Some(found) => found,
                    None => {
                        return Err(format!("{} is no number of a decimal column", mongodb::bson::Decimal128::from_bytes(bytes)));
                    }
                },
                _ => (0, 0),
            };
            let up = u32::from(scale).checked_sub(has).and_then(|up| unscaled.checked_mul(10_i128.pow(up)));
            match up {
                Some(value) if value.unsigned_abs() < 10_u128.pow(u32::from(digits)) => Cell::Decimal(value),
                _ => return Err(format!("a decimal with more digits than decimal({digits},{scale}) has")),
            }
        }
        (Kind::Binary, Value::Binary(0, bytes)) => Cell::Bytes(bytes),
        (Kind::Uuid, Value::Binary(4, bytes)) => match uuid::Uuid::from_slice(bytes) {
            Ok(id) => return text(id.to_string()),
            Err(_) => return Err(format!("a UUID of {} bytes", bytes.len())),
        },
        (kind, value) => {
            return Err(format!("a value of type {} does not fit a column of type {}", value.type_name(), kind.data_type()));
        }
    })
}

enum Builder {
    Int(Int32Builder),
    Long(Int64Builder),
    Date(TimestampMicrosecondBuilder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
    Decimal(Decimal128Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
}

impl Builder {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Int32 => Self::Int(Int32Builder::new()),
            Kind::Int64 => Self::Long(Int64Builder::new()),
            Kind::Double => Self::Double(Float64Builder::new()),
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
            Kind::Date => Self::Date(TimestampMicrosecondBuilder::new().with_data_type(kind.data_type())),
            Kind::Decimal(..) => Self::Decimal(Decimal128Builder::new().with_data_type(kind.data_type())),
            Kind::Binary => Self::Bytes(BinaryBuilder::new()),
            _ => Self::Text(StringBuilder::new()),
        }
    }

    fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Int(builder), Cell::Int(value)) => builder.append_value(value),
            (Self::Int(builder), _) => builder.append_null(),
            (Self::Long(builder), Cell::Long(value)) => builder.append_value(value),
            (Self::Long(builder), _) => builder.append_null(),
            (Self::Date(builder), Cell::Long(value)) => builder.append_value(value),
            (Self::Date(builder), _) => builder.append_null(),
            (Self::Double(builder), Cell::Double(value)) => builder.append_value(value),
            (Self::Double(builder), _) => builder.append_null(),
            (Self::Bool(builder), Cell::Bool(value)) => builder.append_value(value),
            (Self::Bool(builder), _) => builder.append_null(),
            (Self::Decimal(builder), Cell::Decimal(value)) => builder.append_value(value),
            (Self::Decimal(builder), _) => builder.append_null(),
            (Self::Text(builder), Cell::Text(value)) => builder.append_value(value),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Bytes(builder), Cell::Bytes(value)) => builder.append_value(value),
            (Self::Bytes(builder), _) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Long(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bytes(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Rows that are being built.
pub struct Rows {
    shape: Arc<Shape>,
    builders: Vec<Builder>,
    absent: Vec<Option<BooleanBufferBuilder>>,
    rows: usize,
}

impl Rows {
    /// None yet.
    pub fn new(shape: Arc<Shape>) -> Self {
        let kinds = shape.layout.iter().map(|(_, kind)| *kind).chain(shape.extra().map(|_| Kind::Json));
        let builders: Vec<_> = kinds.map(Builder::new).collect();
        let absent = builders.iter().map(|_| None).collect();
        Self { shape, builders, absent, rows: 0 }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a row.
    pub fn push(&mut self, cells: Vec<Cell<'_>>) {
        for (place, cell) in cells.into_iter().enumerate() {
            if cell == Cell::Absent {
                let bits = self.absent[place].get_or_insert_with(|| BooleanBufferBuilder::new(self.rows + 64));
                bits.append_n(self.rows - bits.len(), false);
                bits.append(true);
            }
            self.builders[place].push(cell);
        }
        self.rows += 1;
    }

    /// Adds a row of NULLs.
    pub fn push_nothing(&mut self) {
        self.push(vec![Cell::Null; self.builders.len()]);
    }

    /// The rows and, per column, which of them are absent. The builders are empty afterwards.
    pub fn finish(&mut self) -> Result<(RecordBatch, Vec<Option<BooleanBuffer>>)> {
        let rows = std::mem::take(&mut self.rows);
        let arrays = self.builders.iter_mut().map(Builder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.shape.schema.clone(), arrays, &options)
            .map_err(|error| Error::internal("cannot build a batch of documents").caused_by(error))?;
        let absent = self.absent.iter_mut().map(|bits| {
            let mut bits = bits.take()?;
            bits.append_n(rows - bits.len(), false);
            Some(bits.finish())
        });
        Ok((batch, absent.collect()))
    }
}
