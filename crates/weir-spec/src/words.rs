//! Checking that this build has the connectors and transforms that a pipeline names. Parsing does not: a file may be
//! read, shown and converted where it cannot run.

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::model::{Pipeline, Role};
use crate::nodes::noun;
use crate::problems::{nearest, one_of, short};
use crate::vocabulary::Vocabulary;

/// Names every connector and transform that does not exist, and every connector that cannot do what its node asks.
/// The file's name is left empty.
pub fn check_words(pipeline: &Pipeline, vocabulary: &dyn Vocabulary) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    let (connectors, transforms) = (vocabulary.connectors(), vocabulary.transforms());
    let letters = pipeline.dead_letters.to.as_deref().map(|node| (node, Some("/dead_letters/to".to_string())));
    for (node, pointer) in pipeline.nodes.iter().map(|node| (node, pipeline.node_paths.get(&node.name).cloned())).chain(letters) {
        let pointer = pointer.unwrap_or_default();
        let exact = format!("{pointer}/{}", node.kind.replace('~', "~0").replace('/', "~1"));
        let span = pipeline.spans.get(&exact).or_else(|| pipeline.spans.get(&pointer)).copied();
        let path = exact.trim_start_matches('/').replace('/', ".");
        let noun = noun(node.role);
        if node.role == Role::Transform {
            if vocabulary.transform(&node.kind).is_none() {
                out.push(unknown("transform", &node.kind, &transforms, "weir spec schema").at(path, span));
            }
            continue;
        }
        match vocabulary.connector(&node.kind) {
            None => out.push(unknown("connector", &node.kind, &connectors, "weir connectors").at(path, span)),
            Some(words) => {
                let able = if node.role == Role::Source { words.source.is_some() } else { words.sink.is_some() };
                if !able {
                    let verb = if node.role == Role::Source { "read" } else { "write" };
                    out.push(
                        Diagnostic::error(codes::WRONG_ROLE, format!("`{}` cannot be a {noun}", short(&node.kind)))
                            .at(path, span)
                            .label(format!("this connector does not {verb}"))
                            .help("`weir connectors` says what each one can do"),
                    );
                }
            }
        }
    }
    for (name, connection) in &pipeline.connections {
        if vocabulary.connector(&connection.kind).is_none() {
            let span = pipeline.spans.get(&format!("/connections/{name}/{}", connection.kind)).copied();
            out.push(
                unknown("connector", &connection.kind, &connectors, "weir connectors").at(format!("connections.{name}"), span),
            );
        }
    }
    out
}

fn unknown(what: &str, kind: &str, words: &[String], see: &str) -> Diagnostic {
    let word = nearest(kind, words.iter().map(String::as_str));
    Diagnostic::error(codes::UNKNOWN_CONNECTOR, format!("there is no {what} `{}` in this build", short(kind)))
        .label(format!("not a {what}"))
        .did_you_mean(word)
        .expected(one_of(words.iter().map(String::as_str)))
        .help(format!("all {what}s: {see}"))
}
