//! Entities of a text. E-mail addresses, URLs, telephone numbers, amounts of money and dates are found by their form in any
//! language; people, organisations and places by lists and by the words around them, in English.
//!
//! Where two overlap the earlier in [`EntityKind::ALL`] stays: an address in a URL is a URL's part.

use std::sync::LazyLock;

use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;

use super::names::{GIVEN, NO_NAMES, ORGANISATION_BEGINS, ORGANISATION_ENDS, ORGANISATIONS, PLACES, TITLES};

/// What an entity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EntityKind {
    /// A web address.
    Url,
    /// An e-mail address.
    Email,
    /// A date.
    Date,
    /// An amount with a currency.
    Money,
    /// A telephone number: with a country code, or written in groups.
    Phone,
    /// A company, agency, school.
    #[serde(alias = "organization")]
    Organisation,
    /// A country, state or city.
    Place,
    /// A human being.
    Person,
}

impl EntityKind {
    /// Each before those that it wins over.
    pub(super) const ALL: [Self; 8] =
        [Self::Url, Self::Email, Self::Date, Self::Money, Self::Phone, Self::Organisation, Self::Place, Self::Person];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Email => "email",
            Self::Date => "date",
            Self::Money => "money",
            Self::Phone => "phone",
            Self::Organisation => "organisation",
            Self::Place => "place",
            Self::Person => "person",
        }
    }
}

/// One entity; `start` and `end` count characters, the end is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entity {
    pub(super) kind: EntityKind,
    pub(super) text: String,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A pattern of this file: it is the tests' business that it compiles.
#[allow(clippy::expect_used)]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of the program itself, compiled by its tests")
}

const MONTHS: &str = "(?:January|February|March|April|May|June|July|August|September|October|November|December|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)\\.?";
const NUMBER: &str = r"\d{1,3}(?:[.,' ]\d{3})+(?:[.,]\d{1,2})?|\d+(?:[.,]\d{1,2})?";
/// A capitalised word, perhaps with a hyphen or an apostrophe in it.
const NAME: &str = r"\p{Lu}[\p{L}]*(?:['’-]\p{L}+)*";

static URL: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)\b(?:https?://|www\.)[^\s<>()\[\]{}]*[^\s<>()\[\]{}.,;:!?'’]"));
static EMAIL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b[a-z0-9][a-z0-9._%+-]*@[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b"));
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"\b(?:\d{{4}}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])|(?:0?[1-9]|[12]\d|3[01])[./](?:0?[1-9]|[12]\d|3[01])[./](?:19|20)\d{{2}}|(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)? (?:of )?{MONTHS},?(?: \d{{4}})?|{MONTHS} (?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?(?:,? \d{{4}})?|{MONTHS} (?:19|20)\d{{2}})\b"
    ))
});
static MONEY: LazyLock<Regex> = LazyLock::new(|| {
    let word = "(?:million|billion|thousand|m|bn|k)";
    pattern(&format!(
        r"(?i)(?:(?:US)?[$€£¥₹]|\b(?:USD|EUR|GBP|JPY|CHF|INR|CNY)) ?(?:{NUMBER})(?: ?{word}\b)?|\b(?:{NUMBER})(?: ?{word})? ?(?:[€£¥₹$]|(?:USD|EUR|GBP|JPY|CHF|INR|CNY|dollars?|euros?|pounds?|yen|cents?)\b)"
    ))
});
static PHONE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}|\(\d{2,5}\) ?\d{2,4}(?:[ .-]\d{2,5})+|\b\d{3}[.-]\d{3}[.-]\d{4})\b",
    )
});
static PLACE: LazyLock<Regex> = LazyLock::new(|| listed(PLACES));
static ORGANISATION: LazyLock<Regex> = LazyLock::new(|| {
    let (ends, begins) = (ORGANISATION_ENDS.join("|"), ORGANISATION_BEGINS.join("|"));
    pattern(&format!(
        r"\b(?:(?:{begins}) of (?:the )?{NAME}(?: {NAME}){{0,3}}|(?:(?:{NAME}|&|and) ){{0,4}}?{NAME} (?:(?:{ends})\b\.?)(?: (?:{ends})\b\.?)?)"
    ))
});
static KNOWN: LazyLock<Regex> = LazyLock::new(|| listed(ORGANISATIONS));
static PERSON: LazyLock<Regex> = LazyLock::new(|| {
    let given = GIVEN.split_whitespace().collect::<Vec<_>>().join("|");
    let titles = TITLES.join("|");
    let more = format!(r"(?: (?:van|von|de|der|di|da|la|bin|al|\p{{Lu}}\.|{NAME}))");
    pattern(&format!(r"\b(?:(?:{titles})\.? {NAME}{more}{{0,3}}|(?:{given})\b{more}{{0,3}})"))
});

/// Names of a list, the longest first, so that `New York City` is not `New York`.
fn listed(names: &str) -> Regex {
    let mut all: Vec<String> = names.split('|').map(regex::escape).collect();
    all.sort_by_key(|name| std::cmp::Reverse(name.len()));
    pattern(&format!(r"\b(?:{})\b", all.join("|")))
}

