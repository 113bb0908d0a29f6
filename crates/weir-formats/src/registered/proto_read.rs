//! Protobuf records by the schema that they were written with, into the columns of the message that is read. Fields are matched by their numbers, as
//! Protobuf does, and must be of a type that the column holds.

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value as Wire,
};

use super::avro_read::Extra;
use super::proto_schema::{Known, Proto, known};
use super::value::Value;

type Fault = String;

/// How the records of one definition are read.
#[derive(Debug)]
pub(super) struct MessagePlan {
    /// The message that is read, and its path; `None`: records have none in front.
    message: MessageDescriptor,
    path: Option<Vec<i64>>,
    columns: Vec<FieldPlan>,
}

#[derive(Debug)]
struct FieldPlan {
    /// The column, whose value is read of an empty message where the writer has no such field.
    field: FieldDescriptor,
    there: bool,
    one: One,
}

/// How one value is read.
#[derive(Debug)]
enum One {
    Plain,
    /// Into 64 bits.
    Wide,
    Enum(EnumDescriptor),
    Timestamp,
    Duration,
    Wrapper,
    Json,
    Record(Vec<FieldPlan>),
    Map {
        key: Box<One>,
        value: Box<One>,
    },
}

/// How records of `writer` become rows of `reader`.
pub(super) fn resolve(writer: &Proto, reader: &Proto, extra: &mut Extra) -> Result<MessagePlan, Fault> {
    let path = Proto::path_of(&reader.message);
    let usable: Option<Vec<usize>> = path.iter().map(|at| usize::try_from(*at).ok()).collect();
    // By its name first: a message may have moved within its file.
    let named = writer.named(reader.message.full_name());
    let message = named.or_else(|| writer.at(&usable.unwrap_or_default()));
    let message = message.ok_or_else(|| format!("it has no message `{}`", reader.message.full_name()))?;
    let columns = members(&message, &reader.message, "", extra)?;
    Ok(MessagePlan { path: (!writer.bare).then(|| Proto::path_of(&message)), message, columns })
}

fn members(
    writer: &MessageDescriptor,
    reader: &MessageDescriptor,
    path: &str,
    extra: &mut Extra,
) -> Result<Vec<FieldPlan>, Fault> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for field in writer.fields().filter(|field| reader.get_field(field.number()).is_none()) {
        extra.push(below(field.name()));
    }
    reader
        .fields()
        .map(|column| {
            let place = below(column.name());
            let Some(field) = writer.get_field(column.number()) else {
                // It is NULL, empty or zero then: what Protobuf says of a field that is not there.
                if column.is_required() {
                    return Err(format!("`{place}` is missing"));
                }
                let one = one(&column.kind(), &column.kind(), &place, &mut Extra::new())?;
                return Ok(FieldPlan { field: column, there: false, one });
            };
            if field.is_list() != column.is_list() || field.is_map() != column.is_map() {
                return Err(format!("`{place}` is repeated in one schema and single in the other"));
            }
            let one = one(&field.kind(), &column.kind(), &place, extra)?;
            Ok(FieldPlan { field, there: true, one })
        })
        .collect()
}

fn one(writer: &Kind, reader: &Kind, path: &str, extra: &mut Extra) -> Result<One, Fault> {
    let width = |kind: &Kind| match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Some((32, true)),
        Kind::Uint32 | Kind::Fixed32 => Some((32, false)),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Some((64, true)),
        Kind::Uint64 | Kind::Fixed64 => Some((64, false)),
        _ => None,
    };
    let apart = || Err(format!("`{path}`: {writer:?} cannot be read as {reader:?}"));
    Ok(match (writer, reader) {
        (Kind::Message(from), Kind::Message(to)) if from.is_map_entry() && to.is_map_entry() => One::Map {
            key: Box::new(one(&from.map_entry_key_field().kind(), &to.map_entry_key_field().kind(), path, extra)?),
            value: Box::new(one(&from.map_entry_value_field().kind(), &to.map_entry_value_field().kind(), path, extra)?),
        },
        (Kind::Message(from), Kind::Message(to)) => match (known(from), known(to)) {
            (Some(a), Some(b)) if a == b && from.full_name() == to.full_name() => match a {
                Known::Timestamp => One::Timestamp,
                Known::Duration => One::Duration,
                Known::Wrapper => One::Wrapper,
                Known::Json => One::Json,
            },
            (None, None) => One::Record(members(from, to, path, extra)?),
            _ => return Err(format!("`{path}`: {} cannot be read as {}", from.full_name(), to.full_name())),
        },
        (Kind::Enum(symbols), Kind::Enum(_)) => One::Enum(symbols.clone()),
        (Kind::Bool, Kind::Bool)
        | (Kind::String, Kind::String)
        | (Kind::Bytes, Kind::Bytes)
        | (Kind::Float, Kind::Float)
        | (Kind::Double, Kind::Double) => One::Plain,
        (Kind::Float, Kind::Double) => One::Wide,
        _ => match (width(writer), width(reader)) {
            (Some(a), Some(b)) if a == b => One::Plain,
            (Some((32, _)), Some((64, true))) | (Some((32, false)), Some((64, false))) => One::Wide,
            _ => return apart(),
        },
    })
}

impl MessagePlan {
    /// A record, with the path to its message in front unless its schema says which it is.
    pub(super) fn read<'a>(&self, record: &[u8]) -> Result<Value<'a>, Fault> {
        let rest = match &self.path {
            None => record,
            Some(mine) => {
                let (path, rest) = path(record)?;
                if path != *mine {
                    return Err(format!(
                        "the record is another message than `{}`; `message` chooses which are read",
                        self.message.full_name()
                    ));
                }
                rest
            }
        };
        let message = DynamicMessage::decode(self.message.clone(), rest)
            .map_err(|error| format!("no {}: {error}", self.message.full_name()))?;
        record_of(&message, &self.columns)
    }
}

