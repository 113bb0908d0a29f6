//! The Unified Ingestion Spec v1.1: `version`, `name`, `provider` with endpoints and sinks. Rewritten to the native
//! form, places kept.

mod provider;

use std::collections::BTreeMap;

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::job::{Lowering, gather_sinks};
use crate::model::Span;
use crate::native::{MODES, slug};
use crate::problems::{Path, Problems, nearest, one_of, short};
use crate::tree::{Entry, Tree, Value};
use crate::vocabulary::Vocabulary;
use provider::{Provider, knows};

const KEYS: [&str; 9] =
    ["version", "name", "description", "provider", "created_by", "labels", "schedule", "engine", "engine_configs"];
const PROVIDER: [&str; 18] = [
    "name",
    "display_name",
    "description",
    "provider_type",
    "base_url",
    "endpoints",
    "sinks",
    "config",
    "mode",
    "parallelism",
    "tenant_id",
    "owner",
    "credentials_ref",
    "schema_contract",
    "schedule",
    "transforms",
    "engine",
    "engine_configs",
];
/// Whether a document is a unified ingestion spec.
pub(crate) fn matches(root: &Tree) -> bool {
    root.get("provider").is_some()
}

/// The document in the native form.
pub(crate) fn lower(root: &Tree, vocabulary: &dyn Vocabulary, problems: &mut Problems) -> Tree {
    let entries = root.as_map().unwrap_or_default();
    let start = entries.first().map_or(root.span, |entry| entry.key_span);
    let top = Path::default();
    let mut job = Lowering { vocabulary, problems };
    let mut spec = Spec::default();
    match root.get("version") {
        None => job.missing("version", "a unified ingestion spec", &top, start, "add `version: \"1.1\"`"),
        Some(entry) => {
            let version = entry.value.as_text().map_or_else(|| entry.value.to_json().to_string(), Into::into);
            if version != "1.1" {
                job.problems.push(
                    Diagnostic::error(
                        codes::UIS_VERSION,
                        format!("version {} of the unified ingestion spec is not known", short(&version)),
                    )
                    .at("version", Some(entry.place()))
                    .label("not 1.1")
                    .expected("\"1.1\""),
                );
            }
        }
    }
    for entry in entries {
        match entry.key.as_str() {
            "version" => {}
            "name" => spec.name(entry),
            "description" => spec.description = Some(entry.clone()),
            "created_by" => spec.label("created_by", entry),
            "labels" => spec.labels.extend(entry.value.as_map().unwrap_or_default().iter().cloned()),
            "schedule" | "engine" | "engine_configs" => spec.put(entry, &top, &mut job),
            "provider" => spec.provider(entry, &mut job),
            _ => job.unknown(entry, "the unified ingestion spec", &top, &KEYS),
        }
    }
    if root.get("name").is_none() {
        job.missing("name", "a unified ingestion spec", &top, start, "add `name: …`");
        spec.out.push(Entry::new("pipeline", start, Tree::text("unnamed", start)));
    }
    spec.finish(root.span, start)
}

#[derive(Default)]
struct Spec {
    out: Vec<Entry>,
    labels: Vec<Entry>,
    description: Option<Entry>,
    /// The name as it was, if it was no native one.
    called: Option<(String, Span)>,
    title: Option<Entry>,
}

impl Spec {
    fn name(&mut self, entry: &Entry) {
        let Some(text) = entry.value.as_text() else {
            self.out.push(entry.renamed("pipeline"));
            return;
        };
        let name = slug(text);
        if name != text {
            self.called = Some((text.into(), entry.value.span));
        }
        self.out.push(Entry { value: Tree::text(name, entry.value.span), ..entry.renamed("pipeline") });
    }

    /// A key that may stand in the spec or in its provider, once.
    fn put(&mut self, entry: &Entry, path: &Path, job: &mut Lowering<'_>) {
        self.out.push(entry.clone());
        job.one_each(&mut self.out, path);
    }

    fn label(&mut self, key: &str, entry: &Entry) {
        self.labels.push(entry.renamed(key));
    }

