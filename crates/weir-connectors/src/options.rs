//! Options out of their JSON, the same for all connectors. What they mean is the connectors' own.

use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_connect::{Error, Kind, Result};

/// Whether a part of the options is a reference whose value is not known yet: rules about values cannot be judged then.
#[cfg(any(feature = "messages", feature = "mongodb", feature = "mysql", feature = "postgres"))]
pub(crate) fn has_reference(options: &Value) -> bool {
    let text = options.to_string();
    ["${", "{{", "vault://", "file://"].iter().any(|sign| text.contains(sign))
}

/// The options of a role (`connection`, `source`, `sink`); without any they are the defaults.
///
/// # Errors
/// `code`, with what is wrong in them.
pub(crate) fn parse<T: DeserializeOwned>(connector: &str, code: &'static str, role: &str, value: &Value) -> Result<T> {
    let value = if value.is_null() { Value::Object(Default::default()) } else { value.clone() };
    serde_json::from_value(value).map_err(|error| {
        Error::new(code, Kind::Spec, format!("the {role} options of `{connector}` are not valid"))
            .because(error)
            .hint(format!("`weir connectors {connector}` lists them"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    #[cfg(any(feature = "messages", feature = "mongodb", feature = "mysql", feature = "postgres"))]
    fn references_are_seen_wherever_they_stand() {
        for open in
            [json!({"url": "${URL}"}), json!({"a": {"b": ["vault://x/y"]}}), json!("file:///run/secret"), json!("{{stage}}")]
        {
            assert!(has_reference(&open), "{open}");
        }
        assert!(!has_reference(&json!({"url": "nats://b:4222", "n": 1})));
    }

    #[test]
    fn no_options_are_the_defaults_and_wrong_ones_say_whose_they_are() {
        let empty: std::collections::BTreeMap<String, u32> = parse("nats", "WEIR-NATS-001", "source", &Value::Null).unwrap();
        assert!(empty.is_empty());
        let error = parse::<u32>("nats", "WEIR-NATS-001", "source", &json!({})).unwrap_err();
        assert_eq!((error.code(), error.what()), ("WEIR-NATS-001", "the source options of `nats` are not valid"));
        assert_eq!(error.advice(), Some("`weir connectors nats` lists them"));
    }
}
