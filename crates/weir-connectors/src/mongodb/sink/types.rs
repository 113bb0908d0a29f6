//! Arrow → BSON: how a field is stored, and what that does to its values. The only mapping table of writing.
//!
//! | Arrow | BSON |
//! | --- | --- |
//! | boolean; int8 to int32, uint8, uint16; int64, uint32; floats | bool; int; long; double |
//! | uint64, decimals up to 34 digits | decimal |
//! | decimals of more digits | lossy: BSON's decimal has 34 (what came from a BSON decimal goes back) |
//! | text; bytes | string; binData |
//! | date; timestamp of seconds or milliseconds | date, in UTC |
//! | timestamp of micro- or nanoseconds | lossy: BSON's date has milliseconds (not if the source says that it has no more) |
//! | time of day | string |
//! | list; struct, map with text keys; other maps | array; document; array of `{key, value}` |
//! | JSON text; UUID | what it says (`json: document`); binData of subtype 4 |
//! | what `mongodb` read: `_id`, objectId, extended JSON, whole documents | what it was |

use arrow::datatypes::{DataType, Field, TimeUnit};
use weir_connect::fidelity::{LOGICAL_TYPE, SOURCE_TYPE};
use weir_connect::stream::LossChoice;
use weir_connect::{Edge, OnLoss, SinkType};

use super::options::JsonForm;

/// Digits of BSON's decimal.
pub const DIGITS: u8 = 34;

/// How values are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// null
    Null,
    /// bool
    Bool,
    /// int
    Int,
    /// long
    Long,
    /// double
    Double,
    /// decimal
    Decimal {
        /// What has too many digits is rounded, and not refused.
        rounded: bool,
    },
    /// string, of text
    Text,
    /// string, of anything else, as Arrow prints it
    Printed,
    /// binData of subtype 0
    Bytes,
    /// binData of subtype 4, of text or of 16 bytes
    Uuid,
    /// objectId, of 24 digits
    ObjectId,
    /// What `mongodb` wrote as the text of a key
    Key,
    /// JSON text
    Json,
    /// Extended JSON text
    Extended,
    /// Extended JSON text of the whole document: its fields are the document's
    Whole,
    /// date
    Date,
    /// array
    List(Box<Form>),
    /// document
    Struct(Vec<Form>),
    /// document, or array of `{key, value}`
    Map(Box<Form>, Box<Form>),
}

/// A form, the server's name of it, and what it does to values.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// How it is written.
    pub form: Form,
    /// The name of the type (`$type`).
    pub name: &'static str,
    /// What happens to values.
    pub edge: Edge,
}

fn exact(form: Form, name: &'static str) -> Stored {
    Stored { form, name, edge: Edge::Exact }
}

fn widening(form: Form, name: &'static str, note: &str) -> Stored {
    Stored { form, name, edge: Edge::Widening { note: note.into() } }
}

fn lossy(choice: LossChoice, form: Form, name: &'static str, reason: &str) -> Stored {
    match choice {
        LossChoice::String => widening(Form::Printed, "string", "as text"),
        _ => Stored { form, name, edge: Edge::Lossy { reason: reason.into() } },
    }
}

/// Whether the source says that its moments have no more than milliseconds: `date` of MongoDB itself, `timestamp(3)`, `datetime`.
fn millis_at_most(source: Option<&str>) -> bool {
    let Some(source) = source else { return false };
    let source = source.to_ascii_lowercase();
    if matches!(source.as_str(), "date" | "datetime") {
        return true;
    }
    let digits =
        source.split_once('(').and_then(|(_, rest)| rest.split_once(')')).and_then(|(digits, _)| digits.parse::<u8>().ok());
    source.contains("time") && digits.is_some_and(|digits| digits <= 3)
}

