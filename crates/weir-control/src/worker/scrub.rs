//! Takes secrets out of what a child says. A second line of defence: the child's own messages do not hold any.

use std::borrow::Cow;

use serde_json::Value;
use weir_error::veil::Veil;

/// Knows the secrets of one order.
pub struct Scrubber(Veil);

impl Scrubber {
    /// For these values, in all their spellings.
    pub fn new(values: &[&str]) -> Self {
        Self(Veil::new(values.iter().copied()))
    }

    /// The text with `***` in place of each secret; of a text that was `cut`, also of a secret's half at its end.
    pub fn text(&self, text: &str, cut: bool) -> String {
        if cut { self.0.cut(text).into_owned() } else { self.0.text(text).into_owned() }
    }

    /// Every text in the value.
    pub fn value(&self, value: &mut Value) {
        cover(value, &|text| self.0.text(text));
    }
}

/// Every text in the value as `covered` shows it, keys too; but not our own words, or a password `succeeded` would change how a run ended.
pub fn cover(value: &mut Value, covered: &dyn Fn(&str) -> Cow<'_, str>) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(new) = covered(text) {
                *text = new;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cover(item, covered)),
        Value::Object(map) => {
            let ours = |key: &str, item: &Value| matches!(key, "event" | "status") && item.as_str().is_some_and(is_word);
            map.iter_mut().filter(|(key, item)| !ours(key, item)).for_each(|(_, item)| cover(item, covered));
            let hidden = |key: &str| match covered(key) {
                Cow::Owned(new) if !is_word(key) => Some(new),
                _ => None,
            };
            if map.keys().any(|key| hidden(key).is_some()) {
                let pairs = std::mem::take(map).into_iter();
                *map = pairs.map(|(key, item)| (hidden(&key).unwrap_or(key), item)).collect();
            }
        }
        _ => {}
    }
}

/// Such are the words of the protocol between a worker and its processes: what a line is, how something ended, the names of fields.
fn is_word(text: &str) -> bool {
    text.len() < 24 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_scrubbed_in_its_texts_and_keys_only() {
        let scrubber = Scrubber::new(&["12345678"]);
        let mut value = json!({"rows": 12345678, "why": ["key 12345678 refused"], "k 12345678": 1});
        scrubber.value(&mut value);
        assert_eq!(value, json!({"rows": 12345678, "why": ["key *** refused"], "k ***": 1}));
    }

    #[test]
    fn a_secret_that_is_a_word_of_ours_changes_no_meaning() {
        let scrubber = Scrubber::new(&["succeeded", "report"]);
        let mut value = json!({"event": "report", "report": {"status": "succeeded", "note": "succeeded", "error": {"status": "it succeeded"}}});
        scrubber.value(&mut value);
        let expected =
            json!({"event": "report", "report": {"status": "succeeded", "note": "***", "error": {"status": "it ***"}}});
        assert_eq!(value, expected);
    }
}
