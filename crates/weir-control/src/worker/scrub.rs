//! Takes secrets out of what a child says. A second line of defence: the child's own messages do not hold any.

use serde_json::Value;

/// Shorter values are no secrets worth hiding, and hiding them would spoil the text.
const SHORTEST: usize = 6;

/// Knows the secrets of one order.
pub struct Scrubber {
    /// Longest first, so that a secret which contains another goes whole.
    words: Vec<String>,
}

impl Scrubber {
    /// For these values, also as JSON writes them and as a URL does.
    pub fn new(values: &[&str]) -> Self {
        let mut words: Vec<String> = Vec::new();
        for value in values.iter().filter(|value| value.len() >= SHORTEST) {
            words.push((*value).to_string());
            if let Ok(json) = serde_json::to_string(value) {
                words.push(json.trim_matches('"').to_string());
            }
            words.push(percent_encoded(value));
        }
        words.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        words.dedup();
        Self { words }
    }

    /// The text with `***` in place of each secret.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_string();
        for word in &self.words {
            if text.contains(word.as_str()) {
                text = text.replace(word.as_str(), "***");
            }
        }
        text
    }

    /// Every text in the value.
    pub fn value(&self, value: &mut Value) {
        if self.words.is_empty() {
            return;
        }
        match value {
            Value::String(text) if self.words.iter().any(|word| text.contains(word.as_str())) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.value(item)),
            _ => {}
        }
    }
}

fn percent_encoded(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_go_in_every_spelling() {
        let scrubber = Scrubber::new(&["p@ss/word\"1", "tiny", "p@ss/word\"1-longer"]);
        let text = r#"postgres://u:p%40ss%2Fword%221@h said p@ss/word"1 and {"x":"p@ss/word\"1"} and p@ss/word"1-longer, tiny"#;
        assert_eq!(scrubber.text(text), r#"postgres://u:***@h said *** and {"x":"***"} and ***, tiny"#);
    }

    #[test]
    fn a_value_is_scrubbed_in_its_texts_only() {
        let scrubber = Scrubber::new(&["12345678"]);
        let mut value = json!({"rows": 12345678, "why": ["key 12345678 refused"]});
        scrubber.value(&mut value);
        assert_eq!(value, json!({"rows": 12345678, "why": ["key *** refused"]}));
    }
}
