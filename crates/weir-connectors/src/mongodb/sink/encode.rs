//! Rows of Arrow into documents. Each value is what its column's [`Form`] says, or an error in words; nothing is bent.

use std::collections::HashSet;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, LargeBinaryArray,
    LargeListArray, LargeStringArray, MapArray, RecordBatch, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, Float64Type, Int32Type, Int64Type, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use weir_connect::{Error, Kind, Result};

use super::super::bson::{self, Malformed, Value, Writer, elements};
use super::super::extjson;
use super::super::rows::ID;
use super::json;
use super::types::{DIGITS, Form};

/// The largest document of a server.
pub const DOCUMENT_BYTES: usize = 16 << 20;
/// 10^34: the first number that BSON's decimal does not hold.
const LIMIT: u128 = 10_u128.pow(DIGITS as u32);
/// What BSON's decimal adds to its exponent.
const BIAS: i32 = 6176;

/// Values of a column, on their way into documents.
pub enum Cells {
    /// Nothing but NULL.
    Null,
    /// bool
    Bool(BooleanArray),
    /// int
    Int(Int32Array),
    /// long
    Long(Int64Array),
    /// double
    Double(Float64Array),
    /// Unscaled, fraction digits, whether it may be rounded.
    Decimal(Decimal128Array, i32, bool),
    /// Text of any form.
    Text(LargeStringArray, Form),
    /// Bytes, and the subtype.
    Bytes(LargeBinaryArray, u8),
    /// A number, and what makes milliseconds of it: times, divided by.
    Date(Int64Array, i64, i64),
    /// Items.
    List(LargeListArray, Box<Cells>),
    /// Fields by name.
    Struct(StructArray, Vec<(String, Cells)>),
    /// Keys and values; whether the keys are names.
    Map(MapArray, Box<Cells>, Box<Cells>, bool),
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("a column cannot be prepared: {error}"))
}

