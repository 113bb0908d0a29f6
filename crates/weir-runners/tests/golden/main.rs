//! Every folder of `cases` is a pipeline, and what each target makes of it: `TARGET.txt`, the files or the diagnostics.
//! `WEIR_REWRITE=1` writes what is made now; read the difference before committing it.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod manifests;
mod rules;
mod seam;
mod secrets;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_connect::Registry;
use weir_plan::{Planner, Unresolved};
use weir_runners::artefact::{Artefacts, Role};
use weir_runners::compile::{Job, compile, with_foreign, word};
use weir_runners::registry::{Format, Target};
use weir_spec::{Diagnostic, Pipeline, render};

pub(crate) fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cases")
}

pub(crate) fn registry() -> Registry {
    with_foreign(&weir_connectors::registry::registry())
}

/// A pipeline of a text, with nothing against it.
pub(crate) fn parse(text: &str, registry: &Registry) -> Result<Pipeline, String> {
    let words = weir_plan::vocabulary(registry);
    let parsed = weir_spec::parse(text, "pipeline.yaml", &words);
    let told = |found: &[Diagnostic]| render::terminal(found, text, false);
    if parsed.has_errors() {
        return Err(told(&parsed.diagnostics));
    }
    let pipeline = parsed.pipelines.into_iter().next().ok_or("no pipeline")?;
    let planner =
        Planner { registry: registry.clone(), resolve: Arc::new(Unresolved), base_dir: PathBuf::from("."), parallelism: 1 };
    let mut found = weir_spec::check_words(&pipeline, &words);
    found.extend(planner.check(&pipeline));
    found.retain(Diagnostic::is_error);
    if found.is_empty() { Ok(pipeline) } else { Err(told(&found)) }
}

/// Every target, with SeaTunnel's two notations.
pub(crate) fn targets() -> Vec<(String, Target, Format)> {
    let mut all: Vec<(String, Target, Format)> = Vec::new();
    for target in Target::all() {
        let name = target.name().replace(':', "-");
        if matches!(target, Target::SeaTunnel(_)) {
            all.push((format!("{name}-json"), target, Format::Json));
        }
        all.push((name, target, Format::Hocon));
    }
    all
}

pub(crate) fn make(
    pipeline: &Pipeline,
    registry: &Registry,
    target: Target,
    format: Format,
) -> Result<Artefacts, Vec<Diagnostic>> {
    compile(&Job { pipeline, registry, streams: BTreeMap::new(), format }, target)
}

/// As it stands in the golden file.
pub(crate) fn shown(made: &Result<Artefacts, Vec<Diagnostic>>, text: &str) -> String {
    let made = match made {
        Err(found) => return render::terminal(found, text, false),
        Ok(made) => made,
    };
    let mut out = String::new();
    for file in &made.files {
        let role = match file.role {
            Role::Job => "job",
            Role::Arguments => "arguments",
            Role::Companion => "companion",
            Role::Offsets => "offsets",
        };
        let _ = write!(out, "==> {} ({role})\n{}", file.name, file.text);
    }
    let _ = writeln!(out, "==> {}: {}", word(made.delivery), made.reasons.join("; "));
    for expected in &made.expects {
        let secret = if expected.secret { ", secret" } else { "" };
        let _ = writeln!(out, "==> expects {}{secret}: {}", expected.name, serde_json::to_string(&expected.from).unwrap());
    }
    for note in &made.notes {
        let _ = writeln!(out, "==> note: {note}");
    }
    out
}

#[test]
fn every_target_makes_exactly_what_is_expected() {
    let rewrite = std::env::var_os("WEIR_REWRITE").is_some();
    let registry = registry();
    let mut folders: Vec<PathBuf> = fs::read_dir(cases()).expect("cases").map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let (mut failures, mut compiled) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for folder in &folders {
        let case = folder.file_name().unwrap_or_default().display().to_string();
        let text = fs::read_to_string(folder.join("pipeline.yaml")).expect("pipeline.yaml");
        let pipeline = match parse(&text, &registry) {
            Ok(pipeline) => pipeline,
            Err(why) => {
                failures.push(format!("--- {case}: {why}"));
                continue;
            }
        };
        for (name, target, format) in targets() {
            let made = make(&pipeline, &registry, target, format);
            assert!(made == make(&pipeline, &registry, target, format), "{case} for {name} is not the same twice");
            if let Ok(made) = &made {
                *compiled.entry(target.engine().name).or_default() += 1;
                failures.extend(rules::broken(made, &registry).into_iter().map(|why| format!("--- {case} for {name}: {why}")));
                failures.extend(
                    rules::unlisted(&pipeline, target, &registry).into_iter().map(|why| format!("--- {case} for {name}: {why}")),
                );
            }
            let path = folder.join(format!("{name}.txt"));
            let (now, before) = (shown(&made, &text), fs::read_to_string(&path).unwrap_or_default());
            if now != before && rewrite {
                fs::write(&path, &now).unwrap();
            } else if now != before {
                failures.push(format!("--- {case}/{name}.txt says\n{before}\nbut now it is\n{now}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    assert!(folders.len() >= 25, "only {} cases", folders.len());
    for (engine, least) in [("seatunnel", 20), ("flink", 12), ("spark", 8), ("kafka-connect", 5)] {
        assert!(compiled.get(engine).copied().unwrap_or_default() >= least, "{engine} compiles too few: {compiled:?}");
    }
}
