//! What a column is: BSON's types → Arrow, and which types a sample of documents shows. The only mapping table of reading.

use arrow::datatypes::{DataType, Field, TimeUnit};
use mongodb::bson::Decimal128;
use serde::{Deserialize, Serialize};
use weir_connect::Edge;
use weir_connect::fidelity::LOGICAL_TYPE;

use super::bson::Value;

/// Digits of Arrow's decimals.
const DIGITS: u8 = 38;

/// How a column carries its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// int
    Int32,
    /// int, long
    Int64,
    /// double, int
    Double,
    /// bool
    Bool,
    /// date
    Date,
    /// string
    Text,
    /// objectId, as 24 hexadecimal digits
    ObjectId,
    /// decimal, int and long of so many digits and fraction digits
    Decimal(u8, u8),
    /// decimal, as its text
    DecimalText,
    /// binData of subtype 0
    Binary,
    /// binData of subtype 4
    Uuid,
    /// Anything, as extended JSON
    Json,
    /// Anything as the text of a key: an objectId as 24 digits, all else as canonical extended JSON
    Key,
    /// The whole document, as canonical extended JSON
    Document,
}

impl Kind {
    /// The word in `columns:`.
    pub fn parse(text: &str) -> Option<Self> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
        if let Some(inner) = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')')) {
            let (digits, scale) = inner.split_once(',')?;
            let (digits, scale) = (digits.parse().ok()?, scale.parse().ok()?);
            return ((1..=DIGITS).contains(&digits) && scale <= digits).then_some(Self::Decimal(digits, scale));
        }
        Some(match text.as_str() {
            "int" | "int32" | "integer" => Self::Int32,
            "long" | "int64" | "bigint" => Self::Int64,
            "double" | "float64" => Self::Double,
            "bool" | "boolean" => Self::Bool,
            "date" | "timestamp" => Self::Date,
            "string" | "text" => Self::Text,
            "object_id" | "objectid" => Self::ObjectId,
            "decimal" => Self::DecimalText,
            "binary" | "bytes" => Self::Binary,
            "uuid" => Self::Uuid,
            "json" => Self::Json,
            "key" => Self::Key,
            _ => return None,
        })
    }

    /// The type in Arrow.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Date => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Decimal(digits, scale) => DataType::Decimal128(digits, scale as i8),
            Self::Binary => DataType::Binary,
            Self::Text | Self::ObjectId | Self::DecimalText | Self::Uuid | Self::Json | Self::Key | Self::Document => {
                DataType::Utf8
            }
        }
    }

    /// The column's field.
    pub fn field(self, name: &str, relaxed: bool) -> Field {
        let field = Field::new(name, self.data_type(), true);
        let (source_type, logical) = match self {
            Self::Int32 => ("int", None),
            Self::Int64 => ("long", None),
            Self::Double => ("double", None),
            Self::Bool => ("bool", None),
            Self::Date => ("date", None),
            Self::Text => ("string", None),
            Self::ObjectId => ("objectId", None),
            Self::Decimal(..) | Self::DecimalText => ("decimal", None),
            Self::Binary => ("binData", None),
            Self::Uuid => ("binData", Some("uuid")),
            Self::Json => ("mixed", Some("json")),
            Self::Key => ("key", None),
            Self::Document => ("document", Some("json")),
        };
        let edge = match self {
            Self::Json if relaxed => {
                Edge::Widening { note: "relaxed extended JSON: int, long and double are JSON numbers".into() }
            }
            Self::ObjectId | Self::DecimalText | Self::Json | Self::Key | Self::Document => {
                Edge::Widening { note: format!("{source_type} → text") }
            }
            Self::Decimal(..) => {
                Edge::Widening { note: "the same number; how many zeros it was written with is not kept".into() }
            }
            _ => Edge::Exact,
        };
        let mut field = edge.record(field, source_type);
        if let Some(logical) = logical {
            field.metadata_mut().insert(LOGICAL_TYPE.into(), logical.into());
        }
        field
    }
}