impl Cells {
    /// The values of an array in this form.
    pub fn new(form: &Form, array: &ArrayRef) -> Result<Self> {
        let to = |kind: &DataType| cast(array, kind).map_err(broken);
        let long = || to(&DataType::Int64).map(|array| array.as_primitive::<Int64Type>().clone());
        Ok(match form {
            Form::Null => Self::Null,
            Form::Bool => Self::Bool(to(&DataType::Boolean)?.as_boolean().clone()),
            Form::Int => Self::Int(to(&DataType::Int32)?.as_primitive::<Int32Type>().clone()),
            Form::Long => Self::Long(long()?),
            Form::Double => Self::Double(to(&DataType::Float64)?.as_primitive::<Float64Type>().clone()),
            Form::Decimal { rounded } => {
                let (kind, scale) = match array.data_type() {
                    DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
                        (DataType::Decimal128(38, *scale), *scale)
                    }
                    _ => (DataType::Decimal128(20, 0), 0),
                };
                Self::Decimal(to(&kind)?.as_primitive::<Decimal128Type>().clone(), i32::from(scale), *rounded)
            }
            Form::Printed => {
                let options = FormatOptions::new();
                let formatter = ArrayFormatter::try_new(array, &options).map_err(broken)?;
                let text = (0..array.len()).map(|row| array.is_valid(row).then(|| formatter.value(row).to_string()));
                Self::Text(text.collect(), Form::Text)
            }
            Form::Uuid if matches!(array.data_type(), DataType::FixedSizeBinary(_)) => {
                Self::Bytes(to(&DataType::LargeBinary)?.as_binary::<i64>().clone(), 4)
            }
            Form::Text | Form::Uuid | Form::ObjectId | Form::Key | Form::Json | Form::Extended | Form::Whole => {
                Self::Text(to(&DataType::LargeUtf8)?.as_string::<i64>().clone(), form.clone())
            }
            Form::Bytes => Self::Bytes(to(&DataType::LargeBinary)?.as_binary::<i64>().clone(), 0),
            Form::Date => {
                let (times, by) = match array.data_type() {
                    DataType::Date32 => (86_400_000, 1),
                    DataType::Timestamp(TimeUnit::Second, _) => (1000, 1),
                    DataType::Timestamp(TimeUnit::Microsecond, _) => (1, 1000),
                    DataType::Timestamp(TimeUnit::Nanosecond, _) => (1, 1_000_000),
                    _ => (1, 1),
                };
                let plain = match array.data_type() {
                    DataType::Date32 => cast(&to(&DataType::Int32)?, &DataType::Int64).map_err(broken)?,
                    _ => to(&DataType::Int64)?,
                };
                Self::Date(plain.as_primitive::<Int64Type>().clone(), times, by)
            }
            Form::List(item) => {
                let field = match array.data_type() {
                    DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => field.clone(),
                    other => return Err(broken(format!("{other} is no list"))),
                };
                let list = to(&DataType::LargeList(field))?.as_list::<i64>().clone();
                let items = Self::new(item, list.values())?;
                Self::List(list, Box::new(items))
            }
            Form::Struct(forms) => {
                let array = array.as_struct_opt().ok_or_else(|| broken("not a struct"))?.clone();
                let names = array.fields().iter().map(|field| field.name().clone());
                let fields = names
                    .zip(forms.iter().zip(array.columns()))
                    .map(|(name, (form, column))| Ok((name, Self::new(form, column)?)))
                    .collect::<Result<_>>()?;
                Self::Struct(array, fields)
            }
            Form::Map(key, value) => {
                let array = array.as_map_opt().ok_or_else(|| broken("not a map"))?.clone();
                let (keys, values) = (Self::new(key, array.keys())?, Self::new(value, array.values())?);
                Self::Map(array, Box::new(keys), Box::new(values), **key == Form::Text)
            }
        })
    }

    /// Whether the value is NULL.
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(array) => array.is_null(row),
            Self::Int(array) => array.is_null(row),
            Self::Long(array) | Self::Date(array, ..) => array.is_null(row),
            Self::Double(array) => array.is_null(row),
            Self::Decimal(array, ..) => array.is_null(row),
            Self::Text(array, _) => array.is_null(row),
            Self::Bytes(array, _) => array.is_null(row),
            Self::List(array, _) => array.is_null(row),
            Self::Struct(array, _) => array.is_null(row),
            Self::Map(array, ..) => array.is_null(row),
        }
    }

    /// Adds the value to a document.
    pub fn put(&self, writer: &mut Writer, name: &str, row: usize) -> std::result::Result<(), Malformed> {
        if self.is_null(row) {
            return writer.put(name, Value::Null);
        }
        match self {
            Self::Null => writer.put(name, Value::Null),
            Self::Bool(array) => writer.put(name, Value::Bool(array.value(row))),
            Self::Int(array) => writer.put(name, Value::Int32(array.value(row))),
            Self::Long(array) => writer.put(name, Value::Int64(array.value(row))),
            Self::Double(array) => writer.put(name, Value::Double(array.value(row))),
            Self::Decimal(array, scale, rounded) => {
                writer.put(name, Value::Decimal128(decimal(array.value(row), *scale, *rounded)?))
            }
            Self::Text(array, form) => text(writer, name, array.value(row), form),
            Self::Bytes(array, subtype) => writer.put(name, Value::Binary(*subtype, array.value(row))),
            Self::Date(array, times, by) => {
                let value = array.value(row);
                let ms = value.checked_mul(*times).ok_or_else(|| Malformed(format!("the moment {value} is out of range")))?;
                writer.put(name, Value::Date(ms.div_euclid(*by)))
            }
            Self::List(array, items) => {
                let mut inner = Writer::default();
                let range = array.value_offsets()[row]..array.value_offsets()[row + 1];
                for (at, item) in range.enumerate() {
                    items.put(&mut inner, &at.to_string(), item as usize)?;
                }
                writer.put(name, Value::Array(&inner.finish()))
            }
            Self::Struct(_, fields) => {
                let mut inner = Writer::default();
                for (name, cells) in fields {
                    cells.put(&mut inner, name, row)?;
                }
                writer.put(name, Value::Document(&inner.finish()))
            }
            Self::Map(array, keys, values, named) => {
                let (mut inner, mut seen) = (Writer::default(), HashSet::new());
                let range = array.value_offsets()[row] as usize..array.value_offsets()[row + 1] as usize;
                for (at, entry) in range.enumerate() {
                    if let (true, Cells::Text(names, _)) = (*named, keys.as_ref()) {
                        let key = names.value(entry);
                        if !seen.insert(key) {
                            return Err(Malformed(format!("a map with two values of `{key}`")));
                        }
                        values.put(&mut inner, key, entry)?;
                        continue;
                    }
                    let mut pair = Writer::default();
                    keys.put(&mut pair, "key", entry)?;
                    values.put(&mut pair, "value", entry)?;
                    inner.put(&at.to_string(), Value::Document(&pair.finish()))?;
                }
                let inner = inner.finish();
                writer.put(name, if *named { Value::Document(&inner) } else { Value::Array(&inner) })
            }
        }
    }
}

