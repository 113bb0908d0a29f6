//! Every folder of `examples/transforms` is a pipeline with its data and, under `expected`, what it writes. A folder more is a test more.
//! `WEIR_REWRITE=1` writes what is written now; read the difference before committing it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::Folder;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/transforms")
}

/// Files under a folder by their path in it. Names that begin with a dot are the program's own.
fn files(folder: &Path, below: &str, found: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        if name.starts_with('.') || name.starts_with("_weir_") {
            continue;
        }
        match entry.path().is_dir() {
            true => files(&entry.path(), &path, found),
            false => drop(found.insert(path, fs::read(entry.path()).unwrap())),
        }
    }
}

fn all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    files(folder, "", &mut found);
    found
}

/// What an example wrote: everything under `out`.
fn run(example: &Path) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let folder = Folder::new();
    for (path, content) in all(example).iter().filter(|(path, _)| !path.starts_with("expected/")) {
        folder.write(path, content);
    }
    for command in ["check", "plan"] {
        let said = folder.weir(&[command, "pipeline.yaml"]);
        if said.code != 0 {
            return Err(format!("weir {command}: {}", said.shown()));
        }
    }
    let said = folder.weir(&["run", "pipeline.yaml", "--progress", "none"]);
    if said.code != 0 {
        return Err(format!("weir run: {}", said.shown()));
    }
    let written = all(folder.path()).into_iter().filter(|(path, _)| path.starts_with("out/"));
    Ok(written.collect())
}

fn compare(example: &Path, rewrite: bool) -> Result<(), String> {
    let written = run(example)?;
    let expected = example.join("expected");
    if rewrite {
        for (path, content) in &written {
            let path = expected.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        return Ok(());
    }
    let expected = all(&expected);
    if expected.is_empty() {
        return Err("it says nowhere what it writes".into());
    }
    let text = |files: &BTreeMap<String, Vec<u8>>| {
        files.iter().map(|(path, content)| format!("{path}\n{}", String::from_utf8_lossy(content))).collect::<String>()
    };
    if expected == written { Ok(()) } else { Err(format!("expected\n{}written\n{}", text(&expected), text(&written))) }
}

#[test]
fn every_example_of_a_transform_writes_what_it_says_and_has_its_page() {
    let rewrite = std::env::var_os("WEIR_REWRITE").is_some();
    let mut folders: Vec<PathBuf> =
        fs::read_dir(examples()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    let mut failures = Vec::new();
    for folder in &folders {
        let name = folder.file_name().unwrap_or_default().display().to_string();
        if let Err(why) = compare(folder, rewrite) {
            failures.push(format!("--- {name}: {why}"));
        }
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/transforms");
        // A way to use a transform (`join_within`) is told on the page of the transform (`join`).
        let told = |page: &str| fs::read_to_string(pages.join(format!("{page}.md"))).unwrap_or_default();
        let way = name.split_once('_').is_some_and(|(page, _)| told(page).contains(&format!("examples/transforms/{name}")));
        if told(&name).is_empty() && !way {
            failures.push(format!("--- {name}: docs/reference/transforms has no {name}.md, and no page that names it"));
        }
    }
    assert!(failures.is_empty(), "{} of {} examples\n{}", failures.len(), folders.len(), failures.join("\n"));
    assert!(folders.len() >= 9, "only {} examples", folders.len());
}

/// The list of the pages: the first sentence of each.
#[test]
fn the_index_of_transforms_has_every_page() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/transforms");
    let mut lines = Vec::new();
    for (name, content) in all(&pages).iter().filter(|(name, _)| *name != "README.md") {
        let text = String::from_utf8(content.clone()).unwrap();
        let about = text.lines().nth(2).unwrap_or_default();
        let sentence = about.split_once(". ").map_or(about, |(first, _)| first).trim_end_matches('.');
        lines.push(format!("| [{}]({name}) | {sentence} |\n", name.trim_end_matches(".md")));
    }
    let index =
        format!("# Transforms\n\nOne page each; every example is run by the tests.\n\n| | |\n| --- | --- |\n{}", lines.concat());
    let place = pages.join("README.md");
    if std::env::var_os("WEIR_REWRITE").is_some() {
        fs::write(&place, &index).unwrap();
    }
    assert_eq!(fs::read_to_string(&place).unwrap_or_default(), index, "WEIR_REWRITE=1 writes it");
}
