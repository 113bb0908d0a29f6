//! Sentiment of English text from a list of words, with negation, degree and contrast.
//!
//! Each word of the list has a strength. A negation within three words before turns and weakens it, an adverb of degree before it changes it,
//! and of a sentence with `but` the second half counts more. The sum is brought between -1 and 1.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::words::{DEGREES, NEGATIONS, WORDS};

static STRENGTHS: LazyLock<HashMap<&str, f64>> = LazyLock::new(|| {
    let words = WORDS.iter().flat_map(|(strength, words)| words.split_whitespace().map(|word| (word, *strength)));
    words.collect()
});
static DEGREE: LazyLock<HashMap<&str, f64>> = LazyLock::new(|| {
    let words = DEGREES.iter().flat_map(|(factor, words)| words.split_whitespace().map(|word| (word, *factor)));
    words.collect()
});

/// How many words back a negation reaches.
const REACH: usize = 3;

/// From -1 to 1; 0 if no word of it says anything, `None` if there is no word.
pub(super) fn score(text: &str) -> Option<f64> {
    let lower = text.to_lowercase().replace('’', "'");
    let mut any = false;
    let mut total = 0.0;
    for sentence in lower.split(['.', '!', '?', ';', '\n']) {
        let words: Vec<&str> = sentence
            .split(|c: char| !c.is_alphanumeric() && c != '\'')
            .map(|word| word.trim_matches('\''))
            .filter(|w| !w.is_empty())
            .collect();
        any |= !words.is_empty();
        total += sentence_score(&words);
    }
    let marks = text.chars().filter(|c| *c == '!').count().min(3) as f64;
    total += total.signum() * if total == 0.0 { 0.0 } else { 0.2 * marks };
    // The square root keeps long texts below 1 and short ones apart.
    any.then(|| total / (total * total + 12.0).sqrt())
}

fn sentence_score(words: &[&str]) -> f64 {
    let contrast = words.iter().rposition(|word| matches!(*word, "but" | "however" | "although" | "though"));
    let mut total = 0.0;
    for (at, word) in words.iter().enumerate() {
        let Some(mut strength) = strength(word) else { continue };
        let before = &words[at.saturating_sub(REACH)..at];
        for (back, earlier) in before.iter().rev().enumerate() {
            if let Some(factor) = DEGREE.get(earlier) {
                // The further away, the less it belongs to this word.
                strength *= 1.0 + (factor - 1.0) / (back + 1) as f64;
            }
        }
        if before.iter().any(|word| negates(word)) {
            strength *= -0.75;
        }
        strength *= match contrast {
            Some(but) if words[but] == "but" || words[but] == "however" => {
                if at < but {
                    0.5
                } else {
                    1.5
                }
            }
            _ => 1.0,
        };
        total += strength;
    }
    total
}

fn negates(word: &str) -> bool {
    word.ends_with("n't") || NEGATIONS.contains(&word)
}

/// The strength of a word, also of its plain inflections.
fn strength(word: &str) -> Option<f64> {
    if let Some(strength) = STRENGTHS.get(word) {
        return Some(*strength);
    }
    let stems = ["s", "es", "d", "ed", "ing", "ly", "er", "est"].into_iter().filter_map(|end| word.strip_suffix(end));
    let mut stems: Vec<String> = stems.filter(|stem| stem.len() > 2).map(Into::into).collect();
    // `loving` and `loved` are of `love`, `happily` of `happy`.
    stems.extend(["ing", "ed"].into_iter().filter_map(|end| word.strip_suffix(end)).map(|stem| format!("{stem}e")));
    stems.extend(
        ["ily", "ies", "ied", "ier", "iest"].into_iter().filter_map(|end| word.strip_suffix(end)).map(|stem| format!("{stem}y")),
    );
    stems.iter().find_map(|stem| STRENGTHS.get(stem.as_str()).copied())
}

/// The score as a word.
pub(super) fn label(score: f64) -> &'static str {
    const CLEAR: f64 = 0.05;
    match score {
        score if score >= CLEAR => "positive",
        score if score <= -CLEAR => "negative",
        _ => "neutral",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> &'static str {
        score(text).map_or("none", label)
    }

    #[test]
    fn words_negation_and_contrast_decide() {
        for (text, expected) in [
            ("I love this phone, it works great!", "positive"),
            ("This is not good.", "negative"),
            ("It isn't bad at all", "positive"),
            ("The food was good, but the service was terrible.", "negative"),
            ("The parcel arrived on Tuesday.", "neutral"),
            ("WORST purchase ever!!!", "negative"),
            ("I don’t like it.", "negative"),
            ("", "none"),
            ("  ... !", "none"),
        ] {
            assert_eq!(of(text), expected, "{text}: {:?}", score(text));
        }
    }

    #[test]
    fn degree_and_exclamation_marks_make_it_stronger() {
        let at = |text: &str| score(text).unwrap();
        assert!(at("very good") > at("good") && at("good") > at("slightly good"));
        assert!(at("good!!") > at("good"));
        assert!(at(&"good ".repeat(10_000)) <= 1.0);
    }

    /// Measured by hand: `WEIR_LABELLED=folder` with `amazon.json`, `imdb.json`, `yelp.json` of the npm package `sentiment`
    /// (Sentiment Labelled Sentences, Kotzias et al. 2015: `[{"text", "class": 0 | 1}]`).
    #[test]
    #[ignore = "needs the labelled sentences"]
    fn accuracy_on_labelled_sentences() {
        let folder = std::env::var("WEIR_LABELLED").unwrap();
        for name in ["amazon", "imdb", "yelp"] {
            let text = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
            let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
            let (mut right, mut silent) = (0, 0);
            for sentence in &all {
                let score = score(sentence["text"].as_str().unwrap()).unwrap_or(0.0);
                silent += usize::from(label(score) == "neutral");
                right += usize::from(label(score) == if sentence["class"] == 1 { "positive" } else { "negative" });
            }
            eprintln!("{name}: {right} of {} right, {silent} neutral", all.len());
            assert!(right * 10 > all.len() * 6, "{name}: {right} of {}", all.len());
        }
    }
}