fn text(writer: &mut Writer, name: &str, text: &str, form: &Form) -> std::result::Result<(), Malformed> {
    let object_id = || extjson::object_id(text);
    match form {
        Form::ObjectId => match object_id() {
            Some(id) => writer.put(name, Value::ObjectId(id)),
            None => Err(Malformed(format!("`{text}` is no objectId"))),
        },
        Form::Key => match object_id() {
            Some(id) => writer.put(name, Value::ObjectId(id)),
            None => extjson::put(writer, name, text),
        },
        Form::Uuid => match uuid::Uuid::parse_str(text) {
            Ok(id) => writer.put(name, Value::Binary(4, id.as_bytes())),
            Err(error) => Err(Malformed(format!("`{text}` is no UUID: {error}"))),
        },
        Form::Json => json::put(writer, name, text),
        Form::Extended => extjson::put(writer, name, text),
        _ => writer.put(name, Value::String(text)),
    }
}

/// A decimal of BSON: IEEE 754-2008 decimal128, binary integer form. 34 digits fit into the 113 bits of its coefficient.
fn decimal(unscaled: i128, scale: i32, rounded: bool) -> std::result::Result<[u8; 16], Malformed> {
    let (mut value, mut scale) = (unscaled.unsigned_abs(), scale);
    while value >= LIMIT && value.is_multiple_of(10) {
        (value, scale) = (value / 10, scale - 1);
    }
    if value >= LIMIT && !rounded {
        return Err(Malformed(format!("{unscaled} (with {scale} fraction digits) has more than {DIGITS} digits")));
    }
    let mut cut = 1;
    while value / cut >= LIMIT {
        (cut, scale) = (cut * 10, scale - 1);
    }
    // Half to even; what becomes 10^34 by that has one digit less.
    let (whole, rest) = (value / cut, value % cut);
    value = whole + u128::from(rest * 2 > cut || (rest * 2 == cut && whole % 2 == 1 && cut > 1));
    if value == LIMIT {
        (value, scale) = (value / 10, scale - 1);
    }
    let exponent = u128::from((BIAS - scale).unsigned_abs());
    let sign = u128::from(unscaled < 0) << 127;
    Ok((sign | (exponent << 113) | value).to_le_bytes())
}

/// A column that is written.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name, here and there.
    pub name: String,
    /// Place in the stream's schema.
    pub index: usize,
    /// How.
    pub form: Form,
}

/// What `_id` is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    /// A new one for each row.
    Generated,
    /// The value of this column (place in [`Layout::columns`]).
    Of(usize),
    /// A document of these columns.
    All(Vec<usize>),
}

/// How rows of a stream become documents.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Columns in their order.
    pub columns: Vec<Column>,
    /// `_id`
    pub id: Id,
    /// The target, for messages.
    pub place: String,
}

/// Batches of a layout.
pub struct Table {
    cells: Vec<Cells>,
}

/// Where a value is: `None` = nowhere.
pub type Find<'a> = dyn Fn(usize) -> Option<(usize, usize)> + 'a;

