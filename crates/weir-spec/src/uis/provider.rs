//! The provider of a unified ingestion spec: its connector, what of `config` belongs to it, its endpoints.

use std::collections::BTreeMap;

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::job::Lowering;
use crate::model::Span;
use crate::options::schema::{Part, property};
use crate::problems::{Path, short};
use crate::tree::{Entry, Tree};

const ENDPOINT: [&str; 8] =
    ["name", "path", "method", "query_params", "headers", "body", "field_mapping", "rate_limit_per_second"];
/// Settings of engines that Weir is not.
const ENGINE: [&str; 8] =
    ["taskmanager", "jobmanager", "task_slots", "executor", "driver_", "state.", "pipeline.", "parallelism"];

/// The parts of `provider` from which its nodes are made.
pub(super) struct Provider<'t> {
    pub(super) kind: (String, Span),
    pub(super) parts: BTreeMap<&'t str, &'t Entry>,
    /// Options of the connector that stand beside the keys of the spec.
    pub(super) own: Vec<Entry>,
    pub(super) key_span: Span,
    pub(super) span: Span,
}

/// Whether a key of the provider is an option of its connector: `auth`.
pub(super) fn knows(job: &Lowering<'_>, provider: &Entry, key: &str) -> bool {
    let kind = provider.value.get("provider_type").and_then(|entry| entry.value.as_text()).unwrap_or_default();
    let Some(words) = job.vocabulary.connector(kind) else { return false };
    let parts: Vec<Part<'_>> = words.source.iter().chain([&words.connection]).map(Part::root).collect();
    property(&parts, key).is_some()
}

impl<'t> Provider<'t> {
    pub(super) fn config_entries(&self) -> &'t [Entry] {
        self.parts.get("config").and_then(|entry| entry.value.as_map()).unwrap_or_default()
    }

    /// The connector that a provider type means.
    pub(super) fn connector(&self, job: &Lowering<'_>) -> String {
        match self.kind.0.as_str() {
            "rest_api" | "rest" | "api" => "http".into(),
            "database" => {
                let database =
                    self.config_entries().iter().find(|entry| entry.key == "database").and_then(|entry| entry.value.as_text());
                let Some(database) = database else { return "database".into() };
                let database =
                    job.vocabulary.connector(database).map_or_else(|| database.to_string(), |words| words.canonical.clone());
                // Without a mode, a database is captured: that is what the spec's `database` is for.
                let mode = self.parts.get("mode").and_then(|entry| entry.value.as_text()).unwrap_or_default().to_lowercase();
                if matches!(mode.as_str(), "batch" | "incremental" | "micro_batch") {
                    database
                } else {
                    format!("{database}-cdc")
                }
            }
            other => other.into(),
        }
    }

    /// What of `config` belongs to the source.
    pub(super) fn config(&self, kind: &str, path: &Path, job: &mut Lowering<'_>) -> Vec<Entry> {
        let path = path.key("config");
        if let Some(entry) = self.parts.get("config").filter(|entry| entry.value.as_map().is_none() && !entry.value.is_null()) {
            job.not_a_map(entry, &path);
        }
        let sink_types: Vec<String> = self
            .parts
            .get("sinks")
            .and_then(|entry| entry.value.as_list())
            .into_iter()
            .flatten()
            .filter_map(|item| Some(format!("{}_", item.get("type")?.value.as_text()?.to_lowercase())))
            .collect();
        let words = job.vocabulary.connector(kind);
        let mut out = Vec::new();
        for entry in self.config_entries() {
            let key = entry.key.as_str();
            if self.kind.0 == "database" && key == "database" || sink_types.iter().any(|prefix| key.starts_with(prefix)) {
                continue;
            }
            let known = words.as_ref().map(|words| {
                let parts: Vec<Part<'_>> = words.source.iter().chain([&words.connection]).map(Part::root).collect();
                property(&parts, key).is_some()
            });
            let engine = ENGINE.iter().any(|prefix| key.starts_with(prefix));
            if known.unwrap_or(!engine) {
                // `database` said which system; the name of the database is here.
                out.push(if key == "database_name" { entry.renamed("database") } else { entry.clone() });
                continue;
            }
            let why = if engine { "is a setting of another engine" } else { "means nothing to this connector" };
            job.problems.push(
                Diagnostic::warning(codes::IGNORED, format!("`{}` {why} and is left out", short(key)))
                    .at(&path.key(key).dotted, Some(entry.key_span))
                    .label("left out"),
            );
        }
        out
    }

    /// The endpoints without their mappings, and the mappings.
    pub(super) fn endpoints(&self, path: &Path, job: &mut Lowering<'_>) -> Vec<(Tree, Option<Tree>)> {
        let Some(entry) = self.parts.get("endpoints") else { return Vec::new() };
        let path = path.key("endpoints");
        let Some(items) = entry.value.as_list() else {
            job.wrong(entry, &path, "a list of maps");
            return Vec::new();
        };
        let mut out = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            let Some(parts) = item.as_map() else {
                job.wrong(&Entry::new("endpoints", item.span, item.clone()), &path, "a list of maps");
                continue;
            };
            let (mut options, mut mapping) = (Vec::new(), None);
            for part in parts {
                match part.key.as_str() {
                    "field_mapping" if part.value.is_null() => {}
                    "field_mapping" => mapping = Some(part.value.clone()),
                    key if ENDPOINT.contains(&key) || self.allows(key, job) => options.push(part.clone()),
                    _ => job.unknown(part, "an endpoint", &path, &ENDPOINT),
                }
            }
            out.push((Tree::map(options, item.span), mapping));
        }
        out
    }

    /// Whether the connector's own endpoints have this option beyond those of the spec.
    fn allows(&self, key: &str, job: &Lowering<'_>) -> bool {
        let words = job.vocabulary.connector(&self.connector(job));
        let Some(source) = words.as_ref().and_then(|words| words.source.as_ref()) else { return false };
        let item = property(&[Part::root(source)], "endpoints").and_then(|(_, sub)| {
            let sub = sub.resolve();
            let list = if sub.is("array") { Some(sub) } else { sub.variants().into_iter().find(|variant| variant.is("array")) };
            list?.item(0)
        });
        item.is_some_and(|item| item.resolve().property(key).is_some())
    }
}
