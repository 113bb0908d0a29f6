//! Every folder of `tests/cases/plan` is a pipeline with its data, and what `weir plan` must say about it: `expected.txt` as on a
//! terminal of 100 columns with the exit code, and `expected.json` if there is a plan. `WEIR_REWRITE=1` writes what is said now; read the
//! difference before committing it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::Folder;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/plan")
}

/// Copies a case into the folder in which the program will run, so that nothing is ever written beside the case.
fn copy(from: &Path, to: &Folder, below: &str) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = { entry.map(|entry| (entry.path(), entry.file_name())).unwrap() };
        let name = format!("{below}{}", name.display());
        if path.is_dir() {
            copy(&path, to, &format!("{name}/"));
        } else if !name.starts_with("expected.") {
            to.write(&name, fs::read(&path).unwrap());
        }
    }
}

/// What the program says, as text with its exit code and as JSON if there is a plan.
fn run(case: &Path) -> (String, Option<String>) {
    let folder = Folder::new();
    copy(case, &folder, "");
    let before = files(folder.path());
    let text = folder.weir(&["plan", "pipeline.yaml", "--cores", "2"]);
    let json = folder.weir(&["plan", "pipeline.yaml", "--json", "--cores", "2"]);
    assert_eq!(text.code, json.code, "{}", json.shown());
    assert_eq!(files(folder.path()), before, "a plan changes nothing");
    let place = folder.path().canonicalize().unwrap().display().to_string();
    let clean = |text: &str| text.replace(&place, "[folder]");
    let said = format!("exit code {}\n--- stdout\n{}--- stderr\n{}", text.code, clean(&text.out), clean(&text.err));
    // Without a plan there are the diagnostics as JSON, which the cases of the spec cover.
    let plan = (!text.out.is_empty()).then(|| clean(&json.out));
    (said, plan)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn compare(path: &Path, now: Option<&str>, rewrite: bool) -> Result<(), String> {
    let before = fs::read_to_string(path).ok();
    if before.as_deref() == now {
        return Ok(());
    }
    if rewrite {
        let written = now.map_or_else(|| fs::remove_file(path), |now| fs::write(path, now));
        return written.map_err(|error| error.to_string());
    }
    let shown = |text: Option<&str>| text.unwrap_or("(nothing)\n").to_string();
    let name = path.file_name().unwrap_or_default().display();
    Err(format!("{name} says\n{}but now it is\n{}", shown(before.as_deref()), shown(now)))
}

#[test]
fn every_case_is_planned_exactly_as_expected() {
    let rewrite = std::env::var_os("WEIR_REWRITE").is_some();
    let mut folders: Vec<PathBuf> = fs::read_dir(cases()).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let mut failures = Vec::new();
    for folder in &folders {
        let (text, json) = run(folder);
        let both = [("expected.txt", Some(text.as_str())), ("expected.json", json.as_deref())];
        for (name, now) in both {
            if let Err(why) = compare(&folder.join(name), now, rewrite) {
                failures.push(format!("--- {}: {why}", folder.file_name().unwrap_or_default().display()));
            }
        }
    }
    assert!(failures.is_empty(), "{} files of {} cases differ\n{}", failures.len(), folders.len(), failures.join("\n"));
    assert!(folders.len() >= 15, "only {} cases", folders.len());
}
