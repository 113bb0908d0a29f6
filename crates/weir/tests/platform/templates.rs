//! Every template as the real program sees it: its pipeline passes `weir check`, and those of files run as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Map, Value, json};
use weir_control::templates::{ParameterType, examples, instantiate, list};
use weir_control::workbench::{Checked, Workbench};

use crate::stage;

/// The program's connectors; checking is left to the program.
struct Real(Value);

impl Real {
    fn new() -> Self {
        let output = weir(Path::new("."), &["connectors", "--json"]);
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }
}

impl Workbench for Real {
    fn check(&self, _: &str, _: &str, _: &[(String, String)]) -> Checked {
        Checked::default()
    }
    fn connectors(&self) -> Value {
        self.0.clone()
    }
    fn secret_options(&self, _: &str) -> Option<BTreeSet<String>> {
        None
    }
    fn check_connection(&self, _: &str, _: &Value) -> Vec<String> {
        Vec::new()
    }
}

fn weir(folder: &Path, args: &[&str]) -> Output {
    Command::new(stage::weir()).args(args).current_dir(folder).env_clear().output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_available_template_passes_weir_check_with_its_examples() {
    let (real, folder) = (Real::new(), tempfile::tempdir().unwrap());
    let mut checked = 0;
    for template in list(&real).unwrap().into_iter().filter(|template| template.available) {
        let mut spec = instantiate(&real, &template.id, &examples(&template.parameters), &[]).unwrap();
        // What the platform would have stored.
        let connections: BTreeMap<&str, &str> = template
            .parameters
            .iter()
            .filter(|parameter| parameter.kind == ParameterType::Connection)
            .map(|parameter| (parameter.example.as_ref().unwrap().as_str().unwrap(), parameter.connector.as_deref().unwrap()))
            .collect();
        if !connections.is_empty() {
            spec.push_str("connections:\n");
            for (name, kind) in &connections {
                // What has no default.
                let needs = if *kind == "kafka" { "bootstrap_servers: 'broker:9092'" } else { "" };
                spec.push_str(&format!("  {name}: {{{kind}: {{{needs}}}}}\n"));
            }
        }
        std::fs::write(folder.path().join("t.yaml"), &spec).unwrap();
        let output = weir(folder.path(), &["check", "t.yaml"]);
        assert!(output.status.success(), "{}: {}\n{spec}", template.id, said(&output));
        checked += 1;
    }
    assert!(checked >= 12, "{checked}");
}

#[test]
fn templates_of_files_run_as_they_are() {
    let real = Real::new();
    for (id, given, files, result) in [
        ("csv_to_parquet", json!({"path": "in/*.csv"}), vec![("in/a.csv", "id,amount\n1,2.50\n2,3.50\n")], "lake/csv"),
        ("json_to_parquet", json!({"path": "in"}), vec![("in/a.ndjson", "{\"id\": 1}\n{\"id\": 2}\n")], "lake/json"),
        (
            "files_summary",
            json!({"path": "in/*.csv", "group_by": "country", "measure": "amount"}),
            vec![("in/a.csv", "country,amount\nde,1\nde,2\nfr,3\n")],
            "reports/summary.csv",
        ),
        (
            "files_clean_up",
            json!({"path": "in/*.csv", "key": ["id"], "rename": {"cust_name": "name"}, "drop": ["note"]}),
            vec![("in/a.csv", "id,cust_name,note\n1,a,x\n1,b,y\n2,c,z\n")],
            "lake/clean",
        ),
        ("new_files_every_few_minutes", json!({"path": "in/*.ndjson"}), vec![("in/a.ndjson", "{\"id\": 1}\n")], "lake/events"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let given: Map<String, Value> = given.as_object().unwrap().clone();
        std::fs::write(folder.path().join("t.yaml"), instantiate(&real, id, &given, &[]).unwrap()).unwrap();
        let output = weir(folder.path(), &["run", "t.yaml"]);
        assert!(output.status.success(), "{id}: {}", said(&output));
        assert!(folder.path().join(result).exists(), "{id}: nothing at {result}: {}", said(&output));
        if id == "files_summary" {
            let mut lines: Vec<String> =
                std::fs::read_to_string(folder.path().join(result)).unwrap().lines().map(Into::into).collect();
            lines.sort();
            assert_eq!(lines, ["country,number_of_rows,total", "de,2,3", "fr,1,3"]);
        }
    }
}
