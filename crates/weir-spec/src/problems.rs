//! Collecting problems: the list, places in the native form, and the search for the nearest valid word.

use crate::codes;
use crate::diagnostic::Diagnostic;

/// No more problems than this are told.
const MOST: usize = 500;

/// Everything found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub list: Vec<Diagnostic>,
}

impl Problems {
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.full() {
            self.list.push(diagnostic);
        }
    }

    /// Whether there are so many that more help nobody; searching for near misses would only cost time.
    pub fn full(&self) -> bool {
        self.list.len() >= MOST
    }

    /// In file order, with the file's name.
    pub fn finish(mut self, file: &str) -> Vec<Diagnostic> {
        if self.full() {
            self.list.push(Diagnostic::error(
                codes::TOO_MUCH,
                format!("there are more than {MOST} problems; the others are not shown"),
            ));
        }
        for diagnostic in &mut self.list {
            diagnostic.file = file.into();
        }
        self.list.sort_by(|a, b| {
            let place = |d: &Diagnostic| d.span.map_or((usize::MAX, usize::MAX), |span| (span.start, span.end));
            place(a).cmp(&place(b)).then_with(|| a.code.cmp(&b.code)).then_with(|| a.message.cmp(&b.message))
        });
        self.list.dedup();
        self.list
    }
}

/// A place in the native form, both as people write it (`sink.s3.key[0]`) and as a JSON pointer (`/sink/s3/key/0`).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Path {
    pub dotted: String,
    pub pointer: String,
}

impl Path {
    pub fn key(&self, key: &str) -> Self {
        let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        let dotted = match (plain, self.dotted.is_empty()) {
            (true, true) => key.to_string(),
            (true, false) => format!("{}.{key}", self.dotted),
            (false, _) => format!("{}[{key:?}]", self.dotted),
        };
        let escaped = key.replace('~', "~0").replace('/', "~1");
        Self { dotted, pointer: format!("{}/{escaped}", self.pointer) }
    }

    pub fn index(&self, index: usize) -> Self {
        Self { dotted: format!("{}[{index}]", self.dotted), pointer: format!("{}/{index}", self.pointer) }
    }
}

/// The valid word that was most likely meant, if one is near enough.
pub fn nearest<'a>(word: &str, words: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Longer words are data, not typing mistakes, and the distance is quadratic in their length.
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let words = words.into_iter().take(1000);
    let flat = |text: &str| text.to_lowercase().replace(['-', ' ', '.'], "_");
    let meant = flat(word);
    let reach = match meant.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        _ => 3,
    };
    let mut best: Option<(usize, f64, &str)> = None;
    for candidate in words {
        let other = flat(candidate);
        let distance = strsim::damerau_levenshtein(&meant, &other);
        // A short word one letter away from everything is no help: at least half must agree.
        if distance > reach || distance * 2 > other.chars().count().max(meant.chars().count()) {
            continue;
        }
        let likeness = strsim::jaro_winkler(&meant, &other);
        if best.is_none_or(|(d, l, _)| (distance, -likeness) < (d, -l)) {
            best = Some((distance, likeness, candidate));
        }
    }
    best.map(|(_, _, word)| word.to_string())
}

/// `one of a, b, c, …`: long lists are cut, because a message is no reference page.
pub(crate) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let mut words = words.into_iter();
    let shown: Vec<&str> = words.by_ref().take(SHOWN).collect();
    let more = if words.next().is_some() { ", …" } else { "" };
    match shown.as_slice() {
        [] => "nothing".into(),
        [only] => format!("`{only}`"),
        _ => format!("one of {}{more}", shown.join(", ")),
    }
}

/// A value in a message: at most 40 characters on one line.
pub(crate) fn short(text: &str) -> String {
    short_to(text, 40)
}

/// Text on one line, cut after so many characters.
pub(crate) fn short_to(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_across_typing_mistakes_and_spellings() {
        let words = ["format", "path", "partition_by", "key", "postgres"];
        for (written, meant) in
            [("fromat", "format"), ("partition-by", "partition_by"), ("PATH", "path"), ("postgress", "postgres")]
        {
            assert_eq!(nearest(written, words).as_deref(), Some(meant), "{written}");
        }
        assert_eq!(nearest("colour", words), None);
        assert_eq!(nearest("k", words), None);
    }

    #[test]
    fn pointers_escape_what_json_pointer_reserves() {
        let path = Path::default().key("a/b").key("c").index(2);
        assert_eq!((path.pointer.as_str(), path.dotted.as_str()), ("/a~1b/c/2", "[\"a/b\"].c[2]"));
    }
}
