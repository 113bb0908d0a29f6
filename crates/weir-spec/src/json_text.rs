//! Making JSON, and JSON with comments, readable for the YAML parser without moving a byte.
//!
//! JSON is YAML except for three things: `//` comments, tabs between tokens, and characters outside the basic plane
//! written as two `\u` escapes. They are replaced by as many bytes, so that every place stays where it is.

use std::borrow::Cow;

/// Whether the text starts like JSON: its first character, comments and white space apart, opens a map or a list.
pub(crate) fn looks_like_json(text: &str) -> bool {
    let mut rest = text.trim_start();
    while let Some(comment) = rest.strip_prefix("//") {
        rest = comment.split_once('\n').map_or("", |(_, after)| after).trim_start();
    }
    rest.starts_with(['{', '['])
}

/// The text with comments and tabs blanked and surrogate pairs decoded; the same length in bytes.
pub(crate) fn as_yaml(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    // The last two bytes that are neither white space nor comment: they tell a comment from a plain `//server/share`.
    let (mut last, mut before_last) = (0u8, 0u8);
    while at < bytes.len() {
        let byte = bytes[at];
        let previous = if at == 0 { b'\n' } else { bytes[at - 1] };
        match byte {
            b'"' => {
                at = copy_string(text, at, &mut out);
                (before_last, last) = (last, b'"');
                continue;
            }
            b'\'' if matches!(last, 0 | b'{' | b'[' | b',' | b':') => {
                let end = bytes[at + 1..].iter().position(|b| *b == b'\'').map_or(bytes.len(), |n| at + n + 2);
                out.extend_from_slice(&bytes[at..end]);
                at = end;
                (before_last, last) = (last, b'\'');
                continue;
            }
            b'#' if previous.is_ascii_whitespace() => {
                let end = line_end(bytes, at);
                out.extend_from_slice(&bytes[at..end]);
                at = end;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/')
                && (previous.is_ascii_whitespace() || matches!(previous, b',' | b'{' | b'[' | b'}' | b']' | b'"' | b':'))
                && (last != b':' || before_last == b'"') =>
            {
                let end = line_end(bytes, at);
                out.resize(out.len() + (end - at), b' ');
                at = end;
                continue;
            }
            b'\t' => out.push(b' '),
            _ => out.push(byte),
        }
        if !byte.is_ascii_whitespace() {
            (before_last, last) = (last, byte);
        }
        at += 1;
    }
    match String::from_utf8(out) {
        Ok(done) => Cow::Owned(done),
        // Only whole characters are copied or replaced, so this cannot happen; the text as it was is a safe answer.
        Err(_) => Cow::Borrowed(text),
    }
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|b| *b == b'\n' || *b == b'\r').map_or(bytes.len(), |n| from + n)
}

/// Copies a double-quoted string that starts at `at`; returns the place after it.
fn copy_string(text: &str, mut at: usize, out: &mut Vec<u8>) -> usize {
    let bytes = text.as_bytes();
    let mut saved = 0;
    out.push(b'"');
    at += 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                out.push(b'"');
                out.resize(out.len() + saved, b' ');
                return at + 1;
            }
            b'\\' => {
                if let Some(character) = surrogate_pair(text, at) {
                    let mut buffer = [0; 4];
                    let encoded = character.encode_utf8(&mut buffer).as_bytes();
                    out.extend_from_slice(encoded);
                    saved += 12 - encoded.len();
                    at += 12;
                } else {
                    let end = (at + 2).min(bytes.len());
                    out.extend_from_slice(&bytes[at..end]);
                    at = end;
                }
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out.resize(out.len() + saved, b' ');
    at
}

fn surrogate_pair(text: &str, at: usize) -> Option<char> {
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(escape, 16).ok()
    };
    let pair = [unit(at)?, unit(at + 6)?];
    if !(0xD800..0xDC00).contains(&pair[0]) {
        return None;
    }
    char::decode_utf16(pair).next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_blanked_and_urls_are_not() {
        let text = "// top\n{\n\t\"a\": \"http://x//y\", // why\n  \"b\": // here too\n 1}";
        let yaml = as_yaml(text);
        assert_eq!(yaml.len(), text.len());
        assert_eq!(yaml.as_ref(), "      \n{\n \"a\": \"http://x//y\",       \n  \"b\":            \n 1}");
        assert_eq!(as_yaml("{path: //server/share, u: http://x}"), "{path: //server/share, u: http://x}");
    }

    #[test]
    fn an_escaped_pair_becomes_its_character_in_as_many_bytes() {
        let text = r#"{"a": "\ud83d\ude00", "b": "\ud83d"}"#;
        let yaml = as_yaml(text);
        assert_eq!(yaml.len(), text.len());
        assert_eq!(yaml.as_ref(), "{\"a\": \"😀\"        , \"b\": \"\\ud83d\"}");
    }
}
