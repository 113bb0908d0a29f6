//! What a setting's value may look like, and reading it from text or JSON.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

/// What a value may be. The parsed value is JSON again, in one normal form: sizes are bytes, lists are arrays.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Text without control characters, at most so many characters.
    Text(usize),
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// `true` or `false`; also `1`, `0`, `yes`, `no`, `on`, `off`.
    Truth,
    /// A whole number within these bounds, both included.
    Whole(u64, u64),
    /// A number, 0 or more.
    Amount,
    /// Bytes: `512MiB`, `2GiB`, `64MB`, `1048576`.
    Size,
    /// `IP:PORT` or `localhost:PORT`.
    Address,
    /// A URL with one of these schemes and a host.
    Url(&'static [&'static str]),
    /// A path.
    Path,
    /// Words separated by commas; in the file an array of texts.
    List,
    /// A JSON object.
    Map,
}

/// Longest piece of a wrong value that is repeated in a message.
const SHOWN_CHARS: usize = 80;

impl Shape {
    /// The value in normal form, or what is wrong with it (without the value itself).
    pub fn read(self, raw: &Value) -> Result<Value, String> {
        match (self, raw) {
            (Self::List, Value::Array(items)) => {
                let mut words = Vec::new();
                for item in items {
                    let word = item.as_str().ok_or("a list holds texts only")?.trim();
                    words.push(Value::from(word));
                }
                Ok(Value::Array(words))
            }
            (Self::Map, Value::Object(map)) => Ok(Value::Object(map.clone())),
            (Self::Map, Value::String(text)) => match serde_json::from_str(text) {
                Ok(Value::Object(map)) => Ok(Value::Object(map)),
                _ => Err("it is no JSON object".into()),
            },
            (Self::Map, _) => Err("it is no JSON object".into()),
            (_, Value::String(text)) => self.read_text(text.trim()),
            (Self::Truth, Value::Bool(truth)) => Ok(Value::Bool(*truth)),
            (Self::Whole(..) | Self::Amount | Self::Size, Value::Number(number)) => self.read_text(&number.to_string()),
            (_, other) => Err(format!("it is {}", kind(other))),
        }
    }

    fn read_text(self, text: &str) -> Result<Value, String> {
        if text.chars().any(char::is_control) {
            return Err("it holds control characters".into());
        }
        match self {
            Self::Text(most) if text.chars().count() > most => Err(format!("it is longer than {most} characters")),
            Self::Text(_) | Self::Path => Ok(Value::from(text)),
            Self::Word(words) => {
                let found = words.iter().find(|word| word.eq_ignore_ascii_case(text));
                found.map(|word| Value::from(*word)).ok_or_else(|| "it is another word".into())
            }
            Self::Truth => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(Value::Bool(true)),
                "false" | "0" | "no" | "off" => Ok(Value::Bool(false)),
                _ => Err("it is neither true nor false".into()),
            },
            Self::Whole(least, most) => match text.parse::<u64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(Value::from(number)),
                Ok(_) => Err("it is out of bounds".into()),
                Err(_) => Err("it is no whole number".into()),
            },
            Self::Amount => match text.parse::<f64>() {
                Ok(number) if number.is_finite() && number >= 0.0 => Ok(Value::from(number)),
                _ => Err("it is no number from 0 up".into()),
            },
            Self::Size => size(text).map(Value::from).ok_or_else(|| "it is no size".into()),
            Self::Address => address(text).map(|address| Value::from(address.to_string())),
            Self::Url(schemes) => web_address(text, schemes),
            Self::List => {
                Ok(Value::Array(text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Value::from).collect()))
            }
            Self::Map => Err("it is no JSON object".into()),
        }
    }

    /// What is allowed, in words.
    pub fn allowed(self) -> String {
        match self {
            Self::Text(most) => format!("text of at most {most} characters"),
            Self::Word(words) => words.join(", "),
            Self::Truth => "true or false".into(),
            Self::Whole(least, most) if most == u64::MAX => format!("a whole number from {least}"),
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::Amount => "a number from 0 up".into(),
            Self::Size => "a size: 512MiB, 2GiB, 64MB or bytes".into(),
            Self::Address => "IP:PORT, for example 127.0.0.1:8080 or [::1]:8080".into(),
            Self::Url(schemes) => format!("an address that begins with {}", one_of(schemes)),
            Self::Path => "a path".into(),
            Self::List => "words separated by commas (in the file: an array of texts)".into(),
            Self::Map => "a JSON object".into(),
        }
    }
}

