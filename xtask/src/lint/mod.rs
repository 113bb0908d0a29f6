//! `cargo xtask lint`: the rules of the house that no compiler checks. Each rule is a function from what it looks at to
//! its findings, so that it can be tested on samples.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

mod crates;
mod files;

/// Something against a rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// A soft limit: said, but no failure.
    pub soft: bool,
    /// Where and what.
    pub text: String,
}

impl Finding {
    fn hard(text: String) -> Self {
        Self { soft: false, text }
    }

    fn soft(text: String) -> Self {
        Self { soft: true, text }
    }
}

pub fn run() -> Result<()> {
    let root = root()?;
    let mut findings = crates::directions(&metadata(&root)?)?;
    let mut texts = Vec::new();
    for path in tracked(&root)? {
        if let Ok(text) = fs::read_to_string(root.join(&path)) {
            texts.push((path, text));
        }
    }
    let only_tests: HashSet<String> = texts.iter().flat_map(|(path, text)| files::test_modules(path, text)).collect();
    let mut registry = "";
    let mut connectors = Vec::new();
    for (path, text) in &texts {
        findings.extend(files::check(path, text, only_tests.contains(path)));
        if path == "crates/weir-connectors/src/registry.rs" {
            registry = text;
        }
        let folder = path.strip_prefix("crates/weir-connectors/src/").and_then(|rest| rest.strip_suffix("/mod.rs"));
        // Other folders hold what connectors have in common.
        let connector = folder.filter(|folder| !folder.contains('/') && text.contains("impl Connector for "));
        connectors.extend(connector.map(str::to_owned));
    }
    findings.extend(files::registered(&connectors, registry));
    findings.sort_by(|a, b| (b.soft, &a.text).cmp(&(a.soft, &b.text)));
    for finding in &findings {
        println!("{} {}", if finding.soft { "note: " } else { "error:" }, finding.text);
    }
    let hard = findings.iter().filter(|f| !f.soft).count();
    if hard > 0 {
        bail!("{hard} findings against the rules of the house (ARCHITECTURE.md)");
    }
    println!("house rules: {} files, {} notes", texts.len(), findings.len());
    Ok(())
}

fn root() -> Result<PathBuf> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let here = std::env::current_dir()?;
    // A moved or copied program must look at the tree it is called in.
    let found = here.ancestors().find(|p| p.join("xtask/Cargo.toml").is_file()).map(PathBuf::from);
    found.or_else(|| manifest.parent().map(PathBuf::from)).context("not inside the repository")
}

fn metadata(root: &PathBuf) -> Result<serde_json::Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output =
        Command::new(cargo).args(["metadata", "--no-deps", "--format-version", "1", "--offline"]).current_dir(root).output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The files of the repository: tracked ones, and new ones that are not ignored.
fn tracked(root: &PathBuf) -> Result<Vec<String>> {
    let output =
        Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root).output()?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect())
}
