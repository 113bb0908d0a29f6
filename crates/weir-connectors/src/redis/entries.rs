//! Entries: their ids, their fields, and what they become as rows.

use bytes::Bytes;
use redis::Value;
use serde_json::json;
use weir_formats::Refusal;

use super::client::text;

/// The id of an entry: milliseconds and a number, in the order of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Id {
    /// Milliseconds since 1970, by the clock of the server unless a writer has named others.
    pub millis: u64,
    /// Number within the millisecond.
    pub number: u64,
}

impl Id {
    /// `1526919030474-55`; the number may be missing.
    pub fn parse(text: &str) -> Option<Self> {
        let (millis, number) = text.split_once('-').unwrap_or((text, "0"));
        Some(Self { millis: digits(millis)?, number: digits(number)? })
    }

    /// The id before the first one of a millisecond: reading goes on after it.
    pub fn before(millis: u64) -> Self {
        millis.checked_sub(1).map_or(Self::default(), |millis| Self { millis, number: u64::MAX })
    }
}

/// Rust takes a plus sign before a number, Redis does not.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.millis, self.number)
    }
}

/// An entry as the server gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: Id,
    /// Its fields, in their order; a name may come twice.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Bytes of names and values.
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Out of an answer; `None`: it is none.
    fn parse(value: Value) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let [id, fields] = <[Value; 2]>::try_from(parts).ok()?;
        let id = Id::parse(&text(&id)?)?;
        let Value::Array(items) = fields else { return None };
        let mut items = items.into_iter();
        let mut fields = Vec::with_capacity(items.len() / 2);
        while let (Some(name), Some(value)) = (items.next(), items.next()) {
            let (Value::BulkString(name), Value::BulkString(value)) = (name, value) else { return None };
            fields.push((name, value));
        }
        Some(Self { id, fields })
    }

    /// The entries in an answer to `XRANGE`, or of one stream in `XREAD`.
    pub fn list(value: Value) -> Option<Vec<Self>> {
        match value {
            Value::Array(entries) => entries.into_iter().map(Self::parse).collect(),
            Value::Nil => Some(Vec::new()),
            _ => None,
        }
    }

    /// The entries in an answer to `XREAD` that asked for one stream.
    pub fn of_read(value: Value) -> Option<Vec<Self>> {
        match value {
            Value::Nil => Some(Vec::new()),
            Value::Array(mut streams) => match streams.pop() {
                None => Some(Vec::new()),
                Some(Value::Array(mut parts)) => Self::list(parts.pop()?),
                Some(_) => None,
            },
            Value::Map(mut streams) => match streams.pop() {
                None => Some(Vec::new()),
                Some((_, entries)) => Self::list(entries),
            },
            _ => None,
        }
    }

    /// What is decoded: the value of `field`, or all fields as a JSON object of texts.
    ///
    /// # Errors
    /// A field that is missing, comes twice, or is no UTF-8 where it must be.
    pub fn payload(&self, field: Option<&str>) -> Result<Bytes, Refusal> {
        if let Some(field) = field {
            let mut found = self.fields.iter().filter(|(name, _)| name == field.as_bytes());
            return match (found.next(), found.next()) {
                (Some((_, value)), None) => Ok(Bytes::copy_from_slice(value)),
                (None, _) => Err(refused("WEIR-REDIS-023", format!("the entry has no field `{field}`"))),
                _ => Err(refused("WEIR-REDIS-021", format!("the entry has the field `{field}` twice"))),
            };
        }
        let mut object = serde_json::Map::with_capacity(self.fields.len());
        for (name, value) in &self.fields {
            let utf8 = |bytes: &[u8], what: &str| {
                std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| {
                    let name = String::from_utf8_lossy(name);
                    refused(
                        "WEIR-REDIS-022",
                        format!("the {what} `{name}` is not valid UTF-8; `field` and `format: raw` take bytes"),
                    )
                })
            };
            let (name, value) = (utf8(name, "name of the field")?, utf8(value, "field")?);
            if object.insert(name.clone(), value.into()).is_some() {
                return Err(refused("WEIR-REDIS-021", format!("the entry has the field `{name}` twice")));
            }
        }
        Ok(Bytes::from(serde_json::Value::Object(object).to_string()))
    }

    /// The whole entry as JSON, for a dead letter that has no payload of its own: `[["field", "value"], …]`.
    pub fn told(&self) -> Vec<u8> {
        let tell = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => json!(text),
            Err(_) => {
                use base64::Engine;
                json!({"base64": base64::engine::general_purpose::STANDARD.encode(bytes)})
            }
        };
        let all: Vec<serde_json::Value> = self.fields.iter().map(|(name, value)| json!([tell(name), tell(value)])).collect();
        serde_json::Value::Array(all).to_string().into_bytes()
    }
}

fn refused(code: &'static str, reason: String) -> Refusal {
    Refusal { code, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &[u8])]) -> Entry {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
        Entry { id: Id { millis: 1, number: 2 }, fields }
    }

    #[test]
    fn ids_are_read_as_the_server_writes_them_and_ordered_as_it_orders_them() {
        let id = |text: &str| Id::parse(text).unwrap();
        assert_eq!(id("1526919030474-55").to_string(), "1526919030474-55");
        assert_eq!(id("7"), Id { millis: 7, number: 0 });
        assert!(id("9-10") < id("10-0") && id("10-9") < id("10-10"));
        assert_eq!(id("18446744073709551615-18446744073709551615").number, u64::MAX);
        for bad in ["", "-", "a-1", "1-b", "1-2-3", "-1-1", "+1-1", "18446744073709551616-0"] {
            assert_eq!(Id::parse(bad), None, "{bad}");
        }
        assert!(Id::before(5) < id("5-0") && Id::before(5) > id("4-18446744073709551614"));
        assert_eq!(Id::before(0), Id::default());
    }

    #[test]
    fn a_payload_is_one_field_or_all_of_them() {
        let both = entry(&[("a", b"1"), ("b", "ü\"".as_bytes())]);
        assert_eq!(both.payload(None).unwrap(), "{\"a\":\"1\",\"b\":\"ü\\\"\"}".as_bytes());
        assert_eq!(both.payload(Some("a")).unwrap(), b"1".as_slice());
        assert_eq!(both.payload(Some("c")).unwrap_err().code, "WEIR-REDIS-023");
        let twice = entry(&[("a", b"1"), ("a", b"2")]);
        assert_eq!(twice.payload(None).unwrap_err().code, "WEIR-REDIS-021");
        assert_eq!(twice.payload(Some("a")).unwrap_err().code, "WEIR-REDIS-021");
        let bytes = entry(&[("a", b"\xff")]);
        assert_eq!(bytes.payload(None).unwrap_err().code, "WEIR-REDIS-022");
        assert_eq!(bytes.payload(Some("a")).unwrap(), b"\xff".as_slice());
        assert_eq!(bytes.told(), br#"[["a",{"base64":"/w=="}]]"#);
    }
}
