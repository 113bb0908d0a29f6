//! Values that may be one of several things: words, a word or a map, maps told apart by a tag.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::schema::{self, Sub};
use super::{Checker, Leaf};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::model::Span;
use crate::problems::{Path, Problems, nearest, one_of, short};
use crate::reference::has_reference;
use crate::tree::{Entry, Tree, Value};

impl Checker<'_> {
    /// A value for which several schemas are allowed.
    pub(super) fn union(&mut self, tree: &Tree, sub: Sub<'_>, variants: &[Sub<'_>], path: &Path, leaf: &Leaf<'_>) -> Json {
        // `sub` may carry more than the choice: whether it is secret, its unit.
        let leaf = &Leaf { rules: leaf.rules.merged(sub.secret()), ..leaf.clone() };
        let fitting: Vec<Sub<'_>> = variants.iter().copied().filter(|variant| variant.fits(tree)).collect();
        match fitting.as_slice() {
            [] => {
                let words: Vec<String> = variants.iter().filter_map(|variant| variant.words()).flatten().collect();
                let tags = schema::tags(variants);
                match &tree.value {
                    Value::Text { text, .. } if has_reference(text) => self.raw(tree, path, leaf),
                    Value::Text { text, .. } if tags.contains(text) => {
                        self.problems.push(
                            Diagnostic::error(
                                codes::OPTION_TYPE,
                                format!("`{}` of {} needs options for `{text}`", leaf.name, leaf.subject.what),
                            )
                            .at(&path.dotted, Some(tree.span))
                            .label("not enough by itself")
                            .help(format!("write `{{{text}: {{…}}}}`; all options: {}", leaf.subject.see)),
                        );
                        tree.to_json()
                    }
                    Value::Text { .. } if !words.is_empty() => self.word(tree, &[words, tags].concat(), path, leaf),
                    _ => {
                        let suggestion = variants.iter().find_map(|variant| variant.mended(tree));
                        self.wrong_type(tree, format!("is {}", tree.kind()), sub, path, leaf, suggestion);
                        tree.to_json()
                    }
                }
            }
            several => {
                if let Value::Map(entries) = &tree.value {
                    let tags = schema::tags(several);
                    if tags.len() == several.len()
                        && let Some(entry) = entries.first().filter(|_| !entries.iter().any(|entry| tags.contains(&entry.key)))
                    {
                        return self.unknown_tag(tree, entry, variants, path, leaf);
                    }
                }
                if let [only] = several {
                    return self.value(tree, *only, path, leaf);
                }
                if let Value::Map(entries) = &tree.value {
                    if let Some(chosen) = schema::externally_tagged(several, entries) {
                        return self.value(tree, chosen, path, leaf);
                    }
                    if let Some(tag) = schema::internal_tag(several) {
                        return self.tagged(tree, entries, several, tag, path, leaf);
                    }
                }
                self.best_of(tree, several, path, leaf)
            }
        }
    }

    /// A map whose only key is none of those that say which variant it is.
    fn unknown_tag(&mut self, tree: &Tree, entry: &Entry, variants: &[Sub<'_>], path: &Path, leaf: &Leaf<'_>) -> Json {
        let words = variants.iter().filter_map(|variant| variant.words()).flatten();
        let all: Vec<String> = schema::tags(variants).into_iter().chain(words).collect();
        let all = || all.iter().map(String::as_str);
        self.problems.push(
            Diagnostic::error(
                codes::OPTION_WORD,
                format!("`{}` of {} cannot be `{}`", leaf.name, leaf.subject.what, short(&entry.key)),
            )
            .at(&path.key(&entry.key).dotted, Some(entry.key_span))
            .label("not a word it knows")
            .did_you_mean(nearest(&entry.key, all()))
            .expected(one_of(all())),
        );
        tree.to_json()
    }

    /// A map whose key `tag` says which variant it is.
    fn tagged(&mut self, tree: &Tree, entries: &[Entry], variants: &[Sub<'_>], tag: &str, path: &Path, leaf: &Leaf<'_>) -> Json {
        let word_of = |variant: &Sub<'_>| variant.property(tag).and_then(|(_, sub)| sub.resolve().words()).unwrap_or_default();
        let words: Vec<String> = variants.iter().flat_map(word_of).collect();
        match entries.iter().find(|entry| entry.key == tag) {
            None => {
                self.problems.push(
                    Diagnostic::error(codes::MISSING_OPTION, format!("`{}` of {} needs `{tag}`", leaf.name, leaf.subject.what))
                        .at(&path.key(tag).dotted, Some(self.spans.get(&path.pointer).copied().unwrap_or(tree.span)))
                        .expected(one_of(words.iter().map(String::as_str))),
                );
                tree.to_json()
            }
            Some(entry) => {
                let given = entry.value.as_text().unwrap_or_default();
                match variants.iter().find(|variant| word_of(variant).iter().any(|word| word == given)) {
                    Some(chosen) => self.value(tree, *chosen, path, leaf),
                    None => {
                        let leaf = leaf.opened().entry(entry, leaf.rules);
                        self.word(&entry.value, &words, &path.key(tag), &leaf);
                        tree.to_json()
                    }
                }
            }
        }
    }

    /// The variant with the fewest complaints, and its complaints.
    fn best_of(&mut self, tree: &Tree, variants: &[Sub<'_>], path: &Path, leaf: &Leaf<'_>) -> Json {
        let mut best: Option<(usize, Json, Problems, BTreeMap<String, Span>)> = None;
        for variant in variants {
            let (mut problems, mut spans) = (Problems::default(), BTreeMap::new());
            let mut trial = Checker { problems: &mut problems, spans: &mut spans };
            let value = trial.value(tree, *variant, path, leaf);
            let errors = problems.list.iter().filter(|problem| problem.is_error()).count();
            if best.as_ref().is_none_or(|(fewest, ..)| errors < *fewest) {
                best = Some((errors, value, problems, spans));
            }
            if errors == 0 {
                break;
            }
        }
        let Some((_, value, problems, spans)) = best else { return tree.to_json() };
        self.problems.list.extend(problems.list);
        self.spans.extend(spans);
        value
    }
}