fn one_of(schemes: &[&str]) -> String {
    schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(" or ")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A wrong value as a message may repeat it: short, on one line.
pub fn shown(raw: &Value) -> String {
    let text = match raw {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut short: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(SHOWN_CHARS).collect();
    if text.chars().count() > SHOWN_CHARS {
        short.push('…');
    }
    short
}

fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "tib" | "t" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(unit).filter(|bytes| *bytes > 0 && i64::try_from(*bytes).is_ok())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port: u16 = port.parse().map_err(|_| "the port is no number up to 65535")?;
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let host: IpAddr = host.parse().map_err(|_| "the host is no IP address")?;
    Ok(SocketAddr::new(host, port))
}

fn web_address(text: &str, schemes: &[&str]) -> Result<Value, String> {
    let url = url::Url::parse(text).map_err(|error| format!("it is no address: {error}"))?;
    if !schemes.contains(&url.scheme()) {
        return Err(format!("it does not begin with {}", one_of(schemes)));
    }
    // `sqlite:weir.db` has no host, and needs none.
    if url.scheme() != "sqlite" && url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host".into());
    }
    Ok(Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_and_json_of_the_same_value_are_the_same() {
        for (shape, text, from_file, value) in [
            (Shape::Whole(1, 100), "20", json!(20), json!(20)),
            (Shape::Truth, "Yes", json!(true), json!(true)),
            (Shape::Size, "1GiB", json!(1 << 30), json!(1 << 30)),
            (Shape::List, " a, b,", json!(["a", "b"]), json!(["a", "b"])),
            (Shape::Map, r#"{"x":1}"#, json!({"x": 1}), json!({"x": 1})),
            (Shape::Amount, "0.5", json!(0.5), json!(0.5)),
            (Shape::Address, "localhost:80", json!("127.0.0.1:80"), json!("127.0.0.1:80")),
            (Shape::Word(&["info", "debug"]), "INFO", json!("info"), json!("info")),
        ] {
            assert_eq!(shape.read(&json!(text)).unwrap(), value, "{text}");
            assert_eq!(shape.read(&from_file).unwrap(), value, "{from_file}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (shape, raw) in [
            (Shape::Whole(1, 10), json!(11)),
            (Shape::Whole(0, 10), json!(-1)),
            (Shape::Whole(0, 10), json!(1.5)),
            (Shape::Truth, json!("perhaps")),
            (Shape::Truth, json!(1)),
            (Shape::Size, json!("0")),
            (Shape::Size, json!("12 apples")),
            (Shape::Size, json!("99999999999GiB")),
            (Shape::Amount, json!("NaN")),
            (Shape::Amount, json!(-1)),
            (Shape::Address, json!("8080")),
            (Shape::Address, json!("db.example.org:1")),
            (Shape::Address, json!("127.0.0.1:70000")),
            (Shape::Url(&["http"]), json!("ftp://x")),
            (Shape::Url(&["http"]), json!("http://")),
            (Shape::Url(&["http"]), json!("no address")),
            (Shape::List, json!([1])),
            (Shape::Map, json!("[1]")),
            (Shape::Text(3), json!("abcd")),
            (Shape::Text(30), json!("a\nb")),
            (Shape::Word(&["a"]), json!("b")),
        ] {
            assert!(shape.read(&raw).is_err(), "{shape:?} {raw}");
        }
    }
}