/// The entities of these kinds, in the order of the text.
pub(super) fn find(text: &str, kinds: &[EntityKind]) -> Vec<Entity> {
    let mut taken: Vec<(usize, usize, EntityKind)> = Vec::new();
    for kind in EntityKind::ALL {
        // Also of kinds that nobody asked for: the place in `Bank of England` is none.
        let patterns: &[&LazyLock<Regex>] = match kind {
            EntityKind::Url => &[&URL],
            EntityKind::Email => &[&EMAIL],
            EntityKind::Date => &[&DATE],
            EntityKind::Money => &[&MONEY],
            EntityKind::Phone => &[&PHONE],
            EntityKind::Organisation => &[&ORGANISATION, &KNOWN],
            EntityKind::Place => &[&PLACE],
            EntityKind::Person => &[&PERSON],
        };
        for found in patterns.iter().flat_map(|pattern| pattern.find_iter(text)) {
            let Some((start, end)) = trimmed(text, found.start(), found.end(), kind) else { continue };
            if taken.iter().all(|(from, to, _)| end <= *from || *to <= start) {
                taken.push((start, end, kind));
            }
        }
    }
    taken.retain(|(_, _, kind)| kinds.contains(kind));
    taken.sort_by_key(|(start, ..)| *start);
    let (mut entities, mut byte, mut place) = (Vec::with_capacity(taken.len()), 0, 0);
    for (start, end, kind) in taken {
        place += text[byte..start].chars().count();
        let length = text[start..end].chars().count();
        entities.push(Entity { kind, text: text[start..end].into(), start: place, end: place + length });
        (byte, place) = (end, place + length);
    }
    entities
}

/// What is left of a match without words that are no part of a name; `None` if it is nothing.
fn trimmed(text: &str, mut start: usize, mut end: usize, kind: EntityKind) -> Option<(usize, usize)> {
    if !matches!(kind, EntityKind::Organisation | EntityKind::Person) {
        return (kind != EntityKind::Phone || text[start..end].bytes().filter(u8::is_ascii_digit).count() >= 7)
            .then_some((start, end));
    }
    while let Some((first, rest)) = text[start..end].split_once(' ')
        && (NO_NAMES.contains(&first) || matches!(first, "and" | "&"))
    {
        start = end - rest.len();
    }
    // A small word at the end belongs to what follows.
    while let Some((rest, last)) = text[start..end].rsplit_once(' ')
        && (NO_NAMES.contains(&last) || last.chars().next().is_some_and(char::is_lowercase))
    {
        end = start + rest.len();
    }
    let left = &text[start..end];
    let alone = kind == EntityKind::Organisation && ORGANISATION_ENDS.contains(&left);
    (!left.is_empty() && !NO_NAMES.contains(&left) && !alone).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        find(text, &EntityKind::ALL).into_iter().map(|entity| format!("{} {}", entity.kind.word(), entity.text)).collect()
    }

    #[test]
    fn forms_are_found() {
        assert_eq!(
            found("Write to ada@example.org, or see https://example.org/a?b=1."),
            ["email ada@example.org", "url https://example.org/a?b=1"]
        );
        assert_eq!(
            found("It cost $1,299.99 and 20 euros, paid in EUR 5 million."),
            ["money $1,299.99", "money 20 euros", "money EUR 5 million"]
        );
        assert_eq!(
            found("From 2024-05-01 to May 3, 2024 or 4th of July 2025"),
            ["date 2024-05-01", "date May 3, 2024", "date 4th of July 2025"]
        );
        assert_eq!(
            found("Call +49 30 1234567 or (212) 555-0199 or 212-555-0199."),
            ["phone +49 30 1234567", "phone (212) 555-0199", "phone 212-555-0199"]
        );
    }

    #[test]
    fn names_are_found() {
        assert_eq!(
            found("Ada Lovelace met Dr. Smith of Deutsche Bank in London."),
            ["person Ada Lovelace", "person Dr. Smith", "organisation Deutsche Bank", "place London"]
        );
        assert_eq!(
            found("The Acme Widget Corp. opened in New York City."),
            ["organisation Acme Widget Corp.", "place New York City"]
        );
        assert_eq!(found("University of Oxford"), ["organisation University of Oxford"]);
        assert_eq!(found("Then John said so"), ["person John"]);
    }

    #[test]
    fn numbers_and_plain_words_are_nothing() {
        for text in
            ["order 12345678 of 3 items", "version 1.2.3", "It may be so.", "", "The company paid nothing", "price: 12.50"]
        {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn places_are_counted_in_characters() {
        let found = find("Zoë: é ada@example.org", &[EntityKind::Email]);
        assert_eq!((found[0].start, found[0].end, found[0].text.as_str()), (7, 22, "ada@example.org"));
    }

    #[test]
    fn only_what_is_asked_for_and_nothing_inside_something_else() {
        assert!(find("Bank of England", &[EntityKind::Place]).is_empty());
        assert_eq!(found("https://a.org/mail?to=ada@example.org"), ["url https://a.org/mail?to=ada@example.org"]);
    }
}