impl Layout {
    /// A batch, prepared.
    pub fn table(&self, batch: &RecordBatch) -> Result<Table> {
        let cells = self.columns.iter().map(|column| Cells::new(&column.form, batch.column(column.index)));
        Ok(Table { cells: cells.collect::<Result<_>>()? })
    }

    /// Refuses names that documents cannot have, or that mean something else in an update.
    pub fn check_names(schema: &SchemaRef, place: &str) -> Result<()> {
        fn walk(field: &Field, top: bool) -> Option<String> {
            let name = field.name();
            let wrong = name.contains('\0') || name.is_empty() || (top && (name.contains('.') || name.starts_with('$')));
            if wrong {
                return Some(name.clone());
            }
            match field.data_type() {
                DataType::Struct(fields) => fields.iter().find_map(|field| walk(field, false)),
                _ => None,
            }
        }
        match schema.fields().iter().find_map(|field| walk(field, true)) {
            Some(name) => Err(Error::new("WEIR-MONGO-039", Kind::Schema, format!("a field cannot be called `{name}`"))
                .at(place)
                .because("a dot or a `$` at the begin means something else in an update")
                .hint("rename the column with a field_mapper")),
            None => Ok(()),
        }
    }

    /// Whether a column is the whole document.
    pub fn is_whole(&self) -> bool {
        self.columns.iter().any(|column| column.form == Form::Whole)
    }

    /// `{_id: …}` of a row.
    pub fn id(&self, tables: &[Table], find: &Find<'_>) -> Result<Vec<u8>> {
        let mut writer = Writer::default();
        let value = |writer: &mut Writer, name: &str, at: usize| {
            let Some((table, row)) = find(at) else { return Err(Malformed("a column of the key has no value".into())) };
            if tables[table].cells[at].is_null(row) {
                return Err(Malformed(format!("the column `{}` of the key is NULL", self.columns[at].name)));
            }
            tables[table].cells[at].put(writer, name, row)
        };
        let done = match &self.id {
            Id::Generated => writer.put(ID, Value::ObjectId(mongodb::bson::oid::ObjectId::new().bytes())),
            Id::Of(at) => value(&mut writer, ID, *at),
            Id::All(all) => {
                let mut inner = Writer::default();
                all.iter()
                    .try_for_each(|at| value(&mut inner, &self.columns[*at].name, *at))
                    .and_then(|()| writer.put(ID, Value::Document(&inner.finish())))
            }
        };
        match done {
            Ok(()) => Ok(writer.finish()),
            Err(Malformed(why)) => Err(Error::new("WEIR-MONGO-034", Kind::Data, "a row has no usable key")
                .at(self.place.clone())
                .because(why)
                .hint("a document is found by its key: filter such rows out, or choose another `key`")),
        }
    }

    /// The fields of a document behind its `_id`, into `writer`. Columns without a value are left out.
    pub fn fields(&self, writer: &mut Writer, id: &[u8], tables: &[Table], find: &Find<'_>) -> Result<()> {
        for (at, column) in self.columns.iter().enumerate() {
            if column.name == ID {
                continue;
            }
            let Some((table, row)) = find(at) else { continue };
            let cells = &tables[table].cells[at];
            let done = match (&column.form, cells) {
                (Form::Whole, Cells::Text(array, _)) if !cells.is_null(row) => self.spread(writer, array.value(row)),
                (Form::Whole, _) => Ok(()),
                _ => cells.put(writer, &column.name, row),
            };
            done.map_err(|Malformed(why)| {
                Error::new("WEIR-MONGO-034", Kind::Data, format!("column `{}` has a value that cannot be stored", column.name))
                    .at(self.place.clone())
                    .because(format!("{why}; the document with _id {}", shown_id(id)))
                    .hint("change the value in the pipeline, or choose `on_loss` or `json: text`")
            })?;
        }
        Ok(())
    }

