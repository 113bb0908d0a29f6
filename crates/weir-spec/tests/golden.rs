//! Every folder of `tests/cases/spec` is one pipeline file and what must be said about it: `expected.txt` as on a
//! terminal without colour, and for good files also `expected.json`, the pipelines.
//! `WEIR_REWRITE=1` writes what is said now; read the difference before committing it.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod vocabulary;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_spec::{check_words, parse, render};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/spec")
}

/// What is said about the file, and the pipelines if there is no error.
fn run(folder: &Path) -> Result<(String, Option<Value>), String> {
    let name = ["pipeline.yaml", "pipeline.json"]
        .into_iter()
        .find(|name| folder.join(name).exists())
        .ok_or("there is no pipeline.yaml or pipeline.json")?;
    let text = fs::read_to_string(folder.join(name)).map_err(|error| error.to_string())?;
    let parsed = parse(&text, name, &vocabulary::Words);
    let mut diagnostics = parsed.diagnostics.clone();
    if !parsed.has_errors() {
        for pipeline in &parsed.pipelines {
            diagnostics.extend(check_words(pipeline, &vocabulary::Words).into_iter().map(|mut found| {
                found.file = name.into();
                found
            }));
        }
    }
    let pipelines = (!parsed.has_errors()).then(|| serde_json::to_value(&parsed.pipelines)).transpose();
    Ok((render::terminal(&diagnostics, &text, false), pipelines.map_err(|error| error.to_string())?))
}

fn compare(path: &Path, now: &str, rewrite: bool) -> Result<(), String> {
    let before = fs::read_to_string(path).unwrap_or_default();
    if before == now {
        return Ok(());
    }
    if rewrite {
        return fs::write(path, now).map_err(|error| error.to_string());
    }
    Err(format!("{} says\n{before}\nbut now it is\n{now}", path.file_name().unwrap_or_default().display()))
}

#[test]
fn every_case_says_exactly_what_is_expected() {
    let rewrite = std::env::var_os("WEIR_REWRITE").is_some();
    let mut folders: Vec<PathBuf> = fs::read_dir(cases()).expect("tests/cases/spec").map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let (mut failures, mut wrong) = (Vec::new(), 0);
    for folder in &folders {
        let name = folder.file_name().unwrap_or_default().display().to_string();
        let outcome = run(folder).and_then(|(said, pipelines)| {
            compare(&folder.join("expected.txt"), &said, rewrite)?;
            match pipelines {
                Some(pipelines) => {
                    let json = serde_json::to_string_pretty(&pipelines).map_err(|error| error.to_string())? + "\n";
                    compare(&folder.join("expected.json"), &json, rewrite)
                }
                None => {
                    wrong += 1;
                    if folder.join("expected.json").exists() { Err("expected.json stands beside errors".into()) } else { Ok(()) }
                }
            }
        });
        if let Err(why) = outcome {
            failures.push(format!("--- {name}: {why}"));
        }
    }
    assert!(failures.is_empty(), "{} of {} cases fail\n{}", failures.len(), folders.len(), failures.join("\n"));
    assert!(wrong >= 60, "only {wrong} cases are wrong files");
}
