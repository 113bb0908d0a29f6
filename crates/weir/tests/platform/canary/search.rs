//! Secrets that are made up, and where they turn up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::bytes::Regex;

/// What can be recognised of a secret: also its half, when a text was cut.
const HEAD: usize = 16;

/// The secrets of one test, by the name of the place where each was planted.
#[derive(Default)]
pub struct Canaries(Vec<(&'static str, String)>);

impl Canaries {
    /// A new secret of letters and digits.
    pub fn plant(&mut self, place: &'static str) -> String {
        assert!(self.0.iter().all(|(other, _)| *other != place), "{place} is planted already");
        let value = format!("Kq{:016x}{:08x}", rand::random::<u64>(), rand::random::<u32>());
        self.0.push((place, value.clone()));
        value
    }

    /// One whose end every encoding writes in another way.
    pub fn plant_odd(&mut self, place: &'static str) -> String {
        format!("{}@/%\"+x", self.plant(place))
    }

    /// One that somebody else has made, of 22 letters at least: its beginning tells what it is.
    pub fn known(&mut self, place: &'static str, value: &str) {
        self.0.push((place, value[value.len() - 22..].to_owned()));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Knows all of them in all their forms.
    pub fn hunter(&self) -> Hunter {
        Hunter {
            each: self.0.iter().map(|(place, value)| (*place, pattern([value.as_str()]))).collect(),
            any: pattern(self.0.iter().map(|(_, value)| value.as_str())),
        }
    }
}

/// Finds secrets in bytes.
pub struct Hunter {
    each: Vec<(&'static str, Regex)>,
    /// All at once: most texts hold none.
    any: Regex,
}

impl Hunter {
    pub fn find(&self, bytes: &[u8]) -> BTreeSet<&'static str> {
        if !self.any.is_match(bytes) {
            return BTreeSet::new();
        }
        self.each.iter().filter(|(_, pattern)| pattern.is_match(bytes)).map(|(place, _)| *place).collect()
    }
}

fn pattern<'a>(values: impl IntoIterator<Item = &'a str>) -> Regex {
    let forms: Vec<String> = values.into_iter().flat_map(forms).map(|form| regex::escape(&form)).collect();
    Regex::new(&format!("(?-u){}", forms.join("|"))).unwrap()
}

/// A secret's beginning as it is (JSON and URLs leave its letters alone), in hex, each byte escaped, and in base64 behind any number of
/// other bytes.
fn forms(value: &str) -> Vec<String> {
    let head = &value.as_bytes()[..HEAD];
    let escaped = |with: &str| head.iter().map(|byte| format!("{with}{byte:02x}")).collect::<String>();
    let mut all = vec![String::from_utf8(head.to_vec()).unwrap()];
    for form in [escaped(""), escaped("%"), escaped("\\u00"), escaped("\\x")] {
        all.extend([form.to_uppercase().replace("\\U", "\\u").replace("\\X", "\\x"), form]);
    }
    all.extend((0..3).map(|before| base64_inside(head, before)));
    all
}

/// The letters of base64 that depend on nothing but these bytes, when `before` others stand before them.
fn base64_inside(bytes: &[u8], before: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |at: usize| bytes[at / 8 - before] >> (7 - at % 8) & 1;
    let (first, end) = ((before * 8).div_ceil(6), (before + bytes.len()) * 8 / 6);
    let letter = |at: usize| (0..6).fold(0, |sum, n| sum << 1 | usize::from(bit(at * 6 + n)));
    (first..end).map(|at| char::from(LETTERS[letter(at)])).collect()
}

/// Every file below a folder with its content.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            // Gone meanwhile: a temporary one of the program that runs.
            path => found.extend(std::fs::read(&path).ok().map(|bytes| (path, bytes))),
        }
    }
    found
}

#[test]
fn canary_a_secret_is_found_in_every_form_and_half_of_it_too() {
    let mut canaries = Canaries::default();
    let (one, two) = (canaries.plant("one"), canaries.plant_odd("two"));
    let hunter = canaries.hunter();
    let hex: String = one.bytes().map(|byte| format!("{byte:02X}")).collect();
    let percent: String = one.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let unicode: String = one.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    let json = serde_json::json!({"said": format!("login as {two}")}).to_string();
    for text in [one.clone(), format!("<{}…", &one[..20]), hex, percent, unicode] {
        assert_eq!(hunter.find(text.as_bytes()), ["one"].into(), "{text}");
    }
    assert_eq!(hunter.find(json.as_bytes()), ["two"].into());
    assert_eq!(hunter.find(format!("{one}{two}").as_bytes()), ["one", "two"].into());
    for user in ["", "u", "ur", "usr"] {
        let login = base64(format!("{user}:{two}").as_bytes());
        assert_eq!(hunter.find(format!("\0Basic {login}").as_bytes()), ["two"].into(), "{login}");
    }
    assert!(hunter.find(b"Kq and nothing else").is_empty());
}

/// Base64 with padding, as a client writes it.
fn base64(bytes: &[u8]) -> String {
    let padded: Vec<u8> = bytes.iter().copied().chain(std::iter::repeat_n(0, (3 - bytes.len() % 3) % 3)).collect();
    let mut text = base64_inside(&padded, 0);
    let fill = padded.len() - bytes.len();
    text.truncate(text.len() - fill);
    text + &"=".repeat(fill)
}
