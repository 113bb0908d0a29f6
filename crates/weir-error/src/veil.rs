//! Takes secrets out of texts: the last place before a text is shown or kept.
//!
//! Secrets are a type that does not print, but others repeat what they are told: a server quotes the header that it refuses. So every secret
//! that is opened is made known here ([`remember`]), and texts that come from elsewhere are cleared of it ([`veiled`]): errors, log
//! lines, what a run's process says.

use std::borrow::Cow;
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// Shorter values are no secrets worth hiding, and hiding them would spoil the text.
const SHORTEST: usize = 6;
/// Fewer letters of base64 may stand in any text by chance.
const SHORTEST_BASE64: usize = 10;
/// Less than this of a secret tells nothing, where a text was cut inside of one.
const SHORTEST_HEAD: usize = 4;
/// What stands in a secret's place.
const HIDDEN: &str = "***";

static OPENED: RwLock<Veil> = RwLock::new(Veil { words: Vec::new() });

/// From now on no text of this process shows this value.
pub fn remember(value: &str) {
    // Most are opened again and again.
    if !OPENED.read().unwrap_or_else(PoisonError::into_inner).knows(value) {
        OPENED.write().unwrap_or_else(PoisonError::into_inner).add(value);
    }
}

/// The text without any secret that was opened in this process.
pub fn veiled(text: &str) -> Cow<'_, str> {
    OPENED.read().unwrap_or_else(PoisonError::into_inner).text(text)
}

/// Knows some secrets in all their spellings.
#[derive(Default)]
pub struct Veil {
    /// Longest first, so that a secret which contains another goes whole.
    words: Vec<String>,
}

impl Veil {
    /// For these values.
    pub fn new<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        let mut veil = Self::default();
        values.into_iter().for_each(|value| veil.add(value));
        veil
    }

    fn knows(&self, value: &str) -> bool {
        self.words.iter().any(|word| word == value)
    }

    /// One more: as it is, as JSON writes it and as a URL does, and in base64 wherever it may stand there (`Authorization: Basic …`).
    pub fn add(&mut self, value: &str) {
        if value.len() < SHORTEST || self.knows(value) {
            return;
        }
        let mut words = vec![value.to_owned(), json(value), percent(value, false), percent(value, true)];
        for before in 0..3 {
            let letters = base64_inside(value.as_bytes(), before);
            if letters.len() >= SHORTEST_BASE64 {
                words.push(letters.replace('+', "-").replace('/', "_"));
                words.push(letters);
            }
        }
        words.retain(|word| !self.words.contains(word));
        self.words.append(&mut words);
        self.words.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.words.dedup();
        // `Bearer …` of a header: others repeat the second word alone.
        if let Some((_, credentials)) = value.split_once(' ').filter(|(_, rest)| !rest.contains(char::is_whitespace)) {
            self.add(credentials);
        }
    }

    /// The text with `***` in the place of each secret.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out = Cow::Borrowed(text);
        for word in &self.words {
            if out.contains(word.as_str()) {
                out = Cow::Owned(out.replace(word.as_str(), HIDDEN));
            }
        }
        out
    }

    /// The same for a text whose end was cut off: a secret's beginning at the end goes too.
    pub fn cut<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let out = self.text(text);
        let begun = self.words.iter().filter_map(|word| {
            let lengths = (SHORTEST_HEAD..word.len()).rev().filter(|length| word.is_char_boundary(*length));
            lengths.into_iter().find(|length| out.ends_with(&word[..*length]))
        });
        match begun.max() {
            Some(length) => Cow::Owned(format!("{}{HIDDEN}", &out[..out.len() - length])),
            None => out,
        }
    }
}

impl fmt::Debug for Veil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Veil({} spellings)", self.words.len())
    }
}

/// As it stands inside of a JSON text.
fn json(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn percent(value: &str, small: bool) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            other if small => out.push_str(&format!("%{other:02x}")),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// The letters of base64 that depend on nothing but these bytes, when `before` others (modulo 3) stand before them.
fn base64_inside(bytes: &[u8], before: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| bytes[at / 8 - before] >> (7 - at % 8) & 1;
    let (first, end) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
    let letter = |at: usize| (0..6).fold(0, |sum, n| sum << 1 | usize::from(bit(at * 6 + n)));
    (first..end).map(|at| char::from(LETTERS[letter(at)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_in_every_spelling() {
        let veil = Veil::new(["p@ss/word\"1", "tiny", "p@ss/word\"1-longer"]);
        let text = r#"postgres://u:p%40ss%2Fword%221@h said p@ss/word"1 and {"x":"p@ss/word\"1"} and p@ss/word"1-longer, tiny, p%40ss%2fword%221"#;
        assert_eq!(veil.text(text), r#"postgres://u:***@h said *** and {"x":"***"} and ***, tiny, ***"#);
        assert!(!format!("{veil:?}").contains("word"));
    }

    #[test]
    fn a_login_in_base64_goes_wherever_the_password_begins() {
        let veil = Veil::new(["hunter2-hunter2"]);
        for login in ["dTpodW50ZXIyLWh1bnRlcjI=", "dXM6aHVudGVyMi1odW50ZXIy", "dXNlOmh1bnRlcjItaHVudGVyMg=="] {
            let shown = veil.text(login).into_owned();
            assert!(shown.contains("***") && shown.len() < 16, "{shown}");
        }
    }

    #[test]
    fn what_a_cut_leaves_of_a_secret_goes_too() {
        let veil = Veil::new(["Bearer hunter2-pw"]);
        assert_eq!(veil.cut("it said hunter2-"), "it said ***");
        assert_eq!(veil.cut("it said Bearer hunt"), "it said ***");
        assert_eq!(veil.cut("it said hun"), "it said hun");
        assert_eq!(veil.text("only hunter2-pw"), "only ***", "the credentials of a header without their scheme");
    }

    #[test]
    fn what_was_opened_is_in_no_error() {
        remember("hunter2-remembered");
        let error = crate::Error::new("WEIR-X-001", crate::Kind::Auth, "hunter2-remembered")
            .at("https://h/?k=hunter2-remembered")
            .because("said hunter2-remembered")
            .hint(String::from("not hunter2-remembered"));
        let caused = crate::Error::internal("x").caused_by(std::io::Error::other("hunter2-remembered"));
        for text in [format!("{error} {error:?}"), format!("{:?} {caused}", error.to_json())] {
            assert!(!text.contains("hunter2") && text.contains("***"), "{text}");
        }
    }
}