    /// The fields of a whole document, given as text.
    fn spread(&self, writer: &mut Writer, text: &str) -> std::result::Result<(), Malformed> {
        let document = extjson::document(text)?;
        for element in elements(&document)? {
            let (name, value) = element?;
            if name == ID {
                continue;
            }
            if self.columns.iter().any(|column| column.name == name && column.form != Form::Whole) {
                return Err(Malformed(format!("the document has a field `{name}`, and so has the stream")));
            }
            writer.put(name, value)?;
        }
        Ok(())
    }

    /// A whole document: its `_id`, then its fields.
    pub fn document(&self, id: &[u8], tables: &[Table], find: &Find<'_>) -> Result<Vec<u8>> {
        let mut writer = Writer::default();
        self.put_id(&mut writer, id)?;
        self.fields(&mut writer, id, tables, find)?;
        self.sized(writer.finish(), id)
    }

    /// Adds `_id` as it is in `{_id: …}`.
    pub fn put_id(&self, writer: &mut Writer, id: &[u8]) -> Result<()> {
        let put = bson::get(id, ID).and_then(|value| writer.put(ID, value.unwrap_or(Value::Null)));
        put.map_err(|Malformed(why)| Error::internal(format!("a key that was just written cannot be read: {why}")))
    }

    /// A document that the server takes.
    pub fn sized(&self, document: Vec<u8>, id: &[u8]) -> Result<Vec<u8>> {
        if document.len() <= DOCUMENT_BYTES {
            return Ok(document);
        }
        Err(Error::new("WEIR-MONGO-014", Kind::Limit, "a document is larger than 16 MiB")
            .at(self.place.clone())
            .because(format!("the document with _id {} has {} bytes", shown_id(id), document.len()))
            .hint("leave columns out, or filter such rows with a transform"))
    }
}

/// `_id` for messages.
pub fn shown_id(id: &[u8]) -> String {
    match bson::get(id, ID) {
        Ok(Some(value)) => super::super::rows::key_text(value).unwrap_or_else(|Malformed(why)| why),
        _ => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mongodb::bson::Decimal128;

    use super::*;

    #[test]
    fn decimals_are_what_the_official_library_reads() {
        let shown = |value: i128, scale: i32| Decimal128::from_bytes(decimal(value, scale, false).unwrap()).to_string();
        assert_eq!(shown(0, 0), "0");
        assert_eq!(shown(-1, 2), "-0.01");
        assert_eq!(shown(150, 2), "1.50");
        assert_eq!(shown(7, -3), "7E+3");
        assert_eq!(shown(9_999_999_999_999_999_999_999_999_999_999_999, 10), "999999999999999999999999.9999999999");
        assert_eq!(shown(10_i128.pow(37), 37), "1.000000000000000000000000000000000");
        assert_eq!(shown(i128::from(u64::MAX), 0), "18446744073709551615");
    }

    #[test]
    fn digits_that_do_not_fit_are_an_error_or_rounded_half_to_even() {
        let nines = 10_i128.pow(38) - 1;
        assert!(decimal(nines, 0, false).unwrap_err().0.contains("more than 34 digits"));
        let shown = |value: i128| Decimal128::from_bytes(decimal(value, 4, true).unwrap()).to_string();
        assert_eq!(shown(nines), "1.000000000000000000000000000000000E+34");
        // 36 digits with 4 of them behind the point: the last two go.
        assert_eq!(shown(10_i128.pow(35) + 150), "10000000000000000000000000000000.02");
        assert_eq!(shown(-(10_i128.pow(35) + 250)), "-10000000000000000000000000000000.02");
        assert_eq!(shown(10_i128.pow(35) + 251), "10000000000000000000000000000000.03");
    }

    #[test]
    fn moments_are_cut_towards_the_past() {
        let at: ArrayRef = Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![-1, 1_999, 1_000]));
        let cells = Cells::new(&Form::Date, &at).unwrap();
        for (row, expected) in [-1, 1, 1].into_iter().enumerate() {
            let mut writer = Writer::default();
            cells.put(&mut writer, "at", row).unwrap();
            assert_eq!(bson::get(&writer.finish(), "at").unwrap(), Some(Value::Date(expected)));
        }
    }
}
