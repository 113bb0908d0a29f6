//! What a message says of itself, as columns.

use arrow::datatypes::{DataType, TimeUnit};
use base64::Engine;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value, json};
use weir_formats::Refusal;

use super::config::Metadata;
use crate::messages::{Own, OwnValue};

/// The column of a kind.
pub fn column(kind: Metadata) -> Own {
    let own = |name, data_type, nullable, source| Own { name, data_type, nullable, source, json: false };
    match kind {
        Metadata::Exchange => own("_exchange", DataType::Utf8, false, "exchange"),
        Metadata::RoutingKey => own("_routing_key", DataType::Utf8, false, "routing-key"),
        Metadata::Redelivered => own("_redelivered", DataType::Boolean, false, "redelivered"),
        Metadata::MessageId => own("_message_id", DataType::Utf8, true, "message-id"),
        Metadata::Timestamp => {
            own("_timestamp", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true, "timestamp")
        }
        Metadata::Headers => Own { json: true, ..own("_headers", DataType::Utf8, true, "headers") },
        Metadata::Properties => Own { json: true, ..own("_properties", DataType::Utf8, false, "properties") },
    }
}

/// A value that may have been made for the column.
pub enum Told {
    /// Nothing.
    Null,
    /// Text.
    Text(String),
    /// Milliseconds since 1970.
    Time(i64),
    /// Yes or no.
    Bool(bool),
}

impl Told {
    /// As a builder takes it.
    pub fn as_own(&self) -> OwnValue<'_> {
        match self {
            Self::Null => OwnValue::Null,
            Self::Text(text) => OwnValue::Text(text),
            Self::Time(millis) => OwnValue::Time(*millis),
            Self::Bool(yes) => OwnValue::Bool(*yes),
        }
    }
}

/// What a message has in the column of a kind.
///
/// # Errors
/// A time that no column holds.
pub fn told(kind: Metadata, delivery: &Delivery) -> Result<Told, Refusal> {
    let properties = &delivery.properties;
    Ok(match kind {
        Metadata::Exchange => Told::Text(delivery.exchange.as_str().to_owned()),
        Metadata::RoutingKey => Told::Text(delivery.routing_key.as_str().to_owned()),
        Metadata::Redelivered => Told::Bool(delivery.redelivered),
        Metadata::MessageId => properties.message_id().as_ref().map_or(Told::Null, |id| Told::Text(id.as_str().to_owned())),
        Metadata::Timestamp => match *properties.timestamp() {
            None => Told::Null,
            Some(seconds) => match i64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(1000)) {
                Some(millis) => Told::Time(millis),
                None => {
                    let reason = format!("the timestamp of the message, {seconds} s, is beyond all times");
                    return Err(Refusal { code: "WEIR-RABBITMQ-021", reason });
                }
            },
        },
        Metadata::Headers => properties.headers().as_ref().map_or(Told::Null, |headers| Told::Text(table(headers).to_string())),
        Metadata::Properties => Told::Text(others(delivery).to_string()),
    })
}

/// The properties that have no column of their own.
fn others(delivery: &Delivery) -> Value {
    let properties = &delivery.properties;
    let mut object = Map::new();
    let texts = [
        ("content_type", properties.content_type()),
        ("content_encoding", properties.content_encoding()),
        ("correlation_id", properties.correlation_id()),
        ("reply_to", properties.reply_to()),
        ("expiration", properties.expiration()),
        ("type", properties.kind()),
        ("user_id", properties.user_id()),
        ("app_id", properties.app_id()),
        ("cluster_id", properties.cluster_id()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            object.insert(name.into(), text.as_str().into());
        }
    }
    for (name, number) in [("delivery_mode", properties.delivery_mode()), ("priority", properties.priority())] {
        if let Some(number) = number {
            object.insert(name.into(), (*number).into());
        }
    }
    Value::Object(object)
}

fn table(table: &FieldTable) -> Value {
    Value::Object(table.into_iter().map(|(name, value)| (name.as_str().to_owned(), one(value))).collect())
}

fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({"base64": base64::engine::general_purpose::STANDARD.encode(bytes)}),
    }
}

/// A number that JSON has no form for is a text.
fn float(number: f64) -> Value {
    serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

fn one(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Timestamp(seconds) => (*seconds).into(),
        // By its shortest text, not by the nearest double.
        AMQPValue::Float(value) => value.to_string().parse().map_or_else(|_| value.to_string().into(), float),
        AMQPValue::Double(value) => float(*value),
        AMQPValue::DecimalValue(decimal) => scaled(decimal.value, decimal.scale).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => bytes(text.as_bytes()),
        AMQPValue::ByteArray(array) => bytes(array.as_slice()),
        AMQPValue::FieldArray(array) => Value::Array(array.as_slice().iter().map(one).collect()),
        AMQPValue::FieldTable(inner) => table(inner),
        AMQPValue::Void => Value::Null,
    }
}

/// `12345` with the scale 2 is `123.45`.
fn scaled(value: u32, scale: u8) -> String {
    let scale = usize::from(scale);
    if scale == 0 {
        return value.to_string();
    }
    let digits = format!("{value:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;
    use lapin::types::DecimalValue;

    use super::*;

    #[test]
    fn headers_of_every_type_have_a_form_in_json() {
        let mut headers = FieldTable::default();
        headers.insert("text".into(), AMQPValue::LongString("ü".into()));
        headers.insert("bytes".into(), AMQPValue::LongString(vec![0xff].into()));
        headers.insert("decimal".into(), AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 5 }));
        headers.insert("float".into(), AMQPValue::Float(0.1));
        headers.insert("nan".into(), AMQPValue::Double(f64::NAN));
        headers.insert("list".into(), AMQPValue::FieldArray(vec![AMQPValue::Void, AMQPValue::Boolean(true)].into()));
        let mut delivery = Delivery::mock(1, "".into(), "".into(), false, Vec::new());
        delivery.properties = BasicProperties::default().with_headers(headers);
        let Told::Text(text) = told(Metadata::Headers, &delivery).unwrap_or(Told::Null) else { panic!("no headers") };
        let found: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({"text": "ü", "bytes": {"base64": "/w=="}, "decimal": "0.05", "float": 0.1, "nan": "NaN", "list": [null, true]});
        assert_eq!(found, expected);
    }

    #[test]
    fn a_time_beyond_all_times_is_refused_and_not_bent() {
        let mut delivery = Delivery::mock(1, "".into(), "".into(), false, Vec::new());
        delivery.properties = BasicProperties::default().with_timestamp(u64::MAX);
        assert!(matches!(told(Metadata::Timestamp, &delivery), Err(Refusal { code: "WEIR-RABBITMQ-021", .. })));
        delivery.properties = BasicProperties::default().with_timestamp(1_700_000_000);
        assert!(matches!(told(Metadata::Timestamp, &delivery), Ok(Told::Time(1_700_000_000_000))));
    }
}