    fn finish(mut self, span: Span, start: Span) -> Tree {
        let texts: Vec<(String, Span)> = self
            .called
            .into_iter()
            .chain(
                [self.title, self.description]
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| Some((entry.value.as_text()?.to_string(), entry.value.span))),
            )
            .collect();
        if let Some((_, place)) = texts.first() {
            let text = texts.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(": ");
            self.out.push(Entry::new("description", *place, Tree::text(text, *place)));
        }
        if let Some(first) = self.labels.first().map(|entry| entry.key_span) {
            self.out.push(Entry::new("labels", first, Tree::map(self.labels, start)));
        }
        Tree::map(self.out, span)
    }

    fn provider(&mut self, entry: &Entry, job: &mut Lowering<'_>) {
        let path = Path::default().key("provider");
        let Some(entries) = entry.value.as_map() else {
            job.not_a_map(entry, &path);
            return;
        };
        let place = entry.key_span;
        for part in entries {
            match part.key.as_str() {
                "name" => self.label("provider", part),
                "display_name" => self.title = Some(part.clone()),
                "description" => self.description = self.description.take().or_else(|| Some(part.clone())),
                "owner" => self.label("owner", part),
                "tenant_id" => self.out.push(part.renamed("tenant")),
                "parallelism" | "credentials_ref" => self.out.push(part.clone()),
                "schedule" | "engine" | "engine_configs" => self.put(part, &path, job),
                "schema_contract" => self.contract(part, &path.key("schema_contract"), job),
                "provider_type" | "base_url" | "endpoints" | "sinks" | "config" | "mode" | "transforms" => {}
                key if knows(job, entry, key) => {}
                _ => job.unknown(part, "`provider`", &path, &PROVIDER),
            }
        }
        let mode = entry.value.get("mode");
        if let Some(mode) = mode {
            self.mode(mode, job);
        }
        let kind =
            entry.value.get("provider_type").and_then(|entry| Some((entry.value.as_text()?.to_lowercase(), entry.value.span)));
        let Some(kind) = kind else {
            job.missing("provider_type", "`provider`", &path, place, "say what it is, `provider_type: rest_api`");
            return;
        };
        let mut parts: BTreeMap<&str, &Entry> = entries.iter().map(|part| (part.key.as_str(), part)).collect();
        // A misspelt key has been reported; what it was meant for is not missing.
        for part in entries.iter().filter(|part| !PROVIDER.contains(&part.key.as_str())) {
            if let Some(meant) = nearest(&part.key, PROVIDER).and_then(|word| PROVIDER.into_iter().find(|key| *key == word)) {
                parts.entry(meant).or_insert(part);
            }
        }
        let own = entries
            .iter()
            .filter(|part| !PROVIDER.contains(&part.key.as_str()) && knows(job, entry, &part.key))
            .cloned()
            .collect();
        let provider = Provider { kind, parts, own, key_span: entry.key_span, span: entry.value.span };
        self.nodes(&provider, &path, job);
    }

    fn mode(&mut self, entry: &Entry, job: &mut Lowering<'_>) {
        let words = ["batch", "incremental", "micro_batch", "cdc", "streaming", "websocket", "webhook", "realtime"];
        let text = entry.value.as_text().unwrap_or_default().to_lowercase();
        let native = match text.as_str() {
            "micro_batch" => "incremental",
            "websocket" | "webhook" | "realtime" => "streaming",
            other => other,
        };
        if MODES.contains(&native) {
            self.out.push(Entry { value: Tree::text(native, entry.value.span), ..entry.clone() });
            return;
        }
        job.problems.push(
            Diagnostic::error(codes::WORD, format!("`mode` cannot be `{}`", short(&text)))
                .at("mode", Some(entry.place()))
                .label("not a word it knows")
                .did_you_mean(nearest(&text, words))
                .expected(one_of(words)),
        );
    }

    /// What a schema may do, and which columns it has.
    fn contract(&mut self, entry: &Entry, path: &Path, job: &mut Lowering<'_>) {
        match &entry.value.value {
            Value::Text { .. } => self.out.push(entry.renamed("on_schema_change")),
            Value::Map(parts) => {
                for part in parts {
                    match part.key.as_str() {
                        "on_schema_change" => self.out.push(part.clone()),
                        _ => job.unknown(part, "`schema_contract`", path, &["on_schema_change"]),
                    }
                }
            }
            _ => job.not_a_map(entry, path),
        }
    }

    /// Sources, mappers and sinks.
    fn nodes(&mut self, provider: &Provider<'_>, path: &Path, job: &mut Lowering<'_>) {
        let kind = provider.connector(job);
        let config = provider.config(&kind, path, job);
        let endpoints = provider.endpoints(path, job);
        let mapped: Vec<Option<&Tree>> = endpoints.iter().map(|(_, mapping)| mapping.as_ref()).collect();
        let same = mapped.windows(2).all(|pair| pair[0].map(Tree::to_json) == pair[1].map(Tree::to_json));
        let place = provider.parts.get("endpoints").map_or(provider.key_span, |entry| entry.key_span);
        let source = |endpoints: Vec<Tree>| {
            let mut options: Vec<Entry> = provider
                .parts
                .get("base_url")
                .map(|entry| Entry { key: "base_url".into(), ..(*entry).clone() })
                .into_iter()
                .collect();
            options.extend(provider.own.iter().cloned());
            options.extend(config.iter().cloned());
            if !endpoints.is_empty() {
                options.push(Entry::new("endpoints", place, Tree::list(endpoints, provider.span)));
            }
            Tree::map(vec![Entry::new(&kind, provider.kind.1, Tree::map(options, provider.span))], provider.span)
        };
        let mapper = |mapping: &Tree| {
            Entry::new("field_mapper", place, Tree::map(vec![Entry::new("rename", place, mapping.clone())], mapping.span))
        };
        let sinks = self.sinks(provider, path, job);
        let mut sinks =
            gather_sinks(provider.parts.get("sinks").map_or(provider.key_span, |entry| entry.key_span), provider.span, sinks);
        if same {
            let transforms: Vec<Tree> = mapped
                .first()
                .copied()
                .flatten()
                .map(|mapping| Tree::map(vec![mapper(mapping)], mapping.span))
                .into_iter()
                .collect();
            self.out.push(Entry::new(
                "source",
                provider.kind.1,
                source(endpoints.iter().map(|(tree, _)| tree.clone()).collect()),
            ));
            if !transforms.is_empty() {
                self.out.push(Entry::new("transforms", place, Tree::list(transforms, provider.span)));
            }
        } else {
            // Endpoints that are mapped differently are sources of their own.
            let (mut sources, mut transforms, mut ends) = (Vec::new(), Vec::new(), Vec::new());
            for (index, (endpoint, mapping)) in endpoints.iter().enumerate() {
                let called = endpoint
                    .get("name")
                    .and_then(|entry| entry.value.as_text())
                    .map_or_else(|| format!("endpoint_{}", index + 1), slug);
                let name = if sources.iter().any(|entry: &Entry| entry.key == called) {
                    format!("{called}_{}", index + 1)
                } else {
                    called
                };
                let span = endpoint.span;
                sources.push(Entry::new(&name, place, source(vec![endpoint.clone()])));
                ends.push(match mapping {
                    Some(mapping) => {
                        let mapped = format!("{name}_mapped");
                        let input = Entry::new("input", place, Tree::text(&name, span));
                        transforms.push(Entry::new(&mapped, place, Tree::map(vec![input, mapper(mapping)], span)));
                        Tree::text(mapped, span)
                    }
                    None => Tree::text(name, span),
                });
            }
            self.out.push(Entry::new("sources", place, Tree::map(sources, provider.span)));
            self.out.push(Entry::new("transforms", place, Tree::map(transforms, provider.span)));
            feed(&mut sinks, &Tree::list(ends, provider.span), place);
        }
        let empty = sinks.value.as_map().is_some_and(<[Entry]>::is_empty);
        if !empty {
            self.out.push(sinks);
        }
    }

    fn sinks(&mut self, provider: &Provider<'_>, path: &Path, job: &mut Lowering<'_>) -> Vec<Tree> {
        let Some(entry) = provider.parts.get("sinks") else { return Vec::new() };
        let path = path.key("sinks");
        let Some(items) = entry.value.as_list() else {
            job.wrong(entry, &path, "a list of maps");
            return Vec::new();
        };
        let mut out = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            let first = item.as_map().and_then(<[Entry]>::first).map_or(item.span, |first| first.key_span);
            let Some(parts) = item.as_map() else {
                job.wrong(&Entry::new("sinks", item.span, item.clone()), &path, "a list of maps");
                continue;
            };
            let Some((kind, span)) =
                item.get("type").and_then(|entry| Some((entry.value.as_text()?.to_lowercase(), entry.value.span)))
            else {
                job.missing("type", "a sink", &path, first, "say what it writes to, `type: kafka`");
                continue;
            };
            let (mut node, mut options) = (Vec::new(), Vec::new());
            for part in parts {
                match part.key.as_str() {
                    "type" => {}
                    "name" => node.push(Entry {
                        value: Tree::text(slug(part.value.as_text().unwrap_or_default()), part.value.span),
                        ..part.clone()
                    }),
                    "config" => match &part.value.value {
                        Value::Map(inner) => options.extend(inner.iter().cloned()),
                        Value::Null => {}
                        _ => job.not_a_map(part, &path.key("config")),
                    },
                    // `kafka_topic` is the `topic` of `kafka`.
                    key => options.push(match key.strip_prefix(&format!("{kind}_")) {
                        Some(bare) => part.renamed(bare),
                        None => part.clone(),
                    }),
                }
            }
            // `kafka_bootstrap_servers` of the provider is what its kafka sinks use.
            for shared in provider.config_entries() {
                if let Some(bare) = shared.key.strip_prefix(&format!("{kind}_"))
                    && !options.iter().any(|entry| entry.key == bare)
                {
                    options.push(shared.renamed(bare));
                }
            }
            job.one_each(&mut options, &path);
            node.push(Entry::new(&kind, span, Tree::map(options, item.span)));
            out.push(Tree::map(node, item.span));
        }
        out
    }
}

/// Gives every sink the same inputs.
fn feed(sinks: &mut Entry, inputs: &Tree, place: Span) {
    let add = |tree: &mut Tree| {
        if let Value::Map(entries) = &mut tree.value {
            entries.insert(0, Entry::new("input", place, inputs.clone()));
        }
    };
    match (sinks.key.as_str(), &mut sinks.value.value) {
        ("sink", _) => add(&mut sinks.value),
        (_, Value::Map(entries)) => entries.iter_mut().for_each(|entry| add(&mut entry.value)),
        _ => {}
    }
}
