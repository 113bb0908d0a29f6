//! Which crate may use which: the table of ARCHITECTURE.md.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Finding;

/// Crate → what it may build upon directly; what those may use is allowed too.
const DIRECTIONS: [(&str, &[&str]); 17] = [
    ("weir-error", &[]),
    ("weir-egress", &["weir-error"]),
    ("weir-spec", &["weir-error"]),
    ("weir-connect", &["weir-egress"]),
    ("weir-formats", &["weir-connect"]),
    ("weir-secrets", &["weir-error"]),
    ("weir-plan", &["weir-spec", "weir-connect"]),
    ("weir-connectors", &["weir-formats"]),
    ("weir-engine", &["weir-plan"]),
    ("weir-query", &["weir-plan"]),
    ("weir-runners", &["weir-plan", "weir-engine"]),
    ("weir-store", &["weir-spec"]),
    ("weir-control", &["weir-store", "weir-secrets", "weir-egress"]),
    ("weir-server", &["weir-control"]),
    ("weir", &["weir-connectors", "weir-secrets", "weir-engine", "weir-query", "weir-runners", "weir-server"]),
    ("weir-testkit", &["weir-error"]),
    ("xtask", &["weir-testkit"]),
];

/// Dependencies that go against the directions. Tests may also use the test kit, and connectors through it.
pub fn directions(metadata: &Value) -> Result<Vec<Finding>> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().context("a package without a name")?;
        if !DIRECTIONS.iter().any(|(known, _)| *known == name) {
            findings.push(Finding::hard(format!(
                "crate `{name}` is not in the table of directions (xtask/src/lint/crates.rs, ARCHITECTURE.md)"
            )));
            continue;
        }
        let mut allowed = BTreeSet::new();
        reach(name, &mut allowed);
        for dependency in package["dependencies"].as_array().context("a package without dependencies")? {
            let used = dependency["name"].as_str().unwrap_or_default();
            if dependency["kind"] == "dev" || !ours.contains(used) || allowed.contains(used) {
                continue;
            }
            findings.push(Finding::hard(format!("crate `{name}` must not depend on `{used}`")));
        }
    }
    Ok(findings)
}

fn reach(name: &str, allowed: &mut BTreeSet<&'static str>) {
    for (_, direct) in DIRECTIONS.iter().filter(|(known, _)| *known == name) {
        for next in *direct {
            if allowed.insert(next) {
                reach(next, allowed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, uses: &[(&str, Value)]) -> Value {
        let dependencies: Vec<Value> = uses.iter().map(|(n, kind)| json!({"name": n, "kind": kind})).collect();
        json!({"name": name, "dependencies": dependencies})
    }

    #[test]
    fn a_dependency_against_the_direction_is_found_and_a_transitive_one_is_not() {
        let metadata = json!({"packages": [
            package("weir-error", &[("serde", Value::Null)]),
            package("weir-spec", &[("weir-error", Value::Null), ("weir-engine", Value::Null)]),
            package("weir-engine", &[("weir-error", Value::Null), ("weir-testkit", json!("dev"))]),
            package("weir-testkit", &[]),
            package("stranger", &[]),
        ]});
        let texts: Vec<String> = directions(&metadata).unwrap().into_iter().map(|f| f.text).collect();
        assert_eq!(texts[0], "crate `weir-spec` must not depend on `weir-engine`");
        assert!(texts[1].contains("`stranger` is not in the table"));
        assert_eq!(texts.len(), 2);
    }
}
