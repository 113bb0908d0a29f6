//! Values whose schema is in a schema registry: a zero byte, the number of the schema in four bytes (the highest first), and the record (Confluent's wire
//! format).
//!
//! * [`options`]: where the registry is. [`client`]: its REST API.
//! * [`incoming`]: which schema says what the columns are, and how the records of every other one are read. [`outgoing`]: the schema that is written by.
//!
//! Not here: what the schemas mean (`weir_formats::registered`).

pub mod client;
pub mod incoming;
pub mod options;
pub mod outgoing;

use weir_connect::Error;
use weir_formats::Refusal;

use super::config::wrong;

/// A format that needs a registry, and none is there.
pub fn missing() -> Error {
    wrong("this `format` needs a schema registry", "give the connection one: `registry: {url: 'https://registry:8081'}`")
}

/// The number of the schema, and the record.
///
/// # Errors
/// `WEIR-KAFKA-026` for a value that has none in front.
pub fn frame(value: &[u8]) -> Result<(u32, &[u8]), Refusal> {
    match value {
        [0, a, b, c, d, record @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), record)),
        _ => {
            let reason = "the value does not begin with the number of a schema (a zero byte and four more)".to_owned();
            Err(Refusal { code: "WEIR-KAFKA-026", reason })
        }
    }
}

/// What stands in front of a record.
pub fn prefix(id: u32) -> [u8; 5] {
    let [a, b, c, d] = id.to_be_bytes();
    [0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_schemas_number_in_front() {
        assert_eq!(frame(&[&prefix(0x0102_0304)[..], b"x"].concat()).unwrap(), (0x0102_0304, b"x".as_slice()));
        for value in [b"".as_slice(), b"\0\0\0\x01", b"{\"a\": 1}"] {
            assert_eq!(frame(value).unwrap_err().code, "WEIR-KAFKA-026");
        }
    }
}