/// How a field is stored, with this choice for what cannot be stored exactly.
pub fn stored(field: &Field, json: JsonForm, choice: LossChoice) -> Stored {
    use DataType as T;
    let metadata = |key: &str| field.metadata().get(key).map(String::as_str);
    let (source, logical) = (metadata(SOURCE_TYPE), metadata(LOGICAL_TYPE));
    let kind = match field.data_type() {
        T::Dictionary(_, value) => value.as_ref(),
        T::RunEndEncoded(_, values) => values.data_type(),
        kind => kind,
    };
    let text = matches!(kind, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    match (source, logical) {
        (Some("objectId"), _) if text => return exact(Form::ObjectId, "objectId"),
        (Some("key"), _) if text => return exact(Form::Key, "any"),
        (Some("document"), Some("json")) if text => return exact(Form::Whole, "object"),
        (Some("mixed"), Some("json")) if text => return exact(Form::Extended, "any"),
        (_, Some("json")) if text && json == JsonForm::Document => {
            return widening(Form::Json, "any", "JSON text → document: the same values; blanks are not kept");
        }
        (_, Some("uuid")) if text || matches!(kind, T::FixedSizeBinary(16)) => {
            return widening(Form::Uuid, "binData", "a UUID is stored as 16 bytes (subtype 4)");
        }
        _ => {}
    }
    match kind {
        T::Null => exact(Form::Null, "null"),
        T::Boolean => exact(Form::Bool, "bool"),
        T::Int32 => exact(Form::Int, "int"),
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 => widening(Form::Int, "int", "32 bits"),
        T::Int64 => exact(Form::Long, "long"),
        T::UInt32 => widening(Form::Long, "long", "64 bits"),
        T::UInt64 => widening(Form::Decimal { rounded: false }, "decimal", "BSON has no unsigned 64-bit number"),
        T::Float64 => exact(Form::Double, "double"),
        T::Float16 | T::Float32 => widening(Form::Double, "double", "64 bits"),
        T::Decimal32(digits, _) | T::Decimal64(digits, _) | T::Decimal128(digits, _) if *digits <= DIGITS => {
            exact(Form::Decimal { rounded: false }, "decimal")
        }
        T::Decimal128(..) if source == Some("decimal") => exact(Form::Decimal { rounded: false }, "decimal"),
        T::Decimal128(..) => lossy(
            choice,
            Form::Decimal { rounded: true },
            "decimal",
            "BSON's decimal has 34 digits, the column has more: the rest is rounded",
        ),
        T::Decimal256(..) => match choice {
            LossChoice::String => widening(Form::Printed, "string", "as text"),
            _ => unsupported("BSON's decimal has 34 digits, and this column is wider than 38"),
        },
        T::Utf8 | T::LargeUtf8 | T::Utf8View => exact(Form::Text, "string"),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => exact(Form::Bytes, "binData"),
        T::Date32 | T::Date64 => widening(Form::Date, "date", "a day is its midnight in UTC"),
        T::Time32(_) | T::Time64(_) => widening(Form::Printed, "string", "BSON has no time of day: as text"),
        T::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, Some(_)) => exact(Form::Date, "date"),
        T::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, None) => naive(),
        T::Timestamp(_, zone) if millis_at_most(source) => match zone {
            Some(_) => exact(Form::Date, "date"),
            None => naive(),
        },
        T::Timestamp(..) => lossy(choice, Form::Date, "date", "BSON's date counts milliseconds: what is finer is cut off"),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            let inner = stored(item, json, choice);
            Stored { form: Form::List(Box::new(inner.form)), name: "array", edge: inner.edge }
        }
        T::Struct(fields) => {
            let (mut forms, mut edge) = (Vec::new(), Edge::Exact);
            for field in fields {
                let inner = stored(field, json, choice);
                forms.push(inner.form);
                edge = edge.then(inner.edge);
            }
            Stored { form: Form::Struct(forms), name: "object", edge }
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(fields) if fields.len() == 2 => {
                let (key, value) = (stored(&fields[0], json, choice), stored(&fields[1], json, choice));
                let name = if key.form == Form::Text { "object" } else { "array" };
                let edge = key.edge.then(value.edge);
                Stored { form: Form::Map(Box::new(key.form), Box::new(value.form)), name, edge }
            }
            _ => unsupported("a map that is none"),
        },
        other => match choice {
            LossChoice::String => widening(Form::Printed, "string", "as text"),
            _ => unsupported(&format!("BSON has no type for {other}")),
        },
    }
}

fn naive() -> Stored {
    widening(Form::Date, "date", "a moment without zone is taken as UTC")
}

fn unsupported(reason: &str) -> Stored {
    Stored { form: Form::Printed, name: "string", edge: Edge::Unsupported { reason: reason.into() } }
}

/// For the plan.
pub fn sink_type(field: &Field, json: JsonForm) -> SinkType {
    let stored = stored(field, json, LossChoice::Error);
    SinkType { name: stored.name.into(), edge: stored.edge }
}

/// How a field is written by the spec's choice; `None`: it is left out. `Err`: it cannot be stored, and the spec does not say what to do.
pub fn chosen(field: &Field, json: JsonForm, on_loss: &OnLoss) -> Result<Option<Stored>, String> {
    let strict = stored(field, json, LossChoice::Error);
    let (reason, supported) = match &strict.edge {
        Edge::Lossy { reason } => (reason.clone(), true),
        Edge::Unsupported { reason } => (reason.clone(), false),
        _ => return Ok(Some(strict)),
    };
    match on_loss.for_column(field.name()) {
        LossChoice::Error => Err(reason),
        LossChoice::Drop => Ok(None),
        LossChoice::String => Ok(Some(stored(field, json, LossChoice::String))),
        LossChoice::Accept if supported => Ok(Some(stored(field, json, LossChoice::Accept))),
        LossChoice::Accept => Err(reason),
    }
}