/// The indexes of the message within its file, and what is behind them. One zero byte stands for the first message.
fn path(record: &[u8]) -> Result<(Vec<i64>, &[u8]), Fault> {
    let mut rest = record;
    let mut number = || -> Result<i64, Fault> {
        let mut value = 0u64;
        for (at, &byte) in rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at).min(63);
            if byte < 0x80 {
                rest = &rest[at + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err("the path of the message does not end".into())
    };
    let count = number()?;
    if count == 0 {
        return Ok((vec![0], rest));
    }
    if !(0..=64).contains(&count) {
        return Err(format!("a path of {count} messages"));
    }
    let path = (0..count).map(|_| number()).collect::<Result<Vec<_>, _>>()?;
    Ok((path, rest))
}

fn record_of<'a>(message: &DynamicMessage, columns: &[FieldPlan]) -> Result<Value<'a>, Fault> {
    let columns = columns.iter().map(|plan| {
        let value = match plan.there {
            true => member(message, plan),
            false => member(&DynamicMessage::new(plan.field.parent_message().clone()), plan),
        };
        value.map_err(|why| format!("`{}`: {why}", plan.field.name()))
    });
    Ok(Value::Record(columns.collect::<Result<_, _>>()?))
}

fn member<'a>(message: &DynamicMessage, plan: &FieldPlan) -> Result<Value<'a>, Fault> {
    let field = &plan.field;
    let single = !field.is_list() && !field.is_map();
    if single && field.is_required() && !message.has_field(field) {
        return Err("the field is required and not there".into());
    }
    if single && field.supports_presence() && !message.has_field(field) {
        return Ok(Value::Null);
    }
    match (message.get_field(field).as_ref(), &plan.one) {
        (Wire::List(items), one) => Ok(Value::List(items.iter().map(|item| value(item, one)).collect::<Result<_, _>>()?)),
        (Wire::Map(items), One::Map { key: key_plan, value: value_plan }) => {
            let mut items: Vec<(&MapKey, &Wire)> = items.iter().collect();
            // The wire has no order that would mean anything; the same record always gives the same row.
            items.sort_unstable_by_key(|(key, _)| (*key).clone());
            let pair = |(name, item): (&MapKey, &Wire)| Ok((value(&key(name), key_plan)?, value(item, value_plan)?));
            Ok(Value::Map(items.into_iter().map(pair).collect::<Result<_, Fault>>()?))
        }
        (single, one) => value(single, one),
    }
}

fn key(key: &MapKey) -> Wire {
    match key {
        MapKey::Bool(value) => Wire::Bool(*value),
        MapKey::I32(value) => Wire::I32(*value),
        MapKey::I64(value) => Wire::I64(*value),
        MapKey::U32(value) => Wire::U32(*value),
        MapKey::U64(value) => Wire::U64(*value),
        MapKey::String(value) => Wire::String(value.clone()),
    }
}

fn value<'a>(wire: &Wire, one: &One) -> Result<Value<'a>, Fault> {
    Ok(match (wire, one) {
        (Wire::Bool(value), One::Plain) => Value::Bool(*value),
        (Wire::I32(value), One::Plain) => Value::Word(*value),
        // Unsigned numbers go by their bits.
        (Wire::U32(value), One::Plain) => Value::Word(*value as i32),
        (Wire::I64(value), One::Plain) => Value::Long(*value),
        (Wire::U64(value), One::Plain) => Value::Long(*value as i64),
        (Wire::I32(value), One::Wide) => Value::Long(i64::from(*value)),
        (Wire::U32(value), One::Wide) => Value::Long(i64::from(*value)),
        (Wire::F32(value), One::Plain) => Value::Float(*value),
        (Wire::F32(value), One::Wide) => Value::Double(f64::from(*value)),
        (Wire::F64(value), One::Plain) => Value::Double(*value),
        (Wire::String(text), One::Plain) => Value::Text(text.clone().into()),
        (Wire::Bytes(bytes), One::Plain) => Value::Bytes(bytes.to_vec().into()),
        (Wire::EnumNumber(number), One::Enum(symbols)) => {
            let symbol = symbols.get_value(*number).map_or_else(|| number.to_string(), |symbol| symbol.name().to_owned());
            Value::Text(symbol.into())
        }
        (Wire::Message(message), One::Timestamp | One::Duration) => Value::Long(nanos(message)?),
        (Wire::Message(message), One::Wrapper) => {
            let inner = message.descriptor().get_field(1).ok_or("a wrapper without a value")?;
            value(message.get_field(&inner).as_ref(), &One::Plain)?
        }
        (Wire::Message(message), One::Json) => {
            let text = serde_json::to_string(message).map_err(|error| format!("it has no JSON form: {error}"))?;
            Value::Text(text.into())
        }
        (Wire::Message(message), One::Record(columns)) => record_of(message, columns)?,
        _ => return Err("a value of another type than the schema says".into()),
    })
}

/// Seconds and nanoseconds in one number.
fn nanos(message: &DynamicMessage) -> Result<i64, Fault> {
    let part =
        |number: u32| message.get_field_by_number(number).and_then(|value| value.as_i64().or(value.as_i32().map(i64::from)));
    let (seconds, nanos) = (part(1).unwrap_or_default(), part(2).unwrap_or_default());
    if nanos.abs() > 999_999_999 {
        return Err(format!("{nanos} nanoseconds are more than a second"));
    }
    i64::try_from(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
        .map_err(|_| format!("{seconds} seconds are beyond what nanoseconds in 64 bits reach (the years 1677 to 2262)"))
}
