//! How often the words are right, on sets that others have labelled: `scripts/nlp.sh` fetches them and shows the tables. `docs/reference/transforms/nlp.md` tells the figures.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::entities::{EntityKind, find};
use super::language::detect;

/// The files of Lingua's test sentences, and the code of each language.
const LANGUAGES: [(&str, &str); 27] = [
    ("arabic", "ara"),
    ("armenian", "hye"),
    ("bulgarian", "bul"),
    ("chinese", "cmn"),
    ("czech", "ces"),
    ("danish", "dan"),
    ("dutch", "nld"),
    ("english", "eng"),
    ("finnish", "fin"),
    ("french", "fra"),
    ("georgian", "kat"),
    ("german", "deu"),
    ("greek", "ell"),
    ("hebrew", "heb"),
    ("hindi", "hin"),
    ("italian", "ita"),
    ("japanese", "jpn"),
    ("korean", "kor"),
    ("polish", "pol"),
    ("portuguese", "por"),
    ("romanian", "ron"),
    ("russian", "rus"),
    ("spanish", "spa"),
    ("swedish", "swe"),
    ("thai", "tha"),
    ("turkish", "tur"),
    ("ukrainian", "ukr"),
];

fn folder(variable: &str) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| panic!("{variable} is not set: run scripts/nlp.sh"))
}

#[test]
#[ignore = "needs a download: scripts/nlp.sh"]
fn languages() {
    let folder = folder("WEIR_SENTENCES");
    let (mut all, mut right_of_all) = (0u32, 0u32);
    for (file, code) in LANGUAGES {
        let text = std::fs::read_to_string(folder.join(format!("{file}.txt"))).unwrap();
        let (mut lines, mut right, mut none) = (0u32, 0u32, 0u32);
        let mut taken: BTreeMap<&str, u32> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            lines += 1;
            match detect(line) {
                Some((found, _)) if found == code => right += 1,
                Some((found, _)) => *taken.entry(found).or_default() += 1,
                None => none += 1,
            }
        }
        let mut taken: Vec<(&str, u32)> = taken.into_iter().collect();
        taken.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        taken.truncate(3);
        println!("{code} {right} of {lines} right, {none} without an answer, taken for {taken:?}");
        assert!(lines >= 400, "{file}: {lines} sentences");
        all += lines;
        right_of_all += right;
    }
    println!("all {right_of_all} of {all} right");
    assert!(f64::from(right_of_all) > 0.8 * f64::from(all), "{right_of_all} of {all}");
}

/// A tweet: its tokens and what each begins (`B-person`), continues (`I-person`) or not (`O`).
type Tweet = Vec<(String, String)>;

/// The names in a tweet as (kind, first token, one behind the last).
fn labelled(tweet: &Tweet) -> Vec<(EntityKind, usize, usize)> {
    let kind = |label: &str| match label {
        "person" => Some(EntityKind::Person),
        "geo-loc" => Some(EntityKind::Place),
        "company" => Some(EntityKind::Organisation),
        _ => None,
    };
    let mut names = Vec::new();
    for (at, (_, label)) in tweet.iter().enumerate() {
        let Some(begun) = label.strip_prefix("B-") else { continue };
        let rest = tweet[at + 1..].iter().take_while(|(_, label)| label.strip_prefix("I-") == Some(begun)).count();
        names.extend(kind(begun).map(|kind| (kind, at, at + 1 + rest)));
    }
    names
}

#[test]
#[ignore = "needs a download: scripts/nlp.sh"]
fn names() {
    let text = std::fs::read_to_string(folder("WEIR_TWEETS")).unwrap();
    let mut tweets: Vec<Tweet> = vec![Vec::new()];
    for line in text.lines() {
        match (line.trim().rsplit_once('\t'), tweets.last_mut()) {
            (Some((token, label)), Some(tweet)) => tweet.push((token.into(), label.into())),
            _ => tweets.push(Vec::new()),
        }
    }
    tweets.retain(|tweet| !tweet.is_empty());
    assert!(tweets.len() > 2_000, "{}", tweets.len());
    let mut sums: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    for tweet in &tweets {
        let (mut text, mut places) = (String::new(), Vec::new());
        for (token, _) in tweet {
            if !text.is_empty() {
                text.push(' ');
            }
            let begin = text.chars().count();
            text.push_str(token);
            places.push((begin, text.chars().count()));
        }
        let kinds = [EntityKind::Person, EntityKind::Organisation, EntityKind::Place];
        let found: Vec<(EntityKind, usize, usize)> =
            find(&text, &kinds).into_iter().map(|entity| (entity.kind, entity.start, entity.end)).collect();
        let wanted: Vec<(EntityKind, usize, usize)> =
            labelled(tweet).into_iter().map(|(kind, first, end)| (kind, places[first].0, places[end - 1].1)).collect();
        for name in &found {
            let sum = sums.entry(name.0.word()).or_default();
            sum[0] += 1;
            sum[2] += u32::from(wanted.contains(name));
        }
        for name in &wanted {
            sums.entry(name.0.word()).or_default()[1] += 1;
        }
    }
    for (kind, [found, wanted, right]) in &sums {
        println!("{kind}: {found} found, {wanted} there, {right} the same from the first character to the last");
        assert!(*right > 0, "{kind}");
    }
}
