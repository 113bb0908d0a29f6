//! Every folder of `manifests` is a pipeline, and what `weir compile --target kubernetes…` makes of it. What they hold is in
//! `docs/how-to/kubernetes.md`; `WEIR_REWRITE=1` writes what is made now.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_runners::compile::Job;
use weir_runners::kubernetes::compile::{Placing, TARGETS, manifests};
use weir_runners::registry::Format;
use weir_spec::render;

use super::{parse, registry};

/// Stands for each secret.
const CANARY: &str = "canary";

fn made(text: &str, target: &str) -> Result<(String, String), String> {
    let registry = registry();
    let pipeline = parse(text, &registry).unwrap();
    let job = Job { pipeline: &pipeline, registry: &registry, streams: Default::default(), format: Format::Hocon };
    let engine = TARGETS.into_iter().find(|(word, _)| *word == target).unwrap().1;
    match manifests(&job, engine, &Placing::default()) {
        Ok(made) => {
            let expects = made.expects.iter().map(|expected| format!("# expects {}\n", expected.name)).collect::<String>();
            let notes = made.notes.iter().map(|note| format!("# note: {note}\n")).collect::<String>();
            Ok((made.yaml, expects + &notes))
        }
        Err(found) => Err(render::terminal(&found, text, false)),
    }
}

#[test]
fn manifests_are_exactly_what_is_expected_and_hold_no_secret() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/manifests");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let (mut failures, mut compiled) = (Vec::new(), 0);
    for folder in &folders {
        let text = fs::read_to_string(folder.join("pipeline.yaml")).unwrap();
        for (target, _) in TARGETS {
            let shown = match made(&text, target) {
                Ok((yaml, about)) => {
                    compiled += 1;
                    assert!(!yaml.contains(CANARY) && !about.contains(CANARY), "{target}: {yaml}");
                    check(&yaml);
                    yaml + &about
                }
                Err(refused) => refused,
            };
            let path = folder.join(format!("{}.txt", target.replace(':', "-")));
            let before = fs::read_to_string(&path).unwrap_or_default();
            if before != shown && std::env::var_os("WEIR_REWRITE").is_some() {
                fs::write(&path, &shown).unwrap();
            } else if before != shown {
                failures.push(format!("--- {} says\n{before}\nbut now it is\n{shown}", path.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(folders.len() >= 3 && compiled >= 6, "{} folders, {compiled} compiled", folders.len());
}

/// It reads back, every object says what it is, and Pods of our own keep to the standard `restricted`.
fn check(yaml: &str) {
    let objects = weir_spec::from_yaml(yaml).unwrap_or_else(|| panic!("no YAML: {yaml}"));
    assert!(!objects.is_empty());
    for object in &objects {
        assert!(
            object["apiVersion"].is_string() && object["kind"].is_string() && object["metadata"]["name"].is_string(),
            "{object:#}"
        );
        let pod = &object["spec"]["template"]["spec"];
        if object["kind"] == "Job" {
            assert_eq!(pod["securityContext"]["runAsNonRoot"], Value::Bool(true));
            assert_eq!(pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"], Value::Bool(false));
            assert_eq!(pod["containers"][0]["securityContext"]["capabilities"]["drop"][0], "ALL");
            assert_eq!(object["spec"]["backoffLimit"], 0);
        }
    }
}