/// Digits before and after the point of a finite decimal, and its unscaled value at that scale; `None` for what no Arrow decimal holds.
pub fn decimal(bytes: [u8; 16]) -> Option<(i128, u32)> {
    let text = Decimal128::from_bytes(bytes).to_string();
    let (mantissa, exponent) = match text.split_once(['E', 'e']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text.as_str(), 0),
    };
    let negative = mantissa.starts_with('-');
    let (whole, fraction) =
        mantissa.trim_start_matches(['-', '+']).split_once('.').unwrap_or((mantissa.trim_start_matches(['-', '+']), ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    if negative && digits == 0 {
        // Negative zero is a value of its own.
        return None;
    }
    let (mut value, mut scale) = (digits, i32::try_from(fraction.len()).ok()? - exponent);
    while scale > 0 && value % 10 == 0 {
        (value, scale) = (value / 10, scale - 1);
    }
    while scale < 0 {
        (value, scale) = (value.checked_mul(10)?, scale + 1);
        if value == 0 {
            scale = 0;
        }
    }
    let limit = 10_i128.pow(u32::from(DIGITS));
    (value < limit && scale <= i32::from(DIGITS)).then_some((if negative { -value } else { value }, scale as u32))
}

/// The types seen in one field.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    types: u32,
    /// Of decimals: the most digits before and after the point; `None` once one of them fits no decimal.
    decimals: Option<(u32, u32)>,
    odd_decimal: bool,
}

const INT: u32 = 1;
const LONG: u32 = 2;
const DOUBLE: u32 = 4;
const BOOL: u32 = 8;
const DATE: u32 = 16;
const STRING: u32 = 32;
const OBJECT_ID: u32 = 64;
const DECIMAL: u32 = 128;
const BINARY: u32 = 256;
const UUID: u32 = 512;
const OTHER: u32 = 1024;

impl Seen {
    /// Another value of the field.
    pub fn see(&mut self, value: Value<'_>) {
        self.types |= match value {
            Value::Null => 0,
            Value::Int32(_) => INT,
            Value::Int64(_) => LONG,
            Value::Double(_) => DOUBLE,
            Value::Bool(_) => BOOL,
            Value::Date(_) => DATE,
            Value::String(_) => STRING,
            Value::ObjectId(_) => OBJECT_ID,
            Value::Binary(0, _) => BINARY,
            Value::Binary(4, bytes) if bytes.len() == 16 => UUID,
            Value::Decimal128(bytes) => {
                match decimal(bytes) {
                    Some((value, scale)) => {
                        let digits = value.unsigned_abs().checked_ilog10().map_or(1, |digits| digits + 1);
                        let (whole, fraction) = self.decimals.unwrap_or_default();
                        self.decimals = Some((whole.max(digits.saturating_sub(scale)), fraction.max(scale)));
                    }
                    None => self.odd_decimal = true,
                }
                DECIMAL
            }
            _ => OTHER,
        };
    }

    /// The narrowest kind that holds what was seen, exactly; of what was seen to be mixed, extended JSON.
    pub fn kind(&self) -> Kind {
        match self.types {
            INT => Kind::Int32,
            types if types & !(INT | LONG) == 0 && types != 0 => Kind::Int64,
            types if types & !(INT | DOUBLE) == 0 && types != 0 => Kind::Double,
            BOOL => Kind::Bool,
            DATE => Kind::Date,
            STRING => Kind::Text,
            OBJECT_ID => Kind::ObjectId,
            BINARY => Kind::Binary,
            UUID => Kind::Uuid,
            DECIMAL => match self.decimals {
                Some((whole, fraction)) if !self.odd_decimal && whole + fraction <= u32::from(DIGITS) => {
                    Kind::Decimal(DIGITS, fraction as u8)
                }
                _ => Kind::DecimalText,
            },
            _ => Kind::Json,
        }
    }

    /// The same for the key: mixed types keep what tells them apart.
    pub fn key_kind(&self) -> Kind {
        match self.types {
            // Whatever comes later.
            0 => Kind::Key,
            _ => match self.kind() {
                kind @ (Kind::Int32 | Kind::Int64 | Kind::Text | Kind::ObjectId | Kind::Uuid) => kind,
                _ => Kind::Key,
            },
        }
    }
}
