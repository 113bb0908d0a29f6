//! The types: what an Arrow column is turned into before it is written, and the type tree of the footer.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use weir_error::{Error, Result};

use super::proto::Message;

/// The Arrow type a column is written as. Only for types that [`crate::sink_type`] does not refuse.
pub(crate) fn stored_type(data_type: &DataType) -> DataType {
    use DataType as D;
    let inner = |field: &Field| Arc::new(stored_field(field));
    match data_type {
        D::UInt8 => D::Int16,
        D::UInt16 => D::Int32,
        D::UInt32 => D::Int64,
        D::UInt64 => D::Decimal128(20, 0),
        D::Float16 => D::Float32,
        D::Decimal32(precision, scale)
        | D::Decimal64(precision, scale)
        | D::Decimal128(precision, scale)
        | D::Decimal256(precision, scale) => {
            // Hundreds and thousands become whole numbers.
            let zeros = (-scale).max(0) as u8;
            D::Decimal128(precision.saturating_add(zeros), (*scale).max(0))
        }
        D::Date64 => D::Date32,
        // ORC has no times of day.
        D::Time32(_) | D::Time64(_) => D::Utf8,
        D::Duration(_) => D::Int64,
        D::Null => D::Utf8,
        D::Utf8View => D::Utf8,
        D::BinaryView | D::FixedSizeBinary(_) => D::Binary,
        D::Dictionary(_, value) => stored_type(value),
        D::List(item) | D::FixedSizeList(item, _) => D::List(inner(item)),
        D::LargeList(item) => D::LargeList(inner(item)),
        D::Struct(fields) => D::Struct(fields.iter().map(|field| stored_field(field)).collect()),
        D::Map(entries, sorted) => D::Map(inner(entries), *sorted),
        other => other.clone(),
    }
}

fn stored_field(field: &Field) -> Field {
    field.clone().with_data_type(stored_type(field.data_type()))
}

/// The types of the footer, the root first, and the timestamps among them that have another unit than ORC's.
#[derive(Default)]
pub(super) struct Types {
    pub(super) messages: Vec<Message>,
    pub(super) units: Vec<String>,
}

impl Types {
    /// The tree of a row with these columns, in the types of [`stored_type`].
    pub(super) fn new<'a>(columns: impl IntoIterator<Item = &'a Arc<Field>>) -> Result<Self> {
        let mut types = Self::default();
        types.add_struct(columns)?;
        Ok(types)
    }

    fn add_struct<'a>(&mut self, fields: impl IntoIterator<Item = &'a Arc<Field>>) -> Result<()> {
        let at = self.reserve();
        let (mut children, mut names) = (Vec::new(), Message::default());
        for field in fields {
            children.push(self.messages.len() as u64);
            self.add(field.data_type())?;
            names.bytes(3, field.name().as_bytes());
        }
        self.messages[at] = Message::of_type(12, &children, names);
        Ok(())
    }

    fn reserve(&mut self) -> usize {
        self.messages.push(Message::default());
        self.messages.len() - 1
    }

    fn add(&mut self, data_type: &DataType) -> Result<()> {
        use DataType as D;
        let kind = match data_type {
            D::Boolean => 0,
            D::Int8 => 1,
            D::Int16 => 2,
            D::Int32 => 3,
            D::Int64 => 4,
            D::Float32 => 5,
            D::Float64 => 6,
            D::Utf8 | D::LargeUtf8 => 7,
            D::Binary | D::LargeBinary => 8,
            D::Timestamp(unit, zone) => {
                if let Some(word) = unit_word(*unit) {
                    self.units.push(format!("{}={word}", self.messages.len()));
                }
                if zone.is_some() { 18 } else { 9 }
            }
            D::List(item) | D::LargeList(item) => {
                let at = self.reserve();
                self.add(item.data_type())?;
                self.messages[at] = Message::of_type(10, &[at as u64 + 1], Message::default());
                return Ok(());
            }
            D::Map(entries, _) => {
                let D::Struct(pair) = entries.data_type() else { return Err(refused(data_type)) };
                let at = self.reserve();
                let mut children = Vec::new();
                for field in pair {
                    children.push(self.messages.len() as u64);
                    self.add(field.data_type())?;
                }
                self.messages[at] = Message::of_type(11, &children, Message::default());
                return Ok(());
            }
            D::Struct(fields) => return self.add_struct(fields),
            D::Decimal128(precision, scale) => {
                let mut rest = Message::default();
                rest.number(5, u64::from(*precision));
                rest.number(6, u64::from(scale.unsigned_abs()));
                self.messages.push(Message::of_type(14, &[], rest));
                return Ok(());
            }
            D::Date32 => 15,
            _ => return Err(refused(data_type)),
        };
        self.messages.push(Message::of_type(kind, &[], Message::default()));
        Ok(())
    }
}

fn unit_word(unit: TimeUnit) -> Option<&'static str> {
    match unit {
        TimeUnit::Second => Some("s"),
        TimeUnit::Millisecond => Some("ms"),
        TimeUnit::Microsecond => Some("us"),
        TimeUnit::Nanosecond => None,
    }
}

impl Message {
    fn of_type(kind: u64, children: &[u64], rest: Message) -> Self {
        let mut message = Self::default();
        message.number(1, kind);
        if !children.is_empty() {
            message.packed(2, children.iter().copied());
        }
        message.append(rest);
        message
    }
}

/// For types that were to be refused before anything is written.
pub(super) fn refused(data_type: &DataType) -> Error {
    Error::internal(format!("{data_type} in the ORC writer"))
}
