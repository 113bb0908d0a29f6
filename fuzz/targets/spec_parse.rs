//! Any bytes through the parser of pipeline files: all three surfaces, all documents.
//!
//! Promises that are checked: it never panics; every diagnostic's span lies inside the text, on characters' bounds, and its line is the
//! line of that place; diagnostics can be shown; what was read can be written in the native form and read again,
//! and is the same then if it had no errors.
#![no_main]

// The words of the golden cases, so that every option schema there is can be reached.
#[path = "../../crates/weir-spec/tests/vocabulary/mod.rs"]
mod vocabulary;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use vocabulary::Words;
use weir_spec::{ConnectorWords, Diagnostic, TransformWords, Vocabulary, check_words, parse, render, to_native_yaml};

/// The words, made once: deriving schemas would take most of the time otherwise.
struct Known {
    connectors: BTreeMap<String, Arc<ConnectorWords>>,
    transforms: BTreeMap<String, Arc<TransformWords>>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| Known {
    connectors: Words.connectors().into_iter().filter_map(|name| Words.connector(&name).map(|words| (name, words))).collect(),
    transforms: Words.transforms().into_iter().filter_map(|name| Words.transform(&name).map(|words| (name, words))).collect(),
});

impl Vocabulary for Known {
    fn connector(&self, name: &str) -> Option<Arc<ConnectorWords>> {
        self.connectors.get(name).cloned()
    }
    fn connectors(&self) -> Vec<String> {
        self.connectors.keys().cloned().collect()
    }
    fn transform(&self, name: &str) -> Option<Arc<TransformWords>> {
        self.transforms.get(name).cloned()
    }
    fn transforms(&self) -> Vec<String> {
        self.transforms.keys().cloned().collect()
    }
}

/// What the diagnostics of a text must keep, and that all ways to show them work.
fn look(diagnostics: &[Diagnostic], text: &str) {
    for diagnostic in diagnostics {
        let Some(span) = diagnostic.span else { continue };
        assert!(span.start <= span.end, "a span ends before it starts: {diagnostic:?}");
        assert!(text.get(span.start..span.end).is_some(), "a span outside of the text: {diagnostic:?}");
        assert!(span.line >= 1 && span.column >= 1, "lines and columns count from 1: {diagnostic:?}");
        // YAML knows more line ends than this.
        if !text.contains(['\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            let line = 1 + text[..span.start].matches('\n').count();
            assert_eq!(span.line, line, "the wrong line: {diagnostic:?}");
        }
    }
    for color in [false, true] {
        let shown = render::terminal(diagnostics, text, color);
        assert_eq!(shown.is_empty(), diagnostics.is_empty());
    }
    assert_eq!(render::json(diagnostics).as_array().map(Vec::len), Some(diagnostics.len()));
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let parsed = parse(&text, "fuzz.yaml", &*KNOWN);
    look(&parsed.diagnostics, &text);
    for pipeline in &parsed.pipelines {
        look(&check_words(pipeline, &*KNOWN), &text);
        // A pipeline with errors is still shown to people, so writing it must work; one without must be the same when read back.
        let native = to_native_yaml(pipeline);
        let again = parse(&native, "native.yaml", &*KNOWN);
        look(&again.diagnostics, &native);
        if !parsed.has_errors() {
            assert!(!again.has_errors() && again.pipelines.len() == 1, "{native}\n{:?}", again.diagnostics);
            let value = |pipeline| serde_json::to_value(pipeline).expect("a pipeline has a JSON form");
            assert_eq!(value(&again.pipelines[0]), value(pipeline), "read back from\n{native}");
        }
    }
});
