//! The same pipelines on other engines, the real ones: `weir diff` against the native engine, and `weir run --engine`.
//!
//! Each folder of `cases` is a pipeline with its files, and `case.json` says what each engine makes of it: `equal` rows, or `refused` because it cannot express it.
//! One engine runs at a time, on the whole machine. None is in the short form: they are hundreds of megabytes to download and take minutes:
//! `cargo nextest run -p weir --test engines --run-ignored all`.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use weir_testkit::{FlinkCluster, SeaTunnel, Spark};

/// A case, copied into a folder of its own.
struct Case {
    name: String,
    folder: tempfile::TempDir,
    expected: BTreeMap<String, String>,
}

fn cases() -> Vec<Case> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/cases");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    let cases: Vec<Case> = folders.iter().map(|folder| Case::copied(folder)).collect();
    assert!(cases.len() >= 5);
    cases
}

impl Case {
    fn copied(from: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
            std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        let expected = serde_json::from_slice(&std::fs::read(from.join("case.json")).unwrap()).unwrap();
        Self { name: from.file_name().unwrap().to_string_lossy().into_owned(), folder, expected }
    }

    fn weir(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).current_dir(self.folder.path());
        command.output().unwrap()
    }
}

fn said(output: &Output) -> String {
    format!("{}\n{}\n{}", output.status, String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every case on one engine; all that differ are told together.
fn compare(engine: &str, options: &[String]) {
    let mut wrong = Vec::new();
    for case in cases() {
        let engines = format!("native,{engine}");
        let mut arguments = vec!["diff", "pipeline.yaml", "--engines", &engines, "--json"];
        options.iter().for_each(|option| arguments.extend(["--engine-option", option.as_str()]));
        let output = case.weir(&arguments);
        let (code, rows) = match case.expected[engine].as_str() {
            "equal" => (0, true),
            "refused" => (2, false),
            other => panic!("{}: case.json says {other}", case.name),
        };
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let sinks = told["engines"][1]["sinks"].as_array().cloned().unwrap_or_default();
        let compared = sinks.iter().all(|sink| sink["equal"] == true && sink["rows"].as_u64().is_some_and(|rows| rows > 0));
        let good = output.status.code() == Some(code) && sinks.is_empty() != rows && compared;
        println!("{engine} {}: {}", case.name, if good { case.expected[engine].as_str() } else { "NOT as expected" });
        if !good {
            wrong.push(format!("{} on {engine}: {}", case.name, said(&output)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
#[ignore = "a download of 125 MB and a JVM: see the command above"]
fn seatunnel_writes_what_the_native_engine_writes() {
    let seatunnel = SeaTunnel::start().unwrap();
    compare("seatunnel", &[format!("url={}", seatunnel.url())]);
    // The same as a run: its report, its exit code, and nothing left to follow.
    let case = cases().into_iter().find(|case| case.name == "filter_rows").unwrap();
    let place = format!("seatunnel.url={}", seatunnel.url());
    let output = case.weir(&[
        "run",
        "pipeline.yaml",
        "--engine",
        "seatunnel",
        "--engine-option",
        &place,
        "--json",
        "--progress",
        "none",
        "--state-dir",
        "state",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stream = &report["streams"][0];
    assert_eq!(report["status"], "succeeded");
    assert_eq!(stream["rows_read"], 300);
    assert_eq!(
        stream["rows_read"].as_u64(),
        Some(stream["rows_written"].as_u64().unwrap() + stream["rows_filtered"].as_u64().unwrap())
    );
    assert!(!case.folder.path().join("state/engines/filter_rows.seatunnel.json").exists());
}

/// `cargo nextest run -p weir --test engines --run-ignored all -E 'test(flink)'`
#[test]
#[ignore = "a download of 330 MB and three JVMs: see the command above"]
fn flink_writes_what_the_native_engine_writes() {
    let flink = FlinkCluster::start().unwrap();
    compare("flink", &[format!("url={}", flink.rest()), format!("sql_gateway_url={}", flink.gateway())]);
}

/// `cargo nextest run -p weir --test engines --run-ignored all -E 'test(spark)'`
#[test]
#[ignore = "a download of 460 MB and a JVM for each case: see the command above"]
fn spark_writes_what_the_native_engine_writes() {
    let spark = Spark::take().unwrap();
    compare("spark", &[format!("home={}", spark.home().display()), "master=local[1]".into(), "driver_memory=512m".into()]);
}

#[test]
fn an_engine_that_is_not_there_is_told_with_its_place_and_exit_code_three() {
    let case = cases().into_iter().find(|case| case.name == "copy").unwrap();
    let port = weir_testkit::process::free_port().unwrap();
    let url = format!("url=http://127.0.0.1:{port}");
    let output = case.weir(&["run", "pipeline.yaml", "--engine", "flink", "--engine-option", &url]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains(&format!("flink does not answer (http://127.0.0.1:{port})")), "{told}");
    let output = case.weir(&["run", "pipeline.yaml", "--engine", "storm"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let output = case.weir(&["run", "pipeline.yaml", "--engine", "flink", "--until-caught-up"]);
    assert!(output.status.code() == Some(2) && said(&output).contains("for the native engine"), "{}", said(&output));
    let output = case.weir(&["diff", "pipeline.yaml", "--engines", "native"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
}
